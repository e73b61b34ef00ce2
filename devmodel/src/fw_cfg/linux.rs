//! A Linux kernel that firmware starts without a boot disk: its parts as items, where the boot ROM of QEMU
//! (`linuxboot_dma.bin`) and OVMF look for them.
//!
//! The boot ROM copies each part to the address in the item beside it and jumps to the real-mode code. What a boot loader
//! has to fill into the header of the setup sectors is filled in here.
//!
//! Source: Linux `Documentation/arch/x86/boot.rst`; QEMU `docs/specs/fw_cfg.rst`, `pc-bios/optionrom/linuxboot_dma.c`.
//! Not modelled: kernels from before Linux 2.6.22 (boot protocol 2.06), and those that are loaded low (zImage).
//! As with QEMU's `-kernel`, `vga=` on the command line is for the setup code: a number, `normal`, `ext` or `ask`.
//! Invariant: no kernel makes this panic; all of its parts lie in the memory below `memory_end` and apart from one another.

use super::FwCfg;
use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Where the protected-mode code goes, its length, itself.
const KERNEL: [u16; 3] = [0x07, 0x08, 0x11];
/// The same of the initial ramdisk.
const INITRD: [u16; 3] = [0x0a, 0x0b, 0x12];
/// The same of the command line.
const COMMAND_LINE: [u16; 3] = [0x13, 0x14, 0x15];
/// The same of the boot sector and the setup sectors.
const SETUP: [u16; 3] = [0x16, 0x17, 0x18];

/// The boot ROM, as a file.
const BOOT_ROM: &str = "genroms/linuxboot_dma.bin";
/// What SeaBIOS calls the boot ROM in the boot order.
pub const BOOT_PATH: &str = "/rom@genroms/linuxboot_dma.bin";

const SETUP_ADDR: u32 = 0x1_0000;
const COMMAND_LINE_ADDR: u32 = 0x2_0000;
const KERNEL_ADDR: u32 = 0x10_0000;
/// Memory at the top that firmware takes for its own tables.
const FIRMWARE_TABLES: u64 = 0x2_8000;
const SECTOR: usize = 512;

/// The header's fields: offsets from the start of the kernel (boot.rst, "The Real-Mode Kernel Header").
mod header {
    pub(super) const SETUP_SECTS: usize = 0x1f1;
    pub(super) const VID_MODE: usize = 0x1fa;
    pub(super) const MAGIC: usize = 0x202;
    pub(super) const VERSION: usize = 0x206;
    pub(super) const TYPE_OF_LOADER: usize = 0x210;
    pub(super) const LOADFLAGS: usize = 0x211;
    pub(super) const RAMDISK_IMAGE: usize = 0x218;
    pub(super) const RAMDISK_SIZE: usize = 0x21c;
    pub(super) const HEAP_END_PTR: usize = 0x224;
    pub(super) const CMD_LINE_PTR: usize = 0x228;
    pub(super) const INITRD_ADDR_MAX: usize = 0x22c;
    pub(super) const XLOADFLAGS: usize = 0x236;
    pub(super) const CMDLINE_SIZE: usize = 0x238;

    /// LOADFLAGS: it is loaded at 1 MiB.
    pub(super) const LOADED_HIGH: u8 = 1 << 0;
    /// LOADFLAGS: the heap's end is valid.
    pub(super) const CAN_USE_HEAP: u8 = 1 << 7;
    /// XLOADFLAGS: so can be the ramdisk, and anywhere below.
    pub(super) const CAN_BE_LOADED_ABOVE_4G: u8 = 1 << 1;
    /// TYPE_OF_LOADER: QEMU.
    pub(super) const LOADER: u8 = 0xb0;
    /// The first version with a length of the command line.
    pub(super) const OLDEST: u16 = 0x206;
    /// The first version with XLOADFLAGS.
    pub(super) const HAS_XLOADFLAGS: u16 = 0x20c;
}

/// A kernel and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinuxBoot {
    /// A bzImage.
    pub kernel: &'static [u8],
    /// The initial ramdisk; empty if there is none.
    pub initrd: &'static [u8],
    /// The command line.
    pub command_line: String,
    /// QEMU's `linuxboot_dma.bin`, which SeaBIOS runs.
    pub rom: Vec<u8>,
}

