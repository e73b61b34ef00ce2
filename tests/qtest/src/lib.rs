//! The PC of [`devmodel`] behind QEMU's qtest protocol, as a program of this machine.
//!
//! A test client, such as QEMU's own `libqtest`, starts a program as if it were `qemu-system-x86_64`, which connects to
//! two sockets of the client: one for qtest, by which the client plays the CPU and the clock, and one for QMP, by which
//! it plays the operator. There is no CPU, no hypervisor and no real time here, but for
//! disks that are told to be slow: the machine does what the client says.
//!
//! ```text
//! QTEST_QEMU_BINARY="$(cargo xtask qtest)" .../build/tests/qtest/ide-test
//! cargo xtask qtest -- -qtest unix:/tmp/qtest -machine pc -device e1000,netdev=n -netdev user,id=n
//! ```
//!
//! QEMU 7.2's own programs, built from its sources and given the path in `QTEST_QEMU_BINARY`:
//!
//! | program | cases that pass |
//! |---|---|
//! | `ahci-test` | all 67: migration, NCQ, trays and slow disks too; without `QTEST_QEMU_IMG`, with which its disks are qcow2 |
//! | `ide-test` | all 13: retries of flushes, by `blkdebug`, too |
//! | `rtc-test`, `fw_cfg-test`, `i440fx-test` | all 15, 12 and 4 |
//! | `usb-hcd-uhci-test` | all 4: plugging in a tablet and a disk too |
//! | `rtl8139-test`, `boot-order-test`, `machine-none-test` | all 2, 1 and 1 |
//! | `display-vga-test` | the 2 of the cards that there are; it leaves out those of others by itself |
//! | `qos-test` | the 2 that it has for what there is: PCI, with an e1000 |
//! | `qmp-test` | `protocol`; not `oob`, `preconfig` and `missing-any-arg`, which are about commands that are not here |
//! | `hd-geo-test` | `none`, `cd_0`, `mbr/blank`; not `mbr/lba`, `mbr/chs`, `user`: geometry is that of a blank disk |
//!
//! `boot-serial-test`, `pxe-test` and `cdrom-test` run programs on a CPU, which is not there. `drive_del-test`, `device-plug-test`,
//! `fdc-test`, `q35-test` and `tco-test` are about what is not there either: virtio, the human monitor's `drive_del`,
//! floppy disks, SMRAM, a watchdog.
//! What the cases about trays, USB disks, slow disks and migration do is in `tests/session` as well.
//!
//! | module | what lives there |
//! |---|---|
//! | `options` | QEMU's `-option key=value,key=value`, and the same in JSON |
//! | `command_line`, `devices`, `drives` | from arguments to a plan, or to the argument that is not supported |
//! | `plan` | what is going to be built |
//! | `cards` | the devices that plug into the PCI bus, by QEMU's names |
//! | `media`, `trays` | media that are in no drive; CD drives in an operator's hands |
//! | `character` | sockets and files that bytes come from and go to |
//! | `faults` | errors and delays of disks that a client asks for |
//! | `ram`, `video`, `disks`, `nics`, `irqs` | the parts of the world around the machine |
//! | `world` | all of them together, as [`devmodel::Host`] |
//! | `rtc` | the clock of the CMOS, which the hypervisor has under Xen |
//! | `migration` | a machine that goes on in another program |
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
//! Not modelled: SMRAM, the A20 gate, block formats other than raw, hot plug of other than USB devices, QEMU's own form of a
//! machine that is migrated: it goes to the same program only, and stands while it is sent.
//! Quirk: memory where nobody is reads as zeros, as in QEMU; where the real bus and the stub domain have ones.
//! The machine `q35` is the same PC, with its drives on the ICH9's AHCI controller at its place.
//!
//! Invariant: what an argument asks for is there, or the program ends with exit code 1 and names the argument.
#![forbid(unsafe_code)]

mod board;
mod cards;
mod character;
mod command_line;
mod cpu;
mod devices;
mod disks;
mod drives;
mod faults;
pub mod fuzz;
mod guest;
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
