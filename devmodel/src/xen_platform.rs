//! The Xen platform device: how a guest's PV drivers make the emulated disks and network cards go away, and log.
//!
//! A PCI function that drivers find (5853:0001), and sixteen fixed ports at 0x10 of which four do something. A driver
//! reads the magic number at 0x10, the protocol version at 0x12, writes its product and build number, looks whether
//! the magic number now says that it is not wanted, and then writes a mask of what to unplug. It may write text to
//! 0x12. The width of an access selects the register.
//!
//! Source: Xen `docs/misc/hvm-emulated-unplug.pandoc`, which also describes the two older protocols at BAR 0 + 4
//! (SUSE) and BAR 0 + 8 (VMDP); Linux `arch/x86/xen/platform-pci-unplug.c`; Xen `tools/firmware/rombios`.
//! Not modelled: the write protection of the ROM area that the flag register stands for (the bit is plain storage; the
//! firmware that Xen ships does not use it). BAR 1 is address space that drivers map grant tables into; it reads as zero.
//! Invariant: the device unplugs nothing itself; [`Effect::Unplug`] says what is wanted, in Xen's bits.

use crate::access::Width;
use crate::guest_log::GuestLog;
use crate::host::{Platform, Unplug};
use bitflags::bitflags;
use serde::{Deserialize, Serialize};

/// PCI vendor, XenSource; also the subsystem's.
pub const VENDOR_ID: u16 = 0x5853;
/// PCI device; also the subsystem's.
pub const DEVICE_ID: u16 = 0x0001;
/// PCI revision.
pub const REVISION: u8 = 1;
/// PCI class code: unassigned, other.
pub const CLASS: u8 = 0xff;
/// PCI subclass.
pub const SUBCLASS: u8 = 0x80;
/// PCI interrupt pin: INTA#, which Xen itself raises for event channels.
pub const INTERRUPT_PIN: u8 = 1;
/// BAR 0: bytes of I/O space.
pub const BAR0_LEN: u32 = 0x100;
/// BAR 1: bytes of prefetchable memory space.
pub const BAR1_LEN: u32 = 16 << 20;
/// First of the fixed ports.
pub const FIXED_FIRST: u16 = 0x10;
/// Last of the fixed ports.
pub const FIXED_LAST: u16 = 0x1f;

/// What a driver reads to find the protocol.
const MAGIC: u16 = 0x49d2;
/// What a driver reads when it should leave the machine as it is.
const MAGIC_BLACKLISTED: u16 = 0xd249;
/// The version in which product and build numbers were added.
const PROTOCOL_VERSION: u8 = 1;
/// The flag register's only bit: the ROM area is read-only.
const FLAG_ROM_LOCK: u8 = 1;

bitflags! {
    /// What a driver asks to unplug.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct UnplugMask: u16 {
        /// Every IDE and SCSI disk; CD drives stay.
        const IDE_DISKS = 1 << 0;
        /// Every network card.
        const NICS = 1 << 1;
        /// Every IDE disk but the primary master; means nothing beside [`Self::IDE_DISKS`].
        const AUXILIARY_IDE_DISKS = 1 << 2;
        /// Every NVMe disk. There are none here.
        const NVME_DISKS = 1 << 3;
    }
}

impl UnplugMask {
    /// What the mask asks of this machine, disks first.
    pub fn requests(self) -> impl Iterator<Item = Unplug> {
        let disks = if self.contains(Self::IDE_DISKS) {
            Some(Unplug::IdeDisks)
        } else if self.contains(Self::AUXILIARY_IDE_DISKS) {
            Some(Unplug::AuxiliaryIdeDisks)
        } else {
            None
        };
        disks.into_iter().chain(self.contains(Self::NICS).then_some(Unplug::Nics))
    }
}

/// What the machine must do after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// Take these devices from their buses, and tell the host.
    Unplug(UnplugMask),
    /// A driver said who it is; the machine may answer with [`XenPlatform::set_blacklisted`] before the next access.
    Driver {
        /// Number of the product, from Xen's `pvdrivers.h`.
        product: u16,
        /// Build number, the product's own.
        build: u32,
    },
}

