//! A host for tests: guest memory, video memory, disks and a record of everything that was reported.
//!
//! Disk operations end when the test says so ([`FakeHost::finish_disk`]), so that a test can look at a device while
//! an operation is under way, reset it, or make the operation fail.

use crate::host::{
    DiskError, DiskHost, DiskId, DiskOp, FRAME_MAX, GuestAddr, GuestMemory, IrqSink, IsaIrq, Level, NicFeatures,
    NicHost, NicId, Offload, Platform, Range, Received, ReceivedChecksum, SerialHost, SerialId, ShutdownReason,
    Unmapped, Unplug, VideoMemory,
};
use crate::time::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::vec;
use std::vec::Vec;

/// Bytes in the transfer buffer of every disk.
pub(crate) const BUFFER_LEN: usize = 64 * 1024;

/// One disk: its content, its transfer buffer, and the operation that is under way.
#[derive(Debug, Default)]
pub(crate) struct FakeDisk {
    /// Every sector.
    pub(crate) content: Vec<u8>,
    /// The transfer buffer.
    pub(crate) buffer: Vec<u8>,
    /// What was started and has not ended.
    pub(crate) under_way: Option<DiskOp>,
    /// Every operation ever started.
    pub(crate) started: Vec<DiskOp>,
}

/// One network: what the card sent, and what waits for it.
#[derive(Debug, Default)]
pub(crate) struct FakeNic {
    /// What it can do.
    pub(crate) features: NicFeatures,
    /// Whether the link is down.
    pub(crate) unplugged: bool,
    /// How many more frames it takes; `None` is no limit.
    pub(crate) room: Option<usize>,
    /// The frame that is being put together.
    pub(crate) begun: Option<Vec<u8>>,
    /// Every frame that was sent.
    pub(crate) sent: Vec<(Vec<u8>, Offload)>,
    /// Frames for the card, oldest first.
    pub(crate) received: VecDeque<(Vec<u8>, ReceivedChecksum)>,
}

/// The host.
#[derive(Debug, Default)]
pub(crate) struct FakeHost {
    /// Guest memory from address 0 on; what lies beyond is not mapped.
    pub(crate) memory: Vec<u8>,
    /// Video memory.
    pub(crate) video: Vec<u8>,
    /// Video pages that the next [`VideoMemory::video_dirty`] reports.
    pub(crate) video_dirty_pages: Vec<bool>,
    /// Where the linear aperture is.
    pub(crate) aperture: Option<GuestAddr>,
    /// Levels of the ISA lines.
    pub(crate) isa: [Level; 16],
    /// Every change of an ISA line.
    pub(crate) isa_changes: Vec<(u8, Level)>,
    /// Every change of a PCI pin: slot, pin, level.
    pub(crate) intx_changes: Vec<(u8, u8, Level)>,
    /// Messages that were sent.
    pub(crate) messages: Vec<(GuestAddr, u32)>,
    /// Routes of the PCI links.
    pub(crate) links: [Option<IsaIrq>; 4],
    /// The disks.
    pub(crate) disks: BTreeMap<u8, FakeDisk>,
    /// The networks.
    pub(crate) nics: BTreeMap<u8, FakeNic>,
    /// What each serial port sent.
    pub(crate) serial: BTreeMap<u8, Vec<u8>>,
    /// How many more bytes each serial port takes; absent is no limit.
    pub(crate) serial_room: BTreeMap<u8, usize>,
    /// The time.
    pub(crate) time: Instant,
    /// Every shutdown asked for.
    pub(crate) shutdowns: Vec<ShutdownReason>,
    /// How often S3 was asked for.
    pub(crate) suspends: usize,
    /// How often the machine woke up.
    pub(crate) wakes: usize,
    /// What is claimed, in the order of claiming.
    pub(crate) claimed: Vec<Range>,
    /// Every unplug asked for.
    pub(crate) unplugged: Vec<Unplug>,
    /// Every line logged by the guest.
    pub(crate) lines: Vec<Vec<u8>>,
}

impl FakeHost {
    /// A host with `memory` bytes of guest memory and 16 MiB of video memory.
    pub(crate) fn new(memory: usize) -> Self {
        Self { memory: vec![0; memory], video: vec![0; 16 << 20], ..Self::default() }
    }

