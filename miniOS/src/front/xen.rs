//! This domain, as its frontends see it.

use alloc::string::ToString;
use core::fmt;
use core::time::Duration;

use xen_abi::{DomId, GrantRef};

use super::{Platform, Shortage};
use crate::arch::paging::Access;
use crate::event::EventChannel;
use crate::exec;
use crate::frame::SharedPages;
use crate::grant::Grant;

/// Pages, grants, event channels and timers of the domain that we run in.
#[derive(Clone, Copy, Debug, Default)]
pub struct XenDomain;

fn short(what: &'static str, why: &dyn fmt::Display) -> Shortage {
    Shortage { what, why: why.to_string() }
}

impl Platform for XenDomain {
    type Memory = SharedPages;
    type Channel = EventChannel;
    type Grant = Grant;

    fn allocate(&self, pages: usize) -> Result<SharedPages, Shortage> {
        SharedPages::alloc(pages).map_err(|error| short("memory", &error))
    }

    fn frame(&self, memory: &SharedPages, page: usize) -> u64 {
        memory.mfn(page).number()
    }

    fn grant(&self, peer: DomId, memory: &SharedPages, page: usize) -> Result<Grant, Shortage> {
        Grant::access(peer, memory.mfn(page), Access::ReadWrite).map_err(|error| short("a grant", &error))
    }

    fn reference(&self, grant: &Grant) -> GrantRef {
        grant.reference()
    }

    fn revoke(&self, grant: Grant) -> bool {
        // What cannot be ended now is ended by the grant table once the peer lets go.
        grant.end().is_ok()
    }

    fn open_channel(&self, peer: DomId) -> Result<EventChannel, Shortage> {
        EventChannel::offer_to(peer).map_err(|error| short("an event channel", &error))
    }

    async fn sleep(&self, duration: Duration) {
        exec::sleep(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)).await;
    }
}
