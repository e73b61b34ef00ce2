//! A domain of one page table, whose hypercalls are made here.

mod events;
mod grants;
mod processor;
mod recount;
mod tables;
mod vcpus;

use super::*;
use crate::entry::{Entry, Level};
use crate::frames::Frames;
use crate::memory::{Mfn, TestMemory};
use crate::time::Scale;
use crate::vcpu::State;
use alloc::vec::Vec;
use domain_builder::{Image, Module};
use xen_abi::elfnote::{XEN_ELFNOTE_ENTRY, XEN_ELFNOTE_HYPERCALL_PAGE, XEN_ELFNOTE_VIRT_BASE};
use xen_abi::event::{BindIpi, EVTCHNOP_BIND_IPI, EVTCHNOP_SEND, PortOnly};
use xen_abi::mmu::{MMU_NORMAL_PT_UPDATE, MMUEXT_NEW_USER_BASEPTR, MmuUpdate, MmuextOp};
use xen_abi::sched::{SCHEDOP_BLOCK, SCHEDOP_SHUTDOWN};
use xen_abi::start_info::StartInfo;
use xen_abi::trap::TrapInfo;
use xen_abi::{DomId, Port};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const BASE: u64 = 0x40_0000;
pub(crate) const PAGES: u64 = 2048;
/// Pages that the domain may write its arguments to: behind its stack.
pub(crate) const SCRATCH: u64 = BASE + (3 << 20);

/// A kernel of four pages: code, the page of hypercalls, and notes.
pub(crate) fn kernel() -> Vec<u8> {
    let note = |kind: u32, value: u64| {
        let head = [4_u32, 8, kind].map(u32::to_le_bytes).concat();
        [&head[..], b"Xen\0", &value.to_le_bytes()].concat()
    };
    let notes = [
        note(XEN_ELFNOTE_ENTRY, BASE + 0x10),
        note(XEN_ELFNOTE_HYPERCALL_PAGE, BASE + 0x1000),
        note(XEN_ELFNOTE_VIRT_BASE, BASE),
    ]
    .concat();
    let segment = |kind: u32, offset: u64, address: u64, length: u64, size: u64| {
        let words = [offset, address, 0, length, size, 4].map(u64::to_le_bytes).concat();
        [&kind.to_le_bytes()[..], &5_u32.to_le_bytes(), &words].concat()
    };
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    file.extend([BASE + 0x10, 64, 0].map(u64::to_le_bytes).concat());
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 64, 0, 0, 0, 0, 0]);
    file.extend(segment(1, 0x1000, BASE, 16, 0x4000));
    file.extend(segment(4, 0x2000, 0, notes.len() as u64, notes.len() as u64));
    file.resize(0x1000, 0);
    file.extend(b"here is the code");
    file.resize(0x2000, 0);
    file.extend(notes);
    file
}

pub(crate) struct Domain {
    pub(crate) system: System<TestMemory>,
    pub(crate) id: VcpuId,
    pub(crate) registers: Registers,
}

pub(crate) fn domain() -> Domain {
    let count = 4096;
    let mut memory = TestMemory::new(count + 8);
    let table: Vec<Mfn> = (count as u64..count as u64 + 8).map(Mfn).collect();
    table.iter().for_each(|page| (0..512).for_each(|index| memory.store(*page, index, u64::MAX)));
    let mut system = System::new(memory, Frames::new(count, [3; 16]), table, (Scale::of_frequency(1_000_000_000), 0));
    (1..count as u64).rev().for_each(|frame| system.frames.add(Mfn(frame)));
    let kernel = kernel();
    let modules = [Module { bytes: b"module", command_line: "" }];
    let image = Image { kernel: &kernel, command_line: "a=b", modules: &modules, pages: PAGES };
    let id = system.build_first(&image, 2, 0).unwrap();
    assert_eq!(system.next(1).vcpu, Some(id));
    let registers = system.vcpu(id).unwrap().registers;
    Domain { system, id, registers }
}

