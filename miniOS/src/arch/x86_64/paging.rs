//! Page tables of a PV domain.
//!
//! The tables hold machine frames and are read-only to us; Xen makes each change after checking it. What we map:
//!
//! | addresses | what |
//! |---|---|
//! | image base + 4096 × frame | every page of this domain ([`extend`] adds those that the domain builder left out) |
//! | [`WINDOWS`] on | windows onto frames of others, made by [`reserve`] and filled frame by frame |
//!
//! Page 0 is never mapped, since the image base lies above it. Windows are given out in whole runs; their tables stay
//! when they are given back, so tables grow with the most that was ever mapped at a time, not with anybody's memory.
// UNSAFETY: reads page tables, makes pages into tables, and changes mappings.
#![expect(unsafe_code)]

use crate::addr::{Mfn, Pfn, VirtAddr, to_usize};
use crate::frame::{address_of, mfn_of, pfn_at};
use crate::hypercall::{XenError, grant, mmu};
use crate::shared::SharedBytes;
use alloc::alloc::{Layout, alloc_zeroed};
use alloc::vec::Vec;
use core::ptr;
use spin::Mutex;
use xen_abi::mmu::{
    MACH2PHYS_VIRT_END, MACH2PHYS_VIRT_START, MMU_NORMAL_PT_UPDATE, MMU_PT_UPDATE_NO_TRANSLATE, MmuUpdate,
};
use xen_abi::{DomId, GrantRef, PAGE_SHIFT, PAGE_SIZE};

/// Entry bits: present, writable, accessed and dirty. Xen adds what makes a page ours alone.
const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
/// User: Xen wants it in entries that point to tables.
const USER: u64 = 1 << 2;
const TABLE: u64 = PRESENT | WRITABLE | USER | ACCESSED | DIRTY;
const DATA: u64 = PRESENT | WRITABLE | ACCESSED | DIRTY;
const READ_ONLY: u64 = PRESENT | ACCESSED | DIRTY;
/// Entry bits of memory that must not be cached: PWT and PCD.
const UNCACHED: u64 = 1 << 3 | 1 << 4;
/// Bits of an entry that hold the frame.
const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// Where windows begin: the second entry of the top table, which nothing else uses.
pub(crate) const WINDOWS: VirtAddr = VirtAddr::new(0x80_0000_0000);
/// Pages that windows can take: 64 GiB.
const WINDOW_PAGES: usize = 1 << 24;

/// Entries in a table.
const ENTRIES: usize = 512;
/// Changes made by one hypercall.
const BATCH: usize = 128;

/// What a mapping allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

/// Whether frame numbers are the owner's guest-physical ones or the machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbering {
    /// As the owner numbers its memory.
    Owners,
    /// Machine frames of an owner whose memory is translated.
    Machine,
}

/// Address of the top table, as the domain builder left it.
static TOP: spin::Once<VirtAddr> = spin::Once::new();

/// Says where the top table is.
pub(crate) fn set_top_table(address: VirtAddr) {
    TOP.call_once(|| address);
}

/// Where a table is mapped, given its machine frame: every table is a page of ours.
fn table_at(frame: Mfn) -> VirtAddr {
    let entries = (MACH2PHYS_VIRT_END - MACH2PHYS_VIRT_START) / size_of::<u64>();
    let index = to_usize(frame.number());
    assert!(index < entries, "no such machine frame: {index:#x}");
    let entry = ptr::with_exposed_provenance::<u64>(MACH2PHYS_VIRT_START).wrapping_add(index);
    // SAFETY: Xen maps its table of machine frames there for every 64-bit PV domain, and `frame`, which an entry of a
    // table of ours refers to, exists.
    let pfn = Pfn::new(unsafe { entry.read_volatile() });
    address_of(pfn)
}

