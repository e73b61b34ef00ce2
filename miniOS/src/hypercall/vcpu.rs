//! The virtual processor and its timers.
// UNSAFETY: hypercalls, whose argument types are vouched for here.
#![expect(unsafe_code)]

use super::XenError;
use crate::addr::to_usize;
use crate::arch::{Arguments, hypercall};
use xen_abi::Hypercall;
use xen_abi::trap::TrapInfo;
use xen_abi::vcpu::{self as abi, RunstateInfo};

/// Stops the 100 Hz timer that every PV processor starts with.
pub fn stop_periodic_timer() -> Result<(), XenError> {
    let arguments = Arguments(abi::VCPUOP_STOP_PERIODIC_TIMER as usize, 0, 0, 0, 0);
    // SAFETY: the operation takes no argument but its number and the processor's.
    XenError::check(unsafe { hypercall(Hypercall::VcpuOp, arguments) }).map(|_| ())
}

/// How long this processor has run and waited.
pub fn runstate() -> Result<RunstateInfo, XenError> {
    let mut info = RunstateInfo::default();
    let address = core::ptr::from_mut(&mut info).expose_provenance();
    // SAFETY: the argument has the operation's layout and is ours alone.
    let raw =
        unsafe { hypercall(Hypercall::VcpuOp, Arguments(abi::VCPUOP_GET_RUNSTATE_INFO as usize, 0, address, 0, 0)) };
    XenError::check(raw)?;
    Ok(info)
}

/// Makes VIRQ_TIMER come when Xen's system time is `at` nanoseconds; 0 is never.
pub fn set_timer(at: u64) -> Result<(), XenError> {
    // SAFETY: the argument is a number.
    XenError::check(unsafe { hypercall(Hypercall::SetTimerOp, Arguments(to_usize(at), 0, 0, 0, 0)) }).map(|_| ())
}

/// Says where events and failed returns go.
///
/// # Safety
/// Both are addresses of code that handles what Xen pushes, at any instant at which upcalls are unmasked.
pub(crate) unsafe fn set_callbacks(event: usize, failsafe: usize) -> Result<(), XenError> {
    // SAFETY: the caller vouches for the addresses; there is no system call entry, since there is no user mode.
    XenError::check(unsafe { hypercall(Hypercall::SetCallbacks, Arguments(event, failsafe, 0, 0, 0)) }).map(|_| ())
}

/// Says where faults go.
///
/// # Safety
/// The entries are addresses of code that handles what Xen pushes; the table ends with an entry of zeros.
pub(crate) unsafe fn set_trap_table(table: &[TrapInfo]) -> Result<(), XenError> {
    let address = table.as_ptr().expose_provenance();
    // SAFETY: the caller vouches for the table.
    XenError::check(unsafe { hypercall(Hypercall::SetTrapTable, Arguments(address, 0, 0, 0, 0)) }).map(|_| ())
}
