//! Whole-system cases: many in one boot of the testbed, each with guests of its own and with its logs in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::domain::{Config, DeviceModel, FOLDER, Guest};
use crate::guest_image::{self, GuestProgram};
use crate::testbed::{Agent, Options, Testbed};

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// It is so.
    pub passed: usize,
    /// It is not so, or there was no answer in time.
    pub failed: usize,
    /// It could not be tried.
    pub skipped: usize,
    /// It was tried a second time, and counts above as that ended.
    pub again: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.again += other.again;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)?;
        if self.again > 0 { write!(f, "; {} of them at the second try", self.again) } else { Ok(()) }
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
        Ok(Config::new(name, device_model).disk(&format!("/dev/mapper/{name}"), "hda"))
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

/// Everything that a run of cases needs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The testbed; its disk `guest` is the default guest's.
    pub options: Options,
    /// The release of Xen in it.
    pub xen: String,
    /// The folder for the logs of all cases.
    pub logs: PathBuf,
    /// The stub domain's image, and the ramdisk that toolstacks insist on.
    pub images: Vec<(PathBuf, &'static str)>,
    /// The folder of programs that cases install.
    pub tools: PathBuf,
    /// The test program.
    pub program: Arc<GuestProgram>,
}

/// Runs cases one after the other in one testbed, and prints a line for each.
///
/// It has to be called by a thread that lives as long as the testbed.
pub fn run(plan: &Plan, cases: &[&Case]) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut running: Option<Testbed> = None;
    for case in cases {
        let mut ended = attempt(plan, case, &mut running)?;
        let may_try_again = !plan.options.emulator.kvm && counts.again < SECOND_TRIES;
        if let (Err(error), true) = (&ended.result, may_try_again) {
            let why = if ended.has_slipped { SLIP } else { SECOND_TRY };
            println!("again   {}: {error:#}\n        {why}", ended.title);
            let kept = plan.logs.join(format!("{}-again", case.name));
            if kept.exists() {
                fs::remove_dir_all(&kept)?;
            }
            fs::rename(plan.logs.join(case.name), kept)?;
            ended = attempt(plan, case, &mut running)?;
            counts.again += 1;
        }
        match ended.result {
            Ok(()) => {
                counts.passed += 1;
                println!("ok      {}", ended.title);
            }
            Err(error) => {
                counts.failed += 1;
                println!("FAILED  {}: {error:#}\n        logs: {}", ended.title, plan.logs.join(case.name).display());
            }
        }
    }
    if let Some(testbed) = running {
        testbed.shutdown()?;
    }
    Ok(counts)
}

/// Why a failed case gets a second chance. About one guest in a hundred dies of this: it was found executing the data that
/// lies exactly one page below its code, and with Xen's own registers in its control block.
const SLIP: &str = "A guest had a triple fault, or the testbed is gone. The emulator under Xen, QEMU 7.2 without KVM, now \
                    and then enters or leaves a guest with wrong registers, or ends by an assertion of its own (see \
                    qemu.log): so this case is tried once more.";

/// Shows where each CPU of each domain is, three times, and lets Xen print what it knows of event channels and domains.
const WHERE: &str = "for turn in 1 2 3; do
    xl list | awk '$2 > 0 { print $1, $2, $4 }' | while read -r name domain cpus; do
        for cpu in $(seq 0 $((cpus - 1))); do
            echo \"== $name (domain $domain), CPU $cpu\"
            timeout 5 /usr/lib/xen-*/bin/xenctx \"$domain\" \"$cpu\" 2>&1
        done
    done
    sleep 1
done
xl vcpu-list
xl debug-keys q
xl debug-keys e";

/// Saves what there is to see of a case that failed: where everything stands, and what is on the screens.
fn show(context: &Context) -> Result<()> {
    if let Ok(places) = context.agent.exec(WHERE) {
        fs::write(context.logs.join("where.log"), places.stdout)?;
    }
    for guest in context.guests.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        if let Ok(screen) = guest.picture() {
            screen.save(&context.logs.join(format!("screen-{}.png", guest.name())))?;
        }
    }
    Ok(())
}

