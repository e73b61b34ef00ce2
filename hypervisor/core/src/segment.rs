//! Segments of a vCPU: what a selector names, whether the processor can have it, and the local table.
//!
//! A domain's kernel and its user mode are both in ring 3, in whatever segments they like. That the processor can have them is
//! looked up before it returns there, so that a return never fails in the hypervisor; what it would have failed with is the
//! domain's exception.
//!
//! The pages of a local table are taken one by one, when a descriptor of them is used, since a domain may set a table whose
//! pages are not there yet. A page that was taken is nothing else until the vCPU has another table.
//!
//! Source: AMD64 Architecture Programmer's Manual, volume 2, section 4.7 and volume 3, `IRET`; Xen's `MMUEXT_SET_LDT` and
//! `pv_map_ldt_shadow_page`.
//! Invariant: every page in [`LocalTable`] is used as descriptors, once for each place that it has there.

use crate::descriptor::{self, FIRST_FLAT, FLAT};
use crate::entry::Entry;
use crate::errno::Errno;
use crate::memory::{Memory, Mfn, WORDS};
use crate::system::System;
use crate::trap::{NOT_PRESENT, PROTECTION, STACK_FAULT};
use crate::vcpu::{Registers, VcpuId};
use crate::walk::{AddressSpace, is_canonical, is_domains};
use xen_abi::PAGE_SIZE;

/// Descriptors of a local table, and the pages that they fill.
pub const LOCAL_MAX: u64 = 8192;
/// Pages of a local table.
pub const LOCAL_PAGES: usize = 16;
/// A selector is of the local table.
const LOCAL: u16 = 1 << 2;
/// The privilege level that it asks for.
const PRIVILEGE: u16 = 3;
/// The lower bits of an error code: it is about the local table.
const OF_LOCAL: u64 = 4;

/// A local table of segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalTable {
    base: u64,
    entries: u64,
    pages: [Option<Mfn>; LOCAL_PAGES],
}

impl LocalTable {
    /// How many descriptors it has.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// Those of its pages that were taken.
    #[must_use]
    pub const fn pages(&self) -> &[Option<Mfn>; LOCAL_PAGES] {
        &self.pages
    }
}

/// Vector and error code of an exception.
type Fault = (u8, u64);

impl<M: Memory> System<M> {
    /// A vCPU has another local table: so many descriptors at an address of its kernel.
    pub(crate) fn set_local_table(&mut self, id: VcpuId, base: u64, entries: u64) -> Result<(), Errno> {
        let is_place = is_domains(base) && base.trailing_zeros() >= xen_abi::PAGE_SHIFT;
        if entries > LOCAL_MAX || entries != 0 && !is_place {
            return Err(Errno::EINVAL);
        }
        let base = if entries == 0 { 0 } else { base };
        let table = &mut self.vcpu_mut(id).ok_or(Errno::ESRCH)?.local_table;
        if (table.base, table.entries) != (base, entries) {
            let before = core::mem::replace(table, LocalTable { base, entries, ..LocalTable::default() });
            before.pages.iter().flatten().for_each(|page| self.frames.unload_descriptors(&mut self.memory, *page));
            self.reload_segments = true;
        }
        Ok(())
    }

    /// An exception that is about a descriptor of a local table whose page was not taken yet: it is to be tried again.
    pub(crate) fn takes_local_page(&mut self, id: VcpuId, error: u64) -> bool {
        error & 7 == OF_LOCAL && u16::try_from(error).is_ok_and(|selector| self.take_local_page(id, selector >> 3))
    }

    fn take_local_page(&mut self, id: VcpuId, index: u16) -> bool {
        let Some(vcpu) = self.vcpu(id) else { return false };
        let (top, table) = (vcpu.top, &vcpu.local_table);
        let number = usize::from(index) / WORDS;
        let is_new = u64::from(index) < table.entries && table.pages.get(number).is_some_and(Option::is_none);
        let offset = number.saturating_mul(PAGE_SIZE);
        let address = u64::try_from(offset).ok().and_then(|offset| table.base.checked_add(offset));
        let (true, Some(address)) = (is_new, address) else { return false };
        let space = AddressSpace { memory: &mut self.memory, top };
        let Ok((lowest, place)) = space.lowest(address) else { return false };
        let entry = Entry(self.memory.load(lowest, place));
        if !entry.is_present() || self.frames.load_descriptors(&mut self.memory, id.domain, entry.frame()).is_err() {
            return false;
        }
        let slot = self.vcpu_mut(id).and_then(|vcpu| vcpu.local_table.pages.get_mut(number));
        if let Some(slot) = slot {
            *slot = Some(entry.frame());
        }
        self.reload_segments = true;
        true
    }

