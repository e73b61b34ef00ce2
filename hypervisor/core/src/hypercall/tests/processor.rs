//! Breakpoints, ports, segments, and what the hypervisor says of itself.

use super::*;
use crate::descriptor::FLAT;
use xen_abi::mmu::{MMUEXT_SET_LDT, SEGBASE_GS_USER_SEL, VMASST_CMD_DISABLE, VMASST_CMD_ENABLE};
use xen_abi::physdev::{PHYSDEVOP_SET_IOBITMAP, PHYSDEVOP_SET_IOPL, SetIobitmap};

const HANDLER: u64 = BASE + 0x300;
const CODE: u64 = SCRATCH + 0x800;
const STACK: u64 = SCRATCH + 0x2000;

/// The domain handles these exceptions.
fn handles(domain: &mut Domain, vectors: &[u8]) {
    let traps =
        vectors.iter().map(|vector| TrapInfo { vector: *vector, flags: 4, cs: 0xe033, padding: 0, address: HANDLER });
    let list: Vec<_> = traps.chain([TrapInfo::default()]).collect();
    domain.system.space(domain.id).write(SCRATCH, list.as_bytes()).unwrap();
    assert_eq!(domain.call(Hypercall::SetTrapTable, [SCRATCH, 0, 0, 0]), 0);
}

/// Registers after an instruction has faulted in the kernel or in user mode.
fn fault(domain: &mut Domain, code: &[u8], registers: Registers) -> Registers {
    domain.system.space(domain.id).write(CODE, code).unwrap();
    let mut registers = Registers { rip: CODE, rsp: STACK, error: 0, cs: 0xe033, ..registers };
    domain.system.exception(domain.id, &mut registers, 13, 0);
    registers
}

/// Error code, rip and so on of a frame with an error code.
fn frame(domain: &mut Domain, registers: &Registers) -> [u64; 8] {
    domain.get(registers.rsp)
}

#[test]
fn debug_registers_are_set_by_calls_and_by_instructions() {
    let mut domain = domain();
    handles(&mut domain, &[1, 6, 13]);
    let from = domain.registers;
    assert_eq!(domain.call(Hypercall::SetDebugreg, [0, 0x1234_5678, 0, 0]), 0);
    assert_eq!(domain.call(Hypercall::GetDebugreg, [0, 0, 0, 0]), 0x1234_5678);
    assert!(domain.system.reload_debug);
    for (number, value, error) in [
        (0, 0xffff_82d0_4000_0000, Errno::EPERM),
        (7, 1 << 40, Errno::EINVAL),
        (8, 0, Errno::ENODEV),
        (7, 1 << 13, Errno::EPERM),
    ] {
        assert_eq!(domain.call(Hypercall::SetDebugreg, [number, value, 0, 0]), error.result());
    }
    // mov dr7, rax; mov rbx, dr7; mov dr1, rax of the hypervisor's; mov rax, dr4, which is dr6.
    assert_eq!(fault(&mut domain, &[0x0f, 0x23, 0xf8], Registers { rax: 0x2, ..from }).rip, CODE + 3);
    assert_eq!(fault(&mut domain, &[0x0f, 0x21, 0xfb], from).rbx, 0x402);
    let refused = fault(&mut domain, &[0x0f, 0x23, 0xc8], Registers { rax: 0xffff_8000_0000_0000, ..from });
    assert_eq!((refused.rip, frame(&mut domain, &refused)[3]), (HANDLER, CODE));
    assert_eq!(fault(&mut domain, &[0x0f, 0x21, 0xe0], from).rax, 0xffff_0ff0);
    // mov cr4, rax with debug extensions and more, of which nothing comes: now dr4 is no register.
    assert_eq!(fault(&mut domain, &[0x0f, 0x22, 0xe0], Registers { rax: u64::MAX, ..from }).rip, CODE + 3);
    assert_eq!(fault(&mut domain, &[0x0f, 0x20, 0xe0], from).rax, 0x628);
    let none = fault(&mut domain, &[0x0f, 0x21, 0xe0], from);
    assert_eq!((none.rip, domain.get::<[u64; 3]>(none.rsp)[2]), (HANDLER, CODE), "it is no instruction");
    domain.system.has_base_instructions = true;
    fault(&mut domain, &[0x0f, 0x22, 0xe0], Registers { rax: 1 << 16, ..Registers::default() });
    assert_eq!(fault(&mut domain, &[0x0f, 0x20, 0xe0], from).rax, 0x1_0620);
    // User mode has none of them.
    domain.system.vcpu_mut(domain.id).unwrap().in_user = true;
    domain.system.vcpu_mut(domain.id).unwrap().kernel_stack = STACK;
    assert_eq!(fault(&mut domain, &[0x0f, 0x21, 0xfb], from).rip, HANDLER);
}

