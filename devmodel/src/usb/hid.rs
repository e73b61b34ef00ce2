//! Tablet, mouse and keyboard.
//!
//! What a person does is queued, and becomes a report when the driver asks for one. Movements join as long as nobody asks;
//! a button or a key never joins another, so that none is lost and all keep their order.
//!
//! Source: Device Class Definition for HID 1.11, section 6.2 (descriptors), 7.2 (requests), appendix B (boot reports).

use super::device::{Packet, Reply, Request};
use super::keys;
use crate::host::InputEvent;
use serde::{Deserialize, Serialize};

/// Events that wait at most. A person who is further ahead loses the newest.
const QUEUE: usize = 32;
/// `BTN_LEFT` of Linux' input-event-codes.h; the others follow: right, middle, side, extra.
const FIRST_BUTTON: u16 = 0x110;
const BUTTONS: u16 = 5;

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A pointer with an absolute position, QEMU's `usb-tablet`.
    Tablet,
    /// QEMU's `usb-mouse`.
    Mouse,
    /// QEMU's `usb-kbd`.
    Keyboard,
}

/// Reports of six bytes: five buttons, position from 0 to 32767, wheel.
const TABLET_REPORT: &[u8] = &[
    0x05, 0x01, // usage page: generic desktop
    0x09, 0x02, // usage: mouse
    0xa1, 0x01, // collection: application
    0x09, 0x01, //   usage: pointer
    0xa1, 0x00, //   collection: physical
    0x05, 0x09, //     usage page: buttons
    0x19, 0x01, 0x29, 0x05, //     usages 1 to 5
    0x15, 0x00, 0x25, 0x01, //     from 0 to 1
    0x95, 0x05, 0x75, 0x01, //     five of one bit
    0x81, 0x02, //     input: variable, absolute
    0x95, 0x01, 0x75, 0x03, //     three bits
    0x81, 0x01, //     input: constant
    0x05, 0x01, //     usage page: generic desktop
    0x09, 0x30, 0x09, 0x31, //     usages: X, Y
    0x15, 0x00, 0x26, 0xff, 0x7f, //     from 0 to 32767
    0x35, 0x00, 0x46, 0xff, 0x7f, //     the same in physical units
    0x75, 0x10, 0x95, 0x02, //     two of 16 bits
    0x81, 0x02, //     input: variable, absolute
    0x09, 0x38, //     usage: wheel
    0x15, 0x81, 0x25, 0x7f, //     from -127 to 127
    0x35, 0x00, 0x45, 0x00, //     without unit
    0x75, 0x08, 0x95, 0x01, //     one of 8 bits
    0x81, 0x06, //     input: variable, relative
    0xc0, 0xc0, // end of both collections
];

/// Reports of four bytes: five buttons, X, Y, wheel.
const MOUSE_REPORT: &[u8] = &[
    0x05, 0x01, 0x09, 0x02, 0xa1, 0x01, 0x09, 0x01, 0xa1, 0x00, // a mouse, a pointer
    0x05, 0x09, 0x19, 0x01, 0x29, 0x05, 0x15, 0x00, 0x25, 0x01, 0x95, 0x05, 0x75, 0x01, 0x81,
    0x02, // five buttons
    0x95, 0x01, 0x75, 0x03, 0x81, 0x01, // three bits
    0x05, 0x01, 0x09, 0x30, 0x09, 0x31, 0x09, 0x38, // X, Y, wheel
    0x15, 0x81, 0x25, 0x7f, 0x75, 0x08, 0x95, 0x03, 0x81, 0x06, // three of 8 bits, relative
    0xc0, 0xc0,
];

