//! A port: its registers, and the commands of its list.
//!
//! Source: AHCI 1.3.1, sections 3.3 (port registers), 4.2 (command list, receive area), 5.3 (state machine), 6.2 (errors).

use super::SLOTS;
use super::drive::{Drive, ERROR_ABORTED, GOOD, Move, STATUS_BUSY, STATUS_DATA_REQUEST, STATUS_ERROR, Task};
use super::fis::{self, Registers, Sent, TaskFile};
use super::prdt::Prdt;
use crate::ata::operation::Operation;
use crate::ata::packet::PACKET_LEN;
use crate::ata::trim::Trim;
use crate::host::{DiskError, DiskId, DiskOp, GuestAddr, Host, Unmapped};
use crate::machine::{DiscChange, TrayError};
use crate::state::{Adopt, StateError};
use serde::{Deserialize, Serialize};

const SECTOR: usize = 512;

/// PxCMD.
mod command {
    pub(super) const START: u32 = 1 << 0;
    pub(super) const SPIN_UP: u32 = 1 << 1;
    pub(super) const POWER_ON: u32 = 1 << 2;
    /// The driver overrides a busy drive.
    pub(super) const OVERRIDE: u32 = 1 << 3;
    pub(super) const RECEIVE: u32 = 1 << 4;
    pub(super) const RECEIVE_RUNS: u32 = 1 << 14;
    pub(super) const LIST_RUNS: u32 = 1 << 15;
    pub(super) const WRITABLE: u32 = START | RECEIVE | 1 << 17 | 0x0f << 24;
}
/// PxIS and PxIE.
mod event {
    pub(super) const REGISTERS: u32 = 1 << 0;
    pub(super) const PIO_SETUP: u32 = 1 << 1;
    pub(super) const DEVICE_BITS: u32 = 1 << 3;
    pub(super) const CONNECT_CHANGE: u32 = 1 << 6;
    pub(super) const OVERFLOW: u32 = 1 << 24;
    pub(super) const BUS_DATA: u32 = 1 << 28;
    pub(super) const BUS_FATAL: u32 = 1 << 29;
    pub(super) const TASK_FILE: u32 = 1 << 30;
    pub(super) const ENABLE_WRITABLE: u32 = 0xfdc0_00ff;
}
/// PxSERR: a drive was found.
const ERROR_EXCHANGED: u32 = 1 << 26;
/// PxSSTS: a drive, at 1.5 Gb/s, active.
const STATUS_PRESENT: u32 = 0x113;
/// PxTFD where there is no drive, or it has said nothing yet.
const NOTHING: u32 = 0x7f;
/// PACKET.
const PACKET: u8 = 0xa0;
/// Device control: SRST.
const CONTROL_RESET: u8 = 1 << 2;
/// Where a command table has the packet, and its regions.
const PACKET_AT: u64 = 0x40;
const REGIONS_AT: u64 = 0x80;

/// The command that is being done.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Active {
    slot: u32,
    /// Where its header is, to say how much was moved.
    header: u64,
    answer: TaskFile,
    prdt: Prdt,
    step: Step,
}

/// What the host does for it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Step {
    /// So many sectors of the rest of this.
    Move(Move, u32),
    Flush(Option<u8>),
    /// The ranges that are left.
    Trim(Trim),
}

/// A port.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Port {
    drive: Option<Drive>,
    list: u64,
    receive: u64,
    events: u32,
    enabled: u32,
    command: u32,
    task_file: u32,
    signature: u32,
    control: u32,
    errors: u32,
    /// PxSACT: queued commands that are not done.
    queued: u32,
    /// PxCI: commands that were issued.
    issued: u32,
    /// The slot that was looked at last: the others come first.
    last: u32,
    /// A command has failed: none is begun before the driver has stopped the list.
    has_failed: bool,
    /// The drive has said who it is since the last reset.
    has_introduced: bool,
    /// SRST is set.
    is_in_reset: bool,
    active: Option<Active>,
    operation: Operation,
}

impl Adopt for Port {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        self.drive.adopt(saved.drive)?;
        *self = Self { drive: self.drive.take(), ..saved };
        Ok(())
    }
}

