//! From an instruction to what does it.
//!
//! Everything that can fail is done before registers change; ESP is put back by who called.

use iced_x86::Mnemonic;

use super::arithmetic::{add, flag, result_flags, subtract};
use super::bus::Bus;
use super::registers::{
    AF, ARITHMETIC, CF, DF, DS, EAX, EBX, ECX, EDX, ES, ESP, Fault, IF, OF, ONE, PF, RF, SF, SS, ZF,
};
use super::shifts::{Shift, double_left, double_right, shift};
use super::step::{Action, Operand, Step};
use super::strings::Kind;
use super::{Cpu, PAUSE_TIME, decimal, extend, low_byte, low_word, mask, multiply};

impl Cpu {
    /// Executes an instruction. After a fault, ESP and EIP are whatever.
    pub(super) fn execute<B: Bus>(&mut self, bus: &mut B, step: &Step) -> Result<(), Fault> {
        match step.action {
            Action::JumpIf(condition) => self.jump_if(step, condition),
            Action::SetIf(condition) => {
                let value = self.condition(condition).into();
                self.set(bus, step, step.operands[0], value)?;
                self.go_on(step)
            }
            Action::MoveIf(condition) => {
                let value = self.get(bus, step, step.operands[1])?;
                if self.condition(condition) {
                    self.set(bus, step, step.operands[0], value)?;
                }
                self.go_on(step)
            }
            Action::Coprocessor => self.go_on(step),
            Action::Plain(mnemonic) => self.plain(bus, step, mnemonic),
        }
    }

