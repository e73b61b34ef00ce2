//! Numbers for tests that look random and are the same each time.

use alloc::vec::Vec;

/// A generator of numbers (xorshift64, Marsaglia 2003).
pub(crate) struct Random(u64);

impl Random {
    /// A generator; the seed must not be zero.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 8).unwrap() % limit
    }

    /// Up to `limit` bytes.
    pub(crate) fn bytes(&mut self, limit: usize) -> Vec<u8> {
        let len = self.below(limit + 1);
        (0..len).map(|_| self.next().to_be_bytes()[0]).collect()
    }
}
