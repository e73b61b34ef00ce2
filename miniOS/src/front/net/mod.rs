//! Network frontend: an Ethernet card that a backend in another domain connects to a network.
//!
//! Frames are put together and taken apart in pages that are granted to the backend for the life of the connection, one
//! pool for each direction: nothing is granted or allocated for a frame, and its data is copied once. With [`Options`]
//! as they are by default, an interface takes 512 KiB.
//!
//! * `transmit`: one frame at a time is put together, in one page after the other, and sent.
//! * `receive`: every free page is with the backend; a frame that came stays at the head of the ring until the user is
//!   through with it. A user who takes nothing makes the backend drop, as a full card does.
//!
//! The backend wakes us for frames that came, and for room only while the user waits for it.
//!
//! Source: Xen's public/io/netif.h as of 4.20, and drivers/net/xen-netback of Linux for what backends do.
//! Not modelled: several queues (a ring has one page, netif.h knows of no larger ones), XDP headroom, multicast control, large frames on the way to us (not announced).
//! Invariant: whatever the backend writes, a frame is read from our pages only, and an index or id that cannot be ends the
//! connection.

mod receive;
#[cfg(test)]
mod tests;
mod transmit;

use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::time::Duration;

use xen_abi::io::netif;
use xen_abi::{DomId, PAGE_SIZE, Port};

use super::{GrantedMemory, Platform, Shortage};
use crate::ring::RingFault;
use crate::shared_mem::Notify;
use crate::xenbus::{Driver, Link, LinkError, Problem, Session, XenbusState, supervise};
use crate::xenstore::Xenstore;

pub use receive::{Checksum, Received};
pub use transmit::{Offload, Segment};

use receive::Receiver;
use transmit::Transmitter;

/// The longest frame that can be sent, with its headers.
pub const FRAME_MAX: usize = netif::XEN_NETIF_MAX_TX_SIZE;

/// How an interface is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Pages for frames that are sent. A frame is begun only when there are enough of them for the longest one: 17.
    pub transmit_pages: usize,
    /// Pages for frames that come, each for one of them: at most 256.
    pub receive_pages: usize,
    /// How long the backend may take for each step of the first connection.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { transmit_pages: 64, receive_pages: 64, patience: super::PATIENCE }
    }
}

/// What a backend can do with frames that are sent. All of it is off before it is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `feature-sg`: frames of more than a page.
    pub long_frames: bool,
    /// Finishes checksums of TCP and UDP in IPv4 (not `feature-no-csum-offload`).
    pub checksum_v4: bool,
    /// The same in IPv6, `feature-ipv6-csum-offload`.
    pub checksum_v6: bool,
    /// Cuts TCP in IPv4 into segments, `feature-gso-tcpv4`.
    pub segment_v4: bool,
    /// The same in IPv6, `feature-gso-tcpv6`.
    pub segment_v6: bool,
}

/// A network interface. Clones are the same one.
pub struct Net<P: Platform> {
    interface: Rc<Interface<P>>,
}

impl<P: Platform> Clone for Net<P> {
    fn clone(&self) -> Self {
        Self { interface: self.interface.clone() }
    }
}

struct Interface<P: Platform> {
    platform: Rc<P>,
    store: Xenstore,
    path: String,
    options: Options,
    session: Session,
    state: RefCell<State<P>>,
}

struct State<P: Platform> {
    /// The pages, while no connection has them.
    pools: Option<Pools<P>>,
    features: Features,
    /// The address of a second station.
    station: Option<[u8; 6]>,
    connection: Option<Connection<P>>,
    /// The user found no room, and was not told of any since.
    wants_room: bool,
    /// The link has changed since the user was told.
    link_changed: bool,
}

struct Pools<P: Platform> {
    transmit: GrantedMemory<P>,
    receive: GrantedMemory<P>,
}

impl<P: Platform> Pools<P> {
    fn allocate(platform: &Rc<P>, options: &Options) -> Result<Self, Shortage> {
        Ok(Self {
            transmit: GrantedMemory::allocate(platform, options.transmit_pages)?,
            receive: GrantedMemory::allocate(platform, options.receive_pages)?,
        })
    }
}

struct Connection<P: Platform> {
    transmitter: Transmitter<P>,
    receiver: Receiver<P>,
    channels: Channels<P>,
    /// Whether the backend is connected to it.
    up: bool,
}

