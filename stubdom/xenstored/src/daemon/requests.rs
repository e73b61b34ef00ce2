//! What requests do.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use xen_abi::DomId;
use xen_abi::io::xs_wire::{
    SockMsg, XENSTORE_PAYLOAD_MAX, XS_CONTROL, XS_DIRECTORY, XS_DIRECTORY_PART, XS_ERROR, XS_GET_DOMAIN_PATH,
    XS_GET_PERMS, XS_INTRODUCE, XS_IS_DOMAIN_INTRODUCED, XS_MKDIR, XS_READ, XS_RELEASE, XS_RESET_WATCHES, XS_RESUME,
    XS_RM, XS_SET_PERMS, XS_SET_TARGET, XS_TRANSACTION_END, XS_TRANSACTION_START, XS_UNWATCH, XS_WATCH, XS_WRITE,
};

use super::{ConnectionId, Daemon, Host};
use crate::connection::Cause;
use crate::errno::Errno;
use crate::path::{Home, Path, Rules};
use crate::permission::{Permissions, Who};
use crate::quota::Quotas;
use crate::transaction::View;
use crate::tree;
use crate::watch::Watch;
use crate::wire::{self, Request, at_least, exactly, number, one, strings};

/// The answer to what was done.
pub(super) const OK: &[u8] = b"OK\0";

/// A request, and who sent it.
pub(super) struct Asked<'a> {
    pub(super) connection: ConnectionId,
    pub(super) who: Who,
    pub(super) request: &'a Request,
    pub(super) cause: Cause,
}

/// An answer's payload.
pub(super) type Answer = Result<Vec<u8>, Errno>;

impl Daemon {
    /// Serves a request.
    pub(super) fn serve(&mut self, connection: ConnectionId, request: &Request, host: &mut impl Host) {
        let Some(client) = self.connections.get_mut(&connection) else { return };
        let asked = Asked { connection, who: client.who, request, cause: client.begin() };
        let answer = self.perform(&asked, host).and_then(|answer| {
            // What was done stays done.
            if answer.len() > XENSTORE_PAYLOAD_MAX { Err(Errno::E2BIG) } else { Ok(answer) }
        });
        let Some(client) = self.connections.get_mut(&connection) else { return };
        match &answer {
            Ok(answer) => client.answer(request.head, answer, asked.cause),
            Err(error) => {
                let name = format!("{error}\0");
                client.answer(SockMsg { kind: XS_ERROR, ..request.head }, name.as_bytes(), asked.cause);
            }
        }
        if let (XS_WATCH, Ok(_)) = (request.head.kind, &answer) {
            self.first_event(connection, host);
        }
    }

    fn perform(&mut self, asked: &Asked<'_>, host: &mut impl Host) -> Answer {
        let kind = asked.request.head.kind;
        let is_for_all = match kind {
            XS_DIRECTORY..=XS_TRANSACTION_END
            | XS_GET_DOMAIN_PATH..=XS_SET_PERMS
            | XS_RESET_WATCHES
            | XS_DIRECTORY_PART => true,
            XS_CONTROL | XS_INTRODUCE | XS_RELEASE | XS_IS_DOMAIN_INTRODUCED | XS_RESUME | XS_SET_TARGET => false,
            _ => return Err(Errno::ENOSYS),
        };
        if !is_for_all && !asked.who.is_privileged() {
            return Err(Errno::EACCES);
        }
        // Watches are of no transaction, whatever the head says.
        let transaction = asked.request.head.tx_id;
        let has_transaction = transaction != 0 && !matches!(kind, XS_WATCH | XS_UNWATCH);
        let client = self.connections.get(&asked.connection).ok_or(Errno::ENOENT)?;
        if has_transaction && !client.transactions.contains_key(&transaction) {
            return Err(Errno::ENOENT);
        }
        match kind {
            XS_WATCH => self.watch(asked),
            XS_UNWATCH => self.unwatch(asked),
            XS_RESET_WATCHES => self.reset_watches(asked),
            XS_TRANSACTION_START => self.start(asked),
            XS_TRANSACTION_END => self.end_transaction(asked, host),
            XS_GET_DOMAIN_PATH => {
                let domain = wire::domain(one(&asked.request.payload)?)?;
                Ok(format!("{}\0", Home(domain)).into_bytes())
            }
            XS_INTRODUCE => self.asked_to_introduce(asked, host),
            XS_RELEASE => self.asked_to_release(asked, host),
            XS_IS_DOMAIN_INTRODUCED => self.is_introduced(asked),
            XS_RESUME => self.resume(asked),
            XS_SET_TARGET => self.set_target(asked),
            XS_CONTROL => self.control(asked),
            _ => self.operate(asked, host),
        }
    }

    /// What is done with the tree.
    fn operate(&mut self, asked: &Asked<'_>, host: &impl Host) -> Answer {
        let client = self.connections.get_mut(&asked.connection).ok_or(Errno::ENOENT)?;
        let memory = client.memory();
        let transaction = client.transactions.get_mut(&asked.request.head.tx_id);
        // What the transaction keeps is counted there.
        let memory = memory.saturating_sub(transaction.as_ref().map_or(0, |transaction| transaction.memory()));
        let mut view = View::new(asked.who, &self.quotas, &mut self.store, transaction, memory);
        let domains = &self.domains;
        let exists = |domain| domain == DomId(0) || domains.contains_key(&domain) || host.exists(domain);
        let answer = operate(&mut view, asked.request, exists);
        let changes = view.into_changes();
        self.tell(&changes, Some(&asked.cause), host.now());
        answer
    }

