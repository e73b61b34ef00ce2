//! Time: the time stamp counter's frequency, the interrupt at a given time, and the date; and the way of the console's interrupt, which
//! is by the same chip.
//!
//! Source: Intel 8254 data sheet (channel 2 measures); Intel SDM volume 3, chapter 11 (the local APIC's timer); Intel 82093AA data sheet (I/O APIC); Motorola
//! MC146818 data sheet.
// UNSAFETY: the local APIC's registers are memory.
#![expect(unsafe_code)]

use crate::boot::DIRECT;
use crate::{cpu, entry, port};
use core::ptr;
use hypervisor_core::time::seconds_since_1970;

/// Registers of the local APIC.
mod apic {
    pub(super) const END_OF_INTERRUPT: usize = 0xb0;
    pub(super) const SPURIOUS: usize = 0xf0;
    pub(super) const TIMER: usize = 0x320;
    pub(super) const INITIAL_COUNT: usize = 0x380;
    pub(super) const CURRENT_COUNT: usize = 0x390;
    pub(super) const DIVIDE: usize = 0x3e0;
}

/// The I/O APIC: where it is, its two registers there, the number of the first redirection, and the line of COM1.
mod io_apic {
    pub(super) const BASE: u64 = 0xfec0_0000;
    pub(super) const SELECT: usize = 0x00;
    pub(super) const WINDOW: usize = 0x10;
    pub(super) const REDIRECTION: u32 = 0x10;
    pub(super) const COM1: u32 = 4;
}

/// Where the local APIC is, and whether it is on.
const APIC_BASE: u32 = 0x1b;
const APIC_ENABLED: u64 = 1 << 11;
/// The frequency of the 8254.
const PIT_HZ: u64 = 1_193_182;
/// Counts of it that are measured: 20 ms.
const MEASURED: u16 = 23864;

/// The timer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timer {
    base: usize,
    /// Counts in a second.
    frequency: u64,
}

/// Sets the timer up, and measures: the timer, and ticks of the time stamp counter in a second.
pub(crate) fn begin() -> (Timer, u64) {
    // The legacy interrupt controllers are of no use.
    port::write(0x21, 0xff);
    port::write(0xa1, 0xff);
    let base = cpu::get_msr(APIC_BASE);
    cpu::set_msr(APIC_BASE, base | APIC_ENABLED);
    let base = usize::try_from(DIRECT + (base & 0xffff_f000)).unwrap_or(0);
    let mut timer = Timer { base, frequency: 0 };
    timer.set(apic::SPURIOUS, 0x100 | u32::from(entry::SPURIOUS));
    timer.set(apic::DIVIDE, 0xb);
    timer.set(apic::TIMER, 1 << 16 | u32::from(entry::TIMER));

    // Channel 2 counts down once, its output shows in bit 5 of port 0x61.
    port::write(0x61, port::read(0x61) & 0xfc | 1);
    port::write(0x43, 0xb0);
    let [low, high] = MEASURED.to_le_bytes();
    port::write(0x42, low);
    port::write(0x42, high);
    timer.set(apic::INITIAL_COUNT, u32::MAX);
    let begin = cpu::ticks();
    while port::read(0x61) & 0x20 == 0 {}
    let ticks = cpu::ticks() - begin;
    let counts = u32::MAX - timer.get(apic::CURRENT_COUNT);
    timer.set(apic::INITIAL_COUNT, 0);
    timer.set(apic::TIMER, u32::from(entry::TIMER));
    let in_a_second = |counted: u64| counted.saturating_mul(PIT_HZ) / u64::from(MEASURED);
    timer.frequency = in_a_second(counts.into());
    (timer, in_a_second(ticks))
}

/// Lets the console interrupt this processor, which is the first one.
pub(crate) fn route_console() {
    let base = usize::try_from(DIRECT + io_apic::BASE).unwrap_or(0);
    let set = |register: u32, value: u32| {
        for (place, value) in [(io_apic::SELECT, register), (io_apic::WINDOW, value)] {
            // SAFETY: the register is there, and mapped with all memory.
            unsafe { ptr::with_exposed_provenance_mut::<u32>(base + place).write_volatile(value) };
        }
    };
    let redirection = io_apic::REDIRECTION + 2 * io_apic::COM1;
    // To the processor with number 0, at an edge.
    set(redirection + 1, 0);
    set(redirection, entry::CONSOLE.into());
}

impl Timer {
    fn place(self, register: usize) -> *mut u32 {
        ptr::with_exposed_provenance_mut(self.base + register)
    }

    fn get(self, register: usize) -> u32 {
        // SAFETY: the register is there, and mapped with all memory.
        unsafe { self.place(register).read_volatile() }
    }

    fn set(self, register: usize, value: u32) {
        // SAFETY: as above.
        unsafe { self.place(register).write_volatile(value) };
    }

    /// An interrupt comes in so many nanoseconds, or never.
    pub(crate) fn arm(self, after: Option<u64>) {
        let counts = after.map_or(0, |after| {
            let counts = u128::from(after) * u128::from(self.frequency) / 1_000_000_000;
            u32::try_from(counts).unwrap_or(u32::MAX).max(1)
        });
        self.set(apic::INITIAL_COUNT, counts);
    }

    /// The interrupt was seen.
    pub(crate) fn acknowledge(self) {
        self.set(apic::END_OF_INTERRUPT, 0);
    }
}

/// Seconds since 1970 by the clock of the CMOS.
pub(crate) fn date() -> u64 {
    let register = |number: u8| {
        port::write(0x70, number);
        port::read(0x71)
    };
    // It is the same twice, so it has not changed meanwhile.
    let read = || [0, 2, 4, 7, 8, 9].map(register);
    let mut found = read();
    for _ in 0..1000 {
        let again = read();
        if again == found && register(0x0a) & 0x80 == 0 {
            break;
        }
        found = again;
    }
    let is_binary = register(0x0b) & 4 != 0;
    let number = |value: u8| u32::from(if is_binary { value } else { (value >> 4) * 10 + (value & 15) });
    let [second, minute, hour, day, month, year] = found.map(number);
    seconds_since_1970(2000 + year, month, day, hour * 3600 + minute * 60 + second)
}
