//! The 8254 timer: three counters of 1.193182 MHz. The first one asks for interrupts, the last one is behind port 0x61.
//!
//! A counter is worked out from the time when somebody looks at it.
//!
//! Source: Intel 8254 data sheet; Intel 82371SB (PIIX3) data sheet, port 0x61.
//! Not modelled: counting in decimal (it counts in binary), hardware triggers of modes 1 and 5 (they are modes 0 and 4), null
//! counts.

/// First port, of the first counter.
const FIRST_PORT: u16 = 0x40;
/// The port of commands.
const COMMAND_PORT: u16 = 0x43;
/// Ticks in a second.
const FREQUENCY: u128 = 1_193_182;
/// Nanoseconds in a second.
const SECOND: u128 = 1_000_000_000;

/// How a counter's bytes are read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Format {
    Low,
    High,
    #[default]
    Both,
}

#[derive(Clone, Debug, Default)]
struct Counter {
    mode: u8,
    format: Format,
    /// What it counts down from; 0 is 65536.
    initial: u16,
    /// When it began to.
    since: Option<u64>,
    /// The low byte that waits for the high one.
    written: Option<u8>,
    /// The low byte was read.
    read_low: bool,
    latched: Option<u16>,
    status: Option<u8>,
}

impl Counter {
    fn period(&self) -> u64 {
        if self.initial == 0 { 0x1_0000 } else { self.initial.into() }
    }

    fn is_periodic(&self) -> bool {
        matches!(self.mode, 2 | 3)
    }

    /// Ticks since it began.
    fn elapsed(&self, now: u64) -> u64 {
        self.since.map_or(0, |since| ticks(now.saturating_sub(since)))
    }

    fn value(&self, now: u64) -> u16 {
        let (elapsed, period) = (self.elapsed(now), self.period());
        let value = match self.mode {
            2 => period - elapsed % period,
            // It counts by two, twice.
            3 => period - (2 * (elapsed % period)) % period.max(1),
            _ => period.wrapping_sub(elapsed),
        };
        let [low, high, ..] = value.to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// The level of its output.
    fn output(&self, now: u64) -> bool {
        if self.since.is_none() {
            return self.mode != 0;
        }
        let (elapsed, period) = (self.elapsed(now), self.period());
        match self.mode {
            0 | 1 => elapsed >= period,
            2 => elapsed % period != period - 1,
            3 => elapsed % period < period.div_ceil(2),
            _ => elapsed != period,
        }
    }

    /// When its output rises next.
    fn next_rise(&self, now: u64) -> Option<u64> {
        let since = self.since?;
        let (elapsed, period) = (self.elapsed(now), self.period());
        let at = if self.is_periodic() {
            (elapsed / period + 1) * period
        } else if elapsed < period {
            period
        } else {
            return None;
        };
        Some(since.saturating_add(nanoseconds(at)))
    }

    fn write(&mut self, now: u64, value: u8) {
        let initial = match (self.format, self.written) {
            (Format::Low, _) => value.into(),
            (Format::High, _) => u16::from_le_bytes([0, value]),
            (Format::Both, None) => {
                self.written = Some(value);
                return;
            }
            (Format::Both, Some(low)) => u16::from_le_bytes([low, value]),
        };
        self.written = None;
        (self.initial, self.since) = (initial, Some(now));
    }

    fn read(&mut self, now: u64) -> u8 {
        if let Some(status) = self.status.take() {
            return status;
        }
        let [low, high] = self.latched.unwrap_or_else(|| self.value(now)).to_le_bytes();
        let (byte, is_last) = match (self.format, self.read_low) {
            (Format::Low, _) => (low, true),
            (Format::High, _) | (Format::Both, true) => (high, true),
            (Format::Both, false) => (low, false),
        };
        self.read_low = !is_last;
        if is_last {
            self.latched = None;
        }
        byte
    }

    fn latch(&mut self, now: u64) {
        if self.latched.is_none() {
            self.latched = Some(self.value(now));
        }
    }
}

/// The timer.
#[derive(Clone, Debug, Default)]
pub(super) struct Pit {
    counters: [Counter; 3],
    /// Port 0x61: whether the last counter counts, and whether it is heard.
    speaker: u8,
    /// The last time that interrupts were looked at for.
    seen: u64,
}

/// Port 0x61: the last counter counts; what can be written; the refresh of memory; the last counter's output.
const GATE: u8 = 0x01;
const WRITABLE: u8 = 0x0f;
const REFRESH: u8 = 0x10;
const OUTPUT: u8 = 0x20;
/// Nanoseconds between two refreshes.
const REFRESH_TIME: u64 = 15_085;

impl Pit {
    /// One whose counters have not begun.
    pub(super) fn new(now: u64) -> Self {
        Self { seen: now, ..Self::default() }
    }

