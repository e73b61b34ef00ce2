//! `cargo xtask run --demo`: the demo on our hypervisor core, which starts in a blink.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests::novnc_page;
use tests::vnc::Viewer;

use super::{Machine, Program, free_port, machine};
use crate::build::{self, Images};
use crate::{emulator, packages, paths};

/// Bytes of its disk.
pub(crate) const DISK: u64 = 64 << 20;
/// What its configuration file calls that.
pub(super) const DISK_NAME: &str = "demo.img";
/// The password in its configuration file.
pub(super) const PASSWORD: &str = "demo";
/// When its picture is taken, which never stands still.
const PICTURE: Duration = Duration::from_secs(5);
/// How long it may take until there is something to see.
const LIMIT: Duration = Duration::from_secs(60);

/// Where it is to be found on this machine.
pub(super) struct Ports {
    pub(super) page: u16,
    pub(super) screen: u16,
    pub(super) websocket: u16,
}

impl Ports {
    /// The usual ones, unless somebody else has them.
    pub(super) fn find() -> Result<Self> {
        Ok(Self { page: free_port(8080)?, screen: free_port(5901)?, websocket: free_port(5700)? })
    }

    /// Those here, and those of the demo.
    pub(super) fn forwards(&self) -> [(u16, u16); 3] {
        [(self.page, 80), (self.screen, 5900), (self.websocket, 5700)]
    }
}

/// What the control domain needs to make the demo, as people have it for `xl`.
pub(super) fn files(images: &Images) -> [PathBuf; 2] {
    [paths::project().join("stubdom/demo.cfg"), images.demo.clone()]
}

/// Shows it, until `interrupt`.
pub(crate) fn run(screenshot: Option<&Path>, browser: bool, interrupt: &Receiver<()>) -> Result<ExitCode> {
    let images = build::core()?;
    let emulator = emulator::any()?;
    let disk = paths::target().join("demo.disk");
    if !disk.exists() {
        File::create(&disk)?.set_len(DISK)?;
    }
    let ports = Ports::find()?;
    let program = Program {
        kernel: &images.control,
        files: &files(&images),
        disks: &[(disk, DISK_NAME)],
        ports: &ports.forwards(),
        ..Program::default()
    };
    let mut command = machine(&emulator, &images.hypervisor, &program);
    eprintln!("Screen:  vncviewer 127.0.0.1:{}   (password: {PASSWORD})", ports.screen);
    eprintln!("Page:    http://127.0.0.1:{}/", ports.page);
    if browser {
        packages::ensure_installed(packages::BROWSER)?;
        eprintln!("Browser: {}", novnc_page::serve(ports.websocket, PASSWORD)?);
    }
    eprintln!("Ctrl-C powers off. What the hypervisor and its domains print; what you type goes to the demo's shell:");
    let child = command.spawn().context("cannot start QEMU")?;
    let mut machine = Machine(child);
    let start = Instant::now();
    loop {
        match interrupt.recv_timeout(Duration::from_millis(200)) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return Ok(ExitCode::SUCCESS),
        }
        if let Some(status) = machine.0.try_wait()? {
            eprintln!("\nThe machine has powered off.");
            return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        if let Some(file) = screenshot.filter(|_| start.elapsed() > PICTURE) {
            match picture(ports.screen, file) {
                Ok(()) => {
                    eprintln!("\nThe picture of the screen is in {}", file.display());
                    return Ok(ExitCode::SUCCESS);
                }
                Err(error) => ensure!(start.elapsed() < LIMIT, "there is no picture: {error:#}"),
            }
        }
    }
}

fn picture(port: u16, file: &Path) -> Result<()> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Viewer::open_with(stream, Some(PASSWORD))?.picture()?.save(file)?;
    ensure!(fs::metadata(file)?.len() > 0, "it is empty");
    Ok(())
}
