//! Page tables that a kernel writes by itself, and information that it wants in its own pages.

use super::recount::check;
use super::*;
use crate::entry::Entry;
use xen_abi::mmu::{MMUEXT_NEW_BASEPTR, MMUEXT_PIN_L4_TABLE, MMUEXT_UNPIN_TABLE};
use xen_abi::shared_info::VcpuInfo;
use xen_abi::vcpu::{RegisterVcpuInfo, RunstateInfo, VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, VCPUOP_REGISTER_VCPU_INFO};

const CODE: u64 = SCRATCH + 0x800;
const HANDLER: u64 = BASE + 0x300;
/// A page whose entry is changed.
const PAGE: u64 = SCRATCH + 0x5000;
/// Error code of a write in ring 3 to a page that cannot be written.
const WRITE: u64 = 7;

/// Where the entry of [`PAGE`] can be seen, and what it is.
fn window(domain: &mut Domain) -> (u64, Entry) {
    let info: StartInfo = domain.get(domain.registers.rsi);
    let (table, index, entry) = domain.entry(PAGE);
    let pages = (0..info.nr_pt_frames).map(|page| info.pt_base + (page << 12));
    let page = pages.filter(|page| domain.entry(*page).2.frame() == table).last().unwrap();
    (page + 8 * index as u64, entry)
}

fn write(domain: &mut Domain, code: &[u8], address: u64, registers: Registers) -> Registers {
    domain.system.space(domain.id).write(CODE, code).unwrap();
    let mut registers =
        Registers { rip: CODE, rsp: SCRATCH + 0x2000, cs: 0xe033, error: WRITE, rdi: address, ..registers };
    domain.system.exception(domain.id, &mut registers, 14, address);
    registers
}

fn prepared() -> (Domain, u64, Entry) {
    let mut domain = domain();
    let trap = TrapInfo { vector: 14, flags: 4, cs: 0xe033, padding: 0, address: HANDLER };
    domain.put(SCRATCH, &[trap, TrapInfo::default()]);
    assert_eq!(domain.call(Hypercall::SetTrapTable, [SCRATCH, 0, 0, 0]), 0);
    let (address, entry) = window(&mut domain);
    (domain, address, entry)
}

#[test]
fn a_kernel_changes_entries_by_its_own_instructions() {
    let (mut domain, address, entry) = prepared();
    let mut go = |code: &[u8], at: u64, from: Registers| {
        let after = write(&mut domain, code, at, from);
        assert_eq!(after.rip, CODE + code.len() as u64, "{code:x?}");
        check(&domain);
        (after, domain.entry(PAGE).2.0)
    };
    let from = Registers { rflags: 0x202, ..Registers::default() };
    // xchg [rdi], rdx: nothing is mapped then, and the kernel gets what was.
    let (after, now) = go(&[0x48, 0x87, 0x17], address, Registers { rdx: 0, ..from });
    assert_eq!((after.rdx, now), (entry.0, 0));
    // mov [rdi], rax.
    let (_, now) = go(&[0x48, 0x89, 0x07], address, Registers { rax: entry.0, ..from });
    assert_eq!(now, entry.0);
    // lock and byte ptr [rdi], 0xfd: it cannot be written any more.
    let (after, now) = go(&[0xf0, 0x80, 0x27, 0xfd], address, from);
    assert_eq!((now, after.rflags & 0x40), (entry.0 & !Entry::WRITABLE, 0));
    // lock bts qword ptr [rdi], 1.
    let (after, now) = go(&[0xf0, 0x48, 0x0f, 0xba, 0x2f, 1], address, from);
    assert_eq!((now, after.rflags & 1), (entry.0, 0));
    // lock btr qword ptr [rdi], 6: the dirty bit.
    let (after, now) = go(&[0xf0, 0x48, 0x0f, 0xba, 0x37, 6], address, from);
    assert_eq!((now, after.rflags & 1), (entry.0 & !Entry::DIRTY, 1));
    // lock cmpxchg [rdi], rcx: with what is there, and with something else.
    let (after, now) = go(&[0xf0, 0x48, 0x0f, 0xb1, 0x0f], address, Registers { rax: now, rcx: entry.0, ..from });
    assert_eq!((now, after.rflags & 0x40), (entry.0, 0x40));
    let (after, now) = go(&[0xf0, 0x48, 0x0f, 0xb1, 0x0f], address, Registers { rax: 5, rcx: 0, ..from });
    assert_eq!((now, after.rax, after.rflags & 0x40), (entry.0, entry.0, 0));
    // mov dword ptr [rdi], 0, at its upper half: the frame's number ends there.
    let (_, now) = go(&[0xc7, 0x07, 0, 0, 0, 0], address + 4, from);
    assert_eq!(now, entry.0 & 0xffff_ffff);
}

#[test]
fn what_may_not_be_in_a_table_is_the_kernels_fault() {
    let (mut domain, address, entry) = prepared();
    let top = domain.system.vcpu(domain.id).unwrap().top;
    let store: &[u8] = &[0x48, 0x89, 0x07];
    let bad = [
        // A page table, writable; nobody's frame; a bit that there is not.
        (store, address, Entry::new(top, entry.0 & 0xfff).0),
        (store, address, Entry::new(Mfn(1 << 30), entry.0 & 0xfff).0),
        (store, address, entry.0 | 1 << 7),
        // Across the end of an entry; an instruction of another kind: add [rdi], rax; none.
        (store, address + 1, 0),
        (&[0x48, 0x01, 0x07], address, 0),
        (&[0x0f, 0xff, 0xff], address, 0),
    ];
    for (code, at, value) in bad {
        let after = write(&mut domain, code, at, Registers { rax: value, ..Registers::default() });
        assert_eq!(after.rip, HANDLER, "{code:x?} {value:#x}");
        assert_eq!(domain.entry(PAGE).2, entry);
    }
    // The tables above the lowest ones are changed by calls alone.
    let info: StartInfo = domain.get(domain.registers.rsi);
    let after = write(&mut domain, store, info.pt_base, Registers::default());
    assert_eq!(after.rip, HANDLER);
    domain.system.vcpu_mut(domain.id).unwrap().in_user = true;
    let after = write(&mut domain, store, address, Registers::default());
    assert_ne!(after.rip, CODE + 3, "user mode does not");
    check(&domain);
}

