//! Reads and writes of the window at 0xa0000.
//!
//! An address becomes a planar address and a lane, which says which planes it is about; then the read or the write
//! mode works on the four planes at once. One call does any number of ascending bytes: video memory is fetched and
//! stored in pieces, not byte by byte.
//!
//! Source: IBM VGA Technical Reference Manual, "Graphics controller" (write modes 0 to 3, read modes 0 and 1) and
//! "Memory mode register" of the sequencer.

use super::Written;
use super::regs::{Registers, graphics, sequencer};
use crate::host::VideoMemory;

/// Bytes handled at once, and planar addresses that they touch at most.
const PIECE: usize = 256;
/// Bytes of one element, by far the most frequent access and the one that wants to be quick.
const ELEMENT: usize = 8;

/// How the addresses of the window map to planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mapping {
    /// Every address is one in each plane.
    Planar,
    /// Two addresses are one in each plane: even and odd planes.
    OddEven,
    /// Four addresses are one in each plane.
    Chain4,
}

impl Mapping {
    /// How many low bits of an address choose planes.
    const fn lane_bits(self) -> u32 {
        match self {
            Self::Planar => 0,
            Self::OddEven => 1,
            Self::Chain4 => 2,
        }
    }

    /// The planes that an address is about.
    const fn planes(self, lane: u32) -> u8 {
        match self {
            Self::Planar => 0x0f,
            Self::OddEven => 0x05 << (lane & 1),
            Self::Chain4 => 1 << (lane & 3),
        }
    }
}

impl Registers {
    /// Reads `data` from the window, from `offset` on.
    pub(super) fn window_read(&mut self, host: &impl VideoMemory, offset: u32, data: &mut [u8]) {
        let (first, last) = self.window();
        let (before, inside, after) = split(offset, data.len(), first, last);
        let (outside, rest) = data.split_at_mut(before);
        outside.fill(0xff);
        let (inside, outside) = rest.split_at_mut(inside);
        outside.fill(0xff);
        debug_assert_eq!(outside.len(), after);
        let mut at = self.address(offset, first);
        if self.dispi.linear() {
            return host.video_read(at, inside);
        }
        let comparing = self.graphics.get(graphics::MODE) & graphics::READ_COMPARE != 0;
        let mapping = self.mapping(self.graphics.get(graphics::MODE) & graphics::ODD_EVEN != 0);
        if inside.len() <= ELEMENT {
            return self.read_piece(host, mapping, comparing, at, inside, &mut [[0; 4]; ELEMENT]);
        }
        let mut planes = [[0; 4]; PIECE];
        for piece in inside.chunks_mut(PIECE) {
            self.read_piece(host, mapping, comparing, at, piece, &mut planes);
            at = at.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        }
    }

    /// Writes `data` to the window, from `offset` on.
    pub(super) fn window_write(
        &mut self,
        host: &mut impl VideoMemory,
        written: &mut Written,
        offset: u32,
        data: &[u8],
    ) {
        let (first, last) = self.window();
        let (before, inside, _) = split(offset, data.len(), first, last);
        let (_, rest) = data.split_at(before);
        let (inside, _) = rest.split_at(inside);
        let mut at = self.address(offset, first);
        if self.dispi.linear() {
            host.video_write(at, inside);
            return written.mark(at, inside.len(), true);
        }
        let write = PlaneWrite::new(self);
        let mapping = self.mapping(self.sequencer.get(sequencer::MEMORY_MODE) & sequencer::SEQUENTIAL == 0);
        if mapping == Mapping::Chain4 && write.transparent() {
            host.video_write(at, inside);
            return written.mark(at, inside.len(), true);
        }
        if inside.len() <= ELEMENT {
            return write_piece(host, written, &write, mapping, at, inside, &mut [[0; 4]; ELEMENT]);
        }
        let mut planes = [[0; 4]; PIECE];
        for piece in inside.chunks(PIECE) {
            write_piece(host, written, &write, mapping, at, piece, &mut planes);
            at = at.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        }
    }

    /// First and last byte of the window that the card answers for, from 0xa0000 on.
    fn window(&self) -> (u32, u32) {
        if self.dispi.enabled() {
            return (0, 0xffff);
        }
        match self.graphics.get(graphics::MISCELLANEOUS) >> 2 & 3 {
            0 => (0, 0x1_ffff),
            1 => (0, 0xffff),
            2 => (0x1_0000, 0x1_7fff),
            _ => (0x1_8000, 0x1_ffff),
        }
    }

    /// The address within the card of the first byte of an access that lies in the window.
    fn address(&self, offset: u32, first: u32) -> u32 {
        offset.saturating_sub(first).saturating_add(self.dispi.bank_offset())
    }

    fn mapping(&self, odd_even: bool) -> Mapping {
        if self.sequencer.get(sequencer::MEMORY_MODE) & sequencer::CHAIN_4 != 0 {
            Mapping::Chain4
        } else if odd_even {
            Mapping::OddEven
        } else {
            Mapping::Planar
        }
    }

    /// Reads `data` from `at` on; `planes` has room for every planar address that is touched.
    fn read_piece(
        &mut self,
        host: &impl VideoMemory,
        mapping: Mapping,
        comparing: bool,
        at: u32,
        data: &mut [u8],
        planes: &mut [[u8; 4]],
    ) {
        let first = at >> mapping.lane_bits();
        let planes = touched(mapping, at, data.len(), planes);
        host.video_read(first.saturating_mul(4), planes.as_flattened_mut());
        let map = self.graphics.get(graphics::READ_MAP) & 3;
        let compare = self.graphics.get(graphics::COLOR_COMPARE);
        let care = self.graphics.get(graphics::COLOR_CARE);
        let lane_mask = (1_u32 << mapping.lane_bits()).wrapping_sub(1);
        for (byte, at) in data.iter_mut().zip(at..) {
            let index = (at >> mapping.lane_bits()).saturating_sub(first);
            let Some(found) = planes.get(index as usize) else { break };
            self.latch = *found;
            *byte = if comparing {
                matching(*found, compare, care)
            } else {
                let lane = at & lane_mask;
                let plane = match mapping {
                    Mapping::Planar => map.into(),
                    Mapping::OddEven => u32::from(map & 2) | lane,
                    Mapping::Chain4 => lane,
                };
                found.get(plane as usize).copied().unwrap_or(0xff)
            };
        }
    }
}

