//! QEMU's options: `first,key=value,key`, where `,,` in a value is a comma.
//!
//! Source: QEMU `util/qemu-option.c`.

use anyhow::{Result, bail};
use serde_json::Value;

/// An option's value, taken apart. Whoever reads it takes out what it knows; [`Options::finish`] refuses the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// What it was, for messages.
    text: String,
    pairs: Vec<(String, String)>,
}

impl Options {
    /// Takes the value of `option` apart. A first part without `=` is the value of `implied`.
    pub(crate) fn parse(option: &str, value: &str, implied: Option<&str>) -> Self {
        let mut pairs = Vec::new();
        for (index, part) in split(value).into_iter().enumerate() {
            let pair = match part.split_once('=') {
                Some((key, value)) => (key.to_owned(), value.to_owned()),
                None => match implied.filter(|_| index == 0) {
                    Some(key) => (key.to_owned(), part),
                    None => flag(&part),
                },
            };
            pairs.push(pair);
        }
        Self { text: format!("{option} {value}"), pairs }
    }

    /// The members of a JSON object, those of objects in it by `outer.inner`.
    pub(crate) fn from_json(option: &str, value: &Value) -> Self {
        let mut pairs = Vec::new();
        flatten(String::new(), value, &mut pairs);
        Self { text: format!("{option} {value}"), pairs }
    }

    /// The option as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The value of `key`, which stays.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(have, _)| have == key).map(|(_, value)| value.as_str())
    }

    /// Takes out the value of `key`; the last one counts.
    pub(crate) fn take(&mut self, key: &str) -> Option<String> {
        let value = self.get(key).map(str::to_owned);
        self.pairs.retain(|(have, _)| have != key);
        value
    }

    /// Takes out `on` or `off`.
    pub(crate) fn take_bool(&mut self, key: &str) -> Result<Option<bool>> {
        match self.take(key).as_deref() {
            None => Ok(None),
            Some("on" | "yes" | "true" | "y") => Ok(Some(true)),
            Some("off" | "no" | "false" | "n") => Ok(Some(false)),
            Some(other) => bail!("\"{}\": {key} is on or off, not \"{other}\"", self.text),
        }
    }

    /// Takes out a number.
    pub(crate) fn take_number(&mut self, key: &str) -> Result<Option<u64>> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match crate::numbers::parse(&value) {
            Some(number) => Ok(Some(number)),
            None => bail!("\"{}\": {key} is a number, not \"{value}\"", self.text),
        }
    }

    /// Drops keys that make no difference here.
    pub(crate) fn ignore(&mut self, keys: &[&str]) {
        self.pairs.retain(|(have, _)| !keys.contains(&have.as_str()));
    }

    /// Refuses what nobody took out.
    pub(crate) fn finish(self) -> Result<()> {
        match self.pairs.first() {
            Some((key, value)) => bail!("\"{}\": {key}={value} is not supported", self.text),
            None => Ok(()),
        }
    }
}

/// `key` and `nokey` are `key=on` and `key=off`.
fn flag(part: &str) -> (String, String) {
    match part.strip_prefix("no") {
        Some(key) if !key.is_empty() && part != "node-name" => (key.to_owned(), "off".to_owned()),
        _ => (part.to_owned(), "on".to_owned()),
    }
}

fn flatten(key: String, value: &Value, pairs: &mut Vec<(String, String)>) {
    let value = match value {
        Value::Object(members) => {
            for (name, member) in members {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                flatten(key, member, pairs);
            }
            return;
        }
        Value::String(text) => text.clone(),
        Value::Bool(is_on) => if *is_on { "on" } else { "off" }.to_owned(),
        other => other.to_string(),
    };
    pairs.push((key, value));
}

fn split(value: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = value.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == ',' && letters.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn commas_part_and_two_of_them_are_one() {
        let mut options = Options::parse("-drive", "file=a,,b,if=none,readonly,nowait", None);
        assert_eq!(options.take("file").as_deref(), Some("a,b"));
        assert_eq!(options.take("if").as_deref(), Some("none"));
        assert_eq!(options.take_bool("readonly").unwrap(), Some(true));
        assert_eq!(options.take_bool("wait").unwrap(), Some(false));
        options.finish().unwrap();
    }

    #[test]
    fn what_nobody_takes_is_refused_by_name() {
        let mut options = Options::parse("-device", "ide-hd,drive=d,odd=1", Some("driver"));
        assert_eq!(options.take("driver").as_deref(), Some("ide-hd"));
        options.ignore(&["drive"]);
        let problem = options.finish().unwrap_err().to_string();
        assert_eq!(problem, "\"-device ide-hd,drive=d,odd=1\": odd=1 is not supported");
    }
}
