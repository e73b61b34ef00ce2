//! A domain's life: made without memory and processors, given both, paused and let run, shut down, and taken apart.
//!
//! Source: Xen `xen/common/domain.c` for what a toolstack sees of it.

use crate::errno::Errno;
use crate::event::MAX_VCPUS;
use crate::grant::Access;
use crate::memory::{Memory, Mfn};
use crate::system::System;
use crate::vcpu::{State, Vcpu, VcpuId};
use alloc::vec::Vec;
use xen_abi::DomId;
use xen_abi::vcpu::{VGCF_ONLINE, VcpuGuestContext};

/// Pages of a grant table, Xen's default.
const GRANT_FRAMES: u32 = 64;
/// How often a domain can be paused at once.
const PAUSES_MAX: u32 = 1 << 16;

/// A domain.
#[derive(Clone, Debug)]
pub struct Domain {
    /// It may do what the control domain does.
    pub is_privileged: bool,
    /// What the toolstack knows it by.
    pub handle: [u8; 16],
    /// Its processors, whether they have a state or not.
    pub vcpus: Vec<Vcpu>,
    /// The page that it shares with the hypervisor.
    pub shared_info: Mfn,
    /// Pages that it has, and that it may have.
    pub pages: u64,
    /// See `pages`.
    pub pages_max: u64,
    /// What of the interface it has asked for: a bit for each `VMASST_TYPE_*`.
    pub assists: u64,
    /// Who wants that it does not run.
    pub pauses: u32,
    /// Why it has ended.
    pub shutdown: Option<u32>,
}

impl Domain {
    /// Whether its processors may run.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.pauses == 0 && self.shutdown.is_none()
    }
}

impl<M: Memory> System<M> {
    /// Makes a domain, which is paused, and gives the page that it shares with the hypervisor.
    pub fn create(&mut self, domain: DomId, handle: [u8; 16], vcpus: u32, now: u64) -> Result<Mfn, Errno> {
        if self.domains.contains_key(&domain) || self.frames.owns_any(domain) || self.grants.is_in_use(domain) {
            return Err(Errno::EEXIST);
        }
        if domain.0 >= DomId::FIRST_RESERVED.0 || vcpus == 0 || vcpus > MAX_VCPUS {
            return Err(Errno::EINVAL);
        }
        let shared_info = self.frames.allocate_shared(&mut self.memory, domain).ok_or(Errno::ENOMEM)?;
        self.events.add_domain(domain, shared_info, vcpus);
        self.grants.add_domain(domain, GRANT_FRAMES);
        self.tell_wall_clock(shared_info);
        self.last_domain = domain;
        self.domains.insert(
            domain,
            Domain {
                is_privileged: false,
                handle,
                vcpus: (0..vcpus).map(|_| Vcpu::absent(now)).collect(),
                shared_info,
                pages: 0,
                pages_max: 0,
                assists: 0,
                pauses: 1,
                shutdown: None,
            },
        );
        (0..vcpus).for_each(|number| self.set_masked(VcpuId { domain, number }, true));
        Ok(shared_info)
    }

    /// A number that no domain has, and that no frame remembers: the one after the last, so that each is used as late as can be.
    #[must_use]
    pub fn free_number(&self) -> Option<DomId> {
        let last = self.last_domain.0;
        let numbers = (last.saturating_add(1)..DomId::FIRST_RESERVED.0).chain(1..=last).map(DomId);
        let free = |domain: &DomId| !self.domains.contains_key(domain) && !self.grants.is_in_use(*domain);
        numbers.filter(free).find(|domain| !self.frames.owns_any(*domain))
    }

    /// It does not run until that is taken back.
    pub fn pause(&mut self, domain: DomId) -> Result<(), Errno> {
        let domain = self.domains.get_mut(&domain).ok_or(Errno::ESRCH)?;
        if domain.pauses >= PAUSES_MAX {
            return Err(Errno::EBUSY);
        }
        domain.pauses = domain.pauses.saturating_add(1);
        Ok(())
    }

    /// Takes that back once.
    pub fn unpause(&mut self, domain: DomId, now: u64) {
        if let Some(what) = self.domains.get_mut(&domain) {
            what.pauses = what.pauses.saturating_sub(1);
            self.queue_all(domain, now);
        }
    }

    /// A domain that has shut down, for instance to be saved, goes on.
    pub fn resume(&mut self, domain: DomId, now: u64) -> Result<(), Errno> {
        self.domains.get_mut(&domain).ok_or(Errno::ESRCH)?.shutdown = None;
        self.queue_all(domain, now);
        Ok(())
    }

    /// A domain ends; what it has stays until it is taken apart.
    pub fn shut_down(&mut self, domain: DomId, reason: u32) {
        let Some(domain) = self.domains.get_mut(&domain) else { return };
        if domain.shutdown.is_none() {
            domain.shutdown = Some(reason);
            self.has_ended = true;
        }
    }

    /// Gives a vCPU a state, if the domain does not run.
    pub fn set_context(&mut self, id: VcpuId, context: &VcpuGuestContext, now: u64) -> Result<(), Errno> {
        let is_paused = self.domains.get(&id.domain).ok_or(Errno::ESRCH)?.pauses > 0;
        let vcpu = self.vcpu_mut(id).filter(|_| is_paused).ok_or(Errno::EINVAL)?;
        let before = core::mem::replace(vcpu, Vcpu::absent(now));
        if let Err(error) = self.begin_vcpu(id, context, now) {
            if let Some(vcpu) = self.vcpu_mut(id) {
                *vcpu = before;
            }
            return Err(error);
        }
        self.unload(&before);
        self.set_masked(id, true);
        if context.flags & VGCF_ONLINE != 0 {
            self.bring_up(id, now)?;
        }
        Ok(())
    }

    /// A vCPU uses its tables no more.
    fn unload(&mut self, vcpu: &Vcpu) {
        if !vcpu.is_initialised {
            return;
        }
        for table in [Some(vcpu.top), vcpu.user_top].into_iter().flatten() {
            self.frames.unload_top(&mut self.memory, table);
        }
        for frame in vcpu.segments.iter().chain(vcpu.local_table.pages().iter().flatten()) {
            self.frames.unload_descriptors(&mut self.memory, *frame);
        }
    }

    /// Takes a domain apart. Frames that others still use become free when they do not.
    pub fn destroy(&mut self, domain: DomId) -> Result<(), Errno> {
        let gone = self.domains.remove(&domain).ok_or(Errno::ESRCH)?;
        gone.vcpus.iter().for_each(|vcpu| self.unload(vcpu));
        self.end_fifo(domain);
        for frame in self.events.moved_infos(domain) {
            self.frames.let_go(&mut self.memory, frame, Access::Write);
        }
        self.events.remove_domain(domain);
        self.end_grants(domain);
        self.frames.let_go(&mut self.memory, gone.shared_info, Access::Write);
        self.frames.release(&mut self.memory, domain);
        self.has_ended = true;
        Ok(())
    }

    fn queue_all(&mut self, domain: DomId, now: u64) {
        let Some(what) = self.domains.get(&domain).filter(|domain| domain.is_running()) else { return };
        let ready = (0..).zip(&what.vcpus).filter(|(_, vcpu)| vcpu.state == State::Ready);
        let ready: Vec<u32> = ready.map(|(number, _)| number).collect();
        ready.into_iter().for_each(|number| self.make_ready(VcpuId { domain, number }, now));
    }
}

#[cfg(test)]
mod tests;
