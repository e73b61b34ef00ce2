//! `cargo xtask test`: the unit tests of every crate, then the whole-system cases on every release of Xen.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use tests::domain::{CD, DEMO, IOEMU, RAMDISK, SELFTEST};
use tests::guest_image::GuestProgram;
use tests::runner::{self, Plan};
use tests::suite::{Case, Counts};
use tests::suites;
use tests::testbed::{Clock, Disk, Format, Options, Writes};

use crate::image::{self, Xen};
use crate::progress::Step;
use crate::{build, emulator, guest, hypervisor, packages, paths};

/// Memory of a testbed in MiB.
const MEMORY: u32 = 3072;
/// What the emulator takes besides that in MiB: mostly for code that it has translated.
const OVERHEAD: usize = 1536;

#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// Only whole-system cases with this in their name, and no unit tests; several are parted by commas.
    name: Option<String>,
    /// The release of Xen, instead of all.
    #[arg(long)]
    xen: Option<Xen>,
    /// CPUs of each testbed, one if not said. As many testbeds run side by side as there are CPUs for.
    #[arg(long)]
    cpus: Option<usize>,
    /// Show what there is, and run nothing.
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let cases: Vec<_> = suites::all()
        .filter(|case| {
            arguments.name.as_ref().is_none_or(|names| names.split(',').any(|part| case.name.contains(part)))
        })
        .collect();
    if arguments.list {
        for name in cases.iter().map(|case| case.name).chain(hypervisor::cases::names()) {
            println!("{name}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut counts = Counts::default();
    if arguments.name.is_none() {
        counts += unit_tests()?;
    }
    counts += hypervisor::cases::test(arguments.name.as_deref())?;
    counts += whole_system(&cases, arguments)?;
    println!("{counts}");
    Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many testbeds this machine has CPUs and memory for.
fn testbeds(cpus: usize) -> Result<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let available = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB"));
    let mebibytes =
        available.and_then(|kib| kib.parse::<usize>().ok()).context("no MemAvailable in /proc/meminfo")? >> 10;
    let by_memory = mebibytes / (MEMORY as usize + OVERHEAD);
    Ok((thread::available_parallelism()?.get() / cpus).min(by_memory).max(1))
}

/// Runs every case on every release of Xen that is asked for.
fn whole_system(cases: &[&Case], arguments: &Arguments) -> Result<Counts> {
    let mut counts = Counts::default();
    if cases.is_empty() {
        return Ok(counts);
    }
    packages::ensure_installed(packages::VIEWERS)?;
    let images = build::all()?;
    let program = std::fs::read(&images.guest).context("no test guest")?;
    let program = Arc::new(GuestProgram::from_elf(&program)?);
    let media = guest::media()?;
    let emulator = emulator::find()?;
    let disk = |name: &str, file| Disk { name: name.to_owned(), file, format: Format::Raw, writes: Writes::Forgotten };
    let disks = vec![disk("guest", media.disk), disk("efi", media.efi), disk("installer", media.installer)];
    let cpus = arguments.cpus.unwrap_or(1).max(1);
    let mut plans = Vec::new();
    for xen in arguments.xen.map_or(Xen::ALL.to_vec(), |xen| vec![xen]) {
        plans.push(Plan {
            options: Options {
                emulator: emulator.clone(),
                dom0: image::dom0(xen)?,
                disks: disks.clone(),
                clock: Clock::Wall,
                cpus,
                memory: MEMORY,
                logs: paths::target().join("tests").join(xen.to_string()),
            },
            xen: xen.to_string(),
            images: vec![
                (images.ioemu.clone(), IOEMU),
                (images.ramdisk.clone(), RAMDISK),
                (images.selftest.clone(), SELFTEST),
                (images.demo.clone(), DEMO),
                (media.cd.clone(), CD),
            ],
            tools: paths::target().join("tools"),
            program: Arc::clone(&program),
        });
    }
    let testbeds = testbeds(cpus)?.min(plans.len() * cases.len());
    println!("        {} whole-system cases on each release of Xen, in {testbeds} testbeds side by side", cases.len());
    counts += runner::run(&plans, cases, testbeds)?;
    Ok(counts)
}

/// Runs the tests beside the code, of every crate that can run on this machine.
pub(crate) fn unit_tests() -> Result<Counts> {
    // The build script of the stub domain, whose library is among them, takes firmware from there.
    packages::ensure_installed(packages::BUILD)?;
    packages::ensure_installed(packages::HEADERS)?;
    let step = Step::begin("Running the unit tests");
    let mut child = Command::new(build::cargo())
        .current_dir(paths::project())
        .args(["test", "--quiet", "--workspace", "--no-fail-fast"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has no standard output")?;
    let mut counts = Counts::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        counts += parse_result(&line).unwrap_or_default();
        // `---- NAME stdout ----`: what a failed test has said follows.
        if let Some(name) = line.strip_prefix("---- ") {
            counts.remarks.push(format!("FAILED  {}", name.trim_end_matches(" stdout ----")));
        }
    }
    if !child.wait()?.success() && counts.failed == 0 {
        // Something did not compile, or a test program died: that is one failure at least.
        counts.failed = 1;
    }
    step.end(&counts);
    Ok(counts)
}

/// Takes a closing line of the test harness apart: `test result: ok. 3 passed; 0 failed; 0 ignored; ...`.
fn parse_result(line: &str) -> Option<Counts> {
    let (_, figures) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let figure = |name: &str| {
        let words = figures.split("; ").find_map(|part| part.strip_suffix(name))?;
        words.trim().parse().ok()
    };
    let [passed, failed, skipped] = ["passed", "failed", "ignored"].map(figure);
    Some(Counts { passed: passed?, failed: failed?, skipped: skipped?, ..Counts::default() })
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_closing_line_is_taken_apart() {
        let line = "test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 5 filtered out; finished in 0.01s";
        assert_eq!(parse_result(line), Some(Counts { passed: 12, failed: 1, skipped: 2, ..Counts::default() }));
        assert_eq!(parse_result("running 3 tests"), None);
    }
}
