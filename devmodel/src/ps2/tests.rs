//! The controller and its devices through their two ports.

use super::*;
use crate::host::InputEvent;
use std::vec::Vec;

const KEYBOARD_AND_MOUSE_INTERRUPTS: u8 = 0x03;
const TRANSLATE: u8 = 0x40;

/// A machine that does what the real one does: report levels, advance, report levels.
#[derive(Default)]
struct Machine {
    i8042: I8042,
    levels: [Level; 2],
    /// Edges seen on IRQ 1 and IRQ 12.
    edges: [usize; 2],
    now: Instant,
}

impl Machine {
    /// Firmware is done: interrupts on, and translation as asked for.
    fn new(command_byte: u8) -> Self {
        let mut machine = Self::default();
        machine.command(0x60);
        machine.data(command_byte);
        machine.edges = [0; 2];
        machine
    }

    fn with_mouse() -> Self {
        let mut machine = Self::new(KEYBOARD_AND_MOUSE_INTERRUPTS);
        assert_eq!(machine.mouse(&[0xf4]), [0xfa]);
        machine
    }

    fn settle(&mut self) {
        self.report();
        if self.i8042.advance() {
            self.report();
        }
    }

    fn report(&mut self) {
        let new = [self.i8042.irq1_level(), self.i8042.irq12_level()];
        for ((edges, old), new) in self.edges.iter_mut().zip(&mut self.levels).zip(new) {
            *edges += usize::from((*old, new) == (Level::Low, Level::High));
            *old = new;
        }
    }

    fn write(&mut self, port: u16, value: u8) -> Effect {
        let effect = self.i8042.write(port, value);
        self.settle();
        effect
    }

    fn command(&mut self, command: u8) {
        assert_eq!(self.write(0x64, command), Effect::Nothing);
    }

    fn data(&mut self, data: u8) {
        assert_eq!(self.write(0x60, data), Effect::Nothing);
    }

    fn status(&mut self) -> u8 {
        let status = self.i8042.read(0x64);
        self.settle();
        status
    }

    fn read(&mut self) -> u8 {
        let data = self.i8042.read(0x60);
        self.settle();
        data
    }

    /// Everything that can be read.
    fn drain(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.status() & 1 != 0 {
            bytes.push(self.read());
            assert!(bytes.len() < 1000, "the devices have an end");
        }
        bytes
    }

    fn keyboard(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut answers = Vec::new();
        for byte in bytes {
            self.data(*byte);
            answers.extend(self.drain());
        }
        answers
    }

    fn mouse(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut answers = Vec::new();
        for byte in bytes {
            self.command(0xd4);
            self.data(*byte);
            while self.status() & 0x21 == 0x21 {
                answers.push(self.read());
            }
        }
        answers
    }

    fn input(&mut self, event: InputEvent) {
        self.i8042.input(event, self.now);
        self.settle();
    }

    fn key(&mut self, code: u16, down: bool) {
        self.input(InputEvent::Key { code, down });
    }

    /// Lets milliseconds pass.
    fn wait(&mut self, milliseconds: u64) {
        self.now = self.now.after(milliseconds * 1_000_000);
    }

    /// Holds a key for so many milliseconds, while a viewer says so in intervals of this length, and gives the times at which its
    /// code came, counted from when it went down.
    fn hold(&mut self, code: u16, milliseconds: u64, interval: u64) -> Vec<u64> {
        let mut times = Vec::new();
        for count in 0..milliseconds.div_ceil(interval) {
            self.key(code, true);
            times.extend(self.drain().first().map(|_| count * interval));
            self.wait(interval);
        }
        self.key(code, false);
        self.drain();
        times
    }

    fn press_and_release(&mut self, code: u16) -> Vec<u8> {
        self.key(code, true);
        self.key(code, false);
        self.drain()
    }

