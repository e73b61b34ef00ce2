//! Bus-master engine of one PIIX3 IDE channel.
//!
//! A driver writes the address of a table of physical regions, picks a direction, sets Start, and later finds
//! Interrupt in the status byte. Eight bytes of I/O space for each channel, at BAR4 + 0 and BAR4 + 8; any width.
//!
//! An entry of the table is eight bytes: the address of a region, its length (0 is 64 KiB), and in the highest bit
//! whether it is the last. How the two state bits look at the end tells a driver what happened:
//!
//! | Interrupt | Active | |
//! |---|---|---|
//! | 1 | 0 | the regions were as long as the transfer |
//! | 1 | 1 | the regions are longer than the transfer |
//! | 0 | 0 | the regions are shorter than the transfer, or a region is not memory (Error is set then) |
//!
//! Source: Intel 82371FB/82371SB data sheet, section 2.4 (BMICX, BMISX, BMIDTPX) and 3.6 (bus master function).
//! Not modelled: simplex mode; RWCON decides nothing, the command's own direction counts.
//! Invariant: `walk` is there exactly while the engine is active.

use crate::access::{Width, read_bytes, write_bytes};
use crate::host::{GuestAddr, GuestMemory, Unmapped};
use serde::{Deserialize, Serialize};

/// BMICX, SSBM: the engine is started.
const START: u8 = 1 << 0;
/// BMICX, RWCON: the transfer writes to memory.
const WRITES_MEMORY: u8 = 1 << 3;
/// BMISX, BMIDEA, read-only: the engine is running.
const ACTIVE: u8 = 1 << 0;
/// BMISX, error, write one to clear.
const ERROR: u8 = 1 << 1;
/// BMISX, IDEINTS, write one to clear.
const INTERRUPT: u8 = 1 << 2;
/// BMISX, DMA0CAP and DMA1CAP, storage for software.
const CAPABLE: u8 = 1 << 5 | 1 << 6;

/// The most entries that a table has: it "must not cross a 64-Kbyte boundary".
const MOST_ENTRIES: u16 = 8192;
/// Length word of an entry: it is the last.
const END_OF_TABLE: u32 = 1 << 31;

/// What the channel must do after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Effect {
    Nothing,
    /// Start went from 0 to 1.
    Start,
    /// Start went from 1 to 0 while the engine was active.
    Stop,
}

/// How far the engine got in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Walk {
    next_entry: u32,
    entries_left: u16,
    addr: u32,
    len: u32,
    last: bool,
}

/// The registers of one channel's engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BusMaster {
    command: u8,
    /// Without [`ACTIVE`], which `walk` stands for.
    status: u8,
    table: u32,
    walk: Option<Walk>,
}

