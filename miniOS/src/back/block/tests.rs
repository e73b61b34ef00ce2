//! Our own frontend, and frontends that the tests play.

use super::*;
use crate::back::fake::Bench;
use crate::front::Platform;
use crate::front::block::{self as front, Operation};
use crate::front::fake::FakePlatform;
use crate::ring::FrontRing;
use crate::shared_mem::SharedMem;
use crate::shared_mem::fake::FakeMemory;
use core::cell::{Cell, RefCell};
use std::vec;
use xen_abi::GrantRef;

/// A disk in memory whose operations end when the test says so, the later ones first if it likes.
struct SlowDisk {
    ram: RamDisk,
    geometry: Geometry,
    /// Operations that may end now.
    leave: Cell<usize>,
    log: RefCell<Vec<String>>,
}

impl SlowDisk {
    fn new(sectors: usize) -> Self {
        let ram = RamDisk::new(sectors);
        Self { geometry: ram.geometry(), ram, leave: Cell::new(usize::MAX), log: RefCell::default() }
    }

    async fn wait(&self, what: String) {
        self.log.borrow_mut().push(format!("begin {what}"));
        poll_fn(|_| match self.leave.get().checked_sub(1) {
            Some(rest) => {
                self.leave.set(rest);
                Poll::Ready(())
            }
            None => Poll::Pending,
        })
        .await;
        self.log.borrow_mut().push(format!("end {what}"));
    }
}

impl Medium for SlowDisk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    async fn read(&self, sector: u64, buffer: Buffer) -> (Buffer, Result<(), MediumError>) {
        self.wait(format!("read {sector}")).await;
        self.ram.read(sector, buffer).await
    }

    async fn write(&self, sector: u64, buffer: Buffer) -> Result<(), MediumError> {
        self.wait(format!("write {sector}")).await;
        self.ram.write(sector, buffer).await
    }

    async fn flush(&self) -> Result<(), MediumError> {
        self.wait("flush".to_string()).await;
        Ok(())
    }

    async fn discard(&self, sector: u64, sectors: u64) -> Result<(), MediumError> {
        self.wait(format!("discard {sector}")).await;
        self.ram.discard(sector, sectors).await
    }
}

/// A disk that is served, and the frontend's handle of it, once it has one.
struct Pair {
    bench: Bench,
    disk: Rc<SlowDisk>,
    front: String,
    back: String,
    task: usize,
}

fn serve(disk: SlowDisk, options: Options) -> Pair {
    let mut bench = Bench::new();
    let (front, back) = bench.give("vbd", 768);
    let disk = Rc::new(disk);
    let block = Block::new(bench.host.clone(), &bench.store, &back, disk.clone(), options);
    let task = bench.start(block.run());
    bench.settle();
    assert_eq!(bench.get(&back, "state").as_deref(), Some("2"));
    Pair { bench, disk, front, back, task }
}

impl Pair {
    fn connect(&mut self, options: front::Options) -> front::Block<FakePlatform> {
        let block = front::Block::new(self.bench.platform.clone(), &self.bench.store, &self.front, options).unwrap();
        self.bench.start(block.clone().run());
        self.bench.settle();
        assert_eq!(self.state(), ("4", "4"), "connected");
        assert!(block.session().is_connected());
        block
    }

    /// The states of frontend and backend.
    fn state(&self) -> (&'static str, &'static str) {
        let digit = |path: &str| match self.bench.get(path, "state").as_deref() {
            Some("1") => "1",
            Some("2") => "2",
            Some("3") => "3",
            Some("4") => "4",
            Some("5") => "5",
            Some("6") => "6",
            _ => "-",
        };
        (digit(&self.front), digit(&self.back))
    }
}

/// Numbers that look random, and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }
}

fn bytes_of(sectors: u64) -> usize {
    usize::try_from(sectors).unwrap() * 512
}

