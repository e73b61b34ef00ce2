//! A machine whose domains talk to a daemon.

use core::time::Duration;
use std::borrow::ToOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::string::String;
use std::vec::Vec;

use xen_abi::io::xs_wire::{
    SockMsg, XS_ERROR, XS_GET_PERMS, XS_MKDIR, XS_READ, XS_RM, XS_SET_PERMS, XS_TRANSACTION_END, XS_TRANSACTION_START,
    XS_UNWATCH, XS_WATCH, XS_WATCH_EVENT, XS_WRITE,
};
use xen_abi::{DomId, Port};
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::daemon::{ConnectionId, Daemon, Host};
use crate::errno::Errno;
use crate::quota::Quotas;

/// What is around the daemon.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) now: Duration,
    pub(super) existing: BTreeSet<u16>,
    pub(super) connected: Vec<(u16, Option<u64>, u32)>,
    pub(super) disconnected: Vec<u16>,
}

impl Host for World {
    fn now(&self) -> Duration {
        self.now
    }

    fn exists(&self, domain: DomId) -> bool {
        self.existing.contains(&domain.0)
    }

    fn connect(&mut self, domain: DomId, frame: Option<u64>, port: Port) -> Result<(), Errno> {
        if !self.exists(domain) {
            return Err(Errno::EIO);
        }
        self.connected.push((domain.0, frame, port.0));
        Ok(())
    }

    fn disconnect(&mut self, domain: DomId) {
        self.disconnected.push(domain.0);
    }
}

/// A daemon, domain 0's connection, and those of other domains.
pub(super) struct Machine {
    pub(super) daemon: Daemon,
    pub(super) world: World,
    pub(super) control: ConnectionId,
    /// Events that a test put aside.
    pub(super) heard: BTreeMap<ConnectionId, Vec<String>>,
}

/// A message of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u32,
    pub(super) request: u32,
    pub(super) transaction: u32,
    pub(super) payload: Vec<u8>,
}

/// An answer, or the error's name.
pub(super) type Answer = Result<Vec<u8>, String>;

/// What was done, as the daemon says it.
pub(super) fn done() -> Answer {
    Ok(b"OK\0".to_vec())
}

/// An answer that is a text.
pub(super) fn says(text: &str) -> Answer {
    Ok(text.as_bytes().to_vec())
}

/// A refusal.
pub(super) fn refused(name: &str) -> Answer {
    Err(name.to_owned())
}

impl Machine {
    pub(super) fn new() -> Self {
        Self::with(Quotas::XEN)
    }

    pub(super) fn with(quotas: Quotas) -> Self {
        let mut daemon = Daemon::new(quotas);
        let control = daemon.attach(DomId(0));
        Self { daemon, world: World::default(), control, heard: BTreeMap::new() }
    }

    /// A domain that exists and is connected, with a home that it owns.
    pub(super) fn domain(&mut self, id: u16) -> ConnectionId {
        self.world.existing.insert(id);
        let home = std::format!("/local/domain/{id}");
        assert_eq!(self.write(self.control, &home, b""), done());
        let connection = self.daemon.introduce(DomId(id), self.world.now);
        assert_eq!(self.set(self.control, &home, &std::format!("n{id}")), done());
        connection
    }

    /// Sends a request. The answer is fetched later.
    pub(super) fn send(&mut self, from: ConnectionId, kind: u32, transaction: u32, payload: &[u8]) {
        let bytes = message(kind, 7, transaction, payload);
        assert_eq!(self.daemon.receive(from, &bytes, &mut self.world), Ok(bytes.len()));
    }

    /// All that a client is owed.
    pub(super) fn fetch(&mut self, by: ConnectionId) -> Vec<Message> {
        let mut bytes = Vec::new();
        loop {
            let output = self.daemon.output(by).to_vec();
            if output.is_empty() {
                return messages(&bytes);
            }
            self.daemon.sent(by, output.len());
            bytes.extend(output);
        }
    }

    /// The events that a client is owed, as `path token`.
    pub(super) fn events(&mut self, of: ConnectionId) -> Vec<String> {
        events_in(&self.fetch(of))
    }

