//! Disks: raw files, or zeros. An operation is done when [`Disks::finish`] asks for it, right after the access that
//! started it.
//!
//! Where writes are kept in memory (`snapshot=on`, and zeros that are written to), they lie over what is below.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant as Clock};

use anyhow::{Context, Result};
use devmodel::host::{DiskError, DiskId, DiskOp};

use crate::faults::{Fate, Faults};
use crate::plan::{Backing, Medium};
use crate::video::{copy_from, copy_to};

/// Bytes in the transfer buffer of a disk.
const BUFFER_LEN: usize = 128 << 10;
/// Bytes of a sector.
const SECTOR: usize = 512;

/// One disk.
#[derive(Debug)]
pub(crate) struct Disk {
    /// `None`: zeros.
    file: Option<File>,
    /// Sectors that were written and stay in memory; `None`: they go to the file.
    overlay: Option<BTreeMap<u64, [u8; SECTOR]>>,
    /// Number of sectors.
    pub(crate) sectors: u64,
    /// Writes are refused.
    pub(crate) read_only: bool,
    /// The transfer buffer.
    buffer: Vec<u8>,
    faults: Faults,
    /// When the next write may be done.
    ready: Option<Clock>,
}

/// An operation that was started.
#[derive(Debug)]
struct Request {
    disk: DiskId,
    op: DiskOp,
    /// How many of its events it has passed.
    passed: usize,
}

/// What a request waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wait {
    /// That a client resumes what has this name.
    Tag(String),
    /// That the machine goes on.
    Machine,
    /// Real time: so many bytes are not written at once.
    Time(Clock),
}

/// A request that failed, and stopped the machine.
#[derive(Debug)]
pub(crate) struct Stop {
    /// The drive.
    pub(crate) node: String,
    /// It was a read.
    pub(crate) is_read: bool,
}

/// All of them; a disk's number is its place.
#[derive(Debug, Default)]
pub(crate) struct Disks {
    disks: Vec<Option<Disk>>,
    started: VecDeque<Request>,
    /// Those that wait, and what for.
    waiting: Vec<(Wait, Request)>,
    stop: Option<Stop>,
}

impl Disk {
    /// Opens a medium.
    pub(crate) fn open(medium: &Medium) -> Result<Self> {
        let (file, bytes) = match &medium.backing {
            Backing::Zeros(bytes) => (None, *bytes),
            Backing::File(path) => {
                let file = OpenOptions::new().read(true).write(!medium.read_only && !medium.snapshot).open(path);
                let file = file.with_context(|| format!("cannot open {}", path.display()))?;
                let bytes = file.metadata().with_context(|| format!("cannot ask about {}", path.display()))?.len();
                (Some(file), bytes)
            }
        };
        let overlay = (file.is_none() || medium.snapshot).then(BTreeMap::new);
        let sectors = bytes.div_ceil(512);
        let faults = Faults::new(&medium.faults)?;
        Ok(Self {
            file,
            overlay,
            sectors,
            read_only: medium.read_only,
            buffer: vec![0; BUFFER_LEN],
            faults,
            ready: None,
        })
    }

    /// Until when a write has to wait for those before it, if it has to; if not, those behind it have to wait for it.
    fn throttle(&mut self, op: &DiskOp) -> Option<Clock> {
        let (Some(rate), DiskOp::Write { sectors, .. }) = (self.faults.write_rate(), op) else { return None };
        let now = Clock::now();
        if let Some(at) = self.ready.filter(|at| *at > now) {
            return Some(at);
        }
        let nanoseconds = (u64::from(*sectors) * 512).saturating_mul(1_000_000_000) / rate;
        self.ready = now.checked_add(Duration::from_nanos(nanoseconds));
        None
    }

