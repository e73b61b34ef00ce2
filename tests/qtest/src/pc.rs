//! The machine in its world: accesses, the clock, reset.
//!
//! After every access, what it has started is brought to its end: disk operations, frames, deadlines that are due. When
//! a client has its answer, nothing is under way but what waits for the clock.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use devmodel::access::{IoPort, Width};
use devmodel::card::SavedCard;
use devmodel::host::{DiskId, GuestAddr, InputEvent, NicId, Range, SerialId, ShutdownReason};
use devmodel::machine::{BootOrder, CdConfig, DiskConfig, DriveConfig, Machine, MachineConfig, VgaConfig, VgaModel};
use devmodel::time::Instant;
use devmodel::usb::PORTS as USB_PORTS;

use crate::cards;
use crate::character::Peer;
use crate::devices::{self, Device};
use crate::disks::{Disk, Disks};
use crate::guest::Guest;
use crate::irqs::Irqs;
use crate::media::Media;
use crate::migration::{Pages, Request, State};
use crate::nics::{self, Nic};
use crate::options::Options;
use crate::plan::{Backing, Drive, Medium, Network, Plan, UsbDisk};
use crate::ram::{Piece, Ram};
use crate::rtc::Rtc;
use crate::trays::{Moved, Trays, Wish};
use crate::user_net::UserNetwork;
use crate::video::Video;
use crate::world::World;

/// Where SeaBIOS is, if it is installed.
const SEABIOS: &str = "/usr/share/seabios/bios-256k.bin";
/// The video BIOSes, beside it.
const STD_BIOS: &str = "/usr/share/seabios/vgabios-stdvga.bin";
const CIRRUS_BIOS: &str = "/usr/share/seabios/vgabios-cirrus.bin";
/// The byte of CMOS whose bit 0 says that floppy disks are booted without a look at their signature.
const BOOT_FLAGS: u32 = 0x38;
/// What an empty drive has in it.
pub(crate) const NOTHING: Medium = Medium::new(Backing::Zeros(0), true);
/// Deadlines that may be due again at once, one after the other, before the clock goes on without them.
const POLLS_MAX: u32 = 10_000;

/// What is in a USB port.
#[derive(Debug)]
struct UsbPlug {
    /// What a person calls it.
    name: String,
    /// Of a disk, what the machine calls it, and its medium.
    disk: Option<(DiskId, Medium)>,
}

/// The machine and its world.
#[derive(Debug)]
pub(crate) struct Pc {
    machine: Machine<dyn SavedCard>,
    /// Everything around it.
    pub(crate) world: World,
    /// The hypervisor's clock.
    rtc: Rtc,
    /// What was written to port 0xcf8.
    config_address: u32,
    /// The media that are in no drive.
    media: Media,
    /// The CD drives.
    trays: Trays,
    /// What is in the USB ports.
    usb: [Option<UsbPlug>; USB_PORTS],
    /// The boot order from the next reset on, where it is another.
    then_boot: Option<BootOrder>,
    /// Bytes that wait for room in a serial port.
    serial_input: Vec<VecDeque<u8>>,
    /// The CPU and what is around it, if there is one.
    pub(crate) guest: Option<Box<Guest>>,
}

