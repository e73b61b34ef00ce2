use super::*;
use crate::card::SavedCard;
use crate::e1000::E1000;
use crate::fake_host::{FakeHost, sector_pattern};
use crate::host::{GuestMemory, Unplug};
use crate::state::StateError;
use crate::usb::Uhci;
use std::vec;

type Machine = super::Machine<dyn SavedCard>;

const DISK: DiskId = DiskId(0);

fn disk(id: u8, sectors: u64) -> DriveConfig {
    DriveConfig::Disk(DiskConfig {
        id: DiskId(id),
        sectors,
        read_only: false,
        discard: true,
        serial: String::try_from("QM00001").unwrap(),
        model: String::try_from("TEST DISK").unwrap(),
        firmware: String::try_from("1.0").unwrap(),
    })
}

fn config() -> MachineConfig {
    MachineConfig {
        drives: [Some(disk(0, 2048)), None, Some(disk(1, 1000)), Some(disk(2, 500))],
        serial_ports: 2,
        vga: Some(VgaConfig { model: VgaModel::Std, memory_bytes: 16 << 20, rom: vec![0x55, 0xaa, 0x4c] }),
        boot_order: BootOrder::parse("cda").unwrap(),
        ram_bytes: 128 << 20,
        vcpus: 3,
        xen_platform: true,
        acpi: true,
        ..MachineConfig::default()
    }
}

fn machine() -> (Machine, FakeHost) {
    let mut host = FakeHost::new(1 << 20);
    for (id, sectors) in [(0, 2048), (1, 1000), (2, 500)] {
        host.add_disk(DiskId(id), sectors);
    }
    let mut machine = Machine::new(config()).unwrap();
    machine.reset(&mut host);
    (machine, host)
}

fn config_read(machine: &mut Machine, host: &mut FakeHost, slot: u8, function: u8, offset: u16) -> u32 {
    machine.config_read(host, 0, slot, function, offset, Width::Dword)
}

fn config_write(machine: &mut Machine, host: &mut FakeHost, slot: u8, function: u8, offset: u16, value: u32) {
    machine.config_write(host, 0, slot, function, offset, Width::Dword, value);
}

/// Gives every function what hvmloader gives it.
fn set_up(machine: &mut Machine, host: &mut FakeHost) {
    config_write(machine, host, 1, 0, 0x60, 0x050b_0a05);
    config_write(machine, host, 1, 1, 0x20, 0xc100);
    config_write(machine, host, 1, 1, 0x04, 0x0005);
    config_write(machine, host, 1, 3, 0x40, 0xb001);
    config_write(machine, host, 1, 3, 0x80, 0x0001);
    config_write(machine, host, 2, 0, 0x10, 0xc000);
    config_write(machine, host, 2, 0, 0x14, 0xf100_0000);
    config_write(machine, host, 2, 0, 0x04, 0x0007);
    config_write(machine, host, 3, 0, 0x10, 0xf000_0000);
    config_write(machine, host, 3, 0, 0x18, 0xf201_0000);
    config_write(machine, host, 3, 0, 0x30, 0xf200_0001);
    config_write(machine, host, 3, 0, 0x04, 0x0007);
}

fn has(host: &FakeHost, range: Range) -> bool {
    host.claimed.contains(&range)
}

#[test]
fn the_functions_are_where_firmware_looks_for_them() {
    let (mut machine, mut host) = machine();
    let mut found = vec![];
    for slot in 0..32 {
        for function in 0..8 {
            let id = config_read(&mut machine, &mut host, slot, function, 0);
            if id != 0xffff_ffff {
                found.push((slot, function, id));
            }
        }
    }
    let expected = [
        (0, 0, 0x1237_8086),
        (1, 0, 0x7000_8086),
        (1, 1, 0x7010_8086),
        (1, 3, 0x7113_8086),
        (2, 0, 0x0001_5853),
        (3, 0, 0x1111_1234),
    ];
    assert_eq!(found, expected);
    assert_eq!(machine.config_read(&mut host, 1, 0, 0, 0, Width::Dword), 0xffff_ffff, "there is one bus");
    assert_eq!(machine.config_read(&mut host, 0, 0, 0, 0x100, Width::Byte), 0xff, "and no extended space");
    let functions = host.claimed.iter().filter(|range| matches!(range, Range::PciFunction { .. })).count();
    assert_eq!(functions, expected.len());
    assert_eq!(machine.ranges().count(), host.claimed.len());
}

