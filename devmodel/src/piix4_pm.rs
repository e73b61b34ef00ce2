//! Power management of the PIIX4, at 00:01.3, where the firmware's ACPI tables expect it.
//!
//! The operating system takes power management over by a write to port 0xb2, and later puts the machine to sleep or
//! off by writing a sleep type and SLP_EN to PM1_CNT. The PM timer and the PM1 event registers at the start of the
//! block are the hypervisor's. The hot plug registers are those of the ACPI tables that the firmware brings along:
//! they say which CPUs are there, and a general purpose event says that one has come. Network cards can be ejected by the
//! guest; no PCI card comes.
//!
//! Source: Intel 82371AB (PIIX4) data sheet, chapter 7 (power management); ACPI 2.0, section 4.7.3.2; the ports and
//! sleep types are in `xen/include/public/hvm/ioreq.h` and `tools/libacpi` of Xen.
//! Not modelled: SMBus, device monitors, throttling, system management interrupts, CPUs that go, PCI cards that come or are asked to go.

use crate::access::{Width, read_bytes, write_bytes};
use crate::pci::config::{ConfigSpace, Identity};
use crate::state::{Adopt, StateError};
use serde::{Deserialize, Serialize};

/// Offset of PMBASE in configuration space.
const BASE: usize = 0x40;
/// Offset of PMREGMISC in configuration space; bit 0 enables the ports at PMBASE.
const MISC: usize = 0x80;
/// Number of ports at PMBASE.
const BLOCK_PORTS: u16 = 64;

/// First port of the general purpose event block.
pub const GPE0_PORT: u16 = 0xafe0;
/// Number of ports of the general purpose event block: two bytes status, two bytes enable.
pub const GPE0_PORTS: u16 = 4;
/// First port of the map of CPUs.
pub const CPU_PORT: u16 = 0xaf00;
/// Number of ports of the map of CPUs.
pub const CPU_PORTS: u16 = 32;
/// First port of the PCI hot plug registers.
pub const PCI_PORT: u16 = 0xae00;
/// Number of ports of the PCI hot plug registers.
pub const PCI_PORTS: u16 = 20;
/// Offset of the register that ejects cards, a bit for each slot.
pub const PCI_EJECT: u16 = 8;
/// Offset of the map of slots whose cards can be ejected.
pub const PCI_REMOVABLE: u16 = 12;
/// SMI command port: APMC.
pub const APM_PORT: u16 = 0xb2;

/// Written to APMC: the operating system takes over.
const ACPI_ENABLE: u8 = 0xf1;
/// Written to APMC: the operating system gives back.
const ACPI_DISABLE: u8 = 0xf0;

/// PM1_CNT, SCI_EN: power management events interrupt the operating system.
const SCI_ENABLE: u16 = 1 << 0;
/// PM1_CNT, BM_RLD.
const BUS_MASTER_RELOAD: u16 = 1 << 1;
/// PM1_CNT, SLP_TYP.
const SLEEP_TYPE: u16 = 7 << 10;
/// PM1_CNT, SLP_EN: always reads as zero.
const SLEEP_ENABLE: u16 = 1 << 13;

/// General purpose event: a CPU has come (`_E02` of libacpi).
const CPU_EVENT: u16 = 1 << 2;
/// CPUs that the map has room for, and more than Xen gives a guest.
pub const CPUS_MAX: u32 = 128;

/// What a write asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// Sleep state S4 or S5.
    PowerOff,
    /// Sleep state S3.
    Suspend,
}

/// The power management function.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Piix4Pm {
    /// One bit for each CPU that is there.
    cpus: u128,
    // Guest-visible state.
    /// Configuration space.
    pub config: ConfigSpace,
    pm1_control: u16,
    gpe_status: u16,
    gpe_enable: u16,
    apm: [u8; 2],
}

impl Adopt for Piix4Pm {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        self.config.adopt(saved.config)?;
        *self = Self { config: self.config.clone(), ..saved };
        Ok(())
    }
}

impl Piix4Pm {
    /// Power management of a machine with `cpus` CPUs, at most [`CPUS_MAX`].
    #[must_use]
    pub fn new(cpus: u32) -> Self {
        let config = ConfigSpace::new(Identity {
            vendor: 0x8086,
            device: 0x7113,
            revision: 3,
            class: 0x06_80_00,
            subsystem: (0x1af4, 0x1100),
            multifunction: false,
            interrupt_pin: 1,
        })
        // PMBASE: 64 ports; bit 0 says that they are ports.
        .with_registers(0x40, &[0x01, 0, 0, 0], &[0xc0, 0xff, 0, 0])
        // CNTA, CNTB, GPICTL and the device resource registers.
        .with_registers(0x44, &[0; 0x3c], &[0xff; 0x3c])
        .with_registers(0x80, &[0x00], &[0x01])
        // SMBBA and SMBHSTCFG.
        .with_registers(0x90, &[0x01, 0, 0, 0], &[0xf0, 0xff, 0, 0])
        .with_registers(0xd2, &[0x00], &[0x0f]);
        let cpus = u128::MAX.checked_shl(cpus).map_or(u128::MAX, |absent| !absent);
        Self { cpus, config, pm1_control: 0, gpe_status: 0, gpe_enable: 0, apm: [0; 2] }
    }

