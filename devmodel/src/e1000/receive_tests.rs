//! The receiver: what arrives, and where it goes.

use super::tests::{COUNT, ICR, MAC, Pc, RCTL, RDH, RDT, RX_BUFFERS, RX_RING, TCTL, TDT, TX_DATA, TX_RING};
use crate::card::Card;
use crate::host::{GuestAddr, GuestMemory, ReceivedChecksum};
use crate::net::headers::{Headers, Transport, Version};
use crate::net::tests::{is_right, packet};
use std::vec::Vec;

const UNKNOWN: ReceivedChecksum = ReceivedChecksum::Unknown;
const BASE: u32 = 0x0400_8002;

/// A frame to `address`, of type 0x88b5, which is nobody's.
fn frame(address: [u8; 6], len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|at| u8::try_from(at % 253).unwrap()).collect();
    frame[..6].copy_from_slice(&address);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame
}

fn tagged(address: [u8; 6], tag: u16, len: usize) -> Vec<u8> {
    let mut frame = frame(address, len);
    frame[12..14].copy_from_slice(&[0x81, 0x00]);
    frame[14..16].copy_from_slice(&tag.to_be_bytes());
    frame
}

impl Pc {
    /// Length, status, errors and special of a descriptor.
    fn received(&mut self, index: u64) -> (u16, u8, u8, u16) {
        let bytes: [u8; 8] = self.memory(RX_RING + index * 16 + 8, 8).try_into().unwrap();
        let [l0, l1, _, _, status, errors, s0, s1] = bytes;
        (u16::from_le_bytes([l0, l1]), status, errors, u16::from_le_bytes([s0, s1]))
    }

    fn buffer(&mut self, index: u64, len: usize) -> Vec<u8> {
        self.memory(RX_BUFFERS + index * 0x4000, len)
    }

    fn takes(&mut self, address: [u8; 6]) -> bool {
        let before = self.read(RDH);
        self.arrives(frame(address, 60), UNKNOWN);
        self.write(RDT, self.card.receiver.ring.head.wrapping_sub(1) & (COUNT - 1));
        before != self.read(RDH)
    }
}

#[test]
fn a_frame_arrives_in_its_buffer_with_an_interrupt() {
    let mut pc = Pc::running();
    let sent = frame(MAC, 1000);
    pc.arrives(sent.clone(), UNKNOWN);
    assert!(pc.card.interrupt());
    assert_eq!(pc.read(ICR), 0x80);
    assert_eq!(pc.received(0), (1000, 0x07, 0, 0), "DD, EOP, IXSM");
    assert_eq!(pc.buffer(0, 1000), sent);
    assert_eq!(pc.read(RDH), 1);
    assert!(pc.nic().received.is_empty());
}

#[test]
fn a_short_frame_is_padded_with_zeros() {
    let mut pc = Pc::running();
    pc.host.memory[0x1_0000..0x1_0100].fill(0xee);
    pc.arrives(frame(MAC, 20), UNKNOWN);
    assert_eq!(pc.received(0).0, 60);
    let buffer = pc.buffer(0, 61);
    assert_eq!((&buffer[20..60], buffer[60]), (&[0; 40][..], 0xee));
}

/// RCTL.SECRC: without it, four more bytes are stored.
#[test]
fn the_frame_check_sequence_has_a_place_if_it_is_kept() {
    let mut pc = Pc::running();
    pc.write(RCTL, 0x8002);
    pc.host.memory[0x1_0000..0x1_0800].fill(0xee);
    pc.arrives(frame(MAC, 100), UNKNOWN);
    assert_eq!(pc.received(0).0, 104);
    assert_eq!(pc.buffer(0, 105)[99..], [99, 0, 0, 0, 0, 0xee]);
}

