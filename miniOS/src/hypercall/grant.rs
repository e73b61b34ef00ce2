//! Grant table operations.
// UNSAFETY: one hypercall, whose argument types are vouched for here.
#![expect(unsafe_code)]

use super::XenError;
use crate::addr::Mfn;
use crate::arch::{Arguments, hypercall};
use xen_abi::grant::{self as abi, QuerySize, SetupTable};
use xen_abi::{DomId, Hypercall};

/// Most pages that a table of ours can have; Xen's default limit for a guest is 64.
pub const MAX_FRAMES: usize = 64;

/// Makes one operation with its argument.
///
/// # Safety
/// `T` has the layout that `public/grant_table.h` gives for operation `number`, and what it points to is ours alone.
unsafe fn grant_op<T>(number: u32, argument: &mut T) -> Result<(), XenError> {
    let arguments = Arguments(number as usize, core::ptr::from_mut(argument).expose_provenance(), 1, 0, 0);
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

fn check(status: i16) -> Result<(), XenError> {
    match status {
        abi::GNTST_OKAY => Ok(()),
        -8 => Err(XenError::EPERM),
        -13 => Err(XenError::ENOSPC),
        _ => Err(XenError::EINVAL),
    }
}
