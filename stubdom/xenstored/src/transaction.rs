//! Transactions, and the store as an operation sees it: through a transaction, or directly.
//!
//! A transaction keeps the state of each node from when it first looked at it, and what it makes of it; the store stays as
//! it is until the commit. The commit fails when one of these nodes is no longer what it was. So what a transaction did is as
//! if nobody else had done anything between its first and its last request, and a change elsewhere does not disturb it.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;

use xen_abi::DomId;

use crate::errno::Errno;
use crate::node::Node;
use crate::path::Path;
use crate::permission::Who;
use crate::quota::Quotas;
use crate::store::{Store, weight};

/// Whom a change of a node is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Who watches the node: it went with its parent, whose watchers hear of that.
    Node,
    /// Who watches the node or one above.
    Above,
}

/// A node that was changed. Whoever may read one of the three states may know.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) path: Path,
    pub(crate) scope: Scope,
    /// As it was.
    pub(crate) old: Option<Rc<Node>>,
    /// As it is.
    pub(crate) new: Option<Rc<Node>>,
    /// The node above.
    pub(crate) parent: Option<Rc<Node>>,
}

/// A node that a transaction looked at.
#[derive(Debug)]
struct Access {
    /// As it was then.
    base: Option<Rc<Node>>,
    /// As the transaction sees it.
    node: Option<Rc<Node>>,
    is_modified: bool,
    /// Whether and whom to tell, and as which one in order.
    told: Option<(usize, Scope)>,
}

/// What a transaction saw and wants.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    accessed: BTreeMap<Path, Access>,
    changes: usize,
    memory: usize,
    /// A request in it failed half way.
    has_failed: bool,
    /// It gives rights to a domain that is gone.
    is_stale: bool,
}

impl Transaction {
    /// Bytes that it keeps.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// A domain is gone: another one may get its number, but not what this transaction would give it.
    pub(crate) fn forget(&mut self, domain: DomId) {
        self.is_stale |= self
            .accessed
            .values()
            .any(|access| access.is_modified && access.node.as_ref().is_some_and(|node| node.permissions.name(domain)));
    }

    /// Nodes of a domain that it makes, and those that it removes.
    fn nodes_of(&self, domain: DomId) -> (usize, usize) {
        let owned =
            |node: &Option<Rc<Node>>| usize::from(node.as_ref().is_some_and(|n| n.permissions.owner() == domain));
        self.accessed.values().filter(|access| access.is_modified).fold((0, 0), |(made, removed), access| {
            (made.saturating_add(owned(&access.node)), removed.saturating_add(owned(&access.base)))
        })
    }

    /// Makes what it wants so. Gives what to tell watchers.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: something that it saw has changed. `ENOSPC`: its domain would have too many nodes. `ENOMEM`: a request in it
    /// had failed half way.
    pub(crate) fn commit(self, store: &mut Store, who: Who, quotas: &Quotas) -> Result<Vec<Change>, Errno> {
        if self.has_failed {
            return Err(Errno::ENOMEM);
        }
        let (made, removed) = self.nodes_of(who.domain);
        let nodes = store.usage(who.domain).nodes.saturating_add(made).saturating_sub(removed);
        if !who.is_privileged() && made > removed && nodes > quotas.nodes {
            return Err(Errno::ENOSPC);
        }
        let generation = |node: Option<&Rc<Node>>| node.map(|node| node.generation);
        let is_same =
            |(path, access): (&Path, &Access)| generation(store.get(path)) == generation(access.base.as_ref());
        if self.is_stale || !self.accessed.iter().all(is_same) {
            return Err(Errno::EAGAIN);
        }
        for (path, access) in self.accessed.iter().filter(|(_, access)| access.is_modified) {
            match &access.node {
                Some(node) => {
                    let generation = store.next_generation();
                    store.put(path, Rc::new(Node { generation, ..Node::clone(node) }));
                }
                None => store.remove(path),
            }
        }
        let parent = |path: &Path| {
            let parent = path.parent()?;
            let base = self.accessed.get(&parent).and_then(|access| access.base.clone());
            store.get(&parent).cloned().or(base)
        };
        let mut told: Vec<_> = self
            .accessed
            .iter()
            // Nobody knew a node that was made and removed again.
            .filter(|(_, access)| access.base.is_some() || access.node.is_some())
            .filter_map(|(path, access)| access.told.map(|(order, scope)| (order, scope, path, access)))
            .collect();
        told.sort_by_key(|(order, ..)| *order);
        let changes = told.into_iter().map(|(_, scope, path, access)| Change {
            path: path.clone(),
            scope,
            old: access.base.clone(),
            new: access.node.clone(),
            parent: parent(path),
        });
        Ok(changes.collect())
    }
}

/// The store as one operation sees it.
pub(crate) struct View<'a> {
    /// Who operates.
    pub(crate) who: Who,
    /// What it may use up.
    pub(crate) quotas: &'a Quotas,
    store: &'a mut Store,
    transaction: Option<&'a mut Transaction>,
    /// Bytes that the domain has beside its nodes.
    memory: usize,
    changes: Vec<Change>,
}

