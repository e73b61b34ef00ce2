//! Viewers that mean no good. None of them makes a session panic, or send what a viewer cannot read.

use super::screen::{Numbers, Screen};
use super::viewer::{Format, Viewer};
use super::{PLENTY, connected, exchange, finish, locked, open, received, request_all, set_encodings, update_request};
use crate::{PointerShape, ProtocolError, Rect, Session};
use alloc::vec;
use alloc::vec::Vec;

/// How a session takes bytes after the handshake.
fn end_of(bytes: &[u8]) -> Result<(), ProtocolError> {
    let (mut session, _) = connected(&Screen::new(50, 50, 0));
    session.receive(bytes, &mut |_| {})
}

#[test]
fn unknown_messages_end_the_session() {
    for number in [1, 7, 100, 149, 151, 249, 250, 252, 253, 254] {
        assert_eq!(end_of(&[number]), Err(ProtocolError::Message(number)));
    }
    assert_eq!(end_of(&[255, 1]), Err(ProtocolError::QemuMessage(1)));
}

#[test]
fn lengths_are_bounded() {
    assert_eq!(end_of(&[6, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]), Err(ProtocolError::TextTooLong));
    assert_eq!(end_of(&[6, 0, 0, 0, 0x80, 0, 0, 0]), Err(ProtocolError::TextTooLong));
    assert_eq!(end_of(&[248, 0, 0, 0, 0, 0, 0, 0, 65]), Err(ProtocolError::FenceTooLong));
    let mut everything = vec![2, 0, 0xff, 0xff];
    everything.extend((0..0xffff_u32).flat_map(|number| (number as i32 - 0x8000).to_be_bytes()));
    everything.extend([4, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(end_of(&everything), Ok(()));
}

#[test]
fn who_does_not_read_answers_cannot_ask_for_ever() {
    let fences: Vec<u8> = [248, 0, 0, 0, 0x80, 0, 0, 0, 0].repeat(2000);
    assert_eq!(end_of(&fences), Err(ProtocolError::Flood));
    let sizes: Vec<u8> = [251, 0, 0, 1, 0, 1, 0, 0].repeat(100);
    assert_eq!(end_of(&sizes), Err(ProtocolError::Flood));
    let stops: Vec<u8> = [150, 0, 0, 0, 0, 0, 0, 0, 0, 0].repeat(20_000);
    assert_eq!(end_of(&stops), Err(ProtocolError::Flood));
    // Those whose answers are the same need no room.
    let formats: Vec<u8> = [0, 0, 0, 0, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].repeat(2000);
    assert_eq!(end_of(&formats), Ok(()));
    assert_eq!(end_of(&request_all(false).repeat(2000)), Ok(()));
}

#[test]
fn random_bytes_do_no_harm() {
    let screen = Screen::new(70, 40, 0x0012_3456);
    let mut numbers = Numbers(0xfeed);
    for round in 0..3000 {
        let config = if round % 2 == 0 { open() } else { locked() };
        let mut session = Session::new(&config, [1; 16]);
        let mut out = Vec::new();
        if round % 3 != 0 {
            received(&mut session, b"RFB 003.008\n");
        }
        let bytes: Vec<u8> = (0..300).map(|_| numbers.next() as u8).collect();
        let _ = session.receive(&bytes, &mut |_| {});
        session.produce(&screen, PLENTY, &mut out);
        assert!(out.len() < 100_000);
    }
}

/// A whole message. A new pixel format is given to the viewer as well.
fn message(numbers: &mut Numbers, viewer: &mut Viewer) -> Vec<u8> {
    let mut random = |count: usize| -> Vec<u8> { (0..count).map(|_| numbers.next() as u8).collect() };
    match random(1)[0] % 12 {
        0 => {
            let [bits, shift, big_endian] = random(3)[..] else { panic!() };
            let bits = [8, 16, 32][usize::from(bits % 3)];
            let shift = [shift % 3, shift % 3 + 2, shift % 3 + 4];
            let big_endian = big_endian & 1 != 0;
            viewer.format = Format { bits, depth: 24, big_endian, true_colour: true, max: [3; 3], shift };
            viewer.format.message()
        }
        1 => {
            let known = [0, 1, 5, 6, 7, 16, -239, -308, -312, -313, -258, -257, -261, -250];
            let mut list: Vec<i32> = random(6).iter().map(|at| known[usize::from(*at) % known.len()]).collect();
            list.push(-223);
            set_encodings(&list)
        }
        2..=4 => {
            let at = random(4);
            update_request(at[0] & 1 == 0, at[1].into(), at[2].into(), u16::from(at[3]) * 4, 300)
        }
        5 => [vec![4], random(7)].concat(),
        6 => [vec![5], random(5)].concat(),
        7 => [vec![6, 0, 0, 0, 0, 0, 0, 20], random(20)].concat(),
        8 => [vec![150, random(1)[0] & 1, 0], random(1), vec![0], random(1), vec![1], random(1), vec![1], random(1)]
            .concat(),
        9 => [vec![248, 0, 0, 0], random(4), vec![3], random(3)].concat(),
        10 => [vec![251], random(5), vec![2, 0], random(32)].concat(),
        _ => [vec![255, 0], random(10)].concat(),
    }
}

/// What happens to a picture.
fn change(screen: &mut Screen, session: &mut Session, numbers: &mut Numbers) {
    let [width, height] = [1 + numbers.below(screen.width), 1 + numbers.below(screen.height)];
    let [x, y] = [numbers.below(screen.width), numbers.below(screen.height)];
    match numbers.below(10) {
        0 => {
            *screen = Screen::new(1 + numbers.below(200), 1 + numbers.below(150), numbers.next() & 0xff_ffff);
            session.resized(screen.width, screen.height);
        }
        1..=3 => {
            let [to_x, to_y] = [numbers.below(screen.width), numbers.below(screen.height)];
            let width = width.min(screen.width - x.max(to_x));
            let height = height.min(screen.height - y.max(to_y));
            let before = screen.clone();
            for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
                let from = usize::from(y + row) * usize::from(screen.width) + usize::from(x + column);
                screen.set(to_x + column, to_y + row, before.pixels[from]);
            }
            let [dx, dy] = [[to_x, x], [to_y, y]].map(|[to, from]| i32::from(to) - i32::from(from));
            session.moved(Rect::new(to_x, to_y, width, height), dx, dy);
        }
        4 => session.set_absolute(numbers.below(2) == 0),
        5 => session.set_leds(numbers.below(8) as u8),
        6 => {
            let shape = PointerShape::new(9, 2, (1, 1), (0..18).map(|_| numbers.next()).collect());
            session.set_pointer(shape.as_ref().filter(|_| numbers.below(2) == 0));
        }
        kind => {
            screen.draw(kind, [x, y, width, height], numbers);
            session.damage(x, y, width, height);
        }
    }
}

#[test]
fn whatever_happens_the_viewer_can_read_it_and_sees_the_picture_in_the_end() {
    let mut numbers = Numbers(0xbeef);
    for seed in 0..60 {
        let mut screen = Screen::new(150, 90, 0);
        let (mut session, mut viewer) = connected(&screen);
        received(&mut session, &set_encodings(&[1, 16, -223]));
        for _ in 0..60 {
            for _ in 0..numbers.below(4) {
                received(&mut session, &message(&mut numbers, &mut viewer));
            }
            for _ in 0..numbers.below(4) {
                change(&mut screen, &mut session, &mut numbers);
            }
            let budget = usize::from(numbers.below(20_000));
            let before = session.has_output();
            let length = exchange(&mut session, &mut viewer, &screen, budget);
            assert!(before || length == 0);
        }
        // What the viewer has is of several formats; but what it is sent now has to be all there is.
        received(&mut session, &[150, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        received(&mut session, &set_encodings(&[16, -223]));
        for _ in 0..3 {
            received(&mut session, &request_all(false));
            exchange(&mut session, &mut viewer, &screen, PLENTY);
        }
        assert!(viewer.shows(&screen), "{seed}");
    }
}

#[test]
fn incremental_updates_are_enough() {
    let mut numbers = Numbers(0xcafe);
    for seed in 0..60 {
        let mut screen = Screen::new(150, 90, 0);
        let (mut session, mut viewer) = connected(&screen);
        for round in 0..60 {
            if round % 10 == 0 {
                let encoding = [0, 5, 6, 7, 16][usize::from(numbers.below(5))];
                received(&mut session, &set_encodings(&[1, encoding, -223, -308, -239, -257, -261]));
            }
            for _ in 0..numbers.below(4) {
                change(&mut screen, &mut session, &mut numbers);
            }
            received(&mut session, &request_all(true));
            let mut out = Vec::new();
            session.produce(&screen, 1 + usize::from(numbers.below(20_000)), &mut out);
            if session.is_within_update() {
                // What was announced is sent as it is by then.
                change(&mut screen, &mut session, &mut numbers);
            }
            finish(&mut session, &screen, &mut out);
            viewer.read(&out);
        }
        loop {
            received(&mut session, &request_all(true));
            if exchange(&mut session, &mut viewer, &screen, PLENTY) == 0 {
                break;
            }
        }
        assert!(viewer.shows(&screen), "{seed}");
    }
}

#[test]
fn a_request_before_the_picture_is_known_is_kept_within_it() {
    let screen = Screen::new(50, 50, 5);
    let mut session = Session::new(&open(), [0; 16]);
    received(&mut session, b"RFB 003.008\n\x01\x01");
    received(&mut session, &request_all(false));
    let mut out = Vec::new();
    session.produce(&screen, PLENTY, &mut out);
    let init = 12 + 2 + 4;
    let mut viewer = Viewer::new(&out[init..init + 28]);
    viewer.read(&out[init + 28..]);
    assert!(viewer.shows(&screen));
    assert_eq!(exchange(&mut session, &mut viewer, &screen, PLENTY), 0);
}