    fn motion(&mut self, dx: i32, dy: i32, wheel: i32) {
        self.input(InputEvent::Motion { dx, dy, wheel });
    }

    fn button(&mut self, code: u16, down: bool) {
        self.input(InputEvent::Button { code, down });
    }
}

/// SeaBIOS `ps2_keyboard_setup`, as it talks to the controller and the keyboard.
#[test]
fn seabios_sets_the_keyboard_up() {
    let mut machine = Machine::default();
    assert!(machine.drain().is_empty());
    machine.command(0xad);
    machine.command(0xa7);
    machine.command(0xaa);
    assert_eq!(machine.drain(), [0x55]);
    machine.command(0xab);
    assert_eq!(machine.drain(), [0x00]);
    machine.edges = [0; 2];
    for (command, answer) in [(0xff, [0xfa, 0xaa].as_slice()), (0xf5, &[0xfa]), (0xf0, &[0xfa]), (0x02, &[0xfa])] {
        machine.command(0x60);
        machine.data(0x30);
        machine.command(0x60);
        machine.data(0x20);
        assert_eq!(machine.keyboard(&[command]), answer);
        machine.command(0x60);
        machine.data(0x30);
    }
    assert_eq!(machine.edges, [0, 0]);
    machine.command(0x60);
    machine.data(0x61);
    assert_eq!(machine.keyboard(&[0xf4]), [0xfa]);
    assert_eq!(machine.press_and_release(30), [0x1e, 0x9e]);
}

/// Linux `i8042_check_aux`: the loop command returns the byte as the mouse's, and raises IRQ 12.
#[test]
fn linux_finds_the_mouse_port() {
    let mut machine = Machine::new(0x43);
    machine.command(0xd3);
    machine.data(0x5a);
    assert_eq!((machine.status() & 0x21, machine.edges), (0x21, [0, 1]));
    assert_eq!(machine.read(), 0x5a);
    machine.command(0xa9);
    assert_eq!(machine.drain(), [0x00]);
    machine.command(0xa7);
    machine.command(0x20);
    assert_eq!(machine.drain(), [0x63]);
    machine.command(0xa8);
    machine.command(0x20);
    assert_eq!(machine.drain(), [0x43]);
}

#[test]
fn the_status_register_says_what_was_written_and_what_can_be_read() {
    let mut machine = Machine::default();
    assert_eq!(machine.status(), 0x18);
    machine.command(0xaa);
    assert_eq!(machine.status(), 0x1d);
    machine.read();
    assert_eq!(machine.status(), 0x1c);
    machine.data(0xee);
    assert_eq!(machine.status(), 0x15);
    assert_eq!((machine.read(), machine.read()), (0xee, 0xee));
}

#[test]
fn the_output_port_resets_and_moves_address_line_20() {
    let mut machine = Machine::default();
    machine.command(0xd0);
    assert_eq!(machine.drain(), [0xcf]);
    machine.command(0xd1);
    assert_eq!(machine.write(0x60, 0xdd), Effect::A20(false));
    assert!(!machine.i8042.a20());
    assert_eq!(machine.write(0x64, 0xdf), Effect::A20(true));
    assert_eq!(machine.write(0x64, 0xdf), Effect::Nothing);
    assert_eq!(machine.write(0x64, 0xdd), Effect::A20(false));
    machine.command(0xd1);
    assert_eq!(machine.write(0x60, 0x02), Effect::Reset);
    assert_eq!(machine.write(0x64, 0xfe), Effect::Reset);
    assert_eq!(machine.write(0x64, 0xf0), Effect::Reset);
    assert_eq!(machine.write(0x64, 0xff), Effect::Nothing);
}

#[test]
fn a_byte_can_be_put_into_the_output_buffer() {
    let mut machine = Machine::new(0x03);
    machine.command(0xd2);
    machine.data(0x77);
    assert_eq!((machine.status() & 0x21, machine.edges), (0x01, [1, 0]));
    assert_eq!(machine.read(), 0x77);
    machine.command(0xc0);
    assert_eq!(machine.drain(), [0x80]);
    machine.command(0xa4);
    assert_eq!(machine.drain(), [0xf1]);
}

