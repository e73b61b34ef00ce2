//! A viewer, written from the standards and without the server's code.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush};

/// PIXEL_FORMAT.
#[derive(Clone, Copy)]
pub(super) struct Format {
    pub(super) bits: u8,
    pub(super) depth: u8,
    pub(super) big_endian: bool,
    pub(super) true_colour: bool,
    pub(super) max: [u16; 3],
    pub(super) shift: [u8; 3],
}

impl Format {
    pub(super) const OFFERED: Self =
        Self { bits: 32, depth: 24, big_endian: false, true_colour: true, max: [255; 3], shift: [16, 8, 0] };

    /// SetPixelFormat.
    pub(super) fn message(&self) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 0, self.bits, self.depth, self.big_endian.into(), self.true_colour.into()];
        self.max.iter().for_each(|max| bytes.extend(max.to_be_bytes()));
        bytes.extend(self.shift);
        bytes.extend([0; 3]);
        bytes
    }

    /// The pixel value of a colour.
    pub(super) fn value(&self, rgb: u32) -> u32 {
        let (max, shift) = if self.true_colour { (self.max, self.shift) } else { ([7, 7, 3], [0, 3, 6]) };
        (0..3).fold(0, |value, i| {
            let intensity = rgb >> (16 - 8 * i) & 255;
            let scaled = (f64::from(intensity) * f64::from(max[i as usize]) / 255.0 + 0.499_999) as u32;
            value | scaled << shift[i as usize]
        })
    }

    fn bytes(&self) -> usize {
        usize::from(self.bits / 8)
    }

    fn mask(&self) -> u32 {
        (0..3).fold(0, |mask, i| mask | u32::from(self.max[i]) << self.shift[i])
    }

    /// Which bytes of a CPIXEL there are: none, the lowest three or the highest three.
    fn compressed(&self) -> Option<u32> {
        let fits = self.true_colour && self.bits == 32 && self.depth <= 24;
        match self.mask() {
            mask if fits && mask < 1 << 24 => Some(0),
            mask if fits && mask & 0xff == 0 => Some(8),
            _ => None,
        }
    }
}

/// Something that the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// x, y, width, height and encoding of each rectangle.
    Update(Vec<([u16; 4], i32)>),
    Fence(u32, Vec<u8>),
    EndOfContinuousUpdates,
    ColourMap(Vec<u16>),
}

/// Bytes that are read one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    fn pixel(&mut self, format: &Format) -> u32 {
        let mut bytes = self.take(format.bytes()).to_vec();
        if format.big_endian {
            bytes.reverse();
        }
        bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
    }

    fn cpixel(&mut self, format: &Format) -> u32 {
        let Some(shift) = format.compressed() else { return self.pixel(format) };
        let [a, b, c] = self.take(3).try_into().unwrap();
        let bytes = if format.big_endian { [0, a, b, c] } else { [0, c, b, a] };
        u32::from_be_bytes(bytes) << shift
    }

    fn tpixel(&mut self, format: &Format) -> u32 {
        if !(format.true_colour && format.bits == 32 && format.depth == 24 && format.max == [255; 3]) {
            return self.pixel(format);
        }
        let rgb = self.take(3);
        (0..3).fold(0, |value, i| value | u32::from(rgb[i]) << format.shift[i])
    }

    fn compact_length(&mut self) -> usize {
        let mut length = 0;
        for shift in [0, 7, 14] {
            let byte = usize::from(self.u8());
            length |= if shift == 14 { byte << 14 } else { (byte & 0x7f) << shift };
            if byte & 0x80 == 0 {
                break;
            }
        }
        length
    }

    fn run_length(&mut self) -> usize {
        let mut length = 1;
        loop {
            let byte = self.u8();
            length += usize::from(byte);
            if byte != 255 {
                return length;
            }
        }
    }
}

/// A zlib stream.
struct Stream(Box<InflateState>);

impl Stream {
    fn new() -> Self {
        Self(InflateState::new_boxed(DataFormat::Zlib))
    }

