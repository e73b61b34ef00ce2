//! IDE controller of the PIIX3, at 00:01.1: two channels with two drives each, at the ports that they always had.
//!
//! Each channel has a command block of eight ports (0x1f0 or 0x170), a control block of one (0x3f6 or 0x376), eight
//! bus-master registers at BAR4, and one interrupt line (14 or 15).
//!
//! A write to the command block reaches both drives of a channel; the device register selects which of them answers.
//! Where there is no drive, the status register reads as zero: a channel without any reads as zero throughout. A drive
//! that works on a command ignores its command block, so that nothing changes under it.
//!
//! Source: Intel 82371FB/82371SB data sheet, section 2.4; ATA/ATAPI-6, chapters 7 (registers) and 9.11 (diagnostics).
//! Not modelled: IDETIM (its bits are storage: the ports are decoded always, timings are what they are), native mode,
//! overlapped and queued commands.
//! Quirk: an 8-bit access to the data register moves a whole word, as on a real one.
//! Invariant: `line` is what the channel's interrupt line was after the last access.

use crate::state::{Adopt, StateError};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

mod bus_master;
mod cd;
#[cfg(test)]
mod cd_tests;
mod disk;
mod drive;
mod registers;
#[cfg(test)]
mod tests;

use crate::access::Width;
use crate::ata::command::Command;
use crate::host::{DiskError, DiskHost, DiskId, GuestAddr, GuestMemory, Level, Unmapped, Unplug};
use crate::machine::{DiscChange, DriveConfig, TrayError};
use crate::pci::config::{ConfigSpace, Identity, Region};
use bus_master::{BusMaster, Effect};
use disk::Wiring;
use drive::Drive;
use registers::{Registers, STATUS_BUSY};

/// Device control: nIEN, the interrupt line is let go.
const CONTROL_NO_INTERRUPT: u8 = 1 << 1;
/// Device control: SRST, both drives are held in reset.
const CONTROL_RESET: u8 = 1 << 2;
/// Device control: HOB, the deeper bytes of registers are read.
const CONTROL_HIGH_ORDER: u8 = 1 << 7;
/// The opcode of DEVICE RESET.
const DEVICE_RESET: u8 = 0x08;

/// Which base address the bus-master registers have.
pub const BUS_MASTER_REGION: usize = 4;
/// Offset of the register in a command block that takes commands, and gives the status.
pub const COMMAND_REGISTER: u16 = 7;

/// The IDE controller.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Piix3Ide {
    /// Configuration space.
    pub config: ConfigSpace,
    channels: [Channel; 2],
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Channel {
    units: [Unit; 2],
    /// Drive 1 is selected.
    drive_1: bool,
    control: u8,
    bus_master: BusMaster,
    line: bool,
}

/// One place for a drive. The registers are there without one.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Unit {
    registers: Registers,
    drive: Option<Drive>,
}

impl Adopt for Piix3Ide {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        self.config.adopt(saved.config)?;
        self.channels.adopt(saved.channels)
    }
}

impl Piix3Ide {
    /// A controller with these drives: index is channel × 2 + unit.
    #[must_use]
    pub fn new(drives: [Option<DriveConfig>; 4]) -> Self {
        let config = ConfigSpace::new(Identity {
            vendor: 0x8086,
            device: 0x7010,
            revision: 0,
            class: 0x01_01_80,
            subsystem: (0x1af4, 0x1100),
            multifunction: false,
            interrupt_pin: 0,
        })
        .with_region(BUS_MASTER_REGION, Region::Ports { size: 16 })
        // IDETIM of both channels, and SIDETIM.
        .with_registers(0x40, &[0; 5], &[0xff; 5]);
        let [a, b, c, d] = drives;
        let mut ide = Self { config, channels: [Channel::new([a, b]), Channel::new([c, d])] };
        ide.reset();
        ide
    }

