//! A CPU: an interpreter of the instructions that firmware, boot loaders and boot sectors have.
//!
//! It is a Pentium without coprocessor and local APIC, in real mode and in protected mode at the highest privilege; limits of
//! segments are kept, so that what is called "big real mode" is there. Instructions are decoded once and kept until their
//! memory changes. Each takes the same time, an access of a port more; PAUSE, which waiting loops have, even more. A CPU
//! that is halted takes none: whoever runs it goes on to the next deadline. So every run of a program is the same.
//!
//! | module | what lives there |
//! |---|---|
//! | `bus` | what the CPU is connected to |
//! | `registers` | registers, flags, faults |
//! | `step`, `cache` | decoded instructions, and those that were decoded already |
//! | `memory` | operands, segments as memory is reached by them, the stack |
//! | `segments` | loading segment registers |
//! | `execute` | from an instruction to what does it |
//! | `arithmetic`, `shifts`, `decimal`, `multiply` | numbers and flags, nothing else |
//! | `bits` | bit tests and bit scans |
//! | `strings` | string instructions with their prefixes |
//! | `control` | jumps, calls, returns |
//! | `interrupts` | interrupts, exceptions, and the return from them |
//! | `system` | ports, control registers, what the CPU says of itself |
//! | `smm` | system management mode |
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volumes 2 and 3; Pentium Processor User's Manual,
//! volume 3, chapter 20, for system management mode.
//! Not modelled: paging (setting CR0.PG is a general protection fault), virtual-8086 mode, privileges below the highest, call
//! gates and task switches (the same fault), debug registers other than as storage, the trap flag, the coprocessor (its
//! instructions do nothing, as on a board with an empty socket), alignment checks, code that runs over its segment's end in
//! the middle of an instruction.
//! Invariant: no program makes it panic, and each instruction ends in bounded time.

mod arithmetic;
mod bits;
pub(crate) mod bus;
mod cache;
mod control;
mod decimal;
mod execute;
mod interrupts;
mod memory;
mod multiply;
mod registers;
mod segments;
mod shifts;
mod smm;
mod step;
mod strings;
mod system;

use bus::{Bus, Changed};
use cache::Cache;
use registers::{CS, EDX, ESP, Fault, IF, ONE, SS, Segment, Table};
use step::Step;

/// Nanoseconds of an instruction.
const STEP_TIME: u64 = 100;
/// Nanoseconds of PAUSE.
const PAUSE_TIME: u64 = 2000;

/// Why it has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// Its time is over.
    Due,
    /// It waits for an interrupt.
    Halted,
    /// It cannot go on: a fault on the way to the handler of a double fault. The board resets it then.
    ShutDown,
}

/// The CPU.
#[derive(Debug)]
pub(crate) struct Cpu {
    general: [u32; 8],
    eip: u32,
    flags: u32,
    segments: [Segment; 6],
    gdt: Table,
    idt: Table,
    ldt: Segment,
    task: Segment,
    control: [u32; 8],
    debug: [u32; 8],
    /// Where system management mode begins.
    smm_base: u32,
    in_smm: bool,
    halted: bool,
    /// The next instruction cannot be interrupted: the last one was STI, or loaded SS.
    shadow: bool,
    cache: Cache,
}

impl Cpu {
    /// One that was just reset.
    pub(crate) fn new() -> Self {
        let mut cpu = Self {
            general: [0; 8],
            eip: 0,
            flags: 0,
            segments: [Segment::real(0); 6],
            gdt: Table::default(),
            idt: Table::default(),
            ldt: Segment::real(0),
            task: Segment::real(0),
            control: [0; 8],
            debug: [0; 8],
            smm_base: 0,
            in_smm: false,
            halted: false,
            shadow: false,
            cache: Cache::default(),
        };
        cpu.reset();
        cpu
    }

