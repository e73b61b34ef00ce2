//! The controller: PCI function 8086:7020 of the PIIX3.
//!
//! A frame lasts a millisecond, and real controllers walk the schedule in each. Here that happens only while there is
//! something to do: every millisecond while transfers make progress or a device has something to say, and less and less
//! often when not, down to eight times a second. The driver puts transfers into memory and tells nobody, so a running
//! schedule cannot be left alone altogether; one that is stopped, as all systems do when no device is in use, costs nothing.
//! A first transfer after a pause may so be late by an eighth of a second, what follows is not.
//!
//! Source: UHCI Design Guide 1.1, chapter 2 (registers); Intel 82371SB data sheet, section 2.5 (configuration space).

use super::device::{Attachment, Device, Nothing};
use super::hid::{Hid, Kind};
use super::hub::{self, Hub};
use super::schedule::{self, Outcome};
use crate::access::Width;
use crate::card::{Card, SavedCard};
use crate::host::{DiskError, DiskId, Host, InputEvent};
use crate::machine::DiskConfig;
use crate::pci::ConfigSpace;
use crate::pci::config::{Identity, Region};
use crate::state::{Adopt, StateError, from_bytes, to_bytes};
use crate::time::{Instant, earlier};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Ports of the root hub.
pub const PORTS: usize = 2;

/// Devices that there can be: one on the first port, the others behind a hub on the second.
pub const DEVICES: usize = hub::PORTS + 1;

/// Nanoseconds of a frame.
const FRAME: u64 = 1_000_000;
/// Frames between walks of an idle schedule, at most.
const SLOWEST: u64 = 128;
/// Frames without progress until walks become rarer.
const PATIENCE: u64 = 64;
/// Frames that are made up for when a walk comes late: a driver may have put its queue into every eighth frame.
const CATCH_UP: u64 = 8;

/// USBCMD.
mod command {
    pub(super) const RUN: u16 = 1 << 0;
    pub(super) const HOST_RESET: u16 = 1 << 1;
    pub(super) const GLOBAL_RESET: u16 = 1 << 2;
    pub(super) const WRITABLE: u16 = 0x00ff;
}
/// USBSTS.
mod status {
    pub(super) const INTERRUPT: u16 = 1 << 0;
    pub(super) const ERROR: u16 = 1 << 1;
    pub(super) const RESUME: u16 = 1 << 2;
    pub(super) const SYSTEM_ERROR: u16 = 1 << 3;
    pub(super) const PROCESS_ERROR: u16 = 1 << 4;
    pub(super) const HALTED: u16 = 1 << 5;
}
/// USBINTR.
mod enable {
    pub(super) const TIMEOUT: u16 = 1 << 0;
    pub(super) const RESUME: u16 = 1 << 1;
    pub(super) const COMPLETE: u16 = 1 << 2;
    pub(super) const SHORT: u16 = 1 << 3;
    pub(super) const WRITABLE: u16 = 0x000f;
}
/// PORTSC.
mod port {
    pub(super) const CONNECTED: u16 = 1 << 0;
    pub(super) const CONNECT_CHANGE: u16 = 1 << 1;
    pub(super) const ENABLED: u16 = 1 << 2;
    pub(super) const ENABLE_CHANGE: u16 = 1 << 3;
    /// Always one.
    pub(super) const PRESENT: u16 = 1 << 7;
    pub(super) const RESET: u16 = 1 << 9;
    pub(super) const SUSPENDED: u16 = 1 << 12;
    pub(super) const WRITABLE: u16 = ENABLED | 1 << 6 | RESET | SUSPENDED;
}

/// The root hub's port.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "X: Attachment")]
struct Port<X> {
    status: u16,
    device: Option<Device<X>>,
}

