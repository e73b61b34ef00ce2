//! Rings in shared memory: byte streams (consoles, xenstore) and request rings (block).
//!
//! Source: Xen's public/io/ring.h, public/io/console.h, public/io/xs_wire.h.
//!
//! Indices run freely modulo 2^32. Our own are kept here and never read back from the page; the peer's are loaded
//! once for each decision and believed only as far as they are possible.
//!
//! Invariant: whatever the peer writes, an operation here ends after at most one ring's worth of work.

use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{Ordering, fence};

use crate::shared_mem::SharedMem;

/// The peer broke the protocol of a ring. The connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingFault {
    /// The peer's producer index claims more than the ring can hold, or more answers than there were requests.
    Overrun {
        /// What the peer's index claims is waiting.
        waiting: u32,
    },
    /// The peer's consumer index claims that it took what was never sent.
    Underrun {
        /// What the peer's index claims is still in the ring.
        pending: u32,
    },
    /// An answer to a request that is not in flight.
    UnknownId {
        /// The id of the answer.
        id: u64,
    },
}

impl fmt::Display for RingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overrun { waiting } => write!(f, "the peer claims {waiting} entries waiting, more than possible"),
            Self::Underrun { pending } => write!(f, "the peer claims {pending} entries pending, more than were sent"),
            Self::UnknownId { id } => write!(f, "the peer answered request {id:#x}, which is not in flight"),
        }
    }
}

impl core::error::Error for RingFault {}

/// Where one direction of a byte stream lies within its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRing {
    /// Offset of the buffer.
    pub data: usize,
    /// Bytes in the buffer, a power of two.
    pub size: u32,
    /// Offset of the consumer index.
    pub consumer: usize,
    /// Offset of the producer index.
    pub producer: usize,
}

impl ByteRing {
    /// The two parts of the buffer that `len` bytes from `index` on occupy.
    fn spans(self, index: u32, len: u32) -> [(usize, usize); 2] {
        let at = index & (self.size - 1);
        let first = len.min(self.size - at);
        [(self.data + widen(at), widen(first)), (self.data, widen(len - first))]
    }
}

/// The sending end of a byte stream.
#[derive(Debug)]
pub struct ByteSender {
    layout: ByteRing,
    produced: u32,
}

impl ByteSender {
    /// Takes up the stream where the page says that it is.
    pub fn new(layout: ByteRing, memory: &(impl SharedMem + ?Sized)) -> Self {
        Self { layout, produced: memory.load_u32(layout.producer, Ordering::Relaxed) }
    }

    /// Bytes that can be sent now.
    pub fn room(&self, memory: &(impl SharedMem + ?Sized)) -> Result<usize, RingFault> {
        // Acquire: what the peer consumed may be overwritten only after it said so.
        let consumed = memory.load_u32(self.layout.consumer, Ordering::Acquire);
        let pending = self.produced.wrapping_sub(consumed);
        if pending > self.layout.size {
            return Err(RingFault::Underrun { pending });
        }
        Ok(widen(self.layout.size - pending))
    }

    /// Whether the peer has taken everything.
    pub fn is_drained(&self, memory: &(impl SharedMem + ?Sized)) -> Result<bool, RingFault> {
        Ok(self.room(memory)? == widen(self.layout.size))
    }

    /// Sends as much of `data` as there is room for, and says how much that was. The caller notifies.
    pub fn send(&mut self, memory: &(impl SharedMem + ?Sized), data: &[u8]) -> Result<usize, RingFault> {
        let len = self.room(memory)?.min(data.len());
        let count = narrow(len);
        let [(first, first_len), (second, second_len)] = self.layout.spans(self.produced, count);
        memory.write(first, &data[..first_len]);
        memory.write(second, &data[first_len..first_len + second_len]);
        self.produced = self.produced.wrapping_add(count);
        memory.store_u32(self.layout.producer, self.produced, Ordering::Release);
        Ok(len)
    }
}

/// The receiving end of a byte stream.
#[derive(Debug)]
pub struct ByteReceiver {
    layout: ByteRing,
    consumed: u32,
}

