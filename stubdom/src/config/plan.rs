//! What the device model does of a [`Config`] today.

use super::disk::{Cache, Family, Media, Slot, Vbd, Vdev};
use super::refusal::{Reason, Refusal};
use super::vnc::Vnc;
use super::{Config, Contract, DirectKernel, Vcpus, VideoKind, table};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use devmodel::ahci;
use devmodel::machine::BootOrder;
use devmodel::usb::UsbDevice;

/// COM1 to COM4.
const MAX_SERIALS: usize = 4;
/// `HVM_MAX_VCPUS` of Xen's public/hvm/hvm_info_table.h.
const MAX_VCPUS: u32 = 128;
/// What physical addresses of 52 bits reach.
const MAX_MEMORY_MIB: u64 = 1 << 32;
/// The largest video memory of a Cirrus card, in MiB.
const MAX_CIRRUS_MIB: u32 = 8;
/// As many emulated network cards as libxl's Ethernet addresses and our memory are good for.
const MAX_NICS: usize = 8;
/// The largest video memory that `devmodel::machine::VgaConfig` allows, in MiB.
const MAX_VIDEO_MIB: u32 = 256;

/// The machine that is going to be built. The device model can do all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachinePlan {
    /// The domain whose device model this is.
    pub guest: u16,
    /// The guest's name, for the log.
    pub name: Option<String>,
    /// The layout of viewers' keyboards, by its name.
    pub keymap: Option<String>,
    /// The guest's memory without its video memory, in MiB, at most 2³². qemu-xen-traditional is not told.
    pub memory_mib: Option<u64>,
    /// Virtual CPUs; `max` is at least 1 and at most 128.
    pub vcpus: Vcpus,
    /// Whether there is ACPI power management.
    pub acpi: bool,
    /// Whether the Xen platform device is there.
    pub xen_platform: bool,
    /// Where to boot from, in this order. What is not there is skipped by the firmware.
    pub boot: BootOrder,
    /// The graphics card, unless the guest has none.
    pub video: Option<VideoPlan>,
    /// The network cards, in the order of their slots.
    pub nics: Vec<NicPlan>,
    /// What is plugged into the USB controller; `None`: there is none.
    pub usb: Option<Vec<UsbDevice>>,
    /// The serial ports: at most 4, COM1 first.
    pub serials: Vec<SerialPlan>,
    /// The IDE drives and those of the AHCI controller, each by rising slot: at most 4 and 30.
    pub drives: Vec<DrivePlan>,
    /// Number of AHCI controllers, at most [`AHCI_CONTROLLERS`](super::AHCI_CONTROLLERS).
    pub ahci: usize,
    /// Where our own VNC server listens.
    pub vnc: Option<Vnc>,
    /// What is started before anything in the boot order.
    pub kernel: Option<KernelPlan>,
}

/// A Linux kernel that is started without a boot disk. The paths are the toolstack's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelPlan {
    /// The kernel.
    pub kernel: String,
    /// Its initial ramdisk.
    pub initrd: Option<String>,
    /// Its command line.
    pub command_line: String,
}

/// A network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NicPlan {
    /// Which card.
    pub model: NicModel,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// The virtual network interface behind it: `device/vif/<number>`.
    pub vif: u32,
}

/// Network cards that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NicModel {
    /// Realtek RTL8139C+.
    Rtl8139,
    /// Intel 82540EM.
    E1000,
}

/// The graphics card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoPlan {
    /// Which one.
    pub model: VideoModel,
    /// Its memory in MiB: a power of two, at most 256.
    pub memory_mib: u32,
}

/// Graphics cards that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoModel {
    /// QEMU's `VGA`: standard VGA with the Bochs VBE registers.
    Std,
    /// Cirrus Logic GD5446.
    Cirrus,
}

/// A serial port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialPlan {
    /// 0 is COM1.
    pub port: u8,
    /// The console of the stub domain at its other end: `device/console/<number>`.
    pub console: u32,
}

/// A drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrivePlan {
    /// Where it is plugged in.
    pub bus: DriveBus,
    /// On IDE: 0 primary master, 1 primary slave, 2 secondary master, 3 secondary slave. On AHCI: the port, 0 to 5, and
    /// from 6 on those of the next controller.
    pub slot: u8,
    /// Which kind of drive it is.
    pub media: Media,
    /// The virtual block device behind it: `device/vbd/<number>`.
    pub vbd: u32,
    /// It is a CD drive, and nothing is in it.
    pub empty: bool,
    /// The guest must not write to it.
    pub read_only: bool,
}

/// What drives are plugged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DriveBus {
    /// The PIIX3.
    Ide,
    /// AHCI controllers.
    Ahci,
}