/// Ways to wake each other: one for each direction, where the backend has `feature-split-event-channels`, so that it looks at
/// the ring that has something for it alone.
enum Channels<P: Platform> {
    Shared(P::Channel),
    Split { transmit: P::Channel, receive: P::Channel },
}

impl<P: Platform> Channels<P> {
    fn open(platform: &P, backend: DomId, are_split: bool) -> Result<Self, Shortage> {
        let first = platform.open_channel(backend)?;
        Ok(match are_split {
            true => Self::Split { transmit: first, receive: platform.open_channel(backend)? },
            false => Self::Shared(first),
        })
    }

    const fn transmit(&self) -> &P::Channel {
        match self {
            Self::Shared(channel) | Self::Split { transmit: channel, .. } => channel,
        }
    }

    const fn receive(&self) -> &P::Channel {
        match self {
            Self::Shared(channel) | Self::Split { receive: channel, .. } => channel,
        }
    }

    /// What the backend has to know of them.
    fn keys(&self) -> Vec<(&'static str, Port)> {
        match self {
            Self::Shared(channel) => vec![("event-channel", channel.port())],
            Self::Split { transmit, receive } => {
                vec![("event-channel-tx", transmit.port()), ("event-channel-rx", receive.port())]
            }
        }
    }
}

impl<P: Platform> Net<P> {
    /// An interface that is not connected yet, with its pages. `path` is its directory, `device/vif/0`.
    pub fn new(platform: Rc<P>, store: &Xenstore, path: &str, options: Options) -> Result<Self, Shortage> {
        let slots = transmit::Ring::<P>::slots_in(PAGE_SIZE) as usize;
        let options = Options {
            transmit_pages: options.transmit_pages.clamp(transmit::FRAME_PAGES, slots),
            receive_pages: options.receive_pages.clamp(1, receive::Ring::<P>::slots_in(PAGE_SIZE) as usize),
            ..options
        };
        let state = State {
            pools: Some(Pools::allocate(&platform, &options)?),
            features: Features::default(),
            station: None,
            connection: None,
            wants_room: false,
            link_changed: false,
        };
        let interface = Interface {
            platform,
            store: store.clone(),
            path: path.to_string(),
            options,
            session: Session::default(),
            state: RefCell::new(state),
        };
        Ok(Self { interface: Rc::new(interface) })
    }

    /// Connects the interface and keeps it connected. A task that ends when the interface does.
    pub async fn run(self) {
        let interface = &*self.interface;
        let Interface { platform, store, path, options, session, .. } = interface;
        supervise(&**platform, store, path, interface, session, Some(options.patience)).await;
    }

