//! What the machine asks of the world, answered with hypercalls, frontends and mapped memory.

use alloc::string::String;
use alloc::vec::Vec;
use devmodel::host::{
    DiskHost, DiskId, DiskOp, GuestAddr, GuestMemory, IrqSink, IsaIrq, Level, Platform, Range, SerialHost, SerialId,
    ShutdownReason, Unmapped, Unplug, VideoMemory,
};
use devmodel::time::Instant;
use log::{info, warn};
use minios::DomId;
use minios::clock;
use minios::front::XenDomain as Domain;
use minios::front::console::Console;
use minios::hypercall::dm::{self, IoRange};
use minios::hypercall::{hvm, sched};
use minios::ioreq::IoreqServer;
use minios::xen_abi::hvm::HVM_PARAM_ACPI_S_STATE;

use super::disks::Disks;
use super::guest_memory::GuestMemoryCache;
use super::nics::Nics;
use super::traditional::ClockOffset;
use super::video_memory::VideoRam;

/// Bytes of a line of the guest's own log that are passed on.
const GUEST_LINE_MAX: usize = 180;

/// How long a guest that asks for its end waits until its consoles' backends have taken what it printed.
const DRAINING_NS: u64 = 300_000_000;

/// A serial port and its console.
pub(super) struct Serial {
    /// The console at its other end.
    pub(super) console: Console<Domain>,
    /// The port was told that there is no room, and waits to hear of some.
    pub(super) blocked: bool,
    /// The console may have bytes for it.
    pub(super) input: bool,
}

/// Everything outside of the machine.
pub(super) struct World {
    /// The domain whose machine this is.
    pub(super) guest: DomId,
    /// CPUs that it can have.
    pub(super) vcpus: u32,
    /// The channel for its accesses.
    pub(super) ioreq: IoreqServer,
    /// Its memory.
    pub(super) memory: GuestMemoryCache,
    /// Its graphics card's memory.
    pub(super) video: Option<VideoRam>,
    /// Its disks.
    pub(super) disks: Disks,
    /// Which of them are discs in CD drives, by the numbers of their virtual block devices.
    pub(super) discs: Vec<(u32, DiskId)>,
    /// The Ethernet address of our own, on the network of the first card. The guest must not use it.
    pub(super) station: Option<[u8; 6]>,
    /// Its network cards' networks.
    pub(super) nics: Nics,
    /// Its serial ports.
    pub(super) serials: Vec<Serial>,
    /// How far its clock is off, where the toolstack wants to know that.
    pub(super) clock_offset: Option<ClockOffset>,
    /// The machine has stopped; what comes yet is answered and has no effect.
    pub(super) stopped: bool,
    /// A range that Xen did not accept, kept until somebody can report it.
    pub(super) failed_claim: Option<String>,
}

impl GuestMemory for World {
    fn read(&mut self, addr: GuestAddr, data: &mut [u8]) -> Result<(), Unmapped> {
        self.memory.read(addr, data)
    }

    fn write(&mut self, addr: GuestAddr, data: &[u8]) -> Result<(), Unmapped> {
        self.memory.write(addr, data)
    }
}

impl VideoMemory for World {
    fn video_read(&self, offset: u32, data: &mut [u8]) {
        match &self.video {
            Some(video) => video.read(offset, data),
            None => data.fill(0),
        }
    }

    fn video_write(&mut self, offset: u32, data: &[u8]) {
        if let Some(video) = &mut self.video {
            video.write(offset, data);
        }
    }

    fn video_dirty(&mut self, first: u32, bitmap: &mut [u8]) {
        match &mut self.video {
            Some(video) => video.dirty(first, bitmap),
            None => bitmap.fill(0),
        }
    }

    fn video_aperture(&mut self, addr: Option<GuestAddr>) {
        if let Some(video) = &mut self.video {
            video.set_aperture(addr);
        }
    }
}

impl IrqSink for World {
    fn isa_irq(&mut self, irq: IsaIrq, level: Level) {
        self.check(dm::set_isa_irq_level(self.guest, irq.0, level == Level::High), "interrupt line");
    }

    fn pci_intx(&mut self, slot: u8, pin: u8, level: Level) {
        self.check(dm::set_pci_intx_level(self.guest, slot, pin, level == Level::High), "interrupt pin");
    }

    fn message(&mut self, addr: GuestAddr, data: u32) {
        self.check(dm::inject_msi(self.guest, addr.0, data), "message-signalled interrupt");
    }

    fn pci_link_route(&mut self, link: u8, irq: Option<IsaIrq>) {
        self.check(dm::set_pci_link_route(self.guest, link, irq.map(|irq| irq.0)), "interrupt route");
    }
}

impl DiskHost for World {
    fn disk_buffer_len(&self, disk: DiskId) -> usize {
        self.disks.get(disk).map_or(0, |disk| disk.buffer_len())
    }

