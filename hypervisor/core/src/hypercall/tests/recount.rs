//! Whatever a domain asks for, frames are used exactly as often as is counted.

use super::grants::{OTHER, grant, with_granter};
use super::*;
use crate::frames::tests::recount;
use xen_abi::grant::{GTF_PERMIT_ACCESS, GTF_READONLY, MapGrantRef, UnmapAndReplace, UnmapGrantRef};
use xen_abi::mmu::MMUEXT_SET_LDT;

/// Counts anew, with what vCPUs, the hypervisor, grants for devices and events use.
pub(super) fn check(domain: &Domain) {
    let system = &domain.system;
    let mut uses: Vec<(Mfn, bool)> = Vec::new();
    for (id, domain) in &system.domains {
        uses.push((domain.shared_info, true));
        uses.extend(system.grants.frames(*id).iter().map(|frame| (*frame, true)));
        uses.extend(system.events.moved_infos(*id).into_iter().map(|frame| (frame, true)));
        uses.extend(system.events.fifo_frames(*id).into_iter().map(|frame| (frame, true)));
        uses.extend(system.grants.device_mappings(*id));
        for vcpu in domain.vcpus.iter().filter(|vcpu| vcpu.is_initialised) {
            uses.extend([vcpu.top].into_iter().chain(vcpu.user_top).map(|top| (top, true)));
            let pages = vcpu.segments.iter().chain(vcpu.local_table.pages().iter().flatten());
            uses.extend(pages.map(|page| (*page, true)));
        }
    }
    recount(&system.frames, &system.memory, &uses);
}

