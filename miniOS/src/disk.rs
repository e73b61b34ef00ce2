//! A disk as programs want to have it: reads and writes that are awaited, on a [block frontend](crate::front::block).
//!
//! Transfers of any length become pieces of [`PIECE`] bytes, up to [`PIECES`] of which are under way at a time, whoever
//! asked for them. While the backend is away they wait for it, and what it had not answered is asked for again: reading or
//! writing the same once more does no harm.
//!
//! Not modelled: order between transfers that are awaited together; [`Disk::flush`] after a write is what makes it last.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::future::poll_fn;
use core::pin::pin;
use core::task::{Poll, Waker};

use crate::exec::{self, join_all};
use crate::front::block::{Block, Info, Operation, Options, Request, SECTOR_SIZE, SubmitError, TransferError};
use crate::front::{Platform, Shortage};
use crate::xenbus::Status;
use crate::xenstore::Xenstore;

/// Bytes of a piece.
pub const PIECE: usize = 256 << 10;
/// Pieces under way.
pub const PIECES: usize = 4;
/// Sectors of a piece.
const PIECE_SECTORS: usize = PIECE / SECTOR_SIZE;

/// Why a transfer could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// It makes no sense for this disk.
    Refused(SubmitError),
    /// The backend could not do it.
    Failed(TransferError),
    /// There is no such disk any more.
    Ended(Status),
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Failed(error) => error.fmt(f),
            Self::Ended(Status::Failed(error)) => error.fmt(f),
            Self::Ended(_) => f.write_str("the disk was taken away"),
        }
    }
}

impl core::error::Error for DiskError {}

/// A disk. Clones are the same disk.
pub struct Disk<P: Platform> {
    block: Block<P>,
    pieces: Rc<RefCell<Pieces>>,
}

impl<P: Platform> Clone for Disk<P> {
    fn clone(&self) -> Self {
        Self { block: self.block.clone(), pieces: self.pieces.clone() }
    }
}

/// The parts of the transfer buffer, and who waits for a change of one.
#[derive(Default)]
struct Pieces {
    parts: [Part; PIECES],
    wakers: Vec<Waker>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Free,
    /// Somebody fills it, or waits for its transfer.
    Taken,
    /// Its transfer has ended.
    Ended(Result<(), TransferError>),
    /// Nobody waits for its transfer any more.
    Abandoned,
}

/// A part that somebody has, until this is dropped.
struct Taken {
    pieces: Rc<RefCell<Pieces>>,
    index: usize,
    /// The backend has it.
    is_under_way: bool,
}

impl Taken {
    const fn offset(&self) -> usize {
        self.index * PIECE
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut pieces = self.pieces.borrow_mut();
        pieces.parts[self.index] = if self.is_under_way { Part::Abandoned } else { Part::Free };
        pieces.wake();
    }
}

impl Pieces {
    fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }

    fn ended(&mut self, token: u64, result: Result<(), TransferError>) {
        let Some(part) = usize::try_from(token).ok().and_then(|index| self.parts.get_mut(index)) else { return };
        *part = if *part == Part::Abandoned { Part::Free } else { Part::Ended(result) };
        self.wake();
    }
}

impl<P: Platform> Disk<P> {
    /// A disk whose frontend is at `path`, `device/vbd/51712`. Its [`Block::run`] is to be spawned.
    ///
    /// # Errors
    /// There is no memory for its transfer buffer.
    pub fn new(platform: Rc<P>, store: &Xenstore, path: &str) -> Result<Self, Shortage> {
        let options = Options { buffer_len: PIECE * PIECES, transfers: PIECES, patience: None };
        Ok(Self { block: Block::new(platform, store, path, options)?, pieces: Rc::default() })
    }

    /// The frontend.
    #[must_use]
    pub const fn block(&self) -> &Block<P> {
        &self.block
    }

    /// What the backend says of the disk, once it is there.
    ///
    /// # Errors
    /// It will never be.
    pub async fn info(&self) -> Result<Info, DiskError> {
        self.block.session().ready().await.map_err(DiskError::Ended)?;
        Ok(self.block.info())
    }

