//! The PC: owns every device, routes accesses to them, and reports what changed.
//!
//! The functions on the bus are where the firmware of a Xen guest looks for them:
//!
//! | place | function |
//! |---|---|
//! | 00:00.0 | [host bridge](crate::pci::i440fx) |
//! | 00:01.0 | [ISA bridge](crate::piix3::isa) |
//! | 00:01.1 | IDE controller |
//! | 00:01.3 | [power management](crate::piix4_pm), unless ACPI is off |
//! | 00:02.0 | Xen platform device, if there is one |
//! | next slot | graphics card, if there is one |
//!
//! The machine starts with [`Machine::reset`], which claims every range, reports the level of every interrupt line
//! and the route of every PCI link. From then on only changes are reported.
//!
//! Invariant: what the host sees claimed follows from the fixed ranges and the base addresses alone.

use crate::access::{IoPort, Width};
use crate::bus::{AddressMap, MemoryOwner, MemoryRange, PortOwner, PortRange};
use crate::host::{
    DiskError, DiskId, GuestAddr, Host, InputEvent, IsaIrq, Range, SerialId, ShutdownReason, Surface, Unmapped,
};
use crate::pci::i440fx::{self, ConfigAddress};
use crate::pci::{ConfigSpace, Location};
use crate::piix3::isa;
use crate::piix4_pm::{self, Piix4Pm};
use crate::reset::{self, ResetPorts};
use crate::time::Instant;
use alloc::vec::Vec;
use heapless::String;

/// Number of disks: two IDE channels with two drives each.
pub const DISKS: usize = 4;

/// A disk of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    /// What the host calls it.
    pub id: DiskId,
    /// Number of 512-byte sectors.
    pub sectors: u64,
    /// Writes are refused.
    pub read_only: bool,
    /// Serial number, printable ASCII.
    pub serial: String<20>,
    /// Model, printable ASCII.
    pub model: String<40>,
}

/// A graphics card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VgaConfig {
    /// Bytes of video memory: a power of two from 1 to 256 MiB.
    pub memory_bytes: u32,
    /// The video BIOS; at most 64 KiB. Empty if there is none.
    pub rom: Vec<u8>,
}

/// A kind of device to boot from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootDevice {
    /// `a`.
    Floppy,
    /// `c`.
    Disk,
    /// `d`.
    Cdrom,
    /// `n`.
    Network,
}

/// In which order devices are tried, first one first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootOrder(pub heapless::Vec<BootDevice, 4>);

impl BootOrder {
    /// Reads the letters of `-boot order=`. `None`: a letter is unknown or comes twice.
    #[must_use]
    pub fn parse(letters: &str) -> Option<Self> {
        let mut order = heapless::Vec::<_, 4>::new();
        for letter in letters.chars() {
            let device = match letter {
                'a' => BootDevice::Floppy,
                'c' => BootDevice::Disk,
                'd' => BootDevice::Cdrom,
                'n' => BootDevice::Network,
                _ => return None,
            };
            if order.contains(&device) {
                return None;
            }
            order.push(device).ok()?;
        }
        Some(Self(order))
    }
}

/// What a machine consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineConfig {
    /// The disks: index is IDE channel × 2 + unit.
    pub disks: [Option<DiskConfig>; DISKS],
    /// Number of serial ports, 0 to 4.
    pub serial_ports: u8,
    /// The graphics card.
    pub vga: Option<VgaConfig>,
    /// The boot order.
    pub boot_order: BootOrder,
    /// Bytes of guest memory.
    pub ram_bytes: u64,
    /// Number of CPUs that are there from the start.
    pub vcpus: u32,
    /// There is a Xen platform device.
    pub xen_platform: bool,
    /// There is power management.
    pub acpi: bool,
}

/// Why there can be no such machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineError {
    /// More than four serial ports.
    SerialPorts,
    /// The size of video memory is not a power of two from 1 to 256 MiB.
    VideoMemory,
    /// The video BIOS is larger than 64 KiB.
    VideoRom,
    /// Two disks have the same name.
    DuplicateDisk,
}

impl core::fmt::Display for MachineError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::SerialPorts => "a machine has at most four serial ports",
            Self::VideoMemory => "the size of video memory is a power of two from 1 to 256 MiB",
            Self::VideoRom => "the video BIOS is at most 64 KiB long",
            Self::DuplicateDisk => "two disks have the same name",
        })
    }
}

