//! What is said before the first message.
//!
//! Source: RFC 6143 sections 7.1 and 7.2, appendix A (versions 3.3 and 3.7).

use crate::bytes::PutFields;
use crate::error::ProtocolError;
use alloc::vec::Vec;

/// What the server begins with.
pub(crate) const GREETING: [u8; 12] = *b"RFB 003.008\n";

/// Security type None.
pub(crate) const NONE: u8 = 1;

/// Security type VNC Authentication.
pub(crate) const VNC_AUTHENTICATION: u8 = 2;

/// Versions that differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// The server decides about security.
    #[default]
    V3_3,
    /// The viewer chooses. Nothing is said about the outcome of None.
    V3_7,
    /// There always is an outcome, and a reason for a bad one.
    V3_8,
}

impl Version {
    /// Decodes a ProtocolVersion. Versions that were never published count as the next lower one that was: RFC 6143
    /// section 7.1.1.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let [b'R', b'F', b'B', b' ', major @ .., b'\n'] = bytes else { return Err(ProtocolError::Version) };
        let [a, b, c, b'.', d, e, f] = major else { return Err(ProtocolError::Version) };
        let digits = [a, b, c, d, e, f].map(|digit| u32::from(digit.wrapping_sub(b'0')));
        if digits.iter().any(|digit| *digit > 9) {
            return Err(ProtocolError::Version);
        }
        let number = digits.iter().fold(0_u32, |number, digit| number.saturating_mul(10).saturating_add(*digit));
        match number {
            3008.. => Ok(Self::V3_8),
            3007 => Ok(Self::V3_7),
            3000.. => Ok(Self::V3_3),
            _ => Err(ProtocolError::Version),
        }
    }
}

/// Appends which security type there is.
pub(crate) fn put_security(version: Version, security: u8, out: &mut Vec<u8>) {
    match version {
        Version::V3_3 => out.put_u32(security.into()),
        Version::V3_7 | Version::V3_8 => out.extend([1, security]),
    }
}

/// Appends a SecurityResult: `failure` is why there is no access.
pub(crate) fn put_result(version: Version, failure: Option<&str>, out: &mut Vec<u8>) {
    out.put_u32(failure.is_some().into());
    if let (Version::V3_8, Some(reason)) = (version, failure) {
        out.put_u32(u32::try_from(reason.len()).unwrap_or(0));
        out.extend(reason.bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_as_the_next_lower_published_one() {
        let cases: &[(&[u8; 12], Result<Version, ProtocolError>)] = &[
            (b"RFB 003.003\n", Ok(Version::V3_3)),
            (b"RFB 003.005\n", Ok(Version::V3_3)),
            (b"RFB 003.007\n", Ok(Version::V3_7)),
            (b"RFB 003.008\n", Ok(Version::V3_8)),
            (b"RFB 003.889\n", Ok(Version::V3_8)),
            (b"RFB 005.000\n", Ok(Version::V3_8)),
            (b"RFB 002.009\n", Err(ProtocolError::Version)),
            (b"RFB 003.00/\n", Err(ProtocolError::Version)),
            (b"RFB 003_008\n", Err(ProtocolError::Version)),
            (b"GET / HTTP/1", Err(ProtocolError::Version)),
        ];
        for (bytes, expect) in cases {
            assert_eq!(Version::decode(*bytes), *expect);
        }
    }
}