    /// Where the interface stands.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.interface.session
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.interface.path
    }

    /// What the backend can do.
    #[must_use]
    pub fn features(&self) -> Features {
        self.interface.state.borrow().features
    }

    /// Whether frames get anywhere.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.interface.state.borrow().connection.as_ref().is_some_and(|connection| connection.up)
    }

    /// The ports that fire when [`poll`](Self::poll) should be called, of frames that are sent and of those that came.
    /// Others after each connection.
    #[must_use]
    pub fn ports(&self) -> Option<(Port, Port)> {
        let state = self.interface.state.borrow();
        let channels = &state.connection.as_ref()?.channels;
        Some((channels.transmit().port(), channels.receive().port()))
    }

    /// Looks what the backend did. `true`: there are frames, or room that was waited for, or the link went up or down.
    pub fn poll(&self) -> bool {
        let mut state = self.interface.state.borrow_mut();
        let mut news = core::mem::take(&mut state.link_changed);
        let wanted = state.wants_room;
        let looked = state.with(|connection| {
            let has_room = wanted && connection.transmitter.has_room()?;
            let has_frames = connection.receiver.head()?.is_some() || connection.receiver.has_for_station();
            // What was for nobody is room again.
            if connection.receiver.publish() {
                connection.channels.receive().notify();
            }
            Ok((has_frames, has_room))
        });
        if let Some((has_frames, has_room)) = self.interface.checked(&mut state, looked) {
            state.wants_room &= !has_room;
            news |= has_frames || has_room;
        }
        news
    }

    /// Begins a frame. `false`: there is no room now; [`poll`](Self::poll) tells when there is. Without a link there is
    /// room for everything, and it is lost.
    pub fn begin(&self) -> bool {
        let mut state = self.interface.state.borrow_mut();
        let begun = state.with(|connection| connection.transmitter.begin());
        let begun = self.interface.checked(&mut state, begun).unwrap_or(true);
        state.wants_room |= !begun;
        begun
    }

    /// Appends `len` bytes to the frame, which `fill` writes: into pages at an offset, so many bytes, and how many came
    /// before them. What does not fit is dropped, with the frame.
    pub fn append<E>(
        &self,
        len: usize,
        fill: impl FnMut(&P::Memory, usize, usize, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        match &mut self.interface.state.borrow_mut().connection {
            Some(connection) => connection.transmitter.append(len, fill),
            None => Ok(()),
        }
    }

    /// How long the frame is.
    #[must_use]
    pub fn len(&self) -> usize {
        self.interface.state.borrow().connection.as_ref().map_or(0, |connection| connection.transmitter.len())
    }

    /// Whether nothing was appended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies from the frame. What lies beyond its end reads as zero.
    pub fn read(&self, offset: usize, data: &mut [u8]) {
        match &self.interface.state.borrow().connection {
            Some(connection) => connection.transmitter.read(offset, data),
            None => data.fill(0),
        }
    }

    /// Overwrites a part of the frame.
    pub fn write(&self, offset: usize, data: &[u8]) {
        if let Some(connection) = &self.interface.state.borrow().connection {
            connection.transmitter.write(offset, data);
        }
    }

    /// Sends the frame.
    pub fn send(&self, offload: Offload) {
        let mut state = self.interface.state.borrow_mut();
        let features = state.features;
        state.with(|connection| {
            if connection.transmitter.send(offload, &features) {
                connection.channels.transmit().notify();
            }
            Ok(())
        });
    }

    /// Puts a second station behind the interface: frames for this address are taken by [`Self::take_for_station`] and are
    /// nobody else's; of those for groups it has copies. It stays there through all connections.
    pub fn add_station(&self, address: [u8; 6]) {
        let mut state = self.interface.state.borrow_mut();
        state.station = Some(address);
        if let Some(connection) = &mut state.connection {
            connection.receiver.add_station(address);
        }
    }

    /// The oldest frame that came for the second station.
    pub fn take_for_station(&self) -> Option<(Vec<u8>, Checksum)> {
        let mut state = self.interface.state.borrow_mut();
        state.with(|connection| Ok(connection.receiver.take_for_station())).and_then(Result::ok).flatten()
    }

    /// Whether a whole frame could be sent now. If not, [`poll`](Self::poll) tells when there is room. Without a link there is
    /// room for everything.
    pub fn has_room(&self) -> bool {
        let mut state = self.interface.state.borrow_mut();
        let has_room = state.with(|connection| connection.transmitter.has_room());
        let has_room = self.interface.checked(&mut state, has_room).unwrap_or(true);
        state.wants_room |= !has_room;
        has_room
    }

    /// Sends a whole frame, whatever is being put together. `false`: there is no room now; [`poll`](Self::poll) tells when
    /// there is. Without a link it is lost.
    pub fn send_whole(&self, data: &[u8], offload: Offload) -> bool {
        let mut state = self.interface.state.borrow_mut();
        let features = state.features;
        let sent = state.with(|connection| {
            let sent = connection.transmitter.send_whole(data, offload, &features)?;
            if sent == Some(true) {
                connection.channels.transmit().notify();
            }
            Ok(sent.is_some())
        });
        let sent = self.interface.checked(&mut state, sent).unwrap_or(true);
        state.wants_room |= !sent;
        sent
    }

    /// The oldest frame that came.
    #[must_use]
    pub fn received(&self) -> Option<Received> {
        let mut state = self.interface.state.borrow_mut();
        let head = state.with(|connection| connection.receiver.head());
        self.interface.checked(&mut state, head).flatten()
    }

    /// Copies from that frame. What lies beyond its end reads as zero.
    pub fn received_read(&self, offset: usize, data: &mut [u8]) {
        match &self.interface.state.borrow().connection {
            Some(connection) => connection.receiver.read(offset, data),
            None => data.fill(0),
        }
    }

    /// Overwrites a part of that frame.
    pub fn received_write(&self, offset: usize, data: &[u8]) {
        if let Some(connection) = &self.interface.state.borrow().connection {
            connection.receiver.write(offset, data);
        }
    }

    /// Gives `len` bytes of that frame from `offset` on to `take`: pages, an offset, so many bytes, and how many came
    /// before them.
    pub fn received_with<E>(
        &self,
        offset: usize,
        len: usize,
        take: impl FnMut(&P::Memory, usize, usize, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        match &self.interface.state.borrow().connection {
            Some(connection) => connection.receiver.with(offset, len, take),
            None => Ok(()),
        }
    }

    /// Is through with that frame.
    pub fn received_done(&self) {
        self.interface.state.borrow_mut().with(|connection| {
            if connection.receiver.done() {
                connection.channels.receive().notify();
            }
            Ok(())
        });
    }
}

impl<P: Platform> State<P> {
    /// Works on the connection, while the backend is there.
    fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Connection<P>) -> Result<T, RingFault>,
    ) -> Option<Result<T, RingFault>> {
        self.connection.as_mut().filter(|connection| connection.up).map(work)
    }

    fn set_up(&mut self, up: bool) {
        if let Some(connection) = &mut self.connection
            && connection.up != up
        {
            connection.up = up;
            self.link_changed = true;
        }
    }
}