#[test]
fn the_directory_says_what_the_disk_is() {
    let mut disk = SlowDisk::new(4096);
    (disk.geometry.sector_size, disk.geometry.physical_sector_size) = (512, 4096);
    let mut pair = serve(disk, Options { is_read_only: true, is_cdrom: true, ..Options::default() });
    let key = |pair: &Pair, key| pair.bench.get(&pair.back, key);
    for (name, value) in [
        ("feature-flush-cache", "1"),
        ("feature-barrier", "1"),
        ("feature-discard", "0"),
        ("feature-max-indirect-segments", "128"),
        ("max-ring-page-order", "4"),
    ] {
        assert_eq!(key(&pair, name).as_deref(), Some(value), "{name}");
    }
    let block = pair.connect(front::Options::default());
    for (name, value) in [("sectors", "4096"), ("sector-size", "512"), ("physical-sector-size", "4096"), ("info", "7")]
    {
        assert_eq!(key(&pair, name).as_deref(), Some(value), "{name}");
    }
    let info = block.info();
    assert!(info.read_only && info.cdrom && info.removable && info.sectors == 4096);
}

/// What a transfer does, its first sector and their number, and what the disk then holds there.
type Transfer = (Operation, u64, u64, Vec<u8>);

/// Both ends together: everything that was read is what was written last, on small and large rings, whatever the order in
/// which the disk does things.
#[test]
fn thousands_of_random_transfers_arrive() {
    const SECTORS: u64 = 2048;
    for (seed, transfers, buffer_len, segments) in [(1, 2, 64 << 10, 11), (2, 8, 1 << 20, 128), (3, 40, 4 << 20, 32)] {
        let options = Options { segments, in_flight: 256 << 10, ..Options::default() };
        let mut pair = serve(SlowDisk::new(usize::try_from(SECTORS).unwrap()), options);
        let block = pair.connect(front::Options { buffer_len, transfers, ..front::Options::default() });
        let mut random = Random(seed);
        let mut model = vec![0; usize::try_from(SECTORS).unwrap() * 512];
        let slot_len = buffer_len / transfers / 512 * 512;
        let mut free: Vec<usize> = (0..transfers).collect();
        // What is under way, and what a read should find.
        let mut busy: Vec<Option<Transfer>> = vec![None; transfers];
        let mut ended = 0;
        while ended < 1500 {
            pair.disk.leave.set(usize::try_from(random.below(4)).unwrap());
            while let Some(&slot) = free.last() {
                let count = 1 + random.below((slot_len as u64 / 512).min(300));
                let lba = random.below(SECTORS - count);
                let overlaps =
                    busy.iter().flatten().any(|(_, other, len, _)| lba < other + len && *other < lba + count);
                let operation = match random.below(20) {
                    0 => Operation::Flush,
                    1 => Operation::Discard { secure: false },
                    2 => Operation::Barrier,
                    3..10 => Operation::Read,
                    _ => Operation::Write,
                };
                if overlaps || random.below(6) == 0 {
                    break;
                }
                let bytes = bytes_of(lba)..bytes_of(lba + count);
                let offset = slot * slot_len;
                match operation {
                    Operation::Write | Operation::Barrier => {
                        let fill = random.below(256);
                        for (at, byte) in model[bytes.clone()].iter_mut().enumerate() {
                            *byte = (at as u64 * 7 + fill).to_le_bytes()[0];
                        }
                        block.buffer_write(offset, &model[bytes.clone()]);
                    }
                    Operation::Discard { .. } => model[bytes.clone()].fill(0),
                    _ => block.buffer_write(offset, &vec![0xee; bytes_of(count)]),
                }
                let request = front::Request { operation, lba, sectors: count, offset, token: slot as u64 };
                block.submit(request).unwrap();
                free.pop();
                let (lba, count) = if operation == Operation::Flush { (0, 0) } else { (lba, count) };
                busy[slot] = Some((operation, lba, count, model[bytes].to_vec()));
            }
            pair.bench.settle();
            if !pair.bench.host.has_signalled() {
                // Every answer is signalled, so there was none.
                let is_idle = busy.iter().all(Option::is_none);
                assert!(is_idle || pair.disk.leave.get() == 0, "everything that the disk may do it has done");
                continue;
            }
            block.poll(|token, result| {
                let slot = usize::try_from(token).unwrap();
                let (operation, _, count, expected) = busy[slot].take().unwrap();
                assert_eq!(result, Ok(()), "{operation:?}");
                if operation == Operation::Read {
                    let mut data = vec![0; bytes_of(count)];
                    block.buffer_read(slot * slot_len, &mut data);
                    assert!(data == expected, "{count} sectors");
                }
                free.push(slot);
                ended += 1;
            });
        }
        assert_eq!(pair.state(), ("4", "4"));
    }
}

