//! What viewers say of keys, as the codes that the machine knows: `KEY_*` of Linux' input-event-codes.h.
//!
//! A viewer that knows QEMU's extended key events says which key it is: its XT scan code, with bit 7 for those that have the
//! prefix 0xe0. Others say what is printed on it, as an X keysym; then it is the key that has this on a US keyboard.
//! Shift and the like are keys of their own in both. Keyboard frontends have the codes themselves.
//!
//! Source: rfbproto, "QEMU Extended Key Event Message"; keysyms of X11 (X.Org, keysymdef.h); IBM's scan code set 1.

use devmodel::host::InputEvent;
use minios::front::keyboard;

/// `BTN_MISC` to `BTN_GEAR_UP` of Linux' input-event-codes.h: buttons of pointers and other devices.
const BUTTONS: core::ops::RangeInclusive<u16> = 0x100..=0x151;

/// What a keyboard frontend says, in the words of the machine.
#[must_use]
pub fn input_event(event: keyboard::Event) -> Option<InputEvent> {
    Some(match event {
        keyboard::Event::Key { code, down } if BUTTONS.contains(&code) => InputEvent::Button { code, down },
        keyboard::Event::Key { code, down } => InputEvent::Key { code, down },
        keyboard::Event::Motion { dx, dy, wheel } => InputEvent::Motion { dx, dy, wheel },
        keyboard::Event::Position { x, y, wheel } => {
            let axis = |value: i32| u16::try_from(value.clamp(0, 0x7fff)).ok();
            InputEvent::Position { x: axis(x)?, y: axis(y)?, wheel }
        }
    })
}

/// The code of an XT scan code. `None`: no key has it.
#[must_use]
pub fn of_scancode(scancode: u32) -> Option<u16> {
    let code = match scancode {
        // Where Linux has followed the XT keyboard.
        0x01..=0x53 => u16::try_from(scancode).ok()?,
        0x54 | 0xb7 => 99,
        0x56 => 86,
        0x57 => 87,
        0x58 => 88,
        0x59 => 117,
        0x70 => 93,
        0x73 => 89,
        0x77 => 91,
        0x78 => 90,
        0x79 => 92,
        0x7b => 94,
        0x7d => 124,
        0x7e => 121,
        0x90 => 165,
        0x99 => 163,
        0x9c => 96,
        0x9d => 97,
        0xa0 => 113,
        0xa1 => 140,
        0xa2 => 164,
        0xa4 => 166,
        0xae => 114,
        0xb0 => 115,
        0xb2 => 172,
        0xb5 => 98,
        0xb8 => 100,
        0xc6 => 119,
        0xc7 => 102,
        0xc8 => 103,
        0xc9 => 104,
        0xcb => 105,
        0xcd => 106,
        0xcf => 107,
        0xd0 => 108,
        0xd1 => 109,
        0xd2 => 110,
        0xd3 => 111,
        0xdb => 125,
        0xdc => 126,
        0xdd => 127,
        0xde => 116,
        0xdf => 142,
        0xe3 => 143,
        _ => return None,
    };
    Some(code)
}

/// What is on the keys of a US keyboard from code 2 on, without and with Shift. A blank stands for a key without a character.
const PLAIN: &[u8; 52] = b"1234567890-=  qwertyuiop[]  asdfghjkl;'` \\zxcvbnm,./";
const SHIFTED: &[u8; 52] = b"!@#$%^&*()_+  QWERTYUIOP{}  ASDFGHJKL:\"~ |ZXCVBNM<>?";

/// What is on the key with this code of a US keyboard. `None`: no character.
#[must_use]
pub fn character(code: u16, shifted: bool) -> Option<char> {
    const SPACE: u16 = 57;
    if code == SPACE {
        return Some(' ');
    }
    let keys = if shifted { SHIFTED } else { PLAIN };
    let key = keys.get(usize::from(code.checked_sub(2)?))?;
    Some(char::from(*key)).filter(|key| *key != ' ')
}

