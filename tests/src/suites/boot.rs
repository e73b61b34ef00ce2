//! Guests come up, and go.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::domain::DeviceModel;
use crate::suite::{Case, Context};

pub(super) const CASES: &[Case] = &[
    Case::new("toolstack-answers", 60, toolstack_answers),
    Case::new("test-guest-runs-on-the-qemu-of-dom0", 240, test_guest_on_qemu),
    Case::new("test-guest-runs-on-the-stub-domain", 240, test_guest_on_stubdom),
    Case::new("debian-comes-up-to-its-userland", 600, debian_on_stubdom),
];

fn toolstack_answers(context: &Context) -> Result<()> {
    let version = context.agent.check("xl info xen_version")?;
    ensure!(version.starts_with(&context.xen), "this is Xen {version}");
    Ok(())
}

/// The test program itself is right: it finds nothing wrong with a device model that everybody uses.
fn test_guest_on_qemu(context: &Context) -> Result<()> {
    context.run_test_guest(DeviceModel::Qemu, "run=identify,pio,uart", Duration::from_secs(180))?;
    Ok(())
}

fn test_guest_on_stubdom(context: &Context) -> Result<()> {
    context.run_test_guest(DeviceModel::Stubdom, "run=identify,pio,uart", Duration::from_secs(180))?;
    Ok(())
}

fn debian_on_stubdom(context: &Context) -> Result<()> {
    let mut config = context.debian("debian", DeviceModel::Stubdom)?;
    config.quick_disks = false;
    let guest = context.start(&config)?;
    guest.serial().wait_for("stubdom guest ready", Duration::from_secs(400))?;
    // The shell of the serial port, the way there and the way back.
    guest.serial().wait_for("root@guest", Duration::from_secs(60))?;
    guest.serial().send(b"echo $((6 * 7))-arrived; poweroff\r")?;
    guest.serial().wait_for("42-arrived", Duration::from_secs(60))?;
    guest.wait_for_end(Duration::from_secs(120))?;
    Ok(())
}
