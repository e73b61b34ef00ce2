//! From the description of the picture to pixels.
//!
//! What has to be drawn follows from three things: the description, compared with the one that was drawn last; the
//! pages of video memory that were written through the card; and, in the linear modes, those that the guest wrote
//! through the aperture. Characters are compared cell by cell with those that were drawn.
//!
//! Invariant: memory is taken at mode changes only, and no more than a line of pixels, 32768 cells and two fonts.

use super::Written;
use super::dac::Dac;
use super::dispi::Depth;
use super::modes::{Band, Cursor, Linear, Picture, PlaneFormat, Planes, Pointer, Text, TextLook};
use crate::host::{Surface, VideoMemory};
use alloc::vec;
use alloc::vec::Vec;

/// The most cells that are kept in mind; no mode that anybody uses has a third of it.
const MAX_CELLS: usize = 32768;
/// Bytes of a font: 256 characters of 32 rows.
const FONT_BYTES: usize = 8192;
/// What the 16-bit address counter reaches, in bytes of video memory.
const PLANES_BYTES: u32 = 0x4_0000;
/// The size of the surface before the guest has chosen one.
const FIRST_SIZE: (u32, u32) = (640, 480);

/// What was drawn, and room for drawing.
#[derive(Clone, Debug, Default)]
pub(super) struct Screen {
    size: Option<(u32, u32)>,
    drawn: Option<Picture>,
    /// The pointer that was drawn.
    pointer: Option<Pointer>,
    /// The cells that are on the screen, as [`cell_key`] has them.
    cells: Vec<u32>,
    /// The two fonts.
    fonts: Vec<u8>,
    colors: Vec<u32>,
    bytes: Vec<u8>,
    pixels: Vec<u32>,
    /// Pages written by the guest, for [`VideoMemory::video_dirty`].
    aperture: Vec<u8>,
}

impl Screen {
    pub(super) fn new(memory_bytes: u32) -> Self {
        Self {
            size: None,
            drawn: None,
            pointer: None,
            cells: Vec::new(),
            fonts: Vec::new(),
            colors: Vec::new(),
            bytes: Vec::new(),
            pixels: Vec::new(),
            aperture: vec![0; memory_bytes.div_ceil(4096).div_ceil(8) as usize],
        }
    }

    pub(super) const fn size(&self) -> Option<(u32, u32)> {
        self.size
    }

    /// Draws what changed, all of it if `full`.
    pub(super) fn refresh<H: VideoMemory, S: Surface>(
        &mut self,
        host: &mut H,
        surface: &mut S,
        dac: &Dac,
        (picture, pointer): (Picture, Option<Pointer>),
        written: &mut Written,
        full: bool,
    ) {
        let size = match &picture {
            Picture::Blank => self.size.unwrap_or(FIRST_SIZE),
            Picture::Text(text) => (text.look.width(), text.look.scan.lines),
            Picture::Planes(planes) => (planes.width(), planes.scan.lines),
            Picture::Linear(linear) => (linear.geometry.width, linear.geometry.height),
        };
        let resized = full || self.size != Some(size);
        if resized {
            if !surface.resize(size.0, size.1) {
                // What the guest writes meanwhile is not followed.
                self.drawn = None;
                return;
            }
            self.size = Some(size);
        }
        let redraw = resized || self.drawn.as_ref() != Some(&picture);
        match &picture {
            Picture::Blank if redraw => self.draw_blank(surface, size),
            Picture::Blank => {}
            Picture::Text(text) => self.draw_text(host, surface, text, written, resized),
            Picture::Planes(planes) => self.draw_planes(host, surface, dac, planes, written, redraw),
            Picture::Linear(linear) => {
                self.draw_linear(host, surface, dac, (linear, pointer.as_ref()), written, redraw)
            }
        }
        if redraw {
            self.drawn = Some(picture);
        }
        self.pointer = pointer;
        written.clear();
    }

    fn draw_blank<S: Surface>(&mut self, surface: &mut S, (width, height): (u32, u32)) {
        grow(&mut self.pixels, width as usize);
        let Some(line) = self.pixels.get_mut(..width as usize) else { return };
        line.fill(0);
        for y in 0..height {
            surface.write(0, y, line);
        }
        surface.changed(0, 0, width, height);
    }

