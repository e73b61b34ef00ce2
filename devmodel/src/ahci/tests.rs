//! Tests of AHCI, from a driver's side: lists and tables in memory, one command and many, and hostile ones.

use super::*;
use crate::fake_host::{FakeHost, sector_pattern};
use crate::host::{DiskOp, GuestAddr, GuestMemory};
use crate::machine::{CdConfig, DiskConfig};
use std::vec;
use std::vec::Vec;

const LIST: u64 = 0x1_0000;
const RECEIVE: u64 = 0x1_1000;
const TABLES: u64 = 0x2_0000;
const DATA: u64 = 0x8_0000;
const DISK: DiskId = DiskId(0);
const DISC: DiskId = DiskId(1);

struct Pc {
    ahci: Ahci,
    host: FakeHost,
}

fn drives() -> [Option<DriveConfig>; PORTS] {
    let mut drives = [const { None }; PORTS];
    drives[0] = Some(DriveConfig::Disk(DiskConfig {
        id: DISK,
        sectors: 4096,
        read_only: false,
        discard: true,
        serial: heapless::String::try_from("SATA0001").unwrap(),
        model: heapless::String::try_from("A SATA DISK").unwrap(),
        firmware: heapless::String::try_from("1.0").unwrap(),
    }));
    drives[1] = Some(DriveConfig::Cd(CdConfig {
        id: DISC,
        disc: Some(400),
        serial: heapless::String::try_from("SATA0002").unwrap(),
        model: heapless::String::try_from("A SATA CD").unwrap(),
    }));
    drives
}

impl Pc {
    fn new() -> Self {
        let mut host = FakeHost::new(2 << 20);
        host.add_disk(DISK, 4096);
        host.add_disk(DISC, 400);
        let mut pc = Self { ahci: Ahci::new(drives()), host };
        pc.ahci.config_mut().write(4, Width::Word, 6);
        pc.write(0x04, 0x8000_0002);
        for port in 0..2 {
            pc.start(port);
        }
        pc
    }

    fn start(&mut self, port: u32) {
        let at = 0x100 + port * 0x80;
        for (register, value) in [(0x00, low(LIST)), (0x04, 0), (0x08, low(RECEIVE)), (0x0c, 0)] {
            self.write(at + register, value);
        }
        self.write(at + 0x14, u32::MAX);
        self.write(at + 0x18, 0x16);
        self.write(at + 0x18, 0x17);
    }

    fn read(&mut self, at: u32) -> u32 {
        u32::try_from(self.ahci.read(&mut self.host, REGISTERS_REGION, at, Width::Dword)).unwrap()
    }

    fn write(&mut self, at: u32, value: u32) {
        self.ahci.write(&mut self.host, REGISTERS_REGION, at, Width::Dword, value.into());
    }

    fn memory(&mut self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        GuestMemory::read(&mut self.host, GuestAddr(at), &mut bytes).unwrap();
        bytes
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        GuestMemory::write(&mut self.host, GuestAddr(at), bytes).unwrap();
    }

    /// Puts a command into a slot: the FIS, the packet, regions of memory as addresses and lengths.
    fn prepare(&mut self, slot: u64, fis: [u8; 16], packet: &[u8], regions: &[(u64, usize)]) {
        let table = TABLES + slot * 0x1000;
        let count = u32::try_from(regions.len()).unwrap();
        let header: Vec<u8> =
            [5 | count << 16, 0xdead_beef, low(table), 0].iter().flat_map(|word| word.to_le_bytes()).collect();
        self.put(LIST + slot * 32, &header);
        self.put(table, &fis);
        self.put(table + 0x40, packet);
        for ((addr, len), at) in regions.iter().zip((table + 0x80..).step_by(16)) {
            self.put(at, &addr.to_le_bytes());
            self.put(at + 12, &u32::try_from(len - 1).unwrap().to_le_bytes());
        }
    }

