//! Random operations, compared with a model that is as simple as it gets.
//!
//! The model is one flat list of nodes, and has no transactions: what a transaction did is done to it at the commit. All
//! answers that the transaction got have to be those that the model gives then, which is what a transaction promises. A commit
//! that fails has to have a reason: a node that it looked at, one above it, or one below what it removed was changed since it
//! began. A node changes with its value, its permissions and the list of its children.

use std::borrow::ToOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use xen_abi::io::xs_wire::{
    XS_DIRECTORY, XS_GET_PERMS, XS_MKDIR, XS_READ, XS_RM, XS_SET_PERMS, XS_TRANSACTION_END, XS_WRITE,
};

use super::client::{Answer, Machine, done, refused};
use super::random::Random;
use crate::daemon::ConnectionId;

type Permissions = Vec<(char, u16)>;

#[derive(Clone, Debug)]
struct Node {
    value: Vec<u8>,
    permissions: Permissions,
    /// When it was made.
    made: u64,
}

/// The model of the store.
#[derive(Clone, Debug)]
struct Model {
    nodes: BTreeMap<String, Node>,
    made: u64,
}

/// What is done to a path.
#[derive(Clone, Debug)]
enum Act {
    Read,
    List,
    Permissions,
    Write(Vec<u8>),
    Make,
    Remove,
    Set(Permissions),
}

/// A node that changed: its path, whether those who watch above it hear of that, and permissions of which one has to allow
/// reading.
#[derive(Clone, Debug)]
struct Event {
    path: String,
    above: bool,
    visible: Vec<Permissions>,
}

fn parent(path: &str) -> String {
    let end = path.rfind('/').unwrap();
    if end == 0 { "/".to_owned() } else { path[..end].to_owned() }
}

fn is_below(path: &str, above: &str) -> bool {
    above == "/" || path == above || path.starts_with(&format!("{above}/"))
}

/// Whether somebody may read, write and own.
fn rights(permissions: &Permissions, who: u16) -> (bool, bool, bool) {
    let (_, owner) = permissions[0];
    if who == 0 || who == owner {
        return (true, true, true);
    }
    let entry = permissions[1..].iter().find(|(_, domain)| *domain == who).unwrap_or(&permissions[0]);
    ("rb".contains(entry.0), "wb".contains(entry.0), false)
}

fn text(permissions: &Permissions, separator: char) -> String {
    permissions.iter().map(|(letter, domain)| format!("{letter}{domain}{separator}")).collect()
}

impl Model {
    fn new() -> Self {
        let mut nodes = BTreeMap::new();
        for (made, path) in ["/", "/tool", "/tool/xenstored"].into_iter().enumerate() {
            nodes.insert(path.to_owned(), Node { value: vec![], permissions: vec![('n', 0)], made: made as u64 });
        }
        Self { nodes, made: 10 }
    }

