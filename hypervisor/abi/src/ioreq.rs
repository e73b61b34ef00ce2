//! `public/hvm/ioreq.h`: the pages through which a guest's accesses reach its device model.

use crate::Port;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const IOREQ_WRITE: u8 = 0;
pub const IOREQ_READ: u8 = 1;

pub const STATE_IOREQ_NONE: u8 = 0;
pub const STATE_IOREQ_READY: u8 = 1;
pub const STATE_IOREQ_INPROCESS: u8 = 2;
pub const STATE_IORESP_READY: u8 = 3;

pub const IOREQ_TYPE_PIO: u8 = 0;
pub const IOREQ_TYPE_COPY: u8 = 1;
pub const IOREQ_TYPE_PCI_CONFIG: u8 = 2;
pub const IOREQ_TYPE_TIMEOFFSET: u8 = 7;
pub const IOREQ_TYPE_INVALIDATE: u8 = 8;

/// `ioreq_t`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawIoreq {
    pub addr: u64,
    pub data: u64,
    pub count: u32,
    pub size: u32,
    pub vp_eport: Port,
    pub pad0: u16,
    /// Bits 3:0 state, bit 4 `data_is_ptr`, bit 5 `dir`, bit 6 `df`.
    pub bits: u8,
    pub kind: u8,
}

/// Mask of the state within [`RawIoreq::bits`].
pub const IOREQ_STATE_MASK: u8 = 0x0f;
pub const IOREQ_DATA_IS_PTR: u8 = 1 << 4;
pub const IOREQ_DIR: u8 = 1 << 5;
pub const IOREQ_DF: u8 = 1 << 6;

/// Synchronous requests in a page, one for each vCPU.
pub const IOREQS_PER_PAGE: usize = 128;

/// `buf_ioreq_t`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawBufIoreq {
    /// Bits 7:0 type, bit 9 `dir`, bits 11:10 binary logarithm of the size, bits 31:12 address.
    pub bits: u32,
    pub data: u32,
}

/// Slots of the page of buffered requests.
pub const IOREQ_BUFFER_SLOT_NUM: u32 = 511;
/// Offset of the slots in that page; before them lie the read and the write pointer, 32 bits each.
pub const IOREQ_BUFFER_SLOTS_OFFSET: usize = 8;

/// Values of `handle_bufioreq` when an ioreq server is created.
pub const HVM_IOREQSRV_BUFIOREQ_OFF: u8 = 0;
pub const HVM_IOREQSRV_BUFIOREQ_LEGACY: u8 = 1;
/// Xen updates both pointers atomically, so that the reader may too.
pub const HVM_IOREQSRV_BUFIOREQ_ATOMIC: u8 = 2;
