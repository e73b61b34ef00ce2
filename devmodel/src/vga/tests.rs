//! Tests of the VGA: registers, the window against a bit by bit reference, pictures, and hostile registers.

use super::*;
use std::cell::Cell;
use std::{env, format, fs};

/// Video memory that knows which pages the guest wrote.
#[derive(Clone)]
pub(super) struct Memory {
    pub(super) bytes: Vec<u8>,
    dirty: Vec<bool>,
    reads: Cell<usize>,
}

impl Memory {
    pub(super) fn new(len: usize) -> Self {
        Self { bytes: vec![0; len], dirty: vec![true; len / 4096], reads: Cell::new(0) }
    }

    /// Writes as the guest does through the mapped aperture.
    pub(super) fn poke(&mut self, at: usize, data: &[u8]) {
        self.bytes[at..at + data.len()].copy_from_slice(data);
        self.dirty[at / 4096..=(at + data.len() - 1) / 4096].fill(true);
    }
}

impl VideoMemory for Memory {
    fn video_read(&self, offset: u32, data: &mut [u8]) {
        self.reads.set(self.reads.get() + data.len());
        let from = self.bytes.get(offset as usize..).unwrap_or(&[]);
        let len = from.len().min(data.len());
        data[..len].copy_from_slice(&from[..len]);
        data[len..].fill(0);
    }

    fn video_write(&mut self, offset: u32, data: &[u8]) {
        let to = self.bytes.get_mut(offset as usize..).unwrap_or(&mut []);
        let len = to.len().min(data.len());
        to[..len].copy_from_slice(&data[..len]);
    }

    fn video_dirty(&mut self, first: u32, bitmap: &mut [u8]) {
        bitmap.fill(0);
        for index in 0..bitmap.len() * 8 {
            if let Some(dirty) = self.dirty.get_mut(first as usize + index) {
                bitmap[index / 8] |= u8::from(core::mem::take(dirty)) << (index % 8);
            }
        }
    }

    fn video_aperture(&mut self, _: Option<crate::host::GuestAddr>) {}
}

/// A surface that shows only what was reported as changed.
#[derive(Clone, Default)]
pub(super) struct Canvas {
    pub(super) width: u32,
    pub(super) height: u32,
    written: Vec<u32>,
    shown: Vec<u32>,
    pub(super) changes: Vec<(u32, u32, u32, u32)>,
}

impl Surface for Canvas {
    fn resize(&mut self, width: u32, height: u32) -> bool {
        assert!(width > 0 && height > 0, "a picture has a size");
        if width * height > 1920 * 1200 {
            return false;
        }
        (self.width, self.height) = (width, height);
        // What a surface holds after this is nobody's business.
        self.written = vec![0xdead_beef; (width * height) as usize];
        self.shown = self.written.clone();
        true
    }

    fn write(&mut self, x: u32, y: u32, pixels: &[u32]) {
        assert!(x as usize + pixels.len() <= self.width as usize && y < self.height, "pixels lie on the surface");
        let at = (y * self.width + x) as usize;
        self.written[at..at + pixels.len()].copy_from_slice(pixels);
    }

    fn changed(&mut self, x: u32, y: u32, width: u32, height: u32) {
        assert!(width > 0 && height > 0 && x + width <= self.width && y + height <= self.height);
        for line in y..y + height {
            let range = (line * self.width + x) as usize..(line * self.width + x + width) as usize;
            self.shown[range.clone()].copy_from_slice(&self.written[range]);
        }
        self.changes.push((x, y, width, height));
    }
}

impl Canvas {
    pub(super) fn pixel(&self, x: u32, y: u32) -> u32 {
        self.shown[(y * self.width + x) as usize]
    }

    pub(super) fn row(&self, y: u32) -> &[u32] {
        &self.shown[(y * self.width) as usize..((y + 1) * self.width) as usize]
    }

    /// Writes the picture to a file, for somebody who wants to look: set `VGA_TEST_PICTURES` to a directory.
    fn dump(&self, name: &str) {
        if let Some(directory) = env::var_os("VGA_TEST_PICTURES") {
            let mut file = format!("P6\n{} {}\n255\n", self.width, self.height).into_bytes();
            file.extend(self.shown.iter().flat_map(|pixel| pixel.to_be_bytes().into_iter().skip(1)));
            fs::write(std::path::Path::new(&directory).join(format!("{name}.ppm")), file).unwrap();
        }
    }
}

/// A card, its memory and its screen.
#[derive(Clone)]
struct Desk {
    vga: Vga,
    memory: Memory,
    canvas: Canvas,
}

/// A mode as a BIOS sets it: the registers of IBM's parameter tables.
struct Mode {
    miscellaneous: u8,
    sequencer: [u8; 4],
    crtc: [u8; 25],
    attribute: [u8; 20],
    graphics: [u8; 9],
}

const EGA_PALETTE: [u8; 16] = [0, 1, 2, 3, 4, 5, 0x14, 7, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f];

const fn attributes(palette: [u8; 16], rest: [u8; 4]) -> [u8; 20] {
    let mut all = [0; 20];
    let mut index = 0;
    while index < 16 {
        all[index] = palette[index];
        index += 1;
    }
    while index < 20 {
        all[index] = rest[index - 16];
        index += 1;
    }
    all
}

const fn linear_palette() -> [u8; 16] {
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
}

/// 80 × 25 characters of 9 × 16 dots.
const MODE_3: Mode = Mode {
    miscellaneous: 0x67,
    sequencer: [0x00, 0x03, 0x00, 0x02],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x28,
        0x1f, 0x96, 0xb9, 0xa3, 0xff,
    ],
    attribute: attributes(EGA_PALETTE, [0x0c, 0x00, 0x0f, 0x08]),
    graphics: [0, 0, 0, 0, 0, 0x10, 0x0e, 0x0f, 0xff],
};
/// 40 × 25 characters.
const MODE_1: Mode = Mode {
    sequencer: [0x08, 0x03, 0x00, 0x02],
    crtc: [
        0x2d, 0x27, 0x28, 0x90, 0x2b, 0xa0, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x14,
        0x1f, 0x96, 0xb9, 0xa3, 0xff,
    ],
    ..MODE_3
};
/// 80 × 25 monochrome characters.
const MODE_7: Mode = Mode {
    miscellaneous: 0x66,
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x28,
        0x0f, 0x96, 0xb9, 0xa3, 0xff,
    ],
    attribute: attributes(
        [0, 8, 8, 8, 8, 8, 8, 8, 0x10, 0x18, 0x18, 0x18, 0x18, 0x18, 0x18, 0x18],
        [0x0e, 0x00, 0x0f, 0x08],
    ),
    graphics: [0, 0, 0, 0, 0, 0x10, 0x0a, 0x0f, 0xff],
    ..MODE_3
};
/// 320 × 200, CGA's four colours.
const MODE_4: Mode = Mode {
    miscellaneous: 0x63,
    sequencer: [0x09, 0x03, 0x00, 0x02],
    crtc: [
        0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0x00, 0xc1, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x14, 0x00,
        0x96, 0xb9, 0xa2, 0xff,
    ],
    attribute: attributes(linear_palette(), [0x01, 0x00, 0x03, 0x00]),
    graphics: [0, 0, 0, 0, 0, 0x30, 0x0f, 0x0f, 0xff],
};
/// 640 × 200, two colours.
const MODE_6: Mode = Mode {
    miscellaneous: 0x63,
    sequencer: [0x01, 0x01, 0x00, 0x06],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0x00, 0xc1, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x28, 0x00,
        0x96, 0xb9, 0xc2, 0xff,
    ],
    attribute: attributes(linear_palette(), [0x01, 0x00, 0x01, 0x00]),
    graphics: [0, 0, 0, 0, 0, 0x00, 0x0d, 0x0f, 0xff],
};
/// 320 × 200, 16 colours.
const MODE_D: Mode = Mode {
    miscellaneous: 0x63,
    sequencer: [0x09, 0x0f, 0x00, 0x06],
    crtc: [
        0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0x00, 0xc0, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x14, 0x00,
        0x96, 0xb9, 0xe3, 0xff,
    ],
    attribute: attributes(linear_palette(), [0x01, 0x00, 0x0f, 0x00]),
    graphics: [0, 0, 0, 0, 0, 0x00, 0x05, 0x0f, 0xff],
};
/// 640 × 480, 16 colours.
const MODE_12: Mode = Mode {
    miscellaneous: 0xe3,
    sequencer: [0x01, 0x0f, 0x00, 0x06],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0x00, 0x40, 0, 0, 0, 0, 0, 0, 0xea, 0x8c, 0xdf, 0x28, 0x00,
        0xe7, 0x04, 0xe3, 0xff,
    ],
    ..MODE_D
};
/// 320 × 200, 256 colours.
const MODE_13: Mode = Mode {
    miscellaneous: 0x63,
    sequencer: [0x01, 0x0f, 0x00, 0x0e],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0x00, 0x41, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x28, 0x40,
        0x96, 0xb9, 0xa3, 0xff,
    ],
    attribute: attributes(linear_palette(), [0x41, 0x00, 0x0f, 0x00]),
    graphics: [0, 0, 0, 0, 0, 0x40, 0x05, 0x0f, 0xff],
};

