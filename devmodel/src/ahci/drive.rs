//! A disk or a CD drive behind a port: from a command's registers to what has to be done.

use super::fis::{Registers, TaskFile};
use crate::ata::command::{Command, Depth, Transport};
use crate::ata::geometry::Geometry;
use crate::ata::identify::{self, Identity, MOST_MULTIPLE, TransferMode};
use crate::ata::packet::{BLOCK, PACKET_LEN, Sense, State, Step, UNRECOVERED_READ};
use crate::ata::trim::MOST_BLOCKS;
use crate::host::DiskId;
use crate::machine::{CdConfig, DiscChange, DiskConfig, DriveConfig, TrayError};
use crate::state::{Adopt, StateError};
use serde::{Deserialize, Serialize};

pub(super) const STATUS_ERROR: u8 = 1 << 0;
pub(super) const STATUS_DATA_REQUEST: u8 = 1 << 3;
const STATUS_SEEK_COMPLETE: u8 = 1 << 4;
const STATUS_READY: u8 = 1 << 6;
pub(super) const STATUS_BUSY: u8 = 1 << 7;
/// Status of a drive that has done what it was asked.
pub(super) const GOOD: u8 = STATUS_READY | STATUS_SEEK_COMPLETE;

pub(super) const ERROR_ABORTED: u8 = 1 << 2;
const ERROR_ID_NOT_FOUND: u8 = 1 << 4;
const ERROR_UNCORRECTABLE: u8 = 1 << 6;

/// READ FPDMA QUEUED, WRITE FPDMA QUEUED, READ LOG EXT.
const READ_QUEUED: u8 = 0x60;
const WRITE_QUEUED: u8 = 0x61;
const READ_LOG: u8 = 0x2f;
/// Device register of a queued write: the data is durable when it is done.
const FORCE_UNIT_ACCESS: u8 = 1 << 7;
/// Bytes of a disk's sector.
const SECTOR: u32 = 512;
/// Features of DATA SET MANAGEMENT: TRIM.
const TRIM: u16 = 1 << 0;
/// Queued commands, less one.
const QUEUE_DEPTH: u16 = 31;

/// Data without a disc.
pub(super) type Data = heapless::Vec<u8, 512>;

/// The mode of a CD drive at power on.
const CD_MODE: TransferMode = TransferMode::Ultra(5);

/// A drive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Drive {
    Disk(Disk),
    Cd(Cd),
}

/// An ATA disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Disk {
    #[serde(skip)]
    config: DiskConfig,
    multiple: u8,
    mode: TransferMode,
    write_cache: bool,
    look_ahead: bool,
    smart: bool,
    standby: bool,
    /// What READ LOG EXT tells of the queued command that failed: its tag, and the registers.
    queued_error: Option<(u8, TaskFile)>,
}

/// An ATAPI CD drive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Cd {
    #[serde(skip)]
    config: CdConfig,
    state: State,
    mode: TransferMode,
}

/// What a command comes to.
#[expect(clippy::large_enum_variant, reason = "it is moved once, into the port")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// It is done.
    Done,
    /// It has failed, with this error register.
    Fail(u8),
    /// These bytes go to memory. They are announced by PIO setups, each for so many bytes.
    Give { data: Data, by_pio: Option<u32> },
    /// Sectors of the host's disk move.
    Move(Move),
    /// Everything is made durable.
    Flush,
    /// So many blocks of ranges are read from memory, and discarded.
    Trim { blocks: u32, sectors: u64 },
}

/// Sectors that move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Move {
    pub(super) to_disk: bool,
    pub(super) lba: u64,
    pub(super) sectors: u32,
    /// It is durable before the command ends.
    pub(super) durable: bool,
    /// The queue's tag.
    pub(super) tag: Option<u8>,
    /// Data is announced by PIO setups, each for so many bytes.
    pub(super) by_pio: Option<u32>,
}

impl Adopt for Drive {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        match (self, saved) {
            (Self::Disk(disk), Self::Disk(saved)) => {
                *disk = Disk { config: core::mem::take(&mut disk.config), ..saved };
                Ok(())
            }
            (Self::Cd(cd), Self::Cd(saved)) => {
                cd.mode = saved.mode;
                cd.state.adopt(saved.state)
            }
            _ => Err(StateError::OtherMachine),
        }
    }
}

impl Drive {
    /// See [`SavedCard::tray_open`](crate::card::SavedCard::tray_open).
    pub(super) const fn tray_open(&self) -> Option<bool> {
        match self {
            Self::Disk(_) => None,
            Self::Cd(cd) => Some(cd.state.tray_open()),
        }
    }

