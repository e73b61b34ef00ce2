//! A vchan: two byte streams to a client in another domain, of which this domain is the server.
//!
//! ```text
//! let mut control = Vchan::serve(&platform, &store, "device-model/5/qmp-vchan", DomId(0)).await?;
//! // Once now, and whenever control.port() fires:
//! let change = control.poll();
//! let count = control.read(&mut bytes);
//! ```
//!
//! The client finds us by two keys in xenstore, connects, leaves, and may come back; the page and the event channel stay
//! the same. Each session starts with empty rings.
//!
//! Source: Xen's public/io/libxenvchan.h, and what libxenvchan's client does with it. The client puts 1 into `cli_live`
//! when it connects and 0 when it leaves, and signals both. When it comes back before we have looked, there is no 0 to
//! be seen; therefore a 1 is put back to 2 ("not yet connected") as soon as it was seen, and the next 1 is another client.
//! No client looks at its own `cli_live`.
//! Not modelled: rings outside the interface's page. A client that comes back in the same instant in which its
//! predecessor's unread bytes are dropped may find impossible indices; it loses its connection, and the next one is good.
//!
//! Invariant: our indices are private, the client's are believed as far as they are possible. When they are not, the
//! session ends; the next one starts with whatever indices the client left.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::ToString;
use core::fmt;
use core::sync::atomic::{Ordering, fence};

use log::warn;
use xen_abi::io::vchan;
use xen_abi::{DomId, Port};

use crate::front::{GrantedMemory, Platform, Shortage};
use crate::ring::{ByteReceiver, ByteRing, ByteSender, RingFault};
use crate::shared_mem::{Notify, SharedMem};
use crate::xenstore::{Access, Permission, Xenstore, XenstoreError};

/// Bytes of the client that can wait: a [`read`](Vchan::read) of so many takes all of them.
pub const RECEIVE_SIZE: usize = vchan::SMALL_RING_LEN;

/// From the client.
const LEFT: ByteRing = ByteRing {
    data: vchan::SMALL_RING_OFFSET,
    size: 1 << vchan::SMALL_RING_ORDER,
    consumer: vchan::LEFT_CONS_OFFSET,
    producer: vchan::LEFT_PROD_OFFSET,
};

/// To the client.
const RIGHT: ByteRing = ByteRing {
    data: vchan::LARGE_RING_OFFSET,
    size: 1 << vchan::LARGE_RING_ORDER,
    consumer: vchan::RIGHT_CONS_OFFSET,
    producer: vchan::RIGHT_PROD_OFFSET,
};

/// What has become of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A client has connected. If there was another one, it is gone.
    Connected,
    /// The client is gone.
    Disconnected,
}