    fn draw_text<H: VideoMemory, S: Surface>(
        &mut self,
        host: &mut H,
        surface: &mut S,
        text: &Text,
        written: &Written,
        resized: bool,
    ) {
        let look = &text.look;
        let before = match &self.drawn {
            Some(Picture::Text(before)) if !resized => Some(before),
            _ => None,
        };
        if !written.any && before == Some(text) {
            return;
        }
        let looks_alike = before.is_some_and(|before| before.look == *look);
        // One more than is shown, for panning.
        let columns = (look.columns as usize).saturating_add(1);
        let same_font = looks_alike && !written.fonts;
        if !same_font {
            self.load_fonts(host, look.fonts);
            let bands = look.scan.bands(0, 0).count();
            self.cells.clear();
            // A picture with more cells is drawn anew every time.
            if let Some(cells) = bands.checked_mul(columns).filter(|cells| *cells <= MAX_CELLS) {
                self.cells.resize(cells, 0);
            }
        }
        grow(&mut self.bytes, columns.saturating_mul(4));
        grow(&mut self.pixels, columns.saturating_mul(look.cell_width() as usize));
        let Some(row) = self.bytes.get_mut(..columns.saturating_mul(4)) else { return };
        let mut shadow = self.cells.chunks_exact_mut(columns);
        for band in look.scan.bands(text.start, text.offset) {
            read_planes(host, band.address, true, row);
            let changed = match shadow.next() {
                Some(shadow) => update_cells(shadow, row, band.address, text.cursor),
                None => Some((0, columns)),
            };
            let Some((first, end)) = changed else { continue };
            let panning = if band.lower { look.panning.lower } else { look.panning.upper };
            // The last cell is seen only where the picture is panned, and then a cell is not where its number says.
            let (first, end) = if panning == 0 { (first, end.min(columns.saturating_sub(1))) } else { (0, columns) };
            let Some(cells @ [_, ..]) = row.as_chunks::<4>().0.get(first..end) else { continue };
            let drawing = TextRow { look, fonts: &self.fonts, cursor: text.cursor, band, first };
            drawing.draw(surface, cells, panning, &mut self.pixels);
        }
    }

    /// Takes the fonts out of plane 2.
    fn load_fonts<H: VideoMemory>(&mut self, host: &H, addresses: [u16; 2]) {
        self.fonts.resize(FONT_BYTES.saturating_mul(2), 0);
        for (font, address) in self.fonts.chunks_exact_mut(FONT_BYTES).zip(addresses) {
            let mut at = u32::from(address);
            for piece in font.chunks_exact_mut(256) {
                let mut planes = [[0; 4]; 256];
                read_planes(host, at, true, planes.as_flattened_mut());
                for (row, [_, _, plane_2, _]) in piece.iter_mut().zip(planes) {
                    *row = plane_2;
                }
                at = at.saturating_add(256);
            }
        }
    }

    fn draw_planes<H: VideoMemory, S: Surface>(
        &mut self,
        host: &mut H,
        surface: &mut S,
        dac: &Dac,
        planes: &Planes,
        written: &Written,
        redraw: bool,
    ) {
        if !redraw && !written.any {
            return;
        }
        if redraw {
            load_colors(&mut self.colors, dac);
        }
        let (width, dot_width) = (planes.width() as usize, planes.dot_width as usize);
        // One more than is shown, for panning.
        let fetched = (planes.addresses as usize).saturating_add(1).saturating_mul(4);
        grow(&mut self.bytes, fetched);
        grow(&mut self.pixels, fetched.saturating_mul(2).saturating_mul(dot_width));
        let Some(bytes) = self.bytes.get_mut(..fetched) else { return };
        let mut changes = Changes::new(planes.width());
        for band in planes.scan.bands(planes.start, planes.offset) {
            let panning = if band.lower { planes.panning.lower } else { planes.panning.upper };
            let mut shown = None;
            for (line, y) in (band.skipped..).zip(band.y..).take(band.lines as usize) {
                let row = line.checked_div(planes.scan.row_lines).unwrap_or(0);
                let mut address = band.address;
                for (bank, bit) in [(planes.banks.row_0, row & 1), (planes.banks.row_1, row >> 1 & 1)] {
                    if let Some(bank) = bank {
                        address = address & !(1 << bank) | bit << bank;
                    }
                }
                if !redraw && !plane_pages_written(written, address, planes, fetched) {
                    continue;
                }
                if shown != Some(address) {
                    read_planes(host, address, planes.wraps, bytes);
                    convert_planes(planes.format, &self.colors, bytes, dot_width, &mut self.pixels);
                    shown = Some(address);
                }
                let from = (panning as usize).saturating_mul(dot_width);
                let pixels = self.pixels.get(from..from.saturating_add(width)).unwrap_or(&[]);
                surface.write(0, y, pixels);
                changes.line(surface, y);
            }
        }
        changes.end(surface);
    }

