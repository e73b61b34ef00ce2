//! One ATA disk: what its commands do, and the way of their data.
//!
//! Data passes through the transfer buffer that the host has for the disk. A command for many sectors is done in
//! chunks as large as that buffer: one host operation fills or empties it, and the guest takes or gives the data by
//! the data register or the bus master. While the host works, the disk is busy.
//!
//! A command that comes while the host is at work for one that was [cut off](crate::ata::operation) is busy until that ends.
//!
//! Source: ATA/ATAPI-6, chapters 8 (commands) and 9 (protocols).
//! Not modelled: host protected area (READ NATIVE MAX tells the full size), security, media card pass through,
//! power-up in standby, self-tests beyond accepting them. Standby costs no time.
//! Quirk: a failed write and a failed flush end with ABRT, a failed read with UNC; the address is that of the first
//! sector of the chunk that failed.
//! Invariant: the bytes that the guest can reach, `position..block_end`, lie within the chunk, and the chunk within
//! the transfer buffer.

use super::bus_master::BusMaster;
use super::registers::{
    ERROR_ABORTED, Registers, STATUS_BUSY, STATUS_DATA_REQUEST, STATUS_ERROR, STATUS_READY, STATUS_SEEK_COMPLETE,
};
use crate::ata::command::{Command, Depth, Transport};
use crate::ata::geometry::Geometry;
use crate::ata::identify::{self, Identity, MOST_MULTIPLE, Sector, TransferMode};
use crate::ata::operation::Operation;
use crate::ata::trim::{MOST_BLOCKS, Trim};
use crate::host::{DiskError, DiskHost, DiskId, DiskOp, GuestMemory, Unmapped};
use crate::machine::DiskConfig;
use crate::state::{Adopt, StateError};
use serde::{Deserialize, Serialize};

const SECTOR: usize = 512;

/// Error: IDNF, there is no such sector.
const ERROR_ID_NOT_FOUND: u8 = 1 << 4;
/// Error: UNC, the data cannot be read.
const ERROR_UNCORRECTABLE: u8 = 1 << 6;

/// Features of DATA SET MANAGEMENT: TRIM.
const TRIM: u8 = 1 << 0;

/// An ATA disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AtaDisk {
    // Fixed configuration.
    #[serde(skip)]
    config: DiskConfig,
    #[serde(skip)]
    unit: u8,
    #[serde(skip)]
    alone: bool,
    // Guest-visible state.
    geometry: Geometry,
    multiple: u8,
    mode: TransferMode,
    write_cache: bool,
    look_ahead: bool,
    smart: bool,
    standby: bool,
    /// The last command ended with an error.
    failed: bool,
    /// INTRQ.
    interrupt: bool,
    phase: Phase,
    // What the host is doing.
    operation: Operation,
}

/// What a disk is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Idle,
    /// A command waits for the end of an operation that an earlier command left behind.
    Deferred(Command),
    Transfer(Transfer),
    /// Ranges are discarded, one after the other.
    Trimming(Trim),
    /// The last step of a command is to make everything durable.
    Flushing,
}

/// A command with data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Transfer {
    to_disk: bool,
    transport: Transport,
    /// Where the sectors are; `None` for data of the drive itself.
    place: Option<Place>,
    /// Sectors of the command from the start of the chunk on.
    remaining: u32,
    /// Sectors in the transfer buffer.
    chunk: u32,
    /// Sectors for each request of data.
    block: u32,
    /// Bytes of the chunk that the guest took or gave.
    position: usize,
    /// Where in the chunk the block ends that is requested now.
    block_end: usize,
    /// Whose turn it is.
    turn: Turn,
    /// The data is durable before the command ends.
    durable: bool,
}

/// The sectors of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// First sector of the chunk.
    lba: u64,
    depth: Depth,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Turn {
    Host,
    Guest,
}

/// What a command needs beside the disk itself.
pub(super) struct Wiring<'a, H> {
    pub(super) registers: &'a mut Registers,
    pub(super) bus_master: &'a mut BusMaster,
    /// The function may read and write memory.
    pub(super) masters_bus: bool,
    pub(super) host: &'a mut H,
}

impl Adopt for AtaDisk {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        let config = core::mem::take(&mut self.config);
        *self = Self { config, unit: self.unit, alone: self.alone, ..saved };
        Ok(())
    }
}

