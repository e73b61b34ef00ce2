//! One CD drive: ATAPI, the way of packets and their data over an ATA channel.
//!
//! The guest gives the command PACKET, then twelve bytes through the data register. What the packet asks for comes back
//! through the data register, in pieces no larger than the guest said it wants, or by the bus master. The interrupt reason
//! register (the sector count) says what a request for data is about. Every packet ends with a status and an interrupt.
//!
//! The disc is a disk of the host, of which 2048 bytes are a block. Reads are done in chunks as large as the transfer
//! buffer. A read that comes while the host is at work for a command that was [cut off](crate::ata::operation) waits for its end.
//!
//! Source: ATA/ATAPI-6, PACKET and DEVICE RESET in chapter 8, their protocols in chapter 9; the packets are in [`crate::ata::packet`].
//! Not modelled: data from the guest (MODE SELECT), overlapped and queued commands.
//! Invariant: the bytes that the guest can reach, `position..block_end`, lie within the chunk, and the chunk within the
//! packet, the reply or the transfer buffer.

use super::disk::Wiring;
use super::registers::{
    ERROR_ABORTED, Registers, STATUS_BUSY, STATUS_DATA_REQUEST, STATUS_ERROR, STATUS_READY, STATUS_SEEK_COMPLETE,
};
use crate::ata::command::{Command, Transport};
use crate::ata::identify::{self, TransferMode};
use crate::ata::operation::Operation;
use crate::ata::packet::{BLOCK, PACKET_LEN, Reply, Sense, State, Step, UNRECOVERED_READ};
use crate::host::{DiskError, DiskHost, DiskId, DiskOp, GuestAddr, GuestMemory, Unmapped};
use crate::machine::{CdConfig, DiscChange, TrayError};
use crate::state::{Adopt, StateError};
use serde::{Deserialize, Serialize};

const BLOCK_LEN: usize = BLOCK as usize;
const SECTORS_PER_BLOCK: u32 = BLOCK / 512;

/// Interrupt reason: C/D, a command packet or a status, not data.
const REASON_COMMAND: u8 = 1 << 0;
/// Interrupt reason: I/O, to the guest.
const REASON_TO_GUEST: u8 = 1 << 1;
/// Features of PACKET: the data goes by the bus master.
const FEATURE_DMA: u8 = 1 << 0;
/// Features of PACKET: overlapped, which is not supported.
const FEATURE_OVERLAPPED: u8 = 1 << 1;

/// The signature of a drive that takes packets, in `mid` and `high`, whether there is a disc in it or not.
pub(super) const SIGNATURE: (u8, u8) = (0x14, 0xeb);

/// A CD drive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CdDrive {
    // Fixed configuration.
    #[serde(skip)]
    config: CdConfig,
    #[serde(skip)]
    unit: u8,
    #[serde(skip)]
    alone: bool,
    // Guest-visible state.
    state: State,
    mode: TransferMode,
    /// Nothing was asked since a reset: not even ready.
    fresh: bool,
    failed: bool,
    interrupt: bool,
    phase: Phase,
    /// The packet, or what answers it without the disc.
    bytes: Reply,
    // What the host is doing.
    operation: Operation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Idle,
    /// A packet's read waits for the end of an operation that an earlier command left behind.
    Deferred(Transfer),
    /// The guest writes a packet.
    Packet {
        position: usize,
        transport: Transport,
        limit: usize,
    },
    Transfer(Transfer),
}

/// Data on its way to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Transfer {
    transport: Transport,
    /// Bytes for each request of data, at most.
    limit: usize,
    /// Where the data comes from; `None` is the reply.
    disc: Option<Extent>,
    /// Bytes in the reply or the transfer buffer.
    chunk: usize,
    /// Bytes of the chunk that the guest took.
    position: usize,
    /// Where in the chunk the block ends that is requested now.
    block_end: usize,
    /// The host is at work.
    waits: bool,
    /// It ends with a status and an interrupt, and says in registers what it is about. IDENTIFY PACKET DEVICE does not.
    is_packet: bool,
}

/// Blocks of the disc from the start of the chunk on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Extent {
    lba: u32,
    blocks: u32,
}

