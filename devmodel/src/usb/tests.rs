//! Tests of USB, from a driver's side: a schedule in memory, enumeration as a system does it, reports, and hostile lists.

use super::*;
use crate::access::Width;
use crate::card::Card;
use crate::fake_host::FakeHost;
use crate::host::{GuestAddr, GuestMemory, InputEvent};
use crate::time::Instant;
use std::vec;
use std::vec::Vec;

const LIST: u32 = 0x1000;
const QH: u32 = 0x3000;
const TDS: u32 = 0x4000;
const DATA: u32 = 0x8000;
const FRAME: u64 = 1_000_000;

const IN: u32 = 0x69;
const OUT: u32 = 0xe1;
const SETUP: u32 = 0x2d;
const ACTIVE: u32 = 1 << 23;
const STALLED: u32 = 1 << 22;
const COMPLETE: u32 = 1 << 24;
const SHORT: u32 = 1 << 29;

struct Bus {
    uhci: Uhci,
    host: FakeHost,
}

impl Bus {
    /// A controller that runs, with one queue in every frame and its first port on.
    fn new(devices: &[UsbDevice]) -> Self {
        let mut bus = Self { uhci: Uhci::new(devices.to_vec()), host: FakeHost::new(0x2_0000) };
        bus.uhci.config_mut().write(4, Width::Word, 5);
        for frame in 0..1024 {
            bus.put(LIST + frame * 4, &[QH | 2]);
        }
        bus.put(QH, &[1, 1]);
        bus.write(0x08, Width::Dword, LIST);
        bus.write(0x04, Width::Word, 0x0f);
        for port in [0x10, 0x12] {
            bus.write(port, Width::Word, 0x0200);
            bus.write(port, Width::Word, 0x0000);
            bus.write(port, Width::Word, 0x000e);
        }
        bus.write(0x00, Width::Word, 0x0081);
        bus
    }

    fn put(&mut self, at: u32, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.host.write(GuestAddr(at.into()), &bytes).unwrap();
    }

    fn get(&mut self, at: u32) -> u32 {
        let mut bytes = [0; 4];
        self.host.read(GuestAddr(at.into()), &mut bytes).unwrap();
        u32::from_le_bytes(bytes)
    }

    fn data(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.host.read(GuestAddr(DATA.into()), &mut bytes).unwrap();
        bytes
    }

    fn read(&mut self, at: u32, width: Width) -> u32 {
        u32::try_from(self.uhci.read(&mut self.host, 4, at, width)).unwrap()
    }

    fn write(&mut self, at: u32, width: Width, value: u32) {
        self.uhci.write(&mut self.host, 4, at, width, value.into());
    }

    /// Lets time pass. Gives how often the controller woke up.
    fn pass(&mut self, frames: u64) -> usize {
        let end = self.host.time.0 + frames * FRAME;
        let mut walks = 0;
        while let Some(at) = self.uhci.deadline().filter(|at| at.0 <= end) {
            self.host.time = self.host.time.max(at);
            self.uhci.expire(&mut self.host);
            walks += 1;
        }
        self.host.time = Instant(end);
        walks
    }

    /// Puts these descriptors into the queue: bits of the status, PID, address, endpoint, length, where the data is.
    fn queue(&mut self, transfers: &[(u32, u32, u32, u32, u32, u32)]) {
        for ((status, pid, address, endpoint, len, data), number) in transfers.iter().zip(0..) {
            let last = number + 1 == u32::try_from(transfers.len()).unwrap();
            let next = if last { 1 } else { (TDS + (number + 1) * 16) | 4 };
            let token = pid | address << 8 | endpoint << 15 | (len.wrapping_sub(1) & 0x7ff) << 21;
            self.put(TDS + number * 16, &[next, status | ACTIVE | 3 << 27, token, *data]);
        }
        self.put(QH + 4, &[TDS]);
    }

