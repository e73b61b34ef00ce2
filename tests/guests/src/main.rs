//! A test guest: boots from its IDE disk, runs the cases that its command line names, and prints what it finds on COM1.
//!
//! Lines are `PASS name`, `FAIL name: why`, `VALUE name number unit`, `READY name` where a case waits for the suite,
//! and `DONE` at the end. README.md lists the cases and says how to add one.
//!
//! Source: what is tested is the data sheets' word; each case names its own.
#![no_std]
#![no_main]

mod bios;
mod boot;
mod cases;
mod cpu;
mod ide;
mod interrupts;
mod memory;
mod pci;
mod port;
mod power;
mod report;
mod serial;
mod smp;
mod time;

use guests::command_line::CommandLine;
use report::Report;

/// Where the boot code leads the first vCPU.
extern "C" fn first_cpu_main() -> ! {
    serial::start();
    // The boot sector has sent the "B".
    line!("OOT");
    interrupts::start();
    time::start();
    cpu::enable_interrupts();
    let options = CommandLine::new(boot::command_line());
    let mut report = Report::new(options);
    for name in options.cases() {
        match cases::CASES.iter().find(|case| case.name == name) {
            Some(case) => (case.run)(&mut report),
            None => report.fail(name, format_args!("no such case")),
        }
    }
    line!("DONE");
    match options.get("then") {
        Some("reset-control-register") => power::reset(power::Reset::ControlRegister),
        Some("reset-keyboard-controller") => power::reset(power::Reset::KeyboardController),
        Some("triple-fault") => power::reset(power::Reset::TripleFault),
        Some("crash") => match power::crash_by_xen() {
            Some(never) => match never {},
            None => power::reset(power::Reset::TripleFault),
        },
        Some("stop") => cpu::stop(),
        _ => power::off(),
    }
}

/// A bug of the guest.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    cpu::disable_interrupts();
    match info.location() {
        Some(at) => line!("FAIL panic: {} at {}:{}", info.message(), at.file(), at.line()),
        None => line!("FAIL panic: {}", info.message()),
    }
    line!("DONE");
    power::off()
}
