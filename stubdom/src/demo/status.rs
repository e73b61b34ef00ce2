//! What all parts of the demo share.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;

use devmodel::host::InputEvent;
use log::info;
use minios::boot;
use minios::clock::{self, Instant};
use minios::heap;
use minios::net::Traffic;
use serde::Serialize;
use stubdom::keys;

/// Events that are remembered.
const EVENTS: usize = 100;
/// Samples that are remembered: a minute.
pub(crate) const SAMPLES: usize = 60;
/// Characters of the line that is typed.
const TYPED: usize = 40;

/// Tasks run one at a time, and none holds a borrow while it waits.
pub(crate) type Shared = Rc<RefCell<Status>>;

/// The status of the domain.
pub(crate) struct Status {
    pub(crate) name: String,
    pub(crate) disk: DiskFigures,
    pub(crate) network: NetworkFigures,
    /// With the time of each, the latest first.
    pub(crate) events: VecDeque<(Instant, String)>,
    pub(crate) input: Input,
    /// Per second, the latest last.
    pub(crate) samples: VecDeque<Sample>,
    /// How many there have been.
    pub(crate) sampled: u64,
    last: Totals,
    is_to_be_drawn: bool,
}

/// The disk.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct DiskFigures {
    /// Size in bytes.
    pub(crate) bytes: u64,
    /// Bytes that were read and written.
    pub(crate) read: u64,
    pub(crate) written: u64,
    /// What the last check has come to.
    pub(crate) check: String,
}

/// The network.
#[derive(Clone, Debug, Default)]
pub(crate) struct NetworkFigures {
    pub(crate) addresses: String,
    pub(crate) traffic: Traffic,
}

/// What a person does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Input {
    pub(crate) typed: String,
    has_shift: bool,
    /// 0 to 32767 on each axis.
    pub(crate) pointer: (u16, u16),
    /// Bit 0 left, bit 1 right, bit 2 middle.
    pub(crate) buttons: u8,
}

/// Bytes in a second.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Sample {
    pub(crate) disk_read: u64,
    pub(crate) disk_written: u64,
    pub(crate) network_in: u64,
    pub(crate) network_out: u64,
}

#[derive(Clone, Copy, Default)]
struct Totals {
    at: Instant,
    sample: Sample,
}

/// A status without anything in it.
pub(crate) fn new(name: &str) -> Shared {
    Rc::new(RefCell::new(Status {
        name: name.to_string(),
        disk: DiskFigures::default(),
        network: NetworkFigures::default(),
        events: VecDeque::with_capacity(EVENTS),
        input: Input::default(),
        samples: VecDeque::with_capacity(SAMPLES),
        sampled: 0,
        last: Totals { at: clock::now(), ..Totals::default() },
        is_to_be_drawn: true,
    }))
}

impl Status {
    /// Something has happened that a person may want to know.
    pub(crate) fn event(&mut self, text: &str) {
        info!("{text}");
        self.events.truncate(EVENTS - 1);
        self.events.push_front((clock::now(), text.to_string()));
        self.is_to_be_drawn = true;
    }

    /// Somebody does something.
    pub(crate) fn input(&mut self, event: Option<InputEvent>) {
        const SHIFTS: [u16; 2] = [42, 54];
        const BACKSPACE: u16 = 14;
        const ENTER: u16 = 28;
        let input = &mut self.input;
        match event {
            Some(InputEvent::Key { code, down }) if SHIFTS.contains(&code) => input.has_shift = down,
            Some(InputEvent::Key { code: BACKSPACE, down: true }) => {
                input.typed.pop();
            }
            Some(InputEvent::Key { code: ENTER, down: true }) => input.typed.clear(),
            Some(InputEvent::Key { code, down: true }) => {
                let Some(character) = keys::character(code, input.has_shift) else { return };
                if input.typed.len() >= TYPED {
                    input.typed.remove(0);
                }
                input.typed.push(character);
            }
            Some(InputEvent::Button { code, down }) => {
                let Some(bit) = code.checked_sub(0x110).filter(|bit| *bit < 3) else { return };
                let mask = 1 << bit;
                input.buttons = if down { input.buttons | mask } else { input.buttons & !mask };
            }
            Some(InputEvent::Position { x, y, .. }) => input.pointer = (x, y),
            _ => return,
        }
        self.is_to_be_drawn = true;
    }

    /// Notes what was moved since the last sample.
    pub(crate) fn sample(&mut self) {
        let now = Totals {
            at: clock::now(),
            sample: Sample {
                disk_read: self.disk.read,
                disk_written: self.disk.written,
                network_in: self.network.traffic.bytes_in,
                network_out: self.network.traffic.bytes_out,
            },
        };
        let took = now.at.since(self.last.at).max(1);
        let rate = |new: u64, old: u64| {
            let bytes = u128::from(new.saturating_sub(old));
            u64::try_from(bytes * 1_000_000_000 / u128::from(took)).unwrap_or(u64::MAX)
        };
        let (new, old) = (now.sample, self.last.sample);
        let sample = Sample {
            disk_read: rate(new.disk_read, old.disk_read),
            disk_written: rate(new.disk_written, old.disk_written),
            network_in: rate(new.network_in, old.network_in),
            network_out: rate(new.network_out, old.network_out),
        };
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        self.sampled += 1;
        self.last = now;
        self.is_to_be_drawn = true;
    }

    /// The latest sample.
    pub(crate) fn rates(&self) -> Sample {
        self.samples.back().copied().unwrap_or_default()
    }

    /// Whether something has changed since the last call.
    pub(crate) fn is_to_be_drawn(&mut self) -> bool {
        core::mem::take(&mut self.is_to_be_drawn)
    }

    /// What programs are told, as JSON.
    pub(crate) fn json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Memory {
            total: usize,
            free: usize,
        }
        #[derive(Serialize)]
        struct Network<'a> {
            addresses: &'a str,
            frames_in: u64,
            bytes_in: u64,
            frames_out: u64,
            bytes_out: u64,
        }
        #[derive(Serialize)]
        struct Pointer {
            x: u16,
            y: u16,
            buttons: u8,
        }
        #[derive(Serialize)]
        struct Event<'a> {
            /// Milliseconds since the start.
            at: u64,
            text: &'a str,
        }
        #[derive(Serialize)]
        struct Snapshot<'a> {
            name: &'a str,
            /// Milliseconds.
            uptime: u64,
            memory: Memory,
            disk: &'a DiskFigures,
            network: Network<'a>,
            rates: Sample,
            typed: &'a str,
            pointer: Pointer,
            events: Vec<Event<'a>>,
        }
        let milliseconds = |at: Instant| at.0 / 1_000_000;
        let Traffic { frames_in, bytes_in, frames_out, bytes_out } = self.network.traffic;
        let snapshot = Snapshot {
            name: &self.name,
            uptime: milliseconds(clock::now()),
            memory: Memory { total: boot::memory_pages() << 12, free: heap::free_bytes() },
            disk: &self.disk,
            network: Network { addresses: &self.network.addresses, frames_in, bytes_in, frames_out, bytes_out },
            rates: self.rates(),
            typed: &self.input.typed,
            pointer: Pointer { x: self.input.pointer.0, y: self.input.pointer.1, buttons: self.input.buttons },
            events: self.events.iter().map(|(at, text)| Event { at: milliseconds(*at), text }).collect(),
        };
        // Texts and numbers always become JSON.
        serde_json::to_vec(&snapshot).unwrap_or_default()
    }
}
