//! The blitter: rectangles of video memory, patterns, bits that become colours, and bytes that the CPU gives.
//!
//! A blit from video memory is done at once, row by row: the source becomes a row of bytes, is combined with what is there,
//! and written back. One from the CPU waits for its bytes, and does a row whenever one is complete.
//!
//! Source: CL-GD5446 Technical Reference Manual, chapter 8; QEMU's hw/display/cirrus_vga.c for the order of bits and rows.
//! Not modelled: blits to the CPU, which nobody uses.
//! Invariant: a blit that would touch anything outside of video memory is not done at all, and none touches more bytes than
//! there are in it. So writing a register costs at most a few copies of video memory.

use super::super::Written;
use super::{ADDRESS_MASK, MEMORY};
use crate::host::VideoMemory;
use crate::state::{Adopt, StateError};
use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Status: a blit is under way.
pub(super) const BUSY: u8 = 0x01;
/// Status: begins one.
pub(super) const START: u8 = 0x02;
/// Status: ends it.
pub(super) const RESET: u8 = 0x04;
/// Status: there are bytes in the FIFO.
pub(super) const FIFO_USED: u8 = 0x10;
/// Status: writing the destination begins one.
pub(super) const AUTOSTART: u8 = 0x80;

/// Mode: from the end to the start.
const BACKWARDS: u8 = 0x01;
const TO_CPU: u8 = 0x02;
const FROM_CPU: u8 = 0x04;
const TRANSPARENT: u8 = 0x08;
const PATTERN: u8 = 0x40;
const EXPAND: u8 = 0x80;
/// Mode extension: rows of bits from the CPU are whole double words.
const DWORDS: u8 = 0x01;
/// Mode extension: bits are inverted.
const INVERT: u8 = 0x02;
/// Mode extension: the foreground colour, and no source.
const SOLID: u8 = 0x04;

/// The longest row, in bytes: the register has 13 bits.
const ROW_MAX: usize = 0x2000;
/// Bytes of a pattern of the widest pixels.
const PATTERN_MAX: usize = 256;

/// What the registers ask for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Blit {
    width: usize,
    height: u32,
    /// Of the byte that is lowest in memory of the row that is done first.
    destination: u32,
    source: u32,
    /// From one row to the next.
    destination_step: i64,
    source_step: i64,
    mode: u8,
    extension: u8,
    rop: u8,
    /// Bytes of a pixel.
    pixel: usize,
    foreground: [u8; 4],
    background: [u8; 4],
    key: [u8; 2],
    /// GR2F.
    skip: u8,
    /// The row of the pattern that comes first.
    pattern_row: u32,
}

/// A blit from the CPU.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Hungry {
    blit: Blit,
    /// Bytes that make a row, or the pattern.
    needed: usize,
    have: usize,
    row: u32,
}

/// The engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Blitter {
    hungry: Option<Hungry>,
    /// What comes from the CPU.
    input: Vec<u8>,
    #[serde(skip)]
    rows: Rows,
}

/// Room for a row.
#[derive(Clone, Debug, Default)]
struct Rows {
    /// The source, as pixels.
    source: Vec<u8>,
    /// What is there.
    old: Vec<u8>,
    /// What will be.
    new: Vec<u8>,
    /// For each byte, not zero: it is written.
    mask: Vec<u8>,
}

impl Adopt for Blitter {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        self.hungry = saved.hungry;
        match saved.input.len() == self.input.len() {
            true => self.input = saved.input,
            false => return Err(StateError::Format),
        }
        Ok(())
    }
}

impl Blitter {
    pub(super) fn new() -> Self {
        let row = || vec![0; ROW_MAX];
        Self { hungry: None, input: row(), rows: Rows { source: row(), old: row(), new: row(), mask: row() } }
    }

    /// Whether bytes of the CPU are waited for.
    pub(super) const fn is_hungry(&self) -> bool {
        self.hungry.is_some()
    }

    /// Forgets what is under way.
    pub(super) const fn reset(&mut self) {
        self.hungry = None;
    }

