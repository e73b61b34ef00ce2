//! Frames for a frontend.

use xen_abi::io::netif;
use xen_abi::{DomId, PAGE_SIZE};
use zerocopy::{FromBytes, IntoBytes};

use super::frame::Frame;
use crate::back::{Host, Ours, Piece};
use crate::front::net::Checksum;
use crate::ring::{BackRing, RingFault, narrow, widen};
use crate::shared_mem::SharedMem;

/// Pages of the longest frame.
const PAGES_MAX: usize = netif::XEN_NETIF_MAX_TX_SIZE.div_ceil(PAGE_SIZE);

/// The ring of pages that a frontend has for frames, and the frame that comes next.
pub(super) struct Receiver<M> {
    pub(super) ring: BackRing<M>,
    /// Takes frames of several pages.
    pub(super) takes_long: bool,
    /// Takes frames whose checksums are left out.
    pub(super) takes_blank: bool,
    /// Says when it has pages again.
    pub(super) tells_pages: bool,
    /// A frame that waits for pages.
    pub(super) next: Option<Frame>,
}

impl<M: SharedMem> Receiver<M> {
    /// Gives the frontend the frame that comes next, if it has pages for it. `false`: the frontend says when it has.
    pub(super) fn deliver<H: Host>(&mut self, host: &H, peer: DomId) -> Result<bool, RingFault> {
        let Some(frame) = &self.next else { return Ok(true) };
        let len = frame.data.len();
        let pages = narrow(len.div_ceil(PAGE_SIZE));
        if len > netif::XEN_NETIF_MAX_TX_SIZE || pages > self.ring.slots() || pages > 1 && !self.takes_long {
            // It never fits.
            self.next = None;
            return Ok(true);
        }
        while self.ring.waiting()? < pages {
            if !self.tells_pages {
                self.next = None;
                return Ok(true);
            }
            if !self.ring.arm_for(pages)? {
                return Ok(false);
            }
        }
        let Some(mut frame) = self.next.take() else { return Ok(true) };
        if !self.takes_blank {
            frame.complete();
        }
        let mut requests = heapless::Vec::<netif::RxRequest, PAGES_MAX>::new();
        while requests.len() < widen(pages) {
            let Some(bytes) = self.ring.pop::<{ netif::RX_SLOT_LEN }>()? else { break };
            // There is room for the pages of the longest frame.
            let _ = requests.push(netif::RxRequest::read_from_bytes(&bytes).unwrap_or_default());
        }
        let parts = frame.data.chunks(PAGE_SIZE);
        let mut pieces: heapless::Vec<Piece<'_>, PAGES_MAX> = requests
            .iter()
            .zip(parts.clone())
            .map(|(request, part)| Piece { reference: request.gref, offset: 0, ours: Ours::From(part) })
            .collect();
        let copied = host.copy(peer, &mut pieces);
        let checksum = match frame.checksum {
            Checksum::Unknown => 0,
            Checksum::Validated => netif::NETRXF_DATA_VALIDATED,
            Checksum::Blank => netif::NETRXF_DATA_VALIDATED | netif::NETRXF_CSUM_BLANK,
        };
        let last = requests.len().saturating_sub(1);
        for (index, (request, part)) in requests.iter().zip(parts).enumerate() {
            let more = if index < last { netif::NETRXF_MORE_DATA } else { 0 };
            let response = netif::RxResponse {
                id: request.id,
                offset: 0,
                flags: more | if index == 0 { checksum } else { 0 },
                // A page that cannot be written is the frontend's mistake, and its loss.
                status: copied.map_or(-1, |()| i16::try_from(part.len()).unwrap_or(0)),
            };
            self.ring.push(response.as_bytes());
        }
        Ok(true)
    }
}
