//! Grant tables of all domains: version 1.
//!
//! A table is pages that a domain shares with us; an entry of it lets one other domain use one frame. Whoever uses the
//! frame is counted here, and the entry is marked `GTF_reading` and `GTF_writing` for as long, so that its owner knows
//! that it cannot have the frame back yet.
//!
//! Everything in a table is a claim of its owner, who may change it at any time, and from another processor. An entry is
//! a word: it is loaded once, and what it says counts only if the marks could be set in the very word that said so.
//! While an entry is in use, its grantee and its frame are those of that moment, whatever the entry says later.
//!
//! Frames are as their owner numbers them; who translates them, and checks that they are the owner's, is the caller.
//! `DOMID_SELF` means nothing here but in [`CopyPlace::decode`]: callers put the number of the calling domain in its place.
//!
//! Source: `public/grant_table.h`; behaviour as of Xen 4.17's `common/grant_table.c`. Not there: version 2 with its
//! parts of pages and grants of grants, transfers, cache attributes of mappings.
//! Invariant: an entry has a grantee and a frame exactly while somebody uses it, and `Table::uses` is the sum of all.

mod mapping;

pub use mapping::{MAPPINGS_MAX, Mapping};

use crate::{Memory, Mfn};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem;
use mapping::Mappings;
use xen_abi::grant::{
    CopyPtr, ENTRIES_PER_FRAME, EntryV1, GNTST_BAD_COPY_ARG, GNTST_BAD_DEV_ADDR, GNTST_BAD_DOMAIN, GNTST_BAD_GNTREF,
    GNTST_BAD_HANDLE, GNTST_BAD_PAGE, GNTST_BAD_VIRT_ADDR, GNTST_EAGAIN, GNTST_GENERAL_ERROR, GNTST_NO_SPACE,
    GNTST_PERMISSION_DENIED, GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_SUB_PAGE, GTF_TYPE_MASK, GTF_WRITING,
};
use xen_abi::{DomId, GrantRef, PAGE_SIZE};

/// How often marks of an entry are tried to be set while its owner changes it. Xen's number.
const MARK_ATTEMPTS: usize = 5;
/// How often they are tried to be cleared. Owners have no reason to change an entry in use.
const CLEAR_ATTEMPTS: usize = 64;
/// Bytes that are copied at once.
const CHUNK: usize = 256;

/// Why an operation on grants fails: `enum grant_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum GrantError {
    /// `GNTST_general_error`: the entry does not say what is asked for, or there is no memory.
    General = GNTST_GENERAL_ERROR,
    /// `GNTST_bad_domain`: there is no such domain.
    BadDomain = GNTST_BAD_DOMAIN,
    /// `GNTST_bad_gntref`: the table has no such entry.
    BadReference = GNTST_BAD_GNTREF,
    /// `GNTST_bad_handle`: there is no such mapping.
    BadHandle = GNTST_BAD_HANDLE,
    /// `GNTST_bad_virt_addr`: nothing can be mapped there.
    BadVirtualAddress = GNTST_BAD_VIRT_ADDR,
    /// `GNTST_bad_dev_addr`: nothing is mapped there for devices.
    BadDeviceAddress = GNTST_BAD_DEV_ADDR,
    /// `GNTST_permission_denied`: not for this domain.
    PermissionDenied = GNTST_PERMISSION_DENIED,
    /// `GNTST_bad_page`: the frame is not its owner's.
    BadPage = GNTST_BAD_PAGE,
    /// `GNTST_bad_copy_arg`: beyond the end of a page.
    BadCopyArgument = GNTST_BAD_COPY_ARG,
    /// `GNTST_eagain`: it is in use now.
    InUse = GNTST_EAGAIN,
    /// `GNTST_no_space`: there are too many mappings.
    NoSpace = GNTST_NO_SPACE,
}

impl GrantError {
    /// What a domain finds in `status`.
    #[must_use]
    pub const fn status(self) -> i16 {
        self as i16
    }
}

/// One side of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyPlace {
    /// What a domain has granted to the caller.
    Granted {
        /// The domain that has granted it.
        owner: DomId,
        /// Its entry.
        reference: GrantRef,
        /// Where in the page.
        offset: u16,
    },
    /// A frame of the caller's own.
    Own {
        /// The frame.
        frame: Mfn,
        /// Where in the frame.
        offset: u16,
    },
}

