//! The end after a mistake of ours: what, where and how we got there, on console 0; then a crash that the toolstack
//! sees.
//!
//! Nothing here allocates, and a panic within a panic ends the domain at once. The image carries no unwind tables, so
//! the way here is told by what looks like return addresses on the stack: words that point into the code, right behind
//! a call instruction. Some may be left over from earlier calls.
// UNSAFETY: reads the stack, to find return addresses.
#![expect(unsafe_code)]

use crate::hypercall::sched::{self, ShutdownReason};
use crate::{arch, boot, console, event};
use core::fmt::Write;
use core::panic::PanicInfo;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

/// Return addresses reported at most.
const ADDRESSES: usize = 24;
/// Words of the stack searched at most.
const WORDS: usize = 4096;

/// What the processor says of a fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) vector: u64,
    pub(crate) error_code: u64,
    pub(crate) rip: u64,
    pub(crate) rsp: u64,
    pub(crate) rflags: u64,
    pub(crate) frame_pointer: usize,
}

/// Names of vectors, by the processor's manual.
fn name(vector: u64) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug exception",
        3 => "breakpoint",
        6 => "invalid opcode",
        7 => "device not available",
        11 => "segment not present",
        12 => "stack fault",
        13 => "general protection fault",
        14 => "page fault",
        16 => "x87 fault",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD fault",
        _ => "exception",
    }
}

/// Ends the domain with a report. Called by the panic handler that [`image!`](crate::image) defines.
pub fn panicked(info: &PanicInfo<'_>) -> ! {
    begin_report();
    let mut out = console::Emergency;
    let _: core::fmt::Result = match info.location() {
        Some(place) => writeln!(out, "PANIC at {}:{}: {}", place.file(), place.line(), info.message()),
        None => writeln!(out, "PANIC: {}", info.message()),
    };
    report_stack(arch::stack_pointer());
    end()
}

/// Ends the domain with a report of a fault.
pub(crate) fn faulted(fault: &Fault) -> ! {
    begin_report();
    let mut out = console::Emergency;
    let _: core::fmt::Result = writeln!(
        out,
        "FAULT {} ({}), error code {:#x}, at {:#x}, accessing {:#x}; rsp {:#x}, rbp {:#x}, rflags {:#x}",
        fault.vector,
        name(fault.vector),
        fault.error_code,
        fault.rip,
        event::fault_address(),
        fault.rsp,
        fault.frame_pointer,
        fault.rflags
    );
    report_stack(crate::addr::to_usize(fault.rsp));
    end()
}

fn begin_report() {
    static REPORTING: AtomicBool = AtomicBool::new(false);
    if REPORTING.swap(true, Ordering::Relaxed) {
        sched::shutdown(ShutdownReason::Crash);
    }
}

fn end() -> ! {
    console::drain();
    sched::shutdown(ShutdownReason::Crash)
}

fn report_stack(from: usize) {
    let Some(layout) = boot::layout() else { return };
    let mut out = console::Emergency;
    if !(layout.stack_guard..layout.stack_top).contains(&from) {
        let _: core::fmt::Result = writeln!(out, "  the stack pointer {from:#x} is not in the stack");
        return;
    }
    let start = from.next_multiple_of(size_of::<usize>());
    let words = (layout.stack_top.saturating_sub(start) / size_of::<usize>()).min(WORDS);
    let mut found = 0;
    for index in 0..words {
        let place = ptr::with_exposed_provenance::<usize>(start).wrapping_add(index);
        // SAFETY: the stack is mapped from `start`, which lies in it, to its top; this reads words, whatever they are.
        let word = unsafe { place.read_volatile() };
        if is_return_address(word, &layout.text) {
            let _: core::fmt::Result = writeln!(out, "  called before {word:#x}");
            found += 1;
            if found == ADDRESSES {
                break;
            }
        }
    }
}

/// Whether a word points into the code, right behind a call.
fn is_return_address(word: usize, text: &core::ops::Range<usize>) -> bool {
    if word < text.start + 8 || word >= text.end {
        return false;
    }
    let mut before = [0_u8; 8];
    for (offset, byte) in before.iter_mut().enumerate() {
        let place = ptr::with_exposed_provenance::<u8>(word - 8 + offset);
        // SAFETY: the eight bytes before `word` lie within the code, which is mapped and never written.
        *byte = unsafe { place.read_volatile() };
    }
    ends_with_call(before)
}

/// Whether the bytes end with `call rel32`, or `call` through a register or memory (FF /2).
fn ends_with_call(before: [u8; 8]) -> bool {
    let indirect = |len: usize| before[8 - len] == 0xff && before[9 - len] & 0x38 == 0x10;
    before[3] == 0xe8 || [2, 3, 4, 6, 7].into_iter().any(indirect)
}

#[cfg(test)]
mod tests {
    use super::ends_with_call;

    #[test]
    fn calls_are_told_from_other_code() {
        assert!(ends_with_call([0x90, 0x90, 0x90, 0xe8, 1, 2, 3, 4]));
        assert!(ends_with_call([0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xd0]));
        assert!(ends_with_call([0x90, 0x90, 0xff, 0x15, 1, 2, 3, 4]));
        assert!(!ends_with_call([0x90; 8]));
    }
}
