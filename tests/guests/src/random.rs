//! Repeatable random numbers: Marsaglia's xorshift with a multiplication at its end. Not for secrets.

/// A generator. The same seed gives the same numbers everywhere.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator from any seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        // A state of zero would stay zero.
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.next_u64().to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// 16 random bits.
    pub fn next_u16(&mut self) -> u16 {
        let [a, b, ..] = self.next_u64().to_be_bytes();
        u16::from_be_bytes([a, b])
    }

    /// 8 random bits.
    pub fn next_u8(&mut self) -> u8 {
        let [a, ..] = self.next_u64().to_be_bytes();
        a
    }

    /// A number below `end`, 0 if `end` is 0.
    pub fn below(&mut self, end: u32) -> u32 {
        self.next_u32().checked_rem(end).unwrap_or(0)
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (mut one, mut two) = (Random::new(1), Random::new(1));
        let mut differ = Random::new(2);
        assert_eq!(one.next_u64(), two.next_u64());
        assert_ne!(one.next_u64(), differ.next_u64());
    }

    #[test]
    fn numbers_stay_below_their_end() {
        let mut random = Random::new(0);
        assert!((0..1000).all(|_| random.below(7) < 7));
        assert_eq!(random.below(0), 0);
    }
}
