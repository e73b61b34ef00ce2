//! Who hears of what.

use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use xen_abi::DomId;
use xen_abi::io::xs_wire::{XS_RESET_WATCHES, XS_UNWATCH, XS_WATCH, XS_WRITE};

use super::client::{Machine, done, refused};

const NOTHING: [&str; 0] = [];

#[test]
fn a_watch_fires_at_once_after_its_answer() {
    let mut machine = Machine::new();
    let guest = machine.domain(5);
    machine.send(guest, XS_WATCH, 0, b"data/x\0token\0");
    let messages = machine.fetch(guest);
    let kinds: Vec<_> = messages.iter().map(|message| message.kind).collect();
    assert_eq!(kinds, [XS_WATCH, 15]);
    assert_eq!(messages[1].payload, b"data/x\0token\0");
    // Even if there is nothing, or nothing that it may see.
    let (answer, events) = machine.ask_and_hear(guest, XS_WATCH, 0, b"/secret\0t\0");
    assert_eq!((answer, events), (done(), vec!["/secret t".into()]));
}

#[test]
fn watches_hear_of_the_node_and_all_below() {
    let mut machine = Machine::new();
    let control = machine.control;
    for path in ["/", "/a", "/a/b", "/a/b/c", "/ab"] {
        assert_eq!(machine.watch(control, path, "t"), done());
    }
    assert_eq!(machine.write(control, "/a/b", b""), done());
    machine.fetch(control);
    let heard = |machine: &mut Machine, kind, payload: &[u8]| machine.ask_and_hear(control, kind, 0, payload).1;
    // In the order in which they were made.
    assert_eq!(heard(&mut machine, XS_WRITE, b"/a/b\0x"), ["/a/b t"]);
    let mut machine = Machine::new();
    for (path, token) in [("/", "1"), ("/a", "2"), ("/a/b", "3"), ("/a/b/c", "4"), ("/ab", "5")] {
        assert_eq!(machine.watch(control, path, token), done());
    }
    assert_eq!(heard(&mut machine, XS_WRITE, b"/a/b\0x"), ["/a/b 1", "/a/b 2", "/a/b 3"]);
    assert_eq!(heard(&mut machine, XS_WRITE, b"/a/b\0x"), ["/a/b 1", "/a/b 2", "/a/b 3"]);
    assert_eq!(heard(&mut machine, XS_WRITE, b"/a/b/c/d\0x"), ["/a/b/c/d 1", "/a/b/c/d 2", "/a/b/c/d 3", "/a/b/c/d 4"]);
    assert_eq!(heard(&mut machine, 12, b"/ab\0"), ["/ab 1", "/ab 5"]);
    // Nothing was made.
    assert_eq!(heard(&mut machine, 12, b"/ab\0"), NOTHING);
    assert_eq!(heard(&mut machine, 14, b"/ab\0r0\0"), ["/ab 1", "/ab 5"]);
}

/// xenstore.txt: where a node above was removed, the event's path is the watched one.
#[test]
fn removal_of_a_node_fires_watches_below() {
    let mut machine = Machine::new();
    let control = machine.control;
    for path in ["/a/b/c", "/a/d"] {
        assert_eq!(machine.mkdir(control, path), done());
    }
    for (path, token) in [("/a", "1"), ("/a/b", "2"), ("/a/b/c", "3"), ("/a/b/none", "4"), ("/a/d", "5")] {
        assert_eq!(machine.watch(control, path, token), done());
    }
    let (answer, events) = machine.ask_and_hear(control, 13, 0, b"/a/b\0");
    assert_eq!(answer, done());
    // Children go first.
    assert_eq!(events, ["/a/b/c 3", "/a/b 1", "/a/b 2"]);
    // Nothing was removed.
    assert_eq!(machine.ask_and_hear(control, 13, 0, b"/a/b\0").1, NOTHING);
}

#[test]
fn relative_watches_have_relative_events() {
    let mut machine = Machine::new();
    let guest = machine.domain(5);
    let control = machine.control;
    assert_eq!(machine.watch(guest, "device", "t"), done());
    assert_eq!(machine.watch(guest, "/local/domain/5/device", "u"), done());
    machine.fetch(guest);
    assert_eq!(machine.write(control, "/local/domain/5/device/vbd/1", b""), done());
    assert_eq!(machine.events(guest), ["device/vbd/1 t", "/local/domain/5/device/vbd/1 u"]);
    assert_eq!(machine.rm(control, "/local/domain/5"), done());
    assert_eq!(machine.events(guest), ["device t", "/local/domain/5/device u"]);
}

