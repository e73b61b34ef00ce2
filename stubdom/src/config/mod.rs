//! What the toolstack wants: from strings to a [`Config`], and from that to a [`MachinePlan`].
//!
//! Pure: the caller reads xenstore, this module understands it. Two contracts are spoken (protocol.md §3):
//!
//! - *qemu-xen*: the arguments are the keys `001`, `002`, … of `/vm/<uuid>/image/dm-argv`: [`Config::from_dm_argv`].
//! - *qemu-xen-traditional*: they are one string, `/vm/<uuid>/image/dmargs`: [`Config::from_dmargs`].
//!
//! There are two steps, so that nothing is lost on the way. A [`Config`] can say everything that libxl can ask for.
//! [`Config::plan`] is what the device model can do of it today, or the first thing that it cannot, by name and with
//! what to write into xl.cfg instead. `table` maps every argument to what it does: a new device is a line there.
//!
//! Source: `libxl__build_device_model_args_new` and `_old`, `libxl__write_stub_dmargs` of
//! `tools/libs/light/libxl_dm.c`, Xen 4.17 to 4.22; docs/misc/stubdom.txt. For a stub domain 4.17, 4.18 and 4.19 write
//! the same arguments. From 4.20 on `-run-with` may stand for `-chroot` and `-runas`; from 4.21 on there is no
//! qemu-xen-traditional.
//!
//! Not modelled: QEMU options that libxl never writes (`device_model_args=` of xl.cfg). They are refused by name.
//! A domain whose name has blanks, or is `xenfv`, cannot be told to qemu-xen-traditional: the string has no quoting,
//! and libxl removes the word `xenfv` wherever it stands.
//!
//! Invariant: no text makes this panic, loop without bound, or allocate more than a small multiple of its length.
//! Invariant: an argument that is not in the table is an error; so is a property, a value or a key that is not known.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unimplemented,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod command_line;
mod disk;
mod draft;
mod plan;
mod properties;
mod refusal;
mod table;
#[cfg(test)]
mod tests;
mod vnc;

pub use command_line::CommandLine;
pub use disk::{Cache, Disk, Media, Slot, Vbd};
pub use plan::{DriveBus, DrivePlan, KernelPlan, MachinePlan, NicModel, NicPlan, SerialPlan, VideoModel, VideoPlan};
pub use properties::{Properties, mac};
pub use refusal::{Reason, Refusal, Subject};
pub use vnc::{Share, Vnc};

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use devmodel::machine::BootOrder;

/// More arguments than the toolstack can write with 4 disks, 8 cards and everything else.
const MAX_ARGUMENTS: usize = 1024;

/// The first console that is a serial port of the guest: 0 is the log, 1 saves, 2 restores.
pub const FIRST_SERIAL_CONSOLE: u32 = 3;

/// AHCI controllers that a machine can have: their ports are enough for all letters of the alphabet.
pub const AHCI_CONTROLLERS: usize = 5;

/// How the toolstack says what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contract {
    /// `device_model_version="qemu-xen"`: `dm-argv`, and QMP over a vchan.
    QemuXen,
    /// `device_model_version="qemu-xen-traditional"`: `dmargs`, and commands through xenstore. Up to Xen 4.20.
    Traditional,
}

/// Everything that the arguments say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which contract they were written for.
    pub contract: Contract,
    /// The domain whose device model this is.
    pub guest: u16,
    /// The guest's name.
    pub name: Option<String>,
    /// The kind of PC.
    pub machine: Machine,
    /// The guest's memory without its video memory, in MiB. qemu-xen-traditional is not told.
    pub memory_mib: Option<u64>,
    /// Virtual CPUs.
    pub vcpus: Vcpus,
    /// Whether there is ACPI power management.
    pub acpi: bool,
    /// The keyboard layout of viewers. What comes from another domain's VNC server is translated already.
    pub keymap: Option<String>,
    /// Where to boot from, in this order.
    pub boot: BootOrder,
    /// The graphics card, if there is one.
    pub video: Option<Video>,
    /// The serial ports from COM1 on.
    pub serials: Vec<Serial>,
    /// Drives that the arguments name. qemu-xen-traditional is not told: there, they are what xenstore has.
    pub disks: Vec<Disk>,
    /// Network cards.
    pub nics: Vec<Nic>,
    /// USB controllers, sound cards, SCSI and AHCI controllers and whatever else `-device` names.
    pub devices: Vec<Device>,
    /// Number of AHCI controllers.
    pub ahci: usize,
    /// Whether there is a USB controller (`-usb`).
    pub usb: bool,
    /// USB devices (`-usbdevice`), by QEMU's names.
    pub usb_devices: Vec<String>,
    /// Sound cards (`-soundhw`), by QEMU's names.
    pub sound: Vec<String>,
    /// Character devices for channels of the guest (`-chardev`).
    pub chardevs: Vec<Properties>,
    /// Network filters and the like (`-object`).
    pub objects: Vec<Properties>,
    /// A kernel to start without a boot disk.
    pub kernel: DirectKernel,
    /// Where a saved state comes from (`-incoming`, `-loadvm`).
    pub incoming: Option<String>,
    /// Options of a SPICE server (`-spice`).
    pub spice: Option<Properties>,
    /// Where our own VNC server should listen (`-vnc`). libxl writes `none`: for it, the framebuffer's backend is the server.
    pub vnc: Option<Vnc>,
    /// Everything above that the device model cannot do today, in the order of the arguments.
    pub refused: Vec<Refusal>,
}

