//! JPEG rectangles of Tight.
//!
//! Source: rfbproto.rst, Tight Encoding and JPEG Quality Level Pseudo-encoding.

use super::tight::put_with_length;
use crate::rect::Rect;
use alloc::vec::Vec;
use jpeg_encoder::{ColorType, Encoder};

/// compression-control: JpegCompression.
const JPEG: u8 = 0x90;

/// What the quality levels 0 to 9 mean to an encoder, in percent: as in other servers.
const QUALITY: [u8; 10] = [15, 29, 41, 42, 62, 77, 79, 86, 92, 100];

/// Appends a rectangle of bytes red, green and blue.
pub(super) fn put(rgb: &[u8], rect: &Rect, quality: u8, out: &mut Vec<u8>) {
    out.push(JPEG);
    let quality = QUALITY.get(usize::from(quality)).copied().unwrap_or(100);
    put_with_length(out, |out| {
        let done = Encoder::new(out, quality).encode(rgb, rect.width, rect.height, ColorType::Rgb);
        // It only fails for empty pictures, and for too few bytes.
        debug_assert!(done.is_ok());
    });
}