/// A frontend that does what the test tells it, and pages that it has granted.
struct Hand {
    pair: Pair,
    ring: FakeMemory,
    pages: Vec<(FakeMemory, u32)>,
    produced: u32,
    consumed: u32,
    slot_len: usize,
}

impl Hand {
    fn connect(disk: SlowDisk, options: Options, keys: &[(&str, &str)]) -> Self {
        let pair = serve(disk, options);
        let (ring, reference) = page(&pair);
        FrontRing::<_, 112>::new(ring.clone());
        let channel = pair.bench.platform.open_channel(DomId(0)).unwrap();
        let slot_len = if keys.contains(&("protocol", "x86_32-abi")) { 108 } else { 112 };
        let pages = (0..3).map(|_| page(&pair)).collect();
        let mut hand = Self { pair, ring, pages, produced: 0, consumed: 0, slot_len };
        let front = hand.pair.front.clone();
        hand.set("ring-ref", &reference.to_string());
        hand.set("event-channel", &channel.port().to_string());
        for (key, value) in keys {
            hand.pair.bench.set(&front, key, value);
        }
        hand.set("state", "3");
        hand
    }

    fn set(&mut self, key: &str, value: &str) {
        let front = self.pair.front.clone();
        self.pair.bench.set(&front, key, value);
    }

    /// Puts a request into the next slot.
    fn push(&mut self, request: &[u8]) {
        let at = 64 + (self.produced % 32) as usize * self.slot_len;
        self.ring.write(at, &request[..request.len().min(self.slot_len)]);
        self.produced = self.produced.wrapping_add(1);
        self.ring.set_u32(0, self.produced);
        // Its channel is told of everything, as a frontend may do.
        let channel = self.pair.bench.get(&self.pair.front, "event-channel").unwrap();
        self.pair.bench.platform.channel(channel.parse().unwrap()).unwrap().notify();
    }

    /// Asks for one thing, and gives the status of the answer.
    fn ask(&mut self, request: &[u8]) -> i16 {
        self.push(request);
        self.pair.bench.settle();
        let (_, _, status) = self.answer().expect("an answer");
        status
    }

    /// The next answer: id, operation and status.
    fn answer(&mut self) -> Option<(u64, u8, i16)> {
        if self.ring.get_u32(8) == self.consumed {
            return None;
        }
        let bytes = self.ring.bytes(64 + (self.consumed % 32) as usize * self.slot_len, 12);
        self.consumed += 1;
        let id = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        Some((id, bytes[8], i16::from_le_bytes([bytes[10], bytes[11]])))
    }

    fn segment(&self, page: usize, first: u8, last: u8) -> blkif::Segment {
        blkif::Segment { gref: GrantRef(self.pages[page].1), first_sect: first, last_sect: last, padding: 0 }
    }

    /// Whether the connection was ended, with a message.
    fn is_thrown_out(&mut self) -> bool {
        self.pair.bench.settle();
        let message = self.pair.bench.daemon.get(&format!("error/{}/error", self.pair.back.trim_start_matches('/')));
        self.pair.state().1 == "6" && message.is_some()
    }
}