    /// Puts every register to its value after a reset.
    pub fn reset(&mut self) {
        let Self { cpus: _, config, pm1_control, gpe_status, gpe_enable, apm } = self;
        config.reset();
        *pm1_control = 0;
        *gpe_status = 0;
        *gpe_enable = 0;
        *apm = [0; 2];
    }

    /// First and last port of the block at PMBASE, if it is decoded.
    #[must_use]
    pub fn block(&self) -> Option<(u16, u16)> {
        let first = self.config.word(BASE) & !(BLOCK_PORTS.saturating_sub(1));
        let enabled = self.config.byte(MISC) & 1 != 0;
        let last = first.checked_add(BLOCK_PORTS.saturating_sub(1))?;
        (enabled && first != 0).then_some((first, last))
    }

    /// Reads at PMBASE + `offset`.
    #[must_use]
    pub fn read(&self, offset: u16, width: Width) -> u32 {
        let [low, high] = self.pm1_control.to_le_bytes();
        bytes(offset, width, |at| match at {
            4 => low,
            5 => high,
            _ => 0,
        })
    }

    /// Writes at PMBASE + `offset`.
    pub fn write(&mut self, offset: u16, width: Width, value: u32) -> Effect {
        let mut control = self.pm1_control.to_le_bytes();
        let mut written = false;
        write_bytes(offset, width, value.into(), |at, byte| match (at, &mut control) {
            (4, [cell, _]) | (5, [_, cell]) => {
                *cell = byte;
                written = true;
            }
            _ => {}
        });
        if !written {
            return Effect::Nothing;
        }
        let control = u16::from_le_bytes(control);
        self.pm1_control = control & (SCI_ENABLE | BUS_MASTER_RELOAD | SLEEP_TYPE);
        if control & SLEEP_ENABLE == 0 {
            return Effect::Nothing;
        }
        match (control & SLEEP_TYPE) >> 10 {
            // _S5, and _S4, where the operating system has saved itself.
            0 => Effect::PowerOff,
            // _S3.
            1 => Effect::Suspend,
            _ => Effect::Nothing,
        }
    }

    /// Reads APMC (`offset` 0) or APMS (1).
    #[must_use]
    pub fn read_apm(&self, offset: u16, width: Width) -> u32 {
        bytes(offset, width, |at| self.apm.get(usize::from(at)).copied().unwrap_or(0xff))
    }

    /// Writes APMC or APMS.
    pub fn write_apm(&mut self, offset: u16, width: Width, value: u32) {
        write_bytes(offset, width, value.into(), |at, byte| {
            match (at, byte) {
                (0, ACPI_ENABLE) => self.pm1_control |= SCI_ENABLE,
                (0, ACPI_DISABLE) => self.pm1_control &= !SCI_ENABLE,
                _ => {}
            }
            if let Some(cell) = self.apm.get_mut(usize::from(at)) {
                *cell = byte;
            }
        });
    }

    /// Reads the general purpose event block.
    #[must_use]
    pub fn read_gpe(&self, offset: u16, width: Width) -> u32 {
        let block = [self.gpe_status.to_le_bytes(), self.gpe_enable.to_le_bytes()];
        bytes(offset, width, |at| block.as_flattened().get(usize::from(at)).copied().unwrap_or(0))
    }

    /// Writes the general purpose event block. A one takes an event's status back.
    pub fn write_gpe(&mut self, offset: u16, width: Width, value: u32) {
        let mut status = self.gpe_status.to_le_bytes();
        let mut enable = self.gpe_enable.to_le_bytes();
        write_bytes(offset, width, value.into(), |at, byte| match (at, &mut status, &mut enable) {
            (0, [cell, _], _) | (1, [_, cell], _) => *cell &= !byte,
            (2, _, [cell, _]) | (3, _, [_, cell]) => *cell = byte,
            _ => {}
        });
        self.gpe_status = u16::from_le_bytes(status);
        self.gpe_enable = u16::from_le_bytes(enable);
    }

    /// The level of the system control interrupt, as far as it is ours: Xen has events of its own on the same line.
    #[must_use]
    pub const fn sci_level(&self) -> bool {
        self.gpe_status & self.gpe_enable != 0
    }

