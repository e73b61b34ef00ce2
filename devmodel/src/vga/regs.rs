//! The register files of the VGA.
//!
//! Source: IBM VGA Technical Reference Manual, "VGA function" (register descriptions). Bits that are not there read
//! as zero.

use super::cirrus::Cirrus;
use super::dac::Dac;
use super::dispi::Dispi;
use crate::state::{Adopt, StateError};
use alloc::boxed::Box;
use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

/// Registers behind an index register.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Indexed<const N: usize> {
    /// The register that the data port stands for.
    index: u8,
    #[serde(with = "BigArray")]
    values: [u8; N],
}

impl<const N: usize> Indexed<N> {
    const fn new() -> Self {
        Self { index: 0, values: [0; N] }
    }

    /// The value of a register; zero where there is none.
    pub(super) fn get(&self, register: usize) -> u8 {
        self.values.get(register).copied().unwrap_or(0)
    }

    fn selected(&self) -> u8 {
        self.get(self.index.into())
    }

    /// Writes the register that `index` selects, as far as its bits are `writable`.
    fn write_selected(&mut self, writable: [u8; N], value: u8) {
        let index = usize::from(self.index);
        if let (Some(register), Some(mask)) = (self.values.get_mut(index), writable.get(index)) {
            *register = value & mask | *register & !mask;
        }
    }
}

/// Sequencer, ports 0x3c4 and 0x3c5.
pub(super) mod sequencer {
    /// Clocking mode.
    pub(in super::super) const CLOCKING_MODE: usize = 1;
    /// Map mask: which planes are written.
    pub(in super::super) const MAP_MASK: usize = 2;
    /// Character map select.
    pub(in super::super) const CHARACTER_MAP: usize = 3;
    /// Memory mode.
    pub(in super::super) const MEMORY_MODE: usize = 4;

    /// Clocking mode: characters are eight dots wide, not nine.
    pub(in super::super) const EIGHT_DOTS: u8 = 0x01;
    /// Clocking mode: the dot clock is divided by two.
    pub(in super::super) const HALF_DOT_CLOCK: u8 = 0x08;
    /// Clocking mode: the screen is off.
    pub(in super::super) const SCREEN_OFF: u8 = 0x20;
    /// Memory mode: not odd/even: even and odd addresses reach every plane.
    pub(in super::super) const SEQUENTIAL: u8 = 0x04;
    /// Memory mode: the two low bits of an address choose the plane.
    pub(in super::super) const CHAIN_4: u8 = 0x08;

    pub(super) const WRITABLE: [u8; 5] = [0x03, 0x3d, 0x0f, 0x3f, 0x0e];
}

/// CRT controller, ports 0x3d4 and 0x3d5 or 0x3b4 and 0x3b5.
pub(super) mod crtc {
    /// Horizontal display-enable end, in characters less one.
    pub(in super::super) const HORIZONTAL_DISPLAY_END: usize = 0x01;
    /// Overflow: high bits of vertical registers.
    pub(in super::super) const OVERFLOW: usize = 0x07;
    /// Preset row scan, and byte panning.
    pub(in super::super) const PRESET_ROW_SCAN: usize = 0x08;
    /// Maximum scan line.
    pub(in super::super) const MAXIMUM_SCAN_LINE: usize = 0x09;
    /// Cursor start.
    pub(in super::super) const CURSOR_START: usize = 0x0a;
    /// Cursor end.
    pub(in super::super) const CURSOR_END: usize = 0x0b;
    /// Start address, high byte; the low byte follows.
    pub(in super::super) const START_ADDRESS: usize = 0x0c;
    /// Cursor location, high byte; the low byte follows.
    pub(in super::super) const CURSOR_LOCATION: usize = 0x0e;
    /// Vertical retrace end, with the bit that protects registers 0 to 7.
    pub(in super::super) const VERTICAL_RETRACE_END: usize = 0x11;
    /// Vertical display-enable end, in lines less one.
    pub(in super::super) const VERTICAL_DISPLAY_END: usize = 0x12;
    /// Offset from one row to the next, in units of two addresses.
    pub(in super::super) const OFFSET: usize = 0x13;
    /// Underline location.
    pub(in super::super) const UNDERLINE_LOCATION: usize = 0x14;
    /// CRTC mode control.
    pub(in super::super) const MODE_CONTROL: usize = 0x17;
    /// Line compare.
    pub(in super::super) const LINE_COMPARE: usize = 0x18;

