//! The client and the daemon of this project, with nothing but the ring's page between them.

use core::cell::Cell;
use core::pin::pin;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::format;
use std::vec::Vec;

use xen_abi::{DomId, Port};
use xenstored::{Daemon, Errno, Fault, Host, Quotas, Ring, RingMemory};

use super::client::Xenstore;
use super::wire::Refusal;
use crate::shared_mem::SharedMem;
use crate::shared_mem::fake::{FakeChannel, FakeMemory};

impl RingMemory for FakeMemory {
    fn read(&self, offset: usize, data: &mut [u8]) {
        SharedMem::read(self, offset, data);
    }

    fn write(&self, offset: usize, data: &[u8]) {
        SharedMem::write(self, offset, data);
    }

    fn load(&self, offset: usize) -> u32 {
        self.load_u32(offset, Ordering::Acquire)
    }

    fn store(&self, offset: usize, value: u32) {
        self.store_u32(offset, value, Ordering::Release);
    }
}

struct World;

impl Host for World {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn exists(&self, _: DomId) -> bool {
        false
    }

    fn connect(&mut self, _: DomId, _: Option<u64>, _: Port) -> Result<(), Errno> {
        Err(Errno::EIO)
    }

    fn disconnect(&mut self, _: DomId) {}
}

/// Two domains, each with a client, and the daemon with Xen's own quotas.
struct Machine {
    daemon: Daemon,
    domains: Vec<(DomId, FakeMemory, Ring, Xenstore)>,
}

impl Machine {
    fn new() -> Self {
        let mut daemon = Daemon::new(Quotas::XEN);
        let domains = [DomId(0), DomId(5)].map(|domain| {
            let memory = FakeMemory::new(4096);
            let ring = Ring::open(&memory);
            daemon.introduce(domain, Duration::ZERO);
            (domain, memory.clone(), ring, Xenstore::open(memory, FakeChannel::new(1)))
        });
        let mut machine = Self { daemon, domains: domains.into() };
        let control = machine.client(0);
        machine.run(control.write("/local/domain/5", "")).unwrap();
        let owner = [super::Permission { domain: DomId(5), access: super::Access::None }];
        machine.run(control.set_permissions("/local/domain/5", &owner)).unwrap();
        machine
    }

    fn client(&self, index: usize) -> Xenstore {
        self.domains[index].3.clone()
    }

    /// Moves bytes. Says whether there were any.
    fn serve(&mut self) -> bool {
        let mut moved = false;
        for (domain, memory, ring, client) in &mut self.domains {
            let connection = self.daemon.connection(*domain).unwrap();
            let served = ring.serve(memory, &mut self.daemon, connection, &mut World);
            assert_eq!(served.fault, None);
            moved |= served.moved | client.pump();
        }
        moved
    }

    fn run<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..10_000 {
            if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                return value;
            }
            self.serve();
        }
        panic!("the future waits for ever");
    }
}

#[test]
fn client_and_daemon_understand_each_other() {
    let mut machine = Machine::new();
    let (control, guest) = (machine.client(0), machine.client(1));
    let value = "v".repeat(1900);
    machine.run(guest.write("data/x", &value)).unwrap();
    assert_eq!(machine.run(guest.read("data/x")).unwrap(), value);
    assert_eq!(machine.run(control.read("/local/domain/5/data/x")).unwrap(), value);
    let refused = machine.run(guest.read("/local/domain/0")).unwrap_err();
    assert_eq!(refused.refusal(), Some(Refusal::EACCES));
    // More than a ring holds, and more than a domain may have under way.
    let all: Vec<_> = (0..100).map(|index| guest.write(&format!("many/{index}"), "")).collect();
    for write in all {
        machine.run(write).unwrap();
    }
    assert_eq!(machine.run(guest.directory("many")).unwrap().len(), 100);
    for index in 0..300 {
        machine.run(control.make_directory(&format!("/list/a-child-with-a-name-{index}"))).unwrap();
    }
    assert_eq!(machine.run(control.directory("/list")).unwrap().len(), 300);
}

#[test]
fn watches_and_transactions_work_between_domains() {
    let mut machine = Machine::new();
    let (control, guest) = (machine.client(0), machine.client(1));
    let mut watch = machine.run(guest.watch("device")).unwrap();
    assert_eq!(machine.run(watch.next()).unwrap(), "device");
    machine.run(control.write("/local/domain/5/device/vbd/1/state", "1")).unwrap();
    assert_eq!(machine.run(watch.next()).unwrap(), "device/vbd/1/state");
    assert_eq!(watch.try_next(), None);
    let attempts = Cell::new(0);
    let result = guest.transaction(async |store| {
        attempts.set(attempts.get() + 1);
        let old: u32 = store.read_number_optional("counter").await?.unwrap_or(0);
        if attempts.get() == 1 {
            // Somebody else is faster, once.
            control.write("/local/domain/5/counter", "41").await?;
        }
        store.write("counter", &format!("{}", old + 1)).await
    });
    machine.run(result).unwrap();
    assert_eq!(attempts.get(), 2);
    assert_eq!(machine.run(control.read("/local/domain/5/counter")).unwrap(), "42");
    assert!(machine.daemon.check());
}

#[test]
fn the_client_hears_why_it_is_no_longer_served() {
    let mut machine = Machine::new();
    let (_, memory, ring, client) = &mut machine.domains[1];
    memory.set_u32(2052, memory.get_u32(2048).wrapping_add(2000));
    let connection = machine.daemon.connection(DomId(5)).unwrap();
    let served = ring.serve(memory, &mut machine.daemon, connection, &mut World);
    assert_eq!(served.fault, Some(Fault::RingIndex));
    client.pump();
    assert_eq!(client.fault(), Some(super::ConnectionFault::Reported(2)));
}
