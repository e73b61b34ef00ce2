//! From the first instruction to `running`: protocol.md, "Start-up".
//!
//! Everything that needs an answer from somebody is asked for at once and waited for later: the values of the store in one
//! burst, the handshakes of all frontends side by side.

use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use devmodel::ahci::{self, Ahci};
use devmodel::card::Card;
use devmodel::e1000::E1000;
use devmodel::fw_cfg::linux::LinuxBoot;
use devmodel::host::{DiskId, NicId};
use devmodel::machine::{CdConfig, DRIVES, DiskConfig, DriveConfig, Machine, MachineConfig, VgaConfig, VgaModel};
use devmodel::pci::Location;
use devmodel::rtl8139::Rtl8139;
use devmodel::usb::{Uhci, UsbDevice};
use log::{info, warn};
use minios::DomId;
use minios::exec::{self, Either, Spawner};
use minios::front::XenDomain as Domain;
use minios::front::block::{self, Block};
use minios::front::console::Console;
use minios::front::framebuffer::Framebuffer;
use minios::front::keyboard::Keyboard;
use minios::front::net::{self, Net};
use minios::heap;
use minios::hypercall::{dm, memory};
use minios::ioreq::IoreqServer;
use minios::xenbus::{Session, Status};
use minios::xenstore::Xenstore;
use stubdom::config::{
    CommandLine, Config, Contract, DriveBus, DrivePlan, KernelPlan, MachinePlan, Media, NicModel, Vbd, VideoModel,
};

use super::disks::{Disks, buffer_len};
use super::display::Display;
use super::firmware;
use super::guest_memory::GuestMemoryCache;
use super::host::{Serial, World};
use super::nics::{NIC_BYTES, Nics};
use super::orphans;
use super::own_screen::{self, OwnScreen};
use super::phase::Phases;
use super::traditional::ClockOffset;
use super::video_memory::VideoRam;

/// How long a backend may take for each step. libxl destroys us after 30 s; the reason has to be written before.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest picture: 1920 × 1200.
const MAX_PIXELS: usize = 1920 * 1200;
/// How long a screen gets to come up once everything else is.
const SCREEN_GRACE_NS: u64 = 500_000_000;
/// `XenbusStateInitialising`, as the store has it.
const INITIALISING: &str = "1";
/// The picture before the guest has set a mode.
const FIRST_WIDTH: u32 = 640;
/// The picture before the guest has set a mode.
const FIRST_HEIGHT: u32 = 480;

/// Why the device model cannot start: one line that names what is wrong.
pub(super) struct Failure(pub(super) String);

impl Failure {
    pub(super) fn of(what: impl core::fmt::Display) -> Self {
        Self(what.to_string())
    }
}

impl<E: core::fmt::Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::of(error)
    }
}

/// A device model that is ready to run.
pub(super) struct Running {
    /// The PC.
    pub(super) machine: Box<Machine>,
    /// What is around it.
    pub(super) world: World,
    /// The picture, if the toolstack gave us one.
    pub(super) display: Option<Display>,
    /// The keyboard and pointer, if the toolstack gave us one.
    pub(super) keyboard: Option<Keyboard<Domain>>,
    /// Our own VNC server, if it was asked for.
    pub(super) vnc: Option<OwnScreen>,
}

/// Who we are and whom we serve.
#[derive(Clone, Copy)]
pub(super) struct Identity {
    /// Our own domain.
    pub(super) own: DomId,
    /// The guest.
    pub(super) guest: DomId,
}

impl Identity {
    /// Reads both from the store.
    pub(super) async fn read(store: &Xenstore) -> Result<Self, Failure> {
        let own = store.read_number::<u16>("domid");
        let guest = store.read_number_optional::<u16>("target");
        let own = own.await?;
        let Some(guest) = guest.await? else {
            return Err(Failure::of(
                "target: this domain has no target, so it is nobody's stub domain (device_model_stubdomain_override=1 in the guest's xl.cfg makes it one)",
            ));
        };
        Ok(Self { own: DomId(own), guest: DomId(guest) })
    }

