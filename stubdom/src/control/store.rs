//! The xenstore daemon, between the rings of all domains: of those that it is introduced to, and of this one.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::sync::atomic::Ordering;
use core::time::Duration;

use log::warn;
use minios::addr::Gfn;
use minios::clock;
use minios::event::EventChannel;
use minios::exec::{self, Spawner};
use minios::foreign::{Access, ForeignMapping};
use minios::frame::SharedPages;
use minios::hypercall::domctl;
use minios::shared::SharedBytes;
use minios::shared_mem::Notify;
use minios::xenstore::Xenstore;
use xen_abi::{DomId, Port};
use xenstored::{ConnectionId, Daemon, Errno, Host, Quotas, Ring, RingMemory};

/// This domain.
const OWN: DomId = DomId(0);

/// The daemon. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Store {
    inside: Rc<RefCell<Inside>>,
}

struct Inside {
    daemon: Daemon,
    clients: Clients,
}

/// Whoever has a ring.
struct Clients {
    rings: BTreeMap<DomId, Client>,
    /// Starts a task for each that comes.
    spawner: Spawner,
    /// Those that came by a request, for whom there is no task yet.
    new: Vec<DomId>,
}

struct Client {
    ring: Ring,
    page: Rc<Page>,
    /// Where it is told that something has moved.
    channel: Rc<EventChannel>,
    /// Where it tells that. For others than this domain the same.
    hears: Port,
}

/// Where a ring is.
enum Page {
    Own(Rc<SharedPages>),
    Foreign(ForeignMapping),
}

impl Page {
    fn bytes(&self) -> Option<&SharedBytes> {
        match self {
            Self::Own(pages) => Some(pages),
            Self::Foreign(mapping) => mapping.bytes(),
        }
    }
}

struct RingPage<'a>(&'a SharedBytes);

impl RingMemory for RingPage<'_> {
    fn read(&self, offset: usize, data: &mut [u8]) {
        self.0.read(offset, data);
    }

    fn write(&self, offset: usize, data: &[u8]) {
        self.0.write(offset, data);
    }

    fn load(&self, offset: usize) -> u32 {
        self.0.load_u32(offset, Ordering::Acquire)
    }

    fn store(&self, offset: usize, value: u32) {
        self.0.store_u32(offset, value, Ordering::Release);
    }
}

/// This domain's end as a client: it hears on one channel, and tells on another.
struct OwnEnd {
    hears: Rc<EventChannel>,
    tells: EventChannel,
}

impl Notify for OwnEnd {
    fn port(&self) -> Port {
        self.hears.port()
    }

    fn notify(&self) {
        self.tells.notify();
    }
}

fn now() -> Duration {
    Duration::from_nanos(clock::now().0)
}

impl Host for Clients {
    fn now(&self) -> Duration {
        now()
    }

    fn exists(&self, domain: DomId) -> bool {
        domctl::info(domain).is_ok()
    }

    fn connect(&mut self, domain: DomId, frame: Option<u64>, port: Port) -> Result<(), Errno> {
        // Whoever has none is connected by this program, which knows its frame.
        let frame = frame.ok_or(Errno::EINVAL)?;
        let page = ForeignMapping::map(domain, &[Gfn::new(frame)], Access::ReadWrite).map_err(|_| Errno::EINVAL)?;
        let channel = Rc::new(EventChannel::bind(domain, port).map_err(|_| Errno::EINVAL)?);
        let ring = Ring::open(&RingPage(page.bytes().ok_or(Errno::EINVAL)?));
        channel.notify();
        let hears = channel.port();
        self.rings.insert(domain, Client { ring, page: Rc::new(Page::Foreign(page)), channel, hears });
        self.new.push(domain);
        Ok(())
    }

    fn disconnect(&mut self, domain: DomId) {
        self.rings.remove(&domain);
    }
}

