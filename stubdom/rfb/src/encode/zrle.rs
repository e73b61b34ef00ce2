//! ZRLE: tiles of 64 by 64 pixels with palettes and runs, compressed.
//!
//! Source: RFC 6143 section 7.7.6.

use super::Scratch;
use super::raw::put_with_length;
use crate::deflate::{Deflate, Stream};
use crate::palette::Palette;
use crate::picture::Picture;
use crate::rect::Rect;
use crate::wire::Wire;
use alloc::vec::Vec;

/// Side of a tile.
const TILE: u16 = 64;

/// Colours of the largest palette.
const MOST_COLOURS: usize = 127;

/// Colours of the largest palette whose indices are packed.
const MOST_PACKED: usize = 16;

/// Set in subencodings with runs, and in indices that have a length.
const RUNS: u8 = 0x80;

/// Appends a rectangle.
pub(super) fn put(
    picture: &dyn Picture,
    rect: &Rect,
    scratch: &mut Scratch,
    wire: &Wire,
    deflate: &mut Deflate,
    level: Option<u8>,
    out: &mut Vec<u8>,
) {
    put_with_length(out, |out| {
        deflate.resume(Stream::Zrle, level, out);
        for y in (0..rect.height).step_by(TILE.into()) {
            for x in (0..rect.width).step_by(TILE.into()) {
                let tile = Rect::new(rect.x.saturating_add(x), rect.y.saturating_add(y), TILE, TILE).intersection(rect);
                scratch.read(picture, &tile, wire);
                scratch.bytes.clear();
                let Scratch { pixels, bytes, palette } = scratch;
                put_tile(pixels, tile.width.into(), wire, palette, bytes);
                deflate.write(bytes, out);
            }
        }
        deflate.flush(&[], out);
    });
}

/// The ways to send a tile that has more than one colour.
#[derive(Clone, Copy)]
enum Subencoding {
    Raw,
    Packed,
    Runs,
    PaletteRuns,
}

fn put_tile(pixels: &[u32], width: usize, wire: &Wire, palette: &mut Palette, out: &mut Vec<u8>) {
    let Some(first) = pixels.first() else { return };
    if pixels.iter().all(|pixel| pixel == first) {
        out.push(1);
        return wire.put(&[*first], out);
    }
    let subencoding = choose(pixels, width, wire, palette);
    let colours = palette.colours();
    let count = u8::try_from(colours.len()).unwrap_or(0);
    match subencoding {
        Subencoding::Raw => {
            out.push(0);
            wire.put(pixels, out);
        }
        Subencoding::Packed => {
            out.push(count);
            wire.put(colours, out);
            put_packed(pixels, width, palette, out);
        }
        Subencoding::Runs => {
            out.push(RUNS);
            for (colour, length) in runs(pixels) {
                wire.put(&[colour], out);
                put_length(length, out);
            }
        }
        Subencoding::PaletteRuns => {
            out.push(RUNS | count);
            wire.put(colours, out);
            for (colour, length) in runs(pixels) {
                match (palette.index(colour), length) {
                    (index, 1) => out.push(index),
                    (index, _) => {
                        out.push(RUNS | index);
                        put_length(length, out);
                    }
                }
            }
        }
    }
}

/// Packed indices get half as long as runs do when they are compressed.
const PACKED_SHRINKS: usize = 2;

/// Finds the colours, and the shortest way.
fn choose(pixels: &[u32], width: usize, wire: &Wire, palette: &mut Palette) -> Subencoding {
    palette.clear();
    let (mut singles, mut longer, mut lengths) = (0_usize, 0_usize, 0_usize);
    let mut few = true;
    for (colour, length) in runs(pixels) {
        few = few && palette.insert(colour, MOST_COLOURS);
        if length == 1 {
            singles = singles.wrapping_add(1);
        } else {
            longer = longer.wrapping_add(1);
            lengths = lengths.wrapping_add(length_bytes(length));
        }
    }
    let of_pixels = |count: usize| count.saturating_mul(wire.bytes());
    let with_runs = of_pixels(singles.saturating_add(longer)).saturating_add(singles).saturating_add(lengths);
    let (mut best, mut size) = (Subencoding::Raw, of_pixels(pixels.len()));
    let mut consider = |subencoding, bytes: usize| {
        if bytes < size {
            (best, size) = (subencoding, bytes);
        }
    };
    consider(Subencoding::Runs, with_runs);
    if few {
        let colours = palette.colours().len();
        let heads = of_pixels(colours);
        consider(
            Subencoding::PaletteRuns,
            heads.saturating_add(singles).saturating_add(longer).saturating_add(lengths),
        );
        if colours <= MOST_PACKED {
            let row = width.saturating_mul(index_bits(colours)).div_ceil(8);
            let rows = pixels.len().checked_div(width).unwrap_or(0);
            consider(Subencoding::Packed, heads.saturating_add(row.saturating_mul(rows) / PACKED_SHRINKS));
        }
    }
    best
}

/// Appends indices of 1, 2 or 4 bits; rows begin with a new byte.
fn put_packed(pixels: &[u32], width: usize, palette: &Palette, out: &mut Vec<u8>) {
    let bits = index_bits(palette.colours().len());
    for row in pixels.chunks(width.max(1)) {
        match bits {
            1 => put_two_colours(row, palette, out),
            2 => out.extend(row.chunks(4).map(|pixels| pack(pixels, 2, palette))),
            _ => out.extend(row.chunks(2).map(|pixels| pack(pixels, 4, palette))),
        }
    }
}

/// Appends a row as one bit for each pixel, 0 for the first colour. Used by Tight as well.
pub(super) fn put_two_colours(row: &[u32], palette: &Palette, out: &mut Vec<u8>) {
    let first = palette.colours().first().copied().unwrap_or(0);
    let (bytes, rest) = row.as_chunks::<8>();
    let bit = |byte: u8, pixel: &u32| byte << 1 | u8::from(*pixel != first);
    out.extend(bytes.iter().map(|pixels| pixels.iter().fold(0, bit)));
    if !rest.is_empty() {
        let unused = u32::try_from(rest.len()).map_or(0, |used| 8_u32.saturating_sub(used));
        out.push(rest.iter().fold(0, bit).wrapping_shl(unused));
    }
}

/// One byte of indices.
fn pack(pixels: &[u32], bits: u32, palette: &Palette) -> u8 {
    let mut shift = 8_u32;
    pixels.iter().fold(0, |byte, pixel| {
        shift = shift.saturating_sub(bits);
        byte | palette.index(*pixel).wrapping_shl(shift)
    })
}

/// Bits of an index into a palette of up to 16 colours.
fn index_bits(colours: usize) -> usize {
    match colours {
        0..=2 => 1,
        3..=4 => 2,
        _ => 4,
    }
}

/// Runs of the same colour, and their lengths. They go on from row to row.
fn runs(pixels: &[u32]) -> impl Iterator<Item = (u32, usize)> {
    pixels.chunk_by(|a, b| a == b).filter_map(|run| Some((*run.first()?, run.len())))
}

/// Bytes of the length of a run.
fn length_bytes(length: usize) -> usize {
    length.saturating_sub(1).wrapping_div(255).wrapping_add(1)
}

/// Appends the length of a run.
fn put_length(length: usize, out: &mut Vec<u8>) {
    out.extend(core::iter::repeat_n(255, length_bytes(length).wrapping_sub(1)));
    out.push(u8::try_from(length.saturating_sub(1).wrapping_rem(255)).unwrap_or(0));
}