    /// See [`Card::change_disc`](crate::card::Card::change_disc).
    pub(super) fn change_disc(&mut self, change: DiscChange) -> Option<Result<(), TrayError>> {
        match self {
            Self::Disk(_) => None,
            Self::Cd(cd) => Some(cd.state.change_disc(change)),
        }
    }

    /// A drive after power on.
    pub(super) fn new(config: DriveConfig) -> Self {
        match config {
            DriveConfig::Disk(config) => Self::Disk(Disk {
                config,
                multiple: 0,
                mode: TransferMode::Ultra(5),
                write_cache: true,
                look_ahead: true,
                smart: true,
                standby: false,
                queued_error: None,
            }),
            DriveConfig::Cd(config) => {
                let state = State::new(config.disc);
                Self::Cd(Cd { config, state, mode: CD_MODE })
            }
        }
    }

    /// What the host calls its disk.
    pub(super) fn id(&self) -> Option<DiskId> {
        match self {
            Self::Disk(disk) => Some(disk.config.id),
            Self::Cd(cd) => Some(cd.config.id),
        }
    }

    pub(super) const fn is_disk(&self) -> bool {
        matches!(self, Self::Disk(_))
    }

    /// The registers after a reset: the signature.
    pub(super) const fn signature(&self) -> TaskFile {
        match self {
            Self::Disk(_) => TaskFile { status: GOOD, error: 1, lba: 0x0001, count: 1, device: 0 },
            // A drive that takes packets is not ready before it is asked for something.
            Self::Cd(_) => TaskFile { status: 0, error: 1, lba: 0xeb_1401, count: 1, device: 0 },
        }
    }

    /// Power on.
    pub(super) fn reset(&mut self) {
        match self {
            Self::Disk(disk) => *self = Self::new(DriveConfig::Disk(disk.config.clone())),
            Self::Cd(cd) => {
                // The disc stays.
                cd.state.power_on();
                cd.mode = CD_MODE;
            }
        }
    }

    /// A reset by the link or by the device control register: settings stay.
    pub(super) fn software_reset(&mut self) {
        match self {
            Self::Disk(disk) => (disk.standby, disk.queued_error) = (false, None),
            Self::Cd(cd) => cd.state.reset(),
        }
    }

    /// Finds out what a command means; what it answers in registers is put into `answer`.
    pub(super) fn perform(&mut self, registers: &Registers, packet: &[u8; PACKET_LEN], answer: &mut TaskFile) -> Task {
        match self {
            Self::Disk(disk) => disk.perform(registers, answer),
            Self::Cd(cd) => cd.perform(registers, packet, answer),
        }
    }

    /// A transfer has failed at the host: the error register.
    pub(super) fn transfer_failed(&mut self, to_disk: bool) -> u8 {
        match self {
            Self::Disk(_) if to_disk => ERROR_ABORTED,
            Self::Disk(_) => ERROR_UNCORRECTABLE,
            Self::Cd(cd) => cd.fail(UNRECOVERED_READ),
        }
    }

    /// A queued command has failed.
    pub(super) fn queue_failed(&mut self, tag: u8, registers: TaskFile) {
        if let Self::Disk(disk) = self {
            disk.queued_error = Some((tag, registers));
        }
    }
}

