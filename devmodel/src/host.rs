//! What devices ask of the world.
//!
//! A device gets these traits as an argument of the access that needs them. All of them answer at once; work that
//! takes time (a disk transfer) is started here and reported to [`crate::machine::Machine`] later.

use crate::time::Instant;

/// A physical address of the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuestAddr(pub u64);

/// There is no guest memory at an address. Devices turn this into their own error bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmapped;

/// The guest's memory, by copy only.
pub trait GuestMemory {
    /// Copies guest memory at `addr` into `data`. On an error, `data` may be filled in part.
    fn read(&mut self, addr: GuestAddr, data: &mut [u8]) -> Result<(), Unmapped>;
    /// Copies `data` into guest memory at `addr`. On an error, a part may have been written.
    fn write(&mut self, addr: GuestAddr, data: &[u8]) -> Result<(), Unmapped>;
}

/// The memory of the graphics card.
///
/// The guest may write to it behind the model's back, once its linear aperture is mapped. Offsets are bytes from its
/// start; bytes beyond its end read as zero and are dropped when written.
pub trait VideoMemory {
    /// Copies video memory at `offset` into `data`.
    fn video_read(&self, offset: u32, data: &mut [u8]);
    /// Copies `data` into video memory at `offset`.
    fn video_write(&mut self, offset: u32, data: &[u8]);
    /// Reports which 4 KiB pages the guest wrote through the linear aperture since the last call: bit `i` of `bitmap`
    /// (least significant first within a byte) stands for page `first + i`. Every bit of `bitmap` is set or cleared.
    ///
    /// The first call for a range reports all of it.
    fn video_dirty(&mut self, first: u32, bitmap: &mut [u8]);
    /// Moves the linear aperture to `addr`, or hides it.
    fn video_aperture(&mut self, addr: Option<GuestAddr>);
}

/// An interrupt line of the ISA bus, 0 to 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IsaIrq(pub u8);

/// Whether a line asks for an interrupt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// No interrupt asked for.
    #[default]
    Low,
    /// An interrupt is asked for.
    High,
}

impl From<bool> for Level {
    fn from(high: bool) -> Self {
        if high { Self::High } else { Self::Low }
    }
}

/// The interrupt controllers, which live in the hypervisor. Called when a level changes, and only then.
pub trait IrqSink {
    /// Sets the level of an ISA line.
    fn isa_irq(&mut self, irq: IsaIrq, level: Level);
    /// Sets the level of a PCI interrupt pin (0 is INTA#) of a slot on bus 0.
    fn pci_intx(&mut self, slot: u8, pin: u8, level: Level);
    /// Sends a message-signalled interrupt: `data` is written to `addr`.
    fn message(&mut self, addr: GuestAddr, data: u32);
    /// Routes PCI link `link` (0 is PIRQA#) to an ISA line; `None` is not routed.
    fn pci_link_route(&mut self, link: u8, irq: Option<IsaIrq>);
}

/// A disk of the host, numbered as in the machine's configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiskId(pub u8);

/// A transfer failed, or the disk is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskError;

/// What a disk is asked to do. Sectors are 512 bytes, and the range lies within the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskOp {
    /// Reads into the disk's transfer buffer, from its start.
    Read {
        /// First sector.
        lba: u64,
        /// Number of sectors, at most what the transfer buffer holds.
        sectors: u32,
    },
    /// Writes from the disk's transfer buffer, from its start.
    Write {
        /// First sector.
        lba: u64,
        /// Number of sectors, at most what the transfer buffer holds.
        sectors: u32,
    },
    /// Makes every write that was completed so far durable.
    Flush,
    /// Says that the content of a range is of no use any more.
    Discard {
        /// First sector.
        lba: u64,
        /// Number of sectors.
        sectors: u64,
    },
}

