//! The transmitter: takes descriptors off the ring and puts frames together.
//!
//! A plain frame goes straight into the host's. Of a packet that is to be cut, the headers are kept here until they are
//! complete; then it goes to the network whole if that can cut it, and through [`Segmenter`] if not ([`super::offload`]).
//! A network without room stops the ring where it is, also in the middle of a descriptor.
//!
//! Source: SDM 3.3 (packet transmission), 3.4 (ring), 3.5 (segmentation), 13.4.33 (TCTL).
//! Not modelled: the delay timers (TIDV, TADV, IDE: an interrupt comes at once), TXD_LOW, collisions, pause frames;
//! segmentation in loopback (such a packet is lost).
//! Invariant: a ring is gone through once for an event at most, and the work for it is limited.

use super::E1000;
use super::descriptor::{Context, Descriptor, Piece, decode};
use super::regs::{CTRL_VME, cause};
use super::ring::Ring;
use crate::host::{FRAME_MAX, GuestAddr, Host};
use crate::net::TAG;
use crate::net::segment::Segmenter;
use crate::state::{Adopt, StateError};
use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

/// TCTL.EN, the transmitter is on.
const TCTL_EN: u32 = 1 << 1;
/// TCTL.PSP, short frames are padded.
pub(super) const TCTL_PSP: u32 = 1 << 3;
/// Status of a descriptor, DD: it is done.
const DD: u8 = 1 << 0;
/// Status of a descriptor: EC, LC and TU, which a write-back clears.
const COLLISIONS: u8 = 7 << 1;

/// How many bytes are looked at in an event before others get their turn. A descriptor or segment costs
/// [`OVERHEAD`] bytes.
const WORK: usize = 1 << 20;
/// See [`WORK`].
const OVERHEAD: usize = 128;

/// TCTL, the ring, both contexts, and the frame that is put together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Transmitter {
    pub(super) ring: Ring,
    pub(super) control: u32,
    context: Context,
    context_tse: Context,
    frame: Option<Outgoing>,
    /// Bytes of the descriptor at the head that are done with.
    consumed: usize,
}

/// A frame that is put together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Outgoing {
    pub(super) stage: Stage,
    pub(super) context: Context,
    pub(super) ixsm: bool,
    pub(super) txsm: bool,
    pub(super) tag: Option<u16>,
    /// A part of it could not be read, or it is too long: it is not sent.
    spoiled: bool,
}

/// How far it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Stage {
    /// Plain, and begun at the host.
    Plain,
    /// Of a packet to be cut, so many bytes of the headers are here.
    Headers(#[serde(with = "BigArray")] [u8; 256], usize),
    /// The network will cut it; begun at the host.
    Whole,
    /// We cut it.
    Cut(Segmenter),
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It is done.
    Done,
    /// The network has no room.
    NoRoom,
    /// It was enough for this time.
    Later,
}

impl Adopt for Transmitter {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        *self = saved;
        // What the network was given of a frame is not there any more, so the frame is lost.
        if let Some(frame) = self.frame.as_mut().filter(|frame| !matches!(frame.stage, Stage::Headers(..))) {
            frame.spoiled = true;
        }
        Ok(())
    }
}

impl Transmitter {
    /// The head was moved by hand: what was begun there has no end.
    pub(super) fn forget(&mut self) {
        (self.frame, self.consumed) = (None, 0);
    }
}

impl E1000 {
    /// Sends what is on the ring.
    pub(super) fn transmit(&mut self, host: &mut dyn Host) {
        if self.transmitter.control & TCTL_EN == 0 || !self.config.masters_bus() {
            return;
        }
        let mut causes = 0;
        let mut work = WORK;
        for _ in 0..self.transmitter.ring.available() {
            let at = self.transmitter.ring.at_head();
            let mut bytes = [0; 16];
            if host.read(at, &mut bytes).is_err() {
                break;
            }
            let (descriptor, report) = decode(bytes);
            work = work.saturating_sub(OVERHEAD);
            let progress = match descriptor {
                Descriptor::Context(context, tse) => {
                    *if tse { &mut self.transmitter.context_tse } else { &mut self.transmitter.context } = context;
                    Progress::Done
                }
                Descriptor::Piece(piece) => self.take_piece(host, &piece, &mut work),
            };
            match progress {
                Progress::Done => self.transmitter.consumed = 0,
                Progress::NoRoom => break,
                Progress::Later => {
                    self.more_at = Some(host.now());
                    break;
                }
            }
            if report {
                let [.., status, _, _, _] = bytes;
                // Memory that is none keeps nothing, and nobody waits there.
                let _ = host.write(GuestAddr(at.0.wrapping_add(12)), &[status & !COLLISIONS | DD]);
                causes |= cause::TXDW;
            }
            self.transmitter.ring.advance();
            if self.transmitter.ring.available() == 0 {
                causes |= cause::TXQE;
            } else if work == 0 {
                self.more_at = Some(host.now());
                break;
            }
        }
        self.raise(host, causes);
    }

