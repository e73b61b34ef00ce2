//! The keyboard at the other end of the cable: 105 keys and more, scan code sets 1, 2 and 3.
//!
//! Source: IBM PS/2 Hardware Interface Technical Reference, "Keyboards (101- and 102-key)": commands, sets, buffer, repetition
//! ("typematic": delay and rate, each within 20 %, default 500 ms and 10.9 a second; the last key that was pressed).
//!
//! Repetition ("typematic") takes two. That the key which went down last is reported down again says that it is still held; it
//! sends its code again where the guest's delay and rate let it. So no key repeats faster than the guest wants, or than the
//! viewer does, and none repeats by itself while the word of its release is on its way. Keys that were pressed before the last
//! one do not repeat, nor does Pause, nor those that set 3 was told not to repeat.
//!
//! Not modelled: the shift codes that a real keyboard wraps around the keys of the grey block while Num Lock or Shift is
//! on (systems ignore them); which keys of set 3 do not repeat or are silent when released by default: all do both until
//! a command says otherwise.
//! Invariant: `codes` never holds a part of a key's sequence; when one does not fit, a single overrun code says so.
//! Invariant: answers to commands always fit, because each command drops those of the one before.

use super::keys::{self, KEY_SYSRQ, KEYS_ALT, KEYS_CTRL, KEYS_SHIFT, Key};
use crate::time::Instant;
use heapless::{Deque, Vec};
use serde::{Deserialize, Serialize};

/// Bytes of scan codes that wait; one more place is for the overrun code.
const CODES: usize = 16;

/// "The keyboard has received the byte."
const ACKNOWLEDGE: u8 = 0xfa;
/// "Say that again."
const RESEND: u8 = 0xfe;
/// The self-test was passed.
const SELF_TEST_PASSED: u8 = 0xaa;

/// Which codes keys send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Set {
    One,
    Two,
    Three,
}

/// The command that the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Awaits {
    Lamps,
    Set,
    Rate,
    /// Keys of set 3 that get these properties, until a command comes.
    Keys(Behaviour),
}

/// What a key does in set 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Behaviour {
    repeats: bool,
    reports_release: bool,
}

/// One bit for each number below 256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ByteSet([u64; 4]);

impl ByteSet {
    const FULL: Self = Self([u64::MAX; 4]);

    fn contains(&self, number: u16) -> bool {
        self.0.get(usize::from(number >> 6)).is_some_and(|word| word & Self::bit(number) != 0)
    }

    /// Numbers from 256 on are left out.
    fn set(&mut self, number: u16, present: bool) {
        if let Some(word) = self.0.get_mut(usize::from(number >> 6)) {
            if present { *word |= Self::bit(number) } else { *word &= !Self::bit(number) }
        }
    }

    fn bit(number: u16) -> u64 {
        1_u64.rotate_left(u32::from(number & 63))
    }
}

/// Delay and rate of repetition, as the parameter of command 0xf3 has them: bits 5 and 6, and 0 to 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Typematic(u8);

impl Typematic {
    /// After power on: 10.9 codes a second after half a second.
    const DEFAULT: Self = Self(0x2b);

    /// From the first code of a key to the second, in nanoseconds: 250 ms and as much for each step.
    fn delay(self) -> u64 {
        (u64::from(self.0 >> 5 & 3).saturating_add(1)).saturating_mul(250_000_000)
    }

    /// From one code to the next, in nanoseconds: (8 + A) × 2^B / 240 s, with A in bits 0 to 2 and B in bits 3 and 4.
    fn period(self) -> u64 {
        let steps = u64::from(self.0 & 7).saturating_add(8).wrapping_shl(u32::from(self.0 >> 3 & 3));
        steps.saturating_mul(1_000_000_000).wrapping_div(240)
    }

    /// By how much a code may come before its time, in nanoseconds. Keyboards are that exact; and a viewer that repeats as fast as
    /// the guest wants would be only half as fast if a word of it that comes a little too early did not count.
    fn tolerance(self) -> u64 {
        self.period().wrapping_div(5)
    }
}

/// A key that repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Repetition {
    /// Its `KEY_*` number.
    code: u16,
    /// When it sends its code again.
    due: Instant,
}

/// The keyboard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Keyboard {
    set: Set,
    scanning: bool,
    lamps: u8,
    typematic: Typematic,
    awaits: Option<Awaits>,
    /// Set 3: keys, by code, that repeat.
    repeating: ByteSet,
    /// Set 3: keys, by code, that report their release.
    releasing: ByteSet,
    /// Keys, by `KEY_*` number, that are down.
    down: ByteSet,
    /// The key that went down last, while it is down.
    repetition: Option<Repetition>,
    /// Print Screen was pressed with Alt, so it is released as the other key that it then is.
    print_screen_with_alt: bool,
    last_sent: u8,
    answers: Deque<u8, 4>,
    codes: Deque<u8, { CODES + 1 }>,
}

impl Keyboard {
    /// Whether scan codes wait for the controller.
    pub(super) fn has_codes(&self) -> bool {
        !self.codes.is_empty()
    }

