//! Hypercalls: a number, decoded, and the act.
//!
//! | module | calls |
//! |---|---|
//! | `segments` | set_gdt, update_descriptor, set_segment_base |
//! | `mmu` | mmu_update, update_va_mapping, mmuext_op |
//! | `memory` | memory_op |
//! | `domctl` | domctl |
//! | `event` | event_channel_op |
//! | `grant` | grant_table_op |
//! | `sched` | sched_op, vcpu_op, set_timer_op |
//! | `vcpu` | of vcpu_op: initialise, up, down |
//! | `processor` | set_debugreg, get_debugreg, physdev_op, vm_assist |
//! | `kernel` | set_trap_table, set_callbacks, callback_op, stack_switch, xen_version, console_io |
//!
//! Arguments are in rdi, rsi, rdx, r10 and r8, the result goes to rax (`public/arch-x86/xen-x86_64.h`).
//! Invariant: an argument that is in the domain's memory is read once.

mod domctl;
mod event;
mod grant;
mod kernel;
mod memory;
mod mmu;
mod processor;
mod sched;
mod segments;
#[cfg(test)]
pub(crate) mod tests;
mod vcpu;

use crate::errno::Errno;
use crate::memory::Memory;
use crate::system::System;
use crate::vcpu::{Registers, VcpuId};
use xen_abi::{DomId, Hypercall};

/// Numbers of calls that may be made at once by multicall.
const CALLS_MAX: u64 = 4096;

/// One of them: `struct multicall_entry`.
#[derive(Clone, Copy, Debug, Default, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)]
#[repr(C)]
struct Call {
    operation: u64,
    result: u64,
    arguments: [u64; 6],
}

/// Who calls, and when.
#[derive(Clone, Copy, Debug)]
struct Caller {
    id: VcpuId,
    /// System time.
    now: u64,
}

/// What a call gives.
type Answer = Result<u64, Errno>;

