//! Framebuffer frontend (vfb): a picture in pages of ours that the backend shows.
//!
//! One shared page has a ring of events each way, the picture's shape, and a directory: machine frames of pages that
//! list the machine frames of the picture. The backend, a QEMU in dom0, maps all of them when we are Initialised and
//! never again, so the memory for the largest picture is allocated at the start and stays for ever (4 bytes a pixel:
//! 1024×768 takes 3 MiB, 1920×1200 takes 8.8 MiB). A smaller picture uses its beginning, lines packed without gaps, so
//! after a resize everything has to be drawn anew.
//!
//! What QEMU's xenfb does, which decides what is worth doing here:
//! - It limits the framebuffer to `videoram` MiB if that key is in our directory (we do not write it), and to what the
//!   directory can hold. A RESIZE is cut to the length at connection; a wrong stride or offset is dropped silently.
//! - It draws straight from our pages (32 bits a pixel, no copy), and encodes only rectangles that UPDATE named: more
//!   than 8 between two refreshes, or a full-width one of more than half the height, become the full picture. It looks
//!   at the ring when we notify it, and notifies back when it has emptied it.
//! - It writes `request-update` = 1 just before it becomes Connected, because we write `feature-update` = 1.
//! - REFRESH_PERIOD says *nothing reliable about viewers*. QEMU up to 7.0 sends it whenever its display refresh interval
//!   changes while connected: 30 ms at best with a VNC viewer and a changing picture, 50 ms more after each refresh
//!   without changes, up to 3000 ms, which is also where it goes when the last viewer leaves. Since 7.1 (Debian 12 and
//!   13) it follows the viewer's window instead (`ui_info`): with VNC it is sent only when a viewer asks for another
//!   desktop size, as 1000/75 = 13 ms; a plain viewer that comes, looks and goes causes no event at all (seen on 7.2).
//!   It never sends 0 (`XENFB_NO_REFRESH`).
//! - With no viewer it still takes UPDATEs and forgets them; a viewer that comes gets the full picture.
//!
//! Source: Xen's public/io/fbif.h; QEMU's hw/display/xenfb.c and ui/console.c for the above.
//! Not modelled: depths other than 32; offsets within the framebuffer; a width that is narrower than its lines.
//!
//! Invariant: an update is never lost. What does not fit into the ring grows into one rectangle, which is sent when
//! the backend has made room, after the resize that it belongs to.

use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::time::Duration;

use xen_abi::io::fbif;
use xen_abi::{PAGE_SIZE, Port};
use zerocopy::{FromBytes, IntoBytes};

use super::{FramedMemory, Platform, Shortage};
use crate::ring::{EventReceiver, EventRing, EventSender, RingFault, widen};
use crate::shared_mem::{Notify, SharedMem};
use crate::xenbus::{Driver, Link, LinkError, Problem, Session, supervise};
use crate::xenstore::Xenstore;

const INPUT: EventRing = EventRing {
    data: fbif::IN_RING_OFFSET,
    events: fbif::IN_RING_LEN,
    consumer: fbif::IN_CONS_OFFSET,
    producer: fbif::IN_PROD_OFFSET,
};
const OUTPUT: EventRing = EventRing {
    data: fbif::OUT_RING_OFFSET,
    events: fbif::OUT_RING_LEN,
    consumer: fbif::OUT_CONS_OFFSET,
    producer: fbif::OUT_PROD_OFFSET,
};

/// Bytes of a pixel, `0x00RRGGBB`.
const PIXEL: usize = 4;
/// Frame numbers in a page of the directory.
const FRAMES_PER_PAGE: usize = PAGE_SIZE / 8;
/// Pixels in a line, and lines, at most: what numbers of the interface can be added up without care.
const SIDE_MAX: u32 = 16384;

/// Part of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rectangle {
    left: u32,
    top: u32,
    right: u32,
    bottom: u32,
}

