//! Traps and events of a domain's kernel: frames on its stack, and the way back.
//!
//! Source: Xen's `xen/arch/x86/x86_64/entry.S` (`create_bounce_frame`) for the frame; `public/arch-x86/xen-x86_64.h`, `struct
//! iret_context`, for the way back.
//! Not modelled: SYSENTER.

use crate::errno::Errno;
use crate::memory::{Memory, Mfn};
use crate::system::System;
use crate::vcpu::{INTERRUPTS, Registers, TRAP, Vcpu, VcpuId, sane_flags};
use crate::walk::AddressSpace;
use xen_abi::mmu::{FLAT_KERNEL_CS, FLAT_KERNEL_SS, VMASST_TYPE_ARCHITECTURAL_IOPL};
use xen_abi::sched::SHUTDOWN_CRASH;

/// Vector of a debug exception.
pub const DEBUG: u8 = 1;
/// Vector of what is no instruction.
pub const INVALID_OPCODE: u8 = 6;
/// Vectors of faults of segments: those that are not there, and stacks.
pub const NOT_PRESENT: u8 = 11;
/// See [`NOT_PRESENT`].
pub const STACK_FAULT: u8 = 12;
/// Vector of a general protection fault.
pub const PROTECTION: u8 = 13;
/// The lower bits of its error code: it is about the interrupt table.
const OF_INTERRUPTS: u64 = 2;
/// The first byte of `int n`.
const INT: u8 = 0xcd;
/// Vector of a page fault.
pub const PAGE_FAULT: u8 = 14;
/// Exceptions with an error code.
const WITH_ERROR: u32 = 1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17;
/// Error code of a page fault: it was ring 3.
const BY_USER: u64 = 1 << 2;
/// Flags that are off when a handler begins: trap, nested task, resume, virtual 8086, alignment check.
const FLAGS_OFF: u64 = TRAP | 1 << 14 | 1 << 16 | 1 << 17 | 1 << 18;
/// `TI_GET_IF`: events are masked when the handler begins.
const MASKS_EVENTS: u8 = 1 << 2;
/// The privilege level in a selector.
const PRIVILEGE: u64 = 3;
/// Where the I/O privilege level is in the flags register.
const IOPL_SHIFT: u32 = 12;
/// `VGCF_in_syscall`: rcx and r11 are as SYSRET leaves them.
const IN_SYSCALL: u64 = 1 << 8;
/// The first exception that may be about a segment, and the last.
const OF_SEGMENTS: core::ops::RangeInclusive<u8> = 10..=PROTECTION;

/// What HYPERVISOR_iret takes from the stack.
#[derive(Clone, Copy, Debug, Default, zerocopy::FromBytes, zerocopy::IntoBytes)]
#[repr(C)]
struct IretContext {
    rax: u64,
    r11: u64,
    rcx: u64,
    flags: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

impl<M: Memory> System<M> {
    /// The address space that a vCPU is in.
    pub(crate) fn space(&mut self, id: VcpuId) -> AddressSpace<'_, M> {
        let top = self.vcpu(id).map_or(Mfn(u64::MAX), Vcpu::current_top);
        AddressSpace { memory: &mut self.memory, top }
    }

    /// A vCPU has caused an exception: its kernel hears of it, or its domain ends.
    pub fn exception(&mut self, id: VcpuId, registers: &mut Registers, vector: u8, fault_address: u64) {
        if OF_SEGMENTS.contains(&vector) && self.takes_local_page(id, registers.error) {
            return;
        }
        if vector == PROTECTION && (self.software_interrupt(id, registers) || self.privileged(id, registers)) {
            return;
        }
        if vector == PAGE_FAULT && self.table_write(id, registers, fault_address) {
            return self.after_instruction(id, registers);
        }
        self.tell(id, registers, vector, fault_address);
    }

    /// The processor has raised a debug exception for a vCPU, with this in DR6.
    pub fn debug_exception(&mut self, id: VcpuId, registers: &mut Registers, status: u64) {
        if let Some(vcpu) = self.vcpu_mut(id) {
            vcpu.debug.happened(status);
        }
        self.tell(id, registers, DEBUG, 0);
    }

