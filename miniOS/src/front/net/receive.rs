//! Frames on their way in.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use xen_abi::PAGE_SIZE;
use xen_abi::io::netif;
use zerocopy::{FromBytes, IntoBytes};

use crate::front::{GrantedMemory, Platform};
use crate::ring::{FrontRing, RingFault};
use crate::shared_mem::SharedMem;

/// What is known of the checksum of TCP or UDP in a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing.
    #[default]
    Unknown,
    /// The data is right, and so is the checksum.
    Validated,
    /// The data is right; the field holds the sum of the pseudo header only.
    Blank,
}

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its length.
    pub len: usize,
    /// What is known of its checksum.
    pub checksum: Checksum,
}

pub(super) type Ring<P> = FrontRing<GrantedMemory<P>, { netif::RX_SLOT_LEN }>;

/// A part of a frame.
#[derive(Clone, Copy, Debug)]
struct Piece {
    page: u16,
    offset: usize,
    len: usize,
}

/// The pages, most of which the backend has, and the frame that the user looks at.
pub(super) struct Receiver<P: Platform> {
    ring: Ring<P>,
    pages: GrantedMemory<P>,
    /// The page of each slot of the ring that the backend has. A response comes in the slot of its request.
    posted: Vec<Option<u16>>,
    /// Requests ever put into the ring, and responses ever taken, modulo 2^32.
    produced: u32,
    consumed: u32,
    /// The frames that came and that the user is not through with, where they are looked at. Without a station there is one
    /// at most, and the others stay in the ring.
    frames: VecDeque<Frame>,
    /// Whose frames are somebody else's.
    station: Option<Station>,
}

/// A frame that came.
struct Frame {
    pieces: Pieces,
    received: Received,
}

type Pieces = heapless::Vec<Piece, { netif::XEN_NETIF_NR_SLOTS_MIN }>;

/// A second station behind the same interface. Frames for its address are its own; it has copies of those for groups.
struct Station {
    address: [u8; 6],
    /// What came for it.
    frames: VecDeque<(Vec<u8>, Checksum)>,
}

/// Frames that wait for the second station; more are lost.
const STATION_FRAMES: usize = 32;
/// Bytes of the longest frame that it takes: an Ethernet frame.
const STATION_FRAME: usize = 1514;

impl<P: Platform> Receiver<P> {
    /// Gives every page to the backend.
    pub(super) fn new(ring: GrantedMemory<P>, pages: GrantedMemory<P>) -> Self {
        let ring = Ring::new(ring);
        let mut receiver = Self {
            posted: (0..ring.slots()).map(|_| None).collect(),
            ring,
            produced: 0,
            consumed: 0,
            frames: VecDeque::new(),
            station: None,
            pages,
        };
        for page in 0..u16::try_from(receiver.pages.len() / PAGE_SIZE).unwrap_or(u16::MAX) {
            receiver.post(page);
        }
        // The backend finds them when it connects.
        let _ = receiver.ring.publish();
        receiver
    }

    pub(super) fn into_pages(self) -> GrantedMemory<P> {
        self.pages
    }

    fn slot(&self, index: u32) -> usize {
        index as usize % self.posted.len().max(1)
    }

    /// Puts a page into the next slot. The id is the slot's number.
    fn post(&mut self, page: u16) {
        let slot = self.slot(self.produced);
        let id = u16::try_from(slot).unwrap_or(u16::MAX);
        let request = netif::RxRequest { id, pad: 0, gref: self.pages.reference(page.into()) };
        let mut bytes = [0; netif::RX_SLOT_LEN];
        bytes.copy_from_slice(request.as_bytes());
        // There are no more pages than slots.
        if self.ring.push(&bytes) {
            self.posted[slot] = Some(page);
            self.produced = self.produced.wrapping_add(1);
        }
    }