/// The device.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct XenPlatform {
    /// Drivers are told to leave the machine as it is.
    blacklisted: bool,
    /// The flag register.
    flags: u8,
    /// The product number that was written last.
    product: u16,
    /// Text from drivers.
    log: GuestLog,
}

impl XenPlatform {
    /// The state after power on: everything zero, drivers welcome.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The state after a reset of the machine.
    pub fn reset(&mut self) {
        *self = Self { blacklisted: self.blacklisted, log: core::mem::take(&mut self.log), ..Self::default() };
    }

    /// Tells drivers from now on whether to leave the machine as it is.
    pub const fn set_blacklisted(&mut self, blacklisted: bool) {
        self.blacklisted = blacklisted;
    }

    /// Reads the fixed port [`FIXED_FIRST`] + `offset`.
    #[must_use]
    pub fn read_fixed(&self, offset: u16, width: Width) -> u64 {
        match (offset, width) {
            (0, Width::Byte) => u64::from(self.flags),
            (2, Width::Byte) => u64::from(PROTOCOL_VERSION),
            (0, Width::Word) => u64::from(if self.blacklisted { MAGIC_BLACKLISTED } else { MAGIC }),
            _ => width.all_ones(),
        }
    }

    /// Writes the fixed port [`FIXED_FIRST`] + `offset`.
    pub fn write_fixed(
        &mut self,
        offset: u16,
        width: Width,
        value: u64,
        host: &mut (impl Platform + ?Sized),
    ) -> Effect {
        let [b0, b1, b2, b3, ..] = value.to_le_bytes();
        match (offset, width) {
            (0, Width::Byte) => self.flags = b0 & FLAG_ROM_LOCK,
            (2, Width::Byte) => self.log.push(b0, host),
            (0, Width::Word) => return unplug(UnplugMask::from_bits_truncate(u16::from_le_bytes([b0, b1]))),
            (2, Width::Word) => self.product = u16::from_le_bytes([b0, b1]),
            (0, Width::Dword) => {
                let build = u32::from_le_bytes([b0, b1, b2, b3]);
                return Effect::Driver { product: self.product, build };
            }
            _ => {}
        }
        Effect::Nothing
    }

    /// Reads one byte of BAR 0.
    #[must_use]
    pub const fn read_bar0(&self, offset: u16) -> u8 {
        if offset == 0 { self.flags } else { 0xff }
    }

    /// Writes one byte of BAR 0.
    pub fn write_bar0(&mut self, offset: u16, value: u8, host: &mut (impl Platform + ?Sized)) -> Effect {
        match (offset, value) {
            (0, _) => self.flags = value & FLAG_ROM_LOCK,
            // The protocol of SUSE's drivers before 2012.
            (4, 1) => return unplug(UnplugMask::IDE_DISKS | UnplugMask::NICS),
            // The protocol of Novell's VMDP before 1.7. Any other byte there is text.
            (8, 1) => return unplug(UnplugMask::IDE_DISKS),
            (8, 2) => return unplug(UnplugMask::NICS),
            (8, _) => self.log.push(value, host),
            _ => {}
        }
        Effect::Nothing
    }

    /// Reads BAR 1. Writes to it are dropped.
    #[must_use]
    pub const fn read_bar1(&self, _offset: u64, _width: Width) -> u64 {
        0
    }
}

