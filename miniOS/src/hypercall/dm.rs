//! Device model operations on a target domain.
//!
//! Interrupt lines change at every turn of a busy device, so those are one hypercall with its argument on the stack.
// UNSAFETY: one hypercall, whose argument types are vouched for here.
#![expect(unsafe_code)]

use super::XenError;
use super::sched::ShutdownReason;
use crate::addr::Gfn;
use crate::arch::{Arguments, hypercall};
use xen_abi::dm_op::{
    self as abi, CreateIoreqServer, DestroyIoreqServer, DmOp, DmOpBuf, GetIoreqServerInfo, InjectMsi, IoreqServerRange,
    ModifiedMemory, ModifiedMemoryExtent, NrVcpus, PinMemoryCacheattr, RemoteShutdown, SetIoreqServerState,
    SetIsaIrqLevel, SetPciIntxLevel, SetPciLinkRoute, TrackDirtyVram,
};
use xen_abi::ioreq::HVM_IOREQSRV_BUFIOREQ_ATOMIC;
use xen_abi::{DomId, Hypercall, Port};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Number of an ioreq server within its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerId(pub u16);

/// What a server answers for. Bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoRange {
    /// I/O ports.
    Ports {
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
    },
    /// Guest-physical addresses.
    Memory {
        /// First byte.
        first: u64,
        /// Last byte.
        last: u64,
    },
    /// Configuration space of a PCI function.
    Pci {
        /// Bus.
        bus: u8,
        /// Slot, 0 to 31.
        device: u8,
        /// Function, 0 to 7.
        function: u8,
    },
}

/// Makes an operation; what Xen writes into the argument is put back.
fn dm_op<T: IntoBytes + FromBytes + Immutable>(domain: DomId, op: u32, argument: &mut T) -> Result<usize, XenError> {
    // SAFETY: there is no second buffer.
    unsafe { dm_op_with(domain, op, argument, None) }
}

/// As [`dm_op`], with the operation's second buffer, if there is one, as address and length.
///
/// # Safety
/// The second buffer is ours alone, and what the operation does to it (write a bitmap, read extents) may be done.
unsafe fn dm_op_with<T: IntoBytes + FromBytes + Immutable>(
    domain: DomId,
    op: u32,
    argument: &mut T,
    second: Option<(usize, usize)>,
) -> Result<usize, XenError> {
    const { assert!(size_of::<T>() <= abi::DM_OP_ARGUMENT_LEN) };
    let len = size_of::<T>();
    let mut whole = DmOp { op, ..DmOp::default() };
    whole.argument[..len].copy_from_slice(argument.as_bytes());
    let (address, size) = second.unwrap_or((0, 0));
    let buffers = [
        DmOpBuf { h: core::ptr::from_mut(&mut whole).expose_provenance() as u64, size: size_of::<DmOp>() as u64 },
        DmOpBuf { h: address as u64, size: size as u64 },
    ];
    let count = if second.is_some() { 2 } else { 1 };
    let arguments = Arguments(usize::from(domain.0), count, buffers.as_ptr().expose_provenance(), 0, 0);
    // SAFETY: the buffers say where and how long they are; the first is on our stack, the caller vouches for the second.
    let result = XenError::check(unsafe { hypercall(Hypercall::DmOp, arguments) })?;
    if let Ok(changed) = T::read_from_bytes(&whole.argument[..len]) {
        *argument = changed;
    }
    Ok(result)
}

/// Creates an ioreq server with a page of buffered requests, whose pointers Xen moves atomically.
pub fn create_ioreq_server(domain: DomId) -> Result<ServerId, XenError> {
    let mut op = CreateIoreqServer { handle_bufioreq: HVM_IOREQSRV_BUFIOREQ_ATOMIC, ..CreateIoreqServer::default() };
    dm_op(domain, abi::XEN_DMOP_CREATE_IOREQ_SERVER, &mut op)?;
    Ok(ServerId(op.id))
}

/// Destroys an ioreq server.
pub fn destroy_ioreq_server(domain: DomId, id: ServerId) -> Result<(), XenError> {
    dm_op(domain, abi::XEN_DMOP_DESTROY_IOREQ_SERVER, &mut DestroyIoreqServer { id: id.0, pad: 0 }).map(|_| ())
}

/// The target's port that signals buffered requests. The server's pages are got by `acquire_resource`.
pub fn buffered_port(domain: DomId, id: ServerId) -> Result<Port, XenError> {
    let mut op = GetIoreqServerInfo { id: id.0, flags: abi::XEN_DMOP_NO_GFNS, ..GetIoreqServerInfo::default() };
    dm_op(domain, abi::XEN_DMOP_GET_IOREQ_SERVER_INFO, &mut op)?;
    Ok(op.bufioreq_port)
}

/// Sends accesses to `range` to the server, or no longer.
pub fn map_io_range(domain: DomId, id: ServerId, range: IoRange, mapped: bool) -> Result<(), XenError> {
    let (kind, start, end) = match range {
        IoRange::Ports { first, last } => (abi::XEN_DMOP_IO_RANGE_PORT, u64::from(first), u64::from(last)),
        IoRange::Memory { first, last } => (abi::XEN_DMOP_IO_RANGE_MEMORY, first, last),
        IoRange::Pci { bus, device, function } => {
            let function = u64::from(bus) << 8 | u64::from(device & 0x1f) << 3 | u64::from(function & 7);
            (abi::XEN_DMOP_IO_RANGE_PCI, function, function)
        }
    };
    let op = if mapped {
        abi::XEN_DMOP_MAP_IO_RANGE_TO_IOREQ_SERVER
    } else {
        abi::XEN_DMOP_UNMAP_IO_RANGE_FROM_IOREQ_SERVER
    };
    dm_op(domain, op, &mut IoreqServerRange { id: id.0, pad: 0, kind, start, end }).map(|_| ())
}

