//! The loop: one thing at a time, until the domain is destroyed.

use devmodel::host::{InputEvent, Platform as _, SerialId};
use devmodel::machine::Machine;
use devmodel::time::earlier;
use log::warn;
use minios::Port;
use minios::clock;
use minios::event::{self, PortSet};
use minios::exec::{self, Executor};
use minios::ioreq::Source;
use minios::ioreq::{Ioreq, Kind};
use stubdom::keys::input_event;
use stubdom::vnc::Console;

use super::control::Control;
use super::host::World;
use super::io;
use super::own_screen::OwnScreen;
use super::start::Running;
use super::traditional::ClockOffset;

/// Everything that can wake the device model.
enum Event {
    /// A vCPU waits for an access.
    Access(usize),
    /// Accesses that nobody waits for were written down.
    BufferedAccesses,
    /// A backend, the store or the toolstack has something to say.
    Peer(Port),
}

/// Serves the guest for ever.
pub(super) fn run(mut running: Running, mut control: Option<Control>, mut executor: Executor) -> ! {
    let mut pending = PortSet::new();
    // What came while we started.
    let mut others = true;
    let mut deadline = None;
    loop {
        others |= event::take_pending(&mut pending);
        while let Some(port) = pending.pop() {
            match classify(&running.world, port) {
                Event::Access(vcpu) => access(&mut running, vcpu),
                Event::BufferedAccesses => buffered(&mut running),
                Event::Peer(port) => {
                    exec::signalled(port);
                    others = true;
                }
            }
        }
        // An access seldom concerns anybody else, and this is where a guest that waits for it is.
        others |= has_work(&mut running, deadline);
        if core::mem::take(&mut others) {
            deadline = serve_others(&mut running, &mut control, &mut executor);
        }
        event::wait(deadline);
    }
}

/// Whether an access has left something to do for somebody other than the guest.
fn has_work(running: &mut Running, deadline: Option<clock::Instant>) -> bool {
    let Running { machine, world, display, .. } = running;
    let is_sooner = |at: devmodel::Instant| deadline.is_none_or(|known| clock::Instant(at.0) < known);
    machine.next_deadline().is_some_and(is_sooner)
        || world.disks.may_have_ended()
        || world.serials.iter().any(|serial| serial.blocked || serial.input)
        || world.clock_offset.as_ref().is_some_and(ClockOffset::has_changed)
        || display.as_mut().is_some_and(|display| display.is_touched(machine))
}

/// Does everything that is not an access. Says when there is more to do.
fn serve_others(
    running: &mut Running,
    control: &mut Option<Control>,
    executor: &mut Executor,
) -> Option<clock::Instant> {
    if let Some(clock) = &mut running.world.clock_offset {
        clock.write_back();
    }
    exec::expire(clock::now());
    executor.run();
    serve_peers(running, control);
    serials(running);
    disks(running);
    let Running { machine, world, display, vnc, .. } = running;
    let now = world.now();
    if machine.next_deadline().is_some_and(|at| at <= now) {
        machine.poll(world);
    }
    let mut deadline = machine.next_deadline();
    if let Some(display) = display {
        if let Some(OwnScreen { server, .. }) = vnc {
            display.set_viewed(server.is_watched(), now);
        }
        display.serve(machine, world, now);
        if let Some(OwnScreen { stack, server }) = vnc {
            let now = clock::Instant(now.0);
            stack.poll(now);
            server.serve(stack, display.picture(), &mut MachineConsole { machine, world }, now);
            stack.poll(now);
            let next = [server.deadline(now), stack.next_deadline(now)].into_iter().flatten().min();
            deadline = earlier(deadline, next.map(|at| devmodel::Instant(at.0)));
        }
        deadline = earlier(deadline, display.deadline());
    }
    let deadline = deadline.map(|at| clock::Instant(at.0));
    [deadline, exec::next_deadline(), executor.is_ready().then(clock::now)].into_iter().flatten().min()
}

