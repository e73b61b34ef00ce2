//! The grant table: which pages of ours another domain may map.
//!
//! Version 1, mapped from Xen and grown a page at a time. An entry whose use goes on when we end it is not used again
//! until the peer has let go; [`GrantedPages`] keeps its pages out of use too.

use crate::addr::Mfn;
use crate::arch::paging::{self, Access, Numbering};
use crate::frame::{OutOfMemory, SharedPages};
use crate::hypercall::{XenError, grant as ops};
use crate::shared::SharedBytes;
use alloc::vec::Vec;
use core::mem::{ManuallyDrop, offset_of};
use core::ops::Deref;
use core::sync::atomic::Ordering;
use spin::Mutex;
use xen_abi::grant::{
    ENTRIES_PER_FRAME, EntryV1, GNTTAB_NR_RESERVED_ENTRIES, GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_WRITING,
};
use xen_abi::{DomId, GrantRef};

/// How often a change of an entry is tried while Xen changes it too. Xen only adds or takes the two bits of use.
const ATTEMPTS: usize = 16;

struct Table {
    mapped: Option<Mapped>,
    /// Entries that nobody uses.
    free: Vec<u32>,
    /// Entries that we have ended, but whose peer has not.
    lingering: Vec<u32>,
}

struct Mapped {
    window: paging::Window,
    /// Pages of the table that exist.
    frames: usize,
    max_frames: usize,
}

static TABLE: Mutex<Table> = Mutex::new(Table { mapped: None, free: Vec::new(), lingering: Vec::new() });

impl Table {
    /// An entry that nobody uses.
    fn take(&mut self) -> Result<u32, XenError> {
        if self.free.is_empty() {
            self.collect();
        }
        if self.free.is_empty() {
            self.grow()?;
        }
        self.free.pop().ok_or(XenError::ENOSPC)
    }

    /// Takes back the entries whose peers have let go.
    fn collect(&mut self) {
        let Self { mapped: Some(mapped), free, lingering } = self else { return };
        lingering.retain(|&entry| {
            let ended = mapped.end(entry);
            if ended {
                free.push(entry);
            }
            !ended
        });
    }

    fn grow(&mut self) -> Result<(), XenError> {
        let mapped = match &mut self.mapped {
            Some(mapped) => mapped,
            empty => empty.insert(Mapped::open()?),
        };
        let frames = (mapped.frames + 1).min(mapped.max_frames);
        if frames == mapped.frames {
            return Err(XenError::ENOSPC);
        }
        mapped.map(mapped.frames, frames)?;
        let per_frame = ENTRIES_PER_FRAME as usize;
        let first = (mapped.frames * per_frame).max(GNTTAB_NR_RESERVED_ENTRIES as usize);
        // Backwards, so that low entries are used first.
        self.free.extend((first..frames * per_frame).rev().filter_map(|entry| u32::try_from(entry).ok()));
        self.lingering.reserve(per_frame);
        mapped.frames = frames;
        Ok(())
    }
}

impl Mapped {
    fn open() -> Result<Self, XenError> {
        let (_, max_frames) = ops::query_size()?;
        let max_frames = (max_frames as usize).clamp(1, ops::MAX_FRAMES);
        Ok(Self { window: paging::reserve(max_frames)?, frames: 0, max_frames })
    }

    /// Makes the table `frames` pages long, and maps those from `first` on.
    fn map(&mut self, first: usize, frames: usize) -> Result<(), XenError> {
        let list = ops::setup_table(frames)?;
        let mut result = Ok(());
        let new = (first, frames - first);
        let frame = |page: usize| list[first + page].number();
        self.window
            .map(DomId::SELF, Numbering::Owners, Access::ReadWrite, new, frame, |_, error| result = Err(error))?;
        result
    }

    fn at(entry: u32, field: usize) -> usize {
        entry as usize * size_of::<EntryV1>() + field
    }

    fn set(&self, entry: u32, domain: DomId, frame: u32, flags: u16) {
        let bytes = self.window.bytes();
        bytes.store_u16(Self::at(entry, offset_of!(EntryV1, domid)), domain.0, Ordering::Relaxed);
        bytes.store_u32(Self::at(entry, offset_of!(EntryV1, frame)), frame, Ordering::Relaxed);
        // The entry is valid from here on.
        bytes.store_u16(Self::at(entry, offset_of!(EntryV1, flags)), flags, Ordering::Release);
    }

    /// Ends an entry, unless its peer uses it.
    fn end(&self, entry: u32) -> bool {
        let at = Self::at(entry, offset_of!(EntryV1, flags));
        for _ in 0..ATTEMPTS {
            let flags = self.window.bytes().load_u16(at, Ordering::Acquire);
            if flags & (GTF_READING | GTF_WRITING) != 0 {
                return false;
            }
            if self.window.bytes().exchange_u16(at, flags, 0).is_ok() {
                return true;
            }
        }
        false
    }
}

