//! Guest memory, and what lies in its place below 1 MiB and below 4 GiB.
//!
//! | addresses | what |
//! |---|---|
//! | 0 to 0x9ffff | RAM |
//! | 0xa0000 to 0xbffff | the bus: the window of the graphics card; RAM while SMRAM is shown |
//! | 0xc0000 to 0xfffff | RAM or ROM, as the host bridge's PAM registers say, for reads and writes apart |
//! | 1 MiB to the end of low RAM, at most 0xf0000000 | RAM |
//! | below 4 GiB | the firmware, as long as it is |
//! | from 4 GiB on | the rest of RAM |
//! | everything else | the bus |
//!
//! Source: Intel 82441FX (PMC) data sheet, PAM0 to PAM6; QEMU `hw/pci-host/i440fx.c`.
//! A CPU keeps decoded code, and has to know when it changes: blocks of RAM are watched for writes, whoever makes them.
//! Not modelled: writes to ROM go nowhere, not to the bus; devices see SMRAM, too, as long as it is shown.

use crate::cpu::bus::{BLOCK as BLOCK_BYTES, Changed};

/// RAM below 4 GiB ends here at the latest, as CMOS says.
const LOW_MAX: u64 = 0xf000_0000;
/// The same as an index.
const LOW_MAX_BYTES: usize = as_usize(0xf000_0000);
/// Where the rest of RAM begins.
const HIGH: u64 = 1 << 32;
/// Bytes of the firmware that are visible below 1 MiB.
const SHADOW_MAX: usize = 128 << 10;
/// Bytes of a block that is watched.
const BLOCK: usize = as_usize(BLOCK_BYTES);
/// PAM, RE: reads go to RAM.
const READ_ENABLE: u8 = 1;
/// PAM, WE: writes go to RAM.
const WRITE_ENABLE: u8 = 2;

/// Guest memory.
#[derive(Debug)]
pub(crate) struct Ram {
    bytes: Vec<u8>,
    low: u64,
    firmware: Vec<u8>,
    pam: [u8; 7],
    smram: bool,
    /// The blocks that are watched.
    watched: Vec<bool>,
    changed: Changed,
}

/// What answers for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// RAM, from this byte on.
    Ram(usize),
    /// The firmware, from this byte on.
    Firmware(usize),
    /// ROM without content: reads as zero, as QEMU's does.
    EmptyRom,
    /// A device or nobody.
    Bus,
}

/// A piece of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// It was done.
    Done(usize),
    /// So many bytes are for the bus.
    Bus(usize),
}

impl Ram {
    /// So many bytes of RAM, and the firmware.
    pub(crate) fn new(bytes: usize, firmware: Vec<u8>) -> Self {
        let low = u64::try_from(bytes).unwrap_or(u64::MAX).min(LOW_MAX);
        let watched = Vec::new();
        Self { bytes: vec![0; bytes], low, firmware, pam: [0; 7], smram: false, watched, changed: Changed::Nothing }
    }

    /// The host bridge's PAM registers, 0x59 to 0x5f.
    pub(crate) fn set_pam(&mut self, pam: [u8; 7]) {
        if pam != self.pam {
            self.changed = Changed::Everything;
        }
        self.pam = pam;
    }

    /// Shows SMRAM, or the bus again.
    pub(crate) fn show_smram(&mut self, shown: bool) {
        self.smram = shown;
    }