#[test]
fn without_a_platform_device_the_graphics_card_is_in_slot_2() {
    let mut machine = Machine::new(MachineConfig { xen_platform: false, ..config() }).unwrap();
    let mut host = FakeHost::new(0);
    machine.reset(&mut host);
    assert_eq!(config_read(&mut machine, &mut host, 2, 0, 0), 0x1111_1234);
    assert!(!has(&host, Range::Ports { first: 0x10, last: 0x1f }));
}

#[test]
fn impossible_machines_are_refused() {
    let vga = |memory_bytes, len| Some(VgaConfig { model: VgaModel::Std, memory_bytes, rom: vec![0; len] });
    let refused = |config| Machine::new(config).unwrap_err();
    assert_eq!(refused(MachineConfig { serial_ports: 5, ..config() }), MachineError::SerialPorts);
    assert_eq!(refused(MachineConfig { vga: vga(3 << 20, 0), ..config() }), MachineError::VideoMemory);
    assert_eq!(refused(MachineConfig { vga: vga(16 << 20, 0x1_0001), ..config() }), MachineError::VideoRom);
    let drives = [Some(disk(0, 1)), Some(disk(0, 1)), None, None];
    assert_eq!(refused(MachineConfig { drives, ..config() }), MachineError::DuplicateDisk);
}

#[test]
fn boot_orders_are_letters_each_once() {
    assert_eq!(BootOrder::parse("dc").unwrap().0[..], [BootDevice::Cdrom, BootDevice::HardDisk]);
    assert_eq!([BootOrder::parse("cx"), BootOrder::parse("cc")], [None, None]);
    assert_eq!(BootOrder::parse("").unwrap(), BootOrder::default());
}

#[test]
fn a_reset_claims_and_reports_everything_once_more() {
    let (mut machine, mut host) = machine();
    let claimed = host.claimed.clone();
    assert!(has(&host, Range::Ports { first: 0x1f0, last: 0x1f7 }));
    assert!(has(&host, Range::Ports { first: 0xcf8, last: 0xcff }), "ranges that touch are one");
    assert!(has(&host, Range::Memory { first: GuestAddr(0xa_0000), last: GuestAddr(0xb_ffff) }));
    set_up(&mut machine, &mut host);
    assert!(has(&host, Range::Ports { first: 0xc100, last: 0xc10f }));
    assert!(has(&host, Range::Ports { first: 0xb000, last: 0xb03f }));
    assert!(has(&host, Range::Memory { first: GuestAddr(0xf200_0000), last: GuestAddr(0xf201_0fff) }));
    assert_eq!(host.aperture, Some(GuestAddr(0xf000_0000)));
    host.isa_changes.clear();
    machine.reset(&mut host);
    let sorted = |mut ranges: vec::Vec<Range>| {
        ranges.sort_unstable_by_key(|range| std::format!("{range:?}"));
        ranges
    };
    assert_eq!(sorted(host.claimed.clone()), sorted(claimed));
    assert_eq!(host.aperture, None);
    assert_eq!(host.links, [None; 4]);
    let lines = [1, 3, 4, 12, 14, 15].map(|irq| (irq, Level::Low));
    assert_eq!(host.isa_changes, lines);
}

#[test]
fn links_are_reported_when_their_route_changes() {
    let (mut machine, mut host) = machine();
    set_up(&mut machine, &mut host);
    assert_eq!(host.links, [5, 10, 11, 5].map(|irq| Some(IsaIrq(irq))));
    config_write(&mut machine, &mut host, 1, 0, 0x60, 0x800b_0a05);
    assert_eq!(host.links[3], None);
}

#[test]
fn configuration_mechanism_1_reaches_the_same_registers() {
    let (mut machine, mut host) = machine();
    machine.port_write(&mut host, IoPort(0xcf8), Width::Dword, 0x8000_0960);
    assert_eq!(machine.port_read(&mut host, IoPort(0xcf8), Width::Dword), 0x8000_0960);
    assert_eq!(machine.port_read(&mut host, IoPort(0xcfc), Width::Dword), 0);
    machine.port_write(&mut host, IoPort(0xcf8), Width::Dword, 0x8000_0800);
    assert_eq!(machine.port_read(&mut host, IoPort(0xcfe), Width::Word), 0x7000);
    machine.port_write(&mut host, IoPort(0xcf8), Width::Dword, 0);
    assert_eq!(machine.port_read(&mut host, IoPort(0xcfc), Width::Dword), 0xffff_ffff);
}

