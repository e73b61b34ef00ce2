//! Block frontend: a disk that a backend in another domain serves.
//!
//! Each disk has one *transfer buffer*, granted page by page to the backend for the life of the connection. A transfer
//! is between a range of the disk and a range of that buffer; nothing is copied or granted per transfer, and nothing is
//! allocated. A transfer becomes as few ring requests as possible: up to 256 pages in one where the backend takes
//! indirect segments, else up to 11, and is reported once, when the last of them is answered.
//!
//! Backends known to work: Linux blkback (`vbd`: indirect segments, persistent grants, multi-page ring) and QEMU's
//! `qdisk` (multi-page ring; copies by grant). We always say that we use the same grants for ever
//! (`feature-persistent`); a backend that does not keep them mapped takes no harm from it. Linux blkback writes what it
//! offers of flush, barrier and discard only when it connects, so that is when these are read.
//!
//! Source: Xen's public/io/blkif.h as of 4.20, which says that all sectors on the ring and in `sectors` are 512 bytes,
//! whatever `sector-size` is. QEMU before 9.2 sees that differently when `feature-large-sector-size` is announced,
//! so it is not, and QEMU then refuses disks with larger sectors itself.
//!
//! Disks with larger sectors (`sector-size` 4096): transfers have to be aligned to them and are refused otherwise;
//! reading, modifying and writing back is left to the caller.
//!
//! A flush of a disk whose backend offers neither flush nor barrier is done at once: such a backend has no volatile
//! cache to flush, which is how Linux understands it too. A backend that offers it and then answers "not supported"
//! makes the flush fail.
//!
//! Not modelled: several queues; a transfer's data anywhere but in the transfer buffer.
//!
//! Invariant: a transfer is reported exactly once, as done only when every request of it was answered as done.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::time::Duration;

use xen_abi::io::blkif;
use xen_abi::{PAGE_SIZE, Port};
use zerocopy::{FromBytes, IntoBytes};

use super::{GrantedMemory, Platform, Shortage};
use crate::ring::{FrontRing, InFlight, RingFault, widen};
use crate::shared_mem::{Notify, SharedMem};
use crate::xenbus::{Driver, Link, LinkError, Problem, Session, Status, supervise};
use crate::xenstore::Xenstore;

/// Bytes in a sector of the interface.
pub const SECTOR_SIZE: usize = 512;

/// Segments that we put into one indirect request: 1 MiB.
const INDIRECT_MAX: usize = 256;
/// Pages of segment lists, and so indirect requests in flight.
const TABLES_MAX: usize = 8;
/// The largest ring that we make, as a power of two of pages.
const RING_ORDER_MAX: u32 = 4;

/// How a disk is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes in the transfer buffer; rounded up to pages.
    pub buffer_len: usize,
    /// Transfers that may be under way together.
    pub transfers: usize,
    /// How long the backend may take for each step of the first connection; `None` is as long as it wants.
    pub patience: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self { buffer_len: 256 << 10, transfers: 8, patience: Some(super::PATIENCE) }
    }
}

/// What a transfer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Disk to buffer.
    Read,
    /// Buffer to disk.
    Write,
    /// Buffer to disk, after all writes before it and before all writes after it.
    Barrier,
    /// Makes all writes that were reported as done durable. Range and buffer are not looked at.
    Flush,
    /// Says that the content of a range is of no use any more. The buffer is not looked at.
    Discard {
        /// Nothing of it must be recoverable.
        secure: bool,
    },
}

/// A transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub operation: Operation,
    /// First sector of 512 bytes.
    pub lba: u64,
    /// Sectors of 512 bytes.
    pub sectors: u64,
    /// Where in the transfer buffer, in bytes.
    pub offset: usize,
    /// The caller's name for it, which the report repeats.
    pub token: u64,
}

/// A transfer was not accepted, and nothing of it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// As many transfers are under way as were agreed on; try again after one is reported.
    Full,
    /// There is no backend now.
    NotConnected,
    /// The disk can only be read.
    ReadOnly,
    /// The backend does not offer this.
    Unsupported,
    /// Empty, or beyond the end of the disk or of the transfer buffer.
    OutOfRange,
    /// Not whole sectors of this disk.
    Misaligned,
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "too many transfers under way",
            Self::NotConnected => "no backend",
            Self::ReadOnly => "read-only disk",
            Self::Unsupported => "not offered by the backend",
            Self::OutOfRange => "out of range",
            Self::Misaligned => "not whole sectors",
        })
    }
}

/// A transfer that was accepted has failed. What a write changed on the disk is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferError {
    /// The backend says that it failed.
    Failed,
    /// The backend says that it does not do this.
    Unsupported,
    /// The backend went away before it answered.
    Gone,
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "I/O error",
            Self::Unsupported => "not supported by the backend",
            Self::Gone => "the backend went away",
        })
    }
}

/// What the backend says of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Size in sectors of 512 bytes.
    pub sectors: u64,
    /// Bytes in a sector of the disk itself: transfers must be multiples of it.
    pub sector_size: u32,
    /// `VDISK_READONLY`.
    pub read_only: bool,
    /// `VDISK_REMOVABLE`.
    pub removable: bool,
    /// `VDISK_CDROM`.
    pub cdrom: bool,
    /// What the backend can do.
    pub features: Features,
}

/// What a backend can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `feature-flush-cache`.
    pub flush: bool,
    /// `feature-barrier`.
    pub barrier: bool,
    /// `feature-discard`.
    pub discard: Option<Discard>,
    /// `feature-persistent`.
    pub persistent: bool,
    /// Pages in one request: more than 11 with `feature-max-indirect-segments`.
    pub segments: usize,
    /// Pages of the ring.
    pub ring_pages: usize,
}

/// How ranges can be discarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discard {
    /// `discard-granularity`, bytes; 0 where the backend does not say.
    pub granularity: u32,
    /// `discard-alignment`, bytes to the first extent.
    pub alignment: u32,
    /// `discard-secure`.
    pub secure: bool,
}

/// A disk. Clones are the same disk.
pub struct Block<P: Platform> {
    disk: Rc<Disk<P>>,
}

impl<P: Platform> Clone for Block<P> {
    fn clone(&self) -> Self {
        Self { disk: self.disk.clone() }
    }
}

struct Disk<P: Platform> {
    platform: Rc<P>,
    store: Xenstore,
    path: String,
    options: Options,
    session: Session,
    /// The toolstack has said that nothing is behind it.
    is_empty: Cell<bool>,
    state: RefCell<State<P>>,
}

impl<P: Platform> Block<P> {
    /// A disk that is not connected yet, with its transfer buffer. `path` is its directory, `device/vbd/768`.
    pub fn new(platform: Rc<P>, store: &Xenstore, path: &str, options: Options) -> Result<Self, Shortage> {
        let buffer = GrantedMemory::allocate(&platform, options.buffer_len.div_ceil(PAGE_SIZE).max(1))?;
        let state = State {
            buffer,
            info: Info::default(),
            connection: None,
            transfers: Transfers::new(options.transfers.max(1)),
        };
        let disk = Disk {
            platform,
            store: store.clone(),
            path: path.to_string(),
            options,
            session: Session::default(),
            is_empty: Cell::new(false),
            state: RefCell::new(state),
        };
        Ok(Self { disk: Rc::new(disk) })
    }

    /// Connects the disk and keeps it connected. A task that ends when the disk does.
    pub async fn run(self) {
        let disk = &*self.disk;
        supervise(&*disk.platform, &disk.store, &disk.path, disk, &disk.session, disk.options.patience).await;
    }