#[test]
fn a_long_frame_lies_in_several_buffers() {
    let mut pc = Pc::running();
    // Buffers of 256 bytes.
    pc.write(RCTL, BASE | 3 << 16 | 0x20);
    let sent = frame(MAC, 700);
    pc.arrives(sent.clone(), UNKNOWN);
    assert_eq!([0, 1, 2].map(|at| pc.received(at)), [(256, 1, 0, 0), (256, 1, 0, 0), (188, 7, 0, 0)]);
    let mut data = pc.buffer(0, 256);
    data.extend(pc.buffer(1, 256));
    data.extend(pc.buffer(2, 188));
    assert_eq!(data, sent);
    assert_eq!(pc.read(RDH), 3);
}

#[test]
fn the_sizes_of_buffers_are_those_of_the_manual() {
    let sizes = [
        (0, 2048),
        (1 << 16, 1024),
        (2 << 16, 512),
        (3 << 16, 256),
        (1 << 25 | 1 << 16, 16_384),
        (1 << 25 | 2 << 16, 8192),
        (1 << 25 | 3 << 16, 4096),
    ];
    for (bits, size) in sizes {
        let mut pc = Pc::running();
        pc.write(RCTL, BASE | 0x20 | bits);
        pc.arrives(frame(MAC, 16_380.min(size * 3)), UNKNOWN);
        assert_eq!(usize::from(pc.received(0).0), size.min(16_380), "RCTL {bits:#x}");
    }
}

#[test]
fn long_frames_need_lpe() {
    let mut pc = Pc::running();
    pc.arrives(frame(MAC, 1519), UNKNOWN);
    assert_eq!((pc.read(RDH), pc.read(0x40ac)), (0, 1), "ROC");
    pc.arrives(frame(MAC, 1518), UNKNOWN);
    assert_eq!(pc.read(RDH), 1);
    pc.write(RCTL, BASE | 0x20);
    pc.arrives(frame(MAC, 1519), UNKNOWN);
    assert_eq!(pc.read(RDH), 2);
    pc.arrives(frame(MAC, 16_381), UNKNOWN);
    pc.arrives(frame(MAC, 65_535), UNKNOWN);
    assert_eq!((pc.read(RDH), pc.read(0x40ac)), (2, 2));
}

#[test]
fn addresses_are_filtered() {
    let (other, many, all) = ([0x52, 0x54, 0, 0, 0, 9], [1, 0, 0x5e, 0, 0, 0xfb], [0xff; 6]);
    let mut pc = Pc::running();
    assert_eq!([MAC, other, many, all].map(|address| pc.takes(address)), [true, false, false, true]);
    pc.write(RCTL, 0x0400_0002);
    assert!(!pc.takes(all), "BAM is off");
    pc.write(RCTL, 0x0400_000a);
    assert_eq!([other, many, all].map(|address| pc.takes(address)), [true, false, false], "UPE");
    pc.write(RCTL, 0x0400_0012);
    assert_eq!([other, many, all].map(|address| pc.takes(address)), [false, true, false], "MPE");
    pc.write(RCTL, BASE);
    pc.write(0x5478, 0x0000_5452);
    pc.write(0x547c, 0x0000_0900);
    assert!(!pc.takes(other), "AV is off");
    pc.write(0x547c, 0x8000_0900);
    assert!(pc.takes(other), "the last of sixteen");
    pc.write(0x547c, 0x8000_0901);
    assert!(!pc.takes(other));
}

/// SDM 13.5.1: MO selects bits 47:36, 46:35, 45:34 or 43:32 of the address.
#[test]
fn the_multicast_table_is_looked_up_by_address_bits() {
    let address = [1, 0, 0x5e, 0, 0xab, 0xcd];
    for (offset, hash) in [(0, 0xcda), (1, 0xcdab >> 3 & 0xfff), (2, 0xcdab >> 2 & 0xfff), (3, 0xdab)] {
        let mut pc = Pc::running();
        pc.write(RCTL, BASE | offset << 12);
        assert!(!pc.takes(address));
        pc.write(0x5200 + (hash >> 5) * 4, 1 << (hash & 0x1f));
        assert!(pc.takes(address), "MO {offset}");
        assert_eq!(pc.received(0).1, 0x87, "PIF: the driver has to look");
    }
}

