//! Frames as they are on a wire.

use super::checksum::{Sum, finish_received};
use super::frame::{Frame, Receiving};
use super::headers::{Headers, Transport, Version};
use super::multicast::{crc, hash64, is_broadcast, is_group};
use super::segment::{Plan, Segmenter};
use crate::fake_host::{FakeHost, FakeNic};
use crate::host::{GuestAddr, NicHost, NicId, Offload, ReceivedChecksum};
use std::vec;
use std::vec::Vec;

const NIC: NicId = NicId(0);

fn host() -> FakeHost {
    let mut host = FakeHost::new(0x4_0000);
    host.nics.insert(0, FakeNic::default());
    host
}

/// A frame with `payload` bytes of data, its checksum the sum of the pseudo header, without a length if `long`.
pub(crate) fn packet(version: Version, transport: Transport, tagged: bool, payload: usize, long: bool) -> Vec<u8> {
    let mut frame = vec![0x52, 0x54, 0, 1, 2, 3, 0x52, 0x54, 0, 4, 5, 6];
    if tagged {
        frame.extend([0x81, 0x00, 0x20, 0x05]);
    }
    let (protocol, header) = match transport {
        Transport::Tcp => (6, 20),
        Transport::Udp => (17, 8),
    };
    let length = u16::try_from(header + payload).unwrap_or(0);
    match version {
        Version::V4 => {
            let [l0, l1] = length.wrapping_add(20).to_be_bytes();
            frame.extend([0x08, 0x00, 0x45, 0, l0, l1, 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0]);
            frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
            let ip = frame.len() - 20;
            let mut sum = Sum::default();
            sum.add(&frame[ip..]);
            frame[ip + 10..ip + 12].copy_from_slice(&sum.checksum().to_be_bytes());
        }
        Version::V6 => {
            let [l0, l1] = length.to_be_bytes();
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, l0, l1, protocol, 64]);
            frame.extend((1..=32).collect::<Vec<u8>>());
        }
    }
    let at = frame.len();
    match transport {
        Transport::Tcp => {
            frame.extend([0x12, 0x34, 0, 80, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 1, 0x50, 0x19, 1, 0, 0, 0, 0, 0])
        }
        Transport::Udp => {
            let [l0, l1] = length.to_be_bytes();
            frame.extend([0x12, 0x34, 0, 53, l0, l1, 0, 0]);
        }
    }
    let headers = Headers::parse(&frame[..]).unwrap();
    let sum = headers.pseudo_header(&frame[..], if long { 0 } else { length.into() }).value();
    let field = at + transport.checksum_offset();
    frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    frame.extend((0..payload).map(|byte| u8::try_from(byte % 251).unwrap()));
    frame
}

/// Whether every checksum of a frame is right, as a receiver works it out: the sum over everything is all ones.
pub(crate) fn is_right(frame: &[u8]) -> bool {
    let headers = Headers::parse(frame).expect("an IP packet");
    let mut sum = headers.pseudo_header(frame, headers.end - headers.payload);
    sum.add_frame(frame, headers.payload, headers.end);
    headers.end == frame.len() && sum.value() == 0xffff && headers.ip_checksum_is_right(frame)
}

const KINDS: [(Version, Transport, bool); 8] = [
    (Version::V4, Transport::Tcp, false),
    (Version::V4, Transport::Tcp, true),
    (Version::V4, Transport::Udp, false),
    (Version::V4, Transport::Udp, true),
    (Version::V6, Transport::Tcp, false),
    (Version::V6, Transport::Tcp, true),
    (Version::V6, Transport::Udp, false),
    (Version::V6, Transport::Udp, true),
];

