//! The transmitter: what is on the ring, and what is sent.

use super::tests::{COUNT, ICR, MAC, Pc, TCTL, TDH, TDT, TX_DATA, TX_RING};
use crate::card::Card;
use crate::host::{FRAME_MAX, GuestAddr, GuestMemory, NicFeatures, Offload};
use crate::net::frame::Frame;
use crate::net::headers::{Headers, Transport, Version};
use crate::net::tests::{is_right, packet};
use std::vec;
use std::vec::Vec;

const EOP: u32 = 1 << 24;
const IC: u32 = 1 << 26;
const TSE: u32 = 1 << 26;
const RS: u32 = 1 << 27;
const DEXT: u32 = 1 << 29;
const VLE: u32 = 1 << 30;
const DATA: u32 = DEXT | 1 << 20;
const IXSM: u8 = 1;
const TXSM: u8 = 2;

const EVERYTHING: NicFeatures =
    NicFeatures { checksum_v4: true, checksum_v6: true, segment_v4: true, segment_v6: true };
const PLAIN: Offload = Offload { blank_checksum: false, segment: None };

/// Sixteen bytes: address, command with length, option byte, special.
fn descriptor(addr: u64, command: u32, option: u8, special: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&addr.to_le_bytes());
    bytes[8..12].copy_from_slice(&command.to_le_bytes());
    bytes[13] = option;
    bytes[14..].copy_from_slice(&special.to_le_bytes());
    bytes
}

/// A context for the frame, as Linux fills it in.
fn context(frame: &[u8], mss: u16) -> [u8; 16] {
    let headers = Headers::parse(frame).unwrap();
    let byte = |value: usize| u8::try_from(value).unwrap();
    let header_len = headers.payload + headers.transport_header(frame);
    let v4 = headers.version == Version::V4;
    let mut command = DEXT | u32::from(v4) << 25 | RS;
    if headers.transport == Some(Transport::Tcp) {
        command |= 1 << 24;
    }
    if mss != 0 {
        command |= TSE | u32::try_from(frame.len() - header_len).unwrap();
    }
    let mut bytes = descriptor(0, command, byte(if mss != 0 { header_len } else { 0 }), mss);
    let ipcse = if v4 { byte(headers.payload - 1) } else { 0 };
    bytes[..8].copy_from_slice(&[
        byte(headers.ip),
        byte(headers.ip + 10),
        ipcse,
        0,
        byte(headers.payload),
        byte(headers.checksum_at().unwrap()),
        0,
        0,
    ]);
    bytes
}

/// A TCP packet as a driver hands it over to be cut: no length and no checksum in the IP header.
fn to_be_cut(version: Version, payload: usize) -> Vec<u8> {
    let mut frame = packet(version, Transport::Tcp, false, payload, true);
    match version {
        Version::V4 => {
            frame[16..18].fill(0);
            frame[24..26].fill(0);
        }
        Version::V6 => frame[18..20].fill(0),
    }
    frame
}

impl Pc {
    /// Puts descriptors behind those that are there, and moves the tail.
    fn queue(&mut self, descriptors: &[[u8; 16]]) {
        let mut tail = self.read(TDT);
        for bytes in descriptors {
            self.host.write(GuestAddr(TX_RING + u64::from(tail) * 16), bytes).unwrap();
            tail = (tail + 1) % COUNT;
        }
        self.write(TDT, tail);
    }

    /// Puts a frame into memory.
    fn data(&mut self, frame: &[u8]) {
        self.host.write(GuestAddr(TX_DATA), frame).unwrap();
    }

    /// Sends a frame in one descriptor, with a context before it.
    fn send(&mut self, frame: &[u8], context: [u8; 16], command: u32, options: u8) {
        self.data(frame);
        let len = u32::try_from(frame.len()).unwrap();
        self.queue(&[context, descriptor(TX_DATA, DATA | EOP | command | len, options, 0x2005)]);
    }

