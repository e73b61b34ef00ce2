use super::*;
use crate::fake_host::{BUFFER_LEN, FakeHost, sector_pattern};
use crate::host::DiskOp;
use crate::machine::DiskConfig;
use heapless::String;
use std::vec;
use std::vec::Vec;

const DISK: DiskId = DiskId(7);
const SECTORS: u64 = 4096;
const BUFFER_SECTORS: u32 = 128;

const ERR: u8 = 0x51;
const READY: u8 = 0x50;
const DRQ: u8 = 0x58;
const BUSY: u8 = 0x80;

fn config(id: DiskId) -> DiskConfig {
    DiskConfig {
        id,
        sectors: SECTORS,
        read_only: false,
        discard: true,
        serial: String::try_from("QM00001").unwrap(),
        model: String::try_from("TEST DISK").unwrap(),
        firmware: String::try_from("1.0").unwrap(),
    }
}

/// A controller whose only disk is the primary master.
struct Bench {
    ide: Piix3Ide,
    host: FakeHost,
}

impl Bench {
    fn new() -> Self {
        Self::with(config(DISK))
    }

    fn with(config: DiskConfig) -> Self {
        let mut host = FakeHost::new(1 << 20);
        host.add_disk(DISK, SECTORS);
        let mut ide = Piix3Ide::new([Some(DriveConfig::Disk(config)), None, None, None]);
        ide.config.write(4, Width::Word, 5);
        Self { ide, host }
    }

    fn write(&mut self, offset: u16, value: u8) {
        self.ide.write_command(&mut self.host, 0, offset, Width::Byte, value.into());
    }

    fn read(&mut self, offset: u16) -> u8 {
        self.ide.read_command(&mut self.host, 0, offset, Width::Byte).to_le_bytes()[0]
    }

    fn alternate_status(&mut self) -> u8 {
        self.ide.read_control(0)
    }

    /// Writes the command block from features to command, with 28-bit addresses.
    fn command(&mut self, opcode: u8, lba: u32, count: u8) {
        let [low, mid, high, top] = lba.to_le_bytes();
        for (offset, value) in [(2, count), (3, low), (4, mid), (5, high), (6, 0xe0 | top), (7, opcode)] {
            self.write(offset, value);
        }
    }

    /// Writes the command block with 48-bit addresses.
    fn command_ext(&mut self, opcode: u8, lba: u64, count: u16) {
        let [b0, b1, b2, b3, b4, b5, ..] = lba.to_le_bytes();
        let [c0, c1] = count.to_le_bytes();
        for (offset, value) in [(2, c1), (3, b3), (4, b4), (5, b5), (2, c0), (3, b0), (4, b1), (5, b2), (6, 0xe0)] {
            self.write(offset, value);
        }
        self.write(7, opcode);
    }

    fn finish(&mut self) {
        let result = self.host.finish_disk(DISK);
        self.ide.complete(&mut self.host, DISK, result);
    }

    fn fail(&mut self) {
        let result = self.host.fail_disk(DISK);
        self.ide.complete(&mut self.host, DISK, result);
    }

    fn line(&self) -> Level {
        self.ide.irq_level(0)
    }

    fn read_words(&mut self, words: usize) -> Vec<u8> {
        let read = |_| {
            let word = self.ide.read_command(&mut self.host, 0, 0, Width::Word);
            [word.to_le_bytes()[0], word.to_le_bytes()[1]]
        };
        (0..words).flat_map(read).collect()
    }

    fn write_words(&mut self, data: &[u8]) {
        for word in data.chunks_exact(2) {
            let value = u16::from_le_bytes([word[0], word[1]]);
            self.ide.write_command(&mut self.host, 0, 0, Width::Word, value.into());
        }
    }

    fn bus_master(&mut self) -> u8 {
        self.ide.read_bus_master(2, Width::Byte).to_le_bytes()[0]
    }

    fn set_bus_master(&mut self, offset: u16, width: Width, value: u32) {
        self.ide.write_bus_master(&mut self.host, offset, width, value);
    }

    /// A table at 0x1000 with these regions, the last of which ends it; and Start.
    fn start(&mut self, regions: &[(u32, u32)], to_memory: bool) {
        self.table(regions);
        self.set_bus_master(0, Width::Byte, if to_memory { 9 } else { 1 });
    }

