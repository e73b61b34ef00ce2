//! Where things are on a guest's disk and in its memory.

/// Bytes in a sector.
pub const SECTOR: usize = 512;

/// Address of the boot sector, and so of the image's first byte.
pub const IMAGE_BASE: u64 = 0x7c00;

/// Byte offset of the command line in the image: the second sector.
pub const COMMAND_LINE_OFFSET: usize = SECTOR;

/// Room for the command line, with the zero byte that ends it.
pub const COMMAND_LINE_BYTES: usize = SECTOR;

/// Sector with the little-endian 64-bit count of boots, for the tests of reboots.
pub const BOOT_COUNT_LBA: u64 = 2047;

/// First sector that a guest may write to as it likes.
pub const SCRATCH_LBA: u64 = 2048;

/// Number of sectors that a guest may write to as it likes.
pub const SCRATCH_SECTORS: u64 = 8192;

/// Smallest size of a guest's own disk in bytes: 16 MiB.
pub const SMALLEST_DISK: u64 = 16 << 20;

/// First byte of the memory for transfers of bus masters.
pub const TRANSFER_BASE: u64 = 6 << 20;

/// One past the last byte of the memory for transfers. A guest needs this much memory and a little for its firmware.
pub const TRANSFER_END: u64 = 24 << 20;

/// Most vCPUs that a guest has stacks for.
pub const MOST_CPUS: u32 = 128;

const _: () = assert!((SCRATCH_LBA + SCRATCH_SECTORS) * 512 <= SMALLEST_DISK, "the scratch area has to fit");