impl<M: Memory> System<M> {
    /// A vCPU has made a hypercall.
    pub fn hypercall(&mut self, id: VcpuId, registers: &mut Registers, now: u64) {
        let caller = Caller { id, now };
        let number = registers.rax;
        if number == Hypercall::Iret as u64 {
            return self.iret(id, registers);
        }
        let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8];
        if number == Hypercall::Multicall as u64 {
            return self.multicall(caller, registers, arguments);
        }
        registers.rax = result(self.call(caller, number, arguments));
    }

    fn call(&mut self, caller: Caller, number: u64, arguments: [u64; 5]) -> Answer {
        const SET_TRAP_TABLE: u64 = Hypercall::SetTrapTable as u64;
        const MMU_UPDATE: u64 = Hypercall::MmuUpdate as u64;
        const SET_CALLBACKS: u64 = Hypercall::SetCallbacks as u64;
        const MEMORY_OP: u64 = Hypercall::MemoryOp as u64;
        const UPDATE_VA_MAPPING: u64 = Hypercall::UpdateVaMapping as u64;
        const FPU_TASKSWITCH: u64 = Hypercall::FpuTaskswitch as u64;
        const SET_GDT: u64 = Hypercall::SetGdt as u64;
        const SET_DEBUGREG: u64 = Hypercall::SetDebugreg as u64;
        const GET_DEBUGREG: u64 = Hypercall::GetDebugreg as u64;
        const PHYSDEV_OP: u64 = Hypercall::PhysdevOp as u64;
        const VM_ASSIST: u64 = Hypercall::VmAssist as u64;
        const UPDATE_DESCRIPTOR: u64 = Hypercall::UpdateDescriptor as u64;
        const STACK_SWITCH: u64 = Hypercall::StackSwitch as u64;
        const CALLBACK_OP: u64 = Hypercall::CallbackOp as u64;
        const SET_SEGMENT_BASE: u64 = Hypercall::SetSegmentBase as u64;
        const SET_TIMER_OP: u64 = Hypercall::SetTimerOp as u64;
        const XEN_VERSION: u64 = Hypercall::XenVersion as u64;
        const CONSOLE_IO: u64 = Hypercall::ConsoleIo as u64;
        const GRANT_TABLE_OP: u64 = Hypercall::GrantTableOp as u64;
        const VCPU_OP: u64 = Hypercall::VcpuOp as u64;
        const MMUEXT_OP: u64 = Hypercall::MmuextOp as u64;
        const SCHED_OP: u64 = Hypercall::SchedOp as u64;
        const EVENT_CHANNEL_OP: u64 = Hypercall::EventChannelOp as u64;
        const DOMCTL: u64 = Hypercall::Domctl as u64;
        match number {
            SET_TRAP_TABLE => self.set_trap_table(caller, arguments),
            MMU_UPDATE => self.mmu_update(caller, arguments),
            SET_CALLBACKS => self.set_callbacks(caller, arguments),
            FPU_TASKSWITCH => Self::fpu_taskswitch(arguments),
            SET_GDT => self.set_gdt(caller, arguments),
            SET_DEBUGREG => self.set_debugreg(caller, arguments),
            GET_DEBUGREG => self.get_debugreg(caller, arguments),
            PHYSDEV_OP => self.physdev_op(caller, arguments),
            VM_ASSIST => self.vm_assist(caller, arguments),
            UPDATE_DESCRIPTOR => self.update_descriptor(caller, arguments),
            STACK_SWITCH => self.stack_switch(caller, arguments),
            CALLBACK_OP => self.callback_op(caller, arguments),
            SET_SEGMENT_BASE => self.set_segment_base(caller, arguments),
            MEMORY_OP => self.memory_op(caller, arguments),
            UPDATE_VA_MAPPING => self.update_va_mapping(caller, arguments),
            SET_TIMER_OP => self.set_timer_op(caller, arguments),
            XEN_VERSION => self.xen_version(caller, arguments),
            CONSOLE_IO => self.console_io(caller, arguments),
            GRANT_TABLE_OP => self.grant_table_op(caller, arguments),
            VCPU_OP => self.vcpu_op(caller, arguments),
            MMUEXT_OP => self.mmuext_op(caller, arguments),
            SCHED_OP => self.sched_op(caller, arguments),
            EVENT_CHANNEL_OP => self.event_channel_op(caller, arguments),
            DOMCTL => self.domctl(caller, arguments),
            _ => Err(Errno::ENOSYS),
        }
    }

    /// A list of calls. One that returns from an exception ends it: what follows would be made by whoever it returns to.
    fn multicall(&mut self, caller: Caller, registers: &mut Registers, [list, count, ..]: [u64; 5]) {
        registers.rax = result(Ok(0));
        if count > CALLS_MAX {
            registers.rax = result(Err(Errno::EINVAL));
            return;
        }
        for number in 0..count {
            let call = element(list, number, size_of::<Call>())
                .and_then(|place| self.space(caller.id).get::<Call>(place).map(|call| (place, call)));
            let (place, mut call) = match call {
                Ok(found) => found,
                Err(error) => {
                    registers.rax = result(Err(error));
                    return;
                }
            };
            if call.operation == Hypercall::Iret as u64 {
                return self.iret(caller.id, registers);
            }
            let [a, b, c, d, e, _] = call.arguments;
            // None of them may be another list.
            call.result = result(self.call(caller, call.operation, [a, b, c, d, e]));
            if let Err(error) = self.space(caller.id).put(place, &call) {
                registers.rax = result(Err(error));
                return;
            }
        }
    }

    /// The domain that a number means: itself, or another one that exists.
    fn domain_of(&self, caller: Caller, domain: DomId) -> Result<DomId, Errno> {
        if domain == DomId::SELF {
            return Ok(caller.id.domain);
        }
        self.domains.contains_key(&domain).then_some(domain).ok_or(Errno::ESRCH)
    }

    /// The same, where only the control domain may mean another one.
    fn own_or_controlled(&self, caller: Caller, domain: DomId) -> Result<DomId, Errno> {
        let domain = self.domain_of(caller, domain)?;
        if domain != caller.id.domain && !self.is_privileged(caller) {
            return Err(Errno::EPERM);
        }
        Ok(domain)
    }

    fn is_privileged(&self, caller: Caller) -> bool {
        self.domains.get(&caller.id.domain).is_some_and(|domain| domain.is_privileged)
    }
}

fn result(answer: Answer) -> u64 {
    match answer {
        Ok(value) => value,
        Err(error) => error.result().cast_unsigned(),
    }
}

/// Where an element of a list is.
fn element(list: u64, number: u64, size: usize) -> Result<u64, Errno> {
    let offset = u64::try_from(size).ok().and_then(|size| size.checked_mul(number));
    offset.and_then(|offset| list.checked_add(offset)).ok_or(Errno::EFAULT)
}

/// The lower half of an argument.
fn low(argument: u64) -> u32 {
    let [a, b, c, d, ..] = argument.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
