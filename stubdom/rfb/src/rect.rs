//! Rectangles of a picture.

/// A rectangle, in pixels. It may reach beyond the picture; what lies there does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rect {
    /// Left edge.
    pub x: u16,
    /// Upper edge.
    pub y: u16,
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

impl Rect {
    /// A rectangle.
    pub const fn new(x: u16, y: u16, width: u16, height: u16) -> Self {
        Self { x, y, width, height }
    }

    /// All of a picture.
    pub(crate) const fn of_size((width, height): (u16, u16)) -> Self {
        Self { x: 0, y: 0, width, height }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.width == 0 || self.height == 0
    }

    /// First column beyond it.
    pub(crate) fn right(&self) -> u32 {
        u32::from(self.x).saturating_add(self.width.into())
    }

    /// First row beyond it.
    pub(crate) fn bottom(&self) -> u32 {
        u32::from(self.y).saturating_add(self.height.into())
    }

    /// Pixels in it.
    pub(crate) fn area(&self) -> usize {
        usize::from(self.width).saturating_mul(self.height.into())
    }

    /// What both have in common.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let (x, y) = (self.x.max(other.x), self.y.max(other.y));
        Self::between(x, y, self.right().min(other.right()), self.bottom().min(other.bottom()))
    }

    /// The smallest rectangle around both.
    pub(crate) fn around(&self, other: &Self) -> Self {
        if self.is_empty() {
            return *other;
        }
        if other.is_empty() {
            return *self;
        }
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        Self::between(x, y, self.right().max(other.right()), self.bottom().max(other.bottom()))
    }

    /// Whether all of `other` lies within.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        self.intersection(other) == *other
    }

    /// Shifted; what leaves the plane at its left or upper edge is cut off.
    pub(crate) fn shifted(&self, dx: i32, dy: i32) -> Self {
        let edge = |at: u32, by: i32| at.saturating_add_signed(by);
        let (x, y) = (edge(self.x.into(), dx), edge(self.y.into(), dy));
        let (Ok(x), Ok(y)) = (u16::try_from(x), u16::try_from(y)) else { return Self::default() };
        Self::between(x, y, edge(self.right(), dx), edge(self.bottom(), dy))
    }

    fn between(x: u16, y: u16, right: u32, bottom: u32) -> Self {
        let length = |from: u16, to: u32| u16::try_from(to.saturating_sub(from.into())).unwrap_or(u16::MAX);
        Self { x, y, width: length(x, right), height: length(y, bottom) }
    }
}
