//! Console frontend: consoles 1 and up, the byte streams that the toolstack connects to pseudo-terminals and files.
//!
//! Console 0 is another thing (its page and port come with `start_info`, [`crate::console`]); the rings are the same.
//!
//! Source: Xen's public/io/console.h. The backend is a QEMU in dom0 (`type` = `ioemu`), which reads `ring-ref` (a grant
//! reference), `port` and `limit` from our directory when we are Initialised.
//! Not modelled: secondary consoles of xenconsoled, which takes none of these.

use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::time::Duration;

use xen_abi::Port;
use xen_abi::io::console;

use super::{GrantedMemory, Platform};
use crate::ring::{ByteReceiver, ByteRing, ByteSender, RingFault};
use crate::shared_mem::Notify;
use crate::xenbus::{Driver, Link, LinkError, Problem, Session, supervise};
use crate::xenstore::Xenstore;

/// To this domain, `in` of `struct xencons_interface`.
pub const INPUT: ByteRing = ByteRing {
    data: console::IN_OFFSET,
    size: 1024,
    consumer: console::IN_CONS_OFFSET,
    producer: console::IN_PROD_OFFSET,
};

/// From this domain, `out`.
pub const OUTPUT: ByteRing = ByteRing {
    data: console::OUT_OFFSET,
    size: 2048,
    consumer: console::OUT_CONS_OFFSET,
    producer: console::OUT_PROD_OFFSET,
};

/// A console. Clones are the same console.
pub struct Console<P: Platform> {
    terminal: Rc<Terminal<P>>,
}

impl<P: Platform> Clone for Console<P> {
    fn clone(&self) -> Self {
        Self { terminal: self.terminal.clone() }
    }
}

struct Terminal<P: Platform> {
    platform: Rc<P>,
    store: Xenstore,
    path: String,
    patience: Duration,
    session: Session,
    connection: RefCell<Option<Connection<P>>>,
}

struct Connection<P: Platform> {
    page: GrantedMemory<P>,
    channel: P::Channel,
    sender: ByteSender,
    receiver: ByteReceiver,
    /// Whether the backend is connected to it.
    up: bool,
}

impl<P: Platform> Console<P> {
    /// A console that is not connected yet. `path` is its directory, `device/console/1`.
    pub fn new(platform: Rc<P>, store: &Xenstore, path: &str, patience: Duration) -> Self {
        let terminal = Terminal {
            platform,
            store: store.clone(),
            path: path.to_string(),
            patience,
            session: Session::default(),
            connection: RefCell::new(None),
        };
        Self { terminal: Rc::new(terminal) }
    }

    /// Connects the console and keeps it connected. A task that ends when the console does.
    pub async fn run(self) {
        let terminal = &*self.terminal;
        let Terminal { platform, store, path, patience, session, .. } = terminal;
        supervise(&**platform, store, path, terminal, session, Some(*patience)).await;
    }

    /// Where the console stands.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.terminal.session
    }

    /// The console's directory.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.terminal.path
    }

    /// The port that fires when there is something to read or room to write. Another one after each connection.
    #[must_use]
    pub fn port(&self) -> Option<Port> {
        self.terminal.connection.borrow().as_ref().map(|connection| connection.channel.port())
    }

    /// Writes as much of `data` as there is room for, and says how much that was. Nothing while not connected.
    pub fn write(&self, data: &[u8]) -> usize {
        self.exchange(|connection| connection.sender.send(&connection.page, data))
    }

    /// Reads what is there, and says how much that was.
    pub fn read(&self, data: &mut [u8]) -> usize {
        self.exchange(|connection| connection.receiver.receive(&connection.page, data))
    }

    /// Whether the backend has taken all that was written.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let connection = self.terminal.connection.borrow();
        let up = connection.as_ref().filter(|connection| connection.up);
        up.is_none_or(|connection| connection.sender.is_drained(&connection.page).unwrap_or(true))
    }

    /// Moves bytes one way or the other, and tells the backend.
    fn exchange(&self, work: impl FnOnce(&mut Connection<P>) -> Result<usize, RingFault>) -> usize {
        let mut state = self.terminal.connection.borrow_mut();
        let Some(connection) = state.as_mut().filter(|connection| connection.up) else { return 0 };
        match work(connection) {
            Ok(0) => 0,
            Ok(moved) => {
                connection.channel.notify();
                moved
            }
            Err(fault) => {
                connection.up = false;
                drop(state);
                self.terminal.session.fault(fault);
                0
            }
        }
    }
}

