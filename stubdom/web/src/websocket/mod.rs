//! WebSocket, the server side: one stream of bytes each way, in binary messages.
//!
//! | file | what lives there |
//! |---|---|
//! | `handshake.rs` | [`accept`]: the answer that turns a request into a WebSocket |
//! | `frame.rs` | headers of frames from the client, and unmasking |
//! | `receiver.rs` | [`Receiver`]: takes the client's frames apart |
//! | `send.rs` | [`header`], [`pong`], [`close`]: frames for the client |
//! | `close_code.rs` | [`CloseCode`]: why a connection ends |
//! | `error.rs` | [`ProtocolError`]: what a client did wrong |
//!
//! Closing: after [`Incoming::Close`] send [`close`] once, unless that was done before, and end the connection. After a
//! [`ProtocolError`] send [`close`] with its code and end the connection.
//!
//! Source: RFC 6455.
//! Not modelled: text messages (refused with 1003), borders of messages (a stream has none), extensions (none is
//! agreed to, so reserved bits must be zero), subprotocols but `binary`, pings of our own, the reason of a close.

mod close_code;
mod error;
mod frame;
mod handshake;
mod receiver;
mod send;

pub use close_code::CloseCode;
pub use error::ProtocolError;
pub use frame::LONGEST_CONTROL;
pub use handshake::accept;
pub use receiver::{Incoming, Receiver};
pub use send::{close, header, pong};
