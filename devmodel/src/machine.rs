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
//! | next slots | [cards](crate::card), in the order of the configuration, where they have no place of their own |
//!
//! The machine starts with [`Machine::reset`], which claims every range, reports the level of every interrupt line
//! and the route of every PCI link. From then on only changes are reported.
//!
//! Invariant: what the host sees claimed follows from the fixed ranges and the base addresses alone.

use crate::access::{IoPort, Width, read_bytes, write_bytes};
use crate::bus::{AddressMap, CardRegion, MemoryOwner, MemoryRange, PortOwner, PortRange};
use crate::card::Card;
use crate::cmos::{BootDevice, Cmos, CmosConfig};
use crate::debug_port::{self, DebugPort};
use crate::fw_cfg::linux::{self, LinuxBoot, LinuxError};
use crate::fw_cfg::{self, FwCfg, FwCfgConfig};
use crate::host::{
    DiskError, DiskId, GuestAddr, Host, InputEvent, IsaIrq, Level, NicId, Range, SerialId, ShutdownReason, Surface,
    Unmapped, Unplug,
};
use crate::pci::config::{self, Identity, Region};
use crate::pci::i440fx::{self, ConfigAddress};
use crate::pci::{ConfigSpace, Location};
use crate::piix3::ide::{BUS_MASTER_REGION, COMMAND_REGISTER, Piix3Ide};
use crate::piix3::isa;
use crate::piix4_pm::{self, Piix4Pm};
use crate::ps2::{self, I8042};
use crate::reset::{self, ResetPorts};
use crate::time::{Instant, earlier};
use crate::uart::{self, Uart16550};
use crate::usb::UsbDevice;
use crate::vga::{self, Vga};
use crate::xen_platform::{self, UnplugMask, XenPlatform};
use alloc::boxed::Box;
use alloc::vec::Vec;
use heapless::String;

/// Places for IDE drives: two channels with two each.
pub const DRIVES: usize = 4;

/// A disk of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskConfig {
    /// What the host calls it.
    pub id: DiskId,
    /// Number of 512-byte sectors.
    pub sectors: u64,
    /// Writes are refused.
    pub read_only: bool,
    /// The host can discard ranges: the disk has TRIM.
    pub discard: bool,
    /// Serial number, printable ASCII.
    pub serial: String<20>,
    /// Model, printable ASCII.
    pub model: String<40>,
    /// Revision of the drive's firmware, printable ASCII.
    pub firmware: String<8>,
}

/// A CD drive of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CdConfig {
    /// What the host calls the disc that is in it, whichever it is.
    pub id: DiskId,
    /// Number of 512-byte sectors of the disc that is in it.
    pub disc: Option<u64>,
    /// Serial number, printable ASCII.
    pub serial: String<20>,
    /// Model, printable ASCII.
    pub model: String<40>,
}

/// What is in one of the places for IDE drives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriveConfig {
    /// A disk.
    Disk(DiskConfig),
    /// A CD drive.
    Cd(CdConfig),
}

impl DriveConfig {
    /// The host's disk behind it.
    fn id(&self) -> DiskId {
        match self {
            Self::Disk(disk) => disk.id,
            Self::Cd(cd) => cd.id,
        }
    }
}

/// What an operator does to a CD drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscChange {
    /// Opens the tray. A guest that has locked it is asked for the disc first, unless `force`.
    Open {
        /// Whatever the guest says.
        force: bool,
    },
    /// Lays a disc of so many 512-byte sectors into the open tray, in place of what was there, or takes out what was there.
    Lay(Option<u64>),
    /// Closes the tray.
    Close,
}

/// Why an operator cannot do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrayError {
    /// The guest has locked the tray. It was told that somebody wants the disc.
    Locked,
    /// The tray is closed: nobody gets at the disc.
    Closed,
}

/// Which graphics card it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VgaModel {
    /// QEMU's `VGA`: with the Bochs VBE registers.
    #[default]
    Std,
    /// QEMU's `cirrus-vga`: Cirrus Logic GD5446.
    Cirrus,
}

/// A graphics card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VgaConfig {
    /// Which card.
    pub model: VgaModel,
    /// Bytes of video memory: a power of two from 1 to 256 MiB, of a Cirrus card from 4 to 16 MiB.
    pub memory_bytes: u32,
    /// The video BIOS; at most 64 KiB. Empty if there is none.
    pub rom: Vec<u8>,
}

/// In which order devices are tried, first one first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootOrder(pub heapless::Vec<BootDevice, 4>);

impl BootOrder {
    /// Reads the letters of `-boot order=`, such as `cda`. `None`: a letter is unknown or comes twice.
    #[must_use]
    pub fn parse(letters: &str) -> Option<Self> {
        let mut order = Self::default();
        for (index, letter) in letters.bytes().enumerate() {
            let device = BootDevice::from_letter(letter)?;
            if letters.bytes().take(index).any(|earlier| earlier == letter) {
                return None;
            }
            // `a` and `b` are both floppy drives.
            if !order.0.contains(&device) {
                order.0.push(device).ok()?;
            }
        }
        Some(order)
    }
}

/// What a machine consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineConfig {
    /// The IDE drives: index is channel × 2 + unit.
    pub drives: [Option<DriveConfig>; DRIVES],
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
    /// The machine's UUID, as firmware sees it.
    pub uuid: [u8; 16],
    /// The firmware's debug ports are there, and what it writes goes to the guest's log.
    pub firmware_log: bool,
    /// A kernel that is started before anything in the boot order.
    pub linux: Option<LinuxBoot>,
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
    /// There is no place for another card.
    Slots,
    /// The kernel cannot be started.
    Linux(LinuxError),
}

impl core::fmt::Display for MachineError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Linux(error) => return error.fmt(f),
            Self::SerialPorts => "a machine has at most four serial ports",
            Self::VideoMemory => "the size of video memory is a power of two from 1 to 256 MiB",
            Self::VideoRom => "the video BIOS is at most 64 KiB long",
            Self::DuplicateDisk => "two disks have the same name",
            Self::Slots => "there are more cards than slots",
        })
    }
}

