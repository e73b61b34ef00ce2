use super::*;
use crate::memory::TestMemory;
use core::cell::Cell;
use std::vec::Vec;

const A: DomId = DomId(1);
const B: DomId = DomId(2);
const C: DomId = DomId(3);

const FRAMES: usize = 32;
/// `GTF_permit_access`, with `GTF_readonly`: public/grant_table.h.
const READ_WRITE: u16 = 1;
const READ_ONLY: u16 = 1 | 4;

/// Three domains, whose tables are one frame long: that of their number.
fn world() -> (Grants, TestMemory) {
    let mut grants = Grants::new();
    for domain in [A, B, C] {
        assert!(grants.add_domain(domain, 2));
        assert_eq!(grants.setup(domain, 1, &mut || Some(table(domain))), Ok(&[table(domain)][..]));
    }
    (grants, TestMemory::new(FRAMES))
}

fn table(domain: DomId) -> Mfn {
    Mfn(u64::from(domain.0))
}

/// Writes an entry of a domain.
fn grant(memory: &mut impl Memory, owner: DomId, reference: u32, flags: u16, grantee: DomId, frame: u32) -> GrantRef {
    let word = u64::from(flags) | u64::from(grantee.0) << 16 | u64::from(frame) << 32;
    memory.store(table(owner), reference as usize, word);
    GrantRef(reference)
}

/// Its flags.
fn flags(memory: &impl Memory, owner: DomId, reference: GrantRef) -> u16 {
    let mut flags = [0; 2];
    memory.read(table(owner), reference.0 as usize * 8, &mut flags);
    u16::from_le_bytes(flags)
}

/// Every frame is its domain's, and can be written to.
fn anything(_: DomId, frame: Mfn, _: Access) -> Result<Mfn, GrantError> {
    Ok(frame)
}

#[test]
fn an_entry_is_marked_while_it_is_used() {
    let (mut grants, mut memory) = world();
    let entry = grant(&mut memory, A, 8, READ_WRITE, B, 20);
    assert_eq!(grants.begin(&mut memory, A, entry, B, Access::Read), Ok(Mfn(20)));
    assert_eq!(flags(&memory, A, entry), 1 | 8);
    assert_eq!(grants.begin(&mut memory, A, entry, B, Access::Write), Ok(Mfn(20)));
    assert_eq!(flags(&memory, A, entry), 1 | 8 | 16);
    assert_eq!(grants.begin(&mut memory, A, entry, B, Access::Write), Ok(Mfn(20)));
    grants.end(&mut memory, A, entry, Access::Write);
    assert_eq!(flags(&memory, A, entry), 1 | 8 | 16);
    grants.end(&mut memory, A, entry, Access::Write);
    assert_eq!(flags(&memory, A, entry), 1 | 8);
    grants.end(&mut memory, A, entry, Access::Read);
    assert_eq!(flags(&memory, A, entry), 1);
    assert!(!grants.is_in_use(A));
}

#[test]
fn a_writer_reads_too() {
    let (mut grants, mut memory) = world();
    let entry = grant(&mut memory, A, 8, READ_WRITE, B, 20);
    for access in [Access::Write, Access::Read] {
        assert!(grants.begin(&mut memory, A, entry, B, access).is_ok());
    }
    assert_eq!(flags(&memory, A, entry), 1 | 8 | 16);
    grants.end(&mut memory, A, entry, Access::Read);
    assert_eq!(flags(&memory, A, entry), 1 | 8 | 16);
    grants.end(&mut memory, A, entry, Access::Write);
    assert_eq!(flags(&memory, A, entry), 1);
}

