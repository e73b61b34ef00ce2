//! The page that a domain and the daemon share, `struct xenstore_domain_interface`.
//!
//! The program around the daemon has one [`Ring`] for each domain that is connected. It serves all of them when a domain
//! signalled, and after [`Daemon::expire`], [`Daemon::destroyed`] and whatever else may send events; and round after round,
//! until none has moved. So no domain keeps the others waiting, and who waits for others to fetch their events goes on.
//!
//! ```
//! # use xen_abi::DomId;
//! # use xenstored::{Daemon, Host, Ring, RingMemory};
//! /// What the program has of a connected domain.
//! struct Link<M> {
//!     domain: DomId,
//!     page: M,
//!     ring: Ring,
//! }
//!
//! /// [`Host::connect`] may be called meanwhile: `host` keeps new links until the round is over.
//! fn serve_all<M: RingMemory>(links: &mut [Link<M>], daemon: &mut Daemon, host: &mut impl Host, signal: impl Fn(DomId)) {
//!     let mut moved = true;
//!     while core::mem::take(&mut moved) {
//!         for Link { domain, page, ring } in &mut *links {
//!             // One that was released meanwhile has no connection any more.
//!             let Some(connection) = daemon.connection(*domain) else { continue };
//!             let served = ring.serve(page, daemon, connection, host);
//!             if served.moved {
//!                 signal(*domain);
//!                 moved = true;
//!             }
//!         }
//!     }
//! }
//! ```
//!
//! Source: Xen's docs/misc/xenstore-ring.txt, with the features reconnection and error indicator.
//! Invariant: our own indices are kept here and never read back from the page.

use xen_abi::io::xs_wire::{
    CONNECTION_OFFSET, ERROR_OFFSET, REQ_CONS_OFFSET, REQ_OFFSET, REQ_PROD_OFFSET, RSP_CONS_OFFSET, RSP_OFFSET,
    RSP_PROD_OFFSET, SERVER_FEATURES_OFFSET, XENSTORE_CONNECTED, XENSTORE_ERROR_NONE, XENSTORE_RECONNECT,
    XENSTORE_RING_SIZE, XENSTORE_SERVER_FEATURE_ERROR, XENSTORE_SERVER_FEATURE_RECONNECTION,
    XENSTORE_SERVER_FEATURE_WATCHDEPTH,
};

use crate::connection::Fault;
use crate::daemon::{ConnectionId, Daemon, Host};

/// A page that a domain writes at the same time. Offsets are bytes, within the page; those of numbers are multiples of 4.
pub trait RingMemory {
    /// Copies out.
    fn read(&self, offset: usize, data: &mut [u8]);

    /// Copies in.
    fn write(&self, offset: usize, data: &[u8]);

    /// Loads a number, before anything that is read later (acquire).
    fn load(&self, offset: usize) -> u32;

    /// Stores a number, after everything that was read and written before (release).
    fn store(&self, offset: usize, value: u32);
}

/// What [`Ring::serve`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Served {
    /// Indices or fields have changed: signal the domain, and serve all rings once more.
    pub moved: bool,
    /// The domain broke the protocol in this call and is no longer served.
    pub fault: Option<Fault>,
}

/// Our end of a domain's ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Requests up to here were read.
    consumed: u32,
    /// Answers up to here were written.
    produced: u32,
}

/// What we offer.
const FEATURES: u32 =
    XENSTORE_SERVER_FEATURE_RECONNECTION | XENSTORE_SERVER_FEATURE_ERROR | XENSTORE_SERVER_FEATURE_WATCHDEPTH;

impl Ring {
    /// A ring that is empty in both directions, for a domain that is introduced. Signal it afterwards: it may be waiting for
    /// the connection.
    #[must_use]
    pub fn open(memory: &impl RingMemory) -> Self {
        for index in [REQ_CONS_OFFSET, REQ_PROD_OFFSET, RSP_CONS_OFFSET, RSP_PROD_OFFSET] {
            memory.store(index, 0);
        }
        Self { consumed: 0, produced: 0 }.offer(memory)
    }

    /// A ring with what is in it, for a domain that may have sent requests before there was a daemon.
    #[must_use]
    pub fn resume(memory: &impl RingMemory) -> Self {
        Self { consumed: memory.load(REQ_CONS_OFFSET), produced: memory.load(RSP_PROD_OFFSET) }.offer(memory)
    }

