//! Ports of the machine, which a domain reaches by instructions that fault in ring 3.
//!
//! A vCPU asks by its I/O privilege level, which is one of the interface and not the processor's: its user mode is at 3, its
//! kernel at 1, or at 0 where `VMASST_TYPE_architectural_iopl` is on. Where that is not enough its I/O bitmap may allow it. What
//! is asked for is then done if the port is one of the machine's that the domain has: the control domain has all but the
//! hypervisor's. Other ports read as ones, and writes to them are dropped.
//!
//! Source: Xen's `xen/arch/x86/pv/emul-priv-op.c` (`guest_io_okay`, `guest_io_read`) and `public/physdev.h`.
//! The control domain has the configuration of PCI, and by that devices which reach all of memory: it is trusted as the
//! hypervisor is.
//! Not modelled: 32-bit code, addresses of 32 bits.

use crate::debug::SINGLE_STEP;
use crate::errno::Errno;
use crate::memory::Memory;
use crate::system::System;
use crate::trap::{DEBUG, PAGE_FAULT};
use crate::vcpu::{Registers, TRAP, VcpuId};
use crate::walk::AddressSpace;
use core::ops::RangeInclusive;
use xen_abi::mmu::VMASST_TYPE_ARCHITECTURAL_IOPL;
use yaxpeax_x86::amd64::{Instruction, Opcode, Operand};

/// The hypervisor's: interrupt controllers, timer, clock, console, and where the reset port is.
const OWN: [RangeInclusive<u16>; 7] =
    [0x20..=0x21, 0x40..=0x43, 0x61..=0x61, 0x70..=0x71, 0xa0..=0xa1, 0x3f8..=0x3ff, 0xcf8..=0xcfb];
/// There as well, the address of PCI configuration, if all four bytes are meant.
const PCI_ADDRESS: (u16, u8) = (0xcf8, 4);
/// The flag by which strings are gone through from their end.
const BACKWARDS: u64 = 1 << 10;
/// Error code of a page fault: it was a write.
const BY_WRITE: u64 = 1 << 1;

/// Which ports a vCPU may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortRights {
    /// Its I/O privilege level, 0 to 3.
    pub level: u8,
    /// Where its kernel has a bit for each port, and for how many.
    pub bitmap: (u64, u32),
}

/// What became of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is done.
    Done,
    /// A part of it is: it goes on at the same instruction.
    Again,
    /// It has raised an exception, which its kernel hears of.
    Raised,
}

impl<M: Memory> System<M> {
    /// Whether a vCPU may do what its I/O privilege level decides.
    pub(crate) fn has_io_privilege(&self, id: VcpuId) -> bool {
        let Some(vcpu) = self.vcpu(id) else { return false };
        let needed = match (vcpu.in_user, self.has_assist(id, VMASST_TYPE_ARCHITECTURAL_IOPL)) {
            (true, _) => 3,
            (false, false) => 1,
            (false, true) => 0,
        };
        vcpu.ports.level >= needed
    }

    fn may_ask_for(&mut self, id: VcpuId, port: u16, width: u8) -> bool {
        if self.has_io_privilege(id) {
            return true;
        }
        let Some(vcpu) = self.vcpu(id) else { return false };
        let ((bitmap, count), top) = (vcpu.ports.bitmap, vcpu.top);
        if u32::from(port).saturating_add(width.into()) > count {
            return false;
        }
        // Two bytes, since the bits may be in both; what is not there forbids.
        let mut bits = [0xff; 2];
        let space = AddressSpace { memory: &mut self.memory, top };
        for (byte, number) in bits.iter_mut().zip(u64::from(port >> 3)..) {
            let place = bitmap.checked_add(number).ok_or(Errno::EFAULT);
            *byte = place.and_then(|place| space.get::<u8>(place)).unwrap_or(0xff);
        }
        let wanted = 1_u16.wrapping_shl(width.into()).wrapping_sub(1).wrapping_shl(u32::from(port & 7));
        u16::from_le_bytes(bits) & wanted == 0
    }

