//! Bit tests and bit scans.

use iced_x86::Mnemonic;

use super::Cpu;
use super::arithmetic::flag;
use super::bus::Bus;
use super::registers::{CF, Fault, ZF};
use super::step::{Memory, Operand, Step};

impl Cpu {
    /// BT, BTS, BTR, BTC.
    pub(super) fn bit_test<B: Bus>(&mut self, bus: &mut B, step: &Step, mnemonic: Mnemonic) -> Result<(), Fault> {
        let mut step = *step;
        let number = self.get(bus, &step, step.operands[1])?;
        let bits = u32::from(step.width) * 8;
        // A bit's number in a register may be any, and leads through memory in both directions.
        if step.operands[0] == Operand::Memory && !matches!(step.operands[1], Operand::Immediate(_)) {
            let signed = super::extend(number, step.width).cast_signed();
            let bytes = (signed.div_euclid(bits.cast_signed())).cast_unsigned().wrapping_mul(step.width.into());
            let at = self.offset(&step.memory).wrapping_add(bytes);
            step.memory = Memory { base: None, index: None, displacement: at, ..step.memory };
        }
        let bit = 1 << (number & (bits - 1));
        let value = self.get(bus, &step, step.operands[0])?;
        let new = match mnemonic {
            Mnemonic::Bts => value | bit,
            Mnemonic::Btr => value & !bit,
            Mnemonic::Btc => value ^ bit,
            _ => value,
        };
        if mnemonic != Mnemonic::Bt {
            self.set(bus, &step, step.operands[0], new)?;
        }
        self.flags = self.flags & !CF | flag(value & bit != 0, CF);
        self.go_on(&step)
    }

    /// BSF and BSR. Of zero there is no bit: the register stays.
    pub(super) fn bit_scan<B: Bus>(&mut self, bus: &mut B, step: &Step, forward: bool) -> Result<(), Fault> {
        let value = self.get(bus, step, step.operands[1])?;
        self.flags = self.flags & !ZF | flag(value == 0, ZF);
        if value != 0 {
            let number = if forward { value.trailing_zeros() } else { 31 - value.leading_zeros() };
            self.set(bus, step, step.operands[0], number)?;
        }
        self.go_on(step)
    }
}
