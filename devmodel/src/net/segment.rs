//! Cutting one long TCP packet into segments, where the network cannot do it.
//!
//! A card hands over the headers once, and then the data as it comes out of the guest's memory, in pieces of any size.
//! Each segment is the headers, with lengths, identification, sequence number, flags and checksums of its own, and up
//! to so many bytes of data. A network may have no room in the middle; [`Segmenter::push`] says how much it took, and
//! goes on from there when it is called again.
//!
//! Source: Intel PCI/PCI-X Family of Gigabit Ethernet Controllers SDM, 3.5 (TCP segmentation: what is done to headers).
//! Not modelled: leaving the checksum of a segment to the network; it is always computed.
//! Invariant: a frame is begun at the host exactly while `begun` is set.

use super::checksum::Sum;
use super::frame::{Frame, Sending};
use super::headers::{Headers, Transport, Version};
use crate::host::{GuestAddr, Host, NicId, Offload, Unmapped};
use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

/// The most bytes that headers have: a card's header length is one byte, and a VLAN tag may be added.
pub const HEADERS_MAX: usize = 256 + super::TAG;

/// FIN and PSH: only the last segment has them.
const LAST_ONLY: u8 = 0x01 | 0x08;

/// A checksum: what it is summed over, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChecksumField {
    /// First byte of the range.
    pub start: usize,
    /// First byte behind the range; `None` is the end of the frame.
    pub end: Option<usize>,
    /// Where it goes.
    pub at: usize,
}

/// What is in the headers, and what to do to them. Offsets are bytes from the destination address on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Which Internet protocol.
    pub version: Version,
    /// Where the IP header is.
    pub ip: usize,
    /// TCP, or UDP whose lengths are set.
    pub transport: Transport,
    /// Where the transport header is.
    pub transport_at: usize,
    /// How many bytes of data a segment has at most; not zero.
    pub segment: u16,
    /// The checksum of the IPv4 header. Its field holds zero.
    pub ip_checksum: Option<ChecksumField>,
    /// The checksum of TCP or UDP. Its field holds the sum of the pseudo header without a length.
    pub transport_checksum: Option<ChecksumField>,
}

impl Plan {
    /// What a packet with plain headers needs. `None`: there is no TCP or UDP in it.
    #[must_use]
    pub fn plain(headers: &Headers, segment: u16) -> Option<Self> {
        let (transport, at) = (headers.transport?, headers.checksum_at()?);
        let ip_at = headers.ip.wrapping_add(10);
        let ip_checksum = ChecksumField { start: headers.ip, end: Some(headers.payload), at: ip_at };
        Some(Self {
            version: headers.version,
            ip: headers.ip,
            transport,
            transport_at: headers.payload,
            segment: segment.max(1),
            ip_checksum: (headers.version == Version::V4).then_some(ip_checksum),
            transport_checksum: Some(ChecksumField { start: headers.payload, end: None, at }),
        })
    }

    /// The same, when a VLAN tag was put in before the type.
    #[must_use]
    pub fn tagged(mut self) -> Self {
        self.ip = self.ip.wrapping_add(super::TAG);
        self.transport_at = self.transport_at.wrapping_add(super::TAG);
        for field in [&mut self.ip_checksum, &mut self.transport_checksum].into_iter().flatten() {
            field.start = field.start.wrapping_add(super::TAG);
            field.end = field.end.map(|end| end.wrapping_add(super::TAG));
            field.at = field.at.wrapping_add(super::TAG);
        }
        self
    }
}

/// What was cut so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Frames that were sent.
    pub frames: u32,
    /// Bytes in all of them.
    pub bytes: u32,
}

/// How far the cutting of one packet got.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Segmenter {
    plan: Plan,
    #[serde(with = "BigArray")]
    header: [u8; HEADERS_MAX],
    header_len: usize,
    /// Bytes of data in segments that were sent.
    done: u32,
    /// Bytes of data in the segment that was begun.
    filled: usize,
    begun: bool,
    sent: Sent,
}

impl Segmenter {
    /// Begins with a packet. At most [`HEADERS_MAX`] bytes of `header` count.
    #[must_use]
    pub fn new(plan: Plan, header: &[u8]) -> Self {
        let mut kept = [0; HEADERS_MAX];
        for (to, from) in kept.iter_mut().zip(header) {
            *to = *from;
        }
        let header_len = header.len().min(HEADERS_MAX);
        Self { plan, header: kept, header_len, done: 0, filled: 0, begun: false, sent: Sent::default() }
    }

    /// Takes data from guest memory: at most one segment of it. Says how many bytes it took; zero of more than zero is
    /// that the network has no room. A segment is sent when there is data behind it, since the last one is different.
    pub fn push(&mut self, host: &mut dyn Host, nic: NicId, addr: GuestAddr, len: usize) -> Result<usize, Unmapped> {
        let segment = usize::from(self.plan.segment);
        if len == 0 {
            return Ok(0);
        }
        if self.begun && self.filled >= segment {
            self.finish_segment(host, nic, false);
        }
        if !self.begin(host, nic) {
            return Ok(0);
        }
        let len = len.min(segment.saturating_sub(self.filled));
        host.nic_append_from_guest(nic, addr, len)?;
        self.filled = self.filled.saturating_add(len);
        Ok(len)
    }

