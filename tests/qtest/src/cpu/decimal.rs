//! Decimal adjustments of AL and AX.

use super::arithmetic::{flag, result_flags};
use super::registers::{AF, CF, Fault};

/// DAA and DAS: AL and the flags, from those before.
pub(super) fn adjust_packed(al: u8, flags: u32, subtract: bool) -> (u8, u32) {
    let (mut value, mut carry) = (al, flags & CF != 0);
    let by = |value: u8, amount: u8| if subtract { value.wrapping_sub(amount) } else { value.wrapping_add(amount) };
    let half = al & 0x0f > 9 || flags & AF != 0;
    if half {
        // A borrow out of the byte is kept.
        carry |= subtract && al < 6;
        value = by(value, 6);
    }
    if al > 0x99 || flags & CF != 0 {
        value = by(value, 0x60);
        carry = true;
    } else if !subtract {
        carry = false;
    }
    (value, result_flags(value.into(), 1) | flag(carry, CF) | flag(half, AF))
}

/// AAA and AAS: AX and the flags.
pub(super) fn adjust_unpacked(ax: u16, flags: u32, subtract: bool) -> (u16, u32) {
    let half = ax & 0x0f > 9 || flags & AF != 0;
    let adjusted = match (half, subtract) {
        (false, _) => ax,
        (true, false) => ax.wrapping_add(0x106),
        (true, true) => ax.wrapping_sub(0x106),
    };
    (adjusted & 0xff0f, flags & !(AF | CF) | flag(half, AF | CF))
}

/// AAM: AX and the flags.
pub(super) fn split(al: u8, base: u8) -> Result<(u16, u32), Fault> {
    let (Some(high), Some(low)) = (al.checked_div(base), al.checked_rem(base)) else { return Err(Fault::DIVIDE) };
    Ok((u16::from_le_bytes([low, high]), result_flags(low.into(), 1)))
}

/// AAD: AX and the flags.
pub(super) fn join(ax: u16, base: u8) -> (u16, u32) {
    let [low, high] = ax.to_le_bytes();
    let value = high.wrapping_mul(base).wrapping_add(low);
    (value.into(), result_flags(value.into(), 1))
}