/// The server cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServeError {
    /// We are short of something.
    Shortage(Shortage),
    /// The store refused something.
    Store(XenstoreError),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shortage(shortage) => write!(f, "{shortage}"),
            Self::Store(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for ServeError {}

impl From<Shortage> for ServeError {
    fn from(shortage: Shortage) -> Self {
        Self::Shortage(shortage)
    }
}

impl From<XenstoreError> for ServeError {
    fn from(error: XenstoreError) -> Self {
        Self::Store(error)
    }
}

/// The server's end of a vchan. Dropping it ends the session; the keys in the store stay.
pub struct Vchan<P: Platform> {
    page: GrantedMemory<P>,
    channel: P::Channel,
    receiver: ByteReceiver,
    sender: ByteSender,
    stage: Stage,
    /// Whether something did not fit, so that we want to hear when the client has read.
    wants_room: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is no client.
    Listening,
    /// There is one.
    Open,
    /// We have ended the session; the client has not left yet.
    Ended,
}

impl<P: Platform> Vchan<P> {
    /// Sets up the page and the channel, and publishes them in the directory `path`, readable by `peer` alone.
    pub async fn serve(platform: &Rc<P>, store: &Xenstore, path: &str, peer: DomId) -> Result<Self, ServeError> {
        let mut page = GrantedMemory::allocate(platform, 1)?;
        page.write(vchan::LEFT_ORDER_OFFSET, &vchan::SMALL_RING_ORDER.to_le_bytes());
        page.write(vchan::RIGHT_ORDER_OFFSET, &vchan::LARGE_RING_ORDER.to_le_bytes());
        page.write(vchan::CLI_LIVE_OFFSET, &[vchan::LIVE_NOT_YET]);
        page.write(vchan::SRV_LIVE_OFFSET, &[vchan::LIVE_CONNECTED]);
        page.write(vchan::CLI_NOTIFY_OFFSET, &[vchan::VCHAN_NOTIFY_WRITE]);
        page.grant(peer)?;
        let channel = platform.open_channel(peer)?;
        let own = DomId(store.read_number("domid").await?);
        let permissions =
            [Permission { domain: own, access: Access::None }, Permission { domain: peer, access: Access::Read }];
        let keys = [("ring-ref", page.reference(0).to_string()), ("event-channel", channel.port().to_string())];
        store
            .transaction(async |store| {
                for (key, value) in &keys {
                    let path = format!("{path}/{key}");
                    store.write(&path, value).await?;
                    store.set_permissions(&path, &permissions).await?;
                }
                Ok(())
            })
            .await?;
        let (receiver, sender) = (ByteReceiver::new(LEFT, &page), ByteSender::new(RIGHT, &page));
        Ok(Self { page, channel, receiver, sender, stage: Stage::Listening, wants_room: false })
    }

    /// The port that fires when the client comes, goes, or has written. Always the same.
    #[must_use]
    pub fn port(&self) -> Port {
        self.channel.port()
    }

    /// Whether there is a session. Without one nothing is read or written.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Looks whether a client has come or gone. To be called after [`serve`](Self::serve), and first of all whenever
    /// the port has fired.
    pub fn poll(&mut self) -> Option<Change> {
        let [client, ..] = self.flags();
        match client {
            vchan::LIVE_CONNECTED => {
                // A client that leaves just before this is not missed: the next one replaces it.
                self.page.write(vchan::CLI_LIVE_OFFSET, &[vchan::LIVE_NOT_YET]);
                if self.stage != Stage::Listening {
                    self.clear();
                }
                self.stage = Stage::Open;
                Some(Change::Connected)
            }
            vchan::LIVE_EXITED if self.stage != Stage::Listening => {
                self.clear();
                self.stage = Stage::Listening;
                Some(Change::Disconnected)
            }
            _ => None,
        }
    }

    /// Reads what is there, up to `data.len()` bytes, and says how much that was.
    ///
    /// The port fires for everything that comes after this call. What did not fit into `data` waits, and nothing tells.
    pub fn read(&mut self, data: &mut [u8]) -> usize {
        if !self.is_open() {
            return 0;
        }
        self.ask_for_events();
        match self.receiver.receive(&self.page, data) {
            Ok(0) => 0,
            Ok(count) => {
                self.tell(vchan::VCHAN_NOTIFY_READ);
                count
            }
            Err(fault) => self.fail(fault),
        }
    }

    /// Writes as much of `data` as there is room for, and says how much that was. The port fires when there is more room.
    pub fn write(&mut self, data: &[u8]) -> usize {
        let sent = self.send(data);
        self.wants_room = self.is_open() && sent < data.len();
        if !self.wants_room {
            return sent;
        }
        self.ask_for_events();
        // The client may have read before it knew that we want to hear of it.
        sent + self.send(&data[sent..])
    }

    /// Writes all of `data`, or nothing if there is not enough room. `true`: it was written.
    #[must_use]
    pub fn write_all(&mut self, data: &[u8]) -> bool {
        if !self.is_open() {
            return false;
        }
        match self.sender.room(&self.page) {
            Ok(room) => room >= data.len() && self.send(data) == data.len(),
            Err(fault) => {
                self.fail(fault);
                false
            }
        }
    }

    /// Ends the session, and tells the client. The next one can start when it has left.
    pub fn end_session(&mut self) {
        if self.is_open() {
            self.stage = Stage::Ended;
            self.page.write(vchan::SRV_LIVE_OFFSET, &[vchan::LIVE_EXITED]);
            self.channel.notify();
        }
    }

    /// Ends the session because the client broke the protocol. No byte was moved.
    fn fail(&mut self, fault: RingFault) -> usize {
        warn!("vchan with port {}: {fault}; the session has ended", self.port());
        self.end_session();
        0
    }

    /// Drops all unread bytes, and makes the server available again.
    fn clear(&mut self) {
        // Whatever the client's indices are, a ring is empty when its two are equal.
        let produced = self.page.load_u32(vchan::LEFT_PROD_OFFSET, Ordering::Acquire);
        self.page.store_u32(vchan::LEFT_CONS_OFFSET, produced, Ordering::Release);
        self.receiver = ByteReceiver::new(LEFT, &self.page);
        let consumed = self.page.load_u32(vchan::RIGHT_CONS_OFFSET, Ordering::Acquire);
        self.page.store_u32(vchan::RIGHT_PROD_OFFSET, consumed, Ordering::Release);
        self.sender = ByteSender::new(RIGHT, &self.page);
        self.wants_room = false;
        self.page.write(vchan::SRV_LIVE_OFFSET, &[vchan::LIVE_CONNECTED]);
    }

    fn send(&mut self, data: &[u8]) -> usize {
        if !self.is_open() {
            return 0;
        }
        match self.sender.send(&self.page, data) {
            Ok(0) => 0,
            Ok(count) => {
                self.tell(vchan::VCHAN_NOTIFY_WRITE);
                count
            }
            Err(fault) => self.fail(fault),
        }
    }

    /// Asks the client for an event when it writes, and when it reads if we wait for that. It clears what it has served,
    /// so this has to be said again before each look at its indices.
    fn ask_for_events(&self) {
        let reads = if self.wants_room { vchan::VCHAN_NOTIFY_READ } else { 0 };
        self.page.write(vchan::CLI_NOTIFY_OFFSET, &[vchan::VCHAN_NOTIFY_WRITE | reads]);
        // The client moves its index and then looks at cli_notify; we do it the other way round, so one of us sees.
        fence(Ordering::SeqCst);
    }

    /// Sends an event after our index has moved, if the client has asked for it.
    ///
    /// The client's wish is left standing: to clear one bit, while the client may set the other, takes an atomic operation
    /// on a byte, and all it saves is an event that the client did not need.
    fn tell(&self, what: u8) {
        fence(Ordering::SeqCst);
        let [.., server_notify] = self.flags();
        if server_notify & what != 0 {
            self.channel.notify();
        }
    }

    /// `cli_live`, `srv_live`, `cli_notify` and `srv_notify`.
    fn flags(&self) -> [u8; 4] {
        self.page.load_u32(vchan::CLI_LIVE_OFFSET, Ordering::Acquire).to_le_bytes()
    }
}

impl<P: Platform> Drop for Vchan<P> {
    fn drop(&mut self) {
        self.page.write(vchan::SRV_LIVE_OFFSET, &[vchan::LIVE_EXITED]);
        self.channel.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::fake::FakePlatform;
    use crate::shared_mem::fake::{FakeChannel, FakeMemory};
    use crate::xenstore::fake::FakeDaemon;
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};
    use std::vec;
    use std::vec::Vec;

    const PATH: &str = "device-model/5/qmp-vchan";

    /// The client, as libxenvchan plays it: it works on the indices in the page.
    struct Client {
        page: FakeMemory,
        channel: FakeChannel,
    }

    impl Client {
        fn connect(&self) {
            self.page.write(20, &[1]);
            self.page.write(23, &[vchan::VCHAN_NOTIFY_WRITE]);
        }

        fn leave(&self) {
            self.page.write(20, &[0]);
        }

        fn write(&self, data: &[u8]) {
            let mut producer = self.page.get_u32(4);
            for byte in data {
                self.page.write(1024 + usize::try_from(producer % 1024).unwrap(), &[*byte]);
                producer = producer.wrapping_add(1);
            }
            self.page.set_u32(4, producer);
        }

        fn read(&self) -> Vec<u8> {
            let (mut consumer, producer) = (self.page.get_u32(8), self.page.get_u32(12));
            let mut data = Vec::new();
            while consumer != producer {
                data.extend(self.page.bytes(2048 + usize::try_from(consumer % 2048).unwrap(), 1));
                consumer = consumer.wrapping_add(1);
            }
            self.page.set_u32(8, consumer);
            data
        }

        /// `srv_live`.
        fn is_open(&self) -> bool {
            self.page.bytes(21, 1) == [1]
        }
    }

    fn run<T>(daemon: &mut FakeDaemon, store: &Xenstore, task: impl Future<Output = T>) -> T {
        let mut task = pin!(task);
        loop {
            if let Poll::Ready(value) = task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return value;
            }
            assert!(daemon.serve());
            store.pump();
        }
    }

    fn serve() -> (Vchan<FakePlatform>, Client, FakeDaemon, Xenstore) {
        let (mut daemon, store) = FakeDaemon::new();
        daemon.set("domid", "7");
        let platform = Rc::<FakePlatform>::default();
        let server = run(&mut daemon, &store, Vchan::serve(&platform, &store, PATH, DomId(0))).unwrap();
        let number = |key: &str| -> u32 { daemon.get(&format!("{PATH}/{key}")).unwrap().parse().unwrap() };
        let (page, _) = platform.granted(number("ring-ref")).unwrap();
        let channel = platform.channel(number("event-channel")).unwrap();
        assert_eq!(server.port(), Port(number("event-channel")));
        (server, Client { page, channel }, daemon, store)
    }

    /// A server with a client that has connected.
    fn session() -> (Vchan<FakePlatform>, Client) {
        let (mut server, client, ..) = serve();
        client.connect();
        assert_eq!(server.poll(), Some(Change::Connected));
        (server, client)
    }

    fn read(server: &mut Vchan<FakePlatform>) -> Vec<u8> {
        let mut data = vec![0; RECEIVE_SIZE];
        let count = server.read(&mut data);
        data.truncate(count);
        data
    }

    /// libxenvchan.h: orders 10 and 11 put the rings into the page; `cli_live` is 2 before a client has connected.
    #[test]
    fn keys_and_page_are_what_a_client_expects() {
        let (_server, client, mut daemon, store) = serve();
        assert_eq!(client.page.bytes(0, 24), [&[0_u8; 16][..], &[10, 0, 11, 0, 2, 1, 1, 0]].concat());
        let requests: Vec<_> = daemon.log.iter().map(|request| request.split(' ').next().unwrap()).collect();
        assert_eq!(requests.len(), 7, "domid, start, twice write and set permissions, end: {requests:?}");
        for key in ["ring-ref", "event-channel"] {
            let permissions = run(&mut daemon, &store, store.permissions(&format!("{PATH}/{key}"))).unwrap();
            let texts: Vec<_> = permissions.iter().map(ToString::to_string).collect();
            assert_eq!(texts, ["n7", "r0"]);
        }
    }

    #[test]
    fn bytes_go_both_ways() {
        let (mut server, client) = session();
        assert!(server.write_all(b"greeting"));
        assert_eq!(client.read(), b"greeting");
        client.write(b"command");
        assert_eq!(read(&mut server), b"command");
        assert_eq!((read(&mut server), server.poll()), (vec![], None));
        assert_eq!((client.page.get_u32(0), client.page.get_u32(12)), (7, 8), "left.cons and right.prod");
    }

    /// libxenvchan.h: "`VCHAN_NOTIFY_WRITE`: send notify when data is written".
    #[test]
    fn events_are_sent_and_asked_for_as_the_flags_say() {
        let (mut server, client) = session();
        let notify = |wish: u8| client.page.write(23, &[wish]);
        client.channel.take_signals();
        notify(0);
        assert!(server.write_all(b"a"));
        assert_eq!(client.channel.take_signals(), 0);
        notify(vchan::VCHAN_NOTIFY_WRITE);
        assert!(server.write_all(b"b"));
        client.write(b"c");
        assert_eq!(read(&mut server), b"c");
        assert_eq!(client.channel.take_signals(), 1, "for the write, not for the read");
        notify(vchan::VCHAN_NOTIFY_READ);
        client.write(b"d");
        assert_eq!(read(&mut server), b"d");
        assert_eq!(client.channel.take_signals(), 1);
        client.page.write(22, &[0]);
        assert_eq!(server.read(&mut [0; 8]), 0);
        assert_eq!(client.page.bytes(22, 1), [vchan::VCHAN_NOTIFY_WRITE]);
        assert_eq!(server.write(&[0; 3000]), 2046);
        assert_eq!(client.page.bytes(22, 1), [vchan::VCHAN_NOTIFY_WRITE | vchan::VCHAN_NOTIFY_READ]);
        client.read();
        assert_eq!(server.write(&[0; 3]), 3);
        assert_eq!(server.read(&mut [0; 8]), 0);
        assert_eq!(client.page.bytes(22, 1), [vchan::VCHAN_NOTIFY_WRITE]);
    }

    #[test]
    fn what_does_not_fit_as_a_whole_is_not_written() {
        let (mut server, client) = session();
        assert!(server.write_all(&[b'x'; 2000]));
        assert!(!server.write_all(&[b'y'; 49]));
        assert_eq!(client.page.get_u32(12), 2000);
        assert!(server.write_all(&[b'z'; 48]));
        assert_eq!(client.read()[1999..], [&b"x"[..], &[b'z'; 48]].concat());
    }

    #[test]
    fn without_a_client_nothing_moves() {
        let (mut server, client, ..) = serve();
        assert_eq!(server.poll(), None);
        assert!(!server.write_all(b"x"));
        assert_eq!(server.write(b"x"), 0);
        client.write(b"early");
        assert_eq!(read(&mut server), b"");
        client.connect();
        assert_eq!(server.poll(), Some(Change::Connected));
        assert_eq!(read(&mut server), b"early", "it connected before we looked");
    }

    #[test]
    fn a_client_that_comes_back_finds_empty_rings() {
        let (mut server, client) = session();
        for round in 0..1000_u32 {
            assert!(server.write_all(&[7; 900]), "round {round}");
            client.write(&[8; 600]);
            client.leave();
            assert_eq!(server.poll(), Some(Change::Disconnected));
            assert_eq!((server.poll(), server.is_open()), (None, false));
            client.connect();
            assert_eq!(client.read(), b"");
            assert_eq!((server.poll(), server.poll()), (Some(Change::Connected), None));
            assert_eq!(read(&mut server), b"");
            assert!(server.write_all(b"hello"));
            assert_eq!(client.read(), b"hello");
        }
    }

    #[test]
    fn a_client_that_comes_back_before_we_looked_is_another_client() {
        let (mut server, client) = session();
        assert!(server.write_all(b"unread"));
        client.write(b"half a com");
        client.leave();
        client.connect();
        assert_eq!(server.poll(), Some(Change::Connected));
        assert_eq!(read(&mut server), b"");
        assert!(server.write_all(b"greeting"));
        assert_eq!(client.read(), b"greeting");
    }

    #[test]
    fn impossible_indices_end_the_session_and_no_more() {
        let (mut server, client) = session();
        for (index, value) in [(4, 5000), (4, u32::MAX), (8, 1), (8, 0x8000_0000)] {
            client.channel.take_signals();
            let before = client.page.get_u32(index);
            client.page.set_u32(index, before.wrapping_add(value));
            assert_eq!(read(&mut server), b"");
            assert!(!server.write_all(b"x"));
            assert_eq!((server.write(b"x"), server.is_open()), (0, false));
            assert!(!client.is_open());
            assert_eq!(client.channel.take_signals(), 1);
            client.leave();
            assert_eq!(server.poll(), Some(Change::Disconnected));
            assert!(client.is_open());
            client.connect();
            assert_eq!(server.poll(), Some(Change::Connected));
            assert!(server.write_all(b"again"));
            assert_eq!(client.read(), b"again");
        }
    }

    #[test]
    fn an_ended_session_stays_ended_until_the_client_has_left() {
        let (mut server, client) = session();
        server.end_session();
        client.write(b"more");
        assert_eq!((server.poll(), read(&mut server)), (None, vec![]));
        assert!(!client.is_open());
        client.leave();
        client.connect();
        assert_eq!((server.poll(), client.is_open()), (Some(Change::Connected), true));
        drop(server);
        assert!(!client.is_open());
    }

    /// Whatever the client writes anywhere in the page, we go on.
    #[test]
    fn a_client_that_scribbles_does_no_harm() {
        let (mut server, client) = session();
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..100_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let [at, value, kind, size, ..] = random.to_le_bytes();
            match kind % 4 {
                0 => client.page.write(usize::from(at % 24), &[value % 4]),
                1 => client.page.set_u32(usize::from(at % 4) * 4, u32::from(value) << (size % 24)),
                2 => client.page.write(20, &[value % 3]),
                _ => {}
            }
            server.poll();
            assert!(server.read(&mut [0; 64][..usize::from(at % 64)]) <= 64);
            assert!(server.write(&[0; 4096][..usize::from(value) * 16]) <= 2048);
            if size == 0 {
                server.end_session();
            }
        }
    }
}
