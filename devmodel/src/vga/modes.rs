//! From registers to a description of the picture.
//!
//! The registers of the VGA do not name a mode; they say how to count, where to fetch, and how to make dots of what
//! was fetched. So does the description. Two equal descriptions of equal memory are equal pictures.
//!
//! Source: IBM VGA Technical Reference Manual, "CRT controller" and "Attribute controller".
//! Invariant: a picture is at most 4608 dots wide and 1024 lines high, or what `dispi` allows.

use super::dispi::{Depth, Geometry};
use super::regs::{Registers, attribute, crtc, graphics, sequencer};

/// What is on the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Picture {
    /// Nothing: the screen is off.
    Blank,
    /// Characters.
    Text(Text),
    /// Pixels from planes.
    Planes(Planes),
    /// Pixels in a row.
    Linear(Linear),
}

/// Characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    /// All that decides how a cell looks and where it is.
    pub(super) look: TextLook,
    /// Address of the first cell.
    pub(super) start: u32,
    /// Addresses from one row of cells to the next.
    pub(super) offset: u32,
    /// The cursor, unless it is off.
    pub(super) cursor: Option<Cursor>,
}

/// How characters look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextLook {
    pub(super) columns: u32,
    pub(super) scan: Scan,
    /// Dots of a character: 8 or 9.
    pub(super) dots: u32,
    /// Pixels to a dot: 1, or 2 where the dot clock is halved.
    pub(super) dot_width: u32,
    pub(super) panning: Panning,
    pub(super) line_graphics: bool,
    /// Attribute bit 7 blinks, and is no part of the background colour.
    pub(super) blink: bool,
    /// The row of a character that an underline is in.
    pub(super) underline: u8,
    /// Where in plane 2 the fonts are: for characters with attribute bit 3 clear, and set.
    pub(super) fonts: [u16; 2],
    pub(super) palette: [u32; 16],
}

impl TextLook {
    /// Pixels across a cell.
    pub(super) const fn cell_width(&self) -> u32 {
        self.dots.saturating_mul(self.dot_width)
    }

    /// Pixels across the picture.
    pub(super) const fn width(&self) -> u32 {
        self.columns.saturating_mul(self.cell_width())
    }
}

/// A text cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The address of its cell.
    pub(super) address: u16,
    /// First row of the cell that it covers.
    pub(super) first: u8,
    /// Last row of the cell that it covers.
    pub(super) last: u8,
}

/// Pixels from planes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planes {
    pub(super) format: PlaneFormat,
    /// Planar addresses that a line shows; each is eight dots.
    pub(super) addresses: u32,
    /// Pixels to a dot: 1, or 2 where the dot clock is halved.
    pub(super) dot_width: u32,
    pub(super) scan: Scan,
    /// Address of the first line.
    pub(super) start: u32,
    /// Addresses from one line to the next.
    pub(super) offset: u32,
    /// The address counter is 16 bits wide; it is not in the planar mode of the Bochs VBE interface.
    pub(super) wraps: bool,
    pub(super) panning: Panning,
    pub(super) banks: Banks,
}

impl Planes {
    /// Pixels across the picture.
    pub(super) const fn width(&self) -> u32 {
        self.addresses.saturating_mul(8).saturating_mul(self.dot_width)
    }
}

/// How the four bytes at a planar address become pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlaneFormat {
    /// Eight pixels, a bit from each plane.
    Planar([u32; 16]),
    /// Eight pixels: two bits from planes 0 and 2 for each of the first four, from 1 and 3 for the others.
    Interleaved([u32; 16]),
    /// Four pixels of 256 colours, two dots each. The colour table is known by its generation.
    Packed { generation: u32 },
}

/// Which bits of the row scan counter take the place of address bits, as CGA and Hercules cards had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Banks {
    /// The address bit that bit 0 of the row decides.
    pub(super) row_0: Option<u32>,
    /// The address bit that bit 1 of the row decides.
    pub(super) row_1: Option<u32>,
}

/// Pixels in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Linear {
    pub(super) geometry: Geometry,
    /// The byte of the first pixel.
    pub(super) start: u32,
    pub(super) big_endian: bool,
    /// Which colour table, where there is one.
    pub(super) generation: Option<u32>,
}

/// A pointer that the card draws over its pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    pub(super) x: u32,
    pub(super) y: u32,
    /// Pixels across and down: 32 or 64.
    pub(super) size: u32,
    pub(super) colors: [u32; 2],
    /// Its rows, the first pixel in the highest bit: both planes 0 let the picture through, only the first inverts it, only
    /// the second is the first colour, both are the second.
    pub(super) planes: [[u64; 2]; 64],
}

/// By how many dots the picture is moved to the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Panning {
    /// Above the split.
    pub(super) upper: u32,
    /// Below it.
    pub(super) lower: u32,
}

/// How lines are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scan {
    /// Lines shown.
    pub(super) lines: u32,
    /// Rows of a character, 1 to 32.
    pub(super) rows: u32,
    /// The row that the first line shows.
    pub(super) first_row: u32,
    /// Lines to a row: 1, or 2 when scanning doubly.
    pub(super) row_lines: u32,
    /// The last line above the split; after it, counting begins anew at address 0.
    pub(super) split: u32,
}