    /// Does what the registers of the graphics controller ask for. `true`: it goes on, with bytes of the CPU.
    pub(super) fn start(&mut self, host: &mut impl VideoMemory, written: &mut Written, registers: &[u8; 0x40]) -> bool {
        self.hungry = None;
        let Some(blit) = Blit::decode(registers) else { return false };
        if blit.mode & FROM_CPU != 0 {
            let needed = blit.bytes_of_source_row();
            if needed == 0 || needed > self.input.len() {
                return false;
            }
            self.hungry = Some(Hungry { blit, needed, have: 0, row: 0 });
            return true;
        }
        let mut pattern = [0; PATTERN_MAX];
        if blit.mode & PATTERN != 0 && blit.extension & SOLID == 0 {
            host.video_read(blit.source, &mut pattern);
        }
        for row in 0..blit.height {
            let Some(destination) = blit.row_at(blit.destination, blit.destination_step, row) else { return false };
            if blit.mode & PATTERN == 0 {
                let needed = blit.bytes_of_source_row();
                let step = if blit.mode & EXPAND != 0 { i64::try_from(needed).unwrap_or(0) } else { blit.source_step };
                let Some(source) = blit.row_at(blit.source, step, row) else { return false };
                let Some(input) = self.input.get_mut(..needed) else { return false };
                host.video_read(source, input);
            }
            self.rows.perform(host, written, &blit, row, destination, &self.input, &pattern);
        }
        false
    }

    /// Takes bytes of the CPU. `false`: the blit has ended.
    pub(super) fn feed(&mut self, host: &mut impl VideoMemory, written: &mut Written, data: &[u8]) -> bool {
        let mut rest = data;
        while let Some(hungry) = &mut self.hungry {
            let room = hungry.needed.saturating_sub(hungry.have).min(rest.len());
            let (piece, after) = rest.split_at(room);
            if let Some(to) = self.input.get_mut(hungry.have..hungry.have.saturating_add(room)) {
                to.copy_from_slice(piece);
            }
            rest = after;
            hungry.have = hungry.have.saturating_add(room);
            if hungry.have < hungry.needed {
                return true;
            }
            hungry.have = 0;
            let blit = hungry.blit;
            let first = hungry.row;
            let rows = if blit.mode & PATTERN != 0 { blit.height } else { 1 };
            hungry.row = hungry.row.saturating_add(rows);
            if hungry.row >= blit.height {
                self.hungry = None;
            }
            let mut pattern = [0; PATTERN_MAX];
            for (to, from) in pattern.iter_mut().zip(&self.input) {
                *to = *from;
            }
            for row in first..first.saturating_add(rows) {
                if let Some(destination) = blit.row_at(blit.destination, blit.destination_step, row) {
                    self.rows.perform(host, written, &blit, row, destination, &self.input, &pattern);
                }
            }
        }
        false
    }
}

impl Blit {
    /// `None`: the blit is not done.
    fn decode(registers: &[u8; 0x40]) -> Option<Self> {
        let gr = |index: usize| registers.get(index).copied().unwrap_or(0);
        let pair = |low: usize| u32::from(gr(low)) | u32::from(gr(low.saturating_add(1))) << 8;
        let triple = |low: usize| pair(low) | u32::from(gr(low.saturating_add(2))) << 16;
        let (mode, extension) = (gr(0x30), gr(0x33));
        let pixel = match mode >> 4 & 3 {
            0 => 1,
            1 => 2,
            2 => 3,
            _ => 4_usize,
        };
        let width = pair(0x20).saturating_add(1);
        let height = pair(0x22).saturating_add(1);
        let (destination_pitch, source_pitch) = (pair(0x24), pair(0x26));
        let [destination, source] = [0x28, 0x2c].map(|low| triple(low) & ADDRESS_MASK);
        let is_solid = extension & SOLID != 0 && mode & (EXPAND | PATTERN) == EXPAND | PATTERN && mode & FROM_CPU == 0;
        let extension = if is_solid { extension } else { extension & !SOLID };
        if mode & TO_CPU != 0 || mode & (FROM_CPU | BACKWARDS) == FROM_CPU | BACKWARDS {
            return None;
        }
        // Whatever the pitch, no honest blit has more bytes than there are.
        if width.saturating_mul(height) > MEMORY {
            return None;
        }
        let is_backwards = mode & BACKWARDS != 0 && mode & (PATTERN | EXPAND) == 0;
        let lowest = |at: u32| if is_backwards { at.checked_sub(width.saturating_sub(1)) } else { Some(at) };
        let step = |pitch: u32| if is_backwards { i64::from(pitch).wrapping_neg() } else { i64::from(pitch) };
        let is_pattern = mode & PATTERN != 0;
        let pattern_bytes = match (mode & EXPAND, pixel) {
            (EXPAND, _) => 8,
            (_, 1) => 64_u32,
            (_, 2) => 128,
            _ => 256,
        };
        let blit = Self {
            width: usize::try_from(width).ok()?,
            height,
            destination: lowest(destination)?,
            source: if is_pattern { source & !pattern_bytes.saturating_sub(1) } else { lowest(source)? },
            destination_step: step(destination_pitch),
            source_step: step(source_pitch),
            mode,
            extension,
            rop: gr(0x32),
            pixel,
            foreground: [gr(0x01), gr(0x11), gr(0x13), gr(0x15)],
            background: [gr(0x00), gr(0x10), gr(0x12), gr(0x14)],
            key: [gr(0x34), gr(0x35)],
            skip: gr(0x2f),
            pattern_row: source & 7,
        };
        blit.is_inside(blit.destination, blit.destination_step, width).then_some(())?;
        let has_rows = mode & FROM_CPU == 0 && !is_pattern;
        if has_rows {
            let row = u32::try_from(blit.bytes_of_source_row()).ok()?;
            let step = if mode & EXPAND != 0 { i64::from(row) } else { blit.source_step };
            blit.is_inside(blit.source, step, row).then_some(())?;
        }
        // A transparent colour has 8 or 16 bits.
        (mode & (TRANSPARENT | EXPAND) != TRANSPARENT || pixel <= 2).then_some(blit)
    }

