//! The command block registers of one drive, and the addresses and counts that they hold.
//!
//! Registers that carry 48-bit addresses are two bytes deep: a write pushes the byte before it down. Which of the two
//! a read gives is up to the HOB bit of the device control register.
//!
//! Source: ATA/ATAPI-6, sections 6.2 (addressing) and 7 (registers).

use crate::ata::command::Depth;
use crate::ata::geometry::Geometry;
use serde::{Deserialize, Serialize};

/// Device register: addresses are logical, not cylinder, head and sector.
const DEVICE_LBA: u8 = 1 << 6;
/// Device register: drive 1 is selected.
const DEVICE_SELECT: u8 = 1 << 4;
/// Device register: the two bits that were once always one, and that drivers still write and expect.
const DEVICE_OBSOLETE: u8 = 0xa0;

/// Status: the drive works on a command; nothing else is valid.
pub(super) const STATUS_BUSY: u8 = 1 << 7;
/// Status: the drive takes commands.
pub(super) const STATUS_READY: u8 = 1 << 6;
/// Status: DSC, a seek is complete, which it always is.
pub(super) const STATUS_SEEK_COMPLETE: u8 = 1 << 4;
/// Status: the data register takes or gives data.
pub(super) const STATUS_DATA_REQUEST: u8 = 1 << 3;
/// Status: the error register says what went wrong. CD drives call it CHK.
pub(super) const STATUS_ERROR: u8 = 1 << 0;

/// Error: ABRT, the command is not supported or its arguments are wrong.
pub(super) const ERROR_ABORTED: u8 = 1 << 2;

/// A register that is two bytes deep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Deep {
    pub(super) current: u8,
    pub(super) previous: u8,
}

impl Deep {
    fn push(&mut self, value: u8) {
        self.previous = self.current;
        self.current = value;
    }

    const fn read(self, high_order: bool) -> u8 {
        if high_order { self.previous } else { self.current }
    }
}

/// The command block registers of one drive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registers {
    pub(super) error: u8,
    pub(super) features: Deep,
    pub(super) count: Deep,
    pub(super) low: Deep,
    pub(super) mid: Deep,
    pub(super) high: Deep,
    pub(super) device: u8,
}

impl Registers {
    /// Reads register `offset` (1 to 6) of the command block.
    pub(super) fn read(&self, offset: u16, high_order: bool) -> u8 {
        match offset {
            1 => self.error,
            2 => self.count.read(high_order),
            3 => self.low.read(high_order),
            4 => self.mid.read(high_order),
            5 => self.high.read(high_order),
            6 => self.device | DEVICE_OBSOLETE,
            _ => 0,
        }
    }

    /// Writes register `offset` (1 to 6) of the command block.
    pub(super) fn write(&mut self, offset: u16, value: u8) {
        match offset {
            1 => self.features.push(value),
            2 => self.count.push(value),
            3 => self.low.push(value),
            4 => self.mid.push(value),
            5 => self.high.push(value),
            6 => self.device = value,
            _ => {}
        }
    }

    /// What a drive says of itself after a reset and a diagnostic: the signature of `mid` and `high` says which kind
    /// it is (ATA/ATAPI-6, 9.12).
    pub(super) fn set_signature(&mut self, mid: u8, high: u8) {
        let one = Deep { current: 1, previous: 0 };
        *self = Self {
            error: 1,
            features: Deep::default(),
            count: one,
            low: one,
            mid: Deep { current: mid, previous: 0 },
            high: Deep { current: high, previous: 0 },
            device: self.device & DEVICE_SELECT,
        };
    }

    /// Whether drive 1 is selected.
    pub(super) const fn selects_drive_1(&self) -> bool {
        self.device & DEVICE_SELECT != 0
    }

    /// Head number, the low bits of the device register.
    pub(super) const fn head(&self) -> u8 {
        self.device & 0x0f
    }

    /// The number of sectors that a command is for. Zero stands for the most there can be.
    pub(super) fn sector_count(&self, depth: Depth) -> u32 {
        match depth {
            Depth::Short if self.count.current == 0 => 256,
            Depth::Short => self.count.current.into(),
            Depth::Extended => match u16::from_le_bytes([self.count.current, self.count.previous]) {
                0 => 0x1_0000,
                count => count.into(),
            },
        }
    }

