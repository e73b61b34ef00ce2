//! Grants that are mapped, copied and exchanged.

use super::*;
use crate::grant::MAPPINGS_MAX;
use xen_abi::GrantRef;
use xen_abi::grant::{
    CopyPtr, EntryV1, GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GNTMAP_CONTAINS_PTE, GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP,
    GNTMAP_READONLY, GNTTABOP_COPY, GNTTABOP_GET_VERSION, GNTTABOP_MAP_GRANT_REF, GNTTABOP_SET_VERSION,
    GNTTABOP_SWAP_GRANT_REF, GNTTABOP_UNMAP_AND_REPLACE, GNTTABOP_UNMAP_GRANT_REF, GTF_PERMIT_ACCESS, GTF_READING,
    GTF_READONLY, GTF_WRITING, GetVersion, GrantCopy, MapGrantRef, SwapGrantRef, UnmapAndReplace, UnmapGrantRef,
};

/// Who grants.
pub(super) const OTHER: DomId = DomId(1);
/// Where the domain maps.
const WINDOW: u64 = SCRATCH + 0x1_0000;
const HOST: u32 = GNTMAP_HOST_MAP;

/// The other domain has some pages, of which these are granted: writable, read-only, to nobody, a page that is not its own, and
/// one of its page tables.
pub(super) fn with_granter() -> (Domain, [Mfn; 2], Mfn) {
    let mut domain = domain();
    let system = &mut domain.system;
    system.create(OTHER, [0; 16], 1, 0).unwrap();
    let pages = [(); 3].map(|()| system.frames.allocate(&mut system.memory, OTHER).unwrap());
    system.frames.pin(&mut system.memory, OTHER, pages[2], Level::L1).unwrap();
    let System { grants, frames, memory, .. } = system;
    let table = grants.setup(OTHER, 1, &mut || frames.allocate_shared(memory, OTHER)).unwrap()[0];
    let own = domain.entry(WINDOW).2.frame();
    for (reference, flags, frame) in [
        (0, GTF_PERMIT_ACCESS, pages[0]),
        (1, GTF_PERMIT_ACCESS | GTF_READONLY, pages[1]),
        (2, 0, pages[0]),
        (3, GTF_PERMIT_ACCESS, own),
        (4, GTF_PERMIT_ACCESS, pages[2]),
    ] {
        grant(&mut domain, (table, reference), flags, DomId(0), frame);
    }
    (domain, [pages[0], pages[1]], table)
}

pub(super) fn grant(domain: &mut Domain, place: (Mfn, usize), flags: u16, domid: DomId, frame: Mfn) {
    let entry = EntryV1 { flags, domid, frame: frame.0 as u32 };
    domain.system.memory.store(place.0, place.1, zerocopy::transmute!(entry));
}

fn marks(domain: &Domain, table: Mfn, reference: usize) -> u16 {
    let entry: EntryV1 = zerocopy::transmute!(domain.system.memory.load(table, reference));
    entry.flags & (GTF_READING | GTF_WRITING)
}

fn grant_op<T: IntoBytes + FromBytes + Immutable>(domain: &mut Domain, operation: u32, argument: &T) -> (i64, T) {
    let place = domain.put(SCRATCH, argument);
    let answer = domain.call(Hypercall::GrantTableOp, [operation.into(), place, 1, 0]);
    (answer, domain.get(place))
}

fn map(domain: &mut Domain, host_addr: u64, flags: u32, reference: u32) -> MapGrantRef {
    let wanted = MapGrantRef { host_addr, flags, reference: GrantRef(reference), dom: OTHER, ..MapGrantRef::default() };
    let (answer, found) = grant_op(domain, GNTTABOP_MAP_GRANT_REF, &wanted);
    assert_eq!(answer, 0);
    recount::check(domain);
    found
}

fn unmap(domain: &mut Domain, host_addr: u64, dev_bus_addr: u64, handle: u32) -> i16 {
    let wanted = UnmapGrantRef { host_addr, dev_bus_addr, handle, ..UnmapGrantRef::default() };
    let (answer, found) = grant_op(domain, GNTTABOP_UNMAP_GRANT_REF, &wanted);
    assert_eq!(answer, 0);
    recount::check(domain);
    found.status
}

fn replace(domain: &mut Domain, host_addr: u64, new_addr: u64, handle: u32) -> i16 {
    let wanted = UnmapAndReplace { host_addr, new_addr, handle, ..UnmapAndReplace::default() };
    let (answer, found) = grant_op(domain, GNTTABOP_UNMAP_AND_REPLACE, &wanted);
    assert_eq!(answer, 0);
    recount::check(domain);
    found.status
}