/// The code of the key that has this keysym on a US keyboard. `None`: none has.
#[must_use]
pub fn of_keysym(keysym: u32) -> Option<u16> {
    let character = match keysym {
        0x20 => return Some(57),
        0x21..=0x7e => u8::try_from(keysym).ok(),
        _ => None,
    };
    if let Some(character) = character {
        let has_it = |keys: &[u8; 52]| keys.iter().position(|key| *key == character);
        let at = has_it(PLAIN).or_else(|| has_it(SHIFTED))?;
        return u16::try_from(at).ok()?.checked_add(2);
    }
    let code = match keysym {
        // BackSpace, Tab, Return, Pause, Scroll_Lock, Sys_Req, Escape, Delete; ISO_Left_Tab.
        0xff08 => 14,
        0xff09 | 0xfe20 => 15,
        0xff0d => 28,
        0xff13 => 119,
        0xff14 => 70,
        0xff15 | 0xff61 => 99,
        0xff1b => 1,
        0xffff => 111,
        // Home, Left, Up, Right, Down, Page_Up, Page_Down, End, Insert, Menu, Break, Num_Lock.
        0xff50 => 102,
        0xff51 => 105,
        0xff52 => 103,
        0xff53 => 106,
        0xff54 => 108,
        0xff55 => 104,
        0xff56 => 109,
        0xff57 => 107,
        0xff63 => 110,
        0xff67 => 127,
        0xff6b => 119,
        0xff7f => 69,
        // The keypad: Enter; with and without Num Lock; * + , - . / and =.
        0xff8d => 96,
        0xff95 | 0xffb7 => 71,
        0xff97 | 0xffb8 => 72,
        0xff9a | 0xffb9 => 73,
        0xff96 | 0xffb4 => 75,
        0xff9d | 0xffb5 => 76,
        0xff98 | 0xffb6 => 77,
        0xff9c | 0xffb1 => 79,
        0xff99 | 0xffb2 => 80,
        0xff9b | 0xffb3 => 81,
        0xff9e | 0xffb0 => 82,
        0xff9f | 0xffae => 83,
        0xffaa => 55,
        0xffab => 78,
        0xffac => 121,
        0xffad => 74,
        0xffaf => 98,
        0xffbd => 117,
        // F1 to F10, F11, F12.
        0xffbe..=0xffc7 => u16::try_from(keysym.checked_sub(0xffbe)?).ok()?.checked_add(59)?,
        0xffc8 => 87,
        0xffc9 => 88,
        // Shift, Control, Caps_Lock, Meta and Alt, Super; ISO_Level3_Shift and Mode_switch are AltGr.
        0xffe1 => 42,
        0xffe2 => 54,
        0xffe3 => 29,
        0xffe4 => 97,
        0xffe5 => 58,
        0xffe7 | 0xffe9 => 56,
        0xffe8 | 0xffea | 0xfe03 | 0xff7e => 100,
        0xffeb => 125,
        0xffec => 126,
        _ => return None,
    };
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_where_they_are_on_a_us_keyboard() {
        for (keysym, code) in [
            (u32::from(b'1'), 2),
            (u32::from(b'!'), 2),
            (u32::from(b'='), 13),
            (u32::from(b'q'), 16),
            (u32::from(b'}'), 27),
            (u32::from(b'a'), 30),
            (u32::from(b'"'), 40),
            (u32::from(b'~'), 41),
            (u32::from(b'\\'), 43),
            (u32::from(b'|'), 43),
            (u32::from(b'z'), 44),
            (u32::from(b'/'), 53),
            (0x20, 57),
            (0xff0d, 28),
            (0xffc7, 68),
            (0xffc8, 87),
            (0xffe1, 42),
        ] {
            assert_eq!(of_keysym(keysym), Some(code), "{keysym:#x}");
        }
        assert!((0x21..0x7f).all(|keysym| of_keysym(keysym).is_some()));
        assert_eq!([0, 0x1f, 0xe4, 0x0100_20ac, u32::MAX].map(of_keysym), [None; 5]);
    }

    #[test]
    fn scan_codes_are_those_of_the_xt_keyboard() {
        for (scancode, code) in [(0x1e, 30), (0x1c, 28), (0x9c, 96), (0xc8, 103), (0xd3, 111), (0x57, 87), (0xdb, 125)]
        {
            assert_eq!(of_scancode(scancode), Some(code), "{scancode:#x}");
        }
        assert_eq!([0, 0x80, 0xff, 0x1_001e, u32::MAX].map(of_scancode), [None; 5]);
    }
}