    fn inflate(&mut self, mut data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut buffer = vec![0; 65536];
        loop {
            let result = inflate(&mut self.0, data, &mut buffer, MZFlush::Sync);
            out.extend_from_slice(&buffer[..result.bytes_written]);
            data = &data[result.bytes_consumed..];
            if result.status.is_err() || result.bytes_written < buffer.len() && data.is_empty() {
                assert!(data.is_empty(), "{:?}", result.status);
                return out;
            }
        }
    }
}

/// The viewer.
pub(super) struct Viewer {
    pub(super) size: (u16, u16),
    pub(super) name: Vec<u8>,
    pub(super) format: Format,
    /// Pixel values.
    pub(super) pixels: Vec<u32>,
    pub(super) seen: Vec<Seen>,
    /// Sizes, hotspots, pixel values and masks of pointers.
    pub(super) pointers: Vec<([u16; 4], Vec<u32>, Vec<u8>)>,
    pub(super) leds: Vec<u8>,
    pub(super) photos: usize,
    zlib: Stream,
    zrle: Stream,
    tight: [Stream; 4],
}

impl Viewer {
    /// From a ServerInit.
    pub(super) fn new(init: &[u8]) -> Self {
        let mut reader = Reader(init);
        let size = (reader.u16(), reader.u16());
        let format = Format::OFFERED;
        assert_eq!(reader.take(16), &format.message()[4..]);
        let length = reader.u32();
        let name = reader.take(length as usize).to_vec();
        assert!(reader.0.is_empty());
        let mut viewer = Self {
            size,
            name,
            format,
            pixels: Vec::new(),
            seen: Vec::new(),
            pointers: Vec::new(),
            leds: Vec::new(),
            photos: 0,
            zlib: Stream::new(),
            zrle: Stream::new(),
            tight: [(); 4].map(|()| Stream::new()),
        };
        viewer.resize(size);
        viewer
    }