    /// Reads a port. `None`: it is not here.
    pub(super) fn read(&mut self, now: u64, port: u16) -> Option<u8> {
        match port {
            0x61 => {
                let output = if self.counters[2].output(now) { OUTPUT } else { 0 };
                let refresh = if (now / REFRESH_TIME).is_multiple_of(2) { 0 } else { REFRESH };
                Some(self.speaker & WRITABLE | output | refresh)
            }
            FIRST_PORT..COMMAND_PORT => {
                let counter = self.counters.get_mut(usize::from(port - FIRST_PORT))?;
                Some(counter.read(now))
            }
            COMMAND_PORT => Some(0xff),
            _ => None,
        }
    }

    /// Writes a port. `false`: it is not here.
    pub(super) fn write(&mut self, now: u64, port: u16, value: u8) -> bool {
        match port {
            0x61 => {
                let rises = value & !self.speaker & GATE != 0;
                self.speaker = value;
                if rises && self.counters[2].since.is_some() {
                    self.counters[2].since = Some(now);
                }
            }
            FIRST_PORT..COMMAND_PORT => {
                if let Some(counter) = self.counters.get_mut(usize::from(port - FIRST_PORT)) {
                    counter.write(now, value);
                }
            }
            COMMAND_PORT => self.command(now, value),
            _ => return false,
        }
        true
    }

    fn command(&mut self, now: u64, value: u8) {
        let format = match value >> 4 & 3 {
            1 => Format::Low,
            2 => Format::High,
            _ => Format::Both,
        };
        if value >> 6 == 3 {
            // Read back: counters by their bits, values and states unless they are not wanted.
            for (number, counter) in self.counters.iter_mut().enumerate() {
                if value >> (number + 1) & 1 == 0 {
                    continue;
                }
                if value & 0x20 == 0 {
                    counter.latch(now);
                }
                if value & 0x10 == 0 {
                    let output = if counter.output(now) { 0x80 } else { 0 };
                    let format = match counter.format {
                        Format::Low => 0x10,
                        Format::High => 0x20,
                        Format::Both => 0x30,
                    };
                    counter.status = Some(output | format | counter.mode << 1);
                }
            }
            return;
        }
        let Some(counter) = self.counters.get_mut(usize::from(value >> 6)) else { return };
        if value >> 4 & 3 == 0 {
            counter.latch(now);
            return;
        }
        let mode = value >> 1 & 7;
        *counter = Counter { mode: if mode > 5 { mode & 3 } else { mode }, format, ..Counter::default() };
    }

    /// Whether the first counter's output has risen since somebody asked.
    pub(super) fn take_tick(&mut self, now: u64) -> bool {
        let rose = self.counters[0].next_rise(self.seen).is_some_and(|at| at <= now);
        self.seen = now;
        rose
    }

    /// When the first counter's output rises next.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.counters[0].next_rise(self.seen)
    }
}

fn ticks(nanoseconds: u64) -> u64 {
    u64::try_from(u128::from(nanoseconds) * FREQUENCY / SECOND).unwrap_or(u64::MAX)
}

/// When so many ticks have passed.
fn nanoseconds(ticks: u64) -> u64 {
    u64::try_from((u128::from(ticks) * SECOND).div_ceil(FREQUENCY)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn the_first_counter_ticks_18_times_a_second() {
        let mut pit = Pit::default();
        assert_eq!(pit.deadline(), None);
        for value in [(0x43, 0x34), (0x40, 0), (0x40, 0)] {
            assert!(pit.write(0, value.0, value.1));
        }
        let mut ticks = 0;
        while let Some(at) = pit.deadline().filter(|at| *at <= 1_000_000_000) {
            assert!(!pit.take_tick(at - 1));
            assert!(pit.take_tick(at));
            ticks += 1;
        }
        assert_eq!(ticks, 18);
    }

    /// How SeaBIOS calibrates: mode 0, the gate, and a look at the output.
    #[test]
    fn the_last_counter_ends_after_its_count() {
        let mut pit = Pit::default();
        pit.write(0, 0x61, 1);
        pit.write(0, 0x43, 0xb0);
        assert_eq!(pit.read(0, 0x61).map(|value| value & OUTPUT), Some(0));
        pit.write(1000, 0x42, 0x00);
        pit.write(1000, 0x42, 0x08);
        let end = 1000 + nanoseconds(0x800);
        assert_eq!(pit.read(end - 1, 0x61).map(|value| value & OUTPUT), Some(0));
        assert_eq!(pit.read(end, 0x61).map(|value| value & OUTPUT), Some(OUTPUT));
    }

    #[test]
    fn a_latched_value_stays_until_it_was_read() {
        let mut pit = Pit::default();
        for value in [(0x43, 0x34), (0x40, 0x00), (0x40, 0x10)] {
            pit.write(0, value.0, value.1);
        }
        let later = nanoseconds(0x123);
        pit.write(later, 0x43, 0x00);
        assert_eq!([pit.read(u64::MAX / 2, 0x40), pit.read(u64::MAX / 2, 0x40)], [Some(0xdd), Some(0x0e)]);
        pit.write(later, 0x43, 0xe2);
        assert_eq!(pit.read(later, 0x40), Some(0x80 | 0x30 | 4), "its state");
    }
}