    fn table(&mut self, regions: &[(u32, u32)]) {
        for (index, (addr, len)) in regions.iter().enumerate() {
            let last = if index + 1 == regions.len() { 1 << 31 } else { 0 };
            let at = 0x1000 + index * 8;
            self.host.memory[at..at + 4].copy_from_slice(&addr.to_le_bytes());
            self.host.memory[at + 4..at + 8].copy_from_slice(&(len & 0xffff | last).to_le_bytes());
        }
        self.set_bus_master(4, Width::Dword, 0x1000);
        self.set_bus_master(2, Width::Byte, 6);
    }
}

fn pattern(lba: u64, sectors: u64) -> Vec<u8> {
    (lba..lba + sectors).flat_map(sector_pattern).collect()
}

/// ATA/ATAPI-6, 9.12: the signature of a drive without PACKET feature set.
#[test]
fn a_reset_leaves_the_signature() {
    let mut bench = Bench::new();
    bench.write(4, 0x77);
    bench.ide.write_control(0, 0x04);
    assert_eq!(bench.alternate_status(), BUSY);
    bench.ide.write_control(0, 0x00);
    assert_eq!([1, 2, 3, 4, 5, 6, 7].map(|at| bench.read(at)), [1, 1, 1, 0, 0, 0xa0, READY]);
}

/// What SeaBIOS and Linux probe for: registers can be written, but a drive that is absent has a status of zero.
#[test]
fn an_absent_drive_1_has_registers_but_no_status() {
    let mut bench = Bench::new();
    bench.write(6, 0xb0);
    bench.write(2, 0x55);
    bench.write(3, 0xaa);
    assert_eq!([2, 3, 6, 7].map(|at| bench.read(at)), [0x55, 0xaa, 0xb0, 0]);
    bench.write(7, 0xec);
    assert_eq!(bench.read(7), 0);
    assert_eq!(bench.line(), Level::Low);
    bench.ide.write_control(0, 4);
    bench.ide.write_control(0, 0);
    bench.write(6, 0xb0);
    assert_eq!(bench.read(1), 1, "drive 0 answers for it: no diagnostic failed");
    assert_eq!([4, 5].map(|at| bench.read(at)), [0xff, 0xff]);
}

#[test]
fn a_channel_without_drives_reads_as_zero() {
    let mut bench = Bench::new();
    let Bench { ide, host } = &mut bench;
    for offset in 0..8 {
        ide.write_command(host, 1, offset, Width::Byte, 0x55);
        assert_eq!(ide.read_command(host, 1, offset, Width::Byte), 0);
    }
    assert_eq!(ide.read_control(1), 0);
}

#[test]
fn identify_gives_one_sector_and_one_interrupt() {
    let mut bench = Bench::new();
    bench.command(0xec, 0, 0);
    assert_eq!(bench.line(), Level::High);
    assert_eq!(bench.alternate_status(), DRQ);
    assert_eq!(bench.line(), Level::High, "the alternate status takes no interrupt back");
    assert_eq!(bench.read(7), DRQ);
    assert_eq!(bench.line(), Level::Low);
    let data = bench.read_words(256);
    assert_eq!(&data[54..64], b"ETTSD SI K");
    assert_eq!(u32::from_le_bytes(data[120..124].try_into().unwrap()), 4096);
    assert_eq!(bench.read(7), READY);
    assert_eq!(bench.line(), Level::Low);
    assert_eq!(bench.read_words(1), [0, 0], "there is no more data");
    assert!(bench.host.disks[&DISK.0].started.is_empty());
}

#[test]
fn a_disk_is_no_cd_drive() {
    let mut bench = Bench::new();
    for opcode in [0xa1, 0xa0, 0x08, 0x00] {
        bench.command(opcode, 0, 0);
        assert_eq!((bench.read(7), bench.read(1)), (ERR, 4), "{opcode:#x}");
    }
}

