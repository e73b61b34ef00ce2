//! Frames on their way in.

use super::registers::{self as register, Command, Interrupt};
use super::{Rtl8139, read_descriptor};
use crate::host::{GuestAddr, Host, NicId, Received, ReceivedChecksum, Unmapped};
use crate::net::TAG_AT;
use crate::net::checksum::{Sum, finish_received};
use crate::net::frame::{Frame, Receiving};
use crate::net::headers::{Headers, Transport, Version};
use crate::net::multicast::{hash64, is_broadcast, is_group};

/// Frames that are taken in for one event.
const BUDGET: u16 = 256;
/// Bytes that the ring of bytes puts before a frame.
const HEADER_LEN: usize = 4;
/// Bytes of the frame check sequence, which drivers count in.
const FCS_LEN: usize = 4;
/// The shortest frame on a wire, without its check sequence.
const FRAME_MIN: usize = 60;
/// The longest one that is taken: what fits the length of a descriptor.
const FRAME_MAX: usize = 0x1ff0;

/// Header of a frame in the ring of bytes.
const STATUS_OK: u16 = 1 << 0;
const STATUS_BROADCAST: u16 = 1 << 13;
const STATUS_MATCHING: u16 = 1 << 14;
const STATUS_MULTICAST: u16 = 1 << 15;

/// Receive descriptor: 1 TCP, 2 UDP, 3 IP of something else.
const PROTOCOL_SHIFT: u32 = 16;
const BAD_IP: u32 = 1 << 15;
const BAD_UDP: u32 = 1 << 14;
const BAD_TCP: u32 = 1 << 13;
/// Receive descriptor, second word: a VLAN tag was taken out.
const TAG_AVAILABLE: u32 = 1 << 16;

/// Why a frame is for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    Broadcast,
    Multicast,
    Address,
    Any,
}

/// What became of the frame at the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Yes,
    NoRoom,
}

impl Rtl8139 {
    /// Bytes of the ring of bytes: 8, 16, 32 or (nearly) 64 KiB.
    pub(super) fn ring_len(&self) -> u16 {
        match self.receive_config >> 11 & 3 {
            0 => 0x2000,
            1 => 0x4000,
            2 => 0x8000,
            _ => 0xfff0,
        }
    }

    /// A place in the ring, whatever a driver says.
    pub(super) fn in_ring(&self, at: u16) -> u16 {
        at.checked_rem(self.ring_len()).unwrap_or(0)
    }

    pub(super) fn is_ring_empty(&self) -> bool {
        self.ring_read == self.ring_write
    }

    /// Takes in what the network has, as far as there is room for it.
    pub(super) fn receive(&mut self, host: &mut dyn Host) {
        let can = self.command.contains(Command::RECEIVE) && self.config.masters_bus();
        let is_looped = self.transmit_config & register::TCR_LOOPBACK == register::TCR_LOOPBACK;
        for _ in 0..BUDGET {
            let Some(received) = host.nic_received(self.nic) else { return };
            let meant = self.meant(host, received.len);
            if !can && meant.is_some() && self.command.contains(Command::RECEIVE) {
                return;
            }
            // A card that is off, or not asked, hears nothing.
            if let Some(meant) = meant.filter(|_| can && !is_looped)
                && self.take(host, received, meant) == Taken::NoRoom
            {
                // Once for the frame that waits.
                if !core::mem::replace(&mut self.has_overflowed, true) {
                    self.interrupts.insert(Interrupt::RECEIVE_OVERFLOW);
                }
                return;
            }
            self.has_overflowed = false;
            host.nic_received_done(self.nic);
        }
    }

    /// Whether the filter lets a frame through.
    fn meant(&self, host: &dyn Host, len: usize) -> Option<Match> {
        let mut address = [0; 6];
        host.nic_received_read(self.nic, 0, &mut address);
        self.matches(address, len)
    }

    fn matches(&self, address: [u8; 6], len: usize) -> Option<Match> {
        let config = self.receive_config;
        if !(14..=FRAME_MAX).contains(&len) {
            return None;
        }
        let bit = 1_u64.checked_shl(hash64(address).into()).unwrap_or(0);
        let why = if is_broadcast(address) && config & register::RCR_BROADCAST != 0 {
            Match::Broadcast
        } else if is_group(address) && config & register::RCR_MULTICAST != 0 && self.multicast & bit != 0 {
            Match::Multicast
        } else if address == self.address && config & register::RCR_MATCHING != 0 {
            Match::Address
        } else if config & register::RCR_ALL != 0 {
            Match::Any
        } else {
            return None;
        };
        Some(why)
    }

