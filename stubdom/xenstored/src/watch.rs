//! Watches.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::node::Node;
use crate::path::Path;
use crate::permission::{Rights, Who};
use crate::store::{INTRODUCE, RELEASE};
use crate::transaction::{Change, Scope};

/// A watch of a connection.
#[derive(Debug)]
pub(crate) struct Watch {
    /// What is watched.
    pub(crate) path: Path,
    /// What the client calls it.
    pub(crate) token: Box<[u8]>,
    /// Bytes of the path that the client left out, and that events leave out.
    pub(crate) omitted: usize,
    /// How many levels below the path are watched, too. `None`: all.
    pub(crate) depth: Option<usize>,
}

impl Watch {
    /// Bytes that it takes.
    pub(crate) fn weight(&self) -> usize {
        self.path.as_str().len().saturating_add(self.token.len())
    }

    /// An event's payload.
    pub(crate) fn event(&self, path: &Path) -> Vec<u8> {
        let path = path.as_str().get(self.omitted..).unwrap_or_default();
        let mut payload = Vec::with_capacity(path.len().saturating_add(self.token.len()).saturating_add(2));
        payload.extend_from_slice(path.as_bytes());
        payload.push(0);
        payload.extend_from_slice(&self.token);
        payload.push(0);
        payload
    }

    /// Whether it is about a change.
    pub(crate) fn sees(&self, change: &Change) -> bool {
        // A large tree that is removed is many changes, and most of them are of no watch: equality is found out quickly.
        match change.scope {
            Scope::Node => change.path == self.path,
            Scope::Above => {
                let levels = change.path.levels_below(&self.path);
                levels.is_some_and(|levels| self.depth.is_none_or(|depth| levels <= depth))
            }
        }
    }
}

/// Whether somebody may know of a change: who could read the node, can read it or the one above it.
pub(crate) fn may_know(who: Who, change: &Change) -> bool {
    let can_read =
        |node: &Option<Rc<Node>>| node.as_ref().is_some_and(|node| node.permissions.rights(who).include(Rights::READ));
    can_read(&change.old) || can_read(&change.new) || (!change.path.is_special() && can_read(&change.parent))
}

/// What happened to a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// It is connected now.
    Introduced,
    /// It stopped, or is gone.
    Released,
}

impl Occasion {
    /// The special path that stands for it.
    pub(crate) fn path(self) -> Path {
        Path::known(match self {
            Self::Introduced => INTRODUCE,
            Self::Released => RELEASE,
        })
    }

    /// What a watch hears of it: the plain name without a depth; the domain's own name where that is watched, or with a depth
    /// of at least 1.
    pub(crate) fn heard_by(self, watch: &Watch, of_domain: &Path) -> Option<Path> {
        let plain = self.path();
        let hears_domain =
            watch.path == *of_domain || (watch.path == plain && watch.depth.is_some_and(|depth| depth > 0));
        if hears_domain {
            Some(of_domain.clone())
        } else if watch.path == plain && watch.depth.is_none() {
            Some(plain)
        } else {
            None
        }
    }
}
