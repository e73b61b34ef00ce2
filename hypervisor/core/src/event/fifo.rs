//! The FIFO ABI: queues of ports for each vCPU and priority, in memory of the domain.
//!
//! The domain has an array of a word for each port, and each vCPU a control block with the first port of each queue. A port
//! that becomes pending, and is neither masked nor in a queue, is put at the end of its queue: the word of the port before it
//! says which is next. The domain takes ports off the front, and has no need of the end, which is noted here alone.
//!
//! What is in the domain's memory is not believed: no link is followed, and a word that changes without end loses its owner a
//! link and nobody else anything.
//!
//! Source: `public/event_channel.h`; behaviour as of Xen 4.17's `common/event_fifo.c`.
//! Not there: that a closed port is not opened again while the domain still has it in a queue. It is heard of there.

use super::Channel;
use crate::{Errno, Memory, Mfn};
use alloc::vec::Vec;
use core::mem::offset_of;
use xen_abi::event::{
    EVTCHN_FIFO_BUSY, EVTCHN_FIFO_LINK_MASK, EVTCHN_FIFO_LINKED, EVTCHN_FIFO_MASKED, EVTCHN_FIFO_MAX_QUEUES,
    EVTCHN_FIFO_NR_CHANNELS, EVTCHN_FIFO_PENDING, FifoControlBlock,
};
use xen_abi::{PAGE_SIZE, Port};

/// Words of a page of the array.
pub(super) const WORDS_PER_PAGE: u32 = 1024;
const _: () = assert!(WORDS_PER_PAGE as usize * size_of::<u32>() == PAGE_SIZE);
/// Pages of an array.
const PAGES_MAX: usize = (EVTCHN_FIFO_NR_CHANNELS / WORDS_PER_PAGE) as usize;
/// How often a word is tried to be changed while the domain changes it, which it does four times at most. Xen's number.
const LINK_ATTEMPTS: usize = 5;
const CLEAR_ATTEMPTS: usize = 64;
/// Bits of a word.
const PENDING: u32 = 1 << EVTCHN_FIFO_PENDING;
const MASKED: u32 = 1 << EVTCHN_FIFO_MASKED;
const LINKED: u32 = 1 << EVTCHN_FIFO_LINKED;
const BUSY: u32 = 1 << EVTCHN_FIFO_BUSY;

/// A queue: of a vCPU, and of a priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Queue {
    pub(super) vcpu: u32,
    pub(super) priority: u8,
}

/// What a signal has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Raised {
    /// The port was not pending before.
    pub(super) is_new: bool,
    /// Its queue was empty, and the vCPU has not been told of the queue yet.
    pub(super) is_first: bool,
}

/// All of a domain's.
#[derive(Clone, Debug)]
pub(super) struct Fifo {
    array: Vec<Mfn>,
    vcpus: Vec<Queues>,
}

/// The queues of a vCPU.
#[derive(Clone, Copy, Debug, Default)]
struct Queues {
    /// Frame and offset of its control block.
    control: Option<(Mfn, usize)>,
    /// The last port of each queue; 0: it is empty.
    tails: [Port; EVTCHN_FIFO_MAX_QUEUES],
}

impl Fifo {
    /// Without pages.
    pub(super) fn new(vcpus: usize) -> Self {
        Self { array: Vec::new(), vcpus: alloc::vec![Queues::default(); vcpus] }
    }

    /// Whether a control block may be at this offset of its page.
    pub(super) fn control_offset(offset: u32) -> Result<usize, Errno> {
        let offset = usize::try_from(offset).map_err(|_| Errno::EINVAL)?;
        let is_good = offset <= PAGE_SIZE.saturating_sub(size_of::<FifoControlBlock>()) && offset.is_multiple_of(8);
        is_good.then_some(offset).ok_or(Errno::EINVAL)
    }

    /// Whether a vCPU has a control block.
    pub(super) fn has_control(&self, vcpu: u32) -> bool {
        self.queues(vcpu).is_some_and(|queues| queues.control.is_some())
    }

    pub(super) fn set_control(&mut self, vcpu: u32, frame: Mfn, offset: usize) {
        if let Some(queues) = self.vcpus.get_mut(vcpu as usize) {
            queues.control = Some((frame, offset));
        }
    }

    /// Whether the array can have one more page.
    pub(super) fn has_room(&self) -> bool {
        self.array.len() < PAGES_MAX
    }

    /// One more page of the array: the ports that it has words for.
    pub(super) fn expand(&mut self, frame: Mfn) -> core::ops::Range<u32> {
        let first = u32::try_from(self.array.len()).unwrap_or(0).saturating_mul(WORDS_PER_PAGE);
        self.array.push(frame);
        first..first.saturating_add(WORDS_PER_PAGE)
    }

    /// All pages, which nobody uses for this any more.
    pub(super) fn into_frames(self) -> Vec<Mfn> {
        let controls = self.vcpus.iter().filter_map(|queues| queues.control.map(|(frame, _)| frame));
        self.array.iter().copied().chain(controls).collect()
    }