    /// See [`SavedCard::tray_open`](crate::card::SavedCard::tray_open).
    #[must_use]
    pub fn tray_open(&self, disk: DiskId) -> Option<bool> {
        let mut drives = self.channels.iter().flat_map(|channel| &channel.units).filter_map(|unit| unit.drive.as_ref());
        drives.find(|drive| drive.id() == disk)?.tray_open()
    }

    /// See [`Card::change_disc`](crate::card::Card::change_disc).
    pub fn change_disc(&mut self, disk: DiskId, change: DiscChange) -> Option<Result<(), TrayError>> {
        let units = self.channels.iter_mut().flat_map(|channel| &mut channel.units);
        units.filter_map(|unit| unit.drive.as_mut()).find(|drive| drive.id() == disk)?.change_disc(change)
    }

    /// Whether an operation of a disk is under way.
    #[must_use]
    pub fn awaits_disk(&self) -> bool {
        let mut drives = self.channels.iter().flat_map(|channel| &channel.units).filter_map(|unit| unit.drive.as_ref());
        drives.any(Drive::awaits_disk)
    }

    /// What of the transfer buffers belongs to the state of the drives, in their order.
    pub fn buffers<H: DiskHost>(&self, host: &mut H) -> Vec<Vec<u8>> {
        let units = self.channels.iter().flat_map(|channel| &channel.units);
        units.map(|unit| unit.drive.as_ref().map_or_else(Vec::new, |drive| drive.buffer(host))).collect()
    }

    /// Puts that back.
    pub fn set_buffers<H: DiskHost>(&self, host: &mut H, buffers: &[Vec<u8>]) {
        let units = self.channels.iter().flat_map(|channel| &channel.units);
        for (unit, data) in units.zip(buffers) {
            if let Some(drive) = &unit.drive {
                drive.set_buffer(host, data);
            }
        }
    }

    /// Puts the channels to their state at power on. Configuration space stays as it is.
    pub fn reset(&mut self) {
        for channel in &mut self.channels {
            channel.reset();
        }
    }

    /// Reads the command block of a channel.
    pub fn read_command<H: DiskHost + GuestMemory>(
        &mut self,
        host: &mut H,
        channel: u8,
        offset: u16,
        width: Width,
    ) -> u32 {
        let (channel, masters_bus) = self.channel(channel);
        if offset == 0 {
            return channel.read_data(host, masters_bus, width);
        }
        let mut value = [0; 4];
        for (lane, at) in value.iter_mut().zip(offset..).take(width.bytes()) {
            *lane = channel.read_register(at);
        }
        u32::from_le_bytes(value)
    }

    /// The first effect of a write to [`COMMAND_REGISTER`]: the drive asks for no interrupt any more.
    pub fn take_interrupt_back(&mut self, channel: u8) {
        let (channel, _) = self.channel(channel);
        if let Some(drive) = channel.selected_mut().drive.as_mut().filter(|drive| !drive.is_occupied()) {
            drive.acknowledge();
        }
        channel.settle();
    }

    /// Writes the command block of a channel.
    pub fn write_command<H: DiskHost + GuestMemory>(
        &mut self,
        host: &mut H,
        channel: u8,
        offset: u16,
        width: Width,
        value: u32,
    ) {
        let (channel, masters_bus) = self.channel(channel);
        if offset == 0 {
            return channel.write_data(host, masters_bus, width, value);
        }
        for (byte, at) in value.to_le_bytes().into_iter().zip(offset..).take(width.bytes()) {
            channel.write_register(host, masters_bus, at, byte);
        }
    }

    /// Reads the control block of a channel: the alternate status, which takes no interrupt back.
    #[must_use]
    pub fn read_control(&mut self, channel: u8) -> u8 {
        self.channel(channel).0.status()
    }

    /// Writes the control block of a channel: device control.
    pub fn write_control(&mut self, channel: u8, value: u8) {
        self.channel(channel).0.write_control(value);
    }

    /// Reads the bus-master registers.
    #[must_use]
    pub fn read_bus_master(&mut self, offset: u16, width: Width) -> u32 {
        let (channel, _) = self.channel(u8::from(offset & 8 != 0));
        channel.bus_master.read(offset & 7, width)
    }

