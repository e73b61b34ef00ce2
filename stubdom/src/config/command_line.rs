//! The stub domain's own command line: `stubdomain_cmdline=` of xl.cfg, or what the toolstack puts there by itself.

use super::refusal::{Reason, Refusal, Subject};
use alloc::string::ToString;
use log::LevelFilter;

/// What the command line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// The least important messages that go to console 0: `loglevel=off|error|warn|info|debug|trace`.
    pub log_level: LevelFilter,
}

impl Default for CommandLine {
    fn default() -> Self {
        Self { log_level: LevelFilter::Info }
    }
}

/// Words that are written for Linux stub domains and say nothing to us: `console=hvc0 debug=1` is in use for them.
const IGNORED: &[&str] = &["console", "debug"];

impl CommandLine {
    /// Understands a command line: words separated by blanks.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let mut level = None;
        for word in text.split_ascii_whitespace() {
            let refuse = |reason| Refusal { subject: Subject::CommandLine(word.to_string()), reason };
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            if name == "loglevel" {
                let known = value.parse::<LevelFilter>().map_err(|_| {
                    refuse(Reason::Malformed("loglevel is one of off, error, warn, info, debug, trace"))
                })?;
                if level.replace(known).is_some() {
                    return Err(refuse(Reason::Twice));
                }
            } else if !IGNORED.contains(&name) {
                return Err(refuse(Reason::Unknown));
            }
        }
        Ok(Self { log_level: level.unwrap_or(Self::default().log_level) })
    }
}