    fn sent(&mut self) -> Vec<(Vec<u8>, Offload)> {
        core::mem::take(&mut self.nic().sent)
    }

    fn status(&mut self, index: u64) -> u8 {
        self.memory(TX_RING + index * 16 + 12, 1)[0]
    }
}

#[test]
fn a_frame_is_sent_and_its_descriptor_written_back() {
    let mut pc = Pc::running();
    let frame = packet(Version::V4, Transport::Udp, false, 100, false);
    pc.data(&frame);
    pc.queue(&[descriptor(TX_DATA, EOP | RS | 142, 0, 0)]);
    assert_eq!(pc.sent(), [(frame, PLAIN)]);
    assert_eq!((pc.status(0), pc.read(TDH)), (1, 1));
    assert!(pc.card.interrupt());
    assert_eq!(pc.read(ICR), 3, "TXDW, TXQE");
}

#[test]
fn without_rs_nothing_is_written_back() {
    let mut pc = Pc::running();
    pc.queue(&[descriptor(TX_DATA, EOP | 100, 0, 0)]);
    assert_eq!((pc.sent().len(), pc.status(0), pc.read(ICR)), (1, 0, 2));
}

#[test]
fn a_frame_may_lie_in_pieces_and_come_with_several_tails() {
    let mut pc = Pc::running();
    let frame = packet(Version::V4, Transport::Udp, false, 1000, false);
    pc.data(&frame);
    pc.queue(&[descriptor(TX_DATA, 14, 0, 0), descriptor(TX_DATA + 14, 0, 0, 0)]);
    assert!(pc.sent().is_empty());
    pc.queue(&[descriptor(TX_DATA + 14, 500, 0, 0)]);
    pc.queue(&[descriptor(TX_DATA + 514, EOP | 528, 0, 0)]);
    assert_eq!(pc.sent(), [(frame, PLAIN)]);
}

/// TCTL.PSP.
#[test]
fn short_frames_are_padded_if_the_driver_wants() {
    let mut pc = Pc::running();
    pc.data(&[0xee; 100]);
    pc.queue(&[descriptor(TX_DATA, EOP | 20, 0, 0)]);
    pc.write(TCTL, 0x0003_f0f2);
    pc.queue(&[descriptor(TX_DATA, EOP | 20, 0, 0)]);
    let sent = pc.sent();
    assert_eq!(sent[0].0, [[0xee; 20], [0; 20], [0; 20]].concat());
    assert_eq!(sent[1].0, [0xee; 20]);
}

#[test]
fn nothing_is_sent_while_the_transmitter_is_off() {
    let mut pc = Pc::running();
    pc.write(TCTL, 0);
    pc.queue(&[descriptor(TX_DATA, EOP | 100, 0, 0)]);
    assert_eq!((pc.sent().len(), pc.read(TDH)), (0, 0));
    pc.write(TCTL, 2);
    assert_eq!((pc.sent().len(), pc.read(TDH)), (1, 1));
}

/// SDM 3.3.3: CSO, CSS and IC of a legacy descriptor.
#[test]
fn a_legacy_descriptor_has_one_checksum() {
    for (features, blank) in [(NicFeatures::default(), false), (EVERYTHING, true)] {
        let mut pc = Pc::running();
        pc.nic().features = features;
        let frame = packet(Version::V4, Transport::Tcp, false, 101, false);
        pc.data(&frame);
        pc.queue(&[descriptor(TX_DATA, EOP | IC | 50 << 16 | 155, 34, 0)]);
        let (sent, offload) = pc.sent().remove(0);
        assert_eq!((offload.blank_checksum, is_right(&sent)), (blank, !blank));
    }
    let mut pc = Pc::running();
    pc.nic().features = EVERYTHING;
    pc.data(&[1; 100]);
    for (start, place) in [(200, 50), (34, 200), (99, 99)] {
        pc.queue(&[descriptor(TX_DATA, EOP | IC | place << 16 | 100, start, 0)]);
        assert_eq!(pc.sent(), [(vec![1; 100], PLAIN)], "out of the frame: ignored");
    }
    pc.queue(&[descriptor(TX_DATA, EOP | IC | 20 << 16 | 100, 90, 0)]);
    let mut expected = vec![1; 100];
    expected[20..22].copy_from_slice(&(!(0x0101_u16 * 5)).to_be_bytes());
    assert_eq!(pc.sent(), [(expected, PLAIN)], "any range, any place");
}

