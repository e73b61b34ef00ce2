//! The Intel 82540EM, a Gigabit Ethernet controller: `e1000`.
//!
//! A driver resets the controller, reads its address from the EEPROM, lets the PHY negotiate, gives it one ring of
//! descriptors for each direction, and then moves the tails of the rings. Interrupts come on INTA#. The registers are
//! 128 KiB of memory; the same registers are behind an address and a data port.
//!
//! | file | what |
//! |---|---|
//! | `regs` | where the registers are, and those that only keep what is written |
//! | `eeprom`, `phy` | the two parts behind the controller |
//! | `interrupts`, `filter`, `statistics`, `ring` | the smaller units |
//! | `receive` | from the network into the guest's buffers |
//! | `descriptor`, `transmit`, `offload` | from the guest's buffers to the network |
//!
//! Source: Intel PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual (SDM; 82540EM is one of
//! them); compared with QEMU's `hw/net/e1000.c` and Linux' `drivers/net/ethernet/intel/e1000`.
//! Not modelled: wake on LAN, ASF and manageability (their registers are storage), flash, the packet buffer memory and
//! other diagnostic registers (they read as zero), flow control, speeds below 1000 Mb/s, the old addresses of registers,
//! that the link is down without CTRL.SLU. See also the files above.
//! Quirk: registers are four bytes wide. A narrower read gives a part of one, a narrower write is dropped.
//! Invariant: the interrupt pin is a function of causes, mask and throttling; reading ICR lowers it.
//! Invariant: without bus mastering, memory is neither read nor written.

use crate::state::{Adopt, StateError, from_bytes, to_bytes};
use serde::{Deserialize, Serialize};

mod descriptor;
mod eeprom;
mod filter;
mod interrupts;
mod offload;
#[cfg(test)]
mod offload_tests;
mod phy;
mod receive;
#[cfg(test)]
mod receive_tests;
mod regs;
mod ring;
mod statistics;
#[cfg(test)]
mod tests;
mod transmit;
#[cfg(test)]
mod transmit_tests;

use crate::access::Width;
use crate::card::{Card, SavedCard};
use crate::host::{Host, NicId, Unplug};
use crate::pci::ConfigSpace;
use crate::pci::config::{Identity, ROM, Region};
use crate::time::{Instant, earlier};
use alloc::vec::Vec;
use eeprom::Eeprom;
use filter::Filter;
use interrupts::Interrupts;
use phy::Phy;
use receive::{Receiver, rctl};
use regs::{Storage, cause};
use statistics::Statistics;
use transmit::Transmitter;

/// What the function is.
const IDENTITY: Identity = Identity {
    vendor: 0x8086,
    device: 0x100e,
    revision: 3,
    class: 0x02_00_00,
    subsystem: (0x1af4, 0x1100),
    multifunction: false,
    interrupt_pin: 1,
};
/// Which base address the registers have.
const REGISTERS: usize = 0;
/// Bytes of them.
const REGISTERS_LEN: u32 = 128 << 10;
/// Which base address the ports have.
const PORTS: usize = 1;
/// Number of ports.
const PORTS_LEN: u32 = 64;
/// IOADDR, the port for the address of a register.
const IOADDR: u32 = 0;
/// IODATA, the port for the register.
const IODATA: u32 = 4;
/// The smallest expansion ROM.
const SMALLEST_ROM: usize = 2048;

/// The controller.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct E1000 {
    // Configuration.
    #[serde(skip)]
    nic: NicId,
    #[serde(skip)]
    mac: [u8; 6],
    #[serde(skip)]
    rom: Vec<u8>,

    // What the guest sees.
    config: ConfigSpace,
    eeprom: Eeprom,
    phy: Phy,
    io_address: u32,
    control: u32,
    interrupts: Interrupts,
    filter: Filter,
    receiver: Receiver,
    transmitter: Transmitter,
    statistics: Statistics,
    storage: Storage,

    /// Whether the network had a link when it was last looked at.
    partner: bool,
    /// There is more to be done than was good to do at once.
    more_at: Option<Instant>,
}

impl Adopt for E1000 {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        self.config.adopt(saved.config)?;
        self.transmitter.adopt(saved.transmitter)?;
        *self = Self {
            nic: self.nic,
            mac: self.mac,
            rom: core::mem::take(&mut self.rom),
            config: self.config.clone(),
            transmitter: core::mem::take(&mut self.transmitter),
            ..saved
        };
        Ok(())
    }
}