#[test]
fn a_debug_exception_reaches_its_kernel_and_says_why() {
    let mut domain = domain();
    handles(&mut domain, &[1]);
    let mut registers = Registers { rip: CODE, rsp: STACK, rflags: 0x302, ..domain.registers };
    domain.system.debug_exception(domain.id, &mut registers, 0xffff_4ff2);
    assert_eq!((registers.rip, registers.rflags & 0x100), (HANDLER, 0), "it does not go step by step there");
    let [_, _, rip, _, flags, ..] = domain.get::<[u64; 7]>(registers.rsp);
    assert_eq!((rip, flags & 0x100), (CODE, 0x100));
    assert_eq!(domain.call(Hypercall::GetDebugreg, [6, 0, 0, 0]), 0xffff_4ff2);
    assert_eq!(domain.call(Hypercall::SetDebugreg, [6, 0, 0, 0]), 0);
    // A step over what is done for it: in al, 0x80.
    let level = domain.put(SCRATCH, &1_u32);
    assert_eq!(domain.call(Hypercall::PhysdevOp, [PHYSDEVOP_SET_IOPL.into(), level, 0, 0]), 0);
    let registers = fault(&mut domain, &[0xe4, 0x80], Registers { rflags: 0x102, ..Registers::default() });
    assert_eq!((registers.rip, domain.get::<[u64; 3]>(registers.rsp)[2]), (HANDLER, CODE + 2));
    assert_eq!(domain.call(Hypercall::GetDebugreg, [6, 0, 0, 0]), 0xffff_4ff0);
}

