//! Where the stub domain's own VNC server listens, and whom it lets in: QEMU's `-vnc HOST:DISPLAY[,options]`, as an argument
//! of the device model or as the word `vnc=` of the command line.
//!
//! Source: QEMU's documentation of `-vnc`. The address itself comes from `ip=` of the command line.

use super::properties::{Properties, number};
use super::refusal::Reason;

/// The port of display 0 (RFC 6143, 9.1), and that of its WebSocket.
const FIRST_PORT: u16 = 5900;
const FIRST_WEBSOCKET_PORT: u16 = 5700;

/// A VNC server that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vnc {
    /// The port of TCP that it listens on.
    pub port: u16,
    /// The port for browsers.
    pub websocket: Option<u16>,
    /// Whether viewers need a password. `None`: where there is one, and without one there is no server.
    pub password: Option<bool>,
    /// What becomes of viewers that do not want others beside them.
    pub share: Share,
}

/// Who may look together (QEMU's `share=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Share {
    /// A viewer that does not want others ends their sessions.
    #[default]
    AllowExclusive,
    /// A viewer that does not want others is not let in.
    ForceShared,
    /// Everybody is let in, whatever they want.
    Ignore,
}

impl Vnc {
    /// Understands `HOST:DISPLAY[,options]`.
    pub(super) fn parse(text: &str) -> Result<Self, Reason> {
        let mut properties = Properties::parse(text, Some("vnc"))?;
        let place = properties.need("vnc")?;
        let (host, display) = place.rsplit_once(':').ok_or(Reason::Malformed("it is not HOST:DISPLAY"))?;
        if !matches!(host, "" | "0.0.0.0" | "::" | "[::]") {
            return Err(Reason::Malformed(
                "HOST is empty: which addresses there are is said by ip= of stubdomain_cmdline",
            ));
        }
        let display: u16 = number(display)?;
        let at = |first: u16| first.checked_add(display).ok_or(Reason::Malformed("there is no such display"));
        let websocket = match properties.take("websocket").as_deref() {
            None | Some("off") => None,
            Some("on") => Some(at(FIRST_WEBSOCKET_PORT)?),
            Some(port) => Some(number(port)?).filter(|port| *port != 0),
        };
        let password = properties.take_switch("password")?;
        let share = match properties.take("share").as_deref() {
            None | Some("allow-exclusive") => Share::AllowExclusive,
            Some("force-shared") => Share::ForceShared,
            Some("ignore") => Share::Ignore,
            Some(_) => return Err(Reason::Malformed("share is one of allow-exclusive, force-shared, ignore")),
        };
        // The display is free: nobody else listens here.
        properties.take("to");
        properties.finish()?;
        let port = at(FIRST_PORT)?;
        if websocket == Some(port) {
            return Err(Reason::Malformed("one port cannot be both"));
        }
        Ok(Self { port, websocket, password, share })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_for_as_with_qemu() {
        let vnc = Vnc::parse(":1").unwrap();
        assert_eq!(vnc, Vnc { port: 5901, websocket: None, password: None, share: Share::AllowExclusive });
        let vnc = Vnc::parse("0.0.0.0:0,password=on,websocket=on,share=force-shared,to=99").unwrap();
        let expected = Vnc { port: 5900, websocket: Some(5700), password: Some(true), share: Share::ForceShared };
        assert_eq!(vnc, expected);
        assert_eq!(Vnc::parse("[::]:3,websocket=8080,password").unwrap().websocket, Some(8080));
        assert_eq!(Vnc::parse("[::]:3,password=off").unwrap().password, Some(false));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in ["", "none", "1", ":", ":x", ":-1", ":60000", "127.0.0.1:1", ":1,share=yes", ":1,password=maybe"] {
            assert!(matches!(Vnc::parse(text), Err(Reason::Malformed(_))), "{text}");
        }
        assert!(matches!(Vnc::parse(":1,websocket=5901"), Err(Reason::Malformed(_))));
        assert_eq!(Vnc::parse(":1,tls-creds=x"), Err(Reason::UnknownProperty("tls-creds".into())));
    }
}