impl ByteReceiver {
    /// Takes up the stream where the page says that it is.
    pub fn new(layout: ByteRing, memory: &(impl SharedMem + ?Sized)) -> Self {
        Self { layout, consumed: memory.load_u32(layout.consumer, Ordering::Relaxed) }
    }

    /// Bytes that can be received now.
    pub fn waiting(&self, memory: &(impl SharedMem + ?Sized)) -> Result<usize, RingFault> {
        // Acquire: bytes are read only after the index that announces them.
        let produced = memory.load_u32(self.layout.producer, Ordering::Acquire);
        let waiting = produced.wrapping_sub(self.consumed);
        if waiting > self.layout.size {
            return Err(RingFault::Overrun { waiting });
        }
        Ok(widen(waiting))
    }

    /// Receives up to `data.len()` bytes, and says how many. The caller notifies.
    pub fn receive(&mut self, memory: &(impl SharedMem + ?Sized), data: &mut [u8]) -> Result<usize, RingFault> {
        let len = self.waiting(memory)?.min(data.len());
        let count = narrow(len);
        let [(first, first_len), (second, second_len)] = self.layout.spans(self.consumed, count);
        memory.read(first, &mut data[..first_len]);
        memory.read(second, &mut data[first_len..first_len + second_len]);
        self.consumed = self.consumed.wrapping_add(count);
        memory.store_u32(self.layout.consumer, self.consumed, Ordering::Release);
        Ok(len)
    }
}

/// Where one direction of a stream of events of equal size lies within its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRing {
    /// Offset of the first event.
    pub data: usize,
    /// Events in the ring; not always a power of two.
    pub events: u32,
    /// Offset of the consumer index.
    pub consumer: usize,
    /// Offset of the producer index.
    pub producer: usize,
}

/// Bytes of an event of a framebuffer or keyboard.
pub const EVENT_SIZE: usize = 40;

impl EventRing {
    fn slot(self, index: u32) -> usize {
        self.data + widen(index % self.events) * EVENT_SIZE
    }
}

/// The sending end of a stream of events.
#[derive(Debug)]
pub struct EventSender {
    layout: EventRing,
    produced: u32,
}

impl EventSender {
    /// Starts an empty stream.
    pub fn new(layout: EventRing, memory: &(impl SharedMem + ?Sized)) -> Self {
        memory.store_u32(layout.consumer, 0, Ordering::Relaxed);
        memory.store_u32(layout.producer, 0, Ordering::Release);
        Self { layout, produced: 0 }
    }

    /// Sends an event; `false` if there is no room. The caller notifies.
    pub fn send(&mut self, memory: &(impl SharedMem + ?Sized), event: &[u8]) -> Result<bool, RingFault> {
        let pending = self.produced.wrapping_sub(memory.load_u32(self.layout.consumer, Ordering::Acquire));
        if pending > self.layout.events {
            return Err(RingFault::Underrun { pending });
        }
        if pending == self.layout.events {
            return Ok(false);
        }
        let mut slot = [0; EVENT_SIZE];
        let len = event.len().min(EVENT_SIZE);
        slot[..len].copy_from_slice(&event[..len]);
        memory.write(self.layout.slot(self.produced), &slot);
        self.produced = self.produced.wrapping_add(1);
        memory.store_u32(self.layout.producer, self.produced, Ordering::Release);
        Ok(true)
    }
}

/// The receiving end of a stream of events.
#[derive(Debug)]
pub struct EventReceiver {
    layout: EventRing,
    consumed: u32,
}

impl EventReceiver {
    /// Starts an empty stream.
    pub fn new(layout: EventRing, memory: &(impl SharedMem + ?Sized)) -> Self {
        memory.store_u32(layout.consumer, 0, Ordering::Relaxed);
        memory.store_u32(layout.producer, 0, Ordering::Release);
        Self { layout, consumed: 0 }
    }