    fn take(&mut self, host: &mut dyn Host, received: Received, why: Match) -> Taken {
        let len = received.len;
        let checksum = finish_received(host, self.nic, received);
        let taken = if self.is_cplus_receiving() {
            let wants = self.cplus & register::CPCR_RECEIVE_CHECKSUM != 0;
            let frame = Receiving { host: &*host, nic: self.nic, len };
            let checked = if wants { verdict(&frame, checksum) } else { 0 };
            self.take_into_descriptor(host, len, why, checked)
        } else {
            self.take_into_ring(host, len, why)
        };
        if taken == Taken::Yes {
            self.count(why);
        }
        taken
    }

    fn count(&mut self, why: Match) {
        self.interrupts.insert(Interrupt::RECEIVE_OK);
        self.tally.received = self.tally.received.wrapping_add(1);
        match why {
            Match::Broadcast => self.tally.broadcast = self.tally.broadcast.wrapping_add(1),
            Match::Multicast => self.tally.multicast = self.tally.multicast.wrapping_add(1),
            Match::Address | Match::Any => {}
        }
    }

    /// The ring of bytes: a header, the frame, its check sequence, and up to the next multiple of four.
    fn take_into_ring(&mut self, host: &mut dyn Host, len: usize, why: Match) -> Taken {
        let padded = len.max(FRAME_MIN);
        let total = padded.saturating_add(HEADER_LEN).saturating_add(FCS_LEN).next_multiple_of(4);
        let ring = usize::from(self.ring_len());
        let (write, read) = (usize::from(self.ring_write), usize::from(self.ring_read));
        let free = free(ring, write, read);
        // The ring must not be full, which would look as if it were empty.
        if free <= total {
            return Taken::NoRoom;
        }
        let kind = match why {
            Match::Broadcast => STATUS_BROADCAST,
            Match::Multicast => STATUS_MULTICAST,
            Match::Address => STATUS_MATCHING,
            Match::Any => 0,
        };
        let counted = u16::try_from(padded.saturating_add(FCS_LEN)).unwrap_or(0);
        let [a, b] = (STATUS_OK | kind).to_le_bytes();
        let [c, d] = counted.to_le_bytes();
        let mut at = write;
        let pad = [0; FRAME_MIN + FCS_LEN];
        let wraps = self.receive_config & register::RCR_NO_WRAP == 0 || self.ring_len() == 0xfff0;
        let start = u64::from(self.ring_start);
        let result = put(host, start, ring, wraps, &mut at, &Source::Bytes(&[a, b, c, d]))
            .and_then(|()| put(host, start, ring, wraps, &mut at, &Source::Frame(self.nic, len)))
            .and_then(|()| {
                let more = padded.saturating_sub(len).saturating_add(FCS_LEN);
                put(host, start, ring, wraps, &mut at, &Source::Bytes(pad.get(..more).unwrap_or_default()))
            });
        if result.is_err() {
            // There is no memory: the frame is lost.
            self.interrupts.insert(Interrupt::SYSTEM_ERROR);
            return Taken::Yes;
        }
        self.ring_write = behind(ring, write, total);
        Taken::Yes
    }

