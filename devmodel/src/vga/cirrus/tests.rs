//! Tests of the GD5446: its registers, its modes as its BIOS sets them, every kind of blit, and hostile ones.

use crate::access::{IoPort, Width};
use crate::vga::Vga;
use crate::vga::tests::{Canvas, Memory};
use std::vec;
use std::vec::Vec;

/// 640 × 480 as the BIOS sets it, in 16 bits.
const SEQUENCER_640: &[u16] = &[0x1206, 0x0300, 0x2101, 0x0f02, 0x0003, 0x0e04, 0x1707, 0x0412, 0x0013, 0x2017];
const CRTC_640: &[u16] = &[
    0x2c11, 0x5f00, 0x4f01, 0x4f02, 0x8003, 0x5204, 0x1e05, 0x0b06, 0x3e07, 0x4009, 0x000c, 0x000d, 0xea10, 0xdf12,
    0xa013, 0x4014, 0xdf15, 0x0b16, 0xc317, 0xff18, 0x001a, 0x221b, 0x001d,
];

struct Desk {
    vga: Vga,
    memory: Memory,
    canvas: Canvas,
}

impl Desk {
    fn new() -> Self {
        let mut desk = Self { vga: Vga::cirrus(8 << 20), memory: Memory::new(8 << 20), canvas: Canvas::default() };
        desk.out(0x3c2, 0x67);
        desk
    }

    /// In the mode above, with the colours of `hidden`.
    fn in_mode(hidden: u8, sequencer_7: u8) -> Self {
        let mut desk = Self::new();
        for value in SEQUENCER_640 {
            desk.out_word(0x3c4, *value);
        }
        desk.sequencer(7, sequencer_7);
        for value in CRTC_640 {
            desk.out_word(0x3d4, *value);
        }
        desk.out(0x3c6, 0);
        for _ in 0..4 {
            desk.input(0x3c6);
        }
        desk.out(0x3c6, hidden);
        desk.out(0x3c6, 0xff);
        desk.input(0x3da);
        desk.out(0x3c0, 0x20);
        desk
    }

    fn out(&mut self, port: u16, value: u8) {
        self.vga.port_write(&mut self.memory, IoPort(port), Width::Byte, value.into());
    }

    fn out_word(&mut self, port: u16, value: u16) {
        self.vga.port_write(&mut self.memory, IoPort(port), Width::Word, value.into());
    }

    fn input(&mut self, port: u16) -> u8 {
        u8::try_from(self.vga.port_read(IoPort(port), Width::Byte)).unwrap()
    }

    fn sequencer(&mut self, index: u8, value: u8) {
        self.out(0x3c4, index);
        self.out(0x3c5, value);
    }

    fn graphics(&mut self, index: u8, value: u8) {
        self.out(0x3ce, index);
        self.out(0x3cf, value);
    }

    fn read_graphics(&mut self, index: u8) -> u8 {
        self.out(0x3ce, index);
        self.input(0x3cf)
    }

    fn window(&mut self, offset: u32, data: &[u8]) {
        self.vga.legacy_write(&mut self.memory, offset, data);
    }

    /// Sets up a blit and starts it.
    fn blit(&mut self, blit: Blit) {
        let [width, height] = [blit.width - 1, blit.height - 1];
        for (low, value, bytes) in [
            (0x20, width, 2),
            (0x22, height, 2),
            (0x24, blit.destination_pitch, 2),
            (0x26, blit.source_pitch, 2),
            (0x28, blit.destination, 3),
            (0x2c, blit.source, 3),
        ] {
            for (index, byte) in (low..).zip(value.to_le_bytes()).take(bytes) {
                self.graphics(index, byte);
            }
        }
        for (index, value) in [(0x2f, blit.skip), (0x30, blit.mode), (0x32, blit.rop), (0x33, blit.extension)] {
            self.graphics(index, value);
        }
        self.graphics(0x31, 0);
        self.graphics(0x31, 2);
    }

