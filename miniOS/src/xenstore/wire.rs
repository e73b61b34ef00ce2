//! Messages of the xenstore protocol, to bytes and back. No connection, no state.
//!
//! Source: Xen's docs/misc/xenstore.txt and public/io/xs_wire.h.
//!
//! Invariant: no length, index or text from the other side is believed before it was checked here.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use xen_abi::DomId;
use xen_abi::io::xs_wire::{self, XSD_ERRORS};

/// Bytes that may follow a header.
pub const PAYLOAD_MAX: usize = xs_wire::XENSTORE_PAYLOAD_MAX;

/// Bytes in a header.
pub const HEADER_LEN: usize = 16;

/// What a message is, `enum xsd_sockmsg_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Operation {
    /// Lists the children of a node.
    Directory = xs_wire::XS_DIRECTORY,
    /// Reads a node.
    Read = xs_wire::XS_READ,
    /// Reads a node's permissions.
    GetPermissions = xs_wire::XS_GET_PERMS,
    /// Starts watching a node and all below it.
    Watch = xs_wire::XS_WATCH,
    /// Stops watching.
    Unwatch = xs_wire::XS_UNWATCH,
    /// Starts a transaction.
    TransactionStart = xs_wire::XS_TRANSACTION_START,
    /// Commits or discards a transaction.
    TransactionEnd = xs_wire::XS_TRANSACTION_END,
    /// Asks for the home directory of a domain.
    GetDomainPath = xs_wire::XS_GET_DOMAIN_PATH,
    /// Writes a node, and makes it and its parents where they are missing.
    Write = xs_wire::XS_WRITE,
    /// Makes a node and its parents.
    MakeDirectory = xs_wire::XS_MKDIR,
    /// Removes a node and all below it.
    Remove = xs_wire::XS_RM,
    /// Sets a node's permissions.
    SetPermissions = xs_wire::XS_SET_PERMS,
    /// Unasked: a watched node changed.
    WatchEvent = xs_wire::XS_WATCH_EVENT,
    /// Answer: the request failed.
    Error = xs_wire::XS_ERROR,
    /// Asks whether a domain is connected to the store.
    IsDomainIntroduced = xs_wire::XS_IS_DOMAIN_INTRODUCED,
    /// Lists some of the children of a node that has many.
    DirectoryPart = xs_wire::XS_DIRECTORY_PART,
}

impl Operation {
    /// The operation with a number of the protocol, if we know it.
    #[must_use]
    pub const fn decode(number: u32) -> Option<Self> {
        Some(match number {
            xs_wire::XS_DIRECTORY => Self::Directory,
            xs_wire::XS_READ => Self::Read,
            xs_wire::XS_GET_PERMS => Self::GetPermissions,
            xs_wire::XS_WATCH => Self::Watch,
            xs_wire::XS_UNWATCH => Self::Unwatch,
            xs_wire::XS_TRANSACTION_START => Self::TransactionStart,
            xs_wire::XS_TRANSACTION_END => Self::TransactionEnd,
            xs_wire::XS_GET_DOMAIN_PATH => Self::GetDomainPath,
            xs_wire::XS_WRITE => Self::Write,
            xs_wire::XS_MKDIR => Self::MakeDirectory,
            xs_wire::XS_RM => Self::Remove,
            xs_wire::XS_SET_PERMS => Self::SetPermissions,
            xs_wire::XS_WATCH_EVENT => Self::WatchEvent,
            xs_wire::XS_ERROR => Self::Error,
            xs_wire::XS_IS_DOMAIN_INTRODUCED => Self::IsDomainIntroduced,
            xs_wire::XS_DIRECTORY_PART => Self::DirectoryPart,
            _ => return None,
        })
    }

    /// The number of the operation.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "list",
            Self::Read => "read",
            Self::GetPermissions => "read permissions of",
            Self::Watch => "watch",
            Self::Unwatch => "unwatch",
            Self::TransactionStart => "start a transaction",
            Self::TransactionEnd => "end a transaction",
            Self::GetDomainPath => "find the path of domain",
            Self::Write => "write",
            Self::MakeDirectory => "make directory",
            Self::Remove => "remove",
            Self::SetPermissions => "set permissions of",
            Self::WatchEvent => "watch event",
            Self::Error => "error",
            Self::IsDomainIntroduced => "look for domain",
            Self::DirectoryPart => "list part of",
        })
    }
}

/// The head of a message, `struct xsd_sockmsg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The number of the operation; see [`Operation::decode`].
    pub operation: u32,
    /// The request's number, which its answer repeats.
    pub request: u32,
    /// The transaction that the request is part of, or 0.
    pub transaction: u32,
    /// Bytes that follow.
    pub len: u32,
}