impl Pc {
    /// Builds what is planned, and switches it on.
    pub(crate) fn new(plan: &Plan) -> Result<Self> {
        let (mut disks, mut trays) = (Disks::default(), Trays::default());
        let mut drives = [const { None }; 4];
        for (number, (config, drive)) in drives.iter_mut().zip(&plan.drives).enumerate() {
            *config = drive.as_ref().map(|drive| drive_config(drive, number, &mut disks, &mut trays)).transpose()?;
        }
        let mut parts =
            cards::Parts { usb: plan.usb.iter().map(|(_, device)| *device).collect(), ..Default::default() };
        for (number, (config, drive)) in parts.sata.iter_mut().zip(&plan.sata).enumerate() {
            *config = drive.as_ref().map(|drive| drive_config(drive, number, &mut disks, &mut trays)).transpose()?;
        }
        let serial_ports = u8::try_from(plan.serial.len()).context("there are too many serial ports")?;
        let video_bytes = plan.video_bytes.unwrap_or(0);
        let video_bios = if plan.video_model == VgaModel::Cirrus { CIRRUS_BIOS } else { STD_BIOS };
        let config = MachineConfig {
            drives,
            serial_ports,
            vga: plan.video_bytes.map(|memory_bytes| VgaConfig {
                model: plan.video_model,
                memory_bytes,
                rom: installed(video_bios),
            }),
            boot_order: plan.boot_order.clone(),
            ram_bytes: plan.ram_bytes,
            vcpus: plan.cpus,
            xen_platform: false,
            acpi: plan.acpi,
            uuid: plan.uuid,
            firmware_log: plan.debug_port.is_some(),
            linux: None,
        };
        let mut machine = Machine::new(config).map_err(|error| anyhow::anyhow!("{error}"))?;
        for (name, bytes) in &plan.firmware_files {
            machine.add_firmware_file(name, bytes.clone());
        }
        for (number, card) in (0..).zip(&plan.cards) {
            let nic = card.network.map(u8::try_from).transpose().context("there are too many networks")?.map(NicId);
            let made = cards::make(card, number, nic, &mut parts)?;
            let added = machine.add_card(card.place, made);
            added.map_err(|error| anyhow::anyhow!("\"{}\": {error}", card.options.text()))?;
        }
        let firmware = match &plan.firmware {
            Some(path) => fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
            None => installed(SEABIOS),
        };
        ensure!(firmware.len() <= 16 << 20, "-bios: at most 16 MiB");
        let ram = usize::try_from(plan.ram_bytes).context("there is not so much memory")?;
        let world = World {
            ram: Ram::new(ram, firmware),
            video: Video::new(usize::try_from(video_bytes)?),
            irqs: Irqs::default(),
            disks,
            nics: plan.networks.iter().map(nic).collect(),
            serial: plan.serial.iter().map(|_| Peer::default()).collect(),
            debug_port: Peer::default(),
            now: Instant(0),
            shutdown: None,
        };
        let serial_input = plan.serial.iter().map(|_| VecDeque::new()).collect();
        let mut usb = [const { None }; USB_PORTS];
        for (port, (name, _)) in usb.iter_mut().zip(&plan.usb) {
            *port = Some(UsbPlug { name: name.clone(), disk: None });
        }
        if plan.usb.len() > USB_PORTS {
            // A hub has taken the place.
            usb[1] = Some(UsbPlug { name: String::new(), disk: None });
        }
        let mut pc = Self {
            machine,
            world,
            rtc: Rtc::new(),
            config_address: 0,
            media: plan.media.clone(),
            trays,
            usb,
            serial_input,
            then_boot: None,
            guest: plan.has_cpu.then(Box::default),
        };
        for disk in &plan.usb_disks {
            pc.usb_plug_disk(disk, None)?;
        }
        pc.reset();
        if let Some(order) = &plan.boot_once {
            pc.machine.set_boot_order(order);
            pc.then_boot = Some(plan.boot_order.clone());
        }
        if plan.no_floppy_check {
            pc.port_write(0x70, Width::Byte, BOOT_FLAGS);
            let flags = pc.port_read(0x71, Width::Byte);
            pc.port_write(0x71, Width::Byte, flags | 1);
        }
        Ok(pc)
    }

    /// Goes on in another machine of the same plan, with the state of this one, which is returned.
    pub(crate) fn move_machine(&mut self, plan: &Plan) -> Result<Vec<u8>> {
        let saved = self.machine.save(&mut self.world).context("a disk is at work")?;
        self.machine = Self::new(plan)?.machine;
        self.machine.reset(&mut self.world);
        let now = self.machine.restore(&mut self.world, &saved);
        ensure!(now == Ok(self.world.now), "{now:?}");
        Ok(saved)
    }

    /// What another program needs to go on with it.
    pub(crate) fn state(&mut self) -> State {
        State {
            machine: self.machine.save_at_work(&mut self.world),
            now: self.world.now.0,
            config_address: self.config_address,
            rtc: self.rtc.clone(),
            ram: Pages::new(self.world.ram.bytes()),
            video: Pages::new(self.world.video.bytes()),
            requests: self.world.disks.waiting().map(|(disk, op, buffer)| Request::new(disk.0, op, buffer)).collect(),
            usb: self.usb.iter().map(|plug| plug.as_ref().map(|plug| plug.name.clone())).collect(),
            serial_input: self.serial_input.iter().map(|waiting| waiting.iter().copied().collect()).collect(),
            runs: false,
            was_reset: self.then_boot.is_none(),
        }
    }

