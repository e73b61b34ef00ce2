//! Physical memory: device windows, firmware tables, the memory for transfers. All of it is at its own address.
//!
//! Invariant: no function here touches memory that the linker gave to the program, so Rust's own data stays its own.

// UNSAFETY: access by physical address.
#![expect(unsafe_code)]

use core::arch::asm;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};

/// One past the last address that the page tables map.
const MAPPED_END: u64 = 1 << 32;

/// Checks that a range is mapped and none of the program's.
///
/// Page tables, the stack of real mode and the image lie from 0x1000 to 0x80000, bss and stacks above 1 MiB.
fn check(address: u64, length: usize) -> usize {
    let end = address.checked_add(length as u64).expect("an address beyond the end");
    let program_end = (&raw const crate::boot::__memory_end).addr() as u64;
    let clear_of = |first: u64, last: u64| end <= first || address >= last;
    assert!(
        end <= MAPPED_END && clear_of(0x1000, 0x8_0000) && clear_of(0x10_0000, program_end),
        "{address:#x} is not for devices"
    );
    usize::try_from(address).expect("addresses have 64 bits")
}

/// Reads one byte.
pub(crate) fn read8(address: u64) -> u8 {
    // SAFETY: mapped, and no memory of the program's. `read_volatile` is one access here, as are all below.
    unsafe { with_exposed_provenance::<u8>(check(address, 1)).read_volatile() }
}

/// Reads two bytes at an even address.
pub(crate) fn read16(address: u64) -> u16 {
    assert!(address.is_multiple_of(2), "{address:#x} is odd");
    // SAFETY: as in `read8`, and aligned.
    unsafe { with_exposed_provenance::<u16>(check(address, 2)).read_volatile() }
}

/// Reads four bytes at an aligned address.
pub(crate) fn read32(address: u64) -> u32 {
    assert!(address.is_multiple_of(4), "{address:#x} is not aligned");
    // SAFETY: as in `read8`, and aligned.
    unsafe { with_exposed_provenance::<u32>(check(address, 4)).read_volatile() }
}

/// Reads eight bytes at an aligned address.
pub(crate) fn read64(address: u64) -> u64 {
    assert!(address.is_multiple_of(8), "{address:#x} is not aligned");
    // SAFETY: as in `read8`, and aligned.
    unsafe { with_exposed_provenance::<u64>(check(address, 8)).read_volatile() }
}

/// Writes one byte.
pub(crate) fn write8(address: u64, value: u8) {
    // SAFETY: as in `read8`.
    unsafe { with_exposed_provenance_mut::<u8>(check(address, 1)).write_volatile(value) };
}

/// Writes two bytes at an even address.
pub(crate) fn write16(address: u64, value: u16) {
    assert!(address.is_multiple_of(2), "{address:#x} is odd");
    // SAFETY: as in `read8`, and aligned.
    unsafe { with_exposed_provenance_mut::<u16>(check(address, 2)).write_volatile(value) };
}

/// Writes four bytes at an aligned address.
pub(crate) fn write32(address: u64, value: u32) {
    assert!(address.is_multiple_of(4), "{address:#x} is not aligned");
    // SAFETY: as in `read8`, and aligned.
    unsafe { with_exposed_provenance_mut::<u32>(check(address, 4)).write_volatile(value) };
}

/// Writes eight bytes at an aligned address.
pub(crate) fn write64(address: u64, value: u64) {
    assert!(address.is_multiple_of(8), "{address:#x} is not aligned");
    // SAFETY: as in `read8`, and aligned.
    unsafe { with_exposed_provenance_mut::<u64>(check(address, 8)).write_volatile(value) };
}

/// Copies out of physical memory, by one string instruction.
pub(crate) fn copy_from(address: u64, data: &mut [u8]) {
    let source = with_exposed_provenance::<u8>(check(address, data.len()));
    // SAFETY: `data` is ours, the source is mapped and apart from it.
    unsafe {
        asm!("rep movsb", inout("rsi") source => _, inout("rdi") data.as_mut_ptr() => _, inout("rcx") data.len() => _, options(nostack, preserves_flags))
    };
}

/// Copies into physical memory, by one string instruction.
pub(crate) fn copy_to(address: u64, data: &[u8]) {
    let target = with_exposed_provenance_mut::<u8>(check(address, data.len()));
    // SAFETY: `data` is ours, the target is mapped and apart from it.
    unsafe {
        asm!("rep movsb", inout("rsi") data.as_ptr() => _, inout("rdi") target => _, inout("rcx") data.len() => _, options(nostack, preserves_flags))
    };
}

/// Fills physical memory, by one string instruction.
pub(crate) fn fill(address: u64, value: u8, length: usize) {
    let target = with_exposed_provenance_mut::<u8>(check(address, length));
    // SAFETY: the target is mapped and no memory of the program's.
    unsafe {
        asm!("rep stosb", inout("rdi") target => _, inout("rcx") length => _, in("al") value, options(nostack, preserves_flags))
    };
}
