//! Sums, differences and logic, with the flags that they set.

use super::registers::{AF, ARITHMETIC, CF, OF, PF, SF, ZF};
use super::{Cpu, mask, sign};

/// ZF, SF and PF of a result.
pub(super) fn result_flags(value: u32, width: u8) -> u32 {
    let value = value & mask(width);
    let mut flags = 0;
    if value == 0 {
        flags |= ZF;
    }
    if value & sign(width) != 0 {
        flags |= SF;
    }
    if (value & 0xff).count_ones().is_multiple_of(2) {
        flags |= PF;
    }
    flags
}

/// A flag, if it is to be set.
pub(super) fn flag(is_set: bool, flag: u32) -> u32 {
    if is_set { flag } else { 0 }
}

/// A sum, with a carry of 0 or 1 into it, and its flags.
pub(super) fn add(a: u32, b: u32, carry: u32, width: u8) -> (u32, u32) {
    let (a, b) = (a & mask(width), b & mask(width));
    let wide = u64::from(a) + u64::from(b) + u64::from(carry);
    let sum = a.wrapping_add(b).wrapping_add(carry) & mask(width);
    let flags = result_flags(sum, width)
        | flag(wide > u64::from(mask(width)), CF)
        | flag((a ^ sum) & (b ^ sum) & sign(width) != 0, OF)
        | (a ^ b ^ sum) & AF;
    (sum, flags)
}

/// A difference, with a borrow of 0 or 1 into it, and its flags.
pub(super) fn subtract(a: u32, b: u32, borrow: u32, width: u8) -> (u32, u32) {
    let (a, b) = (a & mask(width), b & mask(width));
    let difference = a.wrapping_sub(b).wrapping_sub(borrow) & mask(width);
    let flags = result_flags(difference, width)
        | flag(u64::from(a) < u64::from(b) + u64::from(borrow), CF)
        | flag((a ^ b) & (a ^ difference) & sign(width) != 0, OF)
        | (a ^ b ^ difference) & AF;
    (difference, flags)
}

impl Cpu {
    /// Sets the flags of arithmetic.
    pub(super) fn set_arithmetic(&mut self, flags: u32) {
        self.flags = self.flags & !ARITHMETIC | flags & ARITHMETIC;
    }

    /// The carry flag as 0 or 1.
    pub(super) fn carry(&self) -> u32 {
        self.flags & CF
    }

    /// Whether a condition of Jcc, SETcc or CMOVcc holds, by its number in the opcode.
    pub(super) fn condition(&self, number: u8) -> bool {
        let is = |flag: u32| self.flags & flag != 0;
        let holds = match number >> 1 {
            0 => is(OF),
            1 => is(CF),
            2 => is(ZF),
            3 => is(CF) || is(ZF),
            4 => is(SF),
            5 => is(PF),
            6 => is(SF) != is(OF),
            _ => is(ZF) || is(SF) != is(OF),
        };
        holds != (number & 1 != 0)
    }
}