    /// Takes the next event, if there is one.
    pub fn receive(&mut self, memory: &(impl SharedMem + ?Sized)) -> Result<Option<[u8; EVENT_SIZE]>, RingFault> {
        let waiting = memory.load_u32(self.layout.producer, Ordering::Acquire).wrapping_sub(self.consumed);
        if waiting > self.layout.events {
            return Err(RingFault::Overrun { waiting });
        }
        if waiting == 0 {
            return Ok(None);
        }
        let mut event = [0; EVENT_SIZE];
        memory.read(self.layout.slot(self.consumed), &mut event);
        self.consumed = self.consumed.wrapping_add(1);
        memory.store_u32(self.layout.consumer, self.consumed, Ordering::Release);
        Ok(Some(event))
    }
}

/// `req_prod`.
const REQUEST_PRODUCER: usize = 0;
/// `req_event`.
const REQUEST_EVENT: usize = 4;
/// `rsp_prod`.
const RESPONSE_PRODUCER: usize = 8;
/// `rsp_event`.
const RESPONSE_EVENT: usize = 12;
/// Bytes before the first slot.
const RING_HEADER: usize = 64;

/// The frontend's end of a request ring of one or more pages, with slots of `SLOT` bytes.
#[derive(Debug)]
pub struct FrontRing<M, const SLOT: usize> {
    memory: M,
    slots: u32,
    /// Requests put into slots; `req_prod_pvt` of ring.h.
    produced: u32,
    /// Requests that the peer may see.
    published: u32,
    /// Responses taken.
    consumed: u32,
}

impl<M: SharedMem, const SLOT: usize> FrontRing<M, SLOT> {
    /// Makes an empty ring that fills `memory`.
    pub fn new(memory: M) -> Self {
        let slots = Self::slots_in(memory.len());
        memory.write(0, &[0; RING_HEADER]);
        memory.store_u32(REQUEST_EVENT, 1, Ordering::Relaxed);
        memory.store_u32(RESPONSE_EVENT, 1, Ordering::Release);
        Self { memory, slots, produced: 0, published: 0, consumed: 0 }
    }

    /// Slots of a ring of `bytes` bytes: the largest power of two that fits.
    pub const fn slots_in(bytes: usize) -> u32 {
        let fit = narrow(bytes.saturating_sub(RING_HEADER) / SLOT);
        if fit == 0 { 0 } else { 1 << fit.ilog2() }
    }

    /// Slots.
    pub const fn slots(&self) -> u32 {
        self.slots
    }

    /// Requests that can be pushed now.
    pub const fn free(&self) -> u32 {
        self.slots - self.in_flight()
    }

    /// Requests that were pushed and are not answered.
    pub const fn in_flight(&self) -> u32 {
        self.produced.wrapping_sub(self.consumed)
    }

    /// The memory under the ring.
    pub const fn memory(&self) -> &M {
        &self.memory
    }

    /// Takes the ring apart.
    pub fn into_memory(self) -> M {
        self.memory
    }

    /// Puts a request into the next slot; `false` if there is none. The peer sees it after [`publish`](Self::publish).
    #[must_use]
    pub fn push(&mut self, request: &[u8; SLOT]) -> bool {
        if self.free() == 0 {
            return false;
        }
        self.memory.write(self.slot(self.produced), request);
        self.produced = self.produced.wrapping_add(1);
        true
    }

    /// Shows the peer all that was pushed. `true`: it has to be notified.
    #[must_use]
    pub fn publish(&mut self) -> bool {
        let (old, new) = (self.published, self.produced);
        if old == new {
            return false;
        }
        self.memory.store_u32(REQUEST_PRODUCER, new, Ordering::Release);
        self.published = new;
        // The peer sets req_event and then looks at req_prod; we do it the other way round, so one of us sees.
        fence(Ordering::SeqCst);
        let event = self.memory.load_u32(REQUEST_EVENT, Ordering::Relaxed);
        new.wrapping_sub(event) < new.wrapping_sub(old)
    }

    /// Takes the first `N` bytes of the next response, if there is one.
    pub fn pop<const N: usize>(&mut self) -> Result<Option<[u8; N]>, RingFault> {
        const { assert!(N <= SLOT) };
        if self.waiting()? == 0 {
            return Ok(None);
        }
        let mut response = [0; N];
        self.memory.read(self.slot(self.consumed), &mut response);
        self.consumed = self.consumed.wrapping_add(1);
        Ok(Some(response))
    }

