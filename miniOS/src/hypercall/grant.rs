//! Grant table operations.
// UNSAFETY: one hypercall, whose argument types are vouched for here.
#![expect(unsafe_code)]

use super::XenError;
use crate::addr::{Mfn, VirtAddr};
use crate::arch::{Arguments, hypercall};
use crate::frame::{mfn_of, pfn_at};
use xen_abi::grant::{self as abi, CopyPtr, GrantCopy, MapGrantRef, QuerySize, SetupTable, UnmapGrantRef};
use xen_abi::{DomId, GrantRef, Hypercall, PAGE_SIZE};

/// Most pages that a table of ours can have; Xen's default limit for a guest is 64.
pub const MAX_FRAMES: usize = 64;

/// Copies made by one hypercall.
const BATCH: usize = 64;

/// Makes one operation with its argument.
///
/// # Safety
/// `T` has the layout that `public/grant_table.h` gives for operation `number`, and what it points to is ours alone.
unsafe fn grant_op<T>(number: u32, argument: &mut T) -> Result<(), XenError> {
    // SAFETY: as the caller says; one is a list, too.
    unsafe { grant_ops(number, core::slice::from_mut(argument)) }
}

/// Makes an operation with each of some arguments.
///
/// # Safety
/// As for [`grant_op`].
unsafe fn grant_ops<T>(number: u32, list: &mut [T]) -> Result<(), XenError> {
    let arguments = Arguments(number as usize, list.as_mut_ptr().expose_provenance(), list.len(), 0, 0);
    // SAFETY: the caller vouches for number, layout and what the argument points to.
    XenError::check(unsafe { hypercall(Hypercall::GrantTableOp, arguments) }).map(|_| ())
}

/// How many pages the table of this domain has now, and how many it may get.
pub fn query_size() -> Result<(u32, u32), XenError> {
    let mut op = QuerySize { dom: DomId::SELF, ..QuerySize::default() };
    // SAFETY: number and type belong together; there are no pointers.
    unsafe { grant_op(abi::GNTTABOP_QUERY_SIZE, &mut op) }?;
    check(op.status)?;
    Ok((op.nr_frames, op.max_nr_frames))
}

/// Makes the table at least `count` pages long and returns the frames of its first `count` pages.
pub fn setup_table(count: usize) -> Result<[Mfn; MAX_FRAMES], XenError> {
    let mut frames = [0_u64; MAX_FRAMES];
    if count > frames.len() {
        return Err(XenError::ENOSPC);
    }
    let mut op = SetupTable {
        dom: DomId::SELF,
        nr_frames: u32::try_from(count).map_err(|_| XenError::ERANGE)?,
        frame_list: frames.as_mut_ptr().expose_provenance() as u64,
        ..SetupTable::default()
    };
    // SAFETY: number and type belong together; Xen writes `count` numbers to the array, which has room for them.
    unsafe { grant_op(abi::GNTTABOP_SETUP_TABLE, &mut op) }?;
    check(op.status)?;
    Ok(frames.map(Mfn::new))
}

/// Maps a page that `domain` has granted us, and names the mapping.
///
/// # Safety
/// The address has its tables, nothing is mapped there, and what is mapped is accessed as shared memory only.
pub(crate) unsafe fn map(address: VirtAddr, domain: DomId, reference: GrantRef) -> Result<u32, XenError> {
    let mut op = MapGrantRef {
        host_addr: address.value() as u64,
        flags: abi::GNTMAP_HOST_MAP,
        reference,
        dom: domain,
        ..MapGrantRef::default()
    };
    // SAFETY: number and type belong together; the caller vouches for the address.
    unsafe { grant_op(abi::GNTTABOP_MAP_GRANT_REF, &mut op) }?;
    check(op.status).map(|()| op.handle)
}

