//! How wide an access is, and where it goes.

/// Width of one access in bytes: 1, 2, 4 or 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// One byte.
    Byte,
    /// Two bytes.
    Word,
    /// Four bytes.
    Dword,
    /// Eight bytes; memory only.
    Qword,
}

impl Width {
    /// The width of `bytes` bytes, if there is such a width.
    #[must_use]
    pub const fn from_bytes(bytes: u32) -> Option<Self> {
        match bytes {
            1 => Some(Self::Byte),
            2 => Some(Self::Word),
            4 => Some(Self::Dword),
            8 => Some(Self::Qword),
            _ => None,
        }
    }

    /// Number of bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Dword => 4,
            Self::Qword => 8,
        }
    }

    /// A value of this width with every bit set: what a bus without a device reads.
    #[must_use]
    pub const fn all_ones(self) -> u64 {
        match self {
            Self::Byte => 0xff,
            Self::Word => 0xffff,
            Self::Dword => 0xffff_ffff,
            Self::Qword => u64::MAX,
        }
    }
}

/// An x86 I/O port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IoPort(pub u16);

/// Performs a read of `width` at `offset` as single bytes, lowest first, each by `byte`.
///
/// For registers that are one byte wide; offsets wrap at 16 bits as ports do.
pub fn read_bytes(offset: u16, width: Width, mut byte: impl FnMut(u16) -> u8) -> u64 {
    let mut bytes = [0; 8];
    for (lane, at) in bytes.iter_mut().zip(0..).take(width.bytes()) {
        *lane = byte(offset.wrapping_add(at));
    }
    u64::from_le_bytes(bytes)
}

/// Performs a write of `width` at `offset` as single bytes, lowest first, each by `byte`.
pub fn write_bytes(offset: u16, width: Width, value: u64, mut byte: impl FnMut(u16, u8)) {
    for (lane, at) in value.to_le_bytes().into_iter().zip(0..).take(width.bytes()) {
        byte(offset.wrapping_add(at), lane);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn a_wide_read_is_little_endian_bytes() {
        assert_eq!(read_bytes(0x10, Width::Dword, |at| at.to_le_bytes()[0]), 0x1312_1110);
        assert_eq!(read_bytes(0xffff, Width::Word, |at| if at == 0 { 0x22 } else { 0x11 }), 0x2211);
    }

    #[test]
    fn a_wide_write_arrives_lowest_byte_first() {
        let mut seen = Vec::new();
        write_bytes(4, Width::Word, 0xabcd, |at, value| seen.push((at, value)));
        assert_eq!(seen, [(4, 0xcd), (5, 0xab)]);
    }
}
