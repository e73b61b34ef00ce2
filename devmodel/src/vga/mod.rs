//! A standard VGA with either of two kinds of extensions.
//!
//! Firmware and drivers find the IBM VGA at its ports and in its window at 0xa0000. As PCI function 1234:1111 it has the
//! Bochs "dispi" registers at ports 0x1ce and 0x1cf, and both of them again, with an EDID block, in the 4 KiB of BAR2; BAR0
//! is video memory. As 1013:00b8 it is a Cirrus Logic GD5446: see `cirrus`.
//!
//! | module | what lives there |
//! |---|---|
//! | `regs` | the register files, and what each bit of them is called |
//! | `dac` | the colour table |
//! | `dispi` | the Bochs VBE registers |
//! | `cirrus` | the registers, the blitter and the pointer of the GD5446 |
//! | `edid` | what the monitor says about itself |
//! | `window` | reads and writes of the window at 0xa0000 |
//! | `modes` | from registers to a description of the picture |
//! | `draw` | from the description to pixels |
//!
//! Video memory is one sequence of bytes. Planar address `n` is the four bytes from `4 * n`, one for each plane;
//! chain-4 address `n` is byte `n`; odd/even address `n` is plane `n & 1` of planar address `n / 2`. The address
//! counter of the CRTC counts planar addresses in every mode, so byte, word and double word addressing look alike.
//!
//! Source: IBM VGA XGA Technical Reference Manual (1992), chapter "VGA function"; for the extensions, the
//! specification `vbe_display_api.txt` of the VGABios project and `docs/specs/standard-vga.rst` of QEMU.
//! Not modelled: blinking (what blinks is shown lit), the border, interrupts, light pen, skew and timing, the sense
//! switch, turning the card off by port 0x3c3 or video memory by the miscellaneous output register, the attribute
//! palette in 256-colour modes, odd/even chaining of the graphics controller apart from that of the sequencer.
//! Aperture writes are seen in the linear modes only; in the others the next full refresh shows them.
//!
//! Invariant: a refresh costs time in proportion to the picture, which is at most what the surface accepts.

use crate::state::{Adopt, StateError};
use serde::{Deserialize, Serialize};

mod cirrus;
mod dac;
mod dispi;
mod draw;
mod edid;
mod modes;
mod regs;
#[cfg(test)]
mod tests;
mod window;

use crate::access::{self, IoPort, Width};
use crate::host::{Surface, VideoMemory};
use alloc::vec;
use alloc::vec::Vec;
use cirrus::Cirrus;
use draw::Screen;
use regs::Registers;

/// First port of the VGA registers.
pub const FIRST_PORT: IoPort = IoPort(0x3b0);
/// Last port of the VGA registers.
pub const LAST_PORT: IoPort = IoPort(0x3df);
/// First port of the Bochs VBE registers: the index.
pub const FIRST_DISPI_PORT: IoPort = IoPort(0x1ce);
/// Last byte of the Bochs VBE registers. The data are at 0x1cf, and at 0x1d0 for who wants them aligned.
pub const LAST_DISPI_PORT: IoPort = IoPort(0x1d1);
/// Bytes of register space behind BAR2, or BAR1 of a Cirrus card.
pub const MMIO_BYTES: u32 = 4096;
/// Bytes that BAR0 of a Cirrus card takes.
pub const CIRRUS_APERTURE: u32 = 32 << 20;
/// Where in it the blitter is given bytes.
pub const CIRRUS_BLIT_APERTURE: core::ops::Range<u32> = 16 << 20..20 << 20;

/// Ports of the VGA that memory-mapped registers have, from 0x3c0 on.
const MMIO_PORT_COUNT: u32 = 0x20;
/// Where in BAR2 the VGA ports from 0x3c0 on are.
const MMIO_PORTS: u32 = 0x400;
/// Where in BAR2 the Bochs VBE registers are, two bytes each.
const MMIO_DISPI: u32 = 0x500;
/// Where in BAR2 QEMU's own registers are.
const MMIO_EXTENSION: u32 = 0x600;
/// Bytes of QEMU's own registers.
const EXTENSION_BYTES: u32 = 8;
/// What the byte order register holds for a little-endian framebuffer.
const LITTLE_ENDIAN: u32 = 0x1e1e_1e1e;
/// What the byte order register holds for a big-endian framebuffer.
const BIG_ENDIAN: u32 = 0xbebe_bebe;

