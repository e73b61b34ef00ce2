//! Memory that somebody else can write at any time.
//!
//! Nobody ever holds a reference to it: everything is a copy, so what was checked cannot change afterwards. Numbers
//! of 1, 2, 4 and 8 bytes at aligned offsets are copied in one access.
// UNSAFETY: the only place that reads and writes memory shared with other domains; everybody else copies through it.
#![expect(unsafe_code)]

use crate::addr::VirtAddr;
use crate::arch;
use crate::shared_mem::SharedMem;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Bytes that a peer can write while we look at them.
///
/// An offset beyond the end is a mistake of ours, never of a peer: it panics.
#[derive(Debug)]
pub struct SharedBytes {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: every access is by volatile copy or atomic; there is no state that a thread could own.
unsafe impl Send for SharedBytes {}
// SAFETY: as above.
unsafe impl Sync for SharedBytes {}

macro_rules! atomic_access {
    ($load:ident, $store:ident, $number:ty, $atomic:ty) => {
        /// Loads a number at an offset that is a multiple of its size.
        #[must_use]
        pub fn $load(&self, offset: usize, order: Ordering) -> $number {
            let at = self.place(offset, size_of::<$number>(), true);
            // SAFETY: `place` has checked bounds and alignment, the memory lives as long as `self`, and peers that
            // write it are outside of Rust's memory: atomic accesses are all that is made to it.
            unsafe { <$atomic>::from_ptr(at.cast::<$number>()) }.load(order)
        }

        /// Stores a number at an offset that is a multiple of its size.
        pub fn $store(&self, offset: usize, value: $number, order: Ordering) {
            let at = self.place(offset, size_of::<$number>(), true);
            // SAFETY: as in the load above.
            unsafe { <$atomic>::from_ptr(at.cast::<$number>()) }.store(value, order);
        }
    };
}

impl SharedBytes {
    /// Takes charge of memory.
    ///
    /// # Safety
    /// `len` bytes from `start` on are mapped for as long as the value lives, start at a multiple of 8, and nothing in
    /// this program refers to them but through values of this type.
    #[must_use]
    pub unsafe fn from_raw(start: VirtAddr, len: usize) -> Self {
        let start =
            NonNull::new(core::ptr::with_exposed_provenance_mut(start.value())).expect("page 0 is never shared");
        Self { start, len }
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// There are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the bytes are mapped.
    #[must_use]
    pub fn address(&self) -> VirtAddr {
        VirtAddr::new(self.start.as_ptr().expose_provenance())
    }

    /// Copies from `offset` on into `data`.
    pub fn read(&self, offset: usize, data: &mut [u8]) {
        let at = self.place(offset, data.len(), false);
        // SAFETY: `place` has checked the source; the target is an exclusive slice, which shared memory never overlaps.
        unsafe { arch::copy(data.as_mut_ptr(), at, data.len()) };
    }

    /// Copies `data` to `offset`.
    pub fn write(&self, offset: usize, data: &[u8]) {
        let at = self.place(offset, data.len(), false);
        // SAFETY: `place` has checked the target; the source is a slice, which shared memory never overlaps.
        unsafe { arch::copy(at, data.as_ptr(), data.len()) };
    }

    /// Writes `len` zero bytes at `offset`.
    pub fn clear(&self, offset: usize, len: usize) {
        let at = self.place(offset, len, false);
        // SAFETY: `place` has checked the target.
        unsafe { arch::fill(at, 0, len) };
    }

    /// Copies `len` bytes from `offset` on to `target_offset` of `target`, in one go. Both may be the same memory only
    /// if the two ranges do not overlap; where they do, what ends up there is unspecified.
    pub fn copy_to(&self, offset: usize, target: &Self, target_offset: usize, len: usize) {
        let from = self.place(offset, len, false);
        let to = target.place(target_offset, len, false);
        // SAFETY: `place` has checked both ranges. The copy is an opaque sequence of loads and stores, so an overlap
        // is no worse than a peer that writes at the same time.
        unsafe { arch::copy(to, from, len) };
    }

    atomic_access!(load_u8, store_u8, u8, AtomicU8);
    atomic_access!(load_u16, store_u16, u16, AtomicU16);
    atomic_access!(load_u32, store_u32, u32, AtomicU32);
    atomic_access!(load_u64, store_u64, u64, AtomicU64);

    /// Adds to a number, wrapping, in one atomic step.
    pub fn add_u32(&self, offset: usize, value: u32, order: Ordering) {
        let at = self.place(offset, size_of::<u32>(), true);
        // SAFETY: as in the loads above.
        unsafe { AtomicU32::from_ptr(at.cast::<u32>()) }.fetch_add(value, order);
    }

    /// Replaces `current` by `new` if it is there, in one atomic step; else says what is there.
    pub fn exchange_u16(&self, offset: usize, current: u16, new: u16) -> Result<(), u16> {
        let at = self.place(offset, size_of::<u16>(), true);
        // SAFETY: as in the loads above.
        let atomic = unsafe { AtomicU16::from_ptr(at.cast::<u16>()) };
        atomic.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire).map(|_| ())
    }