fn page(pair: &Pair) -> (FakeMemory, u32) {
    let platform = &pair.bench.platform;
    let memory = platform.allocate(1).unwrap();
    let reference = platform.grant(DomId(0), &memory, 0).unwrap();
    (memory, reference)
}

fn request(operation: u8, sector: u64, segments: &[blkif::Segment]) -> blkif::Request {
    let mut request = blkif::Request { operation, id: 0x1234_5678_9abc, sector_number: sector, ..Default::default() };
    for (place, segment) in request.seg.iter_mut().zip(segments) {
        *place = *segment;
        request.nr_segments += 1;
    }
    request
}

fn indirect(operation: u8, count: u16, pages: [u32; 8]) -> Vec<u8> {
    let request = blkif::RequestIndirect {
        operation: blkif::BLKIF_OP_INDIRECT,
        indirect_op: operation,
        nr_segments: count,
        id: 5,
        indirect_grefs: pages.map(GrantRef),
        ..Default::default()
    };
    request.as_bytes().to_vec()
}

const OKAY: i16 = blkif::BLKIF_RSP_OKAY;
const ERROR: i16 = blkif::BLKIF_RSP_ERROR;
const UNSUPPORTED: i16 = blkif::BLKIF_RSP_EOPNOTSUPP;
const READ: u8 = blkif::BLKIF_OP_READ;
const WRITE: u8 = blkif::BLKIF_OP_WRITE;

/// Linux' frontend ends the device when an answer has another operation than the request, or what an indirect one does.
#[test]
fn an_answer_repeats_id_and_operation() {
    let mut hand = Hand::connect(SlowDisk::new(64), Options::default(), &[]);
    let segment = hand.segment(0, 0, 7);
    hand.push(request(READ, 0, &[segment]).as_bytes());
    hand.pages[1].0.write(0, segment.as_bytes());
    let list = hand.pages[1].1;
    hand.push(&indirect(WRITE, 1, [list, 0, 0, 0, 0, 0, 0, 0]));
    hand.pair.bench.settle();
    assert_eq!(hand.answer(), Some((0x1234_5678_9abc, READ, OKAY)));
    assert_eq!(hand.answer(), Some((5, WRITE, OKAY)));
    assert_eq!(hand.answer(), None);
}

#[test]
fn frontends_of_32_bits_are_served() {
    let mut hand = Hand::connect(SlowDisk::new(64), Options::default(), &[("protocol", "x86_32-abi")]);
    // As struct blkif_x86_32_request has it: no padding before the id.
    let narrow = |wide: &[u8]| [&wide[..4], &wide[8..]].concat();
    hand.pages[0].0.write(512, &[7; 512]);
    let segment = hand.segment(0, 1, 1);
    hand.push(&narrow(request(WRITE, 9, &[segment]).as_bytes()));
    hand.pages[1].0.write(0, hand.segment(0, 3, 3).as_bytes());
    let list = hand.pages[1].1;
    let mut read = indirect(READ, 1, [list, 0, 0, 0, 0, 0, 0, 0]);
    read[16] = 9;
    hand.push(&narrow(&read));
    hand.pair.bench.settle();
    assert_eq!(hand.answer(), Some((0x1234_5678_9abc, WRITE, OKAY)));
    assert_eq!(hand.answer(), Some((5, READ, OKAY)));
    assert_eq!(hand.pages[0].0.bytes(3 * 512, 512), [7; 512]);
    let discard = blkif::RequestDiscard {
        operation: blkif::BLKIF_OP_DISCARD,
        sector_number: 9,
        nr_sectors: 1,
        ..Default::default()
    };
    assert_eq!(hand.ask(&narrow(discard.as_bytes())), OKAY);
    hand.pair.disk.ram.with(|data| assert!(data.iter().all(|byte| *byte == 0)));
}

