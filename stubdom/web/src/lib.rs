//! The server side of HTTP/1.1 and of WebSocket, as far as a page with a screen in it needs them.
//!
//! Nothing here reads or writes a connection: bytes come in as slices and go out as slices. What a client sends is a
//! claim; it becomes a [`http::Request`] or [`websocket::Incoming`], or the connection ends with an answer.
//!
//! | module | what lives there |
//! |---|---|
//! | [`http`] | collecting and decoding the head of a request, writing responses and refusals |
//! | [`websocket`] | answering the handshake, taking frames apart, writing frames |
//!
//! A connection serves one request: feed [`http::Head`] until it gives a request, then either send a response and
//! close, or send what [`websocket::accept`] gives and hand all further bytes to a [`websocket::Receiver`].
//!
//! Source: RFC 9110 (HTTP semantics), RFC 9112 (HTTP/1.1), RFC 6455 (WebSocket), RFC 6454 (origins).
//! Not modelled: see the heads of the two modules. There is no TLS, no authentication and no time limit; they are the
//! caller's.
//!
//! Invariant: nothing that a client sends makes this panic, loop without bound or allocate without bound. A connection
//! holds at most a few times [`http::LONGEST_HEAD`] bytes, and the receiver of frames uses no heap at all.
//! Invariant: each byte is looked at a fixed number of times, however it is cut into pieces.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unimplemented,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::wildcard_imports,
        clippy::todo
    )
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod http;
#[cfg(test)]
mod random;
pub mod websocket;
