//! A port that takes text, one character at a write.
//!
//! SeaBIOS and OVMF write their log to port 0x402, after reading 0xe9 there to learn that somebody listens; Bochs
//! listens at port 0xe9. Every character is one access, so a machine claims port 0x402 only when the log is wanted.
//!
//! Source: SeaBIOS `src/hw/serialio.c`, OVMF `DebugLibPort`, QEMU `isa-debugcon`.
//! Not modelled: nothing. Under Xen, writes to port 0xe9 end in the hypervisor's own log and never arrive here.
//! Invariant: what arrives at the host's log is bounded as [`crate::guest_log`] says.

use serde::{Deserialize, Serialize};

pub use crate::guest_log::{LINE_LEN, LINES_PER_SECOND};

use crate::guest_log::GuestLog;
use crate::host::Platform;

/// The port of SeaBIOS and OVMF.
pub const FIRMWARE_PORT: u16 = 0x402;

/// The port of Bochs.
pub const BOCHS_PORT: u16 = 0xe9;

/// What a listening port reads as.
const PRESENT: u8 = 0xe9;

/// One such port.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DebugPort {
    log: GuestLog,
}

impl DebugPort {
    /// Says that somebody listens.
    #[must_use]
    pub const fn read(&self) -> u8 {
        PRESENT
    }

    /// Takes one character.
    pub fn write(&mut self, value: u8, host: &mut (impl Platform + ?Sized)) {
        self.log.push(value, host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_host::FakeHost;

    /// SeaBIOS, `qemu_debug_preinit`: a port that does not read 0xe9 is not written to.
    #[test]
    fn the_port_says_that_it_listens_and_passes_lines_on() {
        let (mut port, mut host) = (DebugPort::default(), FakeHost::default());
        assert_eq!(port.read(), 0xe9);
        for byte in b"SeaBIOS (version 1.16)\n" {
            port.write(*byte, &mut host);
        }
        assert_eq!(host.lines, [b"SeaBIOS (version 1.16)".to_vec()]);
    }

    #[test]
    fn any_stream_of_bytes_stays_bounded() {
        let (mut port, mut host) = (DebugPort::default(), FakeHost::default());
        let mut state = 0x9e37_79b9_u32;
        for _ in 0..200_000 {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            port.write(state.to_le_bytes()[0], &mut host);
        }
        assert!(host.lines.len() <= 200);
        assert!(host.lines.iter().flatten().all(|byte| (b' '..=b'~').contains(byte)));
    }
}
