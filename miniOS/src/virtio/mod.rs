//! Virtio devices of the machine, for domain 0: disks as [media](crate::back::block::Medium), cards as
//! [wires](crate::back::net::Wire).
//!
//! Queues and the PCI transport are those of the `virtio-drivers` crate, whose drivers wait by spinning; so what is asked of a
//! disk or a card is put together here (`disk`, `card`), on queues that own their memory (`raw`).
//!
//! Only modern devices, whose registers are in memory. A device is looked at when its interrupt comes, if the program has bound
//! one to an event channel, and otherwise by a timer while there is something to wait for: `run` does the one or the other.
//!
//! Source: Virtual I/O Device (VIRTIO) Version 1.2, sections 4.1 (PCI), 5.1 (network), 5.2 (block).
//! Not modelled: devices behind bridges, an IOMMU, several queues, MSI-X, offloads of cards.

mod card;
mod disk;
mod raw;

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;

use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::pci::bus::{Command, DeviceFunction};
use virtio_drivers::transport::pci::virtio_device_type;

use crate::hypercall::XenError;

pub use card::Card;
pub use disk::Disk;

/// How often a device without interrupt is looked at while something is under way, in nanoseconds.
const LOOK: u64 = 100_000;

/// The devices that there are.
#[derive(Default)]
pub struct Devices {
    /// Disks, in the order of their places on the bus.
    pub disks: Vec<Rc<Disk>>,
    /// Network cards, in the order of their places on the bus.
    pub cards: Vec<Rc<Card>>,
}

impl fmt::Debug for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} disks and {} cards", self.disks.len(), self.cards.len())
    }
}

/// Finds all disks and cards on the first bus, and starts them. What cannot be started is left out, with a line in the log.
pub fn find() -> Result<Devices, XenError> {
    let mut root = raw::Configuration::open()?;
    let found: Vec<(DeviceFunction, DeviceType)> = root
        .enumerate_bus(0)
        .filter_map(|(function, info)| virtio_device_type(&info).map(|kind| (function, kind)))
        .collect();
    let mut devices = Devices::default();
    for (function, kind) in found {
        if !matches!(kind, DeviceType::Block | DeviceType::Network) {
            continue;
        }
        // Linux finds devices like that, too: firmware has given them addresses, but enabled those alone that it used.
        root.set_command(function, Command::MEMORY_SPACE | Command::BUS_MASTER);
        let Some(transport) = raw::transport(&mut root, function) else { continue };
        let failed = |error| log::warn!("virtio device {function}: {error}");
        match kind {
            DeviceType::Block => devices.disks.extend(Disk::start(transport).map(Rc::new).map_err(failed).ok()),
            _ => devices.cards.extend(Card::start(transport).map(Rc::new).map_err(failed).ok()),
        }
    }
    Ok(devices)
}
