//! The guest's accesses, as Xen passes them on.
//!
//! Two kinds: synchronous requests, one slot for each vCPU, which waits for the answer; and buffered ones, a ring of
//! writes that nobody waits for. Each vCPU and the ring have an event channel.
//!
//! Source: Xen's public/hvm/ioreq.h. A slot's state goes NONE, READY (Xen), INPROCESS (us), RESP_READY (us), NONE
//! (Xen). A buffered request of 8 bytes takes two slots of the ring; the pointers run freely, and Xen brings both back
//! below the ring's size now and then, in one atomic step.
//!
//! Invariant: a request is copied out of its page once; what is written there later changes nothing.
//! Invariant: nothing here allocates or logs once the server is created.

use crate::event::EventChannel;
use crate::foreign::{ForeignMapping, MapError};
use crate::hypercall::XenError;
use crate::hypercall::dm::{self, IoRange, ServerId};
use crate::shared::SharedBytes;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use xen_abi::ioreq::{
    IOREQ_BUFFER_SLOT_NUM, IOREQ_BUFFER_SLOTS_OFFSET, IOREQ_DATA_IS_PTR, IOREQ_DF, IOREQ_DIR, IOREQ_STATE_MASK,
    IOREQ_TYPE_COPY, IOREQ_TYPE_INVALIDATE, IOREQ_TYPE_PCI_CONFIG, IOREQ_TYPE_PIO, IOREQ_TYPE_TIMEOFFSET,
    IOREQS_PER_PAGE, RawBufIoreq, RawIoreq, STATE_IOREQ_INPROCESS, STATE_IOREQ_READY, STATE_IORESP_READY,
};
use xen_abi::memory::{
    XENMEM_RESOURCE_IOREQ_SERVER, XENMEM_RESOURCE_IOREQ_SERVER_FRAME_BUFIOREQ, XENMEM_RESOURCE_IOREQ_SERVER_FRAME_IOREQ,
};
use xen_abi::{DomId, Port};

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An I/O port.
    Pio,
    /// Memory.
    Copy,
    /// PCI configuration space: `addr` is the function in bits 63:32 and the register in bits 31:0.
    PciConfig,
    /// The guest has set its clock.
    TimeOffset,
    /// Forget what is cached of the guest's memory.
    Invalidate,
    /// A kind that we do not know.
    Other(u8),
}

impl Kind {
    const fn decode(kind: u8) -> Self {
        match kind {
            IOREQ_TYPE_PIO => Self::Pio,
            IOREQ_TYPE_COPY => Self::Copy,
            IOREQ_TYPE_PCI_CONFIG => Self::PciConfig,
            IOREQ_TYPE_TIMEOFFSET => Self::TimeOffset,
            IOREQ_TYPE_INVALIDATE => Self::Invalidate,
            other => Self::Other(other),
        }
    }
}

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The guest writes.
    Write,
    /// The guest reads.
    Read,
}

/// A request, as it was when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ioreq {
    /// What it is about.
    pub kind: Kind,
    /// Port, guest-physical address, or as [`Kind`] says.
    pub addr: u64,
    /// The value to write; or, with [`data_is_ptr`](Self::data_is_ptr), the guest-physical address of values.
    pub data: u64,
    /// Number of values: more than one for string instructions only.
    pub count: u32,
    /// Bytes of a value. Xen asks for 1, 2, 4 and 8.
    pub size: u32,
    /// Which way.
    pub direction: Direction,
    /// Values of a string instruction are in memory, at `data`.
    pub data_is_ptr: bool,
    /// The string instruction goes down in memory.
    pub backwards: bool,
}

/// A buffered request: always one value, of which nobody waits for anything.
pub type BufferedIoreq = Ioreq;

/// What an event channel of a server stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The synchronous request of a vCPU.
    Vcpu(usize),
    /// The ring of buffered requests.
    Buffered,
}

/// An ioreq server of ours, enabled. It is destroyed when dropped.
#[derive(Debug)]
pub struct IoreqServer {
    target: DomId,
    // Channels and pages are closed and unmapped before the server is destroyed.
    vcpus: Vec<EventChannel>,
    buffered: EventChannel,
    requests: ForeignMapping,
    buffer: ForeignMapping,
    /// What each port stands for, by port.
    sources: Vec<(Port, Source)>,
    server: Registration,
}

/// A server's number; destroys it when dropped.
#[derive(Debug)]
struct Registration {
    target: DomId,
    id: ServerId,
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Err(error) = dm::destroy_ioreq_server(self.target, self.id) {
            log::debug!("the ioreq server of {} cannot be destroyed: {error}", self.target);
        }
    }
}

