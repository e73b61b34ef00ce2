//! Tight: one colour, indices into a palette, pixels, or a photograph.
//!
//! Source: rfbproto.rst, Tight Encoding.
//! Not modelled: the gradient filter; streams 1 to 3, which would need a compressor each.

use super::Scratch;
use super::zrle::put_two_colours;
use crate::deflate::{Deflate, Stream};
use crate::rect::Rect;
use crate::wire::Wire;
use alloc::vec::Vec;

/// compression-control: FillCompression.
const FILL: u8 = 0x80;

/// compression-control: BasicCompression with stream 0 and CopyFilter.
const COPY: u8 = 0x00;

/// compression-control: BasicCompression with stream 0 and a filter-id.
const FILTER: u8 = 0x40;

/// filter-id: PaletteFilter.
const PALETTE: u8 = 1;

/// Less than this is not compressed.
const SHORTEST_COMPRESSED: usize = 12;

/// Pixels for each colour of a palette, at least.
const PIXELS_PER_COLOUR: usize = 4;

/// Pixels of a photograph, at least: its tables have 600 bytes.
const SMALLEST_PHOTO: usize = 1024;

/// Whether a rectangle was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Photo {
    /// It was.
    No,
    /// It looks like a photograph, and is to be put as one.
    Wanted,
}

/// Appends a rectangle whose wire values were read, unless it is better put as a photograph.
///
/// `options`: the compression level, and whether the viewer takes photographs.
pub(super) fn put(
    scratch: &mut Scratch,
    rect: &Rect,
    wire: &Wire,
    deflate: &mut Deflate,
    options: (Option<u8>, bool),
    out: &mut Vec<u8>,
) -> Photo {
    let Scratch { pixels, bytes, palette } = scratch;
    let Some(first) = pixels.first() else { return Photo::No };
    if pixels.iter().all(|pixel| pixel == first) {
        out.push(FILL);
        wire.put(&[*first], out);
        return Photo::No;
    }
    let (level, photos) = options;
    bytes.clear();
    palette.clear();
    let most = pixels.len().wrapping_div(PIXELS_PER_COLOUR).clamp(2, 256);
    let few = pixels.chunk_by(|a, b| a == b).filter_map(<[u32]>::first).all(|colour| palette.insert(*colour, most));
    if few {
        let colours = palette.colours();
        out.extend([FILTER, PALETTE, u8::try_from(colours.len().saturating_sub(1)).unwrap_or(0)]);
        wire.put(colours, out);
        if colours.len() == 2 {
            pixels.chunks(usize::from(rect.width).max(1)).for_each(|row| put_two_colours(row, palette, bytes));
        } else {
            for run in pixels.chunk_by(|a, b| a == b) {
                let index = run.first().map_or(0, |colour| palette.index(*colour));
                bytes.extend(core::iter::repeat_n(index, run.len()));
            }
        }
    } else if photos && pixels.len() >= SMALLEST_PHOTO {
        return Photo::Wanted;
    } else {
        out.push(COPY);
        wire.put(pixels, bytes);
    }
    if bytes.len() < SHORTEST_COMPRESSED {
        out.extend_from_slice(bytes);
    } else {
        put_with_length(out, |out| {
            deflate.resume(Stream::Tight, level, out);
            deflate.flush(bytes, out);
        });
    }
    Photo::No
}

/// Appends what `put` does, behind its length in one to three bytes.
pub(super) fn put_with_length(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend([0; 3]);
    let start = out.len();
    put(out);
    let length = out.len().saturating_sub(start);
    let bits = |shift: usize, mask: usize| u8::try_from(length >> shift & mask).unwrap_or(0);
    let (bytes, unused) = match length {
        0..0x80 => ([bits(0, 0x7f), 0, 0], 2),
        0x80..0x4000 => ([bits(0, 0x7f) | 0x80, bits(7, 0x7f), 0], 1),
        _ => ([bits(0, 0x7f) | 0x80, bits(7, 0x7f) | 0x80, bits(14, 0xff)], 0),
    };
    crate::bytes::overwrite(out, at, &bytes);
    out.drain(start.saturating_sub(unused)..start);
}
