//! The mouse at the other end of the cable: two buttons at first, a wheel or five buttons when a driver asks for them.
//!
//! A driver that sets the sample rate to 200, 100, 80 finds a mouse with a wheel (ID 3), and with 200, 200, 80 one with
//! five buttons as well (ID 4); the mouse then sends four bytes a packet instead of three.
//!
//! Source: IBM PS/2 Hardware Interface Technical Reference, "Mouse"; Microsoft "IntelliMouse" and "IntelliMouse
//! Explorer" protocol notes; Linux `drivers/input/mouse/psmouse-base.c` for how a mouse is probed.
//!
//! Packets are made when the controller can take one, so the guest reads at its own speed and movements add up in
//! between. Button changes are kept apart, so a click is not lost between two packets.
//!
//! Not modelled: the sample rate as a limit; resolution as a scale (both are kept and reported). The overflow bits are
//! never set, because what does not fit one packet goes into the next.
//! Invariant: `pending` is bounded; when it is full, changes of buttons are merged into the newest entry.
//! Invariant: answers to commands always fit, because each command drops those of the one before.

use crate::host::InputEvent;
use heapless::{Deque, Vec};
use serde::{Deserialize, Serialize};

/// "The mouse has received the byte."
const ACKNOWLEDGE: u8 = 0xfa;
/// "Say that again."
const RESEND: u8 = 0xfe;
/// The self-test was passed.
const SELF_TEST_PASSED: u8 = 0xaa;

/// Button changes that wait.
const PENDING: usize = 16;
/// Movement that adds up at most, in each direction.
const FARTHEST: i32 = 32767;

/// What the mouse pretends to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    /// Three-byte packets, ID 0.
    Standard,
    /// A wheel in the fourth byte, ID 3.
    Wheel,
    /// Wheel and buttons 4 and 5 in the fourth byte, ID 4.
    FiveButtons,
}

impl Kind {
    const fn id(self) -> u8 {
        match self {
            Self::Standard => 0,
            Self::Wheel => 3,
            Self::FiveButtons => 4,
        }
    }
}

/// The command that the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Awaits {
    Resolution,
    SampleRate,
}

/// Movement while the buttons were in one state. `dy` is up positive, `wheel` down positive: as packets have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Movement {
    buttons: u8,
    dx: i32,
    dy: i32,
    wheel: i32,
}

impl Movement {
    const fn is_over(&self) -> bool {
        self.dx == 0 && self.dy == 0 && self.wheel == 0
    }
}

/// The mouse.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mouse {
    // What the host told it.
    /// Size of the picture.
    screen: (u32, u32),
    /// Pixel of the last absolute position.
    position: Option<(i32, i32)>,
    /// Bits 0 to 4: left, right, middle, side, extra.
    buttons: u8,

    // What the guest told it.
    kind: Kind,
    reporting: bool,
    /// Packets are sent only when asked for.
    remote: bool,
    /// Every byte is sent back.
    wrap: bool,
    /// Scaling 2:1.
    doubled: bool,
    resolution: u8,
    sample_rate: u8,
    /// The last three sample rates, the newest last.
    rates: [u8; 3],
    awaits: Option<Awaits>,

    // On its way.
    pending: Deque<Movement, PENDING>,
    last_sent: u8,
    answers: Deque<u8, 8>,
    packet: Deque<u8, 4>,
}

impl Mouse {
    /// The state after its self-test.
    pub(super) const fn new() -> Self {
        Self {
            screen: (1024, 768),
            position: None,
            buttons: 0,
            kind: Kind::Standard,
            reporting: false,
            remote: false,
            wrap: false,
            doubled: false,
            resolution: 2,
            sample_rate: 100,
            rates: [0; 3],
            awaits: None,
            pending: Deque::new(),
            last_sent: 0,
            answers: Deque::new(),
            packet: Deque::new(),
        }
    }

    /// The state after power on; the buttons and the screen are as they are.
    pub(super) fn after_reset(&self) -> Self {
        Self { screen: self.screen, position: self.position, buttons: self.buttons, ..Self::new() }
    }

    pub(super) const fn screen_resized(&mut self, width: u32, height: u32) {
        self.screen = (width, height);
        self.position = None;
    }

    /// The next byte for the controller.
    pub(super) fn next_byte(&mut self) -> Option<u8> {
        if let Some(byte) = self.answers.pop_front() {
            if byte != RESEND {
                self.last_sent = byte;
            }
            return Some(byte);
        }
        if self.packet.is_empty() && self.reporting && !self.remote && !self.wrap && !self.pending.is_empty() {
            for byte in self.make_packet() {
                // The packet before was sent, and this one has four bytes at most.
                let _ = self.packet.push_back(byte);
            }
        }
        let byte = self.packet.pop_front()?;
        self.last_sent = byte;
        Some(byte)
    }

