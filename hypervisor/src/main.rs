//! The hypervisor core: a small type-1 hypervisor that speaks Xen's interface to 64-bit paravirtualised domains.
//!
//! This package is its machine, and the only unsafe code; who may do what is decided in [`hypervisor_core`], which runs on a
//! host as well.
//!
//! ```text
//! qemu-system-x86_64 -machine q35 -cpu max -m 256 -nographic -no-reboot -kernel hypervisor.bin \
//!     -append "dom0_mem=64" -initrd "kernel.elf loglevel=debug,module"
//! ```
//!
//! The first module is the kernel of the first domain, which is the control domain, with its command line; the others come with
//! it. `dom0_mem=` is in MiB, 64 if it is not said; `dom0_max_vcpus=` is 1. The machine resets when the domain ends.
//!
//! | module | what lives there |
//! |---|---|
//! | [`boot`], [`multiboot`] | from the boot loader to Rust, and what it says |
//! | [`cpu`], [`entry`] | tables of the processor; ways into the hypervisor and back |
//! | [`run`] | who came in, and who goes on |
//! | [`physical`], [`heap`] | the machine's memory, and the hypervisor's own |
//! | [`timer`] | time stamps, the timer, the date |
//! | [`serial`], [`port`] | the console |
//! | [`runtime`] | what compiled code calls by name |
//!
//! Not modelled: more than one processor, memory above 4 GiB, ACPI.
//! Invariant: interrupts are off while the hypervisor runs, so it is in one place at a time.
// UNSAFETY: the entry point, and the heap's memory.
#![expect(unsafe_code)]
#![no_std]
#![no_main]

extern crate alloc;

mod boot;
mod cpu;
mod entry;
mod heap;
mod multiboot;
mod physical;
mod port;
mod run;
mod runtime;
mod serial;
mod timer;

use alloc::alloc::{Layout, alloc_zeroed};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;
use domain_builder::{Image, Module};
use hypervisor_core::entry::Entry;
use hypervisor_core::frames::Frames;
use hypervisor_core::memory::WORDS;
use hypervisor_core::system::System;
use hypervisor_core::{Memory as _, Mfn};
use multiboot::Information;
use physical::Physical;
use run::Hypervisor;
use serial::say;
use xen_abi::{DomId, PAGE_SIZE};

/// Bytes of the heap.
const HEAP: u64 = 16 << 20;
/// What lies below is the firmware's.
const LOW: u64 = 1 << 20;
/// Megabytes of the first domain, if nobody says.
const FIRST_MEMORY: u64 = 64;
/// The first frame behind those of devices: interrupt controllers, which are the hypervisor's.
const DEVICES_END: u64 = 0xfec0_0000 / PAGE;
/// Bytes of a page.
const PAGE: u64 = PAGE_SIZE as u64;

