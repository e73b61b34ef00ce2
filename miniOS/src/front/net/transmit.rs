//! Frames on their way out.

use alloc::vec::Vec;

use xen_abi::PAGE_SIZE;
use xen_abi::io::netif;
use zerocopy::{FromBytes, IntoBytes};

use super::{FRAME_MAX, Features};
use crate::front::{GrantedMemory, Platform};
use crate::ring::{FrontRing, RingFault};
use crate::shared_mem::SharedMem;

/// Pages of the longest frame.
pub(super) const FRAME_PAGES: usize = FRAME_MAX.div_ceil(PAGE_SIZE);
/// Shorter than an Ethernet header is no frame.
const FRAME_MIN: usize = 14;

/// How a frame wants to be finished on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The checksum field of TCP or UDP holds the sum of the pseudo header only.
    pub blank_checksum: bool,
    /// It has to be cut into segments.
    pub segment: Option<Segment>,
}

/// Segments of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Payload of each, in bytes.
    pub size: u16,
    /// In IPv6, not in IPv4.
    pub is_v6: bool,
}

pub(super) type Ring<P> = FrontRing<GrantedMemory<P>, { netif::TX_SLOT_LEN }>;

/// The frame that is put together, and those that the backend has.
pub(super) struct Transmitter<P: Platform> {
    ring: Ring<P>,
    pages: GrantedMemory<P>,
    /// Pages that nobody uses.
    free: Vec<u16>,
    /// For each page, whether the backend has it.
    sent: Vec<bool>,
    /// The frame that is put together.
    open: Open,
    /// Pages that a frame may have.
    frame_pages: usize,
}

/// A frame that is put together.
#[derive(Default)]
struct Open {
    /// Its pages, in order.
    pages: heapless::Vec<u16, FRAME_PAGES>,
    len: usize,
    /// It did not fit, and is lost when it is sent.
    too_long: bool,
}

impl<P: Platform> Transmitter<P> {
    pub(super) fn new(ring: GrantedMemory<P>, pages: GrantedMemory<P>, long_frames: bool) -> Self {
        let count = pages.len() / PAGE_SIZE;
        Self {
            ring: Ring::new(ring),
            free: (0..u16::try_from(count).unwrap_or(u16::MAX)).rev().collect(),
            sent: (0..count).map(|_| false).collect(),
            pages,
            open: Open::default(),
            frame_pages: if long_frames { FRAME_PAGES } else { 1 },
        }
    }

    pub(super) fn into_pages(self) -> GrantedMemory<P> {
        self.pages
    }

    /// Whether the longest frame could be sent now. If not, the backend says when it has taken something.
    pub(super) fn has_room(&mut self) -> Result<bool, RingFault> {
        loop {
            self.collect()?;
            // One slot more says how to segment it.
            let slots = self.ring.free() as usize > self.frame_pages;
            if slots && self.free.len() + self.open.pages.len() >= self.frame_pages {
                return Ok(true);
            }
            if !self.ring.arm()? {
                return Ok(false);
            }
        }
    }

    pub(super) fn begin(&mut self) -> Result<bool, RingFault> {
        self.forget();
        self.has_room()
    }

    /// Empties the frame.
    fn forget(&mut self) {
        self.free.extend(core::mem::take(&mut self.open).pages);
    }

    pub(super) fn len(&self) -> usize {
        self.open.len
    }

