//! System time: nanoseconds since the start, as domains compute it from the time stamp counter.
//!
//! Source: `public/xen.h`, `struct vcpu_time_info`.

use xen_abi::shared_info::VcpuTimeInfo;

/// How the time stamp counter becomes nanoseconds: `(ticks << shift) * multiplier >> 32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    multiplier: u32,
    shift: i8,
}

impl Scale {
    /// For a counter of so many ticks in a second.
    #[must_use]
    pub fn of_frequency(ticks_per_second: u64) -> Self {
        // The multiplier is to have its highest bit set: half a nanosecond to one for a shifted tick.
        let mut shift = 0_i8;
        let mut frequency = u128::from(ticks_per_second.max(1));
        while frequency > 2_000_000_000 && shift > -31 {
            frequency >>= 1;
            shift = shift.saturating_sub(1);
        }
        while frequency <= 1_000_000_000 && shift < 31 {
            frequency <<= 1;
            shift = shift.saturating_add(1);
        }
        let multiplier = (1_000_000_000_u128 << 32).checked_div(frequency).unwrap_or(0);
        Self { multiplier: u32::try_from(multiplier).unwrap_or(u32::MAX), shift }
    }

    /// The nanoseconds of so many ticks.
    #[must_use]
    pub fn nanoseconds(self, ticks: u64) -> u64 {
        let ticks = u128::from(ticks);
        let by = u32::from(self.shift.unsigned_abs());
        let shifted = if self.shift < 0 { ticks >> by } else { ticks << by };
        u64::try_from(shifted.saturating_mul(self.multiplier.into()) >> 32).unwrap_or(u64::MAX)
    }

    /// What a domain is told: at this count of the counter, this is the system time.
    #[must_use]
    pub fn info(self, ticks: u64, system_time: u64) -> VcpuTimeInfo {
        VcpuTimeInfo {
            version: 0,
            tsc_timestamp: ticks,
            system_time,
            tsc_to_system_mul: self.multiplier,
            tsc_shift: self.shift,
            ..VcpuTimeInfo::default()
        }
    }
}

/// Seconds since 1970 of a date in the Gregorian calendar, UTC.
#[must_use]
#[allow(clippy::arithmetic_side_effects, reason = "numbers of 32 bits, in 64")]
pub fn seconds_since_1970(year: u32, month: u32, day: u32, seconds_of_day: u32) -> u64 {
    // Years that begin in March: the day that comes every four years is their last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.saturating_sub(1), month + 9) };
    let (year, month, day) = (u64::from(year), u64::from(month), u64::from(day));
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day.saturating_sub(1);
    // 1970-01-01 in the same count.
    days.saturating_sub(719_468) * 86_400 + u64::from(seconds_of_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_nanoseconds() {
        for frequency in
            [1_000_000, 14_318_180, 999_999_999, 1_000_000_000, 2_000_000_000, 2_000_000_001, 5_300_000_000]
        {
            let scale = Scale::of_frequency(frequency);
            let second = scale.nanoseconds(frequency);
            assert!(second.abs_diff(1_000_000_000) < 5, "{frequency}: {second}");
            assert!(scale.multiplier >= 1 << 31, "{frequency}");
        }
    }

    #[test]
    fn dates_are_counted() {
        assert_eq!(seconds_since_1970(1970, 1, 1, 0), 0);
        assert_eq!(seconds_since_1970(2000, 2, 29, 1), 951_782_401);
        assert_eq!(seconds_since_1970(2026, 12, 1, 3600), 1_796_086_800);
    }
}
