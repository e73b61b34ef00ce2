//! The paravirtual MMU: parts of `public/xen.h` and `public/arch-x86/xen-x86_64.h`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `mmu_update_t`: one change of a page table entry.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MmuUpdate {
    /// Machine address of the entry; its lower two bits are the command.
    pub ptr: u64,
    /// The new entry.
    pub val: u64,
}

pub const MMU_NORMAL_PT_UPDATE: u64 = 0;
pub const MMU_MACHPHYS_UPDATE: u64 = 1;
pub const MMU_PT_UPDATE_PRESERVE_AD: u64 = 2;
/// The frame number in the entry is a machine frame even when the foreign domain's memory is translated.
pub const MMU_PT_UPDATE_NO_TRANSLATE: u64 = 3;

/// `struct mmuext_op`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MmuextOp {
    pub cmd: u32,
    pub padding: u32,
    /// `mfn` or `linear_addr`, by command.
    pub arg1: u64,
    /// `nr_ents`, `vcpumask` or `src_mfn`, by command.
    pub arg2: u64,
}

pub const MMUEXT_PIN_L1_TABLE: u32 = 0;
pub const MMUEXT_PIN_L4_TABLE: u32 = 3;
pub const MMUEXT_UNPIN_TABLE: u32 = 4;
pub const MMUEXT_NEW_BASEPTR: u32 = 5;
pub const MMUEXT_TLB_FLUSH_LOCAL: u32 = 6;
pub const MMUEXT_INVLPG_LOCAL: u32 = 7;

pub const MMUEXT_SET_LDT: u32 = 13;
pub const MMUEXT_NEW_USER_BASEPTR: u32 = 15;

pub const VMASST_CMD_ENABLE: u32 = 0;
pub const VMASST_CMD_DISABLE: u32 = 1;
pub const VMASST_TYPE_4GB_SEGMENTS: u32 = 0;
pub const VMASST_TYPE_4GB_SEGMENTS_NOTIFY: u32 = 1;
pub const VMASST_TYPE_WRITABLE_PAGETABLES: u32 = 2;
pub const VMASST_TYPE_PAE_EXTENDED_CR3: u32 = 3;
pub const VMASST_TYPE_ARCHITECTURAL_IOPL: u32 = 4;
pub const VMASST_TYPE_RUNSTATE_UPDATE_FLAG: u32 = 5;
pub const VMASST_TYPE_M2P_STRICT: u32 = 32;

pub const UVMF_NONE: u64 = 0;
pub const UVMF_TLB_FLUSH: u64 = 1;
pub const UVMF_INVLPG: u64 = 2;

/// Where Xen shows a 64-bit PV domain the table from machine frames to pseudo-physical frames.
pub const MACH2PHYS_VIRT_START: usize = 0xffff_8000_0000_0000;
/// The table's end.
pub const MACH2PHYS_VIRT_END: usize = 0xffff_8040_0000_0000;
/// Start of the addresses that Xen keeps for itself.
pub const HYPERVISOR_VIRT_START: usize = 0xffff_8000_0000_0000;

/// `FLAT_KERNEL_CS`: the flat 64-bit code segment of a PV kernel.
pub const FLAT_KERNEL_CS: u16 = 0xe033;
/// Which base [`crate::Hypercall::SetSegmentBase`] sets: `SEGBASE_*` of `public/arch-x86/xen-x86_64.h`.
pub const SEGBASE_FS: u32 = 0;
pub const SEGBASE_GS_USER: u32 = 1;
pub const SEGBASE_GS_KERNEL: u32 = 2;
pub const SEGBASE_GS_USER_SEL: u32 = 3;

/// `FLAT_RING3_CS32`: a flat 32-bit code segment.
pub const FLAT_USER_CS32: u16 = 0xe023;
/// `FLAT_KERNEL_SS`.
pub const FLAT_KERNEL_SS: u16 = 0xe02b;
