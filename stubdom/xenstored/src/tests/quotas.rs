//! What a domain may use up, and that it cannot use up more.

use core::time::Duration;
use std::format;
use std::vec;
use std::vec::Vec;

use xen_abi::DomId;
use xen_abi::io::xs_wire::{XS_MKDIR, XS_READ, XS_TRANSACTION_START, XS_WATCH_EVENT, XS_WRITE};

use super::client::{Machine, done, message, refused, says};
use crate::quota::Quotas;

fn refused_at(
    quotas: Quotas,
    mut attempt: impl FnMut(&mut Machine, crate::ConnectionId, usize) -> super::client::Answer,
) -> (usize, super::client::Answer) {
    let mut machine = Machine::with(quotas);
    let guest = machine.domain(5);
    for index in 0..2000 {
        let answer = attempt(&mut machine, guest, index);
        if answer.is_err() {
            assert!(machine.daemon.check());
            return (index, answer);
        }
    }
    panic!("nothing was refused");
}

#[test]
fn a_domain_owns_so_many_nodes() {
    let quotas = Quotas { node_size: 1 << 20, ..Quotas::XEN };
    let make = |machine: &mut Machine, guest, index| machine.mkdir(guest, &format!("n{index}"));
    // One is its home.
    assert_eq!(refused_at(quotas, make), (999, refused("ENOSPC")));
    let make_two = |machine: &mut Machine, guest, index| machine.mkdir(guest, &format!("n{index}/x"));
    assert_eq!(refused_at(quotas, make_two), (499, refused("ENOSPC")));
    // Domain 0 has no limits, and what is removed counts no more.
    let mut machine = Machine::with(Quotas { nodes: 3, ..quotas });
    let guest = machine.domain(5);
    assert_eq!(machine.mkdir(guest, "a/b"), done());
    assert_eq!(machine.mkdir(guest, "c"), refused("ENOSPC"));
    assert_eq!(machine.write(guest, "a/b", b"x"), done());
    let control = machine.control;
    assert_eq!(machine.mkdir(control, "/local/domain/5/d"), done());
    assert_eq!(machine.rm(guest, "a/b"), done());
    assert_eq!(machine.rm(guest, "d"), done());
    assert_eq!(machine.mkdir(guest, "c"), done());
    for index in 0..100 {
        assert_eq!(machine.mkdir(control, &format!("/many/{index}")), done());
    }
}

#[test]
fn a_transaction_makes_no_more_nodes_than_a_domain_may_own() {
    let mut machine = Machine::with(Quotas { nodes: 3, ..Quotas::XEN });
    let guest = machine.domain(5);
    let (t, u) = (machine.start(guest), machine.start(guest));
    assert_eq!(machine.about(guest, XS_MKDIR, t, "/local/domain/5/a/b"), done());
    assert_eq!(machine.about(guest, XS_MKDIR, t, "/local/domain/5/c"), refused("ENOSPC"));
    // What is removed makes room, in the same transaction, too.
    assert_eq!(machine.about(guest, 13, t, "/local/domain/5/a/b"), done());
    assert_eq!(machine.about(guest, XS_MKDIR, t, "/local/domain/5/c"), done());
    assert_eq!(machine.commit(guest, t), done());
    assert_eq!(machine.abort(guest, u), done());
    // Two transactions that fit, but not both. They do not touch the same nodes.
    let mut machine = Machine::with(Quotas { nodes: 5, ..Quotas::XEN });
    let guest = machine.domain(5);
    assert_eq!(machine.mkdir(guest, "x"), done());
    assert_eq!(machine.mkdir(guest, "y"), done());
    let (t, u) = (machine.start(guest), machine.start(guest));
    assert_eq!(machine.about(guest, XS_MKDIR, t, "x/1/2"), done());
    assert_eq!(machine.about(guest, XS_MKDIR, u, "y/1/2"), done());
    assert_eq!(machine.commit(guest, t), done());
    assert_eq!(machine.commit(guest, u), refused("ENOSPC"));
    assert!(machine.daemon.check());
}

#[test]
fn a_connection_has_so_many_watches_and_transactions() {
    let watch = |machine: &mut Machine, guest, index: usize| machine.watch(guest, "x", &format!("{index}"));
    assert_eq!(refused_at(Quotas::XEN, watch), (128, refused("E2BIG")));
    let start = |machine: &mut Machine, guest, _| machine.ask(guest, XS_TRANSACTION_START, 0, b"\0");
    assert_eq!(refused_at(Quotas::XEN, start), (10, refused("ENOSPC")));
}