#[test]
fn unclaimed_accesses_read_all_ones() {
    let (mut machine, mut host) = machine();
    assert_eq!(machine.port_read(&mut host, IoPort(0x300), Width::Word), 0xffff);
    machine.port_write(&mut host, IoPort(0x300), Width::Word, 0x1234);
    let mut data = [0; 8];
    machine.mmio_read(&mut host, GuestAddr(0xfec0_0000), Width::Qword, &mut data);
    assert_eq!(data, [0xff; 8]);
    machine.mmio_write(&mut host, GuestAddr(u64::MAX), Width::Qword, &data);
}

#[test]
fn an_access_across_the_end_of_a_range_is_taken_apart() {
    let (mut machine, mut host) = machine();
    machine.port_write(&mut host, IoPort(0x92), Width::Dword, 0);
    assert_eq!(machine.port_read(&mut host, IoPort(0x91), Width::Word), 0xffff, "0x91 is not claimed");
    assert_eq!(machine.port_read(&mut host, IoPort(0x92), Width::Word), 0xff00);
    set_up(&mut machine, &mut host);
    let mut data = [0; 6];
    machine.mmio_read(&mut host, GuestAddr(0xf200_0000 - 2), Width::Word, &mut data);
    assert_eq!(data, [0, 0, 0x55, 0xaa, 0x4c, 0], "after the platform device's memory, the video BIOS");
    let mut data = [0; 4];
    machine.mmio_read(&mut host, GuestAddr(0xf201_1000 - 1), Width::Dword, &mut data);
    assert_eq!(data[1..], [0xff; 3]);
}

#[test]
fn power_off_suspend_and_reset_reach_the_host() {
    let (mut machine, mut host) = machine();
    set_up(&mut machine, &mut host);
    machine.port_write(&mut host, IoPort(0xb2), Width::Byte, 0xf1);
    assert_eq!(machine.port_read(&mut host, IoPort(0xb004), Width::Word), 1);
    machine.port_write(&mut host, IoPort(0xb004), Width::Word, 0x2401);
    machine.port_write(&mut host, IoPort(0xb004), Width::Word, 0x2001);
    machine.port_write(&mut host, IoPort(0xcf9), Width::Byte, 6);
    machine.port_write(&mut host, IoPort(0x92), Width::Byte, 1);
    machine.port_write(&mut host, IoPort(0x64), Width::Byte, 0xfe);
    assert_eq!(host.suspends, 1);
    let reboot = ShutdownReason::Reboot;
    assert_eq!(host.shutdowns, [ShutdownReason::PowerOff, reboot, reboot, reboot]);
}

#[test]
fn a_machine_that_sleeps_wakes_up_as_after_power_on() {
    let (mut machine, mut host) = machine();
    set_up(&mut machine, &mut host);
    assert!(!machine.wake_up(&mut host), "it does not sleep");
    machine.port_write(&mut host, IoPort(0xb004), Width::Word, 0x2401);
    assert!(machine.wake_up(&mut host));
    assert_eq!((host.suspends, host.wakes), (1, 1));
    assert_eq!(machine.port_read(&mut host, IoPort(0xb004), Width::Word), 0x0401, "firmware's PMBASE is still there");
    // SeaBIOS `handle_post`: it was kept, so there is somewhere to go.
    machine.port_write(&mut host, IoPort(0x70), Width::Byte, 0x0f);
    assert_eq!(machine.port_read(&mut host, IoPort(0x71), Width::Byte), 0xfe);
    assert!(!machine.wake_up(&mut host));
}

#[test]
fn a_cpu_that_comes_interrupts_until_it_was_seen() {
    let (mut machine, mut host) = machine();
    machine.port_write(&mut host, IoPort(0xafe2), Width::Word, 4);
    assert!(machine.plug_cpu(&mut host, 3));
    assert_eq!(host.isa[9], Level::High);
    assert_eq!(machine.port_read(&mut host, IoPort(0xaf00), Width::Byte), 0b1111);
    machine.port_write(&mut host, IoPort(0xafe0), Width::Word, 4);
    assert_eq!(host.isa[9], Level::Low);
    assert!(!machine.plug_cpu(&mut host, 3));
}