    /// A control transfer. Gives its data, unless it was refused.
    fn control(&mut self, address: u32, setup: [u8; 8], data: &[u8]) -> Option<Vec<u8>> {
        self.host.write(GuestAddr((DATA - 8).into()), &setup).unwrap();
        self.host.write(GuestAddr(DATA.into()), data).unwrap();
        let len = u32::from(u16::from_le_bytes([setup[6], setup[7]]));
        let is_in = setup[0] & 0x80 != 0;
        let mut transfers = vec![(0, SETUP, address, 0, 8, DATA - 8)];
        for at in (0..len).step_by(8) {
            let pid = if is_in { IN } else { OUT };
            transfers.push((SHORT, pid, address, 0, 8.min(len - at), DATA + at));
        }
        transfers.push((COMPLETE, if is_in { OUT } else { IN }, address, 0, 0, 0));
        self.queue(&transfers);
        self.pass(4);
        let mut got = 0;
        for number in 0..transfers.len() {
            let status = self.get(TDS + u32::try_from(number).unwrap() * 16 + 4);
            if status & STALLED != 0 {
                return None;
            }
            if (1..transfers.len() - 1).contains(&number) && status & ACTIVE == 0 {
                got += ((status + 1) & 0x7ff) as usize;
            }
        }
        if self.get(QH + 4) != 1 {
            // A short packet: the driver skips to the end, which is the status.
            let last = TDS + u32::try_from(transfers.len() - 1).unwrap() * 16;
            self.put(QH + 4, &[last]);
            self.pass(4);
            assert_eq!(self.get(last + 4) & (ACTIVE | STALLED), 0, "the status stage is through");
        }
        self.write(0x02, Width::Word, 0x3f);
        Some(if is_in { self.data(got) } else { Vec::new() })
    }

    /// Takes the device at address 0 into use as number `address`.
    fn enumerate(&mut self, address: u8) {
        self.control(0, [0, 5, address, 0, 0, 0, 0, 0], &[]).unwrap();
        self.control(address.into(), [0, 9, 1, 0, 0, 0, 0, 0], &[]).unwrap();
    }

    /// Asks for a report.
    fn report(&mut self, address: u32) -> Option<Vec<u8>> {
        self.queue(&[(COMPLETE | SHORT, IN, address, 1, 8, DATA)]);
        self.pass(3);
        let status = self.get(TDS + 4);
        let report = (status & ACTIVE == 0).then(|| self.data(((status + 1) & 0x7ff) as usize));
        self.put(QH + 4, &[1]);
        self.write(0x02, Width::Word, 0x3f);
        report
    }

    fn input(&mut self, event: InputEvent) -> bool {
        self.uhci.input(&mut self.host, event)
    }
}

#[test]
fn ports_say_what_is_there() {
    let mut bus = Bus { uhci: Uhci::new(vec![UsbDevice::Tablet]), host: FakeHost::new(4096) };
    assert_eq!(bus.read(0x10, Width::Word), 0x0083, "there is something new");
    assert_eq!(bus.read(0x12, Width::Word), 0x0080, "a port, and nothing");
    assert_eq!(bus.read(0x14, Width::Word) & 0x80, 0, "no port");
    bus.write(0x10, Width::Word, 0x0002);
    assert_eq!(bus.read(0x10, Width::Word), 0x0081);
    bus.write(0x12, Width::Word, 0x0004);
    assert_eq!(bus.read(0x12, Width::Word), 0x0080, "nothing cannot be on");
    bus.write(0x10, Width::Word, 0x0200);
    bus.write(0x10, Width::Word, 0x0204);
    assert_eq!(bus.read(0x10, Width::Word), 0x0281, "it is not on while it is reset");
    bus.write(0x10, Width::Word, 0x0004);
    assert_eq!(bus.read(0x10, Width::Word), 0x0085);
    bus.write(0x00, Width::Word, 0x0002);
    assert_eq!(bus.read(0x10, Width::Word), 0x0083, "reset");
    assert_eq!((bus.read(0x00, Width::Word), bus.read(0x02, Width::Word)), (0, 0x20));
}

#[test]
fn frames_are_counted() {
    let mut bus = Bus::new(&[]);
    assert_eq!(bus.read(0x02, Width::Word), 0, "it runs");
    bus.host.time = bus.host.time.after(5 * FRAME + 10);
    assert_eq!(bus.read(0x06, Width::Word), 5);
    bus.host.time = bus.host.time.after(0x7ff * FRAME);
    assert_eq!(bus.read(0x06, Width::Word), 4, "in eleven bits");
    bus.write(0x06, Width::Word, 99);
    assert_eq!(bus.read(0x06, Width::Word), 4, "it is not the driver's now");
    bus.write(0x00, Width::Word, 0x0080);
    assert_eq!(bus.read(0x02, Width::Word), 0x20);
    bus.write(0x06, Width::Word, 99);
    bus.host.time = bus.host.time.after(5 * FRAME);
    assert_eq!(bus.read(0x06, Width::Word), 99);
    assert_eq!(bus.uhci.deadline(), None, "what does not run wakes nobody");
}

