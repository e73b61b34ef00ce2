//! Why a request fails.

use core::fmt;

use xen_abi::io::xs_wire::XSD_ERRORS;

/// An error that the protocol has a name for, in the order of [`XSD_ERRORS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// The request or a value in it is malformed.
    EINVAL,
    /// The permissions do not allow it.
    EACCES,
    /// There is such a watch already.
    EEXIST,
    /// Not used; only in the protocol.
    EISDIR,
    /// There is no such node, watch, transaction or domain.
    ENOENT,
    /// Memory is short, or the domain has used up its share.
    ENOMEM,
    /// A quota is exhausted.
    ENOSPC,
    /// The domain cannot be reached.
    EIO,
    /// Not used; only in the protocol.
    ENOTEMPTY,
    /// There is no such request.
    ENOSYS,
    /// Not used; only in the protocol.
    EROFS,
    /// A transaction inside of a transaction.
    EBUSY,
    /// Somebody else changed what the transaction saw.
    EAGAIN,
    /// Not used; only in the protocol.
    EISCONN,
    /// The answer is longer than an answer may be, or there are too many watches.
    E2BIG,
    /// Only domain 0 may give a node to another owner.
    EPERM,
}

impl Errno {
    /// The name that goes over the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        // There are as many names as variants.
        XSD_ERRORS.get(self as usize).copied().unwrap_or("EINVAL")
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod unit {
    use super::*;
    use std::format;

    #[test]
    fn names_are_those_of_the_variants() {
        for error in [Errno::EINVAL, Errno::ENOMEM, Errno::ENOSYS, Errno::EAGAIN, Errno::E2BIG, Errno::EPERM] {
            assert_eq!(error.name(), format!("{error:?}"));
        }
        assert_eq!(Errno::EPERM as usize + 1, XSD_ERRORS.len());
    }
}
