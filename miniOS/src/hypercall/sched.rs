//! Scheduling and the end of the domain.
// UNSAFETY: one hypercall, whose argument types are vouched for here.
#![expect(unsafe_code)]

use super::XenError;
use crate::addr::{Mfn, to_usize};
use crate::arch::{Arguments, hypercall};
use xen_abi::sched::{self as abi, SchedPoll, SchedShutdown};
use xen_abi::{Hypercall, Port};

/// Why a domain ends, for the toolstack to act upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ShutdownReason {
    /// It is done.
    PowerOff = abi::SHUTDOWN_POWEROFF,
    /// It wants to start again.
    Reboot = abi::SHUTDOWN_REBOOT,
    /// It wants to be saved.
    Suspend = abi::SHUTDOWN_SUSPEND,
    /// It cannot go on.
    Crash = abi::SHUTDOWN_CRASH,
}

/// Gives the processor to others for a moment.
pub fn yield_now() {
    // SAFETY: the operation takes no argument.
    let _: isize = unsafe { hypercall(Hypercall::SchedOp, Arguments(abi::SCHEDOP_YIELD as usize, 0, 0, 0, 0)) };
}

/// Ends this domain at once; what is in the console's ring is not waited for. See [`crate::boot::shut_down`].
pub fn shutdown(reason: ShutdownReason) -> ! {
    let argument = SchedShutdown { reason: reason as u32 };
    loop {
        let address = core::ptr::from_ref(&argument).expose_provenance();
        // SAFETY: the argument has the operation's layout, and Xen only reads it.
        let _: isize =
            unsafe { hypercall(Hypercall::SchedOp, Arguments(abi::SCHEDOP_SHUTDOWN as usize, address, 0, 0, 0)) };
    }
}

/// Stands still until the toolstack has saved this domain. `true`: this is another domain, which it has restored; `false`: it
/// is the same one, and nothing has changed.
///
/// `start_info` is the frame of the start information. The toolstack does more than reading and writing there: see
/// [`crate::suspend`].
pub(crate) fn suspend(start_info: Mfn) -> bool {
    let argument = SchedShutdown { reason: abi::SHUTDOWN_SUSPEND };
    let address = core::ptr::from_ref(&argument).expose_provenance();
    let arguments = Arguments(abi::SCHEDOP_SHUTDOWN as usize, address, to_usize(start_info.number()), 0, 0);
    // SAFETY: the argument has the operation's layout, and Xen only reads it.
    unsafe { hypercall(Hypercall::SchedOp, arguments) == 0 }
}

/// Sleeps until Xen's system time is `until` nanoseconds or one of `ports` is pending, masked or not.
///
/// For the few places that wait while everything else stands still; see [`crate::event::wait`] for the rest.
pub fn poll(ports: &[Port], until: u64) -> Result<(), XenError> {
    let argument = SchedPoll {
        ports: ports.as_ptr().expose_provenance() as u64,
        nr_ports: u32::try_from(ports.len()).map_err(|_| XenError::ERANGE)?,
        timeout: until,
        ..SchedPoll::default()
    };
    let address = core::ptr::from_ref(&argument).expose_provenance();
    // SAFETY: the argument has the operation's layout; Xen reads it and the ports.
    XenError::check(unsafe { hypercall(Hypercall::SchedOp, Arguments(abi::SCHEDOP_POLL as usize, address, 0, 0, 0)) })
        .map(|_| ())
}