    /// The directory in which the toolstack waits for us.
    pub(super) fn directory(self) -> String {
        format!("/local/domain/{}/device-model/{}", self.own.0, self.guest.0)
    }
}

/// Builds the machine and connects it with everything around it. The guest can run when this is done, and the toolstack
/// speaks by the contract that is given back.
pub(super) async fn start(
    store: &Xenstore,
    spawner: &Spawner,
    platform: &Rc<Domain>,
    identity: Identity,
    line: &CommandLine,
    phases: &mut Phases,
) -> Result<(Running, Contract), Failure> {
    let Wanted { contract, plan, vm } = read_wanted(store, identity).await?;
    describe(&plan);
    let vnc = own_screen::plan(&plan, line)?;
    phases.done("configuration");

    let orphans = spawner.spawn(orphans::take_away(store.clone(), identity.guest));
    let Peers { blocks, nics, consoles, framebuffer, keyboard } =
        connect(store, spawner, platform, &plan, vnc.is_some()).await?;
    let server = match vnc {
        Some(vnc) => Some(own_screen::open(store, spawner, platform, &plan, line, &vnc, &vm, &nics).await?),
        None => None,
    };
    orphans.await;
    phases.done("backends");

    let clock_offset = match contract {
        Contract::QemuXen => None,
        Contract::Traditional => Some(ClockOffset::open(store, spawner, &vm).await?),
    };
    let guest = identity.guest;
    let vcpus = dm::vcpus(guest).map_err(|error| privilege("dm_op", error))?;
    let ioreq = IoreqServer::create(guest, vcpus as usize)?;
    phases.done("ioreq server");

    let ram_bytes = match plan.memory_mib {
        Some(mib) => mib << 20,
        None => (memory::current_reservation(guest).map_err(|error| privilege("memory", error))? as u64) << 12,
    };
    let video = match &plan.video {
        Some(video) => Some(VideoRam::open(guest, video.memory_mib << 20)?),
        None => None,
    };
    let Drives { ide, ahci } = drives(&plan, &blocks)?;
    let mut machine_config = machine_config(&plan, ide, ram_bytes, uuid(&vm));
    machine_config.linux = plan.kernel.as_ref().map(linux).transpose()?;
    let mut machine: Box<Machine> = Box::new(Machine::new(machine_config)?);
    if let Some(devices) = &plan.usb {
        machine.add_card(Some(UHCI), Box::new(Uhci::new(devices.clone())))?;
    }
    for card in cards(&plan) {
        machine.add_card(None, card)?;
    }
    for drives in ahci {
        machine.add_card(None, Box::new(Ahci::new(drives)))?;
    }
    let mut world = World {
        guest,
        vcpus,
        ioreq,
        memory: GuestMemoryCache::new(guest),
        video,
        disks: Disks::new(blocks),
        discs: discs(&plan),
        station: server.as_ref().and_then(|(_, station)| *station),
        nics: Nics::new(nics),
        serials: consoles.into_iter().map(|console| Serial { console, blocked: false, input: true }).collect(),
        clock_offset,
        stopped: false,
        failed_claim: None,
    };
    machine.reset(&mut world);
    if let Some(what) = world.failed_claim.take() {
        return Err(Failure(what));
    }
    phases.done("machine");

    let has_backend = framebuffer.is_some();
    let framebuffer = match framebuffer {
        // Nobody else shows it.
        None if server.is_some() => Some(picture(platform, store, "")?),
        framebuffer => framebuffer,
    };
    let vnc = server.map(|(vnc, _)| vnc);
    let display = framebuffer.map(|front| Display::new(front, has_backend, vnc.is_some()));
    Ok((Running { machine, world, display, keyboard, vnc }, contract))
}

