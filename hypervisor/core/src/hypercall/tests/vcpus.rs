//! More than one vCPU.

use super::*;
use crate::entry::Entry;
use xen_abi::vcpu::{
    VCPUOP_DOWN, VCPUOP_INITIALISE, VCPUOP_IS_UP, VCPUOP_UP, VGCF_IN_KERNEL, VGCF_SYSCALL_DISABLES_EVENTS,
    VcpuGuestContext,
};

const SECOND: VcpuId = VcpuId { domain: DomId(0), number: 1 };
const CONTEXT: u64 = SCRATCH + 0x8000;

fn vcpu_op(domain: &mut Domain, operation: u32, number: u64) -> i64 {
    domain.call(Hypercall::VcpuOp, [operation.into(), number, CONTEXT, 0])
}

fn context(domain: &Domain) -> VcpuGuestContext {
    let mut context = VcpuGuestContext::new_zeroed();
    context.flags = VGCF_IN_KERNEL | VGCF_SYSCALL_DISABLES_EVENTS;
    (context.user_regs.rip, context.user_regs.rsp, context.user_regs.rax) = (BASE + 0x20, SCRATCH + 0x2000, 77);
    (context.user_regs.cs, context.user_regs.ss, context.user_regs.ds) = (0xe033, 0xe02b, 0xe02b);
    context.user_regs.rflags = 0x1000;
    context.ctrlreg[3] = domain.system.vcpu(domain.id).unwrap().top.address();
    context.trap_ctxt[13] = TrapInfo { vector: 99, flags: 4, cs: 0xe033, padding: 0, address: BASE + 0x300 };
    context.debugreg = [BASE, 0xffff_8000_0000_0000, 0, 0, 7, 7, 0, 2];
    (context.fs_base, context.gs_base_kernel) = (1, 2);
    context
}

use zerocopy::FromZeros as _;

#[test]
fn a_second_vcpu_runs_from_where_it_was_told() {
    let mut domain = domain();
    let context = context(&domain);
    domain.put(CONTEXT, &context);
    assert_eq!(vcpu_op(&mut domain, VCPUOP_UP, 1), Errno::EINVAL.result(), "nobody has said where it begins");
    assert_eq!([0, 1].map(|number| vcpu_op(&mut domain, VCPUOP_IS_UP, number)), [1, 0]);
    assert_eq!(vcpu_op(&mut domain, VCPUOP_INITIALISE, 2), Errno::ENOENT.result());
    assert_eq!(vcpu_op(&mut domain, VCPUOP_INITIALISE, 0), Errno::EEXIST.result());
    assert_eq!(vcpu_op(&mut domain, VCPUOP_INITIALISE, 1), 0);
    assert_eq!(vcpu_op(&mut domain, VCPUOP_INITIALISE, 1), Errno::EEXIST.result());
    domain.system.let_others_run();
    assert_eq!(domain.system.next(2000).vcpu, Some(domain.id), "it is not up yet");
    assert_eq!(vcpu_op(&mut domain, VCPUOP_UP, 1), 0);
    domain.system.let_others_run();
    assert_eq!(domain.system.next(3000).vcpu, Some(SECOND));
    let vcpu = domain.system.vcpu(SECOND).unwrap().clone();
    let registers = vcpu.registers;
    assert_eq!((registers.rip, registers.rax, registers.rflags), (BASE + 0x20, 77, 0x202));
    assert_eq!((vcpu.ports.level, vcpu.selectors[0], vcpu.bases.fs, vcpu.bases.gs_kernel), (1, 0xe02b, 1, 2));
    assert_eq!((vcpu.trap(13).map(|trap| trap.address), vcpu.trap(99).is_none()), (Some(BASE + 0x300), true));
    assert!(vcpu.syscall_callback.1 && !vcpu.in_user && vcpu.user_top.is_none());
    assert_eq!(vcpu.debug.machine(), ([BASE, 0, 0, 0], 0x402), "the hypervisor's addresses are not taken");
    // It takes itself down, and then the other one does, with which the domain ends.
    let mut registers = Registers { rax: 24, rdi: VCPUOP_DOWN.into(), rsi: 1, ..registers };
    domain.system.hypercall(SECOND, &mut registers, 4000);
    assert_eq!(domain.system.next(5000).vcpu, Some(domain.id));
    assert_eq!(vcpu_op(&mut domain, VCPUOP_DOWN, 0), 0);
    assert_eq!(domain.system.domains[&DomId(0)].shutdown, Some(0));
}

#[test]
fn what_no_vcpu_can_begin_with_is_refused() {
    let mut domain = domain();
    let free = domain.entry(SCRATCH + 0x3000).2.frame();
    let spoilt: [fn(&mut VcpuGuestContext, u64); 13] = [
        |context, _| context.user_regs.rip = 1 << 47,
        |context, _| context.kernel_sp = 1 << 63,
        |context, _| context.gs_base_user = 1 << 62,
        |context, _| context.syscall_callback_eip = 0x8000_0000_0000,
        |context, _| context.trap_ctxt[255].address = 1 << 50,
        |context, _| (context.ldt_base, context.ldt_ents) = (BASE, 8193),
        |context, _| (context.ldt_base, context.ldt_ents) = (BASE + 8, 1),
        |context, _| context.ldt_base = 0xffff_8000_0000_0000,
        |context, _| context.gdt_ents = 7169,
        // A page that can be written is no table.
        |context, free| context.ctrlreg[3] = free,
        |context, free| context.ctrlreg[1] = free,
        |context, free| (context.gdt_ents, context.gdt_frames[0]) = (1, free >> 12),
        |context, _| context.flags = 0,
    ];
    for (number, spoil) in spoilt.into_iter().enumerate() {
        let mut context = context(&domain);
        spoil(&mut context, free.address());
        domain.put(CONTEXT, &context);
        assert_eq!(vcpu_op(&mut domain, VCPUOP_INITIALISE, 1), Errno::EINVAL.result(), "{number}");
        assert!(!domain.system.vcpu(SECOND).unwrap().is_initialised);
        super::recount::check(&domain);
    }
    let (table, index, entry) = domain.entry(CONTEXT);
    assert_eq!(domain.update((table, index), entry.0 & !Entry::PRESENT), 0);
    assert_eq!(vcpu_op(&mut domain, VCPUOP_INITIALISE, 1), Errno::EFAULT.result());
    assert_eq!(vcpu_op(&mut domain, 99, 1), Errno::ENOSYS.result());
}
