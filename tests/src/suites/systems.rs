//! Systems that nobody here wrote, from media that guests boot: what is on their screens.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::domain::{CD, Config, DeviceModel, EFI, FOLDER, Guest, INSTALLER, RAMDISK};
use crate::suite::{Case, Context};
use crate::vnc::Screen;

pub(super) const CASES: &[Case] = &[
    Case::new("grub-from-a-cd-starts-memtest", 300, memtest),
    Case::new("a-kernel-starts-without-a-boot-disk-gets-a-cpu-and-sleeps", 400, kernel),
    Case::new("a-file-system-is-whole-when-its-guest-was-destroyed", 400, destroyed),
    Case::new("the-debian-installer-asks-for-a-language", 400, installer),
    Case::new("ovmf-finds-its-disk-and-starts-linux", 400, uefi),
];

const LIMIT: Duration = Duration::from_secs(200);
const UP: Duration = Duration::from_secs(350);

/// Parts of memtest86+'s screen that stay as they are while it finds no errors: left, top, width, height in characters of
/// 9 × 16 dots. Its title, the number of errors, the machine's name, and its keys with its version.
const PARTS: &[(usize, usize, usize, usize)] = &[(0, 0, 28, 1), (60, 8, 9, 1), (30, 23, 20, 1), (0, 24, 80, 1)];

/// SeaBIOS starts GRUB off the CD, GRUB reads its menu and memtest86+ from there, and that tests memory and draws the screen.
fn memtest(context: &Context) -> Result<()> {
    let reference = Screen::from_png(include_bytes!("../../data/memtest.png"))?;
    let mut config = Config::new("memtest", DeviceModel::Stubdom).line("boot='d'");
    config.disks.push(format!("format=raw,vdev=hdc,access=ro,devtype=cdrom,target={CD}"));
    let guest = context.start(&config)?;
    await_screen(context, &guest, |screen| compare(screen, &reference))?;
    Ok(())
}

/// What the command line of a kernel ends with.
const MARK: &str = "xen_emul_unplug=never started=directly";

/// Debian on its emulated disk, whose kernel needs no firmware to find it: a stub domain gets the files that xl.cfg names in
/// its own ramdisk.
fn started_directly(context: &Context, name: &str) -> Result<Config> {
    let files = format!("{FOLDER}/{name}");
    let config = context.debian(name, DeviceModel::Stubdom)?;
    context.agent.check(&format!(
        "set -e; mkdir -p {FOLDER}/mnt {files}; mount -o loop,ro,offset=1048576 /dev/mapper/{name} {FOLDER}/mnt
        cp -L {FOLDER}/mnt/boot/vmlinuz {FOLDER}/mnt/boot/initrd {files}; umount {FOLDER}/mnt
        cp {RAMDISK} {FOLDER}/ramdisk.tar; tar -C / -rf {FOLDER}/ramdisk.tar {files}/vmlinuz {files}/initrd"
    ))?;
    Ok(config
        .line(format!("kernel='{files}/vmlinuz'"))
        .line(format!("ramdisk='{files}/initrd'"))
        .line(format!("cmdline='root=/dev/sda1,/dev/sdb1 console=tty0 console=ttyS0,115200 quiet {MARK}'"))
        .line(format!("stubdomain_ramdisk='{FOLDER}/ramdisk.tar'"))
        .line("stubdomain_memory=48"))
}

