//! Page tables.

use super::{Answer, Caller, element};
use crate::entry::Level;
use crate::errno::Errno;
use crate::memory::{Memory, Mfn};
use crate::system::System;
use crate::vcpu::VcpuId;
use xen_abi::DomId;
use xen_abi::mmu::{
    MMU_MACHPHYS_UPDATE, MMU_NORMAL_PT_UPDATE, MMU_PT_UPDATE_NO_TRANSLATE, MMU_PT_UPDATE_PRESERVE_AD,
    MMUEXT_INVLPG_LOCAL, MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR, MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L4_TABLE,
    MMUEXT_SET_LDT, MMUEXT_TLB_FLUSH_LOCAL, MMUEXT_UNPIN_TABLE, MmuUpdate, MmuextOp,
};

/// Changes that a call may make: a domain does not keep the processor for longer.
const UPDATES_MAX: u64 = 4096;

impl<M: Memory> System<M> {
    /// Whose pages the entries are for.
    fn page_owner(&self, caller: Caller, argument: u64) -> Result<DomId, Errno> {
        let [low, high, ..] = argument.to_le_bytes();
        let domain = DomId(u16::from_le_bytes([low, high]));
        if domain == DomId::SELF {
            return Ok(caller.id.domain);
        }
        // Nobody's pages: registers of devices.
        if domain == DomId::IO && self.is_privileged(caller) {
            return Ok(domain);
        }
        // Who means itself has to say so.
        if domain == caller.id.domain || !self.domains.contains_key(&domain) {
            return Err(Errno::ESRCH);
        }
        if self.is_privileged(caller) { Ok(domain) } else { Err(Errno::EPERM) }
    }

    pub(super) fn mmu_update(&mut self, caller: Caller, [list, count, done, owner, _]: [u64; 5]) -> Answer {
        let owner = self.page_owner(caller, owner)?;
        if count > UPDATES_MAX {
            return Err(Errno::EINVAL);
        }
        self.reload = true;
        let mut made = 0_u32;
        let mut outcome = Ok(0);
        for number in 0..count {
            outcome = element(list, number, size_of::<MmuUpdate>())
                .and_then(|place| self.space(caller.id).get::<MmuUpdate>(place))
                .and_then(|update| self.update(caller, owner, update));
            if outcome.is_err() {
                break;
            }
            made = made.saturating_add(1);
        }
        if done != 0 {
            self.space(caller.id).put(done, &made)?;
        }
        outcome
    }

    fn update(&mut self, caller: Caller, owner: DomId, MmuUpdate { ptr, val }: MmuUpdate) -> Answer {
        let domain = caller.id.domain;
        let (table, index) = (Mfn::of(ptr), usize::try_from(ptr & 0xff8).unwrap_or(0) / 8);
        match ptr & 3 {
            command @ (MMU_NORMAL_PT_UPDATE | MMU_PT_UPDATE_PRESERVE_AD | MMU_PT_UPDATE_NO_TRANSLATE) => {
                let keeps = command == MMU_PT_UPDATE_PRESERVE_AD;
                self.frames.update(&mut self.memory, domain, owner, (table, index), val, keeps)?;
            }
            MMU_MACHPHYS_UPDATE => {
                if self.frames.owner(table) != Some(owner) {
                    return Err(Errno::EINVAL);
                }
                self.set_physical(table, val);
            }
            _ => return Err(Errno::ENOSYS),
        }
        Ok(0)
    }

    pub(super) fn update_va_mapping(&mut self, caller: Caller, [address, value, ..]: [u64; 5]) -> Answer {
        let place = self.space(caller.id).lowest(address).map_err(|_| Errno::EINVAL)?;
        self.reload = true;
        let domain = caller.id.domain;
        self.frames.update(&mut self.memory, domain, domain, place, value, false)?;
        Ok(0)
    }

    pub(super) fn mmuext_op(&mut self, caller: Caller, [list, count, done, owner, _]: [u64; 5]) -> Answer {
        let owner = self.page_owner(caller, owner)?;
        if count > UPDATES_MAX {
            return Err(Errno::EINVAL);
        }
        self.reload = true;
        let mut made = 0_u32;
        let mut outcome = Ok(0);
        for number in 0..count {
            outcome = element(list, number, size_of::<MmuextOp>())
                .and_then(|place| self.space(caller.id).get::<MmuextOp>(place))
                .and_then(|operation| self.extended(caller, owner, operation));
            if outcome.is_err() {
                break;
            }
            made = made.saturating_add(1);
        }
        if done != 0 {
            self.space(caller.id).put(done, &made)?;
        }
        outcome
    }

    /// A vCPU takes another top table.
    pub(crate) fn set_top(&mut self, id: VcpuId, frame: Mfn) -> Result<(), Errno> {
        self.frames.load_top(&mut self.memory, id.domain, frame)?;
        self.reload = true;
        let vcpu = self.vcpu_mut(id).ok_or(Errno::ESRCH)?;
        let before = core::mem::replace(&mut vcpu.top, frame);
        // The processor has it still, and it may be no table any more in a moment.
        self.memory.leave_tables();
        self.frames.unload_top(&mut self.memory, before);
        Ok(())
    }

    fn extended(&mut self, caller: Caller, owner: DomId, operation: MmuextOp) -> Answer {
        const LEVELS: [Level; 4] = [Level::L1, Level::L2, Level::L3, Level::L4];
        let (domain, frame) = (caller.id.domain, Mfn(operation.arg1));
        match operation.cmd {
            command @ MMUEXT_PIN_L1_TABLE..=MMUEXT_PIN_L4_TABLE => {
                let level = usize::try_from(command).ok().and_then(|level| LEVELS.get(level)).ok_or(Errno::EINVAL)?;
                self.frames.pin(&mut self.memory, owner, frame, *level)?;
            }
            MMUEXT_UNPIN_TABLE => self.frames.unpin(&mut self.memory, owner, frame)?,
            // What follows is about the processor of the one who calls.
            _ if owner != domain => return Err(Errno::EPERM),
            MMUEXT_NEW_BASEPTR => {
                self.set_top(caller.id, frame)?;
            }
            MMUEXT_NEW_USER_BASEPTR => {
                // Frame 0 is nobody's: there is no user mode any more.
                let new = Some(frame).filter(|frame| *frame != Mfn(0));
                if let Some(frame) = new {
                    self.frames.load_top(&mut self.memory, domain, frame)?;
                }
                let vcpu = self.vcpu_mut(caller.id).ok_or(Errno::ESRCH)?;
                if let Some(before) = core::mem::replace(&mut vcpu.user_top, new) {
                    self.frames.unload_top(&mut self.memory, before);
                }
            }
            MMUEXT_SET_LDT => self.set_local_table(caller.id, operation.arg1, operation.arg2 & 0xffff_ffff)?,
            // All translations are forgotten at the end of the call.
            MMUEXT_TLB_FLUSH_LOCAL | MMUEXT_INVLPG_LOCAL => {}
            _ => return Err(Errno::ENOSYS),
        }
        Ok(0)
    }
}
