//! Time by the time stamp counter.

use crate::{cpu, port};
use core::sync::atomic::{AtomicU64, Ordering};

/// Ticks of the time stamp counter in a millisecond.
static TICKS_PER_MILLISECOND: AtomicU64 = AtomicU64::new(1_000_000);

/// Finds out how fast the time stamp counter runs.
pub(crate) fn start() {
    let ticks = ticks_by_xen().unwrap_or_else(ticks_by_pit);
    TICKS_PER_MILLISECOND.store(ticks.max(1), Ordering::Relaxed);
}

/// First of Xen's CPUID leaves, if this is Xen.
pub(crate) fn xen_leaves() -> Option<u32> {
    (0x4000_0000..0x4001_0000).step_by(0x100).find(|&leaf| {
        let answer = cpu::cpuid(leaf, 0);
        [answer.ebx, answer.ecx, answer.edx] == [*b"XenV", *b"MMXe", *b"nVMM"].map(u32::from_le_bytes)
    })
}

/// Xen's public/arch-x86/cpuid.h, leaf 4 (0x4000xx03), sub-leaf 0: ECX is the frequency in kHz.
fn ticks_by_xen() -> Option<u64> {
    let kilohertz = cpu::cpuid(xen_leaves()? + 3, 0).ecx;
    (kilohertz != 0).then_some(u64::from(kilohertz))
}

/// Lets channel 2 of the PIT run for 50 ms. Port 0x61: bit 0 is its gate, bit 5 its output.
fn ticks_by_pit() -> u64 {
    const COUNT: u16 = 59659;
    let [low, high] = COUNT.to_le_bytes();
    port::out8(0x61, port::in8(0x61) & 0xfc | 1);
    // Channel 2, low byte then high byte, mode 0: the output rises when the count is over.
    port::out8(0x43, 0xb0);
    port::out8(0x42, low);
    port::out8(0x42, high);
    let start = cpu::time_stamp();
    while port::in8(0x61) & 1 << 5 == 0 {}
    (cpu::time_stamp() - start) / 50
}

/// Ticks of the time stamp counter as nanoseconds.
pub(crate) fn nanoseconds(ticks: u64) -> u64 {
    let nanoseconds = u128::from(ticks) * 1_000_000 / u128::from(TICKS_PER_MILLISECOND.load(Ordering::Relaxed));
    u64::try_from(nanoseconds).unwrap_or(u64::MAX)
}

/// A moment after which waiting ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(u64);

impl Deadline {
    /// Never.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// In so many milliseconds.
    pub(crate) fn milliseconds(count: u64) -> Self {
        Self(cpu::time_stamp().saturating_add(count.saturating_mul(TICKS_PER_MILLISECOND.load(Ordering::Relaxed))))
    }

    /// Whether it lies behind.
    pub(crate) fn passed(self) -> bool {
        cpu::time_stamp() > self.0
    }
}

/// Lets time pass, awake.
pub(crate) fn delay_milliseconds(count: u64) {
    let end = Deadline::milliseconds(count);
    while !end.passed() {
        core::hint::spin_loop();
    }
}
