//! Realtek RTL8139C+: a 10/100 Ethernet card, libxl's default.
//!
//! It has two ways to work. In the older one, frames come into one ring of bytes and go out from four buffers; in the other,
//! C+ mode, both directions have rings of descriptors, and checksums, VLAN tags and segments can be left to the card.
//!
//! | module | what lives there |
//! |---|---|
//! | `registers` | where the registers are, and what their bits mean |
//! | `transmit` | the four buffers, and the two rings of C+ mode |
//! | `outgoing` | one frame on its way out: its checksums, its tag, its segments |
//! | `receive` | the filter, the ring of bytes, and the ring of C+ mode |
//!
//! Source: Realtek RTL8139C+ data sheet 1.6, chapters 5 (registers), 6 (EEPROM), 9 (C+ mode); RTL8139D programming guide.
//! Not modelled: wake on LAN, power management, the flash behind the ROM, thresholds and inter-frame gaps (storage), the
//! PHY's test registers, programming of the EEPROM (taken, and changes nothing), LenChg and the interrupts of a bus error.
//! Quirk: a frame for which there is no room stays with the network until there is, instead of being lost with RXOVW.
//! Invariant: one event, a register write or news of the network, walks a ring at most once around.

use crate::state::{Adopt, StateError, from_bytes, to_bytes};
use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

mod outgoing;
mod receive;
mod registers;
#[cfg(test)]
mod tests;
mod transmit;

use crate::access::Width;
use crate::card::{Card, SavedCard};
use crate::host::{GuestMemory, Host, NicId, Unplug};
use crate::net::eeprom::{Eeprom, Wires};
use crate::pci::ConfigSpace;
use crate::pci::config::{Identity, ROM, Region};
use crate::time::Instant;
use alloc::vec::Vec;
use outgoing::Outgoing;
use registers::{self as register, Command, Interrupt};

/// Largest expansion ROM.
const ROM_MAX: usize = 0x4_0000;
/// Nanoseconds of 33 ticks of the timer, which runs with the PCI clock of 33 MHz.
const TIMER_33_TICKS: u64 = 1000;

/// The card.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rtl8139 {
    // Fixed configuration.
    #[serde(skip)]
    nic: NicId,
    #[serde(skip)]
    mac: [u8; 6],
    #[serde(skip)]
    rom: Vec<u8>,
    // Guest-visible state.
    config: ConfigSpace,
    eeprom: Eeprom,
    eeprom_control: u8,
    address: [u8; 6],
    multicast: u64,
    command: Command,
    interrupts: Interrupt,
    mask: Interrupt,
    receive_config: u32,
    transmit_config: u32,
    transmit_status: [u32; 4],
    transmit_address: [u32; 4],
    /// RBSTART, CBR and CAPR plus the 16 that drivers subtract.
    ring_start: u32,
    ring_write: u16,
    ring_read: u16,
    missed: u32,
    cplus: u16,
    /// TNPDS and THPDS: where the rings of descriptors begin.
    transmit_rings: [u64; 2],
    /// RDSAR.
    receive_ring: u64,
    /// Which of the four buffers is next.
    transmit_buffer: u8,
    /// Which descriptor of each ring is next.
    transmit_next: [u16; 2],
    receive_next: u16,
    timer_start: Instant,
    timer_interrupt: u32,
    /// When it was last looked at.
    timer_seen: Instant,
    basic_mode: u16,
    advertised: u16,
    /// Registers that are storage only, at their offsets.
    #[serde(with = "BigArray")]
    storage: [u8; 256],
    tally: Tally,
    // Work that is not done.
    outgoing: Outgoing,
    /// There was no room for a frame.
    waits_for_room: bool,
    /// It was reported that there is no room for the frame that came.
    has_overflowed: bool,
    link_was_up: bool,
}

/// What the card counts, in the order of the dump.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Tally {
    sent: u64,
    received: u64,
    broadcast: u64,
    multicast: u32,
}

