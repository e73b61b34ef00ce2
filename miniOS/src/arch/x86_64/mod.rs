//! x86-64.
// UNSAFETY: instructions that Rust has no words for.
#![expect(unsafe_code)]

pub(crate) mod copy;
pub(crate) mod hypercall;
pub(crate) mod image;
pub(crate) mod paging;
pub(crate) mod port;
pub(crate) mod sleep;
pub(crate) mod traps;

/// The time stamp counter.
pub(crate) fn tsc() -> u64 {
    // SAFETY: RDTSC is available in every PV domain; where Xen traps it, Xen also emulates it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// A number of the processor's own source of them, where it has one that has something to give (Intel's manual, RDRAND).
pub(crate) fn hardware_random() -> Option<u64> {
    const RDRAND: u32 = 1 << 30;
    // An emulator may never have anything to give.
    const TRIES: usize = 10;
    if core::arch::x86_64::__cpuid(1).ecx & RDRAND == 0 {
        return None;
    }
    (0..TRIES).find_map(|_| {
        let (value, is_good): (u64, u8);
        // SAFETY: the processor has the instruction; it writes a register and the flags.
        unsafe {
            core::arch::asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) is_good, options(nomem, nostack));
        }
        (is_good != 0).then_some(value)
    })
}

/// The stack pointer of the caller, more or less.
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    let value;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rsp", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}
