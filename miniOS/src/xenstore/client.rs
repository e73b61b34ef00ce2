//! The connection of this domain to the xenstore daemon.
//!
//! A request is sent when its function is called, not when its future is first polled: a caller that makes ten
//! requests and then awaits them has all ten in flight. Nothing here waits by itself: [`Xenstore::pump`] moves what
//! can be moved, and the main loop calls it when the store's event channel fires.
//!
//! Source: Xen's docs/misc/xenstore.txt and docs/misc/xenstore-ring.txt.
//! Not modelled: reconnecting the ring by ourselves, watch depths, what only dom0 may ask (INTRODUCE and the like).
//!
//! Invariant: an answer to a request that we do not know is dropped; a message that cannot be framed ends the
//! connection, and every request then fails with the reason.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::str::FromStr;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll, Waker};

use xen_abi::io::xs_wire;
use xen_abi::{DomId, Port};

use super::wire::{self, DirectoryPart, HEADER_LEN, Header, Operation, Permission, Refusal};
use crate::boot;
use crate::console;
use crate::event::EventChannel;
use crate::exec::{self, Either, Executor, first_of};
use crate::hypercall::sched::ShutdownReason;
use crate::ring::{ByteReceiver, ByteRing, ByteSender, RingFault};
use crate::shared_mem::{Notify, SharedMem};

/// Our requests, `req` of `struct xenstore_domain_interface`.
const REQUESTS: ByteRing = ByteRing {
    data: xs_wire::REQ_OFFSET,
    size: 1024,
    consumer: xs_wire::REQ_CONS_OFFSET,
    producer: xs_wire::REQ_PROD_OFFSET,
};
/// Answers and watch events, `rsp`.
const RESPONSES: ByteRing = ByteRing {
    data: xs_wire::RSP_OFFSET,
    size: 1024,
    consumer: xs_wire::RSP_CONS_OFFSET,
    producer: xs_wire::RSP_PROD_OFFSET,
};

/// Ring-fulls that one [`Xenstore::pump`] moves, so that a chatty daemon cannot keep the main loop.
const PUMP_ROUNDS: usize = 64;
/// Changed paths that a watch remembers one by one. Beyond that it reports its own path, which means "anything".
const WATCH_QUEUE: usize = 64;
/// Bytes of names that one directory may have.
const DIRECTORY_MAX: usize = 1 << 20;
/// How often a list is fetched anew because it changed meanwhile, and a transaction is tried again.
const RETRIES: usize = 100;

/// A request to the store failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XenstoreError {
    /// What was asked.
    pub operation: Operation,
    /// Of which node (or domain).
    pub path: String,
    /// Why it failed.
    pub kind: ErrorKind,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The daemon said no.
    Refused(Refusal),
    /// The request is longer than the protocol allows, or the answer longer than we take.
    TooLong,
    /// The path has a zero byte in it.
    ZeroByte,
    /// The answer is not what the protocol says.
    Unexpected,
    /// The value is not what it should be.
    Malformed(String),
    /// There is no connection any more.
    Disconnected(ConnectionFault),
}

/// Why the connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionFault {
    /// The daemon's ring indices are impossible.
    Ring(RingFault),
    /// The daemon announced a message of more bytes than the protocol allows.
    Oversized(u32),
    /// The daemon gave up and left this number (`XENSTORE_ERROR_*`).
    Reported(u32),
}

impl fmt::Display for XenstoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "xenstore: cannot {} {}: ", self.operation, self.path)?;
        match &self.kind {
            ErrorKind::Refused(refusal) => write!(f, "{refusal}"),
            ErrorKind::TooLong => f.write_str("too long"),
            ErrorKind::ZeroByte => f.write_str("the path has a zero byte"),
            ErrorKind::Unexpected => f.write_str("xenstored's answer makes no sense"),
            ErrorKind::Malformed(value) => write!(f, "its value {value:?} is malformed"),
            ErrorKind::Disconnected(fault) => write!(f, "no connection: {fault}"),
        }
    }
}

impl fmt::Display for ConnectionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(fault) => write!(f, "{fault}"),
            Self::Oversized(len) => write!(f, "xenstored announced a message of {len} bytes"),
            Self::Reported(number) => write!(f, "xenstored gave up with error {number}"),
        }
    }
}

impl core::error::Error for XenstoreError {}
impl core::error::Error for ConnectionFault {}

impl XenstoreError {
    fn new(operation: Operation, path: &str, kind: ErrorKind) -> Self {
        Self { operation, path: path.to_owned(), kind }
    }

    /// What the daemon said, if it was the daemon that refused.
    #[must_use]
    pub const fn refusal(&self) -> Option<Refusal> {
        match self.kind {
            ErrorKind::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether there may be such a node, and it is not for us.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        self.refusal() == Some(Refusal::EACCES)
    }

    /// Whether there is just no such node.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.refusal() == Some(Refusal::ENOENT)
    }
}

/// A handle to the store. Cheap to clone; all clones share one connection.
///
/// Paths that do not start with `/` are relative to this domain's home, `/local/domain/<domid>`.
#[derive(Clone)]
pub struct Xenstore {
    connection: Rc<RefCell<Connection>>,
    /// Requests through this handle belong to this transaction, or to none.
    transaction: u32,
}

