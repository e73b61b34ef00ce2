//! Instructions that have no name in Rust.

// UNSAFETY: privileged instructions.
#![expect(unsafe_code)]

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, _rdtsc, CpuidResult};

/// The time stamp counter.
pub(crate) fn time_stamp() -> u64 {
    // SAFETY: every 64-bit processor has the instruction; CR4.TSD is clear.
    unsafe { _rdtsc() }
}

/// Asks the processor, or the hypervisor, about itself.
pub(crate) fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    __cpuid_count(leaf, subleaf)
}

/// Lets interrupts in.
pub(crate) fn enable_interrupts() {
    // SAFETY: the interrupt table is loaded before the first call. Handlers change nothing but counters.
    unsafe { asm!("sti", options(nostack)) };
}

/// Keeps interrupts out.
pub(crate) fn disable_interrupts() {
    // SAFETY: no effect on memory.
    unsafe { asm!("cli", options(nostack)) };
}

/// Sleeps until an interrupt comes, with interrupts off before and after. One that is waiting already ends it at once.
pub(crate) fn sleep() {
    // SAFETY: as in `enable_interrupts`; STI lets nothing in before the instruction after it.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}

/// Sleeps for good.
pub(crate) fn stop() -> ! {
    loop {
        // SAFETY: no effect on memory.
        unsafe { asm!("cli", "hlt", options(nostack)) };
    }
}

/// Loads the interrupt table.
pub(crate) fn load_interrupt_table(table: &'static [[u64; 2]; 256]) {
    let mut pointer = [0_u8; 10];
    let (limit, base) = pointer.split_at_mut(2);
    limit.copy_from_slice(&0x0fff_u16.to_le_bytes());
    base.copy_from_slice(&(table.as_ptr().addr() as u64).to_le_bytes());
    // SAFETY: the table has 256 entries of 16 bytes and lives for ever.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(nostack, preserves_flags, readonly)) };
}

/// Makes every interrupt fatal to the processor: the next one is a triple fault. And causes one.
pub(crate) fn triple_fault() -> ! {
    let pointer = [0_u8; 10];
    // SAFETY: the processor shuts down; nothing of the program runs after it.
    unsafe { asm!("lidt [{}]", "ud2", in(reg) &raw const pointer, options(noreturn)) };
}

/// Writes a model specific register.
///
/// # Safety
/// The register exists, and the value keeps the program's memory as it is.
pub(crate) unsafe fn write_msr(register: u32, value: u64) {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    let low = u32::from_le_bytes([a, b, c, d]);
    let high = u32::from_le_bytes([e, f, g, h]);
    // SAFETY: promised by the caller.
    unsafe { asm!("wrmsr", in("ecx") register, in("eax") low, in("edx") high, options(nostack, preserves_flags)) };
}
