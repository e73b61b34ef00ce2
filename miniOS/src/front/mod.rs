//! Frontends: the halves of Xen's split drivers that live in this domain.
//!
//! A frontend is a handle that is used from the main loop and shared with a task, which keeps it connected:
//!
//! ```text
//! let disk = Block::new(Rc::new(XenDomain), &store, "device/vbd/768", Options::default())?;
//! executor.spawn(disk.clone().run());     // finds the backend, connects, reconnects
//! disk.session().ready().await?;          // or go on, and look at `status` later
//! // in the main loop, when disk.port() fired:
//! disk.poll(|token, result| ..);
//! ```
//!
//! Everything but `run` answers at once. Frontends know nothing of hypercalls: memory, grants, channels and time come
//! from a [`Platform`], which is a fake in unit tests.

pub mod block;
pub mod console;
#[cfg(test)]
pub(crate) mod fake;
pub mod framebuffer;
pub mod keyboard;
pub mod net;
pub mod xen;

pub use xen::XenDomain;

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::Ordering;
use core::time::Duration;

use xen_abi::{DomId, GrantRef, PAGE_SIZE};

use crate::shared_mem::{Notify, SharedMem};

/// How long a backend may take for each step of its first connection.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long backends of pictures and keyboards get to say what they can do; see [`crate::xenbus::Driver::GRACE`].
const GRACE: Duration = Duration::from_millis(300);

/// What frontends need of the domain that they live in.
pub trait Platform {
    /// Pages that can be shared.
    type Memory: SharedMem;
    /// Event channels.
    type Channel: Notify;
    /// The permission to access one page.
    type Grant;

    /// Allocates pages, all of them zero.
    fn allocate(&self, pages: usize) -> Result<Self::Memory, Shortage>;

    /// The machine frame of a page, for the old protocols that name pages by it.
    fn frame(&self, memory: &Self::Memory, page: usize) -> u64;

    /// Lets `peer` read and write a page.
    fn grant(&self, peer: DomId, memory: &Self::Memory, page: usize) -> Result<Self::Grant, Shortage>;

    /// The name of a grant for the peer.
    fn reference(&self, grant: &Self::Grant) -> GrantRef;

    /// Ends a grant. `false`: the peer has the page mapped still, so the page must never be used again.
    #[must_use]
    fn revoke(&self, grant: Self::Grant) -> bool;

    /// Opens a channel that `peer` may bind.
    fn open_channel(&self, peer: DomId) -> Result<Self::Channel, Shortage>;

    /// Waits.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;
}

/// Something that a connection needs is not to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// What.
    pub what: &'static str,
    /// Why not.
    pub why: String,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot get {}: {}", self.what, self.why)
    }
}

impl core::error::Error for Shortage {}

/// Pages and the grants on them. When a peer does not let go of a page, none of them is ever used again.
pub(crate) struct GrantedMemory<P: Platform> {
    platform: Rc<P>,
    memory: Option<P::Memory>,
    grants: Vec<P::Grant>,
}

impl<P: Platform> GrantedMemory<P> {
    /// Allocates pages that nobody else has access to yet.
    pub(crate) fn allocate(platform: &Rc<P>, pages: usize) -> Result<Self, Shortage> {
        let memory = platform.allocate(pages)?;
        Ok(Self { platform: platform.clone(), memory: Some(memory), grants: Vec::new() })
    }

    /// Grants every page to `peer`, if that was not done.
    pub(crate) fn grant(&mut self, peer: DomId) -> Result<(), Shortage> {
        let Some(memory) = &self.memory else { return Ok(()) };
        for page in self.grants.len()..memory.len() / PAGE_SIZE {
            self.grants.push(self.platform.grant(peer, memory, page)?);
        }
        Ok(())
    }

    /// Ends all grants. When a peer has not let go, the pages are given up and the caller has to allocate new ones.
    fn revoke(&mut self) {
        let mut all_ended = true;
        for grant in self.grants.drain(..) {
            all_ended &= self.platform.revoke(grant);
        }
        if !all_ended {
            // Leaked on purpose: the peer can write to them for as long as it likes.
            core::mem::forget(self.memory.take());
        }
    }

    /// The pages, unless they had to be given up.
    fn memory(&self) -> Option<&P::Memory> {
        self.memory.as_ref()
    }

    /// The name of the grant on a page.
    pub(crate) fn reference(&self, page: usize) -> GrantRef {
        self.grants.get(page).map_or(GrantRef(0), |grant| self.platform.reference(grant))
    }
}

/// Pages that a peer maps by their machine frames, which the old protocols do.
///
/// Nothing says when such a peer has let go, so pages that were ever published are never used for anything else.
struct FramedMemory<P: Platform> {
    platform: Rc<P>,
    memory: Option<P::Memory>,
    is_published: bool,
}

impl<P: Platform> FramedMemory<P> {
    /// Allocates pages that nobody else knows of yet.
    fn allocate(platform: &Rc<P>, pages: usize) -> Result<Self, Shortage> {
        let memory = platform.allocate(pages)?;
        Ok(Self { platform: platform.clone(), memory: Some(memory), is_published: false })
    }

    /// The pages. They are there until this is dropped.
    fn memory(&self) -> Option<&P::Memory> {
        self.memory.as_ref()
    }

    /// The machine frame of a page, for the peer.
    fn publish(&mut self, page: usize) -> u64 {
        self.is_published = true;
        self.memory.as_ref().map_or(0, |memory| self.platform.frame(memory, page))
    }
}

impl<P: Platform> Drop for FramedMemory<P> {
    fn drop(&mut self) {
        if self.is_published {
            core::mem::forget(self.memory.take());
        }
    }
}

/// Pages that were given up are as if they had no bytes.
impl<P: Platform> SharedMem for GrantedMemory<P> {
    fn len(&self) -> usize {
        self.memory.as_ref().map_or(0, SharedMem::len)
    }

    fn read(&self, offset: usize, data: &mut [u8]) {
        match &self.memory {
            Some(memory) => memory.read(offset, data),
            None => data.fill(0),
        }
    }

    fn write(&self, offset: usize, data: &[u8]) {
        if let Some(memory) = &self.memory {
            memory.write(offset, data);
        }
    }

    fn load_u32(&self, offset: usize, ordering: Ordering) -> u32 {
        self.memory.as_ref().map_or(0, |memory| memory.load_u32(offset, ordering))
    }

    fn store_u32(&self, offset: usize, value: u32, ordering: Ordering) {
        if let Some(memory) = &self.memory {
            memory.store_u32(offset, value, ordering);
        }
    }
}

impl<P: Platform> Drop for GrantedMemory<P> {
    fn drop(&mut self) {
        self.revoke();
    }
}
