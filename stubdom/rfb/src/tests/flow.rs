//! When pixels are sent, and how many.

use super::screen::{Numbers, Screen};
use super::viewer::Seen;
use super::{PLENTY, connected, exchange, received, request_all, set_encodings, update_request};
use crate::Rect;
use alloc::vec::Vec;

fn continuous(enable: bool, x: u16, y: u16, width: u16, height: u16) -> alloc::vec::Vec<u8> {
    let mut bytes = update_request(enable, x, y, width, height);
    bytes[0] = 150;
    bytes
}

#[test]
fn an_idle_picture_produces_nothing() {
    let screen = Screen::new(100, 100, 1);
    let (mut session, mut viewer) = connected(&screen);
    assert!(!session.has_output());
    received(&mut session, &request_all(true));
    assert!(exchange(&mut session, &mut viewer, &screen, PLENTY) > 0);
    received(&mut session, &request_all(true));
    for _ in 0..3 {
        assert!(!session.has_output());
        assert_eq!(exchange(&mut session, &mut viewer, &screen, PLENTY), 0);
    }
    // The request is still there.
    session.damage(0, 0, 1, 1);
    assert!(session.has_output());
    assert!(exchange(&mut session, &mut viewer, &screen, PLENTY) > 0);
    // Now it is not.
    session.damage(0, 0, 1, 1);
    assert_eq!(exchange(&mut session, &mut viewer, &screen, PLENTY), 0);
}

#[test]
fn only_what_was_asked_for_is_sent() {
    let screen = Screen::new(256, 64, 1);
    let (mut session, mut viewer) = connected(&screen);
    received(&mut session, &update_request(true, 70, 20, 10, 10));
    exchange(&mut session, &mut viewer, &screen, PLENTY);
    assert_eq!(viewer.seen, [Seen::Update(alloc::vec![([64, 16, 64, 16], 0)])]);
}

#[test]
fn a_full_request_brings_what_did_not_change() {
    let screen = Screen::new(100, 100, 1);
    let (mut session, mut viewer) = connected(&screen);
    for _ in 0..3 {
        received(&mut session, &request_all(false));
        viewer.pixels.fill(0);
        exchange(&mut session, &mut viewer, &screen, PLENTY);
        assert!(viewer.shows(&screen));
    }
}

#[test]
fn a_budget_bounds_the_output_and_everything_arrives() {
    let mut numbers = Numbers(11);
    let mut screen = Screen::new(700, 500, 0);
    screen.draw(5, [0, 0, 700, 500], &mut numbers);
    for (encoding, rectangle) in [(0, 72 << 10), (5, 72 << 10), (6, 72 << 10), (7, 72 << 10), (16, 272 << 10)] {
        for budget in [1, 5000, 60_000] {
            let (mut session, mut viewer) = connected(&screen);
            received(&mut session, &set_encodings(&[encoding]));
            received(&mut session, &request_all(true));
            let (mut out, mut rounds) = (Vec::new(), 0);
            while session.has_output() {
                let before = out.len();
                session.produce(&screen, budget, &mut out);
                let length = out.len() - before;
                assert!(length > 0 && length < budget + rectangle, "{encoding}: {length} of {budget}");
                rounds += 1;
            }
            viewer.read(&out);
            assert!(rounds > 5 && viewer.shows(&screen), "{encoding} {rounds}");
            assert_eq!(viewer.seen.len(), 1, "it is one update");
        }
    }
}

#[test]
fn without_a_budget_there_are_no_pixels() {
    let screen = Screen::new(64, 64, 1);
    let (mut session, mut viewer) = connected(&screen);
    received(&mut session, &request_all(false));
    assert_eq!(exchange(&mut session, &mut viewer, &screen, 0), 4, "the head of an update");
    assert!(viewer.shows(&screen), "which has its end when there is a budget");
}

#[test]
fn a_slow_viewer_gets_the_newest_picture() {
    let mut numbers = Numbers(12);
    let mut screen = Screen::new(300, 200, 0);
    let (mut session, mut viewer) = connected(&screen);
    received(&mut session, &set_encodings(&[16]));
    for round in 0..50 {
        screen.draw(round, [0, 0, 300, 200], &mut numbers);
        session.damage(0, 0, 300, 200);
    }
    received(&mut session, &request_all(true));
    exchange(&mut session, &mut viewer, &screen, PLENTY);
    assert!(viewer.shows(&screen));
    assert!(!session.has_output());
}