    /// Issues slots, and does what is asked of the disks.
    fn issue(&mut self, port: u32, slots: u32) {
        self.write(0x138 + port * 0x80, slots);
        self.finish();
    }

    fn finish(&mut self) {
        for disk in [DISK, DISC] {
            while self.host.disk_busy(disk) {
                let result = self.host.finish_disk(disk);
                self.ahci.disk_complete(&mut self.host, disk, result);
            }
        }
    }

    /// One command in slot 0. Gives the task file.
    fn command(&mut self, port: u32, fis: [u8; 16], regions: &[(u64, usize)]) -> u32 {
        self.prepare(0, fis, &[], regions);
        self.issue(port, 1);
        self.read(0x120 + port * 0x80)
    }

    fn packet(&mut self, packet: &[u8], len: usize) -> u32 {
        self.prepare(0, fis(0xa0, 1, 0, 0), packet, &[(DATA, len)]);
        self.issue(1, 1);
        self.read(0x1a0)
    }

    /// How much was moved.
    fn moved(&mut self) -> u32 {
        u32::from_le_bytes(self.memory(LIST + 4, 4).try_into().unwrap())
    }

    /// Takes all interrupts back.
    fn events(&mut self, port: u32) -> u32 {
        let at = 0x110 + port * 0x80;
        let events = self.read(at);
        self.write(at, events);
        self.write(0x08, u32::MAX);
        assert!(!self.ahci.interrupt());
        events
    }
}

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap()
}

/// A command FIS with a 48-bit address.
fn fis(command: u8, features: u16, lba: u64, count: u16) -> [u8; 16] {
    let [a, b, c, d, e, f, ..] = lba.to_le_bytes();
    let [feature, feature_high] = features.to_le_bytes();
    let [count, count_high] = count.to_le_bytes();
    [0x27, 0x80, command, feature, a, b, c, 0x40, d, e, f, feature_high, count, count_high, 0, 0]
}

fn pattern(first: u64, count: u64) -> Vec<u8> {
    (first..first + count).flat_map(sector_pattern).collect()
}

#[test]
fn it_says_what_it_has() {
    let mut pc = Pc::new();
    assert_eq!(pc.read(0x00) & 0x1f, 5, "six ports");
    assert_eq!(pc.read(0x0c), 0x3f);
    assert_eq!((pc.read(0x124), pc.read(0x1a4)), (0x0000_0101, 0xeb14_0101), "a disk and a CD drive");
    assert_eq!((pc.read(0x128), pc.read(0x228)), (0x113, 0), "something, and nothing");
    assert_eq!(pc.read(0x120), 0x0150);
    assert_eq!(pc.memory(RECEIVE + 0x40, 1), [0x34], "they have said so");
    pc.ahci.write(&mut pc.host, INDEX_REGION, 0x10, Width::Dword, 0x124);
    assert_eq!(pc.ahci.read(&mut pc.host, INDEX_REGION, 0x14, Width::Dword), 0x101, "by index too");
    let capability = |at: usize| (pc.ahci.config().byte(at), usize::from(pc.ahci.config().byte(at + 1)));
    assert_eq!((capability(0x80), capability(0xa8)), ((0x05, 0xa8), (0x12, 0)), "messages, and SATA");
    pc.write(0x04, 1);
    assert_eq!((pc.read(0x04), pc.read(0x118) & 0x11), (0x8000_0000, 0), "reset");
}