#[test]
fn devices_describe_themselves() {
    for (kind, name) in
        [(UsbDevice::Tablet, "USB Tablet"), (UsbDevice::Mouse, "USB Mouse"), (UsbDevice::Keyboard, "USB Keyboard")]
    {
        let mut bus = Bus::new(&[kind]);
        let device = bus.control(0, [0x80, 6, 0, 1, 0, 0, 64, 0], &[]).unwrap();
        assert_eq!((device.len(), device[0], device[7]), (18, 18, 8), "shorter than asked for");
        bus.enumerate(3);
        assert_eq!(bus.control(0, [0x80, 6, 0, 1, 0, 0, 18, 0], &[]), None, "nobody has number 0 now");
        let whole = bus.control(3, [0x80, 6, 0, 2, 0, 0, 9, 0], &[]).unwrap();
        assert_eq!(whole[2..4], [34, 0]);
        let whole = bus.control(3, [0x80, 6, 0, 2, 0, 0, 34, 0], &[]).unwrap();
        let mut at = 0;
        let mut kinds = vec![];
        while at < whole.len() {
            kinds.push(whole[at + 1]);
            at += usize::from(whole[at]);
        }
        assert_eq!((at, kinds), (34, vec![2, 4, 0x21, 5]), "each is as long as it says");
        let len = u16::from_le_bytes([whole[25], whole[26]]);
        let [low, high] = len.to_le_bytes();
        let report = bus.control(3, [0x81, 6, 0, 0x22, 0, 0, low, high], &[]).unwrap();
        assert_eq!((report.len(), report.last()), (len.into(), Some(&0xc0)));
        let text = bus.control(3, [0x80, 6, 2, 3, 9, 4, 255, 0], &[]).unwrap();
        let letters: Vec<u16> = text[2..].as_chunks().0.iter().map(|two| u16::from_le_bytes(*two)).collect();
        assert_eq!(std::string::String::from_utf16(&letters).unwrap(), name);
        assert_eq!(bus.control(3, [0x80, 8, 0, 0, 0, 0, 1, 0], &[]).unwrap(), [1]);
        assert_eq!(bus.control(3, [0x80, 6, 0, 9, 0, 0, 8, 0], &[]), None, "there is no such descriptor");
        assert_eq!(bus.control(3, [0x80, 8, 0, 0, 0, 0, 1, 0], &[]).unwrap(), [1], "and it works on");
    }
}

#[test]
fn a_tablet_reports_places_and_loses_no_click() {
    let mut bus = Bus::new(&[UsbDevice::Tablet]);
    let place = |x, y| InputEvent::Position { x, y, wheel: 0 };
    assert!(!bus.input(place(1, 2)), "before it is taken into use, it is for others");
    assert!(!bus.uhci.takes_positions());
    bus.enumerate(1);
    assert!(bus.uhci.takes_positions());
    assert_eq!(bus.report(1), None);
    let click = |down| InputEvent::Button { code: 0x110, down };
    assert!(bus.input(place(100, 200)) && bus.input(place(0x1234, 0x7fff)));
    assert!(bus.input(click(true)) && bus.input(click(false)));
    assert!(bus.input(place(5, 6)) && bus.input(InputEvent::Position { x: 5, y: 6, wheel: -1 }));
    assert!(!bus.input(InputEvent::Motion { dx: 1, dy: 1, wheel: 0 }), "movements are for a mouse");
    let expected: [&[u8]; 3] =
        [&[0, 0x34, 0x12, 0xff, 0x7f, 0], &[1, 0x34, 0x12, 0xff, 0x7f, 0], &[0, 5, 0, 6, 0, 0xff]];
    for report in expected {
        assert_eq!(bus.report(1).unwrap(), report);
    }
    assert_eq!(bus.report(1), None);
    for _ in 0..1000 {
        bus.input(click(true));
        bus.input(click(false));
    }
    let reports: Vec<_> = std::iter::from_fn(|| bus.report(1)).collect();
    assert!(reports.len() <= 32 && reports.last().unwrap()[0] == 0, "the end is as it is");
}