    /// Goes on with a machine of the same plan. After an error it is good for nothing.
    pub(crate) fn take_over(&mut self, state: &State) -> Result<()> {
        let names = self.usb.iter().map(|plug| plug.as_ref().map(|plug| &plug.name));
        ensure!(names.eq(state.usb.iter().map(Option::as_ref)), "other devices are in the USB ports");
        ensure!(state.serial_input.len() == self.serial_input.len(), "there are other serial ports");
        if state.was_reset
            && let Some(order) = self.then_boot.take()
        {
            self.machine.set_boot_order(&order);
        }
        self.world.now = Instant(state.now);
        state.ram.copy_to(self.world.ram.bytes())?;
        let mut video = vec![0; self.world.video.bytes().len()];
        state.video.copy_to(&mut video)?;
        self.world.video.write(0, &video);
        let restored = self.machine.restore(&mut self.world, &state.machine);
        restored.map_err(|error| anyhow::anyhow!("{error}"))?;
        for request in &state.requests {
            let id = DiskId(request.disk);
            let mut buffer = vec![0; self.world.disks.buffer_len(id)];
            request.buffer.copy_to(&mut buffer)?;
            self.world.disks.add_waiting(id, request.op()?, &buffer);
        }
        (self.config_address, self.rtc) = (state.config_address, state.rtc.clone());
        self.serial_input = state.serial_input.iter().map(|waiting| waiting.iter().copied().collect()).collect();
        self.update_pam();
        self.settle();
        Ok(())
    }

    /// Ends its sleep, if it sleeps.
    pub(crate) fn wake_up(&mut self) {
        self.machine.wake_up(&mut self.world);
    }

    /// Adds a CPU.
    pub(crate) fn plug_cpu(&mut self, index: u32) {
        self.machine.plug_cpu(&mut self.world, index);
    }

    /// Puts every device to its state at power on. Memory keeps its content.
    pub(crate) fn reset(&mut self) {
        self.world.shutdown = None;
        if let Some(order) = self.then_boot.take() {
            self.machine.set_boot_order(&order);
        }
        self.config_address = 0;
        self.rtc.reset();
        self.machine.reset(&mut self.world);
        if let Some(guest) = &mut self.guest {
            guest.reset(self.world.now);
        }
        self.update_pam();
        self.settle();
    }

    /// Reads a port.
    pub(crate) fn port_read(&mut self, port: u16, width: Width) -> u32 {
        let now = self.world.now;
        let on_board = self.guest.as_mut().and_then(|guest| guest.board.read(now.0, port, width));
        let value = match (port, width) {
            _ if on_board.is_some() => on_board.unwrap_or(0),
            (0x71, Width::Byte) if self.rtc.is_selected() => self.rtc.read(self.world.now).into(),
            (0xcfc..=0xcff, _) => match self.config_target(port) {
                Some((bus, slot, function, offset)) => {
                    self.machine.config_read(&mut self.world, bus, slot, function, offset, width)
                }
                None => u32::MAX,
            },
            _ => self.machine.port_read(&mut self.world, IoPort(port), width),
        };
        self.settle();
        value
    }

    /// The configuration register that an access to one of the ports from 0xcfc on is for. Clients write addresses of bytes
    /// and words to 0xcf8 and then use port 0xcfc itself, where hardware would ignore the lowest two bits.
    fn config_target(&self, port: u16) -> Option<(u8, u8, u8, u16)> {
        let [offset, location, bus, enable] = self.config_address.to_le_bytes();
        let offset = u16::from(offset) | port & 3;
        (enable & 0x80 != 0).then_some((bus, location >> 3, location & 7, offset))
    }

    /// Writes a port.
    pub(crate) fn port_write(&mut self, port: u16, width: Width, value: u32) {
        let [byte, ..] = value.to_le_bytes();
        let now = self.world.now;
        let on_board = self.guest.as_mut().is_some_and(|guest| guest.board.write(now.0, port, width, value));
        match (port, width) {
            _ if on_board => {}
            (0x71, Width::Byte) if self.rtc.is_selected() => self.rtc.write(self.world.now, byte),
            (0xcfc..=0xcff, _) => {
                if let Some((bus, slot, function, offset)) = self.config_target(port) {
                    self.machine.config_write(&mut self.world, bus, slot, function, offset, width, value);
                    self.update_pam();
                }
            }
            _ => {
                match (port, width) {
                    (0x70, Width::Byte) => self.rtc.select(byte),
                    (0xcf8, Width::Dword) => self.config_address = value,
                    _ => {}
                }
                self.machine.port_write(&mut self.world, IoPort(port), width, value);
            }
        }
        self.settle();
    }