impl fmt::Debug for Xenstore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Xenstore").field("transaction", &self.transaction).finish_non_exhaustive()
    }
}

impl Xenstore {
    /// Takes up the connection that the toolstack gave this domain. `None`: it gave none, or somebody has it already.
    pub fn of_this_domain() -> Option<Self> {
        let (page, port) = boot::take_store()?;
        Some(Self::open(page, EventChannel::own(port)))
    }

    /// Takes up the connection of this domain and has it served, and says that somebody writes to console 0: what every image
    /// begins with. Without a connection there is nobody to serve, and the domain crashes.
    #[inline]
    pub fn begin(executor: &Executor) -> Self {
        let Some(store) = Self::of_this_domain() else {
            log::error!("xenstore: the toolstack gave this domain no connection");
            boot::shut_down(ShutdownReason::Crash);
        };
        executor.spawn(store.clone().serve());
        executor.spawn(console::announce(store.clone()));
        store
    }

    /// Takes up a connection through a page and an event channel.
    pub fn open(memory: impl SharedMem + 'static, channel: impl Notify + 'static) -> Self {
        let connection = Connection {
            memory: Box::new(memory),
            channel: Box::new(channel),
            ends: None,
            outgoing: VecDeque::new(),
            incoming: Vec::new(),
            requests: BTreeMap::new(),
            last_request: 0,
            watches: BTreeMap::new(),
            last_watch: 0,
            unanswered: 0,
            transactions: 0,
            moves: 0,
            movers: Vec::new(),
            fault: None,
        };
        let store = Self { connection: Rc::new(RefCell::new(connection)), transaction: 0 };
        store.pump();
        store
    }

    /// The port that fires when [`pump`](Self::pump) should be called.
    #[must_use]
    pub fn port(&self) -> Port {
        self.connection.borrow().channel.port()
    }

    /// Moves everything that can be moved between the ring and the waiting requests and watches.
    ///
    /// `true`: there is more; call again after other work.
    pub fn pump(&self) -> bool {
        let mut wakers = Vec::new();
        let more = self.connection.borrow_mut().pump(&mut wakers);
        // Woken only now, when the connection is free for whatever they do.
        wakers.into_iter().for_each(Waker::wake);
        more
    }

    /// A task that pumps whenever the store's event channel fires, until the connection ends.
    pub async fn serve(self) {
        let mut signal = exec::signal(self.port());
        while self.fault().is_none() {
            if self.pump() {
                // Others first.
                exec::sleep(1).await;
            } else if let Either::Second(()) = first_of(signal.wait(), self.moved()).await {
                signal = exec::signal(self.port());
            }
        }
        if let Some(fault) = self.fault() {
            log::error!("xenstore: no connection any more: {fault}");
        }
    }

