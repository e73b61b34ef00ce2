//! The other vCPUs.
//!
//! Source: Intel SDM volume 3A, 8.4.4 (INIT, SIPI, SIPI) and 10.6.1 (interrupt command register).

use crate::boot::CPU_COUNT;
use crate::time::{Deadline, delay_milliseconds};
use crate::{cpu, memory};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// What a vCPU works on: its number, the first one's is 0. True: all was well.
pub(crate) type Work = fn(u32) -> bool;

/// Registers of the local APIC.
const LOCAL_APIC: u64 = 0xfee0_0000;
/// Interrupt command register, lower half.
const COMMAND: u64 = LOCAL_APIC + 0x300;

static STARTED: AtomicBool = AtomicBool::new(false);
static FINISHED: AtomicU32 = AtomicU32::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);

/// What all vCPUs do: there is one such test.
const WORK: Work = crate::cases::cpus::work;

/// Starts every other vCPU and waits for `count` in all. Gives the number that came up.
pub(crate) fn start(count: u32) -> u32 {
    // To all but this one: INIT, then twice SIPI with the page of the entry code, 0x8000.
    let send = |command: u32| {
        memory::write32(COMMAND, command);
        while memory::read32(COMMAND) & 1 << 12 != 0 {}
    };
    send(0x000c_4500);
    delay_milliseconds(10);
    send(0x000c_4608);
    delay_milliseconds(1);
    if CPU_COUNT.load(Ordering::Acquire) < count {
        send(0x000c_4608);
    }
    let deadline = Deadline::milliseconds(10_000);
    while CPU_COUNT.load(Ordering::Acquire) < count && !deadline.passed() {
        core::hint::spin_loop();
    }
    CPU_COUNT.load(Ordering::Acquire)
}

/// Lets `count` vCPUs work at once. Gives a bit for each of the first 64 that failed, or `None` when time is up.
pub(crate) fn work_together(count: u32) -> Option<u64> {
    STARTED.store(true, Ordering::Release);
    work(0);
    let deadline = Deadline::milliseconds(120_000);
    while FINISHED.load(Ordering::Acquire) < count {
        if deadline.passed() {
            return None;
        }
        core::hint::spin_loop();
    }
    Some(FAILED.load(Ordering::Acquire))
}

fn work(number: u32) {
    if !WORK(number) {
        FAILED.fetch_or(1 << number.min(63), Ordering::AcqRel);
    }
    FINISHED.fetch_add(1, Ordering::AcqRel);
}

/// Where the entry code leads the other vCPUs. Their interrupts stay off.
pub(crate) extern "C" fn other_cpu_main(number: u32) -> ! {
    while !STARTED.load(Ordering::Acquire) {
        core::hint::spin_loop();
    }
    work(number);
    cpu::stop()
}
