use super::*;
use crate::fake_host::{BUFFER_LEN, FakeHost, sector_pattern};
use crate::machine::CdConfig;
use heapless::String;
use std::vec::Vec;

const DISC: DiskId = DiskId(3);
const BLOCKS: u64 = 200;

const READY: u8 = 0x50;
const CHECK: u8 = 0x51;
const DRQ: u8 = 0x58;
const BUSY: u8 = 0x80;

/// A controller whose only drive is a CD drive, the secondary master.
struct Bench {
    ide: Piix3Ide,
    host: FakeHost,
}

impl Bench {
    fn new() -> Self {
        let mut host = FakeHost::new(1 << 20);
        host.add_disk(DISC, BLOCKS * 4);
        let cd = CdConfig {
            id: DISC,
            disc: Some(BLOCKS * 4),
            serial: String::try_from("QM00003").unwrap(),
            model: String::try_from("TEST CD").unwrap(),
        };
        let mut ide = Piix3Ide::new([None, None, Some(DriveConfig::Cd(cd)), None]);
        ide.config.write(4, Width::Word, 5);
        Self { ide, host }
    }

    fn write(&mut self, offset: u16, value: u8) {
        self.ide.write_command(&mut self.host, 1, offset, Width::Byte, value.into());
    }

    fn read(&mut self, offset: u16) -> u8 {
        self.ide.read_command(&mut self.host, 1, offset, Width::Byte).to_le_bytes()[0]
    }

    fn status(&mut self) -> u8 {
        self.read(7)
    }

    /// The status without taking the interrupt back, and whether there is one.
    fn state(&mut self) -> (u8, bool) {
        (self.ide.read_control(1), self.ide.irq_level(1) == Level::High)
    }

    fn packet(&mut self, features: u8, limit: u16, bytes: &[u8]) {
        let [low, high] = limit.to_le_bytes();
        for (offset, value) in [(6, 0xa0), (1, features), (4, low), (5, high), (7, 0xa0)] {
            self.write(offset, value);
        }
        assert_eq!(self.state(), (DRQ, false));
        assert_eq!(self.read(2), 1, "a packet, from the guest");
        let mut packet = [0; 12];
        packet[..bytes.len()].copy_from_slice(bytes);
        for word in packet.chunks_exact(2) {
            let value = u16::from_le_bytes([word[0], word[1]]);
            self.ide.write_command(&mut self.host, 1, 0, Width::Word, value.into());
        }
    }

    /// Takes one request of data, as long as the drive says.
    fn take(&mut self) -> Vec<u8> {
        assert_eq!(self.state(), (DRQ, true));
        assert_eq!(self.read(2), 2, "data, to the guest");
        let len = usize::from(u16::from_le_bytes([self.read(4), self.read(5)]));
        self.status();
        let words = (0..len.div_ceil(2)).flat_map(|_| {
            let word = self.ide.read_command(&mut self.host, 1, 0, Width::Word);
            [word.to_le_bytes()[0], word.to_le_bytes()[1]]
        });
        words.take(len).collect()
    }

    fn assert_ended(&mut self) {
        assert_eq!(self.state(), (READY, true));
        assert_eq!(self.read(2), 3, "a status");
        assert_eq!(self.status(), READY);
        assert_eq!(self.state(), (READY, false));
    }

    fn finish(&mut self) {
        let result = self.host.finish_disk(DISC);
        self.ide.complete(&mut self.host, DISC, result);
    }
}

/// What `blocks` blocks from `lba` on hold.
fn content(lba: u64, blocks: u64) -> Vec<u8> {
    (lba * 4..(lba + blocks) * 4).flat_map(sector_pattern).collect()
}

#[test]
fn after_a_reset_it_shows_its_signature_and_is_not_ready() {
    let mut bench = Bench::new();
    let registers = [2, 3, 4, 5, 7].map(|offset| bench.read(offset));
    assert_eq!(registers, [1, 1, 0x14, 0xeb, 0]);
    bench.write(7, 0xec);
    assert_eq!(bench.status(), CHECK);
    assert_eq!([1, 4, 5].map(|offset| bench.read(offset)), [4, 0x14, 0xeb]);
}

#[test]
fn it_identifies_itself_without_a_second_interrupt() {
    let mut bench = Bench::new();
    bench.write(7, 0xa1);
    assert_eq!(bench.state(), (DRQ, true));
    bench.status();
    let words: Vec<u32> = (0..256).map(|_| bench.ide.read_command(&mut bench.host, 1, 0, Width::Word)).collect();
    assert_eq!(words[0], 0x85c0);
    assert_eq!(words[27..31], [0x5445, 0x5354, 0x2043, 0x4420], "TEST CD");
    assert_eq!(bench.state(), (READY, false));
}

#[test]
fn a_read_comes_in_pieces_as_large_as_the_guest_wants() {
    let mut bench = Bench::new();
    bench.packet(0, 3000, &[0x28, 0, 0, 0, 0, 10, 0, 0, 2]);
    assert_eq!(bench.state(), (READY | BUSY, false));
    bench.finish();
    let data = [bench.take(), bench.take()];
    assert_eq!(data.each_ref().map(Vec::len), [3000, 1096]);
    assert_eq!(data.concat(), content(10, 2));
    bench.assert_ended();
}

