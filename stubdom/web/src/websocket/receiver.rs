//! Taking the client's frames apart.
//!
//! Payload is passed on as it comes; only that of a control frame is collected. Nothing here uses the heap.

use super::close_code::CloseCode;
use super::error::ProtocolError;
use super::frame::{FrameHeader, HeaderReader, LONGEST_CONTROL, Mask, Opcode};
use core::mem;

/// What a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// Further bytes of the stream, at least one.
    Data(&'a [u8]),
    /// A ping. [`super::pong`] answers it.
    Ping(&'a [u8]),
    /// A pong, which needs no answer (RFC 6455, section 5.5.3).
    Pong,
    /// The client ends the connection, with a code or without. [`super::close`] answers it. Nothing comes after it.
    Close(Option<CloseCode>),
}

/// Takes the frames of one connection apart.
#[derive(Clone, Debug)]
pub struct Receiver {
    state: State,
    header: HeaderReader,
    control: Control,
    /// Whether a message has begun whose last fragment has not.
    in_message: bool,
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

impl Receiver {
    /// A receiver that expects the first frame.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::Header, header: HeaderReader::new(), control: Control::new(), in_message: false }
    }

    /// Takes the next bytes of the connection, and gives what they mean to `sink`, in order. Unmasks them in place.
    ///
    /// Bytes after a close frame are dropped (RFC 6455, section 1.4). After an error it gives the same error for ever;
    /// what came before the error was given to `sink`.
    pub fn receive(&mut self, bytes: &mut [u8], sink: &mut impl FnMut(Incoming<'_>)) -> Result<(), ProtocolError> {
        let result = self.run(bytes, sink);
        if let Err(error) = result {
            self.state = State::Failed(error);
        }
        result
    }

    fn run(&mut self, mut rest: &mut [u8], sink: &mut impl FnMut(Incoming<'_>)) -> Result<(), ProtocolError> {
        // Each turn takes at least one byte, or returns.
        loop {
            match self.state {
                State::Header => {
                    let Some((byte, behind)) = mem::take(&mut rest).split_first_mut() else { return Ok(()) };
                    rest = behind;
                    if let Some(header) = self.header.push(*byte)? {
                        self.begin(header, sink)?;
                    }
                }
                State::Payload(payload) => {
                    let len = usize::try_from(payload.remaining).unwrap_or(usize::MAX).min(rest.len());
                    let Some((piece, behind)) = mem::take(&mut rest).split_at_mut_checked(len) else { return Ok(()) };
                    if piece.is_empty() {
                        return Ok(());
                    }
                    rest = behind;
                    self.take(payload, piece, sink)?;
                }
                State::Closed => return Ok(()),
                State::Failed(error) => return Err(error),
            }
        }
    }

    /// Begins a frame.
    fn begin(&mut self, header: FrameHeader, sink: &mut impl FnMut(Incoming<'_>)) -> Result<(), ProtocolError> {
        let FrameHeader { opcode, is_last, length, mask } = header;
        if !opcode.is_control() {
            // RFC 6455, section 5.4: a continuation continues something, and messages do not interleave.
            if self.in_message != (opcode == Opcode::Continuation) {
                return Err(ProtocolError::Fragmentation);
            }
            self.in_message = !is_last;
        }
        if length == 0 {
            return self.finish(opcode, sink);
        }
        self.state = State::Payload(Payload { opcode, remaining: length, mask });
        Ok(())
    }

    /// Takes a piece of a frame's payload, which is not longer than what remains of it.
    fn take(
        &mut self,
        mut payload: Payload,
        piece: &mut [u8],
        sink: &mut impl FnMut(Incoming<'_>),
    ) -> Result<(), ProtocolError> {
        payload.mask.apply(piece);
        if payload.opcode.is_control() {
            self.control.extend(piece);
        } else {
            sink(Incoming::Data(piece));
        }
        payload.remaining = payload.remaining.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        self.state = State::Payload(payload);
        if payload.remaining == 0 {
            return self.finish(payload.opcode, sink);
        }
        Ok(())
    }

    /// Ends a frame.
    fn finish(&mut self, opcode: Opcode, sink: &mut impl FnMut(Incoming<'_>)) -> Result<(), ProtocolError> {
        self.state = State::Header;
        let control = mem::replace(&mut self.control, Control::new());
        match opcode {
            Opcode::Continuation | Opcode::Binary => {}
            Opcode::Ping => sink(Incoming::Ping(control.bytes())),
            Opcode::Pong => sink(Incoming::Pong),
            Opcode::Close => {
                let code = decode_close(control.bytes())?;
                self.state = State::Closed;
                sink(Incoming::Close(code));
            }
        }
        Ok(())
    }
}

/// The payload of a close frame: nothing, or a code and a reason in UTF-8 (RFC 6455, section 5.5.1).
fn decode_close(payload: &[u8]) -> Result<Option<CloseCode>, ProtocolError> {
    match payload {
        [] => Ok(None),
        [a, b, reason @ ..] => {
            let code = CloseCode::new(u16::from_be_bytes([*a, *b])).ok_or(ProtocolError::CloseCode)?;
            str::from_utf8(reason).map_err(|_| ProtocolError::CloseReason)?;
            Ok(Some(code))
        }
        [_] => Err(ProtocolError::CloseCode),
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// A frame's header is expected, or the rest of it.
    Header,
    /// A frame's payload is expected; at least one byte of it is missing.
    Payload(Payload),
    /// The client has closed.
    Closed,
    /// The client broke the protocol.
    Failed(ProtocolError),
}

#[derive(Clone, Copy, Debug)]
struct Payload {
    opcode: Opcode,
    /// Bytes that have not come yet.
    remaining: u64,
    mask: Mask,
}

/// The payload of a control frame, as far as it has come.
#[derive(Clone, Debug)]
struct Control {
    bytes: [u8; LONGEST_CONTROL],
    len: usize,
}

impl Control {
    const fn new() -> Self {
        Self { bytes: [0; LONGEST_CONTROL], len: 0 }
    }

    /// Adds a piece. A frame's header has made sure that it fits.
    fn extend(&mut self, piece: &[u8]) {
        let end = self.len.saturating_add(piece.len());
        if let Some(place) = self.bytes.get_mut(self.len..end) {
            place.copy_from_slice(piece);
            self.len = end;
        }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
