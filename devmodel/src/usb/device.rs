//! A device as the bus sees it: tokens, and the control endpoint.
//!
//! Source: USB 1.1, 8.5 (transactions), 9.3 (setup data), 9.4 (standard requests).

use super::hid::Hid;
use super::hub::Hub;
use crate::host::{DiskError, DiskId, Host, InputEvent};
use crate::machine::DiskConfig;
use crate::state::StateError;
use alloc::boxed::Box;
use core::fmt::Debug;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes of a packet of the control endpoint.
const CONTROL_PACKET: usize = 8;
/// Bytes of the longest packet of full speed, apart from isochronous ones.
pub(super) const PACKET_MAX: usize = 64;
/// Longest answer of the control endpoint.
const ANSWER_MAX: usize = 128;

/// What a host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// Eight bytes begin a control transfer.
    Setup([u8; 8]),
    /// Bytes for the device.
    Out(&'a [u8]),
    /// Bytes of the device.
    In,
}

/// Bytes of a device.
pub(super) type Packet = heapless::Vec<u8, PACKET_MAX>;

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done; the bytes of an [`Token::In`].
    Ack(Packet),
    /// Not now.
    Nak,
    /// Not at all.
    Stall,
}

/// The eight bytes of a setup packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
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

/// What a controller can have on its ports besides hubs and what people hold in their hands. Its code is only where a
/// controller names it.
pub trait Attachment: Clone + Debug + Serialize + DeserializeOwned {
    /// A disk, if this is one.
    fn of_disk(config: DiskConfig) -> Option<Self>;

    /// The port was reset, or a configuration was set.
    fn reset(&mut self);

    /// A descriptor, by its type and index.
    fn descriptor(&self, kind: u8, index: u8) -> Reply;

    /// A request of its class.
    fn class_request(&mut self, request: Request) -> Reply;

    /// A driver halts an endpoint or lets it go on. Says whether there is such an endpoint.
    fn set_halt(&mut self, endpoint: u8, halted: bool) -> bool;

    /// Whether an endpoint stalls.
    fn is_halted(&self, endpoint: u8) -> bool;

    /// A transaction of an endpoint other than 0.
    fn transact(&mut self, host: &mut dyn Host, endpoint: u8, token: Token<'_>) -> Answer;

    /// An operation of a disk has ended, of this device's or another's.
    fn disk_complete(&mut self, host: &mut dyn Host, disk: DiskId, result: Result<(), DiskError>);

    /// Whether an operation of its disk is under way.
    fn awaits_disk(&self) -> bool;

    /// Becomes what was saved, and keeps what is configured.
    fn adopt(&mut self, saved: Self) -> Result<(), StateError>;
}

/// No such device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nothing {}

impl Attachment for Nothing {
    fn of_disk(_config: DiskConfig) -> Option<Self> {
        None
    }

    fn reset(&mut self) {
        match *self {}
    }

    fn descriptor(&self, _kind: u8, _index: u8) -> Reply {
        match *self {}
    }

    fn class_request(&mut self, _request: Request) -> Reply {
        match *self {}
    }

    fn set_halt(&mut self, _endpoint: u8, _halted: bool) -> bool {
        match *self {}
    }

    fn is_halted(&self, _endpoint: u8) -> bool {
        match *self {}
    }

    fn transact(&mut self, _host: &mut dyn Host, _endpoint: u8, _token: Token<'_>) -> Answer {
        match *self {}
    }

    fn disk_complete(&mut self, _host: &mut dyn Host, _disk: DiskId, _result: Result<(), DiskError>) {
        match *self {}
    }

    fn awaits_disk(&self) -> bool {
        match *self {}
    }

    fn adopt(&mut self, _saved: Self) -> Result<(), StateError> {
        match *self {}
    }
}

/// What a device is for.
#[expect(clippy::large_enum_variant, reason = "all devices but a hub are the large variant")]
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "X: Attachment")]
enum Function<X> {
    Person(Hid),
    Hub(Box<Hub<X>>),
    Other(X),
}

/// A device on a port.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "X: Attachment")]
pub(super) struct Device<X> {
    function: Function<X>,
    address: u8,
    configuration: u8,
    stage: Stage,
    /// The interrupt endpoint stalls.
    is_halted: bool,
}

impl<X: Attachment> Device<X> {
    /// What people hold in their hands.
    pub(super) fn of_person(hid: Hid) -> Self {
        Self::new(Function::Person(hid))
    }