/// The kind of PC, `-machine`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Whether the Xen platform device is there: machine `xenfv` has it, machine `pc` does not.
    pub xen_platform: bool,
    /// Guest memory below 4 GiB in bytes, where it is not what Xen's ABI says (`mmio_hole=`). Xen and hvmloader have
    /// laid the memory out by it already.
    pub max_ram_below_4g: Option<u64>,
    /// The guest gets the host's Intel graphics card.
    pub igd_passthrough: bool,
}

/// Virtual CPUs of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vcpus {
    /// How many are there at the start.
    pub online: u32,
    /// How many there can be.
    pub max: u32,
}

/// Graphics cards that libxl knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoKind {
    /// QEMU's `VGA`: standard VGA with the Bochs VBE registers.
    Std,
    /// Cirrus Logic GD5446.
    Cirrus,
    /// QXL of SPICE.
    Qxl,
}

/// The graphics card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Video {
    /// Which card.
    pub kind: VideoKind,
    /// Its memory, in MiB.
    pub memory_mib: u32,
    /// The argument that says so.
    pub argument: String,
}

/// A serial port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial {
    /// The console of the stub domain at its other end.
    pub console: u32,
    /// The argument that says so.
    pub argument: String,
}

/// An emulated network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// QEMU's name of the card.
    pub model: String,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// The vif of the stub domain behind it: the number at the end of its `netdev` or `vlan`.
    pub vif: u32,
    /// The argument that says so.
    pub argument: String,
}

/// A device that has no field of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// QEMU's name of it.
    pub driver: String,
    /// What is said of it.
    pub properties: Properties,
}

/// A kernel that is started without a boot disk. The paths are the toolstack's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectKernel {
    /// `-kernel`.
    pub kernel: Option<String>,
    /// `-initrd`.
    pub initrd: Option<String>,
    /// `-append`.
    pub command_line: Option<String>,
}

impl Config {
    /// Understands what was found in the store: the entries of `dm-argv`, and `dmargs`.
    ///
    /// Exactly one of the two has to be there.
    pub fn from_store<K: AsRef<str>, V: AsRef<str>>(
        dm_argv: Option<&[(K, V)]>,
        dmargs: Option<&str>,
    ) -> Result<Self, Refusal> {
        match (dm_argv, dmargs) {
            (Some(entries), None) => Self::from_dm_argv(entries),
            (None, Some(text)) => Self::from_dmargs(text),
            (None, None) => Err(Refusal::key("image/dm-argv", Reason::Missing("and so is image/dmargs"))),
            (Some(_), Some(_)) => Err(Refusal::key("image/dmargs", Reason::Malformed("there is image/dm-argv too"))),
        }
    }

    /// Understands the arguments of qemu-xen: names and values of the keys of `dm-argv`, in any order.
    pub fn from_dm_argv<K: AsRef<str>, V: AsRef<str>>(entries: &[(K, V)]) -> Result<Self, Refusal> {
        let words = in_order(entries)?;
        draft::read(Contract::QemuXen, &words)
    }

    /// Understands the arguments of qemu-xen-traditional: the value of `dmargs`.
    pub fn from_dmargs(text: &str) -> Result<Self, Refusal> {
        let words: Vec<&str> =
            text.split(' ').filter(|word| !word.is_empty()).take(MAX_ARGUMENTS.saturating_add(1)).collect();
        if words.len() > MAX_ARGUMENTS {
            return Err(Refusal::key("image/dmargs", Reason::Malformed("it has too many arguments")));
        }
        draft::read(Contract::Traditional, &words)
    }

    /// Checks the value of `/local/domain/<stubdom>/target` against the arguments.
    pub fn check_target(&self, target: &str) -> Result<(), Refusal> {
        let refuse = |reason| Refusal::key("target", reason);
        if properties::number::<u16>(target).map_err(refuse)? == self.guest {
            Ok(())
        } else {
            Err(refuse(Reason::Malformed("the device-model arguments name another domain")))
        }
    }
}

/// Puts the keys of `dm-argv` in order: `001`, `002` and so on without a gap.
fn in_order<K: AsRef<str>, V: AsRef<str>>(entries: &[(K, V)]) -> Result<Vec<&str>, Refusal> {
    let key = |name: &str| alloc::format!("image/dm-argv/{name}");
    if entries.len() > MAX_ARGUMENTS {
        return Err(Refusal::key("image/dm-argv", Reason::Malformed("it has too many arguments")));
    }
    let mut numbered = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        let name = name.as_ref();
        let number = properties::number::<usize>(name).ok().filter(|number| alloc::format!("{number:03}") == name);
        let number = number
            .ok_or_else(|| Refusal::key(&key(name), Reason::Malformed("its name is not the number of an argument")))?;
        numbered.push((number, value.as_ref()));
    }
    numbered.sort_by_key(|(number, _)| *number);
    for (expected, (number, _)) in (1_usize..).zip(&numbered) {
        if *number < expected {
            return Err(Refusal::key(
                &key(&alloc::format!("{number:03}")),
                Reason::Malformed("arguments are numbered from 001 on, each once"),
            ));
        }
        if *number > expected {
            return Err(Refusal::key(&key(&alloc::format!("{expected:03}")), Reason::Missing("")));
        }
    }
    Ok(numbered.into_iter().map(|(_, value)| value).collect())
}

/// An argument on its way through the table.
pub(crate) struct Argument<'a> {
    /// The option, with its dash.
    option: &'a str,
    /// What follows it, or nothing.
    value: &'a str,
}

impl Argument<'_> {
    /// The argument as a person would write it.
    fn text(&self) -> String {
        if self.value.is_empty() { self.option.to_string() } else { alloc::format!("{} {}", self.option, self.value) }
    }
}
