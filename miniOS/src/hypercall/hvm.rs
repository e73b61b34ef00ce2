//! Parameters of an HVM domain.
// UNSAFETY: one hypercall, whose argument types are vouched for here.
#![expect(unsafe_code)]

use super::XenError;
use crate::arch::{Arguments, hypercall};
use xen_abi::hvm::{self as abi, HvmParam};
use xen_abi::{DomId, Hypercall};

/// Reads a parameter, one of `xen_abi::hvm::HVM_PARAM_*`.
pub fn get_param(domain: DomId, index: u32) -> Result<u64, XenError> {
    let mut op = HvmParam { domid: domain, index, ..HvmParam::default() };
    hvm_op(abi::HVMOP_GET_PARAM, &mut op)?;
    Ok(op.value)
}

/// Writes a parameter.
pub fn set_param(domain: DomId, index: u32, value: u64) -> Result<(), XenError> {
    hvm_op(abi::HVMOP_SET_PARAM, &mut HvmParam { domid: domain, index, value, ..HvmParam::default() })
}

fn hvm_op(number: u32, argument: &mut HvmParam) -> Result<(), XenError> {
    let arguments = Arguments(number as usize, core::ptr::from_mut(argument).expose_provenance(), 0, 0, 0);
    // SAFETY: both operations take this type, and touch nothing else of ours.
    XenError::check(unsafe { hypercall(Hypercall::HvmOp, arguments) }).map(|_| ())
}
