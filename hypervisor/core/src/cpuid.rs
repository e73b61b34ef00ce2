//! What a domain sees of the processor when it asks by the forced emulation prefix; asked plainly, the processor answers itself.
//!
//! Source: `public/arch-x86/xen.h`, `XEN_EMULATE_PREFIX`, and `public/arch-x86/cpuid.h` for the hypervisor's leaves; AMD64
//! Architecture Programmer's Manual, volume 3, appendix E for the others.

use crate::memory::Memory;
use crate::system::System;
use crate::vcpu::{Registers, VcpuId};

/// `ud2`, "xen", `cpuid`.
const FORCED_CPUID: [u8; 7] = [0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0xa2];
/// The first of the hypervisor's leaves, and the last that there is.
const HYPERVISOR: u32 = 0x4000_0000;
const HYPERVISOR_LAST: u32 = HYPERVISOR + 2;
/// The interface: Xen 4.17's.
const VERSION: u32 = 4 << 16 | 17;

/// Leaf 1, ecx: what a domain cannot use: MONITOR, VMX, SMX, PCID, x2APIC, TSC deadline, XSAVE and what needs it (FMA, AVX, F16C);
/// and that there is a hypervisor.
const LEAF_1_HIDDEN: u32 =
    1 << 3 | 1 << 5 | 1 << 6 | 1 << 12 | 1 << 17 | 1 << 21 | 1 << 24 | 1 << 26 | 1 << 27 | 1 << 28 | 1 << 29;
const LEAF_1_HYPERVISOR: u32 = 1 << 31;
/// Leaf 1, edx: VME, PSE, machine checks, MTRR, PGE, PSE-36 are the hypervisor's.
const LEAF_1_MACHINE: u32 = 1 << 1 | 1 << 3 | 1 << 7 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17;
/// Leaf 7, ebx: what can be used without the hypervisor, or is asked for by CR4: FSGSBASE, BMI1, BMI2, ERMS, RDSEED, ADX, CLFLUSHOPT, CLWB.
const LEAF_7_SHOWN: u32 = 1 << 0 | 1 << 3 | 1 << 8 | 1 << 9 | 1 << 18 | 1 << 19 | 1 << 23 | 1 << 24;
/// Leaf 0x80000001, ecx: SVM and what belongs to it. edx: pages of 1 GiB, RDTSCP.
const EXTENDED_HIDDEN: u32 = 1 << 2 | 1 << 3 | 1 << 10 | 1 << 12;
const EXTENDED_MACHINE: u32 = 1 << 26 | 1 << 27;

/// What a domain is told of a leaf whose registers eax, ebx, ecx and edx the processor has like this.
#[must_use]
pub fn policy(leaf: u32, subleaf: u32, native: [u32; 4]) -> [u32; 4] {
    let [eax, ebx, ecx, edx] = native;
    match leaf {
        // "XenVMMXenVMM".
        HYPERVISOR => [HYPERVISOR_LAST, 0x566e_6558, 0x6558_4d4d, 0x4d4d_566e],
        0x4000_0001 => [VERSION, 0, 0, 0],
        // There is no page of hypercalls to be asked for.
        HYPERVISOR_LAST | 0x4000_0003..0x4001_0000 => [0; 4],
        1 => [eax, ebx, ecx & !LEAF_1_HIDDEN | LEAF_1_HYPERVISOR, edx & !LEAF_1_MACHINE],
        7 if subleaf == 0 => [0, ebx & LEAF_7_SHOWN, 0, 0],
        // Further leaves of features, and of the state that XSAVE saves.
        7 | 0xd => [0; 4],
        0x8000_0001 => [eax, ebx, ecx & !EXTENDED_HIDDEN, edx & !EXTENDED_MACHINE],
        _ => native,
    }
}

impl<M: Memory> System<M> {
    /// Answers, if that is what an invalid instruction was about. `native` asks the processor.
    pub fn forced_cpuid(
        &mut self,
        id: VcpuId,
        registers: &mut Registers,
        native: impl FnOnce(u32, u32) -> [u32; 4],
    ) -> bool {
        let code = self.space(id).get::<[u8; FORCED_CPUID.len()]>(registers.rip);
        if code != Ok(FORCED_CPUID) {
            return false;
        }
        let half = |register: u64| u32::try_from(register & 0xffff_ffff).unwrap_or(0);
        let (leaf, subleaf) = (half(registers.rax), half(registers.rcx));
        let [eax, ebx, ecx, edx] = policy(leaf, subleaf, native(leaf, subleaf)).map(u64::from);
        (registers.rax, registers.rbx, registers.rcx, registers.rdx) = (eax, ebx, ecx, edx);
        registers.rip = registers.rip.wrapping_add(7);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hypervisor_shows_and_what_is_its_own_does_not() {
        let [_, ebx, ecx, edx] = policy(0x4000_0000, 0, [1; 4]);
        assert_eq!([ebx, ecx, edx].map(u32::to_le_bytes).concat(), b"XenVMMXenVMM");
        assert_eq!(policy(0x4000_0001, 0, [0; 4])[0], 0x4_0011);
        let [_, _, ecx, edx] = policy(1, 0, [u32::MAX; 4]);
        assert_eq!((ecx >> 31, ecx >> 5 & 1, ecx >> 27 & 1, edx >> 3 & 1, edx >> 26 & 1), (1, 0, 0, 0, 1));
        assert_eq!(policy(0, 0, [7, 1, 2, 3]), [7, 1, 2, 3]);
    }
}
