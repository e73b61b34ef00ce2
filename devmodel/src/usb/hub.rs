//! A hub of eight ports, for more devices than the controller has ports: QEMU's `usb-hub`.
//!
//! Source: USB 1.1, 11.11 (descriptors), 11.12.4 (status change endpoint), 11.16 (requests).
//! Not modelled: power switching (ports have power, whatever is asked), suspended ports (they answer on), low speed.

use super::device::{Attachment, Device, Packet, Reply, Request};
use super::hid::{self, Hid};
use crate::host::InputEvent;
use alloc::boxed::Box;
use serde::{Deserialize, Serialize};

/// Ports of a hub.
pub(super) const PORTS: usize = 8;

/// wPortStatus.
mod status {
    pub(super) const CONNECTED: u16 = 1 << 0;
    pub(super) const ENABLED: u16 = 1 << 1;
    pub(super) const POWERED: u16 = 1 << 8;
}
/// wPortChange.
mod change {
    pub(super) const CONNECTED: u16 = 1 << 0;
    pub(super) const RESET: u16 = 1 << 4;
}
/// Features of ports.
mod feature {
    pub(super) const ENABLE: u16 = 1;
    pub(super) const SUSPEND: u16 = 2;
    pub(super) const RESET: u16 = 4;
    pub(super) const POWER: u16 = 8;
    /// The first of those that stand for bits of wPortChange.
    pub(super) const FIRST_CHANGE: u16 = 16;
    pub(super) const LAST_CHANGE: u16 = 20;
}

/// A port.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "X: Attachment")]
struct Port<X> {
    status: u16,
    change: u16,
    device: Option<Box<Device<X>>>,
}

/// The hub.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "X: Attachment")]
pub(super) struct Hub<X> {
    ports: [Port<X>; PORTS],
}

impl<X: Attachment> Hub<X> {
    /// A hub with these devices; what is beyond its ports is left out.
    pub(super) fn new(devices: impl Iterator<Item = hid::Kind>) -> Self {
        let mut hub = Self { ports: [const { Port { status: 0, change: 0, device: None } }; PORTS] };
        for (port, kind) in hub.ports.iter_mut().zip(devices) {
            port.device = Some(Box::new(Device::of_person(Hid::new(kind))));
        }
        hub.reset();
        hub
    }

    /// Devices are found again, and answer to nobody before their ports are reset.
    pub(super) fn reset(&mut self) {
        for port in &mut self.ports {
            let is_there = port.device.is_some();
            port.status = status::POWERED | if is_there { status::CONNECTED } else { 0 };
            port.change = if is_there { change::CONNECTED } else { 0 };
        }
    }

    fn reachable(&mut self) -> impl Iterator<Item = &mut Device<X>> {
        let enabled = self.ports.iter_mut().filter(|port| port.status & status::ENABLED != 0);
        enabled.filter_map(|port| port.device.as_deref_mut())
    }

    /// The device that answers to this address, behind one of the ports.
    pub(super) fn find(&mut self, address: u8) -> Option<&mut Device<X>> {
        self.reachable().find_map(|device| device.find(address))
    }

    /// Whether a port has changed.
    fn has_changes(&self) -> bool {
        self.ports.iter().any(|port| port.change != 0)
    }

    /// Whether it, or a device behind it, has something to say.
    pub(super) fn has_news(&self) -> bool {
        let enabled = self.ports.iter().filter(|port| port.status & status::ENABLED != 0);
        let mut devices = enabled.filter_map(|port| port.device.as_ref());
        self.has_changes() || devices.any(|device| device.has_news())
    }

    /// A person did something. Says whether it was for a device behind it.
    pub(super) fn input(&mut self, event: InputEvent) -> bool {
        self.reachable().any(|device| device.input(event))
    }

    pub(super) fn keyboard_leds(&self) -> Option<u8> {
        self.ports.iter().filter_map(|port| port.device.as_ref()).find_map(|device| device.keyboard_leds())
    }

    pub(super) fn has_unread_keys(&self) -> bool {
        self.ports.iter().filter_map(|port| port.device.as_ref()).any(|device| device.has_unread_keys())
    }

