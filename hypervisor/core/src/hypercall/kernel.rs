//! What a kernel says of itself, and asks of the hypervisor.

use super::{Answer, Caller, element, low};
use crate::errno::Errno;
use crate::memory::Memory;
use crate::system::System;
use crate::vcpu::VECTORS;
use crate::walk::is_canonical;
use alloc::vec;
use alloc::vec::Vec;
use xen_abi::PAGE_SIZE;
use xen_abi::callback::{
    CALLBACKF_MASK_EVENTS, CALLBACKOP_REGISTER, CALLBACKOP_UNREGISTER, CALLBACKTYPE_EVENT, CALLBACKTYPE_FAILSAFE,
    CALLBACKTYPE_NMI, CALLBACKTYPE_SYSCALL, CALLBACKTYPE_SYSCALL32, CALLBACKTYPE_SYSENTER, CallbackRegister,
    CallbackUnregister,
};
use xen_abi::mmu::HYPERVISOR_VIRT_START;
use xen_abi::trap::TrapInfo;
use xen_abi::version::{
    CompileInfo, ExtraVersion, FeatureInfo, XENFEAT_DIRECT_MAPPED, XENFEAT_DOM0, XENFEAT_GNTTAB_MAP_AVAIL_BITS,
    XENFEAT_MMU_PT_UPDATE_PRESERVE_AD, XENFEAT_PAE_PGDIR_ABOVE_4GB, XENVER_BUILD_ID, XENVER_CAPABILITIES,
    XENVER_CHANGESET, XENVER_COMMANDLINE, XENVER_COMPILE_INFO, XENVER_EXTRAVERSION, XENVER_GET_FEATURES,
    XENVER_GUEST_HANDLE, XENVER_PAGESIZE, XENVER_PLATFORM_PARAMETERS, XENVER_VERSION,
};
use xen_abi::{CONSOLEIO_READ, CONSOLEIO_WRITE};
use zerocopy::FromZeros as _;

