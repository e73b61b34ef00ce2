//! Loading segment registers: by a selector's descriptor in protected mode, by the selector itself in real mode, where the
//! limit stays what it was.

use super::bus::Bus;
use super::registers::{ACCESSED, CODE, CONFORMING, CS, Fault, ORDINARY, PRESENT, READ_WRITE, SS, Segment};
use super::{Cpu, low_byte};

/// Selector: the local table.
const LOCAL: u16 = 4;
/// Selector: the privilege that is asked for.
const RPL: u16 = 3;

/// System descriptors, by the low bits of their access byte: a local table.
const LDT: u8 = 2;
/// A task state segment that is free, of 16 and of 32 bits.
const TSS_FREE: [u8; 2] = [1, 9];
/// The bit that says that it is in use.
const TSS_BUSY: u8 = 2;

impl Cpu {
    /// The address of a selector's descriptor.
    fn descriptor_address(&self, selector: u16) -> Option<u32> {
        let (base, limit) = if selector & LOCAL == 0 {
            (self.gdt.base, self.gdt.limit.into())
        } else {
            (self.ldt.base, if self.ldt.access == 0 { 0 } else { self.ldt.limit })
        };
        (u32::from(selector | 7) <= limit).then(|| base.wrapping_add(u32::from(selector & !7)))
    }

    /// Reads a descriptor. `None`: there is none.
    pub(super) fn descriptor<B: Bus>(&self, bus: &mut B, selector: u16) -> Option<Segment> {
        let at = self.descriptor_address(selector)?;
        let (low, high) = (self.load_linear(bus, at, 4), self.load_linear(bus, at.wrapping_add(4), 4));
        let limit = low & 0xffff | high & 0x000f_0000;
        Some(Segment {
            selector,
            base: low >> 16 | (high & 0xff) << 16 | high & 0xff00_0000,
            limit: if high & 1 << 23 == 0 { limit } else { limit << 12 | 0xfff },
            access: low_byte(high >> 8),
            big: high & 1 << 22 != 0,
        })
    }

    /// Writes the access byte of a descriptor.
    fn set_access<B: Bus>(&self, bus: &mut B, selector: u16, access: u8) {
        if let Some(at) = self.descriptor_address(selector) {
            let addr = at.wrapping_add(5) & bus.a20_mask();
            bus.write(addr, devmodel::access::Width::Byte, access.into());
        }
    }

    /// Loads a segment register other than CS.
    pub(super) fn load_segment<B: Bus>(&mut self, bus: &mut B, register: u8, selector: u16) -> Result<(), Fault> {
        let place = usize::from(register);
        if register == CS || place >= self.segments.len() {
            return Err(Fault::UNDEFINED);
        }
        if !self.is_protected() {
            let segment = &mut self.segments[place];
            (segment.selector, segment.base, segment.access) = (selector, u32::from(selector) << 4, 0x93);
            return Ok(());
        }
        if selector & !RPL == 0 {
            if register == SS {
                return Err(Fault::protection(0));
            }
            self.segments[place] = Segment { selector, base: 0, limit: 0, access: 0, big: false };
            return Ok(());
        }
        let mut segment = self.descriptor(bus, selector).ok_or(Fault::protection(selector))?;
        let is_data = segment.access & CODE == 0;
        let fits = segment.access & ORDINARY != 0
            && if register == SS {
                is_data && segment.access & READ_WRITE != 0 && selector & RPL == 0 && segment.access & 0x60 == 0
            } else {
                is_data || segment.access & READ_WRITE != 0
            };
        if !fits {
            return Err(Fault::protection(selector));
        }
        if segment.access & PRESENT == 0 {
            return Err(if register == SS { Fault::stack(selector) } else { Fault::not_present(selector) });
        }
        self.access(bus, &mut segment);
        self.segments[place] = segment;
        Ok(())
    }

    /// Marks a segment as accessed.
    fn access<B: Bus>(&self, bus: &mut B, segment: &mut Segment) {
        if segment.access & ACCESSED == 0 {
            segment.access |= ACCESSED;
            self.set_access(bus, segment.selector, segment.access);
        }
    }

    /// The segment that a far jump, a far call, a return or an interrupt goes to, and that the offset is in it.
    pub(super) fn code_segment<B: Bus>(&self, bus: &mut B, selector: u16, offset: u32) -> Result<Segment, Fault> {
        let mut segment = if self.is_protected() {
            if selector & !RPL == 0 {
                return Err(Fault::protection(0));
            }
            let segment = self.descriptor(bus, selector).ok_or(Fault::protection(selector))?;
            let is_code = segment.access & (ORDINARY | CODE) == ORDINARY | CODE;
            let is_ours = segment.access & 0x60 == 0 && (selector & RPL == 0 || segment.access & CONFORMING != 0);
            if !is_code || !is_ours {
                return Err(Fault::protection(selector));
            }
            if segment.access & PRESENT == 0 {
                return Err(Fault::not_present(selector));
            }
            segment
        } else {
            let old = &self.segments[usize::from(CS)];
            Segment { selector, base: u32::from(selector) << 4, access: 0x93, ..*old }
        };
        if offset > segment.limit {
            return Err(Fault::protection(0));
        }
        if self.is_protected() {
            segment.selector &= !RPL;
            self.access(bus, &mut segment);
        }
        Ok(segment)
    }

    /// LLDT.
    pub(super) fn load_local_table<B: Bus>(&mut self, bus: &mut B, selector: u16) -> Result<(), Fault> {
        if selector & !RPL == 0 {
            self.ldt = Segment { selector, base: 0, limit: 0, access: 0, big: false };
            return Ok(());
        }
        let table = self.descriptor(bus, selector).filter(|_| selector & LOCAL == 0);
        let table = table.filter(|table| table.access & 0x1f == LDT).ok_or(Fault::protection(selector))?;
        if table.access & PRESENT == 0 {
            return Err(Fault::not_present(selector));
        }
        self.ldt = table;
        Ok(())
    }

    /// LTR.
    pub(super) fn load_task<B: Bus>(&mut self, bus: &mut B, selector: u16) -> Result<(), Fault> {
        let task = self.descriptor(bus, selector).filter(|_| selector & LOCAL == 0 && selector & !RPL != 0);
        let task = task.filter(|task| TSS_FREE.contains(&(task.access & 0x1f))).ok_or(Fault::protection(selector))?;
        if task.access & PRESENT == 0 {
            return Err(Fault::not_present(selector));
        }
        self.task = Segment { access: task.access | TSS_BUSY, ..task };
        self.set_access(bus, selector, self.task.access);
        Ok(())
    }
}
