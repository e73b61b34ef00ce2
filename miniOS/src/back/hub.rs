//! What joins network interfaces and a card to a network: queues between them, and a [switch](super::switch) in the middle.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::task::{Context, Poll, Waker};

use super::net::{Frame, Wire};
use super::switch::{Address, Switch, Target};

/// Bytes that wait at a port; what is more is lost, as in any switch.
const QUEUE_MAX: usize = 512 << 10;
/// Frames that wait at a port.
const FRAMES_MAX: usize = 512;

/// A network of ports. Clones are the same one.
#[derive(Clone, Default)]
pub struct Hub {
    inside: Rc<RefCell<Inside>>,
}

#[derive(Default)]
struct Inside {
    switch: Switch,
    /// By number of the port.
    queues: Vec<Queue>,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame>,
    bytes: usize,
    waker: Option<Waker>,
    lost: u64,
}

impl Queue {
    fn push(&mut self, frame: Frame) {
        if self.frames.len() >= FRAMES_MAX || self.bytes + frame.data.len() > QUEUE_MAX {
            self.lost += 1;
            return;
        }
        self.bytes += frame.data.len();
        self.frames.push_back(frame);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A port of a hub. It is taken away when dropped.
pub struct HubPort {
    hub: Hub,
    number: usize,
}

impl Hub {
    /// Adds a port.
    #[must_use]
    pub fn attach(&self) -> HubPort {
        let mut inside = self.inside.borrow_mut();
        let number = inside.switch.add();
        if inside.queues.len() <= number {
            inside.queues.resize_with(number + 1, Queue::default);
        }
        if let Some(queue) = inside.queues.get_mut(number) {
            *queue = Queue::default();
        }
        HubPort { hub: self.clone(), number }
    }
}

impl HubPort {
    /// Lets nobody send here but the station with this address.
    pub fn pin(&self, address: Address) {
        self.hub.inside.borrow_mut().switch.pin(self.number, address);
    }

    /// Frames for this port that were lost because nobody took them.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.hub.inside.borrow().queues.get(self.number).map_or(0, |queue| queue.lost)
    }
}

impl Wire for HubPort {
    fn send(&self, frame: Frame) {
        let mut inside = self.hub.inside.borrow_mut();
        let Inside { switch, queues } = &mut *inside;
        let Some((target, source)) = frame.addresses() else { return };
        match switch.forward(self.number, target, source) {
            Target::Nobody => {}
            Target::One(port) => {
                if let Some(queue) = queues.get_mut(port) {
                    queue.push(frame);
                }
            }
            Target::Others => {
                for port in switch.ports().filter(|port| *port != self.number) {
                    if let Some(queue) = queues.get_mut(port) {
                        queue.push(frame.clone());
                    }
                }
            }
        }
    }

    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Frame> {
        let mut inside = self.hub.inside.borrow_mut();
        let Some(queue) = inside.queues.get_mut(self.number) else { return Poll::Pending };
        if let Some(frame) = queue.frames.pop_front() {
            queue.bytes -= frame.data.len();
            return Poll::Ready(frame);
        }
        queue.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for HubPort {
    fn drop(&mut self) {
        let mut inside = self.hub.inside.borrow_mut();
        inside.switch.remove(self.number);
        if let Some(queue) = inside.queues.get_mut(self.number) {
            *queue = Queue::default();
        }
    }
}

/// Passes frames on between two wires, such as a port and a card, for ever.
pub async fn join<A: Wire, B: Wire>(one: &A, other: &B, pause: impl AsyncFn()) {
    /// Frames that are passed on before others have a turn.
    const TURN: usize = 256;
    loop {
        let mut passed = 0;
        core::future::poll_fn(|context| {
            loop {
                let mut idle = true;
                if let Poll::Ready(frame) = one.poll_receive(context) {
                    other.send(frame);
                    (idle, passed) = (false, passed + 1);
                }
                if let Poll::Ready(frame) = other.poll_receive(context) {
                    one.send(frame);
                    (idle, passed) = (false, passed + 1);
                }
                if passed >= TURN {
                    return Poll::Ready(());
                }
                if idle {
                    return Poll::Pending;
                }
            }
        })
        .await;
        pause().await;
    }
}
