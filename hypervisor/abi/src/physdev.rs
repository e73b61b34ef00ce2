//! `public/physdev.h`: a domain's rights to ports.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const PHYSDEVOP_SET_IOPL: u32 = 6;
pub const PHYSDEVOP_SET_IOBITMAP: u32 = 7;

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetIopl {
    /// The highest ring that may use I/O ports; 1 stands for the kernel.
    pub iopl: u32,
}

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetIobitmap {
    /// Address of a bit for each port: a clear one lets user mode use it.
    pub bitmap: u64,
    /// Ports that it has bits for.
    pub nr_ports: u32,
    pub padding: u32,
}