impl Store {
    /// A store, and this domain's own connection to it.
    pub(crate) fn begin(spawner: &Spawner) -> Result<(Self, Xenstore), String> {
        let failed = |what: &'static str| move |error: minios::hypercall::XenError| format!("{what}: {error}");
        let pages = Rc::new(SharedPages::alloc(1).map_err(|_| "there is no page for xenstore")?);
        let channels = (EventChannel::to_self(), EventChannel::to_self());
        let hears = Rc::new(channels.0.map_err(failed("a channel to itself"))?);
        let tells = channels.1.map_err(failed("a channel to itself"))?;
        let (ring, port) = (Ring::open(&RingPage(&pages)), tells.port());
        let client = Client { ring, page: Rc::new(Page::Own(pages.clone())), channel: hears.clone(), hears: port };
        let mut daemon = Daemon::new(Quotas::XEN);
        daemon.introduce(OWN, now());
        let clients = Clients { rings: BTreeMap::from([(OWN, client)]), spawner: spawner.clone(), new: Vec::new() };
        let store = Self { inside: Rc::new(RefCell::new(Inside { daemon, clients })) };
        spawner.spawn(store.clone().serve(OWN));
        let own = Xenstore::open(pages, OwnEnd { hears, tells });
        spawner.spawn(own.clone().serve());
        Ok((store, own))
    }

    /// A domain comes, with its ring in this frame and its end of a channel.
    pub(crate) fn introduce(&self, domain: DomId, (frame, port): (Gfn, Port)) -> Result<(), String> {
        let mut inside = self.inside.borrow_mut();
        let Inside { daemon, clients } = &mut *inside;
        let connected = clients.connect(domain, Some(frame.number()), port);
        connected.map_err(|error| format!("xenstore: {}", error.name()))?;
        daemon.introduce(domain, now());
        drop(inside);
        self.turn();
        Ok(())
    }

    /// A domain has stopped.
    pub(crate) fn shut_down(&self, domain: DomId) {
        self.inside.borrow_mut().daemon.shut_down(domain, now());
        self.turn();
    }

    /// A domain is no more.
    pub(crate) fn destroyed(&self, domain: DomId) {
        let mut inside = self.inside.borrow_mut();
        let port = inside.clients.rings.get(&domain).map(|client| client.hears);
        inside.clients.disconnect(domain);
        inside.daemon.destroyed(domain, now());
        drop(inside);
        // Its task ends.
        port.map(exec::signalled);
        self.turn();
    }

    /// Serves a client as long as it is one.
    async fn serve(self, domain: DomId) {
        let Some(mut port) = self.port(domain) else { return };
        let mut signal = exec::signal(port);
        loop {
            let deadline = self.turn();
            match self.port(domain) {
                Some(same) if same == port => {}
                Some(other) => (port, signal) = (other, exec::signal(other)),
                None => return,
            }
            match deadline {
                Some(at) => {
                    let rest = at.saturating_sub(now()).as_nanos();
                    let rest = exec::sleep(u64::try_from(rest).unwrap_or(u64::MAX));
                    exec::first_of(signal.wait(), rest).await;
                }
                None => signal.wait().await,
            }
        }
    }

    fn port(&self, domain: DomId) -> Option<Port> {
        self.inside.borrow().clients.rings.get(&domain).map(|client| client.hears)
    }

    /// Moves everything that can be moved. Gives when something is to be dropped that nobody fetches.
    fn turn(&self) -> Option<Duration> {
        let mut inside = self.inside.borrow_mut();
        while inside.round() {}
        let Inside { daemon, clients } = &mut *inside;
        let new = core::mem::take(&mut clients.new);
        for domain in new {
            clients.spawner.spawn(self.clone().serve(domain));
        }
        daemon.expire(now())
    }
}

impl Inside {
    /// Serves every ring once. Whether anything has moved.
    fn round(&mut self) -> bool {
        let domains: Vec<DomId> = self.clients.rings.keys().copied().collect();
        let mut moved = false;
        for domain in domains {
            let Some(connection) = self.daemon.connection(domain) else { continue };
            moved |= self.serve(domain, connection);
        }
        moved
    }

    fn serve(&mut self, domain: DomId, connection: ConnectionId) -> bool {
        let Some(client) = self.clients.rings.get(&domain) else { return false };
        let (mut ring, page, channel) = (client.ring, client.page.clone(), client.channel.clone());
        let Some(memory) = page.bytes() else { return false };
        let served = ring.serve(&RingPage(memory), &mut self.daemon, connection, &mut self.clients);
        if let Some(fault) = served.fault {
            warn!("xenstore: {domain} is not served any more: {fault:?}");
        }
        // A request may have connected it anew, or have taken it away.
        if let Some(client) = self.clients.rings.get_mut(&domain).filter(|client| Rc::ptr_eq(&client.page, &page)) {
            client.ring = ring;
        }
        if served.moved {
            channel.notify();
        }
        served.moved
    }
}
