//! `cargo xtask run`: an HVM guest on our device model, or the demo, to look at and to talk to.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tests::domain::{
    Config, DEMO, DEMO_HTTP, DeviceModel, Guest, IOEMU, OWN_ADDRESS, OWN_PASSWORD, OWN_WEBSOCKET, RAMDISK, Serial,
    demo_config,
};
use tests::novnc_page;
use tests::testbed::{Agent, Clock, Disk, Format, Options, Testbed, Writes};

use crate::config_file::{self, ConfigFile};
use crate::image::{self, Xen};
use crate::progress::Step;
use crate::{build, emulator, guest, hypervisor, packages, paths};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The release of Xen.
    #[arg(long, default_value = "4.17")]
    xen: Xen,
    /// An own xl.cfg, with the disk images that it names, instead of the default guest.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The paravirtualised unikernel, without a guest.
    #[arg(long, conflicts_with_all = ["config", "dm"])]
    demo: bool,
    /// What runs below: our own core for the demo, a real Xen for guests, which the core has none of.
    #[arg(long, value_enum)]
    hypervisor: Option<Hypervisor>,
    /// Save what the guest shows once that stands still, then power off.
    #[arg(long, value_name = "FILE.png")]
    screenshot: Option<PathBuf>,
    /// Serve a page, noVNC, that shows the screen in a browser.
    #[arg(long)]
    browser: bool,
    /// What emulates the guest's PC.
    #[arg(long, value_enum, default_value_t = Dm::Stubdom)]
    dm: Dm,
    /// Memory of the whole testbed in MiB, of which dom0 has 1024.
    #[arg(long, default_value_t = 3072)]
    memory: u32,
}

/// A hypervisor.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Hypervisor {
    /// Ours: paravirtualised domains, in a second, as an ordinary user.
    Core,
    /// Xen, with a dom0 of Debian's.
    Xen,
}

/// What emulates the guest's PC.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Dm {
    /// Our stub domain.
    Stubdom,
    /// The QEMU of dom0, to compare with.
    Qemu,
}

impl From<Dm> for DeviceModel {
    fn from(dm: Dm) -> Self {
        match dm {
            Dm::Stubdom => Self::Stubdom,
            Dm::Qemu => Self::Qemu,
        }
    }
}

/// The VNC display in dom0.
const DISPLAY: u16 = 1;
/// What the default guest prints when its userland is up.
const READY: &str = "stubdom guest ready";
/// Bytes of the demo's disk.
const DEMO_DISK: u64 = hypervisor::demo::DISK;
/// When the demo's picture is taken, which never stands still.
const DEMO_PICTURE: Duration = Duration::from_secs(15);
/// How long the screen stands still before its picture is taken: after [`READY`], and of a guest that says no such thing.
const STILL: Duration = Duration::from_secs(10);
const STILL_UNKNOWN: Duration = Duration::from_secs(60);
/// When a picture is taken of a screen that never stands still.
const PICTURE_LIMIT: Duration = Duration::from_secs(600);
/// How long a guest may take to power off.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let interrupt = interrupts()?;
    match arguments.hypervisor {
        None | Some(Hypervisor::Core) if arguments.demo => {
            return hypervisor::demo::run(arguments.screenshot.as_deref(), arguments.browser, &interrupt);
        }
        Some(Hypervisor::Core) => bail!("the core runs paravirtualised domains alone: --demo is one"),
        _ => {}
    }
    let device_model = arguments.dm.into();
    if device_model == DeviceModel::Stubdom {
        build::all()?;
    }
    let file = match &arguments.config {
        Some(path) => config_file::read(path, device_model, DISPLAY)?,
        None if arguments.demo => demo()?,
        None => default_guest(device_model)?,
    };
    let logs = paths::logs("run");
    let options = Options {
        emulator: emulator::find()?,
        dom0: image::dom0(arguments.xen)?,
        disks: file.disks.clone(),
        clock: Clock::Wall,
        cpus: 2,
        memory: arguments.memory,
        logs: logs.clone(),
    };
    let step = Step::logged(format!("Booting Xen {} and its dom0", arguments.xen), &logs.join("testbed.log"));
    let testbed = Testbed::boot(&options)?;
    step.done();
    let outcome = with_guest(&testbed, &file, arguments, &interrupt, &logs);
    // What cannot be had is left out: the guest's end counts.
    if let Err(error) = testbed.agent().save_logs(&logs) {
        eprintln!("Some logs could not be fetched: {error:#}");
    }
    let step = Step::begin("Powering off");
    testbed.shutdown()?;
    step.done();
    outcome?;
    Ok(ExitCode::SUCCESS)
}

