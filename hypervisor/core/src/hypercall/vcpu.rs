//! vCPUs of a domain beside the one that it begins with: what they begin with, and whether they run.
//!
//! Source: Xen 4.17's `arch_set_info_guest` and `common_vcpu_op`. Not modelled: floating point that a vCPU begins with.

use super::{Answer, Caller};
use crate::debug::DebugRegisters;
use crate::descriptor::ENTRIES_MAX;
use crate::errno::Errno;
use crate::memory::{Memory, Mfn};
use crate::segment::LOCAL_MAX;
use crate::system::System;
use crate::vcpu::{Bases, Registers, State, Vcpu, VcpuId, sane_flags};
use crate::walk::{is_canonical, is_domains};
use alloc::vec::Vec;
use xen_abi::PAGE_SHIFT;
use xen_abi::sched::SHUTDOWN_POWEROFF;
use xen_abi::vcpu::{CpuUserRegs, VGCF_IN_KERNEL, VGCF_SYSCALL_DISABLES_EVENTS, VcpuGuestContext};

/// CR4: debug extensions, and instructions for where FS and GS begin.
const DEBUG_EXTENSIONS: u64 = 1 << 3;
const BASE_INSTRUCTIONS: u64 = 1 << 16;
/// Descriptors of a page.
const DESCRIPTORS: u64 = 512;

impl<M: Memory> System<M> {
    /// VCPUOP_initialise: a vCPU has never run, and begins so when it is brought up.
    pub(super) fn initialise(&mut self, caller: Caller, id: VcpuId, argument: u64) -> Answer {
        let context: VcpuGuestContext = self.space(caller.id).get(argument)?;
        if self.vcpu(id).ok_or(Errno::ENOENT)?.is_initialised {
            return Err(Errno::EEXIST);
        }
        self.begin_vcpu(id, &context, caller.now).map(|()| 0)
    }

    /// Gives a vCPU that has no state one. It does not run yet.
    pub(crate) fn begin_vcpu(&mut self, id: VcpuId, context: &VcpuGuestContext, now: u64) -> Result<(), Errno> {
        check(context)?;
        let (top, user_top, segments) = self.take_tables(id, context)?;
        let mut debug = DebugRegisters::default();
        let [_, _, _, _, control, ..] = context.ctrlreg;
        let debug_extensions = control & DEBUG_EXTENSIONS != 0;
        let sets_bases = self.has_base_instructions && control & BASE_INSTRUCTIONS != 0;
        for (number, value) in (0_u64..).zip(context.debugreg).filter(|(number, _)| !matches!(number, 4 | 5)) {
            // One that it cannot have is left as it is.
            let _: Result<(), Errno> = debug.set(number, value, debug_extensions);
        }
        let CpuUserRegs { ds, es, fs, gs, rflags, .. } = context.user_regs;
        let vcpu = self.vcpu_mut(id).ok_or(Errno::ENOENT)?;
        *vcpu = Vcpu {
            is_initialised: true,
            state: State::Offline,
            user_top,
            in_user: context.flags & VGCF_IN_KERNEL == 0,
            kernel_stack: context.kernel_sp,
            bases: Bases { fs: context.fs_base, gs_user: context.gs_base_user, gs_kernel: context.gs_base_kernel },
            segments,
            selectors: [ds, es, fs, gs],
            debug,
            debug_extensions,
            sets_bases,
            traps: (0..=u8::MAX)
                .zip(context.trap_ctxt)
                .map(|(vector, trap)| xen_abi::trap::TrapInfo { vector, ..trap })
                .collect(),
            event_callback: context.event_callback_eip,
            failsafe_callback: context.failsafe_callback_eip,
            syscall_callback: (context.syscall_callback_eip, context.flags & VGCF_SYSCALL_DISABLES_EVENTS != 0),
            runstate: vcpu.runstate,
            ..Vcpu::new(registers(&context.user_regs), top, now)
        };
        vcpu.ports.level = u8::try_from(rflags >> 12 & 3).unwrap_or(0);
        self.set_local_table(id, context.ldt_base, context.ldt_ents)
    }

