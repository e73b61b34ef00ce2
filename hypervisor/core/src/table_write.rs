//! A kernel's own writes to its lowest page tables. They fault, since the tables cannot be written, and are done for it as
//! `mmu_update` does them: Linux changes entries by plain instructions where it expects that.
//!
//! Source: Xen's `xen/arch/x86/pv/ro-page-fault.c`; AMD64 Architecture Programmer's Manual, volume 3.
//! Not modelled: operands across the end of an entry, registers of less than 32 bits, other instructions than those below.

use crate::emulate::general;
use crate::errno::Errno;
use crate::memory::Memory;
use crate::system::System;
use crate::vcpu::{Registers, VcpuId};
use yaxpeax_arch::LengthedInstruction as _;
use yaxpeax_x86::amd64::{Instruction, Opcode, Operand, RegSpec};

/// Error code of a page fault: there is a page, it was a write.
const PRESENT_WRITE: u64 = 3;
/// Flags: carry, parity, zero, sign, overflow.
const CARRY: u64 = 1 << 0;
const PARITY: u64 = 1 << 2;
const ZERO: u64 = 1 << 6;
const SIGN: u64 = 1 << 7;
const OVERFLOW: u64 = 1 << 11;

/// What an instruction does with so many bits of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Change {
    /// What they are afterwards.
    value: u64,
    /// What goes to a register: the second operand's, or rax.
    to_operand: Option<u64>,
    to_rax: Option<u64>,
    /// Flags that it changes, and how they are then.
    flags: (u64, u64),
}

impl<M: Memory> System<M> {
    /// Does what a vCPU has tried to write to a page table. `false`: it is for its kernel to hear of.
    pub(crate) fn table_write(&mut self, id: VcpuId, registers: &mut Registers, address: u64) -> bool {
        if registers.error & PRESENT_WRITE != PRESENT_WRITE || self.vcpu(id).is_none_or(|vcpu| vcpu.in_user) {
            return false;
        }
        self.write_table(id, registers, address).is_ok()
    }

    fn write_table(&mut self, id: VcpuId, registers: &mut Registers, address: u64) -> Result<(), Errno> {
        let (lowest, index) = self.space(id).lowest(address)?;
        let table = self.frames.page_entry(&self.memory, id.domain, (lowest, index))?;
        if !table.is_present() || table.is_writable() {
            return Err(Errno::EINVAL);
        }
        let offset = usize::try_from(address & 0xfff).map_err(|_| Errno::EINVAL)?;
        let place = (table.frame(), offset / 8);
        let entry = self.frames.page_entry(&self.memory, id.domain, place)?;
        let instruction = self.instruction(id, registers)?;
        let size = instruction.mem_size().and_then(|size| size.bytes_size()).ok_or(Errno::EINVAL)?;
        let within = u8::try_from(offset % 8).map_err(|_| Errno::EINVAL)?;
        if !matches!(size, 1 | 2 | 4 | 8) || within.checked_add(size).is_none_or(|end| end > 8) {
            return Err(Errno::EINVAL);
        }
        let mask = u64::MAX.wrapping_shr(64_u32.wrapping_sub(u32::from(size).wrapping_mul(8)));
        let shift = u32::from(within).wrapping_mul(8);
        let before = entry.0.wrapping_shr(shift) & mask;
        let change = change(&instruction, registers, before, mask)?;
        let value = entry.0 & !mask.wrapping_shl(shift) | (change.value & mask).wrapping_shl(shift);
        if value != entry.0 {
            self.frames.update(&mut self.memory, id.domain, id.domain, place, value, false)?;
        }
        self.reload = true;
        if let (Some(value), Operand::Register { reg }) = (change.to_operand, instruction.operand(1)) {
            *register(registers, reg).ok_or(Errno::EINVAL)? = value;
        }
        if let Some(value) = change.to_rax {
            registers.rax = value;
        }
        registers.rflags = registers.rflags & !change.flags.0 | change.flags.1;
        registers.rip = registers.rip.wrapping_add(instruction.len().to_const());
        Ok(())
    }
}

