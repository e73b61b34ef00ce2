//! Drives of the arguments, virtual block devices of xenstore, and which of the two belong together.
//!
//! libxl gives every disk a letter, `file=/dev/xvda` for the first one, in the way in which Linux names the disks of
//! a stub domain: the letter is the number of the disk within `hd`, `sd` or `xvd`, and says nothing of which of these
//! three families it is in. The directory `device/vbd/<number>` says both:
//!
//! | vdev | number | for example |
//! |---|---|---|
//! | `hda`, `hdb` | 3 × 256 + disk × 64 + partition | 768, 832 |
//! | `hdc`, `hdd` | 22 × 256 + (disk − 2) × 64 + partition | 5632, 5696 |
//! | `sda` … `sdp` | 8 × 256 + disk × 16 + partition | 2048, 2064 |
//! | `xvda` … `xvdp` | 202 × 256 + disk × 16 + partition | 51712, 51728 |
//! | `xvdq` … | 2²⁸ + disk × 256 + partition | 268439552 |
//!
//! So a letter alone can mean up to three directories. An IDE or AHCI drive is in family `hd` or `xvd`, a SCSI drive in
//! `sd`; a CD drive carries its number in its name, `ide-5632`. Should `hda` and `xvda` both exist, the argument
//! is ambiguous and is refused.
//!
//! Source: xen-vbd-interface(7); `libxl__device_disk_dev_number` for the numbers that xl gives out.

use super::properties::number;
use super::refusal::{Reason, Refusal};
use alloc::format;
use alloc::string::String;

/// What a drive holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// A hard disk.
    Disk,
    /// A CD or DVD, or nothing.
    Cdrom,
}

/// Where a drive is plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// PIIX3 IDE: 0 primary master, 1 primary slave, 2 secondary master, 3 secondary slave.
    Ide(u8),
    /// A port of an AHCI controller, the first one's number being 0.
    Ahci {
        /// Which controller.
        controller: usize,
        /// Which of its ports.
        port: u8,
    },
    /// A target of the SCSI controller.
    Scsi(u8),
}

/// How writes are cached, by QEMU's names. Whatever it says, what the guest flushes is flushed in the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// The guest sees a volatile write cache and flushes it.
    #[default]
    Writeback,
    /// The same, without the host's page cache.
    None,
    /// The guest sees no write cache: every write is durable when it completes.
    Writethrough,
    /// `Writethrough` without the host's page cache.
    Directsync,
    /// Flushes are dropped.
    Unsafe,
}

/// A drive as the arguments of qemu-xen describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Where it is plugged in.
    pub slot: Slot,
    /// What it holds.
    pub media: Media,
    /// The number of the disk: 0 for `/dev/xvda`. `None` is a CD drive with nothing in it.
    pub image: Option<u32>,
    /// The virtual block device, where the argument names one (CD drives do).
    pub number: Option<u32>,
    /// The guest must not write to it.
    pub read_only: bool,
    /// How writes are cached.
    pub cache: Cache,
    /// Whether the guest may discard sectors; the backend has the last word.
    pub discard: Option<bool>,
    /// The argument that says all this.
    pub argument: String,
}

/// A virtual block device that the toolstack connected to the stub domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vbd {
    /// The name of its directory, `device/vbd/<number>`.
    pub number: u32,
    /// What it holds.
    pub media: Media,
    /// Its backend refuses writes.
    pub read_only: bool,
}

