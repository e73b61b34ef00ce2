//! The Internet checksum.
//!
//! Source: RFC 1071; RFC 768 (a UDP checksum that comes out as zero is sent as all ones).

use super::frame::{Frame, Receiving};
use super::headers::{Headers, Transport};
use crate::host::{NicHost, NicId, Received, ReceivedChecksum};

/// How much of a frame is looked at in one piece. Even, so that words do not straddle pieces.
const PIECE: usize = 512;

/// A one's complement sum of 16-bit words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes; if their number is odd, as if a zero followed.
    pub fn add(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<2>();
        for word in words {
            self.0 = self.0.wrapping_add(u16::from_be_bytes(*word).into());
        }
        if let [last] = rest {
            self.0 = self.0.wrapping_add(u64::from(*last) << 8);
        }
    }

    /// Adds a number, as the four bytes that it would be.
    pub fn add_number(&mut self, number: u32) {
        self.0 = self.0.wrapping_add(number.into());
    }

    /// Adds the bytes of a frame from `start` to before `end`, or to the frame's end.
    pub fn add_frame(&mut self, frame: &(impl Frame + ?Sized), start: usize, end: usize) {
        let end = end.min(frame.len());
        let mut piece = [0; PIECE];
        let mut at = start;
        while at < end {
            let len = end.saturating_sub(at).min(PIECE);
            let Some(piece) = piece.get_mut(..len) else { return };
            frame.read(at, piece);
            self.add(piece);
            at = at.saturating_add(len);
        }
    }

    /// The sum, folded to 16 bits: all ones over data with a right checksum in it.
    #[must_use]
    pub fn value(self) -> u16 {
        let mut value = self.0;
        // Each round halves the number of bits; four are enough for 64.
        for _ in 0..4 {
            value = (value & 0xffff).wrapping_add(value >> 16);
        }
        u16::try_from(value).unwrap_or(u16::MAX)
    }

    /// What to write into a checksum field that was zero, or held the sum of the pseudo header, when this was summed up.
    #[must_use]
    pub fn checksum(self) -> u16 {
        !self.value()
    }

    /// The same where a zero says that there is no checksum: all ones, which means the same, instead.
    #[must_use]
    pub fn checksum_not_zero(self) -> u16 {
        match self.checksum() {
            0 => 0xffff,
            checksum => checksum,
        }
    }
}

/// Finishes the checksum of a received frame that is [`ReceivedChecksum::Blank`]; leaves others alone.
///
/// Says what is known of it then. The sum of the pseudo header is worked out anew, whatever stood there.
pub fn finish_received<H: NicHost + ?Sized>(host: &mut H, nic: NicId, received: Received) -> ReceivedChecksum {
    if received.checksum != ReceivedChecksum::Blank {
        return received.checksum;
    }
    let frame = Receiving { host: &*host, nic, len: received.len };
    let Some(headers) = Headers::parse(&frame) else { return ReceivedChecksum::Unknown };
    let (Some(transport), Some(at)) = (headers.transport, headers.checksum_at()) else {
        return ReceivedChecksum::Unknown;
    };
    if headers.end > received.len || headers.end < at.saturating_add(2) {
        return ReceivedChecksum::Unknown;
    }
    let mut sum = headers.pseudo_header(&frame, headers.end.saturating_sub(headers.payload));
    sum.add_frame(&frame, headers.payload, at);
    // The field lies on an even offset from the transport header, so the words stay in step.
    sum.add_frame(&frame, at.saturating_add(2), headers.end);
    let checksum = if transport == Transport::Udp { sum.checksum_not_zero() } else { sum.checksum() };
    host.nic_received_write(nic, at, &checksum.to_be_bytes());
    ReceivedChecksum::Validated
}