    /// What happens if somebody does something.
    fn act(&mut self, who: u16, path: &str, act: &Act) -> (Answer, Vec<Event>) {
        let (reads, writes, owns) = match act {
            Act::Read | Act::List | Act::Permissions => (true, false, false),
            Act::Write(_) | Act::Make | Act::Remove => (false, true, false),
            Act::Set(_) => (false, true, true),
        };
        let Some(node) = self.nodes.get(path).cloned() else {
            let mut above = parent(path);
            while !self.nodes.contains_key(&above) {
                above = parent(&above);
            }
            let (r, w, o) = rights(&self.nodes[&above].permissions, who);
            if !((reads && r) || (writes && w) || (owns && o)) {
                return (refused("EACCES"), vec![]);
            }
            return match act {
                Act::Write(value) => self.make(who, path, value),
                Act::Make => self.make(who, path, b""),
                Act::Remove if self.nodes.contains_key(&parent(path)) => (done(), vec![]),
                _ => (refused("ENOENT"), vec![]),
            };
        };
        let (r, w, o) = rights(&node.permissions, who);
        if (reads && !r) || (writes && !w) || (owns && !o) {
            return (refused("EACCES"), vec![]);
        }
        let above = self.nodes[&parent(path)].permissions.clone();
        let changed = |new: &Permissions| {
            let visible = vec![node.permissions.clone(), new.clone(), above.clone()];
            vec![Event { path: path.to_owned(), above: true, visible }]
        };
        match act {
            Act::Read => (Ok(node.value), vec![]),
            Act::Permissions => (Ok(text(&node.permissions, '\0').into_bytes()), vec![]),
            Act::List => {
                let below = self.nodes.iter().filter(|(child, _)| *child != "/" && parent(child) == path);
                let mut children: Vec<_> = below.map(|(child, node)| (node.made, child)).collect();
                children.sort();
                let names = children.iter().map(|(_, child)| format!("{}\0", &child[child.rfind('/').unwrap() + 1..]));
                (Ok(names.collect::<String>().into_bytes()), vec![])
            }
            Act::Make => (done(), vec![]),
            Act::Write(value) => {
                let events = changed(&node.permissions);
                self.nodes.get_mut(path).unwrap().value = value.clone();
                (done(), events)
            }
            Act::Set(permissions) => {
                if who != 0 && permissions[0].1 != node.permissions[0].1 {
                    return (refused("EPERM"), vec![]);
                }
                let events = changed(permissions);
                self.nodes.get_mut(path).unwrap().permissions = permissions.clone();
                (done(), events)
            }
            Act::Remove if path == "/" => (refused("EINVAL"), vec![]),
            Act::Remove => {
                let all: Vec<_> = self.nodes.keys().filter(|node| is_below(node, path)).cloned().collect();
                let visible = |gone: &String| {
                    vec![self.nodes[gone].permissions.clone(), self.nodes[&parent(gone)].permissions.clone()]
                };
                let event = |gone: &String| Event { path: gone.clone(), above: gone == path, visible: visible(gone) };
                let events = all.iter().rev().map(event).collect();
                all.iter().for_each(|gone| drop(self.nodes.remove(gone)));
                (done(), events)
            }
        }
    }

    fn make(&mut self, who: u16, path: &str, value: &[u8]) -> (Answer, Vec<Event>) {
        let above = parent(path);
        if !self.nodes.contains_key(&above) {
            let _ = self.make(who, &above, b"");
        }
        let from = self.nodes[&above].permissions.clone();
        let mut permissions = from.clone();
        if who != 0 {
            permissions[0].1 = who;
        }
        self.made += 1;
        let node = Node { value: value.to_vec(), permissions: permissions.clone(), made: self.made };
        self.nodes.insert(path.to_owned(), node);
        (done(), vec![Event { path: path.to_owned(), above: true, visible: vec![permissions, from] }])
    }
}

/// A transaction that is going on: what it did and was told, and when it began.
#[derive(Default)]
struct Open {
    acts: Vec<(String, Act, Answer)>,
    began: usize,
}

struct Client {
    domain: u16,
    connection: ConnectionId,
    watches: Vec<(String, String)>,
    transactions: BTreeMap<u32, Open>,
}

impl Client {
    /// What it hears of an event; with `all`, as if it might read everything.
    fn hears(&self, event: &Event, all: bool) -> Vec<String> {
        let may_know = all || event.visible.iter().any(|permissions| rights(permissions, self.domain).0);
        let sees = |path: &str| path == event.path || (event.above && is_below(&event.path, path));
        let seen = self.watches.iter().filter(|(path, _)| may_know && sees(path));
        seen.map(|(_, token)| format!("{} {token}", event.path)).collect()
    }
}

struct Game {
    machine: Machine,
    model: Model,
    clients: Vec<Client>,
    /// Paths that changed, in order.
    log: Vec<String>,
    committed: usize,
    failed: usize,
}

fn random_path(random: &mut Random) -> String {
    let mut path = random.pick(&["/x", "/x", "/local/domain/1", "/local/domain/2", "/"]).to_owned().to_owned();
    for _ in 0..random.below(4) {
        path = if path == "/" { "/x".to_owned() } else { format!("{path}/{}", random.pick(&["a", "b", "c"])) };
    }
    path
}

fn random_permissions(random: &mut Random) -> Permissions {
    let len = 1 + random.below(3);
    (0..len).map(|_| (*random.pick(&['n', 'r', 'w', 'b', 'b']), *random.pick(&[0, 1, 2]))).collect()
}

