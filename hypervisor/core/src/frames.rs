//! Whose frames are, and what they are used as: a page that a domain can write is no table of pages or segments, and such a table
//! holds nothing that was not checked.
//!
//! Each frame has an owner, a number of uses, and a type with a number of uses as that type. The type can change only while
//! nobody uses the frame as what it was. A frame becomes a page table by being checked entry by entry, whereby every entry
//! becomes a use of what it points to; when the last one who needs it as a table has gone, these uses end.
//!
//! Source: Xen's interface of direct paging (`public/xen.h`, `HYPERVISOR_mmu_update`); the rules are those of Xen's
//! `xen/arch/x86/mm.c`, "A few notes on general and special-purpose page counts".
//! A table above the lowest may have an entry for itself that cannot be written, by which a domain sees its tables as pages: this is
//! a use of the frame, but not one as a table.
//! Not modelled: entries for other tables of the same level, large pages, memory types.
//! Invariant: a frame with a writable mapping is never a page table, and the counts are those of the tables: see the tests.

use crate::descriptor;
use crate::entry::{Entry, Level};
use crate::errno::Errno;
use crate::grant::Access;
use crate::memory::{Memory, Mfn, WORDS};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use xen_abi::{DomId, PAGE_SIZE};

/// Entries of a top table that are the hypervisor's.
pub const HYPERVISOR_ENTRIES: Range<usize> = 256..272;

/// What a frame is used as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Any,
    /// Somebody can write to it.
    Writable,
    /// A page table.
    Table(Level),
    /// A table of segments.
    Descriptors,
}

#[derive(Clone, Debug, Default)]
struct Frame {
    owner: Option<DomId>,
    /// Uses of any kind; being the owner's is one.
    uses: u32,
    kind: Kind,
    /// Uses as `kind`.
    kind_uses: u32,
    /// The domain keeps it a page table, whether it is in use or not.
    pinned: bool,
}

/// All frames of the machine that domains can have.
#[derive(Debug)]
pub struct Frames {
    frames: Vec<Frame>,
    free: Vec<Mfn>,
    /// Frames of devices' registers, behind all others, and the domain that may use them.
    devices: Option<(Range<u64>, DomId)>,
    /// The hypervisor's entries of each top table.
    shared_entries: [u64; HYPERVISOR_ENTRIES.end - HYPERVISOR_ENTRIES.start],
}

impl Frames {
    /// Frames up to a number, of which none is free. `shared_entries` is what each top table has for the hypervisor.
    #[must_use]
    pub fn new(count: usize, shared_entries: [u64; HYPERVISOR_ENTRIES.end - HYPERVISOR_ENTRIES.start]) -> Self {
        Self { frames: vec![Frame::default(); count], free: Vec::new(), devices: None, shared_entries }
    }

    /// The machine has this frame for domains.
    pub fn add(&mut self, frame: Mfn) {
        if self.get(frame).is_ok_and(|info| info.owner.is_none()) {
            self.free.push(frame);
        }
    }

    /// A domain may map registers of devices: so many frames behind those of memory. Devices reach all of memory, so it is trusted.
    pub fn give_devices(&mut self, end: Mfn, domain: DomId) {
        let start = u64::try_from(self.frames.len()).unwrap_or(u64::MAX);
        self.devices = Some((start..end.0, domain));
    }

    /// How many are free.
    #[must_use]
    pub const fn free_count(&self) -> usize {
        self.free.len()
    }

