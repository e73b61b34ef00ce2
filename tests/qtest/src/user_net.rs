//! The network of `-netdev user`: a station that hands out an address and a boot file, and serves files by TFTP.
//!
//! The stations are those of QEMU: 10.0.2.2 answers, the guest is 10.0.2.15. There is no way out.
//!
//! Source: RFC 2131 (DHCP), RFC 1350, 2347, 2348 and 2349 (TFTP, its options blksize and tsize); QEMU
//! `docs/system/devices/net.rst`.
//! Not modelled: everything else that QEMU's has: the way out, DNS, IPv6, SMB, other addresses.
//! Invariant: a file is served from below the folder that was named, and one at a time; who is asked again answers again.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress,
    EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr, UdpPacket,
    UdpRepr,
};

/// The station.
const ADDRESS: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);
/// Its Ethernet address, as QEMU's.
const ETHERNET: EthernetAddress = EthernetAddress([0x52, 0x55, 10, 0, 2, 2]);
/// The guest.
const GUEST: Ipv4Address = Ipv4Address::new(10, 0, 2, 15);
const NETMASK: Ipv4Address = Ipv4Address::new(255, 255, 255, 0);
/// Seconds that the guest may keep its address.
const LEASE: u32 = 86_400;

const DHCP_SERVER: u16 = 67;
const DHCP_CLIENT: u16 = 68;
const TFTP: u16 = 69;
/// DHCP: the option with the message's kind, and that with the boot file's name.
const MESSAGE_TYPE: u8 = 53;
const BOOT_FILE: u8 = 67;

/// TFTP: kinds of messages.
const READ: u16 = 1;
const DATA: u16 = 3;
const ACKNOWLEDGE: u16 = 4;
const ERROR: u16 = 5;
const OPTIONS: u16 = 6;
/// Bytes of a block, unless another size is asked for.
const BLOCK: usize = 512;
/// The largest that goes into a frame.
const BLOCK_MAX: usize = 1428;

/// What was said of the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UserPlan {
    /// The folder of the files.
    pub(crate) folder: Option<PathBuf>,
    /// The file to boot.
    pub(crate) boot_file: Option<String>,
}

/// A file on its way.
#[derive(Debug)]
struct Transfer {
    file: File,
    len: u64,
    /// Who gets it.
    port: u16,
    block: usize,
}

/// The station.
#[derive(Debug)]
pub(crate) struct UserNetwork {
    plan: UserPlan,
    transfer: Option<Transfer>,
}

impl UserNetwork {
    /// One that nobody has asked anything yet.
    pub(crate) fn new(plan: &UserPlan) -> Self {
        Self { plan: plan.clone(), transfer: None }
    }

    /// What it sends when it hears this frame.
    pub(crate) fn answer(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        let guest = frame.src_addr();
        if frame.dst_addr() != ETHERNET && !frame.dst_addr().is_broadcast() {
            return None;
        }
        match frame.ethertype() {
            EthernetProtocol::Arp => resolve(frame.payload(), guest),
            EthernetProtocol::Ipv4 => {
                let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
                if packet.next_header() != IpProtocol::Udp || packet.more_frags() || packet.frag_offset() != 0 {
                    return None;
                }
                let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
                let payload = datagram.payload();
                let (ports, to, answer) = match (packet.dst_addr(), datagram.dst_port()) {
                    (_, DHCP_SERVER) => {
                        let (to, answer) = self.lease(payload)?;
                        ((DHCP_SERVER, DHCP_CLIENT), to, answer)
                    }
                    (ADDRESS, TFTP) => {
                        let port = datagram.src_port();
                        ((TFTP, port), packet.src_addr(), self.serve(payload, port)?)
                    }
                    _ => return None,
                };
                Some(wrap(guest, to, ports, &answer))
            }
            _ => None,
        }
    }

    /// DHCP: who gets the answer, and the answer.
    fn lease(&self, message: &[u8]) -> Option<(Ipv4Address, Vec<u8>)> {
        let packet = DhcpPacket::new_checked(message).ok()?;
        let kind = packet.options().find(|option| option.kind == MESSAGE_TYPE)?.data.first().copied()?;
        let message_type = match DhcpMessageType::from(kind) {
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            DhcpMessageType::Request | DhcpMessageType::Inform => DhcpMessageType::Ack,
            _ => return None,
        };
        let file = self.plan.boot_file.as_deref().unwrap_or_default();
        let options = [DhcpOption { kind: BOOT_FILE, data: file.as_bytes() }];
        let repr = DhcpRepr {
            message_type,
            transaction_id: packet.transaction_id(),
            secs: 0,
            client_hardware_address: packet.client_hardware_address(),
            client_ip: packet.client_ip(),
            your_ip: GUEST,
            server_ip: ADDRESS,
            router: Some(ADDRESS),
            subnet_mask: Some(NETMASK),
            relay_agent_ip: Ipv4Address::UNSPECIFIED,
            broadcast: false,
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(ADDRESS),
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: Some(LEASE),
            renew_duration: None,
            rebind_duration: None,
            additional_options: if file.is_empty() { &[] } else { &options },
        };
        let mut answer = vec![0; repr.buffer_len()];
        repr.emit(&mut DhcpPacket::new_unchecked(&mut answer[..])).ok()?;
        Some((Ipv4Address::BROADCAST, answer))
    }

