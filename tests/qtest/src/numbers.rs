//! How qtest writes numbers and bytes.
//!
//! Numbers are those of C's `strtoull` with base 0: decimal, hexadecimal after `0x`, octal after `0`, with a sign.
//! Bytes are hexadecimal digits after `0x`, or base64.

/// Parses a number, the whole of `text`.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, text.get(1..)?),
        [b'+', ..] => (false, text.get(1..)?),
        _ => (false, text),
    };
    // A second sign would be taken by the standard library.
    if !digits.starts_with(|digit: char| digit.is_ascii_digit()) {
        return None;
    }
    let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hexadecimal) if hexadecimal.starts_with('+') => return None,
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16).ok()?,
        None if digits.len() > 1 && digits.starts_with('0') => u64::from_str_radix(digits, 8).ok()?,
        None => digits.parse().ok()?,
    };
    Some(if negative { number.wrapping_neg() } else { number })
}

/// Parses a signed number.
pub(crate) fn parse_signed(text: &str) -> Option<i64> {
    parse(text).map(u64::cast_signed)
}

/// A size such as `64M` or `1G`; a bare number is in units of `unit` bytes.
pub(crate) fn parse_size(text: &str, unit: u64) -> Option<u64> {
    let end = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let unit = match suffix {
        "" => unit,
        "B" | "b" => 1,
        "K" | "k" => 1 << 10,
        "M" | "m" => 1 << 20,
        "G" | "g" => 1 << 30,
        "T" | "t" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// Bytes as `0x` and two digits each.
pub(crate) fn hexadecimal(data: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 + 2 * data.len());
    text.push_str("0x");
    for byte in data {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The first `len` bytes of what follows `0x`. Missing ones are zero; something other than a digit is 0xf, or 0xff.
pub(crate) fn from_hexadecimal(text: &str, len: usize) -> Vec<u8> {
    let digits = text.as_bytes().get(2..).unwrap_or_default();
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()).unwrap_or(0xff);
    let mut data: Vec<u8> =
        digits.chunks_exact(2).take(len).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])).collect();
    data.resize(len, 0);
    data
}

/// The alphabet of base64, RFC 4648 section 4.
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes in base64.
pub(crate) fn base64(data: &[u8]) -> String {
    let mut text = String::with_capacity(data.len().div_ceil(3) * 4);
    for group in data.chunks(3) {
        let mut bytes = [0; 3];
        bytes[..group.len()].copy_from_slice(group);
        let bits = u32::from(bytes[0]) << 16 | u32::from(bytes[1]) << 8 | u32::from(bytes[2]);
        for place in 0..4 {
            let [sextet, ..] = (bits >> (18 - 6 * place) & 0x3f).to_le_bytes();
            let is_padding = usize::try_from(place).is_ok_and(|place| place > group.len());
            text.push(if is_padding { '=' } else { char::from(BASE64[usize::from(sextet)]) });
        }
    }
    text
}

/// Bytes from base64. What is not of the alphabet is passed over; padding ends it.
pub(crate) fn from_base64(text: &str) -> Vec<u8> {
    let sextets = text.bytes().take_while(|letter| *letter != b'=');
    let sextets = sextets.filter_map(|letter| (0_u32..).zip(BASE64).find(|(_, known)| **known == letter));
    let mut data = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for (sextet, _) in sextets {
        bits = (bits << 6 | sextet) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            data.push((bits >> count).to_le_bytes()[0]);
        }
    }
    data
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn numbers_are_those_of_c() {
        assert_eq!(["10", "0x10", "010", "0", "-1"].map(parse), [10, 16, 8, 0, u64::MAX].map(Some));
        assert_eq!(["", "x", "0x", "1z", "--1", "0x+1"].map(parse), [None; 6]);
        assert_eq!(parse_signed("-5"), Some(-5));
    }

    #[test]
    fn sizes_have_units() {
        let sizes = ["128", "2G", "64k", "1x"].map(|text| parse_size(text, 1 << 20));
        assert_eq!(sizes, [Some(128 << 20), Some(2 << 30), Some(64 << 10), None]);
    }

    #[test]
    fn bytes_go_there_and_back() {
        assert_eq!(hexadecimal(&[0, 0xa5]), "0x00a5");
        assert_eq!(from_hexadecimal("0x00A5f", 4), [0, 0xa5, 0, 0]);
        assert_eq!(from_hexadecimal("0x010203", 2), [1, 2]);
        // RFC 4648, section 10.
        for (data, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(data.as_bytes()), text);
            assert_eq!(from_base64(text), data.as_bytes());
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(from_base64(&base64(&all)), all);
    }
}
