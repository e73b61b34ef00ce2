//! Operations on the tree.

use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;

use xen_abi::DomId;
use xen_abi::io::xs_wire::XENSTORE_PAYLOAD_MAX;

use crate::errno::Errno;
use crate::node::Node;
use crate::path::Path;
use crate::permission::{Permissions, Rights};
use crate::transaction::{Scope, View};

/// A node, for somebody who has the rights that are needed.
///
/// # Errors
///
/// `EACCES`: the rights are missing. `ENOENT`: it is missing. Who has none of the needed rights at the nearest node above
/// that exists does not learn which of the two it is.
pub(crate) fn find(view: &mut View<'_>, path: &Path, needed: Rights) -> Result<Rc<Node>, Errno> {
    if let Some(node) = view.node(path)? {
        return if node.permissions.rights(view.who).include(needed) { Ok(node) } else { Err(Errno::EACCES) };
    }
    if view.who.is_privileged() {
        return Err(Errno::ENOENT);
    }
    let rights = nearest(view, path)?.map(|(_, node)| node.permissions.rights(view.who));
    Err(if rights.is_some_and(|rights| rights.touch(needed)) { Errno::ENOENT } else { Errno::EACCES })
}

/// The nearest node above that exists. The root does.
fn nearest(view: &mut View<'_>, path: &Path) -> Result<Option<(Path, Rc<Node>)>, Errno> {
    let mut above = path.parent();
    while let Some(path) = above {
        if let Some(node) = view.node(&path)? {
            return Ok(Some((path, node)));
        }
        above = path.parent();
    }
    Ok(None)
}

/// READ.
pub(crate) fn read(view: &mut View<'_>, path: &Path) -> Result<Vec<u8>, Errno> {
    Ok(find(view, path, Rights::READ)?.value.clone())
}

/// DIRECTORY.
pub(crate) fn directory(view: &mut View<'_>, path: &Path) -> Result<Vec<u8>, Errno> {
    Ok(find(view, path, Rights::READ)?.names())
}

/// DIRECTORY_PART: the node's generation, and whole names from an offset in the list on. An empty name is its end.
pub(crate) fn directory_part(view: &mut View<'_>, path: &Path, offset: usize) -> Result<Vec<u8>, Errno> {
    let node = find(view, path, Rights::READ)?;
    let names = node.names();
    let mut answer = alloc::format!("{}\0", node.generation).into_bytes();
    // The end of the list needs a byte.
    let room = XENSTORE_PAYLOAD_MAX.saturating_sub(answer.len()).saturating_sub(1);
    let rest = names.get(offset..).unwrap_or_default();
    let mut taken = 0_usize;
    for name in rest.split_inclusive(|byte| *byte == 0) {
        let with_it = taken.saturating_add(name.len());
        if with_it > room {
            break;
        }
        taken = with_it;
    }
    answer.extend_from_slice(rest.get(..taken).unwrap_or_default());
    if taken == rest.len() {
        answer.push(0);
    }
    Ok(answer)
}

/// GET_PERMS.
pub(crate) fn permissions(view: &mut View<'_>, path: &Path) -> Result<Vec<u8>, Errno> {
    Ok(find(view, path, Rights::READ)?.permissions.encode())
}

/// SET_PERMS.
pub(crate) fn set_permissions(view: &mut View<'_>, path: &Path, permissions: Permissions) -> Result<(), Errno> {
    let old = find(view, path, Rights::OWN)?;
    if !view.who.is_privileged() && permissions.owner() != old.permissions.owner() {
        return Err(Errno::EPERM);
    }
    let new = Node { permissions, ..Node::clone(&old) };
    replace(view, path, old, new)
}

/// WRITE.
pub(crate) fn write(view: &mut View<'_>, path: &Path, value: &[u8]) -> Result<(), Errno> {
    match find(view, path, Rights::WRITE) {
        Ok(old) => {
            let new = Node { value: value.to_vec(), ..Node::clone(&old) };
            replace(view, path, old, new)
        }
        Err(Errno::ENOENT) => create(view, path, value),
        Err(error) => Err(error),
    }
}

/// MKDIR.
pub(crate) fn make_directory(view: &mut View<'_>, path: &Path) -> Result<(), Errno> {
    match find(view, path, Rights::WRITE) {
        Ok(_) => Ok(()),
        Err(Errno::ENOENT) => create(view, path, &[]),
        Err(error) => Err(error),
    }
}

