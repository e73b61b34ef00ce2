//! A virtio network card (VIRTIO 1.2, 5.1), without offloads.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::task::{Context, Poll, Waker};

use bitflags::bitflags;
use virtio_drivers::Error;
use virtio_drivers::transport::Transport;
use virtio_drivers::transport::pci::PciTransport;
use xen_abi::{PAGE_SIZE, Port};

use super::LOOK;
use super::raw::{Direction, Message, Queue};
use crate::back::buffer::Buffer;
use crate::back::net::{Frame, Wire, frame};
use crate::exec;
use crate::front::net::Checksum;

bitflags! {
    /// Feature bits (5.1.3, 6).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Features: u64 {
        /// VIRTIO_NET_F_MAC.
        const ADDRESS = 1 << 5;
        /// VIRTIO_F_VERSION_1.
        const VERSION_1 = 1 << 32;
    }
}

/// `struct virtio_net_hdr` of a modern device, before each frame.
const HEADER: usize = 12;
/// Frames that the device may fill.
const RECEIVE: usize = 64;
/// Frames that wait for somebody who takes them.
const WAITING_MAX: usize = 256;
const RECEIVE_QUEUE: u16 = 0;
const TRANSMIT_QUEUE: u16 = 1;
/// How often a card without interrupt is looked at when nothing comes, in nanoseconds.
const IDLE_LOOK: u64 = 1_000_000;

/// A network card.
pub struct Card {
    address: Option<[u8; 6]>,
    inside: RefCell<Inside>,
}

struct Inside {
    /// Dropped first, which resets the device.
    transport: PciTransport,
    receive: Queue,
    transmit: Queue,
    frames: VecDeque<Frame>,
    waker: Option<Waker>,
    lost: u64,
}

impl Card {
    pub(super) fn start(mut transport: PciTransport) -> Result<Self, Error> {
        let features = transport.begin_init(Features::all());
        let address = match features.contains(Features::ADDRESS) {
            true => Some(transport.read_consistent(|| transport.read_config_space(0))?),
            false => None,
        };
        let receive = Queue::new(&mut transport, RECEIVE_QUEUE)?;
        let transmit = Queue::new(&mut transport, TRANSMIT_QUEUE)?;
        transport.finish_init();
        let mut inside = Inside { transport, receive, transmit, frames: VecDeque::new(), waker: None, lost: 0 };
        for _ in 0..RECEIVE {
            inside.post(Buffer::zeroed(PAGE_SIZE).ok_or(Error::DmaError)?);
        }
        Ok(Self { address, inside: RefCell::new(inside) })
    }

    /// Its Ethernet address, if it has one of its own.
    #[must_use]
    pub const fn address(&self) -> Option<[u8; 6]> {
        self.address
    }

    /// Frames that were lost because nobody took them, or the device did not.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.inside.borrow().lost
    }

    /// Takes frames that came and memory of those that were sent. Says whether there was anything.
    pub fn poll(&self) -> bool {
        self.inside.borrow_mut().poll()
    }

    /// Looks after the card for ever: when its interrupt comes, if there is one, and else by a timer. A task.
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
                None => exec::sleep(IDLE_LOOK).await,
            }
        }
    }
}

impl Inside {
    /// Gives the device a page for a frame.
    fn post(&mut self, page: Buffer) {
        let len = page.len();
        let message = Message::new(&[], false, Direction::Inward, page, (0, len));
        // There is room for all that were ever given to it.
        let _ = self.receive.begin(&mut self.transport, 0, message);
    }

    fn poll(&mut self) -> bool {
        let mut any = false;
        // No more than the device has at a time, so that it cannot keep us here.
        for _ in 0..RECEIVE {
            let Some((_, message, written)) = self.receive.end() else { break };
            any = true;
            let page = message.into_data();
            match page.bytes().get(HEADER..written) {
                Some(data) if data.len() >= frame::HEADER && self.frames.len() < WAITING_MAX => {
                    self.frames.push_back(Frame { data: Vec::from(data), checksum: Checksum::Unknown });
                }
                _ => self.lost += 1,
            }
            self.post(page);
        }
        while self.transmit.end().is_some() {
            any = true;
        }
        if !self.frames.is_empty()
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
        any
    }
}

impl Wire for Card {
    fn send(&self, mut frame: Frame) {
        let mut inside = self.inside.borrow_mut();
        while inside.transmit.end().is_some() {}
        frame.complete();
        let data = Buffer::zeroed(frame.data.len());
        let Some(mut data) = data.filter(|data| inside.transmit.has_room() && data.len() <= frame::COMMON_MAX) else {
            inside.lost += 1;
            return;
        };
        data.bytes_mut().copy_from_slice(&frame.data);
        let range = (0, data.len());
        let message = Message::new(&[0; HEADER], false, Direction::Outward, data, range);
        let Inside { transport, transmit, lost, .. } = &mut *inside;
        if transmit.begin(transport, 0, message).is_err() {
            *lost += 1;
        }
    }

    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Frame> {
        let mut inside = self.inside.borrow_mut();
        if let Some(frame) = inside.frames.pop_front() {
            return Poll::Ready(frame);
        }
        inside.waker = Some(context.waker().clone());
        Poll::Pending
    }
}
