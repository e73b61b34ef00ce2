//! Why a connection ends.

/// A status code of a close frame. Source: RFC 6455, section 7.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(u16);

impl CloseCode {
    /// The purpose is fulfilled. Also the answer to a close frame without a code.
    pub const NORMAL: Self = Self(1000);
    /// The server goes down, or the client leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// The peer sent a kind of data that is not served.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// The peer sent text that is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// The peer broke a rule of the server.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// The server cannot go on.
    pub const INTERNAL_ERROR: Self = Self(1011);

    /// A code, if it may stand in a close frame: 1004 to 1006 and 1015 may not, and most numbers mean nothing.
    ///
    /// 1012 to 1014 are in IANA's registry of close codes, not in the RFC.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        match number {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(number)),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::CloseCode;

    /// RFC 6455, 7.4.1 and 7.4.2.
    #[test]
    fn only_codes_that_may_be_sent_are_codes() {
        for number in [1000, 1003, 1007, 1011, 3000, 4999] {
            assert_eq!(CloseCode::new(number).map(CloseCode::number), Some(number));
        }
        for number in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, u16::MAX] {
            assert_eq!(CloseCode::new(number), None);
        }
    }
}
