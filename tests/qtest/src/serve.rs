//! The loop: what arrives, goes to whom it is for.

use std::fs::File;
use std::io::{self, Read, Write};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::time::Instant as Clock;

use anyhow::{Context, Result, anyhow, ensure};
use devmodel::host::ShutdownReason;
use serde_json::{Value, json};

use crate::character::{self, Event, Output, Peer, Source};
use crate::migration::{self, TAKEN};
use crate::monitor::{self, Effect, Monitor, State, path};
use crate::pc::Pc;
use crate::plan::{Address, Endpoint, Log, Network, Plan, Socket};
use crate::protocol::{ENDIANNESS, Session};
use crate::trays::Moved;

/// The program is in its loop, and hears of signals there.
static IN_LOOP: AtomicBool = AtomicBool::new(false);

/// Everything.
struct Server {
    plan: Plan,
    /// `None`: the machine is `none`.
    pc: Option<Pc>,
    qtest: Peer,
    session: Session,
    monitors: Vec<(Peer, Monitor)>,
    log: Option<Output>,
    started: Clock,
    status: &'static str,
    /// What has arrived of the machine in whose place ours goes on.
    incoming: (Peer, Vec<u8>),
    /// How sending ours to another program ended.
    migration: Option<&'static str>,
    /// Why it cannot go on.
    failure: Option<anyhow::Error>,
    ended: bool,
}

/// Builds the machine and serves it until somebody ends it.
pub(crate) fn serve(plan: Plan) -> Result<()> {
    let pc = if plan.no_machine { None } else { Some(Pc::new(&plan)?) };
    let log: Option<Output> = match &plan.qtest_log {
        Log::None => None,
        Log::Stderr => Some(Box::new(io::stderr())),
        Log::File(path) => {
            Some(Box::new(File::create(path).with_context(|| format!("cannot create {}", path.display()))?))
        }
    };
    let (sender, events) = mpsc::channel();
    let signals = sender.clone();
    ctrlc::set_handler(move || {
        if !IN_LOOP.load(Ordering::SeqCst) || signals.send(Event::Terminated).is_err() {
            process::exit(0);
        }
    })?;
    for (number, end) in plan.serial.iter().enumerate() {
        character::open(end, Source::Serial(number), &sender)?;
    }
    character::open(plan.debug_port.as_ref().unwrap_or(&Endpoint::Null), Source::DebugPort, &sender)?;
    for (number, network) in plan.networks.iter().enumerate() {
        if let Network::Stream(socket) = network {
            character::open(&Endpoint::Socket(socket.clone()), Source::Network(number), &sender)?;
        }
    }
    if let Some(address) = &plan.incoming {
        let socket = Socket { address: address.clone(), listen: true, wait: false };
        character::open(&Endpoint::Socket(socket), Source::Incoming, &sender)?;
    }
    // The client waits for the one, then for the other.
    character::open(&plan.qtest, Source::Qtest, &sender)?;
    for (number, end) in plan.monitors.iter().enumerate() {
        character::open(end, Source::Monitor(number), &sender)?;
    }
    let mut server = Server {
        pc,
        qtest: Peer::default(),
        session: Session::default(),
        monitors: plan.monitors.iter().map(|_| Default::default()).collect(),
        log,
        started: Clock::now(),
        status: match plan.incoming {
            Some(_) => "inmigrate",
            None if plan.stopped => "prelaunch",
            None => "running",
        },
        incoming: Default::default(),
        migration: None,
        failure: None,
        ended: false,
        plan,
    };
    IN_LOOP.store(true, Ordering::SeqCst);
    server.run(&events);
    server.failure.map_or(Ok(()), Err)
}

/// Sends a machine to who listens there, and waits until it was taken over.
fn send(pc: &mut Pc, runs: bool, address: &Address) -> Result<()> {
    let (mut input, mut output) =
        character::connect(address).with_context(|| format!("cannot connect to {address:?}"))?;
    output.write_all(&migration::State { runs, ..pc.state() }.encode()?)?;
    output.flush()?;
    let mut answer = [0];
    input.read_exact(&mut answer).context("it was not taken over")?;
    ensure!(answer == [TAKEN], "it was not taken over");
    Ok(())
}

