//! Numbers and layouts of Xen's public interface, as far as we use it.
//!
//! A module per header of `xen/include/public`; names are the header's, in Rust's spelling. Structures derive
//! zerocopy's traits, so that they can be copied from and to bytes without unsafe code. There is no logic here.
//!
//! Source: the public headers of Xen 4.17; later releases only add to them. `cargo test -p xen-abi` compares sizes,
//! offsets and numbers with the installed headers (Debian's `libxen-dev`).
//! Invariant: every structure has the size and the offsets that the C compiler gives it on x86-64.
#![no_std]
#![forbid(unsafe_code)]
#![expect(missing_docs, reason = "fields carry the header's names; only what the header leaves open is explained")]

pub mod callback;
pub mod dm_op;
pub mod domain;
pub mod domctl;
pub mod elfnote;
pub mod errno;
pub mod event;
pub mod grant;
pub mod hvm;
pub mod ioreq;
pub mod memory;
pub mod mmu;
pub mod physdev;
pub mod sched;
pub mod shared_info;
pub mod start_info;
pub mod trap;
pub mod vcpu;
pub mod version;

/// Rings and shared pages of the split drivers: `public/io`.
pub mod io {
    pub mod blkif;
    pub mod console;
    pub mod fbif;
    pub mod kbdif;
    pub mod netif;
    pub mod ring;
    pub mod vchan;
    pub mod xenbus;
    pub mod xs_wire;
}

pub use domain::{DomId, GrantRef, Port};

/// Bytes in a page, and its binary logarithm.
pub const PAGE_SIZE: usize = 4096;
/// Binary logarithm of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;

/// The operation of [`Hypercall::ConsoleIo`] that prints.
pub const CONSOLEIO_WRITE: u32 = 0;
/// The one that reads.
pub const CONSOLEIO_READ: u32 = 1;

/// Number of a hypercall: the slot of the hypercall page that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Hypercall {
    SetTrapTable = 0,
    MmuUpdate = 1,
    SetGdt = 2,
    StackSwitch = 3,
    SetCallbacks = 4,
    FpuTaskswitch = 5,
    SetDebugreg = 8,
    GetDebugreg = 9,
    UpdateDescriptor = 10,
    MemoryOp = 12,
    Multicall = 13,
    UpdateVaMapping = 14,
    SetTimerOp = 15,
    XenVersion = 17,
    ConsoleIo = 18,
    GrantTableOp = 20,
    VmAssist = 21,
    Iret = 23,
    VcpuOp = 24,
    SetSegmentBase = 25,
    MmuextOp = 26,
    SchedOp = 29,
    CallbackOp = 30,
    EventChannelOp = 32,
    PhysdevOp = 33,
    HvmOp = 34,
    Domctl = 36,
    DmOp = 41,
}
