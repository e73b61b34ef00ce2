//! How fast our VNC server encodes pictures, and how small they get, against libvncserver: the same sequence of pictures, each
//! sent as a whole, on this machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::progress::Step;
use crate::{build, packages, paths};

/// Names and numbers of what is compared, and whether ours is to be as fast and as small (RFC 6143, rfbproto).
const ENCODINGS: [(&str, u32, bool); 4] =
    [("Hextile", 5, false), ("Zlib", 6, false), ("Tight", 7, true), ("ZRLE", 16, true)];
/// Of the sequence, as its program has it.
const SIZE: (u32, u32) = (1280, 800);

/// What a server needs for the sequence without its first picture.
struct Cost {
    bytes: f64,
    nanoseconds: f64,
}

pub(super) fn run() -> Result<()> {
    packages::ensure_installed(packages::VIEWERS)?;
    let folder = paths::target().join("bench").join("encoders");
    fs::create_dir_all(&folder)?;
    let step = Step::begin("Building both servers");
    let status = Command::new(build::cargo())
        .current_dir(paths::project())
        .args(["build", "--quiet", "--release", "--package", "rfb", "--example", "throughput", "--target-dir"])
        .arg(folder.join("target"))
        .status()?;
    ensure!(status.success(), "our server cannot be built");
    let theirs = folder.join("vncserver");
    let source = paths::project().join("tests/testbed/vncserver.c");
    let status =
        Command::new("cc").args(["-O2", "-o"]).arg(&theirs).arg(&source).args(["-lvncserver", "-lpthread"]).status()?;
    ensure!(status.success(), "{} cannot be built", source.display());
    step.done();

    let step = Step::begin("Encoding");
    let pictures = folder.join("pictures");
    let said = output(Command::new(folder.join("target/release/examples/throughput")).arg(&pictures))?;
    let count = f64::from(u32::try_from(fs::metadata(&pictures)?.len() / u64::from(SIZE.0 * SIZE.1 * 4))? - 1);
    let megabytes = f64::from(SIZE.0 * SIZE.1 * 4) * count / 1e6;
    let mut table = format!(
        "{:<10} {:>12} {:>10} {:>6}  {:>14} {:>10} {:>6}\n",
        "", "libvncserver", "ours", "ratio", "libvncserver", "ours", "ratio"
    );
    for (name, number, is_target) in ENCODINGS {
        let line =
            said.lines().find_map(|line| line.strip_prefix(&format!("{number} "))).context("an encoding is missing")?;
        let ours = cost(line)?;
        let theirs = them(&theirs, &pictures, number)?;
        let speed = |cost: &Cost| megabytes * 1e9 / cost.nanoseconds;
        let kilobytes = |cost: &Cost| cost.bytes / count / 1000.0;
        let (faster, larger) = (speed(&ours) / speed(&theirs), ours.bytes / theirs.bytes);
        let met = match (is_target, faster >= 1.0 && larger <= 1.0) {
            (false, _) => "",
            (true, true) => "met",
            (true, false) => "MISSED",
        };
        table += &format!(
            "{name:<10} {:>7.0} MB/s {:>5.0} MB/s {faster:>5.2}x  {:>8.1} kB each {:>7.1} kB {larger:>5.2}x  {met}\n",
            speed(&theirs),
            speed(&ours),
            kilobytes(&theirs),
            kilobytes(&ours),
        );
    }
    fs::remove_file(&pictures)?;
    step.done();
    println!("\nPictures of {} x {} pixels; ZRLE and Tight are to be as fast and as small\n\n{table}", SIZE.0, SIZE.1);
    Ok(())
}

fn them(program: &Path, pictures: &Path, encoding: u32) -> Result<Cost> {
    let (width, height) = (SIZE.0.to_string(), SIZE.1.to_string());
    cost(&output(Command::new(program).arg(pictures).args([width, height, encoding.to_string()]))?)
}

fn cost(line: &str) -> Result<Cost> {
    let numbers: Vec<f64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let [bytes, nanoseconds] = numbers[..] else { bail!("no cost: {line:?}") };
    Ok(Cost { bytes, nanoseconds })
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "{command:?} ended with {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
