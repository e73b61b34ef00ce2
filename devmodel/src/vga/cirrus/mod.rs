//! Cirrus Logic GD5446: what it has beyond a VGA.
//!
//! Further registers of the sequencer, the graphics controller and the CRTC, a hidden register behind the PEL mask, modes
//! of 8 to 32 bits a pixel, banks of the window, a pointer, and [a blitter](blitter). Video memory is always 4 MiB of what
//! there is.
//!
//! Source: Cirrus Logic CL-GD5446 Technical Reference Manual, chapters 9 (extension registers) and 8 (BitBLT engine); for
//! what firmware expects, QEMU's hw/display/cirrus_vga.c.
//! Not modelled: the lock of the extension registers (they are always open), clocks, DDC, the video window, the VGA's own
//! modes with a pointer, the screen-off bit in the extended modes (the BIOS sets it, as on QEMU), and everything that is not
//! a plain access in the linear aperture, which is mapped into the guest.

use crate::state::{Adopt, StateError};
use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

mod blitter;
#[cfg(test)]
mod tests;

use super::Written;
use super::dispi::{Depth, Geometry};
use super::modes::Pointer;
use super::regs::{Indexed, crtc};
use crate::host::VideoMemory;
use blitter::Blitter;

/// Bytes of video memory.
pub(super) const MEMORY: u32 = 4 << 20;
const ADDRESS_MASK: u32 = MEMORY - 1;

/// Sequencer extension registers.
mod sequencer {
    pub(super) const FIRST: u8 = 0x05;
    pub(super) const UNLOCK: usize = 0x06;
    pub(super) const MODE: usize = 0x07;
    pub(super) const DRAM: usize = 0x0f;
    pub(super) const CURSOR_X: usize = 0x10;
    pub(super) const CURSOR_Y: usize = 0x11;
    pub(super) const CURSOR_ATTRIBUTES: usize = 0x12;
    pub(super) const CURSOR_PATTERN: usize = 0x13;
    pub(super) const MEMORY_SIZE: usize = 0x15;
    pub(super) const CONFIGURATION: usize = 0x17;
    pub(super) const MCLK: usize = 0x1f;

    /// Mode: pixels in a row, not planes.
    pub(super) const EXTENDED: u8 = 0x01;
    /// Cursor attributes: it is shown.
    pub(super) const CURSOR_SHOWN: u8 = 0x01;
    /// Cursor attributes: ports 0x3c8 and 0x3c9 reach its colours.
    pub(super) const CURSOR_COLORS: u8 = 0x02;
    /// Cursor attributes: 64 × 64 pixels, not 32 × 32.
    pub(super) const CURSOR_LARGE: u8 = 0x04;
}

/// Graphics controller extension registers.
mod graphics {
    pub(super) const BACKGROUND: usize = 0x00;
    pub(super) const FOREGROUND: usize = 0x01;
    pub(super) const MODE: usize = 0x05;
    pub(super) const FIRST: u8 = 0x09;
    pub(super) const OFFSET_0: usize = 0x09;
    pub(super) const OFFSET_1: usize = 0x0a;
    pub(super) const MODE_EXTENSIONS: usize = 0x0b;
    pub(super) const BLIT_DESTINATION_HIGH: usize = 0x2a;
    pub(super) const BLIT_STATUS: usize = 0x31;

    /// Mode extensions: the window has two banks.
    pub(super) const TWO_BANKS: u8 = 0x01;
    /// Mode extensions: an address of the window is eight bytes of memory.
    pub(super) const BY_8: u8 = 0x02;
    /// Mode extensions: write modes 4 and 5.
    pub(super) const EXTENDED_WRITES: u8 = 0x04;
    /// Mode extensions: with the one before, an address is 16 bytes.
    pub(super) const BY_16: u8 = 0x10;
    /// Mode extensions: offsets count 16 KiB, not 4.
    pub(super) const OFFSETS_16K: u8 = 0x20;
}

