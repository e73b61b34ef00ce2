//! A picture in pages that a backend shows, that our own VNC server shows, or both.

use devmodel::host::Surface;
use minios::front::Platform;
use minios::front::framebuffer::Framebuffer;

use crate::vnc::{Change, Changes, Screen};

/// The shared pages, and what was drawn into them.
pub struct Picture<P: Platform> {
    front: Framebuffer<P>,
    has_changed: bool,
    /// What our own VNC server has not been told of, if there is one.
    changes: Option<Changes>,
}

impl<P: Platform> Picture<P> {
    /// A picture in the pages of a frontend, which need not have a backend.
    #[must_use]
    pub fn new(front: Framebuffer<P>, has_server: bool) -> Self {
        Self { front, has_changed: false, changes: has_server.then(Changes::default) }
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
        self.front.write(x, y, pixels);
    }

    fn changed(&mut self, x: u32, y: u32, width: u32, height: u32) {
        self.has_changed = true;
        self.front.update(x, y, width, height);
        let part = rfb::Rect::new(short(x), short(y), short(width), short(height));
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

/// A length in pixels. No screen has more.
fn short(pixels: u32) -> u16 {
    u16::try_from(pixels).unwrap_or(u16::MAX)
}