    /// Whether the daemon has answered everything, and no transaction is open.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let connection = self.connection.borrow();
        connection.fault.is_none()
            && connection.unanswered == 0
            && connection.transactions == 0
            && connection.outgoing.is_empty()
            && connection.incoming.is_empty()
    }

    /// This domain goes on in another one: there is another daemon at the same page, which knows nothing of our watches. All
    /// of them are set again, and fire.
    pub(crate) fn resumed(&self, channel: impl Notify + 'static) {
        let mut connection = self.connection.borrow_mut();
        connection.channel = Box::new(channel);
        connection.ends = None;
        connection.moves = connection.moves.wrapping_add(1);
        let movers = core::mem::take(&mut connection.movers);
        let watches: Vec<(u32, String)> =
            connection.watches.iter().map(|(id, watch)| (*id, watch.path.clone())).collect();
        drop(connection);
        for (id, path) in watches {
            // A watch that the daemon does not want to set again is one that never fires.
            drop(self.request(Operation::Watch, &path, &[&path, &token(id)], &[]));
        }
        movers.into_iter().for_each(Waker::wake);
    }

    /// Waits until this domain has become another one ([`crate::suspend`]). Counts from the call on.
    pub fn moved(&self) -> impl Future<Output = ()> + use<> {
        let connection = self.connection.clone();
        let known = connection.borrow().moves;
        poll_fn(move |context| {
            let mut connection = connection.borrow_mut();
            if connection.moves != known {
                return Poll::Ready(());
            }
            if !connection.movers.iter().any(|waker| waker.will_wake(context.waker())) {
                connection.movers.push(context.waker().clone());
            }
            Poll::Pending
        })
    }

    /// Why the connection ended, if it did.
    #[must_use]
    pub fn fault(&self) -> Option<ConnectionFault> {
        self.connection.borrow().fault
    }

    /// Sends a request of `parts`, each ended by a zero byte, and then `value`.
    fn request(&self, operation: Operation, path: &str, parts: &[&str], value: &[u8]) -> Reply {
        let sent = match wire::join(parts) {
            None => Err(ErrorKind::ZeroByte),
            Some(mut payload) => {
                payload.extend_from_slice(value);
                self.connection.borrow_mut().send(operation, self.transaction, &payload)
            }
        };
        if sent.is_ok() {
            self.pump();
        }
        let sent = sent.map_err(|kind| XenstoreError::new(operation, path, kind));
        Reply { connection: self.connection.clone(), operation, path: path.to_owned(), sent: Some(sent) }
    }

    /// Reads the bytes of a node.
    pub fn read_bytes(&self, path: &str) -> Reply {
        self.request(Operation::Read, path, &[path], &[])
    }

    /// Reads a node as text.
    pub fn read(&self, path: &str) -> impl Future<Output = Result<String, XenstoreError>> + use<> {
        let reply = self.read_bytes(path);
        let path = path.to_owned();
        async move {
            let bytes = reply.await?;
            let malformed = || ErrorKind::Malformed(String::from_utf8_lossy(&bytes).into_owned());
            // A value is text without a zero byte, but some writers of dom0 end it with one.
            wire::text(&bytes).ok_or_else(|| XenstoreError::new(Operation::Read, &path, malformed()))
        }
    }

    /// Reads a node as text; `None` if there is no such node.
    pub fn read_optional(&self, path: &str) -> impl Future<Output = Result<Option<String>, XenstoreError>> + use<> {
        let value = self.read(path);
        async move {
            match value.await {
                Ok(value) => Ok(Some(value)),
                Err(error) if error.is_absent() => Ok(None),
                Err(error) => Err(error),
            }
        }
    }

    /// Reads a node as a number, or whatever else can be parsed.
    pub fn read_number<T: FromStr>(&self, path: &str) -> impl Future<Output = Result<T, XenstoreError>> + use<T> {
        let value = self.read_number_optional(path);
        let path = path.to_owned();
        async move {
            let absent = || XenstoreError::new(Operation::Read, &path, ErrorKind::Refused(Refusal::ENOENT));
            value.await?.ok_or_else(absent)
        }
    }

    /// Reads a node as a number; `None` if there is no such node.
    pub fn read_number_optional<T: FromStr>(
        &self,
        path: &str,
    ) -> impl Future<Output = Result<Option<T>, XenstoreError>> + use<T> {
        let value = self.read_optional(path);
        let path = path.to_owned();
        async move {
            let Some(text) = value.await? else { return Ok(None) };
            let malformed = |_| XenstoreError::new(Operation::Read, &path, ErrorKind::Malformed(text.clone()));
            text.trim().parse().map(Some).map_err(malformed)
        }
    }

    /// Writes a node; it and its parents are made where they are missing.
    pub fn write<V: AsRef<[u8]> + ?Sized>(
        &self,
        path: &str,
        value: &V,
    ) -> impl Future<Output = Result<(), XenstoreError>> + use<V> {
        self.request(Operation::Write, path, &[path], value.as_ref()).done()
    }

    /// Makes a node with an empty value, unless there is one.
    pub fn make_directory(&self, path: &str) -> impl Future<Output = Result<(), XenstoreError>> + use<> {
        self.request(Operation::MakeDirectory, path, &[path], &[]).done()
    }

    /// Removes a node and all below it. A node that is not there is as good as removed; its parent must exist.
    pub fn remove(&self, path: &str) -> impl Future<Output = Result<(), XenstoreError>> + use<> {
        self.request(Operation::Remove, path, &[path], &[]).done()
    }

    /// Lists the names of the children of a node, however many there are.
    pub fn directory(&self, path: &str) -> impl Future<Output = Result<Vec<String>, XenstoreError>> + use<> {
        let reply = self.request(Operation::Directory, path, &[path], &[]);
        let (store, path) = (self.clone(), path.to_owned());
        async move {
            let names = match reply.await {
                Err(error) if error.refusal() == Some(Refusal::E2BIG) => store.directory_in_parts(&path).await?,
                names => names?,
            };
            let odd = || XenstoreError::new(Operation::Directory, &path, ErrorKind::Unexpected);
            wire::split(&names).ok_or_else(odd)
        }
    }

    /// Fetches a list that is longer than one message.
    async fn directory_in_parts(&self, path: &str) -> Result<Vec<u8>, XenstoreError> {
        let failed = |kind| Err(XenstoreError::new(Operation::DirectoryPart, path, kind));
        let (mut names, mut generation) = (Vec::new(), Vec::new());
        let mut restarts = 0;
        loop {
            let offset = names.len().to_string();
            let payload = self.request(Operation::DirectoryPart, path, &[path, &offset], &[]).await?;
            let Some(part) = DirectoryPart::decode(&payload) else { return failed(ErrorKind::Unexpected) };
            if !names.is_empty() && part.generation != generation {
                restarts += 1;
                if restarts == RETRIES {
                    return failed(ErrorKind::Refused(Refusal::EAGAIN));
                }
                names.clear();
                continue;
            }
            if part.names.is_empty() && !part.last {
                return failed(ErrorKind::Unexpected);
            }
            generation = part.generation.to_vec();
            names.extend_from_slice(part.names);
            if part.last {
                return Ok(names);
            }
            if names.len() > DIRECTORY_MAX {
                return failed(ErrorKind::TooLong);
            }
        }
    }

    /// Reads the permissions of a node; the first entry names its owner.
    pub fn permissions(&self, path: &str) -> impl Future<Output = Result<Vec<Permission>, XenstoreError>> + use<> {
        let reply = self.request(Operation::GetPermissions, path, &[path], &[]);
        let path = path.to_owned();
        async move {
            let texts = wire::split(&reply.await?);
            let entries = texts.and_then(|texts| texts.iter().map(|text| Permission::decode(text)).collect());
            let odd = || XenstoreError::new(Operation::GetPermissions, &path, ErrorKind::Unexpected);
            entries.ok_or_else(odd)
        }
    }

    /// Sets the permissions of a node; the first entry names its owner.
    pub fn set_permissions(
        &self,
        path: &str,
        permissions: &[Permission],
    ) -> impl Future<Output = Result<(), XenstoreError>> + use<> {
        let texts: Vec<String> = permissions.iter().map(ToString::to_string).collect();
        let parts: Vec<&str> = core::iter::once(path).chain(texts.iter().map(String::as_str)).collect();
        self.request(Operation::SetPermissions, path, &parts, &[]).done()
    }

    /// The home directory of a domain.
    pub fn domain_path(&self, domain: DomId) -> impl Future<Output = Result<String, XenstoreError>> + use<> {
        let domain = domain.0.to_string();
        let reply = self.request(Operation::GetDomainPath, &domain, &[&domain], &[]);
        async move {
            let odd = || XenstoreError::new(Operation::GetDomainPath, &domain, ErrorKind::Unexpected);
            wire::text(&reply.await?).ok_or_else(odd)
        }
    }

    /// Whether the daemon is connected to a domain. Only domain 0 may ask.
    pub fn is_domain_introduced(&self, domain: DomId) -> impl Future<Output = Result<bool, XenstoreError>> + use<> {
        let domain = domain.0.to_string();
        let reply = self.request(Operation::IsDomainIntroduced, &domain, &[&domain], &[]);
        async move {
            match reply.await?.as_slice() {
                b"T\0" | b"T" => Ok(true),
                b"F\0" | b"F" => Ok(false),
                _ => Err(XenstoreError::new(Operation::IsDomainIntroduced, &domain, ErrorKind::Unexpected)),
            }
        }
    }

    /// Starts watching a node and everything below it. The watch fires once straight away.
    pub fn watch(&self, path: &str) -> impl Future<Output = Result<Watch, XenstoreError>> + use<> {
        // Known before the daemon is asked, because the first event may come before its answer.
        let id = self.connection.borrow_mut().add_watch(path);
        let watch = Watch { store: Self { transaction: 0, ..self.clone() }, id, path: path.to_owned() };
        let reply = self.request(Operation::Watch, path, &[path, &token(id)], &[]);
        async move { reply.done().await.map(|()| watch) }
    }

    /// Runs `body` within a transaction and commits it. When somebody else changed what it looked at, runs it again.
    ///
    /// `body` gets a handle whose requests are part of the transaction. An error of `body` discards it all.
    pub async fn transaction<T>(
        &self,
        body: impl AsyncFn(&Self) -> Result<T, XenstoreError>,
    ) -> Result<T, XenstoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let id = wire::text(&self.request(Operation::TransactionStart, "", &[""], &[]).await?);
            let id = id.and_then(|id| id.parse().ok()).filter(|id| *id != 0);
            let odd = || XenstoreError::new(Operation::TransactionStart, "", ErrorKind::Unexpected);
            let open = OpenTransaction(Self { transaction: id.ok_or_else(odd)?, ..self.clone() });
            self.connection.borrow_mut().transactions += 1;
            let value = match body(&open.0).await {
                Err(error) if error.refusal() == Some(Refusal::EAGAIN) && tries < RETRIES => continue,
                value => value?,
            };
            match open.commit().await {
                Err(error) if error.refusal() == Some(Refusal::EAGAIN) && tries < RETRIES => {}
                end => return end.map(|()| value),
            }
        }
    }
}

