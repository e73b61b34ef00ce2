//! The configuration space of PCI, through the I/O ports 0xcf8 and 0xcfc (PCI local bus specification, mechanism #1).
// UNSAFETY: the two instructions.
#![expect(unsafe_code)]

use core::arch::asm;

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;

/// Reads a register. Without the right to use ports this faults; see [`crate::hypercall::physdev::allow_ports`].
pub(crate) fn read_pci(register: u32) -> u32 {
    write(ADDRESS, register & !3 | ENABLE);
    let value;
    // SAFETY: reads a register of configuration space, which touches no memory of ours.
    unsafe { asm!("in eax, dx", in("dx") DATA, out("eax") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes a register.
///
/// # Safety
/// No device begins to access memory that Rust code relies on, or answers where such memory is.
pub(crate) unsafe fn write_pci(register: u32, value: u32) {
    write(ADDRESS, register & !3 | ENABLE);
    write(DATA, value);
}

/// Writes to one of the two ports above.
fn write(port: u16, value: u32) {
    // SAFETY: the address has no effect of its own, and the data is what the caller of `write_pci` vouches for.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack, preserves_flags)) };
}