    /// Makes a port pending.
    pub(super) fn signal(&mut self, memory: &mut impl Memory, port: Port, channel: &mut Channel) -> Raised {
        let Some(place) = self.place(port) else {
            // Its word comes later.
            channel.is_waiting = true;
            return Raised::default();
        };
        let queue = Queue { vcpu: channel.vcpu, priority: channel.priority };
        // Without a control block nobody hears of it; a domain has that first.
        let Some((frame, control)) = self.queues(queue.vcpu).and_then(|queues| queues.control) else {
            return Raised::default();
        };
        let is_new = set(memory, place, PENDING) & PENDING == 0;
        let is_quiet = load(memory, place) & MASKED != 0 || set(memory, place, LINKED) & LINKED != 0;
        if is_quiet {
            return Raised { is_new, is_first: false };
        }
        // If it was the last one of its queue, the domain has taken it off, and that queue is empty.
        if let Some(tail) = self.tail(channel.queue)
            && *tail == port
        {
            *tail = Port(0);
        }
        channel.queue = queue;
        let before = self.tail(queue).map_or(Port(0), |tail| core::mem::replace(tail, port));
        let is_linked = before != Port(0) && self.place(before).is_some_and(|place| set_link(memory, place, port));
        if is_linked {
            return Raised { is_new, is_first: false };
        }
        let head = offset_of!(FifoControlBlock, head).saturating_add(usize::from(queue.priority).saturating_mul(4));
        memory.write(frame, control.saturating_add(head), &port.0.to_le_bytes());
        let bit = 1_u32.wrapping_shl(queue.priority.into());
        let is_first = set(memory, Place::of(frame, control), bit) & bit == 0;
        Raised { is_new, is_first }
    }

    /// Unmasks a port. Says whether it is pending.
    pub(super) fn unmask(&self, memory: &mut impl Memory, port: Port) -> bool {
        let Some(place) = self.place(port) else { return false };
        clear(memory, place, MASKED);
        load(memory, place) & PENDING != 0
    }

    pub(super) fn is_pending(&self, memory: &impl Memory, port: Port) -> bool {
        self.place(port).is_some_and(|place| load(memory, place) & PENDING != 0)
    }

    /// It stays in its queue: the domain passes over it.
    pub(super) fn clear_pending(&self, memory: &mut impl Memory, port: Port) {
        if let Some(place) = self.place(port) {
            clear(memory, place, PENDING);
        }
    }

    fn queues(&self, vcpu: u32) -> Option<&Queues> {
        self.vcpus.get(vcpu as usize)
    }

    fn tail(&mut self, queue: Queue) -> Option<&mut Port> {
        self.vcpus.get_mut(queue.vcpu as usize)?.tails.get_mut(usize::from(queue.priority))
    }

    fn place(&self, port: Port) -> Option<Place> {
        let frame = self.array.get((port.0 / WORDS_PER_PAGE) as usize)?;
        Some(Place::of(*frame, ((port.0 % WORDS_PER_PAGE) as usize).saturating_mul(size_of::<u32>())))
    }
}

/// Where a word of 32 bits is: which half of which word of memory.
#[derive(Clone, Copy, Debug)]
struct Place {
    frame: Mfn,
    index: usize,
    shift: u32,
}

impl Place {
    /// At an offset that is a multiple of 4.
    const fn of(frame: Mfn, offset: usize) -> Self {
        Self { frame, index: offset / 8, shift: if offset.is_multiple_of(8) { 0 } else { 32 } }
    }

    fn half(self, word: u64) -> u32 {
        u32::try_from(word.wrapping_shr(self.shift) & 0xffff_ffff).unwrap_or(0)
    }

    fn with_half(self, word: u64, half: u32) -> u64 {
        word & !0xffff_ffff_u64.wrapping_shl(self.shift) | u64::from(half).wrapping_shl(self.shift)
    }
}

fn load(memory: &impl Memory, place: Place) -> u32 {
    place.half(memory.load(place.frame, place.index))
}

fn set(memory: &mut impl Memory, place: Place, bits: u32) -> u32 {
    place.half(memory.fetch_or(place.frame, place.index, u64::from(bits).wrapping_shl(place.shift)))
}

fn clear(memory: &mut impl Memory, place: Place, bits: u32) {
    let mut word = memory.load(place.frame, place.index);
    for _ in 0..CLEAR_ATTEMPTS {
        let new = place.with_half(word, place.half(word) & !bits);
        match memory.compare_exchange(place.frame, place.index, word, new) {
            now if now == word => return,
            now => word = now,
        }
    }
}

/// Says in the word of the last port of a queue which is next, as long as it is in the queue. A domain that has just taken it off
/// finds the queue empty.
fn set_link(memory: &mut impl Memory, place: Place, next: Port) -> bool {
    for attempt in 0..LINK_ATTEMPTS {
        let word = memory.load(place.frame, place.index);
        let half = place.half(word);
        if half & LINKED == 0 {
            clear(memory, place, BUSY);
            return false;
        }
        let new = half & !(BUSY | EVTCHN_FIFO_LINK_MASK) | next.0 & EVTCHN_FIFO_LINK_MASK;
        if memory.compare_exchange(place.frame, place.index, word, place.with_half(word, new)) == word {
            return true;
        }
        if attempt == 0 {
            // The domain leaves the word alone that is marked so.
            set(memory, place, BUSY);
        }
    }
    clear(memory, place, BUSY);
    true
}
