//! `cargo xtask core` and `xtf`: our hypervisor core in a QEMU, without Xen, without dom0 and without root; the cases that it has
//! to pass, and the public tests of Xen's interface.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tests::suite::Counts;
use tests::testbed::Emulator;

use crate::{build, emulator, paths};

/// Memory of the machine in MiB.
const MEMORY: u32 = 256;
/// Memory of a test of the Xen Test Framework in MiB.
const XTF_MEMORY: u32 = 64;
/// How long a case may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Tests that cannot pass here, and what they have instead of it, for a reason that is not the hypervisor's.
const CANNOT_PASS: &[(&str, Reason)] = &[
    ("memop-seg", Reason::Emulator("an address on the stack that is none is #GP, where a processor has #SS")),
    ("pv-fsgsbase", Reason::Emulator("WRFSBASE takes what is no address")),
    ("xsa-260", Reason::Emulator("a breakpoint is not put off by MOV SS")),
    ("xsa-265", Reason::Emulator("a breakpoint is not put off by MOV SS")),
    ("xsa-255", Reason::Test("it takes the answer of a Xen without grant tables of version 2 for an error")),
    ("xsa-316", Reason::Test("it takes domain 0 for another one, and is that itself")),
];

/// Whose reason it is.
#[derive(Clone, Copy)]
enum Reason {
    /// QEMU's own emulation of a processor, as of 7.2. Under Bochs 2.7, which emulates these as processors do, they pass.
    Emulator(&'static str),
    /// The test's.
    Test(&'static str),
}

impl Reason {
    /// Why a test cannot pass in this emulator.
    fn of(name: &str, emulator: &Emulator) -> Option<String> {
        let (_, reason) = CANNOT_PASS.iter().find(|(test, _)| *test == name)?;
        match reason {
            Self::Emulator(_) if emulator.kvm => None,
            Self::Emulator(why) => Some(format!("QEMU: {why}")),
            Self::Test(why) => Some(format!("the test: {why}")),
        }
    }
}

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

/// Where the Xen Test Framework is.
#[derive(clap::Args)]
pub(crate) struct XtfArguments {
    /// Its folder, in which it was built by `make`.
    #[arg(long)]
    dir: PathBuf,
    /// Only tests with this in their name.
    name: Option<String>,
}

/// A test of the framework, in one of its variations.
struct XtfTest {
    name: String,
    kernel: PathBuf,
    command_line: String,
    vcpus: u32,
}

/// The tests below a folder: each has a file of what xl is to be told, and one for each of its variations.
fn xtf_tests(folder: &Path, part: Option<&str>) -> Result<Vec<XtfTest>> {
    const PREFIX: &str = "test-pv64-";
    let mut tests = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let folder = entry?.path();
        for file in fs::read_dir(&folder).into_iter().flatten() {
            let file = file?.file_name().to_string_lossy().into_owned();
            let Some(name) = file.strip_prefix(PREFIX).and_then(|file| file.strip_suffix(".cfg")) else { continue };
            let kernel = folder.join(format!("{PREFIX}{}", name.split('~').next().unwrap_or(name)));
            if !kernel.exists() || part.is_some_and(|part| !name.contains(part)) {
                continue;
            }
            let text = fs::read_to_string(folder.join(&file))?;
            let value = |key: &str| {
                let line = text.lines().filter_map(|line| line.split_once('=')).find(|(found, _)| found.trim() == key);
                line.map(|(_, value)| value.trim().trim_matches('"'))
            };
            tests.push(XtfTest {
                name: name.to_owned(),
                kernel,
                command_line: value("cmdline").unwrap_or_default().to_owned(),
                vcpus: value("vcpus").and_then(|count| count.parse().ok()).unwrap_or(1),
            });
        }
    }
    ensure!(!tests.is_empty(), "no {PREFIX}* below {}: build them with make", folder.display());
    tests.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(tests)
}

/// Runs the framework's tests for 64-bit paravirtualised domains, and shows the verdict of each.
pub(crate) fn xtf(arguments: &XtfArguments) -> Result<ExitCode> {
    let tests = xtf_tests(&arguments.dir.join("tests"), arguments.name.as_deref())?;
    let images = build::core()?;
    let emulator = emulator::find()?;
    let logs = paths::target().join("xtf");
    fs::create_dir_all(&logs)?;
    let (mut passed, mut failed, mut skipped, mut excused) = (0, 0, 0, 0);
    for XtfTest { name, kernel, command_line, vcpus } in tests {
        let log = logs.join(format!("{name}.log"));
        let program =
            Program { kernel: &kernel, memory: XTF_MEMORY, vcpus, command_line: &command_line, ..Program::default() };
        // One that hangs has no verdict.
        let said = perform(machine(&emulator, &images.hypervisor, &program), &log)
            .unwrap_or_else(|error| format!("{error:#}"));
        let verdict = said.split("Test result: ").nth(1).and_then(|rest| rest.split_whitespace().next());
        let mut remark = String::new();
        match (verdict, Reason::of(&name, &emulator)) {
            (Some("SUCCESS"), _) => passed += 1,
            (Some("SKIP"), _) => skipped += 1,
            (_, Some(reason)) => {
                excused += 1;
                remark = format!(" ({reason})");
            }
            (_, None) => failed += 1,
        }
        println!("{:<9} {name}{remark}", verdict.unwrap_or("NONE"));
    }
    println!("logs: {}", logs.display());
    println!("{passed} passed, {failed} failed, {skipped} skipped themselves, {excused} cannot pass here");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
        vcpus: 1,
        command_line: &arguments.command_line.join(" "),
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
}

impl Default for Program<'_> {
    fn default() -> Self {
        Self { kernel: Path::new(""), files: &[], memory: 64, vcpus: 1, command_line: "" }
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
    command.args(["-m", &MEMORY.to_string(), "-serial", "stdio", "-monitor", "none", "-kernel"]).arg(hypervisor);
    // A comma parts modules, so one of the command line is doubled.
    let kernel = format!("{} {}", program.kernel.display(), program.command_line);
    let files = program.files.iter().map(|file| file.display().to_string());
    let modules: Vec<_> = std::iter::once(kernel).chain(files).map(|module| module.replace(',', ",,")).collect();
    let options = format!("dom0_mem={} dom0_max_vcpus={}", program.memory, program.vcpus);
    command.args(["-append", &options, "-initrd", &modules.join(",")]);
    command
}

/// What a domain is started with, and what has to be printed.
struct Case {
    name: &'static str,
    memory: u32,
    command_line: &'static str,
    says: &'static [&'static str],
}

