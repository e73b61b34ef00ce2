//! The clock of the CMOS: a MC146818, which is the hypervisor's under Xen, and therefore not in the device model.
//!
//! While the clock runs, its registers are made of the time when they are read, in the format that register B says then;
//! while it is stopped, by SET or by a divider in reset, they are plain storage.
//!
//! Source: Motorola MC146818A data sheet; QEMU `hw/rtc/mc146818rtc.c` for the century in byte 0x32 and for the half second
//! until the first update after a reset of the divider.
//! Not modelled: daylight saving, the square wave.

use std::time::{SystemTime, UNIX_EPOCH};

use devmodel::time::Instant;
use serde::{Deserialize, Serialize};
use time::{Date, Duration, Month, OffsetDateTime, PrimitiveDateTime, Time};

/// Bytes of the CMOS that are the clock's, from 0 on.
const REGISTERS: usize = 14;
/// Where the century is.
const CENTURY: u8 = 0x32;

const SECONDS: usize = 0;
const SECONDS_ALARM: usize = 1;
const MINUTES: usize = 2;
const MINUTES_ALARM: usize = 3;
const HOURS: usize = 4;
const HOURS_ALARM: usize = 5;
const WEEKDAY: usize = 6;
const DAY: usize = 7;
const MONTH: usize = 8;
const YEAR: usize = 9;
const A: usize = 10;
const B: usize = 11;
const C: usize = 12;
const D: usize = 13;

/// Register A: an update is about to happen.
const UPDATE_IN_PROGRESS: u8 = 0x80;
/// Register B.
const SET: u8 = 0x80;
const PERIODIC: u8 = 0x40;
const ALARM: u8 = 0x20;
const UPDATE: u8 = 0x10;
const SQUARE_WAVE: u8 = 0x08;
const BINARY: u8 = 0x04;
const HOURS_24: u8 = 0x02;
/// Register C: an interrupt is asked for; the flags below it are at the places of their enables in register B.
const INTERRUPT: u8 = 0x80;
/// Hours after noon, in twelve-hour format.
const AFTERNOON: u8 = 0x80;
/// An alarm register that goes with any time.
const ANY: u8 = 0xc0;

const SECOND: i128 = 1_000_000_000;
/// How long before an update register A tells of it: eight cycles of 32768 Hz.
const WARNING: i128 = 8 * SECOND / 32768;
/// Seconds that are looked at for alarms after a long time: alarms repeat every day.
const DAY_SECONDS: i128 = 86_400;

/// The clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Rtc {
    /// The index that was written to port 0x70.
    index: u8,
    registers: [u8; REGISTERS],
    century: u8,
    /// Nanoseconds since 1970, less the machine's.
    offset: i128,
    /// The last second that alarms were looked at for.
    seen: i128,
    /// When the last periodic interrupt was.
    ticked: u64,
}

