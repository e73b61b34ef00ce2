//! Disks without bus master: identification, the data port, errors, durability.
//!
//! Source: ATA/ATAPI-6 (T13 1410D), clause 8.

use crate::ide::{ABRT, Address, DRQ, Drive, ERR, IDNF, IdeError, Task, WP};
use crate::report::{Failure, Outcome, Report};
use crate::{bail, ensure};
use guests::command_line::parse_number;
use guests::layout::{SCRATCH_LBA, SCRATCH_SECTORS};
use guests::pattern;

/// The drive that the command line names, the first by default.
pub(crate) fn chosen(report: &Report) -> Drive {
    let [number, ..] = report.options.number("drive", 0).to_le_bytes();
    Drive::new(number & 3)
}

/// IDENTIFY DEVICE adds up; `sectors=` says how large the disk has to be.
pub(crate) fn identify(report: &mut Report) {
    let outcome = identify_drive(chosen(report), report.options.number("sectors", 0));
    let sectors = outcome.as_ref().map_or(0, |sectors| *sectors);
    report.check("identify", outcome.map(|_| ()));
    report.value("capacity", sectors, "sectors");
}

fn identify_drive(drive: Drive, expected: u64) -> Result<u64, Failure> {
    drive.channel.soft_reset()?;
    ensure!(drive.is_present(), "no drive");
    let identify = drive.identify()?;
    identify.check().map_err(|why| Failure::new(format_args!("{why}")))?;
    ensure!(identify.dma(), "word 49: no DMA");
    let sectors = identify.sectors();
    ensure!(expected == 0 || sectors == expected, "{sectors} sectors, not {expected}");
    Ok(sectors)
}

/// Every way through the data port writes and reads back.
pub(crate) fn pio(report: &mut Report) {
    let drive = chosen(report);
    report.check("pio-lba28", lba28(drive));
    report.check("pio-lba48", lba48(drive));
    report.check("pio-multiple", multiple(drive));
    report.check("pio-chs", chs(drive));
}

/// Fills sectors with the pattern of `seed`.
fn fill(seed: u64, lba: u64, data: &mut [u8]) {
    let (sectors, _) = data.as_chunks_mut::<512>();
    for (sector, lba) in sectors.iter_mut().zip(lba..) {
        pattern::sector(seed, lba, sector);
    }
}

/// Compares sectors with the pattern of `seed`.
fn compare(seed: u64, lba: u64, data: &[u8]) -> Outcome {
    for (sector, lba) in data.chunks(512).zip(lba..) {
        ensure!(pattern::sector_matches(seed, lba, sector), "sector {lba} differs");
    }
    Ok(())
}

/// A 28-bit address that the scratch area surely has.
fn small(lba: u64) -> u32 {
    u32::try_from(lba).unwrap_or(0)
}

fn lba28(drive: Drive) -> Outcome {
    let mut data = [0; 512 * 16];
    fill(28, SCRATCH_LBA, &mut data);
    let address = Address::Lba28(small(SCRATCH_LBA));
    drive.pio_out(&Task { command: 0x30, features: 0, count: 16, address }, &data, 1, false)?;
    for wide in [false, true] {
        data.fill(0);
        drive.pio_in(&Task { command: 0x20, features: 0, count: 16, address }, &mut data, 1, wide)?;
        compare(28, SCRATCH_LBA, &data)?;
    }
    // READ VERIFY SECTORS moves no data.
    drive.no_data(&Task { command: 0x40, features: 0, count: 16, address })?;
    Ok(())
}

fn lba48(drive: Drive) -> Outcome {
    ensure!(drive.identify()?.lba48(), "word 83: no 48-bit commands");
    let mut data = [0; 512 * 4];
    let lba = SCRATCH_LBA + 300;
    fill(48, lba, &mut data);
    let address = Address::Lba48(lba);
    drive.pio_out(&Task { command: 0x34, features: 0, count: 4, address }, &data, 1, true)?;
    data.fill(0);
    drive.pio_in(&Task { command: 0x24, features: 0, count: 4, address }, &mut data, 1, false)?;
    compare(48, lba, &data)?;
    // 28-bit commands find the same sectors.
    data.fill(0);
    drive.pio_in(
        &Task { command: 0x20, features: 0, count: 4, address: Address::Lba28(small(lba)) },
        &mut data,
        1,
        false,
    )?;
    compare(48, lba, &data)
}

