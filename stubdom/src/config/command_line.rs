//! The stub domain's own command line: `stubdomain_cmdline=` of xl.cfg, or what the toolstack puts there by itself.

use super::properties::number;
use super::refusal::{Reason, Refusal, Subject};
use super::vnc::Vnc;
use alloc::string::{String, ToString};
use log::LevelFilter;
use minios::net::{Addresses, AddressesError};

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// The least important messages that go to console 0: `loglevel=off|error|warn|info|debug|trace`.
    pub log_level: LevelFilter,
    /// Which addresses the stub domain itself has: `ip=`, at most one of each family.
    pub addresses: Addresses,
    /// Which virtual network interface it has for itself: `vif=`. Otherwise it shares that of the guest's first card.
    pub vif: Option<u32>,
    /// Where its VNC server listens: `vnc=`.
    pub vnc: Option<Vnc>,
    /// The password of that: `vncpasswd=`.
    pub vnc_password: Option<String>,
}

impl Default for CommandLine {
    fn default() -> Self {
        Self { log_level: LevelFilter::Info, addresses: Addresses::default(), vif: None, vnc: None, vnc_password: None }
    }
}

/// Words that are written for Linux stub domains and say nothing to us: `console=hvc0 debug=1` is in use for them.
const IGNORED: &[&str] = &["console", "debug"];

impl CommandLine {
    /// Understands a command line: words separated by blanks.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        Self::parse_with(text, &mut [])
    }

    /// Understands a command line on which an image has some words more: each with the number that it stands for.
    pub fn parse_with(text: &str, more: &mut [(&str, &mut Option<u16>)]) -> Result<Self, Refusal> {
        let mut line = Self::default();
        let mut level = None;
        for word in text.split_ascii_whitespace() {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let result = match name {
                "loglevel" => value
                    .parse::<LevelFilter>()
                    .map_err(|_| Reason::Malformed("loglevel is one of off, error, warn, info, debug, trace"))
                    .and_then(|known| once(&mut level, known)),
                "ip" => line.addresses.add(value).map_err(|error| match error {
                    AddressesError::Malformed => {
                        Reason::Malformed("ip is one of dhcp, ADDRESS/PREFIX and ADDRESS/PREFIX,GATEWAY")
                    }
                    AddressesError::NotUnicast => Reason::Malformed("no station can have this address"),
                    AddressesError::Twice => Reason::Twice,
                }),
                "vif" => number(value).and_then(|vif| once(&mut line.vif, vif)),
                "vnc" => Vnc::parse(value).and_then(|vnc| once(&mut line.vnc, vnc)),
                "vncpasswd" if value.is_empty() => Err(Reason::Malformed("an empty password lets nobody in")),
                "vncpasswd" => once(&mut line.vnc_password, value.to_string()),
                name if IGNORED.contains(&name) => Ok(()),
                name => match more.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, place)) => number(value).and_then(|value| once(place, value)),
                    None => Err(Reason::Unknown),
                },
            };
            // A password is nobody's business.
            let shown = if name == "vncpasswd" { "vncpasswd=..." } else { word };
            result.map_err(|reason| Refusal { subject: Subject::CommandLine(shown.to_string()), reason })?;
        }
        line.log_level = level.unwrap_or(line.log_level);
        Ok(line)
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Reason> {
    if place.replace(value).is_some() { Err(Reason::Twice) } else { Ok(()) }
}
