//! One viewer: bytes between its socket and its session, what it does, and what it is shown.

use alloc::string::String;
use alloc::vec::Vec;

use devmodel::host::InputEvent;
use log::info;
use minios::clock::Instant;
use minios::front::Platform;
use minios::net::{SocketHandle, Stack};

use super::Change;
use crate::keymap::Keymap;
use crate::keys;

/// Bytes of pixels after which no further rectangle is encoded in one go.
const PIXELS_AT_ONCE: usize = 64 << 10;
/// Bytes that wait for the socket while more is encoded: what is not encoded yet can still be replaced by what is newer.
const WAITING_MAX: usize = 16 << 10;
/// Bytes that are taken from the socket in one go.
const RECEIVE_MAX: usize = 4 << 10;
/// `BTN_LEFT`, `BTN_MIDDLE`, `BTN_RIGHT`, `BTN_SIDE`, `BTN_EXTRA` of Linux' input-event-codes.h, and the bit of RFB that
/// stands for each.
const BUTTONS: [(u16, u16); 5] = [(0x110, 0), (0x112, 1), (0x111, 2), (0x113, 7), (0x114, 8)];
/// The bits of the wheel, up and down.
const WHEEL: [(u16, i32); 2] = [(3, 1), (4, -1)];

/// What is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A viewer.
    Plain,
    /// A browser, by WebSocket.
    Web,
}

/// How a turn ended.
pub(super) enum Outcome {
    /// It goes on.
    Goes,
    /// It is let in, and says whether others may stay.
    Ready { shared: bool },
    /// It does not know the password. It is told.
    WrongPassword,
    /// It has left, or has to.
    Ended,
}

/// A viewer.
pub(super) struct Viewer {
    socket: SocketHandle,
    wire: Wire,
    peer: String,
    session: rfb::Session,
    /// What the session wants to be sent, from `sent` on.
    out: Vec<u8>,
    sent: usize,
    buttons: u16,
    /// Codes of the keys that it holds.
    held: Vec<u16>,
    /// Nobody needs a password.
    is_open: bool,
    /// When it has to be let in.
    until: Instant,
    /// It has to leave when what there is has been sent.
    ends: bool,
}

/// How the session's bytes are wrapped.
enum Wire {
    Plain,
    /// A request of HTTP is awaited.
    Head(web::http::Head),
    Web(web::websocket::Receiver),
}

impl Viewer {
    pub(super) fn new(
        socket: SocketHandle,
        line: Line,
        peer: String,
        session: rfb::Session,
        is_open: bool,
        until: Instant,
    ) -> Self {
        let wire = match line {
            Line::Plain => Wire::Plain,
            Line::Web => Wire::Head(web::http::Head::new()),
        };
        Self {
            socket,
            wire,
            peer,
            session,
            out: Vec::new(),
            sent: 0,
            buttons: 0,
            held: Vec::new(),
            is_open,
            until,
            ends: false,
        }
    }

    pub(super) const fn socket(&self) -> SocketHandle {
        self.socket
    }

    /// Tells it why it has to leave.
    pub(super) fn end(&mut self, why: &str) {
        info!("VNC: {}: {why}", self.peer);
        self.ends = true;
    }