/// Viewers' console.
struct MachineConsole<'a> {
    machine: &'a mut Machine,
    world: &'a mut World,
}

impl Console for MachineConsole<'_> {
    fn input(&mut self, event: InputEvent) {
        self.machine.input(self.world, event);
    }

    fn has_unread_keys(&self) -> bool {
        self.machine.has_unread_keys()
    }

    fn keyboard_leds(&self) -> u8 {
        self.machine.keyboard_leds()
    }

    fn takes_positions(&self) -> bool {
        self.machine.takes_positions()
    }
}

fn classify(world: &World, port: Port) -> Event {
    match world.ioreq.source(port) {
        Some(Source::Vcpu(vcpu)) => Event::Access(vcpu),
        Some(Source::Buffered) => Event::BufferedAccesses,
        None => Event::Peer(port),
    }
}

/// Answers the access that a vCPU waits for. What was buffered came before it.
fn access(running: &mut Running, vcpu: usize) {
    buffered(running);
    let Some(request) = running.world.ioreq.take(vcpu) else { return };
    let data = perform(&mut running.machine, &mut running.world, &request);
    running.world.ioreq.complete(vcpu, data);
}

/// Performs accesses that nobody waits for.
fn buffered(running: &mut Running) {
    while let Some(request) = running.world.ioreq.take_buffered() {
        perform(&mut running.machine, &mut running.world, &request);
    }
}

fn perform(machine: &mut Machine, world: &mut World, request: &Ioreq) -> u64 {
    match request.kind {
        Kind::Invalidate => {
            world.memory.invalidate();
            request.data
        }
        // Xen keeps the guest's clock itself, and its offset in two's complement.
        Kind::TimeOffset => {
            if let Some(clock) = &mut world.clock_offset {
                clock.add(request.data.cast_signed());
            }
            request.data
        }
        Kind::Other(kind) => {
            warn!("Xen sends a request of the unknown kind {kind}");
            u64::MAX
        }
        Kind::Pio | Kind::Copy | Kind::PciConfig => io::perform(machine, world, request),
    }
}

/// Disk operations that have ended, until none has: one that ends may start the next, which may fail at once.
fn disks(running: &mut Running) {
    loop {
        let ended = running.world.disks.take_ended();
        if ended.is_empty() {
            return;
        }
        for (disk, result) in ended {
            running.machine.disk_complete(&mut running.world, disk, result);
        }
    }
}

/// Moves what can be moved between the machine and its peers.
fn serve_peers(running: &mut Running, control: &mut Option<Control>) {
    let Running { machine, world, display, keyboard, .. } = running;
    for nic in world.nics.news() {
        machine.nic_ready(world, nic);
    }
    for serial in &mut world.serials {
        serial.input = true;
    }
    let mut is_operated = false;
    if let Some(keyboard) = keyboard {
        while keyboard.poll(|event| {
            if let Some(event) = input_event(event) {
                is_operated = true;
                machine.input(world, event);
            }
        }) {}
    }
    if let Some(display) = display {
        display.poll();
        if is_operated {
            display.expect_change(world.now());
        }
    }
    if let Some(control) = control {
        control.poll(machine, world);
    }
}

/// Moves bytes between the serial ports and their consoles.
fn serials(running: &mut Running) {
    let Running { machine, world, .. } = running;
    for index in 0..world.serials.len() {
        let Ok(id) = u8::try_from(index).map(SerialId) else { return };
        if core::mem::take(&mut world.serials[index].blocked) {
            machine.serial_ready(world, id);
        }
        // What does not fit the port's FIFO stays in the console's ring, until the guest has read some.
        let mut bytes = [0; 16];
        while world.serials[index].input {
            let room = machine.serial_room(id).min(bytes.len());
            if room == 0 {
                break;
            }
            let count = world.serials[index].console.read(&mut bytes[..room]);
            world.serials[index].input = count == room;
            machine.serial_receive(world, id, &bytes[..count]);
        }
    }
}
