//! Parts of the picture that moved, for CopyRect.
//!
//! Invariant: a viewer that performs the moves in order has the picture, but for damaged tiles.

use crate::damage::Damage;
use crate::rect::Rect;
use alloc::vec::Vec;

/// Moves that wait. More of them mean that the viewer is too slow for moves to be of use.
const MOST: usize = 8;

/// A part of the picture that came from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    /// Where it is now.
    pub(crate) to: Rect,
    /// Its left edge before.
    pub(crate) from_x: u16,
    /// Its upper edge before.
    pub(crate) from_y: u16,
}

/// The moves that a viewer has to perform.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    list: Vec<Move>,
}

impl Moves {
    /// Takes note that what is at `to` came from `dx` to the left and `dy` above, in a picture of `size`.
    pub(crate) fn add(&mut self, to: Rect, dx: i32, dy: i32, size: (u16, u16), damage: &mut Damage) {
        let picture = Rect::of_size(size);
        let to = to.intersection(&picture);
        let Some((back_x, back_y)) = dx.checked_neg().zip(dy.checked_neg()) else { return damage.add(&to) };
        let from = to.shifted(back_x, back_y).intersection(&picture);
        let inner = from.shifted(dx, dy).intersection(&to);
        if inner.is_empty() || inner != to || self.list.len() >= MOST {
            // Something came from beyond the picture, or there is too much.
            return damage.add(&to);
        }
        damage.carry(&from, dx, dy);
        self.list.push(Move { to, from_x: from.x, from_y: from.y });
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Takes all moves, the first one first.
    pub(crate) fn take(&mut self) -> Vec<Move> {
        core::mem::take(&mut self.list)
    }

    /// Gives the moves up: where they went is damaged.
    pub(crate) fn give_up(&mut self, damage: &mut Damage) {
        self.take().iter().for_each(|one| damage.add(&one.to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage::Limit;

    const SIZE: (u16, u16) = (128, 64);

    fn moves(list: &[(Rect, i32, i32)]) -> (Vec<Move>, Vec<Rect>) {
        let mut damage = Damage::all(SIZE);
        let taken = |damage: &mut Damage| -> Vec<Rect> {
            core::iter::from_fn(|| damage.take(&Rect::of_size(SIZE), Limit { pixels: usize::MAX, rows: 4 })).collect()
        };
        taken(&mut damage);
        let mut moves = Moves::default();
        list.iter().for_each(|(to, dx, dy)| moves.add(*to, *dx, *dy, SIZE, &mut damage));
        (moves.take(), taken(&mut damage))
    }

    #[test]
    fn a_move_within_the_picture_is_kept() {
        let to = Rect::new(0, 0, 128, 48);
        assert_eq!(moves(&[(to, 0, -16)]), (alloc::vec![Move { to, from_x: 0, from_y: 16 }], alloc::vec![]));
    }

    #[test]
    fn a_move_from_beyond_the_picture_is_damage() {
        for (to, dx, dy) in [
            (Rect::new(0, 0, 128, 64), 0, -16),
            (Rect::new(0, 0, 64, 16), 1, 0),
            (Rect::new(0, 0, 64, 16), i32::MIN, 0),
            (Rect::new(0, 0, 64, 16), 0, i32::MAX),
        ] {
            assert_eq!(moves(&[(to, dx, dy)]), (alloc::vec![], alloc::vec![to]));
        }
    }

    #[test]
    fn too_many_moves_are_damage() {
        let one = (Rect::new(0, 0, 128, 16), 0, -16);
        let (kept, damage) = moves(&[one; 9]);
        assert_eq!((kept.len(), damage), (8, alloc::vec![one.0]));
    }
}