impl Port {
    /// See [`SavedCard::tray_open`](crate::card::SavedCard::tray_open).
    pub(super) fn tray_open(&self) -> Option<bool> {
        self.drive.as_ref()?.tray_open()
    }

    /// See [`Card::change_disc`](crate::card::Card::change_disc).
    pub(super) fn change_disc(&mut self, change: DiscChange) -> Option<Result<(), TrayError>> {
        self.drive.as_mut()?.change_disc(change)
    }

    /// Whether the host is at work.
    pub(super) fn awaits_disk(&self) -> bool {
        self.operation != Operation::None
    }

    /// A port after power on.
    pub(super) fn new(drive: Option<Drive>) -> Self {
        Self {
            drive,
            list: 0,
            receive: 0,
            events: 0,
            enabled: 0,
            command: command::SPIN_UP | command::POWER_ON,
            task_file: NOTHING,
            signature: u32::MAX,
            control: 0,
            errors: 0,
            queued: 0,
            issued: 0,
            last: 0,
            has_failed: false,
            has_introduced: false,
            is_in_reset: false,
            active: None,
            operation: Operation::None,
        }
    }

    /// Power on; an operation of the host goes on, and nobody waits for it.
    pub(super) fn reset(&mut self) {
        self.operation.abandon();
        let operation = self.operation;
        let mut drive = self.drive.take();
        if let Some(drive) = &mut drive {
            drive.reset();
        }
        *self = Self { operation, ..Self::new(drive) };
    }

    pub(super) fn disk(&self) -> Option<DiskId> {
        self.drive.as_ref().and_then(Drive::id)
    }

    /// A disk is gone for good.
    pub(super) fn unplug_disk(&mut self) {
        if self.drive.as_ref().is_some_and(Drive::is_disk) {
            self.stop();
            self.drive = None;
            (self.task_file, self.signature) = (NOTHING, u32::MAX);
        }
    }

    pub(super) const fn interrupt(&self) -> bool {
        self.events & self.enabled != 0
    }

    /// Reads a register.
    pub(super) fn read(&self, at: u32) -> u32 {
        let [list, list_high] = halves(self.list);
        let [receive, receive_high] = halves(self.receive);
        match at {
            0x00 => list,
            0x04 => list_high,
            0x08 => receive,
            0x0c => receive_high,
            0x10 => self.events,
            0x14 => self.enabled,
            0x18 => self.command,
            0x20 => self.task_file,
            0x24 => self.signature,
            0x28 => self.link(),
            0x2c => self.control,
            0x30 => self.errors,
            0x34 => self.queued,
            0x38 => self.issued,
            _ => 0,
        }
    }

    fn link(&self) -> u32 {
        let is_off = self.control & 0x0f != 0;
        if self.drive.is_some() && !is_off { STATUS_PRESENT } else { 0 }
    }

    /// Writes a register.
    pub(super) fn write(&mut self, host: &mut dyn Host, masters_bus: bool, at: u32, value: u32) {
        match at {
            0x00 => self.list = joined(value & !0x3ff, self.list >> 32),
            0x04 => self.list = joined(low(self.list), value.into()),
            0x08 => self.receive = joined(value & !0xff, self.receive >> 32),
            0x0c => self.receive = joined(low(self.receive), value.into()),
            0x10 => self.events &= !value,
            0x14 => self.enabled = value & event::ENABLE_WRITABLE,
            0x18 => self.write_command(host, masters_bus, value),
            0x2c => self.write_control(host, masters_bus, value),
            0x30 => self.errors &= !value,
            // A command is queued, then issued.
            0x34 if self.command & command::START != 0 => self.queued |= value,
            0x38 if self.command & command::START != 0 => {
                self.issued |= value;
                self.work(host, masters_bus);
            }
            _ => {}
        }
    }

    fn write_command(&mut self, host: &mut dyn Host, masters_bus: bool, value: u32) {
        let was_started = self.command & command::START != 0;
        self.command = value & command::WRITABLE | command::SPIN_UP | command::POWER_ON;
        if value & command::OVERRIDE != 0 {
            self.task_file &= !u32::from(STATUS_BUSY | STATUS_DATA_REQUEST);
        }
        if self.command & command::RECEIVE != 0 {
            self.command |= command::RECEIVE_RUNS;
            self.introduce(host, masters_bus);
        }
        if self.command & command::START != 0 {
            self.command |= command::LIST_RUNS;
            self.work(host, masters_bus);
        } else if was_started {
            self.stop();
        }
    }