impl Header {
    /// To bytes, as x86 stores them.
    #[must_use]
    pub fn encode(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let fields = [self.operation, self.request, self.transaction, self.len];
        for (to, field) in bytes.chunks_exact_mut(4).zip(fields) {
            to.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    /// From bytes.
    #[must_use]
    pub fn decode(bytes: [u8; HEADER_LEN]) -> Self {
        let mut fields = [0; 4];
        for (field, from) in fields.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *field = u32::from_le_bytes(*from);
        }
        let [operation, request, transaction, len] = fields;
        Self { operation, request, transaction, len }
    }

    /// Bytes that follow, if that is not more than the protocol allows.
    #[must_use]
    pub fn payload_len(self) -> Option<usize> {
        usize::try_from(self.len).ok().filter(|len| *len <= PAYLOAD_MAX)
    }
}

/// Why xenstored refused a request: the name of an errno value, as it sends it. In the order of [`XSD_ERRORS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Malformed request or value.
    EINVAL,
    /// The permissions do not allow it.
    EACCES,
    /// It exists already.
    EEXIST,
    /// Not used by any known daemon.
    EISDIR,
    /// There is no such node.
    ENOENT,
    /// The daemon is short of memory.
    ENOMEM,
    /// A quota is exhausted.
    ENOSPC,
    /// The daemon's database is broken.
    EIO,
    /// Not used by any known daemon.
    ENOTEMPTY,
    /// The daemon does not know the request.
    ENOSYS,
    /// The daemon is read-only.
    EROFS,
    /// Too many transactions, or the domain is busy.
    EBUSY,
    /// Somebody else changed what the transaction looked at.
    EAGAIN,
    /// The domain is connected already.
    EISCONN,
    /// The request or its answer is too long.
    E2BIG,
    /// Only privileged domains may ask.
    EPERM,
    /// A name that the protocol does not list.
    Unknown,
}

/// All that the protocol lists, in the order of its names.
const REFUSALS: [Refusal; XSD_ERRORS.len()] = [
    Refusal::EINVAL,
    Refusal::EACCES,
    Refusal::EEXIST,
    Refusal::EISDIR,
    Refusal::ENOENT,
    Refusal::ENOMEM,
    Refusal::ENOSPC,
    Refusal::EIO,
    Refusal::ENOTEMPTY,
    Refusal::ENOSYS,
    Refusal::EROFS,
    Refusal::EBUSY,
    Refusal::EAGAIN,
    Refusal::EISCONN,
    Refusal::E2BIG,
    Refusal::EPERM,
];

impl Refusal {
    /// From the payload of an error answer.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Self {
        let name = payload.split(|byte| *byte == 0).next().unwrap_or_default();
        let known = XSD_ERRORS.iter().zip(REFUSALS).find(|(text, _)| text.as_bytes() == name);
        known.map_or(Self::Unknown, |(_, refusal)| refusal)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(XSD_ERRORS.get(*self as usize).copied().unwrap_or("an error that the protocol does not list"))
    }
}

/// What a domain may do with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    None,
    /// Read.
    Read,
    /// Write.
    Write,
    /// Read and write.
    ReadWrite,
}

/// One entry of a node's permissions. In the first entry the domain is the owner, who may do everything, and the
/// access is that of all domains that have no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// Whose.
    pub domain: DomId,
    /// What it may do.
    pub access: Access,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.access {
            Access::None => 'n',
            Access::Read => 'r',
            Access::Write => 'w',
            Access::ReadWrite => 'b',
        };
        write!(f, "{letter}{}", self.domain.0)
    }
}

impl Permission {
    /// From text such as `n0`.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let mut rest = text.chars();
        let access = match rest.next()? {
            'n' => Access::None,
            'r' => Access::Read,
            'w' => Access::Write,
            'b' => Access::ReadWrite,
            _ => return None,
        };
        Some(Self { domain: DomId(rest.as_str().parse().ok()?), access })
    }
}

/// Joins strings to a payload, each followed by a zero byte. `None`: one of them has a zero byte itself.
#[must_use]
pub fn join(parts: &[&str]) -> Option<Vec<u8>> {
    let mut payload = Vec::with_capacity(parts.iter().map(|part| part.len().saturating_add(1)).sum());
    for part in parts {
        if part.as_bytes().contains(&0) {
            return None;
        }
        payload.extend_from_slice(part.as_bytes());
        payload.push(0);
    }
    Some(payload)
}

/// Splits a payload of strings that each end with a zero byte; the last one may lack it. `None`: it is not text.
#[must_use]
pub fn split(payload: &[u8]) -> Option<Vec<String>> {
    let payload = payload.strip_suffix(&[0]).unwrap_or(payload);
    if payload.is_empty() {
        return Some(Vec::new());
    }
    let texts = payload.split(|byte| *byte == 0).map(core::str::from_utf8);
    texts.map(|text| text.ok().map(ToString::to_string)).collect()
}

/// A payload that is one string.
#[must_use]
pub fn text(payload: &[u8]) -> Option<String> {
    let payload = payload.strip_suffix(&[0]).unwrap_or(payload);
    if payload.contains(&0) {
        return None;
    }
    core::str::from_utf8(payload).ok().map(ToString::to_string)
}

