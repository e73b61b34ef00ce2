//! Our own frontends, joined by a hub, and a frontend that the test plays.

use super::*;
use crate::back::fake::Bench;
use crate::back::hub::Hub;
use crate::front::Platform;
use crate::front::fake::FakePlatform;
use crate::front::net::{self as front, Checksum, Offload, Segment};
use crate::ring::FrontRing;
use crate::shared_mem::SharedMem;
use crate::shared_mem::fake::FakeMemory;
use core::cell::RefCell;
use core::task::Waker;
use std::collections::VecDeque;
use std::format;
use std::vec;
use xen_abi::io::netif::{ExtraInfo, TxRequest};
use zerocopy::{FromBytes, IntoBytes};

const OPTIONS: front::Options =
    front::Options { transmit_pages: 40, receive_pages: 64, patience: crate::front::PATIENCE };

/// A wire whose other end the test holds.
#[derive(Default)]
struct End {
    sent: RefCell<Vec<Frame>>,
    coming: RefCell<VecDeque<Frame>>,
    waker: RefCell<Option<Waker>>,
}

impl Wire for Rc<End> {
    fn send(&self, frame: Frame) {
        self.sent.borrow_mut().push(frame);
    }

    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Frame> {
        *self.waker.borrow_mut() = Some(context.waker().clone());
        self.coming.borrow_mut().pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

fn station(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number]
}

/// An Ethernet frame of `len` bytes that are no IP.
fn frame(target: [u8; 6], source: [u8; 6], len: usize, seed: usize) -> Vec<u8> {
    let payload = (0..len - 14).map(|at| (at * 7 + seed).to_le_bytes()[0]);
    [&target[..], &source, &[0x88, 0xb5]].concat().into_iter().chain(payload).collect()
}

/// TCP in IPv4 whose checksum field holds the sum of the pseudo header only.
fn blank_tcp(target: [u8; 6], source: [u8; 6], len: usize) -> Vec<u8> {
    let total = u16::try_from(40 + len).unwrap().to_be_bytes();
    let ip = [0x45, 0, total[0], total[1], 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    let tcp = [0, 80, 4, 0, 0, 0, 1, 0, 0, 0, 0, 9, 0x50, 0x18, 1, 0, 0, 0, 0, 0];
    let payload: Vec<u8> = (0..len).map(|at| (at % 249).to_le_bytes()[0]).collect();
    [&target[..], &source, &[8, 0], &ip, &tcp, &payload].concat()
}

fn has_checksum(frame: &[u8]) -> bool {
    let mut complete = frame.to_vec();
    crate::net::checksum::fill(&mut complete);
    complete == frame && frame[50..52] != [0, 0]
}

fn serve(bench: &mut Bench, number: u32, wire: impl Wire + 'static) -> front::Net<FakePlatform> {
    let (path, back) = bench.give("vif", number);
    let backend = Net::new(bench.host.clone(), &bench.store, &back, wire);
    bench.start(backend.run());
    let net = front::Net::new(bench.platform.clone(), &bench.store, &path, OPTIONS).unwrap();
    bench.start(net.clone().run());
    bench.settle();
    assert_eq!(bench.get(&back, "state").as_deref(), Some("4"));
    assert!(net.is_up());
    net
}

fn take(net: &front::Net<FakePlatform>) -> Option<(Vec<u8>, Checksum)> {
    net.poll();
    let received = net.received()?;
    let mut data = vec![0; received.len];
    net.received_read(0, &mut data);
    net.received_done();
    Some((data, received.checksum))
}

#[test]
fn our_frontend_finds_everything_that_it_wants() {
    let mut bench = Bench::new();
    let end = Rc::new(End::default());
    let net = serve(&mut bench, 0, end.clone());
    let features = net.features();
    assert!(features.long_frames && features.checksum_v4 && features.checksum_v6);
    assert!(features.segment_v4 && features.segment_v6);
    let (transmit, receive) = net.ports().unwrap();
    assert_ne!(transmit, receive, "split event channels");
}

/// Thousands of frames of all lengths between three stations: each arrives once, in order, and at no other.
#[test]
fn frames_of_all_lengths_arrive_where_they_should() {
    let mut bench = Bench::new();
    let hub = Hub::default();
    let nets: Vec<_> = (0..3).map(|number| serve(&mut bench, number, hub.attach())).collect();
    // Everybody says where it is.
    for (index, net) in (0..).zip(&nets) {
        assert!(net.send_whole(&frame([0xff; 6], station(index), 60, 0), Offload::default()));
    }
    bench.settle();
    for net in &nets {
        assert_eq!((0..3).filter(|_| take(net).is_some()).count(), 2, "from the two others");
    }
    // By target, then by source: of different ones the order is anybody's.
    let mut expected = [const { [const { VecDeque::new() }; 3] }; 3];
    let (mut sent, mut arrived, mut state) = (0_usize, 0, 1_usize);
    while arrived < 3000 {
        let mut random = |limit: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % limit
        };
        let from = random(3);
        let to = (from + 1 + random(2)) % 3;
        // Our frontend takes frames of a page.
        let len = if random(10) == 0 { 14 + random(4083) } else { 14 + random(1500) };
        let number = |index: usize| station(u8::try_from(index).unwrap());
        let data = frame(number(to), number(from), len, sent);
        if sent < 3000 && nets[from].send_whole(&data, Offload::default()) {
            expected[to][from].push_back(data);
            sent += 1;
        }
        if random(4) == 0 || sent == 3000 {
            bench.settle();
            for (net, expected) in nets.iter().zip(&mut expected) {
                while let Some((data, checksum)) = take(net) {
                    let next = expected[usize::from(data[11])].pop_front();
                    assert!(next == Some(data), "the next one, as it was sent");
                    assert_eq!(checksum, Checksum::Unknown);
                    arrived += 1;
                }
            }
        }
    }
}

#[test]
fn large_frames_of_tcp_are_cut_and_checksums_stay_out_until_somebody_needs_them() {
    let mut bench = Bench::new();
    let end = Rc::new(End::default());
    let net = serve(&mut bench, 0, end.clone());
    let data = blank_tcp(station(1), station(2), 10_000);
    let offload = Offload { blank_checksum: true, segment: Some(Segment { size: 1448, is_v6: false }) };
    assert!(net.send_whole(&data, offload));
    let short = blank_tcp(station(1), station(2), 100);
    assert!(net.send_whole(&short, Offload { blank_checksum: true, segment: None }));
    bench.settle();
    let sent = end.sent.take();
    assert_eq!(
        sent.iter().map(|frame| frame.data.len()).collect::<Vec<_>>(),
        [1502, 1502, 1502, 1502, 1502, 1502, 1366, 154]
    );
    let (cut, whole) = sent.split_at(7);
    assert!(cut.iter().all(|frame| has_checksum(&frame.data) && frame.checksum == Checksum::Validated));
    let payload: Vec<u8> = cut.iter().flat_map(|frame| frame.data[54..].to_vec()).collect();
    assert!(payload == data[54..]);
    assert!(whole[0].data == short && whole[0].checksum == Checksum::Blank);
    let mut completed = whole[0].clone();
    completed.complete();
    assert!(has_checksum(&completed.data));
    // The other way, and our frontend says that it takes them.
    end.coming.borrow_mut().push_back(whole[0].clone());
    bench.settle();
    let (data, checksum) = take(&net).unwrap();
    match checksum {
        Checksum::Blank => assert!(data == short),
        Checksum::Validated => assert!(has_checksum(&data)),
        Checksum::Unknown => panic!("it is known"),
    }
}

/// A frontend that does what the test tells it.
struct Hand {
    bench: Bench,
    end: Rc<End>,
    front: String,
    back: String,
    transmit: FakeMemory,
    receive: FakeMemory,
    page: (FakeMemory, u32),
    produced: u32,
}

impl Hand {
    fn connect(keys: &[(&str, &str)]) -> Self {
        let mut bench = Bench::new();
        let end = Rc::new(End::default());
        let (front, back) = bench.give("vif", 0);
        bench.start(Net::new(bench.host.clone(), &bench.store, &back, end.clone()).run());
        let granted = |bench: &Bench| {
            let memory = bench.platform.allocate(1).unwrap();
            let reference = bench.platform.grant(DomId(0), &memory, 0).unwrap();
            (memory, reference)
        };
        let [(transmit, tx), (receive, rx), page] = [granted(&bench), granted(&bench), granted(&bench)];
        FrontRing::<_, 12>::new(transmit.clone());
        FrontRing::<_, 8>::new(receive.clone());
        let channel = bench.platform.open_channel(DomId(0)).unwrap();
        for (key, value) in [
            ("tx-ring-ref", tx.to_string()),
            ("rx-ring-ref", rx.to_string()),
            ("event-channel", channel.port().to_string()),
            ("request-rx-copy", "1".to_string()),
            ("feature-rx-notify", "1".to_string()),
        ] {
            bench.set(&front, key, &value);
        }
        for (key, value) in keys {
            bench.set(&front, key, value);
        }
        bench.set(&front, "state", "4");
        Self { bench, end, front, back, transmit, receive, page, produced: 0 }
    }