#[test]
fn watches_are_told_apart_by_path_and_token() {
    let mut machine = Machine::new();
    let guest = machine.domain(5);
    assert_eq!(machine.watch(guest, "x", "t"), done());
    assert_eq!(machine.watch(guest, "x", "t"), refused("EEXIST"));
    // The same path, written differently.
    assert_eq!(machine.watch(guest, "/local/domain/5/x", "t"), refused("EEXIST"));
    assert_eq!(machine.watch(guest, "x", "u"), done());
    assert_eq!(machine.watch(guest, "x", ""), done());
    assert_eq!(machine.unwatch(guest, "x", "v"), refused("ENOENT"));
    assert_eq!(machine.unwatch(guest, "y", "t"), refused("ENOENT"));
    assert_eq!(machine.unwatch(guest, "/local/domain/5/x", "t"), done());
    assert_eq!(machine.unwatch(guest, "x", "t"), refused("ENOENT"));
    let (_, events) = machine.ask_and_hear(guest, XS_WRITE, 0, b"x\0");
    assert_eq!(events, ["x u", "x "]);
    // Others have their own.
    let other = machine.domain(6);
    assert_eq!(machine.unwatch(other, "/local/domain/5/x", "u"), refused("ENOENT"));
    assert_eq!(machine.ask(guest, XS_RESET_WATCHES, 0, b"\0"), done());
    assert_eq!(machine.ask_and_hear(guest, XS_WRITE, 0, b"x\0").1, NOTHING);
    for (kind, payload) in [
        (XS_WATCH, &b""[..]),
        (XS_WATCH, b"x\0"),
        (XS_WATCH, b"x\0t"),
        (XS_WATCH, b"x/\0t\0"),
        (XS_WATCH, b"x\0t\0-1\0"),
        (XS_WATCH, b"x\0t\0y\0"),
        (XS_WATCH, b"x\0t\x001\0z\0"),
        (XS_UNWATCH, b"x\0"),
        (XS_UNWATCH, b"x\0t\0u\0"),
        (XS_UNWATCH, b"x/\0t\0"),
    ] {
        assert_eq!(machine.ask(guest, kind, 0, payload), refused("EINVAL"), "{kind} {payload:?}");
    }
}

#[test]
fn a_depth_limits_what_is_watched() {
    let mut machine = Machine::new();
    let control = machine.control;
    for depth in ["0", "1", "2"] {
        assert_eq!(machine.watch(control, "/a", &format!("{depth}\0{depth}")), done());
        assert_eq!(machine.watch(control, "/", &format!("r{depth}\0{depth}")), done());
    }
    let mut heard = |path: &str| machine.ask_and_hear(control, XS_WRITE, 0, format!("{path}\0").as_bytes()).1;
    assert_eq!(heard("/a"), ["/a 0", "/a 1", "/a r1", "/a 2", "/a r2"]);
    assert_eq!(heard("/a/b"), ["/a/b 1", "/a/b 2", "/a/b r2"]);
    assert_eq!(heard("/a/b/c"), ["/a/b/c 2"]);
    assert_eq!(heard("/a/b/c/d"), NOTHING);
}

#[test]
fn events_come_to_those_who_may_read_the_node_or_its_parent() {
    let mut machine = Machine::new();
    let (owner, other) = (machine.domain(5), machine.domain(6));
    let path = |name: &str| format!("/local/domain/5/{name}");
    assert_eq!(machine.watch(other, "/local/domain/5", "t"), done());
    let hears = |machine: &mut Machine, name: &str| {
        machine.fetch(other);
        assert_eq!(machine.write(owner, name, b""), done());
        machine.events(other)
    };
    assert_eq!(hears(&mut machine, "closed"), NOTHING);
    assert_eq!(machine.mkdir(owner, "open"), done());
    assert_eq!(machine.set(owner, "open", "n5 r6"), done());
    assert_eq!(hears(&mut machine, "open"), [format!("{} t", path("open"))]);
    // What is made there inherits that.
    assert_eq!(machine.mkdir(owner, "open/closed"), done());
    assert_eq!(machine.set(owner, "open/closed", "n5"), done());
    assert_eq!(hears(&mut machine, "open/closed"), [format!("{} t", path("open/closed"))]);
    assert_eq!(hears(&mut machine, "open/closed/deep"), NOTHING);
    // Who loses the right to read hears of that, and of the end of what it could read.
    machine.fetch(other);
    assert_eq!(machine.set(owner, "open", "n5"), done());
    assert_eq!(machine.events(other), [format!("{} t", path("open"))]);
    assert_eq!(hears(&mut machine, "open"), NOTHING);
    assert_eq!(machine.set(owner, "open", "r5"), done());
    assert_eq!(machine.events(other), [format!("{} t", path("open"))]);
    assert_eq!(machine.rm(owner, "open"), done());
    assert_eq!(machine.events(other), [format!("{} t", path("open"))]);
}

