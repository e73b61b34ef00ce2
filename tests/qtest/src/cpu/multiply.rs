//! Products and quotients.

use super::registers::Fault;
use super::{extend, mask};

/// A product in two halves of `width` bytes, low one first, and whether the high one has something to say.
pub(super) fn multiply(a: u32, b: u32, width: u8) -> (u32, u32, bool) {
    let product = u64::from(a & mask(width)) * u64::from(b & mask(width));
    let (low, high) = halves(product, width);
    (low, high, high != 0)
}

/// The same of signed numbers.
pub(super) fn multiply_signed(a: u32, b: u32, width: u8) -> (u32, u32, bool) {
    let [a, b] = [a, b].map(|value| i64::from(extend(value, width).cast_signed()));
    let product = a * b;
    let (low, high) = halves(product.cast_unsigned(), width);
    (low, high, i64::from(extend(low, width).cast_signed()) != product)
}

/// Quotient and remainder.
pub(super) fn divide(high: u32, low: u32, by: u32, width: u8) -> Result<(u32, u32), Fault> {
    let dividend = joined(high, low, width);
    let by = u64::from(by & mask(width));
    let quotient = dividend.checked_div(by).ok_or(Fault::DIVIDE)?;
    let remainder = dividend.checked_rem(by).ok_or(Fault::DIVIDE)?;
    let quotient = u32::try_from(quotient).ok().filter(|quotient| *quotient <= mask(width));
    Ok((quotient.ok_or(Fault::DIVIDE)?, u32::try_from(remainder).unwrap_or(0)))
}

/// The same of signed numbers.
pub(super) fn divide_signed(high: u32, low: u32, by: u32, width: u8) -> Result<(u32, u32), Fault> {
    let bits = u32::from(width) * 16;
    let unused = 64 - bits;
    let dividend = (joined(high, low, width) << unused).cast_signed() >> unused;
    let by = i64::from(extend(by, width).cast_signed());
    let quotient = dividend.checked_div(by).ok_or(Fault::DIVIDE)?;
    let remainder = dividend.checked_rem(by).ok_or(Fault::DIVIDE)?;
    let (short, _) = halves(quotient.cast_unsigned(), width);
    if i64::from(extend(short, width).cast_signed()) != quotient {
        return Err(Fault::DIVIDE);
    }
    Ok((short, halves(remainder.cast_unsigned(), width).0))
}

fn joined(high: u32, low: u32, width: u8) -> u64 {
    u64::from(high & mask(width)) << (u32::from(width) * 8) | u64::from(low & mask(width))
}

fn halves(value: u64, width: u8) -> (u32, u32) {
    let half = |value: u64| u32::try_from(value & u64::from(mask(width))).unwrap_or(0);
    (half(value), half(value >> (u32::from(width) * 8)))
}