    /// Reads whole sectors from `lba` on, as many as `data` has room for.
    ///
    /// # Errors
    /// The range is not on the disk, the backend failed, or the disk is gone.
    pub async fn read(&self, lba: u64, data: &mut [u8]) -> Result<(), DiskError> {
        let pieces = (lba..).step_by(PIECE_SECTORS).zip(data.chunks_mut(PIECE));
        all(pieces.map(|(lba, data)| async move {
            let mut part = self.take().await;
            self.transfer(&mut part, Operation::Read, lba, data.len()).await?;
            self.block.buffer_read(part.offset(), data);
            Ok(())
        }))
        .await
    }

    /// Writes whole sectors from `lba` on.
    ///
    /// # Errors
    /// As for [`Self::read`]; what is on the disk then is unknown.
    pub async fn write(&self, lba: u64, data: &[u8]) -> Result<(), DiskError> {
        let pieces = (lba..).step_by(PIECE_SECTORS).zip(data.chunks(PIECE));
        all(pieces.map(|(lba, data)| async move {
            let mut part = self.take().await;
            self.block.buffer_write(part.offset(), data);
            self.transfer(&mut part, Operation::Write, lba, data.len()).await
        }))
        .await
    }

    /// Makes everything last that was written.
    ///
    /// # Errors
    /// The backend failed, or the disk is gone.
    pub async fn flush(&self) -> Result<(), DiskError> {
        let mut part = self.take().await;
        self.transfer(&mut part, Operation::Flush, 0, 0).await
    }

    async fn take(&self) -> Taken {
        let index = self
            .wait(|pieces| {
                let index = pieces.parts.iter().position(|part| *part == Part::Free)?;
                pieces.parts[index] = Part::Taken;
                Some(index)
            })
            .await;
        Taken { pieces: self.pieces.clone(), index, is_under_way: false }
    }

    /// Makes a transfer with a part of the buffer, however often the backend goes away meanwhile.
    async fn transfer(&self, part: &mut Taken, operation: Operation, lba: u64, len: usize) -> Result<(), DiskError> {
        if !len.is_multiple_of(SECTOR_SIZE) {
            return Err(DiskError::Refused(SubmitError::Misaligned));
        }
        let index = part.index;
        let sectors = (len / SECTOR_SIZE) as u64;
        let request = Request { operation, lba, sectors, offset: part.offset(), token: index as u64 };
        loop {
            self.block.session().ready().await.map_err(DiskError::Ended)?;
            match self.block.submit(request) {
                Ok(()) => {}
                // It has just gone away.
                Err(SubmitError::NotConnected) => continue,
                Err(error) => return Err(DiskError::Refused(error)),
            }
            part.is_under_way = true;
            let result = self
                .wait(|pieces| match pieces.parts[index] {
                    Part::Ended(result) => Some(result),
                    _ => None,
                })
                .await;
            part.is_under_way = false;
            match result {
                Ok(()) => return Ok(()),
                Err(TransferError::Gone) => self.pieces.borrow_mut().parts[index] = Part::Taken,
                Err(error) => return Err(DiskError::Failed(error)),
            }
        }
    }

    /// Waits until the parts are such that `look` finds something.
    async fn wait<T>(&self, mut look: impl FnMut(&mut Pieces) -> Option<T>) -> T {
        loop {
            let known = self.block.session().status();
            let mut signal = self.block.port().map(exec::signal);
            let mut moved = pin!(self.block.session().moved(&known));
            let found = poll_fn(|context| {
                loop {
                    self.block.poll(|token, result| self.pieces.borrow_mut().ended(token, result));
                    let mut pieces = self.pieces.borrow_mut();
                    if let Some(found) = look(&mut pieces) {
                        return Poll::Ready(Some(found));
                    }
                    if !pieces.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                        pieces.wakers.push(context.waker().clone());
                    }
                    drop(pieces);
                    // Another connection has another port.
                    if moved.as_mut().poll(context).is_ready() {
                        return Poll::Ready(None);
                    }
                    if signal.as_mut().is_none_or(|signal| signal.poll_wait(context).is_pending()) {
                        return Poll::Pending;
                    }
                }
            })
            .await;
            if let Some(found) = found {
                return found;
            }
        }
    }
}

