//! The receiver: frames of the network go into the guest's buffers.
//!
//! A frame for which there are not enough descriptors stays with the host until the driver moves the tail. One that would
//! not fit a ring with every descriptor free is lost, and so is all that arrives while the receiver is off.
//!
//! Source: SDM 3.2 (packet reception), 13.4.22 (RCTL), RXCSUM.
//! Not modelled: the delay timers (every frame asks for its interrupt at once); the packet checksum of a descriptor,
//! which reads as zero; the content of the frame check sequence, which is zero where a driver keeps it (RCTL.SECRC off);
//! storing bad frames (there are none), CFI filtering, MAC control frames.

use super::filter::Match;
use super::regs::{CTRL_VME, VET, cause};
use super::ring::Ring;
use super::{E1000, statistics};
use crate::host::{GuestAddr, Host, NicId, ReceivedChecksum, Unmapped};
use crate::net::checksum::finish_received;
use crate::net::frame::{Frame, Receiving, Sending};
use crate::net::headers::{Headers, Version};
use crate::net::{SHORTEST, TAG, TAG_AT};
use serde::{Deserialize, Serialize};

/// RCTL.
pub(super) mod rctl {
    /// EN, the receiver is on.
    pub(crate) const EN: u32 = 1 << 1;
    /// SBP, bad frames are kept.
    pub(crate) const SBP: u32 = 1 << 2;
    /// UPE, every unicast frame.
    pub(crate) const UPE: u32 = 1 << 3;
    /// MPE, every multicast frame.
    pub(crate) const MPE: u32 = 1 << 4;
    /// LPE, long frames.
    pub(crate) const LPE: u32 = 1 << 5;
    /// LBM, loopback.
    pub(crate) const LBM: u32 = 3 << 6;
    /// RDMTS, when descriptors are few.
    pub(crate) const RDMTS_SHIFT: u32 = 8;
    /// MO, which bits of an address are its hash.
    pub(crate) const MO_SHIFT: u32 = 12;
    /// BAM, broadcast frames.
    pub(crate) const BAM: u32 = 1 << 15;
    /// BSIZE, the size of buffers.
    pub(crate) const BSIZE_SHIFT: u32 = 16;
    /// VFE, the VLAN table counts.
    pub(crate) const VFE: u32 = 1 << 18;
    /// BSEX, buffers are sixteen times as long.
    pub(crate) const BSEX: u32 = 1 << 25;
    /// SECRC, the frame check sequence is stripped.
    pub(crate) const SECRC: u32 = 1 << 26;
    /// Every bit that is not reserved.
    pub(crate) const WRITABLE: u32 = 0x06df_b3fe;
}

/// RXCSUM.IPOFL, checks IPv4 headers.
const RXCSUM_IP: u32 = 1 << 8;
/// RXCSUM.TUOFL, checks TCP and UDP.
const RXCSUM_TRANSPORT: u32 = 1 << 9;

/// Descriptor status.
mod status {
    pub(super) const DD: u8 = 1 << 0;
    pub(super) const EOP: u8 = 1 << 1;
    pub(super) const IXSM: u8 = 1 << 2;
    pub(super) const VP: u8 = 1 << 3;
    pub(super) const TCPCS: u8 = 1 << 5;
    pub(super) const IPCS: u8 = 1 << 6;
    pub(super) const PIF: u8 = 1 << 7;
}
/// Descriptor errors, IPE: the checksum of the IPv4 header is wrong.
const ERROR_IP: u8 = 1 << 6;
/// Descriptor errors, RXE: the data did not arrive.
const ERROR_DATA: u8 = 1 << 7;

/// The longest frame without RCTL.LPE, without its frame check sequence.
const LONGEST: usize = 1518;
/// The longest frame with it.
const LONGEST_LPE: usize = 16_384 - FCS;
/// Bytes of a frame check sequence.
const FCS: usize = 4;
/// How many frames are taken in before others get their turn.
const FRAMES_AT_ONCE: u32 = 1024;

/// RCTL, RXCSUM and the ring.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Receiver {
    pub(super) ring: Ring,
    pub(super) control: u32,
    pub(super) checksums: u32,
    /// The oldest frame was already reported as one without room.
    pub(super) stuck: bool,
}

impl Receiver {
    fn buffer_size(&self) -> usize {
        let size = 2048_usize >> (self.control >> rctl::BSIZE_SHIFT & 3);
        // BSEX with the largest BSIZE is reserved.
        if self.control & rctl::BSEX != 0 && size < 2048 { size << 4 } else { size }
    }
}

/// Where a frame comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The network.
    Wire,
    /// The transmitter.
    Loopback,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It was taken, or nobody wants it.
    Done,
    /// There are not enough descriptors now.
    NoRoom,
}

