//! What is going to be built and served.

use std::path::PathBuf;

use devmodel::ahci::PORTS as SATA_PORTS;
use devmodel::machine::{BootOrder, VgaModel};
use devmodel::pci::Location;
use devmodel::usb::UsbDevice;

use crate::media::Media;
use crate::options::Options;
use crate::user_net::UserPlan;

/// The version of QEMU whose machine is modelled.
pub(crate) const VERSION: [&str; 3] = ["7", "2", "0"];

/// Where bytes come from and go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Nowhere.
    #[default]
    Null,
    /// They are only written, to a file.
    File(PathBuf),
    /// Standard input and output.
    Stdio,
    /// A socket.
    Socket(Socket),
}

/// A socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    /// Where it is.
    pub(crate) address: Address,
    /// We listen, and serve one peer after the other.
    pub(crate) listen: bool,
    /// The machine waits for the first peer.
    pub(crate) wait: bool,
}

/// The address of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A path.
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
}

/// What a drive's sectors come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    /// A raw file.
    File(PathBuf),
    /// Zeros, so many bytes of them.
    Zeros(u64),
}

/// A medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Medium {
    /// Its sectors.
    pub(crate) backing: Backing,
    /// Writes are refused.
    pub(crate) read_only: bool,
    /// Writes are kept in memory only.
    pub(crate) snapshot: bool,
    /// What is going to go wrong.
    pub(crate) faults: FaultPlan,
}

impl Medium {
    /// A medium with which nothing goes wrong.
    pub(crate) const fn new(backing: Backing, read_only: bool) -> Self {
        let faults =
            FaultPlan { node: String::new(), script: None, read_stops: false, write_stops: false, write_rate: None };
        Self { backing, read_only, snapshot: false, faults }
    }
}

/// What is going to go wrong with a medium.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FaultPlan {
    /// The name by which clients speak of the drive.
    pub(crate) node: String,
    /// The script of its errors.
    pub(crate) script: Option<PathBuf>,
    /// The machine stops at a failed read, which is tried again when it goes on.
    pub(crate) read_stops: bool,
    /// The same of everything else.
    pub(crate) write_stops: bool,
    /// Bytes that are written in a second of real time, if there is a limit.
    pub(crate) write_rate: Option<u64>,
}

/// An IDE drive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drive {
    /// The device, as a person calls it; empty if nobody does.
    pub(crate) id: String,
    /// What is behind it, as a person or QEMU calls it.
    pub(crate) name: String,
    /// It is a CD drive.
    pub(crate) cd: bool,
    /// What is in it; a disk always has one.
    pub(crate) medium: Option<Medium>,
    /// Serial number; empty is QEMU's.
    pub(crate) serial: String,
    /// Model; empty is QEMU's.
    pub(crate) model: String,
    /// Revision of a disk's firmware; empty is QEMU's.
    pub(crate) firmware: String,
}

/// A disk for a USB port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsbDisk {
    /// The device, as a person calls it; empty if nobody does.
    pub(crate) id: String,
    /// The name of the medium that is in it.
    pub(crate) drive: String,
    /// Serial number; empty is one of ours.
    pub(crate) serial: String,
}

/// What a network is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Nobody listens and nobody speaks.
    Nobody,
    /// A station that knows addresses and files.
    User(UserPlan),
    /// A stream socket: each frame after its length, 32 bits big-endian.
    Stream(Socket),
}

/// A device of the PCI bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CardPlan {
    /// QEMU's name of it.
    pub(crate) driver: String,
    /// A place of its own.
    pub(crate) place: Option<Location>,
    /// The place of its network in [`Plan::networks`].
    pub(crate) network: Option<usize>,
    /// What else was said of it.
    pub(crate) options: Options,
}

/// Where the log of the protocol goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Log {
    /// To the standard error output.
    #[default]
    Stderr,
    /// Nowhere.
    None,
    /// To a file.
    File(PathBuf),
}

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The machine is `none`: it answers questions only.
    pub(crate) no_machine: bool,
    /// The client's socket.
    pub(crate) qtest: Endpoint,
    /// The protocol's log.
    pub(crate) qtest_log: Log,
    /// Where the state of another machine comes from, in whose place this one goes on.
    pub(crate) incoming: Option<Address>,
    /// QMP.
    pub(crate) monitors: Vec<Endpoint>,
    /// Bytes of memory.
    pub(crate) ram_bytes: u64,
    /// There is a CPU that runs.
    pub(crate) has_cpu: bool,
    /// CPUs, as far as firmware sees.
    pub(crate) cpus: u32,
    /// Bytes of video memory, if there is a graphics card.
    pub(crate) video_bytes: Option<u32>,
    /// Which graphics card that is.
    pub(crate) video_model: VgaModel,
    /// What is plugged into the USB controller, with its name.
    pub(crate) usb: Vec<(String, UsbDevice)>,
    /// The disks in the USB controller.
    pub(crate) usb_disks: Vec<UsbDisk>,
    /// The drives behind the AHCI controller.
    pub(crate) sata: [Option<Drive>; SATA_PORTS],
    /// The IDE drives: index is channel × 2 + unit.
    pub(crate) drives: [Option<Drive>; 4],
    /// The media that are in no drive.
    pub(crate) media: Media,
    /// The serial ports.
    pub(crate) serial: Vec<Endpoint>,
    /// The firmware's debug port, if there is one.
    pub(crate) debug_port: Option<Endpoint>,
    /// The networks.
    pub(crate) networks: Vec<Network>,
    /// What plugs into the PCI bus.
    pub(crate) cards: Vec<CardPlan>,
    /// The boot order.
    pub(crate) boot_order: BootOrder,
    /// The boot order until the first reset.
    pub(crate) boot_once: Option<BootOrder>,
    /// Floppy disks are booted without a look at their signature.
    pub(crate) no_floppy_check: bool,
    /// Files for firmware.
    pub(crate) firmware_files: Vec<(&'static str, Vec<u8>)>,
    /// There is power management.
    pub(crate) acpi: bool,
    /// The firmware. `None`: SeaBIOS, if it is installed.
    pub(crate) firmware: Option<PathBuf>,
    /// The machine does not run at first.
    pub(crate) stopped: bool,
    /// The program goes on when the guest has switched itself off.
    pub(crate) no_shutdown: bool,
    /// A guest that resets itself ends the program.
    pub(crate) no_reboot: bool,
    /// The machine's UUID.
    pub(crate) uuid: [u8; 16],
}
