//! Queues of virtio devices that own what the device reads and writes.
//!
//! A [`Message`] belongs to the queue from when it is shown to the device until the device is through with it, so nobody can
//! look at it or free it meanwhile.
//!
//! Memory of a PV domain that lies in one piece for us may be scattered over the machine. So each part of a message is as many
//! buffers of the queue as it has pieces ([`machine_run`]); on a machine where domain 0 lies in one piece it is one. What the
//! queues themselves consist of fits into single pages.
// UNSAFETY: gives devices the addresses of memory, maps their registers, and writes configuration space.
#![expect(unsafe_code)]

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr::{self, NonNull};

use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;
use virtio_drivers::transport::pci::PciTransport;
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction, PciRoot};
use virtio_drivers::{BufferDirection, Error, Hal, PhysAddr};
use xen_abi::{PAGE_SHIFT, PAGE_SIZE};

use crate::addr::Mfn;
use crate::arch::paging;
use crate::arch::port;
use crate::back::buffer::Buffer;
use crate::frame::machine_run;
use crate::hypercall::{XenError, physdev};

/// Buffers of a queue, a power of two for which each part of the queue fits into a page.
pub(super) const QUEUE_LEN: usize = 128;
/// Buffers of one message: more pieces have to be several messages.
pub(super) const PIECES_MAX: usize = 32;
/// Bytes of a message that come before its data.
pub(super) const HEADER_MAX: usize = 32;

/// What the crate of drivers needs of this domain.
struct Machine;

// SAFETY: memory that is given to devices is whole pages of the heap, mapped for as long as they are allocated and in one piece
// in the machine, or else is refused; registers are mapped for good.
unsafe impl Hal for Machine {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let nothing = (0, NonNull::dangling());
        let Some(layout) = layout(pages) else { return nothing };
        // SAFETY: the layout has a size greater than zero.
        let Some(start) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { return nothing };
        // SAFETY: so many bytes were just allocated, all zero, and nobody else refers to them yet.
        let bytes = unsafe { core::slice::from_raw_parts(start.as_ptr(), layout.size()) };
        let (address, len) = machine_run(bytes);
        if len < layout.size() {
            // SAFETY: it comes from the same allocator with the same layout, and nobody uses it.
            unsafe { dealloc(start.as_ptr(), layout) };
            return nothing;
        }
        (address, start)
    }

    unsafe fn dma_dealloc(_: PhysAddr, start: NonNull<u8>, pages: usize) -> i32 {
        let Some(layout) = layout(pages) else { return -1 };
        // SAFETY: it was allocated by `dma_alloc` with the same layout, and the caller uses it no more.
        unsafe { dealloc(start.as_ptr(), layout) };
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, size: usize) -> NonNull<u8> {
        let offset = usize::try_from(address % PAGE_SIZE as u64).unwrap_or(0);
        let pages = (offset + size).div_ceil(PAGE_SIZE);
        let window = paging::reserve(pages).and_then(|mut window| {
            window.map_device(Mfn::new(address >> PAGE_SHIFT))?;
            Ok(window)
        });
        match window {
            Ok(window) => {
                let start = window.bytes().address().value() + offset;
                // Its registers are used for as long as the domain lives.
                core::mem::forget(window);
                NonNull::new(ptr::with_exposed_provenance_mut(start)).unwrap_or(NonNull::dangling())
            }
            // The crate takes no error here, and without its registers there is no device.
            Err(error) => panic!("the registers of a device at {address:#x} cannot be mapped: {error}"),
        }
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        // SAFETY: the caller passes a buffer of a message of ours, which is valid.
        let (address, len) = machine_run(unsafe { buffer.as_ref() });
        assert!(len == buffer.len(), "a buffer in several pieces");
        address
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

fn layout(pages: usize) -> Option<Layout> {
    let size = pages.checked_mul(PAGE_SIZE).filter(|&size| size != 0)?;
    Layout::from_size_align(size, PAGE_SIZE).ok()
}

/// The configuration space of the machine's first 256 buses.
pub(super) struct Configuration;

impl Configuration {
    /// Gets the right to use it, which domain 0 has.
    pub(super) fn open() -> Result<PciRoot<Self>, XenError> {
        physdev::allow_ports()?;
        Ok(PciRoot::new(Self))
    }
}

fn register(function: DeviceFunction, offset: u8) -> u32 {
    let DeviceFunction { bus, device, function } = function;
    u32::from(bus) << 16 | u32::from(device & 31) << 11 | u32::from(function & 7) << 8 | u32::from(offset)
}

impl ConfigurationAccess for Configuration {
    fn read_word(&self, function: DeviceFunction, offset: u8) -> u32 {
        port::read_pci(register(function, offset))
    }

    fn write_word(&mut self, function: DeviceFunction, offset: u8, data: u32) {
        // SAFETY: only this module and its users have such a value, who write addresses back that the firmware has chosen, and
        // let devices access memory that they give them by their queues.
        unsafe { port::write_pci(register(function, offset), data) };
    }

    unsafe fn unsafe_clone(&self) -> Self {
        Self
    }
}

/// Opens the registers of a device.
pub(super) fn transport(root: &mut PciRoot<Configuration>, function: DeviceFunction) -> Option<PciTransport> {
    PciTransport::new::<Machine, _>(root, function)
        .inspect_err(|error| log::warn!("virtio device {function}: {error}"))
        .ok()
}

/// What a device reads before the data of a message, and writes after it. It never crosses the end of a page.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Frame {
    header: [u8; HEADER_MAX],
    status: [u8; 1],
}

