//! The zlib streams of a connection.
//!
//! Zlib, Tight and ZRLE have a stream each that lasts as long as the connection, and is flushed after every rectangle.
//! There is one compressor (320 KiB) for all of them: when another encoding is used, it starts anew, and the stream
//! goes on with blocks that refer to nothing before. After a flush, viewers cannot tell.
//!
//! Source: RFC 1950, RFC 1951; RFC 6143 section 7.7.6; rfbproto.rst, zlib Encoding and Tight Encoding.
//! Quirk: streams have no end, so the checksum that would be there is not computed.

use alloc::boxed::Box;
use alloc::vec::Vec;
use miniz_oxide::DataFormat;
use miniz_oxide::deflate::core::{CompressorOxide, TDEFLFlush, TDEFLStatus, compress_to_output};

/// CMF and FLG: a window of 32 KiB, the fastest algorithm.
const HEADER: [u8; 2] = [0x78, 0x01];

/// The levels of the compressor for viewers that ask for none: where it is faster than libvncserver is at its own, and leaves no
/// more (`cargo xtask bench --encoders`). Both are greedy.
const TIGHT_LEVEL: u8 = 2;
const DEFAULT_LEVEL: u8 = 3;

/// The highest level of the compressor that viewers get: higher ones take much more time for little.
const HIGHEST_LEVEL: u8 = 6;

/// The streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// That of Zlib.
    Zlib,
    /// Stream 0 of Tight, the only one that we use there.
    Tight,
    /// That of ZRLE.
    Zrle,
}

/// The compressor, and how far the streams are.
#[derive(Default)]
pub(crate) struct Deflate {
    compressor: Option<Compressor>,
    /// Streams that have their header.
    begun: Vec<Stream>,
}

struct Compressor {
    inner: Box<CompressorOxide>,
    stream: Stream,
    level: u8,
}

impl Deflate {
    /// Continues a stream: what is written from now on is for it. `level` is what the viewer asked for, 0 to 9.
    pub(crate) fn resume(&mut self, stream: Stream, level: Option<u8>, out: &mut Vec<u8>) {
        let default = if stream == Stream::Tight { TIGHT_LEVEL } else { DEFAULT_LEVEL };
        let level = level.map_or(default, |level| level.clamp(1, HIGHEST_LEVEL));
        if !self.compressor.as_ref().is_some_and(|current| current.stream == stream && current.level == level) {
            // The old one goes first: there is no room for two.
            self.compressor = None;
            // Built in its box: it is too large for the stack.
            let mut inner = Box::<CompressorOxide>::default();
            inner.set_format_and_level(DataFormat::Raw, level);
            self.compressor = Some(Compressor { inner, stream, level });
        }
        if !self.begun.contains(&stream) {
            self.begun.push(stream);
            out.extend(HEADER);
        }
    }

    /// Compresses `data`. Not all of it comes out at once.
    pub(crate) fn write(&mut self, data: &[u8], out: &mut Vec<u8>) {
        self.compress(data, TDEFLFlush::None, out);
    }

    /// Compresses `data`, and brings out everything that was written.
    pub(crate) fn flush(&mut self, data: &[u8], out: &mut Vec<u8>) {
        self.compress(data, TDEFLFlush::Sync, out);
    }

    fn compress(&mut self, data: &[u8], flush: TDEFLFlush, out: &mut Vec<u8>) {
        let Some(compressor) = &mut self.compressor else { return };
        let (status, taken) = compress_to_output(&mut compressor.inner, data, flush, |bytes| {
            out.extend_from_slice(bytes);
            true
        });
        // It only fails where its output does.
        debug_assert!(status == TDEFLStatus::Okay && taken == data.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::inflate::stream::{InflateState, inflate};
    use miniz_oxide::{DataFormat, MZFlush};

    #[test]
    fn a_stream_goes_on_after_another_was_used() {
        let mut deflate = Deflate::default();
        let mut viewers =
            [Stream::Zlib, Stream::Zrle].map(|stream| (stream, InflateState::new_boxed(DataFormat::Zlib)));
        for round in 0..20_u8 {
            for (stream, viewer) in &mut viewers {
                let data: Vec<u8> = (0..2000_u32).map(|i| (i * i / 7) as u8 ^ round).collect();
                let mut out = Vec::new();
                deflate.resume(*stream, Some(round % 10), &mut out);
                deflate.write(&data[..700], &mut out);
                deflate.flush(&data[700..], &mut out);
                let mut back = alloc::vec![0; 3000];
                let result = inflate(viewer, &out, &mut back, MZFlush::Sync);
                assert_eq!((result.bytes_consumed, &back[..result.bytes_written]), (out.len(), &*data));
            }
        }
    }
}
