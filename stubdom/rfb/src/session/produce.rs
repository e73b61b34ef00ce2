//! What a viewer is sent.

use super::{Due, Session};
use crate::bytes::{PutFields, overwrite};
use crate::encodings::{COPY_RECT, EXTENDED_KEY, MOUSE_BUTTONS};
use crate::picture::Picture;
use crate::pixel_format::PixelFormat;
use crate::pointer::PointerShape;
use crate::pseudo::{Layout, put_desktop_size, put_head, put_known, put_layout, put_leds, put_motion, put_pointer};
use crate::rect::Rect;
use alloc::vec::Vec;

/// Bytes of the pixels of a rectangle.
const RECTANGLE: usize = 64 << 10;

/// Rectangles of pixels in one FramebufferUpdate; their number is a field of two bytes.
const MOST_RECTANGLES: u16 = 0x8000;

impl Session {
    /// Appends what there is to send.
    ///
    /// Answers come first. An update comes if the viewer asked for one, or wants them without asking, and something is new.
    /// It is one message, as viewers that take a picture of the screen want it, but is not made in one go: a call gives
    /// about `budget` bytes of its pixels, and none if `budget` is 0. That may be exceeded by a rectangle of
    /// 64 KiB, and by as much as compression makes of noise that cannot be compressed. The next calls give the rest, as
    /// the picture is by then, and nothing else before.
    ///
    /// `picture` has to be the one that [`Self::damage`] and the others speak of.
    pub fn produce(&mut self, picture: &dyn Picture, budget: usize, out: &mut Vec<u8>) {
        let start = out.len();
        self.put_planned(picture, budget, out);
        if !self.planned.is_empty() {
            return;
        }
        out.append(&mut self.queue);
        if !self.is_ready() {
            return;
        }
        if picture.size() != self.size {
            let (width, height) = picture.size();
            self.resized(width, height);
        }
        let told = match self.told_size {
            Some(told) => told,
            None => self.initialise(out),
        };
        if core::mem::take(&mut self.due.colour_map) {
            PixelFormat::encode_map(out);
        }
        if self.due.refusals > 0 {
            let refusals = core::mem::take(&mut self.due.refusals);
            put_update(out, |out| {
                (0..refusals).for_each(|_| put_layout(told, Layout::Prohibited, out));
                refusals.into()
            });
        }
        if !self.wanted().is_empty() {
            self.put_sizes(out);
        }
        let wanted = self.wanted();
        if !wanted.is_empty() && put_update(out, |out| self.put_rectangles(&wanted, out)) {
            self.request = Rect::default();
        }
        self.put_planned(picture, budget.saturating_sub(out.len().saturating_sub(start)), out);
    }

    /// Whether an update has begun and not ended.
    #[cfg(test)]
    pub(crate) fn is_within_update(&self) -> bool {
        !self.planned.is_empty()
    }

    /// Whether [`Self::produce`] would give something now.
    pub fn has_output(&self) -> bool {
        if !self.queue.is_empty() || !self.planned.is_empty() {
            return true;
        }
        if !self.is_ready() {
            return false;
        }
        let wanted = self.wanted();
        let now = self.told_size.is_none() || self.due.colour_map || self.due.refusals > 0;
        now || !wanted.is_empty()
            && (self.size_is_due()
                || self.due.layout && self.encodings.extended_desktop_size
                || self.rectangles_are_due()
                || !self.moves.is_empty()
                || self.damage.touches(&wanted))
    }

    /// What the viewer wants to be updated, within the picture that it knows.
    fn wanted(&self) -> Rect {
        let wanted = self.request.around(&self.continuous.unwrap_or_default());
        wanted.intersection(&Rect::of_size(self.told_size.unwrap_or_default()))
    }

    /// Appends ServerInit, RFC 6143 section 7.3.2. Gives the size that is in it.
    fn initialise(&mut self, out: &mut Vec<u8>) -> (u16, u16) {
        out.put_u16(self.size.0);
        out.put_u16(self.size.1);
        PixelFormat::OFFERED.encode(out);
        out.put_u32(u32::try_from(self.name.len()).unwrap_or(0));
        out.extend(self.name.bytes());
        self.tell_size();
        self.first_size = self.size;
        self.size
    }

    /// The viewer learns the size of the picture, and knows nothing of what is in it.
    fn tell_size(&mut self) {
        self.told_size = Some(self.size);
        self.damage = crate::damage::Damage::all(self.size);
        self.moves.take();
    }