impl Rectangle {
    fn and(self, other: Self) -> Self {
        Self {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }
}

/// A picture that a backend shows. Clones are the same picture.
pub struct Framebuffer<P: Platform> {
    screen: Rc<Screen<P>>,
}

impl<P: Platform> Clone for Framebuffer<P> {
    fn clone(&self) -> Self {
        Self { screen: self.screen.clone() }
    }
}

struct Screen<P: Platform> {
    platform: Rc<P>,
    store: Xenstore,
    path: String,
    patience: Duration,
    session: Session,
    state: RefCell<State<P>>,
}

struct State<P: Platform> {
    /// The shared page, the pages of the directory, and the picture.
    memory: FramedMemory<P>,
    /// Pages of the directory.
    directories: usize,
    width: u32,
    height: u32,
    connection: Option<Connection<P>>,
    /// What the backend has to be told of the shape.
    resized: bool,
    /// What it has to be told of the picture, beyond what is in the ring.
    changed: Option<Rectangle>,
    /// The last period that the backend named.
    period: Option<u32>,
}

struct Connection<P: Platform> {
    channel: P::Channel,
    sender: EventSender,
    receiver: EventReceiver,
    /// The shape that the backend finds in the page.
    published: (u32, u32),
    /// `feature-resize`.
    can_resize: bool,
    /// `request-update`.
    wants_updates: bool,
    /// Whether the backend is connected to it.
    up: bool,
    /// Whether there are events that it was not notified of.
    unannounced: bool,
}

impl<P: Platform> Framebuffer<P> {
    /// A black picture of `width` × `height` pixels that is not connected yet, with memory for `max_pixels`. `path` is
    /// its directory, `device/vfb/0`.
    pub fn new(
        platform: Rc<P>,
        store: &Xenstore,
        path: &str,
        (width, height): (u32, u32),
        max_pixels: usize,
        patience: Duration,
    ) -> Result<Self, Shortage> {
        let (width, height) = (width.clamp(1, SIDE_MAX), height.clamp(1, SIDE_MAX));
        let pixels = max_pixels.max(widen(width) * widen(height));
        let pages = pixels.saturating_mul(PIXEL).div_ceil(PAGE_SIZE);
        let directories = pages.div_ceil(FRAMES_PER_PAGE);
        if directories > fbif::PD_ENTRIES_BEFORE_RINGS {
            return Err(Shortage { what: "a framebuffer", why: "the picture is too large".to_string() });
        }
        let memory = FramedMemory::allocate(&platform, 1 + directories + pages)?;
        let state =
            State { memory, directories, width, height, connection: None, resized: false, changed: None, period: None };
        let screen = Screen {
            platform,
            store: store.clone(),
            path: path.to_string(),
            patience,
            session: Session::default(),
            state: RefCell::new(state),
        };
        Ok(Self { screen: Rc::new(screen) })
    }

    /// Connects the picture and keeps it connected. A task that ends when the device does.
    pub async fn run(self) {
        let screen = &*self.screen;
        supervise(&*screen.platform, &screen.store, &screen.path, screen, &screen.session, Some(screen.patience)).await;
    }

    /// Where the device stands.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.screen.session
    }

    /// The port that fires when [`poll`](Self::poll) should be called. Another one after each connection.
    #[must_use]
    pub fn port(&self) -> Option<Port> {
        self.screen.state.borrow().connection.as_ref().map(|connection| connection.channel.port())
    }