    /// The ring of C+ mode: one descriptor after the other, as many as the frame needs.
    fn take_into_descriptor(&mut self, host: &mut dyn Host, len: usize, why: Match, checked: u32) -> Taken {
        let tag = self.tag(host, len);
        let stripped = if tag.is_some() { 4 } else { 0 };
        let data = len.saturating_sub(stripped);
        let padded = data.max(FRAME_MIN);
        let total = padded.saturating_add(FCS_LEN);
        let mut filled = heapless::Vec::<(u64, u32), 16>::new();
        let (mut at, mut done) = (self.receive_next, 0_usize);
        while done < total {
            let addr = self.receive_ring.wrapping_add(u64::from(at) << 4);
            let Some([status, _, low, high]) = read_descriptor(host, addr) else { return Taken::NoRoom };
            let is_used = filled.iter().any(|(used, _)| *used == addr);
            if status & register::OWN == 0 || is_used || filled.push((addr, status)).is_err() {
                return Taken::NoRoom;
            }
            let room = usize::try_from(status & 0x1fff).unwrap_or(0).min(total.saturating_sub(done));
            let buffer = u64::from(high) << 32 | u64::from(low);
            if self.copy(host, buffer, done, room, data, tag.is_some()).is_err() {
                self.interrupts.insert(Interrupt::SYSTEM_ERROR);
            }
            done = done.saturating_add(room);
            at = if status & register::END_OF_RING != 0 { 0 } else { at.wrapping_add(1) % register::DESCRIPTORS };
        }
        let kind = match why {
            Match::Broadcast => 1 << 24,
            Match::Address => 1 << 25,
            Match::Multicast => 1 << 26,
            Match::Any => 0,
        };
        let counted = u32::try_from(total).unwrap_or(0);
        let last = filled.len().saturating_sub(1);
        // The last one first: a driver that sees the first one finds all of them.
        for (number, (addr, status)) in filled.iter().enumerate().rev() {
            let first = if number == 0 { register::FIRST } else { 0 };
            let end = if number == last { register::LAST } else { 0 };
            let word = status & register::END_OF_RING | first | end | kind | checked | counted;
            let second = tag.map_or(0, |tag| TAG_AVAILABLE | u32::from(tag.swap_bytes()));
            let _ = host.write(GuestAddr(addr.wrapping_add(4)), &second.to_le_bytes());
            let _ = host.write(GuestAddr(*addr), &word.to_le_bytes());
        }
        self.receive_next = at;
        Taken::Yes
    }

    /// Copies `len` bytes of what the driver sees of the frame from `offset` on: without its tag, and padded.
    fn copy(
        &self,
        host: &mut dyn Host,
        buffer: u64,
        offset: usize,
        len: usize,
        data: usize,
        is_stripped: bool,
    ) -> Result<(), Unmapped> {
        let end = offset.saturating_add(len);
        // Addresses, what is behind the tag, and zeros.
        let pieces = [(0, TAG_AT.min(data), 0), (TAG_AT, data, if is_stripped { 4_usize } else { 0 })];
        for (from, to, shift) in pieces {
            let (from, to) = (from.max(offset), to.min(end));
            if from < to {
                let at = buffer.wrapping_add(u64::try_from(from.saturating_sub(offset)).unwrap_or(0));
                let count = to.saturating_sub(from);
                host.nic_received_to_guest(self.nic, from.saturating_add(shift), GuestAddr(at), count)?;
            }
        }
        let from = data.max(offset);
        if from < end {
            let zeros = [0; FRAME_MIN];
            let count = end.saturating_sub(from).min(zeros.len());
            let at = buffer.wrapping_add(u64::try_from(from.saturating_sub(offset)).unwrap_or(0));
            host.write(GuestAddr(at), zeros.get(..count).unwrap_or(&[]))?;
        }
        Ok(())
    }

    /// The VLAN tag that is taken out of the frame, if that is wanted and there is one.
    fn tag(&self, host: &dyn Host, len: usize) -> Option<u16> {
        let mut bytes = [0; 4];
        host.nic_received_read(self.nic, TAG_AT, &mut bytes);
        let [a, b, c, d] = bytes;
        let wanted = self.cplus & register::CPCR_RECEIVE_VLAN != 0 && len >= 18;
        (wanted && [a, b] == [0x81, 0]).then(|| u16::from_be_bytes([c, d]))
    }

