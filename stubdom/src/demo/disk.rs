//! The disk: looking whose it is, checking it, and measuring it.
//!
//! A disk whose beginning and end are blank, or that has our mark, is ours; every other one holds somebody's data, and is
//! only read. The first 4 KiB of ours have the mark, how often it was checked, and the seed of the pattern in the [`AREA`]
//! after them: so a check finds out whether what the one before has written is still there.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use log::warn;
use minios::clock;
use minios::disk::Disk as Frontend;
use minios::front::XenDomain;
use minios::random;

use crate::status::Shared;

/// The disk of this domain.
pub(crate) type Disk = Frontend<XenDomain>;

const SECTOR: u64 = 512;
/// The first bytes of a disk that is ours.
const MARK: &[u8; 16] = b"miniOS demo disk";
/// Bytes before the area.
const HEADER: usize = 4096;
/// Bytes that a check writes.
const AREA: usize = 1 << 20;
/// Bytes at the beginning and at the end that are blank on a disk that nobody uses: boot sectors, file systems, and volume
/// managers have their marks there.
const LOOKED_AT: usize = 4 << 20;
/// Bytes that are read to measure.
const MEASURED: u64 = 32 << 20;
const MEASURED_AT_ONCE: usize = 1 << 20;

/// Whose a disk is.
enum Owner {
    /// Ours, checked so many times, with a pattern of this seed.
    Ours { checks: u64, seed: u64 },
    /// Nobody's.
    Blank,
    /// Somebody's.
    Foreign,
}

/// Checks the disk as soon as it is there.
pub(crate) async fn check_at_start(disk: Disk, status: Shared) {
    match disk.info().await {
        Ok(info) => {
            status.borrow_mut().disk.bytes = info.sectors.saturating_mul(SECTOR);
            check(&disk, &status).await;
        }
        Err(error) => warn!("{}: {error}", disk.block().path()),
    }
}

/// Checks the disk, and says what that came to.
pub(crate) async fn check(disk: &Disk, status: &Shared) -> String {
    status.borrow_mut().disk.check = "being checked".to_string();
    let result = try_check(disk, status).await.unwrap_or_else(|error| format!("broken: {error}"));
    let mut status = status.borrow_mut();
    status.disk.check.clone_from(&result);
    status.event(&format!("disk: {result}"));
    result
}

async fn try_check(disk: &Disk, status: &Shared) -> Result<String, String> {
    let info = disk.info().await.map_err(|error| error.to_string())?;
    let (checks, old) = match look(disk, status).await? {
        Owner::Foreign => return Ok("holds other data, left alone".to_string()),
        _ if info.read_only => return Ok("read-only, left alone".to_string()),
        Owner::Blank => (0, None),
        Owner::Ours { checks, seed } => (checks, Some(seed)),
    };
    let area = HEADER as u64 / SECTOR;
    if let Some(seed) = old {
        let there = read(disk, status, area, AREA).await?;
        if there != pattern(seed) {
            return Err("what was written before is not there any more".to_string());
        }
    }
    // The number comes from the disk, and can be any.
    let checks = checks.wrapping_add(1);
    let seed = random::next();
    let new = pattern(seed);
    write(disk, status, area, &new).await?;
    let mut header = vec![0; HEADER];
    for (place, value) in header.chunks_exact_mut(8).zip(words(checks, seed)) {
        place.copy_from_slice(&value);
    }
    // The pattern lasts before the header says that it is there.
    disk.flush().await.map_err(|error| error.to_string())?;
    write(disk, status, 0, &header).await?;
    disk.flush().await.map_err(|error| error.to_string())?;
    if read(disk, status, area, AREA).await? != new {
        return Err("what was just written is not there".to_string());
    }
    Ok(format!("good, check {checks}"))
}

/// Looks whose it is.
async fn look(disk: &Disk, status: &Shared) -> Result<Owner, String> {
    let info = disk.info().await.map_err(|error| error.to_string())?;
    let bytes = usize::try_from(info.sectors.saturating_mul(SECTOR)).unwrap_or(usize::MAX);
    if bytes < HEADER + AREA {
        return Ok(Owner::Foreign);
    }
    let header = read(disk, status, 0, HEADER).await?;
    if header.starts_with(MARK) {
        let mut numbers = header.chunks_exact(8).skip(2).map(|word| word.try_into().map_or(0, u64::from_le_bytes));
        let (checks, seed) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        return Ok(Owner::Ours { checks, seed });
    }
    let len = bytes.min(LOOKED_AT);
    for lba in [0, info.sectors - len as u64 / SECTOR] {
        if read(disk, status, lba, len).await?.iter().any(|byte| *byte != 0) {
            return Ok(Owner::Foreign);
        }
    }
    Ok(Owner::Blank)
}

/// The header, in words.
fn words(checks: u64, seed: u64) -> impl Iterator<Item = [u8; 8]> {
    let mark = MARK.chunks_exact(8).map(|word| word.try_into().unwrap_or_default());
    mark.chain([checks.to_le_bytes(), seed.to_le_bytes()])
}

/// Bytes that a seed stands for (xorshift64).
fn pattern(seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(AREA);
    while bytes.len() < AREA {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// Reads for a while, and says how fast that went.
pub(crate) async fn bench(disk: &Disk, status: &Shared) -> Result<String, String> {
    let info = disk.info().await.map_err(|error| error.to_string())?;
    let sectors = info.sectors.min(MEASURED / SECTOR);
    let begin = clock::now();
    let mut lba = 0;
    while lba < sectors {
        let len = MEASURED_AT_ONCE.min(usize::try_from((sectors - lba) * SECTOR).unwrap_or(usize::MAX));
        read(disk, status, lba, len).await?;
        lba += len as u64 / SECTOR;
    }
    let took = clock::now().since(begin).max(1);
    let bytes = sectors * SECTOR;
    let speed = (u128::from(bytes) * 1_000_000_000 / u128::from(took)) >> 20;
    Ok(format!("{} MiB read in {} ms: {speed} MiB/s", bytes >> 20, took / 1_000_000))
}

async fn read(disk: &Disk, status: &Shared, lba: u64, len: usize) -> Result<Vec<u8>, String> {
    let mut data = vec![0; len];
    disk.read(lba, &mut data).await.map_err(|error| error.to_string())?;
    status.borrow_mut().disk.read += len as u64;
    Ok(data)
}

async fn write(disk: &Disk, status: &Shared, lba: u64, data: &[u8]) -> Result<(), String> {
    disk.write(lba, data).await.map_err(|error| error.to_string())?;
    status.borrow_mut().disk.written += data.len() as u64;
    Ok(())
}
