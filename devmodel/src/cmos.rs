//! The battery-backed memory beside the clock (CMOS RAM), ports 0x70 and 0x71.
//!
//! Software writes an index to port 0x70 and reads or writes the byte at port 0x71. Firmware finds the size of memory,
//! the boot order and the geometry of disks here.
//!
//! The clock itself is Xen's: it answers for bytes 0 to 13, and hands on every other access, including the write of an
//! index above 13 (Xen `xen/arch/x86/hvm/rtc.c`). The index of a byte below 14 never arrives here, and does not need to,
//! because the data access that belongs to it does not arrive either.
//!
//! Source: IBM PC AT Technical Reference, "CMOS RAM"; Bochs and QEMU for the bytes above 0x33; SeaBIOS `src/hw/rtc.h`,
//! `src/boot.c`, `src/block.c`; hvmloader `cmos_write_memory_size` (it overwrites the memory sizes below 4 GiB).
//! Not modelled: the clock (bytes 0 to 13 are plain storage here); the battery: content lasts as long as the machine.
//! Invariant: `index` is below 128.

use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

/// What BIOS code boots from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootDevice {
    /// A floppy disk.
    Floppy,
    /// A hard disk.
    HardDisk,
    /// A CD.
    Cdrom,
    /// A network card.
    Network,
}

impl BootDevice {
    /// Decodes a letter of a boot order such as `cda`.
    #[must_use]
    pub const fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'a' | b'b' => Some(Self::Floppy),
            b'c' => Some(Self::HardDisk),
            b'd' => Some(Self::Cdrom),
            b'n' => Some(Self::Network),
            _ => None,
        }
    }

    /// The number that Bochs gave it; 0 is none.
    const fn code(self) -> u8 {
        match self {
            Self::Floppy => 1,
            Self::HardDisk => 2,
            Self::Cdrom => 3,
            Self::Network => 4,
        }
    }
}

/// What the machine is made of, as far as firmware reads it here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CmosConfig<'a> {
    /// Bytes of memory below 4 GiB.
    pub memory_below_4g: u64,
    /// Bytes of memory above 4 GiB. Zero under Xen: SeaBIOS adds what it finds here to its memory map, and there has
    /// the better one of hvmloader, which may have moved memory around.
    pub memory_above_4g: u64,
    /// Virtual CPUs.
    pub cpus: u16,
    /// What to boot from; the first three count.
    pub boot_order: &'a [BootDevice],
    /// Sectors of the hard disks at the four places of the IDE channels, primary master first. A CD drive is none.
    pub ide_disk_sectors: [Option<u64>; 4],
}

/// Why the last reset was.
const SHUTDOWN_STATUS: u8 = 0x0f;
/// SHUTDOWN_STATUS: to wake up from sleep state S3, as Bochs and QEMU have it.
const WAKING: u8 = 0xfe;

/// Number of bytes.
const LEN: usize = 128;

/// Heads of the geometry that large ATA disks report.
const HEADS: u8 = 16;
/// Sectors a track of the geometry that large ATA disks report.
const SECTORS: u8 = 63;
/// Sectors a cylinder of that geometry.
const SECTORS_PER_CYLINDER: u64 = 16 * 63;

/// The memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cmos {
    index: u8,
    #[serde(with = "BigArray")]
    bytes: [u8; LEN],
}

impl Cmos {
    /// The content as a set-up program would have left it.
    #[must_use]
    pub fn new(config: &CmosConfig<'_>) -> Self {
        let mut cmos = Self { index: 0, bytes: [0; LEN] };
        // Register D: the battery is good.
        cmos.set(0x0d, 0x80);
        cmos.set_memory(config);
        cmos.set_boot_order(config.boot_order);
        cmos.set_disks(config.ide_disk_sectors);
        // Equipment: a mathematics coprocessor and a PS/2 mouse. No floppy drive (byte 0x10 is 0).
        cmos.set(0x14, 0x06);
        // The century, BCD. Xen's clock keeps the year within it and assumes this one.
        cmos.set(0x32, 0x20);
        // CPUs beyond the first one.
        let [cpus, ..] = config.cpus.saturating_sub(1).min(0xff).to_le_bytes();
        cmos.set(0x5f, cpus);
        cmos.set_checksum();
        cmos
    }

