//! Public advisories about other device models, and the tests here that play their ideas.
//!
//! The names of tests are checked: a row whose test is gone does not pass. What is not in the table is about devices that are
//! not emulated here: pcnet (XSA-135, XSA-162), floppy drives (XSA-133), virtio (XSA-184), SCSI, sound, SPICE, PCI
//! passthrough (XSA-128 to XSA-131), the interrupt controller of ARM (XSA-225). XSA-197, double fetches of requests from the
//! ring, is about the stub domain's loop.

use crate::access::{IoPort, Width};
use crate::fake_host::FakeHost;
use crate::host::{DiskId, Unplug};
use crate::machine::{CdConfig, DiskConfig, DriveConfig, Machine, MachineConfig};
use heapless::String;
use std::vec::Vec;

const OWN: &str = include_str!("advisories.rs");
const BUS: &str = include_str!("machine/tests.rs");
const CD: &str = include_str!("piix3/ide/cd_tests.rs");
const CIRRUS: &str = include_str!("vga/cirrus/tests.rs");
const E1000_SEND: &str = include_str!("e1000/transmit_tests.rs");
const E1000_RECEIVE: &str = include_str!("e1000/receive_tests.rs");
const FW_CFG: &str = include_str!("fw_cfg/mod.rs");
const IDE: &str = include_str!("piix3/ide/tests.rs");
const RTL8139: &str = include_str!("rtl8139/tests.rs");
const USB: &str = include_str!("usb/tests.rs");
const VGA: &str = include_str!("vga/tests.rs");

/// Advisory, idea, where the test is, its name.
#[rustfmt::skip]
const TABLE: &[(&str, &str, &str, &str)] = &[
    ("XSA-138, CVE-2015-5154", "the data port is read and written on behind the end of an ATAPI transfer",
        OWN, "a_data_port_gives_no_more_than_the_transfer_has"),
    ("XSA-138, CVE-2015-5154", "transfers in the wrong direction", IDE, "data_ports_in_the_wrong_direction_do_nothing"),
    ("XSA-139, CVE-2015-5166", "disks are unplugged while an operation is under way",
        OWN, "a_disk_that_is_unplugged_with_an_operation_under_way_is_gone_for_good"),
    ("CVE-2020-29443", "an ATAPI read beyond the end of the disc", OWN, "a_read_beyond_the_end_of_the_disc_is_refused"),
    ("CVE-2014-9718", "a table of the bus master without an end", IDE, "a_long_table_leaves_the_engine_active"),
    ("CVE-2019-20175", "a table of the bus master that is too short", IDE, "a_short_table_ends_without_an_interrupt"),
    ("CVE-2020-25743", "commands to a drive that is not there", IDE, "an_absent_drive_1_has_registers_but_no_status"),
    ("CVE-2021-20196", "a drive is reset in the middle of a packet", CD, "a_reset_in_the_middle_leaves_nothing_behind"),
    ("XSA-140, CVE-2015-5165", "C+ offload of a packet whose headers lie about lengths",
        RTL8139, "headers_that_lie_about_lengths_leave_the_frame_as_long_as_it_is"),
    ("CVE-2018-17958", "frames that do not fit what is left of the ring",
        RTL8139, "the_ring_of_bytes_goes_round_and_is_never_overrun"),
    ("CVE-2016-8910", "a ring of C+ descriptors that all are the card's", RTL8139, "a_ring_without_an_end_is_walked_once"),
    ("CVE-2021-3416", "loopback that sends to itself again and again",
        RTL8139, "in_loopback_a_frame_comes_back_and_goes_nowhere_else"),
    ("CVE-2016-1981", "heads and tails outside of the ring",
        E1000_RECEIVE, "heads_and_tails_outside_of_the_ring_are_not_followed"),
    ("CVE-2015-6815", "a frame without an end", E1000_SEND, "a_frame_without_end_takes_no_more_than_a_frame"),
    ("CVE-2021-20257", "a ring that never runs empty", E1000_SEND, "much_work_is_done_in_turns"),
    ("CVE-2012-6075", "a frame that is longer than any buffer", E1000_RECEIVE, "long_frames_need_lpe"),
    ("XSA-179, CVE-2016-3710", "a bank of VBE memory beyond its end", VGA, "banks_are_64_kib_of_bytes_or_of_planar_addresses"),
    ("XSA-179, CVE-2016-3712", "VBE registers that do not go together",
        VGA, "vbe_registers_agree_with_one_another_once_they_are_on"),
    ("CVE-2018-5683, CVE-2018-7858", "pictures from outside of video memory",
        VGA, "a_guest_that_writes_anything_anywhere_gets_some_picture"),
    ("XSA-211, CVE-2016-9603", "a picture larger than who shows it has room for",
        VGA, "a_picture_that_does_not_fit_leaves_the_last_one"),
    ("XSA-208, CVE-2017-2615; XSA-209, CVE-2017-2620; CVE-2008-4539, CVE-2014-8106, CVE-2017-7980",
        "blits outside of video memory", CIRRUS, "a_blit_outside_of_video_memory_does_nothing"),
    ("CVE-2007-1320", "bytes of the CPU for a blit that has ended", CIRRUS, "a_blit_that_waits_is_ended_by_a_reset"),
    ("XSA-335, CVE-2020-14364", "more data than the setup packet of a control transfer said",
        USB, "control_transfers_that_make_no_sense_are_refused"),
    ("CVE-2017-9330, CVE-2020-25624", "schedules that point at themselves", USB, "hostile_schedules_end"),
    ("XSA-199, CVE-2016-9637", "accesses that reach over the end of a range of ports",
        BUS, "an_access_across_the_end_of_a_range_is_taken_apart"),
    ("CVE-2016-1714", "reads and writes behind the end of an item of the firmware's configuration",
        FW_CFG, "what_lies_beyond_an_item_or_has_no_item_is_zero"),
];