    /// Appends bytes that `fill` writes.
    pub(super) fn append<E>(
        &mut self,
        len: usize,
        mut fill: impl FnMut(&P::Memory, usize, usize, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut done = 0;
        while done < len {
            let into = self.open.len % PAGE_SIZE;
            if into == 0 && self.open.len / PAGE_SIZE == self.open.pages.len() {
                let is_allowed = self.open.pages.len() < self.frame_pages;
                let Some(page) = self.free.pop_if(|_| is_allowed) else {
                    self.open.too_long = true;
                    return Ok(());
                };
                // There is room for as many as are allowed.
                let _ = self.open.pages.push(page);
            }
            let piece = (PAGE_SIZE - into).min(len - done).min(FRAME_MAX - self.open.len);
            let (Some(&page), Some(memory), true) = (self.open.pages.last(), self.pages.memory(), piece > 0) else {
                self.open.too_long = true;
                return Ok(());
            };
            fill(memory, usize::from(page) * PAGE_SIZE + into, piece, done)?;
            self.open.len += piece;
            done += piece;
        }
        Ok(())
    }

    /// Where the bytes from `offset` on are, as places in the pages and lengths.
    fn pieces(&self, offset: usize, len: usize) -> impl Iterator<Item = (usize, usize)> {
        let end = offset.saturating_add(len).min(self.open.len);
        let mut at = offset;
        core::iter::from_fn(move || {
            let page = self.open.pages.get(at / PAGE_SIZE).filter(|_| at < end)?;
            let into = at % PAGE_SIZE;
            let piece = (PAGE_SIZE - into).min(end - at);
            at += piece;
            Some((usize::from(*page) * PAGE_SIZE + into, piece))
        })
    }

    pub(super) fn read(&self, offset: usize, data: &mut [u8]) {
        let mut done = 0;
        for (place, len) in self.pieces(offset, data.len()) {
            self.pages.read(place, &mut data[done..done + len]);
            done += len;
        }
        data[done..].fill(0);
    }

    pub(super) fn write(&self, offset: usize, data: &[u8]) {
        let mut done = 0;
        for (place, len) in self.pieces(offset, data.len()) {
            self.pages.write(place, &data[done..done + len]);
            done += len;
        }
    }

    /// Sends the frame. `true`: the backend has to be notified.
    pub(super) fn send(&mut self, offload: Offload, features: &Features) -> bool {
        let extra = offload.segment.filter(|segment| match segment.is_v6 {
            true => features.segment_v6,
            false => features.segment_v4,
        });
        let is_lost = self.open.too_long || self.open.len < FRAME_MIN || offload.segment.is_some() != extra.is_some();
        if is_lost || (self.ring.free() as usize) <= self.open.pages.len() {
            self.forget();
            return false;
        }
        let mut flags = 0;
        if offload.blank_checksum {
            flags |= netif::NETTXF_CSUM_BLANK | netif::NETTXF_DATA_VALIDATED;
        }
        let last = self.open.pages.len() - 1;
        for (index, &page) in self.open.pages.iter().enumerate() {
            let in_page = (self.open.len - index * PAGE_SIZE).min(PAGE_SIZE);
            let size = if index == 0 { self.open.len } else { in_page };
            let more = if index < last { netif::NETTXF_MORE_DATA } else { 0 };
            let has_extra = if index == 0 && extra.is_some() { netif::NETTXF_EXTRA_INFO } else { 0 };
            let request = netif::TxRequest {
                gref: self.pages.reference(page.into()),
                offset: 0,
                flags: more | has_extra | if index == 0 { flags } else { 0 },
                id: page,
                size: u16::try_from(size).unwrap_or(u16::MAX),
            };
            let mut slot = [0; netif::TX_SLOT_LEN];
            slot.copy_from_slice(request.as_bytes());
            // There is a slot for each: it was looked at above.
            let _ = self.ring.push(&slot);
            if let Some(sent) = self.sent.get_mut(usize::from(page)) {
                *sent = true;
            }
            if let Some(segment) = extra.filter(|_| index == 0) {
                let info = netif::ExtraInfo {
                    kind: netif::XEN_NETIF_EXTRA_TYPE_GSO,
                    gso_size: segment.size,
                    gso_type: if segment.is_v6 {
                        netif::XEN_NETIF_GSO_TYPE_TCPV6
                    } else {
                        netif::XEN_NETIF_GSO_TYPE_TCPV4
                    },
                    ..Default::default()
                };
                let mut slot = [0; netif::TX_SLOT_LEN];
                slot[..size_of::<netif::ExtraInfo>()].copy_from_slice(info.as_bytes());
                let _ = self.ring.push(&slot);
            }
        }
        self.open = Open::default();
        self.ring.publish()
    }

    /// Sends a whole frame, whatever is being put together. `None`: there is no room now, and the backend says when there is.
    /// `true`: the backend has to be notified.
    pub(super) fn send_whole(
        &mut self,
        data: &[u8],
        offload: Offload,
        features: &Features,
    ) -> Result<Option<bool>, RingFault> {
        if !self.has_room()? {
            return Ok(None);
        }
        let open = core::mem::take(&mut self.open);
        let copied = self.append::<core::convert::Infallible>(data.len(), |pages, at, len, done| {
            pages.write(at, &data[done..done + len]);
            Ok(())
        });
        let notify = copied.is_ok() && self.send(offload, features);
        self.open = open;
        Ok(Some(notify))
    }

    /// Takes back the pages that the backend is through with.
    fn collect(&mut self) -> Result<(), RingFault> {
        while let Some(bytes) = self.ring.pop::<{ size_of::<netif::TxResponse>() }>()? {
            let Ok(response) = netif::TxResponse::read_from_bytes(&bytes) else { continue };
            if response.status == netif::NETIF_RSP_NULL {
                continue;
            }
            // Whether it was sent or lost is all the same to Ethernet.
            match self.sent.get_mut(usize::from(response.id)) {
                Some(sent) if *sent => *sent = false,
                _ => return Err(RingFault::UnknownId { id: response.id.into() }),
            }
            self.free.push(response.id);
        }
        Ok(())
    }
}
