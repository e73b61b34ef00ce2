//! Keyboard layouts for the stub domain's ramdisk, made of those that QEMU ships: see `stubdom/src/keymap.rs` for the form.
//!
//! Source: QEMU's `pc-bios/keymaps`: a line is a keysym's name, an XT scan code, and words for what is held with the key.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use xkeysym::Keysym;

const SHIFT: u8 = 1;
const ALT_GR: u8 = 2;
/// What is the same on all keyboards and has no character: function keys, and what is held with others. Dead keys, which lie
/// between, are part of a layout.
const COMMON: [std::ops::RangeInclusive<u32>; 2] = [0xfe01..=0xfe2f, 0xff00..=0xffff];

/// All layouts of a folder, by name.
pub(crate) fn all(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let names = names();
    let mut layouts = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("a layout has a name")?;
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        layouts.insert(name.to_owned(), pack(&text, &names));
    }
    Ok(layouts)
}

/// What X calls its keysyms.
fn names() -> BTreeMap<&'static str, u32> {
    let mut names: BTreeMap<_, _> = (0..=0xffff)
        .chain(0x0100_0000..=0x0110_ffff)
        .filter_map(|keysym| Some((Keysym::new(keysym).name()?.strip_prefix("XK_")?, keysym)))
        .collect();
    // It has two.
    names.extend(names.get("Oslash").copied().map(|keysym| ("Ooblique", keysym)));
    names
}

/// The entries of a layout in the order of its lines. Words that say nothing about Shift and AltGr are left out, and so is the
/// keypad, which depends on Num Lock.
fn pack(text: &str, names: &BTreeMap<&str, u32>) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut add = |keysym: u32, scancode: u8, held: u8| {
        packed.extend(keysym.to_le_bytes());
        packed.extend([scancode, held]);
    };
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let Some(keysym) = words.next().and_then(|name| keysym(name, names)) else { continue };
        let scancode = words.next().and_then(|word| u8::from_str_radix(word.strip_prefix("0x")?, 16).ok());
        let Some(scancode) = scancode else { continue };
        let words: Vec<_> = words.collect();
        if words.contains(&"numlock") || COMMON.iter().any(|range| range.contains(&keysym)) {
            continue;
        }
        let bit = |word, bit| if words.contains(&word) { bit } else { 0 };
        add(keysym, scancode, bit("shift", SHIFT) | bit("altgr", ALT_GR));
        // The capital letter is on the same key.
        if words.contains(&"addupper") && (0x61..=0x7a).contains(&keysym) {
            add(keysym - 0x20, scancode, SHIFT);
        }
    }
    packed
}

fn keysym(name: &str, names: &BTreeMap<&str, u32>) -> Option<u32> {
    let unicode = || u32::from_str_radix(name.strip_prefix('U')?, 16).ok().map(|point| 0x0100_0000 | point);
    let number = || u32::from_str_radix(name.strip_prefix("0x")?, 16).ok();
    names.get(name).copied().or_else(unicode).or_else(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_entries() {
        let text = "# a comment\nmap 0x407\nz 0x15\nat 0x10 altgr\nU20AC 0x12 shift altgr\nq 0x10 addupper\n\
                    Return 0x1c\n7 0x47 numlock\ndead_acute 0x0d\nnonsense 0x01\nplus\n";
        let entries: Vec<_> = pack(text, &names()).chunks(6).map(|entry| (entry[0], entry[4], entry[5])).collect();
        assert_eq!(
            entries,
            [
                (b'z', 0x15, 0),
                (b'@', 0x10, ALT_GR),
                (0xac, 0x12, 3),
                (b'q', 0x10, 0),
                (b'Q', 0x10, SHIFT),
                (0x51, 0x0d, 0)
            ]
        );
    }
}
