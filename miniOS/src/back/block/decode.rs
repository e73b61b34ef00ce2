//! From what a frontend wrote into a slot to a request that cannot be wrong.

use alloc::vec::Vec;

use xen_abi::GrantRef;
use xen_abi::io::blkif;
use zerocopy::FromBytes;

use super::Geometry;
use crate::front::block::SECTOR_SIZE;

/// The layouts of requests and responses, which are those of the frontend's processor mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abi {
    /// `x86_64-abi`.
    X86_64,
    /// `x86_32-abi`: numbers of 64 bits stand at multiples of four.
    X86_32,
}

impl Abi {
    /// From `protocol`, without which it is ours.
    pub(super) fn decode(protocol: Option<&str>) -> Option<Self> {
        match protocol {
            None | Some("x86_64-abi") => Some(Self::X86_64),
            Some("x86_32-abi") => Some(Self::X86_32),
            Some(_) => None,
        }
    }

    /// Bytes of a slot.
    pub(super) const fn slot_len(self) -> usize {
        match self {
            Self::X86_64 => blkif::SLOT_LEN,
            Self::X86_32 => blkif::SLOT_LEN - 4,
        }
    }

    /// The request as it would be in our own layout: there, four bytes stand before the id.
    pub(super) fn widen(self, slot: [u8; blkif::SLOT_LEN]) -> [u8; blkif::SLOT_LEN] {
        match self {
            Self::X86_64 => slot,
            Self::X86_32 => {
                let mut wide = [0; blkif::SLOT_LEN];
                let (head, rest) = slot.split_at(4);
                wide[..4].copy_from_slice(head);
                let body = wide.len() - 8;
                wide[8..].copy_from_slice(&rest[..body]);
                wide
            }
        }
    }

    /// Bytes of a response: its last four are padding that only our own layout has.
    pub(super) const fn response_len(self) -> usize {
        match self {
            Self::X86_64 => 16,
            Self::X86_32 => 12,
        }
    }
}

/// What to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) id: u64,
    pub(super) operation: u8,
    pub(super) status: i16,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) id: u64,
    /// As the answer repeats it. Of an indirect request it is what it does.
    pub(super) operation: u8,
    pub(super) command: Command,
}

impl Request {
    pub(super) const fn answer(&self, status: i16) -> Answer {
        Answer { id: self.id, operation: self.operation, status }
    }

    /// Most bytes that it moves.
    pub(super) fn len_max(&self) -> usize {
        match &self.command {
            Command::Move { segments, .. } => segments.count() * xen_abi::PAGE_SIZE,
            Command::Flush | Command::Discard { .. } => 0,
        }
    }

    /// Whether it has to wait for all before it, and all after it for this one.
    pub(super) const fn is_barrier(&self) -> bool {
        self.operation == blkif::BLKIF_OP_WRITE_BARRIER
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Reads or writes what segments say, from a sector on.
    Move { direction: Direction, sector: u64, segments: Segments },
    /// Makes durable what was written.
    Flush,
    /// Forgets sectors.
    Discard { sector: u64, sectors: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
    /// A write between two flushes.
    Barrier,
}

/// Where the data of a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segments {
    /// In these, whose ranges are in order.
    Direct(Vec<Segment>),
    /// In so many that are listed in pages of the frontend.
    Indirect { count: u16, pages: [GrantRef; blkif::BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST] },
}

impl Segments {
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Direct(segments) => segments.len(),
            Self::Indirect { count, .. } => usize::from(*count),
        }
    }
}

/// A part of a page of the frontend, whole sectors and at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) reference: GrantRef,
    /// Bytes into the page.
    pub(super) offset: usize,
    /// Bytes.
    pub(super) len: usize,
}

impl Segment {
    /// `None`: the sectors are none, or beyond the page.
    pub(super) fn decode(raw: blkif::Segment) -> Option<Self> {
        let (first, last) = (usize::from(raw.first_sect), usize::from(raw.last_sect));
        let is_sound = first <= last && last < xen_abi::PAGE_SIZE / SECTOR_SIZE;
        is_sound.then(|| Self {
            reference: raw.gref,
            offset: first * SECTOR_SIZE,
            len: (last - first + 1) * SECTOR_SIZE,
        })
    }
}

