//! A serial port: the 16550A with its FIFOs of 16 bytes.
//!
//! A driver sets the divisor and format, enables the FIFOs, and then either looks at the line status register before it
//! writes each byte, or lets the empty transmitter interrupt and writes up to sixteen. Eight bytes of I/O space.
//!
//! Source: National Semiconductor PC16550D data sheet; Linux `drivers/tty/serial/8250/8250_port.c` for how a port is
//! probed.
//!
//! The line has no speed: a byte is on its way when it was written, unless the host has no room, in which case it waits
//! here and the transmitter is not empty until [`Uart16550::ready`] was able to send all of it. Bytes come from the host
//! only as there is room, so an overrun happens in loopback mode alone.
//!
//! The character time-out interrupt comes at once when fewer bytes than the trigger level wait, not after four characters'
//! time. Drivers read until the FIFO is empty in either case, so they cannot tell it from a line that went quiet, and no
//! timer has to wake anybody.
//!
//! Not modelled: the speed and format of characters (divisor and LCR are storage); parity errors; framing errors but
//! for those of a break; a break on the outside (the host's side of the line is a stream of bytes); DMA signalling.
//! Invariant: `transmitter` is empty unless the host refused a byte.
//! Invariant: without FIFOs, receiver and transmitter hold one byte at most.

use crate::state::{Adopt, StateError};
use serde::{Deserialize, Serialize};

mod regs;
#[cfg(test)]
mod tests;

use crate::host::{Level, SerialHost, SerialId};
use heapless::Deque;
use regs::{
    Cause, FIFOS_ENABLED, FifoControl, InterruptEnable, LineControl, LineStatus, ModemControl, ModemStatus,
    NO_INTERRUPT, trigger_level,
};

/// Bytes in each FIFO.
const FIFO_LEN: usize = 16;

/// I/O space of a port in bytes.
pub const PORTS: u16 = 8;

/// First port and ISA interrupt line of COM1 to COM4.
pub const COM: [(u16, u8); 4] = [(0x3f8, 4), (0x2f8, 3), (0x3e8, 4), (0x2e8, 3)];

/// A byte in the receiver, and whether it stands for a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Received {
    byte: u8,
    is_break: bool,
}

/// One port.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Uart16550 {
    // Configuration.
    #[serde(skip)]
    id: SerialId,

    // What the guest sees.
    divisor: u16,
    interrupt_enable: InterruptEnable,
    fifos_enabled: bool,
    trigger: usize,
    line_control: LineControl,
    modem_control: ModemControl,
    modem_status: ModemStatus,
    scratch: u8,
    /// A byte was lost since the line status was read.
    overrun: bool,
    /// The transmitter became empty, and the driver has not been told yet.
    empty_to_report: bool,
    receiver: Deque<Received, FIFO_LEN>,
    transmitter: Deque<u8, FIFO_LEN>,
}

impl Adopt for Uart16550 {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        *self = Self { id: self.id, ..saved };
        Ok(())
    }
}

impl Uart16550 {
    /// A port after power on. `id` says which of the host's lines it is on.
    #[must_use]
    pub const fn new(id: SerialId) -> Self {
        Self {
            id,
            divisor: 12,
            interrupt_enable: InterruptEnable::empty(),
            fifos_enabled: false,
            trigger: 1,
            line_control: LineControl::empty(),
            modem_control: ModemControl::empty(),
            modem_status: ModemStatus::CONNECTED,
            scratch: 0,
            overrun: false,
            empty_to_report: false,
            receiver: Deque::new(),
            transmitter: Deque::new(),
        }
    }

    /// Master reset. Bytes that wait for the host are lost.
    pub fn reset(&mut self) {
        *self = Self::new(self.id);
    }

    /// Reads the register at `offset`, 0 to 7.
    pub fn read(&mut self, offset: u16) -> u8 {
        match offset & 7 {
            0 if self.divisor_access() => self.divisor.to_le_bytes()[0],
            0 => self.receiver.pop_front().map_or(0, |received| received.byte),
            1 if self.divisor_access() => self.divisor.to_le_bytes()[1],
            1 => self.interrupt_enable.bits(),
            2 => self.read_interrupt_identification(),
            3 => self.line_control.bits(),
            4 => self.modem_control.bits(),
            5 => self.read_line_status(),
            6 => self.read_modem_status(),
            _ => self.scratch,
        }
    }

