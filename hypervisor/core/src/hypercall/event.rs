//! Event channels.

use super::{Answer, Caller, low};
use crate::errno::Errno;
use crate::event::Kick;
use crate::memory::Memory;
use crate::system::System;
use crate::vcpu::VcpuId;
use xen_abi::DomId;
use xen_abi::event::{
    AllocUnbound, BindInterdomain, BindIpi, BindVcpu, BindVirq, EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_BIND_INTERDOMAIN,
    EVTCHNOP_BIND_IPI, EVTCHNOP_BIND_VCPU, EVTCHNOP_BIND_VIRQ, EVTCHNOP_CLOSE, EVTCHNOP_RESET, EVTCHNOP_SEND,
    EVTCHNOP_STATUS, EVTCHNOP_UNMASK, PortOnly, Reset, Status,
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
            }
            EVTCHNOP_STATUS => {
                let mut op: Status = self.space(id).get(argument)?;
                let owner = self.own_or_controlled(caller, op.dom)?;
                let found = self.events.status(owner, op.port)?;
                op = Status { dom: op.dom, padding: op.padding, ..found };
                self.space(id).put(argument, &op)?;
            }
            _ => return Err(Errno::ENOSYS),
        }
        Ok(0)
    }

    /// Wakes whoever has something to see now.
    fn pass(&mut self, kick: Option<Kick>, caller: Caller) {
        if let Some(Kick { domain, .. }) = kick {
            let count = self.domains.get(&domain).map_or(0, |domain| domain.vcpus_max);
            for number in 0..count {
                self.kick(VcpuId { domain, number }, caller.now);
            }
        }
    }
}
