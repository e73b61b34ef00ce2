//! TRIM: the ranges that DATA SET MANAGEMENT is given, and the operations that they become.
//!
//! A range is eight bytes, little-endian: a sector's number in 48 bits, then how many sectors there are in 16. A range of no
//! sectors is none. All ranges are checked before the first is acted upon.
//!
//! Source: ATA8-ACS, 7.10 (DATA SET MANAGEMENT).

use crate::host::{DiskHost, DiskId, DiskOp};
use serde::{Deserialize, Serialize};

/// Blocks of 512 bytes that one command may have: 512 ranges.
pub(crate) const MOST_BLOCKS: u32 = 8;
/// Bytes of a range.
const RANGE: usize = 8;

/// Ranges in a disk's transfer buffer that are still to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trim {
    next: usize,
    end: usize,
}

impl Trim {
    /// The ranges of so many blocks, from the start of the transfer buffer on. `None`: one is not on the disk.
    pub(crate) fn new<H: DiskHost + ?Sized>(host: &mut H, disk: DiskId, blocks: u32, sectors: u64) -> Option<Self> {
        let end = usize::try_from(blocks).unwrap_or(0).saturating_mul(512).min(host.disk_buffer_len(disk));
        let trim = Self { next: 0, end };
        let mut rest = trim;
        while let Some((lba, count)) = rest.take(host, disk) {
            if lba.checked_add(count).is_none_or(|behind| behind > sectors) {
                return None;
            }
        }
        Some(trim)
    }

    /// The next operation. `None`: all is done.
    pub(crate) fn next<H: DiskHost + ?Sized>(&mut self, host: &mut H, disk: DiskId) -> Option<DiskOp> {
        self.take(host, disk).map(|(lba, sectors)| DiskOp::Discard { lba, sectors })
    }

    fn take<H: DiskHost + ?Sized>(&mut self, host: &mut H, disk: DiskId) -> Option<(u64, u64)> {
        while self.next < self.end {
            let mut range = [0; RANGE];
            host.disk_buffer_read(disk, self.next, &mut range);
            self.next = self.next.saturating_add(RANGE);
            let range = u64::from_le_bytes(range);
            let (lba, count) = (range & 0xffff_ffff_ffff, range >> 48);
            if count > 0 {
                return Some((lba, count));
            }
        }
        None
    }
}
