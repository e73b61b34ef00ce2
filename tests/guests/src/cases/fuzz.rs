//! Random accesses to everything that the device model answers for, then a check that it is still well.
//!
//! What ends the test instead of testing something is left out: resets, power off, the unplug port, the interrupt
//! controllers, the timer and the clock (which a hypervisor keeps), moving an aperture over the guest's own memory, and
//! bus masters that write anywhere but into the memory for transfers. Reads that reach beyond the last port of a UART
//! are made with `crossing=1` alone: QEMU 7.2 fails an assertion (hw/char/serial.c) there. It also fails one
//! (`ide_cancel_dma_sync`) or crashes when the bus master is among the areas.

use super::{disk, dma, screen};
use crate::ide::{self, Address, Channel, DATA, Drive};
use crate::report::{Outcome, Report};
use crate::{bios, cpu, ensure, interrupts, line, memory, pci, port, serial};
use guests::layout::{SCRATCH_LBA, TRANSFER_END};
use guests::pattern;
use guests::random::Random;

/// Ports that may be read and written, as first port and number. The bus master and PCI have their own ways.
const PORTS: &[(u16, u16)] = &[
    (0x1f0, 8),
    (0x170, 8),
    (0x3f6, 1),
    (0x376, 1),
    (0x3b0, 48),
    (0x1ce, 3),
    (0x3f9, 7),
    (0x60, 1),
    (0x61, 1),
    (0x64, 1),
    (0x80, 1),
    (0x2f8, 8),
    (0x402, 1),
    (0x510, 2),
    (0xe9, 1),
    (0x1000, 0x9000),
];

/// Descriptor tables for the bus master: the first MiB of the memory for transfers, all of it sane entries.
const TABLES: u64 = ide::TABLES;
/// Bytes of descriptor tables.
const TABLE_BYTES: u32 = 1 << 20;

/// `accesses=` (100 000) random accesses from `seed=` (1), to `areas=` (all) of ports, bus-master, configuration, memory.
pub(crate) fn fuzz(report: &mut Report) {
    let count = report.options.number("accesses", 100_000);
    let areas = report.options.get("areas");
    let chosen = |name: &str| areas.is_none_or(|areas| areas.split(',').any(|area| area == name));
    let mut fuzzer = Fuzzer::new(report.options.number("seed", 1));
    fuzzer.crossing = report.options.number("crossing", 0) != 0;
    let [ports, bus_master, configuration, memory] = ["ports", "bus-master", "configuration", "memory"].map(chosen);
    // Whatever interrupts has to wait.
    cpu::disable_interrupts();
    let step = (count / 4).max(1);
    for number in 0..count {
        match fuzzer.random.below(16) {
            0..=7 if ports => fuzzer.port(),
            8 if ports => fuzzer.any_port(),
            9 | 10 if bus_master => fuzzer.bus_master(),
            11 | 12 if configuration => fuzzer.configuration(),
            13..=15 if memory => fuzzer.memory(),
            _ => {}
        }
        if number % step == step - 1 {
            fuzzer.restore_registers();
            serial::start();
            line!("PROGRESS {}", number + 1);
        }
    }
    fuzzer.restore_registers();
    serial::start();
    cpu::enable_interrupts();
    report.check("fuzz", health(disk::chosen(report)));
}

/// Disk, serial port (which prints this), memory and video work as before.
fn health(drive: Drive) -> Outcome {
    for number in [0, 1] {
        let channel = Channel::new(number);
        if let Some(base) = channel.bus_master {
            port::out8(base, 0);
            port::out8(base + 2, 0x66);
        }
        channel.soft_reset()?;
        // A pending interrupt is acknowledged.
        channel.status();
    }
    ensure!(drive.is_present(), "the drive is gone");
    let identify = drive.identify()?;
    ensure!(identify.check().is_ok(), "IDENTIFY does not add up");
    let mut sector = [0; 512];
    pattern::sector(77, SCRATCH_LBA, &mut sector);
    drive.write_sector(SCRATCH_LBA, &sector)?;
    drive.flush()?;
    memory::fill(DATA, 0, 512);
    interrupts::unmask(drive.channel.irq);
    drive.dma(&dma::read_task(Address::Lba28(2048), 1), &[ide::Descriptor { address: DATA, bytes: 512 }], true)?;
    memory::copy_from(DATA, &mut sector);
    ensure!(pattern::sector_matches(77, SCRATCH_LBA, &sector), "the disk gives something else back");
    bios::set_video_mode(0x03);
    memory::write16(0xb_8000, 0x1741);
    ensure!(memory::read16(0xb_8000) == 0x1741, "the text screen does not keep a cell");
    Ok(())
}

/// A function of PCI with the registers that it had before.
struct Saved {
    function: pci::Function,
    registers: [u32; 64],
}

struct Fuzzer {
    random: Random,
    functions: heapless::Vec<Saved, 16>,
    bus_master: Option<u16>,
    frame_buffer: u64,
    card_registers: u64,
    crossing: bool,
}

