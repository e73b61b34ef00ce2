//! Exceptions end the guest with a line; the PIC's lines are counted.
//!
//! Source: Intel 8259A datasheet, initialization command words.

// UNSAFETY: the addresses of the entry points come from assembly.
#![expect(unsafe_code)]

use crate::time::Deadline;
use crate::{boot, cpu, port, power};
use core::sync::atomic::{AtomicU64, Ordering};

/// How often each line of the PICs has interrupted.
pub(crate) static IRQ_COUNTS: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

/// The interrupt table. Written once, before it is loaded.
static mut TABLE: [[u64; 2]; 256] = [[0; 2]; 256];

/// Vector of line 0.
const FIRST_VECTOR: u8 = 0x20;

/// Loads the interrupt table and starts the PICs with every line masked but the timer's.
pub(crate) fn start() {
    let stubs = (&raw const boot::vector_stubs).addr() as u64;
    let table = &raw mut TABLE;
    for vector in 0..256_usize {
        let entry = stubs + 16 * vector as u64;
        // Interrupt gate of the 64-bit code segment, on the first stack of the task state segment.
        let low = entry & 0xffff | 0x18 << 16 | 1 << 32 | 0x8e << 40 | (entry >> 16 & 0xffff) << 48;
        // SAFETY: interrupts are off, and there is no other reference to the table yet.
        unsafe { (*table)[vector] = [low, entry >> 32] };
    }
    // SAFETY: nothing writes to the table from here on.
    cpu::load_interrupt_table(unsafe { &*table });
    place_vectors(FIRST_VECTOR, FIRST_VECTOR + 8);
    set_masks([0xfe, 0xff]);
    unmask(2);
}

/// Initializes both PICs with these first vectors. Masks stay as they are.
pub(crate) fn place_vectors(master: u8, slave: u8) {
    let masks = masks();
    for (first, vector, cascade) in [(0x20, master, 4), (0xa0, slave, 2)] {
        port::out8(first, 0x11);
        port::out8(first + 1, vector);
        port::out8(first + 1, cascade);
        port::out8(first + 1, 1);
    }
    set_masks(masks);
}

/// Gives the PICs back to the BIOS for one of its functions, and takes them again.
pub(crate) fn with_bios_vectors(function: impl FnOnce()) {
    let ours = masks();
    place_vectors(8, 0x70);
    // The lines that the BIOS waits for: timer, keyboard, cascade; disks, mouse.
    set_masks([0xf8, 0x2f]);
    function();
    place_vectors(FIRST_VECTOR, FIRST_VECTOR + 8);
    set_masks(ours);
}

fn masks() -> [u8; 2] {
    [port::in8(0x21), port::in8(0xa1)]
}

fn set_masks([master, slave]: [u8; 2]) {
    port::out8(0x21, master);
    port::out8(0xa1, slave);
}

/// Lets a line through.
pub(crate) fn unmask(line: u8) {
    let [master, slave] = masks();
    let lines = u16::from_le_bytes([master, slave]) & !(1 << line);
    set_masks(lines.to_le_bytes());
}

/// Masks every line: nothing wakes the guest any more.
pub(crate) fn mask_all() {
    set_masks([0xff, 0xff]);
}

/// How often a line has interrupted so far.
pub(crate) fn count(line: u8) -> u64 {
    IRQ_COUNTS.get(usize::from(line)).map_or(0, |count| count.load(Ordering::Acquire))
}

/// Sleeps until `done`, looking at every interrupt; the timer's come 18 times a second. False: the time is up.
pub(crate) fn wait_until(deadline: Deadline, mut done: impl FnMut() -> bool) -> bool {
    cpu::disable_interrupts();
    let in_time = loop {
        if done() {
            break true;
        }
        if deadline.passed() {
            break false;
        }
        cpu::sleep();
    };
    cpu::enable_interrupts();
    in_time
}

/// What the processor and the entry code put on the stack, lowest address first.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Frame {
    words: [u64; 6],
}

/// Ends the guest after an exception.
pub(crate) extern "C" fn exception(vector: u32, frame: &Frame, faulting_address: u64) -> ! {
    // Vectors 8, 10 to 14, 17 and 21 have an error code below the instruction pointer.
    let with_code = matches!(vector, 8 | 10..=14 | 17 | 21);
    let [first, second, ..] = frame.words;
    let (code, at) = if with_code { (first, second) } else { (0, first) };
    crate::line!("FAIL exception: vector {vector} code {code:#x} at {at:#x} address {faulting_address:#x}");
    crate::line!("DONE");
    power::off()
}