    /// Whether the toolstack has said that nothing is behind the disk, so that its backend need not ever connect.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.disk.is_empty.get() && self.session().status() == Status::Connecting
    }

    /// Where the disk stands.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.disk.session
    }

    /// The disk's directory.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.disk.path
    }

    /// What the backend says of the disk; all zero before it is connected.
    #[must_use]
    pub fn info(&self) -> Info {
        self.disk.state.borrow().info
    }

    /// The port that fires when [`poll`](Self::poll) should be called. Another one after each connection.
    #[must_use]
    pub fn port(&self) -> Option<Port> {
        self.disk.state.borrow().connection.as_ref().map(|connection| connection.channel.port())
    }

    /// Bytes in the transfer buffer.
    #[must_use]
    pub fn buffer_len(&self) -> usize {
        self.disk.state.borrow().buffer.memory().map_or(0, SharedMem::len)
    }

    /// Gives access to the transfer buffer, for copies between it and something else. `None` while there is none,
    /// because a backend that went away holds on to the old one.
    pub fn with_buffer<T>(&self, work: impl FnOnce(&P::Memory) -> T) -> Option<T> {
        self.disk.state.borrow().buffer.memory().map(work)
    }

    /// Copies from the transfer buffer. What lies beyond its end reads as zero.
    pub fn buffer_read(&self, offset: usize, data: &mut [u8]) {
        let copied = self.with_buffer(|buffer| {
            let len = data.len().min(buffer.len().saturating_sub(offset));
            if len > 0 {
                buffer.read(offset, &mut data[..len]);
            }
            len
        });
        data[copied.unwrap_or(0)..].fill(0);
    }

    /// Copies into the transfer buffer. What lies beyond its end is dropped.
    pub fn buffer_write(&self, offset: usize, data: &[u8]) {
        self.with_buffer(|buffer| {
            let len = data.len().min(buffer.len().saturating_sub(offset));
            if len > 0 {
                buffer.write(offset, &data[..len]);
            }
        });
    }

    /// Starts a transfer. Its end is reported by [`poll`](Self::poll), which may have news at once.
    pub fn submit(&self, request: Request) -> Result<(), SubmitError> {
        self.disk.state.borrow_mut().submit(request)
    }

    /// Reports what has ended, as `report(token, result)`. `report` may submit new transfers.
    pub fn poll(&self, mut report: impl FnMut(u64, Result<(), TransferError>)) {
        let collected = self.disk.state.borrow_mut().collect();
        if let Err(fault) = collected {
            self.disk.state.borrow_mut().disconnect();
            self.disk.session.fault(fault);
        }
        // No more than were under way, so that a caller who submits in `report` does not keep us here.
        for _ in 0..self.disk.options.transfers.max(1) {
            let Some((token, result)) = self.disk.state.borrow_mut().transfers.take_ended() else { return };
            report(token, result);
        }
    }

    /// Whether [`poll`](Self::poll) has something to report without looking at the ring.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        !self.disk.state.borrow().transfers.ended.is_empty()
    }
}

impl<P: Platform> Driver for Disk<P> {
    /// What the backend is to serve is in `params`, behind the name of a format for some backends.
    async fn found(&self, link: &Link) -> Result<(), LinkError> {
        let params = link.backend_value::<String>("params").await?;
        self.is_empty.set(params.is_some_and(|params| params.rsplit(':').next() == Some("")));
        Ok(())
    }

    async fn prepare(&self, link: &Link) -> Result<Vec<(String, String)>, LinkError> {
        let segments = read_segments(link);
        let order = link.backend_value::<u32>("max-ring-page-order");
        let pages = link.backend_value::<u32>("max-ring-pages");
        let (segments, order, pages) = (segments.await?, order.await?, pages.await?);
        let offered = order.or(pages.and_then(u32::checked_ilog2)).unwrap_or(0).min(RING_ORDER_MAX);
        let short = |shortage| link.error(Problem::Shortage(shortage));

        let mut state = self.state.borrow_mut();
        let buffer_pages = self.options.buffer_len.div_ceil(PAGE_SIZE).max(1);
        if state.buffer.memory().is_none() {
            state.buffer = GrantedMemory::allocate(&self.platform, buffer_pages).map_err(short)?;
        }
        state.buffer.grant(link.backend_domain()).map_err(short)?;

        // Room for everything that can be under way, so that nothing waits for a slot when the backend is able.
        let wanted = buffer_pages / segments + 2 * self.options.transfers;
        let fits = |order: &u32| {
            widen(FrontRing::<GrantedMemory<P>, { blkif::SLOT_LEN }>::slots_in(PAGE_SIZE << order)) >= wanted
        };
        let order = (0..offered).find(fits).unwrap_or(offered);
        let mut pages = GrantedMemory::allocate(&self.platform, 1 << order).map_err(short)?;
        pages.grant(link.backend_domain()).map_err(short)?;
        let indirect = segments > blkif::BLKIF_MAX_SEGMENTS_PER_REQUEST;
        let tables = if indirect {
            let count = TABLES_MAX.min(self.options.transfers).max(1);
            let mut tables = GrantedMemory::allocate(&self.platform, count).map_err(short)?;
            tables.grant(link.backend_domain()).map_err(short)?;
            Some(tables)
        } else {
            None
        };
        let channel = self.platform.open_channel(link.backend_domain()).map_err(short)?;

        let mut keys = Vec::new();
        let mut key = |name: &str, value: &dyn fmt::Display| keys.push((name.to_string(), value.to_string()));
        if order == 0 {
            key("ring-ref", &pages.reference(0));
        } else {
            key("ring-page-order", &order);
            key("num-ring-pages", &(1_u32 << order));
            for page in 0..1 << order {
                key(&format!("ring-ref{page}"), &pages.reference(page));
            }
        }
        key("event-channel", &channel.port());
        key("protocol", &"x86_64-abi");
        // Whether the backend keeps grants mapped is said only when it is connected; ours can be kept in any case.
        key("feature-persistent", &1);

        state.info.features = Features { segments, ring_pages: 1 << order, ..Features::default() };
        state.connection = Some(Connection::new(pages, tables, channel));
        Ok(keys)
    }

    async fn connected(&self, link: &Link) -> Result<(), LinkError> {
        self.read_info(link).await
    }

    async fn changed(&self, link: &Link) -> Result<(), LinkError> {
        // A backend that grows or shrinks its disk writes `sectors` and then its state once more.
        self.read_info(link).await
    }

    fn disconnected(&self) {
        self.state.borrow_mut().disconnect();
    }

    fn release(&self) {
        let mut state = self.state.borrow_mut();
        state.connection = None;
        state.buffer.revoke();
    }
}