impl Fuzzer {
    fn new(seed: u64) -> Self {
        let mut functions = heapless::Vec::new();
        for function in pci::functions() {
            let mut registers = [0; 64];
            for (value, register) in registers.iter_mut().zip((0..=252).step_by(4)) {
                *value = function.read32(register);
            }
            // What does not fit is only read.
            let _ = functions.push(Saved { function, registers });
        }
        let mut random = Random::new(seed);
        // A pointer to any double word finds sane entries, so every word may be an address or a length: it lies in
        // the memory behind the tables, or where there is no memory, and its lower half is any length. Only those
        // without memory have bit 31, which ends a table.
        for at in (TABLES..TABLES + u64::from(TABLE_BYTES)).step_by(4) {
            let span = u32::try_from(TRANSFER_END - DATA - 65536).unwrap_or(1);
            let nowhere = random.once_in(4);
            let start = if nowhere { 0xd000_0000 } else { u32::try_from(DATA).unwrap_or(0) };
            memory::write32(at, start + random.below(if nowhere { 65536 } else { span }));
        }
        let bus_master = Channel::new(0).bus_master;
        let mut fuzzer = Self { random, functions, bus_master, frame_buffer: 0, card_registers: 0, crossing: false };
        fuzzer.find_apertures();
        fuzzer
    }

    /// Looks where the VGA card's memory is now; somewhere in its windows where it has none.
    fn find_apertures(&mut self) {
        self.frame_buffer = screen::frame_buffer().unwrap_or(0xa_0000);
        self.card_registers = pci::find_vga_registers().unwrap_or(0xb_8000);
    }

    /// A read anywhere.
    fn any_port(&mut self) {
        let port = self.random.next_u16();
        self.read_port(port);
    }

    fn read_port(&mut self, port: u16) {
        let width = [1, 2, 4].get(usize::try_from(self.random.below(3)).unwrap_or(0)).copied().unwrap_or(1);
        let crosses = |uart: u16| port < uart + 8 && port.saturating_add(width) > uart + 8;
        if !self.crossing && [0x3f8, 0x2f8, 0x3e8, 0x2e8].into_iter().any(crosses) {
            return;
        }
        match width {
            1 => {
                port::in8(port);
            }
            2 => {
                port::in16(port);
            }
            _ => {
                port::in32(port);
            }
        }
    }

    fn port(&mut self) {
        let chosen = usize::try_from(self.random.below(u32::try_from(PORTS.len()).unwrap_or(1))).unwrap_or(0);
        let (first, number) = PORTS.get(chosen).copied().unwrap_or((0x80, 1));
        let port = first.wrapping_add(u16::try_from(self.random.below(u32::from(number))).unwrap_or(0));
        if self.random.once_in(2) {
            self.read_port(port);
            return;
        }
        let value = self.random.next_u32();
        match self.random.below(4) {
            // Wider writes only where all of the bytes belong to the same device.
            0 if (0x1f0..0x1f4).contains(&port) || port >= 0x1000 || (0x3b0..0x3dc).contains(&port) => {
                port::out32(port, value)
            }
            1 if (0x1f0..0x1f6).contains(&port)
                || port >= 0x1000
                || (0x3b0..0x3de).contains(&port)
                || (0x1ce..0x1d0).contains(&port) =>
            {
                port::out16(port, self.random.next_u16());
            }
            _ => {
                let [byte, ..] = value.to_le_bytes();
                if !ends_the_test(port, byte) {
                    port::out8(port, byte);
                }
            }
        }
    }

    /// The bus master's command register, and its table pointers within the tables.
    fn bus_master(&mut self) {
        let Some(base) = self.bus_master else { return };
        let channel = if self.random.once_in(2) { base } else { base + 8 };
        let [byte, ..] = self.random.next_u32().to_le_bytes();
        match self.random.below(5) {
            0 => port::out8(channel, byte),
            1 => port::out8(channel + 2, byte),
            2 => {
                let table = u32::try_from(TABLES).unwrap_or(0) + self.random.below(TABLE_BYTES - 65536);
                port::out32(channel + 4, table & !3);
            }
            3 => {
                let offset = u16::try_from(self.random.below(8)).unwrap_or(0);
                self.read_port(channel + offset);
            }
            _ => {
                // A transfer that may go through: sane registers, a random command of DMA, start.
                let table = u32::try_from(TABLES).unwrap_or(0) + self.random.below(TABLE_BYTES - 65536);
                port::out32(channel + 4, table & !3);
                let block = if channel == base { 0x1f0 } else { 0x170 };
                let commands = [0xc8, 0x25, 0xca, 0x35];
                let command = commands.get(usize::from(byte & 3)).copied().unwrap_or(0xc8);
                for register in 2..6 {
                    port::out8(block + register, self.random.next_u8() & 0x3f);
                }
                port::out8(block + 6, 0xe0 | byte & 0x10);
                port::out8(block + 7, command);
                port::out8(channel, if command & 0x0f == 8 || command == 0x25 { 0x09 } else { 0x01 });
            }
        }
    }

