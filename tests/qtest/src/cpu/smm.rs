//! System management mode: a system management interrupt puts the CPU's state to the end of the 64 KiB at SMBASE and goes on
//! in a real mode of its own at SMBASE + 0x8000; RSM takes the state back, with whatever was made of it, SMBASE as well.
//!
//! Source: Pentium Processor User's Manual, volume 3, chapter 20; the places of segments in the state, which it leaves open,
//! are those of Bochs and QEMU. SeaBIOS `src/fw/smm.c` reads and writes it.
//! Not modelled: restart of an I/O instruction.

use devmodel::access::Width;

use super::Cpu;
use super::bus::Bus;
use super::low_word;
use super::registers::{CR0_BITS, CS, ONE, SETTABLE, Segment, Table};

/// SMBASE after a reset.
pub(super) const DEFAULT_BASE: u32 = 0x3_0000;
/// Where the handler begins.
const ENTRY: u32 = 0x8000;
/// What the state map looks like: 32 bits, and SMBASE can be moved.
const REVISION: u32 = 0x2_0000;
/// The bit of a segment's attributes that says 32 bits, and that of a limit in pages.
const BIG: u32 = 0x4000;
const PAGES: u32 = 0x8000;

/// Offsets in the state, from SMBASE + 0x8000 on.
mod place {
    pub(super) const CR0: u32 = 0x7ffc;
    pub(super) const CR3: u32 = 0x7ff8;
    pub(super) const EFLAGS: u32 = 0x7ff4;
    pub(super) const EIP: u32 = 0x7ff0;
    /// EAX; the other general registers lie behind it.
    pub(super) const GENERAL: u32 = 0x7fd0;
    pub(super) const DR6: u32 = 0x7fcc;
    pub(super) const DR7: u32 = 0x7fc8;
    pub(super) const TASK_SELECTOR: u32 = 0x7fc4;
    pub(super) const LDT_SELECTOR: u32 = 0x7fc0;
    /// The selector of ES; the others lie behind it.
    pub(super) const SELECTORS: u32 = 0x7fa8;
    /// Attributes, limit and base of ES, CS, SS, each 12 bytes, and of DS, FS, GS.
    pub(super) const FIRST_SEGMENTS: u32 = 0x7f84;
    pub(super) const LAST_SEGMENTS: u32 = 0x7f2c;
    pub(super) const LDT: u32 = 0x7f78;
    pub(super) const GDT: u32 = 0x7f70;
    pub(super) const TASK: u32 = 0x7f5c;
    pub(super) const IDT: u32 = 0x7f54;
    pub(super) const CR4: u32 = 0x7f14;
    /// What becomes of a CPU that was halted: with a one, it is again.
    pub(super) const AUTO_HALT: u32 = 0x7f02;
    pub(super) const REVISION: u32 = 0x7efc;
    pub(super) const BASE: u32 = 0x7ef8;
}

/// Where a segment is described.
fn segment_place(number: u32) -> u32 {
    if number < 3 { place::FIRST_SEGMENTS + 12 * number } else { place::LAST_SEGMENTS + 12 * (number - 3) }
}

impl Cpu {
    fn state_address<B: Bus>(&self, bus: &B, place: u32) -> u32 {
        self.smm_base.wrapping_add(ENTRY).wrapping_add(place) & bus.a20_mask()
    }

    fn put<B: Bus>(&self, bus: &mut B, place: u32, value: u32) {
        bus.write(self.state_address(bus, place), Width::Dword, value);
    }

    fn take<B: Bus>(&self, bus: &mut B, place: u32) -> u32 {
        bus.read(self.state_address(bus, place), Width::Dword)
    }

    fn put_segment<B: Bus>(&self, bus: &mut B, place: u32, segment: &Segment) {
        let big = if segment.big { BIG } else { 0 };
        let pages = if segment.limit > 0xf_ffff { PAGES } else { 0 };
        self.put(bus, place, u32::from(segment.access) | big | pages);
        self.put(bus, place + 4, segment.limit);
        self.put(bus, place + 8, segment.base);
    }