/// Reads an entry of a table.
fn entry_at(table: VirtAddr, index: usize) -> u64 {
    let entry = ptr::with_exposed_provenance::<u64>(table.value()).wrapping_add(index);
    // SAFETY: tables are mapped, and `index` is one of their 512 entries by `VirtAddr::table_index`.
    unsafe { entry.read_volatile() }
}

fn frame_in(entry: u64) -> Mfn {
    Mfn::new((entry & FRAME) >> PAGE_SHIFT)
}

/// Machine address of an entry, for Xen.
fn machine_address(table: VirtAddr, index: usize) -> u64 {
    (mfn_of(pfn_at(table)).number() << PAGE_SHIFT) + (index * size_of::<u64>()) as u64
}

fn top() -> Result<VirtAddr, XenError> {
    TOP.get().copied().ok_or(XenError::ENOSYS)
}

/// The lowest table for an address, if there is one.
fn lowest_table(address: VirtAddr) -> Result<Option<VirtAddr>, XenError> {
    let mut table = top()?;
    for level in [4, 3, 2] {
        let entry = entry_at(table, address.table_index(level));
        if entry & PRESENT == 0 {
            return Ok(None);
        }
        table = table_at(frame_in(entry));
    }
    Ok(Some(table))
}

/// The lowest table for an address, with the tables above it made where they are missing, each from a zeroed page of
/// ours that `fresh` gives and that is used for nothing else any more.
fn make_tables(address: VirtAddr, fresh: &mut dyn FnMut() -> Option<VirtAddr>) -> Result<VirtAddr, XenError> {
    let mut table = top()?;
    for level in [4, 3, 2] {
        let index = address.table_index(level);
        let entry = entry_at(table, index);
        table = if entry & PRESENT == 0 {
            let page = fresh().ok_or(XenError::ENOMEM)?;
            install_table(table, index, page)?;
            page
        } else {
            table_at(frame_in(entry))
        };
    }
    Ok(table)
}

/// Makes a page of ours a table and puts it into an entry of the table above.
fn install_table(above: VirtAddr, index: usize, page: VirtAddr) -> Result<(), XenError> {
    let frame = mfn_of(pfn_at(page)).number() << PAGE_SHIFT;
    // SAFETY: the page is used as a table only from now on, through `entry_at`, which reads; so it may lose its
    // writability.
    unsafe { mmu::update_va_mapping(page, frame | READ_ONLY) }?;
    let update = MmuUpdate { ptr: machine_address(above, index) | MMU_NORMAL_PT_UPDATE, val: frame | TABLE };
    // SAFETY: the entry was not present, so nothing is unmapped.
    unsafe { mmu::mmu_update(&[update], DomId::SELF) }.map_err(|(_, error)| error)
}

/// Whether there is a page at an address.
pub(crate) fn is_mapped(address: VirtAddr) -> bool {
    let table = lowest_table(address).ok().flatten();
    table.is_some_and(|table| entry_at(table, address.table_index(1)) & PRESENT != 0)
}

