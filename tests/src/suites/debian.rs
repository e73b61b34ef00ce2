//! A stock Debian kernel, on emulated devices and on its own drivers.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::domain::{Config, DeviceModel, FOLDER, Guest};
use crate::suite::{Case, Context};
use crate::testbed::Stream;
use crate::vnc::{Screen, Viewer};

pub(super) const CASES: &[Case] = &[
    Case::new("debian-runs-from-the-emulated-disk-and-reads-a-cd", 600, emulated),
    Case::new("debian-runs-from-an-ahci-disk", 600, ahci),
    Case::new("debian-shows-a-console-in-graphics", 600, graphics),
    Case::new("debian-shows-the-same-on-a-cirrus-card", 600, cirrus),
];

const UP: Duration = Duration::from_secs(400);
const LIMIT: Duration = Duration::from_secs(120);

/// A Debian guest that starts another entry of its boot menu.
pub(super) fn entry(context: &Context, name: &str) -> Result<Config> {
    entry_with(context, name, "")
}

/// The same, and the menu, which does not wait for anybody, is changed by this command of sed.
pub(super) fn entry_with(context: &Context, name: &str, change: &str) -> Result<Config> {
    let config = context.debian("debian", DeviceModel::Stubdom)?;
    context.agent.check(&format!(
        "set -e; mkdir -p {FOLDER}/mnt; mount -o loop,offset=1048576 /dev/mapper/debian {FOLDER}/mnt
        sed -i 's/^set default=.*/set default={name}/; s/^set timeout=.*/set timeout=0/; {change}' {FOLDER}/mnt/boot/grub/grub.cfg
        grep -q '^set default={name}$' {FOLDER}/mnt/boot/grub/grub.cfg; umount {FOLDER}/mnt"
    ))?;
    Ok(config)
}

/// The same behind AHCI, with a second disk that is read and written through queued commands, and a third one behind a
/// second controller.
fn ahci(context: &Context) -> Result<()> {
    // Linux gives names to disks in the order in which it is through with them.
    let config = entry_with(context, "emulated", "s#/dev/sda1 #/dev/sda1,/dev/sdb1,/dev/sdc1 #")?
        .line("hdtype='ahci'")
        .line(SECOND_CONTROLLER);
    let second = format!("{FOLDER}/second.disk");
    let third = format!("{FOLDER}/third.disk");
    let sums = context.agent.check(&format!(
        "head -c 6291456 /dev/urandom >{second}; head -c 1048576 /dev/urandom >{third}; sha256sum <{second}; sha256sum <{third}"
    ))?;
    let guest = context.start(&config.disk(&second, "hdb").disk(&third, "xvdg"))?;
    guest.serial().wait_for("stubdom guest ready", UP)?;
    guest.serial().wait_for("root@guest", LIMIT)?;
    let questions = "by_size() { basename $(dirname $(grep -lx $1 /sys/block/sd*/size)); }; \
                     second=$(by_size 12288); third=$(by_size 2048); \
                     echo lines-$(grep -c ahci /proc/interrupts) depth-$(cat /sys/block/$second/device/queue_depth); \
                     sha256sum </dev/$second; sha256sum </dev/$third; \
                     for n in 0 1 2 3; do dd if=/bin/bash of=/dev/$second bs=256k count=4 seek=$((n * 6)) 2>/dev/null & done; \
                     wait; sync; echo tail-$(tail -c 2097152 /dev/$second | sha256sum); blkdiscard -l 4194304 /dev/$second; \
                     echo zeros-$(head -c 4194304 /dev/$second | tr -d '\\0' | wc -c) $(grep -i ahci /proc/interrupts); dmesg | grep -c 'ata.*exception'; echo end-$((6 * 7))\r";
    guest.serial().send(questions.as_bytes())?;
    let said = guest.serial().wait_for("end-42", LIMIT)?;
    for words in ["lines-2 depth-32", "zeros-0 ", "\n0\r\nend-42"].into_iter().chain(sums.lines()) {
        ensure!(said.contains(words), "no {words:?} in:\n{said}");
    }
    guest.serial().send(b"poweroff\r")?;
    guest.wait_for_end(Duration::from_secs(120))?;
    // What was discarded takes no room any more; the rest is there.
    let left = context
        .agent
        .check(&format!("tail -c 2097152 {second} | sha256sum; du -k {second}; du -k --apparent-size {second}"))?;
    let blocks: Vec<u64> =
        left.lines().skip(1).filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    ensure!(blocks.len() == 2 && blocks[0] + 4000 <= blocks[1], "nothing was discarded:\n{left}\n{said}");
    let tail = left.split(' ').next().unwrap_or_default();
    ensure!(said.contains(&format!("tail-{tail}")), "{tail} is on the disk, but:\n{said}");
    Ok(())
}

