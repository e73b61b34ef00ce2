//! The library's core: memory, mappings, grants, events and time.

use crate::{Check, Outcome, expect};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Ordering::{Greater, Less};
use core::sync::atomic::Ordering;
use minios::addr::Gfn;
use minios::clock::{self, Instant};
use minios::event::{self, EventChannel, PortSet};
use minios::exec::{self, Executor};
use minios::foreign::{Access, ForeignMapping};
use minios::frame::SharedPages;
use minios::grant::{Grant, GrantedPages};
use minios::hypercall::{XenError, dm, hvm, memory, vcpu, version};
use minios::ioreq::IoreqServer;
use minios::{DomId, boot, heap};

/// Every check, by name.
pub(crate) const ALL: &[Check] = &[
    ("start", start),
    ("heap", heap_works),
    ("heap-all", all_memory_is_usable),
    ("heap-back", memory_comes_back),
    ("frames", frames),
    ("frames-large", large_frames),
    ("clock", clock_runs_forward),
    ("wall-clock", wall_clock),
    ("wait-deadline", deadlines_are_kept),
    ("wait-past", a_past_deadline_does_not_sleep),
    ("event-self", events_arrive),
    ("event-early", an_event_before_the_wait_is_not_lost),
    ("event-mask", masked_events_wait),
    ("event-many", many_channels),
    ("idle", waiting_costs_nothing),
    ("exec", tasks_sleep_and_wake),
    ("grants", grants),
    ("grants-many", the_grant_table_grows),
    ("foreign", foreign_mappings_fail_cleanly),
    ("denied", what_needs_privilege_is_refused),
    ("memory-functions", overlapping_moves),
    ("float", floating_point_survives_sleep),
];

fn xen(what: &'static str) -> impl Fn(XenError) -> String {
    move |error| format!("{what}: {error}")
}

fn start() -> Outcome {
    let info = boot::start_info().ok_or("no start information")?;
    expect(boot::memory_pages() as u64 == info.nr_pages, || "the table of frames has another length".to_string())?;
    let version = version::version().map_err(xen("version"))?;
    let runstate = vcpu::runstate().map_err(xen("runstate"))?;
    log::info!(
        "Xen {version}; {} pages; first check after {} us, {} us of it running",
        info.nr_pages,
        clock::now().0 / 1000,
        runstate.time[0] / 1000
    );
    expect(version.major == 4, || format!("version {version}"))
}