/// Maps the pages of this domain from `first` up to `end`, which the domain builder left out. Tables are taken from the
/// front of what is mapped already: from `free` on. Returns where the free memory begins afterwards.
///
/// # Safety
/// The memory from `free` up to `first` is mapped and nobody uses it; no page of `first..end` is mapped.
pub(crate) unsafe fn extend(mut free: VirtAddr, first: VirtAddr, end: VirtAddr) -> Result<VirtAddr, XenError> {
    let mut next = first;
    while next < end {
        let limit = next;
        let mut fresh = || {
            let page = free;
            if page >= limit {
                return None;
            }
            free = page.page(1);
            clear_page(page);
            Some(page)
        };
        let count = (ENTRIES - next.table_index(1)).min((end.value() - next.value()) / PAGE_SIZE);
        if let Some(table) = lowest_table(next)? {
            // The rest of a table that exists.
            for page in 0..count {
                let address = next.page(page);
                let val = mfn_of(pfn_at(address)).number() << PAGE_SHIFT | DATA;
                let update = MmuUpdate { ptr: machine_address(table, address.table_index(1)), val };
                // SAFETY: the entry was not present, by the caller's word.
                unsafe { mmu::mmu_update(&[update], DomId::SELF) }.map_err(|(_, error)| error)?;
            }
        } else {
            // A whole table, filled while it still is a plain page: one hypercall for 2 MiB.
            let table = fresh().ok_or(XenError::ENOMEM)?;
            let entries = ptr::with_exposed_provenance_mut::<u64>(table.value());
            for page in 0..count {
                let address = next.page(page);
                let entry = entries.wrapping_add(address.table_index(1));
                // SAFETY: `fresh` gave a page of our own, which is mapped and written by nobody else.
                unsafe { entry.write_volatile(mfn_of(pfn_at(address)).number() << PAGE_SHIFT | DATA) };
            }
            let above = make_directory(next, &mut fresh)?;
            install_table(above, next.table_index(2), table)?;
        }
        next = next.page(count);
    }
    Ok(free)
}

/// The table of level 2 for an address, made where it is missing.
fn make_directory(address: VirtAddr, fresh: &mut dyn FnMut() -> Option<VirtAddr>) -> Result<VirtAddr, XenError> {
    let mut table = top()?;
    for level in [4, 3] {
        let index = address.table_index(level);
        let entry = entry_at(table, index);
        table = if entry & PRESENT == 0 {
            let page = fresh().ok_or(XenError::ENOMEM)?;
            install_table(table, index, page)?;
            page
        } else {
            table_at(frame_in(entry))
        };
    }
    Ok(table)
}

fn clear_page(page: VirtAddr) {
    let start = ptr::with_exposed_provenance_mut::<u8>(page.value());
    // SAFETY: callers pass pages of free memory that is mapped and writable.
    unsafe { start.write_bytes(0, PAGE_SIZE) };
}

/// Takes the page at an address away, so that every access to it faults.
///
/// # Safety
/// Nobody uses the page, now or later.
pub(crate) unsafe fn unmap_page(address: VirtAddr) -> Result<(), XenError> {
    // SAFETY: the caller vouches for it.
    unsafe { mmu::update_va_mapping(address, 0) }
}

/// Maps a machine frame that is shared with this domain over a page of ours.
///
/// # Safety
/// Nobody uses the page that was there, and what is there now is accessed as shared memory only.
pub(crate) unsafe fn replace_page(address: VirtAddr, frame: Mfn) -> Result<(), XenError> {
    // SAFETY: the caller vouches for it.
    unsafe { mmu::update_va_mapping(address, frame.number() << PAGE_SHIFT | DATA) }
}

/// Runs of window pages that nobody has, by first page; never two that touch.
struct FreeWindows {
    runs: Vec<(usize, usize)>,
    begun: bool,
}

static FREE_WINDOWS: Mutex<FreeWindows> = Mutex::new(FreeWindows { runs: Vec::new(), begun: false });

impl FreeWindows {
    fn take(&mut self, pages: usize) -> Option<usize> {
        if !self.begun {
            self.begun = true;
            self.runs.push((0, WINDOW_PAGES));
        }
        let align = if pages.is_multiple_of(ENTRIES) { ENTRIES } else { 1 };
        let fit = |&(first, len): &(usize, usize)| {
            let at = first.next_multiple_of(align);
            (at - first + pages <= len).then_some(at)
        };
        let (index, at) = self.runs.iter().enumerate().find_map(|(index, run)| fit(run).map(|at| (index, at)))?;
        let (first, len) = self.runs.remove(index);
        let mut insert = index;
        if at > first {
            self.runs.insert(insert, (first, at - first));
            insert += 1;
        }
        if at + pages < first + len {
            self.runs.insert(insert, (at + pages, first + len - at - pages));
        }
        Some(at)
    }

