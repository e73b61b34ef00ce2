//! Files that come with a kernel: a single one as it is, more of them behind a list.
//!
//! Source: `public/xen.h`, `struct xen_multiboot_mod_list`: addresses count from the list's own, the last byte of a file is said,
//! not the one behind it, and an entry with address 0 ends the list.

use crate::{Module, PAGE};
use alloc::vec::Vec;

/// Bytes of an entry of the list.
const ENTRY: u64 = 16;

/// What lies where, from the first byte on.
pub(crate) struct Package<'a> {
    /// The list, and the words about each file, which follow it.
    head: Vec<u8>,
    /// Where each file begins.
    files: Vec<(u64, &'a [u8])>,
    /// Bytes of all of it.
    pub(crate) length: u64,
}

impl<'a> Package<'a> {
    pub(crate) fn new(modules: &'a [Module<'a>]) -> Self {
        if let [only] = modules {
            return Self { head: Vec::new(), files: [(0, only.bytes)].into(), length: length(only.bytes) };
        }
        if modules.is_empty() {
            return Self { head: Vec::new(), files: Vec::new(), length: 0 };
        }
        let mut words = Vec::new();
        let mut files = Vec::new();
        let mut list = Vec::new();
        let first_word = length(modules).saturating_add(1).saturating_mul(ENTRY);
        let all_words = modules.iter().map(|module| length(module.command_line.as_bytes()).saturating_add(1));
        let mut end = first_word.saturating_add(all_words.sum());
        for module in modules {
            let start = end.next_multiple_of(PAGE);
            let word = first_word.saturating_add(length(&words));
            end = start.saturating_add(length(module.bytes));
            // An empty file has no last byte: it ends before it begins.
            for number in [start, end.saturating_sub(1), word, 0] {
                list.extend_from_slice(&u32::try_from(number).unwrap_or(0).to_le_bytes());
            }
            words.extend_from_slice(module.command_line.as_bytes());
            words.push(0);
            files.push((start, module.bytes));
        }
        list.extend_from_slice(&[0; 16]);
        list.extend_from_slice(&words);
        Self { head: list, files, length: end }
    }

    /// There is a list.
    pub(crate) const fn is_list(&self) -> bool {
        !self.head.is_empty()
    }

    /// What is to be put where.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (u64, &[u8])> {
        core::iter::once((0, self.head.as_slice())).chain(self.files.iter().copied())
    }
}

fn length<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).unwrap_or(u64::MAX)
}
