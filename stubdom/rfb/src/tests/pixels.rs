//! Every encoding brings the picture over, in every kind of format, again and again.

use super::screen::{Numbers, Screen};
use super::viewer::Format;
use super::{PLENTY, connected, exchange, received, request_all, set_encodings};

const ENCODINGS: [i32; 5] = [0, 5, 6, 7, 16];

fn formats() -> [Format; 9] {
    let offered = Format::OFFERED;
    [
        offered,
        Format { big_endian: true, ..offered },
        Format { shift: [0, 8, 16], ..offered },
        Format { shift: [24, 16, 8], ..offered },
        Format { shift: [8, 24, 16], big_endian: true, ..offered },
        Format { depth: 32, ..offered },
        Format { bits: 16, depth: 16, max: [31, 63, 31], shift: [11, 5, 0], ..offered },
        Format { bits: 16, depth: 15, max: [31, 31, 31], shift: [0, 5, 10], big_endian: true, ..offered },
        Format { bits: 8, depth: 8, max: [7, 7, 3], shift: [5, 2, 0], ..offered },
    ]
}

/// Draws, sends, compares, again and again. Odd sizes, so that tiles are cut.
fn check(format: &Format, list: &[i32], expected: i32, rounds: u16) {
    let mut numbers = Numbers(0x1234_5678_9abc_def1);
    let mut screen = Screen::new(333, 171, 0x0020_4060);
    let (mut session, mut viewer) = connected(&screen);
    received(&mut session, &format.message());
    viewer.format = *format;
    received(&mut session, &set_encodings(list));
    for round in 0..rounds {
        if round > 0 {
            let rect = if round % 5 == 0 {
                [0, 0, screen.width, screen.height]
            } else {
                [numbers.below(300), numbers.below(160), 1 + numbers.below(200), 1 + numbers.below(120)]
            };
            screen.draw(round, rect, &mut numbers);
            session.damage(rect[0], rect[1], rect[2], rect[3]);
        }
        received(&mut session, &request_all(round > 0));
        assert!(session.has_output());
        exchange(&mut session, &mut viewer, &screen, PLENTY);
        assert!(viewer.shows(&screen), "round {round}");
        let encodings = viewer.encodings();
        assert!(!encodings.is_empty() && encodings.iter().all(|encoding| *encoding == expected));
        assert!(!session.has_output());
    }
}

#[test]
fn every_encoding_brings_the_picture_over_in_every_format() {
    for format in formats() {
        for encoding in ENCODINGS {
            check(&format, &[encoding], encoding, 16);
        }
    }
}

#[test]
fn every_compression_level_brings_the_picture_over() {
    for level in -256..=-247 {
        for encoding in [6, 7, 16] {
            check(&Format::OFFERED, &[encoding, level], encoding, 8);
        }
    }
}

#[test]
fn viewers_without_true_colour_get_a_map() {
    let format = Format { bits: 8, depth: 8, true_colour: false, max: [0; 3], shift: [0; 3], ..Format::OFFERED };
    let mut numbers = Numbers(99);
    let mut screen = Screen::new(100, 70, 0);
    screen.draw(6, [0, 0, 100, 70], &mut numbers);
    for encoding in ENCODINGS {
        let (mut session, mut viewer) = connected(&screen);
        received(&mut session, &format.message());
        received(&mut session, &set_encodings(&[encoding]));
        received(&mut session, &request_all(false));
        viewer.format = format;
        exchange(&mut session, &mut viewer, &screen, PLENTY);
        assert!(matches!(&viewer.seen[0], super::viewer::Seen::ColourMap(map) if map.len() == 256 * 3));
        assert!(viewer.shows(&screen));
    }
}

#[test]
fn encodings_and_formats_change_within_a_session() {
    let mut numbers = Numbers(77);
    let mut screen = Screen::new(300, 200, 0);
    let (mut session, mut viewer) = connected(&screen);
    for round in 0..60 {
        let encoding = ENCODINGS[usize::from(numbers.below(5))];
        viewer.format = formats()[usize::from(numbers.below(9))];
        received(&mut session, &viewer.format.message());
        received(&mut session, &set_encodings(&[encoding, -256 + i32::from(numbers.below(10))]));
        received(&mut session, &request_all(false));
        screen.draw(round, [numbers.below(200), numbers.below(100), 150, 120], &mut numbers);
        exchange(&mut session, &mut viewer, &screen, PLENTY);
        assert!(viewer.shows(&screen), "round {round}");
    }
}

#[test]
fn photographs_are_sent_as_such_to_viewers_that_ask_for_it() {
    let mut screen = Screen::new(400, 300, 0);
    screen.draw(6, [0, 0, 400, 300], &mut Numbers(5));
    screen.draw(1, [0, 0, 100, 64], &mut Numbers(5));
    for (quality, format, photos, tolerance) in [
        (Some(-23), Format::OFFERED, true, 12),
        (Some(-26), Format::OFFERED, true, 40),
        (Some(-23), formats()[6], true, 300),
        (Some(-23), formats()[8], false, 0),
        (None, Format::OFFERED, false, 0),
    ] {
        let (mut session, mut viewer) = connected(&screen);
        viewer.format = format;
        received(&mut session, &format.message());
        received(&mut session, &set_encodings(&[&[7][..], quality.as_slice()].concat()));
        received(&mut session, &request_all(false));
        exchange(&mut session, &mut viewer, &screen, PLENTY);
        assert_eq!(viewer.photos > 0, photos);
        if tolerance == 0 {
            assert!(viewer.shows(&screen));
        } else if format.bits == 32 {
            let channel = |value: u32, shift: u32| (value >> shift & 255) as i32;
            let far = |a: u32, b: u32| [0, 8, 16].iter().any(|&s| (channel(a, s) - channel(b, s)).abs() > tolerance);
            let wrong = screen.pixels.iter().zip(&viewer.pixels).filter(|(a, b)| far(**a, **b)).count();
            // Chroma is blurred where the picture has an edge.
            assert!(wrong < screen.pixels.len() / 20, "{wrong}");
        }
    }
}

#[test]
fn text_is_much_smaller_than_its_pixels() {
    let mut screen = Screen::new(640, 400, 0);
    screen.draw(1, [0, 0, 640, 400], &mut Numbers(3));
    for (encoding, most) in [(7, 40_000), (16, 40_000), (5, 400_000)] {
        let (mut session, mut viewer) = connected(&screen);
        received(&mut session, &set_encodings(&[encoding]));
        received(&mut session, &request_all(false));
        let length = exchange(&mut session, &mut viewer, &screen, PLENTY);
        assert!(length < most, "{encoding}: {length}");
    }
}
