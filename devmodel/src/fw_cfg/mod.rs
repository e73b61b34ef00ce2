//! QEMU's firmware configuration device, ports 0x510 and 0x511.
//!
//! Software writes the number of an item to port 0x510 (16 bits) and reads the item byte by byte from port 0x511, from
//! its start, or whole by [`dma`]. Items from 0x20 on are files; item 0x19 is the directory that names them. [`linux`] puts
//! a kernel into items.
//!
//! SeaBIOS looks for the device under Xen too (`qemu_cfg_init` does not ask what it runs on). When it finds one, it
//! reads the file `bootorder`, which goes before the order in [`crate::cmos`]; it adds the memory above 4 GiB that CMOS
//! tells of to its map; and it shows its boot menu, for which it waits 2.5 seconds, only when item 0x0e asks for it,
//! whereas without the device it always does. QEMU itself offers the device to a Xen guest only when it loads a kernel
//! for it (`-kernel`).
//!
//! Source: QEMU `docs/specs/fw_cfg.rst`; SeaBIOS `src/fw/paravirt.c`.
//! Not modelled: items that can be written, which no part of this machine needs.
//! Invariant: items are made before the guest runs; the guest moves `position` only, and reads zeros beyond an item's end.

use crate::state::{Adopt, StateError};
use serde::{Deserialize, Serialize};

pub mod dma;
pub mod linux;

use crate::access::Width;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// First port.
pub const FIRST_PORT: u16 = 0x510;
/// Last port.
pub const LAST_PORT: u16 = 0x511;

/// "QEMU".
const SIGNATURE: u16 = 0x00;
/// What the interface can do.
const ID: u16 = 0x01;
/// The machine's UUID.
const UUID: u16 = 0x02;
/// Bytes of memory, 64 bits.
const RAM_SIZE: u16 = 0x03;
/// Nonzero: there is no screen.
const NO_GRAPHIC: u16 = 0x04;
/// CPUs that are present.
const CPUS: u16 = 0x05;
/// Nonzero: show the boot menu.
const BOOT_MENU: u16 = 0x0e;
/// CPUs that there can be.
const MAX_CPUS: u16 = 0x0f;
/// The directory of files.
const FILE_DIRECTORY: u16 = 0x19;
/// The first file.
const FIRST_FILE: u16 = 0x20;

/// ID: selecting and reading by ports works.
const ID_TRADITIONAL: u32 = 1 << 0;
/// ID: so does [`dma`].
const ID_DMA: u32 = 1 << 1;
/// Selector: the item would be written to.
const SELECT_WRITE: u16 = 0x4000;
/// Bytes of a file's name in the directory, with the zero at its end.
const NAME_LEN: usize = 56;

/// What the machine is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FwCfgConfig<'a> {
    /// Bytes of memory.
    pub memory: u64,
    /// Virtual CPUs.
    pub cpus: u16,
    /// Show the boot menu.
    pub boot_menu: bool,
    /// The machine's UUID, as SMBIOS shows it.
    pub uuid: [u8; 16],
    /// Paths of devices, the first to be booted first: see [`ide_path`] and [`nic_path`]. Empty: CMOS has the order.
    pub boot_paths: &'a [String],
}

/// A number and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    key: u16,
    /// What is large lies where the toolstack has put it.
    bytes: Cow<'static, [u8]>,
}

/// The device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FwCfg {
    #[serde(skip)]
    items: Vec<Item>,
    /// Place in `items`; `None` reads as zeros.
    selected: Option<usize>,
    /// The next byte to read.
    position: usize,
    /// The upper half of the address of a DMA descriptor.
    descriptor: u64,
}

impl Adopt for FwCfg {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        *self = Self { items: core::mem::take(&mut self.items), ..saved };
        Ok(())
    }
}