impl Domain {
    pub(crate) fn call(&mut self, number: Hypercall, arguments: [u64; 4]) -> i64 {
        let [rdi, rsi, rdx, r10] = arguments;
        let mut registers = Registers { rax: number as u64, rdi, rsi, rdx, r10, ..self.registers };
        self.system.hypercall(self.id, &mut registers, 1000);
        registers.rax.cast_signed()
    }

    pub(crate) fn put<T: IntoBytes + Immutable>(&mut self, address: u64, value: &T) -> u64 {
        self.system.space(self.id).put(address, value).unwrap();
        address
    }

    pub(crate) fn get<T: FromBytes + IntoBytes>(&mut self, address: u64) -> T {
        self.system.space(self.id).get(address).unwrap()
    }

    /// The lowest table for an address, and the entry there.
    pub(crate) fn entry(&mut self, address: u64) -> (Mfn, usize, Entry) {
        let (table, index) = self.system.space(self.id).lowest(address).unwrap();
        (table, index, Entry(self.system.memory.load(table, index)))
    }

    fn update(&mut self, (table, index): (Mfn, usize), value: u64) -> i64 {
        let update = MmuUpdate { ptr: (table.address() + 8 * index as u64) | MMU_NORMAL_PT_UPDATE, val: value };
        let place = self.put(SCRATCH, &update);
        self.call(Hypercall::MmuUpdate, [place, 1, 0, DomId::SELF.0.into()])
    }
}

#[test]
fn the_first_domain_finds_what_a_domain_builder_leaves() {
    let mut domain = domain();
    assert_eq!(domain.registers.rip, BASE + 0x10);
    let info: StartInfo = domain.get(domain.registers.rsi);
    assert!(info.magic.starts_with(b"xen-3.0-x86_64\0") && info.nr_pages == PAGES && info.flags == 3);
    assert!(info.cmd_line.starts_with(b"a=b\0"));
    assert_eq!(domain.get::<[u8; 6]>(info.mod_start), *b"module");
    assert_eq!(domain.get::<[u8; 16]>(BASE), *b"here is the code");
    // Slot 17 of the page of hypercalls, and the table of frames.
    assert_eq!(domain.get::<[u8; 8]>(BASE + 0x1000 + 17 * 32), [0x51, 0x41, 0x53, 0xb8, 17, 0, 0, 0]);
    for pfn in [0, 1, 700] {
        let (.., entry) = domain.entry(BASE + (pfn << 12));
        assert_eq!(domain.get::<u64>(info.mfn_list + pfn * 8), entry.frame().0);
        let number = entry.frame().0 as usize;
        let page = domain.system.machine_to_physical[number / 512];
        assert_eq!(domain.system.memory.load(page, number % 512), pfn);
    }
    // The tables can be looked at, and not be written to.
    for table in 0..info.nr_pt_frames {
        let (.., entry) = domain.entry(info.pt_base + (table << 12));
        assert!(!entry.is_writable() && domain.system.frames.is_table(entry.frame()));
    }
}

#[test]
fn images_that_are_none_are_refused() {
    for (file, pages, why) in [
        (&b"not an ELF file"[..], PAGES, "no ELF file"),
        (&kernel(), 4, "not enough memory"),
        (&kernel(), 1 << 40, "not so much memory"),
        (&kernel()[..0x1004], PAGES, ""),
    ] {
        let mut fresh = domain();
        fresh.system.destroy(DomId(0)).unwrap();
        let image = Image { kernel: file, command_line: "", modules: &[], pages };
        let refusal = fresh.system.build_first(&image, 1, 0).unwrap_err();
        assert!(refusal.0.contains(why), "{}: {why}", refusal.0);
    }
}

