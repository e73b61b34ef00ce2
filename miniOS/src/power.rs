//! What the toolstack asks of this domain by `control/shutdown`: `xl shutdown`, `xl reboot`, `xl save`.
//!
//! Source: Xen's docs/misc/xenstore-paths.pandoc. Not modelled: `control/sysrq`.

use log::{info, warn};

use crate::boot;
use crate::exec;
use crate::hypercall::XenError;
use crate::hypercall::sched::ShutdownReason;
use crate::suspend;
use crate::xenstore::{Xenstore, XenstoreError};

/// Where requests are.
const REQUEST: &str = "control/shutdown";
/// What we can do.
const FEATURES: [&str; 3] = ["control/feature-poweroff", "control/feature-reboot", "control/feature-suspend"];

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// To end.
    PowerOff,
    /// To end, and to be started again.
    Reboot,
    /// To [stand still](suspend_when_idle) and be saved.
    Suspend,
}

impl Request {
    fn decode(text: &str) -> Option<Self> {
        match text {
            "poweroff" | "halt" => Some(Self::PowerOff),
            "reboot" => Some(Self::Reboot),
            "suspend" => Some(Self::Suspend),
            _ => None,
        }
    }
}

/// Requests, one after the other.
#[derive(Debug)]
pub struct Requests {
    store: Xenstore,
    watch: crate::xenstore::Watch,
}

impl Requests {
    /// Says what this domain can do, and listens.
    ///
    /// # Errors
    /// The store does not let us.
    pub async fn listen(store: &Xenstore) -> Result<Self, XenstoreError> {
        if let Err(error) = suspend::prepare() {
            warn!("this domain cannot be saved: {error}");
        }
        let written: [_; 3] = FEATURES.map(|feature| store.write(feature, "1"));
        for written in written {
            match written.await {
                // A toolstack that does not want to know.
                Err(error) if error.is_forbidden() => {}
                done => done?,
            }
        }
        Ok(Self { store: store.clone(), watch: store.watch(REQUEST).await? })
    }

    /// Waits for the next one, and tells the toolstack that it was heard.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn next(&mut self) -> Result<Request, XenstoreError> {
        loop {
            self.watch.next().await?;
            let heard = self
                .store
                .transaction(async |store| {
                    let text = store.read_optional(REQUEST).await?.unwrap_or_default();
                    let request = Request::decode(&text);
                    if request.is_some() {
                        store.write(REQUEST, "").await?;
                    } else if !text.is_empty() {
                        warn!("{REQUEST}: there is no way to {text:?}");
                    }
                    Ok(request)
                })
                .await?;
            if let Some(request) = heard {
                info!("the toolstack asks: {request:?}");
                return Ok(request);
            }
        }
    }
}

/// Ends the domain, as was asked.
pub fn end(request: Request) -> ! {
    boot::shut_down(match request {
        Request::Reboot => ShutdownReason::Reboot,
        Request::PowerOff | Request::Suspend => ShutdownReason::PowerOff,
    })
}

/// Stands still as soon as no answer of the store is awaited. `true`: the domain was saved, and this is the restored one;
/// `false`: it was saved, or not, and goes on.
///
/// # Errors
/// See [`suspend::suspend`].
pub async fn suspend_when_idle(store: &Xenstore) -> Result<bool, XenError> {
    while !store.is_idle() {
        exec::sleep(IDLE_INTERVAL_NS).await;
    }
    // Nobody else runs between that look and this.
    suspend::suspend(store)
}

/// Time between two looks.
const IDLE_INTERVAL_NS: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xenstore::fake::FakeDaemon;

    #[test]
    fn requests_are_heard_and_acknowledged_one_by_one() {
        let (mut daemon, store) = FakeDaemon::new();
        let mut requests = daemon.run(&store, Requests::listen(&store)).unwrap();
        assert_eq!(daemon.get("control/feature-suspend").as_deref(), Some("1"));
        for (text, request) in [("reboot", Request::Reboot), ("suspend", Request::Suspend), ("halt", Request::PowerOff)]
        {
            daemon.set(REQUEST, "what?");
            daemon.set(REQUEST, text);
            assert_eq!(daemon.run(&store, requests.next()).unwrap(), request);
            assert_eq!(daemon.get(REQUEST).as_deref(), Some(""));
        }
    }
}
