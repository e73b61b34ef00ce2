//! `cargo xtask bench`: one guest on dom0's QEMU and on our stub domain, in one boot, and what each took.
//!
//! Times within the guest are the guest's own (`tests/guests`, case `bench`); times of the toolstack are taken by
//! `tests/testbed/measure` in dom0. All are of one clock, which counts instructions unless `--no-icount` is given.
//!
//! A figure that misses its target is shown as such, and nothing else: a time is no test.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::domain::{Config, DeviceModel, FOLDER};
use tests::guest_image::{GuestLine, GuestProgram};
use tests::testbed::{Agent, Clock, Disk, Format, Options, Testbed, Writes};

use self::linux::Bus;
use crate::image::{self, Xen};
use crate::progress::Step;
use crate::{build, emulator, guest, packages, paths, run};

mod encoders;
mod linux;
mod network;
mod screen;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The release of Xen.
    #[arg(long, default_value = "4.17")]
    xen: Xen,
    /// How many test guests of each kind are measured; the table shows medians.
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Measure what Debian's drivers get out of the devices, too. On dom0's QEMU that takes a quarter of an hour.
    #[arg(long)]
    linux: bool,
    /// Measure what TCP gets out of a network frontend in the demo, and in a paravirtualised Linux.
    #[arg(long)]
    network: bool,
    /// Compare the encodings of our VNC server with libvncserver's, on this machine and without Xen, and nothing else.
    #[arg(long)]
    encoders: bool,
    /// Measure how long it takes until a viewer sees what the guest has drawn, by the clock of this machine, and nothing else.
    #[arg(long)]
    screen: bool,
    /// Measure with the clock of this machine, which has to be idle then, instead of counting instructions.
    #[arg(long)]
    no_icount: bool,
}

/// The script in dom0.
const MEASURE: &str = include_str!("../../tests/testbed/measure");
/// Where it lies there.
const MEASURE_PLACE: &str = "/usr/sbin/measure";
/// What the guest does.
const COMMAND_LINE: &str = "run=bench,idle";
/// Where its disk lies in dom0.
const DISK: &str = "/dev/ram0";
/// Its size: more than what is read from it.
const DISK_BYTES: u64 = 32 << 20;
/// How long the idle guest is watched, in seconds.
const IDLE_SECONDS: u32 = 20;
/// A guest that says nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(1200);
/// The size that the packed image may have, in KiB.
const IMAGE_KIB: f64 = 512.0;