#[test]
fn a_page_table_is_not_mapped_writable_by_any_call() {
    let mut domain = domain();
    let (table, index, entry) = domain.entry(SCRATCH + 0x3000);
    let top = domain.system.vcpu(domain.id).unwrap().top;
    for frame in [table, top] {
        let writable = Entry::new(frame, entry.0 & 0xfff).0;
        assert_eq!(domain.update((table, index), writable), Errno::EINVAL.result());
        assert_eq!(domain.call(Hypercall::UpdateVaMapping, [SCRATCH + 0x3000, writable, 0, 0]), Errno::EINVAL.result());
        assert_eq!(domain.update((table, index), writable & !Entry::WRITABLE), 0);
    }
    assert_eq!(domain.update((table, index), entry.0), 0);
    assert_eq!(domain.update((top, Level::L4.index(0xffff_8000_0000_0000)), entry.0), Errno::EINVAL.result());
    let others = [DomId::SELF.0, 0, 7, 0x7ff2].map(|owner| {
        let place = SCRATCH;
        domain.call(Hypercall::MmuUpdate, [place, 1, 0, owner.into()])
    });
    assert_eq!(others[1..], [Errno::ESRCH.result(); 3]);
}

#[test]
fn addresses_that_are_not_the_domains_are_refused() {
    let mut domain = domain();
    for address in [0, 0xffff_8000_0000_0000, 0xffff_8300_0000_0000, 0x0000_8000_0000_0000, u64::MAX, BASE - 1] {
        for (number, arguments) in [
            (Hypercall::SetTrapTable, [address, 0, 0, 0]),
            (Hypercall::MmuUpdate, [address, 1, 0, DomId::SELF.0.into()]),
            (Hypercall::MmuextOp, [address, 1, 0, DomId::SELF.0.into()]),
            (Hypercall::EventChannelOp, [EVTCHNOP_BIND_IPI.into(), address, 0, 0]),
            (Hypercall::SchedOp, [SCHEDOP_SHUTDOWN.into(), address, 0, 0]),
            (Hypercall::XenVersion, [1, address, 0, 0]),
            (Hypercall::ConsoleIo, [0, 9, address, 0]),
            (Hypercall::Multicall, [address, 1, 0, 0]),
            (Hypercall::GrantTableOp, [2, address, 1, 0]),
            (Hypercall::MemoryOp, [3, address, 0, 0]),
        ] {
            // No trap table at all is one.
            if address == 0 && number == Hypercall::SetTrapTable {
                continue;
            }
            assert_eq!(domain.call(number, arguments), Errno::EFAULT.result(), "{number:?} {address:#x}");
        }
    }
    assert_eq!(domain.call(Hypercall::HvmOp, [0; 4]), Errno::ENOSYS.result());
}

#[test]
fn an_event_wakes_who_blocks_and_its_frame_says_where_it_was() {
    let mut domain = domain();
    let place = domain.put(SCRATCH, &BindIpi::default());
    assert_eq!(domain.call(Hypercall::EventChannelOp, [EVTCHNOP_BIND_IPI.into(), place, 0, 0]), 0);
    let port = domain.get::<BindIpi>(place).port;
    assert_eq!(domain.call(Hypercall::SetCallbacks, [BASE + 0x100, BASE + 0x200, 0, 0]), 0);
    assert_eq!(domain.call(Hypercall::SchedOp, [SCHEDOP_BLOCK.into(), 0, 0, 0]), 0);
    assert_eq!(domain.system.vcpu(domain.id).unwrap().state, State::Blocked);
    assert_eq!(domain.system.next(2000).vcpu, None);
    let kick = domain.system.events.send(&mut domain.system.memory, DomId(0), port).unwrap();
    assert!(kick.is_some());
    domain.system.kick(domain.id, 2100);
    assert_eq!(domain.system.next(2200).vcpu, Some(domain.id));

    let stack = SCRATCH + 0x1008;
    let before = Registers { rsp: stack, rip: 0x1234, rcx: 7, r11: 8, rflags: 0x246, ..domain.registers };
    let mut registers = before;
    domain.system.deliver_events(domain.id, &mut registers);
    assert_eq!(registers.rip, BASE + 0x100);
    assert!(domain.system.is_masked(domain.id));
    let frame: [u64; 7] = domain.get(registers.rsp);
    assert_eq!(frame, [7, 8, 0x1234, 0xe030, 0x246, stack, before.ss]);
    domain.system.deliver_events(domain.id, &mut registers);
    assert_eq!(registers.rip, BASE + 0x100, "masked");

    // And back: rax, r11, rcx and the flags of the call, then the frame.
    let back = [1, 8, 7, 0, frame[2], frame[3], frame[4], frame[5], frame[6]];
    registers = Registers { rax: Hypercall::Iret as u64, rsp: SCRATCH + 0x2000, ..registers };
    domain.put(registers.rsp, &back);
    domain.system.hypercall(domain.id, &mut registers, 3000);
    assert_eq!((registers.rip, registers.rsp, registers.rax, registers.cs), (0x1234, stack, 1, 0xe033));
    assert!(!domain.system.is_masked(domain.id));
}

