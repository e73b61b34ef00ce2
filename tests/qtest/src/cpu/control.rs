//! Jumps, calls and returns.

use iced_x86::Mnemonic;

use super::bus::Bus;
use super::registers::{CS, EBP, ECX, ESP, Fault, SS, ZF};
use super::step::{Operand, Step};
use super::{Cpu, low_byte, low_word, mask};

impl Cpu {
    /// Goes to an offset in the same segment.
    fn jump(&mut self, offset: u32, width: u8) -> Result<(), Fault> {
        let offset = offset & mask(width);
        if offset > self.segments[usize::from(CS)].limit {
            return Err(Fault::protection(0));
        }
        self.eip = offset;
        Ok(())
    }

    /// Goes to another segment.
    fn jump_far<B: Bus>(&mut self, bus: &mut B, selector: u16, offset: u32) -> Result<(), Fault> {
        self.segments[usize::from(CS)] = self.code_segment(bus, selector, offset)?;
        self.eip = offset;
        Ok(())
    }

    /// Where a jump or a call goes.
    fn target<B: Bus>(&self, bus: &mut B, step: &Step) -> Result<(Option<u16>, u32), Fault> {
        let width = step.width;
        Ok(match step.operands[0] {
            Operand::Near(distance) => (None, self.eip.wrapping_add(distance)),
            Operand::Far(selector, offset) => (Some(selector), offset),
            Operand::Memory if step.memory_width > width => {
                let (selector, offset) = self.far_pointer(bus, step, width)?;
                (Some(selector), offset)
            }
            operand => (None, self.get(bus, step, operand)?),
        })
    }

    /// Selector and offset, of `width` bytes, in memory.
    pub(super) fn far_pointer<B: Bus>(&self, bus: &mut B, step: &Step, width: u8) -> Result<(u16, u32), Fault> {
        let at = self.offset(&step.memory);
        let offset = self.load(bus, step.memory.segment, at, width)?;
        let behind = at.wrapping_add(width.into()) & step.memory.mask;
        let selector = self.load(bus, step.memory.segment, behind, 2)?;
        Ok((low_word(selector), offset))
    }

    /// JMP.
    pub(super) fn jmp<B: Bus>(&mut self, bus: &mut B, step: &Step) -> Result<(), Fault> {
        match self.target(bus, step)? {
            (None, offset) => self.jump(offset, step.width),
            (Some(selector), offset) => self.jump_far(bus, selector, offset),
        }
    }

    /// CALL.
    pub(super) fn call<B: Bus>(&mut self, bus: &mut B, step: &Step) -> Result<(), Fault> {
        let (target, next) = (self.target(bus, step)?, self.behind(step));
        match target {
            (None, offset) => {
                if offset & mask(step.width) > self.segments[usize::from(CS)].limit {
                    return Err(Fault::protection(0));
                }
                self.push(bus, step.width, next)?;
                self.jump(offset, step.width)
            }
            (Some(selector), offset) => {
                let segment = self.code_segment(bus, selector, offset)?;
                let old = self.segments[usize::from(CS)].selector;
                self.push(bus, step.width, old.into())?;
                self.push(bus, step.width, next)?;
                (self.segments[usize::from(CS)], self.eip) = (segment, offset);
                Ok(())
            }
        }
    }

    /// Jcc.
    pub(super) fn jump_if(&mut self, step: &Step, condition: u8) -> Result<(), Fault> {
        if self.condition(condition) { self.jump_near(step) } else { self.go_on(step) }
    }

    /// The next instruction.
    pub(super) fn go_on(&mut self, step: &Step) -> Result<(), Fault> {
        self.eip = self.behind(step);
        Ok(())
    }

    fn jump_near(&mut self, step: &Step) -> Result<(), Fault> {
        match step.operands[0] {
            Operand::Near(distance) => self.jump(self.eip.wrapping_add(distance), step.width),
            _ => Err(Fault::UNDEFINED),
        }
    }

    /// LOOP, LOOPE, LOOPNE, and JCXZ.
    pub(super) fn count(&mut self, step: &Step, mnemonic: Mnemonic) -> Result<(), Fault> {
        let mask = step.memory.mask;
        let old = self.general[usize::from(ECX)];
        let is_zero = self.flags & ZF != 0;
        let count = if matches!(mnemonic, Mnemonic::Jcxz | Mnemonic::Jecxz) { old } else { old.wrapping_sub(1) } & mask;
        let jumps = match mnemonic {
            Mnemonic::Jcxz | Mnemonic::Jecxz => count == 0,
            Mnemonic::Loope => count != 0 && is_zero,
            Mnemonic::Loopne => count != 0 && !is_zero,
            _ => count != 0,
        };
        if jumps {
            self.jump_near(step)?;
        } else {
            self.go_on(step)?;
        }
        self.general[usize::from(ECX)] = old & !mask | count;
        Ok(())
    }

    /// RET, near.
    pub(super) fn ret<B: Bus>(&mut self, bus: &mut B, step: &Step) -> Result<(), Fault> {
        let offset = self.pop(bus, step.width)?;
        self.jump(offset, step.width)?;
        self.release(step);
        Ok(())
    }

    /// RETF.
    pub(super) fn ret_far<B: Bus>(&mut self, bus: &mut B, step: &Step) -> Result<(), Fault> {
        let offset = self.pop(bus, step.width)?;
        let selector = low_word(self.pop(bus, step.width)?);
        self.jump_far(bus, selector, offset)?;
        self.release(step);
        Ok(())
    }

    /// Takes the arguments of who called from the stack.
    fn release(&mut self, step: &Step) {
        if let Operand::Immediate(bytes) = step.operands[0] {
            self.set_stack_pointer(self.stack_pointer().wrapping_add(bytes & 0xffff));
        }
    }

    /// ENTER.
    pub(super) fn enter<B: Bus>(&mut self, bus: &mut B, step: &Step) -> Result<(), Fault> {
        let [Operand::Immediate(bytes), Operand::Immediate(level), _] = step.operands else {
            return Err(Fault::UNDEFINED);
        };
        let (width, level) = (step.width, low_byte(level) & 31);
        let old_pointer = self.general[usize::from(ESP)];
        self.push(bus, width, self.general[usize::from(EBP)])?;
        let frame = self.general[usize::from(ESP)];
        let mut from = self.general[usize::from(EBP)];
        for _ in 1..level {
            from = from.wrapping_sub(width.into());
            let value = self.load(bus, SS, from & self.stack_mask(), width)?;
            self.push(bus, width, value)?;
        }
        if level > 0 {
            self.push(bus, width, frame)?;
        }
        let pointer = self.stack_pointer().wrapping_sub(bytes & 0xffff) & self.stack_mask();
        if self.address(bus, SS, pointer, 1, true).is_err() {
            self.general[usize::from(ESP)] = old_pointer;
            return Err(Fault::stack(0));
        }
        self.set_stack_pointer(pointer);
        self.set_register(EBP, width, frame);
        self.go_on(step)
    }

    /// LEAVE.
    pub(super) fn leave<B: Bus>(&mut self, bus: &mut B, step: &Step) -> Result<(), Fault> {
        self.set_stack_pointer(self.general[usize::from(EBP)]);
        let value = self.pop(bus, step.width)?;
        self.set_register(EBP, step.width, value);
        self.go_on(step)
    }
}
