//! The CPU at work in the machine: what it reaches, how long that takes, and whose turn it is.
//!
//! The clock is the CPU's: instructions and accesses take their time, and a CPU that is halted goes on at the next deadline
//! at once. So a program runs the same each time, however fast this machine is.

use devmodel::access::Width;
use devmodel::time::Instant;

use crate::board::Board;
use crate::cpu::bus::{Bus, Changed};
use crate::cpu::{Cpu, Stopped};
use crate::pc::Pc;
use crate::ram::Piece;

/// Nanoseconds of an access that leaves the CPU's memory.
const ACCESS_TIME: u64 = 500;
/// Nanoseconds of a turn, after which others are listened to.
const TURN: u64 = 1_000_000;
/// Deadlines in a turn of a CPU that sleeps.
const DEADLINES_MAX: u32 = 100;
/// Nanoseconds that the CPU gets in any case.
const TURN_MIN: u64 = 1000;

/// The CPU and what is around it.
#[derive(Debug)]
pub(crate) struct Guest {
    /// `None`: it is at work.
    cpu: Option<Cpu>,
    /// Interrupt controllers and timers.
    pub(crate) board: Board,
    /// When it has to stop.
    until: u64,
    /// When its turn is over.
    turn_ends: u64,
    a20_mask: u32,
}

impl Default for Guest {
    fn default() -> Self {
        Self { cpu: Some(Cpu::new()), board: Board::default(), until: 0, turn_ends: 0, a20_mask: u32::MAX }
    }
}

impl Guest {
    /// Begins anew.
    pub(crate) fn reset(&mut self, now: Instant) {
        self.board = Board::new(now.0);
        self.a20_mask = u32::MAX;
        if let Some(cpu) = &mut self.cpu {
            cpu.reset();
        }
    }
}

impl Pc {
    /// Gives the CPU a turn. `false`: there is none, or it waits for something that time alone does not bring.
    pub(crate) fn run(&mut self) -> bool {
        let Some(mut cpu) = self.guest.as_mut().and_then(|guest| guest.cpu.take()) else { return false };
        let end = self.world.now.after(TURN);
        let mut goes_on = true;
        for _ in 0..DEADLINES_MAX {
            self.begin_run(end);
            match cpu.run(self) {
                Stopped::Due => {}
                Stopped::Halted => match self.deadline().filter(|_| !cpu.is_halted_for_ever()) {
                    Some(deadline) => self.world.now = self.world.now.max(deadline),
                    None => goes_on = false,
                },
                Stopped::ShutDown => self.world.shutdown = Some(devmodel::host::ShutdownReason::Reboot),
            }
            self.settle();
            if !goes_on || self.world.now >= end || self.world.shutdown.is_some() {
                break;
            }
        }
        if let Some(guest) = &mut self.guest {
            guest.cpu = Some(cpu);
        }
        goes_on
    }

    fn begin_run(&mut self, end: Instant) {
        if let Some(guest) = &mut self.guest {
            guest.turn_ends = end.0;
        }
        self.look_ahead();
    }

    /// Finds out how far the CPU may run.
    fn look_ahead(&mut self) {
        let deadline = self.deadline().map_or(u64::MAX, |at| at.0);
        let now = self.world.now.0;
        let is_over = self.world.shutdown.is_some();
        let Some(guest) = &mut self.guest else { return };
        // What is due again and again does not keep the CPU from its work.
        let until = guest.turn_ends.min(deadline.max(now.saturating_add(TURN_MIN)));
        guest.until = if is_over { now } else { until };
    }

    /// An access left the CPU's memory.
    fn accessed(&mut self) {
        self.world.now = self.world.now.after(ACCESS_TIME);
        self.look_ahead();
    }

    fn update_smram(&mut self) {
        if let Some(guest) = &self.guest {
            self.world.ram.show_smram(guest.board.shows_smram());
        }
    }
}

impl Bus for Pc {
    fn read(&mut self, addr: u32, width: Width) -> u32 {
        let len = width.bytes();
        match self.world.ram.plain(as_usize(addr), len) {
            Some([a, b, c, d]) => return u32::from_le_bytes([*a, *b, *c, *d]),
            Some([a, b]) => return u16::from_le_bytes([*a, *b]).into(),
            Some([a]) => return (*a).into(),
            _ => {}
        }
        let mut data = [0; 4];
        if self.world.ram.read(addr.into(), &mut data[..len]) != Piece::Done(len) {
            Self::read(self, addr.into(), &mut data[..len]);
            self.accessed();
        }
        u32::from_le_bytes(data)
    }

    fn write(&mut self, addr: u32, width: Width, value: u32) {
        let (len, data) = (width.bytes(), value.to_le_bytes());
        if let Some(bytes) = self.world.ram.plain_mut(as_usize(addr), len) {
            bytes.copy_from_slice(&data[..len]);
            return;
        }
        if self.world.ram.write(addr.into(), &data[..len]) != Piece::Done(len) {
            Self::write(self, addr.into(), &data[..len]);
            self.accessed();
        }
    }

    fn port_read(&mut self, port: u16, width: Width) -> u32 {
        let value = Self::port_read(self, port, width);
        self.accessed();
        value
    }

    fn port_write(&mut self, port: u16, width: Width, value: u32) {
        Self::port_write(self, port, width, value);
        if matches!(port, 0x60 | 0x64 | 0x92) {
            let mask = if self.has_a20() { u32::MAX } else { !(1 << 20) };
            if let Some(guest) = &mut self.guest {
                guest.a20_mask = mask;
            }
        }
        self.accessed();
    }

    fn fetch(&mut self, addr: u32, code: &mut [u8]) {
        Self::read(self, addr.into(), code);
    }

    fn watch(&mut self, addr: u32, len: usize) -> bool {
        self.world.ram.watch(addr.into(), len)
    }

    fn take_changed(&mut self) -> Changed {
        if self.world.ram.has_changed() { self.world.ram.take_changed() } else { Changed::Nothing }
    }

    fn now(&self) -> u64 {
        self.world.now.0
    }

    fn spend(&mut self, nanoseconds: u64) {
        self.world.now = self.world.now.after(nanoseconds);
    }

    fn until(&self) -> u64 {
        self.guest.as_ref().map_or(0, |guest| guest.until)
    }

    fn a20_mask(&self) -> u32 {
        self.guest.as_ref().map_or(u32::MAX, |guest| guest.a20_mask)
    }

    fn interrupt(&self) -> bool {
        self.guest.as_ref().is_some_and(|guest| guest.board.interrupt())
    }

    fn acknowledge(&mut self) -> u8 {
        self.guest.as_mut().map_or(0, |guest| guest.board.acknowledge())
    }

    fn take_system_management(&mut self) -> bool {
        self.guest.as_mut().is_some_and(|guest| guest.board.take_management())
    }

    fn set_system_management(&mut self, is_in: bool) {
        if let Some(guest) = &mut self.guest {
            guest.board.set_management(is_in);
        }
        self.update_smram();
    }
}

fn as_usize(addr: u32) -> usize {
    usize::try_from(addr).unwrap_or(usize::MAX)
}