    /// Adds a disk of `sectors` sectors, sector `n` filled with the bytes of [`sector_pattern`].
    pub(crate) fn add_disk(&mut self, disk: DiskId, sectors: u64) {
        let content = (0..sectors).flat_map(sector_pattern).collect();
        let disk_state = FakeDisk { content, buffer: vec![0; BUFFER_LEN], ..FakeDisk::default() };
        self.disks.insert(disk.0, disk_state);
    }

    /// Whether an operation of `disk` is under way.
    pub(crate) fn disk_busy(&self, disk: DiskId) -> bool {
        self.disks.get(&disk.0).is_some_and(|disk| disk.under_way.is_some())
    }

    /// Performs the operation that is under way; the caller then reports the result to the machine.
    pub(crate) fn finish_disk(&mut self, disk: DiskId) -> Result<(), DiskError> {
        let disk = self.disks.get_mut(&disk.0).expect("a disk of this test");
        match disk.under_way.take().expect("an operation is under way") {
            DiskOp::Read { lba, sectors } => {
                let (at, len) = (usize::try_from(lba).unwrap() * 512, usize::try_from(sectors).unwrap() * 512);
                disk.buffer[..len].copy_from_slice(&disk.content[at..at + len]);
            }
            DiskOp::Write { lba, sectors } => {
                let (at, len) = (usize::try_from(lba).unwrap() * 512, usize::try_from(sectors).unwrap() * 512);
                disk.content[at..at + len].copy_from_slice(&disk.buffer[..len]);
            }
            DiskOp::Discard { lba, sectors } => {
                let (at, len) = (usize::try_from(lba).unwrap() * 512, usize::try_from(sectors).unwrap() * 512);
                disk.content[at..at + len].fill(0);
            }
            DiskOp::Flush => {}
        }
        Ok(())
    }

    /// Makes the operation that is under way fail.
    pub(crate) fn fail_disk(&mut self, disk: DiskId) -> Result<(), DiskError> {
        let disk = self.disks.get_mut(&disk.0).expect("a disk of this test");
        disk.under_way.take().expect("an operation is under way");
        Err(DiskError)
    }

    /// The level of an ISA line.
    pub(crate) fn irq(&self, line: u8) -> Level {
        self.isa[usize::from(line)]
    }
}

/// What a new disk holds in sector `lba`.
pub(crate) fn sector_pattern(lba: u64) -> [u8; 512] {
    let mut sector = [0; 512];
    for (byte, at) in sector.iter_mut().zip(0_u64..) {
        *byte = (lba.wrapping_mul(131).wrapping_add(at.wrapping_mul(7)) ^ (lba >> 8)).to_le_bytes()[0];
    }
    sector
}

impl GuestMemory for FakeHost {
    fn read(&mut self, addr: GuestAddr, data: &mut [u8]) -> Result<(), Unmapped> {
        let at = usize::try_from(addr.0).map_err(|_| Unmapped)?;
        let end = at.checked_add(data.len()).ok_or(Unmapped)?;
        data.copy_from_slice(self.memory.get(at..end).ok_or(Unmapped)?);
        Ok(())
    }

    fn write(&mut self, addr: GuestAddr, data: &[u8]) -> Result<(), Unmapped> {
        let at = usize::try_from(addr.0).map_err(|_| Unmapped)?;
        let end = at.checked_add(data.len()).ok_or(Unmapped)?;
        self.memory.get_mut(at..end).ok_or(Unmapped)?.copy_from_slice(data);
        Ok(())
    }
}

impl VideoMemory for FakeHost {
    fn video_read(&self, offset: u32, data: &mut [u8]) {
        for (byte, at) in data.iter_mut().zip(usize::try_from(offset).unwrap()..) {
            *byte = self.video.get(at).copied().unwrap_or(0);
        }
    }

    fn video_write(&mut self, offset: u32, data: &[u8]) {
        for (byte, at) in data.iter().zip(usize::try_from(offset).unwrap()..) {
            if let Some(cell) = self.video.get_mut(at) {
                *cell = *byte;
            }
        }
    }

    fn video_dirty(&mut self, first: u32, bitmap: &mut [u8]) {
        let pages = self.video.len() / 4096;
        if self.video_dirty_pages.is_empty() {
            self.video_dirty_pages = vec![true; pages];
        }
        for (byte, group) in bitmap.iter_mut().zip(0..) {
            *byte = 0;
            for bit in 0..8 {
                let page = usize::try_from(first).unwrap() + group * 8 + bit;
                if let Some(dirty) = self.video_dirty_pages.get_mut(page) {
                    *byte |= u8::from(*dirty) << bit;
                    *dirty = false;
                }
            }
        }
    }

