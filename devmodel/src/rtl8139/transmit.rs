//! Frames on their way out.

use super::outgoing::Finish;
use super::registers::{self as register, Command, Interrupt};
use super::{Rtl8139, read_descriptor};
use crate::host::{GuestAddr, Host};

/// Transmit descriptor: it is to be cut into segments.
const LARGE_SEND: u32 = 1 << 27;
/// Transmit descriptor: checksum of the IP header.
const IP_CHECKSUM: u32 = 1 << 18;
const UDP_CHECKSUM: u32 = 1 << 17;
const TCP_CHECKSUM: u32 = 1 << 16;
/// Transmit descriptor, second word: a VLAN tag is to be inserted.
const INSERT_TAG: u32 = 1 << 17;
/// Transmit descriptor, when it is given back: what went wrong. The size of the segments was there before.
const ERRORS: u32 = 0x0fff_0000;
/// Descriptors that are looked at in one go, over both rings.
const BUDGET: u16 = 2 * register::DESCRIPTORS;

impl Rtl8139 {
    /// TSD is written: the buffer is the card's.
    pub(super) fn write_transmit_status(&mut self, host: &mut dyn Host, at: u8, value: u32) {
        if self.is_cplus_transmitting() {
            // The address for a dump of the counters is in these registers then.
            return self.write_dump(host, at, value);
        }
        let index = usize::from(at >> 2 & 3);
        if let Some(status) = self.transmit_status.get_mut(index) {
            *status = value & (register::TSD_SIZE | register::TSD_OWN | 0x003f_0000);
        }
        self.transmit_buffers(host);
    }

    /// DTCCR: the counters go to memory, 64 bytes of them.
    fn write_dump(&mut self, host: &mut dyn Host, at: u8, value: u32) {
        const DUMP: u32 = 1 << 3;
        let [low, high, ..] = &mut self.transmit_status;
        match at {
            0x10 => *low = value & !DUMP,
            0x14 => *high = value,
            _ => return,
        }
        if at != 0x10 || value & DUMP == 0 {
            return;
        }
        let addr = u64::from(*high) << 32 | u64::from(*low & !0x3f);
        let mut counters = heapless::Vec::<u8, 64>::new();
        let tally = self.tally;
        let _ = counters.extend_from_slice(&tally.sent.to_le_bytes());
        let _ = counters.extend_from_slice(&tally.received.to_le_bytes());
        // Errors of both directions, missed, misaligned, one and more collisions.
        let _ = counters.extend_from_slice(&[0; 24]);
        let _ = counters.extend_from_slice(&tally.received.to_le_bytes());
        let _ = counters.extend_from_slice(&tally.broadcast.to_le_bytes());
        let _ = counters.extend_from_slice(&tally.multicast.to_le_bytes());
        let _ = counters.extend_from_slice(&[0; 4]);
        if self.config.masters_bus() {
            // Without memory there, nobody sees it.
            let _ = host.write(GuestAddr(addr), &counters);
        }
    }

    /// Sends the buffers that are the card's, in the order of their numbers from the one that is next.
    pub(super) fn transmit_buffers(&mut self, host: &mut dyn Host) {
        let can = self.command.contains(Command::TRANSMIT) && self.config.masters_bus();
        if !can || self.is_cplus_transmitting() {
            return;
        }
        for _ in 0..4 {
            let index = usize::from(self.transmit_buffer & 3);
            let status = self.transmit_status.get(index).copied().unwrap_or(register::TSD_OWN);
            if status & register::TSD_OWN != 0 {
                return;
            }
            if !self.outgoing.begin(host, Finish::default()) {
                self.waits_for_room = true;
                return;
            }
            let len = usize::try_from(status & register::TSD_SIZE).unwrap_or(0);
            let addr = self.transmit_address.get(index).copied().unwrap_or(0);
            let (end, event) = match self.outgoing.append(host, GuestAddr(addr.into()), len) {
                Ok(()) => (register::TSD_OK, Interrupt::TRANSMIT_OK),
                Err(_) => (register::TSD_ABORT, Interrupt::TRANSMIT_ERROR),
            };
            if event == Interrupt::TRANSMIT_OK {
                self.finish_frame(host);
            }
            if let Some(status) = self.transmit_status.get_mut(index) {
                *status |= register::TSD_OWN | end;
            }
            self.interrupts.insert(event);
            self.transmit_buffer = self.transmit_buffer.wrapping_add(1) & 3;
        }
    }

    /// TPPoll is written: sends what is in the rings of C+ mode, the one of high priority first.
    pub(super) fn transmit_rings(&mut self, host: &mut dyn Host, polled: u8) {
        let can = self.command.contains(Command::TRANSMIT) && self.config.masters_bus();
        if !can || !self.is_cplus_transmitting() {
            return;
        }
        for (ring, bit) in [(1, register::TPPOLL_HIGH), (0, register::TPPOLL_NORMAL)] {
            if polled & bit != 0 {
                self.transmit_ring(host, ring);
            }
        }
    }