/// What the tests load as colours: every number has its own, and each is one that six bits can say.
fn dac_color(index: u8) -> u32 {
    let expand = |part: u8| u32::from(part << 2 | part >> 4);
    let [red, green, blue] = dac_parts(index);
    expand(red) << 16 | expand(green) << 8 | expand(blue)
}

fn dac_parts(index: u8) -> [u8; 3] {
    [index & 0x3f, index >> 2, index.wrapping_mul(7) & 0x3f]
}

/// Row `row` of character `character` of the synthetic font.
fn glyph(set: u8, character: u8, row: u8) -> u8 {
    character.rotate_left(row.into()).wrapping_add(row.wrapping_mul(3)) ^ set.wrapping_mul(0x5a)
}

impl Desk {
    fn new() -> Self {
        Self { vga: Vga::new(16 << 20), memory: Memory::new(16 << 20), canvas: Canvas::default() }
    }

    fn with_mode(mode: &Mode) -> Self {
        let mut desk = Self::new();
        desk.set_mode(mode);
        desk
    }

    fn out(&mut self, port: u16, value: u8) {
        self.vga.port_write(&mut self.memory, IoPort(port), Width::Byte, value.into());
    }

    fn out_pair(&mut self, port: u16, index: u8, value: u8) {
        self.vga.port_write(&mut self.memory, IoPort(port), Width::Word, u32::from(value) << 8 | u32::from(index));
    }

    fn input(&mut self, port: u16) -> u8 {
        u8::try_from(self.vga.port_read(IoPort(port), Width::Byte)).unwrap()
    }

    fn crtc(&mut self, index: u8, value: u8) {
        let port = if self.input(0x3cc) & 1 == 0 { 0x3b4 } else { 0x3d4 };
        self.out_pair(port, index, value);
    }

    fn attribute(&mut self, index: u8, value: u8) {
        let port = if self.input(0x3cc) & 1 == 0 { 0x3ba } else { 0x3da };
        self.input(port);
        self.out(0x3c0, index);
        self.out(0x3c0, value);
        self.out(0x3c0, 0x20);
    }

    fn dispi(&mut self, index: u16, value: u16) {
        self.vga.port_write(&mut self.memory, IoPort(0x1ce), Width::Word, index.into());
        self.vga.port_write(&mut self.memory, IoPort(0x1cf), Width::Word, value.into());
    }

    fn dispi_read(&mut self, index: u16) -> u16 {
        self.vga.port_write(&mut self.memory, IoPort(0x1ce), Width::Word, index.into());
        u16::try_from(self.vga.port_read(IoPort(0x1cf), Width::Word)).unwrap()
    }

    fn vbe(&mut self, width: u16, height: u16, bits: u16) {
        self.dispi(4, 0);
        self.dispi(1, width);
        self.dispi(2, height);
        self.dispi(3, bits);
        self.dispi(4, 0x41);
        self.input(0x3da);
        self.out(0x3c0, 0x20);
    }

    fn set_mode(&mut self, mode: &Mode) {
        self.out(0x3c2, mode.miscellaneous);
        for (value, index) in mode.sequencer.into_iter().zip(1..) {
            self.out_pair(0x3c4, index, value);
        }
        self.crtc(0x11, 0);
        for (value, index) in mode.crtc.into_iter().zip(0..) {
            self.crtc(index, value);
        }
        for (value, index) in mode.attribute.into_iter().zip(0..) {
            self.attribute(index, value);
        }
        for (value, index) in mode.graphics.into_iter().zip(0..) {
            self.out_pair(0x3ce, index, value);
        }
        self.out(0x3c6, 0xff);
        self.out(0x3c8, 0);
        for index in 0..=255 {
            for part in dac_parts(index) {
                self.out(0x3c9, part);
            }
        }
    }

    /// Loads the synthetic font as a BIOS does: plane 2, sequential, window at 0xa0000; and goes back.
    fn load_font(&mut self, set: u8) {
        for (port, index, value) in [(0x3c4, 2, 4), (0x3c4, 4, 7), (0x3ce, 4, 2), (0x3ce, 5, 0), (0x3ce, 6, 4)] {
            self.out_pair(port, index, value);
        }
        let block = u32::from(set & 3) << 14 | u32::from(set & 4) << 11;
        for character in 0..=255 {
            let rows: Vec<u8> = (0..32).map(|row| glyph(set, character, row)).collect();
            self.write(block + u32::from(character) * 32, &rows);
        }
        for (port, index, value) in [(0x3c4, 2, 3), (0x3c4, 4, 3), (0x3ce, 4, 0), (0x3ce, 5, 0x10), (0x3ce, 6, 0x0e)] {
            self.out_pair(port, index, value);
        }
    }

    fn write(&mut self, offset: u32, data: &[u8]) {
        self.vga.legacy_write(&mut self.memory, offset, data);
    }

    fn read(&mut self, offset: u32) -> u8 {
        let mut byte = [0];
        self.vga.legacy_read(&self.memory, offset, &mut byte);
        byte[0]
    }

    fn print(&mut self, column: u32, row: u32, cells: &[(u8, u8)]) {
        let bytes: Vec<u8> = cells.iter().flat_map(|(character, attribute)| [*character, *attribute]).collect();
        self.write(0x1_8000 + (row * 80 + column) * 2, &bytes);
    }

    /// Refreshes, and returns the rectangles that were reported.
    fn refresh(&mut self) -> Vec<(u32, u32, u32, u32)> {
        self.canvas.changes.clear();
        self.vga.refresh(&mut self.memory, &mut self.canvas, false);
        self.canvas.changes.clone()
    }

