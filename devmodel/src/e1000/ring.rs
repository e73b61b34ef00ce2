//! A ring of descriptors: where it is, and how far both sides got.
//!
//! Source: SDM 3.2.6 and 3.4 (rings), 13.4.25 to 13.4.29 and 13.4.36 to 13.4.40 (registers).
//! Invariant: a head or tail outside of the ring is not followed: nothing is taken from such a ring.

use crate::host::GuestAddr;
use serde::{Deserialize, Serialize};

/// Bytes of a descriptor.
pub(super) const DESCRIPTOR: u32 = 16;

/// Base, length, head and tail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ring {
    base_low: u32,
    base_high: u32,
    len: u32,
    pub(super) head: u32,
    pub(super) tail: u32,
}

impl Ring {
    /// Reads the register at `offset` from the ring's first one; `None` is none of them.
    pub(super) fn read(&self, offset: u32) -> Option<u32> {
        Some(match offset {
            0x00 => self.base_low,
            0x04 => self.base_high,
            0x08 => self.len,
            0x10 => self.head,
            0x18 => self.tail,
            _ => return None,
        })
    }

    /// Writes it. `false` is none of them.
    pub(super) fn write(&mut self, offset: u32, value: u32) -> bool {
        match offset {
            // Descriptors lie on multiples of 16 bytes, and 128 bytes are the unit of the length.
            0x00 => self.base_low = value & !0xf,
            0x04 => self.base_high = value,
            0x08 => self.len = value & 0xf_ff80,
            0x10 => self.head = value & 0xffff,
            0x18 => self.tail = value & 0xffff,
            _ => return false,
        }
        true
    }

    /// How many descriptors there are.
    pub(super) fn count(&self) -> u32 {
        self.len / DESCRIPTOR
    }

    /// How many of them are the hardware's.
    pub(super) fn available(&self) -> u32 {
        let count = self.count();
        if self.head >= count || self.tail >= count {
            0
        } else if self.head <= self.tail {
            self.tail.wrapping_sub(self.head)
        } else {
            count.wrapping_sub(self.head).wrapping_add(self.tail)
        }
    }

    /// Where the descriptor at the head is.
    pub(super) fn at_head(&self) -> GuestAddr {
        let base = u64::from(self.base_high) << 32 | u64::from(self.base_low);
        GuestAddr(base.wrapping_add(u64::from(self.head).wrapping_mul(DESCRIPTOR.into())))
    }

    /// Is through with the descriptor at the head.
    pub(super) fn advance(&mut self) {
        self.head = self.head.wrapping_add(1);
        if self.head >= self.count() {
            self.head = 0;
        }
    }
}