/// Makes the server take requests, or no longer.
pub fn set_ioreq_server_state(domain: DomId, id: ServerId, enabled: bool) -> Result<(), XenError> {
    let mut op = SetIoreqServerState { id: id.0, enabled: u8::from(enabled), pad: 0 };
    dm_op(domain, abi::XEN_DMOP_SET_IOREQ_SERVER_STATE, &mut op).map(|_| ())
}

/// Sets the level of a PCI interrupt pin (0 is INTA#) of a slot on bus 0.
pub fn set_pci_intx_level(domain: DomId, device: u8, intx: u8, high: bool) -> Result<(), XenError> {
    let mut op = SetPciIntxLevel { domain: 0, bus: 0, device, intx, level: u8::from(high) };
    dm_op(domain, abi::XEN_DMOP_SET_PCI_INTX_LEVEL, &mut op).map(|_| ())
}

/// Sets the level of an ISA interrupt line.
pub fn set_isa_irq_level(domain: DomId, isa_irq: u8, high: bool) -> Result<(), XenError> {
    dm_op(domain, abi::XEN_DMOP_SET_ISA_IRQ_LEVEL, &mut SetIsaIrqLevel { isa_irq, level: u8::from(high) }).map(|_| ())
}

/// Routes a PCI interrupt link (0 is PIRQA#) to an ISA line; `None` is nowhere.
pub fn set_pci_link_route(domain: DomId, link: u8, isa_irq: Option<u8>) -> Result<(), XenError> {
    dm_op(domain, abi::XEN_DMOP_SET_PCI_LINK_ROUTE, &mut SetPciLinkRoute { link, isa_irq: isa_irq.unwrap_or(0) })
        .map(|_| ())
}

/// Reports which of `pages` pages from `first` on the guest wrote since the last call for the same range: bit `i`,
/// least significant first within a byte, is page `first + i`. The first call begins the tracking.
pub fn track_dirty_vram(domain: DomId, first: Gfn, pages: u32, bitmap: &mut [u8]) -> Result<(), XenError> {
    if (bitmap.len() as u64) < u64::from(pages.div_ceil(8)) {
        return Err(XenError::EINVAL);
    }
    let mut op = TrackDirtyVram { nr: pages, pad: 0, first_pfn: first.number() };
    let second = (bitmap.as_mut_ptr().expose_provenance(), bitmap.len());
    // SAFETY: Xen writes the bitmap, which is ours and as long as it says.
    unsafe { dm_op_with(domain, abi::XEN_DMOP_TRACK_DIRTY_VRAM, &mut op, Some(second)) }.map(|_| ())
}

/// Ends the tracking of [`track_dirty_vram`].
pub fn stop_tracking_vram(domain: DomId) -> Result<(), XenError> {
    // Xen insists on a bitmap, even of no bytes.
    track_dirty_vram(domain, Gfn::new(0), 0, &mut [])
}

/// Tells Xen that the device model has written `pages` pages from `first` on, for migration.
pub fn modified_memory(domain: DomId, first: Gfn, pages: u32) -> Result<(), XenError> {
    let extent = [ModifiedMemoryExtent { nr: pages, pad: 0, first_pfn: first.number() }];
    let second = (extent.as_ptr().expose_provenance(), size_of_val(&extent));
    // SAFETY: Xen reads the extent.
    unsafe {
        dm_op_with(
            domain,
            abi::XEN_DMOP_MODIFIED_MEMORY,
            &mut ModifiedMemory { nr_extents: 1, opaque: 0 },
            Some(second),
        )
    }
    .map(|_| ())
}

/// Sends a message-signalled interrupt.
pub fn inject_msi(domain: DomId, addr: u64, data: u32) -> Result<(), XenError> {
    dm_op(domain, abi::XEN_DMOP_INJECT_MSI, &mut InjectMsi { data, pad: 0, addr }).map(|_| ())
}

/// Ends the target.
pub fn remote_shutdown(domain: DomId, reason: ShutdownReason) -> Result<(), XenError> {
    dm_op(domain, abi::XEN_DMOP_REMOTE_SHUTDOWN, &mut RemoteShutdown { reason: reason as u32 }).map(|_| ())
}

/// Fixes the caching of the frames `first` to `last`, with one of `xen_abi::dm_op::XEN_DMOP_MEM_CACHEATTR_*`.
pub fn pin_memory_cacheattr(domain: DomId, first: Gfn, last: Gfn, kind: u32) -> Result<(), XenError> {
    let mut op = PinMemoryCacheattr { start: first.number(), end: last.number(), kind, pad: 0 };
    dm_op(domain, abi::XEN_DMOP_PIN_MEMORY_CACHEATTR, &mut op).map(|_| ())
}

/// How many vCPUs the target may have.
pub fn vcpus(domain: DomId) -> Result<u32, XenError> {
    let mut op = NrVcpus::default();
    dm_op(domain, abi::XEN_DMOP_NR_VCPUS, &mut op)?;
    Ok(op.vcpus)
}