    fn is_busy(&mut self) -> bool {
        self.read_graphics(0x31) & 1 != 0
    }

    fn refresh(&mut self) {
        self.canvas.changes.clear();
        self.vga.refresh(&mut self.memory, &mut self.canvas, false);
    }

    fn bytes(&self, at: usize, len: usize) -> &[u8] {
        &self.memory.bytes[at..at + len]
    }
}

#[derive(Clone, Copy)]
struct Blit {
    width: u32,
    height: u32,
    destination_pitch: u32,
    source_pitch: u32,
    destination: u32,
    source: u32,
    skip: u8,
    mode: u8,
    rop: u8,
    extension: u8,
}

const COPY: Blit = Blit {
    width: 8,
    height: 4,
    destination_pitch: 64,
    source_pitch: 32,
    destination: 0x1000,
    source: 0x2000,
    skip: 0,
    mode: 0,
    rop: 0x0d,
    extension: 0,
};

fn numbers(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + 1).to_le_bytes()[0]).collect()
}

#[test]
fn it_says_who_it_is() {
    let mut desk = Desk::new();
    desk.sequencer(6, 0x92);
    assert_eq!(desk.input(0x3c5), 0x12, "the extensions are open");
    desk.sequencer(6, 0);
    assert_eq!(desk.input(0x3c5), 0x0f);
    desk.out(0x3d4, 0x27);
    assert_eq!(desk.input(0x3d5), 0xb8, "a GD5446");
    desk.out(0x3c4, 0x0f);
    assert_eq!(desk.input(0x3c5) & 0x98, 0x98, "with 4 MiB");
    desk.out(0x3c4, 0x17);
    desk.out(0x3c5, 0xff);
    assert_eq!(desk.input(0x3c5), 0xe7, "the bus is what it is");
    desk.vga.reset();
    assert!(desk.vga.is_cirrus(), "and stays it");
}

#[test]
fn the_registers_of_a_vga_are_there_as_well() {
    let mut desk = Desk::new();
    desk.sequencer(2, 0xff);
    assert_eq!(desk.input(0x3c5), 0x0f);
    desk.graphics(4, 0xff);
    assert_eq!(desk.read_graphics(4), 3);
    desk.graphics(0, 0xa5);
    assert_eq!(desk.read_graphics(0), 0xa5, "the background has eight bits");
    desk.graphics(0x14, 0x77);
    assert_eq!((desk.read_graphics(0x14), desk.read_graphics(4)), (0x77, 3), "an extension is no other register");
    desk.input(0x3da);
    desk.out(0x3d4, 0x24);
    assert_eq!(desk.input(0x3d5), 0);
    desk.out(0x3c0, 0x13);
    assert_eq!(desk.input(0x3d5), 0x80, "data is next");
    desk.out(0x3d4, 0x26);
    assert_eq!(desk.input(0x3d5), 0x13);
}

#[test]
fn every_depth_is_shown() {
    for (hidden, mode, pixel, shown) in [
        (0xe1, 0x17, &[0x1f, 0xf8][..], 0x00ff_00ff),
        (0xf0, 0x17, &[0x1f, 0x7c], 0x00ff_00ff),
        (0xe5, 0x15, &[1, 2, 3], 0x0003_0201),
        (0xe5, 0x19, &[1, 2, 3, 9], 0x0003_0201),
    ] {
        let mut desk = Desk::in_mode(hidden, mode);
        // The line is as long as the pitch says, whatever the depth.
        desk.memory.poke(1280, pixel);
        desk.refresh();
        assert_eq!((desk.canvas.width, desk.canvas.height), (640, 480));
        assert_eq!(desk.canvas.pixel(0, 1), shown, "depth {mode:#x}");
    }
    let mut desk = Desk::in_mode(0, 0x11);
    desk.out(0x3c8, 5);
    [63, 0, 63].into_iter().for_each(|part| desk.out(0x3c9, part));
    desk.memory.poke(3, &[5]);
    desk.refresh();
    assert_eq!(desk.canvas.pixel(3, 0), 0x00ff_00ff);
}