    /// Writes the register at `offset`, 0 to 7.
    pub fn write(&mut self, offset: u16, value: u8, host: &mut (impl SerialHost + ?Sized)) {
        match offset & 7 {
            0 if self.divisor_access() => self.divisor = u16::from_le_bytes([value, self.divisor.to_le_bytes()[1]]),
            0 => self.transmit(value, host),
            1 if self.divisor_access() => self.divisor = u16::from_le_bytes([self.divisor.to_le_bytes()[0], value]),
            1 => self.write_interrupt_enable(InterruptEnable::from_bits_truncate(value)),
            2 => self.write_fifo_control(value),
            3 => self.write_line_control(LineControl::from_bits_retain(value)),
            4 => self.write_modem_control(ModemControl::from_bits_truncate(value)),
            // Line and modem status are read-only; the data sheet keeps writing LSR for factory tests.
            5 | 6 => {}
            _ => self.scratch = value,
        }
    }

    /// Sends what waits, now that the host has room again.
    pub fn ready(&mut self, host: &mut (impl SerialHost + ?Sized)) {
        let waited = !self.transmitter.is_empty();
        while let Some(byte) = self.transmitter.front() {
            if !host.serial_send(self.id, *byte) {
                return;
            }
            self.transmitter.pop_front();
        }
        if waited {
            self.empty_to_report = true;
        }
    }