/// The interface that there is: Xen 4.17's.
const VERSION: u64 = 4 << 16 | 17;
const EXTRA_VERSION: &[u8] = b".core";
/// What it is for: 64-bit paravirtualised domains.
const CAPABILITIES: &[u8] = b"xen-3.0-x86_64 ";
const CAPABILITIES_LEN: usize = 1024;
/// What the hypervisor is: `name-version`, where Xen says from which change it was made.
const CHANGESET: &[u8] = concat!(env!("CARGO_PKG_NAME"), "-", env!("CARGO_PKG_VERSION")).as_bytes();
const CHANGESET_LEN: usize = 64;
/// What it was made by. Who made it, where and when is not told.
const COMPILER: &[u8] = b"rustc";
/// Bytes of the hypervisor's command line that domains can read.
const COMMAND_LINE_LEN: usize = 1024;
/// Bytes that say that they are not for others.
const DENIED_LEN: usize = 9;
/// Bytes of a domain's handle, which is zero: nobody gives one.
const HANDLE_LEN: usize = 16;
/// Features of domains: their page tables are theirs, in the machine's numbers.
const FEATURES: u32 = 1 << XENFEAT_MMU_PT_UPDATE_PRESERVE_AD
    | 1 << XENFEAT_PAE_PGDIR_ABOVE_4GB
    | 1 << XENFEAT_GNTTAB_MAP_AVAIL_BITS
    | 1 << XENFEAT_DIRECT_MAPPED;
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
            CALLBACKTYPE_SYSCALL32 => vcpu.syscall32_callback = (address, flags & CALLBACKF_MASK_EVENTS != 0),
            CALLBACKTYPE_SYSCALL => vcpu.syscall_callback = (address, flags & CALLBACKF_MASK_EVENTS != 0),
            // Ways in that no 64-bit code takes, and what is the hypervisor's: taken note of is enough.
            CALLBACKTYPE_NMI | CALLBACKTYPE_SYSENTER => {}
            _ => return Err(Errno::ENOSYS),
        }
        Ok(0)
    }

    pub(super) fn stack_switch(&mut self, caller: Caller, [_, stack, ..]: [u64; 5]) -> Answer {
        self.vcpu_mut(caller.id).ok_or(Errno::ESRCH)?.kernel_stack = stack;
        Ok(0)
    }

    pub(super) fn xen_version(&mut self, caller: Caller, [operation, argument, ..]: [u64; 5]) -> Answer {
        let is_control = self.is_privileged(caller);
        match low(operation) {
            XENVER_VERSION => Ok(VERSION),
            XENVER_EXTRAVERSION => {
                let mut version = ExtraVersion { text: [0; 16] };
                fill(&mut version.text, EXTRA_VERSION);
                self.space(caller.id).put(argument, &version).map(|()| 0)
            }
            XENVER_COMPILE_INFO => {
                let mut info = CompileInfo::new_zeroed();
                fill(&mut info.compiler, COMPILER);
                self.space(caller.id).put(argument, &info).map(|()| 0)
            }
            XENVER_CAPABILITIES => self.answer_text(caller, argument, CAPABILITIES, CAPABILITIES_LEN),
            XENVER_CHANGESET => self.answer_text(caller, argument, CHANGESET, CHANGESET_LEN),
            XENVER_PLATFORM_PARAMETERS => {
                let start = u64::try_from(HYPERVISOR_VIRT_START).map_err(|_| Errno::EINVAL)?;
                self.space(caller.id).put(argument, &start).map(|()| 0)
            }
            XENVER_GET_FEATURES => {
                let mut info: FeatureInfo = self.space(caller.id).get(argument)?;
                if info.submap_idx != 0 {
                    return Err(Errno::EINVAL);
                }
                info.submap = FEATURES | u32::from(is_control) << XENFEAT_DOM0;
                self.space(caller.id).put(argument, &info).map(|()| 0)
            }
            XENVER_PAGESIZE if argument == 0 => u64::try_from(PAGE_SIZE).map_err(|_| Errno::EINVAL),
            XENVER_PAGESIZE => Err(Errno::EINVAL),
            XENVER_GUEST_HANDLE => self.space(caller.id).put(argument, &[0_u8; HANDLE_LEN]).map(|()| 0),
            // What the hypervisor was told is the control domain's to know; Xen says this to others.
            XENVER_COMMANDLINE if !is_control => self.answer_text(caller, argument, b"<denied>", DENIED_LEN),
            XENVER_COMMANDLINE => {
                let line = self.command_line.clone();
                let shown = line.as_bytes().get(..COMMAND_LINE_LEN - 1).unwrap_or(line.as_bytes());
                self.answer_text(caller, argument, shown, COMMAND_LINE_LEN)
            }
            // It has none.
            XENVER_BUILD_ID => Err(if is_control { Errno::ENODATA } else { Errno::EPERM }),
            _ => Err(Errno::ENOSYS),
        }
    }

    /// Writes a text and zeros behind it: so many bytes.
    fn answer_text(&mut self, caller: Caller, argument: u64, text: &[u8], length: usize) -> Answer {
        let mut bytes = vec![0; length];
        fill(&mut bytes, text);
        self.space(caller.id).write(argument, &bytes).map(|()| 0)
    }

    pub(super) fn console_io(&mut self, caller: Caller, [command, count, buffer, ..]: [u64; 5]) -> Answer {
        if !self.is_privileged(caller) {
            return Err(Errno::EPERM);
        }
        if low(command) == CONSOLEIO_READ {
            let typed = self.take_typed(usize::try_from(count).unwrap_or(usize::MAX));
            self.space(caller.id).write(buffer, &typed)?;
            return u64::try_from(typed.len()).map_err(|_| Errno::EINVAL);
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

fn fill(to: &mut [u8], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}