    fn plain<B: Bus>(&mut self, bus: &mut B, step: &Step, mnemonic: Mnemonic) -> Result<(), Fault> {
        let [first, second, third] = step.operands;
        let width = step.width;
        match mnemonic {
            Mnemonic::Mov => match (first, second) {
                (Operand::Segment(register), _) => {
                    let selector = low_word(self.get(bus, step, second)?);
                    self.load_segment(bus, register, selector)?;
                    self.shadow = register == SS;
                }
                (Operand::Control(_) | Operand::Debug(_), _) | (_, Operand::Control(_) | Operand::Debug(_)) => {
                    return self.move_special(bus, step);
                }
                _ => {
                    let value = self.get(bus, step, second)?;
                    self.set(bus, step, first, value)?;
                }
            },
            Mnemonic::Add | Mnemonic::Adc | Mnemonic::Xadd => {
                let (a, b) = (self.get(bus, step, first)?, self.get(bus, step, second)?);
                let carry = if mnemonic == Mnemonic::Adc { self.carry() } else { 0 };
                let (sum, flags) = add(a, b, carry, width);
                self.set(bus, step, first, sum)?;
                if mnemonic == Mnemonic::Xadd && first != second {
                    self.set(bus, step, second, a)?;
                }
                self.set_arithmetic(flags);
            }
            Mnemonic::Sub | Mnemonic::Sbb | Mnemonic::Cmp => {
                let (a, b) = (self.get(bus, step, first)?, self.get(bus, step, second)?);
                let borrow = if mnemonic == Mnemonic::Sbb { self.carry() } else { 0 };
                let (difference, flags) = subtract(a, b, borrow, width);
                if mnemonic != Mnemonic::Cmp {
                    self.set(bus, step, first, difference)?;
                }
                self.set_arithmetic(flags);
            }
            Mnemonic::And | Mnemonic::Or | Mnemonic::Xor | Mnemonic::Test => {
                let (a, b) = (self.get(bus, step, first)?, self.get(bus, step, second)?);
                let value = match mnemonic {
                    Mnemonic::Or => a | b,
                    Mnemonic::Xor => a ^ b,
                    _ => a & b,
                };
                if mnemonic != Mnemonic::Test {
                    self.set(bus, step, first, value)?;
                }
                self.set_arithmetic(result_flags(value, width));
            }
            Mnemonic::Inc | Mnemonic::Dec => {
                let a = self.get(bus, step, first)?;
                let (value, flags) =
                    if mnemonic == Mnemonic::Inc { add(a, 1, 0, width) } else { subtract(a, 1, 0, width) };
                self.set(bus, step, first, value)?;
                self.set_arithmetic(flags & !CF | self.carry());
            }
            Mnemonic::Neg => {
                let a = self.get(bus, step, first)?;
                let (value, flags) = subtract(0, a, 0, width);
                self.set(bus, step, first, value)?;
                self.set_arithmetic(flags);
            }
            Mnemonic::Not => {
                let a = self.get(bus, step, first)?;
                self.set(bus, step, first, !a)?;
            }
            Mnemonic::Lea => {
                let offset = self.offset(&step.memory);
                self.set(bus, step, first, offset)?;
            }
            Mnemonic::Movzx | Mnemonic::Movsx => {
                let value = self.get(bus, step, second)?;
                let from = match second {
                    Operand::Reg8(_) => 1,
                    Operand::Reg16(_) => 2,
                    _ => step.memory_width,
                };
                let value = if mnemonic == Mnemonic::Movzx { value & mask(from) } else { extend(value, from) };
                self.set(bus, step, first, value)?;
            }
            Mnemonic::Xchg => {
                let (a, b) = (self.get(bus, step, first)?, self.get(bus, step, second)?);
                self.set(bus, step, first, b)?;
                self.set(bus, step, second, a)?;
            }
            Mnemonic::Push => {
                let value = self.get(bus, step, first)?;
                self.push(bus, width, value)?;
            }
            Mnemonic::Pop => self.pop_operand(bus, step)?,
            Mnemonic::Call => return self.call(bus, step),
            Mnemonic::Jmp => return self.jmp(bus, step),
            Mnemonic::Ret => return self.ret(bus, step),
            Mnemonic::Retf => return self.ret_far(bus, step),
            Mnemonic::Iret | Mnemonic::Iretd => return self.iret(bus, step),
            Mnemonic::Loop | Mnemonic::Loope | Mnemonic::Loopne | Mnemonic::Jcxz | Mnemonic::Jecxz => {
                return self.count(step, mnemonic);
            }
            Mnemonic::Enter => return self.enter(bus, step),
            Mnemonic::Leave => return self.leave(bus, step),
            Mnemonic::Int => {
                let Operand::Immediate(vector) = first else { return Err(Fault::UNDEFINED) };
                return self.software_interrupt(bus, step, low_byte(vector));
            }
            Mnemonic::Int3 => return self.software_interrupt(bus, step, 3),
            Mnemonic::Into => {
                if self.flags & OF != 0 {
                    return self.software_interrupt(bus, step, 4);
                }
            }
            Mnemonic::Shl | Mnemonic::Sal => return self.shift_operand(bus, step, Shift::Left),
            Mnemonic::Shr => return self.shift_operand(bus, step, Shift::Right),
            Mnemonic::Sar => return self.shift_operand(bus, step, Shift::Arithmetic),
            Mnemonic::Rol => return self.shift_operand(bus, step, Shift::RotateLeft),
            Mnemonic::Ror => return self.shift_operand(bus, step, Shift::RotateRight),
            Mnemonic::Rcl => return self.shift_operand(bus, step, Shift::CarryLeft),
            Mnemonic::Rcr => return self.shift_operand(bus, step, Shift::CarryRight),
            Mnemonic::Shld | Mnemonic::Shrd => {
                let (a, b) = (self.get(bus, step, first)?, self.get(bus, step, second)?);
                let count = self.get(bus, step, third)?;
                let function = if mnemonic == Mnemonic::Shld { double_left } else { double_right };
                let (value, flags) = function(a, b, count, width, self.flags);
                self.set(bus, step, first, value)?;
                self.set_arithmetic(flags);
            }
            Mnemonic::Mul | Mnemonic::Imul | Mnemonic::Div | Mnemonic::Idiv => self.multiply(bus, step, mnemonic)?,
            Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc => return self.bit_test(bus, step, mnemonic),
            Mnemonic::Bsf | Mnemonic::Bsr => return self.bit_scan(bus, step, mnemonic == Mnemonic::Bsf),
            Mnemonic::Bswap => {
                let value = self.get(bus, step, first)?;
                self.set(bus, step, first, value.swap_bytes())?;
            }
            Mnemonic::Cmpxchg => {
                let (a, b) = (self.get(bus, step, first)?, self.get(bus, step, second)?);
                let (difference, flags) = subtract(self.register(EAX, width), a, 0, width);
                // The target is written in any case.
                self.set(bus, step, first, if difference == 0 { b } else { a })?;
                if difference != 0 {
                    self.set_register(EAX, width, a);
                }
                self.set_arithmetic(flags);
            }
            Mnemonic::Cmpxchg8b => self.compare_exchange_wide(bus, step)?,
            Mnemonic::Cbw => self.set_register(EAX, 2, extend(self.general[0], 1)),
            Mnemonic::Cwde => self.general[0] = extend(self.general[0], 2),
            Mnemonic::Cwd => {
                self.set_register(EDX, 2, (extend(self.general[0], 2).cast_signed() >> 31).cast_unsigned())
            }
            Mnemonic::Cdq => self.general[usize::from(EDX)] = (self.general[0].cast_signed() >> 31).cast_unsigned(),
            Mnemonic::Lahf => self.set_register(4, 1, self.flags & 0xff | ONE),
            Mnemonic::Sahf => {
                const LOW: u32 = SF | ZF | AF | PF | CF;
                self.flags = self.flags & !LOW | self.byte_register(4) & LOW;
            }
            Mnemonic::Salc => self.set_al(if self.carry() != 0 { 0xff } else { 0 }),
            Mnemonic::Xlatb => {
                let at = self.general[usize::from(EBX)].wrapping_add(self.al().into()) & step.memory.mask;
                let value = self.load(bus, step.memory.segment, at, 1)?;
                self.set_al(low_byte(value));
            }
            Mnemonic::Les | Mnemonic::Lds | Mnemonic::Lss | Mnemonic::Lfs | Mnemonic::Lgs => {
                let (selector, offset) = self.far_pointer(bus, step, width)?;
                let register = match mnemonic {
                    Mnemonic::Les => ES,
                    Mnemonic::Lss => SS,
                    Mnemonic::Lds => DS,
                    Mnemonic::Lfs => 4,
                    _ => 5,
                };
                self.load_segment(bus, register, selector)?;
                self.set(bus, step, first, offset)?;
            }
            Mnemonic::Pusha | Mnemonic::Pushad => {
                let all = self.general;
                for value in all {
                    self.push(bus, width, value)?;
                }
            }
            Mnemonic::Popa | Mnemonic::Popad => {
                let mut values = [0; 8];
                for value in values.iter_mut().rev() {
                    *value = self.pop(bus, width)?;
                }
                for (number, value) in (0..).zip(values) {
                    if number != ESP {
                        self.set_register(number, width, value);
                    }
                }
            }
            Mnemonic::Pushf | Mnemonic::Pushfd => self.push(bus, width, self.flags & !RF)?,
            Mnemonic::Popf | Mnemonic::Popfd => {
                let value = self.pop(bus, width)?;
                self.set_flags(value, width);
            }
            Mnemonic::Bound => {
                let at = self.offset(&step.memory);
                let index = extend(self.get(bus, step, first)?, width).cast_signed();
                let behind = at.wrapping_add(width.into()) & step.memory.mask;
                let [low, high] = [
                    self.load(bus, step.memory.segment, at, width)?,
                    self.load(bus, step.memory.segment, behind, width)?,
                ]
                .map(|bound| extend(bound, width).cast_signed());
                if !(low..=high).contains(&index) {
                    return Err(Fault::BOUND);
                }
            }
            Mnemonic::Daa | Mnemonic::Das => {
                let (value, flags) = decimal::adjust_packed(self.al(), self.flags, mnemonic == Mnemonic::Das);
                self.set_al(value);
                self.set_arithmetic(flags);
            }
            Mnemonic::Aaa | Mnemonic::Aas => {
                let (value, flags) = decimal::adjust_unpacked(self.ax(), self.flags, mnemonic == Mnemonic::Aas);
                self.set_register(EAX, 2, value.into());
                self.set_arithmetic(flags);
            }
            Mnemonic::Aam | Mnemonic::Aad => {
                let base = low_byte(self.get(bus, step, first)?);
                let (value, flags) = match mnemonic {
                    Mnemonic::Aam => decimal::split(self.al(), base)?,
                    _ => decimal::join(self.ax(), base),
                };
                self.set_register(EAX, 2, value.into());
                self.set_arithmetic(flags);
            }
            Mnemonic::Clc => self.flags &= !CF,
            Mnemonic::Stc => self.flags |= CF,
            Mnemonic::Cmc => self.flags ^= CF,
            Mnemonic::Cld => self.flags &= !DF,
            Mnemonic::Std => self.flags |= DF,
            Mnemonic::Cli => self.flags &= !IF,
            Mnemonic::Sti => {
                self.shadow = self.flags & IF == 0;
                self.flags |= IF;
            }
            Mnemonic::In => return self.input(bus, step),
            Mnemonic::Out => return self.output(bus, step),
            Mnemonic::Pause => bus.spend(PAUSE_TIME),
            Mnemonic::Nop | Mnemonic::Wait | Mnemonic::Invd | Mnemonic::Wbinvd | Mnemonic::Invlpg => {}
            _ => return self.rare(bus, step, mnemonic),
        }
        self.go_on(step)
    }