    /// Adds the data of a descriptor to the frame, and sends it if that was the last.
    fn take_piece(&mut self, host: &mut dyn Host, piece: &Piece, work: &mut usize) -> Progress {
        let mut frame = match self.transmitter.frame.take() {
            Some(frame) => frame,
            None if piece.tse => self.begin_tse(piece),
            None if host.nic_begin(self.nic) => Outgoing {
                stage: Stage::Plain,
                context: self.transmitter.context,
                ixsm: piece.ixsm,
                txsm: piece.txsm,
                tag: None,
                spoiled: false,
            },
            None => return Progress::NoRoom,
        };
        let plain = matches!(frame.stage, Stage::Plain);
        if self.control & CTRL_VME != 0 && (piece.eop || !plain) && piece.tag.is_some() {
            frame.tag = piece.tag;
        }
        let mut progress = if frame.spoiled { Progress::Done } else { self.feed(host, &mut frame, piece, work) };
        if progress == Progress::Done && piece.eop {
            progress = if frame.spoiled { Progress::Done } else { self.finish(host, &mut frame, piece) };
        }
        if progress != Progress::Done || !piece.eop {
            self.transmitter.frame = Some(frame);
        }
        progress
    }

    fn begin_tse(&self, piece: &Piece) -> Outgoing {
        let context = self.transmitter.context_tse;
        // Nothing can be cut without headers, or into pieces of nothing.
        let spoiled = context.hdrlen == 0 || context.mss == 0 || self.loops_back();
        let stage = Stage::Headers([0; 256], 0);
        Outgoing { stage, context, ixsm: piece.ixsm, txsm: piece.txsm, tag: None, spoiled }
    }

    fn feed(&mut self, host: &mut dyn Host, frame: &mut Outgoing, piece: &Piece, work: &mut usize) -> Progress {
        let header_len = usize::from(frame.context.hdrlen);
        // Each turn takes data or goes on to the next stage.
        loop {
            let consumed = self.transmitter.consumed;
            let left = piece.len.saturating_sub(consumed);
            let addr = GuestAddr(piece.addr.wrapping_add(u64::try_from(consumed).unwrap_or(0)));
            let taken = match &mut frame.stage {
                Stage::Headers(bytes, got) if *got < header_len => {
                    let take = left.min(header_len.saturating_sub(*got));
                    let place = bytes.get_mut(*got..got.saturating_add(take)).unwrap_or_default();
                    if take == 0 {
                        return Progress::Done;
                    }
                    *got = got.saturating_add(take);
                    host.read(addr, place).map(|()| take)
                }
                Stage::Headers(..) => {
                    if !self.headers_complete(host, frame) {
                        return Progress::NoRoom;
                    }
                    continue;
                }
                Stage::Plain | Stage::Whole => {
                    if left == 0 {
                        return Progress::Done;
                    }
                    let room = FRAME_MAX.saturating_sub(TAG).saturating_sub(host.nic_len(self.nic));
                    frame.spoiled = left > room;
                    host.nic_append_from_guest(self.nic, addr, left.min(room)).map(|()| left)
                }
                Stage::Cut(segmenter) => {
                    if left == 0 {
                        return Progress::Done;
                    }
                    if *work == 0 {
                        return Progress::Later;
                    }
                    match segmenter.push(host, self.nic, addr, left) {
                        Ok(0) => return Progress::NoRoom,
                        taken => taken,
                    }
                }
            };
            let Ok(taken) = taken else {
                frame.spoiled = true;
                return Progress::Done;
            };
            *work = work.saturating_sub(taken).saturating_sub(OVERHEAD);
            self.transmitter.consumed = consumed.saturating_add(taken);
            if frame.spoiled {
                return Progress::Done;
            }
        }
    }
}
