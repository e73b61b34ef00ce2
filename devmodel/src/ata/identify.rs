//! What drives say about themselves: the data of IDENTIFY DEVICE, IDENTIFY PACKET DEVICE and of the SMART commands.
//!
//! Source: ATA/ATAPI-6, sections 8.15 (IDENTIFY DEVICE) and 8.41 (SMART), and IDENTIFY PACKET DEVICE; ATA-3 for the SMART attribute tables.

use super::geometry::Geometry;
use super::trim::MOST_BLOCKS;
use crate::machine::CdConfig;
use serde::{Deserialize, Serialize};

/// One sector of data.
pub(crate) type Sector = [u8; 512];

/// The most sectors for each interrupt that SET MULTIPLE MODE accepts.
pub(crate) const MOST_MULTIPLE: u8 = 16;

/// A transfer mode, as SET FEATURES selects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TransferMode {
    /// Multiword DMA, mode 0 to 2.
    Multiword(u8),
    /// Ultra DMA, mode 0 to 5.
    Ultra(u8),
}

/// The firmware's revision of CD drives, as INQUIRY tells it too.
const FIRMWARE: &str = "2.5+";

/// What IDENTIFY DEVICE tells.
#[derive(Clone, Debug)]
pub(crate) struct Identity<'a> {
    pub(crate) serial: &'a str,
    pub(crate) model: &'a str,
    pub(crate) firmware: &'a str,
    pub(crate) sectors: u64,
    /// DATA SET MANAGEMENT is there.
    pub(crate) trim: bool,
    pub(crate) geometry: Geometry,
    pub(crate) multiple: u8,
    pub(crate) mode: TransferMode,
    pub(crate) smart: bool,
    pub(crate) write_cache: bool,
    pub(crate) look_ahead: bool,
    /// Which drive of its channel it is.
    pub(crate) unit: u8,
    /// No other drive is on the channel, so that drive 0 answers for drive 1.
    pub(crate) alone: bool,
}

impl Identity<'_> {
    /// The 256 words of IDENTIFY DEVICE.
    pub(crate) fn data(&self) -> Sector {
        let default = Geometry::of_disk(self.sectors);
        let mut words = Words::of_drive([self.serial, self.firmware, self.model], self.mode, self.unit, self.alone);
        // Not removable.
        words.set(0, 0x0040);
        words.set(1, default.cylinders);
        words.set(3, default.heads.into());
        // Bytes of a track and of a sector, from the days of drives that software formatted.
        words.set(4, u16::from(default.sectors).saturating_mul(512));
        words.set(5, 512);
        words.set(6, default.sectors.into());
        words.set(47, 0x8000 | u16::from(MOST_MULTIPLE));
        // 32-bit data port, from the days before this word was retired.
        words.set(48, 1);
        words.set(50, 1 << 14);
        words.set(51, 0x0200);
        words.set(52, 0x0200);
        // Words 54 to 58, 64 to 70 and 88 are valid.
        words.set(53, 7);
        words.set(54, self.geometry.cylinders);
        words.set(55, self.geometry.heads.into());
        words.set(56, self.geometry.sectors.into());
        words.double(57, self.geometry.capacity());
        let multiple = u16::from(self.multiple);
        words.set(59, if multiple == 0 { 0 } else { 0x0100 | multiple });
        words.double(60, u32::try_from(self.sectors).unwrap_or(u32::MAX).min(0x0fff_ffff));
        // NOP, look-ahead, write cache, power management, SMART.
        let always = 1 << 14 | 1 << 3;
        words.set(82, always | 1 << 6 | 1 << 5 | 1);
        // FLUSH CACHE EXT, FLUSH CACHE, 48-bit addresses.
        words.set(83, 1 << 14 | 1 << 13 | 1 << 12 | 1 << 10);
        // WRITE DMA FUA EXT, SMART self-test, SMART error log.
        words.set(84, 1 << 14 | 1 << 6 | 1 << 1 | 1);
        let enabled = u16::from(self.look_ahead) << 6 | u16::from(self.write_cache) << 5 | u16::from(self.smart);
        words.set(85, always | enabled);
        words.set(86, 1 << 13 | 1 << 12 | 1 << 10);
        words.set(87, 1 << 14 | 1 << 6 | 1 << 1 | 1);
        let [low, high] = [self.sectors & 0xffff_ffff, self.sectors >> 32 & 0xffff];
        words.double(100, u32::try_from(low).unwrap_or(0));
        words.double(102, u32::try_from(high).unwrap_or(0));
        if self.trim {
            words.set(105, u16::try_from(MOST_BLOCKS).unwrap_or(1));
            words.set(169, 1);
        }
        with_checksum(words.0)
    }
}

