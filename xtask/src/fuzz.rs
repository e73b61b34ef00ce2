//! `cargo xtask fuzz`: looks for accesses that a device does not get over, and keeps the interesting ones.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use qtest::fuzz::TARGETS;

use crate::progress::Step;
use crate::{build, packages, paths};

/// Coverage as libFuzzer wants it, by options of the stable compiler.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";
/// Bytes of an input: more than a play uses up.
const INPUT_MAX: &str = "-max_len=1024";

/// What is fuzzed, and for how long.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The device. All, one after the other, if none is said.
    target: Option<String>,
    /// Seconds for each device.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// Fuzzes, and keeps the inputs that together cover what all of them do: `tests/qtest/tests/corpus`.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    packages::ensure_installed(packages::FUZZ)?;
    let step = Step::begin("Building the fuzzer");
    let folder = paths::target().join("fuzz");
    let status = Command::new(build::cargo())
        .current_dir(paths::project().join("tests/fuzz"))
        .args(["build", "--quiet", "--release", "--target", build::TARGET, "--target-dir"])
        .arg(&folder)
        .env("RUSTFLAGS", FLAGS)
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "building the fuzzer failed");
    step.done();
    let program = folder.join(build::TARGET).join("release/fuzz");
    let corpora = paths::project().join("tests/qtest/tests/corpus");
    let targets = TARGETS.iter().map(|target| target.name);
    let targets: Vec<_> = targets.filter(|name| arguments.target.as_ref().is_none_or(|only| only == name)).collect();
    ensure!(!targets.is_empty(), "there is no such target; there are {:?}", TARGETS.map(|target| target.name));
    for name in targets {
        let step = Step::begin(format!("Fuzzing {name} for {} s", arguments.seconds));
        let fuzzer = Fuzzer { program: &program, folder: folder.join("work").join(name), name };
        fuzzer.run(&corpora, arguments.seconds)?;
        let count = fuzzer.keep(&corpora)?;
        step.end(format!("{count} inputs are kept, log: {}", fuzzer.folder.join("fuzz.log").display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The fuzzer at work on one target.
struct Fuzzer<'a> {
    program: &'a Path,
    /// Its logs, and the inputs that it found.
    folder: PathBuf,
    name: &'a str,
}

impl Fuzzer<'_> {
    /// Fuzzes, from what was kept of earlier runs.
    fn run(&self, corpora: &Path, seconds: u32) -> Result<()> {
        let found = self.folder.join("found");
        fs::create_dir_all(&found)?;
        let archive = archive(corpora, self.name);
        if let Ok(file) = File::open(&archive) {
            tar::Archive::new(GzDecoder::new(file)).unpack(&found)?;
        }
        self.start("fuzz", &[&format!("-max_total_time={seconds}"), "-timeout=10", "-len_control=0"], &[&found])
    }

    /// Keeps a set of inputs that covers what all of them do.
    fn keep(&self, corpora: &Path) -> Result<usize> {
        let kept = self.folder.join("kept");
        let _ = fs::remove_dir_all(&kept);
        fs::create_dir_all(&kept)?;
        self.start("merge", &["-merge=1", "-use_counters=0"], &[&kept, &self.folder.join("found")])?;
        let mut files: Vec<_> = fs::read_dir(&kept)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        files.sort();
        let mut archive =
            tar::Builder::new(GzEncoder::new(File::create(archive(corpora, self.name))?, Compression::best()));
        for (number, file) in files.iter().enumerate() {
            let bytes = fs::read(file)?;
            let mut header = tar::Header::new_gnu();
            header.set_size(u64::try_from(bytes.len())?);
            header.set_mode(0o644);
            archive.append_data(&mut header, format!("{number:04}"), &bytes[..])?;
        }
        archive.into_inner()?.finish()?;
        Ok(files.len())
    }

    fn start(&self, log: &str, options: &[&str], folders: &[&Path]) -> Result<()> {
        let log = self.folder.join(format!("{log}.log"));
        let output = File::create(&log)?;
        let status = Command::new(self.program)
            .current_dir(&self.folder)
            .env("FUZZ_TARGET", self.name)
            .arg(INPUT_MAX)
            .args(options)
            .args(folders)
            .stdout(output.try_clone()?)
            .stderr(output)
            .status()
            .context("cannot start the fuzzer")?;
        ensure!(
            status.success(),
            "{}: the end of {} says what was found, and by which input",
            self.name,
            log.display()
        );
        Ok(())
    }
}

fn archive(corpora: &Path, name: &str) -> PathBuf {
    corpora.join(format!("{name}.tar.gz"))
}
