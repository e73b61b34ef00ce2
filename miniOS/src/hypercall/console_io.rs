//! Xen's own console, which the control domain may write to.
// UNSAFETY: one hypercall, whose argument types are vouched for here.
#![expect(unsafe_code)]

use super::XenError;
use crate::arch::{Arguments, hypercall};
use xen_abi::{CONSOLEIO_WRITE, Hypercall};

/// Prints bytes as they are.
pub fn write(bytes: &[u8]) -> Result<(), XenError> {
    let arguments = Arguments(CONSOLEIO_WRITE as usize, bytes.len(), bytes.as_ptr().expose_provenance(), 0, 0);
    // SAFETY: Xen reads the bytes.
    XenError::check(unsafe { hypercall(Hypercall::ConsoleIo, arguments) }).map(|_| ())
}