/// Word 93, hardware reset result: an 80-conductor cable; jumpers say which drive it is; it passed diagnostics.
const fn reset_result(unit: u8, alone: bool) -> u16 {
    let valid = 1 << 14 | 1 << 13;
    match (unit, alone) {
        (0, false) => valid | 1 << 3 | 1 << 1 | 1,
        (0, true) => valid | 1 << 6 | 1 << 3 | 1 << 1 | 1,
        _ => valid | 1 << 11 | 1 << 9 | 1 << 8,
    }
}

/// The 256 words of IDENTIFY PACKET DEVICE of a CD drive.
pub(crate) fn packet_device(config: &CdConfig, mode: TransferMode, unit: u8, alone: bool) -> Sector {
    let mut words = Words::of_drive([&config.serial, FIRMWARE, &config.model], mode, unit, alone);
    // ATAPI, CD-ROM, removable, DRQ within 50 us, packets of 12 bytes.
    words.set(0, 2 << 14 | 5 << 8 | 1 << 7 | 2 << 5);
    // Words 64 to 70 and 88 are valid.
    words.set(53, 6);
    // NOP, DEVICE RESET, PACKET.
    let features = 1 << 14 | 1 << 9 | 1 << 4;
    words.set(82, features);
    words.set(83, 1 << 14);
    words.set(84, 1 << 14);
    words.set(85, features);
    words.set(87, 1 << 14);
    with_checksum(words.0)
}

impl TransferMode {
    /// Takes the mode that SET FEATURES 03h names of ATA/ATAPI-6. `false`: there is no such mode.
    pub(crate) fn select(&mut self, argument: u8) -> bool {
        match argument {
            // The default PIO mode, and those with flow control: DMA goes on as it was.
            0x00 | 0x01 | 0x08..=0x0c => {}
            0x20..=0x22 => *self = Self::Multiword(argument & 7),
            0x40..=0x45 => *self = Self::Ultra(argument & 7),
            _ => return false,
        }
        true
    }

    /// The bits for the selected mode in words 63 and 88.
    const fn words(self) -> (u16, u16) {
        match self {
            Self::Multiword(mode) => (0x0100 << mode, 0),
            Self::Ultra(mode) => (0, 0x0100 << mode),
        }
    }
}

struct Words(Sector);

impl Words {
    /// What disks and CD drives say alike.
    fn of_drive([serial, firmware, model]: [&str; 3], mode: TransferMode, unit: u8, alone: bool) -> Self {
        let mut words = Self([0; 512]);
        words.text(10, 20, serial);
        words.text(23, 8, firmware);
        words.text(27, 40, model);
        // IORDY, LBA, DMA.
        words.set(49, 1 << 11 | 1 << 9 | 1 << 8);
        let (multiword, ultra) = mode.words();
        words.set(63, 0x0007 | multiword);
        // PIO modes 3 and 4, and the cycle times in nanoseconds.
        words.set(64, 3);
        for word in 65..=68 {
            words.set(word, 120);
        }
        // ATA-4 to ATA/ATAPI-7; systems look for TRIM from there on.
        words.set(80, 0x00f0);
        words.set(88, 0x003f | ultra);
        words.set(93, reset_result(unit, alone));
        // The checksum in the last byte is valid.
        words.0[510] = 0xa5;
        words
    }

    fn set(&mut self, word: usize, value: u16) {
        for (byte, new) in self.0.iter_mut().skip(word.saturating_mul(2)).zip(value.to_le_bytes()) {
            *byte = new;
        }
    }

    fn double(&mut self, word: usize, value: u32) {
        let [a, b, c, d] = value.to_le_bytes();
        self.set(word, u16::from_le_bytes([a, b]));
        self.set(word.saturating_add(1), u16::from_le_bytes([c, d]));
    }

    /// Text has its bytes swapped within each word and is padded with spaces.
    fn text(&mut self, word: usize, len: usize, text: &str) {
        let mut bytes = text.bytes().map(|byte| if (0x20..0x7f).contains(&byte) { byte } else { b'?' });
        for word in (word..).take(len / 2) {
            let (first, second) = (bytes.next().unwrap_or(b' '), bytes.next().unwrap_or(b' '));
            self.set(word, u16::from_be_bytes([first, second]));
        }
    }
}

/// The same of a drive behind SATA, which queues so many commands, less one.
pub(crate) fn behind_sata(data: Sector, queue_depth: Option<u16>) -> Sector {
    let mut words = Words(data);
    words.set(75, queue_depth.unwrap_or(0));
    // 1.5 Gb/s; queued commands.
    words.set(76, 1 << 1 | u16::from(queue_depth.is_some()) << 8);
    // No cable says anything.
    words.set(93, 0);
    with_checksum(words.0)
}

/// Sets the last byte so that all of them add up to zero.
pub(crate) fn with_checksum(mut data: Sector) -> Sector {
    let (sum, body) = data.split_last_mut().map_or((None, &[][..]), |(sum, body)| (Some(sum), &*body));
    let total = body.iter().fold(0_u8, |total, byte| total.wrapping_add(*byte));
    if let Some(sum) = sum {
        *sum = total.wrapping_neg();
    }
    data
}

