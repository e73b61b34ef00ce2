//! Messages of viewers.
//!
//! [`length`] says how many bytes are needed before [`decode`] may look at them. No message is kept whole that is longer
//! than [`LONGEST`]: lists are taken piece by piece, and what nobody wants is skipped.
//!
//! Source: RFC 6143 section 7.5; rfbproto.rst, Client to Server Messages.

use crate::bytes::Fields;
use crate::error::ProtocolError;
use crate::pixel_format::PixelFormat;
use crate::rect::Rect;

/// Bytes of the longest message that is kept whole: a ClientFence.
pub(crate) const LONGEST: usize = FENCE_HEADER + Fence::LONGEST;

/// Bytes of clipboard text that a viewer may send at once.
const LONGEST_TEXT: u32 = 16 << 20;

/// Bytes of a ClientFence before its payload.
const FENCE_HEADER: usize = 9;

/// Bytes of a SCREEN.
const SCREEN: u32 = 16;

/// message-type of a ServerFence and of a ClientFence.
const FENCE: u8 = 248;

/// A message, or the beginning of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// SetPixelFormat.
    PixelFormat(PixelFormat),
    /// SetEncodings: so many encoding-types follow.
    Encodings(u16),
    /// FramebufferUpdateRequest.
    UpdateRequest { incremental: bool, rect: Rect },
    /// KeyEvent, or the QEMU Client Message that replaces it.
    Key { keysym: u32, scancode: Option<u32>, down: bool },
    /// PointerEvent.
    Pointer { x: u16, y: u16, buttons: u16 },
    /// ClientCutText: so many bytes follow.
    CutText(u32),
    /// EnableContinuousUpdates.
    ContinuousUpdates { enable: bool, rect: Rect },
    /// ClientFence.
    Fence(Fence),
    /// SetDesktopSize: so many bytes follow.
    DesktopSize(u32),
}

/// ClientFence and ServerFence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    pub(crate) flags: u32,
    payload: [u8; Self::LONGEST],
    /// Bytes of the payload.
    length: u8,
}

impl Fence {
    /// Bytes of the longest payload.
    const LONGEST: usize = 64;
    /// SyncNext: what follows the answer is affected by the message that follows the fence.
    pub(crate) const SYNC_NEXT: u32 = 1 << 2;
    /// BlockBefore, BlockAfter and SyncNext.
    const KNOWN: u32 = 0b111;
    /// Request: an answer is expected.
    pub(crate) const REQUEST: u32 = 1 << 31;

    /// A fence without a payload.
    pub(crate) const fn empty(flags: u32) -> Self {
        Self { flags, payload: [0; Self::LONGEST], length: 0 }
    }

    /// The answer to a request: all of it but the flags that we do not know.
    pub(crate) fn answer(self) -> Self {
        Self { flags: self.flags & Self::KNOWN, ..self }
    }

    /// Appends a ServerFence.
    pub(crate) fn encode(&self, out: &mut alloc::vec::Vec<u8>) {
        out.extend([FENCE, 0, 0, 0]);
        out.extend(self.flags.to_be_bytes());
        out.push(self.length);
        out.extend(self.payload.iter().take(self.length.into()));
    }
}

/// How many bytes of the message that begins like this are needed before it can be decoded. It may turn out to be more
/// once there are that many.
///
/// `extended_pointer`: the viewer may send extended PointerEvents.
pub(crate) fn length(start: &[u8], extended_pointer: bool) -> Result<usize, ProtocolError> {
    let Some(&number) = start.first() else { return Ok(1) };
    let second = start.get(1).copied();
    Ok(match number {
        0 => 20,
        2 => 4,
        3 | 150 => 10,
        4 | 6 | 251 => 8,
        5 if extended_pointer && second.is_some_and(|buttons| buttons & 0x80 != 0) => 7,
        5 => 6,
        FENCE => match start.get(8).map_or(0, |length| usize::from(*length)) {
            payload @ 0..=Fence::LONGEST => FENCE_HEADER.saturating_add(payload),
            _ => return Err(ProtocolError::FenceTooLong),
        },
        255 => match second {
            None => 2,
            Some(0) => 12,
            Some(other) => return Err(ProtocolError::QemuMessage(other)),
        },
        other => return Err(ProtocolError::Message(other)),
    })
}