/// An interrupt handler that reads one byte an interrupt must see an edge for each byte.
#[test]
fn every_byte_has_its_own_edge() {
    let mut machine = Machine::new(0x01);
    machine.key(102, true);
    machine.key(102, false);
    let bytes: Vec<u8> = (0..5).map(|_| machine.read()).collect();
    assert_eq!(bytes, [0xe0, 0x6c, 0xe0, 0xf0, 0x6c]);
    assert_eq!(machine.edges, [5, 0]);
    assert_eq!(machine.levels, [Level::Low; 2]);
}

#[test]
fn a_disabled_port_holds_its_bytes() {
    let mut machine = Machine::new(0x03);
    machine.command(0xad);
    machine.key(30, true);
    assert_eq!(machine.status() & 1, 0);
    machine.command(0xae);
    assert_eq!(machine.drain(), [0x1c]);
    machine.command(0xad);
    assert_eq!(machine.keyboard(&[0xee]), [0xee], "writing to the keyboard starts its clock");
    machine.command(0x20);
    assert_eq!(machine.drain(), [0x03]);
}

/// Reference, "Set/Reset Status Indicators": the keyboard stops scanning until it has the option byte.
#[test]
fn a_key_waits_while_a_command_waits_for_its_parameter() {
    let mut machine = Machine::new(0x03);
    assert_eq!(machine.keyboard(&[0xed]), [0xfa]);
    assert!(machine.press_and_release(30).is_empty());
    assert_eq!(machine.keyboard(&[0x04]), [0xfa, 0x1c, 0xf0, 0x1c]);
    assert_eq!(machine.i8042.lamps(), 4);
}

/// Linux `atkbd_probe` and `atkbd_activate`.
#[test]
fn the_keyboard_answers_commands() {
    let mut machine = Machine::new(KEYBOARD_AND_MOUSE_INTERRUPTS);
    assert_eq!(machine.keyboard(&[0xf2]), [0xfa, 0xab, 0x83]);
    assert_eq!(machine.keyboard(&[0xed, 0x05]), [0xfa, 0xfa]);
    assert_eq!(machine.i8042.lamps(), 5);
    assert_eq!(machine.keyboard(&[0xf3, 0x00]), [0xfa, 0xfa]);
    assert_eq!(machine.keyboard(&[0xee]), [0xee]);
    assert_eq!(machine.keyboard(&[0xfe]), [0xee], "resend");
    assert_eq!(machine.keyboard(&[0xef]), [0xfe], "no such command");
    assert_eq!(machine.keyboard(&[0xed, 0xf4]), [0xfa, 0xfa], "a command in place of a parameter");
    assert_eq!(machine.keyboard(&[0xf5]), [0xfa]);
    assert!(machine.press_and_release(30).is_empty());
    assert_eq!(machine.keyboard(&[0xf4]), [0xfa]);
    assert_eq!(machine.press_and_release(30), [0x1c, 0xf0, 0x1c]);
    assert_eq!(machine.keyboard(&[0xff]), [0xfa, 0xaa]);
    assert_eq!(machine.i8042.lamps(), 0);
}

#[test]
fn answers_are_translated_as_scan_codes_are() {
    let mut machine = Machine::new(TRANSLATE);
    assert_eq!(machine.keyboard(&[0xf2]), [0xfa, 0xab, 0x41]);
    assert_eq!(machine.keyboard(&[0xf0, 0x00]), [0xfa, 0xfa, 0x41]);
}