    fn give(&mut self, first: usize, pages: usize) {
        let index = self.runs.partition_point(|run| run.0 < first);
        self.runs.insert(index, (first, pages));
        if self.runs.get(index + 1).is_some_and(|next| first + pages == next.0) {
            let (_, len) = self.runs.remove(index + 1);
            self.runs[index].1 += len;
        }
        if index > 0 && self.runs[index - 1].0 + self.runs[index - 1].1 == first {
            let (_, len) = self.runs.remove(index);
            self.runs[index - 1].1 += len;
        }
    }
}

/// Addresses that are nobody else's, with tables but nothing mapped.
#[derive(Debug)]
pub(crate) struct Window {
    bytes: SharedBytes,
}

/// Forgets cached translations, after mappings were replaced.
pub(crate) fn flush() {
    mmu::flush_tlb();
}

/// Reserves `pages` pages of addresses. A multiple of 512 starts at a multiple of 512.
pub(crate) fn reserve(pages: usize) -> Result<Window, XenError> {
    if pages == 0 {
        return Err(XenError::EINVAL);
    }
    top()?;
    let first = FREE_WINDOWS.lock().take(pages).ok_or(XenError::ENOMEM)?;
    let start = WINDOWS.page(first);
    // SAFETY: the addresses are this window's alone until it is dropped, and an access to a page of it that is not
    // mapped faults, which ends the domain.
    let window = Window { bytes: unsafe { SharedBytes::from_raw(start, pages * PAGE_SIZE) } };
    let mut fresh = || {
        // SAFETY: the layout has a size.
        let page = unsafe { alloc_zeroed(Layout::new::<TablePage>()) };
        (!page.is_null()).then(|| VirtAddr::new(page.expose_provenance()))
    };
    let mut page = 0;
    while page < pages {
        make_tables(start.page(page), &mut fresh)?;
        page += ENTRIES - start.page(page).table_index(1);
    }
    Ok(window)
}

/// A page that becomes a table; it is never given back.
#[repr(C, align(4096))]
struct TablePage([u8; PAGE_SIZE]);

impl Window {
    /// The memory. Only pages that are mapped may be accessed.
    pub(crate) fn bytes(&self) -> &SharedBytes {
        &self.bytes
    }

    pub(crate) fn pages(&self) -> usize {
        self.bytes.len() / PAGE_SIZE
    }

    /// Maps frames of `owner` from the window's `first` page on, in place of what was there. `frame(i)` is what goes
    /// to page `first + i`. Each frame that Xen refuses is reported, and its page left unmapped.
    ///
    /// Returns whether Xen was asked at all: an error is one of ours.
    pub(crate) fn map(
        &mut self,
        owner: DomId,
        numbering: Numbering,
        access: Access,
        (first, count): (usize, usize),
        frame: impl Fn(usize) -> u64,
        mut refused: impl FnMut(usize, XenError),
    ) -> Result<(), XenError> {
        let bits = match access {
            Access::ReadOnly => READ_ONLY,
            Access::ReadWrite => DATA,
        };
        let command = match numbering {
            Numbering::Owners => MMU_NORMAL_PT_UPDATE,
            Numbering::Machine => MMU_PT_UPDATE_NO_TRANSLATE,
        };
        self.change(owner, command, (first, count), |page| frame(page) << PAGE_SHIFT | bits, &mut refused)
    }

    /// Unmaps pages, and forgets cached translations.
    pub(crate) fn unmap(&mut self, first: usize, count: usize) -> Result<(), XenError> {
        self.change(DomId::SELF, MMU_NORMAL_PT_UPDATE, (first, count), |_| 0, &mut |_, _| {})?;
        mmu::flush_tlb();
        Ok(())
    }