#[test]
fn requests_that_make_no_sense_are_errors_and_nothing_else() {
    let mut hand = Hand::connect(SlowDisk::new(64), Options::default(), &[]);
    let whole = hand.segment(0, 0, 7);
    assert_eq!(hand.ask(request(READ, 56, &[whole]).as_bytes()), OKAY, "the last sectors");
    for sector in [57, 64, u64::MAX, u64::MAX - 7, 1 << 55] {
        for operation in [READ, WRITE, blkif::BLKIF_OP_WRITE_BARRIER] {
            assert_eq!(hand.ask(request(operation, sector, &[whole]).as_bytes()), ERROR, "{sector:#x}");
        }
    }
    for (first, last) in [(1, 0), (0, 8), (255, 255), (7, 6)] {
        let segment = hand.segment(0, first, last);
        assert_eq!(hand.ask(request(READ, 0, &[whole, segment]).as_bytes()), ERROR, "{first} to {last}");
    }
    for count in [0, 12, 255] {
        let request = blkif::Request { nr_segments: count, ..request(READ, 0, &[whole]) };
        assert_eq!(hand.ask(request.as_bytes()), ERROR, "{count} segments");
    }
    let nobodys = blkif::Segment { gref: GrantRef(0xdead_beef), ..whole };
    for operation in [READ, WRITE] {
        assert_eq!(hand.ask(request(operation, 0, &[whole, nobodys]).as_bytes()), ERROR);
    }
    for operation in [4, 7, 99, 255] {
        assert_eq!(hand.ask(request(operation, 0, &[whole]).as_bytes()), UNSUPPORTED, "{operation}");
    }
    for (sector, sectors) in [(0, 0), (0, 65), (64, 1), (u64::MAX, 1), (1, u64::MAX)] {
        let discard = blkif::RequestDiscard {
            operation: blkif::BLKIF_OP_DISCARD,
            sector_number: sector,
            nr_sectors: sectors,
            ..Default::default()
        };
        assert_eq!(hand.ask(discard.as_bytes()), ERROR, "{sectors} from {sector}");
    }
    let secure = blkif::RequestDiscard {
        operation: blkif::BLKIF_OP_DISCARD,
        flag: blkif::BLKIF_DISCARD_SECURE,
        nr_sectors: 1,
        ..Default::default()
    };
    assert_eq!(hand.ask(secure.as_bytes()), UNSUPPORTED);
    assert_eq!(hand.ask(request(READ, 0, &[whole]).as_bytes()), OKAY, "and it goes on");
    hand.pair.disk.ram.with(|data| assert!(data.iter().all(|byte| *byte == 0)));
}

#[test]
fn indirect_requests_are_bounded_and_looked_at_once() {
    let options = Options { segments: 600, ..Options::default() };
    let mut hand = Hand::connect(SlowDisk::new(8 * 600), options, &[]);
    let (list, data) = (hand.pages[1].1, hand.pages[0].1);
    let all = [list, hand.pages[2].1, 0, 0, 0, 0, 0, 0];
    for page in [1, 2] {
        for entry in 0..512 {
            hand.pages[page].0.write(entry * 8, hand.segment(0, 0, 7).as_bytes());
        }
    }
    assert_eq!(hand.ask(&indirect(READ, 600, all)), OKAY);
    for count in [0, 601, u16::MAX] {
        assert_eq!(hand.ask(&indirect(READ, count, all)), ERROR, "{count} segments");
    }
    assert_eq!(hand.ask(&indirect(READ, 513, [list, 0, 0, 0, 0, 0, 0, 0])), ERROR, "a list that is not granted");
    for operation in [blkif::BLKIF_OP_WRITE_BARRIER, blkif::BLKIF_OP_INDIRECT, blkif::BLKIF_OP_DISCARD, 200] {
        assert_eq!(hand.ask(&indirect(operation, 1, all)), ERROR, "{operation}");
    }
    // The list is in the page that is read into: what is there afterwards does not matter any more.
    hand.pages[0].0.write(0, hand.segment(0, 0, 7).as_bytes());
    assert_eq!(hand.ask(&indirect(READ, 1, [data, 0, 0, 0, 0, 0, 0, 0])), OKAY);
    hand.pages[1].0.write(8, hand.segment(0, 7, 0).as_bytes());
    assert_eq!(hand.ask(&indirect(READ, 2, all)), ERROR, "a segment without sectors");
}