#[test]
fn the_three_sets_of_scan_codes() {
    let mut machine = Machine::new(KEYBOARD_AND_MOUSE_INTERRUPTS);
    assert_eq!(machine.press_and_release(111), [0xe0, 0x71, 0xe0, 0xf0, 0x71]);
    assert_eq!(machine.keyboard(&[0xf0, 0x01]), [0xfa, 0xfa]);
    assert_eq!(machine.press_and_release(111), [0xe0, 0x53, 0xe0, 0xd3]);
    assert_eq!(machine.keyboard(&[0xf0, 0x00]), [0xfa, 0xfa, 0x01]);
    assert_eq!(machine.keyboard(&[0xf0, 0x03]), [0xfa, 0xfa]);
    assert_eq!(machine.press_and_release(111), [0x64, 0xf0, 0x64]);
    assert_eq!(machine.keyboard(&[0xf0, 0x04]), [0xfa, 0xfe]);
    assert_eq!(machine.keyboard(&[0xf0, 0x00]), [0xfa, 0xfa, 0x03]);
}

/// Commands 0xf7 to 0xfd: what keys of set 3 do.
#[test]
fn keys_of_set_3_can_be_told_what_to_send() {
    let mut machine = Machine::new(KEYBOARD_AND_MOUSE_INTERRUPTS);
    machine.keyboard(&[0xf0, 0x03]);
    assert_eq!(machine.keyboard(&[0xf9]), [0xfa]);
    assert_eq!(machine.press_and_release(30), [0x1c]);
    assert_eq!(machine.keyboard(&[0xfc, 0x1c, 0x1b, 0xf4]), [0xfa, 0xfa, 0xfa, 0xfa]);
    for _ in 0..5 {
        machine.key(30, true);
        machine.wait(1000);
    }
    assert_eq!(machine.press_and_release(30), [0x1c, 0xf0, 0x1c], "it does not repeat");
    assert_eq!(machine.press_and_release(48), [0x32]);
    assert_eq!(machine.keyboard(&[0xfa]), [0xfa]);
    machine.key(48, true);
    machine.wait(1000);
    assert_eq!(machine.press_and_release(48), [0x32, 0x32, 0xf0, 0x32]);
}

#[test]
fn print_screen_and_pause_send_their_long_sequences() {
    let mut machine = Machine::new(TRANSLATE);
    assert_eq!(machine.press_and_release(99), [0xe0, 0x2a, 0xe0, 0x37, 0xe0, 0xb7, 0xe0, 0xaa]);
    assert_eq!(machine.press_and_release(119), [0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5]);
    machine.key(29, true);
    assert_eq!(machine.drain(), [0x1d]);
    assert_eq!(machine.press_and_release(119), [0xe0, 0x46, 0xe0, 0xc6]);
    assert_eq!(machine.press_and_release(99), [0xe0, 0x37, 0xe0, 0xb7]);
    machine.key(29, false);
    machine.key(56, true);
    assert_eq!(machine.drain(), [0x9d, 0x38]);
    machine.key(99, true);
    machine.key(56, false);
    machine.key(99, false);
    assert_eq!(machine.drain(), [0x54, 0xb8, 0xd4]);
}

#[test]
fn a_key_that_stays_down_repeats_and_a_release_without_a_press_is_nothing() {
    let mut machine = Machine::new(TRANSLATE);
    machine.key(30, true);
    machine.key(30, true);
    machine.wait(500);
    machine.key(30, true);
    machine.key(30, true);
    machine.key(30, false);
    machine.key(30, false);
    assert_eq!(machine.drain(), [0x1e, 0x1e, 0x9e]);
    machine.key(0, true);
    machine.key(0x2ff, true);
    machine.key(u16::MAX, true);
    assert!(machine.drain().is_empty());
}