#[test]
fn only_what_is_granted_can_be_used() {
    let (mut grants, mut memory) = world();
    let refused = |grants: &mut Grants, memory: &mut TestMemory, flags_: u16, access| {
        let entry = grant(memory, A, 9, flags_, B, 20);
        assert_eq!(grants.begin(memory, A, entry, B, access), Err(GrantError::General));
        assert_eq!(flags(memory, A, entry), flags_);
    };
    // Nothing, a transfer, a grant of a grant, part of a page.
    for flags in [0, 2, 3, 1 | 1 << 8] {
        refused(&mut grants, &mut memory, flags, Access::Read);
    }
    refused(&mut grants, &mut memory, READ_ONLY, Access::Write);
    let entry = grant(&mut memory, A, 9, READ_ONLY, B, 20);
    for other in [A, C, DomId::SELF, DomId(0)] {
        assert_eq!(grants.begin(&mut memory, A, entry, other, Access::Read), Err(GrantError::General));
    }
    assert!(grants.begin(&mut memory, A, entry, B, Access::Read).is_ok());
    // In use already, but not for this.
    assert_eq!(grants.begin(&mut memory, A, entry, B, Access::Write), Err(GrantError::General));
    assert_eq!(flags(&memory, A, entry), 1 | 4 | 8);
}

#[test]
fn references_and_domains_that_are_not_there_are_told_apart() {
    let (mut grants, mut memory) = world();
    for reference in [512, 513, 1024, u32::MAX].map(GrantRef) {
        assert_eq!(grants.begin(&mut memory, A, reference, B, Access::Read), Err(GrantError::BadReference));
        grants.end(&mut memory, A, reference, Access::Read);
    }
    assert_eq!(grants.begin(&mut memory, DomId(9), GrantRef(0), B, Access::Read), Err(GrantError::BadDomain));
    grants.end(&mut memory, DomId(9), GrantRef(0), Access::Read);
    let entry = grant(&mut memory, A, 511, READ_ONLY, B, 20);
    assert!(grants.begin(&mut memory, A, entry, B, Access::Read).is_ok());
}

#[test]
fn an_entry_in_use_stays_what_it_was() {
    let (mut grants, mut memory) = world();
    let entry = grant(&mut memory, A, 8, READ_WRITE, B, 20);
    assert_eq!(grants.begin(&mut memory, A, entry, B, Access::Read), Ok(Mfn(20)));
    // The owner changes its mind: it is C's now, and another frame.
    grant(&mut memory, A, 8, READ_WRITE, C, 21);
    assert_eq!(grants.begin(&mut memory, A, entry, C, Access::Read), Err(GrantError::General));
    assert_eq!(grants.begin(&mut memory, A, entry, B, Access::Read), Ok(Mfn(20)));
    assert_eq!(grants.begin(&mut memory, A, entry, B, Access::Write), Ok(Mfn(20)));
    grants.end(&mut memory, A, entry, Access::Write);
    grants.end(&mut memory, A, entry, Access::Read);
    grants.end(&mut memory, A, entry, Access::Read);
    assert_eq!(grants.begin(&mut memory, A, entry, B, Access::Read), Err(GrantError::General));
    assert_eq!(grants.begin(&mut memory, A, entry, C, Access::Read), Ok(Mfn(21)));
}

#[test]
fn what_has_not_begun_does_not_end() {
    let (mut grants, mut memory) = world();
    let entry = grant(&mut memory, A, 8, READ_WRITE | GTF_READING | GTF_WRITING, B, 20);
    grants.end(&mut memory, A, entry, Access::Write);
    assert_eq!(flags(&memory, A, entry), 1 | 8 | 16);
    assert!(grants.begin(&mut memory, A, entry, B, Access::Read).is_ok());
    grants.end(&mut memory, A, entry, Access::Write);
    assert!(grants.is_in_use(A));
}

#[test]
fn uses_are_counted_up_to_what_the_counter_holds() {
    let (mut grants, mut memory) = world();
    let entry = grant(&mut memory, A, 8, READ_ONLY, B, 20);
    for _ in 0..u16::MAX {
        assert!(grants.begin(&mut memory, A, entry, B, Access::Read).is_ok());
    }
    assert_eq!(grants.begin(&mut memory, A, entry, B, Access::Read), Err(GrantError::General));
    for _ in 0..u16::MAX {
        assert!(grants.is_in_use(A));
        grants.end(&mut memory, A, entry, Access::Read);
    }
    assert!(!grants.is_in_use(A));
    assert_eq!(flags(&memory, A, entry), READ_ONLY);
}