/// The processor needs the hypervisor's entries of the table that it has. A kernel that takes another one and gives the old one up
/// takes them away.
#[test]
fn the_processor_leaves_a_top_table_before_it_is_none() {
    let mut domain = domain();
    let old = domain.system.vcpu(domain.id).unwrap().top;
    let (table, index, entry) = domain.entry(PAGE);
    let content: [u64; 512] = core::array::from_fn(|index| domain.system.memory.load(old, index));
    domain.put(PAGE, &content);
    assert_eq!(domain.update((table, index), entry.0 & !Entry::WRITABLE), 0);
    let new = entry.frame();
    let extended = |domain: &mut Domain, cmd, frame: Mfn| {
        let place = domain.put(SCRATCH, &MmuextOp { cmd, arg1: frame.0, ..MmuextOp::default() });
        domain.call(Hypercall::MmuextOp, [place, 1, 0, DomId::SELF.0.into()])
    };
    assert_eq!(extended(&mut domain, MMUEXT_PIN_L4_TABLE, new), 0);
    assert_eq!(extended(&mut domain, MMUEXT_UNPIN_TABLE, old), 0);
    assert!(domain.system.frames.is_table(old), "a processor has it");
    let before = domain.system.memory.1;
    assert_eq!(extended(&mut domain, MMUEXT_NEW_BASEPTR, new), 0);
    assert_eq!(domain.system.memory.1, before + 1);
    assert!(!domain.system.frames.is_table(old) && domain.system.reload);
    assert_eq!(domain.system.memory.load(old, 256), 0, "the hypervisor's entries do not stay");
    check(&domain);
}

#[test]
fn information_about_a_vcpu_can_be_in_a_page_of_the_domain() {
    let mut domain = domain();
    let frame = domain.entry(PAGE).2.frame();
    let argument = SCRATCH + 0x100;
    let register = |domain: &mut Domain, mfn: u64, offset: u32| {
        domain.put(argument, &RegisterVcpuInfo { mfn, offset, rsvd: 0 });
        domain.call(Hypercall::VcpuOp, [VCPUOP_REGISTER_VCPU_INFO.into(), 0, argument, 0])
    };
    let top = domain.system.vcpu(domain.id).unwrap().top;
    for (mfn, offset) in [(frame.0, 4096 - 56), (frame.0, 4), (frame.0, u32::MAX), (top.0, 0), (1 << 40, 0)] {
        assert_eq!(register(&mut domain, mfn, offset), Errno::EINVAL.result(), "{mfn:#x} {offset}");
    }
    domain.system.set_masked(domain.id, false);
    assert_eq!(register(&mut domain, frame.0, 64), 0);
    assert_eq!(register(&mut domain, frame.0, 128), Errno::EINVAL.result(), "once");
    let info: VcpuInfo = domain.get(PAGE + 64);
    assert_eq!((info.evtchn_upcall_pending, info.evtchn_pending_sel), (1, u64::MAX), "it looks for everything");
    // Masks and events are there now, and the page cannot become a table.
    domain.system.set_masked(domain.id, true);
    assert_eq!(domain.get::<u8>(PAGE + 65), 1);
    domain.put(PAGE + 64, &0_u8);
    assert!(!domain.system.events.upcall_pending(&domain.system.memory, DomId(0), 0));
    let (table, index, entry) = domain.entry(PAGE);
    assert_eq!(domain.update((table, index), entry.0 & !Entry::WRITABLE), 0);
    let pinned = domain.system.frames.pin(&mut domain.system.memory, DomId(0), frame, Level::L1);
    assert_eq!(pinned, Err(Errno::EINVAL));
    let free = domain.system.frames.free_count();
    domain.system.destroy(DomId(0)).unwrap();
    assert_eq!(domain.system.frames.free_count() - free, usize::try_from(PAGES).unwrap() + 1);
}

#[test]
fn a_kernel_is_told_how_long_it_ran() {
    let mut domain = domain();
    let area = SCRATCH + 0x6000;
    let argument = domain.put(SCRATCH + 0x100, &area);
    let register = [VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA.into(), 0, argument, 0];
    assert_eq!(domain.call(Hypercall::VcpuOp, register), 0);
    domain.system.tell_runstate(domain.id, 5000);
    let info: RunstateInfo = domain.get(area);
    assert_eq!((info.state, info.time.iter().sum::<u64>(), info.state_entry_time), (0, 5000, 5000));
    domain.put(SCRATCH + 0x100, &0xffff_8000_0000_0000_u64);
    assert_eq!(domain.call(Hypercall::VcpuOp, register), Errno::EFAULT.result());
    // Where nothing is mapped nothing is told.
    domain.put(SCRATCH + 0x100, &0x10_u64);
    assert_eq!(domain.call(Hypercall::VcpuOp, register), 0);
    domain.system.tell_runstate(domain.id, 6000);
}
