//! Media that are in no drive, by the names that a person gave them: what `-drive if=none`, `-blockdev` and QMP's
//! `blockdev-add` say.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::numbers;
use crate::options::Options;
use crate::plan::{Backing, Medium};

/// Bytes of a medium of zeros, if nobody says how many.
const ZEROS_DEFAULT: u64 = 1 << 30;
/// What makes no difference here.
pub(crate) const IGNORED: &[&str] = &[
    "cache",
    "cache.direct",
    "cache.no-flush",
    "cache.writeback",
    "aio",
    "discard",
    "detect-zeroes",
    "auto-read-only",
    "file.locking",
    "locking",
    "copy-on-read",
    "read-zeroes",
    "file.read-zeroes",
    "file.driver",
    "throttling.iops-total",
    "file.auto-read-only",
];

/// All of them, and the names of those that were taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Media(BTreeMap<String, State>);

/// Where a medium is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Here. `None` is a name that has nothing behind it: the drive that takes it is empty.
    Free(Option<Medium>),
    /// In a drive, or behind another name.
    Taken,
}

impl Media {
    /// Adds one. `text` is what a person wrote.
    pub(crate) fn add(&mut self, text: &str, name: String, mut medium: Option<Medium>) -> Result<()> {
        ensure!(!self.0.contains_key(&name), "\"{text}\": there is another with this name");
        if let Some(medium) = &mut medium {
            name.clone_into(&mut medium.faults.node);
        }
        self.0.insert(name, State::Free(medium));
        Ok(())
    }

    /// Takes one, so that nobody else does.
    pub(crate) fn take(&mut self, name: &str) -> Option<Option<Medium>> {
        match self.0.get_mut(name).map(|state| std::mem::replace(state, State::Taken)) {
            Some(State::Free(medium)) => Some(medium),
            Some(State::Taken) | None => None,
        }
    }

    /// Gives one back, if it has a name.
    pub(crate) fn give_back(&mut self, medium: Medium) {
        let name = medium.faults.node.clone();
        if !name.is_empty() {
            self.0.insert(name, State::Free(Some(medium)));
        }
    }

    /// Forgets one, unless it was taken.
    pub(crate) fn forget(&mut self, name: &str) -> bool {
        self.take(name).is_some() && self.0.remove(name).is_some()
    }

    /// `-blockdev`, and `blockdev-add`.
    pub(crate) fn blockdev(&mut self, mut options: Options) -> Result<()> {
        let text = options.text().to_owned();
        options.ignore(IGNORED);
        let name = options.take("node-name").with_context(|| format!("\"{text}\" needs a node-name"))?;
        let read_only = options.take_bool("read-only")?.unwrap_or(false);
        let (driver, size) = (options.take("driver"), options.take("size"));
        let medium = match driver.as_deref() {
            Some("file" | "host_device") => {
                let file = options.take("filename").with_context(|| format!("\"{text}\" needs a filename"))?;
                Medium::new(Backing::File(path(&text, &file)?), read_only)
            }
            Some("null-co" | "null-aio") => Medium::new(zeros(&text, size)?, read_only),
            Some("raw") => match (options.take("file"), options.take("file.filename")) {
                (Some(node), None) => {
                    let below = self.take(&node).flatten();
                    let below = below.with_context(|| format!("\"{text}\": there is no node {node}"))?;
                    Medium { read_only: read_only || below.read_only, ..below }
                }
                (None, Some(file)) => Medium::new(Backing::File(path(&text, &file)?), read_only),
                _ => bail!("\"{text}\" needs a file"),
            },
            other => bail!("\"{text}\": the driver {} is not supported", other.unwrap_or_default()),
        };
        options.finish()?;
        self.add(&text, name, Some(medium))
    }
}

/// Zeros, so many bytes of them.
pub(crate) fn zeros(text: &str, size: Option<String>) -> Result<Backing> {
    let size = size.map(|size| numbers::parse_size(&size, 1).with_context(|| format!("\"{text}\": no such size")));
    Ok(Backing::Zeros(size.transpose()?.unwrap_or(ZEROS_DEFAULT)))
}

/// A file's path; other protocols are refused.
pub(crate) fn path(text: &str, file: &str) -> Result<PathBuf> {
    let plain = file.strip_prefix("file:").unwrap_or(file);
    match plain.split_once(':') {
        // A colon behind a slash is part of a name.
        Some((protocol, _)) if !protocol.contains('/') => {
            bail!("\"{text}\": {protocol}: is not supported: only files are")
        }
        _ => Ok(PathBuf::from(plain)),
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_node_above_another_takes_its_place() {
        let mut media = Media::default();
        let mut blockdev = |text: &str| media.blockdev(Options::parse("-blockdev", text, Some("driver")));
        blockdev("file,node-name=a,filename=/x").unwrap();
        blockdev("raw,node-name=b,file=a,read-only=on").unwrap();
        assert!(blockdev("raw,node-name=c,file=a").is_err(), "a is taken");
        assert!(blockdev("null-co,node-name=b").is_err(), "b is there");
        let medium = media.take("b").flatten().unwrap();
        assert_eq!((&medium.backing, medium.read_only), (&Backing::File("/x".into()), true));
        assert_eq!(media.take("b"), None);
        assert!(!media.forget("b"));
        media.give_back(medium);
        assert!(media.forget("b") && !media.forget("b"));
    }
}
