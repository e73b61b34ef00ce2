//! Frames between stations.

use alloc::vec::Vec;

use smoltcp::wire::{EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket};

use crate::front::net::{Checksum, Segment};
use crate::net::checksum;

/// Bytes of an Ethernet header.
pub const HEADER: usize = 14;
/// The longest frame that fits into everything: an Ethernet header with a tag, and 1500 bytes.
pub const COMMON_MAX: usize = HEADER + 4 + 1500;
/// Most segments that a frame is cut into: 64 KiB of the shortest segments that TCP uses, 536 bytes.
const SEGMENTS_MAX: usize = 128;
/// The bits of TCP's flags that only the last segment has (FIN, PSH), and that only the first has (CWR).
const LAST_ONLY: u8 = 0x09;
const FIRST_ONLY: u8 = 0x80;

/// An Ethernet frame without its checksum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// At least a header.
    pub data: Vec<u8>,
    /// What is known of the checksum of TCP or UDP in it.
    pub checksum: Checksum,
}

impl Frame {
    /// Fills in the checksum, if the sender has left that to whoever needs it.
    pub fn complete(&mut self) {
        if self.checksum == Checksum::Blank {
            checksum::fill(&mut self.data);
            self.checksum = Checksum::Validated;
        }
    }

    /// Where it goes, and where it comes from.
    #[must_use]
    pub fn addresses(&self) -> Option<([u8; 6], [u8; 6])> {
        let (target, rest) = self.data.split_first_chunk()?;
        Some((*target, *rest.first_chunk()?))
    }
}

/// Cuts a frame of TCP into segments, each a frame of its own with all its checksums. `None`: it is no such frame, or they
/// would be too many.
///
/// Sources: RFC 9293 (sequence numbers, flags), RFC 3168 (CWR), and what netif.h says of `gso`.
pub(super) fn cut(data: &[u8], segment: Segment) -> Option<Vec<Frame>> {
    let frame = EthernetFrame::new_checked(data).ok()?;
    let (ip_len, wanted) = if segment.is_v6 {
        let packet = Ipv6Packet::new_checked(frame.payload()).ok()?;
        (packet.header_len(), packet.next_header() == IpProtocol::Tcp)
    } else {
        let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
        let is_whole = !packet.more_frags() && packet.frag_offset() == 0;
        (usize::from(packet.header_len()), packet.next_header() == IpProtocol::Tcp && is_whole)
    };
    let ethertype = if segment.is_v6 { EthernetProtocol::Ipv6 } else { EthernetProtocol::Ipv4 };
    if !wanted || frame.ethertype() != ethertype {
        return None;
    }
    let tcp_at = HEADER + ip_len;
    // Beyond the packet there may be padding, which is no data.
    let end = match segment.is_v6 {
        true => Ipv6Packet::new_checked(frame.payload()).ok()?.total_len(),
        false => usize::from(Ipv4Packet::new_checked(frame.payload()).ok()?.total_len()),
    };
    let packet = TcpPacket::new_checked(data.get(tcp_at..HEADER + end)?).ok()?;
    let header = data.get(..tcp_at + usize::from(packet.header_len()))?;
    let payload = data.get(header.len()..HEADER + end)?;
    let size = usize::from(segment.size);
    if size == 0 || payload.len().div_ceil(size) > SEGMENTS_MAX {
        return None;
    }
    let last = payload.len().div_ceil(size).max(1) - 1;
    (0..=last).map(|index| build(header, ip_len, payload, index * size, size, index == last, segment.is_v6)).collect()
}