    /// The CPUs that are there, one bit each.
    #[must_use]
    pub const fn cpus(&self) -> u128 {
        self.cpus
    }

    /// Adds CPU `index` and tells the operating system. `false`: it is there already, or there can be none such.
    pub fn plug_cpu(&mut self, index: u32) -> bool {
        let Some(bit) = 1_u128.checked_shl(index) else { return false };
        if self.cpus & bit != 0 {
            return false;
        }
        self.cpus |= bit;
        self.gpe_status |= CPU_EVENT;
        true
    }

    /// Reads the map of CPUs: one bit for each that is there.
    #[must_use]
    pub fn read_cpus(&self, offset: u16, width: Width) -> u32 {
        let map = self.cpus.to_le_bytes();
        bytes(offset, width, |at| map.get(usize::from(at)).copied().unwrap_or(0))
    }
}

fn bytes(offset: u16, width: Width, byte: impl FnMut(u16) -> u8) -> u32 {
    let [a, b, c, d, ..] = read_bytes(offset, width, byte).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// hvmloader: PMBASE 0xb000, then PMREGMISC.
    #[test]
    fn the_block_is_decoded_where_pmbase_says_once_enabled() {
        let mut pm = Piix4Pm::new(1);
        pm.config.write(0x40, Width::Dword, 0xb001);
        assert_eq!(pm.block(), None);
        pm.config.write(0x80, Width::Byte, 1);
        assert_eq!(pm.block(), Some((0xb000, 0xb03f)));
        pm.config.write(0x40, Width::Dword, 0xffff_ffff);
        assert_eq!(pm.block(), Some((0xffc0, 0xffff)));
    }

    /// hvmloader: writes 0xf1 to port 0xb2 and insists on SCI_EN.
    #[test]
    fn apmc_switches_acpi_on_and_off() {
        let mut pm = Piix4Pm::new(1);
        pm.write_apm(0, Width::Byte, 0xf1);
        assert_eq!(pm.read(4, Width::Word), 1);
        pm.write_apm(0, Width::Byte, 0xf0);
        assert_eq!(pm.read(4, Width::Word), 0);
        assert_eq!(pm.read_apm(0, Width::Byte), 0xf0);
    }

    /// libacpi: _S4 and _S5 are type 0, _S3 is type 1.
    #[test]
    fn sleep_happens_when_slp_en_is_written() {
        let mut pm = Piix4Pm::new(1);
        assert_eq!(pm.write(4, Width::Word, 0x0001), Effect::Nothing);
        assert_eq!(pm.write(4, Width::Word, 0x2001), Effect::PowerOff);
        assert_eq!(pm.write(4, Width::Word, 0x2401), Effect::Suspend);
        assert_eq!(pm.write(4, Width::Word, 0x2801), Effect::Nothing, "no table names type 2");
        assert_eq!(pm.read(4, Width::Word), 0x0801, "SLP_EN is write-only");
        assert_eq!(pm.write(0, Width::Dword, 0xffff_ffff), Effect::Nothing);
        assert_eq!(pm.write(5, Width::Byte, 0x24), Effect::Suspend, "one byte is enough, at an odd port too");
    }

    #[test]
    fn the_map_of_cpus_has_a_bit_for_each() {
        let pm = Piix4Pm::new(11);
        assert_eq!(pm.read_cpus(0, Width::Dword), 0x0000_07ff);
        let pm = Piix4Pm::new(CPUS_MAX);
        assert_eq!(pm.read_cpus(12, Width::Dword), 0xffff_ffff);
        assert_eq!(pm.read_cpus(16, Width::Dword), 0);
    }

    /// libacpi: `_E02` reads the map of CPUs.
    #[test]
    fn a_cpu_that_comes_is_an_event() {
        let mut pm = Piix4Pm::new(1);
        pm.write_gpe(2, Width::Word, 0xffff);
        assert!(!pm.sci_level());
        assert!(pm.plug_cpu(9));
        assert!(pm.sci_level());
        assert_eq!(pm.read_gpe(0, Width::Dword), 0xffff_0004);
        assert_eq!(pm.read_cpus(0, Width::Word), 0x0201);
        pm.write_gpe(0, Width::Byte, 0x04);
        assert!(!pm.sci_level());
        assert_eq!(pm.cpus(), 0x201);
        assert!(!pm.plug_cpu(9), "it is there already");
        assert!(!pm.plug_cpu(CPUS_MAX));
        assert_eq!(pm.read_gpe(0, Width::Word), 0);
    }

    #[test]
    fn an_event_that_is_not_enabled_does_not_interrupt() {
        let mut pm = Piix4Pm::new(1);
        assert!(pm.plug_cpu(1));
        assert!(!pm.sci_level());
        pm.write_gpe(0, Width::Dword, 0x0004_0000);
        assert!(pm.sci_level());
    }
}