    /// Reads port 0x70 + `offset`. The index cannot be read back.
    #[must_use]
    pub fn read(&self, offset: u16) -> u8 {
        if offset & 1 == 0 { 0xff } else { self.bytes.get(usize::from(self.index)).copied().unwrap_or(0xff) }
    }

    /// Writes port 0x70 + `offset`.
    pub fn write(&mut self, offset: u16, value: u8) {
        if offset & 1 == 0 {
            // Bit 7 masks the non-maskable interrupt.
            self.index = value & 0x7f;
        } else {
            self.set(self.index, value);
        }
    }

    /// Says that memory was kept: after the next reset, firmware goes to where the operating system wants to wake up.
    pub fn set_waking(&mut self) {
        self.set(SHUTDOWN_STATUS, WAKING);
    }

    fn set(&mut self, index: u8, value: u8) {
        if let Some(byte) = self.bytes.get_mut(usize::from(index)) {
            *byte = value;
        }
    }

    fn set_word(&mut self, index: u8, value: u16) {
        let [low, high] = value.to_le_bytes();
        self.set(index, low);
        self.set(index.wrapping_add(1), high);
    }

    fn set_memory(&mut self, config: &CmosConfig<'_>) {
        // KiB below 1 MiB that are conventional memory.
        self.set_word(0x15, 640);
        // KiB above 1 MiB, once for the BIOS and once for the power-on self test.
        let extended = saturating_word(config.memory_below_4g.saturating_sub(1 << 20) >> 10);
        self.set_word(0x17, extended);
        self.set_word(0x30, extended);
        // 64 KiB blocks above 16 MiB.
        self.set_word(0x34, saturating_word(config.memory_below_4g.saturating_sub(16 << 20) >> 16));
        // 64 KiB blocks above 4 GiB.
        let [b0, b1, b2, ..] = (config.memory_above_4g >> 16).min(0xff_ffff).to_le_bytes();
        self.set(0x5b, b0);
        self.set(0x5c, b1);
        self.set(0x5d, b2);
    }

    /// Says what to boot from, as a set-up program would.
    pub fn set_boot_order(&mut self, order: &[BootDevice]) {
        let code = |place: usize| order.get(place).map_or(0, |device| device.code());
        self.set(0x3d, code(0) | (code(1) << 4));
        // Bit 0, clear at first: a floppy disk without a boot signature is booted.
        let flags = self.bytes.get(0x38).copied().unwrap_or(0) & 1;
        self.set(0x38, code(2) << 4 | flags);
    }

    fn set_disks(&mut self, disks: [Option<u64>; 4]) {
        let mut types = 0;
        let mut translations = 0;
        for (sectors, place) in disks.into_iter().zip(0_u8..) {
            let Some(sectors) = sectors else { continue };
            let cylinders = (sectors / SECTORS_PER_CYLINDER).clamp(2, 16383);
            // BIOS calls have ten bits for the cylinder: a larger disk is shown with more heads ("LBA" translation).
            if cylinders > 1024 {
                translations |= 1_u8 << place.saturating_mul(2);
            }
            match place {
                0 => {
                    types |= 0xf0;
                    self.set_disk_type(0x19, 0x1b, saturating_word(cylinders));
                }
                1 => {
                    types |= 0x0f;
                    self.set_disk_type(0x1a, 0x24, saturating_word(cylinders));
                }
                _ => {}
            }
        }
        self.set(0x12, types);
        self.set(0x39, translations);
    }

    /// Describes one of the first two disks, nine bytes from `first` on.
    fn set_disk_type(&mut self, type_at: u8, first: u8, cylinders: u16) {
        // Type 47: the geometry is in the bytes that follow.
        self.set(type_at, 47);
        let [low, high] = cylinders.to_le_bytes();
        // Cylinders, heads, no write precompensation, more than eight heads, landing zone, sectors.
        let description = [low, high, HEADS, 0xff, 0xff, 0xc8, low, high, SECTORS];
        for (value, index) in description.into_iter().zip(first..) {
            self.set(index, value);
        }
    }

    /// The sum over bytes 0x10 to 0x2d, high byte first.
    fn set_checksum(&mut self) {
        let sum = self.bytes.iter().take(0x2e).skip(0x10).fold(0_u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
        let [high, low] = sum.to_be_bytes();
        self.set(0x2e, high);
        self.set(0x2f, low);
    }
}

fn saturating_word(value: u64) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(cmos: &mut Cmos, index: u8) -> u8 {
        cmos.write(0, index);
        cmos.read(1)
    }