impl Rtc {
    /// A clock that shows this machine's time, in UTC.
    pub(crate) fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
        let mut registers = [0; REGISTERS];
        (registers[A], registers[B], registers[D]) = (0x26, HOURS_24, 0x80);
        let offset = i128::try_from(now).unwrap_or(0);
        Self { index: 0, registers, century: 0, offset, seen: offset.div_euclid(SECOND), ticked: 0 }
    }

    /// Interrupts are off; the time goes on.
    pub(crate) fn reset(&mut self) {
        self.registers[B] &= !(PERIODIC | ALARM | UPDATE | SQUARE_WAVE);
        self.registers[C] = 0;
    }

    /// Port 0x70 was written.
    pub(crate) fn select(&mut self, value: u8) {
        self.index = value & 0x7f;
    }

    /// Whether port 0x71 is the clock's now.
    pub(crate) fn is_selected(&self) -> bool {
        usize::from(self.index) < REGISTERS || self.index == CENTURY
    }

    /// Reads port 0x71.
    pub(crate) fn read(&mut self, now: Instant) -> u8 {
        self.advance(now);
        if self.runs() {
            self.show(now);
        }
        match usize::from(self.index) {
            A if self.runs() && self.fraction(now) >= SECOND - WARNING => self.registers[A] | UPDATE_IN_PROGRESS,
            C => std::mem::take(&mut self.registers[C]),
            index => self.registers.get(index).copied().unwrap_or(self.century),
        }
    }

    /// Writes port 0x71.
    pub(crate) fn write(&mut self, now: Instant, value: u8) {
        self.advance(now);
        let ran = self.runs();
        if ran {
            self.show(now);
        }
        match usize::from(self.index) {
            A => {
                let divider_was_reset = self.divider_is_reset();
                self.registers[A] = value & !UPDATE_IN_PROGRESS;
                if divider_was_reset && !self.divider_is_reset() {
                    // The first update comes after half a second.
                    self.offset = SECOND / 2 - i128::from(now.0);
                }
                if self.period().is_some_and(|period| self.ticked + period <= now.0) {
                    self.ticked = now.0;
                }
            }
            B => {
                let started = value & !self.registers[B];
                self.registers[B] = if started & SET != 0 { value & !UPDATE } else { value };
                if started & PERIODIC != 0 {
                    self.ticked = now.0;
                }
                self.ask();
            }
            C | D => {}
            index => match self.registers.get_mut(index) {
                Some(register) => *register = value,
                None => self.century = value,
            },
        }
        let is_time = !matches!(usize::from(self.index), A..=D | SECONDS_ALARM | MINUTES_ALARM | HOURS_ALARM);
        if self.runs() && (is_time || !ran) {
            self.take(now);
        }
    }

    /// When something happens by itself.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let wants_updates = self.registers[B] & (ALARM | UPDATE) & !self.registers[C] != 0;
        let update = (self.runs() && wants_updates).then(|| SECOND - self.fraction(now));
        let update = update.and_then(|rest| u64::try_from(rest).ok()).map(|rest| now.after(rest));
        let wants_ticks = self.registers[B] & PERIODIC != 0;
        let tick = self.period().filter(|_| wants_ticks).map(|period| Instant(self.ticked.saturating_add(period)));
        [update, tick].into_iter().flatten().min()
    }

    /// Makes up for the time that has passed.
    pub(crate) fn advance(&mut self, now: Instant) {
        if let Some(ticks) = self.period().and_then(|period| now.0.saturating_sub(self.ticked).checked_div(period))
            && ticks > 0
        {
            self.ticked += ticks * self.period().unwrap_or(0);
            self.registers[C] |= PERIODIC;
        }
        if self.runs() {
            let second = self.nanoseconds(now).div_euclid(SECOND);
            if second > self.seen {
                self.registers[C] |= UPDATE;
            }
            let first = self.seen.max(second - DAY_SECONDS) + 1;
            if (first..=second).any(|second| self.is_alarm(second)) {
                self.registers[C] |= ALARM;
            }
            self.seen = second;
        }
        self.ask();
    }

    /// Whether it asks for an interrupt.
    pub(crate) fn interrupt(&self) -> bool {
        self.registers[C] & INTERRUPT != 0
    }

    fn ask(&mut self) {
        if self.registers[B] & self.registers[C] & (PERIODIC | ALARM | UPDATE) != 0 {
            self.registers[C] |= INTERRUPT;
        }
    }

    fn divider_is_reset(&self) -> bool {
        self.registers[A] & 0x60 == 0x60
    }

    fn runs(&self) -> bool {
        self.registers[B] & SET == 0 && !self.divider_is_reset()
    }

    /// Nanoseconds between periodic interrupts.
    fn period(&self) -> Option<u64> {
        let rate = match self.registers[A] & 0x0f {
            0 => return None,
            rate @ 1..=2 => rate + 7,
            rate => rate,
        };
        Some((1_000_000_000 << (rate - 1)) / 32768)
    }

    fn nanoseconds(&self, now: Instant) -> i128 {
        self.offset + i128::from(now.0)
    }

    /// Nanoseconds since the last update.
    fn fraction(&self, now: Instant) -> i128 {
        self.nanoseconds(now).rem_euclid(SECOND)
    }

    fn is_alarm(&self, second: i128) -> bool {
        let time = date_time(second).time();
        let fits = |register: usize, value: u8| {
            let wanted = self.registers[register];
            wanted & ANY == ANY || wanted == value
        };
        fits(SECONDS_ALARM, self.encode(time.second()))
            && fits(MINUTES_ALARM, self.encode(time.minute()))
            && fits(HOURS_ALARM, self.encode_hour(time.hour()))
    }

    /// Puts the time into the registers.
    fn show(&mut self, now: Instant) {
        let moment = date_time(self.nanoseconds(now).div_euclid(SECOND));
        self.registers[SECONDS] = self.encode(moment.second());
        self.registers[MINUTES] = self.encode(moment.minute());
        self.registers[HOURS] = self.encode_hour(moment.hour());
        self.registers[WEEKDAY] = self.encode(moment.weekday().number_from_sunday());
        self.registers[DAY] = self.encode(moment.day());
        self.registers[MONTH] = self.encode(moment.month().into());
        let year = u8::try_from(moment.year().rem_euclid(100)).unwrap_or(0);
        let century = u8::try_from(moment.year().div_euclid(100)).unwrap_or(0);
        (self.registers[YEAR], self.century) = (self.encode(year), self.encode(century));
    }

    /// Takes the time from the registers; the fraction of the second stays.
    fn take(&mut self, now: Instant) {
        let year =
            i32::from(self.decode(self.century).min(99)) * 100 + i32::from(self.decode(self.registers[YEAR]) % 100);
        let month = Month::try_from(self.decode(self.registers[MONTH]).clamp(1, 12)).unwrap_or(Month::January);
        let first = Date::from_calendar_date(year, month, 1).unwrap_or(Date::MIN);
        let days = i64::from(self.decode(self.registers[DAY])) - 1;
        let hours = self.registers[HOURS];
        let hour = match self.registers[B] & HOURS_24 {
            0 => self.decode(hours & !AFTERNOON) % 12 + if hours & AFTERNOON != 0 { 12 } else { 0 },
            _ => self.decode(hours),
        };
        let seconds = i64::from(hour) * 3600
            + i64::from(self.decode(self.registers[MINUTES])) * 60
            + i64::from(self.decode(self.registers[SECONDS]));
        let midnight = PrimitiveDateTime::new(first, Time::MIDNIGHT);
        let moment = midnight.saturating_add(Duration::days(days)).saturating_add(Duration::seconds(seconds));
        let seconds = i128::from(moment.assume_utc().unix_timestamp());
        self.offset = seconds * SECOND + self.fraction(now) - i128::from(now.0);
        self.seen = seconds;
    }

    fn encode(&self, value: u8) -> u8 {
        if self.registers[B] & BINARY != 0 { value } else { (value / 10) << 4 | (value % 10) }
    }

    fn encode_hour(&self, hour: u8) -> u8 {
        if self.registers[B] & HOURS_24 != 0 {
            return self.encode(hour);
        }
        let shown = if hour.is_multiple_of(12) { 12 } else { hour % 12 };
        self.encode(shown) | if hour >= 12 { AFTERNOON } else { 0 }
    }

    fn decode(&self, value: u8) -> u8 {
        if self.registers[B] & BINARY != 0 { value } else { (value >> 4) * 10 + (value & 0x0f) }
    }
}