    /// Refreshes, and asserts that the picture is the one that a new viewer gets.
    fn refresh_checked(&mut self) {
        self.refresh();
        let mut fresh = self.clone();
        fresh.canvas = Canvas::default();
        fresh.vga.refresh(&mut fresh.memory, &mut fresh.canvas, true);
        if (fresh.canvas.width, fresh.canvas.height) == (self.canvas.width, self.canvas.height) {
            assert!(fresh.canvas.shown == self.canvas.shown, "{:?}", self.vga.registers.picture());
        }
    }
}

/// A deterministic stream of numbers (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 32).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.next() % limit
    }
}

// Registers.

/// CRTC register 11h: "bit 7, protect registers 0-7 ... the line compare bit in register 07h is not protected".
#[test]
fn protected_crtc_registers_keep_all_but_line_compare() {
    let mut desk = Desk::with_mode(&MODE_3);
    desk.crtc(0x07, 0x00);
    desk.crtc(0x11, 0x8e);
    for index in 0..8 {
        desk.out(0x3d4, index);
        let before = desk.input(0x3d5);
        desk.out(0x3d5, !before);
        let expected = if index == 7 { before ^ 0x10 } else { before };
        assert_eq!(desk.input(0x3d5), expected, "register {index:#x}");
    }
    desk.crtc(0x11, 0x0e);
    desk.crtc(0x00, 0x12);
    assert_eq!(desk.input(0x3d5), 0x12);
}

#[test]
fn crtc_and_status_answer_at_colour_or_monochrome_ports_alone() {
    let mut desk = Desk::new();
    desk.out(0x3c2, 0x66);
    desk.out_pair(0x3b4, 0x0c, 0x5a);
    assert_eq!(desk.input(0x3b5), 0x5a);
    assert_eq!([desk.input(0x3d4), desk.input(0x3d5), desk.input(0x3da)], [0xff; 3]);
    desk.out_pair(0x3d4, 0x0c, 0x11);
    assert_eq!(desk.input(0x3b5), 0x5a);
    desk.out(0x3c2, 0x67);
    assert_eq!(desk.input(0x3cc), 0x67);
    assert_eq!([desk.input(0x3b4), desk.input(0x3b5), desk.input(0x3ba)], [0xff; 3]);
    assert_eq!(desk.input(0x3d5), 0x5a);
}

#[test]
fn a_read_of_input_status_1_makes_the_next_attribute_write_an_address() {
    let mut desk = Desk::new();
    desk.out(0x3c2, 1);
    desk.input(0x3da);
    desk.out(0x3c0, 0x01);
    desk.out(0x3c0, 0x2a);
    assert_eq!(desk.input(0x3c1), 0x2a);
    desk.out(0x3c0, 0x02);
    desk.input(0x3da);
    desk.out(0x3c0, 0x01);
    assert_eq!((desk.input(0x3c0), desk.input(0x3c1)), (0x01, 0x2a));
}

/// Attribute address register: with PAS set, the palette registers cannot be loaded.
#[test]
fn palette_registers_are_the_displays_while_pas_is_set() {
    let mut desk = Desk::new();
    desk.out(0x3c2, 1);
    desk.input(0x3da);
    for value in [0x21, 0x3f, 0x33, 0x07] {
        desk.out(0x3c0, value);
    }
    desk.out(0x3c0, 0x01);
    assert_eq!(desk.input(0x3c1), 0);
    desk.out(0x3c0, 0);
    desk.out(0x3c0, 0x13);
    assert_eq!(desk.input(0x3c1), 0x07);
}

#[test]
fn loops_that_wait_for_retrace_or_for_its_end_finish() {
    let mut desk = Desk::new();
    desk.out(0x3c2, 1);
    for (mask, value) in [(8, 8), (8, 0), (1, 0), (1, 1), (9, 0), (9, 1), (9, 9)] {
        assert!((0..8).any(|_| desk.input(0x3da) & mask == value), "{mask:#x} {value:#x}");
        assert_ne!(desk.input(0x3da) & 9, 8, "retrace is never within the picture");
    }
}

#[test]
fn the_colour_table_counts_on_after_three_components() {
    let mut desk = Desk::new();
    desk.out(0x3c8, 254);
    for value in [1, 2, 3, 0xff, 0x40, 0x3f, 7, 8, 9] {
        desk.out(0x3c9, value);
    }
    assert_eq!((desk.input(0x3c8), desk.input(0x3c7)), (1, 0));
    desk.out(0x3c7, 254);
    assert_eq!(desk.input(0x3c7), 3);
    let read: Vec<u8> = (0..9).map(|_| desk.input(0x3c9)).collect();
    assert_eq!(read, [1, 2, 3, 0x3f, 0x00, 0x3f, 7, 8, 9], "six bits each");
    // Half a colour changes nothing.
    desk.out(0x3c8, 0);
    desk.out(0x3c9, 0x11);
    desk.out(0x3c7, 0);
    assert_eq!(desk.input(0x3c9), 7);
}

#[test]
fn eight_bit_components_come_with_the_vbe_enable_bit() {
    let mut desk = Desk::new();
    desk.dispi(4, 0x20);
    desk.out(0x3c8, 5);
    for value in [0xff, 0x80, 0x01] {
        desk.out(0x3c9, value);
    }
    assert_eq!(desk.vga.registers.dac.color(5), 0xff_8001);
    desk.dispi(4, 0);
    desk.out(0x3c8, 5);
    for value in [0xff, 0x20, 0x01] {
        desk.out(0x3c9, value);
    }
    assert_eq!(desk.vga.registers.dac.color(5), 0xff_8204);
}

#[test]
fn vbe_versions_are_those_that_exist() {
    let mut desk = Desk::new();
    assert_eq!(desk.dispi_read(0), 0xb0c5);
    for id in 0xb0c0..=0xb0c5 {
        desk.dispi(0, id);
        assert_eq!(desk.dispi_read(0), id);
    }
    desk.dispi(0, 0xb0c6);
    assert_eq!(desk.dispi_read(0), 0xb0c5);
    assert_eq!(desk.dispi_read(10), 256, "16 MiB in units of 64 KiB");
    assert_eq!(desk.vga.port_read(IoPort(0x1d0), Width::Word), 256, "the aligned data port");
    desk.vga.port_write(&mut desk.memory, IoPort(0x1ce), Width::Dword, 0x0280_0001);
    assert_eq!(desk.vga.port_read(IoPort(0x1ce), Width::Dword), 0x0280_0001, "two cycles of a double word");
    assert_eq!(desk.vga.port_read(IoPort(0x1ce), Width::Byte), 0xff);
}

#[test]
fn vbe_capabilities_are_the_greatest_values() {
    let mut desk = Desk::new();
    desk.vbe(640, 480, 8);
    desk.dispi(4, 0x43);
    assert_eq!([desk.dispi_read(1), desk.dispi_read(2), desk.dispi_read(3)], [1920, 1200, 32]);
    desk.dispi(4, 0x41);
    assert_eq!([desk.dispi_read(1), desk.dispi_read(2), desk.dispi_read(3)], [640, 480, 8]);
}