#[test]
fn a_mouse_reports_movements_in_as_many_pieces_as_they_need() {
    let mut bus = Bus::new(&[UsbDevice::Mouse]);
    bus.enumerate(1);
    assert!(!bus.uhci.takes_positions());
    for _ in 0..3 {
        assert!(bus.input(InputEvent::Motion { dx: 100, dy: -50, wheel: 1 }));
    }
    assert_eq!(bus.report(1).unwrap(), [0, 127, 0x81, 3]);
    assert_eq!(bus.report(1).unwrap(), [0, 127, 0xe9, 0]);
    assert_eq!(bus.report(1).unwrap(), [0, 46, 0, 0]);
    assert_eq!(bus.report(1), None);
    bus.control(1, [0x21, 11, 0, 0, 0, 0, 0, 0], &[]).unwrap();
    assert!(bus.input(InputEvent::Button { code: 0x111, down: true }));
    assert_eq!(bus.report(1).unwrap(), [2, 0, 0], "the boot protocol has three bytes");
}

#[test]
fn a_keyboard_reports_every_key_in_order() {
    let mut bus = Bus::new(&[UsbDevice::Keyboard]);
    bus.enumerate(1);
    // Left shift, A, right control, and they go again.
    for (code, down) in [(42, true), (30, true), (97, true), (30, false), (42, false), (97, false)] {
        assert!(bus.input(InputEvent::Key { code, down }));
    }
    let reports: Vec<_> = std::iter::from_fn(|| bus.report(1)).map(|report| (report[0], report[2])).collect();
    assert_eq!(reports, [(2, 0), (2, 4), (0x12, 4), (0x12, 0), (0x10, 0), (0, 0)]);
    for code in 16..24 {
        bus.input(InputEvent::Key { code, down: true });
    }
    let last = std::iter::from_fn(|| bus.report(1)).last().unwrap();
    assert_eq!(last, [0, 0, 1, 1, 1, 1, 1, 1], "more than it can say");
    bus.control(1, [0x21, 9, 0, 2, 0, 0, 1, 0], &[2]).unwrap();
    assert_eq!(bus.control(1, [0xa1, 2, 0, 0, 0, 0, 1, 0], &[]).unwrap(), [0], "GET_IDLE");
}

#[test]
fn an_interrupt_comes_for_what_asks_for_it() {
    let mut bus = Bus::new(&[UsbDevice::Tablet]);
    bus.enumerate(1);
    bus.queue(&[(COMPLETE, IN, 1, 1, 8, DATA)]);
    bus.pass(20);
    assert!(!bus.uhci.interrupt(), "nothing to report");
    assert_ne!(bus.get(TDS + 4) & 1 << 19, 0, "it said no");
    bus.input(InputEvent::Position { x: 1, y: 1, wheel: 0 });
    bus.pass(2);
    assert!(bus.uhci.interrupt());
    assert_eq!(bus.read(0x02, Width::Word), 1);
    bus.write(0x02, Width::Word, 1);
    assert!(!bus.uhci.interrupt());
    assert_eq!(bus.get(QH + 4), 1, "the queue has moved on");
    bus.queue(&[(0, IN, 9, 1, 8, DATA)]);
    bus.pass(2);
    assert_eq!(bus.get(TDS + 4) & (ACTIVE | STALLED | 1 << 18 | 3 << 27), STALLED | 1 << 18, "nobody answers");
    assert_eq!(bus.read(0x02, Width::Word), 2);
    assert_eq!(bus.get(QH + 4), TDS, "and the queue waits");
    bus.queue(&[(0, IN, 1, 1, 2, DATA)]);
    bus.write(0x02, Width::Word, 2);
    bus.input(InputEvent::Position { x: 2, y: 1, wheel: 0 });
    bus.pass(2);
    assert_ne!(bus.get(TDS + 4) & 1 << 20, 0, "six bytes are too many for two");
}

#[test]
fn a_halted_endpoint_stalls_until_it_is_told_not_to() {
    let mut bus = Bus::new(&[UsbDevice::Tablet]);
    bus.enumerate(1);
    bus.control(1, [2, 3, 0, 0, 0x81, 0, 0, 0], &[]).unwrap();
    assert_eq!(bus.control(1, [0x82, 0, 0, 0, 0x81, 0, 2, 0], &[]).unwrap(), [1, 0]);
    bus.queue(&[(0, IN, 1, 1, 8, DATA)]);
    bus.pass(3);
    assert_eq!(bus.get(TDS + 4) & (ACTIVE | STALLED), STALLED);
    bus.control(1, [2, 1, 0, 0, 0x81, 0, 0, 0], &[]).unwrap();
    bus.input(InputEvent::Position { x: 1, y: 1, wheel: 0 });
    assert!(bus.report(1).is_some());
}