/// Waits for all, and says what went wrong first.
async fn all(transfers: impl Iterator<Item = impl Future<Output = Result<(), DiskError>>>) -> Result<(), DiskError> {
    join_all(transfers).await.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Executor;
    use crate::front::block::tests::Backend;
    use crate::front::fake::{Bench, FakePlatform};
    use std::vec;
    use xen_abi::Port;

    /// A disk whose backend is there.
    fn connected() -> (Bench, Disk<FakePlatform>, Backend) {
        let mut bench = Bench::new("vbd", 768);
        let path = alloc::string::String::from(bench.path());
        let disk = Disk::new(bench.platform.clone(), &bench.store, &path).unwrap();
        bench.start(disk.block().clone().run());
        let backend = offer(&mut bench);
        (bench, disk, backend)
    }

    fn offer(bench: &mut Bench) -> Backend {
        bench.back("feature-max-indirect-segments", "256");
        bench.back("state", "2");
        let backend = Backend::new(bench);
        for (key, value) in [("sectors", "4096"), ("sector-size", "512"), ("info", "0"), ("state", "4")] {
            bench.back(key, value);
        }
        backend
    }

    /// Lets the program and the backend take turns.
    fn turn(executor: &mut Executor, disk: &Disk<FakePlatform>, backend: &mut Backend) -> usize {
        executor.run();
        let count = backend.serve();
        if let Some(Port(port)) = disk.block().port() {
            exec::signalled(Port(port));
        }
        executor.run();
        count
    }

    #[test]
    fn long_transfers_are_several_pieces_side_by_side() {
        let (_bench, disk, mut backend) = connected();
        let mut executor = Executor::new();
        let data: Vec<u8> = (0..PIECE * 6 + 1024).map(|at| u8::try_from(at / 512 % 251).unwrap()).collect();
        let written = data.clone();
        let task = executor.spawn({
            let disk = disk.clone();
            async move {
                disk.write(8, &written).await?;
                let mut read = vec![0; written.len()];
                disk.read(8, &mut read).await.map(|()| read)
            }
        });
        let mut counts = Vec::new();
        while counts.len() < 4 {
            counts.push(turn(&mut executor, &disk, &mut backend));
        }
        assert_eq!(counts, [4, 3, 4, 3], "the buffer has room for four");
        assert_eq!(task.take().unwrap().unwrap(), data);
        assert_eq!(backend.disk[8 * 512..8 * 512 + data.len()], data);
    }

    #[test]
    fn what_a_backend_has_not_answered_is_asked_of_the_next_one() {
        let (mut bench, disk, _) = connected();
        let mut executor = Executor::new();
        let task = executor.spawn({
            let disk = disk.clone();
            async move { disk.write(0, &[7; 4096]).await }
        });
        executor.run();
        bench.back("state", "5");
        bench.back("state", "6");
        executor.run();
        assert_eq!(task.take(), None);
        let mut backend = offer(&mut bench);
        assert_eq!(turn(&mut executor, &disk, &mut backend), 1);
        assert_eq!(task.take(), Some(Ok(())));
        assert_eq!(backend.disk[..4096], [7; 4096]);
    }

    #[test]
    fn a_transfer_that_nobody_awaits_any_more_leaves_its_piece_when_it_is_over() {
        let (_bench, disk, mut backend) = connected();
        let mut executor = Executor::new();
        for _ in 0..PIECES * 3 {
            let disk = disk.clone();
            executor.spawn(async move {
                let mut data = [0; 512];
                // Given up at once.
                exec::first_of(disk.read(0, &mut data), core::future::ready(())).await;
            });
            executor.run();
        }
        let task = executor.spawn({
            let disk = disk.clone();
            async move { disk.read(0, &mut [0; 512]).await }
        });
        for _ in 0..4 {
            turn(&mut executor, &disk, &mut backend);
        }
        assert_eq!(task.take(), Some(Ok(())));
        assert!(disk.pieces.borrow().parts.iter().all(|part| *part == Part::Free));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let (_bench, disk, _backend) = connected();
        let mut executor = Executor::new();
        let beyond = executor.block_on(disk.read(4096, &mut [0; 512]));
        assert_eq!(beyond, Err(DiskError::Refused(SubmitError::OutOfRange)));
        let half = executor.block_on(disk.write(0, &[0; 100]));
        assert_eq!(half, Err(DiskError::Refused(SubmitError::Misaligned)));
    }
}
