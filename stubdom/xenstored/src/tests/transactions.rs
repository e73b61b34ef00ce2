//! Transactions: what they see, when they fail, when watchers hear of them.

use std::vec;

use xen_abi::DomId;
use xen_abi::io::xs_wire::{
    XS_DIRECTORY, XS_GET_PERMS, XS_MKDIR, XS_READ, XS_RESET_WATCHES, XS_RM, XS_SET_PERMS, XS_TRANSACTION_END,
    XS_TRANSACTION_START, XS_UNWATCH, XS_WATCH, XS_WRITE,
};

use super::client::{Machine, done, refused, says};
use crate::daemon::ConnectionId;

fn machine() -> (Machine, ConnectionId) {
    let mut machine = Machine::new();
    let control = machine.control;
    for (path, value) in [("/a", "1"), ("/b", "2"), ("/dir/x", "3"), ("/dir/y", "4")] {
        assert_eq!(machine.write(control, path, value.as_bytes()), done());
    }
    (machine, control)
}

#[test]
fn what_a_transaction_does_is_seen_after_the_commit() {
    let (mut machine, control) = machine();
    let t = machine.start(control);
    assert_eq!(machine.write_in(control, t, "/a", b"new"), done());
    assert_eq!(machine.about(control, XS_MKDIR, t, "/made/deep"), done());
    assert_eq!(machine.about(control, XS_RM, t, "/dir"), done());
    assert_eq!(machine.about(control, XS_SET_PERMS, t, "/b\0r0"), done());
    assert_eq!(machine.about(control, XS_READ, t, "/a"), says("new"));
    assert_eq!(machine.about(control, XS_READ, t, "/dir/x"), refused("ENOENT"));
    assert_eq!(machine.about(control, XS_DIRECTORY, t, "/"), says("tool\0a\0b\0made\0"));
    assert_eq!(machine.about(control, XS_GET_PERMS, t, "/b"), says("r0\0"));
    assert_eq!(machine.read(control, "/a"), says("1"));
    assert_eq!(machine.read(control, "/dir/x"), says("3"));
    assert_eq!(machine.read(control, "/made"), refused("ENOENT"));
    assert_eq!(machine.permissions(control, "/b"), says("n0\0"));
    assert_eq!(machine.commit(control, t), done());
    assert_eq!(machine.read(control, "/a"), says("new"));
    assert_eq!(machine.read(control, "/dir"), refused("ENOENT"));
    assert_eq!(machine.about(control, XS_DIRECTORY, 0, "/"), says("tool\0a\0b\0made\0"));
    assert_eq!(machine.permissions(control, "/b"), says("r0\0"));
    assert!(machine.daemon.check());
    // Its number is no longer valid.
    assert_eq!(machine.about(control, XS_READ, t, "/a"), refused("ENOENT"));
    assert_eq!(machine.commit(control, t), refused("ENOENT"));
}

#[test]
fn a_transaction_that_is_given_up_leaves_no_trace() {
    let (mut machine, control) = machine();
    assert_eq!(machine.watch(control, "/", "t"), done());
    let t = machine.start(control);
    assert_eq!(machine.write_in(control, t, "/a", b"new"), done());
    assert_eq!(machine.about(control, XS_RM, t, "/dir"), done());
    let (answer, events) = machine.ask_and_hear(control, XS_TRANSACTION_END, t, b"F\0");
    assert_eq!((answer, events), (done(), vec![]));
    assert_eq!(machine.read(control, "/a"), says("1"));
    assert_eq!(machine.read(control, "/dir/x"), says("3"));
    assert!(machine.daemon.check());
}