#[test]
fn vbe_registers_agree_with_one_another_once_they_are_on() {
    let mut desk = Desk::new();
    desk.vbe(1367, 768, 9);
    assert_eq!([desk.dispi_read(1), desk.dispi_read(3), desk.dispi_read(6)], [1360, 8, 1360]);
    desk.vbe(0xffff, 0xffff, 32);
    assert_eq!([desk.dispi_read(1), desk.dispi_read(2), desk.dispi_read(7)], [1920, 1200, 2184]);
    desk.vbe(0, 0, 32);
    assert_eq!([desk.dispi_read(1), desk.dispi_read(2)], [8, 1]);
    desk.vbe(800, 600, 32);
    for (index, value) in [(6, 1000), (8, 0xffff), (9, 0xffff), (5, 0xffff)] {
        desk.dispi(index, value);
    }
    assert_eq!([desk.dispi_read(6), desk.dispi_read(7)], [1000, 4194]);
    assert_eq!([desk.dispi_read(8), desk.dispi_read(9), desk.dispi_read(5)], [200, 4194 - 600, 255]);
    desk.dispi(6, 10);
    assert_eq!([desk.dispi_read(6), desk.dispi_read(8)], [800, 0], "a line is at least what is shown");
}

#[test]
fn turning_vbe_on_clears_what_is_shown_unless_told_not_to() {
    let mut desk = Desk::new();
    desk.memory.bytes.fill(0xaa);
    desk.dispi(1, 64);
    desk.dispi(2, 100);
    desk.dispi(3, 16);
    desk.dispi(4, 0x81);
    assert!(desk.memory.bytes.iter().all(|byte| *byte == 0xaa));
    desk.dispi(4, 0x41);
    assert!(desk.memory.bytes.iter().all(|byte| *byte == 0xaa), "it is on already");
    desk.dispi(4, 0);
    desk.dispi(4, 0x41);
    assert_eq!(desk.memory.bytes.iter().position(|byte| *byte != 0), Some(64 * 100 * 2));
}

