//! Frames that a frontend sends.

use alloc::vec;
use alloc::vec::Vec;

use xen_abi::io::netif;
use xen_abi::{DomId, PAGE_SIZE};
use zerocopy::{FromBytes, IntoBytes};

use super::frame::{self, Frame};
use crate::back::{Host, Ours, Piece, Problem};
use crate::front::net::{Checksum, Segment};
use crate::ring::BackRing;

/// Slots of one frame, besides those for extra information. Linux ends a connection at 20.
const SLOTS_MAX: usize = netif::XEN_NETIF_NR_SLOTS_MIN + 2;
/// Extra information of one frame: netif.h knows four kinds.
const EXTRAS_MAX: usize = 4;
/// Kinds of extra information: for groups of addresses, and a hash.
const EXTRA_TYPE_MCAST_ADD: u8 = 2;
const EXTRA_TYPE_HASH: u8 = 4;
const RSP_ERROR: i16 = -1;
const RSP_OKAY: i16 = 0;

/// The ring of frames that a frontend sends.
pub(super) struct Transmitter<M> {
    pub(super) ring: BackRing<M>,
}

/// A frame as it stands on the ring.
struct Slots {
    first: netif::TxRequest,
    /// Slots after the first, and its extra information.
    rest: heapless::Vec<netif::TxRequest, SLOTS_MAX>,
    extras: usize,
    segment: Option<Segment>,
    /// There was extra information about something that was not offered.
    is_odd: bool,
}

impl<M: crate::shared_mem::SharedMem> Transmitter<M> {
    /// Takes the next frame, and gives it to `send`: more than one if it has to be cut. `false`: there is none.
    pub(super) fn take<H: Host>(
        &mut self,
        host: &H,
        peer: DomId,
        mut send: impl FnMut(Frame),
    ) -> Result<bool, Problem> {
        let Some(slots) = self.take_slots()? else { return Ok(false) };
        let frames = slots.fetch(host, peer);
        let status = if frames.is_some() { RSP_OKAY } else { RSP_ERROR };
        for frame in frames.into_iter().flatten() {
            send(frame);
        }
        self.answer(slots.first.id, status);
        for _ in 0..slots.extras {
            self.answer(0, netif::NETIF_RSP_NULL);
        }
        for slot in &slots.rest {
            self.answer(slot.id, status);
        }
        Ok(true)
    }

    fn answer(&mut self, id: u16, status: i16) {
        self.ring.push(netif::TxResponse { id, status }.as_bytes());
    }

    /// Takes all slots of the next frame. One that is not complete is against the rules: a frontend shows a frame whole.
    fn take_slots(&mut self) -> Result<Option<Slots>, Problem> {
        let Some(bytes) = self.ring.pop::<{ netif::TX_SLOT_LEN }>()? else { return Ok(None) };
        let first = netif::TxRequest::read_from_bytes(&bytes).unwrap_or_default();
        check_page(&first, usize::from(first.size).min(PAGE_SIZE - usize::from(first.offset).min(PAGE_SIZE)))?;
        let mut slots = Slots { first, rest: heapless::Vec::new(), extras: 0, segment: None, is_odd: false };
        let mut has_extra = first.flags & netif::NETTXF_EXTRA_INFO != 0;
        while has_extra {
            let bytes = self.ring.pop::<{ netif::TX_SLOT_LEN }>()?.ok_or(INCOMPLETE)?;
            let (extra, _) = netif::ExtraInfo::read_from_prefix(&bytes).map_err(|_| INCOMPLETE)?;
            slots.extras += 1;
            if slots.extras > EXTRAS_MAX {
                return Err(Problem::Broken("a frame with more extra information than there is"));
            }
            slots.note(&extra)?;
            has_extra = extra.flags & netif::XEN_NETIF_EXTRA_FLAG_MORE != 0;
        }
        let mut goes_on = first.flags & netif::NETTXF_MORE_DATA != 0;
        while goes_on {
            let bytes = self.ring.pop::<{ netif::TX_SLOT_LEN }>()?.ok_or(INCOMPLETE)?;
            let slot = netif::TxRequest::read_from_bytes(&bytes).unwrap_or_default();
            check_page(&slot, usize::from(slot.size))?;
            goes_on = slot.flags & netif::NETTXF_MORE_DATA != 0;
            slots.rest.push(slot).map_err(|_| Problem::Broken("a frame in more slots than were agreed on"))?;
        }
        Ok(Some(slots))
    }
}

const INCOMPLETE: Problem = Problem::Broken("a frame that is not on the ring as a whole");

/// Whether the data of a slot lies within its page.
fn check_page(slot: &netif::TxRequest, len: usize) -> Result<(), Problem> {
    match usize::from(slot.offset) + len <= PAGE_SIZE {
        true => Ok(()),
        false => Err(Problem::Broken("a frame that crosses the end of a page")),
    }
}

impl Slots {
    fn note(&mut self, extra: &netif::ExtraInfo) -> Result<(), Problem> {
        match extra.kind {
            netif::XEN_NETIF_EXTRA_TYPE_GSO => {
                let is_v6 = match extra.gso_type {
                    netif::XEN_NETIF_GSO_TYPE_TCPV4 => false,
                    netif::XEN_NETIF_GSO_TYPE_TCPV6 => true,
                    _ => return Err(Problem::Broken("a frame to be cut into segments of an unknown kind")),
                };
                if extra.gso_size == 0 {
                    return Err(Problem::Broken("a frame to be cut into segments of no size"));
                }
                self.segment = Some(Segment { size: extra.gso_size, is_v6 });
                Ok(())
            }
            EXTRA_TYPE_MCAST_ADD..EXTRA_TYPE_HASH => {
                self.is_odd = true;
                Ok(())
            }
            EXTRA_TYPE_HASH => Ok(()),
            _ => Err(Problem::Broken("extra information of an unknown kind")),
        }
    }

    /// Copies the frame out of the frontend's pages. `None`: it makes no sense, or is not to be had.
    fn fetch<H: Host>(&self, host: &H, peer: DomId) -> Option<Vec<Frame>> {
        let total = usize::from(self.first.size);
        let rest: usize = self.rest.iter().map(|slot| usize::from(slot.size)).sum();
        // The first slot says the length of all.
        let head = total.checked_sub(rest)?;
        if self.is_odd || total < frame::HEADER || usize::from(self.first.offset) + head > PAGE_SIZE {
            return None;
        }
        let mut data = vec![0; total];
        let mut pieces = heapless::Vec::<Piece<'_>, { SLOTS_MAX + 1 }>::new();
        let mut left = data.as_mut_slice();
        let first = (&self.first, head);
        for (slot, len) in core::iter::once(first).chain(self.rest.iter().map(|slot| (slot, usize::from(slot.size)))) {
            let (part, after) = left.split_at_mut_checked(len)?;
            left = after;
            let piece = Piece { reference: slot.gref, offset: slot.offset.into(), ours: Ours::Into(part) };
            pieces.push(piece).ok()?;
        }
        host.copy(peer, &mut pieces).ok()?;
        drop(pieces);
        if let Some(segment) = self.segment {
            return frame::cut(&data, segment);
        }
        let flags = self.first.flags;
        let checksum = if flags & netif::NETTXF_CSUM_BLANK != 0 {
            Checksum::Blank
        } else if flags & netif::NETTXF_DATA_VALIDATED != 0 {
            Checksum::Validated
        } else {
            Checksum::Unknown
        };
        Some(vec![Frame { data, checksum }])
    }
}
