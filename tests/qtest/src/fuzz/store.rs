//! Clients of a xenstore daemon that send anything, and a page that anything is written to.

use std::cell::RefCell;
use std::time::Duration;

use xen_abi::{DomId, Port};
use xenstored::{Daemon, Errno, Host, Quotas, Ring, RingMemory};

/// The world around the daemon: three domains exist.
struct World(Duration);

impl Host for World {
    fn now(&self) -> Duration {
        self.0
    }

    fn exists(&self, domain: DomId) -> bool {
        domain.0 < 3
    }

    fn connect(&mut self, domain: DomId, _: Option<u64>, _: Port) -> Result<(), Errno> {
        if self.exists(domain) { Ok(()) } else { Err(Errno::EIO) }
    }

    fn disconnect(&mut self, _: DomId) {}
}

struct Page(RefCell<[u8; 4096]>);

impl RingMemory for Page {
    fn read(&self, offset: usize, data: &mut [u8]) {
        data.copy_from_slice(&self.0.borrow()[offset..offset + data.len()]);
    }

    fn write(&self, offset: usize, data: &[u8]) {
        self.0.borrow_mut()[offset..offset + data.len()].copy_from_slice(data);
    }

    fn load(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        self.read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn store(&self, offset: usize, value: u32) {
        self.write(offset, &value.to_le_bytes());
    }
}

/// What requests are made of.
const WORDS: [&[u8]; 32] = [
    b"/",
    b"a",
    b"b",
    b"a/b",
    b"/a",
    b"/a/b",
    b"/a/b/c",
    b"/local/domain/1",
    b"/local/domain/2/a",
    b"/local/domain/2/a/b",
    b"/tool",
    b"@releaseDomain",
    b"@introduceDomain",
    b"@releaseDomain/1",
    b"n1",
    b"r2",
    b"b0",
    b"w1",
    b"b2",
    b"n0",
    b"0",
    b"1",
    b"2",
    b"3",
    b"T",
    b"F",
    b"token",
    b"",
    b"check",
    b"quota",
    b"-1",
    b"//",
];

/// Small ones, so that they are met.
const QUOTAS: Quotas = Quotas {
    nodes: 12,
    watches: 5,
    transactions: 3,
    transaction_nodes: 10,
    node_size: 160,
    permissions: 3,
    path: 60,
    outstanding: 6,
    memory: 4000,
    event_timeout: 100,
};

/// Each step begins with a byte that says who does what.
pub(super) fn xenstore(bytes: &[u8]) {
    let mut daemon = Daemon::new(QUOTAS);
    let mut world = World(Duration::ZERO);
    let control = daemon.attach(DomId(0));
    daemon.introduce(DomId(1), world.0);
    daemon.introduce(DomId(2), world.0);
    // All may use the root, and domain 1 has a home.
    for request in [&b"\x0e\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0/\0b0\0"[..], b"\x0c\0\0\0\0\0\0\0\0\0\0\0\x03\0\0\0/a\0"] {
        assert_eq!(daemon.receive(control, request, &mut world), Ok(request.len()));
    }
    let page = Page(RefCell::new([0; 4096]));
    let mut ring = Ring::open(&page);
    let mut bytes = bytes.iter().copied();
    while let Some(step) = bytes.next() {
        let mut byte = || bytes.next().unwrap_or(0);
        let domain = u16::from(step % 3);
        // Who was released by a request may be introduced by one; until then, domain 0 is at it.
        let who = daemon.connection(DomId(domain)).unwrap_or(control);
        match step / 3 % 16 {
            0..8 => {
                let (kind, transaction) = (byte() % 24, byte() % 4);
                let mut payload = Vec::new();
                for _ in 0..byte() % 5 {
                    let word = byte();
                    payload.extend(WORDS[usize::from(word % 32)]);
                    payload.extend((word < 0xe0).then_some(0));
                }
                let len = u32::try_from(payload.len()).unwrap_or(0);
                let mut request = [u32::from(kind), 5, transaction.into(), len].map(u32::to_le_bytes).concat();
                request.extend(payload);
                // Who is not read now begins anew.
                if daemon.receive(who, &request, &mut world).is_ok_and(|taken| taken < request.len()) {
                    daemon.reset(who);
                }
            }
            8 | 9 => {
                let noise: Vec<u8> = (0..byte() % 40).map(|_| byte()).collect();
                let _ = daemon.receive(who, &noise, &mut world);
            }
            10 | 11 => {
                let len = daemon.output(who).len().min(byte().into());
                daemon.sent(who, len);
            }
            12 => {
                world.0 += Duration::from_millis(byte().into());
                daemon.expire(world.0);
            }
            13 => {
                let domain = DomId(1 + u16::from(byte() % 2));
                daemon.destroyed(domain, world.0);
                daemon.introduce(domain, world.0);
            }
            14 => {
                let (at, noise) = (usize::from(byte()) * 4, [byte(), byte(), byte(), byte()]);
                page.write(at, &noise);
                page.store(2048 + usize::from(byte() % 7) * 4, u32::from(byte()) << (byte() % 25));
            }
            _ => {
                let served = ring.serve(&page, &mut daemon, who, &mut world);
                assert!(served.fault.is_none() || page.load(2072) != 0, "it says why it stops");
            }
        }
    }
    assert!(daemon.check(), "the store is inconsistent");
}