#[test]
fn vlans_are_filtered_by_their_table() {
    let mut pc = Pc::running();
    pc.write(RCTL, BASE | 1 << 18);
    pc.arrives(tagged(MAC, 0x2123, 100), UNKNOWN);
    assert_eq!(pc.read(RDH), 0);
    pc.write(0x5600 + (0x123 >> 5) * 4, 1 << (0x123 & 0x1f));
    pc.arrives(tagged(MAC, 0x2123, 100), UNKNOWN);
    pc.arrives(frame(MAC, 100), UNKNOWN);
    assert_eq!(pc.read(RDH), 2);
}

#[test]
fn a_tag_is_taken_out_with_vme() {
    let mut pc = Pc::running();
    let sent = tagged(MAC, 0x2123, 100);
    pc.arrives(sent.clone(), UNKNOWN);
    assert_eq!((pc.received(0), pc.buffer(0, 100)), ((100, 0x07, 0, 0), sent.clone()));
    pc.write(0x00, 0x4000_0201);
    pc.arrives(sent.clone(), UNKNOWN);
    assert_eq!(pc.received(1), (96, 0x0f, 0, 0x2123), "VP");
    let without: Vec<u8> = [&sent[..12], &sent[16..]].concat();
    assert_eq!(pc.buffer(1, 96), without);
    pc.arrives(tagged(MAC, 7, 16), UNKNOWN);
    assert_eq!(pc.received(2), (56, 0x0f, 0, 7));
    assert_eq!(pc.buffer(2, 56)[12..], [0; 44]);
}

#[test]
fn checksums_are_reported_as_the_driver_asked() {
    let checksum = |pc: &mut Pc, frame: Vec<u8>, known| {
        let index = pc.read(RDH);
        pc.arrives(frame, known);
        let (_, status, errors, _) = pc.received(index.into());
        (status & 0x64, errors)
    };
    let mut tcp = packet(Version::V4, Transport::Tcp, false, 100, false);
    tcp[..6].copy_from_slice(&MAC);
    let mut pc = Pc::running();
    let validated = ReceivedChecksum::Validated;
    assert_eq!(checksum(&mut pc, tcp.clone(), validated), (0x04, 0), "IXSM: nothing was asked");
    pc.write(0x5000, 0x300);
    assert_eq!(checksum(&mut pc, tcp.clone(), validated), (0x60, 0));
    assert_eq!(checksum(&mut pc, tcp.clone(), UNKNOWN), (0x40, 0));
    pc.write(0x5000, 0x200);
    assert_eq!(checksum(&mut pc, tcp.clone(), validated), (0x20, 0));
    pc.write(0x5000, 0x300);
    assert_eq!(checksum(&mut pc, frame(MAC, 100), validated), (0x04, 0), "no IP");
    tcp[24] ^= 1;
    assert_eq!(checksum(&mut pc, tcp, validated), (0x60, 0x40), "IPE");
}

#[test]
fn a_blank_checksum_is_finished_before_the_guest_sees_it() {
    for version in [Version::V4, Version::V6] {
        let mut pc = Pc::running();
        let mut sent = packet(version, Transport::Tcp, false, 333, false);
        sent[..6].copy_from_slice(&MAC);
        assert!(!is_right(&sent));
        let len = sent.len();
        pc.arrives(sent, ReceivedChecksum::Blank);
        let buffer = pc.buffer(0, len);
        assert!(is_right(&buffer) && Headers::parse(&buffer[..]).is_some());
    }
}

#[test]
fn a_frame_without_room_waits_for_the_tail_and_is_reported_once() {
    let mut pc = Pc::running();
    for _ in 0..COUNT - 1 {
        pc.arrives(frame(MAC, 100), UNKNOWN);
    }
    pc.read(ICR);
    assert_eq!(pc.read(RDH), COUNT - 1);
    pc.arrives(frame(MAC, 200), UNKNOWN);
    assert_eq!((pc.read(ICR), pc.read(0x40a0), pc.read(0x4010)), (0x40, 1, 1), "RXO, RNBC, MPC");
    pc.arrives(frame(MAC, 300), UNKNOWN);
    assert_eq!((pc.read(ICR), pc.nic().received.len()), (0, 2));
    pc.write(RDT, 1);
    assert_eq!((pc.read(RDH), pc.nic().received.len()), (1, 0));
    assert_eq!((pc.received(15).0, pc.received(0).0), (200, 300));
}