    /// Asks for a notification of the next response. `true`: there is one already, so look again.
    pub fn arm(&mut self) -> Result<bool, RingFault> {
        self.memory.store_u32(RESPONSE_EVENT, self.consumed.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        Ok(self.waiting()? != 0)
    }

    /// Responses in the ring, which can only be answers to published requests.
    fn waiting(&self) -> Result<u32, RingFault> {
        let producer = self.memory.load_u32(RESPONSE_PRODUCER, Ordering::Acquire);
        let waiting = producer.wrapping_sub(self.consumed);
        if waiting > self.published.wrapping_sub(self.consumed) {
            return Err(RingFault::Overrun { waiting });
        }
        Ok(waiting)
    }

    fn slot(&self, index: u32) -> usize {
        RING_HEADER + widen(index & (self.slots - 1)) * SLOT
    }
}

/// The backend's end of a request ring, in pages that the frontend has granted.
///
/// How long a slot is depends on the protocol that the frontend speaks, so it is a value here.
#[derive(Debug)]
pub struct BackRing<M> {
    memory: M,
    slot_len: usize,
    slots: u32,
    /// Requests taken; `req_cons` of ring.h.
    consumed: u32,
    /// Responses put into slots; `rsp_prod_pvt`.
    produced: u32,
    /// Responses that the peer may see.
    published: u32,
}

impl<M: SharedMem> BackRing<M> {
    /// Takes up a ring of slots of `slot_len` bytes that a frontend has made, or that another backend has left.
    pub fn attach(memory: M, slot_len: usize) -> Result<Self, RingFault> {
        let fit = narrow(memory.len().saturating_sub(RING_HEADER) / slot_len.max(1));
        let slots = if fit == 0 { 0 } else { 1 << fit.ilog2() };
        let answered = memory.load_u32(RESPONSE_PRODUCER, Ordering::Acquire);
        let ring = Self { memory, slot_len, slots, consumed: answered, produced: answered, published: answered };
        ring.waiting().map(|_| ring)
    }

    /// Slots.
    pub const fn slots(&self) -> u32 {
        self.slots
    }

    /// Requests that were taken and are not answered.
    pub const fn unanswered(&self) -> u32 {
        self.consumed.wrapping_sub(self.produced)
    }

    /// Requests that can be taken. A frontend has at most as many unanswered as there are slots.
    pub fn waiting(&self) -> Result<u32, RingFault> {
        // Acquire: a request is read only after the index that announces it.
        let waiting = self.memory.load_u32(REQUEST_PRODUCER, Ordering::Acquire).wrapping_sub(self.consumed);
        if waiting > self.slots - self.unanswered() {
            return Err(RingFault::Overrun { waiting });
        }
        Ok(waiting)
    }

    /// Takes the first `N` bytes of the next request, if there is one: a copy, so that the frontend changes nothing of it
    /// any more.
    pub fn pop<const N: usize>(&mut self) -> Result<Option<[u8; N]>, RingFault> {
        if self.waiting()? == 0 {
            return Ok(None);
        }
        let mut request = [0; N];
        let len = N.min(self.slot_len);
        self.memory.read(self.slot(self.consumed), &mut request[..len]);
        self.consumed = self.consumed.wrapping_add(1);
        Ok(Some(request))
    }

    /// Puts a response into the next slot, for one of the requests that were taken. The peer sees it after
    /// [`publish`](Self::publish).
    pub fn push(&mut self, response: &[u8]) {
        debug_assert!(self.unanswered() > 0 && response.len() <= self.slot_len);
        if self.unanswered() == 0 {
            return;
        }
        self.memory.write(self.slot(self.produced), &response[..response.len().min(self.slot_len)]);
        self.produced = self.produced.wrapping_add(1);
    }

    /// Shows the peer all that was pushed. `true`: it has to be notified.
    #[must_use]
    pub fn publish(&mut self) -> bool {
        let (old, new) = (self.published, self.produced);
        if old == new {
            return false;
        }
        self.memory.store_u32(RESPONSE_PRODUCER, new, Ordering::Release);
        self.published = new;
        fence(Ordering::SeqCst);
        let event = self.memory.load_u32(RESPONSE_EVENT, Ordering::Relaxed);
        new.wrapping_sub(event) < new.wrapping_sub(old)
    }

