//! Block backend: serves a disk to a frontend in another domain.
//!
//! Requests are taken off the ring as long as their data fits into [`Options::in_flight`] bytes, and are under way side by
//! side; each is answered when it is done, whatever was asked for first. A barrier waits for all before it, and all after
//! it wait for the barrier. When a frontend goes away, what it has asked for is still done before the connection ends, so
//! that nothing of it happens after what the next one asks for.
//!
//! A request that makes no sense is answered with an error: too many segments or none, sectors beyond the page or the disk,
//! a grant that is none, a write to what can only be read. One that we do not know is answered as not supported.
//!
//! * `decode`: from a slot of the ring to a request.
//! * `medium`: what is behind a disk, and one in memory.
//!
//! Frontends known to work: ours, and xen-blkfront of Linux 6.1 (`minios-serves-disks-to-linux-and-to-itself`).
//!
//! Source: Xen's public/io/blkif.h as of 4.20; drivers/block/xen-blkfront.c of Linux, which insists on the operation in a
//! response (of an indirect request: on what it does).
//! Not modelled: several queues; persistent grants (nothing is mapped, so they would only make the frontend copy); secure
//! discard; a medium that changes its size.

mod decode;
mod medium;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};

use xen_abi::io::blkif;
use xen_abi::{DomId, PAGE_SIZE, Port};
use zerocopy::{FromBytes, IntoBytes};

use super::buffer::Buffer;
use super::link::{Keys, Link, Service, supervise};
use super::{Host, Ours, Piece, Problem};
use crate::exec;
use crate::front::block::SECTOR_SIZE;
use crate::ring::{BackRing, RingFault};
use crate::shared_mem::Notify;
use crate::xenbus::XenbusState;
use crate::xenstore::Xenstore;

pub use medium::{Geometry, Medium, MediumError, RamDisk};

use decode::{Abi, Answer, Command, Direction, Request, Segment, Segments, decode, is_in_range};

/// The largest ring, as a power of two of pages: 16 pages, 512 requests.
const RING_ORDER_MAX: u32 = 4;
/// Requests that may be under way at a time, however small they are.
const REQUESTS_MAX: usize = 64;
/// Requests that are taken before others have a turn.
const TURN: usize = 128;

/// How a disk is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of requests that are under way at a time; at least those of the largest request count.
    pub in_flight: usize,
    /// Most segments of an indirect request, each of up to a page.
    pub segments: usize,
    /// Writes are refused, whatever the medium is.
    pub is_read_only: bool,
    /// The frontend sees a CD drive.
    pub is_cdrom: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { in_flight: 2 << 20, segments: 128, is_read_only: false, is_cdrom: false }
    }
}

/// A disk that is served.
pub struct Block<H, M> {
    store: Xenstore,
    path: String,
    disk: Rc<Disk<H, M>>,
    options: Options,
}

/// What requests under way need.
struct Disk<H, M> {
    host: Rc<H>,
    medium: Rc<M>,
    geometry: Geometry,
}

impl<H: Host + 'static, M: Medium + 'static> Block<H, M> {
    /// A disk whose directory is `path`, such as `backend/vbd/3/768`.
    pub fn new(host: Rc<H>, store: &Xenstore, path: &str, medium: Rc<M>, options: Options) -> Self {
        let mut geometry = medium.geometry();
        geometry.is_read_only |= options.is_read_only;
        geometry.can_discard &= !geometry.is_read_only;
        let most = blkif::SEGMENTS_PER_INDIRECT_PAGE * blkif::BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST;
        let segments = options.segments.clamp(blkif::BLKIF_MAX_SEGMENTS_PER_REQUEST, most);
        let options = Options { segments, in_flight: options.in_flight.max(segments * PAGE_SIZE), ..options };
        let disk = Rc::new(Disk { host, medium, geometry });
        Self { store: store.clone(), path: path.to_string(), disk, options }
    }

