//! Grant tables: the domain's own, and what others have granted.
//!
//! A page that is mapped counts as long as it is in the page table, whatever becomes of the grant: who takes it out by other
//! means has it no more, and its grant is in use until it is unmapped, or the domain ends. What is mapped for devices, of which
//! there are none, counts by itself.
//!
//! Source: Xen 4.17's `common/grant_table.c` and `arch/x86/pv/grant_table.c`. Not there: version 2, transfers, pages that are
//! no memory.

use super::{Answer, Caller, element, low};
use crate::entry::Entry;
use crate::errno::Errno;
use crate::grant::{Access, CopyPlace, GrantError, Mapping};
use crate::memory::{Memory, Mfn, WORDS};
use crate::system::System;
use alloc::vec::Vec;
use xen_abi::DomId;
use xen_abi::grant::{
    GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GNTMAP_CONTAINS_PTE, GNTMAP_DEVICE_MAP, GNTMAP_GUEST_AVAIL_SHIFT,
    GNTMAP_HOST_MAP, GNTST_OKAY, GNTTABOP_COPY, GNTTABOP_GET_VERSION, GNTTABOP_MAP_GRANT_REF, GNTTABOP_QUERY_SIZE,
    GNTTABOP_SET_VERSION, GNTTABOP_SETUP_TABLE, GNTTABOP_SWAP_GRANT_REF, GNTTABOP_UNMAP_AND_REPLACE,
    GNTTABOP_UNMAP_GRANT_REF, GetVersion, GrantCopy, MapGrantRef, QuerySize, SetVersion, SetupTable, SwapGrantRef,
    UnmapAndReplace, UnmapGrantRef,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The version that there is.
const VERSION: u32 = 1;

/// What a domain finds in `status`.
fn status(result: Result<(), GrantError>) -> i16 {
    result.map_or_else(GrantError::status, |()| GNTST_OKAY)
}

impl<M: Memory> System<M> {
    pub(super) fn grant_table_op(&mut self, caller: Caller, [operation, list, count, ..]: [u64; 5]) -> Answer {
        if count > 1024 {
            return Err(Errno::EINVAL);
        }
        match low(operation) {
            GNTTABOP_MAP_GRANT_REF => self.each(caller, list, count, |system, op: &mut MapGrantRef| {
                op.status = status(system.map_grant(caller, op));
                Ok(())
            }),
            GNTTABOP_UNMAP_GRANT_REF => self.each(caller, list, count, |system, op: &mut UnmapGrantRef| {
                let ends = Ends { host_addr: op.host_addr, dev_bus_addr: op.dev_bus_addr, new_addr: 0 };
                op.status = status(system.unmap_grant(caller, op.handle, ends));
                Ok(())
            }),
            GNTTABOP_UNMAP_AND_REPLACE => self.each(caller, list, count, |system, op: &mut UnmapAndReplace| {
                let ends = Ends { host_addr: op.host_addr, dev_bus_addr: 0, new_addr: op.new_addr };
                op.status = status(system.unmap_grant(caller, op.handle, ends));
                Ok(())
            }),
            GNTTABOP_SETUP_TABLE => self.each(caller, list, count, |system, op: &mut SetupTable| {
                op.status = status(system.setup_table(caller, op)?);
                Ok(())
            }),
            GNTTABOP_COPY => self.each(caller, list, count, |system, op: &mut GrantCopy| {
                op.status = status(system.copy_grant(caller, op));
                Ok(())
            }),
            GNTTABOP_QUERY_SIZE => self.each(caller, list, count, |system, op: &mut QuerySize| {
                let domain = system.own_or_controlled(caller, op.dom)?;
                (op.nr_frames, op.max_nr_frames) = system.grants.size(domain).unwrap_or_default();
                op.status = GNTST_OKAY;
                Ok(())
            }),
            GNTTABOP_SWAP_GRANT_REF => self.each(caller, list, count, |system, op: &mut SwapGrantRef| {
                let domain = caller.id.domain;
                op.status = status(system.grants.swap(&mut system.memory, domain, op.ref_a, op.ref_b));
                Ok(())
            }),
            // These two are not made in lists.
            GNTTABOP_SET_VERSION if count == 1 => {
                let SetVersion { version } = self.space(caller.id).get(list)?;
                self.space(caller.id).put(list, &SetVersion { version: VERSION })?;
                match version {
                    VERSION => Ok(0),
                    // As if the operation were not there.
                    2 => Err(Errno::ENOSYS),
                    _ => Err(Errno::EINVAL),
                }
            }
            GNTTABOP_GET_VERSION if count == 1 => {
                let op: GetVersion = self.space(caller.id).get(list)?;
                self.own_or_controlled(caller, op.dom)?;
                self.space(caller.id).put(list, &GetVersion { version: VERSION, ..op }).map(|()| 0)
            }
            GNTTABOP_SET_VERSION | GNTTABOP_GET_VERSION => Err(Errno::EINVAL),
            _ => Err(Errno::ENOSYS),
        }
    }

    /// Makes each operation of a list: its argument is read once, and written with what became of it.
    fn each<T: FromBytes + IntoBytes + Immutable>(
        &mut self,
        caller: Caller,
        list: u64,
        count: u64,
        mut make: impl FnMut(&mut Self, &mut T) -> Result<(), Errno>,
    ) -> Answer {
        for number in 0..count {
            let place = element(list, number, size_of::<T>())?;
            let mut operation: T = self.space(caller.id).get(place)?;
            make(self, &mut operation)?;
            self.space(caller.id).put(place, &operation)?;
        }
        Ok(0)
    }

    fn setup_table(&mut self, caller: Caller, op: &SetupTable) -> Result<Result<(), GrantError>, Errno> {
        let domain = self.own_or_controlled(caller, op.dom)?;
        let Self { grants, frames, memory, .. } = self;
        let set_up = grants.setup(domain, op.nr_frames, &mut || frames.allocate_shared(memory, domain));
        let found: Vec<Mfn> = match set_up {
            Ok(found) => found.to_vec(),
            Err(error) => return Ok(Err(error)),
        };
        for (number, frame) in (0..u64::from(op.nr_frames)).zip(found) {
            self.space(caller.id).put(element(op.frame_list, number, 8)?, &frame.0)?;
        }
        Ok(Ok(()))
    }

    fn map_grant(&mut self, caller: Caller, op: &mut MapGrantRef) -> Result<(), GrantError> {
        let domain = caller.id.domain;
        let wanted = op.flags & (GNTMAP_HOST_MAP | GNTMAP_DEVICE_MAP);
        if wanted == 0 {
            return Err(GrantError::BadReference);
        }
        if !self.domains.contains_key(&op.dom) {
            return Err(GrantError::BadDomain);
        }
        if !self.grants.can_map(domain) {
            return Err(GrantError::NoSpace);
        }
        let mut mapping = Mapping { owner: op.dom, reference: op.reference, flags: op.flags & !wanted, frame: Mfn(0) };
        let mapped = [GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP]
            .into_iter()
            .filter(|what| wanted & what != 0)
            .try_for_each(|what| self.map_for(caller, what, op.host_addr, &mut mapping));
        let noted = mapped.and_then(|()| self.grants.add_mapping(domain, mapping));
        match noted {
            Ok(handle) => {
                (op.handle, op.dev_bus_addr) = (handle, mapping.frame.address());
                Ok(())
            }
            Err(error) => {
                // For devices comes first, so that alone may be done. There is room, so the other is not undone.
                if mapping.is_for(GNTMAP_DEVICE_MAP) {
                    self.frames.let_go(&mut self.memory, mapping.frame, mapping.access());
                    self.grants.end(&mut self.memory, mapping.owner, mapping.reference, mapping.access());
                }
                Err(error)
            }
        }
    }

    /// Maps for the processors or for devices, and notes that in the mapping, or leaves everything as it was.
    fn map_for(&mut self, caller: Caller, what: u32, address: u64, mapping: &mut Mapping) -> Result<(), GrantError> {
        let Mapping { owner, reference, .. } = *mapping;
        let access = mapping.access();
        let frame = self.grants.begin(&mut self.memory, owner, reference, caller.id.domain, access)?;
        let result = if self.frames.owner(frame) != Some(owner) {
            Err(GrantError::BadPage)
        } else if what == GNTMAP_DEVICE_MAP {
            self.frames.hold(&mut self.memory, owner, frame, access).map_err(|_| GrantError::General)
        } else {
            self.enter_grant(caller, address, owner, frame, mapping)
        };
        match result {
            Ok(()) => (mapping.flags, mapping.frame) = (mapping.flags | what, frame),
            Err(_) => self.grants.end(&mut self.memory, owner, reference, access),
        }
        result
    }

    /// Puts a granted page into the caller's page table.
    fn enter_grant(
        &mut self,
        caller: Caller,
        address: u64,
        owner: DomId,
        frame: Mfn,
        mapping: &Mapping,
    ) -> Result<(), GrantError> {
        let domain = caller.id.domain;
        let place = self.mapped_at(caller, mapping.flags, address)?;
        let available =
            u64::from(mapping.flags >> GNTMAP_GUEST_AVAIL_SHIFT) << Entry::AVAILABLE_SHIFT & Entry::AVAILABLE;
        let bits = bits(mapping.access()) | Entry::ACCESSED | Entry::DIRTY | Entry::NO_EXECUTE | available;
        self.frames.page_entry(&self.memory, domain, place).map_err(|_| GrantError::General)?;
        self.reload = true;
        let entry = Entry::new(frame, bits);
        self.frames.update(&mut self.memory, domain, owner, place, entry.0, false).map_err(|_| GrantError::General)
    }

    /// The place in a page table that an address means: its own, or that of what it maps.
    fn mapped_at(&mut self, caller: Caller, flags: u32, address: u64) -> Result<(Mfn, usize), GrantError> {
        if flags & GNTMAP_CONTAINS_PTE == 0 {
            return self.space(caller.id).lowest(address).map_err(|_| GrantError::General);
        }
        let index = usize::try_from(address / 8).unwrap_or(0) % WORDS;
        if address.is_multiple_of(8) { Ok((Mfn::of(address), index)) } else { Err(GrantError::General) }
    }

    fn unmap_grant(&mut self, caller: Caller, handle: u32, ends: Ends) -> Result<(), GrantError> {
        let domain = caller.id.domain;
        let mapping = self.grants.mapping(domain, handle)?;
        let ends_device = ends.dev_bus_addr != 0 && mapping.is_for(GNTMAP_DEVICE_MAP);
        if ends_device && ends.dev_bus_addr != mapping.frame.address() {
            return Err(GrantError::BadDeviceAddress);
        }
        if ends.host_addr != 0 && mapping.is_for(GNTMAP_HOST_MAP) {
            self.leave_grant(caller, &mapping, ends)?;
            self.grants.end_mapping(&mut self.memory, domain, handle, GNTMAP_HOST_MAP);
        }
        if ends_device {
            self.frames.let_go(&mut self.memory, mapping.frame, mapping.access());
            self.grants.end_mapping(&mut self.memory, domain, handle, GNTMAP_DEVICE_MAP);
        }
        Ok(())
    }

    /// Takes a granted page out of the caller's page table, where it has to be as it was put there.
    fn leave_grant(&mut self, caller: Caller, mapping: &Mapping, ends: Ends) -> Result<(), GrantError> {
        const COMPARED: u64 = Entry::PRESENT | Entry::WRITABLE;
        let domain = caller.id.domain;
        let general = |_: Errno| GrantError::General;
        let place = self.mapped_at(caller, mapping.flags, ends.host_addr)?;
        let entry = self.frames.page_entry(&self.memory, domain, place).map_err(general)?;
        if entry.frame() != mapping.frame || (entry.0 ^ bits(mapping.access())) & COMPARED != 0 {
            return Err(GrantError::General);
        }
        self.reload = true;
        if ends.new_addr == 0 {
            return self.frames.update(&mut self.memory, domain, domain, place, 0, false).map_err(general);
        }
        if mapping.flags & GNTMAP_CONTAINS_PTE != 0 {
            return Err(GrantError::General);
        }
        let from = self.space(caller.id).lowest(ends.new_addr).map_err(general)?;
        self.frames.move_page(&mut self.memory, domain, from, place).map_err(general)
    }

    fn copy_grant(&mut self, caller: Caller, op: &GrantCopy) -> Result<(), GrantError> {
        let domain = caller.id.domain;
        let source = CopyPlace::decode(&op.source, op.flags & GNTCOPY_SOURCE_GREF != 0, domain)?;
        let destination = CopyPlace::decode(&op.dest, op.flags & GNTCOPY_DEST_GREF != 0, domain)?;
        let Self { grants, frames, memory, .. } = self;
        let resolve = |owner, frame, access| {
            if frames.owner(frame) != Some(owner) {
                return Err(GrantError::BadPage);
            }
            let is_good = access == Access::Read || frames.can_be_written(frame);
            is_good.then_some(frame).ok_or(GrantError::General)
        };
        grants.copy(memory, domain, source, destination, op.len, &resolve)
    }

    /// A domain goes: it uses nothing more of others' grants, and has none. Its page tables go by themselves.
    pub fn end_grants(&mut self, domain: DomId) {
        let Self { grants, frames, memory, .. } = self;
        for mapping in grants.take_mappings(domain) {
            for what in [GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP].into_iter().filter(|what| mapping.is_for(*what)) {
                if what == GNTMAP_DEVICE_MAP {
                    frames.let_go(memory, mapping.frame, mapping.access());
                }
                grants.end(memory, mapping.owner, mapping.reference, mapping.access());
            }
        }
        for frame in grants.remove_domain(domain) {
            // The hypervisor's own use.
            frames.let_go(memory, frame, Access::Write);
        }
    }
}

/// What a mapping is to end at.
#[derive(Clone, Copy, Debug)]
struct Ends {
    host_addr: u64,
    dev_bus_addr: u64,
    /// What is mapped there takes its place.
    new_addr: u64,
}

/// What an entry for a granted page has to have.
const fn bits(access: Access) -> u64 {
    match access {
        Access::Read => Entry::PRESENT,
        Access::Write => Entry::PRESENT | Entry::WRITABLE,
    }
}