#[test]
fn a_pio_read_is_one_transfer_of_the_host_and_an_interrupt_for_each_sector() {
    let mut bench = Bench::new();
    bench.command(0x20, 100, 3);
    assert_eq!(bench.read(7) & BUSY, BUSY);
    assert_eq!(bench.line(), Level::Low);
    bench.finish();
    for sector in 100..103 {
        assert_eq!(bench.line(), Level::High);
        assert_eq!(bench.read(7), DRQ);
        assert_eq!(bench.line(), Level::Low);
        assert_eq!(bench.read_words(256), pattern(sector, 1));
    }
    assert_eq!(bench.line(), Level::Low);
    assert_eq!(bench.read(7), READY);
    assert_eq!(bench.host.disks[&DISK.0].started, [DiskOp::Read { lba: 100, sectors: 3 }]);
    assert_eq!((bench.read(3), bench.read(2)), (102, 0), "the registers tell the last sector");
}

#[test]
fn a_read_larger_than_the_buffer_is_done_in_chunks() {
    let mut bench = Bench::new();
    bench.command_ext(0x24, 5, 300);
    let mut data = Vec::new();
    while bench.alternate_status() != READY {
        if bench.host.disk_busy(DISK) {
            bench.finish();
        }
        data.extend(bench.read_words(256));
    }
    assert_eq!(data, pattern(5, 300));
    let reads = [(5, BUFFER_SECTORS), (133, BUFFER_SECTORS), (261, 44)];
    assert_eq!(bench.host.disks[&DISK.0].started, reads.map(|(lba, sectors)| DiskOp::Read { lba, sectors }));
}

#[test]
fn a_count_of_zero_is_256_sectors() {
    let mut bench = Bench::new();
    bench.command(0x40, 0, 0);
    bench.finish();
    bench.finish();
    assert_eq!(bench.read(7), READY);
    let started = [0, 128].map(|lba| DiskOp::Read { lba, sectors: 128 });
    assert_eq!(bench.host.disks[&DISK.0].started, started);
}

#[test]
fn multiple_mode_has_an_interrupt_for_each_block() {
    let mut bench = Bench::new();
    bench.command(0xc4, 0, 4);
    assert_eq!((bench.read(7), bench.read(1)), (ERR, 4), "multiple mode is not set");
    for (count, status) in [(3, ERR), (32, ERR), (4, READY)] {
        bench.command(0xc6, 0, count);
        assert_eq!(bench.read(7), status);
    }
    bench.command(0xc4, 10, 6);
    bench.finish();
    assert_eq!(bench.read(7), DRQ);
    assert_eq!(bench.read_words(4 * 256), pattern(10, 4));
    assert_eq!(bench.line(), Level::High);
    assert_eq!(bench.read(7), DRQ);
    assert_eq!(bench.read_words(2 * 256), pattern(14, 2));
    assert_eq!((bench.line(), bench.read(7)), (Level::Low, READY));
}

#[test]
fn a_pio_write_ends_when_the_host_has_written() {
    let mut bench = Bench::new();
    bench.command(0x30, 20, 2);
    assert_eq!((bench.line(), bench.read(7)), (Level::Low, DRQ), "no interrupt asks for the first block");
    bench.write_words(&[0x11; 512]);
    assert_eq!((bench.line(), bench.read(7)), (Level::High, DRQ));
    bench.write_words(&[0x22; 512]);
    assert_eq!(bench.read(7) & BUSY, BUSY);
    assert_eq!(bench.line(), Level::Low);
    bench.finish();
    assert_eq!((bench.line(), bench.read(7)), (Level::High, READY));
    let disk = &bench.host.disks[&DISK.0];
    assert_eq!(disk.content[20 * 512..21 * 512], [0x11; 512]);
    assert_eq!(disk.content[21 * 512..22 * 512], [0x22; 512]);
    assert_eq!(disk.started, [DiskOp::Write { lba: 20, sectors: 2 }]);
}

#[test]
fn without_write_cache_a_write_is_flushed_before_it_ends() {
    let mut bench = Bench::new();
    bench.write(1, 0x82);
    bench.command(0xef, 0, 0);
    assert_eq!(bench.alternate_status() & BUSY, BUSY, "switching the cache off empties it");
    bench.finish();
    bench.command(0x30, 1, 1);
    bench.write_words(&[3; 512]);
    bench.finish();
    assert_eq!((bench.line(), bench.alternate_status() & BUSY), (Level::Low, BUSY));
    bench.finish();
    assert_eq!((bench.line(), bench.alternate_status()), (Level::High, READY));
    let started = [DiskOp::Flush, DiskOp::Write { lba: 1, sectors: 1 }, DiskOp::Flush];
    assert_eq!(bench.host.disks[&DISK.0].started, started);
}