/// CRTC extension registers.
mod crtc_extension {
    pub(super) const FIRST: u8 = 0x19;
    pub(super) const LAST_WRITABLE: u8 = 0x21;
    pub(super) const INTERLACE: usize = 0x1a;
    pub(super) const EXTENDED_DISPLAY: usize = 0x1b;
    pub(super) const OVERLAY: usize = 0x1d;
    /// The chip's name, CL-GD5446.
    pub(super) const ID: (u8, u8) = (0x27, 0xb8);
    pub(super) const PART_STATUS: u8 = 0x25;
}

/// Where the memory-mapped registers of the blitter are in BAR1; before them are the VGA's ports.
const BLITTER_REGISTERS: u32 = 0x100;
/// Where they are in the window, where it has them.
const WINDOW_REGISTERS: core::ops::Range<u32> = 0x1_8000..0x1_8100;

/// The register of the graphics controller behind a memory-mapped one of the blitter.
const fn mapped(at: u32) -> Option<u8> {
    Some(match at {
        // Background and foreground, byte by byte.
        0x00 => 0x00,
        0x01 => 0x10,
        0x02 => 0x12,
        0x03 => 0x14,
        0x04 => 0x01,
        0x05 => 0x11,
        0x06 => 0x13,
        0x07 => 0x15,
        // Width, height, pitches.
        0x08 => 0x20,
        0x09 => 0x21,
        0x0a => 0x22,
        0x0b => 0x23,
        0x0c => 0x24,
        0x0d => 0x25,
        0x0e => 0x26,
        0x0f => 0x27,
        // Destination, source.
        0x10 => 0x28,
        0x11 => 0x29,
        0x12 => 0x2a,
        0x14 => 0x2c,
        0x15 => 0x2d,
        0x16 => 0x2e,
        0x17 => 0x2f,
        // Mode, operation, extensions.
        0x18 => 0x30,
        0x1a => 0x32,
        0x1b => 0x33,
        // The transparent colour, and its mask.
        0x1c => 0x34,
        0x1d => 0x35,
        0x20 => 0x38,
        0x21 => 0x39,
        0x40 => 0x31,
        _ => return None,
    })
}

/// The extensions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Cirrus {
    sequencer_index: u8,
    sequencer: [u8; 0x20],
    graphics_index: u8,
    #[serde(with = "BigArray")]
    graphics: [u8; 0x40],
    #[serde(with = "BigArray")]
    crtc: [u8; 0x22],
    hidden_dac: u8,
    /// Reads of the PEL mask in a row; after four, the hidden register is in its place.
    mask_reads: u8,
    cursor: (u16, u16),
    blitter: Blitter,
}

impl Adopt for Cirrus {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        self.blitter.adopt(saved.blitter)?;
        *self = Self { blitter: self.blitter.clone(), ..saved };
        Ok(())
    }
}

impl Cirrus {
    pub(super) fn new() -> Self {
        let mut sequencer = [0; 0x20];
        for (at, value) in [
            (sequencer::UNLOCK, 0x0f),
            // 4 MiB in two banks of 64 bits.
            (sequencer::DRAM, 0x98),
            (sequencer::MEMORY_SIZE, 0x04),
            // PCI.
            (sequencer::CONFIGURATION, 0x20),
            (sequencer::MCLK, 0x22),
        ] {
            if let Some(register) = sequencer.get_mut(at) {
                *register = value;
            }
        }
        Self {
            sequencer_index: 0,
            sequencer,
            graphics_index: 0,
            graphics: [0; 0x40],
            crtc: [0; 0x22],
            hidden_dac: 0,
            mask_reads: 0,
            cursor: (0, 0),
            blitter: Blitter::new(),
        }
    }

    fn sr(&self, index: usize) -> u8 {
        self.sequencer.get(index).copied().unwrap_or(0)
    }

    fn gr(&self, index: usize) -> u8 {
        self.graphics.get(index).copied().unwrap_or(0)
    }

