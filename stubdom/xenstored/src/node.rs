//! A node of the tree.

use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::permission::Permissions;

/// A node: what is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Any bytes.
    pub(crate) value: Vec<u8>,
    /// Who may do what.
    pub(crate) permissions: Permissions,
    /// Names of the children, in the order in which they were made.
    pub(crate) children: Vec<Rc<str>>,
    /// No two states of nodes have the same one.
    pub(crate) generation: u64,
}

/// Bytes of a node's head and of an entry of its permissions, where Xen 4.17 counts the size of nodes.
const HEAD: usize = 24;
const ENTRY: usize = 8;

impl Node {
    /// A node without value and children.
    pub(crate) fn new(permissions: Permissions) -> Self {
        Self { value: Vec::new(), permissions, children: Vec::new(), generation: 0 }
    }

    /// Bytes, as quotas count them.
    pub(crate) fn size(&self) -> usize {
        let children = self.children.iter().map(|child| child.len().saturating_add(1));
        let parts = [HEAD, self.permissions.len().saturating_mul(ENTRY), self.value.len()];
        parts.into_iter().chain(children).fold(0, usize::saturating_add)
    }

    /// The names of the children, each followed by a zero byte.
    pub(crate) fn names(&self) -> Vec<u8> {
        let mut names = Vec::new();
        for child in &self.children {
            names.extend_from_slice(child.as_bytes());
            names.push(0);
        }
        names
    }
}
