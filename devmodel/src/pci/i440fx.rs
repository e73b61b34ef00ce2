//! Intel 82441FX host bridge at 00:00.0, and configuration mechanism 1.
//!
//! Software writes the address of a register to port 0xcf8 and then accesses it at 0xcfc to 0xcff. A hypervisor may
//! decode the two itself and send configuration accesses instead; the address register still has to read back, as
//! operating systems probe for the mechanism that way.
//!
//! The bridge's memory attribute registers (PAM) and SMRAM control are storage: RAM below 1 MiB belongs to the
//! hypervisor, which has made all of it readable and writable.
//!
//! Source: Intel 82441FX (PMC) data sheet, chapter 3; PCI Local Bus Specification 3.0, section 3.2.2.3.2.
//! Not modelled: memory attributes, SMRAM, DRAM timing, AGP, mechanism 2.

use super::config::{ConfigSpace, Identity};
use crate::access::Width;
use serde::{Deserialize, Serialize};

/// Configuration space of the host bridge.
#[must_use]
pub fn host_bridge() -> ConfigSpace {
    ConfigSpace::new(Identity {
        vendor: 0x8086,
        device: 0x1237,
        revision: 2,
        class: 0x06_00_00,
        subsystem: (0x1af4, 0x1100),
        multifunction: false,
        interrupt_pin: 0,
    })
    // PMCCFG, DETURBO and DRAM control up to the PAM registers at 0x59 to 0x5f; SMRAM control at 0x72.
    .with_registers(0x50, &[0; 9], &[0xff; 9])
    .with_registers(0x59, &[0x00; 7], &[0xff; 7])
    .with_registers(0x60, &[0; 8], &[0xff; 8])
    .with_registers(0x72, &[0x02], &[0x7f])
}

/// CONFADD, the address register of configuration mechanism 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigAddress(u32);

/// A register of a function, as the address register names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigTarget {
    /// Bus number.
    pub bus: u8,
    /// Device number, 0 to 31.
    pub slot: u8,
    /// Function number, 0 to 7.
    pub function: u8,
    /// Offset of the register.
    pub offset: u8,
}

impl ConfigAddress {
    /// Reads at 0xcf8. Only a whole double word reaches the register.
    #[must_use]
    pub fn read(self, width: Width) -> u32 {
        match width {
            Width::Dword => self.0,
            _ => u32::MAX,
        }
    }

    /// Writes at 0xcf8. "Any other types of accesses ... have no effect on the register" (82441FX, 3.1).
    pub fn write(&mut self, width: Width, value: u32) {
        if width == Width::Dword {
            // Bits 30:24 and 1:0 are reserved and read as zero.
            self.0 = value & 0x80ff_fffc;
        }
    }

    /// The register that an access to 0xcfc + `lane` is for, if the enable bit is set.
    #[must_use]
    pub fn target(self, lane: u8) -> Option<ConfigTarget> {
        let [offset, location, bus, enable] = self.0.to_le_bytes();
        let (slot, function) = (location >> 3, location & 7);
        (enable & 0x80 != 0).then_some(ConfigTarget { bus, slot, function, offset: offset | lane & 3 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The probe of operating systems: write 0x8000_0000 and read it back.
    #[test]
    fn the_address_register_reads_back() {
        let mut address = ConfigAddress::default();
        address.write(Width::Dword, 0x8000_0000);
        assert_eq!(address.read(Width::Dword), 0x8000_0000);
        address.write(Width::Byte, 1);
        assert_eq!(address.read(Width::Dword), 0x8000_0000);
    }

    #[test]
    fn the_address_names_bus_slot_function_and_register() {
        let mut address = ConfigAddress::default();
        address.write(Width::Dword, 0x8001_0b40);
        assert_eq!(address.target(2), Some(ConfigTarget { bus: 1, slot: 1, function: 3, offset: 0x42 }));
        address.write(Width::Dword, 0x0001_0b40);
        assert_eq!(address.target(2), None, "the enable bit is clear");
    }

    #[test]
    fn the_bridge_is_a_440fx() {
        let bridge = host_bridge();
        assert_eq!(bridge.read(0, Width::Dword), 0x1237_8086);
        assert_eq!(bridge.read(0x0a, Width::Word), 0x0600);
    }
}
