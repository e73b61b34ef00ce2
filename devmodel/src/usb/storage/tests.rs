//! Tests of the disk, from a driver's side: wrappers, data and halts as the specification has them.

use super::*;
use crate::fake_host::{FakeHost, sector_pattern};
use std::vec;

const DISK: DiskId = DiskId(3);
const SECTORS: u64 = 100;

/// How a command ends: bCSWStatus, the residue, and the data of the device.
type End = (u8, u32, Vec<u8>);

struct Driver {
    disk: Storage,
    host: FakeHost,
    tag: u32,
}

impl Driver {
    fn new() -> Self {
        let mut host = FakeHost::new(0);
        host.add_disk(DISK, SECTORS);
        let text = |text| heapless::String::try_from(text).unwrap();
        let config = DiskConfig {
            id: DISK,
            sectors: SECTORS,
            serial: heapless::String::try_from("4D0000000003").unwrap(),
            model: heapless::String::try_from("QEMU HARDDISK").unwrap(),
            firmware: text("2.5+"),
            ..DiskConfig::default()
        };
        Self { disk: Storage::new(config), host, tag: 0x1234_5600 }
    }

    fn wrapper(&mut self, expected: u32, to_driver: bool, command: &[u8]) -> Vec<u8> {
        self.tag += 1;
        let mut wrapper = vec![0; 31];
        wrapper[..4].copy_from_slice(b"USBC");
        wrapper[4..8].copy_from_slice(&self.tag.to_le_bytes());
        wrapper[8..12].copy_from_slice(&expected.to_le_bytes());
        wrapper[12] = if to_driver { 0x80 } else { 0 };
        wrapper[14] = u8::try_from(command.len()).unwrap();
        wrapper[15..15 + command.len()].copy_from_slice(command);
        wrapper
    }

    fn send(&mut self, bytes: &[u8]) -> Answer {
        self.disk.transact(&mut self.host, 2, Token::Out(bytes))
    }

    fn ask(&mut self) -> Answer {
        self.disk.transact(&mut self.host, 1, Token::In)
    }

    /// The host does what it was asked for.
    fn work(&mut self) {
        let result = self.host.finish_disk(DISK);
        self.disk.disk_complete(&mut self.host, DISK, result);
    }

    /// Sends a command and its data, or takes its data, and then its status, as drivers do. A halted endpoint is let go on.
    fn command(&mut self, expected: u32, data: Option<&[u8]>, command: &[u8]) -> End {
        let wrapper = self.wrapper(expected, data.is_none(), command);
        assert_eq!(self.send(&wrapper), accepted());
        let mut packets: Vec<&[u8]> = data.unwrap_or(&[]).chunks(64).rev().collect();
        let mut got = Vec::new();
        loop {
            if self.host.disk_busy(DISK) {
                assert_eq!((self.ask(), self.send(&[])), (Answer::Nak, Answer::Nak));
                self.work();
                continue;
            }
            if let Some(packet) = packets.pop() {
                match self.send(packet) {
                    Answer::Stall => {
                        assert!(self.disk.is_halted(0x02) && self.disk.set_halt(0x02, false));
                        packets.clear();
                    }
                    answer => assert_eq!(answer, accepted()),
                }
                continue;
            }
            match self.ask() {
                Answer::Stall => assert!(self.disk.is_halted(0x81) && self.disk.set_halt(0x81, false)),
                Answer::Ack(bytes) if bytes.starts_with(b"USBS") && bytes.len() == 13 => {
                    assert_eq!(bytes[4..8], self.tag.to_le_bytes());
                    let residue = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
                    return (bytes[12], residue, got);
                }
                Answer::Ack(bytes) => got.extend_from_slice(&bytes),
                Answer::Nak => panic!("it waits for nothing"),
            }
        }
    }

    /// Key and additional code of the last error.
    fn sense(&mut self) -> (u8, u8) {
        let (status, residue, data) = self.command(18, None, &[0x03, 0, 0, 0, 18, 0]);
        assert_eq!((status, residue), (0, 0));
        (data[2], data[12])
    }
}

fn sectors(lba: u64, count: u64) -> Vec<u8> {
    (lba..lba + count).flat_map(sector_pattern).collect()
}

