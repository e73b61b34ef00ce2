//! Numbers that nobody can guess: initial sequence numbers, challenges.
//!
//! From the processor's own source (RDRAND), where it has one; and from the time stamp counter at moments that depend on what
//! other domains do, which is all there is where it has none. Not for keys that are to last.

use crate::arch;

/// A number. Two are never asked for at the same time.
#[must_use]
pub fn next() -> u64 {
    let mut mixed = arch::hardware_random().unwrap_or(0);
    for _ in 0..JITTER {
        // A yield lets others run, for a time that they decide on.
        crate::hypercall::sched::yield_now();
        mixed = (mixed ^ arch::tsc()).wrapping_mul(ODD).rotate_left(23);
    }
    mixed ^ mixed >> 29
}

/// How often the time is looked at for a number.
const JITTER: usize = 16;
/// Any odd number with about as many ones as zeros.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
