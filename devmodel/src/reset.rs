//! The two ports through which software resets the machine: system control port A (0x92) and the reset control
//! register (0xcf9).
//!
//! The A20 gate in port 0x92 is the keyboard controller's, and no more than storage: the hypervisor's guests have all
//! their address lines from the start.
//!
//! Source: Intel 82371SB (PIIX3) data sheet, section 2.5.4 (RC register); IBM PS/2 technical reference for port 0x92.
//! Not modelled: the watchdog and password lock bits of port 0x92, fixed disk activity lights. A soft and a hard reset
//! both reset all of the machine.

use serde::{Deserialize, Serialize};

/// System control port A and the reset control register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetPorts {
    system_control: u8,
    reset_control: u8,
}

/// Port 0x92: alternate processor reset, on its rising edge.
const FAST_INIT: u8 = 1 << 0;
/// Port 0x92: address line 20 is passed on.
pub const FAST_A20: u8 = 1 << 1;
/// Port 0xcf9, SRST: the reset is a hard one.
const HARD_RESET: u8 = 1 << 1;
/// Port 0xcf9, RCPU: resets.
const RESET_CPU: u8 = 1 << 2;

/// What a write asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// A reset of the machine.
    Reset,
}

impl ResetPorts {
    /// Reads port 0x92, all but the A20 gate.
    #[must_use]
    pub const fn system_control(self) -> u8 {
        self.system_control
    }

    /// Writes port 0x92.
    pub const fn write_system_control(&mut self, value: u8) -> Effect {
        let rising = value & !self.system_control & FAST_INIT;
        self.system_control = value & FAST_INIT;
        if rising == 0 { Effect::Nothing } else { Effect::Reset }
    }

    /// Reads port 0xcf9.
    #[must_use]
    pub const fn reset_control(self) -> u8 {
        self.reset_control
    }

    /// Writes port 0xcf9. "RCPU ... 0 to 1 transition initiates"; since that resets the register, RCPU never reads one.
    pub const fn write_reset_control(&mut self, value: u8) -> Effect {
        self.reset_control = value & HARD_RESET;
        if value & RESET_CPU == 0 { Effect::Nothing } else { Effect::Reset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_92_resets_on_the_rising_edge_of_bit_0() {
        let mut ports = ResetPorts::default();
        assert_eq!(ports.write_system_control(0x02), Effect::Nothing);
        assert_eq!(ports.write_system_control(0x03), Effect::Reset);
        assert_eq!(ports.write_system_control(0x03), Effect::Nothing);
        assert_eq!(ports.write_system_control(0x00), Effect::Nothing);
        assert_eq!(ports.system_control(), 0);
    }

    /// The ACPI reset register of hvmloader's tables: 6 to port 0xcf9. Linux writes 2 before.
    #[test]
    fn port_cf9_resets_when_rcpu_is_written() {
        let mut ports = ResetPorts::default();
        assert_eq!(ports.write_reset_control(2), Effect::Nothing);
        assert_eq!(ports.reset_control(), 2);
        assert_eq!(ports.write_reset_control(6), Effect::Reset);
    }
}
