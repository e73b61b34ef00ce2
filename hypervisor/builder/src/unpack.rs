//! Kernels come compressed, as gzip makes it.
//!
//! Source: RFC 1952. The checksum at the end is not looked at: what is wrong is no ELF file.

use alloc::borrow::Cow;
use miniz_oxide::inflate::decompress_to_vec_with_limit;

/// What a gzip file begins with: its mark, and deflate.
const MARK: &[u8] = &[0x1f, 0x8b, 8];
/// Bytes of the header, and of what follows the data.
const HEADER: usize = 10;
const TRAILER: usize = 8;
/// Flags: a header checksum, extra fields, a name, a comment.
const CHECKSUM: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;

/// The file itself, if it is not compressed, or what is in it, if that is not longer than `most` bytes. `None`: it is broken.
#[must_use]
pub fn unpack(file: &[u8], most: usize) -> Option<Cow<'_, [u8]>> {
    if !file.starts_with(MARK) {
        return Some(Cow::Borrowed(file));
    }
    let flags = *file.get(3)?;
    let mut rest = file.get(HEADER..)?;
    if flags & EXTRA != 0 {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        rest = behind.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = rest.get(end.checked_add(1)?..)?;
        }
    }
    if flags & CHECKSUM != 0 {
        rest = rest.get(2..)?;
    }
    let data = rest.get(..rest.len().checked_sub(TRAILER)?)?;
    decompress_to_vec_with_limit(data, most).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn packed(flags: u8, fields: &[u8], content: &[u8]) -> Vec<u8> {
        let data = miniz_oxide::deflate::compress_to_vec(content, 6);
        [&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3], fields, &data, &[0; 8]].concat()
    }

    #[test]
    fn gzip_files_are_unpacked_and_others_are_as_they_are() {
        let content = vec![7; 100_000];
        for (flags, fields) in
            [(0, &b""[..]), (NAME, b"kernel\0"), (EXTRA | COMMENT | CHECKSUM, b"\x03\0abcnothing\0xx")]
        {
            assert_eq!(unpack(&packed(flags, fields, &content), 100_000).unwrap(), content);
        }
        assert!(unpack(&packed(0, b"", &content), 99_999).is_none(), "too large");
        assert_eq!(unpack(b"plain", 0).unwrap(), &b"plain"[..]);
        let whole = packed(NAME, b"kernel\0", &content);
        for length in 3..whole.len() - 9 {
            assert!(unpack(&whole[..length], 100_000).is_none(), "{length} bytes");
        }
    }
}