/// A frame on its way into buffers.
#[derive(Clone, Copy, Debug)]
struct Incoming {
    source: Source,
    /// Bytes that the host has of it.
    len: usize,
    /// The tag, if it is taken out.
    stripped: Option<u16>,
    /// Bytes that go into buffers.
    total: usize,
}

impl E1000 {
    /// Takes in what the network has, as long as there is room.
    pub(super) fn receive(&mut self, host: &mut dyn Host) {
        let mut causes = 0;
        for _ in 0..FRAMES_AT_ONCE {
            let outcome = match host.nic_received(self.nic) {
                Some(received) => self.take_in(host, Source::Wire, received.len, &mut causes),
                None => Outcome::NoRoom,
            };
            if outcome == Outcome::NoRoom {
                self.raise(host, causes);
                return;
            }
            host.nic_received_done(self.nic);
            self.receiver.stuck = false;
        }
        self.raise(host, causes);
        self.more_at = Some(host.now());
    }

    /// Takes in the frame that was put together to be sent.
    pub(super) fn receive_own(&mut self, host: &mut dyn Host) {
        let mut causes = 0;
        // What does not fit is lost: the transmitter waits for nobody.
        let len = host.nic_len(self.nic);
        let _ = self.take_in(host, Source::Loopback, len, &mut causes);
        self.raise(host, causes);
    }

    /// Whether what is sent comes back, and nothing else arrives.
    pub(super) fn loops_back(&self) -> bool {
        self.receiver.control & rctl::LBM != 0 || self.phy.loopback()
    }

    fn take_in(&mut self, host: &mut dyn Host, source: Source, len: usize, causes: &mut u32) -> Outcome {
        let control = self.receiver.control;
        let here = (source == Source::Loopback) == self.loops_back();
        if control & rctl::EN == 0 || !self.config.masters_bus() || !here {
            return Outcome::Done;
        }
        let mut head = [0; 18];
        match source {
            Source::Wire => host.nic_received_read(self.nic, 0, &mut head),
            Source::Loopback => host.nic_read(self.nic, 0, &mut head),
        }
        let [a, b, c, d, e, f, .., k0, k1, t0, t1, _, _] = head;
        let (address, kind, tag) = ([a, b, c, d, e, f], u16::from_be_bytes([k0, k1]), u16::from_be_bytes([t0, t1]));
        let padded = len.max(SHORTEST);
        let longest = if control & (rctl::LPE | rctl::SBP) == 0 { LONGEST } else { LONGEST_LPE };
        if padded > longest {
            self.statistics.seen(padded);
            self.statistics.count(statistics::ROC);
            return Outcome::Done;
        }
        let tagged = u32::from(kind) == self.storage.read(VET);
        let matched =
            self.filter.matches(address, control).filter(|_| !tagged || self.filter.matches_vlan(tag, control));
        let Some(matched) = matched else {
            self.statistics.seen(padded);
            return Outcome::Done;
        };
        let stripped = (tagged && self.control & CTRL_VME != 0).then_some(tag);
        let fcs = if control & rctl::SECRC == 0 { FCS } else { 0 };
        let total = padded.saturating_sub(if stripped.is_some() { TAG } else { 0 }).saturating_add(fcs);
        if let Some(outcome) = self.without_room(total, causes) {
            return outcome;
        }
        self.statistics.seen(padded);
        let checksum = match (source, host.nic_received(self.nic)) {
            (Source::Wire, Some(received)) => finish_received(host, self.nic, received),
            _ => ReceivedChecksum::Unknown,
        };
        let (mut status, errors) = match source {
            Source::Wire => self.checked(&Receiving { host: &*host, nic: self.nic, len }, checksum),
            Source::Loopback => self.checked(&Sending { host: &*host, nic: self.nic }, checksum),
        };
        if matched == Match::Hash {
            status |= status::PIF;
        }
        if self.fill(host, Incoming { source, len, stripped, total }, status, errors) {
            self.statistics.received(address, padded);
            *causes |= cause::RXT0;
        } else {
            self.statistics.count(statistics::MPC);
            *causes |= cause::RXO;
        }
        let ring = &self.receiver.ring;
        // RDMTS: a half, a quarter or an eighth.
        let few = ring.count().wrapping_shr((control >> rctl::RDMTS_SHIFT & 3).wrapping_add(1));
        if ring.available() <= few {
            *causes |= cause::RXDMT0;
        }
        Outcome::Done
    }

    /// What happens to a frame of `total` bytes when there are too few descriptors; `None`: there are enough.
    fn without_room(&mut self, total: usize, causes: &mut u32) -> Option<Outcome> {
        let needed = u32::try_from(total.div_ceil(self.receiver.buffer_size())).unwrap_or(u32::MAX);
        if needed <= self.receiver.ring.available() {
            return None;
        }
        if !self.receiver.stuck {
            self.statistics.count(statistics::RNBC);
            self.statistics.count(statistics::MPC);
            *causes |= cause::RXO;
        }
        // One descriptor always stays the driver's.
        let hopeless = needed >= self.receiver.ring.count();
        self.receiver.stuck = !hopeless;
        Some(if hopeless { Outcome::Done } else { Outcome::NoRoom })
    }

