//! Xenstore: the tree of small strings through which domains and the toolstack configure each other.
//!
//! [`wire`] is the protocol as bytes; [`client`] is our connection to the daemon.

pub mod client;
#[cfg(test)]
pub(crate) mod fake;
pub mod wire;
#[cfg(test)]
mod with_daemon;

pub use client::{ConnectionFault, ErrorKind, Reply, Watch, Xenstore, XenstoreError};
pub use wire::{Access, Operation, Permission, Refusal};
