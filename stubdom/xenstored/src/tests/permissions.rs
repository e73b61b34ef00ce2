//! Who may do what.

use std::format;

use xen_abi::io::xs_wire::{XS_DIRECTORY, XS_DIRECTORY_PART, XS_GET_PERMS, XS_READ, XS_SET_TARGET};

use super::client::{Machine, done, refused, says};

/// What a domain may do with a node of domain 5, for each permission that it may have, and for a default.
#[test]
fn each_permission_allows_what_it_says() {
    let mut machine = Machine::new();
    let owner = machine.domain(5);
    let other = machine.domain(6);
    let node = "/local/domain/5/n";
    for (letter, reads, writes) in [("n", false, false), ("r", true, false), ("w", false, true), ("b", true, true)] {
        let by_default = format!("{letter}5");
        let by_entry = format!("n5 n7 {letter}6");
        let against_default = format!("b5 {letter}6 b6");
        machine.domain(7);
        for permissions in [by_default, by_entry, against_default] {
            assert_eq!(machine.write(owner, node, b"v"), done());
            assert_eq!(machine.set(owner, node, &permissions), done());
            let expect = |allowed: bool| if allowed { Ok(()) } else { Err("EACCES".into()) };
            for kind in [XS_READ, XS_DIRECTORY, XS_GET_PERMS] {
                assert_eq!(machine.about(other, kind, 0, node).map(|_| ()), expect(reads), "{permissions} {kind}");
            }
            let part = machine.about(other, XS_DIRECTORY_PART, 0, &format!("{node}\x000"));
            assert_eq!(part.map(|_| ()), expect(reads), "{permissions}");
            assert_eq!(machine.mkdir(other, node).map(|_| ()), expect(writes), "{permissions}");
            assert_eq!(machine.write(other, node, b"w").map(|_| ()), expect(writes), "{permissions}");
            assert_eq!(machine.write(other, &format!("{node}/c"), b"").map(|_| ()), expect(writes), "{permissions}");
            // Only an owner changes permissions.
            assert_eq!(machine.set(other, node, "b5"), refused("EACCES"), "{permissions}");
            assert_eq!(machine.rm(other, node).map(|_| ()), expect(writes), "{permissions}");
            assert_eq!(machine.rm(owner, node), done());
        }
    }
    assert!(machine.daemon.check());
}

#[test]
fn domain_0_may_do_everything() {
    let mut machine = Machine::new();
    let owner = machine.domain(5);
    let control = machine.control;
    assert_eq!(machine.write(owner, "n", b"v"), done());
    assert_eq!(machine.read(control, "/local/domain/5/n"), says("v"));
    assert_eq!(machine.write(control, "/local/domain/5/n", b"w"), done());
    assert_eq!(machine.permissions(control, "/local/domain/5/n"), says("n5\0"));
    // What it makes there is the owner's of the parent.
    assert_eq!(machine.mkdir(control, "/local/domain/5/m"), done());
    assert_eq!(machine.permissions(control, "/local/domain/5/m"), says("n5\0"));
    assert_eq!(machine.set(control, "/local/domain/5/m", "r0"), done());
    assert_eq!(machine.permissions(owner, "m"), says("r0\0"));
}

#[test]
fn new_nodes_inherit_permissions_and_belong_to_their_maker() {
    let mut machine = Machine::new();
    let owner = machine.domain(5);
    let other = machine.domain(6);
    assert_eq!(machine.mkdir(owner, "n"), done());
    assert_eq!(machine.set(owner, "n", "n5 b6 r0"), done());
    assert_eq!(machine.mkdir(other, "/local/domain/5/n/a/b"), done());
    for path in ["/local/domain/5/n/a", "/local/domain/5/n/a/b"] {
        assert_eq!(machine.permissions(other, path), says("n6\0b6\0r0\0"));
        assert_eq!(machine.permissions(owner, path), refused("EACCES"));
    }
    // Who may write to a node may remove what others made below.
    assert_eq!(machine.rm(owner, "n"), done());
    assert!(machine.daemon.check());
}

#[test]
fn who_may_not_see_a_node_does_not_learn_whether_it_exists() {
    let mut machine = Machine::new();
    let other = machine.domain(6);
    let control = machine.control;
    assert_eq!(machine.write(control, "/secret/there", b""), done());
    for path in ["/secret/there", "/secret/missing", "/secret/missing/more", "/missing"] {
        assert_eq!(machine.read(other, path), refused("EACCES"), "{path}");
        assert_eq!(machine.rm(other, path), refused("EACCES"), "{path}");
        assert_eq!(machine.write(other, path, b""), refused("EACCES"), "{path}");
        assert_eq!(machine.mkdir(other, path), refused("EACCES"), "{path}");
    }
    assert_eq!(machine.set(control, "/secret", "r0"), done());
    assert_eq!(machine.read(other, "/secret/there"), refused("EACCES"));
    assert_eq!(machine.read(other, "/secret/missing"), refused("ENOENT"));
    assert_eq!(machine.read(other, "/secret/missing/more"), refused("ENOENT"));
    assert_eq!(machine.write(other, "/secret/missing", b""), refused("EACCES"));
    assert_eq!(machine.rm(other, "/secret/missing"), refused("EACCES"));
}

