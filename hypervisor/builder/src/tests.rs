//! Domains in memory of this machine.

use super::*;
use alloc::vec;
use xen_abi::elfnote::{XEN_ELFNOTE_ENTRY, XEN_ELFNOTE_HYPERCALL_PAGE, XEN_ELFNOTE_VIRT_BASE};
use zerocopy::FromBytes as _;

const COUNT: u64 = 2048;
const COUNT_OF_PAGES: usize = 2048;

/// Frames are pages with another number.
struct Memory(Vec<[u8; PAGE_SIZE]>);

const FIRST_FRAME: u64 = 0x1000;

impl Pages for Memory {
    fn frame(&self, page: u64) -> Option<u64> {
        (page < self.0.len() as u64).then_some(page + FIRST_FRAME)
    }

    fn write(&mut self, page: u64, offset: usize, bytes: &[u8]) -> Result<(), Refusal> {
        let Some(page) = self.0.get_mut(usize::try_from(page).unwrap()) else { return refuse("no such page") };
        page[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

impl Memory {
    /// Reads by the page tables. `None`: nothing is mapped.
    fn read(&self, top: u64, address: u64, length: usize) -> Option<Vec<u8>> {
        let byte = |address: u64| {
            let entry = self.entry(top, address)?;
            let page = self.0.get(usize::try_from((entry >> 12 & 0xff_ffff).checked_sub(FIRST_FRAME)?).ok()?)?;
            page.get((address & 0xfff) as usize).copied()
        };
        (address..).take(length).map(byte).collect()
    }

    fn entry(&self, top: u64, address: u64) -> Option<u64> {
        let mut frame = top;
        for shift in [39, 30, 21, 12] {
            let page = self.0.get(usize::try_from(frame.checked_sub(FIRST_FRAME)?).ok()?)?;
            let index = (address >> shift & 511) as usize * 8;
            let entry = u64::from_le_bytes(page[index..index + 8].try_into().unwrap());
            if entry & 1 == 0 {
                return None;
            }
            if shift == 12 {
                return Some(entry);
            }
            frame = entry >> 12 & 0xff_ffff_ffff;
        }
        None
    }
}

/// A kernel of four pages at `base`: code, the page of hypercalls, and notes.
fn kernel(base: u64) -> Vec<u8> {
    let note = |kind: u32, value: u64| {
        let head = [4_u32, 8, kind].map(u32::to_le_bytes).concat();
        [&head[..], b"Xen\0", &value.to_le_bytes()].concat()
    };
    let notes = [
        note(XEN_ELFNOTE_ENTRY, base + 0x10),
        note(XEN_ELFNOTE_HYPERCALL_PAGE, base + 0x1000),
        note(XEN_ELFNOTE_VIRT_BASE, base),
    ]
    .concat();
    let segment = |kind: u32, offset: u64, address: u64, length: u64, size: u64| {
        let words = [offset, address, 0, length, size, 4].map(u64::to_le_bytes).concat();
        [&kind.to_le_bytes()[..], &5_u32.to_le_bytes(), &words].concat()
    };
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    file.extend([base + 0x10, 64, 0].map(u64::to_le_bytes).concat());
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 64, 0, 0, 0, 0, 0]);
    file.extend(segment(1, 0x1000, base, 16, 0x4000));
    file.extend(segment(4, 0x2000, 0, notes.len() as u64, notes.len() as u64));
    file.resize(0x1000, 0);
    file.extend(b"here is the code");
    file.resize(0x2000, 0);
    file.extend(notes);
    file
}

fn memory() -> Memory {
    Memory(vec![[0; PAGE_SIZE]; COUNT_OF_PAGES])
}

const AROUND: Surroundings = Surroundings { shared_info: 0x777, flags: 0, ports: Some((Port(1), Port(2))) };

#[test]
fn a_kernel_finds_everything_by_its_page_tables_wherever_it_lies() {
    for base in [0, 0x40_0000, 0x7f_ffc0_0000, 0xffff_ffff_8000_0000] {
        let mut memory = memory();
        let file = kernel(base);
        let modules = [Module { bytes: b"module", command_line: "" }];
        let image = Image { kernel: &file, command_line: "a=b", modules: &modules, pages: COUNT };
        let start = build(&image, &AROUND, &mut memory).unwrap();
        assert_eq!((start.entry, start.hypercall_page), (base + 0x10, Some(FIRST_FRAME + 1)));
        let read = |address, length| memory.read(start.top, address, length).unwrap();
        assert_eq!(read(base, 16), b"here is the code");
        let info = StartInfo::read_from_bytes(&read(start.start_info, size_of::<StartInfo>())).unwrap();
        assert!(info.magic.starts_with(b"xen-3.0-x86_64\0") && info.cmd_line.starts_with(b"a=b\0"));
        assert_eq!((info.nr_pages, info.shared_info, info.flags), (COUNT, 0x777_000, 0));
        assert_eq!((info.store_evtchn, info.console_evtchn), (Port(1), Port(2)));
        assert_eq!(start.rings, Some((info.store_mfn, info.console_mfn)));
        assert_eq!(read(info.mod_start, 6), b"module");
        assert_eq!(info.mod_len, 6);
        for page in [0, 1, COUNT - 1] {
            assert_eq!(read(info.mfn_list + 8 * page, 8), (page + FIRST_FRAME).to_le_bytes());
        }
        // The tables are as many as it is told, each mapped and none writable; the stack, behind them, is.
        for table in 0..info.nr_pt_frames {
            assert_eq!(memory.entry(start.top, info.pt_base + table * PAGE).unwrap() & 3, 1);
        }
        assert_eq!(start.stack, info.pt_base + (info.nr_pt_frames + 1) * PAGE);
        assert_eq!(memory.entry(start.top, start.stack - 8).unwrap() & 3, 3);
        assert!(memory.entry(start.top, start.stack + FREE).is_some(), "free memory is mapped");
        let mapped = (0..COUNT + 1024).filter(|page| memory.entry(start.top, base.wrapping_add(page * PAGE)).is_some());
        assert_eq!(mapped.count() % 1024, 0, "up to the next 4 MiB");
    }
}

const FREE: u64 = (512 << 10) - PAGE;

#[test]
fn several_modules_are_in_a_list() {
    let mut memory = memory();
    let file = kernel(0x40_0000);
    let long = vec![5; 5000];
    let modules = [("one a", &b"first"[..]), ("two", &long), ("three", b"")];
    let modules = modules.map(|(command_line, bytes)| Module { bytes, command_line });
    let image = Image { kernel: &file, command_line: "", modules: &modules, pages: COUNT };
    let start = build(&image, &AROUND, &mut memory).unwrap();
    let read = |address, length| memory.read(start.top, address, length).unwrap();
    let info = StartInfo::read_from_bytes(&read(start.start_info, size_of::<StartInfo>())).unwrap();
    assert_eq!(info.flags, SIF_MULTIBOOT_MOD);
    for (number, module) in (0..).zip(modules) {
        let entry = read(info.mod_start + number * 16, 16);
        let word = |at: usize| u64::from(u32::from_le_bytes(entry[at..at + 4].try_into().unwrap()));
        assert_eq!(word(0) % PAGE, 0);
        assert_eq!(word(4) + 1, word(0) + module.bytes.len() as u64);
        assert_eq!(read(info.mod_start + word(0), module.bytes.len()), module.bytes);
        let name = read(info.mod_start + word(8), module.command_line.len() + 1);
        assert_eq!(name, [module.command_line.as_bytes(), b"\0"].concat());
    }
    assert_eq!(read(info.mod_start + 3 * 16, 4), [0; 4]);
}

#[test]
fn files_that_are_no_kernel_are_refused_and_nothing_else_happens() {
    let good = kernel(0x40_0000);
    let build = |file: &[u8], pages| {
        build(&Image { kernel: file, command_line: "", modules: &[], pages }, &AROUND, &mut memory())
    };
    assert_eq!(build(b"not an ELF file", COUNT).unwrap_err().0, "the kernel is no ELF file");
    assert!(build(&good, 4).unwrap_err().0.contains("not enough memory"));
    assert!(build(&good, COUNT * 4).unwrap_err().0.contains("fewer pages"));
    assert!(build(&good[..0x1004], COUNT).is_err());
    // Whatever is changed in it.
    let mut seed = 1_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        usize::try_from(seed >> 33).unwrap()
    };
    for _ in 0..2000 {
        let mut file = good.clone();
        for _ in 0..=random() % 4 {
            let place = if random() % 2 == 0 { random() % 0xb0 } else { 0x2000 + random() % 60 };
            file[place] = [0, 1, 0x7f, 0xff, u8::try_from(random() % 256).unwrap()][random() % 5];
        }
        let _ = build(&file, COUNT);
    }
}