impl Adopt for CdDrive {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        self.state.adopt(saved.state)?;
        let config = core::mem::take(&mut self.config);
        *self = Self { config, unit: self.unit, alone: self.alone, state: self.state.clone(), ..saved };
        Ok(())
    }
}

impl CdDrive {
    /// Whether the host is at work.
    pub(super) fn awaits_disk(&self) -> bool {
        self.operation != Operation::None
    }

    /// A drive after power on. `alone` says that no other drive is on the channel.
    pub(super) fn new(config: CdConfig, unit: u8, alone: bool) -> Self {
        let state = State::new(config.disc);
        Self {
            config,
            unit,
            alone,
            state,
            mode: TransferMode::Multiword(2),
            fresh: true,
            failed: false,
            interrupt: false,
            phase: Phase::Idle,
            bytes: Reply::new(),
            operation: Operation::default(),
        }
    }

    /// What the host calls the disc.
    pub(super) const fn id(&self) -> DiskId {
        self.config.id
    }

    /// Whether the tray is open.
    pub(super) const fn tray_open(&self) -> bool {
        self.state.tray_open()
    }

    /// An operator does something to it. A read that is under way ends as the host ends it.
    pub(super) fn change_disc(&mut self, change: DiscChange) -> Result<(), TrayError> {
        self.state.change_disc(change)
    }

    /// Puts everything to its state at power on, but an operation of the host goes on, and the disc stays.
    pub(super) fn reset(&mut self) {
        self.abandon();
        self.state.power_on();
        let fresh = Self::new(self.config.clone(), self.unit, self.alone);
        *self = Self { operation: self.operation, state: self.state.clone(), ..fresh };
    }

    /// A software reset, or DEVICE RESET: commands are cut off, settings stay.
    pub(super) fn software_reset(&mut self) {
        self.abandon();
        self.state.reset();
        self.fresh = true;
        self.failed = false;
        self.interrupt = false;
    }

    fn abandon(&mut self) {
        self.phase = Phase::Idle;
        self.operation.abandon();
    }

    /// The status register.
    pub(super) const fn status(&self) -> u8 {
        let ready = STATUS_READY | STATUS_SEEK_COMPLETE;
        match self.phase {
            Phase::Idle if self.fresh => 0,
            Phase::Idle if self.failed => ready | STATUS_ERROR,
            Phase::Idle => ready,
            Phase::Packet { .. } => ready | STATUS_DATA_REQUEST,
            Phase::Transfer(Transfer { waits: false, transport: Transport::Pio, .. }) => ready | STATUS_DATA_REQUEST,
            Phase::Transfer(_) | Phase::Deferred(_) => ready | STATUS_BUSY,
        }
    }

    pub(super) const fn is_occupied(&self) -> bool {
        !matches!(self.phase, Phase::Idle)
    }

    pub(super) const fn interrupt(&self) -> bool {
        self.interrupt
    }

    pub(super) fn acknowledge(&mut self) {
        self.interrupt = false;
    }

    pub(super) fn raise_interrupt(&mut self) {
        self.interrupt = true;
    }