impl Adopt for Rtl8139 {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        self.config.adopt(saved.config)?;
        self.outgoing.adopt(saved.outgoing)?;
        *self = Self {
            nic: self.nic,
            mac: self.mac,
            rom: core::mem::take(&mut self.rom),
            config: self.config.clone(),
            outgoing: self.outgoing.clone(),
            ..saved
        };
        Ok(())
    }
}

impl Rtl8139 {
    /// A card for this network, with its Ethernet address. `rom` is its expansion ROM, of at most 256 KiB; what is longer
    /// is cut off, and without one there is no region for it.
    #[must_use]
    pub fn new(nic: NicId, mac: [u8; 6], mut rom: Vec<u8>) -> Self {
        rom.truncate(ROM_MAX);
        let config = ConfigSpace::new(Identity {
            vendor: 0x10ec,
            device: 0x8139,
            revision: 0x20,
            class: 0x02_00_00,
            subsystem: (0x1af4, 0x1100),
            multifunction: false,
            interrupt_pin: 1,
        })
        .with_region(0, Region::Ports { size: 256 })
        .with_region(1, Region::Memory { size: 256, prefetchable: false });
        let rom_size = u32::try_from(rom.len().next_power_of_two().max(0x800)).unwrap_or(0x800);
        let config = if rom.is_empty() { config } else { config.with_region(ROM, Region::Rom { size: rom_size }) };
        let [a, b, c, d, e, f] = mac;
        let eeprom = Eeprom::new(&[
            (0, register::EEPROM_ID),
            (1, 0x10ec),
            (2, 0x8139),
            (7, u16::from_le_bytes([a, b])),
            (8, u16::from_le_bytes([c, d])),
            (9, u16::from_le_bytes([e, f])),
        ]);
        let mut card = Self {
            nic,
            mac,
            rom,
            config,
            eeprom,
            eeprom_control: 0,
            address: mac,
            multicast: 0,
            command: Command::empty(),
            interrupts: Interrupt::empty(),
            mask: Interrupt::empty(),
            receive_config: 0,
            transmit_config: 0,
            transmit_status: [0; 4],
            transmit_address: [0; 4],
            ring_start: 0,
            ring_write: 0,
            ring_read: 0,
            missed: 0,
            cplus: 0,
            transmit_rings: [0; 2],
            receive_ring: 0,
            transmit_buffer: 0,
            transmit_next: [0; 2],
            receive_next: 0,
            timer_start: Instant(0),
            timer_interrupt: 0,
            timer_seen: Instant(0),
            basic_mode: 0,
            advertised: 0,
            storage: [0; 256],
            tally: Tally::default(),
            outgoing: Outgoing::new(nic),
            waits_for_room: false,
            has_overflowed: false,
            link_was_up: true,
        };
        card.power_on();
        card
    }

    fn power_on(&mut self) {
        self.config.reset();
        self.address = self.mac;
        self.multicast = 0;
        self.eeprom_control = 0;
        self.storage = [0; 256];
        self.set_storage(register::CONFIG1, 0x0c);
        self.set_storage(register::CONFIG3, 0x01);
        self.set_storage(register::CONFIG5, 0x00);
        (self.basic_mode, self.advertised) = (register::BMCR_DEFAULT, register::ANAR_DEFAULT);
        (self.transmit_rings, self.receive_ring) = ([0; 2], 0);
        self.cplus = 0;
        self.tally = Tally::default();
        (self.timer_start, self.timer_interrupt, self.timer_seen) = (Instant(0), 0, Instant(0));
        self.software_reset();
    }