    /// The packet is complete: sends the last segment. `None`: the network has no room for it yet.
    pub fn finish(&mut self, host: &mut dyn Host, nic: NicId) -> Option<Sent> {
        if !self.begin(host, nic) {
            return None;
        }
        self.finish_segment(host, nic, true);
        Some(self.sent)
    }

    fn begin(&mut self, host: &mut dyn Host, nic: NicId) -> bool {
        if !self.begun && host.nic_begin(nic) {
            self.begun = true;
            host.nic_append(nic, self.header.get(..self.header_len).unwrap_or_default());
        }
        self.begun
    }

    fn finish_segment(&mut self, host: &mut dyn Host, nic: NicId, last: bool) {
        let plan = self.plan;
        let frame_len = host.nic_len(nic);
        let mut header = self.header;
        let index = low_word(self.sent.frames);
        match plan.version {
            Version::V4 => {
                put(&mut header, plan.ip.wrapping_add(2), length(frame_len, plan.ip));
                let id_at = plan.ip.wrapping_add(4);
                let id = header[..].word(id_at).wrapping_add(index);
                put(&mut header, id_at, id);
            }
            Version::V6 => put(&mut header, plan.ip.wrapping_add(4), length(frame_len, plan.ip.wrapping_add(40))),
        }
        let transport_len = length(frame_len, plan.transport_at);
        match plan.transport {
            Transport::Tcp => {
                let at = plan.transport_at.wrapping_add(4);
                let number = u32::from(header[..].word(at)) << 16 | u32::from(header[..].word(at.wrapping_add(2)));
                let number = number.wrapping_add(self.done);
                put(&mut header, at, low_word(number >> 16));
                put(&mut header, at.wrapping_add(2), low_word(number));
                if let Some(flags) = header.get_mut(plan.transport_at.wrapping_add(13))
                    && !last
                {
                    *flags &= !LAST_ONLY;
                }
            }
            Transport::Udp => put(&mut header, plan.transport_at.wrapping_add(4), transport_len),
        }
        if let Some(field) = plan.transport_checksum {
            let mut sum = Sum::default();
            sum.add_number(header[..].word(field.at).into());
            sum.add_number(transport_len.into());
            put(&mut header, field.at, sum.value());
        }
        host.nic_write(nic, 0, header.get(..self.header_len).unwrap_or_default());
        if let Some(field) = plan.transport_checksum {
            write_checksum(host, nic, field);
        }
        if let Some(field) = plan.ip_checksum {
            write_checksum(host, nic, field);
        }
        host.nic_send(nic, Offload::default());
        self.done = self.done.wrapping_add(u32::try_from(self.filled).unwrap_or(0));
        self.sent.frames = self.sent.frames.saturating_add(1);
        self.sent.bytes = self.sent.bytes.saturating_add(u32::try_from(frame_len).unwrap_or(0));
        self.filled = 0;
        self.begun = false;
    }
}

/// Makes the headers of the frame that is put together those of one packet with all of its data, for a network that cuts
/// it itself: its lengths, the checksum of IPv4, and the sum of the pseudo header where the checksum of TCP will be.
pub fn leave_to_network(host: &mut dyn Host, nic: NicId, headers: &Headers) {
    let len = host.nic_len(nic);
    if headers.version == Version::V4 {
        let ip_checksum = headers.ip.wrapping_add(10);
        host.nic_write(nic, headers.ip.wrapping_add(2), &length(len, headers.ip).to_be_bytes());
        host.nic_write(nic, ip_checksum, &[0; 2]);
        write_checksum(host, nic, ChecksumField { start: headers.ip, end: Some(headers.payload), at: ip_checksum });
    } else {
        host.nic_write(nic, headers.ip.wrapping_add(4), &length(len, headers.payload).to_be_bytes());
    }
    blank_checksum(host, nic, headers);
}

/// Writes the sum of the pseudo header, of everything up to the frame's end, where the checksum of TCP or UDP will be.
pub fn blank_checksum(host: &mut dyn Host, nic: NicId, headers: &Headers) {
    let Some(at) = headers.checksum_at() else { return };
    let frame = Sending { host: &*host, nic };
    let sum = headers.pseudo_header(&frame, frame.len().saturating_sub(headers.payload)).value();
    host.nic_write(nic, at, &sum.to_be_bytes());
}

/// Sums up a part of the frame that is put together, and writes the checksum into it. A field that is not all inside of
/// the frame, or a range that begins outside, is left alone. A sum of zero is written as all ones: the same number, but
/// for UDP, where zero is no checksum.
pub fn write_checksum(host: &mut dyn Host, nic: NicId, field: ChecksumField) {
    let len = host.nic_len(nic);
    if field.start >= len || field.at.saturating_add(2) > len {
        return;
    }
    let mut sum = Sum::default();
    sum.add_frame(&Sending { host: &*host, nic }, field.start, field.end.unwrap_or(len));
    host.nic_write(nic, field.at, &sum.checksum_not_zero().to_be_bytes());
}

/// The bytes from `start` to `end`, as a field of 16 bits says it.
fn length(end: usize, start: usize) -> u16 {
    u16::try_from(end.saturating_sub(start)).unwrap_or(0)
}

/// The lowest 16 bits.
fn low_word(value: u32) -> u16 {
    u16::try_from(value & 0xffff).unwrap_or(0)
}

fn put(header: &mut [u8], at: usize, value: u16) {
    for (to, from) in header.iter_mut().skip(at).zip(value.to_be_bytes()) {
        *to = from;
    }
}