impl CopyPlace {
    /// Decodes one side. Whether it is a reference is told by the flags of the copy.
    ///
    /// Frames can only be those of `DOMID_SELF`, which has to be called so.
    pub fn decode(pointer: &CopyPtr, is_reference: bool, caller: DomId) -> Result<Self, GrantError> {
        let CopyPtr { frame_or_reference, domid, offset, padding: _ } = *pointer;
        if !is_reference {
            let own = domid == DomId::SELF;
            return if own {
                Ok(Self::Own { frame: Mfn(frame_or_reference), offset })
            } else {
                Err(GrantError::PermissionDenied)
            };
        }
        let owner = if domid == DomId::SELF { caller } else { domid };
        let [a, b, c, d, ..] = frame_or_reference.to_le_bytes();
        Ok(Self::Granted { owner, reference: GrantRef(u32::from_le_bytes([a, b, c, d])), offset })
    }

    const fn offset(self) -> u16 {
        match self {
            Self::Granted { offset, .. } | Self::Own { offset, .. } => offset,
        }
    }
}

/// The machine frame of a frame of a domain, which is to be read, or else written.
///
/// Refuses frames that are not the domain's (`BadPage`), and to write to those that are page tables and the like
/// (`General`).
pub type Resolve<'a> = dyn Fn(DomId, Mfn, Access) -> Result<Mfn, GrantError> + 'a;

/// What is done with a granted frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is only read.
    Read,
    /// It is read and written.
    Write,
}

/// All grant tables of all domains.
#[derive(Debug, Default)]
pub struct Grants {
    tables: BTreeMap<DomId, Table>,
    /// By who has mapped.
    mappings: BTreeMap<DomId, Mappings>,
}

impl Grants {
    /// No domains.
    #[must_use]
    pub const fn new() -> Self {
        Self { tables: BTreeMap::new(), mappings: BTreeMap::new() }
    }

    /// A domain comes, whose table can grow to so many frames.
    ///
    /// Not if there is one of this number, or if frames of an earlier one are still in use: see [`Self::is_in_use`].
    pub fn add_domain(&mut self, domain: DomId, max_frames: u32) -> bool {
        let is_free = !self.tables.contains_key(&domain);
        if is_free {
            self.tables.insert(domain, Table { max_frames, ..Table::default() });
        }
        is_free
    }

    /// A domain goes: nobody begins to use what it has granted. Gives the frames of its table.
    ///
    /// What others use already stays counted until they end; its own uses of others' frames are for the caller to end.
    #[must_use]
    pub fn remove_domain(&mut self, domain: DomId) -> Vec<Mfn> {
        let Some(table) = self.tables.get_mut(&domain) else { return Vec::new() };
        table.is_gone = true;
        let frames = mem::take(&mut table.frames);
        self.forget(domain);
        frames
    }

    /// Whether somebody uses what a domain has granted, though it may be gone: its frames cannot be freed.
    #[must_use]
    pub fn is_in_use(&self, domain: DomId) -> bool {
        self.tables.get(&domain).is_some_and(|table| table.uses != 0)
    }

    /// Makes a table at least `count` frames long by zeroed frames of `allocate`, and gives its first `count` frames.
    ///
    /// Where there are not enough frames, those that there were stay in the table.
    pub fn setup(
        &mut self,
        domain: DomId,
        count: u32,
        allocate: &mut dyn FnMut() -> Option<Mfn>,
    ) -> Result<&[Mfn], GrantError> {
        let table = self.tables.get_mut(&domain).filter(|table| !table.is_gone).ok_or(GrantError::BadDomain)?;
        if count > table.max_frames {
            return Err(GrantError::General);
        }
        while table.frames.len() < count as usize {
            table.grow(allocate).ok_or(GrantError::General)?;
        }
        table.frames.get(..count as usize).ok_or(GrantError::General)
    }

