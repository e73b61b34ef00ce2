//! How much memory a domain has.

use super::{Answer, Caller, low};
use crate::errno::Errno;
use crate::memory::Memory;
use crate::system::System;
use xen_abi::memory::{
    MemoryDomain, MemoryReservation, XENMEM_CURRENT_RESERVATION, XENMEM_MAXIMUM_RESERVATION, XENMEM_POPULATE_PHYSMAP,
};

impl<M: Memory> System<M> {
    pub(super) fn memory_op(&mut self, caller: Caller, [operation, argument, ..]: [u64; 5]) -> Answer {
        match low(operation) {
            XENMEM_CURRENT_RESERVATION | XENMEM_MAXIMUM_RESERVATION => {
                let wanted: MemoryDomain = self.space(caller.id).get(argument)?;
                let domain = self.own_or_controlled(caller, wanted.domid)?;
                Ok(self.domains.get(&domain).map_or(0, |domain| domain.pages))
            }
            // A domain has all that it may have from the start: none of the extents is populated.
            XENMEM_POPULATE_PHYSMAP => {
                let wanted: MemoryReservation = self.space(caller.id).get(argument)?;
                self.own_or_controlled(caller, wanted.domid).map(|_| 0)
            }
            _ => Err(Errno::ENOSYS),
        }
    }
}
