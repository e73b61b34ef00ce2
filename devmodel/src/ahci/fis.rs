//! Frame information structures: the command of a driver, and what a port writes into memory.
//!
//! Source: Serial ATA 2.6, section 10.3 (layouts); AHCI 1.3.1, section 4.2.1 (where a port writes them).

use crate::ata::command::Depth;
use serde::{Deserialize, Serialize};

/// Bytes of a command's FIS.
pub(super) const COMMAND_LEN: usize = 20;
/// Register FIS from the host to the device.
const HOST_TO_DEVICE: u8 = 0x27;
/// Its second byte: it is a command, not the device control register.
const IS_COMMAND: u8 = 0x80;
/// Device register: the address is a sector's number.
const DEVICE_LBA: u8 = 0x40;

/// Where in the receive area a port writes what came.
pub(super) const PIO_SETUP_AT: u64 = 0x20;
pub(super) const REGISTERS_AT: u64 = 0x40;
pub(super) const DEVICE_BITS_AT: u64 = 0x58;

/// What a driver sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// A command.
    Command(Registers),
    /// The device control register.
    Control(u8),
}

/// The registers of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registers {
    pub(super) command: u8,
    pub(super) features: u16,
    /// 48 bits.
    pub(super) lba: u64,
    pub(super) count: u16,
    pub(super) device: u8,
}

/// Reads one. `None`: it is something else.
pub(super) fn parse(bytes: &[u8; COMMAND_LEN]) -> Option<Sent> {
    let [kind, flags, command, features, a, b, c, device, d, e, f, features_high, count, count_high, _, control, ..] =
        *bytes;
    if kind != HOST_TO_DEVICE {
        return None;
    }
    if flags & IS_COMMAND == 0 {
        return Some(Sent::Control(control));
    }
    Some(Sent::Command(Registers {
        command,
        features: u16::from_le_bytes([features, features_high]),
        lba: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]),
        count: u16::from_le_bytes([count, count_high]),
        device,
    }))
}

impl Registers {
    /// The sector's number. `None`: it is given by cylinder.
    pub(super) fn address(&self, depth: Depth) -> Option<u64> {
        match depth {
            Depth::Extended => Some(self.lba),
            Depth::Short if self.device & DEVICE_LBA != 0 => {
                Some(self.lba & 0x00ff_ffff | u64::from(self.device & 0x0f) << 24)
            }
            Depth::Short => None,
        }
    }

    /// Sectors. As QEMU's drives, a command with a short address takes a count of 16 bits too: the field is there.
    pub(super) fn sectors(&self, depth: Depth) -> u32 {
        match (depth, self.count) {
            (Depth::Short, 0) => 256,
            (Depth::Short, count) => count.into(),
            (Depth::Extended, 0) => 0x1_0000,
            (Depth::Extended, count) => count.into(),
        }
    }
}

/// The registers as a device leaves them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TaskFile {
    pub(super) status: u8,
    pub(super) error: u8,
    pub(super) lba: u64,
    pub(super) count: u16,
    pub(super) device: u8,
}

impl TaskFile {
    /// Register FIS from the device to the host.
    pub(super) fn registers(&self, interrupts: bool) -> [u8; 20] {
        self.layout(0x34, if interrupts { 1 << 6 } else { 0 })
    }

    /// PIO setup FIS: `len` bytes come, from the drive or to it, and the status behind them.
    pub(super) fn pio_setup(&self, status_before: u8, to_drive: bool, len: u16) -> [u8; 20] {
        let direction = if to_drive { 0 } else { 1 << 5 };
        let mut bytes = Self { status: status_before, ..*self }.layout(0x5f, 1 << 6 | direction);
        bytes[15] = self.status;
        let [low, high] = len.to_le_bytes();
        (bytes[16], bytes[17]) = (low, high);
        bytes
    }

    fn layout(&self, kind: u8, flags: u8) -> [u8; 20] {
        let [a, b, c, d, e, f, ..] = self.lba.to_le_bytes();
        let [count, count_high] = self.count.to_le_bytes();
        let mut bytes = [0; 20];
        let start = [kind, flags, self.status, self.error, a, b, c, self.device, d, e, f, 0, count, count_high];
        for (to, from) in bytes.iter_mut().zip(start) {
            *to = from;
        }
        bytes
    }

    /// Set device bits FIS: queued commands that are done.
    pub(super) fn device_bits(&self, done: u32) -> [u8; 8] {
        let [a, b, c, d] = done.to_le_bytes();
        [0xa1, 1 << 6, self.status & 0x77, self.error, a, b, c, d]
    }
}