    /// Whether some device answers at an address. The memory of the graphics card does not have to be claimed.
    fn claims(&self, addr: u64) -> bool {
        let at = GuestAddr(addr);
        let is_video = (0xa_0000..0xc_0000).contains(&addr) || self.world.video.offset(addr, 1).is_some();
        let is_in = |range| matches!(range, Range::Memory { first, last } if first <= at && at <= last);
        is_video || self.machine.ranges().any(is_in)
    }

    /// Reads memory, as the CPU does. Where nobody is, there are zeros, as in QEMU; real buses have ones there.
    pub(crate) fn read(&mut self, addr: u64, data: &mut [u8]) {
        let (mut at, mut rest) = (addr, data);
        while !rest.is_empty() {
            let len = match self.world.ram.read(at, rest) {
                Piece::Done(len) => len,
                Piece::Bus(room) => {
                    let (width, len) = bus_access(at, room);
                    if self.claims(at) {
                        self.machine.mmio_read(&mut self.world, GuestAddr(at), width, &mut rest[..len]);
                        self.settle();
                    } else {
                        rest[..len].fill(0);
                    }
                    len
                }
            };
            (at, rest) = (at.wrapping_add(as_u64(len)), &mut rest[len..]);
        }
    }

    /// Writes memory, as the CPU does.
    pub(crate) fn write(&mut self, addr: u64, data: &[u8]) {
        let (mut at, mut rest) = (addr, data);
        while !rest.is_empty() {
            let len = match self.world.ram.write(at, rest) {
                Piece::Done(len) => len,
                Piece::Bus(room) => {
                    let (width, len) = bus_access(at, room);
                    self.machine.mmio_write(&mut self.world, GuestAddr(at), width, &rest[..len]);
                    self.settle();
                    len
                }
            };
            (at, rest) = (at.wrapping_add(as_u64(len)), &rest[len..]);
        }
    }

