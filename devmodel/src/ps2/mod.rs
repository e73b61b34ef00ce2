//! Keyboard and mouse of a PC: the i8042 controller with a device on each of its ports.
//!
//! Software reads and writes data at port 0x60, and status and commands at port 0x64. One byte at a time is in the
//! output buffer; the status register says from which device, and the command byte whether it interrupts (IRQ 1 and 12).
//! The controller can translate the keyboard's scan codes from set 2 to set 1.
//!
//! Source: IBM Personal System/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller";
//! Intel UPI-41/42 with the AT's program. SeaBIOS `src/hw/ps2port.c` and Linux `drivers/input/serio/i8042.c` for how the
//! controller is probed.
//!
//! Bytes move into the output buffer in [`I8042::advance`] and nowhere else, so the machine can show the interrupt
//! controller, which counts edges, that a line went low between two bytes.
//!
//! Not modelled: the controller's password and its 31 bytes of other memory; multiplexed ports (a probe for them is
//! answered as by a controller without); IBF (a byte is consumed when it is written); parity and time-out errors; the
//! power-on self-test byte of the keyboard, which firmware throws away.
//! Invariant: queues have a fixed size; what does not fit is answered as the device would (see [`keyboard`], [`mouse`]).

use serde::{Deserialize, Serialize};

pub mod keyboard;
mod keys;
pub mod mouse;
#[cfg(test)]
mod tests;

use crate::host::{InputEvent, Level};
use crate::time::Instant;
use bitflags::bitflags;
use keyboard::Keyboard;
use mouse::Mouse;

/// Port of data.
pub const DATA_PORT: u16 = 0x60;
/// Port of status and commands.
pub const COMMAND_PORT: u16 = 0x64;

/// What the machine must do after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// Reset the processor: the reset line was pulsed.
    Reset,
    /// Let address line 20 through, or hold it at zero.
    A20(bool),
}

bitflags! {
    /// The controller's command byte.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct CommandByte: u8 {
        /// A byte from the keyboard raises IRQ 1.
        const KEYBOARD_INTERRUPT = 1 << 0;
        /// A byte from the mouse raises IRQ 12.
        const MOUSE_INTERRUPT = 1 << 1;
        /// Shown in the status register: the self-test was passed.
        const SYSTEM_FLAG = 1 << 2;
        /// The keyboard's clock is held.
        const KEYBOARD_DISABLED = 1 << 4;
        /// The mouse's clock is held.
        const MOUSE_DISABLED = 1 << 5;
        /// Scan codes of set 2 become those of set 1.
        const TRANSLATE = 1 << 6;
        const _ = !0;
    }

    /// The status register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Status: u8 {
        /// OBF: a byte can be read.
        const OUTPUT_FULL = 1 << 0;
        /// The self-test was passed.
        const SYSTEM_FLAG = 1 << 2;
        /// The last write was a command.
        const COMMAND = 1 << 3;
        /// The keyboard lock is open.
        const UNLOCKED = 1 << 4;
        /// The byte is the mouse's.
        const MOUSE_DATA = 1 << 5;
    }

    /// The output port, P2.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct OutputPort: u8 {
        /// P20: zero resets the processor.
        const RESET_INACTIVE = 1 << 0;
        /// P21: address line 20.
        const A20 = 1 << 1;
        /// P24: a byte of the keyboard is in the output buffer.
        const KEYBOARD_FULL = 1 << 4;
        /// P25: a byte of the mouse is in the output buffer.
        const MOUSE_FULL = 1 << 5;
        const _ = !0;
    }
}

/// A byte and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Output {
    byte: u8,
    from_mouse: bool,
}

/// The command that the next write of data belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Awaits {
    CommandByte,
    OutputPort,
    KeyboardOutput,
    MouseOutput,
    Mouse,
}

/// The controller and both devices.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct I8042 {
    command_byte: CommandByte,
    output_port: OutputPort,
    last_write_was_command: bool,
    awaits: Option<Awaits>,
    /// The output buffer.
    output: Option<Output>,
    /// What the output buffer still shows after it was read.
    last_output: u8,
    /// An answer of the controller itself, next in line for the output buffer.
    answer: Option<Output>,
    /// The translation has seen 0xf0: the next byte is that of a released key.
    release_seen: bool,
    keyboard: Keyboard,
    mouse: Mouse,
}

impl Default for I8042 {
    fn default() -> Self {
        Self::new()
    }
}