fn read10(lba: u8, count: u8) -> [u8; 10] {
    [0x28, 0, 0, 0, 0, lba, 0, 0, count, 0]
}

fn write10(lba: u8, count: u8) -> [u8; 10] {
    [0x2a, 0, 0, 0, 0, lba, 0, 0, count, 0]
}

#[test]
fn a_disk_says_what_it_is() {
    let mut driver = Driver::new();
    let (status, residue, data) = driver.command(36, None, &[0x12, 0, 0, 0, 36, 0]);
    assert_eq!((status, residue, &data[8..]), (0, 0, &b"QEMU    QEMU HARDDISK   2.5+"[..]));
    let (_, _, data) = driver.command(255, None, &[0x12, 1, 0x80, 0, 255, 0]);
    assert_eq!(data[3..], *b"\x144D0000000003        ");
    let (_, _, data) = driver.command(8, None, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(data, [0, 0, 0, 99, 0, 0, 2, 0]);
    let (_, _, data) = driver.command(32, None, &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0]);
    assert_eq!(data[..12], [0, 0, 0, 0, 0, 0, 0, 99, 0, 0, 2, 0]);
    let (_, _, data) = driver.command(192, None, &[0x1a, 0, 0x3f, 0, 192, 0]);
    assert_eq!((data.len(), data[0], data[2], data[6]), (24, 23, 0, 4), "not write-protected, with a cache");
    assert_eq!(driver.command(0, None, &[0x00, 0, 0, 0, 0, 0]), (0, 0, vec![]));
    assert_eq!(driver.command(0, None, &[0xff, 0, 0, 0, 0, 0]).0, 1);
    assert_eq!(driver.sense(), (5, 0x20));
    assert_eq!(driver.sense(), (0, 0), "it was told");
}

#[test]
fn descriptors_and_requests_are_those_of_the_bulk_only_transport() {
    let mut driver = Driver::new();
    let config = driver.disk.descriptor(2, 0).unwrap();
    // Class 8, subclass 6 (SCSI), protocol 0x50; bulk endpoints 0x81 and 2 of 64 bytes.
    assert_eq!(config[14..17], [8, 6, 0x50]);
    assert_eq!((&config[20..24], &config[27..31]), (&[0x81, 2, 64, 0][..], &[0x02, 2, 64, 0][..]));
    assert_eq!(usize::from(config[2]), config.len());
    let request = |kind, code, len| Request { kind, code, value: 0, index: 0, len };
    assert_eq!(driver.disk.class_request(request(0xa1, 0xfe, 1)).unwrap(), [0], "one unit");
    assert!(driver.disk.class_request(request(0x21, 0xff, 0)).is_some());
    assert!(driver.disk.class_request(request(0xa1, 0xfd, 1)).is_none());
}

#[test]
fn blocks_are_read_in_chunks() {
    let mut driver = Driver::new();
    let (status, residue, data) = driver.command(20 * 512, None, &read10(7, 20));
    assert_eq!((status, residue), (0, 0));
    assert!(data == sectors(7, 20));
    let ops: Vec<_> = driver.host.disks[&DISK.0].started.clone();
    assert_eq!(ops, [(7, 8), (15, 8), (23, 4)].map(|(lba, sectors)| DiskOp::Read { lba, sectors }));
    for command in [&[0x08, 0, 0, 99, 1, 0][..], &[0xa8, 0, 0, 0, 0, 99, 0, 0, 0, 1, 0, 0]] {
        assert!(driver.command(512, None, command) == (0, 0, sectors(99, 1)));
    }
    assert_eq!(driver.command(512, None, &read10(100, 1)), (1, 512, vec![]));
    assert_eq!(driver.sense(), (5, 0x21));
}

#[test]
fn blocks_are_written_and_made_durable() {
    let mut driver = Driver::new();
    let data: Vec<u8> = sectors(50, 9).into_iter().rev().collect();
    let mut command = write10(4, 9);
    command[1] = 1 << 3;
    assert_eq!(driver.command(9 * 512, Some(&data), &command), (0, 0, vec![]));
    let disk = &driver.host.disks[&DISK.0];
    assert!(disk.content[4 * 512..13 * 512] == data && disk.content[13 * 512..14 * 512] == sector_pattern(13));
    assert_eq!(disk.started.last(), Some(&DiskOp::Flush), "FUA");
    assert_eq!(driver.command(0, None, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]).0, 0, "SYNCHRONIZE CACHE");
    driver.disk.config.read_only = true;
    assert_eq!(driver.command(512, Some(&data[..512]), &write10(4, 1)), (1, 512, vec![]));
    assert_eq!(driver.sense(), (7, 0x27));
}