/// libxl plugs six disks into AHCI. The others are for Xen's driver, unless somebody asks for more controllers.
const SECOND_CONTROLLER: &str = "device_model_args_hvm=['-device','ahci,id=ahci1',\
    '-drive','file=/dev/xvdg,if=none,id=ahcidisk-6,format=host_device','-device','ide-hd,bus=ahci1.5,drive=ahcidisk-6']";

/// No driver of Xen for the disk: every sector goes through the IDE model, from the boot sector to the last. And a disc in
/// one drive and none in another: what Linux' drivers make of them, by packets and by the bus master.
fn emulated(context: &Context) -> Result<()> {
    let mut config = entry(context, "emulated")?;
    let disc = format!("{FOLDER}/disc.iso");
    // Not a whole number of the transfer buffer's lengths.
    let sum = context.agent.check(&format!("head -c 5244928 /dev/urandom >{disc}; sha256sum <{disc}"))?;
    config.disks.push(format!("format=raw,vdev=hdc,access=ro,devtype=cdrom,target={disc}"));
    // libxl fills an empty drive with this backend alone, and in 4.17 not at all.
    let backend = if context.xen == "4.17" { "" } else { ",backendtype=phy" };
    config.disks.push(format!("vdev=hdd,access=ro,devtype=cdrom,format=empty{backend}"));
    let guest = context.start(&config)?;
    guest.serial().wait_for("stubdom guest ready", UP)?;
    guest.serial().wait_for("root@guest", LIMIT)?;
    let questions = "ls /sys/block; cat /proc/mounts | grep ' / '; grep -c ata_piix /proc/interrupts; \
                     dd if=/dev/sda of=/dev/null bs=1M count=4 iflag=direct 2>&1 | tail -n 1; \
                     modprobe sr_mod; sleep 1; cat /sys/block/sr0/size /sys/block/sr0/device/model; \
                     dd if=/dev/sr0 bs=128k 2>/dev/null | sha256sum; dd if=/dev/sr1 count=1 2>&1; \
                     dmesg | grep -c 'ata.*exception'; echo end-$((6 * 7))\r";
    guest.serial().send(questions.as_bytes())?;
    let said = guest.serial().wait_for("end-42", LIMIT)?;
    ensure!(!said.contains("xvda\r\n"), "there is a paravirtualised disk:\n{said}");
    for words in
        ["/dev/sda1 / ", "4194304 bytes", "10244", "QEMU DVD-ROM", sum.trim(), "No medium found", "\n0\r\nend-42"]
    {
        ensure!(said.contains(words), "no {words:?} in:\n{said}");
    }
    exchange_discs(context, &guest)?;
    power_off(&guest)
}

/// Another disc in the drive that had one, then none; and in and out of the drive that was empty.
fn exchange_discs(context: &Context, guest: &Guest) -> Result<()> {
    if context.xen == "4.17" {
        // Its libxl refuses by itself, before it asks a device model.
        return Ok(());
    }
    let other = format!("{FOLDER}/other.iso");
    let sum = context.agent.check(&format!(
        "set -e; head -c 2097152 /dev/urandom >{other}; xl cd-insert debian hdc {other}; sha256sum <{other}"
    ))?;
    let sum = sum.split(' ').next().unwrap_or("no sum");
    let ask = |drive: &str, expected: &str| {
        let known = guest.serial().text().len();
        guest.serial().send(format!("sha256sum /dev/{drive} 2>&1; echo {drive}-$((6 * 7))\r").as_bytes())?;
        let said = guest.serial().wait_for_past(known, &format!("{drive}-42"), LIMIT)?;
        ensure!(said.contains(expected), "no {expected:?} in:\n{said}");
        Ok(())
    };
    ask("sr0", sum)?;
    context.agent.check("xl cd-eject debian hdc")?;
    ask("sr0", "No medium found")?;
    for _ in 0..2 {
        context.agent.check(&format!("xl cd-insert debian hdd {other}"))?;
        ask("sr1", sum)?;
        context.agent.check("xl cd-eject debian hdd")?;
        ask("sr1", "No medium found")?;
    }
    Ok(())
}