    /// When it is dropped: by then it has to be let in, or to have heard why it has to leave.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (self.ends || !self.session.is_ready()).then_some(self.until)
    }

    /// What the LEDs of the keyboard show, whether positions of the pointer are wanted, and which shape it has.
    pub(super) fn set_console(&mut self, leds: u8, positions: bool, pointer: Option<&rfb::PointerShape>) {
        self.session.set_leds(leds);
        self.session.set_absolute(positions);
        self.session.set_pointer(pointer);
    }

    /// Something was drawn.
    pub(super) fn changed(&mut self, change: Change) {
        match change {
            Change::Size(width, height) => self.session.resized(width, height),
            Change::Part(part) => self.session.damage(part.x, part.y, part.width, part.height),
        }
    }

    /// Takes what came, and sends what there is.
    pub(super) fn serve(
        &mut self,
        stack: &mut Stack<impl Platform + 'static>,
        picture: &impl rfb::Picture,
        keymap: Keymap,
        listens: bool,
        input: &mut impl FnMut(InputEvent),
    ) -> Outcome {
        let mut outcome = Outcome::Goes;
        // Who does not read answers is not listened to.
        if listens && self.waiting() < WAITING_MAX && !self.ends {
            let mut bytes = [0; RECEIVE_MAX];
            let socket = stack.socket(self.socket);
            if socket.can_recv() {
                let count = socket.recv_slice(&mut bytes).unwrap_or(0);
                let (received, _) = bytes.split_at_mut(count);
                outcome = self.receive(received, picture.size(), keymap, input);
            } else if !socket.may_recv() {
                info!("VNC: {} has left", self.peer);
                return Outcome::Ended;
            }
        }
        self.send(stack, picture);
        let is_gone = !stack.socket(self.socket).may_send();
        if is_gone || self.ends && self.waiting() == 0 && stack.socket(self.socket).send_queue() == 0 {
            return Outcome::Ended;
        }
        outcome
    }

    /// Nobody holds what it held, once it is gone.
    pub(super) fn let_go(&mut self, input: &mut impl FnMut(InputEvent)) {
        for code in self.held.drain(..) {
            input(InputEvent::Key { code, down: false });
        }
        press(&mut self.buttons, 0, input);
    }

    fn waiting(&self) -> usize {
        self.out.len().saturating_sub(self.sent)
    }

    /// Unwraps what came, and hears what the viewer does.
    fn receive(
        &mut self,
        received: &mut [u8],
        size: (u16, u16),
        keymap: Keymap,
        input: &mut impl FnMut(InputEvent),
    ) -> Outcome {
        let mut rest = received;
        if let Wire::Head(head) = &mut self.wire {
            match head.feed(rest) {
                Ok(None) => return Outcome::Goes,
                Ok(Some((request, taken))) => match accept(&request, self.is_open) {
                    Ok(answer) => {
                        self.out.extend_from_slice(&answer);
                        self.wire = Wire::Web(web::websocket::Receiver::new());
                        rest = rest.get_mut(taken..).unwrap_or_default();
                    }
                    Err(refusal) => return self.refuse(refusal),
                },
                Err(refusal) => return self.refuse(refusal),
            }
        }
        let (buttons, held) = (&mut self.buttons, &mut self.held);
        let mut hand = Hand { outcome: Outcome::Goes, buttons, held, keymap, size, input };
        let session = &mut self.session;
        let result = match &mut self.wire {
            Wire::Plain | Wire::Head(_) => {
                session.receive(rest, &mut |event| hand.does(event)).map_err(Problem::Session)
            }
            Wire::Web(receiver) => {
                let (mut problem, mut pong) = (None, None);
                let result = receiver.receive(rest, &mut |incoming| match incoming {
                    web::websocket::Incoming::Data(data) if problem.is_none() => {
                        problem = session.receive(data, &mut |event| hand.does(event)).err().map(Problem::Session);
                    }
                    web::websocket::Incoming::Ping(data) => pong = Some(web::websocket::pong(data)),
                    web::websocket::Incoming::Close(_) => problem = Some(Problem::Left),
                    web::websocket::Incoming::Data(_) | web::websocket::Incoming::Pong => {}
                });
                // What the session has said before is wrapped already.
                self.out.extend(pong.into_iter().flatten());
                match problem {
                    Some(problem) => Err(problem),
                    None => result.map_err(Problem::Web),
                }
            }
        };
        let outcome = hand.outcome;
        match result {
            Ok(()) => outcome,
            Err(problem) => {
                match problem {
                    Problem::Session(error) => info!("VNC: {} {error}", self.peer),
                    Problem::Web(error) => info!("VNC: {}: {error}", self.peer),
                    Problem::Left => info!("VNC: {} has left", self.peer),
                }
                self.ends = true;
                outcome
            }
        }
    }

    fn refuse(&mut self, refusal: web::http::BadRequest) -> Outcome {
        info!("VNC: {}: {refusal}", self.peer);
        self.out.extend_from_slice(&refusal.response());
        self.ends = true;
        Outcome::Goes
    }

    /// Gives the socket as much as it takes.
    fn send(&mut self, stack: &mut Stack<impl Platform + 'static>, picture: &impl rfb::Picture) {
        loop {
            if self.waiting() == 0 {
                self.out.clear();
                self.sent = 0;
            }
            let is_open = matches!(self.wire, Wire::Plain | Wire::Web(_));
            if is_open && self.waiting() < WAITING_MAX && self.session.has_output() {
                self.produce(picture);
            }
            let socket = stack.socket(self.socket);
            let taken = match self.out.get(self.sent..) {
                Some(bytes) if !bytes.is_empty() && socket.can_send() => socket.send_slice(bytes).unwrap_or(0),
                _ => 0,
            };
            self.sent = self.sent.saturating_add(taken);
            if taken == 0 || self.waiting() > 0 {
                return;
            }
        }
    }

    /// Lets the session say something, in a message of its own where the wire has messages.
    fn produce(&mut self, picture: &impl rfb::Picture) {
        if self.sent > 0 {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        match self.wire {
            Wire::Web(_) => {
                let mut message = Vec::new();
                self.session.produce(picture, PIXELS_AT_ONCE, &mut message);
                if !message.is_empty() {
                    self.out.extend_from_slice(&web::websocket::header(message.len()));
                    self.out.extend_from_slice(&message);
                }
            }
            Wire::Plain | Wire::Head(_) => self.session.produce(picture, PIXELS_AT_ONCE, &mut self.out),
        }
    }
}