/// A hypercall about the guest was refused.
fn privilege(what: &str, error: minios::hypercall::XenError) -> Failure {
    Failure(format!("{what}: Xen refuses to let us serve the guest: {error}"))
}

/// What the toolstack asks for.
struct Wanted {
    contract: Contract,
    plan: MachinePlan,
    /// The guest's directory, `/vm/<uuid>`.
    vm: String,
}

/// Reads what the toolstack asks for, by whichever of its two contracts.
async fn read_wanted(store: &Xenstore, identity: Identity) -> Result<Wanted, Failure> {
    let vm = store.read(&format!("/local/domain/{}/vm", identity.guest.0)).await?;
    let target = store.read("target");
    let dmargs = store.read_optional(&format!("{vm}/image/dmargs"));
    let argv_path = format!("{vm}/image/dm-argv");
    let argv_names = directory_optional(store, &argv_path);
    let vbd_names = directory_optional(store, "device/vbd");

    let argv = match argv_names.await? {
        Some(names) => {
            let values: Vec<_> = names.iter().map(|name| store.read(&format!("{argv_path}/{name}"))).collect();
            let mut argv = Vec::with_capacity(names.len());
            for (name, value) in names.into_iter().zip(values) {
                argv.push((name, value.await?));
            }
            Some(argv)
        }
        None => None,
    };
    let config = Config::from_store(argv.as_deref(), dmargs.await?.as_deref())?;
    config.check_target(&target.await?)?;
    let vbds = read_vbds(store, vbd_names.await?.unwrap_or_default()).await?;
    Ok(Wanted { contract: config.contract, plan: config.plan(&vbds)?, vm })
}

/// The guest's UUID: the name of its directory below `/vm`. All zero where that is something else.
fn uuid(vm: &str) -> [u8; 16] {
    let mut digits = vm.rsplit('/').next().unwrap_or("").chars().filter_map(|digit| digit.to_digit(16));
    let mut uuid = [0; 16];
    for byte in &mut uuid {
        let (Some(high), Some(low)) = (digits.next(), digits.next()) else { return [0; 16] };
        *byte = u8::try_from(high << 4 | low).unwrap_or(0);
    }
    uuid
}

