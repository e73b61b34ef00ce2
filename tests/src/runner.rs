//! Runs the cases: many in one boot of a testbed, in several testbeds side by side.
//!
//! Each release of Xen has a queue of cases. A testbed takes from one until it is empty, then a testbed of another release
//! is booted in its place, so that all of them work to the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::domain::FOLDER;
use crate::guest_image::GuestProgram;
use crate::suite::{Case, Context, Counts};
use crate::testbed::{Options, Testbed};

/// Everything that the cases need on one release of Xen.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The testbed; its disk `guest` is the default guest's, and each has a folder of its own in that for the logs.
    pub options: Options,
    /// The release of Xen in it.
    pub xen: String,
    /// The stub domain's image, and the ramdisk that toolstacks insist on.
    pub images: Vec<(PathBuf, &'static str)>,
    /// The folder of programs that cases install.
    pub tools: PathBuf,
    /// The test program.
    pub program: Arc<GuestProgram>,
}

/// What is left to do on one release, and what came of the rest.
struct Queue<'a> {
    plan: &'a Plan,
    cases: &'a [&'a Case],
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    taken: usize,
    counts: Counts,
}

impl<'a> Queue<'a> {
    fn take(&self) -> Option<&'a Case> {
        let mut progress = self.progress();
        progress.taken += 1;
        self.cases.get(progress.taken - 1).copied()
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what is to be read at the end: the first line of what is wrong.
    fn remark(&self, kind: &str, title: &str, error: &anyhow::Error) {
        let error = format!("{error:#}");
        let line = format!("{kind} {title}: {}", error.lines().next().unwrap_or_default());
        self.progress().counts.remarks.push(line);
    }

    /// Whether a case may be tried once more: that counts from here on.
    fn may_try_again(&self) -> bool {
        let again = &mut self.progress().counts.again;
        let may = *again < TRIES_AGAIN;
        *again += usize::from(may);
        may
    }
}

/// Runs every case on every plan, in so many testbeds side by side, and prints a line for each.
pub fn run(plans: &[Plan], cases: &[&Case], testbeds: usize) -> Result<Counts> {
    let queues: Vec<_> = plans.iter().map(|plan| Queue { plan, cases, progress: Mutex::default() }).collect();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..testbeds)
            .map(|number| {
                let queues = &queues;
                scope.spawn(move || {
                    // Everyone begins at another queue, and ends when all are empty.
                    queues
                        .iter()
                        .cycle()
                        .skip(number % queues.len())
                        .take(queues.len())
                        .try_for_each(|queue| work(queue, number))
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| anyhow!("the cases panicked; the message is above"))?)
    })?;
    let mut counts = Counts::default();
    for queue in &queues {
        counts += queue.progress().counts.clone();
    }
    Ok(counts)
}

/// Runs cases one after the other in one testbed until none is left.
fn work(queue: &Queue<'_>, number: usize) -> Result<()> {
    let mut plan = queue.plan.clone();
    let logs = plan.options.logs.clone();
    plan.options.logs.push(format!("testbed-{number}"));
    let mut running: Option<Testbed> = None;
    while let Some(case) = queue.take() {
        let mut ended = attempt(&plan, &logs, case, &mut running)?;
        for number in 1..=AGAIN {
            let Err(error) = &ended.result else { break };
            if plan.options.emulator.kvm || !queue.may_try_again() {
                break;
            }
            let why = if ended.has_slipped { SLIP } else { PERHAPS_A_SLIP };
            println!("again   {}: {error:#}\n        {why}", ended.title);
            queue.remark("again  ", &ended.title, error);
            let kept = logs.join(format!("{}-again-{number}", case.name));
            if kept.exists() {
                fs::remove_dir_all(&kept)?;
            }
            fs::rename(logs.join(case.name), kept)?;
            ended = attempt(&plan, &logs, case, &mut running)?;
        }
        match ended.result {
            Ok(()) => {
                queue.progress().counts.passed += 1;
                println!("ok      {}", ended.title);
            }
            Err(error) => {
                queue.remark("FAILED ", &ended.title, &error);
                queue.progress().counts.failed += 1;
                println!("FAILED  {}: {error:#}\n        logs: {}", ended.title, logs.join(case.name).display());
            }
        }
    }
    running.map_or(Ok(()), Testbed::shutdown)
}

/// Why a failed case gets a second chance. About one guest in a hundred dies of this: it was found executing the data that
/// lies exactly one page below its code, and with Xen's own registers in its control block.
const SLIP: &str = "A guest had a triple fault, or the testbed is gone. The emulator under Xen, QEMU 7.2 without KVM, now \
                    and then enters or leaves a guest with wrong registers, or ends by an assertion of its own (see \
                    qemu.log): so this case is tried again.";

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
    for guest in context.guests() {
        if let Ok(screen) = guest.picture() {
            screen.save(&context.logs.join(format!("screen-{}.png", guest.name())))?;
        }
    }
    Ok(())
}

/// The same of a guest that hangs: with wrong registers most do not get as far as a fault.
const PERHAPS_A_SLIP: &str = "Without KVM this may be the emulator under Xen, so the case is tried again. What there was to \
                          see is kept beside its logs.";
/// How often a case may be tried again. One in fifty needs it on a busy machine, so one in a few thousand needs it twice.
const AGAIN: usize = 2;
/// How often cases of one release may be tried again: what needs it more often is no accident.
const TRIES_AGAIN: usize = 5;

/// How a case ended.
struct Ended {
    /// Its name, and how long it took.
    title: String,
    result: Result<()>,
    /// A guest has died as it does when the emulator slips, or the emulator has.
    has_slipped: bool,
}

/// Runs a case in the running testbed or a new one, and leaves a testbed that can be used again, or none.
fn attempt(plan: &Plan, logs: &Path, case: &Case, running: &mut Option<Testbed>) -> Result<Ended> {
    let mut testbed = match running.take() {
        Some(testbed) => testbed,
        None => boot(plan)?,
    };
    let logs = logs.join(case.name);
    if logs.exists() {
        fs::remove_dir_all(&logs)?;
    }
    fs::create_dir_all(&logs)?;
    let program = Arc::clone(&plan.program);
    let context = Context::new(testbed.agent(), plan.xen.clone(), logs, plan.tools.clone(), program);
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
    for guest in context.guests() {
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
