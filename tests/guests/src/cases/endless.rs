//! Guests that never end by themselves.

use super::dma;
use crate::ide::{Address, DATA, Drive};
use crate::report::{Outcome, Report};
use crate::{cpu, interrupts, memory};
use guests::layout::{SCRATCH_LBA, SCRATCH_SECTORS};

/// Reads by the bus master and writes to the screen, for ever: for tests that destroy a guest at work.
pub(crate) fn busy(report: &mut Report) {
    report.ready("busy");
    let outcome = work();
    report.check("busy", outcome);
}

fn work() -> Outcome {
    let drive = Drive::new(0);
    let mut table = dma::EMPTY;
    let table = dma::contiguous(DATA, 131_072, &mut table);
    let mut round = 0_u16;
    loop {
        let lba = SCRATCH_LBA + u64::from(round) * 256 % (SCRATCH_SECTORS - 256);
        drive.dma(&dma::read_task(Address::Lba48(lba), 256), table, true)?;
        let sector = [round.to_le_bytes()[0]; 512];
        drive.write_sector(lba, &sector)?;
        for cell in 0..64 {
            memory::write16(0xb_8000 + 2 * cell, round);
        }
        round = round.wrapping_add(1);
    }
}

/// Nothing, for ever: every line is masked, so nothing wakes the vCPU.
pub(crate) fn idle(report: &mut Report) {
    report.ready("idle");
    interrupts::mask_all();
    loop {
        cpu::sleep();
    }
}