impl<P: Platform> Disk<P> {
    /// Reads what the backend writes when it connects.
    async fn read_info(&self, link: &Link) -> Result<(), LinkError> {
        let device = self.path.rsplit('/').next().and_then(|name| name.parse::<u32>().ok()).unwrap_or(0);
        let (sectors, size, info) = (
            link.backend_value::<u64>("sectors"),
            link.backend_value::<u32>("sector-size"),
            link.backend_value::<u32>("info"),
        );
        let features = read_features(link);
        let sectors = sectors.await?.unwrap_or(0);
        let features = features.await?;
        let (sector_size, info) = (size.await?.unwrap_or(512), info.await?.unwrap_or(0));
        let malformed = |key, value: String| Err(link.error(Problem::Malformed { key, value }));
        if sectors.checked_mul(512).is_none() {
            return malformed("sectors", sectors.to_string());
        }
        if !sector_size.is_power_of_two() || !(512..=4096).contains(&sector_size) {
            return malformed("sector-size", sector_size.to_string());
        }
        let mut state = self.state.borrow_mut();
        state.info = Info {
            sectors,
            sector_size,
            read_only: info & blkif::VDISK_READONLY != 0,
            removable: info & blkif::VDISK_REMOVABLE != 0,
            cdrom: info & blkif::VDISK_CDROM != 0,
            features: Features {
                segments: state.info.features.segments,
                ring_pages: state.info.features.ring_pages,
                ..features
            },
        };
        if let Some(connection) = &mut state.connection {
            // Backends go by their own directory; the field is 16 bits wide, extended device numbers are cut off.
            connection.handle = u16::try_from(device & 0xffff).unwrap_or(0);
            connection.up = true;
        }
        Ok(())
    }
}

/// Reads what the backend offers before it is connected: pages in one request.
async fn read_segments(link: &Link) -> Result<usize, LinkError> {
    let offered = link.backend_value::<usize>("feature-max-indirect-segments").await?;
    Ok(offered.unwrap_or(0).clamp(blkif::BLKIF_MAX_SEGMENTS_PER_REQUEST, INDIRECT_MAX))
}

/// Reads what the backend offers once it is connected. Linux blkback writes most of it only then.
async fn read_features(link: &Link) -> Result<Features, LinkError> {
    let (flush, barrier) = (link.backend_flag("feature-flush-cache"), link.backend_flag("feature-barrier"));
    let (discard, secure) = (link.backend_flag("feature-discard"), link.backend_flag("discard-secure"));
    let granularity = link.backend_value("discard-granularity");
    let alignment = link.backend_value("discard-alignment");
    let persistent = link.backend_flag("feature-persistent");
    let discard = if discard.await? {
        let (granularity, alignment) = (granularity.await?.unwrap_or(0), alignment.await?.unwrap_or(0));
        Some(Discard { granularity, alignment, secure: secure.await? })
    } else {
        None
    };
    let (flush, barrier, persistent) = (flush.await?, barrier.await?, persistent.await?);
    Ok(Features { flush, barrier, discard, persistent, ..Features::default() })
}

struct State<P: Platform> {
    buffer: GrantedMemory<P>,
    info: Info,
    connection: Option<Connection<P>>,
    transfers: Transfers,
}

impl<P: Platform> State<P> {
    fn submit(&mut self, request: Request) -> Result<(), SubmitError> {
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.up) else {
            return Err(SubmitError::NotConnected);
        };
        let info = &self.info;
        let supported = match request.operation {
            Operation::Read | Operation::Write | Operation::Flush => true,
            Operation::Barrier => info.features.barrier,
            Operation::Discard { secure } => info.features.discard.is_some_and(|offered| offered.secure || !secure),
        };
        if !supported {
            return Err(SubmitError::Unsupported);
        }
        if info.read_only && !matches!(request.operation, Operation::Read | Operation::Flush) {
            return Err(SubmitError::ReadOnly);
        }
        let has_data = matches!(request.operation, Operation::Read | Operation::Write | Operation::Barrier);
        if request.operation != Operation::Flush {
            let end = request.lba.checked_add(request.sectors).filter(|_| request.sectors != 0);
            if end.is_none_or(|end| end > info.sectors) {
                return Err(SubmitError::OutOfRange);
            }
        }
        if has_data {
            let unit = u64::from(info.sector_size) / 512;
            let offset = u64::try_from(request.offset).unwrap_or(u64::MAX);
            let aligned = offset.is_multiple_of(u64::from(info.sector_size));
            if !aligned || !request.lba.is_multiple_of(unit) || !request.sectors.is_multiple_of(unit) {
                return Err(SubmitError::Misaligned);
            }
            let room = self.buffer.memory().map_or(0, SharedMem::len).saturating_sub(request.offset) / SECTOR_SIZE;
            if request.sectors > u64::try_from(room).unwrap_or(0) {
                return Err(SubmitError::OutOfRange);
            }
        }
        let pointless = request.operation == Operation::Flush && !info.features.flush && !info.features.barrier;
        let slot = self.transfers.insert(request).ok_or(SubmitError::Full)?;
        if pointless {
            self.transfers.end(slot, Ok(()));
            return Ok(());
        }
        self.transfers.waiting.push_back(slot);
        connection.issue(&mut self.transfers, &self.buffer, &self.info.features);
        Ok(())
    }

    /// Takes answers off the ring, and issues what waited for room.
    fn collect(&mut self) -> Result<(), RingFault> {
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.up) else { return Ok(()) };
        loop {
            connection.take_answers(&mut self.transfers)?;
            connection.issue(&mut self.transfers, &self.buffer, &self.info.features);
            if !connection.ring.arm()? {
                return Ok(());
            }
        }
    }

    /// Ends the use of the ring. What is under way fails.
    fn disconnect(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.up = false;
            connection.in_flight.drain(|_| ());
        }
        self.transfers.fail_all();
    }
}

/// The transfers that are under way or not reported. Nothing here allocates after `new`.
struct Transfers {
    slots: Vec<Option<Transfer>>,
    /// Transfers of which a part was not issued, oldest first. Only the first is issued, so that barriers hold.
    waiting: VecDeque<usize>,
    /// Transfers that were not reported.
    ended: VecDeque<usize>,
}

struct Transfer {
    request: Request,
    /// Sectors that were issued.
    issued: u64,
    /// Ring requests that were not answered.
    unanswered: u32,
    result: Result<(), TransferError>,
}

impl Transfers {
    fn new(capacity: usize) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(capacity, || None);
        Self { slots, waiting: VecDeque::with_capacity(capacity), ended: VecDeque::with_capacity(capacity) }
    }

    fn insert(&mut self, request: Request) -> Option<usize> {
        let free = self.slots.iter().position(Option::is_none)?;
        self.slots[free] = Some(Transfer { request, issued: 0, unanswered: 0, result: Ok(()) });
        Some(free)
    }

    fn end(&mut self, slot: usize, result: Result<(), TransferError>) {
        if let Some(Some(transfer)) = self.slots.get_mut(slot) {
            transfer.result = result;
            self.ended.push_back(slot);
        }
    }

    fn take_ended(&mut self) -> Option<(u64, Result<(), TransferError>)> {
        let transfer = self.slots.get_mut(self.ended.pop_front()?)?.take()?;
        Some((transfer.request.token, transfer.result))
    }

    /// One ring request of a transfer was answered.
    fn answered(&mut self, slot: usize, result: Result<(), TransferError>) {
        let Some(Some(transfer)) = self.slots.get_mut(slot) else { return };
        transfer.unanswered = transfer.unanswered.saturating_sub(1);
        if result.is_err() && transfer.result.is_ok() {
            transfer.result = result;
            // The rest of it would be of no use.
            self.waiting.retain(|waiting| *waiting != slot);
        }
        if transfer.unanswered == 0 && !self.waiting.contains(&slot) {
            self.ended.push_back(slot);
        }
    }

    /// Everything that has not ended fails, because the backend went away.
    fn fail_all(&mut self) {
        self.waiting.clear();
        for (slot, transfer) in self.slots.iter_mut().enumerate() {
            let Some(transfer) = transfer else { continue };
            if !self.ended.contains(&slot) {
                transfer.result = Err(TransferError::Gone);
                self.ended.push_back(slot);
            }
        }
    }
}