/// A transaction that has not ended. Dropping it discards it.
struct OpenTransaction(Xenstore);

impl OpenTransaction {
    async fn commit(mut self) -> Result<(), XenstoreError> {
        let end = self.0.request(Operation::TransactionEnd, "", &["T"], &[]);
        let end = end.done().await;
        self.0.transaction = 0;
        self.0.connection.borrow_mut().transactions -= 1;
        end
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        if self.0.transaction != 0 {
            self.0.connection.borrow_mut().transactions -= 1;
            // Sent, and the answer is of no interest.
            drop(self.0.request(Operation::TransactionEnd, "", &["F"], &[]));
        }
    }
}

/// The text that names a watch to the daemon.
fn token(id: u32) -> String {
    format!("w{id}")
}

/// The answer to a request that was sent. Dropping it does not take the request back.
#[must_use = "a request that nobody awaits may have failed"]
pub struct Reply {
    connection: Rc<RefCell<Connection>>,
    operation: Operation,
    path: String,
    /// The number of the request, until the answer was taken.
    sent: Option<Result<u32, XenstoreError>>,
}

impl Reply {
    /// Waits for an answer that says no more than that it was done.
    async fn done(self) -> Result<(), XenstoreError> {
        let (operation, path) = (self.operation, self.path.clone());
        match self.await?.as_slice() {
            b"OK\0" | b"OK" => Ok(()),
            _ => Err(XenstoreError::new(operation, &path, ErrorKind::Unexpected)),
        }
    }
}

