//! Hextile: tiles of 16 by 16 pixels, as rectangles on a background.
//!
//! Source: RFC 6143 section 7.7.4.

use crate::rect::Rect;
use crate::wire::Wire;
use alloc::vec::Vec;

/// Side of a tile.
const SIDE: usize = 16;

const RAW: u8 = 1;
const BACKGROUND_SPECIFIED: u8 = 2;
const FOREGROUND_SPECIFIED: u8 = 4;
const ANY_SUBRECTS: u8 = 8;
const SUBRECTS_COLOURED: u8 = 16;

/// A tile; rows of less than 16 pixels follow each other without a gap.
#[derive(Clone)]
struct Tile {
    pixels: [u32; SIDE * SIDE],
    width: usize,
    height: usize,
    /// All pixels before this one are of the background.
    done: usize,
}

/// What the viewer remembers of the tile before.
#[derive(Default)]
struct Memory {
    background: Option<u32>,
    foreground: Option<u32>,
}

/// Appends the tiles of a rectangle.
pub(super) fn put(pixels: &[u32], rect: &Rect, wire: &Wire, out: &mut Vec<u8>) {
    let width = usize::from(rect.width).max(1);
    let mut memory = Memory::default();
    for band in pixels.chunks(width.saturating_mul(SIDE)) {
        for left in (0..width).step_by(SIDE) {
            put_tile(Tile::cut(band, width, left), &mut memory, wire, out);
        }
    }
}

fn put_tile(tile: Tile, memory: &mut Memory, wire: &Wire, out: &mut Vec<u8>) {
    let start = out.len();
    let background = tile.majority();
    let foreground = tile.only_other(background);
    let mut mask = 0;
    out.push(0);
    if memory.background != Some(background) {
        mask |= BACKGROUND_SPECIFIED;
        wire.put(&[background], out);
    }
    if tile.pixels().iter().any(|pixel| *pixel != background) {
        mask |= ANY_SUBRECTS;
        match foreground {
            Some(colour) if memory.foreground == Some(colour) => {}
            Some(colour) => {
                mask |= FOREGROUND_SPECIFIED;
                wire.put(&[colour], out);
            }
            None => mask |= SUBRECTS_COLOURED,
        }
        let count_at = out.len();
        out.push(0);
        let longest = tile.pixels().len().saturating_mul(wire.bytes());
        let mut count = 0_u8;
        let mut left = tile.clone();
        while let Some((colour, place)) = left.take_subrect(background) {
            let full = out.len().saturating_sub(start) > longest;
            let Some(more) = count.checked_add(1).filter(|_| !full) else {
                // Too many for the count, or longer than the pixels themselves.
                out.truncate(start);
                out.push(RAW);
                wire.put(tile.pixels(), out);
                *memory = Memory::default();
                return;
            };
            count = more;
            if foreground.is_none() {
                wire.put(&[colour], out);
            }
            out.extend(place);
        }
        crate::bytes::overwrite(out, count_at, &[count]);
    }
    crate::bytes::overwrite(out, start, &[mask]);
    memory.background = Some(background);
    if mask & SUBRECTS_COLOURED != 0 {
        memory.foreground = None;
    } else if mask & ANY_SUBRECTS != 0 {
        memory.foreground = foreground;
    }
}

impl Tile {
    /// Cuts a tile out of a band of rows.
    fn cut(band: &[u32], band_width: usize, left: usize) -> Self {
        let width = band_width.saturating_sub(left).min(SIDE);
        let mut tile = Self { pixels: [0; SIDE * SIDE], width, height: 0, done: 0 };
        for (to, from) in tile.pixels.chunks_mut(width.max(1)).zip(band.chunks(band_width)) {
            to.iter_mut().zip(from.iter().skip(left)).for_each(|(to, from)| *to = *from);
            tile.height = tile.height.saturating_add(1).min(SIDE);
        }
        tile
    }

    fn pixels(&self) -> &[u32] {
        self.pixels.get(..self.width.saturating_mul(self.height)).unwrap_or_default()
    }

    /// The colour of at least half of the pixels, if there is one; else one of the colours.
    fn majority(&self) -> u32 {
        let first = self.pixels().first().copied().unwrap_or(0);
        if self.pixels().iter().filter(|pixel| **pixel == first).count() >= self.pixels().len() / 2 {
            return first;
        }
        // Boyer and Moore.
        let mut candidate = (0, 0_u32);
        for pixel in self.pixels() {
            candidate = match candidate {
                (_, 0) => (*pixel, 1),
                (colour, votes) if colour == *pixel => (colour, votes.saturating_add(1)),
                (colour, votes) => (colour, votes.saturating_sub(1)),
            };
        }
        candidate.0
    }

    /// The colour of all pixels that are not of the background, if there is only one.
    fn only_other(&self, background: u32) -> Option<u32> {
        let mut others = self.pixels().iter().filter(|pixel| **pixel != background);
        let colour = others.next()?;
        others.all(|other| other == colour).then_some(*colour)
    }

    /// Replaces a rectangle of one colour by the background, and gives the colour, x-and-y-position and
    /// width-and-height.
    fn take_subrect(&mut self, background: u32) -> Option<(u32, [u8; 2])> {
        let width = self.width.max(1);
        let pixels = self.pixels();
        let at = self.done.saturating_add(pixels.get(self.done..)?.iter().position(|pixel| *pixel != background)?);
        // Most tiles are whole, and need no division.
        let (y, x) =
            if width == SIDE { (at / SIDE, at % SIDE) } else { (at.checked_div(width)?, at.checked_rem(width)?) };
        let colour = *pixels.get(at)?;
        let rest = width.saturating_sub(x);
        let mut rows = pixels.chunks(width).skip(y).map(|row| row.get(x..).unwrap_or_default());
        let columns = rows.next()?.iter().position(|pixel| *pixel != colour).unwrap_or(rest);
        let same = |row: &&[u32]| row.iter().take(columns).all(|pixel| *pixel == colour);
        let below = rows.take_while(same).count();
        for row in self.pixels.chunks_mut(width).skip(y).take(below.saturating_add(1)) {
            row.get_mut(x..x.saturating_add(columns)).unwrap_or_default().fill(background);
        }
        self.done = at;
        let nibbles = |high: usize, low: usize| u8::try_from(high << 4 | low).unwrap_or(0);
        Some((colour, [nibbles(x, y), nibbles(columns.saturating_sub(1), below)]))
    }
}
