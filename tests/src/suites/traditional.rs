//! The older of the two contracts, of stub domains with qemu-xen-traditional: protocol.md, sections 3.2, 4 and 8.
//!
//! Debian ships neither its `qemu-dm`, for which a script stands in, nor the firmware of its guests: hvmloader runs, says
//! that there is no rombios, and crashes the guest.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::domain::DeviceModel;
use crate::suite::{Case, Context};

pub(super) const CASES: &[Case] = &[Case::new("the-traditional-contract-is-kept", 240, traditional)];

/// Stands in for `qemu-dm`.
const QEMU_DM: &str = include_str!("../../testbed/qemu-dm");

fn traditional(context: &Context) -> Result<()> {
    let agent = context.agent;
    let qemu_dm = format!("/usr/lib/xen-{}/bin/qemu-dm", context.xen);
    agent.put(&qemu_dm, QEMU_DM.as_bytes())?;
    agent.check(&format!("chmod 755 {qemu_dm}"))?;
    let mut config = context
        .test_guest("old", DeviceModel::Stubdom, "run=idle")?
        .line("device_model_version = \"qemu-xen-traditional\"")
        .line("vnc = 0");
    config.vcpus = 2;
    let guest = context.start_paused(&config)?;
    let machine = "2 of 2 vCPUs, 1 disks, 1 serial ports, standard VGA with 16 MiB";
    context.wait_for_stubdom_log("old", &[machine, "running, "])?;

    let directory = "way=/local/domain/$(xl domid old-dm)/device-model/$(xl domid old)";
    let command = |word: &str, parameter: &str| {
        agent.check(&format!(
            "set -e; {directory}
            [ \"$(xenstore-read $way/state)\" = running ] || {{ echo \"the state is not running\" >&2; exit 1; }}
            xenstore-write $way/parameter '{parameter}'; xenstore-write $way/command {word}
            for i in $(seq 50); do xenstore-exists $way/command || break; sleep 0.2; done
            xenstore-exists $way/command && echo 'nobody takes the command' || xenstore-read $way/state"
        ))
    };
    let answer = command("save", "")?;
    ensure!(answer.trim() == "running", "`save` changes the state to {answer:?}");
    let answer = command("pci-ins", "0000:00:19.0@100")?;
    ensure!(answer.trim() == "pci-insert-failed", "the answer to `pci-ins` is {answer:?}");
    // As the toolstack does when it has read the answer.
    agent.check(&format!("{directory}; xenstore-write $way/state running"))?;
    context.wait_for_stubdom_log("old", &["\"save\" is not supported", "\"pci-ins\" is not supported"])?;

    guest.unpause()?;
    guest.wait_for_end(Duration::from_secs(60))?;
    // Xen's log may come a moment later.
    thread::sleep(Duration::from_millis(500));
    let said = agent.check("xl dmesg")?;
    ensure!(said.contains("Unknown BIOS rombios"), "hvmloader did not come to its firmware:\n{said}");
    Ok(())
}
