//! `public/io/netif.h`: network interfaces. Both rings have one page.

use crate::GrantRef;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Slots that every backend takes for one frame.
pub const XEN_NETIF_NR_SLOTS_MIN: usize = 18;
/// The longest frame: the first slot says the length of all of it.
pub const XEN_NETIF_MAX_TX_SIZE: usize = 0xffff;

/// The checksum field of TCP or UDP holds the sum of the pseudo header only.
pub const NETTXF_CSUM_BLANK: u16 = 1 << 0;
/// The data is right, whether the checksum is there or not.
pub const NETTXF_DATA_VALIDATED: u16 = 1 << 1;
/// The frame goes on in the next slot.
pub const NETTXF_MORE_DATA: u16 = 1 << 2;
/// The next slot is a [`ExtraInfo`].
pub const NETTXF_EXTRA_INFO: u16 = 1 << 3;

/// `netif_tx_request_t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TxRequest {
    pub gref: GrantRef,
    pub offset: u16,
    pub flags: u16,
    pub id: u16,
    /// Of the first slot of a frame: the length of the whole frame.
    pub size: u16,
}

/// `netif_tx_response_t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TxResponse {
    pub id: u16,
    pub status: i16,
}

/// `netif_rx_request_t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RxRequest {
    pub id: u16,
    pub pad: u16,
    pub gref: GrantRef,
}

pub const NETRXF_DATA_VALIDATED: u16 = 1 << 0;
pub const NETRXF_CSUM_BLANK: u16 = 1 << 1;
pub const NETRXF_MORE_DATA: u16 = 1 << 2;
pub const NETRXF_EXTRA_INFO: u16 = 1 << 3;

/// `netif_rx_response_t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RxResponse {
    pub id: u16,
    pub offset: u16,
    pub flags: u16,
    /// Bytes, or negative: an error.
    pub status: i16,
}

/// `status`: an answer to an [`ExtraInfo`], which has no id.
pub const NETIF_RSP_NULL: i16 = 1;

pub const XEN_NETIF_EXTRA_TYPE_GSO: u8 = 1;
/// Another one follows.
pub const XEN_NETIF_EXTRA_FLAG_MORE: u8 = 1 << 0;
pub const XEN_NETIF_GSO_TYPE_TCPV4: u8 = 1;
pub const XEN_NETIF_GSO_TYPE_TCPV6: u8 = 2;

/// `netif_extra_info_t`, as it is for segmentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ExtraInfo {
    pub kind: u8,
    pub flags: u8,
    /// Payload of each segment, in bytes.
    pub gso_size: u16,
    pub gso_type: u8,
    pub pad: u8,
    pub features: u16,
}

/// Bytes of a slot of the transmit ring.
pub const TX_SLOT_LEN: usize = 12;
/// Bytes of a slot of the receive ring.
pub const RX_SLOT_LEN: usize = 8;
