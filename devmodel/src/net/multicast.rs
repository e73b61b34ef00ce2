//! The hash by which cards sort multicast addresses: the Ethernet CRC of an address.
//!
//! Source: IEEE 802.3, 3.2.9; RealTek RTL8139 data sheet, MAR registers (the six highest bits of the CRC).

/// The polynomial, highest power first.
const POLYNOMIAL: u32 = 0x04c1_1db7;

/// The CRC of an address: bits go in lowest first, as they are on the wire, and nothing is inverted at the end.
#[must_use]
pub fn crc(address: [u8; 6]) -> u32 {
    let mut crc = u32::MAX;
    for byte in address {
        for bit in 0..8_u32 {
            let carry = crc >> 31 ^ u32::from(byte).wrapping_shr(bit) & 1;
            crc <<= 1;
            if carry != 0 {
                crc ^= POLYNOMIAL;
            }
        }
    }
    crc
}

/// The place of an address in a table of 64 bits: the six highest bits of its CRC.
#[must_use]
pub fn hash64(address: [u8; 6]) -> u8 {
    crc(address).to_be_bytes()[0] >> 2
}

/// Whether an address is one of many: a multicast address, or that of all.
#[must_use]
pub const fn is_group(address: [u8; 6]) -> bool {
    address[0] & 1 != 0
}

/// Whether an address is that of all.
#[must_use]
pub fn is_broadcast(address: [u8; 6]) -> bool {
    address == [0xff; 6]
}