    fn cr(&self, index: usize) -> u8 {
        self.crtc.get(index).copied().unwrap_or(0)
    }

    /// Port 0x3c4 is written.
    pub(super) const fn select_sequencer(&mut self, index: u8) {
        self.sequencer_index = index;
    }

    /// Port 0x3ce is written.
    pub(super) const fn select_graphics(&mut self, index: u8) {
        self.graphics_index = index;
    }

    /// Reads port 0x3c5. `None`: a register of the VGA.
    pub(super) fn read_sequencer(&self) -> Option<u8> {
        let index = self.sequencer_index & 0x1f;
        (index >= sequencer::FIRST).then(|| self.sr(index.into()))
    }

    /// Writes port 0x3c5. `false`: a register of the VGA.
    pub(super) fn write_sequencer(&mut self, value: u8) -> bool {
        // The upper bits of the index of a place are the lower ones of the place.
        let place = u16::from(value) << 3 | u16::from(self.sequencer_index >> 5);
        let index = self.sequencer_index & 0x1f;
        if index < sequencer::FIRST {
            return false;
        }
        let Some(register) = self.sequencer.get_mut(usize::from(index)) else { return true };
        *register = match usize::from(index) {
            sequencer::UNLOCK if value & 0x17 == 0x12 => 0x12,
            sequencer::UNLOCK => 0x0f,
            sequencer::CONFIGURATION => *register & 0x38 | value & 0xc7,
            _ => value,
        };
        match usize::from(index) {
            sequencer::CURSOR_X => self.cursor.0 = place,
            sequencer::CURSOR_Y => self.cursor.1 = place,
            _ => {}
        }
        true
    }

    /// Whether the colours of the pointer are behind the ports of the colour table.
    pub(super) fn selects_cursor_colors(&self) -> bool {
        self.sr(sequencer::CURSOR_ATTRIBUTES) & sequencer::CURSOR_COLORS != 0
    }

    /// Reads port 0x3cf. `None`: a register of the VGA.
    pub(super) fn read_graphics(&self) -> Option<u8> {
        let index = self.graphics_index & 0x3f;
        let is_own = matches!(usize::from(index), graphics::BACKGROUND | graphics::FOREGROUND | graphics::MODE);
        (is_own || index >= graphics::FIRST).then(|| self.gr(index.into()))
    }

    /// Writes port 0x3cf. `false`: the VGA has such a register too.
    pub(super) fn write_graphics(
        &mut self,
        host: &mut impl VideoMemory,
        written: &mut Written,
        index: u8,
        value: u8,
    ) -> bool {
        let writable = match index {
            0x05 => 0x7f,
            0x21 | 0x23 | 0x25 | 0x27 => 0x1f,
            0x2a | 0x2e => 0x3f,
            _ => 0xff,
        };
        let Some(register) = self.graphics.get_mut(usize::from(index & 0x3f)) else { return true };
        let before = core::mem::replace(register, value & writable);
        match usize::from(index) {
            graphics::BLIT_STATUS => {
                if before & blitter::RESET != 0 && value & blitter::RESET == 0 {
                    self.stop_blit();
                } else if before & blitter::START == 0 && value & blitter::START != 0 {
                    self.start_blit(host, written);
                }
            }
            graphics::BLIT_DESTINATION_HIGH if self.gr(graphics::BLIT_STATUS) & blitter::AUTOSTART != 0 => {
                self.start_blit(host, written);
            }
            _ => {}
        }
        index >= graphics::FIRST
    }

    /// The register that port 0x3cf stands for.
    pub(super) const fn graphics_index(&self) -> u8 {
        self.graphics_index & 0x3f
    }

    fn start_blit(&mut self, host: &mut impl VideoMemory, written: &mut Written) {
        let goes_on = self.blitter.start(host, written, &self.graphics);
        if let Some(status) = self.graphics.get_mut(graphics::BLIT_STATUS) {
            *status |= blitter::START | blitter::BUSY;
        }
        if !goes_on {
            self.stop_blit();
        }
    }