#[test]
fn a_granted_page_is_mapped_until_it_is_unmapped() {
    let (mut domain, [page, read_only], table) = with_granter();
    let found = map(&mut domain, WINDOW, HOST | 5 << 16, 0);
    assert_eq!((found.status, found.dev_bus_addr), (0, page.address()));
    let (.., entry) = domain.entry(WINDOW);
    assert_eq!((entry.frame(), entry.is_writable(), entry.0 >> 9 & 7), (page, true, 5));
    assert_eq!(marks(&domain, table, 0), GTF_READING | GTF_WRITING);
    domain.put(WINDOW, &0x1234_u64);
    assert_eq!(domain.system.memory.load(page, 0), 0x1234);
    let second = map(&mut domain, WINDOW + 0x1000, HOST | GNTMAP_READONLY, 1);
    assert_eq!((second.status, second.handle != found.handle), (0, true));
    assert!(!domain.entry(WINDOW + 0x1000).2.is_writable() && domain.entry(WINDOW + 0x1000).2.frame() == read_only);
    assert_eq!(marks(&domain, table, 1), GTF_READING);
    // The wrong place, the wrong handle, twice.
    assert_eq!(unmap(&mut domain, WINDOW + 0x1000, 0, found.handle), -1);
    assert_eq!(unmap(&mut domain, WINDOW, 0, 99), -4);
    assert_eq!(unmap(&mut domain, WINDOW, 0, found.handle), 0);
    assert_eq!(unmap(&mut domain, WINDOW, 0, found.handle), -4);
    assert_eq!((domain.entry(WINDOW).2.0, marks(&domain, table, 0)), (0, 0));
    assert_eq!(unmap(&mut domain, WINDOW + 0x1000, 0, second.handle), 0);
    assert_eq!(marks(&domain, table, 1), 0);
}

#[test]
fn what_is_not_granted_is_not_mapped() {
    let (mut domain, _, table) = with_granter();
    let top = domain.system.vcpu(domain.id).unwrap().top;
    let lowest = domain.entry(WINDOW).0;
    let pte = HOST | GNTMAP_CONTAINS_PTE;
    for (address, flags, reference, status) in [
        (WINDOW, 0, 0, -3),
        (WINDOW, GNTMAP_READONLY, 0, -3),
        (WINDOW, HOST, 1, -1),
        (WINDOW, HOST, 2, -1),
        (WINDOW, HOST, 3, -9),
        (WINDOW, HOST, 4, -1),
        (WINDOW, GNTMAP_DEVICE_MAP, 4, -1),
        (WINDOW, HOST, 512, -3),
        (WINDOW, HOST, u32::MAX, -3),
        (0xffff_8000_0000_0000, HOST, 0, -1),
        (1 << 47, HOST, 0, -1),
        (0, HOST | GNTMAP_DEVICE_MAP, 0, -1),
        (lowest.address() + 4, pte, 0, -1),
        (top.address(), pte, 0, -1),
        (table.address(), pte, 0, -1),
        (!7, pte, 0, -1),
        (domain.entry(WINDOW).2.frame().address(), pte, 0, -1),
    ] {
        let found = map(&mut domain, address, flags, reference);
        assert_eq!(found.status, status, "{address:#x} {flags:#x} {reference}");
        assert_eq!((0..5).map(|reference| marks(&domain, table, reference)).max(), Some(0));
    }
    for dom in [DomId(7), DomId::SELF, DomId::IO] {
        let wanted = MapGrantRef { host_addr: WINDOW, flags: HOST, dom, ..MapGrantRef::default() };
        assert_eq!(grant_op(&mut domain, GNTTABOP_MAP_GRANT_REF, &wanted).1.status, -2);
    }
    // A page table may be looked at.
    assert_eq!(map(&mut domain, WINDOW, HOST | GNTMAP_READONLY, 4).status, 0);
}