#[test]
fn a_fault_goes_to_the_kernel_or_ends_the_domain() {
    let mut domain = domain();
    let trap = TrapInfo { vector: 14, flags: 4, cs: 0xe033, padding: 0, address: BASE + 0x300 };
    let table = domain.put(SCRATCH, &[trap, TrapInfo::default()]);
    assert_eq!(domain.call(Hypercall::SetTrapTable, [table, 0, 0, 0]), 0);
    let mut registers = Registers { rsp: SCRATCH + 0x1000, error: 6, ..domain.registers };
    domain.system.exception(domain.id, &mut registers, 14, 0xdead_beef);
    assert_eq!(registers.rip, BASE + 0x300);
    let frame: [u64; 4] = domain.get(registers.rsp);
    assert_eq!(frame[2], 2, "the error code, without the bit of ring 3");
    registers.rsp = 0x10;
    domain.system.exception(domain.id, &mut registers, 14, 0);
    assert_eq!(domain.system.domains[&DomId(0)].shutdown, Some(3));
    let said = domain.system.take_console();
    assert!(std::string::String::from_utf8(said).unwrap().contains("its stack cannot take it"));
}

#[test]
fn whatever_is_called_with_whatever_the_domain_alone_can_end() {
    let mut seed = 7_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        seed >> 16
    };
    for _ in 0..60 {
        let mut domain = domain();
        let port = PortOnly { port: Port(1) };
        let place = domain.put(SCRATCH, &port);
        let _ = domain.call(Hypercall::EventChannelOp, [EVTCHNOP_SEND.into(), place, 0, 0]);
        for _ in 0..200 {
            let words: [u64; 32] = core::array::from_fn(|_| match random() % 6 {
                0 => random() % 16,
                1 => SCRATCH + random() % 0x2000,
                2 => ((random() % 4096) << 12) | (random() % 0x1000),
                3 => 0x7ff0,
                4 => random(),
                _ => 0,
            });
            if domain.system.space(domain.id).put(SCRATCH, &words).is_err() {
                // It has unmapped that itself.
                break;
            }
            let argument = |choice: u64, other: u64| if choice.is_multiple_of(3) { SCRATCH } else { other };
            let [rdi, rsi, rdx, r10, r8] = [0; 5].map(|_| argument(random(), random() % 48));
            let number = random() % 48;
            let mut registers = Registers { rax: number, rdi, rsi, rdx, r10, r8, ..domain.registers };
            domain.system.hypercall(domain.id, &mut registers, random() % 100_000);
            domain.system.deliver_events(domain.id, &mut registers);
            let _ = domain.system.next(random() % 100_000);
            let _ = domain.system.take_console();
        }
        let top = domain.system.vcpu(domain.id).unwrap().top;
        domain.system.frames.unload_top(&mut domain.system.memory, top);
    }
}

