//! The bus master: scattered memory, long transfers, tables that do not fit, interrupts.
//!
//! Source: Intel 82371SB (PIIX3) datasheet, BMICX, BMISX, BMIDTPX; "Programming Interface for Bus Master IDE Controller"
//! 1.0, 3.0 and its table of what Interrupt and Active mean together.

use super::disk::chosen;
use crate::ide::{ABRT, ACTIVE, Address, DATA, DMA_ERROR, Descriptor, Drive, ERR, IDNF, INTERRUPT, IdeError, Task};
use crate::report::{Outcome, Report};
use crate::{bail, ensure, interrupts, memory, port};
use guests::layout::SCRATCH_LBA;
use guests::pattern;

/// READ DMA, or READ DMA EXT where the address is one of 48 bits.
pub(crate) fn read_task(address: Address, count: u16) -> Task {
    let command = if matches!(address, Address::Lba48(_)) { 0x25 } else { 0xc8 };
    Task { command, features: 0, count, address }
}

/// WRITE DMA, or WRITE DMA EXT where the address is one of 48 bits.
fn write_task(address: Address, count: u16) -> Task {
    let command = if matches!(address, Address::Lba48(_)) { 0x35 } else { 0xca };
    Task { command, features: 0, count, address }
}

/// A table for `bytes` contiguous bytes at `address`, 64 KiB to an entry. Both ends are multiples of 64 KiB apart.
pub(crate) fn contiguous(address: u64, bytes: u32, table: &mut [Descriptor; 32]) -> &[Descriptor] {
    let entries = usize::try_from(bytes.div_ceil(65536)).unwrap_or(usize::MAX).min(table.len());
    let mut left = bytes;
    for (entry, address) in table.iter_mut().zip((address..).step_by(65536)) {
        *entry = Descriptor { address, bytes: left.min(65536) };
        left = left.saturating_sub(65536);
    }
    &table[..entries]
}

/// An empty table.
pub(crate) const EMPTY: [Descriptor; 32] = [Descriptor { address: 0, bytes: 0 }; 32];

/// Writes the pattern of `seed` into the memory that a table describes.
fn scatter(table: &[Descriptor], seed: u64, lba: u64) {
    let mut sector = [0; 512];
    let mut sectors = lba..;
    let mut unused: &[u8] = &[];
    for entry in table {
        let mut at = entry.address;
        let end = at + u64::from(entry.bytes);
        while at < end {
            if unused.is_empty() {
                pattern::sector(seed, sectors.next().unwrap_or(0), &mut sector);
                unused = &sector;
            }
            let length = unused.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            let (now, later) = unused.split_at(length);
            memory::copy_to(at, now);
            at += length as u64;
            unused = later;
            if unused.is_empty() {
                unused = &[];
            }
        }
    }
}

/// Compares the memory that a table describes with the pattern of `seed`.
fn gather(table: &[Descriptor], seed: u64, lba: u64) -> Outcome {
    let mut sector = [0; 512];
    let mut filled = 0;
    let mut lba = lba;
    for entry in table {
        let mut at = entry.address;
        let end = at + u64::from(entry.bytes);
        while at < end {
            let length = (512 - filled).min(usize::try_from(end - at).unwrap_or(usize::MAX));
            memory::copy_from(at, &mut sector[filled..filled + length]);
            at += length as u64;
            filled += length;
            if filled == 512 {
                ensure!(pattern::sector_matches(seed, lba, &sector), "sector {lba} differs at {:#x}", at - 512);
                lba += 1;
                filled = 0;
            }
        }
    }
    Ok(())
}

fn clear(table: &[Descriptor]) {
    for entry in table {
        memory::fill(entry.address, 0xee, usize::try_from(entry.bytes).unwrap_or(0));
    }
}

