//! Errors of hypercalls.

use xen_abi::errno;

/// Why a call fails, as a positive number of `public/errno.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// Not permitted.
    pub const EPERM: Self = Self(errno::EPERM);
    /// There is no such domain.
    pub const ESRCH: Self = Self(errno::ESRCH);
    /// There is no such thing.
    pub const ENOENT: Self = Self(errno::ENOENT);
    /// There is not enough memory.
    pub const ENOMEM: Self = Self(errno::ENOMEM);
    /// Not with this version of the interface.
    pub const EACCES: Self = Self(errno::EACCES);
    /// An address that nothing is mapped at.
    pub const EFAULT: Self = Self(errno::EFAULT);
    /// It is in use.
    pub const EBUSY: Self = Self(errno::EBUSY);
    /// It is there already.
    pub const EEXIST: Self = Self(errno::EEXIST);
    /// An argument that means nothing.
    pub const EINVAL: Self = Self(errno::EINVAL);
    /// No room left.
    pub const ENOSPC: Self = Self(errno::ENOSPC);
    /// There is no such thing on this machine.
    pub const ENODEV: Self = Self(errno::ENODEV);
    /// Not now, or not this way.
    pub const EOPNOTSUPP: Self = Self(errno::EOPNOTSUPP);
    /// There is nothing of it.
    pub const ENODATA: Self = Self(errno::ENODATA);
    /// There is no such call.
    pub const ENOSYS: Self = Self(errno::ENOSYS);

    /// What a domain finds in its result register.
    #[must_use]
    pub fn result(self) -> i64 {
        i64::from(self.0).saturating_neg()
    }
}
