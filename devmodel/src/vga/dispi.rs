//! The Bochs VBE registers, "dispi".
//!
//! While the interface is off, registers keep what is written. Turning it on makes them agree with one another and
//! with the memory there is, and from then on every write does: what is read back is what is shown.
//!
//! Source: `vbe_display_api.txt` of the VGABios project, and QEMU's reading of it in hw/display/vga.c.
//! Invariant: while [`Dispi::enabled`], [`Dispi::geometry`] lies within video memory if that holds one line at all.

use crate::state::{Adopt, StateError};
use serde::{Deserialize, Serialize};

/// Widest picture, in pixels.
pub(super) const MAX_WIDTH: u16 = 1920;
/// Highest picture, in lines.
pub(super) const MAX_HEIGHT: u16 = 1200;
/// Longest line in memory, in pixels.
const MAX_VIRTUAL_WIDTH: u16 = 8192;

/// `VBE_DISPI_ID0`, the oldest version.
const ID0: u16 = 0xb0c0;
/// `VBE_DISPI_ID5`, the newest version: video memory can be asked for.
const ID5: u16 = 0xb0c5;

/// `VBE_DISPI_ENABLED`.
const ENABLED: u16 = 0x01;
/// `VBE_DISPI_GETCAPS`: the size registers read as the greatest values there are.
const GETCAPS: u16 = 0x02;
/// `VBE_DISPI_8BIT_DAC`.
const EIGHT_BIT_DAC: u16 = 0x20;
/// `VBE_DISPI_NOCLEARMEM`.
const NOCLEARMEM: u16 = 0x80;

/// Indexes of the registers, in order.
mod register {
    pub(super) const ID: u16 = 0;
    pub(super) const XRES: u16 = 1;
    pub(super) const YRES: u16 = 2;
    pub(super) const BPP: u16 = 3;
    pub(super) const ENABLE: u16 = 4;
    pub(super) const BANK: u16 = 5;
    pub(super) const VIRT_WIDTH: u16 = 6;
    pub(super) const VIRT_HEIGHT: u16 = 7;
    pub(super) const X_OFFSET: u16 = 8;
    pub(super) const Y_OFFSET: u16 = 9;
    pub(super) const VIDEO_MEMORY_64K: u16 = 10;
}

/// How a pixel is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Four planes, as in the VGA's own 16-colour modes.
    Planar4,
    /// A colour number a byte.
    Indexed8,
    /// Five bits each.
    Rgb555,
    /// Five, six and five bits.
    Rgb565,
    /// Three bytes.
    Rgb888,
    /// Four bytes, one of them unused.
    Xrgb8888,
}

impl Depth {
    /// What the BPP register stands for; what it cannot stand for is eight bits.
    const fn decode(bits: u16) -> Self {
        match bits {
            4 => Self::Planar4,
            15 => Self::Rgb555,
            16 => Self::Rgb565,
            24 => Self::Rgb888,
            32 => Self::Xrgb8888,
            _ => Self::Indexed8,
        }
    }

    /// What the BPP register holds.
    const fn bits_per_pixel(self) -> u16 {
        match self {
            Self::Planar4 => 4,
            Self::Indexed8 => 8,
            Self::Rgb555 => 15,
            Self::Rgb565 => 16,
            Self::Rgb888 => 24,
            Self::Xrgb8888 => 32,
        }
    }

    /// Bytes of video memory that `pixels` pixels take, rounded down.
    pub(super) const fn bytes(self, pixels: u32) -> u32 {
        let half_bytes: u32 = match self {
            Self::Planar4 => 1,
            Self::Indexed8 => 2,
            Self::Rgb555 | Self::Rgb565 => 4,
            Self::Rgb888 => 6,
            Self::Xrgb8888 => 8,
        };
        pixels.saturating_mul(half_bytes) >> 1
    }
}

/// What is shown while the interface is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) depth: Depth,
    /// Bytes from one line to the next.
    pub(super) pitch: u32,
    /// First column shown.
    pub(super) x: u32,
    /// First line shown.
    pub(super) y: u32,
}

/// What the card must do after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Effect {
    Nothing,
    /// Clear video memory from its start.
    Clear {
        bytes: u32,
    },
}

/// The registers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Dispi {
    #[serde(skip)]
    memory_bytes: u32,
    /// The register that the data port stands for.
    pub(super) index: u16,
    id: u16,
    width: u16,
    height: u16,
    bits_per_pixel: u16,
    enable: u16,
    bank: u16,
    virtual_width: u16,
    x: u16,
    y: u16,
}

impl Adopt for Dispi {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        *self = Self { memory_bytes: self.memory_bytes, ..saved };
        Ok(())
    }
}