/// Section 6.7: what the driver expects against what the device has, in the order of the table.
#[test]
fn the_thirteen_cases() {
    let nothing = [0x00, 0, 0, 0, 0, 0];
    let sector = [5; 512];
    let more = [5; 1024];
    let mut driver = Driver::new();
    let mut case = |expected, data: Option<&[u8]>, command: &[u8]| {
        let (status, residue, data) = driver.command(expected, data, command);
        (status, residue, data.len())
    };
    assert_eq!(case(0, Some(&[]), &nothing), (0, 0, 0), "1: Hn = Dn");
    assert_eq!(case(0, Some(&[]), &read10(0, 1)), (2, 0, 0), "2: Hn < Di");
    assert_eq!(case(0, Some(&[]), &write10(0, 1)), (2, 0, 0), "3: Hn < Do");
    assert_eq!(case(512, None, &nothing), (0, 512, 0), "4: Hi > Dn");
    assert_eq!(case(1024, None, &read10(0, 1)), (0, 512, 512), "5: Hi > Di");
    assert_eq!(case(512, None, &[0x12, 0, 0, 0, 36, 0]), (0, 476, 36), "5, by a short packet");
    assert_eq!(case(512, None, &read10(0, 1)), (0, 0, 512), "6: Hi = Di");
    assert_eq!(case(512, None, &read10(0, 2)), (2, 512, 0), "7: Hi < Di");
    assert_eq!(case(512, None, &write10(0, 1)), (2, 512, 0), "8: Hi <> Do");
    assert_eq!(case(512, Some(&sector), &nothing), (0, 512, 0), "9: Ho > Dn");
    assert_eq!(case(512, Some(&sector), &read10(0, 1)), (2, 512, 0), "10: Ho <> Di");
    assert_eq!(case(1024, Some(&more), &write10(0, 1)), (0, 512, 0), "11: Ho > Do");
    assert_eq!(case(512, Some(&sector), &write10(0, 1)), (0, 0, 0), "12: Ho = Do");
    assert_eq!(case(512, Some(&sector), &write10(0, 2)), (2, 512, 0), "13: Ho < Do");
}

/// Section 6.6.1, and 5.3.4: reset recovery.
#[test]
fn what_is_no_wrapper_halts_everything_until_a_reset() {
    let mut driver = Driver::new();
    let good = driver.wrapper(0, true, &[0; 6]);
    let spoilt = |at: usize, value: u8| {
        let mut wrapper = good.clone();
        wrapper[at] = value;
        wrapper
    };
    for bytes in [spoilt(0, 0), spoilt(12, 1), spoilt(13, 1), spoilt(14, 0), spoilt(14, 17), good[..30].to_vec()] {
        assert_eq!(driver.send(&bytes), Answer::Stall);
        for endpoint in [0x81, 0x02] {
            driver.disk.set_halt(endpoint, false);
            assert!(driver.disk.is_halted(endpoint), "that is not enough");
        }
        assert_eq!((driver.send(&good), driver.ask()), (Answer::Stall, Answer::Stall));
        let reset = Request { kind: 0x21, code: 0xff, value: 0, index: 0, len: 0 };
        assert!(driver.disk.class_request(reset).is_some());
        assert_eq!((driver.send(&good), driver.ask()), (Answer::Stall, Answer::Stall), "they are halted still");
        for endpoint in [0x81, 0x02] {
            driver.disk.set_halt(endpoint, false);
        }
        assert_eq!(driver.command(0, None, &[0; 6]).0, 0);
    }
}