    /// Whether a domain has the address of PCI configuration.
    fn has_pci(&self, id: VcpuId, place: (u16, u8)) -> bool {
        place == PCI_ADDRESS && self.domains.get(&id.domain).is_some_and(|domain| domain.is_privileged)
    }

    /// Whether a domain has a port.
    fn has_port(&self, id: VcpuId, port: u16) -> bool {
        let is_privileged = self.domains.get(&id.domain).is_some_and(|domain| domain.is_privileged);
        is_privileged && !OWN.iter().any(|range| range.contains(&port))
    }

    fn read_ports(&mut self, id: VcpuId, port: u16, width: u8) -> u32 {
        let ports = || (0..u16::from(width)).filter_map(|number| port.checked_add(number));
        let has_all = || ports().count() == usize::from(width) && ports().all(|port| self.has_port(id, port));
        if self.has_pci(id, (port, width)) || has_all() {
            return self.memory.read_port(port, width);
        }
        // Byte by byte: what it does not have reads as ones.
        let mut bytes = [0xff; 4];
        for (byte, port) in bytes.iter_mut().zip(ports()) {
            if self.has_port(id, port) {
                let [low, ..] = self.memory.read_port(port, 1).to_le_bytes();
                *byte = low;
            }
        }
        u32::from_le_bytes(bytes)
    }

    fn write_ports(&mut self, id: VcpuId, port: u16, width: u8, value: u32) {
        let ports = || (0..u16::from(width)).filter_map(|number| port.checked_add(number));
        let has_all = || ports().count() == usize::from(width) && ports().all(|port| self.has_port(id, port));
        if self.has_pci(id, (port, width)) || has_all() {
            return self.memory.write_port(port, width, value);
        }
        for (byte, port) in value.to_le_bytes().into_iter().zip(ports()) {
            if self.has_port(id, port) {
                self.memory.write_port(port, 1, byte.into());
            }
        }
    }

    /// IN, OUT, INS, OUTS, CLI or STI. `EINVAL`: it is none of them, or the vCPU may not.
    pub(crate) fn port_instruction(
        &mut self,
        id: VcpuId,
        registers: &mut Registers,
        instruction: &Instruction,
    ) -> Result<Outcome, Errno> {
        match instruction.opcode() {
            // Events stay as they are: a kernel masks them in its shared information.
            Opcode::CLI | Opcode::STI if self.has_io_privilege(id) => Ok(Outcome::Done),
            Opcode::IN => {
                let (port, width) = decode(instruction.operand(1), instruction.operand(0), registers)?;
                self.ask(id, port, width)?;
                let value = u64::from(self.read_ports(id, port, width));
                registers.rax = match width {
                    1 => registers.rax & !0xff | value & 0xff,
                    2 => registers.rax & !0xffff | value & 0xffff,
                    _ => value,
                };
                Ok(self.port_breakpoint(id, port, width))
            }
            Opcode::OUT => {
                let (port, width) = decode(instruction.operand(0), instruction.operand(1), registers)?;
                self.ask(id, port, width)?;
                let [a, b, c, d, ..] = registers.rax.to_le_bytes();
                self.write_ports(id, port, width, u32::from_le_bytes([a, b, c, d]));
                Ok(self.port_breakpoint(id, port, width))
            }
            Opcode::INS | Opcode::OUTS => self.port_string(id, registers, instruction),
            _ => Err(Errno::EINVAL),
        }
    }

