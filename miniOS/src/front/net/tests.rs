//! A backend that the test plays.

use super::*;
use crate::front::fake::{Bench, FakePlatform};
use crate::shared_mem::SharedMem;
use crate::shared_mem::fake::FakeMemory;
use crate::xenbus::Status;
use std::vec;

const OPTIONS: Options = Options { transmit_pages: 20, receive_pages: 4, patience: crate::front::PATIENCE };

/// An interface, and the backend's view of its rings.
struct Peer {
    bench: Bench,
    net: Net<FakePlatform>,
    transmit: FakeMemory,
    receive: FakeMemory,
}

fn connect(features: &[&str]) -> Peer {
    let mut bench = Bench::new("vif", 0);
    for feature in features {
        bench.back(feature, "1");
    }
    let net = Net::new(bench.platform.clone(), &bench.store, bench.path(), OPTIONS).unwrap();
    bench.start(net.clone().run());
    assert!(net.begin() && !net.is_up(), "without a link everything is lost");
    bench.back("state", "2");
    assert_eq!(bench.front("state").as_deref(), Some("4"), "netback waits for that");
    for (key, value) in [("request-rx-copy", "1"), ("feature-rx-notify", "1")] {
        assert_eq!(bench.front(key).as_deref(), Some(value));
    }
    let ring = |key| bench.platform.granted(u32::try_from(bench.front_number(key)).unwrap()).unwrap().0;
    let (transmit, receive) = (ring("tx-ring-ref"), ring("rx-ring-ref"));
    bench.back("state", "4");
    assert!(net.is_up() && net.poll() && !net.poll());
    Peer { bench, net, transmit, receive }
}

/// Everything that a backend may offer.
const ALL: &[&str] = &["feature-sg", "feature-gso-tcpv4", "feature-ipv6-csum-offload"];

impl Peer {
    /// Bytes of a slot.
    fn slot(ring: &FakeMemory, index: usize, len: usize) -> Vec<u8> {
        ring.bytes(64 + index * len, len)
    }

    fn page(&self, reference: &[u8]) -> (FakeMemory, usize) {
        self.bench.platform.granted(u32::from_le_bytes(reference.try_into().unwrap())).unwrap()
    }

    /// Sends a frame, and gives the slots that the backend sees of it.
    fn send(&self, data: &[u8], offload: Offload) -> Vec<Vec<u8>> {
        let before = self.transmit.get_u32(0);
        assert!(self.net.begin());
        self.append(data);
        self.net.send(offload);
        (before..self.transmit.get_u32(0)).map(|at| Self::slot(&self.transmit, at as usize % 256, 12)).collect()
    }

    fn append(&self, data: &[u8]) {
        let copied = self.net.append::<()>(data.len(), |pages, at, len, done| {
            pages.write(at, &data[done..done + len]);
            Ok(())
        });
        assert_eq!(copied, Ok(()));
    }

    /// Answers the transmit slots up to `count` with these ids.
    fn answer(&self, ids: &[u16]) {
        let mut at = self.transmit.get_u32(8);
        for id in ids {
            self.transmit.write(64 + at as usize % 256 * 12, &id.to_le_bytes());
            self.transmit.write(66 + at as usize % 256 * 12, &0_u16.to_le_bytes());
            at += 1;
        }
        self.transmit.set_u32(8, at);
    }

    /// Puts bytes into the page of the next receive slot, and answers it.
    fn deliver(&self, parts: &[(&[u8], u16)]) {
        let mut at = self.receive.get_u32(8);
        for (data, flags) in parts {
            let request = Self::slot(&self.receive, at as usize % 256, 8);
            let (memory, offset) = self.page(&request[4..]);
            memory.write(offset + 2, data);
            let status = i16::try_from(data.len()).unwrap();
            self.respond(at, [u16::from_le_bytes([request[0], request[1]]), 2, *flags, status.cast_unsigned()]);
            at += 1;
        }
        self.receive.set_u32(8, at);
    }

