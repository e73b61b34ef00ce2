//! A VNC server for images: a screen, keyboard and pointer, for viewers and for browsers.
//!
//! It listens only where it was told to ([`Vnc`]), on a [`Stack`] of the domain's own, which may have other users. Every
//! viewer has a socket and a session of its own; what is drawn is marked in all of them, and each is sent as much of it as it takes.
//!
//! Whenever a viewer comes or leaves, the log says how much memory is in use, and how much was at most since the time
//! before.

mod changes;
mod password;
mod viewer;

pub use changes::{Change, Changes};
pub use password::{NoPassword, password};

use alloc::borrow::ToOwned as _;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;

use devmodel::host::InputEvent;
use log::{info, warn};
use minios::clock::Instant;
use minios::front::Platform;
use minios::heap;
use minios::net::{Listener, Stack};
use minios::random;

use crate::config::{Share, Vnc};
use crate::keymap::Keymap;
use viewer::{Line, Outcome, Viewer};

/// Viewers at a time.
const VIEWERS_MAX: usize = 8;
/// Memory that has to be left when another viewer is let in, in bytes.
const MEMORY_MIN: usize = 2 << 20;
/// Bytes of a socket's buffers: what viewers send is little, what they are sent is much.
const RECEIVE_BUFFER: usize = 4 << 10;
const SEND_BUFFER: usize = 64 << 10;
/// How long a key waits for somebody to read the one before it.
const KEY_PATIENCE_NS: u64 = 100_000_000;
/// Time between two looks whether it was read.
const KEY_INTERVAL_NS: u64 = 5_000_000;
/// Keys that wait; viewers are not heard while there are more.
const KEYS_MAX: usize = 64;
/// How long a viewer may take until it is let in, and to hear why it is not: it has the place of another one.
const COMING_IN_NS: u64 = 15_000_000_000;
/// How long nobody is let in after a wrong password, and after the next ones: twice as long each time.
const BACK_OFF_NS: u64 = 1_000_000_000;
const BACK_OFF_MAX_NS: u64 = 60_000_000_000;

/// What viewers are shown.
pub trait Screen: rfb::Picture {
    /// What was drawn since the last call.
    fn changes(&mut self) -> &mut Changes;
}

/// What viewers operate.
pub trait Console {
    /// A viewer does something.
    fn input(&mut self, event: InputEvent);
    /// Whether a key would be lost now, because earlier ones were not read.
    fn has_unread_keys(&self) -> bool;
    /// The LEDs of the keyboard: bit 0 Scroll Lock, bit 1 Num Lock, bit 2 Caps Lock.
    fn keyboard_leds(&self) -> u8;
    /// Whether it wants to know where the pointer is, and not how it moves.
    fn takes_positions(&self) -> bool;
}

/// Keys that wait for somebody to read the ones before them.
#[derive(Default)]
struct Keys {
    waiting: VecDeque<InputEvent>,
    /// When the last one was pressed.
    last: Instant,
}

impl Keys {
    /// Presses what can be pressed.
    fn press(&mut self, console: &mut impl Console, now: Instant) {
        while !console.has_unread_keys() || now.since(self.last) >= KEY_PATIENCE_NS {
            let Some(event) = self.waiting.pop_front() else { return };
            console.input(event);
            self.last = now;
        }
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        (!self.waiting.is_empty()).then_some(now.after(KEY_INTERVAL_NS))
    }
}

/// The server.
pub struct Server {
    config: rfb::Config,
    keymap: Keymap,
    share: Share,
    pointer: Option<rfb::PointerShape>,
    doors: Vec<(Line, Listener)>,
    viewers: Vec<Viewer>,
    keys: Keys,
    back_off: BackOff,
}

/// Wrong passwords, one after the other.
#[derive(Default)]
struct BackOff {
    failures: u32,
    until: Option<Instant>,
}

impl BackOff {
    fn failed(&mut self, now: Instant) {
        let wait = BACK_OFF_NS.checked_shl(self.failures).unwrap_or(BACK_OFF_MAX_NS).min(BACK_OFF_MAX_NS);
        self.failures = self.failures.saturating_add(1).min(16);
        self.until = Some(now.after(wait));
    }