    /// The pointer moved or a button changed.
    pub(super) fn input(&mut self, event: InputEvent) {
        match event {
            InputEvent::Key { .. } => {}
            InputEvent::Button { code, down } => {
                let Some(button) = button(code) else { return };
                let buttons = if down { self.buttons | button } else { self.buttons & !button };
                if core::mem::replace(&mut self.buttons, buttons) != buttons {
                    self.add(0, 0, 0);
                }
            }
            InputEvent::Motion { dx, dy, wheel } => self.move_by(dx, dy, wheel),
            InputEvent::Position { x, y, wheel } => {
                let (width, height) = self.screen;
                let new = (pixel(x, width), pixel(y, height));
                let old = self.position.replace(new).unwrap_or(new);
                self.move_by(new.0.saturating_sub(old.0), new.1.saturating_sub(old.1), wheel);
            }
        }
    }

    /// A byte from the controller.
    pub(super) fn write(&mut self, value: u8) {
        self.answers.clear();
        // The rest of a packet that was interrupted by a command is not sent.
        self.packet.clear();
        if self.wrap && value != 0xec && value != 0xff {
            return self.answer(value);
        }
        // No parameter is as large as a command.
        match self.awaits.take() {
            Some(awaits) if value < 0xe6 => self.take_parameter(awaits, value),
            _ => self.perform_command(value),
        }
    }

    fn perform_command(&mut self, command: u8) {
        if !matches!(command, 0xe6..=0xec | 0xee | 0xf0 | 0xf2..=0xf6 | 0xfe | 0xff) {
            return self.answer(RESEND);
        }
        if command == 0xfe {
            return self.answer(self.last_sent);
        }
        self.answer(ACKNOWLEDGE);
        match command {
            0xe6 => self.doubled = false,
            0xe7 => self.doubled = true,
            0xe8 => self.awaits = Some(Awaits::Resolution),
            0xe9 => self.answer_status(),
            0xea => self.remote = false,
            0xeb => {
                for byte in self.make_packet() {
                    self.answer(byte);
                }
            }
            0xec => self.wrap = false,
            0xee => self.wrap = true,
            0xf0 => {
                self.remote = true;
                self.pending.clear();
            }
            0xf2 => self.answer(self.kind.id()),
            0xf3 => self.awaits = Some(Awaits::SampleRate),
            0xf4 => {
                self.reporting = true;
                self.pending.clear();
            }
            0xf5 => {
                self.reporting = false;
                self.pending.clear();
            }
            0xf6 => self.set_defaults(),
            // Only 0xff is left.
            _ => {
                self.set_defaults();
                self.kind = Kind::Standard;
                self.wrap = false;
                self.rates = [0; 3];
                self.answer(SELF_TEST_PASSED);
                self.answer(self.kind.id());
            }
        }
    }

    fn take_parameter(&mut self, awaits: Awaits, value: u8) {
        match awaits {
            Awaits::Resolution if value > 3 => return self.answer(RESEND),
            Awaits::Resolution => self.resolution = value,
            Awaits::SampleRate => {
                self.sample_rate = value;
                let [_, second, third] = self.rates;
                self.rates = [second, third, value];
                match (self.rates, self.kind) {
                    ([200, 100, 80], Kind::Standard) => self.kind = Kind::Wheel,
                    ([200, 200, 80], Kind::Standard | Kind::Wheel) => self.kind = Kind::FiveButtons,
                    _ => {}
                }
            }
        }
        self.answer(ACKNOWLEDGE);
    }

    /// "Set default": rate, resolution, scaling, stream mode, reporting off. The ID stays.
    fn set_defaults(&mut self) {
        self.sample_rate = 100;
        self.resolution = 2;
        self.doubled = false;
        self.remote = false;
        self.reporting = false;
        self.pending.clear();
    }

    fn answer_status(&mut self) {
        // In this byte the buttons are, from bit 0 on: right, middle, left.
        let buttons = ((self.buttons & 1) << 2) | ((self.buttons & 4) >> 1) | ((self.buttons & 2) >> 1);
        let modes = (u8::from(self.remote) << 6) | (u8::from(self.reporting) << 5) | (u8::from(self.doubled) << 4);
        self.answer(modes | buttons);
        self.answer(self.resolution);
        self.answer(self.sample_rate);
    }

    fn answer(&mut self, byte: u8) {
        // At most five answers follow a byte, and the earlier ones were dropped.
        let _ = self.answers.push_back(byte);
    }

