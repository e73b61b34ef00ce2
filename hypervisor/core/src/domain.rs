//! A domain's life: made without memory and processors, given both, paused and let run, shut down, and taken apart.
//!
//! Source: Xen `xen/common/domain.c` for what a toolstack sees of it.
//! Not modelled: floating point of a vCPU whose state is set: it is as after FNINIT.

use crate::descriptor::PAGES_MAX;
use crate::errno::Errno;
use crate::memory::{Memory, Mfn};
use crate::system::System;
use crate::vcpu::{Bases, Registers, State, VECTORS, Vcpu, VcpuId, sane_flags};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use xen_abi::DomId;
use xen_abi::mmu::{FLAT_KERNEL_CS, FLAT_KERNEL_SS};
use xen_abi::vcpu::{GuestContext, VGCF_IN_KERNEL, VGCF_ONLINE, VGCF_SYSCALL_DISABLES_EVENTS};

/// Pages of a grant table, Xen's default.
const GRANT_FRAMES: u32 = 64;
/// Processors of a domain: as many as the shared page tells of.
pub const VCPUS_MAX: u32 = 32;
/// How often a domain can be paused at once.
const PAUSES_MAX: u32 = 1 << 16;

/// A domain.
#[derive(Clone, Debug)]
pub struct Domain {
    /// It may do what the control domain does.
    pub is_privileged: bool,
    /// What the toolstack knows it by.
    pub handle: [u8; 16],
    /// Its processors that have a state, by number.
    pub vcpus: BTreeMap<u32, Vcpu>,
    /// How many it may have.
    pub vcpus_max: u32,
    /// The page that it shares with the hypervisor.
    pub shared_info: Mfn,
    /// Pages that it has, and that it may have.
    pub pages: u64,
    /// See `pages`.
    pub pages_max: u64,
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
    pub fn create(&mut self, domain: DomId, handle: [u8; 16], vcpus_max: u32) -> Result<Mfn, Errno> {
        if self.domains.contains_key(&domain) || self.frames.owns_any(domain) || self.grants.is_in_use(domain) {
            return Err(Errno::EEXIST);
        }
        if domain.0 >= DomId::FIRST_RESERVED.0 || vcpus_max == 0 || vcpus_max > VCPUS_MAX {
            return Err(Errno::EINVAL);
        }
        let shared_info = self.frames.allocate_shared(&mut self.memory, domain).ok_or(Errno::ENOMEM)?;
        self.events.add_domain(domain, shared_info, vcpus_max);
        self.grants.add_domain(domain, GRANT_FRAMES);
        self.tell_wall_clock(shared_info);
        self.domains.insert(
            domain,
            Domain {
                is_privileged: false,
                handle,
                vcpus: BTreeMap::new(),
                vcpus_max,
                shared_info,
                pages: 0,
                pages_max: 0,
                pauses: 1,
                shutdown: None,
            },
        );
        Ok(shared_info)
    }

