//! The hypervisor's heap.
// UNSAFETY: an allocator.
#![expect(unsafe_code)]

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use linked_list_allocator::Heap;
use spin::Mutex;

/// The heap as the allocator that collections use.
struct Locked(Mutex<Heap>);

#[global_allocator]
static HEAP: Locked = Locked(Mutex::new(Heap::empty()));

/// Gives it its memory.
///
/// # Safety
/// The memory is mapped, writable and nobody else's, and this is called once.
pub(crate) unsafe fn begin(address: usize, length: usize) {
    // SAFETY: the caller vouches for the memory.
    unsafe { HEAP.0.lock().init(ptr::with_exposed_provenance_mut(address), length) };
}

// SAFETY: what it gives is its own, by the library's word.
unsafe impl GlobalAlloc for Locked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().allocate_first_fit(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        if let Some(address) = NonNull::new(address) {
            // SAFETY: the caller vouches that it has this from here, by this layout.
            unsafe { self.0.lock().deallocate(address, layout) };
        }
    }
}
