//! A driver for the IDE drives of the PIIX3, close to the registers.
//!
//! Source: ATA/ATAPI-6 (T13 1410D), clauses 6, 8 and 9; Intel 82371SB (PIIX3) datasheet, bus master IDE registers.

use crate::time::Deadline;
use crate::{interrupts, memory, pci, port};
use core::fmt;
use guests::identify::Identify;
use guests::layout::TRANSFER_BASE;

/// Status: the device is busy.
pub(crate) const BSY: u8 = 1 << 7;
/// Status: a write fault.
pub(crate) const DF: u8 = 1 << 5;
/// Status: the device asks for data.
pub(crate) const DRQ: u8 = 1 << 3;
/// Status: see the error register.
pub(crate) const ERR: u8 = 1 << 0;

/// Error: the sector does not exist.
pub(crate) const IDNF: u8 = 1 << 4;
/// Error: the command was aborted.
pub(crate) const ABRT: u8 = 1 << 2;
/// Error: the medium is write-protected.
pub(crate) const WP: u8 = 1 << 6;

/// Bus master command: start.
pub(crate) const START: u8 = 1 << 0;
/// Bus master command: the transfer writes to memory.
pub(crate) const TO_MEMORY: u8 = 1 << 3;
/// Bus master status: active.
pub(crate) const ACTIVE: u8 = 1 << 0;
/// Bus master status: error.
pub(crate) const DMA_ERROR: u8 = 1 << 1;
/// Bus master status: the drive has interrupted.
pub(crate) const INTERRUPT: u8 = 1 << 2;

/// Where descriptor tables are built: the first 64 KiB of the memory for transfers.
pub(crate) const TABLES: u64 = TRANSFER_BASE;
/// Memory for data, after the tables.
pub(crate) const DATA: u64 = TRANSFER_BASE + (1 << 20);

/// Time that a command may take.
const PATIENCE: u64 = 30_000;

/// Why a command failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdeError {
    /// The state waited for did not come; the alternate status.
    Timeout(u8),
    /// The device says no: status and error.
    Device {
        /// Status register.
        status: u8,
        /// Error register.
        error: u8,
    },
    /// The bus master says no: its status.
    BusMaster(u8),
    /// The device asked for less data than it should; the status.
    NoData(u8),
    /// The controller has no bus master registers.
    NoBusMaster,
}

impl fmt::Display for IdeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(status) => write!(out, "time-out, status {status:#04x}"),
            Self::Device { status, error } => write!(out, "status {status:#04x} error {error:#04x}"),
            Self::BusMaster(status) => write!(out, "bus master status {status:#04x}"),
            Self::NoData(status) => write!(out, "no DRQ, status {status:#04x}"),
            Self::NoBusMaster => write!(out, "no bus master"),
        }
    }
}

/// How a command names its sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// Cylinder, head, sector (from 1).
    Chs(u16, u8, u8),
    /// 28 bits.
    Lba28(u32),
    /// 48 bits.
    Lba48(u64),
}

/// A command with its registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task {
    /// Command register.
    pub command: u8,
    /// Features register.
    pub features: u8,
    /// Sector count: 8 bits (0 is 256), or 16 bits (0 is 65536) with 48-bit addresses.
    pub count: u16,
    /// First sector.
    pub address: Address,
}

impl Task {
    /// A command that takes no sectors.
    pub(crate) const fn plain(command: u8) -> Self {
        Self { command, features: 0, count: 0, address: Address::Lba28(0) }
    }
}

/// One entry of a descriptor table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// Physical address, even.
    pub address: u64,
    /// Bytes, even, 1 to 65536; it may not cross a 64 KiB boundary.
    pub bytes: u32,
}

/// One channel: its two sets of ports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channel {
    /// First port of the command block.
    pub block: u16,
    /// Port of alternate status and device control.
    pub control: u16,
    /// Line.
    pub irq: u8,
    /// First port of the bus master registers.
    pub bus_master: Option<u16>,
}

impl Channel {
    /// Channel 0 or 1, with the bus master registers where they are now.
    pub(crate) fn new(number: u8) -> Self {
        let base = pci::find_class(pci::IDE).and_then(|function| {
            function.write16(4, function.read16(4) | 5);
            u16::try_from(function.base_address(4) & 0xfffc).ok().filter(|&base| base != 0)
        });
        match number {
            0 => Self { block: 0x1f0, control: 0x3f6, irq: 14, bus_master: base },
            _ => Self { block: 0x170, control: 0x376, irq: 15, bus_master: base.map(|base| base + 8) },
        }
    }

    /// Alternate status: reading it acknowledges nothing.
    pub(crate) fn alternate_status(&self) -> u8 {
        port::in8(self.control)
    }

    /// Status: reading it acknowledges the interrupt.
    pub(crate) fn status(&self) -> u8 {
        port::in8(self.block + 7)
    }

