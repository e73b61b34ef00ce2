//! One frame: from its entry in the frame list through queue heads and transfer descriptors.
//!
//! Source: UHCI Design Guide 1.1, chapter 3 (data structures) and 3.4 (host controller schedule).

use super::device::{Answer, Attachment, Device, Token};
use crate::host::{GuestAddr, Host};

/// Entries that are looked at in one frame.
const ENTRIES_MAX: u32 = 256;
/// Bytes that are moved in one frame: what fits a millisecond of full speed.
const BYTES_MAX: usize = 1280;

/// Link: there is nothing behind it.
const TERMINATE: u32 = 1 << 0;
/// Link: it is of a queue head.
const QUEUE: u32 = 1 << 1;
/// Link: the next descriptor of the queue comes at once, not the next queue.
const DEPTH_FIRST: u32 = 1 << 2;

/// Control and status of a descriptor.
const ACTUAL: u32 = 0x7ff;
const TIMEOUT: u32 = 1 << 18;
const NAK: u32 = 1 << 19;
const BABBLE: u32 = 1 << 20;
const STALLED: u32 = 1 << 22;
const ACTIVE: u32 = 1 << 23;
const INTERRUPT_ON_COMPLETE: u32 = 1 << 24;
const ERROR_COUNT: u32 = 3 << 27;
const SHORT_PACKET_DETECT: u32 = 1 << 29;

const PID_IN: u8 = 0x69;
const PID_OUT: u8 = 0xe1;
const PID_SETUP: u8 = 0x2d;

/// Largest packet, in bytes. Longer ones cannot be asked for on a bus of full speed.
const PACKET_MAX: usize = 1280;

/// What a frame came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// A descriptor that asks for an interrupt is done.
    pub(super) completed: bool,
    /// A packet was shorter than expected.
    pub(super) short: bool,
    /// A transaction failed.
    pub(super) error: bool,
    /// The list, a queue or a descriptor is in no memory.
    pub(super) system_error: bool,
    /// The schedule makes no sense.
    pub(super) process_error: bool,
    /// Some descriptor was done.
    pub(super) progress: bool,
}

/// How the walk goes on after a descriptor.
enum Next {
    /// It is done: its queue moves on.
    Done,
    /// Its queue waits: the next queue.
    Waits,
}

/// Walks a frame, whose entry of the frame list is at `entry`. `devices` are those whose ports are on.
pub(super) fn walk<X: Attachment>(host: &mut dyn Host, entry: u64, devices: &mut [Option<&mut Device<X>>]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut bytes = 0;
    let mut queue: Option<(u32, u32)> = None;
    let Some([mut link]) = read::<1>(host, entry) else {
        outcome.system_error = true;
        return outcome;
    };
    for _ in 0..ENTRIES_MAX {
        if link & TERMINATE != 0 || bytes >= BYTES_MAX {
            break;
        }
        let at = link & !0xf;
        if link & QUEUE != 0 {
            let Some([horizontal, element]) = read(host, at.into()) else {
                outcome.system_error = true;
                break;
            };
            // An element that is a queue itself is walked like one.
            queue = (element & TERMINATE == 0).then_some((at, horizontal));
            link = if element & TERMINATE == 0 { element } else { horizontal };
            continue;
        }
        let Some([next, status, token, buffer]) = read(host, at.into()) else {
            outcome.system_error = true;
            break;
        };
        let mut then = Next::Waits;
        if status & ACTIVE != 0 {
            let transfer = Transfer { at, status, token, buffer };
            then = transfer.perform(host, devices, &mut outcome, &mut bytes);
            if outcome.process_error {
                break;
            }
        }
        (link, queue) = match (then, queue) {
            (Next::Done, Some((head, horizontal))) => {
                if host.write(GuestAddr(u64::from(head).wrapping_add(4)), &next.to_le_bytes()).is_err() {
                    outcome.system_error = true;
                    break;
                }
                if next & (DEPTH_FIRST | TERMINATE) == DEPTH_FIRST { (next, queue) } else { (horizontal, None) }
            }
            (Next::Waits, Some((_, horizontal))) => (horizontal, None),
            (_, None) => (next, None),
        };
    }
    outcome
}