impl Dispi {
    pub(super) const fn new(memory_bytes: u32) -> Self {
        Self {
            memory_bytes,
            index: 0,
            id: ID5,
            width: 0,
            height: 0,
            bits_per_pixel: 8,
            enable: 0,
            bank: 0,
            virtual_width: 0,
            x: 0,
            y: 0,
        }
    }

    pub(super) const fn enabled(&self) -> bool {
        self.enable & ENABLED != 0
    }

    pub(super) const fn eight_bit_dac(&self) -> bool {
        self.enable & EIGHT_BIT_DAC != 0
    }

    /// Where the window at 0xa0000 begins: bytes, or planar addresses where the picture is planar.
    pub(super) const fn bank_offset(&self) -> u32 {
        if self.enabled() { (self.bank as u32) << 16 } else { 0 }
    }

    /// Whether the window at 0xa0000 shows bytes in a row, not planes.
    pub(super) fn linear(&self) -> bool {
        self.enabled() && Depth::decode(self.bits_per_pixel) != Depth::Planar4
    }

    /// What is shown, if the interface is on.
    pub(super) fn geometry(&self) -> Option<Geometry> {
        self.enabled().then(|| Geometry {
            width: self.width.into(),
            height: self.height.into(),
            depth: Depth::decode(self.bits_per_pixel),
            pitch: self.pitch(),
            x: self.x.into(),
            y: self.y.into(),
        })
    }

    pub(super) fn read(&self, index: u16) -> u16 {
        let capabilities = self.enable & GETCAPS != 0;
        match index {
            register::ID => self.id,
            register::XRES if capabilities => MAX_WIDTH,
            register::YRES if capabilities => MAX_HEIGHT,
            register::BPP if capabilities => 32,
            register::XRES => self.width,
            register::YRES => self.height,
            register::BPP => self.bits_per_pixel,
            register::ENABLE => self.enable,
            register::BANK => self.bank,
            register::VIRT_WIDTH => self.virtual_width,
            register::VIRT_HEIGHT => u16::try_from(self.lines()).unwrap_or(u16::MAX),
            register::X_OFFSET => self.x,
            register::Y_OFFSET => self.y,
            register::VIDEO_MEMORY_64K => u16::try_from(self.memory_bytes >> 16).unwrap_or(u16::MAX),
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, index: u16, value: u16) -> Effect {
        match index {
            register::ID if (ID0..=ID5).contains(&value) => self.id = value,
            register::XRES => self.width = value,
            register::YRES => self.height = value,
            register::BPP => self.bits_per_pixel = value,
            register::ENABLE => return self.write_enable(value),
            register::BANK => self.bank = value,
            register::VIRT_WIDTH => self.virtual_width = value,
            register::X_OFFSET => self.x = value,
            register::Y_OFFSET => self.y = value,
            _ => {}
        }
        self.settle();
        Effect::Nothing
    }

    fn write_enable(&mut self, value: u16) -> Effect {
        let before = self.enabled();
        self.enable = value;
        if before || !self.enabled() {
            return Effect::Nothing;
        }
        (self.virtual_width, self.x, self.y, self.bank) = (0, 0, 0, 0);
        self.settle();
        if value & NOCLEARMEM != 0 {
            return Effect::Nothing;
        }
        let bytes = self.pitch().saturating_mul(self.height.into());
        Effect::Clear { bytes: bytes.min(self.memory_bytes) }
    }

    /// Makes the registers agree with one another and with the memory there is.
    fn settle(&mut self) {
        if !self.enabled() {
            return;
        }
        self.bits_per_pixel = Depth::decode(self.bits_per_pixel).bits_per_pixel();
        self.width = self.width.clamp(8, MAX_WIDTH) & !7;
        self.virtual_width = self.virtual_width.clamp(self.width, MAX_VIRTUAL_WIDTH) & !7;
        let lines = u16::try_from(self.lines()).unwrap_or(u16::MAX).max(1);
        self.height = self.height.clamp(1, MAX_HEIGHT.min(lines));
        self.x = self.x.min(self.virtual_width.saturating_sub(self.width));
        self.y = self.y.min(lines.saturating_sub(self.height));
        // Banks count bytes where the picture is linear, planar addresses (of four bytes) where it is not.
        let banks = if self.linear() { self.memory_bytes >> 16 } else { self.memory_bytes >> 18 };
        self.bank = self.bank.min(u16::try_from(banks.saturating_sub(1)).unwrap_or(u16::MAX));
    }

    /// Bytes from one line to the next.
    fn pitch(&self) -> u32 {
        Depth::decode(self.bits_per_pixel).bytes(self.virtual_width.into())
    }

    /// How many lines video memory holds.
    fn lines(&self) -> u32 {
        self.memory_bytes.checked_div(self.pitch()).unwrap_or(0)
    }
}