#[test]
fn flush_and_standby_end_when_the_host_has_flushed() {
    let mut bench = Bench::new();
    for opcode in [0xe7, 0xea, 0xe0] {
        bench.command(opcode, 0, 0);
        assert_eq!(bench.alternate_status() & BUSY, BUSY);
        bench.finish();
        assert_eq!(bench.read(7), READY);
    }
    assert_eq!(bench.host.disks[&DISK.0].started, [DiskOp::Flush; 3]);
    bench.command(0xe5, 0, 0x55);
    assert_eq!(bench.read(2), 0, "standby");
    bench.command(0xe1, 0, 0);
    bench.command(0xe5, 0, 0x55);
    assert_eq!(bench.read(2), 0xff, "active or idle");
    bench.command(0xe7, 0, 0);
    bench.fail();
    assert_eq!((bench.read(7), bench.read(1)), (ERR, 4));
}

#[test]
fn errors_of_the_host_are_told_with_the_sector() {
    let mut bench = Bench::new();
    bench.command(0x20, 0x123, 1);
    bench.fail();
    assert_eq!((bench.line(), bench.read(7), bench.read(1)), (Level::High, ERR, 0x40));
    assert_eq!((bench.read(3), bench.read(4)), (0x23, 0x01));
    bench.command(0x30, 5, 1);
    bench.write_words(&[0; 512]);
    bench.fail();
    assert_eq!((bench.line(), bench.read(7), bench.read(1)), (Level::High, ERR, 0x04));
    bench.command(0xe5, 0, 0);
    assert_eq!((bench.read(7), bench.read(1)), (READY, 0), "the next command clears the error");
}

#[test]
fn sectors_beyond_the_end_are_not_found() {
    let mut bench = Bench::new();
    for (lba, count) in [(4096, 1), (4095, 2), (0x0fff_ffff, 0)] {
        for opcode in [0x20, 0x30, 0x40, 0xc8, 0xca] {
            bench.command(opcode, lba, count);
            assert_eq!((bench.read(7), bench.read(1)), (ERR, 0x10));
        }
    }
    bench.command_ext(0x25, 0xffff_ffff_ffff, 0);
    assert_eq!((bench.read(7), bench.read(1)), (ERR, 0x10));
    bench.command(0x70, 4096, 0);
    assert_eq!((bench.read(7), bench.read(1)), (ERR, 0x10));
    bench.command(0x70, 4095, 0);
    assert_eq!(bench.read(7), READY);
    assert!(bench.host.disks[&DISK.0].started.is_empty());
}

#[test]
fn cylinders_heads_and_sectors_follow_initialize_device_parameters() {
    let mut bench = Bench::new();
    let mut read = |heads: u8, cylinder: u8, head: u8, sector: u8| {
        for (offset, value) in [(2, 8), (6, 0xa0 | (heads - 1)), (7, 0x91)] {
            bench.write(offset, value);
        }
        for (offset, value) in [(2, 1), (3, sector), (4, cylinder), (5, 0), (6, 0xa0 | head), (7, 0x40)] {
            bench.write(offset, value);
        }
        if bench.host.disk_busy(DISK) {
            bench.finish();
        }
        (bench.read(7), bench.host.disks[&DISK.0].started.last().copied())
    };
    assert_eq!(read(4, 2, 3, 8), (READY, Some(DiskOp::Read { lba: (2 * 4 + 3) * 8 + 7, sectors: 1 })));
    assert_eq!(read(16, 2, 3, 1), (READY, Some(DiskOp::Read { lba: (2 * 16 + 3) * 8, sectors: 1 })));
    assert_eq!(read(4, 2, 4, 8).0, ERR);
    assert_eq!(read(4, 2, 3, 9).0, ERR);
    assert_eq!(read(4, 2, 3, 0).0, ERR);
}

