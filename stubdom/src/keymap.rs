//! Keyboard layouts: on which key a viewer's keysym is, where it is no US keyboard (`-k`, `keymap=` of xl.cfg).
//!
//! A layout is a file of the stub domain's ramdisk, which `cargo xtask build` makes of the layouts that QEMU ships: entries of
//! six bytes, the keysym (little-endian), the XT scan code as in QEMU's extended key event, and what is held with the key.

use crate::keys;

/// Bit of an entry's last byte: Shift is held.
const SHIFT: u8 = 1;
/// The same of AltGr.
const ALT_GR: u8 = 2;

/// A layout. One without entries is a US keyboard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keymap(&'static [[u8; 6]]);

impl Keymap {
    /// The layout in a file.
    #[must_use]
    pub const fn new(file: &'static [u8]) -> Self {
        Self(file.as_chunks().0)
    }

    /// The code of the key that has this keysym, where `held` says which codes are held. What is the same on two keys is meant
    /// of the one that is held, or of the one that has it with the Shift and AltGr that are. A keysym that the layout does not
    /// have is looked for on a US keyboard.
    #[must_use]
    pub fn code(self, keysym: u32, held: impl Fn(u16) -> bool) -> Option<u16> {
        let bits = (u8::from(held(42) || held(54)) * SHIFT) | (u8::from(held(100)) * ALT_GR);
        let (mut best, mut best_rank) = (None, 0);
        for [a, b, c, d, scancode, with] in self.0 {
            if u32::from_le_bytes([*a, *b, *c, *d]) != keysym {
                continue;
            }
            let code = keys::of_scancode((*scancode).into());
            let rank = if code.is_some_and(&held) { 3 } else { 1 + u8::from(*with == bits) };
            if rank > best_rank {
                (best, best_rank) = (code, rank);
            }
        }
        best.or_else(|| keys::of_keysym(keysym))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// z and y of a German keyboard, the @ beside them, and a bar that is on two keys.
    static GERMAN: &[u8] = b"z\0\0\0\x15\0y\0\0\0\x2c\0@\0\0\0\x10\x02|\0\0\0\x56\x02|\0\0\0\x2b\x01\0";

    #[test]
    fn a_keysym_is_on_the_key_of_the_layout() {
        let keymap = Keymap::new(GERMAN);
        let nothing = |_| false;
        assert_eq!([b'z', b'y', b'@'].map(|key| keymap.code(key.into(), nothing)), [Some(21), Some(44), Some(16)]);
        assert_eq!(keymap.code(0xff0d, nothing), Some(28), "Return is where it always is");
        assert_eq!(keymap.code(b'q'.into(), nothing), Some(16), "as on a US keyboard");
        assert_eq!(keymap.code(0x0100_20ac, nothing), None);
        assert_eq!(Keymap::default().code(b'z'.into(), nothing), Some(44));
    }

    #[test]
    fn of_two_keys_it_is_the_one_with_what_is_held() {
        let keymap = Keymap::new(GERMAN);
        let bar = u32::from(b'|');
        assert_eq!(keymap.code(bar, |code| code == 54), Some(43));
        assert_eq!(keymap.code(bar, |code| code == 100), Some(86));
        assert_eq!(keymap.code(bar, |_| false), Some(86));
        assert_eq!(keymap.code(bar, |code| code == 43), Some(43), "Shift was released before it");
    }
}
