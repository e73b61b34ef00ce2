//! Sizes, pointers, lights, fences.

use super::screen::{Numbers, Screen};
use super::viewer::Seen;
use super::{PLENTY, connected, exchange, received, request_all, set_encodings, update_request};
use crate::{Event, PointerShape};
use alloc::vec;
use alloc::vec::Vec;

fn fence(flags: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![248, 0, 0, 0];
    bytes.extend(flags.to_be_bytes());
    bytes.push(payload.len() as u8);
    bytes.extend(payload);
    bytes
}

fn set_desktop_size(screens: u8) -> Vec<u8> {
    let mut bytes = vec![251, 0, 1, 0, 1, 0, screens, 0];
    bytes.extend(vec![0xff; usize::from(screens) * 16]);
    bytes
}

#[test]
fn viewers_follow_the_size_of_the_picture() {
    for (encoding, changes) in [(-223, 1), (-308, 1)] {
        let mut screen = Screen::new(100, 80, 1);
        let (mut session, mut viewer) = connected(&screen);
        received(&mut session, &set_encodings(&[16, encoding]));
        received(&mut session, &request_all(true));
        exchange(&mut session, &mut viewer, &screen, PLENTY);
        assert_eq!(viewer.encodings(), [16; 2], "64 lines each at most");
        for (width, height) in [(200, 50), (33, 300), (1, 1), (640, 480)] {
            screen = Screen::new(width, height, 0);
            screen.draw(3, [0, 0, width, height], &mut Numbers(8));
            session.resized(width, height);
            // Nothing comes without being asked for.
            assert!(!session.has_output());
            received(&mut session, &request_all(true));
            assert!(session.has_output());
            exchange(&mut session, &mut viewer, &screen, PLENTY);
            // In an update of its own, and the pixels in the next one.
            let Seen::Update(first) = &viewer.seen[0] else { panic!() };
            assert_eq!(first.len(), 1);
            let encodings = viewer.encodings();
            assert_eq!(encodings.iter().filter(|number| **number == encoding).count(), changes);
            assert!(viewer.shows(&screen));
        }
    }
}

/// vncdotool, `rfb.py`: its requests are of the size in ServerInit for good.
#[test]
fn who_asks_for_all_of_the_first_picture_gets_all_of_any() {
    for incremental in [true, false] {
        let mut screen = Screen::new(100, 80, 1);
        let (mut session, mut viewer) = connected(&screen);
        received(&mut session, &set_encodings(&[0, -223]));
        for (width, height) in [(100, 80), (300, 200), (50, 90), (100, 80)] {
            screen = Screen::new(width, height, 0);
            screen.draw(3, [0, 0, width, height], &mut Numbers(8));
            session.resized(width, height);
            for _ in 0..2 {
                received(&mut session, &update_request(incremental, 0, 0, 100, 80));
                exchange(&mut session, &mut viewer, &screen, PLENTY);
            }
            assert!(viewer.shows(&screen), "{width} × {height}");
        }
    }
}

#[test]
fn who_asks_for_a_part_gets_a_part_after_another_size_too() {
    let (mut session, mut viewer) = connected(&Screen::new(100, 80, 1));
    let screen = Screen::new(300, 200, 2);
    received(&mut session, &set_encodings(&[0, -223]));
    session.resized(300, 200);
    for (width, height, lines) in [(100, 16, 16), (64, 80, 80)] {
        viewer.seen.clear();
        received(&mut session, &update_request(false, 0, 0, width, height));
        exchange(&mut session, &mut viewer, &screen, PLENTY);
        let Some(Seen::Update(list)) = viewer.seen.last() else { panic!() };
        assert_eq!(list.iter().map(|([_, _, _, rows], _)| rows).sum::<u16>(), lines, "{list:?}");
    }
}

