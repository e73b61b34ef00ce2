//! `public/io/fbif.h`: the virtual framebuffer.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const XENFB_TYPE_REFRESH_PERIOD: u8 = 1;
pub const XENFB_TYPE_UPDATE: u8 = 2;
pub const XENFB_TYPE_RESIZE: u8 = 3;
/// A refresh period: the picture is not shown at all.
pub const XENFB_NO_REFRESH: u32 = 0;

/// Front end to back end: a rectangle has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Update {
    pub kind: u8,
    pub padding: [u8; 3],
    pub x: i32,
    pub y: i32,
    pub width: i32,
    pub height: i32,
}

/// Front end to back end: the picture has a new shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Resize {
    pub kind: u8,
    pub padding: [u8; 3],
    pub width: i32,
    pub height: i32,
    /// Bytes of a line.
    pub stride: i32,
    /// Bits of a pixel.
    pub depth: i32,
    /// Bytes from the start of the framebuffer.
    pub offset: i32,
}

/// Back end to front end: how often it looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RefreshPeriod {
    pub kind: u8,
    pub padding: [u8; 3],
    /// Milliseconds.
    pub period: u32,
}

/// Bytes of an event of either direction.
pub const EVENT_SIZE: usize = 40;
pub const IN_RING_OFFSET: usize = 1024;
/// Events in the ring towards the front end.
pub const IN_RING_LEN: u32 = 25;
pub const OUT_RING_OFFSET: usize = 2048;
/// Events in the ring towards the back end.
pub const OUT_RING_LEN: u32 = 51;

/// `struct xenfb_page`: the start of the shared page.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Page {
    pub in_cons: u32,
    pub in_prod: u32,
    pub out_cons: u32,
    pub out_prod: u32,
    pub width: i32,
    pub height: i32,
    pub line_length: u32,
    /// Bytes of the framebuffer.
    pub mem_length: u32,
    pub depth: u8,
    pub padding: [u8; 7],
    /// Machine frames of pages that list the machine frames of the framebuffer.
    ///
    /// The array reaches into the rings' offsets: entries from [`PD_ENTRIES_BEFORE_RINGS`] on are overwritten by them.
    pub pd: [u64; 256],
}

pub const IN_CONS_OFFSET: usize = 0;
pub const IN_PROD_OFFSET: usize = 4;
pub const OUT_CONS_OFFSET: usize = 8;
pub const OUT_PROD_OFFSET: usize = 12;
pub const PD_OFFSET: usize = 40;
pub const PD_ENTRIES_BEFORE_RINGS: usize = (IN_RING_OFFSET - PD_OFFSET) / 8;