#[test]
fn tables_grow_up_to_their_limit() {
    let (mut grants, _) = world();
    assert_eq!(grants.size(A), Some((1, 2)));
    assert_eq!(grants.setup(A, 3, &mut || Some(Mfn(30))), Err(GrantError::General));
    assert_eq!(grants.setup(A, 2, &mut || None), Err(GrantError::General));
    assert_eq!(grants.size(A), Some((1, 2)));
    assert_eq!(grants.setup(A, 2, &mut || Some(Mfn(30))), Ok(&[table(A), Mfn(30)][..]));
    assert_eq!(grants.setup(A, 1, &mut || None), Ok(&[table(A)][..]));
    assert_eq!(grants.setup(A, 0, &mut || None), Ok(&[][..]));
    assert_eq!(grants.size(A), Some((2, 2)));
    assert_eq!(grants.setup(DomId(9), 1, &mut || None), Err(GrantError::BadDomain));
    assert_eq!(grants.size(DomId(9)), None);
}

#[test]
fn what_a_domain_granted_stays_counted_when_it_goes() {
    let (mut grants, mut memory) = world();
    let entry = grant(&mut memory, A, 8, READ_WRITE, B, 20);
    assert!(grants.begin(&mut memory, A, entry, B, Access::Write).is_ok());
    assert_eq!(grants.remove_domain(A), [table(A)]);
    assert_eq!(grants.remove_domain(A), []);
    assert!(grants.is_in_use(A));
    assert!(!grants.add_domain(A, 1));
    assert_eq!(grants.size(A), None);
    assert_eq!(grants.setup(A, 1, &mut || Some(Mfn(9))), Err(GrantError::BadDomain));
    assert_eq!(grants.begin(&mut memory, A, entry, B, Access::Read), Err(GrantError::BadDomain));
    // The table's frame may be somebody else's by now.
    let before = memory.load(table(A), 8);
    grants.end(&mut memory, A, entry, Access::Write);
    assert_eq!(memory.load(table(A), 8), before);
    assert!(!grants.is_in_use(A));
    assert!(grants.add_domain(A, 1));
    // A domain whose frames nobody uses goes at once.
    assert_eq!(grants.remove_domain(B), [table(B)]);
    assert!(grants.add_domain(B, 1));
}

#[test]
fn status_is_the_headers() {
    let all = [
        (GrantError::General, -1),
        (GrantError::BadDomain, -2),
        (GrantError::BadReference, -3),
        (GrantError::BadHandle, -4),
        (GrantError::BadVirtualAddress, -5),
        (GrantError::BadDeviceAddress, -6),
        (GrantError::PermissionDenied, -8),
        (GrantError::BadPage, -9),
        (GrantError::BadCopyArgument, -10),
        (GrantError::NoSpace, -13),
    ];
    for (error, status) in all {
        assert_eq!(error.status(), status);
    }
}

#[test]
fn a_copy_takes_bytes_from_page_to_page() {
    let (mut grants, mut memory) = world();
    let bytes: Vec<u8> = (0..=255).cycle().take(4096).collect();
    memory.write(Mfn(20), 0, &bytes);
    let from = grant(&mut memory, A, 8, READ_ONLY, B, 20);
    let to = grant(&mut memory, C, 9, READ_WRITE, B, 21);
    let source = CopyPlace::Granted { owner: A, reference: from, offset: 3 };
    let destination = CopyPlace::Granted { owner: C, reference: to, offset: 1001 };
    assert_eq!(grants.copy(&mut memory, B, source, destination, 1000, &anything), Ok(()));
    let mut there = [0; 1002];
    memory.read(Mfn(21), 1000, &mut there);
    assert_eq!(there[1..1001], bytes[3..1003]);
    assert_eq!((there[0], there[1001]), (0, 0));
    assert_eq!((flags(&memory, A, from), flags(&memory, C, to)), (READ_ONLY, READ_WRITE));
    let own = CopyPlace::Own { frame: Mfn(22), offset: 0 };
    let whole = CopyPlace::Granted { owner: A, reference: from, offset: 0 };
    assert_eq!(grants.copy(&mut memory, B, whole, own, 4096, &anything), Ok(()));
    assert_eq!(memory.0[22], memory.0[20]);
}

