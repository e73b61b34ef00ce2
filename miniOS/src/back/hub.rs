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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::net::Checksum;
    use std::vec;

    fn frame(target: u8, source: u8, len: usize) -> Frame {
        let mut data = vec![0; len];
        data[..6].fill(target);
        data[6..12].fill(source);
        Frame { data, checksum: Checksum::Unknown }
    }

    fn take(port: &HubPort) -> Option<Frame> {
        match port.poll_receive(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(frame) => Some(frame),
            Poll::Pending => None,
        }
    }

    #[test]
    fn what_nobody_takes_is_lost_and_memory_is_bounded() {
        let hub = Hub::default();
        let (sender, sleeper) = (hub.attach(), hub.attach());
        sleeper.send(frame(0xff, 4, 60));
        assert_eq!(take(&sender), Some(frame(0xff, 4, 60)));
        for _ in 0..1000 {
            sender.send(frame(4, 2, 65_535));
        }
        assert_eq!(sleeper.lost(), 992, "eight of them are half a mebibyte");
        assert_eq!((0..1000).filter(|_| take(&sleeper).is_some()).count(), 8);
        for _ in 0..1000 {
            sender.send(frame(4, 2, 14));
        }
        assert_eq!((0..1000).filter(|_| take(&sleeper).is_some()).count(), FRAMES_MAX);
        sender.send(Frame { data: vec![0; 11], checksum: Checksum::Unknown });
        assert_eq!(take(&sleeper), None, "it has no addresses");
    }

    #[test]
    fn a_port_that_is_gone_leaves_nothing_to_the_next_one() {
        let hub = Hub::default();
        let (one, other) = (hub.attach(), hub.attach());
        one.send(frame(0xff, 2, 60));
        drop(other);
        let next = hub.attach();
        assert_eq!(take(&next), None);
        one.send(frame(0xff, 2, 60));
        assert!(take(&next).is_some());
    }

    #[test]
    fn two_hubs_are_joined() {
        let (here, there) = (Hub::default(), Hub::default());
        let stations = [here.attach(), there.attach()];
        let (one, other) = (here.attach(), there.attach());
        let mut passing = core::pin::pin!(join(&one, &other, async || core::future::pending().await));
        stations[0].send(frame(0xff, 2, 60));
        stations[1].send(frame(0xff, 4, 61));
        assert!(passing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(take(&stations[1]), Some(frame(0xff, 2, 60)));
        assert_eq!(take(&stations[0]), Some(frame(0xff, 4, 61)));
    }
}
