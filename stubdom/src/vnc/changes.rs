//! What was drawn, until the viewers are told.

/// Something that was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The picture has another size, and all of it is new.
    Size(u16, u16),
    /// A part of it was drawn.
    Part(rfb::Rect),
}

/// Where there would be more of them, all of the picture has changed.
const MAX: usize = 64;

/// Changes that nobody was told of yet.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    list: heapless::Vec<Change, MAX>,
}

impl Changes {
    /// Notes a change of a picture that has this size now.
    pub fn add(&mut self, change: Change, (width, height): (u16, u16)) {
        if self.list.push(change).is_err() {
            self.list.clear();
            // There is room.
            let _ = self.list.push(Change::Size(width, height));
        }
    }

    /// Takes them, in order.
    pub fn take(&mut self) -> impl Iterator<Item = Change> + use<> {
        core::mem::take(&mut self.list).into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn too_many_changes_are_one_of_all() {
        let mut changes = Changes::default();
        let part = |x| Change::Part(rfb::Rect::new(x, 0, 1, 1));
        changes.add(part(1), (640, 480));
        changes.add(part(2), (640, 480));
        assert_eq!(changes.take().collect::<Vec<_>>(), [part(1), part(2)]);
        assert_eq!(changes.take().count(), 0);
        for x in 0..65 {
            changes.add(part(x), (640, 480));
        }
        assert_eq!(changes.take().collect::<Vec<_>>(), [Change::Size(640, 480)]);
    }
}
