//! Whole sessions, with a viewer of the tests' own at the other end.

mod flow;
mod handshake;
mod hostile;
mod input;
mod pixels;
mod pseudo;
mod screen;
mod viewer;

use crate::{Config, Event, Password, Session};
use alloc::string::ToString;
use alloc::vec::Vec;
use screen::Screen;
use viewer::Viewer;

/// Enough for any update of the tests' pictures.
const PLENTY: usize = 1 << 24;

fn open() -> Config {
    Config { name: "test".to_string(), password: None }
}

fn locked() -> Config {
    Config { name: "test".to_string(), password: Password::new(b"secret") }
}

/// A session and its viewer, behind ServerInit.
fn connected(screen: &Screen) -> (Session, Viewer) {
    let mut session = Session::new(&open(), [0; 16]);
    let mut out = Vec::new();
    received(&mut session, b"RFB 003.008\n\x01\x01");
    session.produce(screen, PLENTY, &mut out);
    let init = 12 + 2 + 4;
    assert_eq!(out[..init], *b"RFB 003.008\n\x01\x01\0\0\0\0");
    let viewer = Viewer::new(&out[init..]);
    (session, viewer)
}

/// What comes of bytes that are no error.
fn received(session: &mut Session, bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    session.receive(bytes, &mut |event| events.push(event)).unwrap();
    events
}

/// Lets the viewer have what there is for it, to the end of an update. Gives the number of bytes of the first part.
fn exchange(session: &mut Session, viewer: &mut Viewer, screen: &Screen, budget: usize) -> usize {
    let mut out = Vec::new();
    session.produce(screen, budget, &mut out);
    let first = out.len();
    finish(session, screen, &mut out);
    viewer.read(&out);
    first
}

/// The rest of an update that has begun.
fn finish(session: &mut Session, screen: &Screen, out: &mut Vec<u8>) {
    while session.is_within_update() {
        session.produce(screen, PLENTY, out);
    }
}

fn set_encodings(list: &[i32]) -> Vec<u8> {
    let mut bytes = alloc::vec![2, 0];
    bytes.extend((list.len() as u16).to_be_bytes());
    list.iter().for_each(|number| bytes.extend(number.to_be_bytes()));
    bytes
}

fn update_request(incremental: bool, x: u16, y: u16, width: u16, height: u16) -> Vec<u8> {
    let mut bytes = alloc::vec![3, incremental.into()];
    [x, y, width, height].iter().for_each(|field| bytes.extend(field.to_be_bytes()));
    bytes
}

/// For all of any picture.
fn request_all(incremental: bool) -> Vec<u8> {
    update_request(incremental, 0, 0, u16::MAX, u16::MAX)
}
