//! The table of physical regions of a command: where in memory its data is.
//!
//! Source: AHCI 1.3.1, section 4.2.3.3.

use crate::host::{GuestAddr, Host, Unmapped};
use serde::{Deserialize, Serialize};

/// Bytes of an entry.
const ENTRY: u64 = 16;

/// A table, and how far it has been used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Prdt {
    table: u64,
    entries: u16,
    index: u16,
    /// Bytes of the entry that were used.
    offset: u32,
    /// Bytes that were moved.
    pub(super) moved: u32,
}

impl Prdt {
    /// The table at `table`.
    pub(super) const fn new(table: u64, entries: u16) -> Self {
        Self { table, entries, index: 0, offset: 0, moved: 0 }
    }

    /// The next piece, at most `most` bytes. `None`: the table has ended.
    pub(super) fn next(&mut self, host: &mut dyn Host, most: usize) -> Result<Option<(GuestAddr, usize)>, Unmapped> {
        if self.index >= self.entries || most == 0 {
            return Ok(None);
        }
        let mut entry = [0; 16];
        host.read(GuestAddr(self.table.wrapping_add(u64::from(self.index).wrapping_mul(ENTRY))), &mut entry)?;
        let [a, b, c, d, e, f, g, h, _, _, _, _, i, j, k, l] = entry;
        let base = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let len = (u32::from_le_bytes([i, j, k, l]) & 0x003f_ffff).saturating_add(1);
        let left = len.saturating_sub(self.offset);
        let piece = left.min(u32::try_from(most).unwrap_or(u32::MAX));
        let addr = GuestAddr(base.wrapping_add(self.offset.into()));
        if piece == left {
            (self.index, self.offset) = (self.index.saturating_add(1), 0);
        } else {
            self.offset = self.offset.saturating_add(piece);
        }
        self.moved = self.moved.saturating_add(piece);
        Ok(Some((addr, usize::try_from(piece).unwrap_or(0))))
    }

    /// Gives `len` bytes piece by piece to `copy`: addresses, offsets and lengths. Gives how many there was room for.
    pub(super) fn copy(
        &mut self,
        host: &mut dyn Host,
        len: usize,
        mut copy: impl FnMut(&mut dyn Host, GuestAddr, usize, usize) -> Result<(), Unmapped>,
    ) -> Result<usize, Unmapped> {
        let mut done = 0_usize;
        while let Some((addr, piece)) = self.next(host, len.saturating_sub(done))? {
            copy(host, addr, done, piece)?;
            done = done.saturating_add(piece);
        }
        Ok(done)
    }
}