    /// CR.RST: addresses, EEPROM and configuration stay.
    fn software_reset(&mut self) {
        self.command = Command::empty();
        (self.interrupts, self.mask) = (Interrupt::empty(), Interrupt::empty());
        (self.receive_config, self.transmit_config) = (0, 0);
        self.transmit_status = [register::TSD_OWN; 4];
        self.transmit_address = [0; 4];
        (self.ring_start, self.ring_write, self.ring_read) = (0, 0, 0);
        (self.transmit_buffer, self.transmit_next, self.receive_next) = (0, [0; 2], 0);
        self.missed = 0;
        self.cplus = 0;
        (self.waits_for_room, self.has_overflowed) = (false, false);
    }

    fn is_cplus_transmitting(&self) -> bool {
        self.cplus & register::CPCR_TRANSMIT != 0
    }

    fn is_cplus_receiving(&self) -> bool {
        self.cplus & register::CPCR_RECEIVE != 0
    }

    fn set_storage(&mut self, at: u8, value: u8) {
        if let Some(byte) = self.storage.get_mut(usize::from(at)) {
            *byte = value;
        }
    }

    /// The bytes of a register that is wider than one.
    fn wide(&self, host: &dyn Host, at: u8) -> Option<(u8, u32)> {
        let four = |first: u8, value: u32| Some((first, value));
        match at {
            0x00..=0x05 => None,
            0x10..=0x1f => {
                let index = usize::from(at >> 2 & 3);
                four(at & !3, self.transmit_status.get(index).copied().unwrap_or(0))
            }
            0x20..=0x2f => four(at & !3, self.transmit_address.get(usize::from(at >> 2 & 3)).copied().unwrap_or(0)),
            0x30..=0x33 => four(0x30, self.ring_start),
            0x38 | 0x39 => four(0x38, self.ring_read.wrapping_sub(register::CAPR_OFFSET).into()),
            0x3a | 0x3b => four(0x3a, self.ring_write.into()),
            0x3c | 0x3d => four(0x3c, self.mask.bits().into()),
            0x3e | 0x3f => four(0x3e, self.interrupts.bits().into()),
            0x40..=0x43 => four(0x40, self.transmit_config & register::TCR_WRITABLE | register::TCR_VERSION),
            0x44..=0x47 => four(0x44, self.receive_config),
            0x48..=0x4b => four(0x48, self.timer(host.now())),
            0x4c..=0x4f => four(0x4c, self.missed & 0x00ff_ffff),
            0x54..=0x57 => four(0x54, self.timer_interrupt),
            0x60 | 0x61 => four(0x60, self.transmit_summary().into()),
            0x62 | 0x63 => four(0x62, self.basic_mode.into()),
            0x64 | 0x65 => four(0x64, register::basic_status(host.nic_link(self.nic)).into()),
            0x66 | 0x67 => four(0x66, self.advertised.into()),
            0x68 | 0x69 => four(0x68, if host.nic_link(self.nic) { register::ANLPAR.into() } else { 0 }),
            0x6a | 0x6b => four(0x6a, u32::from(host.nic_link(self.nic))),
            0xe0 | 0xe1 => four(0xe0, self.cplus.into()),
            0xe4..=0xe7 => four(0xe4, low(self.receive_ring)),
            0xe8..=0xeb => four(0xe8, low(self.receive_ring >> 32)),
            _ => None,
        }
    }

    fn read_byte(&self, host: &dyn Host, at: u8) -> u8 {
        if let Some((first, value)) = self.wide(host, at) {
            let [a, b, c, d] = value.to_le_bytes();
            return match at.wrapping_sub(first) {
                0 => a,
                1 => b,
                2 => c,
                _ => d,
            };
        }
        match at {
            0x00..=0x05 => self.address.get(usize::from(at)).copied().unwrap_or(0),
            0x08..=0x0f => self.multicast.to_le_bytes().get(usize::from(at & 7)).copied().unwrap_or(0),
            register::CR => {
                let empty = if self.is_ring_empty() { Command::BUFFER_EMPTY } else { Command::empty() };
                (self.command | empty).bits()
            }
            register::EECR => {
                self.eeprom_control & !register::EECR_DATA_OUT
                    | if self.eeprom.data_out() { register::EECR_DATA_OUT } else { 0 }
            }
            register::MSR => register::media_status(host.nic_link(self.nic)),
            register::TPPOLL => 0,
            _ => self.storage.get(usize::from(at)).copied().unwrap_or(0),
        }
    }

