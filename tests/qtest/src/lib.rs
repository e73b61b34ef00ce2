//! The PC of [`devmodel`] behind QEMU's qtest protocol, as a program of this machine.
//!
//! A test client, such as QEMU's own `libqtest`, starts a program as if it were `qemu-system-x86_64`, which connects to
//! two sockets of the client: one for qtest, by which the client plays the CPU and the clock, and one for QMP, by which
//! it plays the operator. There is no CPU, no hypervisor and no real time here: the machine does what the client says.
//!
//! ```text
//! QTEST_QEMU_BINARY="$(cargo xtask qtest)" .../build/tests/qtest/ide-test
//! cargo xtask qtest -- -qtest unix:/tmp/qtest -machine pc -device e1000,netdev=n -netdev user,id=n
//! ```
//!
//! QEMU 7.2's own programs, built from its sources and given the path in `QTEST_QEMU_BINARY`: `i440fx-test`, `rtc-test`,
//! `rtl8139-test`, `fw_cfg-test`, `boot-order-test` and `qos-test` (e1000, PCI) pass. `ide-test`, `ahci-test` (without
//! `QTEST_QEMU_IMG`), `usb-hcd-uhci-test` and `display-vga-test` pass in all cases but those about
//! migration, the event of a moved tray, USB disks and cards that are not there: choose cases with `-p`.
//!
//! | module | what lives there |
//! |---|---|
//! | `options` | QEMU's `-option key=value,key=value` |
//! | `command_line`, `devices`, `drives` | from arguments to a plan, or to the argument that is not supported |
//! | `plan` | what is going to be built |
//! | `cards` | the devices that plug into the PCI bus, by QEMU's names |
//! | `character` | sockets and files that bytes come from and go to |
//! | `faults` | errors and delays of disks that a client asks for |
//! | `ram`, `video`, `disks`, `nics`, `irqs` | the parts of the world around the machine |
//! | `world` | all of them together, as [`devmodel::Host`] |
//! | `rtc` | the clock of the CMOS, which the hypervisor has under Xen |
//! | `pc` | the machine in its world: accesses, the clock, reset |
//! | `protocol`, `numbers` | qtest's commands, and how they write numbers and bytes |
//! | `monitor` | QMP |
//! | [`fuzz`] | machines that are played on with bytes of anybody's choice |
//! | `serve` | the loop: what arrives, goes to whom it is for |
//!
//! Source: QEMU `docs/devel/testing/qtest.rst`, `system/qtest.c`, `tests/qtest/libqtest.c`, `docs/interop/qmp-spec.rst`.
//! Not modelled: what belongs to the hypervisor under Xen and is therefore not in the device model: the interrupt
//! controllers, the PIT, the DMA controller, HPET and the PM timer. Their ports read as all ones. Interrupts are reported
//! as they arrive at the I/O APIC.
//! Not modelled: SMRAM, the A20 gate, migration, block formats other than raw, hot plug of other than USB devices.
//! The machine `q35` is the same PC, with its drives on the ICH9's AHCI controller at its place.
//!
//! Invariant: what an argument asks for is there, or the program ends with exit code 1 and names the argument.
#![forbid(unsafe_code)]

mod cards;
mod character;
mod command_line;
mod devices;
mod disks;
mod drives;
mod faults;
pub mod fuzz;
mod irqs;
mod media;
mod migration;
mod monitor;
mod nics;
mod numbers;
mod options;
mod pc;
mod plan;
mod protocol;
mod ram;
mod rtc;
mod serve;
mod trays;
mod video;
mod world;

use anyhow::Result;

/// Serves the machine that QEMU's arguments describe, until the client ends it. `arguments` are without the program's
/// name.
pub fn run(arguments: &[String]) -> Result<()> {
    match command_line::parse(arguments)? {
        command_line::Wish::Version => println!("QEMU emulator version {} (devmodel)", plan::VERSION.join(".")),
        command_line::Wish::Machine(plan) => serve::serve(*plan)?,
    }
    Ok(())
}
