//! The disk of the default guest: MBR, GRUB, a stock Debian kernel and a small userland, made of Debian packages.
//!
//! Layout: boot.img of GRUB with the partition table in sector 0, core.img of GRUB from sector 1, an ext4 partition from 1 MiB.
//! Both files of GRUB expect each other just there, so nothing has to be patched and no loop device is needed.
//!
//! Source: GRUB 2.06, grub-core/boot/i386/pc/{boot,diskboot}.S for the default sectors; the partition table as in any MBR.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::tests::testbed::INITRD_INIT;
use anyhow::{Context, Result, ensure};

use crate::debian::{self, Recipe};
use crate::progress::Step;
use crate::{initrd, paths};

const PACKAGES: &str = "linux-image-amd64 sysvinit-core busybox-static kmod iproute2 pciutils grub-pc-bin \
                        memtest86+ xorriso dosfstools mtools debian-installer-12-netboot-amd64";

/// Where the Debian installer's package has its netboot image.
const INSTALLER: &str = "usr/lib/debian-installer";
const INSTALLER_IMAGE: &str = "images/12/amd64/text/debian-installer/amd64";

/// The emulated disk, the paravirtualised one, and under plain QEMU whatever is handy.
const DRIVERS: &[&str] = &["ata_piix", "ahci", "sd_mod", "xen_blkfront", "crc32c_generic", "ext4"];

/// GRUB's modules that are in core.img; the others are on the disk.
const GRUB_MODULES: &str = "biosdisk part_msdos ext2 normal configfile linux serial terminal boot echo test minicmd";

/// GRUB's modules on CDs.
const CD_MODULES: &str = "biosdisk iso9660 normal configfile linux16 serial terminal testspeed";

/// The boot menu of the CD.
const CD_MENU: &str = "set timeout=0\nmenuentry memtest { linux16 /boot/memtest.bin }\n";

/// That of another one: it reads a large file and says how long that took.
const SPEED_MENU: &str = "serial --unit=0 --speed=115200\nterminal_output serial\ntestspeed /boot/large.bin\n";
/// A tenth of a kernel: QEMU needs half an hour for a whole one where instructions are counted.
pub(crate) const SPEED_BYTES: u64 = 1 << 20;

/// What the shell of UEFI firmware finds and does: the kernel is a program of UEFI.
const EFI_SCRIPT: &str =
    "fs0:\r\nlinux.efi initrd=\\initrd root=/dev/xvda1,/dev/sda1 console=tty0 console=ttyS0,115200 quiet\r\n";

/// Files of the project in the guest: path, whether it is a program, content.
const FILES: &[(&str, bool, &str)] = &[
    ("boot/grub/grub.cfg", false, include_str!("../../tests/testbed/grub.cfg")),
    ("etc/inittab", false, include_str!("../../tests/testbed/guest-inittab")),
    ("usr/sbin/guest-setup", true, include_str!("../../tests/testbed/guest-setup")),
    ("usr/sbin/guest-shell", true, include_str!("../../tests/testbed/guest-shell")),
    ("usr/sbin/guest-stop", true, include_str!("../../tests/testbed/guest-stop")),
];

const SECTOR: u64 = 512;
/// Where the partition starts, in sectors.
const PARTITION: u32 = 2048;

/// What guests are started from.
pub(crate) struct Media {
    /// The raw image of the default guest's disk.
    pub(crate) disk: PathBuf,
    /// The kernel on it, and its initial ramdisk.
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    /// A CD with GRUB, which starts memtest86+.
    pub(crate) cd: PathBuf,
    /// A CD with GRUB, which reads [`SPEED_BYTES`] and says how long that took.
    pub(crate) speed: PathBuf,
    /// The Debian installer's netboot image: an archive of `linux` and `initrd.gz`.
    pub(crate) installer: PathBuf,
    /// A disk with a FAT file system from which UEFI firmware starts the kernel of the default guest.
    pub(crate) efi: PathBuf,
}