#[test]
fn the_acpi_blocks_are_those_of_hvmloaders_tables() {
    let (mut machine, mut host) = machine();
    assert_eq!(machine.port_read(&mut host, IoPort(0xaf00), Width::Byte), 0b111);
    assert_eq!(machine.port_read(&mut host, IoPort(0xafe0), Width::Dword), 0);
    assert_eq!(machine.port_read(&mut host, IoPort(0xae00), Width::Dword), 0);
    let mut machine = Machine::new(MachineConfig { acpi: false, ..config() }).unwrap();
    let mut host = FakeHost::new(0);
    machine.reset(&mut host);
    assert_eq!(machine.port_read(&mut host, IoPort(0xaf00), Width::Byte), 0xff);
    assert_eq!(config_read(&mut machine, &mut host, 1, 3, 0), 0xffff_ffff);
}

#[test]
fn repeated_reads_of_the_data_register_are_one_copy() {
    let (mut machine, mut host) = machine();
    for (port, value) in [(0x1f2, 2), (0x1f3, 9), (0x1f4, 0), (0x1f5, 0), (0x1f6, 0xe0), (0x1f7, 0x20)] {
        machine.port_write(&mut host, IoPort(port), Width::Byte, value);
    }
    let result = host.finish_disk(DISK);
    machine.disk_complete(&mut host, DISK, result);
    assert_eq!(host.irq(14), Level::High);
    assert_eq!(machine.port_read_string(&mut host, IoPort(0x1f0), Width::Dword, 300, GuestAddr(0x1000)), Ok(()));
    assert_eq!(host.memory[0x1000..0x1200], sector_pattern(9));
    assert_eq!(host.memory[0x1200..0x1400], sector_pattern(10));
    assert_eq!(host.memory[0x1400..0x1400 + 44 * 4], [0; 44 * 4], "there is no more data");
    assert_eq!(machine.port_read(&mut host, IoPort(0x1f7), Width::Byte), 0x50);
    assert_eq!(host.irq(14), Level::Low);
}

/// Nobody reads the status in between: the line is edge-triggered, so it has to go down for the second interrupt to be one.
#[test]
fn each_command_that_ends_at_once_has_an_edge_of_its_own() {
    let (mut machine, mut host) = machine();
    host.isa_changes.clear();
    for _ in 0..2 {
        // SET FEATURES: enable the write cache.
        for (port, value) in [(0x1f6, 0xe0), (0x1f1, 0x02), (0x1f7, 0xef)] {
            machine.port_write(&mut host, IoPort(port), Width::Byte, value);
        }
    }
    assert_eq!(host.isa_changes, [(14, Level::High), (14, Level::Low), (14, Level::High)]);
}

#[test]
fn repeated_writes_reach_the_data_register_and_other_ports() {
    let (mut machine, mut host) = machine();
    for (port, value) in [(0x172, 1), (0x173, 9), (0x174, 0), (0x175, 0), (0x176, 0xf0), (0x177, 0x30)] {
        machine.port_write(&mut host, IoPort(port), Width::Byte, value);
    }
    host.memory[0x2000..0x2200].fill(0x3c);
    assert_eq!(machine.port_write_string(&mut host, IoPort(0x170), Width::Word, 256, GuestAddr(0x2000)), Ok(()));
    let result = host.finish_disk(DiskId(2));
    machine.disk_complete(&mut host, DiskId(2), result);
    assert_eq!(host.irq(15), Level::High);
    assert_eq!(host.disks[&2].content[9 * 512..10 * 512], [0x3c; 512]);
    host.write(GuestAddr(0x2000), b"hello").unwrap();
    assert_eq!(machine.port_write_string(&mut host, IoPort(0x3f8), Width::Byte, 5, GuestAddr(0x2000)), Ok(()));
    assert_eq!(host.serial[&0], b"hello");
    let beyond = machine.port_write_string(&mut host, IoPort(0x3f8), Width::Byte, 5, GuestAddr(1 << 30));
    assert_eq!(beyond, Err(Unmapped));
}

#[test]
fn keys_and_received_bytes_interrupt() {
    let (mut machine, mut host) = machine();
    machine.port_write(&mut host, IoPort(0x64), Width::Byte, 0x60);
    machine.port_write(&mut host, IoPort(0x60), Width::Byte, 0x45);
    machine.input(&mut host, InputEvent::Key { code: 30, down: true });
    assert_eq!(host.irq(1), Level::High);
    assert_eq!(machine.port_read(&mut host, IoPort(0x60), Width::Byte), 0x1e);
    assert_eq!(host.irq(1), Level::Low);
    machine.port_write(&mut host, IoPort(0x2fc), Width::Byte, 8);
    machine.port_write(&mut host, IoPort(0x2f9), Width::Byte, 1);
    assert_eq!(machine.serial_receive(&mut host, SerialId(1), b"x"), 1);
    assert_eq!(host.irq(3), Level::High);
    assert_eq!(machine.port_read(&mut host, IoPort(0x2f8), Width::Byte), u32::from(b'x'));
    assert_eq!(host.irq(3), Level::Low);
    assert_eq!(machine.serial_receive(&mut host, SerialId(2), b"x"), 0, "there is no such port");
}