#[test]
fn ports_are_asked_for_by_level_or_by_bitmap() {
    // in al, 0x80; cli; sti.
    let codes: [&[u8]; 3] = [&[0xe4, 0x80], &[0xfa], &[0xfb]];
    for (architectural, level, in_user, may) in [
        (false, 0, false, false),
        (false, 1, false, true),
        (false, 1, true, false),
        (false, 2, true, false),
        (false, 3, true, true),
        (true, 0, false, true),
        (true, 0, true, false),
        (true, 3, true, true),
    ] {
        let mut domain = domain();
        handles(&mut domain, &[13]);
        let command = if architectural { VMASST_CMD_ENABLE } else { VMASST_CMD_DISABLE };
        assert_eq!(domain.call(Hypercall::VmAssist, [command.into(), 4, 0, 0]), 0);
        let argument = domain.put(SCRATCH, &level);
        assert_eq!(domain.call(Hypercall::PhysdevOp, [PHYSDEVOP_SET_IOPL.into(), argument, 0, 0]), 0);
        for code in codes {
            let vcpu = domain.system.vcpu_mut(domain.id).unwrap();
            (vcpu.in_user, vcpu.kernel_stack) = (in_user, STACK);
            let registers = fault(&mut domain, code, Registers { rax: 0x700, ..Registers::default() });
            let expected = if may { CODE + code.len() as u64 } else { HANDLER };
            assert_eq!(registers.rip, expected, "{architectural} {level} {in_user} {code:x?}");
            if may && code[0] == 0xe4 {
                assert_eq!(registers.rax, 0x7ff, "nobody answers");
            }
        }
    }
    let mut domain = domain();
    handles(&mut domain, &[13]);
    let argument = domain.put(SCRATCH, &4_u32);
    assert_eq!(domain.call(Hypercall::PhysdevOp, [PHYSDEVOP_SET_IOPL.into(), argument, 0, 0]), Errno::EINVAL.result());
    for (bitmap, nr_ports) in [(SCRATCH, 65537), (0xffff_8000_0000_0000, 8), (u64::MAX - 8, 8), (0x7fff_ffff_f000, 8)] {
        let argument = domain.put(SCRATCH, &SetIobitmap { bitmap, nr_ports, padding: 0 });
        let answer = domain.call(Hypercall::PhysdevOp, [PHYSDEVOP_SET_IOBITMAP.into(), argument, 0, 0]);
        assert_eq!(answer, Errno::EINVAL.result(), "{bitmap:#x}");
    }
    // Ports 0x80 and 0x83 to 0x85 are not forbidden; all from 0x86 on have no bit.
    let bitmap = SCRATCH + 0x3000;
    domain.system.space(domain.id).write(bitmap, &[0xff; 0x10]).unwrap();
    domain.put(bitmap + 0x10, &0b1100_0110_u8);
    let argument = domain.put(SCRATCH, &SetIobitmap { bitmap, nr_ports: 0x86, padding: 0 });
    assert_eq!(domain.call(Hypercall::PhysdevOp, [PHYSDEVOP_SET_IOBITMAP.into(), argument, 0, 0]), 0);
    // in al, imm; in eax, imm; out dx, ax.
    for (code, port, may) in [
        (&[0xe4, 0x80][..], 0, true),
        (&[0xe4, 0x81], 0, false),
        (&[0xe5, 0x80], 0, false),
        (&[0xe4, 0x86], 0, false),
        (&[0x66, 0xef], 0x84, true),
        (&[0x66, 0xef], 0x85, false),
        (&[0x66, 0xef], 0xffff, false),
    ] {
        let registers = fault(&mut domain, code, Registers { rdx: port, ..Registers::default() });
        assert_eq!(registers.rip == HANDLER, !may, "{code:x?} {port:#x}");
    }
    for (kind, command, error) in
        [(2, 0, Errno::EINVAL), (64, 0, Errno::EINVAL), (1 << 31, 0, Errno::EINVAL), (4, 2, Errno::ENOSYS)]
    {
        assert_eq!(domain.call(Hypercall::VmAssist, [command, kind, 0, 0]), error.result());
    }
}

#[test]
fn strings_of_ports_go_on_where_they_were() {
    let mut domain = domain();
    handles(&mut domain, &[13, 14]);
    let level = domain.put(SCRATCH, &3_u32);
    assert_eq!(domain.call(Hypercall::PhysdevOp, [PHYSDEVOP_SET_IOPL.into(), level, 0, 0]), 0);
    let place = SCRATCH + 0x3000;
    // rep insw: two of three elements, then the last one.
    let code = [0xf3, 0x66, 0x6d];
    let mut registers = Registers { rdi: place, rcx: 3, rdx: 0x300, ..domain.registers };
    for (rip, rcx, rdi) in
        [(CODE, 2, place + 2), (CODE, 1, place + 4), (CODE + 3, 0, place + 6), (CODE + 3, 0, place + 6)]
    {
        registers = fault(&mut domain, &code, registers);
        assert_eq!((registers.rip, registers.rcx, registers.rdi), (rip, rcx, rdi));
    }
    assert_eq!(domain.get::<u64>(place), 0xffff_ffff_ffff);
    // outsb backwards; insd to where nothing is; outsb from the hypervisor's.
    let registers = fault(&mut domain, &[0x6e], Registers { rsi: place, rflags: 0x402, ..Registers::default() });
    assert_eq!((registers.rip, registers.rsi), (CODE + 1, place - 1));
    for (code, error, rsi, rdi) in [(0x6d, 2, 0, 8), (0x6e, 0, 0xffff_82d0_4000_0000, 0)] {
        let registers = fault(&mut domain, &[code], Registers { rsi, rdi, ..Registers::default() });
        let [_, _, found, rip, ..] = frame(&mut domain, &registers);
        assert_eq!((registers.rip, found, rip), (HANDLER, error, CODE), "{code:#x}");
    }
}