/// Why nothing more is taken from a viewer.
enum Problem {
    Session(rfb::ProtocolError),
    Web(web::websocket::ProtocolError),
    Left,
}

/// Whether a browser may go on, and the answer to it. Where everybody is let in, the pages of others are not: whoever looks at
/// one would let it in.
fn accept(request: &web::http::Request, is_open: bool) -> Result<Vec<u8>, web::http::BadRequest> {
    if is_open && !request.is_same_origin() {
        return Err(web::http::BadRequest::Forbidden);
    }
    web::websocket::accept(request)
}

/// What a viewer does.
struct Hand<'a, F> {
    outcome: Outcome,
    buttons: &'a mut u16,
    held: &'a mut Vec<u16>,
    keymap: Keymap,
    /// Of the screen, in pixels.
    size: (u16, u16),
    input: &'a mut F,
}

impl<F: FnMut(InputEvent)> Hand<'_, F> {
    fn does(&mut self, event: rfb::Event) {
        match event {
            rfb::Event::Ready { shared } => self.outcome = Outcome::Ready { shared },
            rfb::Event::AuthenticationFailed => self.outcome = Outcome::WrongPassword,
            rfb::Event::Key { keysym, scancode, down } => {
                let named = || self.keymap.code(keysym, |code| self.held.contains(&code));
                if let Some(code) = scancode.and_then(keys::of_scancode).or_else(named) {
                    self.held.retain(|held| *held != code);
                    if down {
                        self.held.push(code);
                    }
                    (self.input)(InputEvent::Key { code, down });
                }
            }
            rfb::Event::Pointer { x, y, buttons } => {
                let (width, height) = self.size;
                let axis = |at: u16, of: u16| {
                    let most = u32::from(of.saturating_sub(1).max(1));
                    u16::try_from((u32::from(at).min(most) * 0x7fff).div_ceil(most)).unwrap_or(0x7fff)
                };
                let (x, y) = (axis(x, width), axis(y, height));
                let wheel = self.wheel(buttons);
                (self.input)(InputEvent::Position { x, y, wheel });
                press(self.buttons, buttons, self.input);
            }
            rfb::Event::Motion { dx, dy, buttons } => {
                let wheel = self.wheel(buttons);
                (self.input)(InputEvent::Motion { dx, dy, wheel });
                press(self.buttons, buttons, self.input);
            }
        }
    }

    /// The notches that the wheel has turned: a button that is pressed for each.
    fn wheel(&self, buttons: u16) -> i32 {
        let pressed = buttons & !*self.buttons;
        WHEEL.iter().filter(|(bit, _)| pressed >> bit & 1 != 0).map(|(_, notch)| notch).sum()
    }
}

/// What of the buttons has changed.
fn press(known: &mut u16, buttons: u16, input: &mut impl FnMut(InputEvent)) {
    let changed = buttons ^ *known;
    *known = buttons;
    for (code, bit) in BUTTONS {
        if changed >> bit & 1 != 0 {
            let down = buttons >> bit & 1 != 0;
            input(InputEvent::Button { code, down });
        }
    }
}
