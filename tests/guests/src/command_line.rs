//! The command line of a guest: words `key=value`, parted by white space.
//!
//! `run=identify,pio drive=1 then=poweroff` runs two cases on the second disk, then switches off.

/// A command line that was read from the disk. Whatever it says, looking something up in it cannot fail.
#[derive(Clone, Copy, Debug)]
pub struct CommandLine<'a> {
    text: &'a str,
}

impl<'a> CommandLine<'a> {
    /// Takes the bytes up to the first zero byte. Bytes that are not text make an empty command line.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        let text = bytes.get(..end).and_then(|line| core::str::from_utf8(line).ok()).unwrap_or("");
        Self { text }
    }

    /// The value of the first word with this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.text
            .split_ascii_whitespace()
            .filter_map(|word| word.split_once('='))
            .find_map(|(found, value)| (found == key).then_some(value))
    }

    /// The number with this key, decimal or with `0x` in front; `default` where there is none.
    #[must_use]
    pub fn number(&self, key: &str, default: u64) -> u64 {
        self.get(key).and_then(parse_number).unwrap_or(default)
    }

    /// The names of the cases to run, in their order.
    pub fn cases(&self) -> impl Iterator<Item = &'a str> {
        self.get("run").unwrap_or("").split(',').filter(|name| !name.is_empty())
    }
}

/// A decimal number, or a hexadecimal one with `0x` in front.
#[must_use]
pub fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn words_are_found_by_their_key() {
        let line = CommandLine::new(b"run=identify,pio drive=1 lba=0x100 junk\0run=no");
        assert_eq!(line.cases().collect::<Vec<_>>(), ["identify", "pio"]);
        assert_eq!(line.number("drive", 0), 1);
        assert_eq!(line.number("lba", 0), 0x100);
        assert_eq!(line.number("absent", 7), 7);
        assert_eq!(line.get("junk"), None);
    }

    #[test]
    fn bytes_that_are_no_text_are_an_empty_command_line() {
        assert_eq!(CommandLine::new(&[0xff; 512]).cases().count(), 0);
        assert_eq!(CommandLine::new(&[]).get("run"), None);
    }
}
