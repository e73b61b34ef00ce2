//! The colour table: 256 colours of three components, behind ports 0x3c6 to 0x3c9.
//!
//! Source: IBM VGA Technical Reference Manual, "Video digital-to-analog converter". The eight bit mode is that of the
//! Bochs VBE interface: components are then eight bits wide instead of six.

use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

/// The digital-to-analog converter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Dac {
    #[serde(with = "BigArray")]
    colors: [[u8; 3]; 256],
    /// PEL mask: ANDed to every colour number before the look-up.
    mask: u8,
    /// The colour that is written next.
    write_index: u8,
    /// The colour that is read next.
    read_index: u8,
    /// Red and green of the colour being written; they take effect with blue.
    pending: [u8; 2],
    /// Which component comes next: 0 red, 1 green, 2 blue.
    component: u8,
    /// The last address written was one to read from.
    reading: bool,
    eight_bit: bool,
    /// Colours of a pointer, and whether the ports reach them instead of the table.
    extra: [[u8; 3]; 16],
    is_extra: bool,
    /// Counts changes of what a colour number looks like.
    generation: u32,
}

impl Dac {
    pub(super) const fn new() -> Self {
        Self {
            colors: [[0; 3]; 256],
            mask: 0xff,
            write_index: 0,
            read_index: 0,
            pending: [0; 2],
            component: 0,
            reading: false,
            eight_bit: false,
            extra: [[0; 3]; 16],
            is_extra: false,
            generation: 0,
        }
    }

    pub(super) const fn mask(&self) -> u8 {
        self.mask
    }

    pub(super) fn set_mask(&mut self, mask: u8) {
        self.mask = mask;
        self.change();
    }

    /// DAC state register: 3 while colours are read, 0 while they are written.
    pub(super) const fn state(&self) -> u8 {
        if self.reading { 3 } else { 0 }
    }

    pub(super) const fn write_index(&self) -> u8 {
        self.write_index
    }

    pub(super) fn set_read_index(&mut self, index: u8) {
        self.read_index = index;
        self.component = 0;
        self.reading = true;
    }

    pub(super) fn set_write_index(&mut self, index: u8) {
        self.write_index = index;
        self.component = 0;
        self.reading = false;
    }

    pub(super) fn read(&mut self) -> u8 {
        let color = match self.is_extra {
            true => self.extra.get(usize::from(self.read_index & 0x0f)),
            false => self.colors.get(usize::from(self.read_index)),
        };
        let color = color.copied().unwrap_or_default();
        let value = color.get(usize::from(self.component)).copied().unwrap_or(0);
        if self.next_component() {
            self.read_index = self.read_index.wrapping_add(1);
        }
        value
    }

    pub(super) fn write(&mut self, value: u8) {
        let value = if self.eight_bit { value } else { value & 0x3f };
        if let Some(pending) = self.pending.get_mut(usize::from(self.component)) {
            *pending = value;
        } else {
            let color = match self.is_extra {
                true => self.extra.get_mut(usize::from(self.write_index & 0x0f)),
                false => self.colors.get_mut(usize::from(self.write_index)),
            };
            let [red, green] = self.pending;
            if let Some(color) = color {
                *color = [red, green, value];
            }
            self.change();
        }
        if self.next_component() {
            self.write_index = self.write_index.wrapping_add(1);
        }
    }

    pub(super) fn set_eight_bit(&mut self, eight_bit: bool) {
        if self.eight_bit != eight_bit {
            self.eight_bit = eight_bit;
            self.change();
        }
    }

    /// Whether the ports reach the colours of a pointer.
    pub(super) const fn select_extra(&mut self, is_extra: bool) {
        self.is_extra = is_extra;
    }

    /// The two colours of a pointer.
    pub(super) fn pointer_colors(&self) -> [u32; 2] {
        let [first, .., last] = self.extra;
        [first, last].map(|color| self.shown(color))
    }

    pub(super) const fn generation(&self) -> u32 {
        self.generation
    }

    /// What colour number `index` looks like, as `0x00RRGGBB`.
    pub(super) fn color(&self, index: u8) -> u32 {
        let color = self.colors.get(usize::from(index & self.mask)).copied().unwrap_or_default();
        self.shown(color)
    }

    fn shown(&self, color: [u8; 3]) -> u32 {
        let [red, green, blue] =
            color.map(|part| if self.eight_bit { part } else { (part & 0x3f) << 2 | part >> 4 & 3 });
        u32::from_be_bytes([0, red, green, blue])
    }

    /// Goes on to the next component; true after blue.
    fn next_component(&mut self) -> bool {
        self.component = match self.component {
            0 => 1,
            1 => 2,
            _ => 0,
        };
        self.component == 0
    }

    fn change(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }
}