    /// Writes the bus-master registers.
    pub fn write_bus_master<H: DiskHost + GuestMemory>(&mut self, host: &mut H, offset: u16, width: Width, value: u32) {
        let (channel, masters_bus) = self.channel(u8::from(offset & 8 != 0));
        channel.write_bus_master(host, masters_bus, offset & 7, width, value);
    }

    /// Copies up to `len` bytes of the data register to guest memory, and returns how many there were.
    pub fn read_data_to_guest<H: DiskHost + GuestMemory>(
        &mut self,
        host: &mut H,
        channel: u8,
        to: GuestAddr,
        len: usize,
    ) -> Result<usize, Unmapped> {
        let (channel, masters_bus) = self.channel(channel);
        let mut done = 0_usize;
        while let Some((drive, offset, available)) = channel.data(false).filter(|_| done < len) {
            let piece = available.min(len.saturating_sub(done));
            drive.data_to_guest(host, offset, at(to, done), piece)?;
            channel.data_moved(host, masters_bus, piece);
            done = done.saturating_add(piece);
        }
        Ok(done)
    }

    /// Copies up to `len` bytes of guest memory to the data register, and returns for how many there was room.
    pub fn write_data_from_guest<H: DiskHost + GuestMemory>(
        &mut self,
        host: &mut H,
        channel: u8,
        from: GuestAddr,
        len: usize,
    ) -> Result<usize, Unmapped> {
        let (channel, masters_bus) = self.channel(channel);
        let mut done = 0_usize;
        while let Some((drive, offset, available)) = channel.data(true).filter(|_| done < len) {
            let piece = available.min(len.saturating_sub(done));
            drive.data_from_guest(host, offset, at(from, done), piece)?;
            channel.data_moved(host, masters_bus, piece);
            done = done.saturating_add(piece);
        }
        Ok(done)
    }

    /// An operation of a disk has ended.
    pub fn complete<H: DiskHost + GuestMemory>(&mut self, host: &mut H, disk: DiskId, result: Result<(), DiskError>) {
        let masters_bus = self.config.masters_bus();
        for channel in &mut self.channels {
            let Channel { units, bus_master, .. } = channel;
            for Unit { registers, drive } in units {
                if let Some(drive) = drive.as_mut().filter(|drive| drive.id() == disk) {
                    drive.complete(result, &mut Wiring { registers, bus_master, masters_bus, host });
                }
            }
            channel.settle();
        }
    }

    /// Takes disks away, for good. CD drives stay.
    pub fn unplug(&mut self, what: Unplug) {
        let kept = match what {
            Unplug::IdeDisks => 0,
            Unplug::AuxiliaryIdeDisks => 1,
            Unplug::Nics => return,
        };
        for unit in self.channels.iter_mut().flat_map(|channel| &mut channel.units).skip(kept) {
            if !matches!(unit.drive, Some(Drive::Cd(_))) {
                unit.drive = None;
                unit.reset_registers();
            }
        }
        for channel in &mut self.channels {
            channel.settle();
        }
    }

    /// The level of a channel's interrupt line.
    #[must_use]
    pub fn irq_level(&self, channel: u8) -> Level {
        let [first, second] = &self.channels;
        if channel == 0 { first.line } else { second.line }.into()
    }

    fn channel(&mut self, channel: u8) -> (&mut Channel, bool) {
        let masters_bus = self.config.masters_bus();
        let [first, second] = &mut self.channels;
        (if channel == 0 { first } else { second }, masters_bus)
    }
}

impl Adopt for Channel {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        self.units.adopt(saved.units)?;
        *self = Self { units: self.units.clone(), ..saved };
        Ok(())
    }
}

impl Adopt for Unit {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        self.registers = saved.registers;
        self.drive.adopt(saved.drive)
    }
}

