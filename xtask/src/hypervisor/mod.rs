//! `cargo xtask core`: our hypervisor core in a QEMU, without Xen, without dom0 and without root.
//!
//! | module | what lives there |
//! |---|---|
//! | [`demo`] | `cargo xtask run --demo` |
//! | [`xtf`] | `cargo xtask xtf`: the public tests of Xen's interface |
//! | [`cases`] | what it has to do in `cargo xtask test` |

pub(crate) mod cases;
pub(crate) mod demo;
pub(crate) mod xtf;

use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tests::testbed::Emulator;

use crate::{build, emulator};

/// Memory of the machine in MiB.
const MEMORY: u32 = 256;
/// How long a case may take.
const LIMIT: Duration = Duration::from_secs(120);

/// What is started.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The kernel of the first domain, instead of the checks of miniOS.
    #[arg(long)]
    kernel: Option<PathBuf>,
    /// Its memory in MiB.
    #[arg(long, default_value_t = 64)]
    memory: u32,
    /// Files for it; each `*.cfg` among them describes a domain, if the kernel is `control`.
    #[arg(long)]
    file: Vec<PathBuf>,
    /// Its command line.
    #[arg(last = true)]
    command_line: Vec<String>,
}

/// Runs a kernel, with its console on this terminal.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let images = build::core()?;
    let kernel = arguments.kernel.as_ref().unwrap_or(&images.selftest);
    let emulator = emulator::find()?;
    let program = Program {
        kernel,
        files: &arguments.file,
        memory: arguments.memory,
        command_line: &arguments.command_line.join(" "),
        ..Program::default()
    };
    let mut command = machine(&emulator, &images.hypervisor, &program);
    let status = command.status().context("cannot start QEMU")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the first domain is.
struct Program<'a> {
    kernel: &'a Path,
    /// Files that come with it.
    files: &'a [PathBuf],
    /// Its memory in MiB.
    memory: u32,
    /// Its processors.
    vcpus: u32,
    command_line: &'a str,
    /// Disks of the machine: files, and their serial numbers.
    disks: &'a [(PathBuf, &'a str)],
    /// What is written to them is forgotten.
    forgets: bool,
    /// Memory of the machine in MiB.
    machine_memory: u32,
    /// Ports of this machine, and those of the first station that gets an address: with them there is a network card.
    ports: &'a [(u16, u16)],
}

impl Default for Program<'_> {
    fn default() -> Self {
        Self {
            kernel: Path::new(""),
            files: &[],
            memory: 64,
            vcpus: 1,
            command_line: "",
            disks: &[],
            forgets: false,
            machine_memory: MEMORY,
            ports: &[],
        }
    }
}

/// A machine that ends when its first domain does, with its console on the standard output.
fn machine(emulator: &Emulator, hypervisor: &Path, program: &Program<'_>) -> Command {
    let mut command = Command::new(&emulator.program);
    command.args(&emulator.arguments).args(["-machine", "q35", "-no-reboot", "-display", "none"]);
    if emulator.kvm {
        command.args(["-accel", "kvm", "-cpu", "max"]);
    } else {
        // QEMU's own emulation reads far pointers as Intel's processors do, so it had better say that it is one.
        command.args(["-cpu", "max,vendor=GenuineIntel"]);
    }
    command
        .args(["-m", &program.machine_memory.to_string(), "-serial", "stdio", "-monitor", "none", "-kernel"])
        .arg(hypervisor);
    // A comma parts modules, so one of the command line is doubled.
    let kernel = format!("{} {}", program.kernel.display(), program.command_line);
    let files = program.files.iter().map(|file| file.display().to_string());
    let modules: Vec<_> = std::iter::once(kernel).chain(files).map(|module| module.replace(',', ",,")).collect();
    let options = format!("dom0_mem={} dom0_max_vcpus={}", program.memory, program.vcpus);
    command.args(["-append", &options, "-initrd", &modules.join(",")]);
    for (number, (file, serial)) in program.disks.iter().enumerate() {
        let file = file.display().to_string().replace(',', ",,");
        let snapshot = if program.forgets { "on" } else { "off" };
        command.args(["-drive", &format!("if=none,id=disk{number},format=raw,snapshot={snapshot},file={file}")]);
        command.args(["-device", &format!("virtio-blk-pci,drive=disk{number},serial={serial},disable-legacy=on")]);
    }
    if !program.ports.is_empty() {
        let forward = |(here, there): &(u16, u16)| format!(",hostfwd=tcp:127.0.0.1:{here}-:{there}");
        let forwards: String = program.ports.iter().map(forward).collect();
        command.args(["-netdev", &format!("user,id=network{forwards}")]);
        command.args(["-device", "virtio-net-pci,netdev=network,disable-legacy=on"]);
    }
    command
}

/// A port of this machine that is free: the usual one, or any.
fn free_port(usual: u16) -> Result<u16> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    Ok(bind(usual).or_else(|_| bind(0)).context("no free port")?.local_addr()?.port())
}

/// A machine that runs, and ends with this.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn perform(mut command: Command, log: &Path) -> Result<String> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start QEMU")?;
    let mut output = child.stdout.take().context("no standard output")?;
    let reader = thread::spawn(move || {
        let mut said = Vec::new();
        output.read_to_end(&mut said).map(|_| said)
    });
    let ended = wait(&mut child);
    if ended.is_err() {
        // Its output ends with it.
        child.kill()?;
        child.wait()?;
    }
    let said = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    fs::write(log, &said)?;
    ended?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn wait(child: &mut Child) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    bail!("no end after {} s", LIMIT.as_secs())
}
