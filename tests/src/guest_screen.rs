//! What the screen has to show while a test guest draws: the other side of `guests::pattern`.

use anyhow::{Result, ensure};
use guests::pattern;

/// A picture as a viewer saw it.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `0x00RRGGBB`, row by row from the top.
    pub pixels: &'a [u32],
}

impl Picture<'_> {
    /// One pixel; black outside.
    #[must_use]
    pub fn pixel(&self, x: u32, y: u32) -> u32 {
        let at = u64::from(y) * u64::from(self.width) + u64::from(x);
        usize::try_from(at).ok().and_then(|at| self.pixels.get(at)).copied().unwrap_or(0)
    }

    /// Compares with what each pixel has to be, every channel within `tolerance`.
    fn compare(&self, width: u32, height: u32, tolerance: u8, expected: impl Fn(u32, u32) -> u32) -> Result<()> {
        ensure!(
            (self.width, self.height) == (width, height),
            "{} × {}, not {width} × {height}",
            self.width,
            self.height
        );
        for y in 0..height {
            for x in 0..width {
                let (is, must) = (self.pixel(x, y), expected(x, y));
                ensure!(alike(is, must, tolerance), "pixel {x}, {y} is {is:06x}, not {must:06x}");
            }
        }
        Ok(())
    }
}

/// Whether two colours differ by at most `tolerance` in each channel.
fn alike(one: u32, two: u32, tolerance: u8) -> bool {
    one.to_le_bytes().iter().zip(two.to_le_bytes()).take(3).all(|(one, two)| one.abs_diff(two) <= tolerance)
}

/// A channel of so many bits as one of eight: the upper bits fill the lower ones. How cards do this differs by a little.
fn widen(value: u8, bits: u32) -> u8 {
    let full = u16::from(value) * 255 / ((1 << bits) - 1);
    u8::try_from(full).unwrap_or(u8::MAX)
}

fn colour([red, green, blue]: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, red, green, blue])
}

/// The palette that the guest loads.
fn palette(index: u8) -> u32 {
    colour(pattern::palette_entry(index).map(|channel| widen(channel, 6)))
}

/// Colour `number` of the sixteen that text and planar modes start with.
#[must_use]
pub fn standard_colour(number: u8) -> u32 {
    // Six bits of a channel: 0x2a for its bit, 0x15 more with the bit for intensity; dark yellow is brown.
    let bright = if number & 8 == 0 { 0 } else { 0x15 };
    let channel = |bit: u8| if number & bit == 0 { bright } else { 0x2a + bright };
    let green = if number == 6 { 0x15 } else { channel(2) };
    colour([channel(4), green, channel(1)].map(|channel| widen(channel, 6)))
}

/// The cases `vbe` and `vbe-banked` in this mode.
///
/// # Errors
/// The size or a pixel is wrong.
pub fn check_vbe(picture: Picture<'_>, width: u32, height: u32, bits: u32) -> Result<()> {
    let tolerance = if bits >= 24 { 0 } else { 8 };
    picture.compare(width, height, tolerance, |x, y| match bits {
        8 => palette(pattern::palette_index(x, y)),
        _ => pattern::true_colour(x, y),
    })
}

/// The case `mode-13h`. A card may show each of its pixels as two by two.
///
/// # Errors
/// The size or a pixel is wrong.
pub fn check_mode_13h(picture: Picture<'_>) -> Result<()> {
    let scale = if picture.width == 640 { 2 } else { 1 };
    picture.compare(320 * scale, 200 * scale, 4, |x, y| palette(pattern::palette_index(x / scale, y / scale)))
}

/// The case `mode-12h`.
///
/// # Errors
/// The size or a pixel is wrong.
pub fn check_mode_12h(picture: Picture<'_>) -> Result<()> {
    picture.compare(640, 480, 4, |x, y| standard_colour(pattern::mode_12h(x, y)))
}

/// The case `text`, for cells of 8 or 9 by 16 pixels.
///
/// The font is the firmware's, so a glyph is only known for the character that the guest replaced. For every other one,
/// all its cells have to show the same glyph in the colours of their attributes.
///
/// # Errors
/// The size, a colour or a glyph is wrong.
pub fn check_text(picture: Picture<'_>) -> Result<()> {
    let (columns, rows) = (u32::from(pattern::TEXT_COLUMNS), u32::from(pattern::TEXT_ROWS));
    let cell_width = picture.width / columns;
    ensure!(
        matches!(cell_width, 8 | 9) && picture.width.is_multiple_of(columns) && picture.height == rows * 16,
        "{} × {} pixels",
        picture.width,
        picture.height
    );
    let mut font: [Option<[u8; 16]>; 256] = [None; 256];
    font[usize::from(pattern::GLYPH_CHARACTER)] = Some(pattern::GLYPH);
    for row in 0..pattern::TEXT_ROWS {
        for column in 0..pattern::TEXT_COLUMNS {
            let (character, attribute) = pattern::text_cell(row, column);
            let (front, back) = (standard_colour(attribute & 15), standard_colour(attribute >> 4));
            let mut glyph = [0_u8; 16];
            for (bits, y) in glyph.iter_mut().zip(0..) {
                for x in 0..8 {
                    let is = picture.pixel(u32::from(column) * cell_width + x, u32::from(row) * 16 + y);
                    let (is_front, is_back) = (alike(is, front, 4), alike(is, back, 4));
                    ensure!(
                        is_front || is_back,
                        "row {row} column {column}: {is:06x} is not of attribute {attribute:02x}"
                    );
                    *bits = *bits << 1 | u8::from(is_front);
                }
            }
            // With one colour for both there is nothing to see.
            if front != back {
                let known = font[usize::from(character)].get_or_insert(glyph);
                ensure!(
                    *known == glyph,
                    "row {row} column {column}: character {character:#04x} shows {glyph:x?}, not {known:x?}"
                );
            }
        }
    }
    let letter = font[usize::from(b'A')].unwrap_or_default();
    let blank = font[usize::from(b' ')].unwrap_or([1; 16]);
    ensure!(blank == [0; 16] && letter != [0; 16], "the font has no blank or no letters");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_colours_are_the_known_ones() {
        let names = [(0, 0x00_0000), (1, 0x00_00aa), (6, 0xaa_5500), (7, 0xaa_aaaa), (8, 0x55_5555), (15, 0xff_ffff)];
        for (number, expected) in names {
            assert!(alike(standard_colour(number), expected, 1), "{number}");
        }
    }

    #[test]
    fn a_single_wrong_pixel_is_found() {
        let mut pixels: Vec<u32> = (0..64 * 48).map(|at| pattern::true_colour(at % 64, at / 64)).collect();
        assert!(check_vbe(Picture { width: 64, height: 48, pixels: &pixels }, 64, 48, 32).is_ok());
        assert!(check_vbe(Picture { width: 64, height: 48, pixels: &pixels }, 48, 64, 32).is_err());
        pixels[100] ^= 1;
        assert!(check_vbe(Picture { width: 64, height: 48, pixels: &pixels }, 64, 48, 32).is_err());
    }

    #[test]
    fn a_text_screen_without_letters_is_refused() {
        let pixels = vec![0; 720 * 400];
        assert!(check_text(Picture { width: 720, height: 400, pixels: &pixels }).is_err());
    }
}