impl Channel {
    fn new([first, second]: [Option<DriveConfig>; 2]) -> Self {
        let alone = first.is_none() || second.is_none();
        let unit = |drive: Option<DriveConfig>, number| Unit {
            registers: Registers::default(),
            drive: drive.map(|drive| Drive::new(drive, number, alone)),
        };
        Self {
            units: [unit(first, 0), unit(second, 1)],
            drive_1: false,
            control: 0,
            bus_master: BusMaster::default(),
            line: false,
        }
    }

    fn reset(&mut self) {
        for unit in &mut self.units {
            if let Some(drive) = &mut unit.drive {
                drive.reset();
            }
            unit.registers = Registers::default();
            unit.reset_registers();
        }
        self.drive_1 = false;
        self.control = 0;
        self.bus_master = BusMaster::default();
        self.settle();
    }

    fn selected(&self) -> &Unit {
        let [first, second] = &self.units;
        if self.drive_1 { second } else { first }
    }

    fn selected_mut(&mut self) -> &mut Unit {
        let [first, second] = &mut self.units;
        if self.drive_1 { second } else { first }
    }

    fn is_empty(&self) -> bool {
        self.units.iter().all(|unit| unit.drive.is_none())
    }

    fn status(&self) -> u8 {
        match &self.selected().drive {
            Some(_) if self.control & CONTROL_RESET != 0 => STATUS_BUSY,
            Some(drive) => drive.status(),
            None => 0,
        }
    }

    /// Brings the interrupt line in line with the drives, and latches a rising edge in the bus master.
    fn settle(&mut self) {
        let asked = self.selected().drive.as_ref().is_some_and(Drive::interrupt);
        let line = asked && self.control & CONTROL_NO_INTERRUPT == 0;
        if line && !self.line {
            self.bus_master.latch_interrupt();
        }
        self.line = line;
    }

    /// Reads a register other than data.
    fn read_register(&mut self, offset: u16) -> u8 {
        if offset != COMMAND_REGISTER {
            let high_order = self.control & CONTROL_HIGH_ORDER != 0;
            return if self.is_empty() { 0 } else { self.selected().registers.read(offset, high_order) };
        }
        let status = self.status();
        if let Some(drive) = &mut self.selected_mut().drive {
            drive.acknowledge();
        }
        self.settle();
        status
    }

    /// Writes a register other than data.
    fn write_register<H: DiskHost + GuestMemory>(&mut self, host: &mut H, masters_bus: bool, offset: u16, value: u8) {
        let occupied = self.selected().drive.as_ref().is_some_and(Drive::is_occupied);
        // A write to the command block brings the shallower bytes back into view.
        self.control &= !CONTROL_HIGH_ORDER;
        if offset == COMMAND_REGISTER && value == DEVICE_RESET && self.reset_cd() {
            return self.settle();
        }
        if occupied || self.control & CONTROL_RESET != 0 {
            return;
        }
        if offset == COMMAND_REGISTER {
            self.write_opcode(host, masters_bus, value);
        } else {
            for unit in &mut self.units {
                unit.registers.write(offset, value);
            }
            self.drive_1 = self.units.iter().any(|unit| unit.registers.selects_drive_1());
        }
        self.settle();
    }

    fn write_opcode<H: DiskHost + GuestMemory>(&mut self, host: &mut H, masters_bus: bool, opcode: u8) {
        let command = Command::decode(opcode);
        if command == Command::ExecuteDeviceDiagnostic {
            return self.diagnose();
        }
        let Self { units: [first, second], bus_master, drive_1, .. } = self;
        let Unit { registers, drive } = if *drive_1 { second } else { first };
        if let Some(drive) = drive {
            drive.command(command, &mut Wiring { registers, bus_master, masters_bus, host });
        }
    }

    /// EXECUTE DEVICE DIAGNOSTIC: both drives execute it, whichever is selected, and drive 0 answers for both.
    fn diagnose(&mut self) {
        self.reset_drives();
        if let [Unit { drive: Some(drive), .. }, _] = &mut self.units {
            drive.raise_interrupt();
        }
    }