impl<'a> View<'a> {
    /// The store, in a transaction or not. `memory`: bytes that the domain has here beside its nodes.
    pub(crate) fn new(
        who: Who,
        quotas: &'a Quotas,
        store: &'a mut Store,
        transaction: Option<&'a mut Transaction>,
        memory: usize,
    ) -> Self {
        Self { who, quotas, store, transaction, memory, changes: Vec::new() }
    }

    /// What to tell watchers now.
    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.changes
    }

    /// A node.
    pub(crate) fn node(&mut self, path: &Path) -> Result<Option<Rc<Node>>, Errno> {
        let node = self.store.get(path).cloned();
        let Some(transaction) = &mut self.transaction else { return Ok(node) };
        if let Some(access) = transaction.accessed.get(path) {
            return Ok(access.node.clone());
        }
        let weight = node.as_ref().map_or(path.as_str().len(), |node| weight(path, node));
        if !self.who.is_privileged() {
            let nodes = self.store.usage(self.who.domain).memory;
            let all = [nodes, self.memory, transaction.memory].into_iter().fold(weight, usize::saturating_add);
            let has_many = transaction.accessed.len() >= self.quotas.transaction_nodes;
            if has_many || all > self.quotas.memory {
                transaction.has_failed = true;
                return Err(if has_many { Errno::ENOSPC } else { Errno::ENOMEM });
            }
        }
        transaction.memory = transaction.memory.saturating_add(weight);
        let access = Access { base: node.clone(), node: node.clone(), is_modified: false, told: None };
        transaction.accessed.insert(path.clone(), access);
        Ok(node)
    }

    /// Whether the domain may have so many nodes more.
    pub(crate) fn has_room_for(&self, nodes: usize) -> bool {
        if self.who.is_privileged() {
            return true;
        }
        let domain = self.who.domain;
        let (made, removed) = self.transaction.as_ref().map_or((0, 0), |transaction| transaction.nodes_of(domain));
        let all = self.store.usage(domain).nodes.saturating_add(made).saturating_sub(removed).saturating_add(nodes);
        all <= self.quotas.nodes
    }

    /// Whether such states may take the place of others, as far as their sizes go.
    ///
    /// # Errors
    ///
    /// `ENOSPC`: a node would be too large. `ENOMEM`: the domain would have too much.
    pub(crate) fn check_sizes<'n>(
        &self,
        states: impl IntoIterator<Item = (&'n Path, &'n Node, Option<&'n Node>)>,
    ) -> Result<(), Errno> {
        if self.who.is_privileged() {
            return Ok(());
        }
        let mut more = 0_usize;
        for (path, new, old) in states {
            if new.size() >= self.quotas.node_size {
                return Err(Errno::ENOSPC);
            }
            // A transaction keeps both.
            let old = old.filter(|_| self.transaction.is_none()).map_or(0, |old| weight(path, old));
            more = more.saturating_add(weight(path, new).saturating_sub(old));
        }
        let kept = self.transaction.as_ref().map_or(0, |transaction| transaction.memory);
        let nodes = self.store.usage(self.who.domain).memory;
        let all = [nodes, self.memory, kept].into_iter().fold(more, usize::saturating_add);
        if more > 0 && all > self.quotas.memory { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Puts a node in its place. It has been looked at before.
    pub(crate) fn put(&mut self, path: &Path, mut node: Node) -> Rc<Node> {
        node.generation = self.store.next_generation();
        let node = Rc::new(node);
        match &mut self.transaction {
            Some(transaction) => transaction.modify(path, Some(node.clone())),
            None => self.store.put(path, node.clone()),
        }
        node
    }

    /// Takes a node away. It has been looked at before.
    pub(crate) fn remove(&mut self, path: &Path) {
        match &mut self.transaction {
            Some(transaction) => transaction.modify(path, None),
            None => self.store.remove(path),
        }
    }

    /// Tells watchers, now or at the commit. When a node is removed, the one above still has to be there.
    pub(crate) fn tell(&mut self, path: &Path, scope: Scope, old: Option<Rc<Node>>, new: Option<Rc<Node>>) {
        let Some(transaction) = &mut self.transaction else {
            let parent = path.parent().and_then(|parent| self.store.get(&parent)).cloned();
            self.changes.push(Change { path: path.clone(), scope, old, new, parent });
            return;
        };
        if let Some(access) = transaction.accessed.get_mut(path) {
            let (order, before) = access.told.unwrap_or((transaction.changes, scope));
            // What was told to more stays told to them.
            let scope = if before == Scope::Above { before } else { scope };
            access.told = Some((order, scope));
            transaction.changes = transaction.changes.saturating_add(1);
        }
    }

    /// The paths of nodes whose permissions name a domain, parents before children.
    pub(crate) fn naming(&self, domain: DomId) -> Vec<Path> {
        self.store.naming(domain)
    }
}

impl Transaction {
    fn modify(&mut self, path: &Path, node: Option<Rc<Node>>) {
        let Some(access) = self.accessed.get_mut(path) else { return };
        if access.is_modified {
            let old = access.node.as_ref().map_or(0, |node| weight(path, node));
            self.memory = self.memory.saturating_sub(old);
        }
        let new = node.as_ref().map_or(0, |node| weight(path, node));
        self.memory = self.memory.saturating_add(new);
        access.is_modified = true;
        access.node = node;
    }
}