async fn directory_optional(store: &Xenstore, path: &str) -> Result<Option<Vec<String>>, Failure> {
    match store.directory(path).await {
        Ok(names) => Ok(Some(names)),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn read_vbds(store: &Xenstore, names: Vec<String>) -> Result<Vec<Vbd>, Failure> {
    let asked: Vec<_> = names
        .into_iter()
        .map(|name| {
            let path = format!("device/vbd/{name}");
            let number = store.read_optional(&format!("{path}/virtual-device"));
            let kind = store.read_optional(&format!("{path}/device-type"));
            let backend = store.read(&format!("{path}/backend"));
            (name, number, kind, backend)
        })
        .collect();
    let mut vbds = Vec::with_capacity(asked.len());
    for (name, number, kind, backend) in asked {
        let mode = store.read_optional(&format!("{}/mode", backend.await?)).await?;
        let (number, kind) = (number.await?, kind.await?);
        vbds.push(Vbd::from_store(
            &name,
            number.as_deref().unwrap_or(""),
            kind.as_deref().unwrap_or(""),
            mode.as_deref().unwrap_or(""),
        )?);
    }
    Ok(vbds)
}

fn describe(plan: &MachinePlan) {
    let cds = plan.drives.iter().filter(|drive| drive.media == Media::Cdrom).count();
    info!(
        "guest {} ({}): {} of {} vCPUs, {} disks,{}{} {} serial ports, {}",
        plan.guest,
        plan.name.as_deref().unwrap_or("no name"),
        plan.vcpus.online,
        plan.vcpus.max,
        plan.drives.len() - cds,
        if cds > 0 { format!(" {cds} CD drives,") } else { String::new() },
        if plan.nics.is_empty() { String::new() } else { format!(" {} network cards,", plan.nics.len()) },
        plan.serials.len(),
        match &plan.video {
            Some(video) => {
                let card = if video.model == VideoModel::Cirrus { "Cirrus" } else { "standard VGA" };
                format!("{card} with {} MiB", video.memory_mib)
            }
            None => "no screen".to_string(),
        },
    );
}

/// The frontends of everything that the machine needs, connected.
struct Peers {
    blocks: Vec<Block<Domain>>,
    nics: Vec<Net<Domain>>,
    consoles: Vec<Console<Domain>>,
    framebuffer: Option<Framebuffer<Domain>>,
    keyboard: Option<Keyboard<Domain>>,
}

/// Connects every frontend that the machine needs, all at the same time.
async fn connect(
    store: &Xenstore,
    spawner: &Spawner,
    platform: &Rc<Domain>,
    plan: &MachinePlan,
    has_server: bool,
) -> Result<Peers, Failure> {
    let framebuffers = minios::xenbus::devices(store, "vfb");
    let keyboards = minios::xenbus::devices(store, "vkbd");
    let framebuffers = framebuffers.await?;
    let disks = plan.drives.len();
    check_memory(disks, plan.nics.len(), has_server || !framebuffers.is_empty())?;
    let mut sessions: Vec<(String, Session)> = Vec::new();

    let mut blocks = Vec::new();
    for drive in &plan.drives {
        let path = format!("device/vbd/{}", drive.vbd);
        // Nobody waits for what is to be in an empty drive.
        let patience = (!drive.empty).then_some(PATIENCE);
        let options = block::Options { buffer_len: buffer_len(disks), transfers: 1, patience };
        let front = Block::new(platform.clone(), store, &path, options)?;
        spawner.spawn(front.clone().run());
        if !drive.empty {
            sessions.push((path, front.session().clone()));
        }
        blocks.push(front);
    }
    let mut nics = Vec::new();
    for nic in &plan.nics {
        let path = format!("device/vif/{}", nic.vif);
        let options = net::Options { patience: PATIENCE, ..Default::default() };
        let front = Net::new(platform.clone(), store, &path, options)?;
        spawner.spawn(front.clone().run());
        sessions.push((path, front.session().clone()));
        nics.push(front);
    }
    let mut consoles = Vec::new();
    for serial in &plan.serials {
        let path = format!("device/console/{}", serial.console);
        let front = Console::new(platform.clone(), store, &path, PATIENCE);
        spawner.spawn(front.clone().run());
        sessions.push((path, front.session().clone()));
        consoles.push(front);
    }
    // Only a tablet makes use of places; the others know of movements.
    let absolute = plan.usb.iter().flatten().any(|device| *device == UsbDevice::Tablet);
    let keyboard = match keyboards.await?.first() {
        Some(path) => Some((path.clone(), Keyboard::new(platform.clone(), store, path, absolute, PATIENCE)?)),
        None => None,
    };
    let framebuffer = match framebuffers.first() {
        Some(path) => Some((path.clone(), picture(platform, store, path)?)),
        None => None,
    };
    if let Some((path, front)) = &keyboard {
        spawner.spawn(front.clone().run());
        sessions.push((path.clone(), front.session().clone()));
    }
    if let Some((_, front)) = &framebuffer {
        spawner.spawn(front.clone().run());
    }
    for (path, session) in sessions {
        ready(&path, &session).await?;
    }
    let framebuffer = match framebuffer {
        Some((path, front)) => screen(store, &path, front, keyboard.is_some()).await?,
        None => None,
    };
    Ok(Peers { blocks, nics, consoles, framebuffer, keyboard: keyboard.map(|(_, front)| front) })
}

/// A picture, for a backend that shows what is at `path`.
fn picture(platform: &Rc<Domain>, store: &Xenstore, path: &str) -> Result<Framebuffer<Domain>, Failure> {
    let size = (FIRST_WIDTH, FIRST_HEIGHT);
    Ok(Framebuffer::new(platform.clone(), store, path, size, MAX_PIXELS, PATIENCE)?)
}

/// Where the USB controller is: in the south bridge, as in QEMU's `-usb`.
const UHCI: Location = Location { slot: 1, function: 2 };

/// What the machine needs beside pictures and transfers: rings, tables, firmware, and the store's answers.
const OTHER_BYTES: usize = 1 << 20;

/// Whether there is memory for everything, before any of it is taken.
fn check_memory(disks: usize, nics: usize, has_screen: bool) -> Result<(), Failure> {
    let picture = if has_screen { MAX_PIXELS * size_of::<u32>() } else { 0 };
    let needed = disks * buffer_len(disks) + nics * NIC_BYTES + picture + OTHER_BYTES;
    let free = heap::free_bytes();
    if free >= needed {
        return Ok(());
    }
    Err(Failure(format!(
        "too little memory: {} KiB are free, and this machine needs {}: raise stubdomain_memory in xl.cfg",
        free >> 10,
        needed >> 10
    )))
}

/// Waits until a device is up.
pub(super) async fn ready(path: &str, session: &Session) -> Result<(), Failure> {
    session.ready().await.map_err(|status| match status {
        Status::Failed(error) => Failure::of(error),
        _ => Failure(format!("{path}: the toolstack took it away")),
    })
}

/// Waits until the screen is up. `None`: nobody is going to show it.
///
/// QEMU from 9.1 on serves framebuffers only when it is asked to, while the toolstack offers one all the same. It takes up
/// all kinds of devices in one go, so where the keyboard is connected and the framebuffer's backend has not begun yet,
/// it never will.
async fn screen(
    store: &Xenstore,
    path: &str,
    front: Framebuffer<Domain>,
    keyboard_is_up: bool,
) -> Result<Option<Framebuffer<Domain>>, Failure> {
    let up = exec::first_of(ready(path, front.session()), exec::sleep(SCREEN_GRACE_NS)).await;
    match up {
        Either::First(up) => up?,
        Either::Second(()) => {
            let backend = store.read(&format!("{path}/backend")).await?;
            let state = store.read(&format!("{backend}/state")).await?;
            if keyboard_is_up && state == INITIALISING {
                warn!(
                    "no screen: the QEMU in the backend's domain serves no PV framebuffer; \
                     device_model_args_pv = [ \"-vga\", \"xenfb\" ] in xl.cfg makes a newer one do it"
                );
                return Ok(None);
            }
            ready(path, front.session()).await?;
        }
    }
    Ok(Some(front))
}

/// The CD drives: the virtual block device of each, and what the machine calls it.
fn discs(plan: &MachinePlan) -> Vec<(u32, DiskId)> {
    let drives = plan.drives.iter().zip((0..).map(DiskId));
    drives.filter(|(drive, _)| drive.media == Media::Cdrom).map(|(drive, id)| (drive.vbd, id)).collect()
}

/// The drives of each controller, by slot.
#[derive(Default)]
struct Drives {
    ide: [Option<DriveConfig>; DRIVES],
    /// Those of each AHCI controller, by port.
    ahci: Vec<[Option<DriveConfig>; ahci::PORTS]>,
}

/// The drives that were planned, on disks as their backends describe them.
fn drives(plan: &MachinePlan, blocks: &[Block<Domain>]) -> Result<Drives, Failure> {
    let mut drives = Drives { ahci: vec![Default::default(); plan.ahci], ..Default::default() };
    // The frontends are in the same order.
    for (drive, (block, id)) in plan.drives.iter().zip(blocks.iter().zip((0..).map(DiskId))) {
        let slot = usize::from(drive.slot);
        let place = match drive.bus {
            DriveBus::Ide => drives.ide.get_mut(slot),
            DriveBus::Ahci => {
                let ports = drives.ahci.get_mut(slot / ahci::PORTS);
                ports.and_then(|ports| ports.get_mut(slot % ahci::PORTS))
            }
        };
        if let Some(place) = place {
            *place = Some(drive_config(drive, block, id)?);
        }
    }
    Ok(drives)
}

/// The machine that was planned.
fn machine_config(
    plan: &MachinePlan,
    drives: [Option<DriveConfig>; DRIVES],
    ram_bytes: u64,
    uuid: [u8; 16],
) -> MachineConfig {
    MachineConfig {
        drives,
        serial_ports: u8::try_from(plan.serials.len()).unwrap_or(u8::MAX),
        vga: plan.video.as_ref().map(|video| {
            let (model, rom) = match video.model {
                VideoModel::Std => (VgaModel::Std, firmware::VGA_STD),
                VideoModel::Cirrus => (VgaModel::Cirrus, firmware::VGA_CIRRUS),
            };
            VgaConfig { model, memory_bytes: video.memory_mib << 20, rom: rom.to_vec() }
        }),
        boot_order: plan.boot.clone(),
        ram_bytes,
        vcpus: plan.vcpus.online,
        xen_platform: plan.xen_platform,
        acpi: plan.acpi,
        uuid,
        firmware_log: log::log_enabled!(log::Level::Debug),
        linux: None,
    }
}

/// A kernel and its ramdisk, out of our own ramdisk.
fn linux(plan: &KernelPlan) -> Result<LinuxBoot, Failure> {
    Ok(LinuxBoot {
        kernel: firmware::file(&plan.kernel)?,
        initrd: plan.initrd.as_deref().map_or(Ok(&[][..]), firmware::file)?,
        command_line: plan.command_line.clone(),
        rom: firmware::file("linuxboot_dma.bin")?.to_vec(),
    })
}

/// The cards that are plugged in behind the graphics card, in the order of their slots. The index of a network card's
/// frontend is its [`NicId`].
fn cards(plan: &MachinePlan) -> Vec<Box<dyn Card>> {
    let nics = plan.nics.iter().zip((0..).map(NicId)).map(|(nic, id)| -> Box<dyn Card> {
        match nic.model {
            NicModel::E1000 => Box::new(E1000::new(id, nic.mac, firmware::rom("pxe-e1000.rom"))),
            NicModel::Rtl8139 => Box::new(Rtl8139::new(id, nic.mac, firmware::rom("pxe-rtl8139.rom"))),
        }
    });
    nics.collect()
}

/// The revision that QEMU's disks report.
const QEMU_FIRMWARE: &str = "2.5+";

/// A drive, on the frontend that it has.
fn drive_config(drive: &DrivePlan, block: &Block<Domain>, id: DiskId) -> Result<DriveConfig, Failure> {
    // QEMU numbers and names its drives the same way.
    let mut serial = heapless::String::new();
    let mut model = heapless::String::new();
    let _ = core::fmt::write(&mut serial, format_args!("QM{:05}", drive.slot + 1));
    let kind = if drive.media == Media::Cdrom { "DVD-ROM" } else { "HARDDISK" };
    let _ = core::fmt::write(&mut model, format_args!("QEMU {kind}"));
    let info = block.info();
    match drive.media {
        Media::Cdrom => {
            let disc = (!drive.empty).then_some(info.sectors);
            Ok(DriveConfig::Cd(CdConfig { id, disc, serial, model }))
        }
        Media::Disk => {
            if info.sector_size != 512 {
                return Err(Failure(format!(
                    "{}: the backend's sectors have {} bytes; an emulated disk needs 512",
                    block.path(),
                    info.sector_size
                )));
            }
            let read_only = drive.read_only || info.read_only;
            let firmware = heapless::String::try_from(QEMU_FIRMWARE).unwrap_or_default();
            Ok(DriveConfig::Disk(DiskConfig {
                id,
                sectors: info.sectors,
                read_only,
                discard: info.features.discard.is_some(),
                serial,
                model,
                firmware,
            }))
        }
    }
}