    /// What is seldom.
    fn rare<B: Bus>(&mut self, bus: &mut B, step: &Step, mnemonic: Mnemonic) -> Result<(), Fault> {
        if let Some((kind, bytes)) = Kind::of(mnemonic) {
            return self.string(bus, step, kind, bytes);
        }
        let first = step.operands[0];
        match mnemonic {
            Mnemonic::Hlt => self.halted = true,
            Mnemonic::Cpuid => self.identify(),
            Mnemonic::Rdtsc => self.time_stamp(bus),
            Mnemonic::Rdmsr => self.read_model_specific(bus)?,
            Mnemonic::Wrmsr => return Err(Fault::protection(0)),
            Mnemonic::Clts => self.control[0] &= !8,
            Mnemonic::Lgdt => self.gdt = self.load_table(bus, step)?,
            Mnemonic::Lidt => self.idt = self.load_table(bus, step)?,
            Mnemonic::Sgdt => self.store_table(bus, step, self.gdt)?,
            Mnemonic::Sidt => self.store_table(bus, step, self.idt)?,
            Mnemonic::Smsw => self.set(bus, step, first, self.control[0])?,
            Mnemonic::Lmsw => {
                let value = self.get(bus, step, first)?;
                self.load_machine_status(value)?;
            }
            Mnemonic::Lldt | Mnemonic::Ltr if self.is_protected() => {
                let selector = low_word(self.get(bus, step, first)?);
                if mnemonic == Mnemonic::Ltr {
                    self.load_task(bus, selector)?;
                } else {
                    self.load_local_table(bus, selector)?;
                }
            }
            Mnemonic::Sldt if self.is_protected() => self.set(bus, step, first, self.ldt.selector.into())?,
            Mnemonic::Str if self.is_protected() => self.set(bus, step, first, self.task.selector.into())?,
            Mnemonic::Lar | Mnemonic::Lsl | Mnemonic::Verr | Mnemonic::Verw => {
                return self.inspect(bus, step, mnemonic);
            }
            Mnemonic::Arpl if self.is_protected() => {
                let (a, b) = (self.get(bus, step, first)?, self.get(bus, step, step.operands[1])?);
                let raises = a & 3 < b & 3;
                if raises {
                    self.set(bus, step, first, a & !3 | b & 3)?;
                }
                self.flags = self.flags & !ZF | flag(raises, ZF);
            }
            Mnemonic::Rsm if self.in_smm => {
                self.leave_smm(bus);
                return Ok(());
            }
            _ => return Err(Fault::UNDEFINED),
        }
        self.go_on(step)
    }

