//! The card through its registers, as drivers use it; numbers are those of the data sheet.

use super::*;
use crate::fake_host::{FakeHost, FakeNic};
use crate::host::{GuestAddr, NicFeatures, Offload, ReceivedChecksum};
use crate::net::frame::Frame;
use crate::net::headers::{Transport, Version};
use crate::net::tests::{is_right, packet};
use std::vec;

const NIC: NicId = NicId(0);
const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
/// The ring of bytes, and the rings of descriptors.
const RING: u32 = 0x1000;
const TX_RING: u32 = 0x6000;
const RX_RING: u32 = 0x7000;
/// Buffers.
const TX_DATA: u32 = 0x2_0000;
const RX_DATA: u32 = 0x4_0000;
const EVERYTHING: NicFeatures =
    NicFeatures { checksum_v4: true, checksum_v6: true, segment_v4: true, segment_v6: true };

struct Pc {
    card: Rtl8139,
    host: FakeHost,
}

impl Pc {
    fn new() -> Self {
        let mut host = FakeHost::new(0x10_0000);
        host.nics.insert(0, FakeNic::default());
        let mut pc = Self { card: Rtl8139::new(NIC, MAC, Vec::new()), host };
        pc.card.config_mut().write(4, Width::Word, 7);
        pc
    }

    /// As 8139too starts it: a ring of 8 KiB, receiving for us and broadcasts.
    fn with_ring() -> Self {
        let mut pc = Self::new();
        pc.byte(0x37, 0x10);
        pc.dword(0x30, RING);
        pc.byte(0x37, 0x0c);
        pc.dword(0x44, 0x0000_e70a);
        pc.word(0x3c, 0xe07f);
        pc
    }

    /// As 8139cp starts it: both rings, receive buffers of 1536 bytes.
    fn with_descriptors(count: u32) -> Self {
        let mut pc = Self::new();
        pc.byte(0x37, 0x10);
        pc.word(0xe0, 0x002b);
        for (at, ring) in [(0x20, TX_RING), (0xe4, RX_RING)] {
            pc.dword(at, ring);
            pc.dword(at + 4, 0);
        }
        for index in 0..count {
            pc.offer(index, count);
        }
        pc.byte(0x37, 0x0c);
        pc.dword(0x44, 0x0000_e70a);
        pc.word(0x3c, 0xffff);
        pc
    }

    fn offer(&mut self, index: u32, count: u32) {
        let end = if index + 1 == count { 1 << 30 } else { 0 };
        self.put(RX_RING + index * 16, &[0x8000_0000 | end | 1536, 0, RX_DATA + index * 1536, 0]);
    }

    fn put(&mut self, at: u32, words: &[u32]) {
        for (word, at) in words.iter().zip((at..).step_by(4)) {
            self.host.write(GuestAddr(at.into()), &word.to_le_bytes()).unwrap();
        }
    }

    fn words(&mut self, at: u32) -> [u32; 4] {
        read_descriptor(&mut self.host, at.into()).unwrap()
    }

    fn memory(&mut self, at: u32, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        GuestMemory::read(&mut self.host, GuestAddr(at.into()), &mut data).unwrap();
        data
    }

    fn write(&mut self, at: u32, width: Width, value: u32) {
        self.card.write(&mut self.host, 0, at, width, value.into());
    }

    fn byte(&mut self, at: u32, value: u32) {
        self.write(at, Width::Byte, value);
    }

    fn word(&mut self, at: u32, value: u32) {
        self.write(at, Width::Word, value);
    }

    fn dword(&mut self, at: u32, value: u32) {
        self.write(at, Width::Dword, value);
    }

    fn read(&mut self, at: u32, width: Width) -> u32 {
        u32::try_from(self.card.read(&mut self.host, 0, at, width)).unwrap()
    }

    /// Reads and acknowledges what happened.
    fn events(&mut self) -> u32 {
        let events = self.read(0x3e, Width::Word);
        self.word(0x3e, events);
        assert!(!self.card.interrupt());
        events
    }