/// What a transaction does first and somebody else does then, and whether the commit fails.
#[test]
fn a_commit_fails_when_what_it_saw_was_changed() {
    type Step = (u32, &'static str);
    let cases: [(Step, Step, bool); 20] = [
        ((XS_READ, "/a"), (XS_WRITE, "/a\0x"), true),
        // Also with the value that it had.
        ((XS_READ, "/a"), (XS_WRITE, "/a\x001"), true),
        ((XS_WRITE, "/a\0y"), (XS_WRITE, "/a\0x"), true),
        ((XS_READ, "/a"), (XS_SET_PERMS, "/a\0r0"), true),
        ((XS_READ, "/dir/x"), (XS_RM, "/dir"), true),
        ((XS_READ, "/none"), (XS_WRITE, "/none\0x"), true),
        ((XS_WRITE, "/none\0y"), (XS_WRITE, "/none\0x"), true),
        ((XS_DIRECTORY, "/dir"), (XS_MKDIR, "/dir/z"), true),
        ((XS_DIRECTORY, "/dir"), (XS_RM, "/dir/x"), true),
        ((XS_MKDIR, "/dir/z"), (XS_MKDIR, "/dir/w"), true),
        ((XS_RM, "/dir"), (XS_WRITE, "/dir/x\0n"), true),
        ((XS_RM, "/dir"), (XS_MKDIR, "/dir/x/new"), true),
        ((XS_GET_PERMS, "/a"), (XS_WRITE, "/a\0x"), true),
        // All else is of no concern.
        ((XS_READ, "/a"), (XS_WRITE, "/b\0x"), false),
        ((XS_WRITE, "/a\0y"), (XS_RM, "/dir"), false),
        ((XS_READ, "/dir/x"), (XS_WRITE, "/dir/y\0x"), false),
        ((XS_READ, "/dir/x"), (XS_MKDIR, "/dir/z"), false),
        ((XS_READ, "/none"), (XS_MKDIR, "/other"), false),
        ((XS_DIRECTORY, "/dir"), (XS_WRITE, "/dir/x\0y"), false),
        ((XS_DIRECTORY, "/dir"), (XS_MKDIR, "/dir/x/z"), false),
    ];
    for ((kind, payload), (then_kind, then_payload), conflicts) in cases {
        let (mut machine, control) = machine();
        let other = machine.daemon.attach(DomId(0));
        let t = machine.start(control);
        let payload: &str = if kind == XS_WRITE { payload } else { &std::format!("{payload}\0") };
        let _ = machine.ask(control, kind, t, payload.as_bytes());
        let then: &str = if then_kind == XS_WRITE { then_payload } else { &std::format!("{then_payload}\0") };
        assert_eq!(machine.ask(other, then_kind, 0, then.as_bytes()), done());
        let answer = if conflicts { refused("EAGAIN") } else { done() };
        assert_eq!(machine.commit(control, t), answer, "{kind} {payload:?}, {then_kind} {then:?}");
        assert!(machine.daemon.check());
        // The other way round, in two transactions.
        let (t, u) = (machine.start(control), machine.start(other));
        let _ = machine.ask(control, kind, t, payload.as_bytes());
        let _ = machine.ask(other, then_kind, u, then.as_bytes());
        assert_eq!(machine.commit(control, t), done());
        assert_eq!(machine.abort(other, u), done());
    }
}

#[test]
fn a_change_before_the_first_look_is_no_conflict() {
    let (mut machine, control) = machine();
    let t = machine.start(control);
    assert_eq!(machine.write(control, "/a", b"x"), done());
    assert_eq!(machine.about(control, XS_READ, t, "/a"), says("x"));
    assert_eq!(machine.write(control, "/b", b"y"), done());
    assert_eq!(machine.commit(control, t), done());
}

#[test]
fn what_a_transaction_saw_stays_as_it_was() {
    let (mut machine, control) = machine();
    let t = machine.start(control);
    assert_eq!(machine.about(control, XS_READ, t, "/a"), says("1"));
    assert_eq!(machine.about(control, XS_READ, t, "/none"), refused("ENOENT"));
    assert_eq!(machine.write(control, "/a", b"x"), done());
    assert_eq!(machine.write(control, "/none", b"x"), done());
    assert_eq!(machine.about(control, XS_READ, t, "/a"), says("1"));
    assert_eq!(machine.about(control, XS_READ, t, "/none"), refused("ENOENT"));
    assert_eq!(machine.commit(control, t), refused("EAGAIN"));
}

#[test]
fn a_domain_that_is_denied_does_not_conflict_with_what_it_cannot_see() {
    let (mut machine, control) = machine();
    let guest = machine.domain(5);
    let t = machine.start(guest);
    assert_eq!(machine.about(guest, XS_MKDIR, t, "/local/domain/5/x"), done());
    assert_eq!(machine.write(control, "/a", b"x"), done());
    assert_eq!(machine.commit(guest, t), done());
    assert_eq!(machine.permissions(guest, "x"), says("n5\0"));
}

#[test]
fn watches_fire_at_the_commit_in_the_order_of_the_changes() {
    let (mut machine, control) = machine();
    assert_eq!(machine.watch(control, "/", "t"), done());
    assert_eq!(machine.watch(control, "/dir/y", "y"), done());
    let t = machine.start(control);
    for payload in [&b"/z\0"[..], b"/a\0x", b"/z\0second"] {
        let (answer, events) = machine.ask_and_hear(control, XS_WRITE, t, payload);
        assert_eq!((answer, events), (done(), vec![]));
    }
    assert_eq!(machine.about(control, XS_RM, t, "/dir"), done());
    assert_eq!(machine.about(control, XS_MKDIR, t, "/gone/soon"), done());
    assert_eq!(machine.about(control, XS_RM, t, "/gone"), done());
    let (answer, events) = machine.ask_and_hear(control, XS_TRANSACTION_END, t, b"T\0");
    assert_eq!(answer, done());
    assert_eq!(events, ["/z t", "/a t", "/dir/y y", "/dir t"]);
    // And not when it fails.
    let t = machine.start(control);
    assert_eq!(machine.write_in(control, t, "/a", b"x"), done());
    assert_eq!(machine.write(control, "/a", b"y"), done());
    let (answer, events) = machine.ask_and_hear(control, XS_TRANSACTION_END, t, b"T\0");
    assert_eq!((answer, events), (refused("EAGAIN"), vec![]));
}

#[test]
fn watches_are_of_no_transaction() {
    let (mut machine, control) = machine();
    assert_eq!(machine.about(control, XS_WATCH, 77, "/a\0t"), done());
    assert_eq!(machine.about(control, XS_UNWATCH, 77, "/a\0t"), done());
}

#[test]
fn transactions_are_numbered_by_connection() {
    let (mut machine, control) = machine();
    let guest = machine.domain(5);
    assert_eq!((machine.start(control), machine.start(control), machine.start(guest)), (1, 2, 1));
    assert_eq!(machine.about(guest, XS_READ, 2, "/a"), refused("ENOENT"));
    assert_eq!(machine.about(control, XS_TRANSACTION_START, 1, ""), refused("EBUSY"));
    assert_eq!(machine.about(control, XS_TRANSACTION_START, 9, ""), refused("ENOENT"));
    assert_eq!(machine.commit(control, 0), refused("ENOENT"));
    assert_eq!(machine.commit(control, 9), refused("ENOENT"));
    for odd in [&b""[..], b"\0", b"T", b"X\0", b"T\0F\0", b"TF\0"] {
        assert_eq!(machine.ask(control, XS_TRANSACTION_END, 1, odd), refused("EINVAL"), "{odd:?}");
    }
    // It is still there.
    assert_eq!(machine.commit(control, 1), done());
    assert_eq!(machine.ask(control, XS_RESET_WATCHES, 0, b"\0"), done());
    assert_eq!(machine.commit(control, 2), refused("ENOENT"));
    assert_eq!(machine.commit(guest, 1), done());
}

/// A domain is gone before the commit that gives it rights; another one may have its number by then.
#[test]
fn a_transaction_gives_nothing_to_a_domain_that_is_gone() {
    let (mut machine, control) = machine();
    machine.domain(5);
    let t = machine.start(control);
    assert_eq!(machine.about(control, XS_SET_PERMS, t, "/a\0n0\0r5"), done());
    machine.daemon.destroyed(DomId(5), machine.world.now);
    let guest = machine.domain(5);
    assert_eq!(machine.commit(control, t), refused("EAGAIN"));
    assert_eq!(machine.read(guest, "/a"), refused("EACCES"));
}