/// Lines that come from one address: a row of characters, or of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Band {
    /// First line.
    pub(super) y: u32,
    /// Number of lines, at least 1.
    pub(super) lines: u32,
    /// The address of its first character.
    pub(super) address: u32,
    /// How many lines of the character lie above the first line shown.
    pub(super) skipped: u32,
    /// Whether it lies below the split.
    pub(super) lower: bool,
}

impl Scan {
    /// One row to a line, and no split.
    const fn plain(lines: u32) -> Self {
        Self { lines, rows: 1, first_row: 0, row_lines: 1, split: u32::MAX }
    }

    /// The bands of the picture, from top to bottom. At most one for each line.
    pub(super) fn bands(self, start: u32, offset: u32) -> impl Iterator<Item = Band> {
        let whole = self.rows.saturating_mul(self.row_lines).max(1);
        let skipped = self.first_row.saturating_mul(self.row_lines);
        let mut next = Band { y: 0, lines: 0, address: start, skipped, lower: false };
        core::iter::from_fn(move || {
            let end = if next.lower { self.lines } else { self.lines.min(self.split.saturating_add(1)) };
            let (end, split) = if next.y >= end && !next.lower { (self.lines, true) } else { (end, false) };
            if next.y >= end {
                return None;
            }
            if split {
                next = Band { address: 0, skipped: 0, lower: true, ..next };
            }
            let lines = whole.saturating_sub(next.skipped).max(1).min(end.saturating_sub(next.y));
            let band = Band { lines, ..next };
            next.y = next.y.saturating_add(lines);
            next.address = next.address.wrapping_add(offset);
            next.skipped = 0;
            Some(band)
        })
    }
}

impl Registers {
    /// What the registers describe.
    pub(super) fn picture(&self) -> Picture {
        if let Some((geometry, start)) = self.cirrus.as_ref().and_then(|cirrus| cirrus.picture(&self.crtc))
            && self.palette_address_source()
        {
            return Picture::Linear(self.linear(geometry, start));
        }
        let off = self.sequencer.get(sequencer::CLOCKING_MODE) & sequencer::SCREEN_OFF != 0;
        if off || !self.palette_address_source() {
            return Picture::Blank;
        }
        if let Some(geometry) = self.dispi.geometry() {
            return self.dispi_picture(geometry);
        }
        if self.graphics.get(graphics::MISCELLANEOUS) & graphics::GRAPHICS == 0 {
            Picture::Text(self.text())
        } else {
            Picture::Planes(self.planes())
        }
    }

    fn dispi_picture(&self, geometry: Geometry) -> Picture {
        if geometry.depth != Depth::Planar4 {
            let start = geometry.pitch.saturating_mul(geometry.y).saturating_add(geometry.depth.bytes(geometry.x));
            return Picture::Linear(self.linear(geometry, start));
        }
        // Eight pixels of a plane are four bytes of memory.
        let offset = geometry.pitch >> 2;
        let panning = geometry.x & 7;
        Picture::Planes(Planes {
            format: PlaneFormat::Planar(self.palette()),
            addresses: geometry.width >> 3,
            dot_width: 1,
            scan: Scan::plain(geometry.height),
            start: offset.saturating_mul(geometry.y).saturating_add(geometry.x >> 3),
            offset,
            wraps: false,
            panning: Panning { upper: panning, lower: panning },
            banks: Banks { row_0: None, row_1: None },
        })
    }

    fn linear(&self, geometry: Geometry, start: u32) -> Linear {
        let generation = (geometry.depth == Depth::Indexed8).then(|| self.dac.generation());
        Linear { geometry, start, big_endian: self.big_endian, generation }
    }

    fn text(&self) -> Text {
        let clocking = self.sequencer.get(sequencer::CLOCKING_MODE);
        let dots = if clocking & sequencer::EIGHT_DOTS != 0 { 8 } else { 9 };
        let panning = u32::from(self.attribute.get(attribute::PEL_PANNING));
        // With nine dots, 8 is none and every other value is one more than it says.
        let panning = match (dots, panning) {
            (9, 0..=7) => panning.saturating_add(1),
            (8, 0..=7) => panning,
            _ => 0,
        };
        let mode = self.attribute.get(attribute::MODE_CONTROL);
        let maps = self.sequencer.get(sequencer::CHARACTER_MAP);
        let look = TextLook {
            columns: u32::from(self.crtc.get(crtc::HORIZONTAL_DISPLAY_END)).saturating_add(1),
            scan: self.scan(),
            dots,
            dot_width: self.dot_width(),
            panning: self.panning(panning),
            line_graphics: mode & attribute::LINE_GRAPHICS != 0,
            blink: mode & attribute::BLINK != 0,
            underline: self.crtc.get(crtc::UNDERLINE_LOCATION) & 0x1f,
            fonts: [font_address(maps & 3, maps >> 4 & 1), font_address(maps >> 2 & 3, maps >> 5 & 1)],
            palette: self.palette(),
        };
        Text { look, start: self.start(), offset: self.offset(), cursor: self.cursor() }
    }