impl Config {
    /// The machine that this asks for, or the first thing in it that the device model cannot do.
    ///
    /// `vbds` are the virtual block devices of the stub domain. Those that no argument names (and, with
    /// qemu-xen-traditional, those beyond the fourth disk) are for the guest's own drivers and are left alone.
    pub fn plan(&self, vbds: &[Vbd]) -> Result<MachinePlan, Refusal> {
        if let Some(refusal) = self.refused.first() {
            return Err(refusal.clone());
        }
        let mut drives = match self.contract {
            Contract::QemuXen => self.named_drives(vbds)?,
            Contract::Traditional => stored_drives(vbds)?,
        };
        drives.sort_by_key(|drive| (drive.bus, drive.slot));
        Ok(MachinePlan {
            guest: self.guest,
            name: self.name.clone(),
            keymap: self.keymap.clone(),
            memory_mib: self.planned_memory()?,
            vcpus: self.planned_vcpus()?,
            acpi: self.acpi,
            xen_platform: self.machine.xen_platform,
            boot: self.boot.clone(),
            video: self.planned_video()?,
            nics: self.planned_nics()?,
            usb: self.planned_usb()?,
            serials: self.planned_serials()?,
            drives,
            ahci: self.ahci,
            vnc: self.vnc.clone(),
            kernel: self.planned_kernel()?,
        })
    }

    fn planned_kernel(&self) -> Result<Option<KernelPlan>, Refusal> {
        let DirectKernel { kernel, initrd, command_line } = self.kernel.clone();
        let Some(kernel) = kernel else {
            let lonely = [("-initrd", initrd), ("-append", command_line)];
            let lonely = lonely.into_iter().find_map(|(option, value)| Some(format!("{option} {}", value?)));
            let refuse = |argument: String| Err(Refusal::argument(&argument, Reason::Malformed("there is no -kernel")));
            return lonely.map_or(Ok(None), refuse);
        };
        Ok(Some(KernelPlan { kernel, initrd, command_line: command_line.unwrap_or_default() }))
    }

    fn planned_memory(&self) -> Result<Option<u64>, Refusal> {
        match self.memory_mib {
            Some(mib) if mib == 0 || mib > MAX_MEMORY_MIB => Err(Refusal::argument(
                &format!("-m {mib}"),
                Reason::Malformed("no guest has so much memory, or so little"),
            )),
            mib => Ok(mib),
        }
    }

    fn planned_vcpus(&self) -> Result<Vcpus, Refusal> {
        let option = match self.contract {
            Contract::QemuXen => "-smp",
            Contract::Traditional => "-vcpus",
        };
        let refuse = |why| Err(Refusal::argument(&format!("{option} {}", self.vcpus.max), Reason::Malformed(why)));
        match self.vcpus {
            Vcpus { max, .. } if max == 0 || max > MAX_VCPUS => refuse("a guest has 1 to 128 virtual CPUs"),
            Vcpus { online, max } if online == 0 || online > max => {
                refuse("not more virtual CPUs can be online, and not fewer than 1")
            }
            vcpus => Ok(vcpus),
        }
    }

    fn planned_video(&self) -> Result<Option<VideoPlan>, Refusal> {
        let Some(video) = &self.video else {
            return Ok(None);
        };
        let refuse = |advice| Err(Refusal::argument(&video.argument, Reason::NotSupported(advice)));
        let model = match video.kind {
            VideoKind::Qxl => return refuse(table::STDVGA),
            VideoKind::Std => VideoModel::Std,
            VideoKind::Cirrus => VideoModel::Cirrus,
        };
        // Its banks reach no further.
        let most = if model == VideoModel::Cirrus { MAX_CIRRUS_MIB } else { MAX_VIDEO_MIB };
        let memory_mib = if model == VideoModel::Cirrus { video.memory_mib.clamp(4, most) } else { video.memory_mib };
        if memory_mib > most || !memory_mib.is_power_of_two() {
            return refuse("set videoram=16 in xl.cfg");
        }
        Ok(Some(VideoPlan { model, memory_mib }))
    }

    fn planned_nics(&self) -> Result<Vec<NicPlan>, Refusal> {
        let mut nics: Vec<NicPlan> = Vec::new();
        for nic in &self.nics {
            let refuse = |reason| Err(Refusal::argument(&nic.argument, reason));
            let model = match nic.model.as_str() {
                "rtl8139" => NicModel::Rtl8139,
                "e1000" | "e1000-82540em" => NicModel::E1000,
                _ => return refuse(Reason::NotSupported(table::NIC)),
            };
            if nics.iter().any(|other| other.vif == nic.vif) {
                return refuse(Reason::Malformed("another card has the same network"));
            }
            if nics.len() >= MAX_NICS {
                return refuse(Reason::NotSupported(
                    "a guest has at most 8 emulated cards: write type=vif for the others",
                ));
            }
            nics.push(NicPlan { model, mac: nic.mac, vif: nic.vif });
        }
        Ok(nics)
    }