    /// Serves the disk. A task that ends when the toolstack takes the disk away.
    pub async fn run(self) {
        supervise(&self.store, &self.path, &self).await;
    }
}

/// A frontend's ring, and what it has asked for.
pub struct Connection<H: Host> {
    peer: DomId,
    ring: BackRing<H::Mapping>,
    channel: H::Channel,
    abi: Abi,
    under_way: Vec<Job>,
    /// The sum of their bytes.
    in_flight: usize,
    /// The request that is next, and has to wait.
    next: Option<Request>,
}

/// A request under way.
struct Job {
    future: Pin<Box<dyn Future<Output = Answer>>>,
    len: usize,
    is_barrier: bool,
}

impl<H: Host + 'static, M: Medium + 'static> Service for Block<H, M> {
    type Connection = Connection<H>;

    fn offer(&self) -> Keys {
        let geometry = &self.disk.geometry;
        let discard = u32::from(geometry.can_discard);
        let mut keys = Vec::new();
        let mut key = |name: &str, value: u64| keys.push((name.to_string(), value.to_string()));
        key("feature-flush-cache", 1);
        key("feature-barrier", 1);
        key("feature-discard", discard.into());
        if geometry.can_discard {
            key("discard-granularity", geometry.sector_size.into());
            key("discard-alignment", 0);
            key("discard-secure", 0);
        }
        key("feature-persistent", 0);
        key("feature-max-indirect-segments", self.options.segments as u64);
        key("max-ring-page-order", RING_ORDER_MAX.into());
        keys
    }

    fn is_ready(state: XenbusState) -> bool {
        matches!(state, XenbusState::Initialised | XenbusState::Connected)
    }

    async fn connect(&self, link: &Link) -> Result<(Connection<H>, Keys), Problem> {
        self.disk.host.linger().await;
        let protocol = link.text("protocol").await?;
        let Some(abi) = Abi::decode(protocol.as_deref()) else {
            return Err(Problem::Unsupported { key: "protocol".to_string(), value: protocol.unwrap_or_default() });
        };
        link.refuse_queues().await?;
        let mut references = Vec::new();
        match link.number::<u32>("ring-page-order").await? {
            None => references.push(link.grant("ring-ref").await?),
            Some(order) if order <= RING_ORDER_MAX => {
                for page in 0..1 << order {
                    references.push(link.grant(&format!("ring-ref{page}")).await?);
                }
            }
            Some(order) => {
                return Err(Problem::Unsupported { key: "ring-page-order".to_string(), value: order.to_string() });
            }
        }
        let port = Port(link.required("event-channel").await?);
        let host = &self.disk.host;
        let ring = BackRing::attach(host.map(link.peer(), &references)?, abi.slot_len())?;
        let channel = host.bind(link.peer(), port)?;
        let connection = Connection {
            peer: link.peer(),
            ring,
            channel,
            abi,
            under_way: Vec::with_capacity(REQUESTS_MAX),
            in_flight: 0,
            next: None,
        };
        let geometry = &self.disk.geometry;
        let info = (if geometry.is_read_only { blkif::VDISK_READONLY } else { 0 })
            | (if self.options.is_cdrom { blkif::VDISK_CDROM | blkif::VDISK_REMOVABLE } else { 0 });
        let keys = [
            ("sectors", geometry.sectors),
            ("sector-size", geometry.sector_size.into()),
            ("physical-sector-size", geometry.physical_sector_size.into()),
            ("info", info.into()),
        ];
        Ok((connection, keys.map(|(key, value)| (key.to_string(), value.to_string())).into()))
    }

    async fn serve(&self, connection: &mut Connection<H>) -> Problem {
        let mut signal = exec::signal(connection.channel.port());
        loop {
            let turn = poll_fn(|context| {
                let turn = connection.turn(&self.disk, &self.options, context);
                match turn {
                    Ok(Turn::Idle) => signal.poll_wait(context).map(|()| Ok(Turn::Idle)),
                    turn => Poll::Ready(turn),
                }
            });
            match turn.await {
                Ok(Turn::Idle) => {}
                // A frontend on another processor could keep us here for ever.
                Ok(Turn::Busy) => self.disk.host.pause().await,
                Err(fault) => return Problem::Fault(fault),
            }
        }
    }