    /// Asks for a notification of the next request. `true`: there is one already, so look again.
    pub fn arm(&mut self) -> Result<bool, RingFault> {
        self.arm_for(1)
    }

    /// Asks for a notification once `count` requests wait. `true`: so many do already.
    pub fn arm_for(&mut self, count: u32) -> Result<bool, RingFault> {
        self.memory.store_u32(REQUEST_EVENT, self.consumed.wrapping_add(count), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        Ok(self.waiting()? >= count)
    }

    fn slot(&self, index: u32) -> usize {
        RING_HEADER + widen(index & (self.slots - 1)) * self.slot_len
    }
}

/// Requests that were sent and not answered, by the id that the answer will carry.
///
/// An id is a key, never an address: the slot of the table, and a count of the slot's uses, so that a second answer
/// to the same request finds nothing.
#[derive(Debug)]
pub struct InFlight<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    uses: u32,
    owner: Option<T>,
}

impl<T> InFlight<T> {
    /// A table for `capacity` requests; it never allocates again.
    pub fn new(capacity: u32) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(widen(capacity), || Slot { uses: 0, owner: None });
        Self { slots, free: (0..capacity).rev().collect() }
    }

    /// Remembers a request and names it; gives it back if the table is full.
    pub fn insert(&mut self, owner: T) -> Result<u64, T> {
        let Some(index) = self.free.pop() else { return Err(owner) };
        let Some(slot) = self.slots.get_mut(widen(index)) else { return Err(owner) };
        slot.uses = slot.uses.wrapping_add(1);
        slot.owner = Some(owner);
        Ok(u64::from(slot.uses) << 32 | u64::from(index))
    }

    /// Forgets a request, because it was answered.
    pub fn take(&mut self, id: u64) -> Option<T> {
        let index = u32::try_from(id & u64::from(u32::MAX)).ok()?;
        let slot = self.slots.get_mut(widen(index))?;
        if u64::from(slot.uses) != id >> 32 {
            return None;
        }
        let owner = slot.owner.take()?;
        self.free.push(index);
        Some(owner)
    }

    /// Whether another request can be remembered.
    pub fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Forgets all requests, and hands each to `lost`.
    pub fn drain(&mut self, mut lost: impl FnMut(T)) {
        for (index, slot) in (0..).zip(&mut self.slots) {
            if let Some(owner) = slot.owner.take() {
                self.free.push(index);
                lost(owner);
            }
        }
    }
}

/// A 32-bit quantity as an index; every target that we build for has at least 32-bit addresses.
pub(crate) const fn widen(value: u32) -> usize {
    value as usize
}