/// Ends a mapping.
///
/// # Safety
/// It was made by [`map`] at this address, and nobody accesses it any more.
pub(crate) unsafe fn unmap(address: VirtAddr, handle: u32) -> Result<(), XenError> {
    let mut op = UnmapGrantRef { host_addr: address.value() as u64, handle, ..UnmapGrantRef::default() };
    // SAFETY: number and type belong together; the caller vouches for the mapping.
    unsafe { grant_op(abi::GNTTABOP_UNMAP_GRANT_REF, &mut op) }?;
    check(op.status)
}

/// A copy between memory of ours and a page that somebody has granted us.
#[derive(Debug)]
pub struct Piece<'a> {
    /// The page.
    pub reference: GrantRef,
    /// Where in the page, in bytes.
    pub offset: usize,
    /// Memory of ours, no more than there is in the page from `offset` on.
    pub ours: Ours<'a>,
}

/// Memory of ours, and which way the bytes go.
#[derive(Debug)]
pub enum Ours<'a> {
    /// From the peer to us.
    Into(&'a mut [u8]),
    /// From us to the peer.
    From(&'a [u8]),
}

/// Copies between pages that `domain` has granted us and memory of ours. Ends at the first error.
///
/// Xen checks the grants: one that is not there, is another domain's, or does not allow writing, is EINVAL or EPERM.
pub fn copy(domain: DomId, pieces: &mut [Piece<'_>]) -> Result<(), XenError> {
    let mut batch = heapless::Vec::<GrantCopy, BATCH>::new();
    for piece in pieces {
        let (address, len, is_inward) = match &mut piece.ours {
            Ours::Into(data) => (data.as_mut_ptr().expose_provenance(), data.len(), true),
            Ours::From(data) => (data.as_ptr().expose_provenance(), data.len(), false),
        };
        if piece.offset > PAGE_SIZE || len > PAGE_SIZE - piece.offset {
            return Err(XenError::EINVAL);
        }
        let mut done = 0;
        while done < len {
            // Our side of a copy lies within one page, too.
            let at = address + done;
            let part = (PAGE_SIZE - at % PAGE_SIZE).min(len - done);
            let frame = mfn_of(pfn_at(VirtAddr::new(at - at % PAGE_SIZE))).number();
            let own =
                CopyPtr { frame_or_reference: frame, domid: DomId::SELF, offset: narrow(at % PAGE_SIZE), padding: 0 };
            let theirs = CopyPtr {
                frame_or_reference: piece.reference.0.into(),
                domid: domain,
                offset: narrow(piece.offset + done),
                padding: 0,
            };
            let (source, dest, flags) = match is_inward {
                true => (theirs, own, abi::GNTCOPY_SOURCE_GREF),
                false => (own, theirs, abi::GNTCOPY_DEST_GREF),
            };
            let op = GrantCopy { source, dest, len: narrow(part), flags, ..GrantCopy::default() };
            // There is room: a full batch was made.
            let _ = batch.push(op);
            done += part;
            if batch.is_full() {
                make_copies(&mut batch)?;
            }
        }
    }
    make_copies(&mut batch)
}

/// Makes the copies of a batch, which [`copy`] has put together, and empties it.
fn make_copies<const N: usize>(batch: &mut heapless::Vec<GrantCopy, N>) -> Result<(), XenError> {
    if batch.is_empty() {
        return Ok(());
    }
    // SAFETY: number and type belong together; frames of ours that are written to are those of exclusive slices, which
    // `copy` holds until this returns.
    unsafe { grant_ops(abi::GNTTABOP_COPY, batch) }?;
    for op in batch.iter() {
        check(op.status)?;
    }
    batch.clear();
    Ok(())
}

/// A number of bytes within a page.
fn narrow(within_page: usize) -> u16 {
    u16::try_from(within_page).unwrap_or(u16::MAX)
}

fn check(status: i16) -> Result<(), XenError> {
    match status {
        abi::GNTST_OKAY => Ok(()),
        -8 => Err(XenError::EPERM),
        -13 => Err(XenError::ENOSPC),
        _ => Err(XenError::EINVAL),
    }
}
