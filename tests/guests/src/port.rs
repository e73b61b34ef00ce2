//! I/O ports.

// UNSAFETY: the port instructions.
#![expect(unsafe_code)]

use core::arch::asm;

/// Reads one byte.
pub(crate) fn in8(port: u16) -> u8 {
    let value;
    // SAFETY: the guest owns its machine. A read of a port touches no memory of the program.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Reads two bytes.
pub(crate) fn in16(port: u16) -> u16 {
    let value;
    // SAFETY: as in `in8`.
    unsafe { asm!("in ax, dx", in("dx") port, out("ax") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Reads four bytes.
pub(crate) fn in32(port: u16) -> u32 {
    let value;
    // SAFETY: as in `in8`.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes one byte. Not `nomem`: the write may start a bus master that transfers what was stored before.
pub(crate) fn out8(port: u16, value: u8) {
    // SAFETY: the guest owns its machine. Bus masters are only ever pointed at the memory for transfers.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack, preserves_flags)) };
}

/// Writes two bytes.
pub(crate) fn out16(port: u16, value: u16) {
    // SAFETY: as in `out8`.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nostack, preserves_flags)) };
}

/// Writes four bytes.
pub(crate) fn out32(port: u16, value: u32) {
    // SAFETY: as in `out8`.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack, preserves_flags)) };
}

/// Fills `data` with words of a port, by one string instruction. An odd last byte stays as it is.
pub(crate) fn in16_string(port: u16, data: &mut [u8]) {
    // SAFETY: the instruction writes `len / 2` words, all within `data`; the direction flag is clear by the ABI.
    unsafe {
        asm!("rep insw", in("dx") port, inout("rdi") data.as_mut_ptr() => _, inout("rcx") data.len() / 2 => _, options(nostack, preserves_flags))
    };
}

/// Fills `data` with double words of a port, by one string instruction. Last bytes that make none stay as they are.
pub(crate) fn in32_string(port: u16, data: &mut [u8]) {
    // SAFETY: the instruction writes `len / 4` double words, all within `data`.
    unsafe {
        asm!("rep insd", in("dx") port, inout("rdi") data.as_mut_ptr() => _, inout("rcx") data.len() / 4 => _, options(nostack, preserves_flags))
    };
}

/// Writes the words of `data` to a port, by one string instruction.
pub(crate) fn out16_string(port: u16, data: &[u8]) {
    // SAFETY: the instruction reads `len / 2` words, all within `data`.
    unsafe {
        asm!("rep outsw", in("dx") port, inout("rsi") data.as_ptr() => _, inout("rcx") data.len() / 2 => _, options(nostack, preserves_flags, readonly))
    };
}

/// Writes the double words of `data` to a port, by one string instruction.
pub(crate) fn out32_string(port: u16, data: &[u8]) {
    // SAFETY: the instruction reads `len / 4` double words, all within `data`.
    unsafe {
        asm!("rep outsd", in("dx") port, inout("rsi") data.as_ptr() => _, inout("rcx") data.len() / 4 => _, options(nostack, preserves_flags, readonly))
    };
}
