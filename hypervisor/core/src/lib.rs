//! The policy of the hypervisor core: who owns which page and may do what with it, who signals whom, who runs.
//!
//! Everything here is plain values and host-testable; the machine, which is the only unsafe code, is in `hypervisor/`. It reaches
//! memory through [`Memory`], and processors through what calls return.
//!
//! | module | what lives there |
//! |---|---|
//! | [`memory`] | machine frames, and the machine's memory as this crate reaches it |
//! | [`entry`], [`descriptor`] | entries of page tables, and of tables of segments |
//! | [`frames`] | owners, types and reference counts of frames: what a page table may map |
//! | [`walk`] | a domain's virtual addresses |
//! | [`event`] | event channels |
//! | [`grant`] | grant tables |
//! | [`time`] | system time, as domains compute it |
//! | [`build`], [`domain`] | the first domain, out of an ELF file; a domain's life |
//! | [`hypercall`] | number, decoding, act |
//! | [`trap`] | exceptions and events of a domain, and its way back |
//! | [`segment`], [`debug`], [`port`] | selectors and local tables, debug registers, and ports of a vCPU |
//! | `emulate`, `table_write` | privileged instructions of a domain's kernel, and those by which it writes to page tables |
//! | [`cpuid`] | what a domain sees of the processor |
//! | [`schedule`] | who runs |
//! | [`vcpu`], [`system`] | a virtual processor; all domains, and what they share |
//! | [`errno`] | why calls fail |
//!
//! Source: Xen 4.17, `xen/include/public` for the interface; the behaviour behind it is Xen's where a domain can see it.
//! Invariant: nothing that a domain passes makes a call panic, loop without bound or allocate without bound.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small, or random"))]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unimplemented,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::wildcard_imports
    )
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(test)]
mod advisories;
pub mod build;
pub mod cpuid;
pub mod debug;
pub mod descriptor;
pub mod domain;
mod emulate;
pub mod entry;
pub mod errno;
pub mod event;
pub mod frames;
pub mod grant;
pub mod hypercall;
pub mod memory;
pub mod port;
pub mod schedule;
pub mod segment;
pub mod system;
mod table_write;
pub mod time;
pub mod trap;
pub mod vcpu;
pub mod walk;

pub use errno::Errno;
pub use memory::{Memory, Mfn};