    fn push(&mut self, slot: &[u8]) {
        let mut bytes = [0; 12];
        bytes[..slot.len()].copy_from_slice(slot);
        self.transmit.write(64 + (self.produced % 256) as usize * 12, &bytes);
        self.produced = self.produced.wrapping_add(1);
    }

    /// Pushes slots, shows them, and gives the answers as id and status.
    fn send(&mut self, slots: &[&[u8]]) -> Vec<(u16, i16)> {
        let from = self.transmit.get_u32(8);
        for slot in slots {
            self.push(slot);
        }
        self.transmit.set_u32(0, self.produced);
        self.notify();
        let answer = |at: u32| {
            let bytes = self.transmit.bytes(64 + (at % 256) as usize * 12, 4);
            (u16::from_le_bytes([bytes[0], bytes[1]]), i16::from_le_bytes([bytes[2], bytes[3]]))
        };
        (from..self.transmit.get_u32(8)).map(answer).collect()
    }

    fn notify(&mut self) {
        let channel = self.bench.get(&self.front, "event-channel").unwrap();
        self.bench.platform.channel(channel.parse().unwrap()).unwrap().notify();
        self.bench.settle();
    }

    fn slot(&self, id: u16, offset: u16, size: u16, flags: u16) -> TxRequest {
        TxRequest { gref: xen_abi::GrantRef(self.page.1), offset, flags, id, size }
    }

