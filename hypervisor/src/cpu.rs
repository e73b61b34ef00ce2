//! The processor: segments, interrupts, system calls, and registers that Rust has no words for.
//!
//! Source: AMD64 Architecture Programmer's Manual, volume 2, chapters 4, 6 and 8; selectors are those of
//! `public/arch-x86/xen-x86_64.h`, so that SYSRET and domains find theirs.
// UNSAFETY: loads tables that decide what every later instruction does.
#![expect(unsafe_code)]

use crate::entry;
use crate::physical::Physical;
use core::arch::asm;
use core::cell::UnsafeCell;
use hypervisor_core::descriptor::{FLAT, PAGES_MAX};
use hypervisor_core::memory::WORDS;
use hypervisor_core::segment::{LOCAL_PAGES, LocalTable};
use hypervisor_core::{Memory as _, Mfn};

/// Selectors of the hypervisor's segments, and of the first of those of domains (32-bit code, data, 64-bit code).
pub(crate) const CODE: u16 = 0xe008;
const DATA: u16 = 0xe010;
const DOMAINS: u16 = 0xe023;
const TASK: u16 = 0xe040;
const LOCAL: u16 = 0xe050;
/// Descriptors in the table, and in the local one.
const DESCRIPTORS: usize = LOCAL as usize / 8 + 2;
const LOCAL_DESCRIPTORS: usize = LOCAL_PAGES * WORDS;
/// Bytes of the stack that NMI, double fault and machine check have each.
const STACK: usize = 8192;

/// What is written once, before the processor is told of it.
#[repr(C, align(16))]
struct Table<T>(UnsafeCell<T>);

// SAFETY: there is one processor, and only `begin` writes.
unsafe impl<T> Sync for Table<T> {}

static SEGMENTS: Table<[u64; DESCRIPTORS]> = Table(UnsafeCell::new([0; DESCRIPTORS]));
static LOCAL_SEGMENTS: Table<[u64; LOCAL_DESCRIPTORS]> = Table(UnsafeCell::new([0; LOCAL_DESCRIPTORS]));
static INTERRUPTS: Table<[[u64; 2]; 256]> = Table(UnsafeCell::new([[0; 2]; 256]));
/// The task state segment, in words of 32 bits.
static TASK_STATE: Table<[u32; 26]> = Table(UnsafeCell::new([0; 26]));
static STACKS: Table<[[u8; STACK]; 3]> = Table(UnsafeCell::new([[0; STACK]; 3]));

/// What the processor is told where a table is by.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

/// Model-specific registers.
mod msr {
    pub(super) const EFER: u32 = 0xc000_0080;
    pub(super) const STAR: u32 = 0xc000_0081;
    pub(super) const LSTAR: u32 = 0xc000_0082;
    pub(super) const CSTAR: u32 = 0xc000_0083;
    pub(super) const SFMASK: u32 = 0xc000_0084;
    pub(super) const FS_BASE: u32 = 0xc000_0100;
    pub(super) const GS_BASE: u32 = 0xc000_0101;
}

/// Flags that a system call clears: trap, interrupt, direction, nested task, resume, alignment check.
const CLEARED: u64 = 1 << 8 | 1 << 9 | 1 << 10 | 1 << 14 | 1 << 16 | 1 << 18;

/// Sets all of it up.
pub(crate) fn begin() {
    let task = TASK_STATE.0.get() as u64;
    let mut segments = [0; DESCRIPTORS];
    let mut set = |selector: u16, descriptor: u64| segments[usize::from(selector >> 3)] = descriptor;
    set(CODE, 0x00af_9a00_0000_ffff);
    set(DATA, 0x00cf_9200_0000_ffff);
    (DOMAINS..).step_by(8).zip(FLAT).for_each(|(selector, descriptor)| set(selector, descriptor));
    set(TASK, 103 | (task & 0xff_ffff) << 16 | 0x89 << 40 | (task >> 24 & 0xff) << 56);
    set(TASK + 8, task >> 32);

    let mut state = [0_u32; 26];
    let mut put = |at: usize, address: u64| {
        let [a, b, c, d, e, f, g, h] = address.to_le_bytes();
        (state[at], state[at + 1]) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    };
    put(1, entry::stack_top());
    for number in 0..3 {
        // The first interrupt stack is at word 9.
        put(9 + number * 2, STACKS.0.get() as u64 + ((number + 1) * STACK) as u64);
    }
    put(15, entry::debug_stack_top());
    state[25] = 104 << 16;

    let mut interrupts = [[0; 2]; 256];
    for (vector, address) in entry::vectors() {
        let stack = match vector {
            2 => 1,
            8 => 2,
            18 => 3,
            1 => 4,
            _ => 0,
        };
        // Domains may cause breakpoints and overflows by themselves.
        let level = if matches!(vector, 3 | 4) { 3 } else { 0 };
        let kind = 0x8e00 | level << 13 | stack;
        interrupts[usize::from(vector)] =
            [address & 0xffff | u64::from(CODE) << 16 | kind << 32 | (address >> 16 & 0xffff) << 48, address >> 32];
    }
    // SAFETY: nobody uses the tables yet.
    unsafe { SEGMENTS.0.get().write(segments) };
    // SAFETY: as above.
    unsafe { TASK_STATE.0.get().write(state) };
    // SAFETY: as above.
    unsafe { INTERRUPTS.0.get().write(interrupts) };
    load();
    set_msr(msr::EFER, get_msr(msr::EFER) | 1);
    set_msr(msr::STAR, u64::from(DOMAINS) << 48 | u64::from(CODE) << 32);
    set_msr(msr::LSTAR, entry::system_call());
    set_msr(msr::CSTAR, entry::system_call_32());
    set_msr(msr::SFMASK, CLEARED);
    keep_out_of_domains();
}