    /// The kernel of a vCPU hears of an exception, whose error code is among the registers, or its domain ends.
    pub(crate) fn tell(&mut self, id: VcpuId, registers: &mut Registers, vector: u8, fault_address: u64) {
        let Some(trap) = self.vcpu(id).and_then(|vcpu| vcpu.trap(vector)) else {
            let error = registers.error;
            let why = alloc::format!(
                "exception {vector} (error {error:#x}, address {fault_address:#x}), which its kernel does not handle"
            );
            return self.crash(id, registers, &why);
        };
        let mut error = (vector < 32 && WITH_ERROR >> vector & 1 != 0).then_some(registers.error);
        if vector == PAGE_FAULT {
            self.set_fault_address(id, fault_address);
            // Its kernel is in ring 3, but need not know.
            let is_user = self.vcpu(id).is_some_and(|vcpu| vcpu.in_user);
            error = error.map(|error| if is_user { error | BY_USER } else { error & !BY_USER });
        }
        let cs = u64::from(trap.cs);
        if self.enter_kernel(id, registers, (cs, trap.address), error, trap.flags & MASKS_EVENTS != 0).is_err() {
            let why = alloc::format!("exception {vector} at {:#x}, and its stack cannot take it", registers.rip);
            self.crash(id, registers, &why);
        }
    }

    /// `int n`, of which the hypervisor has no vectors for domains: says whether it is one that its kernel takes.
    ///
    /// Quirk: QEMU 7.2's error code has twice the number, so the number is the instruction's.
    fn software_interrupt(&mut self, id: VcpuId, registers: &mut Registers) -> bool {
        if registers.error & 7 != OF_INTERRUPTS {
            return false;
        }
        let code: Result<[u8; 2], _> = self.space(id).get(registers.rip);
        let number = code.ok().and_then(|[operation, number]| (operation == INT).then_some(number));
        let (Some(vcpu), Some(number)) = (self.vcpu(id), number) else { return false };
        registers.error = u64::from(number) << 3 | OF_INTERRUPTS;
        let Some(trap) = vcpu.trap(number) else { return false };
        let needed = if vcpu.in_user { 3 } else { 1 };
        if trap.flags & 3 < needed {
            return false;
        }
        // The instruction has two bytes.
        registers.rip = registers.rip.wrapping_add(2);
        let place = (trap.cs.into(), trap.address);
        if self.enter_kernel(id, registers, place, None, trap.flags & MASKS_EVENTS != 0).is_err() {
            self.crash(id, registers, "a software interrupt, and its stack cannot take it");
        }
        true
    }

    /// Lets a vCPU hear of events, if there are some and it wants to.
    pub fn deliver_events(&mut self, id: VcpuId, registers: &mut Registers) {
        if self.is_masked(id) || !self.events.upcall_pending(&self.memory, id.domain, id.number) {
            return;
        }
        let Some(callback) = self.vcpu(id).map(|vcpu| vcpu.event_callback).filter(|address| *address != 0) else {
            return;
        };
        if self.enter_kernel(id, registers, (FLAT_KERNEL_CS.into(), callback), None, true).is_err() {
            self.crash(id, registers, "an event, and its stack cannot take it");
        }
    }

    /// Puts a frame on its stack, and goes on at an address of its kernel.
    fn enter_kernel(
        &mut self,
        id: VcpuId,
        registers: &mut Registers,
        (cs, address): (u64, u64),
        error: Option<u64>,
        masks: bool,
    ) -> Result<(), Errno> {
        let masked = self.is_masked(id);
        let shows_level = self.has_assist(id, VMASST_TYPE_ARCHITECTURAL_IOPL);
        let vcpu = self.vcpu_mut(id).ok_or(Errno::ESRCH)?;
        let was_user = core::mem::take(&mut vcpu.in_user);
        let (privilege, top) = if was_user { (PRIVILEGE, vcpu.kernel_stack) } else { (0, registers.rsp) };
        let level = if shows_level { u64::from(vcpu.ports.level) << IOPL_SHIFT } else { 0 };
        self.reload |= was_user;
        let flags = registers.rflags & !INTERRUPTS | if masked { 0 } else { INTERRUPTS } | level;
        // That it is the kernel shows in the privilege level; whether events were masked is in the upper half.
        let code = registers.cs & !PRIVILEGE | privilege | u64::from(masked) << 32;
        let words =
            [registers.rcx, registers.r11, error.unwrap_or(0), registers.rip, code, flags, registers.rsp, registers.ss];
        let mut stack = top & !15;
        for (place, word) in words.iter().enumerate().rev() {
            if place == 2 && error.is_none() {
                continue;
            }
            stack = stack.wrapping_sub(8);
            self.space(id).put(stack, word)?;
        }
        if masks {
            self.set_masked(id, true);
        }
        registers.rsp = stack;
        registers.rip = address;
        registers.cs = cs | PRIVILEGE;
        registers.ss = FLAT_KERNEL_SS.into();
        registers.rflags = sane_flags(registers.rflags & !FLAGS_OFF);
        Ok(())
    }

