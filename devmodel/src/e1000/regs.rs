//! Where the registers are, and their bits, by the names of the manual.

use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

/// CTRL, device control.
pub(super) const CTRL: u32 = 0x0000;
/// The same register again.
pub(super) const CTRL_AGAIN: u32 = 0x0004;
/// STATUS, device status.
pub(super) const STATUS: u32 = 0x0008;
/// EECD, the pins of the EEPROM.
pub(super) const EECD: u32 = 0x0010;
/// EERD, reading the EEPROM word by word.
pub(super) const EERD: u32 = 0x0014;
/// CTRL_EXT, extended device control.
pub(super) const CTRL_EXT: u32 = 0x0018;
/// MDIC, the way to the registers of the PHY.
pub(super) const MDIC: u32 = 0x0020;
/// VET, the type of a VLAN tag.
pub(super) const VET: u32 = 0x0038;
/// ICR, interrupt cause, cleared by reading.
pub(super) const ICR: u32 = 0x00c0;
/// ITR, interrupt throttling.
pub(super) const ITR: u32 = 0x00c4;
/// ICS, sets interrupt causes.
pub(super) const ICS: u32 = 0x00c8;
/// IMS, the interrupt mask; writing sets bits.
pub(super) const IMS: u32 = 0x00d0;
/// IMC, clears bits of the mask.
pub(super) const IMC: u32 = 0x00d8;
/// RCTL, receive control.
pub(super) const RCTL: u32 = 0x0100;
/// TCTL, transmit control.
pub(super) const TCTL: u32 = 0x0400;
/// RDBAL, the first register of the receive ring.
pub(super) const RDBAL: u32 = 0x2800;
/// RDT, the tail of the receive ring.
pub(super) const RDT: u32 = 0x2818;
/// TDBAL, the first register of the transmit ring.
pub(super) const TDBAL: u32 = 0x3800;
/// TDH, the head of the transmit ring.
pub(super) const TDH: u32 = 0x3810;
/// TDT, the tail of the transmit ring.
pub(super) const TDT: u32 = 0x3818;
/// The first statistics register.
pub(super) const STATISTICS: u32 = 0x4000;
/// The last statistics register.
pub(super) const STATISTICS_LAST: u32 = 0x40fc;
/// RXCSUM, what is checked of received frames.
pub(super) const RXCSUM: u32 = 0x5000;
/// MTA, the multicast table.
pub(super) const MTA: u32 = 0x5200;
/// RAL and RAH, the receive addresses.
pub(super) const RA: u32 = 0x5400;
/// VFTA, the VLAN table.
pub(super) const VFTA: u32 = 0x5600;

/// CTRL after a reset: full duplex, 1000 Mb/s.
pub(super) const CTRL_INITIAL: u32 = 1 << 0 | 1 << 9;
/// CTRL.RST: reset everything but the PHY and configuration space.
pub(super) const CTRL_RST: u32 = 1 << 26;
/// CTRL.VME: tags of VLANs are put in and taken out.
pub(super) const CTRL_VME: u32 = 1 << 30;
/// CTRL.PHY_RST: the PHY is held in reset.
pub(super) const CTRL_PHY_RST: u32 = 1 << 31;

/// STATUS: full duplex, 1000 Mb/s by the PHY and as detected.
pub(super) const STATUS_FIXED: u32 = 1 << 0 | 2 << 6 | 2 << 8;
/// STATUS.LU: the link is up.
pub(super) const STATUS_LU: u32 = 1 << 1;
/// CTRL_EXT.EE_RST: load from the EEPROM anew, clears itself; there is nothing that it would change.
pub(super) const CTRL_EXT_EE_RST: u32 = 1 << 13;

