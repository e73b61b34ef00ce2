//! How much memory a domain has.

use super::{Answer, Caller, element, low};
use crate::errno::Errno;
use crate::memory::{Memory, Mfn};
use crate::system::System;
use xen_abi::DomId;
use xen_abi::memory::{
    MemoryDomain, MemoryReservation, XENMEM_CURRENT_RESERVATION, XENMEM_DECREASE_RESERVATION,
    XENMEM_INCREASE_RESERVATION, XENMEM_MAXIMUM_RESERVATION, XENMEM_POPULATE_PHYSMAP,
};

impl<M: Memory> System<M> {
    pub(super) fn memory_op(&mut self, caller: Caller, [operation, argument, ..]: [u64; 5]) -> Answer {
        let operation = low(operation);
        match operation {
            XENMEM_CURRENT_RESERVATION | XENMEM_MAXIMUM_RESERVATION => {
                let wanted: MemoryDomain = self.space(caller.id).get(argument)?;
                let domain = self.own_or_controlled(caller, wanted.domid)?;
                let domain = self.domains.get(&domain).ok_or(Errno::ESRCH)?;
                Ok(if operation == XENMEM_CURRENT_RESERVATION { domain.pages } else { domain.pages_max })
            }
            XENMEM_INCREASE_RESERVATION | XENMEM_POPULATE_PHYSMAP | XENMEM_DECREASE_RESERVATION => {
                let wanted: MemoryReservation = self.space(caller.id).get(argument)?;
                let domain = self.own_or_controlled(caller, wanted.domid)?;
                // Pages one by one: none of ours is larger.
                if wanted.extent_order != 0 {
                    return Ok(0);
                }
                let mut done = 0;
                // Every extent that is done counts against the pages of the domain, so there is an end.
                while done < wanted.nr_extents {
                    let place = element(wanted.extent_start, done, 8)?;
                    let outcome = match operation {
                        XENMEM_DECREASE_RESERVATION => self.take_page(caller, domain, place),
                        _ => self.give_page(caller, domain, place, operation == XENMEM_POPULATE_PHYSMAP),
                    };
                    match outcome {
                        Ok(()) => done = done.saturating_add(1),
                        Err(Errno::EFAULT) if done == 0 => return Err(Errno::EFAULT),
                        Err(_) => break,
                    }
                }
                Ok(done)
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    /// A domain gets a page, which is the one of its pages that the list says, and the list gets its frame.
    fn give_page(&mut self, caller: Caller, domain: DomId, place: u64, has_number: bool) -> Result<(), Errno> {
        let number: u64 = if has_number { self.space(caller.id).get(place)? } else { u64::MAX };
        let what = self.domains.get_mut(&domain).ok_or(Errno::ESRCH)?;
        if what.pages >= what.pages_max {
            return Err(Errno::ENOMEM);
        }
        let frame = self.frames.allocate(&mut self.memory, domain).ok_or(Errno::ENOMEM)?;
        if let Err(error) = self.space(caller.id).put(place, &frame.0) {
            self.frames.give_back(domain, frame)?;
            return Err(error);
        }
        self.set_physical(frame, number);
        if let Some(what) = self.domains.get_mut(&domain) {
            what.pages = what.pages.saturating_add(1);
        }
        Ok(())
    }

    /// A domain gives a page back that it does not use.
    fn take_page(&mut self, caller: Caller, domain: DomId, place: u64) -> Result<(), Errno> {
        let frame = Mfn(self.space(caller.id).get(place)?);
        self.frames.give_back(domain, frame)?;
        self.set_physical(frame, u64::MAX);
        if let Some(what) = self.domains.get_mut(&domain) {
            what.pages = what.pages.saturating_sub(1);
        }
        Ok(())
    }
}