#[test]
fn the_start_and_the_pitch_have_all_their_bits() {
    let mut desk = Desk::in_mode(0xe1, 0x17);
    // 0x2_0000 double words from the start, in lines of 256 × 8 bytes more.
    desk.out_word(0x3d4, 0x361b);
    desk.memory.poke(0x2_0000 * 4 + 1280 + 2048, &[0xff, 0xff]);
    desk.refresh();
    assert_eq!(desk.canvas.pixel(0, 1), 0x00ff_ffff);
    desk.out_word(0x3d4, 0x801d);
    desk.memory.poke(0x2_0000 * 4 + 0x8_0000 * 4, &[0xff, 0xff]);
    desk.refresh();
    assert_eq!(desk.canvas.pixel(0, 0), 0x00ff_ffff);
}

#[test]
fn the_hidden_register_comes_after_four_reads_and_only_then() {
    let mut desk = Desk::in_mode(0xe1, 0x17);
    desk.out(0x3c6, 0x55);
    for _ in 0..4 {
        assert_eq!(desk.input(0x3c6), 0x55);
    }
    assert_eq!(desk.input(0x3c6), 0xe1);
    assert_eq!(desk.input(0x3c6), 0x55, "and then it is the mask again");
    for _ in 0..3 {
        desk.input(0x3c6);
    }
    desk.input(0x3c8);
    assert_eq!(desk.input(0x3c6), 0x55, "an access in between begins anew");
}

#[test]
fn the_window_has_banks() {
    let mut desk = Desk::in_mode(0, 0x11);
    desk.graphics(9, 3);
    desk.window(0x10, &[1, 2]);
    assert_eq!(desk.bytes(0x3010, 2), [1, 2], "of 4 KiB");
    desk.graphics(0x0b, 0x20);
    desk.window(0x10, &[3]);
    assert_eq!(desk.bytes(0xc010, 1), [3], "of 16 KiB");
    desk.graphics(0x0b, 0x21);
    desk.graphics(0x0a, 1);
    desk.window(0x7fff, &[4, 5]);
    assert_eq!((desk.bytes(0xc000 + 0x7fff, 1), desk.bytes(0x4000, 1)), (&[4][..], &[5][..]), "two of them");
    let mut read = [0; 2];
    desk.vga.legacy_read(&desk.memory, 0x7fff, &mut read);
    assert_eq!(read, [4, 5]);
    desk.graphics(9, 0xff);
    desk.graphics(0x0b, 0x20);
    desk.window(0xffff, &[6, 7]);
    assert_eq!(desk.bytes(0xff << 14 | 0x3fff, 1), [0], "what is beyond 4 MiB is at their start again");
    assert_eq!(desk.bytes((0xff * 0x4000 + 0xffff) & 0x3f_ffff, 1), [6]);
    assert!(desk.memory.bytes[4 << 20..].iter().all(|byte| *byte == 0));
}

#[test]
fn bits_are_written_as_pixels() {
    let mut desk = Desk::in_mode(0, 0x11);
    desk.memory.bytes[..16].fill(9);
    desk.graphics(0, 2);
    desk.graphics(1, 1);
    desk.graphics(0x0b, 0x06);
    desk.graphics(5, 4);
    desk.window(0, &[0xa1]);
    assert_eq!(desk.bytes(0, 9), [1, 9, 1, 9, 9, 9, 9, 1, 9], "only those that are set");
    desk.graphics(5, 5);
    desk.window(1, &[0x0f]);
    assert_eq!(desk.bytes(8, 8), [2, 2, 2, 2, 1, 1, 1, 1], "and the others in the background");
}