#[test]
fn every_row_names_a_test_that_is_there() {
    for (advisory, idea, file, test) in TABLE {
        let line = std::format!("#[test]\nfn {test}() {{");
        let indented = std::format!("#[test]\n    fn {test}() {{");
        assert!(file.contains(&line) || file.contains(&indented), "{advisory}, {idea}: there is no {test}");
    }
}

const DISK: DiskId = DiskId(0);
const DISC: DiskId = DiskId(1);
const DISC_SECTORS: u64 = 400;

/// A PC with a disk on the first channel and a disc on the second.
struct Pc {
    machine: Machine,
    host: FakeHost,
}

impl Pc {
    fn new() -> Self {
        let mut host = FakeHost::new(1 << 20);
        host.add_disk(DISK, 2048);
        host.add_disk(DISC, DISC_SECTORS);
        let name = |text: &str| String::try_from(text).unwrap();
        let disk = DiskConfig {
            id: DISK,
            sectors: 2048,
            read_only: false,
            discard: true,
            serial: name("QM00001"),
            model: String::try_from("DISK").unwrap(),
            firmware: String::new(),
        };
        let disc = CdConfig {
            id: DISC,
            disc: Some(DISC_SECTORS),
            serial: name("QM00003"),
            model: String::try_from("DISC").unwrap(),
        };
        let config = MachineConfig {
            drives: [Some(DriveConfig::Disk(disk)), None, Some(DriveConfig::Cd(disc)), None],
            ram_bytes: 1 << 20,
            vcpus: 1,
            xen_platform: true,
            ..MachineConfig::default()
        };
        let mut machine = Machine::new(config).unwrap();
        machine.reset(&mut host);
        let mut pc = Self { machine, host };
        // The first command finds out that the drive is new.
        pc.packet(&[0]);
        pc
    }

    fn out(&mut self, port: u16, width: Width, value: u32) {
        self.machine.port_write(&mut self.host, IoPort(port), width, value);
    }

    fn status(&mut self, channel: u16) -> u32 {
        self.machine.port_read(&mut self.host, IoPort(channel + 7), Width::Byte)
    }

    fn data(&mut self, channel: u16) -> u32 {
        self.machine.port_read(&mut self.host, IoPort(channel), Width::Word)
    }