    fn offer(self, memory: &impl RingMemory) -> Self {
        memory.store(ERROR_OFFSET, XENSTORE_ERROR_NONE);
        memory.store(SERVER_FEATURES_OFFSET, FEATURES);
        memory.store(CONNECTION_OFFSET, XENSTORE_CONNECTED);
        self
    }

    /// Moves bytes in both directions, at most a ring full in each.
    pub fn serve(
        &mut self,
        memory: &impl RingMemory,
        daemon: &mut Daemon,
        connection: ConnectionId,
        host: &mut impl Host,
    ) -> Served {
        if memory.load(CONNECTION_OFFSET) == XENSTORE_RECONNECT {
            daemon.reset(connection);
            *self = Self::open(memory);
            return Served { moved: true, fault: None };
        }
        if daemon.fault(connection).is_some() {
            return Served { moved: false, fault: None };
        }
        let moved = self.receive(memory, daemon, connection, host).and_then(|received| {
            let sent = self.send(memory, daemon, connection)?;
            Ok(received || sent)
        });
        match moved {
            Ok(moved) => Served { moved, fault: None },
            Err(fault) => {
                daemon.end(connection, fault);
                memory.store(ERROR_OFFSET, fault.code());
                Served { moved: true, fault: Some(fault) }
            }
        }
    }

    fn receive(
        &mut self,
        memory: &impl RingMemory,
        daemon: &mut Daemon,
        connection: ConnectionId,
        host: &mut impl Host,
    ) -> Result<bool, Fault> {
        let waiting = distance(self.consumed, memory.load(REQ_PROD_OFFSET))?;
        let mut copy = [0; XENSTORE_RING_SIZE];
        let mut taken = 0_usize;
        while taken < waiting {
            let len = until_end(self.consumed).min(waiting.saturating_sub(taken));
            let part = copy.get_mut(..len).unwrap_or_default();
            memory.read(REQ_OFFSET.saturating_add(place(self.consumed)), part);
            let used = daemon.receive(connection, part, host)?;
            self.consumed = advance(self.consumed, used);
            taken = taken.saturating_add(used);
            if used < len {
                break;
            }
        }
        if taken == 0 {
            return Ok(false);
        }
        memory.store(REQ_CONS_OFFSET, self.consumed);
        Ok(true)
    }

    fn send(&mut self, memory: &impl RingMemory, daemon: &mut Daemon, connection: ConnectionId) -> Result<bool, Fault> {
        let unread = distance(memory.load(RSP_CONS_OFFSET), self.produced)?;
        let mut room = XENSTORE_RING_SIZE.saturating_sub(unread);
        let mut moved = false;
        while room > 0 {
            let output = daemon.output(connection);
            let len = output.len().min(room).min(until_end(self.produced));
            let Some(part) = output.get(..len).filter(|part| !part.is_empty()) else { break };
            memory.write(RSP_OFFSET.saturating_add(place(self.produced)), part);
            daemon.sent(connection, len);
            self.produced = advance(self.produced, len);
            room = room.saturating_sub(len);
            moved = true;
        }
        if moved {
            memory.store(RSP_PROD_OFFSET, self.produced);
        }
        Ok(moved)
    }
}

/// Bytes between two indices, if that is no more than there can be.
fn distance(from: u32, to: u32) -> Result<usize, Fault> {
    let bytes = usize::try_from(to.wrapping_sub(from)).ok();
    bytes.filter(|bytes| *bytes <= XENSTORE_RING_SIZE).ok_or(Fault::RingIndex)
}

/// Where in its half of the ring the byte of an index is.
fn place(index: u32) -> usize {
    usize::try_from(index).map_or(0, |index| index % XENSTORE_RING_SIZE)
}

/// Bytes from there to the end of that half.
fn until_end(index: u32) -> usize {
    XENSTORE_RING_SIZE.saturating_sub(place(index))
}

/// An index so many bytes further on. They are no more than a ring holds.
fn advance(index: u32, bytes: usize) -> u32 {
    index.wrapping_add(u32::try_from(bytes).unwrap_or(0))
}
