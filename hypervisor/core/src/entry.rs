//! Entries of page tables.
//!
//! Source: AMD64 Architecture Programmer's Manual, volume 2, section 5.4; for the bits that a paravirtualised domain may set,
//! Xen's `xen/arch/x86/mm.c`.

use crate::memory::Mfn;

/// Level of a page table; 1 is the one whose entries are pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Entries are pages.
    L1,
    /// Page directory.
    L2,
    /// Page directory pointers.
    L3,
    /// The top.
    L4,
}

impl Level {
    /// What entries of it point to: `None` are pages.
    #[must_use]
    pub const fn below(self) -> Option<Self> {
        match self {
            Self::L1 => None,
            Self::L2 => Some(Self::L1),
            Self::L3 => Some(Self::L2),
            Self::L4 => Some(Self::L3),
        }
    }

    /// Which entry of a table of this level an address goes through.
    #[must_use]
    pub const fn index(self, address: u64) -> usize {
        let shift = match self {
            Self::L1 => 12,
            Self::L2 => 21,
            Self::L3 => 30,
            Self::L4 => 39,
        };
        (address >> shift & 0x1ff) as usize
    }
}

/// An entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry(pub u64);

impl Entry {
    /// There is something.
    pub const PRESENT: u64 = 1;
    /// It may be written.
    pub const WRITABLE: u64 = 1 << 1;
    /// Ring 3 gets there, where a domain's kernel is as well.
    pub const USER: u64 = 1 << 2;
    /// What the caches do: write-through, disabled.
    const CACHING: u64 = 3 << 3;
    /// It was used.
    pub const ACCESSED: u64 = 1 << 5;
    /// It was written.
    pub const DIRTY: u64 = 1 << 6;
    /// Survives a change of the top table.
    pub const GLOBAL: u64 = 1 << 8;
    /// For the domain's own use.
    pub const AVAILABLE: u64 = 7 << Self::AVAILABLE_SHIFT;
    /// Where these bits begin.
    pub const AVAILABLE_SHIFT: u32 = 9;
    /// Nothing is executed there.
    pub const NO_EXECUTE: u64 = 1 << 63;
    const FRAME: u64 = 0x000f_ffff_ffff_f000;
    /// What a domain may set, of any level. Neither large pages nor other memory types.
    const ALLOWED: u64 = Self::PRESENT
        | Self::WRITABLE
        | Self::USER
        | Self::ACCESSED
        | Self::DIRTY
        | Self::GLOBAL
        | Self::AVAILABLE
        | Self::NO_EXECUTE
        | Self::FRAME;

    /// An entry for a frame.
    #[must_use]
    pub const fn new(frame: Mfn, bits: u64) -> Self {
        Self(frame.address() & Self::FRAME | bits)
    }

    /// Whether there is something.
    #[must_use]
    pub const fn is_present(self) -> bool {
        self.0 & Self::PRESENT != 0
    }

    /// Whether it may be written.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        self.0 & Self::WRITABLE != 0
    }

    /// Whether ring 3 gets there.
    #[must_use]
    pub const fn is_users(self) -> bool {
        self.0 & Self::USER != 0
    }

    /// The frame.
    #[must_use]
    pub const fn frame(self) -> Mfn {
        Mfn::of(self.0 & Self::FRAME)
    }

    /// Whether a domain may have it in a table.
    #[must_use]
    pub const fn is_allowed(self) -> bool {
        !self.is_present() || self.0 & !Self::ALLOWED == 0
    }

    /// Whether a domain may have it for registers of a device, whatever the caches are to do.
    #[must_use]
    pub const fn is_allowed_for_device(self) -> bool {
        self.0 & !(Self::ALLOWED | Self::CACHING) == 0
    }

    /// As it is put into a table: ring 3 gets there, and no translation outlives the domain's turn.
    #[must_use]
    pub const fn adjusted(self) -> Self {
        if self.is_present() { Self(self.0 & !Self::GLOBAL | Self::USER) } else { self }
    }
}
