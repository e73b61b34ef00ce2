//! Checks of miniOS on a running Xen.
//!
//! Prints `PASS name` or `FAIL name: why` for each check on console 0, then `DONE passed failed`, and powers off. With
//! `die=panic`, `die=null`, `die=guard`, `die=overflow`, `die=opcode` or `die=memory` on the command line it ends that
//! way instead, after the line `DYING`. With `devices` it also tries the disks, consoles, framebuffer and keyboard that it
//! was given; with `many=PATH` it expects the 600 entries `entry-0000` and on in a directory that dom0 made. With `disks` it
//! tries disks alone. With `virtio`, domain 0 tries the machine's virtio disks and cards; it overwrites the disks. With `serve=MEBIBYTES` it checks nothing, but is the backend of disks of that size.
// UNSAFETY: the entry symbol, and the accesses that are to fault.
#![expect(unsafe_code)]
#![no_std]
#![no_main]

extern crate alloc;

mod core_checks;
mod devices;
mod machine;
mod report;
mod serve;
mod store;

use alloc::format;
use alloc::string::String;
use minios::boot;
use minios::exec::Executor;
use minios::xenstore::Xenstore;
use report::Report;

minios::image!(main);

/// Why a check failed.
type Outcome = Result<(), String>;

/// A check, by name.
type Check = (&'static str, fn() -> Outcome);

/// Fails with the text, unless the condition holds.
fn expect(condition: bool, text: impl FnOnce() -> String) -> Outcome {
    if condition { Ok(()) } else { Err(text()) }
}

fn main() {
    if let Some(way) = boot::option("die") {
        die(way);
    }
    if let Some(size) = boot::option("serve") {
        return serve(size);
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, check) in core_checks::ALL {
        match check() {
            Ok(()) => {
                passed += 1;
                log::info!("PASS {name}");
            }
            Err(why) => {
                failed += 1;
                log::info!("FAIL {name}: {why}");
            }
        }
    }
    let peers = report_on_peers();
    log::info!("DONE {} {}", passed + peers.passed, failed + peers.failed);
}

/// Serves disks.
fn serve(size: &str) {
    let (Some(store), Ok(mebibytes)) = (Xenstore::of_this_domain(), size.parse()) else {
        return log::error!("cannot serve {size:?} MiB");
    };
    let mut executor = Executor::new();
    executor.spawn(store.clone().serve());
    let spawner = executor.spawner();
    executor.block_on(serve::run(&store, &spawner, mebibytes));
}

/// Checks what there is of the store, and with `devices` on the command line of the devices.
fn report_on_peers() -> Report {
    let mut report = Report::default();
    let Some(store) = Xenstore::of_this_domain() else {
        // The control domain is the one that makes a store.
        if boot::is_control_domain() {
            if boot::option("virtio").is_some() {
                let mut executor = Executor::new();
                let spawner = executor.spawner();
                executor.block_on(machine::all(&mut report, &spawner));
            }
            return report;
        }
        report.case("store: there is one", Err(String::new()));
        return report;
    };
    let mut executor = Executor::new();
    executor.spawn(store.clone().serve());
    let spawner = executor.spawner();
    executor.block_on(async {
        store::all(&mut report, &store).await;
        if boot::option("devices").is_some() {
            devices::all(&mut report, &store, &spawner).await;
        }
        if boot::option("disks").is_some() {
            devices::disks(&mut report, &store, &spawner).await;
        }
    });
    report
}

/// Ends as asked.
fn die(way: &str) {
    log::info!("DYING");
    let address = match way {
        "null" => 0x10,
        "guard" => boot::layout().map_or(0, |layout| layout.stack_guard + 8),
        "overflow" => recurse(1),
        "opcode" => {
            // SAFETY: it faults, which ends the domain.
            unsafe { core::arch::asm!("ud2") };
            0
        }
        "memory" => {
            let huge = alloc::vec![0_u8; 1 << 40];
            huge.len()
        }
        _ => panic!("as asked: {}", format!("die={way}")),
    };
    // SAFETY: nothing is mapped there, so it faults, which ends the domain.
    let value = unsafe { core::ptr::with_exposed_provenance::<u64>(address).read_volatile() };
    log::error!("read {value:#x} at {address:#x}, where nothing should be");
}

/// Uses the stack until there is none.
fn recurse(depth: usize) -> usize {
    let frame = [depth; 64];
    core::hint::black_box(&frame);
    if depth == usize::MAX { 0 } else { recurse(depth + 1) + core::hint::black_box(frame)[depth % 64] }
}
