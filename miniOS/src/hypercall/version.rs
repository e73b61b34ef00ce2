//! Which Xen this is.
// UNSAFETY: one hypercall, whose argument types are vouched for here.
#![expect(unsafe_code)]

use super::XenError;
use crate::arch::{Arguments, hypercall};
use xen_abi::Hypercall;
use xen_abi::version::{self as abi, ExtraVersion};

/// Xen's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The 4 of 4.17.
    pub major: u16,
    /// The 17 of 4.17.
    pub minor: u16,
    extra: [u8; 16],
}

impl Version {
    /// What follows the two numbers, such as `.5`.
    #[must_use]
    pub fn extra(&self) -> &str {
        let text = self.extra.split(|&byte| byte == 0).next().unwrap_or(&[]);
        core::str::from_utf8(text).unwrap_or("")
    }
}

impl core::fmt::Display for Version {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{}{}", self.major, self.minor, self.extra())
    }
}

/// Asks for Xen's version.
pub fn version() -> Result<Version, XenError> {
    // SAFETY: the operation takes no argument.
    let numbers = unsafe { hypercall(Hypercall::XenVersion, Arguments(abi::XENVER_VERSION as usize, 0, 0, 0, 0)) };
    let numbers = XenError::check(numbers)?;
    let mut extra = ExtraVersion { text: [0; 16] };
    let address = core::ptr::from_mut(&mut extra).expose_provenance();
    // SAFETY: the argument has the operation's layout and is ours alone.
    XenError::check(unsafe {
        hypercall(Hypercall::XenVersion, Arguments(abi::XENVER_EXTRAVERSION as usize, address, 0, 0, 0))
    })?;
    let half = |number: usize| u16::try_from(number & 0xffff).map_err(|_| XenError::ERANGE);
    Ok(Version { major: half(numbers >> 16)?, minor: half(numbers)?, extra: extra.text })
}