/// A ring and all that belongs to it.
struct Connection<P: Platform> {
    ring: FrontRing<GrantedMemory<P>, { blkif::SLOT_LEN }>,
    /// Pages for the segment lists of indirect requests, if the backend takes them.
    tables: Option<GrantedMemory<P>>,
    free_tables: Vec<usize>,
    channel: P::Channel,
    in_flight: InFlight<Owner>,
    handle: u16,
    /// Whether the backend is connected to it.
    up: bool,
}

/// Whose a ring request is.
#[derive(Clone, Copy, Debug)]
struct Owner {
    transfer: usize,
    /// The page of its segment list.
    table: Option<usize>,
}

impl<P: Platform> Connection<P> {
    fn new(pages: GrantedMemory<P>, tables: Option<GrantedMemory<P>>, channel: P::Channel) -> Self {
        let ring = FrontRing::new(pages);
        let free_tables = (0..tables.as_ref().map_or(0, |tables| tables.len() / PAGE_SIZE)).collect();
        let in_flight = InFlight::new(ring.slots());
        Self { ring, tables, free_tables, channel, in_flight, handle: 0, up: false }
    }

    /// Takes all answers that are on the ring.
    fn take_answers(&mut self, transfers: &mut Transfers) -> Result<(), RingFault> {
        while let Some(bytes) = self.ring.pop::<{ size_of::<blkif::Response>() }>()? {
            let Ok(response) = blkif::Response::read_from_bytes(&bytes) else { return Ok(()) };
            let owner = self.in_flight.take(response.id).ok_or(RingFault::UnknownId { id: response.id })?;
            self.free_tables.extend(owner.table);
            let result = match response.status {
                blkif::BLKIF_RSP_OKAY => Ok(()),
                blkif::BLKIF_RSP_EOPNOTSUPP => Err(TransferError::Unsupported),
                _ => Err(TransferError::Failed),
            };
            transfers.answered(owner.transfer, result);
        }
        Ok(())
    }

    /// Issues as much of the waiting transfers as there is room for, and shows it to the backend.
    fn issue(&mut self, transfers: &mut Transfers, buffer: &GrantedMemory<P>, features: &Features) {
        while let Some(&slot) = transfers.waiting.front() {
            let Some(Some(transfer)) = transfers.slots.get_mut(slot) else { return };
            if self.ring.free() == 0 || !self.in_flight.has_room() || !self.issue_one(slot, transfer, buffer, features)
            {
                break;
            }
            let request = &transfer.request;
            let is_ranged = matches!(request.operation, Operation::Read | Operation::Write | Operation::Barrier);
            if !is_ranged || transfer.issued == request.sectors {
                transfers.waiting.pop_front();
            }
        }
        if self.ring.publish() {
            self.channel.notify();
        }
    }

    /// Issues the next ring request of a transfer. `false`: something that it needs is in use.
    fn issue_one(
        &mut self,
        slot: usize,
        transfer: &mut Transfer,
        buffer: &GrantedMemory<P>,
        features: &Features,
    ) -> bool {
        let request = transfer.request;
        let (code, has_data) = match request.operation {
            Operation::Read => (blkif::BLKIF_OP_READ, true),
            Operation::Write => (blkif::BLKIF_OP_WRITE, true),
            Operation::Barrier => (blkif::BLKIF_OP_WRITE_BARRIER, true),
            Operation::Flush if features.flush => (blkif::BLKIF_OP_FLUSH_DISKCACHE, false),
            // A barrier without data does it too.
            Operation::Flush => (blkif::BLKIF_OP_WRITE_BARRIER, false),
            Operation::Discard { .. } => (blkif::BLKIF_OP_DISCARD, false),
        };
        let done = usize::try_from(transfer.issued).unwrap_or(usize::MAX);
        let remaining = usize::try_from(request.sectors - transfer.issued).unwrap_or(usize::MAX);
        let start = request.offset + done * SECTOR_SIZE;
        let pages = Spans { offset: start, sectors: if has_data { remaining } else { 0 } };
        let direct = blkif::BLKIF_MAX_SEGMENTS_PER_REQUEST;
        // Indirect barriers do not exist.
        let is_indirect = features.segments > direct
            && request.operation != Operation::Barrier
            && pages.clone().nth(direct).is_some();
        let table = if is_indirect {
            match self.free_tables.pop() {
                Some(table) => Some(table),
                None => return false,
            }
        } else {
            None
        };
        let Ok(id) = self.in_flight.insert(Owner { transfer: slot, table }) else {
            self.free_tables.extend(table);
            return false;
        };
        let sector_number = match request.operation {
            Operation::Flush => 0,
            _ => request.lba + transfer.issued,
        };
        let mut bytes = [0; blkif::SLOT_LEN];
        let mut sectors = 0;
        let segments = pages.take(if is_indirect { features.segments } else { direct }).map(|span| {
            sectors += u64::from(span.last - span.first) + 1;
            let (first_sect, last_sect) = (span.first, span.last);
            blkif::Segment { gref: buffer.reference(span.page), first_sect, last_sect, padding: 0 }
        });
        if let (Some(table), Some(tables)) = (table, &self.tables) {
            let mut list = [blkif::Segment::default(); INDIRECT_MAX];
            let mut count: u16 = 0;
            for (entry, segment) in list.iter_mut().zip(segments) {
                *entry = segment;
                count += 1;
            }
            tables.write(table * PAGE_SIZE, list[..usize::from(count)].as_bytes());
            let mut indirect = blkif::RequestIndirect {
                operation: blkif::BLKIF_OP_INDIRECT,
                indirect_op: code,
                nr_segments: count,
                id,
                sector_number,
                handle: self.handle,
                ..Default::default()
            };
            indirect.indirect_grefs[0] = tables.reference(table);
            bytes[..size_of::<blkif::RequestIndirect>()].copy_from_slice(indirect.as_bytes());
        } else if let Operation::Discard { secure } = request.operation {
            let discard = blkif::RequestDiscard {
                operation: code,
                flag: if secure { blkif::BLKIF_DISCARD_SECURE } else { 0 },
                handle: self.handle,
                id,
                sector_number,
                nr_sectors: request.sectors,
                ..Default::default()
            };
            bytes[..size_of::<blkif::RequestDiscard>()].copy_from_slice(discard.as_bytes());
        } else {
            let mut direct =
                blkif::Request { operation: code, handle: self.handle, id, sector_number, ..Default::default() };
            for (entry, segment) in direct.seg.iter_mut().zip(segments) {
                *entry = segment;
                direct.nr_segments += 1;
            }
            bytes.copy_from_slice(direct.as_bytes());
        }
        transfer.issued += sectors;
        transfer.unanswered += 1;
        // There is room: the caller looked.
        self.ring.push(&bytes)
    }
}

/// The sectors of a range of the transfer buffer, page by page.
#[derive(Clone, Debug)]
struct Spans {
    offset: usize,
    sectors: usize,
}

struct Span {
    page: usize,
    /// First sector within the page.
    first: u8,
    /// Last sector within the page.
    last: u8,
}

impl Iterator for Spans {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        if self.sectors == 0 {
            return None;
        }
        let page = self.offset / PAGE_SIZE;
        let first = self.offset % PAGE_SIZE / SECTOR_SIZE;
        let count = self.sectors.min(PAGE_SIZE / SECTOR_SIZE - first);
        self.offset += count * SECTOR_SIZE;
        self.sectors -= count;
        let (first, last) = (u8::try_from(first).ok()?, u8::try_from(first + count - 1).ok()?);
        Some(Span { page, first, last })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::front::fake::{Bench, FakePlatform};
    use crate::ring::widen;
    use crate::shared_mem::fake::FakeMemory;
    use std::vec;
    use std::vec::Vec;