/// Neither runs nor reads what ring 3 may, if the processor knows how: the hypervisor reaches memory of domains where all memory is
/// mapped for itself.
///
/// Quirk: QEMU 7.2's own emulation reads the stack of an IRET in ring 3 as if it were ring 0, so it is not told of SMAP.
fn keep_out_of_domains() {
    // CPUID leaf 7, ebx: SMEP and SMAP; their bits in CR4.
    const SMEP: (u32, u64) = (1 << 7, 1 << 20);
    const SMAP: (u32, u64) = (1 << 20, 1 << 21);
    // "TCGTCGTCGTCG".
    const EMULATION: u32 = u32::from_le_bytes(*b"TCGT");
    let [highest, ..] = identify(0, 0);
    let [_, features, ..] = if highest >= 7 { identify(7, 0) } else { [0; 4] };
    let [_, below, ..] = identify(0x4000_0000, 0);
    let known = if below == EMULATION { &[SMEP][..] } else { &[SMEP, SMAP] };
    let bits: u64 = known.iter().filter(|(feature, _)| features & feature != 0).map(|(_, bit)| bit).sum();
    // SAFETY: nothing of the hypervisor is at addresses of ring 3.
    unsafe {
        asm!(
            "mov {scratch}, cr4",
            "or {scratch}, {bits}",
            "mov cr4, {scratch}",
            bits = in(reg) bits,
            scratch = out(reg) _,
            options(nostack),
        );
    }
}

/// Tells the processor where the tables are.
fn load() {
    let limit = |length: usize| u16::try_from(length - 1).unwrap_or(u16::MAX);
    let segments = Pointer { limit: limit(DESCRIPTORS * 8), base: SEGMENTS.0.get() as u64 };
    let interrupts = Pointer { limit: limit(256 * 16), base: INTERRUPTS.0.get() as u64 };
    // SAFETY: the tables are complete, and stay.
    unsafe {
        asm!(
            "lgdt [{segments}]",
            "lidt [{interrupts}]",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "mov ss, {data:e}",
            "mov ds, {zero:e}",
            "mov es, {zero:e}",
            "ltr {task:x}",
            segments = in(reg) &raw const segments,
            interrupts = in(reg) &raw const interrupts,
            code = in(reg) u64::from(CODE),
            data = in(reg) u32::from(DATA),
            task = in(reg) u32::from(TASK),
            zero = in(reg) 0_u32,
            scratch = out(reg) _,
        );
    }
}

/// Reads a model-specific register, which exists.
pub(crate) fn get_msr(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading a register that every processor in long mode has changes nothing.
    unsafe {
        asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags))
    };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes one.
pub(crate) fn set_msr(number: u32, value: u64) {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    // SAFETY: callers set what the manual says, with addresses of entry code.
    unsafe { asm!("wrmsr", in("ecx") number, in("eax") low, in("edx") high, options(nostack, preserves_flags)) };
}

/// What the processor says of itself: eax, ebx, ecx and edx of a leaf.
pub(crate) fn identify(leaf: u32, subleaf: u32) -> [u32; 4] {
    let found = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [found.eax, found.ebx, found.ecx, found.edx]
}