#[test]
fn a_read_only_disk_refuses_writes() {
    let mut bench = Bench::with(DiskConfig { read_only: true, ..config(DISK) });
    for opcode in [0x30, 0xca, 0xc5, 0x34, 0x35, 0x39, 0x3d, 0xce] {
        bench.command(opcode, 0, 1);
        assert_eq!((bench.read(7), bench.read(1)), (ERR, 4), "{opcode:#x}");
    }
    assert!(bench.host.disks[&DISK.0].started.is_empty());
}

#[test]
fn features_that_are_not_there_are_refused() {
    let mut bench = Bench::new();
    for (feature, count, status) in [
        (0x02, 0, READY),
        (0x03, 0x22, READY),
        (0x03, 0x45, READY),
        (0x03, 0x46, ERR),
        (0x55, 0, READY),
        (0x5d, 0, ERR),
    ] {
        bench.write(1, feature);
        bench.command(0xef, 0, count);
        assert_eq!(bench.read(7), status, "{feature:#x} {count:#x}");
    }
    bench.command(0xec, 0, 0);
    let data = bench.read_words(256);
    assert_eq!(u16::from_le_bytes([data[176], data[177]]), 0x203f, "UDMA mode 5");
    assert_eq!(u16::from_le_bytes([data[126], data[127]]), 0x0007);
}

#[test]
fn smart_needs_its_key_and_tells_that_the_disk_is_well() {
    let mut bench = Bench::new();
    bench.write(1, 0xda);
    bench.command(0xb0, 0, 0);
    assert_eq!((bench.read(7), bench.read(1)), (ERR, 4));
    bench.write(1, 0xda);
    bench.command(0xb0, 0xc2_4f00, 0);
    assert_eq!(bench.read(7), READY);
    assert_eq!((bench.read(4), bench.read(5)), (0x4f, 0xc2));
    for (feature, log, count) in [(0xd0, 0, 0), (0xd1, 0, 0), (0xd5, 0, 1), (0xd5, 6, 1)] {
        bench.write(1, feature);
        bench.command(0xb0, 0xc2_4f00 | log, count);
        assert_eq!(bench.read(7), DRQ);
        bench.read_words(256);
        assert_eq!(bench.read(7), READY);
    }
    bench.write(1, 0xd9);
    bench.command(0xb0, 0xc2_4f00, 0);
    bench.write(1, 0xd0);
    bench.command(0xb0, 0xc2_4f00, 0);
    assert_eq!(bench.read(7), ERR, "SMART is disabled");
}

#[test]
fn read_native_max_tells_the_last_sector() {
    let mut bench = Bench::new();
    bench.command(0xf8, 0, 0);
    assert_eq!([3, 4, 5].map(|at| bench.read(at)), [0xff, 0x0f, 0]);
    bench.command_ext(0x27, 0, 0);
    assert_eq!([3, 4, 5].map(|at| bench.read(at)), [0xff, 0x0f, 0]);
    bench.ide.write_control(0, 0x80);
    assert_eq!([3, 4, 5].map(|at| bench.read(at)), [0, 0, 0]);
}

#[test]
fn nien_lets_the_line_go_and_the_interrupt_waits() {
    let mut bench = Bench::new();
    bench.ide.write_control(0, 0x02);
    bench.command(0xec, 0, 0);
    assert_eq!(bench.line(), Level::Low);
    assert_eq!(bench.bus_master() & 4, 0);
    bench.ide.write_control(0, 0x00);
    assert_eq!(bench.line(), Level::High);
    assert_eq!(bench.bus_master() & 4, 4);
}

#[test]
fn a_busy_drive_ignores_its_command_block() {
    let mut bench = Bench::new();
    bench.command(0x20, 1, 1);
    bench.command(0x30, 2, 2);
    bench.write(6, 0xb0);
    bench.finish();
    assert_eq!(bench.read(7), DRQ);
    bench.command(0xec, 0, 0);
    assert_eq!(bench.read_words(256), pattern(1, 1));
    assert_eq!(bench.host.disks[&DISK.0].started.len(), 1);
}

