//! The commands of a SCSI disk: from a command block to what the disk does or says.
//!
//! Pure: a disk's configuration and a command block in, a [`Step`] out. How they and the data travel is in [`super`].
//!
//! Source: SPC-3 (T10/1416-D) and SBC-2 (T10/1417-D); READ FORMAT CAPACITIES, which Windows asks USB disks for, is in MMC-3.
//! Quirk: as with the CD drives here, a reset is not reported as unit attention.
//! Not modelled: UNMAP, MODE SELECT, reservations, protection information, logs, power conditions.

use crate::ata::packet::{GOOD, INVALID_COMMAND, INVALID_FIELD, OUT_OF_RANGE, Sense, request_sense};
use crate::machine::DiskConfig;
use heapless::Vec;

/// Bytes of a block.
pub(super) const BLOCK: u32 = 512;
/// Bytes of a command block, filled up with zeros.
pub(super) const COMMAND_LEN: usize = 16;

/// What a disk answers with, without data from its blocks.
pub(super) type Reply = Vec<u8, 64>;

const SAVING_NOT_SUPPORTED: Sense = Sense::new(5, 0x39, 0);
const WRITE_PROTECTED: Sense = Sense::new(7, 0x27, 0);

/// What the disk does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The command has ended.
    Done,
    /// The command has failed; the reason is to be kept for REQUEST SENSE.
    Fail(Sense),
    /// These bytes go to the host.
    Reply(Reply),
    /// Blocks of the disk go to the host. They are there.
    Read { lba: u64, blocks: u32 },
    /// Blocks of the host go to the disk. They are there, and can be written to.
    Write { lba: u64, blocks: u32, durable: bool },
    /// Everything is made durable.
    Flush,
}

/// Carries out a command block. `sense` is why the command before failed; REQUEST SENSE takes it.
pub(super) fn perform(disk: &DiskConfig, sense: &mut Sense, command: &[u8; COMMAND_LEN]) -> Step {
    let [opcode, flags, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13, _, _] = *command;
    let short_lba = u64::from(u32::from_be_bytes([0, flags & 0x1f, b2, b3]));
    let lba = u64::from(u32::from_be_bytes([b2, b3, b4, b5]));
    let long_lba = u64::from_be_bytes([b2, b3, b4, b5, b6, b7, b8, b9]);
    // READ(6) and WRITE(6): none is 256.
    let short_count = if b4 == 0 { 256 } else { u32::from(b4) };
    let word = u16::from_be_bytes([b7, b8]);
    let dword = u32::from_be_bytes([b6, b7, b8, b9]);
    let long_count = u32::from_be_bytes([b10, b11, b12, b13]);
    // RDPROTECT, WRPROTECT and VRPROTECT; READ(6) and WRITE(6) have a part of the address there.
    let is_protected = !matches!(opcode, 0x08 | 0x0a) && flags & 0xe0 != 0;
    let read = |lba, blocks| if is_protected { Step::Fail(INVALID_FIELD) } else { reads(disk, lba, blocks) };
    let write = |lba, blocks, flags: u8| match () {
        () if is_protected => Step::Fail(INVALID_FIELD),
        () if disk.read_only => Step::Fail(WRITE_PROTECTED),
        () => match reads(disk, lba, blocks) {
            // FUA.
            Step::Read { lba, blocks } => Step::Write { lba, blocks, durable: flags & 1 << 3 != 0 },
            other => other,
        },
    };
    match opcode {
        // TEST UNIT READY, START STOP UNIT.
        0x00 | 0x1b => Step::Done,
        // REQUEST SENSE; the format with descriptors is not there.
        0x03 if flags & 1 != 0 => Step::Fail(INVALID_FIELD),
        0x03 => reply(&request_sense(core::mem::replace(sense, GOOD)), b4.into()),
        0x12 => inquiry(disk, flags, b2, u16::from_be_bytes([b3, b4]).into()),
        // MODE SENSE(6) and (10).
        0x1a => mode_sense(disk, b2, true, b4.into()),
        0x5a => mode_sense(disk, b2, false, word.into()),
        // SEND DIAGNOSTIC: the self test, which is good.
        0x1d if flags & 1 << 2 != 0 => Step::Done,
        // READ FORMAT CAPACITIES: one, that of the formatted medium.
        0x23 => {
            let [a, b, c, d] = u32::try_from(disk.sectors).unwrap_or(u32::MAX).to_be_bytes();
            reply(&[0, 0, 0, 8, a, b, c, d, 2, 0, 2, 0], word.into())
        }
        // READ CAPACITY(10): all ones are for a disk that is larger.
        0x25 => {
            let last = u32::try_from(last(disk)).unwrap_or(u32::MAX);
            reply(&[last, BLOCK].map(u32::to_be_bytes).concat(), usize::MAX)
        }
        // SERVICE ACTION IN(16): READ CAPACITY(16).
        0x9e if flags & 0x1f == 0x10 => {
            let mut data = [0; 32];
            data[..8].copy_from_slice(&last(disk).to_be_bytes());
            data[8..12].copy_from_slice(&BLOCK.to_be_bytes());
            reply(&data, usize::try_from(long_count).unwrap_or(usize::MAX))
        }
        // READ(6), (10), (12), (16).
        0x08 => read(short_lba, short_count),
        0x28 => read(lba, word.into()),
        0xa8 => read(lba, dword),
        0x88 => read(long_lba, long_count),
        // WRITE(6), (10), (12), (16).
        0x0a => write(short_lba, short_count, 0),
        0x2a => write(lba, word.into(), flags),
        0xaa => write(lba, dword, flags),
        0x8a => write(long_lba, long_count, flags),
        // VERIFY(10), without a comparison.
        0x2f if flags & 1 << 1 != 0 => Step::Fail(INVALID_FIELD),
        0x2f => match read(lba, word.into()) {
            Step::Read { .. } => Step::Done,
            other => other,
        },
        // SYNCHRONIZE CACHE(10) and (16), of everything.
        0x35 | 0x91 => Step::Flush,
        // REPORT LUNS: unit 0.
        0xa0 => {
            let mut data = [0; 16];
            data[3] = 8;
            reply(&data, usize::try_from(dword).unwrap_or(usize::MAX))
        }
        _ => Step::Fail(INVALID_COMMAND),
    }
}

