//! The PC of [`devmodel`] behind QEMU's qtest protocol, as a program of this machine.
//!
//! A test client, such as QEMU's own `libqtest`, starts a program as if it were `qemu-system-x86_64`, which connects to
//! two sockets of the client: one for qtest, by which the client plays the CPU and the clock, and one for QMP, by which
//! it plays the operator. There is no hypervisor and no real time here, but for disks that are told to be slow: the machine
//! does what the client says.
//!
//! With `-accel tcg`, the machine has a CPU of its own, with SeaBIOS and iPXE as firmware, and the interrupt
//! controllers and timers that belong to it; the clock is that of its instructions. It boots what is on its disks, its CDs
//! and its network. The client still reads and writes everything, between two turns of the CPU.
//!
//! ```text
//! QTEST_QEMU_BINARY="$(cargo xtask qtest)" .../build/tests/qtest/ide-test
//! cargo xtask qtest -- -qtest unix:/tmp/qtest -machine pc -device e1000,netdev=n -netdev user,id=n
//! cargo xtask qtest -- -accel tcg -M graphics=off -serial stdio -cdrom disc.iso
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
//! | `boot-serial-test` | all, on the CPU: `q35`; by the name `-system-i386`, `pc` and `q35`; there is no `isapc` |
//! | `cdrom-test` | `boot/default`; not those of SCSI controllers, which are not here |
//! | `pxe-test` | `pc/e1000`, and with `-m slow` `pc/rtl8139`; not those of other cards |
//!
//! `drive_del-test`, `device-plug-test`, `fdc-test`, `q35-test` and `tco-test` are about what is not there: virtio, the human
//! monitor's `drive_del`, floppy disks, SMRAM of the q35, a watchdog.
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
//! | `user_net` | the station on a network of the kind `user`: DHCP and TFTP |
//! | `cpu` | the CPU: registers, instructions, system management mode |
//! | `board` | what the hypervisor has under Xen and a CPU needs: interrupt controllers, timers |
//! | `guest` | the CPU at work in the machine, turn by turn |
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
//! Not modelled: without a CPU, what belongs to the hypervisor under Xen and is therefore not in the device model: the
//! interrupt controllers, the PIT, the PM timer, SMRAM and the A20 gate. Their ports read as all ones. Interrupts are
//! reported as they arrive at the I/O APIC. With a CPU as well: the DMA controller, HPET, the I/O APIC, a second CPU, `kvm`,
//! and what the module `cpu` says. A CPU that waits for its timer goes on at once, so that an idle guest takes all of a processor.
//! Not modelled: block formats other than raw, hot plug of other than USB devices, QEMU's own form of a
//! machine that is migrated: it goes to the same program only, and stands while it is sent; one with a CPU stays.
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
mod user_net;
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
