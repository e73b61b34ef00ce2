//! Expansion ROMs of the machine's cards.
//!
//! What every machine needs is part of the image. What only some need is in the module, a tar archive that the toolstack
//! calls our ramdisk: a machine starts without it, and its cards have no ROM then.

use alloc::vec::Vec;
use log::{info, warn};
use minios::boot;
use tar_no_std::TarArchiveRef;

/// The standard VGA's BIOS, of Debian's package `seabios`.
pub(super) static VGA_STD: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vgabios-stdvga.bin"));
/// The Cirrus card's, of the same package.
pub(super) static VGA_CIRRUS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vgabios-cirrus.bin"));

/// A ROM of the module. Empty, where it is not there.
pub(super) fn rom(name: &str) -> Vec<u8> {
    let Some(module) = boot::module() else {
        info!("{name}: without a ramdisk there is no such ROM, and its card cannot be booted from");
        return Vec::new();
    };
    let Ok(archive) = TarArchiveRef::new(module) else {
        warn!("the ramdisk is no tar archive: {name} is not there, and its card cannot be booted from");
        return Vec::new();
    };
    let found = archive.entries().find(|entry| entry.filename().as_str() == Ok(name));
    if found.is_none() {
        warn!("the ramdisk has no {name}: its card cannot be booted from");
    }
    found.map(|entry| entry.data().to_vec()).unwrap_or_default()
}