    /// What has more devices behind it.
    pub(super) fn hub(hub: Hub<X>) -> Self {
        Self::new(Function::Hub(Box::new(hub)))
    }

    /// What is neither.
    pub(super) fn other(other: X) -> Self {
        Self::new(Function::Other(other))
    }

    /// What is neither, if this is.
    pub(super) fn as_other(&self) -> Option<&X> {
        match &self.function {
            Function::Other(other) => Some(other),
            Function::Person(_) | Function::Hub(_) => None,
        }
    }

    /// The same, to be changed.
    pub(super) fn as_other_mut(&mut self) -> Option<&mut X> {
        match &mut self.function {
            Function::Other(other) => Some(other),
            Function::Person(_) | Function::Hub(_) => None,
        }
    }

    fn new(function: Function<X>) -> Self {
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
            Function::Other(other) => other.reset(),
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
                Function::Other(_) => false,
            }
    }

    /// A person did something. Says whether it was for this device.
    pub(super) fn input(&mut self, event: InputEvent) -> bool {
        self.configuration != 0
            && match &mut self.function {
                Function::Person(hid) => hid.input(event),
                Function::Hub(hub) => hub.input(event),
                Function::Other(_) => false,
            }
    }

    /// The LEDs of the keyboard that it is, or that is behind it.
    pub(super) fn keyboard_leds(&self) -> Option<u8> {
        match &self.function {
            Function::Person(hid) if self.configuration != 0 => hid.keyboard_leds(),
            Function::Person(_) | Function::Other(_) => None,
            Function::Hub(hub) => hub.keyboard_leds(),
        }
    }

    /// Whether it, or one behind it, has keys that were not read.
    pub(super) fn has_unread_keys(&self) -> bool {
        match &self.function {
            Function::Person(hid) => hid.has_unread_keys(),
            Function::Hub(hub) => hub.has_unread_keys(),
            Function::Other(_) => false,
        }
    }

    /// Whether it, or one behind it, is a tablet that the guest uses.
    pub(super) fn takes_positions(&self) -> bool {
        self.configuration != 0
            && match &self.function {
                Function::Person(hid) => hid.takes_positions(),
                Function::Hub(hub) => hub.takes_positions(),
                Function::Other(_) => false,
            }
    }

    /// Performs a transaction of endpoint `endpoint`. At most `room` bytes can be given back.
    pub(super) fn transact(&mut self, host: &mut dyn Host, endpoint: u8, token: Token<'_>, room: usize) -> Answer {
        if endpoint == 0 {
            return self.control(token, room);
        }
        let report = match (&mut self.function, endpoint, token) {
            _ if self.configuration == 0 => return Answer::Stall,
            (Function::Other(other), ..) => return other.transact(host, endpoint, token),
            _ if self.is_halted => return Answer::Stall,
            (Function::Person(hid), 1, Token::In) => hid.take_report(),
            (Function::Hub(hub), 1, Token::In) => hub.take_report(),
            _ => return Answer::Stall,
        };
        report.map_or(Answer::Nak, Answer::Ack)
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
            // GET_STATUS: all but what people hold has power of its own, no remote wake-up; of an interface; of an endpoint.
            (0x80, 0) => bytes(&[u8::from(!matches!(self.function, Function::Person(_))), 0]),
            (0x81, 0) => bytes(&[0, 0]),
            (0x82, 0) if let Some(other) = self.as_other() => {
                let [endpoint, _] = request.index.to_le_bytes();
                bytes(&[u8::from(other.is_halted(endpoint)), 0])
            }
            (0x82, 0) => bytes(&[u8::from(self.is_halted && request.index & 0x0f == 1), 0]),
            // CLEAR_FEATURE, SET_FEATURE: remote wake-up is taken, and nobody is woken.
            (0x00, 1 | 3) if request.value == 1 => consent(),
            (0x02, 1 | 3) if request.value == 0 => {
                let [endpoint, _] = request.index.to_le_bytes();
                if let Some(other) = self.as_other_mut() {
                    return other.set_halt(endpoint, request.code == 3).then(heapless::Vec::new);
                }
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
                    Function::Hub(_) => Hub::<X>::descriptor(kind, index),
                    Function::Other(other) => other.descriptor(kind, index),
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
                Function::Other(other) => other.class_request(request),
                Function::Person(_) => None,
            },
        }
    }
}
