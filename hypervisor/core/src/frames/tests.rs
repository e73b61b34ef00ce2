use super::*;
use crate::memory::TestMemory;
use alloc::collections::BTreeMap;

const DOMAIN: DomId = DomId(1);
const OTHER: DomId = DomId(2);
const DATA: u64 = Entry::PRESENT | Entry::WRITABLE | Entry::USER;
const SHARED: u64 = 0xffff_0000_0000_0063;

fn machine(count: usize) -> (Frames, TestMemory) {
    let mut frames = Frames::new(count, [SHARED; 16]);
    (1..count as u64).rev().for_each(|frame| frames.add(Mfn(frame)));
    (frames, TestMemory::new(count))
}

fn allocate(frames: &mut Frames, memory: &mut TestMemory) -> Mfn {
    frames.allocate(memory, DOMAIN).unwrap()
}

/// Counts anew what every frame is used for: `tops` are those that processors have.
fn check(frames: &Frames, memory: &TestMemory, tops: &[Mfn]) {
    let uses: Vec<_> = tops.iter().map(|top| (*top, true)).collect();
    recount(frames, memory, &uses);
}

/// The same, where there are these uses beside those in page tables and those of owners: frames, and whether each is used as
/// what it is.
pub(crate) fn recount(frames: &Frames, memory: &TestMemory, others: &[(Mfn, bool)]) {
    let mut uses: BTreeMap<u64, (u32, u32)> = BTreeMap::new();
    let mut add = |frame: Mfn, as_kind: bool| {
        let count = uses.entry(frame.0).or_default();
        count.0 += 1;
        count.1 += u32::from(as_kind);
    };
    for (number, frame) in (0..).zip(&frames.frames) {
        if frame.owner.is_some() {
            add(Mfn(number), false);
        }
        if frame.pinned {
            add(Mfn(number), true);
        }
        let Kind::Table(level) = frame.kind else { continue };
        for index in 0..WORDS {
            let entry = Entry(memory.load(Mfn(number), index));
            if level == Level::L4 && HYPERVISOR_ENTRIES.contains(&index) {
                assert_eq!(entry.0, frames.shared_entries[index - HYPERVISOR_ENTRIES.start]);
                continue;
            }
            if entry.is_present() {
                assert!(entry.is_allowed() && entry.0 & Entry::USER != 0);
                let target = frames.get(entry.frame()).unwrap();
                match level.below() {
                    Some(_) if entry.frame() == Mfn(number) && !entry.is_writable() => {
                        add(entry.frame(), false);
                        continue;
                    }
                    Some(below) => assert_eq!(target.kind, Kind::Table(below)),
                    None if entry.is_writable() => assert_eq!(target.kind, Kind::Writable),
                    None => {}
                }
                add(entry.frame(), level.below().is_some() || entry.is_writable());
            }
        }
    }
    others.iter().for_each(|(frame, as_kind)| add(*frame, *as_kind));
    for (number, frame) in (0..).zip(&frames.frames) {
        let expected = uses.get(&number).copied().unwrap_or_default();
        assert_eq!((frame.uses, frame.kind_uses), expected, "frame {number}: {frame:?}");
        assert_eq!(frame.kind == Kind::Any, frame.kind_uses == 0);
    }
}

/// Four tables in a chain, and a page in the lowest.
fn chain(frames: &mut Frames, memory: &mut TestMemory) -> [Mfn; 5] {
    let chain = [(); 5].map(|()| allocate(frames, memory));
    for pair in chain.windows(2) {
        memory.store(pair[0], 3, Entry::new(pair[1], DATA).0);
    }
    chain
}

#[test]
fn a_page_that_can_be_written_is_no_table_and_a_table_cannot_be_written() {
    let (mut frames, mut memory) = machine(16);
    let [top, _, _, lowest, page] = chain(&mut frames, &mut memory);
    frames.pin(&mut memory, DOMAIN, top, Level::L4).unwrap();
    check(&frames, &memory, &[]);
    assert_eq!(frames.pin(&mut memory, DOMAIN, page, Level::L1), Err(Errno::EINVAL), "it is mapped writable");
    let mut map =
        |frame, bits| frames.update(&mut memory, DOMAIN, DOMAIN, (lowest, 5), Entry::new(frame, bits).0, false);
    assert_eq!(map(lowest, DATA), Err(Errno::EINVAL));
    assert_eq!(map(top, DATA), Err(Errno::EINVAL));
    assert_eq!(map(top, Entry::PRESENT), Ok(()), "it may be looked at");
    assert_eq!(map(page, DATA), Ok(()));
    check(&frames, &memory, &[]);
    frames.unpin(&mut memory, DOMAIN, top).unwrap();
    check(&frames, &memory, &[]);
    assert_eq!(frames.pin(&mut memory, DOMAIN, page, Level::L1), Ok(()), "nobody maps it any more");
}