    fn nic(&mut self) -> &mut FakeNic {
        self.host.nics.get_mut(&0).unwrap()
    }

    fn arrives(&mut self, frame: &[u8], checksum: ReceivedChecksum) {
        self.nic().received.push_back((frame.to_vec(), checksum));
        self.card.nic_ready(&mut self.host, NIC);
    }

    fn sent(&mut self) -> Vec<(Vec<u8>, Offload)> {
        std::mem::take(&mut self.nic().sent)
    }

    /// Sends a frame in C+ mode, cut into descriptors of `step` bytes; `bits` go into the first.
    fn send(&mut self, frame: &[u8], bits: u32, tag: u32, step: usize) {
        self.host.write(GuestAddr(TX_DATA.into()), frame).unwrap();
        let pieces = u32::try_from(frame.len().div_ceil(step)).unwrap();
        let step = u32::try_from(step).unwrap();
        let len = u32::try_from(frame.len()).unwrap();
        let next = u32::from(self.card.transmit_next[0]);
        for piece in 0..pieces {
            let index = (next + piece) % 64;
            let ends = if piece == 0 { 1 << 29 } else { 0 }
                | if piece + 1 == pieces { 1 << 28 } else { 0 }
                | if index == 63 { 1 << 30 } else { 0 };
            let size = step.min(len - piece * step);
            self.put(TX_RING + index * 16, &[0x8000_0000 | ends | bits | size, tag, TX_DATA + piece * step, 0]);
        }
        self.byte(0xd9, 0x40);
    }
}

/// A frame for us, with so many bytes.
fn frame(len: usize) -> Vec<u8> {
    let mut frame = [&MAC[..], &[2; 6], &[0x88, 0xb5]].concat();
    frame.extend((frame.len()..len).map(|at| (at % 251).to_le_bytes()[0]));
    frame
}

/// A long TCP packet whose headers say nothing of its length and checksums.
fn to_be_cut(version: Version, payload: usize) -> Vec<u8> {
    let mut frame = packet(version, Transport::Tcp, false, payload, true);
    if version == Version::V4 {
        frame[24..26].fill(0);
    }
    frame
}

#[test]
fn it_is_found_and_says_what_it_is() {
    let mut pc = Pc::new();
    assert_eq!(pc.card.config().read(0, Width::Dword), 0x8139_10ec);
    assert_eq!(pc.card.config().read(8, Width::Dword), 0x0200_0020, "revision 0x20 is the C+");
    assert_eq!(pc.read(0x40, Width::Dword) & 0x7cc0_0000, 0x7480_0000, "and so says its version");
    assert_eq!(pc.read(0, Width::Dword).to_le_bytes(), MAC[..4]);
    assert_eq!(pc.read(4, Width::Word).to_le_bytes()[..2], MAC[4..]);
    assert_eq!(pc.read(0x37, Width::Byte), 1, "the ring is empty");
    assert_eq!(pc.read(0x64, Width::Word) & 0x24, 0x24, "negotiated, and there is a link");
    pc.nic().unplugged = true;
    assert_eq!(pc.read(0x64, Width::Word) & 4, 0);
    assert_eq!(pc.read(0x58, Width::Byte) & 4, 4, "no link");
}

/// Linux `read_eeprom` of 8139too and 8139cp.
#[test]
fn the_address_is_in_the_eeprom() {
    let mut pc = Pc::new();
    let mut word = |address: u32| {
        pc.byte(0x50, 0x80);
        pc.byte(0x50, 0x88);
        for bit in (0..9).rev() {
            let data = ((0b110 << 6 | address) >> bit & 1) << 1;
            pc.byte(0x50, 0x88 | data);
            pc.byte(0x50, 0x8c | data);
        }
        pc.byte(0x50, 0x88);
        let mut word = 0;
        for _ in 0..16 {
            pc.byte(0x50, 0x8c);
            word = word << 1 | pc.read(0x50, Width::Byte) & 1;
            pc.byte(0x50, 0x88);
        }
        pc.byte(0x50, 0x80);
        word
    };
    assert_eq!([word(0), word(7), word(8), word(9)], [0x8129, 0x5452, 0x1200, 0x5634]);
}