    fn perform(&mut self, op: DiskOp) -> Result<(), DiskError> {
        match op {
            DiskOp::Read { lba, sectors } => {
                let len = length(sectors)?;
                let data = self.buffer.get_mut(..len).ok_or(DiskError)?;
                data.fill(0);
                if let Some(file) = &self.file {
                    read_to_end(file, lba.checked_mul(512).ok_or(DiskError)?, data)?;
                }
                for (sector, at) in data.chunks_exact_mut(SECTOR).zip(lba..) {
                    if let Some(written) = self.overlay.as_ref().and_then(|overlay| overlay.get(&at)) {
                        sector.copy_from_slice(written);
                    }
                }
                Ok(())
            }
            DiskOp::Write { .. } | DiskOp::Discard { .. } if self.read_only => Err(DiskError),
            DiskOp::Write { lba, sectors } => {
                let data = self.buffer.get(..length(sectors)?).ok_or(DiskError)?;
                match (&mut self.overlay, &self.file) {
                    (Some(overlay), _) => {
                        overlay.extend((lba..).zip(data.as_chunks().0.iter().copied()));
                        Ok(())
                    }
                    (None, Some(file)) => {
                        file.write_all_at(data, lba.checked_mul(512).ok_or(DiskError)?).map_err(|_| DiskError)
                    }
                    (None, None) => Err(DiskError),
                }
            }
            DiskOp::Flush => match &self.file {
                Some(file) if self.overlay.is_none() && !self.read_only => file.sync_data().map_err(|_| DiskError),
                _ => Ok(()),
            },
            // What is of no use any more may stay as it is.
            DiskOp::Discard { .. } => Ok(()),
        }
    }
}

impl Disks {
    /// Adds a disk.
    pub(crate) fn add(&mut self, disk: Disk) -> Result<DiskId> {
        let place = self.disks.iter().position(Option::is_none).unwrap_or(self.disks.len());
        let id = DiskId(u8::try_from(place).context("too many disks")?);
        match self.disks.get_mut(place) {
            Some(free) => *free = Some(disk),
            None => self.disks.push(Some(disk)),
        }
        Ok(id)
    }

    /// Puts another disk in place of one.
    pub(crate) fn replace(&mut self, id: DiskId, disk: Disk) {
        if let Some(place) = self.disk_mut(id) {
            *place = disk;
        }
    }

    /// Takes one away, and what waits for it.
    pub(crate) fn remove(&mut self, id: DiskId) {
        if let Some(place) = self.disks.get_mut(usize::from(id.0)) {
            *place = None;
        }
        self.started.retain(|request| request.disk != id);
        self.waiting.retain(|(_, request)| request.disk != id);
    }

    /// Bytes in the transfer buffer.
    pub(crate) fn buffer_len(&self, id: DiskId) -> usize {
        self.disk(id).map_or(0, |disk| disk.buffer.len())
    }

    /// Notes an operation.
    pub(crate) fn start(&mut self, id: DiskId, op: DiskOp) {
        self.started.push_back(Request { disk: id, op, passed: 0 });
    }

    /// When an operation need not wait any more, by the clock on the wall.
    pub(crate) fn next_ready(&self) -> Option<Clock> {
        let times =
            self.waiting.iter().filter_map(|(wait, _)| if let Wait::Time(at) = wait { Some(*at) } else { None });
        times.min()
    }

    /// Does the oldest operation that was started and need not wait.
    pub(crate) fn finish(&mut self) -> Option<(DiskId, Result<(), DiskError>)> {
        if self.next_ready().is_some() {
            let now = Clock::now();
            self.release(|wait| matches!(wait, Wait::Time(at) if *at <= now));
        }
        loop {
            let mut request = self.started.pop_front()?;
            let id = request.disk;
            let Some(disk) = self.disks.get_mut(usize::from(id.0)).and_then(Option::as_mut) else {
                return Some((id, Err(DiskError)));
            };
            if let Some(at) = disk.throttle(&request.op) {
                self.waiting.push((Wait::Time(at), request));
                continue;
            }
            let result = match disk.faults.fate(&request.op, &mut request.passed) {
                Fate::Goes => disk.perform(request.op),
                Fate::Fails => Err(DiskError),
                Fate::Waits(tag) => {
                    self.waiting.push((Wait::Tag(tag), request));
                    continue;
                }
            };
            if result.is_ok() || !disk.faults.stops_at(&request.op) {
                return Some((id, result));
            }
            let is_read = matches!(request.op, DiskOp::Read { .. });
            self.stop = Some(Stop { node: disk.faults.node().to_owned(), is_read });
            self.waiting.push((Wait::Machine, Request { passed: 0, ..request }));
        }
    }