/// Whether `bytes` from a sector on are whole sectors of the disk and lie within it.
pub(super) fn is_in_range(geometry: &Geometry, sector: u64, sectors: u64) -> bool {
    let unit = u64::from(geometry.sector_size / 512).max(1);
    let end = sector.checked_add(sectors);
    sectors > 0
        && sector.is_multiple_of(unit)
        && sectors.is_multiple_of(unit)
        && end.is_some_and(|end| end <= geometry.sectors)
}

/// Looks at a request, or says what to answer to one that makes no sense. Whether the range is on the disk is known only with
/// the segments.
pub(super) fn decode(
    slot: &[u8; blkif::SLOT_LEN],
    geometry: &Geometry,
    segments_max: usize,
) -> Result<Request, Answer> {
    let raw = blkif::Request::read_from_bytes(slot).unwrap_or_default();
    let (id, operation, sector) = (raw.id, raw.operation, raw.sector_number);
    let refuse = |operation, status| Err(Answer { id, operation, status });
    let error = |operation| refuse(operation, blkif::BLKIF_RSP_ERROR);
    let direction = |operation| match operation {
        blkif::BLKIF_OP_READ => Some(Direction::Read),
        blkif::BLKIF_OP_WRITE => Some(Direction::Write),
        blkif::BLKIF_OP_WRITE_BARRIER => Some(Direction::Barrier),
        _ => None,
    };
    let command = match operation {
        // One without data is a flush.
        blkif::BLKIF_OP_WRITE_BARRIER if raw.nr_segments == 0 => Command::Flush,
        blkif::BLKIF_OP_READ | blkif::BLKIF_OP_WRITE | blkif::BLKIF_OP_WRITE_BARRIER => {
            let Some(direction) = direction(operation) else { return error(operation) };
            let Some(listed) = raw.seg.get(..usize::from(raw.nr_segments)).filter(|listed| !listed.is_empty()) else {
                return error(operation);
            };
            let segments: Option<Vec<_>> = listed.iter().map(|segment| Segment::decode(*segment)).collect();
            let Some(segments) = segments else { return error(operation) };
            Command::Move { direction, sector, segments: Segments::Direct(segments) }
        }
        blkif::BLKIF_OP_INDIRECT => {
            let Ok((raw, _)) = blkif::RequestIndirect::read_from_prefix(slot) else { return error(operation) };
            let count = usize::from(raw.nr_segments);
            let operation = raw.indirect_op;
            // Barriers are never indirect.
            let Some(direction) = direction(operation).filter(|direction| *direction != Direction::Barrier) else {
                return error(operation);
            };
            if count == 0 || count > segments_max {
                return error(operation);
            }
            let segments = Segments::Indirect { count: raw.nr_segments, pages: raw.indirect_grefs };
            let command = Command::Move { direction, sector: raw.sector_number, segments };
            if direction == Direction::Write && geometry.is_read_only {
                return error(operation);
            }
            return Ok(Request { id, operation, command });
        }
        blkif::BLKIF_OP_FLUSH_DISKCACHE => Command::Flush,
        blkif::BLKIF_OP_DISCARD => {
            let Ok((raw, _)) = blkif::RequestDiscard::read_from_prefix(slot) else { return error(operation) };
            if !geometry.can_discard || raw.flag & blkif::BLKIF_DISCARD_SECURE != 0 {
                return refuse(operation, blkif::BLKIF_RSP_EOPNOTSUPP);
            }
            if !is_in_range(geometry, sector, raw.nr_sectors) {
                return error(operation);
            }
            Command::Discard { sector, sectors: raw.nr_sectors }
        }
        _ => return refuse(operation, blkif::BLKIF_RSP_EOPNOTSUPP),
    };
    let changes = match command {
        Command::Move { direction, .. } => direction != Direction::Read,
        Command::Flush => false,
        Command::Discard { .. } => true,
    };
    if changes && geometry.is_read_only {
        return error(operation);
    }
    Ok(Request { id, operation, command })
}
