//! A domain for unit tests of frontends: pages, grants and channels that the test can look into.

use core::cell::{Cell, RefCell};
use core::pin::Pin;
use core::task::{Context, Waker};
use core::time::Duration;
use std::boxed::Box;
use std::collections::BTreeMap;
use std::format;
use std::rc::Rc;
use std::string::{String, ToString};

use xen_abi::{DomId, GrantRef, PAGE_SIZE};

use super::{Platform, Shortage};
use crate::shared_mem::SharedMem;
use crate::shared_mem::fake::{FakeChannel, FakeMemory};
use crate::xenstore::Xenstore;
use crate::xenstore::fake::FakeDaemon;

/// What the frontends under test share with their backends.
#[derive(Debug, Default)]
pub(crate) struct FakePlatform {
    next: Cell<u32>,
    frames: RefCell<BTreeMap<u64, (FakeMemory, usize)>>,
    grants: RefCell<BTreeMap<u32, (FakeMemory, usize)>>,
    channels: RefCell<BTreeMap<u32, FakeChannel>>,
    /// Whether peers hold on to what was granted to them.
    pub(crate) clinging: Cell<bool>,
    /// Whether all time-outs have expired.
    pub(crate) expired: Cell<bool>,
}

impl FakePlatform {
    fn number(&self) -> u32 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    /// The memory behind a grant, and the page's offset in it.
    pub(crate) fn granted(&self, reference: u32) -> Option<(FakeMemory, usize)> {
        self.grants.borrow().get(&reference).cloned()
    }

    /// The memory behind a machine frame, and the page's offset in it.
    pub(crate) fn framed(&self, frame: u64) -> Option<(FakeMemory, usize)> {
        self.frames.borrow().get(&frame).cloned()
    }

    /// The channel with a port.
    pub(crate) fn channel(&self, port: u32) -> Option<FakeChannel> {
        self.channels.borrow().get(&port).cloned()
    }

    /// Grants that have not ended.
    pub(crate) fn grant_count(&self) -> usize {
        self.grants.borrow().len()
    }
}

impl Platform for FakePlatform {
    type Memory = FakeMemory;
    type Channel = FakeChannel;
    type Grant = u32;

    fn allocate(&self, pages: usize) -> Result<FakeMemory, Shortage> {
        if pages > 4096 {
            return Err(Shortage { what: "memory", why: "tests are small".to_string() });
        }
        let memory = FakeMemory::new(pages * PAGE_SIZE);
        // Frame numbers count down, so that nobody takes them for consecutive.
        for page in 0..pages {
            let frame = 0x1_0000_0000 - u64::from(self.number());
            self.frames.borrow_mut().insert(frame, (memory.clone(), page * PAGE_SIZE));
        }
        Ok(memory)
    }

    fn frame(&self, memory: &FakeMemory, page: usize) -> u64 {
        let frames = self.frames.borrow();
        let mut matching = frames.iter().filter(|(_, (other, at))| other.is(memory) && *at == page * PAGE_SIZE);
        *matching.next().expect("allocated here").0
    }

    fn grant(&self, peer: DomId, memory: &FakeMemory, page: usize) -> Result<u32, Shortage> {
        assert_eq!(peer, DomId(0));
        assert!(page * PAGE_SIZE < memory.len());
        let reference = self.number();
        self.grants.borrow_mut().insert(reference, (memory.clone(), page * PAGE_SIZE));
        Ok(reference)
    }

    fn reference(&self, grant: &u32) -> GrantRef {
        GrantRef(*grant)
    }

    fn revoke(&self, grant: u32) -> bool {
        if self.clinging.get() {
            return false;
        }
        self.grants.borrow_mut().remove(&grant).is_some()
    }

    fn open_channel(&self, peer: DomId) -> Result<FakeChannel, Shortage> {
        assert_eq!(peer, DomId(0));
        let channel = FakeChannel::new(self.number());
        self.channels.borrow_mut().insert(self.next.get(), channel.clone());
        Ok(channel)
    }

    async fn sleep(&self, _: Duration) {
        core::future::poll_fn(
            |_| {
                if self.expired.get() { core::task::Poll::Ready(()) } else { core::task::Poll::Pending }
            },
        )
        .await;
    }
}

/// A frontend's task, the store that it talks to, and dom0 played by the test.
pub(crate) struct Bench {
    pub(crate) daemon: FakeDaemon,
    pub(crate) store: Xenstore,
    pub(crate) platform: Rc<FakePlatform>,
    task: Option<Pin<Box<dyn Future<Output = ()>>>>,
    front: String,
    back: String,
}

impl Bench {
    /// A device as the toolstack sets it up, with a backend that has not started yet.
    pub(crate) fn new(kind: &str, number: u32) -> Self {
        let (daemon, store) = FakeDaemon::new();
        let front = format!("device/{kind}/{number}");
        let mut bench = Self { daemon, store, platform: Rc::default(), task: None, front, back: String::new() };
        bench.give(&format!("/local/domain/0/backend/{kind}/7/{number}"));
        bench
    }

    /// The toolstack gives us the device, with this backend, which has not started yet.
    pub(crate) fn give(&mut self, back: &str) {
        self.back = back.to_string();
        for (key, value) in [("backend", back), ("backend-id", "0"), ("state", "1")] {
            self.daemon.set(&format!("{}/{key}", self.front), value);
        }
        for (key, value) in [("online", "1"), ("hotplug-status", "connected"), ("state", "1")] {
            self.daemon.set(&format!("{back}/{key}"), value);
        }
        self.settle();
    }

    /// The device's directory.
    pub(crate) fn path(&self) -> &str {
        &self.front
    }

    /// Starts the frontend's task.
    pub(crate) fn start(&mut self, task: impl Future<Output = ()> + 'static) {
        self.task = Some(Box::pin(task));
        self.settle();
    }

    /// Lets frontend and daemon run until nothing moves any more.
    pub(crate) fn settle(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let mut idle = 0;
        while idle < 3 {
            if let Some(task) = &mut self.task
                && task.as_mut().poll(&mut context).is_ready()
            {
                self.task = None;
            }
            let moved = self.daemon.serve();
            self.store.pump();
            idle = if moved { 0 } else { idle + 1 };
        }
    }

    /// Whether the frontend's task has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.task.is_none()
    }

    /// Writes a key of the backend and lets everybody see it.
    pub(crate) fn back(&mut self, key: &str, value: &str) {
        self.daemon.set(&format!("{}/{key}", self.back), value);
        self.settle();
    }

    /// Reads a key of the frontend.
    pub(crate) fn front(&self, key: &str) -> Option<String> {
        self.daemon.get(&format!("{}/{key}", self.front))
    }

    /// Reads a number of the frontend.
    pub(crate) fn front_number(&self, key: &str) -> u64 {
        let value = self.front(key).unwrap_or_else(|| panic!("the frontend wrote no {key}"));
        value.parse().expect("a number")
    }

    /// Removes the device as the toolstack does at the end.
    pub(crate) fn remove(&mut self) {
        self.daemon.remove(&self.back.clone());
        self.daemon.remove(&self.front.clone());
        self.settle();
    }
}