    /// Sorts out what is for this address, and copies what is for groups.
    pub(super) fn add_station(&mut self, address: [u8; 6]) {
        self.frames.reserve(self.posted.len());
        self.station = Some(Station { address, frames: VecDeque::with_capacity(STATION_FRAMES) });
    }

    /// The oldest frame for the second station.
    pub(super) fn take_for_station(&mut self) -> Option<(Vec<u8>, Checksum)> {
        self.station.as_mut()?.frames.pop_front()
    }

    /// Whether there are any.
    pub(super) fn has_for_station(&self) -> bool {
        self.station.as_ref().is_some_and(|station| !station.frames.is_empty())
    }

    /// The frame at the head, if one has come.
    pub(super) fn head(&mut self) -> Result<Option<Received>, RingFault> {
        while self.frames.is_empty() || self.station.is_some() {
            if !self.take_frame()? && !self.ring.arm()? {
                break;
            }
        }
        Ok(self.frames.front().map(|frame| frame.received))
    }

    /// Takes the slots of the next frame from the ring. `false`: there are none.
    ///
    /// A backend shows all slots of a frame at once. One that has an error, or more slots than there may be, is dropped.
    fn take_frame(&mut self) -> Result<bool, RingFault> {
        let Some((page, response)) = self.take_slot()? else { return Ok(false) };
        let mut flags = response.flags;
        let mut pieces = Pieces::new();
        let mut is_good = self.keep(&mut pieces, page, &response);
        if flags & netif::NETRXF_EXTRA_INFO != 0 {
            is_good &= self.skip_extras()?;
        }
        while flags & netif::NETRXF_MORE_DATA != 0 {
            let Some((page, response)) = self.take_slot()? else {
                is_good = false;
                break;
            };
            is_good &= self.keep(&mut pieces, page, &response);
            flags = response.flags;
        }
        let len = pieces.iter().map(|piece| piece.len).sum();
        if is_good && len > 0 {
            let checksum = if response.flags & netif::NETRXF_CSUM_BLANK != 0 {
                Checksum::Blank
            } else if response.flags & netif::NETRXF_DATA_VALIDATED != 0 {
                Checksum::Validated
            } else {
                Checksum::Unknown
            };
            let frame = Frame { pieces, received: Received { len, checksum } };
            match self.sort(frame) {
                Some(frame) => self.frames.push_back(frame),
                None => return Ok(true),
            }
        } else {
            self.give_back(pieces);
            let _ = self.publish();
        }
        Ok(true)
    }

    /// Gives the second station what is for it. `None`: that was all.
    fn sort(&mut self, frame: Frame) -> Option<Frame> {
        let Some(station) = &mut self.station else { return Some(frame) };
        let mut header = [0; 6];
        read(&self.pages, &frame.pieces, 0, &mut header);
        let is_for_it = header == station.address;
        let is_for_group = header[0] & 1 != 0;
        if (is_for_it || is_for_group) && station.frames.len() < STATION_FRAMES && frame.received.len <= STATION_FRAME {
            let mut data = vec![0; frame.received.len];
            read(&self.pages, &frame.pieces, 0, &mut data);
            station.frames.push_back((data, frame.received.checksum));
        }
        // The user's own frames must not take the last pages, or none would ever come for the station.
        let with_backend = self.produced.wrapping_sub(self.consumed) as usize;
        let has_room = self.frames.len() < with_backend;
        if !is_for_it && has_room {
            return Some(frame);
        }
        self.give_back(frame.pieces);
        None
    }

    /// Takes the next response, and the page that was in its slot.
    fn take_slot(&mut self) -> Result<Option<(u16, netif::RxResponse)>, RingFault> {
        let Some(bytes) = self.ring.pop::<{ netif::RX_SLOT_LEN }>()? else { return Ok(None) };
        let slot = self.slot(self.consumed);
        self.consumed = self.consumed.wrapping_add(1);
        let page = self.posted.get_mut(slot).and_then(Option::take);
        let response = netif::RxResponse::read_from_bytes(&bytes).unwrap_or_default();
        page.map(|page| Some((page, response))).ok_or(RingFault::UnknownId { id: response.id.into() })
    }