fn last(disk: &DiskConfig) -> u64 {
    disk.sectors.saturating_sub(1)
}

fn reads(disk: &DiskConfig, lba: u64, blocks: u32) -> Step {
    match lba.checked_add(blocks.into()) {
        Some(end) if end <= disk.sectors => {
            if blocks == 0 {
                Step::Done
            } else {
                Step::Read { lba, blocks }
            }
        }
        _ => Step::Fail(OUT_OF_RANGE),
    }
}

/// Standard data, or a page of vital product data.
fn inquiry(disk: &DiskConfig, flags: u8, page: u8, most: usize) -> Step {
    match (flags & 3, page) {
        (0, 0) => {
            // A disk that is not removed, SPC-3, 31 bytes follow.
            let mut data = *b"\x00\x00\x05\x02\x1f\x00\x00\x00QEMU                        2.5+";
            text(&mut data[16..32], &disk.model);
            text(&mut data[32..36], &disk.firmware);
            reply(&data, most)
        }
        // The pages that there are.
        (1, 0x00) => reply(&[0, 0x00, 0, 2, 0x00, 0x80], most),
        // The serial number.
        (1, 0x80) => {
            let mut data = [0; 24];
            data[..4].copy_from_slice(&[0, 0x80, 0, 20]);
            text(&mut data[4..], &disk.serial);
            reply(&data, most)
        }
        _ => Step::Fail(INVALID_FIELD),
    }
}

/// Left-aligned, and filled up with blanks.
fn text(field: &mut [u8], text: &str) {
    for (byte, letter) in field.iter_mut().zip(text.bytes().chain(core::iter::repeat(b' '))) {
        *byte = letter;
    }
}

/// A header without block descriptors, and the caching page.
fn mode_sense(disk: &DiskConfig, page: u8, is_short: bool, most: usize) -> Step {
    const CACHING: u8 = 0x08;
    let control = page >> 6;
    if !matches!(page & 0x3f, CACHING | 0x3f) {
        return Step::Fail(INVALID_FIELD);
    }
    if control == 3 {
        return Step::Fail(SAVING_NOT_SUPPORTED);
    }
    let mut caching = [0; 20];
    // WCE: writes are cached. Nothing can be changed.
    caching[..3].copy_from_slice(&[CACHING, 18, if control == 1 { 0 } else { 1 << 2 }]);
    let write_protect = if disk.read_only { 1 << 7 } else { 0 };
    if is_short {
        reply(&[&[23, 0, write_protect, 0][..], &caching].concat(), most)
    } else {
        reply(&[&[0, 26, 0, write_protect, 0, 0, 0, 0][..], &caching].concat(), most)
    }
}

/// The first `most` bytes of an answer. None at all is an end without data.
fn reply(data: &[u8], most: usize) -> Step {
    let data = data.get(..most).unwrap_or(data);
    match Reply::from_slice(data) {
        Ok(data) if !data.is_empty() => Step::Reply(data),
        _ => Step::Done,
    }
}
