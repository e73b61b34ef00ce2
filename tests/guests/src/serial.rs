//! COM1: every result leaves through it. A byte is an exit to the device model, so lines are short.
//!
//! Source: National PC16550D datasheet.

use crate::{cpu, interrupts, port};
use core::fmt::Write;

/// COM1.
pub(crate) const BASE: u16 = 0x3f8;
/// Line of COM1.
pub(crate) const IRQ: u8 = 4;

/// 115200 baud, 8 data bits, no parity, one stop bit, FIFOs on and empty, interrupts off.
pub(crate) fn start() {
    port::out8(BASE + 1, 0);
    port::out8(BASE + 3, 0x80);
    port::out8(BASE, 1);
    port::out8(BASE + 1, 0);
    port::out8(BASE + 3, 0x03);
    port::out8(BASE + 2, 0x07);
    // DTR, RTS, and OUT2, which lets the interrupt through.
    port::out8(BASE + 4, 0x0b);
}

/// Sends one byte after waiting for room.
pub(crate) fn send(byte: u8) {
    while port::in8(BASE + 5) & 1 << 5 == 0 {
        core::hint::spin_loop();
    }
    port::out8(BASE, byte);
}

/// Sends bytes; an empty FIFO takes sixteen without asking again.
fn send_all(bytes: &[u8]) {
    for chunk in bytes.chunks(16) {
        if let Some((first, rest)) = chunk.split_first() {
            send(*first);
            rest.iter().for_each(|&byte| port::out8(BASE, byte));
        }
    }
}

/// The byte that has arrived, if one has.
pub(crate) fn poll() -> Option<u8> {
    (port::in8(BASE + 5) & 1 != 0).then(|| port::in8(BASE))
}

/// Sleeps until a byte arrives.
pub(crate) fn receive() -> u8 {
    port::out8(BASE + 1, 1);
    interrupts::unmask(IRQ);
    cpu::disable_interrupts();
    let byte = loop {
        // The count is taken before the look, so that no interrupt is missed and the timer's cost no access.
        let seen = interrupts::count(IRQ);
        if let Some(byte) = poll() {
            break byte;
        }
        while interrupts::count(IRQ) == seen {
            cpu::sleep();
        }
    };
    port::out8(BASE + 1, 0);
    cpu::enable_interrupts();
    byte
}

/// A line that is collected before it is sent.
pub(crate) struct Line(heapless::String<160>);

impl Line {
    /// An empty line.
    pub(crate) const fn new() -> Self {
        Self(heapless::String::new())
    }

    /// Sends it with its line feed.
    pub(crate) fn finish(mut self) {
        while self.0.push('\n').is_err() {
            self.0.pop();
        }
        send_all(self.0.as_bytes());
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        // What does not fit is cut off.
        text.chars().try_for_each(|character| self.0.push(character)).or(Ok(()))
    }
}

/// Sends one line of formatted text.
#[macro_export]
macro_rules! line {
    ($($argument:tt)*) => {{
        let mut line = $crate::serial::Line::new();
        // Writing to a line cannot fail.
        let _ = core::fmt::Write::write_fmt(&mut line, format_args!($($argument)*));
        line.finish();
    }};
}
