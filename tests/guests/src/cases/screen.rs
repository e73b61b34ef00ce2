//! Known pictures in every kind of video mode. The suite compares what it sees with `guests::pattern`.
//!
//! Each case draws, prints `READY name`, and stays until a byte comes in on COM1.
//!
//! Source: IBM VGA Technical Reference; QEMU's docs/specs/standard-vga.rst and the Bochs VBE extension.

use crate::bios::{self, BiosRegisters};
use crate::report::{Outcome, Report};
use crate::{bail, ensure, memory, pci, port, serial};
use guests::pattern;

/// Graphics window of 64 KiB.
const GRAPHICS: u64 = 0xa_0000;
/// Text window.
const TEXT: u64 = 0xb_8000;

/// Shows what was drawn until the suite has seen it.
fn show(report: &mut Report, name: &str, outcome: Outcome) {
    if outcome.is_ok() {
        report.ready(name);
        serial::receive();
    }
    report.check(name, outcome);
}

/// Writes an indexed register: sequencer 0x3c4, CRT controller 0x3d4, graphics controller 0x3ce.
fn indexed(port: u16, index: u8, value: u8) {
    port::out8(port, index);
    port::out8(port + 1, value);
}

/// Mode 3 with every character and attribute, no blinking, no cursor, and a glyph of its own.
pub(crate) fn text(report: &mut Report) {
    let outcome = draw_text();
    show(report, "text", outcome);
}

fn draw_text() -> Outcome {
    bios::set_video_mode(0x03);
    // INT 10h function 1003h: the upper bit of an attribute is intensity.
    bios::call(0x10, BiosRegisters { eax: 0x1003, ..BiosRegisters::default() });
    // Cursor start, bit 5: off.
    indexed(0x3d4, 0x0a, 0x20);
    replace_glyph();
    for row in 0..pattern::TEXT_ROWS {
        for column in 0..pattern::TEXT_COLUMNS {
            let (character, attribute) = pattern::text_cell(row, column);
            let at = TEXT + 2 * u64::from(row * pattern::TEXT_COLUMNS + column);
            memory::write16(at, u16::from_le_bytes([character, attribute]));
        }
    }
    for row in 0..pattern::TEXT_ROWS {
        let at = TEXT + 160 * u64::from(row);
        ensure!(
            memory::read16(at).to_le_bytes() == <[u8; 2]>::from(pattern::text_cell(row, 0)),
            "row {row} reads back wrong"
        );
    }
    Ok(())
}

/// Loads [`pattern::GLYPH`] into plane 2, where text modes keep their font.
fn replace_glyph() {
    // Write to plane 2 alone, planes not chained, window at 0xa0000.
    for (index, value) in [(0x00, 0x01), (0x02, 0x04), (0x04, 0x07), (0x00, 0x03)] {
        indexed(0x3c4, index, value);
    }
    for (index, value) in [(0x04, 0x02), (0x05, 0x00), (0x06, 0x04)] {
        indexed(0x3ce, index, value);
    }
    // 32 bytes to a character.
    memory::copy_to(GRAPHICS + 32 * u64::from(pattern::GLYPH_CHARACTER), &pattern::GLYPH);
    // Back: planes 0 and 1, odd and even addresses apart, window at 0xb8000.
    for (index, value) in [(0x00, 0x01), (0x02, 0x03), (0x04, 0x03), (0x00, 0x03)] {
        indexed(0x3c4, index, value);
    }
    for (index, value) in [(0x04, 0x00), (0x05, 0x10), (0x06, 0x0e)] {
        indexed(0x3ce, index, value);
    }
}

/// Writes a register of the Bochs extension: ports 0x1ce and 0x1cf.
fn dispi(index: u16, value: u16) {
    port::out16(0x1ce, index);
    port::out16(0x1cf, value);
}

/// Reads a register of the Bochs extension.
fn read_dispi(index: u16) -> u16 {
    port::out16(0x1ce, index);
    port::in16(0x1cf)
}

/// Width, height and bits of a pixel from the command line.
fn size(report: &Report, width: u64, height: u64, bits: u64) -> [u16; 3] {
    let number = |key, default| u16::try_from(report.options.number(key, default)).unwrap_or(0);
    [number("width", width), number("height", height), number("bits", bits)]
}

/// Switches to a linear mode; `enable` is its register 4.
fn set_vbe([width, height, bits]: [u16; 3], enable: u16) -> Outcome {
    let id = read_dispi(0);
    ensure!((0xb0c0..=0xb0cf).contains(&id), "version {id:#06x}");
    dispi(4, 0);
    dispi(1, width);
    dispi(2, height);
    dispi(3, bits);
    dispi(4, enable);
    let is = [read_dispi(1), read_dispi(2), read_dispi(3)];
    ensure!(is == [width, height, bits], "the mode is {is:?}");
    Ok(())
}

