//! What a viewer sent.

use super::{Input, Phase, Session};
use crate::bytes::Fields;
use crate::encodings::Encodings;
use crate::error::ProtocolError;
use crate::event::Event;
use crate::handshake::{NONE, VNC_AUTHENTICATION, Version, put_result, put_security};
use crate::message::{Fence, Message, decode, length};
use crate::pixel_format::PixelFormat;
use crate::rect::Rect;
use crate::{auth, message};

/// Bytes of answers that may wait, before the next message.
const LONGEST_QUEUE: usize = 16 << 10;

/// Refused SetDesktopSize that may wait for their answers.
const MOST_REFUSALS: u8 = 64;

/// The position that means no motion, rfbproto.rst, QEMU Pointer Motion Change Pseudo-encoding.
const NO_MOTION: i32 = 0x7fff;

/// message-type of EndOfContinuousUpdates.
const END_OF_CONTINUOUS_UPDATES: u8 = 150;

impl Session {
    /// Takes received bytes. Messages may be cut anywhere.
    ///
    /// After an error, the caller sends what [`Self::produce`] still gives, which may be the reason, and closes the
    /// connection.
    pub fn receive(&mut self, mut bytes: &[u8], event: &mut impl FnMut(Event)) -> Result<(), ProtocolError> {
        if self.phase == Phase::Closed {
            return Err(ProtocolError::Closed);
        }
        let result = loop {
            match self.next(&mut bytes) {
                Ok(false) => break Ok(()),
                Ok(true) => {}
                Err(error) => break Err(error),
            }
            if let Err(error) = self.handle(event) {
                break Err(error);
            }
            self.input.length = 0;
        };
        if result.is_err() {
            self.phase = Phase::Closed;
        }
        result
    }

    /// Moves the next message into the buffer. False: some of it is still to come.
    fn next(&mut self, bytes: &mut &[u8]) -> Result<bool, ProtocolError> {
        self.input.skip(bytes);
        loop {
            let needed = match self.phase {
                Phase::Version => 12,
                Phase::SecurityType | Phase::ClientInit => 1,
                Phase::Response => 16,
                Phase::Encodings(_) => 4,
                Phase::Messages => length(self.input.bytes(), self.encodings.mouse_buttons)?,
                Phase::Closed => return Err(ProtocolError::Closed),
            };
            if self.input.length >= needed {
                return Ok(true);
            }
            if bytes.is_empty() {
                return Ok(false);
            }
            self.input.fill(bytes, needed);
        }
    }

    fn handle(&mut self, event: &mut impl FnMut(Event)) -> Result<(), ProtocolError> {
        match self.phase {
            Phase::Version => {
                self.version = Version::decode(self.input.bytes())?;
                self.begin_security();
            }
            Phase::SecurityType => self.choose_security()?,
            Phase::Response => self.authenticate(event)?,
            Phase::ClientInit => {
                self.phase = Phase::Messages;
                event(Event::Ready { shared: self.input.bytes() != [0] });
            }
            Phase::Messages => {
                // A fence that waits for the message after it got that now.
                let fence = self.held_fence.take();
                let message = decode(self.input.bytes())?;
                let list = matches!(message, Message::Encodings(1..));
                self.perform(message, event)?;
                if list {
                    self.held_fence = fence;
                } else if let Some(fence) = fence {
                    self.answer(&fence);
                }
            }
            Phase::Encodings(left) => {
                self.incoming.add(Fields(self.input.bytes()).u32().cast_signed());
                match left.saturating_sub(1) {
                    0 => {
                        self.end_encodings();
                        if let Some(fence) = self.held_fence.take() {
                            self.answer(&fence);
                        }
                    }
                    left => self.phase = Phase::Encodings(left),
                }
            }
            Phase::Closed => {}
        }
        if self.queue.len() > LONGEST_QUEUE || self.due.refusals > MOST_REFUSALS {
            return Err(ProtocolError::Flood);
        }
        Ok(())
    }

    fn security(&self) -> u8 {
        if self.password.is_some() { VNC_AUTHENTICATION } else { NONE }
    }

    fn begin_security(&mut self) {
        put_security(self.version, self.security(), &mut self.queue);
        match self.version {
            Version::V3_3 => self.enter_security(),
            Version::V3_7 | Version::V3_8 => self.phase = Phase::SecurityType,
        }
    }

    fn choose_security(&mut self) -> Result<(), ProtocolError> {
        let chosen = Fields(self.input.bytes()).u8();
        if chosen != self.security() {
            put_result(self.version, Some("no such security type"), &mut self.queue);
            return Err(ProtocolError::SecurityType(chosen));
        }
        if self.password.is_none() && self.version == Version::V3_8 {
            put_result(self.version, None, &mut self.queue);
        }
        self.enter_security();
        Ok(())
    }

    fn enter_security(&mut self) {
        if self.password.is_some() {
            self.queue.extend(self.challenge);
            self.phase = Phase::Response;
        } else {
            self.phase = Phase::ClientInit;
        }
    }