    /// Sends a packet to the CD drive, and does what it asks of the disc.
    fn packet(&mut self, bytes: &[u8]) {
        for (offset, value) in [(6, 0xa0), (1, 0), (4, 0x00), (5, 0x08), (7, 0xa0)] {
            self.out(0x170 + offset, Width::Byte, value);
        }
        let mut packet = [0; 12];
        packet[..bytes.len()].copy_from_slice(bytes);
        for word in packet.as_chunks::<2>().0 {
            self.out(0x170, Width::Word, u16::from_le_bytes(*word).into());
        }
        while self.host.disk_busy(DISC) {
            let result = self.host.finish_disk(DISC);
            self.machine.disk_complete(&mut self.host, DISC, result);
        }
    }

    fn inquiry(&mut self) -> Vec<u32> {
        self.packet(&[0x12, 0, 0, 0, 36]);
        (0..18).map(|_| self.data(0x170)).collect()
    }
}

#[test]
fn a_data_port_gives_no_more_than_the_transfer_has() {
    let mut pc = Pc::new();
    let honest = pc.inquiry();
    assert_eq!(pc.status(0x170) & 0x08, 0, "all of it has gone");
    for _ in 0..70_000 {
        assert!(matches!(pc.data(0x170), 0 | 0xffff), "nobody's bytes");
        pc.out(0x170, Width::Word, 0x5555);
    }
    pc.packet(&[0x12, 0, 0, 0, 36]);
    // The registers that say how much there is are written in the middle.
    pc.out(0x174, Width::Byte, 0xff);
    pc.out(0x175, Width::Byte, 0xff);
    pc.out(0x172, Width::Byte, 0xff);
    let read: Vec<_> = (0..18).map(|_| pc.data(0x170)).collect();
    assert_eq!(read, honest);
    assert_eq!(pc.status(0x170) & 0x08, 0);
    assert_eq!(pc.inquiry(), honest, "and it works on");
}

#[test]
fn a_read_beyond_the_end_of_the_disc_is_refused() {
    let blocks = u32::try_from(DISC_SECTORS / 4).unwrap();
    for (first, count) in [(u32::MAX, 1), (u32::MAX, 0xffff), (blocks, 1), (blocks - 1, 2), (0, 0xffff)] {
        let mut pc = Pc::new();
        let started = pc.host.disks[&DISC.0].started.len();
        let [a, b, c, d] = first.to_be_bytes();
        let [_, _, e, f] = u32::to_be_bytes(count);
        pc.packet(&[0x28, 0, a, b, c, d, 0, e, f]);
        assert_eq!(pc.status(0x170) & 0x09, 0x01, "{first} and {count} more: an error, and no data");
        assert_eq!(pc.host.disks[&DISC.0].started.len(), started, "the disc was not asked");
        pc.packet(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(pc.status(0x170) & 0x09, 0x08, "the first block is there");
    }
}

#[test]
fn a_disk_that_is_unplugged_with_an_operation_under_way_is_gone_for_good() {
    let mut pc = Pc::new();
    for (offset, value) in [(6, 0xe0), (2, 1), (3, 0), (4, 0), (5, 0), (7, 0x20)] {
        pc.out(0x1f0 + offset, Width::Byte, value);
    }
    assert!(pc.host.disk_busy(DISK));
    assert_eq!(pc.machine.port_read(&mut pc.host, IoPort(0x10), Width::Word), 0x49d2);
    pc.out(0x10, Width::Word, 1);
    assert_eq!(pc.host.unplugged, [Unplug::IdeDisks]);
    let result = pc.host.finish_disk(DISK);
    pc.machine.disk_complete(&mut pc.host, DISK, result);
    assert_eq!(pc.status(0x1f0), 0, "nothing is there");
    for (offset, value) in [(6, 0xe0), (2, 1), (7, 0x20)] {
        pc.out(0x1f0 + offset, Width::Byte, value);
    }
    assert!(!pc.host.disk_busy(DISK), "and nothing is asked of it");
    assert_eq!(pc.inquiry().len(), 18, "the disc is where it was");
}
