//! The port through its registers; numbers are those of the PC16550D data sheet.

use super::*;
use crate::fake_host::FakeHost;
use std::vec::Vec;

const FCR_ENABLE_TRIGGER_8: u8 = 0x81;
const MCR_OUT2: u8 = 0x08;
const MCR_LOOPBACK: u8 = 0x10;

fn port() -> (Uart16550, FakeHost) {
    (Uart16550::new(SerialId(0)), FakeHost::default())
}

fn sent(host: &FakeHost) -> Vec<u8> {
    host.serial.get(&0).cloned().unwrap_or_default()
}

/// Data sheet, table of reset conditions.
#[test]
fn registers_after_a_master_reset() {
    let (mut uart, _) = port();
    assert_eq!([1, 2, 3, 4, 5].map(|offset| uart.read(offset)), [0x00, 0x01, 0x00, 0x00, 0x60]);
    assert_eq!(uart.irq_level(), Level::Low);
}

#[test]
fn a_polling_driver_sends_byte_after_byte() {
    let (mut uart, mut host) = port();
    for byte in b"hello" {
        assert_eq!(uart.read(5) & 0x60, 0x60);
        uart.write(0, *byte, &mut host);
    }
    assert_eq!(sent(&host), b"hello");
}

/// LCR bit 7 "must be set high to access the divisor latches".
#[test]
fn the_divisor_is_behind_the_first_two_registers() {
    let (mut uart, mut host) = port();
    uart.write(3, 0x83, &mut host);
    uart.write(0, 0x34, &mut host);
    uart.write(1, 0x12, &mut host);
    assert_eq!((uart.read(0), uart.read(1)), (0x34, 0x12));
    uart.write(3, 0x03, &mut host);
    assert_eq!((uart.read(0), uart.read(1)), (0, 0));
    assert!(sent(&host).is_empty());
}

/// Linux `autoconfig`, hvmloader `uart_exists`: only four bits of IER exist; the scratch register keeps all.
#[test]
fn probing_finds_a_16550a() {
    let (mut uart, mut host) = port();
    uart.write(1, 0xff, &mut host);
    assert_eq!(uart.read(1), 0x0f);
    uart.write(1, 0, &mut host);
    uart.write(7, 0xa5, &mut host);
    assert_eq!(uart.read(7), 0xa5);
    uart.write(2, 1, &mut host);
    assert_eq!(uart.read(2), 0xc1);
    uart.write(4, 0xff, &mut host);
    assert_eq!(uart.read(4), 0x1f);
}

/// Linux `autoconfig`: MCR = LOOP | OUT2 | RTS must give DCD | CTS.
#[test]
fn loopback_connects_modem_outputs_to_inputs() {
    let (mut uart, mut host) = port();
    assert_eq!(uart.read(6), 0xb0);
    uart.write(4, MCR_LOOPBACK | 0x0a, &mut host);
    assert_eq!(uart.read(6), 0x90 | 0x02);
    uart.write(4, MCR_LOOPBACK | 0x05, &mut host);
    assert_eq!(uart.read(6), 0x60 | 0x0b);
    // TERI: "the RI input has changed from a low to a high state", that is from on to off.
    uart.write(4, MCR_LOOPBACK | 0x01, &mut host);
    assert_eq!(uart.read(6), 0x20 | 0x04);
    assert_eq!(uart.read(6), 0x20);
}

#[test]
fn loopback_returns_what_is_sent_and_overruns() {
    let (mut uart, mut host) = port();
    uart.write(4, MCR_LOOPBACK, &mut host);
    uart.write(2, 1, &mut host);
    for byte in 0..17 {
        uart.write(0, byte, &mut host);
    }
    assert_eq!(uart.read(5), 0x63);
    assert_eq!(uart.read(5), 0x61, "reading LSR clears the overrun");
    assert_eq!((0..16).map(|_| uart.read(0)).collect::<Vec<_>>(), (0..16).collect::<Vec<_>>());
    assert_eq!(uart.read(5), 0x60);
    assert!(sent(&host).is_empty());
    assert_eq!(uart.receive(b"x"), 0, "the line is not connected");
}