#[test]
fn checksums_go_to_a_network_that_can_and_are_computed_for_one_that_cannot() {
    for version in [Version::V4, Version::V6] {
        for transport in [Transport::Tcp, Transport::Udp] {
            for tagged in [false, true] {
                let mut frame = packet(version, transport, tagged, 333, false);
                let headers = Headers::parse(&frame[..]).unwrap();
                if version == Version::V4 {
                    frame[headers.ip + 10..headers.ip + 12].fill(0);
                }
                let options = if version == Version::V4 { IXSM | TXSM } else { TXSM };
                for features in [NicFeatures::default(), EVERYTHING] {
                    let mut pc = Pc::running();
                    pc.nic().features = features;
                    pc.send(&frame, context(&frame, 0), 0, options);
                    let (sent, offload) = pc.sent().remove(0);
                    assert!(headers.ip_checksum_is_right(&sent[..]));
                    assert_eq!(offload.blank_checksum, features == EVERYTHING);
                    assert_eq!(is_right(&sent), features != EVERYTHING);
                }
            }
        }
    }
}

#[test]
fn a_network_that_can_only_ipv4_is_asked_for_that_only() {
    let mut pc = Pc::running();
    pc.nic().features = NicFeatures { checksum_v4: true, ..NicFeatures::default() };
    for version in [Version::V4, Version::V6] {
        let frame = packet(version, Transport::Tcp, false, 333, false);
        pc.send(&frame, context(&frame, 0), 0, TXSM);
        assert_eq!(pc.sent()[0].1.blank_checksum, version == Version::V4);
    }
}

#[test]
fn what_is_not_quite_a_plain_checksum_is_computed_here() {
    let good = packet(Version::V4, Transport::Tcp, false, 100, false);
    let mut other_sum = good.clone();
    other_sum[50] ^= 1;
    let padded = [&good[..], &[0]].concat();
    let mut fragment = good.clone();
    fragment[20] = 0x20;
    let mut half = context(&good, 0);
    half[6..8].copy_from_slice(&100_u16.to_le_bytes());
    let mut elsewhere = context(&good, 0);
    elsewhere[5] = 60;
    let plain = context(&good, 0);
    let cases = [(&other_sum, plain), (&padded, plain), (&fragment, plain), (&good, half), (&good, elsewhere)];
    for (frame, context) in cases {
        let (mut can, mut cannot) = (Pc::running(), Pc::running());
        can.nic().features = EVERYTHING;
        can.send(frame, context, 0, TXSM);
        cannot.send(frame, context, 0, TXSM);
        let sent = can.sent();
        assert_eq!(sent, cannot.sent());
        assert!(!sent[0].1.blank_checksum && sent[0].0 != *frame);
    }
}

#[test]
fn without_vme_no_tag_goes_in() {
    let mut pc = Pc::running();
    pc.queue(&[descriptor(TX_DATA, EOP | VLE | 100, 0, 0x2123)]);
    assert_eq!(pc.sent()[0].0.len(), 100);
}

