//! Backends: the halves of Xen's split drivers that serve other domains, for a domain 0 or a driver domain.
//!
//! A backend is a task that serves one device, given its directory, which the toolstack has made:
//!
//! ```text
//! let disk = Block::new(Rc::new(XenDomain), &store, "backend/vbd/3/51712", Rc::new(medium), Options::default());
//! executor.spawn(disk.run());             // until the toolstack takes the device away
//! ```
//!
//! [`devices::serve`] starts one for each device of a kind that the toolstack makes.
//!
//! | module | what lives there |
//! |---|---|
//! | [`block`] | disks, on any [`block::Medium`] |
//! | [`net`], [`hub`], [`switch`] | network interfaces, on any [`net::Wire`]; what joins them and a card to a network |
//! | [`link`] | how a backend finds its frontend, and both agree on a connection |
//!
//! Data is copied by Xen, from and to grants of the frontend ([`Host::copy`]); only rings are mapped. So a frontend that
//! changes its data at the wrong time harms nobody, and one that dies leaves nothing mapped but its rings.
//!
//! Backends know nothing of hypercalls: what they need of their domain comes from a [`Host`], which is a fake in unit tests.
//!
//! Invariant: whatever a frontend writes to its rings and its directory, it gets an error or loses its connection, with one
//! line in the log; others are served as before, and what it can make us allocate is bounded by options of ours.

pub mod block;
pub mod buffer;
pub mod devices;
#[cfg(test)]
pub(crate) mod fake;
pub mod hub;
pub mod link;
pub mod net;
pub mod switch;
pub mod xen;

use alloc::string::String;

use xen_abi::{DomId, GrantRef, Port};

use crate::front::Shortage;
use crate::ring::RingFault;
use crate::shared_mem::{Notify, SharedMem};
use crate::xenstore::XenstoreError;

pub use crate::front::XenDomain;
pub use crate::hypercall::grant::{Ours, Piece};

/// What backends need of the domain that they live in.
pub trait Host {
    /// Pages of a peer that are mapped here.
    type Mapping: SharedMem;
    /// Event channels.
    type Channel: Notify;

    /// Maps pages that `peer` has granted, one after the other.
    fn map(&self, peer: DomId, references: &[GrantRef]) -> Result<Self::Mapping, Shortage>;

    /// Binds a channel that `peer` has opened for us.
    fn bind(&self, peer: DomId, port: Port) -> Result<Self::Channel, Shortage>;

    /// Copies between pages that `peer` has granted and memory of ours. After an error, what was copied is unknown.
    fn copy(&self, peer: DomId, pieces: &mut [Piece<'_>]) -> Result<(), CopyError>;

    /// Lets everything else have a turn that has something to do.
    fn pause(&self) -> impl Future<Output = ()>;

    /// Lets the toolstack see a state that it waits for. libxl looks at a state when it hears that it has changed, and gives
    /// up a backend in another domain that it does not see in InitWait.
    fn linger(&self) -> impl Future<Output = ()>;
}

/// A page was not granted, or not for this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyError;

/// Why a device is not served, or not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The store refused something.
    Store(XenstoreError),
    /// A key of the frontend is missing, or cannot be right.
    Malformed {
        /// The key in the frontend's directory.
        key: String,
        /// Its value; empty if there is none.
        value: String,
    },
    /// The frontend wants something that we do not do.
    Unsupported {
        /// The key in the frontend's directory.
        key: String,
        /// Its value.
        value: String,
    },
    /// We are short of something, or cannot get at what the frontend has named.
    Shortage(Shortage),
    /// The frontend broke the protocol of a ring.
    Fault(RingFault),
    /// The frontend broke another rule, which this says.
    Broken(&'static str),
}

impl core::fmt::Display for Problem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Store(error) => write!(f, "{error}"),
            Self::Malformed { key, value } => write!(f, "the frontend's {key} is {value:?}, which cannot be right"),
            Self::Unsupported { key, value } => write!(f, "the frontend's {key} is {value:?}, which is not supported"),
            Self::Shortage(shortage) => write!(f, "{shortage}"),
            Self::Fault(fault) => write!(f, "{fault}"),
            Self::Broken(rule) => f.write_str(rule),
        }
    }
}

impl core::error::Error for Problem {}

impl From<RingFault> for Problem {
    fn from(fault: RingFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Shortage> for Problem {
    fn from(shortage: Shortage) -> Self {
        Self::Shortage(shortage)
    }
}

impl From<XenstoreError> for Problem {
    fn from(error: XenstoreError) -> Self {
        Self::Store(error)
    }
}