    /// How many frames a table has, and how many it can have.
    #[must_use]
    pub fn size(&self, domain: DomId) -> Option<(u32, u32)> {
        let table = self.tables.get(&domain).filter(|table| !table.is_gone)?;
        Some((u32::try_from(table.frames.len()).ok()?, table.max_frames))
    }

    /// Begins to use what `owner` has granted. Gives the frame, as the owner numbers it.
    ///
    /// Balanced by [`Self::end`] with the same arguments, also where the frame turns out to be unusable.
    pub fn begin(
        &mut self,
        memory: &mut impl Memory,
        owner: DomId,
        reference: GrantRef,
        grantee: DomId,
        access: Access,
    ) -> Result<Mfn, GrantError> {
        let table = self.tables.get_mut(&owner).filter(|table| !table.is_gone).ok_or(GrantError::BadDomain)?;
        let (frame, index) = table.place(reference).ok_or(GrantError::BadReference)?;
        let entry = table.entry(reference).ok_or(GrantError::BadReference)?;
        let is_used = entry.is_used();
        if is_used && entry.grantee != grantee {
            return Err(GrantError::General);
        }
        let count = entry.count(access).checked_add(1).ok_or(GrantError::General)?;
        if !is_used || (access == Access::Write && entry.writers == 0) {
            let required = if is_used { None } else { Some(grantee) };
            let marked = mark(memory, frame, index, required, access)?;
            if !is_used {
                entry.grantee = grantee;
                entry.frame = marked;
            }
        }
        *entry.count(access) = count;
        let frame = Mfn(u64::from(entry.frame));
        table.uses = table.uses.saturating_add(1);
        Ok(frame)
    }

    /// Ends a use that has begun. The marks of the entry go with the last use of their kind.
    ///
    /// What has not begun cannot be ended; nothing happens.
    pub fn end(&mut self, memory: &mut impl Memory, owner: DomId, reference: GrantRef, access: Access) {
        let Some(table) = self.tables.get_mut(&owner) else { return };
        let Some(entry) = table.entry(reference) else { return };
        let count = entry.count(access);
        let Some(rest) = count.checked_sub(1) else { return };
        *count = rest;
        let mut marks = 0;
        if access == Access::Write && rest == 0 {
            marks |= GTF_WRITING;
        }
        if !entry.is_used() {
            marks |= GTF_READING;
            *entry = Entry::default();
        }
        table.uses = table.uses.saturating_sub(1);
        // A table that is gone has no frames any more, and no marks.
        if marks != 0
            && let Some((frame, index)) = table.place(reference)
        {
            clear(memory, frame, index, marks);
        }
        self.forget(owner);
    }

    /// Exchanges two entries that nobody uses.
    pub fn swap(
        &mut self,
        memory: &mut impl Memory,
        domain: DomId,
        one: GrantRef,
        other: GrantRef,
    ) -> Result<(), GrantError> {
        let table = self.tables.get_mut(&domain).filter(|table| !table.is_gone).ok_or(GrantError::BadDomain)?;
        let mut places = [(Mfn(0), 0); 2];
        for (place, reference) in places.iter_mut().zip([one, other]) {
            *place = table.place(reference).ok_or(GrantError::BadReference)?;
            if table.entry(reference).ok_or(GrantError::BadReference)?.is_used() {
                return Err(GrantError::InUse);
            }
        }
        // The owner is the one who asks, and changes nothing meanwhile that it would not want lost.
        let [(frame, index), (other_frame, other_index)] = places;
        let (word, other_word) = (memory.load(frame, index), memory.load(other_frame, other_index));
        memory.store(frame, index, other_word);
        memory.store(other_frame, other_index, word);
        Ok(())
    }

    /// Whether a domain can have one more mapping of others' pages.
    #[must_use]
    pub fn can_map(&self, domain: DomId) -> bool {
        self.mappings.get(&domain).is_none_or(Mappings::has_room)
    }

    /// Notes what a domain has mapped, after uses of the entry have begun. Gives the handle.
    pub fn add_mapping(&mut self, domain: DomId, mapping: Mapping) -> Result<u32, GrantError> {
        self.mappings.entry(domain).or_default().add(mapping).ok_or(GrantError::NoSpace)
    }