/// Files are written by four programs at once, and the guest is destroyed in the middle of it. What was synchronised before is
/// there, and the file system is as a power failure would leave it: its journal makes it whole.
fn destroyed(context: &Context) -> Result<()> {
    let config = started_directly(context, "worker")?;
    let data = context.disk("data", |path| {
        fs::File::create(path)?.set_len(32 << 20)?;
        on_this_machine("mke2fs", &["-q", "-t", "ext4"], path).map(drop)
    })?;
    let guest = context.start(&config.disk(&data, "hdb"))?;
    let serial = guest.serial();
    serial.wait_for("root@guest", LIMIT)?;
    serial.send(b"data=sda; [ ! -e /dev/sda1 ] || data=sdb; mount /dev/$data /mnt && cd /mnt\r")?;
    serial.send(b"head -c 1000000 /dev/urandom >kept; sync; echo sum-$(sha256sum <kept)\r")?;
    serial.send(b"work() { while :; do cp kept work$1; mv work$1 done$1; rm -f old$1; ln done$1 old$1; done; }\r")?;
    serial.send(b"for n in 1 2 3 4; do work $n 2>/dev/null & done; while :; do sync; echo round-$((6 * 7)); done\r")?;
    let said = serial.wait_for("round-42", LIMIT)?;
    thread::sleep(Duration::from_secs(10));
    context.agent.check("xl destroy worker")?;
    let sum = said.split("sum-").last().and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
    let image = context.logs.join("data.disk");
    fs::write(&image, context.agent.get(&data)?)?;
    // The journal is played back; then there is nothing to complain of.
    on_this_machine("e2fsck", &["-p"], &image)?;
    on_this_machine("e2fsck", &["-fn"], &image)?;
    let listed = on_this_machine("debugfs", &["-R", "ls -p /"], &image)?;
    ensure!(listed.contains("/done1/"), "nobody has worked:\n{listed}");
    let kept = context.logs.join("kept");
    on_this_machine("debugfs", &["-R", &format!("dump /kept {}", kept.display())], &image)?;
    let found = on_this_machine("sha256sum", &[], &kept)?;
    ensure!(sum.len() == 64 && found.starts_with(sum), "{sum} was synchronised, but {found} is there");
    fs::remove_file(&image)?;
    Ok(())
}

/// Runs a program of Debian's e2fsprogs or coreutils on a file, outside of the testbed. Status 1 of e2fsck is a success too.
fn on_this_machine(program: &str, arguments: &[&str], file: &Path) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .arg(file)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(matches!(output.status.code(), Some(0 | 1)), "{program} {}: {said}{complaint}", arguments.join(" "));
    Ok(said)
}

/// xl.cfg names a kernel. Then the toolstack gives the guest another CPU, and the guest sleeps (S3) until the toolstack wakes
/// it up.
fn kernel(context: &Context) -> Result<()> {
    let guest = context.start(&started_directly(context, "kernel")?.line("maxvcpus=2"))?;
    let serial = guest.serial();
    serial.wait_for("stubdom guest ready", LIMIT)?;
    serial.wait_for("root@guest", LIMIT)?;
    serial.send(b"cat /proc/cmdline /sys/devices/system/cpu/present; echo end-$((6 * 7))\r")?;
    let said = serial.wait_for("end-42", LIMIT)?;
    ensure!(said.contains(&format!("quiet {MARK}\r\n0\r")), "Linux was started in another way:\n{said}");

    context.agent.check("xl vcpu-set --ignore-host kernel 2")?;
    serial.send(b"until [ -e /sys/devices/system/cpu/cpu1/online ]; do sleep 1; done\r")?;
    serial.send(b"echo 1 >/sys/devices/system/cpu/cpu1/online; echo cpus-$(nproc)\r")?;
    serial.wait_for("cpus-2", LIMIT)?;
    // Linux on Xen now and then waits for ever for a second CPU that is to come back from sleep.
    serial.send(b"echo 0 >/sys/devices/system/cpu/cpu1/online\r")?;

    serial.send(b"head -c 4096 /dev/urandom >/run/kept; sum=$(sha256sum </run/kept)\r")?;
    serial.send(b"echo mem >/sys/power/state; echo woken-$((6 * 7))\r")?;
    context.wait_for_stubdom_log("kernel", &["the guest goes to sleep"])?;
    context.agent.check("sleep 2; xl trigger kernel s3resume")?;
    serial.wait_for("woken-42", LIMIT)?;
    serial.send(b"[ \"$sum\" = \"$(sha256sum </run/kept)\" ] && echo kept-$((6 * 7))\r")?;
    serial.wait_for("kept-42", LIMIT)?;
    serial.send(b"dd if=/dev/sda of=/dev/null bs=1M count=4 iflag=direct 2>&1 | tail -n 1; poweroff\r")?;
    serial.wait_for("4194304 bytes", LIMIT)?;
    guest.wait_for_end(Duration::from_secs(120))?;
    Ok(())
}