#[test]
fn the_same_event_waits_only_once() {
    let mut machine = Machine::new();
    let (owner, watcher) = (machine.domain(5), machine.domain(6));
    let control = machine.control;
    assert_eq!(machine.set(control, "/local/domain/5", "n5 r6"), done());
    assert_eq!(machine.watch(watcher, "/local/domain/5", "t"), done());
    machine.fetch(watcher);
    for _ in 0..3 {
        assert_eq!(machine.write(owner, "x", b""), done());
        assert_eq!(machine.write(owner, "y", b""), done());
    }
    assert_eq!(machine.events(watcher), ["/local/domain/5/x t", "/local/domain/5/y t"]);
    assert_eq!(machine.write(owner, "x", b""), done());
    assert_eq!(machine.events(watcher), ["/local/domain/5/x t"]);
}

#[test]
fn domains_that_come_and_go_are_told() {
    let mut machine = Machine::new();
    let control = machine.control;
    for (path, token) in [
        ("@introduceDomain", "i"),
        ("@introduceDomain", "di\x001"),
        ("@introduceDomain", "none\x000"),
        ("@releaseDomain", "r"),
        ("@releaseDomain", "dr\x001"),
        ("@releaseDomain/5", "five"),
        ("/", "root"),
        ("@other", "o"),
    ] {
        assert_eq!(machine.watch(control, path, token), done());
    }
    machine.fetch(control);
    let now = machine.world.now;
    machine.daemon.introduce(DomId(5), now);
    assert_eq!(machine.events(control), ["@introduceDomain i", "@introduceDomain/5 di"]);
    machine.daemon.introduce(DomId(5), now);
    assert_eq!(machine.events(control), NOTHING);
    machine.daemon.shut_down(DomId(5), now);
    let released = ["@releaseDomain r", "@releaseDomain/5 dr", "@releaseDomain/5 five"];
    assert_eq!(machine.events(control), released);
    machine.daemon.shut_down(DomId(5), now);
    assert_eq!(machine.events(control), NOTHING);
    // RESUME: it goes on, and may stop again.
    assert_eq!(machine.ask(control, 18, 0, b"5\0"), done());
    machine.daemon.shut_down(DomId(5), now);
    assert_eq!(machine.events(control), released);
    machine.daemon.destroyed(DomId(5), now);
    assert_eq!(machine.events(control), released);
    // It was not connected.
    machine.daemon.destroyed(DomId(5), now);
    machine.daemon.shut_down(DomId(5), now);
    assert_eq!(machine.events(control), NOTHING);
    machine.daemon.introduce(DomId(6), now);
    machine.fetch(control);
    machine.daemon.destroyed(DomId(6), now);
    assert_eq!(machine.events(control), ["@releaseDomain r", "@releaseDomain/6 dr"]);
}

#[test]
fn domain_0_decides_who_hears_of_domains() {
    let mut machine = Machine::new();
    let guest = machine.domain(5);
    let control = machine.control;
    assert_eq!(machine.watch(guest, "@releaseDomain", "r"), done());
    assert_eq!(machine.watch(guest, "@introduceDomain", "i"), done());
    machine.fetch(guest);
    let now = machine.world.now;
    let comes_and_goes = |machine: &mut Machine| -> Vec<String> {
        machine.daemon.introduce(DomId(6), now);
        machine.daemon.destroyed(DomId(6), now);
        machine.events(guest)
    };
    assert_eq!(comes_and_goes(&mut machine), NOTHING);
    assert_eq!(machine.set(guest, "@releaseDomain", "r0"), refused("EACCES"));
    assert_eq!(machine.set(control, "@releaseDomain", "n0 r5"), done());
    assert_eq!(machine.permissions(guest, "@releaseDomain"), super::client::says("n0\0r5\0"));
    assert_eq!(machine.permissions(guest, "@introduceDomain"), refused("EACCES"));
    assert_eq!(comes_and_goes(&mut machine), ["@releaseDomain r"]);
    assert_eq!(machine.set(control, "@other", "n0 r5"), refused("ENOENT"));
    // The right goes with the domain.
    machine.daemon.destroyed(DomId(5), now);
    assert_eq!(machine.permissions(control, "@releaseDomain"), super::client::says("n0\0"));
}
