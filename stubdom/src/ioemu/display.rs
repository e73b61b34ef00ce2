//! The picture: when it is drawn, and where to.
//!
//! The machine draws into the pages that the framebuffer's backend shows, so a pixel is written once. The backend does not
//! say whether anybody looks (QEMU forgets what it is told while nobody does), so the picture is always kept fresh, and
//! drawing has to cost nothing while nothing changes. Our own VNC server shows the same pages, and does say so: without a
//! backend, nothing is drawn while it has no viewers.
//!
//! - What the guest does through ports and the legacy window comes to us anyway. The picture is drawn [`FIRST_NS`] later, or
//!   [`INTERVAL_NS`] after the last drawing: who types sees it at once, and who draws all the time is not looked at all the time.
//! - What it writes to its linear framebuffer comes to nobody: while the picture is there, its dirty pages are looked at, every
//!   [`INTERVAL_NS`] while it changes, and every [`VIEWED_NS`] while our own server has viewers. For a backend that may have
//!   none, looks become rarer while nothing changes, up to [`SLOWEST_NS`], until somebody types or points.
//!
//! Xen could send us the first write after a pause (`HVMMEM_ioreq_server`). That is not done: when the type of the page is
//! changed back while a vCPU has the answer to such a write before it, and that is a string instruction, Xen finds memory,
//! does not take the answer, and crashes the guest at its next access (`hvmemul_do_io` of Xen 4.17 and 4.20).

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
/// Time between two looks at a picture that does not change, while our own server has viewers.
const VIEWED_NS: u64 = 25_000_000;
/// Looks without a change after which each pause is twice as long as the one before, for a backend.
const QUIET_LOOKS: u32 = 10;
/// The most time between two of them.
const SLOWEST_NS: u64 = 1_000_000_000;

/// The framebuffer and the time of its next drawing.
pub(super) struct Display {
    picture: Picture<XenDomain>,
    next: Option<Instant>,
    last: Instant,
    quiet_looks: u32,
    /// The guest has done something to the screen.
    touched: bool,
    /// Our own VNC server has viewers.
    viewed: bool,
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
            viewed: false,
            has_backend,
        }
    }

    /// Our own VNC server has viewers, or none any more.
    pub(super) fn set_viewed(&mut self, viewed: bool, now: Instant) {
        if viewed && !self.viewed {
            // What was not drawn meanwhile is drawn now, before the viewer is shown anything.
            (self.touched, self.next) = (true, Some(now));
        }
        self.viewed = viewed;
    }

    /// Somebody types or points: something is going to change.
    pub(super) fn expect_change(&mut self, now: Instant) {
        self.quiet_looks = 0;
        self.next = self.next.map(|at| at.min(now.after(INTERVAL_NS)));
    }

    fn is_watched(&self) -> bool {
        self.viewed || self.has_backend
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
        self.touched && self.is_watched() && (self.next.is_none() || self.quiet_looks > QUIET_LOOKS)
    }

    /// Draws, if it is time to.
    pub(super) fn serve(&mut self, machine: &mut Machine, world: &mut World, now: Instant) {
        self.touched |= machine.take_display_touched();
        if !self.is_watched() {
            self.next = None;
            return;
        }
        if core::mem::take(&mut self.touched) {
            self.quiet_looks = 0;
            let soon = now.after(FIRST_NS).max(self.last.after(INTERVAL_NS));
            self.next = Some(self.next.map_or(soon, |at| at.min(soon)));
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
        machine.refresh(world, &mut self.picture, false);
        let has_changed = self.picture.flush();
        if !world.video.as_mut()?.end_look() {
            return None;
        }
        self.quiet_looks = if has_changed { 0 } else { self.quiet_looks.saturating_add(1) };
        Some(match self.quiet_looks {
            0 => INTERVAL_NS,
            _ if self.viewed => VIEWED_NS,
            looks => (INTERVAL_NS << looks.saturating_sub(QUIET_LOOKS).min(5)).min(SLOWEST_NS),
        })
    }
}
