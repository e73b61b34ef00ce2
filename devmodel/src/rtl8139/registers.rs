//! Where the registers are, and what their bits mean: RTL8139C+ data sheet, chapter 5.

use bitflags::bitflags;
use serde::{Deserialize, Serialize};

bitflags! {
    /// Command register, CR.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub(super) struct Command: u8 {
        const BUFFER_EMPTY = 1 << 0;
        const TRANSMIT = 1 << 2;
        const RECEIVE = 1 << 3;
        const RESET = 1 << 4;
    }

    /// Interrupt status and mask, ISR and IMR.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub(super) struct Interrupt: u16 {
        const RECEIVE_OK = 1 << 0;
        const RECEIVE_ERROR = 1 << 1;
        const TRANSMIT_OK = 1 << 2;
        const TRANSMIT_ERROR = 1 << 3;
        /// Also RDU of C+ mode: no descriptor is available.
        const RECEIVE_OVERFLOW = 1 << 4;
        const UNDERRUN_OR_LINK = 1 << 5;
        const FIFO_OVERFLOW = 1 << 6;
        /// C+ mode: no transmit descriptor is available.
        const DESCRIPTOR_UNAVAILABLE = 1 << 7;
        const SOFTWARE = 1 << 8;
        const LENGTH_CHANGE = 1 << 13;
        const TIME_OUT = 1 << 14;
        const SYSTEM_ERROR = 1 << 15;
    }
}

pub(super) const CR: u8 = 0x37;
/// 9346CR.
pub(super) const EECR: u8 = 0x50;
pub(super) const CONFIG0: u8 = 0x51;
pub(super) const CONFIG1: u8 = 0x52;
pub(super) const MSR: u8 = 0x58;
pub(super) const CONFIG3: u8 = 0x59;
pub(super) const CONFIG4: u8 = 0x5a;
pub(super) const CONFIG5: u8 = 0xd8;
pub(super) const TPPOLL: u8 = 0xd9;

/// What drivers subtract from the place up to which they have read.
pub(super) const CAPR_OFFSET: u16 = 0x10;

/// Transmit status: bytes of the frame.
pub(super) const TSD_SIZE: u32 = 0x1fff;
/// Transmit status: the buffer has been read; the driver owns it.
pub(super) const TSD_OWN: u32 = 1 << 13;
pub(super) const TSD_UNDERRUN: u32 = 1 << 14;
/// Transmit status: sent.
pub(super) const TSD_OK: u32 = 1 << 15;
pub(super) const TSD_ABORT: u32 = 1 << 30;

/// Transmit configuration: what says which chip this is, of the RTL8139C+.
pub(super) const TCR_VERSION: u32 = 0x7480_0000;
/// Transmit configuration: the rest.
pub(super) const TCR_WRITABLE: u32 = 0x0307_07f0;
/// Transmit configuration: frames go to the receiver and nowhere else.
pub(super) const TCR_LOOPBACK: u32 = 3 << 17;

/// Receive configuration: every address.
pub(super) const RCR_ALL: u32 = 1 << 0;
/// Receive configuration: our address.
pub(super) const RCR_MATCHING: u32 = 1 << 1;
pub(super) const RCR_MULTICAST: u32 = 1 << 2;
pub(super) const RCR_BROADCAST: u32 = 1 << 3;
/// Receive configuration: frames run over the end of the ring instead of going on at its start.
pub(super) const RCR_NO_WRAP: u32 = 1 << 7;
pub(super) const RCR_WRITABLE: u32 = 0x0f03_ffff;

pub(super) const CPCR_TRANSMIT: u16 = 1 << 0;
pub(super) const CPCR_RECEIVE: u16 = 1 << 1;
pub(super) const CPCR_RECEIVE_CHECKSUM: u16 = 1 << 5;
pub(super) const CPCR_RECEIVE_VLAN: u16 = 1 << 6;
pub(super) const CPCR_WRITABLE: u16 = 0x007b;

pub(super) const TPPOLL_NORMAL: u8 = 1 << 6;
pub(super) const TPPOLL_HIGH: u8 = 1 << 7;

pub(super) const EECR_DATA_OUT: u8 = 1 << 0;
pub(super) const EECR_DATA_IN: u8 = 1 << 1;
pub(super) const EECR_CLOCK: u8 = 1 << 2;
pub(super) const EECR_SELECT: u8 = 1 << 3;
pub(super) const EECR_MODE: u8 = 3 << 6;
pub(super) const EECR_AUTOLOAD: u8 = 1 << 6;
pub(super) const EECR_PROGRAM: u8 = 2 << 6;
/// Configuration registers can be written.
pub(super) const EECR_CONFIG: u8 = 3 << 6;
/// The first word of the EEPROM.
pub(super) const EEPROM_ID: u16 = 0x8129;

pub(super) const BMCR_RESET: u16 = 1 << 15;
pub(super) const BMCR_RESTART: u16 = 1 << 9;
/// 100 Mbit/s, negotiated, full duplex.
pub(super) const BMCR_DEFAULT: u16 = 0x3100;
/// Everything that 10 and 100 Mbit/s can be, IEEE 802.3.
pub(super) const ANAR_DEFAULT: u16 = 0x01e1;
/// The same of the other end, which has acknowledged.
pub(super) const ANLPAR: u16 = 0x45e1;

/// Basic mode status: what is possible, that negotiation is complete, and the link.
pub(super) const fn basic_status(link: bool) -> u16 {
    if link { 0x7809 | 1 << 2 | 1 << 5 } else { 0x7809 }
}

/// Media status: the link is down, 10 Mbit/s, and what flow control there is.
pub(super) const fn media_status(link: bool) -> u8 {
    if link { 0xd0 } else { 0xd4 }
}

/// Descriptors: the card owns it.
pub(super) const OWN: u32 = 1 << 31;
/// Descriptors: the last one of the ring.
pub(super) const END_OF_RING: u32 = 1 << 30;
/// Descriptors: the first one of a frame.
pub(super) const FIRST: u32 = 1 << 29;
/// Descriptors: the last one of a frame.
pub(super) const LAST: u32 = 1 << 28;
/// Descriptors of a ring at most.
pub(super) const DESCRIPTORS: u16 = 64;