/// All of them run the checks of miniOS.
const CASES: &[Case] = &[
    Case {
        name: "the-core-runs-the-checks-of-minios",
        memory: 64,
        command_line: "loglevel=debug",
        says: &["debug: command line: loglevel=debug", "PASS idle", " 0\r\n(core) d0 has ended: power off"],
    },
    Case {
        name: "the-core-runs-them-in-8-mib",
        memory: 8,
        command_line: "",
        says: &["DONE ", "d0 has ended: power off"],
    },
    Case {
        name: "a-kernel-that-reads-nothing-says-so-and-ends",
        memory: 16,
        command_line: "die=null",
        says: &["DYING", "page fault", "d0 has ended: crash"],
    },
    Case {
        name: "a-kernel-without-a-stack-is-ended-by-the-core",
        memory: 16,
        command_line: "die=overflow",
        says: &["DYING", "its stack cannot take it", "d0 has ended: crash"],
    },
    Case {
        name: "a-kernel-that-does-what-is-no-instruction-says-so",
        memory: 16,
        command_line: "die=opcode",
        says: &["DYING", "invalid opcode", "d0 has ended: crash"],
    },
    Case {
        name: "too-little-memory-is-refused-by-the-core",
        memory: 2,
        command_line: "",
        says: &["there is no first domain: the domain has not enough memory for its kernel"],
    },
];

/// Runs those of them whose names have one of these parts in them, or all.
pub(crate) fn test(names: Option<&str>) -> Result<Counts> {
    let is_wanted = |case: &&Case| names.is_none_or(|names| names.split(',').any(|part| case.name.contains(part)));
    let mut counts = Counts::default();
    let cases: Vec<_> = CASES.iter().filter(is_wanted).collect();
    if cases.is_empty() {
        return Ok(counts);
    }
    let images = build::core()?;
    let emulator = emulator::find()?;
    let logs = paths::target().join("tests/core");
    fs::create_dir_all(&logs)?;
    for case in cases {
        let start = Instant::now();
        let log = logs.join(format!("{}.log", case.name));
        let program = Program {
            kernel: &images.selftest,
            memory: case.memory,
            command_line: case.command_line,
            ..Program::default()
        };
        let command = machine(&emulator, &images.hypervisor, &program);
        match perform(command, &log).and_then(|said| judge(&said, case.says)) {
            Ok(()) => {
                counts.passed += 1;
                println!("ok      {} ({:.1} s)", case.name, start.elapsed().as_secs_f64());
            }
            Err(error) => {
                counts.failed += 1;
                println!("FAILED  {}: {error:#}\n        log: {}", case.name, log.display());
                counts.remarks.push(format!("FAILED  {}", case.name));
            }
        }
    }
    Ok(counts)
}

/// Names of the cases.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name)
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

/// All is there, and no check has failed.
fn judge(said: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(said.contains(word), "no {word:?} in:\n{said}");
    }
    ensure!(!said.contains("FAIL "), "a check has failed:\n{said}");
    Ok(())
}