/// Transfers through tables of every shape.
pub(crate) fn transfers(report: &mut Report) {
    let drive = chosen(report);
    let one = |address, bytes| Descriptor { address, bytes };
    // 64 KiB in one entry, whose count field is 0.
    report.check("dma-64k", there_and_back(drive, 1, &[one(DATA, 65536)], 128, false));
    // Pieces that are no sectors, at addresses that are only even, out of order.
    let odd = [
        one(DATA + 0x3_0002, 2),
        one(DATA + 0x1_0ffe, 4098),
        one(DATA + 0x500, 510),
        one(DATA + 0x2_2222, 4610),
        one(DATA + 0x9000, 1020),
    ];
    report.check("dma-scattered", there_and_back(drive, 2, &odd, 20, false));
    let mut table = EMPTY;
    let long = contiguous(DATA, 1 << 20, &mut table);
    report.check("dma-1m", there_and_back(drive, 3, long, 2048, true));
    let mut table = EMPTY;
    let most = contiguous(DATA, 131_072, &mut table);
    report.check("dma-256", there_and_back(drive, 4, most, 256, false));
    // A page in every entry, every second page unused.
    let mut pages = EMPTY;
    for (entry, address) in pages.iter_mut().zip((DATA..).step_by(8192)) {
        *entry = one(address, 4096);
    }
    report.check("dma-pages", there_and_back(drive, 5, &pages, 256, true));
}

fn there_and_back(drive: Drive, seed: u64, table: &[Descriptor], sectors: u16, ext: bool) -> Outcome {
    let lba = SCRATCH_LBA + 1024;
    let address = if ext { Address::Lba48(lba) } else { Address::Lba28(u32::try_from(lba).unwrap_or(0)) };
    // 256 sectors are a count of 0 in eight bits.
    let count = if ext { sectors } else { sectors & 0xff };
    scatter(table, seed, lba);
    drive.dma(&write_task(address, count), table, false)?;
    clear(table);
    drive.dma(&read_task(address, count), table, true)?;
    gather(table, seed, lba)?;
    // The data port gives the same.
    let mut data = [0; 512];
    let last = lba + u64::from(sectors) - 1;
    drive.read_sector(last, &mut data)?;
    ensure!(pattern::sector_matches(seed, last, &data), "the data port differs");
    Ok(())
}

/// Tables that are too short or too long, memory that is not there, sectors that are not there.
pub(crate) fn errors(report: &mut Report) {
    let drive = chosen(report);
    report.check("dma-short-table", short_table(drive));
    report.check("dma-long-table", long_table(drive));
    report.check("dma-no-memory", no_memory(drive));
    report.check("dma-beyond-end", beyond_end(drive));
    report.check("dma-stopped", stopped(drive));
    report.check("dma-start-first", start_first(drive));
}

/// The drive has to work after whatever happened.
fn still_works(drive: Drive) -> Outcome {
    there_and_back(drive, 9, &[Descriptor { address: DATA, bytes: 4096 }], 8, false)
}

fn recover(drive: Drive, base: u16) -> Outcome {
    port::out8(base, 0);
    port::out8(base + 2, DMA_ERROR | INTERRUPT);
    drive.channel.soft_reset()?;
    still_works(drive)
}

/// "Interrupt 0, Active 0: the table was smaller than the transfer": the drive still has data to give.
fn short_table(drive: Drive) -> Outcome {
    let base = drive.prepare_dma(&[Descriptor { address: DATA, bytes: 512 }])?;
    drive.start_dma(base, &read_task(Address::Lba28(2048), 4), true)?;
    let deadline = crate::time::Deadline::milliseconds(5000);
    while port::in8(base + 2) & ACTIVE != 0 && !deadline.passed() {}
    let status = port::in8(base + 2);
    recover(drive, base)?;
    ensure!(status & (ACTIVE | DMA_ERROR) == 0, "bus master status {status:#04x}");
    Ok(())
}

/// "Interrupt 1, Active 1: the table was larger than the transfer". A valid ending.
fn long_table(drive: Drive) -> Outcome {
    memory::fill(DATA, 0xee, 4096);
    let base = drive.prepare_dma(&[Descriptor { address: DATA, bytes: 4096 }])?;
    interrupts::unmask(drive.channel.irq);
    let seen = interrupts::count(drive.channel.irq);
    drive.start_dma(base, &read_task(Address::Lba28(2048), 2), true)?;
    let status = drive.wait_dma(base, seen)?;
    port::out8(base, 0);
    let stopped = port::in8(base + 2);
    drive.finish()?;
    let behind = memory::read64(DATA + 1024);
    recover(drive, base)?;
    ensure!(status & (INTERRUPT | ACTIVE) == INTERRUPT | ACTIVE, "bus master status {status:#04x}");
    ensure!(stopped & ACTIVE == 0, "still active after Start was cleared");
    ensure!(behind == 0xeeee_eeee_eeee_eeee, "memory behind the transfer was written");
    Ok(())
}