impl AtaDisk {
    /// Whether the host is at work.
    pub(super) fn awaits_disk(&self) -> bool {
        self.operation != Operation::None
    }

    /// A disk after power on. `alone` says that no other drive is on the channel.
    pub(super) fn new(config: DiskConfig, unit: u8, alone: bool) -> Self {
        let geometry = Geometry::of_disk(config.sectors);
        Self {
            config,
            unit,
            alone,
            geometry,
            multiple: 0,
            mode: TransferMode::Multiword(2),
            write_cache: true,
            look_ahead: true,
            smart: true,
            standby: false,
            failed: false,
            interrupt: false,
            phase: Phase::Idle,
            operation: Operation::default(),
        }
    }

    /// What the host calls the disk.
    pub(super) const fn id(&self) -> DiskId {
        self.config.id
    }

    /// Puts everything to its state at power on, but an operation of the host goes on.
    pub(super) fn reset(&mut self) {
        self.abandon();
        let fresh = Self::new(self.config.clone(), self.unit, self.alone);
        *self = Self { operation: self.operation, ..fresh };
    }

    /// A software reset: commands are cut off, settings stay.
    pub(super) fn software_reset(&mut self) {
        self.abandon();
        self.failed = false;
        self.interrupt = false;
        self.standby = false;
    }

    /// Cuts off the command that is under way.
    fn abandon(&mut self) {
        self.phase = Phase::Idle;
        self.operation.abandon();
    }

    /// The status register.
    pub(super) const fn status(&self) -> u8 {
        let ready = STATUS_READY | STATUS_SEEK_COMPLETE;
        match self.phase {
            Phase::Idle if self.failed => ready | STATUS_ERROR,
            Phase::Idle => ready,
            Phase::Transfer(Transfer {
                turn: Turn::Guest, transport: Transport::Pio | Transport::PioMultiple, ..
            }) => ready | STATUS_DATA_REQUEST,
            Phase::Deferred(_) | Phase::Transfer(_) | Phase::Trimming(_) | Phase::Flushing => ready | STATUS_BUSY,
        }
    }

    /// Whether a command is under way, so that registers cannot be written.
    pub(super) const fn is_occupied(&self) -> bool {
        !matches!(self.phase, Phase::Idle)
    }

    /// INTRQ: the drive asks for an interrupt.
    pub(super) const fn interrupt(&self) -> bool {
        self.interrupt
    }

    /// The status register was read, which takes an interrupt back.
    pub(super) fn acknowledge(&mut self) {
        self.interrupt = false;
    }

    /// Asks for an interrupt: a diagnostic has ended.
    pub(super) fn raise_interrupt(&mut self) {
        self.interrupt = true;
    }

    /// Carries out the command in the registers.
    pub(super) fn command<H: DiskHost + GuestMemory>(&mut self, command: Command, wiring: &mut Wiring<'_, H>) {
        self.interrupt = false;
        self.failed = false;
        if self.operation == Operation::None {
            self.perform(command, wiring);
        } else {
            self.phase = Phase::Deferred(command);
        }
    }

    fn perform<H: DiskHost + GuestMemory>(&mut self, command: Command, wiring: &mut Wiring<'_, H>) {
        let registers = &mut *wiring.registers;
        match command {
            Command::Seek { addressed } => {
                let address = registers.address(Depth::Short, self.geometry);
                if addressed && address.is_none_or(|lba| lba >= self.config.sectors) {
                    self.fail(registers, ERROR_ID_NOT_FOUND);
                } else {
                    self.succeed(registers);
                }
            }
            Command::Read { depth, transport } => self.begin(false, depth, transport, false, wiring),
            Command::Write { .. } if self.config.read_only => self.fail(registers, ERROR_ABORTED),
            Command::Write { depth, transport, force_unit_access } => {
                self.begin(true, depth, transport, force_unit_access, wiring);
            }
            Command::ReadNativeMax(depth) => {
                let most = if depth == Depth::Short { 0x0fff_ffff } else { u64::MAX };
                registers.set_address(self.config.sectors.saturating_sub(1).min(most), depth, self.geometry);
                self.succeed(registers);
            }
            Command::InitializeDeviceParameters => {
                let heads = registers.head().saturating_add(1);
                match Geometry::chosen(self.config.sectors, heads, registers.count.current) {
                    Some(geometry) => {
                        self.geometry = geometry;
                        self.succeed(registers);
                    }
                    None => self.fail(registers, ERROR_ABORTED),
                }
            }
            Command::Smart => self.smart(wiring),
            Command::SetMultipleMode => match registers.count.current {
                count if count == 0 || count.is_power_of_two() && count <= MOST_MULTIPLE => {
                    self.multiple = count;
                    self.succeed(registers);
                }
                _ => self.fail(registers, ERROR_ABORTED),
            },
            Command::Standby => {
                // A drive empties its write cache before it stops its motor.
                self.standby = true;
                self.flush(wiring.host);
            }
            Command::Idle => {
                self.standby = false;
                self.succeed(registers);
            }
            Command::CheckPowerMode => {
                registers.count.current = if self.standby { 0x00 } else { 0xff };
                self.succeed(registers);
            }
            Command::FlushCache => self.flush(wiring.host),
            Command::DataSetManagement => self.begin_trim(wiring),
            Command::IdentifyDevice => {
                let data = self.identity().data();
                self.give(&data, wiring);
            }
            Command::SetFeatures => self.set_features(wiring),
            Command::ExecuteDeviceDiagnostic | Command::Packet | Command::IdentifyPacketDevice | Command::Unknown => {
                self.fail(registers, ERROR_ABORTED);
            }
        }
    }

