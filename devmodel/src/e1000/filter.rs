//! Which frames are for this card: addresses, the multicast table, the VLAN table.
//!
//! Source: SDM 3.2.1 (packet address filtering), 9.3 (VLAN filtering), 13.5 (MTA, RAL, RAH, VFTA); QEMU lets BAM alone decide
//! about broadcasts that are nobody's address, and so do we.
//! Not modelled: RAH.AS, comparing with the source address (reserved for other controllers).

use super::receive::rctl;
use crate::net::multicast::{is_broadcast, is_group};
use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

/// RAH.AV, the entry counts.
const ADDRESS_VALID: u32 = 1 << 31;

/// Why a frame is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// Its address is one of ours, or all frames of its kind are.
    Exact,
    /// Its address has the hash of one of ours.
    Hash,
}

/// The tables.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Filter {
    /// RAL and RAH in turn.
    addresses: [u32; 32],
    #[serde(with = "BigArray")]
    multicast: [u32; 128],
    #[serde(with = "BigArray")]
    vlans: [u32; 128],
}

impl Filter {
    /// The tables after a reset: the first address is that of the EEPROM.
    pub(super) fn new(mac: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = mac;
        let mut addresses = [0; 32];
        addresses[0] = u32::from_le_bytes([a, b, c, d]);
        addresses[1] = u32::from_le_bytes([e, f, 0, 0]) | ADDRESS_VALID;
        Self { addresses, multicast: [0; 128], vlans: [0; 128] }
    }

    /// RAL and RAH.
    pub(super) fn addresses(&mut self) -> &mut [u32] {
        &mut self.addresses
    }

    /// MTA.
    pub(super) fn multicast(&mut self) -> &mut [u32] {
        &mut self.multicast
    }

    /// VFTA.
    pub(super) fn vlans(&mut self) -> &mut [u32] {
        &mut self.vlans
    }

    /// Whether a frame to `address` is for us, with RCTL as it is.
    pub(super) fn matches(&self, address: [u8; 6], control: u32) -> Option<Match> {
        let everything = if is_broadcast(address) {
            rctl::BAM
        } else if is_group(address) {
            rctl::MPE
        } else {
            rctl::UPE
        };
        let [a, b, c, d, e, f] = address;
        let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, 0, 0]));
        let (entries, _) = self.addresses.as_chunks::<2>();
        let known = |[ral, rah]: &[u32; 2]| *ral == low && *rah & (ADDRESS_VALID | 0xffff) == ADDRESS_VALID | high;
        if control & everything != 0 || entries.iter().any(known) {
            return Some(Match::Exact);
        }
        // MO: which twelve bits of the highest sixteen.
        let shift = match control >> rctl::MO_SHIFT & 3 {
            0 => 4,
            1 => 3,
            2 => 2,
            _ => 0_u32,
        };
        let hash = u16::from_le_bytes([e, f]).wrapping_shr(shift) & 0xfff;
        (is_group(address) && bit(&self.multicast, hash)).then_some(Match::Hash)
    }

    /// Whether a frame with this tag is for us, with RCTL as it is.
    pub(super) fn matches_vlan(&self, tag: u16, control: u32) -> bool {
        control & rctl::VFE == 0 || bit(&self.vlans, tag & 0xfff)
    }
}

fn bit(table: &[u32], index: u16) -> bool {
    let word = table.get(usize::from(index >> 5)).copied().unwrap_or(0);
    word.wrapping_shr((index & 0x1f).into()) & 1 != 0
}
