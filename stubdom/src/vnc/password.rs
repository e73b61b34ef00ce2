//! The password that viewers need.

use alloc::format;
use alloc::string::String;
use core::fmt;

use minios::xenstore::{Xenstore, XenstoreError};

use crate::config::{CommandLine, Vnc};

/// Why there is no server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPassword {
    /// Nobody has said one, nor that there is to be none.
    Unsaid,
    /// The store does not answer.
    Store(XenstoreError),
}

impl fmt::Display for NoPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsaid => f.write_str(
                "VNC without a password lets everybody in: say vncpasswd= in xl.cfg or on the command line (stubdomain_cmdline= or extra=), or password=off if that is meant",
            ),
            Self::Store(error) => error.fmt(f),
        }
    }
}

/// The password that viewers need; `None` lets everybody in, which somebody has to want. `vm` is where the toolstack has
/// written down what it was told of the guest.
///
/// # Errors
/// There is none, and nobody wants that.
pub async fn password(
    store: &Xenstore,
    line: &CommandLine,
    vnc: &Vnc,
    vm: Option<&str>,
) -> Result<Option<rfb::Password>, NoPassword> {
    if vnc.password == Some(false) {
        return Ok(None);
    }
    let mut text = line.vnc_password.clone();
    if text.is_none()
        && let Some(backend) = readable(store, "device/vfb/0/backend").await?
    {
        text = readable(store, &format!("{backend}/vncpasswd")).await?;
    }
    if text.is_none()
        && let Some(vm) = vm
    {
        text = readable(store, &format!("{vm}/vncpasswd")).await?;
    }
    let password = text.and_then(|text| rfb::Password::new(text.as_bytes()));
    password.map(Some).ok_or(NoPassword::Unsaid)
}

/// A value that may not be there, or not be ours to read.
async fn readable(store: &Xenstore, path: &str) -> Result<Option<String>, NoPassword> {
    match store.read_optional(path).await {
        Err(error) if error.is_forbidden() => Ok(None),
        value => value.map_err(NoPassword::Store),
    }
}
