//! Shifts and rotations.

use super::arithmetic::{flag, result_flags};
use super::registers::{CF, OF};
use super::{mask, sign};

/// Which shift or rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shift {
    /// SHL.
    Left,
    /// SHR.
    Right,
    /// SAR.
    Arithmetic,
    /// ROL.
    RotateLeft,
    /// ROR.
    RotateRight,
    /// RCL.
    CarryLeft,
    /// RCR.
    CarryRight,
}

/// A shifted value, and all flags of arithmetic, of which `flags` are those before. A count of 0 changes nothing. OF is what
/// it is for a count of 1, where other counts leave it undefined.
pub(super) fn shift(kind: Shift, value: u32, count: u32, width: u8, flags: u32) -> (u32, u32) {
    let count = count & 31;
    if count == 0 {
        return (value, flags);
    }
    let bits = u32::from(width) * 8;
    let value = value & mask(width);
    let top = |value: u32| value & sign(width) != 0;
    let carry = flags & CF;
    match kind {
        Shift::Left => {
            let wide = u64::from(value) << count;
            let result = low(wide) & mask(width);
            let out = wide >> bits & 1 != 0;
            (result, result_flags(result, width) | flag(out, CF) | flag(top(result) != out, OF))
        }
        Shift::Right => {
            let out = value >> (count - 1) & 1 != 0;
            let result = value.checked_shr(count).unwrap_or(0);
            (result, result_flags(result, width) | flag(out, CF) | flag(top(value), OF))
        }
        Shift::Arithmetic => {
            let signed = i64::from(super::extend(value, width).cast_signed());
            let out = signed >> (count - 1) & 1 != 0;
            let result = low((signed >> count).cast_unsigned()) & mask(width);
            (result, result_flags(result, width) | flag(out, CF))
        }
        Shift::RotateLeft => {
            let by = count % bits;
            let result = low(u64::from(value) << by | u64::from(value) >> (bits - by)) & mask(width);
            let out = result & 1 != 0;
            (result, flags & !(CF | OF) | flag(out, CF) | flag(top(result) != out, OF))
        }
        Shift::RotateRight => {
            let by = count % bits;
            let result = low(u64::from(value) >> by | u64::from(value) << (bits - by)) & mask(width);
            let out = top(result);
            let next = result << 1 & sign(width) != 0;
            (result, flags & !(CF | OF) | flag(out, CF) | flag(out != next, OF))
        }
        Shift::CarryLeft | Shift::CarryRight => {
            // The carry is one more bit above the value.
            let (all, by) = (bits + 1, count % (bits + 1));
            let wide = u128::from(value) | u128::from(carry) << bits;
            let by = if kind == Shift::CarryLeft { by } else { (all - by) % all };
            let rotated = (wide << by | wide >> (all - by)) & ((1 << all) - 1);
            let out = rotated >> bits & 1 != 0;
            let result = u32::try_from(rotated & u128::from(mask(width))).unwrap_or(0);
            let overflow = match kind {
                Shift::CarryLeft => top(result) != out,
                _ => top(result) != (result << 1 & sign(width) != 0),
            };
            (result, flags & !(CF | OF) | flag(out, CF) | flag(overflow, OF))
        }
    }
}

/// SHLD: `value` goes left, and the highest bits of `source` follow.
pub(super) fn double_left(value: u32, source: u32, count: u32, width: u8, flags: u32) -> (u32, u32) {
    let (count, bits) = (count & 31, u32::from(width) * 8);
    if count == 0 {
        return (value, flags);
    }
    let (value, source) = (value & mask(width), source & mask(width));
    let wide = u128::from(value) << bits | u128::from(source);
    let shifted = wide << count;
    let result = u32::try_from(shifted >> bits & u128::from(mask(width))).unwrap_or(0);
    let out = shifted >> (2 * bits) & 1 != 0;
    let overflow = (result ^ value) & sign(width) != 0;
    (result, result_flags(result, width) | flag(out, CF) | flag(overflow, OF))
}

/// SHRD: `value` goes right, and the lowest bits of `source` follow.
pub(super) fn double_right(value: u32, source: u32, count: u32, width: u8, flags: u32) -> (u32, u32) {
    let (count, bits) = (count & 31, u32::from(width) * 8);
    if count == 0 {
        return (value, flags);
    }
    let (value, source) = (value & mask(width), source & mask(width));
    let wide = u128::from(source) << bits | u128::from(value);
    let result = u32::try_from(wide >> count & u128::from(mask(width))).unwrap_or(0);
    let out = wide >> (count - 1) & 1 != 0;
    let overflow = (result ^ value) & sign(width) != 0;
    (result, result_flags(result, width) | flag(out, CF) | flag(overflow, OF))
}

fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