/// The functions on the PCI bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    HostBridge,
    IsaBridge,
    Ide,
    Pm,
    XenPlatform,
    Vga,
    Card(u8),
}

/// A card, and what the host knows of it.
#[derive(Debug)]
struct Slot<C: ?Sized> {
    location: Location,
    /// `None`: it was unplugged.
    card: Option<Box<C>>,
    /// The level of its interrupt pin, as it was reported.
    reported_pin: bool,
}

/// The graphics card, with what PCI adds to it.
#[derive(Debug)]
struct VgaCard {
    config: ConfigSpace,
    memory_bytes: u32,
    /// Which base address the memory-mapped registers have.
    registers: usize,
    device: Vga,
    rom: Vec<u8>,
    /// Something was written to it since somebody asked.
    touched: bool,
    /// Where the host was told that the linear framebuffer is.
    reported_aperture: Option<GuestAddr>,
}

/// The PC. Its cards are of any kind, or of any kind [that can be saved](crate::card::SavedCard); who does not save machines
/// has no code for it.
#[derive(Debug)]
pub struct Machine<C: ?Sized = dyn Card> {
    functions: Vec<(Location, Function)>,
    /// The functions were claimed, which happens once.
    functions_claimed: bool,
    map: AddressMap,
    host_bridge: ConfigSpace,
    config_address: ConfigAddress,
    isa_bridge: ConfigSpace,
    ide: Piix3Ide,
    pm: Option<Piix4Pm>,
    xen_platform: Option<(ConfigSpace, XenPlatform)>,
    vga: Option<VgaCard>,
    cards: Vec<Slot<C>>,
    i8042: I8042,
    serial: heapless::Vec<Uart16550, 4>,
    cmos: Cmos,
    fw_cfg: FwCfg,
    debug_port: DebugPort,
    reset_ports: ResetPorts,
    /// It is in sleep state S3.
    is_asleep: bool,
    /// What the guest has unplugged.
    unplugged: UnplugMask,
    /// What the host was told of the PCI links.
    reported_routes: [Option<IsaIrq>; 4],
    /// What the host was told of the interrupt lines, one bit each.
    reported_lines: u16,
}

impl<C: Card + ?Sized> Machine<C> {
    /// Puts a machine together. It does nothing before [`Machine::reset`].
    pub fn new(config: MachineConfig) -> Result<Self, MachineError> {
        check(&config)?;
        let mut functions = Vec::new();
        let mut place = |slot, function, what| functions.push((Location { slot, function }, what));
        place(0, 0, Function::HostBridge);
        place(1, 0, Function::IsaBridge);
        place(1, 1, Function::Ide);
        if config.acpi {
            place(1, 3, Function::Pm);
        }
        let platform_slot = config.xen_platform.then_some(2);
        if let Some(slot) = platform_slot {
            place(slot, 0, Function::XenPlatform);
        }
        if config.vga.is_some() {
            place(platform_slot.map_or(2, |_| 3), 0, Function::Vga);
        }
        Ok(Self {
            functions,
            functions_claimed: false,
            map: AddressMap::new(fixed_ports(&config), fixed_memory(&config)),
            host_bridge: i440fx::host_bridge(),
            config_address: ConfigAddress::default(),
            isa_bridge: isa::isa_bridge(),
            pm: config.acpi.then(|| Piix4Pm::new(config.vcpus)),
            xen_platform: config.xen_platform.then(|| (xen_platform_config(), XenPlatform::new())),
            i8042: I8042::new(),
            serial: (0..config.serial_ports).map(|port| Uart16550::new(SerialId(port))).collect(),
            cmos: cmos(&config),
            fw_cfg: fw_cfg(&config)?,
            debug_port: DebugPort::default(),
            ide: Piix3Ide::new(config.drives),
            vga: config.vga.map(VgaCard::new),
            cards: Vec::new(),
            reset_ports: ResetPorts::default(),
            is_asleep: false,
            unplugged: UnplugMask::empty(),
            reported_routes: [None; 4],
            reported_lines: 0,
        })
    }

    /// Puts a card into a place of its own, or into the first slot that is free. Before the first [`Machine::reset`].
    pub fn add_card(&mut self, place: Option<Location>, card: Box<C>) -> Result<Location, MachineError> {
        let has_function = |slot: u8| self.functions.iter().any(|(location, _)| location.slot == slot);
        let free = (0..SLOTS).find(|slot| !has_function(*slot)).ok_or(MachineError::Slots)?;
        let location = place.unwrap_or(Location { slot: free, function: 0 });
        let is_taken = self.functions.iter().any(|(taken, _)| *taken == location);
        let number = u8::try_from(self.cards.len()).map_err(|_| MachineError::Slots)?;
        if is_taken || location.slot >= SLOTS {
            return Err(MachineError::Slots);
        }
        self.functions.push((location, Function::Card(number)));
        self.cards.push(Slot { location, card: Some(card), reported_pin: false });
        Ok(location)
    }

    /// Gives firmware a file of this name, at most 55 bytes long. Before the first [`Machine::reset`].
    pub fn add_firmware_file(&mut self, name: &str, bytes: Vec<u8>) {
        self.fw_cfg.add_file(name, bytes);
    }

    /// Changes the boot order that firmware finds in CMOS.
    pub fn set_boot_order(&mut self, order: &BootOrder) {
        self.cmos.set_boot_order(&order.0);
    }

    /// Wakes the machine from sleep state S3. Memory is as it was, and so is what firmware has set in the chipset: the
    /// firmware of a Xen guest (hvmloader) does not run again. All other devices are as after power on. `false`: it does not
    /// sleep.
    pub fn wake_up<H: Host>(&mut self, host: &mut H) -> bool {
        let was_asleep = core::mem::take(&mut self.is_asleep);
        if was_asleep {
            self.reset_devices(host);
            host.wake_up();
        }
        was_asleep
    }

    /// The CPUs that are there, one bit each, as the operating system sees them.
    #[must_use]
    pub fn cpus(&self) -> u128 {
        self.pm.as_ref().map_or(0, Piix4Pm::cpus)
    }

