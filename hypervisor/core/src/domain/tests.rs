//! The first domain makes another one, as a toolstack does: by hypercalls alone.

use super::*;
use crate::entry::Entry;
use crate::hypercall::tests::{Domain as First, SCRATCH, domain as first, kernel};
use crate::memory::TestMemory;
use domain_builder::{Image, Pages, Refusal, Start, Surroundings};
use xen_abi::domctl::{
    CreateDomain, Domctl, GetDomainInfo, HypercallInit, MaxMem, MaxVcpus, VcpuContext, XEN_DOMCTL_CREATEDOMAIN,
    XEN_DOMCTL_DESTROYDOMAIN, XEN_DOMCTL_GETDOMAININFO, XEN_DOMCTL_HYPERCALL_INIT, XEN_DOMCTL_INTERFACE_VERSION,
    XEN_DOMCTL_MAX_MEM, XEN_DOMCTL_MAX_VCPUS, XEN_DOMCTL_PAUSEDOMAIN, XEN_DOMCTL_RESUMEDOMAIN,
    XEN_DOMCTL_SETVCPUCONTEXT, XEN_DOMCTL_UNPAUSEDOMAIN, XEN_DOMINF_PAUSED, XEN_DOMINF_SHUTDOWN,
};
use xen_abi::event::{BindVirq, EVTCHNOP_BIND_VIRQ, VIRQ_DOM_EXC};
use xen_abi::memory::{
    MemoryDomain, MemoryReservation, XENMEM_CURRENT_RESERVATION, XENMEM_DECREASE_RESERVATION, XENMEM_POPULATE_PHYSMAP,
};
use xen_abi::mmu::{MMUEXT_PIN_L4_TABLE, MMUEXT_UNPIN_TABLE, MmuUpdate, MmuextOp};
use xen_abi::sched::{SCHEDOP_BLOCK, SCHEDOP_REMOTE_SHUTDOWN, SchedRemoteShutdown};
use xen_abi::vcpu::{CpuUserRegs, VGCF_IN_KERNEL};
use xen_abi::{Hypercall, Port};
use zerocopy::{FromBytes as _, FromZeros as _, Immutable, IntoBytes};

/// Pages of the domain that is made.
const PAGES: u64 = 1536;
/// Where the operations of a call lie, and what they point to.
const POINTED: u64 = SCRATCH + 0x1000;

impl First {
    fn control(&mut self, cmd: u32, domain: DomId, argument: &[u8]) -> (i64, Domctl) {
        let mut call = Domctl::new_zeroed();
        (call.cmd, call.interface_version, call.domain) = (cmd, XEN_DOMCTL_INTERFACE_VERSION, domain);
        call.argument[..argument.len()].copy_from_slice(argument);
        let place = self.put(SCRATCH, &call);
        (self.call(Hypercall::Domctl, [place, 0, 0, 0]), self.get(SCRATCH))
    }

    fn change(&mut self, cmd: u32, domain: DomId, argument: &(impl IntoBytes + Immutable)) -> i64 {
        self.control(cmd, domain, argument.as_bytes()).0
    }

    fn info(&mut self, domain: DomId) -> Option<GetDomainInfo> {
        let (result, call) = self.control(XEN_DOMCTL_GETDOMAININFO, domain, &[]);
        (result == 0).then(|| GetDomainInfo::read_from_prefix(&call.argument).unwrap().0)
    }

    fn populate(&mut self, domain: DomId, pages: core::ops::Range<u64>) -> Vec<u64> {
        let mut frames = Vec::new();
        let list: Vec<u64> = pages.collect();
        for part in list.chunks(256) {
            for (at, page) in (POINTED..).step_by(8).zip(part) {
                self.put(at, page);
            }
            let (domid, nr_extents) = (domain, part.len() as u64);
            let op = MemoryReservation { extent_start: POINTED, nr_extents, domid, ..MemoryReservation::default() };
            let place = self.put(SCRATCH, &op);
            let done = self.call(Hypercall::MemoryOp, [XENMEM_POPULATE_PHYSMAP.into(), place, 0, 0]);
            frames.extend((0..done.max(0).cast_unsigned()).map(|number| self.get::<u64>(POINTED + number * 8)));
        }
        frames
    }

