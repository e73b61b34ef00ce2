//! Resets, counted on the disk.

use crate::ide::Drive;
use crate::report::{Failure, Report};
use crate::{line, power};
use guests::layout::BOOT_COUNT_LBA;

/// Resets in each of three ways and comes up again each time. The count of boots is in a sector of the disk.
///
/// `BOOTS n` is printed at each start; the fourth one passes. The suite puts zeros into the sector.
pub(crate) fn reboots(report: &mut Report) {
    const WAYS: [power::Reset; 3] =
        [power::Reset::ControlRegister, power::Reset::KeyboardController, power::Reset::TripleFault];
    match count_boot() {
        Ok(boots) => {
            line!("BOOTS {boots}");
            if let Some(how) = usize::try_from(boots).ok().and_then(|boots| WAYS.get(boots)) {
                power::reset(*how);
            }
            report.check("reboots", Ok(()));
        }
        Err(why) => report.check("reboots", Err(why)),
    }
}

/// Gives the number of boots before this one, and counts this one.
fn count_boot() -> Result<u64, Failure> {
    let drive = Drive::new(0);
    let mut sector = [0; 512];
    drive.read_sector(BOOT_COUNT_LBA, &mut sector)?;
    let (first, _) =
        sector.split_first_chunk_mut::<8>().ok_or_else(|| Failure::new(format_args!("a sector is 512 bytes")))?;
    let boots = u64::from_le_bytes(*first);
    *first = boots.wrapping_add(1).to_le_bytes();
    drive.write_sector(BOOT_COUNT_LBA, &sector)?;
    drive.flush()?;
    Ok(boots)
}
