//! This domain, as its backends see it.

use alloc::string::ToString;
use alloc::vec::Vec;

use core::sync::atomic::Ordering;

use xen_abi::{DomId, GrantRef, Port};

use super::{CopyError, Host, Piece};
use crate::arch::paging::{self, Window};
use crate::boot;
use crate::event::EventChannel;
use crate::exec;
use crate::front::{Shortage, XenDomain};
use crate::hypercall::{XenError, grant};
use crate::shared_mem::SharedMem;

/// How long a backend that never comes to an end lets others have a turn, in nanoseconds: no longer than that takes.
const PAUSE: u64 = 1_000;
/// How long a state is there to be seen by the toolstack, in nanoseconds.
const LINGER: u64 = 300_000_000;

impl Host for XenDomain {
    type Mapping = GrantedByPeer;
    type Channel = EventChannel;

    fn map(&self, peer: DomId, references: &[GrantRef]) -> Result<GrantedByPeer, Shortage> {
        GrantedByPeer::map(peer, references)
            .map_err(|error| Shortage { what: "the frontend's pages", why: error.to_string() })
    }

    fn bind(&self, peer: DomId, port: Port) -> Result<EventChannel, Shortage> {
        EventChannel::bind(peer, port)
            .map_err(|error| Shortage { what: "the frontend's event channel", why: error.to_string() })
    }

    fn copy(&self, peer: DomId, pieces: &mut [Piece<'_>]) -> Result<(), CopyError> {
        grant::copy(peer, pieces).map_err(|error| {
            log::debug!("domain {}: a copy failed: {error}", peer.0);
            CopyError
        })
    }

    async fn pause(&self) {
        exec::sleep(PAUSE).await;
    }

    async fn linger(&self) {
        // The toolstack of domain 0 is its own.
        if !boot::is_control_domain() {
            exec::sleep(LINGER).await;
        }
    }
}

/// Pages that a peer has granted us, one after the other in our virtual memory. Unmapped when dropped.
#[derive(Debug)]
pub struct GrantedByPeer {
    /// Taken by `drop` alone.
    window: Option<Window>,
    /// What names the mapping of each page, as far as they are mapped.
    handles: Vec<u32>,
}

impl GrantedByPeer {
    /// Maps pages, all of them or none.
    pub fn map(peer: DomId, references: &[GrantRef]) -> Result<Self, XenError> {
        let window = paging::reserve(references.len())?;
        let mut mapping = Self { window: None, handles: Vec::with_capacity(references.len()) };
        let window = mapping.window.insert(window);
        for (page, reference) in references.iter().enumerate() {
            mapping.handles.push(window.map_granted(page, peer, *reference)?);
        }
        Ok(mapping)
    }

    fn with<T>(&self, work: impl FnOnce(&crate::shared::SharedBytes) -> T) -> Option<T> {
        self.window.as_ref().map(|window| work(window.bytes()))
    }
}

impl Drop for GrantedByPeer {
    fn drop(&mut self) {
        let Some(mut window) = self.window.take() else { return };
        let mut all_ended = true;
        for (page, handle) in self.handles.drain(..).enumerate() {
            all_ended &= window.unmap_granted(page, handle).is_ok();
        }
        if !all_ended {
            // Xen ends a domain that maps something else where a grant is mapped.
            log::warn!("pages of a frontend stay mapped");
            core::mem::forget(window);
        }
    }
}

impl SharedMem for GrantedByPeer {
    fn len(&self) -> usize {
        self.with(|bytes| bytes.len()).unwrap_or(0)
    }

    fn read(&self, offset: usize, data: &mut [u8]) {
        self.with(|bytes| bytes.read(offset, data));
    }

    fn write(&self, offset: usize, data: &[u8]) {
        self.with(|bytes| bytes.write(offset, data));
    }

    fn load_u32(&self, offset: usize, ordering: Ordering) -> u32 {
        self.with(|bytes| bytes.load_u32(offset, ordering)).unwrap_or(0)
    }

    fn store_u32(&self, offset: usize, value: u32, ordering: Ordering) {
        self.with(|bytes| bytes.store_u32(offset, value, ordering));
    }
}
