//! What of a picture a viewer has not seen yet: a bit for each tile.
//!
//! Invariant: bits of tiles beyond the picture are clear.

use crate::rect::Rect;
use alloc::vec::Vec;

/// Columns of a tile.
const TILE_WIDTH: u16 = 64;

/// Rows of a tile: a line of text.
const TILE_HEIGHT: u16 = 16;

/// Pixels of a tile.
pub(crate) const TILE_AREA: usize = TILE_WIDTH as usize * TILE_HEIGHT as usize;

/// How large rectangles may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// Pixels; a tile is always within the limit.
    pub(crate) pixels: usize,
    /// Rows of tiles.
    pub(crate) rows: usize,
}

/// The changed tiles of a picture. A picture of 1280 by 800 pixels has 1000 bits of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Damage {
    size: (u16, u16),
    columns: usize,
    rows: usize,
    /// Rows of tiles, each beginning with a new word.
    bits: Vec<u64>,
    /// Bits that are set.
    count: usize,
    /// Column and row of the tile at which the next search begins, so that each gets its turn.
    cursor: (usize, usize),
}

/// A range of tiles: `left..right`, `top..bottom`.
struct Tiles {
    left: usize,
    right: usize,
    top: usize,
    bottom: usize,
}

/// Our tiles in the width of one of ZRLE.
const ZRLE_TILES: usize = 4;

impl Damage {
    /// For a picture of this size, all of which is damaged.
    pub(crate) fn all(size: (u16, u16)) -> Self {
        let columns = size.0.div_ceil(TILE_WIDTH).into();
        let rows = size.1.div_ceil(TILE_HEIGHT).into();
        let words = usize::div_ceil(columns, 64).saturating_mul(rows);
        let mut damage = Self { size, columns, rows, bits: alloc::vec![0; words], count: 0, cursor: (0, 0) };
        damage.add(&Rect::of_size(size));
        damage
    }

    /// Marks all tiles that `rect` touches.
    pub(crate) fn add(&mut self, rect: &Rect) {
        let tiles = self.tiles(rect);
        let words = self.columns.div_ceil(64).max(1);
        let rows = self.bits.chunks_mut(words).take(tiles.bottom).skip(tiles.top);
        for row in rows {
            for (word, first) in row.iter_mut().zip((0..).step_by(64)) {
                let mask = below(tiles.right.saturating_sub(first)) & !below(tiles.left.saturating_sub(first));
                self.count = self.count.saturating_add(usize::try_from((mask & !*word).count_ones()).unwrap_or(0));
                *word |= mask;
            }
        }
    }

    /// Whether a tile that `within` touches is damaged.
    pub(crate) fn touches(&self, within: &Rect) -> bool {
        if self.count == 0 {
            return false;
        }
        let tiles = self.tiles(within);
        (tiles.top..tiles.bottom).any(|row| (tiles.left..tiles.right).any(|column| self.get(column, row)))
    }

    /// Takes a rectangle of damaged tiles that `within` touches: as large as `limit` lets it be.
    pub(crate) fn take(&mut self, within: &Rect, limit: Limit) -> Option<Rect> {
        if self.count == 0 {
            return None;
        }
        let tiles = self.tiles(within);
        let most = limit.pixels.wrapping_div(TILE_AREA).max(1);
        let (column, row) = self.cursor;
        let first_of = |row: usize, left: usize| {
            (left..tiles.right).find(|column| self.get(*column, row)).map(|column| (column, row))
        };
        let here = if (tiles.top..tiles.bottom).contains(&row) { first_of(row, column.max(tiles.left)) } else { None };
        let after = || (row.saturating_add(1).max(tiles.top)..tiles.bottom).find_map(|row| first_of(row, tiles.left));
        let from_top = || (tiles.top..tiles.bottom).find_map(|row| first_of(row, tiles.left));
        let (left, top) = here.or_else(after).or_else(from_top)?;
        let lowest = tiles.bottom.min(top.saturating_add(limit.rows.clamp(1, most)));
        let bottom = (top..lowest).find(|row| !self.get(left, *row)).unwrap_or(lowest);
        let widest = most.checked_div(bottom.saturating_sub(top)).unwrap_or(1).max(1);
        // Whole tiles of ZRLE, where it has to be cut.
        let widest = if widest > ZRLE_TILES { widest.saturating_sub(widest % ZRLE_TILES) } else { widest };
        let rightmost = tiles.right.min(left.saturating_add(widest));
        let whole = |column: usize| (top..bottom).all(|row| self.get(column, row));
        let right = (left..rightmost).find(|column| !whole(*column)).unwrap_or(rightmost);
        self.cursor = (right, top);
        for row in top..bottom {
            for column in left..right {
                self.clear(column, row);
            }
        }
        if self.count == 0 {
            self.cursor = (0, 0);
        }
        Some(self.pixels(&Tiles { left, right, top, bottom }))
    }

    /// Damages what was made of damaged pixels of `from` when they were copied `dx` to the right and `dy` down.
    pub(crate) fn carry(&mut self, from: &Rect, dx: i32, dy: i32) {
        if !self.touches(from) {
            return;
        }
        let tiles = self.tiles(from);
        // Looked up before anything is marked: a mark must not be carried again.
        let before = self.clone();
        for row in tiles.top..tiles.bottom {
            for left in tiles.left..tiles.right {
                if before.get(left, row) {
                    let tile = Tiles { left, right: left.saturating_add(1), top: row, bottom: row.saturating_add(1) };
                    self.add(&self.pixels(&tile).intersection(from).shifted(dx, dy));
                }
            }
        }
    }

