//! HTTP/1.1, the server side: one request without content, one response, then the connection ends.
//!
//! | file | what lives there |
//! |---|---|
//! | `head.rs` | [`Head`]: collects the head of a request |
//! | `request.rs` | [`Request`]: what is kept of a head |
//! | `bad_request.rs` | [`BadRequest`]: why a request is refused |
//! | `status.rs` | [`Status`]: the status codes in use |
//! | `response.rs` | [`response()`] and [`response_head`] |
//!
//! Source: RFC 9110, RFC 9112.
//! Not modelled: content of requests (refused), persistent connections and pipelining (each response says `close`),
//! `Expect`, ranges, conditions, content codings, the `Date` field (there is no clock here), target forms other than
//! the origin form, percent decoding, the grammar of `Host`.
//! Quirk: a lone LF ends a line, as section 2.2 of RFC 9112 permits.

mod bad_request;
mod head;
mod request;
mod response;
mod status;

pub use bad_request::BadRequest;
pub use head::{Head, LONGEST_HEAD};
pub(crate) use request::elements;
pub use request::{MOST_FIELDS, Method, Request, Version};
pub use response::{response, response_head};
pub use status::Status;
