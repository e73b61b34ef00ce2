//! A disk, QEMU's `usb-storage`: SCSI commands by the Bulk-Only Transport.
//!
//! A driver sends a command block wrapper of 31 bytes, which says how much data it expects to go which way; then the data; then
//! the driver asks for a command status wrapper of 13 bytes. Where the data that the driver expects is more than there is,
//! or none of it makes sense, the device halts the endpoint of the data, and the driver lets it go on before it asks for the
//! status. A wrapper that is none halts both endpoints until the driver resets the transport.
//!
//! The data of a command passes through a buffer here, a chunk at a time; while the host reads or writes its disk, the driver
//! hears that there is nothing yet. A command that comes while the host is at work for one that was cut off waits as well.
//!
//! Source: Universal Serial Bus Mass Storage Class, Bulk-Only Transport 1.0: 3 (requests), 4 (descriptors), 5 (wrappers), 6 (the
//! cases in which host and device do not agree on the data). The commands are in [`scsi`].
//! Not modelled: more than one logical unit; data toggles.
//! Invariant: `data` has no more than [`CHUNK`] bytes, `position` lies in it, and the blocks of a phase lie on the disk.

use super::device::{Answer, Attachment, PACKET_MAX, Packet, Reply, Request, Token};
use super::hid::string;
use crate::ata::operation::Operation;
use crate::ata::packet::{GOOD, Sense, UNRECOVERED_READ};
use crate::host::{DiskError, DiskId, DiskOp, Host};
use crate::machine::DiskConfig;
use crate::state::StateError;
use alloc::vec::Vec;
use scsi::Step;
use serde::{Deserialize, Serialize};

mod scsi;
#[cfg(test)]
mod tests;

/// Bytes that go between the disk and the buffer at once. A transfer buffer of the host holds as many.
const CHUNK: usize = 4096;
const CHUNK_BLOCKS: u32 = 8;
/// The endpoints: to the host, and from it.
const BULK_IN: u8 = 0x81;
const BULK_OUT: u8 = 0x02;
/// dCBWSignature, dCSWSignature.
const COMMAND_SIGNATURE: u32 = 0x4342_5355;
const STATUS_SIGNATURE: u32 = 0x5342_5355;
/// What the wrapper of a command, and that of a status, consist of.
const COMMAND_WRAPPER: usize = 31;
/// The host cannot write.
const WRITE_FAULT: Sense = Sense::new(3, 0x0c, 0);

/// bCSWStatus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Status {
    Passed = 0,
    Failed = 1,
    PhaseError = 2,
}

/// Where a command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// The next one is awaited.
    Command,
    /// What is in the buffer goes to the driver, and then these blocks, the first of which are in the buffer or on their
    /// way there.
    ToDriver { lba: u64, blocks: u32 },
    /// What the driver sends goes to these blocks, through the buffer.
    FromDriver { lba: u64, blocks: u32, durable: bool },
    /// Everything is made durable.
    Flush,
    /// It has ended: the driver has to ask how.
    Status(Status),
    /// The driver has to reset the transport.
    Broken,
}

/// The disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Storage {
    // Fixed configuration.
    #[serde(skip)]
    config: DiskConfig,
    // Guest-visible state.
    phase: Phase,
    /// The command's tag.
    tag: u32,
    /// Bytes that the driver expects still.
    expected: u32,
    /// The driver expects data, or has some.
    to_driver: bool,
    /// Why the last command failed.
    sense: Sense,
    data: Vec<u8>,
    position: usize,
    in_halted: bool,
    out_halted: bool,
    // What the host is doing.
    operation: Operation,
}

/// A command block wrapper that makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wrapper {
    tag: u32,
    expected: u32,
    to_driver: bool,
    command: [u8; scsi::COMMAND_LEN],
}

impl Wrapper {
    /// Section 6.2: what is valid, and what is meaningful.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; COMMAND_WRAPPER] = bytes.try_into().ok()?;
        let (head, command) = bytes.split_first_chunk::<15>()?;
        let [s0, s1, s2, s3, t0, t1, t2, t3, l0, l1, l2, l3, flags, unit, len] = *head;
        let word = |bytes| u32::from_le_bytes(bytes);
        let is_valid = word([s0, s1, s2, s3]) == COMMAND_SIGNATURE
            && flags & 0x7f == 0
            && unit == 0
            && (1..=scsi::COMMAND_LEN).contains(&usize::from(len));
        let command = command.try_into().ok().filter(|_| is_valid)?;
        let (tag, expected) = (word([t0, t1, t2, t3]), word([l0, l1, l2, l3]));
        Some(Self { tag, expected, to_driver: flags & 0x80 != 0, command })
    }
}

