//! Xen's own console, which the control domain may write to and read from.
// UNSAFETY: one hypercall, whose argument types are vouched for here.
#![expect(unsafe_code)]

use super::XenError;
use crate::arch::{Arguments, hypercall};
use xen_abi::{CONSOLEIO_READ, CONSOLEIO_WRITE, Hypercall};

/// Prints bytes as they are.
pub fn write(bytes: &[u8]) -> Result<(), XenError> {
    let arguments = Arguments(CONSOLEIO_WRITE as usize, bytes.len(), bytes.as_ptr().expose_provenance(), 0, 0);
    // SAFETY: Xen reads the bytes.
    XenError::check(unsafe { hypercall(Hypercall::ConsoleIo, arguments) }).map(|_| ())
}

/// Reads what was typed: up to the length of `bytes` of it. Says how much that was. `VIRQ_CONSOLE` tells when there is more.
pub fn read(bytes: &mut [u8]) -> Result<usize, XenError> {
    let arguments = Arguments(CONSOLEIO_READ as usize, bytes.len(), bytes.as_mut_ptr().expose_provenance(), 0, 0);
    // SAFETY: Xen writes no more bytes than that.
    XenError::check(unsafe { hypercall(Hypercall::ConsoleIo, arguments) }).map(|count| count.min(bytes.len()))
}