/// Set Typematic Rate/Delay: bits 5 and 6 are the delay in steps of 250 ms, bits 0 to 4 the rate, from 30 to 2 a second.
#[test]
fn a_key_repeats_no_sooner_and_no_faster_than_the_guest_wants() {
    for (parameter, delay, period) in
        [(0x00, 250, 33.3), (0x2b, 500, 91.7), (0x54, 750, 200.0), (0x7f, 1000, 500.0), (0xe0, 1000, 33.3)]
    {
        let mut machine = Machine::new(KEYBOARD_AND_MOUSE_INTERRUPTS);
        machine.keyboard(&[0xf3, parameter]);
        let times = machine.hold(30, 5000, 1);
        let [0, first, ref rest @ ..] = times[..] else { panic!("{times:?}") };
        assert!(first <= delay && first * 10 >= delay * 8, "{parameter:#x}: {first} ms");
        let mean = (rest[rest.len() - 1] - first) as f64 / rest.len() as f64;
        assert!((mean / period - 1.0).abs() < 0.02, "{parameter:#x}: every {mean} ms");
        let shortest = times.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap() as f64;
        assert!(shortest > period * 0.59, "{parameter:#x}: {shortest} ms");
    }
}

/// What the viewer repeats a little faster than the guest wants is not halved, and what it repeats more slowly comes as it is.
#[test]
fn a_key_repeats_as_fast_as_the_viewer_where_the_guest_lets_it() {
    for (interval, least) in [(200, 10), (50, 38), (40, 47), (34, 55), (33, 55), (30, 51), (25, 51), (17, 51)] {
        let mut machine = Machine::new(KEYBOARD_AND_MOUSE_INTERRUPTS);
        machine.keyboard(&[0xf3, 0x00]);
        let count = machine.hold(30, 2250, interval).len();
        assert!((least..=63).contains(&count), "every {interval} ms: {count}");
    }
}

/// "Only the last key pressed repeats. Repetition stops when it is released, even if other keys are held down."
#[test]
fn the_key_that_was_pressed_last_repeats_and_no_other() {
    let mut machine = Machine::new(KEYBOARD_AND_MOUSE_INTERRUPTS);
    machine.key(30, true);
    machine.wait(900);
    machine.key(48, true);
    assert_eq!(machine.drain(), [0x1c, 0x32]);
    machine.wait(400);
    machine.key(30, true);
    machine.key(48, true);
    assert!(machine.drain().is_empty(), "one is not the last, and the other was not long enough down");
    machine.wait(100);
    machine.key(30, true);
    machine.key(48, true);
    assert_eq!(machine.drain(), [0x32]);
    // That another one is released changes nothing.
    machine.key(30, false);
    machine.wait(100);
    machine.key(48, true);
    assert_eq!(machine.drain(), [0xf0, 0x1c, 0x32]);
    machine.wait(10_000);
    assert!(machine.drain().is_empty(), "no key repeats while nobody says that it is held");
}

/// A viewer that was elsewhere when the key went up.
#[test]
fn a_key_whose_release_got_lost_can_be_pressed() {
    let mut machine = Machine::new(KEYBOARD_AND_MOUSE_INTERRUPTS);
    machine.key(30, true);
    machine.press_and_release(48);
    assert_eq!(machine.press_and_release(30), [0x1c, 0xf0, 0x1c]);
}

#[test]
fn pause_does_not_repeat() {
    let mut machine = Machine::new(KEYBOARD_AND_MOUSE_INTERRUPTS);
    assert_eq!(machine.hold(119, 3000, 100), [0]);
}

#[test]
fn defaults_and_resets_give_the_default_rate() {
    for command in [0xf5, 0xf6, 0xff] {
        let mut machine = Machine::new(KEYBOARD_AND_MOUSE_INTERRUPTS);
        machine.keyboard(&[0xf3, 0x7f, command, 0xf4]);
        assert_eq!(machine.hold(30, 700, 10), [0, 490, 580, 670], "{command:#x}");
    }
}