/// Makes them unless they are there.
pub(crate) fn media() -> Result<Media> {
    let packages = PACKAGES.split_whitespace().map(str::to_owned).collect();
    let recipe = Recipe { suite: "bookworm", packages, left_out: debian::LEFT_OUT };
    let mut content =
        vec!["disk, vmlinuz, initrd", GRUB_MODULES, CD_MODULES, CD_MENU, SPEED_MENU, EFI_SCRIPT, INITRD_INIT];
    let size = SPEED_BYTES.to_string();
    content.push(&size);
    content.extend(DRIVERS);
    content.extend(FILES.iter().map(|(_, _, text)| *text));
    let folder = debian::cached("guest", &recipe.key(&content)?, |folder| build(&recipe, folder))?;
    Ok(Media {
        disk: folder.join("disk"),
        kernel: folder.join("vmlinuz"),
        initrd: folder.join("initrd"),
        cd: folder.join("cd.iso"),
        speed: folder.join("speed.iso"),
        installer: folder.join("installer.tar"),
        efi: folder.join("efi.disk"),
    })
}

fn build(recipe: &Recipe, folder: &Path) -> Result<()> {
    let logs = paths::logs("image");
    fs::create_dir_all(&logs)?;
    let log = logs.join("guest.log");
    let step = Step::logged("Making the default guest's disk of Debian packages", &log);
    let root = folder.join("root");
    recipe.build(&root, &log)?;
    for (path, is_program, text) in FILES {
        let file = root.join(path);
        fs::create_dir_all(file.parent().context("a file has a folder")?)?;
        fs::write(&file, text)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(if *is_program { 0o755 } else { 0o644 }))?;
    }
    let mut initrd = initrd::drivers(&root, DRIVERS)?;
    initrd.extend(initrd::programs(&[("init", INITRD_INIT.as_bytes())])?);
    fs::write(root.join("boot/initrd"), initrd)?;
    fs::rename(initrd::kernel(&root)?, root.join("boot/vmlinuz"))?;
    for name in ["vmlinuz", "initrd"] {
        fs::copy(root.join("boot").join(name), folder.join(name))?;
    }
    let memtest = root.join("boot/memtest86+x64.bin");
    cd(&root, CD_MENU, &[("memtest.bin", &memtest)], &folder.join("cd.iso"))?;
    let large = folder.join("large.bin");
    File::create(&large)?.set_len(SPEED_BYTES)?;
    cd(&root, SPEED_MENU, &[("large.bin", &large)], &folder.join("speed.iso"))?;
    fs::remove_file(&large)?;
    efi(&root, &folder.join("efi.disk"))?;
    installer(&root.join(INSTALLER), &folder.join("installer.tar"))?;
    let (boot, core) = grub(&root)?;
    let partition = folder.join("partition");
    debian::make_disk(&root, &partition, "guest", 128)?;
    assemble(&boot, &core, &partition, &folder.join("disk"))?;
    fs::remove_file(&partition)?;
    fs::remove_dir_all(&root)?;
    step.done();
    Ok(())
}

/// A CD with GRUB as its boot image (El Torito), a menu, and files in `/boot`.
fn cd(root: &Path, menu: &str, files: &[(&str, &Path)], image: &Path) -> Result<()> {
    let folder = root.join("cd/boot/grub");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("grub.cfg"), menu)?;
    for (name, file) in files {
        fs::copy(file, root.join("cd/boot").join(name))?;
    }
    let image_of_grub = ["-O", "i386-pc-eltorito", "-p", "/boot/grub", "-o", "/cd/boot/grub/eltorito.img"];
    in_root(root, "grub-mkimage", image_of_grub.into_iter().chain(CD_MODULES.split_whitespace()))?;
    let options = "-as mkisofs -quiet -R -b boot/grub/eltorito.img -no-emul-boot -boot-load-size 4 -boot-info-table \
                   -o /cd.iso /cd";
    in_root(root, "xorriso", options.split_whitespace())?;
    fs::rename(root.join("cd.iso"), image)?;
    fs::remove_dir_all(root.join("cd"))?;
    Ok(())
}

/// Moves the installer's netboot image out of the guest.
fn installer(package: &Path, archive: &Path) -> Result<()> {
    let mut archive = tar::Builder::new(File::create(archive)?);
    for name in ["linux", "initrd.gz"] {
        archive.append_path_with_name(package.join(INSTALLER_IMAGE).join(name), name)?;
    }
    archive.finish()?;
    Ok(fs::remove_dir_all(package)?)
}

