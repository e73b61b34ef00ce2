//! What drivers that nobody here wrote get out of the devices: Debian's, of disks behind IDE and AHCI, of the e1000 and of
//! its console in graphics; and GRUB's, of a CD.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tests::clients::LibVncClient;
use tests::domain::{Config, DeviceModel, FOLDER, Guest, RAMDISK};
use tests::testbed::Agent;

use super::{Sample, samples_of};
use crate::guest::SPEED_BYTES;

/// What the kernel is told: its disks are the emulated ones, and its console has 1280 × 800 pixels (VBE mode 0x17a).
const COMMAND_LINE: &str =
    "root=/dev/sda1,/dev/sdb1 console=tty0 console=ttyS0,115200 quiet xen_emul_unplug=never vga=0x37a";
/// Until the guest has booted, or has read the CD.
const UP: Duration = Duration::from_secs(400);
/// Until everything is measured.
const LIMIT: Duration = Duration::from_secs(1200);
/// The disk that is measured, in dom0's memory.
pub(super) const DATA_DISK: &str = "/dev/ram1";

/// Which controller the disks are behind.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bus {
    Ide,
    Ahci,
}

/// Measures `$1` in `$2` units, which `$3` moves.
const MEASURE: &str =
    "m() { s=$(date +%s%N); eval \"$3\"; e=$(date +%s%N); echo VALUE $1 $(($2 * 1000000000 / (e - s))) $4; }";

/// Starts Debian's kernel directly, as no firmware reads it fast enough for somebody who waits, and lets it measure.
pub(super) fn measure(agent: Agent, device_model: DeviceModel, bus: Bus, log: &Path) -> Result<Vec<Sample>> {
    let (name, controller) = match bus {
        Bus::Ide => ("ide", "ide"),
        Bus::Ahci => ("ahci", "ahci"),
    };
    // A copy of the disk for this guest alone, and its kernel where each device model finds it.
    agent.check(&format!(
        "set -e; mkdir -p {FOLDER}/mnt; modprobe dm_snapshot; truncate -s 256M {FOLDER}/bench.changes
        loop=$(losetup --find --show {FOLDER}/bench.changes)
        dmsetup create bench --noudevsync --table \"0 $(blockdev --getsz /dev/testbed/guest) snapshot /dev/testbed/guest $loop N 8\"
        dmsetup mknodes bench; mount -o loop,ro,offset=1048576 /dev/mapper/bench {FOLDER}/mnt
        cp -L {FOLDER}/mnt/boot/vmlinuz {FOLDER}/mnt/boot/initrd {FOLDER}; umount {FOLDER}/mnt
        cp {RAMDISK} {FOLDER}/ramdisk.tar; tar -C {FOLDER} -rf {FOLDER}/ramdisk.tar vmlinuz initrd
        dd if=/dev/zero of={DATA_DISK} bs=1M count=31 2>/dev/null
        setsid socat -u TCP-LISTEN:8002,reuseaddr,fork OPEN:/dev/null,wronly >/dev/null 2>&1 &"
    ))?;
    let config = Config::new("bench", device_model)
        .disk("/dev/mapper/bench", "hda")
        .disk(DATA_DISK, "hdb")
        .line(format!("hdtype='{controller}'"))
        .line("vif=['bridge=xenbr0,model=e1000,mac=00:16:3e:01:02:09']")
        .line(format!("kernel='{FOLDER}/vmlinuz'"))
        .line(format!("ramdisk='{FOLDER}/initrd'"))
        .line(format!("cmdline='{COMMAND_LINE}'"))
        .line(format!("stubdomain_ramdisk='{FOLDER}/ramdisk.tar'"))
        .line("stubdomain_memory=48");
    let guest = Guest::create(agent, &config)?;
    let measured = within(agent, &guest, name, log);
    std::fs::write(log, guest.serial().text())?;
    agent.check(&format!(
        "xl destroy bench; fuser -ks 8002/tcp; sleep 3; dmsetup remove --force --retry bench; losetup --detach-all; rm {FOLDER}/bench.changes"
    ))?;
    measured?;
    let samples = samples_of(device_model, 1, &guest.serial().text());
    ensure!(samples.len() >= 4, "only {} figures; all that was said is in {}", samples.len(), log.display());
    Ok(samples)
}

/// GRUB on a CD reads a file of it that is as large as a kernel.
pub(super) fn read_cd(agent: Agent, device_model: DeviceModel, log: &Path) -> Result<Sample> {
    let mut config = Config::new("cd", device_model).line("boot='d'");
    config.disks.push("format=raw,vdev=hdc,access=ro,devtype=cdrom,target=/dev/testbed/speed".to_owned());
    let guest = Guest::create(agent, &config)?;
    let measured = guest.serial().wait_for(" s ", UP);
    std::fs::write(log, guest.serial().text())?;
    agent.check("xl destroy cd")?;
    // "Elapsed time: 12.345 s"
    let said = measured?;
    let seconds = said.split_once("Elapsed time: ").and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
    let seconds: f64 = seconds.with_context(|| format!("GRUB did not say how long it took, but:\n{said}"))?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let speed = SPEED_BYTES as f64 / 1024.0 / seconds;
    Ok(Sample { device_model, run: 1, name: "cd-grub".to_owned(), value: speed, unit: "KiB/s".to_owned() })
}

fn within(agent: Agent, guest: &Guest, name: &str, log: &Path) -> Result<()> {
    guest.serial().wait_for("root@guest", UP)?;
    // Somebody looks, and is sent what changes.
    let port = agent.forward(&guest.vnc_address(), 0)?;
    let viewer = LibVncClient::build(port, "", log.parent().unwrap_or(log))?.follow("zrle")?;
    guest.serial().send(format!("{MEASURE}; d=sda; [ ! -e /dev/sda1 ] || d=sdb; modprobe e1000\r").as_bytes())?;
    guest.serial().send(
        b"sleep 1; ip link set eth0 up; ip addr add 10.0.9.9/24 dev eth0; sleep 3; busybox ping -c 1 10.0.9.1 >/dev/null\r",
    )?;
    let commands = format!(
        "echo; m {name}-read 24576 'dd if=/dev/$d of=/dev/null bs=1M count=24 iflag=direct 2>/dev/null' KiB/s; \
         m {name}-write 24576 'dd if=/dev/zero of=/dev/$d bs=1M count=24 oflag=direct 2>/dev/null' KiB/s; \
         m {name}-e1000 8192 'head -c 8388608 /dev/zero >/dev/tcp/10.0.9.1/8002' KiB/s; \
         m {name}-scroll 1000 'seq 1000 >/dev/tty1' lines/s; echo end-$((6 * 7))\r"
    );
    guest.serial().send(commands.as_bytes())?;
    guest.serial().wait_for("end-42", LIMIT)?;
    let picture = viewer.picture()?;
    picture.save(&log.with_extension("png"))?;
    ensure!(picture.width == 1280 && !picture.is_blank(), "the viewer has seen nothing");
    Ok(())
}