    /// When something happens by itself; `None` is never.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let board = self.guest.as_ref().and_then(|guest| guest.board.deadline()).map(Instant);
        [self.machine.next_deadline(), self.rtc.deadline(self.world.now), board].into_iter().flatten().min()
    }

    /// Whether address line 20 is let through.
    pub(crate) fn has_a20(&mut self) -> bool {
        self.machine.port_read(&mut self.world, IoPort(0x92), Width::Byte) & 2 != 0
    }

    /// Plugs in what these options of `-device` describe.
    pub(crate) fn plug(&mut self, mut options: Options) -> Result<()> {
        let port = match options.get("port").map(str::to_owned) {
            Some(port) => Some(port.parse().ok().with_context(|| format!("there is no port {port}"))?),
            None => None,
        };
        let driver = options.get("driver").unwrap_or_default().to_owned();
        ensure!(driver.starts_with("usb-"), "Device '{driver}' cannot be plugged in: only USB devices can");
        options.ignore(&["port"]);
        match devices::parse(options)? {
            Device::Usb(name, device) => {
                let place = self.usb_place(port)?;
                ensure!(self.machine.usb_plug(&mut self.world, place, Some(device)), "there is no USB controller");
                self.usb[place] = Some(UsbPlug { name, disk: None });
            }
            Device::UsbDisk(disk) => self.usb_plug_disk(&disk, port)?,
            _ => bail!("Device '{driver}' cannot be plugged in: only USB devices can"),
        }
        self.settle();
        Ok(())
    }

    /// The place of a USB port, 1 is the first, or of a free one.
    fn usb_place(&self, port: Option<usize>) -> Result<usize> {
        let free = || (0..USB_PORTS).find(|port| self.usb[*port].is_none());
        let place = port.map_or_else(free, |port| port.checked_sub(1));
        place.filter(|place| self.usb.get(*place).is_some_and(Option::is_none)).context("no USB port is free")
    }

    fn usb_plug_disk(&mut self, plan: &UsbDisk, port: Option<usize>) -> Result<()> {
        let place = self.usb_place(port)?;
        let name = &plan.drive;
        let medium = self.media.take(name).with_context(|| format!("there is no free drive '{name}'"))?;
        let medium = medium.with_context(|| format!("there is nothing in drive '{name}'"))?;
        match self.usb_insert(plan, &medium, place) {
            Ok(id) => {
                self.usb[place] = Some(UsbPlug { name: plan.id.clone(), disk: Some((id, medium)) });
                Ok(())
            }
            Err(error) => {
                self.media.give_back(medium);
                Err(error)
            }
        }
    }

    fn usb_insert(&mut self, plan: &UsbDisk, medium: &Medium, place: usize) -> Result<DiskId> {
        let disk = Disk::open(medium)?;
        let (sectors, read_only) = (disk.sectors, disk.read_only);
        let id = self.world.disks.add(disk)?;
        // A number of at least twelve hexadecimal digits, as the specification wants.
        let serial = if plan.serial.is_empty() { format!("4D{:010}", id.0) } else { plan.serial.clone() };
        let serial = heapless::String::try_from(serial.as_str()).ok();
        let config = DiskConfig {
            id,
            sectors,
            read_only,
            discard: false,
            serial: serial.context("a serial number has at most 20 letters")?,
            model: heapless::String::try_from("QEMU HARDDISK").unwrap_or_default(),
            firmware: heapless::String::try_from("2.5+").unwrap_or_default(),
        };
        if !self.machine.usb_plug_disk(&mut self.world, place, &config) {
            self.world.disks.remove(id);
            bail!("there is no USB controller");
        }
        Ok(id)
    }

    /// Takes out the USB device of this name.
    pub(crate) fn unplug(&mut self, name: &str) -> bool {
        let is_it = |plug: &Option<UsbPlug>| plug.as_ref().is_some_and(|plug| plug.name == name && !name.is_empty());
        let place = self.usb.iter().position(is_it);
        let Some(place) = place.filter(|place| self.machine.usb_plug(&mut self.world, *place, None)) else {
            return false;
        };
        if let Some((id, medium)) = self.usb[place].take().and_then(|plug| plug.disk) {
            self.world.disks.remove(id);
            self.media.give_back(medium);
        }
        self.settle();
        true
    }

    /// Does what an operator wants of a CD drive. `None`: there is none of this name.
    pub(crate) fn change_disc(&mut self, name: &str, wish: Wish<'_>) -> Option<Result<()>> {
        let Self { machine, world, media, trays, .. } = self;
        let result = trays.has(name).then(|| trays.perform(machine, world, media, name, wish));
        self.settle();
        result
    }

    /// The trays that have moved since somebody asked.
    pub(crate) fn take_tray_moves(&mut self) -> Vec<Moved> {
        self.trays.take_moves(&self.machine)
    }

    /// The media that are in no drive.
    pub(crate) fn media(&mut self) -> &mut Media {
        &mut self.media
    }

    /// Lets time pass, never backwards. Whatever is due happens in its time.
    pub(crate) fn advance_to(&mut self, target: Instant) {
        while let Some(deadline) = self.deadline().filter(|at| *at <= target) {
            let before = self.world.now;
            self.world.now = before.max(deadline);
            self.settle();
            if self.world.now == before && self.deadline().is_some_and(|at| at <= before) {
                // It is due again and again, without end.
                break;
            }
        }
        self.world.now = self.world.now.max(target);
        self.settle();
    }

    /// Bytes came for a serial port.
    pub(crate) fn serial_receive(&mut self, port: usize, bytes: &[u8]) {
        if let Some(waiting) = self.serial_input.get_mut(port) {
            waiting.extend(bytes);
        }
        self.settle();
    }

    /// What a client does to the requests of a disk, by the words behind its name: `break EVENT TAG` or `resume TAG`. `None`:
    /// there is no such disk, or these are not the words.
    pub(crate) fn disk_words(&mut self, node: &str, words: &[&str]) -> Option<()> {
        let disks = &mut self.world.disks;
        match words {
            ["break", event, tag] => disks.faults(node)?.add_break(event, tag),
            ["resume", tag] => {
                disks.faults(node)?;
                disks.resume(tag);
            }
            _ => return None,
        }
        self.settle();
        Some(())
    }

    /// Does what real time was needed for.
    pub(crate) fn catch_up(&mut self) {
        self.settle();
    }

    /// The machine goes on: what has failed is tried again.
    pub(crate) fn go_on(&mut self) {
        self.world.disks.go_on();
        self.settle();
    }

    /// A person did something.
    pub(crate) fn input(&mut self, event: InputEvent) {
        self.machine.input(&mut self.world, event);
        self.settle();
    }

    /// Bytes came from a network.
    pub(crate) fn network_receive(&mut self, network: usize, bytes: &[u8]) {
        if let Some(nic) = self.world.nics.get_mut(network) {
            nic.receive(bytes);
        }
        self.settle();
    }

    /// What the guest wants, once.
    pub(crate) fn take_shutdown(&mut self) -> Option<ShutdownReason> {
        self.world.shutdown.take()
    }

    /// Brings everything to its end that needs no time.
    pub(crate) fn settle(&mut self) {
        let Self { machine, world, rtc, serial_input, guest, .. } = self;
        rtc.advance(world.now);
        world.irqs.set_isa(8, rtc.interrupt());
        for _ in 0..POLLS_MAX {
            while let Some((disk, result)) = world.disks.finish() {
                machine.disk_complete(world, disk, result);
            }
            for nic in nics::take_news(&mut world.nics) {
                machine.nic_ready(world, nic);
            }
            if machine.next_deadline().is_none_or(|at| at > world.now) {
                break;
            }
            machine.poll(world);
        }
        for (port, waiting) in (0..).map(SerialId).zip(serial_input) {
            while !waiting.is_empty() && machine.serial_room(port) > 0 {
                let count = waiting.len().min(machine.serial_room(port));
                let bytes: Vec<u8> = waiting.drain(..count).collect();
                machine.serial_receive(world, port, &bytes);
            }
        }
        if let Some(guest) = guest {
            let (levels, rose) = world.irqs.take_lines();
            guest.board.set_lines(levels, rose);
            guest.board.advance(world.now.0);
        }
    }

    /// Tells memory what the host bridge's PAM registers hold.
    fn update_pam(&mut self) {
        let mut pam = [0; 7];
        for (register, offset) in pam.iter_mut().zip(0x59..) {
            *register = self.machine.config_read(&mut self.world, 0, 0, 0, offset, Width::Byte).to_le_bytes()[0];
        }
        self.world.ram.set_pam(pam);
        if let Some(guest) = &mut self.guest {
            let mut read = |function, offset, width| {
                let slot = if function == 0 { 0 } else { 1 };
                self.machine.config_read(&mut self.world, 0, slot, function, offset, width)
            };
            let [base, misc, activity] = [0x40, 0x80, 0x58].map(|offset| read(3, offset, Width::Dword));
            let smram = read(0, 0x72, Width::Byte);
            guest.board.configure(base, misc, activity, smram);
            let shown = guest.board.shows_smram();
            self.world.ram.show_smram(shown);
        }
    }
}

