//! Who may do what with a node.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};

use xen_abi::DomId;

use crate::errno::Errno;

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    /// See value, children and permissions.
    pub(crate) read: bool,
    /// Change the value, make children, remove.
    pub(crate) write: bool,
    /// Change the permissions.
    pub(crate) own: bool,
}

impl Rights {
    /// Everything.
    const ALL: Self = Self { read: true, write: true, own: true };
    /// What reading needs.
    pub(crate) const READ: Self = Self { read: true, write: false, own: false };
    /// What writing needs.
    pub(crate) const WRITE: Self = Self { read: false, write: true, own: false };
    /// What changing permissions needs.
    pub(crate) const OWN: Self = Self { read: false, write: true, own: true };

    /// Whether this is all that is needed.
    pub(crate) const fn include(self, needed: Self) -> bool {
        (self.read || !needed.read) && (self.write || !needed.write) && (self.own || !needed.own)
    }

    /// Whether this is some of what is needed.
    pub(crate) const fn touch(self, needed: Self) -> bool {
        (self.read && needed.read) || (self.write && needed.write) || (self.own && needed.own)
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    /// The domain. Domain 0 may do everything.
    pub(crate) domain: DomId,
    /// The domain that it acts for, whose rights it has, too: a device model's guest.
    pub(crate) target: Option<DomId>,
}

impl Who {
    /// Whether permissions and quotas do not count.
    pub(crate) fn is_privileged(self) -> bool {
        self.domain == DomId(0)
    }

    fn is(self, domain: DomId) -> bool {
        domain == self.domain || Some(domain) == self.target
    }
}

/// What one domain may do; in the first entry, the owner, and what domains without an entry may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    domain: DomId,
    rights: Rights,
    /// The domain did not exist when the entry was made. One that has its number later gets nothing by it.
    is_void: bool,
}

/// The permissions of a node. There is at least one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Permissions {
    first: Entry,
    others: Vec<Entry>,
}

impl Permissions {
    /// For nobody but the owner.
    pub(crate) fn of(owner: DomId) -> Self {
        let rights = Rights { read: false, write: false, own: false };
        Self { first: Entry { domain: owner, rights, is_void: false }, others: vec![] }
    }

    /// From words such as `n0`, of which there has to be one. `exists`: whether there is a domain of a number.
    pub(crate) fn decode<'a>(
        mut words: impl Iterator<Item = &'a [u8]>,
        exists: impl Fn(DomId) -> bool,
    ) -> Result<Self, Errno> {
        let mut entry = |word: &[u8]| {
            let (letter, number) = word.split_first().ok_or(Errno::EINVAL)?;
            let (read, write) = match letter {
                b'n' => (false, false),
                b'r' => (true, false),
                b'w' => (false, true),
                b'b' => (true, true),
                _ => return Err(Errno::EINVAL),
            };
            let domain = crate::wire::domain(number)?;
            Ok(Entry { domain, rights: Rights { read, write, own: false }, is_void: !exists(domain) })
        };
        let first = entry(words.next().ok_or(Errno::EINVAL)?)?;
        let others = words.map(&mut entry).collect::<Result<Vec<_>, _>>()?;
        // A node needs an owner.
        if first.is_void { Err(Errno::ENOENT) } else { Ok(Self { first, others }) }
    }

    /// Words, each followed by a zero byte.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut text = alloc::string::String::new();
        for entry in core::iter::once(&self.first).chain(&self.others) {
            // Writing to a string does not fail.
            let _ = write!(text, "{entry}\0");
        }
        text.into_bytes()
    }

    /// What somebody may do.
    pub(crate) fn rights(&self, who: Who) -> Rights {
        if who.is_privileged() || who.is(self.first.domain) {
            return Rights::ALL;
        }
        self.others.iter().find(|entry| !entry.is_void && who.is(entry.domain)).unwrap_or(&self.first).rights
    }

    /// The owner.
    pub(crate) fn owner(&self) -> DomId {
        self.first.domain
    }

    /// The same for another owner.
    pub(crate) fn owned_by(mut self, owner: DomId) -> Self {
        self.first.domain = owner;
        self
    }

    /// Entries.
    pub(crate) fn len(&self) -> usize {
        self.others.len().saturating_add(1)
    }

    /// Whether any entry names a domain.
    pub(crate) fn name(&self, domain: DomId) -> bool {
        self.first.domain == domain || self.others.iter().any(|entry| entry.domain == domain)
    }

    /// The same without a domain that is gone. What it owned is domain 0's.
    pub(crate) fn without(mut self, domain: DomId) -> Self {
        self.others.retain(|entry| entry.domain != domain);
        if self.first.domain == domain {
            self.first.domain = DomId(0);
        }
        self
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match (self.rights.read, self.rights.write) {
            (false, false) => 'n',
            (true, false) => 'r',
            (false, true) => 'w',
            (true, true) => 'b',
        };
        write!(f, "{letter}{}", self.domain.0)
    }
}
