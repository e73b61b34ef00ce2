//! Lines that a guest writes byte by byte, made harmless for a log that people and terminals read.
//!
//! Not modelled: nothing; this is not hardware. The Xen platform device and the debug ports share it.
//! Invariant: at most [`LINES_PER_SECOND`] of its lines a second are passed on in the long run, and at most twice as many
//! in any one second, each of at most [`LINE_LEN`] printable ASCII characters.

use crate::host::Platform;
use crate::time::Instant;
use core::fmt::Write;
use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

/// A longer line is passed on in pieces of this many bytes.
pub const LINE_LEN: usize = 180;

/// Lines a second that are passed on in the long run; also the largest burst.
pub const LINES_PER_SECOND: u32 = 200;

/// Nanoseconds that earn one line.
const NANOSECONDS_PER_LINE: u64 = 1_000_000_000 / 200;

/// Collects bytes to lines and limits their rate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GuestLog {
    /// The line so far.
    line: Vec<u8, LINE_LEN>,
    /// Lines that may be passed on at once.
    allowance: u32,
    /// Up to when the allowance was worked out.
    counted_to: Instant,
    /// Lines that were dropped since the last one that was passed on.
    dropped: u64,
}

impl Default for GuestLog {
    fn default() -> Self {
        Self { line: Vec::new(), allowance: LINES_PER_SECOND, counted_to: Instant::default(), dropped: 0 }
    }
}

impl GuestLog {
    /// Takes one byte; a line feed, or a full line, passes the line on.
    pub fn push(&mut self, byte: u8, host: &mut (impl Platform + ?Sized)) {
        match byte {
            b'\n' => self.end_line(host),
            // Drivers of Windows end lines with both.
            b'\r' => {}
            _ => {
                // The log is shown by terminals, which obey control characters.
                let shown = match byte {
                    b'\t' => b' ',
                    b' '..=b'~' => byte,
                    _ => b'?',
                };
                if self.line.push(shown).is_err() {
                    self.end_line(host);
                    // The line is empty now, so there is room.
                    let _ = self.line.push(shown);
                }
            }
        }
    }

    /// Lines that were dropped since the last one that was passed on.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn end_line(&mut self, host: &mut (impl Platform + ?Sized)) {
        self.earn(host.now());
        if let Some(left) = self.allowance.checked_sub(1) {
            self.allowance = left;
            if self.dropped > 0 {
                let mut notice = String::<LINE_LEN>::new();
                // The number has at most 20 digits, so it fits.
                let _ = write!(notice, "({} lines of the guest were dropped)", self.dropped);
                host.guest_log(notice.as_bytes());
                self.dropped = 0;
            }
            host.guest_log(&self.line);
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
        self.line.clear();
    }

    fn earn(&mut self, now: Instant) {
        let earned = now.since(self.counted_to) / NANOSECONDS_PER_LINE;
        if earned >= u64::from(LINES_PER_SECOND) {
            self.allowance = LINES_PER_SECOND;
            self.counted_to = now;
        } else if let Ok(earned) = u32::try_from(earned) {
            self.allowance = self.allowance.saturating_add(earned).min(LINES_PER_SECOND);
            // What is left of a line's worth of time is kept.
            self.counted_to = self.counted_to.after(u64::from(earned).saturating_mul(NANOSECONDS_PER_LINE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_host::FakeHost;

    fn push_all(log: &mut GuestLog, host: &mut FakeHost, text: &[u8]) {
        for byte in text {
            log.push(*byte, host);
        }
    }

    #[test]
    fn a_line_feed_ends_a_line_and_control_characters_are_replaced() {
        let (mut log, mut host) = (GuestLog::default(), FakeHost::default());
        push_all(&mut log, &mut host, b"one\r\n\x1b[2Jt\two\xff\nrest");
        assert_eq!(host.lines, [b"one".to_vec(), b"?[2Jt wo?".to_vec()]);
    }

    #[test]
    fn a_long_line_is_passed_on_in_pieces() {
        let (mut log, mut host) = (GuestLog::default(), FakeHost::default());
        push_all(&mut log, &mut host, &[b'x'; 400]);
        push_all(&mut log, &mut host, b"\n");
        let lengths: std::vec::Vec<usize> = host.lines.iter().map(std::vec::Vec::len).collect();
        assert_eq!(lengths, [180, 180, 40]);
    }

    #[test]
    fn a_flood_is_cut_and_counted_and_the_count_is_told() {
        let (mut log, mut host) = (GuestLog::default(), FakeHost::default());
        for _ in 0..1000 {
            push_all(&mut log, &mut host, b"x\n");
        }
        assert_eq!(host.lines.len(), 200);
        assert_eq!(log.dropped(), 800);
        host.time = Instant(5_000_000);
        push_all(&mut log, &mut host, b"y\ny\n");
        assert_eq!(host.lines.len(), 202);
        assert_eq!(host.lines[200], b"(800 lines of the guest were dropped)");
        assert_eq!(log.dropped(), 1);
    }
}
