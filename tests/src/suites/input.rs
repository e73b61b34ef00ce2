//! What comes from outside: lines on the serial port, keys, the pointer.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::domain::DeviceModel;
use crate::guest_image;
use crate::suite::{Case, Context};

pub(super) const CASES: &[Case] = &[Case::new("serial-lines-keys-and-pointer-arrive", 300, input)];

const LIMIT: Duration = Duration::from_secs(120);
/// XK_Escape.
const ESCAPE: u32 = 0xff1b;
/// XK_Up.
const UP: u32 = 0xff52;

/// What `aZ1`, return, the upper arrow and escape are in scan code set 1, pressed and released, with Shift around the Z.
const SCAN_CODES: &[u8] =
    &[0x1e, 0x9e, 0x2a, 0x2c, 0xac, 0xaa, 0x02, 0x82, 0x1c, 0x9c, 0xe0, 0x48, 0xe0, 0xc8, 0x01, 0x81];

/// The guest has seen these bytes of the keyboard, and no others.
pub(super) fn check_scan_codes(output: &str, expected: &[u8]) -> Result<()> {
    let codes: Vec<_> = output.lines().filter_map(|line| line.trim().strip_prefix("SCAN ")).collect();
    let expected: Vec<_> = expected.iter().map(|code| format!("{code:02x}")).collect();
    ensure!(codes == expected, "typed {expected:?}, the guest saw {codes:?}");
    Ok(())
}

fn input(context: &Context) -> Result<()> {
    let guest = context.start(&context.test_guest("input", DeviceModel::Stubdom, "run=keyboard,mouse,echo")?)?;
    guest.serial().wait_for("READY keyboard", LIMIT)?;
    let mut viewer = guest.viewer()?;
    viewer.type_text("aZ1\n")?;
    for key in [UP, ESCAPE] {
        viewer.key(key, true)?;
        viewer.key(key, false)?;
    }
    let output = guest.serial().wait_for("PASS keyboard", LIMIT)?;
    check_scan_codes(&output, SCAN_CODES)?;

    guest.serial().wait_for("READY mouse", LIMIT)?;
    // The first place is where movements are counted from.
    viewer.point(100, 100, 0)?;
    viewer.point(110, 105, 0)?;
    guest.serial().wait_for("MOUSE 0 10 -5 0", LIMIT)?;
    // Left and right are bits 0 and 2 for VNC, 0 and 1 for PS/2; bit 3 is the wheel turned up, which PS/2 counts down.
    for buttons in [1, 0, 8, 0, 4, 0] {
        viewer.point(110, 105, buttons)?;
    }
    let output = guest.serial().wait_for("PASS mouse", LIMIT)?;
    let packets: Vec<_> = output.lines().filter_map(|line| line.trim().strip_prefix("MOUSE ")).collect();
    for packet in ["1 0 0 0", "0 0 0 0", "0 0 0 -1", "2 0 0 0"] {
        ensure!(packets.contains(&packet), "no packet {packet:?} among {packets:?}");
    }

    guest.serial().wait_for("READY echo", LIMIT)?;
    guest.serial().send(b"abc xyz 019\n")?;
    guest.serial().wait_for("ECHO ABC XYZ 019", LIMIT)?;
    // Longer than the FIFOs on the way: nothing is lost.
    let long = "0123456789abcdefghijklmnopqrstuvwxyz".repeat(3);
    guest.serial().send(format!("{long}\nquit\n").as_bytes())?;
    let output = guest.serial().wait_for("DONE", LIMIT)?;
    ensure!(output.contains(&format!("ECHO {}", long.to_uppercase())), "a long line was changed on its way:\n{output}");
    guest_image::judge(&output)?;
    guest.wait_for_end(Duration::from_secs(60))?;
    Ok(())
}
