//! `public/hvm/dm_op.h`: operations of a device model on its target.
//!
//! Each operation is passed as a [`DmOp`]: its number, then its argument.

use crate::Port;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const XEN_DMOP_CREATE_IOREQ_SERVER: u32 = 1;
pub const XEN_DMOP_GET_IOREQ_SERVER_INFO: u32 = 2;
pub const XEN_DMOP_MAP_IO_RANGE_TO_IOREQ_SERVER: u32 = 3;
pub const XEN_DMOP_UNMAP_IO_RANGE_FROM_IOREQ_SERVER: u32 = 4;
pub const XEN_DMOP_SET_IOREQ_SERVER_STATE: u32 = 5;
pub const XEN_DMOP_DESTROY_IOREQ_SERVER: u32 = 6;
pub const XEN_DMOP_TRACK_DIRTY_VRAM: u32 = 7;
pub const XEN_DMOP_SET_PCI_INTX_LEVEL: u32 = 8;
pub const XEN_DMOP_SET_ISA_IRQ_LEVEL: u32 = 9;
pub const XEN_DMOP_SET_PCI_LINK_ROUTE: u32 = 10;
pub const XEN_DMOP_MODIFIED_MEMORY: u32 = 11;
pub const XEN_DMOP_SET_MEM_TYPE: u32 = 12;
pub const XEN_DMOP_INJECT_EVENT: u32 = 13;
pub const XEN_DMOP_INJECT_MSI: u32 = 14;
pub const XEN_DMOP_MAP_MEM_TYPE_TO_IOREQ_SERVER: u32 = 15;
pub const XEN_DMOP_REMOTE_SHUTDOWN: u32 = 16;
pub const XEN_DMOP_RELOCATE_MEMORY: u32 = 17;
pub const XEN_DMOP_PIN_MEMORY_CACHEATTR: u32 = 18;
pub const XEN_DMOP_NR_VCPUS: u32 = 20;

/// Bytes of the largest argument: the union in `struct xen_dm_op`.
pub const DM_OP_ARGUMENT_LEN: usize = 24;

/// `struct xen_dm_op`, with the argument as plain bytes, zero padded.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct DmOp {
    pub op: u32,
    pub pad: u32,
    pub argument: [u8; DM_OP_ARGUMENT_LEN],
}

/// `struct xen_dm_op_buf`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DmOpBuf {
    /// Address.
    pub h: u64,
    /// Bytes.
    pub size: u64,
}

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CreateIoreqServer {
    /// `HVM_IOREQSRV_BUFIOREQ_*`.
    pub handle_bufioreq: u8,
    pub pad: [u8; 3],
    /// Out.
    pub id: u16,
    pub padding: u16,
}

pub const XEN_DMOP_NO_GFNS: u16 = 1;

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GetIoreqServerInfo {
    pub id: u16,
    /// [`XEN_DMOP_NO_GFNS`]: leave the pages to XENMEM_acquire_resource.
    pub flags: u16,
    /// Out.
    pub bufioreq_port: Port,
    /// Out.
    pub ioreq_gfn: u64,
    /// Out.
    pub bufioreq_gfn: u64,
}

pub const XEN_DMOP_IO_RANGE_PORT: u32 = 0;
pub const XEN_DMOP_IO_RANGE_MEMORY: u32 = 1;
pub const XEN_DMOP_IO_RANGE_PCI: u32 = 2;

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IoreqServerRange {
    pub id: u16,
    pub pad: u16,
    /// `XEN_DMOP_IO_RANGE_*`.
    pub kind: u32,
    pub start: u64,
    /// The last address, port or function of the range.
    pub end: u64,
}

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetIoreqServerState {
    pub id: u16,
    pub enabled: u8,
    pub pad: u8,
}

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DestroyIoreqServer {
    pub id: u16,
    pub pad: u16,
}

/// The second buffer is the bitmap that Xen fills.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TrackDirtyVram {
    /// Pages; 0 ends the tracking.
    pub nr: u32,
    pub pad: u32,
    pub first_pfn: u64,
}

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetPciIntxLevel {
    /// PCI domain, 0.
    pub domain: u16,
    pub bus: u8,
    pub device: u8,
    pub intx: u8,
    pub level: u8,
}

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetIsaIrqLevel {
    pub isa_irq: u8,
    pub level: u8,
}

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetPciLinkRoute {
    /// 0 is PIRQA#.
    pub link: u8,
    /// 1 to 15; 0 disables the link.
    pub isa_irq: u8,
}

/// The second buffer is an array of [`ModifiedMemoryExtent`].
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ModifiedMemory {
    pub nr_extents: u32,
    /// 0 on entry; Xen keeps its progress here.
    pub opaque: u32,
}

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ModifiedMemoryExtent {
    pub nr: u32,
    pub pad: u32,
    pub first_pfn: u64,
}

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetMemType {
    pub nr: u32,
    /// `HVMMEM_*`.
    pub mem_type: u16,
    pub pad: u16,
    pub first_pfn: u64,
}

/// Writes are forwarded to the server.
pub const XEN_DMOP_IOREQ_MEM_ACCESS_WRITE: u32 = 1 << 1;

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MapMemTypeToIoreqServer {
    pub id: u16,
    /// `HVMMEM_*`.
    pub kind: u16,
    /// `XEN_DMOP_IOREQ_MEM_ACCESS_*`; 0 ends it.
    pub flags: u32,
    pub opaque: u64,
}

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InjectEvent {
    pub vcpuid: u32,
    pub vector: u8,
    /// `XEN_DMOP_EVENT_*`.
    pub kind: u8,
    pub insn_len: u8,
    pub pad0: u8,
    pub error_code: u32,
    pub pad1: u32,
    pub cr2: u64,
}

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InjectMsi {
    pub data: u32,
    pub pad: u32,
    pub addr: u64,
}

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RemoteShutdown {
    /// `SHUTDOWN_*`.
    pub reason: u32,
}

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RelocateMemory {
    /// Pages on entry; Xen counts it down.
    pub size: u32,
    pub pad: u32,
    pub src_gfn: u64,
    pub dst_gfn: u64,
}

pub const XEN_DMOP_MEM_CACHEATTR_UC: u32 = 0;
pub const XEN_DMOP_MEM_CACHEATTR_WC: u32 = 1;
pub const XEN_DMOP_MEM_CACHEATTR_WB: u32 = 6;
pub const XEN_DMOP_DELETE_MEM_CACHEATTR: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PinMemoryCacheattr {
    /// First frame.
    pub start: u64,
    /// Last frame.
    pub end: u64,
    /// `XEN_DMOP_MEM_CACHEATTR_*`.
    pub kind: u32,
    pub pad: u32,
}

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NrVcpus {
    /// Out.
    pub vcpus: u32,
}