#[test]
fn data_ports_in_the_wrong_direction_do_nothing() {
    let mut bench = Bench::new();
    bench.command(0x30, 2, 1);
    assert_eq!(bench.read_words(2), [0; 4]);
    bench.write_words(&[5; 512]);
    bench.write_words(&[6; 512]);
    bench.finish();
    assert_eq!(bench.host.disks[&DISK.0].content[1024..1536], [5; 512]);
    assert_eq!(bench.host.disks[&DISK.0].content[1536..2048], pattern(3, 1));
}

#[test]
fn string_accesses_move_whole_blocks() {
    let mut bench = Bench::new();
    bench.command(0x20, 9, 2);
    bench.finish();
    let Bench { ide, host } = &mut bench;
    assert_eq!(ide.read_data_to_guest(host, 0, GuestAddr(0x2000), 512), Ok(512));
    assert_eq!(ide.read_data_to_guest(host, 0, GuestAddr(0x2200), 1024), Ok(512), "there is one more block");
    assert_eq!(host.memory[0x2000..0x2400], pattern(9, 2));
    bench.command(0x30, 40, 2);
    let Bench { ide, host } = &mut bench;
    assert_eq!(ide.write_data_from_guest(host, 0, GuestAddr(0x2000), 2048), Ok(1024));
    assert_eq!(ide.write_data_from_guest(host, 0, GuestAddr(0x2000), 2048), Ok(0));
    bench.finish();
    assert_eq!(bench.host.disks[&DISK.0].content[40 * 512..42 * 512], pattern(9, 2));
    bench.command(0x20, 9, 1);
    bench.finish();
    let Bench { ide, host } = &mut bench;
    assert_eq!(ide.read_data_to_guest(host, 0, GuestAddr(1 << 40), 512), Err(Unmapped));
    assert_eq!(bench.read_words(256), pattern(9, 1), "nothing was lost");
}

#[test]
fn a_dma_read_scatters_over_the_table() {
    let mut bench = Bench::new();
    bench.command_ext(0x25, 50, 200);
    assert_eq!(bench.alternate_status() & BUSY, BUSY);
    bench.start(&[(0x1_0000, 0), (0x4_0002, 0x8000), (0x3_0000, 0x1000)], true);
    assert_eq!(bench.bus_master(), 1);
    bench.finish();
    assert_eq!((bench.bus_master(), bench.line()), (1, Level::Low));
    bench.finish();
    assert_eq!((bench.bus_master(), bench.line()), (4, Level::High), "as long as the transfer");
    assert_eq!(bench.read(7), READY);
    let data = pattern(50, 200);
    assert_eq!(bench.host.memory[0x1_0000..0x2_0000], data[..0x1_0000]);
    assert_eq!(bench.host.memory[0x4_0002..0x4_8002], data[0x1_0000..0x1_8000]);
    assert_eq!(bench.host.memory[0x3_0000..0x3_1000], data[0x1_8000..]);
}

#[test]
fn the_order_of_command_and_start_does_not_matter() {
    for start_first in [false, true] {
        let mut bench = Bench::new();
        if start_first {
            bench.start(&[(0x2000, 512)], true);
            bench.command(0xc8, 3, 1);
            bench.finish();
        } else {
            bench.command(0xc8, 3, 1);
            bench.finish();
            assert_eq!(bench.alternate_status() & BUSY, BUSY, "the data waits for the bus master");
            bench.start(&[(0x2000, 512)], true);
        }
        assert_eq!((bench.bus_master(), bench.read(7)), (4, READY));
        assert_eq!(bench.host.memory[0x2000..0x2200], pattern(3, 1));
    }
}

#[test]
fn a_dma_write_gathers_and_ends_when_the_host_has_written() {
    let mut bench = Bench::new();
    bench.host.memory[0x2000..0x2200].fill(0x77);
    bench.host.memory[0x3000..0x3200].fill(0x88);
    bench.command(0xca, 60, 2);
    bench.start(&[(0x2000, 512), (0x3000, 512)], false);
    assert_eq!((bench.bus_master(), bench.line()), (1, Level::Low));
    bench.finish();
    assert_eq!((bench.bus_master(), bench.line()), (4, Level::High));
    let content = &bench.host.disks[&DISK.0].content;
    assert_eq!(content[60 * 512..61 * 512], [0x77; 512]);
    assert_eq!(content[61 * 512..62 * 512], [0x88; 512]);
}