#[test]
fn a_tag_goes_in_before_the_type() {
    let mut pc = Pc::running();
    pc.nic().features = EVERYTHING;
    pc.write(0x00, 0x4000_0201);
    let frame = packet(Version::V4, Transport::Tcp, false, 1200, false);
    pc.send(&frame, context(&frame, 0), VLE, TXSM);
    let (sent, offload) = pc.sent().remove(0);
    assert!(offload.blank_checksum);
    assert_eq!(sent, [&frame[..12], &[0x81, 0x00, 0x20, 0x05], &frame[12..]].concat());
    pc.queue(&[descriptor(TX_DATA, 13, 0, 0), descriptor(TX_DATA + 13, EOP | VLE | 7, 0, 0x0fff)]);
    let sent = pc.sent().remove(0).0;
    assert_eq!((&sent[12..20], sent.len()), (&[0x81, 0, 0x0f, 0xff, 0x08, 0, 0x45, 0][..], 60), "the last one says so");
    pc.queue(&[descriptor(TX_DATA, EOP | VLE | 5, 0, 1)]);
    assert_eq!(pc.sent()[0].0[..5], frame[..5], "too short for one");
}

#[test]
fn two_tags_are_too_many_for_the_network() {
    let mut pc = Pc::running();
    pc.nic().features = EVERYTHING;
    pc.write(0x00, 0x4000_0201);
    let frame = packet(Version::V4, Transport::Tcp, true, 100, false);
    pc.send(&frame, context(&frame, 0), VLE, TXSM);
    let (sent, offload) = pc.sent().remove(0);
    assert!(!offload.blank_checksum);
    assert!(is_right(&[&sent[..12], &sent[16..]].concat()));
}

#[test]
fn a_network_that_can_gets_a_long_packet_whole() {
    for version in [Version::V4, Version::V6] {
        for vlan in [false, true] {
            let mut pc = Pc::running();
            pc.nic().features = EVERYTHING;
            pc.write(0x00, u32::from(vlan) << 30);
            let frame = to_be_cut(version, 20_000);
            pc.send(&frame, context(&frame, 1448), TSE | VLE, TXSM | if version == Version::V4 { IXSM } else { 0 });
            let (sent, offload) = pc.sent().remove(0);
            assert_eq!(offload, Offload { blank_checksum: true, segment: Some(1448) });
            let headers = Headers::parse(&sent[..]).unwrap();
            assert_eq!((headers.tagged, headers.end), (vlan, sent.len()), "the IP length is set");
            assert!(headers.ip_checksum_is_right(&sent[..]));
            let field = sent[..].word(headers.checksum_at().unwrap());
            assert_eq!(field, headers.pseudo_header(&sent[..], 0).value(), "without a length");
            assert_eq!(sent[headers.payload + 20..], frame[frame.len() - 20_000..]);
            assert_eq!((pc.read(0x4080), pc.read(0x40f8)), (14, 1), "GPTC, TSCTC");
        }
    }
}

#[test]
fn a_network_that_cannot_gets_segments() {
    for version in [Version::V4, Version::V6] {
        for vlan in [false, true] {
            let mut pc = Pc::running();
            pc.write(0x00, u32::from(vlan) << 30);
            let frame = to_be_cut(version, 20_000);
            let options = TXSM | if version == Version::V4 { IXSM } else { 0 };
            pc.send(&frame, context(&frame, 1448), TSE | VLE, options);
            let sent = pc.sent();
            assert_eq!(sent.len(), 14);
            let mut data = Vec::new();
            for (segment, offload) in &sent {
                assert!(*offload == PLAIN && is_right(segment));
                let headers = Headers::parse(&segment[..]).unwrap();
                assert_eq!(headers.tagged, vlan);
                data.extend_from_slice(&segment[headers.payload + 20..]);
            }
            assert_eq!(data, frame[frame.len() - 20_000..]);
            assert_eq!((pc.read(0x4080), pc.read(0x40f8)), (14, 1), "GPTC, TSCTC");
        }
    }
}