/// What is written to the screen: letters, digits, colours, and a corner of line drawing.
const SCREENFUL: &str = r"\033c\033[?25l\033[2J\033[HThe quick brown fox jumps over the lazy dog 0123456789\n\033[31mred \033[32mgreen \033[1;34mblue \033[0;30;47mblack on grey\033[0m\n!\042#$%%&()*+,-./:;<=>?@[]^_{|}~\033[48;128Hx";

/// The console in graphics, against what QEMU's own VGA shows for the same text.
/// And how Linux takes its disk and its network over from the emulated ones.
fn graphics(context: &Context) -> Result<()> {
    let config = entry(context, "graphics")?.line("vif=['bridge=xenbr0,model=e1000,mac=00:16:3e:01:02:05']");
    let guest = console(context, &config)?;
    guest.serial().send(
        b"modprobe xen-netfront; sleep 2; ip link set eth0 up; ip addr add 10.0.9.3/24 dev eth0; sleep 1; \
          echo driver-$(basename $(readlink /sys/class/net/eth0/device/driver)) disks-$(ls /sys/block); \
          cat /sys/bus/pci/devices/*/class; busybox ping -c 2 10.0.9.1 | grep received; echo end-$((6 * 7))\r",
    )?;
    let said = guest.serial().wait_for("end-42", LIMIT)?;
    for words in ["driver-vif disks-xvda\r", "0x010180\r", "2 packets received"] {
        ensure!(said.contains(words), "no {words:?} in:\n{said}");
    }
    ensure!(!said.contains("0x020000"), "the emulated network card is still there:\n{said}");
    Ok(())
}

/// xl's default card, with its own BIOS in a mode of 24 bits: GRUB's own driver of it shows a line less.
fn cirrus(context: &Context) -> Result<()> {
    let config = entry_with(context, "graphics", "s/1024x768x32/1024x768x24/; s/all_video/vbe/")?;
    console(context, &config.line("vga='cirrus'").line("videoram=8")).map(drop)
}

fn console(context: &Context, config: &Config) -> Result<Guest> {
    let guest = context.start(config)?;
    let mut viewer = guest.viewer()?;
    draw(context, &guest, &mut viewer)?;
    Ok(guest)
}

/// What [`draw`] leaves on the screen.
pub(super) fn reference() -> Result<Screen> {
    Screen::from_png(include_bytes!("../../data/debian-graphics-console.png"))
}

/// Waits until the guest is up, and draws what a viewer that was there from the start has to see.
pub(super) fn draw(context: &Context, guest: &Guest, viewer: &mut Viewer<Stream>) -> Result<()> {
    guest.serial().wait_for("stubdom guest ready", UP)?;
    guest.serial().wait_for("root@guest", LIMIT)?;
    // Somebody types at the screen's own shell, which then leaves the screen alone.
    viewer.type_text("echo Typed >/dev/ttyS0; sleep 9999\n")?;
    guest.serial().wait_for("Typed", LIMIT)?;
    guest.serial().send(format!("printf '{SCREENFUL}' >/dev/tty1; echo drawn-$((6 * 7))\r").as_bytes())?;
    guest.serial().wait_for("drawn-42", LIMIT)?;
    let reference = reference()?;
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let screen = viewer.picture()?;
        let Err(error) = compare(screen, &reference) else { break };
        if Instant::now() > end {
            let file = context.logs.join("console.png");
            screen.save(&file)?;
            return Err(error.context(format!("the console is shown as in {}", file.display())));
        }
        thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

fn power_off(guest: &Guest) -> Result<()> {
    guest.serial().send(b"poweroff\r")?;
    guest.wait_for_end(Duration::from_secs(120))?;
    Ok(())
}

/// Every pixel, each channel within what cards differ by.
pub(super) fn compare(screen: &Screen, reference: &Screen) -> Result<()> {
    ensure!(
        (screen.width, screen.height) == (reference.width, reference.height),
        "{} × {} pixels",
        screen.width,
        screen.height
    );
    let differs = |(one, two): &(&u32, &u32)| {
        one.to_le_bytes().iter().zip(two.to_le_bytes()).any(|(one, two)| one.abs_diff(two) > 8)
    };
    let different = screen.pixels.iter().zip(&reference.pixels).filter(differs).count();
    ensure!(different == 0, "{different} pixels differ from the reference");
    screen.pixels.first().context("a screen without pixels").map(drop)
}