    fn take_segment<B: Bus>(&self, bus: &mut B, place: u32, selector: u32) -> Segment {
        let attributes = self.take(bus, place);
        Segment {
            selector: low_word(selector),
            base: self.take(bus, place + 8),
            limit: self.take(bus, place + 4),
            access: super::low_byte(attributes),
            big: attributes & BIG != 0,
        }
    }

    /// Goes to the handler.
    pub(super) fn enter_smm<B: Bus>(&mut self, bus: &mut B) {
        bus.set_system_management(true);
        self.in_smm = true;
        for (number, value) in (0..).zip(self.general) {
            self.put(bus, place::GENERAL + 4 * number, value);
        }
        for (number, segment) in (0..).zip(self.segments) {
            self.put(bus, place::SELECTORS + 4 * number, segment.selector.into());
            self.put_segment(bus, segment_place(number), &segment);
        }
        for (place, table) in [(place::GDT, self.gdt), (place::IDT, self.idt)] {
            self.put(bus, place, table.limit.into());
            self.put(bus, place + 4, table.base);
        }
        for (place, selector, segment) in
            [(place::LDT, place::LDT_SELECTOR, self.ldt), (place::TASK, place::TASK_SELECTOR, self.task)]
        {
            self.put(bus, selector, segment.selector.into());
            self.put_segment(bus, place, &segment);
        }
        for (place, value) in [
            (place::CR0, self.control[0]),
            (place::CR3, self.control[3]),
            (place::CR4, self.control[4]),
            (place::EFLAGS, self.flags),
            (place::EIP, self.eip),
            (place::DR6, self.debug[6]),
            (place::DR7, self.debug[7]),
            (place::REVISION, REVISION),
            (place::BASE, self.smm_base),
        ] {
            self.put(bus, place, value);
        }
        let halted = self.state_address(bus, place::AUTO_HALT);
        bus.write(halted, Width::Word, self.halted.into());
        self.halted = false;
        self.flags = ONE;
        self.eip = ENTRY;
        self.control[0] &= !0xd;
        self.control[4] = 0;
        self.debug[7] = 0x400;
        self.segments = [Segment { limit: u32::MAX, ..Segment::real(0) }; 6];
        let selector = low_word(self.smm_base >> 4);
        self.segments[usize::from(CS)] = Segment { selector, base: self.smm_base, ..self.segments[0] };
    }

    /// RSM: takes the state back.
    pub(super) fn leave_smm<B: Bus>(&mut self, bus: &mut B) {
        for (number, place) in (0..8).zip((place::GENERAL..).step_by(4)) {
            self.general[number] = self.take(bus, place);
        }
        for (number, index) in (0..6).zip(0_usize..) {
            let selector = self.take(bus, place::SELECTORS + 4 * number);
            self.segments[index] = self.take_segment(bus, segment_place(number), selector);
        }
        let table = |place| Table { limit: low_word(self.take(bus, place)), base: self.take(bus, place + 4) };
        let [gdt, idt] = [place::GDT, place::IDT].map(table);
        (self.gdt, self.idt) = (gdt, idt);
        let selectors = [place::LDT_SELECTOR, place::TASK_SELECTOR].map(|place| self.take(bus, place));
        self.ldt = self.take_segment(bus, place::LDT, selectors[0]);
        self.task = self.take_segment(bus, place::TASK, selectors[1]);
        self.control[0] = self.take(bus, place::CR0) & CR0_BITS | super::registers::ET;
        self.control[3] = self.take(bus, place::CR3);
        self.control[4] = self.take(bus, place::CR4);
        self.flags = self.take(bus, place::EFLAGS) & SETTABLE | ONE;
        self.eip = self.take(bus, place::EIP);
        self.debug[6] = self.take(bus, place::DR6);
        self.debug[7] = self.take(bus, place::DR7);
        let halted = self.state_address(bus, place::AUTO_HALT);
        self.halted = bus.read(halted, Width::Word) & 1 != 0;
        self.smm_base = self.take(bus, place::BASE);
        self.in_smm = false;
        bus.set_system_management(false);
    }
}
