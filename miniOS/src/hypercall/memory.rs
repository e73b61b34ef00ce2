//! Memory operations, most of them on the target: the domain that a device model serves.
// UNSAFETY: hypercalls, whose argument types are vouched for here.
#![expect(unsafe_code)]

use super::XenError;
use crate::addr::{Gfn, Mfn};
use crate::arch::{Arguments, hypercall};
use xen_abi::memory::{
    self as abi, AcquireResource, AddToPhysmap, AddToPhysmapBatch, MemoryDomain, MemoryReservation, RemoveFromPhysmap,
};
use xen_abi::{DomId, Hypercall};

/// Makes an operation with its argument.
///
/// # Safety
/// `T` has the layout that `public/memory.h` gives for operation `number`, what it points to is ours alone, and the
/// operation takes no memory away that Rust code relies on.
unsafe fn memory_op<T>(number: u32, argument: &mut T) -> Result<usize, XenError> {
    let arguments = Arguments(number as usize, core::ptr::from_mut(argument).expose_provenance(), 0, 0, 0);
    // SAFETY: the caller vouches for all of it.
    XenError::check(unsafe { hypercall(Hypercall::MemoryOp, arguments) })
}

/// A list of frames for Xen to read, as an address. Frame numbers are transparent wrappers of `u64`.
fn list_of(frames: &[Gfn]) -> u64 {
    frames.as_ptr().expose_provenance() as u64
}

/// Adds fresh pages to `domain` at `frames`. Returns how many were added: fewer when its memory is used up.
pub fn populate_physmap(domain: DomId, frames: &[Gfn]) -> Result<usize, XenError> {
    let mut op = MemoryReservation {
        extent_start: list_of(frames),
        nr_extents: frames.len() as u64,
        domid: foreign(domain)?,
        ..MemoryReservation::default()
    };
    // SAFETY: number and type belong together. For another domain with translated memory the list is only read.
    unsafe { memory_op(abi::XENMEM_POPULATE_PHYSMAP, &mut op) }
}

/// Gives a paravirtualised `domain` its pages with these numbers, whose machine frames take the numbers' places. Returns how
/// many were given.
pub fn populate_paravirtual(domain: DomId, pages: &mut [u64]) -> Result<usize, XenError> {
    let mut op = MemoryReservation {
        extent_start: pages.as_mut_ptr().expose_provenance() as u64,
        nr_extents: pages.len() as u64,
        domid: foreign(domain)?,
        ..MemoryReservation::default()
    };
    // SAFETY: number and type belong together; Xen reads and writes the list, which is ours alone.
    unsafe { memory_op(abi::XENMEM_POPULATE_PHYSMAP, &mut op) }
}

/// Takes the pages at `frames` from `domain`. Returns how many were taken.
pub fn decrease_reservation(domain: DomId, frames: &[Gfn]) -> Result<usize, XenError> {
    let mut op = MemoryReservation {
        extent_start: list_of(frames),
        nr_extents: frames.len() as u64,
        domid: foreign(domain)?,
        ..MemoryReservation::default()
    };
    // SAFETY: number and type belong together; the memory is another domain's, so no Rust code refers to it.
    unsafe { memory_op(abi::XENMEM_DECREASE_RESERVATION, &mut op) }
}

/// Moves the page of `domain` at `from` to `to`.
pub fn move_page(domain: DomId, from: Gfn, to: Gfn) -> Result<(), XenError> {
    let mut op = AddToPhysmap {
        domid: foreign(domain)?,
        size: 0,
        space: abi::XENMAPSPACE_GMFN,
        idx: from.number(),
        gpfn: to.number(),
    };
    // SAFETY: number and type belong together; the memory is another domain's.
    unsafe { memory_op(abi::XENMEM_ADD_TO_PHYSMAP, &mut op) }.map(|_| ())
}

