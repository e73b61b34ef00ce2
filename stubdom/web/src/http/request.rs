//! What is kept of the head of a request.

use super::bad_request::BadRequest;
use alloc::borrow::ToOwned;
use alloc::string::String;
use httparse::{EMPTY_HEADER, Error, Header};

/// The most fields that a head may have.
pub const MOST_FIELDS: usize = 64;

/// A method. Source: RFC 9110, section 9.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET: the client wants the head and the content.
    Get,
    /// HEAD: the client wants the head only; the response must not have content.
    Head,
}

/// A version of the protocol. Source: RFC 9112, section 2.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A request without content.
///
/// Its texts are ASCII without control characters except tabs, and together no longer than the head that they were in.
/// They are still claims of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub method: Method,
    /// The version that the client speaks.
    pub version: Version,
    /// The path, as it was sent; it begins with a slash. Percent signs are not decoded and dots mean nothing.
    pub path: String,
    /// What follows the first question mark of the target, if there is one.
    pub query: Option<String>,
    /// Host (RFC 9110, section 7.2). Always there in HTTP/1.1.
    pub host: Option<String>,
    /// Origin (RFC 6454, section 7): whose page made the browser send this.
    pub origin: Option<String>,
    /// Connection, a list (RFC 9110, section 7.6.1).
    pub connection: Option<String>,
    /// Upgrade, a list (RFC 9110, section 7.8).
    pub upgrade: Option<String>,
    /// Sec-WebSocket-Key (RFC 6455, section 11.3.1).
    pub websocket_key: Option<String>,
    /// Sec-WebSocket-Version (RFC 6455, section 11.3.5).
    pub websocket_version: Option<String>,
    /// Sec-WebSocket-Protocol, a list (RFC 6455, section 11.3.4).
    pub websocket_protocol: Option<String>,
}

impl Request {
    /// Whether this asks for WebSocket, of whatever version (RFC 6455, section 4.2.1, items 1, 3 and 4).
    ///
    /// HTTP/1.0 cannot ask for it (RFC 9110, section 7.8).
    #[must_use]
    pub fn wants_websocket(&self) -> bool {
        let in_list = |list: &Option<String>, name: &str| {
            elements(list.as_deref()).any(|element| element.eq_ignore_ascii_case(name))
        };
        self.method == Method::Get
            && self.version == Version::Http11
            && in_list(&self.upgrade, "websocket")
            && in_list(&self.connection, "upgrade")
    }

    /// Whether no page of another origin made the browser send this: Origin is missing, or names the host of Host.
    ///
    /// Browsers let any page open a WebSocket to any host (RFC 6455, section 10.2), so check this before granting one.
    /// It does not help against a host name that the page's owner lets point here (DNS rebinding).
    #[must_use]
    pub fn is_same_origin(&self) -> bool {
        let Some(origin) = &self.origin else { return true };
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority.zip(self.host.as_deref()).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
    }

    /// Decodes a complete head, its last empty line included.
    pub(super) fn decode(head: &[u8]) -> Result<Self, BadRequest> {
        let mut fields = [EMPTY_HEADER; MOST_FIELDS];
        let mut parsed = httparse::Request::new(&mut fields);
        match parsed.parse(head) {
            Ok(status) if status == httparse::Status::Complete(head.len()) => {}
            Err(Error::TooManyHeaders) => return Err(BadRequest::HeadTooLarge),
            _ => return Err(BadRequest::Malformed),
        }
        let method = match parsed.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            _ => return Err(BadRequest::Method),
        };
        let target =
            parsed.path.filter(|path| path.starts_with('/') && path.is_ascii()).ok_or(BadRequest::Malformed)?;
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let mut request = Self {
            method,
            version: if parsed.version == Some(1) { Version::Http11 } else { Version::Http10 },
            path: path.to_owned(),
            query: query.map(ToOwned::to_owned),
            host: None,
            origin: None,
            connection: None,
            upgrade: None,
            websocket_key: None,
            websocket_version: None,
            websocket_protocol: None,
        };
        for field in parsed.headers.iter() {
            request.take_field(field)?;
        }
        // RFC 9112, section 3.2.
        if request.version == Version::Http11 && request.host.is_none() {
            return Err(BadRequest::Malformed);
        }
        Ok(request)
    }

    fn take_field(&mut self, field: &Header<'_>) -> Result<(), BadRequest> {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("Host") {
            set(&mut self.host, field)
        } else if is("Origin") {
            set(&mut self.origin, field)
        } else if is("Connection") {
            append(&mut self.connection, field)
        } else if is("Upgrade") {
            append(&mut self.upgrade, field)
        } else if is("Sec-WebSocket-Key") {
            set(&mut self.websocket_key, field)
        } else if is("Sec-WebSocket-Version") {
            set(&mut self.websocket_version, field)
        } else if is("Sec-WebSocket-Protocol") {
            append(&mut self.websocket_protocol, field)
        } else if is("Content-Length") {
            check_length(field.value)
        } else if is("Transfer-Encoding") {
            Err(BadRequest::Content)
        } else {
            Ok(())
        }
    }
}

/// The elements of a list (RFC 9110, section 5.6.1): separated by commas, white space around them; none are empty.
pub(crate) fn elements(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.unwrap_or_default()
        .split(',')
        .map(|element| element.trim_matches([' ', '\t']))
        .filter(|element| !element.is_empty())
}

/// The value of a field whose text is kept: ASCII only.
fn text<'a>(field: &Header<'a>) -> Result<&'a str, BadRequest> {
    let text = str::from_utf8(field.value).ok().filter(|text| text.is_ascii());
    text.ok_or(BadRequest::Malformed)
}