#[test]
fn a_rectangle_is_copied_and_combined() {
    let mut desk = Desk::new();
    let source = numbers(256);
    desk.memory.bytes[0x2000..0x2100].copy_from_slice(&source);
    type Operation = fn(u8, u8) -> u8;
    let rops: [(u8, Operation); 16] = [
        (0x00, |_, _| 0),
        (0x05, |s, d| s & d),
        (0x06, |_, d| d),
        (0x09, |s, d| s & !d),
        (0x0b, |_, d| !d),
        (0x0d, |s, _| s),
        (0x0e, |_, _| 0xff),
        (0x50, |s, d| !s & d),
        (0x59, |s, d| s ^ d),
        (0x6d, |s, d| s | d),
        (0x90, |s, d| !(s & d)),
        (0x95, |s, d| !(s ^ d)),
        (0xad, |s, d| s | !d),
        (0xd0, |s, _| !s),
        (0xd6, |s, d| !s | d),
        (0xda, |s, d| !(s | d)),
    ];
    for (rop, expected) in rops {
        desk.memory.bytes[0x1000..0x1100].fill(0x3c);
        desk.blit(Blit { rop, ..COPY });
        assert!(!desk.is_busy(), "done at once");
        for row in 0..4 {
            for column in 0..64 {
                let old = 0x3c;
                let want = if column < 8 { expected(source[row * 32 + column], old) } else { old };
                assert_eq!(desk.bytes(0x1000 + row * 64 + column, 1), [want], "rop {rop:#x}, {column}, {row}");
            }
        }
    }
}

#[test]
fn overlapping_rectangles_go_backwards() {
    let mut desk = Desk::new();
    let source = numbers(256);
    desk.memory.bytes[0x2000..0x2100].copy_from_slice(&source);
    let last = 0x2000 + 3 * 32 + 7;
    desk.blit(Blit { destination_pitch: 32, destination: last + 33, source: last, mode: 0x01, ..COPY });
    for row in 0..4 {
        assert_eq!(desk.bytes(0x2000 + 33 + row * 32, 8), &source[row * 32..row * 32 + 8], "row {row}");
    }
}

#[test]
fn patterns_repeat() {
    let mut desk = Desk::new();
    let pattern = numbers(64);
    desk.memory.bytes[0x2000..0x2040].copy_from_slice(&pattern);
    desk.blit(Blit { width: 20, height: 10, source: 0x2003, mode: 0x40, ..COPY });
    for row in 0..10 {
        for column in 0..20 {
            let want = pattern[(row + 3) % 8 * 8 + column % 8];
            assert_eq!(desk.bytes(0x1000 + row * 64 + column, 1), [want], "from the row that the source says");
        }
    }
}

#[test]
fn bits_become_colours() {
    let mut desk = Desk::new();
    for (index, value) in [(0, 0x11), (0x10, 0x22), (1, 0x33), (0x11, 0x44)] {
        desk.graphics(index, value);
    }
    desk.memory.bytes[0x2000..0x2004].copy_from_slice(&[0xa0, 0, 0xff, 0]);
    let expand = Blit { width: 8, height: 1, ..COPY };
    desk.blit(Blit { mode: 0x90, ..expand });
    assert_eq!(desk.bytes(0x1000, 8), [0x33, 0x44, 0x11, 0x22, 0x33, 0x44, 0x11, 0x22]);
    desk.memory.bytes[0x1000..0x1008].fill(7);
    desk.blit(Blit { mode: 0x98, ..expand });
    assert_eq!(desk.bytes(0x1000, 8), [0x33, 0x44, 7, 7, 0x33, 0x44, 7, 7], "the others are left");
    desk.memory.bytes[0x1000..0x1008].fill(7);
    desk.blit(Blit { mode: 0x98, extension: 2, ..expand });
    assert_eq!(desk.bytes(0x1000, 8), [7, 7, 0x11, 0x22, 7, 7, 0x11, 0x22], "or the other way round");
    desk.memory.bytes[0x1000..0x1008].fill(7);
    desk.blit(Blit { mode: 0x88, skip: 2, ..expand });
    assert_eq!(desk.bytes(0x1000, 8), [7, 7, 0x33, 7, 7, 7, 7, 7], "without the first two");
    desk.blit(Blit { mode: 0xc0, extension: 4, width: 6, ..expand });
    assert_eq!(desk.bytes(0x1000, 6), [0x33; 6], "a solid colour");
    desk.memory.bytes[0x2000..0x2008].copy_from_slice(&[0x80, 0x40, 0x20, 0x10, 8, 4, 2, 1]);
    desk.blit(Blit { mode: 0xc0, width: 16, height: 8, ..expand });
    for row in 0..8 {
        let line = desk.bytes(0x1000 + row * 64, 16);
        assert!((0..16).all(|column| line[column] == if column % 8 == row { 0x33 } else { 0x11 }));
    }
}