#[test]
fn a_frame_goes_out_of_a_buffer() {
    let mut pc = Pc::with_ring();
    for index in 0..6_u32 {
        let data = frame(60 + usize::try_from(index).unwrap());
        pc.host.write(GuestAddr(TX_DATA.into()), &data).unwrap();
        pc.dword(0x20 + index % 4 * 4, TX_DATA);
        pc.dword(0x10 + index % 4 * 4, 60 + index);
        assert_eq!(pc.sent(), [(data, Offload::default())]);
        assert_eq!(pc.read(0x10 + index % 4 * 4, Width::Dword), 0xa000 | (60 + index), "read and sent");
        assert_eq!(pc.events(), 4);
    }
}

#[test]
fn buffers_wait_for_room_in_their_order() {
    let mut pc = Pc::with_ring();
    pc.nic().room = Some(0);
    for index in 0..2_u32 {
        pc.host
            .write(GuestAddr((TX_DATA + index * 0x1000).into()), &frame(100 + usize::try_from(index).unwrap()))
            .unwrap();
        pc.dword(0x20 + index * 4, TX_DATA + index * 0x1000);
        pc.dword(0x10 + index * 4, 100 + index);
        assert_eq!(pc.read(0x10 + index * 4, Width::Dword) & 0x2000, 0, "still the card's");
    }
    assert_eq!(pc.events(), 0);
    pc.nic().room = None;
    pc.card.nic_ready(&mut pc.host, NIC);
    let lens: Vec<_> = pc.sent().iter().map(|(frame, _)| frame.len()).collect();
    assert_eq!(lens, [100, 101]);
}

#[test]
fn a_buffer_in_no_memory_is_an_error_of_that_buffer() {
    let mut pc = Pc::with_ring();
    pc.dword(0x20, 0xffff_ff00);
    pc.dword(0x10, 0x1fff);
    assert_eq!(pc.events(), 8);
    assert_eq!(pc.read(0x10, Width::Dword) & 0x4000_a000, 0x4000_2000, "aborted");
    pc.dword(0x24, TX_DATA);
    pc.dword(0x14, 80);
    assert_eq!(pc.sent()[0].0.len(), 80, "the next one goes");
}

#[test]
fn frames_come_into_the_ring_of_bytes() {
    let mut pc = Pc::with_ring();
    pc.arrives(&frame(61), ReceivedChecksum::Unknown);
    pc.arrives(&[&[0xff; 6][..], &frame(100)[6..]].concat(), ReceivedChecksum::Unknown);
    pc.arrives(&[&[0x52; 6][..], &frame(100)[6..]].concat(), ReceivedChecksum::Unknown);
    pc.arrives(&[&[0x01, 0, 0x5e, 0, 0, 1][..], &frame(100)[6..]].concat(), ReceivedChecksum::Unknown);
    assert_eq!(pc.events(), 1);
    assert_eq!(pc.read(0x3a, Width::Word), 72 + 108, "two of them, each with header and sum, in words");
    assert_eq!(pc.memory(RING, 4), [1, 0x40, 65, 0], "for us, good");
    assert_eq!(pc.memory(RING + 4, 61), frame(61));
    assert_eq!(pc.memory(RING + 72, 4), [1, 0x20, 104, 0], "for all");
    assert_eq!(pc.read(0x37, Width::Byte) & 1, 0);
    pc.word(0x38, 180 - 16);
    assert_eq!(pc.read(0x37, Width::Byte) & 1, 1, "empty again");
    assert_eq!(pc.nic().received.len(), 0, "what was not for us is gone");
}