#[test]
fn headers_and_data_may_lie_in_any_pieces() {
    for features in [NicFeatures::default(), EVERYTHING] {
        let frame = to_be_cut(Version::V4, 4000);
        let mut whole = Pc::running();
        whole.nic().features = features;
        whole.send(&frame, context(&frame, 1000), TSE, TXSM | IXSM);
        let mut pieces = Pc::running();
        pieces.nic().features = features;
        pieces.data(&frame);
        pieces.queue(&[context(&frame, 1000)]);
        let mut at = 0;
        for len in [1, 53, 0, 1, 999, 1001, 1999, 0] {
            let end = if at + len == 4054 && len == 0 { EOP } else { 0 };
            let len = u32::try_from(len).unwrap();
            pieces.queue(&[descriptor(TX_DATA + u64::try_from(at).unwrap(), DATA | TSE | end | len, TXSM | IXSM, 0)]);
            at += usize::try_from(len).unwrap();
        }
        assert_eq!(pieces.sent(), whole.sent());
    }
}

#[test]
fn a_packet_of_one_segment_is_a_plain_frame() {
    for version in [Version::V4, Version::V6] {
        let frame = to_be_cut(version, 1448);
        let options = TXSM | if version == Version::V4 { IXSM } else { 0 };
        let segment = NicFeatures { checksum_v4: false, checksum_v6: false, ..EVERYTHING };
        for (features, blank) in [(EVERYTHING, true), (segment, false), (NicFeatures::default(), false)] {
            let mut pc = Pc::running();
            pc.nic().features = features;
            pc.send(&frame, context(&frame, 1448), TSE, options);
            let (sent, offload) = pc.sent().remove(0);
            assert_eq!(offload, Offload { blank_checksum: blank, segment: None });
            assert_eq!(is_right(&sent), !blank);
            let headers = Headers::parse(&sent[..]).unwrap();
            let field = sent[..].word(headers.checksum_at().unwrap());
            assert!(!blank || field == headers.pseudo_header(&sent[..], 1468).value());
            assert_eq!((pc.read(0x4080), pc.read(0x40f8)), (1, 0));
        }
    }
}

#[test]
fn a_context_that_points_elsewhere_is_not_for_the_network() {
    let frame = to_be_cut(Version::V4, 4000);
    let good = context(&frame, 1000);
    let mut contexts = vec![];
    for (at, value) in [(0, 15), (1, 25), (2, 32), (4, 35), (5, 51), (6, 100), (13, 58), (11, 0x26), (11, 0x25)] {
        let mut other = good;
        other[at] = value;
        contexts.push(other);
    }
    let mut other_sum = frame.clone();
    other_sum[50] ^= 1;
    let cases = contexts.into_iter().map(|context| (&frame, context, TXSM | IXSM)).chain([
        (&other_sum, good, TXSM | IXSM),
        (&frame, good, TXSM),
        (&frame, good, IXSM),
    ]);
    for (frame, context, options) in cases {
        let (mut can, mut cannot) = (Pc::running(), Pc::running());
        can.nic().features = EVERYTHING;
        can.send(frame, context, TSE, options);
        cannot.send(frame, context, TSE, options);
        let sent = can.sent();
        assert!(sent.len() >= 4 && sent.iter().all(|(_, offload)| *offload == PLAIN));
        assert_eq!(sent, cannot.sent());
    }
}

#[test]
fn a_packet_longer_than_a_frame_can_be_is_cut_here() {
    let mut pc = Pc::running();
    pc.nic().features = EVERYTHING;
    let frame = to_be_cut(Version::V4, 100_000);
    pc.send(&frame, context(&frame, 8000), TSE, TXSM | IXSM);
    let sent = pc.sent();
    assert_eq!(sent.len(), 13);
    assert!(sent.iter().all(|(segment, offload)| *offload == PLAIN && is_right(segment)));
}

#[test]
fn a_packet_that_is_longer_than_it_said_is_lost() {
    let mut pc = Pc::running();
    pc.nic().features = EVERYTHING;
    let frame = to_be_cut(Version::V4, 65_530);
    let mut short = context(&frame, 1000);
    short[8..10].fill(0);
    short[10] &= 0xf0;
    pc.send(&frame, short, TSE, TXSM | IXSM);
    assert_eq!((pc.sent().len(), pc.read(TDH)), (0, 2));
    let frame = packet(Version::V4, Transport::Udp, false, 100, false);
    pc.data(&frame);
    pc.queue(&[descriptor(TX_DATA, EOP | 142, 0, 0)]);
    assert_eq!(pc.sent().len(), 1, "the next one is not");
}

