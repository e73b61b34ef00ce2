//! `public/domctl.h`: what the control domain does with others. The numbers and layouts are those of one release, Xen 4.17.

use crate::DomId;
use crate::vcpu::VcpuGuestContext;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const XEN_DOMCTL_INTERFACE_VERSION: u32 = 0x15;

pub const XEN_DOMCTL_CREATEDOMAIN: u32 = 1;
pub const XEN_DOMCTL_DESTROYDOMAIN: u32 = 2;
pub const XEN_DOMCTL_PAUSEDOMAIN: u32 = 3;
pub const XEN_DOMCTL_UNPAUSEDOMAIN: u32 = 4;
pub const XEN_DOMCTL_GETDOMAININFO: u32 = 5;
pub const XEN_DOMCTL_MAX_MEM: u32 = 11;
pub const XEN_DOMCTL_SETVCPUCONTEXT: u32 = 12;
pub const XEN_DOMCTL_MAX_VCPUS: u32 = 15;
pub const XEN_DOMCTL_HYPERCALL_INIT: u32 = 22;
pub const XEN_DOMCTL_RESUMEDOMAIN: u32 = 27;

/// Bytes of the argument of an operation.
pub const ARGUMENT: usize = 128;

/// `struct xen_domctl`. What `argument` holds depends on `cmd`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Domctl {
    pub cmd: u32,
    pub interface_version: u32,
    pub domain: DomId,
    pub padding: [u16; 3],
    pub argument: [u8; ARGUMENT],
}

/// `struct xen_domctl_createdomain`, with `struct xen_arch_domainconfig` at its end.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CreateDomain {
    pub ssidref: u32,
    pub handle: [u8; 16],
    /// `XEN_DOMCTL_CDF_*`: none of them is for a paravirtualised domain on its own.
    pub flags: u32,
    pub iommu_opts: u32,
    pub max_vcpus: u32,
    pub max_evtchn_port: u32,
    /// Negative: as many as the hypervisor thinks fit.
    pub max_grant_frames: i32,
    pub max_maptrack_frames: i32,
    pub grant_opts: u32,
    pub vmtrace_size: u32,
    pub cpupool_id: u32,
    pub emulation_flags: u32,
    pub misc_flags: u32,
}

pub const XEN_DOMINF_SHUTDOWN: u32 = 1 << 2;
pub const XEN_DOMINF_PAUSED: u32 = 1 << 3;
pub const XEN_DOMINF_BLOCKED: u32 = 1 << 4;
pub const XEN_DOMINF_RUNNING: u32 = 1 << 5;
/// Where the reason of a domain that has shut down begins.
pub const XEN_DOMINF_SHUTDOWNSHIFT: u32 = 16;
pub const XEN_INVALID_MAX_VCPU_ID: u32 = u32::MAX;

/// `struct xen_domctl_getdomaininfo`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GetDomainInfo {
    pub domain: DomId,
    pub padding: u16,
    /// `XEN_DOMINF_*`.
    pub flags: u32,
    pub tot_pages: u64,
    pub max_pages: u64,
    pub outstanding_pages: u64,
    pub shr_pages: u64,
    pub paged_pages: u64,
    pub shared_info_frame: u64,
    /// Nanoseconds.
    pub cpu_time: u64,
    pub nr_online_vcpus: u32,
    pub max_vcpu_id: u32,
    pub ssidref: u32,
    pub handle: [u8; 16],
    pub cpupool: u32,
    pub gpaddr_bits: u8,
    pub padding2: [u8; 7],
    pub emulation_flags: u32,
    pub misc_flags: u32,
}

/// `struct xen_domctl_max_mem`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MaxMem {
    pub max_memkb: u64,
}

/// `struct xen_domctl_max_vcpus`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MaxVcpus {
    pub max: u32,
}

/// `struct xen_domctl_vcpucontext`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuContext {
    pub vcpu: u32,
    pub padding: u32,
    /// Address of a [`VcpuGuestContext`]; 0 takes the vCPU's state away.
    pub ctxt: u64,
}

/// `struct xen_domctl_hypercall_init`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HypercallInit {
    pub gmfn: u64,
}

const _: () = assert!(size_of::<VcpuGuestContext>() == 5168);