/// Ctrl-C and the signals that end a program arrive here. A second one ends at once.
fn interrupts() -> Result<Receiver<()>> {
    let (sender, receiver) = mpsc::channel();
    let mut count = 0;
    ctrlc::set_handler(move || {
        count += 1;
        if count > 1 {
            std::process::exit(130);
        }
        eprintln!("\nPowering off; once more to leave at once.");
        // Nobody listens any more when the end has begun.
        let _ = sender.send(());
    })
    .context("cannot take Ctrl-C")?;
    Ok(receiver)
}

fn default_guest(device_model: DeviceModel) -> Result<ConfigFile> {
    let disk =
        Disk { name: "guest".to_owned(), file: guest::media()?.disk, format: Format::Raw, writes: Writes::Forgotten };
    let mut config = Config::new("guest", device_model).disk("/dev/testbed/guest", "hda");
    config.display = DISPLAY;
    if device_model == DeviceModel::Stubdom {
        config = config.line("usb=1").line("usbdevice='tablet'").own_screen("bridge=xenbr0,model=e1000");
    }
    Ok(ConfigFile { name: config.name.clone(), text: config.text(), disks: vec![disk] })
}

/// The demo, with a disk that it keeps.
fn demo() -> Result<ConfigFile> {
    let file = paths::target().join("demo.disk");
    if !file.exists() {
        File::create(&file)?.set_len(DEMO_DISK)?;
    }
    let disk = Disk { name: "demo".to_owned(), file, format: Format::Raw, writes: Writes::Kept };
    Ok(ConfigFile { name: "demo".to_owned(), text: demo_config("/dev/testbed/demo", DISPLAY), disks: vec![disk] })
}

/// Puts our image where the configurations expect it.
pub(crate) fn install(agent: Agent) -> Result<()> {
    let images = build::images();
    for (file, place) in [(&images.ioemu, IOEMU), (&images.ramdisk, RAMDISK), (&images.demo, DEMO)] {
        agent.put(place, &std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?)?;
    }
    Ok(())
}