/// Which way the data of a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// The device reads it.
    Outward,
    /// The device writes it.
    Inward,
}

/// What a device reads and writes at one time: a header, data, and a byte that says how it went.
#[derive(Debug)]
pub(super) struct Message {
    frame: Box<Frame>,
    header_len: usize,
    has_status: bool,
    direction: Direction,
    data: Buffer,
    /// The part of the data that the message is about.
    range: (usize, usize),
}

impl Message {
    /// A message about `len` bytes of some data from `start` on, in no more than [`PIECES_MAX`] pieces.
    pub(super) fn new(
        header: &[u8],
        has_status: bool,
        direction: Direction,
        data: Buffer,
        range: (usize, usize),
    ) -> Self {
        let mut frame = Frame { header: [0; HEADER_MAX], status: [0xff] };
        let header_len = header.len().min(HEADER_MAX);
        frame.header[..header_len].copy_from_slice(&header[..header_len]);
        Self { frame: Box::new(frame), header_len, has_status, direction, data, range }
    }

    /// What the device has written after the data.
    pub(super) fn status(&self) -> u8 {
        self.frame.status[0]
    }

    /// Takes the data back.
    pub(super) fn into_data(self) -> Buffer {
        self.data
    }

    /// Gives everything to `work`: what the device reads, and what it writes. The same memory each time.
    fn with_parts<T>(&mut self, work: impl for<'a> FnOnce(&'a [&'a [u8]], &'a mut [&'a mut [u8]]) -> T) -> T {
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        let Frame { header, status } = &mut *self.frame;
        if self.header_len > 0 {
            reads.push(&header[..self.header_len]);
        }
        let (start, len) = self.range;
        let mut data = self.data.bytes_mut().get_mut(start..start + len).unwrap_or_default();
        while !data.is_empty() {
            let (_, run) = machine_run(data);
            let (piece, rest) = data.split_at_mut(run);
            data = rest;
            match self.direction {
                Direction::Outward => reads.push(piece),
                Direction::Inward => writes.push(piece),
            }
        }
        if self.has_status {
            writes.push(status);
        }
        work(&reads, &mut writes)
    }
}

/// How many of some bytes fit into one message.
pub(super) fn fitting(mut bytes: &[u8]) -> usize {
    let mut fitting = 0;
    // Header and status are two more.
    for _ in 0..PIECES_MAX - 2 {
        let (_, run) = machine_run(bytes);
        let Some((_, rest)) = bytes.split_at_checked(run) else { break };
        fitting += run;
        bytes = rest;
        if bytes.is_empty() {
            break;
        }
    }
    fitting
}

/// A queue of a device, and the messages that the device has.
pub(super) struct Queue {
    queue: VirtQueue<Machine, QUEUE_LEN>,
    number: u16,
    /// By the number of the first buffer, each with its owner's name for it.
    messages: Vec<Option<(u64, Message)>>,
}

impl Queue {
    /// Makes a queue known to a device.
    pub(super) fn new(transport: &mut PciTransport, number: u16) -> Result<Self, Error> {
        let queue = VirtQueue::new(transport, number, false, false)?;
        let mut messages = Vec::new();
        messages.resize_with(QUEUE_LEN, || None);
        Ok(Self { queue, number, messages })
    }

    /// Whether every message has room.
    pub(super) fn has_room(&self) -> bool {
        self.queue.available_desc() >= PIECES_MAX
    }

    /// Shows a message to the device; it comes back with the owner's name for it. It comes back at once if there is no room.
    pub(super) fn begin(
        &mut self,
        transport: &mut PciTransport,
        name: u64,
        mut message: Message,
    ) -> Result<(), Message> {
        let queue = &mut self.queue;
        // SAFETY: what a message consists of is on the heap, where it stays when the message moves into the table below, which
        // keeps it until `pop_used` has succeeded.
        let token = message.with_parts(|reads, writes| unsafe { queue.add(reads, writes) });
        let Ok(token) = token else { return Err(message) };
        if let Some(place) = self.messages.get_mut(usize::from(token)) {
            *place = Some((name, message));
        }
        if self.queue.should_notify() {
            transport.notify(self.number);
        }
        Ok(())
    }

    /// Takes a message back that the device is through with: its owner's name for it, and how many bytes the device has written.
    pub(super) fn end(&mut self) -> Option<(u64, Message, usize)> {
        let token = self.queue.peek_used()?;
        let place = self.messages.get_mut(usize::from(token))?;
        let (_, message) = place.as_mut()?;
        let queue = &mut self.queue;
        // SAFETY: it is the message that `begin` has added by this number, and its parts are where they were.
        let written = message.with_parts(|reads, writes| unsafe { queue.pop_used(token, reads, writes) });
        let written = usize::try_from(written.ok()?).unwrap_or(usize::MAX);
        place.take().map(|(name, message)| (name, message, written))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // The device may still use them.
        core::mem::forget(core::mem::take(&mut self.messages));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On the host the machine is as we see it, so everything lies in one piece.
    #[test]
    fn a_message_is_a_header_data_and_a_status_in_the_order_of_the_protocol() {
        let mut data = Buffer::zeroed(10_000).unwrap();
        assert_eq!(fitting(data.bytes()), 10_000);
        data.bytes_mut()[512] = 7;
        for direction in [Direction::Outward, Direction::Inward] {
            let mut message = Message::new(&[1; 16], true, direction, data.clone(), (512, 1024));
            message.with_parts(|reads, writes| {
                let (read, written): (Vec<usize>, Vec<usize>) =
                    (reads.iter().map(|part| part.len()).collect(), writes.iter().map(|part| part.len()).collect());
                match direction {
                    Direction::Outward => assert_eq!((&read[..], &written[..]), (&[16, 1024][..], &[1][..])),
                    Direction::Inward => assert_eq!((&read[..], &written[..]), (&[16][..], &[1024, 1][..])),
                }
                let first = if direction == Direction::Outward { reads[1][0] } else { writes[0][0] };
                assert_eq!(first, 7);
                if let Some(status) = writes.last_mut() {
                    status[0] = 3;
                }
            });
            assert_eq!((message.status(), message.into_data().len()), (3, 10_000));
        }
        let mut frame = Message::new(&[], false, Direction::Inward, data, (0, 4096));
        frame.with_parts(|reads, writes| assert_eq!((reads.len(), writes.len()), (0, 1)));
    }

    /// What the device reads and writes beside the data must not cross the end of a page.
    #[test]
    fn header_and_status_lie_within_a_page() {
        assert!(PAGE_SIZE.is_multiple_of(align_of::<Frame>()) && size_of::<Frame>() <= align_of::<Frame>());
    }

    /// PCI local bus specification, 3.2.2.3.2.
    #[test]
    fn a_register_is_named_by_bus_device_and_function() {
        assert_eq!(register(DeviceFunction { bus: 2, device: 31, function: 7 }, 0xfc), 0x0002_fffc);
    }
}