    /// Keeps a part of a frame, if it makes sense.
    fn keep(&mut self, pieces: &mut Pieces, page: u16, response: &netif::RxResponse) -> bool {
        let offset = usize::from(response.offset);
        let len = usize::try_from(response.status).ok().filter(|len| offset + len <= PAGE_SIZE);
        let piece = Piece { page, offset, len: len.unwrap_or(0) };
        if pieces.push(piece).is_err() {
            self.post(page);
            return false;
        }
        len.is_some()
    }

    /// Extra information stands in slots of its own. None that was announced matters to a frame of one segment.
    fn skip_extras(&mut self) -> Result<bool, RingFault> {
        while let Some((page, response)) = self.take_slot()? {
            self.post(page);
            // The flags are the second byte of the structure, where a response has the upper half of its id.
            let [_, flags] = response.id.to_le_bytes();
            if flags & netif::XEN_NETIF_EXTRA_FLAG_MORE == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where the bytes of the frame at the head are, from `offset` on.
    fn places(&self, offset: usize, len: usize) -> impl Iterator<Item = (usize, usize)> {
        let pieces = self.frames.front().map_or(&[][..], |frame| &frame.pieces);
        places(pieces, offset, len)
    }

    pub(super) fn read(&self, offset: usize, data: &mut [u8]) {
        let pieces = self.frames.front().map_or(&[][..], |frame| &frame.pieces);
        read(&self.pages, pieces, offset, data);
    }

    pub(super) fn write(&self, offset: usize, data: &[u8]) {
        let mut done = 0;
        for (place, len) in self.places(offset, data.len()) {
            self.pages.write(place, &data[done..done + len]);
            done += len;
        }
    }

    /// Gives bytes to `take`.
    pub(super) fn with<E>(
        &self,
        offset: usize,
        len: usize,
        mut take: impl FnMut(&P::Memory, usize, usize, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(memory) = self.pages.memory() else { return Ok(()) };
        let mut done = 0;
        for (place, len) in self.places(offset, len) {
            take(memory, place, len, done)?;
            done += len;
        }
        Ok(())
    }

    /// The user is through with the frame. `true`: the backend has to be notified.
    pub(super) fn done(&mut self) -> bool {
        if let Some(frame) = self.frames.pop_front() {
            self.give_back(frame.pieces);
        }
        self.ring.publish()
    }

    /// Gives pages back to the backend, which [`Self::publish`] tells it.
    fn give_back(&mut self, pieces: Pieces) {
        for piece in pieces {
            self.post(piece.page);
        }
    }

    /// Shows the backend the pages that were given back. `true`: it has to be notified.
    pub(super) fn publish(&mut self) -> bool {
        self.ring.publish()
    }
}

/// Where the bytes from `offset` on are, as places in the pages and lengths.
fn places(pieces: &[Piece], offset: usize, len: usize) -> impl Iterator<Item = (usize, usize)> {
    let (mut skip, mut left) = (offset, len);
    pieces.iter().filter_map(move |piece| {
        let skipped = skip.min(piece.len);
        skip -= skipped;
        let taken = (piece.len - skipped).min(left);
        left -= taken;
        (taken > 0).then(|| (usize::from(piece.page) * PAGE_SIZE + piece.offset + skipped, taken))
    })
}

/// Copies from a frame. What lies beyond its end reads as zero.
fn read<P: Platform>(pages: &GrantedMemory<P>, pieces: &[Piece], offset: usize, data: &mut [u8]) {
    let mut done = 0;
    for (place, len) in places(pieces, offset, data.len()) {
        pages.read(place, &mut data[done..done + len]);
        done += len;
    }
    data[done..].fill(0);
}