    /// All of the RAM, whatever the host bridge says.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        self.changed = Changed::Everything;
        &mut self.bytes
    }

    /// A piece of RAM that is always there, at an address below 640 KiB or from 1 MiB on.
    pub(crate) fn plain(&self, addr: usize, len: usize) -> Option<&[u8]> {
        let is_plain =
            addr.saturating_add(len) <= 0xa_0000 || addr >= 0x10_0000 && addr.saturating_add(len) <= LOW_MAX_BYTES;
        if is_plain { self.bytes.get(addr..addr.saturating_add(len)) } else { None }
    }

    /// The same, to be written.
    pub(crate) fn plain_mut(&mut self, addr: usize, len: usize) -> Option<&mut [u8]> {
        let is_plain =
            addr.saturating_add(len) <= 0xa_0000 || addr >= 0x10_0000 && addr.saturating_add(len) <= LOW_MAX_BYTES;
        if !is_plain {
            return None;
        }
        self.note(addr, len);
        self.bytes.get_mut(addr..addr.saturating_add(len))
    }

    /// Watches the code at an address. `false`: it is not RAM or ROM, or does not lie in one place.
    pub(crate) fn watch(&mut self, addr: u64, len: usize) -> bool {
        if (0xa_0000..0xc_0000).contains(&addr) {
            return false;
        }
        match self.target(addr, len, READ_ENABLE) {
            (_, part) if part < len => false,
            (Target::Ram(at), _) => {
                if self.watched.is_empty() {
                    self.watched = vec![false; self.bytes.len().div_ceil(BLOCK)];
                }
                for block in at / BLOCK..=(at + len.saturating_sub(1)) / BLOCK {
                    if let Some(watched) = self.watched.get_mut(block) {
                        *watched = true;
                    }
                }
                true
            }
            (Target::Firmware(_), _) => true,
            _ => false,
        }
    }

    /// Whether watched code has changed.
    pub(crate) fn has_changed(&self) -> bool {
        self.changed != Changed::Nothing
    }

    /// Takes what has changed of it.
    pub(crate) fn take_changed(&mut self) -> Changed {
        std::mem::replace(&mut self.changed, Changed::Nothing)
    }

    /// Notes that something is written there.
    fn note(&mut self, at: usize, len: usize) {
        if self.watched.is_empty() {
            return;
        }
        for block in at / BLOCK..=at.saturating_add(len.saturating_sub(1)) / BLOCK {
            let Some(watched) = self.watched.get_mut(block).filter(|watched| **watched) else { continue };
            *watched = false;
            let Ok(number) = u32::try_from(block) else { continue };
            match &mut self.changed {
                Changed::Everything => {}
                Changed::Blocks(blocks) => blocks.push(number),
                Changed::Nothing => self.changed = Changed::Blocks(vec![number]),
            }
        }
    }

    /// Reads as much as one answerer has from the start of `data`.
    pub(crate) fn read(&self, addr: u64, data: &mut [u8]) -> Piece {
        let (target, len) = self.target(addr, data.len(), READ_ENABLE);
        let data = &mut data[..len];
        match target {
            Target::Ram(at) => data.copy_from_slice(&self.bytes[at..at + len]),
            Target::Firmware(at) => data.copy_from_slice(&self.firmware[at..at + len]),
            Target::EmptyRom => data.fill(0),
            Target::Bus => return Piece::Bus(len),
        }
        Piece::Done(len)
    }

    /// Writes as much as goes to one answerer.
    pub(crate) fn write(&mut self, addr: u64, data: &[u8]) -> Piece {
        let (target, len) = self.target(addr, data.len(), WRITE_ENABLE);
        match target {
            Target::Ram(at) => {
                self.note(at, len);
                self.bytes[at..at + len].copy_from_slice(&data[..len]);
            }
            Target::Firmware(_) | Target::EmptyRom => {}
            Target::Bus => return Piece::Bus(len),
        }
        Piece::Done(len)
    }

    /// Who answers at `addr`, and for how many of `len` bytes.
    fn target(&self, addr: u64, len: usize, enable: u8) -> (Target, usize) {
        let firmware_len = self.firmware.len();
        let firmware = HIGH - u64::try_from(firmware_len).unwrap_or(0);
        let shadow_len = firmware_len.min(SHADOW_MAX);
        let shadow = 0x10_0000 - u64::try_from(shadow_len).unwrap_or(0);
        let offset = |from: u64| usize::try_from(addr - from).unwrap_or(usize::MAX);
        let all = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        let (target, end) = match addr {
            0xa_0000..0xc_0000 if self.smram && self.low >= 0xc_0000 => (Target::Ram(offset(0)), 0xc_0000),
            0xa_0000..0xc_0000 => (Target::Bus, 0xc_0000),
            0xc_0000..0x10_0000 => {
                let (attribute, end) = self.attribute(addr);
                let end_before = |limit: u64| if addr < limit { end.min(limit) } else { end };
                match () {
                    () if attribute & enable != 0 && addr < self.low => (Target::Ram(offset(0)), end),
                    () if addr >= shadow => (Target::Firmware(firmware_len - shadow_len + offset(shadow)), end),
                    () => (Target::EmptyRom, end_before(shadow)),
                }
            }
            _ if addr < self.low => {
                (Target::Ram(offset(0)), if addr < 0xa_0000 { self.low.min(0xa_0000) } else { self.low })
            }
            _ if addr >= HIGH && addr - HIGH < all - self.low => {
                let low = usize::try_from(self.low).unwrap_or(usize::MAX);
                (Target::Ram(low + offset(HIGH)), HIGH + (all - self.low))
            }
            _ if (firmware..HIGH).contains(&addr) => (Target::Firmware(offset(firmware)), HIGH),
            _ => (
                Target::Bus,
                [0xa_0000, 0xc_0000, firmware, HIGH].into_iter().find(|end| addr < *end).unwrap_or(u64::MAX),
            ),
        };
        (target, usize::try_from(end - addr).unwrap_or(usize::MAX).min(len))
    }

    /// The attribute of an address from 0xc0000 to 0xfffff, and where its segment ends.
    fn attribute(&self, addr: u64) -> (u8, u64) {
        if addr >= 0xf_0000 {
            return (self.pam[0] >> 4, 0x10_0000);
        }
        let segment = usize::try_from((addr - 0xc_0000) >> 14).unwrap_or(0);
        let attribute = self.pam[1 + segment / 2] >> (4 * (segment % 2));
        (attribute, (addr | 0x3fff) + 1)
    }
}