    /// Adds CPU `index` and tells the operating system. `false`: it is there already, there can be none such, or there is no
    /// power management to tell of it.
    pub fn plug_cpu<H: Host>(&mut self, host: &mut H, index: u32) -> bool {
        let is_new = self.pm.as_mut().is_some_and(|pm| pm.plug_cpu(index));
        self.report_lines(host);
        is_new
    }

    /// Puts every device to its state at power on and reports everything there is to report. Also called once at the
    /// start.
    pub fn reset<H: Host>(&mut self, host: &mut H) {
        self.host_bridge.reset();
        self.isa_bridge.reset();
        self.ide.config.reset();
        if let Some(pm) = &mut self.pm {
            pm.reset();
        }
        self.reset_devices(host);
    }

    /// What [`Machine::reset`] does outside of the chipset.
    fn reset_devices<H: Host>(&mut self, host: &mut H) {
        self.config_address = ConfigAddress::default();
        self.ide.reset();
        if let Some((config, device)) = &mut self.xen_platform {
            config.reset();
            device.reset();
        }
        if let Some(vga) = &mut self.vga {
            vga.config.reset();
            vga.device.reset();
            vga.reported_aperture = None;
            host.video_aperture(None);
        }
        for card in self.cards.iter_mut().filter_map(|slot| slot.card.as_mut()) {
            card.reset();
        }
        self.i8042.reset();
        for port in &mut self.serial {
            port.reset();
        }
        self.fw_cfg.reset();
        self.reset_ports = ResetPorts::default();
        self.remap(host);
        if !core::mem::replace(&mut self.functions_claimed, true) {
            for range in self.function_ranges() {
                host.claim(range, true);
            }
        }
        self.report_all(host);
    }

    /// Reports the route of every link and the level of every line.
    fn report_all<H: Host>(&mut self, host: &mut H) {
        for (link, reported) in (0..).zip(&mut self.reported_routes) {
            *reported = isa::link_route(&self.isa_bridge, link);
            host.pci_link_route(link, *reported);
        }
        let lines = self.lines();
        self.reported_lines = lines;
        for irq in set_bits(self.owned_lines()) {
            host.isa_irq(IsaIrq(irq), (lines >> irq & 1 != 0).into());
        }
        for slot in &mut self.cards {
            if let Some(pin) = slot.pin() {
                slot.reported_pin = slot.asks_for_interrupt();
                host.pci_intx(slot.location.slot, pin, slot.reported_pin.into());
            }
        }
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
            PortOwner::IdeCommand(channel) => self.ide.read_command(host, channel, offset, width),
            PortOwner::IdeControl(channel) => self.ide.read_control(channel).into(),
            PortOwner::IdeBusMaster => self.ide.read_bus_master(offset, width),
            PortOwner::Serial(SerialId(id)) => match self.serial.get_mut(usize::from(id)) {
                Some(serial) => low(read_bytes(offset, width, |at| serial.read(at))),
                None => ones(width),
            },
            PortOwner::I8042 => self.i8042.read(port.0).into(),
            PortOwner::Cmos => low(read_bytes(offset, width, |at| self.cmos.read(at))),
            PortOwner::FwCfg => low(self.fw_cfg.read(offset, width)),
            PortOwner::FwCfgDma => low(self.fw_cfg.read_dma(offset, width)),
            PortOwner::DebugPort => self.debug_port.read().into(),
            PortOwner::XenPlatformFixed => {
                self.xen_platform.as_ref().map_or(ones(width), |(_, device)| low(device.read_fixed(offset, width)))
            }
            PortOwner::XenPlatform => match &self.xen_platform {
                Some((_, device)) => low(read_bytes(offset, width, |at| device.read_bar0(at))),
                None => ones(width),
            },
            PortOwner::SystemControl => {
                let a20 = if self.i8042.a20() { reset::FAST_A20 } else { 0 };
                (self.reset_ports.system_control() | a20).into()
            }
            PortOwner::ApmControl => self.pm.as_ref().map_or(ones(width), |pm| pm.read_apm(offset, width)),
            PortOwner::GeneralPurposeEvents => self.pm.as_ref().map_or(ones(width), |pm| pm.read_gpe(offset, width)),
            PortOwner::CpuHotPlug => self.pm.as_ref().map_or(ones(width), |pm| pm.read_cpus(offset, width)),
            PortOwner::PowerManagement => self.pm.as_ref().map_or(ones(width), |pm| pm.read(offset, width)),
            PortOwner::PciHotPlug => self.read_pci_hot_plug(offset, width),
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
            PortOwner::Vga => self.vga.as_mut().map_or(ones(width), |vga| vga.device.port_read(port, width)),
            PortOwner::Card(region) => match card(&mut self.cards, region) {
                Some(card) => low(card.read(host, region.region.into(), offset.into(), width)),
                None => ones(width),
            },
        };
        self.report_lines(host);
        value & ones(width)
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
            PortOwner::IdeCommand(channel) => {
                if offset == COMMAND_REGISTER {
                    // A new command takes the interrupt of the last one back. One that ends at once then has its own edge.
                    self.ide.take_interrupt_back(channel);
                    self.report_changed_lines(host);
                }
                self.ide.write_command(host, channel, offset, width, value);
            }
            PortOwner::IdeControl(channel) => self.ide.write_control(channel, byte),
            PortOwner::IdeBusMaster => self.ide.write_bus_master(host, offset, width, value),
            PortOwner::Serial(SerialId(id)) => {
                if let Some(serial) = self.serial.get_mut(usize::from(id)) {
                    write_bytes(offset, width, value.into(), |at, byte| serial.write(at, byte, host));
                }
            }
            PortOwner::I8042 => match self.i8042.write(port.0, byte) {
                ps2::Effect::Reset => host.shutdown(ShutdownReason::Reboot),
                ps2::Effect::A20(_) | ps2::Effect::Nothing => {}
            },
            PortOwner::Cmos => write_bytes(offset, width, value.into(), |at, byte| self.cmos.write(at, byte)),
            PortOwner::FwCfg => self.fw_cfg.write(offset, width, value.into()),
            PortOwner::FwCfgDma => self.fw_cfg.write_dma(host, offset, width, value.into()),
            PortOwner::DebugPort => self.debug_port.write(byte, host),
            PortOwner::XenPlatformFixed => {
                if let Some((_, device)) = &mut self.xen_platform {
                    let effect = device.write_fixed(offset, width, value.into(), host);
                    self.unplug(host, effect);
                }
            }
            PortOwner::XenPlatform => write_bytes(offset, width, value.into(), |at, byte| {
                if let Some((_, device)) = &mut self.xen_platform {
                    let effect = device.write_bar0(at, byte, host);
                    self.unplug(host, effect);
                }
            }),
            PortOwner::SystemControl => {
                self.i8042.set_a20(byte & reset::FAST_A20 != 0);
                reset_if(host, self.reset_ports.write_system_control(byte));
            }
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
                Some(piix4_pm::Effect::Suspend) => {
                    self.is_asleep = true;
                    self.cmos.set_waking();
                    host.suspend();
                }
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
            PortOwner::Vga => {
                if let Some(vga) = &mut self.vga {
                    vga.touched = true;
                    vga.device.port_write(host, port, width, value);
                }
            }
            PortOwner::Card(region) => {
                if let Some(card) = card(&mut self.cards, region) {
                    card.write(host, region.region.into(), offset.into(), width, value.into());
                }
            }
            PortOwner::PciHotPlug => self.write_pci_hot_plug(host, offset, width, value),
            PortOwner::CpuHotPlug => {}
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
        let mut count = count;
        if let Some(channel) = self.ide_data_port(port, width) {
            let asked = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(width.bytes());
            let done = self.ide.read_data_to_guest(host, channel, to, asked);
            self.report_lines(host);
            // What is left over has no data: it goes on as single accesses do.
            let done = done?;
            addr = addr.wrapping_add(as_u64(done));
            count = elements(asked.saturating_sub(done), width);
        }
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
        let mut count = count;
        if let Some(channel) = self.ide_data_port(port, width) {
            let asked = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(width.bytes());
            let done = self.ide.write_data_from_guest(host, channel, from, asked);
            self.report_lines(host);
            let done = done?;
            addr = addr.wrapping_add(as_u64(done));
            count = elements(asked.saturating_sub(done), width);
        }
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
            let (len, owner) = self.memory_piece(at, width, rest.len());
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
            let (len, owner) = self.memory_piece(at, width, rest.len());
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
            Function::Ide => Some(&self.ide.config),
            Function::Pm => self.pm.as_ref().map(|pm| &pm.config),
            Function::XenPlatform => self.xen_platform.as_ref().map(|(config, _)| config),
            Function::Vga => self.vga.as_ref().map(|vga| &vga.config),
            Function::Card(number) => {
                let slot = self.cards.get(usize::from(number));
                slot.and_then(|slot| slot.card.as_ref()).map(|card| card.config())
            }
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
            Function::Ide => Some(&mut self.ide.config),
            Function::Pm => self.pm.as_mut().map(|pm| &mut pm.config),
            Function::XenPlatform => self.xen_platform.as_mut().map(|(config, _)| config),
            Function::Vga => self.vga.as_mut().map(|vga| &mut vga.config),
            Function::Card(number) => {
                let slot = self.cards.get_mut(usize::from(number));
                if let Some(card) = slot.and_then(|slot| slot.card.as_mut()) {
                    card.config_mut().write(offset, width, value);
                    card.config_written(host);
                }
                None
            }
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

