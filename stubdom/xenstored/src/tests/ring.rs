//! The page between a domain and the daemon, played by the domain.

use std::cell::RefCell;
use std::vec;
use std::vec::Vec;

use xen_abi::DomId;
use xen_abi::io::xs_wire::{XS_ERROR, XS_READ, XS_WATCH, XS_WRITE};

use super::client::{Machine, Message, done, message, messages, says};
use super::random::Random;
use crate::connection::Fault;
use crate::daemon::ConnectionId;
use crate::ring::{Ring, RingMemory, Served};

/// Raw numbers of xenstore-ring.txt.
const REQ_CONS: usize = 2048;
const REQ_PROD: usize = 2052;
const RSP_CONS: usize = 2056;
const RSP_PROD: usize = 2060;
const FEATURES: usize = 2064;
const CONNECTION: usize = 2068;
const ERROR: usize = 2072;

/// The page.
struct Page(RefCell<Vec<u8>>);

impl Page {
    fn new(fill: u8) -> Self {
        Self(RefCell::new(vec![fill; 4096]))
    }
}

impl RingMemory for Page {
    fn read(&self, offset: usize, data: &mut [u8]) {
        data.copy_from_slice(&self.0.borrow()[offset..offset + data.len()]);
    }

    fn write(&self, offset: usize, data: &[u8]) {
        self.0.borrow_mut()[offset..offset + data.len()].copy_from_slice(data);
    }

    fn load(&self, offset: usize) -> u32 {
        assert_eq!(offset % 4, 0);
        let mut bytes = [0; 4];
        self.read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn store(&self, offset: usize, value: u32) {
        assert_eq!(offset % 4, 0);
        self.write(offset, &value.to_le_bytes());
    }
}

/// Both ends.
struct Link {
    machine: Machine,
    page: Page,
    ring: Ring,
    connection: ConnectionId,
    sent: Vec<u8>,
    received: Vec<u8>,
}

impl Link {
    fn new() -> Self {
        let mut machine = Machine::new();
        let connection = machine.domain(5);
        let page = Page::new(0xa5);
        let ring = Ring::open(&page);
        Self { machine, page, ring, connection, sent: Vec::new(), received: Vec::new() }
    }

    /// A link whose indices are about to wrap.
    fn old() -> Self {
        let mut link = Self::new();
        for index in [REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD] {
            link.page.store(index, 0xffff_fe00);
        }
        link.ring = Ring::resume(&link.page);
        link
    }

    fn serve(&mut self) -> Served {
        self.ring.serve(&self.page, &mut self.machine.daemon, self.connection, &mut self.machine.world)
    }

    /// What the domain does: writes what it wants to send, as far as that fits, and reads up to `most` bytes.
    fn play(&mut self, most: usize) {
        let (consumer, mut producer) = (self.page.load(REQ_CONS), self.page.load(REQ_PROD));
        let room = 1024 - producer.wrapping_sub(consumer) as usize;
        let part: Vec<u8> = self.sent.drain(..room.min(self.sent.len())).collect();
        for byte in part {
            self.page.write(producer as usize % 1024, &[byte]);
            producer = producer.wrapping_add(1);
        }
        self.page.store(REQ_PROD, producer);
        let (mut consumer, producer) = (self.page.load(RSP_CONS), self.page.load(RSP_PROD));
        for _ in 0..most.min(producer.wrapping_sub(consumer) as usize) {
            let mut byte = [0];
            self.page.read(1024 + consumer as usize % 1024, &mut byte);
            self.received.extend(byte);
            consumer = consumer.wrapping_add(1);
        }
        self.page.store(RSP_CONS, consumer);
    }