/// RM.
pub(crate) fn remove(view: &mut View<'_>, path: &Path) -> Result<(), Errno> {
    match find(view, path, Rights::WRITE) {
        Ok(_) => remove_tree(view, path),
        // It is no error that a node is missing whose parent is there.
        Err(Errno::ENOENT) => {
            let parent = path.parent().ok_or(Errno::ENOENT)?;
            view.node(&parent)?.map(|_| ()).ok_or(Errno::ENOENT)
        }
        Err(error) => Err(error),
    }
}

/// Puts another state of a node in its place, and tells.
fn replace(view: &mut View<'_>, path: &Path, old: Rc<Node>, new: Node) -> Result<(), Errno> {
    view.check_sizes([(path, &new, Some(&*old))])?;
    let new = view.put(path, new);
    view.tell(path, Scope::Above, Some(old), Some(new));
    Ok(())
}

/// Makes a node that is missing, and those above it that are missing. They get the permissions of what they are made in; an
/// unprivileged domain owns what it makes.
fn create(view: &mut View<'_>, path: &Path, value: &[u8]) -> Result<(), Errno> {
    let (above, parent) = nearest(view, path)?.ok_or(Errno::ENOENT)?;
    let mut missing = vec![path.clone()];
    while let Some(path) = missing.last().and_then(Path::parent).filter(|path| *path != above) {
        missing.push(path);
    }
    if !view.has_room_for(missing.len()) {
        return Err(Errno::ENOSPC);
    }
    let mut permissions = parent.permissions.clone();
    if !view.who.is_privileged() {
        permissions = permissions.owned_by(view.who.domain);
    }
    // All states first, the way down: nothing is put before everything may be.
    let mut states = vec![(above, Node::clone(&parent), Some(&*parent))];
    for path in missing.into_iter().rev() {
        view.node(&path)?;
        if let Some((_, parent, _)) = states.last_mut() {
            parent.children.push(Rc::from(path.leaf()));
        }
        states.push((path, Node::new(permissions.clone()), None));
    }
    if let Some((_, node, _)) = states.last_mut() {
        node.value = value.to_vec();
    }
    view.check_sizes(states.iter().map(|(path, node, old)| (path, node, *old)))?;
    let new = states.into_iter().map(|(path, node, _)| view.put(&path, node)).last();
    view.tell(path, Scope::Above, None, new);
    Ok(())
}

/// Removes a node and all below it, children before parents. Quotas and permissions below it do not count.
pub(crate) fn remove_tree(view: &mut View<'_>, path: &Path) -> Result<(), Errno> {
    let above = path.parent().filter(|_| !path.is_special()).ok_or(Errno::EINVAL)?;
    let parent = view.node(&above)?.ok_or(Errno::ENOENT)?;
    // Nodes on the way down, each with how many of its children are done.
    let mut way = vec![(path.clone(), view.node(path)?.ok_or(Errno::ENOENT)?, 0_usize)];
    while let Some((at, node, done)) = way.last_mut() {
        if let Some(child) = node.children.get(*done) {
            *done = done.saturating_add(1);
            let child = at.child(child);
            if let Some(node) = view.node(&child)? {
                way.push((child, node, 0));
            }
            continue;
        }
        let Some((at, node, _)) = way.pop() else { break };
        let scope = if at == *path { Scope::Above } else { Scope::Node };
        view.tell(&at, scope, Some(node), None);
        view.remove(&at);
    }
    let mut parent = Node::clone(&parent);
    parent.children.retain(|child| **child != *path.leaf());
    view.put(&above, parent);
    Ok(())
}

/// Removes what a domain owned that is gone, and the rights that it had.
pub(crate) fn remove_domain(view: &mut View<'_>, domain: DomId) {
    for path in view.naming(domain) {
        // It may be gone by now, with a node above it.
        let Ok(Some(node)) = view.node(&path) else { continue };
        let is_owned = node.permissions.owner() == domain;
        if is_owned && remove_tree(view, &path).is_ok() {
            continue;
        }
        // The root and the special nodes stay.
        let permissions = node.permissions.clone().without(domain);
        view.put(&path, Node { permissions, ..Node::clone(&node) });
    }
}
