//! Consoles of domains, on that of the machine.
//!
//! Each line of a domain goes there with the domain's number before it; so does what is not a whole line yet when nothing more
//! comes, such as a prompt. What is typed goes to one of the domains, the first at the beginning; Ctrl-A three times goes to the
//! next, as on Xen.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;

use log::{info, warn};
use minios::addr::Gfn;
use minios::event::EventChannel;
use minios::exec::{self, Either, Spawner, first_of};
use minios::foreign::{Access, ForeignMapping};
use minios::front::console::{INPUT, OUTPUT};
use minios::hypercall::{XenError, console_io};
use minios::ring::{ByteReceiver, ByteSender, RingFault};
use xen_abi::event::VIRQ_CONSOLE;
use xen_abi::{DomId, Port};

/// Characters of a line that are printed at once.
const LINE: usize = 1000;
/// How long a line that has not ended waits for its end, in nanoseconds.
const PATIENCE: u64 = 20_000_000;
/// Ctrl-A, and how often it is typed to go to the next domain.
const SWITCH: u8 = 1;
const SWITCHES: u32 = 3;

/// All consoles. Clones are the same ones.
#[derive(Clone, Default)]
pub(crate) struct Consoles {
    inside: Rc<RefCell<Inside>>,
}

#[derive(Default)]
struct Inside {
    consoles: BTreeMap<DomId, Console>,
    /// Whom is typed to.
    focus: DomId,
    /// Whose line on the machine's console has not ended.
    unfinished: Option<DomId>,
    switches: u32,
}

struct Console {
    page: ForeignMapping,
    channel: EventChannel,
    receiver: ByteReceiver,
    sender: ByteSender,
    line: Vec<u8>,
}

impl Consoles {
    /// No consoles. What is typed is heard.
    pub(crate) fn begin(spawner: &Spawner) -> Result<Self, XenError> {
        let consoles = Self::default();
        let typed = EventChannel::bind_virq(VIRQ_CONSOLE)?;
        let listening = consoles.clone();
        spawner.spawn(async move {
            let mut signal = exec::signal(typed.port());
            loop {
                signal.wait().await;
                listening.hear();
            }
        });
        Ok(consoles)
    }

    /// A domain comes, with its ring in this frame and its end of a channel.
    pub(crate) fn add(&self, domain: DomId, (frame, port): (Gfn, Port), spawner: &Spawner) {
        let opened = ForeignMapping::map(domain, &[frame], Access::ReadWrite).map_err(|error| format!("{error}"));
        let opened = opened.and_then(|page| {
            let channel = EventChannel::bind(domain, port).map_err(|error| format!("{error}"))?;
            let memory = page.bytes().ok_or("it is not mapped")?;
            let (receiver, sender) = (ByteReceiver::new(OUTPUT, memory), ByteSender::new(INPUT, memory));
            Ok(Console { page, channel, receiver, sender, line: Vec::new() })
        });
        match opened {
            Ok(console) => {
                let port = console.channel.port();
                let mut inside = self.inside.borrow_mut();
                if !inside.consoles.contains_key(&inside.focus) {
                    inside.focus = domain;
                }
                inside.consoles.insert(domain, console);
                spawner.spawn(self.clone().serve(domain, port));
            }
            Err(error) => warn!("the console of {domain}: {error}"),
        }
    }

    /// A domain has ended: what it has said last is printed.
    pub(crate) fn remove(&self, domain: DomId) {
        let mut inside = self.inside.borrow_mut();
        // Whatever is wrong with its ring, it is the last time.
        let _: Result<bool, RingFault> = inside.print(domain);
        inside.end_line(domain);
        let removed = inside.consoles.remove(&domain);
        if inside.focus == domain {
            inside.focus = inside.consoles.keys().next().copied().unwrap_or_default();
        }
        drop(inside);
        if let Some(console) = removed {
            // Its task ends.
            exec::signalled(console.channel.port());
        }
    }

    /// Prints as long as the domain is there.
    async fn serve(self, domain: DomId, port: Port) {
        let mut signal = exec::signal(port);
        loop {
            let (printed, is_waiting) = {
                let mut inside = self.inside.borrow_mut();
                let printed = inside.print(domain);
                let Some(console) = inside.consoles.get(&domain) else { return };
                (printed, !console.line.is_empty())
            };
            match printed {
                Ok(true) => {}
                Ok(false) if is_waiting => {
                    if let Either::Second(()) = first_of(signal.wait(), exec::sleep(PATIENCE)).await {
                        self.inside.borrow_mut().show(domain);
                    }
                }
                Ok(false) => signal.wait().await,
                Err(fault) => {
                    warn!("the console of {domain}: {fault}");
                    return self.remove(domain);
                }
            }
        }
    }

    /// Passes on what was typed.
    fn hear(&self) {
        let mut inside = self.inside.borrow_mut();
        let mut bytes = [0; 64];
        while let Ok(count @ 1..) = console_io::read(&mut bytes) {
            for byte in bytes.iter().take(count) {
                inside.pass(*byte);
            }
        }
    }
}

impl Inside {
    /// Takes what a domain has said. Whether there was anything.
    fn print(&mut self, domain: DomId) -> Result<bool, RingFault> {
        let Some(console) = self.consoles.get_mut(&domain) else { return Ok(false) };
        let Some(memory) = console.page.bytes() else { return Ok(false) };
        let mut bytes: Box<[u8]> = vec![0; OUTPUT.size as usize].into();
        let count = console.receiver.receive(memory, &mut bytes)?;
        if count == 0 {
            return Ok(false);
        }
        console.channel.notify();
        for byte in bytes.iter().take(count) {
            let Some(console) = self.consoles.get_mut(&domain) else { break };
            match byte {
                b'\r' => continue,
                b'\n' => {}
                _ => {
                    console.line.push(*byte);
                    if console.line.len() < LINE {
                        continue;
                    }
                }
            }
            self.show(domain);
            self.end_line(domain);
        }
        Ok(true)
    }

    /// Prints what there is of a domain's line, behind what it has begun with.
    fn show(&mut self, domain: DomId) {
        let Some(console) = self.consoles.get_mut(&domain) else { return };
        let mut whole = Vec::new();
        if self.unfinished != Some(domain) {
            if self.unfinished.is_some() {
                whole.extend(b"\r\n");
            }
            whole.extend(format!("({domain}) ").into_bytes());
        }
        whole.append(&mut console.line);
        self.unfinished = Some(domain);
        write(&whole);
    }

    fn end_line(&mut self, domain: DomId) {
        if self.unfinished == Some(domain) {
            self.unfinished = None;
            write(b"\r\n");
        }
    }

    fn pass(&mut self, byte: u8) {
        self.switches = if byte == SWITCH { self.switches + 1 } else { 0 };
        if self.switches == SWITCHES {
            self.switches = 0;
            let behind = self.consoles.range((core::ops::Bound::Excluded(self.focus), core::ops::Bound::Unbounded));
            let next = behind.chain(self.consoles.iter()).next();
            self.focus = next.map(|(domain, _)| *domain).unwrap_or_default();
            return info!("what is typed goes to {}", self.focus);
        }
        if let Some(console) = self.consoles.get_mut(&self.focus)
            && let Some(memory) = console.page.bytes()
        {
            // What has no room is lost, as on any line.
            let _: Result<usize, RingFault> = console.sender.send(memory, &[byte]);
            console.channel.notify();
        }
    }
}

fn write(bytes: &[u8]) {
    // There is nobody to tell if it is refused.
    let _: Result<(), XenError> = console_io::write(bytes);
}