    /// Error register.
    pub(crate) fn error(&self) -> u8 {
        port::in8(self.block + 1)
    }

    /// Waits until the device is not busy, and gives the alternate status.
    pub(crate) fn wait_not_busy(&self) -> Result<u8, IdeError> {
        let deadline = Deadline::milliseconds(PATIENCE);
        loop {
            let status = self.alternate_status();
            if status & BSY == 0 {
                return Ok(status);
            }
            if deadline.passed() {
                return Err(IdeError::Timeout(status));
            }
        }
    }

    /// SRST: both devices start anew. Interrupts of the drives are on afterwards.
    pub(crate) fn soft_reset(&self) -> Result<(), IdeError> {
        port::out8(self.control, 0x04);
        crate::time::delay_milliseconds(1);
        port::out8(self.control, 0x00);
        crate::time::delay_milliseconds(3);
        self.wait_not_busy().map(|_| ())
    }
}

/// One drive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drive {
    /// Its channel.
    pub channel: Channel,
    /// Device 0 or 1 of the channel.
    pub unit: u8,
}

impl Drive {
    /// Drive 0 to 3: primary master, primary slave, secondary master, secondary slave.
    pub(crate) fn new(number: u8) -> Self {
        Self { channel: Channel::new(number >> 1), unit: number & 1 }
    }

    /// Selects the drive once it may be, and gives its alternate status.
    pub(crate) fn select(&self) -> Result<u8, IdeError> {
        self.channel.wait_not_busy()?;
        port::out8(self.channel.block + 6, 0xa0 | self.unit << 4);
        // 400 ns.
        (0..4).for_each(|_| {
            self.channel.alternate_status();
        });
        self.channel.wait_not_busy()
    }

    /// Whether there is an ATA drive: registers that keep what is written, and an answer to IDENTIFY DEVICE, which
    /// CD drives refuse.
    pub(crate) fn is_present(&self) -> bool {
        if self.select().is_err() {
            return false;
        }
        let probe = |value| {
            port::out8(self.channel.block + 2, value);
            port::in8(self.channel.block + 2) == value
        };
        probe(0x55) && probe(0xaa) && self.identify().is_ok()
    }

    /// Writes the registers of a command, the command last.
    pub(crate) fn issue(&self, task: &Task) -> Result<(), IdeError> {
        self.select()?;
        self.issue_selected(task);
        Ok(())
    }

    /// Writes the registers of a command for the drive that is selected and not busy.
    pub(crate) fn issue_selected(&self, task: &Task) {
        let block = self.channel.block;
        let device = 0xa0 | self.unit << 4;
        let [count, count_high] = task.count.to_le_bytes();
        match task.address {
            Address::Chs(cylinder, head, sector) => {
                let [low, high] = cylinder.to_le_bytes();
                port::out8(block + 6, device | head & 0x0f);
                self.put(task.features, count, [sector, low, high]);
            }
            Address::Lba28(lba) => {
                let [low, middle, high, top] = lba.to_le_bytes();
                port::out8(block + 6, device | 0x40 | top & 0x0f);
                self.put(task.features, count, [low, middle, high]);
            }
            Address::Lba48(lba) => {
                let [a, b, c, d, e, f, ..] = lba.to_le_bytes();
                port::out8(block + 6, device | 0x40);
                // The previous content of each register is the upper half.
                self.put(0, count_high, [d, e, f]);
                self.put(task.features, count, [a, b, c]);
            }
        }
        port::out8(block + 7, task.command);
    }

    fn put(&self, features: u8, count: u8, lba: [u8; 3]) {
        let [low, middle, high] = lba;
        for (register, value) in (1..).zip([features, count, low, middle, high]) {
            port::out8(self.channel.block + register, value);
        }
    }

    /// Waits for the end of a command and acknowledges its interrupt.
    pub(crate) fn finish(&self) -> Result<(), IdeError> {
        self.channel.wait_not_busy()?;
        let status = self.channel.status();
        if status & (ERR | DF) != 0 { Err(IdeError::Device { status, error: self.channel.error() }) } else { Ok(()) }
    }

    /// Waits until the device asks for data.
    fn wait_data(&self) -> Result<(), IdeError> {
        self.channel.wait_not_busy()?;
        let status = self.channel.status();
        if status & (ERR | DF) != 0 {
            return Err(IdeError::Device { status, error: self.channel.error() });
        }
        if status & DRQ == 0 { Err(IdeError::NoData(status)) } else { Ok(()) }
    }

    /// A command without data.
    pub(crate) fn no_data(&self, task: &Task) -> Result<(), IdeError> {
        self.issue(task)?;
        self.finish()
    }

    /// A command that gives data through the data port, `block` sectors for each request.
    pub(crate) fn pio_in(&self, task: &Task, data: &mut [u8], block: usize, wide: bool) -> Result<(), IdeError> {
        self.issue(task)?;
        for part in data.chunks_mut(512 * block) {
            self.wait_data()?;
            if wide {
                port::in32_string(self.channel.block, part);
            } else {
                port::in16_string(self.channel.block, part);
            }
        }
        self.end_of_data()
    }

