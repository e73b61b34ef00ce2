//! Interrupts and exceptions on their way to their handlers, and back.

use super::bus::Bus;
use super::registers::{CS, Fault, IF, NT, ONE, PRESENT, RF, SETTABLE, TF};
use super::step::Step;
use super::{Cpu, low_byte, low_word};

/// IDT entries: interrupt and trap gates of 16 and of 32 bits.
const INTERRUPT_16: u8 = 6;
const TRAP_16: u8 = 7;
const INTERRUPT_32: u8 = 14;
const TRAP_32: u8 = 15;

impl Cpu {
    /// Goes to a handler; if that fails, to that of the double fault. `Err`: that fails too.
    pub(super) fn deliver<B: Bus>(&mut self, bus: &mut B, event: Fault, is_fault: bool) -> Result<(), Fault> {
        let Err(second) = self.enter_handler(bus, event, !is_fault) else { return Ok(()) };
        // Faults that do not add up are served one after the other.
        let adds_up = is_fault && matches!(event.vector, 0 | 10..=13) && matches!(second.vector, 0 | 10..=13);
        let next = match () {
            () if event == Fault::DOUBLE => return Err(second),
            () if adds_up => Fault::DOUBLE,
            () => second,
        };
        let Err(third) = self.enter_handler(bus, next, false) else { return Ok(()) };
        if next == Fault::DOUBLE {
            return Err(third);
        }
        self.enter_handler(bus, Fault::DOUBLE, false)
    }

    /// INT, INT3, INTO.
    pub(super) fn software_interrupt<B: Bus>(&mut self, bus: &mut B, step: &Step, vector: u8) -> Result<(), Fault> {
        let eip = self.eip;
        self.eip = self.behind(step);
        self.enter_handler(bus, Fault { vector, code: None }, false).inspect_err(|_| self.eip = eip)
    }

    fn enter_handler<B: Bus>(&mut self, bus: &mut B, event: Fault, is_external: bool) -> Result<(), Fault> {
        if self.is_protected() {
            self.enter_gate(bus, event, is_external)
        } else {
            self.enter_vector(bus, event.vector)
        }
    }

    /// Real mode: the table has far addresses.
    fn enter_vector<B: Bus>(&mut self, bus: &mut B, vector: u8) -> Result<(), Fault> {
        let entry = u32::from(vector) * 4;
        if entry + 3 > self.idt.limit.into() {
            return Err(Fault::protection(entry_code(vector)));
        }
        let target = self.load_linear(bus, self.idt.base.wrapping_add(entry), 4);
        let esp = self.stack_pointer();
        let old = (self.flags, self.segments[usize::from(CS)].selector, self.eip);
        let pushed = self
            .push(bus, 2, old.0)
            .and_then(|()| self.push(bus, 2, old.1.into()))
            .and_then(|()| self.push(bus, 2, old.2));
        let segment = pushed.and_then(|()| self.code_segment(bus, low_word(target >> 16), target & 0xffff));
        let segment = segment.inspect_err(|_| self.set_stack_pointer(esp))?;
        self.segments[usize::from(CS)] = segment;
        self.eip = target & 0xffff;
        self.flags &= !(IF | TF | RF);
        Ok(())
    }

    /// Protected mode: the table has gates.
    fn enter_gate<B: Bus>(&mut self, bus: &mut B, event: Fault, is_external: bool) -> Result<(), Fault> {
        let entry = u32::from(event.vector) * 8;
        let code = entry_code(event.vector) | u16::from(is_external);
        let refused = |vector| Fault { vector, code: Some(code) };
        if entry + 7 > self.idt.limit.into() {
            return Err(refused(13));
        }
        let at = self.idt.base.wrapping_add(entry);
        let (low, high) = (self.load_linear(bus, at, 4), self.load_linear(bus, at.wrapping_add(4), 4));
        let access = low_byte(high >> 8);
        let (width, disables) = match access & 0x1f {
            INTERRUPT_16 => (2, true),
            TRAP_16 => (2, false),
            INTERRUPT_32 => (4, true),
            TRAP_32 => (4, false),
            _ => return Err(refused(13)),
        };
        if access & PRESENT == 0 {
            return Err(refused(11));
        }
        let offset = if width == 4 { low & 0xffff | high & 0xffff_0000 } else { low & 0xffff };
        let segment = self.code_segment(bus, low_word(low >> 16), offset)?;
        let esp = self.stack_pointer();
        let old = [self.flags, self.segments[usize::from(CS)].selector.into(), self.eip];
        let mut values = old.into_iter().chain(event.code.map(u32::from));
        let pushed = values.try_for_each(|value| self.push(bus, width, value));
        pushed.inspect_err(|_| self.set_stack_pointer(esp))?;
        self.segments[usize::from(CS)] = segment;
        self.eip = offset;
        self.flags &= !(TF | NT | RF | if disables { IF } else { 0 });
        Ok(())
    }

    /// IRET.
    pub(super) fn iret<B: Bus>(&mut self, bus: &mut B, step: &Step) -> Result<(), Fault> {
        if self.is_protected() && self.flags & NT != 0 {
            return Err(Fault::task(self.task.selector));
        }
        let width = step.width;
        let offset = self.peek(bus, width, 0)?;
        let selector = low_word(self.peek(bus, width, width.into())?);
        let flags = self.peek(bus, width, u32::from(width) * 2)?;
        self.segments[usize::from(CS)] = self.code_segment(bus, selector, offset)?;
        self.eip = offset;
        self.set_stack_pointer(self.stack_pointer().wrapping_add(u32::from(width) * 3));
        self.set_flags(flags, width);
        Ok(())
    }

    /// Sets the flags that software can set, or the low half of them.
    pub(super) fn set_flags(&mut self, value: u32, width: u8) {
        let settable = SETTABLE & super::mask(width);
        self.flags = self.flags & !settable | value & settable | ONE;
    }
}

/// The error code that names an entry of the IDT.
fn entry_code(vector: u8) -> u16 {
    u16::from(vector) << 3 | 2
}
