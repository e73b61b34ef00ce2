//! The xenstore daemon: the tree of small strings through which domains and the toolstack configure each other.
//!
//! There is no input or output here: a [`Daemon`] takes the bytes that clients sent and gives the bytes to send them. The
//! program around it owns pages and event channels; [`Ring`] moves bytes between a domain's page and the daemon. What only
//! that program can know or do, it says and does through [`Host`].
//!
//! | module | what lives there |
//! |---|---|
//! | [`daemon`] | all connections and domains, and what requests do |
//! | [`ring`] | the page that a domain and the daemon share |
//! | [`quota`], [`errno`] | what clients may use up, and why requests fail |
//! | `store`, `node`, `path`, `permission` | the tree |
//! | `transaction` | what a transaction saw and wants; how operations see the store |
//! | `tree` | operations on the tree |
//! | `connection`, `watch`, `wire` | what a client sent, is owed and watches; messages as bytes |
//!
//! Source: Xen's docs/misc/xenstore.txt and docs/misc/xenstore-ring.txt, public/io/xs_wire.h; where they leave something open,
//! tools/xenstore of Xen 4.17, and of later releases for watches of limited depth and `@releaseDomain/<domid>`.
//! Not modelled: the limit on how often a domain may write, soft quotas, live update, features and quotas of single domains
//! (requests of Xen 4.21: ENOSYS), DOMID_ANY in permissions.
//!
//! Invariant: nothing that a client sends makes this panic, loop without bound or allocate without bound. What a domain other
//! than domain 0 can make the daemon hold is limited by [`Quotas`].
//! Invariant: a client learns of a node on which it has no rights only what its rights on the nearest node above allow: that it
//! exists, or does not.
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
        clippy::cast_possible_truncation,
        clippy::wildcard_imports,
        clippy::todo
    )
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod connection;
pub mod daemon;
pub mod errno;
mod node;
mod path;
mod permission;
pub mod quota;
pub mod ring;
mod store;
#[cfg(test)]
mod tests;
mod transaction;
mod tree;
mod watch;
mod wire;

pub use connection::Fault;
pub use daemon::{ConnectionId, Daemon, Host};
pub use errno::Errno;
pub use quota::Quotas;
pub use ring::{Ring, RingMemory, Served};