fn date_time(seconds: i128) -> OffsetDateTime {
    let seconds = i64::try_from(seconds).unwrap_or(0);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod unit {
    use super::*;

    const fn seconds(count: u64) -> Instant {
        Instant(count * 1_000_000_000)
    }

    fn write(rtc: &mut Rtc, now: Instant, register: usize, value: u8) {
        rtc.select(u8::try_from(register).unwrap());
        rtc.write(now, value);
    }

    fn read(rtc: &mut Rtc, now: Instant, register: usize) -> u8 {
        rtc.select(u8::try_from(register).unwrap());
        rtc.read(now)
    }

    /// Leap days, the century, and the half second after the divider's reset.
    #[test]
    fn the_day_after_the_28th_of_february_2096_is_the_29th() {
        let mut rtc = Rtc::new();
        write(&mut rtc, seconds(0), A, 0x76);
        for (register, value) in
            [(SECONDS, 0x59), (MINUTES, 0x59), (HOURS, 0x23), (DAY, 0x28), (MONTH, 2), (YEAR, 0x96)]
        {
            write(&mut rtc, seconds(0), register, value);
        }
        write(&mut rtc, seconds(0), usize::from(CENTURY), 0x20);
        write(&mut rtc, seconds(100), A, 0x26);
        assert_eq!(read(&mut rtc, Instant(100_499_999_999), DAY), 0x28);
        assert_eq!(read(&mut rtc, Instant(100_500_000_000), DAY), 0x29);
        assert_eq!(read(&mut rtc, seconds(100 + 86_401), MONTH), 3);
    }

    #[test]
    fn an_alarm_interrupts_once_and_until_register_c_is_read() {
        let mut rtc = Rtc::new();
        write(&mut rtc, seconds(0), A, 0x76);
        for (register, value) in [(SECONDS, 0x58), (SECONDS_ALARM, 0), (MINUTES_ALARM, ANY), (HOURS_ALARM, ANY)] {
            write(&mut rtc, seconds(0), register, value);
        }
        write(&mut rtc, seconds(0), A, 0x26);
        write(&mut rtc, seconds(0), B, HOURS_24 | ALARM);
        assert_eq!(rtc.deadline(seconds(0)), Some(Instant(500_000_000)));
        rtc.advance(seconds(1));
        assert!(!rtc.interrupt());
        rtc.advance(seconds(2));
        assert!(rtc.interrupt());
        assert_eq!(read(&mut rtc, seconds(2), C) & !PERIODIC, INTERRUPT | ALARM | UPDATE);
        assert!(!rtc.interrupt());
    }

    /// Whatever is in the registers, time goes on.
    #[test]
    fn times_that_do_not_exist_become_some_time() {
        let mut rtc = Rtc::new();
        for value in 0..=255 {
            for register in 0..REGISTERS {
                write(&mut rtc, seconds(value.into()), register, value);
            }
            write(&mut rtc, seconds(value.into()), usize::from(CENTURY), value);
            let _ = read(&mut rtc, seconds(u64::from(value) * 1000), YEAR);
            write(&mut rtc, seconds(value.into()), B, 0);
        }
    }
}