    /// What a domain has mapped by this handle.
    pub fn mapping(&self, domain: DomId, handle: u32) -> Result<Mapping, GrantError> {
        self.mappings.get(&domain).and_then(|mappings| mappings.get(handle)).ok_or(GrantError::BadHandle)
    }

    /// A mapping ends for its processors (`GNTMAP_HOST_MAP`) or for devices (`GNTMAP_DEVICE_MAP`), and so does that use of the
    /// entry.
    pub fn end_mapping(&mut self, memory: &mut impl Memory, domain: DomId, handle: u32, what: u32) {
        let Ok(mapping) = self.mapping(domain, handle) else { return };
        if mapping.is_for(what) {
            if let Some(mappings) = self.mappings.get_mut(&domain) {
                mappings.end(handle, what);
            }
            self.end(memory, mapping.owner, mapping.reference, mapping.access());
        }
    }

    /// All mappings of a domain that goes, which are not noted any more. Their uses of entries are for the caller to end.
    pub fn take_mappings(&mut self, domain: DomId) -> impl Iterator<Item = Mapping> + use<> {
        self.mappings.remove(&domain).unwrap_or_default().into_iter()
    }

    /// Frames of a domain's table.
    #[cfg(test)]
    pub(crate) fn frames(&self, domain: DomId) -> &[Mfn] {
        self.tables.get(&domain).map_or(&[], |table| &table.frames)
    }

    /// Frames that a domain has mapped for devices, and whether they are written.
    #[cfg(test)]
    pub(crate) fn device_mappings(&self, domain: DomId) -> Vec<(Mfn, bool)> {
        let mappings = self.mappings.get(&domain).cloned().unwrap_or_default().into_iter();
        let mappings = mappings.filter(|mapping| mapping.is_for(xen_abi::grant::GNTMAP_DEVICE_MAP));
        mappings.map(|mapping| (mapping.frame, mapping.access() == Access::Write)).collect()
    }

    /// Copies bytes from one page to another, each granted to the caller or its own.
    pub fn copy(
        &mut self,
        memory: &mut impl Memory,
        caller: DomId,
        source: CopyPlace,
        destination: CopyPlace,
        length: u16,
        resolve: &Resolve<'_>,
    ) -> Result<(), GrantError> {
        let fits = |place: CopyPlace| usize::from(place.offset()).saturating_add(usize::from(length)) <= PAGE_SIZE;
        if !fits(source) || !fits(destination) {
            return Err(GrantError::BadCopyArgument);
        }
        let from = self.claim(memory, caller, source, Access::Read, resolve)?;
        let to = self.claim(memory, caller, destination, Access::Write, resolve);
        if let Ok(to) = to {
            copy_bytes(memory, (from, source.offset()), (to, destination.offset()), length);
            self.release(memory, destination, Access::Write);
        }
        self.release(memory, source, Access::Read);
        to.map(|_| ())
    }

    /// Takes hold of one side of a copy. Gives its machine frame, or has let go of it again.
    fn claim(
        &mut self,
        memory: &mut impl Memory,
        caller: DomId,
        place: CopyPlace,
        access: Access,
        resolve: &Resolve<'_>,
    ) -> Result<Mfn, GrantError> {
        let (owner, frame) = match place {
            CopyPlace::Granted { owner, reference, .. } => {
                (owner, self.begin(memory, owner, reference, caller, access)?)
            }
            CopyPlace::Own { frame, .. } => (caller, frame),
        };
        resolve(owner, frame, access).inspect_err(|_| self.release(memory, place, access))
    }

    fn release(&mut self, memory: &mut impl Memory, place: CopyPlace, access: Access) {
        if let CopyPlace::Granted { owner, reference, .. } = place {
            self.end(memory, owner, reference, access);
        }
    }

    /// Forgets a domain that is gone once nobody uses anything of it.
    fn forget(&mut self, domain: DomId) {
        if self.tables.get(&domain).is_some_and(|table| table.is_gone && table.uses == 0) {
            self.tables.remove(&domain);
        }
    }
}

/// The table of a domain.
#[derive(Debug, Default)]
struct Table {
    max_frames: u32,
    /// The domain is gone. Others may still use frames of it.
    is_gone: bool,
    /// At most `max_frames`; none when the domain is gone.
    frames: Vec<Mfn>,
    /// Who uses the entries, a page of entries for each frame that there is or was.
    entries: Vec<Vec<Entry>>,
    /// Uses of all entries.
    uses: u64,
}

