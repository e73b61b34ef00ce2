//! Whole-system cases, each with guests of its own and with its logs in a folder of its own: what they are, and what they
//! work with.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::domain::{Config, DeviceModel, FOLDER, Guest};
use crate::guest_image::{self, GuestProgram};
use crate::testbed::Agent;

/// One thing that is shown to be so on a running Xen.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// A statement in few words, parted by dashes: the name of its folder too.
    pub name: &'static str,
    /// When it counts as failed. Emulation is slow, and a busy machine makes it slower.
    pub limit: Duration,
    /// Shows it.
    pub run: fn(&Context) -> Result<()>,
}

impl Case {
    /// A case with a limit in seconds.
    pub const fn new(name: &'static str, seconds: u64, run: fn(&Context) -> Result<()>) -> Self {
        Self { name, limit: Duration::from_secs(seconds), run }
    }
}

/// How many cases ended in which way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// It is so.
    pub passed: usize,
    /// It is not so, or there was no answer in time.
    pub failed: usize,
    /// It could not be tried.
    pub skipped: usize,
    /// It was tried again, and counts above as the last try ended.
    pub again: usize,
    /// A line for each that failed or was tried again, to be read where the log is long.
    pub remarks: Vec<String>,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.again += other.again;
        self.remarks.extend(other.remarks);
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.remarks.iter().try_for_each(|remark| writeln!(f, "{remark}"))?;
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)?;
        if self.again > 0 { write!(f, "; {} tries again", self.again) } else { Ok(()) }
    }
}

/// Until a line of a domain's console is surely in its file.
const LOG_DELAY: Duration = Duration::from_secs(20);

/// What a case works with.
#[derive(Clone, Debug)]
pub struct Context {
    /// The way into dom0.
    pub agent: Agent,
    /// The release of Xen, such as `4.17`.
    pub xen: String,
    /// The folder of this case: what it writes there is kept.
    pub logs: PathBuf,
    /// The folder of programs that cases install, for all of them.
    pub tools: PathBuf,
    program: Arc<GuestProgram>,
    guests: Arc<Mutex<Vec<Guest>>>,
}

impl Context {
    /// What a case works with in this testbed.
    pub(crate) fn new(agent: Agent, xen: String, logs: PathBuf, tools: PathBuf, program: Arc<GuestProgram>) -> Self {
        Self { agent, xen, logs, tools, program, guests: Arc::default() }
    }

    /// The guests that the case has created so far.
    pub(crate) fn guests(&self) -> Vec<Guest> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Creates a guest and lets it run. Its serial output is kept with the case's logs.
    pub fn start(&self, config: &Config) -> Result<Guest> {
        let guest = self.start_paused(config)?;
        guest.unpause()?;
        Ok(guest)
    }

    /// The same with a guest that waits for [`Guest::unpause`].
    pub fn start_paused(&self, config: &Config) -> Result<Guest> {
        let guest = Guest::create_paused(self.agent, config)?;
        self.guests.lock().unwrap_or_else(PoisonError::into_inner).push(guest.clone());
        Ok(guest)
    }

    /// The same with a whole xl.cfg, in which name and VNC display have to be these.
    pub fn start_text(&self, name: &str, display: u16, text: &str) -> Result<Guest> {
        let guest = Guest::create_from_text(self.agent, name, display, text)?;
        self.guests.lock().unwrap_or_else(PoisonError::into_inner).push(guest.clone());
        guest.unpause()?;
        Ok(guest)
    }

    /// A guest that runs the test program with this command line from its first disk, on 32 MiB of memory. libxl takes the
    /// video memory out of what it is told.
    pub fn test_guest(&self, name: &str, device_model: DeviceModel, command_line: &str) -> Result<Config> {
        let disk =
            self.disk(name, |path| self.program.write_disk(path, command_line, guests::layout::SMALLEST_DISK))?;
        let mut config = Config::new(name, device_model).disk(&disk, "hda");
        config.memory = 48;
        config.quick_disks = true;
        Ok(config)
    }

    /// Runs the test program to its end, where it switches off. Gives what it printed, when no check of it failed.
    pub fn run_test_guest(&self, device_model: DeviceModel, command_line: &str, limit: Duration) -> Result<String> {
        self.run_to_end(&self.test_guest("probe", device_model, command_line)?, limit)
    }

    /// Runs a test guest to its end, where it switches off. Gives what it printed, when no check of it failed.
    pub fn run_to_end(&self, config: &Config, limit: Duration) -> Result<String> {
        let guest = self.start(config)?;
        let output = guest.serial().wait_for("DONE", limit)?;
        guest_image::judge(&output)?;
        guest.wait_for_end(Duration::from_secs(60))?;
        Ok(output)
    }

    /// A guest with an own copy of the default guest's disk.
    pub fn debian(&self, name: &str, device_model: DeviceModel) -> Result<Config> {
        let table = "snapshot /dev/testbed/guest $loop N 8";
        self.agent.check(&format!(
            "set -e; mkdir -p {FOLDER}; modprobe dm_snapshot
            truncate -s 1G {FOLDER}/{name}.changes
            loop=$(losetup --find --show {FOLDER}/{name}.changes)
            dmsetup create {name} --noudevsync --table \"0 $(blockdev --getsz /dev/testbed/guest) {table}\"
            dmsetup mknodes {name}"
        ))?;
        let mut config = Config::new(name, device_model).disk(&format!("/dev/mapper/{name}"), "hda");
        config.quick_disks = true;
        Ok(config)
    }

    /// Makes a disk on this machine, and puts it into dom0. Gives its path there.
    pub fn disk(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<String> {
        let file = self.logs.join(format!("{name}.disk"));
        make(&file)?;
        let path = format!("{FOLDER}/{name}.disk");
        self.agent.put(&path, &fs::read(&file)?)?;
        fs::remove_file(&file)?;
        Ok(path)
    }

    /// What the stub domain of a guest has logged, as a user of xl finds it.
    pub fn stubdom_log(&self, guest: &str) -> Result<String> {
        let files = [format!("/var/log/xen/qemu-dm-{guest}.log"), format!("/var/log/xen/console/guest-{guest}-dm.log")];
        self.agent.check(&format!("cat {} 2>/dev/null; true", files.join(" ")))
    }

    /// The same as soon as these words are in it. What a domain writes to its console comes to the file a moment later.
    pub fn wait_for_stubdom_log(&self, guest: &str, words: &[&str]) -> Result<String> {
        let start = Instant::now();
        loop {
            let log = self.stubdom_log(guest)?;
            let Some(missing) = words.iter().find(|words| !log.contains(**words)) else { return Ok(log) };
            ensure!(start.elapsed() < LOG_DELAY, "{missing:?} is not in the stub domain's log:\n{log}");
            thread::sleep(Duration::from_millis(200));
        }
    }
}