/// The disks. Every disk has one transfer buffer and performs one operation at a time.
///
/// The transfer buffer is memory that the host shares with the disk's backend, so it is only ever copied from and to.
/// Offsets are bytes from its start; what lies beyond its end reads as zero and is dropped when written.
pub trait DiskHost {
    /// Bytes in the transfer buffer of a disk: a multiple of 4096, at least 64 KiB.
    fn disk_buffer_len(&self, disk: DiskId) -> usize;
    /// Starts an operation. Its end is reported with `Machine::disk_complete`, never from within this call.
    fn disk_start(&mut self, disk: DiskId, op: DiskOp);
    /// Copies from the transfer buffer.
    fn disk_buffer_read(&mut self, disk: DiskId, offset: usize, data: &mut [u8]);
    /// Copies into the transfer buffer.
    fn disk_buffer_write(&mut self, disk: DiskId, offset: usize, data: &[u8]);
    /// Copies `len` bytes of the transfer buffer to guest memory: the one copy of a DMA read.
    fn disk_buffer_to_guest(
        &mut self,
        disk: DiskId,
        offset: usize,
        addr: GuestAddr,
        len: usize,
    ) -> Result<(), Unmapped>;
    /// Copies `len` bytes of guest memory to the transfer buffer: the one copy of a DMA write.
    fn disk_buffer_from_guest(
        &mut self,
        disk: DiskId,
        offset: usize,
        addr: GuestAddr,
        len: usize,
    ) -> Result<(), Unmapped>;
}

/// A network of the host, numbered as in the machine's configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NicId(pub u8);

/// How a frame that is sent wants to be finished on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The checksum field of TCP or UDP holds the sum of the pseudo header only. The headers before it are plain: Ethernet
    /// with at most one VLAN tag, IPv4 or IPv6, TCP or UDP.
    pub blank_checksum: bool,
    /// It is too long: it has to be cut into TCP segments of so many bytes of payload at most. `blank_checksum` is set
    /// too; the headers are those of one segment with all of the payload.
    pub segment: Option<u16>,
}

/// What a network can do with frames that are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NicFeatures {
    /// [`Offload::blank_checksum`] for TCP and UDP in IPv4.
    pub checksum_v4: bool,
    /// The same in IPv6.
    pub checksum_v6: bool,
    /// [`Offload::segment`] for TCP in IPv4.
    pub segment_v4: bool,
    /// The same in IPv6.
    pub segment_v6: bool,
}

/// What is known of the checksum of TCP or UDP in a frame that was received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceivedChecksum {
    /// Nothing: who wants to know has to look.
    #[default]
    Unknown,
    /// It is right.
    Validated,
    /// It is the sum of the pseudo header only, since the frame never was on a wire. It has to be finished before anybody
    /// sees it; the data is right.
    Blank,
}

/// A frame that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its length from the destination address on, without a frame check sequence: at most 65535.
    pub len: usize,
    /// What is known of its inner checksum.
    pub checksum: ReceivedChecksum,
}

/// The longest frame that can be sent, in bytes, headers included.
pub const FRAME_MAX: usize = 65_535;

/// The networks. Each has one frame at a time that is being put together, and one at a time that is being taken in.
///
/// Both are memory that the host may share with others, so they are only ever copied from and to. Offsets are bytes from
/// the destination address on; what lies beyond the end of a frame reads as zero and is dropped when written. Frames have
/// no frame check sequence.
pub trait NicHost {
    /// What it can do.
    fn nic_features(&self, nic: NicId) -> NicFeatures;
    /// Whether frames can get anywhere. [`crate::card::Card::nic_ready`] follows a change.
    fn nic_link(&self, nic: NicId) -> bool;

    /// Begins a new frame, which is empty; one that was begun and not sent is forgotten. `false`: there is no room for one
    /// of [`FRAME_MAX`] bytes now; [`crate::card::Card::nic_ready`] follows when there is.
    fn nic_begin(&mut self, nic: NicId) -> bool;
    /// Appends guest memory. A frame that gets longer than [`FRAME_MAX`] is lost.
    fn nic_append_from_guest(&mut self, nic: NicId, addr: GuestAddr, len: usize) -> Result<(), Unmapped>;
    /// Appends bytes.
    fn nic_append(&mut self, nic: NicId, data: &[u8]);
    /// How long the frame is.
    fn nic_len(&self, nic: NicId) -> usize;
    /// Copies from the frame that was begun.
    fn nic_read(&self, nic: NicId, offset: usize, data: &mut [u8]);
    /// Overwrites a part of it.
    fn nic_write(&mut self, nic: NicId, offset: usize, data: &[u8]);
    /// Sends it. Without a link, or when it is shorter than an Ethernet header, it is lost, as on a wire that nobody
    /// listens to.
    fn nic_send(&mut self, nic: NicId, offload: Offload);