    /// Ticks of the timer since it was set to zero.
    fn timer(&self, now: Instant) -> u32 {
        low(self.ticks(now))
    }

    /// TSAD: for each buffer, whether it was sent.
    fn transmit_summary(&self) -> u16 {
        let bit = |mask: u32, at: u32| {
            let bits = self.transmit_status.iter().zip(0..4_u32);
            bits.fold(0_u32, |all, (status, index)| all | u32::from(status & mask != 0) << (at.saturating_add(index)))
        };
        let summary = bit(register::TSD_OWN, 0) | bit(register::TSD_ABORT, 4) | bit(register::TSD_UNDERRUN, 8);
        u16::try_from(summary | bit(register::TSD_OK, 12)).unwrap_or(0)
    }

    /// Writes a register of any width; what is wider than its register goes on with the next one.
    fn write_register(&mut self, host: &mut dyn Host, at: u8, width: Width, value: u32) {
        // Those that do something are written as a whole.
        match (at, width) {
            (0x10..=0x1f, Width::Dword) if at & 3 == 0 => self.write_transmit_status(host, at, value),
            (0x20..=0x2f, Width::Dword) if at & 3 == 0 => {
                if let Some(address) = self.transmit_address.get_mut(usize::from(at >> 2 & 3)) {
                    *address = value;
                }
                let ring = usize::from(at >> 3 & 1);
                if let Some(base) = self.transmit_rings.get_mut(ring) {
                    *base = if at & 4 == 0 {
                        *base & !0xffff_ffff | u64::from(value & !0xff)
                    } else {
                        *base & 0xffff_ffff | u64::from(value) << 32
                    };
                }
                if let Some(next) = self.transmit_next.get_mut(ring) {
                    *next = 0;
                }
            }
            (0x30, Width::Dword) => (self.ring_start, self.ring_write, self.ring_read) = (value, 0, 0),
            (0x38, Width::Word) => {
                self.ring_read = self.in_ring(low16(value).wrapping_add(register::CAPR_OFFSET));
                self.receive(host);
            }
            (0x3c, Width::Word) => self.write_mask(host, low16(value)),
            (0x3e, Width::Word) => self.write_interrupts(host, low16(value)),
            (0x40, Width::Dword) => self.transmit_config = value,
            (0x44, Width::Dword) => {
                self.receive_config = value & register::RCR_WRITABLE;
                (self.ring_write, self.ring_read) = (self.in_ring(self.ring_write), self.in_ring(self.ring_read));
                self.receive(host);
            }
            (0x48, Width::Dword) => self.timer_start = host.now(),
            (0x4c, Width::Dword) => self.missed = 0,
            (0x54, Width::Dword) => self.timer_interrupt = value,
            (0x62, Width::Word) => self.write_basic_mode(low16(value)),
            (0x66, Width::Word) => self.advertised = low16(value),
            (0xe0, Width::Word) => {
                self.cplus = low16(value) & register::CPCR_WRITABLE;
                self.receive(host);
            }
            (0xe4, Width::Dword) => {
                self.receive_ring = self.receive_ring & !0xffff_ffff | u64::from(value & !0xff);
                self.receive_next = 0;
            }
            (0xe8, Width::Dword) => self.receive_ring = self.receive_ring & 0xffff_ffff | u64::from(value) << 32,
            (_, Width::Byte) => self.write_byte(host, at, value.to_le_bytes()[0]),
            (_, Width::Word) => {
                let [a, b, ..] = value.to_le_bytes();
                self.write_byte(host, at, a);
                self.write_byte(host, at.wrapping_add(1), b);
            }
            _ => {
                self.write_register(host, at, Width::Word, value & 0xffff);
                self.write_register(host, at.wrapping_add(2), Width::Word, value >> 16);
            }
        }
    }

