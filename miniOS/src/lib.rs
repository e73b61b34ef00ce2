//! A library for small kernels that Xen runs as paravirtualised (PV) domains, with nothing else inside.
//!
//! A program is a binary with `minios::image!(main)`, linked with `link.ld`. Xen starts it with memory, a console and
//! xenstore, all told in its start information; [`boot`] makes these usable and calls `main`.
//!
//! | module | what lives there |
//! |---|---|
//! | [`boot`] | the start, the command line, the end |
//! | [`hypercall`] | typed hypercalls, and their error |
//! | [`addr`], [`frame`], [`shared`], [`heap`] | frame numbers, pages for others, memory that others write, the heap |
//! | [`event`], [`clock`], [`exec`] | event channels and sleeping, time, an executor for things that wait |
//! | [`grant`], [`foreign`] | pages of ours for others, pages of others for us |
//! | [`ioreq`] | a guest's accesses, for a device model |
//! | [`console`], [`logger`], [`mod@panic`] | console 0, the log, the last words |
//! | [`shared_mem`], [`ring`] | rings in memory shared with a peer |
//! | [`vchan`] | two byte streams to a peer that connects when it likes |
//! | [`xenstore`], [`xenbus`], [`front`] | the store, and the front ends of consoles, disks, framebuffer, keyboard |
//! | [`back`] | the back ends of disks and network interfaces, for a domain that serves others |
//! | [`virtio`] | disks and network cards of the machine, for domain 0 |
//!
//! Unsafe code is in `arch`, `boot`, `frame`, `heap`, `hypercall`, `panic`, `shared` and `virtio::raw`, and nowhere else.
//!
//! One vCPU. Rust code is never interrupted: events are taken when the program asks for them ([`event::wait`]). On the
//! host, in unit tests, there is no Xen: hypercalls answer ENOSYS, nothing is mapped, and everything pure works.
//!
//! Invariant: there is no Rust reference to memory that another domain can write.
//! Invariant: nothing waits by spinning, and nothing ticks: a program that waits costs nothing.
//! Not here: user mode, more than one vCPU, suspend and resume of the domain itself, the FIFO event ABI.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub use xen_abi;

mod arch;

pub mod addr;
pub mod back;
pub mod boot;
pub mod clock;
pub mod console;
pub mod disk;
pub mod event;
pub mod exec;
pub mod foreign;
pub mod frame;
pub mod front;
pub mod grant;
pub mod heap;
pub mod hypercall;
pub mod ioreq;
pub mod logger;
pub mod net;
pub mod panic;
pub mod power;
pub mod random;
pub mod ring;
pub mod shared;
pub mod shared_mem;
pub mod suspend;
pub mod vchan;
pub mod virtio;
pub mod xenbus;
pub mod xenstore;

pub use xen_abi::{DomId, GrantRef, Port};
