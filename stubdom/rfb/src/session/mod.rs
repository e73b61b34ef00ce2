//! One viewer.
//!
//! Received bytes go through [`Session::receive`], which handles complete messages and keeps at most one incomplete one.
//! Answers wait in a short queue, everything else as a note of what is due, until [`Session::produce`] is called.
//! Pixels are sent when the viewer asked for them and some changed: what a slow viewer missed is one newer picture, and
//! never a queue of old ones.
//!
//! Source: RFC 6143; rfbproto.rst.
//! Invariant: without an answer due, an update that the viewer asked for, and something new, nothing is produced.
//! Invariant: a session has less than 600 KiB: a compressor of 320 KiB once there is something for it, buffers of at
//! most 64 KiB for pixels, 128 KiB for bytes and 16 KiB for a pointer, a queue of at most 20 KiB, and a bit for each
//! 64 by 16 pixels.

mod produce;
mod receive;

use crate::auth::Block;
use crate::config::{Config, Password};
use crate::damage::Damage;
use crate::encode::Encoder;
use crate::encodings::Encodings;
use crate::handshake::{GREETING, Version};
use crate::message::{Fence, LONGEST};
use crate::moves::Moves;
use crate::pixel_format::PixelFormat;
use crate::pointer::PointerShape;
use crate::rect::Rect;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

/// One viewer.
pub struct Session {
    // Configuration.
    name: String,
    password: Option<Password>,
    challenge: Block,

    // What the viewer says.
    phase: Phase,
    version: Version,
    input: Input,
    format: PixelFormat,
    encodings: Encodings,
    /// The list that is being received.
    incoming: Encodings,
    /// A fence with SyncNext, answered when the next message was handled.
    held_fence: Option<Fence>,
    /// Where its pointer was, to tell motion from positions.
    last_position: Option<(u16, u16)>,
    /// What it asked to be updated; empty if nothing.
    request: Rect,
    /// What it wants to be updated without asking.
    continuous: Option<Rect>,

    // What it is to be told.
    queue: Vec<u8>,
    due: Due,
    /// It was told that we know fences.
    fence_told: bool,
    /// It was told that we know continuous updates.
    continuous_told: bool,
    /// It has a shape of the pointer.
    pointer_told: bool,
    pointer: Option<PointerShape>,
    leds: Option<u8>,
    absolute: bool,

    // What it is to see.
    /// Of the picture.
    size: (u16, u16),
    /// Of the picture that the viewer knows; `None` before ServerInit.
    told_size: Option<(u16, u16)>,
    /// Of the picture as it was in ServerInit.
    first_size: (u16, u16),
    damage: Damage,
    /// Rectangles of pixels that were announced, and are still to be sent.
    planned: VecDeque<Rect>,
    moves: Moves,
    encoder: Encoder,
    /// The encoder knows the format and the encodings. It is told late: tables are built then.
    configured: bool,
}

/// What is expected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Version,
    SecurityType,
    /// The response to the challenge.
    Response,
    ClientInit,
    Messages,
    /// So many encoding-types of a SetEncodings.
    Encodings(u16),
    /// Nothing more.
    Closed,
}

/// The incomplete message.
#[derive(Debug)]
struct Input {
    bytes: [u8; LONGEST],
    length: usize,
    /// Bytes that nobody wants, before the next message.
    skip: u32,
}

/// What is due. Rectangles wait for the next update.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    colour_map: bool,
    /// An ExtendedDesktopSize, which a full update begins with.
    layout: bool,
    /// An ExtendedDesktopSize for each SetDesktopSize.
    refusals: u8,
    pointer: bool,
    leds: bool,
    motion: bool,
    extended_key: bool,
    mouse_buttons: bool,
}

impl Session {
    /// A new connection. `challenge` is random, and used only once.
    pub fn new(config: &Config, challenge: [u8; 16]) -> Self {
        Self {
            name: config.name.clone(),
            password: config.password.clone(),
            challenge,
            phase: Phase::Version,
            version: Version::default(),
            input: Input { bytes: [0; LONGEST], length: 0, skip: 0 },
            format: PixelFormat::OFFERED,
            encodings: Encodings::default(),
            incoming: Encodings::default(),
            held_fence: None,
            last_position: None,
            request: Rect::default(),
            continuous: None,
            queue: GREETING.to_vec(),
            due: Due::default(),
            fence_told: false,
            continuous_told: false,
            pointer_told: false,
            pointer: None,
            leds: None,
            absolute: true,
            size: (0, 0),
            told_size: None,
            first_size: (0, 0),
            damage: Damage::default(),
            planned: VecDeque::new(),
            moves: Moves::default(),
            encoder: Encoder::new(),
            configured: true,
        }
    }

    /// Whether the viewer was let in: `Event::Ready` came, and the session has not ended since.
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Messages | Phase::Encodings(_))
    }

    /// A rectangle of the picture changed. Pixels; what lies beyond the picture does not count.
    pub fn damage(&mut self, x: u16, y: u16, width: u16, height: u16) {
        self.damage.add(&Rect::new(x, y, width, height));
    }

    /// What is in `rect` now was `dx` pixels further left and `dy` further up before, for CopyRect. A hint: the
    /// picture changed already, and what is in `rect` need not be reported as damage.
    pub fn moved(&mut self, rect: Rect, dx: i32, dy: i32) {
        // While an update is under way, the viewer may not have yet what would be copied.
        if self.encodings.copy_rect && self.told_size == Some(self.size) && self.planned.is_empty() {
            self.moves.add(rect, dx, dy, self.size, &mut self.damage);
        } else {
            self.damage.add(&rect);
        }
    }

    /// The picture has another size now, in pixels, and all of it changed. Viewers that cannot resize theirs see as
    /// much as fits.
    pub fn resized(&mut self, width: u16, height: u16) {
        self.size = (width, height);
        self.damage_all();
    }

    /// The shape of the pointer, for viewers that draw it. `None`: the picture contains it, and viewers draw none.
    pub fn set_pointer(&mut self, shape: Option<&PointerShape>) {
        if self.pointer.as_ref() != shape {
            self.pointer = shape.cloned();
            self.due.pointer = true;
        }
    }

    /// The lights of the keyboard: bit 0 Scroll Lock, bit 1 Num Lock, bit 2 Caps Lock (rfbproto.rst, QEMU LED State
    /// Pseudo-encoding).
    pub fn set_leds(&mut self, leds: u8) {
        if self.leds != Some(leds) {
            self.leds = Some(leds);
            self.due.leds = true;
        }
    }

    /// Whether positions of the pointer are wanted (`Event::Pointer`) or its motion (`Event::Motion`). Positions, until
    /// this is called. Viewers that know QEMU's Pointer Motion Change are told; from those that do not, motion ends at
    /// the edges of their window.
    pub fn set_absolute(&mut self, absolute: bool) {
        if self.absolute != absolute {
            self.absolute = absolute;
            self.last_position = None;
            self.due.motion = true;
        }
    }

    fn damage_all(&mut self) {
        self.moves.take();
        self.damage.add(&Rect::of_size((u16::MAX, u16::MAX)));
    }
}