/// Reports of eight bytes, as in the boot protocol: modifiers, nothing, six keys. One byte of LEDs goes the other way.
const KEYBOARD_REPORT: &[u8] = &[
    0x05, 0x01, 0x09, 0x06, 0xa1, 0x01, // a keyboard
    0x75, 0x01, 0x95, 0x08, 0x05, 0x07, 0x19, 0xe0, 0x29, 0xe7, 0x15, 0x00, 0x25, 0x01, 0x81, 0x02, // modifiers
    0x95, 0x01, 0x75, 0x08, 0x81, 0x01, // a byte
    0x95, 0x05, 0x75, 0x01, 0x05, 0x08, 0x19, 0x01, 0x29, 0x05, 0x91, 0x02, // five LEDs
    0x95, 0x01, 0x75, 0x03, 0x91, 0x01, // three bits
    0x95, 0x06, 0x75, 0x08, 0x15, 0x00, 0x25, 0xff, 0x05, 0x07, 0x19, 0x00, 0x29, 0xff, 0x81, 0x00, // six keys
    0xc0,
];

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Tablet => "USB Tablet",
            Self::Mouse => "USB Mouse",
            Self::Keyboard => "USB Keyboard",
        }
    }

    const fn report_descriptor(self) -> &'static [u8] {
        match self {
            Self::Tablet => TABLET_REPORT,
            Self::Mouse => MOUSE_REPORT,
            Self::Keyboard => KEYBOARD_REPORT,
        }
    }

    /// Subclass (1: there is a boot protocol) and protocol (1 keyboard, 2 mouse).
    const fn interface(self) -> (u8, u8) {
        match self {
            Self::Tablet => (0, 0),
            Self::Mouse => (1, 2),
            Self::Keyboard => (1, 1),
        }
    }
}

/// The pointer at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Pointer {
    buttons: u8,
    /// Position of the tablet, or movement of the mouse.
    x: i32,
    y: i32,
    wheel: i32,
}

/// The device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Hid {
    kind: Kind,
    /// The boot protocol is asked for, which has no wheel.
    is_boot: bool,
    idle: u8,
    // Pointers.
    moments: heapless::Deque<Pointer, QUEUE>,
    buttons: u8,
    position: (i32, i32),
    // The keyboard: changes that were not reported, and what is down as reported.
    keys: heapless::Deque<(u8, bool), QUEUE>,
    modifiers: u8,
    down: heapless::Vec<u8, 32>,
    leds: u8,
}

impl Hid {
    /// The LEDs of a keyboard, in the order of PS/2. HID has Num Lock, Caps Lock, Scroll Lock (HID 1.11, appendix B).
    pub(super) fn keyboard_leds(&self) -> Option<u8> {
        (self.kind == Kind::Keyboard).then_some(self.leds << 1 & 6 | self.leds >> 2 & 1)
    }