    fn draw_linear<H: VideoMemory, S: Surface>(
        &mut self,
        host: &mut H,
        surface: &mut S,
        dac: &Dac,
        (linear, pointer): (&Linear, Option<&Pointer>),
        written: &Written,
        redraw: bool,
    ) {
        let geometry = &linear.geometry;
        let (width, depth) = (geometry.width, geometry.depth);
        let line_bytes = depth.bytes(width);
        let start = linear.start;
        let last_line = start.saturating_add(geometry.pitch.saturating_mul(geometry.height.saturating_sub(1)));
        let last_page = |line: u32| line.saturating_add(line_bytes.saturating_sub(1)) >> 12;
        let first_page = start >> 12;
        let pages = last_page(last_line).saturating_sub(first_page).saturating_add(1);
        let groups = (pages.div_ceil(8) as usize).min(self.aperture.len());
        let Some(dirty) = self.aperture.get_mut(..groups) else { return };
        // Asked before the pixels are read: what is written from now on is reported the next time.
        host.video_dirty(first_page, dirty);
        let moved = [self.pointer.as_ref(), pointer].map(|shown| shown.filter(|_| self.pointer.as_ref() != pointer));
        let is_under_pointer = |y: u32| moved.iter().flatten().any(|pointer| pointer.row(y).is_some());
        let has_moved = moved.iter().any(Option::is_some);
        if !redraw && !written.any && !has_moved && dirty.iter().all(|group| *group == 0) {
            return;
        }
        let is_dirty = |page: u32| {
            let index = page.saturating_sub(first_page);
            dirty.get(index as usize >> 3).is_some_and(|group| group >> (index & 7) & 1 != 0)
        };
        if redraw && depth == Depth::Indexed8 {
            load_colors(&mut self.colors, dac);
        }
        grow(&mut self.bytes, line_bytes as usize);
        grow(&mut self.pixels, width as usize);
        let Some(bytes) = self.bytes.get_mut(..line_bytes as usize) else { return };
        let Some(pixels) = self.pixels.get_mut(..width as usize) else { return };
        let mut changes = Changes::new(width);
        let mut line = start;
        for y in 0..geometry.height {
            let touched = (line >> 12)..=last_page(line);
            let is_touched = written.contains(touched.clone()) || touched.into_iter().any(is_dirty);
            if redraw || is_touched || is_under_pointer(y) {
                host.video_read(line, bytes);
                convert_linear(depth, linear.big_endian, &self.colors, bytes, pixels);
                if let Some(pointer) = pointer {
                    pointer.draw(y, pixels);
                }
                surface.write(0, y, pixels);
                changes.line(surface, y);
            }
            line = line.saturating_add(geometry.pitch);
        }
        changes.end(surface);
    }
}

impl Pointer {
    /// The row of it that line `y` shows.
    fn row(&self, y: u32) -> Option<[u64; 2]> {
        let row = y.checked_sub(self.y).filter(|row| *row < self.size)?;
        self.planes.get(row as usize).copied()
    }

    /// Draws it over a line.
    fn draw(&self, y: u32, line: &mut [u32]) {
        let Some([first, second]) = self.row(y) else { return };
        let pixels = line.iter_mut().skip(self.x as usize).take(self.size as usize);
        let [color_0, color_1] = self.colors;
        for (pixel, bit) in pixels.zip((0..64_u32).rev()) {
            match (first >> bit & 1, second >> bit & 1) {
                (0, 0) => {}
                (1, 0) => *pixel ^= 0x00ff_ffff,
                (0, _) => *pixel = color_0,
                _ => *pixel = color_1,
            }
        }
    }
}

/// Lines that changed, gathered into as few rectangles as they make.
struct Changes {
    width: u32,
    /// First line of the rectangle that grows, and the line after its last.
    lines: Option<(u32, u32)>,
}

impl Changes {
    const fn new(width: u32) -> Self {
        Self { width, lines: None }
    }

    /// Adds a line; lines come from top to bottom.
    fn line<S: Surface>(&mut self, surface: &mut S, y: u32) {
        match &mut self.lines {
            Some((_, end)) if *end == y => *end = y.saturating_add(1),
            _ => {
                self.end(surface);
                self.lines = Some((y, y.saturating_add(1)));
            }
        }
    }

    /// Reports what is left.
    fn end<S: Surface>(&mut self, surface: &mut S) {
        if let Some((first, end)) = self.lines.take() {
            surface.changed(0, first, self.width, end.saturating_sub(first));
        }
    }
}

/// A part of a row of characters.
struct TextRow<'a> {
    look: &'a TextLook,
    fonts: &'a [u8],
    cursor: Option<Cursor>,
    band: Band,
    /// The column of the first cell.
    first: usize,
}