    /// Everything that the machine claims now. [`crate::host::Platform::claim`] has reported the same, change by
    /// change, beginning with the first [`Machine::reset`].
    pub fn ranges(&self) -> impl Iterator<Item = Range> {
        self.map.claimed().chain(self.function_ranges().filter(|_| self.functions_claimed))
    }

    fn function_ranges(&self) -> impl Iterator<Item = Range> {
        self.functions.iter().map(|(Location { slot, function }, _)| Range::PciFunction {
            bus: 0,
            slot: *slot,
            function: *function,
        })
    }

    /// An operation of a disk has ended.
    pub fn disk_complete<H: Host>(&mut self, host: &mut H, disk: DiskId, result: Result<(), DiskError>) {
        self.ide.complete(host, disk, result);
        for card in self.cards.iter_mut().filter_map(|slot| slot.card.as_mut()) {
            card.disk_complete(host, disk, result);
        }
        self.report_lines(host);
    }

    /// An operator does something to the CD drive whose disc is this one. `None`: there is no such drive.
    pub fn change_disc(&mut self, disk: DiskId, change: DiscChange) -> Option<Result<(), TrayError>> {
        let mut cards = self.cards.iter_mut().filter_map(|slot| slot.card.as_mut());
        self.ide.change_disc(disk, change).or_else(|| cards.find_map(|card| card.change_disc(disk, change)))
    }

    /// A network has frames for its card, or room for more of them, or its link went up or down.
    pub fn nic_ready<H: Host>(&mut self, host: &mut H, nic: NicId) {
        for card in self.cards.iter_mut().filter_map(|slot| slot.card.as_mut()) {
            card.nic_ready(host, nic);
        }
        self.report_lines(host);
    }

    /// Bytes arrived at a serial port. Returns how many of them there was room for.
    pub fn serial_receive<H: Host>(&mut self, host: &mut H, port: SerialId, bytes: &[u8]) -> usize {
        let taken = self.serial.get_mut(usize::from(port.0)).map_or(0, |serial| serial.receive(bytes));
        self.report_lines(host);
        taken
    }

    /// How many bytes a serial port has room for now.
    #[must_use]
    pub fn serial_room(&self, port: SerialId) -> usize {
        self.serial.get(usize::from(port.0)).map_or(0, Uart16550::room)
    }

    /// A serial port that refused a byte takes more.
    pub fn serial_ready<H: Host>(&mut self, host: &mut H, port: SerialId) {
        if let Some(serial) = self.serial.get_mut(usize::from(port.0)) {
            serial.ready(host);
        }
        self.report_lines(host);
    }

    /// A person did something.
    pub fn input<H: Host>(&mut self, host: &mut H, event: InputEvent) {
        let mut cards = self.cards.iter_mut().filter_map(|slot| slot.card.as_mut());
        if !cards.any(|card| card.input(host, event)) {
            self.i8042.input(event, host.now());
        }
        self.report_lines(host);
    }

