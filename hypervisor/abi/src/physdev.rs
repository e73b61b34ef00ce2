//! `public/physdev.h`: what domain 0 asks for devices.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const PHYSDEVOP_SET_IOPL: u32 = 6;

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetIopl {
    /// The highest ring that may use I/O ports; 1 stands for the kernel.
    pub iopl: u32,
}