    fn stop_blit(&mut self) {
        self.blitter.reset();
        if let Some(status) = self.graphics.get_mut(graphics::BLIT_STATUS) {
            *status &= !(blitter::START | blitter::BUSY | blitter::FIFO_USED);
        }
    }

    /// Bytes that the blitter waits for.
    fn feed(&mut self, host: &mut impl VideoMemory, written: &mut Written, data: &[u8]) {
        if !self.blitter.feed(host, written, data) {
            self.stop_blit();
        }
    }

    /// Reads port 0x3d5. `None`: a register of the VGA.
    pub(super) fn read_crtc(&self, index: u8) -> Option<u8> {
        match index {
            0..crtc_extension::FIRST => None,
            crtc_extension::FIRST..=crtc_extension::LAST_WRITABLE => Some(self.cr(index.into())),
            crtc_extension::PART_STATUS => Some(0),
            _ if index == crtc_extension::ID.0 => Some(crtc_extension::ID.1),
            _ => Some(0),
        }
    }

    /// Writes port 0x3d5. `false`: a register of the VGA.
    pub(super) fn write_crtc(&mut self, index: u8, value: u8) -> bool {
        if let (crtc_extension::FIRST..=crtc_extension::LAST_WRITABLE, Some(register)) =
            (index, self.crtc.get_mut(usize::from(index)))
        {
            *register = value;
        }
        index >= crtc_extension::FIRST
    }

    /// Reads the PEL mask's port. `None`: it is the PEL mask.
    pub(super) fn read_mask(&mut self) -> Option<u8> {
        self.mask_reads = self.mask_reads.saturating_add(1);
        if self.mask_reads <= 4 {
            return None;
        }
        self.mask_reads = 0;
        Some(self.hidden_dac)
    }

    /// Writes the PEL mask's port. `false`: it is the PEL mask.
    pub(super) const fn write_mask(&mut self, value: u8) -> bool {
        let is_hidden = self.mask_reads == 4;
        if is_hidden {
            self.hidden_dac = value;
        }
        self.mask_reads = 0;
        is_hidden
    }

    /// Another register of the colour table is accessed.
    pub(super) const fn forget_mask_reads(&mut self) {
        self.mask_reads = 0;
    }

    /// Whether pixels are in a row.
    pub(super) fn is_linear(&self) -> bool {
        self.sr(sequencer::MODE) & sequencer::EXTENDED != 0
    }

    fn depth(&self) -> Depth {
        let sixteen = if self.hidden_dac & 0x0f == 1 { Depth::Rgb565 } else { Depth::Rgb555 };
        match self.sr(sequencer::MODE) & 0x0e {
            0x02 | 0x06 => sixteen,
            0x04 => Depth::Rgb888,
            0x08 => Depth::Xrgb8888,
            _ => Depth::Indexed8,
        }
    }

    /// What is shown in an extended mode, and where it begins, in bytes.
    pub(super) fn picture(&self, vga: &Indexed<{ crtc::REGISTERS }>) -> Option<(Geometry, u32)> {
        if !self.is_linear() {
            return None;
        }
        let [offset, extended, overlay] =
            [vga.get(crtc::OFFSET), self.cr(crtc_extension::EXTENDED_DISPLAY), self.cr(crtc_extension::OVERLAY)];
        let [high, low] = [crtc::START_ADDRESS, crtc::START_ADDRESS.saturating_add(1)].map(|at| u32::from(vga.get(at)));
        let start = high << 8
            | low
            | u32::from(extended & 0x01) << 16
            | u32::from(extended & 0x0c) << 15
            | u32::from(overlay & 0x80) << 12;
        let overflow = u32::from(vga.get(crtc::OVERFLOW));
        let lines = u32::from(vga.get(crtc::VERTICAL_DISPLAY_END)) | (overflow & 2) << 7 | (overflow & 0x40) << 3;
        let lines = lines.saturating_add(1);
        let is_interlaced = self.cr(crtc_extension::INTERLACE) & 1 != 0;
        let geometry = Geometry {
            width: u32::from(vga.get(crtc::HORIZONTAL_DISPLAY_END)).saturating_add(1).saturating_mul(8),
            height: if is_interlaced { lines.saturating_mul(2) } else { lines },
            depth: self.depth(),
            pitch: (u32::from(offset) | u32::from(extended & 0x10) << 4) << 3,
            x: 0,
            y: 0,
        };
        Some((geometry, start << 2 & ADDRESS_MASK))
    }

