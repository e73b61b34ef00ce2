//! Everything around the machine: what [`devmodel::Host`] asks for, on this machine.
//!
//! Time is what the client says. Nothing here waits for anything but a peer that does not read.

use devmodel::host::{
    DiskHost, DiskId, DiskOp, GuestAddr, GuestMemory, IrqSink, IsaIrq, Level, NicFeatures, NicHost, NicId, Offload,
    Platform, Range, Received, ReceivedChecksum, SerialHost, SerialId, ShutdownReason, Unmapped, Unplug, VideoMemory,
};
use devmodel::time::Instant;

use crate::character::Peer;
use crate::disks::Disks;
use crate::irqs::Irqs;
use crate::nics::Nic;
use crate::ram::{Piece, Ram};
use crate::video::{Video, copy_from, copy_to};

/// The world.
#[derive(Debug)]
pub(crate) struct World {
    /// Guest memory.
    pub(crate) ram: Ram,
    /// Video memory.
    pub(crate) video: Video,
    /// Interrupt lines.
    pub(crate) irqs: Irqs,
    /// Disks.
    pub(crate) disks: Disks,
    /// Networks.
    pub(crate) nics: Vec<Nic>,
    /// The other ends of the serial ports.
    pub(crate) serial: Vec<Peer>,
    /// Who reads what the firmware writes to its debug port.
    pub(crate) debug_port: Peer,
    /// The time.
    pub(crate) now: Instant,
    /// The guest wants the machine to stop, and has not got it yet.
    pub(crate) shutdown: Option<ShutdownReason>,
}

impl GuestMemory for World {
    fn read(&mut self, addr: GuestAddr, data: &mut [u8]) -> Result<(), Unmapped> {
        let (mut at, mut rest) = (addr.0, data);
        while !rest.is_empty() {
            let len = match self.ram.read(at, rest) {
                Piece::Done(len) => len,
                Piece::Bus(len) => {
                    let offset = self.video.offset(at, len).ok_or(Unmapped)?;
                    self.video.read(offset, &mut rest[..len]);
                    len
                }
            };
            (at, rest) = (at.wrapping_add(as_u64(len)), &mut rest[len..]);
        }
        Ok(())
    }

    fn write(&mut self, addr: GuestAddr, data: &[u8]) -> Result<(), Unmapped> {
        let (mut at, mut rest) = (addr.0, data);
        while !rest.is_empty() {
            let len = match self.ram.write(at, rest) {
                Piece::Done(len) => len,
                Piece::Bus(len) => {
                    let offset = self.video.offset(at, len).ok_or(Unmapped)?;
                    self.video.write(offset, &rest[..len]);
                    len
                }
            };
            (at, rest) = (at.wrapping_add(as_u64(len)), &rest[len..]);
        }
        Ok(())
    }
}

impl VideoMemory for World {
    fn video_read(&self, offset: u32, data: &mut [u8]) {
        self.video.read(as_usize(offset), data);
    }

    fn video_write(&mut self, offset: u32, data: &[u8]) {
        self.video.write(as_usize(offset), data);
    }

    fn video_dirty(&mut self, first: u32, bitmap: &mut [u8]) {
        self.video.take_dirty(as_usize(first), bitmap);
    }

    fn video_aperture(&mut self, addr: Option<GuestAddr>) {
        self.video.aperture = addr.map(|addr| addr.0);
    }
}

impl IrqSink for World {
    fn isa_irq(&mut self, irq: IsaIrq, level: Level) {
        self.irqs.set_isa(irq.0, level == Level::High);
    }

    fn pci_intx(&mut self, slot: u8, pin: u8, level: Level) {
        self.irqs.set_pin(slot, pin, level == Level::High);
    }

    // The client hears of pins only.
    fn message(&mut self, _addr: GuestAddr, _data: u32) {}

    fn pci_link_route(&mut self, link: u8, irq: Option<IsaIrq>) {
        self.irqs.set_route(link, irq);
    }
}

impl DiskHost for World {
    fn disk_buffer_len(&self, disk: DiskId) -> usize {
        self.disks.buffer_len(disk)
    }

    fn disk_start(&mut self, disk: DiskId, op: DiskOp) {
        self.disks.start(disk, op);
    }

    fn disk_buffer_read(&mut self, disk: DiskId, offset: usize, data: &mut [u8]) {
        self.disks.buffer_read(disk, offset, data);
    }

