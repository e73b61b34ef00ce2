//! The other side of the store's ring for unit tests: the daemon of `stubdom/xenstored`, and a toolstack that may do everything.

use core::cell::RefCell;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::VecDeque;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use xen_abi::io::xs_wire;
use xen_abi::{DomId, Port};
use xenstored::{ConnectionId, Daemon, Errno, Host, Quotas};

use super::client::Xenstore;
use super::wire::{HEADER_LEN, Header, Operation};
use crate::shared_mem::SharedMem;
use crate::shared_mem::fake::{FakeChannel, FakeMemory};

/// The domain at the other end of the ring.
pub(crate) const DOMAIN: u32 = 7;

/// Tests flood their watches and fill their directories.
const QUOTAS: Quotas = Quotas {
    nodes: usize::MAX,
    node_size: usize::MAX,
    transaction_nodes: usize::MAX,
    outstanding: usize::MAX,
    memory: usize::MAX,
    ..Quotas::XEN
};

/// There are all domains, and none connects.
struct World;

impl Host for World {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn exists(&self, _: DomId) -> bool {
        true
    }

    fn connect(&mut self, _: DomId, _: Option<u64>, _: Port) -> Result<(), Errno> {
        Err(Errno::EIO)
    }

    fn disconnect(&mut self, _: DomId) {}
}

/// The daemon, and what it owes its only client.
pub(crate) struct FakeDaemon {
    memory: FakeMemory,
    channel: FakeChannel,
    /// In a cell, since reading a node takes a request, too.
    daemon: RefCell<Daemon>,
    toolstack: ConnectionId,
    client: ConnectionId,
    /// Commits that fail with EAGAIN.
    pub(crate) conflicts: u32,
    /// Requests that were received, as `operation path`.
    pub(crate) log: Vec<String>,
    /// Answers the latest request first.
    pub(crate) reversed: bool,
    received: Vec<u8>,
    owed: VecDeque<u8>,
}

impl FakeDaemon {
    /// A daemon, and a client that is connected to it. All may read and write everything, but for `/forbidden`.
    pub(crate) fn new() -> (Self, Xenstore) {
        Self::with_client(|daemon| daemon.introduce(DomId(7), Duration::ZERO))
    }

    /// A daemon whose client is domain 0. Domain 7 is connected as well.
    pub(crate) fn of_domain_0() -> (Self, Xenstore) {
        Self::with_client(|daemon| {
            daemon.introduce(DomId(7), Duration::ZERO);
            daemon.attach(DomId(0))
        })
    }

    fn with_client(attach: impl FnOnce(&mut Daemon) -> ConnectionId) -> (Self, Xenstore) {
        let (memory, channel) = (FakeMemory::new(4096), FakeChannel::new(1));
        // Streams that are about to wrap.
        for index in [2048, 2052, 2056, 2060] {
            memory.set_u32(index, 0xffff_ff00);
        }
        let mut daemon = Daemon::new(QUOTAS);
        let toolstack = daemon.attach(DomId(0));
        let client = attach(&mut daemon);
        let fake = Self {
            memory: memory.clone(),
            channel: channel.clone(),
            daemon: RefCell::new(daemon),
            toolstack,
            client,
            conflicts: 0,
            log: Vec::new(),
            reversed: false,
            received: Vec::new(),
            owed: VecDeque::new(),
        };
        for (operation, payload) in [
            (Operation::SetPermissions, "/\0b0\0"),
            (Operation::MakeDirectory, "/local/domain/7\0"),
            (Operation::MakeDirectory, "/forbidden\0"),
            (Operation::SetPermissions, "/forbidden\0n0\0"),
        ] {
            fake.command(operation, payload.as_bytes()).expect("the toolstack may do everything");
        }
        (fake, Xenstore::open(memory, channel))
    }

    /// The page of the ring.
    pub(crate) fn memory(&self) -> &FakeMemory {
        &self.memory
    }

    /// Sets a node as dom0 would.
    pub(crate) fn set(&mut self, path: &str, value: &str) {
        self.command(Operation::Write, format!("{}\0{value}", absolute(path)).as_bytes()).expect("it may");
        self.owe_what_is_due();
    }