/// The graphics card.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Vga {
    #[serde(skip)]
    memory_bytes: u32,
    registers: Registers,
    #[serde(skip)]
    written: Written,
    #[serde(skip)]
    screen: Screen,
}

impl Adopt for Vga {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        self.registers.adopt(saved.registers)?;
        // All of the picture is drawn anew.
        (self.written, self.screen) = (Written::new(self.memory_bytes), Screen::new(self.memory_bytes));
        Ok(())
    }
}

impl Vga {
    /// A card as it is after power on, with `memory_bytes` of video memory.
    #[must_use]
    pub fn new(memory_bytes: u32) -> Self {
        Self {
            memory_bytes,
            registers: Registers::new(memory_bytes),
            written: Written::new(memory_bytes),
            screen: Screen::new(memory_bytes),
        }
    }

    /// A Cirrus card, with at least 4 MiB of video memory.
    #[must_use]
    pub fn cirrus(memory_bytes: u32) -> Self {
        Self { registers: Registers::with_cirrus(memory_bytes), ..Self::new(memory_bytes) }
    }

    /// Whether this is a Cirrus card.
    #[must_use]
    pub const fn is_cirrus(&self) -> bool {
        self.registers.cirrus.is_some()
    }

    /// Puts every register to its value after power on. Video memory keeps its content.
    pub fn reset(&mut self) {
        self.registers = match self.is_cirrus() {
            true => Registers::with_cirrus(self.memory_bytes),
            false => Registers::new(self.memory_bytes),
        };
    }

    /// Reads a port from 0x3b0 to 0x3df, or of the Bochs VBE registers.
    pub fn port_read(&mut self, port: IoPort, width: Width) -> u32 {
        if (FIRST_DISPI_PORT..=LAST_DISPI_PORT).contains(&port) {
            return self.dispi_port_read(port, width);
        }
        let value = access::read_bytes(port.0, width, |port| self.registers.read(port));
        u32::try_from(value & 0xffff_ffff).unwrap_or(u32::MAX)
    }

    /// Writes a port from 0x3b0 to 0x3df, or of the Bochs VBE registers.
    pub fn port_write(&mut self, host: &mut impl VideoMemory, port: IoPort, width: Width, value: u32) {
        if (FIRST_DISPI_PORT..=LAST_DISPI_PORT).contains(&port) {
            return self.dispi_port_write(host, port, width, value);
        }
        access::write_bytes(port.0, width, value.into(), |port, byte| self.write_byte(host, port, byte));
    }

    fn write_byte(&mut self, host: &mut impl VideoMemory, port: u16, value: u8) {
        if self.registers.decode(port) == 0x3cf
            && let Some(cirrus) = &mut self.registers.cirrus
        {
            let index = cirrus.graphics_index();
            if cirrus.write_graphics(host, &mut self.written, index, value) {
                return;
            }
        }
        self.registers.write(port, value);
    }

    /// Reads the window at 0xa0000; `offset` counts from there. Wide and repeated reads are ascending single bytes
    /// to the card, so that one call does for all of them.
    pub fn legacy_read(&mut self, host: &impl VideoMemory, offset: u32, data: &mut [u8]) {
        if self.registers.cirrus.as_ref().is_some_and(|cirrus| cirrus.window_read(host, offset, data)) {
            return;
        }
        self.registers.window_read(host, offset, data);
    }

    /// Writes the window at 0xa0000; `offset` counts from there. Wide and repeated writes are ascending single bytes.
    pub fn legacy_write(&mut self, host: &mut impl VideoMemory, offset: u32, data: &[u8]) {
        if let Some(cirrus) = &mut self.registers.cirrus
            && cirrus.window_write(host, &mut self.written, offset, data)
        {
            return;
        }
        self.registers.window_write(host, &mut self.written, offset, data);
    }

    /// Reads the linear aperture, for an access that comes as one.
    pub fn framebuffer_read(&self, host: &impl VideoMemory, offset: u32, data: &mut [u8]) {
        host.video_read(offset, data);
    }