/// The functions on the PCI bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    HostBridge,
    IsaBridge,
    Pm,
}

/// The PC.
#[derive(Debug)]
pub struct Machine {
    functions: Vec<(Location, Function)>,
    map: AddressMap,
    host_bridge: ConfigSpace,
    config_address: ConfigAddress,
    isa_bridge: ConfigSpace,
    pm: Option<Piix4Pm>,
    reset_ports: ResetPorts,
    /// What the host was told of the PCI links.
    reported_routes: [Option<IsaIrq>; 4],
    /// What the host was told of the interrupt lines, one bit each.
    reported_lines: u16,
}

impl Machine {
    /// Puts a machine together. It does nothing before [`Machine::reset`].
    pub fn new(config: MachineConfig) -> Result<Self, MachineError> {
        check(&config)?;
        let mut functions = Vec::new();
        let mut place = |slot, function, what| functions.push((Location { slot, function }, what));
        place(0, 0, Function::HostBridge);
        place(1, 0, Function::IsaBridge);
        if config.acpi {
            place(1, 3, Function::Pm);
        }
        Ok(Self {
            functions,
            map: AddressMap::new(fixed_ports(&config), fixed_memory(&config)),
            host_bridge: i440fx::host_bridge(),
            config_address: ConfigAddress::default(),
            isa_bridge: isa::isa_bridge(),
            pm: config.acpi.then(|| Piix4Pm::new(config.vcpus)),
            reset_ports: ResetPorts::default(),
            reported_routes: [None; 4],
            reported_lines: 0,
        })
    }

    /// Puts every device to its state at power on and reports everything there is to report. Also called once at the
    /// start.
    pub fn reset<H: Host>(&mut self, host: &mut H) {
        self.host_bridge.reset();
        self.config_address = ConfigAddress::default();
        self.isa_bridge.reset();
        if let Some(pm) = &mut self.pm {
            pm.reset();
        }
        self.reset_ports = ResetPorts::default();
        self.remap(host);
        for (link, reported) in (0..).zip(&mut self.reported_routes) {
            *reported = isa::link_route(&self.isa_bridge, link);
            host.pci_link_route(link, *reported);
        }
        self.report_lines(host);
    }

    /// Reads a port.
    pub fn port_read<H: Host>(&mut self, host: &mut H, port: IoPort, width: Width) -> u32 {
        let Some(range) = self.map.port(port.0) else { return ones(width) };
        let offset = port.0.wrapping_sub(range.first);
        if !fits(range.last.wrapping_sub(port.0), width) {
            let mut value = [0; 4];
            for (lane, at) in value.iter_mut().zip(0..).take(width.bytes()) {
                let byte = self.port_read(host, IoPort(port.0.wrapping_add(at)), Width::Byte);
                *lane = byte.to_le_bytes()[0];
            }
            return u32::from_le_bytes(value);
        }
        let value = match range.owner {
            PortOwner::SystemControl => self.reset_ports.system_control().into(),
            PortOwner::ApmControl => self.pm.as_ref().map_or(ones(width), |pm| pm.read_apm(offset, width)),
            PortOwner::GeneralPurposeEvents => self.pm.as_ref().map_or(ones(width), |pm| pm.read_gpe(offset, width)),
            PortOwner::CpuHotPlug => self.pm.as_ref().map_or(ones(width), |pm| pm.read_cpus(offset, width)),
            PortOwner::PowerManagement => self.pm.as_ref().map_or(ones(width), |pm| pm.read(offset, width)),
            PortOwner::PciHotPlug => 0,
            PortOwner::PciConfigAddress => match (offset, width) {
                (0, _) => self.config_address.read(width),
                (1, Width::Byte) => self.reset_ports.reset_control().into(),
                _ => ones(width),
            },
            PortOwner::PciConfigData => {
                let lane = offset.to_le_bytes()[0];
                match self.config_address.target(lane) {
                    Some(to) => self.config_read(host, to.bus, to.slot, to.function, to.offset.into(), width),
                    None => ones(width),
                }
            }
            _ => ones(width),
        };
        self.report_lines(host);
        value
    }

