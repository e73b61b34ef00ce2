//! `cargo xtask xtf`: the Xen Test Framework's tests for 64-bit paravirtualised domains, on our hypervisor core.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use tests::testbed::Emulator;

use super::{Program, machine, perform};
use crate::{build, emulator, paths};

/// Memory of a test of the Xen Test Framework in MiB.
const XTF_MEMORY: u32 = 64;
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

/// Where the Xen Test Framework is.
#[derive(clap::Args)]
pub(crate) struct Arguments {
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
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
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
