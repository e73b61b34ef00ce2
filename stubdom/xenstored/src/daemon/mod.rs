//! All connections and domains, and the program around them.
//!
//! The program attaches clients, hands over what they sent, and fetches what they are to get:
//!
//! ```
//! use core::time::Duration;
//! use xenstored::{Daemon, Errno, Host, Quotas};
//! # use xen_abi::{DomId, Port};
//! # struct Nobody;
//! # impl Host for Nobody {
//! #     fn now(&self) -> Duration { Duration::ZERO }
//! #     fn exists(&self, _: DomId) -> bool { false }
//! #     fn connect(&mut self, _: DomId, _: Option<u64>, _: Port) -> Result<(), Errno> { Err(Errno::EIO) }
//! #     fn disconnect(&mut self, _: DomId) {}
//! # }
//! let mut daemon = Daemon::new(Quotas::XEN);
//! let client = daemon.attach(DomId(0));
//! // READ of "/tool".
//! let request = [2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, b'/', b't', b'o', b'o', b'l', 0];
//! assert_eq!(daemon.receive(client, &request, &mut Nobody), Ok(request.len()));
//! assert_eq!(daemon.output(client), [2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
//! daemon.sent(client, 16);
//! ```
//!
//! Domains are connected by INTRODUCE requests of domain 0, or by the program itself with [`Daemon::introduce`]. It reports
//! domains that stopped ([`Daemon::shut_down`]) and that are no more ([`Daemon::destroyed`]), and lets time pass
//! ([`Daemon::expire`]).

mod control;
mod domains;
mod requests;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use xen_abi::{DomId, Port};

use crate::connection::{Cause, Connection, Fault};
use crate::errno::Errno;
use crate::permission::Who;
use crate::quota::Quotas;
use crate::store::Store;
use crate::transaction::{Change, View};
use crate::tree;
use crate::watch::{Occasion, Watch, may_know};

/// What the program around the daemon knows and does.
pub trait Host {
    /// Time since any fixed moment.
    fn now(&self) -> Duration;

    /// Whether there is a domain of this number, connected or not. Rights are given to those that exist alone, since another
    /// domain may get the number later.
    fn exists(&self, domain: DomId) -> bool;

    /// Maps a domain's page, which is grant 1 (`GNTTAB_RESERVED_XENSTORE`) or the given frame, binds the event channel, and
    /// begins with an empty ring. May be called for a domain that is connected, to connect it anew.
    ///
    /// # Errors
    ///
    /// The domain, its page or its channel is not there. The answer says so.
    fn connect(&mut self, domain: DomId, frame: Option<u64>, port: Port) -> Result<(), Errno>;

    /// Unbinds the channel and unmaps the page.
    fn disconnect(&mut self, domain: DomId);
}

/// A connection's name. It is not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(u64);

/// A domain that is connected.
#[derive(Debug)]
struct Domain {
    connection: ConnectionId,
    /// Watchers were told that it stopped.
    is_shut_down: bool,
}

/// The store and its clients.
#[derive(Debug)]
pub struct Daemon {
    quotas: Quotas,
    store: Store,
    connections: BTreeMap<ConnectionId, Connection>,
    domains: BTreeMap<DomId, Domain>,
    last_connection: u64,
}

impl Daemon {
    /// A store that has the nodes `/`, `/tool` and `/tool/xenstored`, and no client.
    #[must_use]
    pub fn new(quotas: Quotas) -> Self {
        let (connections, domains) = (BTreeMap::new(), BTreeMap::new());
        Self { quotas, store: Store::new(), connections, domains, last_connection: 0 }
    }

    /// Connects a client that speaks for a domain by other means than that domain's ring. It stays connected until
    /// [`Self::detach`], or the domain is gone.
    pub fn attach(&mut self, domain: DomId) -> ConnectionId {
        self.last_connection = self.last_connection.saturating_add(1);
        let id = ConnectionId(self.last_connection);
        self.connections.insert(id, Connection::new(Who { domain, target: None }));
        id
    }

    /// Disconnects a client.
    pub fn detach(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
    }

    /// Connects a domain, and tells who watches for that. The ring begins empty. One that is connected is reset: what it
    /// watched, began and was owed is forgotten.
    pub fn introduce(&mut self, domain: DomId, now: Duration) -> ConnectionId {
        if let Some(known) = self.domains.get(&domain) {
            let connection = known.connection;
            self.reset(connection);
            return connection;
        }
        let connection = self.attach(domain);
        self.domains.insert(domain, Domain { connection, is_shut_down: false });
        self.announce(Occasion::Introduced, domain, None, now);
        connection
    }

    /// The connection of a domain's ring.
    #[must_use]
    pub fn connection(&self, domain: DomId) -> Option<ConnectionId> {
        self.domains.get(&domain).map(|domain| domain.connection)
    }

    /// A domain stopped, but is still there. Watchers are told once, until the domain goes on (RESUME).
    pub fn shut_down(&mut self, domain: DomId, now: Duration) {
        let Some(known) = self.domains.get_mut(&domain) else { return };
        if !core::mem::replace(&mut known.is_shut_down, true) {
            self.announce(Occasion::Released, domain, None, now);
        }
    }