/// The controller and its devices: those for people, hubs, and `X`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "X: Attachment")]
pub struct Uhci<X = Nothing> {
    config: ConfigSpace,
    ports: [Port<X>; PORTS],
    command: u16,
    status: u16,
    /// What [`status::INTERRUPT`] stands for: completion, a short packet.
    causes: (bool, bool),
    enable: u16,
    frame_list: u32,
    start_of_frame: u8,
    /// The frame's number when the schedule began to run, or now, while it does not.
    frame: u16,
    running_since: Instant,
    /// The last frame that was walked, counted from then on.
    walked: u64,
    /// Frames since something happened.
    idle: u64,
    next_walk: Option<Instant>,
}

impl<X: Attachment> Adopt for Uhci<X> {
    fn adopt(&mut self, saved: Self) -> Result<(), StateError> {
        self.config.adopt(saved.config)?;
        let Self { mut ports, .. } = saved;
        for (port, mine) in ports.iter_mut().zip(&mut self.ports) {
            let mine = mine.device.as_mut().and_then(Device::as_other_mut);
            match (port.device.as_mut().and_then(Device::as_other_mut), mine) {
                (Some(saved), Some(mine)) => {
                    mine.adopt(saved.clone())?;
                    saved.clone_from(mine);
                }
                // What it is connected to is nowhere in the saved state.
                (Some(_), None) => return Err(StateError::OtherMachine),
                (None, _) => {}
            }
        }
        *self = Self { config: self.config.clone(), ports, ..saved };
        Ok(())
    }
}

impl Uhci {
    /// A controller with these devices. Where they are more than its ports, all but the first are behind a hub, as QEMU
    /// puts them; what is beyond [`DEVICES`] is left out.
    #[must_use]
    pub fn new(devices: Vec<Kind>) -> Self {
        Self::taking(devices)
    }
}

impl<X: Attachment> Uhci<X> {
    /// The same, of a controller that takes `X` on its ports as well.
    #[must_use]
    pub fn taking(devices: Vec<Kind>) -> Self {
        let config = ConfigSpace::new(Identity {
            vendor: 0x8086,
            device: 0x7020,
            revision: 1,
            class: 0x0c_03_00,
            subsystem: (0x1af4, 0x1100),
            multifunction: false,
            interrupt_pin: 4,
        })
        .with_region(4, Region::Ports { size: 32 })
        // SBRN: USB 1.0. LEGSUP: interrupts go to the pin; the rest is storage.
        .with_registers(0x60, &[0x10], &[0])
        .with_registers(0xc0, &[0x00, 0x20], &[0x3f, 0x20]);
        let needs_hub = devices.len() > PORTS;
        let mut devices = devices.into_iter();
        let person = |kind| Device::<X>::of_person(Hid::new(kind));
        let first = devices.next().map(person);
        let second = if needs_hub { Some(Device::hub(Hub::new(devices))) } else { devices.next().map(person) };
        let ports = [first, second].map(|device| Port { status: port::PRESENT, device });
        let mut uhci = Self {
            config,
            ports,
            command: 0,
            status: 0,
            causes: (false, false),
            enable: 0,
            frame_list: 0,
            start_of_frame: 0x40,
            frame: 0,
            running_since: Instant(0),
            walked: 0,
            idle: 0,
            next_walk: None,
        };
        uhci.reset_controller();
        uhci
    }

    /// HCRESET, GRESET and power on: devices are found again.
    fn reset_controller(&mut self) {
        (self.command, self.status, self.causes, self.enable) = (0, status::HALTED, (false, false), 0);
        (self.frame_list, self.frame, self.start_of_frame) = (0, 0, 0x40);
        self.next_walk = None;
        for port in &mut self.ports {
            port.status = port::PRESENT;
            if let Some(device) = &mut port.device {
                device.reset();
                port.status |= port::CONNECTED | port::CONNECT_CHANGE;
            }
        }
    }