    /// Its page tables and its table of segments, or nothing of them.
    fn take_tables(&mut self, id: VcpuId, context: &VcpuGuestContext) -> Result<(Mfn, Option<Mfn>, Vec<Mfn>), Errno> {
        let [_, user, _, top, ..] = context.ctrlreg.map(Mfn::of);
        let user = Some(user).filter(|frame| *frame != Mfn(0));
        if context.flags & VGCF_IN_KERNEL == 0 && user.is_none() {
            return Err(Errno::EINVAL);
        }
        let Self { frames, memory, .. } = self;
        frames.load_top(memory, id.domain, top)?;
        if let Some(user) = user
            && let Err(error) = frames.load_top(memory, id.domain, user)
        {
            frames.unload_top(memory, top);
            return Err(error);
        }
        let count = usize::try_from(context.gdt_ents.div_ceil(DESCRIPTORS)).map_err(|_| Errno::EINVAL)?;
        let mut segments = Vec::new();
        for frame in context.gdt_frames.into_iter().take(count).map(Mfn) {
            if let Err(error) = frames.load_descriptors(memory, id.domain, frame) {
                segments.into_iter().for_each(|frame| frames.unload_descriptors(memory, frame));
                user.into_iter().chain([top]).for_each(|frame| frames.unload_top(memory, frame));
                return Err(error);
            }
            segments.push(frame);
        }
        Ok((top, user, segments))
    }

    /// VCPUOP_up.
    pub(crate) fn bring_up(&mut self, id: VcpuId, now: u64) -> Result<(), Errno> {
        let vcpu = self.vcpu_mut(id).ok_or(Errno::ENOENT)?;
        if !vcpu.is_initialised {
            return Err(Errno::EINVAL);
        }
        if vcpu.state == State::Offline {
            vcpu.state = State::Blocked;
            self.make_ready(id, now);
        }
        Ok(())
    }

    /// VCPUOP_down. With its last vCPU the domain ends.
    pub(super) fn take_down(&mut self, id: VcpuId) -> Answer {
        let domain = self.domains.get_mut(&id.domain).ok_or(Errno::ESRCH)?;
        let others = (0..).zip(&domain.vcpus).filter(|(number, _)| *number != id.number);
        if others.map(|(_, vcpu)| vcpu).all(|vcpu| vcpu.state == State::Offline) {
            self.shut_down(id.domain, SHUTDOWN_POWEROFF);
        } else if let Some(vcpu) = self.vcpu_mut(id) {
            vcpu.state = State::Offline;
        }
        Ok(0)
    }
}

fn registers(from: &CpuUserRegs) -> Registers {
    Registers {
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
        entry: 0,
        error: 0,
        rip: from.rip,
        cs: from.cs.into(),
        rflags: sane_flags(from.rflags),
        rsp: from.rsp,
        ss: from.ss.into(),
    }
}

/// Whether all addresses are some, and no table is too long.
fn check(context: &VcpuGuestContext) -> Result<(), Errno> {
    let addresses = [
        context.user_regs.rip,
        context.user_regs.rsp,
        context.kernel_sp,
        context.fs_base,
        context.gs_base_kernel,
        context.gs_base_user,
        context.event_callback_eip,
        context.failsafe_callback_eip,
        context.syscall_callback_eip,
    ];
    let traps = context.trap_ctxt.iter().map(|trap| trap.address);
    let is_local_good = context.ldt_ents <= LOCAL_MAX
        && is_domains(context.ldt_base)
        && context.ldt_base.trailing_zeros() >= PAGE_SHIFT;
    let is_good =
        is_local_good && context.gdt_ents <= ENTRIES_MAX && addresses.into_iter().chain(traps).all(is_canonical);
    is_good.then_some(()).ok_or(Errno::EINVAL)
}