    /// Width and height in pixels.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        let state = self.screen.state.borrow();
        (state.width, state.height)
    }

    /// Pixels that there is memory for.
    #[must_use]
    pub fn max_pixels(&self) -> usize {
        self.screen.state.borrow().picture_len() / PIXEL
    }

    /// Gives the picture another shape; every pixel has to be written anew, and the whole picture counts as updated.
    /// `false`: it stays as it is, because there is not enough memory or the backend cannot.
    pub fn resize(&self, width: u32, height: u32) -> bool {
        let mut state = self.screen.state.borrow_mut();
        if (width, height) == (state.width, state.height) {
            return true;
        }
        let fits = (1..=SIDE_MAX).contains(&width)
            && (1..=SIDE_MAX).contains(&height)
            && widen(width) * widen(height) * PIXEL <= state.picture_len();
        let able = state.connection.as_ref().is_none_or(|connection| connection.can_resize);
        if !fits || !able {
            return false;
        }
        (state.width, state.height) = (width, height);
        state.resized = true;
        state.changed = Some(Rectangle { left: 0, top: 0, right: width, bottom: height });
        drop(state);
        self.send();
        true
    }

    /// Writes pixels into a line from `x` on. What lies outside is dropped.
    pub fn write(&self, x: u32, y: u32, pixels: &[u32]) {
        let state = self.screen.state.borrow();
        if let (Some((offset, count)), Some(memory)) = (state.place(x, y, pixels.len()), state.memory.memory()) {
            memory.write(offset, pixels[..count].as_bytes());
        }
    }

    /// Reads pixels of a line from `x` on. What lies outside reads as black.
    pub fn read(&self, x: u32, y: u32, pixels: &mut [u32]) {
        let state = self.screen.state.borrow();
        let place = state.place(x, y, pixels.len());
        pixels[place.map_or(0, |(_, count)| count)..].fill(0);
        if let (Some((offset, count)), Some(memory)) = (place, state.memory.memory()) {
            memory.read(offset, pixels[..count].as_mut_bytes());
        }
    }

    /// Says that a rectangle was drawn. The backend is told with the next [`flush`](Self::flush).
    pub fn update(&self, x: u32, y: u32, width: u32, height: u32) {
        let mut state = self.screen.state.borrow_mut();
        let (right, bottom) = (x.saturating_add(width).min(state.width), y.saturating_add(height).min(state.height));
        if x >= right || y >= bottom {
            return;
        }
        let rectangle = Rectangle { left: x, top: y, right, bottom };
        if state.changed.is_some() || state.resized {
            state.changed = Some(state.changed.map_or(rectangle, |changed| changed.and(rectangle)));
        } else {
            state.changed = Some(rectangle);
            drop(state);
            self.send();
        }
    }

    /// Notifies the backend of what [`update`](Self::update) put into the ring. Once per round of drawing is enough.
    pub fn flush(&self) {
        let mut state = self.screen.state.borrow_mut();
        if let Some(connection) = &mut state.connection
            && core::mem::take(&mut connection.unannounced)
        {
            connection.channel.notify();
        }
    }

    /// How often the backend shows the picture, in milliseconds. `None`: it has not said; see the module's head.
    #[must_use]
    pub fn refresh_period(&self) -> Option<u32> {
        self.screen.state.borrow().period
    }

    /// Looks what the backend has to say, and sends what waited for room. `true`: the refresh period has changed.
    pub fn poll(&self) -> bool {
        let before = self.refresh_period();
        let taken = self.screen.state.borrow_mut().take_events();
        self.check(taken);
        self.send();
        self.flush();
        self.refresh_period() != before
    }

    fn send(&self) {
        let sent = self.screen.state.borrow_mut().send();
        self.check(sent);
    }

    fn check(&self, result: Result<(), RingFault>) {
        if let Err(fault) = result {
            self.screen.disconnected();
            self.screen.session.fault(fault);
        }
    }
}

impl<P: Platform> State<P> {
    /// Offset of the picture in the memory.
    fn picture(&self) -> usize {
        (1 + self.directories) * PAGE_SIZE
    }

    /// Bytes that the picture can have.
    fn picture_len(&self) -> usize {
        self.memory.memory().map_or(0, SharedMem::len) - self.picture()
    }

    /// Where pixels of a line are, and how many of them are within the picture.
    fn place(&self, x: u32, y: u32, count: usize) -> Option<(usize, usize)> {
        if x >= self.width || y >= self.height {
            return None;
        }
        let offset = self.picture() + (widen(y) * widen(self.width) + widen(x)) * PIXEL;
        Some((offset, count.min(widen(self.width - x))))
    }

    /// Writes the shape and the directory, for a backend that will look at them.
    fn publish(&mut self) {
        let (directories, pages) = (self.directories, self.picture_len() / PAGE_SIZE);
        let mut page = fbif::Page {
            in_cons: 0,
            in_prod: 0,
            out_cons: 0,
            out_prod: 0,
            width: signed(self.width),
            height: signed(self.height),
            line_length: self.width * 4,
            mem_length: crate::ring::narrow(self.picture_len()),
            depth: 32,
            padding: [0; 7],
            pd: [0; 256],
        };
        for (directory, entry) in page.pd.iter_mut().enumerate().take(directories) {
            *entry = self.memory.publish(1 + directory);
        }
        let frames: Vec<u64> = (0..pages).map(|page| self.memory.publish(1 + directories + page)).collect();
        if let Some(memory) = self.memory.memory() {
            memory.write(PAGE_SIZE, frames.as_bytes());
            memory.write(0, &page.as_bytes()[..fbif::IN_RING_OFFSET]);
        }
    }