#[test]
fn a_multicast_group_is_heard_by_its_bit() {
    let mut pc = Pc::with_ring();
    pc.dword(0x44, 0x0000_e70e);
    let group = [&[0x01, 0, 0x5e, 0, 0, 1][..], &frame(100)[6..]].concat();
    pc.arrives(&group, ReceivedChecksum::Unknown);
    assert_eq!(pc.read(0x3a, Width::Word), 0);
    let bit = crate::net::multicast::hash64([0x01, 0, 0x5e, 0, 0, 1]);
    pc.dword(if bit < 32 { 8 } else { 12 }, 1 << (bit % 32));
    pc.arrives(&group, ReceivedChecksum::Unknown);
    assert_eq!(pc.read(0x3a, Width::Word), 108);
    assert_eq!(pc.memory(RING, 4), [1, 0x80, 104, 0]);
}

#[test]
fn the_ring_of_bytes_goes_round_and_is_never_overrun() {
    for no_wrap in [0, 0x80] {
        let mut pc = Pc::with_ring();
        pc.dword(0x44, 0x0000_e70a | no_wrap);
        let (mut read, mut seen) = (0_u32, 0);
        for round in 0..40_usize {
            // Fill it until it takes no more, then read everything.
            let mut pushed = 0;
            while pc.nic().received.is_empty() {
                pc.arrives(&frame(700 + round), ReceivedChecksum::Unknown);
                pushed += 1;
                assert!(pushed < 20);
            }
            assert_eq!(pc.events() & 0x11, 0x11, "received, and overflow");
            let size = u32::try_from(700 + round + 4).unwrap();
            while pc.read(0x37, Width::Byte) & 1 == 0 {
                let header = pc.memory(RING + read, 4);
                assert_eq!(u32::from(u16::from_le_bytes([header[2], header[3]])), size, "at {read}");
                let expected = frame(700 + round);
                let got: Vec<u8> = (0..expected.len())
                    .map(|at| {
                        let at = read + 4 + u32::try_from(at).unwrap();
                        pc.memory(RING + if no_wrap != 0 { at } else { at % 0x2000 }, 1)[0]
                    })
                    .collect();
                assert_eq!(got, expected);
                read = (read + 4 + size).next_multiple_of(4) % 0x2000;
                seen += 1;
                pc.word(0x38, read.wrapping_sub(16) & 0xffff);
                if seen % 9 == 0 {
                    break;
                }
            }
            // What waited came in when there was room; drop the rest before the length changes.
            while pc.read(0x37, Width::Byte) & 1 == 0 {
                let header = pc.memory(RING + read, 4);
                let size = u32::from(u16::from_le_bytes([header[2], header[3]]));
                read = (read + 4 + size).next_multiple_of(4) % 0x2000;
                pc.word(0x38, read.wrapping_sub(16) & 0xffff);
            }
        }
        assert!(seen > 100, "{seen}");
    }
}

#[test]
fn any_place_that_a_driver_says_it_has_read_to_is_inside_of_the_ring() {
    let mut pc = Pc::with_ring();
    for config in [0, 0x800, 0x1000, 0x1800] {
        pc.dword(0x44, 0xe70a | config);
        for place in [0, 1, 0x1ff1, 0x7fff, 0xfff0, 0xffff] {
            pc.word(0x38, place);
            pc.arrives(&frame(1514), ReceivedChecksum::Unknown);
            pc.nic().received.clear();
            assert!(pc.card.ring_write < pc.card.ring_len());
        }
    }
    pc.dword(0x30, 0xffff_f000);
    pc.arrives(&frame(1514), ReceivedChecksum::Unknown);
    assert_eq!(pc.events() & 0x8000, 0x8000, "a ring in no memory");
}