    fn start(&mut self, asked: &Asked<'_>) -> Answer {
        let client = self.connections.get_mut(&asked.connection).ok_or(Errno::ENOENT)?;
        if asked.request.head.tx_id != 0 {
            return Err(Errno::EBUSY);
        }
        if !asked.who.is_privileged() && client.transactions.len() >= self.quotas.transactions {
            return Err(Errno::ENOSPC);
        }
        Ok(format!("{}\0", client.start()).into_bytes())
    }

    fn end_transaction(&mut self, asked: &Asked<'_>, host: &impl Host) -> Answer {
        let commits = match one(&asked.request.payload)? {
            b"T" => true,
            b"F" => false,
            _ => return Err(Errno::EINVAL),
        };
        let client = self.connections.get_mut(&asked.connection).ok_or(Errno::ENOENT)?;
        let transaction = client.transactions.remove(&asked.request.head.tx_id).ok_or(Errno::ENOENT)?;
        if commits {
            let changes = transaction.commit(&mut self.store, asked.who, &self.quotas)?;
            self.tell(&changes, Some(&asked.cause), host.now());
        }
        Ok(OK.to_vec())
    }

    fn watch(&mut self, asked: &Asked<'_>) -> Answer {
        let payload = &asked.request.payload;
        let [name, token] = at_least(payload)?;
        let depth = match strings(payload).nth(2) {
            Some(_) if strings(payload).nth(3).is_some() => return Err(Errno::EINVAL),
            Some(depth) => Some(number(depth)?),
            None => None,
        };
        let path = path(asked.who, &self.quotas, name, true)?;
        let client = self.connections.get_mut(&asked.connection).ok_or(Errno::ENOENT)?;
        if client.watches.iter().any(|watch| watch.path == path && *watch.token == *token) {
            return Err(Errno::EEXIST);
        }
        if !asked.who.is_privileged() {
            if client.watches.len() >= self.quotas.watches {
                return Err(Errno::E2BIG);
            }
            let nodes = self.store.usage(asked.who.domain).memory;
            let all =
                [client.memory(), nodes, path.as_str().len()].into_iter().fold(token.len(), usize::saturating_add);
            if all > self.quotas.memory {
                return Err(Errno::ENOMEM);
            }
        }
        let omitted = path.as_str().len().saturating_sub(name.len());
        client.watch(Watch { path, token: Box::from(token), omitted, depth });
        Ok(OK.to_vec())
    }

    /// A watch that was just added fires once.
    fn first_event(&mut self, connection: ConnectionId, host: &impl Host) {
        let Some(client) = self.connections.get_mut(&connection) else { return };
        let Some(event) = client.watches.last().map(|watch| watch.event(&watch.path)) else { return };
        let nodes = self.store.usage(client.who.domain).memory;
        client.notify(&event, None, host.now(), &self.quotas, nodes);
    }

    fn unwatch(&mut self, asked: &Asked<'_>) -> Answer {
        let [name, token] = exactly(&asked.request.payload)?;
        let path = path(asked.who, &self.quotas, name, true)?;
        let client = self.connections.get_mut(&asked.connection).ok_or(Errno::ENOENT)?;
        let is_found = client.unwatch(|watch| watch.path == path && *watch.token == *token);
        if is_found { Ok(OK.to_vec()) } else { Err(Errno::ENOENT) }
    }

    fn reset_watches(&mut self, asked: &Asked<'_>) -> Answer {
        let client = self.connections.get_mut(&asked.connection).ok_or(Errno::ENOENT)?;
        client.unwatch(|_| true);
        client.transactions.clear();
        Ok(OK.to_vec())
    }
}

/// A path that a client wrote.
fn path(who: Who, quotas: &Quotas, text: &[u8], special: bool) -> Result<Path, Errno> {
    let longest = Some(quotas.path).filter(|_| !who.is_privileged());
    Path::decode(text, &Rules { home: who.domain, special, longest })
}

/// What is done with the tree. `exists`: whether there is a domain of a number.
fn operate(view: &mut View<'_>, request: &Request, exists: impl Fn(DomId) -> bool) -> Answer {
    let payload = &*request.payload;
    let (who, quotas) = (view.who, view.quotas);
    let only = |special| path(who, quotas, one(payload)?, special);
    let done = |result: Result<(), Errno>| result.map(|()| OK.to_vec());
    match request.head.kind {
        XS_READ => tree::read(view, &only(false)?),
        XS_DIRECTORY => tree::directory(view, &only(false)?),
        XS_DIRECTORY_PART => {
            let [name, offset] = exactly(payload)?;
            tree::directory_part(view, &path(who, quotas, name, false)?, number(offset)?)
        }
        XS_GET_PERMS => tree::permissions(view, &only(true)?),
        XS_MKDIR => done(tree::make_directory(view, &only(false)?)),
        XS_RM => done(tree::remove(view, &only(false)?)),
        XS_WRITE => {
            let [name] = at_least(payload)?;
            let value = payload.get(name.len().saturating_add(1)..).unwrap_or_default();
            done(tree::write(view, &path(who, quotas, name, false)?, value))
        }
        XS_SET_PERMS => {
            let mut words = strings(payload);
            let name = words.next().ok_or(Errno::EINVAL)?;
            if !who.is_privileged() && words.clone().count() > quotas.permissions {
                return Err(Errno::ENOSPC);
            }
            let permissions = Permissions::decode(words, exists)?;
            done(tree::set_permissions(view, &path(who, quotas, name, true)?, permissions))
        }
        _ => Err(Errno::ENOSYS),
    }
}
