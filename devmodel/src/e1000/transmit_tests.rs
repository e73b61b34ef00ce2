//! The transmitter: what is on the ring, and what is sent.

use super::tests::{COUNT, ICR, MAC, Pc, TCTL, TDH, TDT, TX_DATA, TX_RING};
use crate::card::Card;
use crate::host::{FRAME_MAX, GuestAddr, GuestMemory, NicFeatures, Offload};
use crate::net::headers::{Headers, Transport, Version};
use crate::net::tests::packet;
use std::vec::Vec;

pub(super) const EOP: u32 = 1 << 24;
pub(super) const IC: u32 = 1 << 26;
pub(super) const TSE: u32 = 1 << 26;
pub(super) const RS: u32 = 1 << 27;
pub(super) const DEXT: u32 = 1 << 29;
pub(super) const VLE: u32 = 1 << 30;
pub(super) const DATA: u32 = DEXT | 1 << 20;
pub(super) const IXSM: u8 = 1;
pub(super) const TXSM: u8 = 2;

pub(super) const EVERYTHING: NicFeatures =
    NicFeatures { checksum_v4: true, checksum_v6: true, segment_v4: true, segment_v6: true };
pub(super) const PLAIN: Offload = Offload { blank_checksum: false, segment: None };

/// Sixteen bytes: address, command with length, option byte, special.
pub(super) fn descriptor(addr: u64, command: u32, option: u8, special: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&addr.to_le_bytes());
    bytes[8..12].copy_from_slice(&command.to_le_bytes());
    bytes[13] = option;
    bytes[14..].copy_from_slice(&special.to_le_bytes());
    bytes
}

/// A context for the frame, as Linux fills it in.
pub(super) fn context(frame: &[u8], mss: u16) -> [u8; 16] {
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
pub(super) fn to_be_cut(version: Version, payload: usize) -> Vec<u8> {
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
    pub(super) fn queue(&mut self, descriptors: &[[u8; 16]]) {
        let mut tail = self.read(TDT);
        for bytes in descriptors {
            self.host.write(GuestAddr(TX_RING + u64::from(tail) * 16), bytes).unwrap();
            tail = (tail + 1) % COUNT;
        }
        self.write(TDT, tail);
    }

    /// Puts a frame into memory.
    pub(super) fn data(&mut self, frame: &[u8]) {
        self.host.write(GuestAddr(TX_DATA), frame).unwrap();
    }

    /// Sends a frame in one descriptor, with a context before it.
    pub(super) fn send(&mut self, frame: &[u8], context: [u8; 16], command: u32, options: u8) {
        self.data(frame);
        let len = u32::try_from(frame.len()).unwrap();
        self.queue(&[context, descriptor(TX_DATA, DATA | EOP | command | len, options, 0x2005)]);
    }

    pub(super) fn sent(&mut self) -> Vec<(Vec<u8>, Offload)> {
        core::mem::take(&mut self.nic().sent)
    }

    pub(super) fn status(&mut self, index: u64) -> u8 {
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

#[test]
fn a_head_that_is_moved_leaves_the_frame_that_was_begun_behind() {
    let mut pc = Pc::running();
    pc.queue(&[descriptor(TX_DATA, 50, 0, 0)]);
    pc.write(TDH, 0);
    pc.write(TDT, 0);
    pc.queue(&[descriptor(TX_DATA, EOP | 70, 0, 0)]);
    assert_eq!(pc.sent()[0].0.len(), 70);
}