/// A SMART attribute: number, flags, value (and worst), threshold, raw value.
type Attribute = (u8, u16, u8, u8, u8);

/// The attributes of a healthy disk.
const ATTRIBUTES: [Attribute; 6] = [
    // Raw read error rate.
    (0x01, 0x0003, 100, 6, 0),
    // Spin-up time.
    (0x03, 0x0003, 100, 0, 16),
    // Start and stop count.
    (0x04, 0x0002, 100, 20, 100),
    // Reallocated sectors.
    (0x05, 0x0003, 100, 36, 0),
    // Power-on hours.
    (0x09, 0x0003, 100, 0, 1),
    // Power cycles.
    (0x0c, 0x0003, 100, 0, 0),
];

/// The data of SMART READ DATA.
pub(crate) fn smart_data() -> Sector {
    let mut data = [0; 512];
    data[0] = 1;
    let (_, table) = data.split_at_mut(2);
    for (entry, (number, flags, value, _, raw)) in table.chunks_exact_mut(12).zip(ATTRIBUTES) {
        let [low, high] = flags.to_le_bytes();
        for (byte, new) in entry.iter_mut().zip([number, low, high, value, value, raw]) {
            *byte = new;
        }
    }
    // Off-line collection was never started; it would take 288 seconds.
    data[364] = 0x20;
    data[365] = 0x01;
    // Off-line immediate and self-test are supported; attributes are saved; errors are logged.
    data[367] = 1 << 4 | 1 << 0;
    data[368] = 0x03;
    data[370] = 0x01;
    // Minutes that a short and an extended self-test take.
    data[372] = 2;
    data[373] = 54;
    with_checksum(data)
}

/// The data of SMART READ ATTRIBUTE THRESHOLDS.
pub(crate) fn smart_thresholds() -> Sector {
    let mut data = [0; 512];
    data[0] = 1;
    let (_, table) = data.split_at_mut(2);
    for (entry, (number, _, _, threshold, _)) in table.chunks_exact_mut(12).zip(ATTRIBUTES) {
        for (byte, new) in entry.iter_mut().zip([number, threshold]) {
            *byte = new;
        }
    }
    with_checksum(data)
}

/// The data of SMART READ LOG for log `address`: all logs are empty. `None`: there is no such log.
pub(crate) fn smart_log(address: u8) -> Option<Sector> {
    let mut data = [0; 512];
    data[0] = 1;
    match address {
        // The directory: the two logs are one sector long each.
        0 => {
            data[2] = 1;
            data[12] = 1;
            Some(data)
        }
        // The summary of errors, and the self-tests.
        1 | 6 => Some(with_checksum(data)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity<'static> {
        Identity {
            serial: "QM00001",
            model: "A DISK",
            firmware: "1.0",
            sectors: 0x1_2345_6789,
            trim: true,
            geometry: Geometry::of_disk(0x1_2345_6789),
            multiple: 8,
            mode: TransferMode::Multiword(2),
            smart: true,
            write_cache: true,
            look_ahead: true,
            unit: 0,
            alone: true,
        }
    }

    fn word(data: &Sector, word: usize) -> u16 {
        u16::from_le_bytes([data[word * 2], data[word * 2 + 1]])
    }

    #[test]
    fn identify_tells_size_geometry_and_names() {
        let data = identity().data();
        assert_eq!([1, 3, 6].map(|at| word(&data, at)), [16383, 16, 63]);
        assert_eq!([60, 61].map(|at| word(&data, at)), [0xffff, 0x0fff]);
        assert_eq!([100, 101, 102, 103].map(|at| word(&data, at)), [0x6789, 0x2345, 1, 0]);
        assert_eq!(&data[20..30], b"MQ0000 1  ");
        assert_eq!(&data[54..62], b" AIDKS  ");
        assert_eq!(word(&data, 59), 0x0108);
        assert_eq!([63, 88].map(|at| word(&data, at)), [0x0407, 0x003f]);
    }

    /// ATA/ATAPI-6, 8.15.61: the sum of all bytes of a valid block is zero, its signature is 0xa5.
    #[test]
    fn identify_ends_with_an_integrity_word() {
        let data = identity().data();
        assert_eq!(data[510], 0xa5);
        assert_eq!(data.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    }

    /// SeaBIOS skips drive 1 when drive 0 says that it answers for it.
    #[test]
    fn drive_0_tells_whether_it_answers_for_drive_1() {
        let data = identity().data();
        assert_eq!(word(&data, 93) & 0xdf61, 0x4041);
        let data = Identity { alone: false, ..identity() }.data();
        assert_ne!(word(&data, 93) & 0xdf61, 0x4041);
    }

    #[test]
    fn smart_tables_add_up_to_zero() {
        for data in [smart_data(), smart_thresholds(), smart_log(1).unwrap(), smart_log(6).unwrap()] {
            assert_eq!(data.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        }
        assert_eq!(smart_log(2), None);
    }
}