#[test]
fn without_fifos_a_newer_byte_replaces_the_older() {
    let (mut uart, mut host) = port();
    uart.write(4, MCR_LOOPBACK, &mut host);
    uart.write(0, 1, &mut host);
    uart.write(0, 2, &mut host);
    assert_eq!(uart.read(5) & 0x03, 0x03);
    assert_eq!(uart.read(0), 2);
}

#[test]
fn a_break_in_loopback_is_a_zero_byte_with_its_bits() {
    let (mut uart, mut host) = port();
    uart.write(4, MCR_LOOPBACK, &mut host);
    uart.write(2, 1, &mut host);
    uart.write(1, 0x04, &mut host);
    uart.write(0, b'a', &mut host);
    uart.write(3, 0x43, &mut host);
    assert_eq!(uart.read(5), 0x61 | 0x80, "the break is not at the head yet");
    assert_eq!(uart.read(0), b'a');
    assert_eq!(uart.read(2), 0xc6);
    assert_eq!(uart.read(5), 0x61 | 0x98);
    assert_eq!(uart.read(5), 0x61);
    assert_eq!(uart.read(0), 0);
}

/// FCR bits 6 and 7: 1, 4, 8 or 14 bytes. Below the level the time-out interrupt asks, at once.
#[test]
fn received_bytes_interrupt_at_the_trigger_level_and_below_it() {
    let (mut uart, mut host) = port();
    uart.write(4, MCR_OUT2, &mut host);
    uart.write(2, FCR_ENABLE_TRIGGER_8, &mut host);
    uart.write(1, 0x01, &mut host);
    assert_eq!(uart.receive(b"1234567"), 7);
    assert_eq!((uart.irq_level(), uart.read(2)), (Level::High, 0xcc));
    assert_eq!(uart.receive(b"8"), 1);
    assert_eq!(uart.read(2), 0xc4);
    for expected in b"12345678" {
        assert_eq!(uart.read(5) & 1, 1);
        assert_eq!(uart.read(0), *expected);
    }
    assert_eq!((uart.irq_level(), uart.read(2)), (Level::Low, 0xc1));
}

#[test]
fn the_receiver_takes_as_much_as_it_has_room_for() {
    let (mut uart, mut host) = port();
    assert_eq!(uart.receive(b"ab"), 1);
    assert_eq!(uart.receive(b"b"), 0);
    uart.write(2, 1, &mut host);
    assert_eq!(uart.room(), 16, "switching the FIFOs on empties them");
    assert_eq!(uart.receive(&[0x55; 40]), 16);
    assert_eq!(uart.read(5) & 0x02, 0);
    uart.write(2, 0x03, &mut host);
    assert_eq!((uart.room(), uart.read(5)), (16, 0x60));
}

/// IIR: the transmitter interrupt is reset by reading IIR, if it is the source, or by writing THR.
#[test]
fn the_empty_transmitter_interrupts_once_for_each_time_it_becomes_empty() {
    let (mut uart, mut host) = port();
    uart.write(4, MCR_OUT2, &mut host);
    uart.write(1, 0x02, &mut host);
    assert_eq!(uart.irq_level(), Level::High);
    assert_eq!(uart.read(2), 0x02);
    assert_eq!((uart.irq_level(), uart.read(2)), (Level::Low, 0x01));
    uart.write(0, b'x', &mut host);
    assert_eq!((uart.irq_level(), uart.read(2)), (Level::High, 0x02));
    uart.write(1, 0x00, &mut host);
    uart.write(1, 0x02, &mut host);
    assert_eq!(uart.irq_level(), Level::High, "enabling it while the transmitter is empty asks again");
}

