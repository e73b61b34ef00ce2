//! Interrupt causes, their mask, and throttling.
//!
//! The pin is asserted while a cause is set whose mask bit is. Reading the causes clears them, and so the pin. With a
//! throttling interval the pin is not asserted again before the interval has passed since it last was.
//!
//! Source: SDM 13.4.17 to 13.4.22 (ICR, ITR, ICS, IMS, IMC), 3.2.7 (interrupts).
//! Not modelled: the delay timers of both directions (RDTR, RADV, TIDV, TADV): their interrupts come at once.
//! Invariant: `asserted` implies `causes & mask != 0`.

use super::regs::cause;
use crate::time::Instant;
use serde::{Deserialize, Serialize};

/// The unit of ITR in nanoseconds.
const ITR_UNIT: u64 = 256;

/// ICR, IMS, ITR and the pin.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Interrupts {
    causes: u32,
    mask: u32,
    interval: u16,
    asserted: bool,
    not_before: Instant,
}

impl Interrupts {
    /// Sets causes.
    pub(super) fn raise(&mut self, causes: u32, now: Instant) {
        self.causes |= causes & cause::ALL;
        self.update(now);
    }

    /// ICR, as a read sees it.
    pub(super) fn take_causes(&mut self, now: Instant) -> u32 {
        let causes = core::mem::take(&mut self.causes);
        self.update(now);
        causes
    }

    /// ICR, when it is written: ones clear.
    pub(super) fn clear_causes(&mut self, causes: u32, now: Instant) {
        self.causes &= !causes;
        self.update(now);
    }

    /// ICS reads as ICR, without clearing anything.
    pub(super) const fn causes(&self) -> u32 {
        self.causes
    }

    /// IMS.
    pub(super) const fn mask(&self) -> u32 {
        self.mask
    }

    /// IMS and IMC, when they are written.
    pub(super) fn change_mask(&mut self, set: u32, clear: u32, now: Instant) {
        self.mask = (self.mask | set & cause::ALL) & !clear;
        self.update(now);
    }

    /// ITR.
    pub(super) const fn interval(&self) -> u16 {
        self.interval
    }

    /// ITR, when it is written. An interval that has begun goes on as it was.
    pub(super) fn set_interval(&mut self, interval: u16, now: Instant) {
        self.interval = interval;
        self.update(now);
    }

    /// The pin.
    pub(super) const fn asserted(&self) -> bool {
        self.asserted
    }

    /// When [`Self::update`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (self.pending() && !self.asserted).then_some(self.not_before)
    }

    /// Works out the pin.
    pub(super) fn update(&mut self, now: Instant) {
        if !self.pending() {
            self.asserted = false;
        } else if !self.asserted && now >= self.not_before {
            self.asserted = true;
            self.not_before = now.after(u64::from(self.interval).wrapping_mul(ITR_UNIT));
        }
    }

    const fn pending(&self) -> bool {
        self.causes & self.mask != 0
    }
}