    /// Plugs a device into a free port, or takes out what is in one.
    fn plug(&mut self, now: Instant, number: usize, device: Option<Device<X>>) -> bool {
        let Some(port) = self.ports.get_mut(number).filter(|port| port.device.is_some() != device.is_some()) else {
            return false;
        };
        port.device = device;
        port.status |= port::CONNECT_CHANGE;
        if port.device.is_some() {
            port.status |= port::CONNECTED;
        } else {
            // "When a device is removed, the port is disabled."
            port.status |= if port.status & port::ENABLED != 0 { port::ENABLE_CHANGE } else { 0 };
            port.status &= !(port::CONNECTED | port::ENABLED);
        }
        self.wake(now);
        true
    }

    const fn is_running(&self) -> bool {
        self.command & command::RUN != 0 && self.status & status::HALTED == 0
    }

    /// Frames since the schedule began to run.
    fn elapsed(&self, now: Instant) -> u64 {
        now.since(self.running_since).checked_div(FRAME).unwrap_or(0)
    }

    fn frame_number(&self, now: Instant) -> u16 {
        let elapsed = if self.is_running() { self.elapsed(now) } else { 0 };
        let frames = u64::from(self.frame).wrapping_add(elapsed);
        u16::try_from(frames & 0x7ff).unwrap_or(0)
    }

    fn run(&mut self, now: Instant) {
        self.status &= !status::HALTED;
        (self.running_since, self.walked, self.idle) = (now, 0, 0);
        self.wake(now);
    }

    fn halt(&mut self, now: Instant) {
        self.frame = self.frame_number(now);
        self.status |= status::HALTED;
        self.next_walk = None;
    }

    /// Something is going to happen: the next frame is walked.
    fn wake(&mut self, now: Instant) {
        self.idle = 0;
        if self.is_running() {
            self.next_walk = earlier(self.next_walk, Some(now.after(FRAME)));
        }
    }

    /// Walks what has become due.
    fn walk(&mut self, host: &mut dyn Host) {
        let now = host.now();
        let elapsed = self.elapsed(now);
        let late = elapsed.saturating_sub(self.walked);
        let mut all = Outcome::default();
        if self.config.masters_bus() {
            let first = elapsed.saturating_sub(late.min(CATCH_UP).saturating_sub(1));
            for frame in first..=elapsed {
                let number = u64::from(self.frame).wrapping_add(frame) & 0x3ff;
                let entry = u64::from(self.frame_list).wrapping_add(number << 2);
                let outcome = self.walk_frame(host, entry);
                all = Outcome {
                    completed: all.completed | outcome.completed,
                    short: all.short | outcome.short,
                    error: all.error | outcome.error,
                    system_error: all.system_error | outcome.system_error,
                    process_error: all.process_error | outcome.process_error,
                    progress: all.progress | outcome.progress,
                };
                if outcome.system_error || outcome.process_error {
                    break;
                }
            }
        }
        self.walked = elapsed;
        self.report(all, now);
        if !self.is_running() {
            return;
        }
        let has_news = self.ports.iter().any(|port| port.device.as_ref().is_some_and(Device::has_news));
        self.idle = if all.progress { 0 } else { self.idle.saturating_add(late.max(1)) };
        // What a device has to say goes out as soon as the driver asks for it; one that does not ask is not waited for.
        let pace = match self.idle {
            idle if idle < PATIENCE || has_news && idle < PATIENCE.saturating_mul(16) => 1,
            idle => idle.checked_div(8).unwrap_or(1).min(SLOWEST),
        };
        self.next_walk = Some(now.after(FRAME.saturating_mul(pace)));
    }

    fn walk_frame(&mut self, host: &mut dyn Host, entry: u64) -> Outcome {
        let [first, second] = &mut self.ports;
        let mut usable: [Option<&mut Device<X>>; PORTS] = [first, second].map(|port| {
            let is_on = port.status & (port::ENABLED | port::RESET | port::SUSPENDED) == port::ENABLED;
            port.device.as_mut().filter(|_| is_on)
        });
        schedule::walk(host, entry, &mut usable)
    }

