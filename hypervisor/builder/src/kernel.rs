//! A kernel: an ELF file, and what its notes say.

use crate::{Refusal, refuse};
use object::LittleEndian;
use object::elf::{FileHeader64, PT_LOAD, PT_NOTE, ProgramHeader64};
use object::read::elf::{FileHeader as _, NoteIterator, ProgramHeader as _, SectionHeader as _};
use xen_abi::elfnote::{
    XEN_ELFNOTE_ENTRY, XEN_ELFNOTE_HYPERCALL_PAGE, XEN_ELFNOTE_PADDR_OFFSET, XEN_ELFNOTE_VIRT_BASE,
};

/// A kernel.
pub(crate) struct Kernel<'a> {
    file: &'a [u8],
    segments: &'a [ProgramHeader64<LittleEndian>],
    /// Where it begins.
    pub(crate) entry: u64,
    /// The address of its first page.
    pub(crate) base: u64,
    /// The physical address that stands for that.
    physical_base: u64,
    /// The address of the page by which it makes hypercalls.
    pub(crate) hypercall_page: Option<u64>,
    /// Where its last segment ends.
    pub(crate) end: u64,
}

impl<'a> Kernel<'a> {
    pub(crate) fn read(file: &'a [u8]) -> Result<Self, Refusal> {
        let Ok(header) = FileHeader64::<LittleEndian>::parse(file) else { return refuse("the kernel is no ELF file") };
        let Ok(segments) = header.program_headers(LittleEndian, file) else {
            return refuse("the kernel has no segments");
        };
        let mut kernel = Self {
            file,
            segments,
            entry: header.e_entry(LittleEndian),
            base: 0,
            physical_base: 0,
            hypercall_page: None,
            end: 0,
        };
        if !kernel.read_notes() && !kernel.read_section_notes(header) {
            return refuse("the kernel has no notes of Xen's: it is none for it");
        }
        kernel.end = kernel.base;
        for segment in segments.iter().filter(|segment| segment.p_type(LittleEndian) == PT_LOAD) {
            let Some(from) = kernel.address(segment) else { return refuse("a segment of the kernel lies nowhere") };
            kernel.end = kernel.end.max(from.saturating_add(segment.p_memsz(LittleEndian)));
        }
        Ok(kernel)
    }

    /// Whether there are any.
    fn read_notes(&mut self) -> bool {
        let mut has_any = false;
        for segment in self.segments.iter().filter(|segment| segment.p_type(LittleEndian) == PT_NOTE) {
            if let Ok(Some(notes)) = segment.notes(LittleEndian, self.file) {
                has_any |= self.take_notes(notes);
            }
        }
        has_any
    }

    /// The same where only the sections show them, as in mini-os.
    fn read_section_notes(&mut self, header: &FileHeader64<LittleEndian>) -> bool {
        let mut has_any = false;
        for section in header.section_headers(LittleEndian, self.file).unwrap_or_default() {
            if let Ok(Some(notes)) = section.notes(LittleEndian, self.file) {
                has_any |= self.take_notes(notes);
            }
        }
        has_any
    }

    fn take_notes(&mut self, mut notes: NoteIterator<'a, FileHeader64<LittleEndian>>) -> bool {
        let mut has_any = false;
        while let Ok(Some(note)) = notes.next() {
            if note.name() != b"Xen" {
                continue;
            }
            has_any = true;
            let Ok(number) = note.desc().try_into().map(u64::from_le_bytes) else { continue };
            match note.n_type(LittleEndian).0 {
                XEN_ELFNOTE_ENTRY => self.entry = number,
                XEN_ELFNOTE_HYPERCALL_PAGE => self.hypercall_page = Some(number),
                XEN_ELFNOTE_VIRT_BASE => self.base = number,
                XEN_ELFNOTE_PADDR_OFFSET => self.physical_base = number,
                _ => {}
            }
        }
        has_any
    }

    /// Where a segment is to be: what counts is its physical address, from the base on.
    fn address(&self, segment: &ProgramHeader64<LittleEndian>) -> Option<u64> {
        let offset = segment.p_paddr(LittleEndian).checked_sub(self.physical_base)?;
        self.base.checked_add(offset)
    }

    /// The bytes of its segments, each with its address.
    pub(crate) fn segments(&self) -> Result<impl Iterator<Item = (u64, &'a [u8])>, Refusal> {
        let loaded = self.segments.iter().filter(|segment| segment.p_type(LittleEndian) == PT_LOAD);
        let bytes = loaded.map(|segment| {
            let bytes = segment.data(LittleEndian, self.file);
            let address = self.address(segment).unwrap_or(self.base);
            bytes.map_or_else(|()| refuse("the kernel is cut off"), |bytes| Ok((address, bytes)))
        });
        bytes.collect::<Result<alloc::vec::Vec<_>, _>>().map(alloc::vec::Vec::into_iter)
    }
}