    /// The list is stopped: what was issued is forgotten.
    fn stop(&mut self) {
        self.active = None;
        self.operation.abandon();
        (self.issued, self.queued, self.has_failed) = (0, 0, false);
    }

    fn write_control(&mut self, host: &mut dyn Host, masters_bus: bool, value: u32) {
        const RESET: u32 = 1;
        let was_in_reset = self.control & 0x0f == RESET;
        self.control = value & 0x0fff;
        match value & 0x0f {
            RESET => {
                self.stop();
                (self.task_file, self.signature, self.has_introduced) = (NOTHING, u32::MAX, false);
            }
            0 if was_in_reset => {
                if let Some(drive) = &mut self.drive {
                    drive.software_reset();
                    self.errors |= ERROR_EXCHANGED;
                    self.events |= event::CONNECT_CHANGE;
                }
                self.introduce(host, masters_bus);
            }
            _ => {}
        }
    }

    /// The drive says who it is, once there is a place for it.
    fn introduce(&mut self, host: &mut dyn Host, masters_bus: bool) {
        let Some(drive) = &self.drive else { return };
        if self.has_introduced || self.control & 0x0f != 0 {
            return;
        }
        let registers = drive.signature();
        self.signature = low(registers.lba & 0x00ff_ffff) << 8 | u32::from(registers.count & 0xff);
        self.set_task_file(&registers);
        if self.command & command::RECEIVE != 0 && masters_bus {
            self.has_introduced = true;
            self.put(host, fis::REGISTERS_AT, &registers.registers(false));
        }
    }

    fn set_task_file(&mut self, registers: &TaskFile) {
        self.task_file = u32::from(registers.error) << 8 | u32::from(registers.status);
    }

    /// Writes into the receive area. Where that is in no memory, the driver is told so.
    fn put(&mut self, host: &mut dyn Host, at: u64, bytes: &[u8]) {
        if self.command & command::RECEIVE != 0 && host.write(GuestAddr(self.receive.wrapping_add(at)), bytes).is_err()
        {
            self.events |= event::BUS_FATAL;
        }
    }

    /// Does commands until the host is needed, or there is none.
    pub(super) fn work(&mut self, host: &mut dyn Host, masters_bus: bool) {
        for _ in 0..SLOTS {
            let can = self.command & command::START != 0 && masters_bus && !self.has_failed && self.drive.is_some();
            if !can || self.active.is_some() || self.operation != Operation::None || self.issued == 0 {
                return;
            }
            // Turns: the first behind the one that was last.
            let behind = self.last.wrapping_add(1) % SLOTS;
            let ahead = self.issued.rotate_right(behind).trailing_zeros();
            let slot = behind.wrapping_add(ahead) % SLOTS;
            self.last = slot;
            if self.begin(host, slot).is_err() {
                // The list or the table is in no memory.
                self.events |= event::BUS_FATAL;
                self.has_failed = true;
            }
        }
    }

    /// Begins the command of a slot.
    fn begin(&mut self, host: &mut dyn Host, slot: u32) -> Result<(), Unmapped> {
        let header = self.list.wrapping_add(u64::from(slot) << 5);
        let mut bytes = [0; 16];
        host.read(GuestAddr(header), &mut bytes)?;
        let [_, _, regions, regions_high, _, _, _, _, a, b, c, d, e, f, g, h] = bytes;
        let table = u64::from_le_bytes([a, b, c, d, e, f, g, h]) & !0x7f;
        let mut command = [0; fis::COMMAND_LEN];
        host.read(GuestAddr(table), &mut command)?;
        let mut packet = [0; PACKET_LEN];
        host.read(GuestAddr(table.wrapping_add(PACKET_AT)), &mut packet)?;
        let prdt = Prdt::new(table.wrapping_add(REGIONS_AT), u16::from_le_bytes([regions, regions_high]));
        match fis::parse(&command) {
            None => {
                let answer = TaskFile::default();
                self.active = Some(Active { slot, header, answer, prdt, step: Step::Flush(None) });
                self.fail(host, ERROR_ABORTED, None);
            }
            Some(Sent::Control(control)) => self.control_device(host, slot, control),
            Some(Sent::Command(registers)) => self.perform(host, slot, header, prdt, &registers, &packet),
        }
        Ok(())
    }

