//! Two 8259A interrupt controllers, the second one behind line 2 of the first.
//!
//! Source: Intel 8259A data sheet; Intel 82371SB (PIIX3) data sheet for the edge and level registers at 0x4d0 and 0x4d1.
//! Not modelled: rotating priorities, the special mask mode, polling, the special fully nested mode, buffered modes, the
//! 8080's mode. A request of an edge lasts until it is served, as in QEMU, where the real one is taken back with its line.

/// First port of each.
const PORTS: [u16; 2] = [0x20, 0xa0];
/// Edge and level registers.
const LEVEL_PORTS: [u16; 2] = [0x4d0, 0x4d1];
/// Lines that can be level triggered: not those of the timer, the keyboard, the second controller, the clock and the
/// coprocessor.
const LEVEL_MASKS: [u8; 2] = [0xf8, 0xde];
/// The line of the first controller that the second one is on.
const CASCADE: u8 = 2;

/// Commands: ICW1, and in it that ICW4 follows.
const ICW1: u8 = 0x10;
const ICW1_WITH_4: u8 = 0x01;
/// Alone: there is no other controller, and no ICW3.
const ICW1_SINGLE: u8 = 0x02;
/// ICW4: interrupts end by themselves.
const AUTO_END: u8 = 0x02;
/// Commands: OCW3, and in it that the register to read is chosen, and which.
const OCW3: u8 = 0x08;
const OCW3_CHOOSES: u8 = 0x02;
const OCW3_SERVICE: u8 = 0x01;
/// OCW2: the end of an interrupt, and that it is said which.
const END: u8 = 0x20;
const SPECIFIC: u8 = 0x40;

/// What a controller waits for at its second port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expects {
    #[default]
    Mask,
    Icw2,
    Icw3,
    Icw4,
}

#[derive(Clone, Debug, Default)]
struct Pic {
    /// Levels of the lines.
    lines: u8,
    /// Asked for.
    requests: u8,
    /// Being served.
    service: u8,
    mask: u8,
    /// Which lines are level triggered.
    levels: u8,
    vector: u8,
    expects: Expects,
    single: bool,
    needs_icw4: bool,
    auto_end: bool,
    reads_service: bool,
}

impl Pic {
    fn set_line(&mut self, line: u8, high: bool) {
        let bit = 1 << (line & 7);
        if self.levels & bit != 0 {
            self.requests = if high { self.requests | bit } else { self.requests & !bit };
        } else if high && self.lines & bit == 0 {
            self.requests |= bit;
        }
        self.lines = if high { self.lines | bit } else { self.lines & !bit };
    }

    /// The line that is to be served, if it goes before all that are being served.
    fn pending(&self) -> Option<u8> {
        let asking = self.requests & !self.mask;
        let first = asking.trailing_zeros();
        (asking != 0 && first < self.service.trailing_zeros()).then(|| u8::try_from(first).unwrap_or(0))
    }

    /// Begins to serve a line.
    fn acknowledge(&mut self, line: u8) {
        let bit = 1 << line;
        if self.levels & bit == 0 {
            self.requests &= !bit;
        }
        if !self.auto_end {
            self.service |= bit;
        }
    }

    fn command(&mut self, value: u8) {
        if value & ICW1 != 0 {
            let (lines, levels) = (self.lines, self.levels);
            *self = Self { lines, levels, requests: lines & levels, ..Self::default() };
            self.single = value & ICW1_SINGLE != 0;
            self.needs_icw4 = value & ICW1_WITH_4 != 0;
            self.expects = Expects::Icw2;
        } else if value & OCW3 != 0 {
            if value & OCW3_CHOOSES != 0 {
                self.reads_service = value & OCW3_SERVICE != 0;
            }
        } else if value & END != 0 {
            let lowest = self.service & self.service.wrapping_neg();
            let ended = if value & SPECIFIC != 0 { 1 << (value & 7) } else { lowest };
            self.service &= !ended;
        }
    }

    fn data(&mut self, value: u8) {
        self.expects = match self.expects {
            Expects::Mask => {
                self.mask = value;
                Expects::Mask
            }
            Expects::Icw2 => {
                self.vector = value & 0xf8;
                if self.single { self.after_icw3() } else { Expects::Icw3 }
            }
            Expects::Icw3 => self.after_icw3(),
            Expects::Icw4 => {
                self.auto_end = value & AUTO_END != 0;
                Expects::Mask
            }
        };
    }

    fn after_icw3(&self) -> Expects {
        if self.needs_icw4 { Expects::Icw4 } else { Expects::Mask }
    }
}

/// Both of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Pics([Pic; 2]);