const fn as_usize(number: u32) -> usize {
    // The machines that it is built for have at least 32 bits.
    number as usize
}

#[cfg(test)]
mod unit {
    use super::*;

    fn read(ram: &Ram, addr: u64) -> Option<u8> {
        let mut data = [0];
        (ram.read(addr, &mut data) == Piece::Done(1)).then_some(data[0])
    }

    fn ram() -> Ram {
        Ram::new(4 << 20, vec![0xb1; 256 << 10])
    }

    #[test]
    fn segments_are_ram_or_rom_for_reads_and_writes_apart() {
        let mut ram = ram();
        assert_eq!([0xd_0000, 0xe_0000, 0xf_ffff].map(|addr| read(&ram, addr)), [Some(0), Some(0xb1), Some(0xb1)]);
        // Writes only, to 0xd4000 to 0xd7fff and to 0xf0000 to 0xfffff.
        ram.set_pam([0x20, 0, 0, 0x20, 0, 0, 0]);
        for addr in [0xd_3fff, 0xd_4000, 0xd_7fff, 0xd_8000, 0xf_0000] {
            assert_eq!(ram.write(addr, &[7]), Piece::Done(1));
        }
        assert_eq!([0xd_4000, 0xf_0000].map(|addr| read(&ram, addr)), [Some(0), Some(0xb1)]);
        ram.set_pam([0x11; 7]);
        let seen = [0xd_3fff, 0xd_4000, 0xd_7fff, 0xd_8000, 0xf_0000].map(|addr| read(&ram, addr));
        assert_eq!(seen, [0, 7, 7, 0, 7].map(Some));
        assert_eq!(ram.write(0xd_4000, &[8]), Piece::Done(1));
        assert_eq!(read(&ram, 0xd_4000), Some(7), "reads only");
    }

    #[test]
    fn pieces_end_where_somebody_else_answers() {
        let mut ram = ram();
        assert_eq!(ram.read(0x9_fff0, &mut [0; 64]), Piece::Done(16));
        assert_eq!(ram.read(0xa_0000, &mut [0; 0x3_0000]), Piece::Bus(0x2_0000));
        assert_eq!(ram.write((4 << 20) - 2, &[1; 8]), Piece::Done(2));
        assert_eq!(ram.read(4 << 20, &mut [0; 8]), Piece::Bus(8));
        assert_eq!(ram.read(0xffff_fffc, &mut [0; 8]), Piece::Done(4));
        assert_eq!(ram.read(u64::MAX - 1, &mut [0; 8]), Piece::Bus(1));
        assert_eq!(Ram::new(4096, vec![]).read(0xc_0000, &mut [1; 8]), Piece::Done(8), "no RAM there");
    }
}