    fn video_aperture(&mut self, addr: Option<GuestAddr>) {
        self.aperture = addr;
    }
}

impl IrqSink for FakeHost {
    fn isa_irq(&mut self, irq: IsaIrq, level: Level) {
        self.isa[usize::from(irq.0)] = level;
        self.isa_changes.push((irq.0, level));
    }

    fn pci_intx(&mut self, slot: u8, pin: u8, level: Level) {
        self.intx_changes.push((slot, pin, level));
    }

    fn message(&mut self, addr: GuestAddr, data: u32) {
        self.messages.push((addr, data));
    }

    fn pci_link_route(&mut self, link: u8, irq: Option<IsaIrq>) {
        self.links[usize::from(link)] = irq;
    }
}

impl DiskHost for FakeHost {
    fn disk_buffer_len(&self, disk: DiskId) -> usize {
        self.disks.get(&disk.0).map_or(BUFFER_LEN, |disk| disk.buffer.len())
    }

    fn disk_start(&mut self, disk: DiskId, op: DiskOp) {
        let len = self.disk_buffer_len(disk);
        let disk = self.disks.get_mut(&disk.0).expect("only disks that exist are asked");
        assert!(disk.under_way.is_none(), "one operation at a time");
        if let DiskOp::Read { lba, sectors } | DiskOp::Write { lba, sectors } = op {
            assert!(sectors > 0, "an operation transfers something");
            assert!(usize::try_from(sectors).unwrap() * 512 <= len, "the transfer fits the buffer");
            let end = lba.checked_add(u64::from(sectors)).expect("the range lies within the disk");
            assert!(end <= u64::try_from(disk.content.len()).unwrap() / 512, "the range lies within the disk");
        }
        disk.started.push(op);
        disk.under_way = Some(op);
    }

    fn disk_buffer_read(&mut self, disk: DiskId, offset: usize, data: &mut [u8]) {
        let buffer = &self.disks[&disk.0].buffer;
        for (byte, at) in data.iter_mut().zip(offset..) {
            *byte = buffer.get(at).copied().unwrap_or(0);
        }
    }

    fn disk_buffer_write(&mut self, disk: DiskId, offset: usize, data: &[u8]) {
        let disk = self.disks.get_mut(&disk.0).expect("a disk of this test");
        assert!(disk.under_way.is_none(), "the buffer belongs to the host while an operation is under way");
        for (byte, at) in data.iter().zip(offset..) {
            if let Some(cell) = disk.buffer.get_mut(at) {
                *cell = *byte;
            }
        }
    }

    fn disk_buffer_to_guest(
        &mut self,
        disk: DiskId,
        offset: usize,
        addr: GuestAddr,
        len: usize,
    ) -> Result<(), Unmapped> {
        let mut data = vec![0; len];
        self.disk_buffer_read(disk, offset, &mut data);
        self.write(addr, &data)
    }

    fn disk_buffer_from_guest(
        &mut self,
        disk: DiskId,
        offset: usize,
        addr: GuestAddr,
        len: usize,
    ) -> Result<(), Unmapped> {
        let mut data = vec![0; len];
        self.read(addr, &mut data)?;
        self.disk_buffer_write(disk, offset, &data);
        Ok(())
    }
}

impl NicHost for FakeHost {
    fn nic_features(&self, nic: NicId) -> NicFeatures {
        self.nics[&nic.0].features
    }

    fn nic_link(&self, nic: NicId) -> bool {
        !self.nics[&nic.0].unplugged
    }

    fn nic_begin(&mut self, nic: NicId) -> bool {
        let nic = self.nics.get_mut(&nic.0).expect("a network of this test");
        let has_room = nic.room != Some(0);
        nic.begun = has_room.then(Vec::new);
        has_room
    }

    fn nic_append_from_guest(&mut self, nic: NicId, addr: GuestAddr, len: usize) -> Result<(), Unmapped> {
        let mut data = vec![0; len];
        self.read(addr, &mut data)?;
        self.nic_append(nic, &data);
        Ok(())
    }

    fn nic_append(&mut self, nic: NicId, data: &[u8]) {
        let nic = self.nics.get_mut(&nic.0).expect("a network of this test");
        let frame = nic.begun.as_mut().expect("a frame was begun");
        let room = FRAME_MAX - frame.len();
        frame.extend(&data[..data.len().min(room)]);
    }