/// How the CPU cuts what is for the bus: accesses of up to four bytes, each at a multiple of its width; eight bytes are
/// one access if they are all there is.
fn bus_access(addr: u64, len: usize) -> (Width, usize) {
    if len == 8 && addr.is_multiple_of(8) {
        return (Width::Qword, 8);
    }
    let fits = |width: usize| len >= width && addr.is_multiple_of(as_u64(width));
    match () {
        // Several elements of the same width go together.
        () if fits(4) => (Width::Dword, len & !3),
        () if fits(2) => (Width::Word, 2),
        () => (Width::Byte, 1),
    }
}

/// A card's side of a network.
fn nic(network: &Network) -> Nic {
    let station = match network {
        Network::User(plan) => Some(UserNetwork::new(plan)),
        Network::Nobody | Network::Stream(_) => None,
    };
    Nic::with(station)
}

/// A file that may not be there.
fn installed(path: &str) -> Vec<u8> {
    fs::read(Path::new(path)).unwrap_or_default()
}

fn drive_config(drive: &Drive, number: usize, disks: &mut Disks, trays: &mut Trays) -> Result<DriveConfig> {
    let disk = Disk::open(drive.medium.as_ref().unwrap_or(&NOTHING))?;
    let (sectors, read_only) = (disk.sectors, disk.read_only);
    let id = disks.add(disk)?;
    // QEMU's own names of drives that nobody named.
    let serial = if drive.serial.is_empty() { format!("QM{:05}", number + 1) } else { drive.serial.clone() };
    let default = if drive.cd { "QEMU DVD-ROM" } else { "QEMU HARDDISK" };
    let model = if drive.model.is_empty() { default } else { &drive.model };
    let firmware = if drive.firmware.is_empty() { "2.5+" } else { &drive.firmware };
    let firmware = heapless::String::try_from(firmware).ok().context("a revision has at most 8 letters")?;
    let serial = heapless::String::try_from(serial.as_str()).ok().context("a serial number has at most 20 letters")?;
    let model = heapless::String::try_from(model).ok().context("a model has at most 40 letters")?;
    Ok(match &drive.medium {
        Some(_) if !drive.cd => {
            DriveConfig::Disk(DiskConfig { id, sectors, read_only, discard: true, serial, model, firmware })
        }
        medium => {
            trays.add(drive, id);
            DriveConfig::Cd(CdConfig { id, disc: medium.as_ref().map(|_| sectors), serial, model })
        }
    })
}

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
