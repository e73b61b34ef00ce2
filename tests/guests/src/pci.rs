//! PCI configuration mechanism 1.

use crate::port;
use core::sync::atomic::{AtomicU32, Ordering};

/// A function of bus 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Slot, 0 to 31.
    pub slot: u8,
    /// Function, 0 to 7.
    pub number: u8,
}

impl Function {
    /// Selects a register: port 0xcf8.
    fn select(self, register: u8) {
        let address = 1 << 31 | u32::from(self.slot) << 11 | u32::from(self.number) << 8 | u32::from(register & 0xfc);
        port::out32(0xcf8, address);
    }

    /// Reads four bytes.
    pub(crate) fn read32(self, register: u8) -> u32 {
        self.select(register);
        port::in32(0xcfc)
    }

    /// Reads two bytes at an even register.
    pub(crate) fn read16(self, register: u8) -> u16 {
        self.select(register);
        port::in16(0xcfc + u16::from(register & 2))
    }

    /// Reads one byte.
    pub(crate) fn read8(self, register: u8) -> u8 {
        self.select(register);
        port::in8(0xcfc + u16::from(register & 3))
    }

    /// Writes four bytes.
    pub(crate) fn write32(self, register: u8, value: u32) {
        self.select(register);
        port::out32(0xcfc, value);
    }

    /// Writes two bytes at an even register.
    pub(crate) fn write16(self, register: u8, value: u16) {
        self.select(register);
        port::out16(0xcfc + u16::from(register & 2), value);
    }

    /// Writes one byte.
    pub(crate) fn write8(self, register: u8, value: u8) {
        self.select(register);
        port::out8(0xcfc + u16::from(register & 3), value);
    }

    /// Vendor in the lower half, device in the upper.
    pub(crate) fn id(self) -> u32 {
        self.read32(0)
    }

    /// Class and subclass.
    pub(crate) fn class(self) -> u16 {
        self.read16(0x0a)
    }

    /// A base address register as it reads.
    pub(crate) fn base_address(self, index: u8) -> u32 {
        self.read32(0x10 + 4 * index)
    }
}

/// Every function of bus 0 that answers.
pub(crate) fn functions() -> impl Iterator<Item = Function> {
    (0..32).flat_map(|slot| {
        let present = move |number| Function { slot, number }.read16(0) != 0xffff;
        // Header type bit 7: there is more than function 0.
        let last = match present(0) {
            false => 0,
            true if Function { slot, number: 0 }.read8(0x0e) & 0x80 == 0 => 1,
            true => 8,
        };
        (0..last).filter(move |&number| present(number)).map(move |number| Function { slot, number })
    })
}

/// The first function of this class. Where it was found the first time it is looked for no more: under a hypervisor each
/// read is two exits.
pub(crate) fn find_class(class: u16) -> Option<Function> {
    /// Class in the upper half; below it slot and function, with bit 15 set.
    static FOUND: [AtomicU32; 4] = [const { AtomicU32::new(0) }; 4];
    for place in &FOUND {
        let [low, high, class_low, class_high] = place.load(Ordering::Relaxed).to_le_bytes();
        if high == 0x80 && u16::from_le_bytes([class_low, class_high]) == class {
            return Some(Function { slot: low >> 3, number: low & 7 });
        }
    }
    let function = functions().find(|function| function.class() == class)?;
    if let Some(place) = FOUND.iter().find(|place| place.load(Ordering::Relaxed) == 0) {
        let known = u32::from(class) << 16 | 0x8000 | u32::from(function.slot << 3 | function.number);
        place.store(known, Ordering::Relaxed);
    }
    Some(function)
}

/// Class of IDE controllers.
pub(crate) const IDE: u16 = 0x0101;
/// Class of VGA cards.
pub(crate) const VGA: u16 = 0x0300;

/// The registers of the VGA card that are in memory: base address register 2.
pub(crate) fn find_vga_registers() -> Option<u64> {
    let base = find_class(VGA)?.base_address(2) & 0xffff_fff0;
    (base != 0).then_some(u64::from(base))
}