impl Server {
    fn run(&mut self, events: &Receiver<Event>) {
        while !self.ended {
            if self.run_guest() {
                match events.try_recv() {
                    Ok(event) => self.happened(event),
                    Err(TryRecvError::Empty) => {}
                    Err(TryRecvError::Disconnected) => return,
                }
                continue;
            }
            let ready = self.pc.as_ref().and_then(|pc| pc.world.disks.next_ready());
            let event = match ready.map(|at| events.recv_timeout(at.saturating_duration_since(Clock::now()))) {
                None => events.recv().ok(),
                Some(Err(RecvTimeoutError::Timeout)) => {
                    if let Some(pc) = &mut self.pc {
                        pc.catch_up();
                    }
                    self.obey_guest();
                    self.report_interrupts();
                    continue;
                }
                Some(event) => event.ok(),
            };
            let Some(event) = event else { return };
            self.happened(event);
        }
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Connected(source, output) => self.connected(source, output),
            Event::Received(source, bytes) => self.received(source, &bytes),
            Event::Closed { source, last } => self.closed(source, last),
            Event::Terminated => {
                self.tell("SHUTDOWN", Some(json!({"guest": false, "reason": "host-signal"})));
                self.ended = true;
            }
        }
        self.obey_guest();
        self.report_interrupts();
    }

    /// Gives the CPU a turn, if there is one. `false`: it has nothing to do until something happens outside.
    fn run_guest(&mut self) -> bool {
        if self.status != "running" {
            return false;
        }
        let goes_on = self.pc.as_mut().is_some_and(Pc::run);
        if self.plan.has_cpu {
            self.obey_guest();
            self.report_interrupts();
        }
        goes_on && !self.ended
    }

    fn connected(&mut self, source: Source, output: Output) {
        match source {
            Source::Qtest => {
                self.session.restart();
                self.qtest.connect(output);
                self.started = Clock::now();
                self.note("I", "OPENED");
            }
            Source::Monitor(number) => {
                if let Some((peer, monitor)) = self.monitors.get_mut(number) {
                    *monitor = Monitor::default();
                    peer.connect(output);
                    peer.write(monitor::greeting().as_bytes());
                }
            }
            Source::Incoming => self.incoming.0.connect(output),
            Source::Serial(_) | Source::Network(_) | Source::DebugPort => {
                if let Some(peer) = self.device_peer(source) {
                    peer.connect(output);
                }
            }
        }
        if source == Source::Qtest
            && let Some(pc) = &mut self.pc
        {
            pc.world.irqs.forget();
        }
    }

    fn closed(&mut self, source: Source, last: bool) {
        match source {
            Source::Qtest => {
                self.qtest.disconnect();
                self.note("I", "CLOSED");
                // Nobody can play the CPU any more.
                self.ended |= last;
            }
            Source::Monitor(number) => {
                if let Some((peer, _)) = self.monitors.get_mut(number) {
                    peer.disconnect();
                }
                let is_alone = matches!(self.plan.qtest, Endpoint::Null);
                self.ended |= last && is_alone && self.monitors.iter().all(|(peer, _)| !peer.is_connected());
            }
            Source::Incoming => self.incoming = Default::default(),
            Source::Serial(_) | Source::Network(_) | Source::DebugPort => {
                if let Some(peer) = self.device_peer(source) {
                    peer.disconnect();
                }
            }
        }
    }

    /// The other end of a device.
    fn device_peer(&mut self, source: Source) -> Option<&mut Peer> {
        let world = &mut self.pc.as_mut()?.world;
        match source {
            Source::Serial(number) => world.serial.get_mut(number),
            Source::Network(number) => world.nics.get_mut(number).map(|nic| {
                nic.changed();
                &mut nic.peer
            }),
            Source::DebugPort => Some(&mut world.debug_port),
            Source::Qtest | Source::Monitor(_) | Source::Incoming => None,
        }
    }

    fn received(&mut self, source: Source, bytes: &[u8]) {
        match source {
            Source::Qtest => {
                for line in self.session.receive(bytes) {
                    self.command(&line);
                }
            }
            Source::Monitor(number) => self.monitor(number, bytes),
            Source::Serial(number) => {
                if let Some(pc) = &mut self.pc {
                    pc.serial_receive(number, bytes);
                }
            }
            Source::Network(number) => {
                if let Some(pc) = &mut self.pc {
                    pc.network_receive(number, bytes);
                }
            }
            Source::DebugPort => {}
            Source::Incoming => self.take_over(bytes),
        }
    }

    /// One command of the client that plays the CPU.
    fn command(&mut self, line: &str) {
        self.note("R", line);
        let runs = self.status == "running";
        let answer = match &mut self.pc {
            Some(pc) => self.session.perform(pc, runs, line),
            None if line == "endianness" => ENDIANNESS.to_owned(),
            None => "FAIL there is no machine".to_owned(),
        };
        self.obey_guest();
        self.report_interrupts();
        self.send(&answer);
    }

    /// Commands of a client of QMP.
    fn monitor(&mut self, number: usize, bytes: &[u8]) {
        let Some((_, monitor)) = self.monitors.get_mut(number) else { return };
        for command in monitor.receive(bytes) {
            let state = State { status: self.status, cpus: self.plan.cpus, migration: self.migration };
            let Some((_, monitor)) = self.monitors.get_mut(number) else { return };
            let (answer, effect) = monitor.perform(&command, state, self.pc.as_mut());
            // What happens because of it is told before the answer, except for an end.
            self.report_trays();
            match effect {
                Effect::Nothing => {}
                Effect::Unplugged(id) => self.tell("DEVICE_DELETED", Some(json!({"device": id, "path": path(&id)}))),
                Effect::Quit => {
                    if let Some((peer, _)) = self.monitors.get_mut(number) {
                        peer.write(answer.as_bytes());
                    }
                    self.tell("SHUTDOWN", Some(json!({"guest": false, "reason": "host-qmp-quit"})));
                    self.ended = true;
                    return;
                }
                Effect::Stop if self.status == "running" => {
                    self.status = "paused";
                    self.tell("STOP", None);
                }
                // It goes on when it is here.
                Effect::Continue if self.status == "inmigrate" => self.plan.stopped = false,
                Effect::Continue if self.status != "running" => {
                    self.status = "running";
                    self.tell("RESUME", None);
                    if let Some(pc) = &mut self.pc {
                        pc.go_on();
                    }
                }
                Effect::Stop | Effect::Continue => {}
                Effect::Reset => self.reset(false),
                Effect::Migrate(address) => self.migrate(&address),
                Effect::PowerDown => self.tell("POWERDOWN", None),
            }
            if let Some((peer, _)) = self.monitors.get_mut(number) {
                peer.write(answer.as_bytes());
            }
        }
    }

    /// Lets the machine go on in another program.
    fn migrate(&mut self, address: &Address) {
        let Some(pc) = &mut self.pc else { return };
        let runs = self.status == "running";
        let sent = if pc.guest.is_some() { Err(anyhow!("its CPU cannot be sent")) } else { send(pc, runs, address) };
        self.migration = Some(match sent {
            Ok(()) => "completed",
            Err(error) => {
                eprintln!("cannot migrate: {error:#}");
                "failed"
            }
        });
        if self.migration == Some("completed") {
            if runs {
                self.tell("STOP", None);
            }
            self.status = "postmigrate";
        }
    }

    /// Goes on in place of another program's machine, when all of it has arrived.
    fn take_over(&mut self, bytes: &[u8]) {
        let (peer, received) = &mut self.incoming;
        received.extend_from_slice(bytes);
        let Some(pc) = self.pc.as_mut().filter(|_| self.status == "inmigrate") else { return };
        let runs = match migration::State::decode(received) {
            Ok(None) => return,
            Ok(Some(state)) => pc.take_over(&state).map(|()| state.runs),
            Err(error) => Err(error),
        };
        match runs {
            Ok(runs) => {
                self.status = if runs && !self.plan.stopped { "running" } else { "paused" };
                peer.write(&[TAKEN]);
                if self.status == "running" {
                    self.tell("RESUME", None);
                }
            }
            Err(error) => {
                self.failure = Some(error.context("-incoming"));
                self.ended = true;
            }
        }
    }

    /// Stops the machine when a disk fails that is to be tried again.
    fn obey_disks(&mut self) {
        let Some(stop) = self.pc.as_mut().and_then(|pc| pc.world.disks.take_stop()) else { return };
        let operation = if stop.is_read { "read" } else { "write" };
        let data = json!({"device": stop.node, "node-name": stop.node, "operation": operation, "action": "stop",
            "nospace": false, "reason": "Input/output error"});
        self.tell("BLOCK_IO_ERROR", Some(data));
        if self.status == "running" {
            self.status = "io-error";
            self.tell("STOP", None);
        }
    }

    /// Tells of the trays that have moved.
    fn report_trays(&mut self) {
        for Moved { id, name, is_open } in self.pc.as_mut().map(Pc::take_tray_moves).unwrap_or_default() {
            let path = path(if id.is_empty() { &name } else { &id });
            self.tell("DEVICE_TRAY_MOVED", Some(json!({"device": name, "id": path, "tray-open": is_open})));
        }
    }

    /// Resets or ends the machine, if the guest wants that.
    fn obey_guest(&mut self) {
        self.obey_disks();
        self.report_trays();
        match self.pc.as_mut().and_then(Pc::take_shutdown) {
            None => {}
            Some(ShutdownReason::Reboot) if !self.plan.no_reboot => self.reset(true),
            Some(reason) => {
                let reason = if reason == ShutdownReason::PowerOff { "guest-shutdown" } else { "guest-reset" };
                self.tell("SHUTDOWN", Some(json!({"guest": true, "reason": reason})));
                if self.plan.no_shutdown {
                    self.status = "shutdown";
                    self.tell("STOP", None);
                } else {
                    self.ended = true;
                }
            }
        }
    }

    fn reset(&mut self, guest: bool) {
        if let Some(pc) = &mut self.pc {
            pc.reset();
        }
        let reason = if guest { "guest-reset" } else { "host-qmp-system-reset" };
        self.tell("RESET", Some(json!({"guest": guest, "reason": reason})));
    }

    /// Tells every session of QMP about an event.
    fn tell(&mut self, name: &str, data: Option<Value>) {
        let now = self.pc.as_ref().map_or(0, |pc| pc.world.now.0);
        let event = monitor::event(name, data, now);
        for (peer, monitor) in &mut self.monitors {
            if monitor.hears_events() {
                peer.write(event.as_bytes());
            }
        }
    }

    /// Tells the client of the interrupt lines that changed.
    fn report_interrupts(&mut self) {
        let news = self.pc.as_mut().map(|pc| pc.world.irqs.take_news());
        for (pin, high) in news.unwrap_or_default() {
            self.send(&format!("IRQ {} {pin}", if high { "raise" } else { "lower" }));
        }
    }

    fn send(&mut self, line: &str) {
        self.note("S", line);
        self.qtest.write(format!("{line}\n").as_bytes());
    }

    /// Writes a line of the log, in QEMU's form.
    fn note(&mut self, kind: &str, line: &str) {
        if let Some(log) = &mut self.log {
            let seconds = self.started.elapsed().as_secs_f64();
            if writeln!(log, "[{kind} +{seconds:.6}] {line}").is_err() {
                self.log = None;
            }
        }
    }
}