    const DISK_SECTORS: u64 = 4096;

    /// A backend on the other side of the ring, with a disk in memory.
    pub(crate) struct Backend {
        platform: Rc<FakePlatform>,
        ring: FakeMemory,
        slots: u32,
        consumed: u32,
        produced: u32,
        pub(crate) disk: Vec<u8>,
        /// Requests seen, as operation and number of segments.
        seen: Vec<(u8, usize)>,
        /// The status of all answers.
        status: i16,
        flushes: usize,
    }

    impl Backend {
        pub(crate) fn new(bench: &Bench) -> Self {
            let pages = bench.front("ring-page-order").map_or(1, |order| 1 << order.parse::<u32>().unwrap());
            let first = if pages == 1 { "ring-ref".to_string() } else { "ring-ref0".to_string() };
            let (ring, at) = bench.platform.granted(u32::try_from(bench.front_number(&first)).unwrap()).unwrap();
            assert_eq!(at, 0);
            let slots = FrontRing::<FakeMemory, 112>::slots_in(pages * PAGE_SIZE);
            let disk = vec![0; usize::try_from(DISK_SECTORS).unwrap() * 512];
            Self {
                platform: bench.platform.clone(),
                ring,
                slots,
                consumed: 0,
                produced: 0,
                disk,
                seen: Vec::new(),
                status: 0,
                flushes: 0,
            }
        }

        fn page(&self, reference: u32) -> (FakeMemory, usize) {
            self.platform.granted(reference).expect("a granted page")
        }

        /// Takes the requests that are on the ring.
        fn take(&mut self) -> Vec<[u8; 112]> {
            let producer = self.ring.get_u32(0);
            let mut requests = Vec::new();
            while self.consumed != producer {
                let at = 64 + widen(self.consumed % self.slots) * 112;
                requests.push(self.ring.bytes(at, 112).try_into().unwrap());
                self.consumed = self.consumed.wrapping_add(1);
            }
            self.ring.set_u32(4, self.consumed.wrapping_add(1));
            requests
        }

        fn answer(&mut self, id: u64, status: i16) {
            let at = 64 + widen(self.produced % self.slots) * 112;
            let response = blkif::Response { id, operation: 0, status, ..Default::default() };
            self.ring.write(at, response.as_bytes());
            self.produced = self.produced.wrapping_add(1);
            self.ring.set_u32(8, self.produced);
        }

        /// Performs one request, and says which.
        fn perform(&mut self, bytes: &[u8; 112]) -> u64 {
            let mut request = blkif::Request::read_from_bytes(bytes).unwrap();
            let mut segments = request.seg[..usize::from(request.nr_segments).min(11)].to_vec();
            if request.operation == blkif::BLKIF_OP_INDIRECT {
                let (indirect, _) = blkif::RequestIndirect::read_from_prefix(bytes).unwrap();
                let (memory, at) = self.page(indirect.indirect_grefs[0].0);
                let list = memory.bytes(at, usize::from(indirect.nr_segments) * 8);
                segments = list.chunks(8).map(|entry| blkif::Segment::read_from_bytes(entry).unwrap()).collect();
                request = blkif::Request {
                    operation: indirect.indirect_op,
                    id: indirect.id,
                    sector_number: indirect.sector_number,
                    ..Default::default()
                };
            }
            self.seen.push((bytes[0], segments.len()));
            if request.operation == blkif::BLKIF_OP_FLUSH_DISKCACHE {
                self.flushes += 1;
            }
            let mut at = usize::try_from(request.sector_number).unwrap() * 512;
            for segment in segments {
                let (memory, page) = self.page(segment.gref.0);
                assert!(segment.first_sect <= segment.last_sect && segment.last_sect < 8);
                let from = page + usize::from(segment.first_sect) * 512;
                let len = usize::from(segment.last_sect - segment.first_sect + 1) * 512;
                if request.operation == blkif::BLKIF_OP_READ {
                    memory.write(from, &self.disk[at..at + len]);
                } else {
                    self.disk[at..at + len].copy_from_slice(&memory.bytes(from, len));
                }
                at += len;
            }
            request.id
        }

        /// Performs and answers everything, the latest first.
        pub(crate) fn serve(&mut self) -> usize {
            let requests = self.take();
            let ids: Vec<u64> = requests.iter().map(|request| self.perform(request)).collect();
            for id in ids.iter().rev() {
                self.answer(*id, self.status);
            }
            ids.len()
        }
    }

    fn offer(bench: &mut Bench, keys: &[(&str, &str)]) {
        for (key, value) in keys {
            bench.back(key, value);
        }
        bench.back("state", "2");
    }

    fn connect(bench: &mut Bench, options: Options, keys: &[(&str, &str)]) -> (Block<FakePlatform>, Backend) {
        let path = bench.path().to_string();
        let block = Block::new(bench.platform.clone(), &bench.store, &path, options).unwrap();
        bench.start(block.clone().run());
        // As Linux blkback does it: what shapes the ring first, everything else when it connects.
        let (early, late): (Vec<_>, Vec<_>) = keys.iter().partition(|(key, _)| key.contains("max-"));
        offer(bench, &early);
        assert_eq!(bench.front("state").as_deref(), Some("3"));
        let backend = Backend::new(bench);
        for (key, value) in late {
            bench.back(key, value);
        }
        for (key, value) in [("sectors", "4096"), ("sector-size", "512"), ("info", "0")] {
            if !keys.iter().any(|(other, _)| *other == key) {
                bench.back(key, value);
            }
        }
        bench.back("state", "4");
        (block, backend)
    }

    /// What Linux blkback of Debian 12 offers.
    const BLKBACK: [(&str, &str); 5] = [
        ("feature-max-indirect-segments", "256"),
        ("max-ring-page-order", "4"),
        ("feature-persistent", "1"),
        ("feature-flush-cache", "1"),
        ("feature-discard", "1"),
    ];

    /// What QEMU's qdisk offers.
    const QDISK: [(&str, &str); 2] = [("max-ring-page-order", "4"), ("feature-flush-cache", "1")];

    fn reports(block: &Block<FakePlatform>) -> Vec<(u64, Result<(), TransferError>)> {
        let mut reports = Vec::new();
        block.poll(|token, result| reports.push((token, result)));
        reports.sort_by_key(|(token, _)| *token);
        reports
    }

    fn request(operation: Operation, lba: u64, sectors: u64, offset: usize, token: u64) -> Request {
        Request { operation, lba, sectors, offset, token }
    }

    fn pattern(len: usize, seed: u8) -> Vec<u8> {
        (0..len).map(|at| u8::try_from(at % 251).unwrap().wrapping_mul(3).wrapping_add(seed)).collect()
    }

    #[test]
    fn the_handshake_writes_what_the_backend_has_to_know() {
        let mut bench = Bench::new("vbd", 768);
        let (block, _) = connect(&mut bench, Options::default(), &BLKBACK);
        assert_eq!(bench.front("state").as_deref(), Some("4"));
        assert_eq!(bench.front("protocol").as_deref(), Some("x86_64-abi"));
        assert_eq!(bench.front("feature-persistent").as_deref(), Some("1"));
        assert_eq!(bench.front("ring-page-order"), None, "one page is enough, and is named by ring-ref");
        assert_eq!(Some(bench.front_number("event-channel")), block.port().map(|port| u64::from(port.0)));
        assert!(block.session().is_connected());
        let info = block.info();
        assert_eq!((info.sectors, info.sector_size, info.read_only), (4096, 512, false));
        assert_eq!(info.features.segments, 256);
        assert!(info.features.flush && info.features.discard.is_some() && !info.features.barrier);
    }