    /// The pointer, if it is shown. `colors` are its two.
    pub(super) fn pointer(&self, host: &impl VideoMemory, colors: [u32; 2]) -> Option<Pointer> {
        let attributes = self.sr(sequencer::CURSOR_ATTRIBUTES);
        if attributes & sequencer::CURSOR_SHOWN == 0 || !self.is_linear() {
            return None;
        }
        let pattern = u32::from(self.sr(sequencer::CURSOR_PATTERN));
        // The last 16 KiB of memory have the patterns.
        let patterns = MEMORY.saturating_sub(16 << 10);
        let mut pointer =
            Pointer { x: self.cursor.0.into(), y: self.cursor.1.into(), size: 32, colors, planes: [[0; 2]; 64] };
        if attributes & sequencer::CURSOR_LARGE != 0 {
            pointer.size = 64;
            let mut bytes = [0; 1024];
            host.video_read(patterns.saturating_add((pattern & 0x3c) << 8), &mut bytes);
            for (row, bytes) in pointer.planes.iter_mut().zip(bytes.as_chunks::<16>().0) {
                let (first, second) = bytes.split_at(8);
                *row = [first, second].map(|half| u64::from_be_bytes(half.try_into().unwrap_or([0; 8])));
            }
        } else {
            let mut bytes = [0; 256];
            host.video_read(patterns.saturating_add((pattern & 0x3f) << 8), &mut bytes);
            let (first, second) = bytes.split_at(128);
            let rows = first.as_chunks::<4>().0.iter().zip(second.as_chunks::<4>().0);
            for (row, (first, second)) in pointer.planes.iter_mut().zip(rows) {
                *row = [*first, *second].map(|half| u64::from(u32::from_be_bytes(half)) << 32);
            }
        }
        Some(pointer)
    }

    /// Whether an access of the window at this offset is one of the blitter's registers.
    fn has_window_registers(&self, offset: u32) -> bool {
        self.sr(sequencer::CONFIGURATION) & 0x44 == 0x04 && WINDOW_REGISTERS.contains(&offset)
    }

    /// Where in memory an address of the window is: `None` beyond the window.
    fn address(&self, offset: u32) -> Option<u32> {
        if offset > 0xffff {
            return None;
        }
        let extensions = self.gr(graphics::MODE_EXTENSIONS);
        let (register, within) = if extensions & graphics::TWO_BANKS != 0 && offset >= 0x8000 {
            (graphics::OFFSET_1, offset & 0x7fff)
        } else {
            (graphics::OFFSET_0, offset)
        };
        let shift = if extensions & graphics::OFFSETS_16K != 0 { 14_u32 } else { 12 };
        let address = (u32::from(self.gr(register)) << shift).saturating_add(within);
        let wide = graphics::BY_16 | graphics::EXTENDED_WRITES;
        let address = if extensions & wide == wide {
            address << 4
        } else if extensions & graphics::BY_8 != 0 {
            address << 3
        } else {
            address
        };
        Some(address & ADDRESS_MASK)
    }

    /// Reads the window, if it is ours now.
    pub(super) fn window_read(&self, host: &impl VideoMemory, offset: u32, data: &mut [u8]) -> bool {
        if self.has_window_registers(offset) {
            for (byte, at) in data.iter_mut().zip(offset.saturating_sub(WINDOW_REGISTERS.start)..) {
                *byte = self.mapped_read(at);
            }
            return true;
        }
        if !self.is_linear() {
            return false;
        }
        for (byte, at) in data.iter_mut().zip(offset..) {
            let mut one = [0xff];
            if let Some(address) = self.address(at) {
                host.video_read(address, &mut one);
            }
            [*byte] = one;
        }
        true
    }

