//! `public/io/kbdif.h`: the virtual keyboard and pointer.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const XENKBD_TYPE_MOTION: u8 = 1;
pub const XENKBD_TYPE_KEY: u8 = 3;
pub const XENKBD_TYPE_POS: u8 = 4;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Motion {
    pub kind: u8,
    pub padding: [u8; 3],
    pub rel_x: i32,
    pub rel_y: i32,
    pub rel_z: i32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Key {
    pub kind: u8,
    /// 0 when released.
    pub pressed: u8,
    pub padding: [u8; 2],
    /// `KEY_*` or `BTN_*` of Linux.
    pub keycode: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Position {
    pub kind: u8,
    pub padding: [u8; 3],
    pub abs_x: i32,
    pub abs_y: i32,
    pub rel_z: i32,
}

/// Bytes of an event of either direction.
pub const EVENT_SIZE: usize = 40;
pub const IN_RING_OFFSET: usize = 1024;
/// Events in the ring towards the front end.
pub const IN_RING_LEN: u32 = 51;
pub const OUT_RING_OFFSET: usize = 3072;
/// Events in the ring towards the back end.
pub const OUT_RING_LEN: u32 = 25;

pub const IN_CONS_OFFSET: usize = 0;
pub const IN_PROD_OFFSET: usize = 4;
pub const OUT_CONS_OFFSET: usize = 8;
pub const OUT_PROD_OFFSET: usize = 12;
