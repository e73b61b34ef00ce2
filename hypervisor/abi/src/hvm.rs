//! `public/hvm/hvm_op.h` and `public/hvm/params.h`.

use crate::DomId;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const HVMOP_SET_PARAM: u32 = 0;
pub const HVMOP_GET_PARAM: u32 = 1;

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HvmParam {
    pub domid: DomId,
    pub pad: u16,
    /// `HVM_PARAM_*`.
    pub index: u32,
    pub value: u64,
}

pub const HVM_PARAM_CALLBACK_IRQ: u32 = 0;
pub const HVM_PARAM_STORE_PFN: u32 = 1;
pub const HVM_PARAM_STORE_EVTCHN: u32 = 2;
pub const HVM_PARAM_IOREQ_PFN: u32 = 5;
pub const HVM_PARAM_BUFIOREQ_PFN: u32 = 6;
pub const HVM_PARAM_DM_DOMAIN: u32 = 13;
pub const HVM_PARAM_ACPI_S_STATE: u32 = 14;
pub const HVM_PARAM_CONSOLE_PFN: u32 = 17;
pub const HVM_PARAM_CONSOLE_EVTCHN: u32 = 18;
pub const HVM_PARAM_ACPI_IOPORTS_LOCATION: u32 = 19;
pub const HVM_PARAM_BUFIOREQ_EVTCHN: u32 = 26;
pub const HVM_PARAM_TRIPLE_FAULT_REASON: u32 = 31;

/// Memory types of `hvmmem_type_t`.
pub const HVMMEM_RAM_RW: u16 = 0;
pub const HVMMEM_RAM_RO: u16 = 1;
pub const HVMMEM_MMIO_DM: u16 = 2;
/// Memory whose writes go to the ioreq server that claimed the type.
pub const HVMMEM_IOREQ_SERVER: u16 = 4;
