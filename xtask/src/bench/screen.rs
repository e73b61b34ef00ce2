//! How long it takes from a guest's write to the screen until a viewer has it: our own VNC server against that of dom0's QEMU.
//!
//! The guest answers a byte on COM1 and draws a block right after it (`tests/guests`, case `flash`). Both come to this machine
//! through dom0; the time between them is what counts. It is of this machine's clock, so the emulator's slowness is in it.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use tests::domain::{Config, DeviceModel, FOLDER, Guest};
use tests::guest_image::GuestProgram;
use tests::testbed::{Agent, Clock, Options, Testbed};

use crate::build::Images;
use crate::image::{self, Xen};
use crate::progress::Step;
use crate::{emulator, paths, run};

/// How often it is measured, on each device model.
const TIMES: usize = 30;
/// Between two times, so that the screen comes to rest.
const REST: Duration = Duration::from_millis(700);
/// Of the guest's disk.
const DISK_BYTES: u64 = 16 << 20;
const LIMIT: Duration = Duration::from_secs(300);

pub(super) fn run(xen: Xen, images: &Images) -> Result<()> {
    let logs = paths::target().join("bench").join(xen.to_string()).join("screen");
    fs::create_dir_all(&logs)?;
    let disk = logs.join("guest.disk");
    let program = GuestProgram::from_elf(&fs::read(&images.guest).context("no test guest")?)?;
    program.write_disk(&disk, "run=flash", DISK_BYTES)?;
    let options = Options {
        emulator: emulator::find()?,
        dom0: image::dom0(xen)?,
        disks: Vec::new(),
        clock: Clock::Wall,
        cpus: 1,
        memory: 2048,
        logs: logs.clone(),
    };
    let step = Step::logged(format!("Booting Xen {xen} and its dom0"), &logs.join("testbed.log"));
    let testbed = Testbed::boot(&options)?;
    step.done();
    let agent = testbed.agent();
    run::install(agent)?;
    let place = format!("{FOLDER}/guest.disk");
    agent.put(&place, &fs::read(&disk)?)?;
    fs::remove_file(&disk)?;
    let mut table = String::new();
    for device_model in [DeviceModel::Qemu, DeviceModel::Stubdom] {
        let step = Step::begin(format!("Looking at a screen on {}", super::title(device_model)));
        let measured = measure(agent, device_model, &place);
        agent.save_logs(&logs)?;
        let mut times = measured?;
        times.sort_unstable();
        let milliseconds = |index: usize| times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3);
        let (middle, late) = (milliseconds(TIMES / 2), milliseconds(TIMES * 9 / 10));
        table += &format!("{:<28} median {middle:6.1} ms, 9 of 10 within {late:6.1} ms\n", super::title(device_model));
        step.done();
    }
    testbed.shutdown()?;
    println!("\nXen {xen}, from a write to the screen to the rectangle at a viewer\n\n{table}");
    Ok(())
}

fn measure(agent: Agent, device_model: DeviceModel, disk: &str) -> Result<Vec<Duration>> {
    let mut config = Config::new("screen", device_model).disk(disk, "hda");
    config.memory = 48;
    if device_model == DeviceModel::Stubdom {
        config = config.own_screen("bridge=xenbr0,model=e1000,mac=00:16:3e:01:02:05");
    }
    let guest = Guest::create(agent, &config)?;
    let times = guest.serial().wait_for("READY flash", LIMIT).and_then(|_| watch(&guest));
    // Whatever becomes of it.
    times.and_then(|times| guest.destroy().map(|()| times))
}

fn watch(guest: &Guest) -> Result<Vec<Duration>> {
    let serial = guest.serial();
    let mut viewer = guest.viewer()?;
    viewer.picture()?;
    let mut times = Vec::new();
    for _ in 0..TIMES {
        // What has changed until now has been seen.
        thread::sleep(REST);
        viewer.picture()?;
        let known = serial.text().len();
        let (drawn, seen) = thread::scope(|scope| {
            let look = scope.spawn(|| viewer.change().map(|()| Instant::now()));
            // The request is there first.
            thread::sleep(REST / 2);
            serial.send(b"x")?;
            serial.wait_for_past(known, "x", LIMIT)?;
            let drawn = Instant::now();
            anyhow::Ok((drawn, look.join().map_err(|_| anyhow!("the viewer panicked"))??))
        })?;
        times.push(seen.saturating_duration_since(drawn));
    }
    Ok(times)
}