#[test]
fn what_is_not_the_domains_is_refused() {
    let (mut frames, mut memory) = machine(16);
    let [top, _, directory, lowest, _] = chain(&mut frames, &mut memory);
    frames.load_top(&mut memory, DOMAIN, top).unwrap();
    let foreign = frames.allocate(&mut memory, OTHER).unwrap();
    let mut update = |domain, owner, place, value| frames.update(&mut memory, domain, owner, place, value, false);
    let entry = Entry::new(foreign, DATA).0;
    assert_eq!(update(DOMAIN, DOMAIN, (lowest, 0), entry), Err(Errno::EINVAL));
    assert_eq!(update(DOMAIN, OTHER, (directory, 0), entry), Err(Errno::EINVAL), "pages only");
    assert_eq!(update(DOMAIN, DOMAIN, (lowest, 0), Entry::new(Mfn(99), DATA).0), Err(Errno::EINVAL));
    assert_eq!(
        update(DOMAIN, DOMAIN, (lowest, 0), Entry::new(lowest, 1 | 1 << 7).0),
        Err(Errno::EINVAL),
        "no such bit"
    );
    assert_eq!(update(DOMAIN, DOMAIN, (top, 256), 0), Err(Errno::EINVAL), "the hypervisor's");
    assert_eq!(update(OTHER, OTHER, (lowest, 0), 0), Err(Errno::EINVAL), "another's table");
    assert_eq!(update(DOMAIN, OTHER, (lowest, 0), entry), Ok(()), "who may, may");
    check(&frames, &memory, &[top]);
    assert_eq!(frames.give_back(OTHER, foreign), Err(Errno::EBUSY));
    frames.release(&mut memory, OTHER);
    assert_eq!(frames.owner(foreign), Some(OTHER), "it stays while it is mapped");
    frames.unload_top(&mut memory, top);
    assert_eq!(frames.owner(foreign), None);
    frames.release(&mut memory, DOMAIN);
    assert_eq!(frames.free_count(), 15);
}

#[test]
fn registers_of_devices_are_mapped_by_one_domain_and_not_counted() {
    const UNCACHED: u64 = DATA | 3 << 3;
    let (mut frames, mut memory) = machine(16);
    frames.give_devices(Mfn(40), DOMAIN);
    let [top, _, directory, lowest, page] = chain(&mut frames, &mut memory);
    frames.load_top(&mut memory, DOMAIN, top).unwrap();
    let other = allocate(&mut frames, &mut memory);
    frames.frames[usize::try_from(other.0).unwrap()].owner = Some(OTHER);
    frames.pin(&mut memory, OTHER, other, Level::L1).unwrap();
    let mut update = |domain, owner, place, frame, bits| {
        frames.update(&mut memory, domain, owner, place, Entry::new(Mfn(frame), bits).0, false)
    };
    for frame in [16, 39] {
        assert_eq!(update(DOMAIN, DOMAIN, (lowest, 9), frame, UNCACHED), Ok(()));
        assert_eq!(update(DOMAIN, DomId::IO, (lowest, 9), frame, UNCACHED), Ok(()));
    }
    assert_eq!(update(DOMAIN, DOMAIN, (lowest, 9), 40, UNCACHED), Err(Errno::EINVAL), "the hypervisor's");
    assert_eq!(update(DOMAIN, DOMAIN, (lowest, 9), page.0, UNCACHED), Err(Errno::EINVAL), "memory is cached");
    assert_eq!(update(DOMAIN, DOMAIN, (directory, 9), 20, DATA), Err(Errno::EINVAL), "no page table");
    assert_eq!(update(DOMAIN, DOMAIN, (lowest, 9), 20, DATA | 1 << 7), Err(Errno::EINVAL));
    assert_eq!(update(DOMAIN, OTHER, (lowest, 9), 20, DATA), Err(Errno::EINVAL));
    assert_eq!(update(OTHER, OTHER, (other, 0), 20, DATA), Err(Errno::EINVAL), "another one");
    assert_eq!(update(DOMAIN, DOMAIN, (lowest, 9), 0, 0), Ok(()));
    check(&frames, &memory, &[top]);
}