    fn move_by(&mut self, dx: i32, dy: i32, wheel: i32) {
        let wheel = if self.kind == Kind::Standard { 0 } else { wheel };
        if dx != 0 || dy != 0 || wheel != 0 {
            self.add(dx, dy, wheel);
        }
    }

    /// Adds a movement, or none but a change of buttons, to what waits, if somebody will ask for it.
    fn add(&mut self, dx: i32, dy: i32, wheel: i32) {
        if !self.reporting && !self.remote {
            return;
        }
        let buttons = self.buttons;
        match self.pending.back_mut() {
            Some(newest) if newest.buttons == buttons => newest.combine(dx, dy, wheel),
            _ => {
                let mut movement = Movement { buttons, ..Movement::default() };
                movement.combine(dx, dy, wheel);
                if self.pending.push_back(movement).is_err()
                    && let Some(newest) = self.pending.back_mut()
                {
                    newest.buttons = buttons;
                    newest.combine(dx, dy, wheel);
                }
            }
        }
    }

    /// Takes as much of the oldest movement as a packet holds.
    fn make_packet(&mut self) -> Vec<u8, 4> {
        let mut movement =
            self.pending.pop_front().unwrap_or(Movement { buttons: self.buttons, ..Movement::default() });
        let dx = take(&mut movement.dx, -255, 255);
        let dy = take(&mut movement.dy, -255, 255);
        let wheel = match self.kind {
            Kind::Standard => {
                movement.wheel = 0;
                0
            }
            // Both have four bits for it; above them, the first repeats the sign and the second has buttons.
            Kind::Wheel | Kind::FiveButtons => take(&mut movement.wheel, -7, 7),
        };
        let buttons = movement.buttons;
        if !movement.is_over() {
            // It came from there, so there is room.
            let _ = self.pending.push_front(movement);
        }

        let scale = self.doubled && !self.remote;
        let (dx, dy) = if scale { (doubled(dx), doubled(dy)) } else { (dx, dy) };
        let mut packet = Vec::new();
        let signs = (u8::from(dx < 0) << 4) | (u8::from(dy < 0) << 5);
        for byte in [0x08 | (buttons & 0x07) | signs, low_byte(dx), low_byte(dy)] {
            // Four bytes fit.
            let _ = packet.push(byte);
        }
        let fourth = match self.kind {
            Kind::Standard => return packet,
            Kind::Wheel => low_byte(wheel),
            Kind::FiveButtons => (low_byte(wheel) & 0x0f) | ((buttons & 0x18) << 1),
        };
        let _ = packet.push(fourth);
        packet
    }
}

impl Movement {
    /// Adds a movement as hosts report it: down positive, wheel up positive.
    fn combine(&mut self, dx: i32, dy: i32, wheel: i32) {
        self.dx = self.dx.saturating_add(dx).clamp(-FARTHEST, FARTHEST);
        self.dy = self.dy.saturating_sub(dy).clamp(-FARTHEST, FARTHEST);
        self.wheel = self.wheel.saturating_sub(wheel).clamp(-FARTHEST, FARTHEST);
    }
}

/// Takes what lies between `least` and `most` from `whole`.
fn take(whole: &mut i32, least: i32, most: i32) -> i32 {
    let part = (*whole).clamp(least, most);
    *whole = whole.saturating_sub(part);
    part
}

/// Scaling 2:1 of the data sheet: 0, 1, 1, 3, 6, 9, and twice as much from 6 on, as far as nine bits go.
fn doubled(movement: i32) -> i32 {
    let size = match movement.saturating_abs() {
        small @ (0 | 1) => small,
        2 => 1,
        3 => 3,
        4 => 6,
        5 => 9,
        large => large.saturating_mul(2).min(255),
    };
    if movement < 0 { size.saturating_neg() } else { size }
}

/// The low byte of a number in two's complement.
const fn low_byte(value: i32) -> u8 {
    let [low, ..] = value.to_le_bytes();
    low
}

/// `BTN_*` to the bit in [`Mouse::buttons`].
const fn button(code: u16) -> Option<u8> {
    match code {
        0x110 => Some(1 << 0),
        0x111 => Some(1 << 1),
        0x112 => Some(1 << 2),
        // Side, and what some call back.
        0x113 | 0x116 => Some(1 << 3),
        // Extra, and what some call forward.
        0x114 | 0x115 => Some(1 << 4),
        _ => None,
    }
}

/// The pixel at a place between 0 and 32767.
fn pixel(place: u16, pixels: u32) -> i32 {
    let at = (u64::from(place.min(32767)).saturating_mul(u64::from(pixels))) >> 15;
    i32::try_from(at).unwrap_or(i32::MAX)
}