    /// Maps registers of a device all over the window, past the caches, from a machine frame on. For domain 0.
    pub(crate) fn map_device(&mut self, first: Mfn) -> Result<(), XenError> {
        let mut result = Ok(());
        let entry = |page: usize| (first.number() + page as u64) << PAGE_SHIFT | DATA | UNCACHED;
        self.change(DomId::SELF, MMU_NORMAL_PT_UPDATE, (0, self.pages()), entry, &mut |_, error| result = Err(error))?;
        result
    }

    /// Maps a page that `owner` has granted us, where nothing is mapped, and names the mapping.
    pub(crate) fn map_granted(&mut self, page: usize, owner: DomId, reference: GrantRef) -> Result<u32, XenError> {
        if page >= self.pages() {
            return Err(XenError::EINVAL);
        }
        // SAFETY: the tables were made with the window, whose addresses it alone gives out, as shared memory.
        unsafe { grant::map(self.bytes.address().page(page), owner, reference) }
    }

    /// Ends a mapping that [`map_granted`](Self::map_granted) has made of this page.
    pub(crate) fn unmap_granted(&mut self, page: usize, handle: u32) -> Result<(), XenError> {
        // SAFETY: the page is the window's, and whoever has the window exclusively accesses nothing of it. Xen refuses a
        // handle that is not of this address.
        unsafe { grant::unmap(self.bytes.address().page(page), handle) }
    }

    fn change(
        &mut self,
        owner: DomId,
        command: u64,
        (first, count): (usize, usize),
        entry: impl Fn(usize) -> u64,
        refused: &mut dyn FnMut(usize, XenError),
    ) -> Result<(), XenError> {
        if first > self.pages() || count > self.pages() - first {
            return Err(XenError::EINVAL);
        }
        let mut updates = [MmuUpdate::default(); BATCH];
        let mut page = 0;
        while page < count {
            let address = self.bytes.address().page(first + page);
            let table = lowest_table(address)?.ok_or(XenError::EFAULT)?;
            let index = address.table_index(1);
            let len = BATCH.min(count - page).min(ENTRIES - index);
            let machine = machine_address(table, index);
            for (at, update) in updates[..len].iter_mut().enumerate() {
                let place = machine + (at * size_of::<u64>()) as u64;
                *update = MmuUpdate { ptr: place | command, val: entry(page + at) };
            }
            apply(&mut updates[..len], owner, |at, error| refused(page + at, error));
            page += len;
        }
        Ok(())
    }
}

/// Makes changes, and clears the entry of each one that is refused.
fn apply(updates: &mut [MmuUpdate], owner: DomId, mut refused: impl FnMut(usize, XenError)) {
    let mut done = 0;
    while done < updates.len() {
        // SAFETY: the entries are a window's, which `Window` alone gives out, as shared memory.
        match unsafe { mmu::mmu_update(&updates[done..], owner) } {
            Ok(()) => return,
            Err((made, error)) => {
                done += made;
                let Some(update) = updates.get(done) else { return };
                refused(done, error);
                let clear = MmuUpdate { ptr: update.ptr & !3, val: 0 };
                // SAFETY: as above.
                let _: Result<(), (usize, XenError)> = unsafe { mmu::mmu_update(&[clear], DomId::SELF) };
                done += 1;
            }
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if self.unmap(0, self.pages()).is_ok() {
            let first = (self.bytes.address().value() - WINDOWS.value()) / PAGE_SIZE;
            FREE_WINDOWS.lock().give(first, self.pages());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_taken_aligned_and_given_back_whole() {
        let mut free = FreeWindows { runs: Vec::new(), begun: false };
        assert_eq!(free.take(3), Some(0));
        assert_eq!(free.take(512), Some(512));
        assert_eq!(free.take(1), Some(3));
        free.give(0, 3);
        free.give(512, 512);
        free.give(3, 1);
        assert_eq!(free.runs, [(0, WINDOW_PAGES)]);
        assert_eq!(free.take(WINDOW_PAGES + 1), None);
    }
}