    fn authenticate(&mut self, event: &mut impl FnMut(Event)) -> Result<(), ProtocolError> {
        let response = self.input.bytes().first_chunk();
        let expected = self.password.as_ref().map(|password| auth::response(password, &self.challenge));
        let known = response.zip(expected.as_ref()).is_some_and(|(response, expected)| auth::same(response, expected));
        if !known {
            put_result(self.version, Some("authentication failed"), &mut self.queue);
            event(Event::AuthenticationFailed);
            return Err(ProtocolError::Authentication);
        }
        put_result(self.version, None, &mut self.queue);
        self.phase = Phase::ClientInit;
        Ok(())
    }

    fn perform(&mut self, message: Message, event: &mut impl FnMut(Event)) -> Result<(), ProtocolError> {
        match message {
            Message::PixelFormat(format) => self.set_format(format),
            Message::Encodings(count) => {
                self.incoming = Encodings::default();
                match count {
                    0 => self.end_encodings(),
                    count => self.phase = Phase::Encodings(count),
                }
            }
            Message::UpdateRequest { incremental, rect } => self.request(incremental, &rect),
            Message::Key { keysym, scancode, down } => event(Event::Key { keysym, scancode, down }),
            Message::Pointer { x, y, buttons } => event(self.pointer_event(x, y, buttons)),
            Message::CutText(length) | Message::DesktopSize(length) => {
                self.input.skip = length;
                if matches!(message, Message::DesktopSize(_)) {
                    self.due.refusals = self.due.refusals.saturating_add(1);
                }
            }
            Message::ContinuousUpdates { enable, rect } => {
                self.continuous = enable.then_some(rect);
                if !enable {
                    self.queue.push(END_OF_CONTINUOUS_UPDATES);
                }
            }
            Message::Fence(fence) if fence.flags & Fence::REQUEST == 0 => {}
            Message::Fence(fence) if fence.flags & Fence::SYNC_NEXT != 0 => self.held_fence = Some(fence),
            Message::Fence(fence) => self.answer(&fence),
        }
        Ok(())
    }

    fn set_format(&mut self, format: PixelFormat) {
        self.due.colour_map = format.mapped;
        self.format = format;
        self.configured = false;
    }

    fn end_encodings(&mut self) {
        self.phase = Phase::Messages;
        let (old, new) = (self.encodings, self.incoming);
        self.encodings = new;
        self.configured = false;
        if new.fence && !self.fence_told {
            self.fence_told = true;
            Fence::empty(Fence::REQUEST).encode(&mut self.queue);
        }
        if new.continuous_updates && !self.continuous_told {
            self.continuous_told = true;
            self.queue.push(END_OF_CONTINUOUS_UPDATES);
        }
        if !new.copy_rect {
            self.moves.give_up(&mut self.damage);
        }
        self.due.pointer |= new.cursor && !old.cursor;
        self.due.leds |= new.led_state && !old.led_state;
        self.due.motion |= new.pointer_motion && !old.pointer_motion;
        self.due.extended_key |= new.extended_key && !old.extended_key;
        self.due.mouse_buttons |= new.mouse_buttons && !old.mouse_buttons;
    }

    fn request(&mut self, incremental: bool, rect: &Rect) {
        if incremental && self.continuous.is_some() {
            return;
        }
        // vncdotool follows the size of the picture, but never asks for more than all of the first one (1.4.2, as QEMU's server
        // looks at no rectangle). Who asks for just that wants all that there is.
        let is_all = *rect == Rect::of_size(self.first_size) && self.told_size != Some(self.first_size);
        let rect = if is_all { Rect::of_size((u16::MAX, u16::MAX)) } else { *rect };
        if !incremental {
            self.moves.give_up(&mut self.damage);
            self.damage.add(&rect);
            self.due.layout = true;
        }
        self.request = self.request.around(&rect);
    }

    fn pointer_event(&mut self, x: u16, y: u16, buttons: u16) -> Event {
        if self.absolute {
            let (width, height) = self.told_size.unwrap_or_default();
            let (x, y) = (x.min(width.saturating_sub(1)), y.min(height.saturating_sub(1)));
            return Event::Pointer { x, y, buttons };
        }
        let distance = |to: u16, from: i32| i32::from(to).saturating_sub(from);
        if self.encodings.pointer_motion {
            return Event::Motion { dx: distance(x, NO_MOTION), dy: distance(y, NO_MOTION), buttons };
        }
        let (last_x, last_y) = self.last_position.replace((x, y)).unwrap_or((x, y));
        Event::Motion { dx: distance(x, last_x.into()), dy: distance(y, last_y.into()), buttons }
    }

    fn answer(&mut self, fence: &Fence) {
        fence.answer().encode(&mut self.queue);
    }
}

impl Input {
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Drops bytes that nobody wants.
    fn skip(&mut self, bytes: &mut &[u8]) {
        let count = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        *bytes = bytes.get(count..).unwrap_or_default();
        self.skip = self.skip.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// Takes bytes until there are as many as `needed`, at most [`message::LONGEST`].
    fn fill(&mut self, bytes: &mut &[u8], needed: usize) {
        let room = self.bytes.get_mut(self.length..needed.min(message::LONGEST)).unwrap_or_default();
        let count = room.len().min(bytes.len());
        let (taken, rest) = bytes.split_at_checked(count).unwrap_or_default();
        room.iter_mut().zip(taken).for_each(|(to, from)| *to = *from);
        self.length = self.length.saturating_add(count);
        *bytes = rest;
    }
}