#[test]
fn each_byte_of_the_keyboard_has_an_edge_of_its_own() {
    let (mut machine, mut host) = machine();
    machine.port_write(&mut host, IoPort(0x64), Width::Byte, 0x60);
    machine.port_write(&mut host, IoPort(0x60), Width::Byte, 0x45);
    host.isa_changes.clear();
    for code in [30, 31] {
        machine.input(&mut host, InputEvent::Key { code, down: true });
    }
    assert_eq!(machine.port_read(&mut host, IoPort(0x60), Width::Byte), 0x1e);
    assert_eq!(host.isa_changes, [(1, Level::High), (1, Level::Low), (1, Level::High)]);
}

/// hvm-emulated-unplug: read the magic number at port 0x10, then write the mask there.
#[test]
fn unplugged_disks_are_gone_and_the_host_is_told() {
    let (mut machine, mut host) = machine();
    assert_eq!(machine.port_read(&mut host, IoPort(0x10), Width::Word), 0x49d2);
    machine.port_write(&mut host, IoPort(0x10), Width::Word, 3);
    assert_eq!(host.unplugged, [Unplug::IdeDisks, Unplug::Nics]);
    assert_eq!(machine.port_read(&mut host, IoPort(0x1f7), Width::Byte), 0);
    machine.reset(&mut host);
    assert_eq!(machine.port_read(&mut host, IoPort(0x1f7), Width::Byte), 0);
}

#[test]
fn firmware_finds_the_boot_order() {
    let (mut machine, mut host) = machine();
    machine.port_write(&mut host, IoPort(0x510), Width::Word, 0x20);
    let mut byte = || char::from(machine.port_read(&mut host, IoPort(0x511), Width::Byte).to_le_bytes()[0]);
    let order: std::string::String = core::iter::repeat_with(&mut byte).take_while(|byte| *byte != '\0').collect();
    let expected = "/pci@i0cf8/ide@1,1/drive@0/disk@0\n/pci@i0cf8/ide@1,1/drive@1/disk@0\n\
                    /pci@i0cf8/ide@1,1/drive@1/disk@1";
    assert_eq!(order, expected);
    machine.port_write(&mut host, IoPort(0x70), Width::Byte, 0x3d);
    assert_eq!(machine.port_read(&mut host, IoPort(0x71), Width::Byte), 0x32);
}

/// libacpi: `_STA` of a slot is what B0RM has of it, and `_EJ0` writes its bit to B0EJ.
#[test]
fn a_network_card_can_be_ejected_and_nothing_else() {
    let with_cards = || {
        let (mut machine, mut host) = machine();
        let mac = [0, 0x16, 0x3e, 0, 0, 1];
        machine.add_card(None, Box::new(E1000::new(NicId(0), mac, Vec::new()))).unwrap();
        machine.add_card(None, Box::new(Uhci::new(Vec::new()))).unwrap();
        machine.reset(&mut host);
        (machine, host)
    };
    let (mut machine, mut host) = with_cards();
    assert_eq!(config_read(&mut machine, &mut host, 4, 0, 0), 0x100e_8086);
    let map = |machine: &mut Machine, host: &mut FakeHost| {
        [0, 4, 8, 12].map(|at| machine.port_read(host, IoPort(0xae00 + at), Width::Dword))
    };
    assert_eq!(map(&mut machine, &mut host), [0, 0, 0, 1 << 4]);
    machine.port_write(&mut host, IoPort(0xae08), Width::Dword, 0xffff_ffef);
    machine.port_write(&mut host, IoPort(0xae08), Width::Byte, 0x10);
    assert_eq!(map(&mut machine, &mut host), [0, 0, 0, 1 << 4]);
    machine.port_write(&mut host, IoPort(0xae08), Width::Dword, 1 << 4);
    assert_eq!(map(&mut machine, &mut host), [0; 4]);
    assert_eq!(config_read(&mut machine, &mut host, 4, 0, 0), 0xffff_ffff);
    assert_eq!(config_read(&mut machine, &mut host, 5, 0, 0), 0x7020_8086);
    let saved = machine.save(&mut host).unwrap();
    let (mut twin, mut other) = with_cards();
    twin.restore(&mut other, &saved).unwrap();
    assert_eq!(map(&mut twin, &mut other), [0; 4], "it stays away");
    machine.reset(&mut host);
    assert_eq!(config_read(&mut machine, &mut host, 4, 0, 0), 0xffff_ffff);
}

