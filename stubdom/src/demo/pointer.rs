//! The shape that viewers give their pointer over the dashboard: a cross. The server says it once, the viewer draws it, and so
//! it follows the hand without a delay.

use alloc::vec::Vec;

use rfb::PointerShape;

/// `#` is white, `+` dark, the rest is not drawn.
const CROSS: [&str; 13] = [
    "     +++     ",
    "     +#+     ",
    "     +#+     ",
    "     +#+     ",
    "     +#+     ",
    "+++++ + +++++",
    "+####+ +####+",
    "+++++ + +++++",
    "     +#+     ",
    "     +#+     ",
    "     +#+     ",
    "     +#+     ",
    "     +++     ",
];

/// The cross; its middle is what points.
pub(crate) fn cross() -> Option<PointerShape> {
    let color = |dot| match dot {
        b'#' => 0xffff_ffff,
        b'+' => 0xff00_0000,
        _ => 0,
    };
    let pixels: Vec<u32> = CROSS.iter().flat_map(|row| row.bytes()).map(color).collect();
    PointerShape::new(13, 13, (6, 6), pixels)
}