    /// The oldest frame that was received and not taken yet.
    fn nic_received(&mut self, nic: NicId) -> Option<Received>;
    /// Copies from that frame.
    fn nic_received_read(&self, nic: NicId, offset: usize, data: &mut [u8]);
    /// Overwrites a part of it.
    fn nic_received_write(&mut self, nic: NicId, offset: usize, data: &[u8]);
    /// Copies `len` bytes of that frame to guest memory: the one copy of a frame that is received.
    fn nic_received_to_guest(&mut self, nic: NicId, offset: usize, addr: GuestAddr, len: usize)
    -> Result<(), Unmapped>;
    /// Is through with that frame: the next one is the oldest.
    fn nic_received_done(&mut self, nic: NicId);
}

/// A serial port, 0 is COM1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SerialId(pub u8);

/// The other ends of the serial ports.
pub trait SerialHost {
    /// Sends one byte. `false`: there is no room now; `Machine::serial_ready` follows when there is.
    fn serial_send(&mut self, port: SerialId, byte: u8) -> bool;
}

/// Why a machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownReason {
    /// The guest switched itself off.
    PowerOff,
    /// The guest asked for a reset.
    Reboot,
}

/// The rest: the clock and the power supply.
pub trait Platform {
    /// Time since power on.
    fn now(&self) -> Instant;
    /// Ends the machine's life. The guest may run on for a moment.
    fn shutdown(&mut self, reason: ShutdownReason);
    /// Puts the machine to ACPI sleep state S3.
    fn suspend(&mut self);
    /// Lets the machine run again, from the firmware's entry point on.
    fn wake_up(&mut self);
    /// Starts or stops sending accesses in this range to the machine: a PCI base address register moved.
    fn claim(&mut self, range: Range, claimed: bool);
    /// A PVHVM guest asked that its emulated disks or network cards vanish (Xen's `hvm-emulated-unplug`).
    /// The host flushes and closes what belongs to them.
    fn unplug(&mut self, what: Unplug);
    /// One line that the guest wrote to its debug port, without its line feed.
    fn guest_log(&mut self, line: &[u8]);
}

/// A range of addresses that the machine answers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// I/O ports.
    Ports {
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
    },
    /// Memory.
    Memory {
        /// First byte.
        first: GuestAddr,
        /// Last byte.
        last: GuestAddr,
    },
    /// Configuration space of one function.
    PciFunction {
        /// Bus, always 0 today.
        bus: u8,
        /// Slot, 0 to 31.
        slot: u8,
        /// Function, 0 to 7.
        function: u8,
    },
}

/// What a guest can unplug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplug {
    /// Every IDE disk; CD drives stay.
    IdeDisks,
    /// Every IDE disk but the primary master.
    AuxiliaryIdeDisks,
    /// Every network card.
    Nics,
}

/// Everything that the machine asks for.
pub trait Host: GuestMemory + VideoMemory + IrqSink + DiskHost + NicHost + SerialHost + Platform {}
impl<T: GuestMemory + VideoMemory + IrqSink + DiskHost + NicHost + SerialHost + Platform> Host for T {}

/// Where the picture is drawn: 32 bits a pixel, `0x00RRGGBB`, shared with whoever shows it.
pub trait Surface {
    /// Makes the surface `width` × `height` pixels. `false`: that is more than it can hold; the old size stays.
    fn resize(&mut self, width: u32, height: u32) -> bool;
    /// Writes `pixels` into row `y` from column `x` on. What lies outside is dropped.
    fn write(&mut self, x: u32, y: u32, pixels: &[u32]);
    /// Says that a rectangle has changed, after its pixels were written.
    fn changed(&mut self, x: u32, y: u32, width: u32, height: u32);
}

/// What a person does. Codes are those of Linux' `input-event-codes.h`, which Xen's `kbdif.h` uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputEvent {
    /// A key went down or up.
    Key {
        /// `KEY_*`.
        code: u16,
        /// Down.
        down: bool,
    },
    /// A button of the pointer went down or up.
    Button {
        /// `BTN_LEFT` (0x110) and so on.
        code: u16,
        /// Down.
        down: bool,
    },
    /// The pointer moved, right and down positive; `wheel` is up positive, in notches.
    Motion {
        /// Pixels to the right.
        dx: i32,
        /// Pixels down.
        dy: i32,
        /// Notches of the wheel.
        wheel: i32,
    },
    /// The pointer is at a place of the screen, each axis 0 to 32767.
    Position {
        /// From the left.
        x: u16,
        /// From the top.
        y: u16,
        /// Notches of the wheel.
        wheel: i32,
    },
}