    /// The operations that wait, each with what its disk's transfer buffer holds.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (DiskId, DiskOp, &[u8])> {
        let requests = self.waiting.iter().map(|(_, request)| request).chain(&self.started);
        requests.map(|request| {
            let buffer = self.disk(request.disk).map_or(&[][..], |disk| &disk.buffer);
            (request.disk, request.op, buffer)
        })
    }

    /// Lets an operation wait for the machine to go on.
    pub(crate) fn add_waiting(&mut self, id: DiskId, op: DiskOp, buffer: &[u8]) {
        self.buffer_write(id, 0, buffer);
        self.waiting.push((Wait::Machine, Request { disk: id, op, passed: 0 }));
    }

    /// What a client may do to the requests of a disk.
    pub(crate) fn faults(&mut self, node: &str) -> Option<&mut Faults> {
        self.disks.iter_mut().flatten().map(|disk| &mut disk.faults).find(|faults| faults.is_called(node))
    }

    /// Those that wait by this name need not any more.
    pub(crate) fn resume(&mut self, tag: &str) {
        self.release(|wait| matches!(wait, Wait::Tag(name) if name == tag));
    }

    /// The machine goes on: what has failed is tried again.
    pub(crate) fn go_on(&mut self) {
        self.release(|wait| *wait == Wait::Machine);
    }

    fn release(&mut self, is_ready: impl Fn(&Wait) -> bool) {
        let ready = self.waiting.extract_if(.., |(wait, _)| is_ready(wait));
        self.started.extend(ready.map(|(_, request)| request));
    }

    /// Why the machine has to stop, once.
    pub(crate) fn take_stop(&mut self) -> Option<Stop> {
        self.stop.take()
    }

    /// Copies from the transfer buffer.
    pub(crate) fn buffer_read(&self, id: DiskId, offset: usize, data: &mut [u8]) {
        copy_from(self.disk(id).map_or(&[][..], |disk| &disk.buffer), offset, data);
    }

    /// Copies to the transfer buffer.
    pub(crate) fn buffer_write(&mut self, id: DiskId, offset: usize, data: &[u8]) {
        if let Some(disk) = self.disk_mut(id) {
            copy_to(&mut disk.buffer, offset, data);
        }
    }

    fn disk(&self, id: DiskId) -> Option<&Disk> {
        self.disks.get(usize::from(id.0))?.as_ref()
    }

    fn disk_mut(&mut self, id: DiskId) -> Option<&mut Disk> {
        self.disks.get_mut(usize::from(id.0))?.as_mut()
    }
}

fn length(sectors: u32) -> Result<usize, DiskError> {
    usize::try_from(sectors).ok().and_then(|sectors| sectors.checked_mul(SECTOR)).ok_or(DiskError)
}

/// Reads up to the end of the file, which need not be the end of a sector.
fn read_to_end(file: &File, mut at: u64, mut data: &mut [u8]) -> Result<(), DiskError> {
    while !data.is_empty() {
        match file.read_at(data, at) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                at += u64::try_from(count).map_err(|_| DiskError)?;
                data = &mut data[count..];
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Err(DiskError),
        }
    }
    Ok(())
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn zeros_keep_what_is_written_to_them() {
        let medium = Medium::new(Backing::Zeros(1 << 20), false);
        let mut disks = Disks::default();
        let id = disks.add(Disk::open(&medium).unwrap()).unwrap();
        disks.buffer_write(id, 512, &[5; 512]);
        disks.start(id, DiskOp::Write { lba: 8, sectors: 2 });
        disks.start(id, DiskOp::Read { lba: 9, sectors: 2 });
        assert_eq!(disks.finish(), Some((id, Ok(()))));
        assert_eq!(disks.finish(), Some((id, Ok(()))));
        assert_eq!(disks.finish(), None);
        let mut data = [1; 1024];
        disks.buffer_read(id, 0, &mut data);
        assert_eq!((data[..512] == [5; 512], data[512..] == [0; 512]), (true, true));
    }

    #[test]
    fn a_read_only_disk_refuses_writes() {
        let medium = Medium::new(Backing::Zeros(1 << 20), true);
        assert_eq!(Disk::open(&medium).unwrap().perform(DiskOp::Write { lba: 0, sectors: 1 }), Err(DiskError));
    }
}