/// As where somebody holds a key to get at the menu of the firmware.
#[test]
fn a_key_that_is_held_during_a_reset_repeats_afterwards() {
    let mut machine = Machine::new(KEYBOARD_AND_MOUSE_INTERRUPTS);
    machine.key(1, true);
    machine.drain();
    machine.keyboard(&[0xf5]);
    machine.wait(1000);
    machine.key(1, true);
    assert!(machine.drain().is_empty());
    machine.keyboard(&[0xff]);
    machine.key(1, true);
    assert_eq!(machine.drain(), [0x76]);
}

#[test]
fn repetition_goes_on_in_a_machine_that_takes_over() {
    let mut machine = Machine::new(KEYBOARD_AND_MOUSE_INTERRUPTS);
    machine.keyboard(&[0xf3, 0x34]);
    machine.key(30, true);
    machine.drain();
    machine.wait(300);
    let saved = crate::state::to_bytes(&machine.i8042);
    let mut other =
        Machine { i8042: crate::state::from_bytes(&saved).unwrap(), now: machine.now, ..Machine::default() };
    for machine in [&mut machine, &mut other] {
        assert_eq!(machine.hold(30, 700, 10), [160, 360, 560]);
    }
}

/// "When the buffer is full, the 17th byte is replaced by an overrun code."
#[test]
fn a_full_keyboard_says_that_codes_were_lost() {
    let mut machine = Machine::new(0x10);
    for _ in 0..100 {
        machine.key(111, true);
        machine.key(111, false);
    }
    machine.command(0xae);
    let bytes = machine.drain();
    let whole = [0xe0, 0x71, 0xe0, 0xf0, 0x71].repeat(3);
    assert_eq!((&bytes[..15], &bytes[15..]), (whole.as_slice(), [0x00].as_slice()));
}

#[test]
fn an_answer_comes_before_codes_that_wait() {
    let mut machine = Machine::new(0x10);
    machine.key(30, true);
    machine.data(0xed);
    assert_eq!(machine.drain(), [0xfa]);
    machine.data(0x00);
    assert_eq!(machine.drain(), [0xfa, 0x1c]);
}

/// Linux `psmouse_probe`, `intellimouse_detect` and `im_explorer_detect`.
#[test]
fn the_mouse_becomes_what_the_driver_asks_for() {
    let mut machine = Machine::new(KEYBOARD_AND_MOUSE_INTERRUPTS);
    assert_eq!(machine.mouse(&[0xff]), [0xfa, 0xaa, 0x00]);
    assert_eq!(machine.mouse(&[0xf2]), [0xfa, 0x00]);
    assert_eq!(machine.mouse(&[0xf3, 200, 0xf3, 100, 0xf3, 80]), [0xfa; 6]);
    assert_eq!(machine.mouse(&[0xf2]), [0xfa, 0x03]);
    assert_eq!(machine.mouse(&[0xf3, 200, 0xf3, 200, 0xf3, 80]), [0xfa; 6]);
    assert_eq!(machine.mouse(&[0xf2]), [0xfa, 0x04]);
    assert_eq!(machine.mouse(&[0xf6, 0xf2]), [0xfa, 0xfa, 0x04]);
    assert_eq!(machine.mouse(&[0xff, 0xf2]), [0xfa, 0xaa, 0x00, 0xfa, 0x00]);
}

#[test]
fn the_mouse_reports_its_status() {
    let mut machine = Machine::new(KEYBOARD_AND_MOUSE_INTERRUPTS);
    assert_eq!(machine.mouse(&[0xe9]), [0xfa, 0x00, 0x02, 100]);
    assert_eq!(machine.mouse(&[0xe8, 0x03, 0xf3, 60, 0xe7, 0xf4]), [0xfa; 6]);
    machine.button(0x111, true);
    assert_eq!(machine.drain().len(), 3);
    assert_eq!(machine.mouse(&[0xe9]), [0xfa, 0x31, 0x03, 60]);
    assert_eq!(machine.mouse(&[0xe8, 0x04]), [0xfa, 0xfe]);
    assert_eq!(machine.mouse(&[0xe1]), [0xfe]);
}