    fn word(cmos: &mut Cmos, index: u8) -> u16 {
        u16::from_le_bytes([at(cmos, index), at(cmos, index + 1)])
    }

    /// The same figures as hvmloader's `cmos_write_memory_size`.
    #[test]
    fn memory_sizes_are_in_the_units_of_each_field() {
        let mut cmos =
            Cmos::new(&CmosConfig { memory_below_4g: 120 << 20, memory_above_4g: 5 << 30, ..CmosConfig::default() });
        assert_eq!(word(&mut cmos, 0x15), 640);
        assert_eq!(word(&mut cmos, 0x17), 0xffff);
        assert_eq!(word(&mut cmos, 0x30), 0xffff);
        assert_eq!(word(&mut cmos, 0x34), 104 * 16);
        assert_eq!(word(&mut cmos, 0x5b), 0x4000);
        assert_eq!(at(&mut cmos, 0x5d), 1);
        let mut small = Cmos::new(&CmosConfig { memory_below_4g: 8 << 20, ..CmosConfig::default() });
        assert_eq!(word(&mut small, 0x17), 7 * 1024);
        assert_eq!(word(&mut small, 0x34), 0);
    }

    /// SeaBIOS `boot_init`: low nibble of 0x3d, high nibble of 0x3d, high nibble of 0x38.
    #[test]
    fn the_boot_order_cda_is_disk_cd_floppy() {
        let order: std::vec::Vec<BootDevice> = b"cda".iter().filter_map(|l| BootDevice::from_letter(*l)).collect();
        let mut cmos = Cmos::new(&CmosConfig { boot_order: &order, ..CmosConfig::default() });
        assert_eq!((at(&mut cmos, 0x3d), at(&mut cmos, 0x38)), (0x32, 0x10));
    }

    /// SeaBIOS `get_translation`: two bits a disk; 0 is none, 1 is LBA.
    #[test]
    fn disks_beyond_1024_cylinders_ask_for_translation() {
        let small = 1024 * 16 * 63;
        let disks = [Some(small), Some(small + 16 * 63), None, Some(1 << 31)];
        let mut cmos = Cmos::new(&CmosConfig { ide_disk_sectors: disks, ..CmosConfig::default() });
        assert_eq!(at(&mut cmos, 0x39), 0b01_00_01_00);
        assert_eq!(at(&mut cmos, 0x12), 0xff);
        assert_eq!((at(&mut cmos, 0x19), at(&mut cmos, 0x1a)), (47, 47));
        assert_eq!((word(&mut cmos, 0x1b), at(&mut cmos, 0x1d), at(&mut cmos, 0x23)), (1024, 16, 63));
        assert_eq!(word(&mut cmos, 0x24), 1025);
    }

    #[test]
    fn the_checksum_covers_bytes_0x10_to_0x2d() {
        let mut cmos = Cmos::new(&CmosConfig { memory_below_4g: 64 << 20, ..CmosConfig::default() });
        let sum = (0x10..=0x2d).fold(0_u16, |sum, index| sum + u16::from(at(&mut cmos, index)));
        assert_eq!(u16::from_be_bytes([at(&mut cmos, 0x2e), at(&mut cmos, 0x2f)]), sum);
    }

    #[test]
    fn cpus_century_and_equipment_are_where_firmware_looks() {
        let mut cmos = Cmos::new(&CmosConfig { cpus: 4, ..CmosConfig::default() });
        assert_eq!((at(&mut cmos, 0x5f), at(&mut cmos, 0x32), at(&mut cmos, 0x14)), (3, 0x20, 0x06));
        assert_eq!((at(&mut cmos, 0x0f), at(&mut cmos, 0x10)), (0, 0));
        assert_eq!(at(&mut Cmos::new(&CmosConfig::default()), 0x5f), 0);
    }

    #[test]
    fn the_rest_is_storage_and_bit_7_of_the_index_is_not_part_of_it() {
        let mut cmos = Cmos::new(&CmosConfig::default());
        cmos.write(0, 0x80 | 0x0f);
        cmos.write(1, 0x05);
        assert_eq!(at(&mut cmos, 0x0f), 0x05);
        assert_eq!(cmos.read(0), 0xff);
        for index in 0..=0xff {
            cmos.write(0, index);
            cmos.write(1, index ^ 0x5a);
            assert_eq!(cmos.read(1), index ^ 0x5a);
        }
    }
}
