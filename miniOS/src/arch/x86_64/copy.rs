//! Copies that the compiler knows nothing about.
//!
//! Memory that another domain writes at the same time must not be copied by code that the compiler may take apart.
//! These are opaque to it: each byte is loaded once and stored once.
// UNSAFETY: string instructions on raw pointers.
#![expect(unsafe_code)]

use core::arch::asm;

/// Copies `len` bytes.
///
/// # Safety
/// `from` is valid for reads and `to` for writes of `len` bytes, apart from others that may write at the same time.
pub(crate) unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: the caller vouches for both ranges; the direction flag is clear by the ABI, and what is clobbered is named.
    unsafe {
        asm!(
            "mov rcx, {len}",
            "shr rcx, 3",
            "rep movsq",
            "mov rcx, {len}",
            "and ecx, 7",
            "rep movsb",
            len = in(reg) len,
            inout("rdi") to => _,
            inout("rsi") from => _,
            out("rcx") _,
            options(nostack),
        );
    }
}

/// Sets `len` bytes.
///
/// # Safety
/// `to` is valid for writes of `len` bytes, apart from others that may write at the same time.
pub(crate) unsafe fn fill(to: *mut u8, value: u8, len: usize) {
    let pattern = u64::from_ne_bytes([value; 8]);
    // SAFETY: as above.
    unsafe {
        asm!(
            "mov rcx, {len}",
            "shr rcx, 3",
            "rep stosq",
            "mov rcx, {len}",
            "and ecx, 7",
            "rep stosb",
            len = in(reg) len,
            inout("rdi") to => _,
            in("rax") pattern,
            out("rcx") _,
            options(nostack),
        );
    }
}