    /// Writes the window, if it is ours now.
    pub(super) fn window_write(
        &mut self,
        host: &mut impl VideoMemory,
        written: &mut Written,
        offset: u32,
        data: &[u8],
    ) -> bool {
        if self.has_window_registers(offset) {
            for (byte, at) in data.iter().zip(offset.saturating_sub(WINDOW_REGISTERS.start)..) {
                self.mapped_write(host, written, at, *byte);
            }
            return true;
        }
        if self.blitter.is_hungry() {
            self.feed(host, written, data);
            return true;
        }
        if !self.is_linear() {
            return false;
        }
        let mode = self.gr(graphics::MODE) & 7;
        let extensions = self.gr(graphics::MODE_EXTENSIONS);
        if matches!(mode, 4 | 5) && extensions & graphics::EXTENDED_WRITES != 0 {
            for (byte, at) in data.iter().zip(offset..) {
                let Some(address) = self.address(at) else { break };
                self.write_pixels(host, written, mode == 5, address, *byte);
            }
            return true;
        }
        // As many bytes at once as follow each other in memory.
        let mut rest = data;
        let mut at = offset;
        while let Some(address) = self.address(at).filter(|_| !rest.is_empty()) {
            let scaled = extensions & (graphics::BY_8 | graphics::BY_16) != 0;
            let room = if scaled { 1 } else { 0x8000_u32.saturating_sub(at & 0x7fff) as usize };
            let room = room.min(MEMORY.saturating_sub(address) as usize).min(rest.len());
            let (piece, after) = rest.split_at(room);
            host.video_write(address, piece);
            written.mark(address, piece.len(), true);
            at = at.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
            rest = after;
        }
        true
    }

    /// Write modes 4 and 5: each bit is a pixel of the foreground, or of nothing and of the background.
    fn write_pixels(
        &self,
        host: &mut impl VideoMemory,
        written: &mut Written,
        has_background: bool,
        address: u32,
        bits: u8,
    ) {
        let wide = graphics::BY_16 | graphics::EXTENDED_WRITES;
        let bytes = if self.gr(graphics::MODE_EXTENSIONS) & wide == wide { 2_u32 } else { 1 };
        let background = [self.gr(graphics::BACKGROUND), self.gr(0x10)];
        let foreground = [self.gr(graphics::FOREGROUND), self.gr(0x11)];
        for (bit, at) in (0..8_u32).rev().zip((address..).step_by(bytes as usize)) {
            let color = match bits >> bit & 1 {
                0 if !has_background => continue,
                0 => background,
                _ => foreground,
            };
            let at = at & ADDRESS_MASK;
            host.video_write(at, color.get(..bytes as usize).unwrap_or(&color));
            written.mark(at, bytes as usize, true);
        }
    }

    /// Writes the aperture through which the blitter is given bytes.
    pub(super) fn blit_write(&mut self, host: &mut impl VideoMemory, written: &mut Written, data: &[u8]) {
        if self.blitter.is_hungry() {
            self.feed(host, written, data);
        }
    }

    /// Reads a memory-mapped register of the blitter.
    pub(super) fn mapped_read(&self, at: u32) -> u8 {
        mapped(at).map_or(0xff, |register| self.gr(register.into()))
    }

    /// Writes one.
    pub(super) fn mapped_write(&mut self, host: &mut impl VideoMemory, written: &mut Written, at: u32, value: u8) {
        if let Some(register) = mapped(at) {
            self.write_graphics(host, written, register, value);
        }
    }

    /// Where in BAR1 an access is: `None` is at a port of the VGA.
    pub(super) const fn mapped_offset(at: u32) -> Option<u32> {
        at.checked_sub(BLITTER_REGISTERS)
    }
}
