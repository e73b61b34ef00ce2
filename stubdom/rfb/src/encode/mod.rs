//! Pixels of a rectangle, as a viewer wants them.
//!
//! | module | encoding |
//! |---|---|
//! | `raw` | Raw, and Zlib, which is Raw compressed |
//! | `hextile` | Hextile |
//! | `tight`, `jpeg` | Tight |
//! | `zrle` | ZRLE |
//!
//! Pixels are read a rectangle or tile at a time into a buffer that is kept, and turned into wire values there; all
//! that follows compares and sends wire values.

mod hextile;
mod jpeg;
mod raw;
mod tight;
mod zrle;

use crate::damage::Limit;
use crate::deflate::Deflate;
use crate::encodings::{Encoding, Encodings};
use crate::palette::Palette;
use crate::picture::{Picture, read_row};
use crate::pixel_format::PixelFormat;
use crate::rect::Rect;
use crate::wire::{Kind, Wire};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// The largest rectangle that is read at once: 64 KiB, and 64 rows.
const READ_AT_ONCE: Limit = Limit { pixels: 16384, rows: 4 };

/// The largest rectangle that is read tile by tile: a row of ZRLE's tiles, as wide as most screens are. Each rectangle ends
/// the block of the compressor, so many small ones are larger than few.
const READ_BY_TILES: Limit = Limit { pixels: 2048 * 64, rows: 4 };
/// How many times the bytes of other rectangles it may have, where nothing can be compressed.
const TILES_EXPAND: usize = 4;

/// Encodes rectangles for one viewer.
pub(crate) struct Encoder {
    encoding: Encoding,
    wire: Wire,
    /// Compression level, 0 to 9, if the viewer asked for one.
    level: Option<u8>,
    /// JPEG quality level, 0 to 9, if the viewer asked for one and its pixels are large enough.
    quality: Option<u8>,
    deflate: Deflate,
    scratch: Scratch,
}

/// Buffers that are kept.
struct Scratch {
    /// Wire values, row by row.
    pixels: Vec<u32>,
    /// What is to be compressed.
    bytes: Vec<u8>,
    palette: Box<Palette>,
}

impl Encoder {
    /// For what viewers get that ask for nothing.
    pub(crate) fn new() -> Self {
        Self {
            encoding: Encoding::Raw,
            wire: Wire::new(&PixelFormat::OFFERED, Kind::Pixel),
            level: None,
            quality: None,
            deflate: Deflate::default(),
            scratch: Scratch { pixels: Vec::new(), bytes: Vec::new(), palette: Box::new(Palette::new()) },
        }
    }

    /// Does what a viewer asked for from now on.
    pub(crate) fn configure(&mut self, format: &PixelFormat, encodings: &Encodings) {
        self.encoding = encodings.preferred();
        let kind = match self.encoding {
            Encoding::Raw | Encoding::Hextile | Encoding::Zlib => Kind::Pixel,
            Encoding::Tight => Kind::Tight,
            Encoding::Zrle => Kind::Compressed,
        };
        self.wire = Wire::new(format, kind);
        self.level = encodings.compression;
        self.quality = encodings.quality.filter(|_| format.bytes > 1);
    }

    /// How large a rectangle may be that is encoded at once, where `bytes` may be sent.
    pub(crate) fn limit(&self, bytes: usize) -> Limit {
        let (most, bytes) = match self.encoding {
            Encoding::Raw | Encoding::Hextile | Encoding::Zlib | Encoding::Tight => (READ_AT_ONCE, bytes),
            Encoding::Zrle => (READ_BY_TILES, bytes.saturating_mul(TILES_EXPAND)),
        };
        Limit { pixels: bytes.checked_div(self.wire.bytes()).unwrap_or(0).min(most.pixels), ..most }
    }

    /// Appends a rectangle within [`Self::limit`].
    pub(crate) fn encode(&mut self, picture: &dyn Picture, rect: &Rect, out: &mut Vec<u8>) {
        let Self { encoding, wire, level, quality, deflate, scratch } = self;
        crate::pseudo::put_head(rect, encoding.number(), out);
        match encoding {
            Encoding::Raw => {
                scratch.read(picture, rect, wire);
                wire.put(&scratch.pixels, out);
            }
            Encoding::Zlib => {
                scratch.read(picture, rect, wire);
                raw::put_compressed(scratch, wire, deflate, *level, out);
            }
            Encoding::Hextile => {
                scratch.read(picture, rect, wire);
                hextile::put(&scratch.pixels, rect, wire, out);
            }
            Encoding::Tight => {
                scratch.read(picture, rect, wire);
                let photo = tight::put(scratch, rect, wire, deflate, (*level, quality.is_some()), out);
                if let (tight::Photo::Wanted, Some(quality)) = (photo, quality) {
                    scratch.read_rgb(picture, rect);
                    jpeg::put(&scratch.bytes, rect, *quality, out);
                }
            }
            Encoding::Zrle => zrle::put(picture, rect, scratch, wire, deflate, *level, out),
        }
    }
}

impl Scratch {
    /// Reads a rectangle as wire values.
    fn read(&mut self, picture: &dyn Picture, rect: &Rect, wire: &Wire) {
        self.read_plain(picture, rect);
        wire.translate(&mut self.pixels);
    }

    /// Reads a rectangle as bytes red, green and blue.
    fn read_rgb(&mut self, picture: &dyn Picture, rect: &Rect) {
        self.read_plain(picture, rect);
        self.bytes.clear();
        for pixel in &self.pixels {
            let [_, r, g, b] = pixel.to_be_bytes();
            self.bytes.extend([r, g, b]);
        }
    }

    fn read_plain(&mut self, picture: &dyn Picture, rect: &Rect) {
        self.pixels.resize(rect.area(), 0);
        for (row, y) in self.pixels.chunks_mut(usize::from(rect.width).max(1)).zip(rect.y..) {
            read_row(picture, rect.x, y, row);
        }
    }
}