    /// The device control register: a reset begins when SRST is set, and ends when it is not.
    fn control_device(&mut self, host: &mut dyn Host, slot: u32, control: u8) {
        self.issued &= !(1 << slot);
        let is_in_reset = control & CONTROL_RESET != 0;
        if core::mem::replace(&mut self.is_in_reset, is_in_reset) && !is_in_reset {
            if let Some(drive) = &mut self.drive {
                drive.software_reset();
            }
            self.has_introduced = false;
            self.introduce(host, true);
        }
    }

    fn perform(
        &mut self,
        host: &mut dyn Host,
        slot: u32,
        header: u64,
        prdt: Prdt,
        registers: &Registers,
        packet: &[u8; PACKET_LEN],
    ) {
        let Some(drive) = &mut self.drive else { return };
        let mut answer =
            TaskFile { status: GOOD, error: 0, lba: registers.lba, count: registers.count, device: registers.device };
        let task = drive.perform(registers, packet, &mut answer);
        self.active = Some(Active { slot, header, answer, prdt, step: Step::Flush(None) });
        if registers.command == PACKET {
            let len = u32::try_from(PACKET_LEN).unwrap_or(0);
            self.announce(host, Some(len), true, len);
        }
        match task {
            Task::Done => self.finish(host),
            Task::Fail(error) => {
                let is_queued = matches!(registers.command, 0x60 | 0x61);
                let tag = u8::try_from(registers.count >> 3 & 0x1f).unwrap_or(0);
                self.fail(host, error, is_queued.then_some(tag));
            }
            Task::Give { data, by_pio } => self.give(host, &data, by_pio),
            Task::Flush => self.flush(host, None),
            Task::Trim { blocks, sectors } => self.begin_trim(host, blocks, sectors),
            Task::Move(movement) => {
                if movement.tag.is_some() {
                    // It is taken: the slot is free, and its bit of the queue stays until it is done.
                    self.issued &= !(1 << slot);
                }
                self.move_chunk(host, movement);
            }
        }
    }

    /// Bytes of the drive itself go to memory.
    fn give(&mut self, host: &mut dyn Host, data: &[u8], by_pio: Option<u32>) {
        let Some(active) = &mut self.active else { return };
        let copied = active.prdt.copy(host, data.len(), |host, addr, done, len| {
            host.write(addr, data.get(done..done.saturating_add(len)).unwrap_or(&[]))
        });
        match copied {
            Ok(len) if len < data.len() => self.events |= event::OVERFLOW,
            Ok(_) => {}
            Err(Unmapped) => return self.bus_error(host),
        }
        self.announce(host, by_pio, false, u32::try_from(data.len()).unwrap_or(u32::MAX));
        self.finish(host);
    }

    /// Goes on with as many sectors as fit the transfer buffer.
    fn move_chunk(&mut self, host: &mut dyn Host, movement: Move) {
        let (Some(active), Some(id)) = (&mut self.active, self.drive.as_ref().and_then(Drive::id)) else { return };
        let room = u32::try_from(host.disk_buffer_len(id) / SECTOR).unwrap_or(u32::MAX);
        let sectors = movement.sectors.min(room);
        if sectors == 0 {
            return self.fail(host, ERROR_ABORTED, movement.tag);
        }
        active.step = Step::Move(movement, sectors);
        if movement.to_disk {
            let len = bytes(sectors);
            let copied = active
                .prdt
                .copy(host, len, |host, addr, done, piece| host.disk_buffer_from_guest(id, done, addr, piece));
            match copied {
                Ok(copied) if copied < len => {
                    // There is less data than sectors: nothing is written.
                    self.events |= event::OVERFLOW;
                    return self.fail(host, ERROR_ABORTED, movement.tag);
                }
                Ok(_) => {}
                Err(Unmapped) => return self.bus_error(host),
            }
        }
        let lba = movement.lba;
        let op = if movement.to_disk { DiskOp::Write { lba, sectors } } else { DiskOp::Read { lba, sectors } };
        self.start(host, id, op);
    }