    /// Loopback: the frame that was put together comes in. It goes by way of the descriptor or ring like any other, but
    /// from where it is.
    pub(super) fn receive_own(&mut self, host: &mut dyn Host) {
        let mut bytes = [0; 2048];
        let len = host.nic_len(self.nic).min(bytes.len());
        let Some(frame) = bytes.get_mut(..len) else { return };
        host.nic_read(self.nic, 0, frame);
        let mut address = [0; 6];
        host.nic_read(self.nic, 0, &mut address);
        if !self.command.contains(Command::RECEIVE) || self.is_cplus_receiving() {
            return;
        }
        let Some(why) = self.matches(address, len) else { return };
        let (ring, start) = (usize::from(self.ring_len()), u64::from(self.ring_start));
        let total = len.saturating_add(HEADER_LEN).saturating_add(FCS_LEN).next_multiple_of(4);
        let (write, read) = (usize::from(self.ring_write), usize::from(self.ring_read));
        let free = free(ring, write, read);
        if free <= total {
            self.interrupts.insert(Interrupt::RECEIVE_OVERFLOW);
            return;
        }
        let [c, d] = u16::try_from(len.saturating_add(FCS_LEN)).unwrap_or(0).to_le_bytes();
        let [a, b] = STATUS_OK.to_le_bytes();
        let mut at = write;
        for bytes in [&[a, b, c, d][..], frame, &[0; FCS_LEN]] {
            if put(host, start, ring, true, &mut at, &Source::Bytes(bytes)).is_err() {
                self.interrupts.insert(Interrupt::SYSTEM_ERROR);
                return;
            }
        }
        self.ring_write = behind(ring, write, total);
        self.count(why);
    }
}

/// How many bytes of a ring are free. All of it, where both places are the same.
fn free(ring: usize, write: usize, read: usize) -> usize {
    if write >= read { ring.saturating_sub(write).saturating_add(read) } else { read.saturating_sub(write) }
}

/// The place so many bytes behind another in a ring that is longer than they are.
fn behind(ring: usize, at: usize, count: usize) -> u16 {
    let next = at.saturating_add(count);
    u16::try_from(if next >= ring { next.saturating_sub(ring) } else { next }).unwrap_or(0)
}

/// What is put into the ring of bytes.
enum Source<'a> {
    Bytes(&'a [u8]),
    /// The frame that was received, of so many bytes.
    Frame(NicId, usize),
}

impl Source<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Frame(_, len) => *len,
        }
    }
}

/// Puts bytes into the ring from `at` on, and moves `at` behind them.
fn put(
    host: &mut dyn Host,
    start: u64,
    ring: usize,
    wraps: bool,
    at: &mut usize,
    source: &Source<'_>,
) -> Result<(), Unmapped> {
    let mut done = 0_usize;
    while done < source.len() {
        let left = source.len().saturating_sub(done);
        let piece = if wraps { left.min(ring.saturating_sub(*at)) } else { left };
        let addr = GuestAddr(start.wrapping_add(u64::try_from(*at).unwrap_or(0)));
        match source {
            Source::Bytes(bytes) => {
                host.write(addr, bytes.get(done..done.saturating_add(piece)).unwrap_or(&[]))?;
            }
            Source::Frame(nic, _) => host.nic_received_to_guest(*nic, done, addr, piece)?,
        }
        done = done.saturating_add(piece);
        *at = at.saturating_add(piece);
        if wraps && *at >= ring {
            *at = 0;
        }
    }
    Ok(())
}

/// What a receive descriptor says of the checksums of a frame.
fn verdict(frame: &Receiving<'_, dyn Host + '_>, known: ReceivedChecksum) -> u32 {
    let Some(headers) = Headers::parse(frame).filter(|headers| headers.version == Version::V4) else { return 0 };
    let bad_ip = if headers.ip_checksum_is_right(frame) { 0 } else { BAD_IP };
    let (protocol, bad) = match headers.transport {
        Some(Transport::Tcp) => (1, BAD_TCP),
        Some(Transport::Udp) => (2, BAD_UDP),
        None => return 3 << PROTOCOL_SHIFT | bad_ip,
    };
    let is_good = known == ReceivedChecksum::Validated || payload_is_right(frame, &headers);
    protocol << PROTOCOL_SHIFT | bad_ip | if is_good { 0 } else { bad }
}

/// Whether the checksum of TCP or UDP is right; UDP may have none.
fn payload_is_right(frame: &Receiving<'_, dyn Host + '_>, headers: &Headers) -> bool {
    let field = headers.checksum_at().map_or(0, |at| frame.word(at));
    let mut sum: Sum = headers.pseudo_header(frame, headers.end.saturating_sub(headers.payload));
    sum.add_frame(frame, headers.payload, headers.end);
    headers.transport == Some(Transport::Udp) && field == 0 || sum.value() == u16::MAX
}