fn random_act(random: &mut Random) -> Act {
    match random.below(12) {
        0 | 1 => Act::Read,
        2 => Act::List,
        3 => Act::Permissions,
        4..7 => Act::Write(vec![b'0' + random.below(10) as u8]),
        7..9 => Act::Make,
        9 => Act::Remove,
        _ => Act::Set(random_permissions(random)),
    }
}

impl Game {
    fn new() -> Self {
        let mut machine = Machine::new();
        let mut model = Model::new();
        let mut clients = vec![];
        for domain in [0, 1, 2] {
            let connection = if domain == 0 { machine.control } else { machine.domain(domain) };
            if domain != 0 {
                let home = format!("/local/domain/{domain}");
                let _ = model.act(0, &home, &Act::Write(vec![]));
                let _ = model.act(0, &home, &Act::Set(vec![('n', domain)]));
            }
            clients.push(Client { domain, connection, watches: vec![], transactions: BTreeMap::new() });
        }
        assert_eq!(machine.write(machine.control, "/x", b""), done());
        let _ = model.act(0, "/x", &Act::Write(vec![]));
        Self { machine, model, clients, log: vec![], committed: 0, failed: 0 }
    }

    fn ask(&mut self, by: usize, transaction: u32, path: &str, act: &Act) -> Answer {
        let connection = self.clients[by].connection;
        let (kind, rest) = match act {
            Act::Read => (XS_READ, vec![]),
            Act::List => (XS_DIRECTORY, vec![]),
            Act::Permissions => (XS_GET_PERMS, vec![]),
            Act::Write(value) => (XS_WRITE, value.clone()),
            Act::Make => (XS_MKDIR, vec![]),
            Act::Remove => (XS_RM, vec![]),
            Act::Set(permissions) => (XS_SET_PERMS, text(permissions, '\0').into_bytes()),
        };
        // Events stay in the queue.
        self.machine.send(connection, kind, transaction, &[path.as_bytes(), b"\0", &rest].concat());
        self.take_answer(by)
    }

    /// The answer to the last request, with the events before it put aside.
    fn take_answer(&mut self, by: usize) -> Answer {
        let messages = self.machine.fetch(self.clients[by].connection);
        let answer = messages.iter().find(|message| message.kind != 15).unwrap();
        self.machine.heard.insert(self.clients[by].connection, super::client::events_in(&messages));
        if answer.kind == 16 {
            let name = String::from_utf8(answer.payload.clone()).unwrap();
            return refused(name.trim_end_matches('\0'));
        }
        Ok(answer.payload.clone())
    }

    fn heard(&mut self, client: usize) -> Vec<String> {
        let connection = self.clients[client].connection;
        let mut heard = self.machine.heard.remove(&connection).unwrap_or_default();
        heard.extend(self.machine.events(connection));
        heard
    }

    /// Notes what has changed since the model was like this.
    fn note(&mut self, before: &Model, events: &[Event]) {
        self.log.extend(events.iter().map(|event| event.path.clone()));
        let (before, after) = (&before.nodes, &self.model.nodes);
        let made = after.keys().filter(|path| !before.contains_key(*path));
        let gone = before.keys().filter(|path| !after.contains_key(*path));
        self.log.extend(made.chain(gone).flat_map(|path| [path.clone(), parent(path)]));
    }

