//! Windows onto the memory of other domains.
//!
//! Frames are mapped in batches; a window of 512 frames that starts at a multiple of 2 MiB is one table of ours. While
//! a frame is mapped its page stays where it is: the other domain can take it out of its own address space, but the
//! page is not used for anything else before we unmap it. So a mapping may show memory that the guest has replaced, but
//! an access to it cannot fault.

use crate::addr::{Gfn, Mfn};
use crate::arch::paging::{self, Numbering, Window};
use crate::hypercall::{XenError, memory};
use crate::shared::SharedBytes;
use alloc::boxed::Box;
use alloc::vec;
use xen_abi::{DomId, PAGE_SIZE};

pub use crate::arch::paging::Access;

/// There is nothing mapped at some byte of an access, or it may not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotMapped;

impl core::fmt::Display for NotMapped {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("not mapped")
    }
}

impl core::error::Error for NotMapped {}

/// Why frames could not be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapError {
    /// Which of the frames it was first; `None`: it is about none in particular.
    pub index: Option<usize>,
    /// What Xen said.
    pub error: XenError,
}

impl From<XenError> for MapError {
    fn from(error: XenError) -> Self {
        Self { index: None, error }
    }
}

impl core::fmt::Display for MapError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.index {
            Some(index) => write!(f, "frame {index} cannot be mapped: {}", self.error),
            None => write!(f, "nothing can be mapped: {}", self.error),
        }
    }
}

impl core::error::Error for MapError {}

/// Frames of another domain, one after the other in our virtual memory. Unmapped when dropped.
#[derive(Debug)]
pub struct ForeignMapping {
    window: Window,
    access: Access,
    /// A bit for each page that is mapped.
    mapped: Box<[u64]>,
}

impl ForeignMapping {
    /// Maps frames, all of them or none.
    pub fn map(domain: DomId, frames: &[Gfn], access: Access) -> Result<Self, MapError> {
        Self::map_all(domain, Numbering::Owners, frames.len(), |page| frames[page].number(), access)
    }

    /// Maps machine frames of a resource of `domain`, such as an ioreq server's pages, all of them or none.
    pub fn map_resource(domain: DomId, kind: u16, id: u32, first: u64, count: usize) -> Result<Self, MapError> {
        let mut frames = vec![Mfn::default(); count];
        memory::acquire_resource(domain, kind, id, first, &mut frames)?;
        Self::map_all(domain, Numbering::Machine, count, |page| frames[page].number(), Access::ReadWrite)
    }

    /// Maps those of `pages` frames from `first` on that exist; [`is_mapped`](Self::is_mapped) tells which.
    pub fn map_range(domain: DomId, first: Gfn, pages: usize, access: Access) -> Result<Self, XenError> {
        let mut mapping = Self::reserve(pages, access)?;
        mapping.remap_range(domain, first)?;
        Ok(mapping)
    }

    /// Maps other frames in place of those that were: as many from `first` on, those that exist.
    ///
    /// This is faster than a new mapping: its addresses and tables are there.
    pub fn remap_range(&mut self, domain: DomId, first: Gfn) -> Result<(), XenError> {
        let pages = self.pages();
        let replaced = self.mapped.iter().any(|&word| word != 0);
        self.set_all_mapped();
        let Self { window, access, mapped } = self;
        window.map(
            domain,
            Numbering::Owners,
            *access,
            (0, pages),
            |page| first.after(page as u64).number(),
            |page, _| mapped[page / 64] &= !(1 << (page % 64)),
        )?;
        if replaced {
            paging::flush();
        }
        Ok(())
    }

    /// Reserves addresses and tables for `pages` pages, with nothing mapped.
    pub fn reserve(pages: usize, access: Access) -> Result<Self, XenError> {
        let window = paging::reserve(pages)?;
        Ok(Self { window, access, mapped: vec![0; pages.div_ceil(64)].into_boxed_slice() })
    }

    fn map_all(
        domain: DomId,
        numbering: Numbering,
        pages: usize,
        frame: impl Fn(usize) -> u64,
        access: Access,
    ) -> Result<Self, MapError> {
        let mut mapping = Self::reserve(pages, access)?;
        let mut first_refused = None;
        mapping.window.map(domain, numbering, access, (0, pages), frame, |page, error| {
            first_refused.get_or_insert(MapError { index: Some(page), error });
        })?;
        mapping.set_all_mapped();
        match first_refused {
            Some(error) => Err(error),
            None => Ok(mapping),
        }
    }

    fn set_all_mapped(&mut self) {
        let pages = self.pages();
        for (index, word) in self.mapped.iter_mut().enumerate() {
            let rest = pages - index * 64;
            *word = if rest >= 64 { u64::MAX } else { (1 << rest) - 1 };
        }
    }

    /// Number of pages, mapped or not.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.window.pages()
    }

    /// Whether there is something at a page.
    #[must_use]
    pub fn is_mapped(&self, page: usize) -> bool {
        self.mapped.get(page / 64).is_some_and(|word| word >> (page % 64) & 1 != 0)
    }

    /// Copies from `offset` on into `data`, all of it or nothing.
    pub fn read(&self, offset: usize, data: &mut [u8]) -> Result<(), NotMapped> {
        self.check(offset, data.len())?;
        self.window.bytes().read(offset, data);
        Ok(())
    }

    /// Copies `data` to `offset`, all of it or nothing.
    pub fn write(&self, offset: usize, data: &[u8]) -> Result<(), NotMapped> {
        self.check_writable(offset, data.len())?;
        self.window.bytes().write(offset, data);
        Ok(())
    }

    /// Copies `len` bytes from `offset` on to `target_offset` of shared memory of ours, in one go.
    pub fn copy_to(
        &self,
        offset: usize,
        target: &SharedBytes,
        target_offset: usize,
        len: usize,
    ) -> Result<(), NotMapped> {
        self.check(offset, len)?;
        self.window.bytes().copy_to(offset, target, target_offset, len);
        Ok(())
    }

    /// Copies `len` bytes from `source_offset` on of shared memory of ours to `offset`, in one go.
    pub fn copy_from(
        &self,
        offset: usize,
        source: &SharedBytes,
        source_offset: usize,
        len: usize,
    ) -> Result<(), NotMapped> {
        self.check_writable(offset, len)?;
        source.copy_to(source_offset, self.window.bytes(), offset, len);
        Ok(())
    }

    /// The whole window as shared memory, if every page of it is mapped and may be written.
    #[must_use]
    pub fn bytes(&self) -> Option<&SharedBytes> {
        self.check_writable(0, self.window.bytes().len()).ok().map(|()| self.window.bytes())
    }

    fn check_writable(&self, offset: usize, len: usize) -> Result<(), NotMapped> {
        if self.access == Access::ReadOnly { Err(NotMapped) } else { self.check(offset, len) }
    }

    fn check(&self, offset: usize, len: usize) -> Result<(), NotMapped> {
        let end = offset.checked_add(len).filter(|&end| end <= self.window.bytes().len()).ok_or(NotMapped)?;
        let mut pages = offset / PAGE_SIZE..end.div_ceil(PAGE_SIZE);
        if pages.all(|page| self.is_mapped(page)) { Ok(()) } else { Err(NotMapped) }
    }
}