    /// Until nothing moves.
    fn run(&mut self, mut most: impl FnMut() -> usize) -> Vec<Message> {
        let mut quiet = 0;
        while quiet < 20 {
            self.play(most());
            let served = self.serve();
            assert_eq!(served.fault, None);
            quiet = if served.moved { 0 } else { quiet + 1 };
        }
        self.play(1024);
        assert!(self.sent.is_empty());
        messages(&core::mem::take(&mut self.received))
    }
}

#[test]
fn a_new_ring_is_empty_and_says_what_the_daemon_can() {
    let mut link = Link::new();
    for index in [REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD, CONNECTION, ERROR] {
        assert_eq!(link.page.load(index), 0);
    }
    // Reconnection, error indicator, depth of watches.
    assert_eq!(link.page.load(FEATURES), 7);
    assert_eq!(link.serve(), Served { moved: false, fault: None });
}

#[test]
fn messages_of_any_size_pass_in_both_directions() {
    for mut link in [Link::new(), Link::old()] {
        let value = vec![b'v'; 1900];
        link.sent = message(XS_WRITE, 1, 0, &[b"x\0", &*value].concat());
        link.sent.extend(message(XS_READ, 2, 0, b"x\0"));
        link.sent.extend(message(XS_READ, 3, 0, b""));
        link.sent.extend(message(XS_WATCH, 4, 0, b"x\0t\0"));
        let mut random = Random::new(3);
        let messages = link.run(|| random.below(400));
        let answers: Vec<_> = messages.iter().map(|answer| (answer.request, answer.kind, &*answer.payload)).collect();
        assert_eq!(
            answers,
            [
                (1, XS_WRITE, &b"OK\0"[..]),
                (2, XS_READ, &value),
                (3, XS_ERROR, b"EINVAL\0"),
                (4, XS_WATCH, b"OK\0"),
                (0, 15, b"x\0t\0")
            ]
        );
    }
}

#[test]
fn a_domain_that_does_not_read_is_not_read() {
    let mut link = Link::new();
    for index in 0..200 {
        link.sent.extend(message(XS_READ, index, 0, b"x\0"));
    }
    for _ in 0..50 {
        link.play(0);
        let _ = link.serve();
    }
    // 20 answers wait; the ring holds some of 23 bytes, and requests of 18 bytes are left.
    let served = (200 * 18 - link.sent.len() - 1024) / 18;
    assert!((20..20 + 1024 / 23 + 1).contains(&served), "{served}");
    assert_eq!(link.serve(), Served { moved: false, fault: None });
    let answers = link.run(|| 1024);
    assert_eq!(answers.iter().map(|answer| answer.request).collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
}

#[test]
fn impossible_indices_end_the_connection() {
    for (index, value, later) in
        [(REQ_PROD, 1025, 0), (REQ_PROD, u32::MAX, 0), (RSP_CONS, 1, 0), (RSP_CONS, 0x8000_0000, 0), (RSP_CONS, 64, 7)]
    {
        let mut link = Link::new();
        assert_eq!(link.machine.watch(link.connection, "x", "t"), done());
        link.machine.fetch(link.connection);
        link.page.store(index, value);
        assert_eq!(link.serve(), Served { moved: true, fault: Some(Fault::RingIndex) });
        assert_eq!(link.page.load(ERROR), 2);
        // It is left alone from now on, also when the indices are possible again.
        link.page.store(index, later);
        assert_eq!(link.serve(), Served { moved: false, fault: None });
        let control = link.machine.control;
        assert_eq!(link.machine.write(control, "/local/domain/5/x", b"1"), done());
        assert_eq!(link.machine.fetch(link.connection), []);
        // It is still introduced.
        assert_eq!(link.machine.daemon.connection(DomId(5)), Some(link.connection));
    }
}

#[test]
fn our_indices_are_not_believed_when_they_come_from_the_page() {
    let mut link = Link::new();
    link.page.store(REQ_CONS, 0xdead_beef);
    link.page.store(RSP_PROD, 0xdead_beef);
    assert_eq!(link.serve(), Served { moved: false, fault: None });
    let request = message(XS_READ, 1, 0, b"/\0");
    link.page.write(0, &request);
    link.page.store(REQ_PROD, request.len() as u32);
    assert_eq!(link.serve(), Served { moved: true, fault: None });
    assert_eq!(link.page.load(REQ_CONS), request.len() as u32);
    assert_eq!(link.page.load(RSP_PROD), 16 + 7);
}

#[test]
fn overlong_messages_end_the_connection() {
    for len in [4097_u32, 0x7fff_ffff, u32::MAX] {
        let mut link = Link::new();
        let t = link.machine.start(link.connection);
        let mut head = message(XS_WRITE, 1, 0, &[]);
        head[12..].copy_from_slice(&len.to_le_bytes());
        link.sent = [message(XS_READ, 1, 0, b"/\0"), head].concat();
        link.play(0);
        assert_eq!(link.serve(), Served { moved: true, fault: Some(Fault::Protocol) });
        assert_eq!(link.page.load(ERROR), 3);
        assert_eq!(link.machine.daemon.fault(link.connection), Some(Fault::Protocol));
        assert_eq!(link.machine.daemon.receive(link.connection, b"x", &mut link.machine.world), Err(Fault::Protocol));
        assert_eq!(link.serve(), Served { moved: false, fault: None });
        // The domain asks for a new connection: xenstore-ring.txt, the ring reconnection feature.
        link.page.store(CONNECTION, 1);
        link.page.store(REQ_PROD, 77);
        assert_eq!(link.serve(), Served { moved: true, fault: None });
        for field in [CONNECTION, ERROR, REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD] {
            assert_eq!(link.page.load(field), 0);
        }
        link.sent = message(XS_WRITE, 9, 0, b"x\0v");
        assert_eq!(link.run(|| 1024)[0].payload, b"OK\0");
        assert_eq!(link.machine.read(link.connection, "x"), says("v"));
        assert!(link.machine.commit(link.connection, t).is_err());
    }
}

#[test]
fn a_reconnection_forgets_what_was_in_progress() {
    let mut link = Link::new();
    assert_eq!(link.machine.watch(link.connection, "x", "t"), done());
    link.machine.fetch(link.connection);
    link.sent = message(XS_READ, 1, 0, b"x\0")[..9].to_vec();
    link.play(0);
    let _ = link.serve();
    link.page.store(CONNECTION, 1);
    assert_eq!(link.serve(), Served { moved: true, fault: None });
    let control = link.machine.control;
    assert_eq!(link.machine.write(control, "/local/domain/5/x", b"1"), done());
    link.sent = message(XS_READ, 2, 0, b"x\0");
    let answers = link.run(|| 1024);
    assert_eq!(answers.len(), 1);
    assert_eq!((answers[0].request, &*answers[0].payload), (2, &b"1"[..]));
}

/// Anything anywhere in the page, at any time.
#[test]
fn a_page_full_of_anything_does_no_harm() {
    let mut random = Random::new(0x1234_5678_9abc_def1);
    for _ in 0..300 {
        let mut link = Link::new();
        for _ in 0..60 {
            match random.below(6) {
                0 => link.page.store(2048 + 4 * random.below(7), random.next() as u32),
                1 => link.page.store(2048 + 4 * random.below(7), random.below(1100) as u32),
                2 => link.page.write(random.below(2000), &random.bytes(40)),
                3 => {
                    let request = message(random.below(24) as u32, 1, random.below(3) as u32, &random.bytes(60));
                    let at = random.below(900);
                    link.page.write(at, &request);
                }
                _ => {
                    let produced = link.page.load(REQ_CONS).wrapping_add(random.below(1025) as u32);
                    link.page.store(REQ_PROD, produced);
                    link.page.store(RSP_CONS, link.page.load(RSP_PROD).wrapping_sub(random.below(1025) as u32));
                }
            }
            let served = link.serve();
            assert!(served.fault.is_none() || link.page.load(ERROR) != 0);
        }
        assert!(link.machine.daemon.check());
    }
}
