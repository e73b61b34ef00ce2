//! The first domain, out of an ELF file.
//!
//! What a domain finds is what Xen's domain builder leaves (`tools/libs/guest/xg_dom_x86.c`), at addresses from `VIRT_BASE` of
//! its notes on, or 0: the image, a module, the table of its frames, the start information, the page tables, a stack, and
//! from there on memory up to the next 4 MiB. All other pages are in the table of frames, and not mapped.
//!
//! Source: `public/elfnote.h`, `public/xen.h` (`struct start_info`).
//! Not modelled: `INIT_P2M`, `PADDR_OFFSET`.

use crate::entry::{Entry, Level};
use crate::event::MAX_VCPUS;
use crate::memory::{Memory, Mfn, WORDS};
use crate::system::{Domain, System};
use crate::unpack::unpack;
use crate::vcpu::{Registers, Vcpu, VcpuId, sane_flags};
use alloc::string::String;
use alloc::vec::Vec;
use object::LittleEndian;
use object::elf::{FileHeader64, PT_LOAD, PT_NOTE};
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use xen_abi::elfnote::{XEN_ELFNOTE_ENTRY, XEN_ELFNOTE_HYPERCALL_PAGE, XEN_ELFNOTE_VIRT_BASE};
use xen_abi::mmu::{FLAT_KERNEL_CS, FLAT_KERNEL_SS};
use xen_abi::shared_info::SharedInfo;
use xen_abi::start_info::{MAX_GUEST_CMDLINE, SIF_INITDOMAIN, SIF_PRIVILEGED, StartInfo};
use xen_abi::{DomId, Hypercall, PAGE_SIZE};
use zerocopy::{FromZeros as _, IntoBytes as _};

/// What the first domain is made of.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// The kernel: an ELF file with Xen's notes, or that compressed by gzip.
    pub kernel: &'a [u8],
    /// Its command line.
    pub command_line: &'a str,
    /// A file that comes with it.
    pub module: &'a [u8],
    /// Pages of the domain.
    pub pages: u64,
    /// Its vCPUs, of which the first one runs: 1 to [`MAX_VCPUS`].
    pub vcpus: u32,
}

/// Why there is no first domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

fn refuse<T>(why: &str) -> Result<T, Refusal> {
    Err(Refusal(why.into()))
}

/// Bits of entries for pages, for tables, and for what only the hypervisor writes.
const DATA: u64 = Entry::PRESENT | Entry::WRITABLE | Entry::USER | Entry::ACCESSED | Entry::DIRTY;
const READ_ONLY: u64 = Entry::PRESENT | Entry::USER | Entry::ACCESSED;
/// Pages of a grant table, Xen's default.
const GRANT_FRAMES: u32 = 64;
/// Free memory that is mapped at least, and where the mapping ends.
const FREE_MIN: u64 = 512 << 10;
const MAPPED_TO: u64 = 4 << 20;
/// Bytes of a kernel that was compressed.
const KERNEL_MAX: usize = 8 << 20;
/// The size of a page.
const PAGE: u64 = PAGE_SIZE as u64;

/// What the notes say.
#[derive(Clone, Copy, Debug, Default)]
struct Notes {
    has_any: bool,
    entry: Option<u64>,
    hypercall_page: Option<u64>,
    virt_base: Option<u64>,
}

/// Where things are, by address.
#[derive(Clone, Copy, Debug)]
struct Layout {
    base: u64,
    module: u64,
    frames: u64,
    start_info: u64,
    tables: u64,
    table_count: u64,
    stack: u64,
    end: u64,
}

type Header = FileHeader64<LittleEndian>;