    /// Reads a node as dom0 would.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let value = self.command(Operation::Read, format!("{}\0", absolute(path)).as_bytes())?;
        Some(String::from_utf8(value).expect("text"))
    }

    /// Removes a node as dom0 would.
    pub(crate) fn remove(&mut self, path: &str) {
        self.command(Operation::Remove, format!("{}\0", absolute(path)).as_bytes());
        self.owe_what_is_due();
    }

    /// Makes the directory of a node the toolstack's alone: whoever else asks for what was removed there is told nothing.
    pub(crate) fn close_directory(&mut self, path: &str) {
        let path = absolute(path);
        let directory = path.rsplit_once('/').map_or("/", |(directory, _)| directory);
        self.command(Operation::SetPermissions, format!("{directory}\0n0\0").as_bytes()).expect("it may");
        self.owe_what_is_due();
    }

    /// The answer to a request of the toolstack, if it is not an error.
    fn command(&self, operation: Operation, payload: &[u8]) -> Option<Vec<u8>> {
        let len = u32::try_from(payload.len()).expect("short");
        let head = Header { operation: operation.number(), request: 0, transaction: 0, len }.encode();
        let mut daemon = self.daemon.borrow_mut();
        daemon.receive(self.toolstack, &[&head, payload].concat(), &mut World).expect("it keeps the protocol");
        let answer = fetch(&mut daemon, self.toolstack);
        let (head, payload) = answer.split_first_chunk().expect("it is answered");
        (Header::decode(*head).operation == operation.number()).then(|| payload.to_vec())
    }

    /// Events and answers of the daemon are for the ring now.
    fn owe_what_is_due(&mut self) {
        self.owed.extend(fetch(self.daemon.get_mut(), self.client));
    }

    /// Queues a raw message.
    pub(crate) fn owe(&mut self, operation: u32, request: u32, payload: &[u8]) {
        let len = u32::try_from(payload.len()).expect("short");
        self.owed.extend(Header { operation, request, transaction: 0, len }.encode());
        self.owed.extend(payload);
    }

    /// Reads requests and writes answers, as far as the ring allows. Says whether anything moved.
    pub(crate) fn serve(&mut self) -> bool {
        let mut moved = false;
        let (mut consumer, producer) =
            (self.memory.get_u32(xs_wire::REQ_CONS_OFFSET), self.memory.get_u32(xs_wire::REQ_PROD_OFFSET));
        while consumer != producer {
            let at = usize::try_from(consumer % 1024).expect("small");
            self.received.extend(self.memory.bytes(at, 1));
            consumer = consumer.wrapping_add(1);
            moved = true;
        }
        self.memory.set_u32(xs_wire::REQ_CONS_OFFSET, consumer);
        let mut requests = Vec::new();
        while let Some(head) = self.received.first_chunk::<HEADER_LEN>() {
            let header = Header::decode(*head);
            let len = header.payload_len().expect("a client keeps the limit");
            if self.received.len() < HEADER_LEN + len {
                break;
            }
            let message: Vec<u8> = self.received.drain(..HEADER_LEN + len).collect();
            requests.push((header, message[HEADER_LEN..].to_vec()));
        }
        if self.reversed {
            requests.reverse();
        }
        for (header, payload) in requests {
            self.perform(header, &payload);
        }
        let (mut producer, consumer) =
            (self.memory.get_u32(xs_wire::RSP_PROD_OFFSET), self.memory.get_u32(xs_wire::RSP_CONS_OFFSET));
        while producer.wrapping_sub(consumer) < 1024 {
            let Some(byte) = self.owed.pop_front() else { break };
            self.memory.write(1024 + usize::try_from(producer % 1024).expect("small"), &[byte]);
            producer = producer.wrapping_add(1);
            moved = true;
        }
        self.memory.set_u32(xs_wire::RSP_PROD_OFFSET, producer);
        moved
    }

    fn perform(&mut self, header: Header, payload: &[u8]) {
        let operation = Operation::decode(header.operation);
        let name = payload.split(|byte| *byte == 0).next().unwrap_or_default();
        if let Some(operation) = operation {
            self.log.push(format!("{operation} {}", String::from_utf8_lossy(name)));
        }
        let conflicts = operation == Some(Operation::TransactionEnd) && name == b"T" && self.conflicts > 0;
        let payload = if conflicts { b"F\0" } else { payload };
        let message = [&header.encode(), payload].concat();
        self.daemon.get_mut().receive(self.client, &message, &mut World).expect("a client keeps the protocol");
        if conflicts {
            self.conflicts -= 1;
            let head = fetch(self.daemon.get_mut(), self.client);
            assert_eq!(head.len(), HEADER_LEN + 3, "it was given up");
            self.owe(xs_wire::XS_ERROR, header.request, b"EAGAIN\0");
        }
        self.owe_what_is_due();
    }

    /// Signals that the client sent.
    pub(crate) fn take_signals(&self) -> u32 {
        self.channel.take_signals()
    }

    /// Runs a future of the client to its end.
    pub(crate) fn run<T>(&mut self, store: &Xenstore, future: impl Future<Output = T>) -> T {
        self.run_with(store, future, |_| false)
    }

    /// Runs a future to its end, while `peer` plays what else there is. Both say whether they did anything.
    pub(crate) fn run_with<T>(
        &mut self,
        store: &Xenstore,
        future: impl Future<Output = T>,
        mut peer: impl FnMut(&mut Self) -> bool,
    ) -> T {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        let mut idle = 0;
        while idle < 3 {
            if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                return value;
            }
            let moved = self.serve() | peer(self);
            store.pump();
            idle = if moved { 0 } else { idle + 1 };
        }
        panic!("the future waits for ever; requests so far: {:#?}", self.log);
    }
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_string() } else { format!("/local/domain/{DOMAIN}/{path}") }
}

/// All that a connection is owed.
fn fetch(daemon: &mut Daemon, connection: ConnectionId) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let output @ [_, ..] = daemon.output(connection) {
        let len = output.len();
        bytes.extend_from_slice(output);
        daemon.sent(connection, len);
    }
    bytes
}