#[test]
fn a_size_that_nobody_reported_is_noticed() {
    let (mut session, mut viewer) = connected(&Screen::new(100, 80, 1));
    received(&mut session, &set_encodings(&[-223]));
    received(&mut session, &request_all(true));
    let screen = Screen::new(50, 90, 2);
    exchange(&mut session, &mut viewer, &screen, PLENTY);
    assert!(viewer.shows(&screen));
}

#[test]
fn other_viewers_see_as_much_as_fits() {
    let (mut session, mut viewer) = connected(&Screen::new(100, 80, 1));
    received(&mut session, &request_all(true));
    exchange(&mut session, &mut viewer, &Screen::new(100, 80, 1), PLENTY);
    for (width, height) in [(50, 90), (200, 40), (0, 0), (100, 80)] {
        let screen = Screen::new(width, height, 0x00ff_ffff);
        session.resized(width, height);
        received(&mut session, &request_all(true));
        exchange(&mut session, &mut viewer, &screen, PLENTY);
        for y in 0..80 {
            for x in 0..100 {
                let inside = x < width && y < height;
                assert_eq!(viewer.pixels[usize::from(y * 100 + x)], if inside { 0x00ff_ffff } else { 0 });
            }
        }
    }
}

#[test]
fn full_requests_are_answered_with_the_layout() {
    let screen = Screen::new(100, 80, 1);
    let (mut session, mut viewer) = connected(&screen);
    received(&mut session, &set_encodings(&[-308, -223]));
    received(&mut session, &request_all(false));
    exchange(&mut session, &mut viewer, &screen, PLENTY);
    assert_eq!(viewer.seen[0], Seen::Update(vec![([0, 0, 100, 80], -308)]));
    assert!(viewer.shows(&screen));
}

#[test]
fn resizing_by_viewers_is_refused() {
    let screen = Screen::new(100, 80, 1);
    let (mut session, mut viewer) = connected(&screen);
    received(&mut session, &set_encodings(&[-308]));
    received(&mut session, &[set_desktop_size(1), set_desktop_size(0), set_desktop_size(255)].concat());
    assert!(session.has_output());
    exchange(&mut session, &mut viewer, &screen, PLENTY);
    assert_eq!(viewer.seen, [Seen::Update(vec![([1, 1, 100, 80], -308); 3])]);
    assert!(!session.has_output());
}

#[test]
fn fences_are_answered_with_the_flags_that_we_know() {
    let screen = Screen::new(10, 10, 1);
    let (mut session, mut viewer) = connected(&screen);
    received(&mut session, &set_encodings(&[-312]));
    exchange(&mut session, &mut viewer, &screen, PLENTY);
    assert_eq!(viewer.seen, [Seen::Fence(0x8000_0000, vec![])]);
    received(&mut session, &set_encodings(&[-312]));
    received(&mut session, &fence(0, b"answer"));
    assert!(!session.has_output());
    received(&mut session, &fence(0xffff_fffb, &[7; 64]));
    received(&mut session, &fence(0x8000_0001, b""));
    viewer.seen.clear();
    exchange(&mut session, &mut viewer, &screen, PLENTY);
    assert_eq!(viewer.seen, [Seen::Fence(3, vec![7; 64]), Seen::Fence(1, vec![])]);
}

#[test]
fn a_fence_before_a_message_is_answered_with_it() {
    let screen = Screen::new(10, 10, 1);
    for message in [set_encodings(&[16, 7, 1]), set_encodings(&[]), request_all(true), set_desktop_size(1)] {
        let (mut session, _) = connected(&screen);
        received(&mut session, &fence(0x8000_0004, b"x"));
        let (last, first) = message.split_last().unwrap();
        let mut out = Vec::new();
        let before = if message[0] == 251 { &message[..7] } else { first };
        received(&mut session, before);
        session.produce(&screen, PLENTY, &mut out);
        assert_eq!(out, []);
        received(&mut session, &message[before.len()..]);
        session.produce(&screen, PLENTY, &mut out);
        assert_eq!(out[..10], fence(4, b"x"), "{last}");
    }
}