impl E1000 {
    /// A controller after power on. `nic` is the network that it is at, `mac` the address in its EEPROM, and `rom` its
    /// expansion ROM, which may be empty.
    #[must_use]
    pub fn new(nic: NicId, mac: [u8; 6], rom: Vec<u8>) -> Self {
        let mut config = ConfigSpace::new(IDENTITY)
            .with_region(REGISTERS, Region::Memory { size: REGISTERS_LEN, prefetchable: false })
            .with_region(PORTS, Region::Ports { size: PORTS_LEN });
        if !rom.is_empty() {
            let size = rom.len().max(SMALLEST_ROM).checked_next_power_of_two().unwrap_or(SMALLEST_ROM);
            config = config.with_region(ROM, Region::Rom { size: u32::try_from(size).unwrap_or(1 << 31) });
        }
        Self {
            nic,
            mac,
            rom,
            config,
            eeprom: Eeprom::new(mac, IDENTITY.device, IDENTITY.vendor, IDENTITY.subsystem),
            phy: Phy::default(),
            io_address: 0,
            control: regs::CTRL_INITIAL,
            interrupts: Interrupts::default(),
            filter: Filter::new(mac),
            receiver: Receiver::default(),
            transmitter: Transmitter::default(),
            statistics: Statistics::default(),
            storage: Storage::default(),
            partner: true,
            more_at: None,
        }
    }

    /// CTRL.RST: everything but the PHY, the EEPROM and what belongs to the bus.
    fn reset_controller(&mut self) {
        self.eeprom.reset();
        self.control = regs::CTRL_INITIAL;
        self.interrupts = Interrupts::default();
        self.filter = Filter::new(self.mac);
        self.receiver = Receiver::default();
        self.transmitter = Transmitter::default();
        self.statistics = Statistics::default();
        self.storage = Storage::default();
        self.more_at = None;
    }

    fn raise(&mut self, host: &dyn Host, causes: u32) {
        self.interrupts.raise(causes, host.now());
    }

    /// Does what may be possible now.
    fn run(&mut self, host: &mut dyn Host) {
        self.more_at = None;
        self.transmit(host);
        self.receive(host);
    }

    fn read_register(&mut self, host: &mut dyn Host, offset: u32) -> u32 {
        match offset {
            regs::CTRL | regs::CTRL_AGAIN => self.control,
            regs::STATUS => {
                let up = host.nic_link(self.nic) && self.phy.link_up() || self.phy.loopback();
                regs::STATUS_FIXED | if up { regs::STATUS_LU } else { 0 }
            }
            regs::EECD => self.eeprom.read_eecd(),
            regs::EERD => self.eeprom.read_eerd(),
            regs::MDIC => self.phy.read_mdic(),
            regs::ICR => self.interrupts.take_causes(host.now()),
            regs::ITR => self.interrupts.interval().into(),
            regs::ICS => self.interrupts.causes(),
            regs::IMS => self.interrupts.mask(),
            regs::RCTL => self.receiver.control,
            regs::TCTL => self.transmitter.control,
            regs::RXCSUM => self.receiver.checksums,
            regs::STATISTICS..=regs::STATISTICS_LAST => self.statistics.read(offset.wrapping_sub(regs::STATISTICS)),
            _ => {
                let receive = self.receiver.ring.read(offset.wrapping_sub(regs::RDBAL));
                let transmit = self.transmitter.ring.read(offset.wrapping_sub(regs::TDBAL));
                let table = self.table(offset).map(|entry| *entry);
                receive.or(transmit).or(table).unwrap_or_else(|| self.storage.read(offset))
            }
        }
    }

    fn write_register(&mut self, host: &mut dyn Host, offset: u32, value: u32) {
        let now = host.now();
        match offset {
            regs::CTRL | regs::CTRL_AGAIN => {
                self.write_control(value, now);
                // What waited for room is lost when the receiver goes off.
                self.receive(host);
            }
            regs::EECD => self.eeprom.write_eecd(value),
            regs::EERD => self.eeprom.write_eerd(value),
            regs::MDIC => {
                let partner = host.nic_link(self.nic);
                if self.phy.write_mdic(value, partner, now) {
                    self.raise(host, cause::MDAC);
                }
            }
            regs::ICR => self.interrupts.clear_causes(value, now),
            regs::ITR => self.interrupts.set_interval(u16::try_from(value & 0xffff).unwrap_or(0), now),
            regs::ICS => self.raise(host, value),
            regs::IMS => self.interrupts.change_mask(value, 0, now),
            regs::IMC => self.interrupts.change_mask(0, value, now),
            regs::RCTL => {
                self.receiver.control = value & rctl::WRITABLE;
                self.receive(host);
            }
            regs::TCTL => {
                self.transmitter.control = value;
                self.transmit(host);
            }
            regs::RXCSUM => self.receiver.checksums = value & 0x07ff,
            // Reading clears statistics; writing does nothing.
            regs::STATISTICS..=regs::STATISTICS_LAST => {}
            _ => self.write_table_or_ring(host, offset, value),
        }
    }

