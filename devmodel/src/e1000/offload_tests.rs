//! The end of a frame: checksums, tags and segments, here and by the network.

use super::tests::{Pc, TDH, TX_DATA};
use super::transmit_tests::{
    DATA, EOP, EVERYTHING, IC, IXSM, PLAIN, RS, TSE, TXSM, VLE, context, descriptor, to_be_cut,
};
use crate::host::{NicFeatures, Offload};
use crate::net::frame::Frame;
use crate::net::headers::{Headers, Transport, Version};
use crate::net::tests::{is_right, packet};
use std::vec;
use std::vec::Vec;

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
            let length = sent.len() - headers.payload;
            assert_eq!(field, headers.pseudo_header(&sent[..], length).value(), "with the length of all");
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