#[test]
fn the_register_bar_holds_edid_ports_vbe_and_byte_order() {
    let mut desk = Desk::new();
    let mut edid = [0; 128];
    desk.vga.mmio_read(0, &mut edid);
    assert_eq!(edid[..8], [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
    assert_eq!(edid.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    let timing = |at: usize| {
        let high = |byte: u8| u32::from(byte >> 4) << 8;
        let (width, height) =
            (u32::from(edid[at + 2]) | high(edid[at + 4]), u32::from(edid[at + 5]) | high(edid[at + 7]));
        (width, height)
    };
    assert_eq!((timing(54), timing(72)), ((1280, 800), (1920, 1200)));
    // Linux' bochs driver: port 0x3c2 for colour, then VBE registers as words.
    desk.vga.mmio_write(&mut desk.memory, 0x402, &[1]);
    assert_eq!(desk.input(0x3cc), 1);
    for (index, value) in [(1, 1024_u16), (2, 768), (3, 32), (4, 0x41)] {
        desk.vga.mmio_write(&mut desk.memory, 0x500 + index * 2, &value.to_le_bytes());
    }
    assert_eq!(desk.dispi_read(6), 1024);
    let mut words = [0; 4];
    desk.vga.mmio_read(0x502, &mut words);
    assert_eq!(words, [0x00, 0x04, 0x00, 0x03]);
    desk.vga.mmio_write(&mut desk.memory, 0x502, &[0xff]);
    assert_eq!(desk.dispi_read(1), 1024, "half a register is dropped");
    let mut extension = [0; 8];
    desk.vga.mmio_read(0x600, &mut extension);
    assert_eq!(extension, [8, 0, 0, 0, 0x1e, 0x1e, 0x1e, 0x1e]);
    desk.vga.mmio_write(&mut desk.memory, 0x604, &[0xbe; 4]);
    desk.vga.mmio_read(0x600, &mut extension);
    assert_eq!(extension[4..], [0xbe; 4]);
}

// The window.

/// The four planes at one address after a write, worked out bit by bit from the manual's description.
fn reference_write(g: &[u8; 9], map_mask: u8, latch: [u8; 4], old: [u8; 4], value: u8) -> [u8; 4] {
    let mut new = old;
    for plane in 0..4 {
        if map_mask >> plane & 1 == 0 {
            continue;
        }
        let mut byte = 0;
        for bit in 0..8 {
            // "Rotate count: the number of positions that data is rotated to the right."
            let rotated = value >> ((bit + u32::from(g[3] & 7)) % 8) & 1;
            let latched = latch[plane] >> bit & 1;
            let set_reset = g[0] >> plane & 1;
            let mode = g[5] & 3;
            let (data, masked) = match mode {
                0 if g[1] >> plane & 1 != 0 => (set_reset, g[8] >> bit & 1),
                0 => (rotated, g[8] >> bit & 1),
                1 => (latched, 1),
                2 => (value >> plane & 1, g[8] >> bit & 1),
                _ => (set_reset, g[8] >> bit & 1 & rotated),
            };
            let operated = match g[3] >> 3 {
                _ if mode == 1 => data,
                0 => data,
                1 => data & latched,
                2 => data | latched,
                _ => data ^ latched,
            };
            byte |= if masked != 0 { operated } else { latched } << bit;
        }
        new[plane] = byte;
    }
    new
}

#[test]
fn every_write_mode_does_what_the_manual_says_bit_by_bit() {
    let mut desk = Desk::with_mode(&MODE_12);
    let mut random = Random(0x1234_5678_9abc_def1);
    for round in 0..20_000_u32 {
        let mut g = [0_u8; 9];
        for (register, mask) in g.iter_mut().zip([0x0f, 0x0f, 0, 0x1f, 0, 0x03, 0, 0, 0xff]) {
            *register = random.byte() & mask;
        }
        if round % 5 == 0 {
            g[8] = 0xff;
        }
        g[6] = 0x05;
        let map_mask = if round % 3 == 0 { 0x0f } else { random.byte() & 0x0f };
        let at = random.below(0x1000);
        let latched_from = random.below(0x1000);
        desk.memory.bytes[latched_from as usize * 4] = random.byte();
        desk.out_pair(0x3ce, 5, 0);
        desk.read(latched_from);
        let cell = |desk: &Desk, at: u32| <[u8; 4]>::try_from(&desk.memory.bytes[at as usize * 4..][..4]).unwrap();
        let latch = cell(&desk, latched_from);
        for (value, index) in g.into_iter().zip(0..) {
            desk.out_pair(0x3ce, index, value);
        }
        desk.out_pair(0x3c4, 2, map_mask);
        let values: Vec<u8> = (0..random.below(6) + 1).map(|_| random.byte()).collect();
        let expected: Vec<[u8; 4]> = (at..)
            .zip(&values)
            .map(|(at, value)| reference_write(&g, map_mask, latch, cell(&desk, at), *value))
            .collect();
        let after = cell(&desk, at + 6);
        desk.write(at, &values);
        for (at, expected) in (at..).zip(&expected) {
            assert_eq!(cell(&desk, at), *expected, "{g:02x?} {map_mask:#x} {values:02x?}");
        }
        assert_eq!(cell(&desk, at + 6), after);
    }
}

#[test]
fn read_mode_0_returns_one_plane_and_read_mode_1_compares_colours() {
    let mut desk = Desk::with_mode(&MODE_12);
    desk.memory.bytes[40..44].copy_from_slice(&[0b1100_1010, 0b1010_1100, 0b1111_0000, 0b0000_1111]);
    for (plane, value) in (0..).zip([0b1100_1010, 0b1010_1100, 0b1111_0000, 0b0000_1111]) {
        desk.out_pair(0x3ce, 4, plane);
        assert_eq!(desk.read(10), value);
    }
    desk.out_pair(0x3ce, 5, 0x08);
    // Colour 7 (planes 0 to 2 set) with every plane cared for: bit 7 alone.
    desk.out_pair(0x3ce, 2, 0x07);
    desk.out_pair(0x3ce, 7, 0x0f);
    assert_eq!(desk.read(10), 0b1000_0000);
    // Plane 3 alone: where it is clear.
    desk.out_pair(0x3ce, 7, 0x08);
    assert_eq!(desk.read(10), 0b1111_0000);
    desk.out_pair(0x3ce, 7, 0x00);
    assert_eq!(desk.read(10), 0xff);
}

#[test]
fn one_long_access_is_the_same_as_many_short_ones() {
    for (mode, seed) in [(&MODE_3, 1), (&MODE_4, 2), (&MODE_12, 3), (&MODE_13, 4)] {
        let mut random = Random(0x9876_5432_1000 + seed);
        let mut long = Desk::with_mode(mode);
        for byte in &mut long.memory.bytes[..0x4_0000] {
            *byte = random.byte();
        }
        for round in 0..6 {
            long.out_pair(0x3ce, 5, mode.graphics[5] | if round == 5 { 0x08 } else { 0 });
            long.out_pair(0x3ce, 3, if round == 1 { 0x1b } else { 0 });
            long.out_pair(0x3c4, 2, if round == 2 { 0x05 } else { mode.sequencer[1] });
            let base = if mode.graphics[6] & 8 != 0 { 0x1_8000 } else { 0 };
            let at = base + random.below(0x800);
            let data: Vec<u8> = (0..1500).map(|_| random.byte()).collect();
            let mut short = long.clone();
            long.write(at, &data);
            for (at, byte) in (at..).zip(&data) {
                short.write(at, core::slice::from_ref(byte));
            }
            assert!(long.memory.bytes == short.memory.bytes);
            let mut found = vec![0; 1500];
            long.vga.legacy_read(&long.memory, at + 3, &mut found);
            let expected: Vec<u8> = (0..1500).map(|offset| short.read(at + 3 + offset)).collect();
            assert_eq!(found, expected);
            assert_eq!(long.vga.registers.latch, short.vga.registers.latch);
        }
    }
}

#[test]
fn memory_map_select_moves_the_window() {
    let mut desk = Desk::with_mode(&MODE_12);
    let windows = [(0x01, 0, 0x1_ffff), (0x05, 0, 0xffff), (0x09, 0x1_0000, 0x1_7fff), (0x0d, 0x1_8000, 0x1_ffff)];
    for (select, first, last) in windows {
        desk.memory.bytes.fill(0x11);
        desk.out_pair(0x3ce, 6, select);
        desk.write(0, &[0x22; 0x2_0000]);
        let count = desk.memory.bytes.iter().filter(|byte| **byte == 0x22).count();
        assert_eq!(count, (last - first + 1) * 4);
        let mut all = vec![0; 0x2_0000];
        desk.vga.legacy_read(&desk.memory, 0, &mut all);
        for (offset, byte) in all.iter().enumerate() {
            assert_eq!(*byte, if (first..=last).contains(&offset) { 0x22 } else { 0xff }, "{select:#x} {offset:#x}");
        }
    }
}

#[test]
fn planes_chains_and_the_linear_view_share_four_bytes_for_each_planar_address() {
    let mut text = Desk::with_mode(&MODE_3);
    text.write(0x1_8000, &[b'A', 0x07, b'B', 0x1f]);
    assert_eq!(text.memory.bytes[..8], [b'A', 0x07, 0, 0, b'B', 0x1f, 0, 0]);
    assert_eq!([text.read(0x1_8002), text.read(0x1_8003)], [b'B', 0x1f]);
    let mut packed = Desk::with_mode(&MODE_13);
    packed.write(0, &[1, 2, 3, 4, 5]);
    assert_eq!(packed.memory.bytes[..6], [1, 2, 3, 4, 5, 0]);
    // Chain 4 obeys the map mask.
    packed.out_pair(0x3c4, 2, 0x02);
    packed.write(0, &[9; 8]);
    assert_eq!(packed.memory.bytes[..8], [1, 9, 3, 4, 5, 9, 0, 0]);
}

#[test]
fn banks_are_64_kib_of_bytes_or_of_planar_addresses() {
    let mut desk = Desk::new();
    desk.vbe(640, 480, 8);
    desk.dispi(5, 3);
    desk.write(0x10, &[7]);
    assert_eq!(desk.memory.bytes[0x3_0010], 7);
    assert_eq!(desk.read(0x10), 7);
    assert_eq!(desk.read(0x1_0010), 0xff);
    desk.set_mode(&MODE_12);
    desk.vbe(800, 600, 4);
    desk.out_pair(0x3ce, 8, 0xff);
    desk.dispi(5, 3);
    desk.write(0x10, &[7]);
    assert_eq!(desk.memory.bytes[0xc_0040..0xc_0044], [7; 4]);
    desk.dispi(4, 0);
    assert_eq!(desk.read(0x10), desk.memory.bytes[0x40], "banks end with the interface");
}

// Pictures.

/// Draws a row of cells of mode 3 the slow way.
fn expected_cells(cells: &[(u8, u8)], row: u8, line_graphics: bool) -> Vec<u32> {
    let mut pixels = Vec::new();
    for (character, attribute) in cells {
        let (foreground, background) = (attribute & 15, attribute >> 4 & 7);
        let bits = glyph(0, *character, row);
        for dot in 0..9 {
            let lit = match dot {
                0..8 => bits >> (7 - dot) & 1 != 0,
                _ => line_graphics && (0xc0..0xe0).contains(character) && bits & 1 != 0,
            };
            pixels.push(dac_color(EGA_PALETTE[usize::from(if lit { foreground } else { background })]));
        }
    }
    pixels
}

#[test]
fn characters_are_drawn_from_the_font_that_was_loaded() {
    let mut desk = Desk::with_mode(&MODE_3);
    desk.load_font(0);
    let cells: Vec<(u8, u8)> = (0..=255).map(|code: u8| (code, code.rotate_left(3) ^ 0x07)).collect();
    desk.crtc(0x0a, 0x20);
    desk.print(0, 2, &cells);
    desk.refresh_checked();
    desk.canvas.dump("mode3");
    assert_eq!((desk.canvas.width, desk.canvas.height), (720, 400));
    for (row, cells) in (2_u32..).zip(cells.chunks(80)) {
        for line in 0..16 {
            let expected = expected_cells(cells, u8::try_from(line).unwrap(), true);
            assert_eq!(desk.canvas.row(row * 16 + line)[..expected.len()], expected);
        }
    }
    // Without line graphics the ninth column is background, and 8-dot characters have none.
    desk.attribute(0x10, 0x08);
    desk.refresh_checked();
    assert_eq!(desk.canvas.row(4 * 16 + 3)[32 * 9..64 * 9], expected_cells(&cells[192..224], 3, false));
    desk.out_pair(0x3c4, 1, 0x01);
    desk.attribute(0x13, 0x00);
    desk.refresh_checked();
    assert_eq!((desk.canvas.width, desk.canvas.height), (640, 400));
    let nine = expected_cells(&cells[..80], 5, false);
    let eight: Vec<u32> = nine.chunks(9).flat_map(|cell| cell[..8].to_vec()).collect();
    assert_eq!(desk.canvas.row(2 * 16 + 5), eight);
}

#[test]
fn a_text_screen_redraws_the_cells_that_changed_and_no_others() {
    let mut desk = Desk::with_mode(&MODE_3);
    desk.load_font(0);
    desk.crtc(0x0a, 0x20);
    desk.print(0, 0, &[(b'x', 7); 2000]);
    assert_eq!(desk.refresh().len(), 25);
    assert_eq!(desk.refresh(), []);
    let reads = desk.memory.reads.get();
    desk.refresh();
    assert_eq!(desk.memory.reads.get(), reads, "nothing is read while nothing happens");
    desk.print(10, 3, &[(b'x', 7); 5]);
    assert_eq!(desk.refresh(), [], "the same again is no change");
    desk.print(10, 3, &[(b'y', 7)]);
    desk.print(12, 3, &[(b'y', 7)]);
    desk.print(79, 24, &[(b'z', 7)]);
    assert_eq!(desk.refresh(), [(90, 48, 27, 16), (711, 384, 9, 16)]);
    // Scrolling by the start address, over lines that look alike, draws what differs.
    desk.crtc(0x0d, 80);
    desk.print(0, 25, &[(b'x', 7); 80]);
    let changes = desk.refresh();
    assert_eq!(changes, [(90, 32, 27, 16), (90, 48, 27, 16), (711, 368, 9, 16), (711, 384, 9, 16)]);
    desk.refresh_checked();
    // A palette change shows everywhere.
    desk.attribute(7, 0x3f);
    assert_eq!(desk.refresh().len(), 25);
    desk.refresh_checked();
    // So does a font.
    desk.load_font(0);
    assert_eq!(desk.refresh().len(), 25);
}

#[test]
fn the_cursor_covers_its_rows_of_its_cell() {
    let mut desk = Desk::with_mode(&MODE_3);
    desk.load_font(0);
    desk.print(0, 0, &[(b' ', 0x1f); 2000]);
    desk.refresh();
    desk.crtc(0x0e, 0);
    desk.crtc(0x0f, 85);
    assert_eq!(desk.refresh(), [(0, 0, 9, 16), (45, 16, 9, 16)], "where it was, and where it is");
    let lit = dac_color(EGA_PALETTE[15]);
    for row in 0..16 {
        let expected = expected_cells(&[(b' ', 0x1f)], row, true);
        let cursor = (0x0d..=0x0e).contains(&row);
        for (x, expected) in (45..54).zip(expected) {
            assert_eq!(desk.canvas.pixel(x, 16 + u32::from(row)), if cursor { lit } else { expected });
        }
    }
    desk.crtc(0x0a, 0x00);
    assert_eq!(desk.refresh(), [(45, 16, 9, 16)], "a new shape");
    desk.crtc(0x0a, 0x2d);
    assert_eq!(desk.refresh(), [(45, 16, 9, 16)], "off");
    assert_eq!(desk.canvas.pixel(45, 16 + 13), expected_cells(&[(b' ', 0x1f)], 13, true)[0]);
}

/// Character map select: attribute bit 3 chooses between sets A (set) and B (clear).
#[test]
fn attribute_bit_3_chooses_one_of_two_fonts() {
    let mut desk = Desk::with_mode(&MODE_3);
    for set in 0..8 {
        desk.load_font(set);
    }
    desk.crtc(0x0a, 0x20);
    desk.print(0, 0, &[(b'Q', 0x07), (b'Q', 0x0f)]);
    // B is bits 1, 0 and 4; A is bits 3, 2 and 5.
    for (select, b, a) in [(0x00, 0, 0), (0x04, 0, 1), (0x0e, 2, 3), (0x11, 5, 0), (0x2c, 0, 7), (0x30, 4, 4)] {
        desk.out_pair(0x3c4, 3, select);
        desk.refresh_checked();
        for row in 0..16_u8 {
            for dot in 0..8 {
                let lit = |set| glyph(set, b'Q', row) >> (7 - dot) & 1 != 0;
                let color = |lit, attribute: u8| dac_color(EGA_PALETTE[usize::from(if lit { attribute } else { 0 })]);
                assert_eq!(desk.canvas.pixel(dot, row.into()), color(lit(b), 7), "{select:#x}");
                assert_eq!(desk.canvas.pixel(9 + dot, row.into()), color(lit(a), 15), "{select:#x}");
            }
        }
    }
}

#[test]
fn bit_7_is_background_intensity_unless_it_blinks() {
    let mut desk = Desk::with_mode(&MODE_3);
    desk.load_font(0);
    desk.crtc(0x0a, 0x20);
    desk.print(0, 0, &[(0, 0xc0)]);
    desk.refresh();
    assert_eq!(desk.canvas.pixel(0, 0), dac_color(4));
    desk.attribute(0x10, 0x04);
    desk.refresh();
    assert_eq!(desk.canvas.pixel(0, 0), dac_color(0x3c));
}

#[test]
fn monochrome_text_underlines_attribute_1() {
    let mut desk = Desk::with_mode(&MODE_7);
    desk.load_font(0);
    desk.out_pair(0x3ce, 6, 0x0a);
    desk.out_pair(0x3ce, 5, 0x10);
    desk.crtc(0x14, 0x0d);
    desk.crtc(0x0a, 0x20);
    desk.write(0x1_0000, &[0, 0x01, 0, 0x07]);
    desk.refresh_checked();
    assert!(desk.canvas.row(13)[..9].iter().all(|pixel| *pixel == dac_color(8)));
    assert_eq!(desk.canvas.row(13)[9], dac_color(if glyph(0, 0, 13) & 0x80 != 0 { 8 } else { 0 }));
}

#[test]
fn forty_columns_are_twice_as_wide_and_132_fit() {
    let mut desk = Desk::with_mode(&MODE_1);
    desk.load_font(0);
    desk.crtc(0x0a, 0x20);
    desk.print(0, 0, &[(b'Z', 0x07)]);
    desk.refresh_checked();
    assert_eq!((desk.canvas.width, desk.canvas.height), (720, 400));
    let expected = expected_cells(&[(b'Z', 0x07)], 4, true);
    let doubled: Vec<u32> = expected.iter().flat_map(|pixel| [*pixel; 2]).collect();
    assert_eq!(desk.canvas.row(4)[..18], doubled);
    let mut desk = Desk::with_mode(&MODE_3);
    desk.load_font(0);
    desk.crtc(0x11, 0);
    desk.crtc(0x01, 131);
    desk.crtc(0x13, 66);
    desk.out_pair(0x3c4, 1, 0x01);
    desk.refresh_checked();
    assert_eq!((desk.canvas.width, desk.canvas.height), (1056, 400));
}

#[test]
fn below_the_split_the_picture_begins_at_address_0() {
    let mut desk = Desk::with_mode(&MODE_3);
    desk.load_font(0);
    desk.crtc(0x0a, 0x20);
    desk.print(0, 0, &[(b'0', 0x07); 80]);
    desk.print(0, 30, &[(b'1', 0x07); 2000]);
    // Start at row 30, the split after line 99, in the middle of a row of characters.
    desk.crtc(0x0c, 0x09);
    desk.crtc(0x0d, 0x60);
    desk.crtc(0x11, 0);
    desk.crtc(0x09, 0x0f);
    desk.crtc(0x07, 0x0f);
    desk.crtc(0x18, 99);
    desk.refresh_checked();
    assert_eq!(desk.canvas.row(99)[..9], expected_cells(&[(b'1', 7)], 3, true));
    assert_eq!(desk.canvas.row(100)[..9], expected_cells(&[(b'0', 7)], 0, true));
    assert_eq!(desk.canvas.row(115)[..9], expected_cells(&[(b'0', 7)], 15, true));
    // Preset row scan moves the upper part by rows, panning both by dots; the lower stays if told to.
    desk.crtc(0x08, 5);
    desk.attribute(0x13, 2);
    desk.attribute(0x10, 0x2c);
    desk.refresh_checked();
    assert_eq!(desk.canvas.row(0)[..6], expected_cells(&[(b'1', 7)], 5, true)[3..]);
    assert_eq!(desk.canvas.row(100)[..9], expected_cells(&[(b'0', 7)], 0, true));
}

#[test]
fn the_screen_off_bit_and_the_palette_address_source_make_it_black() {
    let mut desk = Desk::with_mode(&MODE_3);
    desk.load_font(0);
    desk.print(0, 0, &[(b'#', 0x7f); 2000]);
    desk.refresh();
    desk.out_pair(0x3c4, 1, 0x20);
    desk.refresh();
    assert_eq!((desk.canvas.width, desk.canvas.height), (720, 400));
    assert!(desk.canvas.shown.iter().all(|pixel| *pixel == 0));
    assert_eq!(desk.refresh(), []);
    desk.out_pair(0x3c4, 1, 0x00);
    desk.refresh_checked();
    assert!(desk.canvas.shown.iter().any(|pixel| *pixel != 0));
    desk.input(0x3da);
    desk.out(0x3c0, 0x00);
    desk.refresh();
    assert!(desk.canvas.shown.iter().all(|pixel| *pixel == 0));
    let mut new = Desk::new();
    new.refresh();
    assert_eq!((new.canvas.width, new.canvas.height), (640, 480), "before there is a mode");
}

#[test]
fn cga_modes_find_odd_lines_8_kib_further_on() {
    let mut desk = Desk::with_mode(&MODE_4);
    desk.write(0x1_8000, &[0b00_01_10_11, 0b11_10_01_00]);
    desk.write(0x1_8000 + 0x2000, &[0b11_11_00_00]);
    desk.write(0x1_8000 + 80, &[0b01_01_01_01]);
    desk.refresh_checked();
    desk.canvas.dump("mode4");
    assert_eq!((desk.canvas.width, desk.canvas.height), (640, 400));
    let line = |y: u32| -> Vec<u32> { desk.canvas.row(y)[..16].iter().step_by(2).copied().collect() };
    let colors = |numbers: [u8; 8]| numbers.map(dac_color).to_vec();
    for (y, expected) in [(0, [0, 1, 2, 3, 3, 2, 1, 0]), (2, [3, 3, 0, 0, 0, 0, 0, 0]), (4, [1, 1, 1, 1, 0, 0, 0, 0])] {
        assert_eq!((line(y), line(y + 1)), (colors(expected), colors(expected)), "line {y}");
    }
    let mut desk = Desk::with_mode(&MODE_6);
    desk.write(0x1_8000, &[0b1010_0000]);
    desk.write(0x1_8000 + 0x2000, &[0b0101_0000]);
    desk.refresh_checked();
    assert_eq!((desk.canvas.width, desk.canvas.height), (640, 400));
    assert_eq!(desk.canvas.row(0)[..4], [dac_color(1), dac_color(0), dac_color(1), dac_color(0)]);
    assert_eq!(desk.canvas.row(3)[..4], [dac_color(0), dac_color(1), dac_color(0), dac_color(1)]);
}

#[test]
fn planar_modes_take_a_bit_from_each_plane() {
    let mut desk = Desk::with_mode(&MODE_12);
    // Pixel x of line y gets colour (x + y) & 15, by write mode 2 and the bit mask.
    desk.out_pair(0x3ce, 5, 2);
    for y in 0..480_u32 {
        for x in 0..32_u32 {
            desk.out_pair(0x3ce, 8, 0x80 >> (x & 7));
            let at = y * 80 + x / 8;
            desk.read(at);
            desk.write(at, &[(x + y).to_le_bytes()[0] & 15]);
        }
    }
    desk.refresh_checked();
    desk.canvas.dump("mode12");
    assert_eq!((desk.canvas.width, desk.canvas.height), (640, 480));
    for y in 0..480 {
        let expected: Vec<u32> = (0..32).map(|x: u32| dac_color((x + y).to_le_bytes()[0] & 15)).collect();
        assert_eq!(desk.canvas.row(y)[..32], expected);
    }
    // A line and two thirds to a page: what is redrawn is what shares the page.
    desk.write(100 * 80, &[5]);
    let changes = desk.refresh();
    assert_eq!(changes.len(), 1);
    assert!((13..=14).contains(&changes[0].3), "{changes:?}");
    // Panning, colour plane enable, and colour select.
    desk.attribute(0x13, 3);
    desk.attribute(0x12, 0x07);
    desk.attribute(0x14, 0x04);
    desk.refresh_checked();
    let expected: Vec<u32> = (3..23).map(|x: u32| dac_color(x.to_le_bytes()[0] & 7 | 0x40)).collect();
    assert_eq!(desk.canvas.row(0)[..20], expected);
    let mut desk = Desk::with_mode(&MODE_D);
    desk.write(40, &[0xf0]);
    desk.refresh_checked();
    assert_eq!((desk.canvas.width, desk.canvas.height), (640, 400));
    assert_eq!((desk.canvas.pixel(7, 2), desk.canvas.pixel(8, 3)), (dac_color(15), dac_color(0)));
}

#[test]
fn mode_13_and_its_unchained_kin_show_bytes() {
    let mut desk = Desk::with_mode(&MODE_13);
    let data: Vec<u8> = (0..64_000_u32).map(|at| (at % 251).to_le_bytes()[0]).collect();
    desk.write(0, &data);
    desk.refresh_checked();
    desk.canvas.dump("mode13");
    assert_eq!((desk.canvas.width, desk.canvas.height), (640, 400));
    for y in 0..400 {
        let line = &data[(y / 2 * 320) as usize..][..320];
        let expected: Vec<u32> = line.iter().flat_map(|index| [dac_color(*index); 2]).collect();
        assert_eq!(desk.canvas.row(y), expected);
    }
    assert_eq!(desk.refresh(), []);
    // A colour changes: all is drawn.
    desk.out(0x3c8, 1);
    for _ in 0..3 {
        desk.out(0x3c9, 0x3f);
    }
    desk.refresh_checked();
    assert_eq!(desk.canvas.pixel(2, 0), 0xff_ffff);
    // Mode X: planes one by one, start address in planar addresses, panning by two dots to a pixel.
    desk.out_pair(0x3c4, 4, 0x06);
    desk.crtc(0x14, 0x00);
    desk.crtc(0x17, 0xe3);
    for plane in 0..4_u8 {
        desk.out_pair(0x3c4, 2, 1 << plane);
        desk.write(16_000, &[10 + plane, 20 + plane]);
    }
    desk.crtc(0x0c, 0x3e);
    desk.crtc(0x0d, 0x80);
    desk.attribute(0x13, 2);
    desk.refresh_checked();
    let shown: Vec<u32> = desk.canvas.row(0)[..14].iter().step_by(2).copied().collect();
    assert_eq!(shown, [11, 12, 13, 20, 21, 22, 23].map(dac_color));
}

#[test]
fn every_linear_depth_shows_its_colours() {
    let mut desk = Desk::with_mode(&MODE_13);
    for (bits, bytes, expected) in [
        (8, vec![0x12, 0xfe], [dac_color(0x12), dac_color(0xfe)]),
        (15, vec![0x00, 0x7c, 0xff, 0x03], [0xff_0000, 0x00_ffff]),
        (16, vec![0x00, 0xf8, 0xe0, 0x07], [0xff_0000, 0x00_ff00]),
        (24, vec![0x33, 0x22, 0x11, 0x66, 0x55, 0x44], [0x11_2233, 0x44_5566]),
        (32, vec![0x33, 0x22, 0x11, 0xff, 0x66, 0x55, 0x44, 0x80], [0x11_2233, 0x44_5566]),
    ] {
        desk.vbe(640, 480, bits);
        desk.memory.poke(0, &bytes);
        desk.refresh_checked();
        assert_eq!((desk.canvas.width, desk.canvas.height), (640, 480));
        assert_eq!(desk.canvas.row(0)[..2], expected, "{bits} bits");
        let pitch = 640 * usize::from(bits).div_ceil(8);
        desk.memory.poke(479 * pitch, &bytes);
        desk.refresh_checked();
        assert_eq!(desk.canvas.row(479)[..2], expected, "{bits} bits");
    }
    desk.vga.mmio_write(&mut desk.memory, 0x604, &[0xbe; 4]);
    desk.memory.poke(0, &[0, 0x11, 0x22, 0x33]);
    desk.refresh_checked();
    assert_eq!(desk.canvas.pixel(0, 0), 0x11_2233);
}

#[test]
fn planar_vbe_reaches_beyond_64_kib_of_a_plane() {
    let mut desk = Desk::with_mode(&MODE_12);
    desk.vbe(1024, 768, 4);
    // Line 600 begins at planar address 76800, which is in bank 1.
    desk.dispi(5, 1);
    desk.write(76_800 - 65_536, &[0xc0]);
    desk.refresh_checked();
    assert_eq!((desk.canvas.width, desk.canvas.height), (1024, 768));
    assert_eq!(desk.canvas.row(600)[..3], [dac_color(15), dac_color(15), dac_color(0)]);
    desk.dispi(6, 1040);
    desk.dispi(8, 3);
    desk.dispi(9, 2);
    desk.refresh_checked();
    let at = 76_800 * 8;
    let (x, y) = (at % 1040 - 3, at / 1040 - 2);
    assert_eq!(desk.canvas.row(y)[x as usize..][..2], [dac_color(15); 2]);
}

#[test]
fn a_linear_screen_redraws_the_lines_of_written_pages() {
    let mut desk = Desk::new();
    desk.vbe(1024, 768, 32);
    assert_eq!(desk.refresh(), [(0, 0, 1024, 768)]);
    assert_eq!(desk.refresh(), []);
    // A line is a page here.
    desk.memory.poke(4096 * 5, &[1]);
    desk.memory.poke(4096 * 6 + 4000, &[1]);
    desk.memory.poke(4096 * 700, &[1]);
    desk.memory.poke(4096 * 800, &[1]);
    assert_eq!(desk.refresh(), [(0, 5, 1024, 2), (0, 700, 1024, 1)], "and what is not shown is not drawn");
    // Through the window, and through the aperture when its accesses come one by one.
    desk.dispi(5, 2);
    desk.write(0, &[0xff; 4]);
    desk.vga.framebuffer_write(&mut desk.memory, 4096 * 50, &[0xff; 4]);
    assert_eq!(desk.refresh(), [(0, 32, 1024, 1), (0, 50, 1024, 1)]);
    assert_eq!(desk.canvas.pixel(0, 50), 0xff_ffff);
    // Flipping to another page draws it all, and what is written there from then on.
    desk.dispi(9, 768);
    assert_eq!(desk.refresh(), [(0, 0, 1024, 768)]);
    desk.memory.poke(4096 * (768 + 3), &[9]);
    assert_eq!(desk.refresh(), [(0, 3, 1024, 1)]);
    assert_eq!(desk.canvas.pixel(0, 3), 9);
    desk.refresh_checked();
    desk.vbe(1920, 1200, 32);
    assert_eq!(desk.refresh(), [(0, 0, 1920, 1200)]);
}

#[test]
fn a_picture_that_does_not_fit_leaves_the_last_one() {
    let mut desk = Desk::with_mode(&MODE_3);
    desk.refresh();
    desk.out_pair(0x3c4, 1, 0x08);
    desk.crtc(0x11, 0);
    desk.crtc(0x01, 0xff);
    desk.crtc(0x07, 0xff);
    assert_eq!(desk.refresh(), []);
    assert_eq!(desk.vga.size(), Some((720, 400)));
    desk.set_mode(&MODE_3);
    desk.refresh_checked();
    assert_eq!(desk.vga.size(), Some((720, 400)));
}

#[test]
fn a_reset_ends_every_mode() {
    let mut desk = Desk::new();
    desk.vbe(800, 600, 32);
    desk.vga.reset();
    assert_eq!(desk.dispi_read(4), 0);
    desk.refresh();
    assert!(desk.canvas.shown.iter().all(|pixel| *pixel == 0));
}

#[test]
fn a_guest_that_writes_anything_anywhere_gets_some_picture() {
    let mut random = Random(0xfeed_f00d_dead_beef);
    let modes = [&MODE_3, &MODE_1, &MODE_7, &MODE_4, &MODE_6, &MODE_D, &MODE_12, &MODE_13];
    let widths = [Width::Byte, Width::Word, Width::Dword];
    let mut desk = Desk { vga: Vga::new(1 << 20), memory: Memory::new(1 << 20), canvas: Canvas::default() };
    for round in 0..1_000_000_u32 {
        let (value, width) = (random.next(), widths[random.below(3) as usize]);
        match random.below(16) {
            0..6 => {
                let port = IoPort(0x3b0 + u16::try_from(random.below(0x30)).unwrap());
                desk.vga.port_write(&mut desk.memory, port, width, value);
            }
            6..8 => {
                let port = IoPort(0x3b0 + u16::try_from(random.below(0x30)).unwrap());
                desk.vga.port_read(port, width);
            }
            8 => {
                let size = [1, 2, 4, 8, 1, 2, 4, 8, 1, 600][random.below(10) as usize];
                let mut data = vec![0; size];
                desk.vga.legacy_read(&desk.memory, random.below(0x2_0100), &mut data);
            }
            9..12 => {
                let size = [1, 2, 4, 8, 1, 2, 4, 8, 1, 600][random.below(10) as usize];
                let data: Vec<u8> = (0..size).map(|_| random.byte()).collect();
                desk.write(random.below(0x2_0100), &data);
            }
            12 => {
                let data = value.to_le_bytes();
                desk.vga.mmio_write(&mut desk.memory, random.below(0x1100), &data);
            }
            13 => desk.vga.mmio_read(random.below(0x1100), &mut [0; 9]),
            14 if random.below(64) == 0 => {
                let enable = if random.below(3) == 0 { 0 } else { 0x81 | value & 0x60 };
                desk.dispi(4, u16::try_from(enable).unwrap());
            }
            14 if random.below(4) == 0 => {
                let index = u16::try_from(random.below(12)).unwrap();
                desk.dispi(index, u16::try_from(value >> 16 >> random.below(8)).unwrap());
            }
            14 if desk.vga.registers.dispi.linear() => {
                desk.memory.poke(random.below((1 << 20) - 8) as usize, &value.to_le_bytes());
            }
            15 if random.below(200) == 0 => desk.set_mode(modes[random.below(8) as usize]),
            _ => {}
        }
        if round % 1499 == 0 {
            if random.below(8) != 0 {
                let port = if desk.input(0x3cc) & 1 == 0 { 0x3ba } else { 0x3da };
                desk.input(port);
                desk.out(0x3c0, 0x20);
                desk.out_pair(0x3c4, 1, value.to_le_bytes()[0] & 0x09);
            }
            if round % 10 == 0 {
                desk.refresh_checked();
            } else {
                desk.refresh();
            }
        }
    }
}
