//! Collecting the head of a request.
//!
//! The end of the head, an empty line, is looked for byte by byte; the head is decoded once, when it is complete.

use super::bad_request::BadRequest;
use super::request::Request;
use alloc::vec::Vec;
use core::mem;

/// The longest head of a request, in bytes, empty lines before and after it included.
pub const LONGEST_HEAD: usize = 4096;

/// Collects the head of a request, up to [`LONGEST_HEAD`] bytes of it.
#[derive(Clone, Debug, Default)]
pub struct Head {
    bytes: Vec<u8>,
    /// Whether a line that is not empty has begun. Empty lines before it are skipped (RFC 9112, section 2.2).
    begun: bool,
    /// Whether the current line holds something.
    line_begun: bool,
    refused: Option<BadRequest>,
}

impl Head {
    /// A head of which nothing is there yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of a connection.
    ///
    /// Gives the request once its head is complete, and how many of `bytes` belonged to the head; the rest belongs to
    /// what follows. This object is as new then. After a refusal it gives the same refusal for ever.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<(Request, usize)>, BadRequest> {
        if let Some(reason) = self.refused {
            return Err(reason);
        }
        let result = self.collect(bytes);
        if let Err(reason) = result {
            *self = Self { refused: Some(reason), ..Self::default() };
        }
        result
    }

    fn collect(&mut self, bytes: &[u8]) -> Result<Option<(Request, usize)>, BadRequest> {
        let room = LONGEST_HEAD.saturating_sub(self.bytes.len());
        for (&byte, taken) in bytes.iter().take(room).zip(1..) {
            if self.ends_with(byte)? {
                let mut head = mem::take(self).bytes;
                head.extend(bytes.iter().take(taken));
                return Request::decode(&head).map(|request| Some((request, taken)));
            }
        }
        if bytes.len() >= room {
            return Err(BadRequest::HeadTooLarge);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(None)
    }

    /// Whether the head ends with this byte.
    ///
    /// Control characters are refused at once: no element of a head has them, and a client that means to speak TLS
    /// sends some at the start.
    fn ends_with(&mut self, byte: u8) -> Result<bool, BadRequest> {
        match byte {
            b'\n' if !self.line_begun => return Ok(self.begun),
            b'\n' => self.line_begun = false,
            b'\r' => {}
            b'\t' => (self.begun, self.line_begun) = (true, true),
            _ if byte.is_ascii_control() => return Err(BadRequest::Malformed),
            _ => (self.begun, self.line_begun) = (true, true),
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::{Head, LONGEST_HEAD};
    use crate::http::{BadRequest, Request};
    use crate::random::Random;
    use alloc::vec::Vec;

    const PLAIN: &[u8] = b"GET /vnc.html HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n";

    /// What a client sends gives, if all of it comes in pieces of `len` bytes, and how much of it the head was.
    fn in_pieces(bytes: &[u8], len: usize) -> Result<Option<(Request, usize)>, BadRequest> {
        let mut head = Head::new();
        for (at, piece) in (0..).step_by(len).zip(bytes.chunks(len)) {
            if let Some((request, taken)) = head.feed(piece)? {
                return Ok(Some((request, at + taken)));
            }
        }
        Ok(None)
    }

    /// A head of exactly `len` bytes.
    fn of_length(len: usize) -> Vec<u8> {
        let mut bytes = Vec::from(b"GET / HTTP/1.1\r\nHost: a\r\nX: ");
        bytes.resize(len - 4, b'x');
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes
    }

    #[test]
    fn what_follows_the_head_is_left_alone() {
        let mut bytes = Vec::from(PLAIN);
        bytes.extend_from_slice(b"\x82\x80more");
        let (request, taken) = Head::new().feed(&bytes).unwrap().unwrap();
        assert_eq!(request.path, "/vnc.html");
        assert_eq!(taken, PLAIN.len());
    }

    #[test]
    fn pieces_of_any_length_give_what_the_whole_gives() {
        let whole = Head::new().feed(PLAIN);
        for len in 1..=PLAIN.len() {
            assert_eq!(in_pieces(PLAIN, len), whole);
        }
    }

    #[test]
    fn a_head_is_done_only_after_its_empty_line() {
        for len in 0..PLAIN.len() {
            assert_eq!(Head::new().feed(&PLAIN[..len]), Ok(None));
        }
    }

    /// RFC 9112, 2.2: "should ignore at least one empty line (CRLF) received prior to the request-line"; a single LF
    /// may end a line.
    #[test]
    fn empty_lines_before_and_lone_line_feeds_are_taken() {
        let (request, taken) = Head::new().feed(b"\r\n\nGET /a HTTP/1.0\n\nrest").unwrap().unwrap();
        assert_eq!((request.path.as_str(), taken), ("/a", 20));
    }

    #[test]
    fn the_longest_head_is_taken_and_one_byte_more_is_not() {
        let longest = of_length(LONGEST_HEAD);
        for len in [1, 7, LONGEST_HEAD] {
            assert_eq!(in_pieces(&longest, len).unwrap().unwrap().1, LONGEST_HEAD);
            assert_eq!(in_pieces(&of_length(LONGEST_HEAD + 1), len), Err(BadRequest::HeadTooLarge));
        }
    }

    #[test]
    fn a_head_without_end_is_refused_and_stays_refused() {
        let mut head = Head::new();
        assert_eq!(head.feed(&[b'a'; LONGEST_HEAD - 1]), Ok(None));
        assert!(head.bytes.capacity() <= LONGEST_HEAD);
        assert_eq!(head.feed(b"a"), Err(BadRequest::HeadTooLarge));
        assert_eq!(head.feed(PLAIN), Err(BadRequest::HeadTooLarge));
        assert_eq!(head.bytes.capacity(), 0);
        assert_eq!(Head::new().feed(&[b'\n'; LONGEST_HEAD]), Err(BadRequest::HeadTooLarge));
    }

    /// The start of a TLS record.
    #[test]
    fn control_characters_are_refused_at_once() {
        assert_eq!(Head::new().feed(b"\x16\x03\x01"), Err(BadRequest::Malformed));
        assert_eq!(Head::new().feed(b"GET /\0"), Err(BadRequest::Malformed));
    }

    #[test]
    fn a_head_is_as_new_after_a_request() {
        let mut head = Head::new();
        assert!(head.feed(PLAIN).unwrap().is_some());
        assert!(head.feed(PLAIN).unwrap().is_some());
    }

    #[test]
    fn random_bytes_do_no_harm_and_pieces_make_no_difference() {
        let mut random = Random::new(1);
        for _ in 0..2000 {
            let mut bytes = random.bytes(200);
            let whole = Head::new().feed(&bytes);
            assert_eq!(in_pieces(&bytes, 1), whole);
            bytes = Vec::from(PLAIN);
            for _ in 0..random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] = *b"\r\n\t :,/\xffHa0\x7f".get(random.below(13)).unwrap_or(&b'G');
            }
            let whole = Head::new().feed(&bytes);
            assert_eq!(in_pieces(&bytes, 1 + random.below(9)), whole);
        }
    }
}
