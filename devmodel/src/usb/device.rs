//! A device as the bus sees it: tokens, and the control endpoint.
//!
//! Source: USB 1.1, 8.5 (transactions), 9.3 (setup data), 9.4 (standard requests).

use super::hid::Hid;
use super::hub::Hub;
use crate::host::InputEvent;
use alloc::boxed::Box;
use serde::{Deserialize, Serialize};

/// Bytes of a packet of the control endpoint.
pub(super) const CONTROL_PACKET: usize = 8;
/// Longest answer of the control endpoint.
const ANSWER_MAX: usize = 128;

/// What a host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// Eight bytes begin a control transfer.
    Setup([u8; 8]),
    /// Bytes for the device.
    Out(&'a [u8]),
    /// Bytes of the device.
    In,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Done; the bytes of an [`Token::In`].
    Ack(heapless::Vec<u8, CONTROL_PACKET>),
    /// Not now.
    Nak,
    /// Not at all.
    Stall,
}

/// The eight bytes of a setup packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    /// Direction, type and recipient.
    pub(super) kind: u8,
    pub(super) code: u8,
    pub(super) value: u16,
    pub(super) index: u16,
    pub(super) len: u16,
}

impl Request {
    fn new([kind, code, a, b, c, d, e, f]: [u8; 8]) -> Self {
        let word = |low, high| u16::from_le_bytes([low, high]);
        Self { kind, code, value: word(a, b), index: word(c, d), len: word(e, f) }
    }

    /// Whether the device has to answer with data.
    const fn is_in(self) -> bool {
        self.kind & 0x80 != 0
    }
}

/// What a request comes to: bytes, or nothing but consent. `None` is refusal.
pub(super) type Reply = Option<heapless::Vec<u8, ANSWER_MAX>>;

/// Where a control transfer stands.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
enum Stage {
    #[default]
    Idle,
    /// Data goes to the host: all of it, and how much has gone.
    DataIn(heapless::Vec<u8, ANSWER_MAX>, usize),
    /// Data comes from the host.
    DataOut(Request, heapless::Vec<u8, ANSWER_MAX>),
    /// An empty packet of the device ends it; the address changes then.
    Status(Option<u8>),
    /// It was refused.
    Stalled,
}

/// What a device is for.
#[expect(clippy::large_enum_variant, reason = "all devices but a hub are the large variant")]
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Function {
    Person(Hid),
    Hub(Box<Hub>),
}

/// A device on a port.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Device {
    function: Function,
    address: u8,
    configuration: u8,
    stage: Stage,
    /// The interrupt endpoint stalls.
    is_halted: bool,
}

impl Device {
    /// What people hold in their hands.
    pub(super) fn of_person(hid: Hid) -> Self {
        Self::new(Function::Person(hid))
    }

    /// What has more devices behind it.
    pub(super) fn hub(hub: Hub) -> Self {
        Self::new(Function::Hub(Box::new(hub)))
    }

    fn new(function: Function) -> Self {
        Self { function, address: 0, configuration: 0, stage: Stage::Idle, is_halted: false }
    }

    /// The port was reset.
    pub(super) fn reset(&mut self) {
        (self.address, self.configuration, self.stage, self.is_halted) = (0, 0, Stage::Idle, false);
        self.reset_function();
    }

    fn reset_function(&mut self) {
        match &mut self.function {
            Function::Person(hid) => hid.reset(),
            Function::Hub(hub) => hub.reset(),
        }
    }

    /// The device that answers to this address: this one, or one behind it.
    pub(super) fn find(&mut self, address: u8) -> Option<&mut Self> {
        if self.address == address {
            return Some(self);
        }
        match &mut self.function {
            Function::Hub(hub) if self.configuration != 0 => hub.find(address),
            _ => None,
        }
    }

    /// Whether it has something to say.
    pub(super) fn has_news(&self) -> bool {
        self.configuration != 0
            && match &self.function {
                Function::Person(hid) => hid.has_report(),
                Function::Hub(hub) => hub.has_news(),
            }
    }

    /// A person did something. Says whether it was for this device.
    pub(super) fn input(&mut self, event: InputEvent) -> bool {
        self.configuration != 0
            && match &mut self.function {
                Function::Person(hid) => hid.input(event),
                Function::Hub(hub) => hub.input(event),
            }
    }

    /// The LEDs of the keyboard that it is, or that is behind it.
    pub(super) fn keyboard_leds(&self) -> Option<u8> {
        match &self.function {
            Function::Person(hid) if self.configuration != 0 => hid.keyboard_leds(),
            Function::Person(_) => None,
            Function::Hub(hub) => hub.keyboard_leds(),
        }
    }

    /// Whether it, or one behind it, has keys that were not read.
    pub(super) fn has_unread_keys(&self) -> bool {
        match &self.function {
            Function::Person(hid) => hid.has_unread_keys(),
            Function::Hub(hub) => hub.has_unread_keys(),
        }
    }

