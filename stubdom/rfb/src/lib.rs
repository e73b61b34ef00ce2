//! The server side of the VNC protocol: RFB 3.3, 3.7 and 3.8.
//!
//! A [`Session`] is one viewer. It takes the bytes that the viewer sent and gives the bytes to send; it owns no socket,
//! no clock and no picture. What viewers do comes out as [`Event`]s; what they see comes in as a [`Picture`] and as
//! reports of what changed in it.
//!
//! | module | what lives there |
//! |---|---|
//! | [`session`] | one viewer: what it sent, what it is to be sent |
//! | [`config`], [`error`], [`event`], [`picture`], [`mod@pointer`], [`rect`] | what goes in and comes out |
//! | `handshake`, `auth` | everything before the first message |
//! | `message`, `encodings`, `pixel_format` | what viewers send, decoded |
//! | `damage`, `moves` | what a viewer has not seen yet |
//! | `encode`, `wire`, `palette`, `deflate` | pixels, as a viewer wants them |
//! | `pseudo` | rectangles that are no pixels |
//!
//! Source: RFC 6143; for what is younger, the community's rfbproto.rst
//! (<https://github.com/rfbproto/rfbproto>), cited by section name.
//!
//! Encodings: Raw, CopyRect, Hextile, Zlib, Tight (with JPEG), ZRLE. Pseudo-encodings: Cursor, DesktopSize,
//! ExtendedDesktopSize, LED state, extended key events, pointer motion change, extended mouse buttons, fence,
//! continuous updates, compression level, JPEG quality. LastRect is not needed: rectangles are counted before they
//! are sent.
//! Not modelled: clipboard (text of viewers is skipped), bell, resizing by viewers (refused), RRE and TRLE,
//! Tight's gradient filter, security types beside None and VNC Authentication, sound, xvp, gii. Transport security is
//! the caller's: VNC Authentication hides the password and nothing else.
//!
//! Invariant: nothing that a viewer sends makes a session panic, loop without bound or allocate without bound.
//! Invariant: a session that nothing is asked of and nothing is told produces nothing.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small, or random"))]
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

mod auth;
mod bytes;
pub mod config;
mod damage;
mod deflate;
mod encode;
mod encodings;
pub mod error;
pub mod event;
mod handshake;
mod message;
mod moves;
mod palette;
pub mod picture;
mod pixel_format;
pub mod pointer;
mod pseudo;
pub mod rect;
pub mod session;
#[cfg(test)]
mod tests;
mod wire;

pub use config::{Config, Password};
pub use error::ProtocolError;
pub use event::Event;
pub use picture::Picture;
pub use pointer::PointerShape;
pub use rect::Rect;
pub use session::Session;
