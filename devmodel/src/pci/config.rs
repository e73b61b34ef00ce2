//! Configuration space of one PCI function, with its base addresses.
//!
//! Firmware learns the size of a region by writing ones into its base address register, gives it a place, and switches
//! its decoder on in the command register. The size of every region is a power of two, so a base address register is
//! storage whose low bits cannot be written; where it points to is worked out from the registers whenever one changes.
//!
//! Source: PCI Local Bus Specification 3.0, sections 6.1 (header), 6.2.5 (base addresses), 6.2.5.2 (expansion ROM).
//! Not modelled: 64-bit base addresses, capabilities, parity and system error reporting (their enable bits are storage).
//! Invariant: a region that is decoded lies within its address space and never includes the last byte of it, so that
//! a base address full of ones, as left behind by sizing, decodes nothing.

use crate::access::Width;
use crate::state::{Adopt, StateError};
use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

/// Offset of the command register.
const COMMAND: usize = 0x04;
/// Offset of the first base address register.
const FIRST_BASE_ADDRESS: usize = 0x10;
/// Offset of the interrupt pin register.
const INTERRUPT_PIN: usize = 0x3d;
/// Offset of the expansion ROM base address register.
const ROM_BASE_ADDRESS: usize = 0x30;

/// Command register: I/O space is decoded.
const COMMAND_IO: u16 = 1 << 0;
/// Command register: memory space is decoded.
const COMMAND_MEMORY: u16 = 1 << 1;
/// Command register: the function may read and write memory.
const COMMAND_MASTER: u16 = 1 << 2;
/// Command register: the interrupt pin is off.
const COMMAND_INTERRUPT_DISABLE: u16 = 1 << 10;
/// Command register: every bit that can be written: the three above, parity error response, SERR#, interrupt disable.
const COMMAND_WRITABLE: u16 =
    COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER | 1 << 6 | 1 << 8 | COMMAND_INTERRUPT_DISABLE;

/// What a base address register describes. Sizes are powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// I/O ports, at least 4 and at most 256.
    Ports {
        /// Number of ports.
        size: u32,
    },
    /// Memory, at least 16 bytes.
    Memory {
        /// Number of bytes.
        size: u32,
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// The expansion ROM, at least 2 KiB; only in the seventh place.
    Rom {
        /// Number of bytes.
        size: u32,
    },
}

impl Region {
    const fn size(self) -> u32 {
        match self {
            Self::Ports { size } | Self::Memory { size, .. } | Self::Rom { size } => size,
        }
    }

    /// The bits that say what kind of region it is; they cannot be written.
    const fn kind_bits(self) -> u32 {
        match self {
            Self::Ports { .. } => 1,
            Self::Memory { prefetchable: true, .. } => 8,
            Self::Memory { prefetchable: false, .. } | Self::Rom { .. } => 0,
        }
    }
}

/// The identification of a function: what never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Revision ID.
    pub revision: u8,
    /// Class code: base class, sub-class, programming interface, highest byte first.
    pub class: u32,
    /// Subsystem vendor ID and subsystem ID.
    pub subsystem: (u16, u16),
    /// Other functions share the slot.
    pub multifunction: bool,
    /// Interrupt pin: 0 is none, 1 is INTA#.
    pub interrupt_pin: u8,
}

/// Number of base addresses, the expansion ROM's included.
pub const REGIONS: usize = 7;
/// Which base address is the expansion ROM's.
pub const ROM: usize = 6;

/// Configuration space of one function.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConfigSpace {
    // Fixed configuration.
    #[serde(skip, default = "zeros")]
    initial: [u8; 256],
    #[serde(skip, default = "zeros")]
    writable: [u8; 256],
    #[serde(skip, default = "zeros")]
    write_one_to_clear: [u8; 256],
    #[serde(skip)]
    regions: [Option<Region>; REGIONS],
    /// Where the capability of messages is.
    #[serde(skip)]
    messages: Option<u8>,
    // Guest-visible state.
    #[serde(with = "BigArray")]
    bytes: [u8; 256],
}

