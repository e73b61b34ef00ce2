//! Running, waiting, and the end.

use super::{Answer, Caller, element, low};
use crate::errno::Errno;
use crate::grant::Access;
use crate::memory::{Memory, Mfn};
use crate::system::System;
use crate::vcpu::State;
use crate::walk::is_domains;
use alloc::vec::Vec;
use xen_abi::Port;
use xen_abi::sched::{
    SCHEDOP_BLOCK, SCHEDOP_POLL, SCHEDOP_REMOTE_SHUTDOWN, SCHEDOP_SHUTDOWN, SCHEDOP_YIELD, SchedPoll,
    SchedRemoteShutdown, SchedShutdown,
};
use xen_abi::vcpu::{
    RegisterVcpuInfo, VCPUOP_DOWN, VCPUOP_GET_RUNSTATE_INFO, VCPUOP_INITIALISE, VCPUOP_IS_UP,
    VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, VCPUOP_REGISTER_VCPU_INFO, VCPUOP_SET_SINGLESHOT_TIMER,
    VCPUOP_STOP_PERIODIC_TIMER, VCPUOP_STOP_SINGLESHOT_TIMER, VCPUOP_UP,
};

/// Ports that may be waited for at once, as in Xen.
const POLLED_MAX: u32 = 128;

impl<M: Memory> System<M> {
    pub(super) fn sched_op(&mut self, caller: Caller, [operation, argument, ..]: [u64; 5]) -> Answer {
        let id = caller.id;
        match low(operation) {
            SCHEDOP_YIELD => self.let_others_run(),
            SCHEDOP_BLOCK => {
                self.set_masked(id, false);
                if !self.events.upcall_pending(&self.memory, id.domain, id.number) {
                    self.wait(caller, State::Blocked);
                }
            }
            SCHEDOP_POLL => {
                let poll: SchedPoll = self.space(id).get(argument)?;
                self.poll(caller, poll)?;
            }
            SCHEDOP_SHUTDOWN => {
                let shutdown: SchedShutdown = self.space(id).get(argument)?;
                self.shut_down(id.domain, shutdown.reason);
            }
            SCHEDOP_REMOTE_SHUTDOWN => {
                let wanted: SchedRemoteShutdown = self.space(id).get(argument)?;
                if !self.is_privileged(caller) {
                    return Err(Errno::EPERM);
                }
                let domain = self.domain_of(caller, wanted.domain_id)?;
                self.shut_down(domain, wanted.reason);
            }
            _ => return Err(Errno::ENOSYS),
        }
        Ok(0)
    }

    fn poll(&mut self, caller: Caller, poll: SchedPoll) -> Result<(), Errno> {
        if poll.nr_ports > POLLED_MAX {
            return Err(Errno::EINVAL);
        }
        let mut ports = Vec::new();
        for number in 0..u64::from(poll.nr_ports) {
            ports.push(self.space(caller.id).get::<Port>(element(poll.ports, number, size_of::<Port>())?)?);
        }
        let (id, until) = (caller.id, Some(poll.timeout).filter(|at| *at != 0));
        let is_there = ports.iter().any(|port| self.events.is_pending(&self.memory, id.domain, *port));
        let is_late = until.is_some_and(|at| at <= caller.now);
        let has_upcall = !self.is_masked(id) && self.events.upcall_pending(&self.memory, id.domain, id.number);
        if !is_there && !is_late && !has_upcall {
            self.wait(caller, State::Polling(ports, until));
        }
        Ok(())
    }

    fn wait(&mut self, caller: Caller, state: State) {
        if let Some(vcpu) = self.vcpu_mut(caller.id) {
            vcpu.state = state;
        }
    }

    pub(super) fn set_timer_op(&mut self, caller: Caller, [at, ..]: [u64; 5]) -> Answer {
        self.vcpu_mut(caller.id).ok_or(Errno::ESRCH)?.timer = Some(at).filter(|at| *at != 0);
        Ok(0)
    }

    pub(super) fn vcpu_op(&mut self, caller: Caller, [operation, vcpu, argument, ..]: [u64; 5]) -> Answer {
        let id = crate::vcpu::VcpuId { number: low(vcpu), ..caller.id };
        self.vcpu(id).ok_or(Errno::ENOENT)?;
        match low(operation) {
            VCPUOP_INITIALISE => return self.initialise(caller, id, argument),
            VCPUOP_UP => self.bring_up(id, caller.now)?,
            VCPUOP_DOWN => return self.take_down(id),
            VCPUOP_IS_UP => {
                return self.vcpu(id).map(|vcpu| (vcpu.state != State::Offline).into()).ok_or(Errno::ENOENT);
            }
            VCPUOP_GET_RUNSTATE_INFO => {
                let info = self.vcpu(id).ok_or(Errno::ENOENT)?.runstate(caller.now);
                self.space(caller.id).put(argument, &info)?;
            }
            VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA => {
                let address: u64 = self.space(caller.id).get(argument)?;
                if !is_domains(address) {
                    return Err(Errno::EFAULT);
                }
                self.vcpu_mut(id).ok_or(Errno::ENOENT)?.runstate_area = Some(address);
                self.tell_runstate(id, caller.now);
            }
            VCPUOP_REGISTER_VCPU_INFO => {
                let RegisterVcpuInfo { mfn, offset, .. } = self.space(caller.id).get(argument)?;
                let (domain, frame) = (id.domain, Mfn(mfn));
                let place = (frame, usize::try_from(offset).map_err(|_| Errno::EINVAL)?);
                let Self { events, frames, memory, .. } = self;
                events.move_vcpu_info(memory, domain, id.number, place, |memory| {
                    frames.hold(memory, domain, frame, Access::Write)
                })?;
            }
            // There is none.
            VCPUOP_STOP_PERIODIC_TIMER => {}
            VCPUOP_SET_SINGLESHOT_TIMER if id == caller.id => {
                // `struct vcpu_set_singleshot_timer`: when, and flags.
                let [at, flags]: [u64; 2] = self.space(caller.id).get(argument)?;
                // VCPU_SSHOTTMR_future: not if it is past.
                if flags & 1 != 0 && at <= caller.now {
                    return Err(Errno(xen_abi::errno::ETIME));
                }
                self.vcpu_mut(id).ok_or(Errno::ENOENT)?.timer = Some(at);
            }
            VCPUOP_STOP_SINGLESHOT_TIMER if id == caller.id => {
                self.vcpu_mut(id).ok_or(Errno::ENOENT)?.timer = None;
            }
            // These are a vCPU's own.
            VCPUOP_SET_SINGLESHOT_TIMER | VCPUOP_STOP_SINGLESHOT_TIMER => return Err(Errno::EINVAL),
            _ => return Err(Errno::ENOSYS),
        }
        Ok(0)
    }
}