#[test]
fn a_copy_that_is_refused_changes_nothing_and_holds_nothing() {
    let (mut grants, mut memory) = world();
    memory.0[20].fill(u64::MAX);
    let entry = grant(&mut memory, A, 8, READ_ONLY, B, 20);
    let granted = |offset| CopyPlace::Granted { owner: A, reference: entry, offset };
    let own = |offset| CopyPlace::Own { frame: Mfn(22), offset };
    let owns = |domain: DomId, frame: Mfn, _: Access| match (domain, frame) {
        (B, Mfn(22)) | (A, Mfn(20)) => Ok(frame),
        _ => Err(GrantError::BadPage),
    };
    let mut copy = |source, destination, length| grants.copy(&mut memory, B, source, destination, length, &owns);
    for (source, destination, length) in [(0, 0, 4097), (1, 0, 4096), (0, 4096, 1), (u16::MAX, 0, u16::MAX)] {
        let refused = copy(granted(source), own(destination), length);
        assert_eq!(refused, Err(GrantError::BadCopyArgument));
    }
    // A grant for reading is not written to; frames of others are neither source nor destination.
    assert_eq!(copy(own(0), granted(0), 1), Err(GrantError::General));
    let other = CopyPlace::Own { frame: Mfn(20), offset: 0 };
    assert_eq!(copy(other, own(0), 1), Err(GrantError::BadPage));
    assert_eq!(copy(granted(0), other, 1), Err(GrantError::BadPage));
    // Nor is what somebody grants without owning it.
    let stolen = grant(&mut memory, C, 8, READ_WRITE, B, 20);
    let stolen = CopyPlace::Granted { owner: C, reference: stolen, offset: 0 };
    assert_eq!(grants.copy(&mut memory, B, stolen, own(0), 1, &owns), Err(GrantError::BadPage));
    assert_eq!(grants.copy(&mut memory, B, own(0), stolen, 1, &owns), Err(GrantError::BadPage));
    assert_eq!((flags(&memory, A, entry), flags(&memory, C, GrantRef(8))), (READ_ONLY, READ_WRITE));
    assert!(![A, B, C].into_iter().any(|domain| grants.is_in_use(domain)));
    assert!(memory.0[22].iter().all(|&word| word == 0));
}

#[test]
fn places_of_a_copy_are_decoded() {
    let pointer = |domid| CopyPtr { frame_or_reference: 0x1_0000_0007, domid, offset: 5, padding: 0 };
    let own = CopyPlace::Own { frame: Mfn(0x1_0000_0007), offset: 5 };
    assert_eq!(CopyPlace::decode(&pointer(DomId::SELF), false, B), Ok(own));
    assert_eq!(CopyPlace::decode(&pointer(B), false, B), Err(GrantError::PermissionDenied));
    let granted = |owner| CopyPlace::Granted { owner, reference: GrantRef(7), offset: 5 };
    assert_eq!(CopyPlace::decode(&pointer(A), true, B), Ok(granted(A)));
    assert_eq!(CopyPlace::decode(&pointer(DomId::SELF), true, B), Ok(granted(B)));
}

/// Memory whose owner changes a word each time that it is about to be replaced, so many times.
struct Racing {
    memory: TestMemory,
    times: usize,
    becomes: fn(u64) -> u64,
    loads: Cell<usize>,
}

impl Memory for Racing {
    fn read(&self, frame: Mfn, offset: usize, bytes: &mut [u8]) {
        self.memory.read(frame, offset, bytes);
    }
    fn write(&mut self, frame: Mfn, offset: usize, bytes: &[u8]) {
        self.memory.write(frame, offset, bytes);
    }
    fn load(&self, frame: Mfn, index: usize) -> u64 {
        self.loads.set(self.loads.get() + 1);
        self.memory.load(frame, index)
    }
    fn store(&mut self, frame: Mfn, index: usize, value: u64) {
        self.memory.store(frame, index, value);
    }
    fn fetch_or(&mut self, frame: Mfn, index: usize, bits: u64) -> u64 {
        self.memory.fetch_or(frame, index, bits)
    }
    fn compare_exchange(&mut self, frame: Mfn, index: usize, old: u64, new: u64) -> u64 {
        if let Some(times) = self.times.checked_sub(1) {
            self.times = times;
            let now = self.memory.load(frame, index);
            self.memory.store(frame, index, (self.becomes)(now));
        }
        self.memory.compare_exchange(frame, index, old, new)
    }
}

