//! What domain 0 asks for devices.
// UNSAFETY: one hypercall, whose argument type is vouched for here.
#![expect(unsafe_code)]

use super::XenError;
use crate::arch::{Arguments, hypercall};
use xen_abi::Hypercall;
use xen_abi::physdev::{PHYSDEVOP_SET_IOPL, SetIopl};

/// Lets this kernel use the I/O ports that its domain may use.
pub fn allow_ports() -> Result<(), XenError> {
    // Ring 1 stands for the kernel, wherever it really runs.
    let op = SetIopl { iopl: 1 };
    let arguments = Arguments(PHYSDEVOP_SET_IOPL as usize, core::ptr::from_ref(&op).expose_provenance(), 0, 0, 0);
    // SAFETY: number and type belong together; Xen reads the argument. The ports of Xen's own devices it keeps.
    XenError::check(unsafe { hypercall(Hypercall::PhysdevOp, arguments) }).map(|_| ())
}
