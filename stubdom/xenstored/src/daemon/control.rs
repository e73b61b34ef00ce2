//! CONTROL, as far as it is about the store: `help`, `check` and `quota`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Daemon;
use super::requests::{Answer, Asked, OK};
use crate::errno::Errno;
use crate::wire::{at_least, domain, strings};

const HELP: &[u8] = b"check           \nquota           [<domid>]\nhelp            \n\0";

impl Daemon {
    /// CONTROL.
    pub(super) fn control(&self, asked: &Asked<'_>) -> Answer {
        let [command] = at_least(&asked.request.payload)?;
        let arguments: Vec<_> = strings(&asked.request.payload).skip(1).take(2).collect();
        match (command, &*arguments) {
            (b"help", []) => Ok(HELP.to_vec()),
            (b"check", []) => {
                if self.check() {
                    Ok(OK.to_vec())
                } else {
                    Err(Errno::EIO)
                }
            }
            (b"quota", []) => Ok(self.limits()),
            (b"quota", [id]) => self.usage(id),
            _ => Err(Errno::EINVAL),
        }
    }

    fn limits(&self) -> Vec<u8> {
        let quotas = &self.quotas;
        let mut text = String::from("Quota settings:\n");
        for (name, value, what) in [
            ("nodes", quotas.nodes, "Nodes per domain"),
            ("watches", quotas.watches, "Watches per domain"),
            ("transactions", quotas.transactions, "Active transactions per domain"),
            ("outstanding", quotas.outstanding, "Outstanding requests per domain"),
            ("transaction-nodes", quotas.transaction_nodes, "Max. number of accessed nodes per transaction"),
            ("memory", quotas.memory, "Total Xenstore memory per domain"),
            ("node-size", quotas.node_size, "Max. size of a node"),
            ("path-max", quotas.path, "Max. length of a node path"),
            ("node-permissions", quotas.permissions, "Max. number of permissions per node"),
        ] {
            text.push_str(&format!("{name:<17}: {value:8} {what}\n"));
        }
        text.push('\0');
        text.into_bytes()
    }

    fn usage(&self, id: &[u8]) -> Answer {
        let id = domain(id)?;
        let connection = self.connection(id).ok_or(Errno::ENOENT)?;
        let client = self.connections.get(&connection).ok_or(Errno::ENOENT)?;
        let usage = self.store.usage(id);
        let mut text = format!("Domain {}:\n", id.0);
        for (name, value) in [
            ("nodes", usage.nodes),
            ("watches", client.watches.len()),
            ("transactions", client.transactions.len()),
            ("memory", usage.memory.saturating_add(client.memory())),
        ] {
            text.push_str(&format!("{name:<17}: {value:8}\n"));
        }
        text.push('\0');
        Ok(text.into_bytes())
    }
}
