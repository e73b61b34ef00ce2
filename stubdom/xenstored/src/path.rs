//! Paths, and the names of the special watches.

use alloc::format;
use alloc::rc::Rc;
use core::fmt;

use xen_abi::DomId;
use xen_abi::io::xs_wire::XENSTORE_ABS_PATH_MAX;

use crate::errno::Errno;

/// A valid absolute path, or a name that begins with `@`.
///
/// Invariant: only permitted characters, no `//`, no `/` at the end unless it is the root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path(Rc<str>);

/// `/local/domain/<domid>`: what relative paths are relative to.
pub(crate) struct Home(pub(crate) DomId);

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/local/domain/{}", self.0.0)
    }
}

/// Where a path that a client wrote may lead.
pub(crate) struct Rules {
    /// Relative to this domain's home.
    pub(crate) home: DomId,
    /// Whether names of special watches are paths.
    pub(crate) special: bool,
    /// The longest path, not counting a home.
    pub(crate) longest: Option<usize>,
}

impl Path {
    /// `/`.
    pub(crate) fn root() -> Self {
        Self("/".into())
    }

    /// A path that is known to be valid.
    pub(crate) fn known(text: &str) -> Self {
        Self(text.into())
    }

    /// From what a client wrote.
    pub(crate) fn decode(text: &[u8], rules: &Rules) -> Result<Self, Errno> {
        let text = core::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        if !text.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"-/_@".contains(&letter)) {
            return Err(Errno::EINVAL);
        }
        let path: Rc<str> = match text.as_bytes().first() {
            Some(b'@') if !rules.special => return Err(Errno::EINVAL),
            Some(b'@' | b'/') => text.into(),
            _ => format!("{}/{text}", Home(rules.home)).into(),
        };
        let counted = path.len().saturating_sub(len_of_home(&path));
        let is_valid = (!path.ends_with('/') || &*path == "/")
            && !path.contains("//")
            && path.len() <= XENSTORE_ABS_PATH_MAX
            && rules.longest.is_none_or(|longest| counted <= longest);
        if is_valid { Ok(Self(path)) } else { Err(Errno::EINVAL) }
    }

    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the name of a special watch.
    pub(crate) fn is_special(&self) -> bool {
        self.0.starts_with('@')
    }

    /// The path above; the root for special names. `None`: this is the root.
    pub(crate) fn parent(&self) -> Option<Self> {
        match self.0.rsplit_once('/') {
            Some(("", "")) => None,
            Some(("", _)) | None => Some(Self::root()),
            Some((parent, _)) => Some(Self(parent.into())),
        }
    }

    /// The last name in it.
    pub(crate) fn leaf(&self) -> &str {
        self.0.rsplit_once('/').map_or(&*self.0, |(_, leaf)| leaf)
    }

    /// A child's path.
    pub(crate) fn child(&self, leaf: &str) -> Self {
        if &*self.0 == "/" { Self(format!("/{leaf}").into()) } else { Self(format!("{}/{leaf}", self.0).into()) }
    }

    /// How many levels this is below another path: 0 for itself. `None`: it is not below.
    pub(crate) fn levels_below(&self, other: &Self) -> Option<usize> {
        let rest = self.0.strip_prefix(&*other.0)?;
        match rest.as_bytes().first() {
            None => Some(0),
            Some(b'/') => Some(rest.matches('/').count()),
            // What is below the root lacks the slash, which was the root's.
            Some(_) if &*other.0 == "/" => Some(rest.matches('/').count().saturating_add(1)),
            Some(_) => None,
        }
    }
}

/// Bytes of `/local/domain/<domid>/` at the beginning, or 0. A domid has up to five digits.
fn len_of_home(path: &str) -> usize {
    let Some((domain, _)) = path.strip_prefix("/local/domain/").and_then(|rest| rest.split_once('/')) else { return 0 };
    let is_number = (1..=5).contains(&domain.len()) && domain.bytes().all(|digit| digit.is_ascii_digit());
    if is_number { "/local/domain//".len().saturating_add(domain.len()) } else { 0 }
}

#[cfg(test)]
mod unit {
    use super::*;
    use std::string::String;

    const RULES: Rules = Rules { home: DomId(7), special: false, longest: Some(2048) };

    fn decode(text: &str) -> Option<String> {
        Path::decode(text.as_bytes(), &RULES).ok().map(|path| path.as_str().into())
    }

    #[test]
    fn paths_are_absolute_or_relative_to_the_home() {
        for (text, path) in [("/", "/"), ("/a/b", "/a/b"), ("a-_@/9", "/local/domain/7/a-_@/9"), ("/@x", "/@x")] {
            assert_eq!(decode(text).as_deref(), Some(path));
        }
        for text in ["", "/a/", "a/", "//", "/a//b", "a//b", "/a b", "/a.b", "@releaseDomain", "/ä", "/a\0"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
        assert_eq!(Path::decode(&[b'/', 0xff], &RULES), Err(Errno::EINVAL));
        assert!(Path::decode(b"@releaseDomain/3", &Rules { special: true, ..RULES }).is_ok());
    }

    /// xenstore.txt: at most 3072 bytes, relative ones at most 2048.
    #[test]
    fn paths_have_a_greatest_length() {
        let long = |first: &str, len: usize| first.chars().chain(core::iter::repeat('x')).take(len).collect::<String>();
        assert!(decode(&long("x", 2048)).is_some());
        assert!(decode(&long("x", 2049)).is_none());
        assert!(decode(&long("/local/domain/12345/", 2068)).is_some());
        assert!(decode(&long("/local/domain/12345/", 2069)).is_none());
        assert!(decode(&long("/local/domain/123456/", 2049)).is_none());
        assert!(decode(&long("/", 2048)).is_some());
        assert!(decode(&long("/", 2049)).is_none());
        let privileged = Rules { longest: None, ..RULES };
        assert!(Path::decode(long("/", 3072).as_bytes(), &privileged).is_ok());
        assert!(Path::decode(long("/", 3073).as_bytes(), &privileged).is_err());
    }

    #[test]
    fn paths_have_parents_and_children() {
        let parent = |text: &str| Path::known(text).parent().map(|path| String::from(path.as_str()));
        assert_eq!(parent("/"), None);
        assert_eq!(parent("/a").as_deref(), Some("/"));
        assert_eq!(parent("/a/b").as_deref(), Some("/a"));
        assert_eq!(parent("@releaseDomain").as_deref(), Some("/"));
        assert_eq!(Path::root().child("a").child("b").as_str(), "/a/b");
        assert_eq!(Path::known("/a/b").leaf(), "b");
    }

    #[test]
    fn levels_are_counted_from_the_path_above() {
        let levels = |path: &str, above: &str| Path::known(path).levels_below(&Path::known(above));
        assert_eq!(levels("/a", "/a"), Some(0));
        assert_eq!(levels("/", "/"), Some(0));
        assert_eq!(levels("/a/b/c", "/a"), Some(2));
        assert_eq!(levels("/a", "/"), Some(1));
        assert_eq!(levels("/a/b", "/"), Some(2));
        assert_eq!(levels("/ab", "/a"), None);
        assert_eq!(levels("/a", "/a/b"), None);
        assert_eq!(levels("@releaseDomain", "/"), None);
        assert_eq!(levels("@releaseDomain/3", "@releaseDomain"), Some(1));
    }
}
