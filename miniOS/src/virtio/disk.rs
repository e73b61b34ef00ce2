//! A virtio disk (VIRTIO 1.2, 5.2).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::poll_fn;
use core::task::{Poll, Waker};

use bitflags::bitflags;
use virtio_drivers::Error;
use virtio_drivers::transport::Transport;
use virtio_drivers::transport::pci::PciTransport;
use xen_abi::Port;

use super::LOOK;
use super::raw::{Direction, Message, Queue, fitting};
use crate::back::block::{Geometry, Medium, MediumError};
use crate::back::buffer::Buffer;
use crate::exec;

bitflags! {
    /// Feature bits (5.2.3, 6).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Features: u64 {
        /// VIRTIO_BLK_F_RO.
        const READ_ONLY = 1 << 5;
        /// VIRTIO_BLK_F_BLK_SIZE.
        const SECTOR_SIZE = 1 << 6;
        /// VIRTIO_BLK_F_FLUSH.
        const FLUSH = 1 << 9;
        /// VIRTIO_BLK_F_TOPOLOGY.
        const TOPOLOGY = 1 << 10;
        /// VIRTIO_BLK_F_DISCARD.
        const DISCARD = 1 << 13;
        /// VIRTIO_F_VERSION_1.
        const VERSION_1 = 1 << 32;
    }
}

// struct virtio_blk_config (5.2.4).
const CAPACITY: usize = 0;
const SECTOR_SIZE: usize = 20;
const PHYSICAL_EXPONENT: usize = 24;
const DISCARD_SECTORS_MAX: usize = 36;

// Types of requests (5.2.6).
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const STATUS_OK: u8 = 0;

/// A disk.
pub struct Disk {
    geometry: Geometry,
    has_cache: bool,
    discard_max: u64,
    inside: RefCell<Inside>,
}

struct Inside {
    /// Dropped first, which resets the device.
    transport: PciTransport,
    queue: Queue,
    /// What is under way, by number of the request. What is not here any more nobody waits for.
    waiting: BTreeMap<u64, Waiting>,
    /// The number of the next request.
    next: u64,
    /// Who waits for room in the queue.
    wants_room: Vec<Waker>,
    /// Who wants to know that something is under way.
    runner: Option<Waker>,
    /// Messages that the device has.
    under_way: usize,
}

/// Notes who wants to be woken, once.
fn want(wakers: &mut Vec<Waker>, waker: &Waker) {
    if !wakers.iter().any(|other| other.will_wake(waker)) {
        wakers.push(waker.clone());
    }
}

enum Waiting {
    Pending(Option<Waker>),
    Ended(Message),
}

/// A request under way. When it is dropped, nobody waits for it any more; the queue keeps its memory.
struct Ticket<'a> {
    disk: &'a Disk,
    number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.disk.inside.borrow_mut().waiting.remove(&self.number);
    }
}

impl Disk {
    pub(super) fn start(mut transport: PciTransport) -> Result<Self, Error> {
        let features = transport.begin_init(Features::all());
        let geometry = transport.read_consistent(|| {
            let low: u32 = transport.read_config_space(CAPACITY)?;
            let high: u32 = transport.read_config_space(CAPACITY + 4)?;
            let sector_size: u32 = match features.contains(Features::SECTOR_SIZE) {
                true => transport.read_config_space(SECTOR_SIZE)?,
                false => 512,
            };
            let exponent: u8 = match features.contains(Features::TOPOLOGY) {
                true => transport.read_config_space(PHYSICAL_EXPONENT)?,
                false => 0,
            };
            Ok(Geometry {
                sectors: u64::from(high) << 32 | u64::from(low),
                sector_size,
                physical_sector_size: sector_size.checked_shl(exponent.into()).unwrap_or(sector_size),
                is_read_only: features.contains(Features::READ_ONLY),
                can_discard: features.contains(Features::DISCARD),
            })
        })?;
        if !geometry.sector_size.is_power_of_two() || !(512..=4096).contains(&geometry.sector_size) {
            return Err(Error::Unsupported);
        }
        let discard_max: u32 = match geometry.can_discard {
            true => transport.read_config_space(DISCARD_SECTORS_MAX)?,
            false => 0,
        };
        let queue = Queue::new(&mut transport, 0)?;
        transport.finish_init();
        let inside = Inside {
            transport,
            queue,
            waiting: BTreeMap::new(),
            next: 0,
            wants_room: Vec::new(),
            runner: None,
            under_way: 0,
        };
        let has_cache = features.contains(Features::FLUSH);
        Ok(Self { geometry, has_cache, discard_max: u64::from(discard_max).max(1), inside: RefCell::new(inside) })
    }

    /// The name that the machine gives it, its serial number. Empty: none.
    pub async fn serial(&self) -> String {
        /// `VIRTIO_BLK_ID_BYTES`: the text ends with a zero byte, or there.
        const ID_BYTES: usize = 20;
        let Some(data) = Buffer::zeroed(ID_BYTES) else { return String::new() };
        match self.ask(GET_ID, 0, Direction::Inward, data, (0, ID_BYTES)).await {
            (data, Ok(())) => {
                let text = data.bytes().split(|byte| *byte == 0).next().unwrap_or_default();
                String::from_utf8_lossy(text).into_owned()
            }
            (_, Err(MediumError)) => String::new(),
        }
    }