    /// The descriptor that a selector names.
    pub(crate) fn descriptor(&mut self, id: VcpuId, selector: u16) -> Option<u64> {
        let index = selector >> 3;
        let (page, place) = (usize::from(index) / WORDS, usize::from(index) % WORDS);
        if selector & LOCAL != 0 {
            self.take_local_page(id, index);
            let table = &self.vcpu(id)?.local_table;
            let frame = table.pages.get(page).copied().flatten().filter(|_| u64::from(index) < table.entries)?;
            return Some(self.memory.load(frame, place));
        }
        match index.checked_sub(FIRST_FLAT >> 3).and_then(|number| FLAT.get(usize::from(number))) {
            Some(flat) => Some(*flat),
            None => self.vcpu(id)?.segments.get(page).map(|frame| self.memory.load(*frame, place)),
        }
    }

    /// Whether a selector names a segment of 64-bit code.
    pub(crate) fn is_long(&mut self, id: VcpuId, selector: u64) -> bool {
        u16::try_from(selector & 0xffff)
            .ok()
            .and_then(|selector| self.descriptor(id, selector))
            .is_some_and(descriptor::is_long)
    }

    /// A selector that the processor can load into DS, ES, FS or GS: this one, or none.
    pub fn loadable(&mut self, id: VcpuId, selector: u16) -> u16 {
        let is_there = selector & !PRIVILEGE != 0;
        let descriptor = self.descriptor(id, selector | PRIVILEGE).filter(|_| is_there);
        if descriptor.is_some_and(|found| descriptor::is_present(found) && descriptor::is_readable(found)) {
            selector
        } else {
            0
        }
    }

    /// Where the segment of a selector begins, if the processor can have it; 0 otherwise.
    pub(crate) fn segment_base(&mut self, id: VcpuId, selector: u16) -> u64 {
        let selector = self.loadable(id, selector);
        let descriptor = self.descriptor(id, selector).filter(|_| selector & !PRIVILEGE != 0);
        descriptor.map_or(0, descriptor::base)
    }

    /// Where FS and GS begin on the processor, as a vCPU comes in: loading a selector moves them, of which nobody else hears.
    pub fn note_bases(&mut self, id: VcpuId, [fs, gs]: [u64; 2]) {
        let Some(vcpu) = self.vcpu_mut(id) else { return };
        // Quirk: QEMU 7.2 lets WRFSBASE and WRGSBASE have what is no address.
        let [fs, gs] = [fs, gs].map(|base| if is_canonical(base) { base } else { 0 });
        vcpu.bases.fs = fs;
        if vcpu.in_user {
            vcpu.bases.gs_user = gs;
        } else {
            vcpu.bases.gs_kernel = gs;
        }
    }

    /// Before the processor returns to a domain: what it could not have is the domain's exception, or its end. Either way it is
    /// in ring 3 then.
    pub fn check_return(&mut self, id: VcpuId, registers: &mut Registers) {
        let Some((vector, error)) = self.return_fault(id, registers) else { return };
        registers.error = error;
        self.tell(id, registers, vector, 0);
        let runs = self.vcpu(id).is_some_and(|vcpu| vcpu.state != crate::vcpu::State::Offline);
        if runs && self.return_fault(id, registers).is_some() {
            self.crash(id, registers, "a return that fails, and so does that to its handler");
        }
    }

    /// What a return would fail with.
    fn return_fault(&mut self, id: VcpuId, registers: &mut Registers) -> Option<Fault> {
        let [cs, ss] = [registers.cs, registers.ss].map(|selector| selector & 0xffff | u64::from(PRIVILEGE));
        (registers.cs, registers.ss) = (cs, ss);
        let code = match self.named(id, cs) {
            Ok(code) if descriptor::is_code(code) => code,
            Ok(_) => return Some((PROTECTION, of(cs))),
            Err(fault) => return Some(fault),
        };
        if !descriptor::is_present(code) {
            return Some((NOT_PRESENT, of(cs)));
        }
        let stack = match self.named(id, ss) {
            Ok(stack) if descriptor::is_writable(stack) => stack,
            Ok(_) => return Some((PROTECTION, of(ss))),
            Err(fault) => return Some(fault),
        };
        if !descriptor::is_present(stack) {
            return Some((STACK_FAULT, of(ss)));
        }
        if descriptor::is_long(code) {
            return (!is_canonical(registers.rip)).then_some((PROTECTION, 0));
        }
        registers.rip &= 0xffff_ffff;
        registers.rsp &= 0xffff_ffff;
        (registers.rip > descriptor::limit(code)).then_some((PROTECTION, 0))
    }

    /// The descriptor, or what it fails with that there is none.
    fn named(&mut self, id: VcpuId, selector: u64) -> Result<u64, Fault> {
        let selector = u16::try_from(selector & 0xffff).unwrap_or(0);
        if selector & !PRIVILEGE == 0 {
            return Err((PROTECTION, 0));
        }
        self.descriptor(id, selector).ok_or((PROTECTION, of(selector.into())))
    }
}

/// The error code that is about a selector.
const fn of(selector: u64) -> u64 {
    selector & 0xfffc
}
