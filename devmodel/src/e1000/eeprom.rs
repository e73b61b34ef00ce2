//! The content of the EEPROM, and the two ways to it.
//!
//! EERD reads a word by its address at once. EECD are the wires of the chip ([`crate::net::eeprom`]).
//!
//! Source: SDM 5 (EEPROM interface and map), 13.4.3 (EECD), 13.4.4 (EERD).

use crate::net::eeprom::{Eeprom as Chip, Wires};
use serde::{Deserialize, Serialize};

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

/// Where the checksum is: the last word.
const LAST: u8 = 0x3f;
/// The sum of all words.
const SUM: u16 = 0xbaba;
/// The EEPROM and its registers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Eeprom {
    chip: Chip,
    eecd: u32,
    eerd: u32,
}

impl Eeprom {
    /// The EEPROM of a card with this address.
    pub(super) fn new(mac: [u8; 6], device: u16, vendor: u16, subsystem: (u16, u16)) -> Self {
        let [a, b, c, d, e, f] = mac;
        let mut content = [
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
            (LAST, 0),
        ];
        let sum = content.iter().fold(0_u16, |sum, (_, word)| sum.wrapping_add(*word));
        if let Some((_, last)) = content.last_mut() {
            *last = SUM.wrapping_sub(sum);
        }
        Self { chip: Chip::new(&content), eecd: 0, eerd: 0 }
    }

    /// Registers and pins after a reset.
    pub(super) fn reset(&mut self) {
        (self.eecd, self.eerd) = (0, 0);
        self.chip.drive(Wires::default());
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
            self.eerd |= u32::from(self.chip.word(address.into())) << 16 | DONE;
        }
    }

    /// EECD, when it is read.
    pub(super) fn read_eecd(&self) -> u32 {
        let granted = if self.eecd & REQ != 0 { GNT } else { 0 };
        let output = self.chip.data_out();
        self.eecd | PRES | granted | if output { DO } else { 0 }
    }

    /// EECD, when it is written.
    pub(super) fn write_eecd(&mut self, value: u32) {
        self.eecd = value & (SK | CS | DI | FWE | REQ);
        self.chip.drive(Wires { select: value & CS != 0, clock: value & SK != 0, data_in: value & DI != 0 });
    }
}
