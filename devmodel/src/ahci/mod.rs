//! AHCI controller of the ICH9: PCI function 8086:2922, six ports with a disk or a CD drive each.
//!
//! The driver writes a list of commands into memory for each port, and says in one register which of them are to be done.
//! A port does them one after the other, since a disk of the host does one operation at a time; what was queued (NCQ) is
//! acknowledged when its turn comes.
//!
//! | module | what lives there |
//! |---|---|
//! | `port` | a port: its registers, its commands, what the host does for it |
//! | `drive` | the disk or CD drive behind it: what a command means |
//! | `fis` | frame information structures: what a command looks like, what a port writes back |
//! | `prdt` | the regions of memory that a command is about |
//!
//! Source: Serial ATA AHCI 1.3.1, sections 3 (registers), 4 (structures), 5 (operation); Intel ICH9 data sheet, chapter 15
//! (configuration space); Serial ATA 2.6, section 10 (FIS), 13.6 (NCQ).
//! Not modelled: several messages, command completion coalescing, enclosures, port multipliers, power management of
//! links (taken, and links stay up), hot plug, cylinders, data for CD drives.
//! Quirk: registers are double words; narrower writes are dropped.
//! Invariant: a command is done or refused by what its structures say at the time when its turn comes, and they are read
//! once. Regions of memory are followed for as many bytes as the command moves.

use crate::state::{Adopt, StateError, from_bytes, to_bytes};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

mod drive;
mod fis;
mod port;
mod prdt;
#[cfg(test)]
mod tests;

use crate::access::Width;
use crate::card::{Card, SavedCard};
use crate::host::{DiskError, DiskId, Host, Unplug};
use crate::machine::{DiscChange, DriveConfig, TrayError};
use crate::pci::ConfigSpace;
use crate::pci::config::{Identity, Region};
use drive::Drive;
use port::Port;

/// Ports of the controller.
pub const PORTS: usize = 6;
/// Commands that a port knows of at a time.
const SLOTS: u32 = 32;

/// Where the capability of messages is.
const MESSAGES: u8 = 0x80;
/// Base address of the ports that reach the registers, by an index and data.
const INDEX_REGION: usize = 4;
/// Base address of the registers.
const REGISTERS_REGION: usize = 5;
/// Offset of the index; the data is behind it.
const INDEX: u32 = 0x10;

/// CAP: six ports, 32 slots, AHCI only, 1.5 Gb/s, queued commands, 64-bit addresses.
const CAPABILITIES: u32 = 5 | (SLOTS - 1) << 8 | 1 << 18 | 1 << 20 | 1 << 30 | 1 << 31;
/// GHC: reset.
const GLOBAL_RESET: u32 = 1 << 0;
/// GHC: interrupts.
const GLOBAL_INTERRUPTS: u32 = 1 << 1;
/// GHC: this is AHCI, and nothing else.
const GLOBAL_AHCI: u32 = 1 << 31;
/// VS: 1.0, as QEMU's.
const VERSION: u32 = 0x0001_0000;
/// Where the registers of ports begin, and how far apart they are.
const FIRST_PORT: u32 = 0x100;
const PORT_BYTES: u32 = 0x80;

/// The controller and its drives.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ahci {
    config: ConfigSpace,
    ports: [Port; PORTS],
    global: u32,
    /// IS: a bit for each port.
    pending: u32,
    index: u32,
    /// A port has asked for an interrupt since the last message.
    has_news: bool,
}

impl Adopt for Ahci {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        self.config.adopt(saved.config)?;
        self.ports.adopt(saved.ports)?;
        *self = Self { config: self.config.clone(), ports: self.ports.clone(), ..saved };
        Ok(())
    }
}

impl Ahci {
    /// A controller with these drives.
    #[must_use]
    pub fn new(drives: [Option<DriveConfig>; PORTS]) -> Self {
        let config = ConfigSpace::new(Identity {
            vendor: 0x8086,
            device: 0x2922,
            revision: 2,
            class: 0x01_06_01,
            subsystem: (0x1af4, 0x1100),
            multifunction: false,
            interrupt_pin: 1,
        })
        .with_region(INDEX_REGION, Region::Ports { size: 32 })
        .with_region(REGISTERS_REGION, Region::Memory { size: 4096, prefetchable: false })
        // There is a list of capabilities, and this one in it: SATA 1.0, index and data are in BAR4.
        .with_registers(0x06, &[0x90, 0x02], &[0, 0])
        .with_registers(0x34, &[MESSAGES], &[0])
        // MAP: the ports are AHCI's. PCS: each of them can be switched on.
        .with_registers(0x90, &[0x40, 0, 0], &[0, 0, 0x3f])
        .with_messages(MESSAGES, 0xa8)
        .with_registers(0xa8, &[0x12, 0x00, 0x10, 0x00, 0x48, 0, 0, 0], &[0; 8]);
        let mut ahci = Self {
            config,
            ports: drives.map(|drive| Port::new(drive.map(Drive::new))),
            global: GLOBAL_AHCI,
            pending: 0,
            index: 0,
            has_news: false,
        };
        ahci.reset_controller();
        ahci
    }