impl<P: Platform> Interface<P> {
    /// Ends the connection when the backend broke the protocol.
    fn checked<T>(&self, state: &mut State<P>, result: Option<Result<T, RingFault>>) -> Option<T> {
        match result? {
            Ok(value) => Some(value),
            Err(fault) => {
                state.set_up(false);
                self.session.fault(fault);
                None
            }
        }
    }
}

impl<P: Platform> Driver for Interface<P> {
    const ANNOUNCED: XenbusState = XenbusState::Connected;

    async fn prepare(&self, link: &Link) -> Result<Vec<(String, String)>, LinkError> {
        let flags = [
            link.backend_flag("feature-sg"),
            link.backend_flag("feature-no-csum-offload"),
            link.backend_flag("feature-ipv6-csum-offload"),
            link.backend_flag("feature-gso-tcpv4"),
            link.backend_flag("feature-gso-tcpv6"),
            link.backend_flag("feature-split-event-channels"),
        ];
        let mut values = [false; 6];
        for (value, flag) in values.iter_mut().zip(flags) {
            *value = flag.await?;
        }
        let [long_frames, no_checksum, checksum_v6, segment_v4, segment_v6, are_split] = values;
        let short = |shortage| link.error(Problem::Shortage(shortage));

        let mut state = self.state.borrow_mut();
        let mut pools = match state.pools.take() {
            Some(pools) => pools,
            None => Pools::allocate(&self.platform, &self.options).map_err(short)?,
        };
        let backend = link.backend_domain();
        pools.transmit.grant(backend).map_err(short)?;
        pools.receive.grant(backend).map_err(short)?;
        let ring = || {
            let mut page = GrantedMemory::allocate(&self.platform, 1)?;
            page.grant(backend)?;
            Ok(page)
        };
        let (transmit_ring, receive_ring) = (ring().map_err(short)?, ring().map_err(short)?);
        let channels = Channels::open(&*self.platform, backend, are_split).map_err(short)?;

        let mut keys = Vec::new();
        let mut key = |name: &str, value: &dyn fmt::Display| keys.push((name.to_string(), value.to_string()));
        key("tx-ring-ref", &transmit_ring.reference(0));
        key("rx-ring-ref", &receive_ring.reference(0));
        for (name, port) in channels.keys() {
            key(name, &port);
        }
        key("request-rx-copy", &1);
        key("feature-rx-notify", &1);
        key("feature-ipv6-csum-offload", &1);

        state.features = Features {
            long_frames,
            checksum_v4: !no_checksum,
            checksum_v6,
            segment_v4: segment_v4 && long_frames && !no_checksum,
            segment_v6: segment_v6 && long_frames && checksum_v6,
        };
        let mut receiver = Receiver::new(receive_ring, pools.receive);
        if let Some(address) = state.station {
            receiver.add_station(address);
        }
        state.connection = Some(Connection {
            transmitter: Transmitter::new(transmit_ring, pools.transmit, long_frames),
            receiver,
            channels,
            up: false,
        });
        Ok(keys)
    }

    async fn connected(&self, _link: &Link) -> Result<(), LinkError> {
        self.state.borrow_mut().set_up(true);
        Ok(())
    }

    fn disconnected(&self) {
        self.state.borrow_mut().set_up(false);
    }

    fn release(&self) {
        let mut state = self.state.borrow_mut();
        let Some(connection) = state.connection.take() else { return };
        let mut pools =
            Pools { transmit: connection.transmitter.into_pages(), receive: connection.receiver.into_pages() };
        pools.transmit.revoke();
        pools.receive.revoke();
        // Pages that the backend did not let go of are gone; there are new ones for the next connection.
        if pools.transmit.memory().is_some() && pools.receive.memory().is_some() {
            state.pools = Some(pools);
        }
    }
}
