//! The guest's memory: a cache of foreign mappings, accessed by copy.
//!
//! The guest's address space is cut into windows of [`WINDOW_FRAMES`] frames. The cache has a fixed number of slots and
//! a window has one slot where it can be, so a look-up is one comparison and the cache does not grow with the guest.
//!
//! A window is mapped as a whole, and the frames that do not exist are remembered as holes. Xen says when frames went
//! away (`IOREQ_TYPE_INVALIDATE`): every window is forgotten then. It does not say when frames come, so an access to
//! a hole maps the window again before it fails.

use alloc::boxed::Box;
use devmodel::host::{GuestAddr, Unmapped};
use minios::DomId;
use minios::addr::{Gfn, to_usize};
use minios::foreign::{Access, ForeignMapping};
use minios::frame::SharedPages;

/// Frames in a window: 256 KiB.
const WINDOW_FRAMES: usize = 64;
/// Windows that are mapped at a time: 64 MiB of address space, with 1 MiB of page tables at most.
const SLOTS: usize = 256;
const PAGE: usize = 4096;
const WINDOW_BYTES: u64 = (WINDOW_FRAMES * PAGE) as u64;

struct Window {
    /// Which window this is; `None` while it maps nothing that can be used.
    number: Option<u64>,
    mapping: ForeignMapping,
}

/// A cache of mappings of one domain's memory.
pub(super) struct GuestMemoryCache {
    domain: DomId,
    slots: Box<[Option<Window>]>,
}

/// One piece of an access that lies within one window.
struct Piece {
    /// Bytes from the start of the access.
    at: usize,
    /// Bytes from the start of the window.
    offset: usize,
    len: usize,
}

impl GuestMemoryCache {
    /// An empty cache of the memory of `domain`.
    pub(super) fn new(domain: DomId) -> Self {
        Self { domain, slots: (0..SLOTS).map(|_| None).collect() }
    }

    /// Forgets every mapping: the guest's physical memory map has changed.
    pub(super) fn invalidate(&mut self) {
        self.slots.fill_with(|| None);
    }

    /// Copies guest memory into `data`.
    pub(super) fn read(&mut self, addr: GuestAddr, data: &mut [u8]) -> Result<(), Unmapped> {
        self.pieces(addr, data.len(), |mapping, Piece { at, offset, len }| {
            mapping.read(offset, &mut data[at..at + len]).map_err(|_| Unmapped)
        })
    }

    /// Copies `data` into guest memory.
    pub(super) fn write(&mut self, addr: GuestAddr, data: &[u8]) -> Result<(), Unmapped> {
        self.pieces(addr, data.len(), |mapping, Piece { at, offset, len }| {
            mapping.write(offset, &data[at..at + len]).map_err(|_| Unmapped)
        })
    }

    /// Copies `len` bytes of `pages` from `source` on into guest memory, in one go.
    pub(super) fn write_from(
        &mut self,
        addr: GuestAddr,
        pages: &SharedPages,
        source: usize,
        len: usize,
    ) -> Result<(), Unmapped> {
        self.pieces(addr, len, |mapping, Piece { at, offset, len }| {
            mapping.copy_from(offset, pages, source + at, len).map_err(|_| Unmapped)
        })
    }

    /// Copies `len` bytes of guest memory into `pages` at `target`, in one go.
    pub(super) fn read_to(
        &mut self,
        addr: GuestAddr,
        pages: &SharedPages,
        target: usize,
        len: usize,
    ) -> Result<(), Unmapped> {
        self.pieces(addr, len, |mapping, Piece { at, offset, len }| {
            mapping.copy_to(offset, pages, target + at, len).map_err(|_| Unmapped)
        })
    }

    /// Cuts an access into the longest pieces that one window serves, and performs each.
    fn pieces(
        &mut self,
        addr: GuestAddr,
        len: usize,
        mut perform: impl FnMut(&ForeignMapping, Piece) -> Result<(), Unmapped>,
    ) -> Result<(), Unmapped> {
        if addr.0.checked_add(len as u64).is_none() {
            return Err(Unmapped);
        }
        let mut at = 0;
        while at < len {
            let address = addr.0 + at as u64;
            let offset = to_usize(address % WINDOW_BYTES);
            let piece = Piece { at, offset, len: (WINDOW_FRAMES * PAGE - offset).min(len - at) };
            at += piece.len;
            let pages = offset / PAGE..=(offset + piece.len - 1) / PAGE;
            perform(self.window(address / WINDOW_BYTES, pages)?, piece)?;
        }
        Ok(())
    }

    /// The mapping of window `number`, in which `pages` exist.
    fn window(
        &mut self,
        number: u64,
        mut pages: core::ops::RangeInclusive<usize>,
    ) -> Result<&ForeignMapping, Unmapped> {
        let slot = &mut self.slots[to_usize(number % SLOTS as u64)];
        let window = match slot {
            Some(window) => window,
            None => {
                let mapping = ForeignMapping::reserve(WINDOW_FRAMES, Access::ReadWrite).map_err(|_| Unmapped)?;
                slot.insert(Window { number: None, mapping })
            }
        };
        let usable = window.number == Some(number) && pages.clone().all(|page| window.mapping.is_mapped(page));
        if !usable {
            window.number = None;
            window.mapping.remap_range(self.domain, Gfn::new(number * WINDOW_FRAMES as u64)).map_err(|_| Unmapped)?;
            window.number = Some(number);
            if !pages.all(|page| window.mapping.is_mapped(page)) {
                return Err(Unmapped);
            }
        }
        Ok(&window.mapping)
    }
}