    /// Whether it, or one behind it, is a tablet that the guest uses.
    pub(super) fn takes_positions(&self) -> bool {
        self.configuration != 0
            && match &self.function {
                Function::Person(hid) => hid.takes_positions(),
                Function::Hub(hub) => hub.takes_positions(),
            }
    }

    /// Performs a transaction of endpoint `endpoint`. At most `room` bytes can be given back.
    pub(super) fn transact(&mut self, endpoint: u8, token: Token<'_>, room: usize) -> Answer {
        match (endpoint, token) {
            (0, _) => self.control(token, room),
            (1, Token::In) if self.configuration != 0 && !self.is_halted => {
                let report = match &mut self.function {
                    Function::Person(hid) => hid.take_report(),
                    Function::Hub(hub) => hub.take_report(),
                };
                report.map_or(Answer::Nak, Answer::Ack)
            }
            _ => Answer::Stall,
        }
    }

    fn control(&mut self, token: Token<'_>, room: usize) -> Answer {
        let empty = || Answer::Ack(heapless::Vec::new());
        match (token, &mut self.stage) {
            (Token::Setup(bytes), _) => {
                let request = Request::new(bytes);
                self.stage = if !request.is_in() && request.len > 0 {
                    if usize::from(request.len) > ANSWER_MAX {
                        Stage::Stalled
                    } else {
                        Stage::DataOut(request, heapless::Vec::new())
                    }
                } else {
                    self.begin(request, &[])
                };
                empty()
            }
            (Token::In, Stage::DataIn(data, done)) => {
                let rest = data.get(*done..).unwrap_or(&[]);
                let len = rest.len().min(room).min(CONTROL_PACKET);
                *done = done.saturating_add(len);
                Answer::Ack(rest.iter().take(len).copied().collect())
            }
            (Token::Out([]), Stage::DataIn(..)) => {
                self.stage = Stage::Idle;
                empty()
            }
            (Token::Out(bytes), Stage::DataOut(request, data)) => {
                let request = *request;
                if data.extend_from_slice(bytes).is_err() || data.len() > request.len.into() {
                    self.stage = Stage::Stalled;
                    return Answer::Stall;
                }
                if data.len() == usize::from(request.len) {
                    let data = core::mem::take(data);
                    self.stage = self.begin(request, &data);
                }
                empty()
            }
            (Token::In, Stage::Status(address)) => {
                if let Some(address) = address {
                    self.address = *address;
                }
                self.stage = Stage::Idle;
                empty()
            }
            _ => Answer::Stall,
        }
    }

    /// Performs a request with all of its data. Gives what comes next.
    fn begin(&mut self, request: Request, data: &[u8]) -> Stage {
        // A new address counts from the end of the transfer on.
        if (request.kind, request.code) == (0x00, 5) && request.value < 128 {
            return Stage::Status(u8::try_from(request.value).ok());
        }
        match self.perform(request, data) {
            None => Stage::Stalled,
            Some(mut answer) if request.is_in() => {
                answer.truncate(request.len.into());
                Stage::DataIn(answer, 0)
            }
            Some(_) => Stage::Status(None),
        }
    }

    fn perform(&mut self, request: Request, data: &[u8]) -> Reply {
        let consent = || Some(heapless::Vec::new());
        let bytes = |bytes: &[u8]| heapless::Vec::from_slice(bytes).ok();
        match (request.kind, request.code) {
            // GET_STATUS: a hub has power of its own, no remote wake-up; of an interface; of an endpoint.
            (0x80, 0) => bytes(&[u8::from(matches!(self.function, Function::Hub(_))), 0]),
            (0x81, 0) => bytes(&[0, 0]),
            (0x82, 0) => bytes(&[u8::from(self.is_halted && request.index & 0x0f == 1), 0]),
            // CLEAR_FEATURE, SET_FEATURE: remote wake-up is taken, and nobody is woken.
            (0x00, 1 | 3) if request.value == 1 => consent(),
            (0x02, 1 | 3) if request.value == 0 => {
                if request.index & 0x0f == 1 {
                    self.is_halted = request.code == 3;
                }
                consent()
            }
            // GET_DESCRIPTOR, of the device and of the interface.
            (0x80 | 0x81, 6) => {
                let [index, kind] = request.value.to_le_bytes();
                match &self.function {
                    Function::Person(hid) => hid.descriptor(kind, index),
                    Function::Hub(_) => Hub::descriptor(kind, index),
                }
            }
            // GET_CONFIGURATION, SET_CONFIGURATION.
            (0x80, 8) => bytes(&[self.configuration]),
            (0x00, 9) if request.value <= 1 => {
                self.configuration = u8::from(request.value == 1);
                self.is_halted = false;
                self.reset_function();
                consent()
            }
            // GET_INTERFACE, SET_INTERFACE: there is one, with one setting.
            (0x81, 10) => bytes(&[0]),
            (0x01, 11) if request.value == 0 => consent(),
            _ => match &mut self.function {
                Function::Person(hid) if matches!(request.kind, 0xa1 | 0x21) => hid.class_request(request, data),
                Function::Hub(hub) => hub.class_request(request),
                Function::Person(_) => None,
            },
        }
    }
}