#[test]
fn a_table_may_map_itself_to_be_looked_at() {
    let (mut frames, mut memory) = machine(16);
    let [top, directories, ..] = chain(&mut frames, &mut memory);
    memory.store(directories, 9, Entry::new(directories, Entry::PRESENT).0);
    frames.load_top(&mut memory, DOMAIN, top).unwrap();
    check(&frames, &memory, &[top]);
    let mut map =
        |table, frame, bits| frames.update(&mut memory, DOMAIN, DOMAIN, (table, 5), Entry::new(frame, bits).0, false);
    assert_eq!(map(top, top, DATA), Err(Errno::EINVAL), "not to be written");
    assert_eq!(map(directories, top, Entry::PRESENT), Err(Errno::EINVAL), "not by another one");
    assert_eq!(map(top, top, Entry::PRESENT), Ok(()));
    assert_eq!(map(top, top, DATA), Err(Errno::EINVAL));
    check(&frames, &memory, &[top]);
    assert_eq!(frames.give_back(DOMAIN, top), Err(Errno::EBUSY));
    frames.unload_top(&mut memory, top);
    check(&frames, &memory, &[]);
    frames.release(&mut memory, DOMAIN);
    assert_eq!(frames.free_count(), 15);
}

#[test]
fn a_shared_page_can_be_mapped_but_is_no_table() {
    let (mut frames, mut memory) = machine(16);
    let [top, _, _, lowest, _] = chain(&mut frames, &mut memory);
    frames.load_top(&mut memory, DOMAIN, top).unwrap();
    let shared = frames.allocate_shared(&mut memory, DOMAIN).unwrap();
    assert_eq!(frames.pin(&mut memory, DOMAIN, shared, Level::L1), Err(Errno::EINVAL));
    let entry = Entry::new(shared, DATA).0;
    assert_eq!(frames.update(&mut memory, DOMAIN, DOMAIN, (lowest, 7), entry, false), Ok(()));
    assert_eq!(frames.update(&mut memory, DOMAIN, DOMAIN, (lowest, 7), 0, false), Ok(()));
    assert_eq!(frames.pin(&mut memory, DOMAIN, shared, Level::L1), Err(Errno::EINVAL));
}

#[test]
fn a_table_that_is_refused_leaves_everything_as_it_was() {
    let (mut frames, mut memory) = machine(16);
    let table = allocate(&mut frames, &mut memory);
    let page = allocate(&mut frames, &mut memory);
    memory.store(table, 0, Entry::new(page, DATA).0);
    memory.store(table, 511, Entry::new(Mfn(0), DATA).0);
    assert_eq!(frames.pin(&mut memory, DOMAIN, table, Level::L1), Err(Errno::EINVAL));
    check(&frames, &memory, &[]);
}

#[test]
fn whatever_domains_ask_for_the_counts_are_right() {
    let mut seed = 1_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (seed >> 33) % below
    };
    let levels = [Level::L1, Level::L2, Level::L3, Level::L4];
    let (mut done, mut refused) = (0, 0);
    for _ in 0..40 {
        let (mut frames, mut memory) = machine(14);
        for _ in 0..6 {
            allocate(&mut frames, &mut memory);
            frames.allocate(&mut memory, OTHER).unwrap();
        }
        let mut tops = Vec::new();
        for _ in 0..400 {
            let domain = if random(4) == 0 { OTHER } else { DOMAIN };
            let (frame, other) = (Mfn(random(15)), Mfn(random(15)));
            let index = [0, 1, 255, 256, 271, 272, 511][random(7) as usize];
            let bits = [DATA, Entry::PRESENT, 0, DATA | Entry::NO_EXECUTE, 0x81][random(5) as usize];
            let result = match random(6) {
                0 => frames.pin(&mut memory, domain, frame, levels[random(4) as usize]),
                1 => frames.unpin(&mut memory, domain, frame),
                2 => frames.load_top(&mut memory, domain, frame).map(|()| tops.push(frame)),
                3 if !tops.is_empty() => {
                    let top = tops.swap_remove(random(tops.len() as u64) as usize);
                    frames.unload_top(&mut memory, top);
                    Ok(())
                }
                _ => {
                    let owner = if random(8) == 0 { OTHER } else { domain };
                    let value = Entry::new(other, bits).0;
                    frames.update(&mut memory, domain, owner, (frame, index), value, random(2) == 0)
                }
            };
            if result.is_ok() {
                done += 1
            } else {
                refused += 1
            }
            check(&frames, &memory, &tops);
        }
        tops.drain(..).for_each(|top| frames.unload_top(&mut memory, top));
        frames.release(&mut memory, DOMAIN);
        frames.release(&mut memory, OTHER);
        assert_eq!(frames.free_count(), 13);
    }
    assert!(done > 1000 && refused > 1000, "{done} done, {refused} refused");
}
