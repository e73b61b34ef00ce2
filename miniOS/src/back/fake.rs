//! A domain for unit tests of backends, which shares the fake grants and channels of its frontends.

use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::pin::Pin;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::{Context, Poll, Waker};
use std::boxed::Box;
use std::format;
use std::rc::Rc;
use std::string::{String, ToString};
use std::vec::Vec;

use xen_abi::{DomId, GrantRef, PAGE_SIZE, Port};

use super::{CopyError, Host, Ours, Piece};
use crate::exec;
use crate::front::Shortage;
use crate::front::fake::FakePlatform;
use crate::shared_mem::fake::{FakeChannel, FakeMemory};
use crate::shared_mem::{Notify, SharedMem};
use crate::xenstore::Xenstore;
use crate::xenstore::fake::{DOMAIN, FakeDaemon};

/// Where the domain of the backend has its directory.
pub(crate) const BACK: &str = "/local/domain/0/backend";

/// Ports of backends, which no other test has.
static NEXT_PORT: AtomicU32 = AtomicU32::new(100_000);

/// The domain of backends under test.
pub(crate) struct FakeHost {
    platform: Rc<FakePlatform>,
    /// Channels of frontends and our ends of them.
    channels: RefCell<Vec<(FakeChannel, FakeChannel)>>,
    /// Copies that were made.
    pub(crate) copies: Cell<usize>,
}

/// Pages of a frontend.
pub(crate) struct FakeMapping(Vec<(FakeMemory, usize)>);

impl FakeMapping {
    fn place(&self, offset: usize) -> (&FakeMemory, usize) {
        let (memory, start) = &self.0[offset / PAGE_SIZE];
        (memory, start + offset % PAGE_SIZE)
    }
}

impl SharedMem for FakeMapping {
    fn len(&self) -> usize {
        self.0.len() * PAGE_SIZE
    }

    fn read(&self, offset: usize, data: &mut [u8]) {
        // A slot may cross the end of a page.
        let (first, second) = data.split_at_mut(data.len().min(PAGE_SIZE - offset % PAGE_SIZE));
        let (memory, place) = self.place(offset);
        memory.read(place, first);
        if !second.is_empty() {
            self.read(offset + first.len(), second);
        }
    }

    fn write(&self, offset: usize, data: &[u8]) {
        let (first, second) = data.split_at(data.len().min(PAGE_SIZE - offset % PAGE_SIZE));
        let (memory, place) = self.place(offset);
        memory.write(place, first);
        if !second.is_empty() {
            self.write(offset + first.len(), second);
        }
    }

    fn load_u32(&self, offset: usize, ordering: Ordering) -> u32 {
        let (memory, place) = self.place(offset);
        memory.load_u32(place, ordering)
    }

    fn store_u32(&self, offset: usize, value: u32, ordering: Ordering) {
        let (memory, place) = self.place(offset);
        memory.store_u32(place, value, ordering);
    }
}

impl FakeHost {
    fn page(&self, peer: DomId, reference: GrantRef) -> Option<(FakeMemory, usize)> {
        assert_eq!(u32::from(peer.0), DOMAIN);
        self.platform.granted(reference.0)
    }

    /// Passes on the signals of frontends, and says whether those of backends came to some of their ports.
    fn pass_signals(&self) -> bool {
        let mut any = false;
        for (theirs, ours) in self.channels.borrow().iter() {
            if theirs.take_signals() > 0 {
                exec::signalled(ours.port());
                any = true;
            }
        }
        any
    }

    /// Whether a backend has signalled the frontend.
    pub(crate) fn has_signalled(&self) -> bool {
        self.channels.borrow().iter().fold(false, |any, (_, ours)| any | (ours.take_signals() > 0))
    }
}

impl Host for FakeHost {
    type Mapping = FakeMapping;
    type Channel = FakeChannel;

    fn map(&self, peer: DomId, references: &[GrantRef]) -> Result<FakeMapping, Shortage> {
        let pages: Option<Vec<_>> = references.iter().map(|reference| self.page(peer, *reference)).collect();
        pages.map(FakeMapping).ok_or(Shortage { what: "the frontend's pages", why: "not granted".to_string() })
    }

