//! All memory that the image does not fill: one pool for small objects and for whole pages.
//!
//! Free memory is a list of runs of pages, kept in the pages themselves. Whole pages and large objects are taken from
//! the upper end of the highest run that fits. Small objects live in an area (`linked_list_allocator`) that starts at
//! the lowest page and grows upwards, as long as the page above it is free. So either kind can use all of the memory,
//! and pages that come and go do not break up the area of small objects.
// UNSAFETY: an allocator.
#![expect(unsafe_code)]

use crate::addr::{VirtAddr, pages_for};
use alloc::alloc::{GlobalAlloc, Layout};
use core::fmt;
use core::ptr::{self, NonNull};
use spin::Mutex;
use xen_abi::PAGE_SIZE;

/// From this size on an object gets pages of its own.
const LARGE: usize = 16384;
/// Pages by which the area of small objects grows, if there are so many.
const GROWTH: usize = 16;

/// The heap of an image; [`image!`](crate::image) makes it the global allocator.
#[derive(Clone, Copy, Debug)]
pub struct Heap;

static POOL: Mutex<Pool> = Mutex::new(Pool::new());

/// Makes the pages from `start` to `end` the heap.
///
/// # Safety
/// They are mapped and writable, page-aligned, and nobody uses them; called once.
pub(crate) unsafe fn begin(start: VirtAddr, end: VirtAddr) {
    let pages = (end.value() - start.value()) / PAGE_SIZE;
    // SAFETY: the caller vouches for it.
    unsafe { POOL.lock().begin(start.value(), pages) };
}

/// Bytes that are free now, not counting gaps between small objects.
#[must_use]
pub fn free_bytes() -> usize {
    POOL.try_lock().map_or(0, |pool| pool.free_bytes())
}

/// How much of the heap is in use, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Now.
    pub used: usize,
    /// The most that was at a time since the start, or since [`forget_most`].
    pub most: usize,
    /// All that there is.
    pub total: usize,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB of {} in use, {} at most", self.used >> 10, self.total >> 10, self.most >> 10)
    }
}

/// How much is in use now, and was at most.
#[must_use]
pub fn usage() -> Usage {
    POOL.try_lock().map_or_else(Usage::default, |pool| pool.usage())
}

/// Lets [`Usage::most`] begin anew.
pub fn forget_most() {
    if let Some(mut pool) = POOL.try_lock() {
        pool.forget_most();
    }
}

// SAFETY: `Pool` hands out memory that nobody else has, aligned and as large as asked for, until it is given back.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        POOL.lock().allocate(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        if let Some(start) = NonNull::new(start) {
            // SAFETY: the caller gives back what `alloc` gave for this layout.
            unsafe { POOL.lock().deallocate(start, layout) };
        }
    }
}

struct Pool {
    small: linked_list_allocator::Heap,
    /// Where the area of small objects begins and ends; 0 while there is none.
    small_start: usize,
    small_end: usize,
    /// Address of the lowest run of free pages, 0 for none.
    first_run: usize,
    free_pages: usize,
    /// The fewest bytes that were free at a time since [`forget_most`].
    least_free: usize,
    pages: usize,
}

/// What a run of free pages says at its start.
#[derive(Clone, Copy)]
#[repr(C)]
struct Run {
    /// Address of the next higher run, 0 for none.
    next: usize,
    pages: usize,
}

impl Pool {
    const fn new() -> Self {
        Self {
            small: linked_list_allocator::Heap::empty(),
            small_start: 0,
            small_end: 0,
            first_run: 0,
            free_pages: 0,
            least_free: 0,
            pages: 0,
        }
    }

    fn free_bytes(&self) -> usize {
        self.free_pages * PAGE_SIZE + self.small.free()
    }

    fn usage(&self) -> Usage {
        let total = self.pages * PAGE_SIZE;
        Usage { used: total - self.free_bytes(), most: total - self.least_free, total }
    }

    fn forget_most(&mut self) {
        self.least_free = self.free_bytes();
    }

