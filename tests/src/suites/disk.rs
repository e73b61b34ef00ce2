//! What disks hold, before and after.

use std::time::Duration;

use anyhow::{Result, ensure};
use guests::layout::{SCRATCH_LBA, SMALLEST_DISK};

use super::refusals::hotplug_script;
use crate::domain::{Config, DeviceModel};
use crate::guest_image::{check_pattern, write_pattern_disk};
use crate::suite::{Case, Context};

pub(super) const CASES: &[Case] = &[
    Case::new("four-disks-are-told-apart", 300, four_disks),
    Case::new("a-read-only-disk-refuses-every-write", 300, read_only),
    Case::new("what-a-guest-flushed-is-in-the-image", 300, persistence),
];

const LIMIT: Duration = Duration::from_secs(240);

/// Three disks of different sizes and contents beside the one that the guest starts from.
fn four_disks(context: &Context) -> Result<()> {
    let smallest = SMALLEST_DISK / 512;
    let mut words = format!("run=identify,disks sectors={smallest}");
    let mut disks = Vec::new();
    for (number, device) in (1..).zip(["hdb", "hdc", "hdd"]) {
        // The last one has 1 TiB, and needs 48-bit addresses; all but what is written are holes.
        let sectors = if device == "hdd" { 1 << 31 } else { smallest + 1024 * number };
        let seed = 40 + number;
        words.push_str(&format!(" disk{number}={seed},{sectors}"));
        disks.push((device, pattern_disk(context, device, seed, sectors)?));
    }
    let mut config = context.test_guest("disks", DeviceModel::Stubdom, &words)?;
    for (device, path) in disks {
        config = config.disk(&path, device);
    }
    context.run_to_end(&config, LIMIT)?;
    Ok(())
}

/// A disk in dom0 with the pattern of a seed. What lies beyond the smallest size is made there: it is too large to be sent.
fn pattern_disk(context: &Context, name: &str, seed: u64, sectors: u64) -> Result<String> {
    let small = sectors.min(SMALLEST_DISK / 512);
    let path = context.disk(name, |path| write_pattern_disk(path, seed, small))?;
    if sectors > small {
        let mut last = [0; 512];
        guests::pattern::sector(seed, sectors - 1, &mut last);
        let end = format!("{path}.end");
        context.agent.put(&end, &last)?;
        // The pattern of the smaller disk's last sector may stay: nobody looks there.
        context.agent.check(&format!(
            "truncate -s {} {path} && dd if={end} of={path} bs=512 seek={} conv=notrunc status=none",
            sectors * 512,
            sectors - 1
        ))?;
    }
    Ok(path)
}

/// libxl itself refuses read-only IDE disks for QEMU's contract, so the script that sets the disk up says so to its backend.
fn read_only(context: &Context) -> Result<()> {
    let script = hotplug_script(
        context,
        "read-only",
        "[ \"$1\" = remove ] || xenstore-write \"$XENBUS_PATH/mode\" r\nexec /etc/xen/scripts/block \"$@\"",
    )?;
    let sectors = SMALLEST_DISK / 512;
    let path = context.disk("protected", |path| write_pattern_disk(path, 3, sectors))?;
    let mut config = context.test_guest(
        "readonly",
        DeviceModel::Stubdom,
        &format!("run=disks,read-only drive=1 disk1=3,{sectors}"),
    )?;
    config.disks.push(format!("format=raw,vdev=hdb,access=rw,script={script},target={path}"));
    let before = context.agent.check(&format!("sha256sum <{path}"))?;
    context.run_to_end(&config, LIMIT)?;
    let after = context.agent.check(&format!("sha256sum <{path}"))?;
    ensure!(before == after, "the image has changed");
    Ok(())
}

/// A guest writes, flushes and switches off; then dom0 looks, and another guest.
fn persistence(context: &Context) -> Result<()> {
    let words = format!("seed=77 lba={SCRATCH_LBA} count=200 drive=1");
    let path = context.disk("kept", |path| write_pattern_disk(path, 1, SMALLEST_DISK / 512))?;
    let guest = |name: &str, case: &str| -> Result<Config> {
        let config = context.test_guest(name, DeviceModel::Stubdom, &format!("run={case} {words}"))?;
        Ok(config.disk(&path, "hdb"))
    };
    context.run_to_end(&guest("writer", "persist")?, LIMIT)?;
    let image = context.logs.join("kept.disk");
    std::fs::write(&image, context.agent.get(&path)?)?;
    check_pattern(&image, 77, SCRATCH_LBA..SCRATCH_LBA + 200)?;
    check_pattern(&image, 1, SCRATCH_LBA + 200..SCRATCH_LBA + 300)?;
    std::fs::remove_file(&image)?;
    context.run_to_end(&guest("reader", "verify")?, LIMIT)?;
    Ok(())
}
