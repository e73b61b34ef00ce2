//! What a domain has mapped of others' grants: a handle for each mapping.
//!
//! A mapping is of the page's use by the domain's processors, by devices, or by both, and ends for each on its own. It says what
//! the entry was used as when it began; what the domain has in its page tables by now is checked when it ends.

use crate::Mfn;
use alloc::vec::Vec;
use xen_abi::grant::{GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP, GNTMAP_READONLY};
use xen_abi::{DomId, GrantRef};

use super::Access;

/// Mappings that a domain can have.
pub const MAPPINGS_MAX: usize = 8192;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Who has granted it.
    pub owner: DomId,
    /// By which entry.
    pub reference: GrantRef,
    /// `GNTMAP_*`: how it was asked for, less what has ended.
    pub flags: u32,
    /// The frame.
    pub frame: Mfn,
}

impl Mapping {
    /// What is done with the page.
    #[must_use]
    pub const fn access(&self) -> Access {
        if self.flags & GNTMAP_READONLY == 0 { Access::Write } else { Access::Read }
    }

    /// Whether it is for this: `GNTMAP_DEVICE_MAP` or `GNTMAP_HOST_MAP`.
    #[must_use]
    pub const fn is_for(&self, what: u32) -> bool {
        self.flags & what != 0
    }
}

/// All of a domain's.
#[derive(Clone, Debug, Default)]
pub(super) struct Mappings {
    by_handle: Vec<Option<Mapping>>,
}

impl Mappings {
    /// Whether there can be one more.
    pub(super) fn has_room(&self) -> bool {
        self.by_handle.len() < MAPPINGS_MAX || self.by_handle.iter().any(Option::is_none)
    }

    /// Notes one, by the lowest handle that is free.
    pub(super) fn add(&mut self, mapping: Mapping) -> Option<u32> {
        let number = match self.by_handle.iter().position(Option::is_none) {
            Some(number) => number,
            None if self.by_handle.len() < MAPPINGS_MAX => {
                self.by_handle.try_reserve(1).ok()?;
                self.by_handle.push(None);
                self.by_handle.len().checked_sub(1)?
            }
            None => return None,
        };
        *self.by_handle.get_mut(number)? = Some(mapping);
        u32::try_from(number).ok()
    }

    pub(super) fn get(&self, handle: u32) -> Option<Mapping> {
        self.by_handle.get(handle as usize).copied().flatten()
    }

    /// Ends it for the processors or for devices, and forgets it with the last of them.
    pub(super) fn end(&mut self, handle: u32, what: u32) {
        let Some(slot) = self.by_handle.get_mut(handle as usize) else { return };
        if let Some(mapping) = slot {
            mapping.flags &= !what;
            if mapping.flags & (GNTMAP_DEVICE_MAP | GNTMAP_HOST_MAP) == 0 {
                *slot = None;
            }
        }
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = Mapping> {
        self.by_handle.into_iter().flatten()
    }
}