#[test]
fn a_reset_loses_what_waited_for_room() {
    let mut pc = Pc::running();
    pc.write(RDT, 0);
    pc.arrives(frame(MAC, 100), UNKNOWN);
    assert_eq!(pc.nic().received.len(), 1);
    pc.write(0x00, 1 << 26);
    assert!(pc.nic().received.is_empty());
}

#[test]
fn a_frame_that_no_ring_could_hold_is_lost() {
    let mut pc = Pc::running();
    pc.write(RCTL, BASE | 3 << 16 | 0x20);
    pc.arrives(frame(MAC, 256 * 15 + 1), UNKNOWN);
    assert_eq!((pc.read(RDH), pc.nic().received.len(), pc.read(ICR)), (0, 0, 0x40));
    pc.arrives(frame(MAC, 256 * 15), UNKNOWN);
    assert_eq!(pc.read(RDH), 15);
}

/// RDMTS: a half, a quarter, an eighth of the ring.
#[test]
fn few_descriptors_are_reported() {
    for (threshold, left) in [(0, 8), (1, 4), (2, 2)] {
        let mut pc = Pc::running();
        pc.write(RCTL, BASE | threshold << 8);
        for free in (left + 1..COUNT - 1).rev() {
            pc.arrives(frame(MAC, 100), UNKNOWN);
            assert_eq!(pc.read(ICR), 0x80, "{free} are free");
        }
        pc.arrives(frame(MAC, 100), UNKNOWN);
        assert_eq!(pc.read(ICR), 0x90);
    }
}

#[test]
fn nothing_arrives_while_the_receiver_is_off() {
    let mut pc = Pc::running();
    pc.write(RCTL, 0x0400_8000);
    pc.arrives(frame(MAC, 100), UNKNOWN);
    assert_eq!((pc.read(RDH), pc.nic().received.len(), pc.read(ICR)), (0, 0, 0));
}

#[test]
fn without_bus_mastering_memory_is_left_alone() {
    let mut pc = Pc::running();
    pc.master(false);
    let before = pc.host.memory.clone();
    pc.arrives(frame(MAC, 100), UNKNOWN);
    pc.write(TDT, 3);
    assert_eq!((pc.read(RDH), pc.read(0x3810), pc.read(ICR)), (0, 0, 0));
    assert!(pc.host.memory == before);
    pc.master(true);
    assert_eq!(pc.read(0x3810), 3, "it goes on then");
}

#[test]
fn a_descriptor_without_a_buffer_is_passed_over() {
    let mut pc = Pc::running();
    pc.host.write(GuestAddr(RX_RING), &[0; 8]).unwrap();
    pc.arrives(frame(MAC, 100), UNKNOWN);
    assert_eq!((pc.received(0), pc.received(1)), ((0, 1, 0, 0), (100, 7, 0, 0)));
    for index in 0..u64::from(COUNT) {
        pc.host.write(GuestAddr(RX_RING + index * 16), &[0; 8]).unwrap();
    }
    pc.read(ICR);
    pc.arrives(frame(MAC, 100), UNKNOWN);
    assert_eq!((pc.read(RDH), pc.nic().received.len()), (COUNT - 1, 0), "once around, and no further");
    assert_eq!(pc.read(ICR), 0x50, "RXO, RXDMT0");
}

