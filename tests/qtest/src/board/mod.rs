//! What a PC has beside the device model when it has a CPU: what the hypervisor has under Xen.
//!
//! Interrupt controllers, timer, PM timer, system management interrupts. Without a CPU they are not there.
//!
//! Source: Intel 82371AB (PIIX4) data sheet, 7.1.18 (DEVACTB), 7.2.3 (PMTMR) and 7.2.8 (GLBCTL); Intel 82441FX data sheet,
//! SMRAM.
//! Not modelled: the DMA controllers, HPET, the I/O APIC, PM1 events.

mod pic;
mod pit;

use devmodel::access::Width;
use pic::Pics;
use pit::Pit;

/// APMC, and where a write of it asks for system management.
const APM_PORT: u16 = 0xb2;
/// Offsets in the power management block.
const PM_TIMER: u16 = 0x08;
const GLOBAL_CONTROL: u16 = 0x28;
/// GLBCTL: system management interrupts at all.
const SMI_ENABLE: u32 = 1;
/// DEVACTB: those of APMC.
const APMC_ENABLE: u32 = 1 << 25;
/// SMRAM control: the memory is seen by everybody; it is there; not for data of the handler.
const OPEN: u8 = 0x40;
const ENABLE: u8 = 0x08;
const CLOSED: u8 = 0x20;
/// Ticks of the PM timer in a second, and its bits.
const PM_FREQUENCY: u128 = 3_579_545;
const PM_MASK: u32 = 0xff_ffff;

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Board {
    pics: Pics,
    pit: Pit,
    /// The first port of the power management block, if it is decoded.
    pm_block: Option<u16>,
    device_activity: u32,
    global_control: u32,
    smram: u8,
    /// The CPU is in system management mode.
    in_management: bool,
    /// System management is asked for.
    asks_management: bool,
    /// The lines as the controllers have seen them.
    lines: u16,
}

impl Board {
    /// That of a machine that was just reset.
    pub(crate) fn new(now: u64) -> Self {
        Self { pit: Pit::new(now), ..Self::default() }
    }

    /// Takes over what the PCI functions say: PMBASE, PMREGMISC and DEVACTB of power management, SMRAM of the host bridge.
    pub(crate) fn configure(&mut self, pm_base: u32, pm_misc: u32, device_activity: u32, smram: u32) {
        let [low, high, ..] = pm_base.to_le_bytes();
        let base = u16::from_le_bytes([low, high]) & 0xffc0;
        self.pm_block = (pm_misc & 1 != 0 && base != 0).then_some(base);
        self.device_activity = device_activity;
        self.smram = smram.to_le_bytes()[0];
    }

    /// Whether the memory of system management lies over that of the graphics card.
    pub(crate) fn shows_smram(&self) -> bool {
        let inside = self.in_management && self.smram & CLOSED == 0;
        self.smram & ENABLE != 0 && (self.smram & OPEN != 0 || inside)
    }

    /// The CPU goes to system management mode or comes back.
    pub(crate) fn set_management(&mut self, is_in: bool) {
        self.in_management = is_in;
    }

    /// Whether system management is asked for, once.
    pub(crate) fn take_management(&mut self) -> bool {
        std::mem::take(&mut self.asks_management)
    }

    /// Reads a port. `None`: it is not here.
    pub(crate) fn read(&mut self, now: u64, port: u16, width: Width) -> Option<u32> {
        match self.pm_offset(port) {
            Some(PM_TIMER) => {
                let ticks = (u128::from(now) * PM_FREQUENCY / 1_000_000_000) & u128::from(PM_MASK);
                return u32::try_from(ticks).ok();
            }
            Some(GLOBAL_CONTROL) => return Some(self.global_control),
            _ => {}
        }
        if width != Width::Byte {
            return None;
        }
        self.pics.read(port).or_else(|| self.pit.read(now, port)).map(u32::from)
    }

    /// Writes a port. `false`: it is not here, or not here alone.
    pub(crate) fn write(&mut self, now: u64, port: u16, width: Width, value: u32) -> bool {
        match self.pm_offset(port) {
            Some(PM_TIMER) => return true,
            Some(GLOBAL_CONTROL) => {
                self.global_control = value;
                return true;
            }
            _ => {}
        }
        if port == APM_PORT {
            let enabled = self.device_activity & APMC_ENABLE != 0 && self.global_control & SMI_ENABLE != 0;
            self.asks_management |= enabled;
            return false;
        }
        let byte = value.to_le_bytes()[0];
        width == Width::Byte && (self.pics.write(port, byte) || self.pit.write(now, port, byte))
    }

    fn pm_offset(&self, port: u16) -> Option<u16> {
        port.checked_sub(self.pm_block?)
    }

    /// Tells the controllers of the lines, and of those that have risen since, even if they fell again.
    pub(crate) fn set_lines(&mut self, levels: u16, rose: u16) {
        // The timer's own line, and that between the controllers.
        const NOT_THEIRS: u16 = 0x0005;
        for line in 0..16 {
            let bit = 1 << line & !NOT_THEIRS;
            let is_high = levels & bit != 0;
            if rose & bit != 0 && self.lines & bit != 0 {
                self.pics.set_line(line, false);
            }
            if rose & bit != 0 && !is_high {
                self.pics.set_line(line, true);
            }
            if bit != 0 && (rose & bit != 0 || self.lines & bit != levels & bit) {
                self.pics.set_line(line, is_high);
            }
        }
        self.lines = levels;
    }

    /// Does what is due.
    pub(crate) fn advance(&mut self, now: u64) {
        if self.pit.take_tick(now) {
            self.pics.set_line(0, false);
            self.pics.set_line(0, true);
        }
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.pit.deadline()
    }

    /// Whether the CPU is asked for an interrupt.
    pub(crate) fn interrupt(&self) -> bool {
        self.pics.asks()
    }

    /// The CPU takes it: its vector.
    pub(crate) fn acknowledge(&mut self) -> u8 {
        self.pics.acknowledge()
    }
}
