//! Versions, security types, access.

use super::screen::Screen;
use super::viewer::Viewer;
use super::{PLENTY, locked, open, received};
use crate::{Config, Event, Picture, ProtocolError, Session, auth};
use alloc::vec::Vec;

const CHALLENGE: [u8; 16] = *b"0123456789abcdef";

/// What a server sends in answer to pieces of bytes, and how it ends.
fn talk(config: &Config, pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Result<Vec<Event>, ProtocolError>) {
    let screen = Screen::new(3, 2, 0);
    let mut session = Session::new(config, CHALLENGE);
    let mut events = Vec::new();
    let mut answers = Vec::new();
    let mut result = Ok(());
    for piece in pieces {
        result = result.and(session.receive(piece, &mut |event| events.push(event)));
        let mut out = Vec::new();
        assert!(session.has_output());
        session.produce(&screen, PLENTY, &mut out);
        assert!(!session.has_output());
        answers.push(out);
    }
    (answers, result.map(|()| events))
}

fn init() -> Vec<u8> {
    let mut bytes = alloc::vec![0, 3, 0, 2, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0, 0, 0, 0, 4];
    bytes.extend(b"test");
    bytes
}

#[test]
fn the_greeting_comes_first() {
    let mut session = Session::new(&open(), CHALLENGE);
    let mut out = Vec::new();
    session.produce(&Screen::new(1, 1, 0), 0, &mut out);
    assert_eq!(out, b"RFB 003.008\n");
}

#[test]
fn without_a_password_everybody_is_let_in() {
    let ready = |shared| Ok(alloc::vec![Event::Ready { shared }]);
    let (answers, events) = talk(&open(), &[b"RFB 003.008\n", &[1], &[0]]);
    assert_eq!((&answers[0][12..], &*answers[1], events), (&[1, 1][..], &[0; 4][..], ready(false)));
    assert_eq!(answers[2], init());

    let (answers, events) = talk(&open(), &[b"RFB 003.007\n", &[1, 1]]);
    assert_eq!((&answers[0][12..], &answers[1], events), (&[1, 1][..], &init(), ready(true)));

    let (answers, events) = talk(&open(), &[b"RFB 003.003\n", &[7]]);
    assert_eq!((&answers[0][12..], &answers[1], events), (&[0, 0, 0, 1][..], &init(), ready(true)));
}

#[test]
fn who_knows_the_password_is_let_in() {
    let response = auth::response(&locked().password.unwrap(), &CHALLENGE);
    for version in [b"RFB 003.007\n", b"RFB 003.008\n"] {
        let (answers, events) = talk(&locked(), &[version, &[2], &response, &[1]]);
        assert_eq!((&answers[0][12..], &answers[1], &answers[2]), (&[1, 2][..], &CHALLENGE.to_vec(), &[0; 4].to_vec()));
        assert_eq!(answers[3], init());
        assert_eq!(events, Ok(alloc::vec![Event::Ready { shared: true }]));
    }
    let (answers, events) = talk(&locked(), &[b"RFB 003.003\n", &response, &[1]]);
    assert_eq!(
        (&answers[0][12..16], &answers[0][16..], &*answers[1]),
        (&[0, 0, 0, 2][..], &CHALLENGE[..], &[0; 4][..])
    );
    assert!(events.is_ok());
}

#[test]
fn who_does_not_is_told_so() {
    let mut response = auth::response(&locked().password.unwrap(), &CHALLENGE);
    response[15] ^= 1;
    let (answers, end) = talk(&locked(), &[b"RFB 003.008\n", &[2], &response]);
    assert_eq!(answers[2], b"\0\0\0\x01\0\0\0\x15authentication failed");
    assert_eq!(end, Err(ProtocolError::Authentication));
    let (answers, end) = talk(&locked(), &[b"RFB 003.007\n", &[2], &response]);
    assert_eq!((&*answers[2], end), (&[0, 0, 0, 1][..], Err(ProtocolError::Authentication)));

    let mut session = Session::new(&locked(), CHALLENGE);
    let mut events = Vec::new();
    received(&mut session, b"RFB 003.008\n\x02");
    assert!(session.receive(&response, &mut |event| events.push(event)).is_err());
    assert_eq!(events, [Event::AuthenticationFailed]);
    assert_eq!(session.receive(&[1], &mut |_| panic!()), Err(ProtocolError::Closed));
    assert!(!session.is_ready());
}

#[test]
fn a_security_type_that_was_not_offered_ends_the_session() {
    let (answers, end) = talk(&locked(), &[b"RFB 003.008\n", &[1]]);
    assert_eq!(end, Err(ProtocolError::SecurityType(1)));
    assert_eq!(answers[1][..8], [0, 0, 0, 1, 0, 0, 0, 21]);
    let (_, end) = talk(&open(), &[b"RFB 003.008\n", &[2]]);
    assert_eq!(end, Err(ProtocolError::SecurityType(2)));
}

#[test]
fn the_viewer_learns_size_and_name() {
    let viewer = Viewer::new(&init());
    assert_eq!((viewer.size, &*viewer.name), (Screen::new(3, 2, 0).size(), &b"test"[..]));
}
