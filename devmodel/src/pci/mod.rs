//! The PCI bus: configuration space of a function, and the host bridge that gives access to it.
//!
//! There is one bus, number 0. The functions on it are fixed when the machine is made; [`crate::machine`] owns them.
//!
//! Source: PCI Local Bus Specification 3.0, chapter 6.
//! Not modelled: PCI bridges, hot plug, 64-bit base addresses, capabilities (no function here has one).

pub mod config;
pub mod i440fx;

pub use config::ConfigSpace;

/// Where a function is on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// Device number, 0 to 31.
    pub slot: u8,
    /// Function number, 0 to 7.
    pub function: u8,
}