#[test]
fn a_colour_can_be_transparent() {
    let mut desk = Desk::new();
    desk.memory.bytes[0x2000..0x2008].copy_from_slice(&[1, 2, 3, 4, 1, 2, 5, 6]);
    desk.graphics(0x34, 1);
    desk.graphics(0x35, 2);
    desk.blit(Blit { mode: 0x08, height: 1, ..COPY });
    assert_eq!(desk.bytes(0x1000, 8), [0, 2, 3, 4, 0, 2, 5, 6]);
    desk.memory.bytes[0x1000..0x1008].fill(0);
    desk.blit(Blit { mode: 0x18, height: 1, ..COPY });
    assert_eq!(desk.bytes(0x1000, 8), [0, 0, 3, 4, 0, 0, 5, 6]);
}

#[test]
fn the_cpu_gives_bytes_in_any_pieces() {
    let source = numbers(4 * 12);
    for piece in [1, 3, 4, 48] {
        for in_window in [true, false] {
            let mut desk = Desk::in_mode(0, 0x11);
            desk.blit(Blit { width: 10, mode: 0x04, ..COPY });
            assert!(desk.is_busy(), "it waits");
            for bytes in source.chunks(piece) {
                if in_window {
                    desk.window(0x1234, bytes);
                } else {
                    desk.vga.blit_write(&mut desk.memory, bytes);
                }
            }
            assert!(!desk.is_busy());
            for row in 0..4 {
                assert_eq!(desk.bytes(0x1000 + row * 64, 12), [&source[row * 12..row * 12 + 10], &[0, 0]].concat());
            }
            desk.window(0x10, &[0xee]);
            assert_eq!(desk.bytes(0x10, 1), [0xee], "and then it is memory again");
        }
    }
}

#[test]
fn the_cpu_gives_bits_and_patterns() {
    let mut desk = Desk::in_mode(0, 0x11);
    desk.graphics(1, 5);
    desk.blit(Blit { width: 9, height: 2, mode: 0x84, ..COPY });
    desk.window(0, &[0x81, 0x80, 0x01, 0x00]);
    assert_eq!(desk.bytes(0x1000, 10), [5, 0, 0, 0, 0, 0, 0, 5, 5, 0]);
    assert_eq!(desk.bytes(0x1040, 10), [0, 0, 0, 0, 0, 0, 0, 5, 0, 0]);
    desk.blit(Blit { width: 9, height: 2, mode: 0x84, extension: 1, ..COPY });
    desk.window(0, &[0xff, 0, 0, 0, 0, 0x80, 0, 0]);
    assert_eq!(desk.bytes(0x1000, 10), [5, 5, 5, 5, 5, 5, 5, 5, 0, 0]);
    assert_eq!(desk.bytes(0x1040, 10), [0, 0, 0, 0, 0, 0, 0, 0, 5, 0], "rows of double words");
    let pattern = numbers(64);
    desk.blit(Blit { mode: 0x44, height: 8, source: 0, ..COPY });
    desk.window(0, &pattern);
    assert!((0..8).all(|row| desk.bytes(0x1000 + row * 64, 8) == &pattern[row * 8..row * 8 + 8]));
}

