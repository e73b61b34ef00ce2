//! Checksums that a sender has left out.

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket, UdpPacket,
};

/// Fills in the checksum of TCP or UDP, which a sender on this machine has left to whoever needs it.
pub(crate) fn fill(frame: &mut [u8]) {
    let Ok(mut frame) = EthernetFrame::new_checked(frame) else { return };
    let protocol = frame.ethertype();
    let payload = frame.payload_mut();
    match protocol {
        EthernetProtocol::Ipv4 => {
            let Ok(mut packet) = Ipv4Packet::new_checked(payload) else { return };
            let addresses = (packet.src_addr().into(), packet.dst_addr().into());
            let kind = packet.next_header();
            fill_transport(kind, addresses, packet.payload_mut());
        }
        EthernetProtocol::Ipv6 => {
            let Ok(mut packet) = Ipv6Packet::new_checked(payload) else { return };
            let addresses = (packet.src_addr().into(), packet.dst_addr().into());
            let kind = packet.next_header();
            fill_transport(kind, addresses, packet.payload_mut());
        }
        _ => {}
    }
}

fn fill_transport(kind: IpProtocol, (source, destination): (IpAddress, IpAddress), payload: &mut [u8]) {
    match kind {
        IpProtocol::Tcp => {
            if let Ok(mut packet) = TcpPacket::new_checked(payload) {
                packet.fill_checksum(&source, &destination);
            }
        }
        IpProtocol::Udp => {
            if let Ok(mut packet) = UdpPacket::new_checked(payload) {
                packet.fill_checksum(&source, &destination);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// Ethernet and IPv4 around what TCP or UDP has, whose checksum is left out.
    fn frame(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
        let ip = [0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        [&[2; 12][..], &[8, 0], &ip, payload].concat()
    }

    fn verifies(frame: &[u8]) -> bool {
        let frame = EthernetFrame::new_checked(frame).unwrap();
        let packet = Ipv4Packet::new_checked(frame.payload()).unwrap();
        let (source, destination) = (packet.src_addr().into(), packet.dst_addr().into());
        match packet.next_header() {
            IpProtocol::Tcp => TcpPacket::new_checked(packet.payload()).unwrap().verify_checksum(&source, &destination),
            _ => UdpPacket::new_checked(packet.payload()).unwrap().verify_checksum(&source, &destination),
        }
    }

    #[test]
    fn blank_checksums_are_filled_in() {
        let mut tcp = vec![0; 24];
        (tcp[3], tcp[12], tcp[13], tcp[16]) = (80, 5 << 4, 2, 0xab);
        let mut frame_of_tcp = frame(6, &tcp);
        assert!(!verifies(&frame_of_tcp));
        fill(&mut frame_of_tcp);
        assert!(verifies(&frame_of_tcp));

        let mut frame_of_udp = frame(17, &[0, 1, 0, 2, 0, 12, 0xab, 0, 1, 2, 3, 4]);
        assert!(!verifies(&frame_of_udp));
        fill(&mut frame_of_udp);
        assert!(verifies(&frame_of_udp));
    }

    #[test]
    fn what_is_no_packet_stays_as_it_is() {
        let whole = frame(6, &[0; 24]);
        for len in 0..whole.len() {
            let mut cut = whole[..len].to_vec();
            fill(&mut cut);
            assert_eq!(cut, whole[..len]);
        }
        let mut arp = [&[2; 12][..], &[8, 6], &[0; 28]].concat();
        let before = arp.clone();
        fill(&mut arp);
        assert_eq!(arp, before);
    }
}
