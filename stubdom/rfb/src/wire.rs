//! Pixels as they are sent.
//!
//! A wire value holds the bytes of a pixel in the order in which they are sent, the first one lowest. Byte order,
//! CPIXEL and TPIXEL are nothing but places of bits, so one table for each primary colour covers them all.

use crate::pixel_format::PixelFormat;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Which pixels an encoding has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// PIXEL, RFC 6143 section 7.4.
    Pixel,
    /// CPIXEL, RFC 6143 section 7.7.6.
    Compressed,
    /// TPIXEL, rfbproto.rst, Tight Encoding.
    Tight,
}

/// How pixels of a picture become wire values.
pub(crate) struct Wire {
    /// Wire values of red, green and blue.
    tables: Box<[[u32; 256]; 3]>,
    /// Bytes of a pixel, 1 to 4.
    bytes: usize,
    /// A wire value is the pixel itself.
    same: bool,
}

impl Wire {
    /// For pixels of a kind.
    pub(crate) fn new(format: &PixelFormat, kind: Kind) -> Self {
        let full = u32::from(format.bytes).saturating_mul(8);
        let used = format.channels.iter().fold(0, |mask, channel| mask | channel.mask());
        let three_of_four = !format.mapped && format.bytes == 4;
        let rgb888 = three_of_four && format.depth == 24 && format.channels.iter().all(|channel| channel.max == 255);
        let (low, high) = (used & 0xff00_0000 == 0, used & 0xff == 0);
        // Where the bits of a pixel value go.
        let pixel = |value: u32| {
            if format.big_endian { value.swap_bytes().wrapping_shr(32_u32.saturating_sub(full)) } else { value }
        };
        let mut tables = Box::new([[0; 256]; 3]);
        let mut bytes = usize::from(format.bytes);
        let mut fill = |place: &dyn Fn(usize, u8) -> u32| {
            for (primary, table) in tables.iter_mut().enumerate() {
                (0..=255).zip(table).for_each(|(intensity, value)| *value = place(primary, intensity));
            }
        };
        let channel = |primary: usize, intensity| format.channels.get(primary).map_or(0, |c| c.place(intensity));
        match kind {
            Kind::Tight if rgb888 => {
                bytes = 3;
                fill(&|primary, intensity| {
                    let shift = u32::try_from(primary).unwrap_or(0).saturating_mul(8);
                    u32::from(intensity).wrapping_shl(shift)
                });
            }
            Kind::Compressed if three_of_four && format.depth <= 24 && (low || high) => {
                bytes = 3;
                // The unused byte is the last one sent where it is the highest of a little-endian value.
                let last = low != format.big_endian;
                fill(&|primary, intensity| pixel(channel(primary, intensity)).wrapping_shr(if last { 0 } else { 8 }));
            }
            _ => fill(&|primary, intensity| pixel(channel(primary, intensity))),
        }
        let same = tables.iter().zip([16, 8, 0]).all(|(table, shift)| {
            table.iter().zip(0_u32..).all(|(value, intensity)| *value == intensity.wrapping_shl(shift))
        });
        Self { tables, bytes, same }
    }

    /// Bytes of a pixel.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Turns pixels of a picture into wire values.
    pub(crate) fn translate(&self, pixels: &mut [u32]) {
        if self.same {
            pixels.iter_mut().for_each(|pixel| *pixel &= 0x00ff_ffff);
        } else {
            pixels.iter_mut().for_each(|pixel| *pixel = self.value(*pixel));
        }
    }

    /// Appends wire values.
    pub(crate) fn put(&self, values: &[u32], out: &mut Vec<u8>) {
        match self.bytes {
            1 => put_as(values, out, |[a, _, _, _]| [a]),
            2 => put_as(values, out, |[a, b, _, _]| [a, b]),
            3 => put_as(values, out, |[a, b, c, _]| [a, b, c]),
            _ => put_as(values, out, |value| value),
        }
    }

    fn value(&self, pixel: u32) -> u32 {
        let [b, g, r, _] = pixel.to_le_bytes();
        let [red, green, blue] = &*self.tables;
        let part = |table: &[u32; 256], intensity: u8| table.get(usize::from(intensity)).copied().unwrap_or(0);
        part(red, r) | part(green, g) | part(blue, b)
    }
}

fn put_as<const N: usize>(values: &[u32], out: &mut Vec<u8>, bytes: impl Fn([u8; 4]) -> [u8; N]) {
    let start = out.len();
    out.resize(start.saturating_add(values.len().saturating_mul(N)), 0);
    let (places, _) = out.get_mut(start..).unwrap_or_default().as_chunks_mut::<N>();
    places.iter_mut().zip(values).for_each(|(place, value)| *place = bytes(value.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixel_format::Channel;
    use alloc::vec;

    fn sent(format: &PixelFormat, kind: Kind) -> Vec<u8> {
        let wire = Wire::new(format, kind);
        let mut pixels = vec![0xff11_2233];
        wire.translate(&mut pixels);
        let mut out = Vec::new();
        wire.put(&pixels, &mut out);
        assert_eq!(out.len(), wire.bytes());
        out
    }

    fn rgb888(shifts: [u8; 3], big_endian: bool, depth: u8) -> PixelFormat {
        let channels = shifts.map(|shift| Channel { max: 255, shift });
        PixelFormat { bytes: 4, depth, big_endian, mapped: false, channels }
    }

    #[test]
    fn bytes_are_sent_in_the_order_of_the_format() {
        let cases: &[([u8; 3], bool, [u8; 4])] = &[
            ([16, 8, 0], false, [0x33, 0x22, 0x11, 0]),
            ([16, 8, 0], true, [0, 0x11, 0x22, 0x33]),
            ([0, 8, 16], false, [0x11, 0x22, 0x33, 0]),
            ([24, 16, 8], false, [0, 0x33, 0x22, 0x11]),
            ([24, 16, 8], true, [0x11, 0x22, 0x33, 0]),
        ];
        for (shifts, big_endian, bytes) in cases {
            let format = rgb888(*shifts, *big_endian, 24);
            assert_eq!(sent(&format, Kind::Pixel), bytes);
            let three: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
            assert_eq!(sent(&format, Kind::Compressed), three);
            assert_eq!(sent(&format, Kind::Tight), [0x11, 0x22, 0x33]);
        }
    }

    #[test]
    fn only_depths_up_to_24_lose_a_byte() {
        let format = rgb888([16, 8, 0], false, 32);
        assert_eq!(sent(&format, Kind::Compressed).len(), 4);
        assert_eq!(sent(&format, Kind::Tight).len(), 4);
    }

    #[test]
    fn sixteen_bits_are_565() {
        let channels = [Channel { max: 31, shift: 11 }, Channel { max: 63, shift: 5 }, Channel { max: 31, shift: 0 }];
        let format = PixelFormat { bytes: 2, depth: 16, big_endian: true, mapped: false, channels };
        let value = 2_u16 << 11 | 8 << 5 | 6;
        assert_eq!(sent(&format, Kind::Pixel), value.to_be_bytes());
        assert_eq!(sent(&format, Kind::Compressed), value.to_be_bytes());
    }
}
