//! Zlib encoding: the pixels of Raw, compressed.
//!
//! Source: RFC 6143 section 7.7.1; rfbproto.rst, zlib Encoding.

use super::Scratch;
use crate::bytes::{PutFields, overwrite};
use crate::deflate::{Deflate, Stream};
use crate::wire::Wire;
use alloc::vec::Vec;

/// Appends the length, and the compressed pixels.
pub(super) fn put_compressed(
    scratch: &mut Scratch,
    wire: &Wire,
    deflate: &mut Deflate,
    level: Option<u8>,
    out: &mut Vec<u8>,
) {
    scratch.bytes.clear();
    wire.put(&scratch.pixels, &mut scratch.bytes);
    put_with_length(out, |out| {
        deflate.resume(Stream::Zlib, level, out);
        deflate.flush(&scratch.bytes, out);
    });
}

/// Appends what `put` does, behind its length in four bytes.
pub(super) fn put_with_length(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.put_u32(0);
    let start = out.len();
    put(out);
    let length = u32::try_from(out.len().saturating_sub(start)).unwrap_or(0);
    overwrite(out, at, &length.to_be_bytes());
}
