//! A machine that goes on in another program: what one sends and the other takes over, by QMP's `migrate` and `-incoming`.
//!
//! The sender waits until the other has taken over: eight bytes of length and the state go there, one byte comes back. The
//! disks stay where they are: both have to have been told of the same.
//!
//! Not modelled: QEMU's own form of it, and a machine that runs on while it is sent.

use anyhow::{Result, ensure};
use devmodel::host::DiskOp;
use serde::{Deserialize, Serialize};

use crate::rtc::Rtc;

/// Bytes of a page.
const PAGE: usize = 4096;
/// What a state begins with.
const MARK: [u8; 4] = *b"PC1\0";
/// What says that it was taken over.
pub(crate) const TAKEN: u8 = 1;

/// A machine and its world.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// The devices.
    pub(crate) machine: Vec<u8>,
    /// The time in nanoseconds.
    pub(crate) now: u64,
    /// What was written to port 0xcf8.
    pub(crate) config_address: u32,
    /// The clock of the CMOS.
    pub(crate) rtc: Rtc,
    /// RAM.
    pub(crate) ram: Pages,
    /// Video memory.
    pub(crate) video: Pages,
    /// What the disks are at.
    pub(crate) requests: Vec<Request>,
    /// The names of what is in the USB ports.
    pub(crate) usb: Vec<Option<String>>,
    /// Bytes that wait for room in the serial ports.
    pub(crate) serial_input: Vec<Vec<u8>>,
    /// It runs.
    pub(crate) runs: bool,
    /// It has been reset since its start, so that the boot order is the usual one.
    pub(crate) was_reset: bool,
}

/// Memory: the number of each page that is not all zeros, and the page.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pages(Vec<(usize, Vec<u8>)>);

/// An operation of a disk that has not ended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The disk's number.
    pub(crate) disk: u8,
    op: (Kind, u64, u64),
    /// What is in the transfer buffer.
    pub(crate) buffer: Pages,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Kind {
    Read,
    Write,
    Flush,
    Discard,
}

impl Request {
    /// Describes one.
    pub(crate) fn new(disk: u8, op: DiskOp, buffer: &[u8]) -> Self {
        let op = match op {
            DiskOp::Read { lba, sectors } => (Kind::Read, lba, sectors.into()),
            DiskOp::Write { lba, sectors } => (Kind::Write, lba, sectors.into()),
            DiskOp::Flush => (Kind::Flush, 0, 0),
            DiskOp::Discard { lba, sectors } => (Kind::Discard, lba, sectors),
        };
        Self { disk, op, buffer: Pages::new(buffer) }
    }

    /// The operation.
    pub(crate) fn op(&self) -> Result<DiskOp> {
        let (kind, lba, sectors) = self.op;
        Ok(match kind {
            Kind::Read => DiskOp::Read { lba, sectors: sectors.try_into()? },
            Kind::Write => DiskOp::Write { lba, sectors: sectors.try_into()? },
            Kind::Flush => DiskOp::Flush,
            Kind::Discard => DiskOp::Discard { lba, sectors },
        })
    }
}

impl Pages {
    /// Describes memory.
    pub(crate) fn new(memory: &[u8]) -> Self {
        let pages = memory.chunks(PAGE).enumerate().filter(|(_, page)| page.iter().any(|byte| *byte != 0));
        Self(pages.map(|(number, page)| (number, page.to_vec())).collect())
    }

    /// Makes memory of the same size what it was.
    pub(crate) fn copy_to(&self, memory: &mut [u8]) -> Result<()> {
        memory.fill(0);
        for (number, page) in &self.0 {
            let at = number.saturating_mul(PAGE);
            let there = memory.get_mut(at..at.saturating_add(page.len()));
            ensure!(there.is_some(), "this machine has less memory");
            there.unwrap_or_default().copy_from_slice(page);
        }
        Ok(())
    }
}

impl State {
    /// The bytes that are sent.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let bytes = postcard::to_allocvec(self)?;
        let len = u64::try_from(bytes.len() + MARK.len())?;
        Ok([&len.to_le_bytes()[..], &MARK, &bytes].concat())
    }

    /// Reads what has arrived of them. `None`: not everything has.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Self>> {
        let Some((len, rest)) = bytes.split_first_chunk() else { return Ok(None) };
        let Some(state) = rest.get(..usize::try_from(u64::from_le_bytes(*len))?) else { return Ok(None) };
        let state = state.strip_prefix(&MARK);
        ensure!(state.is_some(), "this is no machine of this version");
        Ok(Some(postcard::from_bytes(state.unwrap_or_default())?))
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn memory_is_sent_without_its_zeros() {
        let mut memory = vec![0; 5 * PAGE + 100];
        (memory[PAGE + 1], memory[5 * PAGE + 99]) = (1, 2);
        let pages = Pages::new(&memory);
        assert_eq!(
            pages.0.iter().map(|(number, page)| (*number, page.len())).collect::<Vec<_>>(),
            [(1, PAGE), (5, 100)]
        );
        let mut other = vec![7; memory.len()];
        pages.copy_to(&mut other).unwrap();
        assert!(other == memory);
        assert!(pages.copy_to(&mut vec![0; 5 * PAGE]).is_err());
    }

    #[test]
    fn what_is_no_state_is_refused() {
        assert!(State::decode(&[1, 0, 0]).unwrap().is_none());
        assert!(State::decode(&[5, 0, 0, 0, 0, 0, 0, 0, 1, 2]).unwrap().is_none());
        assert!(State::decode(&[4, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]).is_err());
        assert!(State::decode(&[4, 0, 0, 0, 0, 0, 0, 0, b'P', b'C', b'1', 0]).is_err(), "nothing follows");
    }
}