    fn extended(&mut self, owner: DomId, cmd: u32, frame: u64) -> i64 {
        let place = self.put(SCRATCH, &MmuextOp { cmd, arg1: frame, ..MmuextOp::default() });
        self.call(Hypercall::MmuextOp, [place, 1, 0, owner.0.into()])
    }

    /// Maps a frame of a domain at one of our addresses.
    fn map(&mut self, owner: DomId, address: u64, value: u64) -> i64 {
        let (table, index, _) = self.entry(address);
        let place = self.put(SCRATCH, &MmuUpdate { ptr: table.address() + 8 * index as u64, val: value });
        self.call(Hypercall::MmuUpdate, [place, 1, 0, owner.0.into()])
    }
}

struct Direct<'a>(&'a mut TestMemory, &'a [u64]);

impl Pages for Direct<'_> {
    fn frame(&self, page: u64) -> Option<u64> {
        self.1.get(usize::try_from(page).ok()?).copied()
    }

    fn write(&mut self, page: u64, offset: usize, bytes: &[u8]) -> Result<(), Refusal> {
        let frame = self.frame(page).ok_or_else(|| Refusal("no page".into()))?;
        self.0.write(Mfn(frame), offset, bytes);
        Ok(())
    }
}

/// Makes a domain, up to where it can run.
fn second(first: &mut First) -> (DomId, Start, Vec<u64>) {
    let how = CreateDomain { max_vcpus: 1, handle: [9; 16], ..CreateDomain::default() };
    let (result, call) = first.control(XEN_DOMCTL_CREATEDOMAIN, DomId(0), how.as_bytes());
    assert_eq!(result, 0);
    let domain = call.domain;
    assert_eq!(first.change(XEN_DOMCTL_MAX_VCPUS, domain, &MaxVcpus { max: 1 }), 0);
    assert!(first.populate(domain, 0..1).is_empty(), "it may not have any yet");
    assert_eq!(first.change(XEN_DOMCTL_MAX_MEM, domain, &MaxMem { max_memkb: PAGES * 4 }), 0);
    let frames = first.populate(domain, 0..PAGES);
    assert_eq!(frames.len() as u64, PAGES);
    assert!(first.populate(domain, 0..1).is_empty(), "nor more than that");
    let info = first.info(domain).unwrap();
    assert_eq!((info.tot_pages, info.flags & XEN_DOMINF_PAUSED, info.handle), (PAGES, XEN_DOMINF_PAUSED, [9; 16]));
    let file = kernel();
    let image = Image { kernel: &file, command_line: "", modules: &[], pages: PAGES };
    let around = Surroundings { shared_info: info.shared_info_frame, flags: 0, ports: Some((Port(1), Port(2))) };
    let start = domain_builder::build(&image, &around, &mut Direct(&mut first.system.memory, &frames)).unwrap();
    let page = HypercallInit { gmfn: start.hypercall_page.unwrap() };
    assert_eq!(first.change(XEN_DOMCTL_HYPERCALL_INIT, domain, &page), 0);
    assert_eq!(first.change(XEN_DOMCTL_UNPAUSEDOMAIN, domain, &[0_u8; 0]), Errno::EINVAL.result(), "no processor");
    assert_eq!(first.extended(domain, MMUEXT_PIN_L4_TABLE, start.top), 0);
    let context = context(first, &start);
    assert_eq!(first.change(XEN_DOMCTL_SETVCPUCONTEXT, domain, &context), 0);
    (domain, start, frames)
}