    fn write_byte(&mut self, host: &mut dyn Host, at: u8, value: u8) {
        match at {
            0x00..=0x05 => {
                if let Some(byte) = self.address.get_mut(usize::from(at)) {
                    *byte = value;
                }
            }
            0x08..=0x0f => {
                let shift = u32::from(at & 7).saturating_mul(8);
                self.multicast = self.multicast & !(0xff << shift) | u64::from(value) << shift;
            }
            register::CR => self.write_command(host, Command::from_bits_truncate(value)),
            // Bytes of the registers with interrupts; a write of the upper half only is as good.
            0x3c | 0x3d => {
                let shift = u32::from(at & 1).saturating_mul(8);
                self.write_mask(host, self.mask.bits() & !(0xff << shift) | u16::from(value) << shift);
            }
            0x3e | 0x3f => {
                let shift = u32::from(at & 1).saturating_mul(8);
                self.write_interrupts(host, u16::from(value) << shift);
            }
            register::EECR => self.write_eeprom_control(value),
            register::TPPOLL if self.is_cplus_transmitting() => self.transmit_rings(host, value),
            register::CONFIG0..=register::CONFIG1 | register::CONFIG3..=register::CONFIG4 | register::CONFIG5 => {
                if self.eeprom_control & register::EECR_MODE == register::EECR_CONFIG {
                    self.set_storage(at, value);
                }
            }
            0x10..=0x2f | 0x30..=0x33 | 0x38..=0x4f | 0x54..=0x58 | 0x60..=0x6b | 0xe0..=0xeb => {}
            // Nothing is there; the RTL8169, which has registers there, is told by them.
            0xd9..=0xdf | 0xec..=0xff => {}
            _ => self.set_storage(at, value),
        }
    }

    /// IMR is written.
    fn write_mask(&mut self, host: &mut dyn Host, value: u16) {
        self.mask = Interrupt::from_bits_truncate(value);
        self.receive(host);
    }

    /// ISR is written. No register says that a driver has put descriptors back into the ring of C+ mode; but whoever does
    /// it does so on an interrupt, which is acknowledged before or allowed again behind.
    fn write_interrupts(&mut self, host: &mut dyn Host, value: u16) {
        self.interrupts.remove(Interrupt::from_bits_truncate(value));
        self.receive(host);
    }

    fn write_command(&mut self, host: &mut dyn Host, value: Command) {
        if value.contains(Command::RESET) {
            return self.software_reset();
        }
        self.command = value & (Command::RECEIVE | Command::TRANSMIT);
        self.receive(host);
        self.transmit_buffers(host);
    }

    fn write_eeprom_control(&mut self, value: u8) {
        self.eeprom_control = value;
        match value & register::EECR_MODE {
            // The address is loaded again from the EEPROM, and the mode is normal again.
            register::EECR_AUTOLOAD => {
                self.address = self.mac;
                self.eeprom_control &= !register::EECR_MODE;
            }
            register::EECR_PROGRAM => self.eeprom.drive(Wires {
                select: value & register::EECR_SELECT != 0,
                clock: value & register::EECR_CLOCK != 0,
                data_in: value & register::EECR_DATA_IN != 0,
            }),
            _ => self.eeprom.drive(Wires::default()),
        }
    }

    fn write_basic_mode(&mut self, value: u16) {
        if value & register::BMCR_RESET != 0 {
            (self.basic_mode, self.advertised) = (register::BMCR_DEFAULT, register::ANAR_DEFAULT);
        } else {
            // Negotiation is over as soon as it begins.
            self.basic_mode = value & !register::BMCR_RESTART;
        }
    }