#[test]
fn frames_come_into_descriptors() {
    let mut pc = Pc::with_descriptors(4);
    pc.arrives(&frame(100), ReceivedChecksum::Unknown);
    assert_eq!(pc.words(RX_RING)[0], 0x3200_0000 | 104, "one descriptor, for us, with its sum");
    assert_eq!(pc.memory(RX_DATA, 100), frame(100));
    // Longer than a buffer: into two.
    pc.arrives(&frame(1800), ReceivedChecksum::Unknown);
    assert_eq!(pc.words(RX_RING + 16)[0] >> 28, 2, "first");
    assert_eq!(pc.words(RX_RING + 32)[0], 0x1200_0000 | 1804, "last");
    assert_eq!(pc.memory(RX_DATA + 1536, 1800), frame(1800));
    pc.arrives(&frame(60), ReceivedChecksum::Unknown);
    assert_eq!(pc.words(RX_RING + 48)[0], 0x7200_0000 | 64, "the end of the ring stays");
    assert_eq!(pc.events() & 0x11, 1);
    pc.arrives(&frame(61), ReceivedChecksum::Unknown);
    assert_eq!(pc.events() & 0x10, 0x10, "none is left");
    assert_eq!(pc.nic().received.len(), 1, "and the frame waits");
    pc.offer(0, 4);
    pc.card.nic_ready(&mut pc.host, NIC);
    assert_eq!(pc.memory(RX_DATA, 61), frame(61));
}

#[test]
fn a_ring_of_one_descriptor_does_not_take_a_frame_of_two() {
    let mut pc = Pc::with_descriptors(1);
    pc.arrives(&frame(1800), ReceivedChecksum::Unknown);
    assert_eq!(pc.events() & 0x11, 0x10);
    // Buffers of no bytes, without end.
    let mut pc = Pc::with_descriptors(4);
    for index in 0..64 {
        pc.put(RX_RING + index * 16, &[0x8000_0000, 0, RX_DATA, 0]);
    }
    pc.arrives(&frame(60), ReceivedChecksum::Unknown);
    assert_eq!(pc.events() & 0x11, 0x10);
}

#[test]
fn checksums_of_received_frames_are_checked_or_finished() {
    let kinds = [(Transport::Tcp, 1_u32, 1 << 13), (Transport::Udp, 2, 1 << 14)];
    for (transport, protocol, bad) in kinds {
        let good = packet(Version::V4, transport, false, 101, false);
        let good = [&MAC[..], &good[6..]].concat();
        let mut pc = Pc::with_descriptors(4);
        // Its checksum field has the pseudo header only.
        pc.arrives(&good, ReceivedChecksum::Unknown);
        assert_eq!(pc.words(RX_RING)[0] >> 13 & 0x1f, protocol << 3 | bad >> 13);
        pc.arrives(&good, ReceivedChecksum::Blank);
        assert_eq!(pc.words(RX_RING + 16)[0] >> 13 & 0x1f, protocol << 3);
        assert!(is_right(&pc.memory(RX_DATA + 1536, good.len())), "it was finished");
        let mut broken = good.clone();
        broken[24] ^= 1;
        pc.arrives(&broken, ReceivedChecksum::Validated);
        assert_eq!(pc.words(RX_RING + 32)[0] >> 13 & 0x1f, protocol << 3 | 4, "the header of IP");
    }
}

#[test]
fn a_tag_is_taken_out() {
    let mut pc = Pc::with_descriptors(4);
    pc.word(0xe0, 0x006b);
    let tagged = [&frame(100)[..12], &[0x81, 0, 0x20, 0x05], &frame(100)[12..]].concat();
    pc.arrives(&tagged, ReceivedChecksum::Unknown);
    let [status, tag, ..] = pc.words(RX_RING);
    assert_eq!((status & 0x1fff, tag), (104, 0x1_0520), "the tag is in the order of the network");
    assert_eq!(pc.memory(RX_DATA, 100), frame(100));
}

