use super::*;
use crate::command_line::{self, Wish};

fn pc(arguments: &str) -> (Pc, Session) {
    let arguments: Vec<_> = arguments.split_whitespace().map(str::to_owned).collect();
    let Wish::Machine(plan) = command_line::parse(&arguments).unwrap() else { panic!("a machine was asked for") };
    (Pc::new(&plan).unwrap(), Session::default())
}

fn check(script: &[(&str, &str)]) {
    let (mut pc, mut session) = pc("-accel qtest -nodefaults -m 16");
    for (command, answer) in script {
        assert_eq!(session.perform(&mut pc, true, command), *answer, "{command}");
    }
}

#[test]
fn memory_is_read_as_it_was_written() {
    check(&[
        ("writeq 0x1000 0x1122334455667788", "OK"),
        ("readb 0x1000", "OK 0x0000000000000088"),
        ("readw 0x1001", "OK 0x0000000000006677"),
        ("readl 0x1002", "OK 0x0000000033445566"),
        ("readq 4096", "OK 0x1122334455667788"),
        ("write 0x2000 4 0xa1b2", "OK"),
        ("read 0x2000 4", "OK 0xa1b20000"),
        ("b64write 0x2001 3 Zm9v", "OK"),
        ("b64read 0x2000 5", "OK oWZvbwA="),
        ("memset 0x2000 2 0x1ff", "OK"),
        ("memset 0x2000 0 1", "OK"),
        ("read 0x2000 3", "OK 0xffff6f"),
    ]);
}

#[test]
fn ports_that_nobody_claims_read_as_ones_and_memory_as_zeros() {
    check(&[
        ("inb 0x21", "OK 0x00ff"),
        ("inw 0x40", "OK 0xffff"),
        ("inl 0x4000", "OK 0xffffffff"),
        ("outl 0x4000 0", "OK"),
        ("readl 0xfee00000", "OK 0x0000000000000000"),
        ("writel 0xfec00000 1", "OK"),
        ("read 0xffffffffffffffff 2", "OK 0x0000"),
    ]);
}

#[test]
fn commands_that_cannot_be_read_are_refused() {
    check(&[
        ("", "ERR empty command"),
        ("outb 0x80", "ERR missing argument"),
        ("inb 0x10000", "ERR there is no such port"),
        ("readb x", "ERR an argument is not a number"),
        ("read 0 0", "ERR invalid argument size"),
        ("read 0 0xffffffffffffffff", "ERR invalid argument size"),
        ("write 0 1 0x", "ERR invalid argument size"),
        ("frobnicate", "FAIL Unknown command 'frobnicate'"),
        ("module_load a b", "FAIL"),
        ("endianness", "OK little"),
    ]);
}

#[test]
fn the_clock_goes_where_it_is_told_and_never_back() {
    check(&[
        ("clock_step", "FAIL cannot advance clock to the next deadline because there is no pending deadline"),
        ("clock_step 1000", "OK 1000"),
        ("clock_set 5000", "OK 5000"),
        ("clock_set 1000", "FAIL 5000"),
        ("clock_step 0", "FAIL could not advance time"),
        ("clock_step -1", "FAIL could not advance time"),
        ("clock_step 0x10", "OK 5016"),
    ]);
    let (mut pc, mut session) = pc("-accel qtest -nodefaults");
    assert_eq!(
        session.perform(&mut pc, false, "clock_step 5"),
        "FAIL could not advance time",
        "a machine that is stopped"
    );
}

#[test]
fn only_the_io_apic_can_be_watched() {
    check(&[
        ("irq_intercept_in pic", "FAIL Unknown device"),
        ("irq_intercept_out ioapic", "FAIL No intercepts installed"),
        ("irq_intercept_in ioapic name", "FAIL Interception of named in-GPIOs not yet supported"),
        ("irq_intercept_in /machine/i440fx/ioapic", "OK"),
        ("irq_intercept_in ioapic", "OK"),
        ("set_irq_in ioapic unnamed-gpio-in 23 1", "OK"),
        ("set_irq_in ioapic unnamed-gpio-in 24 1", "FAIL Unknown pin"),
        ("set_irq_in x unnamed-gpio-in 1 1", "FAIL Unknown device"),
    ]);
}

/// `i440fx-test`: a segment that is not enabled is no memory.
#[test]
fn the_host_bridge_switches_segments() {
    check(&[
        ("writeb 0xd0000 0x42", "OK"),
        ("readb 0xd0000", "OK 0x0000000000000000"),
        ("outl 0xcf8 0x8000005c", "OK"),
        ("outb 0xcfd 0x33", "OK"),
        ("outb 0xcfc 0x03", "OK"),
        ("writeb 0xd0000 0x42", "OK"),
        ("readb 0xd0000", "OK 0x0000000000000042"),
        ("outb 0xcfc 0x02", "OK"),
        ("readb 0xd0000", "OK 0x0000000000000000"),
    ]);
}

#[test]
fn lines_are_cut_out_of_the_stream() {
    let mut session = Session::default();
    assert_eq!(session.receive(b"inb 1\ninb"), ["inb 1"]);
    assert!(session.receive(b" 2").is_empty());
    assert_eq!(session.receive(b"\r\n\n"), ["inb 2", ""]);
}