#[test]
fn forced_unit_access_is_durable_when_it_ends() {
    let mut bench = Bench::new();
    bench.command_ext(0x3d, 60, 1);
    bench.start(&[(0x2000, 512)], false);
    bench.finish();
    assert_eq!((bench.bus_master(), bench.line()), (1, Level::Low));
    bench.finish();
    assert_eq!((bench.bus_master(), bench.line()), (4, Level::High));
    assert_eq!(bench.host.disks[&DISK.0].started, [DiskOp::Write { lba: 60, sectors: 1 }, DiskOp::Flush]);
}

/// Data sheet: Interrupt and Active tell of a table that is longer than the transfer.
#[test]
fn a_long_table_leaves_the_engine_active() {
    let mut bench = Bench::new();
    bench.command(0xc8, 3, 1);
    bench.start(&[(0x2000, 1024)], true);
    bench.finish();
    assert_eq!((bench.bus_master(), bench.read(7)), (5, READY));
    bench.set_bus_master(0, Width::Byte, 8);
    assert_eq!((bench.bus_master(), bench.read(7)), (4, READY));
}

/// Data sheet: neither Interrupt nor Active tells of a table that is shorter than the transfer.
#[test]
fn a_short_table_ends_without_an_interrupt() {
    let mut bench = Bench::new();
    bench.command(0xc8, 3, 2);
    bench.start(&[(0x2000, 512)], true);
    bench.finish();
    assert_eq!((bench.bus_master(), bench.line(), bench.read(7)), (0, Level::Low, READY));
    bench.command(0xca, 3, 2);
    bench.set_bus_master(0, Width::Byte, 0);
    bench.start(&[(0x2000, 512)], false);
    assert_eq!((bench.bus_master(), bench.line(), bench.read(7)), (0, Level::Low, READY));
    assert_eq!(bench.host.disks[&DISK.0].content, pattern(0, SECTORS), "nothing was written");
}

#[test]
fn a_region_outside_of_memory_sets_the_error_bit() {
    for to_memory in [true, false] {
        let mut bench = Bench::new();
        bench.command(if to_memory { 0xc8 } else { 0xca }, 3, 2);
        bench.start(&[(0x2000, 512), (0xfff0_0000, 512)], to_memory);
        if to_memory {
            bench.finish();
        }
        assert_eq!(bench.bus_master() & 3, 2);
        assert_eq!((bench.read(7), bench.read(1)), (ERR, 4));
        assert!(!bench.host.disk_busy(DISK));
    }
    let mut bench = Bench::new();
    bench.ide.config.write(4, Width::Word, 1);
    bench.command(0xc8, 3, 1);
    bench.start(&[(0x2000, 512)], true);
    bench.finish();
    assert_eq!(bench.bus_master() & 7, 5, "the function may not master the bus: data goes nowhere");
    assert_eq!(bench.read(7), READY);
}

#[test]
fn stopping_the_engine_cuts_the_command_off_and_its_end_is_discarded() {
    let mut bench = Bench::new();
    bench.command(0xc8, 3, 1);
    bench.start(&[(0x2000, 512)], true);
    bench.set_bus_master(0, Width::Byte, 0);
    assert_eq!((bench.bus_master(), bench.line()), (0, Level::Low));
    assert_eq!((bench.read(7), bench.read(1)), (ERR, 4));
    bench.command(0x30, 8, 1);
    assert_eq!(bench.read(7) & BUSY, BUSY, "the host still uses the buffer");
    bench.finish();
    assert_eq!(bench.host.memory[0x2000..0x2200], vec![0; 512]);
    assert_eq!(bench.read(7), DRQ);
    bench.write_words(&[9; 512]);
    bench.finish();
    assert_eq!(bench.host.disks[&DISK.0].content[8 * 512..9 * 512], [9; 512]);
}

