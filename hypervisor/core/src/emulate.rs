//! Privileged instructions of a domain's kernel, which is in ring 3: they fault, and are done for it.
//!
//! Source: AMD64 Architecture Programmer's Manual, volume 3; which of them there are is Xen's
//! `xen/arch/x86/pv/emul-priv-op.c`.
//! Not modelled: ports, debug registers, moves to CR4, registers of the machine beside those of segments and EFER.

use crate::errno::Errno;
use crate::memory::{Memory, Mfn};
use crate::system::{System, vcpu_info};
use crate::vcpu::{Registers, VcpuId};
use xen_abi::shared_info::VcpuInfo;
use yaxpeax_arch::LengthedInstruction as _;
use yaxpeax_x86::amd64::{InstDecoder, Instruction, Opcode, Operand, RegSpec};

/// Bytes of the longest instruction.
const LONGEST: usize = 15;
/// What CR0 reads as: protection, paging, write protection, and floating point as it is in 64-bit mode.
const CR0: u64 = 0x8005_0033;
/// CR4: PAE, FXSAVE and its exceptions.
const CR4: u64 = 0x0000_0620;
/// EFER: system calls, long mode, no-execute.
const EFER: u64 = 0x0000_0d01;

/// Registers of the machine that a kernel may read, and some of which it may write.
mod msr {
    pub(super) const EFER: u32 = 0xc000_0080;
    pub(super) const FS_BASE: u32 = 0xc000_0100;
    pub(super) const GS_BASE: u32 = 0xc000_0101;
    pub(super) const SHADOW_GS_BASE: u32 = 0xc000_0102;
}

impl<M: Memory> System<M> {
    /// Does what a vCPU's kernel has tried to do. `false`: it is for the kernel itself to hear of.
    pub(crate) fn privileged(&mut self, id: VcpuId, registers: &mut Registers) -> bool {
        if registers.error != 0 || self.vcpu(id).is_none_or(|vcpu| vcpu.in_user) {
            return false;
        }
        let mut code = [0; LONGEST];
        // It may end at the end of what is mapped.
        let length = (1..=LONGEST).rev().find(|length| {
            let part = code.get_mut(..*length).unwrap_or_default();
            self.space(id).read(registers.rip, part).is_ok()
        });
        let code = code.get(..length.unwrap_or(0)).unwrap_or_default();
        let Ok(instruction) = InstDecoder::default().decode_slice(code) else { return false };
        let is_done = self.perform(id, registers, &instruction).is_ok();
        if is_done {
            registers.rip = registers.rip.wrapping_add(instruction.len().to_const());
        }
        is_done
    }

    fn perform(&mut self, id: VcpuId, registers: &mut Registers, instruction: &Instruction) -> Result<(), Errno> {
        match instruction.opcode() {
            Opcode::MOV => match (instruction.operand(0), instruction.operand(1)) {
                (Operand::Register { reg: to }, Operand::Register { reg: from }) if is_control(from) => {
                    let value = self.control(id, from.num())?;
                    *general(registers, to).ok_or(Errno::EINVAL)? = value;
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
            4 => Ok(CR4),
            _ => Err(Errno::EINVAL),
        }
    }

    fn set_control(&mut self, id: VcpuId, number: u8, value: u64) -> Result<(), Errno> {
        match number {
            // As it is.
            0 if value == CR0 => Ok(()),
            4 if value == CR4 => Ok(()),
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
        let frame = self.domains.get(&id.domain)?.shared_info;
        Some((frame, vcpu_info(id.number)?.saturating_add(core::mem::offset_of!(VcpuInfo, arch))))
    }
}

/// Whether it is one of the control registers.
fn is_control(register: RegSpec) -> bool {
    register.class() == RegSpec::cr0().class()
}

/// A general register of 64 bits.
fn general(registers: &mut Registers, register: RegSpec) -> Option<&mut u64> {
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