/// The time stamp counter.
pub(crate) fn ticks() -> u64 {
    // SAFETY: every processor in long mode has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The address that a page fault was about.
pub(crate) fn fault_address() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Takes another top table, and forgets all translations.
pub(crate) fn set_top(address: u64) {
    // SAFETY: every top table that was checked has the hypervisor's entries, and so has the hypervisor's own.
    unsafe { asm!("mov cr3, {}", in(reg) address, options(nostack, preserves_flags)) };
}

/// Puts a domain's descriptors, which were checked, before those of the hypervisor.
pub(crate) fn set_segments(frames: &[Mfn], memory: &Physical) {
    for page in 0..PAGES_MAX {
        let frame = frames.get(page);
        for index in 0..WORDS {
            let descriptor = frame.map_or(0, |frame| memory.load(*frame, index));
            let place = SEGMENTS.0.get().cast::<u64>().wrapping_add(page * WORDS + index);
            // SAFETY: the table has that many descriptors; the processor reads one when a selector is loaded, in a domain.
            unsafe { place.write_volatile(descriptor) };
        }
    }
}

/// Puts a domain's local table, whose descriptors were checked, in the place of the one before.
pub(crate) fn set_local_segments(table: &LocalTable, memory: &Physical) {
    let pages = table.pages();
    for (index, word) in (0..LOCAL_PAGES * WORDS).map(|index| (index, index % WORDS)) {
        let descriptor = pages[index / WORDS].map_or(0, |frame| memory.load(frame, word));
        let place = LOCAL_SEGMENTS.0.get().cast::<u64>().wrapping_add(index);
        // SAFETY: the table has that many descriptors; the processor reads one when a selector is loaded, in a domain.
        unsafe { place.write_volatile(descriptor) };
    }
    let (base, limit) = (LOCAL_SEGMENTS.0.get() as u64, (table.entries() * 8).saturating_sub(1));
    let descriptor = [
        limit & 0xffff | (base & 0xff_ffff) << 16 | 0x82 << 40 | (limit >> 16 & 0xf) << 48 | (base >> 24 & 0xff) << 56,
        base >> 32,
    ];
    for (number, half) in descriptor.into_iter().enumerate() {
        let place = SEGMENTS.0.get().cast::<u64>().wrapping_add(usize::from(LOCAL >> 3) + number);
        // SAFETY: as above, and it is read by the next instruction.
        unsafe { place.write_volatile(half) };
    }
    let selector = if table.entries() == 0 { 0 } else { LOCAL };
    // SAFETY: it is the table, or none.
    unsafe { asm!("lldt {:x}", in(reg) selector, options(nostack, preserves_flags)) };
}

/// DS, ES, FS and GS.
pub(crate) fn selectors() -> [u16; 4] {
    let (ds, es, fs, gs): (u16, u16, u16, u16);
    // SAFETY: reads registers.
    unsafe {
        asm!(
            "mov {ds:x}, ds", "mov {es:x}, es", "mov {fs:x}, fs", "mov {gs:x}, gs",
            ds = out(reg) ds, es = out(reg) es, fs = out(reg) fs, gs = out(reg) gs,
            options(nomem, nostack, preserves_flags)
        );
    }
    [ds, es, fs, gs]
}

/// Loads them. FS and GS begin elsewhere then.
pub(crate) fn set_selectors([ds, es, fs, gs]: [u16; 4]) {
    // SAFETY: callers pass what is in the tables and readable, or 0; code of the hypervisor uses none of them.
    unsafe {
        asm!(
            "mov ds, {ds:e}", "mov es, {es:e}", "mov fs, {fs:e}", "mov gs, {gs:e}",
            ds = in(reg) u32::from(ds), es = in(reg) u32::from(es), fs = in(reg) u32::from(fs), gs = in(reg) u32::from(gs),
            options(nostack, preserves_flags)
        );
    }
}

/// DR6, which has nothing to tell afterwards.
pub(crate) fn take_debug_status() -> u64 {
    const NOTHING: u64 = 0xffff_0ff0;
    let status;
    // SAFETY: the register only tells what has happened.
    unsafe {
        asm!("mov {0}, dr6", "mov dr6, {1}", out(reg) status, in(reg) NOTHING, options(nomem, nostack, preserves_flags));
    }
    status
}

/// Sets breakpoints of a domain, at addresses of its own, and what they are for.
pub(crate) fn set_breakpoints(([a, b, c, d], control): ([u64; 4], u64)) {
    // SAFETY: none of them is at an address that the hypervisor executes, reads or writes by itself.
    unsafe {
        asm!(
            "mov dr7, {none}", "mov dr0, {a}", "mov dr1, {b}", "mov dr2, {c}", "mov dr3, {d}", "mov dr7, {control}",
            none = in(reg) 1_u64 << 10, a = in(reg) a, b = in(reg) b, c = in(reg) c, d = in(reg) d,
            control = in(reg) control, options(nostack, preserves_flags)
        );
    }
}

/// Lets a domain say itself where FS and GS begin, or not; the processor can do so.
pub(crate) fn allow_base_instructions(allowed: bool) {
    const BASE_INSTRUCTIONS: u64 = 1 << 16;
    let before: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr4", out(reg) before, options(nomem, nostack, preserves_flags)) };
    let after = if allowed { before | BASE_INSTRUCTIONS } else { before & !BASE_INSTRUCTIONS };
    if after != before {
        // SAFETY: no other bit changes, and the hypervisor has no use for these segments.
        unsafe { asm!("mov cr4, {}", in(reg) after, options(nostack, preserves_flags)) };
    }
}

/// Where FS and GS begin.
pub(crate) fn bases() -> [u64; 2] {
    [get_msr(msr::FS_BASE), get_msr(msr::GS_BASE)]
}

/// Says where FS and GS begin, at canonical addresses.
pub(crate) fn set_bases(fs: u64, gs: u64) {
    set_msr(msr::FS_BASE, fs);
    set_msr(msr::GS_BASE, gs);
}

/// Waits for an interrupt, in whose entry nothing is done but to acknowledge it.
pub(crate) fn sleep() {
    // SAFETY: the entries of interrupts keep all registers.
    unsafe { asm!("sti", "hlt", "cli") };
}

/// Stands still for ever.
pub(crate) fn stop() -> ! {
    loop {
        // SAFETY: nothing more is to come.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