/// Linear frame buffer: where base address register 0 of the VGA card is.
pub(crate) fn frame_buffer() -> Option<u64> {
    let function = pci::find_class(pci::VGA)?;
    let base = u64::from(function.base_address(0) & 0xffff_fff0);
    (base != 0).then_some(base)
}

/// One row of the pattern, with so many bits of a pixel.
fn row(y: u32, width: u16, bits: u16, row: &mut [u8; 7680]) -> usize {
    let bytes = usize::from(bits.div_ceil(8));
    for (pixel, x) in row.chunks_exact_mut(bytes).zip(0..u32::from(width)) {
        let [blue, green, red, _] = pattern::true_colour(x, y).to_le_bytes();
        match pixel {
            [index] => *index = pattern::palette_index(x, y),
            [low, high] => {
                let value = u16::from(red >> 3) << 11 | u16::from(green >> 2) << 5 | u16::from(blue >> 3);
                [*low, *high] = value.to_le_bytes();
            }
            [b, g, r, rest @ ..] => {
                (*b, *g, *r) = (blue, green, red);
                rest.fill(0);
            }
            _ => {}
        }
    }
    bytes * usize::from(width)
}

/// Loads the known palette.
fn load_palette() {
    port::out8(0x3c8, 0);
    for index in 0..=255 {
        pattern::palette_entry(index).iter().for_each(|&value| port::out8(0x3c9, value));
    }
}

/// A linear mode, 1024 × 768 × 32 unless the command line says `width=`, `height=`, `bits=`, through the frame buffer.
pub(crate) fn vbe(report: &mut Report) {
    let size = size(report, 1024, 768, 32);
    let outcome = draw_vbe(size);
    show(report, "vbe", outcome);
}

fn draw_vbe([width, height, bits]: [u16; 3]) -> Outcome {
    // Enabled, linear frame buffer.
    set_vbe([width, height, bits], 0x41)?;
    if bits == 8 {
        load_palette();
    }
    let Some(base) = frame_buffer() else { bail!("no frame buffer") };
    let mut pixels = [0; 7680];
    ensure!(usize::from(width) * usize::from(bits.div_ceil(8)) <= pixels.len(), "too wide");
    let mut at = base;
    for y in 0..u32::from(height) {
        let length = row(y, width, bits, &mut pixels);
        memory::copy_to(at, &pixels[..length]);
        at += length as u64;
    }
    let mut back = [0; 7680];
    let length = row(u32::from(height) - 1, width, bits, &mut pixels);
    memory::copy_from(at - length as u64, &mut back[..length]);
    ensure!(back[..length] == pixels[..length], "the last row reads back wrong");
    Ok(())
}

/// A linear mode of 32 bits in which a block of 64 × 16 pixels is white or black in turn, for each byte from COM1 until `q`.
pub(crate) fn flash(report: &mut Report) {
    let size = size(report, 1024, 768, 32);
    let outcome = draw_vbe(size).and_then(|()| {
        let Some(base) = frame_buffer() else { bail!("no frame buffer") };
        report.ready("flash");
        let mut colour = 0xff;
        loop {
            let byte = serial::receive();
            if byte == b'q' {
                return Ok(());
            }
            serial::send(byte);
            for line in 0..16 {
                memory::copy_to(base + line * u64::from(size[0]) * 4, &[colour; 64 * 4]);
            }
            colour = !colour;
        }
    });
    report.check("flash", outcome);
}

/// A linear mode of 32 bits in which all of the picture is new noise for each byte from COM1, which goes back when it is there,
/// until `q`.
pub(crate) fn noise(report: &mut Report) {
    let size = size(report, 1024, 768, 32);
    let outcome = draw_vbe(size).and_then(|()| {
        let Some(base) = frame_buffer() else { bail!("no frame buffer") };
        report.ready("noise");
        let (mut number, mut pixels) = (1_u32, [0; 7680]);
        let length = usize::from(size[0]) * 4;
        loop {
            let byte = serial::receive();
            if byte == b'q' {
                return Ok(());
            }
            for line in 0..u64::from(size[1]) {
                // Xorshift.
                for pixel in pixels[..length].chunks_exact_mut(4) {
                    number ^= number << 13;
                    number ^= number >> 17;
                    number ^= number << 5;
                    pixel.copy_from_slice(&number.to_le_bytes());
                }
                memory::copy_to(base + line * length as u64, &pixels[..length]);
            }
            serial::send(byte);
        }
    });
    report.check("noise", outcome);
}