    /// Whether there are keys that were not read.
    pub(super) fn has_unread_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Whether it wants to know where the pointer is, and not how it moves.
    pub(super) fn takes_positions(&self) -> bool {
        self.kind == Kind::Tablet
    }

    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            is_boot: false,
            idle: 0,
            moments: heapless::Deque::new(),
            buttons: 0,
            position: (0, 0),
            keys: heapless::Deque::new(),
            modifiers: 0,
            down: heapless::Vec::new(),
            leds: 0,
        }
    }

    /// Forgets what waits, and the driver's choices.
    pub(super) fn reset(&mut self) {
        *self = Self { position: self.position, buttons: self.buttons, ..Self::new(self.kind) };
    }

    /// Whether there is something to report.
    pub(super) fn has_report(&self) -> bool {
        !self.moments.is_empty() || !self.keys.is_empty()
    }

    /// A person did something. Says whether it is for this device.
    pub(super) fn input(&mut self, event: InputEvent) -> bool {
        match (self.kind, event) {
            (Kind::Tablet, InputEvent::Position { x, y, wheel }) => {
                self.position = (x.into(), y.into());
                self.moment(wheel);
            }
            (Kind::Mouse, InputEvent::Motion { dx, dy, wheel }) => {
                self.position = (dx, dy);
                self.moment(wheel);
                self.position = (0, 0);
            }
            (Kind::Tablet | Kind::Mouse, InputEvent::Button { code, down }) => {
                let Some(button) = code.checked_sub(FIRST_BUTTON).filter(|button| *button < BUTTONS) else {
                    return false;
                };
                let bit = 1 << button;
                let buttons = if down { self.buttons | bit } else { self.buttons & !bit };
                if core::mem::replace(&mut self.buttons, buttons) != buttons {
                    self.moment(0);
                }
            }
            (Kind::Keyboard, InputEvent::Key { code, down }) => {
                if let Some(usage) = keys::usage(code) {
                    // What does not fit is lost; a key that is let go would be down for ever then.
                    if self.keys.is_full() && !down {
                        let _ = self.keys.pop_back();
                    }
                    let _ = self.keys.push_back((usage, down));
                }
            }
            _ => return false,
        }
        true
    }

    /// Queues the pointer as it is now.
    fn moment(&mut self, wheel: i32) {
        let (x, y) = self.position;
        let new = Pointer { buttons: self.buttons, x, y, wheel };
        let is_full = self.moments.is_full();
        let is_relative = self.kind == Kind::Mouse;
        match self.moments.back_mut() {
            // With the same buttons as the moment before, it is a movement.
            Some(last) if last.buttons == new.buttons || is_full => {
                last.buttons = new.buttons;
                if is_relative {
                    (last.x, last.y) = (last.x.saturating_add(x), last.y.saturating_add(y));
                } else {
                    (last.x, last.y) = (x, y);
                }
                last.wheel = last.wheel.saturating_add(wheel);
            }
            _ => {
                let _ = self.moments.push_back(new);
            }
        }
    }

    /// Takes the next report out of the queue.
    pub(super) fn take_report(&mut self) -> Option<Packet> {
        let report = match self.kind {
            Kind::Keyboard => {
                let (usage, down) = self.keys.pop_front()?;
                self.change_key(usage, down);
                heapless::Vec::from_slice(&self.keyboard_report())
            }
            Kind::Tablet | Kind::Mouse => {
                let moment = self.moments.pop_front()?;
                self.pointer_report(moment)
            }
        };
        report.ok()
    }

    /// What does not fit one report of a mouse is left for the next.
    fn pointer_report(&mut self, moment: Pointer) -> Result<Packet, heapless::CapacityError> {
        let part = |value: i32| value.clamp(-127, 127);
        let byte = |value: i32| i8::try_from(part(value)).unwrap_or(0).cast_unsigned();
        let wheel = moment.wheel;
        let mut rest = Pointer { wheel: wheel.saturating_sub(part(wheel)), ..moment };
        let report = if self.kind == Kind::Tablet {
            let [x, y] = [moment.x, moment.y].map(|place| u16::try_from(place.clamp(0, 0x7fff)).unwrap_or(0));
            let ([a, b], [c, d]) = (x.to_le_bytes(), y.to_le_bytes());
            // A wheel that turns away from the user is positive.
            heapless::Vec::from_slice(&[moment.buttons, a, b, c, d, byte(wheel)])
        } else {
            (rest.x, rest.y) = (moment.x.saturating_sub(part(moment.x)), moment.y.saturating_sub(part(moment.y)));
            let all = [moment.buttons, byte(moment.x), byte(moment.y), byte(wheel)];
            heapless::Vec::from_slice(if self.is_boot { all.get(..3).unwrap_or(&all) } else { &all })
        };
        let has_rest = rest.wheel != 0 || self.kind == Kind::Mouse && (rest.x, rest.y) != (0, 0);
        if has_rest {
            let _ = self.moments.push_front(rest);
        }
        report
    }

    fn change_key(&mut self, usage: u8, down: bool) {
        if let Some(bit) = usage.checked_sub(keys::FIRST_MODIFIER).filter(|bit| *bit < 8) {
            let bit = 1 << bit;
            self.modifiers = if down { self.modifiers | bit } else { self.modifiers & !bit };
            return;
        }
        self.down.retain(|key| *key != usage);
        if down {
            let _ = self.down.push(usage);
        }
    }

    fn keyboard_report(&self) -> [u8; 8] {
        let mut report = [self.modifiers, 0, 0, 0, 0, 0, 0, 0];
        let keys = report.iter_mut().skip(2);
        if self.down.len() > 6 {
            // "ErrorRollOver": more than the report can say.
            keys.for_each(|key| *key = 1);
        } else {
            keys.zip(&self.down).for_each(|(key, usage)| *key = *usage);
        }
        report
    }

    /// A descriptor, by its type and index.
    pub(super) fn descriptor(&self, kind: u8, index: u8) -> Reply {
        let (subclass, protocol) = self.kind.interface();
        let [report_low, report_high] =
            u16::try_from(self.kind.report_descriptor().len()).unwrap_or(u16::MAX).to_le_bytes();
        let hid = [9, 0x21, 0x11, 0x01, 0, 1, 0x22, report_low, report_high];
        let mut bytes = heapless::Vec::new();
        let whole = match (kind, index) {
            // Device: USB 1.1, QEMU's numbers, strings 1 to 3, one configuration.
            (1, 0) => bytes.extend_from_slice(&[18, 1, 0x10, 0x01, 0, 0, 0, 8, 0x27, 0x06, 0x01, 0, 0, 0, 1, 2, 3, 1]),
            // Configuration, interface, HID, endpoint 1: interrupts, 8 bytes, every 10 ms.
            (2, 0) => bytes
                .extend_from_slice(&[9, 2, 34, 0, 1, 1, 4, 0xa0, 50])
                .and_then(|()| bytes.extend_from_slice(&[9, 4, 0, 0, 1, 3, subclass, protocol, 0]))
                .and_then(|()| bytes.extend_from_slice(&hid))
                .and_then(|()| bytes.extend_from_slice(&[7, 5, 0x81, 3, 8, 0, 10])),
            (3, 0) => bytes.extend_from_slice(&[4, 3, 0x09, 0x04]),
            (3, 1) => string(&mut bytes, "Xen"),
            (3, 2) => string(&mut bytes, self.kind.name()),
            (3, 3) => string(&mut bytes, "1"),
            (3, 4) => string(&mut bytes, "HID"),
            (0x21, _) => bytes.extend_from_slice(&hid),
            (0x22, _) => bytes.extend_from_slice(self.kind.report_descriptor()),
            _ => return None,
        };
        whole.ok().map(|()| bytes)
    }

    /// A request of the HID class.
    pub(super) fn class_request(&mut self, request: Request, data: &[u8]) -> Reply {
        let consent = || Some(heapless::Vec::new());
        let bytes = |bytes: &[u8]| heapless::Vec::from_slice(bytes).ok();
        let (subclass, _) = self.kind.interface();
        match (request.kind, request.code) {
            // GET_REPORT: how things are.
            (0xa1, 1) => match self.kind {
                Kind::Keyboard => bytes(&self.keyboard_report()),
                Kind::Mouse => bytes(&[self.buttons, 0, 0, 0]),
                Kind::Tablet => {
                    let now = Pointer { buttons: self.buttons, x: self.position.0, y: self.position.1, wheel: 0 };
                    self.pointer_report(now).ok().and_then(|report| bytes(&report))
                }
            },
            // GET_IDLE, SET_IDLE.
            (0xa1, 2) => bytes(&[self.idle]),
            (0x21, 10) => {
                [_, self.idle] = request.value.to_le_bytes();
                consent()
            }
            // GET_PROTOCOL, SET_PROTOCOL.
            (0xa1, 3) if subclass == 1 => bytes(&[u8::from(!self.is_boot)]),
            (0x21, 11) if subclass == 1 => {
                self.is_boot = request.value == 0;
                consent()
            }
            // SET_REPORT: LEDs.
            (0x21, 9) if self.kind == Kind::Keyboard => {
                self.leds = data.first().copied().unwrap_or(0);
                consent()
            }
            _ => None,
        }
    }
}

/// Makes a string descriptor.
pub(super) fn string<const N: usize>(
    bytes: &mut heapless::Vec<u8, N>,
    text: &str,
) -> Result<(), heapless::CapacityError> {
    let len = text.len().saturating_mul(2).saturating_add(2);
    bytes.extend_from_slice(&[u8::try_from(len).unwrap_or(u8::MAX), 3])?;
    for letter in text.encode_utf16() {
        bytes.extend_from_slice(&letter.to_le_bytes())?;
    }
    Ok(())
}