#[test]
fn the_registers_of_the_blitter_are_in_memory_too() {
    let mut desk = Desk::in_mode(0, 0x11);
    desk.memory.bytes[0x2000..0x2008].copy_from_slice(&numbers(8));
    let write = |desk: &mut Desk, at, data: &[u8]| desk.vga.mmio_write(&mut desk.memory, at, data);
    write(&mut desk, 0x108, &[7, 0, 0, 0]);
    write(&mut desk, 0x114, &[0x00, 0x20, 0]);
    write(&mut desk, 0x118, &[0]);
    write(&mut desk, 0x11a, &[0x0d]);
    write(&mut desk, 0x140, &[0x80]);
    write(&mut desk, 0x110, &[0x00, 0x10, 0]);
    assert_eq!(desk.bytes(0x1000, 8), numbers(8), "writing the destination has started it");
    let mut status = [0xff];
    desk.vga.mmio_read(0x140, &mut status);
    assert_eq!(status, [0x80]);
    desk.vga.mmio_read(0x0c, &mut status);
    assert_eq!(status, [desk.input(0x3cc)], "ports of the VGA are in front of them");
    // The same in the window.
    desk.sequencer(0x17, 0x04);
    desk.memory.bytes[0x1000..0x1008].fill(0);
    desk.window(0x1_8012, &[0]);
    assert_eq!(desk.bytes(0x1000, 8), numbers(8));
}

#[test]
fn the_pointer_is_drawn_over_the_picture_and_only_its_lines_are() {
    let mut desk = Desk::in_mode(0xe1, 0x17);
    let pattern = (4 << 20) - (16 << 10) + 0x100;
    // The first row: let through, inverted, first colour, second colour.
    desk.memory.bytes[pattern] = 0b0101_0000;
    desk.memory.bytes[pattern + 128] = 0b0011_0000;
    desk.sequencer(0x13, 1);
    desk.sequencer(0x12, 0x03);
    for (index, color) in [(0, [63, 0, 0]), (15, [0, 0, 63])] {
        desk.out(0x3c8, index);
        color.into_iter().for_each(|part: u8| desk.out(0x3c9, part));
    }
    desk.sequencer(0x12, 0x01);
    desk.sequencer(0x10 | 2 << 5, 10);
    desk.sequencer(0x11, 20);
    desk.refresh();
    let row = &desk.canvas.row(160)[81..87];
    assert_eq!(row, [0, 0, 0x00ff_ffff, 0x00ff_0000, 0x0000_00ff, 0]);
    desk.refresh();
    assert_eq!(desk.canvas.changes, [], "nothing has changed");
    desk.sequencer(0x11, 40);
    desk.refresh();
    assert_eq!(desk.canvas.changes, [(0, 160, 640, 32), (0, 320, 640, 32)]);
    assert_eq!(desk.canvas.row(160)[83], 0, "it is not there any more");
    desk.memory.poke(pattern, &[0]);
    desk.refresh();
    assert_eq!(desk.canvas.changes, [(0, 320, 640, 32)], "its look has changed");
    desk.sequencer(0x12, 0x05);
    desk.sequencer(0x10 | 7 << 5, 0xff);
    desk.sequencer(0x11 | 7 << 5, 0xff);
    desk.refresh();
    assert_eq!(desk.canvas.row(320)[82..86], [0; 4], "far outside of the picture, it is not seen");
}

#[test]
fn what_was_blitted_is_drawn() {
    let mut desk = Desk::in_mode(0xe1, 0x17);
    desk.refresh();
    desk.graphics(1, 0xff);
    desk.graphics(0x11, 0xff);
    let fill = Blit { width: 20, height: 2, destination_pitch: 1280, destination: 1280 * 100, mode: 0xd0, ..COPY };
    desk.blit(Blit { extension: 4, ..fill });
    desk.refresh();
    assert_eq!(desk.canvas.pixel(9, 101), 0x00ff_ffff);
    assert_eq!(desk.canvas.pixel(10, 101), 0);
    let lines: u32 = desk.canvas.changes.iter().map(|(_, _, _, height)| *height).sum();
    assert!(lines < 12, "{lines} lines for two pages");
}