/// Decodes a message of which there are as many bytes as [`length`] says.
pub(crate) fn decode(bytes: &[u8]) -> Result<Message, ProtocolError> {
    let mut fields = Fields(bytes);
    Ok(match fields.u8() {
        0 => {
            fields.skip(3);
            Message::PixelFormat(PixelFormat::decode(fields.0)?)
        }
        2 => {
            fields.skip(1);
            Message::Encodings(fields.u16())
        }
        3 => Message::UpdateRequest { incremental: fields.u8() != 0, rect: rect(&mut fields) },
        4 => {
            let down = fields.u8() != 0;
            fields.skip(2);
            Message::Key { keysym: fields.u32(), scancode: None, down }
        }
        5 => {
            let (buttons, x, y) = (fields.u8(), fields.u16(), fields.u16());
            // A byte beyond the end is zero: without it, those buttons are not pressed.
            let extended = u16::from(fields.u8()).wrapping_shl(7);
            let buttons = if bytes.len() > 6 { u16::from(buttons & 0x7f) | extended } else { buttons.into() };
            Message::Pointer { x, y, buttons }
        }
        6 => {
            fields.skip(3);
            // Negative in the Extended Clipboard messages, which viewers should not send: we do not announce them.
            let length = fields.u32().cast_signed().unsigned_abs();
            if length > LONGEST_TEXT {
                return Err(ProtocolError::TextTooLong);
            }
            Message::CutText(length)
        }
        150 => Message::ContinuousUpdates { enable: fields.u8() != 0, rect: rect(&mut fields) },
        FENCE => {
            fields.skip(3);
            let (flags, length) = (fields.u32(), fields.u8());
            let mut fence = Fence { length, ..Fence::empty(flags) };
            fence.payload.iter_mut().zip(fields.0).for_each(|(to, from)| *to = *from);
            Message::Fence(fence)
        }
        251 => {
            fields.skip(5);
            Message::DesktopSize(u32::from(fields.u8()).saturating_mul(SCREEN))
        }
        255 => {
            fields.skip(1);
            let down = fields.u16() != 0;
            Message::Key { keysym: fields.u32(), scancode: Some(fields.u32()), down }
        }
        other => return Err(ProtocolError::Message(other)),
    })
}

fn rect(fields: &mut Fields<'_>) -> Rect {
    Rect { x: fields.u16(), y: fields.u16(), width: fields.u16(), height: fields.u16() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_known_from_the_start_of_a_message() {
        let cases: &[(&[u8], bool, Result<usize, ProtocolError>)] = &[
            (&[], false, Ok(1)),
            (&[0], false, Ok(20)),
            (&[5, 0xff], false, Ok(6)),
            (&[5, 0xff], true, Ok(7)),
            (&[5, 0x7f], true, Ok(6)),
            (&[248, 0, 0, 0, 0, 0, 0, 0], false, Ok(9)),
            (&[248, 0, 0, 0, 0, 0, 0, 0, 64], false, Ok(LONGEST)),
            (&[248, 0, 0, 0, 0, 0, 0, 0, 65], false, Err(ProtocolError::FenceTooLong)),
            (&[255], false, Ok(2)),
            (&[255, 0], false, Ok(12)),
            (&[255, 1], false, Err(ProtocolError::QemuMessage(1))),
            (&[1], false, Err(ProtocolError::Message(1))),
            (&[250], false, Err(ProtocolError::Message(250))),
        ];
        for (start, extended, expect) in cases {
            assert_eq!(length(start, *extended), *expect, "{start:?}");
        }
    }

    #[test]
    fn text_is_skipped_up_to_sixteen_mebibytes_and_in_either_form() {
        let text = |length: i32| {
            let mut bytes = alloc::vec![6, 0, 0, 0];
            bytes.extend(length.to_be_bytes());
            decode(&bytes)
        };
        assert_eq!(text(5), Ok(Message::CutText(5)));
        assert_eq!(text(-5), Ok(Message::CutText(5)));
        assert_eq!(text(16 << 20), Ok(Message::CutText(16 << 20)));
        assert_eq!(text((16 << 20) + 1), Err(ProtocolError::TextTooLong));
        assert_eq!(text(i32::MIN), Err(ProtocolError::TextTooLong));
    }

    #[test]
    fn extended_buttons_follow_the_first_seven() {
        assert_eq!(decode(&[5, 0x81, 0, 1, 0, 2]), Ok(Message::Pointer { x: 1, y: 2, buttons: 0x81 }));
        assert_eq!(decode(&[5, 0x81, 0, 1, 0, 2, 3]), Ok(Message::Pointer { x: 1, y: 2, buttons: 0x181 }));
    }
}