    fn nic_len(&self, nic: NicId) -> usize {
        self.nics[&nic.0].begun.as_ref().map_or(0, Vec::len)
    }

    fn nic_read(&self, nic: NicId, offset: usize, data: &mut [u8]) {
        copy_at(self.nics[&nic.0].begun.as_deref().unwrap_or_default(), offset, data);
    }

    fn nic_write(&mut self, nic: NicId, offset: usize, data: &[u8]) {
        let nic = self.nics.get_mut(&nic.0).expect("a network of this test");
        for (to, from) in nic.begun.iter_mut().flatten().skip(offset).zip(data) {
            *to = *from;
        }
    }

    fn nic_send(&mut self, nic: NicId, offload: Offload) {
        let nic = self.nics.get_mut(&nic.0).expect("a network of this test");
        let frame = nic.begun.take().expect("a frame was begun");
        assert!(!offload.blank_checksum || nic.features != NicFeatures::default(), "the network cannot do that");
        if let Some(room) = &mut nic.room {
            *room -= 1;
        }
        if frame.len() >= 14 && !nic.unplugged {
            nic.sent.push((frame, offload));
        }
    }

    fn nic_received(&mut self, nic: NicId) -> Option<Received> {
        let (frame, checksum) = self.nics[&nic.0].received.front()?;
        Some(Received { len: frame.len(), checksum: *checksum })
    }

    fn nic_received_read(&self, nic: NicId, offset: usize, data: &mut [u8]) {
        let frame = self.nics[&nic.0].received.front().map_or(&[][..], |(frame, _)| frame);
        copy_at(frame, offset, data);
    }

    fn nic_received_write(&mut self, nic: NicId, offset: usize, data: &[u8]) {
        let nic = self.nics.get_mut(&nic.0).expect("a network of this test");
        let frame = nic.received.front_mut().map(|(frame, _)| frame);
        for (to, from) in frame.into_iter().flatten().skip(offset).zip(data) {
            *to = *from;
        }
    }

    fn nic_received_to_guest(
        &mut self,
        nic: NicId,
        offset: usize,
        addr: GuestAddr,
        len: usize,
    ) -> Result<(), Unmapped> {
        let mut data = vec![0; len];
        self.nic_received_read(nic, offset, &mut data);
        self.write(addr, &data)
    }

    fn nic_received_done(&mut self, nic: NicId) {
        self.nics.get_mut(&nic.0).expect("a network of this test").received.pop_front();
    }
}

/// Copies from `offset` on; what lies behind the end reads as zero.
fn copy_at(from: &[u8], offset: usize, to: &mut [u8]) {
    for (to, at) in to.iter_mut().zip(offset..) {
        *to = from.get(at).copied().unwrap_or(0);
    }
}

impl SerialHost for FakeHost {
    fn serial_send(&mut self, port: SerialId, byte: u8) -> bool {
        if let Some(room) = self.serial_room.get_mut(&port.0) {
            let Some(left) = room.checked_sub(1) else { return false };
            *room = left;
        }
        self.serial.entry(port.0).or_default().push(byte);
        true
    }
}

impl Platform for FakeHost {
    fn now(&self) -> Instant {
        self.time
    }

    fn shutdown(&mut self, reason: ShutdownReason) {
        self.shutdowns.push(reason);
    }

    fn suspend(&mut self) {
        self.suspends += 1;
    }

    fn wake_up(&mut self) {
        self.wakes += 1;
    }

    fn claim(&mut self, range: Range, claimed: bool) {
        if claimed {
            let overlaps = self.claimed.iter().any(|have| overlap(*have, range));
            assert!(!overlaps, "{range:?} is claimed once");
            self.claimed.push(range);
        } else {
            let place = self.claimed.iter().position(|have| *have == range);
            self.claimed.remove(place.expect("a range goes as it came"));
        }
    }

    fn unplug(&mut self, what: Unplug) {
        self.unplugged.push(what);
    }

    fn guest_log(&mut self, line: &[u8]) {
        self.lines.push(line.to_vec());
    }
}

/// Whether two ranges have something in common.
fn overlap(one: Range, other: Range) -> bool {
    match (one, other) {
        (Range::Ports { first, last }, Range::Ports { first: from, last: to }) => first <= to && from <= last,
        (Range::Memory { first, last }, Range::Memory { first: from, last: to }) => first <= to && from <= last,
        (one, other) => one == other,
    }
}
