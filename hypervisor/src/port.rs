//! I/O ports: the hypervisor's own, by bytes, and those that the control domain has.
// UNSAFETY: the instructions.
#![expect(unsafe_code)]

use core::arch::asm;

/// Reads a byte.
pub(crate) fn read(port: u16) -> u8 {
    let value;
    // SAFETY: callers name ports of devices that are the hypervisor's or the control domain's, and touch no memory of the
    // hypervisor's.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes a byte.
pub(crate) fn write(port: u16, value: u8) {
    // SAFETY: as above.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) };
}

/// Reads two bytes.
pub(crate) fn read_word(port: u16) -> u16 {
    let value;
    // SAFETY: as above.
    unsafe { asm!("in ax, dx", in("dx") port, out("ax") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes two bytes.
pub(crate) fn write_word(port: u16, value: u16) {
    // SAFETY: as above.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nomem, nostack, preserves_flags)) };
}

/// Reads four bytes.
pub(crate) fn read_double(port: u16) -> u32 {
    let value;
    // SAFETY: as above.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes four bytes.
pub(crate) fn write_double(port: u16, value: u32) {
    // SAFETY: as above.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack, preserves_flags)) };
}
