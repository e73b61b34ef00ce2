//! The picture: when it is drawn, and where to.
//!
//! The machine draws into the pages that the framebuffer's backend shows, so a pixel is written once. Nothing is drawn
//! on a clock that runs for its own sake: the backend says how often it looks ([`Pace`]), and that is how often we do.

use devmodel::host::Surface;
use devmodel::time::Instant;
use minios::front::framebuffer::Framebuffer;
use minios::front::xen::XenDomain as Domain;

/// How long after the guest changed something it is drawn when nobody is known to look.
const UNWATCHED_NS: u64 = 1_000_000_000;
/// A viewer of the backend looks at least this often; a longer period means that nobody does, or that nothing moves.
const WATCHED_MS: u32 = 3000;
/// The shortest period, whatever the backend says.
const SHORTEST_MS: u32 = 10;

/// The framebuffer and the time of its next refresh.
pub struct Display {
    front: Framebuffer<Domain>,
    pace: Pace,
    next: Option<Instant>,
}

/// How often the picture is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Somebody looks every so many nanoseconds.
    Every(u64),
    /// Nobody looks, or nothing has moved for long.
    Unwatched,
}

impl Display {
    /// A display on a connected framebuffer.
    pub fn new(front: Framebuffer<Domain>) -> Self {
        Self { front, pace: Pace::Unwatched, next: None }
    }

    /// Listens to what the backend has to say.
    pub fn poll(&mut self, now: Instant) {
        if self.front.poll() {
            self.set_period(self.front.refresh_period().unwrap_or(0), now);
        }
    }

    /// The backend looks every `milliseconds` from now on; 0 is never.
    fn set_period(&mut self, milliseconds: u32, now: Instant) {
        if milliseconds == 0 || milliseconds >= WATCHED_MS {
            self.pace = Pace::Unwatched;
            return;
        }
        let period = u64::from(milliseconds.max(SHORTEST_MS)) * 1_000_000;
        self.pace = Pace::Every(period);
        self.next = Some(now);
    }

    /// The guest changed something that is shown.
    pub fn touched(&mut self, now: Instant) {
        if self.next.is_none() {
            self.next = Some(now.after(UNWATCHED_NS));
        }
    }

    /// When the picture is to be drawn.
    pub fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// The picture was drawn.
    pub fn drawn(&mut self, now: Instant) {
        self.front.flush();
        self.next = match self.pace {
            Pace::Every(period) => Some(now.after(period)),
            Pace::Unwatched => None,
        };
    }
}

impl Surface for Display {
    fn resize(&mut self, width: u32, height: u32) -> bool {
        self.front.resize(width, height)
    }

    fn write(&mut self, x: u32, y: u32, pixels: &[u32]) {
        self.front.write(x, y, pixels);
    }

    fn changed(&mut self, x: u32, y: u32, width: u32, height: u32) {
        self.front.update(x, y, width, height);
    }
}