/// Writes `data` from `at` on; `planes` has room for every planar address that is touched.
fn write_piece(
    host: &mut impl VideoMemory,
    written: &mut Written,
    write: &PlaneWrite,
    mapping: Mapping,
    at: u32,
    data: &[u8],
    planes: &mut [[u8; 4]],
) {
    let first = at >> mapping.lane_bits();
    let planes = touched(mapping, at, data.len(), planes);
    let offset = first.saturating_mul(4);
    if mapping != Mapping::Planar || write.map_mask != 0x0f {
        host.video_read(offset, planes.as_flattened_mut());
    }
    let lane_mask = (1_u32 << mapping.lane_bits()).wrapping_sub(1);
    let mut reached = 0;
    for (value, at) in data.iter().zip(at..) {
        let index = (at >> mapping.lane_bits()).saturating_sub(first);
        let Some(old) = planes.get_mut(index as usize) else { break };
        let mask = write.map_mask & mapping.planes(at & lane_mask);
        reached |= mask;
        let mask = each_plane(mask);
        let new = write.result(*value) & mask | u32::from_le_bytes(*old) & !mask;
        *old = new.to_le_bytes();
    }
    if reached != 0 {
        let bytes = planes.as_flattened();
        host.video_write(offset, bytes);
        written.mark(offset, bytes.len(), reached & 0x04 != 0);
    }
}

/// What a write does to the four planes: the graphics controller's registers, four planes to a word.
struct PlaneWrite {
    mode: u8,
    rotate: u32,
    function: u8,
    set_reset: u32,
    enable_set_reset: u32,
    bit_mask: u8,
    map_mask: u8,
    latch: u32,
}

impl PlaneWrite {
    fn new(registers: &Registers) -> Self {
        let file = &registers.graphics;
        let rotate = file.get(graphics::DATA_ROTATE);
        Self {
            mode: file.get(graphics::MODE) & 3,
            rotate: (rotate & 7).into(),
            function: rotate >> 3 & 3,
            set_reset: each_plane(file.get(graphics::SET_RESET)),
            enable_set_reset: each_plane(file.get(graphics::ENABLE_SET_RESET)),
            bit_mask: file.get(graphics::BIT_MASK),
            map_mask: registers.sequencer.get(sequencer::MAP_MASK),
            latch: u32::from_le_bytes(registers.latch),
        }
    }

    /// Whether a write stores just what is written, in every plane.
    const fn transparent(&self) -> bool {
        self.mode == 0
            && self.rotate == 0
            && self.function == 0
            && self.enable_set_reset == 0
            && self.bit_mask == 0xff
            && self.map_mask == 0x0f
    }

    /// What the four planes hold after a write of `value`, if the map mask lets them.
    fn result(&self, value: u8) -> u32 {
        let rotated = value.rotate_right(self.rotate);
        let (data, bit_mask) = match self.mode {
            0 => {
                let data = each_bit(rotated) & !self.enable_set_reset | self.set_reset & self.enable_set_reset;
                (data, self.bit_mask)
            }
            1 => return self.latch,
            2 => (each_plane(value), self.bit_mask),
            _ => (self.set_reset, self.bit_mask & rotated),
        };
        let data = match self.function {
            0 => data,
            1 => data & self.latch,
            2 => data | self.latch,
            _ => data ^ self.latch,
        };
        let bit_mask = each_bit(bit_mask);
        data & bit_mask | self.latch & !bit_mask
    }
}

/// The four planes, each with all bits of one bit of `planes`.
fn each_plane(planes: u8) -> u32 {
    let byte = |plane: u32| if planes >> plane & 1 != 0 { 0xff } else { 0 };
    u32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)])
}

/// The four planes, each with the same byte.
fn each_bit(value: u8) -> u32 {
    u32::from_le_bytes([value; 4])
}

/// Read mode 1: a bit for each pixel whose colour is `compare` in the planes of `care`.
fn matching(planes: [u8; 4], compare: u8, care: u8) -> u8 {
    let difference = (u32::from_le_bytes(planes) ^ each_plane(compare)) & each_plane(care);
    let [a, b, c, d] = difference.to_le_bytes();
    !(a | b | c | d)
}

/// The part of `planes` that `len` addresses from `at` on touch.
fn touched(mapping: Mapping, at: u32, len: usize, planes: &mut [[u8; 4]]) -> &mut [[u8; 4]] {
    let bits = mapping.lane_bits();
    let last = at.saturating_add(u32::try_from(len.saturating_sub(1)).unwrap_or(u32::MAX));
    let count = (last >> bits).saturating_sub(at >> bits).saturating_add(1) as usize;
    let count = count.min(planes.len());
    planes.split_at_mut(count).0
}

/// How many of `len` bytes from `offset` on lie before, in and after a range.
fn split(offset: u32, len: usize, first: u32, last: u32) -> (usize, usize, usize) {
    let before = (first.saturating_sub(offset) as usize).min(len);
    let end = last.saturating_add(1).saturating_sub(offset) as usize;
    let inside = end.min(len).saturating_sub(before);
    (before, inside, len.saturating_sub(before).saturating_sub(inside))
}