#[test]
fn a_return_that_the_processor_would_refuse_is_the_kernels_exception() {
    for (cs, ss, rip, fault) in [
        (0xe033, 0xe02b, BASE, None),
        (0xe030, 0xe028, 0x7fff_ffff_ffff, None),
        (0xe023, 0xe02b, 0x1_0000_0000, None),
        (0xe033, 0xe02b, 0x8000_0000_0000, Some((13, 0))),
        (0xe033, 0, BASE, Some((13, 0))),
        (0, 0xe02b, BASE, Some((13, 0))),
        (3, 0xe02b, BASE, Some((13, 0))),
        (0xe02b, 0xe02b, BASE, Some((13, 0xe028))),
        (0xe033, 0xe033, BASE, Some((13, 0xe030))),
        (0xe008, 0xe02b, BASE, Some((13, 0xe008))),
        (0xe043, 0xe02b, BASE, Some((13, 0xe040))),
        (0xfff8, 0xe02b, BASE, Some((13, 0xfff8))),
        (0xe033, 0x2000, BASE, Some((13, 0x2000))),
        (0xf, 0xe02b, BASE, Some((13, 0xc))),
        // The domain's own: not there, 16 bits of code, a stack that is not there, 64 and 32 bits.
        (0x8, 0xe02b, BASE, Some((11, 0x8))),
        (0x10, 0xe02b, 0x1_2345, Some((13, 0))),
        (0x10, 0xe02b, 0xfff, None),
        (0xe033, 0x18, BASE, Some((12, 0x18))),
        (0x20, 0xe02b, BASE, Some((13, 0x20))),
    ] {
        let mut domain = domain();
        handles(&mut domain, &[11, 12, 13]);
        let descriptors = [0, FLAT[2] & !(1 << 47), 0x0000_fa00_0000_0fff, FLAT[1] & !(1 << 47), FLAT[2] | 1 << 54];
        load_segments(&mut domain, &descriptors);
        let mut registers = Registers { cs, ss, rip, rsp: STACK, ..domain.registers };
        domain.system.check_return(domain.id, &mut registers);
        match fault {
            None => assert_eq!(registers.rip, if cs == 0xe023 { 0 } else { rip }, "{cs:#x} {ss:#x} {rip:#x}"),
            Some((vector, error)) => {
                let [_, _, found, at, code, ..] = frame(&mut domain, &registers);
                assert_eq!((registers.rip, found, at, code & 0xfffc), (HANDLER, error, rip, cs & 0xfffc), "{vector}");
                assert_eq!((registers.cs, registers.ss), (0xe033, 0xe02b));
            }
        }
    }
    // A handler where there is none is the end.
    let mut domain = domain();
    let trap = TrapInfo { vector: 13, flags: 0, cs: 0x33, padding: 0, address: HANDLER };
    let table = domain.put(SCRATCH, &[trap, TrapInfo::default()]);
    assert_eq!(domain.call(Hypercall::SetTrapTable, [table, 0, 0, 0]), 0);
    let mut registers = Registers { rip: 1 << 47, rsp: STACK, ..domain.registers };
    domain.system.check_return(domain.id, &mut registers);
    assert_eq!(domain.system.domains[&DomId(0)].shutdown, Some(3));
    // Nor is one that is no address taken at all.
    let table = domain.put(SCRATCH, &[TrapInfo { address: 1 << 47, ..trap }, TrapInfo::default()]);
    assert_eq!(domain.call(Hypercall::SetTrapTable, [table, 0, 0, 0]), Errno::EINVAL.result());
    assert_eq!(domain.call(Hypercall::SetCallbacks, [BASE, 1 << 63, BASE, 0]), Errno::EINVAL.result());
}

