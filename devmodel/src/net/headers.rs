//! Where the headers of a frame are.
//!
//! Source: IEEE 802.3 and 802.1Q; RFC 791, 8200, 793, 768.
//! Not modelled: see [`super`].

use super::checksum::Sum;
use super::frame::Frame;
use super::{ETHERNET_HEADER, TAG};
use serde::{Deserialize, Serialize};

/// Type of a VLAN tag.
pub const TYPE_VLAN: u16 = 0x8100;
const TYPE_V4: u16 = 0x0800;
const TYPE_V6: u16 = 0x86dd;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
/// IPv4: more fragments, and the offset of this one.
const FRAGMENT: u16 = 0x3fff;

/// Which Internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What is inside of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// Where its checksum is, from its header on.
    #[must_use]
    pub const fn checksum_offset(self) -> usize {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }

    const fn protocol(self) -> u8 {
        match self {
            Self::Tcp => PROTOCOL_TCP,
            Self::Udp => PROTOCOL_UDP,
        }
    }

    const fn shortest_header(self) -> usize {
        match self {
            Self::Tcp => 20,
            Self::Udp => 8,
        }
    }
}

/// The headers of an IP packet in a frame. Offsets are bytes from the destination address on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// There is a VLAN tag.
    pub tagged: bool,
    /// Which Internet protocol.
    pub version: Version,
    /// Where the IP header is.
    pub ip: usize,
    /// Where what follows the IP header is.
    pub payload: usize,
    /// What it is, if it is TCP or UDP, with all of its shortest header there, and no fragment.
    pub transport: Option<Transport>,
    /// Where the packet ends, as its own header says. The frame may be longer (padding) or shorter (nonsense).
    pub end: usize,
}

impl Headers {
    /// Finds the headers; `None`: there is no IP packet with a whole header.
    #[must_use]
    pub fn parse(frame: &(impl Frame + ?Sized)) -> Option<Self> {
        let tagged = frame.word(ETHERNET_HEADER.wrapping_sub(2)) == TYPE_VLAN;
        let ip = if tagged { ETHERNET_HEADER.wrapping_add(TAG) } else { ETHERNET_HEADER };
        let first = frame.byte(ip);
        let (version, header, length, protocol) = match (frame.word(ip.wrapping_sub(2)), first >> 4) {
            (TYPE_V4, 4) => {
                let header = usize::from(first & 0xf).wrapping_mul(4);
                let whole = frame.word(ip.wrapping_add(6)) & FRAGMENT == 0;
                let length = usize::from(frame.word(ip.wrapping_add(2)));
                (Version::V4, header, length, whole.then(|| frame.byte(ip.wrapping_add(9))))
            }
            (TYPE_V6, 6) => {
                let length = usize::from(frame.word(ip.wrapping_add(4))).wrapping_add(40);
                (Version::V6, 40, length, Some(frame.byte(ip.wrapping_add(6))))
            }
            _ => return None,
        };
        let payload = ip.wrapping_add(header);
        if header < 20 || payload > frame.len() {
            return None;
        }
        let transport = match protocol {
            Some(PROTOCOL_TCP) => Some(Transport::Tcp),
            Some(PROTOCOL_UDP) => Some(Transport::Udp),
            _ => None,
        }
        .filter(|transport| payload.wrapping_add(transport.shortest_header()) <= frame.len());
        Some(Self { tagged, version, ip, payload, transport, end: ip.wrapping_add(length) })
    }

    /// Where the checksum of TCP or UDP is.
    #[must_use]
    pub fn checksum_at(&self) -> Option<usize> {
        Some(self.payload.wrapping_add(self.transport?.checksum_offset()))
    }

    /// Bytes of the header of TCP, options included, as it says itself; of UDP's.
    #[must_use]
    pub fn transport_header(&self, frame: &(impl Frame + ?Sized)) -> usize {
        match self.transport {
            Some(Transport::Tcp) => usize::from(frame.byte(self.payload.wrapping_add(12)) >> 4).wrapping_mul(4),
            Some(Transport::Udp) => 8,
            None => 0,
        }
    }

    /// The sum of the pseudo header: addresses, protocol, and `length`, which is that of transport header and data.
    #[must_use]
    pub fn pseudo_header(&self, frame: &(impl Frame + ?Sized), length: usize) -> Sum {
        let mut sum = Sum::default();
        let (addresses, len) = match self.version {
            Version::V4 => (self.ip.wrapping_add(12), 8),
            Version::V6 => (self.ip.wrapping_add(8), 32),
        };
        sum.add_frame(frame, addresses, addresses.wrapping_add(len));
        sum.add_number(u32::from(self.transport.map_or(0, Transport::protocol)));
        sum.add_number(u32::try_from(length).unwrap_or(u32::MAX));
        sum
    }

    /// Whether the checksum of an IPv4 header is right; IPv6 has none.
    #[must_use]
    pub fn ip_checksum_is_right(&self, frame: &(impl Frame + ?Sized)) -> bool {
        let mut sum = Sum::default();
        sum.add_frame(frame, self.ip, self.payload);
        self.version == Version::V6 || sum.value() == 0xffff
    }
}