    /// Writes a port.
    pub fn port_write<H: Host>(&mut self, host: &mut H, port: IoPort, width: Width, value: u32) {
        let Some(range) = self.map.port(port.0) else { return };
        let offset = port.0.wrapping_sub(range.first);
        if !fits(range.last.wrapping_sub(port.0), width) {
            for (byte, at) in value.to_le_bytes().into_iter().zip(0..).take(width.bytes()) {
                self.port_write(host, IoPort(port.0.wrapping_add(at)), Width::Byte, byte.into());
            }
            return;
        }
        let byte = value.to_le_bytes()[0];
        match range.owner {
            PortOwner::SystemControl => reset_if(host, self.reset_ports.write_system_control(byte)),
            PortOwner::ApmControl => {
                if let Some(pm) = &mut self.pm {
                    pm.write_apm(offset, width, value);
                }
            }
            PortOwner::GeneralPurposeEvents => {
                if let Some(pm) = &mut self.pm {
                    pm.write_gpe(offset, width, value);
                }
            }
            PortOwner::PowerManagement => match self.pm.as_mut().map(|pm| pm.write(offset, width, value)) {
                Some(piix4_pm::Effect::PowerOff) => host.shutdown(ShutdownReason::PowerOff),
                Some(piix4_pm::Effect::Suspend) => host.suspend(),
                Some(piix4_pm::Effect::Nothing) | None => {}
            },
            PortOwner::PciConfigAddress => match (offset, width) {
                (0, _) => self.config_address.write(width, value),
                (1, Width::Byte) => reset_if(host, self.reset_ports.write_reset_control(byte)),
                _ => {}
            },
            PortOwner::PciConfigData => {
                let lane = offset.to_le_bytes()[0];
                if let Some(to) = self.config_address.target(lane) {
                    self.config_write(host, to.bus, to.slot, to.function, to.offset.into(), width, value);
                }
            }
            _ => {}
        }
        self.report_lines(host);
    }

    /// Reads `count` elements of `width` from a port to ascending guest memory: `rep ins`.
    pub fn port_read_string<H: Host>(
        &mut self,
        host: &mut H,
        port: IoPort,
        width: Width,
        count: u32,
        to: GuestAddr,
    ) -> Result<(), Unmapped> {
        let mut addr = to.0;
        for _ in 0..count {
            let value = self.port_read(host, port, width).to_le_bytes();
            host.write(GuestAddr(addr), value.get(..width.bytes()).unwrap_or(&value))?;
            addr = addr.wrapping_add(as_u64(width.bytes()));
        }
        Ok(())
    }

    /// Writes `count` elements of `width` from ascending guest memory to a port: `rep outs`.
    pub fn port_write_string<H: Host>(
        &mut self,
        host: &mut H,
        port: IoPort,
        width: Width,
        count: u32,
        from: GuestAddr,
    ) -> Result<(), Unmapped> {
        let mut addr = from.0;
        for _ in 0..count {
            let mut value = [0; 4];
            let len = width.bytes().min(4);
            if let Some(data) = value.get_mut(..len) {
                host.read(GuestAddr(addr), data)?;
            }
            self.port_write(host, port, width, u32::from_le_bytes(value));
            addr = addr.wrapping_add(as_u64(width.bytes()));
        }
        Ok(())
    }

    /// Reads memory: `data` is filled with ascending elements of `width`.
    pub fn mmio_read<H: Host>(&mut self, host: &mut H, addr: GuestAddr, width: Width, data: &mut [u8]) {
        let mut at = addr.0;
        let mut rest = data;
        while !rest.is_empty() {
            let (len, width, owner) = self.memory_piece(at, width, rest.len());
            let (piece, after) = rest.split_at_mut(len.min(rest.len()));
            match owner {
                Some((owner, offset)) => self.memory_read(host, owner, offset, width, piece),
                None => piece.fill(0xff),
            }
            at = at.wrapping_add(as_u64(len));
            rest = after;
        }
        self.report_lines(host);
    }

    /// Writes memory: `data` holds ascending elements of `width`.
    pub fn mmio_write<H: Host>(&mut self, host: &mut H, addr: GuestAddr, width: Width, data: &[u8]) {
        let mut at = addr.0;
        let mut rest = data;
        while !rest.is_empty() {
            let (len, width, owner) = self.memory_piece(at, width, rest.len());
            let (piece, after) = rest.split_at(len.min(rest.len()));
            if let Some((owner, offset)) = owner {
                self.memory_write(host, owner, offset, width, piece);
            }
            at = at.wrapping_add(as_u64(len));
            rest = after;
        }
        self.report_lines(host);
    }