    /// One element of a string, so that a long one does not keep the processor.
    fn port_string(
        &mut self,
        id: VcpuId,
        registers: &mut Registers,
        instruction: &Instruction,
    ) -> Result<Outcome, Errno> {
        let prefixes = instruction.prefixes;
        if prefixes.address_size() {
            return Err(Errno::EINVAL);
        }
        let is_repeated = prefixes.rep_any();
        let width = instruction.mem_size().and_then(|size| size.bytes_size()).map_or(1, |bytes| bytes.min(4));
        let (port, size) = (low_half(registers.rdx), u64::from(width));
        self.ask(id, port, width)?;
        if is_repeated && registers.rcx == 0 {
            return Ok(Outcome::Done);
        }
        let is_input = instruction.opcode() == Opcode::INS;
        let base = self.vcpu(id).map_or(0, |vcpu| match (prefixes.fs(), prefixes.gs(), vcpu.in_user) {
            (true, ..) => vcpu.bases.fs,
            (_, true, true) => vcpu.bases.gs_user,
            (_, true, false) => vcpu.bases.gs_kernel,
            _ => 0,
        });
        let mut bytes = [0; 4];
        let place = if is_input { registers.rdi } else { base.wrapping_add(registers.rsi) };
        let part = bytes.get_mut(..usize::from(width)).unwrap_or_default();
        // Before the port is asked: what it gives cannot be given back.
        let readable = self.space(id).read(place, part);
        let done = match is_input {
            true => readable.and_then(|()| self.space(id).write(place, part)).and_then(|()| {
                let found = self.read_ports(id, port, width).to_le_bytes();
                self.space(id).write(place, found.get(..usize::from(width)).unwrap_or_default())
            }),
            false => readable.map(|()| self.write_ports(id, port, width, u32::from_le_bytes(bytes))),
        };
        if done.is_err() {
            registers.error = if is_input { BY_WRITE } else { 0 };
            self.tell(id, registers, PAGE_FAULT, place);
            return Ok(Outcome::Raised);
        }
        let step = if registers.rflags & BACKWARDS == 0 { size } else { size.wrapping_neg() };
        let pointer = if is_input { &mut registers.rdi } else { &mut registers.rsi };
        *pointer = pointer.wrapping_add(step);
        if is_repeated {
            registers.rcx = registers.rcx.wrapping_sub(1);
        }
        self.port_breakpoint(id, port, width);
        Ok(if is_repeated && registers.rcx != 0 { Outcome::Again } else { Outcome::Done })
    }

    fn ask(&mut self, id: VcpuId, port: u16, width: u8) -> Result<(), Errno> {
        if self.may_ask_for(id, port, width) { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// Notes the breakpoints that an access has hit.
    fn port_breakpoint(&mut self, id: VcpuId, port: u16, width: u8) -> Outcome {
        if let Some(vcpu) = self.vcpu_mut(id) {
            vcpu.hit |= vcpu.debug.hit_by_port(port, width.into());
        }
        Outcome::Done
    }

    /// After an instruction that was done for a vCPU: it hears of breakpoints, and if it goes step by step.
    pub(crate) fn after_instruction(&mut self, id: VcpuId, registers: &mut Registers) {
        let Some(vcpu) = self.vcpu_mut(id) else { return };
        let step = if registers.rflags & TRAP == 0 { 0 } else { SINGLE_STEP };
        let hit = core::mem::take(&mut vcpu.hit) | step;
        if hit != 0 {
            vcpu.debug.emulated(hit);
            self.tell(id, registers, DEBUG, 0);
        }
    }
}

/// Port and width of IN or OUT.
fn decode(port: Operand, register: Operand, registers: &Registers) -> Result<(u16, u8), Errno> {
    let port = match port {
        Operand::ImmediateU8 { imm } => imm.into(),
        Operand::Register { .. } => low_half(registers.rdx),
        _ => return Err(Errno::EINVAL),
    };
    match register {
        Operand::Register { reg } => Ok((port, reg.width().min(4))),
        _ => Err(Errno::EINVAL),
    }
}

/// The lowest 16 bits.
fn low_half(value: u64) -> u16 {
    let [a, b, ..] = value.to_le_bytes();
    u16::from_le_bytes([a, b])
}
