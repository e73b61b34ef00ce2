//! Reading the arguments one by one, and putting together what belongs together.
//!
//! A drive and the device that it sits in are two arguments, and so are a network card and its other end. They are
//! collected here and joined when the last argument has been read.

use super::disk::{Cache, Disk, Media, Slot};
use super::properties::{Properties, mac, number};
use super::refusal::{Reason, Refusal};
use super::table::{self, Effect};
use super::vnc::Vnc;
use super::{
    AHCI_CONTROLLERS, Argument, Config, Contract, Device, DirectKernel, FIRST_SERIAL_CONSOLE, Machine, Nic, Serial,
    Vcpus, Video, VideoKind,
};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use devmodel::machine::BootOrder;

/// How an option is understood.
pub(super) type Parse = fn(&mut Draft, &Argument<'_>) -> Result<(), Reason>;
/// How a device is understood, given its name and what else is said of it.
pub(super) type ParseDevice = fn(&mut Draft, &Argument<'_>, String, Properties) -> Result<(), Reason>;

/// The longest mask of virtual CPUs that libxl writes, in hexadecimal digits.
const MAX_VCPU_MASK_DIGITS: usize = 256;

/// What has been said so far.
#[derive(Default)]
pub(super) struct Draft {
    guest: Option<u16>,
    name: Option<String>,
    machine: Option<Machine>,
    memory_mib: Option<u64>,
    vcpus: Option<u32>,
    vcpus_online: Option<u32>,
    acpi: Option<bool>,
    keymap: Option<String>,
    boot: Option<BootOrder>,
    video: Option<Video>,
    /// qemu-xen-traditional: the graphics card, or `None` for `-vga none`, and its memory, told separately.
    old_video: Option<(Option<VideoKind>, String)>,
    old_video_memory: Option<(u32, String)>,
    serials: Vec<Serial>,
    disks: Vec<Disk>,
    drives: Vec<Drive>,
    sockets: Vec<Socket>,
    nics: Vec<Nic>,
    devices: Vec<Device>,
    /// The names of the AHCI controllers.
    ahci: Vec<String>,
    usb: bool,
    usb_devices: Vec<String>,
    sound: Vec<String>,
    chardevs: Vec<Properties>,
    objects: Vec<Properties>,
    kernel: DirectKernel,
    incoming: Option<String>,
    spice: Option<Properties>,
    vnc: Option<Vnc>,
    refused: Vec<Refusal>,
}

/// A drive (`-drive if=none`) that some device names by its identifier.
struct Drive {
    id: String,
    image: Option<u32>,
    read_only: bool,
    cache: Cache,
    discard: Option<bool>,
    /// It is one of COLO's, and nothing needs to use it.
    colo: bool,
    argument: String,
}

/// A device that a drive sits in.
struct Socket {
    slot: Slot,
    media: Media,
    drive: String,
    argument: String,
}

/// Reads the arguments of `contract`.
pub(super) fn read(contract: Contract, words: &[&str]) -> Result<Config, Refusal> {
    let mut draft = Draft::default();
    let mut words = words.iter();
    while let Some(option) = words.next() {
        let line = table::options(contract).iter().find(|line| line.option == *option);
        let line = line.ok_or_else(|| Refusal::argument(option, Reason::Unknown))?;
        let value = if line.value { words.next().copied() } else { Some("") };
        let value = value.ok_or_else(|| Refusal::argument(option, Reason::LacksValue))?;
        let argument = Argument { option, value };
        let refuse = |reason| Refusal::argument(&argument.text(), reason);
        match line.effect {
            Effect::Ignore(_) => {}
            Effect::Apply(parse) => parse(&mut draft, &argument).map_err(refuse)?,
            Effect::Refuse(parse, advice) => {
                parse(&mut draft, &argument).map_err(refuse)?;
                draft.refuse(&argument, advice);
            }
        }
    }
    draft.finish(contract)
}

/// Sets what can be set once.
fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Reason> {
    if place.replace(value).is_some() { Err(Reason::Twice) } else { Ok(()) }
}

impl Draft {
    /// Notes that the device model cannot do what `argument` says.
    fn refuse(&mut self, argument: &Argument<'_>, advice: &'static str) {
        self.refused.push(Refusal::argument(&argument.text(), Reason::NotSupported(advice)));
    }

    // The options, in the order of the tables.

    pub(super) fn guest(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        /// `DOMID_FIRST_RESERVED` of Xen's public/xen.h.
        const FIRST_RESERVED: u16 = 0x7ff0;
        match number(argument.value)? {
            0 | FIRST_RESERVED.. => Err(Reason::Malformed("this is no domain that a guest can have")),
            domain => once(&mut self.guest, domain),
        }
    }

    pub(super) fn name(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        once(&mut self.name, argument.value.to_string())
    }

    pub(super) fn machine(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        let mut properties = Properties::parse(argument.value, Some("type"))?;
        let xen_platform = match properties.need("type")?.as_str() {
            "xenfv" => true,
            "pc" => false,
            _ => return Err(Reason::Malformed("the machine is neither xenfv nor pc")),
        };
        if properties.take("accel").is_some_and(|accelerator| accelerator != "xen") {
            return Err(Reason::Malformed("accel is not xen"));
        }
        // It leaves a description out of QEMU's migration stream.
        properties.take_switch("suppress-vmdesc")?;
        let max_ram_below_4g = properties.take_number("max-ram-below-4g")?;
        let igd_passthrough = properties.take_switch("igd-passthru")?.unwrap_or(false);
        properties.finish()?;
        if igd_passthrough {
            self.refuse(argument, table::PASSTHROUGH);
        }
        once(&mut self.machine, Machine { xen_platform, max_ram_below_4g, igd_passthrough })
    }

    pub(super) fn memory(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        once(&mut self.memory_mib, number(argument.value)?)
    }

    pub(super) fn smp(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        let mut properties = Properties::parse(argument.value, Some("cpus"))?;
        let online = number(&properties.need("cpus")?)?;
        let max = properties.take_number("maxcpus")?.unwrap_or(online);
        properties.finish()?;
        once(&mut self.vcpus, max)?;
        once(&mut self.vcpus_online, online)
    }

    pub(super) fn vcpus(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        once(&mut self.vcpus, number(argument.value)?)
    }

    /// A mask with one bit for each virtual CPU that is there at the start.
    pub(super) fn vcpus_available(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        let digits = argument.value.strip_prefix("0x").unwrap_or("");
        if digits.is_empty() || digits.len() > MAX_VCPU_MASK_DIGITS {
            return Err(Reason::Malformed("this is no mask of virtual CPUs"));
        }
        let ones = digits
            .chars()
            .try_fold(0_u32, |ones, digit| digit.to_digit(16).map(|d| ones.saturating_add(d.count_ones())));
        once(&mut self.vcpus_online, ones.ok_or(Reason::Malformed("this is no mask of virtual CPUs"))?)
    }

    pub(super) fn acpi(&mut self, _: &Argument<'_>) -> Result<(), Reason> {
        once(&mut self.acpi, true)
    }

    pub(super) fn no_acpi(&mut self, _: &Argument<'_>) -> Result<(), Reason> {
        once(&mut self.acpi, false)
    }

    /// `order=cda` of qemu-xen, `cda` of qemu-xen-traditional.
    pub(super) fn boot(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        let mut properties = Properties::parse(argument.value, Some("order"))?;
        let letters = properties.need("order")?;
        properties.finish()?;
        let order = BootOrder::parse(&letters);
        let order = order.ok_or(Reason::Malformed("boot devices are a, c, d and n, each once"))?;
        once(&mut self.boot, order)
    }

    /// The number of the console that the next serial port gets.
    fn next_console(&self) -> Result<u32, Reason> {
        let count = u32::try_from(self.serials.len()).ok();
        count
            .and_then(|count| FIRST_SERIAL_CONSOLE.checked_add(count))
            .ok_or(Reason::Malformed("there are too many serial ports"))
    }

    /// qemu-xen: libxl writes the console that it connected, as Linux would call it.
    pub(super) fn serial_hvc(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        let console = self.next_console()?;
        let named = argument.value.strip_prefix("/dev/hvc").map(number::<u32>).transpose()?;
        if named != Some(console) {
            return Err(Reason::Malformed("serial ports are /dev/hvc3, /dev/hvc4 and so on, in this order"));
        }
        self.serials.push(Serial { console, argument: argument.text() });
        Ok(())
    }

    /// qemu-xen-traditional: libxl writes what is in xl.cfg, and connects the next console to it.
    pub(super) fn serial_next(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        let console = self.next_console()?;
        self.serials.push(Serial { console, argument: argument.text() });
        Ok(())
    }

    pub(super) fn device(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        let mut properties = Properties::parse(argument.value, Some("driver"))?;
        let driver = properties.need("driver")?;
        match table::DEVICES.iter().find(|line| line.driver == driver).map(|line| &line.effect) {
            Some(Effect::Apply(parse)) => parse(self, argument, driver, properties),
            Some(Effect::Refuse(parse, advice)) => {
                parse(self, argument, driver, properties)?;
                self.refuse(argument, advice);
                Ok(())
            }
            Some(Effect::Ignore(_)) => Ok(()),
            // `model=` of xl.cfg's vif may be anything.
            None if properties.get("netdev").is_some() => {
                self.nic(argument, driver, properties)?;
                self.refuse(argument, table::NIC);
                Ok(())
            }
            None => Err(Reason::Unknown),
        }
    }

    pub(super) fn drive(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        let mut properties = Properties::parse(argument.value, None)?;
        let interface = properties.need("if")?;
        if properties.get("driver").is_some() {
            // Replication between two hosts; what the rest says only matters to QEMU.
            self.refuse(argument, table::CHANNEL);
            let id = properties.take("id").unwrap_or_default();
            self.drives.push(Drive {
                id,
                image: None,
                read_only: false,
                cache: Cache::default(),
                discard: None,
                colo: true,
                argument: argument.text(),
            });
            return Ok(());
        }
        let image = properties.take("file").map(|file| image(&file)).transpose()?;
        let read_only = properties.take_switch("readonly")?.unwrap_or(false);
        let cache = match properties.take("cache").as_deref() {
            None | Some("writeback") => Cache::Writeback,
            Some("none") => Cache::None,
            Some("writethrough") => Cache::Writethrough,
            Some("directsync") => Cache::Directsync,
            Some("unsafe") => Cache::Unsafe,
            Some(_) => return Err(Reason::Malformed("there is no such cache mode")),
        };
        let discard = match properties.take("discard").as_deref() {
            None => None,
            Some("on" | "unmap") => Some(true),
            Some("off" | "ignore") => Some(false),
            Some(_) => return Err(Reason::Malformed("there is no such discard mode")),
        };
        // Formats of disk images are the business of the backend: what we are given is blocks.
        if properties.take("format").is_some_and(|format| format != "host_device" && format != "raw") {
            return Err(Reason::Malformed("format is not host_device"));
        }
        let text = argument.text();
        match interface.as_str() {
            "ide" => {
                let slot = number::<u8>(&properties.need("index")?)?;
                if slot > 3 {
                    return Err(Reason::Malformed("index is not 0 to 3"));
                }
                if properties.take("media").is_some_and(|media| media != "disk") {
                    return Err(Reason::Malformed("media is not disk"));
                }
                properties.finish()?;
                let image = Some(image.ok_or(Reason::MissingProperty("file"))?);
                let (slot, media, argument) = (Slot::Ide(slot), Media::Disk, text);
                self.disks.push(Disk { slot, media, image, number: None, read_only, cache, discard, argument });
            }
            "none" => {
                let id = properties.need("id")?;
                properties.finish()?;
                self.drives.push(Drive { id, image, read_only, cache, discard, colo: false, argument: text });
            }
            _ => return Err(Reason::Malformed("if is neither ide nor none")),
        }
        Ok(())
    }

    /// `none`, or the two halves of a card of qemu-xen-traditional.
    pub(super) fn net(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        let mut properties = Properties::parse(argument.value, Some("type"))?;
        match properties.need("type")?.as_str() {
            "none" => {}
            "nic" => {
                let vif = number(&properties.need("vlan")?)?;
                let mac = mac(&properties.need("macaddr")?)?;
                let model = properties.need("model")?;
                self.nics.push(Nic { model, mac, vif, argument: argument.text() });
            }
            "tap" => {
                properties.need("vlan")?;
                for known in ["ifname", "bridge", "script", "downscript"] {
                    properties.take(known);
                }
            }
            _ => return Err(Reason::Malformed("the type is none of none, nic, tap")),
        }
        properties.finish()
    }

    /// The other end of a card: the toolstack connected a vif instead.
    pub(super) fn netdev(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        let mut properties = Properties::parse(argument.value, Some("type"))?;
        if properties.need("type")? != "tap" {
            return Err(Reason::Malformed("the type is not tap"));
        }
        properties.need("id")?;
        for known in ["ifname", "br", "script", "downscript"] {
            properties.take(known);
        }
        properties.finish()
    }

    pub(super) fn display(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        if argument.value == "none" { Ok(()) } else { Err(Reason::NotSupported("set sdl=0 and vnc=1 in xl.cfg")) }
    }

    pub(super) fn keymap(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        once(&mut self.keymap, argument.value.to_string())
    }

    /// qemu-xen: libxl says `none`, others can say more.
    pub(super) fn vnc(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        if argument.value == "none" {
            return Ok(());
        }
        once(&mut self.vnc, Vnc::parse(argument.value)?)
    }

    pub(super) fn usb(&mut self, _: &Argument<'_>) -> Result<(), Reason> {
        self.usb = true;
        Ok(())
    }

    pub(super) fn usb_device(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        self.usb_devices.push(argument.value.to_string());
        Ok(())
    }

    pub(super) fn kernel(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        once(&mut self.kernel.kernel, argument.value.to_string())
    }

    pub(super) fn initrd(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        once(&mut self.kernel.initrd, argument.value.to_string())
    }

    pub(super) fn append(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        once(&mut self.kernel.command_line, argument.value.to_string())
    }

    pub(super) fn spice(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        once(&mut self.spice, Properties::parse(argument.value, None)?)
    }

    pub(super) fn incoming(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        once(&mut self.incoming, argument.value.to_string())
    }

    pub(super) fn chardev(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        self.chardevs.push(Properties::parse(argument.value, Some("backend"))?);
        Ok(())
    }

    pub(super) fn object(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        self.objects.push(Properties::parse(argument.value, Some("qom-type"))?);
        Ok(())
    }

    pub(super) fn sound(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        self.sound.push(argument.value.to_string());
        Ok(())
    }

    pub(super) fn gfx_passthrough(&mut self, _: &Argument<'_>) -> Result<(), Reason> {
        Ok(())
    }

    pub(super) fn std_vga(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        once(&mut self.old_video, (Some(VideoKind::Std), argument.text()))
    }

    pub(super) fn no_vga(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        if argument.value != "none" {
            return Err(Reason::Malformed("it is not none"));
        }
        once(&mut self.old_video, (None, argument.text()))
    }

    pub(super) fn video_memory(&mut self, argument: &Argument<'_>) -> Result<(), Reason> {
        once(&mut self.old_video_memory, (number(argument.value)?, argument.text()))
    }

    // The devices, in the order of their table.

    fn video(
        &mut self,
        argument: &Argument<'_>,
        kind: VideoKind,
        sizes: &[&'static str],
        mut properties: Properties,
    ) -> Result<(), Reason> {
        let mut memory_mib = 0_u32;
        for size in sizes {
            memory_mib = memory_mib.saturating_add(number(&properties.need(size)?)?);
        }
        properties.finish()?;
        once(&mut self.video, Video { kind, memory_mib, argument: argument.text() })
    }

    pub(super) fn video_std(
        &mut self,
        argument: &Argument<'_>,
        _: String,
        properties: Properties,
    ) -> Result<(), Reason> {
        self.video(argument, VideoKind::Std, &["vgamem_mb"], properties)
    }

    pub(super) fn video_cirrus(
        &mut self,
        argument: &Argument<'_>,
        _: String,
        properties: Properties,
    ) -> Result<(), Reason> {
        self.video(argument, VideoKind::Cirrus, &["vgamem_mb"], properties)
    }

    pub(super) fn video_qxl(
        &mut self,
        argument: &Argument<'_>,
        _: String,
        properties: Properties,
    ) -> Result<(), Reason> {
        self.video(argument, VideoKind::Qxl, &["vram_size_mb", "ram_size_mb"], properties)
    }

    pub(super) fn ahci(
        &mut self,
        argument: &Argument<'_>,
        _: String,
        mut properties: Properties,
    ) -> Result<(), Reason> {
        let name = properties.need("id")?;
        properties.finish()?;
        if self.ahci.contains(&name) {
            return Err(Reason::Twice);
        }
        if self.ahci.len() >= AHCI_CONTROLLERS {
            self.refuse(argument, table::AHCI_CONTROLLERS);
        }
        self.ahci.push(name);
        Ok(())
    }

    pub(super) fn ide_disk(
        &mut self,
        argument: &Argument<'_>,
        _: String,
        properties: Properties,
    ) -> Result<(), Reason> {
        self.ide_drive(argument, Media::Disk, properties)
    }

    pub(super) fn ide_cdrom(
        &mut self,
        argument: &Argument<'_>,
        _: String,
        properties: Properties,
    ) -> Result<(), Reason> {
        self.ide_drive(argument, Media::Cdrom, properties)
    }

    /// A drive of either kind, on a channel of the PIIX3 (`bus=ide.0`) or a port of an AHCI controller (`bus=ahci0.3`).
    fn ide_drive(&mut self, argument: &Argument<'_>, media: Media, mut properties: Properties) -> Result<(), Reason> {
        let bus = properties.need("bus")?;
        let (controller, number) = bus.rsplit_once('.').ok_or(Reason::Malformed("the bus has no number"))?;
        let number = self::number::<u8>(number)?;
        let unit = properties.take_number("unit")?.unwrap_or(0_u8);
        let slot = match (controller, self.ahci.iter().position(|known| known == controller), number, unit) {
            ("ide", None, 0 | 1, 0 | 1) => Slot::Ide(number << 1 | unit),
            (_, Some(controller), port, 0) => Slot::Ahci { controller, port },
            _ => return Err(Reason::Malformed("there is no such place on an IDE bus or an AHCI controller")),
        };
        properties.take("id");
        self.socket(argument, slot, media, properties)
    }

    pub(super) fn scsi_disk(
        &mut self,
        argument: &Argument<'_>,
        _: String,
        mut properties: Properties,
    ) -> Result<(), Reason> {
        let slot = Slot::Scsi(number(&properties.need("scsi-id")?)?);
        self.socket(argument, slot, Media::Disk, properties)
    }

    fn socket(
        &mut self,
        argument: &Argument<'_>,
        slot: Slot,
        media: Media,
        mut properties: Properties,
    ) -> Result<(), Reason> {
        let drive = properties.need("drive")?;
        properties.finish()?;
        self.sockets.push(Socket { slot, media, drive, argument: argument.text() });
        Ok(())
    }

    pub(super) fn nic(
        &mut self,
        argument: &Argument<'_>,
        model: String,
        mut properties: Properties,
    ) -> Result<(), Reason> {
        let netdev = properties.need("netdev")?;
        let vif = netdev.strip_prefix("net").ok_or(Reason::Malformed("netdev is not net0, net1 and so on"))?;
        let vif = number(vif)?;
        let mac = mac(&properties.need("mac")?)?;
        properties.take("id");
        properties.finish()?;
        self.nics.push(Nic { model, mac, vif, argument: argument.text() });
        Ok(())
    }

    pub(super) fn usb_controller(&mut self, _: &Argument<'_>, _: String, _: Properties) -> Result<(), Reason> {
        self.usb = true;
        Ok(())
    }

    pub(super) fn other(&mut self, _: &Argument<'_>, driver: String, properties: Properties) -> Result<(), Reason> {
        self.devices.push(Device { driver, properties });
        Ok(())
    }

    // The end.

    /// Joins what belongs together, and checks that nothing is missing.
    fn finish(mut self, contract: Contract) -> Result<Config, Refusal> {
        let missing = |option, advice| Refusal::argument(option, Reason::Missing(advice));
        let (domain_option, acpi_by_default) = match contract {
            Contract::QemuXen => ("-xen-domid", true),
            Contract::Traditional => ("-d", false),
        };
        self.join_drives()?;
        let machine = match contract {
            Contract::QemuXen => self.machine.ok_or_else(|| missing("-machine", ""))?,
            Contract::Traditional => {
                self.join_video();
                Machine { xen_platform: true, ..Machine::default() }
            }
        };
        let max = self.vcpus.unwrap_or(1);
        Ok(Config {
            contract,
            guest: self.guest.ok_or_else(|| missing(domain_option, ""))?,
            name: self.name,
            machine,
            memory_mib: self.memory_mib,
            vcpus: Vcpus { online: self.vcpus_online.unwrap_or(max), max },
            acpi: self.acpi.unwrap_or(acpi_by_default),
            keymap: self.keymap,
            boot: self.boot.unwrap_or_default(),
            video: self.video,
            serials: self.serials,
            disks: self.disks,
            nics: self.nics,
            devices: self.devices,
            ahci: self.ahci.len(),
            usb: self.usb,
            usb_devices: self.usb_devices,
            sound: self.sound,
            chardevs: self.chardevs,
            objects: self.objects,
            kernel: self.kernel,
            incoming: self.incoming,
            spice: self.spice,
            vnc: self.vnc,
            refused: self.refused,
        })
    }

    /// qemu-xen-traditional has a Cirrus card when it is told nothing else.
    fn join_video(&mut self) {
        let (memory_mib, said) = self.old_video_memory.take().unwrap_or_default();
        match self.old_video.take() {
            Some((None, _)) => {}
            Some((Some(kind), argument)) => {
                let argument = if said.is_empty() { argument } else { said };
                self.video = Some(Video { kind, memory_mib, argument });
            }
            None => self.video = Some(Video { kind: VideoKind::Cirrus, memory_mib, argument: said }),
        }
    }

    /// Puts drives into the devices that name them.
    fn join_drives(&mut self) -> Result<(), Refusal> {
        for socket in core::mem::take(&mut self.sockets) {
            let refuse = |why| Refusal::argument(&socket.argument, Reason::Malformed(why));
            let at = self.drives.iter().position(|drive| drive.id == socket.drive);
            let drive = self.drives.swap_remove(at.ok_or_else(|| refuse("no -drive has this name"))?);
            let number = match (socket.media, drive.id.strip_prefix("ide-").map(number)) {
                (Media::Cdrom, Some(Ok(number))) => Some(number),
                (Media::Cdrom, _) => {
                    return Err(refuse("the drive is not named after a virtual block device"));
                }
                (Media::Disk, _) => None,
            };
            if socket.media == Media::Disk && drive.image.is_none() && !drive.colo {
                return Err(Refusal::argument(&drive.argument, Reason::MissingProperty("file")));
            }
            self.disks.push(Disk {
                slot: socket.slot,
                media: socket.media,
                image: drive.image,
                number,
                read_only: drive.read_only,
                cache: drive.cache,
                discard: drive.discard,
                argument: socket.argument,
            });
        }
        if let Some(drive) = self.drives.iter().find(|drive| !drive.colo) {
            return Err(Refusal::argument(&drive.argument, Reason::Malformed("no device uses this drive")));
        }
        let mut taken = Vec::new();
        for disk in &self.disks {
            if taken.contains(&disk.slot) {
                return Err(Refusal::argument(&disk.argument, Reason::Malformed("another drive is in the same place")));
            }
            taken.push(disk.slot);
        }
        Ok(())
    }
}

/// The number of the disk `/dev/xvda` to `/dev/xvdz`.
fn image(file: &str) -> Result<u32, Reason> {
    const WHY: Reason = Reason::Malformed("file is not /dev/xvda to /dev/xvdz");
    let mut letters = file.strip_prefix("/dev/xvd").ok_or(WHY)?.chars();
    match (letters.next(), letters.next()) {
        (Some(letter @ 'a'..='z'), None) => {
            ('a'..='z').zip(0..).find(|(known, _)| *known == letter).map(|(_, disk)| disk).ok_or(WHY)
        }
        _ => Err(WHY),
    }
}