    fn respond(&self, at: u32, fields: [u16; 4]) {
        let bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
        self.receive.write(64 + at as usize % 256 * 8, &bytes);
    }

    fn has_failed(&mut self) -> bool {
        self.bench.back("state", "6");
        matches!(self.net.session().status(), Status::Failed(_)) && !self.net.is_up()
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 % 251).to_le_bytes()[0]).collect()
}

#[test]
fn a_short_frame_is_one_slot() {
    let peer = connect(ALL);
    let slots = peer.send(&pattern(60), Offload { blank_checksum: true, segment: None });
    assert_eq!(slots.len(), 1);
    let (memory, offset) = peer.page(&slots[0][..4]);
    assert_eq!(memory.bytes(offset, 60), pattern(60));
    assert_eq!(slots[0][4..8], [0, 0, 3, 0], "offset, csum_blank and data_validated");
    assert_eq!(slots[0][10..], 60_u16.to_le_bytes());
}

/// netif.h: the first slot has the length of all, the information about segments follows it.
#[test]
fn a_long_frame_is_many_slots_and_says_how_to_cut_it() {
    let peer = connect(ALL);
    assert!(peer.net.features().segment_v4);
    let segment = Some(Segment { size: 1448, is_v6: false });
    let slots = peer.send(&pattern(10_000), Offload { blank_checksum: true, segment });
    assert_eq!(slots.len(), 4);
    let sizes = [0, 2, 3].map(|at| u16::from_le_bytes([slots[at][10], slots[at][11]]));
    assert_eq!(sizes, [10_000, 4096, 10_000 - 8192]);
    assert_eq!([0, 2, 3].map(|at| slots[at][6]), [0x0f, 0x04, 0]);
    assert_eq!(slots[1][..6], [1, 0, 0xa8, 0x05, 1, 0], "the type, no more of them, 1448 bytes in IPv4");
    let all: Vec<u8> = [0, 2, 3]
        .iter()
        .zip([4096, 4096, 1808])
        .flat_map(|(at, len)| {
            let (memory, offset) = peer.page(&slots[*at][..4]);
            memory.bytes(offset, len)
        })
        .collect();
    assert_eq!(all, pattern(10_000));
}

#[test]
fn a_frame_can_be_read_and_changed_before_it_is_sent() {
    let peer = connect(ALL);
    assert!(peer.net.begin());
    peer.append(&pattern(5000));
    peer.net.write(4094, &[1, 2, 3, 4]);
    let mut data = [9; 6];
    peer.net.read(4094, &mut data);
    assert_eq!(data[..4], [1, 2, 3, 4]);
    peer.net.read(4998, &mut data);
    assert_eq!(data, [pattern(5000)[4998], pattern(5000)[4999], 0, 0, 0, 0]);
    assert_eq!(peer.net.len(), 5000);
    assert!(peer.net.begin() && peer.net.is_empty(), "one that was not sent is forgotten");
}

#[test]
fn what_the_backend_cannot_do_or_is_no_frame_is_not_sent() {
    let peer = connect(&[]);
    assert_eq!(peer.net.features(), Features { checksum_v4: true, ..Features::default() });
    let segment = Some(Segment { size: 1448, is_v6: false });
    assert_eq!(peer.send(&pattern(3000), Offload { blank_checksum: true, segment }).len(), 0);
    assert_eq!(peer.send(&pattern(5000), Offload::default()).len(), 0, "it has more than a page");
    assert_eq!(peer.send(&pattern(13), Offload::default()).len(), 0);
    let peer = connect(ALL);
    assert_eq!(peer.send(&pattern(70_000), Offload::default()).len(), 0);
    assert_eq!(peer.send(&pattern(65_535), Offload::default()).len(), 16);
}

/// 20 pages, of which the longest frame takes 16.
#[test]
fn room_comes_back_with_answers_and_is_told_of() {
    let peer = connect(ALL);
    let mut ids = Vec::new();
    for _ in 0..5 {
        let slots = peer.send(&pattern(100), Offload::default());
        ids.push(u16::from_le_bytes([slots[0][8], slots[0][9]]));
    }
    assert!(!peer.net.begin() && !peer.net.poll());
    assert_eq!(peer.transmit.get_u32(12), 1, "the next answer is signalled");
    peer.answer(&ids[..1]);
    assert!(peer.net.poll() && !peer.net.poll() && peer.net.begin());
}

