//! Operands, and memory as segments show it.

use devmodel::access::Width;

use super::bus::Bus;
use super::registers::{ESP, Fault, SS};
use super::step::{Memory, Operand, Step};
use super::{Cpu, low_byte, low_word, mask};

/// The width of an access of one, two or four bytes.
pub(super) fn width(bytes: u8) -> Width {
    match bytes {
        1 => Width::Byte,
        2 => Width::Word,
        _ => Width::Dword,
    }
}

impl Cpu {
    /// A register of one byte.
    pub(super) fn byte_register(&self, number: u8) -> u32 {
        let bytes = self.general[usize::from(number & 3)].to_le_bytes();
        bytes[usize::from(number >> 2 & 1)].into()
    }

    /// A general register of `width` bytes.
    pub(super) fn register(&self, number: u8, width: u8) -> u32 {
        match width {
            1 => self.byte_register(number),
            _ => self.general[usize::from(number & 7)] & mask(width),
        }
    }

    /// Sets a general register of `width` bytes; what it is part of keeps its other bytes.
    pub(super) fn set_register(&mut self, number: u8, width: u8, value: u32) {
        match width {
            1 => {
                let register = &mut self.general[usize::from(number & 3)];
                let shift = if number & 4 == 0 { 0 } else { 8 };
                *register = *register & !(0xff << shift) | (value & 0xff) << shift;
            }
            _ => {
                let register = &mut self.general[usize::from(number & 7)];
                *register = *register & !mask(width) | value & mask(width);
            }
        }
    }

    /// The offset of an operand in memory.
    pub(super) fn offset(&self, memory: &Memory) -> u32 {
        let base = memory.base.map_or(0, |base| self.general[usize::from(base & 7)]);
        let index = memory.index.map_or(0, |index| self.general[usize::from(index & 7)] << (memory.shift & 3));
        base.wrapping_add(index).wrapping_add(memory.displacement) & memory.mask
    }

    /// The physical address of memory in a segment.
    pub(super) fn address<B: Bus>(
        &self,
        bus: &B,
        segment: u8,
        offset: u32,
        len: u8,
        write: bool,
    ) -> Result<u32, Fault> {
        let register = &self.segments[usize::from(segment)];
        let allowed = if write { register.can_write() || !self.is_protected() } else { register.can_read() };
        if !allowed || !register.holds(offset, len.into()) {
            return Err(if segment == SS { Fault::stack(0) } else { Fault::protection(0) });
        }
        Ok(register.base.wrapping_add(offset) & bus.a20_mask())
    }

    /// Reads memory in a segment.
    pub(super) fn load<B: Bus>(&self, bus: &mut B, segment: u8, offset: u32, bytes: u8) -> Result<u32, Fault> {
        let addr = self.address(bus, segment, offset, bytes, false)?;
        Ok(bus.read(addr, width(bytes)))
    }

    /// Writes memory in a segment.
    pub(super) fn store<B: Bus>(
        &self,
        bus: &mut B,
        segment: u8,
        offset: u32,
        bytes: u8,
        value: u32,
    ) -> Result<(), Fault> {
        let addr = self.address(bus, segment, offset, bytes, true)?;
        bus.write(addr, width(bytes), value);
        Ok(())
    }

    /// The value of an operand.
    pub(super) fn get<B: Bus>(&self, bus: &mut B, step: &Step, operand: Operand) -> Result<u32, Fault> {
        Ok(match operand {
            Operand::Reg8(number) => self.byte_register(number),
            Operand::Reg16(number) => self.general[usize::from(number & 7)] & 0xffff,
            Operand::Reg32(number) => self.general[usize::from(number & 7)],
            Operand::Segment(number) => self.segments.get(usize::from(number)).map_or(0, |it| it.selector.into()),
            Operand::Immediate(value) => value,
            Operand::Memory => self.load(bus, step.memory.segment, self.offset(&step.memory), step.memory_width)?,
            _ => return Err(Fault::UNDEFINED),
        })
    }

    /// Sets an operand.
    pub(super) fn set<B: Bus>(&mut self, bus: &mut B, step: &Step, operand: Operand, value: u32) -> Result<(), Fault> {
        match operand {
            Operand::Reg8(number) => self.set_register(number, 1, value),
            Operand::Reg16(number) => self.set_register(number, 2, value),
            Operand::Reg32(number) => self.general[usize::from(number & 7)] = value,
            Operand::Memory => {
                self.store(bus, step.memory.segment, self.offset(&step.memory), step.memory_width, value)?;
            }
            _ => return Err(Fault::UNDEFINED),
        }
        Ok(())
    }

    /// The stack pointer.
    pub(super) fn stack_pointer(&self) -> u32 {
        self.general[usize::from(ESP)] & self.stack_mask()
    }

    /// Moves the stack pointer.
    pub(super) fn set_stack_pointer(&mut self, value: u32) {
        let mask = self.stack_mask();
        let register = &mut self.general[usize::from(ESP)];
        *register = *register & !mask | value & mask;
    }

    /// Puts a value onto the stack.
    pub(super) fn push<B: Bus>(&mut self, bus: &mut B, bytes: u8, value: u32) -> Result<(), Fault> {
        let to = self.stack_pointer().wrapping_sub(bytes.into()) & self.stack_mask();
        self.store(bus, SS, to, bytes, value)?;
        self.set_stack_pointer(to);
        Ok(())
    }

    /// Reads a value of the stack, `above` bytes above its top.
    pub(super) fn peek<B: Bus>(&self, bus: &mut B, bytes: u8, above: u32) -> Result<u32, Fault> {
        let from = self.stack_pointer().wrapping_add(above) & self.stack_mask();
        self.load(bus, SS, from, bytes)
    }

    /// Takes a value from the stack.
    pub(super) fn pop<B: Bus>(&mut self, bus: &mut B, bytes: u8) -> Result<u32, Fault> {
        let value = self.peek(bus, bytes, 0)?;
        self.set_stack_pointer(self.stack_pointer().wrapping_add(bytes.into()));
        Ok(value)
    }

    /// Reads memory that segments do not protect: tables of descriptors.
    pub(super) fn load_linear<B: Bus>(&self, bus: &mut B, addr: u32, bytes: u8) -> u32 {
        bus.read(addr & bus.a20_mask(), width(bytes))
    }

    /// Sets AL.
    pub(super) fn set_al(&mut self, value: u8) {
        self.set_register(0, 1, value.into());
    }

    /// AL.
    pub(super) fn al(&self) -> u8 {
        low_byte(self.general[0])
    }

    /// AX.
    pub(super) fn ax(&self) -> u16 {
        low_word(self.general[0])
    }
}
