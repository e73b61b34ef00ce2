//! What a domain other than domain 0 may use up.

/// Limits on each domain other than domain 0. What would exceed one is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Nodes that a domain owns. Beyond: ENOSPC.
    pub nodes: usize,
    /// Watches of a connection. Beyond: E2BIG, as Xen 4.17 says it.
    pub watches: usize,
    /// Transactions of a connection at a time. Beyond: ENOSPC.
    pub transactions: usize,
    /// Nodes that a transaction reads or writes. Beyond: ENOSPC, and the transaction cannot be committed.
    pub transaction_nodes: usize,
    /// Bytes of a node as Xen counts them, with permissions and names of children. From there on: ENOSPC.
    pub node_size: usize,
    /// Entries in a node's permissions. Beyond: ENOSPC.
    pub permissions: usize,
    /// Bytes of a path, not counting `/local/domain/<domid>/`. Beyond: EINVAL.
    pub path: usize,
    /// Requests whose answer, or an event that they caused, was not fetched yet. No further ones are read meanwhile.
    pub outstanding: usize,
    /// Bytes of all that a domain has here: nodes, watches, transactions, answers and events. Beyond: ENOMEM; events are lost.
    pub memory: usize,
    /// Milliseconds after which an event that was not fetched is dropped.
    pub event_timeout: u64,
}

impl Quotas {
    /// Those of Xen 4.17.
    pub const XEN: Self = Self {
        nodes: 1000,
        watches: 128,
        transactions: 10,
        transaction_nodes: 1024,
        node_size: 2048,
        permissions: 5,
        path: 2048,
        outstanding: 20,
        memory: 2560 * 1024,
        event_timeout: 20_000,
    };
}

impl Default for Quotas {
    fn default() -> Self {
        Self::XEN
    }
}
