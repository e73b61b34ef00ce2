//! The picture as embedded-graphics wants to have it.

use alloc::vec;
use alloc::vec::Vec;
use core::convert::Infallible;

use devmodel::host::Surface;
use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{Dimensions, OriginDimensions, Point, Size};
use embedded_graphics::pixelcolor::{IntoStorage, Rgb888};
use embedded_graphics::primitives::{PointsIter, Rectangle};
use minios::front::XenDomain;
use stubdom::picture::Picture;

/// What is drawn until it is dropped counts as one change.
pub(crate) struct Canvas<'a> {
    picture: &'a mut Picture<XenDomain>,
    changed: Option<Rectangle>,
}

impl<'a> Canvas<'a> {
    pub(crate) const fn new(picture: &'a mut Picture<XenDomain>) -> Self {
        Self { picture, changed: None }
    }

    fn note(&mut self, area: Rectangle) {
        let Some(known) = self.changed else {
            self.changed = Some(area);
            return;
        };
        let (Some(a), Some(b)) = (known.bottom_right(), area.bottom_right()) else { return };
        let corner = known.top_left.component_min(area.top_left);
        self.changed = Some(Rectangle::with_corners(corner, a.component_max(b)));
    }

    /// Writes a part of a line that lies within the picture.
    fn write(&mut self, at: Point, pixels: &[u32]) {
        if let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y)) {
            self.picture.write(x, y, pixels);
        }
    }
}

impl Drop for Canvas<'_> {
    fn drop(&mut self) {
        if let Some(Rectangle { top_left, size }) = self.changed
            && let (Ok(x), Ok(y)) = (u32::try_from(top_left.x), u32::try_from(top_left.y))
        {
            self.picture.changed(x, y, size.width, size.height);
        }
    }
}

impl OriginDimensions for Canvas<'_> {
    fn size(&self) -> Size {
        let (width, height) = self.picture.front().size();
        Size::new(width, height)
    }
}

impl DrawTarget for Canvas<'_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        let bounds = self.bounding_box();
        for Pixel(at, color) in pixels {
            if bounds.contains(at) {
                self.write(at, &[color.into_storage()]);
                self.note(Rectangle::new(at, Size::new_equal(1)));
            }
        }
        Ok(())
    }

    fn fill_contiguous<I: IntoIterator<Item = Rgb888>>(
        &mut self,
        area: &Rectangle,
        colors: I,
    ) -> Result<(), Infallible> {
        let visible = area.intersection(&self.bounding_box());
        if visible != *area {
            return self.draw_iter(area.points().zip(colors).map(|(at, color)| Pixel(at, color)));
        }
        let mut colors = colors.into_iter().map(IntoStorage::into_storage);
        for y in visible.rows() {
            let line: Vec<u32> = colors.by_ref().take(visible.size.width as usize).collect();
            self.write(Point::new(visible.top_left.x, y), &line);
        }
        self.note(visible);
        Ok(())
    }

    fn fill_solid(&mut self, area: &Rectangle, color: Rgb888) -> Result<(), Infallible> {
        let visible = area.intersection(&self.bounding_box());
        let line = vec![color.into_storage(); visible.size.width as usize];
        for y in visible.rows() {
            self.write(Point::new(visible.top_left.x, y), &line);
        }
        if !visible.is_zero_sized() {
            self.note(visible);
        }
        Ok(())
    }
}