    #[test]
    fn data_survives_a_write_and_a_read() {
        for keys in [&BLKBACK[..], &QDISK[..]] {
            let mut bench = Bench::new("vbd", 768);
            let (block, mut backend) = connect(&mut bench, Options::default(), keys);
            let written = pattern(100 * 512, 1);
            block.buffer_write(1536, &written);
            block.submit(request(Operation::Write, 77, 100, 1536, 5)).unwrap();
            assert_eq!(reports(&block), [], "nothing was answered yet");
            while backend.serve() > 0 {
                let _ = reports(&block);
            }
            assert_eq!(backend.disk[77 * 512..177 * 512], written);
            block.submit(request(Operation::Read, 78, 8, 65536, 6)).unwrap();
            backend.serve();
            assert_eq!(reports(&block), [(6, Ok(()))]);
            let mut read = vec![0; 4096];
            block.buffer_read(65536, &mut read);
            assert_eq!(read, written[512..4608]);
        }
    }

    #[test]
    fn a_large_transfer_is_one_indirect_request() {
        let mut bench = Bench::new("vbd", 768);
        let (block, mut backend) = connect(&mut bench, Options::default(), &BLKBACK);
        block.submit(request(Operation::Read, 0, 512, 0, 1)).unwrap();
        assert_eq!(backend.serve(), 1);
        assert_eq!(backend.seen, [(blkif::BLKIF_OP_INDIRECT, 64)]);
        assert_eq!(reports(&block), [(1, Ok(()))]);
        // Exactly eleven pages need no list, and neither does a twelfth that is not touched.
        block.submit(request(Operation::Read, 0, 88, 0, 2)).unwrap();
        block.submit(request(Operation::Read, 0, 88, 512, 3)).unwrap();
        backend.serve();
        assert_eq!(backend.seen[1..], [(blkif::BLKIF_OP_READ, 11), (blkif::BLKIF_OP_INDIRECT, 12)]);
    }

    #[test]
    fn without_indirect_segments_a_transfer_is_split_and_reported_once() {
        let mut bench = Bench::new("vbd", 768);
        let (block, mut backend) = connect(&mut bench, Options::default(), &QDISK);
        block.buffer_write(0, &pattern(256 << 10, 9));
        block.submit(request(Operation::Write, 0, 512, 0, 1)).unwrap();
        let requests = backend.take();
        assert_eq!(requests.len(), 6);
        let ids: Vec<u64> = requests.iter().map(|bytes| backend.perform(bytes)).collect();
        for (index, id) in ids.iter().enumerate() {
            assert_eq!(reports(&block), [], "after {index} of 6 answers");
            backend.answer(*id, 0);
        }
        assert_eq!(reports(&block), [(1, Ok(()))]);
        assert_eq!(backend.disk[..256 << 10], pattern(256 << 10, 9));
        assert_eq!(backend.seen.iter().map(|(_, segments)| segments).sum::<usize>(), 64);
    }

    #[test]
    fn a_transfer_larger_than_the_ring_goes_in_several_rounds() {
        let mut bench = Bench::new("vbd", 768);
        let options = Options { buffer_len: 2 << 20, transfers: 2, ..Options::default() };
        let (block, mut backend) = connect(&mut bench, options, &[]);
        assert_eq!(backend.slots, 32);
        block.submit(request(Operation::Read, 0, 4096, 0, 1)).unwrap();
        assert_eq!(backend.serve(), 32);
        assert_eq!(reports(&block), []);
        assert_eq!(backend.serve(), 512_usize.div_ceil(11) - 32);
        assert_eq!(reports(&block), [(1, Ok(()))]);
    }

    #[test]
    fn a_large_buffer_gets_a_ring_of_several_pages() {
        let mut bench = Bench::new("vbd", 768);
        let options = Options { buffer_len: 2 << 20, transfers: 2, ..Options::default() };
        let (block, mut backend) = connect(&mut bench, options, &QDISK);
        assert_eq!(bench.front("ring-page-order").as_deref(), Some("1"));
        assert_eq!(bench.front("num-ring-pages").as_deref(), Some("2"));
        assert_eq!(bench.front("ring-ref"), None);
        assert!(bench.front("ring-ref1").is_some());
        assert_eq!(backend.slots, 64);
        for round in 0..5 {
            block.submit(request(Operation::Read, 0, 4096, 0, round)).unwrap();
            assert_eq!(backend.serve(), 47);
            assert_eq!(reports(&block), [(round, Ok(()))]);
        }
    }

    #[test]
    fn the_worst_status_of_a_split_transfer_counts() {
        let mut bench = Bench::new("vbd", 768);
        let (block, mut backend) = connect(&mut bench, Options::default(), &QDISK);
        block.submit(request(Operation::Write, 0, 512, 0, 1)).unwrap();
        let ids: Vec<u64> = backend.take().iter().map(|bytes| backend.perform(bytes)).collect();
        for (index, id) in ids.iter().enumerate() {
            backend.answer(*id, if index == 2 { blkif::BLKIF_RSP_ERROR } else { 0 });
        }
        assert_eq!(reports(&block), [(1, Err(TransferError::Failed))]);
    }

    #[test]
    fn several_transfers_are_under_way_and_end_in_any_order() {
        let mut bench = Bench::new("vbd", 768);
        let (block, mut backend) = connect(&mut bench, Options::default(), &BLKBACK);
        for token in 0..8 {
            block.submit(request(Operation::Read, token, 8, 4096 * usize::try_from(token).unwrap(), token)).unwrap();
        }
        assert_eq!(block.submit(request(Operation::Read, 0, 1, 0, 9)), Err(SubmitError::Full));
        assert_eq!(backend.serve(), 8);
        assert_eq!(reports(&block).len(), 8);
        block.submit(request(Operation::Read, 0, 1, 0, 9)).unwrap();
    }

    #[test]
    fn a_flush_reaches_the_backend_and_fails_when_the_backend_fails() {
        let mut bench = Bench::new("vbd", 768);
        let (block, mut backend) = connect(&mut bench, Options::default(), &QDISK);
        block.submit(request(Operation::Flush, 0, 0, 0, 1)).unwrap();
        assert_eq!(reports(&block), []);
        backend.serve();
        assert_eq!(backend.flushes, 1);
        assert_eq!(reports(&block), [(1, Ok(()))]);
        backend.status = blkif::BLKIF_RSP_EOPNOTSUPP;
        block.submit(request(Operation::Flush, 0, 0, 0, 2)).unwrap();
        backend.serve();
        assert_eq!(reports(&block), [(2, Err(TransferError::Unsupported))]);
    }

    #[test]
    fn a_backend_without_a_cache_has_nothing_to_flush() {
        let mut bench = Bench::new("vbd", 768);
        let (block, mut backend) = connect(&mut bench, Options::default(), &[]);
        block.submit(request(Operation::Flush, 0, 0, 0, 1)).unwrap();
        assert!(block.has_ended());
        assert_eq!(reports(&block), [(1, Ok(()))]);
        assert_eq!(backend.serve(), 0);
    }