#[test]
fn descriptors_that_come_back_are_found_with_the_next_word_of_the_driver() {
    for word in [(0x3e, 0x11), (0x3c, 0xffff)] {
        let mut pc = Pc::with_descriptors(1);
        for len in [60, 100] {
            pc.arrives(&frame(len), ReceivedChecksum::Unknown);
        }
        assert_eq!(pc.read(0x3e, Width::Word) & 0x11, 0x11, "one came, and there is no descriptor for the other");
        pc.word(0x3e, 0xffff);
        assert_eq!(pc.memory(RX_DATA, 60), frame(60));
        pc.offer(0, 1);
        pc.word(word.0, word.1);
        assert_eq!(pc.memory(RX_DATA, 100), frame(100));
        assert!(pc.card.interrupt());
    }
}

#[test]
fn frames_go_out_of_descriptors() {
    let mut pc = Pc::with_descriptors(4);
    for (round, step) in [2000, 100, 64].into_iter().enumerate() {
        pc.send(&frame(1000), 0, 0, step);
        assert_eq!(pc.sent(), [(frame(1000), Offload::default())]);
        assert_eq!(pc.events(), 0x84, "sent, and no descriptor is left");
        assert!((0..64).all(|index| pc.words(TX_RING + index * 16)[0] >> 31 == 0), "round {round}: all are given back");
    }
    pc.send(&frame(100), 0, 0x2_0520, 64);
    assert_eq!(pc.sent()[0].0, [&frame(100)[..12], &[0x81, 0, 0x20, 0x05], &frame(100)[12..]].concat());
}

#[test]
fn checksums_are_written_or_left_to_the_network() {
    for version in [Version::V4, Version::V6] {
        for transport in [Transport::Tcp, Transport::Udp] {
            let bits = 1 << 18 | if transport == Transport::Tcp { 1 << 16 } else { 1 << 17 };
            let mut whole = packet(version, transport, false, 301, false);
            if version == Version::V4 {
                whole[24..26].fill(0xaa);
            }
            let mut pc = Pc::with_descriptors(4);
            pc.send(&whole, bits, 0, 77);
            let (sent, offload) = pc.sent().remove(0);
            assert!(is_right(&sent) && !offload.blank_checksum);
            pc.nic().features = EVERYTHING;
            pc.send(&whole, bits, 0, 77);
            let (sent, offload) = pc.sent().remove(0);
            assert_eq!(offload, Offload { blank_checksum: true, segment: None });
            let field = if version == Version::V4 { 34 } else { 54 } + transport.checksum_offset();
            assert_eq!(sent[..].word(field), whole[..].word(field), "the sum of the pseudo header");
        }
    }
}

#[test]
fn a_long_frame_is_cut_here_where_the_network_does_not() {
    for version in [Version::V4, Version::V6] {
        for step in [4000, 700, 43] {
            for tag in [0, 0x2_0520] {
                let mut pc = Pc::with_descriptors(4);
                let whole = to_be_cut(version, 2500);
                let headers = whole.len() - 2500;
                pc.send(&whole, 1 << 27 | 1000 << 16, tag, step);
                assert_eq!(pc.words(TX_RING)[0] & 0x8fff_0000, 0, "no error where the segment's size was");
                let sent = pc.sent();
                let added = if tag == 0 { 0 } else { 4 };
                let lens: Vec<_> = sent.iter().map(|(frame, _)| frame.len() - headers - added).collect();
                assert_eq!(lens, [1000, 1000, 500], "in pieces of {step}");
                let frames = || sent.iter().map(|(frame, _)| [&frame[..12], &frame[12 + added..]].concat());
                assert!(frames().all(|frame| is_right(&frame)));
                let payload: Vec<u8> = frames().flat_map(|frame| frame[headers..].to_vec()).collect();
                assert_eq!(payload, whole[headers..]);
            }
        }
    }
}