impl Storage {
    /// A disk after power on.
    #[must_use]
    pub const fn new(config: DiskConfig) -> Self {
        Self {
            config,
            phase: Phase::Command,
            tag: 0,
            expected: 0,
            to_driver: false,
            sense: GOOD,
            data: Vec::new(),
            position: 0,
            in_halted: false,
            out_halted: false,
            operation: Operation::None,
        }
    }

    /// The command is cut off; the next one is awaited.
    fn abandon(&mut self) {
        self.phase = Phase::Command;
        self.data.clear();
        self.position = 0;
        self.operation.abandon();
    }

    /// Begins a command.
    fn begin(&mut self, host: &mut dyn Host, bytes: &[u8]) -> Answer {
        let Some(wrapper) = Wrapper::decode(bytes) else {
            (self.phase, self.in_halted, self.out_halted) = (Phase::Broken, true, true);
            return Answer::Stall;
        };
        (self.tag, self.expected, self.to_driver) = (wrapper.tag, wrapper.expected, wrapper.to_driver);
        let step = scsi::perform(&self.config, &mut self.sense, &wrapper.command);
        let (bytes, is_in) = match &step {
            Step::Done | Step::Fail(_) | Step::Flush => (0, wrapper.to_driver),
            Step::Reply(reply) => (u64::try_from(reply.len()).unwrap_or(u64::MAX), true),
            Step::Read { blocks, .. } => (bytes_of(*blocks), true),
            Step::Write { blocks, .. } => (bytes_of(*blocks), false),
        };
        // Cases 2, 3, 7, 8, 10 and 13: the driver expects less, or the other way.
        if bytes > u64::from(wrapper.expected) || bytes > 0 && is_in != wrapper.to_driver {
            self.end(Status::PhaseError);
            return accepted();
        }
        match step {
            Step::Done => self.end(Status::Passed),
            Step::Fail(sense) => self.fail(sense),
            Step::Reply(reply) => {
                self.data.extend_from_slice(&reply);
                self.phase = Phase::ToDriver { lba: 0, blocks: 0 };
            }
            Step::Read { lba, blocks } => self.read(host, lba, blocks),
            Step::Write { lba, blocks, durable } => self.phase = Phase::FromDriver { lba, blocks, durable },
            Step::Flush => self.flush(host),
        }
        accepted()
    }

    /// A command has ended. Where the driver expects more data, its endpoint is halted: cases 4, 5, 9 and 11.
    fn end(&mut self, status: Status) {
        self.data.clear();
        self.position = 0;
        self.phase = Phase::Status(status);
        if self.expected > 0 {
            if self.to_driver {
                self.in_halted = true;
            } else {
                self.out_halted = true;
            }
        }
    }

    fn fail(&mut self, sense: Sense) {
        self.sense = sense;
        self.end(Status::Failed);
    }

    fn start(&mut self, host: &mut dyn Host, op: DiskOp) {
        self.operation = Operation::Running;
        host.disk_start(self.config.id, op);
    }

    fn read(&mut self, host: &mut dyn Host, lba: u64, blocks: u32) {
        self.data.clear();
        self.position = 0;
        self.phase = Phase::ToDriver { lba, blocks };
        if blocks > 0 {
            self.start(host, DiskOp::Read { lba, sectors: blocks.min(CHUNK_BLOCKS) });
        }
    }

    fn flush(&mut self, host: &mut dyn Host) {
        self.phase = Phase::Flush;
        self.start(host, DiskOp::Flush);
    }

