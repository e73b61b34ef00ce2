//! Why a connection ends.

use core::fmt;

/// What a viewer did to lose its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The first twelve bytes are no ProtocolVersion, RFC 6143 section 7.1.1.
    Version,
    /// It chose a security type that was not offered, RFC 6143 section 7.1.2.
    SecurityType(u8),
    /// It does not know the password, RFC 6143 section 7.2.2.
    Authentication,
    /// A message of this type is not known.
    Message(u8),
    /// A QEMU Client Message of this submessage type is not known.
    QemuMessage(u8),
    /// The pixel format cannot be, RFC 6143 section 7.4; or it is a colour map of more than eight bits.
    PixelFormat,
    /// A clipboard text has more than 16 MiB.
    TextTooLong,
    /// A ClientFence has more than 64 bytes.
    FenceTooLong,
    /// It asks more than it reads answers.
    Flood,
    /// The session ended before.
    Closed,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version => f.write_str("does not speak RFB"),
            Self::SecurityType(number) => write!(f, "chose security type {number}, which was not offered"),
            Self::Authentication => f.write_str("does not know the password"),
            Self::Message(number) => write!(f, "sent a message of unknown type {number}"),
            Self::QemuMessage(number) => write!(f, "sent a QEMU message of unknown type {number}"),
            Self::PixelFormat => f.write_str("asked for a pixel format that cannot be"),
            Self::TextTooLong => f.write_str("sent a clipboard text of more than 16 MiB"),
            Self::FenceTooLong => f.write_str("sent a fence of more than 64 bytes"),
            Self::Flood => f.write_str("asks more than it reads answers"),
            Self::Closed => f.write_str("goes on after the end of its session"),
        }
    }
}

impl core::error::Error for ProtocolError {}