#[test]
fn packets_that_cannot_be_cut_are_lost() {
    let frame = to_be_cut(Version::V4, 4000);
    let (mut no_header, mut no_size) = (context(&frame, 1000), context(&frame, 1000));
    no_header[13] = 0;
    no_size[14..].fill(0);
    for features in [NicFeatures::default(), EVERYTHING] {
        for context in [no_header, no_size] {
            let mut pc = Pc::running();
            pc.nic().features = features;
            pc.send(&frame, context, TSE | RS, TXSM | IXSM);
            assert_eq!((pc.sent().len(), pc.read(TDH), pc.status(1)), (0, 2, 1));
        }
        let mut pc = Pc::running();
        pc.nic().features = features;
        pc.send(&frame[..53], context(&frame, 1000), TSE, TXSM | IXSM);
        assert_eq!((pc.sent().len(), pc.read(TDH)), (0, 2), "headers that are not complete");
    }
}

#[test]
fn a_network_without_room_stops_the_ring_until_it_has_some() {
    let mut pc = Pc::running();
    pc.nic().room = Some(1);
    pc.queue(&[descriptor(TX_DATA, EOP | RS | 100, 0, 0), descriptor(TX_DATA, EOP | RS | 200, 0, 0)]);
    assert_eq!((pc.sent().len(), pc.read(TDH), pc.status(1), pc.read(ICR)), (1, 1, 0, 1), "no TXQE");
    pc.ready();
    assert_eq!((pc.sent().len(), pc.read(TDH)), (0, 1));
    pc.nic().room = None;
    pc.ready();
    assert_eq!((pc.sent()[0].0.len(), pc.read(TDH), pc.status(1), pc.read(ICR)), (200, 2, 1, 3));
}

#[test]
fn a_network_without_room_stops_in_the_middle_of_a_packet() {
    for features in [NicFeatures::default(), EVERYTHING] {
        let frame = to_be_cut(Version::V4, 20_000);
        let (mut free, mut tight) = (Pc::running(), Pc::running());
        free.nic().features = features;
        free.send(&frame, context(&frame, 1448), TSE, TXSM | IXSM);
        tight.nic().features = features;
        tight.nic().room = Some(0);
        tight.send(&frame, context(&frame, 1448), TSE, TXSM | IXSM);
        assert_eq!((tight.nic().sent.len(), tight.read(TDH)), (0, 1));
        let count = free.nic().sent.len();
        for _ in 0..count {
            assert_eq!(tight.read(TDH), 1);
            tight.nic().room = Some(1);
            tight.ready();
        }
        assert_eq!(tight.read(TDH), 2);
        assert_eq!(tight.sent(), free.sent());
    }
}

#[test]
fn data_outside_of_memory_spoils_its_frame_only() {
    let mut pc = Pc::running();
    for addr in [0x10_0000, 0xf_fff0, u64::MAX] {
        pc.queue(&[descriptor(TX_DATA, 50, 0, 0), descriptor(addr, EOP | RS | 100, 0, 0)]);
        assert_eq!((pc.sent().len(), pc.read(ICR)), (0, 3));
    }
    let frame = to_be_cut(Version::V4, 100);
    pc.queue(&[context(&frame, 10), descriptor(u64::MAX, DATA | TSE | EOP | 154, TXSM, 0)]);
    pc.queue(&[descriptor(TX_DATA, EOP | 60, 0, 0)]);
    assert_eq!(pc.sent().len(), 1);
}