    /// Data for the driver.
    fn give(&mut self, host: &mut dyn Host, lba: u64, blocks: u32) -> Answer {
        let rest = self.data.get(self.position..).unwrap_or(&[]);
        let packet: Packet = rest.iter().copied().take(PACKET_MAX).collect();
        self.position = self.position.saturating_add(packet.len());
        self.count(packet.len());
        if self.position >= self.data.len() {
            // A chunk is read when the one before is through.
            let (lba, blocks) = behind(lba, blocks);
            match blocks {
                0 => {
                    self.end(Status::Passed);
                    // A short packet says by itself that this was all.
                    self.in_halted &= packet.len() == PACKET_MAX;
                }
                _ => self.read(host, lba, blocks),
            }
        }
        Answer::Ack(packet)
    }

    /// Data of the driver.
    fn take(&mut self, host: &mut dyn Host, bytes: &[u8], (lba, blocks, durable): (u64, u32, bool)) -> Answer {
        let chunk = usize::try_from(bytes_of(blocks.min(CHUNK_BLOCKS))).unwrap_or(0);
        self.count(bytes.len());
        let len = self.data.len().saturating_add(bytes.len());
        if len > chunk || len < chunk && bytes.len() < PACKET_MAX {
            // More than was said, or a short packet before the end: not what the wrapper says.
            self.end(Status::PhaseError);
            return accepted();
        }
        self.data.extend_from_slice(bytes);
        if len == chunk {
            host.disk_buffer_write(self.config.id, 0, &self.data);
            self.phase = Phase::FromDriver { lba, blocks, durable };
            self.start(host, DiskOp::Write { lba, sectors: blocks.min(CHUNK_BLOCKS) });
        }
        accepted()
    }

    fn count(&mut self, bytes: usize) {
        self.expected = self.expected.saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// The wrapper of the status: what the driver expected and did not get or give is the residue.
    fn status(&mut self, status: Status) -> Answer {
        self.phase = Phase::Command;
        let words = [STATUS_SIGNATURE, self.tag, self.expected].map(u32::to_le_bytes);
        Answer::Ack(words.into_iter().flatten().chain([status as u8]).collect())
    }
}

/// The transaction went through.
fn accepted() -> Answer {
    Answer::Ack(Packet::new())
}

fn bytes_of(blocks: u32) -> u64 {
    u64::from(blocks).saturating_mul(u64::from(scsi::BLOCK))
}

/// What is behind a chunk.
fn behind(lba: u64, blocks: u32) -> (u64, u32) {
    let chunk = blocks.min(CHUNK_BLOCKS);
    (lba.saturating_add(chunk.into()), blocks.saturating_sub(chunk))
}

impl Attachment for Storage {
    fn of_disk(config: DiskConfig) -> Option<Self> {
        Some(Self::new(config))
    }

    fn reset(&mut self) {
        self.abandon();
        (self.sense, self.in_halted, self.out_halted) = (GOOD, false, false);
    }

    fn descriptor(&self, kind: u8, index: u8) -> Reply {
        let mut bytes = heapless::Vec::new();
        let whole = match (kind, index) {
            // Device: USB 1.1, QEMU's numbers, strings 1 to 3, one configuration.
            (1, 0) => bytes.extend_from_slice(&[18, 1, 0x10, 0x01, 0, 0, 0, 8, 0xf4, 0x46, 0x01, 0, 0, 0, 1, 2, 3, 1]),
            // Configuration with power of its own; interface: mass storage, SCSI commands, Bulk-Only; two bulk endpoints
            // of 64 bytes.
            (2, 0) => bytes
                .extend_from_slice(&[9, 2, 32, 0, 1, 1, 0, 0xc0, 0])
                .and_then(|()| bytes.extend_from_slice(&[9, 4, 0, 0, 2, 8, 6, 0x50, 0]))
                .and_then(|()| bytes.extend_from_slice(&[7, 5, BULK_IN, 2, 64, 0, 0]))
                .and_then(|()| bytes.extend_from_slice(&[7, 5, BULK_OUT, 2, 64, 0, 0])),
            (3, 0) => bytes.extend_from_slice(&[4, 3, 0x09, 0x04]),
            (3, 1) => string(&mut bytes, "Xen"),
            (3, 2) => string(&mut bytes, "USB Storage"),
            (3, 3) => string(&mut bytes, &self.config.serial),
            _ => return None,
        };
        whole.ok().map(|()| bytes)
    }