    fn disk_start(&mut self, disk: DiskId, op: DiskOp) {
        self.disks.start(disk, op);
    }

    fn disk_buffer_read(&mut self, disk: DiskId, offset: usize, data: &mut [u8]) {
        match self.disks.get(disk) {
            Some(disk) => disk.buffer_read(offset, data),
            None => data.fill(0),
        }
    }

    fn disk_buffer_write(&mut self, disk: DiskId, offset: usize, data: &[u8]) {
        if let Some(disk) = self.disks.get(disk) {
            disk.buffer_write(offset, data);
        }
    }

    fn disk_buffer_to_guest(
        &mut self,
        disk: DiskId,
        offset: usize,
        addr: GuestAddr,
        len: usize,
    ) -> Result<(), Unmapped> {
        let memory = &mut self.memory;
        let copied =
            self.disks.get(disk).and_then(|disk| disk.with_buffer(|pages| memory.write_from(addr, pages, offset, len)));
        copied.unwrap_or(Ok(()))
    }

    fn disk_buffer_from_guest(
        &mut self,
        disk: DiskId,
        offset: usize,
        addr: GuestAddr,
        len: usize,
    ) -> Result<(), Unmapped> {
        let memory = &mut self.memory;
        let copied =
            self.disks.get(disk).and_then(|disk| disk.with_buffer(|pages| memory.read_to(addr, pages, offset, len)));
        copied.unwrap_or(Ok(()))
    }
}

impl SerialHost for World {
    fn serial_send(&mut self, port: SerialId, byte: u8) -> bool {
        let Some(serial) = self.serials.get_mut(usize::from(port.0)) else { return true };
        let sent = serial.console.write(&[byte]) == 1;
        serial.blocked |= !sent;
        sent
    }
}

impl Platform for World {
    fn now(&self) -> Instant {
        Instant(clock::now().0)
    }

    fn shutdown(&mut self, reason: ShutdownReason) {
        if self.stopped {
            return;
        }
        self.stopped = true;
        info!(
            "the guest asks for {}",
            match reason {
                ShutdownReason::PowerOff => "power off",
                ShutdownReason::Reboot => "a reset",
            }
        );
        // What it has printed last is not lost with its consoles.
        let until = clock::now().after(DRAINING_NS);
        while !self.serials.iter().all(|serial| serial.console.is_drained()) && clock::now() < until {
            sched::yield_now();
        }
        let reason = match reason {
            ShutdownReason::PowerOff => sched::ShutdownReason::PowerOff,
            ShutdownReason::Reboot => sched::ShutdownReason::Reboot,
        };
        if let Err(error) = dm::remote_shutdown(self.guest, reason) {
            warn!("the guest could not be shut down: {error}");
        }
    }

    fn suspend(&mut self) {
        info!("the guest goes to sleep");
        self.set_sleep_state(3);
    }

    fn wake_up(&mut self) {
        info!("the guest wakes up");
        self.set_sleep_state(0);
    }

    fn claim(&mut self, range: Range, claimed: bool) {
        let io_range = match range {
            Range::Ports { first, last } => IoRange::Ports { first, last },
            Range::Memory { first, last } => IoRange::Memory { first: first.0, last: last.0 },
            Range::PciFunction { bus, slot: device, function } => IoRange::Pci { bus, device, function },
        };
        let result = if claimed { self.ioreq.claim(io_range) } else { self.ioreq.unclaim(io_range) };
        if let Err(error) = result {
            let what =
                alloc::format!("{range:?} could not be {}: {error}", if claimed { "claimed" } else { "given up" });
            warn!("{what}");
            self.failed_claim = Some(what);
        }
    }

    fn unplug(&mut self, what: Unplug) {
        info!(
            "the guest unplugs {}",
            match what {
                Unplug::IdeDisks => "its IDE disks",
                Unplug::AuxiliaryIdeDisks => "all IDE disks but the first",
                Unplug::Nics => "its network cards",
            }
        );
    }

    fn guest_log(&mut self, line: &[u8]) {
        let line = &line[..line.len().min(GUEST_LINE_MAX)];
        info!(target: "guest", "{}", line.escape_ascii());
    }
}

impl World {
    /// Puts the guest's CPUs to an ACPI sleep state: Xen knows 3 and 0.
    fn set_sleep_state(&self, state: u64) {
        if let Err(error) = hvm::set_param(self.guest, HVM_PARAM_ACPI_S_STATE, state) {
            warn!("the guest's sleep state could not be set to S{state}: {error}");
        }
    }

    /// A call about the guest failed: it is gone, or going.
    fn check(&self, result: Result<(), minios::hypercall::XenError>, what: &str) {
        if let Err(error) = result {
            log::debug!("{what}: {error}");
        }
    }
}