    /// Reads whole messages.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let mut reader = Reader(bytes);
        while !reader.0.is_empty() {
            let seen = match reader.u8() {
                0 => {
                    reader.take(1);
                    let count = reader.u16();
                    Seen::Update((0..count).map(|_| self.rectangle(&mut reader)).collect())
                }
                1 => {
                    reader.take(1);
                    assert_eq!(reader.u16(), 0);
                    let count = reader.u16();
                    Seen::ColourMap((0..count * 3).map(|_| reader.u16()).collect())
                }
                150 => Seen::EndOfContinuousUpdates,
                248 => {
                    reader.take(3);
                    let (flags, length) = (reader.u32(), reader.u8());
                    Seen::Fence(flags, reader.take(length.into()).to_vec())
                }
                other => panic!("message {other}"),
            };
            self.seen.push(seen);
        }
    }

    /// Whether this is what it should show of a picture of 0x00RRGGBB pixels.
    pub(super) fn shows(&self, screen: &super::Screen) -> bool {
        (screen.width, screen.height) == self.size
            && screen.pixels.iter().zip(&self.pixels).all(|(rgb, value)| self.format.value(*rgb) == *value)
    }

    /// The encodings of all rectangles since the last call.
    pub(super) fn encodings(&mut self) -> Vec<i32> {
        let seen = core::mem::take(&mut self.seen);
        let updates = seen.into_iter().filter_map(|seen| if let Seen::Update(list) = seen { Some(list) } else { None });
        updates.flatten().map(|(_, encoding)| encoding).collect()
    }

    fn resize(&mut self, size: (u16, u16)) {
        self.size = size;
        self.pixels = vec![0xdead_beef; usize::from(size.0) * usize::from(size.1)];
    }

    fn rectangle(&mut self, reader: &mut Reader<'_>) -> ([u16; 4], i32) {
        let rect @ [x, y, width, height] = [reader.u16(), reader.u16(), reader.u16(), reader.u16()];
        let encoding = reader.u32() as i32;
        let format = self.format;
        if encoding >= 0 {
            assert!(x + width <= self.size.0 && y + height <= self.size.1 && width > 0 && height > 0, "{rect:?}");
        }
        let area = usize::from(width) * usize::from(height);
        let pixels = match encoding {
            0 => (0..area).map(|_| reader.pixel(&format)).collect(),
            1 => {
                let (from_x, from_y) = (reader.u16(), reader.u16());
                self.part(from_x, from_y, width, height)
            }
            5 => hextile(reader, &format, width.into(), height.into()),
            6 => {
                let length = reader.u32();
                let data = self.zlib.inflate(reader.take(length as usize));
                let mut data = Reader(&data);
                let pixels = (0..area).map(|_| data.pixel(&format)).collect();
                assert!(data.0.is_empty());
                pixels
            }
            7 => self.tight(reader, width.into(), area),
            16 => {
                let length = reader.u32();
                let data = self.zrle.inflate(reader.take(length as usize));
                let mut data = Reader(&data);
                let pixels = zrle(&mut data, &format, width.into(), height.into());
                assert!(data.0.is_empty());
                pixels
            }
            -223 => {
                self.resize((width, height));
                return (rect, encoding);
            }
            -239 => {
                let pixels = (0..area).map(|_| reader.pixel(&format)).collect();
                let mask = reader.take(usize::from(width).div_ceil(8) * usize::from(height)).to_vec();
                self.pointers.push((rect, pixels, mask));
                return (rect, encoding);
            }
            -257 | -258 | -316 => return (rect, encoding),
            -261 => {
                self.leds.push(reader.u8());
                return (rect, encoding);
            }
            -308 => {
                assert_eq!(reader.take(4)[0], 1);
                let screen = reader.take(16);
                assert_eq!(screen[8..12], [width.to_be_bytes(), height.to_be_bytes()].concat());
                if (width, height) != self.size {
                    self.resize((width, height));
                }
                return (rect, encoding);
            }
            other => panic!("encoding {other}"),
        };
        self.paint(rect, &pixels);
        (rect, encoding)
    }

    fn paint(&mut self, [x, y, width, height]: [u16; 4], pixels: &[u32]) {
        assert_eq!(pixels.len(), usize::from(width) * usize::from(height));
        for (row, line) in pixels.chunks(width.into()).enumerate() {
            let start = (usize::from(y) + row) * usize::from(self.size.0) + usize::from(x);
            self.pixels[start..start + line.len()].copy_from_slice(line);
        }
    }

    fn part(&self, x: u16, y: u16, width: u16, height: u16) -> Vec<u32> {
        assert!(x + width <= self.size.0 && y + height <= self.size.1);
        let row = |row: u16| {
            let start = usize::from(row) * usize::from(self.size.0) + usize::from(x);
            self.pixels[start..start + usize::from(width)].to_vec()
        };
        (y..y + height).flat_map(row).collect()
    }

    fn tight(&mut self, reader: &mut Reader<'_>, width: usize, area: usize) -> Vec<u32> {
        let format = self.format;
        let control = reader.u8();
        assert!(width <= 2048);
        for (bit, stream) in self.tight.iter_mut().enumerate() {
            if control & 1 << bit != 0 {
                *stream = Stream::new();
            }
        }
        match control >> 4 {
            8 => vec![reader.tpixel(&format); area],
            9 => {
                assert!(format.bits > 8);
                self.photos += 1;
                let length = reader.compact_length();
                let mut decoder = jpeg_decoder::Decoder::new(reader.take(length));
                let rgb = decoder.decode().unwrap();
                assert_eq!(rgb.len(), area * 3);
                let value = |rgb: &[u8]| format.value(u32::from_be_bytes([0, rgb[0], rgb[1], rgb[2]]));
                rgb.chunks(3).map(value).collect()
            }
            basic => {
                assert!(basic < 8);
                let filter = if basic & 4 != 0 { reader.u8() } else { 0 };
                let rows = area / width;
                let tpixel =
                    if format.bits == 32 && format.depth == 24 && format.max == [255; 3] { 3 } else { format.bytes() };
                let (palette, length) = match filter {
                    0 => (vec![], area * tpixel),
                    1 => {
                        let count = usize::from(reader.u8()) + 1;
                        assert!(count > 1);
                        let palette: Vec<u32> = (0..count).map(|_| reader.tpixel(&format)).collect();
                        (palette, if count == 2 { width.div_ceil(8) * rows } else { area })
                    }
                    other => panic!("filter {other}"),
                };
                let data = if length < 12 {
                    reader.take(length).to_vec()
                } else {
                    let compressed = reader.compact_length();
                    self.tight[usize::from(basic & 3)].inflate(reader.take(compressed))
                };
                assert_eq!(data.len(), length);
                match palette.len() {
                    0 => {
                        let mut data = Reader(&data);
                        (0..area).map(|_| data.tpixel(&format)).collect()
                    }
                    2 => {
                        let bit =
                            |i: usize| data[i / width * width.div_ceil(8) + i % width / 8] >> (7 - i % width % 8) & 1;
                        (0..area).map(|i| palette[usize::from(bit(i))]).collect()
                    }
                    _ => data.iter().map(|index| palette[usize::from(*index)]).collect(),
                }
            }
        }
    }
}