impl<P: Platform> Driver for Terminal<P> {
    async fn prepare(&self, link: &Link) -> Result<Vec<(String, String)>, LinkError> {
        let short = |shortage| link.error(Problem::Shortage(shortage));
        let mut page = GrantedMemory::allocate(&self.platform, 1).map_err(short)?;
        page.grant(link.backend_domain()).map_err(short)?;
        let channel = self.platform.open_channel(link.backend_domain()).map_err(short)?;
        let keys = vec![
            ("ring-ref".to_string(), page.reference(0).to_string()),
            ("port".to_string(), channel.port().to_string()),
        ];
        let (sender, receiver) = (ByteSender::new(OUTPUT, &page), ByteReceiver::new(INPUT, &page));
        *self.connection.borrow_mut() = Some(Connection { page, channel, sender, receiver, up: false });
        Ok(keys)
    }

    async fn connected(&self, _: &Link) -> Result<(), LinkError> {
        if let Some(connection) = &mut *self.connection.borrow_mut() {
            connection.up = true;
        }
        Ok(())
    }

    fn disconnected(&self) {
        if let Some(connection) = &mut *self.connection.borrow_mut() {
            connection.up = false;
        }
    }

    fn release(&self) {
        *self.connection.borrow_mut() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::fake::{Bench, FakePlatform};
    use crate::shared_mem::SharedMem;
    use crate::shared_mem::fake::FakeMemory;
    use crate::xenbus::Status;

    fn connect() -> (Bench, Console<FakePlatform>, FakeMemory) {
        let mut bench = Bench::new("console", 1);
        let console = Console::new(bench.platform.clone(), &bench.store, bench.path(), crate::front::PATIENCE);
        bench.start(console.clone().run());
        assert_eq!((console.write(b"early"), console.is_drained()), (0, true));
        bench.back("state", "2");
        let (page, _) = bench.platform.granted(u32::try_from(bench.front_number("ring-ref")).unwrap()).unwrap();
        assert_eq!(console.port().map(|port| u64::from(port.0)), Some(bench.front_number("port")));
        bench.back("state", "4");
        assert_eq!(bench.front("state").as_deref(), Some("4"));
        (bench, console, page)
    }

    /// console.h: `in` at 0, `out` at 1024, then in_cons, in_prod, out_cons, out_prod.
    #[test]
    fn bytes_go_both_ways() {
        let (bench, console, page) = connect();
        assert_eq!(console.write(b"hello"), 5);
        assert_eq!(page.bytes(1024, 5), b"hello");
        assert_eq!(page.get_u32(3084), 5);
        assert!(!console.is_drained());
        page.set_u32(3080, 5);
        assert!(console.is_drained());
        page.write(0, b"yes");
        page.set_u32(3076, 3);
        let mut data = [0; 8];
        assert_eq!(console.read(&mut data), 3);
        assert_eq!(data[..3], *b"yes");
        assert_eq!(page.get_u32(3072), 3);
        assert_eq!(console.read(&mut data), 0);
        let channel = bench.platform.channel(u32::try_from(bench.front_number("port")).unwrap()).unwrap();
        assert_eq!(channel.take_signals(), 2);
    }

    #[test]
    fn a_full_ring_takes_no_more() {
        let (_bench, console, _) = connect();
        assert_eq!(console.write(&[b'x'; 3000]), 2048);
        assert_eq!(console.write(b"y"), 0);
    }

    #[test]
    fn impossible_indices_end_the_console() {
        let (mut bench, console, page) = connect();
        page.set_u32(3076, 1025);
        assert_eq!(console.read(&mut [0; 8]), 0);
        bench.back("state", "6");
        assert!(matches!(console.session().status(), Status::Failed(_)));
        assert_eq!((console.port(), console.write(b"x")), (None, 0));
    }
}
