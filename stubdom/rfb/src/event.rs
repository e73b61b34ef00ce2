//! What viewers do.

/// What a viewer did that concerns more than its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// ClientInit came, RFC 6143 section 7.3.1: the viewer is let in.
    Ready {
        /// Others may stay. Where it is false, the server drops all other viewers.
        shared: bool,
    },
    /// A key, RFC 6143 section 7.5.4.
    Key {
        /// Its meaning under the viewer's keyboard layout, as in X11's keysymdef.h; 0 if not known.
        keysym: u32,
        /// Which key it is: an XT scan code, with bit 7 set for codes after 0xe0 (rfbproto.rst, QEMU Extended Key
        /// Event Message). Not checked. Viewers without that message do not say.
        scancode: Option<u32>,
        /// Pressed, or let go.
        down: bool,
    },
    /// The pointer is at a place, RFC 6143 section 7.5.5. Comes while the session wants absolute positions.
    Pointer {
        /// Pixels from the left, within the picture that the viewer knows.
        x: u16,
        /// Pixels from the top, likewise.
        y: u16,
        /// Pressed buttons, bit 0 is the left one; bits 3 to 6 are the wheel; from bit 7 on, back and forward.
        buttons: u16,
    },
    /// The pointer moved by a distance. Comes while the session does not want absolute positions.
    Motion {
        /// Pixels to the right.
        dx: i32,
        /// Pixels down.
        dy: i32,
        /// As in `Pointer`.
        buttons: u16,
    },
    /// The viewer does not know the password. How long others from there have to wait is the caller's decision.
    AuthenticationFailed,
}