/// A size within a ring as 32 bits. Rings are far smaller than 4 GiB.
#[expect(clippy::cast_possible_truncation, reason = "the value is checked first")]
pub(crate) const fn narrow(value: usize) -> u32 {
    if value > widen(u32::MAX) { u32::MAX } else { value as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_mem::fake::FakeMemory;
    use std::vec::Vec;

    const LAYOUT: ByteRing = ByteRing { data: 0, size: 16, consumer: 16, producer: 20 };

    #[test]
    fn a_byte_stream_wraps_around_its_buffer() {
        let memory = FakeMemory::new(64);
        memory.set_u32(16, 0xffff_fffc);
        memory.set_u32(20, 0xffff_fffc);
        let mut sender = ByteSender::new(LAYOUT, &memory);
        let mut receiver = ByteReceiver::new(LAYOUT, &memory);
        for round in 0..20_u8 {
            let sent = [round; 11];
            assert_eq!(sender.send(&memory, &sent), Ok(11));
            let mut got = [0; 32];
            assert_eq!(receiver.receive(&memory, &mut got), Ok(11));
            assert_eq!(got[..11], sent);
        }
        assert_eq!(sender.is_drained(&memory), Ok(true));
    }

    #[test]
    fn a_full_byte_stream_takes_what_fits() {
        let memory = FakeMemory::new(64);
        let mut sender = ByteSender::new(LAYOUT, &memory);
        assert_eq!(sender.send(&memory, &[7; 20]), Ok(16));
        assert_eq!(sender.send(&memory, &[7; 20]), Ok(0));
        memory.set_u32(16, 3);
        assert_eq!(sender.room(&memory), Ok(3));
    }

    const EVENTS: EventRing = EventRing { data: 16, events: 3, consumer: 0, producer: 4 };

    #[test]
    fn events_arrive_in_order_and_a_full_ring_says_so() {
        let memory = FakeMemory::new(256);
        let mut sender = EventSender::new(EVENTS, &memory);
        let mut receiver = EventReceiver { layout: EVENTS, consumed: 0 };
        for round in 0..10_u8 {
            let sent: Vec<_> = (0..4).map(|event| sender.send(&memory, &[round, event]).unwrap()).collect();
            assert_eq!(sent, [true, true, true, false]);
            for event in 0..3 {
                assert_eq!(receiver.receive(&memory).unwrap().unwrap()[..3], [round, event, 0]);
            }
            assert_eq!(receiver.receive(&memory), Ok(None));
        }
        memory.set_u32(4, 100);
        assert_eq!(receiver.receive(&memory), Err(RingFault::Overrun { waiting: 70 }));
        memory.set_u32(0, 31);
        assert_eq!(sender.send(&memory, &[]), Err(RingFault::Underrun { pending: u32::MAX }));
    }

    #[test]
    fn impossible_indices_of_a_byte_stream_are_faults() {
        let memory = FakeMemory::new(64);
        let mut sender = ByteSender::new(LAYOUT, &memory);
        let mut receiver = ByteReceiver::new(LAYOUT, &memory);
        memory.set_u32(16, 1);
        assert_eq!(sender.send(&memory, b"x"), Err(RingFault::Underrun { pending: u32::MAX }));
        memory.set_u32(20, 17);
        assert_eq!(receiver.receive(&memory, &mut [0; 4]), Err(RingFault::Overrun { waiting: 17 }));
    }

    /// ring.h: `__RING_SIZE` rounds the number of entries down to a power of two.
    #[test]
    fn a_ring_has_a_power_of_two_of_slots() {
        assert_eq!(FrontRing::<FakeMemory, 112>::slots_in(4096), 32);
        assert_eq!(FrontRing::<FakeMemory, 112>::slots_in(4096 * 16), 512);
        assert_eq!(FrontRing::<FakeMemory, 112>::slots_in(100), 0);
    }

    /// ring.h: `SHARED_RING_INIT` sets req_event and rsp_event to 1, and a push notifies when it passes req_event.
    #[test]
    fn a_push_notifies_exactly_when_it_passes_req_event() {
        let memory = FakeMemory::new(4096);
        let mut ring = FrontRing::<_, 112>::new(memory.clone());
        assert_eq!((memory.get_u32(4), memory.get_u32(12)), (1, 1));
        assert!(!ring.publish());
        assert!(ring.push(&[1; 112]));
        assert_eq!(memory.get_u32(0), 0, "not published yet");
        assert!(ring.publish());
        assert!(ring.push(&[2; 112]));
        assert!(!ring.publish(), "req_event is still 1, and the peer is awake");
        memory.set_u32(4, 4);
        assert!(ring.push(&[3; 112]) && ring.push(&[4; 112]));
        assert!(ring.publish());
        assert_eq!(memory.bytes(64 + 112 * 3, 112), [4; 112]);
    }

    #[test]
    fn a_ring_takes_its_slots_and_no_more() {
        let mut ring = FrontRing::<_, 112>::new(FakeMemory::new(4096));
        assert_eq!((0..40).filter(|_| ring.push(&[0; 112])).count(), 32);
        assert_eq!((ring.free(), ring.in_flight()), (0, 32));
    }

    #[test]
    fn responses_come_in_order_and_arm_finds_late_ones() {
        let memory = FakeMemory::new(4096);
        let mut ring = FrontRing::<_, 112>::new(memory.clone());
        for _ in 0..3 {
            assert!(ring.push(&[0; 112]));
        }
        let _ = ring.publish();
        memory.write(64, b"one");
        memory.set_u32(8, 1);
        assert_eq!(ring.pop::<3>(), Ok(Some(*b"one")));
        assert_eq!(ring.pop::<3>(), Ok(None));
        assert_eq!(ring.arm(), Ok(false));
        assert_eq!(memory.get_u32(12), 2);
        memory.set_u32(8, 2);
        assert_eq!(ring.arm(), Ok(true));
    }

    #[test]
    fn more_responses_than_requests_are_a_fault() {
        let memory = FakeMemory::new(4096);
        let mut ring = FrontRing::<_, 112>::new(memory.clone());
        assert!(ring.push(&[0; 112]));
        memory.set_u32(8, 1);
        assert_eq!(ring.pop::<1>(), Err(RingFault::Overrun { waiting: 1 }), "pushed, but never published");
        let _ = ring.publish();
        assert_eq!(ring.pop::<1>(), Ok(Some([0])));
        memory.set_u32(8, 0);
        assert_eq!(ring.pop::<1>(), Err(RingFault::Overrun { waiting: u32::MAX }));
    }

    #[test]
    fn both_ends_of_a_ring_understand_each_other() {
        let memory = FakeMemory::new(4096);
        let mut front = FrontRing::<_, 112>::new(memory.clone());
        let mut back = BackRing::attach(memory.clone(), 112).unwrap();
        assert_eq!((back.slots(), back.pop::<112>()), (32, Ok(None)));
        for round in 0..100_u8 {
            for part in 0..=round % 32 {
                assert!(front.push(&[part; 112]));
            }
            assert!(front.publish(), "the backend has armed");
            for part in 0..=round % 32 {
                assert_eq!(back.pop::<112>(), Ok(Some([part; 112])));
                back.push(&[round, part]);
            }
            assert!(back.publish(), "the frontend has armed");
            assert_eq!((back.unanswered(), back.arm()), (0, Ok(false)));
            for part in 0..=round % 32 {
                assert_eq!(front.pop::<2>(), Ok(Some([round, part])));
            }
            assert_eq!(front.arm(), Ok(false));
        }
        let mut next = BackRing::attach(memory, 112).unwrap();
        assert!(front.push(&[9; 112]));
        assert!(front.publish());
        assert_eq!(next.pop::<1>(), Ok(Some([9])), "another backend goes on where the last one was");
    }

    /// ring.h, `RING_REQUEST_PROD_OVERFLOW`: there are never more requests than slots that are not answered.
    #[test]
    fn more_requests_than_slots_are_a_fault() {
        let memory = FakeMemory::new(4096);
        let mut back = BackRing::attach(memory.clone(), 112).unwrap();
        memory.set_u32(0, 33);
        assert_eq!(back.pop::<112>(), Err(RingFault::Overrun { waiting: 33 }));
        assert_eq!(back.arm(), Err(RingFault::Overrun { waiting: 33 }));
        memory.set_u32(0, 32);
        assert_eq!(back.pop::<1>(), Ok(Some([0])));
        memory.set_u32(0, 33);
        assert_eq!(back.waiting(), Err(RingFault::Overrun { waiting: 32 }), "the first is not answered");
        memory.set_u32(0, u32::MAX);
        assert_eq!(back.waiting(), Err(RingFault::Overrun { waiting: u32::MAX - 1 }));
        assert!(BackRing::attach(memory, 112).is_err());
    }

    #[test]
    fn an_id_is_good_for_one_answer() {
        let mut table = InFlight::new(2);
        let (Ok(a), Ok(b)) = (table.insert('a'), table.insert('b')) else { panic!("room for two") };
        assert_eq!(table.insert('c'), Err('c'));
        assert_eq!(table.take(a), Some('a'));
        assert_eq!(table.take(a), None);
        let Ok(again) = table.insert('d') else { panic!("room for one") };
        assert_ne!(again, a);
        assert_eq!(table.take(a), None, "an old id of the same slot");
        assert_eq!(table.take(0), None);
        assert_eq!(table.take(u64::MAX), None);
        let mut lost = Vec::new();
        table.drain(|owner| lost.push(owner));
        lost.sort_unstable();
        assert_eq!(lost, ['b', 'd']);
        assert_eq!(table.take(b), None);
        assert!(table.has_room());
    }
}