impl Vbd {
    /// Understands what the store says of one device.
    ///
    /// `directory` is the name below `device/vbd`, `virtual_device` and `device_type` are keys of that directory,
    /// `mode` is a key of its backend's. The backend's `bootable` is 1 for every disk and says nothing.
    pub fn from_store(directory: &str, virtual_device: &str, device_type: &str, mode: &str) -> Result<Self, Refusal> {
        let refuse = |key: &str, reason| Refusal::key(&format!("device/vbd/{directory}{key}"), reason);
        let number = number::<u32>(directory).map_err(|reason| refuse("", reason))?;
        if virtual_device != directory {
            return Err(refuse("/virtual-device", Reason::Malformed("it differs from its directory's name")));
        }
        let media = match device_type {
            "disk" => Media::Disk,
            "cdrom" => Media::Cdrom,
            _ => {
                return Err(refuse("/device-type", Reason::Malformed("it is neither disk nor cdrom")));
            }
        };
        let read_only = match mode {
            "w" => false,
            "r" => true,
            _ => {
                return Err(refuse(" (backend's mode)", Reason::Malformed("it is neither w nor r")));
            }
        };
        Ok(Self { number, media, read_only })
    }
}

/// A kind of disk, by its name in xl.cfg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Hd,
    Sd,
    Xvd,
}

/// What the number of a virtual block device means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vdev {
    pub(super) family: Family,
    /// 0 for `hda`, `sda`, `xvda`.
    pub(super) disk: u32,
    /// 0 is the whole disk.
    pub(super) partition: u32,
}

impl Vdev {
    /// Takes a number apart. `None`: no disk of xl's has it.
    pub(super) fn decode(number: u32) -> Option<Self> {
        let minor = number & 0xff;
        match number >> 8 {
            3 => Some(Self { family: Family::Hd, disk: minor >> 6, partition: minor & 63 }).filter(|v| v.disk < 2),
            22 => Some(Self { family: Family::Hd, disk: minor >> 6, partition: minor & 63 })
                .filter(|v| v.disk < 2)
                .map(|v| Self { disk: v.disk | 2, ..v }),
            8 => Some(Self { family: Family::Sd, disk: minor >> 4, partition: minor & 15 }),
            202 => Some(Self { family: Family::Xvd, disk: minor >> 4, partition: minor & 15 }),
            extended if extended >> 20 == 1 => {
                Some(Self { family: Family::Xvd, disk: extended & 0xf_ffff, partition: minor })
            }
            _ => None,
        }
    }

    /// The number of a whole disk, if there is such a disk.
    pub(super) fn whole(family: Family, disk: u32) -> Option<u32> {
        match family {
            Family::Hd if disk < 4 => Some(((if disk < 2 { 3 } else { 22 }) << 8) | ((disk & 1) << 6)),
            Family::Sd if disk < 16 => Some((8 << 8) | (disk << 4)),
            Family::Xvd if disk < 16 => Some((202 << 8) | (disk << 4)),
            Family::Xvd if disk < 1 << 20 => Some((1 << 28) | (disk << 8)),
            _ => None,
        }
    }
}

impl Disk {
    /// The numbers that the virtual block device of this drive can have, the likeliest first.
    pub fn vbd_candidates(&self) -> impl Iterator<Item = u32> + use<> {
        let families: &[Family] = match (self.number, self.slot) {
            (Some(_), _) => &[],
            (None, Slot::Ide(_) | Slot::Ahci { .. }) => &[Family::Hd, Family::Xvd],
            (None, Slot::Scsi(_)) => &[Family::Sd],
        };
        let image = self.image;
        let by_letter = families.iter().filter_map(move |family| Vdev::whole(*family, image?));
        self.number.into_iter().chain(by_letter)
    }

    /// Finds the virtual block device of this drive among those that the stub domain has.
    pub fn find<'a>(&self, vbds: &'a [Vbd]) -> Result<&'a Vbd, Refusal> {
        let refuse = |reason| Refusal::argument(&self.argument, reason);
        let mut found = self.vbd_candidates().filter_map(|number| vbds.iter().find(|vbd| vbd.number == number));
        let first =
            found.next().ok_or_else(|| refuse(Reason::Malformed("the stub domain has no such disk in device/vbd")))?;
        if found.next().is_some() {
            return Err(refuse(Reason::NotSupported("give hda and xvda (and so on) different letters in disk=[ ]")));
        }
        if first.media != self.media {
            return Err(refuse(Reason::Malformed("the device-type of its device/vbd is another")));
        }
        Ok(first)
    }
}