    async fn finish(&self, mut connection: Connection<H>) {
        // What was not begun is not done: the frontend has had no answer, and looks at its ring no more.
        connection.next = None;
        poll_fn(|context| {
            // Nobody listens for the answers.
            let _ = connection.poll_jobs(context, |_| ());
            if connection.under_way.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// How far a turn came.
enum Turn {
    /// The next signal, or the end of something under way, is what there is to wait for.
    Idle,
    /// There may be more to do at once.
    Busy,
}

impl<H: Host + 'static> Connection<H> {
    /// Begins what can be begun, and answers what is done.
    fn turn<M: Medium + 'static>(
        &mut self,
        disk: &Rc<Disk<H, M>>,
        options: &Options,
        context: &mut Context<'_>,
    ) -> Result<Turn, RingFault> {
        let mut taken = 0;
        loop {
            let begun = self.begin(disk, options, TURN - taken)?;
            taken += begun;
            let mut answers = Vec::new();
            let ended = self.poll_jobs(context, |answer| answers.push(answer));
            for answer in answers {
                self.answer(answer);
            }
            if self.ring.publish() {
                self.channel.notify();
            }
            if taken >= TURN {
                return Ok(Turn::Busy);
            }
            // What has ended made room for others.
            if begun == 0 && !ended && (self.next.is_some() || self.is_full() || !self.ring.arm()?) {
                return Ok(Turn::Idle);
            }
        }
    }

    fn is_full(&self) -> bool {
        self.under_way.len() >= REQUESTS_MAX
    }

    /// Takes requests off the ring, and begins them, as long as there is room. Says how many it took.
    fn begin<M: Medium + 'static>(
        &mut self,
        disk: &Rc<Disk<H, M>>,
        options: &Options,
        most: usize,
    ) -> Result<usize, RingFault> {
        let mut taken = 0;
        while taken < most && !self.is_full() {
            let request = match self.next.take() {
                Some(request) => request,
                None => {
                    let Some(slot) = self.ring.pop()? else { break };
                    taken += 1;
                    match decode(&self.abi.widen(slot), &disk.geometry, options.segments) {
                        Ok(request) => request,
                        Err(refusal) => {
                            self.answer(refusal);
                            continue;
                        }
                    }
                }
            };
            let len = request.len_max();
            let is_barrier = request.is_barrier();
            let behind_barrier = self.under_way.iter().any(|job| job.is_barrier);
            let waits_for_all = is_barrier && !self.under_way.is_empty();
            if behind_barrier || waits_for_all || self.in_flight + len > options.in_flight {
                self.next = Some(request);
                break;
            }
            self.in_flight += len;
            let future = Box::pin(perform(disk.clone(), self.peer, request));
            self.under_way.push(Job { future, len, is_barrier });
        }
        Ok(taken)
    }

    /// Goes on with what is under way. Says whether something ended.
    fn poll_jobs(&mut self, context: &mut Context<'_>, mut ended: impl FnMut(Answer)) -> bool {
        let before = self.under_way.len();
        let Self { under_way, in_flight, .. } = self;
        under_way.retain_mut(|job| match job.future.as_mut().poll(context) {
            Poll::Ready(answer) => {
                *in_flight -= job.len;
                ended(answer);
                false
            }
            Poll::Pending => true,
        });
        under_way.len() < before
    }

    fn answer(&mut self, answer: Answer) {
        let Answer { id, operation, status } = answer;
        let response = blkif::Response { id, operation, status, ..Default::default() };
        self.ring.push(&response.as_bytes()[..self.abi.response_len()]);
    }
}

/// Does what a request asks for.
async fn perform<H: Host, M: Medium>(disk: Rc<Disk<H, M>>, peer: DomId, request: Request) -> Answer {
    let done = match &request.command {
        Command::Move { direction, sector, segments } => disk.move_data(peer, *direction, *sector, segments).await,
        Command::Flush => disk.medium.flush().await.map_err(|_| Failed),
        Command::Discard { sector, sectors } => disk.medium.discard(*sector, *sectors).await.map_err(|_| Failed),
    };
    request.answer(if done.is_ok() { blkif::BLKIF_RSP_OKAY } else { blkif::BLKIF_RSP_ERROR })
}

/// A request cannot be done, for whatever reason: frontends are told no more.
struct Failed;

impl<H: Host, M: Medium> Disk<H, M> {
    async fn move_data(
        &self,
        peer: DomId,
        direction: Direction,
        sector: u64,
        segments: &Segments,
    ) -> Result<(), Failed> {
        let list;
        let segments = match segments {
            Segments::Direct(segments) => segments.as_slice(),
            Segments::Indirect { count, pages } => {
                list = self.read_list(peer, usize::from(*count), pages)?;
                list.as_slice()
            }
        };
        let len: usize = segments.iter().map(|segment| segment.len).sum();
        if !is_in_range(&self.geometry, sector, (len / SECTOR_SIZE) as u64) {
            return Err(Failed);
        }
        let mut buffer = Buffer::zeroed(len).ok_or(Failed)?;
        if direction == Direction::Read {
            let (buffer, result) = self.medium.read(sector, buffer).await;
            result.map_err(|_| Failed)?;
            let mut rest = buffer.bytes();
            let mut pieces = Vec::with_capacity(segments.len());
            for segment in segments {
                let (data, after) = rest.split_at_checked(segment.len).ok_or(Failed)?;
                rest = after;
                pieces.push(segment.piece(Ours::From(data)));
            }
            return self.host.copy(peer, &mut pieces).map_err(|_| Failed);
        }
        let mut rest = buffer.bytes_mut();
        let mut pieces = Vec::with_capacity(segments.len());
        for segment in segments {
            let (data, after) = rest.split_at_mut_checked(segment.len).ok_or(Failed)?;
            rest = after;
            pieces.push(segment.piece(Ours::Into(data)));
        }
        self.host.copy(peer, &mut pieces).map_err(|_| Failed)?;
        drop(pieces);
        if direction == Direction::Barrier {
            self.medium.flush().await.map_err(|_| Failed)?;
        }
        self.medium.write(sector, buffer).await.map_err(|_| Failed)?;
        if direction == Direction::Barrier {
            self.medium.flush().await.map_err(|_| Failed)?;
        }
        Ok(())
    }

    /// Copies the segments of an indirect request out of the frontend's pages, once.
    fn read_list(&self, peer: DomId, count: usize, pages: &[xen_abi::GrantRef]) -> Result<Vec<Segment>, Failed> {
        const ENTRY: usize = size_of::<blkif::Segment>();
        let mut raw = Buffer::zeroed(count * ENTRY).ok_or(Failed)?;
        let mut pieces = Vec::new();
        for (data, reference) in raw.bytes_mut().chunks_mut(PAGE_SIZE).zip(pages) {
            pieces.push(Piece { reference: *reference, offset: 0, ours: Ours::Into(data) });
        }
        self.host.copy(peer, &mut pieces).map_err(|_| Failed)?;
        drop(pieces);
        let decode = |entry: &[u8]| Segment::decode(blkif::Segment::read_from_bytes(entry).ok()?);
        raw.bytes().chunks_exact(ENTRY).map(decode).collect::<Option<_>>().ok_or(Failed)
    }
}

impl Segment {
    const fn piece<'a>(&self, ours: Ours<'a>) -> Piece<'a> {
        Piece { reference: self.reference, offset: self.offset, ours }
    }
}