impl Disk {
    fn perform(&mut self, registers: &Registers, answer: &mut TaskFile) -> Task {
        match registers.command {
            READ_QUEUED | WRITE_QUEUED => return self.queued(registers),
            READ_LOG => return self.read_log(registers),
            _ => {}
        }
        match Command::decode(registers.command) {
            Command::Seek { addressed: false } => Task::Done,
            Command::Seek { addressed: true } => match registers.address(Depth::Short) {
                Some(lba) if lba < self.config.sectors => Task::Done,
                _ => Task::Fail(ERROR_ID_NOT_FOUND),
            },
            Command::Read { transport: Transport::PioMultiple, .. }
            | Command::Write { transport: Transport::PioMultiple, .. }
                if self.multiple == 0 =>
            {
                Task::Fail(ERROR_ABORTED)
            }
            Command::Read { depth, transport } => {
                let by_pio = self.pio_block(transport);
                match self.extent(registers.address(depth), registers.sectors(depth)) {
                    None => Task::Fail(ERROR_ID_NOT_FOUND),
                    Some(_) if transport == Transport::Verify => Task::Done,
                    Some((lba, sectors)) => {
                        Task::Move(Move { to_disk: false, lba, sectors, durable: false, tag: None, by_pio })
                    }
                }
            }
            Command::Write { .. } if self.config.read_only => Task::Fail(ERROR_ABORTED),
            Command::Write { depth, transport, force_unit_access } => {
                match self.extent(registers.address(depth), registers.sectors(depth)) {
                    None => Task::Fail(ERROR_ID_NOT_FOUND),
                    Some((lba, sectors)) => {
                        let durable = force_unit_access || !self.write_cache;
                        let by_pio = self.pio_block(transport);
                        Task::Move(Move { to_disk: true, lba, sectors, durable, tag: None, by_pio })
                    }
                }
            }
            Command::ReadNativeMax(depth) => {
                let most = if depth == Depth::Short { 0x0fff_ffff } else { u64::MAX };
                let last = self.config.sectors.saturating_sub(1).min(most);
                answer.lba = if depth == Depth::Short { last & 0x00ff_ffff } else { last };
                if depth == Depth::Short {
                    answer.device = answer.device & 0xf0 | u8::try_from(last >> 24 & 0x0f).unwrap_or(0);
                }
                Task::Done
            }
            Command::Smart => self.smart(registers, answer),
            Command::SetMultipleMode => match registers.count.to_le_bytes() {
                [count, _] if count == 0 || count.is_power_of_two() && count <= MOST_MULTIPLE => {
                    self.multiple = count;
                    Task::Done
                }
                _ => Task::Fail(ERROR_ABORTED),
            },
            Command::Standby => {
                self.standby = true;
                Task::Flush
            }
            Command::Idle => {
                self.standby = false;
                Task::Done
            }
            Command::CheckPowerMode => {
                answer.count = if self.standby { 0x00 } else { 0xff };
                Task::Done
            }
            Command::FlushCache => Task::Flush,
            Command::DataSetManagement => {
                let blocks = registers.sectors(Depth::Extended);
                if self.can_trim() && registers.features & TRIM != 0 && blocks <= MOST_BLOCKS {
                    Task::Trim { blocks, sectors: self.config.sectors }
                } else {
                    Task::Fail(ERROR_ABORTED)
                }
            }
            Command::IdentifyDevice => give(&self.identify()),
            Command::SetFeatures => self.set_features(registers),
            Command::ExecuteDeviceDiagnostic => {
                answer.error = 1;
                Task::Done
            }
            Command::InitializeDeviceParameters
            | Command::Packet
            | Command::IdentifyPacketDevice
            | Command::Unknown => Task::Fail(ERROR_ABORTED),
        }
    }

    /// Bytes that one PIO setup announces.
    fn pio_block(&self, transport: Transport) -> Option<u32> {
        match transport {
            Transport::Pio => Some(SECTOR),
            Transport::PioMultiple => Some(SECTOR.saturating_mul(self.multiple.into())),
            Transport::Dma | Transport::Verify => None,
        }
    }

    const fn can_trim(&self) -> bool {
        self.config.discard && !self.config.read_only
    }

    /// The sectors, if they are there.
    fn extent(&mut self, lba: Option<u64>, sectors: u32) -> Option<(u64, u32)> {
        self.standby = false;
        let lba = lba?;
        let end = lba.checked_add(sectors.into())?;
        (end <= self.config.sectors).then_some((lba, sectors))
    }

    fn queued(&mut self, registers: &Registers) -> Task {
        let to_disk = registers.command == WRITE_QUEUED;
        let tag = u8::try_from(registers.count >> 3 & 0x1f).ok();
        let sectors = if registers.features == 0 { 0x1_0000 } else { registers.features.into() };
        if to_disk && self.config.read_only {
            return Task::Fail(ERROR_ABORTED);
        }
        match self.extent(Some(registers.lba), sectors) {
            None => Task::Fail(ERROR_ID_NOT_FOUND),
            Some((lba, sectors)) => {
                let durable = to_disk && (registers.device & FORCE_UNIT_ACCESS != 0 || !self.write_cache);
                Task::Move(Move { to_disk, lba, sectors, durable, tag, by_pio: None })
            }
        }
    }

    /// The log of queued errors, page 10h: one sector.
    fn read_log(&mut self, registers: &Registers) -> Task {
        if registers.lba & 0xff != 0x10 || registers.count != 1 {
            return Task::Fail(ERROR_ABORTED);
        }
        let mut page = [0_u8; 512];
        match self.queued_error.take() {
            // NQ: the last failed command was none of the queue.
            None => page[0] = 1 << 7,
            Some((tag, failed)) => {
                page[0] = tag;
                let [a, b, c, d, e, f, ..] = failed.lba.to_le_bytes();
                let bytes = [failed.status, failed.error, a, b, c, failed.device, d, e, f];
                for (to, from) in page.iter_mut().skip(2).zip(bytes) {
                    *to = from;
                }
            }
        }
        give(&identify::with_checksum(page))
    }