/// Makes a page the domain's table of segments.
fn load_segments(domain: &mut Domain, descriptors: &[u64]) {
    let page = SCRATCH + 0x5000;
    domain.system.space(domain.id).write(page, descriptors.as_bytes()).unwrap();
    let frame = lock(domain, page);
    let list = domain.put(SCRATCH, &frame.0);
    assert_eq!(domain.call(Hypercall::SetGdt, [list, descriptors.len() as u64, 0, 0]), 0);
}

/// Takes a page's right to be written away.
fn lock(domain: &mut Domain, page: u64) -> Mfn {
    let (table, index, entry) = domain.entry(page);
    assert_eq!(domain.update((table, index), entry.0 & !Entry::WRITABLE), 0);
    entry.frame()
}

fn set_local(domain: &mut Domain, base: u64, entries: u64) -> i64 {
    let operation = MmuextOp { cmd: MMUEXT_SET_LDT, padding: 0, arg1: base, arg2: entries };
    let place = domain.put(SCRATCH, &operation);
    domain.call(Hypercall::MmuextOp, [place, 1, 0, DomId::SELF.0.into()])
}

#[test]
fn pages_of_a_local_table_are_taken_when_they_are_used() {
    let mut domain = domain();
    handles(&mut domain, &[13]);
    let table = SCRATCH + 0x6000;
    for (base, entries) in [
        (table + 8, 1),
        (table, 8193),
        (0xffff_8000_0000_0000, 1),
        (1 << 47, 1),
        (0xffff_87ff_ffff_f000, 1),
        (u64::MAX, 9),
    ] {
        assert_eq!(set_local(&mut domain, base, entries), Errno::EINVAL.result(), "{base:#x} {entries}");
    }
    domain.system.space(domain.id).write(table, [0, FLAT[2], 0x12cf_f234_5678_ffff].as_bytes()).unwrap();
    assert_eq!(set_local(&mut domain, table, 514), 0);
    let taken = |domain: &Domain| domain.system.vcpu(domain.id).unwrap().local_table.pages().iter().flatten().count();
    assert_eq!(taken(&domain), 0);
    // Selector 0xf: the processor has found nothing, and the page can be written, so there is nothing.
    let mut registers = Registers { rip: CODE, rsp: STACK, error: 0xc, ..domain.registers };
    domain.system.exception(domain.id, &mut registers, 13, 0);
    assert_eq!((registers.rip, taken(&domain)), (HANDLER, 0));
    let page = lock(&mut domain, table);
    domain.system.reload_segments = false;
    let mut registers = Registers { rip: CODE, rsp: STACK, error: 0xc, ..domain.registers };
    domain.system.exception(domain.id, &mut registers, 13, 0);
    assert_eq!((registers.rip, taken(&domain)), (CODE, 1), "to be tried again");
    assert!(domain.system.reload_segments);
    domain.system.exception(domain.id, &mut registers, 13, 0);
    assert_eq!(registers.rip, HANDLER, "but only once");
    // Now it is a table of segments, and is changed as one.
    let (lowest, index, entry) = domain.entry(table);
    assert_eq!(domain.update((lowest, index), entry.0 | Entry::WRITABLE), Errno::EINVAL.result());
    assert_eq!(domain.get::<[u64; 3]>(table)[2], 0x12cf_f334_5678_ffff, "of ring 3");
    let place = page.address() + 24;
    assert_eq!(domain.call(Hypercall::UpdateDescriptor, [place, 0x0000_ec00_0008_0000, 0, 0]), Errno::EINVAL.result());
    // It can be returned to, and GS can begin where it says; what is beyond its end is not there.
    let mut registers = Registers { cs: 0xf, rip: BASE, ..domain.registers };
    domain.system.check_return(domain.id, &mut registers);
    assert_eq!((registers.rip, registers.cs), (BASE, 0xf));
    assert_eq!(domain.call(Hypercall::SetSegmentBase, [SEGBASE_GS_USER_SEL.into(), 0x17, 0, 0]), 0);
    assert_eq!(domain.system.vcpu(domain.id).unwrap().bases.gs_user, 0x1234_5678);
    assert_eq!(
        [0x17, 0x14, 0x1f, 0x1017, 0x1014].map(|selector| domain.system.loadable(domain.id, selector)),
        [0x17, 0x14, 0, 0, 0]
    );
    // The second page has two descriptors, of which the first is used by a selector.
    domain.put(table + 0x1000, &[FLAT[1]; 3]);
    lock(&mut domain, table + 0x1000);
    assert_eq!(
        [0x1007, 0x100f, 0x1017].map(|selector| domain.system.loadable(domain.id, selector)),
        [0x1007, 0x100f, 0]
    );
    assert_eq!(taken(&domain), 2);
    // The same table again changes nothing; none lets the pages go.
    assert_eq!((set_local(&mut domain, table, 514), taken(&domain)), (0, 2));
    assert_eq!((set_local(&mut domain, 0x1234, 0), taken(&domain)), (0, 0));
    assert_eq!(domain.update((lowest, index), entry.0 | Entry::WRITABLE), 0);
    assert_eq!(domain.system.loadable(domain.id, 0x17), 0);
}