#[test]
fn continuous_updates_need_no_request() {
    let mut screen = Screen::new(200, 100, 1);
    let (mut session, mut viewer) = connected(&screen);
    received(&mut session, &set_encodings(&[-313, 16]));
    exchange(&mut session, &mut viewer, &screen, PLENTY);
    assert_eq!(viewer.seen, [Seen::EndOfContinuousUpdates]);
    received(&mut session, &continuous(true, 0, 0, 200, 100));
    for round in 0..5 {
        screen.draw(round, [20, 20, 50, 50], &mut Numbers(9));
        session.damage(20, 20, 50, 50);
        assert!(exchange(&mut session, &mut viewer, &screen, PLENTY) > 0);
        assert!(viewer.shows(&screen));
        assert!(!session.has_output());
        // Incremental requests are ignored now.
        received(&mut session, &request_all(true));
        assert!(!session.has_output());
    }
    viewer.seen.clear();
    received(&mut session, &continuous(false, 0, 0, 0, 0));
    session.damage(0, 0, 200, 100);
    exchange(&mut session, &mut viewer, &screen, PLENTY);
    assert_eq!(viewer.seen, [Seen::EndOfContinuousUpdates]);
}

#[test]
fn continuous_updates_keep_to_their_part_of_the_picture() {
    let screen = Screen::new(256, 64, 1);
    let (mut session, mut viewer) = connected(&screen);
    received(&mut session, &continuous(true, 0, 0, 64, 16));
    exchange(&mut session, &mut viewer, &screen, PLENTY);
    assert_eq!(viewer.seen, [Seen::Update(alloc::vec![([0, 0, 64, 16], 0)])]);
    received(&mut session, &update_request(false, 192, 48, 64, 16));
    viewer.seen.clear();
    exchange(&mut session, &mut viewer, &screen, PLENTY);
    let Seen::Update(list) = &viewer.seen[0] else { panic!() };
    assert!(list.iter().any(|(rect, _)| rect[0] + rect[2] == 256));
}

#[test]
fn moves_are_copied() {
    let mut numbers = Numbers(21);
    let mut screen = Screen::new(320, 200, 0);
    screen.draw(5, [0, 0, 320, 200], &mut numbers);
    let (mut session, mut viewer) = connected(&screen);
    received(&mut session, &set_encodings(&[1, 16]));
    received(&mut session, &request_all(true));
    exchange(&mut session, &mut viewer, &screen, PLENTY);
    for round in 0..30_u16 {
        viewer.seen.clear();
        // A few lines scroll, each with a new line below, and something else changes now and then.
        for _ in 0..round % 4 + 1 {
            screen.pixels.copy_within(16 * 320.., 0);
            session.moved(Rect::new(0, 0, 320, 184), 0, -16);
            screen.draw(5, [0, 184, 320, 16], &mut numbers);
            session.damage(0, 184, 320, 16);
            if round % 3 == 0 {
                let (x, y) = (numbers.below(300), numbers.below(180));
                screen.draw(5, [x, y, 20, 20], &mut numbers);
                session.damage(x, y, 20, 20);
            }
        }
        received(&mut session, &request_all(true));
        // A part of it, and the rest later.
        exchange(&mut session, &mut viewer, &screen, if round % 2 == 0 { PLENTY } else { 4000 });
        let encodings = viewer.encodings();
        assert_eq!(encodings.iter().filter(|encoding| **encoding == 1).count(), usize::from(round % 4 + 1));
        assert!(viewer.shows(&screen), "round {round}");
    }
}

#[test]
fn moves_are_pixels_for_viewers_that_cannot_copy_and_for_full_requests() {
    let mut numbers = Numbers(22);
    let mut screen = Screen::new(128, 64, 0);
    screen.draw(5, [0, 0, 128, 64], &mut numbers);
    for (list, incremental) in [(&[16][..], true), (&[16, 1][..], false)] {
        let (mut session, mut viewer) = connected(&screen);
        received(&mut session, &set_encodings(list));
        received(&mut session, &request_all(true));
        exchange(&mut session, &mut viewer, &screen, PLENTY);
        screen.pixels.copy_within(16 * 128.., 0);
        session.moved(Rect::new(0, 0, 128, 48), 0, -16);
        received(&mut session, &request_all(incremental));
        exchange(&mut session, &mut viewer, &screen, PLENTY);
        assert!(viewer.shows(&screen));
        assert!(!viewer.encodings().contains(&1));
    }
}

#[test]
fn the_encoder_tells_nothing_of_a_rectangle_beyond_the_picture() {
    let screen = Screen::new(65, 17, 0x00ab_cdef);
    for encoding in [0, 5, 6, 7, 16] {
        let (mut session, mut viewer) = connected(&screen);
        received(&mut session, &set_encodings(&[encoding]));
        session.damage(u16::MAX, u16::MAX, u16::MAX, u16::MAX);
        session.moved(Rect::new(60, 10, u16::MAX, u16::MAX), i32::MAX, i32::MIN);
        received(&mut session, &update_request(false, 3, 3, u16::MAX, u16::MAX));
        exchange(&mut session, &mut viewer, &screen, PLENTY);
        assert!(viewer.shows(&screen));
    }
}