    /// Carries out the command in the registers.
    pub(super) fn command<H: DiskHost + GuestMemory>(&mut self, command: Command, wiring: &mut Wiring<'_, H>) {
        self.interrupt = false;
        self.failed = false;
        self.fresh = false;
        let registers = &mut *wiring.registers;
        match command {
            Command::Packet if registers.features.current & FEATURE_OVERLAPPED != 0 => self.abort(registers),
            Command::Packet => {
                let by_dma = registers.features.current & FEATURE_DMA != 0;
                let transport = if by_dma { Transport::Dma } else { Transport::Pio };
                let limit = u16::from_le_bytes([registers.mid.current, registers.high.current]);
                // A whole number of words; none is as many as possible.
                let limit = usize::from(limit & !1);
                let limit = if limit == 0 { 0xfffe } else { limit };
                self.phase = Phase::Packet { position: 0, transport, limit };
                self.bytes = Reply::from_slice(&[0; PACKET_LEN]).unwrap_or_default();
                registers.count.current = REASON_COMMAND;
            }
            Command::IdentifyPacketDevice => {
                let data = identify::packet_device(&self.config, self.mode, self.unit, self.alone);
                self.bytes = Reply::from_slice(&data).unwrap_or_default();
                self.offer(
                    Transfer { is_packet: false, ..Transfer::of_reply(data.len(), Transport::Pio, data.len()) },
                    wiring,
                );
            }
            Command::SetFeatures => {
                let argument = registers.count.current;
                match registers.features.current {
                    0x03 if self.mode.select(argument) => self.succeed(registers),
                    // Whether a software reset brings defaults back; it does not.
                    0x66 | 0xcc => self.succeed(registers),
                    _ => self.abort(registers),
                }
            }
            Command::Standby | Command::Idle => self.succeed(registers),
            Command::CheckPowerMode => {
                registers.count.current = 0xff;
                self.succeed(registers);
            }
            // By these, drivers of disks find out that it is none.
            Command::IdentifyDevice | Command::Read { .. } => {
                registers.set_signature(SIGNATURE.0, SIGNATURE.1);
                self.abort(registers);
            }
            _ => self.abort(registers),
        }
    }

    /// The packet is complete.
    fn perform<H: DiskHost + GuestMemory>(&mut self, transport: Transport, limit: usize, wiring: &mut Wiring<'_, H>) {
        let mut packet = [0; PACKET_LEN];
        for (to, from) in packet.iter_mut().zip(&self.bytes) {
            *to = *from;
        }
        match self.state.perform(&packet) {
            Step::Done => self.succeed(wiring.registers),
            Step::Fail(sense) => self.fail(sense, wiring.registers),
            Step::Reply(reply) => {
                self.bytes = reply;
                self.offer(Transfer::of_reply(self.bytes.len(), transport, limit), wiring);
            }
            Step::Read { lba, blocks } => {
                let disc = Some(Extent { lba, blocks });
                let transfer = Transfer { disc, waits: true, ..Transfer::of_reply(0, transport, limit) };
                if self.operation == Operation::None {
                    self.read_chunk(transfer, wiring);
                } else {
                    self.phase = Phase::Deferred(transfer);
                }
            }
        }
    }

    /// The reply is for the guest.
    fn offer<H: DiskHost + GuestMemory>(&mut self, transfer: Transfer, wiring: &mut Wiring<'_, H>) {
        self.phase = Phase::Transfer(transfer);
        self.offer_chunk(wiring);
    }

    /// Reads as much as fits the transfer buffer.
    fn read_chunk<H: DiskHost>(&mut self, transfer: Transfer, wiring: &mut Wiring<'_, H>) {
        let id = self.id();
        let Some(Extent { lba, blocks }) = transfer.disc else {
            return self.fail(UNRECOVERED_READ, wiring.registers);
        };
        let room = u32::try_from(wiring.host.disk_buffer_len(id) / BLOCK_LEN).unwrap_or(u32::MAX);
        let sectors = blocks.min(room).saturating_mul(SECTORS_PER_BLOCK);
        if sectors == 0 {
            return self.fail(UNRECOVERED_READ, wiring.registers);
        }
        let chunk = usize::try_from(sectors).unwrap_or(0).saturating_mul(512);
        self.phase = Phase::Transfer(Transfer { chunk, position: 0, block_end: 0, waits: true, ..transfer });
        self.operation = Operation::Running;
        let lba = u64::from(lba).saturating_mul(SECTORS_PER_BLOCK.into());
        wiring.host.disk_start(id, DiskOp::Read { lba, sectors });
    }

    /// It is the guest's turn with the chunk.
    fn offer_chunk<H: DiskHost + GuestMemory>(&mut self, wiring: &mut Wiring<'_, H>) {
        let Phase::Transfer(transfer) = &mut self.phase else { return };
        transfer.waits = false;
        if transfer.transport == Transport::Dma {
            return self.run_bus_master(wiring);
        }
        self.open_block(wiring.registers);
    }