/// The packet: overflow and signs, buttons; x; y, up positive.
#[test]
fn movements_and_buttons_become_packets() {
    let mut machine = Machine::with_mouse();
    machine.motion(5, 3, 0);
    assert_eq!(machine.drain(), [0x28, 5, 0xfd]);
    machine.motion(-1, -2, 1);
    assert_eq!(machine.drain(), [0x18, 0xff, 2]);
    machine.button(0x110, true);
    assert_eq!(machine.drain(), [0x09, 0, 0]);
    machine.button(0x110, true);
    machine.motion(0, 0, 0);
    assert!(machine.drain().is_empty());
    assert!(machine.edges[1] >= 9);
}

#[test]
fn a_click_between_two_packets_is_not_lost() {
    let mut machine = Machine::with_mouse();
    machine.command(0xa7);
    machine.motion(1, 0, 0);
    machine.button(0x110, true);
    machine.motion(2, 0, 0);
    machine.button(0x110, false);
    machine.button(0x999, true);
    machine.command(0xa8);
    assert_eq!(machine.drain(), [0x08, 1, 0, 0x09, 2, 0, 0x08, 0, 0]);
}

#[test]
fn long_movements_are_carried_into_the_next_packets() {
    let mut machine = Machine::with_mouse();
    machine.motion(600, -256, 0);
    assert_eq!(machine.drain(), [0x08, 255, 255, 0x08, 255, 1, 0x08, 90, 0]);
    machine.motion(-300, 0, 0);
    assert_eq!(machine.drain(), [0x18, 0x01, 0, 0x18, 0xd3, 0]);
}

#[test]
fn a_flood_of_movement_stays_bounded() {
    let mut machine = Machine::with_mouse();
    machine.command(0xa7);
    for turn in 0..1000 {
        machine.motion(i32::MAX, i32::MIN, i32::MIN);
        machine.button(0x110, turn % 2 == 0);
    }
    machine.command(0xa8);
    let mut bytes = 0;
    while machine.status() & 1 != 0 {
        machine.read();
        bytes += 1;
    }
    assert!((3..=17 * 3 * 130).contains(&bytes), "{bytes}");
}

#[test]
fn wheel_and_fourth_and_fifth_button_are_in_the_fourth_byte() {
    let mut machine = Machine::with_mouse();
    machine.mouse(&[0xf3, 200, 0xf3, 100, 0xf3, 80]);
    machine.motion(0, 0, 1);
    assert_eq!(machine.drain(), [0x08, 0, 0, 0xff]);
    machine.motion(0, 0, -9);
    assert_eq!(machine.drain(), [0x08, 0, 0, 7, 0x08, 0, 0, 2]);
    machine.mouse(&[0xf3, 200, 0xf3, 200, 0xf3, 80]);
    machine.button(0x113, true);
    assert_eq!(machine.drain(), [0x08, 0, 0, 0x10]);
    machine.button(0x114, true);
    machine.motion(0, 0, 1);
    assert_eq!(machine.drain(), [0x08, 0, 0, 0x30, 0x08, 0, 0, 0x3f]);
}

#[test]
fn scaling_2_to_1_follows_its_table() {
    let mut machine = Machine::with_mouse();
    machine.mouse(&[0xe7]);
    for (moved, reported) in [(1, 1), (2, 1), (3, 3), (4, 6), (5, 9), (6, 12), (100, 200)] {
        machine.motion(moved, 0, 0);
        assert_eq!(machine.drain(), [0x08, reported, 0]);
    }
}