    fn holds(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

impl Server {
    /// A server that listens. `title` is what viewers show above the screen, `keymap` says where keys are whose place they do
    /// not tell.
    #[must_use]
    pub fn new(
        stack: &mut Stack<impl Platform + 'static>,
        title: &str,
        vnc: &Vnc,
        password: Option<rfb::Password>,
        keymap: Keymap,
    ) -> Self {
        let mut listen = |line, port| (line, Listener::new(stack, port, RECEIVE_BUFFER, SEND_BUFFER));
        let mut doors = Vec::from([listen(Line::Plain, vnc.port)]);
        doors.extend(vnc.websocket.map(|port| listen(Line::Web, port)));
        Self {
            config: rfb::Config { name: title.to_owned(), password },
            keymap,
            share: vnc.share,
            pointer: None,
            doors,
            viewers: Vec::new(),
            keys: Keys::default(),
            back_off: BackOff::default(),
        }
    }

    /// The shape that viewers give their pointer from now on, if they can. For a screen that wants positions, and has no pointer
    /// in its picture.
    pub fn set_pointer(&mut self, shape: Option<rfb::PointerShape>) {
        self.pointer = shape;
    }

    /// Whether somebody looks.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        !self.viewers.is_empty()
    }

    /// When [`Self::serve`] has to be called at the latest, apart from what happens on the network.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        self.viewers.iter().filter_map(Viewer::deadline).chain(self.keys.deadline(now)).min()
    }

    /// Does what there is to do: sends what was drawn, and takes what viewers do. The stack was polled before, and is to be
    /// polled afterwards.
    pub fn serve(
        &mut self,
        stack: &mut Stack<impl Platform + 'static>,
        screen: &mut impl Screen,
        console: &mut impl Console,
        now: Instant,
    ) {
        self.keys.press(console, now);
        self.let_in(stack, now);
        for change in screen.changes().take() {
            for viewer in &mut self.viewers {
                viewer.changed(change);
            }
        }
        let (leds, positions) = (console.keyboard_leds(), console.takes_positions());
        let mut index = 0;
        while let Some(viewer) = self.viewers.get_mut(index) {
            viewer.set_console(leds, positions, self.pointer.as_ref());
            if viewer.deadline().is_some_and(|until| until <= now) {
                viewer.end("its time is over");
                self.drop_viewer(stack, console, index, now);
                continue;
            }
            let keys = &mut self.keys.waiting;
            let listens = keys.len() < KEYS_MAX;
            let mut input = |event| match event {
                InputEvent::Key { .. } => keys.push_back(event),
                event => console.input(event),
            };
            match viewer.serve(stack, screen, self.keymap, listens, &mut input) {
                Outcome::Goes => index += 1,
                Outcome::Ready { shared } => {
                    self.back_off = BackOff::default();
                    if self.is_let_in(index, shared) {
                        index += 1;
                    } else {
                        self.drop_viewer(stack, console, index, now);
                    }
                }
                Outcome::WrongPassword => {
                    self.back_off.failed(now);
                    index += 1;
                }
                Outcome::Ended => self.drop_viewer(stack, console, index, now),
            }
        }
        self.keys.press(console, now);
    }