    /// How many frames there are, free, used, or not for domains.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.frames.len()
    }

    /// Gives a domain a frame, full of zeros.
    pub fn allocate(&mut self, memory: &mut impl Memory, owner: DomId) -> Option<Mfn> {
        let frame = self.free.pop()?;
        (0..WORDS).for_each(|index| memory.store(frame, index, 0));
        *self.get_mut(frame).ok()? = Frame { owner: Some(owner), uses: 1, ..Frame::default() };
        Some(frame)
    }

    /// Gives a domain a frame that the hypervisor writes as well, so it never becomes a page table.
    pub fn allocate_shared(&mut self, memory: &mut impl Memory, owner: DomId) -> Option<Mfn> {
        let frame = self.allocate(memory, owner)?;
        let info = self.get_mut(frame).ok()?;
        (info.kind, info.kind_uses, info.uses) = (Kind::Writable, 1, 2);
        Some(frame)
    }

    /// Whose it is.
    #[must_use]
    pub fn owner(&self, frame: Mfn) -> Option<DomId> {
        self.get(frame).ok()?.owner
    }

    /// Whether it is a page table now.
    #[must_use]
    pub fn is_table(&self, frame: Mfn) -> bool {
        self.get(frame).is_ok_and(|info| matches!(info.kind, Kind::Table(_)))
    }

    /// Whether the hypervisor may write to it for a domain: nothing there was checked.
    #[must_use]
    pub fn can_be_written(&self, frame: Mfn) -> bool {
        self.get(frame).is_ok_and(|info| matches!(info.kind, Kind::Any | Kind::Writable))
    }

    fn get(&self, frame: Mfn) -> Result<&Frame, Errno> {
        usize::try_from(frame.0).ok().and_then(|number| self.frames.get(number)).ok_or(Errno::EINVAL)
    }

    fn get_mut(&mut self, frame: Mfn) -> Result<&mut Frame, Errno> {
        usize::try_from(frame.0).ok().and_then(|number| self.frames.get_mut(number)).ok_or(Errno::EINVAL)
    }

    /// One more use of a frame, which has to be this domain's.
    fn take(&mut self, frame: Mfn, owner: DomId) -> Result<(), Errno> {
        let info = self.get_mut(frame)?;
        if info.owner != Some(owner) {
            return Err(Errno::EINVAL);
        }
        info.uses = info.uses.checked_add(1).ok_or(Errno::EBUSY)?;
        Ok(())
    }

    /// One use less. The last one is the owner's.
    fn drop_use(&mut self, frame: Mfn) {
        let Ok(info) = self.get_mut(frame) else { return };
        info.uses = info.uses.saturating_sub(1);
        if info.uses == 0 && info.owner.take().is_some() {
            self.free.push(frame);
        }
    }

    /// One more use of a frame as this kind.
    fn take_as(&mut self, memory: &mut impl Memory, frame: Mfn, owner: DomId, kind: Kind) -> Result<(), Errno> {
        self.take(frame, owner)?;
        let result = self.use_as(memory, frame, owner, kind);
        if result.is_err() {
            self.drop_use(frame);
        }
        result
    }

    fn use_as(&mut self, memory: &mut impl Memory, frame: Mfn, owner: DomId, kind: Kind) -> Result<(), Errno> {
        let info = self.get_mut(frame)?;
        if info.kind_uses > 0 {
            if info.kind != kind {
                return Err(Errno::EINVAL);
            }
            info.kind_uses = info.kind_uses.checked_add(1).ok_or(Errno::EBUSY)?;
            return Ok(());
        }
        // Before its entries are looked at: none of them may need it as something else.
        (info.kind, info.kind_uses) = (kind, 1);
        let checked = match kind {
            Kind::Any | Kind::Writable => Ok(()),
            Kind::Table(level) => self.check_table(memory, frame, owner, level),
            Kind::Descriptors => check_descriptors(memory, frame),
        };
        if checked.is_err()
            && let Ok(info) = self.get_mut(frame)
        {
            (info.kind, info.kind_uses) = (Kind::Any, 0);
        }
        checked
    }

    /// One use of a frame as its kind less.
    fn drop_as(&mut self, memory: &mut impl Memory, frame: Mfn) {
        let Ok(info) = self.get_mut(frame) else { return };
        info.kind_uses = info.kind_uses.saturating_sub(1);
        if info.kind_uses == 0 {
            let kind = core::mem::take(&mut info.kind);
            if let Kind::Table(level) = kind {
                self.give_up_entries(memory, frame, level, WORDS);
            }
        }
        self.drop_use(frame);
    }

    /// Checks the entries of what is to become a table, and takes what they point to.
    fn check_table(&mut self, memory: &mut impl Memory, table: Mfn, owner: DomId, level: Level) -> Result<(), Errno> {
        for index in 0..WORDS {
            if let Some(entry) = self.shared_entry(level, index) {
                memory.store(table, index, entry);
                continue;
            }
            // Read once: from here on it is what was checked, since nobody can write to it any more.
            let entry = Entry(memory.load(table, index)).adjusted();
            if let Err(error) = self.take_entry(memory, entry, (table, level), owner, owner) {
                self.give_up_entries(memory, table, level, index);
                return Err(error);
            }
            memory.store(table, index, entry.0);
        }
        Ok(())
    }

    /// Gives up what the first entries of a table point to. What is in the hypervisor's entries does not stay.
    fn give_up_entries(&mut self, memory: &mut impl Memory, table: Mfn, level: Level, count: usize) {
        for index in 0..count {
            if self.shared_entry(level, index).is_some() {
                memory.store(table, index, 0);
            } else {
                let entry = Entry(memory.load(table, index));
                self.drop_entry(memory, entry, (table, level));
            }
        }
    }

    fn shared_entry(&self, level: Level, index: usize) -> Option<u64> {
        let index = index.checked_sub(HYPERVISOR_ENTRIES.start)?;
        self.shared_entries.get(index).copied().filter(|_| level == Level::L4)
    }

    /// Takes what an entry of a table of `domain` points to, which is `owner`'s.
    fn take_entry(
        &mut self,
        memory: &mut impl Memory,
        entry: Entry,
        (table, level): (Mfn, Level),
        domain: DomId,
        owner: DomId,
    ) -> Result<(), Errno> {
        if !entry.is_present() {
            return Ok(());
        }
        if level == Level::L1 && self.is_device(entry.frame(), domain, owner) && entry.is_allowed_for_device() {
            return Ok(());
        }
        if !entry.is_allowed() {
            return Err(Errno::EINVAL);
        }
        match level.below() {
            Some(_) if maps_itself(entry, table) => self.take(table, domain),
            Some(below) => self.take_as(memory, entry.frame(), domain, Kind::Table(below)),
            None if entry.is_writable() => self.take_as(memory, entry.frame(), owner, Kind::Writable),
            None => self.take(entry.frame(), owner),
        }
    }

    /// Whether a domain maps registers of a device by this, as its own or as those of `DOMID_IO`. Their uses are not counted.
    fn is_device(&self, frame: Mfn, domain: DomId, owner: DomId) -> bool {
        let devices = self.devices.as_ref().filter(|(_, user)| *user == domain && [domain, DomId::IO].contains(&owner));
        devices.is_some_and(|(range, _)| range.contains(&frame.0))
    }

    fn drop_entry(&mut self, memory: &mut impl Memory, entry: Entry, (table, level): (Mfn, Level)) {
        if !entry.is_present() {
            return;
        }
        match level.below() {
            Some(_) if maps_itself(entry, table) => self.drop_use(table),
            None if !entry.is_writable() => self.drop_use(entry.frame()),
            _ => self.drop_as(memory, entry.frame()),
        }
    }

    /// Changes an entry of a page table of `domain`, or a word of another page of it. What the entry points to is `owner`'s.
    /// With `keep_used`, its accessed and dirty bits stay.
    pub fn update(
        &mut self,
        memory: &mut impl Memory,
        domain: DomId,
        owner: DomId,
        (table, index): (Mfn, usize),
        value: u64,
        keep_used: bool,
    ) -> Result<(), Errno> {
        let info = self.get(table)?;
        if info.owner != Some(domain) || index >= WORDS {
            return Err(Errno::EINVAL);
        }
        let level = match info.kind {
            Kind::Table(level) => level,
            Kind::Descriptors => return Err(Errno::EINVAL),
            Kind::Any | Kind::Writable => {
                memory.store(table, index, value);
                return Ok(());
            }
        };
        if self.shared_entry(level, index).is_some() || owner != domain && level != Level::L1 {
            return Err(Errno::EINVAL);
        }
        let new = Entry(value).adjusted();
        self.take_entry(memory, new, (table, level), domain, owner)?;
        let used = Entry::ACCESSED | Entry::DIRTY;
        loop {
            // The processor may set its bits meanwhile.
            let old = memory.load(table, index);
            let new = if keep_used && new.is_present() { new.0 | old & used } else { new.0 };
            if memory.compare_exchange(table, index, old, new) == old {
                self.drop_entry(memory, Entry(old), (table, level));
                return Ok(());
            }
        }
    }

    /// The entry at a place that is in a lowest page table of a domain.
    pub fn page_entry(
        &self,
        memory: &impl Memory,
        domain: DomId,
        (table, index): (Mfn, usize),
    ) -> Result<Entry, Errno> {
        let info = self.get(table)?;
        let is_lowest = info.owner == Some(domain) && info.kind == Kind::Table(Level::L1) && index < WORDS;
        is_lowest.then(|| Entry(memory.load(table, index))).ok_or(Errno::EINVAL)
    }

    /// What is mapped at one place of a domain's lowest page tables is mapped at another one then, and there no more.
    pub fn move_page(
        &mut self,
        memory: &mut impl Memory,
        domain: DomId,
        from: (Mfn, usize),
        to: (Mfn, usize),
    ) -> Result<(), Errno> {
        self.page_entry(memory, domain, from)?;
        self.page_entry(memory, domain, to)?;
        if from == to {
            return Err(Errno::EINVAL);
        }
        let moved = exchange(memory, from, Entry(0));
        let before = exchange(memory, to, moved);
        let (table, _) = to;
        self.drop_entry(memory, before, (table, Level::L1));
        Ok(())
    }

    /// Keeps a frame of a domain a page table.
    pub fn pin(&mut self, memory: &mut impl Memory, domain: DomId, frame: Mfn, level: Level) -> Result<(), Errno> {
        self.take_as(memory, frame, domain, Kind::Table(level))?;
        if core::mem::replace(&mut self.get_mut(frame)?.pinned, true) {
            self.drop_as(memory, frame);
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Ends that.
    pub fn unpin(&mut self, memory: &mut impl Memory, domain: DomId, frame: Mfn) -> Result<(), Errno> {
        let info = self.get_mut(frame)?;
        if info.owner != Some(domain) || !core::mem::replace(&mut info.pinned, false) {
            return Err(Errno::EINVAL);
        }
        self.drop_as(memory, frame);
        Ok(())
    }

    /// A processor of a domain takes this for a page of its table of segments.
    pub fn load_descriptors(&mut self, memory: &mut impl Memory, domain: DomId, frame: Mfn) -> Result<(), Errno> {
        self.take_as(memory, frame, domain, Kind::Descriptors)
    }

    /// It takes another one.
    pub fn unload_descriptors(&mut self, memory: &mut impl Memory, frame: Mfn) {
        self.drop_as(memory, frame);
    }

    /// Changes a descriptor of a domain, in a page that is in use for them or not.
    pub fn update_descriptor(
        &mut self,
        memory: &mut impl Memory,
        domain: DomId,
        (frame, index): (Mfn, usize),
        value: u64,
    ) -> Result<(), Errno> {
        let info = self.get(frame)?;
        let value = descriptor::sanitized(value).ok_or(Errno::EINVAL)?;
        if info.owner != Some(domain) || index >= WORDS || matches!(info.kind, Kind::Table(_)) {
            return Err(Errno::EINVAL);
        }
        memory.store(frame, index, value);
        Ok(())
    }

    /// The hypervisor, or a domain by way of it, uses a frame of `owner` beside all page tables: it writes to it, or only reads.
    pub fn hold(&mut self, memory: &mut impl Memory, owner: DomId, frame: Mfn, access: Access) -> Result<(), Errno> {
        match access {
            Access::Read => self.take(frame, owner),
            Access::Write => self.take_as(memory, frame, owner, Kind::Writable),
        }
    }

    /// It does so no more.
    pub fn let_go(&mut self, memory: &mut impl Memory, frame: Mfn, access: Access) {
        match access {
            Access::Read => self.drop_use(frame),
            Access::Write => self.drop_as(memory, frame),
        }
    }

    /// A processor of a domain takes this for its top table.
    pub fn load_top(&mut self, memory: &mut impl Memory, domain: DomId, table: Mfn) -> Result<(), Errno> {
        self.take_as(memory, table, domain, Kind::Table(Level::L4))
    }

    /// It takes another one.
    pub fn unload_top(&mut self, memory: &mut impl Memory, table: Mfn) {
        self.drop_as(memory, table);
    }

    /// A domain gives a frame back, if it is used no more.
    pub fn give_back(&mut self, domain: DomId, frame: Mfn) -> Result<(), Errno> {
        let info = self.get(frame)?;
        if info.owner != Some(domain) {
            return Err(Errno::EINVAL);
        }
        if info.uses != 1 {
            return Err(Errno::EBUSY);
        }
        self.drop_use(frame);
        Ok(())
    }

    /// Fills a page of a domain, which is no table.
    pub fn write(
        &self,
        memory: &mut impl Memory,
        domain: DomId,
        frame: Mfn,
        bytes: &[u8; PAGE_SIZE],
    ) -> Result<(), Errno> {
        let info = self.get(frame)?;
        if info.owner != Some(domain) || !matches!(info.kind, Kind::Any | Kind::Writable) {
            return Err(Errno::EINVAL);
        }
        memory.write(frame, 0, bytes);
        Ok(())
    }

    /// Whether any frame is a domain's, or was and is used by others still.
    #[must_use]
    pub fn owns_any(&self, domain: DomId) -> bool {
        self.frames.iter().any(|frame| frame.owner == Some(domain))
    }

    /// A domain is gone, and its processors have no tables any more: its frames become free, except those that others use.
    pub fn release(&mut self, memory: &mut impl Memory, domain: DomId) {
        let numbers = 0..u64::try_from(self.frames.len()).unwrap_or(u64::MAX);
        let owned = |frames: &Self, frame: Mfn| frames.owner(frame) == Some(domain);
        for frame in numbers.clone().map(Mfn) {
            if owned(self, frame) {
                let _ = self.unpin(memory, domain, frame);
            }
        }
        for frame in numbers.map(Mfn) {
            if owned(self, frame) {
                self.drop_use(frame);
            }
        }
    }
}

/// An entry by which a table is seen and not written.
fn maps_itself(entry: Entry, table: Mfn) -> bool {
    entry.frame() == table && !entry.is_writable()
}

/// Replaces an entry, whose bits the processor may set meanwhile. Gives what it was.
fn exchange(memory: &mut impl Memory, (table, index): (Mfn, usize), new: Entry) -> Entry {
    loop {
        let old = memory.load(table, index);
        if memory.compare_exchange(table, index, old, new.0) == old {
            return Entry(old);
        }
    }
}

/// Checks what is to become a table of segments; nobody can write to it any more.
fn check_descriptors(memory: &mut impl Memory, frame: Mfn) -> Result<(), Errno> {
    for index in 0..WORDS {
        let value = descriptor::sanitized(memory.load(frame, index)).ok_or(Errno::EINVAL)?;
        memory.store(frame, index, value);
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
