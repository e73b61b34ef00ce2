//! Domains that are connected, stop and go.

use core::time::Duration;

use xen_abi::DomId;
use xen_abi::io::xs_wire::{
    XS_CONTROL, XS_GET_DOMAIN_PATH, XS_INTRODUCE, XS_IS_DOMAIN_INTRODUCED, XS_RELEASE, XS_RESUME, XS_SET_TARGET,
};

use super::client::{Machine, done, refused, says};

#[test]
fn only_domain_0_manages_domains() {
    let mut machine = Machine::new();
    let guest = machine.domain(5);
    for kind in [XS_CONTROL, XS_INTRODUCE, XS_RELEASE, XS_IS_DOMAIN_INTRODUCED, XS_RESUME, XS_SET_TARGET] {
        assert_eq!(machine.ask(guest, kind, 0, b"5\x001\x001\0"), refused("EACCES"), "{kind}");
    }
    assert_eq!(machine.about(guest, XS_GET_DOMAIN_PATH, 0, "7"), says("/local/domain/7\0"));
    assert_eq!(machine.about(guest, XS_GET_DOMAIN_PATH, 0, "007"), says("/local/domain/7\0"));
    for odd in ["", "x", "65536", "-1", "+1", "1 "] {
        assert_eq!(machine.about(guest, XS_GET_DOMAIN_PATH, 0, odd), refused("EINVAL"), "{odd}");
    }
}

#[test]
fn domains_are_introduced_and_released() {
    let mut machine = Machine::new();
    let control = machine.control;
    assert_eq!(machine.about(control, XS_IS_DOMAIN_INTRODUCED, 0, "5"), says("F\0"));
    // It does not exist; the program around the daemon says so.
    assert_eq!(machine.ask(control, XS_INTRODUCE, 0, b"5\x0017\x003\0"), refused("EIO"));
    machine.world.existing.insert(5);
    assert_eq!(machine.ask(control, XS_INTRODUCE, 0, b"5\x0017\x003\0"), done());
    assert_eq!(machine.about(control, XS_IS_DOMAIN_INTRODUCED, 0, "5"), says("T\0"));
    assert_eq!(machine.about(control, XS_IS_DOMAIN_INTRODUCED, 0, "32752"), says("T\0"));
    // The frame may be written as a signed number, and a reserved argument may follow.
    assert_eq!(machine.ask(control, XS_INTRODUCE, 0, b"5\0-2\x004\0ignored"), done());
    assert_eq!(machine.world.connected, [(5, Some(17), 3), (5, Some(u64::MAX - 1), 4)]);
    for odd in [&b""[..], b"5\0", b"5\x001\0", b"5\x001\x000\0", b"5\x001\0-1\0", b"x\x001\x001\0", b"5\x001\x003"] {
        assert_eq!(machine.ask(control, XS_INTRODUCE, 0, odd), refused("EINVAL"), "{odd:?}");
    }
    for kind in [XS_RELEASE, XS_RESUME] {
        assert_eq!(machine.about(control, kind, 0, "0"), refused("EINVAL"));
        assert_eq!(machine.about(control, kind, 0, "x"), refused("EINVAL"));
        assert_eq!(machine.about(control, kind, 0, "6"), refused("ENOENT"));
    }
    assert_eq!(machine.about(control, XS_RELEASE, 0, "5"), done());
    assert_eq!(machine.world.disconnected, [5]);
    assert_eq!(machine.daemon.connection(DomId(5)), None);
    assert_eq!(machine.about(control, XS_IS_DOMAIN_INTRODUCED, 0, "5"), says("F\0"));
    assert_eq!(machine.about(control, XS_RELEASE, 0, "5"), refused("ENOENT"));
}

#[test]
fn introducing_a_domain_once_more_begins_its_connection_anew() {
    let mut machine = Machine::new();
    let guest = machine.domain(5);
    assert_eq!(machine.watch(guest, "x", "t"), done());
    let t = machine.start(guest);
    machine.send(guest, 2, 0, b"x\0");
    assert_eq!(machine.daemon.receive(guest, &[2, 0, 0], &mut machine.world), Ok(3));
    assert_eq!(machine.daemon.introduce(DomId(5), Duration::ZERO), guest);
    assert_eq!(machine.fetch(guest), []);
    assert_eq!(machine.commit(guest, t), refused("ENOENT"));
    assert_eq!(machine.ask_and_hear(guest, 11, 0, b"x\0").1, [] as [&str; 0]);
}