/// Interrupt causes.
pub(super) mod cause {
    /// TXDW: a transmit descriptor was written back.
    pub(crate) const TXDW: u32 = 1 << 0;
    /// TXQE: the transmit ring is empty.
    pub(crate) const TXQE: u32 = 1 << 1;
    /// LSC: the link went up or down.
    pub(crate) const LSC: u32 = 1 << 2;
    /// RXDMT0: few receive descriptors are left.
    pub(crate) const RXDMT0: u32 = 1 << 4;
    /// RXO: there was no room for a frame.
    pub(crate) const RXO: u32 = 1 << 6;
    /// RXT0: a frame was received.
    pub(crate) const RXT0: u32 = 1 << 7;
    /// MDAC: an access to the PHY is complete.
    pub(crate) const MDAC: u32 = 1 << 9;
    /// Every cause that there is.
    pub(crate) const ALL: u32 = 0x0001_ffff;
}

/// Registers that do nothing here but keep what is written: offset, initial value, bits that can be written.
pub(super) const STORAGE: [(u32, u32, u32); 33] = [
    (CTRL_EXT, 0, !CTRL_EXT_EE_RST),
    // FCAL, FCAH, FCT: flow control address and type.
    (0x0028, 0, 0xffff_ffff),
    (0x002c, 0, 0xffff),
    (0x0030, 0, 0xffff),
    (VET, 0x8100, 0xffff),
    // FCTTV, TXCW.
    (0x0170, 0, 0xffff),
    (0x0178, 0, 0xc000_ffff),
    // TIPG, AIT.
    (0x0410, 0, 0x3fff_ffff),
    (0x0458, 0, 0xffff),
    // LEDCTL, PBA (48 KiB for received frames, 16 for others).
    (0x0e00, 0x0706_8302, 0xffff_ffff),
    (0x1000, 0x0010_0030, 0xffff),
    // FCRTL, FCRTH.
    (0x2160, 0, 0x8000_fff8),
    (0x2168, 0, 0xfff8),
    // RDTR (its bit 31 reads as zero), RXDCTL, RADV, RSRPD.
    (0x2820, 0, 0xffff),
    (0x2828, 0x0001_0000, 0xffff_ffff),
    (0x282c, 0, 0xffff),
    (0x2c00, 0, 0x0fff),
    // TXDMAC, TIDV, TXDCTL, TADV, TSPMT.
    (0x3000, 0, 0x0001),
    (0x3820, 0, 0xffff),
    (0x3828, 0, 0xffff_ffff),
    (0x382c, 0, 0xffff),
    (0x3830, 0, 0xffff_ffff),
    // WUC, WUFC, MANC, IPAV and the IPv4 and IPv6 addresses for it.
    (0x5800, 0, 0xffff_ffff),
    (0x5808, 0, 0xffff_ffff),
    (0x5820, 0, 0xffff_ffff),
    (0x5838, 0, 0xffff_ffff),
    (0x5840, 0, 0xffff_ffff),
    (0x5848, 0, 0xffff_ffff),
    (0x5850, 0, 0xffff_ffff),
    (0x5858, 0, 0xffff_ffff),
    (0x5880, 0, 0xffff_ffff),
    (0x5884, 0, 0xffff_ffff),
    (0x5888, 0, 0xffff_ffff),
];

/// The values of [`STORAGE`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Storage(#[serde(with = "BigArray")] [u32; STORAGE.len()]);

impl Default for Storage {
    fn default() -> Self {
        Self(STORAGE.map(|(_, initial, _)| initial))
    }
}

impl Storage {
    /// Reads a register; what is none reads as zero.
    pub(super) fn read(&self, offset: u32) -> u32 {
        let place = STORAGE.iter().position(|(at, ..)| *at == offset);
        place.and_then(|place| self.0.get(place)).copied().unwrap_or(0)
    }

    /// Writes a register; a write to what is none is dropped.
    pub(super) fn write(&mut self, offset: u32, value: u32) {
        for ((at, _, writable), stored) in STORAGE.iter().zip(&mut self.0) {
            if *at == offset {
                *stored = value & writable;
            }
        }
    }
}
