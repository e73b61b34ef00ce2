//! Traps of a PV kernel: `struct trap_info` of `public/arch-x86/xen.h`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One entry of the table that set_trap_table takes; an entry with address 0 ends it.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TrapInfo {
    pub vector: u8,
    /// Bits 0 and 1: privilege level; bit 2: mask events on entry.
    pub flags: u8,
    pub cs: u16,
    pub padding: u32,
    pub address: u64,
}
