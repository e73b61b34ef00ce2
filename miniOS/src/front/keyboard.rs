//! Keyboard and pointer frontend (vkbd).
//!
//! The backend, a QEMU in dom0, sends what the person at the VNC viewer does. It maps our page by its machine frame
//! (`page-ref`); other backends use the grant (`page-gref`). It reads `request-abs-pointer` and `request-raw-pointer`
//! when our state becomes Connected. With a raw pointer positions are 0 to 32767 on each axis whatever the picture's
//! size; without, they are pixels of the picture.
//!
//! Source: Xen's public/io/kbdif.h. The wheel's `rel_z` is positive downwards, as Linux' frontend has it.
//! Not modelled: multi-touch; backends that send no keys (`feature-disable-keyboard`) just send none.

use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::time::Duration;

use xen_abi::Port;
use xen_abi::io::kbdif;
use zerocopy::FromBytes;

use super::{FramedMemory, Platform, Shortage};
use crate::ring::{EVENT_SIZE, EventReceiver, EventRing, RingFault};
use crate::shared_mem::Notify;
use crate::xenbus::{Driver, Link, LinkError, Problem, Session, supervise};
use crate::xenstore::Xenstore;

const EVENTS: EventRing = EventRing {
    data: kbdif::IN_RING_OFFSET,
    events: kbdif::IN_RING_LEN,
    consumer: kbdif::IN_CONS_OFFSET,
    producer: kbdif::IN_PROD_OFFSET,
};

/// `KEY_MAX` of Linux' input-event-codes.h.
const KEY_MAX: u16 = 0x2ff;

/// What a person does. The numbers are the backend's, and can be anything that their types hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A key of the keyboard or a button of the pointer.
    Key {
        /// `KEY_*` or `BTN_*` of Linux, at most `KEY_MAX`.
        code: u16,
        /// Whether it went down.
        down: bool,
    },
    /// The pointer moved, right and down positive.
    Motion {
        /// Pixels to the right.
        dx: i32,
        /// Pixels down.
        dy: i32,
        /// Notches of the wheel, up positive.
        wheel: i32,
    },
    /// The pointer is at a place, in the units of [`Pointer`].
    Position {
        /// From the left.
        x: i32,
        /// From the top.
        y: i32,
        /// Notches of the wheel, up positive.
        wheel: i32,
    },
}

impl Event {
    /// From the bytes on the ring. `None` for what we do not know.
    #[must_use]
    pub fn decode(bytes: &[u8; EVENT_SIZE]) -> Option<Self> {
        match bytes[0] {
            kbdif::XENKBD_TYPE_KEY => {
                let (key, _) = kbdif::Key::read_from_prefix(bytes).ok()?;
                let code = u16::try_from(key.keycode).ok().filter(|code| *code <= KEY_MAX)?;
                Some(Self::Key { code, down: key.pressed != 0 })
            }
            kbdif::XENKBD_TYPE_MOTION => {
                let (motion, _) = kbdif::Motion::read_from_prefix(bytes).ok()?;
                Some(Self::Motion { dx: motion.rel_x, dy: motion.rel_y, wheel: motion.rel_z.saturating_neg() })
            }
            kbdif::XENKBD_TYPE_POS => {
                let (position, _) = kbdif::Position::read_from_prefix(bytes).ok()?;
                Some(Self::Position { x: position.abs_x, y: position.abs_y, wheel: position.rel_z.saturating_neg() })
            }
            _ => None,
        }
    }
}

/// How the pointer is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pointer {
    /// By [`Event::Motion`].
    #[default]
    Relative,
    /// By [`Event::Position`] in pixels of the picture.
    Pixels,
    /// By [`Event::Position`], 0 to 32767 on each axis.
    Raw,
}

/// A keyboard and pointer. Clones are the same.
pub struct Keyboard<P: Platform> {
    board: Rc<Board<P>>,
}

impl<P: Platform> Clone for Keyboard<P> {
    fn clone(&self) -> Self {
        Self { board: self.board.clone() }
    }
}

struct Board<P: Platform> {
    platform: Rc<P>,
    store: Xenstore,
    path: String,
    patience: Duration,
    session: Session,
    /// What the user asked for.
    absolute: bool,
    /// What the backend agreed to.
    pointer: Cell<Pointer>,
    state: RefCell<State<P>>,
}

struct State<P: Platform> {
    page: FramedMemory<P>,
    grant: Option<P::Grant>,
    channel: Option<P::Channel>,
    events: Option<EventReceiver>,
}

