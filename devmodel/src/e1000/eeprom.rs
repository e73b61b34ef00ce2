//! The EEPROM, a 93C46 of 64 words: its content, and the two ways to it.
//!
//! EERD reads a word by its address at once. EECD are the pins: a driver selects the chip, and with each rising edge of
//! the clock shifts in a start bit, two bits of operation and six of address; then each rising edge shifts out a bit of
//! the word, highest first. The word after it follows.
//!
//! Source: SDM 5 (EEPROM interface and map), 13.4.3 (EECD), 13.4.4 (EERD); Microchip 93C46 data sheet.
//! Not modelled: writing and erasing; such operations are taken and do nothing.

/// EECD.SK, the clock.
const SK: u32 = 1 << 0;
/// EECD.CS, selects the chip.
const CS: u32 = 1 << 1;
/// EECD.DI, data to the chip.
const DI: u32 = 1 << 2;
/// EECD.DO, data from the chip.
const DO: u32 = 1 << 3;
/// EECD.FWE, write enable of the flash.
const FWE: u32 = 3 << 4;
/// EECD.EE_REQ, asks for the pins.
const REQ: u32 = 1 << 6;
/// EECD.EE_GNT, the pins are given.
const GNT: u32 = 1 << 7;
/// EECD.EE_PRES, there is an EEPROM.
const PRES: u32 = 1 << 8;

/// EERD.START.
const START: u32 = 1 << 0;
/// EERD.DONE.
const DONE: u32 = 1 << 4;

/// Number of words.
const WORDS: usize = 64;
/// The sum of all words.
const SUM: u16 = 0xbaba;
/// Start bit and operation of a read.
const READ: u16 = 0b110;

/// What the chip does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It waits for a start bit.
    Idle,
    /// It takes an operation: so many bits of it, with these values.
    Command { bits: u16, count: u8 },
    /// It gives out a bit: of this word, and so many are left of it.
    Reading { word: u16, left: u8, output: bool },
    /// It does something else, until it is no longer selected.
    Busy,
}

/// The EEPROM and its registers.
#[derive(Clone, Debug)]
pub(super) struct Eeprom {
    words: [u16; WORDS],
    eecd: u32,
    eerd: u32,
    state: State,
}

impl Eeprom {
    /// The EEPROM of a card with this address.
    pub(super) fn new(mac: [u8; 6], device: u16, vendor: u16, subsystem: (u16, u16)) -> Self {
        let mut words = [0_u16; WORDS];
        let [a, b, c, d, e, f] = mac;
        let content = [
            (0x00, u16::from_le_bytes([a, b])),
            (0x01, u16::from_le_bytes([c, d])),
            (0x02, u16::from_le_bytes([e, f])),
            // The meanings of LEDs are the default ones.
            (0x04, 0xffff),
            // Initialization control 1: the signature, and take the identification from here.
            (0x0a, 0x4003),
            (0x0b, subsystem.1),
            (0x0c, subsystem.0),
            (0x0d, device),
            (0x0e, vendor),
            // Initialization control 2: pause frames in both directions may be negotiated.
            (0x0f, 0x3040),
            (0x2f, 0x0602),
        ];
        for (at, value) in content {
            if let Some(word) = words.get_mut(at) {
                *word = value;
            }
        }
        let sum = words.iter().fold(0_u16, |sum, word| sum.wrapping_add(*word));
        if let Some(last) = words.last_mut() {
            *last = SUM.wrapping_sub(sum);
        }
        Self { words, eecd: 0, eerd: 0, state: State::Idle }
    }

    /// Registers and pins after a reset.
    pub(super) fn reset(&mut self) {
        (self.eecd, self.eerd, self.state) = (0, 0, State::Idle);
    }

    fn word(&self, address: u16) -> u16 {
        self.words.get(usize::from(address)).copied().unwrap_or(0)
    }

    /// EERD, when it is read.
    pub(super) const fn read_eerd(&self) -> u32 {
        self.eerd
    }

    /// EERD, when it is written.
    pub(super) fn write_eerd(&mut self, value: u32) {
        let [_, address, ..] = value.to_le_bytes();
        self.eerd = u32::from(address) << 8;
        if value & START != 0 {
            self.eerd |= u32::from(self.word(address.into())) << 16 | DONE;
        }
    }

    /// EECD, when it is read.
    pub(super) fn read_eecd(&self) -> u32 {
        let granted = if self.eecd & REQ != 0 { GNT } else { 0 };
        let output = match self.state {
            State::Reading { output, .. } => output,
            // Pulled up while the chip does not drive it; an operation is complete at once.
            _ => true,
        };
        self.eecd | PRES | granted | if output { DO } else { 0 }
    }

    /// EECD, when it is written.
    pub(super) fn write_eecd(&mut self, value: u32) {
        let rising = value & !self.eecd & SK != 0;
        self.eecd = value & (SK | CS | DI | FWE | REQ);
        if value & CS == 0 {
            self.state = State::Idle;
        } else if rising {
            self.state = self.clock(value & DI != 0);
        }
    }

    fn clock(&self, input: bool) -> State {
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