    fn is_thrown_out(&self) -> bool {
        let message = self.bench.daemon.get(&format!("error/{}/error", self.back.trim_start_matches('/')));
        self.bench.get(&self.back, "state").as_deref() == Some("6") && message.is_some()
    }
}

const MORE: u16 = netif::NETTXF_MORE_DATA;
const EXTRA: u16 = netif::NETTXF_EXTRA_INFO;

#[test]
fn odd_frames_are_answered_with_an_error() {
    let mut hand = Hand::connect(&[]);
    let fine = hand.slot(1, 0, 60, 0);
    assert_eq!(hand.send(&[fine.as_bytes()]), [(1, 0)]);
    for odd in [
        hand.slot(2, 0, 13, 0),
        hand.slot(2, 4090, 60, 0),
        hand.slot(2, 0, 4097, 0),
        TxRequest { gref: xen_abi::GrantRef(0xdead), ..fine },
    ] {
        let answer = hand.send(&[odd.as_bytes()]);
        assert_eq!(answer, [(odd.id, -1)], "{odd:?}");
    }
    let parts = [hand.slot(3, 0, 100, MORE), hand.slot(4, 0, 101, 0)];
    assert_eq!(hand.send(&[parts[0].as_bytes(), parts[1].as_bytes()]), [(3, -1), (4, -1)], "longer than all of it");
    // Groups of addresses were not offered.
    let group = ExtraInfo { kind: 2, ..ExtraInfo::default() };
    let with = hand.slot(5, 0, 60, EXTRA);
    assert_eq!(hand.send(&[with.as_bytes(), group.as_bytes()]), [(5, -1), (0, netif::NETIF_RSP_NULL)]);
    // It is no TCP.
    let gso = ExtraInfo { kind: 1, gso_type: 1, gso_size: 100, ..ExtraInfo::default() };
    assert_eq!(hand.send(&[with.as_bytes(), gso.as_bytes()]), [(5, -1), (0, netif::NETIF_RSP_NULL)]);
    assert_eq!(hand.end.sent.borrow().len(), 1, "only the first");
    assert_eq!(hand.send(&[fine.as_bytes()]), [(1, 0)], "and it goes on");
}

#[test]
fn a_frame_in_parts_is_put_together() {
    let mut hand = Hand::connect(&[]);
    let data = frame(station(1), station(2), 5000, 3);
    hand.page.0.write(0, &data[..4096]);
    let parts = [hand.slot(1, 0, 200, MORE), hand.slot(2, 50, 100, MORE), hand.slot(3, 0, 50, 0)];
    let slots: Vec<_> = parts.iter().map(IntoBytes::as_bytes).collect();
    assert_eq!(hand.send(&slots), [(1, 0), (2, 0), (3, 0)]);
    assert_eq!(hand.end.sent.borrow()[0].data, [&data[..50], &data[50..150], &data[..50]].concat());
}

#[test]
fn a_ring_that_is_against_the_rules_ends_the_connection() {
    let more = |hand: &Hand| hand.slot(1, 0, 60, MORE).as_bytes().to_vec();
    let extra = |hand: &Hand| hand.slot(1, 0, 60, EXTRA).as_bytes().to_vec();
    let info = |kind, flags, gso_type, gso_size| {
        let info = ExtraInfo { kind, flags, gso_type, gso_size, ..ExtraInfo::default() };
        info.as_bytes().to_vec()
    };
    type Make<'a> = &'a dyn Fn(&Hand) -> Vec<Vec<u8>>;
    let cases: [Make<'_>; 9] = [
        &|hand| vec![more(hand)],
        &|hand| vec![extra(hand)],
        &|hand| (0..30).map(|_| more(hand)).collect(),
        &|hand| vec![extra(hand), info(0, 0, 0, 0)],
        &|hand| vec![extra(hand), info(9, 0, 0, 0)],
        &|hand| vec![extra(hand), info(1, 0, 1, 0)],
        &|hand| vec![extra(hand), info(1, 0, 7, 1448)],
        &|hand| [vec![extra(hand)], (0..10).map(|_| info(4, 1, 0, 0)).collect()].concat(),
        &|hand| vec![more(hand), hand.slot(2, 4000, 100, 0).as_bytes().to_vec()],
    ];
    for (index, make) in cases.iter().enumerate() {
        let mut hand = Hand::connect(&[]);
        let slots = make(&hand);
        hand.send(&slots.iter().map(Vec::as_slice).collect::<Vec<_>>());
        assert!(hand.is_thrown_out(), "case {index}");
        assert_eq!(hand.end.sent.borrow().len(), 0);
    }
    for ring in [0, 1] {
        let mut hand = Hand::connect(&[]);
        let memory = if ring == 0 { hand.transmit.clone() } else { hand.receive.clone() };
        hand.end.coming.borrow_mut().push_back(Frame { data: vec![0; 60], checksum: Checksum::Unknown });
        memory.set_u32(0, 5000);
        hand.notify();
        assert!(hand.is_thrown_out(), "ring {ring}");
    }
}

#[test]
fn what_a_frontend_writes_to_the_store_is_checked() {
    for (key, value) in [
        ("request-rx-copy", "0"),
        ("tx-ring-ref", "9999"),
        ("rx-ring-ref", "x"),
        ("event-channel", "9999"),
        ("multi-queue-num-queues", "4"),
        ("event-channel-tx", "1"),
    ] {
        let hand = Hand::connect(&[(key, value)]);
        assert!(hand.is_thrown_out(), "{key} = {value}");
    }
}

#[test]
fn a_frontend_without_pages_makes_frames_wait_and_one_with_bad_pages_loses_them() {
    let mut hand = Hand::connect(&[("feature-sg", "1")]);
    for len in [60, 5000] {
        let data = frame(station(1), station(2), len, 0);
        hand.end.coming.borrow_mut().push_back(Frame { data, checksum: Checksum::Validated });
    }
    hand.notify();
    assert_eq!(hand.receive.get_u32(8), 0, "nothing came");
    let post = |hand: &mut Hand, ids: core::ops::Range<u16>, reference: u32| {
        for id in ids {
            let request = netif::RxRequest { id, pad: 0, gref: xen_abi::GrantRef(reference) };
            hand.receive.write(64 + usize::from(id) * 8, request.as_bytes());
            hand.receive.set_u32(0, u32::from(id) + 1);
        }
        hand.notify();
    };
    let reference = hand.page.1;
    post(&mut hand, 0..2, reference);
    assert_eq!(hand.receive.get_u32(8), 1, "the long one needs two");
    assert_eq!(hand.receive.get_u32(4), 3, "and so much is waited for");
    assert_eq!(hand.page.0.bytes(0, 60), frame(station(1), station(2), 60, 0));
    post(&mut hand, 2..3, reference);
    assert_eq!(hand.receive.get_u32(8), 3);
    let response =
        |hand: &Hand, at: usize| netif::RxResponse::read_from_bytes(&hand.receive.bytes(64 + at * 8, 8)).unwrap();
    assert_eq!((response(&hand, 1).status, response(&hand, 1).flags), (4096, 1 | 4));
    assert_eq!((response(&hand, 2).status, response(&hand, 2).flags), (5000 - 4096, 0));
    hand.end.coming.borrow_mut().push_back(Frame { data: vec![0; 60], checksum: Checksum::Unknown });
    post(&mut hand, 3..4, 0xdead);
    assert_eq!((response(&hand, 3).id, response(&hand, 3).status), (3, -1));
    assert_eq!(hand.bench.get(&hand.back, "state").as_deref(), Some("4"));
}

/// Whatever stands in the slots: no panic, and no more answers than slots.
#[test]
fn random_slots_do_no_harm() {
    let mut state = 7_u64;
    let mut random = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    for _ in 0..300 {
        let mut hand = Hand::connect(&[]);
        let mut slots = Vec::new();
        for _ in 0..1 + random(40) {
            let size = [0, 14, 60, 1500, 4096, 65_535][usize::try_from(random(6)).unwrap()];
            let flags = u16::try_from(random(16)).unwrap();
            let offset = if random(5) == 0 { u16::try_from(random(65_536)).unwrap() } else { 0 };
            slots.push(hand.slot(u16::try_from(random(256)).unwrap(), offset, size, flags).as_bytes().to_vec());
        }
        let answers = hand.send(&slots.iter().map(Vec::as_slice).collect::<Vec<_>>());
        assert!(answers.len() <= slots.len());
        assert!(hand.is_thrown_out() || answers.len() == slots.len());
    }
}