impl<M: Memory> System<M> {
    /// Makes the first domain, which is the control domain.
    pub fn build_first(&mut self, image: &Image<'_>, now: u64) -> Result<VcpuId, Refusal> {
        let domain = DomId(0);
        let Some(kernel) = unpack(image.kernel, KERNEL_MAX) else { return refuse("the kernel cannot be unpacked") };
        let image = &Image { kernel: &kernel, ..*image };
        let Ok(header) = Header::parse(image.kernel) else { return refuse("the kernel is no ELF file") };
        let notes = notes(header, image.kernel)?;
        if !notes.has_any {
            return refuse("the kernel has no notes of Xen's: it is none for it");
        }
        let entry = notes.entry.unwrap_or(header.e_entry(LittleEndian));
        let base = notes.virt_base.unwrap_or(0);
        let layout = layout(header, image, base)?;
        let mut pages = Vec::new();
        for _ in 0..image.pages {
            let Some(frame) = self.frames.allocate(&mut self.memory, domain) else {
                return refuse("the machine has not so much memory");
            };
            self.set_physical(frame, u64::try_from(pages.len()).unwrap_or(u64::MAX));
            pages.push(frame);
        }
        let Some(shared_info) = self.frames.allocate_shared(&mut self.memory, domain) else {
            return refuse("the machine has no page left");
        };
        let space = Space { base, pages };

        self.load(header, image, &space)?;
        if let Some(page) = notes.hypercall_page {
            self.put(&space, page, &hypercall_page())?;
        }
        self.put(&space, layout.module, image.module)?;
        for (number, frame) in (0..).zip(&space.pages) {
            self.put(&space, layout.frames.wrapping_add(8_u64.wrapping_mul(number)), &frame.0.to_le_bytes())?;
        }
        let info = start_info(image, &layout, shared_info);
        self.put(&space, layout.start_info, info.as_bytes())?;
        let top = self.map(&space, &layout)?;
        if self.frames.pin(&mut self.memory, domain, top, Level::L4).is_err()
            || self.frames.load_top(&mut self.memory, domain, top).is_err()
        {
            return refuse("its page tables are none");
        }

        let registers = Registers {
            rip: entry,
            rsi: layout.start_info,
            rsp: layout.stack.wrapping_add(PAGE),
            cs: FLAT_KERNEL_CS.into(),
            ss: FLAT_KERNEL_SS.into(),
            rflags: sane_flags(0),
            ..Registers::default()
        };
        let vcpu = Vcpu::new(registers, top, now);
        let id = VcpuId { domain, number: 0 };
        let count = image.vcpus.clamp(1, MAX_VCPUS);
        let vcpus: Vec<_> = core::iter::once(vcpu).chain((1..count).map(|_| Vcpu::absent(now))).collect();
        self.events.add_domain(domain, shared_info, count);
        self.grants.add_domain(domain, GRANT_FRAMES);
        self.domains.insert(
            domain,
            Domain { is_privileged: true, vcpus, shared_info, pages: image.pages, assists: 0, shutdown: None },
        );
        (0..count).for_each(|number| self.set_masked(VcpuId { domain, number }, true));
        self.tell_wall_clock(shared_info);
        self.make_ready(id, now);
        Ok(id)
    }

    /// When the system started.
    fn tell_wall_clock(&mut self, shared_info: Mfn) {
        const OFFSET: usize = core::mem::offset_of!(SharedInfo, wc_version);
        let seconds = (self.wall_clock / 1_000_000_000).to_le_bytes();
        let [a, b, c, d, e, f, g, h] = seconds;
        let nanoseconds = u32::try_from(self.wall_clock % 1_000_000_000).unwrap_or(0).to_le_bytes();
        let words = [2_u32.to_le_bytes(), [a, b, c, d], nanoseconds, [e, f, g, h]];
        self.memory.write(shared_info, OFFSET, words.as_flattened());
    }

    fn put(&mut self, space: &Space, address: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let mut address = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(frame) = space.frame(address) else { return refuse("the domain has not enough memory") };
            let offset = usize::try_from(address % PAGE).unwrap_or(0);
            let (now, later) = rest.split_at(rest.len().min(PAGE_SIZE.saturating_sub(offset)));
            self.memory.write(frame, offset, now);
            address = address.wrapping_add(u64::try_from(now.len()).unwrap_or(0));
            rest = later;
        }
        Ok(())
    }

    fn load(&mut self, header: &Header, image: &Image<'_>, space: &Space) -> Result<(), Refusal> {
        for segment in segments(header, image.kernel)? {
            if segment.p_type(LittleEndian) != PT_LOAD {
                continue;
            }
            let Ok(bytes) = segment.data(LittleEndian, image.kernel) else { return refuse("the kernel is cut off") };
            self.put(space, segment.p_vaddr(LittleEndian), bytes)?;
        }
        Ok(())
    }

    /// Makes the page tables, and gives the top one. The pages are those of the layout, the top one first.
    fn map(&mut self, space: &Space, layout: &Layout) -> Result<Mfn, Refusal> {
        let tables = layout.tables..layout.tables.wrapping_add(layout.table_count.wrapping_mul(PAGE));
        let mut fresh = tables.start;
        let mut take = || {
            let frame = space.frame(fresh).filter(|_| fresh < tables.end);
            fresh = fresh.wrapping_add(PAGE);
            frame.map_or_else(|| refuse("too few page tables"), Ok)
        };
        let top = take()?;
        let mut address = layout.base;
        while address < layout.end {
            let mut table = top;
            for level in [Level::L4, Level::L3, Level::L2] {
                let index = level.index(address);
                let entry = Entry(self.memory.load(table, index));
                table = if entry.is_present() {
                    entry.frame()
                } else {
                    let below = take()?;
                    self.memory.store(table, index, Entry::new(below, DATA).0);
                    below
                };
            }
            let Some(frame) = space.frame(address) else { return refuse("the domain has not enough memory") };
            let bits = if tables.contains(&address) { READ_ONLY } else { DATA };
            self.memory.store(table, Level::L1.index(address), Entry::new(frame, bits).0);
            address = address.wrapping_add(PAGE);
        }
        Ok(top)
    }
}

/// The domain's pages, one after the other from an address on.
struct Space {
    base: u64,
    pages: Vec<Mfn>,
}

impl Space {
    fn frame(&self, address: u64) -> Option<Mfn> {
        let number = address.checked_sub(self.base)? / PAGE;
        self.pages.get(usize::try_from(number).ok()?).copied()
    }
}

