//! Frames for the client. They are not masked (RFC 6455, section 5.1).
//!
//! Source: RFC 6455, sections 5.2 and 5.5.

use super::close_code::CloseCode;
use super::frame::LONGEST_CONTROL;
use alloc::vec::Vec;

/// The last frame of a message, with an opcode in the lower half.
const LAST: u8 = 0x80;
const BINARY: u8 = LAST | 0x2;
const CLOSE: u8 = LAST | 0x8;
const PONG: u8 = LAST | 0xa;

/// The header of a binary message in one frame; its `len` bytes follow as they are.
#[must_use]
pub fn header(len: usize) -> heapless::Vec<u8, 10> {
    if let Ok(len @ ..=125) = u8::try_from(len) {
        return heapless::Vec::from_array([BINARY, len]);
    }
    if let Ok(len) = u16::try_from(len) {
        let [a, b] = len.to_be_bytes();
        return heapless::Vec::from_array([BINARY, 126, a, b]);
    }
    // No slice has more bytes than an i64 counts, so the highest bit is zero, as it must be.
    let [a, b, c, d, e, f, g, h] = u64::try_from(len).unwrap_or(u64::MAX).to_be_bytes();
    heapless::Vec::from_array([BINARY, 127, a, b, c, d, e, f, g, h])
}

/// The frame that answers a ping: with its payload, of which no more than 125 bytes are taken.
///
/// A client may send pings faster than it takes pongs. Only the newest needs an answer (RFC 6455, section 5.5.3): keep
/// one, not a queue.
#[must_use]
pub fn pong(payload: &[u8]) -> Vec<u8> {
    let payload = payload.get(..LONGEST_CONTROL).unwrap_or(payload);
    let len = u8::try_from(payload.len()).unwrap_or(0);
    let mut frame = Vec::from([PONG, len]);
    frame.extend_from_slice(payload);
    frame
}

/// The frame that closes a connection, or answers the client's. No frame may follow it (RFC 6455, section 5.5.1).
#[must_use]
pub const fn close(code: CloseCode) -> [u8; 4] {
    let [a, b] = code.number().to_be_bytes();
    [CLOSE, 2, a, b]
}

#[cfg(test)]
mod tests {
    use super::{close, header, pong};
    use crate::websocket::CloseCode;

    /// RFC 6455, 5.7: "256 bytes binary message in a single unmasked frame", and the same with 64KiB.
    #[test]
    fn headers_are_those_of_the_rfc() {
        assert_eq!(header(256), [0x82, 0x7e, 0x01, 0x00]);
        assert_eq!(header(65_536), [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn lengths_take_the_fewest_bytes() {
        assert_eq!(header(0), [0x82, 0]);
        assert_eq!(header(125), [0x82, 125]);
        assert_eq!(header(126), [0x82, 126, 0, 126]);
        assert_eq!(header(65_535), [0x82, 126, 0xff, 0xff]);
    }

    /// RFC 6455, 5.7: "Unmasked Ping request and masked Ping response", here the other way round.
    #[test]
    fn a_pong_bears_the_payload_of_the_ping() {
        assert_eq!(pong(b"Hello"), b"\x8a\x05Hello");
        assert_eq!(pong(b""), b"\x8a\x00");
        assert_eq!(pong(&[7; 126]).len(), 127);
    }

    #[test]
    fn a_close_bears_its_code() {
        assert_eq!(close(CloseCode::NORMAL), [0x88, 2, 0x03, 0xe8]);
        assert_eq!(close(CloseCode::UNSUPPORTED_DATA), [0x88, 2, 0x03, 0xeb]);
    }
}