#[test]
fn a_disk_that_is_read_only_stays_as_it_is() {
    let options = Options { is_read_only: true, ..Options::default() };
    let mut hand = Hand::connect(SlowDisk::new(64), options, &[]);
    let whole = hand.segment(0, 0, 7);
    hand.pages[0].0.write(0, &[9; 4096]);
    assert_eq!(hand.ask(request(WRITE, 0, &[whole]).as_bytes()), ERROR);
    assert_eq!(hand.ask(request(blkif::BLKIF_OP_WRITE_BARRIER, 0, &[whole]).as_bytes()), ERROR);
    hand.pages[1].0.write(0, whole.as_bytes());
    let list = hand.pages[1].1;
    assert_eq!(hand.ask(&indirect(WRITE, 1, [list, 0, 0, 0, 0, 0, 0, 0])), ERROR);
    let discard = blkif::RequestDiscard { operation: blkif::BLKIF_OP_DISCARD, nr_sectors: 8, ..Default::default() };
    assert_eq!(hand.ask(discard.as_bytes()), UNSUPPORTED);
    assert_eq!(hand.ask(request(blkif::BLKIF_OP_FLUSH_DISKCACHE, 0, &[]).as_bytes()), OKAY);
    assert_eq!(hand.ask(request(READ, 0, &[whole]).as_bytes()), OKAY);
    assert_eq!(hand.pages[0].0.bytes(0, 4096), [0; 4096]);
}

#[test]
fn sectors_of_4096_bytes_are_not_cut() {
    let mut disk = SlowDisk::new(64);
    disk.geometry.sector_size = 4096;
    let mut hand = Hand::connect(disk, Options::default(), &[]);
    let (whole, half) = (hand.segment(0, 0, 7), hand.segment(0, 0, 3));
    assert_eq!(hand.ask(request(READ, 8, &[whole]).as_bytes()), OKAY);
    assert_eq!(hand.ask(request(READ, 8, &[half, half]).as_bytes()), OKAY);
    assert_eq!(hand.ask(request(READ, 4, &[whole]).as_bytes()), ERROR);
    assert_eq!(hand.ask(request(READ, 8, &[half]).as_bytes()), ERROR);
}

#[test]
fn a_barrier_waits_and_is_waited_for() {
    let mut hand = Hand::connect(SlowDisk::new(64), Options::default(), &[]);
    hand.pair.disk.leave.set(0);
    let whole = hand.segment(0, 0, 7);
    for (operation, sector) in [(WRITE, 0), (WRITE, 8), (blkif::BLKIF_OP_WRITE_BARRIER, 16), (WRITE, 24)] {
        hand.push(request(operation, sector, &[whole]).as_bytes());
    }
    hand.pair.bench.settle();
    hand.pair.disk.leave.set(usize::MAX);
    hand.pair.bench.settle();
    let log = hand.pair.disk.log.borrow().join(", ");
    assert_eq!(
        log,
        "begin write 0, begin write 8, end write 0, end write 8, \
         begin flush, end flush, begin write 16, end write 16, begin flush, end flush, begin write 24, end write 24"
    );
}

