//! The memory of the graphics card: frames of the guest, populated by the device model.
//!
//! They belong to the guest, so that it reads and writes its linear aperture without a trap. While no aperture is mapped they
//! wait at a parking place above everything that the guest's firmware uses; when the base address register moves, Xen moves
//! the frames. The device model's own mapping names frames, not places, and stays valid all the time.

use alloc::vec::Vec;
use core::fmt;
use devmodel::host::GuestAddr;
use log::{debug, warn};
use minios::DomId;
use minios::addr::Gfn;
use minios::foreign::{Access, ForeignMapping, MapError};
use minios::hypercall::{XenError, dm, memory};

const PAGE: u32 = 4096;
/// Frames between the top of the guest's memory and the parking place. hvmloader moves RAM from below 4 GiB to above it to
/// make room for devices: 2 GiB at most.
const RELOCATION_ROOM: u64 = (2 << 30) / 4096;
/// First frame above 4 GiB.
const FOUR_GIB: u64 = (4 << 30) / 4096;

/// Video memory could not be set up.
#[derive(Clone, Copy, Debug)]
pub(super) enum VideoMemoryError {
    /// Xen refused to tell where the guest's memory ends.
    Size(XenError),
    /// The guest may not have that much memory.
    Populate { pages: u32, done: usize },
    /// Xen refused to add memory to the guest.
    Refused(XenError),
    /// The frames could not be mapped.
    Map(MapError),
}

impl fmt::Display for VideoMemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(error) => write!(f, "video memory: the guest's memory map cannot be read: {error}"),
            Self::Populate { pages, done } => {
                write!(
                    f,
                    "video memory: the guest may have only {done} of its {pages} pages; does videoram= count them?"
                )
            }
            Self::Refused(error) => write!(f, "video memory: Xen does not let us add it to the guest: {error}"),
            Self::Map(error) => write!(f, "video memory: mapping it failed: {error}"),
        }
    }
}

/// Video memory, and where the guest sees it.
pub(super) struct VideoRam {
    domain: DomId,
    mapping: ForeignMapping,
    pages: u32,
    parking: Gfn,
    aperture: Option<Gfn>,
    /// Xen keeps a list of dirty pages.
    is_tracked: bool,
    /// Somebody has asked for dirty pages since [`begin_look`](Self::begin_look).
    asked: bool,
}

impl VideoRam {
    /// Gives the guest `bytes` of video memory (a multiple of a page) and maps them.
    pub(super) fn open(domain: DomId, bytes: u32) -> Result<Self, VideoMemoryError> {
        let top = memory::maximum_gpfn(domain).map_err(VideoMemoryError::Size)?.number();
        let parking = top.saturating_add(1).max(FOUR_GIB).saturating_add(RELOCATION_ROOM);
        let pages = bytes / PAGE;
        let frames: Vec<Gfn> = (parking..).map(Gfn::new).take(pages as usize).collect();
        match memory::populate_physmap(domain, &frames) {
            Ok(done) if done == frames.len() => {}
            Ok(done) => return Err(VideoMemoryError::Populate { pages, done }),
            Err(error) => return Err(VideoMemoryError::Refused(error)),
        }
        let mapping = ForeignMapping::map(domain, &frames, Access::ReadWrite).map_err(VideoMemoryError::Map)?;
        Ok(Self { domain, mapping, pages, parking: Gfn::new(parking), aperture: None, is_tracked: false, asked: false })
    }

    /// Copies from video memory; what lies beyond its end reads as zero.
    pub(super) fn read(&self, offset: u32, data: &mut [u8]) {
        let there = self.within(offset, data.len());
        let (inside, outside) = data.split_at_mut(there);
        if self.mapping.read(offset as usize, inside).is_err() {
            inside.fill(0);
        }
        outside.fill(0);
    }

    /// Copies into video memory; what lies beyond its end is dropped.
    pub(super) fn write(&mut self, offset: u32, data: &[u8]) {
        let there = self.within(offset, data.len());
        // All of it is mapped for good.
        let _ = self.mapping.write(offset as usize, &data[..there]);
    }

    /// How many of `len` bytes from `offset` on exist.
    fn within(&self, offset: u32, len: usize) -> usize {
        let size = self.pages as usize * PAGE as usize;
        size.saturating_sub(offset as usize).min(len)
    }

    /// Moves the frames to where the guest wants its aperture, or back to the parking place.
    pub(super) fn set_aperture(&mut self, addr: Option<GuestAddr>) {
        let wanted = addr.map(|addr| Gfn::new(addr.0 / u64::from(PAGE)));
        if wanted == self.aperture {
            return;
        }
        let from = self.aperture.unwrap_or(self.parking);
        let to = wanted.unwrap_or(self.parking);
        // The list is bound to the place.
        self.stop_tracking();
        match self.move_frames(from, to) {
            Ok(()) => self.aperture = wanted,
            Err(error) => warn!("video memory cannot be moved from {from:?} to {to:?}: {error}"),
        }
    }

    fn move_frames(&self, from: Gfn, to: Gfn) -> Result<(), XenError> {
        let mut done = 0;
        while done < self.pages {
            let count = u16::try_from(self.pages - done).unwrap_or(u16::MAX);
            memory::move_pages(self.domain, from.after(done.into()), to.after(done.into()), count)?;
            done += u32::from(count);
        }
        Ok(())
    }

    /// Reports which pages from `first` on the guest wrote through its aperture since the last call.
    pub(super) fn dirty(&mut self, first: u32, bitmap: &mut [u8]) {
        self.asked = true;
        let Some(aperture) = self.aperture else {
            bitmap.fill(0);
            return;
        };
        let listed = u32::try_from(bitmap.len()).unwrap_or(u32::MAX).saturating_mul(8);
        let pages = listed.min(self.pages.saturating_sub(first));
        let first = aperture.after(first.into());
        match dm::track_dirty_vram(self.domain, first, pages, bitmap) {
            Ok(()) => self.is_tracked = true,
            Err(error) => {
                // Drawing too much is right, drawing too little is not.
                bitmap.fill(0xff);
                debug!("dirty pages of video memory are not known: {error}");
            }
        }
    }

    /// The machine is about to draw.
    pub(super) fn begin_look(&mut self) {
        self.asked = false;
    }

    /// The machine has drawn. `true`: it asked for dirty pages, the guest's picture is in its linear framebuffer.
    pub(super) fn end_look(&mut self) -> bool {
        if !self.asked {
            self.stop_tracking();
        }
        self.asked
    }

    fn stop_tracking(&mut self) {
        if core::mem::take(&mut self.is_tracked)
            && let Err(error) = dm::stop_tracking_vram(self.domain)
        {
            debug!("Xen goes on to keep a list of dirty pages: {error}");
        }
    }
}