#[test]
fn a_network_that_cuts_gets_the_whole() {
    let mut pc = Pc::with_descriptors(4);
    pc.nic().features = EVERYTHING;
    pc.send(&to_be_cut(Version::V4, 20_000), 1 << 27 | 1000 << 16, 0, 4000);
    let (sent, offload) = pc.sent().remove(0);
    assert_eq!(offload, Offload { blank_checksum: true, segment: Some(1000) });
    assert_eq!((sent.len(), usize::from(sent[..].word(16))), (20_054, 20_040));
}

#[test]
fn what_cannot_be_cut_is_lost_and_does_not_stop_the_ring() {
    let mut pc = Pc::with_descriptors(4);
    pc.send(&[7; 5000], 1 << 27 | 1000 << 16, 0, 500);
    assert_eq!(pc.sent(), []);
    // There is room for one segment of three.
    pc.nic().room = Some(1);
    pc.send(&to_be_cut(Version::V4, 2500), 1 << 27 | 1000 << 16, 0, 500);
    assert_eq!(pc.sent().len(), 1);
    pc.nic().room = None;
    pc.send(&frame(60), 0, 0, 60);
    assert_eq!(pc.sent().len(), 1);
}

/// CVE-2015-5165 (XSA-140): what the headers say of lengths is less than they have themselves, or more than there is.
#[test]
fn headers_that_lie_about_lengths_leave_the_frame_as_long_as_it_is() {
    let mut pc = Pc::with_descriptors(4);
    for total in [0_u16, 1, 19, 20, 39, 1000, u16::MAX] {
        for ihl in 0..16 {
            for offset in 0..16 {
                for bits in [1 << 18 | 1 << 16, 1 << 18 | 1 << 17, 1 << 27 | 1 << 16] {
                    let mut lying = packet(Version::V4, Transport::Tcp, false, 60, false);
                    lying[14] = 0x40 | ihl;
                    lying[16..18].copy_from_slice(&total.to_be_bytes());
                    lying[46] = offset << 4;
                    pc.send(&lying, bits, 0, 50);
                    assert!(pc.sent().iter().all(|(frame, _)| frame.len() <= lying.len()), "nothing is added");
                    pc.send(&frame(100), 0, 0, 100);
                    assert_eq!(pc.sent().len(), 1, "and the next one goes");
                }
            }
        }
    }
}

#[test]
fn a_ring_without_an_end_is_walked_once() {
    let mut pc = Pc::with_descriptors(4);
    for index in 0..64 {
        pc.put(TX_RING + index * 16, &[0xa000_0000 | 1, 0, TX_DATA, 0]);
    }
    pc.byte(0xd9, 0xc0);
    assert_eq!(pc.sent(), []);
    assert!((0..64).all(|index| pc.words(TX_RING + index * 16)[0] >> 31 == 0), "all of it was skipped");
    // One descriptor that follows itself, with no first.
    pc.put(TX_RING, &[0xc000_0000 | 1, 0, TX_DATA, 0]);
    pc.byte(0xd9, 0x40);
    assert_eq!(pc.sent(), []);
    // Rings in no memory.
    pc.dword(0x20, 0xffff_ff00);
    pc.dword(0x24, 0xffff_ffff);
    pc.byte(0xd9, 0x40);
    assert_eq!(pc.sent(), []);
}

#[test]
fn without_bus_mastering_nothing_moves() {
    let mut pc = Pc::with_descriptors(4);
    pc.card.config_mut().write(4, Width::Word, 3);
    pc.send(&frame(60), 0, 0, 60);
    pc.arrives(&frame(60), ReceivedChecksum::Unknown);
    assert_eq!((pc.sent(), pc.words(RX_RING)[0] >> 31), (vec![], 1));
    pc.card.config_mut().write(4, Width::Word, 7);
    pc.card.config_written(&mut pc.host);
    assert_eq!(pc.words(RX_RING)[0] >> 31, 0, "it waited");
}

