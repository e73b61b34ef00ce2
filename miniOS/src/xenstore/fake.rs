//! A xenstore daemon for unit tests, on the other side of a fake ring.

use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::collections::{BTreeMap, VecDeque};
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;
use xen_abi::io::xs_wire;

use super::client::Xenstore;
use super::wire::{HEADER_LEN, Header, Operation, PAYLOAD_MAX};
use crate::shared_mem::SharedMem;
use crate::shared_mem::fake::{FakeChannel, FakeMemory};

/// The domain at the other end of the ring.
pub(crate) const DOMAIN: u32 = 7;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    value: Vec<u8>,
    permissions: String,
}

/// The daemon: a tree, and what it owes its only client.
pub(crate) struct FakeDaemon {
    memory: FakeMemory,
    channel: FakeChannel,
    nodes: BTreeMap<String, Node>,
    watches: Vec<(String, String)>,
    /// The tree when a transaction began, and as the transaction sees it.
    transactions: BTreeMap<u32, [BTreeMap<String, Node>; 2]>,
    last_transaction: u32,
    /// Commits that fail with EAGAIN.
    pub(crate) conflicts: u32,
    /// Requests that were received, as `operation path`.
    pub(crate) log: Vec<String>,
    /// Answers the latest request first.
    pub(crate) reversed: bool,
    /// What nobody may read, as the beginning of paths.
    pub(crate) closed: Vec<String>,
    received: Vec<u8>,
    owed: VecDeque<u8>,
}

impl FakeDaemon {
    /// A daemon, and a client that is connected to it.
    pub(crate) fn new() -> (Self, Xenstore) {
        let (memory, channel) = (FakeMemory::new(4096), FakeChannel::new(1));
        // Streams that are about to wrap.
        for index in [2048, 2052, 2056, 2060] {
            memory.set_u32(index, 0xffff_ff00);
        }
        let daemon = Self {
            memory: memory.clone(),
            channel: channel.clone(),
            nodes: BTreeMap::new(),
            watches: Vec::new(),
            transactions: BTreeMap::new(),
            last_transaction: 0,
            conflicts: 0,
            log: Vec::new(),
            reversed: false,
            closed: Vec::new(),
            received: Vec::new(),
            owed: VecDeque::new(),
        };
        (daemon, Xenstore::open(memory, channel))
    }

    /// The page of the ring.
    pub(crate) fn memory(&self) -> &FakeMemory {
        &self.memory
    }

    /// Sets a node as dom0 would.
    pub(crate) fn set(&mut self, path: &str, value: &str) {
        let path = absolute(path);
        write(&mut self.nodes, &path, value.as_bytes());
        self.fire(&path);
    }