impl TextRow<'_> {
    fn draw<S: Surface>(&self, surface: &mut S, cells: &[[u8; 4]], panning: u32, pixels: &mut [u32]) {
        let (look, band) = (self.look, self.band);
        let cell_width = look.cell_width() as usize;
        let all = cells.len().saturating_mul(cell_width);
        // A panned row is a whole one: what is drawn of its last cell is what the panning leaves room for.
        let from = panning.saturating_mul(look.dot_width) as usize;
        let to = if panning == 0 { all } else { from.saturating_add(look.width() as usize) };
        let x = u32::try_from(self.first.saturating_mul(cell_width)).unwrap_or(u32::MAX);
        let mut drawn_row = None;
        for (line, y) in (band.skipped..).zip(band.y..).take(band.lines as usize) {
            let row = line.checked_div(look.scan.row_lines).unwrap_or(0);
            if drawn_row != Some(row) {
                let addresses = (band.address as usize).wrapping_add(self.first)..;
                for ((cell, address), out) in cells.iter().zip(addresses).zip(pixels.chunks_exact_mut(cell_width)) {
                    self.draw_cell_row(*cell, address, row, out);
                }
                drawn_row = Some(row);
            }
            surface.write(x, y, pixels.get(from..to).unwrap_or(&[]));
        }
        let width = u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX);
        surface.changed(x, band.y, width, band.lines);
    }

    /// Draws one row of one character.
    fn draw_cell_row(&self, [character, attribute, ..]: [u8; 4], address: usize, row: u32, out: &mut [u32]) {
        let look = self.look;
        let foreground = color(&look.palette, attribute & 0x0f);
        let background = color(&look.palette, if look.blink { attribute >> 4 & 7 } else { attribute >> 4 });
        let row = u8::try_from(row).unwrap_or(u8::MAX);
        let font = if attribute & 0x08 != 0 { FONT_BYTES } else { 0 };
        let at = usize::from(character) << 5 | usize::from(row & 0x1f) | font;
        let glyph = self.fonts.get(at).copied().unwrap_or(0);
        let repeated = look.line_graphics && (0xc0..=0xdf).contains(&character);
        let mut dots = u32::from(glyph) << 1 | u32::from(repeated && glyph & 1 != 0);
        let in_cursor = self.cursor.is_some_and(|cursor| {
            usize::from(cursor.address) == address & 0xffff && (cursor.first..=cursor.last).contains(&row)
        });
        // An underline is what a monochrome display makes of foreground 1 on background 0.
        if in_cursor || attribute & 0x77 == 0x01 && row == look.underline {
            dots = 0x1ff;
        }
        for (dot, bit) in out.chunks_exact_mut(look.dot_width as usize).zip((0..9_u32).rev()) {
            dot.fill(if dots >> bit & 1 != 0 { foreground } else { background });
        }
    }
}

/// Puts the cells of a row in mind; the columns, first and one after the last, between which some changed.
fn update_cells(shadow: &mut [u32], row: &[u8], address: u32, cursor: Option<Cursor>) -> Option<(usize, usize)> {
    let mut changed = None;
    let cells = row.as_chunks::<4>().0.iter().zip(address..);
    for ((shadow, (cell, address)), column) in shadow.iter_mut().zip(cells).zip(0_usize..) {
        let key = cell_key(*cell, cursor.filter(|cursor| u32::from(cursor.address) == address & 0xffff));
        if *shadow != key {
            *shadow = key;
            let first = changed.map_or(column, |(first, _)| first);
            changed = Some((first, column.saturating_add(1)));
        }
    }
    changed
}

/// All that decides how one cell differs from another, never zero: character, attribute, and the cursor if it is here.
fn cell_key([character, attribute, ..]: [u8; 4], cursor: Option<Cursor>) -> u32 {
    let cursor =
        cursor.map_or(0, |Cursor { first, last, .. }| 1 << 30 | u32::from(first) << 16 | u32::from(last) << 21);
    1 << 31 | cursor | u32::from(attribute) << 8 | u32::from(character)
}

/// Reads the planes from planar address `address` on, four bytes for each. The address counter is 16 bits wide if it
/// `wraps`.
fn read_planes<H: VideoMemory>(host: &H, address: u32, wraps: bool, data: &mut [u8]) {
    if !wraps {
        return host.video_read(address.saturating_mul(4), data);
    }
    let offset = (address & 0xffff) << 2;
    let room = PLANES_BYTES.saturating_sub(offset) as usize;
    let (first, second) = data.split_at_mut(room.min(data.len()));
    host.video_read(offset, first);
    if !second.is_empty() {
        host.video_read(0, second);
    }
}

