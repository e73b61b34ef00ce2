//! `struct start_info`: what the domain builder tells a PV kernel, `public/xen.h`.

use crate::Port;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const MAX_GUEST_CMDLINE: usize = 1024;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StartInfo {
    /// `xen-<version>-<platform>`, ends at the first zero byte.
    pub magic: [u8; 32],
    /// Pages of the domain.
    pub nr_pages: u64,
    /// Machine address of the shared information page.
    pub shared_info: u64,
    /// `SIF_*`.
    pub flags: u32,
    pub padding0: u32,
    pub store_mfn: u64,
    pub store_evtchn: Port,
    pub padding1: u32,
    pub console_mfn: u64,
    pub console_evtchn: Port,
    pub padding2: u32,
    /// Virtual address of the top page table.
    pub pt_base: u64,
    pub nr_pt_frames: u64,
    /// Virtual address of the table from pseudo-physical to machine frames.
    pub mfn_list: u64,
    /// Virtual address of the first module, or its frame with [`SIF_MOD_START_PFN`].
    pub mod_start: u64,
    pub mod_len: u64,
    /// Ends at the first zero byte.
    pub cmd_line: [u8; MAX_GUEST_CMDLINE],
    pub first_p2m_pfn: u64,
    pub nr_p2m_frames: u64,
}

pub const SIF_PRIVILEGED: u32 = 1 << 0;
pub const SIF_INITDOMAIN: u32 = 1 << 1;
pub const SIF_MULTIBOOT_MOD: u32 = 1 << 2;
pub const SIF_MOD_START_PFN: u32 = 1 << 3;