    #[test]
    fn a_flush_can_be_a_barrier_without_data() {
        let mut bench = Bench::new("vbd", 768);
        let (block, mut backend) = connect(&mut bench, Options::default(), &[("feature-barrier", "1")]);
        block.submit(request(Operation::Flush, 0, 0, 0, 1)).unwrap();
        backend.serve();
        assert_eq!(backend.seen, [(blkif::BLKIF_OP_WRITE_BARRIER, 0)]);
        block.submit(request(Operation::Barrier, 8, 8, 0, 1)).unwrap();
        backend.serve();
        assert_eq!(backend.seen[1..], [(blkif::BLKIF_OP_WRITE_BARRIER, 1)]);
    }

    /// blkif.h: `blkif_request_discard` carries a 64-bit count of sectors.
    #[test]
    fn a_discard_is_one_request_however_long() {
        let mut bench = Bench::new("vbd", 768);
        let big = [("feature-discard", "1"), ("discard-granularity", "4096"), ("sectors", "8589934592")];
        let (block, mut backend) = connect(&mut bench, Options::default(), &big);
        block.submit(request(Operation::Discard { secure: false }, 4, 8_589_934_588, 0, 1)).unwrap();
        let requests = backend.take();
        let (discard, _) = blkif::RequestDiscard::read_from_prefix(&requests[0]).unwrap();
        assert_eq!((discard.operation, discard.sector_number, discard.nr_sectors), (5, 4, 8_589_934_588));
        let secure = Operation::Discard { secure: true };
        assert_eq!(block.submit(request(secure, 0, 8, 0, 2)), Err(SubmitError::Unsupported));
    }

    #[test]
    fn a_disk_of_four_tebibytes_is_reached_to_its_last_sector() {
        let mut bench = Bench::new("vbd", 768);
        let (block, mut backend) = connect(&mut bench, Options::default(), &[("sectors", "8589934592")]);
        block.submit(request(Operation::Read, 8_589_934_591, 1, 0, 1)).unwrap();
        let requests = backend.take();
        assert_eq!(blkif::Request::read_from_bytes(&requests[0]).unwrap().sector_number, 8_589_934_591);
        for (lba, sectors) in [(8_589_934_592, 1), (8_589_934_591, 2), (u64::MAX, 1), (1, u64::MAX), (0, 0)] {
            assert_eq!(block.submit(request(Operation::Read, lba, sectors, 0, 2)), Err(SubmitError::OutOfRange));
        }
    }

    #[test]
    fn what_the_disk_cannot_do_is_refused() {
        let mut bench = Bench::new("vbd", 768);
        let (block, _) = connect(&mut bench, Options::default(), &[("info", "5")]);
        assert!(block.info().read_only && block.info().cdrom);
        assert_eq!(block.submit(request(Operation::Write, 0, 1, 0, 1)), Err(SubmitError::ReadOnly));
        assert_eq!(block.submit(request(Operation::Barrier, 0, 1, 0, 1)), Err(SubmitError::Unsupported));
        assert_eq!(block.submit(request(Operation::Read, 0, 1, 256 << 10, 1)), Err(SubmitError::OutOfRange));
        assert_eq!(block.submit(request(Operation::Read, 0, 1, usize::MAX - 511, 1)), Err(SubmitError::OutOfRange));
        assert_eq!(block.submit(request(Operation::Read, 0, 1, 100, 1)), Err(SubmitError::Misaligned));
    }

    /// blkif.h of 4.20: sectors on the ring stay 512 bytes, but transfers must be aligned to `sector-size`.
    #[test]
    fn a_disk_with_large_sectors_takes_whole_ones() {
        let mut bench = Bench::new("vbd", 768);
        let (block, mut backend) = connect(&mut bench, Options::default(), &[("sector-size", "4096")]);
        assert_eq!(block.submit(request(Operation::Read, 1, 8, 0, 1)), Err(SubmitError::Misaligned));
        assert_eq!(block.submit(request(Operation::Read, 8, 1, 0, 1)), Err(SubmitError::Misaligned));
        assert_eq!(block.submit(request(Operation::Read, 8, 8, 512, 1)), Err(SubmitError::Misaligned));
        block.submit(request(Operation::Read, 8, 8, 4096, 1)).unwrap();
        backend.serve();
        assert_eq!(reports(&block), [(1, Ok(()))]);
    }

    #[test]
    fn values_that_cannot_be_right_fail_the_device() {
        for (key, value) in [
            ("sector-size", "1000"),
            ("sector-size", "65536"),
            ("sectors", "many"),
            ("sectors", "18446744073709551615"),
        ] {
            let mut bench = Bench::new("vbd", 768);
            let (block, _) = connect(&mut bench, Options::default(), &[(key, value)]);
            bench.platform.expired.set(true);
            bench.settle();
            let Status::Failed(error) = block.session().status() else { panic!("{key} {value}") };
            assert_eq!(
                error.to_string(),
                format!("device/vbd/768: the backend's {key} is {value:?}, which cannot be right")
            );
            assert_eq!(bench.daemon.get("error/device/vbd/768/error"), Some(error.to_string()));
        }
    }

    #[test]
    fn a_backend_that_never_appears_is_given_up() {
        let mut bench = Bench::new("vbd", 768);
        let path = bench.path().to_string();
        let block = Block::new(bench.platform.clone(), &bench.store, &path, Options::default()).unwrap();
        bench.start(block.clone().run());
        assert_eq!(block.submit(request(Operation::Read, 0, 1, 0, 1)), Err(SubmitError::NotConnected));
        bench.platform.expired.set(true);
        bench.settle();
        let Status::Failed(error) = block.session().status() else { panic!("still waiting") };
        assert_eq!(
            error.to_string(),
            "device/vbd/768: the backend did not become InitWait (2) in time; the last state seen is Initialising (1)"
        );
        assert!(bench.has_ended());
    }

    #[test]
    fn a_backend_that_refuses_is_an_error() {
        let mut bench = Bench::new("vbd", 768);
        let path = bench.path().to_string();
        let block = Block::new(bench.platform.clone(), &bench.store, &path, Options::default()).unwrap();
        bench.start(block.clone().run());
        offer(&mut bench, &BLKBACK);
        bench.back("state", "5");
        bench.back("state", "6");
        assert!(matches!(block.session().status(), Status::Failed(LinkError { problem: Problem::Refused(_), .. })));
        assert_eq!(bench.platform.grant_count(), 0);
    }

    #[test]
    fn a_backend_that_closes_fails_what_is_under_way_and_may_come_back() {
        let mut bench = Bench::new("vbd", 768);
        let (block, backend) = connect(&mut bench, Options::default(), &BLKBACK);
        block.submit(request(Operation::Write, 0, 512, 0, 1)).unwrap();
        block.submit(request(Operation::Flush, 0, 0, 0, 2)).unwrap();
        bench.back("state", "5");
        assert_eq!(bench.front("state").as_deref(), Some("6"));
        let gone = Err(TransferError::Gone);
        assert_eq!(reports(&block), [(1, gone), (2, gone)]);
        assert_eq!(block.submit(request(Operation::Read, 0, 1, 0, 3)), Err(SubmitError::NotConnected));
        bench.back("state", "6");
        assert_eq!(bench.front("state").as_deref(), Some("1"));
        assert_eq!(bench.platform.grant_count(), 0);
        assert_eq!(block.port(), None);
        drop(backend);

        bench.back("state", "2");
        assert_eq!(bench.front("state").as_deref(), Some("3"));
        let mut backend = Backend::new(&bench);
        bench.back("state", "4");
        assert!(block.session().is_connected());
        assert_eq!(backend.serve(), 0, "nothing is sent again by itself");
        block.submit(request(Operation::Read, 0, 8, 0, 4)).unwrap();
        backend.serve();
        assert_eq!(reports(&block), [(4, Ok(()))]);
    }