    /// Begins anew, at the reset vector.
    pub(crate) fn reset(&mut self) {
        self.general = [0; 8];
        self.general[usize::from(EDX)] = system::SIGNATURE;
        self.eip = 0xfff0;
        self.flags = ONE;
        self.segments = [Segment::real(0); 6];
        self.segments[usize::from(CS)] = Segment { base: 0xffff_0000, ..Segment::real(0xf000) };
        (self.gdt, self.idt) = (Table { base: 0, limit: 0xffff }, Table { base: 0, limit: 0xffff });
        (self.ldt, self.task) = (Segment::real(0), Segment::real(0));
        self.control = [0; 8];
        self.control[0] = 0x6000_0010;
        self.debug = [0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400];
        (self.smm_base, self.in_smm) = (smm::DEFAULT_BASE, false);
        (self.halted, self.shadow) = (false, false);
        self.cache.forget(&Changed::Everything);
    }

    /// Whether it waits for an interrupt that it would not take.
    pub(crate) fn is_halted_for_ever(&self) -> bool {
        self.halted && self.flags & IF == 0
    }

    /// Runs until its time is over or it waits.
    pub(crate) fn run<B: Bus>(&mut self, bus: &mut B) -> Stopped {
        loop {
            if !self.in_smm && bus.take_system_management() {
                self.enter_smm(bus);
            }
            match bus.take_changed() {
                Changed::Nothing => {}
                changed => self.cache.forget(&changed),
            }
            let shadow = std::mem::take(&mut self.shadow);
            if !shadow && self.flags & IF != 0 && bus.interrupt() {
                self.halted = false;
                let vector = bus.acknowledge();
                if self.deliver(bus, Fault { vector, code: None }, false).is_err() {
                    return Stopped::ShutDown;
                }
            }
            if self.halted {
                return Stopped::Halted;
            }
            if bus.now() >= bus.until() {
                return Stopped::Due;
            }
            if self.step(bus).is_err() {
                return Stopped::ShutDown;
            }
        }
    }

    /// Executes an instruction, or goes to the handler of its fault. `Err`: that is not possible.
    fn step<B: Bus>(&mut self, bus: &mut B) -> Result<(), Fault> {
        bus.spend(STEP_TIME);
        let (eip, esp) = (self.eip, self.general[usize::from(ESP)]);
        let code = &self.segments[usize::from(CS)];
        if eip > code.limit {
            return self.deliver(bus, Fault::protection(0), true);
        }
        let addr = code.base.wrapping_add(eip) & bus.a20_mask();
        let step = self.cache.step(bus, addr, code.big);
        match self.execute(bus, &step) {
            Ok(()) => Ok(()),
            Err(fault) => {
                self.eip = eip;
                self.general[usize::from(ESP)] = esp;
                self.deliver(bus, fault, true)
            }
        }
    }

    /// Whether the segment registers hold selectors of descriptors.
    fn is_protected(&self) -> bool {
        self.control[0] & registers::PE != 0
    }

    /// The offset behind an instruction.
    fn behind(&self, step: &Step) -> u32 {
        let next = self.eip.wrapping_add(step.len.into());
        if self.segments[usize::from(CS)].big { next } else { next & 0xffff }
    }

    /// The bits of ESP that count.
    fn stack_mask(&self) -> u32 {
        if self.segments[usize::from(SS)].big { u32::MAX } else { 0xffff }
    }
}

/// The low byte.
fn low_byte(value: u32) -> u8 {
    value.to_le_bytes()[0]
}

/// The low word.
fn low_word(value: u32) -> u16 {
    let [low, high, ..] = value.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// The bits of `width` bytes.
fn mask(width: u8) -> u32 {
    match width {
        1 => 0xff,
        2 => 0xffff,
        _ => u32::MAX,
    }
}

/// The sign of `width` bytes.
fn sign(width: u8) -> u32 {
    match width {
        1 => 0x80,
        2 => 0x8000,
        _ => 0x8000_0000,
    }
}

/// A number of `width` bytes with its sign extended.
fn extend(value: u32, width: u8) -> u32 {
    let sign = sign(width);
    ((value & mask(width)) ^ sign).wrapping_sub(sign)
}

#[cfg(test)]
mod tests;
