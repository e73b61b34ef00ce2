//! Rectangles of a FramebufferUpdate that are no pixels.
//!
//! Source: RFC 6143 sections 7.6.1 and 7.8; rfbproto.rst, Pseudo-encodings.

use crate::bytes::PutFields;
use crate::encodings;
use crate::pixel_format::PixelFormat;
use crate::pointer::PointerShape;
use crate::rect::Rect;
use crate::wire::{Kind, Wire};
use alloc::vec::Vec;

/// The id of the only screen. Quirk: libvncclient 0.9.14 takes a screen with id 0 for none.
const SCREEN_ID: u32 = 1;

/// Why there is an ExtendedDesktopSize.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// It is what it is.
    Server,
    /// The viewer wanted another one, and does not get it: resize is administratively prohibited.
    Prohibited,
}

/// Appends the head of a rectangle.
pub(crate) fn put_head(rect: &Rect, encoding: i32, out: &mut Vec<u8>) {
    [rect.x, rect.y, rect.width, rect.height].into_iter().for_each(|field| out.put_u16(field));
    out.put_u32(encoding.cast_unsigned());
}

/// Appends a DesktopSize.
pub(crate) fn put_desktop_size(size: (u16, u16), out: &mut Vec<u8>) {
    put_head(&Rect::of_size(size), encodings::DESKTOP_SIZE, out);
}

/// Appends an ExtendedDesktopSize with one screen.
pub(crate) fn put_layout((width, height): (u16, u16), layout: Layout, out: &mut Vec<u8>) {
    let (reason, status) = match layout {
        Layout::Server => (0, 0),
        Layout::Prohibited => (1, 1),
    };
    put_head(&Rect::new(reason, status, width, height), encodings::EXTENDED_DESKTOP_SIZE, out);
    // number-of-screens, padding; id, place, size and flags of the screen.
    out.extend([1, 0, 0, 0]);
    out.put_u32(SCREEN_ID);
    [0, 0, width, height].into_iter().for_each(|field| out.put_u16(field));
    out.put_u32(0);
}

/// Appends a Cursor.
pub(crate) fn put_pointer(shape: &PointerShape, format: &PixelFormat, out: &mut Vec<u8>) {
    let ((x, y), (width, height)) = (shape.hotspot(), shape.size());
    put_head(&Rect::new(x, y, width, height), encodings::CURSOR, out);
    let wire = Wire::new(format, Kind::Pixel);
    for row in shape.rows() {
        let mut row = row.to_vec();
        wire.translate(&mut row);
        wire.put(&row, out);
    }
    for row in shape.rows() {
        let bits = |pixels: &[u32]| {
            let shown = pixels.iter().zip(0_u32..).filter(|(pixel, _)| **pixel >= 0x8000_0000);
            shown.fold(0, |byte, (_, bit)| byte | 0x80_u8.wrapping_shr(bit))
        };
        out.extend(row.chunks(8).map(bits));
    }
}

/// Appends an LED State.
pub(crate) fn put_leds(leds: u8, out: &mut Vec<u8>) {
    put_head(&Rect::default(), encodings::LED_STATE, out);
    out.push(leds);
}

/// Appends a Pointer Motion Change.
pub(crate) fn put_motion(absolute: bool, (width, height): (u16, u16), out: &mut Vec<u8>) {
    put_head(&Rect::new(absolute.into(), 0, width, height), encodings::POINTER_MOTION, out);
}

/// Appends an empty rectangle, which says that we know an encoding.
pub(crate) fn put_known(encoding: i32, size: (u16, u16), out: &mut Vec<u8>) {
    put_head(&Rect::of_size(size), encoding, out);
}