impl<P: Platform> Keyboard<P> {
    /// A keyboard that is not connected yet. `path` is its directory, `device/vkbd/0`; `absolute`: the pointer's
    /// places are wanted instead of its movements, where the backend can.
    pub fn new(
        platform: Rc<P>,
        store: &Xenstore,
        path: &str,
        absolute: bool,
        patience: Duration,
    ) -> Result<Self, Shortage> {
        let page = FramedMemory::allocate(&platform, 1)?;
        let board = Board {
            platform,
            store: store.clone(),
            path: path.to_string(),
            patience,
            session: Session::default(),
            absolute,
            pointer: Cell::default(),
            state: RefCell::new(State { page, grant: None, channel: None, events: None }),
        };
        Ok(Self { board: Rc::new(board) })
    }

    /// Connects the keyboard and keeps it connected. A task that ends when the keyboard does.
    pub async fn run(self) {
        let board = &*self.board;
        supervise(&*board.platform, &board.store, &board.path, board, &board.session, Some(board.patience)).await;
    }

    /// Where the keyboard stands.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.board.session
    }

    /// The port that fires when [`poll`](Self::poll) should be called. Another one after each connection.
    #[must_use]
    pub fn port(&self) -> Option<Port> {
        self.board.state.borrow().channel.as_ref().map(Notify::port)
    }

    /// How the backend reports the pointer.
    #[must_use]
    pub fn pointer(&self) -> Pointer {
        self.board.pointer.get()
    }

    /// Reports what the person did, at most one ring's worth. `true`: there may be more; call again after other work.
    pub fn poll(&self, mut report: impl FnMut(Event)) -> bool {
        for _ in 0..kbdif::IN_RING_LEN {
            // Taken first: `report` may well come back to us.
            let next = self.board.state.borrow_mut().next();
            match next {
                Ok(None) => return false,
                Ok(Some(bytes)) => {
                    if let Some(event) = Event::decode(&bytes) {
                        report(event);
                    }
                }
                Err(fault) => {
                    self.board.state.borrow_mut().events = None;
                    self.board.session.fault(fault);
                    return false;
                }
            }
        }
        true
    }
}

impl<P: Platform> State<P> {
    fn next(&mut self) -> Result<Option<[u8; EVENT_SIZE]>, RingFault> {
        match (&mut self.events, self.page.memory()) {
            (Some(events), Some(page)) => events.receive(page),
            _ => Ok(None),
        }
    }
}

impl<P: Platform> Driver for Board<P> {
    const GRACE: Option<Duration> = Some(super::GRACE);

    async fn prepare(&self, link: &Link) -> Result<Vec<(String, String)>, LinkError> {
        let (absolute, raw) = (link.backend_flag("feature-abs-pointer"), link.backend_flag("feature-raw-pointer"));
        let (absolute, raw) = (absolute.await? && self.absolute, raw.await?);
        let pointer = match (absolute, raw) {
            (false, _) => Pointer::Relative,
            (true, false) => Pointer::Pixels,
            (true, true) => Pointer::Raw,
        };
        self.pointer.set(pointer);
        let short = |shortage| link.error(Problem::Shortage(shortage));
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let frame = state.page.publish(0);
        let Some(page) = state.page.memory() else { return Ok(Vec::new()) };
        let grant = self.platform.grant(link.backend_domain(), page, 0).map_err(short)?;
        let channel = self.platform.open_channel(link.backend_domain()).map_err(short)?;
        state.events = Some(EventReceiver::new(EVENTS, page));
        let mut keys = vec![
            ("page-ref".to_string(), frame.to_string()),
            ("page-gref".to_string(), self.platform.reference(&grant).to_string()),
            ("event-channel".to_string(), channel.port().to_string()),
        ];
        keys.push(("request-abs-pointer".to_string(), u32::from(pointer != Pointer::Relative).to_string()));
        keys.push(("request-raw-pointer".to_string(), u32::from(pointer == Pointer::Raw).to_string()));
        (state.grant, state.channel) = (Some(grant), Some(channel));
        Ok(keys)
    }

    async fn connected(&self, _: &Link) -> Result<(), LinkError> {
        Ok(())
    }

    fn disconnected(&self) {
        self.state.borrow_mut().events = None;
    }

