//! The statistics registers: 64 of them, cleared by reading.
//!
//! Source: SDM 13.7. Octets are counted with the frame check sequence, from the destination address on.
//! Not modelled: what can only go wrong on a wire stays zero.
//! Invariant: a counter that is full stays full.

use crate::net::multicast::{is_broadcast, is_group};
use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

// Counters, by their offset from `regs::STATISTICS`.

/// MPC, missed packets: there was no room.
pub(super) const MPC: u32 = 0x10;
/// PRC64, the first of six for lengths of received frames.
const PRC64: u32 = 0x5c;
/// GPRC, good packets received.
const GPRC: u32 = 0x74;
const BPRC: u32 = 0x78;
const MPRC: u32 = 0x7c;
/// GPTC, good packets sent.
const GPTC: u32 = 0x80;
const GORCL: u32 = 0x88;
const GOTCL: u32 = 0x90;
/// RNBC, there was no buffer for a received frame.
pub(super) const RNBC: u32 = 0xa0;
/// ROC, received frames that were too long.
pub(super) const ROC: u32 = 0xac;
const TORL: u32 = 0xc0;
const TOTL: u32 = 0xc8;
const TPR: u32 = 0xd0;
const TPT: u32 = 0xd4;
/// PTC64, the first of six for lengths of frames that were sent.
const PTC64: u32 = 0xd8;
const MPTC: u32 = 0xf0;
const BPTC: u32 = 0xf4;
/// TSCTC, packets that were cut into segments.
pub(super) const TSCTC: u32 = 0xf8;

/// Bytes of a frame check sequence.
const FCS: u32 = 4;

/// The counters.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Statistics(#[serde(with = "BigArray")] [u32; 64]);

impl Default for Statistics {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl Statistics {
    /// Reads a counter, and clears it. The lower halves of 64-bit counters stay, until the higher one is read.
    pub(super) fn read(&mut self, offset: u32) -> u32 {
        let value = self.cell(offset).map_or(0, |cell| *cell);
        match offset {
            GORCL | GOTCL | TORL | TOTL => return value,
            _ => {}
        }
        self.set(offset, 0);
        if matches!(offset.wrapping_sub(4), GORCL | GOTCL | TORL | TOTL) {
            self.set(offset.wrapping_sub(4), 0);
        }
        value
    }

    /// Counts one more.
    pub(super) fn count(&mut self, offset: u32) {
        self.count_many(offset, 1);
    }

    fn count_many(&mut self, offset: u32, number: u32) {
        if let Some(cell) = self.cell(offset) {
            *cell = cell.saturating_add(number);
        }
    }

    /// A frame came in, of `len` bytes, for us or not.
    pub(super) fn seen(&mut self, len: usize) {
        self.count(TPR);
        self.count_octets(TORL, bytes(len).saturating_add(FCS));
    }

    /// A frame was received.
    pub(super) fn received(&mut self, address: [u8; 6], len: usize) {
        let len = bytes(len).saturating_add(FCS);
        self.count(GPRC);
        self.count_octets(GORCL, len);
        self.count_kind(address, BPRC, MPRC, 1);
        self.count_many(size_class(PRC64, len), 1);
    }

    /// Frames were sent, so many with so many bytes in all, to one address.
    pub(super) fn sent(&mut self, address: [u8; 6], frames: u32, octets: u32) {
        let all = octets.saturating_add(frames.saturating_mul(FCS));
        for counter in [GPTC, TPT] {
            self.count_many(counter, frames);
        }
        for counter in [GOTCL, TOTL] {
            self.count_octets(counter, all);
        }
        self.count_kind(address, BPTC, MPTC, frames);
        self.count_many(size_class(PTC64, all.checked_div(frames).unwrap_or(0)), frames);
    }

    fn count_kind(&mut self, address: [u8; 6], broadcast: u32, multicast: u32, number: u32) {
        if is_broadcast(address) {
            self.count_many(broadcast, number);
        } else if is_group(address) {
            self.count_many(multicast, number);
        }
    }

    fn count_octets(&mut self, low: u32, number: u32) {
        let high = low.wrapping_add(4);
        let old = u64::from(self.cell(high).map_or(0, |cell| *cell)) << 32
            | u64::from(self.cell(low).map_or(0, |cell| *cell));
        let [a, b, c, d, e, f, g, h] = old.saturating_add(number.into()).to_le_bytes();
        self.set(low, u32::from_le_bytes([a, b, c, d]));
        self.set(high, u32::from_le_bytes([e, f, g, h]));
    }

    fn cell(&mut self, offset: u32) -> Option<&mut u32> {
        self.0.get_mut(usize::try_from(offset / 4).unwrap_or(usize::MAX))
    }

    fn set(&mut self, offset: u32, value: u32) {
        if let Some(cell) = self.cell(offset) {
            *cell = value;
        }
    }
}

/// The counter, among six from `first` on, for frames of this length with their frame check sequence.
fn size_class(first: u32, len: u32) -> u32 {
    let class = match len {
        0..=64 => 0,
        65..=127 => 1,
        128..=255 => 2,
        256..=511 => 3,
        512..=1023 => 4,
        1024.. => 5,
    };
    first.wrapping_add(class << 2)
}

fn bytes(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
