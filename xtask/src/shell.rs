//! `cargo xtask shell`: dom0 of a testbed, to look around in.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use tests::testbed::{Agent, Clock, Disk, Format, Options, Testbed, Writes};

use crate::image::{self, Xen};
use crate::progress::Step;
use crate::{debian, emulator, paths};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The release of Xen.
    #[arg(long, default_value = "4.17")]
    xen: Xen,
    /// A folder whose content is at /mnt/job in dom0.
    #[arg(long)]
    job: Option<PathBuf>,
    /// A raw disk image that is /dev/testbed/NAME in dom0; writes to it are forgotten. May be given several times.
    #[arg(long, value_name = "NAME=FILE")]
    disk: Vec<String>,
    /// Let instructions count as time: measurements repeat within about one percent.
    #[arg(long)]
    icount: bool,
    /// Memory of the testbed in MiB, of which dom0 has 1024.
    #[arg(long, default_value_t = 3072)]
    memory: u32,
    /// The command to run in dom0's shell.
    #[arg(last = true)]
    command: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let logs = paths::logs("shell").join(std::process::id().to_string());
    fs::create_dir_all(&logs)?;
    let mut disks = Vec::new();
    if let Some(folder) = &arguments.job {
        ensure!(folder.is_dir(), "{} is not a folder", folder.display());
        let file = logs.join("job.img");
        debian::make_disk(folder, &file, "job", 64)?;
        disks.push(Disk { name: "job".to_owned(), file, format: Format::Raw, writes: Writes::Kept });
    }
    for disk in &arguments.disk {
        let Some((name, file)) = disk.split_once('=') else { bail!("--disk takes NAME=FILE, not {disk}") };
        disks.push(Disk { name: name.to_owned(), file: file.into(), format: Format::Raw, writes: Writes::Forgotten });
    }
    let options = Options {
        emulator: emulator::find()?,
        dom0: image::dom0(arguments.xen)?,
        disks,
        clock: if arguments.icount { Clock::Instructions } else { Clock::Wall },
        cpus: 2,
        memory: arguments.memory,
        logs: logs.clone(),
    };
    let step = Step::logged(format!("Booting Xen {} and its dom0", arguments.xen), &logs.join("testbed.log"));
    let testbed = Testbed::boot(&options)?;
    step.done();
    let status = if arguments.command.is_empty() {
        interact(testbed.agent())?
    } else {
        run_streamed(testbed.agent(), &arguments.command.join(" "))?
    };
    testbed.shutdown()?;
    let _ = fs::remove_file(logs.join("job.img"));
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
}

/// Runs line after line of the standard input.
fn interact(agent: Agent) -> Result<i32> {
    let is_terminal = io::stdin().is_terminal();
    let prompt = || {
        if is_terminal {
            eprint!("dom0# ");
        }
    };
    let mut status = 0;
    prompt();
    for line in io::stdin().lock().lines() {
        let line = line?;
        if line.trim() == "exit" {
            break;
        }
        status = run_streamed(agent, &line)?;
        prompt();
    }
    Ok(status)
}

/// Runs a script, shows its output as it comes, and returns its exit status.
fn run_streamed(agent: Agent, script: &str) -> Result<i32> {
    let mut stream = agent.stream(&format!("( {script}\n)\necho $? >/run/shell-status"))?;
    let mut output = io::stdout().lock();
    io::copy(&mut stream, &mut output)?;
    output.flush()?;
    Ok(agent.check("cat /run/shell-status")?.trim().parse()?)
}