    /// Whether all rows of `width` bytes lie within video memory.
    fn is_inside(&self, at: u32, step: i64, width: u32) -> bool {
        let rows = i64::from(self.height.saturating_sub(1));
        let last = i64::from(at).saturating_add(step.saturating_mul(rows));
        let end = i64::from(at).max(last).saturating_add(width.into());
        last >= 0 && end <= i64::from(MEMORY)
    }

    /// Where a row is.
    fn row_at(&self, at: u32, step: i64, row: u32) -> Option<u32> {
        u32::try_from(i64::from(at).checked_add(step.checked_mul(row.into())?)?).ok()
    }

    /// Bytes that are skipped at the left of the destination, and bits or pixels of the source.
    fn skipped(&self) -> (usize, usize) {
        if self.pixel == 3 {
            let bytes = usize::from(self.skip & 0x1f);
            (bytes, bytes.checked_div(3).unwrap_or(0))
        } else {
            let pixels = usize::from(self.skip & 7);
            (pixels.saturating_mul(self.pixel), pixels)
        }
    }

    /// Bytes of the source for a row, or of the pattern.
    fn bytes_of_source_row(&self) -> usize {
        let pixels = self.width.checked_div(self.pixel).unwrap_or(0);
        match (self.mode & PATTERN != 0, self.mode & EXPAND != 0) {
            (true, true) => 8,
            (true, false) => match self.pixel {
                1 => 64,
                2 => 128,
                _ => 256,
            },
            (false, true) if self.mode & FROM_CPU != 0 && self.extension & DWORDS != 0 => {
                pixels.div_ceil(32).saturating_mul(4)
            }
            (false, true) => pixels.div_ceil(8).max(1),
            (false, false) if self.mode & FROM_CPU != 0 => self.width.next_multiple_of(4),
            (false, false) => self.width,
        }
    }
}