#[test]
fn the_transmitter_interrupt_survives_an_iir_read_that_shows_another() {
    let (mut uart, mut host) = port();
    uart.write(1, 0x03, &mut host);
    uart.receive(b"x");
    assert_eq!(uart.read(2), 0x04);
    uart.read(0);
    assert_eq!(uart.read(2), 0x02);
}

#[test]
fn out2_gates_the_interrupt() {
    let (mut uart, mut host) = port();
    uart.write(1, 0x02, &mut host);
    assert_eq!(uart.irq_level(), Level::Low);
    uart.write(4, MCR_OUT2, &mut host);
    assert_eq!(uart.irq_level(), Level::High);
}

#[test]
fn a_host_without_room_keeps_the_transmitter_busy_and_nothing_is_lost() {
    let (mut uart, mut host) = port();
    uart.write(2, 1, &mut host);
    uart.write(1, 0x02, &mut host);
    uart.read(2);
    host.serial_room.insert(0, 2);
    for byte in b"0123456789" {
        uart.write(0, *byte, &mut host);
    }
    assert_eq!(sent(&host), b"01");
    assert_eq!((uart.read(5) & 0x60, uart.read(2)), (0x00, 0xc1));
    uart.ready(&mut host);
    assert_eq!(sent(&host), b"01");
    host.serial_room.insert(0, 3);
    uart.ready(&mut host);
    assert_eq!((sent(&host).as_slice(), uart.read(5) & 0x60), (b"01234".as_slice(), 0x00));
    host.serial_room.remove(&0);
    uart.ready(&mut host);
    assert_eq!(sent(&host), b"0123456789");
    assert_eq!((uart.read(5) & 0x60, uart.read(2)), (0x60, 0xc2));
}

#[test]
fn a_full_transmitter_loses_what_is_written() {
    let (mut uart, mut host) = port();
    host.serial_room.insert(0, 0);
    uart.write(0, 1, &mut host);
    uart.write(0, 2, &mut host);
    host.serial_room.remove(&0);
    uart.ready(&mut host);
    assert_eq!(sent(&host), [1]);
}

#[test]
fn the_fifo_reset_drops_what_waits_and_empties_the_transmitter() {
    let (mut uart, mut host) = port();
    uart.write(2, 1, &mut host);
    host.serial_room.insert(0, 0);
    uart.write(0, 1, &mut host);
    assert_eq!(uart.read(5) & 0x60, 0);
    uart.write(2, 0x05, &mut host);
    assert_eq!(uart.read(5) & 0x60, 0x60);
}

#[test]
fn a_change_of_modem_lines_interrupts_until_it_is_read() {
    let (mut uart, mut host) = port();
    uart.write(1, 0x08, &mut host);
    uart.write(4, MCR_LOOPBACK | MCR_OUT2, &mut host);
    assert_eq!((uart.irq_level(), uart.read(2)), (Level::High, 0x00));
    uart.read(6);
    assert_eq!((uart.irq_level(), uart.read(2)), (Level::Low, 0x01));
}

#[test]
fn any_accesses_keep_the_invariants() {
    let (mut uart, mut host) = port();
    let mut state = 0x853c_49e6_748f_ea9b_u64;
    for _ in 0..300_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let [what, offset, value, room, ..] = state.to_le_bytes();
        match what & 7 {
            0..=2 => drop(uart.read(u16::from(offset))),
            3..=5 => uart.write(u16::from(offset), value, &mut host),
            6 => assert!(uart.receive(&state.to_le_bytes()) <= 8),
            _ => {
                host.serial_room.insert(0, usize::from(room & 3));
                uart.ready(&mut host);
            }
        }
        host.serial.clear();
        assert!(uart.fifos_enabled || (uart.receiver.len() <= 1 && uart.transmitter.len() <= 1));
        assert_eq!(uart.cause().is_none(), uart.clone().read(2) & 1 == 1);
    }
}
