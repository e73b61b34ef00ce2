//! The tree, and what each domain has of it.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;

use xen_abi::DomId;

use crate::node::Node;
use crate::path::Path;
use crate::permission::Permissions;

/// What a domain owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Nodes.
    pub(crate) nodes: usize,
    /// Their bytes, with their paths.
    pub(crate) memory: usize,
}

/// All nodes, and those that hold the permissions of special watches.
///
/// Invariant: every node but the root is among the children of its parent, which exists. [`Store::check`] tells.
#[derive(Debug)]
pub(crate) struct Store {
    nodes: BTreeMap<Path, Rc<Node>>,
    usage: BTreeMap<DomId, Usage>,
    generation: u64,
}

/// What an event is sent for when a domain appears.
pub(crate) const INTRODUCE: &str = "@introduceDomain";
/// What an event is sent for when a domain stops or is gone.
pub(crate) const RELEASE: &str = "@releaseDomain";

impl Store {
    /// What Xen's daemon begins with.
    pub(crate) fn new() -> Self {
        let mut store = Self { nodes: BTreeMap::new(), usage: BTreeMap::new(), generation: 0 };
        for (path, child) in [
            ("/", Some("tool")),
            ("/tool", Some("xenstored")),
            ("/tool/xenstored", None),
            (INTRODUCE, None),
            (RELEASE, None),
        ] {
            let mut node = Node::new(Permissions::of(DomId(0)));
            node.children.extend(child.map(Rc::from));
            node.generation = store.next_generation();
            store.put(&Path::known(path), Rc::new(node));
        }
        store
    }

    /// A number that no state of a node has had.
    pub(crate) fn next_generation(&mut self) -> u64 {
        // It does not come to its end in the life of a machine.
        self.generation = self.generation.wrapping_add(1);
        self.generation
    }

    /// A node.
    pub(crate) fn get(&self, path: &Path) -> Option<&Rc<Node>> {
        self.nodes.get(path)
    }

    /// Puts a node in its place.
    pub(crate) fn put(&mut self, path: &Path, node: Rc<Node>) {
        let usage = self.usage.entry(node.permissions.owner()).or_default();
        usage.nodes = usage.nodes.saturating_add(1);
        usage.memory = usage.memory.saturating_add(weight(path, &node));
        if let Some(old) = self.nodes.insert(path.clone(), node) {
            self.forget(path, &old);
        }
    }

    /// Takes a node away.
    pub(crate) fn remove(&mut self, path: &Path) {
        if let Some(old) = self.nodes.remove(path) {
            self.forget(path, &old);
        }
    }

    fn forget(&mut self, path: &Path, node: &Node) {
        let owner = node.permissions.owner();
        let usage = self.usage.entry(owner).or_default();
        usage.nodes = usage.nodes.saturating_sub(1);
        usage.memory = usage.memory.saturating_sub(weight(path, node));
        if usage.nodes == 0 {
            self.usage.remove(&owner);
        }
    }

    /// What a domain owns.
    pub(crate) fn usage(&self, domain: DomId) -> Usage {
        self.usage.get(&domain).copied().unwrap_or_default()
    }

    /// The paths of nodes whose permissions name a domain, parents before children.
    pub(crate) fn naming(&self, domain: DomId) -> Vec<Path> {
        let named = self.nodes.iter().filter(|(_, node)| node.permissions.name(domain));
        named.map(|(path, _)| path.clone()).collect()
    }

    /// Whether the invariant holds and the accounts are right.
    pub(crate) fn check(&self) -> bool {
        let mut usage = BTreeMap::<DomId, Usage>::new();
        for (path, node) in &self.nodes {
            let account = usage.entry(node.permissions.owner()).or_default();
            account.nodes = account.nodes.saturating_add(1);
            account.memory = account.memory.saturating_add(weight(path, node));
            let is_listed = match path.parent() {
                Some(parent) if !path.is_special() => self
                    .nodes
                    .get(&parent)
                    .is_some_and(|parent| parent.children.iter().filter(|child| ***child == *path.leaf()).count() == 1),
                _ => true,
            };
            let all_are_there = node.children.iter().all(|child| self.nodes.contains_key(&path.child(child)));
            if !is_listed || !all_are_there {
                return false;
            }
        }
        usage == self.usage
    }
}

/// Bytes that a node takes.
pub(crate) fn weight(path: &Path, node: &Node) -> usize {
    node.size().saturating_add(path.as_str().len())
}