/// Why a kernel cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinuxError {
    /// It is no bzImage of a Linux that this can start.
    Format,
    /// The kernel and its ramdisk do not fit into the guest's memory.
    Memory,
    /// The kernel takes no longer command line than so many bytes.
    CommandLine(usize),
}

impl fmt::Display for LinuxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format => f.write_str("this is no Linux kernel (a bzImage, of Linux 2.6.22 or newer)"),
            Self::Memory => f.write_str("the kernel and its ramdisk do not fit into the guest's memory"),
            Self::CommandLine(len) => write!(f, "the kernel takes {len} bytes of command line at most"),
        }
    }
}

impl FwCfg {
    /// Adds a kernel to a machine whose memory below 4 GiB ends at `memory_end`. Only while the machine is built, and once.
    pub fn add_linux(&mut self, boot: &LinuxBoot, memory_end: u64) -> Result<(), LinuxError> {
        let LinuxBoot { kernel, initrd, ref command_line, ref rom } = *boot;
        let version = field(kernel, header::VERSION).map_or(0, u16::from_le_bytes);
        let [loadflags] = field(kernel, header::LOADFLAGS).unwrap_or_default();
        let [xloadflags] = field(kernel, header::XLOADFLAGS).unwrap_or_default();
        if field(kernel, header::MAGIC) != Some(*b"HdrS")
            || version < header::OLDEST
            || loadflags & header::LOADED_HIGH == 0
        {
            return Err(LinuxError::Format);
        }
        let setup_sectors = match field(kernel, header::SETUP_SECTS) {
            None | Some([0]) => 4,
            Some([sectors]) => usize::from(sectors),
        };
        let setup_len = setup_sectors.saturating_add(1).saturating_mul(SECTOR);
        let (setup, protected) = kernel.split_at_checked(setup_len).ok_or(LinuxError::Format)?;
        let heap_end = COMMAND_LINE_ADDR.saturating_sub(SETUP_ADDR).saturating_sub(0x200);
        if setup_len as u64 > u64::from(heap_end) {
            return Err(LinuxError::Format);
        }
        let longest = field(kernel, header::CMDLINE_SIZE).map_or(0, u32::from_le_bytes);
        let longest = usize::from(u16::try_from(longest).unwrap_or(u16::MAX));
        if command_line.len() > longest {
            return Err(LinuxError::CommandLine(longest));
        }

        // Its ramdisk lies as high as it can, as kernels expect: what is below gets into their way.
        let last = match field(kernel, header::INITRD_ADDR_MAX).map(u32::from_le_bytes) {
            _ if version >= header::HAS_XLOADFLAGS && xloadflags & header::CAN_BE_LOADED_ABOVE_4G != 0 => u32::MAX,
            last => last.unwrap_or_default(),
        };
        let end = memory_end.saturating_sub(FIRMWARE_TABLES).min(u64::from(last).saturating_add(1));
        let initrd_addr = end.checked_sub(initrd.len() as u64).ok_or(LinuxError::Memory)? & !0xfff;
        let kernel_end = u64::from(KERNEL_ADDR).saturating_add(protected.len() as u64);
        let initrd_addr = u32::try_from(initrd_addr).map_err(|_| LinuxError::Memory)?;
        if u64::from(initrd_addr) < kernel_end {
            return Err(LinuxError::Memory);
        }
        let initrd_len = u32::try_from(initrd.len()).map_err(|_| LinuxError::Memory)?;

        let mut setup = setup.to_vec();
        let mut set = |offset: usize, bytes: &[u8]| {
            for (place, byte) in setup.iter_mut().skip(offset).zip(bytes) {
                *place = *byte;
            }
        };
        set(header::VID_MODE, &video_mode(command_line).to_le_bytes());
        set(header::TYPE_OF_LOADER, &[header::LOADER]);
        set(header::LOADFLAGS, &[loadflags | header::CAN_USE_HEAP]);
        set(header::HEAP_END_PTR, &u16::try_from(heap_end).unwrap_or(u16::MAX).to_le_bytes());
        set(header::CMD_LINE_PTR, &COMMAND_LINE_ADDR.to_le_bytes());
        if initrd_len > 0 {
            set(header::RAMDISK_IMAGE, &initrd_addr.to_le_bytes());
            set(header::RAMDISK_SIZE, &initrd_len.to_le_bytes());
        }
        let mut line = command_line.as_bytes().to_vec();
        line.push(0);
        self.add_part(SETUP, SETUP_ADDR, setup);
        self.add_part(COMMAND_LINE, COMMAND_LINE_ADDR, line);
        self.add_part(KERNEL, KERNEL_ADDR, protected);
        self.add_part(INITRD, initrd_addr, initrd);
        self.add_file(BOOT_ROM, rom.clone());
        Ok(())
    }

