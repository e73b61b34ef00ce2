//! QEMU's lists of properties: `driver,key=value,flag`.
//!
//! Elements are separated by commas; a comma that belongs to a value is doubled. An element without `=` is a flag, and
//! means `on`; the first one may leave out a key that everyone knows (`VGA,…` is `driver=VGA,…`).
//!
//! Source: QEMU's documentation of its command line ("a comma in a value is written as two").

use super::refusal::Reason;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::str::FromStr;

/// More properties than the toolstack ever writes for one argument.
const MAX_PROPERTIES: usize = 64;

/// A list of properties of which some have been taken out.
///
/// Invariant: no two keys are the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    entries: Vec<(String, String)>,
}

impl Properties {
    /// Takes `text` apart. `implied` is the key of a first element that is a value alone.
    pub(super) fn parse(text: &str, implied: Option<&str>) -> Result<Self, Reason> {
        let mut properties = Self::default();
        let mut element = String::new();
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            if character != ',' {
                element.push(character);
            } else if characters.next_if_eq(&',').is_some() {
                element.push(',');
            } else {
                properties.add(&element, implied)?;
                element.clear();
            }
        }
        properties.add(&element, implied)?;
        Ok(properties)
    }

    /// Adds one element.
    fn add(&mut self, element: &str, implied: Option<&str>) -> Result<(), Reason> {
        let implied = implied.filter(|_| self.entries.is_empty());
        let (key, value) = match (element.split_once('='), implied) {
            (Some((key, value)), _) => (key, value),
            (None, Some(key)) => (key, element),
            (None, None) => (element, "on"),
        };
        if key.is_empty() {
            return Err(Reason::Malformed("there is nothing between two commas"));
        }
        if self.entries.len() >= MAX_PROPERTIES {
            return Err(Reason::Malformed("it has too many properties"));
        }
        if self.entries.iter().any(|(known, _)| known == key) {
            return Err(Reason::Malformed("a property is given twice"));
        }
        self.entries.push((key.to_string(), value.to_string()));
        Ok(())
    }

    /// What `key` says, if it is there and was not taken out.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Takes out `key`.
    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        let at = self.entries.iter().position(|(known, _)| known == key)?;
        Some(self.entries.remove(at).1)
    }

    /// Takes out `key`, which must be there.
    pub(super) fn need(&mut self, key: &'static str) -> Result<String, Reason> {
        self.take(key).ok_or(Reason::MissingProperty(key))
    }

    /// Takes out `key`, which is a decimal number if it is there.
    pub(super) fn take_number<T: FromStr>(&mut self, key: &str) -> Result<Option<T>, Reason> {
        self.take(key).map(|value| number(&value)).transpose()
    }

    /// Takes out `key`, which is `on` or `off` if it is there.
    pub(super) fn take_switch(&mut self, key: &str) -> Result<Option<bool>, Reason> {
        match self.take(key).as_deref() {
            None => Ok(None),
            Some("on") => Ok(Some(true)),
            Some("off") => Ok(Some(false)),
            Some(_) => Err(Reason::Malformed("a switch is neither on nor off")),
        }
    }

    /// Everything has been taken out; what is left is unknown.
    pub(super) fn finish(self) -> Result<(), Reason> {
        match self.entries.into_iter().next() {
            None => Ok(()),
            Some((key, _)) => Err(Reason::UnknownProperty(key)),
        }
    }
}

/// A decimal number: digits alone, no sign, no blanks.
pub(super) fn number<T: FromStr>(text: &str) -> Result<T, Reason> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Reason::Malformed("a number is not made of digits alone"));
    }
    text.parse().map_err(|_| Reason::Malformed("a number is too large"))
}

/// An Ethernet address, six pairs of hexadecimal digits between colons.
pub fn mac(text: &str) -> Result<[u8; 6], Reason> {
    const WHY: Reason = Reason::Malformed("this is no Ethernet address");
    let mut address = [0; 6];
    let mut pairs = text.split(':');
    for byte in &mut address {
        let pair = pairs
            .next()
            .filter(|pair| pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .ok_or(WHY)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| WHY)?;
    }
    if pairs.next().is_none() { Ok(address) } else { Err(WHY) }
}