#[test]
fn a_disk_identifies_itself() {
    let mut pc = Pc::new();
    assert_eq!(pc.command(0, fis(0xec, 0, 0, 0), &[(DATA, 512)]), 0x50);
    let data = pc.memory(DATA, 512);
    assert_eq!(&data[54..66], b" AASATD SI K");
    assert_eq!((data[150], data[152] & 2, data[153]), (31, 2, 1), "32 queued commands");
    assert_eq!(data.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    assert_eq!(pc.moved(), 512);
    let setup = pc.memory(RECEIVE + 0x20, 18);
    assert_eq!((setup[0], setup[15], setup[17]), (0x5f, 0x50, 2));
    assert!(pc.ahci.interrupt());
    assert_eq!(pc.events(0) & 3, 3, "a PIO setup, and registers");
    assert_eq!(pc.read(0x138), 0);
}

#[test]
fn reads_scatter_and_writes_gather() {
    let mut pc = Pc::new();
    let regions = [(DATA + 1, 511), (DATA + 0x1000, 2), (DATA + 0x3000, 1023)];
    assert_eq!(pc.command(0, fis(0x25, 0, 7, 3), &regions), 0x50);
    let read: Vec<u8> = regions.iter().flat_map(|(at, len)| pc.memory(*at, *len)).collect();
    assert_eq!(read, pattern(7, 3));
    assert_eq!((pc.moved(), pc.events(0) & 3), (1536, 1));
    assert_eq!(pc.command(0, fis(0x35, 0, 100, 3), &regions), 0x50);
    assert_eq!(pc.host.disks[&0].content[100 * 512..103 * 512], pattern(7, 3));
    assert_eq!(pc.host.disks[&0].started.len(), 2, "one operation each");
    let mut fua = fis(0x3d, 0, 0, 1);
    fua[12] = 1;
    pc.command(0, fua, &[(DATA, 512)]);
    assert_eq!(pc.host.disks[&0].started.last(), Some(&DiskOp::Flush));
}

#[test]
fn more_than_the_buffer_goes_in_chunks() {
    let mut pc = Pc::new();
    assert_eq!(pc.command(0, fis(0x25, 0, 0, 300), &[(DATA, 300 * 512)]), 0x50);
    assert_eq!(pc.memory(DATA, 300 * 512), pattern(0, 300));
    assert_eq!(pc.host.disks[&0].started.len(), 3);
    assert_eq!(pc.command(0, fis(0xc8, 0, 1, 0), &[(DATA, 256 * 512)]), 0x50);
    assert_eq!(pc.moved(), 256 * 512, "none is 256");
}

#[test]
fn queued_commands_are_done_in_turns() {
    let mut pc = Pc::new();
    for slot in 0..4_u8 {
        let at = DATA + u64::from(slot) * 0x1000;
        pc.prepare(slot.into(), fis(0x60, 8, u64::from(slot) * 50, (slot << 3).into()), &[], &[(at, 4096)]);
    }
    pc.write(0x134, 0xf);
    pc.write(0x138, 0xf);
    assert_eq!(pc.read(0x134), 0xf, "all of them are queued");
    assert_eq!(pc.read(0x138).count_ones(), 3, "one is taken");
    pc.finish();
    assert_eq!((pc.read(0x134), pc.read(0x138), pc.read(0x120)), (0, 0, 0x50));
    for slot in 0..4 {
        assert_eq!(pc.memory(DATA + slot * 0x1000, 4096), pattern(slot * 50, 8));
    }
    assert_eq!(pc.memory(RECEIVE + 0x58, 1), [0xa1]);
    assert_eq!(pc.events(0) & 9, 8);
}

#[test]
fn a_queue_that_failed_waits_for_the_driver_and_tells_which() {
    let mut pc = Pc::new();
    pc.prepare(0, fis(0x60, 8, 4095, 0), &[], &[(DATA, 4096)]);
    pc.prepare(1, fis(0x60, 8, 0, 1 << 3), &[], &[(DATA, 4096)]);
    // The turn begins behind the slot that was first.
    pc.command(0, fis(0xe7, 0, 0, 0), &[]);
    pc.prepare(0, fis(0x60, 8, 4095, 0), &[], &[(DATA, 4096)]);
    pc.prepare(1, fis(0x60, 8, 0, 1 << 3), &[], &[(DATA, 4096)]);
    pc.write(0x134, 3);
    pc.issue(0, 3);
    assert_eq!(pc.read(0x120), 0x1051, "no such sector");
    assert_ne!(pc.read(0x110) & 1 << 30, 0);
    assert_eq!(pc.read(0x134), 1, "the other one was done before");
    pc.issue(0, 2);
    assert_ne!(pc.read(0x138), 0, "nothing is begun");
    pc.write(0x118, 0x16);
    assert_eq!((pc.read(0x134), pc.read(0x138)), (0, 0));
    pc.write(0x118, 0x17);
    assert_eq!(pc.command(0, fis(0x2f, 0, 0x10, 1), &[(DATA, 512)]), 0x50);
    let page = pc.memory(DATA, 16);
    assert_eq!((page[0], page[2], page[3]), (0, 0x51, 0x10));
    assert_eq!(pc.command(0, fis(0x2f, 0, 0x10, 1), &[(DATA, 512)]), 0x50);
    assert_eq!(pc.memory(DATA, 1), [0x80], "it is told once");
}

#[test]
fn errors_are_in_the_task_file() {
    for (command, regions, expected) in [
        (fis(0x25, 0, 4096, 1), &[(DATA, 512)][..], 0x1051),
        (fis(0x25, 0, u64::MAX >> 16, 0), &[(DATA, 512)], 0x1051),
        (fis(0xff, 0, 0, 0), &[], 0x0451),
        (fis(0xa0, 0, 0, 0), &[], 0x0451),
        (fis(0x35, 0, 0, 1), &[(DATA, 500)], 0x0451),
        (fis(0x25, 0, 0, 1), &[(u64::MAX - 8, 512)], 0x0451),
        (fis(0x35, 0, 0, 1), &[(0x1000_0000, 512)], 0x0451),
    ] {
        let mut pc = Pc::new();
        assert_eq!(pc.command(0, command, regions), expected, "{command:?}");
        assert_ne!(pc.events(0) & 1 << 30, 0);
        pc.write(0x118, 0x16);
        pc.write(0x118, 0x17);
        assert_eq!(pc.command(0, fis(0x25, 0, 0, 1), &[(DATA, 512)]), 0x50, "and it works on");
    }
    let mut pc = Pc::new();
    pc.prepare(0, fis(0x25, 0, 5, 1), &[], &[(DATA, 512)]);
    pc.write(0x138, 1);
    let _ = pc.host.finish_disk(DISK);
    pc.ahci.disk_complete(&mut pc.host, DISK, Err(DiskError));
    assert_eq!(pc.read(0x120), 0x4051, "the host could not read");
}

#[test]
fn a_cd_drive_takes_packets() {
    let mut pc = Pc::new();
    assert_eq!(pc.packet(&[0], 16), 0x50);
    assert_eq!(pc.packet(&[0x25], 8), 0x50);
    assert_eq!(pc.memory(DATA, 8), [0, 0, 0, 99, 0, 0, 8, 0]);
    assert_eq!(pc.packet(&[0x28, 0, 0, 0, 0, 3, 0, 0, 40], 40 * 2048), 0x50);
    assert_eq!(pc.memory(DATA, 40 * 2048), pattern(12, 160));
    assert_eq!(pc.packet(&[0x28, 0, 0, 0, 0, 99, 0, 0, 2], 4096), 0x5451, "beyond the end");
    pc.write(0x198, 0x16);
    pc.write(0x198, 0x17);
    assert_eq!(pc.command(1, fis(0xec, 0, 0, 0), &[(DATA, 512)]), 0x0451);
    pc.write(0x198, 0x16);
    pc.write(0x198, 0x17);
    assert_eq!(pc.command(1, fis(0xa1, 0, 0, 0), &[(DATA, 512)]), 0x50);
    assert_eq!(pc.memory(DATA + 1, 1), [0x85]);
}

#[test]
fn a_drive_is_reset_by_its_control_register_and_by_the_link() {
    let mut pc = Pc::new();
    let mut control = [0; 16];
    (control[0], control[15]) = (0x27, 4);
    pc.command(0, control, &[]);
    assert_eq!(pc.read(0x138), 0);
    pc.put(RECEIVE + 0x40, &[0; 20]);
    control[15] = 0;
    assert_eq!(pc.command(0, control, &[]), 0x0150);
    assert_eq!(pc.memory(RECEIVE + 0x40, 3), [0x34, 0, 0x50], "the signature");
    pc.write(0x118, 0x16);
    pc.write(0x12c, 0x301);
    assert_eq!((pc.read(0x128), pc.read(0x120)), (0, 0x7f), "the link is down");
    pc.write(0x12c, 0x300);
    assert_eq!((pc.read(0x128), pc.read(0x120), pc.read(0x124)), (0x113, 0x0150, 0x101));
    assert_ne!(pc.read(0x130) & 1 << 26, 0);
    pc.write(0x118, 0x17);
    assert_eq!(pc.command(0, fis(0x25, 0, 0, 1), &[(DATA, 512)]), 0x50);
}

#[test]
fn a_list_that_is_stopped_leaves_its_operation_behind() {
    let mut pc = Pc::new();
    pc.put(DATA, &[0x77; 1024]);
    pc.prepare(0, fis(0x25, 0, 5, 1), &[], &[(DATA, 512)]);
    pc.write(0x138, 1);
    pc.write(0x118, 0x16);
    assert_eq!((pc.read(0x138), pc.read(0x120) & 0x80), (0, 0x80));
    pc.write(0x118, 0x1f);
    pc.prepare(1, fis(0x25, 0, 9, 1), &[], &[(DATA + 512, 512)]);
    pc.write(0x138, 2);
    assert_eq!(pc.host.disks[&0].started.len(), 1, "the host is not done with the first");
    pc.finish();
    assert_eq!(pc.memory(DATA, 512), [0x77; 512], "which comes to nothing");
    assert_eq!(pc.memory(DATA + 512, 512), pattern(9, 1));
    pc.write(0x04, 1);
    assert!(!pc.ahci.interrupt());
}

#[test]
fn lists_and_tables_in_no_memory_are_reported() {
    for (register, value) in [(0x100, 0xffff_fc00), (0x104, 1)] {
        let mut pc = Pc::new();
        pc.write(register, value);
        pc.write(0x138, 1);
        assert_ne!(pc.read(0x110) & 1 << 29, 0);
    }
    let mut pc = Pc::new();
    pc.prepare(0, fis(0x25, 0, 0, 1), &[], &[]);
    pc.put(LIST + 8, &u64::MAX.to_le_bytes());
    pc.issue(0, 1);
    assert_ne!(pc.read(0x110) & 1 << 29, 0);
    let mut pc = Pc::new();
    pc.write(0x108, 0xffff_ff00);
    pc.command(0, fis(0xe7, 0, 0, 0), &[]);
    assert_ne!(pc.read(0x110) & 1 << 29, 0, "no place for what the drive says");
}

#[test]
fn without_bus_mastering_nothing_is_begun() {
    let mut pc = Pc::new();
    pc.ahci.config_mut().write(4, Width::Word, 2);
    pc.prepare(0, fis(0x25, 0, 0, 1), &[], &[(DATA, 512)]);
    pc.issue(0, 1);
    assert_eq!(pc.read(0x138), 1);
    pc.ahci.config_mut().write(4, Width::Word, 6);
    pc.ahci.config_written(&mut pc.host);
    pc.finish();
    assert_eq!(pc.read(0x138), 0);
}

#[test]
fn unplugged_disks_are_gone_and_discs_stay() {
    let mut pc = Pc::new();
    pc.prepare(0, fis(0x25, 0, 0, 1), &[], &[(DATA, 512)]);
    pc.write(0x138, 1);
    assert!(!pc.ahci.unplug(Unplug::IdeDisks));
    pc.finish();
    assert_eq!((pc.read(0x128), pc.read(0x138), pc.read(0x1a8)), (0, 0, 0x113));
    pc.start(0);
    pc.issue(0, 1);
    assert_eq!(pc.host.disks[&0].started.len(), 1);
}

#[test]
fn every_register_takes_every_value_and_any_list_comes_to_an_end() {
    let mut pc = Pc::new();
    let mut seed = 7_u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 24
    };
    for round in 0..40_000 {
        let value = random();
        match value % 6 {
            0 => {
                let slot = random() % 32;
                let mut bytes = [0; 16];
                for byte in &mut bytes {
                    [*byte, ..] = random().to_le_bytes();
                }
                bytes[0] = 0x27;
                bytes[1] |= 0x80;
                [_, bytes[2], ..] = [0_u8, [0x25, 0x35, 0x60, 0x61, 0xec, 0xa0, 0xc8, 0xef][(random() % 8) as usize]];
                let packet = random().to_le_bytes();
                let at = DATA + random() % 0x10_0000;
                pc.prepare(slot, bytes, &packet, &[(at, 1 + (random() % 5000) as usize), (at, 70_000)]);
            }
            1 => pc.issue((random() % 2).try_into().unwrap(), low(random())),
            2 => pc.write(0x118 + 0x80 * (round & 1), low(random())),
            3 if round % 50 == 0 => {
                pc.start(0);
                pc.start(1);
            }
            _ => {
                let at = (0x100 + low(random()) % 0x100) & !3;
                pc.write(at, low(random()));
                pc.read(at);
            }
        }
        pc.finish();
    }
    pc.write(0x04, 1);
    pc.write(0x04, 0x8000_0002);
    pc.start(0);
    assert_eq!(pc.command(0, fis(0x25, 0, 0, 1), &[(DATA, 512)]), 0x50);
}

