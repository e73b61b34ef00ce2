//! Fields of messages. All numbers are big-endian, RFC 6143 section 7.

use alloc::vec::Vec;

/// The fields of a message, one after the other. A field beyond the end is zero: whoever reads has checked the length.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    /// The next byte.
    pub(crate) fn u8(&mut self) -> u8 {
        self.take().map_or(0, |[byte]: [u8; 1]| byte)
    }

    /// The next two bytes.
    pub(crate) fn u16(&mut self) -> u16 {
        self.take().map_or(0, u16::from_be_bytes)
    }

    /// The next four bytes.
    pub(crate) fn u32(&mut self) -> u32 {
        self.take().map_or(0, u32::from_be_bytes)
    }

    /// Leaves bytes out.
    pub(crate) fn skip(&mut self, bytes: usize) {
        self.0 = self.0.get(bytes..).unwrap_or_default();
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }
}

/// Writing fields.
pub(crate) trait PutFields {
    /// Appends two bytes.
    fn put_u16(&mut self, value: u16);
    /// Appends four bytes.
    fn put_u32(&mut self, value: u32);
}

impl PutFields for Vec<u8> {
    fn put_u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_be_bytes());
    }
}

/// Writes over bytes that were kept free before, at `at`.
pub(crate) fn overwrite(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = at.checked_add(bytes.len()).and_then(|end| out.get_mut(at..end)) {
        place.copy_from_slice(bytes);
    }
}
