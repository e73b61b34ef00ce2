//! One client: what it sent so far, what it is owed, what it watches.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use xen_abi::io::xs_wire::{
    SockMsg, XENSTORE_ERROR_PROTO, XENSTORE_ERROR_RINGIDX, XENSTORE_PAYLOAD_MAX, XS_WATCH_EVENT,
};
use zerocopy::FromBytes as _;

use crate::permission::Who;
use crate::quota::Quotas;
use crate::transaction::Transaction;
use crate::watch::Watch;
use crate::wire::{HEAD_LEN, Request, encode};

/// Why a client is no longer served. Its watches and transactions are gone; only a reset of the connection helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The ring's indices are impossible.
    RingIndex,
    /// A message is longer than a message may be.
    Protocol,
}

impl Fault {
    /// What the `error` field of the ring's page says.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::RingIndex => XENSTORE_ERROR_RINGIDX,
            Self::Protocol => XENSTORE_ERROR_PROTO,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RingIndex => "impossible ring indices",
            Self::Protocol => "an overlong message",
        })
    }
}

/// Stands for a request as long as its answer, or an event that it caused, is on its way.
pub(crate) type Cause = Rc<()>;

/// A message on its way to the client.
#[derive(Debug)]
struct Queued {
    bytes: Rc<[u8]>,
    is_event: bool,
    /// When to drop it if nothing of it was fetched.
    deadline: Option<Duration>,
    /// Held, not looked at.
    _cause: Option<Cause>,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) who: Who,
    pub(crate) watches: Vec<Watch>,
    pub(crate) transactions: BTreeMap<u32, Transaction>,
    pub(crate) fault: Option<Fault>,
    last_transaction: u32,
    received: Vec<u8>,
    queue: VecDeque<Queued>,
    /// Bytes of the first message that were fetched.
    fetched: usize,
    /// The events in the queue.
    events: BTreeSet<Rc<[u8]>>,
    /// Bytes in the queue.
    queued: usize,
    /// Bytes of the watches.
    watched: usize,
    requests: Vec<Cause>,
}

impl Connection {
    /// A client that has sent nothing yet.
    pub(crate) fn new(who: Who) -> Self {
        Self {
            who,
            watches: Vec::new(),
            transactions: BTreeMap::new(),
            fault: None,
            last_transaction: 0,
            received: Vec::new(),
            queue: VecDeque::new(),
            fetched: 0,
            events: BTreeSet::new(),
            queued: 0,
            watched: 0,
            requests: Vec::new(),
        }
    }