    fn planes(&self) -> Planes {
        let mode = self.graphics.get(graphics::MODE);
        let format = if mode & graphics::SHIFT_256 != 0 {
            PlaneFormat::Packed { generation: self.dac.generation() }
        } else if mode & graphics::SHIFT_INTERLEAVE != 0 {
            PlaneFormat::Interleaved(self.palette())
        } else {
            PlaneFormat::Planar(self.palette())
        };
        let panning = match u32::from(self.attribute.get(attribute::PEL_PANNING)) {
            dots @ 0..=7 => dots,
            _ => 0,
        };
        let control = self.crtc.get(crtc::MODE_CONTROL);
        // In word mode, the counter is rotated to the left by one bit before its bits 13 and 14 are replaced.
        let bank_bit = if control & crtc::BYTE_MODE != 0 { 13_u32 } else { 12 };
        let banks = Banks {
            row_0: (control & crtc::NO_CGA_BANKS == 0).then_some(bank_bit),
            row_1: (control & crtc::NO_HERCULES_BANKS == 0).then_some(bank_bit.saturating_add(1)),
        };
        Planes {
            format,
            addresses: u32::from(self.crtc.get(crtc::HORIZONTAL_DISPLAY_END)).saturating_add(1),
            dot_width: self.dot_width(),
            scan: self.scan(),
            start: self.start(),
            offset: self.offset(),
            wraps: true,
            panning: self.panning(panning),
            banks,
        }
    }

    fn scan(&self) -> Scan {
        let overflow = u32::from(self.crtc.get(crtc::OVERFLOW));
        let maximum = self.crtc.get(crtc::MAXIMUM_SCAN_LINE);
        let rows = u32::from(maximum & 0x1f).saturating_add(1);
        let end =
            u32::from(self.crtc.get(crtc::VERTICAL_DISPLAY_END)) | (overflow & 0x02) << 7 | (overflow & 0x40) << 3;
        let split = u32::from(self.crtc.get(crtc::LINE_COMPARE))
            | (overflow & u32::from(crtc::LINE_COMPARE_8)) << 4
            | u32::from(maximum & 0x40) << 3;
        let first_row = u32::from(self.crtc.get(crtc::PRESET_ROW_SCAN) & 0x1f);
        Scan {
            lines: end.saturating_add(1),
            rows,
            first_row: first_row.min(rows.saturating_sub(1)),
            row_lines: if maximum & crtc::DOUBLE_SCAN != 0 { 2 } else { 1 },
            split,
        }
    }

    fn dot_width(&self) -> u32 {
        if self.sequencer.get(sequencer::CLOCKING_MODE) & sequencer::HALF_DOT_CLOCK != 0 { 2 } else { 1 }
    }

    fn panning(&self, upper: u32) -> Panning {
        let compatible = self.attribute.get(attribute::MODE_CONTROL) & attribute::PANNING_COMPATIBLE != 0;
        Panning { upper, lower: if compatible { 0 } else { upper } }
    }

    /// Address of what is shown first, with byte panning.
    fn start(&self) -> u32 {
        let panning = self.crtc.get(crtc::PRESET_ROW_SCAN) >> 5 & 3;
        u32::from(self.crtc_pair(crtc::START_ADDRESS)).saturating_add(panning.into())
    }

    fn offset(&self) -> u32 {
        u32::from(self.crtc.get(crtc::OFFSET)) << 1
    }

    fn cursor(&self) -> Option<Cursor> {
        let start = self.crtc.get(crtc::CURSOR_START);
        let cursor = Cursor {
            address: self.crtc_pair(crtc::CURSOR_LOCATION),
            first: start & 0x1f,
            last: self.crtc.get(crtc::CURSOR_END) & 0x1f,
        };
        (start & crtc::CURSOR_OFF == 0 && cursor.first <= cursor.last).then_some(cursor)
    }

    /// Two registers of the CRTC that make one value, the high byte first.
    fn crtc_pair(&self, high: usize) -> u16 {
        u16::from_be_bytes([self.crtc.get(high), self.crtc.get(high.saturating_add(1))])
    }

    /// The 16 colours, through colour plane enable, palette and colour select.
    fn palette(&self) -> [u32; 16] {
        let select = self.attribute.get(attribute::COLOR_SELECT);
        let planes = self.attribute.get(attribute::PLANE_ENABLE) & 0x0f;
        let p5_p4 = self.attribute.get(attribute::MODE_CONTROL) & attribute::P5_P4_SELECT != 0;
        let mut palette = [0; 16];
        for (color, index) in palette.iter_mut().zip(0_u8..) {
            let value = self.attribute.get((index & planes).into()) & 0x3f;
            let number = if p5_p4 { value & 0x0f | (select & 0x0f) << 4 } else { value | (select & 0x0c) << 4 };
            *color = self.dac.color(number);
        }
        palette
    }
}

/// Where in plane 2 a font is: in units of 16 KiB, and half of that if `high`.
const fn font_address(low: u8, high: u8) -> u16 {
    (low as u16) << 14 | (high as u16) << 13
}