    /// DEVICE RESET, which CD drives obey even while they work on a command. `false`: it is a disk, or nothing.
    fn reset_cd(&mut self) -> bool {
        let unit = self.selected_mut();
        let Some(drive @ Drive::Cd(_)) = &mut unit.drive else { return false };
        drive.software_reset();
        unit.reset_registers();
        true
    }

    /// What a software reset does to the drives.
    fn reset_drives(&mut self) {
        for unit in &mut self.units {
            if let Some(drive) = &mut unit.drive {
                drive.software_reset();
            }
            // Drive 0 is selected after a reset.
            unit.registers = Registers::default();
            unit.reset_registers();
        }
        self.drive_1 = false;
    }

    fn write_control(&mut self, value: u8) {
        let released = self.control & !value & CONTROL_RESET != 0;
        let held = value & !self.control & CONTROL_RESET != 0;
        self.control = value & (CONTROL_NO_INTERRUPT | CONTROL_RESET | CONTROL_HIGH_ORDER);
        if held || released {
            self.reset_drives();
        }
        self.settle();
    }

    fn write_bus_master<H: DiskHost + GuestMemory>(
        &mut self,
        host: &mut H,
        masters_bus: bool,
        offset: u16,
        width: Width,
        value: u32,
    ) {
        let effect = self.bus_master.write(offset, width, value);
        let Self { units, bus_master, .. } = self;
        for Unit { registers, drive } in units {
            let Some(drive) = drive else { continue };
            match effect {
                Effect::Start => drive.run_bus_master(&mut Wiring { registers, bus_master, masters_bus, host }),
                Effect::Stop => drive.bus_master_stopped(registers),
                Effect::Nothing => {}
            }
        }
        self.settle();
    }

    /// The drive, and offset and number of the bytes that its data register moves now.
    fn data(&mut self, to_drive: bool) -> Option<(&mut Drive, usize, usize)> {
        if self.control & CONTROL_RESET != 0 {
            return None;
        }
        let drive = self.selected_mut().drive.as_mut()?;
        let (offset, len) = drive.data(to_drive)?;
        Some((drive, offset, len))
    }

    fn data_moved<H: DiskHost + GuestMemory>(&mut self, host: &mut H, masters_bus: bool, len: usize) {
        let Self { units: [first, second], bus_master, drive_1, .. } = self;
        let Unit { registers, drive } = if *drive_1 { second } else { first };
        if let Some(drive) = drive {
            drive.data_moved(len, &mut Wiring { registers, bus_master, masters_bus, host });
        }
        self.settle();
    }

    /// Reads the data register. Without data, it reads as zero.
    fn read_data<H: DiskHost + GuestMemory>(&mut self, host: &mut H, masters_bus: bool, width: Width) -> u32 {
        let mut value = [0; 4];
        let [first, second] = value.split_at_mut(2).into();
        for half in [Some(first), (width == Width::Dword).then_some(second)].into_iter().flatten() {
            if let Some((drive, offset, _)) = self.data(false) {
                drive.read_data(host, offset, half);
                self.data_moved(host, masters_bus, half.len());
            }
        }
        u32::from_le_bytes(value)
    }

    /// Writes the data register. Without a request for data, the write is dropped.
    fn write_data<H: DiskHost + GuestMemory>(&mut self, host: &mut H, masters_bus: bool, width: Width, value: u32) {
        let words = if width == Width::Dword { 2 } else { 1 };
        for half in value.to_le_bytes().chunks_exact(2).take(words) {
            if let Some((drive, offset, _)) = self.data(true) {
                drive.write_data(host, offset, half);
                self.data_moved(host, masters_bus, half.len());
            }
        }
    }
}

impl Unit {
    /// The registers after a reset. Where there is no drive they say so.
    fn reset_registers(&mut self) {
        let (mid, high) = self.drive.as_ref().map_or((0xff, 0xff), Drive::signature);
        self.registers.set_signature(mid, high);
    }
}

/// The address `offset` bytes after `addr`.
fn at(addr: GuestAddr, offset: usize) -> GuestAddr {
    GuestAddr(addr.0.wrapping_add(u64::try_from(offset).unwrap_or(0)))
}