    /// Writes the linear aperture, for an access that comes as one.
    pub fn framebuffer_write(&mut self, host: &mut impl VideoMemory, offset: u32, data: &[u8]) {
        host.video_write(offset, data);
        self.written.mark(offset, data.len(), true);
    }

    /// Writes the part of a Cirrus card's aperture through which the blitter is given bytes.
    pub fn blit_write(&mut self, host: &mut impl VideoMemory, data: &[u8]) {
        if let Some(cirrus) = &mut self.registers.cirrus {
            cirrus.blit_write(host, &mut self.written, data);
        }
    }

    /// Reads the registers behind BAR2: ascending elements of any width.
    pub fn mmio_read(&mut self, offset: u32, data: &mut [u8]) {
        for (byte, at) in data.iter_mut().zip(offset..) {
            *byte = self.mmio_read_byte(at);
        }
    }

    /// Writes the registers behind BAR2: ascending elements of any width.
    ///
    /// A Bochs VBE register takes both its bytes at once, and the byte order all four; less is dropped.
    pub fn mmio_write(&mut self, host: &mut impl VideoMemory, offset: u32, data: &[u8]) {
        let mut at = offset;
        let mut rest = data;
        if self.is_cirrus() {
            for (byte, at) in data.iter().zip(offset..) {
                self.cirrus_mmio_write(host, at, *byte);
            }
            return;
        }
        while let Some((first, after)) = rest.split_first() {
            let mut taken = 1;
            match (at, rest) {
                (0x400..0x420, _) => self.registers.write(port_at(at), *first),
                (0x500..0x600, [low, high, ..]) if at & 1 == 0 => {
                    let index = u16::try_from((at & 0xff) >> 1).unwrap_or(u16::MAX);
                    self.dispi_write(host, index, u16::from_le_bytes([*low, *high]));
                    taken = 2;
                }
                (0x604, [a, b, c, d, ..]) => {
                    match u32::from_le_bytes([*a, *b, *c, *d]) {
                        LITTLE_ENDIAN => self.registers.big_endian = false,
                        BIG_ENDIAN => self.registers.big_endian = true,
                        _ => {}
                    }
                    taken = 4;
                }
                _ => {}
            }
            at = at.saturating_add(taken);
            rest = rest.get(taken as usize..).unwrap_or(after);
        }
    }

    /// Draws what changed since the last refresh; all of it if `full`, which a new surface needs.
    pub fn refresh<H: VideoMemory, S: Surface>(&mut self, host: &mut H, surface: &mut S, full: bool) {
        let picture = self.registers.picture();
        let colors = self.registers.dac.pointer_colors();
        let pointer = self.registers.cirrus.as_ref().and_then(|cirrus| cirrus.pointer(host, colors));
        self.screen.refresh(host, surface, &self.registers.dac, (picture, pointer), &mut self.written, full);
    }

    /// Width and height of the picture that was drawn last.
    #[must_use]
    pub fn size(&self) -> Option<(u32, u32)> {
        self.screen.size()
    }

    /// The VGA's ports from 0x3c0 on, and behind them the blitter's registers.
    fn cirrus_mmio_write(&mut self, host: &mut impl VideoMemory, at: u32, value: u8) {
        match (Cirrus::mapped_offset(at), &mut self.registers.cirrus) {
            (None, _) if at < MMIO_PORT_COUNT => self.write_byte(host, port_at(at), value),
            (None, _) => {}
            (Some(at), Some(cirrus)) => cirrus.mapped_write(host, &mut self.written, at, value),
            (Some(_), None) => {}
        }
    }

    fn mmio_read_byte(&mut self, at: u32) -> u8 {
        if let Some(cirrus) = &self.registers.cirrus {
            return match Cirrus::mapped_offset(at) {
                None if at < MMIO_PORT_COUNT => self.registers.read(port_at(at)),
                None => 0xff,
                Some(at) => cirrus.mapped_read(at),
            };
        }
        match at {
            0..MMIO_PORTS => edid::BLOCK.get(at as usize).copied().unwrap_or(0),
            0x400..0x420 => self.registers.read(port_at(at)),
            MMIO_DISPI..MMIO_EXTENSION => {
                let index = u16::try_from((at & 0xff) >> 1).unwrap_or(u16::MAX);
                let [low, high] = self.registers.dispi.read(index).to_le_bytes();
                if at & 1 == 0 { low } else { high }
            }
            0x600..0x608 => {
                let order = if self.registers.big_endian { BIG_ENDIAN } else { LITTLE_ENDIAN };
                let value = u64::from(order) << 32 | u64::from(EXTENSION_BYTES);
                value.to_le_bytes().get((at & 7) as usize).copied().unwrap_or(0)
            }
            _ => 0xff,
        }
    }