    /// Asks, and gives the answer and the events that came with it.
    pub(super) fn ask_and_hear(
        &mut self,
        by: ConnectionId,
        kind: u32,
        transaction: u32,
        payload: &[u8],
    ) -> (Answer, Vec<String>) {
        self.fetch(by);
        self.send(by, kind, transaction, payload);
        let (events, answers): (Vec<_>, Vec<_>) =
            self.fetch(by).into_iter().partition(|message| message.kind == XS_WATCH_EVENT);
        let [answer] = &*answers else { panic!("{answers:?}") };
        assert_eq!((answer.request, answer.transaction), (7, transaction));
        let result = if answer.kind == XS_ERROR {
            let name = answer.payload.strip_suffix(&[0]).unwrap();
            Err(String::from_utf8(name.to_vec()).unwrap())
        } else {
            assert_eq!(answer.kind, kind);
            Ok(answer.payload.clone())
        };
        (result, events.iter().map(event).collect())
    }

    /// Asks, and gives the answer.
    pub(super) fn ask(&mut self, by: ConnectionId, kind: u32, transaction: u32, payload: &[u8]) -> Answer {
        self.ask_and_hear(by, kind, transaction, payload).0
    }

    /// Asks about one path.
    pub(super) fn about(&mut self, by: ConnectionId, kind: u32, transaction: u32, path: &str) -> Answer {
        self.ask(by, kind, transaction, std::format!("{path}\0").as_bytes())
    }

    pub(super) fn read(&mut self, by: ConnectionId, path: &str) -> Answer {
        self.about(by, XS_READ, 0, path)
    }

    pub(super) fn write(&mut self, by: ConnectionId, path: &str, value: &[u8]) -> Answer {
        self.write_in(by, 0, path, value)
    }

    pub(super) fn write_in(&mut self, by: ConnectionId, transaction: u32, path: &str, value: &[u8]) -> Answer {
        self.ask(by, XS_WRITE, transaction, &[path.as_bytes(), b"\0", value].concat())
    }

    pub(super) fn mkdir(&mut self, by: ConnectionId, path: &str) -> Answer {
        self.about(by, XS_MKDIR, 0, path)
    }

    pub(super) fn rm(&mut self, by: ConnectionId, path: &str) -> Answer {
        self.about(by, XS_RM, 0, path)
    }

    pub(super) fn permissions(&mut self, by: ConnectionId, path: &str) -> Answer {
        self.about(by, XS_GET_PERMS, 0, path)
    }

    /// Sets permissions that are separated by spaces.
    pub(super) fn set(&mut self, by: ConnectionId, path: &str, permissions: &str) -> Answer {
        self.about(by, XS_SET_PERMS, 0, &std::format!("{path}\0{}", permissions.replace(' ', "\0")))
    }

    pub(super) fn watch(&mut self, by: ConnectionId, path: &str, token: &str) -> Answer {
        self.about(by, XS_WATCH, 0, &std::format!("{path}\0{token}"))
    }

    pub(super) fn unwatch(&mut self, by: ConnectionId, path: &str, token: &str) -> Answer {
        self.about(by, XS_UNWATCH, 0, &std::format!("{path}\0{token}"))
    }

    pub(super) fn start(&mut self, by: ConnectionId) -> u32 {
        let answer = self.ask(by, XS_TRANSACTION_START, 0, b"\0").unwrap();
        String::from_utf8(answer).unwrap().trim_end_matches('\0').parse().unwrap()
    }

    pub(super) fn commit(&mut self, by: ConnectionId, transaction: u32) -> Answer {
        self.ask(by, XS_TRANSACTION_END, transaction, b"T\0")
    }

    pub(super) fn abort(&mut self, by: ConnectionId, transaction: u32) -> Answer {
        self.ask(by, XS_TRANSACTION_END, transaction, b"F\0")
    }
}

/// The events among messages, as `path token`.
pub(super) fn events_in(messages: &[Message]) -> Vec<String> {
    messages.iter().filter(|message| message.kind == XS_WATCH_EVENT).map(event).collect()
}

fn event(message: &Message) -> String {
    assert_eq!((message.request, message.transaction), (0, 0));
    let text = String::from_utf8(message.payload.clone()).unwrap();
    text.strip_suffix('\0').unwrap().replace('\0', " ")
}

/// A message's bytes.
pub(super) fn message(kind: u32, request: u32, transaction: u32, payload: &[u8]) -> Vec<u8> {
    let head = SockMsg { kind, req_id: request, tx_id: transaction, len: payload.len() as u32 };
    [head.as_bytes(), payload].concat()
}

/// The messages in a stream of bytes, which has to end with one.
pub(super) fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = SockMsg::read_from_prefix(bytes).unwrap();
        let (payload, rest) = rest.split_at(head.len as usize);
        assert!(payload.len() <= 4096);
        all.push(Message { kind: head.kind, request: head.req_id, transaction: head.tx_id, payload: payload.to_vec() });
        bytes = rest;
    }
    all
}