/// User mode shares the kernel's tables here, so it can read what it likes; what counts is how it is entered and left.
#[test]
fn user_mode_is_entered_by_iret_and_left_by_calls_and_faults() {
    let mut domain = domain();
    let id = domain.id;
    let top = domain.system.vcpu(id).unwrap().top;
    let (kernel_stack, user_stack) = (SCRATCH + 0x1000, SCRATCH + 0x1800);
    let trap = TrapInfo { vector: 14, flags: 4, cs: 0xe033, padding: 0, address: BASE + 0x300 };
    let table = domain.put(SCRATCH, &[trap, TrapInfo::default()]);
    assert_eq!(domain.call(Hypercall::SetTrapTable, [table, 0, 0, 0]), 0);
    assert_eq!(domain.call(Hypercall::SetCallbacks, [0, 0, BASE + 0x400, 0]), 0);
    assert_eq!(domain.call(Hypercall::StackSwitch, [0xe02b, kernel_stack, 0, 0]), 0);
    assert_eq!(domain.call(Hypercall::SetSegmentBase, [0, 1 << 47, 0, 0]), Errno::EINVAL.result());
    let operation = MmuextOp { cmd: MMUEXT_NEW_USER_BASEPTR, arg1: top.0, ..MmuextOp::default() };
    let place = domain.put(SCRATCH, &operation);
    let go = |domain: &mut Domain| {
        let frame = [0_u64, 0, 0, 0, 0x7777, 0xe033, 0x200, user_stack, 0xe02b];
        let mut registers = Registers { rax: Hypercall::Iret as u64, rsp: SCRATCH + 0x2000, ..domain.registers };
        domain.put(registers.rsp, &frame);
        domain.system.hypercall(id, &mut registers, 1);
        registers
    };
    assert_eq!(domain.call(Hypercall::MmuextOp, [place, 1, 0, DomId::SELF.0.into()]), 0);
    let mut registers = go(&mut domain);
    assert!(domain.system.vcpu(id).unwrap().in_user && registers.rip == 0x7777);
    registers.rcx = 0x7779;
    domain.system.user_call(id, &mut registers);
    assert!(!domain.system.vcpu(id).unwrap().in_user);
    assert_eq!((registers.rip, registers.rsp), (BASE + 0x400, kernel_stack - 56));
    let frame: [u64; 7] = domain.get(registers.rsp);
    assert_eq!(frame[2..6], [0x7777, 0xe033, 0x202, user_stack], "from ring 3");

    registers = Registers { error: 6, ..go(&mut domain) };
    domain.system.exception(id, &mut registers, 14, 0x10);
    let frame: [u64; 8] = domain.get(registers.rsp);
    assert_eq!((registers.rip, frame[2], frame[4]), (BASE + 0x300, 6, 0xe033));

    let place = domain.put(SCRATCH, &MmuextOp { arg1: 0, ..operation });
    assert_eq!(domain.call(Hypercall::MmuextOp, [place, 1, 0, DomId::SELF.0.into()]), 0);
    go(&mut domain);
    assert_eq!(domain.system.domains[&DomId(0)].shutdown, Some(3), "there is no user mode any more");
}

#[test]
fn a_table_of_segments_is_checked_and_cannot_be_written() {
    let mut domain = domain();
    let page = SCRATCH + 0x4000;
    let (table, index, entry) = domain.entry(page);
    domain.put(page, &[0_u64, 0x00af_9a00_0000_ffff]);
    let list = domain.put(SCRATCH, &entry.frame().0);
    let set = |domain: &mut Domain, count| domain.call(Hypercall::SetGdt, [list, count, 0, 0]);
    assert_eq!(set(&mut domain, 2), Errno::EINVAL.result(), "it is mapped writable");
    assert_eq!(domain.update((table, index), entry.0 & !Entry::WRITABLE), 0);
    domain.put(list, &entry.frame().0);
    assert_eq!(set(&mut domain, 8000), Errno::EINVAL.result(), "where the hypervisor's are");
    assert_eq!(set(&mut domain, 2), 0);
    assert_eq!(domain.get::<[u64; 2]>(page), [0, 0x00af_fb00_0000_ffff], "of ring 3");
    assert!(domain.system.reload_segments);
    assert_eq!(domain.update((table, index), entry.0), Errno::EINVAL.result());
    assert_eq!(domain.update((entry.frame(), 3), 0x0000_8900_0000_0067), Errno::EINVAL.result());
    let place = entry.frame().address() + 16;
    assert_eq!(domain.call(Hypercall::UpdateDescriptor, [place, 0x0000_8900_0000_0067, 0, 0]), Errno::EINVAL.result());
    assert_eq!(domain.call(Hypercall::UpdateDescriptor, [place, 0x00cf_f200_0000_ffff, 0, 0]), 0);
    assert_eq!(domain.get::<u64>(page + 16), 0x00cf_f300_0000_ffff);
    assert_eq!(set(&mut domain, 0), 0);
    assert_eq!(domain.update((table, index), entry.0), 0, "nobody uses it any more");
}