    /// What a descriptor says about checksums: status and errors.
    fn checked(&self, frame: &impl Frame, checksum: ReceivedChecksum) -> (u8, u8) {
        let enabled = self.receiver.checksums;
        let Some(headers) = Headers::parse(frame) else { return (status::IXSM, 0) };
        let (mut status, mut errors) = (0, 0);
        if enabled & RXCSUM_IP != 0 && headers.version == Version::V4 {
            status |= status::IPCS;
            if !headers.ip_checksum_is_right(frame) {
                errors |= ERROR_IP;
            }
        }
        let known = checksum == ReceivedChecksum::Validated && headers.transport.is_some();
        if enabled & RXCSUM_TRANSPORT != 0 && known {
            status |= status::TCPCS;
        }
        (if status == 0 { status::IXSM } else { status }, errors)
    }

    /// Fills buffers and descriptors. `false`: the ring is no memory, or had too many descriptors without a buffer.
    fn fill(&mut self, host: &mut dyn Host, frame: Incoming, last_status: u8, last_errors: u8) -> bool {
        let special = frame.stripped.unwrap_or(0).to_le_bytes();
        let vlan = if frame.stripped.is_some() { status::VP } else { 0 };
        let mut done = 0;
        // Each turn takes a descriptor.
        for _ in 0..self.receiver.ring.available() {
            let at = self.receiver.ring.at_head();
            let mut buffer = [0; 8];
            if host.read(at, &mut buffer).is_err() {
                return false;
            }
            let buffer = u64::from_le_bytes(buffer);
            let (mut len, mut status, mut errors) = (0, vlan, 0);
            // A descriptor without a buffer is passed over.
            if buffer != 0 {
                len = frame.total.saturating_sub(done).min(self.receiver.buffer_size());
                if frame.copy(host, self.nic, done, GuestAddr(buffer), len).is_err() {
                    errors = ERROR_DATA;
                }
                done = done.saturating_add(len);
            }
            if done >= frame.total {
                status |= status::EOP | last_status;
                errors |= last_errors;
            }
            let [l0, l1] = u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes();
            // The driver looks at DD, so it is written when everything else is.
            let rest = [l0, l1, 0, 0, status, errors, special[0], special[1]];
            let written = host.write(GuestAddr(at.0.wrapping_add(8)), &rest);
            if written.and_then(|()| host.write(GuestAddr(at.0.wrapping_add(12)), &[status | status::DD])).is_err() {
                return false;
            }
            self.receiver.ring.advance();
            if done >= frame.total {
                return true;
            }
        }
        false
    }
}

impl Incoming {
    /// Copies `len` bytes of what goes into buffers, from `from` on.
    fn copy(self, host: &mut dyn Host, nic: NicId, from: usize, addr: GuestAddr, len: usize) -> Result<(), Unmapped> {
        let removed = if self.stripped.is_some() { TAG } else { 0 };
        let (mut at, end) = (from, from.saturating_add(len));
        while at < end {
            let to = GuestAddr(addr.0.wrapping_add(u64::try_from(at.saturating_sub(from)).unwrap_or(0)));
            // Before the tag that is taken out, behind it, and behind the end.
            let (offset, limit) = if at < TAG_AT && removed != 0 {
                (at, TAG_AT)
            } else {
                (at.saturating_add(removed), self.len.saturating_sub(removed))
            };
            let piece = if at < limit {
                let piece = end.min(limit).saturating_sub(at);
                self.copy_piece(host, nic, offset, to, piece)?;
                piece
            } else {
                let zeros = [0; SHORTEST];
                let piece = end.saturating_sub(at).min(SHORTEST);
                host.write(to, zeros.get(..piece).unwrap_or_default())?;
                piece
            };
            at = at.saturating_add(piece);
        }
        Ok(())
    }

    fn copy_piece(
        self,
        host: &mut dyn Host,
        nic: NicId,
        offset: usize,
        addr: GuestAddr,
        len: usize,
    ) -> Result<(), Unmapped> {
        if self.source == Source::Wire {
            return host.nic_received_to_guest(nic, offset, addr, len);
        }
        let mut piece = [0; 256];
        let mut at = 0;
        while at < len {
            let Some(piece) = piece.get_mut(..len.saturating_sub(at).min(256)) else { break };
            host.nic_read(nic, offset.saturating_add(at), piece);
            host.write(GuestAddr(addr.0.wrapping_add(u64::try_from(at).unwrap_or(0))), piece)?;
            at = at.saturating_add(piece.len());
        }
        Ok(())
    }
}
