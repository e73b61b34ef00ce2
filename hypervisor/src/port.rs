//! The I/O ports that the hypervisor itself uses.
// UNSAFETY: the two instructions.
#![expect(unsafe_code)]

use core::arch::asm;

/// Reads a byte.
pub(crate) fn read(port: u16) -> u8 {
    let value;
    // SAFETY: callers name ports of devices that are the hypervisor's, and touch no memory.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes a byte.
pub(crate) fn write(port: u16, value: u8) {
    // SAFETY: as above.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) };
}