impl Future for Reply {
    type Output = Result<Vec<u8>, XenstoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let request = match self.sent.take() {
            Some(Ok(request)) => request,
            Some(Err(error)) => return Poll::Ready(Err(error)),
            // Polled again after the end, which is a bug of ours with a harmless answer.
            None => return Poll::Pending,
        };
        let answer = self.connection.borrow_mut().answer(request, context.waker());
        match answer {
            None => {
                self.sent = Some(Ok(request));
                Poll::Pending
            }
            Some(answer) => Poll::Ready(answer.map_err(|kind| XenstoreError::new(self.operation, &self.path, kind))),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(Ok(request)) = self.sent {
            self.connection.borrow_mut().requests.remove(&request);
        }
    }
}

/// A node that is watched, until this is dropped.
#[derive(Debug)]
pub struct Watch {
    store: Xenstore,
    id: u32,
    path: String,
}

impl Watch {
    /// The watched node.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The next path that changed, if there is one.
    pub fn try_next(&mut self) -> Option<String> {
        self.store.connection.borrow_mut().watches.get_mut(&self.id)?.changed.pop_front()
    }

    /// Waits for the next change, and says which path changed. When very much changed, that is the watched path
    /// itself. Several changes of one path may be reported as one.
    pub async fn next(&mut self) -> Result<String, XenstoreError> {
        poll_fn(|context| {
            let mut connection = self.store.connection.borrow_mut();
            let fault = connection.fault;
            if let Some(queue) = connection.watches.get_mut(&self.id) {
                if let Some(path) = queue.changed.pop_front() {
                    return Poll::Ready(Ok(path));
                }
                queue.waker = Some(context.waker().clone());
            }
            fault.map_or(Poll::Pending, |fault| {
                let kind = ErrorKind::Disconnected(fault);
                Poll::Ready(Err(XenstoreError::new(Operation::WatchEvent, &self.path, kind)))
            })
        })
        .await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.store.connection.borrow_mut().watches.remove(&self.id);
        drop(self.store.request(Operation::Unwatch, &self.path, &[&self.path, &token(self.id)], &[]));
    }
}

/// What all handles share.
struct Connection {
    memory: Box<dyn SharedMem>,
    channel: Box<dyn Notify>,
    /// Both byte streams, once the ring is connected.
    ends: Option<(ByteSender, ByteReceiver)>,
    /// Bytes that wait for room in the ring. Only as many as our own requests are.
    outgoing: VecDeque<u8>,
    /// The message that is being received: at most a header and its payload.
    incoming: Vec<u8>,
    requests: BTreeMap<u32, Request>,
    last_request: u32,
    watches: BTreeMap<u32, WatchQueue>,
    last_watch: u32,
    /// Requests that the daemon has not answered, whoever waits for it.
    unanswered: usize,
    /// Transactions that have not ended.
    transactions: usize,
    /// How often this domain has become another one, and who wants to know.
    moves: u32,
    movers: Vec<Waker>,
    fault: Option<ConnectionFault>,
}

struct Request {
    operation: Operation,
    answer: Option<Result<Vec<u8>, ErrorKind>>,
    waker: Option<Waker>,
}

struct WatchQueue {
    path: String,
    changed: VecDeque<String>,
    waker: Option<Waker>,
}

impl Connection {
    /// Queues a request, and names it.
    fn send(&mut self, operation: Operation, transaction: u32, payload: &[u8]) -> Result<u32, ErrorKind> {
        if let Some(fault) = self.fault {
            return Err(ErrorKind::Disconnected(fault));
        }
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let request = next_free(&self.requests, &mut self.last_request);
        let header = Header { operation: operation.number(), request, transaction, len };
        if header.payload_len().is_none() {
            return Err(ErrorKind::TooLong);
        }
        self.outgoing.extend(header.encode());
        self.outgoing.extend(payload);
        self.requests.insert(request, Request { operation, answer: None, waker: None });
        self.unanswered += 1;
        Ok(request)
    }

    /// Takes the answer to a request, or remembers whom to wake.
    fn answer(&mut self, request: u32, waker: &Waker) -> Option<Result<Vec<u8>, ErrorKind>> {
        let fault = self.fault;
        let entry = self.requests.get_mut(&request)?;
        let answer = entry.answer.take().or_else(|| fault.map(|fault| Err(ErrorKind::Disconnected(fault))));
        if answer.is_some() {
            self.requests.remove(&request);
        } else {
            entry.waker = Some(waker.clone());
        }
        answer
    }

    fn add_watch(&mut self, path: &str) -> u32 {
        let id = next_free(&self.watches, &mut self.last_watch);
        self.watches.insert(id, WatchQueue { path: path.to_owned(), changed: VecDeque::new(), waker: None });
        id
    }

    /// Moves bytes both ways. `true`: there is more.
    fn pump(&mut self, wakers: &mut Vec<Waker>) -> bool {
        if self.fault.is_some() {
            return false;
        }
        match self.pump_rings(wakers) {
            Ok(more) => more,
            Err(fault) => {
                self.fault = Some(fault);
                self.outgoing.clear();
                wakers.extend(self.requests.values_mut().filter_map(|request| request.waker.take()));
                wakers.extend(self.watches.values_mut().filter_map(|watch| watch.waker.take()));
                false
            }
        }
    }

