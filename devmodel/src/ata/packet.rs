//! The packet commands of a CD drive: from twelve bytes to what the drive does or says.
//!
//! Pure: a disc and the drive's state in, a [`Step`] out. How packets and data travel is in the drive of each controller.
//! What it says when a command fails, disks that understand SCSI commands say as well.
//!
//! Source: MMC-3 (T10/1363-D) for the commands, SPC-2 for sense data, SFF-8020i for what old drivers still use.
//! Quirk: as with QEMU's drives, a reset is not reported as unit attention; a new disc is. When an operator has put it in,
//! a first command hears that there is none, as it would have while the tray was open: guests that do not ask for events look
//! for that. Those that ask do not hear it: Linux takes a unit attention that comes later for one more change, and refuses to read.
//! Not modelled: audio, raw sectors of READ CD, discs with more than one track or session, MODE SELECT, DVD structures.

use crate::machine::{DiscChange, TrayError};
use crate::state::{Adopt, StateError};
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// Bytes of a packet.
pub(crate) const PACKET_LEN: usize = 12;
/// Bytes of a block of a disc.
pub(crate) const BLOCK: u32 = 2048;
/// Blocks of the longest CD, 80 minutes; more is a DVD.
const CD_BLOCKS: u32 = 80 * 60 * 75;
/// Blocks before the first one in minutes, seconds and frames: the lead-in of 2 s.
const LEAD_IN: u32 = 150;
/// The track number that stands for the lead-out.
const LEAD_OUT: u8 = 0xaa;

/// What a drive answers with, without data from its disc.
pub(crate) type Reply = Vec<u8, 512>;

/// Why a command failed: sense key, additional sense code and its qualifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sense {
    pub(crate) key: u8,
    pub(crate) code: u8,
    pub(crate) qualifier: u8,
}

impl Sense {
    pub(crate) const fn new(key: u8, code: u8, qualifier: u8) -> Self {
        Self { key, code, qualifier }
    }
}

/// No error.
pub(crate) const GOOD: Sense = Sense::new(0, 0, 0);
const NO_MEDIUM_TRAY_CLOSED: Sense = Sense::new(2, 0x3a, 1);
const NO_MEDIUM_TRAY_OPEN: Sense = Sense::new(2, 0x3a, 2);
/// The disc cannot be read.
pub(crate) const UNRECOVERED_READ: Sense = Sense::new(3, 0x11, 0);
pub(crate) const INVALID_COMMAND: Sense = Sense::new(5, 0x20, 0);
pub(crate) const OUT_OF_RANGE: Sense = Sense::new(5, 0x21, 0);
pub(crate) const INVALID_FIELD: Sense = Sense::new(5, 0x24, 0);
const REMOVAL_PREVENTED: Sense = Sense::new(5, 0x53, 2);
const MEDIUM_CHANGED: Sense = Sense::new(6, 0x28, 0);

/// What happened to the disc since somebody asked (MMC-3, GET EVENT STATUS NOTIFICATION, media events).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum MediaEvent {
    #[default]
    None = 0,
    EjectRequest = 1,
    NewMedia = 2,
    Removal = 3,
}

/// What has to be told before anything else is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Attention {
    #[default]
    None,
    /// That there is no disc, and then the next.
    Absent,
    /// That there is another disc.
    Changed,
}

/// What a drive remembers between commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Blocks of the disc in the drive.
    #[serde(skip)]
    blocks: Option<u32>,
    tray_open: bool,
    /// PREVENT ALLOW MEDIUM REMOVAL.
    locked: bool,
    sense: Sense,
    attention: Attention,
    event: MediaEvent,
}

/// What the drive does next.
#[expect(clippy::large_enum_variant, reason = "it is moved once, into the drive")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The command has ended.
    Done,
    /// The command has failed; the reason is kept for REQUEST SENSE.
    Fail(Sense),
    /// These bytes go to the guest.
    Reply(Reply),
    /// Blocks of the disc go to the guest. They are there.
    Read { lba: u32, blocks: u32 },
}