    /// Maximum scan line: every line is shown twice.
    pub(in super::super) const DOUBLE_SCAN: u8 = 0x80;
    /// Cursor start: no cursor.
    pub(in super::super) const CURSOR_OFF: u8 = 0x20;
    /// Vertical retrace end: registers 0 to 7 are read-only.
    pub(in super::super) const PROTECT: u8 = 0x80;
    /// Overflow: bit 8 of line compare, which is never protected.
    pub(in super::super) const LINE_COMPARE_8: u8 = 0x10;
    /// Mode control: address bit 13 is that of the address counter, not bit 0 of the row scan counter.
    pub(in super::super) const NO_CGA_BANKS: u8 = 0x01;
    /// Mode control: address bit 14 is that of the address counter, not bit 1 of the row scan counter.
    pub(in super::super) const NO_HERCULES_BANKS: u8 = 0x02;
    /// Mode control: memory is addressed by bytes, not by words.
    pub(in super::super) const BYTE_MODE: u8 = 0x40;

    /// Cirrus: what the last read of the window found in the plane that is read.
    pub(in super::super) const LATCH: u8 = 0x22;
    /// Cirrus: whether port 0x3c0 expects data, in bit 7.
    pub(in super::super) const ATTRIBUTE_TOGGLE: u8 = 0x24;
    /// Cirrus: what port 0x3c0 points at.
    pub(in super::super) const ATTRIBUTE_INDEX: u8 = 0x26;

    pub(in super::super) const REGISTERS: usize = 0x19;
    pub(super) const WRITABLE: [u8; REGISTERS] = [0xff; REGISTERS];
}

/// Graphics controller, ports 0x3ce and 0x3cf.
pub(super) mod graphics {
    /// Set/reset.
    pub(in super::super) const SET_RESET: usize = 0;
    /// Enable set/reset.
    pub(in super::super) const ENABLE_SET_RESET: usize = 1;
    /// Colour compare.
    pub(in super::super) const COLOR_COMPARE: usize = 2;
    /// Data rotate, and the logical function.
    pub(in super::super) const DATA_ROTATE: usize = 3;
    /// Read map select.
    pub(in super::super) const READ_MAP: usize = 4;
    /// Graphics mode.
    pub(in super::super) const MODE: usize = 5;
    /// Miscellaneous: the window, and whether there are characters.
    pub(in super::super) const MISCELLANEOUS: usize = 6;
    /// Colour don't care.
    pub(in super::super) const COLOR_CARE: usize = 7;
    /// Bit mask.
    pub(in super::super) const BIT_MASK: usize = 8;

    /// Mode: reads compare colours.
    pub(in super::super) const READ_COMPARE: u8 = 0x08;
    /// Mode: the low bit of an address chooses between even and odd planes in reads.
    pub(in super::super) const ODD_EVEN: u8 = 0x10;
    /// Mode: two bits a pixel, from planes in turn, as CGA does.
    pub(in super::super) const SHIFT_INTERLEAVE: u8 = 0x20;
    /// Mode: 256 colours.
    pub(in super::super) const SHIFT_256: u8 = 0x40;
    /// Miscellaneous: graphics, not characters.
    pub(in super::super) const GRAPHICS: u8 = 0x01;

    pub(super) const WRITABLE: [u8; 9] = [0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff];
}

/// Attribute controller, ports 0x3c0 and 0x3c1.
pub(super) mod attribute {
    /// Attribute mode control.
    pub(in super::super) const MODE_CONTROL: usize = 0x10;
    /// Colour plane enable.
    pub(in super::super) const PLANE_ENABLE: usize = 0x12;
    /// Horizontal PEL panning.
    pub(in super::super) const PEL_PANNING: usize = 0x13;
    /// Colour select.
    pub(in super::super) const COLOR_SELECT: usize = 0x14;

    /// Mode control: the ninth dot of line graphics characters repeats the eighth.
    pub(in super::super) const LINE_GRAPHICS: u8 = 0x04;
    /// Mode control: attribute bit 7 blinks; without it, it is background intensity.
    pub(in super::super) const BLINK: u8 = 0x08;
    /// Mode control: below the split, panning is off.
    pub(in super::super) const PANNING_COMPATIBLE: u8 = 0x20;
    /// Mode control: colour bits 4 and 5 come from the colour select register.
    pub(in super::super) const P5_P4_SELECT: u8 = 0x80;
    /// Address register, PAS: the palette is the display's, not the processor's.
    pub(in super::super) const PALETTE_ADDRESS_SOURCE: u8 = 0x20;