    /// A domain is no more, whether it was connected or not: its connection ends, its nodes and its rights are removed, and
    /// watchers are told. Domain 0 stays.
    pub fn destroyed(&mut self, domain: DomId, now: Duration) {
        self.forget(domain, None, now);
    }

    /// Takes bytes that a client sent. Gives how many it took: fewer than there are when the client has to fetch its answers
    /// first, or when what it caused has to be fetched by others. A connection that is not there takes everything.
    ///
    /// # Errors
    ///
    /// The client broke the protocol now or earlier. It is no longer served, unless the connection is reset.
    pub fn receive(&mut self, connection: ConnectionId, bytes: &[u8], host: &mut impl Host) -> Result<usize, Fault> {
        let mut taken = 0_usize;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            let Some(client) = self.connections.get_mut(&connection) else { return Ok(bytes.len()) };
            if let Some(fault) = client.fault {
                return Err(fault);
            }
            if !client.is_welcome(&self.quotas) {
                break;
            }
            let (used, request) = client.feed(rest).inspect_err(|fault| client.end(*fault))?;
            taken = taken.saturating_add(used);
            if let Some(request) = request {
                self.serve(connection, &request, host);
            }
        }
        Ok(taken)
    }

    /// The next bytes for a client; none if there is nothing to send.
    #[must_use]
    pub fn output(&self, connection: ConnectionId) -> &[u8] {
        self.connections.get(&connection).map(Connection::output).unwrap_or_default()
    }

    /// So many bytes of [`Self::output`] were sent.
    pub fn sent(&mut self, connection: ConnectionId, len: usize) {
        if let Some(client) = self.connections.get_mut(&connection) {
            client.sent(len);
        }
    }

    /// Drops events that domains did not fetch in time. Gives when to call again.
    pub fn expire(&mut self, now: Duration) -> Option<Duration> {
        self.connections.values_mut().filter_map(|client| client.expire(now)).min()
    }

    /// Why a connection is not served any more.
    #[must_use]
    pub fn fault(&self, connection: ConnectionId) -> Option<Fault> {
        self.connections.get(&connection).and_then(|client| client.fault)
    }

    /// Stops serving a connection. Its watches, transactions, answers and events are gone.
    pub fn end(&mut self, connection: ConnectionId, fault: Fault) {
        if let Some(client) = self.connections.get_mut(&connection) {
            client.end(fault);
        }
    }

    /// Begins a connection anew, on both sides: what it watched, began and was owed is forgotten.
    pub fn reset(&mut self, connection: ConnectionId) {
        if let Some(client) = self.connections.get_mut(&connection) {
            client.reset();
        }
    }

    /// Whether what the store says about itself agrees: every node is listed by its parent, and every domain's account is
    /// right. A look at all nodes, for tests and for the control command `check`.
    #[must_use]
    pub fn check(&self) -> bool {
        self.store.check()
    }

    /// Tells watchers of changes.
    fn tell(&mut self, changes: &[Change], cause: Option<&Cause>, now: Duration) {
        for change in changes {
            let event = |watch: &Watch| watch.sees(change).then(|| watch.event(&change.path));
            self.send_events(|who| may_know(who, change), event, cause, now);
        }
    }

    /// Tells who watches for what happened to a domain, and may.
    fn announce(&mut self, occasion: Occasion, domain: DomId, cause: Option<&Cause>, now: Duration) {
        let path = occasion.path();
        let Some(node) = self.store.get(&path).cloned() else { return };
        let of_domain = path.child(&alloc::format!("{}", domain.0));
        let event = |watch: &Watch| occasion.heard_by(watch, &of_domain).map(|path| watch.event(&path));
        self.send_events(|who| node.permissions.rights(who).read, event, cause, now);
    }

    /// Sends those who may know what each of their watches has to say.
    fn send_events(
        &mut self,
        may_know: impl Fn(Who) -> bool,
        event: impl Fn(&Watch) -> Option<Vec<u8>>,
        cause: Option<&Cause>,
        now: Duration,
    ) {
        for client in self.connections.values_mut().filter(|client| may_know(client.who)) {
            let nodes = self.store.usage(client.who.domain).memory;
            let events: Vec<_> = client.watches.iter().filter_map(&event).collect();
            for event in events {
                client.notify(&event, cause, now, &self.quotas, nodes);
            }
        }
    }

    /// Removes all that there is of a domain.
    fn forget(&mut self, domain: DomId, cause: Option<&Cause>, now: Duration) {
        if domain == DomId(0) {
            return;
        }
        let was_known = self.domains.remove(&domain).is_some();
        self.connections.retain(|_, client| client.who.domain != domain);
        for client in self.connections.values_mut() {
            client.who.target = client.who.target.filter(|target| *target != domain);
            client.transactions.values_mut().for_each(|transaction| transaction.forget(domain));
        }
        let who = Who { domain: DomId(0), target: None };
        let mut view = View::new(who, &self.quotas, &mut self.store, None, 0);
        tree::remove_domain(&mut view, domain);
        let changes = view.into_changes();
        self.tell(&changes, cause, now);
        if was_known {
            self.announce(Occasion::Released, domain, cause, now);
        }
    }
}