    /// Sends frame after frame until a descriptor is the driver's.
    fn transmit_ring(&mut self, host: &mut dyn Host, ring: usize) {
        let mut budget = BUDGET;
        let mut sent = false;
        while budget > 0 {
            match self.transmit_frame(host, ring, &mut budget) {
                Some(true) => sent = true,
                Some(false) => {}
                None => break,
            }
        }
        if sent {
            self.interrupts.insert(Interrupt::TRANSMIT_OK | Interrupt::DESCRIPTOR_UNAVAILABLE);
        }
    }

    /// Sends the next frame of a ring. `None`: there is none, or no room for it; otherwise whether it was one.
    ///
    /// Nothing is given back before all of the frame is there, so that one can be begun again.
    fn transmit_frame(&mut self, host: &mut dyn Host, ring: usize, budget: &mut u16) -> Option<bool> {
        let base = *self.transmit_rings.get(ring)?;
        let start = *self.transmit_next.get(ring)?;
        let mut at = start;
        let mut is_good = true;
        for number in 0..register::DESCRIPTORS {
            let [status, tag, low, high] = read_descriptor(host, descriptor(base, at))?;
            if status & register::OWN == 0 {
                return None;
            }
            *budget = budget.saturating_sub(1);
            if number == 0 {
                if status & register::FIRST == 0 {
                    // A rest of something: it is skipped.
                    self.give_back(host, ring, start, 1);
                    return Some(false);
                }
                if !self.outgoing.begin(host, finish(status, tag)) {
                    self.waits_for_room = true;
                    return None;
                }
            }
            let len = usize::try_from(status & 0xffff).unwrap_or(0);
            let addr = u64::from(high) << 32 | u64::from(low);
            is_good &= self.outgoing.append(host, GuestAddr(addr), len).is_ok();
            at = if status & register::END_OF_RING != 0 { 0 } else { at.wrapping_add(1) % register::DESCRIPTORS };
            if status & register::LAST != 0 {
                if is_good {
                    self.finish_frame(host);
                } else {
                    self.interrupts.insert(Interrupt::TRANSMIT_ERROR);
                }
                self.give_back(host, ring, start, number.saturating_add(1));
                return Some(true);
            }
        }
        // A frame without an end: all of it is skipped.
        self.give_back(host, ring, start, register::DESCRIPTORS);
        None
    }

    /// The driver owns `count` descriptors again, from `start` on.
    fn give_back(&mut self, host: &mut dyn Host, ring: usize, start: u16, count: u16) {
        let Some(base) = self.transmit_rings.get(ring).copied() else { return };
        let mut at = start;
        for _ in 0..count {
            let addr = descriptor(base, at);
            let Some([status, ..]) = read_descriptor(host, addr) else { break };
            if host.write(GuestAddr(addr), &(status & !(register::OWN | ERRORS)).to_le_bytes()).is_err() {
                break;
            }
            at = if status & register::END_OF_RING != 0 { 0 } else { at.wrapping_add(1) % register::DESCRIPTORS };
        }
        if let Some(next) = self.transmit_next.get_mut(ring) {
            *next = at;
        }
    }

    /// Sends the frame that was put together, or gives it to the receiver.
    fn finish_frame(&mut self, host: &mut dyn Host) {
        self.tally.sent = self.tally.sent.wrapping_add(1);
        if self.transmit_config & register::TCR_LOOPBACK == register::TCR_LOOPBACK {
            self.receive_own(host);
        } else {
            self.outgoing.send(host);
        }
    }
}

fn descriptor(base: u64, index: u16) -> u64 {
    base.wrapping_add(u64::from(index) << 4)
}

/// What the first descriptor of a frame asks for.
fn finish(status: u32, tag: u32) -> Finish {
    let mss = u16::try_from(status >> 16 & 0x7ff).unwrap_or(0);
    let is_large = status & LARGE_SEND != 0 && mss > 0;
    // The bits of the checksums are among those of the segment's size.
    let checksums = if is_large { IP_CHECKSUM | TCP_CHECKSUM } else { status };
    Finish {
        ip_checksum: checksums & IP_CHECKSUM != 0,
        checksum: checksums & (TCP_CHECKSUM | UDP_CHECKSUM) != 0,
        segment: is_large.then_some(mss),
        // The tag is in the order of the network.
        tag: (tag & INSERT_TAG != 0).then(|| u16::try_from(tag & 0xffff).unwrap_or(0).swap_bytes()),
    }
}