#[test]
fn a_transaction_looks_at_so_many_nodes() {
    let mut machine = Machine::with(Quotas { transaction_nodes: 3, ..Quotas::XEN });
    let guest = machine.domain(5);
    for name in ["a", "b", "c", "d"] {
        assert_eq!(machine.write(guest, name, name.as_bytes()), done());
    }
    let t = machine.start(guest);
    for name in ["a", "b", "c", "a"] {
        assert_eq!(machine.about(guest, XS_READ, t, name), says(name));
    }
    assert_eq!(machine.about(guest, XS_READ, t, "d"), refused("ENOSPC"));
    assert_eq!(machine.commit(guest, t), refused("ENOMEM"));
    // One that failed can be given up.
    let t = machine.start(guest);
    assert_eq!(machine.about(guest, XS_MKDIR, t, "e/f/g/h"), refused("ENOSPC"));
    assert_eq!(machine.abort(guest, t), done());
    assert!(machine.daemon.check());
}

#[test]
fn nodes_have_a_greatest_size() {
    let mut machine = Machine::new();
    let guest = machine.domain(5);
    // A head of 24 bytes and 8 for the only permission.
    assert_eq!(machine.write(guest, "x", &[b'v'; 2048 - 32 - 1]), done());
    assert_eq!(machine.write(guest, "x", &[b'v'; 2048 - 32]), refused("ENOSPC"));
    assert_eq!(machine.write(guest, "y", &[b'v'; 2048 - 32]), refused("ENOSPC"));
    assert_eq!(machine.set(guest, "x", "n5 r0"), refused("ENOSPC"));
    let control = machine.control;
    assert_eq!(machine.write(control, "/local/domain/5/x", &[b'v'; 4000]), done());
    // Children count in their parent.
    let make = |machine: &mut Machine, guest, index| machine.mkdir(guest, &format!("dir/{index:0>30}"));
    assert_eq!(refused_at(Quotas::XEN, make), ((2048 - 32 - 1) / 31, refused("ENOSPC")));
}

#[test]
fn permissions_and_paths_have_a_greatest_length() {
    let mut machine = Machine::new();
    let guest = machine.domain(5);
    assert_eq!(machine.mkdir(guest, "x"), done());
    assert_eq!(machine.set(guest, "x", "n5 r0 r0 r0 r0"), done());
    assert_eq!(machine.set(guest, "x", "n5 r0 r0 r0 r0 r0"), refused("ENOSPC"));
    let control = machine.control;
    assert_eq!(machine.set(control, "/local/domain/5/x", "n5 r0 r0 r0 r0 r0"), done());
    assert_eq!(machine.read(guest, &"p".repeat(2048)), refused("ENOENT"));
    assert_eq!(machine.read(guest, &"p".repeat(2049)), refused("EINVAL"));
    assert_eq!(machine.read(control, &format!("/{}", "p".repeat(3071))), refused("ENOENT"));
    assert_eq!(machine.read(control, &format!("/{}", "p".repeat(3072))), refused("EINVAL"));
}

