//! What the device model does of a [`Config`] today.

use super::disk::{Cache, Family, Media, Slot, Vbd, Vdev};
use super::refusal::{Reason, Refusal};
use super::{Config, Contract, Vcpus, VideoKind, table};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use devmodel::machine::BootOrder;

/// COM1 to COM4.
const MAX_SERIALS: usize = 4;
/// `HVM_MAX_VCPUS` of Xen's public/hvm/hvm_info_table.h.
const MAX_VCPUS: u32 = 128;
/// What physical addresses of 52 bits reach.
const MAX_MEMORY_MIB: u64 = 1 << 32;
/// The largest video memory that `devmodel::machine::VgaConfig` allows, in MiB.
const MAX_VIDEO_MIB: u32 = 256;

/// The machine that is going to be built. The device model can do all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachinePlan {
    /// The domain whose device model this is.
    pub guest: u16,
    /// The guest's name, for the log.
    pub name: Option<String>,
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
    /// The standard VGA card, unless the guest has none.
    pub video: Option<VideoPlan>,
    /// The serial ports: at most 4, COM1 first.
    pub serials: Vec<SerialPlan>,
    /// The IDE drives, by rising slot: at most 4.
    pub drives: Vec<DrivePlan>,
}

/// The standard VGA card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoPlan {
    /// Its memory in MiB: a power of two, at most 256.
    pub memory_mib: u32,
}

/// A serial port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialPlan {
    /// 0 is COM1.
    pub port: u8,
    /// The console of the stub domain at its other end: `device/console/<number>`.
    pub console: u32,
}

/// An IDE drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrivePlan {
    /// 0 primary master, 1 primary slave, 2 secondary master, 3 secondary slave.
    pub slot: u8,
    /// Which kind of drive it is.
    pub media: Media,
    /// The virtual block device behind it: `device/vbd/<number>`. A CD drive without one is empty.
    pub vbd: Option<u32>,
    /// The guest must not write to it.
    pub read_only: bool,
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
        drives.sort_by_key(|drive| drive.slot);
        Ok(MachinePlan {
            guest: self.guest,
            name: self.name.clone(),
            memory_mib: self.planned_memory()?,
            vcpus: self.planned_vcpus()?,
            acpi: self.acpi,
            xen_platform: self.machine.xen_platform,
            boot: self.boot.clone(),
            video: self.planned_video()?,
            serials: self.planned_serials()?,
            drives,
        })
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
        match (video.kind, video.memory_mib) {
            (VideoKind::Cirrus | VideoKind::Qxl, _) => refuse(table::STDVGA),
            (VideoKind::Std, mib) if mib > MAX_VIDEO_MIB || !mib.is_power_of_two() => {
                refuse("set videoram=16 in xl.cfg")
            }
            (VideoKind::Std, memory_mib) => Ok(Some(VideoPlan { memory_mib })),
        }
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
            let slot = match (disk.slot, disk.media, disk.cache) {
                (Slot::Ide(slot), Media::Cdrom, _) => slot,
                (Slot::Ahci(_), _, _) => return refuse(table::AHCI),
                (Slot::Scsi(_), _, _) => return refuse(table::SCSI),
                (_, _, Cache::Writethrough | Cache::Directsync | Cache::Unsafe) => {
                    return refuse("leave out device_model_args in xl.cfg");
                }
                (Slot::Ide(slot), Media::Disk, Cache::Writeback | Cache::None) => slot,
            };
            let media = disk.media;
            if media == Media::Cdrom && disk.image.is_none() {
                // Its virtual block device has nothing behind it, and would never connect.
                return Ok(DrivePlan { slot, media, vbd: None, read_only: true });
            }
            let vbd = disk.find(vbds)?;
            Ok(DrivePlan { slot, media, vbd: Some(vbd.number), read_only: disk.read_only || vbd.read_only })
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
        drives.push(DrivePlan { slot, media: Media::Disk, vbd: Some(vbd.number), read_only: vbd.read_only });
    }
    Ok(drives)
}
