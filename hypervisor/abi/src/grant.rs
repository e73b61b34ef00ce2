//! `public/grant_table.h`: version 1.

use crate::DomId;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const GNTTABOP_SETUP_TABLE: u32 = 2;
pub const GNTTABOP_QUERY_SIZE: u32 = 6;
pub const GNTTABOP_SET_VERSION: u32 = 8;

/// Entries at the start of the table that the toolstack fills.
pub const GNTTAB_NR_RESERVED_ENTRIES: u32 = 8;
pub const GNTTAB_RESERVED_CONSOLE: u32 = 0;
pub const GNTTAB_RESERVED_XENSTORE: u32 = 1;

pub const GTF_INVALID: u16 = 0;
pub const GTF_PERMIT_ACCESS: u16 = 1;
pub const GTF_READONLY: u16 = 1 << 2;
/// The page is mapped for reading by the grantee.
pub const GTF_READING: u16 = 1 << 3;
/// The page is mapped for writing by the grantee.
pub const GTF_WRITING: u16 = 1 << 4;

/// One entry. `frame` is 32 bits wide: version 1 reaches the first 16 TiB of the machine.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EntryV1 {
    pub flags: u16,
    pub domid: DomId,
    pub frame: u32,
}

/// Entries of one page of the table.
pub const ENTRIES_PER_FRAME: u32 = 512;

pub const GNTST_OKAY: i16 = 0;

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetupTable {
    pub dom: DomId,
    pub padding0: u16,
    pub nr_frames: u32,
    /// Out: `GNTST_*`.
    pub status: i16,
    pub padding1: [u16; 3],
    /// Address of an array of `u64` frame numbers that Xen fills.
    pub frame_list: u64,
}

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct QuerySize {
    pub dom: DomId,
    pub padding0: u16,
    /// Out.
    pub nr_frames: u32,
    /// Out.
    pub max_nr_frames: u32,
    /// Out: `GNTST_*`.
    pub status: i16,
    pub padding1: u16,
}
