//! What the control domain does with others.

use super::{Answer, Caller};
use crate::build::hypercall_page;
use crate::errno::Errno;
use crate::memory::{Memory, Mfn};
use crate::system::System;
use crate::vcpu::{State, VcpuId};
use xen_abi::DomId;
use xen_abi::domctl::{
    CreateDomain, Domctl, GetDomainInfo, HypercallInit, MaxMem, MaxVcpus, VcpuContext, XEN_DOMCTL_CREATEDOMAIN,
    XEN_DOMCTL_DESTROYDOMAIN, XEN_DOMCTL_GETDOMAININFO, XEN_DOMCTL_HYPERCALL_INIT, XEN_DOMCTL_INTERFACE_VERSION,
    XEN_DOMCTL_MAX_MEM, XEN_DOMCTL_MAX_VCPUS, XEN_DOMCTL_PAUSEDOMAIN, XEN_DOMCTL_RESUMEDOMAIN,
    XEN_DOMCTL_SETVCPUCONTEXT, XEN_DOMCTL_UNPAUSEDOMAIN, XEN_DOMINF_BLOCKED, XEN_DOMINF_PAUSED, XEN_DOMINF_RUNNING,
    XEN_DOMINF_SHUTDOWN, XEN_DOMINF_SHUTDOWNSHIFT, XEN_INVALID_MAX_VCPU_ID,
};
use zerocopy::{FromBytes, IntoBytes as _};

impl<M: Memory> System<M> {
    pub(super) fn domctl(&mut self, caller: Caller, [place, ..]: [u64; 5]) -> Answer {
        if !self.is_privileged(caller) {
            return Err(Errno::EPERM);
        }
        let mut call: Domctl = self.space(caller.id).get(place)?;
        if call.interface_version != XEN_DOMCTL_INTERFACE_VERSION {
            return Err(Errno::EACCES);
        }
        match call.cmd {
            XEN_DOMCTL_CREATEDOMAIN => {
                call.domain = self.create_domain(call.domain, &argument(&call)?, caller.now)?;
                self.space(caller.id).put(place, &call)?;
            }
            XEN_DOMCTL_GETDOMAININFO => {
                let info = self.info(call.domain, caller.now)?;
                info.write_to_prefix(&mut call.argument).map_err(|_| Errno::EINVAL)?;
                self.space(caller.id).put(place, &call)?;
            }
            _ => self.change(caller, &call)?,
        }
        Ok(0)
    }

    fn create_domain(&mut self, wanted: DomId, how: &CreateDomain, now: u64) -> Result<DomId, Errno> {
        // Neither HVM nor anything else that has a flag is there.
        if how.flags != 0 || how.emulation_flags != 0 {
            return Err(Errno::EINVAL);
        }
        let is_any = wanted.0 == 0 || wanted.0 >= DomId::FIRST_RESERVED.0;
        let domain = if is_any { self.free_number().ok_or(Errno::ENOMEM)? } else { wanted };
        self.create(domain, how.handle, how.max_vcpus, now).map(|_| domain)
    }

    /// What has no answer but whether it was done. A domain does it to others only.
    fn change(&mut self, caller: Caller, call: &Domctl) -> Result<(), Errno> {
        let domain = call.domain;
        let what = self.domains.get_mut(&domain).ok_or(Errno::ESRCH)?;
        if domain == caller.id.domain {
            return Err(Errno::EINVAL);
        }
        match call.cmd {
            XEN_DOMCTL_DESTROYDOMAIN => self.destroy(domain),
            XEN_DOMCTL_PAUSEDOMAIN => self.pause(domain),
            XEN_DOMCTL_UNPAUSEDOMAIN => {
                // It has nothing to run on yet.
                if !what.vcpus.first().is_some_and(|vcpu| vcpu.is_initialised) {
                    return Err(Errno::EINVAL);
                }
                self.unpause(domain, caller.now);
                Ok(())
            }
            XEN_DOMCTL_RESUMEDOMAIN => self.resume(domain, caller.now),
            XEN_DOMCTL_MAX_MEM => {
                let MaxMem { max_memkb } = argument(call)?;
                what.pages_max = max_memkb / 4;
                Ok(())
            }
            XEN_DOMCTL_MAX_VCPUS => {
                let MaxVcpus { max } = argument(call)?;
                // That was said when it was made.
                if usize::try_from(max) == Ok(what.vcpus.len()) { Ok(()) } else { Err(Errno::EINVAL) }
            }
            XEN_DOMCTL_SETVCPUCONTEXT => {
                let VcpuContext { vcpu, ctxt, .. } = argument(call)?;
                let context = self.space(caller.id).get(ctxt)?;
                self.set_context(VcpuId { domain, number: vcpu }, &context, caller.now)
            }
            XEN_DOMCTL_HYPERCALL_INIT => {
                let HypercallInit { gmfn } = argument(call)?;
                self.make_hypercall_page(domain, Mfn(gmfn))
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    fn make_hypercall_page(&mut self, domain: DomId, frame: Mfn) -> Result<(), Errno> {
        self.frames.write(&mut self.memory, domain, frame, &hypercall_page())
    }

    fn info(&self, domain: DomId, now: u64) -> Result<GetDomainInfo, Errno> {
        let what = self.domains.get(&domain).ok_or(Errno::ESRCH)?;
        let mut info = GetDomainInfo {
            domain,
            tot_pages: what.pages,
            max_pages: what.pages_max,
            shared_info_frame: what.shared_info.0,
            handle: what.handle,
            max_vcpu_id: XEN_INVALID_MAX_VCPU_ID,
            gpaddr_bits: 64,
            ..GetDomainInfo::default()
        };
        let mut all_blocked = true;
        for (number, vcpu) in (0..).zip(&what.vcpus) {
            // The first of them is the time that it ran.
            let times = vcpu.runstate(now);
            info.cpu_time = info.cpu_time.saturating_add(times.time.first().copied().unwrap_or(0));
            info.max_vcpu_id = number;
            if vcpu.state != State::Offline {
                info.nr_online_vcpus = info.nr_online_vcpus.saturating_add(1);
                all_blocked &= vcpu.state != State::Ready;
            }
            if self.running() == Some(VcpuId { domain, number }) {
                info.flags |= XEN_DOMINF_RUNNING;
            }
        }
        if all_blocked {
            info.flags |= XEN_DOMINF_BLOCKED;
        }
        if what.pauses > 0 {
            info.flags |= XEN_DOMINF_PAUSED;
        }
        if let Some(reason) = what.shutdown {
            info.flags |= XEN_DOMINF_SHUTDOWN | (reason & 0xff) << XEN_DOMINF_SHUTDOWNSHIFT;
        }
        Ok(info)
    }
}

fn argument<T: FromBytes>(call: &Domctl) -> Result<T, Errno> {
    T::read_from_prefix(&call.argument).map(|(argument, _)| argument).map_err(|_| Errno::EINVAL)
}