/// RFC 1071, section 3: the example.
#[test]
fn the_sum_is_that_of_the_rfc() {
    let mut sum = Sum::default();
    sum.add(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
    assert_eq!((sum.value(), sum.checksum()), (0xddf2, 0x220d));
    let mut odd = Sum::default();
    odd.add(&[0x12, 0x34, 0x56]);
    assert_eq!(odd.value(), 0x12_34 + 0x56_00);
    let mut ones = Sum::default();
    ones.add(&[0xff, 0xff]);
    assert_eq!((ones.checksum(), ones.checksum_not_zero()), (0, 0xffff));
}

#[test]
fn a_sum_over_a_long_frame_is_that_of_its_pieces_and_ends_with_the_frame() {
    let frame: Vec<u8> = (0..3001_u32).map(|at| at.to_le_bytes()[0] ^ 0x5a).collect();
    let mut whole = Sum::default();
    whole.add(&frame[14..]);
    let mut pieces = Sum::default();
    pieces.add_frame(&frame[..], 14, usize::MAX);
    assert_eq!(whole.value(), pieces.value());
    let mut none = Sum::default();
    none.add_frame(&frame[..], 4000, 5000);
    assert_eq!(none, Sum::default());
}

#[test]
fn headers_are_found_behind_a_tag_and_without() {
    for (version, transport, tagged) in KINDS {
        let frame = packet(version, transport, tagged, 100, false);
        let headers = Headers::parse(&frame[..]).unwrap();
        assert_eq!((headers.version, headers.transport, headers.tagged), (version, Some(transport), tagged));
        assert_eq!(headers.ip, if tagged { 18 } else { 14 });
        assert_eq!(headers.payload - headers.ip, if version == Version::V4 { 20 } else { 40 });
        assert_eq!(headers.end, frame.len());
        assert_eq!(headers.payload + headers.transport_header(&frame[..]), frame.len() - 100);
    }
}

#[test]
fn fragments_and_cut_off_headers_have_no_transport() {
    let mut frame = packet(Version::V4, Transport::Udp, false, 10, false);
    frame[20] = 0x20;
    assert_eq!(Headers::parse(&frame[..]).unwrap().transport, None, "more fragments follow");
    frame[20..22].copy_from_slice(&[0, 1]);
    assert_eq!(Headers::parse(&frame[..]).unwrap().transport, None, "not the first fragment");
    let frame = packet(Version::V4, Transport::Tcp, false, 10, false);
    assert_eq!(Headers::parse(&frame[..53]).unwrap().transport, None);
    assert_eq!(Headers::parse(&frame[..33]), None);
    assert_eq!(Headers::parse(&[][..]), None);
    for first in [0x40, 0x44, 0x65] {
        let mut frame = frame.clone();
        frame[14] = first;
        assert_eq!(Headers::parse(&frame[..]), None, "version and length {first:#x}");
    }
}

#[test]
fn a_blank_checksum_is_finished_whatever_stood_there() {
    for (version, transport, tagged) in KINDS {
        for garbage in [false, true] {
            let mut host = host();
            let mut frame = packet(version, transport, tagged, 101, false);
            let at = Headers::parse(&frame[..]).unwrap().checksum_at().unwrap();
            frame[at] ^= u8::from(garbage);
            host.nics.get_mut(&0).unwrap().received.push_back((frame, ReceivedChecksum::Blank));
            let received = host.nic_received(NIC).unwrap();
            assert_eq!(finish_received(&mut host, NIC, received), ReceivedChecksum::Validated);
            assert!(is_right(&host.nics[&0].received[0].0));
        }
    }
}

#[test]
fn a_blank_checksum_of_nonsense_is_left_alone() {
    let mut too_long = packet(Version::V4, Transport::Tcp, false, 10, false);
    too_long[16..18].fill(0xff);
    let mut too_short = packet(Version::V4, Transport::Tcp, false, 10, false);
    too_short[16..18].copy_from_slice(&[0, 30]);
    for frame in [too_long, too_short, vec![0; 60], vec![], vec![0xff; 14]] {
        let mut host = host();
        host.nics.get_mut(&0).unwrap().received.push_back((frame.clone(), ReceivedChecksum::Blank));
        let received = host.nic_received(NIC).unwrap();
        assert_eq!(finish_received(&mut host, NIC, received), ReceivedChecksum::Unknown);
        assert_eq!(host.nics[&0].received[0].0, frame);
    }
}

#[test]
fn what_is_not_blank_is_not_touched() {
    let mut host = host();
    let frame = packet(Version::V4, Transport::Tcp, false, 10, false);
    for checksum in [ReceivedChecksum::Unknown, ReceivedChecksum::Validated] {
        host.nics.get_mut(&0).unwrap().received = [(frame.clone(), checksum)].into();
        let received = host.nic_received(NIC).unwrap();
        assert_eq!(finish_received(&mut host, NIC, received), checksum);
        assert_eq!(
            Receiving { host: &host, nic: NIC, len: frame.len() }.word(50),
            u16::from_be_bytes([frame[50], frame[51]])
        );
    }
}

/// Cuts a frame whose data lies in guest memory, in pieces of `piece` bytes.
fn cut(host: &mut FakeHost, frame: &[u8], segment: u16, piece: usize) -> usize {
    let headers = Headers::parse(frame).unwrap();
    let header_len = headers.payload + headers.transport_header(frame);
    let mut header = frame[..header_len].to_vec();
    if headers.version == Version::V4 {
        header[headers.ip + 10..headers.ip + 12].fill(0);
    }
    let mut segmenter = Segmenter::new(Plan::plain(&headers, segment).unwrap(), &header);
    let data = &frame[header_len..];
    host.memory[0x1000..0x1000 + data.len()].copy_from_slice(data);
    let (mut at, mut stops) = (0, 0);
    while at < data.len() {
        let addr = GuestAddr(0x1000 + u64::try_from(at).unwrap());
        let taken = segmenter.push(host, NIC, addr, piece.min(data.len() - at)).unwrap();
        if taken == 0 {
            stops += 1;
            host.nics.get_mut(&0).unwrap().room = Some(1);
        }
        at += taken;
    }
    while segmenter.finish(host, NIC).is_none() {
        stops += 1;
        host.nics.get_mut(&0).unwrap().room = Some(1);
    }
    stops
}

#[test]
fn segments_have_headers_of_their_own() {
    for (version, transport, tagged) in KINDS.into_iter().filter(|(_, transport, _)| *transport == Transport::Tcp) {
        for piece in [1, 7, 1000, 4096, 20_000] {
            let mut host = host();
            let frame = packet(version, transport, tagged, 10_000, true);
            cut(&mut host, &frame, 1448, piece);
            let headers = Headers::parse(&frame[..]).unwrap();
            let data_at = headers.payload + 20;
            let sent = &host.nics[&0].sent;
            assert_eq!(sent.len(), 7);
            let mut data: Vec<u8> = Vec::new();
            for (index, (segment, offload)) in sent.iter().enumerate() {
                assert_eq!(*offload, Offload::default());
                assert!(is_right(segment), "segment {index}");
                let sequence = u32::from_be_bytes(segment[headers.payload + 4..][..4].try_into().unwrap());
                assert_eq!(sequence, 0xffff_fff0_u32.wrapping_add(u32::try_from(index * 1448).unwrap()));
                assert_eq!(segment[headers.payload + 13], if index == 6 { 0x19 } else { 0x10 }, "PSH and FIN");
                if version == Version::V4 {
                    assert_eq!(segment[..].word(headers.ip + 4), 0x1234 + u16::try_from(index).unwrap());
                }
                data.extend(&segment[data_at..]);
            }
            assert_eq!(data, frame[data_at..]);
        }
    }
}

#[test]
fn a_multiple_of_the_segment_has_no_empty_one_behind_it() {
    let mut host = host();
    cut(&mut host, &packet(Version::V4, Transport::Tcp, false, 3000, true), 1500, 3000);
    let lengths: Vec<usize> = host.nics[&0].sent.iter().map(|(frame, _)| frame.len()).collect();
    assert_eq!(lengths, [1554, 1554]);
    assert_eq!(host.nics[&0].sent[1].0[47], 0x19, "the second is the last");
}

#[test]
fn cutting_goes_on_where_the_network_had_no_room() {
    let frame = packet(Version::V6, Transport::Tcp, false, 9_000, true);
    let (mut free, mut tight) = (host(), host());
    assert_eq!(cut(&mut free, &frame, 1000, 4000), 0);
    tight.nics.get_mut(&0).unwrap().room = Some(0);
    assert_eq!(cut(&mut tight, &frame, 1000, 4000), 9);
    assert_eq!(free.nics[&0].sent, tight.nics[&0].sent);
}

#[test]
fn offsets_outside_of_the_headers_change_nothing_and_panic_never() {
    let mut host = host();
    let headers = Headers::parse(&packet(Version::V4, Transport::Tcp, false, 0, true)[..]).unwrap();
    let mut plan = Plan::plain(&headers, 1).unwrap();
    for at in [0, 13, 255, 65_535, usize::MAX] {
        (plan.ip, plan.transport_at) = (at, at);
        if let (Some(ip), Some(transport)) = (&mut plan.ip_checksum, &mut plan.transport_checksum) {
            (ip.start, ip.at, ip.end) = (at, at, Some(0));
            (transport.start, transport.at) = (at, at);
        }
        for plan in [plan, plan.tagged()] {
            for header in [&[][..], &[0xff; 300][..]] {
                let mut segmenter = Segmenter::new(plan, header);
                assert_eq!(segmenter.push(&mut host, NIC, GuestAddr(0), 5), Ok(1));
                assert_eq!(segmenter.push(&mut host, NIC, GuestAddr(0), 5), Ok(1));
                segmenter.push(&mut host, NIC, GuestAddr(1 << 40), 5).unwrap_err();
                assert!(segmenter.finish(&mut host, NIC).is_some());
            }
        }
    }
}

/// IEEE 802.3, 3.2.9, worked out the other way round: with the bits of the register reversed.
#[test]
fn the_hash_of_an_address_is_its_ethernet_crc() {
    fn reflected(address: [u8; 6]) -> u32 {
        let mut crc = u32::MAX;
        for byte in address {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = crc >> 1 ^ if crc & 1 != 0 { 0xedb8_8320 } else { 0 };
            }
        }
        crc.reverse_bits()
    }
    for address in [[0x01, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1], [0xff; 6], [0; 6]] {
        assert_eq!(crc(address), reflected(address));
        assert_eq!(u32::from(hash64(address)), crc(address) >> 26);
    }
    assert!(is_group([1, 0, 0x5e, 0, 0, 1]) && !is_group([0x52, 0x54, 0, 0, 0, 1]));
    assert!(is_broadcast([0xff; 6]) && !is_broadcast([0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]));
}