    /// [`crate::suspend`]: the toolstack has made the same device in another domain, with another backend.
    #[test]
    fn in_a_restored_domain_the_connection_begins_anew() {
        let mut bench = Bench::new("vbd", 768);
        let (block, _backend) = connect(&mut bench, Options::default(), &BLKBACK);
        block.submit(request(Operation::Write, 0, 512, 0, 1)).unwrap();
        bench.give("/local/domain/0/backend/vbd/8/768");
        assert!(block.session().is_connected(), "nobody has said anything");
        bench.store.resumed(crate::shared_mem::fake::FakeChannel::new(4711));
        bench.settle();
        assert_eq!(block.session().status(), Status::Lost);
        assert_eq!(reports(&block), [(1, Err(TransferError::Gone))]);
        assert_eq!(bench.platform.grant_count(), 0);
        offer(&mut bench, &BLKBACK);
        let mut backend = Backend::new(&bench);
        bench.back("sectors", "4096");
        bench.back("sector-size", "512");
        bench.back("state", "4");
        assert!(block.session().is_connected());
        block.submit(request(Operation::Read, 0, 8, 0, 2)).unwrap();
        backend.serve();
        assert_eq!(reports(&block), [(2, Ok(()))]);
    }

    #[test]
    fn pages_that_a_dead_backend_holds_on_to_are_never_used_again() {
        let mut bench = Bench::new("vbd", 768);
        let (block, _) = connect(&mut bench, Options::default(), &BLKBACK);
        bench.platform.clinging.set(true);
        bench.back("state", "6");
        assert_eq!(block.buffer_len(), 0);
        assert!(block.with_buffer(|_| ()).is_none());
        block.buffer_write(0, b"dropped");
        let mut data = [1; 4];
        block.buffer_read(0, &mut data);
        assert_eq!(data, [0; 4]);
        bench.back("state", "2");
        assert_eq!(block.buffer_len(), 256 << 10);
    }

    #[test]
    fn a_device_that_is_taken_away_can_be_given_anew_with_another_backend() {
        let mut bench = Bench::new("vbd", 768);
        let (block, _) = connect(&mut bench, Options::default(), &BLKBACK);
        bench.back("online", "0");
        bench.back("state", "5");
        bench.back("state", "6");
        bench.remove();
        assert_eq!(block.session().status(), Status::Removed);
        assert_eq!(block.submit(request(Operation::Read, 0, 1, 0, 3)), Err(SubmitError::NotConnected));
        assert_eq!(bench.front("state"), None, "nothing is written where nothing is");

        bench.give("/local/domain/0/backend/qdisk/7/768");
        assert_eq!(block.session().status(), Status::Connecting);
        offer(&mut bench, &QDISK);
        assert_eq!(bench.front("state").as_deref(), Some("3"));
        let mut backend = Backend::new(&bench);
        for (key, value) in [("sectors", "4096"), ("sector-size", "512"), ("info", "0"), ("state", "4")] {
            bench.back(key, value);
        }
        block.submit(request(Operation::Read, 0, 8, 0, 4)).unwrap();
        backend.serve();
        assert_eq!(reports(&block), [(4, Ok(()))]);

        bench.back("online", "0");
        bench.back("state", "6");
        bench.remove();
        assert!(!block.is_empty());
        bench.give("/local/domain/0/backend/qdisk/8/768");
        assert!(!block.is_empty());
        bench.remove();
        bench.daemon.set("/local/domain/0/backend/qdisk/9/768/params", "aio:");
        bench.give("/local/domain/0/backend/qdisk/9/768");
        assert!(block.is_empty());
        let session = block.session().clone();
        let mut closing = std::boxed::Box::pin(session.close());
        let mut context = core::task::Context::from_waker(core::task::Waker::noop());
        assert!(closing.as_mut().poll(&mut context).is_pending());
        bench.settle();
        assert!(closing.as_mut().poll(&mut context).is_ready(), "there is nothing to wait for");
        assert!(bench.has_ended());
    }

    #[test]
    fn closing_waits_for_the_backend() {
        let mut bench = Bench::new("vbd", 768);
        let (block, _) = connect(&mut bench, Options::default(), &BLKBACK);
        let session = block.session().clone();
        let mut closing = std::boxed::Box::pin(session.close());
        let mut context = core::task::Context::from_waker(core::task::Waker::noop());
        assert!(closing.as_mut().poll(&mut context).is_pending());
        bench.settle();
        assert_eq!(bench.front("state").as_deref(), Some("6"));
        assert!(closing.as_mut().poll(&mut context).is_pending(), "the backend has not let go");
        assert!(bench.platform.grant_count() > 0);
        bench.back("state", "6");
        assert!(closing.as_mut().poll(&mut context).is_ready());
        assert_eq!(bench.platform.grant_count(), 0);
    }

    #[test]
    fn a_disk_that_grows_is_seen_to_grow() {
        let mut bench = Bench::new("vbd", 768);
        let (block, _) = connect(&mut bench, Options::default(), &BLKBACK);
        bench.back("sectors", "8192");
        bench.back("state", "4");
        assert_eq!(block.info().sectors, 8192);
    }

    #[test]
    fn a_backend_that_answers_too_much_loses_its_connection() {
        type Attack = fn(&mut Backend);
        let attacks: [Attack; 4] = [
            |backend| backend.ring.set_u32(8, 2),
            |backend| backend.ring.set_u32(8, u32::MAX),
            |backend| backend.answer(0xdead_beef_0000_0000, 0),
            |backend| {
                let id = backend.take().iter().map(|bytes| backend.perform(bytes)).next().unwrap();
                backend.answer(id ^ 1, 0);
            },
        ];
        for attack in attacks {
            let mut bench = Bench::new("vbd", 768);
            let (block, mut backend) = connect(&mut bench, Options::default(), &BLKBACK);
            block.submit(request(Operation::Write, 0, 8, 0, 1)).unwrap();
            attack(&mut backend);
            assert_eq!(reports(&block), [(1, Err(TransferError::Gone))]);
            assert_eq!(block.submit(request(Operation::Read, 0, 1, 0, 2)), Err(SubmitError::NotConnected));
            bench.back("state", "6");
            assert!(matches!(block.session().status(), Status::Failed(LinkError { problem: Problem::Fault(_), .. })));
        }
    }

    #[test]
    fn an_answer_that_comes_twice_is_a_fault() {
        let mut bench = Bench::new("vbd", 768);
        let (block, mut backend) = connect(&mut bench, Options::default(), &BLKBACK);
        block.submit(request(Operation::Read, 0, 8, 0, 1)).unwrap();
        block.submit(request(Operation::Write, 0, 8, 0, 2)).unwrap();
        let first = backend.take().iter().map(|bytes| backend.perform(bytes)).next().unwrap();
        backend.answer(first, 0);
        backend.answer(first, 0);
        assert_eq!(reports(&block), [(1, Ok(())), (2, Err(TransferError::Gone))]);
    }

    #[test]
    fn a_caller_may_submit_while_it_is_told() {
        let mut bench = Bench::new("vbd", 768);
        let (block, mut backend) = connect(&mut bench, Options::default(), &BLKBACK);
        block.submit(request(Operation::Read, 0, 8, 0, 1)).unwrap();
        backend.serve();
        let mut count = 0;
        block.poll(|token, _| {
            count += 1;
            block.submit(request(Operation::Flush, 0, 0, 0, token + 1)).unwrap();
        });
        assert_eq!((count, backend.serve()), (1, 1));
    }
}