    /// Reads a node as dom0 would.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let node = self.nodes.get(&absolute(path))?;
        Some(String::from_utf8(node.value.clone()).expect("text"))
    }

    /// Removes a node as dom0 would.
    pub(crate) fn remove(&mut self, path: &str) {
        let path = absolute(path);
        remove(&mut self.nodes, &path);
        self.fire(&path);
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
            match self.perform(header, &payload) {
                Ok(answer) if answer.len() <= PAYLOAD_MAX => self.owe(header.operation, header.request, &answer),
                Ok(_) => self.owe(xs_wire::XS_ERROR, header.request, b"E2BIG\0"),
                Err(name) => self.owe(xs_wire::XS_ERROR, header.request, format!("{name}\0").as_bytes()),
            }
            if header.operation == xs_wire::XS_WATCH {
                let watch = self.watches.last().cloned().expect("just added");
                self.owe(xs_wire::XS_WATCH_EVENT, 0, format!("{}\0{}\0", watch.0, watch.1).as_bytes());
            }
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

    fn perform(&mut self, header: Header, payload: &[u8]) -> Result<Vec<u8>, &'static str> {
        let operation = Operation::decode(header.operation).ok_or("ENOSYS")?;
        let mut parts = payload.splitn(2, |byte| *byte == 0);
        let name = String::from_utf8(parts.next().unwrap_or_default().to_vec()).map_err(|_| "EINVAL")?;
        let rest = parts.next().unwrap_or_default().to_vec();
        let path = absolute(&name);
        self.log.push(format!("{operation} {name}"));
        if header.transaction != 0 && !self.transactions.contains_key(&header.transaction) {
            return Err("ENOENT");
        }
        if operation == Operation::Read && self.closed.iter().any(|closed| path.starts_with(closed)) {
            return Err("EACCES");
        }
        let ok = Ok(b"OK\0".to_vec());
        let nodes = self.transactions.get_mut(&header.transaction).map_or(&mut self.nodes, |[_, now]| now);
        let changed = match operation {
            Operation::Read => return nodes.get(&path).map(|node| node.value.clone()).ok_or("ENOENT"),
            Operation::Write => {
                if path.starts_with("/forbidden") {
                    return Err("EACCES");
                }
                write(nodes, &path, &rest);
                true
            }
            Operation::MakeDirectory => {
                if !nodes.contains_key(&path) {
                    write(nodes, &path, b"");
                }
                true
            }
            Operation::Remove => {
                remove(nodes, &path);
                true
            }
            Operation::Directory => return children(nodes, &path),
            Operation::DirectoryPart => {
                let list = children(nodes, &path)?;
                let offset: usize =
                    String::from_utf8_lossy(&rest).trim_end_matches('\0').parse().map_err(|_| "EINVAL")?;
                let mut answer = format!("{}\0", list.len()).into_bytes();
                let tail = list.get(offset..).unwrap_or_default();
                let mut taken = 0;
                for name in tail.split_inclusive(|byte| *byte == 0) {
                    if answer.len() + taken + name.len() >= PAYLOAD_MAX {
                        break;
                    }
                    taken += name.len();
                }
                answer.extend(&tail[..taken]);
                if offset + taken >= list.len() {
                    answer.push(0);
                }
                return Ok(answer);
            }
            Operation::GetPermissions => {
                return nodes.get(&path).map(|node| node.permissions.clone().into_bytes()).ok_or("ENOENT");
            }
            Operation::SetPermissions => {
                nodes.get_mut(&path).ok_or("ENOENT")?.permissions = String::from_utf8(rest).map_err(|_| "EINVAL")?;
                true
            }
            Operation::Watch => {
                let token = String::from_utf8_lossy(&rest).trim_end_matches('\0').to_string();
                self.watches.push((name, token));
                return ok;
            }
            Operation::Unwatch => {
                let token = String::from_utf8_lossy(&rest).trim_end_matches('\0').to_string();
                let before = self.watches.len();
                self.watches.retain(|watch| *watch != (name.clone(), token.clone()));
                return if self.watches.len() < before { ok } else { Err("ENOENT") };
            }
            Operation::TransactionStart => {
                self.last_transaction += 1;
                self.transactions.insert(self.last_transaction, [self.nodes.clone(), self.nodes.clone()]);
                return Ok(format!("{}\0", self.last_transaction).into_bytes());
            }
            Operation::TransactionEnd => {
                let [before, after] = self.transactions.remove(&header.transaction).ok_or("ENOENT")?;
                if name == "T" {
                    if self.conflicts > 0 {
                        self.conflicts -= 1;
                        return Err("EAGAIN");
                    }
                    self.commit(&before, after);
                }
                return ok;
            }
            Operation::GetDomainPath => return Ok(format!("/local/domain/{name}\0").into_bytes()),
            Operation::IsDomainIntroduced => return Ok(if name == "7" { b"T\0".to_vec() } else { b"F\0".to_vec() }),
            Operation::WatchEvent | Operation::Error => return Err("ENOSYS"),
        };
        if changed && header.transaction == 0 {
            self.fire(&path);
        }
        ok
    }

    /// Makes the changes of a transaction, whatever others have changed meanwhile.
    fn commit(&mut self, before: &BTreeMap<String, Node>, after: BTreeMap<String, Node>) {
        let removed: Vec<_> = before.keys().filter(|path| !after.contains_key(*path)).cloned().collect();
        for path in &removed {
            self.nodes.remove(path);
        }
        let mut changed = removed;
        for (path, node) in after {
            // A value that is written as it was fires too in a real one, which nothing here relies on.
            if before.get(&path) != Some(&node) {
                self.nodes.insert(path.clone(), node);
                changed.push(path);
            }
        }
        for path in changed {
            self.fire(&path);
        }
    }

    fn fire(&mut self, path: &str) {
        let mut events = Vec::new();
        for (watched, token) in &self.watches {
            let full = absolute(watched);
            let below = path.strip_prefix(&full).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            let above = full.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
            if below && !watched.starts_with('/') {
                events.push(format!("{}{}\0{token}\0", watched, &path[full.len()..]));
            } else if below {
                events.push(format!("{path}\0{token}\0"));
            } else if above {
                events.push(format!("{watched}\0{token}\0"));
            }
        }
        for event in events {
            self.owe(xs_wire::XS_WATCH_EVENT, 0, event.as_bytes());
        }
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

fn write(nodes: &mut BTreeMap<String, Node>, path: &str, value: &[u8]) {
    for (at, _) in path.match_indices('/').skip(1) {
        nodes.entry(path[..at].to_string()).or_default();
    }
    nodes.entry(path.to_string()).or_default().value = value.to_vec();
}

fn remove(nodes: &mut BTreeMap<String, Node>, path: &str) {
    let below = format!("{path}/");
    nodes.retain(|name, _| name != path && !name.starts_with(&below));
}

fn children(nodes: &BTreeMap<String, Node>, path: &str) -> Result<Vec<u8>, &'static str> {
    if !nodes.contains_key(path) {
        return Err("ENOENT");
    }
    let below = format!("{path}/");
    let mut list = vec![];
    for name in nodes.keys().filter_map(|name| name.strip_prefix(&below)).filter(|name| !name.contains('/')) {
        list.extend(name.as_bytes());
        list.push(0);
    }
    Ok(list)
}