#[test]
fn no_more_is_under_way_than_was_agreed_on() {
    let options = Options { segments: 11, in_flight: 11 * 4096, ..Options::default() };
    let mut hand = Hand::connect(SlowDisk::new(512), options, &[]);
    hand.pair.disk.leave.set(0);
    let whole = hand.segment(0, 0, 7);
    for sector in 0..32 {
        hand.push(request(READ, sector, &[whole; 4]).as_bytes());
    }
    hand.pair.bench.settle();
    assert_eq!(hand.pair.disk.log.borrow().len(), 2, "eight pages, and four more are too many");
    hand.pair.disk.leave.set(1);
    hand.pair.bench.settle();
    assert_eq!(hand.pair.disk.log.borrow().len(), 4, "the next one has begun");
    hand.pair.disk.leave.set(usize::MAX);
    hand.pair.bench.settle();
    assert_eq!((0..32).filter(|_| hand.answer().is_some_and(|(_, _, status)| status == OKAY)).count(), 32);
}

#[test]
fn impossible_indices_end_the_connection_and_another_one_can_follow() {
    for index in [33, 1000, u32::MAX] {
        let mut hand = Hand::connect(SlowDisk::new(64), Options::default(), &[]);
        assert_eq!(hand.pair.state().1, "4");
        hand.produced = index - 1;
        hand.push(&[]);
        assert!(hand.is_thrown_out(), "{index}");
        // It begins anew, properly.
        FrontRing::<_, 112>::new(hand.ring.clone());
        (hand.produced, hand.consumed) = (0, 0);
        hand.set("state", "1");
        assert_eq!(hand.pair.state().1, "2");
        hand.set("state", "3");
        assert_eq!(hand.pair.state().1, "4");
        let whole = hand.segment(0, 0, 7);
        assert_eq!(hand.ask(request(READ, 0, &[whole]).as_bytes()), OKAY);
    }
}

#[test]
fn what_a_frontend_writes_to_the_store_is_checked() {
    for (key, value) in [
        ("ring-ref", "999999"),
        ("ring-ref", "-1"),
        ("ring-ref", "four"),
        ("event-channel", ""),
        ("event-channel", "999999"),
        ("protocol", "arm-abi"),
        ("ring-page-order", "5"),
        ("ring-page-order", "4294967296"),
        ("ring-page-order", "1"),
        ("multi-queue-num-queues", "2"),
    ] {
        let mut hand = Hand::connect(SlowDisk::new(64), Options::default(), &[(key, value)]);
        assert!(hand.is_thrown_out(), "{key} = {value}");
    }
}

#[test]
fn a_frontend_can_close_and_come_back_and_the_toolstack_can_end_it() {
    let mut hand = Hand::connect(SlowDisk::new(64), Options::default(), &[]);
    hand.pair.disk.leave.set(0);
    hand.pages[0].0.write(0, &[5; 512]);
    let segment = hand.segment(0, 0, 0);
    hand.push(request(WRITE, 3, &[segment]).as_bytes());
    hand.pair.bench.settle();
    hand.set("state", "5");
    assert_eq!(hand.pair.state().1, "5");
    hand.push(request(WRITE, 4, &[segment]).as_bytes());
    hand.pair.bench.settle();
    assert_eq!(hand.pair.disk.log.borrow().len(), 2, "a frontend that is closing is served still");
    hand.set("state", "6");
    assert_eq!(hand.pair.state().1, "5", "what is under way is done before the end");
    hand.pair.disk.leave.set(2);
    hand.pair.bench.settle();
    assert_eq!(hand.pair.state().1, "6");
    hand.pair.disk.ram.with(|data| assert_eq!(data[3 * 512..5 * 512], [5; 1024]));
    FrontRing::<_, 112>::new(hand.ring.clone());
    hand.set("state", "1");
    assert_eq!(hand.pair.state().1, "2");
    hand.set("state", "3");
    assert_eq!(hand.pair.state().1, "4");

    // As libxl takes a device away.
    let back = hand.pair.back.clone();
    hand.pair.bench.daemon.set(&format!("{back}/online"), "0");
    hand.pair.bench.set(&back, "state", "5");
    hand.set("state", "6");
    assert_eq!(hand.pair.state().1, "6");
    assert!(hand.pair.bench.has_ended(hand.pair.task));
}