/// Puts what a processor begins with where the call finds it.
fn context(first: &mut First, start: &Start) -> VcpuContext {
    let mut context = VcpuGuestContext::new_zeroed();
    context.flags = VGCF_IN_KERNEL | VGCF_ONLINE;
    context.user_regs =
        CpuUserRegs { rip: start.entry, rsi: start.start_info, rsp: start.stack, ..CpuUserRegs::default() };
    context.ctrlreg[3] = start.top << 12;
    VcpuContext { vcpu: 0, padding: 0, ctxt: first.put(POINTED, &context) }
}

#[test]
fn a_domain_is_made_runs_ends_and_is_taken_apart() {
    let mut first = first();
    let free = first.system.frames.free_count();
    let virq = first.put(SCRATCH, &BindVirq { virq: VIRQ_DOM_EXC, ..BindVirq::default() });
    assert_eq!(first.call(Hypercall::EventChannelOp, [EVTCHNOP_BIND_VIRQ.into(), virq, 0, 0]), 0);
    let port = first.get::<BindVirq>(virq).port;
    let (domain, start, frames) = second(&mut first);
    assert_eq!(domain, DomId(1));

    let id = VcpuId { domain, number: 0 };
    assert!(!first.system.can_run(id));
    assert_eq!(first.change(XEN_DOMCTL_UNPAUSEDOMAIN, domain, &[0_u8; 0]), 0);
    assert_eq!(first.call(Hypercall::SchedOp, [SCHEDOP_BLOCK.into(), 0, 0, 0]), 0);
    assert_eq!(first.system.next(2000).vcpu, Some(id));
    let registers = first.system.vcpu(id).unwrap().registers;
    assert_eq!((registers.rip, registers.rsi, registers.rsp), (start.entry, start.start_info, start.stack));

    // It ends, and the first one, which waits, is told.
    first.system.shut_down(domain, 1);
    assert_eq!(first.system.next(3000).vcpu, Some(first.id));
    assert!(first.system.events.is_pending(&first.system.memory, DomId(0), port));
    let flags = first.info(domain).unwrap().flags;
    assert_eq!((flags & XEN_DOMINF_SHUTDOWN, flags >> 16), (XEN_DOMINF_SHUTDOWN, 1));
    assert_eq!(first.change(XEN_DOMCTL_RESUMEDOMAIN, domain, &[0_u8; 0]), 0);
    assert!(first.system.can_run(id));
    assert_eq!(first.change(XEN_DOMCTL_PAUSEDOMAIN, domain, &[0_u8; 0]), 0);
    assert!(!first.system.can_run(id));

    // A page that we look at outlives it, and so does its number.
    let (.., own) = first.entry(SCRATCH + 0x3000);
    let foreign = Entry::new(Mfn(frames[700]), own.0 & 0xfff).0;
    assert_eq!(first.map(domain, SCRATCH + 0x3000, foreign), 0);
    first.put(SCRATCH + 0x3000, &0x1234_u64);
    assert_eq!(first.change(XEN_DOMCTL_DESTROYDOMAIN, domain, &[0_u8; 0]), 0);
    assert!(first.info(domain).is_none() && first.system.vcpu(id).is_none());
    assert_eq!(first.system.frames.free_count(), free - 1);
    assert_eq!(first.get::<u64>(SCRATCH + 0x3000), 0x1234);
    let how = CreateDomain { max_vcpus: 1, ..CreateDomain::default() };
    assert_eq!(first.change(XEN_DOMCTL_CREATEDOMAIN, domain, &how), Errno::EEXIST.result());
    assert_eq!(first.system.free_number(), Some(DomId(2)));
    assert_eq!(first.map(DomId::SELF, SCRATCH + 0x3000, own.0), 0);
    assert_eq!(first.system.frames.free_count(), free);
    assert_eq!(first.system.free_number(), Some(DomId(2)), "there is no hurry");
    assert_eq!(first.change(XEN_DOMCTL_CREATEDOMAIN, domain, &how), 0);
}

