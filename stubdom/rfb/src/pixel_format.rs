//! How a viewer wants its pixels.
//!
//! Source: RFC 6143 section 7.4; rfbproto.rst, ZRLE Encoding (CPIXEL) and Tight Encoding (TPIXEL).
//! Not modelled: colour maps of more than eight bits. Those of eight bits get a fixed map, see [`PixelFormat::MAPPED`].

use crate::bytes::{Fields, PutFields};
use crate::error::ProtocolError;
use alloc::vec::Vec;

/// One of the three primary colours in a pixel value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Channel {
    /// The largest intensity, red-max and the like: one less than a power of two.
    pub(crate) max: u16,
    /// Bit number of the lowest bit, red-shift and the like.
    pub(crate) shift: u8,
}

impl Channel {
    /// Its bits in a pixel value.
    pub(crate) fn mask(self) -> u32 {
        u32::from(self.max).wrapping_shl(self.shift.into())
    }

    /// The bits of an intensity of 0 to 255 in a pixel value.
    pub(crate) fn place(self, intensity: u8) -> u32 {
        let scaled = u32::from(intensity).saturating_mul(self.max.into()).saturating_add(127).wrapping_div(255);
        scaled.wrapping_shl(self.shift.into())
    }
}

/// PIXEL_FORMAT, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PixelFormat {
    /// Bytes of a pixel: bits-per-pixel by eight.
    pub(crate) bytes: u8,
    /// Useful bits of a pixel, as the viewer counts them.
    pub(crate) depth: u8,
    /// big-endian-flag.
    pub(crate) big_endian: bool,
    /// Not true-colour-flag: pixel values are indices.
    pub(crate) mapped: bool,
    /// Red, green and blue.
    pub(crate) channels: [Channel; 3],
}

impl PixelFormat {
    /// What we offer: that of pictures.
    pub(crate) const OFFERED: Self = Self {
        bytes: 4,
        depth: 24,
        big_endian: false,
        mapped: false,
        channels: [Channel { max: 255, shift: 16 }, Channel { max: 255, shift: 8 }, Channel { max: 255, shift: 0 }],
    };

    /// The colour map: an index has three bits of red (lowest), three of green and two of blue.
    const MAPPED: [Channel; 3] =
        [Channel { max: 7, shift: 0 }, Channel { max: 7, shift: 3 }, Channel { max: 3, shift: 6 }];

    /// Decodes and checks a PIXEL_FORMAT.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let mut fields = Fields(bytes);
        let (bits, depth, big_endian, true_colour) = (fields.u8(), fields.u8(), fields.u8() != 0, fields.u8() != 0);
        let max = [fields.u16(), fields.u16(), fields.u16()];
        let shift = [fields.u8(), fields.u8(), fields.u8()];
        let (bytes, mapped) = match (bits, true_colour) {
            (8, false) => return Ok(Self { bytes: 1, depth, big_endian, mapped: true, channels: Self::MAPPED }),
            (8, true) => (1, false),
            (16, true) => (2, false),
            (32, true) => (4, false),
            _ => return Err(ProtocolError::PixelFormat),
        };
        let [r, g, b] = max;
        let [rs, gs, bs] = shift;
        let channels = [(r, rs), (g, gs), (b, bs)].map(|(max, shift)| Channel { max, shift });
        let mut used = 0_u64;
        for channel in channels {
            let possible = channel.max != 0 && channel.max & channel.max.wrapping_add(1) == 0 && channel.shift < bits;
            let mask = u64::from(channel.max).wrapping_shl(channel.shift.into());
            if !possible || mask.wrapping_shr(bits.into()) != 0 || mask & used != 0 {
                return Err(ProtocolError::PixelFormat);
            }
            used |= mask;
        }
        Ok(Self { bytes, depth, big_endian, mapped, channels })
    }

    /// Appends a PIXEL_FORMAT.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let Self { bytes, depth, big_endian, mapped, channels } = self;
        out.extend([bytes.saturating_mul(8), *depth, u8::from(*big_endian), u8::from(!mapped)]);
        channels.iter().for_each(|channel| out.put_u16(channel.max));
        out.extend(channels.iter().map(|channel| channel.shift));
        out.extend([0; 3]);
    }

    /// Appends SetColourMapEntries for the fixed map, RFC 6143 section 7.6.2.
    pub(crate) fn encode_map(out: &mut Vec<u8>) {
        out.extend([1, 0]);
        out.put_u16(0);
        out.put_u16(256);
        for index in 0..=255_u16 {
            for Channel { max, shift } in Self::MAPPED {
                let intensity = u32::from(index.wrapping_shr(shift.into()) & max);
                let scaled = intensity.saturating_mul(u16::MAX.into()).checked_div(max.into()).unwrap_or(0);
                out.put_u16(u16::try_from(scaled).unwrap_or(u16::MAX));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(format: &PixelFormat) -> Vec<u8> {
        let mut bytes = Vec::new();
        format.encode(&mut bytes);
        bytes
    }

    #[test]
    fn what_is_offered_decodes_to_itself() {
        let bytes = encoded(&PixelFormat::OFFERED);
        assert_eq!(bytes, [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]);
        assert_eq!(PixelFormat::decode(&bytes), Ok(PixelFormat::OFFERED));
    }

    #[test]
    fn formats_that_cannot_be_are_refused() {
        let good = encoded(&PixelFormat::OFFERED);
        let cases: &[(usize, u8)] = &[
            (0, 24),  // bits-per-pixel
            (0, 0),   // bits-per-pixel
            (3, 0),   // a colour map of 32 bits
            (5, 254), // red-max is no 2^n - 1
            (5, 0),   // red-max is 0
            (10, 25), // red reaches beyond the pixel
            (10, 255),
            (10, 15), // red overlaps green
        ];
        for &(at, value) in cases {
            let mut bytes = good.clone();
            bytes[at] = value;
            assert_eq!(PixelFormat::decode(&bytes), Err(ProtocolError::PixelFormat), "{at} {value}");
        }
    }

    #[test]
    fn the_map_goes_from_black_to_white() {
        let mut out = Vec::new();
        PixelFormat::encode_map(&mut out);
        assert_eq!(out.len(), 6 + 256 * 6);
        assert_eq!(out[..12], [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(out[out.len() - 6..], [0xff; 6]);
    }
}
