//! Numbers for tests that look random and are the same each time.

use std::vec::Vec;

/// A generator of numbers (xorshift64, Marsaglia 2003).
pub(super) struct Random(u64);

impl Random {
    /// A generator; the seed must not be zero.
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(super) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 8).unwrap() % limit
    }

    /// One of several.
    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Up to `limit` bytes.
    pub(super) fn bytes(&mut self, limit: usize) -> Vec<u8> {
        let len = self.below(limit + 1);
        (0..len).map(|_| self.next().to_be_bytes()[0]).collect()
    }
}