    /// The tiles that `rect` touches.
    fn tiles(&self, rect: &Rect) -> Tiles {
        let rect = rect.intersection(&Rect::of_size(self.size));
        if rect.is_empty() {
            return Tiles { left: 0, right: 0, top: 0, bottom: 0 };
        }
        let end = |pixels: u32, tile: u16| usize::try_from(pixels.div_ceil(tile.into())).unwrap_or(0);
        Tiles {
            left: rect.x.wrapping_div(TILE_WIDTH).into(),
            right: end(rect.right(), TILE_WIDTH).min(self.columns),
            top: rect.y.wrapping_div(TILE_HEIGHT).into(),
            bottom: end(rect.bottom(), TILE_HEIGHT).min(self.rows),
        }
    }

    /// The pixels of tiles.
    fn pixels(&self, tiles: &Tiles) -> Rect {
        let at = |tile: usize, pixels: u16| u16::try_from(tile.saturating_mul(pixels.into())).unwrap_or(u16::MAX);
        let (x, y) = (at(tiles.left, TILE_WIDTH), at(tiles.top, TILE_HEIGHT));
        let right = at(tiles.right, TILE_WIDTH).min(self.size.0);
        let bottom = at(tiles.bottom, TILE_HEIGHT).min(self.size.1);
        Rect::new(x, y, right.saturating_sub(x), bottom.saturating_sub(y))
    }

    fn place(&self, column: usize, row: usize) -> (usize, u64) {
        let word = row.saturating_mul(self.columns.div_ceil(64)).saturating_add(column >> 6);
        (word, 1_u64.wrapping_shl(u32::try_from(column & 63).unwrap_or(0)))
    }

    fn get(&self, column: usize, row: usize) -> bool {
        let (word, bit) = self.place(column, row);
        self.bits.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Clears a bit that is set.
    fn clear(&mut self, column: usize, row: usize) {
        let (word, bit) = self.place(column, row);
        if let Some(bits) = self.bits.get_mut(word) {
            *bits &= !bit;
            self.count = self.count.saturating_sub(1);
        }
    }
}

/// A word whose lowest bits are set.
fn below(bits: usize) -> u64 {
    u32::try_from(bits).ok().and_then(|bits| 1_u64.checked_shl(bits)).map_or(u64::MAX, |bit| bit.wrapping_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (u16, u16) = (200, 100);

    fn none() -> Damage {
        let mut damage = Damage::all(SIZE);
        taken(&mut damage, usize::MAX);
        damage
    }

    fn taken(damage: &mut Damage, pixels: usize) -> Vec<Rect> {
        core::iter::from_fn(|| damage.take(&Rect::of_size(SIZE), Limit { pixels, rows: 4 })).collect()
    }

    #[test]
    fn all_of_a_picture_is_taken_in_bands() {
        let mut damage = Damage::all(SIZE);
        assert_eq!(taken(&mut damage, usize::MAX), [Rect::new(0, 0, 200, 64), Rect::new(0, 64, 200, 36)]);
        assert!(!damage.touches(&Rect::of_size(SIZE)));
    }

    #[test]
    fn tiles_are_merged_up_to_a_number_of_pixels() {
        let mut damage = none();
        damage.add(&Rect::new(70, 20, 1, 1));
        damage.add(&Rect::new(130, 20, 1, 1));
        let mut again = damage.clone();
        assert_eq!(taken(&mut damage, 2048), [Rect::new(64, 16, 128, 16)]);
        assert_eq!(taken(&mut again, 2047), [Rect::new(64, 16, 64, 16), Rect::new(128, 16, 64, 16)]);
    }

    #[test]
    fn what_lies_beyond_the_picture_does_not_count() {
        let mut damage = none();
        damage.add(&Rect::new(200, 0, u16::MAX, u16::MAX));
        damage.add(&Rect::new(0, 100, u16::MAX, u16::MAX));
        damage.add(&Rect::new(5, 5, 0, 9));
        assert_eq!(taken(&mut damage, usize::MAX), []);
        damage.add(&Rect::new(199, 99, u16::MAX, u16::MAX));
        assert_eq!(taken(&mut damage, usize::MAX), [Rect::new(192, 96, 8, 4)]);
    }

    #[test]
    fn rows_take_turns() {
        let mut damage = Damage::all(SIZE);
        let everything = Rect::of_size(SIZE);
        let mut seen = [false; 7];
        for _ in 0..40 {
            let rect = damage.take(&everything, Limit { pixels: 1, rows: 4 }).unwrap();
            seen[usize::from(rect.y / 16)] = true;
            damage.add(&Rect::new(0, 0, 200, 16));
        }
        assert_eq!(seen, [true; 7]);
    }

    #[test]
    fn damage_is_carried_with_what_is_copied() {
        let mut damage = none();
        damage.add(&Rect::new(0, 64, 1, 1));
        damage.carry(&Rect::new(0, 32, 200, 68), 0, -32);
        assert_eq!(taken(&mut damage, 1024), [Rect::new(0, 32, 64, 16), Rect::new(0, 64, 64, 16)]);
    }
}