    /// The state after its self-test.
    pub(super) const fn new() -> Self {
        Self {
            set: Set::Two,
            scanning: true,
            lamps: 0,
            typematic: Typematic::DEFAULT,
            awaits: None,
            repeating: ByteSet::FULL,
            releasing: ByteSet::FULL,
            down: ByteSet([0; 4]),
            repetition: None,
            print_screen_with_alt: false,
            last_sent: 0,
            answers: Deque::new(),
            codes: Deque::new(),
        }
    }

    /// The state after a self-test; the keys are where they are.
    pub(super) fn after_reset(&self) -> Self {
        Self { down: self.down, repetition: self.repetition, ..Self::new() }
    }

    pub(super) const fn lamps(&self) -> u8 {
        self.lamps
    }

    /// The next byte for the controller. While a command waits for its parameter, keys are not scanned: what they send waits.
    pub(super) fn next_byte(&mut self) -> Option<u8> {
        let byte = match self.answers.pop_front() {
            None if self.awaits.is_some() => None,
            None => self.codes.pop_front(),
            answer => answer,
        }?;
        if byte != RESEND {
            self.last_sent = byte;
        }
        Some(byte)
    }

    /// A key went down, is still down, or went up.
    pub(super) fn key(&mut self, code: u16, down: bool, now: Instant) {
        let Some(key) = keys::key(code) else { return };
        let was_down = self.down.contains(code);
        self.down.set(code, down);
        match (was_down, down, self.repetition) {
            // Nobody repeats a key that was not pressed last: who presses it is somebody whose release of it got lost.
            (false, true, _) | (true, true, None) => {
                self.repetition = Some(Repetition { code, due: now.after(self.typematic.delay()) });
            }
            (true, true, Some(_)) if !self.repeats(key, code, now) => return,
            (true, true, Some(_)) => {}
            (true, false, Some(repetition)) if repetition.code == code => self.repetition = None,
            (true, false, _) => {}
            (false, false, _) => return,
        }
        if !self.scanning {
            return;
        }
        if self.set == Set::Three {
            self.send_set_3(code, down);
        } else {
            self.send(key, code, down);
        }
    }

    /// Whether a key that is still down sends its code again. Then, it is a while until it does so the next time.
    fn repeats(&mut self, key: Key, code: u16, now: Instant) -> bool {
        let can = match self.set {
            Set::One | Set::Two => !matches!(key, Key::Pause),
            Set::Three => keys::set_3(code).is_some_and(|code| self.repeating.contains(u16::from(code))),
        };
        let typematic = self.typematic;
        let Some(repetition) = self.repetition.as_mut().filter(|repetition| repetition.code == code) else {
            return false;
        };
        if !can || !self.scanning || now.after(typematic.tolerance()) < repetition.due {
            return false;
        }
        // Time by which this code is early or late is made up for by the next ones, as far as it is tolerated.
        let late = now.since(repetition.due).saturating_sub(typematic.tolerance());
        repetition.due = repetition.due.after(late).after(typematic.period());
        true
    }

    /// A byte from the controller.
    pub(super) fn write(&mut self, value: u8) {
        self.answers.clear();
        // A command ends the wait for a parameter; parameters are below the commands.
        match self.awaits.take() {
            Some(awaits) if value < 0xed => self.take_parameter(awaits, value),
            _ => self.perform_command(value),
        }
    }

    fn perform_command(&mut self, command: u8) {
        match command {
            0xed => self.acknowledge_and_await(Awaits::Lamps),
            // Echo.
            0xee => self.answer(0xee),
            0xf0 => self.acknowledge_and_await(Awaits::Set),
            0xf2 => {
                self.answer(ACKNOWLEDGE);
                self.answer(0xab);
                self.answer(0x83);
            }
            0xf3 => self.acknowledge_and_await(Awaits::Rate),
            0xf4 => {
                self.codes.clear();
                self.scanning = true;
                self.answer(ACKNOWLEDGE);
            }
            0xf5 => {
                self.set_defaults();
                self.scanning = false;
                self.answer(ACKNOWLEDGE);
            }
            0xf6 => {
                self.set_defaults();
                self.answer(ACKNOWLEDGE);
            }
            0xf7..=0xfa => {
                let Behaviour { repeats, reports_release } = behaviour(command);
                self.repeating = if repeats { ByteSet::FULL } else { ByteSet::default() };
                self.releasing = if reports_release { ByteSet::FULL } else { ByteSet::default() };
                self.answer(ACKNOWLEDGE);
            }
            0xfb..=0xfd => self.acknowledge_and_await(Awaits::Keys(behaviour(command))),
            0xfe => self.answer(self.last_sent),
            0xff => {
                *self = self.after_reset();
                self.answer(ACKNOWLEDGE);
                self.answer(SELF_TEST_PASSED);
            }
            _ => self.answer(RESEND),
        }
    }

