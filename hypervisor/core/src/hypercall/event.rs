//! Event channels.

use super::{Answer, Caller, low};
use crate::errno::Errno;
use crate::event::Kick;
use crate::grant::Access;
use crate::memory::{Memory, Mfn};
use crate::system::System;
use crate::vcpu::VcpuId;
use xen_abi::DomId;
use xen_abi::event::{
    AllocUnbound, BindInterdomain, BindIpi, BindVcpu, BindVirq, EVTCHN_FIFO_LINK_BITS, EVTCHNOP_ALLOC_UNBOUND,
    EVTCHNOP_BIND_INTERDOMAIN, EVTCHNOP_BIND_IPI, EVTCHNOP_BIND_VCPU, EVTCHNOP_BIND_VIRQ, EVTCHNOP_CLOSE,
    EVTCHNOP_EXPAND_ARRAY, EVTCHNOP_INIT_CONTROL, EVTCHNOP_RESET, EVTCHNOP_SEND, EVTCHNOP_SET_PRIORITY,
    EVTCHNOP_STATUS, EVTCHNOP_UNMASK, ExpandArray, InitControl, PortOnly, Reset, SetPriority, Status,
};

impl<M: Memory> System<M> {
    pub(super) fn event_channel_op(&mut self, caller: Caller, [operation, argument, ..]: [u64; 5]) -> Answer {
        let (id, domain) = (caller.id, caller.id.domain);
        match low(operation) {
            EVTCHNOP_ALLOC_UNBOUND => {
                let mut op: AllocUnbound = self.space(id).get(argument)?;
                let owner = self.own_or_controlled(caller, op.dom)?;
                let remote = if op.remote_dom == DomId::SELF { domain } else { op.remote_dom };
                op.port = self.events.alloc_unbound(owner, remote)?;
                self.space(id).put(argument, &op)?;
            }
            EVTCHNOP_BIND_INTERDOMAIN => {
                let mut op: BindInterdomain = self.space(id).get(argument)?;
                let remote = self.domain_of(caller, op.remote_dom)?;
                let bound = self.events.bind_interdomain(&mut self.memory, domain, remote, op.remote_port)?;
                let (port, kick) = bound;
                op.local_port = port;
                self.pass(kick, caller);
                self.space(id).put(argument, &op)?;
            }
            EVTCHNOP_BIND_VIRQ => {
                let mut op: BindVirq = self.space(id).get(argument)?;
                op.port = self.events.bind_virq(domain, op.virq, op.vcpu)?;
                self.space(id).put(argument, &op)?;
            }
            EVTCHNOP_BIND_IPI => {
                let mut op: BindIpi = self.space(id).get(argument)?;
                op.port = self.events.bind_ipi(domain, op.vcpu)?;
                self.space(id).put(argument, &op)?;
            }
            EVTCHNOP_CLOSE => {
                let op: PortOnly = self.space(id).get(argument)?;
                self.events.close(&mut self.memory, domain, op.port)?;
            }
            EVTCHNOP_SEND => {
                let op: PortOnly = self.space(id).get(argument)?;
                let kick = self.events.send(&mut self.memory, domain, op.port)?;
                self.pass(kick, caller);
            }
            EVTCHNOP_UNMASK => {
                let op: PortOnly = self.space(id).get(argument)?;
                let kick = self.events.unmask(&mut self.memory, domain, op.port)?;
                self.pass(kick, caller);
            }
            EVTCHNOP_BIND_VCPU => {
                let op: BindVcpu = self.space(id).get(argument)?;
                self.events.bind_vcpu(domain, op.port, op.vcpu)?;
            }
            EVTCHNOP_RESET => {
                let op: Reset = self.space(id).get(argument)?;
                let owner = self.own_or_controlled(caller, op.dom)?;
                self.events.reset(&mut self.memory, owner)?;
                self.end_fifo(owner);
            }
            EVTCHNOP_STATUS => {
                let mut op: Status = self.space(id).get(argument)?;
                let owner = self.own_or_controlled(caller, op.dom)?;
                let found = self.events.status(owner, op.port)?;
                op = Status { dom: op.dom, padding: op.padding, ..found };
                self.space(id).put(argument, &op)?;
            }
            EVTCHNOP_INIT_CONTROL => {
                let mut op: InitControl = self.space(id).get(argument)?;
                let frame = Mfn(op.control_gfn);
                let Self { events, frames, memory, .. } = self;
                events.init_control(memory, domain, op.vcpu, (frame, op.offset), |memory| {
                    frames.hold(memory, domain, frame, Access::Write)
                })?;
                op.link_bits = u8::try_from(EVTCHN_FIFO_LINK_BITS).unwrap_or(u8::MAX);
                self.space(id).put(argument, &op)?;
            }
            EVTCHNOP_EXPAND_ARRAY => {
                let op: ExpandArray = self.space(id).get(argument)?;
                let frame = Mfn(op.array_gfn);
                let Self { events, frames, memory, .. } = self;
                let kicks = events
                    .expand_array(memory, domain, frame, |memory| frames.hold(memory, domain, frame, Access::Write))?;
                kicks.into_iter().for_each(|kick| self.pass(Some(kick), caller));
            }
            EVTCHNOP_SET_PRIORITY => {
                let op: SetPriority = self.space(id).get(argument)?;
                self.events.set_priority(domain, op.port, op.priority)?;
            }
            _ => return Err(Errno::ENOSYS),
        }
        Ok(0)
    }

    /// A domain is back at the two-level ABI, and has its frames for itself.
    pub fn end_fifo(&mut self, domain: DomId) {
        for frame in self.events.end_fifo(domain) {
            self.frames.let_go(&mut self.memory, frame, Access::Write);
        }
    }

    /// Wakes whoever has something to see now.
    fn pass(&mut self, kick: Option<Kick>, caller: Caller) {
        if let Some(Kick { domain, .. }) = kick {
            let count = self.domains.get(&domain).map_or(0, |domain| domain.vcpus.len());
            for number in (0..).take(count) {
                self.kick(VcpuId { domain, number }, caller.now);
            }
        }
    }
}
