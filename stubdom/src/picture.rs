//! A picture in pages that a backend shows, that our own VNC server shows, or both.
//!
//! What is drawn is compared with what is there: a machine redraws whole pages of video memory, and all of it when nobody has
//! kept a list, while viewers are to be sent what has changed.

use alloc::vec::Vec;
use core::ops::Range;

use devmodel::host::Surface;
use minios::front::Platform;
use minios::front::framebuffer::Framebuffer;

use crate::vnc::{Change, Changes, Screen};

/// The shared pages, and what was drawn into them.
pub struct Picture<P: Platform> {
    front: Framebuffer<P>,
    has_changed: bool,
    /// What was drawn and differs from what was there, as corners: left, top, right, bottom. Empty at first.
    different: [u32; 4],
    /// A row of the picture, while it is compared.
    row: Vec<u32>,
    /// What our own VNC server has not been told of, if there is one.
    changes: Option<Changes>,
}

impl<P: Platform> Picture<P> {
    /// A picture in the pages of a frontend, which need not have a backend.
    #[must_use]
    pub fn new(front: Framebuffer<P>, has_server: bool) -> Self {
        let changes = has_server.then(Changes::default);
        Self { front, has_changed: false, different: NOTHING, row: Vec::new(), changes }
    }

    /// The frontend.
    #[must_use]
    pub const fn front(&self) -> &Framebuffer<P> {
        &self.front
    }

    /// Tells the backend of what was drawn since the last call, and says whether anything was.
    pub fn flush(&mut self) -> bool {
        let has_changed = core::mem::take(&mut self.has_changed);
        if has_changed {
            self.front.flush();
        }
        has_changed
    }

    fn note(&mut self, change: Change) {
        let (width, height) = self.front.size();
        if let Some(changes) = &mut self.changes {
            changes.add(change, (short(width), short(height)));
        }
    }
}

impl<P: Platform> Surface for Picture<P> {
    fn resize(&mut self, width: u32, height: u32) -> bool {
        let is_done = self.front.resize(width, height);
        if is_done {
            self.note(Change::Size(short(width), short(height)));
        }
        is_done
    }

    fn write(&mut self, x: u32, y: u32, pixels: &[u32]) {
        self.row.clear();
        self.row.resize(pixels.len(), 0);
        self.front.read(x, y, &mut self.row);
        let part = difference(pixels, &self.row);
        let left = x.saturating_add(length(part.start));
        let Some(new) = pixels.get(part).filter(|new| !new.is_empty()) else { return };
        self.front.write(left, y, new);
        let [l, t, r, b] = self.different;
        self.different =
            [l.min(left), t.min(y), r.max(left.saturating_add(length(new.len()))), b.max(y.saturating_add(1))];
    }

    // The machine says so after it has drawn there, whatever was there before.
    fn changed(&mut self, _x: u32, _y: u32, _width: u32, _height: u32) {
        let [left, top, right, bottom] = core::mem::replace(&mut self.different, NOTHING);
        if left >= right {
            return;
        }
        let (width, height) = (right - left, bottom.saturating_sub(top));
        self.has_changed = true;
        self.front.update(left, top, width, height);
        let part = rfb::Rect::new(short(left), short(top), short(width), short(height));
        self.note(Change::Part(part));
    }
}

impl<P: Platform> rfb::Picture for Picture<P> {
    fn size(&self) -> (u16, u16) {
        let (width, height) = self.front.size();
        (short(width), short(height))
    }

    fn read(&self, x: u16, y: u16, row: &mut [u32]) {
        self.front.read(x.into(), y.into(), row);
    }
}

impl<P: Platform> Screen for Picture<P> {
    fn changes(&mut self) -> &mut Changes {
        self.changes.get_or_insert_default()
    }
}

/// The part of a row that holds all that differs.
fn difference(new: &[u32], old: &[u32]) -> Range<usize> {
    let mut pairs = new.iter().zip(old);
    let Some(first) = pairs.position(|(new, old)| new != old) else { return 0..0 };
    // What is left begins one behind the first.
    let behind = pairs.rposition(|(new, old)| new != old).map_or(0, |last| last + 1);
    first..first + 1 + behind
}

/// Corners of what is empty.
const NOTHING: [u32; 4] = [u32::MAX, u32::MAX, 0, 0];

/// A number of pixels in a row.
fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A length in pixels. No screen has more.
fn short(pixels: u32) -> u16 {
    u16::try_from(pixels).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_from_the_first_pixel_to_the_last() {
        let old = [1, 2, 3, 4, 5];
        for (new, part) in [
            ([1, 2, 3, 4, 5], 0..0),
            ([9, 2, 3, 4, 5], 0..1),
            ([1, 2, 3, 4, 9], 4..5),
            ([1, 9, 3, 9, 5], 1..4),
            ([9, 9, 9, 9, 9], 0..5),
        ] {
            assert_eq!(difference(&new, &old), part, "{new:?}");
        }
        assert_eq!(difference(&[], &[]), 0..0);
    }
}