impl BusMaster {
    /// Reads at `offset`. Reserved bytes read as zero.
    pub(super) fn read(&self, offset: u16, width: Width) -> u32 {
        let [t0, t1, t2, t3] = self.table.to_le_bytes();
        let active = if self.is_active() { ACTIVE } else { 0 };
        let value = read_bytes(offset, width, |at| match at {
            0 => self.command,
            2 => self.status | active,
            4 => t0,
            5 => t1,
            6 => t2,
            7 => t3,
            _ => 0,
        });
        let [a, b, c, d, ..] = value.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// Writes at `offset`. Writes to reserved bytes are dropped.
    pub(super) fn write(&mut self, offset: u16, width: Width, value: u32) -> Effect {
        let mut effect = Effect::Nothing;
        write_bytes(offset, width, value.into(), |at, byte| match at {
            0 => effect = self.write_command(byte),
            2 => self.status = byte & CAPABLE | self.status & !byte & (ERROR | INTERRUPT),
            4..=7 => {
                let mut table = self.table.to_le_bytes();
                if let Some(cell) = table.get_mut(usize::from(at & 3)) {
                    *cell = byte;
                }
                // "Bits 1:0 are hardwired to 0".
                self.table = u32::from_le_bytes(table) & !3;
            }
            _ => {}
        });
        effect
    }

    fn write_command(&mut self, value: u8) -> Effect {
        let old = core::mem::replace(&mut self.command, value & (START | WRITES_MEMORY));
        match (old & START != 0, value & START != 0) {
            (false, true) => {
                self.walk =
                    Some(Walk { next_entry: self.table, entries_left: MOST_ENTRIES, addr: 0, len: 0, last: false });
                Effect::Start
            }
            // An engine that has come to its end by itself has nothing left to stop.
            (true, false) if self.walk.take().is_some() => Effect::Stop,
            _ => Effect::Nothing,
        }
    }

    /// Whether the engine runs.
    pub(super) const fn is_active(&self) -> bool {
        self.walk.is_some()
    }

    /// Latches the rising edge of the channel's interrupt.
    pub(super) fn latch_interrupt(&mut self) {
        self.status |= INTERRUPT;
    }

    /// Ends with the error bit: a region is not memory.
    pub(super) fn fail(&mut self) {
        self.status |= ERROR;
        self.walk = None;
    }

    /// Ends because the table has: the drive has more data than the regions take.
    pub(super) fn run_dry(&mut self) {
        self.walk = None;
    }

    /// The drive has ended its command. The engine stays active if the table goes on.
    pub(super) fn command_ended(&mut self) {
        if self.walk.is_some_and(|walk| walk.last && walk.len == 0) {
            self.walk = None;
        }
    }

    /// Takes the next piece of guest memory, of at most `most` bytes, off the table. `None`: the table has ended.
    pub(super) fn next_piece<M: GuestMemory>(
        &mut self,
        memory: &mut M,
        most: usize,
    ) -> Result<Option<(GuestAddr, usize)>, Unmapped> {
        let Some(walk) = &mut self.walk else { return Ok(None) };
        if walk.len == 0 {
            let Some(left) = walk.entries_left.checked_sub(1).filter(|_| !walk.last) else { return Ok(None) };
            let mut entry = [0; 8];
            memory.read(GuestAddr(walk.next_entry.into()), &mut entry)?;
            let [a0, a1, a2, a3, l0, l1, l2, l3] = entry;
            let length = u32::from_le_bytes([l0, l1, l2, l3]);
            // Bit 0 of address and length is zero: regions are words.
            walk.addr = u32::from_le_bytes([a0, a1, a2, a3]) & !1;
            walk.len = match length & 0xfffe {
                0 => 0x1_0000,
                len => len,
            };
            walk.last = length & END_OF_TABLE != 0;
            walk.next_entry = walk.next_entry.wrapping_add(8);
            walk.entries_left = left;
        }
        let len = walk.len.min(u32::try_from(most).unwrap_or(u32::MAX));
        let piece = GuestAddr(walk.addr.into());
        walk.addr = walk.addr.wrapping_add(len);
        walk.len = walk.len.saturating_sub(len);
        Ok(Some((piece, usize::try_from(len).unwrap_or(0))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_host::FakeHost;

    fn entry(host: &mut FakeHost, at: u64, addr: u32, length: u32) {
        host.write(GuestAddr(at), &addr.to_le_bytes()).unwrap();
        host.write(GuestAddr(at + 4), &length.to_le_bytes()).unwrap();
    }

    /// Data sheet, BMISX: R/WC bits clear where a one is written and keep their value under a zero.
    #[test]
    fn error_and_interrupt_clear_only_where_one_is_written() {
        let mut engine = BusMaster::default();
        engine.latch_interrupt();
        engine.fail();
        assert_eq!(engine.write(2, Width::Byte, 0x60), Effect::Nothing);
        assert_eq!(engine.read(2, Width::Byte), 0x66);
        assert_eq!(engine.write(2, Width::Byte, 0x62), Effect::Nothing);
        assert_eq!(engine.read(2, Width::Byte), 0x64);
        assert_eq!(engine.write(2, Width::Byte, 0x05), Effect::Nothing);
        assert_eq!(engine.read(2, Width::Byte), 0);
    }

    #[test]
    fn start_makes_the_engine_active_and_stop_ends_it() {
        let mut engine = BusMaster::default();
        assert_eq!(engine.write(0, Width::Byte, 0x09), Effect::Start);
        assert_eq!(engine.read(0, Width::Dword), 0x0001_0009);
        assert_eq!(engine.write(0, Width::Byte, 0x09), Effect::Nothing);
        assert_eq!(engine.write(0, Width::Byte, 0x08), Effect::Stop);
        assert_eq!(engine.read(0, Width::Dword), 0x0000_0008);
    }

    #[test]
    fn the_table_address_is_a_multiple_of_four_in_any_width() {
        let mut engine = BusMaster::default();
        assert_eq!(engine.write(4, Width::Dword, 0x1234_5677), Effect::Nothing);
        assert_eq!(engine.write(6, Width::Word, 0xabcd), Effect::Nothing);
        assert_eq!(engine.read(4, Width::Dword), 0xabcd_5674);
    }

    #[test]
    fn pieces_follow_the_table_and_a_length_of_zero_is_64_kib() {
        let mut host = FakeHost::new(0x1_0000);
        entry(&mut host, 0x1000, 0x2001, 0x0003);
        entry(&mut host, 0x1008, 0x4000, 0x8000_0000);
        let mut engine = BusMaster::default();
        assert_eq!(engine.write(4, Width::Dword, 0x1000), Effect::Nothing);
        assert_eq!(engine.write(0, Width::Byte, 1), Effect::Start);
        assert_eq!(engine.next_piece(&mut host, 512), Ok(Some((GuestAddr(0x2000), 2))));
        assert_eq!(engine.next_piece(&mut host, 512), Ok(Some((GuestAddr(0x4000), 512))));
        assert_eq!(engine.next_piece(&mut host, 0x2_0000), Ok(Some((GuestAddr(0x4200), 0xfe00))));
        assert_eq!(engine.next_piece(&mut host, 512), Ok(None));
        engine.command_ended();
        assert!(!engine.is_active());
    }

    #[test]
    fn a_table_without_end_ends() {
        let mut host = FakeHost::new(0x4_0000);
        for index in 0..9000 {
            entry(&mut host, index * 8, 0x3_0000, 2);
        }
        let mut engine = BusMaster::default();
        assert_eq!(engine.write(0, Width::Byte, 1), Effect::Start);
        for _ in 0..8192 {
            assert_eq!(engine.next_piece(&mut host, 512), Ok(Some((GuestAddr(0x3_0000), 2))));
        }
        assert_eq!(engine.next_piece(&mut host, 512), Ok(None));
    }

    #[test]
    fn a_table_outside_of_memory_is_an_error() {
        let mut host = FakeHost::new(0x1000);
        let mut engine = BusMaster::default();
        assert_eq!(engine.write(4, Width::Dword, 0xffc), Effect::Nothing);
        assert_eq!(engine.write(0, Width::Byte, 1), Effect::Start);
        assert_eq!(engine.next_piece(&mut host, 512), Err(Unmapped));
    }
}