#[test]
fn whatever_a_domain_asks_for_the_counts_are_right() {
    /// Pages that it plays with.
    const PAGES: u64 = 8;
    const START: u64 = SCRATCH + 0x1_0000;
    let mut seed = 3_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (seed >> 33) % below
    };
    let (mut domain, pages, table) = with_granter();
    let frames: Vec<Mfn> = (0..PAGES).map(|page| domain.entry(START + (page << 12)).2.frame()).collect();
    let (lowest, first, _) = domain.entry(START);
    let System { grants, frames: all, memory, .. } = &mut domain.system;
    let own = grants.setup(DomId(0), 1, &mut || all.allocate_shared(memory, DomId(0))).unwrap()[0];
    let mut answers = std::collections::BTreeMap::<(u64, bool), u32>::new();
    for step in 0..8000 {
        let page = START + (random(PAGES) << 12);
        let frame = frames[random(PAGES) as usize];
        let place = (lowest, first + random(PAGES) as usize);
        let address = if random(4) == 0 { place.0.address() + 8 * place.1 as u64 } else { page };
        let argument = SCRATCH + 0x100;
        let what = random(12);
        let is_done = match what {
            0 => {
                let frame = if random(3) == 0 { pages[0] } else { frame };
                let bits = [0, 1, 1, 1, 1, Entry::PRESENT | Entry::WRITABLE][random(6) as usize];
                domain.update(place, Entry::new(frame, bits).0) == 0
            }
            1 | 2 => {
                let (dom, reference) = if random(2) == 0 { (OTHER, random(6)) } else { (DomId(0), random(12)) };
                let wanted = MapGrantRef {
                    host_addr: address,
                    flags: random(32) as u32,
                    reference: xen_abi::GrantRef(reference as u32),
                    dom,
                    ..MapGrantRef::default()
                };
                domain.put(argument, &wanted);
                assert_eq!(domain.call(Hypercall::GrantTableOp, [0, argument, 1, 0]), 0);
                domain.get::<MapGrantRef>(argument).status == 0
            }
            3 | 4 => {
                let dev_bus_addr = [0, frame.address(), pages[0].address()][random(3) as usize];
                let host_addr = if random(3) == 0 { 0 } else { address };
                let wanted =
                    UnmapGrantRef { host_addr, dev_bus_addr, handle: random(9) as u32, ..UnmapGrantRef::default() };
                domain.put(argument, &wanted);
                assert_eq!(domain.call(Hypercall::GrantTableOp, [1, argument, 1, 0]), 0);
                domain.get::<UnmapGrantRef>(argument).status == 0
            }
            5 => {
                let wanted = UnmapAndReplace {
                    host_addr: page,
                    new_addr: START + (random(PAGES) << 12),
                    handle: random(9) as u32,
                    ..UnmapAndReplace::default()
                };
                domain.put(argument, &wanted);
                assert_eq!(domain.call(Hypercall::GrantTableOp, [7, argument, 1, 0]), 0);
                domain.get::<UnmapAndReplace>(argument).status == 0
            }
            6 => {
                let operation = MmuextOp {
                    cmd: MMUEXT_SET_LDT,
                    padding: 0,
                    arg1: page,
                    arg2: [0, 1, 1024, 8192, 8193][random(5) as usize],
                };
                domain.put(argument, &operation);
                domain.call(Hypercall::MmuextOp, [argument, 1, 0, DomId::SELF.0.into()]) == 0
            }
            7 => {
                let mut registers = Registers { error: random(600) << 3 | 4, ..domain.registers };
                domain.system.takes_local_page(domain.id, registers.error) || {
                    registers.cs = random(600) << 3 | 7;
                    domain.system.loadable(domain.id, (registers.cs & 0xffff) as u16) != 0
                }
            }
            8 => {
                let cmd = [0, 0, 4][random(3) as usize];
                domain.put(argument, &MmuextOp { cmd, padding: 0, arg1: frame.0, arg2: 0 });
                domain.call(Hypercall::MmuextOp, [argument, 1, 0, DomId::SELF.0.into()]) == 0
            }
            9 => {
                let list = domain.put(argument, &frame.0);
                domain.call(Hypercall::SetGdt, [list, random(2), 0, 0]) == 0
            }
            10 => {
                let operation = if random(2) == 0 { 11 } else { 12 };
                domain.put(argument, &[frame.0, 8, 0]);
                domain.call(Hypercall::EventChannelOp, [operation, argument, 0, 0]) == 0
            }
            _ => {
                if random(3) == 0 {
                    domain.put(argument, &DomId::SELF);
                    assert_eq!(domain.call(Hypercall::EventChannelOp, [10, argument, 0, 0]), 0);
                }
                let flags = [GTF_PERMIT_ACCESS, GTF_PERMIT_ACCESS | GTF_READONLY, 0][random(3) as usize];
                grant(&mut domain, (own, random(12) as usize), flags, DomId(0), frame);
                true
            }
        };
        *answers.entry((what, is_done)).or_default() += 1;
        if step % 20 == 0 {
            check(&domain);
        }
    }
    for what in 0..11 {
        let counts = [false, true].map(|is_done| answers.get(&(what, is_done)).copied().unwrap_or(0));
        assert!(counts[0] > 5 && counts[1] > 5, "{what}: {counts:?}");
    }
    // All of it comes back.
    domain.system.end_fifo(DomId(0));
    domain.system.end_grants(DomId(0));
    domain.system.end_grants(OTHER);
    let system = &mut domain.system;
    let id = domain.id;
    system.set_local_table(id, 0, 0).unwrap();
    let vcpu = system.vcpu(id).unwrap().clone();
    vcpu.segments.iter().for_each(|page| system.frames.unload_descriptors(&mut system.memory, *page));
    system.frames.unload_top(&mut system.memory, vcpu.top);
    let shared = system.domains.values().map(|domain| domain.shared_info).collect::<Vec<_>>();
    shared.into_iter().for_each(|frame| system.frames.let_go(&mut system.memory, frame, crate::grant::Access::Write));
    [DomId(0), OTHER].into_iter().for_each(|domain| system.frames.release(&mut system.memory, domain));
    assert_eq!(system.frames.free_count(), 4095);
    let _ = table;
}