    fn reset_controller(&mut self) {
        (self.global, self.pending, self.index, self.has_news) = (GLOBAL_AHCI, 0, 0, false);
        for port in &mut self.ports {
            port.reset();
        }
    }

    fn read_register(&self, at: u32) -> u32 {
        match at {
            0x00 => CAPABILITIES,
            0x04 => self.global,
            0x08 => self.pending,
            0x0c => (1 << PORTS) - 1,
            0x10 => VERSION,
            _ => match self.port_at(at) {
                Some((index, register)) => self.ports.get(index).map_or(0, |port| port.read(register)),
                None => 0,
            },
        }
    }

    fn write_register(&mut self, host: &mut dyn Host, at: u32, value: u32) {
        match at {
            0x04 if value & GLOBAL_RESET != 0 => self.reset_controller(),
            0x04 => {
                self.has_news |= value & !self.global & GLOBAL_INTERRUPTS != 0 && self.pending != 0;
                self.global = value & GLOBAL_INTERRUPTS | GLOBAL_AHCI;
            }
            0x08 => self.pending &= !value,
            _ => {
                let masters_bus = self.config.masters_bus();
                if let Some((index, register)) = self.port_at(at)
                    && let Some(port) = self.ports.get_mut(index)
                {
                    port.write(host, masters_bus, register, value);
                }
            }
        }
        self.gather();
    }

    fn port_at(&self, at: u32) -> Option<(usize, u32)> {
        let at = at.checked_sub(FIRST_PORT)?;
        let index = usize::try_from(at / PORT_BYTES).ok().filter(|index| *index < PORTS)?;
        Some((index, at % PORT_BYTES))
    }

    /// Ports that ask for an interrupt are seen in IS.
    fn gather(&mut self) {
        let before = self.pending;
        for (port, bit) in self.ports.iter().zip(0_u32..) {
            self.pending |= u32::from(port.interrupt()) << bit;
        }
        self.has_news |= self.pending & !before != 0;
    }
}

impl Card for Ahci {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn reset(&mut self) {
        self.config.reset();
        self.reset_controller();
    }

    fn read(&mut self, _host: &mut dyn Host, region: usize, offset: u32, width: Width) -> u64 {
        let mut bytes = [0; 8];
        for (byte, at) in bytes.iter_mut().zip(offset..).take(width.bytes()) {
            let value = match (region, at) {
                (INDEX_REGION, INDEX..0x14) => self.index,
                (INDEX_REGION, 0x14..0x18) => self.read_register(self.index),
                (REGISTERS_REGION, _) => self.read_register(at & !3),
                _ => 0,
            };
            *byte = value.to_le_bytes().get((at & 3) as usize).copied().unwrap_or(0);
        }
        u64::from_le_bytes(bytes)
    }

    fn write(&mut self, host: &mut dyn Host, region: usize, offset: u32, width: Width, value: u64) {
        let words = value.to_le_bytes();
        let words = words.as_chunks::<4>().0.iter().take(width.bytes() >> 2);
        for (word, at) in words.zip((offset..).step_by(4)) {
            let value = u32::from_le_bytes(*word);
            match (region, at) {
                (INDEX_REGION, INDEX) => self.index = value & 0xffc,
                (INDEX_REGION, 0x14) => self.write_register(host, self.index, value),
                (REGISTERS_REGION, _) if at & 3 == 0 => self.write_register(host, at, value),
                _ => {}
            }
        }
    }

    fn config_written(&mut self, host: &mut dyn Host) {
        if self.config.masters_bus() {
            for port in &mut self.ports {
                port.work(host, true);
            }
            self.gather();
        }
    }

    fn interrupt(&self) -> bool {
        self.global & GLOBAL_INTERRUPTS != 0 && self.pending != 0
    }

    fn take_message(&mut self) -> bool {
        core::mem::take(&mut self.has_news) && self.global & GLOBAL_INTERRUPTS != 0
    }

    fn disk_complete(&mut self, host: &mut dyn Host, disk: DiskId, result: Result<(), DiskError>) {
        let masters_bus = self.config.masters_bus();
        if let Some(port) = self.ports.iter_mut().find(|port| port.disk() == Some(disk)) {
            port.complete(host, masters_bus, result);
            self.gather();
        }
    }

    fn change_disc(&mut self, disk: DiskId, change: DiscChange) -> Option<Result<(), TrayError>> {
        self.ports.iter_mut().find(|port| port.disk() == Some(disk))?.change_disc(change)
    }

    fn unplug(&mut self, what: Unplug) -> bool {
        if matches!(what, Unplug::IdeDisks) {
            for port in &mut self.ports {
                port.unplug_disk();
            }
        }
        false
    }
}

impl SavedCard for Ahci {
    fn awaits_disk(&self) -> bool {
        self.ports.iter().any(Port::awaits_disk)
    }

    fn tray_open(&self, disk: DiskId) -> Option<bool> {
        self.ports.iter().find(|port| port.disk() == Some(disk))?.tray_open()
    }

    fn save(&self) -> Vec<u8> {
        to_bytes(self)
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), StateError> {
        self.adopt(from_bytes(saved)?)
    }
}