impl Adopt for State {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        *self = Self { blocks: self.blocks, ..saved };
        Ok(())
    }
}

impl State {
    /// A drive after power on, with a disc of so many sectors of 512 bytes.
    pub(crate) fn new(disc: Option<u64>) -> Self {
        Self {
            blocks: disc.map(blocks),
            tray_open: false,
            locked: false,
            sense: GOOD,
            attention: Attention::None,
            event: MediaEvent::None,
        }
    }

    /// Power on: the disc and the tray stay as they are.
    pub(crate) fn power_on(&mut self) {
        *self = Self { blocks: self.blocks, tray_open: self.tray_open, ..Self::new(None) };
    }

    /// A reset: what happened to the disc is still to be told by who asks for it.
    pub(crate) const fn reset(&mut self) {
        self.locked = false;
        self.sense = GOOD;
        self.attention = Attention::None;
    }

    /// Whether the tray is open.
    pub(crate) const fn tray_open(&self) -> bool {
        self.tray_open
    }

    /// An operator does something to the tray, or to the disc in it.
    pub(crate) fn change_disc(&mut self, change: DiscChange) -> Result<(), TrayError> {
        match change {
            DiscChange::Open { force: false } if self.locked && !self.tray_open => {
                self.event = MediaEvent::EjectRequest;
                return Err(TrayError::Locked);
            }
            DiscChange::Open { .. } => self.open_tray(),
            DiscChange::Lay(_) if !self.tray_open => return Err(TrayError::Closed),
            DiscChange::Lay(disc) => self.blocks = disc.map(blocks),
            DiscChange::Close => self.close_tray(Attention::Absent),
        }
        Ok(())
    }

    /// What was to be told of the disc is of no use any more.
    const fn open_tray(&mut self) {
        if !self.tray_open {
            (self.tray_open, self.event, self.attention) = (true, MediaEvent::Removal, Attention::None);
        }
    }

    /// With a disc in it, `attention` is what has to be told.
    const fn close_tray(&mut self, attention: Attention) {
        if self.tray_open && self.blocks.is_some() {
            (self.event, self.attention) = (MediaEvent::NewMedia, attention);
        }
        self.tray_open = false;
    }

    /// What has to be told now.
    const fn take_attention(&mut self) -> Option<Sense> {
        let (sense, then) = match self.attention {
            Attention::None => return None,
            Attention::Absent => (NO_MEDIUM_TRAY_CLOSED, Attention::Changed),
            Attention::Changed => (MEDIUM_CHANGED, Attention::None),
        };
        self.attention = then;
        Some(sense)
    }

    /// Notes why a command failed.
    pub(crate) const fn set_sense(&mut self, sense: Sense) {
        self.sense = sense;
    }