    /// Puts into the ring what the backend has to be told, as far as there is room.
    fn send(&mut self) -> Result<(), RingFault> {
        let (Some(connection), Some(memory)) = (&mut self.connection, self.memory.memory()) else { return Ok(()) };
        if !connection.up {
            return Ok(());
        }
        if self.resized {
            let resize = fbif::Resize {
                kind: fbif::XENFB_TYPE_RESIZE,
                width: signed(self.width),
                height: signed(self.height),
                stride: signed(self.width * 4),
                depth: 32,
                ..Default::default()
            };
            if !connection.sender.send(memory, resize.as_bytes())? {
                return Ok(());
            }
            self.resized = false;
            connection.unannounced = true;
        }
        if !connection.wants_updates {
            self.changed = None;
        }
        if let Some(changed) = self.changed {
            let update = fbif::Update {
                kind: fbif::XENFB_TYPE_UPDATE,
                x: signed(changed.left),
                y: signed(changed.top),
                width: signed(changed.right - changed.left),
                height: signed(changed.bottom - changed.top),
                ..Default::default()
            };
            if connection.sender.send(memory, update.as_bytes())? {
                self.changed = None;
                connection.unannounced = true;
            }
        }
        Ok(())
    }

    /// Takes what the backend said, at most one ring's worth.
    fn take_events(&mut self) -> Result<(), RingFault> {
        let (Some(connection), Some(memory)) = (&mut self.connection, self.memory.memory()) else { return Ok(()) };
        if !connection.up {
            return Ok(());
        }
        for _ in 0..fbif::IN_RING_LEN {
            let Some(bytes) = connection.receiver.receive(memory)? else { break };
            if bytes[0] == fbif::XENFB_TYPE_REFRESH_PERIOD
                && let Ok((event, _)) = fbif::RefreshPeriod::read_from_prefix(&bytes)
            {
                self.period = Some(event.period);
            }
        }
        Ok(())
    }
}