/// Which step of the creation Xen refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateError {
    /// The step.
    pub step: &'static str,
    /// What Xen said.
    pub error: XenError,
}

impl core::fmt::Display for CreateError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: {}", self.step, self.error)
    }
}

impl core::error::Error for CreateError {}

impl IoreqServer {
    /// Creates a server for a target that has `vcpus` vCPUs, at least one, and enables it. It answers for nothing yet.
    pub fn create(target: DomId, vcpus: usize) -> Result<Self, CreateError> {
        let step = |step| move |error| CreateError { step, error };
        let map_step = |step| move |error: MapError| CreateError { step, error: error.error };
        let id = dm::create_ioreq_server(target).map_err(step("creating the ioreq server"))?;
        let server = Registration { target, id };
        let pages = vcpus.max(1).div_ceil(IOREQS_PER_PAGE);
        let map = |first, count| {
            ForeignMapping::map_resource(target, XENMEM_RESOURCE_IOREQ_SERVER, u32::from(id.0), first, count)
        };
        let buffer = map(XENMEM_RESOURCE_IOREQ_SERVER_FRAME_BUFIOREQ, 1)
            .map_err(map_step("mapping the page of buffered requests"))?;
        let requests =
            map(XENMEM_RESOURCE_IOREQ_SERVER_FRAME_IOREQ, pages).map_err(map_step("mapping the pages of requests"))?;
        let remote = dm::buffered_port(target, id).map_err(step("asking for the port of buffered requests"))?;
        let buffered = EventChannel::bind(target, remote).map_err(step("binding the port of buffered requests"))?;
        // Xen writes the vCPUs' ports into their slots when the server is enabled.
        dm::set_ioreq_server_state(target, id, true).map_err(step("enabling the ioreq server"))?;
        let mut channels = Vec::with_capacity(vcpus);
        if let Some(page) = requests.bytes() {
            for vcpu in 0..vcpus {
                let remote = page.load_u32(field(vcpu, offset_of!(RawIoreq, vp_eport)), Ordering::Acquire);
                channels.push(EventChannel::bind(target, Port(remote)).map_err(step("binding the port of a vCPU"))?);
            }
        }
        let mut sources: Vec<(Port, Source)> =
            channels.iter().enumerate().map(|(vcpu, channel)| (channel.port(), Source::Vcpu(vcpu))).collect();
        sources.push((buffered.port(), Source::Buffered));
        sources.sort_unstable_by_key(|&(port, _)| port);
        Ok(Self { target, vcpus: channels, buffered, requests, buffer, sources, server })
    }

    /// The domain that is served.
    #[must_use]
    pub const fn target(&self) -> DomId {
        self.target
    }

    /// Number of vCPUs.
    #[must_use]
    pub fn vcpus(&self) -> usize {
        self.vcpus.len()
    }

    /// Our port for a vCPU's requests.
    #[must_use]
    pub fn vcpu_port(&self, vcpu: usize) -> Option<Port> {
        self.vcpus.get(vcpu).map(EventChannel::port)
    }

    /// Our port for buffered requests.
    #[must_use]
    pub const fn buffered_port(&self) -> Port {
        self.buffered.port()
    }

    /// What a port stands for, if it is one of this server's.
    #[must_use]
    pub fn source(&self, port: Port) -> Option<Source> {
        let index = self.sources.binary_search_by_key(&port, |&(port, _)| port).ok()?;
        Some(self.sources[index].1)
    }

    /// Answers for a range from now on.
    pub fn claim(&self, range: IoRange) -> Result<(), XenError> {
        dm::map_io_range(self.target, self.server.id, range, true)
    }

    /// Answers for a range no longer. It must be one that was claimed, whole.
    pub fn unclaim(&self, range: IoRange) -> Result<(), XenError> {
        dm::map_io_range(self.target, self.server.id, range, false)
    }

    /// Lets requests come, or not.
    pub fn enable(&self, enabled: bool) -> Result<(), XenError> {
        dm::set_ioreq_server_state(self.target, self.server.id, enabled)
    }

    /// Takes a vCPU's request, if there is one. It must be answered with [`complete`](Self::complete).
    pub fn take(&self, vcpu: usize) -> Option<Ioreq> {
        if vcpu >= self.vcpus.len() {
            return None;
        }
        take_request(self.requests.bytes()?, vcpu)
    }

