//! How fast pictures are encoded, and how small they get.
//!
//! A terminal of 1280 by 800 pixels scrolls by a line of text, again and again; then it changes altogether, again and
//! again. Prints megabytes of picture (four bytes a pixel) per second and bytes per frame.
//!
//! Run: `cargo run --release --example throughput`
//!
//! With the name of a file, it leaves a sequence of such pictures there, and prints for each encoding that others have as well
//! its number, the bytes of all but the first picture when each is sent as a whole, and the nanoseconds that took. `cargo
//! xtask bench --encoders` has libvncserver send the same.

use rfb::{Config, Picture, Session};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::{Duration, Instant};

const WIDTH: u16 = 1280;
const HEIGHT: u16 = 800;
const FRAMES: u32 = 60;

/// A terminal: light glyphs of 8 by 16 pixels on black, a few words in colour.
struct Terminal {
    pixels: Vec<u32>,
    /// Where the numbers are that it is drawn from.
    seed: u64,
}

impl Picture for Terminal {
    fn size(&self) -> (u16, u16) {
        (WIDTH, HEIGHT)
    }

    fn read(&self, x: u16, y: u16, row: &mut [u32]) {
        let start = usize::from(y) * usize::from(WIDTH) + usize::from(x);
        row.copy_from_slice(&self.pixels[start..start + row.len()]);
    }
}

impl Terminal {
    fn number(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed >> 20
    }

    /// Draws a line of words.
    fn draw_line(&mut self, top: usize) {
        let width = usize::from(WIDTH);
        self.pixels[top * width..(top + 16) * width].fill(0x0010_1018);
        let mut column = 0;
        let end = 20 + usize::try_from(self.number() % 130).unwrap();
        while column < end {
            let colour = if self.number().is_multiple_of(8) { 0x0060_c060 } else { 0x00c8_c8c8 };
            let length = 2 + usize::try_from(self.number() % 8).unwrap();
            for cell in column..(column + length).min(end) {
                // One of 26 glyphs, each a fixed pattern of strokes.
                let letter = self.number() % 26;
                for y in 2..13 {
                    let strokes = (letter.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (y / 2 * 7 % 40)) & 0x3f;
                    for x in 0..6 {
                        if strokes >> x & 1 != 0 {
                            self.pixels[(top + y) * width + cell * 8 + x] = colour;
                        }
                    }
                }
            }
            column += length + 1;
        }
    }

    fn draw_all(&mut self) {
        (0..usize::from(HEIGHT) / 16).for_each(|line| self.draw_line(line * 16));
    }
}

fn main() {
    if let Some(file) = std::env::args_os().nth(1) {
        return compare(&mut BufWriter::new(File::create(file).expect("the file can be made")));
    }
    for (name, list) in [
        ("Raw", &[0_i32][..]),
        ("Hextile", &[5]),
        ("Zlib", &[6]),
        ("Tight", &[7]),
        ("Tight, level 1", &[7, -255]),
        ("ZRLE", &[16]),
        ("ZRLE, level 1", &[16, -255]),
        ("ZRLE, level 6", &[16, -250]),
        ("ZRLE, CopyRect", &[16, 1]),
    ] {
        let (speed, bytes) = measure(list, true);
        let (speed_all, bytes_all) = measure(list, false);
        println!(
            "{name:15} scrolling {speed:6.0} MB/s {bytes:8} B/frame, new {speed_all:6.0} MB/s {bytes_all:8} B/frame"
        );
    }
}

/// Pictures of the sequence for others.
const SEQUENCE: usize = 24;

/// Every other picture has scrolled by a line, the others are new.
fn compare(file: &mut impl Write) {
    let pixels = vec![0; usize::from(WIDTH) * usize::from(HEIGHT)];
    let mut terminal = Terminal { pixels, seed: 0x1234_5678_9abc_def1 };
    let mut pictures = Vec::new();
    for frame in 0..SEQUENCE {
        if frame % 2 == 1 {
            terminal.pixels.copy_within(usize::from(WIDTH) * 16.., 0);
            terminal.draw_line(usize::from(HEIGHT) - 16);
        } else {
            terminal.draw_all();
        }
        terminal.pixels.iter().for_each(|pixel| file.write_all(&pixel.to_le_bytes()).expect("the disk has room"));
        pictures.push(terminal.pixels.clone());
    }
    for encoding in [5, 6, 7, 16] {
        let mut session = session(&[encoding]);
        let (mut time, mut bytes) = (Duration::ZERO, 0);
        for (frame, pixels) in pictures.iter().enumerate() {
            let picture = Terminal { pixels: pixels.clone(), seed: 0 };
            let start = Instant::now();
            session.damage(0, 0, WIDTH, HEIGHT);
            let sent = ask(&mut session, &picture);
            if frame > 0 {
                time += start.elapsed();
                bytes += sent;
            }
        }
        println!("{encoding} {bytes} {}", time.as_nanos());
    }
}

fn session(list: &[i32]) -> Session {
    let mut session = Session::new(&Config { name: "throughput".into(), password: None }, [0; 16]);
    let mut input = b"RFB 003.008\n\x01\x01\x02\x00".to_vec();
    input.extend(u16::try_from(list.len()).unwrap().to_be_bytes());
    list.iter().for_each(|number| input.extend(number.to_be_bytes()));
    session.receive(&input, &mut |_| {}).unwrap();
    session
}

/// Asks for the next picture, and gives the bytes of it.
fn ask(session: &mut Session, picture: &Terminal) -> usize {
    let request = [3, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    session.receive(&request, &mut |_| {}).unwrap();
    let mut out = Vec::with_capacity(1 << 20);
    session.produce(picture, 1 << 23, &mut out);
    out.len()
}

/// Sends frames to a viewer that asks for the next one at once.
fn measure(list: &[i32], scroll: bool) -> (f64, usize) {
    let pixels = vec![0; usize::from(WIDTH) * usize::from(HEIGHT)];
    let mut terminal = Terminal { pixels, seed: 0x1234_5678_9abc_def1 };
    terminal.draw_all();
    let mut session = session(list);
    let (mut time, mut bytes) = (Duration::ZERO, 0);
    for frame in 0..=FRAMES {
        if frame > 0 && scroll {
            terminal.pixels.copy_within(usize::from(WIDTH) * 16.., 0);
            terminal.draw_line(usize::from(HEIGHT) - 16);
            session.moved(rfb::Rect::new(0, 0, WIDTH, HEIGHT - 16), 0, -16);
            session.damage(0, HEIGHT - 16, WIDTH, 16);
        } else if frame > 0 {
            terminal.draw_all();
            session.damage(0, 0, WIDTH, HEIGHT);
        }
        let start = Instant::now();
        let sent = ask(&mut session, &terminal);
        // The first one has nothing to refer to.
        if frame > 0 {
            time += start.elapsed();
            bytes += sent;
        }
    }
    let megabytes = f64::from(WIDTH) * f64::from(HEIGHT) * 4.0 * f64::from(FRAMES) / 1e6;
    (megabytes / time.as_secs_f64(), bytes / usize::try_from(FRAMES).unwrap())
}