    /// Carries out a packet.
    pub(crate) fn perform(&mut self, packet: &[u8; PACKET_LEN]) -> Step {
        let [opcode, flags, b2, b3, b4, b5, b6, b7, b8, b9, ..] = *packet;
        let lba = u32::from_be_bytes([b2, b3, b4, b5]);
        // Lengths of answers lie in bytes 7 and 8 of most commands.
        let most = usize::from(u16::from_be_bytes([b7, b8]));
        // These do not report unit attention.
        let is_exempt = matches!(opcode, 0x03 | 0x12 | 0x46 | 0x4a);
        if !is_exempt && let Some(sense) = self.take_attention() {
            return Step::Fail(sense);
        }
        match opcode {
            // TEST UNIT READY.
            0x00 => self.with_disc(|_| Step::Done),
            // REQUEST SENSE.
            0x03 => {
                let sense = core::mem::replace(&mut self.sense, GOOD);
                let sense = if sense == GOOD { self.take_attention().unwrap_or(GOOD) } else { sense };
                reply(&request_sense(sense), b4.into())
            }
            // INQUIRY, without pages of vital product data.
            0x12 if flags & 1 != 0 || b2 != 0 => Step::Fail(INVALID_FIELD),
            0x12 => reply(&INQUIRY, b4.into()),
            // START STOP UNIT.
            0x1b => self.start_stop(b4),
            // PREVENT ALLOW MEDIUM REMOVAL.
            0x1e => {
                self.locked = b4 & 1 != 0;
                Step::Done
            }
            // READ CAPACITY.
            0x25 => self.with_disc(|blocks| {
                let [last, size] = [blocks.saturating_sub(1), BLOCK].map(u32::to_be_bytes);
                reply(&[last, size].concat(), 8)
            }),
            // READ(10), READ(12).
            0x28 => self.read(lba, u16::from_be_bytes([b7, b8]).into()),
            0xa8 => self.read(lba, u32::from_be_bytes([b6, b7, b8, b9])),
            // READ CD, the user data of data sectors.
            0xbe => match b9 & 0xf8 {
                0x00 => self.with_disc(|_| Step::Done),
                0x10 => self.read(lba, u32::from_be_bytes([0, b6, b7, b8])),
                _ => Step::Fail(INVALID_FIELD),
            },
            // SEEK(10).
            0x2b => self.with_disc(|blocks| if lba < blocks { Step::Done } else { Step::Fail(OUT_OF_RANGE) }),
            // READ TOC/PMA/ATIP.
            0x43 => self.with_disc(|blocks| read_toc(blocks, packet)),
            // GET CONFIGURATION.
            0x46 => reply(&self.configuration(), most),
            // GET EVENT STATUS NOTIFICATION, polled only.
            0x4a if flags & 1 == 0 => Step::Fail(INVALID_FIELD),
            0x4a => reply(&self.take_event(b4), most),
            // READ DISC INFORMATION: complete, not erasable, one session of one track.
            0x51 => self.with_disc(|_| {
                let mut data = [0; 34];
                data[..8].copy_from_slice(&[0, 32, 0x0e, 1, 1, 1, 1, 0x20]);
                reply(&data, most)
            }),
            // MODE SENSE(10): current values; there is nothing to change or to save.
            0x5a => match b2 >> 6 {
                0 | 2 => self.mode_sense(b2 & 0x3f, most),
                1 => Step::Fail(INVALID_FIELD),
                _ => Step::Fail(Sense::new(5, 0x39, 0)),
            },
            // MECHANISM STATUS: no changer.
            0xbd => reply(
                &[0, if self.tray_open { 1 << 4 } else { 0 }, 0, 0, 0, 1, 0, 0],
                u16::from_be_bytes([b8, b9]).into(),
            ),
            // STOP PLAY/SCAN, SET CD SPEED.
            0x4e | 0xbb => Step::Done,
            _ => Step::Fail(INVALID_COMMAND),
        }
    }

    /// The disc, or why there is none.
    fn with_disc(&self, then: impl FnOnce(u32) -> Step) -> Step {
        match self.blocks {
            _ if self.tray_open => Step::Fail(NO_MEDIUM_TRAY_OPEN),
            Some(blocks) => then(blocks),
            None => Step::Fail(NO_MEDIUM_TRAY_CLOSED),
        }
    }

    fn read(&self, lba: u32, blocks: u32) -> Step {
        self.with_disc(|size| match lba.checked_add(blocks) {
            Some(end) if end <= size => {
                if blocks == 0 {
                    Step::Done
                } else {
                    Step::Read { lba, blocks }
                }
            }
            _ => Step::Fail(OUT_OF_RANGE),
        })
    }

    /// `how`: bit 1 LoEj, bit 0 Start.
    fn start_stop(&mut self, how: u8) -> Step {
        match how & 3 {
            0b10 if self.locked => return Step::Fail(REMOVAL_PREVENTED),
            0b10 => self.open_tray(),
            0b11 => self.close_tray(Attention::Changed),
            _ => {}
        }
        Step::Done
    }