    /// Makes viewers of those who have come.
    fn let_in(&mut self, stack: &mut Stack<impl Platform + 'static>, now: Instant) {
        for (line, door) in &mut self.doors {
            let memory = heap::usage();
            let Some(socket) = door.accept(stack, now) else { continue };
            let peer = stack.socket(socket).remote_endpoint().map(|peer| format!("{}", peer.addr)).unwrap_or_default();
            let reason = if self.viewers.len() >= VIEWERS_MAX {
                Some("there are too many viewers")
            } else if heap::free_bytes() < MEMORY_MIN {
                Some("there is too little memory: raise stubdomain_memory in xl.cfg")
            } else if self.back_off.holds(now) {
                Some("somebody has sent wrong passwords; wait a while")
            } else {
                None
            };
            if let Some(reason) = reason {
                warn!("VNC: {peer} is not let in: {reason}");
                stack.close(socket, now);
                continue;
            }
            let number = self.viewers.len().saturating_add(1);
            info!("VNC: {peer} has connected, viewer {number} of {VIEWERS_MAX}; memory before: {memory}");
            heap::forget_most();
            let [low, high] = [random::next(), random::next()].map(u64::to_le_bytes);
            let mut challenge = [0; 16];
            for (byte, random) in challenge.iter_mut().zip(low.into_iter().chain(high)) {
                *byte = random;
            }
            let session = rfb::Session::new(&self.config, challenge);
            let until = now.after(COMING_IN_NS);
            self.viewers.push(Viewer::new(socket, *line, peer, session, self.config.password.is_none(), until));
        }
    }

    /// Whether a viewer can stay that has said whether it wants others beside it.
    fn is_let_in(&mut self, index: usize, shared: bool) -> bool {
        let exclusive = !shared && self.viewers.len() > 1;
        match self.share {
            Share::AllowExclusive if exclusive => {
                for (other, viewer) in self.viewers.iter_mut().enumerate() {
                    if other != index {
                        viewer.end("another viewer wants the screen for itself");
                    }
                }
                true
            }
            Share::ForceShared => !exclusive,
            Share::AllowExclusive | Share::Ignore => true,
        }
    }

    fn drop_viewer(
        &mut self,
        stack: &mut Stack<impl Platform + 'static>,
        console: &mut impl Console,
        index: usize,
        now: Instant,
    ) {
        let mut viewer = self.viewers.swap_remove(index);
        viewer.let_go(&mut |event| match event {
            InputEvent::Key { .. } => self.keys.waiting.push_back(event),
            event => console.input(event),
        });
        stack.close(viewer.socket(), now);
        drop(viewer);
        info!("VNC: viewers: {}; memory: {}", self.viewers.len(), heap::usage());
        heap::forget_most();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn wrong_passwords_take_longer_and_longer() {
        let mut back_off = BackOff::default();
        let mut now = Instant(5);
        assert!(!back_off.holds(now));
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            back_off.failed(now);
            assert!(back_off.holds(now.after(seconds * 1_000_000_000 - 1)), "{seconds}");
            now = now.after(seconds * 1_000_000_000);
            assert!(!back_off.holds(now), "{seconds}");
        }
    }

    /// Somebody who reads a key when told to.
    #[derive(Default)]
    struct Reader {
        pressed: Vec<InputEvent>,
        has_unread: bool,
    }

    impl Console for Reader {
        fn input(&mut self, event: InputEvent) {
            self.pressed.push(event);
            self.has_unread = true;
        }

        fn has_unread_keys(&self) -> bool {
            self.has_unread
        }

        fn keyboard_leds(&self) -> u8 {
            0
        }

        fn takes_positions(&self) -> bool {
            true
        }
    }

    #[test]
    fn keys_wait_until_the_ones_before_them_were_read_but_not_for_ever() {
        let key = |code| InputEvent::Key { code, down: true };
        let (mut keys, mut reader) = (Keys::default(), Reader::default());
        assert_eq!(keys.deadline(Instant(0)), None);
        keys.waiting.extend([key(1), key(2), key(3)]);
        let start = Instant(1_000_000_000);
        keys.press(&mut reader, start);
        assert_eq!(reader.pressed, [key(1)]);
        keys.press(&mut reader, start.after(KEY_PATIENCE_NS - 1));
        assert_eq!(reader.pressed, [key(1)]);
        assert!(keys.deadline(start).is_some());
        reader.has_unread = false;
        keys.press(&mut reader, start.after(KEY_INTERVAL_NS));
        assert_eq!(reader.pressed, vec![key(1), key(2)]);
        keys.press(&mut reader, start.after(KEY_INTERVAL_NS + KEY_PATIENCE_NS));
        assert_eq!(reader.pressed.len(), 3, "nobody reads, and it is given up");
        assert_eq!(keys.deadline(start), None);
    }
}
