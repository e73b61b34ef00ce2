//! How guests end, and what the toolstack makes of it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use guests::layout::BOOT_COUNT_LBA;

use crate::domain::DeviceModel;
use crate::suite::{Case, Context};

pub(super) const CASES: &[Case] = &[
    Case::new("three-ways-to-reset-are-reboots-for-xl", 240, reboots),
    Case::new("a-crash-is-seen-by-xl", 200, crash),
    Case::new("a-guest-at-work-can-be-destroyed", 300, destroy),
];

const LIMIT: Duration = Duration::from_secs(120);

/// xl makes new domains after each reset. The count on the disk goes on, and the last start switches off.
fn reboots(context: &Context) -> Result<()> {
    let config = context.test_guest("reboots", DeviceModel::Stubdom, "run=reboots")?.line("on_reboot = \"restart\"");
    context.start(&config)?;
    let end = Instant::now() + Duration::from_secs(300);
    let log = "cat /var/log/xen/xl-reboots.log*";
    loop {
        let said = context.agent.exec(log)?.stdout;
        if said.contains("reason code 0") {
            break;
        }
        ensure!(Instant::now() < end, "no power off after three resets; xl says:\n{said}");
        thread::sleep(Duration::from_secs(1));
    }
    // public/sched.h: 0 is power off, 1 is reboot.
    let said = context.agent.check(log)?;
    let resets = said.matches("has shut down, reason code 1").count();
    ensure!(resets == 3, "xl has seen {resets} reboots, not 3:\n{said}");
    let disk = config.disks.first().and_then(|disk| disk.split("target=").nth(1)).context("no disk")?;
    let count = context
        .agent
        .check(&format!("dd if={disk} bs=512 skip={BOOT_COUNT_LBA} count=1 status=none | od -An -tu8 -N8"))?;
    ensure!(count.trim() == "4", "the guest has counted {} starts, not 4", count.trim());
    wait_until_clean(context)
}

fn crash(context: &Context) -> Result<()> {
    let config =
        context.test_guest("crash", DeviceModel::Stubdom, "run=identify then=crash")?.line("on_crash = \"preserve\"");
    let guest = context.start(&config)?;
    guest.serial().wait_for("DONE", LIMIT)?;
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let state = guest.state()?.context("the guest is gone, and should have been kept")?;
        if state.contains('c') {
            break;
        }
        ensure!(Instant::now() < end, "the state of the guest is {state}");
        thread::sleep(Duration::from_millis(300));
    }
    guest.destroy()?;
    wait_until_clean(context)
}

/// In the middle of transfers, more than once: the moment differs each time.
fn destroy(context: &Context) -> Result<()> {
    for round in 0..2 {
        let guest = context.start(&context.test_guest("busy", DeviceModel::Stubdom, "run=busy")?)?;
        guest.serial().wait_for("READY busy", LIMIT)?;
        thread::sleep(Duration::from_millis(1500 + 700 * round));
        guest.destroy()?;
        wait_until_clean(context)?;
    }
    Ok(())
}

/// Nothing of a guest is left in dom0: no domain, no part of the store, no process, no disk in use.
pub(super) fn wait_until_clean(context: &Context) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let left = context.agent.check(
            "xl list | awk 'NR > 2'; xenstore-list /local/domain | grep -vx 0
            for kind in vbd vfb vkbd console qdisk; do xenstore-list /local/domain/0/backend/$kind 2>/dev/null; done
            ps ax -o args= | grep -E '^[^ ]*(qemu-system|vchan-socket)'
            losetup --list --noheadings --output NAME,BACK-FILE | grep /var/guests
            true",
        )?;
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < end, "left in dom0:\n{left}");
        thread::sleep(Duration::from_millis(500));
    }
}