/// CVE-2007-1320, CVE-2008-4539, CVE-2014-8106, CVE-2017-2615, CVE-2017-2620, CVE-2017-7980: blits that begin, end or run
/// outside of video memory, with pitches of nothing and of more than there is, in both directions.
#[test]
fn a_blit_outside_of_video_memory_does_nothing() {
    let end = 4 << 20;
    let hostile = [
        Blit { destination: end - 8, height: 2, ..COPY },
        Blit { source: end - 4, ..COPY },
        Blit { destination: 0x3f_ffff, width: 0x2000, height: 0x2000, ..COPY },
        Blit { destination: 6, source: 6, mode: 0x01, ..COPY },
        Blit { destination: 100, source: 0x2000, mode: 0x01, destination_pitch: 0x1fff, ..COPY },
        Blit { destination: 0x2000, source: 100, mode: 0x01, source_pitch: 0x1fff, ..COPY },
        Blit { destination: end - 8, height: 2, mode: 0x40, ..COPY },
        Blit { destination: end - 8, height: 2, mode: 0xc0, extension: 4, ..COPY },
        Blit { destination: end - 8, height: 2, mode: 0x04, ..COPY },
        Blit { source: end - 2, height: 8, mode: 0x80, ..COPY },
        Blit { width: 0x2000, height: 0x2000, destination_pitch: 0, source_pitch: 0, ..COPY },
        Blit { mode: 0x02, ..COPY },
        Blit { mode: 0x05, ..COPY },
        Blit { mode: 0x38, ..COPY },
    ];
    for (number, blit) in hostile.into_iter().enumerate() {
        let mut desk = Desk::in_mode(0, 0x11);
        desk.memory.bytes.fill(0x5a);
        desk.graphics(1, 1);
        desk.blit(Blit { rop: 0x0e, ..blit });
        assert!(!desk.is_busy(), "blit {number} has ended");
        assert!(desk.memory.bytes.iter().all(|byte| *byte == 0x5a), "blit {number}");
        desk.blit(Blit { rop: 0x0e, ..COPY });
        assert_eq!(desk.bytes(0x1000, 8), [0xff; 8], "and the next one works");
    }
}

#[test]
fn a_blit_that_waits_is_ended_by_a_reset() {
    let mut desk = Desk::in_mode(0, 0x11);
    desk.blit(Blit { mode: 0x04, ..COPY });
    desk.window(0, &[1; 7]);
    desk.graphics(0x31, 0x04);
    desk.graphics(0x31, 0x00);
    assert!(!desk.is_busy());
    desk.window(0, &[9]);
    assert_eq!(desk.bytes(0, 1), [9]);
    desk.blit(Blit { mode: 0x04, ..COPY });
    desk.vga.reset();
    assert!(!desk.is_busy());
}

#[test]
fn every_register_takes_every_value() {
    let mut desk = Desk::in_mode(0, 0x11);
    let mut seed = 1_u32;
    let mut random = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed >> 8
    };
    for round in 0..30_000 {
        let value = random().to_le_bytes();
        match value[0] % 8 {
            0 => desk.sequencer(value[1] | 1, value[2]),
            1 | 2 => desk.graphics(value[1] & 0x3f, value[2]),
            3 => desk.out_word(0x3d4, u16::from_le_bytes([value[1] & 0x3f, value[2]])),
            4 => desk.window(random() & 0x1_ffff, &value),
            5 => desk.vga.mmio_write(&mut desk.memory, random() & 0xfff, &value),
            6 => desk.vga.blit_write(&mut desk.memory, &value),
            _ => {
                desk.input(0x3c0 | u16::from(value[1] & 0x1f));
                let mut data = vec![0; usize::from(value[2])];
                desk.vga.legacy_read(&desk.memory, random() & 0x1_ffff, &mut data);
            }
        }
        if round % 500 == 0 {
            desk.refresh();
        }
    }
    assert!(desk.memory.bytes[4 << 20..].iter().all(|byte| *byte == 0), "nothing beyond 4 MiB is reached");
}
