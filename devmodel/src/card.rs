//! What plugs into a slot of the PCI bus.
//!
//! A card owns its configuration space and its registers. [`crate::machine`] decodes its base addresses, hands it the
//! accesses that lie in them, reports its interrupt pin and its deadline, and passes on what the world has to say.

use crate::access::Width;
use crate::host::{DiskError, DiskId, Host, InputEvent, NicId, Unplug};
use crate::machine::{DiscChange, DiskConfig, TrayError};
use crate::pci::ConfigSpace;
use crate::state::StateError;
use crate::time::Instant;
use crate::usb::UsbDevice;
use alloc::vec::Vec;
use core::fmt::Debug;

/// A function on the PCI bus that brings its registers along.
///
/// What has a default here is for those that have disks, a network, a clock or a person behind them.
pub trait Card: Debug {
    /// Its configuration space.
    fn config(&self) -> &ConfigSpace;

    /// The same, to be written. [`Self::config_written`] follows.
    fn config_mut(&mut self) -> &mut ConfigSpace;

    /// Its expansion ROM, at most as long as the region for it says. What lies behind its end reads as zero.
    fn rom(&self) -> &[u8] {
        &[]
    }

    /// Puts everything to its state at power on, configuration space included.
    fn reset(&mut self);

    /// Reads `width` at `offset` of what base address `region` describes. Only the low bytes of the result count.
    fn read(&mut self, host: &mut dyn Host, region: usize, offset: u32, width: Width) -> u64;

    /// Writes the low bytes of `value`.
    fn write(&mut self, host: &mut dyn Host, region: usize, offset: u32, width: Width, value: u64);

    /// Configuration space was written: the card may master the bus now, or no longer.
    fn config_written(&mut self, _host: &mut dyn Host) {}

    /// Whether its interrupt pin asks for an interrupt.
    fn interrupt(&self) -> bool;

    /// Whether something came up since the last question that is worth a message; for cards whose configuration space has
    /// [messages](ConfigSpace::with_messages).
    fn take_message(&mut self) -> bool {
        false
    }

    /// When [`Self::expire`] has to be called next; `None` is never.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Does what is due.
    fn expire(&mut self, _host: &mut dyn Host) {}

    /// An operation of a disk has ended, of this card's or another's.
    fn disk_complete(&mut self, _host: &mut dyn Host, _disk: DiskId, _result: Result<(), DiskError>) {}

    /// An operator does something to the CD drive with this disc. `None`: this card has no such drive.
    fn change_disc(&mut self, _disk: DiskId, _change: DiscChange) -> Option<Result<(), TrayError>> {
        None
    }

    /// A network has frames for its card, or room for more of them, or its link went up or down.
    fn nic_ready(&mut self, _host: &mut dyn Host, _nic: NicId) {}

    /// A person did something. Says whether it was for this card; if not, it goes to the next one, or to the PS/2 devices.
    fn input(&mut self, _host: &mut dyn Host, _event: InputEvent) -> bool {
        false
    }

    /// Whether a keyboard of this card has keys that the guest has not read.
    fn has_unread_keys(&self) -> bool {
        false
    }

    /// The LEDs of a keyboard of this card that the guest uses, as [`crate::machine::Machine::keyboard_leds`] has them.
    fn keyboard_leds(&self) -> Option<u8> {
        None
    }

    /// Whether the guest uses a tablet of this card: it wants to know where the pointer is, and not how it moves.
    fn takes_positions(&self) -> bool {
        false
    }

    /// Somebody plugs a device into a port of this USB controller, or takes out what is in it. Says whether that went.
    fn usb_plug(&mut self, _now: Instant, _port: usize, _device: Option<UsbDevice>) -> bool {
        false
    }

    /// The guest asked that its emulated disks or network cards vanish. Says whether this card is one of them: it is
    /// dropped then, and nothing answers any more where it was.
    fn unplug(&mut self, _what: Unplug) -> bool {
        false
    }
}

/// A card whose state can be saved.
pub trait SavedCard: Card {
    /// Whether an operation of a disk is under way, without whose end the card's state is not whole.
    fn awaits_disk(&self) -> bool {
        false
    }

    /// Whether the tray of the CD drive with this disc is open. `None`: this card has no such drive.
    fn tray_open(&self, _disk: DiskId) -> Option<bool> {
        None
    }

    /// Somebody plugs a disk into a free port of this USB controller. Says whether that went.
    fn usb_plug_disk(&mut self, _now: Instant, _port: usize, _disk: DiskConfig) -> bool {
        false
    }

    /// Its state, for [`Self::restore`].
    fn save(&self) -> Vec<u8>;

    /// Takes over what [`Self::save`] gave of such a card. After an error it is good for nothing.
    fn restore(&mut self, saved: &[u8]) -> Result<(), StateError>;
}