    /// Whether the guest has not yet read all that was typed. Who has more to type had better wait: a keyboard holds few keys.
    #[must_use]
    pub fn has_unread_keys(&self) -> bool {
        let mut cards = self.cards.iter().filter_map(|slot| slot.card.as_ref());
        self.i8042.has_unread_keys() || cards.any(|card| card.has_unread_keys())
    }

    /// The LEDs of the keyboard: bit 0 Scroll Lock, bit 1 Num Lock, bit 2 Caps Lock.
    #[must_use]
    pub fn keyboard_leds(&self) -> u8 {
        let mut cards = self.cards.iter().filter_map(|slot| slot.card.as_ref());
        cards.find_map(|card| card.keyboard_leds()).unwrap_or_else(|| self.i8042.lamps())
    }

    /// Whether the guest uses a tablet: it wants to know where the pointer is, and not how it moves.
    #[must_use]
    pub fn takes_positions(&self) -> bool {
        let mut cards = self.cards.iter().filter_map(|slot| slot.card.as_ref());
        cards.any(|card| card.takes_positions())
    }

    /// Plugs a device into a free port of the USB controller, 0 is the first, or takes out what is in one. Says whether that
    /// went.
    pub fn usb_plug<H: Host>(&mut self, host: &mut H, port: usize, device: Option<UsbDevice>) -> bool {
        let now = host.now();
        let mut cards = self.cards.iter_mut().filter_map(|slot| slot.card.as_mut());
        cards.any(|card| card.usb_plug(now, port, device))
    }