#[test]
fn the_processors_and_devices_have_a_mapping_each() {
    let (mut domain, [page, _], table) = with_granter();
    let found = map(&mut domain, WINDOW, HOST | GNTMAP_DEVICE_MAP, 0);
    assert_eq!(found.status, 0);
    assert_eq!(unmap(&mut domain, 0, page.address() + 8, found.handle), -6);
    assert_eq!(unmap(&mut domain, 0, 0, found.handle), 0, "nothing was asked for");
    assert_eq!(unmap(&mut domain, WINDOW, 0, found.handle), 0);
    let pin = |domain: &mut Domain| domain.system.frames.pin(&mut domain.system.memory, OTHER, page, Level::L1);
    assert_eq!(pin(&mut domain), Err(Errno::EINVAL), "devices write there");
    assert_eq!(marks(&domain, table, 0), GTF_READING | GTF_WRITING);
    assert_eq!(unmap(&mut domain, 0, page.address(), found.handle), 0);
    assert_eq!((pin(&mut domain), marks(&domain, table, 0)), (Ok(()), 0));
}

#[test]
fn a_page_that_is_taken_out_otherwise_is_not_unmapped_by_its_handle() {
    let (mut domain, [page, _], table) = with_granter();
    let found = map(&mut domain, WINDOW, HOST, 0);
    let (lowest, index, entry) = domain.entry(WINDOW);
    assert_eq!(domain.update((lowest, index), entry.0), Errno::EINVAL.result(), "it is not the domain's");
    assert_eq!(domain.update((lowest, index), 0), 0);
    recount::check(&domain);
    assert_eq!(unmap(&mut domain, WINDOW, 0, found.handle), -1);
    assert_eq!(marks(&domain, table, 0), GTF_READING | GTF_WRITING, "its owner does not get it back");
    assert_eq!(
        domain.system.frames.pin(&mut domain.system.memory, OTHER, page, Level::L1),
        Ok(()),
        "but nobody writes it"
    );
}

#[test]
fn one_mapping_takes_the_place_of_another() {
    let (mut domain, [page, _], _) = with_granter();
    let found = map(&mut domain, WINDOW, HOST, 0);
    let own = domain.entry(WINDOW + 0x1000).2;
    for (host, new) in [(WINDOW, WINDOW), (WINDOW, 0xffff_8000_0000_0000), (WINDOW + 0x1000, WINDOW + 0x2000)] {
        assert_eq!(replace(&mut domain, host, new, found.handle), -1, "{host:#x} {new:#x}");
    }
    assert_eq!(domain.entry(WINDOW).2.frame(), page);
    assert_eq!(replace(&mut domain, WINDOW, WINDOW + 0x1000, found.handle), 0);
    assert_eq!((domain.entry(WINDOW).2, domain.entry(WINDOW + 0x1000).2), (own, Entry(0)));
    // By the address of the entry itself nothing is replaced.
    let (lowest, index, _) = domain.entry(WINDOW + 0x1000);
    let address = lowest.address() + 8 * index as u64;
    let found = map(&mut domain, address, HOST | GNTMAP_CONTAINS_PTE, 0);
    assert_eq!((found.status, domain.entry(WINDOW + 0x1000).2.frame()), (0, page));
    assert_eq!(replace(&mut domain, address, WINDOW, found.handle), -1);
    assert_eq!(unmap(&mut domain, address, 0, found.handle), 0);
}

#[test]
fn bytes_are_copied_between_what_is_granted_and_what_is_own() {
    let (mut domain, [page, _], table) = with_granter();
    let own = domain.entry(WINDOW).2.frame();
    let top = domain.system.vcpu(domain.id).unwrap().top;
    domain.system.memory.store(page, 1, 0x1122_3344);
    let granted = |reference| CopyPtr { frame_or_reference: reference, domid: OTHER, offset: 8, padding: 0 };
    let mine = |frame: Mfn| CopyPtr { frame_or_reference: frame.0, domid: DomId::SELF, offset: 16, padding: 0 };
    let copy = |domain: &mut Domain, source, dest, flags, len| {
        let wanted = GrantCopy { source, dest, len, flags, ..GrantCopy::default() };
        let (answer, found) = grant_op(domain, GNTTABOP_COPY, &wanted);
        recount::check(domain);
        assert_eq!((answer, marks(domain, table, 0)), (0, 0));
        found.status
    };
    assert_eq!(copy(&mut domain, granted(0), mine(own), GNTCOPY_SOURCE_GREF, 8), 0);
    assert_eq!(domain.get::<u64>(WINDOW + 16), 0x1122_3344);
    for (source, dest, flags, len, status) in [
        (granted(0), mine(own), GNTCOPY_SOURCE_GREF, 4089, -10),
        (granted(2), mine(own), GNTCOPY_SOURCE_GREF, 8, -1),
        (granted(99999), mine(own), GNTCOPY_SOURCE_GREF, 8, -3),
        (mine(own), granted(1), GNTCOPY_DEST_GREF, 8, -1),
        (mine(own), granted(4), GNTCOPY_DEST_GREF, 8, -1),
        (granted(0), mine(top), GNTCOPY_SOURCE_GREF, 8, -1),
        (granted(0), mine(page), GNTCOPY_SOURCE_GREF, 8, -9),
        (granted(0), mine(Mfn(u64::MAX)), GNTCOPY_SOURCE_GREF, 8, -9),
        (granted(0), granted(0), 0, 8, -8),
        (CopyPtr { domid: DomId(9), ..granted(0) }, mine(own), GNTCOPY_SOURCE_GREF, 8, -2),
    ] {
        assert_eq!(copy(&mut domain, source, dest, flags, len), status, "{source:?} {dest:?}");
    }
}

