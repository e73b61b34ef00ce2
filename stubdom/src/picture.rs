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

/// Pixels that are compared at once.
const BLOCK: usize = 32;

/// The part of a row that holds all that differs, in whole blocks.
fn difference(new: &[u32], old: &[u32]) -> Range<usize> {
    let mut blocks = new.chunks(BLOCK).zip(old.chunks(BLOCK));
    let Some(first) = blocks.position(|(new, old)| new != old) else { return 0..0 };
    // What is left begins one behind the first.
    let behind = blocks.rposition(|(new, old)| new != old).map_or(0, |last| last + 1);
    first * BLOCK..((first + 1 + behind) * BLOCK).min(new.len())
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
    fn the_difference_is_from_the_first_block_to_the_last() {
        let old = [7; 100];
        for (places, part) in [
            (&[][..], 0..0),
            (&[0], 0..32),
            (&[99], 96..100),
            (&[40], 32..64),
            (&[33, 70], 32..96),
            (&[0, 50, 99], 0..100),
        ] {
            let mut new = old;
            places.iter().for_each(|place: &usize| new[*place] = 8);
            assert_eq!(difference(&new, &old), part, "{places:?}");
        }
        assert_eq!(difference(&[], &[]), 0..0);
    }
}