#[test]
fn an_answer_to_nothing_ends_the_connection() {
    for ids in [&[3_u16][..], &[40], &[0, 0]] {
        let mut peer = connect(ALL);
        let slots = peer.send(&pattern(100), Offload::default());
        peer.send(&pattern(100), Offload::default());
        assert_eq!(slots[0][8..10], [0, 0], "the first page");
        peer.answer(ids);
        assert!(peer.net.begin(), "and what is sent then is lost");
        assert!(peer.has_failed(), "{ids:?}");
    }
    let mut peer = connect(ALL);
    peer.transmit.set_u32(8, 5);
    assert!(peer.net.begin() && peer.has_failed(), "more answers than requests");
}

#[test]
fn frames_come_in_order_and_their_pages_go_back() {
    let peer = connect(ALL);
    assert_eq!(peer.net.received(), None);
    peer.deliver(&[(&pattern(60), 0), (&pattern(1514), 1), (&pattern(100), 3)]);
    assert!(peer.net.poll());
    for (len, checksum) in [(60, Checksum::Unknown), (1514, Checksum::Validated), (100, Checksum::Blank)] {
        assert_eq!(peer.net.received(), Some(Received { len, checksum }));
        let mut data = vec![1; len + 1];
        peer.net.received_read(0, &mut data);
        assert_eq!((&data[..len], data[len]), (&pattern(len)[..], 0));
        peer.net.received_done();
    }
    assert_eq!((peer.net.received(), peer.receive.get_u32(0)), (None, 7), "four requests, and three again");
    assert!(!peer.net.poll());
}

#[test]
fn a_frame_in_pieces_is_one() {
    let peer = connect(ALL);
    let whole = pattern(5000);
    // The middle slot is extra information: of type 2, and none follows.
    peer.deliver(&[(&whole[..4000], 0x0c), (&[], 0), (&whole[4000..], 0)]);
    peer.respond(1, [0x0002, 0, 0, 0]);
    assert_eq!(peer.net.received().map(|frame| frame.len), Some(5000));
    peer.net.received_write(3999, &[1, 2]);
    let mut taken = Vec::new();
    let result = peer.net.received_with::<()>(3998, 4, |pages, at, len, done| {
        assert_eq!(done, taken.len());
        let mut data = vec![0; len];
        pages.read(at, &mut data);
        taken.extend(data);
        Ok(())
    });
    assert_eq!((result, taken), (Ok(()), vec![whole[3998], 1, 2, whole[4001]]));
    peer.net.received_done();
    assert_eq!(peer.receive.get_u32(0), 7);
}

#[test]
fn a_frame_that_cannot_be_is_dropped() {
    let peer = connect(ALL);
    peer.deliver(&[(&pattern(60), 0), (&pattern(60), 0), (&pattern(60), 4)]);
    peer.respond(0, [0, 4090, 0, 7]);
    peer.respond(1, [1, 0, 0, 0xffff]);
    assert_eq!(peer.net.received(), None, "beyond its page, an error, an end without an end");
    assert_eq!(peer.receive.get_u32(0), 7, "their pages are back");
    peer.deliver(&[(&pattern(77), 0)]);
    assert_eq!(peer.net.received().map(|frame| frame.len), Some(77));
}

#[test]
fn more_frames_than_pages_end_the_connection() {
    let mut peer = connect(ALL);
    peer.receive.set_u32(8, 5);
    assert_eq!(peer.net.received(), None);
    assert!(peer.has_failed());
}

