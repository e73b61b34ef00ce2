//! Why the device model does not start: what the toolstack said, and what is wrong with it.
//!
//! A refusal is one line. The same line goes to console 0 and to the `error` key, so it is bounded and has no
//! control characters, whatever it quotes.

use alloc::string::String;
use core::fmt;

/// The longest part of a value that is quoted, in characters.
const QUOTED_CHARACTERS: usize = 160;

/// One thing that the toolstack asked for and does not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who said it.
    pub subject: Subject,
    /// What is wrong with it.
    pub reason: Reason,
}

/// Where something wrong was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A device-model argument, with its value.
    Argument(String),
    /// A key of xenstore, relative to where it was looked for.
    Key(String),
    /// A word of the stub domain's own command line.
    CommandLine(String),
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing of this name is known.
    Unknown,
    /// It is known, and the device model cannot do it. The advice is in words of xl.cfg.
    NotSupported(&'static str),
    /// It is known and its value makes no sense.
    Malformed(&'static str),
    /// A property in a list of properties that nobody knows.
    UnknownProperty(String),
    /// A property without which the rest makes no sense.
    MissingProperty(&'static str),
    /// It takes a value, and is the last word.
    LacksValue,
    /// It can be said once, and is said again.
    Twice,
    /// It has to be there. The advice says what to write.
    Missing(&'static str),
}

impl Refusal {
    /// A refusal of the device-model argument `argument`.
    pub(super) fn argument(argument: &str, reason: Reason) -> Self {
        Self { subject: Subject::Argument(argument.into()), reason }
    }

    /// A refusal of the xenstore key `key`.
    pub(super) fn key(key: &str, reason: Reason) -> Self {
        Self { subject: Subject::Key(key.into()), reason }
    }
}

impl core::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Argument(text) => write!(f, "device-model argument {}", Quoted(text))?,
            Subject::Key(text) => write!(f, "xenstore key {}", Quoted(text))?,
            Subject::CommandLine(text) => write!(f, "command-line option {}", Quoted(text))?,
        }
        match &self.reason {
            Reason::Unknown => f.write_str(" is unknown"),
            Reason::NotSupported(advice) => write!(f, " is not supported: {advice}"),
            Reason::Malformed(why) => write!(f, " is malformed: {why}"),
            Reason::UnknownProperty(name) => {
                write!(f, " has the unknown property {}", Quoted(name))
            }
            Reason::MissingProperty(name) => write!(f, " lacks the property {}", Quoted(name)),
            Reason::LacksValue => f.write_str(" lacks its value"),
            Reason::Twice => f.write_str(" is given twice"),
            Reason::Missing("") => f.write_str(" is missing"),
            Reason::Missing(advice) => write!(f, " is missing: {advice}"),
        }
    }
}

/// Text between double quotes, cut when it is long, with everything escaped that could end the line or the quotes.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(QUOTED_CHARACTERS) {
            if character == '"' || character == '\\' || character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                fmt::Write::write_char(f, character)?;
            }
        }
        if characters.next().is_some() {
            f.write_str("...")?;
        }
        f.write_str("\"")
    }
}