    /// When [`Machine::poll`] has to be called next; `None` is never.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let cards = self.cards.iter().filter_map(|slot| slot.card.as_ref());
        cards.fold(None, |deadline, card| earlier(deadline, card.deadline()))
    }

    /// Does what is due.
    pub fn poll<H: Host>(&mut self, host: &mut H) {
        let now = host.now();
        for card in self.cards.iter_mut().filter_map(|slot| slot.card.as_mut()) {
            if card.deadline().is_some_and(|at| at <= now) {
                card.expire(host);
            }
        }
        self.report_lines(host);
    }

    /// Whether the guest wrote to the graphics card since this was last asked, other than through its linear aperture.
    #[must_use]
    pub fn take_display_touched(&mut self) -> bool {
        self.vga.as_mut().is_some_and(|vga| core::mem::take(&mut vga.touched))
    }

    /// Draws what changed on the screen since the last time, or all of it.
    pub fn refresh<H: Host, S: Surface>(&mut self, host: &mut H, surface: &mut S, full: bool) {
        if let Some(vga) = &mut self.vga {
            vga.device.refresh(host, surface, full);
            if let Some((width, height)) = vga.device.size() {
                self.i8042.screen_resized(width, height);
            }
        }
    }

    fn function(&self, bus: u8, slot: u8, function: u8) -> Option<Function> {
        let location = Location { slot, function };
        let found = self.functions.iter().find(|(place, _)| bus == 0 && *place == location);
        found.map(|(_, function)| *function)
    }

    /// How many bytes at `addr` go to one owner, and to whom; at least one, at most `len`.
    fn memory_piece(&self, addr: u64, width: Width, len: usize) -> (usize, Option<(MemoryOwner, u32)>) {
        let Some(range) = self.map.memory(addr) else {
            // Nobody's bytes, one element at a time, up to where the next range may begin.
            let to_boundary = usize::try_from(addr & 7).map_or(1, |into| 8_usize.saturating_sub(into));
            return (width.bytes().min(to_boundary).min(len), None);
        };
        let offset = u32::try_from(addr.wrapping_sub(range.first)).unwrap_or(u32::MAX);
        let room = usize::try_from(range.last.wrapping_sub(addr)).unwrap_or(usize::MAX).saturating_add(1);
        (room.min(len), Some((range.owner, offset)))
    }

    fn memory_read<H: Host>(&mut self, host: &mut H, owner: MemoryOwner, offset: u32, width: Width, data: &mut [u8]) {
        match (owner, &mut self.vga) {
            (MemoryOwner::Card(region), _) => match card(&mut self.cards, region) {
                Some(card) if usize::from(region.region) == config::ROM => read_rom(card.rom(), offset, data),
                Some(card) => {
                    for (element, at) in data.chunks_mut(width.bytes()).zip((offset..).step_by(width.bytes())) {
                        let (width, len) = (element_width(element.len()), element.len());
                        let value = card.read(host, region.region.into(), at, width).to_le_bytes();
                        element.copy_from_slice(value.get(..len).unwrap_or(&[]));
                    }
                }
                None => data.fill(0xff),
            },
            (MemoryOwner::VgaLegacy, Some(vga)) => vga.device.legacy_read(host, offset, data),
            (MemoryOwner::VgaFramebuffer, Some(vga)) => vga.device.framebuffer_read(host, offset, data),
            (MemoryOwner::VgaRegisters, Some(vga)) => vga.device.mmio_read(offset, data),
            (MemoryOwner::VgaRom, Some(vga)) => read_rom(&vga.rom, offset, data),
            (MemoryOwner::VgaBlit, Some(_)) => data.fill(0xff),
            (MemoryOwner::XenPlatform, _) | (_, None) => data.fill(0),
        }
    }

    fn memory_write<H: Host>(&mut self, host: &mut H, owner: MemoryOwner, offset: u32, width: Width, data: &[u8]) {
        if let MemoryOwner::Card(region) = owner {
            let Some(card) = card(&mut self.cards, region) else { return };
            if usize::from(region.region) == config::ROM {
                return;
            }
            for (element, at) in data.chunks(width.bytes()).zip((offset..).step_by(width.bytes())) {
                let mut value = [0; 8];
                for (to, from) in value.iter_mut().zip(element) {
                    *to = *from;
                }
                let (width, value) = (element_width(element.len()), u64::from_le_bytes(value));
                card.write(host, region.region.into(), at, width, value);
            }
            return;
        }
        let Some(vga) = &mut self.vga else { return };
        vga.touched = true;
        match owner {
            MemoryOwner::VgaLegacy => vga.device.legacy_write(host, offset, data),
            MemoryOwner::VgaFramebuffer => vga.device.framebuffer_write(host, offset, data),
            MemoryOwner::VgaBlit => vga.device.blit_write(host, data),
            MemoryOwner::VgaRegisters => vga.device.mmio_write(host, offset, data),
            MemoryOwner::VgaRom | MemoryOwner::XenPlatform | MemoryOwner::Card(_) => {}
        }
    }

    /// Works out which ranges the base addresses decode, and reports what changed.
    fn remap<H: Host>(&mut self, host: &mut H) {
        let mut ports = Vec::new();
        if let Some((first, last)) = self.pm.as_ref().and_then(Piix4Pm::block) {
            ports.push(PortRange { first, last, owner: PortOwner::PowerManagement });
        }
        if let Some((first, last)) = self.ide.config.decoded(BUS_MASTER_REGION) {
            ports.extend(moved_ports(first, last, PortOwner::IdeBusMaster));
        }
        let mut memory = Vec::new();
        if let Some((config, _)) = &self.xen_platform {
            if let Some((first, last)) = config.decoded(0) {
                ports.extend(moved_ports(first, last, PortOwner::XenPlatform));
            }
            if let Some((first, last)) = config.decoded(1) {
                memory.push(moved_memory(first, last, MemoryOwner::XenPlatform));
            }
        }
        if let Some(vga) = &mut self.vga {
            let regions = [(vga.registers, MemoryOwner::VgaRegisters), (config::ROM, MemoryOwner::VgaRom)];
            for (index, owner) in regions {
                let range = vga.config.decoded(index);
                memory.extend(range.map(|(first, last)| moved_memory(first, last, owner)));
            }
            if let Some((first, _)) = vga.config.decoded(VgaCard::FRAMEBUFFER) {
                let mut part = |from: u32, end: u32, owner| {
                    let last = first.saturating_add(end.saturating_sub(1));
                    memory.push(moved_memory(first.saturating_add(from), last, owner));
                };
                part(0, vga.memory_bytes, MemoryOwner::VgaFramebuffer);
                if vga.device.is_cirrus() {
                    let core::ops::Range { start, end } = vga::CIRRUS_BLIT_APERTURE;
                    part(start, end, MemoryOwner::VgaBlit);
                }
            }
            let aperture = vga.config.decoded(VgaCard::FRAMEBUFFER).map(|(first, _)| GuestAddr(first.into()));
            if aperture != vga.reported_aperture {
                vga.reported_aperture = aperture;
                host.video_aperture(aperture);
            }
        }
        for (slot, number) in self.cards.iter().zip(0..) {
            let Some(card) = &slot.card else { continue };
            for region in 0..=config::ROM {
                let Some((first, last)) = card.config().decoded(region) else { continue };
                let owner = CardRegion { card: number, region: u8::try_from(region).unwrap_or(u8::MAX) };
                if card.config().is_ports(region) {
                    ports.extend(moved_ports(first, last, PortOwner::Card(owner)));
                } else {
                    memory.push(moved_memory(first, last, MemoryOwner::Card(owner)));
                }
            }
        }
        self.map.set_moved(ports, memory, |range, claimed| host.claim(range, claimed));
    }

    /// The IDE channel whose data register is at `port`, for accesses that a data register takes as they are.
    fn ide_data_port(&self, port: IoPort, width: Width) -> Option<u8> {
        match self.map.port(port.0)? {
            PortRange { first, owner: PortOwner::IdeCommand(channel), .. }
                if first == port.0 && matches!(width, Width::Word | Width::Dword) =>
            {
                Some(channel)
            }
            _ => None,
        }
    }

    /// Reads the PCI hot plug registers: slots whose cards have come or are to go, of which there are none, and after
    /// [`piix4_pm::PCI_EJECT`], those whose cards can be ejected, one bit each.
    fn read_pci_hot_plug(&mut self, offset: u16, width: Width) -> u32 {
        let cards = self.cards.iter_mut();
        let can_go =
            cards.filter_map(|slot| slot.can_be_ejected().then_some(1_u32.wrapping_shl(slot.location.slot.into())));
        let map = can_go.fold(0, |map, bit| map | bit).to_le_bytes();
        low(read_bytes(offset, width, |at| {
            at.checked_sub(piix4_pm::PCI_REMOVABLE).and_then(|at| map.get(usize::from(at))).copied().unwrap_or(0)
        }))
    }

    /// Writes them: the cards of these slots are ejected (`_EJ0` of libacpi), if they can be.
    fn write_pci_hot_plug<H: Host>(&mut self, host: &mut H, offset: u16, width: Width, value: u32) {
        if (offset, width) != (piix4_pm::PCI_EJECT, Width::Dword) {
            return;
        }
        for slot in &mut self.cards {
            if value >> slot.location.slot & 1 != 0 && slot.can_be_ejected() {
                slot.card = None;
            }
        }
        self.remap(host);
    }

    /// Takes away what a driver asked to take away.
    fn unplug<H: Host>(&mut self, host: &mut H, effect: xen_platform::Effect) {
        match effect {
            xen_platform::Effect::Unplug(mask) => {
                self.unplugged |= mask;
                for what in mask.requests() {
                    self.ide.unplug(what);
                    for slot in &mut self.cards {
                        if slot.card.as_mut().is_some_and(|card| card.unplug(what)) {
                            slot.card = None;
                        }
                    }
                    host.unplug(what);
                }
                self.remap(host);
            }
            // Every driver is welcome.
            xen_platform::Effect::Driver { .. } | xen_platform::Effect::Nothing => {}
        }
    }

    /// The lines that devices of this machine drive, one bit each.
    fn owned_lines(&self) -> u16 {
        let serial = uart::COM.iter().take(self.serial.len()).map(|(_, irq)| *irq);
        let others = [IRQ_KEYBOARD, IRQ_MOUSE, IRQ_IDE, IRQ_IDE.saturating_add(1)];
        serial.chain(others).fold(0, |lines, irq| lines | line(irq, Level::High))
    }

    /// The levels of all lines, one bit each.
    fn lines(&self) -> u16 {
        let serial = self.serial.iter().zip(uart::COM);
        let serial = serial.fold(0, |lines, (serial, (_, irq))| lines | line(irq, serial.irq_level()));
        let ide = line(IRQ_IDE, self.ide.irq_level(0)) | line(IRQ_IDE.saturating_add(1), self.ide.irq_level(1));
        let i8042 = line(IRQ_KEYBOARD, self.i8042.irq1_level()) | line(IRQ_MOUSE, self.i8042.irq12_level());
        let sci = line(IRQ_SCI, self.pm.as_ref().is_some_and(Piix4Pm::sci_level).into());
        serial | ide | i8042 | sci
    }

    /// Reports the lines that changed. A byte that waits for the keyboard controller's output buffer follows after
    /// the line was seen low, so that it has an edge of its own.
    fn report_lines<H: Host>(&mut self, host: &mut H) {
        for slot in &mut self.cards {
            if let Some(card) = &mut slot.card
                && card.take_message()
                && let Some((addr, data)) = card.config().message()
            {
                host.message(GuestAddr(addr), data);
            }
            let asks = slot.asks_for_interrupt();
            if asks != slot.reported_pin {
                slot.reported_pin = asks;
                host.pci_intx(slot.location.slot, slot.pin().unwrap_or(0), asks.into());
            }
        }
        self.report_changed_lines(host);
        if self.i8042.advance() {
            self.report_changed_lines(host);
        }
    }

    fn report_changed_lines<H: Host>(&mut self, host: &mut H) {
        let lines = self.lines();
        let changed = lines ^ self.reported_lines;
        if changed == 0 {
            return;
        }
        self.reported_lines = lines;
        for irq in set_bits(changed) {
            host.isa_irq(IsaIrq(irq), (lines >> irq & 1 != 0).into());
        }
    }
}