    /// Replaces a number, in one atomic step.
    pub fn swap_u64(&self, offset: usize, value: u64, order: Ordering) -> u64 {
        let at = self.place(offset, size_of::<u64>(), true);
        // SAFETY: as in the loads above.
        unsafe { AtomicU64::from_ptr(at.cast::<u64>()) }.swap(value, order)
    }

    /// Sets and clears bits of a number, in one atomic step each.
    pub fn change_u64(&self, offset: usize, set: u64, clear: u64) {
        let at = self.place(offset, size_of::<u64>(), true);
        // SAFETY: as in the loads above.
        let atomic = unsafe { AtomicU64::from_ptr(at.cast::<u64>()) };
        if clear != 0 {
            atomic.fetch_and(!clear, Ordering::AcqRel);
        }
        if set != 0 {
            atomic.fetch_or(set, Ordering::AcqRel);
        }
    }

    fn place(&self, offset: usize, len: usize, aligned: bool) -> *mut u8 {
        let fits = offset <= self.len && len <= self.len - offset;
        assert!(fits, "{len} bytes at {offset} of {} shared bytes", self.len);
        assert!(!aligned || offset.is_multiple_of(len), "a number of {len} bytes at {offset} of shared memory");
        self.start.as_ptr().wrapping_add(offset)
    }
}

impl SharedMem for SharedBytes {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, offset: usize, data: &mut [u8]) {
        Self::read(self, offset, data);
    }

    fn write(&self, offset: usize, data: &[u8]) {
        Self::write(self, offset, data);
    }

    fn load_u32(&self, offset: usize, ordering: Ordering) -> u32 {
        Self::load_u32(self, offset, ordering)
    }

    fn store_u32(&self, offset: usize, value: u32, ordering: Ordering) {
        Self::store_u32(self, offset, value, ordering);
    }
}

macro_rules! shared_by_deref {
    ($owner:ty) => {
        impl SharedMem for $owner {
            fn len(&self) -> usize {
                SharedBytes::len(self)
            }

            fn read(&self, offset: usize, data: &mut [u8]) {
                SharedBytes::read(self, offset, data);
            }

            fn write(&self, offset: usize, data: &[u8]) {
                SharedBytes::write(self, offset, data);
            }

            fn load_u32(&self, offset: usize, ordering: Ordering) -> u32 {
                SharedBytes::load_u32(self, offset, ordering)
            }

            fn store_u32(&self, offset: usize, value: u32, ordering: Ordering) {
                SharedBytes::store_u32(self, offset, value, ordering);
            }
        }
    };
}

shared_by_deref!(crate::frame::SharedPages);
shared_by_deref!(crate::grant::GrantedPages);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::SharedPages;

    #[test]
    fn copies_of_any_length_and_alignment_arrive_whole() {
        let pages = SharedPages::alloc(2).expect("two pages");
        let pattern: std::vec::Vec<u8> = (0..=255).collect();
        for offset in [0, 1, 7, 4090] {
            for len in [0, 1, 2, 3, 4, 7, 8, 9, 63, 64, 255] {
                pages.clear(0, pages.len());
                pages.write(offset, &pattern[..len]);
                let mut back = [0xee; 256];
                pages.read(offset, &mut back[..len]);
                assert_eq!(&back[..len], &pattern[..len]);
                assert_eq!(pages.load_u8(offset + len, Ordering::Relaxed), 0);
            }
        }
    }

    #[test]
    fn numbers_are_little_endian_in_memory() {
        let pages = SharedPages::alloc(1).expect("a page");
        pages.store_u32(8, 0x0102_0304, Ordering::Release);
        let mut bytes = [0; 4];
        pages.read(8, &mut bytes);
        assert_eq!(bytes, [4, 3, 2, 1]);
        assert_eq!(pages.load_u16(10, Ordering::Acquire), 0x0102);
    }

    #[test]
    #[should_panic(expected = "4 bytes at 4093")]
    fn beyond_the_end_is_refused() {
        SharedPages::alloc(1).expect("a page").write(4093, &[0; 4]);
    }
}