fn unplug(mask: UnplugMask) -> Effect {
    if mask.requests().next().is_some() { Effect::Unplug(mask) } else { Effect::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_host::FakeHost;
    use std::vec::Vec;

    fn requests(effect: Effect) -> Vec<Unplug> {
        match effect {
            Effect::Unplug(mask) => mask.requests().collect(),
            _ => Vec::new(),
        }
    }

    /// hvm-emulated-unplug, steps 1 to 5.
    #[test]
    fn a_driver_finds_magic_and_version_and_says_who_it_is() {
        let (mut device, mut host) = (XenPlatform::new(), FakeHost::default());
        assert_eq!(device.read_fixed(0, Width::Word), 0x49d2);
        assert_eq!(device.read_fixed(2, Width::Byte), 1);
        assert_eq!(device.write_fixed(2, Width::Word, 3, &mut host), Effect::Nothing);
        let effect = device.write_fixed(0, Width::Dword, 0x0102_0304, &mut host);
        assert_eq!(effect, Effect::Driver { product: 3, build: 0x0102_0304 });
        device.set_blacklisted(true);
        assert_eq!(device.read_fixed(0, Width::Word), 0xd249);
    }

    /// hvm-emulated-unplug, step 6: bit 2 "is overridden by bit 0".
    #[test]
    fn the_unplug_mask_is_decoded_bit_by_bit() {
        let (mut device, mut host) = (XenPlatform::new(), FakeHost::default());
        let mut ask = |mask| requests(device.write_fixed(0, Width::Word, mask, &mut host));
        assert_eq!(ask(1), [Unplug::IdeDisks]);
        assert_eq!(ask(2), [Unplug::Nics]);
        assert_eq!(ask(4), [Unplug::AuxiliaryIdeDisks]);
        assert_eq!(ask(0xffff), [Unplug::IdeDisks, Unplug::Nics]);
        assert_eq!(ask(6), [Unplug::AuxiliaryIdeDisks, Unplug::Nics]);
        assert_eq!(ask(8), []);
        assert_eq!(ask(0), []);
    }

    #[test]
    fn the_older_protocols_unplug_through_bar_0() {
        let (mut device, mut host) = (XenPlatform::new(), FakeHost::default());
        assert_eq!(requests(device.write_bar0(4, 1, &mut host)), [Unplug::IdeDisks, Unplug::Nics]);
        assert_eq!(requests(device.write_bar0(4, 0, &mut host)), []);
        assert_eq!(requests(device.write_bar0(8, 1, &mut host)), [Unplug::IdeDisks]);
        assert_eq!(requests(device.write_bar0(8, 2, &mut host)), [Unplug::Nics]);
        assert!(host.lines.is_empty());
    }

    #[test]
    fn text_arrives_through_the_fixed_port_and_through_bar_0() {
        let (mut device, mut host) = (XenPlatform::new(), FakeHost::default());
        for byte in b"hello\n" {
            assert_eq!(device.write_fixed(2, Width::Byte, u64::from(*byte), &mut host), Effect::Nothing);
        }
        for byte in b"there\n" {
            assert_eq!(device.write_bar0(8, *byte, &mut host), Effect::Nothing);
        }
        assert_eq!(host.lines, [b"hello".to_vec(), b"there".to_vec()]);
    }

    #[test]
    fn the_flag_register_is_one_bit_seen_from_both_sides() {
        let (mut device, mut host) = (XenPlatform::new(), FakeHost::default());
        assert_eq!(device.write_fixed(0, Width::Byte, 0xff, &mut host), Effect::Nothing);
        assert_eq!((device.read_fixed(0, Width::Byte), device.read_bar0(0)), (1, 1));
        assert_eq!(device.write_bar0(0, 0xfe, &mut host), Effect::Nothing);
        assert_eq!(device.read_fixed(0, Width::Byte), 0);
        assert_eq!(device.write_bar0(0, 1, &mut host), Effect::Nothing);
        device.reset();
        assert_eq!(device.read_bar0(0), 0);
    }

    #[test]
    fn what_is_no_register_reads_as_ones_and_bar_1_as_zero() {
        let device = XenPlatform::new();
        assert_eq!(device.read_fixed(0, Width::Dword), 0xffff_ffff);
        assert_eq!(device.read_fixed(1, Width::Byte), 0xff);
        assert_eq!(device.read_fixed(2, Width::Word), 0xffff);
        assert_eq!(device.read_bar0(4), 0xff);
        assert_eq!(device.read_bar1(0x1000, Width::Dword), 0);
    }

    #[test]
    fn any_accesses_leave_the_log_bounded() {
        let (mut device, mut host) = (XenPlatform::new(), FakeHost::default());
        let widths = [Width::Byte, Width::Word, Width::Dword, Width::Qword];
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..200_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let [selector, offset, value, ..] = state.to_le_bytes();
            let (offset, width) = (u16::from(offset & 0xf), widths[usize::from(selector & 3)]);
            if selector & 4 == 0 {
                let _ = device.write_fixed(offset, width, state, &mut host);
            } else {
                let _ = device.write_bar0(offset, value, &mut host);
            }
            let _ = device.read_fixed(offset, width);
        }
        assert!(host.lines.len() <= 200);
    }
}
