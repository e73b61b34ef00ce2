//! Memory for data on its way between a frontend and what serves it.

use alloc::vec::Vec;

use xen_abi::PAGE_SIZE;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Page([u8; PAGE_SIZE]);

/// Bytes of ours that start at a page, so that a page of a frontend is copied in one piece.
#[derive(Clone, Default)]
pub struct Buffer {
    pages: Vec<Page>,
    len: usize,
}

impl core::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Buffer of {} bytes", self.len)
    }
}

impl Buffer {
    /// `len` bytes, all of them zero. `None`: there is no memory left.
    #[must_use]
    pub fn zeroed(len: usize) -> Option<Self> {
        let (mut pages, count) = (Vec::new(), len.div_ceil(PAGE_SIZE));
        pages.try_reserve_exact(count).ok()?;
        pages.resize(count, Page([0; PAGE_SIZE]));
        Some(Self { pages, len })
    }

    /// Number of bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// There are no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.pages.as_bytes()[..self.len]
    }

    /// The bytes.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.pages.as_mut_bytes()[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_starts_at_a_page() {
        let mut buffer = Buffer::zeroed(5000).unwrap();
        assert_eq!((buffer.len(), buffer.bytes().as_ptr().addr() % PAGE_SIZE), (5000, 0));
        buffer.bytes_mut()[4999] = 7;
        assert_eq!(buffer.bytes().iter().map(|byte| usize::from(*byte)).sum::<usize>(), 7);
        assert!(Buffer::zeroed(0).unwrap().is_empty());
    }
}
