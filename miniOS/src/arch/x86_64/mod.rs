//! x86-64.
// UNSAFETY: instructions that Rust has no words for.
#![expect(unsafe_code)]

pub(crate) mod copy;
pub(crate) mod hypercall;
pub(crate) mod image;
pub(crate) mod paging;
pub(crate) mod sleep;
pub(crate) mod traps;

/// The time stamp counter.
pub(crate) fn tsc() -> u64 {
    // SAFETY: RDTSC is available in every PV domain; where Xen traps it, Xen also emulates it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The stack pointer of the caller, more or less.
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    let value;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rsp", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}