    fn disk_buffer_write(&mut self, disk: DiskId, offset: usize, data: &[u8]) {
        self.disks.buffer_write(disk, offset, data);
    }

    fn disk_buffer_to_guest(
        &mut self,
        disk: DiskId,
        offset: usize,
        addr: GuestAddr,
        len: usize,
    ) -> Result<(), Unmapped> {
        let mut data = vec![0; len];
        self.disks.buffer_read(disk, offset, &mut data);
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
        self.disks.buffer_write(disk, offset, &data);
        Ok(())
    }
}

impl World {
    fn nic(&self, nic: NicId) -> Option<&Nic> {
        self.nics.get(usize::from(nic.0))
    }

    fn nic_mut(&mut self, nic: NicId) -> Option<&mut Nic> {
        self.nics.get_mut(usize::from(nic.0))
    }

    fn received(&self, nic: NicId) -> &[u8] {
        self.nic(nic).and_then(|nic| nic.received.front()).map_or(&[], Vec::as_slice)
    }
}

impl NicHost for World {
    fn nic_features(&self, _nic: NicId) -> NicFeatures {
        NicFeatures::default()
    }

    // As in QEMU, the cable is plugged in, whoever is at its other end.
    fn nic_link(&self, nic: NicId) -> bool {
        self.nic(nic).is_some()
    }

    fn nic_begin(&mut self, nic: NicId) -> bool {
        let nic = self.nic_mut(nic);
        nic.map(|nic| nic.begun.clear()).is_some()
    }

    fn nic_append_from_guest(&mut self, nic: NicId, addr: GuestAddr, len: usize) -> Result<(), Unmapped> {
        let mut data = vec![0; len];
        self.read(addr, &mut data)?;
        self.nic_append(nic, &data);
        Ok(())
    }

    fn nic_append(&mut self, nic: NicId, data: &[u8]) {
        if let Some(nic) = self.nic_mut(nic) {
            nic.append(data);
        }
    }

    fn nic_len(&self, nic: NicId) -> usize {
        self.nic(nic).map_or(0, |nic| nic.begun.len())
    }

    fn nic_read(&self, nic: NicId, offset: usize, data: &mut [u8]) {
        copy_from(self.nic(nic).map_or(&[], |nic| &nic.begun), offset, data);
    }

    fn nic_write(&mut self, nic: NicId, offset: usize, data: &[u8]) {
        if let Some(nic) = self.nic_mut(nic) {
            copy_to(&mut nic.begun, offset, data);
        }
    }

    fn nic_send(&mut self, nic: NicId, _offload: Offload) {
        if let Some(nic) = self.nic_mut(nic) {
            nic.send();
        }
    }

    fn nic_received(&mut self, nic: NicId) -> Option<Received> {
        let frame = self.nic(nic)?.received.front()?;
        Some(Received { len: frame.len(), checksum: ReceivedChecksum::Unknown })
    }

    fn nic_received_read(&self, nic: NicId, offset: usize, data: &mut [u8]) {
        copy_from(self.received(nic), offset, data);
    }

    fn nic_received_write(&mut self, nic: NicId, offset: usize, data: &[u8]) {
        if let Some(frame) = self.nic_mut(nic).and_then(|nic| nic.received.front_mut()) {
            copy_to(frame, offset, data);
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
        copy_from(self.received(nic), offset, &mut data);
        self.write(addr, &data)
    }

    fn nic_received_done(&mut self, nic: NicId) {
        if let Some(nic) = self.nic_mut(nic) {
            nic.received.pop_front();
        }
    }
}

impl SerialHost for World {
    fn serial_send(&mut self, port: SerialId, byte: u8) -> bool {
        if let Some(peer) = self.serial.get_mut(usize::from(port.0)) {
            peer.write(&[byte]);
        }
        true
    }
}

impl Platform for World {
    fn now(&self) -> Instant {
        self.now
    }

    fn shutdown(&mut self, reason: ShutdownReason) {
        self.shutdown = Some(reason);
    }

    // Nobody could wake it again.
    fn suspend(&mut self) {}

    fn wake_up(&mut self) {}

    // The machine is asked about every access that is not for memory.
    fn claim(&mut self, _range: Range, _claimed: bool) {}

    fn unplug(&mut self, _what: Unplug) {}

    fn guest_log(&mut self, line: &[u8]) {
        self.debug_port.write(&[line, b"\n"].concat());
    }
}

fn as_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