    /// Ticks since the timer was set to zero, of which its register shows the lower half.
    fn ticks(&self, now: Instant) -> u64 {
        now.since(self.timer_start).saturating_mul(33) / TIMER_33_TICKS
    }

    /// When the timer next gets to where it interrupts, which it does each time that it goes round.
    fn timer_end(&self) -> Option<Instant> {
        let seen = self.ticks(self.timer_seen);
        let round = seen & !u64::from(u32::MAX) | u64::from(self.timer_interrupt);
        let end = if round > seen { round } else { round.saturating_add(1 << 32) };
        let nanoseconds = end.saturating_mul(TIMER_33_TICKS).div_ceil(33);
        (self.timer_interrupt != 0).then(|| self.timer_start.after(nanoseconds))
    }

    /// Notes that the timer has got there, which may have been a while ago: nobody is woken for an interrupt that is masked.
    fn look_at_timer(&mut self, now: Instant) {
        if self.timer_end().is_some_and(|at| at <= now) {
            self.interrupts.insert(Interrupt::TIME_OUT);
        }
        self.timer_seen = now;
    }
}

impl Card for Rtl8139 {
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
        self.power_on();
    }

    fn read(&mut self, host: &mut dyn Host, _region: usize, offset: u32, width: Width) -> u64 {
        self.look_at_timer(host.now());
        let mut bytes = [0; 8];
        for (lane, at) in bytes.iter_mut().zip(offset..).take(width.bytes()) {
            *lane = u8::try_from(at).map_or(0xff, |at| self.read_byte(host, at));
        }
        u64::from_le_bytes(bytes)
    }

    fn write(&mut self, host: &mut dyn Host, _region: usize, offset: u32, width: Width, value: u64) {
        let Ok(at) = u8::try_from(offset) else { return };
        self.look_at_timer(host.now());
        if width == Width::Qword {
            self.write_register(host, at, Width::Dword, low(value));
            self.write_register(host, at.wrapping_add(4), Width::Dword, low(value >> 32));
        } else {
            self.write_register(host, at, width, low(value));
        }
    }

    fn config_written(&mut self, host: &mut dyn Host) {
        self.receive(host);
    }

    fn interrupt(&self) -> bool {
        self.interrupts.intersects(self.mask)
    }

    fn deadline(&self) -> Option<Instant> {
        self.timer_end().filter(|_| self.mask.contains(Interrupt::TIME_OUT))
    }

    fn expire(&mut self, host: &mut dyn Host) {
        self.look_at_timer(host.now());
    }

    fn nic_ready(&mut self, host: &mut dyn Host, nic: NicId) {
        if nic != self.nic {
            return;
        }
        let link = host.nic_link(nic);
        if link != self.link_was_up {
            self.link_was_up = link;
            self.interrupts.insert(Interrupt::UNDERRUN_OR_LINK);
        }
        if core::mem::take(&mut self.waits_for_room) {
            self.transmit_buffers(host);
            self.transmit_rings(host, register::TPPOLL_HIGH | register::TPPOLL_NORMAL);
        }
        self.receive(host);
    }

    fn unplug(&mut self, what: Unplug) -> bool {
        what == Unplug::Nics
    }
}

impl SavedCard for Rtl8139 {
    fn save(&self) -> Vec<u8> {
        to_bytes(self)
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), StateError> {
        self.adopt(from_bytes(saved)?)
    }
}

/// The lower half.
fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or(0)
}

/// The lower half.
fn low16(value: u32) -> u16 {
    u16::try_from(value & 0xffff).unwrap_or(0)
}

/// Reads a descriptor.
fn read_descriptor<M: GuestMemory + ?Sized>(memory: &mut M, addr: u64) -> Option<[u32; 4]> {
    let mut bytes = [0; 16];
    memory.read(crate::host::GuestAddr(addr), &mut bytes).ok()?;
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_le_bytes(bytes.try_into().unwrap_or([0; 4]));
    }
    Some(words)
}