/// The same picture through the 64 KiB window and its banks, 640 × 480 × 32 unless the command line says otherwise.
pub(crate) fn vbe_banked(report: &mut Report) {
    let size = size(report, 640, 480, 32);
    let outcome = draw_banked(size);
    show(report, "vbe-banked", outcome);
}

fn draw_banked([width, height, bits]: [u16; 3]) -> Outcome {
    set_vbe([width, height, bits], 0x01)?;
    if bits == 8 {
        load_palette();
    }
    let mut pixels = [0; 7680];
    ensure!(usize::from(width) * usize::from(bits.div_ceil(8)) <= pixels.len(), "too wide");
    let mut offset = 0_u64;
    for y in 0..u32::from(height) {
        let length = row(y, width, bits, &mut pixels);
        let mut left = &pixels[..length];
        while !left.is_empty() {
            let within = offset & 0xffff;
            dispi(5, u16::try_from(offset >> 16).unwrap_or(0));
            let (now, later) = left.split_at(left.len().min(usize::try_from(0x1_0000 - within).unwrap_or(0)));
            memory::copy_to(GRAPHICS + within, now);
            offset += now.len() as u64;
            left = later;
        }
    }
    // The last bank, read back, and the same byte in the linear frame buffer.
    let last = offset - 1;
    dispi(5, u16::try_from(last >> 16).unwrap_or(0));
    let length = row(u32::from(height) - 1, width, bits, &mut pixels);
    ensure!(memory::read8(GRAPHICS + (last & 0xffff)) == pixels[length - 1], "the last byte reads back wrong");
    if let Some(base) = frame_buffer() {
        ensure!(memory::read8(base + last) == pixels[length - 1], "the frame buffer differs from its bank");
    }
    Ok(())
}

/// Mode 13h, 320 × 200, 256 colours of a known palette.
pub(crate) fn mode_13h(report: &mut Report) {
    let run = || -> Outcome {
        bios::set_video_mode(0x13);
        load_palette();
        for y in 0..200 {
            let mut line = [0; 320];
            for (pixel, x) in line.iter_mut().zip(0..) {
                *pixel = pattern::palette_index(x, y);
            }
            memory::copy_to(GRAPHICS + 320 * u64::from(y), &line);
        }
        let expected = pattern::palette_index(319, 199);
        ensure!(memory::read8(GRAPHICS + 63999) == expected, "the last pixel reads back wrong");
        // The palette reads back what was written.
        port::out8(0x3c7, 0x85);
        let entry = [port::in8(0x3c9), port::in8(0x3c9), port::in8(0x3c9)];
        ensure!(entry == pattern::palette_entry(0x85), "palette entry {entry:?}");
        Ok(())
    };
    show(report, "mode-13h", run());
}

/// Mode 12h, 640 × 480, four planes; drawn plane by plane, a part by the set/reset and bit mask registers.
pub(crate) fn mode_12h(report: &mut Report) {
    let run = || -> Outcome {
        bios::set_video_mode(0x12);
        let mut line = [0; 80];
        for plane in 0..4_u8 {
            indexed(0x3c4, 2, 1 << plane);
            for y in 0..240 {
                for (byte, column) in line.iter_mut().zip(0..) {
                    *byte =
                        (0..8).fold(0, |bits, x| bits << 1 | pattern::planar_colour(column * 8 + x, y) >> plane & 1);
                }
                memory::copy_to(GRAPHICS + 80 * u64::from(y), &line);
            }
        }
        // Lower half: write mode 2, one pixel of eight at a time, all planes. Reads fill the latches.
        indexed(0x3c4, 2, 0x0f);
        indexed(0x3ce, 5, 0x02);
        for x in 0..8 {
            indexed(0x3ce, 8, 0x80 >> x);
            // A column in four keeps the number of accesses low; the others stay black.
            for y in 240..480 {
                for column in (0..80).step_by(16) {
                    let at = GRAPHICS + 80 * u64::from(y) + u64::from(column);
                    memory::read8(at);
                    memory::write8(at, pattern::planar_colour(column * 8 + x, y));
                }
            }
        }
        indexed(0x3ce, 5, 0x00);
        indexed(0x3ce, 8, 0xff);
        // Each plane reads back.
        for plane in 0..4_u8 {
            indexed(0x3ce, 4, plane);
            for (x, y) in [(0, 0), (632, 239), (128, 479)] {
                let expected =
                    (0..8).fold(0, |bits, pixel| bits << 1 | pattern::planar_colour(x + pixel, y) >> plane & 1);
                let read = memory::read8(GRAPHICS + u64::from(80 * y + x / 8));
                ensure!(read == expected, "plane {plane} at {x}, {y} reads {read:#04x}, not {expected:#04x}");
            }
        }
        indexed(0x3ce, 4, 0);
        Ok(())
    };
    show(report, "mode-12h", run());
}