/// A transfer descriptor.
struct Transfer {
    at: u32,
    status: u32,
    token: u32,
    buffer: u32,
}

impl Transfer {
    fn perform<X: Attachment>(
        self,
        host: &mut dyn Host,
        devices: &mut [Option<&mut Device<X>>],
        outcome: &mut Outcome,
        bytes: &mut usize,
    ) -> Next {
        let [pid, ..] = self.token.to_le_bytes();
        // One less, and all ones are none.
        let room = usize::try_from((self.token >> 21).wrapping_add(1) & ACTUAL).unwrap_or(0);
        if !matches!(pid, PID_IN | PID_OUT | PID_SETUP) || room > PACKET_MAX {
            outcome.process_error = true;
            return Next::Waits;
        }
        let address = u8::try_from(self.token >> 8 & 0x7f).unwrap_or(0);
        let endpoint = u8::try_from(self.token >> 15 & 0xf).unwrap_or(0);
        let status = self.status & !(ACTIVE | STALLED | BABBLE | TIMEOUT | NAK | ACTUAL);
        let done = |len: usize| u32::try_from(len).unwrap_or(0).wrapping_sub(1) & ACTUAL;
        let mut data = [0; PACKET_MAX];
        let Some(data) = data.get_mut(..room) else { return Next::Waits };
        let guest = GuestAddr(self.buffer.into());
        if pid != PID_IN && !data.is_empty() && host.read(guest, data).is_err() {
            outcome.system_error = true;
            return Next::Waits;
        }
        *bytes = bytes.saturating_add(room);
        let device = devices.iter_mut().flatten().find_map(|device| device.find(address));
        let answer = device.map(|device| match (pid, &*data) {
            (PID_SETUP, &[a, b, c, d, e, f, g, h]) => {
                device.transact(host, endpoint, Token::Setup([a, b, c, d, e, f, g, h]), 0)
            }
            (PID_SETUP, _) => Answer::Stall,
            (PID_OUT, data) => device.transact(host, endpoint, Token::Out(data), 0),
            _ => device.transact(host, endpoint, Token::In, room),
        });
        let (status, next, is_done) = match answer {
            None => {
                outcome.error = true;
                (status & !ERROR_COUNT | TIMEOUT | STALLED | done(0), Next::Waits, true)
            }
            Some(Answer::Nak) => (self.status | NAK, Next::Waits, false),
            Some(Answer::Stall) => {
                outcome.error = true;
                (status | STALLED | done(0), Next::Waits, true)
            }
            Some(Answer::Ack(answer)) if answer.len() > room => {
                outcome.error = true;
                (status | BABBLE | STALLED | done(0), Next::Waits, true)
            }
            Some(Answer::Ack(answer)) if pid == PID_IN => {
                if !answer.is_empty() && host.write(guest, &answer).is_err() {
                    outcome.system_error = true;
                    return Next::Waits;
                }
                let is_short = answer.len() < room && status & SHORT_PACKET_DETECT != 0;
                outcome.short |= is_short;
                // The queue of a short packet waits for the driver.
                (status | done(answer.len()), if is_short { Next::Waits } else { Next::Done }, true)
            }
            Some(Answer::Ack(_)) => (status | done(room), Next::Done, true),
        };
        if host.write(GuestAddr(u64::from(self.at).wrapping_add(4)), &status.to_le_bytes()).is_err() {
            outcome.system_error = true;
            return Next::Waits;
        }
        outcome.progress |= is_done;
        outcome.completed |= is_done && status & INTERRUPT_ON_COMPLETE != 0;
        next
    }
}

/// Reads double words.
fn read<const N: usize>(host: &mut dyn Host, at: u64) -> Option<[u32; N]> {
    let mut words = [0; N];
    let mut bytes = [0; 16];
    let bytes = bytes.get_mut(..N.saturating_mul(4))?;
    host.read(GuestAddr(at), bytes).ok()?;
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    Some(words)
}