    fn bind(&self, _: DomId, port: Port) -> Result<FakeChannel, Shortage> {
        let none = || Shortage { what: "the frontend's event channel", why: "not offered".to_string() };
        let theirs = self.platform.channel(port.0).ok_or_else(none)?;
        let ours = FakeChannel::new(NEXT_PORT.fetch_add(1, Ordering::Relaxed));
        self.channels.borrow_mut().push((theirs, ours.clone()));
        Ok(ours)
    }

    fn copy(&self, peer: DomId, pieces: &mut [Piece<'_>]) -> Result<(), CopyError> {
        for piece in pieces {
            let (memory, page) = self.page(peer, piece.reference).ok_or(CopyError)?;
            self.copies.set(self.copies.get() + 1);
            let len = match &piece.ours {
                Ours::Into(data) => data.len(),
                Ours::From(data) => data.len(),
            };
            assert!(piece.offset + len <= PAGE_SIZE, "Xen would refuse it");
            match &mut piece.ours {
                Ours::Into(data) => memory.read(page + piece.offset, data),
                Ours::From(data) => memory.write(page + piece.offset, data),
            }
        }
        Ok(())
    }

    async fn pause(&self) {
        let mut has_waited = false;
        poll_fn(|_| match core::mem::replace(&mut has_waited, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    async fn linger(&self) {}
}

/// Frontends and backends, and the store between them.
pub(crate) struct Bench {
    pub(crate) daemon: FakeDaemon,
    pub(crate) store: Xenstore,
    pub(crate) platform: Rc<FakePlatform>,
    pub(crate) host: Rc<FakeHost>,
    tasks: Vec<Option<Pin<Box<dyn Future<Output = ()>>>>>,
}

impl Bench {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        let (daemon, store) = FakeDaemon::new();
        let platform: Rc<FakePlatform> = Rc::default();
        let host = FakeHost { platform: platform.clone(), channels: RefCell::default(), copies: Cell::new(0) };
        Self { daemon, store, platform, host: Rc::new(host), tasks: Vec::new() }
    }

    /// The toolstack makes a device: its frontend's directory, and its backend's.
    pub(crate) fn give(&mut self, kind: &str, number: u32) -> (String, String) {
        let front = format!("device/{kind}/{number}");
        let back = format!("{BACK}/{kind}/{DOMAIN}/{number}");
        for (key, value) in [("backend", &back[..]), ("backend-id", "0"), ("state", "1")] {
            self.daemon.set(&format!("{front}/{key}"), value);
        }
        let path = format!("/local/domain/{DOMAIN}/{front}");
        for (key, value) in [("frontend", &path[..]), ("frontend-id", "7"), ("online", "1"), ("state", "1")] {
            self.daemon.set(&format!("{back}/{key}"), value);
        }
        (front, back)
    }

    /// Starts a task, and gives its number.
    pub(crate) fn start(&mut self, task: impl Future<Output = ()> + 'static) -> usize {
        self.tasks.push(Some(Box::pin(task)));
        self.tasks.len() - 1
    }

    /// Whether a task has ended.
    pub(crate) fn has_ended(&self, task: usize) -> bool {
        self.tasks[task].is_none()
    }

    /// Lets everything run until nothing moves any more.
    pub(crate) fn settle(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let mut idle = 0;
        while idle < 3 {
            for task in &mut self.tasks {
                if task.as_mut().is_some_and(|task| task.as_mut().poll(&mut context).is_ready()) {
                    *task = None;
                }
            }
            let moved = self.daemon.serve() | self.host.pass_signals();
            self.store.pump();
            idle = if moved { 0 } else { idle + 1 };
        }
    }

    /// Writes a key, or reads it.
    pub(crate) fn set(&mut self, path: &str, key: &str, value: &str) {
        self.daemon.set(&format!("{path}/{key}"), value);
        self.settle();
    }

    /// Reads a key.
    pub(crate) fn get(&self, path: &str, key: &str) -> Option<String> {
        self.daemon.get(&format!("{path}/{key}"))
    }
}