#[test]
fn a_backend_that_comes_back_gets_all_pages_again() {
    let mut peer = connect(ALL);
    peer.deliver(&[(&pattern(60), 0)]);
    assert!(peer.net.received().is_some());
    peer.send(&pattern(60), Offload::default());
    peer.bench.back("state", "6");
    assert!(!peer.net.is_up() && peer.net.poll() && peer.net.received().is_none());
    assert_eq!(peer.bench.platform.grant_count(), 0);
    peer.bench.back("state", "2");
    peer.bench.back("state", "4");
    assert!(peer.net.is_up() && peer.net.poll());
    assert_eq!(peer.bench.platform.grant_count(), 20 + 4 + 2);
    let reference = u32::try_from(peer.bench.front_number("rx-ring-ref")).unwrap();
    assert_eq!(peer.bench.platform.granted(reference).unwrap().0.get_u32(0), 4);
}

/// netif.h: `feature-split-event-channels`.
#[test]
fn each_direction_has_a_channel_where_the_backend_can_do_so() {
    let peer = connect(&[]);
    let port = peer.bench.front_number("event-channel");
    assert_eq!(peer.net.ports().map(|(transmit, receive)| [transmit.0, receive.0].map(u64::from)), Some([port, port]));
    assert_eq!(peer.bench.front("event-channel-tx"), None);

    let peer = connect(&["feature-split-event-channels"]);
    let ports = ["event-channel-tx", "event-channel-rx"].map(|key| peer.bench.front_number(key));
    assert_ne!(ports[0], ports[1]);
    assert_eq!(peer.net.ports().map(|(transmit, receive)| [transmit.0, receive.0].map(u64::from)), Some(ports));
    assert_eq!(peer.bench.front("event-channel"), None);
}

/// A frame to `to`, whose further bytes are `mark`.
fn frame_to(to: [u8; 6], mark: u8) -> Vec<u8> {
    [&to[..], &[mark; 54]].concat()
}

const STATION: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
const GUEST: [u8; 6] = [0x00, 0x16, 0x3e, 0, 0, 1];

#[test]
fn a_second_station_gets_what_is_for_it_and_copies_of_what_is_for_groups() {
    let peer = connect(ALL);
    peer.net.add_station(STATION);
    peer.deliver(&[(&frame_to(GUEST, 1), 0), (&frame_to(STATION, 2), 3), (&frame_to([0xff; 6], 3), 0)]);
    assert!(peer.net.poll());
    assert_eq!(peer.net.take_for_station(), Some((frame_to(STATION, 2), Checksum::Blank)));
    assert_eq!(peer.net.take_for_station(), Some((frame_to([0xff; 6], 3), Checksum::Unknown)));
    assert_eq!(peer.net.take_for_station(), None);
    for mark in [1, 3] {
        let mut data = [0; 7];
        assert!(peer.net.received().is_some());
        peer.net.received_read(0, &mut data);
        assert_eq!(data[6], mark);
        peer.net.received_done();
    }
    assert_eq!((peer.net.received(), peer.receive.get_u32(0)), (None, 7), "all pages are back");
}

#[test]
fn a_user_who_takes_nothing_does_not_stop_the_second_station() {
    let peer = connect(ALL);
    peer.net.add_station(STATION);
    for round in 0..20 {
        peer.deliver(&[(&frame_to(GUEST, round), 0), (&frame_to(STATION, round), 0)]);
        assert!(peer.net.poll());
        assert_eq!(peer.net.take_for_station(), Some((frame_to(STATION, round), Checksum::Unknown)));
    }
    let mut data = [0; 7];
    peer.net.received_read(0, &mut data);
    assert_eq!(data[6], 0, "the oldest are kept, as a full card does");
}

#[test]
fn a_whole_frame_is_sent_while_another_one_is_put_together() {
    let peer = connect(ALL);
    assert!(peer.net.begin());
    peer.append(&pattern(100));
    assert!(peer.net.send_whole(&frame_to(GUEST, 9), Offload::default()));
    peer.append(&pattern(100));
    assert_eq!(peer.net.len(), 200);
    peer.net.send(Offload::default());
    let lens = [0, 1].map(|at| Peer::slot(&peer.transmit, at, 12)[10]);
    assert_eq!(lens, [60, 200]);
}