/// A number of the interface. Sides are at most [`SIDE_MAX`].
fn signed(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

impl<P: Platform> Driver for Screen<P> {
    const GRACE: Option<Duration> = Some(super::GRACE);

    async fn prepare(&self, link: &Link) -> Result<Vec<(String, String)>, LinkError> {
        // Looked at again when connected: a backend that says nothing yet may do so by then.
        let can_resize = link.backend_flag("feature-resize").await?;
        let short = |shortage| link.error(Problem::Shortage(shortage));
        let channel = self.platform.open_channel(link.backend_domain()).map_err(short)?;
        let mut state = self.state.borrow_mut();
        state.publish();
        let frame = state.memory.publish(0);
        let Some(memory) = state.memory.memory() else { return Ok(Vec::new()) };
        let (sender, receiver) = (EventSender::new(OUTPUT, memory), EventReceiver::new(INPUT, memory));
        let keys = vec![
            ("page-ref".to_string(), frame.to_string()),
            ("event-channel".to_string(), channel.port().to_string()),
            ("protocol".to_string(), "x86_64-abi".to_string()),
            ("feature-update".to_string(), "1".to_string()),
        ];
        state.resized = false;
        state.connection = Some(Connection {
            channel,
            sender,
            receiver,
            published: (state.width, state.height),
            can_resize,
            wants_updates: true,
            up: false,
            unannounced: false,
        });
        Ok(keys)
    }

    async fn connected(&self, link: &Link) -> Result<(), LinkError> {
        let (can_resize, wants_updates) = (link.backend_flag("feature-resize"), link.backend_flag("request-update"));
        let (can_resize, wants_updates) = (can_resize.await?, wants_updates.await?);
        let mut state = self.state.borrow_mut();
        let size = (state.width, state.height);
        // A new backend shows everything once by itself.
        state.changed = None;
        if let Some(connection) = &mut state.connection {
            connection.up = true;
            connection.can_resize = can_resize;
            connection.wants_updates = wants_updates;
            state.resized = connection.published != size;
        }
        // A fault would show again with the next update.
        let _ = state.send();
        Ok(())
    }

    async fn changed(&self, link: &Link) -> Result<(), LinkError> {
        // QEMU writes its state once more after we are connected.
        let (can_resize, wants_updates) = (link.backend_flag("feature-resize"), link.backend_flag("request-update"));
        let (can_resize, wants_updates) = (can_resize.await?, wants_updates.await?);
        if let Some(connection) = &mut self.state.borrow_mut().connection {
            connection.can_resize = can_resize;
            connection.wants_updates = wants_updates;
        }
        Ok(())
    }

    fn disconnected(&self) {
        let mut state = self.state.borrow_mut();
        state.period = None;
        if let Some(connection) = &mut state.connection {
            connection.up = false;
        }
    }

    fn release(&self) {
        self.state.borrow_mut().connection = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::fake::{Bench, FakePlatform};
    use crate::shared_mem::fake::FakeMemory;
    use crate::xenbus::Status;

    fn new(bench: &mut Bench, size: (u32, u32), max_pixels: usize) -> Framebuffer<FakePlatform> {
        let path = bench.path().to_string();
        let framebuffer =
            Framebuffer::new(bench.platform.clone(), &bench.store, &path, size, max_pixels, crate::front::PATIENCE)
                .unwrap();
        bench.start(framebuffer.clone().run());
        framebuffer
    }

    fn connect(size: (u32, u32), max_pixels: usize) -> (Bench, Framebuffer<FakePlatform>, FakeMemory) {
        let mut bench = Bench::new("vfb", 0);
        let framebuffer = new(&mut bench, size, max_pixels);
        bench.back("feature-resize", "1");
        bench.back("state", "2");
        let (page, at) = bench.platform.framed(bench.front_number("page-ref")).unwrap();
        assert_eq!(at, 0);
        bench.back("request-update", "1");
        bench.back("state", "4");
        assert_eq!(bench.front("state").as_deref(), Some("4"));
        (bench, framebuffer, page)
    }

    /// Events that the backend finds in the ring, as numbers.
    fn events(page: &FakeMemory) -> Vec<Vec<u32>> {
        let (mut consumer, producer) = (page.get_u32(8), page.get_u32(12));
        let mut events = Vec::new();
        while consumer != producer {
            let at = 2048 + widen(consumer % 51) * 40;
            let numbers = match page.bytes(at, 1)[0] {
                2 => 4,
                3 => 5,
                other => panic!("event {other}"),
            };
            let mut event = vec![u32::from(page.bytes(at, 1)[0])];
            event.extend((1..=numbers).map(|index| page.get_u32(at + index * 4)));
            events.push(event);
            consumer = consumer.wrapping_add(1);
        }
        page.set_u32(8, consumer);
        events
    }

    /// fbif.h: `struct xenfb_page` has width at 16, height, line_length, mem_length, depth at 32 and pd at 40.
    #[test]
    fn the_backend_finds_shape_and_pixels() {
        let (bench, framebuffer, page) = connect((640, 480), 1024 * 768);
        assert_eq!(bench.front("protocol").as_deref(), Some("x86_64-abi"));
        assert_eq!(bench.front("feature-update").as_deref(), Some("1"));
        let shape: Vec<u32> = [16, 20, 24, 28].map(|at| page.get_u32(at)).to_vec();
        assert_eq!(shape, [640, 480, 2560, 3 << 20]);
        assert_eq!(page.bytes(32, 1), [32]);
        framebuffer.write(638, 479, &[1, 2, 3]);
        let mut back = [9; 4];
        framebuffer.read(637, 479, &mut back);
        assert_eq!(back, [0, 1, 2, 0]);
        // Through the directory, as the backend goes.
        let offset = (479 * 640 + 638) * 4;
        let number =
            |memory: &FakeMemory, at: usize| u64::from(memory.get_u32(at)) | u64::from(memory.get_u32(at + 4)) << 32;
        let index = offset / 4096;
        let (directory, at) = bench.platform.framed(number(&page, 40 + index / 512 * 8)).unwrap();
        let (pixels, at) = bench.platform.framed(number(&directory, at + index % 512 * 8)).unwrap();
        assert_eq!(pixels.get_u32(at + offset % 4096), 1);
        assert_eq!(framebuffer.max_pixels(), 1024 * 768);
    }

    #[test]
    fn updates_are_clipped_and_announced_once() {
        let (bench, framebuffer, page) = connect((640, 480), 0);
        let channel = bench.platform.channel(u32::try_from(bench.front_number("event-channel")).unwrap()).unwrap();
        channel.take_signals();
        framebuffer.update(10, 20, 30, 40);
        framebuffer.update(630, 470, 100, u32::MAX);
        framebuffer.update(640, 0, 1, 1);
        framebuffer.update(0, 0, 0, 5);
        assert_eq!(channel.take_signals(), 0);
        framebuffer.flush();
        framebuffer.flush();
        assert_eq!(channel.take_signals(), 1);
        assert_eq!(events(&page), [[2, 10, 20, 30, 40], [2, 630, 470, 10, 10]]);
    }

    #[test]
    fn updates_that_do_not_fit_into_the_ring_become_one() {
        let (_bench, framebuffer, page) = connect((640, 480), 0);
        for x in 0..60 {
            framebuffer.update(x, x, 1, 1);
        }
        assert_eq!(events(&page).len(), 51);
        assert!(!framebuffer.poll());
        assert_eq!(events(&page), [[2, 51, 51, 9, 9]]);
    }

    #[test]
    fn a_resize_comes_before_the_updates_of_the_new_picture() {
        let (_bench, framebuffer, page) = connect((640, 480), 800 * 600);
        for x in 0..51 {
            framebuffer.update(x, 0, 1, 1);
        }
        assert!(framebuffer.resize(800, 600));
        framebuffer.update(700, 500, 1, 1);
        assert_eq!(events(&page).len(), 51);
        framebuffer.poll();
        let expected: [&[u32]; 2] = [&[3, 800, 600, 3200, 32, 0], &[2, 0, 0, 800, 600]];
        assert_eq!(events(&page), expected);
        assert!(!framebuffer.resize(1024, 768), "there is no memory for it");
        assert!(!framebuffer.resize(0, 600));
        assert!(!framebuffer.resize(u32::MAX, u32::MAX));
        assert_eq!(framebuffer.size(), (800, 600));
    }

    #[test]
    fn a_resize_while_connecting_is_told_once_connected() {
        let mut bench = Bench::new("vfb", 0);
        let framebuffer = new(&mut bench, (640, 480), 800 * 600);
        bench.back("feature-resize", "1");
        bench.back("state", "2");
        assert!(framebuffer.resize(720, 400));
        let (page, _) = bench.platform.framed(bench.front_number("page-ref")).unwrap();
        assert_eq!(page.get_u32(16), 640);
        bench.back("state", "4");
        assert_eq!(events(&page)[0], [3, 720, 400, 2880, 32, 0]);
    }

    #[test]
    fn a_backend_that_cannot_resize_keeps_the_picture_as_it_is() {
        let mut bench = Bench::new("vfb", 0);
        let framebuffer = new(&mut bench, (640, 480), 800 * 600);
        assert!(framebuffer.resize(720, 400), "nobody knows it yet");
        bench.back("state", "2");
        bench.back("state", "4");
        assert!(!framebuffer.resize(640, 480));
        assert_eq!(framebuffer.size(), (720, 400));
    }

    /// fbif.h: a backend that wants updates says `request-update`.
    #[test]
    fn a_backend_that_wants_no_updates_gets_none() {
        let mut bench = Bench::new("vfb", 0);
        let framebuffer = new(&mut bench, (640, 480), 0);
        bench.back("state", "2");
        bench.back("state", "4");
        let (page, _) = bench.platform.framed(bench.front_number("page-ref")).unwrap();
        framebuffer.update(0, 0, 10, 10);
        assert_eq!(page.get_u32(12), 0);
    }

    #[test]
    fn the_refresh_period_is_the_last_that_was_sent() {
        let (_bench, framebuffer, page) = connect((640, 480), 0);
        assert_eq!(framebuffer.refresh_period(), None);
        for (index, event) in [(0, [1_u32, 3000]), (1, [7, 1]), (2, [1, 30])] {
            page.set_u32(1024 + index * 40, event[0]);
            page.set_u32(1024 + index * 40 + 4, event[1]);
        }
        page.set_u32(4, 3);
        assert!(framebuffer.poll());
        assert_eq!(framebuffer.refresh_period(), Some(30));
        assert_eq!(page.get_u32(0), 3);
        assert!(!framebuffer.poll());
    }

    #[test]
    fn impossible_indices_end_the_connection() {
        for (index, value) in [(4, 26), (8, 5)] {
            let (mut bench, framebuffer, page) = connect((640, 480), 0);
            page.set_u32(index, value);
            framebuffer.poll();
            framebuffer.update(0, 0, 1, 1);
            bench.back("state", "6");
            assert!(matches!(framebuffer.session().status(), Status::Failed(_)), "index at {index}");
        }
    }

    #[test]
    fn a_backend_that_comes_back_finds_the_picture_of_now() {
        let (mut bench, framebuffer, page) = connect((640, 480), 800 * 600);
        bench.back("state", "5");
        bench.back("state", "6");
        assert!(framebuffer.resize(800, 600));
        framebuffer.update(0, 0, 1, 1);
        bench.back("state", "2");
        assert_eq!((page.get_u32(16), page.get_u32(12)), (800, 0));
        bench.back("state", "4");
        assert_eq!(page.get_u32(12), 0, "the shape was in the page");
    }
}
