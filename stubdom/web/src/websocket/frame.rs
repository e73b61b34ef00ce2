//! Headers of frames from the client, and unmasking.
//!
//! Source: RFC 6455, sections 5.2 (the header) and 5.3 (masking).

use super::error::ProtocolError;

/// The longest payload of a control frame, in bytes (RFC 6455, section 5.5).
pub const LONGEST_CONTROL: usize = 125;
/// The longest header: two bytes, a length of eight, a key of four.
const LONGEST_HEADER: usize = 14;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    /// A further fragment of a message.
    Continuation,
    /// A binary message, or its first fragment.
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn decode(first: u8) -> Result<Self, ProtocolError> {
        match first & 0x0f {
            0x0 => Ok(Self::Continuation),
            0x1 => Err(ProtocolError::Text),
            0x2 => Ok(Self::Binary),
            0x8 => Ok(Self::Close),
            0x9 => Ok(Self::Ping),
            0xa => Ok(Self::Pong),
            _ => Err(ProtocolError::Opcode),
        }
    }

    pub(super) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A key, turned so that its first byte is for the next byte of payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mask([u8; 4]);

impl Mask {
    /// Unmasks the next piece of a payload.
    pub(super) fn apply(&mut self, piece: &mut [u8]) {
        for (byte, key) in piece.iter_mut().zip(self.0.iter().cycle()) {
            *byte ^= key;
        }
        self.0.rotate_left(piece.len() % 4);
    }
}

/// The header of a frame. A control frame is whole, and its payload has at most [`LONGEST_CONTROL`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) opcode: Opcode,
    /// Whether the frame is the last one of its message.
    pub(super) is_last: bool,
    /// Bytes of payload.
    pub(super) length: u64,
    pub(super) mask: Mask,
}

impl FrameHeader {
    /// Decodes a header that lies at the start of `bytes`, and whose first two bytes were checked.
    fn decode(bytes: [u8; LONGEST_HEADER]) -> Result<Self, ProtocolError> {
        let [first, second, a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        let (length, key, shortest) = match second & 0x7f {
            126 => (u16::from_be_bytes([a, b]).into(), [c, d, e, f], 126),
            127 => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), [i, j, k, l], 0x1_0000),
            length => (length.into(), [a, b, c, d], 0),
        };
        if length < shortest || length >> 63 != 0 {
            return Err(ProtocolError::Length);
        }
        Ok(Self { opcode: Opcode::decode(first)?, is_last: first & 0x80 != 0, length, mask: Mask(key) })
    }
}

/// Collects the bytes of a header. What is wrong with its first two bytes is found before the others are there.
#[derive(Clone, Debug)]
pub(super) struct HeaderReader {
    bytes: [u8; LONGEST_HEADER],
    filled: usize,
}

impl HeaderReader {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; LONGEST_HEADER], filled: 0 }
    }

    /// Takes the next byte. Gives the header once it is complete, and is as new then.
    pub(super) fn push(&mut self, byte: u8) -> Result<Option<FrameHeader>, ProtocolError> {
        if let Some(place) = self.bytes.get_mut(self.filled) {
            *place = byte;
        }
        self.filled = self.filled.saturating_add(1);
        let [first, second, ..] = self.bytes;
        match self.filled {
            1 => check_first(first)?,
            2 => check_second(first, second)?,
            _ => {}
        }
        let wanted = match second & 0x7f {
            126 => 8,
            127 => LONGEST_HEADER,
            _ => 6,
        };
        if self.filled < wanted {
            return Ok(None);
        }
        let header = FrameHeader::decode(self.bytes)?;
        *self = Self::new();
        Ok(Some(header))
    }
}

fn check_first(first: u8) -> Result<(), ProtocolError> {
    if first & 0x70 != 0 {
        return Err(ProtocolError::ReservedBits);
    }
    if Opcode::decode(first)?.is_control() && first & 0x80 == 0 {
        return Err(ProtocolError::FragmentedControl);
    }
    Ok(())
}

fn check_second(first: u8, second: u8) -> Result<(), ProtocolError> {
    if second & 0x80 == 0 {
        return Err(ProtocolError::NotMasked);
    }
    if Opcode::decode(first)?.is_control() && usize::from(second & 0x7f) > LONGEST_CONTROL {
        return Err(ProtocolError::LongControl);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{FrameHeader, HeaderReader, Mask, Opcode};
    use crate::websocket::ProtocolError;

    /// What a header gives, and at which byte.
    fn read(bytes: &[u8]) -> Option<(usize, Result<FrameHeader, ProtocolError>)> {
        let mut reader = HeaderReader::new();
        (1..).zip(bytes).find_map(|(at, byte)| Some((at, reader.push(*byte).transpose()?)))
    }

    #[test]
    fn each_form_of_length_is_decoded() {
        let header = |length| {
            let mask = Mask([1, 2, 3, 4]);
            Ok(FrameHeader { opcode: Opcode::Binary, is_last: true, length, mask })
        };
        assert_eq!(read(b"\x82\xfd\x01\x02\x03\x04"), Some((6, header(125))));
        assert_eq!(read(b"\x82\xfe\x00\x7e\x01\x02\x03\x04"), Some((8, header(126))));
        assert_eq!(read(b"\x82\xff\0\0\0\0\0\x01\0\0\x01\x02\x03\x04"), Some((14, header(0x1_0000))));
    }

    /// RFC 6455, 5.2: "the minimal number of bytes MUST be used to encode the length"; "the most significant bit MUST
    /// be 0".
    #[test]
    fn lengths_that_are_not_well_formed_are_refused() {
        let refused = |at| Some((at, Err(ProtocolError::Length)));
        assert_eq!(read(b"\x82\xfe\x00\x7d\x01\x02\x03\x04"), refused(8));
        assert_eq!(read(b"\x82\xff\0\0\0\0\0\0\xff\xff\x01\x02\x03\x04"), refused(14));
        assert_eq!(read(b"\x82\xff\x80\0\0\0\0\0\0\0\x01\x02\x03\x04"), refused(14));
    }

    #[test]
    fn the_first_two_bytes_are_refused_at_once() {
        let check = |bytes: &[u8], error| assert_eq!(read(bytes), Some((bytes.len(), Err(error))));
        check(b"\xc2", ProtocolError::ReservedBits);
        check(b"\xa2", ProtocolError::ReservedBits);
        check(b"\x92", ProtocolError::ReservedBits);
        check(b"\x81", ProtocolError::Text);
        check(b"\x01", ProtocolError::Text);
        check(b"\x83", ProtocolError::Opcode);
        check(b"\x8b", ProtocolError::Opcode);
        check(b"\x09", ProtocolError::FragmentedControl);
        check(b"\x89\xfe", ProtocolError::LongControl);
        check(b"\x88\xff", ProtocolError::LongControl);
        check(b"\x82\x05", ProtocolError::NotMasked);
    }

    #[test]
    fn pieces_are_unmasked_like_the_whole() {
        let mut whole = *b"0123456789";
        Mask([1, 2, 3, 4]).apply(&mut whole);
        for cut in 0..whole.len() {
            let mut pieces = *b"0123456789";
            let mut mask = Mask([1, 2, 3, 4]);
            let (a, b) = pieces.split_at_mut(cut);
            mask.apply(a);
            mask.apply(b);
            assert_eq!(pieces, whole);
        }
    }
}