    /// Reads the ranges that are to be discarded.
    fn begin_trim(&mut self, host: &mut dyn Host, blocks: u32, sectors: u64) {
        let (Some(active), Some(id)) = (&mut self.active, self.drive.as_ref().and_then(Drive::id)) else { return };
        let len = bytes(blocks);
        let copied =
            active.prdt.copy(host, len, |host, addr, done, piece| host.disk_buffer_from_guest(id, done, addr, piece));
        match copied {
            Ok(copied) if copied < len => {
                self.events |= event::OVERFLOW;
                self.fail(host, ERROR_ABORTED, None);
            }
            Ok(_) => match Trim::new(host, id, blocks, sectors) {
                Some(trim) => self.trim(host, trim),
                None => self.fail(host, ERROR_ABORTED, None),
            },
            Err(Unmapped) => self.bus_error(host),
        }
    }

    /// Discards the next range.
    fn trim(&mut self, host: &mut dyn Host, mut trim: Trim) {
        let (Some(active), Some(id)) = (&mut self.active, self.drive.as_ref().and_then(Drive::id)) else { return };
        if let Some(op) = trim.next(host, id) {
            active.step = Step::Trim(trim);
            self.start(host, id, op);
        } else {
            self.finish(host);
        }
    }

    fn flush(&mut self, host: &mut dyn Host, tag: Option<u8>) {
        let (Some(active), Some(id)) = (&mut self.active, self.drive.as_ref().and_then(Drive::id)) else { return };
        active.step = Step::Flush(tag);
        self.start(host, id, DiskOp::Flush);
    }

    fn start(&mut self, host: &mut dyn Host, id: DiskId, op: DiskOp) {
        self.operation = Operation::Running;
        self.task_file |= u32::from(STATUS_BUSY);
        host.disk_start(id, op);
    }

    /// The host's operation has ended.
    pub(super) fn complete(&mut self, host: &mut dyn Host, masters_bus: bool, result: Result<(), DiskError>) {
        let operation = core::mem::take(&mut self.operation);
        if let (Operation::Running, Some(active)) = (operation, &mut self.active) {
            match (active.step, result) {
                (Step::Flush(tag), Err(DiskError)) => self.fail(host, ERROR_ABORTED, tag),
                (Step::Flush(tag), Ok(())) => self.end(host, tag),
                (Step::Trim(_), Err(DiskError)) => self.fail(host, ERROR_ABORTED, None),
                (Step::Trim(trim), Ok(())) => self.trim(host, trim),
                (Step::Move(movement, _), Err(DiskError)) => {
                    active.answer.lba = movement.lba;
                    let error = self.drive.as_mut().map_or(0, |drive| drive.transfer_failed(movement.to_disk));
                    self.fail(host, error, movement.tag);
                }
                (Step::Move(movement, sectors), Ok(())) => self.moved(host, movement, sectors),
            }
        }
        self.work(host, masters_bus);
    }

    /// A chunk is done at the host.
    fn moved(&mut self, host: &mut dyn Host, movement: Move, sectors: u32) {
        let (Some(active), Some(id)) = (&mut self.active, self.drive.as_ref().and_then(Drive::id)) else { return };
        if !movement.to_disk {
            let len = bytes(sectors);
            let copied =
                active.prdt.copy(host, len, |host, addr, done, piece| host.disk_buffer_to_guest(id, done, addr, piece));
            match copied {
                Ok(copied) if copied < len => {
                    // The driver wanted no more.
                    self.events |= event::OVERFLOW;
                    return self.end(host, movement.tag);
                }
                Ok(_) => {}
                Err(Unmapped) => return self.bus_error(host),
            }
        }
        let rest = Move {
            lba: movement.lba.saturating_add(sectors.into()),
            sectors: movement.sectors.saturating_sub(sectors),
            ..movement
        };
        if rest.sectors > 0 {
            self.move_chunk(host, rest);
        } else if movement.durable {
            self.flush(host, movement.tag);
        } else {
            let len = u32::try_from(bytes(sectors)).unwrap_or(u32::MAX);
            self.announce(host, movement.by_pio, movement.to_disk, len);
            self.end(host, movement.tag);
        }
    }