#[test]
fn where_segments_begin_is_what_the_processor_has() {
    let mut domain = domain();
    domain.system.note_bases(domain.id, [0x1000, 0x2000]);
    domain.system.vcpu_mut(domain.id).unwrap().in_user = true;
    domain.system.note_bases(domain.id, [1 << 47, 0x4000]);
    let bases = domain.system.vcpu(domain.id).unwrap().bases;
    assert_eq!((bases.fs, bases.gs_kernel, bases.gs_user), (0, 0x2000, 0x4000));
}

#[test]
fn a_system_call_of_32_bit_code_has_a_way_of_its_own() {
    use xen_abi::callback::{CALLBACKF_MASK_EVENTS, CALLBACKOP_REGISTER, CALLBACKTYPE_SYSCALL32, CallbackRegister};
    let mut domain = domain();
    handles(&mut domain, &[13]);
    let from = Registers { rip: 0x1002, cs: 0xe023, rsp: STACK, ..domain.registers };
    let vcpu = domain.system.vcpu_mut(domain.id).unwrap();
    (vcpu.in_user, vcpu.kernel_stack) = (true, STACK);
    let mut registers = from;
    domain.system.call_32(domain.id, &mut registers);
    let [_, _, error, rip, code, ..] = frame(&mut domain, &registers);
    assert_eq!((registers.rip, error, rip, code & 0xffff), (HANDLER, 0, 0x1000, 0xe023));
    let callback = CallbackRegister {
        kind: CALLBACKTYPE_SYSCALL32,
        flags: CALLBACKF_MASK_EVENTS,
        padding: 0,
        address: BASE + 0x500,
    };
    let place = domain.put(SCRATCH, &callback);
    assert_eq!(domain.call(Hypercall::CallbackOp, [CALLBACKOP_REGISTER.into(), place, 0, 0]), 0);
    domain.system.vcpu_mut(domain.id).unwrap().in_user = true;
    domain.system.set_masked(domain.id, false);
    let mut registers = from;
    domain.system.call_32(domain.id, &mut registers);
    assert_eq!((registers.rip, registers.cs, domain.system.is_masked(domain.id)), (BASE + 0x500, 0xe033, true));
    assert_eq!(domain.get::<[u64; 4]>(registers.rsp)[2], 0x1002);
}