impl<C: Card + ?Sized> Slot<C> {
    /// Its interrupt pin, 0 is INTA#.
    fn pin(&self) -> Option<u8> {
        self.card.as_ref().and_then(|card| card.config().interrupt_pin())
    }

    /// Whether the guest may eject it: a network card, of those that there are.
    fn can_be_ejected(&mut self) -> bool {
        self.card.as_mut().is_some_and(|card| card.unplug(Unplug::Nics))
    }

    fn asks_for_interrupt(&self) -> bool {
        let sends_to_pin = |config: &ConfigSpace| !config.interrupt_disabled() && config.message().is_none();
        self.card.as_ref().is_some_and(|card| card.interrupt() && sends_to_pin(card.config()))
    }
}

impl VgaCard {
    /// Which base address the linear framebuffer has.
    const FRAMEBUFFER: usize = 0;

    fn new(config: VgaConfig) -> Self {
        let VgaConfig { model, memory_bytes, rom } = config;
        let (vendor, device, revision, aperture, registers) = match model {
            VgaModel::Std => (0x1234, 0x1111, 2, memory_bytes, 2),
            VgaModel::Cirrus => (0x1013, 0x00b8, 0, vga::CIRRUS_APERTURE, 1),
        };
        let space = ConfigSpace::new(Identity {
            vendor,
            device,
            revision,
            class: 0x03_00_00,
            subsystem: (0x1af4, 0x1100),
            multifunction: false,
            interrupt_pin: 0,
        })
        .with_region(Self::FRAMEBUFFER, Region::Memory { size: aperture, prefetchable: true })
        .with_region(registers, Region::Memory { size: vga::MMIO_BYTES, prefetchable: false });
        let space = match rom.len() {
            0 => space,
            _ => space.with_region(config::ROM, Region::Rom { size: 0x1_0000 }),
        };
        let device = match model {
            VgaModel::Std => Vga::new(memory_bytes),
            VgaModel::Cirrus => Vga::cirrus(memory_bytes),
        };
        Self { config: space, memory_bytes, registers, device, rom, touched: false, reported_aperture: None }
    }
}

/// Slots of the bus.
const SLOTS: u8 = 32;
/// ISA line of the keyboard.
const IRQ_KEYBOARD: u8 = 1;
/// ISA line of the mouse.
const IRQ_MOUSE: u8 = 12;
/// ISA line of power management events.
const IRQ_SCI: u8 = 9;
/// ISA line of the first IDE channel; the second one has the next.
const IRQ_IDE: u8 = 14;

fn line(irq: u8, level: Level) -> u16 {
    u16::from(level == Level::High) << (irq & 15)
}

fn set_bits(lines: u16) -> impl Iterator<Item = u8> {
    (0..16_u8).filter(move |irq| lines >> irq & 1 != 0)
}

fn check(config: &MachineConfig) -> Result<(), MachineError> {
    if config.serial_ports > 4 {
        return Err(MachineError::SerialPorts);
    }
    if let Some(vga) = &config.vga {
        let sizes = match vga.model {
            VgaModel::Std => 1 << 20..=256 << 20,
            VgaModel::Cirrus => 4 << 20..=16 << 20,
        };
        if !vga.memory_bytes.is_power_of_two() || !sizes.contains(&vga.memory_bytes) {
            return Err(MachineError::VideoMemory);
        }
        if vga.rom.len() > 0x1_0000 {
            return Err(MachineError::VideoRom);
        }
    }
    let mut names: heapless::Vec<DiskId, DRIVES> = heapless::Vec::new();
    for id in config.drives.iter().flatten().map(DriveConfig::id) {
        if names.contains(&id) || names.push(id).is_err() {
            return Err(MachineError::DuplicateDisk);
        }
    }
    Ok(())
}

/// Memory below this address is RAM; what there is more begins at 4 GiB. As Xen's tools lay it out.
const LOW_MEMORY_END: u64 = 0xf000_0000;

fn cmos(config: &MachineConfig) -> Cmos {
    let disk_sectors = |drive: &Option<DriveConfig>| match drive {
        Some(DriveConfig::Disk(disk)) => Some(disk.sectors),
        Some(DriveConfig::Cd(_)) | None => None,
    };
    let [a, b, c, d] = &config.drives;
    Cmos::new(&CmosConfig {
        memory_below_4g: config.ram_bytes.min(LOW_MEMORY_END),
        memory_above_4g: config.ram_bytes.saturating_sub(LOW_MEMORY_END),
        cpus: u16::try_from(config.vcpus).unwrap_or(u16::MAX),
        boot_order: &config.boot_order.0,
        ide_disk_sectors: [a, b, c, d].map(disk_sectors),
    })
}

