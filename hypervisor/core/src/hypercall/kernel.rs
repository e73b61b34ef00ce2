//! What a kernel says of itself, and asks of the hypervisor.

use super::{Answer, Caller, element, low};
use crate::errno::Errno;
use crate::memory::Memory;
use crate::system::System;
use crate::vcpu::VECTORS;
use crate::walk::is_canonical;
use alloc::vec;
use alloc::vec::Vec;
use xen_abi::CONSOLEIO_WRITE;
use xen_abi::callback::{
    CALLBACKF_MASK_EVENTS, CALLBACKOP_REGISTER, CALLBACKOP_UNREGISTER, CALLBACKTYPE_EVENT, CALLBACKTYPE_FAILSAFE,
    CALLBACKTYPE_NMI, CALLBACKTYPE_SYSCALL, CALLBACKTYPE_SYSCALL32, CALLBACKTYPE_SYSENTER, CallbackRegister,
    CallbackUnregister,
};
use xen_abi::trap::TrapInfo;
use xen_abi::version::{
    ExtraVersion, FeatureInfo, XENVER_CAPABILITIES, XENVER_EXTRAVERSION, XENVER_GET_FEATURES, XENVER_VERSION,
};

/// The interface that there is: Xen 4.17's.
const VERSION: u64 = 4 << 16 | 17;
const EXTRA_VERSION: &[u8] = b".core";
/// What it is for: 64-bit paravirtualised domains.
const CAPABILITIES: &[u8] = b"xen-3.0-x86_64 ";
const CAPABILITIES_LEN: usize = 1024;
/// Features of domains: pages in the machine's numbers are shown to them (`XENFEAT_mmu_pt_update_preserve_ad`,
/// `XENFEAT_pae_pgdir_above_4gb`).
const FEATURES: u32 = 1 << 5 | 1 << 4;
/// Characters that are printed by a call.
const PRINTED_MAX: usize = 1024;

impl<M: Memory> System<M> {
    pub(super) fn set_trap_table(&mut self, caller: Caller, [table, ..]: [u64; 5]) -> Answer {
        let mut traps: Vec<TrapInfo> = Vec::new();
        if table != 0 {
            for number in 0.. {
                let trap: TrapInfo = self.space(caller.id).get(element(table, number, size_of::<TrapInfo>())?)?;
                if trap.address == 0 {
                    break;
                }
                if !is_canonical(trap.address) {
                    return Err(Errno::EINVAL);
                }
                if traps.len() >= VECTORS {
                    return Err(Errno::EINVAL);
                }
                traps.push(trap);
            }
        }
        let vcpu = self.vcpu_mut(caller.id).ok_or(Errno::ESRCH)?;
        if table == 0 {
            vcpu.traps.clear();
        }
        for trap in traps {
            vcpu.traps.retain(|known| known.vector != trap.vector);
            vcpu.traps.push(trap);
        }
        Ok(0)
    }

    pub(super) fn set_callbacks(&mut self, caller: Caller, [event, failsafe, syscall, ..]: [u64; 5]) -> Answer {
        if ![event, failsafe, syscall].into_iter().all(is_canonical) {
            return Err(Errno::EINVAL);
        }
        let vcpu = self.vcpu_mut(caller.id).ok_or(Errno::ESRCH)?;
        (vcpu.event_callback, vcpu.failsafe_callback, vcpu.syscall_callback.0) = (event, failsafe, syscall);
        Ok(0)
    }

    pub(super) fn callback_op(&mut self, caller: Caller, [operation, argument, ..]: [u64; 5]) -> Answer {
        let (kind, flags, address) = match low(operation) {
            CALLBACKOP_REGISTER => {
                let CallbackRegister { kind, flags, address, .. } = self.space(caller.id).get(argument)?;
                (kind, flags, address)
            }
            CALLBACKOP_UNREGISTER => (self.space(caller.id).get::<CallbackUnregister>(argument)?.kind, 0, 0),
            _ => return Err(Errno::ENOSYS),
        };
        if !is_canonical(address) {
            return Err(Errno::EINVAL);
        }
        let vcpu = self.vcpu_mut(caller.id).ok_or(Errno::ESRCH)?;
        match kind {
            CALLBACKTYPE_EVENT => vcpu.event_callback = address,
            CALLBACKTYPE_FAILSAFE => vcpu.failsafe_callback = address,
            CALLBACKTYPE_SYSCALL => vcpu.syscall_callback = (address, flags & CALLBACKF_MASK_EVENTS != 0),
            // Ways in that no 64-bit code takes, and what is the hypervisor's: taken note of is enough.
            CALLBACKTYPE_NMI | CALLBACKTYPE_SYSENTER | CALLBACKTYPE_SYSCALL32 => {}
            _ => return Err(Errno::ENOSYS),
        }
        Ok(0)
    }

    pub(super) fn stack_switch(&mut self, caller: Caller, [_, stack, ..]: [u64; 5]) -> Answer {
        self.vcpu_mut(caller.id).ok_or(Errno::ESRCH)?.kernel_stack = stack;
        Ok(0)
    }

    pub(super) fn xen_version(&mut self, caller: Caller, [operation, argument, ..]: [u64; 5]) -> Answer {
        let mut space = self.space(caller.id);
        match low(operation) {
            XENVER_VERSION => Ok(VERSION),
            XENVER_EXTRAVERSION => {
                let mut version = ExtraVersion { text: [0; 16] };
                version.text.iter_mut().zip(EXTRA_VERSION).for_each(|(to, from)| *to = *from);
                space.put(argument, &version).map(|()| 0)
            }
            XENVER_CAPABILITIES => {
                let mut text = vec![0; CAPABILITIES_LEN];
                text.iter_mut().zip(CAPABILITIES).for_each(|(to, from)| *to = *from);
                space.write(argument, &text).map(|()| 0)
            }
            XENVER_GET_FEATURES => {
                let mut info: FeatureInfo = space.get(argument)?;
                info.submap = if info.submap_idx == 0 { FEATURES } else { 0 };
                space.put(argument, &info).map(|()| 0)
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    pub(super) fn console_io(&mut self, caller: Caller, [command, count, buffer, ..]: [u64; 5]) -> Answer {
        if !self.is_privileged(caller) {
            return Err(Errno::EPERM);
        }
        if low(command) != CONSOLEIO_WRITE {
            return Err(Errno::ENOSYS);
        }
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(usize::MAX).min(PRINTED_MAX)];
        self.space(caller.id).read(buffer, &mut bytes)?;
        self.print(&bytes);
        u64::try_from(bytes.len()).map_err(|_| Errno::EINVAL)
    }
}
