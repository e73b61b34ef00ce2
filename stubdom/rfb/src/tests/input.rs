//! What viewers type and point at, and how their bytes are cut.

use super::screen::{Numbers, Screen};
use super::{PLENTY, connected, open, received, request_all, set_encodings};
use crate::{Event, Session};
use alloc::vec::Vec;

#[test]
fn keys_come_with_what_is_known_of_them() {
    let (mut session, _) = connected(&Screen::new(50, 50, 0));
    let events = received(&mut session, &[4, 1, 0, 0, 0, 0, 0xff, 0x0d, 255, 0, 0, 0, 0, 0, 0xff, 0x53, 0, 0, 0, 0xcd]);
    let expected = [
        Event::Key { keysym: 0xff0d, scancode: None, down: true },
        Event::Key { keysym: 0xff53, scancode: Some(0xcd), down: false },
    ];
    assert_eq!(events, expected);
}

#[test]
fn the_pointer_stays_within_the_picture() {
    let (mut session, _) = connected(&Screen::new(50, 40, 0));
    let events = received(&mut session, &[5, 4, 0, 3, 0, 2, 5, 0, 0xff, 0xff, 0, 40]);
    let at = |x, y, buttons| Event::Pointer { x, y, buttons };
    assert_eq!(events, [at(3, 2, 4), at(49, 39, 0)]);
}

#[test]
fn more_buttons_come_from_viewers_that_have_them() {
    let (mut session, _) = connected(&Screen::new(50, 50, 0));
    received(&mut session, &set_encodings(&[-316]));
    let events = received(&mut session, &[5, 0x81, 0, 1, 0, 2, 2, 5, 1, 0, 1, 0, 2]);
    let with = |buttons| Event::Pointer { x: 1, y: 2, buttons };
    assert_eq!(events, [with(0x101), with(1)]);
}

#[test]
fn text_is_skipped() {
    let (mut session, _) = connected(&Screen::new(50, 50, 0));
    let mut bytes = alloc::vec![6, 0, 0, 0, 0, 1, 0, 0];
    bytes.extend([4; 65536]);
    bytes.extend([4, 0, 0, 0, 0, 0, 0, 9]);
    assert_eq!(received(&mut session, &bytes), [Event::Key { keysym: 9, scancode: None, down: false }]);
}

/// A conversation with a message of every kind.
fn conversation() -> Vec<u8> {
    let mut bytes = b"RFB 003.008\n\x01\x01".to_vec();
    bytes.extend(super::viewer::Format::OFFERED.message());
    bytes.extend(set_encodings(&[16, -223, -308, -312, -313, -316, -258, -261]));
    bytes.extend(request_all(false));
    bytes.extend([4, 1, 0, 0, 0, 0, 0, 65, 5, 1, 0, 1, 0, 1, 5, 0x83, 0, 1, 0, 1, 1]);
    bytes.extend([6, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3]);
    bytes.extend([6, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe, 1, 2]);
    bytes.extend([150, 1, 0, 0, 0, 0, 0, 9, 0, 9, 150, 0, 0, 0, 0, 0, 0, 9, 0, 9]);
    bytes.extend([248, 0, 0, 0, 0x80, 0, 0, 4, 2, 1, 2]);
    bytes.extend([251, 0, 0, 1, 0, 1, 1, 0]);
    bytes.extend([9; 16]);
    bytes.extend([255, 0, 0, 1, 0, 0, 0, 65, 0, 0, 0, 30]);
    bytes
}

/// Everything that a session says and reports, if its input comes in pieces of these lengths.
fn outcome(lengths: &mut dyn FnMut() -> usize) -> (Vec<Event>, Vec<u8>) {
    let screen = Screen::new(90, 70, 3);
    let bytes = conversation();
    let mut session = Session::new(&open(), [0; 16]);
    let (mut events, mut out) = (Vec::new(), Vec::new());
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (piece, others) = rest.split_at(lengths().clamp(1, rest.len()));
        session.receive(piece, &mut |event| events.push(event)).unwrap();
        rest = others;
    }
    session.produce(&screen, PLENTY, &mut out);
    (events, out)
}

#[test]
fn it_does_not_matter_how_bytes_are_cut() {
    let whole = outcome(&mut || usize::MAX);
    assert_eq!(whole.0.len(), 5);
    assert_eq!(outcome(&mut || 1), whole);
    for seed in 1..50 {
        let mut numbers = Numbers(seed * 0x9e37_79b9);
        assert_eq!(outcome(&mut || usize::from(numbers.below(20))), whole);
    }
}
