//! The machine's disks on block frontends.
//!
//! The transfer buffer that a device model fills and empties is the very memory that the backend reads and writes.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use devmodel::host::{DiskError, DiskId, DiskOp};
use devmodel::{ahci, machine};
use log::warn;
use minios::front::XenDomain as Domain;
use minios::front::block::{Block, Operation, Request, SubmitError};
use stubdom::config::AHCI_CONTROLLERS;

/// Disks and discs that a machine can have.
const DISKS: usize = machine::DRIVES + AHCI_CONTROLLERS * ahci::PORTS;
/// Bytes in the largest transfer buffer: what one request of 256 segments moves.
const BUFFER_MAX: usize = 1 << 20;
/// Bytes in the smallest one, however many disks there are.
const BUFFER_MIN: usize = 128 << 10;
/// Bytes in all of them together, where that is enough for the smallest ones.
const BUFFERS: usize = 4 << 20;

/// Bytes in the transfer buffer of each of so many disks: a power of two.
pub(super) fn buffer_len(disks: usize) -> usize {
    let share = (BUFFERS / disks.max(1)).clamp(BUFFER_MIN, BUFFER_MAX);
    1 << share.ilog2()
}

/// What a report of the frontend is about: there is only ever one operation of a disk.
const TOKEN: u64 = 0;

/// The disks, numbered as in the machine's configuration.
pub(super) struct Disks {
    disks: Vec<Block<Domain>>,
    /// Operations that could not even be started, to be reported by [`poll`](Self::poll).
    refused: VecDeque<DiskId>,
    /// Something was started since the last look.
    started: bool,
}

impl Disks {
    /// Disks on connected frontends; the index is the [`DiskId`].
    pub(super) fn new(disks: Vec<Block<Domain>>) -> Self {
        Self { disks, refused: VecDeque::new(), started: false }
    }

    /// A disk.
    pub(super) fn get(&self, disk: DiskId) -> Option<&Block<Domain>> {
        self.disks.get(usize::from(disk.0))
    }

    /// Whether an operation may have ended without a signal of a backend: it was refused, or had nothing to do.
    pub(super) fn may_have_ended(&self) -> bool {
        self.started
    }

    /// Starts an operation.
    pub(super) fn start(&mut self, id: DiskId, op: DiskOp) {
        self.started = true;
        let request = |operation, lba, sectors| Request { operation, lba, sectors, offset: 0, token: TOKEN };
        let request = match op {
            DiskOp::Read { lba, sectors } => request(Operation::Read, lba, u64::from(sectors)),
            DiskOp::Write { lba, sectors } => request(Operation::Write, lba, u64::from(sectors)),
            DiskOp::Flush => request(Operation::Flush, 0, 0),
            DiskOp::Discard { lba, sectors } => request(Operation::Discard { secure: false }, lba, sectors),
        };
        let result = match self.get(id) {
            Some(disk) => disk.submit(request),
            None => Err(SubmitError::NotConnected),
        };
        if let Err(error) = result {
            warn!("disk {}: {op:?} refused: {error}", id.0);
            self.refused.push_back(id);
        }
    }

    /// Takes what has ended: at most one operation of each disk.
    pub(super) fn take_ended(&mut self) -> heapless::Vec<(DiskId, Result<(), DiskError>), DISKS> {
        self.started = false;
        let mut ended = heapless::Vec::new();
        // A disk has one operation at a time, so there is room for all.
        while let Some(id) = self.refused.pop_front() {
            let _ = ended.push((id, Err(DiskError)));
        }
        for (disk, id) in self.disks.iter().zip(0..) {
            disk.poll(|_, result| {
                if let Err(error) = result {
                    warn!("disk {id} ({}): {error}", disk.path());
                }
                let _ = ended.push((DiskId(id), result.map_err(|_| DiskError)));
            });
        }
        ended
    }
}