    /// Answers the request that was taken. `data` is what the guest reads, as far as it reads a single value.
    pub fn complete(&self, vcpu: usize, data: u64) {
        if let (Some(channel), Some(page)) = (self.vcpus.get(vcpu), self.requests.bytes()) {
            answer_request(page, vcpu, data);
            channel.notify();
        }
    }

    /// Takes the oldest buffered request, if there is one.
    pub fn take_buffered(&self) -> Option<BufferedIoreq> {
        take_buffered(self.buffer.bytes()?)
    }
}

/// Offset of a field of a vCPU's slot. Slots run on over the pages' ends.
const fn field(vcpu: usize, offset: usize) -> usize {
    vcpu * size_of::<RawIoreq>() + offset
}

fn take_request(page: &SharedBytes, vcpu: usize) -> Option<Ioreq> {
    let at = |offset| field(vcpu, offset);
    // Acquire: the request was written before its state.
    let bits = page.load_u8(at(offset_of!(RawIoreq, bits)), Ordering::Acquire);
    if bits & IOREQ_STATE_MASK != STATE_IOREQ_READY {
        return None;
    }
    let request = Ioreq {
        kind: Kind::decode(page.load_u8(at(offset_of!(RawIoreq, kind)), Ordering::Relaxed)),
        addr: page.load_u64(at(offset_of!(RawIoreq, addr)), Ordering::Relaxed),
        data: page.load_u64(at(offset_of!(RawIoreq, data)), Ordering::Relaxed),
        count: page.load_u32(at(offset_of!(RawIoreq, count)), Ordering::Relaxed),
        size: page.load_u32(at(offset_of!(RawIoreq, size)), Ordering::Relaxed),
        direction: if bits & IOREQ_DIR != 0 { Direction::Read } else { Direction::Write },
        data_is_ptr: bits & IOREQ_DATA_IS_PTR != 0,
        backwards: bits & IOREQ_DF != 0,
    };
    page.store_u8(at(offset_of!(RawIoreq, bits)), bits & !IOREQ_STATE_MASK | STATE_IOREQ_INPROCESS, Ordering::Release);
    Some(request)
}

fn answer_request(page: &SharedBytes, vcpu: usize, data: u64) {
    let bits_at = field(vcpu, offset_of!(RawIoreq, bits));
    let bits = page.load_u8(bits_at, Ordering::Relaxed);
    if bits & IOREQ_STATE_MASK != STATE_IOREQ_INPROCESS {
        return;
    }
    page.store_u64(field(vcpu, offset_of!(RawIoreq, data)), data, Ordering::Relaxed);
    // Release: the answer is there before the state says so.
    page.store_u8(bits_at, bits & !IOREQ_STATE_MASK | STATE_IORESP_READY, Ordering::Release);
}