    fn class_request(&mut self, request: Request) -> Reply {
        match (request.kind, request.code) {
            // Bulk-Only Mass Storage Reset: halts stay until the driver lets the endpoints go on.
            (0x21, 0xff) if (request.value, request.index) == (0, 0) => {
                self.abandon();
                Some(heapless::Vec::new())
            }
            // Get Max LUN: unit 0 is the last one.
            (0xa1, 0xfe) if (request.value, request.index) == (0, 0) => heapless::Vec::from_slice(&[0]).ok(),
            _ => None,
        }
    }

    fn set_halt(&mut self, endpoint: u8, halted: bool) -> bool {
        // Section 6.6.1: after a wrapper that is none, both stay halted until the transport is reset.
        let halted = halted || self.phase == Phase::Broken;
        match endpoint {
            BULK_IN => self.in_halted = halted,
            BULK_OUT => self.out_halted = halted,
            _ => return endpoint & 0x7f == 0,
        }
        true
    }

    fn is_halted(&self, endpoint: u8) -> bool {
        match endpoint {
            BULK_IN => self.in_halted,
            BULK_OUT => self.out_halted,
            _ => false,
        }
    }

    fn transact(&mut self, host: &mut dyn Host, endpoint: u8, token: Token<'_>) -> Answer {
        let is_free = self.operation == Operation::None;
        match (endpoint, token, self.phase) {
            (1, Token::In, _) if self.in_halted => Answer::Stall,
            (2, Token::Out(_), _) if self.out_halted => Answer::Stall,
            (1, Token::In, Phase::ToDriver { lba, blocks }) if is_free => self.give(host, lba, blocks),
            (1, Token::In, Phase::Status(status)) => self.status(status),
            (1, Token::In, _) => Answer::Nak,
            (2, Token::Out(bytes), _) if bytes.len() > PACKET_MAX => Answer::Stall,
            (2, Token::Out(bytes), Phase::Command) if is_free => self.begin(host, bytes),
            (2, Token::Out(bytes), Phase::FromDriver { lba, blocks, durable }) if is_free => {
                self.take(host, bytes, (lba, blocks, durable))
            }
            (2, Token::Out(_), _) => Answer::Nak,
            _ => Answer::Stall,
        }
    }

    fn disk_complete(&mut self, host: &mut dyn Host, disk: DiskId, result: Result<(), DiskError>) {
        if disk != self.config.id || self.operation == Operation::None {
            return;
        }
        if core::mem::take(&mut self.operation) == Operation::Abandoned {
            return;
        }
        match (self.phase, result) {
            (Phase::ToDriver { blocks, .. }, Ok(())) => {
                let len = usize::try_from(bytes_of(blocks.min(CHUNK_BLOCKS))).unwrap_or(0);
                self.data.resize(len, 0);
                host.disk_buffer_read(disk, 0, &mut self.data);
            }
            (Phase::ToDriver { .. }, Err(_)) => self.fail(UNRECOVERED_READ),
            (Phase::FromDriver { lba, blocks, durable }, Ok(())) => {
                self.data.clear();
                match behind(lba, blocks) {
                    (_, 0) if durable => self.flush(host),
                    (_, 0) => self.end(Status::Passed),
                    (lba, blocks) => self.phase = Phase::FromDriver { lba, blocks, durable },
                }
            }
            (Phase::Flush, Ok(())) => self.end(Status::Passed),
            (Phase::FromDriver { .. } | Phase::Flush, Err(_)) => self.fail(WRITE_FAULT),
            (Phase::Command | Phase::Status(_) | Phase::Broken, _) => {}
        }
    }

    fn awaits_disk(&self) -> bool {
        self.operation != Operation::None
    }

    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        let fits = |lba: u64, blocks: u32| lba.checked_add(blocks.into()).is_some_and(|end| end <= self.config.sectors);
        let is_sane = match saved.phase {
            Phase::ToDriver { lba, blocks } => fits(lba, blocks),
            Phase::FromDriver { lba, blocks, .. } => fits(lba, blocks) && !self.config.read_only,
            Phase::Flush => saved.operation == Operation::Running,
            Phase::Command | Phase::Status(_) | Phase::Broken => true,
        };
        if !is_sane || saved.data.len() > CHUNK || saved.position > saved.data.len() {
            return Err(StateError::OtherMachine);
        }
        *self = Self { config: core::mem::take(&mut self.config), ..saved };
        Ok(())
    }
}
