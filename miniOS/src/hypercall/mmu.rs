//! Changes of page tables, which a PV domain asks Xen for.
// UNSAFETY: changes mappings that Rust code may rely on; every function is unsafe or flushes only.
#![expect(unsafe_code)]

use super::XenError;
use crate::addr::{Gfn, VirtAddr, to_usize};
use crate::arch::{Arguments, hypercall};
use xen_abi::mmu::{self as abi, MmuUpdate, MmuextOp};
use xen_abi::{DomId, Hypercall};

/// Makes changes of entries in order. On an error, says how many were made: the one after them was refused.
///
/// # Safety
/// No memory that Rust code still refers to is unmapped, or mapped to something else.
pub(crate) unsafe fn mmu_update(updates: &[MmuUpdate], owner: DomId) -> Result<(), (usize, XenError)> {
    let mut done = 0_u32;
    let arguments = Arguments(
        updates.as_ptr().expose_provenance(),
        updates.len(),
        core::ptr::from_mut(&mut done).expose_provenance(),
        usize::from(owner.0),
        0,
    );
    // SAFETY: Xen reads the updates and writes their count; the caller vouches for what they do.
    let raw = unsafe { hypercall(Hypercall::MmuUpdate, arguments) };
    XenError::check(raw).map(|_| ()).map_err(|error| (done as usize, error))
}

/// Replaces the lowest-level entry for an address whose tables exist.
///
/// # Safety
/// As for [`mmu_update`].
pub(crate) unsafe fn update_va_mapping(address: VirtAddr, entry: u64) -> Result<(), XenError> {
    let arguments = Arguments(address.value(), to_usize(entry), to_usize(abi::UVMF_INVLPG), 0, 0);
    // SAFETY: the caller vouches for what the change does.
    XenError::check(unsafe { hypercall(Hypercall::UpdateVaMapping, arguments) }).map(|_| ())
}

/// Checks the top table of another domain, and all that are below it, and keeps it one.
pub fn pin_top_of(domain: DomId, table: Gfn) -> Result<(), XenError> {
    let op = MmuextOp { cmd: abi::MMUEXT_PIN_L4_TABLE, arg1: table.number(), ..MmuextOp::default() };
    let arguments = Arguments(core::ptr::from_ref(&op).expose_provenance(), 1, 0, usize::from(domain.0), 0);
    // SAFETY: Xen reads the operation, which changes no mapping of ours.
    XenError::check(unsafe { hypercall(Hypercall::MmuextOp, arguments) }).map(|_| ())
}

/// Forgets cached translations.
pub(crate) fn flush_tlb() {
    let op = MmuextOp { cmd: abi::MMUEXT_TLB_FLUSH_LOCAL, ..MmuextOp::default() };
    let arguments = Arguments(core::ptr::from_ref(&op).expose_provenance(), 1, 0, usize::from(DomId::SELF.0), 0);
    // SAFETY: Xen reads the operation, which changes no mapping.
    let _: isize = unsafe { hypercall(Hypercall::MmuextOp, arguments) };
}