    fn configuration(&mut self) {
        let register = self.random.next_u8();
        if self.random.once_in(2) || self.functions.is_empty() {
            // Any function of bus 0, there or not.
            let function = pci::Function { slot: self.random.next_u8() & 31, number: self.random.next_u8() & 7 };
            match self.random.below(3) {
                0 => {
                    function.read8(register);
                }
                1 => {
                    function.read16(register & !1);
                }
                _ => {
                    function.read32(register);
                }
            }
            return;
        }
        let index = usize::try_from(self.random.below(u32::try_from(self.functions.len()).unwrap_or(1))).unwrap_or(0);
        let Some(saved) = self.functions.get(index) else { return };
        let function = saved.function;
        let bar = usize::from(register >> 2);
        let value = self.random.next_u32();
        match Writable::of(saved, register) {
            Writable::Never => {}
            // Sizing, or a place among the other apertures.
            Writable::MemoryBar => {
                let old = saved.registers.get(bar).copied().unwrap_or(0);
                let new = match self.random.below(3) {
                    0 => u32::MAX,
                    1 => 0xf000_0000 | value & 0x07ff_fff0,
                    _ => old,
                };
                function.write32(register, new);
                self.find_apertures();
            }
            Writable::Freely => match self.random.below(3) {
                0 => function.write8(register, self.random.next_u8()),
                1 => function.write16(register & !1, self.random.next_u16()),
                _ => function.write32(register, value),
            },
        }
    }

    fn memory(&mut self) {
        let frame_buffer = self.frame_buffer;
        let address = match self.random.below(8) {
            0..=4 => 0xa_0000 + u64::from(self.random.below(0x2_0000)),
            5 => frame_buffer + u64::from(self.random.below(16 << 20)),
            // The card's registers in memory.
            6 => self.card_registers + u64::from(self.random.below(4096)),
            // Where nothing is, or something that was moved.
            _ => 0xf000_0000 + u64::from(self.random.below(0x0800_0000)),
        };
        let aligned = address & !7;
        // Sizing may have left the aperture at the very end, where the local APIC is.
        if (0xfb00_0000..0x1_0000_0000).contains(&aligned)
            && !(frame_buffer..frame_buffer + (16 << 20)).contains(&aligned)
            || aligned >= 0xfec0_0000
        {
            return;
        }
        let value = self.random.next_u64();
        let [a, b, c, d, ..] = value.to_le_bytes();
        match self.random.below(9) {
            0 => {
                memory::read8(address);
            }
            1 => {
                memory::read16(aligned);
            }
            2 => {
                memory::read32(aligned);
            }
            3 => {
                memory::read64(aligned);
            }
            4 => memory::write8(address, a),
            5 => memory::write16(aligned, u16::from_le_bytes([a, b])),
            6 => memory::write32(aligned, u32::from_le_bytes([a, b, c, d])),
            7 => memory::write64(aligned, value),
            _ => {
                let mut data = [a; 64];
                if b & 1 == 0 { memory::copy_to(aligned, &data) } else { memory::copy_from(aligned, &mut data) }
            }
        }
    }

    /// Gives every function the registers back that it had.
    fn restore_registers(&mut self) {
        for Saved { function, registers } in &self.functions {
            for register in (4..=252).step_by(4) {
                let value = registers.get(usize::from(register >> 2)).copied().unwrap_or(0);
                // Of the status register, whose bits clear where a one is written, nothing; the last after all others.
                if register != 4 && Writable::of_saved(*function, registers, register) != Writable::Never {
                    function.write32(register, value);
                }
            }
            let [low, high, ..] = registers.get(1).copied().unwrap_or(0).to_le_bytes();
            function.write16(4, u16::from_le_bytes([low, high]));
        }
        self.find_apertures();
    }
}

/// Whether a write to this port may reset the machine, or pull address line 20 from under the program.
fn ends_the_test(port: u16, value: u8) -> bool {
    // Pulses of the output port, the command whose argument is the output port, and the one that masks the line.
    port == 0x64 && (value >= 0xf0 || value == 0xd1 || value == 0xdd)
}

/// What the test may do to a register of a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writable {
    Never,
    MemoryBar,
    Freely,
}

impl Writable {
    fn of(saved: &Saved, register: u8) -> Self {
        Self::of_saved(saved.function, &saved.registers, register)
    }

    fn of_saved(function: pci::Function, registers: &[u32; 64], register: u8) -> Self {
        let class = registers.get(2).copied().unwrap_or(0) >> 16;
        let id = registers.first().copied().unwrap_or(0);
        let value = registers.get(usize::from(register >> 2)).copied().unwrap_or(0);
        match register & 0xfc {
            // Xen's platform device: the test leaves Xen's own alone.
            _ if id & 0xffff == 0x5853 => Self::Never,
            // The host bridge maps the firmware's memory, power management moves its own ports.
            0x40.. if class == 0x0600 || class == 0x0680 || function.slot == 0 => Self::Never,
            // Expansion ROM: the same rules as for memory, but its lowest bit enables it.
            0x30 => Self::Never,
            0x10..0x28 if value & 1 == 1 || value == 0 => Self::Never,
            0x10..0x28 => Self::MemoryBar,
            _ => Self::Freely,
        }
    }
}
