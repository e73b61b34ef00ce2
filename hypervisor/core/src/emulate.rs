//! Privileged instructions of a domain's kernel, which is in ring 3: they fault, and are done for it.
//!
//! Source: AMD64 Architecture Programmer's Manual, volume 3; which of them there are is Xen's
//! `xen/arch/x86/pv/emul-priv-op.c`.
//! Not modelled: registers of the machine beside those of segments and EFER, and that DEBUGCTL is 0; 32-bit code.

use crate::errno::Errno;
use crate::memory::{Memory, Mfn};
use crate::port::Outcome;
use crate::system::System;
use crate::trap::INVALID_OPCODE;
use crate::vcpu::{Registers, VcpuId};
use xen_abi::shared_info::VcpuInfo;
use yaxpeax_arch::LengthedInstruction as _;
use yaxpeax_x86::amd64::{InstDecoder, Instruction, Opcode, Operand, RegSpec, register_class};

/// Bytes of the longest instruction.
const LONGEST: usize = 15;
/// What CR0 reads as: protection, paging, write protection, and floating point as it is in 64-bit mode.
const CR0: u64 = 0x8005_0033;
/// CR4: PAE, FXSAVE and its exceptions.
const CR4: u64 = 0x0000_0620;
/// The bits of it that a kernel has a choice of: debug extensions, and instructions for where FS and GS begin.
const DEBUG_EXTENSIONS: u64 = 1 << 3;
const BASE_INSTRUCTIONS: u64 = 1 << 16;
/// EFER: system calls, long mode, no-execute.
const EFER: u64 = 0x0000_0d01;

/// Registers of the machine that a kernel may read, and some of which it may write.
mod msr {
    pub(super) const DEBUGCTL: u32 = 0x1d9;
    pub(super) const EFER: u32 = 0xc000_0080;
    pub(super) const FS_BASE: u32 = 0xc000_0100;
    pub(super) const GS_BASE: u32 = 0xc000_0101;
    pub(super) const SHADOW_GS_BASE: u32 = 0xc000_0102;
}

impl<M: Memory> System<M> {
    /// Does what a vCPU has tried to do. `false`: it is for its kernel to hear of.
    pub(crate) fn privileged(&mut self, id: VcpuId, registers: &mut Registers) -> bool {
        if registers.error != 0 || !self.is_long(id, registers.cs) {
            return false;
        }
        let Ok(instruction) = self.instruction(id, registers) else { return false };
        let outcome = match self.port_instruction(id, registers, &instruction) {
            Err(_) if self.vcpu(id).is_some_and(|vcpu| !vcpu.in_user) => {
                self.perform(id, registers, &instruction).map(|()| Outcome::Done)
            }
            outcome => outcome,
        };
        match outcome {
            Ok(Outcome::Done) => registers.rip = registers.rip.wrapping_add(instruction.len().to_const()),
            Ok(Outcome::Again) => {}
            Ok(Outcome::Raised) => return true,
            // There is no such register.
            Err(Errno::ENODEV) => {
                self.tell(id, registers, INVALID_OPCODE, 0);
                return true;
            }
            Err(_) => return false,
        }
        self.after_instruction(id, registers);
        true
    }

    /// The instruction that a vCPU is at.
    pub(crate) fn instruction(&mut self, id: VcpuId, registers: &Registers) -> Result<Instruction, Errno> {
        let mut code = [0; LONGEST];
        // It may end at the end of what is mapped.
        let length = (1..=LONGEST).rev().find(|length| {
            let part = code.get_mut(..*length).unwrap_or_default();
            self.space(id).read(registers.rip, part).is_ok()
        });
        let code = code.get(..length.unwrap_or(0)).unwrap_or_default();
        InstDecoder::default().decode_slice(code).map_err(|_| Errno::EINVAL)
    }

