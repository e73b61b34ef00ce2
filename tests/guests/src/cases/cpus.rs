//! Several vCPUs that use ports at the same time.

use crate::report::{Failure, Report};
use crate::{pci, port, smp};
use core::sync::atomic::{AtomicU16, Ordering};
use guests::random::Random;

/// First port of the bus master, for the vCPUs to use its registers.
static BUS_MASTER: AtomicU16 = AtomicU16::new(0);

/// Accesses that each vCPU makes.
const ACCESSES: u32 = 2000;

/// `cpus=N`: N vCPUs come up, and every one gets the answers to its own accesses while all of them make some.
pub(crate) fn cpus(report: &mut Report) {
    let wanted = u32::try_from(report.options.number("cpus", 1)).unwrap_or(u32::MAX);
    let base = pci::find_class(pci::IDE).map_or(0, |ide| ide.base_address(4) & 0xfff0);
    BUS_MASTER.store(u16::try_from(base).unwrap_or(0), Ordering::Release);
    let found = smp::start(wanted);
    report.value("cpus", u64::from(found), "vcpus");
    let outcome = if found == wanted {
        match smp::work_together(wanted) {
            Some(0) => Ok(()),
            Some(failed) => Err(Failure::new(format_args!("vCPUs {failed:#b} got wrong answers"))),
            None => Err(Failure::new(format_args!("some vCPU never ended"))),
        }
    } else {
        Err(Failure::new(format_args!("{found} vCPUs, not {wanted}")))
    };
    report.check("cpus", outcome);
}

/// Writes to a register of its own and reads it back; vCPUs beyond the first six read one that stays as it is.
pub(crate) fn work(number: u32) -> bool {
    let base = BUS_MASTER.load(Ordering::Acquire);
    let mut random = Random::new(u64::from(number) + 1);
    (0..ACCESSES).all(|_| {
        let value = random.next_u32();
        let [byte, ..] = value.to_le_bytes();
        match number {
            0 => {
                port::out32(base + 4, value & !3);
                port::in32(base + 4) == value & !3
            }
            1 => {
                port::out32(base + 12, value & !3);
                port::in32(base + 12) == value & !3
            }
            // Scratch register of COM1; sector counts of both channels; pixel mask of the palette.
            2 => write_and_read(0x3ff, byte),
            3 => write_and_read(0x1f2, byte),
            4 => write_and_read(0x172, byte),
            5 => write_and_read(0x3c6, byte),
            // Alternate status of the first drive: ready, seek complete.
            _ => port::in8(0x3f6) & 0x88 == 0,
        }
    })
}

fn write_and_read(register: u16, value: u8) -> bool {
    port::out8(register, value);
    port::in8(register) == value
}