    pub(super) const REGISTERS: usize = 0x15;
    pub(super) const WRITABLE: [u8; REGISTERS] = {
        let mut masks = [0x3f; REGISTERS];
        masks[MODE_CONTROL] = 0xef;
        masks[0x11] = 0xff;
        masks[PEL_PANNING] = 0x0f;
        masks[COLOR_SELECT] = 0x0f;
        masks
    };
}

/// Miscellaneous output: CRTC and status are at 0x3d4 and 0x3da, not at 0x3b4 and 0x3ba.
const COLOR_PORTS: u8 = 0x01;
/// What input status register 1 reads as in turn: neither display enable nor vertical retrace, the former, the
/// former not, both. Loops that wait for either edge end after four reads, and nothing needs to wake up for them.
const STATUS_1: [u8; 4] = [0x00, 0x01, 0x00, 0x09];

/// Every register of the card.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Registers {
    pub(super) sequencer: Indexed<5>,
    pub(super) crtc: Indexed<{ crtc::REGISTERS }>,
    pub(super) graphics: Indexed<9>,
    pub(super) attribute: Indexed<{ attribute::REGISTERS }>,
    /// The attribute controller's address register, with PAS.
    attribute_address: u8,
    /// Whether the next write to 0x3c0 is data.
    attribute_data_next: bool,
    pub(super) dac: Dac,
    pub(super) dispi: Dispi,
    miscellaneous_output: u8,
    feature_control: u8,
    subsystem_enable: u8,
    status_reads: u8,
    /// What the last read of the window found, one byte for each plane.
    pub(super) latch: [u8; 4],
    /// Pixels of more than one byte in the linear modes are big-endian.
    pub(super) big_endian: bool,
    /// The extensions of a Cirrus card, where it is one.
    pub(super) cirrus: Option<Box<Cirrus>>,
}

impl Adopt for Registers {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        self.dispi.adopt(saved.dispi)?;
        self.cirrus.adopt(saved.cirrus)?;
        *self = Self { dispi: self.dispi.clone(), cirrus: self.cirrus.take(), ..saved };
        Ok(())
    }
}

impl Registers {
    pub(super) const fn new(memory_bytes: u32) -> Self {
        Self {
            sequencer: Indexed::new(),
            crtc: Indexed::new(),
            graphics: Indexed::new(),
            attribute: Indexed::new(),
            attribute_address: 0,
            attribute_data_next: false,
            dac: Dac::new(),
            dispi: Dispi::new(memory_bytes),
            miscellaneous_output: 0,
            feature_control: 0,
            subsystem_enable: 1,
            status_reads: 0,
            latch: [0; 4],
            big_endian: false,
            cirrus: None,
        }
    }

    /// The same with the extensions of a Cirrus card.
    pub(super) fn with_cirrus(memory_bytes: u32) -> Self {
        Self { cirrus: Some(Box::new(Cirrus::new())), ..Self::new(memory_bytes) }
    }

    /// Whether the palette is the display's.
    pub(super) const fn palette_address_source(&self) -> bool {
        self.attribute_address & attribute::PALETTE_ADDRESS_SOURCE != 0
    }

    fn extension(&self, read: fn(&Cirrus) -> Option<u8>) -> Option<u8> {
        self.cirrus.as_deref().and_then(read)
    }

    fn read_crtc(&self) -> u8 {
        let Some(cirrus) = &self.cirrus else { return self.crtc.selected() };
        match self.crtc.index {
            crtc::LATCH => self.latch.get(usize::from(self.graphics.get(graphics::READ_MAP) & 3)).copied().unwrap_or(0),
            crtc::ATTRIBUTE_TOGGLE => u8::from(self.attribute_data_next) << 7,
            crtc::ATTRIBUTE_INDEX => self.attribute_address,
            index => cirrus.read_crtc(index).unwrap_or_else(|| self.crtc.selected()),
        }
    }

    fn write_sequencer(&mut self, value: u8) {
        if let Some(cirrus) = &mut self.cirrus
            && cirrus.write_sequencer(value)
        {
            self.dac.select_extra(cirrus.selects_cursor_colors());
            return;
        }
        self.sequencer.write_selected(sequencer::WRITABLE, value);
    }