/// A screen that only looks at what it is told.
#[derive(Default)]
struct Screen {
    size: (u32, u32),
    first: vec::Vec<u32>,
    changes: usize,
}

impl Surface for Screen {
    fn resize(&mut self, width: u32, height: u32) -> bool {
        self.size = (width, height);
        true
    }

    fn write(&mut self, x: u32, y: u32, pixels: &[u32]) {
        if (x, y) == (0, 0) {
            self.first = pixels.into();
        }
    }

    fn changed(&mut self, x: u32, y: u32, width: u32, height: u32) {
        assert!(x + width <= self.size.0 && y + height <= self.size.1);
        self.changes += 1;
    }
}

/// Bochs VBE: 1024 × 768 in 32 bits, then a pixel through the linear framebuffer.
#[test]
fn the_graphics_card_is_reached_by_ports_memory_and_aperture() {
    let (mut machine, mut host) = machine();
    set_up(&mut machine, &mut host);
    for (index, value) in [(4, 0), (1, 1024), (2, 768), (3, 32), (4, 0x41)] {
        machine.port_write(&mut host, IoPort(0x1ce), Width::Word, index);
        machine.port_write(&mut host, IoPort(0x1cf), Width::Word, value);
    }
    let mut data = [0; 2];
    machine.mmio_read(&mut host, GuestAddr(0xf201_0502), Width::Word, &mut data);
    assert_eq!(u16::from_le_bytes(data), 1024);
    machine.port_write(&mut host, IoPort(0x3c0), Width::Byte, 0x20);
    machine.mmio_write(&mut host, GuestAddr(0xf000_0000), Width::Dword, &[0x33, 0x22, 0x11, 0x00]);
    assert_eq!(host.video[..3], [0x33, 0x22, 0x11]);
    let mut screen = Screen::default();
    machine.refresh(&mut host, &mut screen, true);
    assert_eq!(screen.size, (1024, 768));
    assert_eq!(screen.first[0], 0x0011_2233);
    let changes = screen.changes;
    machine.refresh(&mut host, &mut screen, false);
    machine.refresh(&mut host, &mut screen, false);
    let settled = screen.changes;
    machine.refresh(&mut host, &mut screen, false);
    assert_eq!(screen.changes, settled, "an unchanged picture is not drawn again");
    assert!(changes > 0);
}

/// A pseudo-random sequence that is the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }

    fn number<T: TryFrom<u64>>(&mut self, limit: u64) -> T
    where
        T::Error: core::fmt::Debug,
    {
        T::try_from(self.below(limit)).unwrap()
    }

    fn width(&mut self) -> Width {
        [Width::Byte, Width::Word, Width::Dword][self.number::<usize>(3)]
    }

    /// Mostly ports of devices, sometimes any port.
    fn port(&mut self) -> IoPort {
        const FIRST: [u16; 22] = [
            0x1f0, 0x1f0, 0x1f7, 0x170, 0x3f6, 0xc100, 0xc108, 0x3f8, 0x60, 0x64, 0x70, 0x92, 0xcf8, 0xcfc, 0x510,
            0x10, 0xb000, 0xaf00, 0xafe0, 0xc000, 0x3b0, 0x1ce,
        ];
        if self.below(16) == 0 {
            return IoPort(self.number(0x1_0000));
        }
        let first = FIRST[self.number::<usize>(22)];
        IoPort(first + self.number::<u16>(if first == 0x3b0 { 0x30 } else { 8 }))
    }

    /// Mostly memory of devices, sometimes any.
    fn address(&mut self) -> GuestAddr {
        const AREAS: [(u64, u64); 5] = [
            (0xa_0000, 0x2_0000),
            (0xf000_0000, 0x100_0000),
            (0xf200_0000, 0x1_2000),
            (0xf100_0000, 0x100_0000),
            (0, u64::MAX >> 16),
        ];
        let (first, len) = AREAS[self.number::<usize>(5)];
        GuestAddr(first + self.below(len))
    }
}