/// The segment whose payload begins at `at`.
fn build(
    header: &[u8],
    ip_len: usize,
    payload: &[u8],
    at: usize,
    size: usize,
    is_last: bool,
    is_v6: bool,
) -> Option<Frame> {
    let part = payload.get(at..payload.len().min(at + size))?;
    let mut data = Vec::with_capacity(header.len() + part.len());
    data.extend_from_slice(header);
    data.extend_from_slice(part);
    let packet_len = data.len() - HEADER;
    let index = at / size;
    if is_v6 {
        let mut packet = Ipv6Packet::new_unchecked(data.get_mut(HEADER..)?);
        packet.set_payload_len(u16::try_from(packet_len - ip_len).ok()?);
    } else {
        let mut packet = Ipv4Packet::new_unchecked(data.get_mut(HEADER..)?);
        packet.set_total_len(u16::try_from(packet_len).ok()?);
        packet.set_ident(packet.ident().wrapping_add(u16::try_from(index).ok()?));
        packet.fill_checksum();
    }
    let tcp = data.get_mut(HEADER + ip_len..)?;
    let mut packet = TcpPacket::new_unchecked(&mut *tcp);
    packet.set_seq_number(packet.seq_number() + at);
    let flags = tcp.get_mut(13)?;
    if !is_last {
        *flags &= !LAST_ONLY;
    }
    if index > 0 {
        *flags &= !FIRST_ONLY;
    }
    checksum::fill(&mut data);
    Some(Frame { data, checksum: Checksum::Validated })
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::wire::TcpSeqNumber;
    use std::vec;

    /// TCP in IPv4 with `len` bytes, whose sequence number is about to wrap.
    fn large_v4(len: usize) -> Vec<u8> {
        let total = u16::try_from(40 + len).unwrap().to_be_bytes();
        let ip = [0x45, 0, total[0], total[1], 0xff, 0xff, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let tcp = [0, 80, 4, 0, 0xff, 0xff, 0xff, 0x00, 0, 0, 0, 9, 0x50, 0x99, 1, 0, 0, 0, 0, 0];
        let payload: Vec<u8> = (0..len).map(|at| (at % 249).to_le_bytes()[0]).collect();
        [&[2; 12][..], &[8, 0], &ip, &tcp, &payload].concat()
    }

    fn large_v6(len: usize) -> Vec<u8> {
        let total = u16::try_from(20 + len).unwrap().to_be_bytes();
        let ip = [&[0x60, 0, 0, 0, total[0], total[1], 6, 64][..], &[1; 16], &[2; 16]].concat();
        [&[2; 12][..], &[0x86, 0xdd], &ip, &large_v4(len)[34..]].concat()
    }

    #[test]
    fn segments_put_together_are_what_was_cut() {
        for (is_v6, data) in [(false, large_v4(4000)), (true, large_v6(4000))] {
            let frames = cut(&data, Segment { size: 1448, is_v6 }).unwrap();
            let header = data.len() - 4000;
            assert_eq!(frames.len(), 3);
            let mut payload = Vec::new();
            for (index, frame) in frames.iter().enumerate() {
                assert_eq!(frame.checksum, Checksum::Validated);
                let ethernet = EthernetFrame::new_checked(&frame.data[..]).unwrap();
                let tcp_at = header - 20;
                let (source, target) = if is_v6 {
                    let packet = Ipv6Packet::new_checked(ethernet.payload()).unwrap();
                    assert_eq!(packet.total_len(), frame.data.len() - HEADER);
                    (packet.src_addr().into(), packet.dst_addr().into())
                } else {
                    let packet = Ipv4Packet::new_checked(ethernet.payload()).unwrap();
                    assert!(packet.verify_checksum());
                    assert_eq!(usize::from(packet.total_len()), frame.data.len() - HEADER);
                    assert_eq!(usize::from(packet.ident()), (0xffff + index) % 65536);
                    (packet.src_addr().into(), packet.dst_addr().into())
                };
                let tcp = TcpPacket::new_checked(&frame.data[tcp_at..]).unwrap();
                assert!(tcp.verify_checksum(&source, &target));
                assert_eq!(tcp.seq_number(), TcpSeqNumber(-256) + 1448 * index);
                assert_eq!((tcp.fin(), tcp.psh(), tcp.ack()), (index == 2, index == 2, true));
                assert_eq!(frame.data[tcp_at + 13] & FIRST_ONLY != 0, index == 0);
                payload.extend_from_slice(&frame.data[header..]);
            }
            assert!(payload == data[header..]);
        }
    }

    #[test]
    fn what_cannot_be_cut_is_not() {
        let data = large_v4(4000);
        assert_eq!(cut(&data, Segment { size: 0, is_v6: false }), None);
        assert_eq!(cut(&data, Segment { size: 30, is_v6: false }), None, "134 segments");
        assert_eq!(cut(&data, Segment { size: 1448, is_v6: true }), None, "it is IPv4");
        for len in 0..data.len() {
            assert_eq!(cut(&data[..len], Segment { size: 1448, is_v6: false }), None, "{len} bytes of it");
        }
        let mut udp = data.clone();
        udp[23] = 17;
        assert_eq!(cut(&udp, Segment { size: 1448, is_v6: false }), None);
        let mut fragment = data.clone();
        fragment[20] = 0x20;
        assert_eq!(cut(&fragment, Segment { size: 1448, is_v6: false }), None);
        for at in 12..54 {
            for value in [0, 1, 0x0f, 0x41, 0x4f, 0xf0, 0xff] {
                let mut odd = data.clone();
                odd[at] = value;
                let _ = cut(&odd, Segment { size: 1448, is_v6: false });
            }
        }
    }

    #[test]
    fn a_short_frame_is_its_only_segment() {
        let frames = cut(&large_v4(100), Segment { size: 1448, is_v6: false }).unwrap();
        assert_eq!((frames.len(), frames[0].data.len()), (1, 154));
        let padded = [large_v4(1), vec![0; 5]].concat();
        let frames = cut(&padded, Segment { size: 1448, is_v6: false }).unwrap();
        assert_eq!((frames.len(), frames[0].data.len()), (1, 55));
    }
}