    fn planned_usb(&self) -> Result<Option<Vec<UsbDevice>>, Refusal> {
        let mut devices = Vec::new();
        for name in &self.usb_devices {
            let refuse = |advice| Err(Refusal::argument(&format!("-usbdevice {name}"), Reason::NotSupported(advice)));
            devices.push(match name.as_str() {
                "tablet" => UsbDevice::Tablet,
                "mouse" => UsbDevice::Mouse,
                "keyboard" => UsbDevice::Keyboard,
                _ => return refuse("tablet, mouse and keyboard are; name no other in usbdevice of xl.cfg"),
            });
            if devices.len() > devmodel::usb::DEVICES {
                return refuse("there is room for nine USB devices: shorten usbdevice in xl.cfg");
            }
        }
        Ok((self.usb || !devices.is_empty()).then_some(devices))
    }

    fn planned_serials(&self) -> Result<Vec<SerialPlan>, Refusal> {
        if let Some(fifth) = self.serials.get(MAX_SERIALS) {
            return Err(Refusal::argument(
                &fifth.argument,
                Reason::NotSupported("a PC has four serial ports: shorten serial=[ ] in xl.cfg"),
            ));
        }
        Ok((0_u8..).zip(&self.serials).map(|(port, serial)| SerialPlan { port, console: serial.console }).collect())
    }

    /// qemu-xen: the drives that the arguments name.
    fn named_drives(&self, vbds: &[Vbd]) -> Result<Vec<DrivePlan>, Refusal> {
        let plan = |disk: &super::Disk| {
            let refuse = |advice| Err(Refusal::argument(&disk.argument, Reason::NotSupported(advice)));
            let (bus, slot) = match disk.slot {
                Slot::Ide(slot) => (DriveBus::Ide, slot),
                Slot::Ahci { controller, port } if usize::from(port) < ahci::PORTS => {
                    let slot = controller.saturating_mul(ahci::PORTS).saturating_add(port.into());
                    (DriveBus::Ahci, u8::try_from(slot).unwrap_or(u8::MAX))
                }
                Slot::Ahci { .. } => return refuse(table::AHCI),
                Slot::Scsi(_) => return refuse(table::SCSI),
            };
            if disk.media == Media::Disk && !matches!(disk.cache, Cache::Writeback | Cache::None) {
                return refuse("leave out device_model_args in xl.cfg");
            }
            let media = disk.media;
            if let (Media::Cdrom, None, Some(vbd)) = (media, disk.image, disk.number) {
                // Its virtual block device has nothing behind it, and would never connect.
                return Ok(DrivePlan { bus, slot, media, vbd, empty: true, read_only: true });
            }
            let vbd = disk.find(vbds)?;
            let read_only = disk.read_only || vbd.read_only;
            Ok(DrivePlan { bus, slot, media, vbd: vbd.number, empty: false, read_only })
        };
        self.disks.iter().map(plan).collect()
    }
}

/// qemu-xen-traditional: the drives are what xenstore has, `hda` to `hdd` and `xvda` to `xvdd` in the slots of their
/// letters.
fn stored_drives(vbds: &[Vbd]) -> Result<Vec<DrivePlan>, Refusal> {
    let mut drives: Vec<DrivePlan> = Vec::new();
    for vbd in vbds {
        let refuse = |advice| Err(Refusal::key(&format!("device/vbd/{}", vbd.number), Reason::NotSupported(advice)));
        let slot = match Vdev::decode(vbd.number) {
            _ if vbd.media == Media::Cdrom => return refuse(table::CDROM),
            Some(Vdev { family: Family::Sd, .. }) | None => {
                return refuse(table::SCSI);
            }
            Some(Vdev { partition: 1.., .. }) => {
                return refuse("give the guest whole disks, not partitions");
            }
            Some(Vdev { disk: 4.., .. }) => continue,
            Some(Vdev { disk, .. }) => u8::try_from(disk).unwrap_or(u8::MAX),
        };
        if drives.iter().any(|drive| drive.slot == slot) {
            return refuse("give hda and xvda (and so on) different letters in disk=[ ]");
        }
        drives.push(DrivePlan {
            bus: DriveBus::Ide,
            slot,
            media: Media::Disk,
            vbd: vbd.number,
            empty: false,
            read_only: vbd.read_only,
        });
    }
    Ok(drives)
}