    /// Ends everything that is in progress.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.who);
    }

    /// Stops serving the client.
    pub(crate) fn end(&mut self, fault: Fault) {
        self.reset();
        self.fault = Some(fault);
    }

    /// Bytes that it makes us hold, beside nodes.
    pub(crate) fn memory(&self) -> usize {
        let transactions = self.transactions.values().map(Transaction::memory);
        transactions.fold(self.queued.saturating_add(self.watched), usize::saturating_add)
    }

    /// Takes bytes, until they make up a request. Gives how many it took.
    ///
    /// # Errors
    ///
    /// The message is too long; the rest of what the client sends has no meaning.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(usize, Option<Request>), Fault> {
        let mut taken = 0_usize;
        let mut wanted = HEAD_LEN;
        loop {
            let missing = wanted.saturating_sub(self.received.len());
            let rest = bytes.get(taken..).unwrap_or_default();
            let part = rest.get(..missing).unwrap_or(rest);
            self.received.extend_from_slice(part);
            taken = taken.saturating_add(part.len());
            if part.len() < missing {
                return Ok((taken, None));
            }
            let Ok((head, payload)) = SockMsg::read_from_prefix(&self.received) else { return Ok((taken, None)) };
            let len =
                usize::try_from(head.len).ok().filter(|len| *len <= XENSTORE_PAYLOAD_MAX).ok_or(Fault::Protocol)?;
            if payload.len() == len {
                let request = Request { head, payload: payload.to_vec() };
                self.received.clear();
                return Ok((taken, Some(request)));
            }
            wanted = HEAD_LEN.saturating_add(len);
        }
    }

    /// Whether its requests are read now. If not, it has to fetch its answers, or others what it caused.
    pub(crate) fn is_welcome(&mut self, quotas: &Quotas) -> bool {
        self.requests.retain(|cause| Rc::strong_count(cause) > 1);
        self.requests.len() < quotas.outstanding
    }

    /// A request begins to be served.
    pub(crate) fn begin(&mut self) -> Cause {
        let cause = Cause::default();
        if !self.who.is_privileged() {
            self.requests.push(cause.clone());
        }
        cause
    }

    /// Queues an answer.
    pub(crate) fn answer(&mut self, head: SockMsg, payload: &[u8], cause: Cause) {
        if self.fault.is_some() {
            return;
        }
        let bytes = encode(head, payload);
        self.queued = self.queued.saturating_add(bytes.len());
        self.queue.push_back(Queued { bytes, is_event: false, deadline: None, _cause: Some(cause) });
    }

    /// Queues an event, unless the same one is queued already, or it would be too long, or too much.
    pub(crate) fn notify(
        &mut self,
        payload: &[u8],
        cause: Option<&Cause>,
        now: Duration,
        quotas: &Quotas,
        nodes: usize,
    ) {
        let bytes = encode(SockMsg { kind: XS_WATCH_EVENT, ..SockMsg::default() }, payload);
        let all = [self.memory(), nodes].into_iter().fold(bytes.len(), usize::saturating_add);
        let fits = self.who.is_privileged() || all <= quotas.memory;
        // Two domains may have the same number one after the other, so what happened to them is told twice.
        let is_special = payload.starts_with(b"@");
        if payload.len() > XENSTORE_PAYLOAD_MAX || !fits || (!is_special && !self.events.insert(bytes.clone())) {
            return;
        }
        let deadline = now.saturating_add(Duration::from_millis(quotas.event_timeout));
        let deadline = Some(deadline).filter(|_| !self.who.is_privileged());
        self.queued = self.queued.saturating_add(bytes.len());
        self.queue.push_back(Queued { bytes, is_event: true, deadline, _cause: cause.cloned() });
    }

    /// The next bytes for the client, if there are any.
    pub(crate) fn output(&self) -> &[u8] {
        self.queue.front().and_then(|message| message.bytes.get(self.fetched..)).unwrap_or_default()
    }

    /// So many bytes of [`Self::output`] were sent.
    pub(crate) fn sent(&mut self, len: usize) {
        self.fetched = self.fetched.saturating_add(len);
        if self.queue.front().is_some_and(|message| self.fetched >= message.bytes.len()) {
            self.fetched = 0;
            let message = self.queue.pop_front();
            message.into_iter().for_each(|message| self.forget(&message));
        }
    }

    fn forget(&mut self, message: &Queued) {
        self.queued = self.queued.saturating_sub(message.bytes.len());
        if message.is_event {
            self.events.remove(&message.bytes);
        }
    }

    /// Drops events that were not fetched in time. Gives when the next one is due.
    pub(crate) fn expire(&mut self, now: Duration) -> Option<Duration> {
        // What is partly fetched has to be fetched.
        let begun = usize::from(self.fetched > 0);
        let due = |message: &Queued| message.deadline.is_some_and(|deadline| deadline <= now);
        if self.queue.iter().skip(begun).any(due) {
            let mut index = 0_usize;
            let (late, kept) = core::mem::take(&mut self.queue).into_iter().partition::<Vec<_>, _>(|message| {
                index = index.saturating_add(1);
                index > begun && due(message)
            });
            self.queue = kept.into();
            late.iter().for_each(|message| self.forget(message));
        }
        self.queue.iter().skip(begun).find_map(|message| message.deadline)
    }

    /// Adds a watch.
    pub(crate) fn watch(&mut self, watch: Watch) {
        self.watched = self.watched.saturating_add(watch.weight());
        self.watches.push(watch);
    }

    /// Removes watches. Says whether there were any.
    pub(crate) fn unwatch(&mut self, mut which: impl FnMut(&Watch) -> bool) -> bool {
        let before = self.watches.len();
        let watched = &mut self.watched;
        self.watches.retain(|watch| {
            let goes = which(watch);
            if goes {
                *watched = watched.saturating_sub(watch.weight());
            }
            !goes
        });
        self.watches.len() < before
    }

    /// Starts a transaction. Gives its number, which is not 0.
    pub(crate) fn start(&mut self) -> u32 {
        loop {
            self.last_transaction = self.last_transaction.wrapping_add(1);
            let number = self.last_transaction;
            if number != 0 && !self.transactions.contains_key(&number) {
                self.transactions.insert(number, Transaction::default());
                return number;
            }
        }
    }
}
