//! Values, directories and removal.

use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use xen_abi::io::xs_wire::{XS_DIRECTORY, XS_DIRECTORY_PART, XS_MKDIR, XS_READ, XS_RM, XS_WRITE};

use super::client::{Machine, done, refused, says};

#[test]
fn values_are_what_was_written() {
    let mut machine = Machine::new();
    let control = machine.control;
    assert_eq!(machine.read(control, "/a/b"), refused("ENOENT"));
    assert_eq!(machine.write(control, "/a/b", b"one"), done());
    assert_eq!(machine.read(control, "/a/b"), says("one"));
    // xenstore.txt: missing parents are made, with empty values.
    assert_eq!(machine.read(control, "/a"), says(""));
    assert_eq!(machine.write(control, "/a/b", b"\0two\0\xff"), done());
    assert_eq!(machine.read(control, "/a/b"), Ok(b"\0two\0\xff".to_vec()));
    assert_eq!(machine.write(control, "/a/b", b""), done());
    assert_eq!(machine.read(control, "/a/b"), says(""));
    assert_eq!(machine.write(control, "/a", b"dir"), done());
    assert_eq!(machine.about(control, XS_DIRECTORY, 0, "/a"), says("b\0"));
    assert!(machine.daemon.check());
}

#[test]
fn relative_paths_begin_at_home() {
    let mut machine = Machine::new();
    let guest = machine.domain(5);
    assert_eq!(machine.write(guest, "data/x", b"1"), done());
    assert_eq!(machine.read(machine.control, "/local/domain/5/data/x"), says("1"));
    assert_eq!(machine.read(guest, "data/x"), says("1"));
    assert_eq!(machine.write(machine.control, "vm", b"0"), done());
    assert_eq!(machine.read(machine.control, "/local/domain/0/vm"), says("0"));
}

#[test]
fn malformed_requests_are_refused() {
    let mut machine = Machine::new();
    let control = machine.control;
    for kind in [XS_READ, XS_DIRECTORY, XS_MKDIR, XS_RM] {
        for payload in
            [&b""[..], b"/a", b"/a\0b", b"/a\0b\0", b"\0", b"/a//b\0", b"/a/\0", b"@releaseDomain\0", b"/a.b\0"]
        {
            assert_eq!(machine.ask(control, kind, 0, payload), refused("EINVAL"), "{kind} {payload:?}");
        }
    }
    for payload in [&b""[..], b"/a", b"/a/\0x", b"@introduceDomain\0x"] {
        assert_eq!(machine.ask(control, XS_WRITE, 0, payload), refused("EINVAL"), "{payload:?}");
    }
    for payload in [&b"/\0"[..], b"/\x000", b"/\0x\0", b"/\x000\x000\0", b"/\0-1\0"] {
        assert_eq!(machine.ask(control, XS_DIRECTORY_PART, 0, payload), refused("EINVAL"), "{payload:?}");
    }
}

#[test]
fn directories_list_children_in_the_order_of_their_making() {
    let mut machine = Machine::new();
    let control = machine.control;
    for path in ["/a/z", "/a/b", "/a/m/n", "/a/b"] {
        assert_eq!(machine.mkdir(control, path), done());
    }
    assert_eq!(machine.about(control, XS_DIRECTORY, 0, "/a"), says("z\0b\0m\0"));
    assert_eq!(machine.about(control, XS_DIRECTORY, 0, "/a/z"), says(""));
    assert_eq!(machine.about(control, XS_DIRECTORY, 0, "/b"), refused("ENOENT"));
    assert_eq!(machine.about(control, XS_DIRECTORY, 0, "/"), says("tool\0a\0"));
}

#[test]
fn mkdir_leaves_values_alone() {
    let mut machine = Machine::new();
    let control = machine.control;
    assert_eq!(machine.write(control, "/a", b"1"), done());
    assert_eq!(machine.mkdir(control, "/a"), done());
    assert_eq!(machine.mkdir(control, "/a/b/c"), done());
    assert_eq!(machine.read(control, "/a"), says("1"));
    assert_eq!(machine.read(control, "/a/b/c"), says(""));
    assert_eq!(machine.mkdir(control, "/"), done());
}