/// Whatever a guest does, the machine neither panics nor does the host see anything that it may not see (the host of
/// these tests insists on that); and after a reset the machine is as good as new.
#[test]
fn a_million_random_accesses_do_no_harm() {
    let (mut machine, mut host) = machine();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut screen = Screen::default();
    let commands = [0x20, 0x24, 0x25, 0x30, 0x34, 0x35, 0xc4, 0xc5, 0xc6, 0xc8, 0xca, 0xec, 0xef, 0xb0, 0xe7, 0x40];
    for round in 0..1_000_000_u32 {
        if round % 50_000 == 0 {
            machine.reset(&mut host);
            set_up(&mut machine, &mut host);
            host.isa_changes.clear();
            host.lines.clear();
            host.shutdowns.clear();
            host.serial.clear();
            for disk in host.disks.values_mut() {
                disk.started.clear();
            }
        }
        let value = random.next().to_le_bytes();
        let value = u32::from_le_bytes([value[0], value[1], value[2], value[3]]);
        let (port, width) = (random.port(), random.width());
        match random.below(40) {
            0..=13 => machine.port_write(&mut host, port, width, value),
            14..=23 => {
                let read = machine.port_read(&mut host, port, width);
                assert!(u64::from(read) <= width.all_ones(), "{port:?} {width:?} {read:#x}");
            }
            24..=26 => {
                let mut data = vec![0; random.number::<usize>(64) * width.bytes()];
                machine.mmio_read(&mut host, random.address(), width, &mut data);
            }
            27..=29 => {
                let data = vec![value.to_le_bytes()[0]; random.number::<usize>(64) * width.bytes()];
                machine.mmio_write(&mut host, random.address(), width, &data);
            }
            30 => {
                let (slot, function, offset) = (random.number(5), random.number(4), random.number(0x110));
                machine.config_write(&mut host, 0, slot, function, offset, width, value);
            }
            31 => {
                let (slot, function, offset) = (random.number(5), random.number(4), random.number(0x110));
                machine.config_read(&mut host, 0, slot, function, offset, width);
            }
            32 => {
                let _ = machine.port_read_string(&mut host, port, width, value & 0x1ff, GuestAddr(value.into()));
            }
            33 => {
                let _ = machine.port_write_string(&mut host, port, width, value & 0x1ff, GuestAddr(value.into()));
            }
            34 => {
                // A command that is likely to mean something, at either channel, after a selection of the drive.
                let base = if value & 1 == 0 { 0x1f0 } else { 0x170 };
                let command = commands[random.number::<usize>(16)];
                for (register, value) in [(2, value & 7), (4, 0), (5, 0), (6, 0xe0 | value & 0x10), (7, command)] {
                    machine.port_write(&mut host, IoPort(base + register), Width::Byte, value);
                }
            }
            35..=37 => {
                let id = DiskId(random.number(3));
                if host.disk_busy(id) {
                    let fails = random.below(8) == 0;
                    let result = if fails { host.fail_disk(id) } else { host.finish_disk(id) };
                    machine.disk_complete(&mut host, id, result);
                } else {
                    machine.disk_complete(&mut host, id, Ok(()));
                }
            }
            38 => {
                let code = random.number(0x300);
                let event = match random.below(4) {
                    0 => InputEvent::Key { code, down: value & 1 != 0 },
                    1 => InputEvent::Button { code: 0x110 + (code & 7), down: value & 1 != 0 },
                    2 => InputEvent::Motion { dx: i32::MIN, dy: i32::MAX, wheel: 1 },
                    _ => InputEvent::Position { x: u16::MAX, y: code, wheel: -1 },
                };
                machine.input(&mut host, event);
            }
            _ => {
                let data = vec![value.to_le_bytes()[1]; random.number::<usize>(40)];
                let port = SerialId(random.number(5));
                assert!(machine.serial_receive(&mut host, port, &data) <= data.len());
                machine.serial_ready(&mut host, port);
                machine.poll(&mut host);
                // Drawing takes far longer than anything else does.
                if random.below(100) == 0 {
                    machine.refresh(&mut host, &mut screen, value & 1 != 0);
                }
            }
        }
        assert!(host.claimed.len() < 64, "what is claimed stays few ranges");
    }
    machine.reset(&mut host);
    set_up(&mut machine, &mut host);
    assert_eq!(machine.port_read(&mut host, IoPort(0x10), Width::Word), 0x49d2);
    assert_eq!(config_read(&mut machine, &mut host, 3, 0, 0), 0x1111_1234);
}