    /// Profiles of CD-ROM and DVD-ROM, and the features that every drive has (MMC-3, GET CONFIGURATION).
    fn configuration(&self) -> [u8; 40] {
        let current: u16 = match self.blocks {
            Some(blocks) if !self.tray_open => {
                if blocks > CD_BLOCKS {
                    0x10
                } else {
                    0x08
                }
            }
            _ => 0,
        };
        let [high, low] = current.to_be_bytes();
        let is = |profile: u16| u8::from(current == profile);
        let mut data = [0; 40];
        data[3] = 36;
        data[6..8].copy_from_slice(&[high, low]);
        // Feature 0, profile list: version 0, persistent, current; two profiles.
        data[8..20].copy_from_slice(&[0, 0, 3, 8, 0, 0x10, is(0x10), 0, 0, 0x08, is(0x08), 0]);
        // Feature 1, core: ATAPI.
        data[20..32].copy_from_slice(&[0, 1, 1 << 2 | 3, 8, 0, 0, 0, 2, 0, 0, 0, 0]);
        // Feature 3, removable medium: a tray that can be ejected and locked.
        data[32..40].copy_from_slice(&[0, 3, 3, 4, 0x29, 0, 0, 0]);
        data
    }

    /// The media class alone has events.
    fn take_event(&mut self, classes: u8) -> Reply {
        const MEDIA: u8 = 4;
        if classes & 1 << MEDIA == 0 {
            return Reply::from_slice(&[0, 2, 0x80, 1 << MEDIA]).unwrap_or_default();
        }
        let event = core::mem::take(&mut self.event);
        if self.attention == Attention::Absent {
            self.attention = Attention::Changed;
        }
        let present = u8::from(self.blocks.is_some() && !self.tray_open);
        let status = u8::from(self.tray_open) | present << 1;
        Reply::from_slice(&[0, 6, MEDIA, 1 << MEDIA, event as u8, status, 0, 0]).unwrap_or_default()
    }

    fn mode_sense(&self, page: u8, most: usize) -> Step {
        // Error recovery; CD-ROM device parameters; capabilities and mechanical status.
        let recovery = [0x01, 6, 0, 5, 0, 0, 0, 0];
        let lock = if self.locked { 1 << 1 } else { 0 };
        let mut capabilities = [0; 22];
        // Reads CD-R, CD-RW and DVD-ROM; mode 2, multisession; a tray, eject, lock. 8467 KiB/s, 512 KiB of buffer.
        capabilities[..16].copy_from_slice(&[
            0x2a,
            20,
            0x3b,
            0x00,
            0x70,
            0x00,
            0x29 | lock,
            0x00,
            0x21,
            0x13,
            0,
            2,
            0x02,
            0x00,
            0x21,
            0x13,
        ]);
        let mut data = Reply::new();
        // The header: length, then what kind of medium it is, which nobody needs to know.
        let _ = data.extend_from_slice(&[0; 8]);
        if matches!(page, 0x01 | 0x3f) {
            let _ = data.extend_from_slice(&recovery);
        }
        if matches!(page, 0x2a | 0x3f) {
            let _ = data.extend_from_slice(&capabilities);
        }
        if data.len() == 8 {
            return Step::Fail(INVALID_FIELD);
        }
        set_length(&mut data);
        reply(&data, most)
    }
}

/// Blocks of a disc of so many sectors of 512 bytes, four to a block: whole ones, and no more than can be addressed.
fn blocks(sectors: u64) -> u32 {
    u32::try_from(sectors / 4).unwrap_or(u32::MAX)
}

/// Peripheral device type 5, removable, ATAPI response.
const INQUIRY: [u8; 36] = *b"\x05\x80\x00\x21\x1f\x00\x00\x00QEMU    QEMU DVD-ROM    2.5+";

/// The answer to REQUEST SENSE, in the fixed format.
pub(crate) fn request_sense(sense: Sense) -> [u8; 18] {
    let mut data = [0; 18];
    (data[0], data[2], data[7], data[12], data[13]) = (0x70, sense.key, 10, sense.code, sense.qualifier);
    data
}