    fn perform(&mut self, id: VcpuId, registers: &mut Registers, instruction: &Instruction) -> Result<(), Errno> {
        match instruction.opcode() {
            Opcode::MOV => match (instruction.operand(0), instruction.operand(1)) {
                (Operand::Register { reg: to }, Operand::Register { reg: from }) if is_control(from) => {
                    let value = self.control(id, from.num())?;
                    *general(registers, to).ok_or(Errno::EINVAL)? = value;
                }
                (Operand::Register { reg: to }, Operand::Register { reg: from }) if is_debug(from) => {
                    let vcpu = self.vcpu(id).ok_or(Errno::EINVAL)?;
                    let value = vcpu.debug.get(from.num().into(), vcpu.debug_extensions)?;
                    *general(registers, to).ok_or(Errno::EINVAL)? = value;
                }
                (Operand::Register { reg: to }, Operand::Register { reg: from }) if is_debug(to) => {
                    let value = *general(registers, from).ok_or(Errno::EINVAL)?;
                    self.set_debug_register(id, to.num().into(), value)?;
                }
                (Operand::Register { reg: to }, Operand::Register { reg: from }) if is_control(to) => {
                    let value = *general(registers, from).ok_or(Errno::EINVAL)?;
                    self.set_control(id, to.num(), value)?;
                }
                _ => return Err(Errno::EINVAL),
            },
            // Floating point is never taken away, and caches are coherent.
            Opcode::CLTS | Opcode::WBINVD | Opcode::INVD => {}
            Opcode::RDMSR => {
                let value = self.machine_register(id, lower(registers.rcx))?;
                (registers.rax, registers.rdx) = (lower(value).into(), value >> 32);
            }
            Opcode::WRMSR => {
                let value = u64::from(lower(registers.rdx)) << 32 | u64::from(lower(registers.rax));
                self.set_machine_register(id, lower(registers.rcx), value)?;
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    /// A vCPU sets one of its debug registers.
    pub(crate) fn set_debug_register(&mut self, id: VcpuId, number: u64, value: u64) -> Result<(), Errno> {
        let vcpu = self.vcpu_mut(id).ok_or(Errno::ESRCH)?;
        vcpu.debug.set(number, value, vcpu.debug_extensions)?;
        self.reload_debug = true;
        Ok(())
    }

    fn control(&self, id: VcpuId, number: u8) -> Result<u64, Errno> {
        match number {
            0 => Ok(CR0),
            2 => {
                let (frame, offset) = self.fault_address_place(id).ok_or(Errno::EINVAL)?;
                let mut address = [0; 8];
                self.memory.read(frame, offset, &mut address);
                Ok(u64::from_le_bytes(address))
            }
            3 => self.vcpu(id).map(|vcpu| vcpu.top.address()).ok_or(Errno::EINVAL),
            4 => {
                let vcpu = self.vcpu(id).ok_or(Errno::EINVAL)?;
                let debug = if vcpu.debug_extensions { DEBUG_EXTENSIONS } else { 0 };
                Ok(CR4 | debug | if vcpu.sets_bases { BASE_INSTRUCTIONS } else { 0 })
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn set_control(&mut self, id: VcpuId, number: u8, value: u64) -> Result<(), Errno> {
        match number {
            // As it is.
            0 if value == CR0 => Ok(()),
            // What it has no choice of stays as it is.
            4 => {
                let sets_bases = self.has_base_instructions && value & BASE_INSTRUCTIONS != 0;
                let vcpu = self.vcpu_mut(id).ok_or(Errno::EINVAL)?;
                (vcpu.debug_extensions, vcpu.sets_bases) = (value & DEBUG_EXTENSIONS != 0, sets_bases);
                self.reload = true;
                Ok(())
            }
            2 => {
                let (frame, offset) = self.fault_address_place(id).ok_or(Errno::EINVAL)?;
                self.memory.write(frame, offset, &value.to_le_bytes());
                Ok(())
            }
            3 => self.set_top(id, Mfn::of(value)),
            _ => Err(Errno::EINVAL),
        }
    }

    fn machine_register(&self, id: VcpuId, number: u32) -> Result<u64, Errno> {
        let bases = self.vcpu(id).ok_or(Errno::EINVAL)?.bases;
        match number {
            msr::DEBUGCTL => Ok(0),
            msr::EFER => Ok(EFER),
            msr::FS_BASE => Ok(bases.fs),
            msr::GS_BASE => Ok(bases.gs_kernel),
            msr::SHADOW_GS_BASE => Ok(bases.gs_user),
            _ => Err(Errno::EINVAL),
        }
    }

    fn set_machine_register(&mut self, id: VcpuId, number: u32, value: u64) -> Result<(), Errno> {
        let bases = &mut self.vcpu_mut(id).ok_or(Errno::EINVAL)?.bases;
        let is_address = matches!(value >> 47, 0 | 0x1_ffff);
        match number {
            msr::DEBUGCTL if value == 0 => return Ok(()),
            msr::EFER if value == EFER => return Ok(()),
            msr::FS_BASE if is_address => bases.fs = value,
            msr::GS_BASE if is_address => bases.gs_kernel = value,
            msr::SHADOW_GS_BASE if is_address => bases.gs_user = value,
            _ => return Err(Errno::EINVAL),
        }
        self.reload = true;
        Ok(())
    }

    /// Where a vCPU finds the address of its last page fault.
    pub(crate) fn fault_address_place(&self, id: VcpuId) -> Option<(Mfn, usize)> {
        let (frame, offset) = self.events.vcpu_info(id.domain, id.number)?;
        Some((frame, offset.saturating_add(core::mem::offset_of!(VcpuInfo, arch))))
    }
}

/// Whether it is one of the control registers.
fn is_control(register: RegSpec) -> bool {
    register.class() == RegSpec::cr0().class()
}

/// Whether it is one of the debug registers.
fn is_debug(register: RegSpec) -> bool {
    register.class() == register_class::DR
}

/// A general register of 64 bits.
pub(crate) fn general(registers: &mut Registers, register: RegSpec) -> Option<&mut u64> {
    if register.class() != RegSpec::rax().class() {
        return None;
    }
    Some(match register.num() {
        0 => &mut registers.rax,
        1 => &mut registers.rcx,
        2 => &mut registers.rdx,
        3 => &mut registers.rbx,
        4 => &mut registers.rsp,
        5 => &mut registers.rbp,
        6 => &mut registers.rsi,
        7 => &mut registers.rdi,
        8 => &mut registers.r8,
        9 => &mut registers.r9,
        10 => &mut registers.r10,
        11 => &mut registers.r11,
        12 => &mut registers.r12,
        13 => &mut registers.r13,
        14 => &mut registers.r14,
        15 => &mut registers.r15,
        _ => return None,
    })
}

/// The lower half of a register.
fn lower(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