#[test]
fn rm_takes_all_that_is_below() {
    let mut machine = Machine::new();
    let control = machine.control;
    for path in ["/a/b/c", "/a/b/d/e", "/a/bc", "/a/b-"] {
        assert_eq!(machine.mkdir(control, path), done());
    }
    assert_eq!(machine.rm(control, "/a/b"), done());
    for path in ["/a/b", "/a/b/c", "/a/b/d", "/a/b/d/e"] {
        assert_eq!(machine.read(control, path), refused("ENOENT"));
    }
    assert_eq!(machine.about(control, XS_DIRECTORY, 0, "/a"), says("bc\0b-\0"));
    // It is no error that it is not there, but it is one that its parent is not.
    assert_eq!(machine.rm(control, "/a/b"), done());
    assert_eq!(machine.rm(control, "/a/b/c"), refused("ENOENT"));
    assert_eq!(machine.rm(control, "/"), refused("EINVAL"));
    assert!(machine.daemon.check());
}

#[test]
fn trees_may_be_as_deep_as_paths_are_long() {
    let mut machine = Machine::new();
    let guest = machine.domain(5);
    let deep = vec!["x"; 990].join("/");
    assert_eq!(machine.mkdir(guest, &deep), done());
    assert_eq!(machine.rm(guest, "x"), done());
    assert_eq!(machine.about(guest, XS_DIRECTORY, 0, "/local/domain/5"), says(""));
    assert!(machine.daemon.check());
}

/// Children, the generation and whether the end was reached.
fn part(machine: &mut Machine, path: &str, offset: usize) -> (Vec<u8>, String, bool) {
    let answer = machine.about(machine.control, XS_DIRECTORY_PART, 0, &format!("{path}\0{offset}")).unwrap();
    let end = answer.iter().position(|byte| *byte == 0).unwrap();
    let generation = String::from_utf8(answer[..end].to_vec()).unwrap();
    let names = answer[end + 1..].to_vec();
    let is_last = names == [0] || names.ends_with(&[0, 0]);
    (if is_last { names[..names.len() - 1].to_vec() } else { names }, generation, is_last)
}

#[test]
fn long_directories_come_in_parts() {
    let mut machine = Machine::new();
    let control = machine.control;
    let mut all = Vec::new();
    for index in 0..500 {
        let name = format!("a-child-with-a-name-{index}");
        assert_eq!(machine.mkdir(control, &format!("/list/{name}")), done());
        all.extend(name.as_bytes());
        all.push(0);
    }
    assert_eq!(machine.about(control, XS_DIRECTORY, 0, "/list"), refused("E2BIG"));
    let (mut found, mut parts) = (Vec::new(), 0);
    let (_, first, _) = part(&mut machine, "/list", 0);
    loop {
        let (names, generation, is_last) = part(&mut machine, "/list", found.len());
        assert_eq!(generation, first);
        found.extend(names);
        parts += 1;
        if is_last {
            break;
        }
    }
    assert_eq!(found, all);
    assert_eq!(parts, all.len().div_ceil(4096));
    assert_eq!(part(&mut machine, "/list", all.len()), (vec![], first.clone(), true));
    assert_eq!(part(&mut machine, "/list", usize::MAX), (vec![], first.clone(), true));
    // The count changes with the list.
    assert_eq!(machine.rm(control, "/list/a-child-with-a-name-7"), done());
    assert_ne!(part(&mut machine, "/list", 0).1, first);
    assert_eq!(machine.about(control, XS_DIRECTORY_PART, 0, "/none\x000"), refused("ENOENT"));
}

#[test]
fn unknown_requests_are_refused() {
    let mut machine = Machine::new();
    // WATCH_EVENT, ERROR, the removed RESTRICT, those that are younger than Xen 4.17, INVALID.
    for kind in [15, 16, 20, 23, 24, 25, 26, 27, 0xffff, u32::MAX] {
        assert_eq!(machine.ask(machine.control, kind, 0, b"\0"), refused("ENOSYS"), "{kind}");
    }
}