#[test]
fn a_reset_cuts_the_command_off_and_its_end_is_discarded() {
    for machine_reset in [false, true] {
        let mut bench = Bench::new();
        bench.command(0x20, 3, 1);
        if machine_reset {
            bench.ide.reset();
        } else {
            bench.ide.write_control(0, 4);
            bench.ide.write_control(0, 0);
        }
        assert_eq!(bench.read(7), READY);
        bench.command(0xec, 0, 0);
        assert_eq!(bench.read(7) & BUSY, BUSY);
        bench.fail();
        assert_eq!((bench.line(), bench.read(7)), (Level::High, DRQ));
        assert_eq!(bench.read_words(256)[54..62], *b"ETTSD SI");
    }
}

#[test]
fn a_reset_while_a_command_waits_for_the_buffer_forgets_it() {
    let mut bench = Bench::new();
    bench.command(0x20, 3, 1);
    bench.ide.write_control(0, 4);
    bench.ide.write_control(0, 0);
    bench.command(0x20, 4, 1);
    bench.ide.write_control(0, 4);
    bench.ide.write_control(0, 0);
    bench.finish();
    assert_eq!((bench.line(), bench.read(7)), (Level::Low, READY));
    assert!(!bench.host.disk_busy(DISK));
}

/// ATA/ATAPI-6, 8.9: both drives execute it; code 1 says that drive 0 passed.
#[test]
fn a_diagnostic_passes() {
    let mut bench = Bench::new();
    bench.command(0x90, 0x55_5555, 9);
    assert_eq!(bench.line(), Level::High);
    assert_eq!([1, 2, 3, 4, 5, 6, 7].map(|at| bench.read(at)), [1, 1, 1, 0, 0, 0xa0, READY]);
}

#[test]
fn unplugged_disks_are_gone() {
    let mut bench = Bench::new();
    bench.command(0x20, 3, 1);
    bench.ide.unplug(Unplug::Nics);
    bench.ide.unplug(Unplug::AuxiliaryIdeDisks);
    bench.finish();
    assert_eq!(bench.read(7), DRQ);
    bench.ide.unplug(Unplug::IdeDisks);
    assert_eq!((bench.line(), bench.read(7)), (Level::Low, 0));
    assert_eq!(bench.read_words(1), [0, 0]);
}

#[test]
fn the_buffer_of_the_test_host_is_what_the_tests_assume() {
    assert_eq!(BUFFER_LEN, 512 * usize::try_from(BUFFER_SECTORS).unwrap());
}

/// ATA8-ACS 7.10: ranges of an address in 48 bits and a count in 16; those without sectors are none.
#[test]
fn trim_discards_every_range_or_none() {
    let range = |lba: u64, count: u64| (count << 48 | lba).to_le_bytes();
    let mut bench = Bench::new();
    let ranges = [range(2, 3), range(0, 0), range(7, 1)].concat();
    bench.host.memory[0x2000..0x2018].copy_from_slice(&ranges);
    bench.write(1, 1);
    bench.command(0x06, 0, 1);
    assert_eq!(bench.read(7), READY | BUSY);
    bench.start(&[(0x2000, 512)], false);
    bench.finish();
    assert_eq!(bench.line(), Level::Low, "one of two");
    bench.finish();
    assert_eq!((bench.line(), bench.bus_master() & 7, bench.read(7)), (Level::High, 4, READY));
    let is_zero = |host: &FakeHost, lba: usize| host.disks[&DISK.0].content[lba * 512..][..512] == [0; 512];
    let zeros: Vec<_> = (0..10).filter(|lba| is_zero(&bench.host, *lba)).collect();
    assert_eq!(zeros, [2, 3, 4, 7]);
    // The second range is not on the disk: the first is left alone.
    bench.host.memory[0x2000..0x2010].copy_from_slice(&[range(9, 1), range(SECTORS - 1, 2)].concat());
    bench.set_bus_master(0, Width::Byte, 0);
    bench.write(1, 1);
    bench.command(0x06, 0, 1);
    bench.start(&[(0x2000, 512)], false);
    assert_eq!((bench.read(7), bench.read(1)), (ERR, 4));
    assert!(!bench.host.disk_busy(DISK) && !is_zero(&bench.host, 9));
}

#[test]
fn a_disk_that_cannot_discard_has_no_trim() {
    let mut bench = Bench::with(DiskConfig { discard: false, ..config(DISK) });
    bench.write(1, 1);
    bench.command(0x06, 0, 1);
    assert_eq!((bench.read(7), bench.read(1)), (ERR, 4));
}