    /// The registers are 16 bits wide, and the bus makes two cycles of a double word; a byte finds nothing.
    fn dispi_port_read(&mut self, port: IoPort, width: Width) -> u32 {
        match width {
            Width::Word => self.dispi_word(port).into(),
            Width::Dword => {
                let [low, high] = [self.dispi_word(port), self.dispi_word(IoPort(port.0.wrapping_add(2)))];
                u32::from(high) << 16 | u32::from(low)
            }
            Width::Byte | Width::Qword => u32::try_from(width.all_ones()).unwrap_or(u32::MAX),
        }
    }

    fn dispi_word(&self, port: IoPort) -> u16 {
        match port.0 {
            0x1ce => self.registers.dispi.index,
            0x1cf | 0x1d0 => self.registers.dispi.read(self.registers.dispi.index),
            _ => 0xffff,
        }
    }

    fn dispi_port_write(&mut self, host: &mut impl VideoMemory, port: IoPort, width: Width, value: u32) {
        let [a, b, c, d] = value.to_le_bytes();
        let mut word = |port: u16, value: u16| match port {
            0x1ce => self.registers.dispi.index = value,
            0x1cf | 0x1d0 => self.dispi_write(host, self.registers.dispi.index, value),
            _ => {}
        };
        match width {
            Width::Word => word(port.0, u16::from_le_bytes([a, b])),
            Width::Dword => {
                word(port.0, u16::from_le_bytes([a, b]));
                word(port.0.wrapping_add(2), u16::from_le_bytes([c, d]));
            }
            Width::Byte | Width::Qword => {}
        }
    }

    fn dispi_write(&mut self, host: &mut impl VideoMemory, index: u16, value: u16) {
        match self.registers.dispi.write(index, value) {
            dispi::Effect::Clear { bytes } => {
                static ZEROS: [u8; 4096] = [0; 4096];
                let mut at = 0_u32;
                while at < bytes {
                    let len = bytes.saturating_sub(at).min(4096);
                    host.video_write(at, ZEROS.get(..len as usize).unwrap_or(&ZEROS));
                    at = at.saturating_add(len);
                }
                self.written.mark(0, bytes as usize, true);
            }
            dispi::Effect::Nothing => {}
        }
        self.registers.dac.set_eight_bit(self.registers.dispi.eight_bit_dac());
    }
}

/// The port whose place in BAR2 is `at`.
fn port_at(at: u32) -> u16 {
    u16::try_from(at & 0x1f).unwrap_or(0) | 0x3c0
}

/// What of video memory was written through the card since the last refresh: one bit for each 4 KiB.
#[derive(Clone, Debug, Default)]
struct Written {
    pages: Vec<u8>,
    any: bool,
    /// Plane 2 was written, where fonts live.
    fonts: bool,
}

impl Written {
    fn new(memory_bytes: u32) -> Self {
        let pages = memory_bytes.div_ceil(4096).div_ceil(8);
        Self { pages: vec![0; pages as usize], any: false, fonts: true }
    }

    /// Marks `len` bytes from `offset` on.
    fn mark(&mut self, offset: u32, len: usize, fonts: bool) {
        let Some(last) = len.checked_sub(1) else { return };
        let last = (offset as usize).saturating_add(last) >> 12;
        for page in (offset as usize >> 12)..=last {
            let Some(group) = self.pages.get_mut(page >> 3) else { break };
            *group |= 1 << (page & 7);
        }
        self.any = true;
        self.fonts |= fonts;
    }

    /// Whether any of the pages was written.
    fn contains(&self, mut pages: core::ops::RangeInclusive<u32>) -> bool {
        self.any
            && pages.any(|page| self.pages.get(page as usize >> 3).is_some_and(|group| group >> (page & 7) & 1 != 0))
    }

    fn clear(&mut self) {
        if self.any {
            self.pages.fill(0);
        }
        self.any = false;
        self.fonts = false;
    }
}