/// Whether any of the bytes that a line shows was written through the card.
fn plane_pages_written(written: &Written, address: u32, planes: &Planes, fetched: usize) -> bool {
    let length = u32::try_from(fetched.saturating_sub(1)).unwrap_or(u32::MAX);
    let offset = if planes.wraps { (address & 0xffff) << 2 } else { address.saturating_mul(4) };
    let last = offset.saturating_add(length);
    if planes.wraps && last >= PLANES_BYTES && written.contains(0..=(last & 0x3_ffff) >> 12) {
        return true;
    }
    written.contains(offset >> 12..=last >> 12)
}

fn convert_planes(format: PlaneFormat, colors: &[u32], bytes: &[u8], dot_width: usize, pixels: &mut [u32]) {
    let groups = bytes.as_chunks::<4>().0.iter().zip(pixels.chunks_exact_mut(dot_width.saturating_mul(8)));
    for (planes, out) in groups {
        match format {
            PlaneFormat::Planar(palette) => {
                let dots = out.chunks_exact_mut(dot_width).zip((0..8_u32).rev());
                for (dot, bit) in dots {
                    let [a, b, c, d] = planes.map(|plane| plane >> bit & 1);
                    dot.fill(color(&palette, a | b << 1 | c << 2 | d << 3));
                }
            }
            PlaneFormat::Interleaved(palette) => {
                let [a, b, c, d] = *planes;
                let halves = [(a, c), (b, d)];
                for (half, (low, high)) in out.chunks_exact_mut(dot_width.saturating_mul(4)).zip(halves) {
                    for (dot, shift) in half.chunks_exact_mut(dot_width).zip([6_u32, 4, 2, 0]) {
                        dot.fill(color(&palette, low >> shift & 3 | (high >> shift & 3) << 2));
                    }
                }
            }
            PlaneFormat::Packed { .. } => {
                for (pixel, index) in out.chunks_exact_mut(dot_width.saturating_mul(2)).zip(planes) {
                    pixel.fill(color(colors, *index));
                }
            }
        }
    }
}

fn convert_linear(depth: Depth, big_endian: bool, colors: &[u32], bytes: &[u8], pixels: &mut [u32]) {
    let word = if big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
    match depth {
        // Drawn from planes, never from here.
        Depth::Planar4 => {}
        Depth::Indexed8 => {
            for (pixel, index) in pixels.iter_mut().zip(bytes) {
                *pixel = color(colors, *index);
            }
        }
        Depth::Rgb555 => {
            for (pixel, bytes) in pixels.iter_mut().zip(bytes.as_chunks().0) {
                let value = u32::from(word(*bytes));
                *pixel = five_bits(value >> 10) << 16 | five_bits(value >> 5) << 8 | five_bits(value);
            }
        }
        Depth::Rgb565 => {
            for (pixel, bytes) in pixels.iter_mut().zip(bytes.as_chunks().0) {
                let value = u32::from(word(*bytes));
                let green = value >> 5 & 0x3f;
                let green = green << 2 | green >> 4;
                *pixel = five_bits(value >> 11) << 16 | green << 8 | five_bits(value);
            }
        }
        Depth::Rgb888 => {
            for (pixel, [a, b, c]) in pixels.iter_mut().zip(bytes.as_chunks().0) {
                *pixel = u32::from_le_bytes(if big_endian { [*c, *b, *a, 0] } else { [*a, *b, *c, 0] });
            }
        }
        Depth::Xrgb8888 if big_endian => {
            for (pixel, bytes) in pixels.iter_mut().zip(bytes.as_chunks().0) {
                *pixel = u32::from_be_bytes(*bytes) & 0x00ff_ffff;
            }
        }
        // What nearly every system uses: a loop of its own, without a choice for each pixel.
        Depth::Xrgb8888 => {
            for (pixel, bytes) in pixels.iter_mut().zip(bytes.as_chunks().0) {
                *pixel = u32::from_le_bytes(*bytes) & 0x00ff_ffff;
            }
        }
    }
}

/// The low five bits as eight.
const fn five_bits(value: u32) -> u32 {
    let value = value & 0x1f;
    value << 3 | value >> 2
}

fn load_colors(colors: &mut Vec<u32>, dac: &Dac) {
    colors.clear();
    colors.extend((0..=255).map(|index| dac.color(index)));
}

fn color(palette: &[u32], index: u8) -> u32 {
    palette.get(usize::from(index)).copied().unwrap_or(0)
}

/// Makes `buffer` hold at least `len` elements.
fn grow<T: Copy + Default>(buffer: &mut Vec<T>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
}
