//! Kinds of frame numbers, which must never be confused, and virtual addresses.

use xen_abi::{PAGE_SHIFT, PAGE_SIZE};

macro_rules! frame_number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The frame with this number.
            #[must_use]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// Its number.
            #[must_use]
            pub const fn number(self) -> u64 {
                self.0
            }

            /// The frame `count` frames further on; the last frame if there is none.
            #[must_use]
            pub const fn after(self, count: u64) -> Self {
                Self(self.0.saturating_add(count))
            }
        }
    };
}

frame_number! {
    /// A pseudo-physical frame of this domain: its memory, numbered from 0 without holes.
    Pfn
}
frame_number! {
    /// A machine frame.
    Mfn
}
frame_number! {
    /// A frame of a guest whose memory Xen translates: a guest-physical address without its lower twelve bits.
    Gfn
}

/// A virtual address of this domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct VirtAddr(usize);

impl VirtAddr {
    /// The address with this value.
    #[must_use]
    pub const fn new(value: usize) -> Self {
        Self(value)
    }

    /// Its value.
    #[must_use]
    pub const fn value(self) -> usize {
        self.0
    }

    /// The address `bytes` further on. Panics when that leaves the address space, which is ours alone to cause.
    #[must_use]
    pub const fn offset(self, bytes: usize) -> Self {
        Self(self.0 + bytes)
    }

    /// The address of the `index`th page from here.
    #[must_use]
    pub const fn page(self, index: usize) -> Self {
        Self(self.0 + index * PAGE_SIZE)
    }

    /// Index of the table entry for this address at a level: 1 is the table of pages, 4 the top.
    #[must_use]
    pub const fn table_index(self, level: u32) -> usize {
        (self.0 >> (PAGE_SHIFT + 9 * (level - 1))) & 511
    }
}

/// A 64-bit number as a size or address: they are equally wide here, and it does not compile where they are not.
#[must_use]
pub const fn to_usize(value: u64) -> usize {
    usize::from_ne_bytes(value.to_ne_bytes())
}

/// Pages that `bytes` bytes fill, the last one perhaps in part.
#[must_use]
pub const fn pages_for(bytes: usize) -> usize {
    bytes.div_ceil(PAGE_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_address_splits_into_nine_bits_a_level() {
        let address = VirtAddr::new(0x0000_7f80_4020_3abc);
        assert_eq!([4, 3, 2, 1].map(|level| address.table_index(level)), [0xff, 1, 1, 3]);
    }
}