    /// Reads a byte from ports 0x3b0 to 0x3df.
    pub(super) fn read(&mut self, port: u16) -> u8 {
        if let (0x3c7..=0x3c9, Some(cirrus)) = (port, &mut self.cirrus) {
            cirrus.forget_mask_reads();
        }
        match self.decode(port) {
            0x3c0 => self.attribute_address,
            0x3c1 => self.attribute.selected(),
            0x3c2 => 0,
            0x3c3 => self.subsystem_enable,
            0x3c4 => self.sequencer.index,
            0x3c5 => self.extension(Cirrus::read_sequencer).unwrap_or_else(|| self.sequencer.selected()),
            0x3c6 => self.cirrus.as_mut().and_then(|cirrus| cirrus.read_mask()).unwrap_or_else(|| self.dac.mask()),
            0x3c7 => self.dac.state(),
            0x3c8 => self.dac.write_index(),
            0x3c9 => self.dac.read(),
            0x3ca => self.feature_control,
            0x3cc => self.miscellaneous_output,
            0x3ce => self.graphics.index,
            0x3cf => self.extension(Cirrus::read_graphics).unwrap_or_else(|| self.graphics.selected()),
            0x3d4 => self.crtc.index,
            0x3d5 => self.read_crtc(),
            0x3da => {
                self.attribute_data_next = false;
                self.status_reads = self.status_reads.wrapping_add(1);
                STATUS_1.get(usize::from(self.status_reads & 3)).copied().unwrap_or(0)
            }
            _ => 0xff,
        }
    }

    /// Writes a byte to ports 0x3b0 to 0x3df.
    pub(super) fn write(&mut self, port: u16, value: u8) {
        if let (0x3c7..=0x3c9, Some(cirrus)) = (port, &mut self.cirrus) {
            cirrus.forget_mask_reads();
        }
        match self.decode(port) {
            0x3c0 => self.write_attribute(value),
            0x3c2 => self.miscellaneous_output = value,
            0x3c3 => self.subsystem_enable = value & 1,
            0x3c4 => {
                self.sequencer.index = value & 7;
                if let Some(cirrus) = &mut self.cirrus {
                    cirrus.select_sequencer(value);
                }
            }
            0x3c5 => self.write_sequencer(value),
            0x3c6 if self.cirrus.as_mut().is_some_and(|cirrus| cirrus.write_mask(value)) => {}
            0x3c6 => self.dac.set_mask(value),
            0x3c7 => self.dac.set_read_index(value),
            0x3c8 => self.dac.set_write_index(value),
            0x3c9 => self.dac.write(value),
            0x3ce => {
                self.graphics.index = value & 0x0f;
                if let Some(cirrus) = &mut self.cirrus {
                    cirrus.select_graphics(value);
                }
            }
            0x3cf => self.graphics.write_selected(graphics::WRITABLE, value),
            0x3d4 => self.crtc.index = value,
            0x3d5 => self.write_crtc(value),
            0x3da => self.feature_control = value & 0x10,
            _ => {}
        }
    }

    /// Maps the ports of a monochrome display onto those of a colour one, and those that are off to none.
    pub(super) const fn decode(&self, port: u16) -> u16 {
        let color = self.miscellaneous_output & COLOR_PORTS != 0;
        match port {
            0x3b0..=0x3bf if !color => port ^ 0x060,
            0x3c0..=0x3cf => port,
            0x3d0..=0x3df if color => port,
            _ => 0,
        }
    }

    fn write_attribute(&mut self, value: u8) {
        if self.attribute_data_next {
            // The palette is the processor's only while it is not the display's.
            if self.attribute.index > 0x0f || !self.palette_address_source() {
                self.attribute.write_selected(attribute::WRITABLE, value);
            }
        } else {
            self.attribute_address = value & 0x3f;
            self.attribute.index = value & 0x1f;
        }
        self.attribute_data_next = !self.attribute_data_next;
    }

    fn write_crtc(&mut self, value: u8) {
        if let Some(cirrus) = &mut self.cirrus
            && cirrus.write_crtc(self.crtc.index, value)
        {
            return;
        }
        let mut writable = crtc::WRITABLE;
        if self.crtc.get(crtc::VERTICAL_RETRACE_END) & crtc::PROTECT != 0 {
            for mask in writable.iter_mut().take(8) {
                *mask = 0;
            }
            writable[crtc::OVERFLOW] = crtc::LINE_COMPARE_8;
        }
        self.crtc.write_selected(writable, value);
    }
}
