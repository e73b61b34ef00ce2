//! Writing responses.
//!
//! Source: RFC 9112, sections 4 and 9.6; RFC 9110, sections 10.2.1 (Allow) and 7.8 (Upgrade); RFC 6455, section 4.4.

use super::bad_request::BadRequest;
use super::status::Status;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// A whole response with content. The connection ends after it.
///
/// `content_type` is the program's own text: it must be a media type and contain no line break.
#[must_use]
pub fn response(status: Status, content_type: &'static str, body: &[u8]) -> Vec<u8> {
    let mut response = response_head(status, content_type, body.len());
    response.extend_from_slice(body);
    response
}

/// The head of a response whose content of `len` bytes is sent apart, or not at all if the method is HEAD.
///
/// `content_type` is as for [`response`].
#[must_use]
pub fn response_head(status: Status, content_type: &'static str, len: usize) -> Vec<u8> {
    head(status, "Connection: close", &format!("Content-Type: {content_type}\r\n"), len).into_bytes()
}

/// The response for a refused request, without content.
pub(super) fn refusal(reason: BadRequest) -> Vec<u8> {
    let (connection, fields) = match reason {
        BadRequest::Method => ("Connection: close", "Allow: GET, HEAD\r\n"),
        BadRequest::UpgradeRequired => {
            ("Connection: close, Upgrade", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
        }
        _ => ("Connection: close", ""),
    };
    head(reason.status(), connection, fields, 0).into_bytes()
}

/// A status line and fields. `fields` end with a line break each.
fn head(status: Status, connection: &str, fields: &str, len: usize) -> String {
    format!("HTTP/1.1 {}\r\n{connection}\r\nContent-Length: {len}\r\n{fields}\r\n", status.line())
}

#[cfg(test)]
mod tests {
    use super::{response, response_head};
    use crate::http::{BadRequest, Status};
    use alloc::string::String;

    const ALL: [(BadRequest, &str); 7] = [
        (BadRequest::Malformed, "400"),
        (BadRequest::Forbidden, "403"),
        (BadRequest::NotFound, "404"),
        (BadRequest::Method, "405"),
        (BadRequest::Content, "413"),
        (BadRequest::UpgradeRequired, "426"),
        (BadRequest::HeadTooLarge, "431"),
    ];

    #[test]
    fn a_response_states_its_length_and_that_the_connection_ends() {
        let bytes = response(Status::Ok, "text/html", b"<p>");
        let wanted = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\nContent-Type: text/html\r\n\r\n<p>";
        assert_eq!(bytes, wanted);
    }

    #[test]
    fn a_head_alone_is_what_stands_before_the_content() {
        let mut bytes = response_head(Status::ServiceUnavailable, "text/plain", 2);
        assert!(bytes.starts_with(b"HTTP/1.1 503 "));
        bytes.extend_from_slice(b"no");
        assert_eq!(bytes, response(Status::ServiceUnavailable, "text/plain", b"no"));
    }

    #[test]
    fn refusals_are_heads_with_their_status_and_no_content() {
        for (reason, number) in ALL {
            let text = String::from_utf8(reason.response()).unwrap();
            assert_eq!(text.split(' ').nth(1), Some(number));
            assert!(text.contains("\r\nConnection: close") && text.contains("\r\nContent-Length: 0\r\n"));
            assert_eq!(text.find("\r\n\r\n"), Some(text.len() - 4));
        }
    }

    /// RFC 9110, 15.5.6: a 405 must say what is allowed. 15.5.22: a 426 must say what is required. RFC 6455, 4.4.
    #[test]
    fn refusals_say_what_would_be_taken() {
        let text = String::from_utf8(BadRequest::Method.response()).unwrap();
        assert!(text.contains("\r\nAllow: GET, HEAD\r\n"));
        let text = String::from_utf8(BadRequest::UpgradeRequired.response()).unwrap();
        assert!(text.contains("\r\nUpgrade: websocket\r\n") && text.contains("\r\nSec-WebSocket-Version: 13\r\n"));
        assert!(text.contains("\r\nConnection: close, Upgrade\r\n"));
    }
}