fn take_buffered(page: &SharedBytes) -> Option<BufferedIoreq> {
    // Both pointers at once: Xen may bring them back at any time, both.
    let pointers = page.load_u64(0, Ordering::Acquire);
    let [r0, r1, r2, r3, w0, w1, w2, w3] = pointers.to_le_bytes();
    let read = u32::from_le_bytes([r0, r1, r2, r3]);
    let waiting = u32::from_le_bytes([w0, w1, w2, w3]).wrapping_sub(read);
    if waiting == 0 {
        return None;
    }
    if waiting > IOREQ_BUFFER_SLOT_NUM {
        // Xen never does that. Nothing in the ring can be trusted then, so all of it is passed over.
        page.add_u32(0, waiting, Ordering::AcqRel);
        return None;
    }
    let slot = |index: u32| {
        let at = IOREQ_BUFFER_SLOTS_OFFSET + (index % IOREQ_BUFFER_SLOT_NUM) as usize * size_of::<RawBufIoreq>();
        let bits = page.load_u32(at + offset_of!(RawBufIoreq, bits), Ordering::Relaxed);
        (bits, page.load_u32(at + offset_of!(RawBufIoreq, data), Ordering::Relaxed))
    };
    let (bits, low) = slot(read);
    let size = 1 << (bits >> 10 & 3);
    let mut data = u64::from(low);
    let mut slots = 1;
    if size == 8 && waiting >= 2 {
        data |= u64::from(slot(read.wrapping_add(1)).1) << 32;
        slots = 2;
    }
    // Release: the slots are used again after this.
    page.add_u32(0, slots, Ordering::AcqRel);
    Some(Ioreq {
        kind: Kind::decode(bits.to_le_bytes()[0]),
        addr: u64::from(bits >> 12),
        data,
        count: 1,
        size,
        direction: if bits >> 9 & 1 != 0 { Direction::Read } else { Direction::Write },
        data_is_ptr: false,
        backwards: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::SharedPages;

    fn page() -> SharedPages {
        SharedPages::alloc(1).expect("a page")
    }

    /// Writes a request as Xen does: `bits` are the header's bit fields.
    fn request(page: &SharedBytes, vcpu: usize, addr: u64, data: u64, bits: u8, kind: u8) {
        page.write(vcpu * 32, &addr.to_le_bytes());
        page.write(vcpu * 32 + 8, &data.to_le_bytes());
        page.write(vcpu * 32 + 16, &1_u32.to_le_bytes());
        page.write(vcpu * 32 + 20, &4_u32.to_le_bytes());
        page.write(vcpu * 32 + 30, &[bits, kind]);
    }

    #[test]
    fn a_request_is_taken_once_and_answered_once() {
        let page = page();
        // state 1 (READY), dir 1 (read) in bit 5.
        request(&page, 3, 0x64, 0, 0x21, 0);
        let taken = take_request(&page, 3).expect("it is ready");
        assert_eq!((taken.kind, taken.addr, taken.size, taken.direction), (Kind::Pio, 0x64, 4, Direction::Read));
        assert!(!taken.data_is_ptr && !taken.backwards);
        assert_eq!(take_request(&page, 3), None);
        answer_request(&page, 3, 0x1c);
        let mut slot = [0; 32];
        page.read(96, &mut slot);
        assert_eq!((slot[8], slot[30]), (0x1c, 0x23), "data, and state 3 with the direction kept");
        answer_request(&page, 3, 0xff);
        page.read(96, &mut slot);
        assert_eq!(slot[8], 0x1c, "a slot that is not in process is left alone");
    }

    #[test]
    fn bits_and_kinds_are_told_apart() {
        let page = page();
        for (bits, kind, expected) in [
            (0x11, 1, Kind::Copy),
            (0x41, 2, Kind::PciConfig),
            (0x01, 8, Kind::Invalidate),
            (0x01, 99, Kind::Other(99)),
        ] {
            request(&page, 0, 0, 0, bits, kind);
            let taken = take_request(&page, 0).expect("it is ready");
            assert_eq!(taken.kind, expected);
            assert_eq!((taken.data_is_ptr, taken.backwards), (bits == 0x11, bits == 0x41));
        }
    }

    fn pointers(page: &SharedBytes, read: u32, write: u32) {
        page.write(0, &read.to_le_bytes());
        page.write(4, &write.to_le_bytes());
    }

    fn slot(page: &SharedBytes, index: usize, bits: u32, data: u32) {
        page.write(8 + index * 8, &bits.to_le_bytes());
        page.write(12 + index * 8, &data.to_le_bytes());
    }

    #[test]
    fn buffered_requests_come_in_order_and_large_ones_take_two_slots() {
        let page = page();
        pointers(&page, 510, 513);
        slot(&page, 510, 0xa_0000 << 12 | 3 << 10 | 1, 0x1111_2222);
        slot(&page, 0, 0, 0x3333_4444);
        slot(&page, 1, 0x80 << 12 | 2 << 10, 7);
        let first = take_buffered(&page).expect("a request");
        assert_eq!((first.kind, first.addr, first.size, first.data), (Kind::Copy, 0xa_0000, 8, 0x3333_4444_1111_2222));
        let second = take_buffered(&page).expect("another");
        assert_eq!((second.kind, second.addr, second.size, second.data), (Kind::Pio, 0x80, 4, 7));
        assert_eq!(take_buffered(&page), None);
    }

    #[test]
    fn pointers_that_make_no_sense_end_the_reading() {
        let page = page();
        for (read, write) in [(0, 512), (5, 4), (0, u32::MAX), (u32::MAX - 3, 600)] {
            pointers(&page, read, write);
            assert_eq!(take_buffered(&page), None);
            assert_eq!(take_buffered(&page), None);
            assert_eq!(page.load_u32(0, Ordering::Relaxed), page.load_u32(4, Ordering::Relaxed));
        }
        // A large request cut short is taken for what is there.
        pointers(&page, 0, 1);
        slot(&page, 0, 3 << 10, 5);
        slot(&page, 1, 0, 6);
        assert_eq!(take_buffered(&page).map(|request| request.data), Some(5));
        assert_eq!(take_buffered(&page), None);
    }
}
