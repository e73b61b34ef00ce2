//! What a client did wrong.

use super::close_code::CloseCode;
use core::fmt;

/// What a client did wrong. The connection ends with a close frame that bears [`ProtocolError::close_code`].
///
/// Sections are those of RFC 6455.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// A frame is not masked (5.1).
    NotMasked,
    /// A reserved bit is set, and no extension was agreed to (5.2).
    ReservedBits,
    /// An opcode that has no meaning (5.2).
    Opcode,
    /// A message of text; only binary ones are served.
    Text,
    /// A continuation with nothing to continue, or a new message inside another (5.4).
    Fragmentation,
    /// A control frame in fragments (5.5).
    FragmentedControl,
    /// A control frame with a payload of more than 125 bytes (5.5).
    LongControl,
    /// A length in more bytes than it needs, or one with the highest bit set (5.2).
    Length,
    /// A close frame whose payload is one byte, or a code that may not be sent (5.5.1, 7.4).
    CloseCode,
    /// A close frame whose reason is not UTF-8 (5.5.1, 8.1).
    CloseReason,
}

impl ProtocolError {
    /// The code of the close frame that says so.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Text => CloseCode::UNSUPPORTED_DATA,
            Self::CloseReason => CloseCode::INVALID_DATA,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotMasked => "a frame is not masked",
            Self::ReservedBits => "a reserved bit is set",
            Self::Opcode => "an unknown opcode",
            Self::Text => "a text message",
            Self::Fragmentation => "fragments out of order",
            Self::FragmentedControl => "a control frame in fragments",
            Self::LongControl => "a long control frame",
            Self::Length => "a length that is not well-formed",
            Self::CloseCode => "a close code that may not be sent",
            Self::CloseReason => "a close reason that is not UTF-8",
        })
    }
}

impl core::error::Error for ProtocolError {}
