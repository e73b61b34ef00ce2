//! The answer that turns a request into a WebSocket.
//!
//! Source: RFC 6455, sections 4.2.1 (what the client sends), 4.2.2 (the answer) and 4.4 (versions).

use crate::http::{BadRequest, Request, elements};
use alloc::format;
use alloc::vec::Vec;
use base64ct::{Base64, Encoding};
use sha1_smol::Sha1;

/// What is put behind the client's key (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The version of RFC 6455.
const VERSION: &str = "13";
/// The subprotocol of noVNC and websockify: a stream of bytes in binary messages.
const PROTOCOL: &str = "binary";
/// Bytes of a key, and how many they are in Base64.
const KEY: usize = 16;
const KEY_TEXT: usize = 24;
/// Bytes of a SHA-1 digest in Base64.
const DIGEST_TEXT: usize = 28;

/// The response that opens the WebSocket; frames follow it in both directions.
///
/// Subprotocol `binary` is agreed to if the client offers it, and none otherwise. Whether the path is right, and
/// whether the client may have it ([`Request::is_same_origin`]), is for the caller to say first.
pub fn accept(request: &Request) -> Result<Vec<u8>, BadRequest> {
    if !request.wants_websocket() || request.websocket_version.as_deref() != Some(VERSION) {
        return Err(BadRequest::UpgradeRequired);
    }
    let key = request.websocket_key.as_deref().filter(|key| is_key(key)).ok_or(BadRequest::Malformed)?;
    let mut digest = Sha1::from(key);
    digest.update(GUID.as_bytes());
    let mut text = [0; DIGEST_TEXT];
    let answer = Base64::encode(&digest.digest().bytes(), &mut text).map_err(|_| BadRequest::Malformed)?;
    let is_binary = elements(request.websocket_protocol.as_deref()).any(|protocol| protocol == PROTOCOL);
    let protocol = if is_binary { "Sec-WebSocket-Protocol: binary\r\n" } else { "" };
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\n\
         Upgrade: websocket\r\n\
         Connection: Upgrade\r\n\
         Sec-WebSocket-Accept: {answer}\r\n\
         {protocol}\r\n"
    )
    .into_bytes())
}

/// Whether a key is the Base64 form of 16 bytes (RFC 6455, section 4.2.1, item 5).
fn is_key(key: &str) -> bool {
    let mut bytes = [0; KEY];
    key.len() == KEY_TEXT && Base64::decode(key, &mut bytes).is_ok_and(|bytes| bytes.len() == KEY)
}

#[cfg(test)]
mod tests {
    use super::accept;
    use crate::http::{BadRequest, Head, Request};
    use alloc::format;
    use alloc::string::String;

    /// The request of RFC 6455, 1.3, with the first text replaced by the second.
    fn example(from: &str, to: &str) -> Request {
        let head = "GET /chat HTTP/1.1\r\n\
            Host: server.example.com\r\n\
            Upgrade: websocket\r\n\
            Connection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Origin: http://example.com\r\n\
            Sec-WebSocket-Protocol: chat, superchat\r\n\
            Sec-WebSocket-Version: 13\r\n\r\n";
        assert!(head.contains(from));
        Head::new().feed(head.replacen(from, to, 1).as_bytes()).unwrap().unwrap().0
    }

    fn answer(request: &Request) -> String {
        String::from_utf8(accept(request).unwrap()).unwrap()
    }

    /// RFC 6455, 1.3.
    #[test]
    fn the_example_of_the_rfc_is_answered() {
        let wanted = "HTTP/1.1 101 Switching Protocols\r\n\
            Upgrade: websocket\r\n\
            Connection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        assert_eq!(answer(&example("", "")), wanted);
    }

    #[test]
    fn binary_is_agreed_to_if_it_is_offered() {
        for offer in ["binary", "base64,  binary", "binary\r\nSec-WebSocket-Protocol: base64"] {
            let text = answer(&example("chat, superchat", offer));
            assert!(text.ends_with("\r\nSec-WebSocket-Protocol: binary\r\n\r\n"));
        }
        assert!(!answer(&example("chat, superchat", "Binary, binary2")).contains("Protocol:"));
        assert!(!answer(&example("Sec-WebSocket-Protocol: chat, superchat\r\n", "")).contains("Protocol:"));
    }

    #[test]
    fn other_versions_are_told_to_upgrade() {
        for (from, to) in [("Version: 13", "Version: 8"), ("Version: 13", "Version: 13, 8"), ("Sec-WebSocket-V", "X-V")]
        {
            assert_eq!(accept(&example(from, to)), Err(BadRequest::UpgradeRequired));
        }
    }

    #[test]
    fn plain_requests_are_told_to_upgrade() {
        let changes = [
            ("Upgrade: websocket", "Upgrade: h2c"),
            ("Connection: Upgrade", "Connection: close"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("GET", "HEAD"),
        ];
        for (from, to) in changes {
            assert_eq!(accept(&example(from, to)), Err(BadRequest::UpgradeRequired));
        }
    }

    #[test]
    fn a_key_that_is_not_sixteen_bytes_is_refused() {
        let keys = [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25j",
            "dGhlIHNhbXBsZSBub25jZWQ=",
            "dGhlIHNhbXBs*SBub25jZQ==",
        ];
        for key in keys.into_iter().chain(["========================", "dGhlIHNhbXBsZSBub25jZWRk"]) {
            let request = example("dGhlIHNhbXBsZSBub25jZQ==", key);
            assert_eq!(accept(&request), Err(BadRequest::Malformed), "{key}");
        }
        assert_eq!(accept(&example("Sec-WebSocket-Key", "X-Key")), Err(BadRequest::Malformed));
    }

    /// RFC 6455, 11.3.1: the key "MUST NOT appear more than once".
    #[test]
    fn a_second_key_or_version_is_refused() {
        for field in ["Key: dGhlIHNhbXBsZSBub25jZQ==", "Version: 13"] {
            let field = format!("Sec-WebSocket-{field}\r\n");
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}{field}\r\n");
            assert_eq!(Head::new().feed(head.as_bytes()), Err(BadRequest::Malformed));
        }
    }
}