    /// # Safety
    /// As for the function of that name.
    unsafe fn begin(&mut self, start: usize, pages: usize) {
        self.small_start = start;
        self.small_end = start;
        // SAFETY: the caller gives these pages away.
        unsafe { self.give(start, pages) };
        self.pages = pages;
        self.forget_most();
    }

    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let start = self.find(layout);
        self.least_free = self.least_free.min(self.free_bytes());
        start
    }

    fn find(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        if is_large(layout) {
            return self.allocate_pages(layout);
        }
        if let Ok(start) = self.small.allocate_first_fit(layout) {
            return Some(start);
        }
        let wanted = pages_for(layout.size() + layout.align() + PAGE_SIZE);
        if (self.grow(wanted.max(GROWTH)) || self.grow(wanted))
            && let Ok(start) = self.small.allocate_first_fit(layout)
        {
            return Some(start);
        }
        self.allocate_pages(layout)
    }

    fn allocate_pages(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let start = self.take_highest(pages_for(layout.size().max(1)), layout.align().max(PAGE_SIZE))?;
        NonNull::new(ptr::with_exposed_provenance_mut(start))
    }

    /// # Safety
    /// `start` is what `allocate` gave for `layout`, and nobody uses it any more.
    unsafe fn deallocate(&mut self, start: NonNull<u8>, layout: Layout) {
        let address = start.as_ptr().expose_provenance();
        if (self.small_start..self.small_end).contains(&address) {
            // SAFETY: what lies in the area of small objects was allocated there, with this layout.
            unsafe { self.small.deallocate(start, layout) };
        } else {
            // SAFETY: everything else was allocated as pages, as many as this.
            unsafe { self.give(address, pages_for(layout.size().max(1))) };
        }
    }

    /// Makes the area of small objects larger by the pages right above it.
    fn grow(&mut self, pages: usize) -> bool {
        if !self.take_at(self.small_end, pages) {
            return false;
        }
        let bytes = pages * PAGE_SIZE;
        if self.small_end == self.small_start {
            // SAFETY: the pages have just been taken; the area lives for good.
            unsafe { self.small.init(ptr::with_exposed_provenance_mut(self.small_start), bytes) };
        } else {
            // SAFETY: the pages have just been taken, and follow the area.
            unsafe { self.small.extend(bytes) };
        }
        self.small_end += bytes;
        true
    }

    /// Takes pages as high up as they are free, aligned.
    fn take_highest(&mut self, pages: usize, align: usize) -> Option<usize> {
        let (mut previous, mut at) = (0, self.first_run);
        let mut best = None;
        while at != 0 {
            let run = read_run(at);
            if run.pages >= pages {
                let start = (at + (run.pages - pages) * PAGE_SIZE) & !(align - 1);
                if start >= at {
                    best = Some((previous, at, run, start));
                }
            }
            (previous, at) = (at, run.next);
        }
        let (previous, at, run, start) = best?;
        self.cut(previous, at, run, start, pages);
        Some(start)
    }

    /// Takes the pages at an address, if all of them are free.
    fn take_at(&mut self, start: usize, pages: usize) -> bool {
        let (mut previous, mut at) = (0, self.first_run);
        while at != 0 && at <= start {
            let run = read_run(at);
            if start + pages * PAGE_SIZE <= at + run.pages * PAGE_SIZE {
                self.cut(previous, at, run, start, pages);
                return true;
            }
            (previous, at) = (at, run.next);
        }
        false
    }

    /// Takes pages out of the run at `at`, which follows `previous` (0: it is the first).
    fn cut(&mut self, previous: usize, at: usize, run: Run, start: usize, pages: usize) {
        let before = (start - at) / PAGE_SIZE;
        let after = run.pages - before - pages;
        let mut next = run.next;
        if after > 0 {
            let rest = start + pages * PAGE_SIZE;
            write_run(rest, Run { next, pages: after });
            next = rest;
        }
        if before > 0 {
            write_run(at, Run { next, pages: before });
        } else {
            self.link(previous, next);
        }
        self.free_pages -= pages;
    }

    /// # Safety
    /// The pages are the pool's, mapped, and nobody uses them.
    unsafe fn give(&mut self, start: usize, pages: usize) {
        self.free_pages += pages;
        let (mut previous, mut next) = (0, self.first_run);
        while next != 0 && next < start {
            previous = next;
            next = read_run(next).next;
        }
        let mut run = Run { next, pages };
        if next != 0 && start + pages * PAGE_SIZE == next {
            let above = read_run(next);
            run = Run { next: above.next, pages: pages + above.pages };
        }
        if previous != 0 {
            let below = read_run(previous);
            if previous + below.pages * PAGE_SIZE == start {
                write_run(previous, Run { next: run.next, pages: below.pages + run.pages });
                return;
            }
        }
        write_run(start, run);
        self.link(previous, start);
    }

    /// Makes `next` what follows the run `previous`.
    fn link(&mut self, previous: usize, next: usize) {
        if previous == 0 {
            self.first_run = next;
        } else {
            write_run(previous, Run { next, ..read_run(previous) });
        }
    }
}

fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE || layout.align() >= PAGE_SIZE
}

fn read_run(at: usize) -> Run {
    // SAFETY: `Pool` calls this with addresses of runs of free pages only, each of which starts with a `Run`.
    unsafe { ptr::with_exposed_provenance::<Run>(at).read() }
}

