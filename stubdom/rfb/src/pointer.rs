//! The shape of the pointer, for viewers that draw it themselves.

use alloc::vec::Vec;

/// The longest side of a shape, in pixels.
const LONGEST_SIDE: u16 = 64;

/// A shape of the pointer: RFC 6143 section 7.8.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointerShape {
    width: u16,
    height: u16,
    hotspot: (u16, u16),
    /// 0xAARRGGBB.
    pixels: Vec<u32>,
}

impl PointerShape {
    /// A shape of 0xAARRGGBB pixels, row by row; pixels show where AA is 0x80 or more. The hotspot is the pixel that
    /// points.
    ///
    /// `None` if a side has more than 64 pixels, `pixels` are not `width * height`, or the hotspot lies outside.
    pub fn new(width: u16, height: u16, hotspot: (u16, u16), pixels: Vec<u32>) -> Option<Self> {
        let fits = width <= LONGEST_SIDE && height <= LONGEST_SIDE;
        let complete = usize::from(width).checked_mul(height.into()) == Some(pixels.len());
        let within = hotspot.0 < width && hotspot.1 < height;
        (fits && complete && within).then_some(Self { width, height, hotspot, pixels })
    }

    /// No pointer: viewers draw none.
    pub(crate) fn hidden() -> Self {
        Self { width: 0, height: 0, hotspot: (0, 0), pixels: Vec::new() }
    }

    /// Columns and rows.
    pub(crate) fn size(&self) -> (u16, u16) {
        (self.width, self.height)
    }

    /// Column and row of the pixel that points.
    pub(crate) fn hotspot(&self) -> (u16, u16) {
        self.hotspot
    }

    /// Rows of 0xAARRGGBB pixels.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[u32]> {
        self.pixels.chunks(usize::from(self.width).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_whole_and_small() {
        assert!(PointerShape::new(2, 2, (1, 1), alloc::vec![0; 4]).is_some());
        assert!(PointerShape::new(2, 2, (2, 1), alloc::vec![0; 4]).is_none());
        assert!(PointerShape::new(2, 2, (0, 0), alloc::vec![0; 3]).is_none());
        assert!(PointerShape::new(65, 1, (0, 0), alloc::vec![0; 65]).is_none());
        assert!(PointerShape::new(0, 0, (0, 0), alloc::vec![]).is_none());
    }
}