    /// Whether the viewer is to learn another size.
    fn size_is_due(&self) -> bool {
        self.encodings.resizes() && self.told_size.is_some_and(|told| told != self.size)
    }

    /// Appends sizes, each in an update of its own: there must be no pixels with them.
    fn put_sizes(&mut self, out: &mut Vec<u8>) {
        let extended = self.encodings.extended_desktop_size;
        let layout = core::mem::take(&mut self.due.layout);
        if self.size_is_due() {
            self.tell_size();
        } else if !(layout && extended) {
            return;
        }
        let size = self.size;
        put_update(out, |out| {
            if extended {
                put_layout(size, Layout::Server, out);
            } else {
                put_desktop_size(size, out);
            }
            1
        });
    }

    /// Whether there are rectangles that are no pixels.
    fn rectangles_are_due(&self) -> bool {
        self.due.pointer && self.encodings.cursor && (self.pointer.is_some() || self.pointer_told)
            || self.due.leds && self.encodings.led_state && self.leds.is_some()
            || self.due.motion && self.encodings.pointer_motion
            || self.due.extended_key && self.encodings.extended_key
            || self.due.mouse_buttons && self.encodings.mouse_buttons
    }

    /// Appends the rectangles of an update that are no pixels, and plans those that are. Gives the number of all.
    fn put_rectangles(&mut self, wanted: &Rect, out: &mut Vec<u8>) -> u16 {
        let mut count = if self.rectangles_are_due() { self.put_due(out) } else { 0 };
        if wanted.contains(&Rect::of_size(self.told_size.unwrap_or_default())) {
            for one in self.moves.take() {
                put_head(&one.to, COPY_RECT, out);
                out.put_u16(one.from_x);
                out.put_u16(one.from_y);
                count = count.saturating_add(1);
            }
        } else {
            self.moves.give_up(&mut self.damage);
        }
        if !core::mem::replace(&mut self.configured, true) {
            self.encoder.configure(&self.format, &self.encodings);
        }
        while count < MOST_RECTANGLES {
            let Some(rect) = self.damage.take(wanted, self.encoder.limit(RECTANGLE)) else { break };
            self.planned.push_back(rect);
            count = count.saturating_add(1);
        }
        count
    }

    /// Appends rectangles that are planned, as long as there are bytes for them.
    fn put_planned(&mut self, picture: &dyn Picture, budget: usize, out: &mut Vec<u8>) {
        let start = out.len();
        while out.len().saturating_sub(start) < budget {
            let Some(rect) = self.planned.pop_front() else { return };
            self.encoder.encode(picture, &rect, out);
        }
    }

    /// Appends the rectangles that are no pixels. Gives their number.
    fn put_due(&mut self, out: &mut Vec<u8>) -> u16 {
        let known = self.encodings;
        let size = self.told_size.unwrap_or_default();
        let Due { pointer, leds, motion, extended_key, mouse_buttons, .. } = self.due;
        let mut count = 0_u16;
        let mut counted = |due: bool| {
            count = count.saturating_add(due.into());
            due
        };
        if counted(extended_key && known.extended_key) {
            put_known(EXTENDED_KEY, size, out);
        }
        if counted(mouse_buttons && known.mouse_buttons) {
            put_known(MOUSE_BUTTONS, size, out);
        }
        if counted(motion && known.pointer_motion) {
            put_motion(self.absolute, size, out);
        }
        if let Some(leds) = self.leds.filter(|_| counted(leds && known.led_state)) {
            put_leds(leds, out);
        }
        if counted(pointer && known.cursor && (self.pointer.is_some() || self.pointer_told)) {
            let hidden = PointerShape::hidden();
            put_pointer(self.pointer.as_ref().unwrap_or(&hidden), &self.format, out);
            self.pointer_told = true;
        }
        let Due { colour_map, layout, refusals, .. } = self.due;
        self.due = Due { colour_map, layout, refusals, ..Due::default() };
        count
    }
}

/// Appends a FramebufferUpdate of the rectangles that `put` appends and counts, RFC 6143 section 7.6.1. Without any,
/// there is none, and it gives false.
fn put_update(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>) -> u16) -> bool {
    let start = out.len();
    out.extend([0; 4]);
    let count = put(out);
    if count == 0 {
        out.truncate(start);
        return false;
    }
    overwrite(out, start.saturating_add(2), &count.to_be_bytes());
    true
}
