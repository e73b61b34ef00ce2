//! The PC as test guests see it from the inside.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::domain::DeviceModel;
use crate::guest_image::GuestLine;
use crate::suite::{Case, Context};

pub(super) const CASES: &[Case] = &[
    Case::new("the-disk-does-what-the-ata-standard-says", 300, disk_commands),
    Case::new("the-devices-of-the-pc-answer", 300, platform),
    Case::new("two-vcpus-use-ports-at-once", 300, |context| cpus(context, 2)),
    Case::new("four-vcpus-use-ports-at-once", 300, |context| cpus(context, 4)),
];

const LIMIT: Duration = Duration::from_secs(240);

/// The checks that each of these words makes are listed in the README of the test guests.
fn disk_commands(context: &Context) -> Result<()> {
    context.run_test_guest(
        DeviceModel::Stubdom,
        "run=identify,pio,lba48-end,flush,ata-errors,dma,dma-errors,disk-interrupt sectors=32768",
        LIMIT,
    )?;
    Ok(())
}

/// Ends with ACPI's power off, like every test guest that is not told otherwise.
fn platform(context: &Context) -> Result<()> {
    let output = context.run_test_guest(
        DeviceModel::Stubdom,
        "run=pci-list,pci-bars,fw-cfg,cmos,uart,timer,cpus cpus=1",
        LIMIT,
    )?;
    // Vendor, device and class of every function: data sheets, and Xen's public/hvm/hvm_info_table.h for the slots.
    for function in
        ["00.0 8086:1237 0600", "01.0 8086:7000 0601", "01.1 8086:7010 0101", "01.3 8086:7113 0680", "5853:0001 ff80"]
    {
        ensure!(output.contains(function), "no PCI function {function} in:\n{output}");
    }
    ensure!(output.contains("1234:1111 0300"), "no standard VGA in:\n{output}");
    Ok(())
}

fn cpus(context: &Context, count: u32) -> Result<()> {
    let mut config = context.test_guest("cpus", DeviceModel::Stubdom, &format!("run=cpus cpus={count}"))?;
    config.vcpus = count;
    let output = context.run_to_end(&config, LIMIT)?;
    let found = GuestLine::Value("cpus".into(), count.into(), "vcpus".into());
    ensure!(output.lines().any(|line| GuestLine::parse(line) == found), "not {count} vCPUs:\n{output}");
    Ok(())
}
