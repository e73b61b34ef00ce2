//! `public/memory.h`.

use crate::DomId;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const XENMEM_INCREASE_RESERVATION: u32 = 0;
pub const XENMEM_DECREASE_RESERVATION: u32 = 1;
pub const XENMEM_CURRENT_RESERVATION: u32 = 3;
pub const XENMEM_MAXIMUM_RESERVATION: u32 = 4;
pub const XENMEM_POPULATE_PHYSMAP: u32 = 6;
pub const XENMEM_ADD_TO_PHYSMAP: u32 = 7;
pub const XENMEM_MAXIMUM_GPFN: u32 = 14;
pub const XENMEM_REMOVE_FROM_PHYSMAP: u32 = 15;
pub const XENMEM_ADD_TO_PHYSMAP_BATCH: u32 = 23;
pub const XENMEM_ACQUIRE_RESOURCE: u32 = 28;

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryReservation {
    /// Address of an array of `u64` frame numbers.
    pub extent_start: u64,
    pub nr_extents: u64,
    /// Binary logarithm of the pages in an extent.
    pub extent_order: u32,
    pub mem_flags: u32,
    pub domid: DomId,
    pub padding: [u16; 3],
}

pub const XENMAPSPACE_SHARED_INFO: u32 = 0;
pub const XENMAPSPACE_GRANT_TABLE: u32 = 1;
pub const XENMAPSPACE_GMFN: u32 = 2;
pub const XENMAPSPACE_GMFN_RANGE: u32 = 3;

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddToPhysmap {
    pub domid: DomId,
    /// Number of pages, with [`XENMAPSPACE_GMFN_RANGE`] only.
    pub size: u16,
    pub space: u32,
    pub idx: u64,
    pub gpfn: u64,
}

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddToPhysmapBatch {
    pub domid: DomId,
    pub space: u16,
    pub size: u16,
    pub foreign_domid: DomId,
    /// Address of an array of `u64`.
    pub idxs: u64,
    /// Address of an array of `u64`.
    pub gpfns: u64,
    /// Address of an array of `i32`.
    pub errs: u64,
}

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RemoveFromPhysmap {
    pub domid: DomId,
    pub padding: [u16; 3],
    pub gpfn: u64,
}

/// `struct xen_memory_domain`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryDomain {
    pub domid: DomId,
}

pub const XENMEM_RESOURCE_IOREQ_SERVER: u16 = 0;
pub const XENMEM_RESOURCE_GRANT_TABLE: u16 = 1;
/// Frame of an ioreq server's resource that holds the buffered requests.
pub const XENMEM_RESOURCE_IOREQ_SERVER_FRAME_BUFIOREQ: u64 = 0;
/// First frame of an ioreq server's resource that holds synchronous requests.
pub const XENMEM_RESOURCE_IOREQ_SERVER_FRAME_IOREQ: u64 = 1;

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AcquireResource {
    pub domid: DomId,
    /// `XENMEM_RESOURCE_*`.
    pub resource_type: u16,
    /// The ioreq server's id, for its resource.
    pub id: u32,
    pub nr_frames: u32,
    pub pad: u32,
    /// First frame of the resource.
    pub frame: u64,
    /// Address of an array of `u64` that a PV caller gets machine frames in.
    pub frame_list: u64,
}