    /// How many bytes [`Self::receive`] takes now. More after the guest has read some, or has left loopback mode.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.modem_control.contains(ModemControl::LOOPBACK) {
            return 0;
        }
        self.receiver_len().saturating_sub(self.receiver.len())
    }

    /// Takes bytes from the host, and returns how many; the host keeps the rest.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        let room = self.room();
        for byte in bytes.iter().take(room) {
            self.push_received(Received { byte: *byte, is_break: false });
        }
        bytes.len().min(room)
    }

    /// The interrupt line, as it arrives at the bus.
    #[must_use]
    pub fn irq_level(&self) -> Level {
        Level::from(self.modem_control.contains(ModemControl::OUT2) && self.cause().is_some())
    }

    const fn divisor_access(&self) -> bool {
        self.line_control.contains(LineControl::DIVISOR_ACCESS)
    }

    const fn receiver_len(&self) -> usize {
        if self.fifos_enabled { FIFO_LEN } else { 1 }
    }

    /// The most important reason for an interrupt that is enabled.
    fn cause(&self) -> Option<Cause> {
        let enabled = self.interrupt_enable;
        let head_is_break = self.receiver.front().is_some_and(|received| received.is_break);
        if enabled.contains(InterruptEnable::LINE_STATUS) && (self.overrun || head_is_break) {
            Some(Cause::LineStatus)
        } else if enabled.contains(InterruptEnable::RECEIVED) && !self.receiver.is_empty() {
            let reached = !self.fifos_enabled || self.receiver.len() >= self.trigger;
            Some(if reached { Cause::Received } else { Cause::CharacterTimeout })
        } else if enabled.contains(InterruptEnable::TRANSMITTER_EMPTY) && self.empty_to_report {
            Some(Cause::TransmitterEmpty)
        } else if enabled.contains(InterruptEnable::MODEM_STATUS) && self.modem_status.intersects(ModemStatus::DELTAS) {
            Some(Cause::ModemStatus)
        } else {
            None
        }
    }

    fn read_interrupt_identification(&mut self) -> u8 {
        let cause = self.cause();
        if cause == Some(Cause::TransmitterEmpty) {
            // "Reading the IIR register (if source of interrupt)" resets it.
            self.empty_to_report = false;
        }
        cause.map_or(NO_INTERRUPT, Cause::code) | if self.fifos_enabled { FIFOS_ENABLED } else { 0 }
    }

    fn read_line_status(&mut self) -> u8 {
        let mut status = LineStatus::empty();
        if self.transmitter.is_empty() {
            status |= LineStatus::HOLDING_EMPTY | LineStatus::TRANSMITTER_EMPTY;
        }
        if !self.receiver.is_empty() {
            status |= LineStatus::DATA_READY;
            if self.fifos_enabled && self.receiver.iter().any(|received| received.is_break) {
                status |= LineStatus::FIFO_ERROR;
            }
            if let Some(head) = self.receiver.front_mut()
                && core::mem::take(&mut head.is_break)
            {
                status |= LineStatus::BREAK | LineStatus::FRAMING_ERROR;
            }
        }
        if core::mem::take(&mut self.overrun) {
            status |= LineStatus::OVERRUN;
        }
        status.bits()
    }

    fn read_modem_status(&mut self) -> u8 {
        let status = self.modem_status;
        self.modem_status.remove(ModemStatus::DELTAS);
        status.bits()
    }

    fn transmit(&mut self, byte: u8, host: &mut (impl SerialHost + ?Sized)) {
        self.empty_to_report = false;
        if self.modem_control.contains(ModemControl::LOOPBACK) {
            self.push_received(Received { byte, is_break: false });
        } else if !self.transmitter.is_empty() || !host.serial_send(self.id, byte) {
            // A byte written to a full transmitter is lost.
            if self.transmitter.len() < self.receiver_len() {
                let _ = self.transmitter.push_back(byte);
            }
            return;
        }
        self.empty_to_report = self.transmitter.is_empty();
    }

    fn push_received(&mut self, received: Received) {
        if self.receiver.len() < self.receiver_len() {
            // There is room, as was just checked.
            let _ = self.receiver.push_back(received);
            return;
        }
        self.overrun = true;
        if !self.fifos_enabled {
            // Without FIFOs the newer byte replaces the one that was not read.
            self.receiver.clear();
            let _ = self.receiver.push_back(received);
        }
    }

    fn write_interrupt_enable(&mut self, new: InterruptEnable) {
        let old = core::mem::replace(&mut self.interrupt_enable, new);
        let switched_on = new.difference(old).contains(InterruptEnable::TRANSMITTER_EMPTY);
        if switched_on && self.transmitter.is_empty() {
            // Drivers start to send by enabling this interrupt while the transmitter is empty.
            self.empty_to_report = true;
        }
    }

    fn write_fifo_control(&mut self, value: u8) {
        let control = FifoControl::from_bits_truncate(value);
        let enable = control.contains(FifoControl::ENABLE);
        // "Resetting FCR0 will clear all of the bytes in both FIFOs", and so does setting it.
        let switched = enable != self.fifos_enabled;
        self.fifos_enabled = enable;
        self.trigger = if enable { trigger_level(value) } else { 1 };
        if switched || (enable && control.contains(FifoControl::RESET_RECEIVER)) {
            self.receiver.clear();
        }
        if (switched || (enable && control.contains(FifoControl::RESET_TRANSMITTER))) && !self.transmitter.is_empty() {
            self.transmitter.clear();
            self.empty_to_report = true;
        }
    }

    fn write_line_control(&mut self, new: LineControl) {
        let old = core::mem::replace(&mut self.line_control, new);
        let starts = new.difference(old).contains(LineControl::BREAK);
        if starts && self.modem_control.contains(ModemControl::LOOPBACK) {
            self.push_received(Received { byte: 0, is_break: true });
        }
    }

    fn write_modem_control(&mut self, new: ModemControl) {
        self.modem_control = new;
        let old = self.modem_status;
        let mut lines = ModemStatus::CONNECTED;
        if new.contains(ModemControl::LOOPBACK) {
            lines = ModemStatus::empty();
            lines.set(ModemStatus::CTS, new.contains(ModemControl::RTS));
            lines.set(ModemStatus::DSR, new.contains(ModemControl::DTR));
            lines.set(ModemStatus::RI, new.contains(ModemControl::OUT1));
            lines.set(ModemStatus::DCD, new.contains(ModemControl::OUT2));
        }
        let mut deltas = old & ModemStatus::DELTAS;
        let changed = (old & !ModemStatus::DELTAS) ^ lines;
        for (line, delta) in [
            (ModemStatus::CTS, ModemStatus::DELTA_CTS),
            (ModemStatus::DSR, ModemStatus::DELTA_DSR),
            (ModemStatus::DCD, ModemStatus::DELTA_DCD),
        ] {
            if changed.contains(line) {
                deltas |= delta;
            }
        }
        if changed.contains(ModemStatus::RI) && old.contains(ModemStatus::RI) {
            deltas |= ModemStatus::RING_ENDED;
        }
        self.modem_status = lines | deltas;
    }
}
