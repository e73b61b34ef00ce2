//! The instruction that calls Xen.
//!
//! Xen fills the image's hypercall page with a slot of 32 bytes for each hypercall. Arguments go in rdi, rsi, rdx, r10
//! and r8, the result comes in rax; Xen may clobber the argument registers, SYSCALL itself rcx and r11.
// UNSAFETY: calls into the page that Xen filled.
#![expect(unsafe_code)]

use core::arch::asm;
use core::sync::atomic::{AtomicUsize, Ordering};
use xen_abi::{Hypercall, errno};

/// Address of the hypercall page; 0 until the start, and on the host, where every hypercall answers ENOSYS.
static HYPERCALL_PAGE: AtomicUsize = AtomicUsize::new(0);

/// Bytes of a slot.
const SLOT_LEN: usize = 32;

/// Arguments of a hypercall, zeros where it takes fewer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arguments(pub(crate) usize, pub(crate) usize, pub(crate) usize, pub(crate) usize, pub(crate) usize);

/// Says where the hypercall page is.
///
/// # Safety
/// `address` is that of a page which Xen has filled for this domain, or zero.
pub(crate) unsafe fn set_hypercall_page(address: usize) {
    HYPERCALL_PAGE.store(address, Ordering::Relaxed);
}

/// Address of a hypercall's slot; `None` where there is no Xen.
pub(crate) fn slot(number: Hypercall) -> Option<usize> {
    let page = HYPERCALL_PAGE.load(Ordering::Relaxed);
    (page != 0).then(|| page + number as usize * SLOT_LEN)
}

/// Makes a hypercall.
///
/// # Safety
/// What Xen reads and writes for this call and these arguments is memory that the caller may give away for that: every
/// address among them points to an object of the layout and size that the hypercall expects, and the call breaks no
/// mapping that Rust code relies on.
#[inline]
pub(crate) unsafe fn hypercall(number: Hypercall, arguments: Arguments) -> isize {
    let Some(slot) = slot(number) else {
        return -(errno::ENOSYS as isize);
    };
    let result;
    // SAFETY: the slot is code that Xen wrote; it follows the convention of the module head. Without `nostack` the
    // compiler keeps no red zone here, so the call may push. The caller vouches for the arguments.
    unsafe {
        asm!(
            "call {slot}",
            slot = in(reg) slot,
            lateout("rax") result,
            inlateout("rdi") arguments.0 => _,
            inlateout("rsi") arguments.1 => _,
            inlateout("rdx") arguments.2 => _,
            inlateout("r10") arguments.3 => _,
            inlateout("r8") arguments.4 => _,
            out("rcx") _,
            out("r11") _,
            out("r9") _,
        );
    }
    result
}