    fn identity(&self) -> Identity<'_> {
        Identity {
            serial: &self.config.serial,
            model: &self.config.model,
            firmware: &self.config.firmware,
            sectors: self.config.sectors,
            trim: self.can_trim(),
            geometry: self.geometry,
            multiple: self.multiple,
            mode: self.mode,
            smart: self.smart,
            write_cache: self.write_cache,
            look_ahead: self.look_ahead,
            unit: self.unit,
            alone: self.alone,
        }
    }

    fn set_features<H: DiskHost>(&mut self, wiring: &mut Wiring<'_, H>) {
        let registers = &mut *wiring.registers;
        let argument = registers.count.current;
        match registers.features.current {
            0x02 => self.write_cache = true,
            0x82 => {
                self.write_cache = false;
                // What is in the cache is written before the command ends.
                return self.flush(wiring.host);
            }
            0x03 if self.mode.select(argument) => {}
            0x55 => self.look_ahead = false,
            0xaa => self.look_ahead = true,
            // Whether a software reset brings defaults back; it does not.
            0x66 | 0xcc => {}
            _ => return self.fail(registers, ERROR_ABORTED),
        }
        self.succeed(registers);
    }

    fn smart<H: DiskHost>(&mut self, wiring: &mut Wiring<'_, H>) {
        let registers = &mut *wiring.registers;
        let key = (registers.mid.current, registers.high.current);
        let feature = registers.features.current;
        if key != (0x4f, 0xc2) || !self.smart && feature != 0xd8 {
            return self.fail(registers, ERROR_ABORTED);
        }
        match feature {
            0xd0 => self.give(&identify::smart_data(), wiring),
            0xd1 => self.give(&identify::smart_thresholds(), wiring),
            0xd5 => match identify::smart_log(registers.low.current) {
                Some(data) if registers.count.current == 1 => self.give(&data, wiring),
                _ => self.fail(registers, ERROR_ABORTED),
            },
            0xd8 | 0xd9 => {
                self.smart = feature == 0xd8;
                self.succeed(registers);
            }
            // Autosave and saving of attributes; off-line tests, which end at once; the disk's health, which is good.
            0xd2..=0xd4 | 0xda => self.succeed(registers),
            _ => self.fail(registers, ERROR_ABORTED),
        }
    }

    /// Begins a command that moves or checks sectors.
    fn begin<H: DiskHost + GuestMemory>(
        &mut self,
        to_disk: bool,
        depth: Depth,
        transport: Transport,
        durable: bool,
        wiring: &mut Wiring<'_, H>,
    ) {
        self.standby = false;
        let count = wiring.registers.sector_count(depth);
        let block = match transport {
            Transport::PioMultiple if self.multiple == 0 => return self.fail(wiring.registers, ERROR_ABORTED),
            Transport::PioMultiple => self.multiple.into(),
            _ => 1,
        };
        let address = wiring.registers.address(depth, self.geometry);
        let within = |lba: &u64| lba.checked_add(count.into()).is_some_and(|end| end <= self.config.sectors);
        let Some(lba) = address.filter(within) else {
            return self.fail(wiring.registers, ERROR_ID_NOT_FOUND);
        };
        let transfer = Transfer {
            to_disk,
            transport,
            place: Some(Place { lba, depth }),
            remaining: count,
            chunk: 0,
            block,
            position: 0,
            block_end: 0,
            turn: Turn::Host,
            durable: durable || to_disk && !self.write_cache,
        };
        self.next_chunk(transfer, lba, wiring);
    }

    /// Begins DATA SET MANAGEMENT: the bus master brings the ranges first.
    fn begin_trim<H: DiskHost + GuestMemory>(&mut self, wiring: &mut Wiring<'_, H>) {
        let registers = &mut *wiring.registers;
        // All counts that are allowed fit the lower byte; not every driver sets the upper one.
        let blocks = u32::from(registers.count.current);
        if !self.can_trim() || registers.features.current & TRIM == 0 || blocks > MOST_BLOCKS {
            return self.fail(registers, ERROR_ABORTED);
        }
        self.phase = Phase::Transfer(Transfer {
            to_disk: true,
            transport: Transport::Dma,
            place: None,
            remaining: blocks,
            chunk: blocks,
            block: 1,
            position: 0,
            block_end: 0,
            turn: Turn::Guest,
            durable: false,
        });
        self.run_bus_master(wiring);
    }

    /// Discards the next range.
    fn trim<H: DiskHost + GuestMemory>(&mut self, mut trim: Trim, wiring: &mut Wiring<'_, H>) {
        if let Some(op) = trim.next(wiring.host, self.config.id) {
            self.phase = Phase::Trimming(trim);
            self.start(wiring.host, op);
        } else {
            wiring.bus_master.command_ended();
            self.succeed(wiring.registers);
        }
    }

    const fn can_trim(&self) -> bool {
        self.config.discard && !self.config.read_only
    }

    /// Goes on with the sectors from `lba` on, as many of them as fit the transfer buffer.
    fn next_chunk<H: DiskHost + GuestMemory>(&mut self, transfer: Transfer, lba: u64, wiring: &mut Wiring<'_, H>) {
        let room = wiring.host.disk_buffer_len(self.config.id) / SECTOR;
        // A whole number of blocks, so that a block never lies in two chunks.
        let room = u32::try_from(room).unwrap_or(u32::MAX) & !transfer.block.wrapping_sub(1);
        let chunk = transfer.remaining.min(room);
        if chunk == 0 {
            return self.fail(wiring.registers, ERROR_ABORTED);
        }
        let turn = if transfer.to_disk { Turn::Guest } else { Turn::Host };
        self.phase = Phase::Transfer(Transfer { chunk, position: 0, block_end: 0, turn, ..transfer });
        if transfer.to_disk {
            self.offer_chunk(wiring);
        } else {
            self.start(wiring.host, DiskOp::Read { lba, sectors: chunk });
        }
    }

    /// It is the guest's turn with the chunk in the buffer.
    fn offer_chunk<H: DiskHost + GuestMemory>(&mut self, wiring: &mut Wiring<'_, H>) {
        let Phase::Transfer(transfer) = &mut self.phase else { return };
        transfer.turn = Turn::Guest;
        match transfer.transport {
            Transport::Pio | Transport::PioMultiple => transfer.open_block(),
            Transport::Dma => self.run_bus_master(wiring),
            Transport::Verify => self.chunk_taken(wiring),
        }
    }

    /// Offers one sector of the drive's own data through the data register.
    fn give<H: DiskHost>(&mut self, data: &Sector, wiring: &mut Wiring<'_, H>) {
        wiring.host.disk_buffer_write(self.config.id, 0, data);
        self.phase = Phase::Transfer(Transfer {
            to_disk: false,
            transport: Transport::Pio,
            place: None,
            remaining: 1,
            chunk: 1,
            block: 1,
            position: 0,
            block_end: SECTOR,
            turn: Turn::Guest,
            durable: false,
        });
        self.interrupt = true;
    }

    /// Moves the chunk by the bus master, if that runs. Also called when it starts.
    pub(super) fn run_bus_master<H: DiskHost + GuestMemory>(&mut self, wiring: &mut Wiring<'_, H>) {
        let Phase::Transfer(transfer) = &mut self.phase else { return };
        if transfer.transport != Transport::Dma || transfer.turn != Turn::Guest {
            return;
        }
        let Wiring { registers, bus_master, masters_bus, host } = wiring;
        if !bus_master.is_active() {
            return;
        }
        let end = transfer.chunk_bytes();
        while transfer.position < end {
            let most = end.saturating_sub(transfer.position);
            if !*masters_bus && !transfer.to_disk {
                // The bus gives zeros for the table, whose regions have 64 KiB then, and takes what is read nowhere.
                transfer.position = end;
                break;
            }
            let piece = if *masters_bus { bus_master.next_piece(*host, most) } else { Err(Unmapped) };
            let moved = piece.and_then(|piece| {
                let Some((addr, len)) = piece else { return Ok(None) };
                if transfer.to_disk {
                    host.disk_buffer_from_guest(self.config.id, transfer.position, addr, len)?;
                } else {
                    host.disk_buffer_to_guest(self.config.id, transfer.position, addr, len)?;
                }
                Ok(Some(len))
            });
            match moved {
                Ok(Some(len)) => transfer.position = transfer.position.saturating_add(len),
                Ok(None) => {
                    // The command ends without an interrupt; that and the engine's state tell the driver.
                    bus_master.run_dry();
                    self.phase = Phase::Idle;
                    return;
                }
                Err(Unmapped) => {
                    bus_master.fail();
                    return self.fail(registers, ERROR_ABORTED);
                }
            }
        }
        self.chunk_taken(wiring);
    }

    /// The bus master was stopped. A command that it works for is cut off.
    pub(super) fn bus_master_stopped(&mut self, registers: &mut Registers) {
        if matches!(self.phase, Phase::Transfer(Transfer { transport: Transport::Dma, .. })) {
            self.abandon();
            self.failed = true;
            registers.error = ERROR_ABORTED;
        }
    }

    /// The offset in the transfer buffer and the number of the bytes that the data register moves now, if that is in
    /// the asked direction.
    pub(super) const fn data(&self, to_disk: bool) -> Option<(usize, usize)> {
        match self.phase {
            Phase::Transfer(transfer) if matches!(transfer.turn, Turn::Guest) && transfer.to_disk == to_disk => {
                let len = transfer.block_end.saturating_sub(transfer.position);
                if len == 0 { None } else { Some((transfer.position, len)) }
            }
            _ => None,
        }
    }

    /// The data register moved `len` of the bytes that [`Self::data`] told of.
    pub(super) fn data_moved<H: DiskHost + GuestMemory>(&mut self, len: usize, wiring: &mut Wiring<'_, H>) {
        let Phase::Transfer(transfer) = &mut self.phase else { return };
        transfer.position = transfer.position.saturating_add(len).min(transfer.block_end);
        if transfer.position < transfer.block_end {
            return;
        }
        if transfer.position < transfer.chunk_bytes() {
            transfer.open_block();
            self.interrupt = true;
        } else {
            self.chunk_taken(wiring);
        }
    }

    /// The guest has done its part with the chunk.
    fn chunk_taken<H: DiskHost + GuestMemory>(&mut self, wiring: &mut Wiring<'_, H>) {
        let Phase::Transfer(transfer) = &mut self.phase else { return };
        match transfer.place {
            Some(Place { lba, .. }) if transfer.to_disk => {
                transfer.turn = Turn::Host;
                transfer.block_end = 0;
                let sectors = transfer.chunk;
                self.start(wiring.host, DiskOp::Write { lba, sectors });
            }
            None if transfer.to_disk => {
                let (blocks, sectors) = (transfer.chunk, self.config.sectors);
                match Trim::new(wiring.host, self.config.id, blocks, sectors) {
                    Some(trim) => self.trim(trim, wiring),
                    None => {
                        wiring.bus_master.command_ended();
                        self.fail(wiring.registers, ERROR_ABORTED);
                    }
                }
            }
            _ => self.chunk_done(wiring),
        }
    }

    /// Guest and host have both done their part with the chunk.
    fn chunk_done<H: DiskHost + GuestMemory>(&mut self, wiring: &mut Wiring<'_, H>) {
        let Phase::Transfer(mut transfer) = self.phase else { return };
        transfer.remaining = transfer.remaining.saturating_sub(transfer.chunk);
        let next = transfer.place.map(|place| place.lba.saturating_add(transfer.chunk.into()));
        if let (Some(place), Some(lba)) = (&mut transfer.place, next) {
            place.lba = lba;
            wiring.registers.set_address(lba.saturating_sub(1), place.depth, self.geometry);
            wiring.registers.count.current = 0;
            wiring.registers.count.previous = 0;
            if transfer.remaining > 0 {
                self.next_chunk(transfer, lba, wiring);
                // A drive asks for more data to write by an interrupt; for the first of it, it does not.
                self.interrupt |= transfer.to_disk && self.data(true).is_some();
                return;
            }
        }
        if transfer.durable {
            return self.flush(wiring.host);
        }
        let by_data_register = matches!(transfer.transport, Transport::Pio | Transport::PioMultiple);
        if by_data_register && !transfer.to_disk {
            // The interrupt was that of the last block.
            self.phase = Phase::Idle;
            wiring.registers.error = 0;
        } else {
            wiring.bus_master.command_ended();
            self.succeed(wiring.registers);
        }
    }

    fn flush<H: DiskHost>(&mut self, host: &mut H) {
        self.phase = Phase::Flushing;
        self.start(host, DiskOp::Flush);
    }

    fn start<H: DiskHost>(&mut self, host: &mut H, op: DiskOp) {
        debug_assert_eq!(self.operation, Operation::None, "a disk performs one operation at a time");
        self.operation = Operation::Running;
        host.disk_start(self.config.id, op);
    }

    /// How many bytes of the transfer buffer the guest has still to do with.
    pub(super) const fn buffered(&self) -> usize {
        match self.phase {
            Phase::Transfer(Transfer { chunk, .. }) => (chunk as usize).saturating_mul(SECTOR),
            _ => 0,
        }
    }

    /// The host's operation has ended.
    pub(super) fn complete<H: DiskHost + GuestMemory>(
        &mut self,
        result: Result<(), DiskError>,
        wiring: &mut Wiring<'_, H>,
    ) {
        match core::mem::take(&mut self.operation) {
            Operation::None => {}
            Operation::Abandoned => {
                if let Phase::Deferred(command) = self.phase {
                    self.phase = Phase::Idle;
                    self.perform(command, wiring);
                }
            }
            Operation::Running => self.operation_ended(result, wiring),
        }
    }

    fn operation_ended<H: DiskHost + GuestMemory>(
        &mut self,
        result: Result<(), DiskError>,
        wiring: &mut Wiring<'_, H>,
    ) {
        match (self.phase, result) {
            (Phase::Transfer(transfer), Ok(())) if transfer.to_disk => self.chunk_done(wiring),
            (Phase::Transfer(_), Ok(())) => {
                self.offer_chunk(wiring);
                self.interrupt |= self.data(false).is_some();
            }
            (Phase::Transfer(transfer), Err(DiskError)) => {
                if let Some(Place { lba, depth }) = transfer.place {
                    wiring.registers.set_address(lba, depth, self.geometry);
                }
                let error = if transfer.to_disk { ERROR_ABORTED } else { ERROR_UNCORRECTABLE };
                self.fail(wiring.registers, error);
            }
            (Phase::Trimming(trim), Ok(())) => self.trim(trim, wiring),
            (Phase::Trimming(_), Err(DiskError)) => {
                wiring.bus_master.command_ended();
                self.fail(wiring.registers, ERROR_ABORTED);
            }
            (Phase::Flushing, Ok(())) => {
                wiring.bus_master.command_ended();
                self.succeed(wiring.registers);
            }
            (Phase::Flushing, Err(DiskError)) => self.fail(wiring.registers, ERROR_ABORTED),
            (Phase::Idle | Phase::Deferred(_), _) => {}
        }
    }

    /// The command has ended well.
    fn succeed(&mut self, registers: &mut Registers) {
        self.phase = Phase::Idle;
        registers.error = 0;
        self.interrupt = true;
    }

    /// The command has ended with an error.
    fn fail(&mut self, registers: &mut Registers, error: u8) {
        self.phase = Phase::Idle;
        self.failed = true;
        registers.error = error;
        self.interrupt = true;
    }
}

impl Transfer {
    fn chunk_bytes(&self) -> usize {
        usize::try_from(self.chunk).unwrap_or(0).saturating_mul(SECTOR)
    }

    /// Requests the next block of data.
    fn open_block(&mut self) {
        let len = usize::try_from(self.block).unwrap_or(0).saturating_mul(SECTOR);
        self.block_end = self.position.saturating_add(len).min(self.chunk_bytes());
    }
}