impl FwCfg {
    /// The items of a machine.
    #[must_use]
    pub fn new(config: &FwCfgConfig<'_>) -> Self {
        let mut fw_cfg = Self { items: Vec::new(), selected: None, position: 0, descriptor: 0 };
        fw_cfg.add(SIGNATURE, b"QEMU".as_slice());
        fw_cfg.add(ID, (ID_TRADITIONAL | ID_DMA).to_le_bytes().to_vec());
        fw_cfg.add(UUID, config.uuid.to_vec());
        fw_cfg.add(RAM_SIZE, config.memory.to_le_bytes().to_vec());
        fw_cfg.add(NO_GRAPHIC, 0_u16.to_le_bytes().to_vec());
        fw_cfg.add(CPUS, config.cpus.to_le_bytes().to_vec());
        fw_cfg.add(BOOT_MENU, u16::from(config.boot_menu).to_le_bytes().to_vec());
        fw_cfg.add(MAX_CPUS, config.cpus.to_le_bytes().to_vec());
        fw_cfg.add(FILE_DIRECTORY, 0_u32.to_be_bytes().to_vec());
        if !config.boot_paths.is_empty() {
            let mut order = config.boot_paths.join("\n").into_bytes();
            order.push(0);
            fw_cfg.add_file("bootorder", order);
        }
        fw_cfg.reset();
        fw_cfg
    }

    /// Adds a file. Only while the machine is built; a name longer than 55 bytes is cut.
    pub fn add_file(&mut self, name: &str, bytes: Vec<u8>) {
        let files = self.items.iter().filter(|item| item.key >= FIRST_FILE).count();
        let (Ok(count), Ok(len)) = (u16::try_from(files), u32::try_from(bytes.len())) else { return };
        let key = FIRST_FILE.saturating_add(count);
        let Some(directory) = self.items.iter_mut().find(|item| item.key == FILE_DIRECTORY) else { return };
        let directory = directory.bytes.to_mut();
        for (byte, new) in directory.iter_mut().zip(u32::from(count).saturating_add(1).to_be_bytes()) {
            *byte = new;
        }
        directory.extend_from_slice(&len.to_be_bytes());
        directory.extend_from_slice(&key.to_be_bytes());
        directory.extend_from_slice(&[0; 2]);
        let padding = core::iter::repeat(0);
        directory.extend(name.bytes().take(NAME_LEN.saturating_sub(1)).chain(padding).take(NAME_LEN));
        self.items.push(Item { key, bytes: bytes.into() });
    }

    /// Selects the signature again, as after power on.
    pub fn reset(&mut self) {
        self.select(SIGNATURE);
        self.descriptor = 0;
    }

    /// Reads at [`FIRST_PORT`] + `offset`: the next byte of the item, at either port.
    pub fn read(&mut self, _offset: u16, width: Width) -> u64 {
        if width == Width::Byte { u64::from(self.next_byte()) } else { width.all_ones() }
    }

    /// Writes at [`FIRST_PORT`] + `offset`: sixteen bits at the first port select an item.
    pub fn write(&mut self, offset: u16, width: Width, value: u64) {
        if (offset, width) == (0, Width::Word) {
            let [low, high, ..] = value.to_le_bytes();
            self.select(u16::from_le_bytes([low, high]));
        }
    }

    fn select(&mut self, selector: u16) {
        let key = selector & !SELECT_WRITE;
        self.selected = self.items.iter().position(|item| item.key == key);
        self.position = 0;
    }

    fn next_byte(&mut self) -> u8 {
        let byte = self.rest().first().copied();
        self.skip(1);
        byte.unwrap_or(0)
    }

    /// What is left of the selected item.
    fn rest(&self) -> &[u8] {
        let item = self.selected.and_then(|place| self.items.get(place));
        item.and_then(|item| item.bytes.get(self.position..)).unwrap_or_default()
    }

    /// Moves on in the selected item, at most to its end.
    fn skip(&mut self, len: usize) {
        self.position = self.position.saturating_add(len.min(self.rest().len()));
    }

    fn add(&mut self, key: u16, bytes: impl Into<Cow<'static, [u8]>>) {
        self.items.push(Item { key, bytes: bytes.into() });
    }
}

/// The name that firmware gives the disk or CD at a place of the PIIX3 IDE controller (slot 1, function 1).
#[must_use]
pub fn ide_path(channel: u8, unit: u8) -> String {
    format!("/pci@i0cf8/ide@1,1/drive@{channel:x}/disk@{unit:x}")
}

