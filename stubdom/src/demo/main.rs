//! A paravirtualised unikernel to start from: `xl create demo.cfg`, and a domain without an operating system in it draws a
//! dashboard, serves it to browsers and VNC viewers, keeps its disk in order and has a shell on its console.
//!
//! Read this file from top to bottom, and then the others as you need them:
//!
//! | file | what it shows |
//! |---|---|
//! | [`status`] | what all parts share: plain data behind an `Rc` |
//! | [`disk`] | reading and writing a disk, awaited |
//! | [`dashboard`] | drawing into the framebuffer with embedded-graphics |
//! | [`network`] | a station on a virtual interface, and its servers |
//! | [`pointer`] | what viewers' pointers look like |
//! | [`page`] | answering HTTP |
//! | [`shell`] | the console: reading lines, asking the store |
//!
//! The command line (`extra=` of xl.cfg) says what is listened to; nothing is by itself: `ip=dhcp http=80 vnc=:0
//! vncpasswd=...`.
#![no_std]
#![no_main]

extern crate alloc;

mod canvas;
mod dashboard;
mod disk;
mod network;
mod page;
mod pointer;
mod shell;
mod status;

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};

use log::{error, warn};
use minios::boot;
use minios::disk::Disk;
use minios::exec::{self, Executor};
use minios::front::framebuffer::Framebuffer;
use minios::front::keyboard::Keyboard;
use minios::front::{PATIENCE, Shortage, XenDomain};
use minios::hypercall::sched::ShutdownReason;
use minios::power::{self, Request};
use minios::xenbus;
use minios::xenstore::Xenstore;
use stubdom::keys::input_event;
use stubdom::picture::Picture;

use dashboard::Dashboard;
use network::Network;
use status::Shared;

// The entry symbol, the stack, the heap, the panic handler: all that a program is beside `main`.
minios::image!(main);

/// What the dashboard needs.
const SIZE: (u32, u32) = (800, 600);
/// Time between two drawings.
const INTERVAL_NS: u64 = 1_000_000_000;

fn main() {
    // Everything that waits is a task of this.
    let mut executor = Executor::new();
    let store = Xenstore::begin(&executor);

    // Attaching devices is a conversation with their backends, so it is awaited; `block_on` runs the tasks meanwhile.
    let spawner = executor.spawner();
    let attached = executor.block_on(attach(&store, &spawner));
    let Demo { status, mut picture, keyboard, mut network } = match attached {
        Ok(demo) => demo,
        Err(reason) => {
            error!("{reason}");
            boot::shut_down(ShutdownReason::Crash);
        }
    };

    // From here on: whenever something has happened, the tasks have their turn, and then what is not a task.
    let mut dashboard = Dashboard::default();
    executor.run_with(|now| {
        if let Some(keyboard) = &keyboard {
            while keyboard.poll(|event| status.borrow_mut().input(input_event(event))) {}
        }
        picture.front().poll();
        let deadline = network.as_mut().and_then(|network| network.serve(&mut picture, &status, now));
        if status.borrow_mut().is_to_be_drawn() {
            dashboard.draw(&mut picture, &status.borrow());
        }
        // What was drawn is sent to viewers in the next turn.
        if picture.flush() { Some(now) } else { deadline }
    })
}

/// The parts.
struct Demo {
    status: Shared,
    picture: Picture<XenDomain>,
    keyboard: Option<Keyboard<XenDomain>>,
    network: Option<Network>,
}

/// Attaches what the toolstack has given us. Nothing of it is needed.
async fn attach(store: &Xenstore, spawner: &exec::Spawner) -> Result<Demo, String> {
    let platform = Rc::new(XenDomain);
    let name = store.read("name").await.map_err(|error| error.to_string())?;
    let status = status::new(&name);

    // A picture is pages that somebody may show: a backend in dom0, our own VNC server, or both.
    let screen = first(store, "vfb").await;
    let path = screen.as_deref().unwrap_or("device/vfb/0");
    let pixels = SIZE.0 as usize * SIZE.1 as usize;
    let front = Framebuffer::new(platform.clone(), store, path, SIZE, pixels, PATIENCE);
    let front = front.map_err(|shortage| format!("{path}: {shortage}"))?;
    if screen.is_some() {
        spawner.spawn(front.clone().run());
    }
    let picture = Picture::new(front, true);

    // A frontend is a handle, and a task that keeps it connected.
    let keyboard = first(store, "vkbd").await;
    let keyboard =
        keyboard.and_then(|path| usable(&path, Keyboard::new(platform.clone(), store, &path, true, PATIENCE)));
    if let Some(keyboard) = &keyboard {
        spawner.spawn(keyboard.clone().run());
    }
    let disk = first(store, "vbd").await;
    let disk = disk.and_then(|path| usable(&path, Disk::new(platform.clone(), store, &path)));
    if let Some(disk) = &disk {
        spawner.spawn(disk.block().clone().run());
        spawner.spawn(disk::check_at_start(disk.clone(), status.clone()));
    }

    let network = Network::open(store, spawner, &platform, &name).await?;
    spawner.spawn(sample(status.clone()));
    spawner.spawn(obey(store.clone(), disk.clone(), status.clone()));
    spawner.spawn(shell::run(store.clone(), disk, status.clone()));
    status.borrow_mut().event("started");
    Ok(Demo { status, picture, keyboard, network })
}

/// The first device of a kind, if there is one.
async fn first(store: &Xenstore, kind: &str) -> Option<String> {
    match xenbus::devices(store, kind).await {
        Ok(devices) => devices.into_iter().next(),
        Err(error) => {
            warn!("{error}");
            None
        }
    }
}

/// Goes on without what there is no memory for.
fn usable<T>(path: &str, made: Result<T, Shortage>) -> Option<T> {
    made.inspect_err(|shortage| warn!("{path}: {shortage}")).ok()
}

/// Looks at the figures once a second.
async fn sample(status: Shared) {
    loop {
        exec::sleep(INTERVAL_NS).await;
        status.borrow_mut().sample();
    }
}

/// Does what `xl shutdown`, `xl reboot` and `xl save` ask for.
async fn obey(store: Xenstore, disk: Option<Disk<XenDomain>>, status: Shared) {
    let mut requests = match power::Requests::listen(&store).await {
        Ok(requests) => requests,
        Err(error) => return warn!("{error}"),
    };
    loop {
        let request = match requests.next().await {
            Ok(request) => request,
            Err(error) => return warn!("{error}"),
        };
        match request {
            Request::Suspend => {
                status.borrow_mut().event("stands still to be saved");
                match power::suspend_when_idle(&store).await {
                    Ok(true) => status.borrow_mut().event("restored"),
                    Ok(false) => status.borrow_mut().event("goes on"),
                    Err(error) => {
                        error!("cannot be saved: {error}");
                        status.borrow_mut().event("cannot be saved");
                    }
                }
            }
            Request::PowerOff | Request::Reboot => end(disk.as_ref(), request).await,
        }
    }
}

/// Ends the domain. What was written lasts.
async fn end(disk: Option<&Disk<XenDomain>>, request: Request) -> ! {
    if let Some(disk) = disk
        && !disk.block().info().read_only
        && disk.block().session().is_connected()
        && let Err(error) = disk.flush().await
    {
        error!("{}: {error}", disk.block().path());
    }
    power::end(request)
}