fn heap_works() -> Outcome {
    let mut map = BTreeMap::new();
    for number in 0..2000_u64 {
        map.insert(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), format!("value {number}"));
    }
    for number in (0..2000_u64).step_by(2) {
        map.remove(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
    expect(map.len() == 1000, || format!("{} left", map.len()))?;
    expect(map.get(&0x9e37_79b9_7f4a_7c15).is_some_and(|value| value == "value 1"), || {
        "value 1 is not there".to_string()
    })
}

/// Takes memory in pieces until there is none, writes to all of it, and looks at it again.
fn all_memory_is_usable() -> Outcome {
    const PIECE: usize = 1 << 18;
    let free = heap::free_bytes();
    let mut pieces: Vec<Vec<u64>> = Vec::with_capacity(free / PIECE + 1);
    let words = PIECE / 8;
    loop {
        let mut piece: Vec<u64> = Vec::new();
        if piece.try_reserve_exact(words).is_err() {
            break;
        }
        let mark = pieces.len() as u64;
        piece.resize(words, mark);
        pieces.push(piece);
    }
    let taken = pieces.len() * PIECE;
    for (mark, piece) in pieces.iter().enumerate() {
        expect(piece.iter().all(|&word| word == mark as u64), || format!("piece {mark} was changed"))?;
    }
    log::info!(
        "{} KiB of {} KiB free memory taken and written, domain has {} KiB",
        taken >> 10,
        free >> 10,
        boot::memory_pages() << 2
    );
    expect(taken + 2 * PIECE >= free, || format!("only {taken} of {free} bytes"))?;
    // All but the image, its tables and the table of frames.
    let total = boot::memory_pages() << 12;
    expect(free >= total - total / 64 - (3 << 20), || format!("{free} bytes free of {total}"))
}

fn memory_comes_back() -> Outcome {
    let before = heap::free_bytes();
    for _ in 0..100 {
        let pages = SharedPages::alloc(7).map_err(|error| error.to_string())?;
        let large = vec![1_u8; 100_000];
        let small: Vec<Box<u32>> = (0..100).map(Box::new).collect();
        expect(pages.pages() == 7 && large.len() == 100_000 && small.len() == 100, || "sizes".to_string())?;
    }
    let after = heap::free_bytes();
    expect(before == after, || format!("{before} bytes free before, {after} after"))
}

fn frames() -> Outcome {
    let pages = SharedPages::alloc(5).map_err(|error| error.to_string())?;
    let mut byte = [0xff];
    pages.read(5 * 4096 - 1, &mut byte);
    expect(byte == [0], || "fresh pages are not zero".to_string())?;
    pages.store_u32(4096, 0xdead_beef, Ordering::Release);
    expect(pages.load_u32(4096, Ordering::Acquire) == 0xdead_beef, || "a store is lost".to_string())?;
    let mut frames: Vec<u64> = (0..5).map(|page| pages.mfn(page).number()).collect();
    frames.sort_unstable();
    frames.dedup();
    expect(frames.len() == 5 && frames[0] != 0, || format!("frames {frames:x?}"))
}

fn large_frames() -> Outcome {
    let pages = (heap::free_bytes() / 2) >> 12;
    let shared = SharedPages::alloc(pages).map_err(|error| error.to_string())?;
    for page in 0..pages {
        shared.store_u64(page * 4096, page as u64, Ordering::Relaxed);
    }
    let wrong = (0..pages).find(|&page| shared.load_u64(page * 4096, Ordering::Relaxed) != page as u64);
    expect(wrong.is_none(), || format!("page {wrong:?} of {pages}"))
}

fn clock_runs_forward() -> Outcome {
    let mut last = clock::now();
    for _ in 0..100_000 {
        let now = clock::now();
        expect(now >= last, || format!("{} after {}", now.0, last.0))?;
        last = now;
    }
    expect(last.0 > 0 && last.0 < 3_600_000_000_000, || format!("{} ns since the start", last.0))
}

fn wall_clock() -> Outcome {
    let now = clock::wall_clock().ok_or("none")?;
    expect(now > 1_600_000_000_000_000_000, || format!("{now} ns since 1970"))
}

/// Sleeps until the deadline, taking what comes.
fn sleep_until(deadline: Instant) -> u32 {
    let mut ports = PortSet::new();
    let mut wakes = 0;
    while clock::now() < deadline {
        event::wait(Some(deadline));
        event::take_pending(&mut ports);
        wakes += 1;
    }
    wakes
}

fn deadlines_are_kept() -> Outcome {
    for milliseconds in [1, 5, 20, 100] {
        // The machine below may be busy with something else at times, but not each time.
        let mut least = u64::MAX;
        for _ in 0..5 {
            let deadline = clock::now().after(milliseconds * 1_000_000);
            let wakes = sleep_until(deadline);
            least = least.min(clock::now().since(deadline));
            expect(wakes < 10, || format!("{wakes} wakes in {milliseconds} ms"))?;
        }
        expect(least < 20_000_000, || format!("{milliseconds} ms take {least} ns more"))?;
    }
    Ok(())
}

fn a_past_deadline_does_not_sleep() -> Outcome {
    let begin = clock::now();
    for _ in 0..100 {
        event::wait(Some(Instant(1)));
    }
    let took = clock::now().since(begin);
    expect(took < 100_000_000, || format!("{took} ns"))
}

fn events_arrive() -> Outcome {
    let channel = EventChannel::to_self().map_err(xen("a channel to ourselves"))?;
    let mut ports = PortSet::new();
    event::take_pending(&mut ports);
    let mut slowest = 0;
    for round in 0..1000 {
        let begin = clock::now();
        channel.notify();
        event::wait(Some(clock::now().after(1_000_000_000)));
        event::take_pending(&mut ports);
        expect(ports.remove(channel.port()), || format!("round {round}: nothing came"))?;
        expect(ports.is_empty(), || format!("round {round}: something else came: {ports:?}"))?;
        slowest = slowest.max(clock::now().since(begin));
    }
    log::info!("1000 round trips to ourselves, the slowest {} us", slowest / 1000);
    expect(slowest < 500_000_000, || format!("the slowest took {slowest} ns"))
}

/// The signal comes before the sleep, at every distance from it that the loop's length gives.
fn an_event_before_the_wait_is_not_lost() -> Outcome {
    let channel = EventChannel::to_self().map_err(xen("a channel to ourselves"))?;
    let mut ports = PortSet::new();
    for round in 0..200_u64 {
        // A timer that fires just about when the sleep begins.
        let deadline = clock::now().after(round * 500);
        channel.notify();
        event::take_pending(&mut ports);
        expect(ports.remove(channel.port()), || format!("round {round}: nothing came"))?;
        let begin = clock::now();
        event::wait(Some(deadline));
        event::take_pending(&mut ports);
        let slept = clock::now().since(begin);
        expect(slept < 500_000_000, || format!("round {round}: slept {slept} ns instead of {} ns", round * 500))?;
    }
    Ok(())
}

fn masked_events_wait() -> Outcome {
    let channel = EventChannel::to_self().map_err(xen("a channel to ourselves"))?;
    let mut ports = PortSet::new();
    event::mask(channel.port());
    channel.notify();
    sleep_until(clock::now().after(2_000_000));
    event::take_pending(&mut ports);
    expect(!ports.remove(channel.port()), || "a masked port woke us".to_string())?;
    event::unmask(channel.port());
    let begin = clock::now();
    event::wait(Some(clock::now().after(1_000_000_000)));
    event::take_pending(&mut ports);
    expect(ports.remove(channel.port()), || "the signal was lost".to_string())?;
    expect(clock::now().since(begin) < 500_000_000, || "unmasking did not wake us".to_string())
}

fn many_channels() -> Outcome {
    let channels: Result<Vec<EventChannel>, XenError> = (0..500).map(|_| EventChannel::to_self()).collect();
    let channels = channels.map_err(xen("500 channels"))?;
    for channel in &channels {
        channel.notify();
    }
    let mut ports = PortSet::new();
    event::wait(None);
    event::take_pending(&mut ports);
    let missing = channels.iter().filter(|channel| !ports.remove(channel.port())).count();
    expect(missing == 0, || format!("{missing} of 500 signals are missing"))?;
    let offered = EventChannel::offer_to(DomId(0)).map_err(xen("offering"))?;
    offered.notify();
    drop(channels);
    let again = EventChannel::to_self().map_err(xen("a channel after closing"))?;
    expect(again.port().0 < 600, || format!("port {}", again.port()))
}

/// Nothing wakes us for half a second, and no time is used.
fn waiting_costs_nothing() -> Outcome {
    sleep_until(clock::now().after(50_000_000));
    let before = vcpu::runstate().map_err(xen("runstate"))?;
    let wakes = sleep_until(clock::now().after(500_000_000));
    let after = vcpu::runstate().map_err(xen("runstate"))?;
    let used = after.time[0].saturating_sub(before.time[0]);
    log::info!("half a second of waiting: {wakes} wakes, {} us of processor time", used / 1000);
    expect(wakes <= 2, || format!("{wakes} wakes"))
}

fn tasks_sleep_and_wake() -> Outcome {
    let mut executor = Executor::new();
    let channel = EventChannel::to_self().map_err(xen("a channel to ourselves"))?;
    let mut signal = exec::signal(channel.port());
    let begin = clock::now();
    let waiter = executor.spawn(async move {
        signal.wait().await;
        clock::now()
    });
    executor.spawn(async move {
        exec::sleep(30_000_000).await;
        channel.notify();
        exec::sleep(1_000_000_000).await;
    });
    let late = executor.block_on(exec::before(begin.after(5_000_000), exec::sleep(1_000_000_000)));
    expect(late.is_none(), || "a second passed in 5 ms".to_string())?;
    let woken = executor.block_on(waiter).since(begin);
    expect((30_000_000..200_000_000).contains(&woken), || format!("woken after {woken} ns"))
}

fn grants() -> Outcome {
    let pages = SharedPages::alloc(1).map_err(|error| error.to_string())?;
    let first = Grant::access(DomId(0), pages.mfn(0), Access::ReadWrite).map_err(xen("a grant"))?;
    let second = Grant::access(DomId(0), pages.mfn(0), Access::ReadOnly).map_err(xen("a grant"))?;
    expect(first.reference() != second.reference() && first.reference().0 >= 8, || {
        format!("{} and {}", first.reference(), second.reference())
    })?;
    expect(second.end().is_ok(), || "nobody uses it, but it does not end".to_string())?;
    drop(first);
    let granted = GrantedPages::alloc(DomId(0), 4, Access::ReadWrite).map_err(|error| error.to_string())?;
    granted.write(4096, b"shared");
    expect(granted.reference(3) != granted.reference(0), || "references".to_string())
}

fn the_grant_table_grows() -> Outcome {
    let pages = SharedPages::alloc(1).map_err(|error| error.to_string())?;
    let begin = clock::now();
    let grants: Result<Vec<Grant>, XenError> =
        (0..3000).map(|_| Grant::access(DomId(0), pages.mfn(0), Access::ReadOnly)).collect();
    let grants = grants.map_err(xen("3000 grants"))?;
    log::info!("3000 grants in {} us", clock::now().since(begin) / 1000);
    let highest = grants.iter().map(|grant| grant.reference().0).max();
    drop(grants);
    let again = Grant::access(DomId(0), pages.mfn(0), Access::ReadOnly).map_err(xen("one more"))?;
    expect(Some(again.reference().0) <= highest, || format!("{} after {highest:?}", again.reference()))
}

/// This domain may map nobody's memory: the answer is an error, and the addresses can be used again.
fn foreign_mappings_fail_cleanly() -> Outcome {
    for _ in 0..20 {
        let refused = ForeignMapping::map(DomId(0), &[Gfn::new(0x100); 3], Access::ReadWrite);
        expect(refused.is_err_and(|error| error.index == Some(0)), || "dom0's memory is mapped".to_string())?;
    }
    let window = ForeignMapping::map_range(DomId(0), Gfn::new(0), 512, Access::ReadOnly).map_err(xen("a window"))?;
    expect((0..512).all(|page| !window.is_mapped(page)), || "a page of dom0 is mapped".to_string())?;
    expect(window.read(100, &mut [0; 4]).is_err(), || "nothing was read".to_string())
}

fn what_needs_privilege_is_refused() -> Outcome {
    let server = IoreqServer::create(DomId(0), 1);
    expect(server.is_err(), || "an ioreq server for dom0".to_string())?;
    expect(dm::set_isa_irq_level(DomId(0), 4, true).is_err(), || "an interrupt line of dom0".to_string())?;
    expect(hvm::get_param(DomId(0), 1).is_err(), || "a parameter of dom0".to_string())?;
    expect(memory::populate_physmap(DomId(0), &[Gfn::new(0x100)]).unwrap_or(0) == 0, || "memory for dom0".to_string())?;
    expect(memory::populate_physmap(DomId::SELF, &[Gfn::new(0x100)]).is_err(), || "memory for ourselves".to_string())
}

/// The image's own `memmove`, at every small distance and length, both ways.
fn overlapping_moves() -> Outcome {
    let original: Vec<u8> = (0..200).collect();
    for from in 0..20_usize {
        for to in 0..20_usize {
            for len in [0_usize, 1, 7, 8, 9, 15, 16, 17, 100, 180] {
                let mut moved = original.clone();
                moved.copy_within(from..from + len, to);
                let right = moved.iter().enumerate().all(|(at, &byte)| {
                    let source = if (to..to + len).contains(&at) { at - to + from } else { at };
                    usize::from(byte) == source
                });
                expect(right, || format!("{len} bytes from {from} to {to}"))?;
            }
        }
    }
    comparisons(&original[..40])
}

/// The image's own `memcmp`: a byte that is one less or one more, at every place of every short length.
fn comparisons(original: &[u8]) -> Outcome {
    for len in 0..original.len() {
        let same = &original[..len];
        let mut other = same.to_vec();
        expect(same.cmp(&other).is_eq(), || format!("{len} bytes are not equal to themselves"))?;
        for place in 0..len {
            for (change, order) in [(u8::MAX, Greater), (1, Less)] {
                // What follows a difference does not count.
                other[place..].fill(0x7f);
                other[place] = same[place].wrapping_add(change);
                let right = if same[place] == 0 && change != 1 { Less } else { order };
                expect(same.cmp(&other) == right && same != other, || format!("byte {place} of {len}"))?;
            }
            other[place..].copy_from_slice(&same[place..]);
        }
    }
    Ok(())
}

fn floating_point_survives_sleep() -> Outcome {
    let mut sum = core::hint::black_box(0.5_f64);
    for round in 0..20 {
        sum += f64::from(round);
        sleep_until(clock::now().after(1_000_000));
    }
    let text = format!("{sum:.3}");
    expect(text == "190.500", || text.clone())
}