    fn pop_operand<B: Bus>(&mut self, bus: &mut B, step: &Step) -> Result<(), Fault> {
        let value = self.pop(bus, step.width)?;
        match step.operands[0] {
            Operand::Segment(register) => {
                self.load_segment(bus, register, low_word(value))?;
                self.shadow = register == SS;
                Ok(())
            }
            // An address that has ESP in it has the new one.
            operand => self.set(bus, step, operand, value),
        }
    }

    fn shift_operand<B: Bus>(&mut self, bus: &mut B, step: &Step, kind: Shift) -> Result<(), Fault> {
        let value = self.get(bus, step, step.operands[0])?;
        let count = self.get(bus, step, step.operands[1])?;
        let (value, flags) = shift(kind, value, count, step.width, self.flags & ARITHMETIC);
        self.set(bus, step, step.operands[0], value)?;
        self.set_arithmetic(flags);
        self.go_on(step)
    }

    fn multiply<B: Bus>(&mut self, bus: &mut B, step: &Step, mnemonic: Mnemonic) -> Result<(), Fault> {
        let [first, second, third] = step.operands;
        let width = step.width;
        if mnemonic == Mnemonic::Imul && second != Operand::None {
            let (a, b) = match third {
                Operand::None => (self.get(bus, step, first)?, self.get(bus, step, second)?),
                _ => (self.get(bus, step, second)?, self.get(bus, step, third)?),
            };
            let (low, _, overflows) = multiply::multiply_signed(a, b, width);
            self.set(bus, step, first, low)?;
            self.set_arithmetic(result_flags(low, width) | flag(overflows, CF | OF));
            return Ok(());
        }
        let operand = self.get(bus, step, first)?;
        let low = self.register(EAX, width);
        // Of bytes, the high half is AH.
        let high_register = if width == 1 { 4 } else { EDX };
        let high = self.register(high_register, width);
        let (low, high) = match mnemonic {
            Mnemonic::Div => multiply::divide(high, low, operand, width)?,
            Mnemonic::Idiv => multiply::divide_signed(high, low, operand, width)?,
            _ => {
                let function = if mnemonic == Mnemonic::Mul { multiply::multiply } else { multiply::multiply_signed };
                let (low, high, overflows) = function(low, operand, width);
                self.set_arithmetic(result_flags(low, width) | flag(overflows, CF | OF));
                (low, high)
            }
        };
        self.set_register(EAX, width, low);
        self.set_register(high_register, width, high);
        Ok(())
    }

    fn compare_exchange_wide<B: Bus>(&mut self, bus: &mut B, step: &Step) -> Result<(), Fault> {
        let (segment, at) = (step.memory.segment, self.offset(&step.memory));
        let behind = at.wrapping_add(4) & step.memory.mask;
        let old = [self.load(bus, segment, at, 4)?, self.load(bus, segment, behind, 4)?];
        let [eax, ecx, edx, ebx] = [EAX, ECX, EDX, EBX].map(|register| self.general[usize::from(register)]);
        let is_equal = old == [eax, edx];
        let new = if is_equal { [ebx, ecx] } else { old };
        self.address(bus, segment, behind, 4, true)?;
        self.store(bus, segment, at, 4, new[0])?;
        self.store(bus, segment, behind, 4, new[1])?;
        if !is_equal {
            (self.general[usize::from(EAX)], self.general[usize::from(EDX)]) = (old[0], old[1]);
        }
        self.flags = self.flags & !ZF | flag(is_equal, ZF);
        Ok(())
    }
}