    fn add_part(&mut self, [addr, size, data]: [u16; 3], place: u32, bytes: impl Into<Cow<'static, [u8]>>) {
        let bytes = bytes.into();
        self.add(addr, place.to_le_bytes().to_vec());
        self.add(size, u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec());
        self.add(data, bytes);
    }
}

/// The mode of the screen that the setup code sets (boot.rst, "Special Command Line Options").
fn video_mode(command_line: &str) -> u16 {
    const NORMAL: u16 = 0xffff;
    match command_line.split_ascii_whitespace().rev().find_map(|word| word.strip_prefix("vga=")) {
        None | Some("normal") => NORMAL,
        Some("ext") => 0xfffe,
        Some("ask") => 0xfffd,
        Some(number) => match number.strip_prefix("0x") {
            Some(digits) => u16::from_str_radix(digits, 16),
            None => number.parse(),
        }
        .unwrap_or(NORMAL),
    }
}

/// Bytes of the kernel.
fn field<const LEN: usize>(kernel: &[u8], offset: usize) -> Option<[u8; LEN]> {
    kernel.get(offset..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::super::FwCfgConfig;
    use super::*;
    use crate::access::Width;
    use std::boxed::Box;
    use std::vec;

    const MEMORY: u64 = 64 << 20;
    const RAMDISK: &[u8] = &[7; 5000];

    /// Two setup sectors behind the boot sector, and 3000 bytes of code.
    fn bzimage(change: impl FnOnce(&mut Vec<u8>)) -> &'static [u8] {
        let mut kernel = vec![0; 3 * SECTOR + 3000];
        kernel[header::SETUP_SECTS] = 2;
        kernel[header::MAGIC..][..4].copy_from_slice(b"HdrS");
        kernel[header::VERSION..][..2].copy_from_slice(&0x20f_u16.to_le_bytes());
        kernel[header::LOADFLAGS] = header::LOADED_HIGH;
        kernel[header::INITRD_ADDR_MAX..][..4].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
        kernel[header::CMDLINE_SIZE..][..4].copy_from_slice(&2047_u32.to_le_bytes());
        kernel[3 * SECTOR..].fill(0xcc);
        change(&mut kernel);
        Box::leak(kernel.into_boxed_slice())
    }

    fn boot(kernel: &'static [u8], initrd: &'static [u8], command_line: &str) -> Result<FwCfg, LinuxError> {
        let mut fw_cfg = FwCfg::new(&FwCfgConfig::default());
        let boot = LinuxBoot { kernel, initrd, command_line: command_line.into(), rom: vec![0x55, 0xaa] };
        fw_cfg.add_linux(&boot, MEMORY)?;
        Ok(fw_cfg)
    }

    /// Address and content of a part, as the boot ROM reads them.
    fn part(fw_cfg: &mut FwCfg, keys: [u16; 3]) -> (u32, Vec<u8>) {
        let mut read = |key: u16, len: usize| -> Vec<u8> {
            fw_cfg.write(0, Width::Word, key.into());
            (0..len).map(|_| fw_cfg.read(1, Width::Byte).to_le_bytes()[0]).collect()
        };
        let number = |bytes: Vec<u8>| u32::from_le_bytes(bytes.try_into().unwrap());
        let (addr, len) = (number(read(keys[0], 4)), number(read(keys[1], 4)));
        (addr, read(keys[2], usize::try_from(len).unwrap()))
    }

    #[test]
    fn the_parts_are_where_the_header_says() {
        let mut fw_cfg = boot(bzimage(|_| {}), RAMDISK, "console=ttyS0").unwrap();
        let (setup_addr, setup) = part(&mut fw_cfg, SETUP);
        let (line_addr, line) = part(&mut fw_cfg, COMMAND_LINE);
        let (initrd_addr, initrd) = part(&mut fw_cfg, INITRD);
        let (kernel_addr, kernel) = part(&mut fw_cfg, KERNEL);
        assert_eq!((setup_addr, setup.len()), (0x1_0000, 3 * SECTOR));
        assert_eq!((kernel_addr, kernel), (0x10_0000, vec![0xcc; 3000]));
        assert_eq!(line, b"console=ttyS0\0");
        assert_eq!(initrd, RAMDISK);
        assert_eq!(initrd_addr % 4096, 0);
        assert!(u64::from(initrd_addr) + 5000 <= MEMORY - FIRMWARE_TABLES);
        let number = |offset| u32::from_le_bytes(field(&setup, offset).unwrap());
        assert_eq!(number(header::CMD_LINE_PTR), line_addr);
        assert_eq!(number(header::RAMDISK_IMAGE), initrd_addr);
        assert_eq!(number(header::RAMDISK_SIZE), 5000);
        assert_eq!(setup[header::LOADFLAGS], header::LOADED_HIGH | header::CAN_USE_HEAP);
        assert_eq!(setup[header::TYPE_OF_LOADER], header::LOADER);
    }

    #[test]
    fn without_a_ramdisk_the_header_tells_of_none() {
        let mut fw_cfg = boot(bzimage(|_| {}), &[], "").unwrap();
        assert_eq!(part(&mut fw_cfg, INITRD).1, b"");
        assert_eq!(field(&part(&mut fw_cfg, SETUP).1, header::RAMDISK_SIZE), Some([0; 4]));
        assert_eq!(part(&mut fw_cfg, COMMAND_LINE).1, b"\0");
    }

    #[test]
    fn the_mode_of_the_screen_is_on_the_command_line() {
        for (line, mode) in
            [("quiet", 0xffff), ("vga=normal vga=0x37a quiet", 0x37a), ("vga=791", 791), ("vga=x", 0xffff)]
        {
            let mut fw_cfg = boot(bzimage(|_| {}), &[], line).unwrap();
            assert_eq!(field(&part(&mut fw_cfg, SETUP).1, header::VID_MODE).map(u16::from_le_bytes), Some(mode));
        }
    }

    #[test]
    fn a_ramdisk_stays_below_what_the_kernel_can_reach() {
        let low = |kernel: &mut Vec<u8>| {
            kernel[header::INITRD_ADDR_MAX..][..4].copy_from_slice(&0xff_ffff_u32.to_le_bytes());
        };
        let mut fw_cfg = boot(bzimage(low), RAMDISK, "").unwrap();
        assert_eq!(part(&mut fw_cfg, INITRD).0, 0x100_0000 - 0x2000);
        let anywhere = |kernel: &mut Vec<u8>| {
            low(kernel);
            kernel[header::XLOADFLAGS] = header::CAN_BE_LOADED_ABOVE_4G;
        };
        let mut fw_cfg = boot(bzimage(anywhere), RAMDISK, "").unwrap();
        assert!(u64::from(part(&mut fw_cfg, INITRD).0) > MEMORY - FIRMWARE_TABLES - 0x3000);
    }

    #[test]
    fn what_is_no_kernel_or_has_no_room_is_refused() {
        let error = |kernel, initrd, line: &str| boot(kernel, initrd, line).unwrap_err();
        assert_eq!(error(b"#!/bin/sh", &[], ""), LinuxError::Format);
        assert_eq!(error(bzimage(|kernel| kernel[header::VERSION] = 5), &[], ""), LinuxError::Format);
        assert_eq!(error(bzimage(|kernel| kernel[header::LOADFLAGS] = 0), &[], ""), LinuxError::Format);
        assert_eq!(error(bzimage(|kernel| kernel[header::SETUP_SECTS] = 100), &[], ""), LinuxError::Format);
        assert_eq!(error(bzimage(|kernel| kernel.truncate(0x203)), &[], ""), LinuxError::Format);
        assert_eq!(error(bzimage(|_| {}), Box::leak(vec![0; 64 << 20].into()), ""), LinuxError::Memory);
        assert_eq!(error(bzimage(|_| {}), Box::leak(vec![0; 63 << 20].into()), ""), LinuxError::Memory);
        assert_eq!(error(bzimage(|_| {}), &[], &"x".repeat(2048)), LinuxError::CommandLine(2047));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut state = 1_u32;
        for _ in 0..2000 {
            let kernel = bzimage(|kernel| {
                for byte in &mut kernel[0x1f0..0x240] {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let [_, a, b, c] = state.to_le_bytes();
                    *byte ^= a & b & c;
                }
            });
            let _ = boot(kernel, RAMDISK, "quiet");
        }
    }
}