    fn identify(&self) -> identify::Sector {
        let identity = Identity {
            serial: &self.config.serial,
            model: &self.config.model,
            firmware: &self.config.firmware,
            sectors: self.config.sectors,
            trim: self.can_trim(),
            geometry: Geometry::of_disk(self.config.sectors),
            multiple: self.multiple,
            mode: self.mode,
            smart: self.smart,
            write_cache: self.write_cache,
            look_ahead: self.look_ahead,
            unit: 0,
            alone: true,
        };
        identify::behind_sata(identity.data(), Some(QUEUE_DEPTH))
    }

    fn set_features(&mut self, registers: &Registers) -> Task {
        let [feature, _] = registers.features.to_le_bytes();
        let [argument, _] = registers.count.to_le_bytes();
        match feature {
            0x02 => self.write_cache = true,
            0x82 => {
                self.write_cache = false;
                return Task::Flush;
            }
            0x03 if self.mode.select(argument) => {}
            0x55 => self.look_ahead = false,
            0xaa => self.look_ahead = true,
            0x66 | 0xcc => {}
            _ => return Task::Fail(ERROR_ABORTED),
        }
        Task::Done
    }

    fn smart(&mut self, registers: &Registers, answer: &mut TaskFile) -> Task {
        let [low, mid, high, ..] = registers.lba.to_le_bytes();
        let [feature, _] = registers.features.to_le_bytes();
        if (mid, high) != (0x4f, 0xc2) || !self.smart && feature != 0xd8 {
            return Task::Fail(ERROR_ABORTED);
        }
        answer.lba = registers.lba;
        match feature {
            0xd0 => give(&identify::smart_data()),
            0xd1 => give(&identify::smart_thresholds()),
            0xd5 => match identify::smart_log(low) {
                Some(data) if registers.count == 1 => give(&data),
                _ => Task::Fail(ERROR_ABORTED),
            },
            0xd8 | 0xd9 => {
                self.smart = feature == 0xd8;
                Task::Done
            }
            0xd2..=0xd4 | 0xda => Task::Done,
            _ => Task::Fail(ERROR_ABORTED),
        }
    }
}

impl Cd {
    fn perform(&mut self, registers: &Registers, packet: &[u8; PACKET_LEN], answer: &mut TaskFile) -> Task {
        match Command::decode(registers.command) {
            Command::Packet => {
                // The interrupt reason: a status, to the host.
                answer.count = 3;
                let by_pio = (registers.features & 1 == 0).then(|| packet_block(registers.lba));
                match self.state.perform(packet) {
                    Step::Done => Task::Done,
                    Step::Fail(sense) => Task::Fail(self.fail(sense)),
                    Step::Reply(data) => Task::Give { data, by_pio },
                    Step::Read { lba, blocks } => Task::Move(Move {
                        to_disk: false,
                        lba: u64::from(lba).saturating_mul(4),
                        sectors: blocks.saturating_mul(4),
                        durable: false,
                        tag: None,
                        by_pio,
                    }),
                }
            }
            Command::IdentifyPacketDevice => {
                let data = identify::packet_device(&self.config, self.mode, 0, true);
                give(&identify::behind_sata(data, None))
            }
            Command::SetFeatures => match (registers.features & 0xff, registers.count.to_le_bytes()) {
                (0x03, [argument, _]) if self.mode.select(argument) => Task::Done,
                (0x66 | 0xcc, _) => Task::Done,
                _ => Task::Fail(ERROR_ABORTED),
            },
            Command::Standby | Command::Idle => Task::Done,
            Command::CheckPowerMode => {
                answer.count = 0xff;
                Task::Done
            }
            // By these, drivers of disks find out that it is none.
            Command::IdentifyDevice | Command::Read { .. } => {
                (answer.lba, answer.count) = (0xeb_1401, 1);
                Task::Fail(ERROR_ABORTED)
            }
            _ => Task::Fail(ERROR_ABORTED),
        }
    }

    /// Keeps the reason for REQUEST SENSE. Gives the error register.
    fn fail(&mut self, sense: Sense) -> u8 {
        const ILLEGAL_REQUEST: u8 = 5;
        self.state.set_sense(sense);
        sense.key << 4 | if sense.key == ILLEGAL_REQUEST { ERROR_ABORTED } else { 0 }
    }
}

/// Bytes of a CD drive's blocks of data by PIO, which the driver limits: a whole number of words, at most a sector.
fn packet_block(lba: u64) -> u32 {
    let limit = u32::try_from(lba >> 8 & 0xfffe).unwrap_or(0);
    if limit == 0 { BLOCK } else { limit.min(BLOCK) }
}

/// A sector of the drive itself.
fn give(data: &[u8]) -> Task {
    let task = |data| Task::Give { data, by_pio: Some(SECTOR) };
    Data::from_slice(data).map_or(Task::Fail(ERROR_ABORTED), task)
}