impl Pics {
    /// Sets one of the sixteen lines.
    pub(super) fn set_line(&mut self, line: u8, high: bool) {
        let [first, second] = &mut self.0;
        if line < 8 {
            if line != CASCADE {
                first.set_line(line, high);
            }
        } else {
            second.set_line(line - 8, high);
        }
        self.cascade();
    }

    fn cascade(&mut self) {
        let [first, second] = &mut self.0;
        let asks = second.pending().is_some();
        first.requests = if asks { first.requests | 1 << CASCADE } else { first.requests & !(1 << CASCADE) };
    }

    /// Whether the CPU is asked for an interrupt.
    pub(super) fn asks(&self) -> bool {
        self.0[0].pending().is_some()
    }

    /// The CPU takes the interrupt: its vector. If nobody asks any more, it is that of line 7.
    pub(super) fn acknowledge(&mut self) -> u8 {
        let [first, second] = &mut self.0;
        let line = first.pending();
        if let Some(line) = line {
            first.acknowledge(line);
        }
        let vector = match line {
            Some(CASCADE) => {
                let behind = second.pending();
                if let Some(line) = behind {
                    second.acknowledge(line);
                }
                second.vector | behind.unwrap_or(7)
            }
            line => first.vector | line.unwrap_or(7),
        };
        self.cascade();
        vector
    }

    /// Reads a port. `None`: it is not here.
    pub(super) fn read(&self, port: u16) -> Option<u8> {
        self.0.iter().zip(PORTS).zip(LEVEL_PORTS).find_map(|((pic, first), levels)| match port {
            _ if port == first => Some(if pic.reads_service { pic.service } else { pic.requests }),
            _ if port == first + 1 => Some(pic.mask),
            _ if port == levels => Some(pic.levels),
            _ => None,
        })
    }

    /// Writes a port. `false`: it is not here.
    pub(super) fn write(&mut self, port: u16, value: u8) -> bool {
        let places = PORTS.iter().zip(LEVEL_PORTS).zip(LEVEL_MASKS);
        for (pic, ((first, levels), mask)) in self.0.iter_mut().zip(places) {
            match port {
                _ if port == *first => pic.command(value),
                _ if port == *first + 1 => pic.data(value),
                _ if port == levels => pic.levels = value & mask,
                _ => continue,
            }
            self.cascade();
            return true;
        }
        false
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    /// As SeaBIOS has them, with all lines open.
    fn pics() -> Pics {
        let mut pics = Pics::default();
        for (port, value) in
            [(0x20, 0x11), (0xa0, 0x11), (0x21, 8), (0xa1, 0x70), (0x21, 4), (0xa1, 2), (0x21, 1), (0xa1, 1)]
        {
            assert!(pics.write(port, value));
        }
        assert!(pics.write(0x21, 0) && pics.write(0xa1, 0));
        pics
    }

    #[test]
    fn the_lower_line_goes_first_and_keeps_the_others_waiting_until_its_end() {
        let mut pics = pics();
        pics.set_line(4, true);
        pics.set_line(1, true);
        assert_eq!(pics.acknowledge(), 9);
        assert!(!pics.asks());
        pics.write(0x20, 0x20);
        assert_eq!(pics.acknowledge(), 12);
        pics.write(0x20, 0x20);
        assert!(!pics.asks(), "an edge counts once");
    }

    #[test]
    fn the_second_controller_needs_two_ends() {
        let mut pics = pics();
        pics.set_line(14, true);
        assert_eq!(pics.acknowledge(), 0x76);
        pics.set_line(3, true);
        assert!(!pics.asks(), "line 2 goes before line 3");
        pics.write(0xa0, 0x20);
        pics.write(0x20, 0x20);
        assert_eq!(pics.acknowledge(), 11);
    }

    #[test]
    fn a_level_asks_as_long_as_it_lasts() {
        let mut pics = pics();
        assert!(pics.write(0x4d1, 0x08));
        assert_eq!(pics.read(0x4d1), Some(0x08));
        pics.set_line(11, true);
        assert_eq!(pics.acknowledge(), 0x73);
        pics.write(0xa0, 0x20);
        pics.write(0x20, 0x20);
        assert!(pics.asks());
        pics.set_line(11, false);
        assert!(!pics.asks());
        assert_eq!(pics.acknowledge(), 15, "nobody");
    }

    #[test]
    fn masked_lines_wait() {
        let mut pics = pics();
        pics.write(0x21, 0x01);
        pics.set_line(0, true);
        assert!(!pics.asks());
        assert_eq!(pics.read(0x20), Some(1));
        pics.write(0x21, 0);
        assert!(pics.asks());
    }
}
