//! What the host is doing for a drive.
//!
//! A command can be cut off, by a reset or by the bus master being stopped, but the host's operation cannot. Its end is
//! then awaited and its result discarded; a command that needs the host meanwhile waits, so that nobody touches the
//! transfer buffer while the host uses it.

use serde::{Deserialize, Serialize};

/// The host's part in a command. A drive has one operation at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Operation {
    #[default]
    None,
    /// The command waits for it.
    Running,
    /// Nobody waits for it any more.
    Abandoned,
}

impl Operation {
    /// The command is cut off.
    pub(crate) fn abandon(&mut self) {
        if *self == Self::Running {
            *self = Self::Abandoned;
        }
    }
}