    /// A number that no domain has, and that no frame remembers.
    pub fn free_number(&self) -> Option<DomId> {
        let numbers = (1..DomId::FIRST_RESERVED.0).map(DomId);
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
    pub fn set_context(&mut self, id: VcpuId, context: &GuestContext, now: u64) -> Result<(), Errno> {
        let domain = self.domains.get(&id.domain).ok_or(Errno::ESRCH)?;
        if id.number >= domain.vcpus_max || domain.pauses == 0 {
            return Err(Errno::EINVAL);
        }
        let mut vcpu = vcpu(context, now)?;
        let [_, user, _, top, ..] = context.ctrlreg;
        let count = usize::try_from(context.gdt_ents).unwrap_or(usize::MAX).div_ceil(crate::memory::WORDS);
        let frames = context.gdt_frames.get(..count).filter(|frames| frames.len() <= PAGES_MAX).ok_or(Errno::EINVAL)?;
        vcpu.top = Mfn::of(top);
        self.frames.load_top(&mut self.memory, id.domain, vcpu.top)?;
        let mut outcome = Ok(());
        if user != 0 {
            outcome = self.frames.load_top(&mut self.memory, id.domain, Mfn::of(user));
            vcpu.user_top = outcome.is_ok().then_some(Mfn::of(user));
        }
        for frame in frames {
            outcome = outcome.and_then(|()| self.frames.load_descriptors(&mut self.memory, id.domain, Mfn(*frame)));
            if outcome.is_ok() {
                vcpu.segments.push(Mfn(*frame));
            }
        }
        if outcome.is_err() {
            self.unload(&vcpu);
            return outcome;
        }
        let vcpus = self.domains.get_mut(&id.domain).map(|domain| &mut domain.vcpus);
        if let Some(before) = vcpus.and_then(|vcpus| vcpus.insert(id.number, vcpu)) {
            self.unload(&before);
        }
        self.set_masked(id, true);
        Ok(())
    }

    /// A vCPU uses its tables no more.
    fn unload(&mut self, vcpu: &Vcpu) {
        for table in [Some(vcpu.top), vcpu.user_top].into_iter().flatten() {
            self.frames.unload_top(&mut self.memory, table);
        }
        for frame in &vcpu.segments {
            self.frames.unload_descriptors(&mut self.memory, *frame);
        }
    }

    /// Takes a domain apart. Frames that others still use become free when they do not.
    pub fn destroy(&mut self, domain: DomId) -> Result<(), Errno> {
        let gone = self.domains.remove(&domain).ok_or(Errno::ESRCH)?;
        gone.vcpus.values().for_each(|vcpu| self.unload(vcpu));
        self.events.remove_domain(domain);
        for frame in self.grants.remove_domain(domain) {
            self.frames.give_up_shared(&mut self.memory, frame);
        }
        self.frames.give_up_shared(&mut self.memory, gone.shared_info);
        self.frames.release(&mut self.memory, domain);
        self.has_ended = true;
        Ok(())
    }

    fn queue_all(&mut self, domain: DomId, now: u64) {
        let Some(what) = self.domains.get(&domain).filter(|domain| domain.is_running()) else { return };
        let ready: Vec<u32> =
            what.vcpus.iter().filter(|(_, vcpu)| vcpu.state == State::Ready).map(|(number, _)| *number).collect();
        ready.into_iter().for_each(|number| self.make_ready(VcpuId { domain, number }, now));
    }
}

/// What a context says of a vCPU, but for its tables.
fn vcpu(context: &GuestContext, now: u64) -> Result<Vcpu, Errno> {
    let GuestContext { user_regs: from, flags, .. } = context;
    let registers = Registers {
        r15: from.r15,
        r14: from.r14,
        r13: from.r13,
        r12: from.r12,
        rbp: from.rbp,
        rbx: from.rbx,
        r11: from.r11,
        r10: from.r10,
        r9: from.r9,
        r8: from.r8,
        rax: from.rax,
        rcx: from.rcx,
        rdx: from.rdx,
        rsi: from.rsi,
        rdi: from.rdi,
        rip: from.rip,
        cs: FLAT_KERNEL_CS.into(),
        ss: FLAT_KERNEL_SS.into(),
        rflags: sane_flags(from.rflags),
        rsp: from.rsp,
        ..Registers::default()
    };
    let bases = Bases { fs: context.fs_base, gs_user: context.gs_base_user, gs_kernel: context.gs_base_kernel };
    let addresses = [from.rip, bases.fs, bases.gs_user, bases.gs_kernel];
    if addresses.into_iter().any(|address| !matches!(address >> 47, 0 | 0x1_ffff)) {
        return Err(Errno::EINVAL);
    }
    let mut vcpu = Vcpu::new(registers, Mfn::default(), now);
    vcpu.in_user = flags & VGCF_IN_KERNEL == 0;
    vcpu.bases = bases;
    vcpu.kernel_stack = context.kernel_sp;
    vcpu.traps = context.trap_ctxt.iter().take(VECTORS).filter(|trap| trap.address != 0).copied().collect();
    vcpu.event_callback = context.event_callback_eip;
    vcpu.failsafe_callback = context.failsafe_callback_eip;
    vcpu.syscall_callback = (context.syscall_callback_eip, flags & VGCF_SYSCALL_DISABLES_EVENTS != 0);
    vcpu.state = if flags & VGCF_ONLINE == 0 { State::Offline } else { State::Ready };
    Ok(vcpu)
}

#[cfg(test)]
mod tests;
