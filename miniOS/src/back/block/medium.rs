//! What a disk's data is on.

use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

use super::super::buffer::Buffer;
use crate::front::block::SECTOR_SIZE;

/// What there is to know of a medium.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Geometry {
    /// Size in sectors of 512 bytes.
    pub sectors: u64,
    /// Bytes in a sector of the medium itself: all access is in multiples of it. 512 to 4096, a power of two.
    pub sector_size: u32,
    /// Bytes that it writes in one piece, at least `sector_size`.
    pub physical_sector_size: u32,
    /// It cannot be written.
    pub is_read_only: bool,
    /// What it is told to forget it does forget.
    pub can_discard: bool,
}

/// A medium failed to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediumError;

impl fmt::Display for MediumError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the medium failed")
    }
}

impl core::error::Error for MediumError {}

/// A disk, in a device or elsewhere. Several operations may be under way at a time, in any order.
///
/// Ranges are checked by the caller: whole sectors of the medium, within it. A buffer is the medium's until the operation
/// is over, even if nobody waits for that any more.
pub trait Medium {
    /// What there is to know of it. The same as long as it is used.
    fn geometry(&self) -> Geometry;

    /// Fills the buffer, from a sector of 512 bytes on.
    fn read(&self, sector: u64, buffer: Buffer) -> impl Future<Output = (Buffer, Result<(), MediumError>)>;

    /// Writes the buffer, from a sector of 512 bytes on.
    fn write(&self, sector: u64, buffer: Buffer) -> impl Future<Output = Result<(), MediumError>>;

    /// Makes durable all that was written before.
    fn flush(&self) -> impl Future<Output = Result<(), MediumError>>;

    /// Says that the content of sectors is of no use any more.
    fn discard(&self, sector: u64, sectors: u64) -> impl Future<Output = Result<(), MediumError>>;
}

/// A disk in memory, which is empty at first.
#[derive(Debug)]
pub struct RamDisk {
    sectors: RefCell<Vec<u8>>,
}

impl RamDisk {
    /// A disk of so many sectors of 512 bytes.
    #[must_use]
    pub fn new(sectors: usize) -> Self {
        Self { sectors: RefCell::new(vec![0; sectors * SECTOR_SIZE]) }
    }

    /// Looks at what is on it.
    pub fn with<T>(&self, look: impl FnOnce(&mut [u8]) -> T) -> T {
        look(&mut self.sectors.borrow_mut())
    }

    fn range<T>(&self, sector: u64, len: usize, work: impl FnOnce(&mut [u8]) -> T) -> Result<T, MediumError> {
        let start = usize::try_from(sector).ok().and_then(|sector| sector.checked_mul(SECTOR_SIZE));
        let range = start.and_then(|start| Some(start..start.checked_add(len)?)).ok_or(MediumError)?;
        self.sectors.borrow_mut().get_mut(range).map(work).ok_or(MediumError)
    }
}

impl Medium for RamDisk {
    fn geometry(&self) -> Geometry {
        Geometry {
            sectors: (self.sectors.borrow().len() / SECTOR_SIZE) as u64,
            sector_size: 512,
            physical_sector_size: 512,
            is_read_only: false,
            can_discard: true,
        }
    }

    async fn read(&self, sector: u64, mut buffer: Buffer) -> (Buffer, Result<(), MediumError>) {
        let result = self.range(sector, buffer.len(), |data| buffer.bytes_mut().copy_from_slice(data));
        (buffer, result)
    }

    async fn write(&self, sector: u64, buffer: Buffer) -> Result<(), MediumError> {
        self.range(sector, buffer.len(), |data| data.copy_from_slice(buffer.bytes()))
    }

    async fn flush(&self) -> Result<(), MediumError> {
        Ok(())
    }

    async fn discard(&self, sector: u64, sectors: u64) -> Result<(), MediumError> {
        let len = usize::try_from(sectors).ok().and_then(|sectors| sectors.checked_mul(SECTOR_SIZE));
        self.range(sector, len.ok_or(MediumError)?, |data| data.fill(0))
    }
}
