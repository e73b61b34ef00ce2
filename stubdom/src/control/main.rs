//! The control domain of the hypervisor core: it makes the other domains, and does for them what a toolstack and its daemons do.
//!
//! The boot loader gives it files. Each `*.cfg` among them describes a domain, as for `xl create`; kernels and ramdisks are found
//! by the last part of their paths. It ends when the last domain has.
//!
//! | file | what lives there |
//! |---|---|
//! | [`files`] | what the boot loader brought |
//! | [`building`] | a domain, from nothing to where it runs |
//! | [`domain`] | a domain that runs, up to its end |
//! | [`console`] | what domains print, and what is typed |
//! | [`devices`] | disks and network interfaces of domains, on virtio devices of the machine |
//! | [`store`], [`records`] | the xenstore daemon, and what it has of each domain |
#![no_std]
#![no_main]

extern crate alloc;

mod building;
mod console;
mod devices;
mod domain;
mod files;
mod records;
mod store;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use log::error;
use minios::boot;
use minios::event::EventChannel;
use minios::exec::{self, Executor};
use minios::hypercall::sched::ShutdownReason;
use minios::xenstore::Xenstore;
use xen_abi::event::VIRQ_DOM_EXC;

use console::Consoles;
use domain::Domain;
use files::Files;
use store::Store;

minios::image!(main);

fn main() {
    let mut executor = Executor::new();
    let spawner = executor.spawner();
    let reason = match executor.block_on(serve(spawner)) {
        Ok(()) => ShutdownReason::PowerOff,
        Err(reason) => {
            error!("{reason}");
            ShutdownReason::Crash
        }
    };
    boot::shut_down(reason);
}

/// What the care for domains needs.
struct Control {
    files: Files,
    daemon: Store,
    consoles: Consoles,
    store: Xenstore,
    spawner: exec::Spawner,
}

/// Starts all domains, and sees to them until none is left.
async fn serve(spawner: exec::Spawner) -> Result<(), String> {
    let files = Files::new();
    let (daemon, store) = Store::begin(&spawner)?;
    records::write_own(&store).await.map_err(|error| error.to_string())?;
    devices::begin(&store, &spawner).await?;
    let consoles = Consoles::begin(&spawner).map_err(|error| format!("the console: {error}"))?;
    let control = Control { files, daemon, consoles, store, spawner };
    let ends = EventChannel::bind_virq(VIRQ_DOM_EXC).map_err(|error| format!("VIRQ_DOM_EXC: {error}"))?;
    let mut signal = exec::signal(ends.port());
    let mut domains = Vec::new();
    for config in control.files.configs()? {
        domains.push(Domain::start(config, &control).await?);
    }
    if domains.is_empty() {
        return Err("there is no domain: no file that the boot loader brought is called *.cfg".into());
    }
    while !domains.is_empty() {
        signal.wait().await;
        let mut going_on = Vec::new();
        for domain in domains {
            going_on.extend(domain.look(&control).await?);
        }
        domains = going_on;
    }
    Ok(())
}