impl Rows {
    /// Does one row at `destination`.
    #[expect(clippy::too_many_arguments, reason = "a row is all of this")]
    fn perform(
        &mut self,
        host: &mut impl VideoMemory,
        written: &mut Written,
        blit: &Blit,
        row: u32,
        destination: u32,
        input: &[u8],
        pattern: &[u8; PATTERN_MAX],
    ) {
        let width = blit.width;
        let (Some(source), Some(old), Some(new), Some(mask)) = (
            self.source.get_mut(..width),
            self.old.get_mut(..width),
            self.new.get_mut(..width),
            self.mask.get_mut(..width),
        ) else {
            return;
        };
        let skips = blit.mode & (PATTERN | EXPAND) != 0 && blit.extension & SOLID == 0;
        let (skip, first) = if skips { blit.skipped() } else { (0, 0) };
        if skip >= width {
            return;
        }
        mask.fill(1);
        let pattern_row = (blit.pattern_row.wrapping_add(row) & 7) as usize;
        if blit.extension & SOLID != 0 {
            for (byte, color) in source.iter_mut().zip(blit.foreground.iter().take(blit.pixel).cycle()) {
                *byte = *color;
            }
        } else if blit.mode & EXPAND != 0 {
            let is_pattern = blit.mode & PATTERN != 0;
            let is_transparent = blit.mode & TRANSPARENT != 0;
            let invert = if is_transparent && blit.extension & INVERT != 0 { 0xff } else { 0 };
            let pixels = source.get_mut(skip..).unwrap_or(&mut []).chunks_mut(blit.pixel);
            let masks = mask.get_mut(skip..).unwrap_or(&mut []).chunks_mut(blit.pixel);
            for ((pixel, mask), number) in pixels.zip(masks).zip(first..) {
                let byte = if is_pattern { pattern.get(pattern_row) } else { input.get(number >> 3) };
                let bit = (byte.copied().unwrap_or(0) ^ invert) >> (7_usize.wrapping_sub(number) & 7) & 1;
                // Inverted, the transparent bits are those that are set, and the others are in the background colour.
                let color = match (bit, invert != 0) {
                    (1, false) => &blit.foreground,
                    _ => &blit.background,
                };
                for (byte, color) in pixel.iter_mut().zip(color) {
                    *byte = *color;
                }
                mask.fill(if is_transparent { bit } else { 1 });
            }
        } else if blit.mode & PATTERN != 0 {
            let pitch = if blit.pixel == 3 { 32 } else { blit.pixel.saturating_mul(8) };
            let from = pattern_row.saturating_mul(pitch);
            let bytes = pattern.get(from..from.saturating_add(blit.pixel.saturating_mul(8))).unwrap_or(&[]);
            for (byte, new) in source.iter_mut().zip(bytes.iter().cycle()) {
                *byte = *new;
            }
        } else {
            for (byte, new) in source.iter_mut().zip(input) {
                *byte = *new;
            }
        }
        host.video_read(destination, old);
        combine(blit.rop, source, old, new);
        if blit.mode & (TRANSPARENT | EXPAND) == TRANSPARENT {
            let key = blit.key.get(..blit.pixel).unwrap_or(&blit.key);
            for (mask, new) in mask.chunks_mut(blit.pixel).zip(new.chunks(blit.pixel)) {
                mask.fill((new != key).into());
            }
        }
        for ((new, old), mask) in new.iter_mut().zip(&*old).zip(&*mask) {
            if *mask == 0 {
                *new = *old;
            }
        }
        let at = destination.saturating_add(u32::try_from(skip).unwrap_or(0));
        let bytes = new.get(skip..).unwrap_or(&[]);
        host.video_write(at, bytes);
        written.mark(at, bytes.len(), true);
    }
}

/// The raster operations, by their numbers in GR32. Others leave everything as it is.
fn combine(rop: u8, source: &[u8], old: &[u8], new: &mut [u8]) {
    match rop {
        0x00 => each(source, old, new, |_, _| 0),
        0x05 => each(source, old, new, |s, d| s & d),
        0x09 => each(source, old, new, |s, d| s & !d),
        0x0b => each(source, old, new, |_, d| !d),
        0x0d => each(source, old, new, |s, _| s),
        0x0e => each(source, old, new, |_, _| 0xff),
        0x50 => each(source, old, new, |s, d| !s & d),
        0x59 => each(source, old, new, |s, d| s ^ d),
        0x6d => each(source, old, new, |s, d| s | d),
        0x90 => each(source, old, new, |s, d| !s | !d),
        0x95 => each(source, old, new, |s, d| !(s ^ d)),
        0xad => each(source, old, new, |s, d| s | !d),
        0xd0 => each(source, old, new, |s, _| !s),
        0xd6 => each(source, old, new, |s, d| !s | d),
        0xda => each(source, old, new, |s, d| !s & !d),
        _ => each(source, old, new, |_, d| d),
    }
}

fn each(source: &[u8], old: &[u8], new: &mut [u8], operation: impl Fn(u8, u8) -> u8) {
    for ((new, source), old) in new.iter_mut().zip(source).zip(old) {
        *new = operation(*source, *old);
    }
}