#[test]
fn trim_discards_its_ranges() {
    let mut pc = Pc::new();
    let range = |lba: u64, count: u64| (count << 48 | lba).to_le_bytes();
    pc.put(DATA, &[range(5, 2), range(9, 1)].concat());
    pc.put(DATA + 16, &[0; 496]);
    assert_eq!(pc.command(0, fis(0x06, 1, 0, 1), &[(DATA, 512)]), 0x50);
    let content = pc.host.disks[&DISK.0].content[4 * 512..10 * 512].to_vec();
    assert_eq!(content, [pattern(4, 1), vec![0; 1024], pattern(7, 2), vec![0; 512]].concat());
    pc.put(DATA, &range(4095, 2));
    assert_eq!(pc.command(0, fis(0x06, 1, 0, 1), &[(DATA, 512)]), 0x0451, "beyond the end");
}

/// PCI 3.0, 6.8.1; AHCI 10.7.2.1: a message is sent when a bit of IS comes up, whatever else is still set.
#[test]
fn a_message_is_sent_for_each_interrupt() {
    let mut pc = Pc::new();
    for (offset, value) in [(0x84, 0xfee0_1000), (0x88, 0), (0x8c, 0x4031), (0x80, 1 << 16)] {
        pc.ahci.config_mut().write(offset, Width::Dword, value);
    }
    assert_eq!(pc.ahci.config().message(), Some((0xfee0_1000, 0x4031)));
    let _ = pc.ahci.take_message();
    pc.command(0, fis(0xec, 0, 0, 0), &[(DATA, 512)]);
    assert!(pc.ahci.take_message() && !pc.ahci.take_message());
    // The driver clears IS before the port's own bits: that is another one.
    pc.write(0x08, 1);
    assert!(pc.ahci.take_message());
    pc.events(0);
    assert!(!pc.ahci.take_message());
}
