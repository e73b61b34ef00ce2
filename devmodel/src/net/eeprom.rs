//! The EEPROM with a card's address: a 93C46 of 64 words on its wires chip select, clock, data in and data out.
//!
//! A card selects the chip; each rising edge of the clock then shifts in a start bit, two bits of operation and six of
//! address, and after that shifts out a zero and the bits of the word, highest first. The word after it follows.
//!
//! Source: Microchip 93C46 data sheet.
//! Not modelled: writing and erasing; such operations are taken and do nothing.

use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

/// Number of words.
pub const WORDS: usize = 64;
/// Start bit and operation of a read.
const READ: u16 = 0b110;

/// The levels of the wires that go to the chip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wires {
    /// Chip select.
    pub select: bool,
    /// Clock.
    pub clock: bool,
    /// Data in.
    pub data_in: bool,
}

/// What the chip does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    /// It waits for a start bit.
    #[default]
    Idle,
    /// It takes an operation: so many bits of it, with these values.
    Command { bits: u16, count: u8 },
    /// It gives out a bit: of this word, and so many are left of it.
    Reading { word: u16, left: u8, output: bool },
    /// It does something else, until it is no longer selected.
    Busy,
}

/// The chip.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Eeprom {
    #[serde(with = "BigArray")]
    words: [u16; WORDS],
    clock: bool,
    state: State,
}

impl Eeprom {
    /// A chip with this content, and zeros elsewhere: words by their addresses.
    #[must_use]
    pub fn new(content: &[(u8, u16)]) -> Self {
        let mut words = [0; WORDS];
        for (at, value) in content {
            if let Some(word) = words.get_mut(usize::from(*at)) {
                *word = *value;
            }
        }
        Self { words, clock: false, state: State::Idle }
    }

    /// A word, read past the wires; zero where there is none.
    #[must_use]
    pub fn word(&self, address: u16) -> u16 {
        self.words.get(usize::from(address)).copied().unwrap_or(0)
    }

    /// The level of data out. It is pulled up while the chip does not drive it; an operation is complete at once.
    #[must_use]
    pub const fn data_out(&self) -> bool {
        match self.state {
            State::Reading { output, .. } => output,
            State::Idle | State::Command { .. } | State::Busy => true,
        }
    }

    /// The wires have these levels now.
    pub fn drive(&mut self, wires: Wires) {
        let rising = wires.clock && !self.clock;
        self.clock = wires.clock;
        if !wires.select {
            self.state = State::Idle;
        } else if rising {
            self.state = self.shift(wires.data_in);
        }
    }

    fn shift(&self, input: bool) -> State {
        match self.state {
            State::Idle if input => State::Command { bits: 1, count: 1 },
            State::Idle => State::Idle,
            State::Command { bits, count } => {
                let (bits, count) = (bits << 1 | u16::from(input), count.wrapping_add(1));
                match (bits >> 6, count) {
                    // A zero comes before the word.
                    (READ, 9) => State::Reading { word: bits & 0x3f, left: 16, output: false },
                    (_, 9..) => State::Busy,
                    _ => State::Command { bits, count },
                }
            }
            State::Reading { word, left, .. } => {
                let (word, left) = if left == 0 { (word.wrapping_add(1) & 0x3f, 16) } else { (word, left) };
                let left = left.wrapping_sub(1);
                let output = self.word(word).wrapping_shr(left.into()) & 1 != 0;
                State::Reading { word, left, output }
            }
            State::Busy => State::Busy,
        }
    }
}