/// The same of a guest that hangs: with wrong registers most do not get as far as a fault.
const SECOND_TRY: &str = "Without KVM this may be the emulator under Xen, so the case is tried once more. What there was to \
                          see is kept beside its logs.";
/// How many cases may have a second try: one in a hundred needs it, and what needs it more often is no accident.
const SECOND_TRIES: usize = 3;

/// How a case ended.
struct Ended {
    /// Its name, and how long it took.
    title: String,
    result: Result<()>,
    /// A guest has died as it does when the emulator slips, or the emulator has.
    has_slipped: bool,
}

/// Runs a case in the running testbed or a new one, and leaves a testbed that can be used again, or none.
fn attempt(plan: &Plan, case: &Case, running: &mut Option<Testbed>) -> Result<Ended> {
    let mut testbed = match running.take() {
        Some(testbed) => testbed,
        None => boot(plan)?,
    };
    let logs = plan.logs.join(case.name);
    if logs.exists() {
        fs::remove_dir_all(&logs)?;
    }
    fs::create_dir_all(&logs)?;
    let context = Context {
        agent: testbed.agent(),
        xen: plan.xen.clone(),
        logs,
        tools: plan.tools.clone(),
        program: Arc::clone(&plan.program),
        guests: Arc::default(),
    };
    let start = Instant::now();
    let result = perform(case, &context);
    let title = format!("Xen {} {} ({:.1} s)", plan.xen, case.name, start.elapsed().as_secs_f64());
    if result.is_err() {
        // An emulator that comes to its end takes a moment.
        thread::sleep(Duration::from_secs(2));
        if testbed.is_running() {
            show(&context)?;
        }
    }
    let has_slipped = result.is_err()
        && !plan.options.emulator.kvm
        && (!testbed.is_running()
            || context.agent.exec("xl dmesg").is_ok_and(|log| log.stdout.contains("Triple fault")));
    // A testbed that cannot be cleaned is not used again.
    if let Err(error) = clean(&context) {
        println!("        the testbed did not get over it and is started again: {error:#}");
    } else {
        *running = Some(testbed);
    }
    Ok(Ended { title, result, has_slipped })
}

fn boot(plan: &Plan) -> Result<Testbed> {
    let start = Instant::now();
    let testbed = Testbed::boot(&plan.options)?;
    for (file, place) in &plan.images {
        testbed.put(place, &fs::read(file).with_context(|| format!("cannot read {}", file.display()))?)?;
    }
    println!(
        "        Xen {} and its dom0 booted ({:.1} s), log: {}",
        plan.xen,
        start.elapsed().as_secs_f64(),
        testbed.log().display()
    );
    Ok(testbed)
}

/// Runs a case in a thread of its own. One that does not end in time is left behind: without its guests it comes to nothing.
fn perform(case: &Case, context: &Context) -> Result<()> {
    let (sender, receiver) = mpsc::channel();
    let (body, own) = (case.run, context.clone());
    thread::spawn(move || {
        // Nobody listens any more when the time was over.
        let _ = sender.send(body(&own));
    });
    match receiver.recv_timeout(case.limit) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(anyhow!("no end after {} s", case.limit.as_secs())),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(anyhow!("the case panicked; its message is above")),
    }
}

/// Saves what was said during a case, and takes away what it left.
fn clean(context: &Context) -> Result<()> {
    for guest in context.guests.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        fs::write(context.logs.join(format!("serial-{}.log", guest.name())), guest.serial().text())?;
    }
    let agent = context.agent;
    let domains = agent.exec("xl list; xenstore-ls -fp")?;
    fs::write(context.logs.join("xenstore.log"), domains.stdout)?;
    agent.exec("for domain in $(xl list | awk '$2 > 0 { print $2 }'); do xl destroy \"$domain\"; done")?;
    agent.save_logs(&context.logs)?;
    agent.check(&format!(
        "dmsetup remove_all --force; losetup --detach-all; rm -rf {FOLDER}; xl dmesg --clear >/dev/null
        find /var/log/xen -type f -exec truncate -s 0 '{{}}' +
        test \"$(xl list | wc -l)\" -eq 2 || {{ echo 'domains are left:'; xl list; exit 1; }} >&2"
    ))?;
    Ok(())
}
