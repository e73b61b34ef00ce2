//! Hypercalls as typed functions, a module per family, and the error that they share.
//!
//! Three layers: the instruction (`arch`), one function for each operation (here), and handles that own what an
//! operation made (`event`, `grant`, `foreign`, `ioreq`).

pub mod console_io;
pub mod dm;
pub mod domctl;
pub mod event;
pub mod grant;
pub mod hvm;
pub mod memory;
pub mod mmu;
pub mod physdev;
pub mod sched;
pub mod vcpu;
pub mod version;

use core::num::NonZeroI32;
use xen_abi::errno;

/// Xen refused, with an error number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct XenError(NonZeroI32);

impl XenError {
    /// EINVAL, also for numbers that Xen has no name for.
    pub const EINVAL: Self = Self::new(errno::EINVAL);
    /// ENOSYS: no such operation, or not running on Xen at all.
    pub const ENOSYS: Self = Self::new(errno::ENOSYS);
    /// ENOENT.
    pub const ENOENT: Self = Self::new(errno::ENOENT);
    /// ENOMEM.
    pub const ENOMEM: Self = Self::new(errno::ENOMEM);
    /// EPERM.
    pub const EPERM: Self = Self::new(errno::EPERM);
    /// ENOSPC.
    pub const ENOSPC: Self = Self::new(errno::ENOSPC);
    /// EFAULT.
    pub const EFAULT: Self = Self::new(errno::EFAULT);
    /// ERANGE.
    pub const ERANGE: Self = Self::new(errno::ERANGE);

    /// The error with a positive number of `xen_abi::errno`; 0 becomes EINVAL.
    #[must_use]
    pub const fn new(number: i32) -> Self {
        match NonZeroI32::new(number) {
            Some(number) => Self(number),
            None => Self(NonZeroI32::new(errno::EINVAL).expect("EINVAL is not zero")),
        }
    }

    /// The number, positive.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0.get()
    }

    /// What a hypercall returned: an error when negative.
    pub(crate) fn check(raw: isize) -> Result<usize, Self> {
        match usize::try_from(raw) {
            Ok(value) => Ok(value),
            Err(_) => Err(Self::new(i32::try_from(raw.unsigned_abs()).unwrap_or(errno::EINVAL))),
        }
    }
}

impl core::fmt::Display for XenError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match errno::name(self.number()) {
            Some(name) => f.write_str(name),
            None => write!(f, "error {}", self.number()),
        }
    }
}

impl core::fmt::Debug for XenError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for XenError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn negative_results_are_errors_by_name() {
        assert_eq!(XenError::check(7), Ok(7));
        assert_eq!(XenError::check(-2), Err(XenError::ENOENT));
        assert_eq!(XenError::ENOENT.to_string(), "ENOENT");
        assert_eq!(XenError::new(200).to_string(), "error 200");
    }
}
