//! Keys and their scan codes.
//!
//! Source: IBM PS/2 Hardware Interface Technical Reference, "Keyboards (101- and 102-key)"; Microsoft "Keyboard Scan
//! Code Specification" for the keys of Windows, ACPI and media players; Linux `input-event-codes.h` for the key numbers.

/// How a key is encoded in sets 2 and 1. Codes are those of set 2; [`translate`] gives set 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// One byte.
    Plain(u8),
    /// 0xe0 and one byte.
    Extended(u8),
    /// One byte when pressed, nothing when released: the Korean language keys.
    PressOnly(u8),
    /// Print Screen: 0xe0 12 e0 7c; 0xe0 7c with Ctrl or Shift; 84 with Alt.
    PrintScreen,
    /// Pause: 0xe1 14 77 e1 f0 14 f0 77 when pressed; 0xe0 7e e0 f0 7e with Ctrl. Nothing when released.
    Pause,
}

/// Key number of Print Screen.
pub(super) const KEY_SYSRQ: u16 = 99;
/// Key numbers of the keys that change what Print Screen and Pause send.
pub(super) const KEYS_SHIFT: [u16; 2] = [42, 54];
/// See [`KEYS_SHIFT`].
pub(super) const KEYS_CTRL: [u16; 2] = [29, 97];
/// See [`KEYS_SHIFT`].
pub(super) const KEYS_ALT: [u16; 2] = [56, 100];

