//! The picture: when it is drawn, and where to.
//!
//! The machine draws into the pages that the framebuffer's backend shows, so a pixel is written once. The backend does not
//! say whether anybody looks (QEMU forgets what it is told while nobody does), so the picture is always kept fresh, and
//! drawing has to cost nothing while nothing changes. Our own VNC server shows the same pages, and does say so: without a
//! backend, nothing is drawn while it has no viewers.
//!
//! - What the guest does through ports and the legacy window comes to us anyway. The picture is drawn [`FIRST_NS`] later, or
//!   [`INTERVAL_NS`] after the last drawing: who types sees it at once, and who draws all the time is not looked at all the time.
//! - What it writes to its linear framebuffer comes to nobody. As long as that goes on, its dirty pages are looked at every
//!   [`INTERVAL_NS`]. After [`QUIET_LOOKS`] looks in vain its next write is made to come to us
//!   ([`VideoRam::watch`](super::video_memory::VideoRam::watch)), and there is no clock running any more.

use devmodel::host::Platform as _;
use devmodel::machine::Machine;
use devmodel::time::Instant;
use minios::front::XenDomain;
use minios::front::framebuffer::Framebuffer;
use stubdom::picture::Picture;

use super::host::World;

/// Time between two drawings: 25 pictures a second.
const INTERVAL_NS: u64 = 40_000_000;
/// Time until a screen is drawn that has stood still: what belongs together is mostly there by then.
const FIRST_NS: u64 = 8_000_000;
/// A drawing that takes long is followed by a pause of so many times as long: on a busy machine, or with a large picture that
/// changes all the time, the guest and whoever shows the picture get on with their work.
const PATIENCE: u64 = 32;
/// Drawings without a change after which the next write is waited for.
const QUIET_LOOKS: u32 = 10;
/// Time between two looks at a framebuffer that has been quiet, where Xen cannot tell of a write.
const SLOW_INTERVAL_NS: u64 = 1_000_000_000;

/// The framebuffer and the time of its next drawing.
pub(super) struct Display {
    picture: Picture<XenDomain>,
    next: Option<Instant>,
    last: Instant,
    quiet_looks: u32,
    /// The guest has done something to the screen.
    touched: bool,
    /// Somebody may look.
    watched: bool,
    /// There is a backend, which never says so.
    has_backend: bool,
}

impl Display {
    /// A display on a framebuffer that a backend shows, or our own VNC server, or both.
    pub(super) fn new(front: Framebuffer<XenDomain>, has_backend: bool, has_server: bool) -> Self {
        Self {
            picture: Picture::new(front, has_server),
            next: None,
            last: Instant(0),
            quiet_looks: 0,
            touched: false,
            watched: has_backend,
            has_backend,
        }
    }

    /// Our own VNC server has viewers, or none any more.
    pub(super) fn set_watched(&mut self, watched: bool, now: Instant) {
        let watched = watched || self.has_backend;
        if watched && !self.watched {
            // What was not drawn meanwhile is drawn now, before the viewer is shown anything.
            (self.touched, self.next) = (true, Some(now));
        }
        self.watched = watched;
    }

    /// Listens to what the backend has to say.
    pub(super) fn poll(&self) {
        // How often it looks is of no use: see the head of `minios::front::framebuffer`.
        self.picture.front().poll();
    }

    /// What viewers are shown.
    pub(super) fn picture(&mut self) -> &mut Picture<XenDomain> {
        &mut self.picture
    }

    /// When there is something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Whether the guest has done something that begins a new stretch of drawing.
    pub(super) fn is_touched(&mut self, machine: &mut Machine) -> bool {
        self.touched |= machine.take_display_touched();
        self.touched && self.watched && self.next.is_none()
    }

    /// Draws, if it is time to.
    pub(super) fn serve(&mut self, machine: &mut Machine, world: &mut World, now: Instant) {
        self.touched |= machine.take_display_touched();
        if !self.watched {
            self.next = None;
            return;
        }
        if core::mem::take(&mut self.touched) {
            if let Some(video) = &mut world.video {
                video.unwatch();
            }
            self.quiet_looks = 0;
            if self.next.is_none() {
                self.next = Some(now.after(FIRST_NS).max(self.last.after(INTERVAL_NS)));
            }
        }
        if self.next.is_some_and(|at| at <= now) {
            self.last = now;
            let interval = self.draw(machine, world);
            let took = world.now().0.saturating_sub(now.0);
            self.next = interval.map(|interval| now.after(interval.max(took.saturating_mul(PATIENCE))));
        }
    }

    /// Draws, and says how long to wait for the next time.
    fn draw(&mut self, machine: &mut Machine, world: &mut World) -> Option<u64> {
        world.video.as_mut()?.begin_look();
        let has_changed = self.refresh(machine, world, false);
        let video = world.video.as_mut()?;
        if !video.end_look() {
            return None;
        }
        self.quiet_looks = if has_changed { 0 } else { self.quiet_looks.saturating_add(1) };
        if self.quiet_looks < QUIET_LOOKS {
            return Some(INTERVAL_NS);
        }
        if !video.watch(&world.ioreq) {
            return Some(SLOW_INTERVAL_NS);
        }
        // What was written since the last look and before the watch began.
        self.refresh(machine, world, true);
        None
    }

    /// Whether anything was drawn.
    fn refresh(&mut self, machine: &mut Machine, world: &mut World, full: bool) -> bool {
        machine.refresh(world, &mut self.picture, full);
        self.picture.flush()
    }
}