    /// Reads configuration space.
    pub fn config_read<H: Host>(
        &mut self,
        _host: &mut H,
        bus: u8,
        slot: u8,
        function: u8,
        offset: u16,
        width: Width,
    ) -> u32 {
        let (Some(function), Ok(offset)) = (self.function(bus, slot, function), u8::try_from(offset)) else {
            return ones(width);
        };
        let space = match function {
            Function::HostBridge => Some(&self.host_bridge),
            Function::IsaBridge => Some(&self.isa_bridge),
            Function::Pm => self.pm.as_ref().map(|pm| &pm.config),
        };
        space.map_or(ones(width), |space| space.read(offset, width))
    }

    /// Writes configuration space.
    #[expect(clippy::too_many_arguments, reason = "the address of a register of a function has four parts")]
    pub fn config_write<H: Host>(
        &mut self,
        host: &mut H,
        bus: u8,
        slot: u8,
        function: u8,
        offset: u16,
        width: Width,
        value: u32,
    ) {
        let (Some(function), Ok(offset)) = (self.function(bus, slot, function), u8::try_from(offset)) else {
            return;
        };
        let space = match function {
            Function::HostBridge => Some(&mut self.host_bridge),
            Function::IsaBridge => Some(&mut self.isa_bridge),
            Function::Pm => self.pm.as_mut().map(|pm| &mut pm.config),
        };
        if let Some(space) = space {
            space.write(offset, width, value);
        }
        self.remap(host);
        for (link, reported) in (0..).zip(&mut self.reported_routes) {
            let route = isa::link_route(&self.isa_bridge, link);
            if route != *reported {
                *reported = route;
                host.pci_link_route(link, route);
            }
        }
        self.report_lines(host);
    }

    /// Everything that the machine claims now. [`crate::host::Platform::claim`] reports the same, change by change,
    /// beginning with the first [`Machine::reset`].
    pub fn ranges(&self) -> impl Iterator<Item = Range> {
        let functions = self.functions.iter();
        let functions = functions.map(|(Location { slot, function }, _)| Range::PciFunction {
            bus: 0,
            slot: *slot,
            function: *function,
        });
        self.map.claimed().chain(functions)
    }

    /// An operation of a disk has ended.
    pub fn disk_complete<H: Host>(&mut self, host: &mut H, disk: DiskId, result: Result<(), DiskError>) {
        let _ = (disk, result);
        self.report_lines(host);
    }

    /// Bytes arrived at a serial port. Returns how many of them there was room for.
    pub fn serial_receive<H: Host>(&mut self, host: &mut H, port: SerialId, bytes: &[u8]) -> usize {
        let _ = (port, bytes);
        self.report_lines(host);
        0
    }

    /// A serial port that refused a byte takes more.
    pub fn serial_ready<H: Host>(&mut self, host: &mut H, port: SerialId) {
        let _ = port;
        self.report_lines(host);
    }

    /// A person did something.
    pub fn input<H: Host>(&mut self, host: &mut H, event: InputEvent) {
        let _ = event;
        self.report_lines(host);
    }

    /// When [`Machine::poll`] has to be called next; `None` is never.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Does what is due.
    pub fn poll<H: Host>(&mut self, host: &mut H) {
        self.report_lines(host);
    }

    /// Draws what changed on the screen since the last time, or all of it.
    pub fn refresh<H: Host, S: Surface>(&mut self, host: &mut H, surface: &mut S, full: bool) {
        let _ = (host, surface, full);
    }

    fn function(&self, bus: u8, slot: u8, function: u8) -> Option<Function> {
        let location = Location { slot, function };
        let found = self.functions.iter().find(|(place, _)| bus == 0 && *place == location);
        found.map(|(_, function)| *function)
    }

    /// How many bytes at `addr` go to one owner, in which width, and to whom; at least one, at most `len`.
    fn memory_piece(&self, addr: u64, width: Width, len: usize) -> (usize, Width, Option<(MemoryOwner, u32)>) {
        let Some(range) = self.map.memory(addr) else { return (width.bytes().min(len), width, None) };
        let offset = u32::try_from(addr.wrapping_sub(range.first)).unwrap_or(u32::MAX);
        let owner = Some((range.owner, offset));
        let room = usize::try_from(range.last.wrapping_sub(addr)).unwrap_or(usize::MAX).saturating_add(1).min(len);
        // An element that crosses the end of a range is taken apart.
        let whole = room & !width.bytes().wrapping_sub(1);
        if whole == 0 { (1, Width::Byte, owner) } else { (whole, width, owner) }
    }