#[test]
fn a_list_of_calls_ends_where_it_returns_from_an_exception() {
    let mut domain = domain();
    let user = domain.system.vcpu(domain.id).unwrap().top;
    domain.system.frames.load_top(&mut domain.system.memory, DomId(0), user).unwrap();
    domain.system.vcpu_mut(domain.id).unwrap().user_top = Some(user);
    let call = |operation: u64| [operation, 0, 0, 0, 0, 0, 0, 0];
    let list = domain.put(SCRATCH, &[call(17), call(23), call(17)]);
    let frame: [u64; 9] = [0xdead, 0x11, 0x22, 1 << 8, BASE, 0xe033, 0x3002, SCRATCH + 0x1f00, 0xe02b];
    let stack = domain.put(STACK, &frame);
    let mut registers = Registers { rax: 13, rdi: list, rsi: 3, rsp: stack, ..domain.registers };
    domain.system.hypercall(domain.id, &mut registers, 1);
    assert_eq!((registers.rax, registers.rip, registers.rsp), (0xdead, BASE, SCRATCH + 0x1f00));
    assert_eq!((registers.rcx, registers.r11), (BASE, 0x3002), "as SYSRET leaves them");
    let results: [u64; 24] = domain.get(list);
    assert_eq!([results[1], results[9], results[17]], [4 << 16 | 17, 0, 0]);
}

#[test]
fn the_hypervisor_tells_what_it_is() {
    let mut domain = domain();
    domain.system.command_line = "dom0_mem=64".into();
    let version =
        |domain: &mut Domain, operation, argument| domain.call(Hypercall::XenVersion, [operation, argument, 0, 0]);
    let place = SCRATCH + 0x3000;
    for (operation, length, begins) in [
        (1, 16, &b".core"[..]),
        (2, 144, b"rustc"),
        (3, 1024, b"xen-3.0-x86_64"),
        (4, 64, b"hypervisor-core-"),
        (8, 16, b""),
        (9, 1024, b"dom0_mem=64"),
    ] {
        domain.system.space(domain.id).write(place, &[0xaa; 1025]).unwrap();
        assert_eq!(version(&mut domain, operation, place), 0, "{operation}");
        let bytes: [u8; 1025] = domain.get(place);
        let text = bytes[..length].iter().position(|byte| *byte == 0).unwrap();
        assert!(bytes.starts_with(begins) && (operation == 2 || bytes[text..length].iter().all(|byte| *byte == 0)));
        assert!(bytes[length..].iter().all(|byte| *byte == 0xaa), "{operation} writes no more");
        assert_eq!(version(&mut domain, operation, 0xffff_8000_0000_0000), Errno::EFAULT.result());
    }
    assert_eq!(version(&mut domain, 5, place), 0);
    assert_eq!(domain.get::<u64>(place), 0xffff_8000_0000_0000);
    domain.put(place, &[0_u32, 0]);
    assert_eq!(version(&mut domain, 6, place), 0);
    assert_eq!(domain.get::<[u32; 2]>(place)[1], 1 << 4 | 1 << 5 | 1 << 7 | 1 << 11 | 1 << 17);
    domain.put(place, &[1_u32, 0]);
    assert_eq!(version(&mut domain, 6, place), Errno::EINVAL.result());
    assert_eq!([version(&mut domain, 7, 0), version(&mut domain, 7, 1)], [4096, Errno::EINVAL.result()]);
    assert_eq!([10, 11].map(|operation| version(&mut domain, operation, 0)), [-61, -38]);
    domain.system.domains.get_mut(&DomId(0)).unwrap().is_privileged = false;
    assert_eq!((version(&mut domain, 9, place), domain.get::<[u8; 9]>(place)), (0, *b"<denied>\0"));
}