/// The installer's netboot image, in the mode of the screen that its own boot menu chooses, as far as its first question.
fn installer(context: &Context) -> Result<()> {
    let files = format!("{FOLDER}/installer");
    context.agent.check(&format!(
        "set -e; mkdir -p {files}; tar -xf {INSTALLER} -C {files}
        cp {RAMDISK} {FOLDER}/ramdisk.tar; tar -C {files} -rf {FOLDER}/ramdisk.tar linux initrd.gz"
    ))?;
    let mut config = Config::new("installer", DeviceModel::Stubdom)
        .line(format!("kernel='{files}/linux'"))
        .line(format!("ramdisk='{files}/initrd.gz'"))
        .line("cmdline='vga=788 --- quiet'")
        .line(format!("stubdomain_ramdisk='{FOLDER}/ramdisk.tar'"))
        .line("stubdomain_memory=80");
    config.memory = 1200;
    let guest = context.start(&config)?;
    let reference = Screen::from_png(include_bytes!("../../data/debian-installer.png"))?;
    await_screen(context, &guest, |screen| {
        ensure!((screen.width, screen.height) == (reference.width, reference.height), "another size");
        ensure!(screen.pixels == reference.pixels, "other pixels");
        Ok(())
    })?;
    Ok(())
}

/// Looks at a screen until it is as it should be. The QEMU that serves it may be about to take another size, and lose the thread.
fn await_screen(context: &Context, guest: &Guest, is_right: impl Fn(&Screen) -> Result<()>) -> Result<()> {
    let end = Instant::now() + LIMIT;
    loop {
        let screen = guest.picture();
        let error = match screen.as_ref().map(&is_right) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        if Instant::now() > end {
            let file = context.logs.join(format!("{}.png", guest.name()));
            screen?.save(&file)?;
            return error.map_or(Ok(()), |error| Err(error.context(format!("the screen is as in {}", file.display()))));
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// OVMF writes CR8 in each interrupt, and QEMU 7.2 without KVM ends by an assertion when another one waits meanwhile: there is
/// one timer in OVMF, whose ticks do not pile up with this.
const TICKS: &str = "timer_mode='no_missed_ticks_pending'";

/// OVMF finds the disk, its shell starts the kernel from there, and that takes its own drivers for the root disk.
fn uefi(context: &Context) -> Result<()> {
    let mut config = context.debian("uefi", DeviceModel::Stubdom)?.line("bios='ovmf'").line(TICKS).disk(EFI, "hdb");
    config.memory = 256;
    let guest = context.start(&config)?;
    guest.serial().wait_for("startup.nsh", UP)?;
    let said = guest.serial().text();
    ensure!(said.contains("Pci(0x1,0x1)/Ata(0x0)"), "OVMF sees no disk behind IDE:\n{said}");
    guest.serial().wait_for("stubdom guest ready", UP)?;
    guest.serial().wait_for("root@guest", LIMIT)?;
    guest.serial().send(b"ls -d /sys/firmware/efi /sys/firmware/acpi; echo end-$((6 * 7))\r")?;
    let said = guest.serial().wait_for("end-42", LIMIT)?;
    ensure!(said.contains("/sys/firmware/efi\r"), "Linux was not started by UEFI firmware:\n{said}");
    guest.serial().send(b"poweroff\r")?;
    guest.wait_for_end(Duration::from_secs(120))?;
    Ok(())
}

fn compare(screen: &Screen, reference: &Screen) -> Result<()> {
    let size = (screen.width, screen.height);
    ensure!(size == (reference.width, reference.height), "{} × {} pixels", size.0, size.1);
    for (left, top, width, height) in PARTS.iter().copied() {
        for row in top * 16..(top + height) * 16 {
            let dots = row * 720 + left * 9..row * 720 + (left + width) * 9;
            if screen.pixels.get(dots.clone()) != reference.pixels.get(dots) {
                bail!("the {width} characters at {left}, {top} differ");
            }
        }
    }
    Ok(())
}