/// Moves `count` pages of `domain` from `from` on to `to` on, lowest first.
pub fn move_pages(domain: DomId, from: Gfn, to: Gfn, count: u16) -> Result<(), XenError> {
    let mut op = AddToPhysmap {
        domid: foreign(domain)?,
        size: count,
        space: abi::XENMAPSPACE_GMFN_RANGE,
        idx: from.number(),
        gpfn: to.number(),
    };
    // SAFETY: number and type belong together; the memory is another domain's.
    unsafe { memory_op(abi::XENMEM_ADD_TO_PHYSMAP, &mut op) }.map(|_| ())
}

/// Moves pages of `domain`, each from one frame to another, and says for each whether Xen did (0 or a negative error).
pub fn move_page_list(domain: DomId, from: &[Gfn], to: &[Gfn], results: &mut [i32]) -> Result<(), XenError> {
    if from.len() != to.len() || from.len() != results.len() {
        return Err(XenError::EINVAL);
    }
    let mut op = AddToPhysmapBatch {
        domid: foreign(domain)?,
        space: u16::try_from(abi::XENMAPSPACE_GMFN).map_err(|_| XenError::ERANGE)?,
        size: u16::try_from(from.len()).map_err(|_| XenError::ERANGE)?,
        foreign_domid: DomId(0),
        idxs: list_of(from),
        gpfns: list_of(to),
        errs: results.as_mut_ptr().expose_provenance() as u64,
    };
    // SAFETY: number and type belong together; the lists are as long as `size` says; the memory is another domain's.
    unsafe { memory_op(abi::XENMEM_ADD_TO_PHYSMAP_BATCH, &mut op) }.map(|_| ())
}

/// Takes a page out of `domain`'s address space.
pub fn remove_from_physmap(domain: DomId, frame: Gfn) -> Result<(), XenError> {
    let mut op = RemoveFromPhysmap { domid: foreign(domain)?, padding: [0; 3], gpfn: frame.number() };
    // SAFETY: number and type belong together; the memory is another domain's.
    unsafe { memory_op(abi::XENMEM_REMOVE_FROM_PHYSMAP, &mut op) }.map(|_| ())
}

/// The highest frame that `domain` has.
pub fn maximum_gpfn(domain: DomId) -> Result<Gfn, XenError> {
    // SAFETY: number and type belong together; there are no pointers.
    let number = unsafe { memory_op(abi::XENMEM_MAXIMUM_GPFN, &mut MemoryDomain { domid: domain }) }?;
    Ok(Gfn::new(number as u64))
}

/// Pages that `domain` has now.
pub fn current_reservation(domain: DomId) -> Result<usize, XenError> {
    // SAFETY: number and type belong together; there are no pointers.
    unsafe { memory_op(abi::XENMEM_CURRENT_RESERVATION, &mut MemoryDomain { domid: domain }) }
}

/// Pages that `domain` may have.
pub fn maximum_reservation(domain: DomId) -> Result<usize, XenError> {
    // SAFETY: number and type belong together; there are no pointers.
    unsafe { memory_op(abi::XENMEM_MAXIMUM_RESERVATION, &mut MemoryDomain { domid: domain }) }
}

/// Asks for machine frames of a resource of `domain`, for mapping with `MMU_PT_UPDATE_NO_TRANSLATE`.
pub fn acquire_resource(domain: DomId, kind: u16, id: u32, first: u64, frames: &mut [Mfn]) -> Result<(), XenError> {
    let mut op = AcquireResource {
        domid: domain,
        resource_type: kind,
        id,
        nr_frames: u32::try_from(frames.len()).map_err(|_| XenError::ERANGE)?,
        pad: 0,
        frame: first,
        frame_list: frames.as_mut_ptr().expose_provenance() as u64,
    };
    // SAFETY: number and type belong together; Xen writes `nr_frames` numbers, and `Mfn` is a transparent `u64`.
    unsafe { memory_op(abi::XENMEM_ACQUIRE_RESOURCE, &mut op) }.map(|_| ())
}

/// Refuses this domain itself, whose memory Rust code relies on.
fn foreign(domain: DomId) -> Result<DomId, XenError> {
    if domain >= DomId::FIRST_RESERVED { Err(XenError::EINVAL) } else { Ok(domain) }
}
