//! What the control domain does with others.
// UNSAFETY: one hypercall, whose argument types are vouched for here.
#![expect(unsafe_code)]

use super::XenError;
use crate::addr::Gfn;
use crate::arch::{Arguments, hypercall};
use alloc::boxed::Box;
use xen_abi::domctl::{
    self as abi, ARGUMENT, CreateDomain, Domctl, GetDomainInfo, HypercallInit, MaxMem, MaxVcpus, VcpuContext,
};
use xen_abi::vcpu::VcpuGuestContext;
use xen_abi::{DomId, Hypercall, PAGE_SIZE};
use zerocopy::{FromBytes as _, FromZeros as _, Immutable, IntoBytes};

/// Makes an operation. Gives the call as it is afterwards.
fn domctl(cmd: u32, domain: DomId, argument: &(impl IntoBytes + Immutable + ?Sized)) -> Result<Domctl, XenError> {
    let mut call = Domctl::new_zeroed();
    (call.cmd, call.interface_version, call.domain) = (cmd, abi::XEN_DOMCTL_INTERFACE_VERSION, domain);
    argument.write_to_prefix(&mut call.argument).map_err(|_| XenError::EINVAL)?;
    let address = core::ptr::from_mut(&mut call).expose_provenance();
    // SAFETY: Xen reads the call and answers in it; contexts, which it points to, are read.
    XenError::check(unsafe { hypercall(Hypercall::Domctl, Arguments(address, 0, 0, 0, 0)) })?;
    Ok(call)
}

/// Makes a domain without memory, paused, with as many processors at most, and gives its number.
pub fn create_domain(handle: [u8; 16], vcpus: u32) -> Result<DomId, XenError> {
    let how = CreateDomain {
        handle,
        max_vcpus: vcpus,
        max_grant_frames: -1,
        max_maptrack_frames: -1,
        grant_opts: 1,
        ..CreateDomain::default()
    };
    let domain = domctl(abi::XEN_DOMCTL_CREATEDOMAIN, DomId(0), &how)?.domain;
    domctl(abi::XEN_DOMCTL_MAX_VCPUS, domain, &MaxVcpus { max: vcpus })?;
    Ok(domain)
}

/// Says how many pages a domain may have.
pub fn max_mem(domain: DomId, pages: u64) -> Result<(), XenError> {
    let max_memkb = pages.checked_mul(PAGE_SIZE as u64 / 1024).ok_or(XenError::ERANGE)?;
    domctl(abi::XEN_DOMCTL_MAX_MEM, domain, &MaxMem { max_memkb }).map(|_| ())
}

/// What there is to know of a domain.
pub fn info(domain: DomId) -> Result<GetDomainInfo, XenError> {
    let call = domctl(abi::XEN_DOMCTL_GETDOMAININFO, domain, &[0_u8; 0])?;
    GetDomainInfo::read_from_prefix(&call.argument).map(|(info, _)| info).map_err(|_| XenError::EINVAL)
}

/// Makes a page of a domain the one by which it makes hypercalls.
pub fn hypercall_init(domain: DomId, page: Gfn) -> Result<(), XenError> {
    domctl(abi::XEN_DOMCTL_HYPERCALL_INIT, domain, &HypercallInit { gmfn: page.number() }).map(|_| ())
}

/// Says what a vCPU begins with.
pub fn set_vcpu_context(domain: DomId, vcpu: u32, context: &VcpuGuestContext) -> Result<(), XenError> {
    let ctxt = core::ptr::from_ref(context).expose_provenance() as u64;
    domctl(abi::XEN_DOMCTL_SETVCPUCONTEXT, domain, &VcpuContext { vcpu, padding: 0, ctxt }).map(|_| ())
}

/// An empty context. They are large.
#[must_use]
pub fn empty_context() -> Box<VcpuGuestContext> {
    Box::new(VcpuGuestContext::new_zeroed())
}

/// A domain runs that was paused.
pub fn unpause(domain: DomId) -> Result<(), XenError> {
    domctl(abi::XEN_DOMCTL_UNPAUSEDOMAIN, domain, &[0_u8; 0]).map(|_| ())
}

/// A domain is taken apart.
pub fn destroy(domain: DomId) -> Result<(), XenError> {
    domctl(abi::XEN_DOMCTL_DESTROYDOMAIN, domain, &[0_u8; 0]).map(|_| ())
}

const _: () = assert!(size_of::<CreateDomain>() <= ARGUMENT && size_of::<GetDomainInfo>() <= ARGUMENT);