    fn pump_rings(&mut self, wakers: &mut Vec<Waker>) -> Result<bool, ConnectionFault> {
        let features = self.memory.load_u32(xs_wire::SERVER_FEATURES_OFFSET, Ordering::Relaxed);
        if features & xs_wire::XENSTORE_SERVER_FEATURE_ERROR != 0 {
            let number = self.memory.load_u32(xs_wire::ERROR_OFFSET, Ordering::Relaxed);
            if number != 0 {
                return Err(ConnectionFault::Reported(number));
            }
        }
        if features & xs_wire::XENSTORE_SERVER_FEATURE_RECONNECTION != 0
            && self.memory.load_u32(xs_wire::CONNECTION_OFFSET, Ordering::Acquire) != xs_wire::XENSTORE_CONNECTED
        {
            // Somebody asked for a reconnection before us; until it is done nothing else on the page is valid.
            return Ok(false);
        }
        let (sender, receiver) = self.ends.get_or_insert_with(|| {
            (ByteSender::new(REQUESTS, &*self.memory), ByteReceiver::new(RESPONSES, &*self.memory))
        });
        let (mut moved_any, mut more) = (false, true);
        let mut chunk = [0; 1024];
        let mut received: VecDeque<u8> = VecDeque::new();
        for _ in 0..PUMP_ROUNDS {
            let (head, _) = self.outgoing.as_slices();
            let sent = sender.send(&*self.memory, head).map_err(ConnectionFault::Ring)?;
            self.outgoing.drain(..sent);
            let len = receiver.receive(&*self.memory, &mut chunk).map_err(ConnectionFault::Ring)?;
            received.extend(&chunk[..len]);
            if sent == 0 && len == 0 {
                more = false;
                break;
            }
            moved_any = true;
        }
        if moved_any {
            self.channel.notify();
        }
        self.assemble(received, wakers)?;
        Ok(more)
    }

    /// Makes messages of received bytes.
    fn assemble(&mut self, mut received: VecDeque<u8>, wakers: &mut Vec<Waker>) -> Result<(), ConnectionFault> {
        loop {
            let header = self.incoming.first_chunk::<HEADER_LEN>().copied().map(Header::decode);
            let wanted = match header {
                None => HEADER_LEN,
                Some(header) => match header.payload_len() {
                    Some(len) => HEADER_LEN.saturating_add(len),
                    None => return Err(ConnectionFault::Oversized(header.len)),
                },
            };
            let missing = wanted.saturating_sub(self.incoming.len());
            let taken = missing.min(received.len());
            self.incoming.extend(received.drain(..taken));
            if self.incoming.len() < wanted {
                return Ok(());
            }
            if let Some(header) = header {
                let payload = self.incoming.split_off(HEADER_LEN);
                self.incoming.clear();
                self.dispatch(header, payload, wakers);
            }
        }
    }

    /// Hands a message to who waits for it.
    fn dispatch(&mut self, header: Header, payload: Vec<u8>, wakers: &mut Vec<Waker>) {
        let operation = Operation::decode(header.operation);
        if operation == Some(Operation::WatchEvent) {
            if let Some((path, token)) = wire::pair(&payload) {
                self.watch_event(path, token, wakers);
            }
            return;
        }
        self.unanswered = self.unanswered.saturating_sub(1);
        let Some(request) = self.requests.get_mut(&header.request) else { return };
        if request.answer.is_some() {
            return;
        }
        request.answer = Some(if operation == Some(request.operation) {
            Ok(payload)
        } else if operation == Some(Operation::Error) {
            Err(ErrorKind::Refused(Refusal::decode(&payload)))
        } else {
            Err(ErrorKind::Unexpected)
        });
        wakers.extend(request.waker.take());
    }

    fn watch_event(&mut self, path: &str, token: &str, wakers: &mut Vec<Waker>) {
        let id = token.strip_prefix('w').and_then(|id| id.parse().ok());
        let Some(watch) = id.and_then(|id: u32| self.watches.get_mut(&id)) else { return };
        if watch.changed.len() >= WATCH_QUEUE {
            watch.changed.clear();
            watch.changed.push_back(watch.path.clone());
        } else if !watch.changed.iter().any(|queued| queued == path) {
            watch.changed.push_back(path.to_owned());
        }
        wakers.extend(watch.waker.take());
    }
}

