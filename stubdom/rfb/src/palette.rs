//! The different colours of a tile.

/// Colours that a palette can hold.
const CAPACITY: usize = 256;

/// Slots of the hash table; twice as many, so that a search meets an empty one soon.
const SLOTS: usize = 512;

/// Colours in the order in which they were met, found again by a hash table.
pub(crate) struct Palette {
    colours: [u32; CAPACITY],
    count: usize,
    /// Index of a colour, plus one.
    slots: [u16; SLOTS],
}

impl Palette {
    /// An empty one.
    pub(crate) const fn new() -> Self {
        Self { colours: [0; CAPACITY], count: 0, slots: [0; SLOTS] }
    }

    /// Forgets all colours.
    pub(crate) fn clear(&mut self) {
        if self.count > 0 {
            self.count = 0;
            self.slots = [0; SLOTS];
        }
    }

    /// The colours.
    pub(crate) fn colours(&self) -> &[u32] {
        self.colours.get(..self.count).unwrap_or_default()
    }

    /// Adds a colour, unless it is there. False: there are `most` already, or 256.
    pub(crate) fn insert(&mut self, colour: u32, most: usize) -> bool {
        for slot in probe(colour) {
            let Some(entry) = self.slots.get_mut(slot) else { return false };
            match usize::from(*entry).checked_sub(1) {
                Some(index) if self.colours.get(index) == Some(&colour) => return true,
                Some(_) => {}
                None => {
                    let Some(place) = self.colours.get_mut(self.count) else { return false };
                    if self.count >= most {
                        return false;
                    }
                    *place = colour;
                    self.count = self.count.saturating_add(1);
                    *entry = u16::try_from(self.count).unwrap_or(0);
                    return true;
                }
            }
        }
        false
    }

    /// The index of a colour that is there; else 0.
    pub(crate) fn index(&self, colour: u32) -> u8 {
        for slot in probe(colour) {
            let entry = self.slots.get(slot).map_or(0, |entry| usize::from(*entry));
            let Some(index) = entry.checked_sub(1) else { return 0 };
            if self.colours.get(index) == Some(&colour) {
                return u8::try_from(index).unwrap_or(0);
            }
        }
        0
    }
}

/// The slots in which a colour can be, the likeliest first.
fn probe(colour: u32) -> impl Iterator<Item = usize> {
    // Fibonacci hashing: the highest nine bits of a product with the golden ratio.
    let first = usize::try_from(colour.wrapping_mul(0x9e37_79b1) >> 23).unwrap_or(0);
    (0..SLOTS).map(move |step| first.wrapping_add(step) & 511)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_found_again_until_it_is_full() {
        let mut palette = Palette::new();
        let colour = |index: u32| index.wrapping_mul(0x0001_0301);
        for index in 0..256 {
            assert!(palette.insert(colour(index), 256));
            assert!(palette.insert(colour(index / 2), 256));
        }
        assert!(!palette.insert(0xffff_ffff, 256));
        for index in 0..=255_u8 {
            assert_eq!(palette.index(colour(index.into())), index);
        }
        assert_eq!(palette.colours().len(), 256);
        palette.clear();
        assert!(palette.insert(5, 1) && palette.insert(5, 1) && !palette.insert(6, 1));
    }
}