fn fw_cfg(config: &MachineConfig) -> Result<FwCfg, MachineError> {
    let mut paths = Vec::new();
    paths.extend(config.linux.is_some().then(|| linux::BOOT_PATH.into()));
    for device in &config.boot_order.0 {
        let is_meant = |drive: &Option<DriveConfig>| match device {
            BootDevice::HardDisk => matches!(drive, Some(DriveConfig::Disk(_))),
            BootDevice::Cdrom => matches!(drive, Some(DriveConfig::Cd(_))),
            _ => false,
        };
        let present = config.drives.iter().zip(0_u8..).filter(|(drive, _)| is_meant(drive));
        paths.extend(present.map(|(_, index)| fw_cfg::ide_path(index >> 1, index & 1)));
    }
    let mut fw_cfg = FwCfg::new(&FwCfgConfig {
        memory: config.ram_bytes,
        cpus: u16::try_from(config.vcpus).unwrap_or(u16::MAX),
        boot_menu: false,
        uuid: config.uuid,
        boot_paths: &paths,
    });
    if let Some(boot) = &config.linux {
        fw_cfg.add_linux(boot, config.ram_bytes.min(LOW_MEMORY_END)).map_err(MachineError::Linux)?;
    }
    Ok(fw_cfg)
}

fn xen_platform_config() -> ConfigSpace {
    let (class, subclass) = (u32::from(xen_platform::CLASS), u32::from(xen_platform::SUBCLASS));
    ConfigSpace::new(Identity {
        vendor: xen_platform::VENDOR_ID,
        device: xen_platform::DEVICE_ID,
        revision: xen_platform::REVISION,
        class: class << 16 | subclass << 8,
        subsystem: (xen_platform::VENDOR_ID, xen_platform::DEVICE_ID),
        multifunction: false,
        interrupt_pin: xen_platform::INTERRUPT_PIN,
    })
    .with_region(0, Region::Ports { size: xen_platform::BAR0_LEN })
    .with_region(1, Region::Memory { size: xen_platform::BAR1_LEN, prefetchable: true })
}

fn moved_ports(first: u32, last: u32, owner: PortOwner) -> Option<PortRange> {
    Some(PortRange { first: u16::try_from(first).ok()?, last: u16::try_from(last).ok()?, owner })
}

fn moved_memory(first: u32, last: u32, owner: MemoryOwner) -> MemoryRange {
    MemoryRange { first: first.into(), last: last.into(), owner }
}

fn fixed_ports(config: &MachineConfig) -> Vec<PortRange> {
    let mut ports = Vec::new();
    let mut add = |first: u16, count: u16, owner| {
        ports.push(PortRange { first, last: first.saturating_add(count.saturating_sub(1)), owner });
    };
    add(ps2::DATA_PORT, 1, PortOwner::I8042);
    add(ps2::COMMAND_PORT, 1, PortOwner::I8042);
    add(0x70, 2, PortOwner::Cmos);
    add(0x92, 1, PortOwner::SystemControl);
    for (channel, command, control) in [(0, 0x1f0, 0x3f6), (1, 0x170, 0x376)] {
        add(command, 8, PortOwner::IdeCommand(channel));
        add(control, 1, PortOwner::IdeControl(channel));
    }
    for ((port, _), id) in uart::COM.into_iter().zip(0..config.serial_ports) {
        add(port, uart::PORTS, PortOwner::Serial(SerialId(id)));
    }
    add(fw_cfg::FIRST_PORT, 2, PortOwner::FwCfg);
    add(fw_cfg::dma::FIRST_PORT, fw_cfg::dma::PORTS, PortOwner::FwCfgDma);
    if config.firmware_log {
        add(debug_port::FIRMWARE_PORT, 1, PortOwner::DebugPort);
        add(debug_port::BOCHS_PORT, 1, PortOwner::DebugPort);
    }
    if let Some(vga) = &config.vga {
        let dispi = (vga.model == VgaModel::Std).then_some((vga::FIRST_DISPI_PORT, vga::LAST_DISPI_PORT));
        for (first, last) in [(vga::FIRST_PORT, vga::LAST_PORT)].into_iter().chain(dispi) {
            add(first.0, last.0.saturating_sub(first.0).saturating_add(1), PortOwner::Vga);
        }
    }
    if config.xen_platform {
        let count = xen_platform::FIXED_LAST.saturating_sub(xen_platform::FIXED_FIRST).saturating_add(1);
        add(xen_platform::FIXED_FIRST, count, PortOwner::XenPlatformFixed);
    }
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

/// The card behind a region, if it is there still.
fn card<C: ?Sized>(cards: &mut [Slot<C>], region: CardRegion) -> Option<&mut Box<C>> {
    cards.get_mut(usize::from(region.card))?.card.as_mut()
}

/// Copies a ROM from `offset` on; what lies behind its end reads as zero.
fn read_rom(rom: &[u8], offset: u32, data: &mut [u8]) {
    let from = usize::try_from(offset).unwrap_or(usize::MAX);
    for (byte, new) in data.iter_mut().zip(rom.iter().copied().skip(from).chain(core::iter::repeat(0))) {
        *byte = new;
    }
}

/// The width of an element of `len` bytes; one that is cut off by the end of its range goes as bytes.
fn element_width(len: usize) -> Width {
    u32::try_from(len).ok().and_then(Width::from_bytes).unwrap_or(Width::Byte)
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

/// The low half of what a device gave for a port access.
fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// How many elements of `width` there are in `bytes`, the last of which may be cut off.
fn elements(bytes: usize, width: Width) -> u32 {
    u32::try_from(bytes.div_ceil(width.bytes())).unwrap_or(u32::MAX)
}

/// What a port that nobody answers for reads as.
fn ones(width: Width) -> u32 {
    u32::try_from(width.all_ones()).unwrap_or(u32::MAX)
}

fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

mod state;
#[cfg(test)]
mod tests;