fn multiple(drive: Drive) -> Outcome {
    let most = drive.identify()?.most_multiple();
    ensure!(most > 0, "word 47: no READ MULTIPLE");
    let block = most.min(16);
    drive.no_data(&Task { command: 0xc6, features: 0, count: u16::from(block), address: Address::Lba28(0) })?;
    ensure!(drive.identify()?.word(59) == 0x100 | u16::from(block), "word 59 does not show the block size");
    // Two blocks and a rest.
    let count = u16::from(block) * 2 + 3;
    let mut buffer = [0; 512 * 35];
    let data = &mut buffer[..512 * usize::from(count)];
    let lba = SCRATCH_LBA + 600;
    fill(59, lba, data);
    let address = Address::Lba28(small(lba));
    drive.pio_out(&Task { command: 0xc5, features: 0, count, address }, data, usize::from(block), false)?;
    data.fill(0);
    drive.pio_in(&Task { command: 0xc4, features: 0, count, address }, data, usize::from(block), false)?;
    compare(59, lba, data)?;
    data.fill(0);
    drive.pio_in(
        &Task { command: 0x29, features: 0, count, address: Address::Lba48(lba) },
        data,
        usize::from(block),
        true,
    )?;
    compare(59, lba, data)
}

fn chs(drive: Drive) -> Outcome {
    let identify = drive.identify()?;
    let (_, heads, sectors) = identify.geometry();
    // INITIALIZE DEVICE PARAMETERS with the geometry that the drive has anyway.
    let [last_head, _] = (heads - 1).to_le_bytes();
    drive.no_data(&Task { command: 0x91, features: 0, count: sectors, address: Address::Chs(0, last_head, 1) })?;
    let lba = SCRATCH_LBA + 900;
    let track = lba / u64::from(sectors);
    let part = |value: u64| u16::try_from(value).unwrap_or(0);
    let [head, _] = part(track % u64::from(heads)).to_le_bytes();
    let [sector, _] = part(lba % u64::from(sectors) + 1).to_le_bytes();
    let address = Address::Chs(part(track / u64::from(heads)), head, sector);
    let mut data = [0; 512 * 3];
    fill(16, lba, &mut data);
    drive.pio_out(&Task { command: 0x30, features: 0, count: 3, address }, &data, 1, false)?;
    let mut read = [0; 512];
    drive.read_sector(lba + 2, &mut read)?;
    compare(16, lba + 2, &read)?;
    data.fill(0);
    drive.pio_in(&Task { command: 0x20, features: 0, count: 3, address }, &mut data, 1, false)?;
    compare(16, lba, &data)
}

/// The last sectors of a disk, which a disk larger than 128 GiB has beyond the 28-bit commands.
pub(crate) fn lba48_end(report: &mut Report) {
    let outcome = write_at_end(chosen(report));
    report.check("lba48-end", outcome);
}

fn write_at_end(drive: Drive) -> Outcome {
    let identify = drive.identify()?;
    let last = identify.sectors() - 1;
    let mut data = [0; 512];
    pattern::sector(49, last, &mut data);
    let task = |command, lba| Task { command, features: 0, count: 1, address: Address::Lba48(lba) };
    drive.pio_out(&task(0x34, last), &data, 1, false)?;
    data.fill(0);
    drive.pio_in(&task(0x24, last), &mut data, 1, false)?;
    compare(49, last, &data)?;
    // READ NATIVE MAX ADDRESS EXT names the last sector.
    drive.no_data(&Task { command: 0x27, features: 0, count: 0, address: Address::Lba48(0) })?;
    refused(drive.pio_in(&task(0x24, last + 1), &mut data, 1, false))
}

/// A command must have been refused by the device, with a reason that the standard allows for a missing sector.
fn refused(result: Result<(), IdeError>) -> Outcome {
    match result {
        Err(IdeError::Device { status, error }) if status & (ERR | DRQ) == ERR && error & (IDNF | ABRT) != 0 => Ok(()),
        Err(other) => bail!("refused oddly: {other}"),
        Ok(()) => bail!("not refused"),
    }
}

/// FLUSH CACHE, FLUSH CACHE EXT, and turning the write cache off and on, succeed after a write.
pub(crate) fn flush(report: &mut Report) {
    let drive = chosen(report);
    let run = || -> Outcome {
        let mut data = [0; 512];
        pattern::sector(7, SCRATCH_LBA, &mut data);
        drive.write_sector(SCRATCH_LBA, &data)?;
        drive.flush()?;
        drive.no_data(&Task::plain(0xea))?;
        for feature in [0x82, 0x02] {
            drive.no_data(&Task { features: feature, ..Task::plain(0xef) })?;
        }
        Ok(())
    };
    report.check("flush", run());
}

/// `disk0=SEED,SECTORS` … `disk3=`: each drive holds the pattern of its seed in the scratch area and at its end, and has
/// that many sectors; `diskN=none`: there is no such drive.
pub(crate) fn disks(report: &mut Report) {
    for (number, key) in (0..).zip(["disk0", "disk1", "disk2", "disk3"]) {
        if let Some(expected) = report.options.get(key) {
            report.check(key, one_of_four(Drive::new(number), expected));
        }
    }
}