#[test]
fn an_idle_schedule_is_seldom_walked_and_a_busy_one_in_every_frame() {
    let mut bus = Bus::new(&[UsbDevice::Tablet]);
    bus.enumerate(1);
    bus.queue(&[(COMPLETE, IN, 1, 1, 8, DATA)]);
    bus.pass(2000);
    let walks = bus.pass(10_000);
    assert!(walks <= 80, "{walks} in ten seconds");
    bus.input(InputEvent::Position { x: 1, y: 1, wheel: 0 });
    assert_eq!(bus.pass(1), 1, "at once");
    assert!(bus.uhci.interrupt());
    bus.queue(&[(COMPLETE, IN, 1, 1, 8, DATA)]);
    assert!(bus.pass(50) >= 49, "and what follows is not late");
}

#[test]
fn a_queue_in_every_eighth_frame_is_found_by_a_late_walk() {
    let mut bus = Bus::new(&[UsbDevice::Tablet]);
    bus.enumerate(1);
    for frame in (0..1024).filter(|frame| frame % 8 != 3) {
        bus.put(LIST + frame * 4, &[1]);
    }
    bus.input(InputEvent::Position { x: 1, y: 1, wheel: 0 });
    bus.pass(50);
    bus.queue(&[(COMPLETE, IN, 1, 1, 8, DATA)]);
    bus.host.time = bus.host.time.after(9 * FRAME);
    bus.uhci.expire(&mut bus.host);
    assert!(bus.uhci.interrupt());
}

/// CVE-2020-14364 (XSA-335) and its kind: lengths that do not fit, data for requests that have none, out of order.
#[test]
fn control_transfers_that_make_no_sense_are_refused() {
    let mut bus = Bus::new(&[UsbDevice::Keyboard]);
    bus.enumerate(1);
    bus.host.write(GuestAddr(DATA.into()), &[0x21, 9, 0, 2, 0, 0, 0xff, 0xff]).unwrap();
    bus.queue(&[(0, SETUP, 1, 0, 8, DATA), (0, OUT, 1, 0, 1280, DATA)]);
    bus.pass(3);
    assert_ne!(bus.get(TDS + 16 + 4) & STALLED, 0, "more than any request has");
    bus.host.write(GuestAddr(DATA.into()), &[0x21, 9, 0, 2, 0, 0, 16, 0]).unwrap();
    bus.queue(&[(0, SETUP, 1, 0, 8, DATA), (0, OUT, 1, 0, 8, DATA), (0, OUT, 1, 0, 1024, DATA)]);
    bus.pass(3);
    assert_ne!(bus.get(TDS + 32 + 4) & STALLED, 0, "more than was said");
    for (pid, len) in [(SETUP, 0), (SETUP, 7), (SETUP, 64), (IN, 8), (OUT, 8)] {
        bus.queue(&[(0, pid, 1, 0, len, DATA)]);
        bus.pass(3);
        assert_ne!(bus.get(TDS + 4) & STALLED, 0);
    }
    assert_eq!(bus.control(1, [0x80, 8, 0, 0, 0, 0, 1, 0], &[]).unwrap(), [1], "it works on");
}

#[test]
fn hostile_schedules_end() {
    // A queue that points at itself, a descriptor that does, both at each other.
    for (words, element) in [([QH | 2, QH | 2], 1), ([QH | 2, TDS], TDS | 4), ([QH | 2, TDS], QH | 2)] {
        let mut bus = Bus::new(&[UsbDevice::Tablet]);
        bus.enumerate(1);
        bus.put(QH, &words);
        bus.put(TDS, &[element, ACTIVE, IN | 1 << 8 | 1 << 15 | 7 << 21, DATA]);
        assert!(bus.pass(100) <= 101);
    }
    // Nothing but memory that is not there.
    for (list, qh, td) in [(0xffff_f000, 0, 0), (LIST, 0xffff_fff0, 0), (LIST, 0, 0xffff_fff0)] {
        let mut bus = Bus::new(&[UsbDevice::Tablet]);
        if qh != 0 {
            for frame in 0..1024 {
                bus.put(LIST + frame * 4, &[qh | 2]);
            }
        }
        if td != 0 {
            bus.put(QH + 4, &[td]);
        }
        bus.write(0x08, Width::Dword, list);
        bus.pass(5);
        assert_eq!(bus.read(0x02, Width::Word) & 0x28, 0x28, "it has stopped, and says why");
        assert!(bus.uhci.interrupt());
        assert_eq!(bus.uhci.deadline(), None);
    }
    // A PID that is none, and more bytes than a packet has.
    for token in [0x55, IN | 0x600 << 21] {
        let mut bus = Bus::new(&[UsbDevice::Tablet]);
        bus.put(TDS, &[1, ACTIVE, token, DATA]);
        bus.put(QH + 4, &[TDS]);
        bus.pass(5);
        assert_eq!(bus.read(0x02, Width::Word) & 0x30, 0x30);
    }
}