    fn take_parameter(&mut self, awaits: Awaits, value: u8) {
        match awaits {
            Awaits::Lamps => self.lamps = value & 0x07,
            Awaits::Rate => self.typematic = Typematic(value & 0x7f),
            Awaits::Set => {
                self.set = match value {
                    0 => {
                        self.answer(ACKNOWLEDGE);
                        self.answer(match self.set {
                            Set::One => 1,
                            Set::Two => 2,
                            Set::Three => 3,
                        });
                        return;
                    }
                    1 => Set::One,
                    2 => Set::Two,
                    3 => Set::Three,
                    _ => return self.answer(RESEND),
                };
                self.codes.clear();
            }
            Awaits::Keys(behaviour) => {
                self.repeating.set(u16::from(value), behaviour.repeats);
                self.releasing.set(u16::from(value), behaviour.reports_release);
                self.awaits = Some(awaits);
            }
        }
        self.answer(ACKNOWLEDGE);
    }

    fn acknowledge_and_await(&mut self, awaits: Awaits) {
        self.awaits = Some(awaits);
        self.answer(ACKNOWLEDGE);
    }

    fn answer(&mut self, byte: u8) {
        // At most three answers follow a byte, and the earlier ones were dropped.
        let _ = self.answers.push_back(byte);
    }

    /// "Default conditions": buffer empty, rate, behaviour of keys. The set stays.
    fn set_defaults(&mut self) {
        self.codes.clear();
        self.typematic = Typematic::DEFAULT;
        self.repeating = ByteSet::FULL;
        self.releasing = ByteSet::FULL;
    }

    fn any_down(&self, keys: [u16; 2]) -> bool {
        keys.iter().any(|key| self.down.contains(*key))
    }

    fn send(&mut self, key: Key, code: u16, down: bool) {
        if code == KEY_SYSRQ && down {
            self.print_screen_with_alt = self.any_down(KEYS_ALT);
        }
        let ctrl = self.any_down(KEYS_CTRL);
        let mut sequence = Sequence::new(self.set);
        match key {
            Key::Plain(code) => sequence.add(false, code, down),
            Key::Extended(code) => sequence.add(true, code, down),
            Key::PressOnly(code) if down => sequence.raw(code),
            Key::PrintScreen if self.print_screen_with_alt => sequence.add(false, 0x84, down),
            Key::PrintScreen if ctrl || self.any_down(KEYS_SHIFT) => sequence.add(true, 0x7c, down),
            Key::PrintScreen if down => {
                sequence.add(true, 0x12, true);
                sequence.add(true, 0x7c, true);
            }
            Key::PrintScreen => {
                sequence.add(true, 0x7c, false);
                sequence.add(true, 0x12, false);
            }
            Key::Pause if down && ctrl => {
                sequence.add(true, 0x7e, true);
                sequence.add(true, 0x7e, false);
            }
            Key::Pause if down => {
                sequence.raw(0xe1);
                sequence.add(false, 0x14, true);
                sequence.add(false, 0x77, true);
                sequence.raw(0xe1);
                sequence.add(false, 0x14, false);
                sequence.add(false, 0x77, false);
            }
            Key::PressOnly(_) | Key::Pause => {}
        }
        self.queue(&sequence.bytes);
    }

    fn send_set_3(&mut self, code: u16, down: bool) {
        let Some(code) = keys::set_3(code) else { return };
        if down {
            self.queue(&[code]);
        } else if self.releasing.contains(u16::from(code)) {
            self.queue(&[0xf0, code]);
        }
    }

    /// Queues a whole sequence, or the overrun code in its place.
    fn queue(&mut self, sequence: &[u8]) {
        if self.codes.len().saturating_add(sequence.len()) <= CODES {
            for byte in sequence {
                // There is room, as was just checked.
                let _ = self.codes.push_back(*byte);
            }
            return;
        }
        let overrun = if self.set == Set::One { 0xff } else { 0x00 };
        if self.codes.back() != Some(&overrun) {
            // Sequences leave one place free, and the overrun code takes it once.
            let _ = self.codes.push_back(overrun);
        }
    }
}

/// What commands 0xf7 to 0xfd make keys of set 3 do.
const fn behaviour(command: u8) -> Behaviour {
    Behaviour { repeats: matches!(command, 0xf7 | 0xfa | 0xfb), reports_release: matches!(command, 0xf8 | 0xfa | 0xfc) }
}

/// The bytes of one event, in set 1 or 2.
struct Sequence {
    set: Set,
    bytes: Vec<u8, CODES>,
}

impl Sequence {
    const fn new(set: Set) -> Self {
        Self { set, bytes: Vec::new() }
    }

    /// Adds a key, given by its code in set 2.
    fn add(&mut self, extended: bool, code: u8, down: bool) {
        if extended {
            self.raw(0xe0);
        }
        if self.set == Set::One {
            self.raw(keys::translate(code) | if down { 0 } else { 0x80 });
        } else {
            if !down {
                self.raw(0xf0);
            }
            self.raw(code);
        }
    }

    fn raw(&mut self, byte: u8) {
        // The longest sequence, that of Pause, has eight bytes.
        let _ = self.bytes.push(byte);
    }
}
