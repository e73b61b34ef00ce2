//! Expansion ROMs of the machine's cards, keyboard layouts, and kernels.
//!
//! What every machine needs is part of the image. What only some need is in the module, a tar archive that the toolstack
//! calls our ramdisk: a machine starts without it, and its cards have no ROM then. The files of domain 0 that a guest is
//! started from (`kernel=` and `ramdisk=` of xl.cfg) are out of reach, and are put into it too.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use log::warn;
use minios::boot;
use tar_no_std::TarArchiveRef;

/// The standard VGA's BIOS, of Debian's package `seabios`.
pub(super) static VGA_STD: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vgabios-stdvga.bin"));
/// The Cirrus card's, of the same package.
pub(super) static VGA_CIRRUS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vgabios-cirrus.bin"));

/// A ROM of the module. Empty, where it is not there.
pub(super) fn rom(name: &str) -> Vec<u8> {
    match file(name) {
        Ok(bytes) => bytes.to_vec(),
        Err(error) => {
            warn!("{error}: its card cannot be booted from");
            Vec::new()
        }
    }
}

/// A file of the module: by its path as it is in domain 0, or by its name alone.
pub(super) fn file(path: &str) -> Result<&'static [u8], Missing> {
    let missing = |why| Missing { path: path.to_owned(), why };
    let module = boot::module().ok_or_else(|| missing("there is no stubdomain_ramdisk"))?;
    let archive = TarArchiveRef::new(module).map_err(|_| missing("stubdomain_ramdisk is no tar archive"))?;
    let wanted = path.trim_start_matches('/');
    let name = wanted.rsplit('/').next().unwrap_or(wanted);
    let find = |name: &str| {
        let is_it = |found: &str| found.trim_start_matches("./").trim_start_matches('/') == name;
        archive.entries().find(|entry| entry.filename().as_str().is_ok_and(is_it))
    };
    let found = find(wanted).or_else(|| find(name));
    found.map(|entry| entry.data()).ok_or_else(|| missing("it is not in stubdomain_ramdisk, where tar can put it"))
}

/// A file is not in the module.
pub(super) struct Missing {
    path: String,
    why: &'static str,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.why)
    }
}