#[test]
fn a_software_interrupt_goes_where_the_kernel_lets_it() {
    let mut domain = domain();
    let trap = |vector, flags| TrapInfo { vector, flags, cs: 0xe030, padding: 0, address: BASE + 0x300 };
    let table = domain.put(SCRATCH, &[trap(0x20, 3), trap(0x21, 0), trap(13, 0), TrapInfo::default()]);
    assert_eq!(domain.call(Hypercall::SetTrapTable, [table, 0, 0, 0]), 0);
    let start = SCRATCH + 0x800;
    for (number, rip, error) in [(0x20_u8, start + 2, None), (0x21, start, Some(0x10a)), (0x22, start, Some(0x112))] {
        domain.put(start, &[0xcd, number]);
        let error_code = (u64::from(number) << 3) | 2;
        let mut registers = Registers { rsp: SCRATCH + 0x1000, rip: start, error: error_code, ..domain.registers };
        domain.system.exception(domain.id, &mut registers, 13, 0);
        let frame: [u64; 4] = domain.get(registers.rsp);
        let found =
            if let Some(error) = error { [frame[2] == error, frame[3] == rip] } else { [true, frame[2] == rip] };
        assert_eq!((registers.rip, found), (BASE + 0x300, [true; 2]), "{number:#x}: {frame:x?}");
    }
}

#[test]
fn privileged_instructions_are_done_for_a_kernel_or_fault() {
    let mut domain = domain();
    let trap = TrapInfo { vector: 13, flags: 4, cs: 0xe033, padding: 0, address: BASE + 0x300 };
    let table = domain.put(SCRATCH, &[trap, TrapInfo::default()]);
    assert_eq!(domain.call(Hypercall::SetTrapTable, [table, 0, 0, 0]), 0);
    let top = domain.system.vcpu(domain.id).unwrap().top.address();
    let start = SCRATCH + 0x800;
    let run = |domain: &mut Domain, code: &[u8], registers: Registers| {
        domain.system.space(domain.id).write(start, code).unwrap();
        let mut registers = Registers { rip: start, rsp: SCRATCH + 0x1000, error: 0, ..registers };
        domain.system.exception(domain.id, &mut registers, 13, 0);
        registers
    };
    let from = domain.registers;
    // mov rax, cr3; mov r9, cr0; mov cr3, rax with what it is; clts.
    let registers = run(&mut domain, &[0x0f, 0x20, 0xd8], from);
    assert_eq!((registers.rax, registers.rip), (top, start + 3));
    assert_eq!(run(&mut domain, &[0x41, 0x0f, 0x20, 0xc1], from).r9, 0x8005_0033);
    assert_eq!(run(&mut domain, &[0x0f, 0x22, 0xd8], Registers { rax: top, ..from }).rip, start + 3);
    assert_eq!(run(&mut domain, &[0x0f, 0x06], from).rip, start + 2);
    // rdmsr and wrmsr of FS's base; then of an address that is none.
    let write = Registers { rcx: 0xc000_0100, rdx: 0x7f, rax: 0x1234_5000, ..from };
    assert_eq!(run(&mut domain, &[0x0f, 0x30], write).rip, start + 2);
    let read = run(&mut domain, &[0x0f, 0x32], Registers { rcx: 0xc000_0100, ..from });
    assert_eq!((read.rdx, read.rax), (0x7f, 0x1234_5000));
    let refused: [(&[u8], Registers); 6] = [
        (&[0x0f, 0x30], Registers { rdx: 0x8000, ..write }),
        (&[0x0f, 0x32], Registers { rcx: 0x10, ..from }),
        (&[0x0f, 0x22, 0xd8], Registers { rax: 0, ..from }),
        (&[0x0f, 0x22, 0xc0], from),
        (&[0xf4], from),
        (&[0x0f, 0xff, 0xff], from),
    ];
    for (code, registers) in refused {
        assert_eq!(run(&mut domain, code, registers).rip, BASE + 0x300, "{code:x?}");
    }
}
