//! Pages of this domain's memory that are handed to others, and where they lie in the machine.
// UNSAFETY: owns pages as raw memory, and reads the table of frames that the domain builder left.
#![expect(unsafe_code)]

use crate::addr::{Mfn, Pfn, VirtAddr, to_usize};
use crate::boot;
use crate::shared::SharedBytes;
use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use xen_abi::{PAGE_SHIFT, PAGE_SIZE};

/// Address of the table from pseudo-physical to machine frames; 0 until the start, and on the host.
static FRAME_TABLE: AtomicUsize = AtomicUsize::new(0);
/// Number of the table's entries.
static FRAME_COUNT: AtomicUsize = AtomicUsize::new(0);

/// Says where the table of frames is.
pub(crate) fn set_frame_table(table: VirtAddr, count: usize) {
    FRAME_COUNT.store(count, Ordering::Relaxed);
    FRAME_TABLE.store(table.value(), Ordering::Relaxed);
}

/// Pages of this domain.
#[must_use]
pub fn total_pages() -> usize {
    FRAME_COUNT.load(Ordering::Relaxed)
}

/// The machine frame of a page of ours. On the host, where there is none, the page's number.
#[must_use]
pub fn mfn_of(pfn: Pfn) -> Mfn {
    let table = FRAME_TABLE.load(Ordering::Relaxed);
    if table == 0 {
        return Mfn::new(pfn.number());
    }
    let index = to_usize(pfn.number());
    assert!(index < FRAME_COUNT.load(Ordering::Relaxed), "frame {index:#x} is not ours");
    let entry = ptr::with_exposed_provenance::<u64>(table).wrapping_add(index);
    // SAFETY: the domain builder mapped the whole table, `index` lies within it, and only Xen's tools ever write it.
    Mfn::new(unsafe { entry.read_volatile() })
}

/// The pseudo-physical frame that holds a page of ours.
#[must_use]
pub fn pfn_at(address: VirtAddr) -> Pfn {
    Pfn::new(((address.value() - boot::virt_base()) / PAGE_SIZE) as u64)
}

/// Where a page of ours is mapped.
#[must_use]
pub fn address_of(pfn: Pfn) -> VirtAddr {
    VirtAddr::new(boot::virt_base()).page(to_usize(pfn.number()))
}

/// How many of some bytes of ours, from the first on, lie one after the other in the machine, as devices see them; and the
/// machine address of the first.
#[must_use]
pub fn machine_run(bytes: &[u8]) -> (u64, usize) {
    let start = bytes.as_ptr().expose_provenance();
    let frame = |address: usize| mfn_of(pfn_at(VirtAddr::new(address - address % PAGE_SIZE))).number();
    let first = frame(start);
    let mut len = PAGE_SIZE - start % PAGE_SIZE;
    let mut next = first + 1;
    while len < bytes.len() && frame(start + len) == next {
        len += PAGE_SIZE;
        next += 1;
    }
    ((first << PAGE_SHIFT) + (start % PAGE_SIZE) as u64, len.min(bytes.len()))
}

/// There is not enough memory left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// What was asked for.
    pub pages: usize,
}

impl core::fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "no {} pages of memory left", self.pages)
    }
}

impl core::error::Error for OutOfMemory {}

/// Pages of ours, one after the other in virtual memory, that a peer may read or write.
///
/// They come zeroed and go back to the heap when dropped. Whoever gave a peer access and cannot take it back calls
/// [`SharedPages::leak`].
#[derive(Debug)]
pub struct SharedPages {
    bytes: SharedBytes,
}

impl SharedPages {
    /// Takes `pages` pages, at least one.
    pub fn alloc(pages: usize) -> Result<Self, OutOfMemory> {
        let layout = Self::layout(pages).ok_or(OutOfMemory { pages })?;
        // SAFETY: the layout has a size greater than zero.
        let start = unsafe { alloc_zeroed(layout) };
        if start.is_null() {
            return Err(OutOfMemory { pages });
        }
        let start = VirtAddr::new(start.expose_provenance());
        // SAFETY: the allocation is as long as that, page-aligned, and reached through this value alone until it is
        // dropped together with it.
        Ok(Self { bytes: unsafe { SharedBytes::from_raw(start, layout.size()) } })
    }

    /// Number of pages.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.bytes.len() / PAGE_SIZE
    }

    /// The machine frame of one of the pages.
    #[must_use]
    pub fn mfn(&self, index: usize) -> Mfn {
        assert!(index < self.pages(), "page {index} of {}", self.pages());
        mfn_of(pfn_at(self.bytes.address().page(index)))
    }

    /// Gives the pages up for good: somebody else may go on using them.
    pub fn leak(self) {
        let kept = ManuallyDrop::new(self);
        log::warn!("{} shared pages are lost: their peer goes on using them", kept.pages());
    }

    fn layout(pages: usize) -> Option<Layout> {
        let size = pages.checked_mul(PAGE_SIZE).filter(|&size| size != 0)?;
        Layout::from_size_align(size, PAGE_SIZE).ok()
    }
}

impl Deref for SharedPages {
    type Target = SharedBytes;

    fn deref(&self) -> &SharedBytes {
        &self.bytes
    }
}

impl Drop for SharedPages {
    fn drop(&mut self) {
        let Some(layout) = Self::layout(self.pages()) else { return };
        let start = ptr::with_exposed_provenance_mut(self.bytes.address().value());
        // SAFETY: `alloc` got this memory from the same allocator with the same layout, and nobody uses it any more.
        unsafe { dealloc(start, layout) };
    }
}