    fn end(&mut self, host: &mut dyn Host, tag: Option<u8>) {
        match tag {
            None => self.finish(host),
            Some(tag) => self.finish_queued(host, tag),
        }
    }

    /// The PIO setup of the last of so many bytes of data is what is left in memory.
    fn announce(&mut self, host: &mut dyn Host, by_pio: Option<u32>, to_drive: bool, len: u32) {
        let (Some(block), Some(active)) = (by_pio, &self.active) else { return };
        let last = match len.checked_rem(block).unwrap_or(0) {
            0 => block.min(len),
            rest => rest,
        };
        let last = u16::try_from(last).unwrap_or(u16::MAX);
        let setup = active.answer.pio_setup(GOOD | STATUS_DATA_REQUEST, to_drive, last);
        // A drive that wants data asks for the first of it without an interrupt.
        let interrupts = !to_drive || active.prdt.moved > block;
        self.put(host, fis::PIO_SETUP_AT, &setup);
        if interrupts {
            self.events |= event::PIO_SETUP;
        }
    }

    /// A command is done.
    fn finish(&mut self, host: &mut dyn Host) {
        let Some(active) = self.active.take() else { return };
        self.tell_moved(host, &active);
        self.set_task_file(&active.answer);
        // Behind the last data of a drive real ones say nothing more, but drivers wait for one or the other, and QEMU's for
        // both.
        self.put(host, fis::REGISTERS_AT, &active.answer.registers(true));
        self.events |= event::REGISTERS;
        self.issued &= !(1 << active.slot);
    }

    /// A queued command is done.
    fn finish_queued(&mut self, host: &mut dyn Host, tag: u8) {
        let Some(active) = self.active.take() else { return };
        self.tell_moved(host, &active);
        self.set_task_file(&active.answer);
        let done = 1 << (tag & 31);
        self.put(host, fis::DEVICE_BITS_AT, &active.answer.device_bits(done));
        self.queued &= !done;
        self.events |= event::DEVICE_BITS;
    }

    /// A command has failed: nothing more is done until the driver has seen to it.
    fn fail(&mut self, host: &mut dyn Host, error: u8, tag: Option<u8>) {
        let Some(active) = self.active.take() else { return };
        let answer = TaskFile { status: GOOD | STATUS_ERROR, error, ..active.answer };
        self.set_task_file(&answer);
        match (tag, &mut self.drive) {
            (Some(tag), Some(drive)) => {
                drive.queue_failed(tag, answer);
                self.put(host, fis::DEVICE_BITS_AT, &answer.device_bits(0));
                self.events |= event::DEVICE_BITS;
            }
            _ => {
                self.put(host, fis::REGISTERS_AT, &answer.registers(true));
                self.events |= event::REGISTERS;
            }
        }
        self.events |= event::TASK_FILE;
        self.has_failed = true;
    }

    /// A region of the command is in no memory.
    fn bus_error(&mut self, host: &mut dyn Host) {
        let tag = match self.active {
            Some(Active { step: Step::Move(movement, _), .. }) => movement.tag,
            _ => None,
        };
        self.events |= event::BUS_DATA;
        self.fail(host, ERROR_ABORTED, tag);
    }

    /// PRDBC of the header: how many bytes were moved.
    fn tell_moved(&mut self, host: &mut dyn Host, active: &Active) {
        let at = GuestAddr(active.header.wrapping_add(4));
        if host.write(at, &active.prdt.moved.to_le_bytes()).is_err() {
            self.events |= event::BUS_FATAL;
        }
    }
}

fn bytes(sectors: u32) -> usize {
    usize::try_from(sectors).unwrap_or(usize::MAX).saturating_mul(SECTOR)
}

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or(0)
}

fn halves(value: u64) -> [u32; 2] {
    [low(value), low(value >> 32)]
}

fn joined(low: u32, high: u64) -> u64 {
    high << 32 | u64::from(low)
}
