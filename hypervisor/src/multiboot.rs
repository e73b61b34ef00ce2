//! What the boot loader says: memory, modules and the command line.
//!
//! Source: Multiboot Specification 0.6.96, section 3.3.
// UNSAFETY: reads what the boot loader left where it says that it is.
#![expect(unsafe_code)]

use crate::boot::{self, DIRECT_LEN};
use alloc::vec::Vec;
use core::ops::Range;

/// A file that the boot loader has loaded.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    /// Where it is in physical memory.
    pub(crate) place: Range<u64>,
    /// Its name, and what is said of it.
    pub(crate) words: &'static str,
}

impl Module {
    /// What is in it.
    pub(crate) fn bytes(&self) -> &'static [u8] {
        let length = usize::try_from(self.place.end - self.place.start).unwrap_or(0);
        // SAFETY: the boot loader has put the module there, and its memory is given to nobody.
        unsafe { boot::bytes(self.place.start, length) }
    }
}

/// All of it.
#[derive(Clone, Debug)]
pub(crate) struct Information {
    /// Usable memory, physical addresses.
    pub(crate) memory: Vec<Range<u64>>,
    pub(crate) modules: Vec<Module>,
    pub(crate) command_line: &'static str,
}

/// Flags: there is a command line, modules, a map of memory.
const COMMAND_LINE: u32 = 1 << 2;
const MODULES: u32 = 1 << 3;
const MEMORY_MAP: u32 = 1 << 6;
/// Type of a range of usable memory.
const USABLE: u32 = 1;
/// The longest command line that is read.
const TEXT_MAX: u64 = 4096;

fn word(address: u64) -> u32 {
    // SAFETY: callers pass addresses within what the boot loader left.
    let bytes = unsafe { boot::bytes(address, 4) };
    bytes.try_into().map_or(0, u32::from_le_bytes)
}

fn long(address: u64) -> u64 {
    u64::from(word(address)) | u64::from(word(address + 4)) << 32
}

/// A text that ends with a zero byte.
fn text(address: u64) -> &'static str {
    // SAFETY: the boot loader has put a text there; what follows it is memory too.
    let bytes = unsafe { boot::bytes(address, usize::try_from(TEXT_MAX.min(DIRECT_LEN - address)).unwrap_or(0)) };
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    core::str::from_utf8(text).unwrap_or_default()
}

impl Module {
    /// What is said of it, without its name.
    pub(crate) fn command_line(&self) -> &'static str {
        arguments(self.words)
    }
}

/// A command line without the name that it begins with.
fn arguments(line: &'static str) -> &'static str {
    line.split_once(' ').map_or("", |(_, rest)| rest)
}

/// Reads it.
pub(crate) fn read(address: u32) -> Information {
    let address = u64::from(address);
    let flags = word(address);
    let command_line = if flags & COMMAND_LINE != 0 { arguments(text(word(address + 16).into())) } else { "" };
    let mut modules = Vec::new();
    if flags & MODULES != 0 {
        let list = u64::from(word(address + 24));
        for number in 0..u64::from(word(address + 20)) {
            let at = list + number * 16;
            let place = u64::from(word(at))..u64::from(word(at + 4));
            modules.push(Module { place, words: text(word(at + 8).into()) });
        }
    }
    let mut memory = Vec::new();
    if flags & MEMORY_MAP != 0 {
        let (mut at, end) =
            (u64::from(word(address + 48)), u64::from(word(address + 48)) + u64::from(word(address + 44)));
        while at < end {
            if word(at + 20) == USABLE {
                let start = long(at + 4).min(DIRECT_LEN);
                memory.push(start..(start + long(at + 12)).min(DIRECT_LEN));
            }
            at += u64::from(word(at)) + 4;
        }
    }
    Information { memory, modules, command_line }
}

/// Where the last thing ends that the boot loader has left. Needs no heap.
pub(crate) fn end_of_everything(address: u32) -> u64 {
    let address = u64::from(address);
    let flags = word(address);
    let mut end = address + 128;
    let mut see = |at: u64| end = end.max(at);
    if flags & COMMAND_LINE != 0 {
        let line = u64::from(word(address + 16));
        see(line + u64::try_from(text(line).len()).unwrap_or(0) + 1);
    }
    if flags & MODULES != 0 {
        let (count, list) = (u64::from(word(address + 20)), u64::from(word(address + 24)));
        see(list + count * 16);
        for at in (0..count).map(|number| list + number * 16) {
            see(word(at + 4).into());
            let line = u64::from(word(at + 8));
            see(line + u64::try_from(text(line).len()).unwrap_or(0) + 1);
        }
    }
    if flags & MEMORY_MAP != 0 {
        see(u64::from(word(address + 48)) + u64::from(word(address + 44)));
    }
    end
}

/// The value of `key=value` among the words of a command line.
pub(crate) fn option<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_ascii_whitespace().filter_map(|word| word.strip_prefix(key)?.strip_prefix('=')).next_back()
}