/// A register of 64 bits, also by the name of its lower half.
fn register(registers: &mut Registers, register: RegSpec) -> Option<&mut u64> {
    let whole = RegSpec::q(register.num());
    let is_known = register.class() == whole.class() || register.class() == RegSpec::d(0).class();
    if is_known { general(registers, whole) } else { None }
}

fn source(operand: Operand, registers: &mut Registers) -> Option<u64> {
    Some(match operand {
        Operand::Register { reg } => *register(registers, reg)?,
        Operand::ImmediateI8 { imm } => i64::from(imm).cast_unsigned(),
        Operand::ImmediateU8 { imm } => imm.into(),
        Operand::ImmediateI16 { imm } => i64::from(imm).cast_unsigned(),
        Operand::ImmediateU16 { imm } => imm.into(),
        Operand::ImmediateI32 { imm } => i64::from(imm).cast_unsigned(),
        Operand::ImmediateU32 { imm } => imm.into(),
        Operand::ImmediateI64 { imm } => imm.cast_unsigned(),
        Operand::ImmediateU64 { imm } => imm,
        _ => return None,
    })
}

/// What an instruction makes of the bits that it finds in memory.
fn change(instruction: &Instruction, registers: &mut Registers, before: u64, mask: u64) -> Result<Change, Errno> {
    if !instruction.operand(0).is_memory() {
        return Err(Errno::EINVAL);
    }
    let second = source(instruction.operand(1), registers).ok_or(Errno::EINVAL)?;
    let operand = second & mask;
    let logical = |value: u64| Change {
        value,
        flags: (CARRY | PARITY | ZERO | SIGN | OVERFLOW, outcome(value & mask, mask)),
        ..Change::default()
    };
    let bit = |value: fn(u64, u64) -> u64| {
        let number =
            u32::try_from(second).ok().filter(|number| mask.checked_shr(*number).is_some_and(|rest| rest != 0));
        let bit = 1_u64.checked_shl(number.ok_or(Errno::EINVAL)?).ok_or(Errno::EINVAL)?;
        let carry = if before & bit == 0 { 0 } else { CARRY };
        Ok(Change { value: value(before, bit), flags: (CARRY, carry), ..Change::default() })
    };
    match instruction.opcode() {
        Opcode::MOV => Ok(Change { value: operand, ..Change::default() }),
        Opcode::XCHG => Ok(Change { value: operand, to_operand: Some(before), ..Change::default() }),
        Opcode::AND => Ok(logical(before & operand)),
        Opcode::OR => Ok(logical(before | operand)),
        Opcode::XOR => Ok(logical(before ^ operand)),
        Opcode::BTR => bit(|before, bit| before & !bit),
        Opcode::BTS => bit(|before, bit| before | bit),
        Opcode::CMPXCHG => {
            let expected = registers.rax & mask;
            let difference = expected.wrapping_sub(before) & mask;
            let top = mask ^ mask.wrapping_shr(1);
            let carry = if expected < before { CARRY } else { 0 };
            let overflow = if (expected ^ before) & (expected ^ difference) & top == 0 { 0 } else { OVERFLOW };
            let flags = (CARRY | PARITY | ZERO | SIGN | OVERFLOW, outcome(difference, mask) | carry | overflow);
            if expected == before {
                return Ok(Change { value: operand, flags, ..Change::default() });
            }
            // 32 bits fill the register, fewer leave the rest.
            let rest = if mask > u64::from(u16::MAX) { 0 } else { registers.rax & !mask };
            Ok(Change { value: before, to_rax: Some(rest | before), flags, ..Change::default() })
        }
        _ => Err(Errno::EINVAL),
    }
}

/// Parity, zero and sign of a result.
fn outcome(value: u64, mask: u64) -> u64 {
    let [lowest, ..] = value.to_le_bytes();
    let parity = if lowest.count_ones().is_multiple_of(2) { PARITY } else { 0 };
    let zero = if value == 0 { ZERO } else { 0 };
    let sign = if value & (mask ^ mask.wrapping_shr(1)) == 0 { 0 } else { SIGN };
    parity | zero | sign
}