fn race(times: usize, becomes: fn(u64) -> u64) -> (Grants, Racing, GrantRef) {
    let (grants, mut memory) = world();
    let entry = grant(&mut memory, A, 8, READ_WRITE, B, 20);
    (grants, Racing { memory, times, becomes, loads: Cell::new(0) }, entry)
}

#[test]
fn what_counts_is_what_the_entry_said_when_it_was_marked() {
    // Another frame just before the mark is set: that is the one.
    let (mut grants, mut memory, entry) = race(1, |word| word + (1 << 32));
    assert_eq!(grants.begin(&mut memory, A, entry, B, Access::Write), Ok(Mfn(21)));
    assert_eq!(memory.loads.get(), 1);
    // No grant any more, somebody else's, one for reading: none of them is marked.
    let changes: [fn(u64) -> u64; 3] = [|_| 0, |word| word + (1 << 16), |word| word | 4];
    for becomes in changes {
        let (mut grants, mut memory, entry) = race(1, becomes);
        assert_eq!(grants.begin(&mut memory, A, entry, B, Access::Write), Err(GrantError::General));
        assert_eq!(flags(&memory.memory, A, entry) & (8 | 16), 0);
        assert!(!grants.is_in_use(A));
    }
}

#[test]
fn an_owner_that_never_stops_writing_stops_nobody() {
    let (mut grants, mut memory, entry) = race(4, |word| word + (1 << 32));
    assert_eq!(grants.begin(&mut memory, A, entry, B, Access::Read), Ok(Mfn(24)));
    memory.times = usize::MAX;
    grants.end(&mut memory, A, entry, Access::Read);
    assert!(!grants.is_in_use(A));
    assert_eq!(grants.begin(&mut memory, A, entry, B, Access::Read), Err(GrantError::General));
    assert!(!grants.is_in_use(A));
}

/// What random operations refer to.
const REFERENCES: [GrantRef; 6] =
    [GrantRef(0), GrantRef(1), GrantRef(2), GrantRef(511), GrantRef(512), GrantRef(u32::MAX)];

/// A use that a test has begun.
#[derive(Clone, Copy, PartialEq)]
struct Use {
    owner: DomId,
    reference: GrantRef,
    grantee: DomId,
    access: Access,
    frame: Mfn,
}

/// Compares what is counted with what has begun, and the marks of all entries with it if owners are honest.
fn check(grants: &Grants, memory: &TestMemory, uses: &[Use], honest: bool) {
    let mut counts: BTreeMap<(DomId, GrantRef), (DomId, Mfn, u16, u16)> = BTreeMap::new();
    for used in uses {
        let key = (used.owner, used.reference);
        let (grantee, frame, readers, writers) = counts.entry(key).or_insert((used.grantee, used.frame, 0, 0));
        assert_eq!((*grantee, *frame), (used.grantee, used.frame));
        *(if used.access == Access::Read { readers } else { writers }) += 1;
    }
    for (&owner, domain) in &grants.tables {
        assert_eq!(domain.uses, uses.iter().filter(|used| used.owner == owner).count() as u64);
        assert!(domain.frames.len() <= domain.max_frames as usize);
        assert!(!domain.is_gone || (domain.frames.is_empty() && domain.uses != 0));
        for reference in REFERENCES {
            let entries = domain.entries.get(reference.0 as usize / 512);
            let Some(entry) = entries.map(|entries| entries[reference.0 as usize % 512]) else { continue };
            let nobody = (DomId(0), Mfn(0), 0, 0);
            let counted = (entry.grantee, Mfn(u64::from(entry.frame)), entry.readers, entry.writers);
            assert_eq!(counted, counts.remove(&(owner, reference)).unwrap_or(nobody));
            if let Some((frame, index)) = domain.place(reference).filter(|_| honest) {
                let reading = if entry.is_used() { GTF_READING } else { 0 };
                let writing = if entry.writers != 0 { GTF_WRITING } else { 0 };
                let marks = memory.load(frame, index) & u64::from(GTF_READING | GTF_WRITING);
                assert_eq!(marks, u64::from(reading | writing));
            }
        }
    }
    assert!(counts.is_empty());
    assert!(uses.iter().all(|used| grants.is_in_use(used.owner)));
}