fn one_of_four(drive: Drive, expected: &str) -> Outcome {
    if expected == "none" {
        ensure!(!drive.is_present(), "there is a drive");
        return Ok(());
    }
    let numbers =
        expected.split_once(',').and_then(|(seed, sectors)| Some((parse_number(seed)?, parse_number(sectors)?)));
    let Some((seed, sectors)) = numbers else { bail!("not SEED,SECTORS: {expected}") };
    identify_drive(drive, sectors)?;
    let mut data = [0; 512];
    for lba in [SCRATCH_LBA, SCRATCH_LBA + 1, SCRATCH_LBA + SCRATCH_SECTORS - 1, sectors - 1] {
        drive.read_sector(lba, &mut data)?;
        compare(seed, lba, &data)?;
    }
    Ok(())
}

/// A write-protected drive refuses to write, by every command, and keeps its content.
pub(crate) fn read_only(report: &mut Report) {
    let outcome = refuses_writes(chosen(report));
    report.check("read-only", outcome);
}

fn refuses_writes(drive: Drive) -> Outcome {
    let mut before = [0; 512];
    drive.read_sector(SCRATCH_LBA, &mut before)?;
    let changed = before.map(|byte| !byte);
    for command in [0x30, 0x34] {
        let address = if command == 0x30 { Address::Lba28(small(SCRATCH_LBA)) } else { Address::Lba48(SCRATCH_LBA) };
        // The device may refuse the command at once, or its data.
        match drive.pio_out(&Task { command, features: 0, count: 1, address }, &changed, 1, false) {
            Err(IdeError::Device { status, error }) if status & ERR != 0 && error & (ABRT | WP) != 0 => {}
            Err(other) => bail!("command {command:#x} refused oddly: {other}"),
            Ok(()) => bail!("command {command:#x} wrote"),
        }
    }
    let mut after = [0; 512];
    drive.read_sector(SCRATCH_LBA, &mut after)?;
    ensure!(before == after, "the sector has changed");
    Ok(())
}

/// Where `persist` writes and `verify` looks: `seed=`, `lba=`, `count=`.
fn range(report: &Report) -> (u64, core::ops::Range<u64>) {
    let first = report.options.number("lba", SCRATCH_LBA);
    let count = report.options.number("count", 64);
    (report.options.number("seed", 1), first..first.saturating_add(count))
}

/// Writes the pattern of a seed and flushes, for the suite to find in the image.
pub(crate) fn persist(report: &mut Report) {
    let drive = chosen(report);
    let (seed, sectors) = range(report);
    let run = || -> Outcome {
        let mut data = [0; 512];
        for lba in sectors {
            pattern::sector(seed, lba, &mut data);
            drive.write_sector(lba, &data)?;
        }
        Ok(drive.flush()?)
    };
    report.check("persist", run());
}

/// Compares with the pattern of a seed.
pub(crate) fn verify(report: &mut Report) {
    let drive = chosen(report);
    let (seed, sectors) = range(report);
    let run = || -> Outcome {
        let mut data = [0; 512];
        for lba in sectors {
            drive.read_sector(lba, &mut data)?;
            compare(seed, lba, &data)?;
        }
        Ok(())
    };
    report.check("verify", run());
}

/// Commands that do not exist, sectors that do not exist, drives that do not exist.
pub(crate) fn errors(report: &mut Report) {
    let drive = chosen(report);
    report.check("ata-unknown-command", unknown_command(drive));
    report.check("ata-beyond-end", beyond_end(drive));
    report.check("ata-reset", reset_signature(drive));
}

fn unknown_command(drive: Drive) -> Outcome {
    // Vendor specific, and given to nothing.
    match drive.no_data(&Task::plain(0x9a)) {
        Err(IdeError::Device { error, .. }) if error & ABRT != 0 => {}
        Err(other) => bail!("refused oddly: {other}"),
        Ok(()) => bail!("not refused"),
    }
    drive.identify().map(|_| ()).map_err(Failure::from)
}

fn beyond_end(drive: Drive) -> Outcome {
    let sectors = drive.identify()?.sectors();
    let mut data = [0; 1024];
    let read = |lba, count, data: &mut [u8]| {
        drive.pio_in(&Task { command: 0x24, features: 0, count, address: Address::Lba48(lba) }, data, 1, false)
    };
    refused(read(sectors, 1, &mut data[..512]))?;
    // READ SECTORS EXT that starts within the disk: the missing sector is refused, the one before it may be given.
    refused(read(sectors - 1, 2, &mut data))?;
    refused(read(0xffff_ffff_ffff, 1, &mut data[..512]))?;
    Ok(read(sectors - 1, 1, &mut data[..512])?)
}

/// After SRST the registers hold the signature of an ATA device: 1, 1, 0, 0, and the diagnostic code 1.
fn reset_signature(drive: Drive) -> Outcome {
    drive.channel.soft_reset()?;
    let block = drive.channel.block;
    let error = crate::port::in8(block + 1);
    drive.select()?;
    let signature = [2, 3, 4, 5].map(|register| crate::port::in8(block + register));
    ensure!(signature == [1, 1, 0, 0], "signature {signature:x?}");
    ensure!(error & 0x7f == 1, "diagnostic code {error:#x}");
    drive.identify().map(|_| ()).map_err(Failure::from)
}