#[test]
fn our_own_frontend_comes_back_when_the_connection_breaks() {
    let mut pair = serve(SlowDisk::new(64), Options::default());
    let block = pair.connect(front::Options::default());
    let reference = pair.bench.get(&pair.front, "ring-ref").unwrap().parse().unwrap();
    let (ring, _) = pair.bench.platform.granted(reference).unwrap();
    ring.set_u32(0, 1000);
    let channel = pair.bench.get(&pair.front, "event-channel").unwrap().parse().unwrap();
    pair.bench.platform.channel(channel).unwrap().notify();
    pair.bench.settle();
    assert_eq!(pair.state(), ("4", "4"));
    assert_ne!(pair.bench.get(&pair.front, "event-channel"), Some(channel.to_string()), "another connection");
    let read = front::Request { operation: Operation::Read, lba: 3, sectors: 1, offset: 0, token: 8 };
    block.submit(read).unwrap();
    pair.bench.settle();
    let mut reports = Vec::new();
    block.poll(|token, result| reports.push((token, result)));
    assert_eq!(reports, [(8, Ok(()))]);
}

#[test]
fn a_directory_that_is_removed_stays_removed() {
    let mut pair = serve(SlowDisk::new(64), Options::default());
    pair.connect(front::Options::default());
    let (front, back) = (pair.front.clone(), pair.back.clone());
    pair.bench.daemon.remove(&front);
    pair.bench.daemon.remove(&back);
    pair.bench.settle();
    assert!(pair.bench.has_ended(pair.task));
    assert_eq!(pair.bench.get(&back, "state"), None);
}

/// xenstored says so to a driver domain once the directories above are not for it either.
#[test]
fn what_may_not_be_read_any_more_is_gone() {
    let mut hand = Hand::connect(SlowDisk::new(64), Options::default(), &[]);
    let (front, back) = (hand.pair.front.clone(), hand.pair.back.clone());
    hand.pair.bench.daemon.close_directory(&front);
    hand.pair.bench.daemon.remove(&front);
    hand.pair.bench.settle();
    assert_eq!(hand.pair.state().1, "6");
    hand.pair.bench.daemon.close_directory(&back);
    hand.pair.bench.daemon.remove(&back);
    hand.pair.bench.settle();
    assert!(hand.pair.bench.has_ended(hand.pair.task));
    assert_eq!(hand.pair.bench.get(&back, "state"), None);
}

/// Whatever stands in the slots: no panic, and as many answers as requests.
#[test]
fn random_requests_are_all_answered() {
    let mut hand = Hand::connect(SlowDisk::new(256), Options::default(), &[]);
    let mut random = Random(99);
    let references: Vec<u32> = hand.pages.iter().map(|(_, reference)| *reference).chain([0, 7777]).collect();
    for _ in 0..200 {
        let count = 1 + random.below(32);
        for _ in 0..count {
            let mut bytes = vec![0; 112];
            bytes.fill_with(|| if random.below(3) == 0 { random.below(256).to_le_bytes()[0] } else { 0 });
            bytes[0] = random.below(8).to_le_bytes()[0];
            bytes[1] = random.below(13).to_le_bytes()[0];
            for at in [24, 28, 32, 40] {
                let reference = *random.pick(&references);
                bytes[at..at + 4].copy_from_slice(&reference.to_le_bytes());
            }
            hand.push(&bytes);
        }
        hand.pair.bench.settle();
        assert_eq!((0..count).filter(|_| hand.answer().is_some()).count() as u64, count);
        assert_eq!(hand.answer(), None);
    }
    assert_eq!(hand.pair.state().1, "4");
}