    fn release(&self) {
        let mut state = self.state.borrow_mut();
        state.channel = None;
        if let Some(grant) = state.grant.take() {
            // The page is kept for ever anyway.
            let _ = self.platform.revoke(grant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::fake::{Bench, FakePlatform};
    use crate::shared_mem::SharedMem;
    use crate::shared_mem::fake::FakeMemory;
    use crate::xenbus::Status;
    use std::vec::Vec;

    struct Backend {
        page: FakeMemory,
        produced: u32,
    }

    impl Backend {
        fn send(&mut self, event: &[u8]) {
            let slot = usize::try_from(self.produced % 51).unwrap();
            self.page.write(1024 + slot * 40, &[0; 40]);
            self.page.write(1024 + slot * 40, event);
            self.produced += 1;
            self.page.set_u32(4, self.produced);
        }
    }

    fn connect(absolute: bool, features: &[&str]) -> (Bench, Keyboard<FakePlatform>, Backend) {
        let mut bench = Bench::new("vkbd", 0);
        let path = bench.path().to_string();
        let keyboard =
            Keyboard::new(bench.platform.clone(), &bench.store, &path, absolute, crate::front::PATIENCE).unwrap();
        bench.start(keyboard.clone().run());
        for feature in features {
            bench.back(feature, "1");
        }
        bench.back("state", "2");
        bench.back("state", "4");
        assert_eq!(bench.front("state").as_deref(), Some("4"));
        let (page, _) = bench.platform.framed(bench.front_number("page-ref")).unwrap();
        let (granted, _) = bench.platform.granted(u32::try_from(bench.front_number("page-gref")).unwrap()).unwrap();
        assert!(page.is(&granted));
        assert_eq!(keyboard.port().map(|port| u64::from(port.0)), Some(bench.front_number("event-channel")));
        (bench, keyboard, Backend { page, produced: 0 })
    }

    fn events(keyboard: &Keyboard<FakePlatform>) -> Vec<Event> {
        let mut events = Vec::new();
        keyboard.poll(|event| events.push(event));
        events
    }

    #[test]
    fn the_pointer_is_what_both_ends_can_do() {
        for (absolute, features, pointer, keys) in [
            (true, &["feature-abs-pointer", "feature-raw-pointer"][..], Pointer::Raw, ("1", "1")),
            (true, &["feature-abs-pointer"], Pointer::Pixels, ("1", "0")),
            (true, &[], Pointer::Relative, ("0", "0")),
            (false, &["feature-abs-pointer", "feature-raw-pointer"], Pointer::Relative, ("0", "0")),
        ] {
            let (bench, keyboard, _) = connect(absolute, features);
            assert_eq!(keyboard.pointer(), pointer);
            let (abs, raw) = (bench.front("request-abs-pointer"), bench.front("request-raw-pointer"));
            assert_eq!((abs.as_deref(), raw.as_deref()), (Some(keys.0), Some(keys.1)));
        }
    }

    /// kbdif.h: `struct xenkbd_key` is type, pressed, and the key code at 4; motion and position have three
    /// numbers from 4 on.
    #[test]
    fn events_are_decoded() {
        let (_bench, keyboard, mut backend) = connect(true, &["feature-abs-pointer"]);
        backend.send(&[3, 1, 0, 0, 30, 0, 0, 0]);
        backend.send(&[3, 0, 0, 0, 0x10, 1, 0, 0]);
        backend.send(&[1, 0, 0, 0, 5, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
        backend.send(&[4, 0, 0, 0, 0xff, 0x7f, 0, 0, 7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        let expected = [
            Event::Key { code: 30, down: true },
            Event::Key { code: 0x110, down: false },
            Event::Motion { dx: 5, dy: -2, wheel: -1 },
            Event::Position { x: 32767, y: 7, wheel: 1 },
        ];
        assert_eq!(events(&keyboard), expected);
        assert_eq!(events(&keyboard), []);
    }

    #[test]
    fn odd_events_are_ignored() {
        let (_bench, keyboard, mut backend) = connect(false, &[]);
        for kind in [0, 2, 5, 6, 255] {
            backend.send(&[kind; 40]);
        }
        backend.send(&[3, 1, 0, 0, 0, 3, 0, 0]);
        backend.send(&[3, 1, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        backend.send(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80]);
        assert_eq!(events(&keyboard), [Event::Motion { dx: 0, dy: 0, wheel: i32::MAX }]);
    }

    #[test]
    fn an_impossible_index_ends_the_connection() {
        let (mut bench, keyboard, backend) = connect(false, &[]);
        backend.page.set_u32(4, 52);
        assert_eq!(events(&keyboard), []);
        bench.back("state", "6");
        assert!(matches!(keyboard.session().status(), Status::Failed(_)));
        assert_eq!(bench.platform.grant_count(), 0);
    }

    #[test]
    fn a_backend_that_comes_back_finds_an_empty_ring() {
        let (mut bench, keyboard, mut backend) = connect(false, &[]);
        backend.send(&[3, 1, 0, 0, 30, 0, 0, 0]);
        bench.back("state", "5");
        bench.back("state", "6");
        bench.back("state", "2");
        bench.back("state", "4");
        assert!(keyboard.session().is_connected());
        assert_eq!(backend.page.get_u32(4), 0);
        backend.produced = 0;
        backend.send(&[3, 0, 0, 0, 30, 0, 0, 0]);
        assert_eq!(events(&keyboard), [Event::Key { code: 30, down: false }]);
    }
}