/// Something that is measured.
struct Figure {
    /// Its name in the output of the guest and of the script.
    name: &'static str,
    /// What it is.
    title: &'static str,
    /// The unit in which it is shown, and how many of the unit in which it comes make one.
    unit: (&'static str, f64),
    /// What it has to be.
    target: Target,
}

/// What a figure has to be.
#[derive(Clone, Copy)]
enum Target {
    /// It is shown for comparison.
    None,
    /// At most this much of QEMU's.
    RatioAtMost(f64),
    /// At least this much of QEMU's.
    RatioAtLeast(f64),
    /// At most this, whatever QEMU has.
    AtMost(f64),
}

const SECONDS: (&str, f64) = ("s", 1e6);
const MICROSECONDS: (&str, f64) = ("us", 1e3);
const SPEED: (&str, f64) = ("MiB/s", 1024.0);

/// Everything that is measured, in the order of the table. The targets are the project's own.
const FIGURES: &[Figure] = &[
    Figure {
        name: "create-first-byte",
        title: "xl create to the first byte on COM1",
        unit: SECONDS,
        target: Target::RatioAtMost(1.0),
    },
    Figure { name: "create-running", title: "xl create to running", unit: SECONDS, target: Target::None },
    Figure {
        name: "start",
        title: "first instruction of the stub domain to running",
        unit: SECONDS,
        target: Target::AtMost(1.0),
    },
    Figure { name: "port-0x64", title: "read of port 0x64", unit: MICROSECONDS, target: Target::RatioAtMost(0.4) },
    Figure { name: "pit-0x40", title: "read of the PIT, answered by Xen", unit: MICROSECONDS, target: Target::None },
    Figure { name: "pci-config", title: "PCI configuration read", unit: MICROSECONDS, target: Target::None },
    Figure {
        name: "vga-text-read-real",
        title: "VGA memory read, text, real mode",
        unit: MICROSECONDS,
        target: Target::RatioAtMost(0.4),
    },
    Figure {
        name: "vga-text-read",
        title: "VGA memory read, text, long mode",
        unit: MICROSECONDS,
        target: Target::RatioAtMost(0.4),
    },
    Figure {
        name: "vga-graphics-read-real",
        title: "VGA memory read, graphics, real mode",
        unit: MICROSECONDS,
        target: Target::RatioAtMost(0.4),
    },
    Figure {
        name: "vga-graphics-read",
        title: "VGA memory read, graphics, long mode",
        unit: MICROSECONDS,
        target: Target::RatioAtMost(0.4),
    },
    Figure { name: "vga-text-write", title: "VGA memory write, text", unit: MICROSECONDS, target: Target::None },
    Figure {
        name: "vga-graphics-write",
        title: "VGA memory write, graphics",
        unit: MICROSECONDS,
        target: Target::None,
    },
    Figure { name: "int13-32k", title: "INT 13h reads of 32 KiB", unit: SPEED, target: Target::RatioAtLeast(2.0) },
    Figure { name: "dma-64k", title: "bus master reads of 64 KiB", unit: SPEED, target: Target::RatioAtLeast(1.5) },
    Figure { name: "dma-128k", title: "bus master reads of 128 KiB", unit: SPEED, target: Target::RatioAtLeast(1.5) },
    Figure { name: "dma-1m", title: "bus master reads of 1 MiB", unit: SPEED, target: Target::RatioAtLeast(1.5) },
    Figure { name: "cd-grub", title: "GRUB reads 1 MiB of a CD", unit: SPEED, target: Target::RatioAtLeast(2.0) },
    Figure { name: "ide-read", title: "Linux, IDE: reads of 24 MiB", unit: SPEED, target: Target::RatioAtLeast(1.5) },
    Figure { name: "ide-write", title: "Linux, IDE: writes of 24 MiB", unit: SPEED, target: Target::RatioAtLeast(1.5) },
    Figure { name: "ahci-read", title: "Linux, AHCI: reads of 24 MiB", unit: SPEED, target: Target::RatioAtLeast(1.5) },
    Figure {
        name: "ahci-write",
        title: "Linux, AHCI: writes of 24 MiB",
        unit: SPEED,
        target: Target::RatioAtLeast(1.5),
    },
    Figure { name: "ide-e1000", title: "Linux, e1000: TCP to dom0", unit: SPEED, target: Target::RatioAtLeast(1.2) },
    Figure { name: "ahci-e1000", title: "the same once more", unit: SPEED, target: Target::RatioAtLeast(1.2) },
    Figure {
        name: "ide-scroll",
        title: "Linux, console of 1280 x 800: lines scrolled",
        unit: ("1/s", 1.0),
        target: Target::RatioAtLeast(1.0),
    },
    Figure {
        name: "pv-tcp",
        title: "PV: TCP to dom0, Linux and our demo",
        unit: SPEED,
        target: Target::RatioAtLeast(0.5),
    },
    Figure { name: "image", title: "packed image", unit: ("KiB", 1024.0), target: Target::AtMost(IMAGE_KIB) },
    Figure {
        name: "idle-wakes",
        title: "wake-ups in 20 s of an idle guest",
        unit: ("", 1.0),
        target: Target::AtMost(0.0),
    },
];

/// One value that was measured.
#[derive(Debug, PartialEq)]
struct Sample {
    device_model: DeviceModel,
    run: u32,
    name: String,
    value: f64,
    unit: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.encoders {
        encoders::run()?;
        return Ok(ExitCode::SUCCESS);
    }
    let images = build::all()?;
    if arguments.screen {
        screen::run(arguments.xen, &images)?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.linux {
        packages::ensure_installed(packages::VIEWERS)?;
    }
    let folder = paths::target().join("bench").join(arguments.xen.to_string());
    let logs = folder.join("logs");
    if logs.exists() {
        fs::remove_dir_all(&logs)?;
    }
    fs::create_dir_all(&logs)?;
    let disk = folder.join("guest.disk");
    let program = GuestProgram::from_elf(&fs::read(&images.guest).context("no test guest")?)?;
    program.write_disk(&disk, COMMAND_LINE, DISK_BYTES)?;

    let media = guest::media()?;
    let options = Options {
        emulator: emulator::find()?,
        dom0: image::dom0(arguments.xen)?,
        disks: [("guest", media.disk), ("speed", media.speed)]
            .map(|(name, file)| Disk { name: name.to_owned(), file, format: Format::Raw, writes: Writes::Forgotten })
            .to_vec(),
        clock: if arguments.no_icount { Clock::Wall } else { Clock::Instructions },
        cpus: 2,
        memory: 2048,
        logs: logs.clone(),
    };
    let step = Step::logged(format!("Booting Xen {} and its dom0", arguments.xen), &logs.join("testbed.log"));
    let testbed = Testbed::boot(&options)?;
    step.done();
    let agent = testbed.agent();
    run::install(agent)?;
    agent.put(MEASURE_PLACE, MEASURE.as_bytes())?;
    agent.put(&format!("{FOLDER}/guest.disk"), &fs::read(&disk)?)?;
    // In memory and without a file system: device models are compared, not what lies below them.
    agent.check(&format!(
        "modprobe brd rd_nr=2 rd_size={} && cat {FOLDER}/guest.disk >{DISK} && rm {FOLDER}/guest.disk",
        DISK_BYTES / 1024
    ))?;
    fs::remove_file(&disk)?;

    let mut samples = Vec::new();
    let mut outcome = measure_all(agent, arguments.runs, &logs, &mut samples);
    if outcome.is_ok() && arguments.linux {
        outcome = measure_linux(agent, &logs, &mut samples);
    }
    if outcome.is_ok() && arguments.network {
        let step = Step::begin("The demo and a paravirtualised Linux send to dom0");
        outcome = network::measure(agent, &logs.join("linux-pv.log")).map(|found| samples.extend(found));
        step.done();
    }
    agent.save_logs(&logs)?;
    let step = Step::begin("Powering off");
    testbed.shutdown()?;
    step.done();

    #[expect(clippy::cast_precision_loss, reason = "images are far below 2^52 bytes")]
    let packed = fs::metadata(&images.ioemu)?.len() as f64;
    samples.push(Sample {
        device_model: DeviceModel::Stubdom,
        run: 0,
        name: "image".to_owned(),
        value: packed,
        unit: "bytes".to_owned(),
    });
    let values = folder.join("values.tsv");
    fs::write(&values, list(&samples))?;
    let table = table(&samples);
    fs::write(folder.join("table.txt"), &table)?;
    let clock = if arguments.no_icount { "the clock of this machine" } else { "2 ns for an instruction" };
    println!("\nXen {}, medians of {} runs, {clock}\n\n{table}", arguments.xen, arguments.runs);
    println!("Every value: {}\nLogs:        {}", values.display(), logs.display());
    outcome?;
    Ok(ExitCode::SUCCESS)
}

/// Measures one guest of each kind after the other, as often as asked for.
fn measure_all(agent: Agent, runs: u32, logs: &Path, samples: &mut Vec<Sample>) -> Result<()> {
    for run in 1..=runs {
        for (device_model, kind) in [(DeviceModel::Qemu, "qemu"), (DeviceModel::Stubdom, "stubdom")] {
            let name = format!("{kind}-{run}");
            let log = logs.join(format!("{name}.log"));
            let step = Step::logged(format!("Run {run} of {runs} on {}", title(device_model)), &log);
            let output = measure(agent, device_model, kind, &name)?;
            fs::write(&log, &output)?;
            let found = samples_of(device_model, run, &output);
            ensure!(output.lines().any(|line| line == "MEASURED"), "{}", failure(&output, &log));
            let shown = FIGURES.iter().find(|figure| figure.name == "port-0x64");
            let value = |name: &str| found.iter().find(|sample| sample.name == name).map(|sample| sample.value);
            match shown.and_then(|figure| Some((figure, value(figure.name)?))) {
                Some((figure, value)) => {
                    step.end(format_args!("{}: {} {}", figure.title, number(value / figure.unit.1), figure.unit.0));
                }
                None => step.done(),
            }
            samples.extend(found);
        }
    }
    Ok(())
}

/// Measures Debian on each device model, with its disks behind each controller.
fn measure_linux(agent: Agent, logs: &Path, samples: &mut Vec<Sample>) -> Result<()> {
    for device_model in [DeviceModel::Stubdom, DeviceModel::Qemu] {
        let log = logs.join(format!("cd-{device_model:?}.log").to_lowercase());
        let step = Step::logged(format!("GRUB on a CD on {}", title(device_model)), &log);
        samples.push(linux::read_cd(agent, device_model, &log)?);
        step.done();
    }
    let mut outcome = Ok(());
    for bus in [Bus::Ide, Bus::Ahci] {
        for device_model in [DeviceModel::Stubdom, DeviceModel::Qemu] {
            let log = logs.join(format!("linux-{bus:?}-{device_model:?}.log").to_lowercase());
            let step = Step::logged(format!("Debian with {bus:?} on {}", title(device_model)), &log);
            // One that does not come up leaves the figures of the others as they are.
            match linux::measure(agent, device_model, bus, &log) {
                Ok(found) => {
                    samples.extend(found);
                    step.done();
                }
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
    }
    outcome
}

/// Runs one guest to its end, and gives what it and the script say.
fn measure(agent: Agent, device_model: DeviceModel, kind: &str, name: &str) -> Result<String> {
    let mut config = Config::new(name, device_model).disk(DISK, "hda");
    config.memory = 32;
    let file = format!("{FOLDER}/{name}.cfg");
    agent.put(&file, config.text().as_bytes())?;
    let stream = agent.stream(&format!("exec bash {MEASURE_PLACE} {file} {name} {kind} {IDLE_SECONDS}"))?;
    stream.set_read_timeout(Some(SILENCE))?;
    let mut output = String::new();
    let mut lines = BufReader::new(stream);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).context("the guest says nothing any more")? > 0 {
        let text = String::from_utf8_lossy(&line);
        let _ = writeln!(output, "{}", text.trim_end());
        let ended = text.trim_end() == "MEASURED" || text.starts_with("FAIL measure");
        line.clear();
        // Processes of the toolstack may keep the connection open.
        if ended {
            break;
        }
    }
    Ok(output)
}

fn failure(output: &str, log: &Path) -> String {
    let failed: Vec<_> = output.lines().filter(|line| line.starts_with("FAIL")).collect();
    format!("no measurement: {}; all that was said is in {}", failed.join("; "), log.display())
}

fn samples_of(device_model: DeviceModel, run: u32, output: &str) -> Vec<Sample> {
    let sample = |name: &str, value: f64, unit: &str| Sample {
        device_model,
        run,
        name: name.to_owned(),
        value,
        unit: unit.to_owned(),
    };
    let mut samples: Vec<_> = output
        .lines()
        .filter_map(|line| match GuestLine::parse(line) {
            #[expect(clippy::cast_precision_loss, reason = "figures are far below 2^52")]
            GuestLine::Value(name, value, unit) => Some(sample(&name, value as f64, &unit)),
            _ => None,
        })
        .collect();
    if let Some(milliseconds) = output.lines().find_map(start_time) {
        samples.push(sample("start", milliseconds * 1e3, "us"));
    }
    samples
}

/// The milliseconds of `running, 123 ms after the first instruction` in the stub domain's log.
fn start_time(line: &str) -> Option<f64> {
    let (before, _) = line.strip_prefix("STUBDOM ")?.split_once(" ms after the first instruction")?;
    before.split_whitespace().next_back()?.parse().ok()
}

fn title(device_model: DeviceModel) -> &'static str {
    match device_model {
        DeviceModel::Qemu => "dom0's QEMU",
        DeviceModel::Stubdom => "our stub domain",
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    let is_even = values.len().is_multiple_of(2);
    Some(if is_even { f64::midpoint(values[middle - 1], upper) } else { upper })
}

/// Whether the target is met; nothing when there is none, or nothing to compare.
fn is_met(target: Target, ours: Option<f64>, ratio: Option<f64>) -> Option<bool> {
    match target {
        Target::None => None,
        Target::RatioAtMost(most) => Some(ratio? <= most),
        Target::RatioAtLeast(least) => Some(ratio? >= least),
        Target::AtMost(most) => Some(ours? <= most),
    }
}

/// Three digits, or as many as the whole part has.
fn number(value: f64) -> String {
    match value.abs() {
        ..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn table(samples: &[Sample]) -> String {
    let mut text = String::new();
    let mut row = |cells: [&str; 7]| {
        let [title, unit, qemu, ours, ratio, target, met] = cells;
        let line = format!("{title:<48} {unit:<6} {qemu:>8} {ours:>8} {ratio:>6}  {target:<8} {met}");
        text.push_str(line.trim_end());
        text.push('\n');
    };
    row(["", "", "QEMU", "ours", "ratio", "target", ""]);
    for Figure { name, title, unit, target } in FIGURES {
        let of = |device_model| {
            let values = samples.iter().filter(|sample| sample.device_model == device_model && sample.name == *name);
            median(values.map(|sample| sample.value / unit.1).collect())
        };
        let (qemu, ours) = (of(DeviceModel::Qemu), of(DeviceModel::Stubdom));
        let ratio = match (qemu, ours) {
            (Some(qemu), Some(ours)) if qemu > 0.0 => Some(ours / qemu),
            _ => None,
        };
        let cell = |value: Option<f64>| value.map_or("-".to_owned(), number);
        let wanted = match target {
            Target::None => String::new(),
            Target::RatioAtMost(most) => format!("<= {most}x"),
            Target::RatioAtLeast(least) => format!(">= {least}x"),
            Target::AtMost(most) => format!("<= {most}"),
        };
        let met = match (target, is_met(*target, ours, ratio)) {
            (Target::None, _) => "",
            (_, Some(true)) => "met",
            (_, Some(false)) => "MISSED",
            (_, None) => "unknown",
        };
        row([title, unit.0, &cell(qemu), &cell(ours), &cell(ratio), &wanted, met]);
    }
    text
}

/// All values, one in a line, as spreadsheets read them.
fn list(samples: &[Sample]) -> String {
    let mut text = String::from("device model\trun\tname\tvalue\tunit\n");
    for Sample { device_model, run, name, value, unit } in samples {
        let _ = writeln!(text, "{}\t{run}\t{name}\t{value}\t{unit}", title(*device_model));
    }
    text
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn values_of_the_guest_and_the_start_of_the_stub_domain_are_samples() {
        let output = "BOOT\nVALUE port-0x64 84800 ns\nSTUBDOM [info] running, 31 ms after the first instruction\n";
        let samples = samples_of(DeviceModel::Stubdom, 1, output);
        let found: Vec<_> = samples.iter().map(|sample| (sample.name.as_str(), sample.value)).collect();
        assert_eq!(found, [("port-0x64", 84_800.0), ("start", 31_000.0)]);
    }

    #[test]
    fn a_median_is_the_middle_or_between_the_two_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn the_table_says_which_targets_are_met() {
        let sample = |device_model, name: &str, value| Sample {
            device_model,
            run: 1,
            name: name.to_owned(),
            value,
            unit: String::new(),
        };
        let table = table(&[
            sample(DeviceModel::Qemu, "port-0x64", 80_000.0),
            sample(DeviceModel::Stubdom, "port-0x64", 20_000.0),
            sample(DeviceModel::Qemu, "dma-64k", 2048.0),
            sample(DeviceModel::Stubdom, "dma-64k", 1024.0),
            sample(DeviceModel::Stubdom, "idle-wakes", 0.0),
        ]);
        let line = |start: &str| table.lines().find(|line| line.starts_with(start)).unwrap_or("");
        assert!(line("read of port 0x64").ends_with("80.0     20.0   0.25  <= 0.4x  met"), "{table}");
        assert!(line("bus master reads of 64").ends_with("MISSED"), "{table}");
        assert!(line("wake-ups").ends_with("met"), "{table}");
        assert!(line("INT 13h").ends_with("unknown"), "{table}");
    }
}