const fn zeros() -> [u8; 256] {
    [0; 256]
}

impl Adopt for ConfigSpace {
    /// Takes over what software can write; the rest is the function's own.
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        for ((byte, saved), writable) in self.bytes.iter_mut().zip(saved.bytes).zip(self.writable) {
            *byte = *byte & !writable | saved & writable;
        }
        Ok(())
    }
}

impl ConfigSpace {
    /// The configuration space of a function without regions.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        let mut space = Self {
            messages: None,
            initial: [0; 256],
            writable: [0; 256],
            write_one_to_clear: [0; 256],
            regions: [None; REGIONS],
            bytes: [0; 256],
        };
        store(&mut space.initial, 0x00, &identity.vendor.to_le_bytes());
        store(&mut space.initial, 0x02, &identity.device.to_le_bytes());
        store(&mut space.initial, 0x08, &(identity.class << 8 | u32::from(identity.revision)).to_le_bytes());
        store(&mut space.initial, 0x0e, &[u8::from(identity.multifunction) << 7]);
        store(&mut space.initial, 0x2c, &identity.subsystem.0.to_le_bytes());
        store(&mut space.initial, 0x2e, &identity.subsystem.1.to_le_bytes());
        store(&mut space.initial, INTERRUPT_PIN, &[identity.interrupt_pin]);
        store(&mut space.writable, COMMAND, &COMMAND_WRITABLE.to_le_bytes());
        // Status: fast back-to-back transfers, medium DEVSEL timing.
        store(&mut space.initial, 0x06, &0x0280_u16.to_le_bytes());
        // Status: the error bits, which nothing sets, clear where a one is written.
        store(&mut space.write_one_to_clear, 0x06, &0xf900_u16.to_le_bytes());
        // Cache line size, latency timer and interrupt line are storage for software.
        store(&mut space.writable, 0x0c, &[0xff, 0xff]);
        store(&mut space.writable, 0x3c, &[0xff]);
        space.bytes = space.initial;
        space
    }

    /// Adds what base address `index` describes.
    #[must_use]
    pub fn with_region(mut self, index: usize, region: Region) -> Self {
        debug_assert!(region.size().is_power_of_two(), "the size of a region is a power of two");
        let enable = u32::from(matches!(region, Region::Rom { .. }));
        let mask = !region.size().wrapping_sub(1) | enable;
        store(&mut self.initial, base_address_offset(index), &region.kind_bits().to_le_bytes());
        store(&mut self.writable, base_address_offset(index), &mask.to_le_bytes());
        if let Some(slot) = self.regions.get_mut(index) {
            *slot = Some(region);
        }
        self.bytes = self.initial;
        self
    }

    /// Adds registers of the function's own: what they hold after a reset, and which bits can be written.
    #[must_use]
    pub fn with_registers(mut self, offset: u8, initial: &[u8], writable: &[u8]) -> Self {
        store(&mut self.initial, usize::from(offset), initial);
        store(&mut self.writable, usize::from(offset), writable);
        self.bytes = self.initial;
        self
    }

    /// Puts every register to its value after a reset.
    pub fn reset(&mut self) {
        self.bytes = self.initial;
    }

    /// Reads `width` at `offset`. Bytes beyond the end read as zero.
    #[must_use]
    pub fn read(&self, offset: u8, width: Width) -> u32 {
        let mut value = [0; 4];
        for (lane, at) in value.iter_mut().zip(usize::from(offset)..).take(width.bytes()) {
            *lane = self.byte(at);
        }
        u32::from_le_bytes(value)
    }

    /// Writes `width` at `offset`, where bits can be written.
    pub fn write(&mut self, offset: u8, width: Width, value: u32) {
        for (lane, at) in value.to_le_bytes().into_iter().zip(usize::from(offset)..).take(width.bytes()) {
            let (Some(byte), Some(writable), Some(clear)) =
                (self.bytes.get_mut(at), self.writable.get(at), self.write_one_to_clear.get(at))
            else {
                return;
            };
            *byte = (*byte & !writable | lane & writable) & !(lane & clear);
        }
    }

    /// One byte.
    #[must_use]
    pub fn byte(&self, offset: usize) -> u8 {
        self.bytes.get(offset).copied().unwrap_or(0)
    }

    /// Two bytes, at an offset within the space.
    #[must_use]
    pub fn word(&self, offset: usize) -> u16 {
        u16::from_le_bytes([self.byte(offset), self.byte(offset.wrapping_add(1))])
    }

    /// Whether I/O ports are decoded.
    #[must_use]
    pub fn decodes_ports(&self) -> bool {
        self.word(COMMAND) & COMMAND_IO != 0
    }

    /// Whether the function may read and write memory.
    #[must_use]
    pub fn masters_bus(&self) -> bool {
        self.word(COMMAND) & COMMAND_MASTER != 0
    }

    /// Adds the capability of message-signalled interrupts: one message, a 64-bit address. The next capability is at `next`,
    /// 0 is none. The list of capabilities itself is the caller's (PCI 3.0, 6.8.1).
    #[must_use]
    pub fn with_messages(mut self, offset: u8, next: u8) -> Self {
        self.messages = Some(offset);
        let initial = [0x05, next, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let writable = [0, 0, 0x01, 0, 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        self.with_registers(offset, &initial, &writable)
    }

    /// Address and data of the message that stands for the interrupt pin, when software has asked for messages.
    #[must_use]
    pub fn message(&self) -> Option<(u64, u32)> {
        let at = self.messages?;
        let word = |offset: u8| u64::from(self.word(usize::from(at.wrapping_add(offset))));
        let addr = word(4) | word(6) << 16 | word(8) << 32 | word(10) << 48;
        let is_enabled = word(2) & 1 != 0;
        is_enabled.then(|| (addr, u32::try_from(word(12)).unwrap_or(0)))
    }

    /// Whether software has switched the interrupt pin off (PCI 3.0, 6.2.2).
    #[must_use]
    pub fn interrupt_disabled(&self) -> bool {
        self.word(COMMAND) & COMMAND_INTERRUPT_DISABLE != 0
    }

    /// The interrupt pin, 0 is INTA#; `None` if the function has none.
    #[must_use]
    pub fn interrupt_pin(&self) -> Option<u8> {
        self.byte(INTERRUPT_PIN).checked_sub(1)
    }

    /// Whether base address `index` describes ports.
    #[must_use]
    pub fn is_ports(&self, index: usize) -> bool {
        matches!(self.regions.get(index), Some(Some(Region::Ports { .. })))
    }

    /// First and last address of what base address `index` describes, if it is decoded.
    #[must_use]
    pub fn decoded(&self, index: usize) -> Option<(u32, u32)> {
        let region = (*self.regions.get(index)?)?;
        let offset = base_address_offset(index);
        let register = u32::from(self.word(offset)) | u32::from(self.word(offset.wrapping_add(2))) << 16;
        let (enabled, last_of_space) = match region {
            Region::Ports { .. } => (self.decodes_ports(), 0xffff),
            Region::Memory { .. } => (self.word(COMMAND) & COMMAND_MEMORY != 0, u32::MAX),
            Region::Rom { .. } => (self.word(COMMAND) & COMMAND_MEMORY != 0 && register & 1 != 0, u32::MAX),
        };
        let first = register & !region.size().wrapping_sub(1);
        let last = first.checked_add(region.size().wrapping_sub(1))?;
        (enabled && first != 0 && last < last_of_space).then_some((first, last))
    }
}

const fn base_address_offset(index: usize) -> usize {
    match index {
        0..ROM => FIRST_BASE_ADDRESS.saturating_add(index.saturating_mul(4)),
        _ => ROM_BASE_ADDRESS,
    }
}

fn store(bytes: &mut [u8; 256], offset: usize, value: &[u8]) {
    for (byte, new) in bytes.iter_mut().skip(offset).zip(value) {
        *byte = *new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function() -> ConfigSpace {
        ConfigSpace::new(Identity {
            vendor: 0x8086,
            device: 0x7010,
            revision: 2,
            class: 0x01_01_80,
            subsystem: (0x1af4, 0x1100),
            multifunction: true,
            interrupt_pin: 1,
        })
        .with_region(0, Region::Memory { size: 1 << 24, prefetchable: true })
        .with_region(4, Region::Ports { size: 16 })
        .with_region(ROM, Region::Rom { size: 0x1_0000 })
    }

    #[test]
    fn the_header_identifies_the_function() {
        let space = function();
        assert_eq!(space.read(0x00, Width::Dword), 0x7010_8086);
        assert_eq!(space.read(0x08, Width::Dword), 0x0101_8002);
        assert_eq!(space.read(0x0e, Width::Byte), 0x80);
        assert_eq!(space.read(0x2c, Width::Dword), 0x1100_1af4);
        assert_eq!(space.read(0x3d, Width::Byte), 1);
    }

    #[test]
    fn identification_cannot_be_written() {
        let mut space = function();
        let before: std::vec::Vec<_> = [0x00, 0x08, 0x2c].map(|at| space.read(at, Width::Dword)).into();
        for at in [0x00, 0x08, 0x2c] {
            space.write(at, Width::Dword, 0xffff_ffff);
        }
        assert_eq!(before, [0x00, 0x08, 0x2c].map(|at| space.read(at, Width::Dword)));
    }

    /// PCI 3.0, 6.2.5.1: "writing all 1's to the register ... the device returns 0's in all don't-care address bits".
    #[test]
    fn sizing_reads_back_the_size() {
        let mut space = function();
        for (at, expected) in [(0x10, 0xff00_0008), (0x14, 0), (0x20, 0xffff_fff1), (0x30, 0xffff_0001)] {
            space.write(at, Width::Dword, 0xffff_ffff);
            assert_eq!(space.read(at, Width::Dword), expected, "register {at:#x}");
        }
    }

    #[test]
    fn a_region_is_decoded_where_its_register_and_the_command_say() {
        let mut space = function();
        space.write(0x20, Width::Dword, 0xc001);
        assert_eq!(space.decoded(4), None, "the I/O decoder is off");
        space.write(0x04, Width::Word, 1);
        assert_eq!(space.decoded(4), Some((0xc000, 0xc00f)));
        space.write(0x10, Width::Dword, 0xf000_0000);
        assert_eq!(space.decoded(0), None, "the memory decoder is off");
        space.write(0x04, Width::Word, 3);
        assert_eq!(space.decoded(0), Some((0xf000_0000, 0xf0ff_ffff)));
        space.write(0x30, Width::Dword, 0xf200_0000);
        assert_eq!(space.decoded(ROM), None, "the ROM has a decoder of its own");
        space.write(0x30, Width::Dword, 0xf200_0001);
        assert_eq!(space.decoded(ROM), Some((0xf200_0000, 0xf200_ffff)));
    }

    #[test]
    fn a_register_full_of_ones_or_zeros_decodes_nothing() {
        let mut space = function();
        space.write(0x04, Width::Word, 7);
        for value in [0, 0xffff_ffff] {
            for at in [0x10, 0x20, 0x30] {
                space.write(at, Width::Dword, value);
            }
            assert_eq!([0, 4, ROM].map(|index| space.decoded(index)), [None; 3]);
        }
        space.write(0x20, Width::Dword, 0x1_c000);
        assert_eq!(space.decoded(4), None, "there are 65536 ports");
    }

    #[test]
    fn an_access_past_the_end_is_cut_off() {
        let mut space = function();
        space.write(0xff, Width::Dword, 0xffff_ffff);
        assert_eq!(space.read(0xff, Width::Dword), 0);
    }
}