impl I8042 {
    /// The state after power on: both ports are enabled and interrupt, nothing is translated.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            command_byte: CommandByte::KEYBOARD_INTERRUPT.union(CommandByte::MOUSE_INTERRUPT),
            output_port: OutputPort::from_bits_retain(0xcf),
            last_write_was_command: true,
            awaits: None,
            output: None,
            last_output: 0,
            answer: None,
            release_seen: false,
            keyboard: Keyboard::new(),
            mouse: Mouse::new(),
        }
    }

    /// The state after a reset of the machine. Which keys and buttons a person holds down does not change.
    pub fn reset(&mut self) {
        let Self { keyboard, mouse, .. } = core::mem::take(self);
        (self.keyboard, self.mouse) = (keyboard.after_reset(), mouse.after_reset());
    }

    /// Reads data or status. `port` may be the port or its offset: the chip decodes address line 2 alone.
    ///
    /// After a read of data the output buffer is empty until [`Self::advance`].
    pub fn read(&mut self, port: u16) -> u8 {
        if port & 4 != 0 {
            return self.status().bits();
        }
        if let Some(output) = self.output.take() {
            self.last_output = output.byte;
        }
        self.last_output
    }

    /// Writes data or a command. `port` is as in [`Self::read`].
    pub fn write(&mut self, port: u16, value: u8) -> Effect {
        self.last_write_was_command = port & 4 != 0;
        if self.last_write_was_command {
            self.awaits = None;
            return self.perform_command(value);
        }
        match self.awaits.take() {
            None => {
                // Sending to the keyboard starts its clock.
                self.command_byte.remove(CommandByte::KEYBOARD_DISABLED);
                self.keyboard.write(value);
            }
            Some(Awaits::CommandByte) => self.command_byte = CommandByte::from_bits_retain(value),
            Some(Awaits::OutputPort) => return self.write_output_port(value),
            Some(Awaits::KeyboardOutput) => self.answer_with(value),
            Some(Awaits::MouseOutput) => self.answer = Some(Output { byte: value, from_mouse: true }),
            Some(Awaits::Mouse) => {
                self.command_byte.remove(CommandByte::MOUSE_DISABLED);
                self.mouse.write(value);
            }
        }
        Effect::Nothing
    }

    /// Whether there are scan codes that the guest has not read.
    pub(crate) fn has_unread_keys(&self) -> bool {
        self.keyboard.has_codes() || self.output.is_some_and(|output| !output.from_mouse)
    }

    /// Moves the next byte into the output buffer, if it is empty. `true`: one was moved, lines may have changed.
    ///
    /// To be called after every access and every input, and after the levels of the lines were reported.
    pub fn advance(&mut self) -> bool {
        if self.output.is_some() {
            return false;
        }
        self.output = self.answer.take().or_else(|| self.next_keyboard_byte()).or_else(|| self.next_mouse_byte());
        self.output.is_some()
    }

    /// IRQ 1.
    #[must_use]
    pub fn irq1_level(&self) -> Level {
        let full = self.output.is_some_and(|output| !output.from_mouse);
        Level::from(full && self.command_byte.contains(CommandByte::KEYBOARD_INTERRUPT))
    }

    /// IRQ 12.
    #[must_use]
    pub fn irq12_level(&self) -> Level {
        let full = self.output.is_some_and(|output| output.from_mouse);
        Level::from(full && self.command_byte.contains(CommandByte::MOUSE_INTERRUPT))
    }

    /// Hands an event that happens `now` to the keyboard or the mouse.
    pub fn input(&mut self, event: InputEvent, now: Instant) {
        match event {
            InputEvent::Key { code, down } => self.keyboard.key(code, down, now),
            InputEvent::Button { .. } | InputEvent::Motion { .. } | InputEvent::Position { .. } => {
                self.mouse.input(event);
            }
        }
    }

    /// Says how large the picture is, so that positions can be turned into movements.
    pub const fn screen_resized(&mut self, width: u32, height: u32) {
        self.mouse.screen_resized(width, height);
    }

    /// Whether address line 20 is let through. Port 0x92 has the same line.
    #[must_use]
    pub const fn a20(&self) -> bool {
        self.output_port.contains(OutputPort::A20)
    }

    /// Port 0x92 moved address line 20.
    pub fn set_a20(&mut self, through: bool) {
        self.output_port.set(OutputPort::A20, through);
    }

    /// The keyboard's lamps: bit 0 scroll lock, bit 1 num lock, bit 2 caps lock.
    #[must_use]
    pub const fn lamps(&self) -> u8 {
        self.keyboard.lamps()
    }

    fn status(&self) -> Status {
        let mut status = Status::UNLOCKED;
        status.set(Status::OUTPUT_FULL, self.output.is_some());
        status.set(Status::MOUSE_DATA, self.output.is_some_and(|output| output.from_mouse));
        status.set(Status::SYSTEM_FLAG, self.command_byte.contains(CommandByte::SYSTEM_FLAG));
        status.set(Status::COMMAND, self.last_write_was_command);
        status
    }

    fn perform_command(&mut self, command: u8) -> Effect {
        match command {
            0x20 => self.answer_with(self.command_byte.bits()),
            0x60 => self.awaits = Some(Awaits::CommandByte),
            // Is there a password? No.
            0xa4 => self.answer_with(0xf1),
            0xa7 => self.command_byte.insert(CommandByte::MOUSE_DISABLED),
            0xa8 => self.command_byte.remove(CommandByte::MOUSE_DISABLED),
            // Tests of the mouse's lines, of the controller, and of the keyboard's lines.
            0xa9 | 0xab => self.answer_with(0x00),
            0xaa => {
                self.command_byte.insert(CommandByte::SYSTEM_FLAG);
                self.answer_with(0x55);
            }
            0xad => self.command_byte.insert(CommandByte::KEYBOARD_DISABLED),
            0xae => self.command_byte.remove(CommandByte::KEYBOARD_DISABLED),
            // The input port: the keyboard lock is open.
            0xc0 => self.answer_with(0x80),
            0xd0 => self.answer_with(self.read_output_port().bits()),
            0xd1 => self.awaits = Some(Awaits::OutputPort),
            0xd2 => self.awaits = Some(Awaits::KeyboardOutput),
            0xd3 => self.awaits = Some(Awaits::MouseOutput),
            0xd4 => self.awaits = Some(Awaits::Mouse),
            // Shortcuts of later controllers.
            0xdd => return self.move_a20(false),
            0xdf => return self.move_a20(true),
            // Bits 0 to 3 of the output port go low for 6 µs where the command has zeros.
            0xf0..=0xff if command & 1 == 0 => return Effect::Reset,
            _ => {}
        }
        Effect::Nothing
    }

    const fn answer_with(&mut self, byte: u8) {
        self.answer = Some(Output { byte, from_mouse: false });
    }

    fn read_output_port(&self) -> OutputPort {
        let mut port = self.output_port;
        port.set(OutputPort::KEYBOARD_FULL, self.output.is_some_and(|output| !output.from_mouse));
        port.set(OutputPort::MOUSE_FULL, self.output.is_some_and(|output| output.from_mouse));
        port
    }

    fn write_output_port(&mut self, value: u8) -> Effect {
        let new = OutputPort::from_bits_retain(value);
        if !new.contains(OutputPort::RESET_INACTIVE) {
            return Effect::Reset;
        }
        let old = core::mem::replace(&mut self.output_port, new);
        if (old ^ new).contains(OutputPort::A20) { Effect::A20(self.a20()) } else { Effect::Nothing }
    }

    fn move_a20(&mut self, through: bool) -> Effect {
        if self.a20() == through {
            return Effect::Nothing;
        }
        self.set_a20(through);
        Effect::A20(through)
    }

    fn next_keyboard_byte(&mut self) -> Option<Output> {
        if self.command_byte.contains(CommandByte::KEYBOARD_DISABLED) {
            return None;
        }
        loop {
            let byte = self.keyboard.next_byte()?;
            if !self.command_byte.contains(CommandByte::TRANSLATE) {
                return Some(Output { byte, from_mouse: false });
            }
            if byte == 0xf0 {
                // Swallowed; the keyboard has the rest of the sequence, or something else to say later.
                self.release_seen = true;
                continue;
            }
            let release = if core::mem::take(&mut self.release_seen) { 0x80 } else { 0 };
            return Some(Output { byte: keys::translate(byte) | release, from_mouse: false });
        }
    }

    fn next_mouse_byte(&mut self) -> Option<Output> {
        if self.command_byte.contains(CommandByte::MOUSE_DISABLED) {
            return None;
        }
        self.mouse.next_byte().map(|byte| Output { byte, from_mouse: true })
    }
}