fn hextile(reader: &mut Reader<'_>, format: &Format, width: usize, height: usize) -> Vec<u32> {
    let mut pixels = vec![0; width * height];
    let (mut background, mut foreground) = (None, None);
    for top in (0..height).step_by(16) {
        for left in (0..width).step_by(16) {
            let (w, h) = ((width - left).min(16), (height - top).min(16));
            let mut put = |x: usize, y: usize, colour: u32| pixels[(top + y) * width + left + x] = colour;
            let mask = reader.u8();
            assert!(mask < 32);
            if mask & 1 != 0 {
                (0..w * h).for_each(|i| put(i % w, i / w, reader.pixel(format)));
                (background, foreground) = (None, None);
                continue;
            }
            if mask & 2 != 0 {
                background = Some(reader.pixel(format));
            }
            if mask & 4 != 0 {
                foreground = Some(reader.pixel(format));
            }
            (0..w * h).for_each(|i| put(i % w, i / w, background.unwrap()));
            let count = if mask & 8 != 0 { reader.u8() } else { 0 };
            for _ in 0..count {
                let colour = if mask & 16 != 0 { reader.pixel(format) } else { foreground.unwrap() };
                let (place, size) = (usize::from(reader.u8()), usize::from(reader.u8()));
                let (x, y, columns, rows) = (place >> 4, place & 15, (size >> 4) + 1, (size & 15) + 1);
                assert!(x + columns <= w && y + rows <= h);
                (0..columns * rows).for_each(|i| put(x + i % columns, y + i / columns, colour));
            }
            if mask & 16 != 0 {
                foreground = None;
            }
        }
    }
    pixels
}

fn zrle(reader: &mut Reader<'_>, format: &Format, width: usize, height: usize) -> Vec<u32> {
    let mut pixels = vec![0; width * height];
    for top in (0..height).step_by(64) {
        for left in (0..width).step_by(64) {
            let (w, h) = ((width - left).min(64), (height - top).min(64));
            let tile = zrle_tile(reader, format, w, h);
            assert_eq!(tile.len(), w * h);
            for (i, pixel) in tile.into_iter().enumerate() {
                pixels[(top + i / w) * width + left + i % w] = pixel;
            }
        }
    }
    pixels
}

fn zrle_tile(reader: &mut Reader<'_>, format: &Format, width: usize, height: usize) -> Vec<u32> {
    let area = width * height;
    let kind = usize::from(reader.u8());
    let mut tile = Vec::new();
    if kind == 0 {
        return (0..area).map(|_| reader.cpixel(format)).collect();
    }
    if kind == 128 {
        while tile.len() < area {
            let colour = reader.cpixel(format);
            tile.extend(core::iter::repeat_n(colour, reader.run_length()));
        }
        return tile;
    }
    assert!((1..=16).contains(&kind) || kind >= 130, "{kind}");
    let palette: Vec<u32> = (0..kind & 127).map(|_| reader.cpixel(format)).collect();
    match kind {
        1 => vec![palette[0]; area],
        2..=16 => {
            let bits = match kind {
                2 => 1,
                3..=4 => 2,
                _ => 4,
            };
            for _ in 0..height {
                let row = reader.take((width * bits).div_ceil(8));
                let index = |i: usize| row[i * bits / 8] >> (8 - bits - i * bits % 8) & ((1 << bits) - 1);
                tile.extend((0..width).map(|i| palette[usize::from(index(i))]));
            }
            tile
        }
        _ => {
            while tile.len() < area {
                let index = usize::from(reader.u8());
                let length = if index & 128 != 0 { reader.run_length() } else { 1 };
                tile.extend(core::iter::repeat_n(palette[index & 127], length));
            }
            tile
        }
    }
}