    fn step(&mut self, random: &mut Random) {
        let by = random.below(3);
        let open: Vec<u32> = self.clients[by].transactions.keys().copied().collect();
        match random.below(20) {
            0 if open.len() < 3 => {
                let number = self.machine.start(self.clients[by].connection);
                let open = Open { acts: vec![], began: self.log.len() };
                self.clients[by].transactions.insert(number, open);
            }
            1 if !open.is_empty() => self.end(by, *random.pick(&open), random.below(4) > 0),
            2 if self.clients[by].watches.len() < 6 => {
                let path = random_path(random);
                let token = format!("{}", self.log.len() + self.clients[by].watches.len());
                let answer = self.machine.watch(self.clients[by].connection, &path, &token);
                if answer.is_ok() {
                    self.clients[by].watches.push((path, token));
                }
            }
            3 if !self.clients[by].watches.is_empty() => {
                let at = random.below(self.clients[by].watches.len());
                let (path, token) = self.clients[by].watches.remove(at);
                assert_eq!(self.machine.unwatch(self.clients[by].connection, &path, &token), done());
            }
            4..12 if !open.is_empty() => {
                let (path, act, number) = (random_path(random), random_act(random), *random.pick(&open));
                let answer = self.ask(by, number, &path, &act);
                self.clients[by].transactions.get_mut(&number).unwrap().acts.push((path, act, answer));
                for client in 0..3 {
                    assert_eq!(self.heard(client), [] as [&str; 0]);
                }
            }
            _ => {
                let (path, act) = (random_path(random), random_act(random));
                let answer = self.ask(by, 0, &path, &act);
                let before = self.model.clone();
                let (expected, events) = self.model.act(self.clients[by].domain, &path, &act);
                assert_eq!(answer, expected, "{by} {path} {act:?}");
                for client in 0..3 {
                    let hears = events.iter().flat_map(|event| self.clients[client].hears(event, false));
                    let expected: BTreeSet<_> = hears.collect();
                    let heard = self.heard(client);
                    assert_eq!(heard.iter().cloned().collect::<BTreeSet<_>>(), expected, "{by} {path} {act:?}");
                    assert_eq!(heard.len(), expected.len());
                }
                self.note(&before, &events);
            }
        }
    }

    fn end(&mut self, by: usize, number: u32, commits: bool) {
        let open = self.clients[by].transactions.remove(&number).unwrap();
        let flag = if commits { b"T\0" } else { b"F\0" };
        self.machine.send(self.clients[by].connection, XS_TRANSACTION_END, number, flag);
        let answer = self.take_answer(by);
        let before = self.model.clone();
        let mut events = vec![];
        if !commits {
            assert_eq!(answer, done());
        } else if answer == done() {
            for (path, act, told) in &open.acts {
                let (expected, more) = self.model.act(self.clients[by].domain, path, act);
                assert_eq!(*told, expected, "{by} {path} {act:?}");
                events.extend(more);
            }
            let is_known = |path: &String| before.nodes.contains_key(path) || self.model.nodes.contains_key(path);
            events.retain(|event| is_known(&event.path));
            self.committed += 1;
        } else {
            assert_eq!(answer, refused("EAGAIN"));
            let touches = |changed: &String| {
                let removes = |act: &Act| matches!(act, Act::Remove);
                let touches = |(path, act, _): &(String, Act, Answer)| {
                    is_below(path, changed) || (removes(act) && is_below(changed, path))
                };
                open.acts.iter().any(touches)
            };
            assert!(self.log[open.began..].iter().any(touches), "{:?} {:?}", open.acts, &self.log[open.began..]);
            self.failed += 1;
        }
        for client in 0..3 {
            let heard: BTreeSet<_> = self.heard(client).into_iter().collect();
            let all = events.iter().flat_map(|event| self.clients[client].hears(event, true)).collect::<BTreeSet<_>>();
            // States in between may have been readable that never were to be seen.
            assert!(heard.is_subset(&all), "{heard:?} {all:?}");
            assert!(self.clients[client].domain != 0 || heard == all, "{heard:?} {all:?}");
        }
        self.note(&before, &events);
    }
}

#[test]
fn random_operations_do_what_the_model_does() {
    let mut random = Random::new(0x5eed_5eed_5eed_5eed);
    let (mut committed, mut failed) = (0, 0);
    for _ in 0..60 {
        let mut game = Game::new();
        for _ in 0..600 {
            game.step(&mut random);
        }
        assert!(game.machine.daemon.check());
        // In the end, all is the same.
        for (path, node) in game.model.nodes.clone() {
            let control = game.machine.control;
            assert_eq!(game.machine.read(control, &path), Ok(node.value), "{path}");
        }
        committed += game.committed;
        failed += game.failed;
    }
    assert!(committed > 200 && failed > 200, "{committed} {failed}");
}