/// Keeps a field that may be there once.
fn set(place: &mut Option<String>, field: &Header<'_>) -> Result<(), BadRequest> {
    match place.replace(text(field)?.to_owned()) {
        None => Ok(()),
        Some(_) => Err(BadRequest::Malformed),
    }
}

/// Keeps a field that is a list: several are one, with commas between (RFC 9110, section 5.3).
fn append(place: &mut Option<String>, field: &Header<'_>) -> Result<(), BadRequest> {
    let text = text(field)?;
    match place {
        Some(list) => {
            list.push(',');
            list.push_str(text);
        }
        None => *place = Some(text.to_owned()),
    }
    Ok(())
}

/// Checks that Content-Length (RFC 9110, section 8.6) says that there is no content.
fn check_length(value: &[u8]) -> Result<(), BadRequest> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        Err(BadRequest::Malformed)
    } else if value.iter().all(|digit| *digit == b'0') {
        Ok(())
    } else {
        Err(BadRequest::Content)
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_FIELDS, Method, Request, Version};
    use crate::http::BadRequest;
    use alloc::format;
    use alloc::string::String;

    fn decode(lines: &str) -> Result<Request, BadRequest> {
        Request::decode(format!("{lines}\r\n\r\n").as_bytes())
    }

    /// A request for `/` with these fields beside Host.
    fn with(fields: &str) -> Result<Request, BadRequest> {
        decode(&format!("GET / HTTP/1.1\r\nHost: a:80\r\n{fields}"))
    }

    #[test]
    fn the_target_is_cut_into_path_and_query() {
        let request = decode("HEAD /a/%2e?b=c?d HTTP/1.1\r\nhOST: a").unwrap();
        assert_eq!((request.method, request.version), (Method::Head, Version::Http11));
        assert_eq!((request.path.as_str(), request.query.as_deref()), ("/a/%2e", Some("b=c?d")));
        assert_eq!(request.host.as_deref(), Some("a"));
    }

    #[test]
    fn only_targets_in_origin_form_are_taken() {
        for target in ["*", "http://a/", "a", "a:80", "/\u{e4}"] {
            assert_eq!(decode(&format!("GET {target} HTTP/1.1\r\nHost: a")), Err(BadRequest::Malformed));
        }
    }

    #[test]
    fn methods_other_than_get_and_head_are_refused() {
        for method in ["POST", "OPTIONS", "get", "CONNECT", "X"] {
            assert_eq!(decode(&format!("{method} / HTTP/1.1\r\nHost: a")), Err(BadRequest::Method));
        }
    }

    /// RFC 9112, 3.2: 400 "to any HTTP/1.1 request message that lacks a Host header field and to any request message
    /// that contains more than one".
    #[test]
    fn host_is_there_once() {
        assert_eq!(decode("GET / HTTP/1.1\r\nA: b"), Err(BadRequest::Malformed));
        assert_eq!(with("Host: a:80"), Err(BadRequest::Malformed));
        assert_eq!(decode("GET / HTTP/1.0\r\nA: b").unwrap().host, None);
    }

    #[test]
    fn heads_that_break_the_grammar_are_refused() {
        let heads = [
            "GET /",
            "GET / HTTP/2.0\r\nHost: a",
            "GET  / HTTP/1.1\r\nHost: a",
            "GET / HTTP/1.1\r\nHost : a",
            "GET / HTTP/1.1\r\nHost: a\r\n folded",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nA: b",
            "GET / HTTP/1.1\r\nHost: \u{e4}",
        ];
        for head in heads {
            assert_eq!(decode(head), Err(BadRequest::Malformed), "{head}");
        }
    }

    #[test]
    fn content_is_refused() {
        assert_eq!(with("Content-Length: 1"), Err(BadRequest::Content));
        assert_eq!(with("Content-Length: 99999999999999999999999"), Err(BadRequest::Content));
        assert_eq!(with("Transfer-Encoding: chunked"), Err(BadRequest::Content));
        assert_eq!(with("Content-Length: -1"), Err(BadRequest::Malformed));
        assert_eq!(with("Content-Length:"), Err(BadRequest::Malformed));
        assert!(with("Content-Length: 0").is_ok());
    }

    #[test]
    fn the_number_of_fields_is_limited() {
        let fields = |count: usize| (0..count).map(|at| format!("\r\nA{at}: b")).collect::<String>();
        assert!(decode(&format!("GET / HTTP/1.1\r\nHost: a{}", fields(MOST_FIELDS - 1))).is_ok());
        let more = decode(&format!("GET / HTTP/1.1\r\nHost: a{}", fields(MOST_FIELDS)));
        assert_eq!(more, Err(BadRequest::HeadTooLarge));
    }

    #[test]
    fn an_upgrade_is_found_in_lists_and_in_repeated_fields() {
        assert!(with("Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade").unwrap().wants_websocket());
        assert!(with("Upgrade: h2c\r\nUpgrade: websocket\r\nConnection: upgrade").unwrap().wants_websocket());
        assert!(!with("Upgrade: websockets\r\nConnection: upgrade").unwrap().wants_websocket());
        assert!(!with("Upgrade: websocket\r\nConnection: close").unwrap().wants_websocket());
        assert!(!decode("GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade").unwrap().wants_websocket());
    }

    #[test]
    fn pages_of_other_origins_are_told_apart() {
        assert!(with("A: b").unwrap().is_same_origin());
        assert!(with("Origin: http://A:80").unwrap().is_same_origin());
        for origin in ["null", "http://a", "http://a:80.example.org", "http://b:80", ""] {
            assert!(!with(&format!("Origin: {origin}")).unwrap().is_same_origin());
        }
        assert!(!decode("GET / HTTP/1.0\r\nOrigin: http://a").unwrap().is_same_origin());
    }
}