    fn write_table_or_ring(&mut self, host: &mut dyn Host, offset: u32, value: u32) {
        if let Some(entry) = self.table(offset) {
            *entry = value;
        } else if self.receiver.ring.write(offset.wrapping_sub(regs::RDBAL), value) {
            if offset == regs::RDT {
                self.receive(host);
            }
        } else if self.transmitter.ring.write(offset.wrapping_sub(regs::TDBAL), value) {
            match offset {
                regs::TDH => self.transmitter.forget(),
                regs::TDT => self.transmit(host),
                _ => {}
            }
        } else {
            self.storage.write(offset, value);
        }
    }

    /// An entry of one of the filter's tables.
    fn table(&mut self, offset: u32) -> Option<&mut u32> {
        let (first, table) = match offset {
            regs::VFTA.. => (regs::VFTA, self.filter.vlans()),
            regs::RA.. => (regs::RA, self.filter.addresses()),
            _ => (regs::MTA, self.filter.multicast()),
        };
        let index = usize::try_from(offset.checked_sub(first)? / 4).ok()?;
        table.get_mut(index)
    }

    fn write_control(&mut self, value: u32, now: Instant) {
        // The PHY leaves its reset when the bit falls.
        if self.control & !value & regs::CTRL_PHY_RST != 0 {
            self.phy.reset(now);
        }
        if value & regs::CTRL_RST != 0 {
            let held = value & regs::CTRL_PHY_RST != 0;
            self.reset_controller();
            if held {
                self.phy.reset(now);
            }
        } else {
            self.control = value;
        }
    }
}

impl Card for E1000 {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn rom(&self) -> &[u8] {
        &self.rom
    }

    fn reset(&mut self) {
        self.config.reset();
        self.reset_controller();
        self.phy = Phy::default();
        self.io_address = 0;
    }

    fn read(&mut self, host: &mut dyn Host, region: usize, offset: u32, width: Width) -> u64 {
        let aligned = offset & !3;
        let low = match (region, aligned) {
            (REGISTERS, _) => self.read_register(host, aligned),
            (PORTS, IOADDR) => self.io_address,
            (PORTS, IODATA) if self.io_address < REGISTERS_LEN => self.read_register(host, self.io_address & !3),
            _ => 0,
        };
        let high = match (region, width) {
            (REGISTERS, Width::Qword) => self.read_register(host, aligned.wrapping_add(4)),
            _ => 0,
        };
        (u64::from(high) << 32 | u64::from(low)).wrapping_shr((offset & 3) << 3)
    }

    fn write(&mut self, host: &mut dyn Host, region: usize, offset: u32, width: Width, value: u64) {
        if offset & 3 != 0 || width < Width::Dword {
            return;
        }
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        match (region, offset) {
            (REGISTERS, _) => {
                self.write_register(host, offset, low);
                if width == Width::Qword {
                    self.write_register(host, offset.wrapping_add(4), high);
                }
            }
            (PORTS, IOADDR) => self.io_address = low,
            (PORTS, IODATA) if self.io_address < REGISTERS_LEN => {
                self.write_register(host, self.io_address & !3, low);
            }
            _ => {}
        }
    }

    fn config_written(&mut self, host: &mut dyn Host) {
        if self.config.masters_bus() {
            self.run(host);
        }
    }

    fn interrupt(&self) -> bool {
        self.interrupts.asserted()
    }

    fn deadline(&self) -> Option<Instant> {
        earlier(self.more_at, earlier(self.phy.deadline(), self.interrupts.deadline()))
    }

    fn expire(&mut self, host: &mut dyn Host) {
        let now = host.now();
        if self.phy.expire(now) && host.nic_link(self.nic) {
            self.raise(host, cause::LSC);
        }
        if self.more_at.is_some_and(|at| at <= now) {
            self.run(host);
        }
        self.interrupts.update(now);
    }

    fn nic_ready(&mut self, host: &mut dyn Host, nic: NicId) {
        if nic != self.nic {
            return;
        }
        let partner = host.nic_link(self.nic);
        if core::mem::replace(&mut self.partner, partner) != partner && self.phy.link_up() {
            self.raise(host, cause::LSC);
        }
        self.run(host);
    }

    fn unplug(&mut self, what: Unplug) -> bool {
        what == Unplug::Nics
    }
}

impl SavedCard for E1000 {
    fn save(&self) -> Vec<u8> {
        to_bytes(self)
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), StateError> {
        self.adopt(from_bytes(saved)?)
    }
}