    /// Takes back what the device is through with, and wakes those who wait for it. Says whether something is under way.
    pub fn poll(&self) -> bool {
        let mut inside = self.inside.borrow_mut();
        let Inside { queue, waiting, wants_room, under_way, .. } = &mut *inside;
        while let Some((number, message, _)) = queue.end() {
            *under_way = under_way.saturating_sub(1);
            if let Some(place) = waiting.get_mut(&number)
                && let Waiting::Pending(waker) = core::mem::replace(place, Waiting::Ended(message))
                && let Some(waker) = waker
            {
                waker.wake();
            }
        }
        if queue.has_room() {
            wants_room.drain(..).for_each(Waker::wake);
        }
        *under_way > 0
    }

    /// Looks after the disk for ever: when its interrupt comes, if there is one, and else by a timer while something is under
    /// way. A task.
    pub async fn run(&self, interrupt: Option<Port>) {
        let mut signal = interrupt.map(exec::signal);
        loop {
            match &mut signal {
                Some(signal) => {
                    // Reading it takes the level away.
                    self.inside.borrow_mut().transport.ack_interrupt();
                    self.poll();
                    signal.wait().await;
                }
                None if self.poll() => exec::sleep(LOOK).await,
                None => {
                    poll_fn(|context| {
                        let mut inside = self.inside.borrow_mut();
                        inside.runner = Some(context.waker().clone());
                        if inside.under_way > 0 { Poll::Ready(()) } else { Poll::Pending }
                    })
                    .await;
                }
            }
        }
    }

    /// Asks the device for something, and waits for its answer.
    async fn ask(
        &self,
        kind: u32,
        sector: u64,
        direction: Direction,
        data: Buffer,
        range: (usize, usize),
    ) -> (Buffer, Result<(), MediumError>) {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        let mut message = Some(Message::new(&header, true, direction, data, range));
        let number = poll_fn(|context| {
            let mut inside = self.inside.borrow_mut();
            let Inside { transport, queue, waiting, next, wants_room, runner, under_way } = &mut *inside;
            let begun = if queue.has_room() { message.take() } else { None };
            let Some(begun) = begun else {
                want(wants_room, context.waker());
                return Poll::Pending;
            };
            match queue.begin(transport, *next, begun) {
                Ok(()) => {
                    let number = *next;
                    *next += 1;
                    waiting.insert(number, Waiting::Pending(None));
                    *under_way += 1;
                    if let Some(runner) = runner.take() {
                        runner.wake();
                    }
                    Poll::Ready(number)
                }
                Err(back) => {
                    message = Some(back);
                    want(wants_room, context.waker());
                    Poll::Pending
                }
            }
        })
        .await;
        let ticket = Ticket { disk: self, number };
        let ended = poll_fn(|context| {
            let mut inside = self.inside.borrow_mut();
            match inside.waiting.remove(&ticket.number) {
                Some(Waiting::Ended(message)) => Poll::Ready(message),
                _ => {
                    inside.waiting.insert(ticket.number, Waiting::Pending(Some(context.waker().clone())));
                    Poll::Pending
                }
            }
        })
        .await;
        let result = if ended.status() == STATUS_OK { Ok(()) } else { Err(MediumError) };
        (ended.into_data(), result)
    }

    /// Moves data, in as many requests as it takes.
    async fn transfer(
        &self,
        kind: u32,
        sector: u64,
        direction: Direction,
        mut data: Buffer,
    ) -> (Buffer, Result<(), MediumError>) {
        let unit = self.geometry.sector_size as usize;
        let mut done = 0;
        while done < data.len() {
            let len = fitting(&data.bytes()[done..]);
            let len = len - if done + len < data.len() { len % unit } else { 0 };
            let at = sector + (done / 512) as u64;
            let result;
            (data, result) = self.ask(kind, at, direction, data, (done, len)).await;
            if result.is_err() {
                return (data, result);
            }
            done += len;
        }
        (data, Ok(()))
    }
}

impl Medium for Disk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    async fn read(&self, sector: u64, buffer: Buffer) -> (Buffer, Result<(), MediumError>) {
        self.transfer(IN, sector, Direction::Inward, buffer).await
    }

    async fn write(&self, sector: u64, buffer: Buffer) -> Result<(), MediumError> {
        self.transfer(OUT, sector, Direction::Outward, buffer).await.1
    }

    async fn flush(&self) -> Result<(), MediumError> {
        if !self.has_cache {
            return Ok(());
        }
        self.ask(FLUSH, 0, Direction::Outward, Buffer::default(), (0, 0)).await.1
    }

    async fn discard(&self, sector: u64, sectors: u64) -> Result<(), MediumError> {
        let mut done = 0;
        while done < sectors {
            let count = (sectors - done).min(self.discard_max);
            let mut segment = Buffer::zeroed(16).ok_or(MediumError)?;
            segment.bytes_mut()[..8].copy_from_slice(&(sector + done).to_le_bytes());
            let length = u32::try_from(count).map_err(|_| MediumError)?;
            segment.bytes_mut()[8..12].copy_from_slice(&length.to_le_bytes());
            self.ask(DISCARD, 0, Direction::Outward, segment, (0, 16)).await.1?;
            done += count;
        }
        Ok(())
    }
}
