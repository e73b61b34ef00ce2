//! Pictures.

use crate::Picture;
use alloc::vec;
use alloc::vec::Vec;

/// A picture of its own.
#[derive(Clone)]
pub(super) struct Screen {
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) pixels: Vec<u32>,
}

impl Picture for Screen {
    fn size(&self) -> (u16, u16) {
        (self.width, self.height)
    }

    fn read(&self, x: u16, y: u16, row: &mut [u32]) {
        let start = usize::from(y) * usize::from(self.width) + usize::from(x);
        assert!(usize::from(x) + row.len() <= self.width.into() && y < self.height);
        row.copy_from_slice(&self.pixels[start..start + row.len()]);
    }
}

/// Numbers that look random (xorshift).
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as u32
    }

    pub(super) fn below(&mut self, limit: u16) -> u16 {
        (self.next() % u32::from(limit)) as u16
    }
}

impl Screen {
    pub(super) fn new(width: u16, height: u16, colour: u32) -> Self {
        Self { width, height, pixels: vec![colour; usize::from(width) * usize::from(height)] }
    }

    pub(super) fn set(&mut self, x: u16, y: u16, colour: u32) {
        let at = usize::from(y) * usize::from(self.width) + usize::from(x);
        self.pixels[at] = colour;
    }

    /// Draws into a rectangle: what it looks like is up to `kind`.
    pub(super) fn draw(&mut self, kind: u16, rect: [u16; 4], numbers: &mut Numbers) {
        let [x, y, width, height] = rect;
        let colours: Vec<u32> = (0..200).map(|_| numbers.next() & 0xff_ffff).collect();
        for row in y..(y + height).min(self.height) {
            for column in x..(x + width).min(self.width) {
                let colour = match kind % 7 {
                    // One colour.
                    0 => colours[0],
                    // Like text.
                    1 => colours[usize::from(numbers.next().is_multiple_of(5))],
                    // A few colours, in runs.
                    2 => colours[usize::from(column / 7 + row) % 4],
                    3 => colours[usize::from(column / 3 + row) % 13],
                    // Many colours, in long runs.
                    4 => colours[usize::from(column / 40 + row) % 190],
                    // Noise.
                    5 => numbers.next() & 0xff_ffff,
                    // A smooth picture.
                    _ => u32::from(column & 255) << 16 | u32::from(row & 255) << 8 | u32::from((column + row) & 255),
                };
                self.set(column, row, colour);
            }
        }
    }
}
