//! Transmit descriptors: sixteen bytes, of three kinds.
//!
//! Source: SDM 3.3.3 (legacy), 3.3.6 (context), 3.3.7 (data).
//! Not modelled: IFCS (every frame gets its frame check sequence), IDE (no delay), report of collisions.

use crate::net::segment::ChecksumField;
use serde::{Deserialize, Serialize};

/// Command and type bits of the third word.
mod word {
    pub(super) const LENGTH_LEGACY: u32 = 0xffff;
    pub(super) const LENGTH_DATA: u32 = 0xf_ffff;
    pub(super) const TYPE: u32 = 0xf << 20;
    pub(super) const TYPE_CONTEXT: u32 = 0;
    pub(super) const TYPE_DATA: u32 = 1 << 20;
    /// EOP; TCP in a context.
    pub(super) const EOP: u32 = 1 << 24;
    /// IP, of a context: IPv4.
    pub(super) const IPV4: u32 = 1 << 25;
    /// IC of a legacy descriptor, TSE of others.
    pub(super) const IC_TSE: u32 = 1 << 26;
    /// RS and RPS.
    pub(super) const REPORT: u32 = 3 << 27;
    pub(super) const DEXT: u32 = 1 << 29;
    pub(super) const VLE: u32 = 1 << 30;
}
/// POPTS.IXSM, insert the checksum of the IPv4 header.
const IXSM: u8 = 1 << 0;
/// POPTS.TXSM, insert the checksum of TCP or UDP.
const TXSM: u8 = 1 << 1;

/// What a context descriptor says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Context {
    pub(super) ipcss: u8,
    pub(super) ipcso: u8,
    pub(super) ipcse: u16,
    pub(super) tucss: u8,
    pub(super) tucso: u8,
    pub(super) tucse: u16,
    pub(super) paylen: u32,
    pub(super) hdrlen: u8,
    pub(super) mss: u16,
    /// IPv4, or IPv6.
    pub(super) ipv4: bool,
    /// TCP, or UDP.
    pub(super) tcp: bool,
}

impl Context {
    /// The checksum of the IPv4 header.
    pub(super) fn ip_checksum(&self) -> ChecksumField {
        ChecksumField { start: self.ipcss.into(), end: range_end(self.ipcse), at: self.ipcso.into() }
    }

    /// The checksum of TCP or UDP.
    pub(super) fn transport_checksum(&self) -> ChecksumField {
        ChecksumField { start: self.tucss.into(), end: range_end(self.tucse), at: self.tucso.into() }
    }
}

/// The last byte of a range, zero is the last of the frame.
fn range_end(last: u16) -> Option<usize> {
    (last != 0).then(|| usize::from(last).wrapping_add(1))
}

/// What a descriptor with data says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where the data is.
    pub(super) addr: u64,
    /// Bytes of it.
    pub(super) len: usize,
    /// It is the last of its frame.
    pub(super) eop: bool,
    /// A tag goes in.
    pub(super) tag: Option<u16>,
    /// It belongs to a packet that is cut into segments.
    pub(super) tse: bool,
    /// The checksums are those of the context.
    pub(super) ixsm: bool,
    pub(super) txsm: bool,
    /// The one checksum of a legacy descriptor.
    pub(super) legacy: Option<ChecksumField>,
}

/// A descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Descriptor {
    /// For what comes behind it; the flag says whether for packets that are cut.
    Context(Context, bool),
    /// Data.
    Piece(Piece),
}

/// A descriptor, and whether it is to be written back.
pub(super) fn decode(bytes: [u8; 16]) -> (Descriptor, bool) {
    let [b0, b1, b2, b3, b4, b5, b6, b7, c0, c1, c2, c3, _, option, s0, s1] = bytes;
    let command = u32::from_le_bytes([c0, c1, c2, c3]);
    let special = u16::from_le_bytes([s0, s1]);
    let report = command & word::REPORT != 0;
    let extended = command & word::DEXT != 0;
    if extended && command & word::TYPE == word::TYPE_CONTEXT {
        let context = Context {
            ipcss: b0,
            ipcso: b1,
            ipcse: u16::from_le_bytes([b2, b3]),
            tucss: b4,
            tucso: b5,
            tucse: u16::from_le_bytes([b6, b7]),
            paylen: command & word::LENGTH_DATA,
            hdrlen: option,
            mss: special,
            ipv4: command & word::IPV4 != 0,
            tcp: command & word::EOP != 0,
        };
        return (Descriptor::Context(context, command & word::IC_TSE != 0), report);
    }
    let data = extended && command & word::TYPE == word::TYPE_DATA;
    let eop = command & word::EOP != 0;
    let legacy = ChecksumField { start: option.into(), end: None, at: c2.into() };
    let mask = if data { word::LENGTH_DATA } else { word::LENGTH_LEGACY };
    let piece = Piece {
        addr: u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]),
        len: usize::try_from(command & mask).unwrap_or(0),
        eop,
        tag: (command & word::VLE != 0).then_some(special),
        tse: data && command & word::IC_TSE != 0,
        ixsm: data && option & IXSM != 0,
        txsm: data && option & TXSM != 0,
        // "IC is valid only when EOP is set."
        legacy: (!extended && eop && command & word::IC_TSE != 0).then_some(legacy),
    };
    (Descriptor::Piece(piece), report)
}