/// Memory that does not exist: an error or nothing at all, but an end.
fn no_memory(drive: Drive) -> Outcome {
    let base = drive.prepare_dma(&[Descriptor { address: 0xdfff_0000, bytes: 4096 }])?;
    drive.start_dma(base, &read_task(Address::Lba28(2048), 8), true)?;
    drive.channel.wait_not_busy()?;
    recover(drive, base)
}

fn beyond_end(drive: Drive) -> Outcome {
    let sectors = drive.identify()?.sectors();
    let result = drive.dma(&read_task(Address::Lba48(sectors), 8), &[Descriptor { address: DATA, bytes: 4096 }], true);
    let base = drive.channel.bus_master.ok_or(IdeError::NoBusMaster)?;
    recover(drive, base)?;
    match result {
        Err(IdeError::Device { status, error }) if status & ERR != 0 && error & (IDNF | ABRT) != 0 => Ok(()),
        Err(other) => bail!("refused oddly: {other}"),
        Ok(()) => bail!("not refused"),
    }
}

/// A command whose bus master is never started waits; a reset ends it.
fn stopped(drive: Drive) -> Outcome {
    let base = drive.prepare_dma(&[Descriptor { address: DATA, bytes: 4096 }])?;
    drive.issue(&read_task(Address::Lba28(2048), 8))?;
    let status = port::in8(base + 2);
    recover(drive, base)?;
    ensure!(status & (ACTIVE | INTERRUPT) == 0, "bus master status {status:#04x}");
    Ok(())
}

/// Start may be set before the command is given.
fn start_first(drive: Drive) -> Outcome {
    let mut data = [0; 512];
    pattern::sector(8, 2048, &mut data);
    drive.write_sector(2048, &data)?;
    memory::fill(DATA, 0, 512);
    let base = drive.prepare_dma(&[Descriptor { address: DATA, bytes: 512 }])?;
    interrupts::unmask(drive.channel.irq);
    let seen = interrupts::count(drive.channel.irq);
    drive.select()?;
    port::out8(base, crate::ide::TO_MEMORY | crate::ide::START);
    drive.issue(&read_task(Address::Lba28(2048), 1))?;
    let status = drive.wait_dma(base, seen)?;
    port::out8(base, 0);
    drive.finish()?;
    ensure!(status & (INTERRUPT | DMA_ERROR) == INTERRUPT, "bus master status {status:#04x}");
    gather(&[Descriptor { address: DATA, bytes: 512 }], 8, 2048)
}

/// A command interrupts once, the bus master shows it, and nIEN keeps it from the line.
pub(crate) fn interrupt(report: &mut Report) {
    let outcome = interrupts_once(chosen(report));
    report.check("disk-interrupt", outcome);
}

fn interrupts_once(drive: Drive) -> Outcome {
    let irq = drive.channel.irq;
    let base = drive.channel.bus_master.ok_or(IdeError::NoBusMaster)?;
    drive.channel.soft_reset()?;
    drive.channel.status();
    interrupts::unmask(irq);
    crate::time::delay_milliseconds(20);
    port::out8(base + 2, INTERRUPT);
    let seen = interrupts::count(irq);
    // FLUSH CACHE ends with an interrupt.
    drive.issue(&Task::plain(0xe7))?;
    drive.wait_dma(base, seen)?;
    crate::time::delay_milliseconds(20);
    ensure!(interrupts::count(irq) == seen + 1, "{} interrupts for one command", interrupts::count(irq) - seen);
    ensure!(port::in8(base + 2) & INTERRUPT != 0, "the bus master does not show the interrupt");
    drive.finish()?;
    port::out8(base + 2, INTERRUPT);
    ensure!(port::in8(base + 2) & INTERRUPT == 0, "a one does not clear the bus master's interrupt");
    // nIEN.
    port::out8(drive.channel.control, 0x02);
    drive.no_data(&Task::plain(0xe7))?;
    crate::time::delay_milliseconds(20);
    port::out8(drive.channel.control, 0x00);
    crate::time::delay_milliseconds(20);
    ensure!(interrupts::count(irq) == seen + 1, "an interrupt in spite of nIEN");
    Ok(())
}