    /// A command that takes data through the data port, `block` sectors for each request.
    pub(crate) fn pio_out(&self, task: &Task, data: &[u8], block: usize, wide: bool) -> Result<(), IdeError> {
        self.issue(task)?;
        for part in data.chunks(512 * block) {
            self.wait_data()?;
            if wide {
                port::out32_string(self.channel.block, part);
            } else {
                port::out16_string(self.channel.block, part);
            }
        }
        self.end_of_data()
    }

    /// After the last block the device must not ask for more.
    fn end_of_data(&self) -> Result<(), IdeError> {
        self.finish()?;
        let status = self.channel.alternate_status();
        if status & DRQ == 0 { Ok(()) } else { Err(IdeError::NoData(status)) }
    }

    /// Reads one sector by READ SECTORS, whatever its number.
    pub(crate) fn read_sector(&self, lba: u64, data: &mut [u8; 512]) -> Result<(), IdeError> {
        let (command, address) = match u32::try_from(lba) {
            Ok(small) if small < 1 << 28 => (0x20, Address::Lba28(small)),
            _ => (0x24, Address::Lba48(lba)),
        };
        self.pio_in(&Task { command, features: 0, count: 1, address }, data, 1, false)
    }

    /// Writes one sector by WRITE SECTORS, whatever its number.
    pub(crate) fn write_sector(&self, lba: u64, data: &[u8; 512]) -> Result<(), IdeError> {
        let (command, address) = match u32::try_from(lba) {
            Ok(small) if small < 1 << 28 => (0x30, Address::Lba28(small)),
            _ => (0x34, Address::Lba48(lba)),
        };
        self.pio_out(&Task { command, features: 0, count: 1, address }, data, 1, false)
    }

    /// IDENTIFY DEVICE.
    pub(crate) fn identify(&self) -> Result<Identify, IdeError> {
        let mut data = [0; 512];
        self.pio_in(&Task::plain(0xec), &mut data, 1, false)?;
        Ok(Identify::new(&data))
    }

    /// FLUSH CACHE.
    pub(crate) fn flush(&self) -> Result<(), IdeError> {
        self.no_data(&Task::plain(0xe7))
    }

    /// Builds a descriptor table and points the bus master at it.
    pub(crate) fn prepare_dma(&self, table: &[Descriptor]) -> Result<u16, IdeError> {
        let base = self.channel.bus_master.ok_or(IdeError::NoBusMaster)?;
        for (entry, at) in table.iter().zip((TABLES..).step_by(8)) {
            let last = core::ptr::eq(entry, table.last().unwrap_or(entry));
            let address = u32::try_from(entry.address).expect("descriptors reach 4 GiB");
            memory::write32(at, address);
            // A count of 0 is 64 KiB. Bit 31: the last entry.
            memory::write32(at + 4, entry.bytes & 0xffff | u32::from(last) << 31);
        }
        port::out8(base, 0);
        port::out8(base + 2, port::in8(base + 2) | DMA_ERROR | INTERRUPT);
        port::out32(base + 4, u32::try_from(TABLES).expect("tables are below 4 GiB"));
        Ok(base)
    }

    /// Issues a command and starts the bus master.
    pub(crate) fn start_dma(&self, base: u16, task: &Task, to_memory: bool) -> Result<(), IdeError> {
        let direction = if to_memory { TO_MEMORY } else { 0 };
        port::out8(base, direction);
        self.issue(task)?;
        port::out8(base, direction | START);
        Ok(())
    }

    /// Sleeps until the drive interrupts and gives the bus master's status. The line has to be unmasked.
    pub(crate) fn wait_dma(&self, base: u16, seen: u64) -> Result<u8, IdeError> {
        let irq = self.channel.irq;
        if interrupts::wait_until(Deadline::milliseconds(PATIENCE), || interrupts::count(irq) > seen) {
            Ok(port::in8(base + 2))
        } else {
            Err(IdeError::Timeout(self.channel.alternate_status()))
        }
    }

    /// A whole transfer by the bus master: table, command, start, interrupt, stop.
    pub(crate) fn dma(&self, task: &Task, table: &[Descriptor], to_memory: bool) -> Result<(), IdeError> {
        let base = self.prepare_dma(table)?;
        interrupts::unmask(self.channel.irq);
        let seen = interrupts::count(self.channel.irq);
        self.start_dma(base, task, to_memory)?;
        let status = self.wait_dma(base, seen)?;
        port::out8(base, 0);
        let device = self.finish();
        port::out8(base + 2, INTERRUPT | DMA_ERROR);
        device?;
        if status & (DMA_ERROR | INTERRUPT | ACTIVE) == INTERRUPT { Ok(()) } else { Err(IdeError::BusMaster(status)) }
    }
}