#[test]
fn what_a_domain_owned_goes_with_it() {
    let mut machine = Machine::new();
    let (gone, other) = (machine.domain(5), machine.domain(6));
    let control = machine.control;
    assert_eq!(machine.write(gone, "x/y", b"1"), done());
    assert_eq!(machine.write(other, "n", b"1"), done());
    assert_eq!(machine.set(other, "n", "n6 b5 r0"), done());
    assert_eq!(machine.mkdir(gone, "/local/domain/6/n/theirs"), done());
    assert_eq!(machine.write(control, "/backend/5", b"kept"), done());
    assert_eq!(machine.watch(control, "/local/domain", "t"), done());
    machine.fetch(control);
    machine.daemon.destroyed(DomId(5), machine.world.now);
    // Children first; nodes in the order of their paths.
    assert_eq!(machine.events(control), ["/local/domain/5 t", "/local/domain/6/n/theirs t"]);
    assert_eq!(machine.read(control, "/local/domain/5"), refused("ENOENT"));
    assert_eq!(machine.read(control, "/local/domain/6/n/theirs"), refused("ENOENT"));
    assert_eq!(machine.permissions(control, "/local/domain/6/n"), says("n6\0r0\0"));
    assert_eq!(machine.read(control, "/backend/5"), says("kept"));
    assert!(machine.daemon.check());
    // Its connection takes everything and gives nothing.
    assert_eq!(machine.daemon.receive(gone, &[0; 64], &mut machine.world), Ok(64));
    assert_eq!(machine.daemon.output(gone), []);
    // Whoever has the number now has no rights.
    let next = machine.domain(5);
    assert_eq!(machine.read(next, "/local/domain/6/n"), refused("EACCES"));
    // Rights of a domain that was never connected go, too.
    machine.world.existing.insert(7);
    assert_eq!(machine.set(other, "n", "n6 r7"), done());
    machine.daemon.destroyed(DomId(7), machine.world.now);
    assert_eq!(machine.permissions(other, "n"), says("n6\0"));
}

#[test]
fn the_root_stays_whoever_owned_it() {
    let mut machine = Machine::new();
    machine.domain(5);
    let control = machine.control;
    for path in ["/", "@releaseDomain"] {
        assert_eq!(machine.set(control, path, "r5"), done());
    }
    machine.daemon.destroyed(DomId(5), machine.world.now);
    machine.daemon.destroyed(DomId(0), machine.world.now);
    for path in ["/", "@releaseDomain"] {
        assert_eq!(machine.permissions(control, path), says("r0\0"));
    }
    assert!(machine.daemon.check());
}

#[test]
fn clients_without_a_ring_come_and_go() {
    let mut machine = Machine::new();
    let client = machine.daemon.attach(DomId(0));
    assert_eq!(machine.write(client, "/x", b"1"), done());
    machine.daemon.detach(client);
    assert_eq!(machine.daemon.receive(client, &[0; 16], &mut machine.world), Ok(16));
    assert_eq!(machine.read(machine.control, "/x"), says("1"));
}

#[test]
fn control_is_about_the_store() {
    let mut machine = Machine::new();
    machine.domain(5);
    let control = machine.control;
    let text = |answer: super::client::Answer| std::string::String::from_utf8(answer.unwrap()).unwrap();
    assert!(text(machine.about(control, XS_CONTROL, 0, "help")).contains("quota           [<domid>]\n"));
    assert_eq!(machine.about(control, XS_CONTROL, 0, "check"), done());
    assert!(text(machine.about(control, XS_CONTROL, 0, "quota")).contains("\nnodes            :     1000 Nodes"));
    assert!(text(machine.about(control, XS_CONTROL, 0, "quota\x005")).contains("\nnodes            :        1\n"));
    assert_eq!(machine.about(control, XS_CONTROL, 0, "quota\x006"), refused("ENOENT"));
    for odd in ["", "check\0x", "live-update", "quota\x005\x006"] {
        assert_eq!(machine.about(control, XS_CONTROL, 0, odd), refused("EINVAL"), "{odd}");
    }
    assert_eq!(machine.ask(control, XS_CONTROL, 0, b"help"), refused("EINVAL"));
}
