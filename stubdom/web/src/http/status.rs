//! The status codes in use.

/// A status code. Source: RFC 9110, section 15, and RFC 6585, section 5 (431).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 200.
    Ok,
    /// 400: the request makes no sense.
    BadRequest,
    /// 403: understood, and not granted.
    Forbidden,
    /// 404: nothing lives at this path.
    NotFound,
    /// 405: neither GET nor HEAD.
    MethodNotAllowed,
    /// 413: the request has content.
    ContentTooLarge,
    /// 426: only WebSocket is spoken at this path.
    UpgradeRequired,
    /// 431: the head of the request is too long.
    HeadTooLarge,
    /// 503: not now, for example because there are too many connections.
    ServiceUnavailable,
}

impl Status {
    /// The number and the phrase of the status line.
    #[must_use]
    pub const fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::UpgradeRequired => "426 Upgrade Required",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::ServiceUnavailable => "503 Service Unavailable",
        }
    }
}
