//! Contents of disks and of screens, computed alike by the guest and by the suite that runs it.

use crate::random::Random;

/// Fills one sector: its number, the seed of its disk, and random bytes that follow from the two.
pub fn sector(seed: u64, lba: u64, data: &mut [u8; 512]) {
    let mut random = Random::new(seed.wrapping_mul(0x1_0000_0001).wrapping_add(lba));
    let (words, _) = data.as_chunks_mut::<8>();
    for (at, word) in words.iter_mut().enumerate() {
        *word = match at {
            0 => lba,
            1 => seed,
            _ => random.next_u64(),
        }
        .to_le_bytes();
    }
}

/// Whether a sector holds what [`sector`] put there.
#[must_use]
pub fn sector_matches(seed: u64, lba: u64, data: &[u8]) -> bool {
    let mut expected = [0; 512];
    sector(seed, lba, &mut expected);
    data == expected
}

/// Columns of the text screen.
pub const TEXT_COLUMNS: u16 = 80;
/// Rows of the text screen.
pub const TEXT_ROWS: u16 = 25;
/// The character whose glyph the text case replaces by [`GLYPH`].
pub const GLYPH_CHARACTER: u8 = 1;
/// A glyph of 8 × 16 pixels, the most significant bit left, that no font has.
pub const GLYPH: [u8; 16] =
    [0xff, 0x81, 0xbd, 0xa5, 0xa5, 0xbd, 0x81, 0xff, 0x18, 0x24, 0x42, 0x81, 0x81, 0x42, 0x24, 0x18];

/// Character and attribute of a cell of the text screen: every character and every attribute appears.
///
/// Attributes are without blinking: four bits foreground, four bits background.
#[must_use]
pub fn text_cell(row: u16, column: u16) -> (u8, u8) {
    let cell = row.wrapping_mul(TEXT_COLUMNS).wrapping_add(column);
    // Characters repeat every 256 cells, each time with another attribute.
    let [character, round] = cell.to_le_bytes();
    let attribute = character.wrapping_mul(7).wrapping_add(round.wrapping_mul(37));
    (character, attribute)
}

/// The colour of a pixel of the linear modes, `0x00RRGGBB`: ramps of red and green, and a blue grid.
#[must_use]
pub fn true_colour(x: u32, y: u32) -> u32 {
    let red = x & 0xff;
    let green = y & 0xff;
    let blue = if x.is_multiple_of(16) || y.is_multiple_of(16) { 0xff } else { (x ^ y) & 0x7f };
    red << 16 | green << 8 | blue
}

/// The palette index of a pixel of mode 13h and of the 8-bit linear modes.
#[must_use]
pub fn palette_index(x: u32, y: u32) -> u8 {
    let [low, ..] = x.wrapping_add(y.wrapping_mul(3)).to_le_bytes();
    low
}

/// The entry of the palette that the guest loads for an index: red, green and blue of 6 bits.
#[must_use]
pub const fn palette_entry(index: u8) -> [u8; 3] {
    [index & 0x3f, index >> 2, 0x3f - (index & 0x3f)]
}

/// What mode 12h shows: [`planar_colour`] in the upper half, in the lower half in every sixteenth column of 8 pixels
/// alone, and black (0) beside them.
#[must_use]
pub fn mode_12h(x: u32, y: u32) -> u8 {
    if y < 240 || (x / 8).is_multiple_of(16) { planar_colour(x, y) } else { 0 }
}

/// The colour number, 0 to 15, of a pixel of the planar mode 12h where it is drawn.
#[must_use]
pub fn planar_colour(x: u32, y: u32) -> u8 {
    let [low, ..] = ((x / 8).wrapping_add(y / 4) ^ (x & 7)).to_le_bytes();
    low & 0x0f
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_is_told_from_its_neighbours_and_from_other_disks() {
        let mut data = [0; 512];
        sector(3, 17, &mut data);
        assert!(sector_matches(3, 17, &data));
        assert!(!sector_matches(3, 18, &data));
        assert!(!sector_matches(4, 17, &data));
        data[511] ^= 1;
        assert!(!sector_matches(3, 17, &data));
        assert!(!sector_matches(3, 17, &data[..511]));
    }

    #[test]
    fn the_text_screen_shows_every_character_and_every_attribute() {
        let mut characters = [false; 256];
        let mut attributes = [false; 256];
        for row in 0..TEXT_ROWS {
            for column in 0..TEXT_COLUMNS {
                let (character, attribute) = text_cell(row, column);
                characters[usize::from(character)] = true;
                attributes[usize::from(attribute)] = true;
            }
        }
        assert!(characters.iter().all(|seen| *seen));
        assert!(attributes.iter().all(|seen| *seen));
    }
}