#[test]
fn the_pointer_has_a_shape() {
    let screen = Screen::new(50, 50, 0);
    let pixels: Vec<u32> = (0..27).map(|i| if i % 2 == 0 { 0xff00_0000 | i } else { i }).collect();
    let shape = PointerShape::new(9, 3, (4, 2), pixels).unwrap();
    let (mut session, mut viewer) = connected(&screen);
    received(&mut session, &set_encodings(&[-239]));
    received(&mut session, &request_all(true));
    exchange(&mut session, &mut viewer, &screen, PLENTY);
    assert!(viewer.pointers.is_empty());
    received(&mut session, &request_all(true));
    session.set_pointer(Some(&shape));
    session.set_pointer(Some(&shape));
    exchange(&mut session, &mut viewer, &screen, PLENTY);
    assert_eq!(viewer.encodings().last(), Some(&-239));
    let (rect, pixels, mask) = viewer.pointers.pop().unwrap();
    assert_eq!((rect, &*pixels), ([4, 2, 9, 3], &*(0..27).collect::<Vec<u32>>()));
    assert_eq!(mask, [0b1010_1010, 0x80, 0b0101_0101, 0, 0b1010_1010, 0x80]);
    received(&mut session, &request_all(true));
    session.set_pointer(None);
    exchange(&mut session, &mut viewer, &screen, PLENTY);
    assert_eq!(viewer.pointers.pop(), Some(([0; 4], vec![], vec![])));
    assert!(!session.has_output());
}

#[test]
fn lights_are_told_when_they_change() {
    let screen = Screen::new(50, 50, 0);
    let (mut session, mut viewer) = connected(&screen);
    session.set_leds(2);
    received(&mut session, &set_encodings(&[-261]));
    for leds in [2, 2, 6, 6, 0] {
        session.set_leds(leds);
        received(&mut session, &request_all(true));
        exchange(&mut session, &mut viewer, &screen, PLENTY);
    }
    assert_eq!(viewer.leds, [2, 6, 0]);
}

#[test]
fn what_viewers_may_use_is_announced_once() {
    let screen = Screen::new(50, 50, 0);
    let (mut session, mut viewer) = connected(&screen);
    for expected in [&[-258, -316, -257][..], &[]] {
        received(&mut session, &set_encodings(&[-257, -258, -316, -999, 16]));
        received(&mut session, &request_all(true));
        exchange(&mut session, &mut viewer, &screen, PLENTY);
        let mut encodings = viewer.encodings();
        encodings.retain(|encoding| *encoding < 0);
        assert_eq!(encodings, expected);
    }
}

#[test]
fn viewers_that_can_tell_motion_are_asked_to() {
    let screen = Screen::new(50, 50, 0);
    let (mut session, mut viewer) = connected(&screen);
    received(&mut session, &set_encodings(&[-257]));
    received(&mut session, &request_all(true));
    exchange(&mut session, &mut viewer, &screen, PLENTY);
    session.set_absolute(false);
    received(&mut session, &request_all(true));
    viewer.seen.clear();
    exchange(&mut session, &mut viewer, &screen, PLENTY);
    assert_eq!(viewer.seen, [Seen::Update(vec![([0, 0, 50, 50], -257)])]);
    let events = received(&mut session, &[5, 1, 0x80, 0, 0x7f, 0xf0]);
    assert_eq!(events, [Event::Motion { dx: 1, dy: -15, buttons: 1 }]);
}

#[test]
fn of_other_viewers_motion_is_worked_out() {
    let (mut session, _) = connected(&Screen::new(50, 50, 0));
    session.set_absolute(false);
    let events = received(&mut session, &[5, 0, 0, 10, 0, 10, 5, 1, 0, 7, 0, 30]);
    let motion = |dx, dy, buttons| Event::Motion { dx, dy, buttons };
    assert_eq!(events, [motion(0, 0, 0), motion(-3, 20, 1)]);
}
