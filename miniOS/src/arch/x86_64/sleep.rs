//! Sleeping in the hypervisor until an event comes.
//!
//! Upcalls stay masked while Rust code runs, so it is never interrupted. SCHEDOP_block unmasks them and sleeps in one
//! step. What wakes it is an upcall: Xen masks upcalls again, pushes a frame onto the current stack and jumps to the
//! callback. The callback does not return to what it interrupted, which is always [`block`], but leaves in its stead:
//! it takes the stack pointer that `block` put aside, restores the registers found there and returns to its caller.
//! So there is no `iret`, and no instant at which an event could be lost: one that came before SCHEDOP_block is still
//! pending when upcalls are unmasked.
// UNSAFETY: the one stretch of code that Xen may interrupt.
#![expect(unsafe_code)]

use super::hypercall::slot;
use core::arch::naked_asm;
use core::sync::atomic::AtomicUsize;
use xen_abi::{Hypercall, sched};

/// Stack pointer of the sleeper.
static SLEEPER: AtomicUsize = AtomicUsize::new(0);

/// Sleeps until an unmasked event is pending; returns at once if one is. Upcalls are masked before and after.
///
/// `vcpu_info` is the address of this vCPU's `vcpu_info`.
pub(crate) fn sleep(vcpu_info: usize) {
    if let Some(slot) = slot(Hypercall::SchedOp) {
        // SAFETY: the slot is the hypercall page's, the vCPU's information is mapped as long as there is a page.
        unsafe { block(slot, vcpu_info) };
    }
}

/// Address of the event callback.
pub(crate) fn event_callback_address() -> usize {
    event_callback as *const () as usize
}

/// Address of the failsafe callback.
pub(crate) fn failsafe_callback_address() -> usize {
    failsafe_callback as *const () as usize
}

/// Puts the preserved registers onto the stack and the stack pointer aside, and blocks.
#[unsafe(naked)]
unsafe extern "C" fn block(slot: usize, vcpu_info: usize) {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rip + {sleeper}], rsp",
        "mov rbx, rsi",
        "mov rax, rdi",
        "mov edi, {block}",
        "xor esi, esi",
        "call rax",
        // Back without an upcall. One may still come until the next instruction is through; it ends up in
        // `event_callback`, which leaves from the same stack.
        "mov byte ptr [rbx + 1], 1",
        "mov rsp, [rip + {sleeper}]",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        sleeper = sym SLEEPER,
        block = const sched::SCHEDOP_BLOCK,
    )
}

/// Where Xen jumps with an event. It has masked upcalls; its frame on the stack is given up.
#[unsafe(naked)]
unsafe extern "C" fn event_callback() {
    naked_asm!(
        "cld",
        "mov rsp, [rip + {sleeper}]",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        sleeper = sym SLEEPER,
    )
}

/// Where Xen jumps when it could not load the segments of an interrupted program. There is none: it cannot happen.
#[unsafe(naked)]
unsafe extern "C" fn failsafe_callback() {
    naked_asm!("ud2")
}
