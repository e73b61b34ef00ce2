//! What an operator decides about the server.

use alloc::string::String;
use core::fmt;

/// What all viewers of one picture are told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of the desktop, RFC 6143 section 7.3.2. Viewers show it as their title.
    pub name: String,
    /// What viewers have to know. `None` lets everybody in: an operator has to ask for that.
    pub password: Option<Password>,
}

/// A password of VNC Authentication: up to eight bytes, RFC 6143 section 7.2.2.
#[derive(Clone)]
pub struct Password {
    /// Padded with zeros.
    bytes: [u8; 8],
}

impl Password {
    /// Takes the first eight bytes; the protocol has no room for more. `None` for an empty one, which is no password.
    pub fn new(password: &[u8]) -> Option<Self> {
        let mut bytes = [0; 8];
        bytes.iter_mut().zip(password).for_each(|(to, from)| *to = *from);
        (!password.is_empty()).then_some(Self { bytes })
    }

    /// The bytes, padded with zeros.
    pub(crate) fn bytes(&self) -> [u8; 8] {
        self.bytes
    }
}

/// Says that there is one, and not which.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}