#[test]
fn a_disk_that_fails_says_so() {
    let mut driver = Driver::new();
    let wrapper = driver.wrapper(512, true, &read10(0, 1));
    driver.send(&wrapper);
    let result = driver.host.fail_disk(DISK);
    driver.disk.disk_complete(&mut driver.host, DISK, result);
    assert_eq!(driver.ask(), Answer::Stall);
    driver.disk.set_halt(0x81, false);
    assert_eq!(driver.ask(), Answer::Ack(Packet::from_slice(b"USBS\x01\x56\x34\x12\x00\x02\x00\x00\x01").unwrap()));
    assert_eq!(driver.sense(), (3, 0x11));
}

#[test]
fn a_command_waits_for_what_the_host_does_for_one_that_was_cut_off() {
    let mut driver = Driver::new();
    let wrapper = driver.wrapper(512, true, &read10(9, 1));
    driver.send(&wrapper);
    driver.disk.reset();
    assert!(driver.disk.awaits_disk());
    let wrapper = driver.wrapper(0, true, &[0; 6]);
    assert_eq!(driver.send(&wrapper), Answer::Nak);
    driver.work();
    assert!(driver.command(512, None, &read10(10, 1)) == (0, 0, sectors(10, 1)));
}

#[test]
fn a_saved_state_that_cannot_be_is_refused() {
    let driver = Driver::new();
    let adopt = |phase, data: usize, position| {
        let saved = Storage { phase, data: vec![0; data], position, ..driver.disk.clone() };
        driver.disk.clone().adopt(saved)
    };
    assert_eq!(adopt(Phase::ToDriver { lba: 92, blocks: 8 }, CHUNK, 64), Ok(()));
    for (phase, data, position) in [
        (Phase::ToDriver { lba: 93, blocks: 8 }, 0, 0),
        (Phase::FromDriver { lba: u64::MAX, blocks: 1, durable: false }, 0, 0),
        (Phase::Flush, 0, 0),
        (Phase::Command, CHUNK + 1, 0),
        (Phase::Command, 1, 2),
    ] {
        assert_eq!(adopt(phase, data, position), Err(StateError::OtherMachine));
    }
}

/// Wrappers that are nearly right, packets of any length at any time, resets, and a host that fails now and then.
#[test]
fn nothing_that_a_driver_sends_does_harm() {
    let mut driver = Driver::new();
    let mut seed = 1_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let opcodes =
        [0x00, 0x03, 0x08, 0x0a, 0x12, 0x1a, 0x25, 0x28, 0x2a, 0x35, 0x5a, 0x88, 0x8a, 0x9e, 0xa0, 0xa8, 0xaa];
    let mut passed = 0;
    for _ in 0..200_000 {
        match random(16) {
            0..=3 => {
                let mut command = [0_u8; 16];
                for byte in command.iter_mut().skip(1) {
                    let value = u8::try_from(random(32)).unwrap();
                    *byte = if random(4) == 0 { value } else { 0 };
                }
                command[0] = opcodes[random(opcodes.len())];
                let expected = [0, 18, 36, 512, 1024, 8192, u32::MAX][random(7)];
                let wrapper = driver.wrapper(expected, random(3) > 0, &command);
                driver.send(&wrapper);
            }
            // A packet that is no wrapper breaks everything: not too often.
            4..=7 if driver.disk.phase != Phase::Command || random(16) == 0 => {
                drop(driver.send(&vec![7; [0, 1, 31, 63, 64, 64, 64, 65, 1280][random(9)]]))
            }
            8..=11 => {
                if let Answer::Ack(bytes) = driver.ask() {
                    passed += usize::from(bytes.starts_with(b"USBS") && bytes[12] == 0);
                }
            }
            12 | 13 if driver.host.disk_busy(DISK) => {
                let fails = random(8) == 0;
                let result = if fails { driver.host.fail_disk(DISK) } else { driver.host.finish_disk(DISK) };
                driver.disk.disk_complete(&mut driver.host, DISK, result);
            }
            14 => drop(driver.disk.set_halt([0x81, 0x02, 0x80, 0x83][random(4)], random(8) == 0)),
            15 => {
                let reset = Request { kind: 0x21, code: 0xff, value: 0, index: 0, len: 0 };
                drop(driver.disk.class_request(reset));
            }
            _ => {}
        }
        assert!(driver.disk.data.len() <= CHUNK && driver.disk.position <= driver.disk.data.len());
    }
    assert!(passed > 300, "only {passed} commands passed");
}