#[test]
fn without_bus_mastering_nothing_is_read() {
    let mut bus = Bus::new(&[UsbDevice::Tablet]);
    bus.uhci.config_mut().write(4, Width::Word, 1);
    bus.queue(&[(0, IN, 0, 1, 8, DATA)]);
    bus.pass(5);
    assert_ne!(bus.get(TDS + 4) & ACTIVE, 0);
}

#[test]
fn every_register_takes_every_width_and_value() {
    let mut bus = Bus::new(&[UsbDevice::Tablet, UsbDevice::Keyboard]);
    for round in 0..2000_u64 {
        let value = round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for at in 0..34 {
            for width in [Width::Byte, Width::Word, Width::Dword, Width::Qword] {
                bus.uhci.write(&mut bus.host, 4, at, width, value >> (round % 32));
                bus.uhci.read(&mut bus.host, 4, at, width);
            }
        }
        bus.pass(1);
    }
}

/// USB 1.1, 11.16: what a driver does with a hub until the devices behind it answer.
#[test]
fn devices_beyond_the_ports_are_behind_a_hub() {
    let mut bus = Bus::new(&[UsbDevice::Tablet, UsbDevice::Mouse, UsbDevice::Keyboard]);
    bus.enumerate(1);
    bus.write(0x10, Width::Word, 0);
    bus.enumerate(2);
    bus.write(0x10, Width::Word, 0x04);
    assert_eq!(bus.control(2, [0x80, 6, 0, 1, 0, 0, 18, 0], &[]).unwrap()[4], 9, "a hub");
    assert_eq!(bus.control(2, [0xa0, 6, 0, 0x29, 0, 0, 11, 0], &[]).unwrap()[2], 8, "of eight ports");
    assert_eq!(bus.control(2, [0xa3, 0, 0, 0, 2, 0, 4, 0], &[]).unwrap(), [1, 1, 1, 0], "connected, and new");
    assert_eq!(bus.control(2, [0xa3, 0, 0, 0, 3, 0, 4, 0], &[]).unwrap(), [0, 1, 0, 0], "nothing");
    assert_eq!(bus.control(2, [0xa3, 0, 0, 0, 9, 0, 4, 0], &[]), None, "no such port");
    bus.queue(&[(COMPLETE, IN, 2, 1, 2, DATA)]);
    bus.pass(4);
    assert_eq!(bus.data(2), [0b110, 0], "ports 1 and 2 have changed");
    for (port, address) in [(1, 3), (2, 4)] {
        bus.control(2, [0x23, 3, 4, 0, port, 0, 0, 0], &[]).unwrap();
        assert_eq!(bus.control(2, [0xa3, 0, 0, 0, port, 0, 4, 0], &[]).unwrap(), [3, 1, 0x11, 0], "on, and reset");
        for change in [16, 20] {
            bus.control(2, [0x23, 1, change, 0, port, 0, 0, 0], &[]).unwrap();
        }
        bus.enumerate(address);
    }
    bus.queue(&[(COMPLETE, IN, 2, 1, 2, DATA)]);
    bus.pass(4);
    assert_ne!(bus.get(TDS + 4) & ACTIVE, 0, "nothing has changed any more");
    bus.uhci.input(&mut bus.host, InputEvent::Key { code: 30, down: true });
    bus.queue(&[(COMPLETE, IN, 4, 1, 8, DATA)]);
    bus.pass(4);
    assert_eq!(bus.data(8), [0, 0, 4, 0, 0, 0, 0, 0], "the keyboard on port 2 says A");
    // The hub's own port is switched off: nobody behind it answers.
    bus.write(0x12, Width::Word, 0);
    assert_eq!(bus.control(4, [0x80, 6, 0, 1, 0, 0, 18, 0], &[]), None);
}
