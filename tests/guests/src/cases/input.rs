//! What comes from outside: serial lines, keys, the mouse.
//!
//! Source: IBM PS/2 Technical Reference, keyboard and auxiliary device controller; Intel 8042.

use crate::report::{Outcome, Report};
use crate::time::Deadline;
use crate::{bail, ensure, interrupts, line, port, serial};

/// Prints each line from COM1 in upper case, until one is "quit".
pub(crate) fn echo(report: &mut Report) {
    report.ready("echo");
    let mut text = heapless::String::<120>::new();
    loop {
        match serial::receive() {
            b'\r' => {}
            b'\n' if text == "quit" => break,
            b'\n' => {
                text.make_ascii_uppercase();
                line!("ECHO {text}");
                text.clear();
            }
            // What does not fit is dropped.
            byte => drop(text.push(char::from(byte))),
        }
    }
    report.check("echo", Ok(()));
}

/// Data port of the keyboard controller.
const DATA: u16 = 0x60;
/// Status and command port of the keyboard controller.
const STATUS: u16 = 0x64;
/// Status: there is a byte to read.
const OUTPUT_FULL: u8 = 1 << 0;
/// Status: the controller has not yet taken the last byte.
const INPUT_FULL: u8 = 1 << 1;
/// Status: the byte to read is the mouse's.
const FROM_MOUSE: u8 = 1 << 5;

/// Writes to the controller once it takes a byte.
fn send(port: u16, value: u8) -> Outcome {
    let deadline = Deadline::milliseconds(5000);
    while port::in8(STATUS) & INPUT_FULL != 0 {
        ensure!(!deadline.passed(), "the controller takes no byte");
    }
    port::out8(port, value);
    Ok(())
}

/// Reads the next byte from the controller.
fn receive() -> Result<u8, crate::report::Failure> {
    let deadline = Deadline::milliseconds(5000);
    while port::in8(STATUS) & OUTPUT_FULL == 0 {
        if deadline.passed() {
            bail!("the controller gives no byte");
        }
    }
    Ok(port::in8(DATA))
}

/// Throws away what waits in the controller.
fn drain() {
    for _ in 0..64 {
        if port::in8(STATUS) & OUTPUT_FULL == 0 {
            break;
        }
        port::in8(DATA);
    }
}

/// Changes the controller's command byte.
fn change_command_byte(clear: u8, set: u8) -> Outcome {
    send(STATUS, 0x20)?;
    let old = receive()?;
    send(STATUS, 0x60)?;
    send(DATA, old & !clear | set)
}

/// Sleeps until a line has interrupted since `seen` or there is a byte already.
fn wait(irq: u8, seen: u64) {
    interrupts::wait_until(Deadline::NEVER, || interrupts::count(irq) > seen);
}

/// Prints `SCAN xx` for each byte of the keyboard, as interrupts bring them, until Escape is released.
pub(crate) fn keyboard(report: &mut Report) {
    // Interrupts and translation to set 1 on, the mouse off.
    drain();
    let outcome = change_command_byte(0x32, 0x61).and_then(|()| {
        // SET DEFAULT, then enable scanning.
        send(DATA, 0xf4)?;
        let answer = receive()?;
        ensure!(answer == 0xfa, "answer {answer:#04x} to 0xf4");
        interrupts::unmask(1);
        report.ready("keyboard");
        let mut without_interrupt = 0;
        loop {
            let seen = interrupts::count(1);
            if port::in8(STATUS) & OUTPUT_FULL == 0 {
                wait(1, seen);
                continue;
            }
            without_interrupt += u32::from(interrupts::count(1) == 0);
            let code = port::in8(DATA);
            line!("SCAN {code:02x}");
            if code == 0x81 {
                break;
            }
        }
        ensure!(without_interrupt == 0, "bytes came without an interrupt");
        Ok(())
    });
    report.check("keyboard", outcome);
}

/// Sends a byte to the mouse and gives its answer.
fn to_mouse(byte: u8) -> Result<u8, crate::report::Failure> {
    send(STATUS, 0xd4)?;
    send(DATA, byte)?;
    receive()
}

/// Prints `MOUSE buttons dx dy dz` for each packet, until the right button is released after it was pressed.
pub(crate) fn mouse(report: &mut Report) {
    let outcome = packets(report);
    report.check("mouse", outcome);
}

fn packets(report: &mut Report) -> Outcome {
    send(STATUS, 0xa8)?;
    // No interrupts while commands are answered, the keyboard's clock off.
    change_command_byte(0x23, 0x10)?;
    drain();
    ensure!(to_mouse(0xff)? == 0xfa, "no answer to a reset");
    ensure!((receive()?, receive()?) == (0xaa, 0x00), "the self-test does not pass");
    // Sampling rates 200, 100, 80 ask for the wheel; the device id is then 3.
    for rate in [200, 100, 80] {
        ensure!(to_mouse(0xf3)? == 0xfa && to_mouse(rate)? == 0xfa, "rate {rate} is refused");
    }
    ensure!(to_mouse(0xf2)? == 0xfa, "no answer to 0xf2");
    let id = receive()?;
    ensure!(id == 3, "device id {id}, not 3");
    ensure!(to_mouse(0xf4)? == 0xfa, "no answer to 0xf4");
    change_command_byte(0x20, 0x02)?;
    interrupts::unmask(12);
    report.ready("mouse");
    let mut packet = heapless::Vec::<u8, 4>::new();
    let mut right = false;
    loop {
        let seen = interrupts::count(12);
        let status = port::in8(STATUS);
        if status & OUTPUT_FULL == 0 {
            wait(12, seen);
            continue;
        }
        let byte = port::in8(DATA);
        ensure!(status & FROM_MOUSE != 0, "byte {byte:#04x} is not the mouse's");
        // Bit 3 of a packet's first byte is always one.
        ensure!(!packet.is_empty() || byte & 8 != 0, "byte {byte:#04x} starts no packet");
        // There is room: it is emptied when full.
        let _ = packet.push(byte);
        if let [flags, x, y, z] = *packet.as_slice() {
            // Nine-bit numbers: the sign is in the first byte.
            let signed = |low: u8, negative: bool| i16::from(low) - if negative { 256 } else { 0 };
            let (dx, dy) = (signed(x, flags & 0x10 != 0), signed(y, flags & 0x20 != 0));
            line!("MOUSE {} {dx} {dy} {}", flags & 7, z.cast_signed());
            packet.clear();
            if right && flags & 2 == 0 {
                break;
            }
            right = flags & 2 != 0;
        }
    }
    ensure!(interrupts::count(12) > 0, "packets came without an interrupt");
    Ok(())
}