    /// HYPERVISOR_iret: goes on where a frame on the stack says.
    pub(crate) fn iret(&mut self, id: VcpuId, registers: &mut Registers) {
        let Ok(context) = self.space(id).get::<IretContext>(registers.rsp) else {
            return self.crash(id, registers, "HYPERVISOR_iret without a frame on its stack");
        };
        let to_user = context.cs & PRIVILEGE == PRIVILEGE;
        let takes_level = self.has_assist(id, VMASST_TYPE_ARCHITECTURAL_IOPL);
        let Some(vcpu) = self.vcpu_mut(id) else { return };
        if takes_level {
            vcpu.ports.level = u8::try_from(context.rflags >> IOPL_SHIFT & 3).unwrap_or(0);
        }
        if to_user && vcpu.user_top.is_none() {
            return self.crash(id, registers, "a return to user mode, which has no page tables");
        }
        vcpu.in_user = to_user;
        self.reload |= to_user;
        self.set_masked(id, context.rflags & INTERRUPTS == 0);
        registers.rax = context.rax;
        (registers.rcx, registers.r11) = (context.rcx, context.r11);
        if context.flags & IN_SYSCALL != 0 {
            (registers.rcx, registers.r11) = (context.rip, context.rflags);
        }
        registers.rip = context.rip;
        registers.cs = context.cs & 0xffff | PRIVILEGE;
        registers.ss = context.ss & 0xffff | PRIVILEGE;
        registers.rflags = sane_flags(context.rflags);
        registers.rsp = context.rsp;
    }

    /// User mode makes a system call: its kernel hears of it.
    pub fn user_call(&mut self, id: VcpuId, registers: &mut Registers) {
        let (address, masks) = self.vcpu(id).map_or((0, false), |vcpu| vcpu.syscall_callback);
        let place = (FLAT_KERNEL_CS.into(), address);
        if address == 0 || self.enter_kernel(id, registers, place, None, masks).is_err() {
            self.crash(id, registers, "a system call, and its kernel does not take it");
        }
    }

    /// 32-bit code makes a system call: its kernel hears of it, or of a fault of the instruction.
    pub fn call_32(&mut self, id: VcpuId, registers: &mut Registers) {
        /// Bytes of the instruction.
        const LENGTH: u64 = 2;
        let (address, masks) = self.vcpu(id).map_or((0, false), |vcpu| vcpu.syscall32_callback);
        if address == 0 {
            (registers.rip, registers.error) = (registers.rip.wrapping_sub(LENGTH), 0);
            self.tell(id, registers, PROTECTION, 0);
        } else if self.enter_kernel(id, registers, (FLAT_KERNEL_CS.into(), address), None, masks).is_err() {
            self.crash(id, registers, "a system call of 32-bit code, and its kernel does not take it");
        }
    }

    fn set_fault_address(&mut self, id: VcpuId, address: u64) {
        if let Some((frame, offset)) = self.fault_address_place(id) {
            self.memory.write(frame, offset, &address.to_le_bytes());
        }
    }

    /// A domain cannot go on.
    pub fn crash(&mut self, id: VcpuId, registers: &Registers, why: &str) {
        let Registers { rip, rsp, .. } = *registers;
        let text = alloc::format!("{}v{} has crashed at {rip:#x}, stack {rsp:#x}: {why}\r\n", id.domain, id.number);
        self.print(text.as_bytes());
        self.shut_down(id.domain, SHUTDOWN_CRASH);
    }
}