/// The first `most` bytes of an answer. None at all is an end without data.
fn reply(data: &[u8], most: usize) -> Step {
    let data = data.get(..most).unwrap_or(data);
    match Reply::from_slice(data) {
        Ok(data) if !data.is_empty() => Step::Reply(data),
        _ => Step::Done,
    }
}

/// Puts the number of bytes that follow it into the first two.
fn set_length(data: &mut [u8]) {
    let length = u16::try_from(data.len().saturating_sub(2)).unwrap_or(u16::MAX);
    for (byte, new) in data.iter_mut().zip(length.to_be_bytes()) {
        *byte = new;
    }
}

/// An address of a table of contents.
fn address(block: u32, in_minutes: bool) -> [u8; 4] {
    if !in_minutes {
        return block.to_be_bytes();
    }
    let frames = block.saturating_add(LEAD_IN);
    let part = |value: u32| u8::try_from(value).unwrap_or(u8::MAX);
    [0, part(frames / 75 / 60), part(frames / 75 % 60), part(frames % 75)]
}

/// Formats 0 (tracks), 1 (sessions) and 2 (everything) of a disc with one track of data.
fn read_toc(blocks: u32, packet: &[u8; PACKET_LEN]) -> Step {
    let [_, flags, format, _, _, _, first, high, low, control, ..] = *packet;
    let in_minutes = flags & 2 != 0;
    // SFF-8020i has the format in the last byte.
    let format = match format & 0x0f {
        0 => control >> 6,
        format => format,
    };
    let mut data = Reply::new();
    let mut add = |bytes: &[u8]| {
        let _ = data.extend_from_slice(bytes);
    };
    // First and last track or session.
    add(&[0, 0, 1, 1]);
    match format {
        0 => {
            if first > 1 && first != LEAD_OUT {
                return Step::Fail(INVALID_FIELD);
            }
            if first <= 1 {
                add(&[0, 0x14, 1, 0]);
                add(&address(0, in_minutes));
            }
            add(&[0, 0x14, LEAD_OUT, 0]);
            add(&address(blocks, in_minutes));
        }
        1 => {
            add(&[0, 0x14, 1, 0]);
            add(&address(0, in_minutes));
        }
        2 => {
            // First track, last track, lead-out, and the track, each as a point of session 1.
            let points =
                [(0xa0, [0, 1, 0, 0]), (0xa1, [0, 1, 0, 0]), (0xa2, address(blocks, true)), (1, address(0, true))];
            for (point, [zero, minute, second, frame]) in points {
                add(&[1, 0x14, 0, point, 0, 0, 0, zero, minute, second, frame]);
            }
        }
        _ => return Step::Fail(INVALID_FIELD),
    }
    set_length(&mut data);
    reply(&data, u16::from_be_bytes([high, low]).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(bytes: &[u8]) -> [u8; PACKET_LEN] {
        let mut packet = [0; PACKET_LEN];
        packet[..bytes.len()].copy_from_slice(bytes);
        packet
    }

    fn ready(blocks: Option<u32>) -> State {
        State::new(blocks.map(|blocks| u64::from(blocks) * 4))
    }

    fn data(state: &mut State, bytes: &[u8]) -> std::vec::Vec<u8> {
        match state.perform(&packet(bytes)) {
            Step::Reply(data) => data.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_reset_leaves_nothing_to_report() {
        let mut state = State::new(Some(100));
        assert_eq!(state.perform(&packet(&[0xff])), Step::Fail(INVALID_COMMAND));
        state.set_sense(INVALID_COMMAND);
        state.reset();
        assert_eq!(data(&mut state, &[0x12, 0, 0, 0, 36])[8..12], *b"QEMU");
        assert_eq!(state.perform(&packet(&[0x00])), Step::Done);
        assert_eq!(data(&mut state, &[0x03, 0, 0, 0, 18])[2], 0);
    }

    #[test]
    fn reads_stay_on_the_disc() {
        let mut state = ready(Some(100));
        let read = |lba: u8, blocks: u8| packet(&[0x28, 0, 0, 0, 0, lba, 0, 0, blocks]);
        assert_eq!(state.perform(&read(99, 1)), Step::Read { lba: 99, blocks: 1 });
        assert_eq!(state.perform(&read(99, 2)), Step::Fail(OUT_OF_RANGE));
        assert_eq!(state.perform(&read(100, 0)), Step::Done);
        let far = packet(&[0xa8, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(state.perform(&far), Step::Fail(OUT_OF_RANGE));
        assert_eq!(data(&mut state, &[0x25]), [0, 0, 0, 99, 0, 0, 8, 0]);
    }

    #[test]
    fn an_empty_drive_says_so() {
        let mut state = ready(None);
        for opcode in [0x00, 0x25, 0x28, 0x43, 0x51] {
            assert_eq!(state.perform(&packet(&[opcode])), Step::Fail(NO_MEDIUM_TRAY_CLOSED));
        }
        assert_eq!(data(&mut state, &[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]), [0, 6, 4, 0x10, 0, 0, 0, 0]);
    }

    #[test]
    fn the_tray_opens_unless_locked_and_a_closed_one_is_a_change() {
        let mut state = ready(Some(9));
        assert_eq!(state.perform(&packet(&[0x1e, 0, 0, 0, 1])), Step::Done);
        assert_eq!(state.perform(&packet(&[0x1b, 0, 0, 0, 2])), Step::Fail(REMOVAL_PREVENTED));
        assert_eq!(state.perform(&packet(&[0x1e])), Step::Done);
        assert_eq!(state.perform(&packet(&[0x1b, 0, 0, 0, 2])), Step::Done);
        assert_eq!(state.perform(&packet(&[0x00])), Step::Fail(NO_MEDIUM_TRAY_OPEN));
        assert_eq!(data(&mut state, &[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8])[4..6], [3, 1]);
        assert_eq!(state.perform(&packet(&[0x1b, 0, 0, 0, 3])), Step::Done);
        assert_eq!(state.perform(&packet(&[0x00])), Step::Fail(MEDIUM_CHANGED));
        assert_eq!(state.perform(&packet(&[0x00])), Step::Done);
    }

    /// A track and the lead-out; addresses as blocks or as time.
    #[test]
    fn the_table_of_contents_has_one_track_of_data() {
        let mut state = ready(Some(75 * 60));
        let toc = data(&mut state, &[0x43, 0, 0, 0, 0, 0, 0, 0, 100]);
        assert_eq!(toc, [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xaa, 0, 0, 0, 0x11, 0x94]);
        let toc = data(&mut state, &[0x43, 2, 0, 0, 0, 0, 0xaa, 0, 100]);
        assert_eq!(toc, [0, 10, 1, 1, 0, 0x14, 0xaa, 0, 0, 1, 2, 0]);
        assert_eq!(data(&mut state, &[0x43, 0, 0, 0, 0, 0, 0, 0, 4]).len(), 4);
        assert_eq!(data(&mut state, &[0x43, 2, 2, 0, 0, 0, 0, 0, 200]).len(), 48);
        assert_eq!(state.perform(&packet(&[0x43, 0, 0, 0, 0, 0, 5, 0, 100])), Step::Fail(INVALID_FIELD));
    }

    #[test]
    fn no_packet_does_harm() {
        let mut state = ready(Some(1000));
        let mut seed = 1_u64;
        for _ in 0..200_000 {
            let mut bytes = [0; PACKET_LEN];
            for byte in &mut bytes {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = seed.to_be_bytes()[0];
            }
            if let Step::Read { lba, blocks } = state.perform(&bytes) {
                assert!(lba + blocks <= 1000);
            }
        }
    }

    /// MMC-3, 5.5 and 6.2.2.5: who asks for the disc, and what is told when there is another one.
    #[test]
    fn an_operator_changes_the_disc() {
        let mut state = ready(Some(100));
        let event = |state: &mut State| match state.perform(&packet(&[0x4a, 1, 0, 0, 1 << 4, 0, 0, 0, 8])) {
            Step::Reply(data) => (data[4], data[5]),
            other => panic!("{other:?}"),
        };
        state.perform(&packet(&[0x1e, 0, 0, 0, 1]));
        assert_eq!(state.change_disc(DiscChange::Open { force: false }), Err(TrayError::Locked));
        assert_eq!(event(&mut state), (1, 2), "the guest is asked");
        assert_eq!(state.perform(&packet(&[0x00])), Step::Done, "and has the disc still");
        assert_eq!(state.change_disc(DiscChange::Lay(None)), Err(TrayError::Closed));
        assert_eq!(state.change_disc(DiscChange::Open { force: true }), Ok(()));
        assert_eq!(state.change_disc(DiscChange::Lay(None)), Ok(()));
        assert_eq!(event(&mut state), (3, 1));
        assert_eq!(state.perform(&packet(&[0x00])), Step::Fail(NO_MEDIUM_TRAY_OPEN));

        assert_eq!(state.change_disc(DiscChange::Lay(Some(803))), Ok(()));
        assert_eq!(event(&mut state), (0, 1), "it is not in the drive yet");
        assert_eq!(state.change_disc(DiscChange::Close), Ok(()));
        assert_eq!(event(&mut state), (2, 2));
        assert_eq!(state.perform(&packet(&[0x00])), Step::Fail(MEDIUM_CHANGED));
        assert_eq!(state.perform(&packet(&[0x28, 0, 0, 0, 0, 199, 0, 0, 1])), Step::Read { lba: 199, blocks: 1 });
        assert_eq!(state.perform(&packet(&[0x28, 0, 0, 0, 0, 200, 0, 0, 1])), Step::Fail(OUT_OF_RANGE));
        state.perform(&packet(&[0x1e]));
        assert_eq!(state.change_disc(DiscChange::Open { force: false }), Ok(()), "nobody holds on to it");
    }

    #[test]
    fn the_disc_outlives_a_power_on() {
        let mut state = ready(Some(100));
        for change in [DiscChange::Open { force: true }, DiscChange::Lay(Some(40)), DiscChange::Close] {
            assert_eq!(state.change_disc(change), Ok(()));
        }
        state.power_on();
        assert_eq!(data(&mut state, &[0x25]), [0, 0, 0, 9, 0, 0, 8, 0]);
        assert_eq!(state.change_disc(DiscChange::Open { force: true }), Ok(()));
        state.power_on();
        assert_eq!(state.perform(&packet(&[0x00])), Step::Fail(NO_MEDIUM_TRAY_OPEN));
    }

    #[test]
    fn a_guest_that_asks_for_no_events_hears_of_an_open_tray() {
        let mut state = ready(Some(9));
        for change in [DiscChange::Open { force: false }, DiscChange::Lay(Some(9)), DiscChange::Close] {
            assert_eq!(state.change_disc(change), Ok(()));
        }
        let heard = [(); 3].map(|()| state.perform(&packet(&[0x00])));
        assert_eq!(heard, [Step::Fail(NO_MEDIUM_TRAY_CLOSED), Step::Fail(MEDIUM_CHANGED), Step::Done]);
    }

    #[test]
    fn nothing_is_told_of_a_disc_that_has_gone() {
        let mut state = ready(Some(9));
        for how in [2, 3] {
            assert_eq!(state.perform(&packet(&[0x1b, 0, 0, 0, how])), Step::Done);
        }
        for change in [DiscChange::Open { force: false }, DiscChange::Lay(None), DiscChange::Close] {
            assert_eq!(state.change_disc(change), Ok(()));
        }
        assert_eq!(state.perform(&packet(&[0x00])), Step::Fail(NO_MEDIUM_TRAY_CLOSED));
        assert_eq!(data(&mut state, &[0x03, 0, 0, 0, 18])[2], 0, "and that is all");
    }
}
