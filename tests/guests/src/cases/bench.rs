//! Measurements. Each figure is printed as `VALUE name number unit`; accesses are medians of batches.

use super::dma;
use crate::bios::{self, BiosRegisters};
use crate::ide::{self, Address, DATA, Drive};
use crate::report::{Failure, Report};
use crate::{cpu, ensure, interrupts, memory, pci, port, time};
use guests::layout::SCRATCH_LBA;

/// Batches of one figure.
const BATCHES: usize = 9;

/// Every figure. `rounds=` (200) accesses make a batch, `mib=` (8) MiB are read from the disk.
pub(crate) fn bench(report: &mut Report) {
    let rounds = report.options.number("rounds", 200).max(1);
    // Nothing interrupts, but for the disk later.
    cpu::disable_interrupts();
    let bridge = pci::Function { slot: 0, number: 0 };
    measure(report, "port-0x64", rounds, || {
        port::in8(0x64);
    });
    measure(report, "pit-0x40", rounds, || {
        port::in8(0x40);
    });
    measure(report, "pci-config", rounds, || {
        bridge.read32(0);
    });
    measure(report, "vga-text-read", rounds, || {
        memory::read8(0xb_8000);
    });
    measure_in_real_mode(report, "vga-text-read-real", rounds, 0xb800);
    measure(report, "vga-text-write", rounds, || memory::write8(0xb_8000, 0x20));
    cpu::enable_interrupts();
    bios::set_video_mode(0x13);
    cpu::disable_interrupts();
    measure(report, "vga-graphics-read", rounds, || {
        memory::read8(0xa_0000);
    });
    measure_in_real_mode(report, "vga-graphics-read-real", rounds, 0xa000);
    measure(report, "vga-graphics-write", rounds, || memory::write8(0xa_0000, 1));
    cpu::enable_interrupts();
    bios::set_video_mode(0x03);

    let mib = report.options.number("mib", 8).clamp(1, 1024);
    match bios_reads(20) {
        Ok(speed) => report.value("int13-32k", speed, "KiB/s"),
        Err(why) => report.check("int13-32k", Err(why)),
    }
    for (name, bytes) in [("dma-64k", 65536), ("dma-128k", 131_072), ("dma-1m", 1 << 20)] {
        match dma_reads(bytes, mib) {
            Ok(speed) => report.value(name, speed, "KiB/s"),
            Err(why) => report.check(name, Err(why)),
        }
    }
    report.check("bench", Ok(()));
}

/// Prints the median over batches of what one access takes.
fn measure(report: &mut Report, name: &str, rounds: u64, mut access: impl FnMut()) {
    let batches = core::array::from_fn(|_| {
        let start = cpu::time_stamp();
        for _ in 0..rounds {
            access();
        }
        cpu::time_stamp() - start
    });
    print_median(report, name, rounds, batches);
}

/// The same for reads of a byte in real mode, where firmware and boot loaders are: without page tables for Xen to walk.
fn measure_in_real_mode(report: &mut Report, name: &str, rounds: u64, segment: u16) {
    let count = u16::try_from(rounds).unwrap_or(u16::MAX);
    let batches = core::array::from_fn(|_| u64::from(bios::time_reads(segment, count)));
    cpu::disable_interrupts();
    print_median(report, name, count.into(), batches);
}

fn print_median(report: &mut Report, name: &str, rounds: u64, mut batches: [u64; BATCHES]) {
    batches.sort_unstable();
    report.value(name, time::nanoseconds(batches[BATCHES / 2]) / rounds, "ns");
}

/// KiB in a second.
fn speed(bytes: u64, ticks: u64) -> u64 {
    let nanoseconds = u128::from(time::nanoseconds(ticks).max(1));
    u64::try_from(u128::from(bytes) * 1_000_000_000 / 1024 / nanoseconds).unwrap_or(u64::MAX)
}

/// Reads of 32 KiB by INT 13h function 42h, one after the other, into memory below 1 MiB that the program leaves free.
fn bios_reads(count: u64) -> Result<u64, Failure> {
    /// Disk address packet and target. The packet is where no BIOS function looks by itself.
    const PACKET: u64 = 0x8_0000;
    const SEGMENT: u16 = 0x8100;
    const SECTORS: u16 = 64;
    let mut ticks = 0;
    for number in 0..count {
        for (at, value) in (PACKET..).step_by(2).zip([16, SECTORS, 0, SEGMENT]) {
            memory::write16(at, value);
        }
        memory::write64(PACKET + 8, SCRATCH_LBA + number * u64::from(SECTORS));
        let start = cpu::time_stamp();
        let after = bios::call(0x13, BiosRegisters { eax: 0x4200, edx: 0x80, ds: 0x8000, ..BiosRegisters::default() });
        ticks += cpu::time_stamp() - start;
        ensure!(after.flags & 1 == 0, "INT 13h fails with {:#06x}", after.eax);
    }
    Ok(speed(count * u64::from(SECTORS) * 512, ticks))
}

/// Sequential reads by the bus master, each of `bytes`, until `mib` MiB have been read.
fn dma_reads(bytes: u32, mib: u64) -> Result<u64, Failure> {
    let drive = Drive::new(0);
    let mut table = dma::EMPTY;
    let table = dma::contiguous(DATA, bytes, &mut table);
    let sectors = bytes / 512;
    let count = (mib << 20) / u64::from(bytes);
    let span = drive.identify()?.sectors() - SCRATCH_LBA - u64::from(sectors);
    interrupts::unmask(drive.channel.irq);
    drive.select()?;
    let base = drive.prepare_dma(table)?;
    let tables = u32::try_from(ide::TABLES).unwrap_or(0);
    let start = cpu::time_stamp();
    for number in 0..count {
        let lba = SCRATCH_LBA + number * u64::from(sectors) % span;
        let seen = interrupts::count(drive.channel.irq);
        // No access more than a driver of an operating system makes.
        port::out32(base + 4, tables);
        port::out8(base, ide::TO_MEMORY);
        port::out8(base + 2, ide::DMA_ERROR | ide::INTERRUPT);
        drive.issue_selected(&dma::read_task(Address::Lba48(lba), u16::try_from(sectors).unwrap_or(0)));
        port::out8(base, ide::TO_MEMORY | ide::START);
        let status = drive.wait_dma(base, seen)?;
        port::out8(base, 0);
        let drive_status = drive.channel.status();
        ensure!(status & ide::DMA_ERROR == 0 && drive_status & ide::ERR == 0, "{status:#04x}, {drive_status:#04x}");
    }
    Ok(speed(count * u64::from(bytes), cpu::time_stamp() - start))
}