#[test]
fn a_long_read_by_the_bus_master_takes_several_chunks() {
    let mut bench = Bench::new();
    let blocks = u64::try_from(BUFFER_LEN / 2048 + 5).unwrap();
    // Two regions, the first of 64 KiB.
    let rest = u32::try_from(blocks * 2048 - 0x1_0000).unwrap();
    for (at, value) in [(0x100, 0x2_0000), (0x104, 0), (0x108, 0x4_0000), (0x10c, rest | 1 << 31)] {
        bench.host.write(GuestAddr(at), &value.to_le_bytes()).unwrap();
    }
    bench.ide.write_bus_master(&mut bench.host, 12, Width::Dword, 0x100);
    bench.ide.write_bus_master(&mut bench.host, 8, Width::Byte, 8);
    bench.packet(1, 0, &[0xa8, 0, 0, 0, 0, 20, 0, 0, 0, u8::try_from(blocks).unwrap()]);
    bench.finish();
    bench.ide.write_bus_master(&mut bench.host, 8, Width::Byte, 9);
    bench.finish();
    bench.assert_ended();
    assert_eq!(bench.ide.read_bus_master(10, Width::Byte) & 5, 4, "interrupt, not active");
    let expected = content(20, blocks);
    assert_eq!(bench.host.memory[0x2_0000..0x3_0000], expected[..0x1_0000]);
    assert_eq!(bench.host.memory[0x4_0000..0x4_0000 + expected.len() - 0x1_0000], expected[0x1_0000..]);
}

#[test]
fn an_error_is_a_check_condition_and_request_sense_tells_why() {
    let mut bench = Bench::new();
    bench.packet(0, 0xfffe, &[0x28, 0, 0, 0, 0, 200, 0, 0, 1]);
    assert_eq!((bench.state(), bench.read(2), bench.read(1)), ((CHECK, true), 3, 0x54));
    bench.packet(0, 0xfffe, &[0x03, 0, 0, 0, 18]);
    let sense = bench.take();
    assert_eq!((sense.len(), sense[2], sense[12]), (18, 5, 0x21));
    bench.assert_ended();
    bench.packet(0, 0xfffe, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1]);
    let result = bench.host.fail_disk(DISC);
    bench.ide.complete(&mut bench.host, DISC, result);
    assert_eq!((bench.status(), bench.read(1)), (CHECK, 0x30), "medium error");
}

#[test]
fn a_reset_in_the_middle_leaves_nothing_behind() {
    let mut bench = Bench::new();
    bench.packet(0, 2048, &[0x28, 0, 0, 0, 0, 1, 0, 0, 1]);
    bench.write(7, 0x08);
    assert_eq!([4, 5, 7].map(|offset| bench.read(offset)), [0x14, 0xeb, 0]);
    // The host is still at work for the first read: the second one waits for that.
    bench.packet(0, 2048, &[0x28, 0, 0, 0, 0, 7, 0, 0, 1]);
    bench.finish();
    assert_eq!(bench.state(), (READY | BUSY, false));
    bench.finish();
    assert_eq!(bench.take(), content(7, 1));
    bench.assert_ended();
}

#[test]
fn unplugging_disks_leaves_it_alone() {
    let mut bench = Bench::new();
    bench.ide.unplug(Unplug::IdeDisks);
    bench.packet(0, 2048, &[0x25]);
    assert_eq!(bench.take(), [0, 0, 0, 199, 0, 0, 8, 0]);
}

#[test]
fn random_accesses_do_no_harm() {
    let mut bench = Bench::new();
    let mut seed = 7_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let [.., c, b, a, value] = seed.to_le_bytes();
        (value, u16::from(a % 8), b, c)
    };
    for _ in 0..200_000 {
        let (value, offset, choice, rare) = next();
        match choice % 8 {
            0 => bench.write(7, [0xa0, 0xa0, 0xa1, 0x08, 0xef, value][usize::from(rare % 6)]),
            1 => bench.write(1 + offset % 6, value),
            2 => bench.ide.write_command(
                &mut bench.host,
                1,
                0,
                Width::Word,
                u32::from(value) << 8 | u32::from(rare & 0x3f),
            ),
            3 => drop(bench.read(offset)),
            4 => bench.ide.write_bus_master(&mut bench.host, 8 + offset, Width::Byte, value.into()),
            5 => drop(bench.ide.write_data_from_guest(&mut bench.host, 1, GuestAddr(u64::from(value) << 14), 12)),
            6 => drop(bench.ide.read_data_to_guest(&mut bench.host, 1, GuestAddr(u64::from(value) << 12), 4096)),
            _ if bench.host.disk_busy(DISC) => bench.finish(),
            _ => bench.ide.write_control(1, if rare < 16 { value & 6 } else { 0 }),
        }
    }
}