    fn report(&mut self, outcome: Outcome, now: Instant) {
        if outcome.completed || outcome.short {
            self.status |= status::INTERRUPT;
            self.causes = (self.causes.0 | outcome.completed, self.causes.1 | outcome.short);
        }
        if outcome.error {
            self.status |= status::ERROR;
        }
        if outcome.system_error {
            self.status |= status::SYSTEM_ERROR;
        }
        if outcome.process_error {
            self.status |= status::PROCESS_ERROR;
        }
        if outcome.system_error || outcome.process_error {
            self.halt(now);
            self.command &= !command::RUN;
        }
    }

    fn write_command(&mut self, now: Instant, value: u16) {
        if value & (command::HOST_RESET | command::GLOBAL_RESET) != 0 {
            self.reset_controller();
            // The driver itself ends a global reset.
            self.command = value & command::GLOBAL_RESET;
            return;
        }
        let was_running = self.is_running();
        self.command = value & command::WRITABLE;
        match (was_running, value & command::RUN != 0) {
            (false, true) => self.run(now),
            (true, false) => self.halt(now),
            _ => {}
        }
    }

    fn write_port(&mut self, now: Instant, index: usize, value: u16) {
        let Some(port) = self.ports.get_mut(index) else { return };
        let is_reset = value & port::RESET != 0;
        if is_reset
            && port.status & port::RESET == 0
            && let Some(device) = &mut port.device
        {
            device.reset();
        }
        let changes = port.status & (port::CONNECT_CHANGE | port::ENABLE_CHANGE) & !value;
        let mut writable = value & port::WRITABLE;
        if port.device.is_none() || is_reset {
            writable &= !port::ENABLED;
        }
        port.status = port.status & (port::CONNECTED | port::PRESENT) | changes | writable;
        self.wake(now);
    }

    fn read_word(&self, now: Instant, at: u32) -> u16 {
        let port = |index: usize| self.ports.get(index).map_or(0, |port| port.status);
        let [low, high] =
            [self.frame_list & 0xffff, self.frame_list >> 16].map(|half| u16::try_from(half).unwrap_or(0));
        match at {
            0x00 => self.command,
            0x02 => self.status,
            0x04 => self.enable,
            0x06 => self.frame_number(now),
            0x08 => low,
            0x0a => high,
            0x0c => self.start_of_frame.into(),
            0x10 => port(0),
            0x12 => port(1),
            // Where there is no further port, this bit says so.
            0x14..=0x1e => 0xff7f,
            _ => 0,
        }
    }

    fn write_word(&mut self, now: Instant, at: u32, value: u16) {
        match at {
            0x00 => self.write_command(now, value),
            0x02 => {
                self.status &= !(value & !status::HALTED);
                if value & status::INTERRUPT != 0 {
                    self.causes = (false, false);
                }
            }
            0x04 => self.enable = value & enable::WRITABLE,
            // The number is the driver's only while nothing runs.
            0x06 if !self.is_running() => self.frame = value & 0x7ff,
            0x08 => self.frame_list = self.frame_list & 0xffff_0000 | u32::from(value & 0xf000),
            0x0a => self.frame_list = self.frame_list & 0xffff | u32::from(value) << 16,
            0x0c => [self.start_of_frame, _] = value.to_le_bytes(),
            0x10 => self.write_port(now, 0, value),
            0x12 => self.write_port(now, 1, value),
            _ => {}
        }
    }
}

impl<X: Attachment> Card for Uhci<X> {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn reset(&mut self) {
        self.config.reset();
        self.reset_controller();
    }

    fn read(&mut self, host: &mut dyn Host, _region: usize, offset: u32, width: Width) -> u64 {
        let mut bytes = [0; 8];
        for (byte, at) in bytes.iter_mut().zip(offset..).take(width.bytes()) {
            let [low, high] = self.read_word(host.now(), at & !1).to_le_bytes();
            *byte = if at & 1 == 0 { low } else { high };
        }
        u64::from_le_bytes(bytes)
    }