    #[expect(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "the devices are being added")]
    fn memory_read<H: Host>(&mut self, host: &mut H, owner: MemoryOwner, offset: u32, width: Width, data: &mut [u8]) {
        let _ = (host, owner, offset, width);
        data.fill(0xff);
    }

    #[expect(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "the devices are being added")]
    fn memory_write<H: Host>(&mut self, host: &mut H, owner: MemoryOwner, offset: u32, width: Width, data: &[u8]) {
        let _ = (host, owner, offset, width, data);
    }

    /// Works out which ranges the base addresses decode, and reports what changed.
    fn remap<H: Host>(&mut self, host: &mut H) {
        let mut ports = Vec::new();
        if let Some((first, last)) = self.pm.as_ref().and_then(Piix4Pm::block) {
            ports.push(PortRange { first, last, owner: PortOwner::PowerManagement });
        }
        let memory = Vec::new();
        self.map.set_moved(ports, memory, |range, claimed| host.claim(range, claimed));
    }

    fn lines(&self) -> u16 {
        0
    }

    fn report_lines<H: Host>(&mut self, host: &mut H) {
        let lines = self.lines();
        let changed = lines ^ self.reported_lines;
        if changed == 0 {
            return;
        }
        self.reported_lines = lines;
        for irq in (0..16_u8).filter(|irq| changed >> irq & 1 != 0) {
            host.isa_irq(IsaIrq(irq), (lines >> irq & 1 != 0).into());
        }
    }
}

fn check(config: &MachineConfig) -> Result<(), MachineError> {
    if config.serial_ports > 4 {
        return Err(MachineError::SerialPorts);
    }
    if let Some(vga) = &config.vga {
        if !vga.memory_bytes.is_power_of_two() || !(1 << 20..=256 << 20).contains(&vga.memory_bytes) {
            return Err(MachineError::VideoMemory);
        }
        if vga.rom.len() > 0x1_0000 {
            return Err(MachineError::VideoRom);
        }
    }
    let mut names: heapless::Vec<DiskId, DISKS> = heapless::Vec::new();
    for disk in config.disks.iter().flatten() {
        if names.contains(&disk.id) || names.push(disk.id).is_err() {
            return Err(MachineError::DuplicateDisk);
        }
    }
    Ok(())
}

fn fixed_ports(config: &MachineConfig) -> Vec<PortRange> {
    let mut ports = Vec::new();
    let mut add = |first: u16, count: u16, owner| {
        ports.push(PortRange { first, last: first.saturating_add(count.saturating_sub(1)), owner });
    };
    add(0x92, 1, PortOwner::SystemControl);
    add(0xcf8, 4, PortOwner::PciConfigAddress);
    add(0xcfc, 4, PortOwner::PciConfigData);
    if config.acpi {
        add(piix4_pm::APM_PORT, 2, PortOwner::ApmControl);
        add(piix4_pm::PCI_PORT, piix4_pm::PCI_PORTS, PortOwner::PciHotPlug);
        add(piix4_pm::CPU_PORT, piix4_pm::CPU_PORTS, PortOwner::CpuHotPlug);
        add(piix4_pm::GPE0_PORT, piix4_pm::GPE0_PORTS, PortOwner::GeneralPurposeEvents);
    }
    ports
}

fn fixed_memory(config: &MachineConfig) -> Vec<MemoryRange> {
    let vga = config.vga.as_ref();
    let window = vga.map(|_| MemoryRange { first: 0xa_0000, last: 0xb_ffff, owner: MemoryOwner::VgaLegacy });
    window.into_iter().collect()
}

fn reset_if<H: Host>(host: &mut H, effect: reset::Effect) {
    match effect {
        reset::Effect::Reset => host.shutdown(ShutdownReason::Reboot),
        reset::Effect::Nothing => {}
    }
}

/// Whether an access of `width` fits where `after` more bytes follow the first.
fn fits(after: u16, width: Width) -> bool {
    width.bytes() <= usize::from(after).saturating_add(1)
}

/// What a port that nobody answers for reads as.
fn ones(width: Width) -> u32 {
    u32::try_from(width.all_ones()).unwrap_or(u32::MAX)
}

fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
