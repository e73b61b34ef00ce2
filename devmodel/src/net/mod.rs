//! What network cards have in common: looking into frames, checksums, and cutting what is too long for the wire.
//!
//! | module | what lives there |
//! |---|---|
//! | [`frame`] | a frame as something to read from: one that is sent, one that was received, or bytes |
//! | [`headers`] | where the headers of a frame are, and what is in them |
//! | [`checksum`] | the Internet checksum, over a part of a frame; finishing a blank one |
//! | [`segment`] | cutting TCP into segments, for networks that cannot |
//! | [`multicast`] | the hash by which cards sort multicast addresses |
//! | [`eeprom`] | the chip with a card's address |
//!
//! Source: RFC 791, 793, 768, 8200 (headers); RFC 1071 (the checksum); IEEE 802.3, 3.2.9 (the CRC); IEEE 802.1Q.
//! Not modelled: extension headers of IPv6 (such a frame has no transport here), tunnels, more than one VLAN tag.
//! Invariant: nothing here allocates, and no offset that stands in a frame leads outside of it.

pub mod checksum;
pub mod eeprom;
pub mod frame;
pub mod headers;
pub mod multicast;
pub mod segment;
#[cfg(test)]
pub(crate) mod tests;

/// Bytes of an Ethernet header: two addresses and a type.
pub const ETHERNET_HEADER: usize = 14;
/// The longest IP packet, header included.
pub const LONGEST_PACKET: usize = 65_535;
/// Bytes of a VLAN tag. It stands before the type, at [`TAG_AT`].
pub const TAG: usize = 4;
/// Where a VLAN tag is.
pub const TAG_AT: usize = 12;
/// Bytes of the shortest frame on a wire, without its frame check sequence.
pub const SHORTEST: usize = 60;
