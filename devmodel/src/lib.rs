//! The PC around a Xen HVM guest.
//!
//! Devices are plain values: they own no lock, no clock and no handle to a hypervisor. What they need of the world
//! comes in as a [`Host`]; what they know of it is [`Instant`]s, [`GuestAddr`]esses and [`DiskId`]s. The same code
//! runs inside the stub domain, in unit tests and under fuzzers.
//!
//! | module | what lives there |
//! |---|---|
//! | [`access`] | widths of accesses, ports, splitting into bytes |
//! | [`host`] | everything that devices ask of the world, as small traits |
//! | [`time`] | instants and deadlines |
//! | [`bus`] | who answers at which port or address |
//! | [`card`] | what plugs into the PCI bus, as one trait |
//! | [`machine`] | the PC: owns every device, routes accesses, interrupt levels and deadlines |
//! | [`pci`], [`piix3`], [`piix4_pm`] | configuration space, host bridge, south bridge, power management |
//! | [`ahci`] | the AHCI controller and its drives |
//! | [`net`], [`e1000`], [`rtl8139`] | what network cards have in common, and those there are |
//! | [`usb`] | the USB controller, tablet, mouse, keyboard, and disks |
//! | [`vga`], [`ps2`], [`uart`], [`cmos`], [`fw_cfg`], [`xen_platform`], [`reset`] | the devices |
//!
//! Public advisories about other device models, and what answers them here: the table in `advisories.rs`.
//!
//! Invariant: nothing that a guest writes makes a device panic, loop without bound or allocate without bound.
//! Invariant: an access to something that no device claims reads as all ones, and a write to it is dropped.
//! Invariant: interrupt lines are functions of registers; only [`machine`] compares and reports them.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unimplemented,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(test)]
mod advisories;
#[cfg(test)]
#[allow(dead_code, reason = "each device uses its part of it")]
mod fake_host;

pub mod access;
pub mod ahci;
mod ata;
pub mod bus;
pub mod card;
pub mod cmos;
pub mod debug_port;
pub mod e1000;
pub mod fw_cfg;
pub mod guest_log;
pub mod host;
pub mod machine;
pub mod net;
pub mod pci;
pub mod piix3;
pub mod piix4_pm;
pub mod ps2;
pub mod reset;
pub mod rtl8139;
pub mod state;
pub mod time;
pub mod uart;
pub mod usb;
pub mod vga;
pub mod xen_platform;

pub use access::{IoPort, Width};
pub use host::{
    DiskError, DiskId, DiskOp, GuestAddr, Host, InputEvent, IsaIrq, Level, NicId, SerialId, ShutdownReason, Unmapped,
};
pub use time::Instant;