/// Who uses an entry.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    frame: u32,
    grantee: DomId,
    readers: u16,
    writers: u16,
}

impl Entry {
    const fn is_used(&self) -> bool {
        self.readers != 0 || self.writers != 0
    }

    const fn count(&mut self, access: Access) -> &mut u16 {
        match access {
            Access::Read => &mut self.readers,
            Access::Write => &mut self.writers,
        }
    }
}

impl Table {
    /// Adds a frame. `None` if there is none, or no memory for its entries.
    fn grow(&mut self, allocate: &mut dyn FnMut() -> Option<Mfn>) -> Option<()> {
        let mut entries = Vec::new();
        entries.try_reserve_exact(ENTRIES_PER_FRAME as usize).ok()?;
        entries.resize(ENTRIES_PER_FRAME as usize, Entry::default());
        self.entries.try_reserve(1).ok()?;
        self.frames.try_reserve(1).ok()?;
        self.frames.push(allocate()?);
        self.entries.push(entries);
        Some(())
    }

    /// Frame and word of an entry.
    fn place(&self, reference: GrantRef) -> Option<(Mfn, usize)> {
        let frame = self.frames.get((reference.0 / ENTRIES_PER_FRAME) as usize)?;
        Some((*frame, (reference.0 % ENTRIES_PER_FRAME) as usize))
    }

    fn entry(&mut self, reference: GrantRef) -> Option<&mut Entry> {
        let entries = self.entries.get_mut((reference.0 / ENTRIES_PER_FRAME) as usize)?;
        entries.get_mut((reference.0 % ENTRIES_PER_FRAME) as usize)
    }
}

/// Marks an entry as in use, if it allows that, and gives its frame.
///
/// An entry that is in use already has a grantee and a frame, and is not asked for them: then `grantee` is `None`.
fn mark(
    memory: &mut impl Memory,
    frame: Mfn,
    index: usize,
    grantee: Option<DomId>,
    access: Access,
) -> Result<u32, GrantError> {
    let marks = match access {
        Access::Read => GTF_READING,
        Access::Write => GTF_READING | GTF_WRITING,
    };
    let mut word = memory.load(frame, index);
    for _ in 0..MARK_ATTEMPTS {
        let entry: EntryV1 = zerocopy::transmute!(word);
        let is_granted = entry.flags & (GTF_TYPE_MASK | GTF_SUB_PAGE) == GTF_PERMIT_ACCESS;
        if grantee.is_some_and(|grantee| !is_granted || entry.domid != grantee)
            || (access == Access::Write && entry.flags & GTF_READONLY != 0)
        {
            return Err(GrantError::General);
        }
        match memory.compare_exchange(frame, index, word, word | u64::from(marks)) {
            now if now == word => return Ok(entry.frame),
            now => word = now,
        }
    }
    Err(GrantError::General)
}

/// Takes marks off an entry. A domain that writes to the entry without end keeps them.
fn clear(memory: &mut impl Memory, frame: Mfn, index: usize, marks: u16) {
    let mut word = memory.load(frame, index);
    for _ in 0..CLEAR_ATTEMPTS {
        match memory.compare_exchange(frame, index, word, word & !u64::from(marks)) {
            now if now == word => return,
            now => word = now,
        }
    }
}

/// Copies within pages, as the caller has made sure.
fn copy_bytes(memory: &mut impl Memory, from: (Mfn, u16), to: (Mfn, u16), length: u16) {
    let (mut source, mut destination) = (usize::from(from.1), usize::from(to.1));
    let mut left = usize::from(length);
    let mut buffer = [0; CHUNK];
    while left != 0 {
        let (chunk, _) = buffer.split_at_mut(left.min(CHUNK));
        memory.read(from.0, source, chunk);
        memory.write(to.0, destination, chunk);
        source = source.saturating_add(chunk.len());
        destination = destination.saturating_add(chunk.len());
        left = left.saturating_sub(chunk.len());
    }
}

#[cfg(test)]
mod tests;