/// The next number that is not in use and not zero.
fn next_free<T>(used: &BTreeMap<u32, T>, last: &mut u32) -> u32 {
    loop {
        *last = last.wrapping_add(1);
        if *last != 0 && !used.contains_key(last) {
            return *last;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xenstore::fake::FakeDaemon;
    use crate::xenstore::wire::Access;
    use std::vec;

    fn poll_once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_value_is_written_read_and_removed() {
        let (mut daemon, store) = FakeDaemon::new();
        daemon.run(&store, store.write("data/x", "hello")).unwrap();
        assert_eq!(daemon.get("/local/domain/7/data/x").as_deref(), Some("hello"));
        assert_eq!(daemon.run(&store, store.read("data/x")).unwrap(), "hello");
        daemon.run(&store, store.make_directory("data/d")).unwrap();
        assert_eq!(daemon.run(&store, store.directory("data")).unwrap(), ["x", "d"]);
        daemon.run(&store, store.remove("data")).unwrap();
        assert_eq!(daemon.run(&store, store.read_optional("data/x")).unwrap(), None);
        assert!(daemon.take_signals() > 0);
    }

    #[test]
    fn an_error_names_the_node_and_what_the_daemon_said() {
        let (mut daemon, store) = FakeDaemon::new();
        let error = daemon.run(&store, store.read("device/vbd/768/state")).unwrap_err();
        assert_eq!(error.refusal(), Some(Refusal::ENOENT));
        assert_eq!(error.to_string(), "xenstore: cannot read device/vbd/768/state: ENOENT");
        let error = daemon.run(&store, store.write("/forbidden/x", "1")).unwrap_err();
        assert_eq!(error.to_string(), "xenstore: cannot write /forbidden/x: EACCES");
        let error = daemon.run(&store, store.read("a\0b")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::ZeroByte);
        let error = daemon.run(&store, store.write("x", &vec![b'x'; 4096])).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLong);
    }

    #[test]
    fn numbers_are_parsed_or_refused_with_their_text() {
        let (mut daemon, store) = FakeDaemon::new();
        daemon.set("n", "12");
        daemon.set("odd", "twelve");
        assert_eq!(daemon.run(&store, store.read_number::<u16>("n")).unwrap(), 12);
        assert_eq!(daemon.run(&store, store.read_number_optional::<u16>("none")).unwrap(), None);
        let error = daemon.run(&store, store.read_number::<u16>("odd")).unwrap_err();
        assert_eq!(error.to_string(), "xenstore: cannot read odd: its value \"twelve\" is malformed");
        assert!(daemon.run(&store, store.read_number::<u16>("none")).unwrap_err().is_absent());
    }

    #[test]
    fn many_requests_are_in_flight_and_answers_come_in_any_order() {
        let (mut daemon, store) = FakeDaemon::new();
        daemon.reversed = true;
        for number in 0..200 {
            daemon.set(&format!("many/{number}"), &"v".repeat(number));
        }
        let reads: Vec<_> = (0..200).map(|number| store.read(&format!("many/{number}"))).collect();
        for (number, read) in reads.into_iter().enumerate() {
            assert_eq!(daemon.run(&store, read).unwrap().len(), number);
        }
    }

    #[test]
    fn a_request_longer_than_the_ring_waits_for_room() {
        let (mut daemon, store) = FakeDaemon::new();
        let value = "x".repeat(4000);
        daemon.run(&store, store.write("long", &value)).unwrap();
        assert_eq!(daemon.run(&store, store.read("long")).unwrap(), value);
    }

    #[test]
    fn a_directory_longer_than_a_message_comes_in_parts() {
        let (mut daemon, store) = FakeDaemon::new();
        for number in 0..1000 {
            daemon.set(&format!("big/entry-number-{number:04}"), "");
        }
        let names = daemon.run(&store, store.directory("big")).unwrap();
        assert_eq!(names.len(), 1000);
        assert_eq!(names[999], "entry-number-0999");
        assert!(daemon.log.iter().filter(|line| line.starts_with("list part")).count() > 3);
    }

    #[test]
    fn permissions_are_set_and_read() {
        let (mut daemon, store) = FakeDaemon::new();
        daemon.run(&store, store.write("p", "")).unwrap();
        let wanted = [
            Permission { domain: DomId(7), access: Access::None },
            Permission { domain: DomId(0), access: Access::Read },
        ];
        daemon.run(&store, store.set_permissions("p", &wanted)).unwrap();
        assert_eq!(daemon.run(&store, store.permissions("p")).unwrap(), wanted);
        // Who did not make it does not own it.
        daemon.set("q", "");
        let refused = daemon.run(&store, store.set_permissions("q", &wanted)).unwrap_err();
        assert_eq!(refused.refusal(), Some(Refusal::EACCES));
    }

    #[test]
    fn domains_are_looked_up() {
        let (mut daemon, store) = FakeDaemon::new();
        assert_eq!(daemon.run(&store, store.domain_path(DomId(3))).unwrap(), "/local/domain/3");
        // Only domain 0 may ask for this.
        let refused = daemon.run(&store, store.is_domain_introduced(DomId(7))).unwrap_err();
        assert_eq!(refused.refusal(), Some(Refusal::EACCES));
        let (mut daemon, store) = FakeDaemon::of_domain_0();
        assert!(daemon.run(&store, store.is_domain_introduced(DomId(7))).unwrap());
        assert!(!daemon.run(&store, store.is_domain_introduced(DomId(8))).unwrap());
    }

    #[test]
    fn a_watch_fires_at_once_and_then_for_every_change() {
        let (mut daemon, store) = FakeDaemon::new();
        let mut watch = daemon.run(&store, store.watch("device")).unwrap();
        assert_eq!(daemon.run(&store, watch.next()).unwrap(), "device");
        assert_eq!(watch.try_next(), None);
        daemon.set("device/vbd/1/state", "4");
        daemon.set("elsewhere", "4");
        assert_eq!(daemon.run(&store, watch.next()).unwrap(), "device/vbd/1/state");
        drop(watch);
        daemon.serve();
        assert_eq!(daemon.log.last().map(String::as_str), Some("unwatch device"));
        daemon.set("device/vbd/1/state", "5");
        daemon.serve();
        store.pump();
    }

    #[test]
    fn a_flood_of_watch_events_stays_bounded() {
        let (mut daemon, store) = FakeDaemon::new();
        let mut watch = daemon.run(&store, store.watch("device")).unwrap();
        for number in 0..10_000 {
            daemon.set(&format!("device/{number}"), "");
            daemon.serve();
            store.pump();
        }
        let mut count = 0;
        while watch.try_next().is_some() {
            count += 1;
        }
        assert!((1..=WATCH_QUEUE).contains(&count));
    }

    #[test]
    fn a_transaction_is_tried_again_after_a_conflict() {
        let (mut daemon, store) = FakeDaemon::new();
        daemon.set("count", "1");
        daemon.conflicts = 2;
        let runs = core::cell::Cell::new(0);
        let work = store.transaction(async |inside| {
            runs.set(runs.get() + 1);
            let count: u32 = inside.read_number("count").await?;
            inside.write("count", &(count + 1).to_string()).await
        });
        daemon.run(&store, work).unwrap();
        assert_eq!((runs.get(), daemon.get("count").as_deref()), (3, Some("2")));
    }

    #[test]
    fn a_transaction_that_fails_changes_nothing() {
        let (mut daemon, store) = FakeDaemon::new();
        let work = store.transaction(async |inside| {
            inside.write("half", "done").await?;
            inside.read("missing").await
        });
        assert!(daemon.run(&store, work).unwrap_err().is_absent());
        daemon.serve();
        assert_eq!(daemon.get("half"), None);
        assert_eq!(daemon.log.last().map(String::as_str), Some("end a transaction F"));
    }

    #[test]
    fn a_dropped_request_is_forgotten_and_its_answer_ignored() {
        let (mut daemon, store) = FakeDaemon::new();
        drop(store.read("x"));
        assert!(daemon.run(&store, store.read("y")).unwrap_err().is_absent());
        assert!(store.connection.borrow().requests.is_empty());
    }

    #[test]
    fn answers_that_nobody_asked_for_are_ignored() {
        let (mut daemon, store) = FakeDaemon::new();
        for request in [0, 5, u32::MAX] {
            daemon.owe(2, request, b"surprise");
            daemon.owe(0xffff, request, b"");
            daemon.owe(15, 0, b"no-token");
            daemon.owe(15, 0, b"path\0w99\0");
            daemon.owe(15, 0, b"\xff\0\xff\0");
        }
        daemon.set("x", "1");
        assert_eq!(daemon.run(&store, store.read("x")).unwrap(), "1");
    }

    #[test]
    fn an_answer_of_the_wrong_kind_fails_its_request() {
        let (mut daemon, store) = FakeDaemon::new();
        let mut read = store.read_bytes("x");
        daemon.owe(11, 1, b"OK\0");
        daemon.serve();
        store.pump();
        let Poll::Ready(Err(error)) = poll_once(&mut read) else { panic!("no answer") };
        assert_eq!(error.kind, ErrorKind::Unexpected);
    }

    #[test]
    fn a_message_of_impossible_length_ends_the_connection() {
        let (mut daemon, store) = FakeDaemon::new();
        let mut watch = daemon.run(&store, store.watch("x")).unwrap();
        daemon.run(&store, watch.next()).unwrap();
        let (mut first, mut second) = (store.read_bytes("x"), store.read_bytes("y"));
        assert!(poll_once(&mut first).is_pending());
        let producer = daemon.memory().get_u32(2060);
        for (index, byte) in
            (Header { operation: 2, request: 1, transaction: 0, len: 4097 }).encode().into_iter().enumerate()
        {
            let at = (usize::try_from(producer).unwrap() + index) % 1024;
            daemon.memory().write(1024 + at, &[byte]);
        }
        daemon.memory().set_u32(2060, producer.wrapping_add(16));
        store.pump();
        for read in [&mut first, &mut second] {
            let Poll::Ready(Err(error)) = poll_once(read) else { panic!("no answer") };
            assert_eq!(error.kind, ErrorKind::Disconnected(ConnectionFault::Oversized(4097)));
        }
        assert!(daemon.run(&store, watch.next()).is_err());
        assert!(daemon.run(&store, store.write("x", "y")).is_err());
    }

    #[test]
    fn impossible_ring_indices_end_the_connection() {
        let (daemon, store) = FakeDaemon::new();
        daemon.memory().set_u32(2060, 2000);
        store.pump();
        assert!(matches!(store.fault(), Some(ConnectionFault::Ring(RingFault::Overrun { .. }))));
    }

    /// xenstore-ring.txt: while the connection state is 1, "the guest must ignore all fields" and wait for it to be 0.
    #[test]
    fn a_ring_that_is_being_reconnected_is_left_alone() {
        let (mut daemon, _) = FakeDaemon::new();
        daemon.memory().set_u32(2064, 1);
        daemon.memory().set_u32(2068, 1);
        let store = Xenstore::open(daemon.memory().clone(), crate::shared_mem::fake::FakeChannel::new(1));
        let mut read = store.read_bytes("x");
        assert!(!daemon.serve());
        daemon.memory().set_u32(2068, 0);
        store.pump();
        daemon.serve();
        store.pump();
        assert!(poll_once(&mut read).is_ready());
    }

    /// xenstore-ring.txt, connection error indicator.
    #[test]
    fn an_error_that_the_daemon_reports_ends_the_connection() {
        let (daemon, store) = FakeDaemon::new();
        daemon.memory().set_u32(2064, 2);
        daemon.memory().set_u32(2072, 3);
        store.pump();
        assert_eq!(store.fault(), Some(ConnectionFault::Reported(3)));
    }
}
