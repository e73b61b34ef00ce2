//! The console: COM1, 115200 baud, 8n1.
//!
//! Source: National Semiconductor PC16550D data sheet.

use crate::port;
use core::fmt::{self, Write};

const COM1: u16 = 0x3f8;
/// Line status: there is a byte.
const DATA_READY: u8 = 1 << 0;
/// Line status: the transmitter takes a byte.
const TRANSMITTER_EMPTY: u8 = 1 << 5;
/// How often that is looked at for a byte; a port that is not there does not stop anybody.
const PATIENCE: u32 = 100_000;

/// Sets the port up.
pub(crate) fn begin() {
    // No interrupts; divisor 1; 8n1; FIFOs on and empty; DTR, RTS and OUT2.
    for (register, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 3), (2, 7), (4, 0x0b)] {
        port::write(COM1 + register, value);
    }
}

/// Bytes that are received make an interrupt, from now on.
pub(crate) fn listen() {
    port::write(COM1 + 1, 1);
}

/// The next byte that was received.
pub(crate) fn read() -> Option<u8> {
    (port::read(COM1 + 5) & DATA_READY != 0).then(|| port::read(COM1))
}

/// Prints bytes as they are.
pub(crate) fn write(bytes: &[u8]) {
    for byte in bytes {
        let mut tries = PATIENCE;
        while port::read(COM1 + 5) & TRANSMITTER_EMPTY == 0 && tries > 0 {
            tries -= 1;
        }
        port::write(COM1, *byte);
    }
}

/// The console, for [`Write`].
pub(crate) struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for line in text.split_inclusive('\n') {
            match line.strip_suffix('\n') {
                Some(line) => {
                    write(line.as_bytes());
                    write(b"\r\n");
                }
                None => write(line.as_bytes()),
            }
        }
        Ok(())
    }
}

/// Prints a line of the hypervisor's.
macro_rules! say {
    ($($argument:tt)*) => {{
        use core::fmt::Write as _;
        let _: core::fmt::Result = writeln!($crate::serial::Serial, "(core) {}", format_args!($($argument)*));
    }};
}
pub(crate) use say;