    /// TFTP.
    fn serve(&mut self, message: &[u8], port: u16) -> Option<Vec<u8>> {
        let (kind, rest) = message.split_first_chunk().map(|(kind, rest)| (u16::from_be_bytes(*kind), rest))?;
        match kind {
            READ => Some(self.open(rest, port).unwrap_or_else(|| {
                self.transfer = None;
                [&ERROR.to_be_bytes()[..], &1_u16.to_be_bytes(), b"File not found\0"].concat()
            })),
            ACKNOWLEDGE => {
                let number = u16::from_be_bytes(*rest.first_chunk()?);
                self.block(number.wrapping_add(1), port)
            }
            ERROR => {
                self.transfer = None;
                None
            }
            _ => None,
        }
    }

    /// Begins with a file: the options that were accepted, or its first block.
    fn open(&mut self, request: &[u8], port: u16) -> Option<Vec<u8>> {
        let words: Vec<&str> = request.split(|byte| *byte == 0).map(str::from_utf8).collect::<Result<_, _>>().ok()?;
        let (name, options) = words.split_first()?;
        let path = self.plan.folder.as_ref()?.join(below(name)?);
        let file = File::open(path).ok()?;
        let len = file.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
        let mut transfer = Transfer { file, len, port, block: BLOCK };
        let mut accepted = Vec::new();
        // Behind the mode.
        for pair in options.get(1..).unwrap_or_default().chunks_exact(2) {
            let value = match pair[0].to_ascii_lowercase().as_str() {
                "blksize" => {
                    transfer.block = pair[1].parse::<usize>().ok()?.clamp(8, BLOCK_MAX);
                    transfer.block.to_string()
                }
                "tsize" => len.to_string(),
                _ => continue,
            };
            accepted.extend([pair[0].as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        self.transfer = Some(transfer);
        if accepted.is_empty() {
            return self.block(1, port);
        }
        Some([&OPTIONS.to_be_bytes()[..], &accepted].concat())
    }

    /// A block by its number, which begins again behind 65535: that one of the blocks with this number that the reader can mean
    /// is the one that follows where the file was read last.
    fn block(&mut self, number: u16, port: u16) -> Option<Vec<u8>> {
        let transfer = self.transfer.as_mut().filter(|transfer| transfer.port == port)?;
        let size = u64::try_from(transfer.block).ok()?;
        let read = transfer.file.stream_position().ok()?.div_ceil(size);
        // Blocks count from 1; the reader is at most one behind.
        let ahead = number.wrapping_sub(1).wrapping_sub(u16::try_from(read & 0xffff).ok()?);
        let index = if ahead == u16::MAX { read.checked_sub(1)? } else { read.checked_add(ahead.into())? };
        let from = index.checked_mul(size)?;
        if ahead > 0 && ahead != u16::MAX || from > transfer.len {
            return None;
        }
        transfer.file.seek(SeekFrom::Start(from)).ok()?;
        let mut block = [DATA.to_be_bytes(), number.to_be_bytes()].concat();
        Read::by_ref(&mut transfer.file).take(size).read_to_end(&mut block).ok()?;
        Some(block)
    }
}

/// A path that does not lead out of its folder.
fn below(name: &str) -> Option<&Path> {
    let path = Path::new(name.trim_start_matches('/'));
    path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)).then_some(path)
}

/// ARP: the station says where it is.
fn resolve(packet: &[u8], guest: EthernetAddress) -> Option<Vec<u8>> {
    let ArpRepr::EthernetIpv4 { operation, source_protocol_addr, target_protocol_addr, .. } =
        ArpRepr::parse(&ArpPacket::new_checked(packet).ok()?).ok()?
    else {
        return None;
    };
    if operation != ArpOperation::Request || target_protocol_addr != ADDRESS {
        return None;
    }
    let repr = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: ETHERNET,
        source_protocol_addr: ADDRESS,
        target_hardware_addr: guest,
        target_protocol_addr: source_protocol_addr,
    };
    Some(frame(guest, EthernetProtocol::Arp, repr.buffer_len(), |payload| {
        repr.emit(&mut ArpPacket::new_unchecked(payload));
    }))
}

/// A datagram in its frame.
fn wrap(guest: EthernetAddress, to: Ipv4Address, (source, target): (u16, u16), payload: &[u8]) -> Vec<u8> {
    let checksums = ChecksumCapabilities::default();
    let udp = UdpRepr { src_port: source, dst_port: target };
    let ip = Ipv4Repr {
        src_addr: ADDRESS,
        dst_addr: to,
        next_header: IpProtocol::Udp,
        payload_len: udp.header_len() + payload.len(),
        hop_limit: 64,
    };
    frame(guest, EthernetProtocol::Ipv4, ip.buffer_len() + ip.payload_len, |buffer| {
        let mut packet = Ipv4Packet::new_unchecked(buffer);
        ip.emit(&mut packet, &checksums);
        udp.emit(
            &mut UdpPacket::new_unchecked(packet.payload_mut()),
            &IpAddress::Ipv4(ADDRESS),
            &IpAddress::Ipv4(to),
            payload.len(),
            |buffer| buffer.copy_from_slice(payload),
            &checksums,
        );
    })
}