/// A payload of two strings that each end with a zero byte, such as a watch event's path and token.
#[must_use]
pub fn pair(payload: &[u8]) -> Option<(&str, &str)> {
    let mut parts = payload.strip_suffix(&[0])?.split(|byte| *byte == 0);
    let (first, second) = (parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    Some((core::str::from_utf8(first).ok()?, core::str::from_utf8(second).ok()?))
}

/// One answer of [`Operation::DirectoryPart`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryPart<'a> {
    /// Changes whenever the list does.
    pub generation: &'a [u8],
    /// Bytes of the list from the requested offset on.
    pub names: &'a [u8],
    /// Whether the list ends here.
    pub last: bool,
}

impl<'a> DirectoryPart<'a> {
    /// From a payload. The end of the list is marked by an empty name.
    #[must_use]
    pub fn decode(payload: &'a [u8]) -> Option<Self> {
        let end = payload.iter().position(|byte| *byte == 0)?;
        let (generation, names) = (payload.get(..end)?, payload.get(end.checked_add(1)?..)?);
        let finished = names.strip_suffix(&[0]).filter(|rest| rest.is_empty() || rest.ends_with(&[0]));
        Some(Self { generation, names: finished.unwrap_or(names), last: finished.is_some() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::vec;

    #[test]
    fn operations_are_known_by_number() {
        for number in 0..=xs_wire::XS_DIRECTORY_PART {
            assert!(Operation::decode(number).is_none_or(|operation| operation.number() == number), "{number}");
        }
        assert_eq!((0..=xs_wire::XS_DIRECTORY_PART).filter_map(Operation::decode).count(), 16);
        assert_eq!(Operation::decode(0xffff), None);
    }

    #[test]
    fn a_header_survives_its_bytes() {
        let header = Header { operation: 2, request: 0x0102_0304, transaction: 7, len: 4096 };
        assert_eq!(header.encode()[4..8], [4, 3, 2, 1]);
        assert_eq!(Header::decode(header.encode()), header);
        assert_eq!(header.payload_len(), Some(4096));
        assert_eq!(Header { len: 4097, ..header }.payload_len(), None);
        assert_eq!(Header { len: u32::MAX, ..header }.payload_len(), None);
    }

    #[test]
    fn refusals_are_known_by_name() {
        assert_eq!(Refusal::decode(b"ENOENT\0"), Refusal::ENOENT);
        assert_eq!(Refusal::decode(b"E2BIG"), Refusal::E2BIG);
        assert_eq!(Refusal::decode(b""), Refusal::Unknown);
        assert_eq!(Refusal::decode(b"\xff\0"), Refusal::Unknown);
        assert_eq!(Refusal::EAGAIN.to_string(), "EAGAIN");
        for (name, refusal) in XSD_ERRORS.iter().zip(REFUSALS) {
            assert_eq!((refusal.to_string().as_str(), format!("{refusal:?}").as_str()), (*name, *name));
        }
    }

    #[test]
    fn permissions_are_a_letter_and_a_domain() {
        let permission = Permission { domain: DomId(7), access: Access::ReadWrite };
        assert_eq!(permission.to_string(), "b7");
        assert_eq!(Permission::decode("b7"), Some(permission));
        for odd in ["", "x1", "n", "n-1", "n65536", "n 1", "r1x"] {
            assert_eq!(Permission::decode(odd), None, "{odd}");
        }
    }

    #[test]
    fn strings_are_joined_and_split_at_zero_bytes() {
        assert_eq!(join(&["a/b", "7"]), Some(b"a/b\x007\0".to_vec()));
        assert_eq!(join(&["a\0b"]), None);
        assert_eq!(split(b"x\0yy\0"), Some(vec!["x".to_string(), "yy".to_string()]));
        assert_eq!(split(b"x\0yy"), Some(vec!["x".to_string(), "yy".to_string()]));
        assert_eq!(split(b""), Some(vec![]));
        assert_eq!(split(b"\xc0\0"), None);
        assert_eq!(text(b"4"), Some("4".to_string()));
        assert_eq!(text(b"/local\0"), Some("/local".to_string()));
        assert_eq!(text(b"a\0b"), None);
        assert_eq!(pair(b"path\0token\0"), Some(("path", "token")));
        assert_eq!(pair(b"path\0token\0more\0"), None);
        assert_eq!(pair(b"path\0"), None);
        assert_eq!(pair(b""), None);
    }

    /// xenstore.txt: `<gencnt>|<child-leaf-name>|*`; the daemon marks the end of the list by an empty name.
    #[test]
    fn the_last_part_of_a_directory_ends_with_an_empty_name() {
        let part = DirectoryPart::decode(b"12\0a\0bc\0");
        assert_eq!(part, Some(DirectoryPart { generation: b"12", names: b"a\0bc\0", last: false }));
        let part = DirectoryPart::decode(b"12\0a\0bc\0\0");
        assert_eq!(part, Some(DirectoryPart { generation: b"12", names: b"a\0bc\0", last: true }));
        let part = DirectoryPart::decode(b"12\0\0");
        assert_eq!(part, Some(DirectoryPart { generation: b"12", names: b"", last: true }));
        assert_eq!(DirectoryPart::decode(b"12"), None);
    }
}