#[test]
fn in_loopback_a_frame_comes_back_and_goes_nowhere_else() {
    let mut pc = Pc::with_ring();
    pc.dword(0x40, 3 << 17);
    pc.host.write(GuestAddr(TX_DATA.into()), &frame(100)).unwrap();
    pc.dword(0x20, TX_DATA);
    pc.dword(0x10, 100);
    assert_eq!((pc.sent(), pc.events()), (vec![], 5));
    assert_eq!(pc.memory(RING + 4, 100), frame(100));
}

#[test]
fn the_timer_fires_each_time_that_it_goes_round() {
    let mut pc = Pc::with_ring();
    pc.word(0x3c, 0x4000);
    assert_eq!(pc.card.deadline(), None);
    pc.dword(0x48, 0);
    pc.dword(0x54, 33_000);
    let deadline = pc.card.deadline().unwrap();
    assert_eq!(deadline.since(pc.host.time), 1_000_000, "33 MHz");
    pc.host.time = deadline;
    pc.card.expire(&mut pc.host);
    assert!(pc.card.interrupt());
    assert_eq!(pc.read(0x48, Width::Dword), 33_000);
    assert_eq!(pc.card.deadline().unwrap().since(deadline), ((1_u64 << 32) * 1000).div_ceil(33), "a round of 32 bits");
}

#[test]
fn the_link_is_reported_when_it_changes() {
    let mut pc = Pc::with_ring();
    pc.card.nic_ready(&mut pc.host, NIC);
    pc.events();
    pc.nic().unplugged = true;
    pc.card.nic_ready(&mut pc.host, NIC);
    assert_eq!(pc.events(), 0x20);
    pc.card.nic_ready(&mut pc.host, NIC);
    assert_eq!(pc.events(), 0);
}

#[test]
fn it_is_no_rtl8169() {
    let mut pc = Pc::new();
    pc.word(0xda, 1536);
    assert_ne!(pc.read(0xda, Width::Word), 1536, "RMS, which only that one has");
    pc.word(0xe0, 0x002b);
    assert_eq!(pc.read(0xe0, Width::Word), 0x002b, "CPCR, which both have");
}

#[test]
fn counters_go_to_memory() {
    let mut pc = Pc::with_descriptors(4);
    pc.send(&frame(60), 0, 0, 60);
    pc.arrives(&frame(60), ReceivedChecksum::Unknown);
    pc.dword(0x14, 0);
    pc.dword(0x10, 0x9008);
    let dump = pc.memory(0x9000, 64);
    assert_eq!((dump[0], dump[8]), (1, 1));
    assert_eq!(pc.read(0x10, Width::Dword), 0x9000, "done");
}

#[test]
fn a_reset_keeps_the_address_and_ends_the_rest() {
    let mut pc = Pc::with_descriptors(4);
    pc.arrives(&frame(60), ReceivedChecksum::Unknown);
    pc.byte(0x37, 0x10);
    assert_eq!((pc.read(0x37, Width::Byte), pc.read(0x3c, Width::Dword), pc.read(0xe0, Width::Word)), (1, 0, 0));
    assert!(!pc.card.interrupt());
    assert_eq!(pc.read(0, Width::Dword).to_le_bytes(), MAC[..4]);
    pc.byte(0x50, 0xc0);
    pc.byte(0, 0);
    pc.byte(0x50, 0x40);
    assert_eq!(pc.read(0, Width::Byte), u32::from(MAC[0]), "loaded again from the EEPROM");
}

#[test]
fn every_register_takes_every_width_and_value() {
    for mut pc in [Pc::with_ring(), Pc::with_descriptors(4)] {
        for round in 0..3_u64 {
            for at in 0..260 {
                for (width, value) in
                    [(Width::Byte, u64::MAX), (Width::Word, 0), (Width::Dword, u64::MAX - round), (Width::Qword, 7)]
                {
                    pc.card.write(&mut pc.host, 0, at, width, value.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                    pc.card.read(&mut pc.host, 1, at, width);
                    pc.arrives(&frame(60), ReceivedChecksum::Blank);
                }
            }
        }
    }
}