#[test]
fn what_a_domain_has_is_not_changed_behind_its_tables() {
    let mut first = first();
    let (domain, start, frames) = second(&mut first);
    let (.., own) = first.entry(SCRATCH + 0x3000);
    let writable = |frame: u64| Entry::new(Mfn(frame), own.0 & 0xfff).0;
    // A page table of the other one is mapped, but not to be written.
    assert_eq!(first.map(domain, SCRATCH + 0x3000, writable(start.top)), Errno::EINVAL.result());
    assert_eq!(first.map(domain, SCRATCH + 0x3000, writable(start.top) & !Entry::WRITABLE), 0);
    // Our page is not its page, nor the other way round.
    assert_eq!(first.map(domain, SCRATCH + 0x3000, own.0), Errno::EINVAL.result());
    assert_eq!(first.map(DomId::SELF, SCRATCH + 0x3000, writable(frames[700])), Errno::EINVAL.result());
    assert_eq!(first.extended(DomId::SELF, MMUEXT_UNPIN_TABLE, start.top), Errno::EINVAL.result());
    assert_eq!(
        first.change(XEN_DOMCTL_HYPERCALL_INIT, domain, &HypercallInit { gmfn: start.top }),
        Errno::EINVAL.result()
    );
    // A page that is in use is not taken away; one that is not, is.
    let take = |first: &mut First, frame: u64| {
        first.put(POINTED, &frame);
        let op =
            MemoryReservation { extent_start: POINTED, nr_extents: 1, domid: domain, ..MemoryReservation::default() };
        let place = first.put(SCRATCH, &op);
        first.call(Hypercall::MemoryOp, [XENMEM_DECREASE_RESERVATION.into(), place, 0, 0])
    };
    assert_eq!((take(&mut first, start.top), take(&mut first, frames[PAGES as usize - 1])), (0, 1));
    let place = first.put(SCRATCH, &MemoryDomain { domid: domain });
    let pages = first.call(Hypercall::MemoryOp, [XENMEM_CURRENT_RESERVATION.into(), place, 0, 0]);
    assert_eq!(pages.cast_unsigned(), PAGES - 1);
}

#[test]
fn who_is_not_privileged_controls_nobody() {
    let mut first = first();
    let (domain, ..) = second(&mut first);
    let call = Domctl { domain, ..Domctl::new_zeroed() };
    let place = first.put(SCRATCH, &call);
    assert_eq!(first.call(Hypercall::Domctl, [place, 0, 0, 0]), Errno::EACCES.result(), "another version");
    for cmd in [XEN_DOMCTL_PAUSEDOMAIN, XEN_DOMCTL_DESTROYDOMAIN, XEN_DOMCTL_UNPAUSEDOMAIN] {
        assert_eq!(first.change(cmd, DomId(0), &[0_u8; 0]), Errno::EINVAL.result(), "itself");
        assert_eq!(first.change(cmd, DomId(7), &[0_u8; 0]), Errno::ESRCH.result());
    }
    assert_eq!(first.change(999, domain, &[0_u8; 0]), Errno::ENOSYS.result());
    let end = first.put(SCRATCH, &SchedRemoteShutdown { domain_id: domain, padding: 0, reason: 3 });
    first.system.domains.get_mut(&DomId(0)).unwrap().is_privileged = false;
    assert_eq!(first.call(Hypercall::SchedOp, [SCHEDOP_REMOTE_SHUTDOWN.into(), end, 0, 0]), Errno::EPERM.result());
    for cmd in 0..40 {
        assert_eq!(first.change(cmd, domain, &[0_u8; 0]), Errno::EPERM.result());
    }
    assert_eq!(first.extended(domain, MMUEXT_UNPIN_TABLE, 0), Errno::EPERM.result());
    assert!(first.populate(domain, 0..1).is_empty());
}