fn frame(guest: EthernetAddress, ethertype: EthernetProtocol, len: usize, fill: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let repr = EthernetRepr { src_addr: ETHERNET, dst_addr: guest, ethertype };
    let mut bytes = vec![0; repr.buffer_len() + len];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    repr.emit(&mut frame);
    fill(frame.payload_mut());
    bytes
}

#[cfg(test)]
mod unit {
    use super::*;

    const CLIENT: EthernetAddress = EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

    /// A station with a file of two blocks of 600 bytes and a rest.
    fn station(name: &str) -> UserNetwork {
        let folder = std::env::temp_dir().join(format!("user-net-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let content: Vec<u8> = (0..1300_u16).map(|number| number.to_le_bytes()[0]).collect();
        std::fs::write(folder.join("boot"), content).unwrap();
        UserNetwork::new(&UserPlan { folder: Some(folder), boot_file: Some("boot".to_owned()) })
    }

    #[test]
    fn a_file_comes_in_blocks_of_the_size_that_was_asked_for() {
        let mut station = station("blocks");
        let accepted = station.serve(b"\0\x01boot\0octet\0blksize\x00600\0tsize\x000\0", 2000).unwrap();
        assert_eq!(accepted, b"\0\x06blksize\x00600\0tsize\x001300\0");
        let first = station.serve(&[0, 4, 0, 0], 2000).unwrap();
        assert_eq!((&first[..4], first.len()), (&[0, 3, 0, 1][..], 604));
        assert_eq!(station.serve(&[0, 4, 0, 0], 2000), Some(first), "asked again");
        assert_eq!(station.serve(&[0, 4, 0, 1], 2000).unwrap().len(), 604);
        let last = station.serve(&[0, 4, 0, 2], 2000).unwrap();
        assert_eq!((last.len(), last[4]), (104, 1200_u16.to_le_bytes()[0]));
        assert_eq!(station.serve(&[0, 4, 0, 3], 2000), None, "that was all");
        assert_eq!(station.serve(&[0, 4, 0, 0], 2001), None, "somebody else");
        std::fs::remove_dir_all(station.plan.folder.unwrap()).unwrap();
    }

    #[test]
    fn files_elsewhere_are_not_found() {
        let mut station = station("elsewhere");
        for name in ["../boot", "none", ".", "a/../../boot"] {
            let request = [b"\0\x01", name.as_bytes(), b"\0octet\0"].concat();
            assert_eq!(station.serve(&request, 1).unwrap()[..4], [0, 5, 0, 1], "{name}");
        }
        assert_eq!(station.serve(b"\0\x01/boot\0octet\0", 1).unwrap().len(), 516);
        std::fs::remove_dir_all(station.plan.folder.unwrap()).unwrap();
    }

    #[test]
    fn whoever_asks_for_an_address_gets_it_with_the_boot_file() {
        let mut station = UserNetwork::new(&UserPlan { folder: None, boot_file: Some("file".to_owned()) });
        let mut message = vec![0; 240];
        message[..4].copy_from_slice(&[1, 1, 6, 0]);
        message[28..34].copy_from_slice(CLIENT.as_bytes());
        message[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
        message.extend([53, 1, 1, 255]);
        let mut request = wrap(EthernetAddress::BROADCAST, Ipv4Address::BROADCAST, (68, 67), &message);
        request[6..12].copy_from_slice(CLIENT.as_bytes());
        let answer = station.answer(&request).unwrap();
        let frame = EthernetFrame::new_checked(&answer[..]).unwrap();
        assert_eq!(frame.dst_addr(), CLIENT);
        let packet = Ipv4Packet::new_checked(frame.payload()).unwrap();
        let datagram = UdpPacket::new_checked(packet.payload()).unwrap();
        let offer = DhcpPacket::new_checked(datagram.payload()).unwrap();
        assert_eq!((offer.your_ip(), offer.server_ip()), (GUEST, ADDRESS));
        assert!(offer.options().any(|option| option.kind == BOOT_FILE && option.data == b"file"));
    }

    #[test]
    fn nonsense_is_not_answered() {
        let mut station = station("nonsense");
        for len in 0..80 {
            assert_eq!(station.answer(&vec![0xff; len]), None);
            let mut frame = vec![0xff; 12];
            frame.extend([8, 0, 0x45]);
            frame.resize(15 + len, 0x11);
            assert_eq!(station.answer(&frame), None);
        }
        std::fs::remove_dir_all(station.plan.folder.unwrap()).unwrap();
    }
}
