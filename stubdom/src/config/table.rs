//! What every argument does: one table per contract, and one of the devices that `-device` can name.
//!
//! To add a device: write it in its folder, put it into [`super::MachinePlan`], and change its line here from `Refuse`
//! to `Apply`.

use super::Contract;
use super::draft::{Draft, Parse, ParseDevice};

/// A line of the table of options.
pub(super) struct Line {
    /// The option.
    pub(super) option: &'static str,
    /// Whether a value follows.
    pub(super) value: bool,
    /// What becomes of it.
    pub(super) effect: Effect<Parse>,
}

/// A line of the table of devices.
pub(super) struct DeviceLine {
    /// QEMU's name of the device.
    pub(super) driver: &'static str,
    /// What becomes of it.
    pub(super) effect: Effect<ParseDevice>,
}

/// What becomes of an argument or a device.
pub(super) enum Effect<P> {
    /// It is understood and done.
    Apply(P),
    /// It is understood and refused, with this advice.
    Refuse(P, &'static str),
    /// It says nothing to a device model in a stub domain. The text says why.
    Ignore(#[cfg_attr(not(test), expect(dead_code, reason = "it is there for the reader"))] &'static str),
}
use Effect::{Apply, Ignore, Refuse};

pub(super) const CDROM: &str =
    "CD drives need device_model_version=\"qemu-xen\", or leave the cdrom out of disk=[ ] in xl.cfg";
pub(super) const NIC: &str =
    "set model=rtl8139 or model=e1000 in vif=[ ] of xl.cfg, or type=vif for guests with Xen's network driver";
const USB: &str = "USB 2 and 3 are not supported: leave out usbversion and usbctrl in xl.cfg";
const SOUND: &str = "sound cards are not supported: leave out soundhw in xl.cfg";
pub(super) const SCSI: &str =
    "SCSI disks are not supported: name the disk hda to hdd, or xvda to xvdd, in disk=[ ] of xl.cfg";
pub(super) const AHCI: &str =
    "an AHCI controller has six ports: name the other disks xvdg and up in disk=[ ] of xl.cfg";
pub(super) const AHCI_CONTROLLERS: &str =
    "there are at most five AHCI controllers: leave this one out of device_model_args_hvm in xl.cfg";
pub(super) const STDVGA: &str = "set vga=\"stdvga\" in xl.cfg";
const SPICE: &str = "set spice=0 and vnc=1 in xl.cfg";
const RESTORE: &str = "a saved guest cannot be restored yet: start it anew with xl create";
pub(super) const CHANNEL: &str = "leave out channel=[ ] and COLO options in xl.cfg";
pub(super) const PASSTHROUGH: &str = "leave out pci=[ ] and gfx_passthru in xl.cfg";

/// A line for an option that stands alone.
const fn flag(option: &'static str, effect: Effect<Parse>) -> Line {
    Line { option, value: false, effect }
}

/// A line for an option that a value follows.
const fn with(option: &'static str, effect: Effect<Parse>) -> Line {
    Line { option, value: true, effect }
}

/// A line for a device.
const fn device(driver: &'static str, effect: Effect<ParseDevice>) -> DeviceLine {
    DeviceLine { driver, effect }
}

/// The options of a contract.
pub(super) const fn options(contract: Contract) -> &'static [Line] {
    match contract {
        Contract::QemuXen => QEMU_XEN,
        Contract::Traditional => TRADITIONAL,
    }
}

#[rustfmt::skip]
const QEMU_XEN: &[Line] = &[
    with("-xen-domid",          Apply(Draft::guest)),
    with("-name",               Apply(Draft::name)),
    with("-machine",            Apply(Draft::machine)),
    with("-m",                  Apply(Draft::memory)),
    with("-smp",                Apply(Draft::smp)),
    flag("-no-acpi",            Apply(Draft::no_acpi)),
    with("-boot",               Apply(Draft::boot)),
    with("-serial",             Apply(Draft::serial_hvc)),
    with("-device",             Apply(Draft::device)),
    with("-drive",              Apply(Draft::drive)),
    with("-net",                Apply(Draft::net)),
    with("-netdev",             Apply(Draft::netdev)),
    with("-display",            Apply(Draft::display)),
    with("-k",                  Apply(Draft::keymap)),
    with("-vnc",                Apply(Draft::vnc)),
    flag("-usb",                Apply(Draft::usb)),
    with("-usbdevice",          Apply(Draft::usb_device)),
    with("-kernel",             Apply(Draft::kernel)),
    with("-initrd",             Apply(Draft::initrd)),
    with("-append",             Apply(Draft::append)),
    with("-spice",              Refuse(Draft::spice, SPICE)),
    with("-incoming",           Refuse(Draft::incoming, RESTORE)),
    with("-chardev",            Refuse(Draft::chardev, CHANNEL)),
    with("-object",             Refuse(Draft::object, CHANNEL)),
    flag("-no-shutdown",        Ignore("a stub domain has no process that could end")),
    flag("-nodefaults",         Ignore("nothing is there that was not asked for")),
    flag("-no-user-config",     Ignore("there are no configuration files")),
    flag("-nographic",          Ignore("the picture goes to the framebuffer backend, if there is one")),
    flag("-xen-domid-restrict", Ignore("a stub domain is restricted to its guest by Xen")),
    with("-chroot",             Ignore("there are no files")),
    with("-runas",              Ignore("there are no users")),
    with("-run-with",           Ignore("Xen 4.20: the same as -chroot and -runas")),
];

#[rustfmt::skip]
const TRADITIONAL: &[Line] = &[
    with("-d",                  Apply(Draft::guest)),
    with("-domain-name",        Apply(Draft::name)),
    with("-vcpus",              Apply(Draft::vcpus)),
    with("-vcpu_avail",         Apply(Draft::vcpus_available)),
    flag("-acpi",               Apply(Draft::acpi)),
    with("-boot",               Apply(Draft::boot)),
    with("-serial",             Apply(Draft::serial_next)),
    flag("-std-vga",            Apply(Draft::std_vga)),
    with("-vga",                Apply(Draft::no_vga)),
    with("-videoram",           Apply(Draft::video_memory)),
    with("-net",                Apply(Draft::net)),
    with("-k",                  Apply(Draft::keymap)),
    flag("-usb",                Apply(Draft::usb)),
    with("-usbdevice",          Apply(Draft::usb_device)),
    with("-soundhw",            Refuse(Draft::sound, SOUND)),
    flag("-gfx_passthru",       Refuse(Draft::gfx_passthrough, PASSTHROUGH)),
    with("-loadvm",             Refuse(Draft::incoming, RESTORE)),
    with("-vnc",                Ignore("the toolstack's framebuffer backend is the VNC server")),
    flag("-vncunused",          Ignore("the toolstack's framebuffer backend is the VNC server")),
    flag("-nographic",          Ignore("the picture goes to the framebuffer backend, if there is one")),
    flag("-disable-opengl",     Ignore("the picture goes to the framebuffer backend, if there is one")),
];

#[rustfmt::skip]
pub(super) const DEVICES: &[DeviceLine] = &[
    device("VGA",                 Apply(Draft::video_std)),
    device("cirrus-vga",          Apply(Draft::video_cirrus)),
    device("qxl-vga",             Refuse(Draft::video_qxl, STDVGA)),
    device("ide-hd",              Apply(Draft::ide_disk)),
    device("ide-cd",              Apply(Draft::ide_cdrom)),
    device("scsi-hd",             Refuse(Draft::scsi_disk, SCSI)),
    device("ahci",                Apply(Draft::ahci)),
    device("ich9-ahci",           Apply(Draft::ahci)),
    device("lsi53c895a",          Refuse(Draft::other, SCSI)),
    device("rtl8139",             Apply(Draft::nic)),
    device("e1000",               Apply(Draft::nic)),
    device("e1000-82540em",       Apply(Draft::nic)),
    device("e1000e",              Refuse(Draft::nic, NIC)),
    device("ne2k_pci",            Refuse(Draft::nic, NIC)),
    device("pcnet",               Refuse(Draft::nic, NIC)),
    device("i82551",              Refuse(Draft::nic, NIC)),
    device("i82557b",             Refuse(Draft::nic, NIC)),
    device("i82559er",            Refuse(Draft::nic, NIC)),
    device("virtio-net",          Refuse(Draft::nic, NIC)),
    device("virtio-net-pci",      Refuse(Draft::nic, NIC)),
    device("vmxnet3",             Refuse(Draft::nic, NIC)),
    device("piix3-usb-uhci",      Apply(Draft::usb_controller)),
    device("ich9-usb-ehci1",      Refuse(Draft::other, USB)),
    device("ich9-usb-uhci1",      Refuse(Draft::other, USB)),
    device("ich9-usb-uhci2",      Refuse(Draft::other, USB)),
    device("ich9-usb-uhci3",      Refuse(Draft::other, USB)),
    device("nec-usb-xhci",        Refuse(Draft::other, USB)),
    device("usb-redir",           Refuse(Draft::other, SPICE)),
    device("virtio-serial",       Refuse(Draft::other, SPICE)),
    device("virtserialport",      Refuse(Draft::other, SPICE)),
    device("intel-hda",           Refuse(Draft::other, SOUND)),
    device("hda-duplex",          Refuse(Draft::other, SOUND)),
    device("ac97",                Refuse(Draft::other, SOUND)),
    device("AC97",                Refuse(Draft::other, SOUND)),
    device("adlib",               Refuse(Draft::other, SOUND)),
    device("cs4231a",             Refuse(Draft::other, SOUND)),
    device("es1370",              Refuse(Draft::other, SOUND)),
    device("ES1370",              Refuse(Draft::other, SOUND)),
    device("gus",                 Refuse(Draft::other, SOUND)),
    device("sb16",                Refuse(Draft::other, SOUND)),
    device("xen-pvdevice",        Refuse(Draft::other, "leave out vendor_device in xl.cfg")),
    device("xen-pci-passthrough", Refuse(Draft::other, PASSTHROUGH)),
];