fn with_guest(
    testbed: &Testbed,
    file: &ConfigFile,
    arguments: &Arguments,
    interrupt: &Receiver<()>,
    logs: &Path,
) -> Result<()> {
    let agent = testbed.agent();
    if DeviceModel::from(arguments.dm) == DeviceModel::Stubdom {
        install(agent)?;
    }
    let step =
        Step::logged(format!("Creating the guest {}", file.name), &logs.join(format!("qemu-dm-{}.log", file.name)));
    let guest = Guest::create_from_text(agent, &file.name, DISPLAY, &file.text)?;
    let vnc = forward(testbed, &guest.vnc_address(), 5901)?;
    let serial = share(guest.serial().clone())?;
    guest.unpause()?;
    step.done();
    let password = if guest.shows_itself() { format!("   (password: {OWN_PASSWORD})") } else { String::new() };
    eprintln!("Screen:  vncviewer 127.0.0.1:{vnc}{password}");
    if arguments.demo {
        let page = forward(testbed, &format!("TCP:{OWN_ADDRESS}:{DEMO_HTTP}"), 8080)?;
        eprintln!("Page:    http://127.0.0.1:{page}/");
    }
    if arguments.browser {
        ensure!(
            guest.shows_itself(),
            "--browser is for the default guest and the demo, which have servers for browsers"
        );
        let websocket = forward(testbed, &format!("TCP:{OWN_ADDRESS}:{OWN_WEBSOCKET}"), OWN_WEBSOCKET)?;
        packages::ensure_installed(packages::BROWSER)?;
        eprintln!("Browser: {}", novnc_page::serve(websocket, OWN_PASSWORD)?);
    }
    let (label, console) = match arguments.demo {
        true => ("Shell:", "What the demo prints"),
        false => ("Serial:", "The guest's serial console"),
    };
    eprintln!("{label:<8} socat -,raw,echo=0 TCP:127.0.0.1:{serial}");
    eprintln!("Logs:    {}", logs.display());
    eprintln!("Ctrl-C powers off. {console}:");
    let printed = guest.serial().clone();
    thread::spawn(move || copy(&printed, &mut io::stdout()));
    if let Some(path) = &arguments.screenshot {
        if arguments.demo {
            if matches!(interrupt.recv_timeout(DEMO_PICTURE), Err(RecvTimeoutError::Timeout)) {
                guest.picture()?.save(path)?;
                eprintln!("\nThe picture of the screen is in {}", path.display());
            }
        } else {
            take_picture(&guest, path, interrupt, arguments.config.is_none())?;
        }
    } else {
        while matches!(interrupt.recv_timeout(Duration::from_secs(1)), Err(RecvTimeoutError::Timeout)) {
            if guest.state()?.is_none() {
                eprintln!("\nThe guest has powered off.");
                return Ok(());
            }
        }
    }
    if guest.state()?.is_some() {
        let step = Step::begin("Shutting the guest down");
        agent.exec(&format!("xl shutdown -F {}", guest.name()))?;
        if guest.wait_for_end(SHUTDOWN_LIMIT).is_err() {
            guest.destroy()?;
        }
        step.done();
    }
    Ok(())
}

/// A port of this machine for an address in dom0: the usual one unless somebody else has it.
fn forward(testbed: &Testbed, address: &str, usual: u16) -> Result<u16> {
    testbed.forward(address, usual).or_else(|_| testbed.forward(address, 0))
}

/// Lets any number of programs on this machine read and write the serial port.
fn share(serial: Serial) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(mut input) = client.try_clone() else { continue };
            let (to_guest, from_guest) = (serial.clone(), serial.clone());
            thread::spawn(move || {
                let mut buffer = [0; 256];
                while let Ok(length @ 1..) = input.read(&mut buffer) {
                    if to_guest.send(&buffer[..length]).is_err() {
                        return;
                    }
                }
            });
            let mut output = client;
            thread::spawn(move || copy(&from_guest, &mut output));
        }
    });
    Ok(port)
}

/// Writes what the guest prints, from its first byte on, until one of both ends.
fn copy(serial: &Serial, to: &mut impl Write) {
    let mut known = 0;
    loop {
        let (bytes, goes_on) = serial.wait_past(known, Duration::from_secs(60));
        known += bytes.len();
        if to.write_all(&bytes).and_then(|()| to.flush()).is_err() || (bytes.is_empty() && !goes_on) {
            return;
        }
    }
}

/// Waits until the screen shows something and stands still, and saves it.
fn take_picture(guest: &Guest, path: &Path, interrupt: &Receiver<()>, is_default: bool) -> Result<()> {
    let start = Instant::now();
    let mut viewer = guest.viewer()?;
    let mut last = viewer.picture()?.clone();
    let mut since = Instant::now();
    let mut printed = 0;
    while start.elapsed() < PICTURE_LIMIT {
        if interrupt.recv_timeout(Duration::from_secs(1)).is_ok() {
            return Ok(());
        }
        ensure!(guest.state()?.is_some(), "the guest powered off before its screen stood still");
        let now = viewer.picture()?;
        let text = guest.serial().text();
        let is_ready = !is_default || text.contains(READY);
        if *now != last || text.len() != printed || now.is_blank() || !is_ready {
            last = now.clone();
            printed = text.len();
            since = Instant::now();
        } else if since.elapsed() > if is_default { STILL } else { STILL_UNKNOWN } {
            break;
        }
    }
    last.save(path)?;
    eprintln!("\nThe picture of the screen is in {}", path.display());
    Ok(())
}