    /// Requests that the guest takes the next block.
    fn open_block(&mut self, registers: &mut Registers) {
        let Phase::Transfer(transfer) = &mut self.phase else { return };
        let len = transfer.limit.min(transfer.chunk.saturating_sub(transfer.position));
        transfer.block_end = transfer.position.saturating_add(len);
        if transfer.is_packet {
            let [low, high] = u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes();
            (registers.mid.current, registers.high.current) = (low, high);
            registers.count.current = REASON_TO_GUEST;
        }
        self.interrupt = true;
    }

    /// Moves the chunk by the bus master, if that runs. Also called when it starts.
    pub(super) fn run_bus_master<H: DiskHost + GuestMemory>(&mut self, wiring: &mut Wiring<'_, H>) {
        loop {
            let Phase::Transfer(transfer) = self.phase else { return };
            if transfer.transport != Transport::Dma || transfer.waits || !wiring.bus_master.is_active() {
                return;
            }
            let left = transfer.chunk.saturating_sub(transfer.position);
            if left == 0 {
                return self.chunk_taken(wiring);
            }
            let piece =
                if wiring.masters_bus { wiring.bus_master.next_piece(wiring.host, left) } else { Err(Unmapped) };
            match piece.and_then(|piece| {
                let Some((addr, len)) = piece else { return Ok(None) };
                self.to_guest(wiring.host, transfer.position, addr, len)?;
                Ok(Some(len))
            }) {
                Ok(Some(len)) => {
                    let position = transfer.position.saturating_add(len);
                    self.phase = Phase::Transfer(Transfer { position, ..transfer });
                }
                // The regions are shorter than what there is to say: the rest is lost, as the guest wanted it.
                Ok(None) => {
                    wiring.bus_master.run_dry();
                    return self.succeed(wiring.registers);
                }
                Err(Unmapped) => {
                    wiring.bus_master.fail();
                    return self.abort(wiring.registers);
                }
            }
        }
    }

    /// The bus master was stopped. A command that it works for is cut off.
    pub(super) fn bus_master_stopped(&mut self, registers: &mut Registers) {
        if matches!(self.phase, Phase::Transfer(Transfer { transport: Transport::Dma, .. })) {
            self.abandon();
            self.failed = true;
            registers.error = ERROR_ABORTED;
        }
    }

    /// Offset and number of the bytes that the data register moves now, if that is in the asked direction.
    pub(super) const fn data(&self, to_drive: bool) -> Option<(usize, usize)> {
        let (position, end) = match self.phase {
            Phase::Packet { position, .. } if to_drive => (position, PACKET_LEN),
            Phase::Transfer(transfer) if !to_drive && !transfer.waits => (transfer.position, transfer.block_end),
            _ => return None,
        };
        let len = end.saturating_sub(position);
        if len == 0 { None } else { Some((position, len)) }
    }

    /// How many bytes of the transfer buffer the guest has still to do with.
    pub(super) const fn buffered(&self) -> usize {
        match self.phase {
            Phase::Transfer(Transfer { chunk, disc: Some(_), .. }) => chunk,
            _ => 0,
        }
    }

    /// Reads what [`Self::data`] told of into `data`.
    pub(super) fn read_data<H: DiskHost>(&self, host: &mut H, offset: usize, data: &mut [u8]) {
        match (self.phase, self.id()) {
            (Phase::Transfer(Transfer { disc: Some(_), .. }), id) => host.disk_buffer_read(id, offset, data),
            _ => {
                data.fill(0);
                for (to, from) in data.iter_mut().zip(self.bytes.iter().skip(offset)) {
                    *to = *from;
                }
            }
        }
    }

    /// Writes part of a packet.
    pub(super) fn write_data(&mut self, offset: usize, data: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(offset).zip(data) {
            *to = *from;
        }
    }

    /// Copies `len` bytes of the chunk to guest memory.
    pub(super) fn to_guest<H: DiskHost + GuestMemory>(
        &self,
        host: &mut H,
        offset: usize,
        addr: GuestAddr,
        len: usize,
    ) -> Result<(), Unmapped> {
        match (self.phase, self.id()) {
            (Phase::Transfer(Transfer { disc: Some(_), .. }), id) => host.disk_buffer_to_guest(id, offset, addr, len),
            _ => {
                let end = offset.saturating_add(len).min(self.bytes.len());
                host.write(addr, self.bytes.get(offset..end).unwrap_or_default())
            }
        }
    }