fn segments<'a>(header: &Header, file: &'a [u8]) -> Result<&'a [object::elf::ProgramHeader64<LittleEndian>], Refusal> {
    header.program_headers(LittleEndian, file).map_or_else(|_| refuse("the kernel has no segments"), Ok)
}

fn notes(header: &Header, file: &[u8]) -> Result<Notes, Refusal> {
    let mut notes = Notes::default();
    for segment in segments(header, file)?.iter().filter(|segment| segment.p_type(LittleEndian) == PT_NOTE) {
        let Ok(Some(mut found)) = segment.notes(LittleEndian, file) else { continue };
        while let Ok(Some(note)) = found.next() {
            let number = note.desc().try_into().ok().map(u64::from_le_bytes);
            if note.name() == b"Xen" {
                notes.has_any = true;
                match note.n_type(LittleEndian).0 {
                    XEN_ELFNOTE_ENTRY => notes.entry = number,
                    XEN_ELFNOTE_HYPERCALL_PAGE => notes.hypercall_page = number,
                    XEN_ELFNOTE_VIRT_BASE => notes.virt_base = number,
                    _ => {}
                }
            }
        }
    }
    Ok(notes)
}

fn layout(header: &Header, image: &Image<'_>, base: u64) -> Result<Layout, Refusal> {
    let mut end = base;
    for segment in segments(header, image.kernel)?.iter().filter(|segment| segment.p_type(LittleEndian) == PT_LOAD) {
        let (from, length) = (segment.p_vaddr(LittleEndian), segment.p_memsz(LittleEndian));
        if from < base {
            return refuse("a segment of the kernel lies below its VIRT_BASE");
        }
        end = end.max(from.saturating_add(length));
    }
    let length = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX).div_ceil(PAGE).saturating_mul(PAGE);
    let module = end.div_ceil(PAGE).saturating_mul(PAGE);
    let frames = module.saturating_add(length(image.module.len()));
    let start_info = frames.saturating_add(image.pages.saturating_mul(8).div_ceil(PAGE).saturating_mul(PAGE));
    let tables = start_info.saturating_add(PAGE);
    let limit = base.saturating_add(image.pages.saturating_mul(PAGE));
    // More tables may make more tables necessary.
    let mut table_count = 4_u64;
    loop {
        let stack = tables.saturating_add(table_count.saturating_mul(PAGE));
        let end = stack.saturating_add(PAGE).saturating_add(FREE_MIN).div_ceil(MAPPED_TO).saturating_mul(MAPPED_TO);
        if end > limit {
            return refuse("the domain has not enough memory for its kernel");
        }
        // Tables that the addresses from the base to the end go through.
        let through = |shift: u32| (end.saturating_sub(1) >> shift).saturating_sub(base >> shift).saturating_add(1);
        let needed = through(21).saturating_add(through(30)).saturating_add(through(39)).saturating_add(1);
        if needed <= table_count {
            return Ok(Layout { base, module, frames, start_info, tables, table_count, stack, end });
        }
        table_count = needed;
    }
}

fn start_info(image: &Image<'_>, layout: &Layout, shared_info: Mfn) -> StartInfo {
    let mut info = StartInfo::new_zeroed();
    info.magic.iter_mut().zip(b"xen-3.0-x86_64").for_each(|(to, from)| *to = *from);
    info.nr_pages = image.pages;
    info.shared_info = shared_info.address();
    info.flags = SIF_PRIVILEGED | SIF_INITDOMAIN;
    info.pt_base = layout.tables;
    info.nr_pt_frames = layout.table_count;
    info.mfn_list = layout.frames;
    if !image.module.is_empty() {
        info.mod_start = layout.module;
        info.mod_len = u64::try_from(image.module.len()).unwrap_or(0);
    }
    // The last byte stays zero.
    let line = image.command_line.bytes().take(MAX_GUEST_CMDLINE - 1);
    info.cmd_line.iter_mut().zip(line).for_each(|(to, from)| *to = from);
    info
}

/// The page that makes hypercalls: 32 bytes for each, as `hypercall_page_initialise` of Xen has them.
fn hypercall_page() -> [u8; PAGE_SIZE] {
    // int3, where nothing is.
    let mut page = [0xcc; PAGE_SIZE];
    for (number, slot) in (0_u32..).zip(page.chunks_exact_mut(32)) {
        let [a, b, c, d] = number.to_le_bytes();
        let code: &[u8] = if number == Hypercall::Iret as u32 {
            // push rcx; push r11; push rax; mov eax, number; syscall
            &[0x51, 0x41, 0x53, 0x50, 0xb8, a, b, c, d, 0x0f, 0x05]
        } else {
            // push rcx; push r11; mov eax, number; syscall; pop r11; pop rcx; ret
            &[0x51, 0x41, 0x53, 0xb8, a, b, c, d, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3]
        };
        slot.iter_mut().zip(code).for_each(|(to, from)| *to = *from);
    }
    page
}

const _: () = assert!(WORDS == 512 && size_of::<StartInfo>() <= PAGE_SIZE);