/// The name that firmware gives the network card in a slot of bus 0.
#[must_use]
pub fn nic_path(slot: u8) -> String {
    format!("/pci@i0cf8/ethernet@{slot:x}/ethernet-phy@0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn machine() -> FwCfg {
        let paths = [ide_path(1, 0), ide_path(0, 0), nic_path(4)];
        FwCfg::new(&FwCfgConfig { memory: 3 << 30, cpus: 2, boot_paths: &paths, ..FwCfgConfig::default() })
    }

    fn item(fw_cfg: &mut FwCfg, key: u16, len: usize) -> Vec<u8> {
        fw_cfg.write(0, Width::Word, u64::from(key));
        (0..len).map(|_| fw_cfg.read(1, Width::Byte).to_le_bytes()[0]).collect()
    }

    /// SeaBIOS `qemu_cfg_detect`.
    #[test]
    fn the_device_shows_its_signature_and_dma() {
        let mut fw_cfg = machine();
        assert_eq!(item(&mut fw_cfg, 0, 4), b"QEMU");
        assert_eq!(item(&mut fw_cfg, 1, 4), [3, 0, 0, 0]);
    }

    #[test]
    fn the_legacy_items_have_their_widths() {
        let mut fw_cfg = machine();
        assert_eq!(item(&mut fw_cfg, 3, 8), (3_u64 << 30).to_le_bytes());
        assert_eq!(item(&mut fw_cfg, 5, 2), [2, 0]);
        assert_eq!(item(&mut fw_cfg, 0x0f, 2), [2, 0]);
        assert_eq!(item(&mut fw_cfg, 0x0e, 2), [0, 0]);
    }

    /// fw_cfg.rst: count and entries of the directory are big-endian; a name has 56 bytes.
    #[test]
    fn the_directory_names_the_boot_order() {
        let mut fw_cfg = machine();
        fw_cfg.add_file("etc/boot-fail-wait", vec![1, 0, 0, 0]);
        let directory = item(&mut fw_cfg, 0x19, 4 + 2 * 64);
        assert_eq!(directory[..4], [0, 0, 0, 2]);
        assert_eq!(directory[8..12], [0, 0x20, 0, 0]);
        assert_eq!(&directory[12..22], b"bootorder\0");
        assert_eq!(directory[72..74], [0, 0x21]);
        let len = usize::try_from(u32::from_be_bytes(directory[4..8].try_into().unwrap())).unwrap();
        let order = item(&mut fw_cfg, 0x20, len);
        let expected = "/pci@i0cf8/ide@1,1/drive@1/disk@0\n/pci@i0cf8/ide@1,1/drive@0/disk@0\n\
                        /pci@i0cf8/ethernet@4/ethernet-phy@0\0";
        assert_eq!(order, expected.as_bytes());
        assert_eq!(item(&mut fw_cfg, 0x21, 4), [1, 0, 0, 0]);
    }

    #[test]
    fn what_lies_beyond_an_item_or_has_no_item_is_zero() {
        let mut fw_cfg = machine();
        assert_eq!(item(&mut fw_cfg, 0, 6), b"QEMU\0\0");
        assert_eq!(item(&mut fw_cfg, 0x8003, 4), [0; 4]);
        assert_eq!(item(&mut fw_cfg, 0xffff, 4), [0; 4]);
    }

    #[test]
    fn other_widths_select_nothing_and_writes_change_nothing() {
        let mut fw_cfg = machine();
        let before = fw_cfg.clone();
        fw_cfg.write(0, Width::Byte, 1);
        fw_cfg.write(0, Width::Dword, 1);
        fw_cfg.write(1, Width::Byte, 0x55);
        assert_eq!(fw_cfg, before);
        assert_eq!(fw_cfg.read(1, Width::Word), 0xffff);
        assert_eq!(fw_cfg.read(1, Width::Byte), u64::from(b'Q'));
    }

    #[test]
    fn any_accesses_leave_the_items_alone() {
        let mut fw_cfg = machine();
        let items = fw_cfg.items.clone();
        let mut state = 0x1234_5678_u32;
        for _ in 0..200_000 {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let [selector, low, ..] = state.to_le_bytes();
            let width = if selector & 2 == 0 { Width::Word } else { Width::Byte };
            fw_cfg.write(u16::from(selector & 1), width, u64::from(low & 0x3f));
            let _ = fw_cfg.read(u16::from(selector & 1), Width::Byte);
        }
        assert_eq!(fw_cfg.items, items);
    }
}