    pub(super) fn takes_positions(&self) -> bool {
        self.ports.iter().filter_map(|port| port.device.as_ref()).any(|device| device.takes_positions())
    }

    /// The ports that have changed, one bit each behind that of the hub itself.
    pub(super) fn take_report(&self) -> Option<Packet> {
        let bit = |(number, port): (u32, &Port<X>)| u16::from(port.change != 0).wrapping_shl(number);
        let changed = (1..).zip(&self.ports).map(bit).fold(0, |all, bit| all | bit);
        self.has_changes().then(|| changed.to_le_bytes().into_iter().collect())
    }

    /// A descriptor, by its type and index.
    pub(super) fn descriptor(kind: u8, index: u8) -> Reply {
        let mut bytes = heapless::Vec::new();
        let whole = match (kind, index) {
            // Device: USB 1.1, a hub, QEMU's numbers, strings 1 to 3, one configuration.
            (1, 0) => {
                bytes.extend_from_slice(&[18, 1, 0x10, 0x01, 9, 0, 0, 8, 0x09, 0x04, 0xaa, 0x55, 1, 1, 1, 2, 3, 1])
            }
            // Configuration with power of its own, interface, endpoint 1: interrupts, 2 bytes, every 255 ms.
            (2, 0) => bytes
                .extend_from_slice(&[9, 2, 25, 0, 1, 1, 0, 0xe0, 0])
                .and_then(|()| bytes.extend_from_slice(&[9, 4, 0, 0, 1, 9, 0, 0, 0]))
                .and_then(|()| bytes.extend_from_slice(&[7, 5, 0x81, 3, 2, 0, 0xff])),
            (3, 0) => bytes.extend_from_slice(&[4, 3, 0x09, 0x04]),
            (3, 1) => hid::string(&mut bytes, "Xen"),
            (3, 2) => hid::string(&mut bytes, "USB Hub"),
            (3, 3) => hid::string(&mut bytes, "1"),
            _ => return None,
        };
        whole.ok().map(|()| bytes)
    }

    /// A request of the hub class.
    pub(super) fn class_request(&mut self, request: Request) -> Reply {
        let consent = || Some(heapless::Vec::new());
        let bytes = |bytes: &[u8]| heapless::Vec::from_slice(bytes).ok();
        let [number, _] = request.index.to_le_bytes();
        let port = number.checked_sub(1).and_then(|number| self.ports.get_mut(usize::from(number)));
        match (request.kind, request.code, port) {
            // The hub itself: its descriptor, its status, its features.
            (0xa0, 6, _) if request.value >> 8 == 0x29 => {
                let [ports, ..] = PORTS.to_le_bytes();
                bytes(&[11, 0x29, ports, 0x0a, 0, 1, 0, 0, 0, 0xff, 0xff])
            }
            (0xa0, 0, _) => bytes(&[0; 4]),
            (0x20, 1 | 3, _) => consent(),
            // A port.
            (0xa3, 0, Some(port)) => {
                let [a, b] = port.status.to_le_bytes();
                let [c, d] = port.change.to_le_bytes();
                bytes(&[a, b, c, d])
            }
            (0x23, 1, Some(port)) => port.clear(request.value).then(heapless::Vec::new),
            (0x23, 3, Some(port)) => port.set(request.value).then(heapless::Vec::new),
            _ => None,
        }
    }
}

impl<X: Attachment> Port<X> {
    fn clear(&mut self, which: u16) -> bool {
        match which {
            feature::ENABLE => self.status &= !status::ENABLED,
            feature::SUSPEND | feature::POWER => {}
            feature::FIRST_CHANGE..=feature::LAST_CHANGE => {
                self.change &= !1_u16.wrapping_shl(u32::from(which.wrapping_sub(feature::FIRST_CHANGE)));
            }
            _ => return false,
        }
        true
    }

    fn set(&mut self, which: u16) -> bool {
        match which {
            feature::RESET => {
                if let Some(device) = &mut self.device {
                    device.reset();
                    self.status |= status::ENABLED;
                    self.change |= change::RESET;
                }
            }
            feature::SUSPEND | feature::POWER => {}
            _ => return false,
        }
        true
    }
}