#[test]
fn owners_change_permissions_but_not_the_owner() {
    let mut machine = Machine::new();
    let owner = machine.domain(5);
    machine.domain(6);
    assert_eq!(machine.mkdir(owner, "n"), done());
    assert_eq!(machine.set(owner, "n", "r5 b6"), done());
    assert_eq!(machine.permissions(owner, "n"), says("r5\0b6\0"));
    assert_eq!(machine.set(owner, "n", "r6"), refused("EPERM"));
    assert_eq!(machine.set(owner, "n", "r0"), refused("EPERM"));
    let control = machine.control;
    assert_eq!(machine.set(control, "/local/domain/5/n", "w6 r5"), done());
    assert_eq!(machine.permissions(owner, "n"), says("w6\0r5\0"));
    assert_eq!(machine.set(owner, "n", "n5"), refused("EACCES"));
    assert_eq!(machine.set(owner, "m", "n5"), refused("ENOENT"));
    for odd in ["", "n", "x5", "n5 ", "n5 x", "5", "n-5", "n65536", "n5x", "n 5"] {
        assert_eq!(machine.set(control, "/local/domain/5/n", odd), refused("EINVAL"), "{odd}");
    }
    assert_eq!(machine.ask(control, xen_abi::io::xs_wire::XS_SET_PERMS, 0, b"/tool\0"), refused("EINVAL"));
    assert!(machine.daemon.check());
}

/// The number of a domain that is gone may be another one's later.
#[test]
fn rights_are_given_to_domains_that_exist() {
    let mut machine = Machine::new();
    let owner = machine.domain(5);
    assert_eq!(machine.write(owner, "n", b"v"), done());
    // Domain 6 exists, although it is not connected yet; domain 7 does not.
    machine.world.existing.insert(6);
    assert_eq!(machine.set(owner, "n", "n5 r6 r7"), done());
    assert_eq!(machine.permissions(owner, "n"), says("n5\0r6\0r7\0"));
    let (six, seven) = (machine.domain(6), machine.domain(7));
    assert_eq!(machine.read(six, "/local/domain/5/n"), says("v"));
    assert_eq!(machine.read(seven, "/local/domain/5/n"), refused("EACCES"));
    let control = machine.control;
    assert_eq!(machine.set(control, "/local/domain/5/n", "n8"), refused("ENOENT"));
}

#[test]
fn a_device_model_acts_for_its_guest() {
    let mut machine = Machine::new();
    let (guest, model, other) = (machine.domain(5), machine.domain(6), machine.domain(7));
    assert_eq!(machine.write(guest, "n", b"v"), done());
    assert_eq!(machine.write(other, "n", b"v"), done());
    assert_eq!(machine.set(other, "n", "n7 r5"), done());
    assert_eq!(machine.read(model, "/local/domain/5/n"), refused("EACCES"));
    let control = machine.control;
    assert_eq!(machine.ask(control, XS_SET_TARGET, 0, b"6\x005\0"), done());
    assert_eq!(machine.read(model, "/local/domain/5/n"), says("v"));
    assert_eq!(machine.set(model, "/local/domain/5/n", "r5"), done());
    assert_eq!(machine.read(model, "/local/domain/7/n"), says("v"));
    assert_eq!(machine.read(guest, "/local/domain/6"), refused("EACCES"));
    // What it makes is its own, in the guest's home, too.
    assert_eq!(machine.mkdir(model, "/local/domain/5/m"), done());
    assert_eq!(machine.permissions(model, "/local/domain/5/m"), says("n6\0"));
    for (payload, error) in [
        (&b"6\0"[..], "EINVAL"),
        (b"6\x00x\0", "EINVAL"),
        (b"9\x005\0", "ENOENT"),
        (b"6\x009\0", "ENOENT"),
        (b"-1\x005\0", "EINVAL"),
    ] {
        assert_eq!(machine.ask(control, XS_SET_TARGET, 0, payload), refused(error), "{payload:?}");
    }
    // Its number may be another guest's later.
    machine.daemon.destroyed(xen_abi::DomId(5), machine.world.now);
    machine.domain(5);
    assert_eq!(machine.read(model, "/local/domain/5"), refused("EACCES"));
}
