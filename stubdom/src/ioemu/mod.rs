//! Start, run, or say why not.

mod control;
mod disks;
mod display;
mod firmware;
mod guest_memory;
mod host;
mod io;
mod nics;
mod orphans;
mod own_screen;
mod phase;
mod run;
mod start;
mod traditional;
mod video_memory;

use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use log::{error, info};
use minios::boot;
use minios::clock;
use minios::console;
use minios::exec::{self, Executor};
use minios::front::XenDomain;
use minios::heap;
use minios::hypercall::sched::ShutdownReason;
use minios::xenstore::Xenstore;
use stubdom::config::{CommandLine, Contract};

use control::Control;
use phase::Phases;
use start::{Failure, Identity, Running};

/// How long everything up to `running` may take. libxl destroys us after 30 s; the reason has to be written before.
const START_NS: u64 = 25_000_000_000;
/// How long the last words may take.
const LAST_WORDS_NS: u64 = 2_000_000_000;
/// How often it is looked whether they were heard.
const LOOK_AGAIN_NS: u64 = 5_000_000;

/// The program.
pub(crate) fn main() {
    let mut executor = Executor::new();
    let store = Xenstore::begin(&executor);
    let deadline = clock::now().after(START_NS);
    let spawner = executor.spawner();
    let begun = executor.block_on(async {
        let identity = exec::before(deadline, Identity::read(&store)).await;
        let identity = match identity {
            Some(Ok(identity)) => identity,
            Some(Err(failure)) => return Err((None, failure)),
            None => return Err((None, Failure::of("xenstore: it does not answer"))),
        };
        match exec::before(deadline, Box::pin(begin(&store, &spawner, identity))).await {
            Some(Ok(begun)) => Ok(begun),
            Some(Err(failure)) => Err((Some(identity), failure)),
            None => Err((Some(identity), Failure::of("the start took longer than 25 s"))),
        }
    });
    match begun {
        Ok((running, control)) => run::run(running, control, executor),
        Err((identity, failure)) => {
            error!("{}", failure.0);
            if let Some(identity) = identity {
                let path = format!("{}/error", identity.directory());
                // Console 0 has the reason as well.
                let until = clock::now().after(LAST_WORDS_NS);
                let _ = executor.block_on(exec::before(until, store.write(&path, &failure.0)));
            }
            // Its daemon may come later than we.
            let until = clock::now().after(LAST_WORDS_NS);
            executor.block_on(exec::before(until, async {
                while !console::is_drained() {
                    exec::sleep(LOOK_AGAIN_NS).await;
                }
            }));
            boot::shut_down(ShutdownReason::Crash)
        }
    }
}

/// Everything up to `running`.
async fn begin(
    store: &Xenstore,
    spawner: &exec::Spawner,
    identity: Identity,
) -> Result<(Running, Option<Control>), Failure> {
    let mut phases = Phases::new();
    let line = CommandLine::parse(boot::command_line())?;
    let platform = Rc::new(XenDomain);
    let (running, contract) = start::start(store, spawner, &platform, identity, &line, &mut phases).await?;
    let control = match contract {
        Contract::QemuXen => Some(Control::open(store, &platform, identity).await?),
        Contract::Traditional => {
            traditional::serve_commands(store, spawner, identity).await?;
            None
        }
    };
    phases.done("control channel");
    store.write(&format!("{}/state", identity.directory()), "running").await?;
    info!(
        "running, {} ms after the first instruction, {} KiB of memory free",
        clock::now().0 / 1_000_000,
        heap::free_bytes() >> 10
    );
    Ok((running, control))
}