/// Unmaps the table, whose pages are Xen's and cannot be saved. Nothing is granted until [`resume`].
pub(crate) fn suspend() -> Result<(), XenError> {
    match &mut TABLE.lock().mapped {
        Some(mapped) => mapped.window.unmap(0, mapped.frames),
        None => Ok(()),
    }
}

/// Maps the table again. In another domain it is empty: what was granted before is not any more.
pub(crate) fn resume() -> Result<(), XenError> {
    match &mut TABLE.lock().mapped {
        Some(mapped) => mapped.map(0, mapped.frames),
        None => Ok(()),
    }
}

/// The right of a domain to map one page of ours.
///
/// When dropped, the right ends as soon as the peer has let go. Whether it has is what [`Grant::end`] tells; only then
/// may the page be used for something else.
#[derive(Debug)]
pub struct Grant {
    reference: GrantRef,
}

impl Grant {
    /// Lets `domain` map a frame of ours.
    pub fn access(domain: DomId, frame: Mfn, access: Access) -> Result<Self, XenError> {
        let frame = u32::try_from(frame.number()).map_err(|_| XenError::ERANGE)?;
        let mut table = TABLE.lock();
        let entry = table.take()?;
        let flags = match access {
            Access::ReadOnly => GTF_PERMIT_ACCESS | GTF_READONLY,
            Access::ReadWrite => GTF_PERMIT_ACCESS,
        };
        let mapped = table.mapped.as_ref().ok_or(XenError::ENOSPC)?;
        mapped.set(entry, domain, frame, flags);
        Ok(Self { reference: GrantRef(entry) })
    }

    /// Its number, for the peer.
    #[must_use]
    pub const fn reference(&self) -> GrantRef {
        self.reference
    }

    /// Ends the right. While the peer uses the page that is not possible, and the grant comes back.
    pub fn end(self) -> Result<(), Self> {
        if self.try_end() {
            let _ended = ManuallyDrop::new(self);
            Ok(())
        } else {
            Err(self)
        }
    }

    fn try_end(&self) -> bool {
        let mut table = TABLE.lock();
        let ended = table.mapped.as_ref().is_some_and(|mapped| mapped.end(self.reference.0));
        if ended {
            table.free.push(self.reference.0);
        }
        ended
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if !self.try_end() {
            TABLE.lock().lingering.push(self.reference.0);
        }
    }
}

/// Why pages could not be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantError {
    /// There are not enough pages.
    Memory(OutOfMemory),
    /// Xen gives no more entries.
    Xen(XenError),
}

impl core::fmt::Display for GrantError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Memory(error) => error.fmt(f),
            Self::Xen(error) => write!(f, "no grant: {error}"),
        }
    }
}

impl core::error::Error for GrantError {}

/// Pages of ours that one domain may map, all of them. When dropped while the peer still uses one, they are lost.
#[derive(Debug)]
pub struct GrantedPages {
    grants: Vec<Grant>,
    /// Taken by `drop` alone.
    pages: Option<SharedPages>,
}

impl GrantedPages {
    /// Takes `pages` zeroed pages and grants them.
    pub fn alloc(domain: DomId, pages: usize, access: Access) -> Result<Self, GrantError> {
        let pages = SharedPages::alloc(pages).map_err(GrantError::Memory)?;
        Self::new(domain, pages, access)
    }

    /// Grants pages.
    pub fn new(domain: DomId, pages: SharedPages, access: Access) -> Result<Self, GrantError> {
        let grants: Result<Vec<Grant>, XenError> =
            (0..pages.pages()).map(|index| Grant::access(domain, pages.mfn(index), access)).collect();
        // Grants that were made before an error end here: nobody has been told of them.
        Ok(Self { grants: grants.map_err(GrantError::Xen)?, pages: Some(pages) })
    }

    /// The grant of a page.
    #[must_use]
    pub fn reference(&self, page: usize) -> GrantRef {
        self.grants[page].reference()
    }

    /// The pages.
    #[must_use]
    pub fn pages(&self) -> &SharedPages {
        self.pages.as_ref().expect("the pages are there until they are dropped")
    }
}

impl Deref for GrantedPages {
    type Target = SharedBytes;

    fn deref(&self) -> &SharedBytes {
        self.pages()
    }
}

impl Drop for GrantedPages {
    fn drop(&mut self) {
        let mut used = false;
        for grant in self.grants.drain(..) {
            used |= grant.end().is_err();
        }
        if used && let Some(pages) = self.pages.take() {
            pages.leak();
        }
    }
}