/// Decodes a `KEY_*` number. `None`: no keyboard of this kind has such a key.
#[expect(clippy::too_many_lines, reason = "one line for each group of keys")]
pub(super) const fn key(code: u16) -> Option<Key> {
    use Key::{Extended, Pause, Plain, PressOnly, PrintScreen};
    Some(match code {
        // Escape, and the digits with minus and equals.
        1 => Plain(0x76),
        2 => Plain(0x16),
        3 => Plain(0x1e),
        4 => Plain(0x26),
        5 => Plain(0x25),
        6 => Plain(0x2e),
        7 => Plain(0x36),
        8 => Plain(0x3d),
        9 => Plain(0x3e),
        10 => Plain(0x46),
        11 => Plain(0x45),
        12 => Plain(0x4e),
        13 => Plain(0x55),
        // Backspace and Tab.
        14 => Plain(0x66),
        15 => Plain(0x0d),
        // Q to P, and the brackets.
        16 => Plain(0x15),
        17 => Plain(0x1d),
        18 => Plain(0x24),
        19 => Plain(0x2d),
        20 => Plain(0x2c),
        21 => Plain(0x35),
        22 => Plain(0x3c),
        23 => Plain(0x43),
        24 => Plain(0x44),
        25 => Plain(0x4d),
        26 => Plain(0x54),
        27 => Plain(0x5b),
        // Enter and left Ctrl.
        28 => Plain(0x5a),
        29 => Plain(0x14),
        // A to L, semicolon, apostrophe, grave accent.
        30 => Plain(0x1c),
        31 => Plain(0x1b),
        32 => Plain(0x23),
        33 => Plain(0x2b),
        34 => Plain(0x34),
        35 => Plain(0x33),
        36 => Plain(0x3b),
        37 => Plain(0x42),
        38 => Plain(0x4b),
        39 => Plain(0x4c),
        40 => Plain(0x52),
        41 => Plain(0x0e),
        // Left Shift and backslash.
        42 => Plain(0x12),
        43 => Plain(0x5d),
        // Z to slash.
        44 => Plain(0x1a),
        45 => Plain(0x22),
        46 => Plain(0x21),
        47 => Plain(0x2a),
        48 => Plain(0x32),
        49 => Plain(0x31),
        50 => Plain(0x3a),
        51 => Plain(0x41),
        52 => Plain(0x49),
        53 => Plain(0x4a),
        // Right Shift, keypad asterisk, left Alt, space, Caps Lock.
        54 => Plain(0x59),
        55 => Plain(0x7c),
        56 => Plain(0x11),
        57 => Plain(0x29),
        58 => Plain(0x58),
        // F1 to F10.
        59 => Plain(0x05),
        60 => Plain(0x06),
        61 => Plain(0x04),
        62 => Plain(0x0c),
        63 => Plain(0x03),
        64 => Plain(0x0b),
        65 => Plain(0x83),
        66 => Plain(0x0a),
        67 => Plain(0x01),
        68 => Plain(0x09),
        // Num Lock and Scroll Lock.
        69 => Plain(0x77),
        70 => Plain(0x7e),
        // Keypad: 7 8 9 minus, 4 5 6 plus, 1 2 3, 0, dot.
        71 => Plain(0x6c),
        72 => Plain(0x75),
        73 => Plain(0x7d),
        74 => Plain(0x7b),
        75 => Plain(0x6b),
        76 => Plain(0x73),
        77 => Plain(0x74),
        78 => Plain(0x79),
        79 => Plain(0x69),
        80 => Plain(0x72),
        81 => Plain(0x7a),
        82 => Plain(0x70),
        83 => Plain(0x71),
        // Zenkaku/Hankaku; the 102nd key, beside left Shift; F11 and F12.
        85 => Plain(0x5f),
        86 => Plain(0x61),
        87 => Plain(0x78),
        88 => Plain(0x07),
        // Japanese: Ro, Katakana, Hiragana, Henkan, Katakana/Hiragana, Muhenkan, keypad comma.
        89 => Plain(0x51),
        90 => Plain(0x63),
        91 => Plain(0x62),
        92 => Plain(0x64),
        93 => Plain(0x13),
        94 => Plain(0x67),
        95 => Plain(0x27),
        // Keypad Enter, right Ctrl, keypad slash, Print Screen, right Alt.
        96 => Extended(0x5a),
        97 => Extended(0x14),
        98 => Extended(0x4a),
        KEY_SYSRQ => PrintScreen,
        100 => Extended(0x11),
        // Home, up, Page Up, left, right, End, down, Page Down, Insert, Delete.
        102 => Extended(0x6c),
        103 => Extended(0x75),
        104 => Extended(0x7d),
        105 => Extended(0x6b),
        106 => Extended(0x74),
        107 => Extended(0x69),
        108 => Extended(0x72),
        109 => Extended(0x7a),
        110 => Extended(0x70),
        111 => Extended(0x71),
        // Mute, volume down, volume up, power.
        113 => Extended(0x23),
        114 => Extended(0x21),
        115 => Extended(0x32),
        116 => Extended(0x37),
        // Keypad equals, Pause, Brazilian keypad dot.
        117 => Plain(0x0f),
        119 => Pause,
        121 => Plain(0x6d),
        // Korean Hangul/English and Hanja; Yen; left and right Windows key, menu.
        122 => PressOnly(0xf2),
        123 => PressOnly(0xf1),
        124 => Plain(0x6a),
        125 => Extended(0x1f),
        126 => Extended(0x27),
        127 => Extended(0x2f),
        // Browser stop, calculator, sleep, wake up.
        128 => Extended(0x28),
        140 => Extended(0x2b),
        142 => Extended(0x3f),
        143 => Extended(0x5e),
        // Mail, favourites, computer, back, forward.
        155 => Extended(0x48),
        156 => Extended(0x18),
        157 => Extended(0x40),
        158 => Extended(0x38),
        159 => Extended(0x30),
        // Next title, play, previous title, stop.
        163 => Extended(0x4d),
        164 => Extended(0x34),
        165 => Extended(0x15),
        166 => Extended(0x3b),
        // Browser home, refresh; F13 to F24; search; media.
        172 => Extended(0x3a),
        173 => Extended(0x20),
        183 => Plain(0x08),
        184 => Plain(0x10),
        185 => Plain(0x18),
        186 => Plain(0x20),
        187 => Plain(0x28),
        188 => Plain(0x30),
        189 => Plain(0x38),
        190 => Plain(0x40),
        191 => Plain(0x48),
        192 => Plain(0x50),
        193 => Plain(0x57),
        194 => Plain(0x5f),
        217 => Extended(0x10),
        226 => Extended(0x50),
        _ => return None,
    })
}