    fn write(&mut self, host: &mut dyn Host, _region: usize, offset: u32, width: Width, value: u64) {
        let now = host.now();
        let bytes = value.to_le_bytes();
        if width == Width::Byte {
            // SOFMOD is the one register that has a byte; of the others, a byte changes nothing else.
            let old = self.read_word(now, offset & !1).to_le_bytes();
            let clears = matches!(offset & !1, 0x02);
            let [low, high] = if clears { [0, 0] } else { old };
            let [new, ..] = bytes;
            let word = if offset & 1 == 0 { [new, high] } else { [low, new] };
            return self.write_word(now, offset & !1, u16::from_le_bytes(word));
        }
        for (word, at) in bytes.as_chunks::<2>().0.iter().zip((offset & !1..).step_by(2)).take(width.bytes() >> 1) {
            self.write_word(now, at, u16::from_le_bytes(*word));
        }
    }

    fn interrupt(&self) -> bool {
        let (completed, short) = self.causes;
        let has = |bit: u16| self.status & bit != 0;
        let wants = |bit: u16| self.enable & bit != 0;
        completed && has(status::INTERRUPT) && wants(enable::COMPLETE)
            || short && has(status::INTERRUPT) && wants(enable::SHORT)
            || has(status::ERROR) && wants(enable::TIMEOUT)
            || has(status::RESUME) && wants(enable::RESUME)
            || has(status::SYSTEM_ERROR | status::PROCESS_ERROR)
    }

    fn usb_plug(&mut self, now: Instant, port: usize, device: Option<Kind>) -> bool {
        self.plug(now, port, device.map(|kind| Device::of_person(Hid::new(kind))))
    }

    fn disk_complete(&mut self, host: &mut dyn Host, disk: DiskId, result: Result<(), DiskError>) {
        let mut has_any = false;
        for other in self.ports.iter_mut().filter_map(|port| port.device.as_mut()).filter_map(Device::as_other_mut) {
            other.disk_complete(host, disk, result);
            has_any = true;
        }
        if has_any {
            self.wake(host.now());
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.next_walk
    }

    fn expire(&mut self, host: &mut dyn Host) {
        if self.next_walk.is_some_and(|at| at <= host.now()) {
            self.walk(host);
        }
    }

    fn input(&mut self, host: &mut dyn Host, event: InputEvent) -> bool {
        let mut devices = self.ports.iter_mut().filter_map(|port| port.device.as_mut());
        let is_ours = devices.any(|device| device.input(event));
        if is_ours {
            self.wake(host.now());
        }
        is_ours
    }

    fn keyboard_leds(&self) -> Option<u8> {
        self.ports.iter().filter_map(|port| port.device.as_ref()).find_map(Device::keyboard_leds)
    }

    fn has_unread_keys(&self) -> bool {
        self.ports.iter().filter_map(|port| port.device.as_ref()).any(Device::has_unread_keys)
    }

    fn takes_positions(&self) -> bool {
        self.ports.iter().filter_map(|port| port.device.as_ref()).any(Device::takes_positions)
    }
}

impl<X: Attachment> SavedCard for Uhci<X> {
    fn awaits_disk(&self) -> bool {
        let devices = self.ports.iter().filter_map(|port| port.device.as_ref());
        devices.filter_map(Device::as_other).any(Attachment::awaits_disk)
    }

    fn usb_plug_disk(&mut self, now: Instant, port: usize, disk: DiskConfig) -> bool {
        X::of_disk(disk).is_some_and(|disk| self.plug(now, port, Some(Device::other(disk))))
    }

    fn save(&self) -> Vec<u8> {
        to_bytes(self)
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), StateError> {
        self.adopt(from_bytes(saved)?)
    }
}
