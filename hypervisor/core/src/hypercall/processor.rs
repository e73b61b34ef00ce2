//! What a vCPU has of the processor beside its registers: breakpoints, rights to ports, and how the hypervisor is to behave.

use super::{Answer, Caller, low};
use crate::errno::Errno;
use crate::memory::Memory;
use crate::system::System;
use crate::walk::is_domains;
use xen_abi::mmu::{
    VMASST_CMD_DISABLE, VMASST_CMD_ENABLE, VMASST_TYPE_4GB_SEGMENTS, VMASST_TYPE_4GB_SEGMENTS_NOTIFY,
    VMASST_TYPE_ARCHITECTURAL_IOPL, VMASST_TYPE_PAE_EXTENDED_CR3,
};
use xen_abi::physdev::{PHYSDEVOP_SET_IOBITMAP, PHYSDEVOP_SET_IOPL, SetIobitmap, SetIopl};

/// Ports that there are.
const PORTS: u32 = 65536;
/// Bytes of a bit for each port.
const BITMAP: u64 = 8192;
/// What a domain can ask for. Segments of 32-bit kernels and tables above 4 GiB change nothing for 64-bit ones.
const ASSISTS: u64 = 1 << VMASST_TYPE_4GB_SEGMENTS
    | 1 << VMASST_TYPE_4GB_SEGMENTS_NOTIFY
    | 1 << VMASST_TYPE_PAE_EXTENDED_CR3
    | 1 << VMASST_TYPE_ARCHITECTURAL_IOPL;

impl<M: Memory> System<M> {
    pub(super) fn set_debugreg(&mut self, caller: Caller, [number, value, ..]: [u64; 5]) -> Answer {
        self.set_debug_register(caller.id, low(number).into(), value).map(|()| 0)
    }

    /// A value of DR0 to DR3 may look like an error.
    pub(super) fn get_debugreg(&mut self, caller: Caller, [number, ..]: [u64; 5]) -> Answer {
        let vcpu = self.vcpu(caller.id).ok_or(Errno::ESRCH)?;
        vcpu.debug.get(low(number).into(), vcpu.debug_extensions)
    }

    pub(super) fn physdev_op(&mut self, caller: Caller, [operation, argument, ..]: [u64; 5]) -> Answer {
        match low(operation) {
            PHYSDEVOP_SET_IOPL => {
                let SetIopl { iopl } = self.space(caller.id).get(argument)?;
                let level = u8::try_from(iopl).ok().filter(|level| *level <= 3).ok_or(Errno::EINVAL)?;
                self.vcpu_mut(caller.id).ok_or(Errno::ESRCH)?.ports.level = level;
            }
            PHYSDEVOP_SET_IOBITMAP => {
                let SetIobitmap { bitmap, nr_ports, .. } = self.space(caller.id).get(argument)?;
                let end = bitmap.checked_add(BITMAP).ok_or(Errno::EINVAL)?;
                if nr_ports > PORTS || !is_domains(bitmap) || !is_domains(end.saturating_sub(1)) {
                    return Err(Errno::EINVAL);
                }
                self.vcpu_mut(caller.id).ok_or(Errno::ESRCH)?.ports.bitmap = (bitmap, nr_ports);
            }
            _ => return Err(Errno::ENOSYS),
        }
        Ok(0)
    }

    /// Floating point is never lazy here: it can be used, and does not trap at its first use.
    pub(super) fn fpu_taskswitch([traps, ..]: [u64; 5]) -> Answer {
        if traps == 0 { Ok(0) } else { Err(Errno::ENOSYS) }
    }

    pub(super) fn vm_assist(&mut self, caller: Caller, [command, kind, ..]: [u64; 5]) -> Answer {
        let bit = 1_u64.checked_shl(low(kind)).unwrap_or(0) & ASSISTS;
        if bit == 0 {
            return Err(Errno::EINVAL);
        }
        let domain = self.domains.get_mut(&caller.id.domain).ok_or(Errno::ESRCH)?;
        match low(command) {
            VMASST_CMD_ENABLE => domain.assists |= bit,
            VMASST_CMD_DISABLE => domain.assists &= !bit,
            _ => return Err(Errno::ENOSYS),
        }
        Ok(0)
    }
}
