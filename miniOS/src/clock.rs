//! Time.
//!
//! Xen keeps a record in shared information from which the time stamp counter gives nanoseconds without a hypercall.
//! Source: `struct vcpu_time_info` in Xen's public/xen.h.

use crate::{arch, event};
use core::sync::atomic::{AtomicU64, Ordering};
use xen_abi::shared_info::VcpuTimeInfo;

/// Nanoseconds since this domain began. Never goes backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// The instant `nanoseconds` later; the end of time if there is none.
    #[must_use]
    pub const fn after(self, nanoseconds: u64) -> Self {
        Self(self.0.saturating_add(nanoseconds))
    }

    /// Nanoseconds since `earlier`, zero if it lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// System time at the domain's beginning. Xen may be younger than a domain that was saved and restored, so this is a number
/// that wraps.
static BEGINNING: AtomicU64 = AtomicU64::new(0);
/// The latest system time that anybody was told.
static LATEST: AtomicU64 = AtomicU64::new(0);

/// Begins to count.
pub(crate) fn begin() {
    BEGINNING.store(system_time(), Ordering::Relaxed);
}

/// Goes on from `last` under another Xen.
pub(crate) fn resumed(last: Instant) {
    LATEST.store(0, Ordering::Relaxed);
    BEGINNING.store(system_time().wrapping_sub(last.0), Ordering::Relaxed);
}

/// Time since this domain began. It stands still while the domain is saved.
#[must_use]
pub fn now() -> Instant {
    Instant(system_time().wrapping_sub(BEGINNING.load(Ordering::Relaxed)))
}

/// Xen's system time in nanoseconds at an instant of ours, for its timers.
pub(crate) fn system_time_at(instant: Instant) -> u64 {
    let beginning = BEGINNING.load(Ordering::Relaxed);
    // The end of time stays the end of time.
    if beginning.cast_signed() < 0 { instant.0.wrapping_add(beginning) } else { instant.0.saturating_add(beginning) }
}

/// Xen's system time in nanoseconds. 0 on the host.
#[must_use]
pub fn system_time() -> u64 {
    let Some((record, tsc)) = event::time_record(arch::tsc) else { return 0 };
    let time = system_time_from(&record, tsc);
    LATEST.fetch_max(time, Ordering::Relaxed).max(time)
}

/// Nanoseconds since 1970, by Xen's clock. `None` on the host.
#[must_use]
pub fn wall_clock() -> Option<u64> {
    let (seconds, nanoseconds) = event::wall_clock_at_boot()?;
    Some(seconds.saturating_mul(1_000_000_000).saturating_add(u64::from(nanoseconds)).saturating_add(system_time()))
}

/// By the header: the counter's difference, shifted, times the fraction, on top of the record's time.
fn system_time_from(record: &VcpuTimeInfo, tsc: u64) -> u64 {
    let difference = tsc.wrapping_sub(record.tsc_timestamp);
    let shift = u32::from(record.tsc_shift.unsigned_abs());
    let shifted = if record.tsc_shift < 0 {
        u128::from(difference.checked_shr(shift).unwrap_or(0))
    } else {
        u128::from(difference).checked_shl(shift).unwrap_or(0)
    };
    let nanoseconds = shifted.wrapping_mul(u128::from(record.tsc_to_system_mul)) >> 32;
    record.system_time.wrapping_add(u64::try_from(nanoseconds & u128::from(u64::MAX)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_scaled_as_the_header_says() {
        // 2 GHz: half a nanosecond per tick.
        let record = VcpuTimeInfo {
            tsc_timestamp: 1000,
            system_time: 5,
            tsc_to_system_mul: 1 << 31,
            tsc_shift: 0,
            ..VcpuTimeInfo::default()
        };
        assert_eq!(system_time_from(&record, 3000), 1005);
        // 4 GHz: the fraction is kept in range by a right shift.
        let record = VcpuTimeInfo { tsc_to_system_mul: 1 << 31, tsc_shift: -1, ..record };
        assert_eq!(system_time_from(&record, 5000), 1005);
        // 500 MHz: two nanoseconds per tick.
        let record = VcpuTimeInfo { tsc_to_system_mul: 1 << 31, tsc_shift: 2, ..record };
        assert_eq!(system_time_from(&record, 1100), 205);
    }
}