    /// The sector that a command begins at. `None`: there is no such cylinder, head or sector.
    pub(super) fn address(&self, depth: Depth, geometry: Geometry) -> Option<u64> {
        let (low, mid, high) = (self.low, self.mid, self.high);
        if depth == Depth::Extended {
            let bytes = [low.current, mid.current, high.current, low.previous, mid.previous, high.previous, 0, 0];
            return Some(u64::from_le_bytes(bytes));
        }
        if self.device & DEVICE_LBA != 0 {
            return Some(u32::from_le_bytes([low.current, mid.current, high.current, self.head()]).into());
        }
        let cylinder = u64::from(u16::from_le_bytes([mid.current, high.current]));
        let sector = low.current.checked_sub(1)?;
        if self.head() >= geometry.heads || sector >= geometry.sectors {
            return None;
        }
        let track = cylinder.saturating_mul(geometry.heads.into()).saturating_add(self.head().into());
        Some(track.saturating_mul(geometry.sectors.into()).saturating_add(sector.into()))
    }

    /// Puts `sector` where a command of this depth finds addresses. High-order bits that do not fit are lost.
    pub(super) fn set_address(&mut self, sector: u64, depth: Depth, geometry: Geometry) {
        let [b0, b1, b2, b3, b4, b5, ..] = sector.to_le_bytes();
        if depth == Depth::Extended {
            self.low = Deep { current: b0, previous: b3 };
            self.mid = Deep { current: b1, previous: b4 };
            self.high = Deep { current: b2, previous: b5 };
        } else if self.device & DEVICE_LBA != 0 {
            (self.low.current, self.mid.current, self.high.current) = (b0, b1, b2);
            self.device = self.device & 0xf0 | b3 & 0x0f;
        } else {
            let (heads, sectors) = (u64::from(geometry.heads.max(1)), u64::from(geometry.sectors.max(1)));
            let track = sector.checked_div(sectors).unwrap_or(0);
            let in_track = sector.checked_rem(sectors).unwrap_or(0).to_le_bytes()[0].saturating_add(1);
            let head = track.checked_rem(heads).unwrap_or(0).to_le_bytes()[0];
            let [low, high, ..] = track.checked_div(heads).unwrap_or(0).to_le_bytes();
            (self.low.current, self.mid.current, self.high.current) = (in_track, low, high);
            self.device = self.device & 0xf0 | head & 0x0f;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: Geometry = Geometry { cylinders: 100, heads: 16, sectors: 63 };

    #[test]
    fn a_write_pushes_the_byte_before_it_down() {
        let mut registers = Registers::default();
        registers.write(3, 0x11);
        registers.write(3, 0x22);
        assert_eq!(registers.read(3, false), 0x22);
        assert_eq!(registers.read(3, true), 0x11);
    }

    #[test]
    fn a_count_of_zero_is_the_most() {
        let registers = Registers::default();
        assert_eq!(registers.sector_count(Depth::Short), 256);
        assert_eq!(registers.sector_count(Depth::Extended), 65536);
    }

    #[test]
    fn addresses_survive_the_way_into_the_registers_and_back() {
        for (device, depth, sector) in [
            (0xe0, Depth::Short, 0x0abc_def1),
            (0xa0, Depth::Short, 99 * 16 * 63 + 5 * 63 + 62),
            (0xe0, Depth::Extended, 0x1234_5678_9abc),
        ] {
            let mut registers = Registers { device, ..Registers::default() };
            registers.set_address(sector, depth, GEOMETRY);
            assert_eq!(registers.address(depth, GEOMETRY), Some(sector));
        }
    }

    /// ATA-5, 6.2: sectors are numbered from 1.
    #[test]
    fn there_is_no_sector_0_of_a_track() {
        let mut registers = Registers { device: 0xa0, ..Registers::default() };
        assert_eq!(registers.address(Depth::Short, GEOMETRY), None);
        registers.write(3, 64);
        assert_eq!(registers.address(Depth::Short, GEOMETRY), None);
        registers.write(3, 63);
        assert_eq!(registers.address(Depth::Short, GEOMETRY), Some(62));
        let small = Geometry { heads: 2, ..GEOMETRY };
        registers.write(6, 0xa2);
        assert_eq!(registers.address(Depth::Short, small), None);
    }
}