    /// The data register moved `len` of the bytes that [`Self::data`] told of.
    pub(super) fn data_moved<H: DiskHost + GuestMemory>(&mut self, len: usize, wiring: &mut Wiring<'_, H>) {
        match &mut self.phase {
            Phase::Packet { position, transport, limit } => {
                *position = position.saturating_add(len);
                if *position >= PACKET_LEN {
                    let (transport, limit) = (*transport, *limit);
                    self.perform(transport, limit, wiring);
                }
            }
            Phase::Transfer(transfer) => {
                transfer.position = transfer.position.saturating_add(len).min(transfer.block_end);
                if transfer.position < transfer.block_end {
                    return;
                }
                if transfer.position < transfer.chunk {
                    self.open_block(wiring.registers);
                } else {
                    self.chunk_taken(wiring);
                }
            }
            Phase::Idle | Phase::Deferred(_) => {}
        }
    }

    /// The guest has the whole chunk.
    fn chunk_taken<H: DiskHost + GuestMemory>(&mut self, wiring: &mut Wiring<'_, H>) {
        let Phase::Transfer(transfer) = self.phase else { return };
        if let Some(Extent { lba, blocks }) = transfer.disc {
            let done = u32::try_from(transfer.chunk / BLOCK_LEN).unwrap_or(u32::MAX);
            let rest = Extent { lba: lba.saturating_add(done), blocks: blocks.saturating_sub(done) };
            if rest.blocks > 0 {
                return self.read_chunk(Transfer { disc: Some(rest), ..transfer }, wiring);
            }
        }
        wiring.bus_master.command_ended();
        if transfer.is_packet {
            self.succeed(wiring.registers);
        } else {
            self.phase = Phase::Idle;
            wiring.registers.error = 0;
        }
    }

    /// The host's operation has ended.
    pub(super) fn complete<H: DiskHost + GuestMemory>(
        &mut self,
        result: Result<(), DiskError>,
        wiring: &mut Wiring<'_, H>,
    ) {
        match (core::mem::take(&mut self.operation), self.phase, result) {
            (Operation::Abandoned, Phase::Deferred(transfer), _) => self.read_chunk(transfer, wiring),
            (Operation::Running, Phase::Transfer(_), Ok(())) => self.offer_chunk(wiring),
            (Operation::Running, Phase::Transfer(_), Err(DiskError)) => self.fail(UNRECOVERED_READ, wiring.registers),
            _ => {}
        }
    }

    /// The command has ended well.
    fn succeed(&mut self, registers: &mut Registers) {
        self.end(registers);
        registers.error = 0;
    }

    /// A packet has failed: the error register has its sense key.
    fn fail(&mut self, sense: Sense, registers: &mut Registers) {
        const ILLEGAL_REQUEST: u8 = 5;
        self.state.set_sense(sense);
        self.end(registers);
        self.failed = true;
        registers.error = sense.key << 4 | if sense.key == ILLEGAL_REQUEST { ERROR_ABORTED } else { 0 };
    }

    /// A command of ATA is not supported, or has wrong arguments.
    fn abort(&mut self, registers: &mut Registers) {
        self.phase = Phase::Idle;
        self.failed = true;
        self.interrupt = true;
        registers.error = ERROR_ABORTED;
    }

    fn end(&mut self, registers: &mut Registers) {
        if matches!(self.phase, Phase::Packet { .. } | Phase::Transfer(_)) {
            registers.count.current = REASON_COMMAND | REASON_TO_GUEST;
        }
        self.phase = Phase::Idle;
        self.interrupt = true;
    }
}

impl Transfer {
    /// What is in the reply.
    const fn of_reply(len: usize, transport: Transport, limit: usize) -> Self {
        Self { transport, limit, disc: None, chunk: len, position: 0, block_end: 0, waits: false, is_packet: true }
    }
}