fn write_run(at: usize, run: Run) {
    // SAFETY: `Pool` calls this with addresses of free pages only.
    unsafe { ptr::with_exposed_provenance_mut::<Run>(at).write(run) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn pool(pages: usize) -> (Pool, usize) {
        let layout = Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE).expect("a few pages");
        // SAFETY: the layout has a size. The memory is leaked.
        let start = unsafe { std::alloc::alloc(layout) }.expose_provenance();
        let mut pool = Pool::new();
        // SAFETY: the memory is nobody else's.
        unsafe { pool.begin(start, pages) };
        (pool, start)
    }

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a sound layout")
    }

    #[test]
    fn pages_come_from_above_and_small_objects_from_below() {
        let (mut pool, start) = pool(64);
        let page = pool.allocate(layout(4096, 4096)).expect("a page").as_ptr().addr();
        let small = pool.allocate(layout(10, 1)).expect("ten bytes").as_ptr().addr();
        assert_eq!(page, start + 63 * PAGE_SIZE);
        assert!((start..start + PAGE_SIZE).contains(&small));
    }

    #[test]
    fn either_kind_can_use_all_of_the_memory() {
        let (mut pages, _) = pool(64);
        let whole = pages.allocate(layout(64 * PAGE_SIZE, 4096)).expect("all of it");
        assert!(pages.allocate(layout(1, 1)).is_none());
        // SAFETY: allocated above with this layout.
        unsafe { pages.deallocate(whole, layout(64 * PAGE_SIZE, 4096)) };
        let count = core::iter::from_fn(|| pages.allocate(layout(1024, 8))).count();
        assert!(count >= 63 * 4, "{count}");
    }

    #[test]
    fn what_is_given_back_becomes_one_run_again() {
        let (mut pool, start) = pool(64);
        let all: Vec<_> = core::iter::from_fn(|| pool.allocate(layout(3 * PAGE_SIZE, 4096))).collect();
        assert_eq!(all.len(), 21);
        for index in (0..21).step_by(2).chain((1..21).step_by(2)) {
            // SAFETY: allocated above with this layout, each given back once.
            unsafe { pool.deallocate(all[index], layout(3 * PAGE_SIZE, 4096)) };
        }
        assert_eq!(pool.first_run, start);
        assert_eq!(read_run(start).pages, 64);
        assert_eq!(pool.free_pages, 64);
    }

    #[test]
    fn the_most_that_was_in_use_is_known() {
        let (mut pool, _) = pool(64);
        assert_eq!(pool.usage(), Usage { used: 0, most: 0, total: 64 * PAGE_SIZE });
        let (pages, few) = (layout(10 * PAGE_SIZE, PAGE_SIZE), layout(1000, 8));
        let start = pool.allocate(pages).expect("ten pages");
        // SAFETY: allocated above with this layout.
        unsafe { pool.deallocate(start, pages) };
        let small = pool.allocate(few).expect("a thousand bytes");
        let Usage { used, most, .. } = pool.usage();
        assert_eq!(most, 10 * PAGE_SIZE);
        assert!((1000..2000).contains(&used), "{used}");
        pool.forget_most();
        assert_eq!(pool.usage().most, used);
        // SAFETY: allocated above with this layout.
        unsafe { pool.deallocate(small, few) };
        assert_eq!(pool.usage(), Usage { used: 0, most: used, total: 64 * PAGE_SIZE });
    }

    #[test]
    fn large_alignments_are_kept() {
        let (mut pool, _) = pool(1024);
        let first = pool.allocate(layout(PAGE_SIZE, 1 << 21)).expect("there is one such page").as_ptr().addr();
        assert!(first.is_multiple_of(1 << 21));
        assert_eq!(pool.free_pages, 1023);
    }

    #[test]
    fn random_traffic_never_overlaps() {
        let (mut pool, _) = pool(256);
        let mut held: Vec<(NonNull<u8>, Layout, u8)> = Vec::new();
        let mut seed = 1_u32;
        for round in 0..20_000_u32 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if seed & 0x8000_0000 == 0 || held.is_empty() {
                let size = match (seed >> 8) & 7 {
                    0 => 4096 * (1 + (seed >> 12 & 7) as usize),
                    _ => 1 + (seed >> 12 & 0x3ff) as usize,
                };
                let layout = layout(size, if size >= 4096 { 4096 } else { 8 });
                let Some(start) = pool.allocate(layout) else { continue };
                let mark = round.to_le_bytes()[0];
                // SAFETY: it was allocated with this size.
                unsafe { start.as_ptr().write_bytes(mark, size) };
                held.push((start, layout, mark));
            } else {
                let (start, layout, mark) = held.swap_remove(seed as usize % held.len());
                // SAFETY: it is allocated and was written.
                let bytes = unsafe { core::slice::from_raw_parts(start.as_ptr(), layout.size()) };
                assert!(bytes.iter().all(|&byte| byte == mark));
                // SAFETY: allocated with this layout, given back once.
                unsafe { pool.deallocate(start, layout) };
            }
        }
    }
}
