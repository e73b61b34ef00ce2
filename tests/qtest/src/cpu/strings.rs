//! String instructions, with their repeat prefixes.
//!
//! A repeated instruction does a limited number of elements and then begins again where it stopped, so that interrupts get
//! their turn. Each element takes the time of an instruction. What was done before a fault stays done.

use iced_x86::Mnemonic;

use super::arithmetic::subtract;
use super::bus::Bus;
use super::memory::width;
use super::registers::{DF, ECX, EDI, EDX, ES, ESI, Fault, ZF};
use super::step::{Repeat, Step};
use super::{Cpu, STEP_TIME, low_word};

/// Elements before others get their turn.
const ELEMENTS_MAX: u32 = 256;

/// A string instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Move,
    Store,
    Load,
    Compare,
    Scan,
    Input,
    Output,
}

impl Kind {
    /// The instruction and the bytes of its elements.
    pub(super) fn of(mnemonic: Mnemonic) -> Option<(Self, u8)> {
        Some(match mnemonic {
            Mnemonic::Movsb => (Self::Move, 1),
            Mnemonic::Movsw => (Self::Move, 2),
            Mnemonic::Movsd => (Self::Move, 4),
            Mnemonic::Stosb => (Self::Store, 1),
            Mnemonic::Stosw => (Self::Store, 2),
            Mnemonic::Stosd => (Self::Store, 4),
            Mnemonic::Lodsb => (Self::Load, 1),
            Mnemonic::Lodsw => (Self::Load, 2),
            Mnemonic::Lodsd => (Self::Load, 4),
            Mnemonic::Cmpsb => (Self::Compare, 1),
            Mnemonic::Cmpsw => (Self::Compare, 2),
            Mnemonic::Cmpsd => (Self::Compare, 4),
            Mnemonic::Scasb => (Self::Scan, 1),
            Mnemonic::Scasw => (Self::Scan, 2),
            Mnemonic::Scasd => (Self::Scan, 4),
            Mnemonic::Insb => (Self::Input, 1),
            Mnemonic::Insw => (Self::Input, 2),
            Mnemonic::Insd => (Self::Input, 4),
            Mnemonic::Outsb => (Self::Output, 1),
            Mnemonic::Outsw => (Self::Output, 2),
            Mnemonic::Outsd => (Self::Output, 4),
            _ => return None,
        })
    }
}

impl Cpu {
    /// Performs a string instruction, or as much of it as there is time for.
    pub(super) fn string<B: Bus>(&mut self, bus: &mut B, step: &Step, kind: Kind, bytes: u8) -> Result<(), Fault> {
        let mask = step.memory.mask;
        if step.repeat == Repeat::Once {
            self.element(bus, step, kind, bytes)?;
            return self.go_on(step);
        }
        for done in 0..ELEMENTS_MAX {
            let count = self.general[usize::from(ECX)] & mask;
            if count == 0 {
                return self.go_on(step);
            }
            if done > 0 {
                bus.spend(STEP_TIME);
            }
            self.element(bus, step, kind, bytes)?;
            let register = &mut self.general[usize::from(ECX)];
            *register = *register & !mask | count.wrapping_sub(1) & mask;
            let is_equal = self.flags & ZF != 0;
            let ends = matches!(kind, Kind::Compare | Kind::Scan) && is_equal != (step.repeat == Repeat::WhileEqual);
            if ends || count == 1 {
                return self.go_on(step);
            }
            if bus.now() >= bus.until() {
                break;
            }
        }
        Ok(())
    }

    fn element<B: Bus>(&mut self, bus: &mut B, step: &Step, kind: Kind, bytes: u8) -> Result<(), Fault> {
        let (mask, segment) = (step.memory.mask, step.memory.segment);
        let source = self.general[usize::from(ESI)] & mask;
        let target = self.general[usize::from(EDI)] & mask;
        let port = low_word(self.general[usize::from(EDX)]);
        match kind {
            Kind::Move => {
                let value = self.load(bus, segment, source, bytes)?;
                self.store(bus, ES, target, bytes, value)?;
            }
            Kind::Store => self.store(bus, ES, target, bytes, self.register(0, bytes))?,
            Kind::Load => {
                let value = self.load(bus, segment, source, bytes)?;
                self.set_register(0, bytes, value);
            }
            Kind::Compare => {
                let (a, b) = (self.load(bus, segment, source, bytes)?, self.load(bus, ES, target, bytes)?);
                self.set_arithmetic(subtract(a, b, 0, bytes).1);
            }
            Kind::Scan => {
                let value = self.load(bus, ES, target, bytes)?;
                self.set_arithmetic(subtract(self.register(0, bytes), value, 0, bytes).1);
            }
            Kind::Input => {
                // The port is not read when there is no room for what it says.
                let addr = self.address(bus, ES, target, bytes, true)?;
                let value = bus.port_read(port, width(bytes));
                bus.write(addr, width(bytes), value);
            }
            Kind::Output => {
                let value = self.load(bus, segment, source, bytes)?;
                bus.port_write(port, width(bytes), value);
            }
        }
        let moves_source = matches!(kind, Kind::Move | Kind::Load | Kind::Compare | Kind::Output);
        let moves_target = !matches!(kind, Kind::Load | Kind::Output);
        let by = u32::from(bytes);
        let by = if self.flags & DF == 0 { by } else { by.wrapping_neg() };
        for (register, moves) in [(ESI, moves_source), (EDI, moves_target)] {
            if moves {
                let register = &mut self.general[usize::from(register)];
                *register = *register & !mask | register.wrapping_add(by) & mask;
            }
        }
        Ok(())
    }
}