/// A machine in the middle of everything, and its twin that has taken over its state.
fn twins() -> ([Machine; 2], [FakeHost; 2]) {
    let (mut machine, mut host) = machine();
    set_up(&mut machine, &mut host);
    // A sector is read by PIO, half of it is with the guest.
    machine.port_write(&mut host, IoPort(0x1f2), Width::Byte, 1);
    machine.port_write(&mut host, IoPort(0x1f3), Width::Byte, 7);
    machine.port_write(&mut host, IoPort(0x1f6), Width::Byte, 0xe0);
    machine.port_write(&mut host, IoPort(0x1f7), Width::Byte, 0x20);
    assert!(machine.save(&mut host).is_none(), "the disk is at work");
    let result = host.finish_disk(DISK);
    machine.disk_complete(&mut host, DISK, result);
    for _ in 0..64 {
        machine.port_read(&mut host, IoPort(0x1f0), Width::Dword);
    }
    // A byte waits for the driver of the keyboard; 640 × 400 pixels on the screen; an address in CMOS.
    machine.input(&mut host, InputEvent::Key { code: 30, down: true });
    for (index, value) in [(1, 640), (2, 400), (3, 32), (4, 0x41)] {
        machine.port_write(&mut host, IoPort(0x1ce), Width::Word, index);
        machine.port_write(&mut host, IoPort(0x1cf), Width::Word, value);
    }
    machine.port_write(&mut host, IoPort(0x70), Width::Byte, 0x10);
    let saved = machine.save(&mut host).unwrap();

    let (mut twin, mut other) = self::machine();
    assert_eq!(twin.restore(&mut other, &saved), Ok(host.time));
    assert_eq!(twin.save(&mut other).unwrap(), saved);
    ([machine, twin], [host, other])
}

#[test]
fn a_machine_goes_on_in_another_one() {
    let ([mut machine, mut twin], [mut host, mut other]) = twins();
    assert_eq!(host.isa, other.isa);
    let expected = sector_pattern(7);
    for word in expected.chunks_exact(4).skip(64) {
        let word = u32::from_le_bytes(word.try_into().unwrap());
        for (machine, host) in [(&mut machine, &mut host), (&mut twin, &mut other)] {
            assert_eq!(machine.port_read(host, IoPort(0x1f0), Width::Dword), word);
        }
    }
    for port in [0x1f7, 0x60, 0x64, 0x71, 0x1cf, 0x3fd, 0xb004, 0xc102] {
        let [one, two] = [(&mut machine, &mut host), (&mut twin, &mut other)]
            .map(|(machine, host)| machine.port_read(host, IoPort(port), Width::Byte));
        assert_eq!(one, two, "port {port:#x}");
    }
    assert_eq!(config_read(&mut twin, &mut other, 3, 0, 0x10), 0xf000_0008);
}

#[test]
fn what_the_guest_has_unplugged_stays_away() {
    let (mut machine, mut host) = machine();
    set_up(&mut machine, &mut host);
    machine.port_write(&mut host, IoPort(0x10), Width::Word, 0x0001);
    let saved = machine.save(&mut host).unwrap();
    let (mut twin, mut other) = self::machine();
    twin.restore(&mut other, &saved).unwrap();
    assert_eq!(other.unplugged, [Unplug::IdeDisks]);
    assert_eq!(twin.save(&mut other).unwrap(), saved);
}

#[test]
fn a_state_that_does_not_fit_is_refused() {
    let (mut machine, mut host) = machine();
    let saved = machine.save(&mut host).unwrap();
    for len in [0, 1, saved.len() / 2, saved.len() - 1] {
        assert_eq!(machine.restore(&mut host, &saved[..len]), Err(StateError::Format), "{len} bytes");
    }
    assert_eq!(machine.restore(&mut host, &[&saved[..], &[0]].concat()), Err(StateError::Format));
    for config in [
        MachineConfig { drives: [Some(disk(0, 2048)), None, None, None], ..config() },
        MachineConfig { serial_ports: 1, ..config() },
        MachineConfig { vga: None, ..config() },
        MachineConfig { acpi: false, ..config() },
    ] {
        let (mut other, mut host) = (Machine::new(config).unwrap(), self::machine().1);
        host.claimed.clear();
        other.reset(&mut host);
        assert_eq!(other.restore(&mut host, &saved), Err(StateError::OtherMachine));
    }
}