fn random_operations(honest: bool, mut state: u64) {
    let mut random = |below: u32| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u32::try_from(state >> 33).unwrap() % below
    };
    let (mut grants, mut memory) = world();
    let mut uses: Vec<Use> = Vec::new();
    let (mut begun, mut copied) = (0, 0);
    for _ in 0..20_000 {
        let [owner, grantee] = [0; 2].map(|_| DomId(u16::try_from(random(3)).unwrap() + 1));
        let reference = REFERENCES[random(6) as usize];
        let access = if random(2) == 0 { Access::Read } else { Access::Write };
        // Often whoever it is granted to.
        let place = grants.tables.get(&owner).and_then(|table| table.place(reference));
        let claimed = place.map(|(frame, index)| memory.load(frame, index) >> 16 & 3);
        let user = match claimed {
            Some(domain @ 1..) if random(3) != 0 => DomId(u16::try_from(domain).unwrap()),
            _ => grantee,
        };
        match random(12) {
            0..=2 => {
                let in_use = uses.iter().any(|used| (used.owner, used.reference) == (owner, reference));
                let place = grants.tables.get(&owner).and_then(|table| table.place(reference));
                if let Some((frame, index)) = place.filter(|_| !(honest && in_use)) {
                    let flags = [READ_WRITE, READ_WRITE, READ_ONLY, 0, 3][random(5) as usize];
                    let flags = if honest || random(3) != 0 { flags } else { u16::try_from(random(0x200)).unwrap() };
                    let word = u64::from(flags) | u64::from(grantee.0) << 16 | u64::from(10 + random(10)) << 32;
                    memory.store(frame, index, word);
                }
            }
            3..=6 => {
                if let Ok(frame) = grants.begin(&mut memory, owner, reference, user, access) {
                    uses.push(Use { owner, reference, grantee: user, access, frame });
                    begun += 1;
                }
            }
            7 | 8 => {
                if !uses.is_empty() {
                    let used = uses.swap_remove(random(u32::try_from(uses.len()).unwrap()) as usize);
                    grants.end(&mut memory, used.owner, used.reference, used.access);
                }
            }
            9 => {
                let granted = CopyPlace::Granted { owner, reference, offset: u16::try_from(random(5000)).unwrap() };
                let own = CopyPlace::Own { frame: Mfn(25), offset: 0 };
                let (source, destination) = if access == Access::Read { (granted, own) } else { (own, granted) };
                let length = u16::try_from(random(3000)).unwrap();
                let resolve = |_: DomId, frame: Mfn, _: Access| match frame {
                    Mfn(15) => Err(GrantError::BadPage),
                    frame => Ok(frame),
                };
                copied += u32::from(grants.copy(&mut memory, user, source, destination, length, &resolve).is_ok());
            }
            10 => {
                let second = Mfn(u64::from(owner.0) + 3);
                let _: Result<&[Mfn], GrantError> = grants.setup(owner, random(4), &mut || Some(second));
            }
            _ if random(20) == 0 => {
                for frame in grants.remove_domain(owner) {
                    memory.0[usize::try_from(frame.0).unwrap()].fill(0);
                }
                // Whoever is gone holds nothing of others, and not of itself.
                for used in uses.iter().filter(|used| used.grantee == owner) {
                    grants.end(&mut memory, used.owner, used.reference, used.access);
                }
                uses.retain(|used| used.grantee != owner);
            }
            _ => {
                if grants.add_domain(owner, 2) {
                    assert!(!uses.iter().any(|used| used.owner == owner));
                    assert!(grants.setup(owner, 1, &mut || Some(table(owner))).is_ok());
                }
            }
        }
        check(&grants, &memory, &uses, honest);
    }
    for used in &uses {
        grants.end(&mut memory, used.owner, used.reference, used.access);
    }
    check(&grants, &memory, &[], honest);
    assert!(begun > 1_000 && copied > 50, "the test tries something: {begun} {copied}");
}

#[test]
fn uses_and_marks_are_accounted_for_over_random_operations() {
    for seed in [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
        random_operations(true, seed);
    }
}

#[test]
fn uses_are_accounted_for_though_owners_write_what_they_like() {
    for seed in [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
        random_operations(false, seed);
    }
}
