//! Cylinders, heads and sectors of a disk.
//!
//! Source: ATA/ATAPI-5, section 6.2 (addresses), which later editions dropped.

use serde::{Deserialize, Serialize};

/// The translation from cylinder, head and sector to sector numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Geometry {
    pub(crate) cylinders: u16,
    pub(crate) heads: u8,
    pub(crate) sectors: u8,
}

impl Geometry {
    /// What a drive of `sectors` sectors reports after power on: 16 heads of 63 sectors.
    pub(crate) fn of_disk(sectors: u64) -> Self {
        Self::with(sectors, 16, 63, 16383)
    }

    /// What INITIALIZE DEVICE PARAMETERS makes of a drive. `None`: there is no such geometry.
    pub(crate) fn chosen(sectors: u64, heads: u8, sectors_per_track: u8) -> Option<Self> {
        (heads > 0 && sectors_per_track > 0).then(|| Self::with(sectors, heads, sectors_per_track, u16::MAX))
    }

    fn with(sectors: u64, heads: u8, sectors_per_track: u8, most: u16) -> Self {
        let cylinder = u64::from(heads).saturating_mul(u64::from(sectors_per_track));
        // SeaBIOS reads the boot sector by cylinder, of however small a disk.
        let cylinders = sectors.checked_div(cylinder).unwrap_or(0).clamp(1, most.into());
        Self { cylinders: u16::try_from(cylinders).unwrap_or(most), heads, sectors: sectors_per_track }
    }

    /// Number of sectors that can be addressed.
    pub(crate) fn capacity(self) -> u32 {
        let track = u32::from(self.heads).saturating_mul(self.sectors.into());
        u32::from(self.cylinders).saturating_mul(track)
    }
}