/// A domain that sends and does not fetch.
#[test]
fn requests_wait_until_answers_are_fetched() {
    let mut machine = Machine::new();
    let guest = machine.domain(5);
    let requests: Vec<u8> = (0..30).flat_map(|index| message(XS_READ, index, 0, b"x\0")).collect();
    let one = requests.len() / 30;
    assert_eq!(machine.daemon.receive(guest, &requests, &mut machine.world), Ok(20 * one));
    assert_eq!(machine.daemon.receive(guest, &requests[20 * one..], &mut machine.world), Ok(0));
    let answers = machine.fetch(guest);
    assert_eq!(answers.iter().map(|answer| answer.request).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    assert_eq!(machine.daemon.receive(guest, &requests[20 * one..], &mut machine.world), Ok(10 * one));
    assert_eq!(machine.fetch(guest).len(), 10);
    // Domain 0 may do as it likes.
    let control = machine.control;
    assert_eq!(machine.daemon.receive(control, &requests, &mut machine.world), Ok(requests.len()));
    assert_eq!(machine.fetch(control).len(), 30);
}

/// A domain cannot fill another one's queue: it has to wait until that one fetched its events, or lost them.
#[test]
fn who_causes_events_waits_for_them_to_be_fetched() {
    let mut machine = Machine::new();
    let (writer, watcher) = (machine.domain(5), machine.domain(6));
    let control = machine.control;
    assert_eq!(machine.set(control, "/local/domain/5", "n5 r6"), done());
    assert_eq!(machine.watch(watcher, "/local/domain/5", "t"), done());
    machine.fetch(watcher);
    for index in 0..20 {
        assert_eq!(machine.write(writer, &format!("n{index}"), b""), done());
    }
    let late = message(XS_WRITE, 1, 0, b"late\0");
    assert_eq!(machine.daemon.receive(writer, &late, &mut machine.world), Ok(0));
    // One that was fetched makes room for one.
    let len = machine.daemon.output(watcher).len();
    machine.daemon.sent(watcher, len - 1);
    assert_eq!(machine.daemon.receive(writer, &late, &mut machine.world), Ok(0));
    machine.daemon.sent(watcher, 1);
    assert_eq!(machine.daemon.receive(writer, &late, &mut machine.world), Ok(late.len()));
    machine.fetch(writer);
    assert_eq!(machine.daemon.receive(writer, &late, &mut machine.world), Ok(0));
    // What is not fetched in time is dropped, but for what was begun.
    machine.daemon.sent(watcher, 3);
    assert_eq!(machine.daemon.expire(Duration::from_millis(19_999)), Some(Duration::from_secs(20)));
    assert_eq!(machine.daemon.receive(writer, &late, &mut machine.world), Ok(0));
    machine.world.now = Duration::from_secs(20);
    assert_eq!(machine.daemon.expire(machine.world.now), None);
    assert_eq!(machine.daemon.receive(writer, &late, &mut machine.world), Ok(late.len()));
    let mut rest = machine.daemon.output(watcher).to_vec();
    machine.daemon.sent(watcher, rest.len());
    rest.splice(0..0, [XS_WATCH_EVENT as u8, 0, 0]);
    assert_eq!(super::client::messages(&rest)[0].payload, b"/local/domain/5/n1\0t\0");
    // The last write came after the others were dropped.
    assert_eq!(machine.events(watcher), ["/local/domain/5/late t"]);
    machine.fetch(writer);
}

#[test]
fn events_of_domain_0_do_not_expire() {
    let mut machine = Machine::new();
    let control = machine.control;
    assert_eq!(machine.watch(control, "/x", "t"), done());
    machine.fetch(control);
    machine.send(control, XS_WRITE, 0, b"/x\0");
    assert_eq!(machine.daemon.expire(Duration::MAX), None);
    assert_eq!(machine.events(control), ["/x t"]);
}

/// Whatever it uses up, it all counts together.
#[test]
fn memory_has_a_limit() {
    let quotas = Quotas { memory: 20_000, ..Quotas::XEN };
    let write = |machine: &mut Machine, guest, index| machine.write(guest, &format!("n{index}"), &[0; 1900]);
    assert_eq!(refused_at(quotas, write).1, refused("ENOMEM"));
    let watch = |machine: &mut Machine, guest, index| machine.watch(guest, &format!("{index:0>2000}"), "t");
    assert_eq!(refused_at(quotas, watch).1, refused("ENOMEM"));
    let mut t = 0;
    let write = |machine: &mut Machine, guest, index| {
        if index == 0 {
            t = machine.start(guest);
        }
        machine.write_in(guest, t, &format!("n{index}"), &[0; 1900])
    };
    assert_eq!(refused_at(quotas, write).1, refused("ENOMEM"));
    // Nodes of others that a transaction keeps.
    let mut machine = Machine::with(quotas);
    let guest = machine.domain(5);
    let control = machine.control;
    for index in 0..10 {
        assert_eq!(machine.write(control, &format!("/shared/{index}"), &[0; 4000]), done());
        assert_eq!(machine.set(control, &format!("/shared/{index}"), "r0"), done());
    }
    let t = machine.start(guest);
    let answers: Vec<_> =
        (0..10).map(|index| machine.about(guest, XS_READ, t, &format!("/shared/{index}")).map(|_| ())).collect();
    assert_eq!(answers[..4], vec![Ok(()); 4]);
    assert_eq!(answers[5], Err("ENOMEM".into()));
    // It can go on afterwards.
    assert_eq!(machine.abort(guest, t), done());
    assert_eq!(machine.write(guest, "x", &[0; 1900]), done());
    // Events that do not fit are lost.
    for index in 0..10 {
        let path = format!("/local/domain/5/{index:0>2000}");
        assert_eq!(machine.watch(guest, &path, "t").map(|_| ()).is_ok(), index < 8, "{index}");
    }
    machine.fetch(guest);
    for index in 0..4 {
        assert_eq!(machine.mkdir(control, &format!("/local/domain/5/{index:0>2000}")), done());
    }
    assert!(machine.events(guest).len() < 4);
    machine.daemon.destroyed(DomId(5), machine.world.now);
    assert!(machine.daemon.check());
}