#[test]
fn remote_mode_answers_when_asked_and_wrap_mode_echoes() {
    let mut machine = Machine::with_mouse();
    assert_eq!(machine.mouse(&[0xf0]), [0xfa]);
    machine.motion(7, 0, 0);
    assert!(machine.drain().is_empty());
    assert_eq!(machine.mouse(&[0xeb]), [0xfa, 0x08, 7, 0]);
    assert_eq!(machine.mouse(&[0xeb]), [0xfa, 0x08, 0, 0]);
    assert_eq!(machine.mouse(&[0xea, 0xee]), [0xfa, 0xfa]);
    assert_eq!(machine.mouse(&[0xf4, 0xe9, 0x12]), [0xf4, 0xe9, 0x12]);
    assert_eq!(machine.mouse(&[0xec, 0xe6]), [0xfa, 0xfa]);
}

#[test]
fn positions_become_movements_of_as_many_pixels() {
    let mut machine = Machine::with_mouse();
    machine.i8042.screen_resized(640, 480);
    machine.input(InputEvent::Position { x: 0, y: 0, wheel: 0 });
    assert!(machine.drain().is_empty());
    machine.input(InputEvent::Position { x: 16384, y: 16384, wheel: 0 });
    assert_eq!(machine.drain(), [0x28, 255, 0x10, 0x08, 65, 0]);
    machine.input(InputEvent::Position { x: u16::MAX, y: 16384, wheel: 0 });
    assert_eq!(machine.drain().len(), 6);
    machine.input(InputEvent::Position { x: u16::MAX, y: 16384, wheel: 0 });
    assert!(machine.drain().is_empty());
}

#[test]
fn a_mouse_that_does_not_report_forgets_movements() {
    let mut machine = Machine::new(KEYBOARD_AND_MOUSE_INTERRUPTS);
    machine.motion(5, 5, 0);
    machine.button(0x110, true);
    assert!(machine.drain().is_empty());
    assert_eq!(machine.mouse(&[0xf4]), [0xfa]);
    assert!(machine.drain().is_empty());
    machine.motion(1, 0, 0);
    assert_eq!(machine.drain(), [0x09, 1, 0]);
}

#[test]
fn a_reset_of_the_machine_forgets_everything_but_what_is_held_down() {
    let mut machine = Machine::with_mouse();
    machine.mouse(&[0xf3, 200, 0xf3, 100, 0xf3, 80]);
    machine.key(30, true);
    machine.button(0x110, true);
    machine.i8042.reset();
    assert_eq!(machine.status(), 0x18);
    assert_eq!(machine.mouse(&[0xf2, 0xf4]), [0xfa, 0x00, 0xfa]);
    machine.key(30, false);
    assert_eq!(machine.drain(), [0xf0, 0x1c]);
    machine.motion(1, 0, 0);
    assert_eq!(machine.drain(), [0x09, 1, 0]);
}

#[test]
fn any_accesses_and_events_leave_the_queues_bounded() {
    let mut machine = Machine::default();
    let mut state = 0xda94_2042_e4dd_58b5_u64;
    for _ in 0..300_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let [what, value, a, b, c, d, ..] = state.to_le_bytes();
        let word = u16::from_le_bytes([a, b]);
        match what % 8 {
            0 => drop(machine.write(0x60, value)),
            1 => drop(machine.write(0x64, value)),
            2 | 3 => drop(machine.read()),
            4 => drop(machine.status()),
            5 => machine.key(word & 0x1ff, value & 1 == 0),
            6 => machine.button(0x110 + (word & 7), value & 1 == 0),
            _ if value & 1 == 0 => machine.input(InputEvent::Position { x: word, y: u16::from(c), wheel: 0 }),
            _ => machine.motion(i32::from_le_bytes([a, b, c, d]), i32::from(value), i32::from(c)),
        }
        assert!(machine.levels != [Level::High; 2]);
    }
    // Whatever state that is, the controller still answers once its buffers are read.
    for _ in 0..100_000 {
        if machine.status() & 1 == 0 {
            break;
        }
        machine.read();
        machine.command(0xad);
        machine.command(0xa7);
    }
    machine.command(0xaa);
    assert_eq!(machine.drain(), [0x55]);
}