/// Codes of set 3 for the key numbers 0 to 127; zero is none. In set 3 every key has one byte.
#[rustfmt::skip]
const SET_3: [u8; 128] = [
    0x00, 0x08, 0x16, 0x1e, 0x26, 0x25, 0x2e, 0x36, 0x3d, 0x3e, 0x46, 0x45, 0x4e, 0x55, 0x66, 0x0d,
    0x15, 0x1d, 0x24, 0x2d, 0x2c, 0x35, 0x3c, 0x43, 0x44, 0x4d, 0x54, 0x5b, 0x5a, 0x11, 0x1c, 0x1b,
    0x23, 0x2b, 0x34, 0x33, 0x3b, 0x42, 0x4b, 0x4c, 0x52, 0x0e, 0x12, 0x5c, 0x1a, 0x22, 0x21, 0x2a,
    0x32, 0x31, 0x3a, 0x41, 0x49, 0x4a, 0x59, 0x7e, 0x19, 0x29, 0x14, 0x07, 0x0f, 0x17, 0x1f, 0x27,
    0x2f, 0x37, 0x3f, 0x47, 0x4f, 0x76, 0x5f, 0x6c, 0x75, 0x7d, 0x84, 0x6b, 0x73, 0x74, 0x7c, 0x69,
    0x72, 0x7a, 0x70, 0x71, 0x00, 0x00, 0x13, 0x56, 0x5e, 0x51, 0x00, 0x00, 0x86, 0x87, 0x85, 0x00,
    0x79, 0x58, 0x77, 0x57, 0x39, 0x00, 0x6e, 0x63, 0x6f, 0x61, 0x6a, 0x65, 0x60, 0x6d, 0x67, 0x64,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x62, 0x00, 0x00, 0x00, 0x00, 0x5d, 0x8b, 0x8c, 0x8d,
];

/// The code of a key in set 3.
pub(super) fn set_3(code: u16) -> Option<u8> {
    SET_3.get(usize::from(code)).copied().filter(|code| *code != 0)
}

/// The controller's table from set 2 to set 1. Bytes from 0x85 on, such as 0xe0 and 0xfa, stay what they are.
#[rustfmt::skip]
const TRANSLATION: [u8; 0x85] = [
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
    0x80, 0x81, 0x82, 0x41, 0x54,
];

/// What the controller makes of a byte from the keyboard.
pub(super) fn translate(byte: u8) -> u8 {
    TRANSLATION.get(usize::from(byte)).copied().unwrap_or(byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Linux took its key numbers 1 to 83, 87 and 88 from set 1, so each code must translate to the number itself.
    #[test]
    fn the_keys_of_the_at_translate_to_their_own_numbers() {
        for code in (1..=83).chain([86, 87, 88]) {
            let Some(Key::Plain(set_2)) = key(code) else { panic!("key {code} is plain") };
            assert_eq!(u16::from(translate(set_2)), code);
        }
    }

    /// Microsoft's specification, "scan code set 1" column.
    #[test]
    fn extended_keys_translate_to_the_published_codes() {
        #[rustfmt::skip]
        let published: [(u16, u8); 38] = [
            (96, 0x1c), (97, 0x1d), (98, 0x35), (100, 0x38), (102, 0x47), (103, 0x48), (104, 0x49), (105, 0x4b),
            (106, 0x4d), (107, 0x4f), (108, 0x50), (109, 0x51), (110, 0x52), (111, 0x53), (113, 0x20), (114, 0x2e),
            (115, 0x30), (116, 0x5e), (125, 0x5b), (126, 0x5c), (127, 0x5d), (128, 0x68), (140, 0x21), (142, 0x5f),
            (143, 0x63), (155, 0x6c), (156, 0x66), (157, 0x6b), (158, 0x6a), (159, 0x69), (163, 0x19), (164, 0x22),
            (165, 0x10), (166, 0x24), (172, 0x32), (173, 0x67), (217, 0x65), (226, 0x6d),
        ];
        for (code, set_1) in published {
            let Some(Key::Extended(set_2)) = key(code) else { panic!("key {code} is extended") };
            assert_eq!(translate(set_2), set_1, "key {code}");
        }
    }

    #[test]
    fn no_two_keys_share_a_code() {
        let mut seen = BTreeMap::new();
        for code in 0..=u16::MAX {
            let Some(key) = key(code) else { continue };
            let encoded = std::format!("{key:?}");
            // F24 and Zenkaku/Hankaku do share theirs on real keyboards.
            if let Some(other) = seen.insert(encoded, code) {
                assert_eq!((other, code), (85, 194));
            }
        }
        assert!(seen.len() > 120, "a keyboard has all of its keys");
        let mut seen = BTreeMap::new();
        for code in 0..128 {
            if let Some(set_3) = set_3(code) {
                assert_eq!(seen.insert(set_3, code), None, "key {code}");
            }
        }
    }
}
