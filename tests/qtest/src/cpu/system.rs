//! Ports, control registers, tables of descriptors, and what the CPU says of itself.

use iced_x86::Mnemonic;

use super::bus::Bus;
use super::memory::width;
use super::registers::{
    CODE, CR0_BITS, EAX, EBX, ECX, EDX, ET, Fault, ORDINARY, PE, PG, PRESENT, READ_WRITE, Table, ZF,
};
use super::step::{Operand, Step};
use super::{Cpu, low_word};

/// Family 5, model 2, stepping 12: a Pentium.
pub(super) const SIGNATURE: u32 = 0x52c;
/// CPUID: there are a time stamp counter, model specific registers, and CMPXCHG8B.
const FEATURES: u32 = 1 << 4 | 1 << 5 | 1 << 8;
/// CPUID leaf 0: the vendor.
const VENDOR: [&[u8; 4]; 3] = [b"Genu", b"ineI", b"ntel"];
/// The time stamp counter, as a model specific register.
const TIME_STAMP: u32 = 0x10;
/// CR4: bits that there are: TSD and DE, without effect.
const CR4_BITS: u32 = 0x0c;

impl Cpu {
    /// IN.
    pub(super) fn input<B: Bus>(&mut self, bus: &mut B, step: &Step) -> Result<(), Fault> {
        let port = low_word(self.get(bus, step, step.operands[1])?);
        let value = bus.port_read(port, width(step.width));
        self.set_register(EAX, step.width, value);
        self.go_on(step)
    }

    /// OUT.
    pub(super) fn output<B: Bus>(&mut self, bus: &mut B, step: &Step) -> Result<(), Fault> {
        let port = low_word(self.get(bus, step, step.operands[0])?);
        let bytes = match step.operands[1] {
            Operand::Reg8(_) => 1,
            Operand::Reg16(_) => 2,
            _ => 4,
        };
        // Before the port acts: a system management interrupt comes behind the instruction.
        self.go_on(step)?;
        bus.port_write(port, width(bytes), self.register(EAX, bytes));
        Ok(())
    }

    /// CPUID.
    pub(super) fn identify(&mut self) {
        let word = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes);
        let [a, b, c, d] = match self.general[usize::from(EAX)] {
            0 => [1, word(VENDOR[0]), word(VENDOR[2]), word(VENDOR[1])],
            1 => [SIGNATURE, 0, 0, FEATURES],
            _ => [0; 4],
        };
        for (register, value) in [(EAX, a), (EBX, b), (ECX, c), (EDX, d)] {
            self.general[usize::from(register)] = value;
        }
    }

    /// RDTSC, RDMSR: a number in EDX and EAX.
    fn set_wide(&mut self, value: u64) {
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        self.general[usize::from(EAX)] = u32::from_le_bytes([a, b, c, d]);
        self.general[usize::from(EDX)] = u32::from_le_bytes([e, f, g, h]);
    }

    /// RDTSC: a counter of nanoseconds.
    pub(super) fn time_stamp<B: Bus>(&mut self, bus: &B) {
        self.set_wide(bus.now());
    }

    /// RDMSR.
    pub(super) fn read_model_specific<B: Bus>(&mut self, bus: &B) -> Result<(), Fault> {
        match self.general[usize::from(ECX)] {
            TIME_STAMP => self.set_wide(bus.now()),
            _ => return Err(Fault::protection(0)),
        }
        Ok(())
    }

    /// LGDT, LIDT.
    pub(super) fn load_table<B: Bus>(&mut self, bus: &mut B, step: &Step) -> Result<Table, Fault> {
        let at = self.offset(&step.memory);
        let limit = low_word(self.load(bus, step.memory.segment, at, 2)?);
        let base = self.load(bus, step.memory.segment, at.wrapping_add(2) & step.memory.mask, 4)?;
        Ok(Table { limit, base: if step.width == 2 { base & 0xff_ffff } else { base } })
    }

    /// SGDT, SIDT.
    pub(super) fn store_table<B: Bus>(&mut self, bus: &mut B, step: &Step, table: Table) -> Result<(), Fault> {
        let at = self.offset(&step.memory);
        self.store(bus, step.memory.segment, at, 2, table.limit.into())?;
        self.store(bus, step.memory.segment, at.wrapping_add(2) & step.memory.mask, 4, table.base)
    }

    /// Sets CR0.
    pub(super) fn set_control_0(&mut self, value: u32) -> Result<(), Fault> {
        if value & PG != 0 {
            return Err(Fault::protection(0));
        }
        self.control[0] = value & CR0_BITS | ET;
        Ok(())
    }

    /// MOV to and from control and debug registers.
    pub(super) fn move_special<B: Bus>(&mut self, bus: &mut B, step: &Step) -> Result<(), Fault> {
        match step.operands {
            [Operand::Control(0), source, _] => {
                let value = self.get(bus, step, source)?;
                self.set_control_0(value)?;
            }
            [Operand::Control(number @ 2..=4), source, _] => {
                let value = self.get(bus, step, source)?;
                if number == 4 && value & !CR4_BITS != 0 {
                    return Err(Fault::protection(0));
                }
                self.control[usize::from(number)] = value;
            }
            [target, Operand::Control(number @ (0 | 2..=4)), _] => {
                self.set(bus, step, target, self.control[usize::from(number)])?;
            }
            [Operand::Debug(number), source, _] => {
                self.debug[usize::from(number & 7)] = self.get(bus, step, source)?;
            }
            [target, Operand::Debug(number), _] => self.set(bus, step, target, self.debug[usize::from(number & 7)])?,
            _ => return Err(Fault::UNDEFINED),
        }
        self.go_on(step)
    }

    /// LAR, LSL, VERR, VERW.
    pub(super) fn inspect<B: Bus>(&mut self, bus: &mut B, step: &Step, mnemonic: Mnemonic) -> Result<(), Fault> {
        if !self.is_protected() {
            return Err(Fault::UNDEFINED);
        }
        let is_question = matches!(mnemonic, Mnemonic::Verr | Mnemonic::Verw);
        let source = step.operands[usize::from(!is_question)];
        let selector = low_word(self.get(bus, step, source)?);
        let segment = self.descriptor(bus, selector).filter(|_| selector & !3 != 0);
        let is_present = |access: u8| access & (PRESENT | ORDINARY) == PRESENT | ORDINARY;
        let fits = segment.filter(|segment| match mnemonic {
            Mnemonic::Verr => is_present(segment.access) && segment.access & (CODE | READ_WRITE) != CODE,
            Mnemonic::Verw => is_present(segment.access) && segment.access & (CODE | READ_WRITE) == READ_WRITE,
            _ => true,
        });
        match (fits, mnemonic) {
            (Some(segment), Mnemonic::Lsl) => self.set(bus, step, step.operands[0], segment.limit)?,
            (Some(segment), Mnemonic::Lar) => {
                let big = if segment.big { 0x40_0000 } else { 0 };
                let pages = if segment.limit > 0xf_ffff { 0x80_0000 } else { 0 };
                self.set(bus, step, step.operands[0], u32::from(segment.access) << 8 | big | pages)?;
            }
            _ => {}
        }
        self.flags = self.flags & !ZF | if fits.is_some() { ZF } else { 0 };
        self.go_on(step)
    }

    /// LMSW: of CR0, the lowest four bits; protected mode is not left by it.
    pub(super) fn load_machine_status(&mut self, value: u32) -> Result<(), Fault> {
        self.set_control_0(self.control[0] & !0xe | value & 0xf | self.control[0] & PE)
    }
}