/// The disk for UEFI firmware: one FAT file system, without partitions.
fn efi(root: &Path, image: &Path) -> Result<()> {
    fs::write(root.join("startup.nsh"), EFI_SCRIPT)?;
    in_root(root, "mkfs.vfat", ["-C", "/efi.disk", "32768"].into_iter())?;
    for (file, name) in [("/boot/vmlinuz", "linux.efi"), ("/boot/initrd", "initrd"), ("/startup.nsh", "startup.nsh")] {
        in_root(root, "mcopy", ["-i", "/efi.disk", file, &format!("::{name}")].into_iter())?;
    }
    fs::rename(root.join("efi.disk"), image)?;
    fs::remove_file(root.join("startup.nsh"))?;
    Ok(())
}

/// Runs a program of the guest.
fn in_root<'a>(root: &Path, program: &str, arguments: impl Iterator<Item = &'a str>) -> Result<()> {
    let output =
        Command::new("chroot").arg(root).arg(program).args(arguments).output().context("cannot start chroot")?;
    ensure!(output.status.success(), "{program} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// GRUB's boot.img and core.img, and its modules put on the disk. The guest's own GRUB makes them.
fn grub(root: &Path) -> Result<(Vec<u8>, Vec<u8>)> {
    let installed = root.join("usr/lib/grub/i386-pc");
    let modules = root.join("boot/grub/i386-pc");
    fs::create_dir_all(&modules)?;
    for entry in fs::read_dir(&installed)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "mod" || extension == "lst") {
            fs::copy(&file, modules.join(file.file_name().unwrap_or_default()))?;
        }
    }
    let image = ["-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-o", "/boot/grub/core.img"];
    in_root(root, "grub-mkimage", image.into_iter().chain(GRUB_MODULES.split_whitespace()))?;
    Ok((fs::read(installed.join("boot.img"))?, fs::read(root.join("boot/grub/core.img"))?))
}

/// Writes the raw image; parts of the partition that are zero stay holes.
fn assemble(boot: &[u8], core: &[u8], partition: &Path, image: &Path) -> Result<()> {
    let mut partition = File::open(partition)?;
    let sectors = u32::try_from(partition.metadata()?.len() / SECTOR)?;
    let mut disk = File::create(image)?;
    disk.write_all(&boot_sector(boot, sectors)?)?;
    let gap = u64::from(PARTITION - 1) * SECTOR;
    ensure!(u64::try_from(core.len())? <= gap, "GRUB's core.img does not fit before the partition");
    disk.write_all(core)?;
    let start = u64::from(PARTITION) * SECTOR;
    let mut block = vec![0; 64 * 1024];
    let mut offset = 0;
    loop {
        let length = partition.read(&mut block)?;
        if length == 0 {
            break;
        }
        if block[..length].iter().any(|byte| *byte != 0) {
            disk.seek(SeekFrom::Start(start + offset))?;
            disk.write_all(&block[..length])?;
        }
        offset += u64::try_from(length)?;
    }
    disk.set_len(start + offset)?;
    Ok(())
}

/// The boot code with a partition table of one active Linux partition.
fn boot_sector(boot: &[u8], sectors: u32) -> Result<[u8; 512]> {
    let mut sector = [0; 512];
    ensure!(boot.len() == sector.len(), "GRUB's boot.img has {} bytes", boot.len());
    sector.copy_from_slice(boot);
    // Disk signature, then the table: flags, first sector as the unused maximum of CHS, type 0x83, last sector, start, count.
    sector[0x1b8..0x1be].copy_from_slice(b"XEND\0\0");
    sector[0x1be..0x1fe].fill(0);
    sector[0x1be..0x1c6].copy_from_slice(&[0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff]);
    sector[0x1c6..0x1ca].copy_from_slice(&PARTITION.to_le_bytes());
    sector[0x1ca..0x1ce].copy_from_slice(&sectors.to_le_bytes());
    sector[0x1fe..].copy_from_slice(&[0x55, 0xaa]);
    Ok(sector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_sector_keeps_the_code_and_has_one_partition() {
        let sector = boot_sector(&[0x90; 512], 0x1234_5678).unwrap();
        assert!(sector[..0x1b8].iter().all(|byte| *byte == 0x90));
        assert_eq!(sector[0x1be], 0x80);
        assert_eq!(sector[0x1c2], 0x83);
        assert_eq!(sector[0x1c6..0x1ce], [0x00, 0x08, 0, 0, 0x78, 0x56, 0x34, 0x12]);
        assert!(sector[0x1ce..0x1fe].iter().all(|byte| *byte == 0));
        assert_eq!(sector[0x1fe..], [0x55, 0xaa]);
        assert!(boot_sector(&[0; 511], 1).is_err());
    }
}
