//! Newtypes for the numbers that name domains, event channels and grants.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `domid_t`: a domain.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct DomId(pub u16);

impl DomId {
    /// `DOMID_SELF`: the caller.
    pub const SELF: Self = Self(0x7ff0);
    /// `DOMID_IO`: owner of I/O memory.
    pub const IO: Self = Self(0x7ff1);
    /// `DOMID_XEN`: owner of Xen's own pages.
    pub const XEN: Self = Self(0x7ff2);
    /// `DOMID_INVALID`: nobody.
    pub const INVALID: Self = Self(0x7ff4);
    /// `DOMID_FIRST_RESERVED`: from here on numbers have special meanings.
    pub const FIRST_RESERVED: Self = Self(0x7ff0);
}

impl core::fmt::Display for DomId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "d{}", self.0)
    }
}

/// `evtchn_port_t`: an event channel of one domain. 0 is never valid.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Port(pub u32);

impl core::fmt::Display for Port {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

/// `grant_ref_t`: an entry of one domain's grant table.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct GrantRef(pub u32);

impl core::fmt::Display for GrantRef {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}
