//! Event channel operations.
// UNSAFETY: one hypercall, whose argument types are vouched for here.
#![expect(unsafe_code)]

use super::XenError;
use crate::arch::{Arguments, hypercall};
use xen_abi::event::{self as abi, AllocUnbound, BindInterdomain, BindIpi, BindVirq, PortOnly};
use xen_abi::{DomId, Hypercall, Port};

/// Makes an operation with its argument.
///
/// # Safety
/// `T` has the layout that `public/event_channel.h` gives for operation `number`.
unsafe fn event_op<T>(number: u32, argument: &mut T) -> Result<(), XenError> {
    let arguments = Arguments(number as usize, core::ptr::from_mut(argument).expose_provenance(), 0, 0, 0);
    // SAFETY: the caller vouches for number and layout; Xen touches nothing but the argument, which is ours alone.
    XenError::check(unsafe { hypercall(Hypercall::EventChannelOp, arguments) }).map(|_| ())
}

/// Opens a channel of this domain that only `remote` may bind.
pub fn alloc_unbound(remote: DomId) -> Result<Port, XenError> {
    let mut op = AllocUnbound { dom: DomId::SELF, remote_dom: remote, port: Port(0) };
    // SAFETY: number and type belong together.
    unsafe { event_op(abi::EVTCHNOP_ALLOC_UNBOUND, &mut op) }?;
    Ok(op.port)
}

/// Opens a channel of another domain that only we may bind: the control domain does so.
pub fn alloc_unbound_of(domain: DomId) -> Result<Port, XenError> {
    let mut op = AllocUnbound { dom: domain, remote_dom: DomId::SELF, port: Port(0) };
    // SAFETY: number and type belong together.
    unsafe { event_op(abi::EVTCHNOP_ALLOC_UNBOUND, &mut op) }?;
    Ok(op.port)
}

/// Binds a channel that `remote` has opened for this domain.
pub fn bind_interdomain(remote: DomId, remote_port: Port) -> Result<Port, XenError> {
    let mut op = BindInterdomain { remote_dom: remote, remote_port, ..BindInterdomain::default() };
    // SAFETY: number and type belong together.
    unsafe { event_op(abi::EVTCHNOP_BIND_INTERDOMAIN, &mut op) }?;
    Ok(op.local_port)
}

/// Binds a virtual interrupt on vCPU 0.
pub fn bind_virq(virq: u32) -> Result<Port, XenError> {
    let mut op = BindVirq { virq, ..BindVirq::default() };
    // SAFETY: number and type belong together.
    unsafe { event_op(abi::EVTCHNOP_BIND_VIRQ, &mut op) }?;
    Ok(op.port)
}

/// Opens a channel from vCPU 0 to itself.
pub fn bind_ipi() -> Result<Port, XenError> {
    let mut op = BindIpi::default();
    // SAFETY: number and type belong together.
    unsafe { event_op(abi::EVTCHNOP_BIND_IPI, &mut op) }?;
    Ok(op.port)
}

/// Closes a channel.
pub fn close(port: Port) -> Result<(), XenError> {
    // SAFETY: number and type belong together.
    unsafe { event_op(abi::EVTCHNOP_CLOSE, &mut PortOnly { port }) }
}

/// Signals the other end of a channel.
pub fn send(port: Port) -> Result<(), XenError> {
    // SAFETY: number and type belong together.
    unsafe { event_op(abi::EVTCHNOP_SEND, &mut PortOnly { port }) }
}

/// What a channel of this domain is.
pub fn status(port: Port) -> Result<abi::Status, XenError> {
    let mut op = abi::Status { dom: DomId::SELF, port, ..abi::Status::default() };
    // SAFETY: number and type belong together.
    unsafe { event_op(abi::EVTCHNOP_STATUS, &mut op) }?;
    Ok(op)
}
