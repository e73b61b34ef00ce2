//! How long each phase of the start took, for the log.

use log::info;
use minios::clock::{self, Instant};
use minios::hypercall::vcpu;

/// A stop watch for wall-clock and CPU time.
pub(super) struct Phases {
    since: Instant,
    cpu_since: u64,
}

impl Phases {
    /// Starts to measure.
    pub(super) fn new() -> Self {
        Self { since: clock::now(), cpu_since: running_time() }
    }

    /// Logs a phase that has just ended, and starts the next.
    pub(super) fn done(&mut self, what: &str) {
        let now = clock::now();
        let cpu = running_time();
        info!("{what}: {} us, {} us of CPU", now.since(self.since) / 1000, cpu.saturating_sub(self.cpu_since) / 1000);
        *self = Self { since: now, cpu_since: cpu };
    }
}

/// Nanoseconds that this domain has run on a processor; 0 where Xen does not say.
fn running_time() -> u64 {
    vcpu::runstate().map_or(0, |info| info.time[0])
}