#[test]
fn a_frame_without_end_takes_no_more_than_a_frame() {
    let mut pc = Pc::running();
    for _ in 0..200 {
        pc.queue(&[descriptor(0, 0xffff, 0, 0)]);
        assert!(pc.nic().begun.as_ref().unwrap().len() <= FRAME_MAX);
    }
    pc.queue(&[descriptor(0, EOP | 100, 0, 0)]);
    assert!(pc.sent().is_empty());
    pc.queue(&[descriptor(0, DATA | EOP | 0xf_ffff, 0, 0)]);
    assert!(pc.sent().is_empty());
    pc.queue(&[descriptor(0, EOP | 100, 0, 0)]);
    assert_eq!(pc.sent().len(), 1);
}

#[test]
fn rings_outside_of_memory_and_nonsense_in_registers_stop_the_transmitter() {
    let cases = [
        (0x3800, 0x10_0000),
        (0x3804, 1),
        (0x3808, 0),
        (0x3808, 0x7f),
        (TDH, COUNT),
        (TDH, 0xffff),
        (TDT, COUNT),
        (TDT, 0xffff),
    ];
    for (register, value) in cases {
        let mut pc = Pc::running();
        pc.write(TCTL, 0);
        pc.queue(&[descriptor(TX_DATA, EOP | 100, 0, 0)]);
        pc.write(register, value);
        pc.write(TCTL, 2);
        assert_eq!((pc.sent().len(), pc.read(ICR)), (0, 0), "register {register:#x}");
        if register == TDH {
            pc.write(TDH, 0);
            pc.write(TDT, 1);
            assert_eq!(pc.sent().len(), 1);
        }
    }
}

#[test]
fn the_ring_wraps() {
    let mut pc = Pc::running();
    for _ in 0..3 * COUNT {
        pc.queue(&[descriptor(TX_DATA, EOP | 100, 0, 0)]);
    }
    assert_eq!((pc.sent().len(), pc.read(TDH)), (48, 0));
    pc.queue(&[descriptor(TX_DATA, EOP | 100, 0, 0); 15]);
    assert_eq!((pc.sent().len(), pc.read(TDH)), (15, 15));
}

/// A ring of one-byte segments would be millions of frames.
#[test]
fn much_work_is_done_in_turns() {
    let mut pc = Pc::running();
    let frame = to_be_cut(Version::V4, 60_000);
    pc.send(&frame, context(&frame, 1), TSE, TXSM | IXSM);
    assert!(pc.nic().sent.len() < 20_000);
    assert_eq!((pc.read(TDH), pc.card.deadline()), (1, Some(pc.host.time)));
    let mut turns = 0;
    while pc.card.deadline().is_some() {
        pc.pass(1);
        turns += 1;
    }
    assert_eq!((pc.sent().len(), pc.read(TDH)), (60_000, 2));
    assert!(turns > 2);
}

#[test]
fn what_was_sent_is_counted() {
    let mut pc = Pc::running();
    pc.data(&[0xff; 100]);
    pc.queue(&[descriptor(TX_DATA, EOP | 100, 0, 0), descriptor(TX_DATA + 100, EOP | 60, 0, 0)]);
    assert_eq!((pc.read(0x4080), pc.read(0x40d4), pc.read(0x40f4)), (2, 2, 1), "GPTC, TPT, BPTC");
    assert_eq!((pc.read(0x4090), pc.read(0x4094)), (168, 0), "GOTC");
    assert_eq!((pc.read(0x40c8), pc.read(0x40d8), pc.read(0x40dc)), (168, 1, 1), "TOT, PTC64, PTC127");
    assert_eq!((pc.read(0x4080), pc.read(0x4090)), (0, 0), "cleared by reading");
}

#[test]
fn a_reset_forgets_the_frame_that_was_begun() {
    let mut pc = Pc::running();
    pc.queue(&[descriptor(TX_DATA, 50, 0, 0)]);
    pc.write(0x00, 1 << 26);
    pc.write(0x3800, u32::try_from(TX_RING).unwrap());
    pc.write(0x3808, COUNT * 16);
    pc.write(TCTL, 2);
    pc.data(&MAC);
    pc.queue(&[descriptor(TX_DATA, EOP | 60, 0, 0)]);
    assert_eq!(pc.sent()[0].0.len(), 60);
}