#[test]
fn there_is_version_1_and_entries_can_be_exchanged() {
    let (mut domain, ..) = with_granter();
    for (version, answer) in [(1, 0), (2, -38), (0, -22), (3, -22)] {
        assert_eq!(grant_op(&mut domain, GNTTABOP_SET_VERSION, &[version]), (answer, [1_u32]));
    }
    let (answer, found) =
        grant_op(&mut domain, GNTTABOP_GET_VERSION, &GetVersion { dom: OTHER, ..GetVersion::default() });
    assert_eq!((answer, found.version), (0, 1));
    let System { grants, frames, memory, .. } = &mut domain.system;
    let table = grants.setup(DomId(0), 1, &mut || frames.allocate_shared(memory, DomId(0))).unwrap()[0];
    let own = domain.entry(WINDOW).2.frame();
    grant(&mut domain, (table, 8), GTF_PERMIT_ACCESS, DomId(0), own);
    let swap = |domain: &mut Domain, a, b| {
        let wanted = SwapGrantRef { ref_a: GrantRef(a), ref_b: GrantRef(b), ..SwapGrantRef::default() };
        grant_op(domain, GNTTABOP_SWAP_GRANT_REF, &wanted).1.status
    };
    assert_eq!([swap(&mut domain, 8, 511), swap(&mut domain, 8, 512), swap(&mut domain, 511, 511)], [0, -3, 0]);
    let wanted =
        MapGrantRef { host_addr: WINDOW + 0x1000, flags: HOST, reference: GrantRef(511), ..MapGrantRef::default() };
    assert_eq!(grant_op(&mut domain, GNTTABOP_MAP_GRANT_REF, &wanted).1.status, 0, "its own");
    assert_eq!([swap(&mut domain, 8, 511), swap(&mut domain, 511, 8)], [-12; 2]);
    recount::check(&domain);
    for (operation, count) in [(4, 1), (9, 1), (12, 1), (99, 1)] {
        assert_eq!(domain.call(Hypercall::GrantTableOp, [operation, SCRATCH, count, 0]), Errno::ENOSYS.result());
    }
    assert_eq!(domain.call(Hypercall::GrantTableOp, [0, SCRATCH, 1025, 0]), Errno::EINVAL.result());
    assert_eq!(domain.call(Hypercall::GrantTableOp, [8, SCRATCH, 2, 0]), Errno::EINVAL.result());
}

#[test]
fn mappings_are_bounded_and_end_with_their_domain() {
    let (mut domain, [page, _], table) = with_granter();
    let device = MapGrantRef { flags: GNTMAP_DEVICE_MAP, dom: OTHER, ..MapGrantRef::default() };
    for _ in 0..MAPPINGS_MAX {
        assert_eq!(grant_op(&mut domain, GNTTABOP_MAP_GRANT_REF, &device).1.status, 0);
    }
    assert_eq!(grant_op(&mut domain, GNTTABOP_MAP_GRANT_REF, &device).1.status, -13);
    assert_eq!(unmap(&mut domain, 0, page.address(), 77), 0);
    assert_eq!(grant_op(&mut domain, GNTTABOP_MAP_GRANT_REF, &device).1.handle, 77);
    // The granter goes first: its frames stay in use until the other one goes.
    domain.system.end_grants(OTHER);
    assert!(domain.system.grants.is_in_use(OTHER));
    assert_eq!(unmap(&mut domain, 0, page.address(), 5), 0);
    domain.system.end_grants(DomId(0));
    assert!(!domain.system.grants.is_in_use(OTHER));
    let _ = table;
    recount::check(&domain);
    assert_eq!(domain.system.frames.pin(&mut domain.system.memory, OTHER, page, Level::L1), Ok(()));
}