#[test]
fn buffers_and_rings_outside_of_memory_do_no_harm() {
    let mut pc = Pc::running();
    pc.host.write(GuestAddr(RX_RING), &u64::MAX.to_le_bytes()).unwrap();
    pc.host.write(GuestAddr(RX_RING + 16), &0x0f_fff0_u64.to_le_bytes()).unwrap();
    for index in 0..2 {
        pc.arrives(frame(MAC, 100), UNKNOWN);
        assert_eq!(pc.received(index), (100, 7, 0x80, 0), "RXE");
    }
    for (base, high) in [(0x10_0000, 0), (0xffff_fff0, 0x7fff_ffff)] {
        pc.write(0x2800, base);
        pc.write(0x2804, high);
        pc.read(ICR);
        pc.arrives(frame(MAC, 100), UNKNOWN);
        assert_eq!((pc.nic().received.len(), pc.read(ICR)), (0, 0x40));
    }
}

#[test]
fn heads_and_tails_outside_of_the_ring_are_not_followed() {
    for (len, head, tail) in [(256, 16, 3), (256, 3, 16), (256, 0xffff, 0xffff), (128, 9, 1), (0xffff_ff80, 0, 0xffff)]
    {
        let mut pc = Pc::running();
        pc.write(0x2808, len);
        pc.write(RDH, head);
        pc.write(RDT, tail);
        pc.arrives(frame(MAC, 100), UNKNOWN);
        assert_eq!((pc.read(RDH), pc.nic().received.len()), (head, 1));
    }
    let mut pc = Pc::running();
    pc.write(0x2808, 0x7f);
    pc.arrives(frame(MAC, 100), UNKNOWN);
    assert_eq!((pc.read(RDH), pc.nic().received.len()), (0, 0), "a ring of nothing holds nothing");
}

#[test]
fn frames_without_end_let_others_have_their_turn() {
    let mut pc = Pc::running();
    for _ in 0..1500 {
        pc.nic().received.push_back((frame([2; 6], 60), UNKNOWN));
    }
    pc.ready();
    assert_eq!(pc.nic().received.len(), 1500 - 1024);
    assert_eq!(pc.card.deadline(), Some(pc.host.time));
    pc.pass(0);
    assert_eq!((pc.nic().received.len(), pc.card.deadline()), (0, None));
}

#[test]
fn what_was_received_is_counted() {
    let mut pc = Pc::running();
    pc.arrives(frame(MAC, 100), UNKNOWN);
    pc.arrives(frame([0xff; 6], 60), UNKNOWN);
    pc.arrives(frame([2; 6], 60), UNKNOWN);
    assert_eq!((pc.read(0x4074), pc.read(0x40d0), pc.read(0x4078)), (2, 3, 1), "GPRC, TPR, BPRC");
    assert_eq!((pc.read(0x405c), pc.read(0x4060)), (1, 1), "PRC64, PRC127");
    assert_eq!((pc.read(0x4088), pc.read(0x4088), pc.read(0x408c), pc.read(0x4088)), (168, 168, 0, 0), "GORC");
    assert_eq!((pc.read(0x40c0), pc.read(0x40c4), pc.read(0x40c0)), (232, 0, 0), "TOR");
    assert_eq!((pc.read(0x4074), pc.read(0x40d0)), (0, 0), "cleared by reading");
}

/// Linux `e1000_run_loopback_test`: the PHY sends back what it is sent, and the network hears nothing.
#[test]
fn in_loopback_what_is_sent_comes_back() {
    let mut pc = Pc::running();
    pc.write(0x20, 1 << 26 | 1 << 21 | 0x4140);
    let sent = frame(MAC, 1024);
    pc.host.write(GuestAddr(TX_DATA), &sent).unwrap();
    pc.host.write(GuestAddr(TX_RING), &TX_DATA.to_le_bytes()).unwrap();
    pc.host.write(GuestAddr(TX_RING + 8), &(0x0b00_0000_u32 | 1024).to_le_bytes()).unwrap();
    pc.write(TCTL, 0x0003_f0fa);
    pc.write(TDT, 1);
    assert_eq!((pc.received(0).0, pc.buffer(0, 1024)), (1024, sent));
    assert!(pc.nic().sent.is_empty());
    pc.arrives(frame(MAC, 100), UNKNOWN);
    assert_eq!((pc.read(RDH), pc.nic().received.len()), (1, 0), "nor does anybody hear the network");
}