/// From the boot code: what the loader has left in ebx and eax.
extern "C" fn main(information: u32, magic: u32) -> ! {
    serial::begin();
    say!("hypervisor core {}", env!("CARGO_PKG_VERSION"));
    if magic != boot::MAGIC {
        say!("started by no multiboot loader");
        run::reset();
    }
    cpu::begin();
    // The loader's words are above the image, and read before anything else is put there.
    let heap = first_free(information);
    // SAFETY: the memory is usable, behind everything that the loader has left, and from here on the heap's.
    unsafe { heap::begin(usize::try_from(boot::DIRECT + heap.start).unwrap_or(0), usize::try_from(HEAP).unwrap_or(0)) };
    let information = multiboot::read(information);
    let (timer, frequency) = timer::begin();
    let scale = hypervisor_core::time::Scale::of_frequency(frequency);
    let first_tick = cpu::ticks();
    say!("{} MHz, {} MiB of memory", frequency / 1_000_000, amount(&information.memory) >> 20);

    let frames = information.memory.iter().map(|range| range.end / PAGE).max().unwrap_or(0);
    let (table, pages) = machine_to_physical(frames);
    let mut entries = [0; 16];
    let [image, direct] = boot::own_entries();
    (entries[0], entries[5], entries[6]) = (table, image, direct);
    let mut system =
        System::new(Physical, Frames::new(usize::try_from(frames).unwrap_or(0), entries), pages, (scale, first_tick));
    system.wall_clock = timer::date().saturating_mul(1_000_000_000);
    system.command_line = information.command_line.into();
    system.has_base_instructions = cpu::identify(7, 0)[1] & 1 != 0;
    add_memory(&mut system, &information, heap.end);
    let Some(kernel) = information.modules.first() else {
        say!("there is no module: the first one is the kernel of the first domain");
        run::reset();
    };
    let modules: Vec<Module<'_>> = information
        .modules
        .iter()
        .skip(1)
        .map(|module| Module { bytes: module.bytes(), command_line: module.words })
        .collect();
    let megabytes = multiboot::option(information.command_line, "dom0_mem").and_then(|text| text.parse().ok());
    let vcpus = multiboot::option(information.command_line, "dom0_max_vcpus").and_then(|text| text.parse().ok());
    let image = Image {
        kernel: kernel.bytes(),
        command_line: kernel.command_line(),
        modules: &modules,
        pages: megabytes.unwrap_or(FIRST_MEMORY).saturating_mul(256),
    };
    system.frames.give_devices(Mfn(DEVICES_END), DomId(0));
    let now = system.time(cpu::ticks());
    match system.build_first(&image, vcpus.unwrap_or(1), now) {
        Ok(id) => say!("{} has {} MiB, {} MiB are free", id.domain, image.pages >> 8, system.frames.free_count() >> 8),
        Err(refusal) => {
            say!("there is no first domain: {}", refusal.0);
            run::reset();
        }
    }
    timer::route_console();
    serial::listen();
    run::begin(Hypervisor { system, timer, floating_point: BTreeMap::new(), loaded: None })
}

/// Memory for the heap, behind the image and everything that the loader has left.
fn first_free(information: u32) -> Range<u64> {
    let start = multiboot::end_of_everything(information).max(boot::image_end()).next_multiple_of(PAGE);
    start..start + HEAP
}

fn amount(memory: &[Range<u64>]) -> u64 {
    memory.iter().map(|range| range.end - range.start).sum()
}

/// Gives the frames that nobody uses to domains.
fn add_memory(system: &mut System<Physical>, information: &Information, reserved: u64) {
    for range in &information.memory {
        let (start, end) = (range.start.max(LOW).max(reserved).div_ceil(PAGE), range.end / PAGE);
        (start..end).for_each(|frame| system.frames.add(Mfn(frame)));
    }
}

/// A page of the hypervisor's, all zeros.
fn page() -> Mfn {
    let layout = Layout::from_size_align(PAGE_SIZE, PAGE_SIZE).unwrap_or(Layout::new::<u64>());
    // SAFETY: the layout has a size.
    let page = unsafe { alloc_zeroed(layout) };
    if page.is_null() {
        say!("the heap is too small for this machine");
        run::reset();
    }
    Mfn::of(page.addr() as u64 - boot::DIRECT)
}

/// The table from machine frames to those of their domains, which domains see at the start of the hypervisor's addresses: the
/// entry of the top table for it, and its pages.
fn machine_to_physical(frames: u64) -> (u64, Vec<Mfn>) {
    const READ_ONLY: u64 = Entry::PRESENT | Entry::USER | Entry::ACCESSED | Entry::NO_EXECUTE;
    let mut memory = Physical;
    let [top, directory] = [page(), page()];
    memory.store(top, 0, Entry::new(directory, READ_ONLY).0);
    let count = usize::try_from(frames).unwrap_or(0).div_ceil(WORDS);
    let pages: Vec<Mfn> = (0..count).map(|_| page()).collect();
    for (number, pages) in pages.chunks(WORDS).enumerate() {
        let table = page();
        memory.store(directory, number, Entry::new(table, READ_ONLY).0);
        for (index, page) in pages.iter().enumerate() {
            memory.store(table, index, Entry::new(*page, READ_ONLY).0);
        }
    }
    for page in &pages {
        (0..WORDS).for_each(|index| memory.store(*page, index, u64::MAX));
    }
    (Entry::new(top, READ_ONLY).0, pages)
}
