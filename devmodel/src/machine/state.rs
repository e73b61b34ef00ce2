//! Saving a machine, and going on with it in another one.

use super::{DiskConfig, Machine};
use crate::card::SavedCard;
use crate::cmos::Cmos;
use crate::debug_port::DebugPort;
use crate::fw_cfg::FwCfg;
use crate::host::{DiskId, Host};
use crate::pci::ConfigSpace;
use crate::pci::i440fx::ConfigAddress;
use crate::piix3::ide::Piix3Ide;
use crate::piix4_pm::Piix4Pm;
use crate::ps2::I8042;
use crate::reset::ResetPorts;
use crate::state::{Adopt, StateError, from_bytes, to_bytes};
use crate::time::Instant;
use crate::uart::Uart16550;
use crate::vga::Vga;
use crate::xen_platform::{self, UnplugMask, XenPlatform};
use alloc::vec::Vec;

/// What a saved state begins with: a mark, and the number of this form of it.
const FORMAT: u32 = u32::from_be_bytes(*b"PC\0\x03");

/// A saved state, as [`Machine::save`] writes it and [`Machine::restore`] reads it.
type Saved = (u32, Instant, (bool, u16, Vec<Vec<u8>>), Chipset, Devices, Vec<Option<Vec<u8>>>);
type Chipset = (ConfigSpace, ConfigAddress, ConfigSpace, Piix3Ide, Option<Piix4Pm>, ResetPorts);
type Devices = (
    Option<(ConfigSpace, XenPlatform)>,
    Option<(ConfigSpace, Vga)>,
    I8042,
    heapless::Vec<Uart16550, 4>,
    Cmos,
    FwCfg,
    DebugPort,
);

impl<C: SavedCard + ?Sized> Machine<C> {
    /// Whether an operation of a disk is under way. [`Machine::save`] waits for its end.
    #[must_use]
    pub fn awaits_disk(&self) -> bool {
        self.ide.awaits_disk() || self.cards.iter().filter_map(|slot| slot.card.as_ref()).any(|card| card.awaits_disk())
    }

    /// Whether the tray of the CD drive whose disc is this one is open. `None`: there is no such drive.
    #[must_use]
    pub fn tray_open(&self, disk: DiskId) -> Option<bool> {
        let mut cards = self.cards.iter().filter_map(|slot| slot.card.as_ref());
        self.ide.tray_open(disk).or_else(|| cards.find_map(|card| card.tray_open(disk)))
    }

    /// Plugs a disk into a free port of a USB controller that takes disks. Says whether that went.
    pub fn usb_plug_disk<H: Host>(&mut self, host: &mut H, port: usize, disk: &DiskConfig) -> bool {
        let now = host.now();
        let mut cards = self.cards.iter_mut().filter_map(|slot| slot.card.as_mut());
        cards.any(|card| card.usb_plug_disk(now, port, disk.clone()))
    }

    /// The state of every device now. What is not in it: guest memory and video memory, and frames on their way
    /// to the network. `None`: an operation of a disk [is under way](Machine::awaits_disk).
    #[must_use]
    pub fn save<H: Host>(&self, host: &mut H) -> Option<Vec<u8>> {
        (!self.awaits_disk()).then(|| self.save_at_work(host))
    }

    /// The same while operations of disks are under way. The host of the machine that goes on with it has to end them,
    /// with what their transfer buffers hold.
    #[must_use]
    pub fn save_at_work<H: Host>(&self, host: &mut H) -> Vec<u8> {
        let chipset =
            (&self.host_bridge, &self.config_address, &self.isa_bridge, &self.ide, &self.pm, &self.reset_ports);
        let vga = self.vga.as_ref().map(|vga| (&vga.config, &vga.device));
        let devices = (&self.xen_platform, vga, &self.i8042, &self.serial, &self.cmos, &self.fw_cfg, &self.debug_port);
        let cards: Vec<_> = self.cards.iter().map(|slot| slot.card.as_ref().map(|card| card.save())).collect();
        let rest = (self.is_asleep, self.unplugged.bits(), self.ide.buffers(host));
        to_bytes(&(FORMAT, host.now(), rest, chipset, devices, cards))
    }

    /// Goes on where the machine was that [`Machine::save`] gave this of: one of the same configuration. Call it after
    /// [`Machine::reset`]. Returns the time at which it was saved; the host's clock has to go on from there. After an error
    /// the machine is good for nothing.
    pub fn restore<H: Host>(&mut self, host: &mut H, saved: &[u8]) -> Result<Instant, StateError> {
        let (format, now, (is_asleep, unplugged, buffers), chipset, devices, cards): Saved = from_bytes(saved)?;
        if format != FORMAT {
            return Err(StateError::Format);
        }
        self.unplug(host, xen_platform::Effect::Unplug(UnplugMask::from_bits_truncate(unplugged)));
        self.is_asleep = is_asleep;

        let (host_bridge, config_address, isa_bridge, ide, pm, reset_ports) = chipset;
        self.host_bridge.adopt(host_bridge)?;
        self.config_address = config_address;
        self.isa_bridge.adopt(isa_bridge)?;
        self.ide.adopt(ide)?;
        self.ide.set_buffers(host, &buffers);
        self.pm.adopt(pm)?;
        self.reset_ports = reset_ports;

        let (xen_platform, vga, i8042, serial, cmos, fw_cfg, debug_port) = devices;
        self.xen_platform.adopt(xen_platform)?;
        match (&mut self.vga, vga) {
            (Some(card), Some((config, device))) => {
                card.config.adopt(config)?;
                card.device.adopt(device)?;
            }
            (None, None) => {}
            _ => return Err(StateError::OtherMachine),
        }
        self.i8042 = i8042;
        if serial.len() != self.serial.len() {
            return Err(StateError::OtherMachine);
        }
        self.serial.iter_mut().zip(serial).try_for_each(|(port, saved)| port.adopt(saved))?;
        self.cmos = cmos;
        self.fw_cfg.adopt(fw_cfg)?;
        self.debug_port = debug_port;

        if cards.len() != self.cards.len() {
            return Err(StateError::OtherMachine);
        }
        for (slot, saved) in self.cards.iter_mut().zip(cards) {
            match (&mut slot.card, saved) {
                (Some(card), Some(saved)) => card.restore(&saved)?,
                // It was unplugged, or ejected.
                (card, None) => *card = None,
                (None, Some(_)) => return Err(StateError::OtherMachine),
            }
        }
        self.remap(host);
        self.report_all(host);
        Ok(now)
    }
}

impl Adopt for (ConfigSpace, XenPlatform) {
    fn adopt(&mut self, (config, device): Self) -> Result<(), StateError> {
        self.1 = device;
        self.0.adopt(config)
    }
}
