//! What our TCP gets out of a network frontend: the demo sends to dom0, and a Linux that is paravirtualised like it does the same.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tests::domain::{DEMO_HTTP, DeviceModel, FOLDER, Guest, OWN_ADDRESS, demo_config};
use tests::testbed::Agent;

use super::Sample;

/// What is sent.
const KIB: u32 = 32 << 10;
const LIMIT: Duration = Duration::from_secs(600);

/// Of the second column Linux, of the third the demo.
pub(super) fn measure(agent: Agent, log: &Path) -> Result<Vec<Sample>> {
    let demo = demo(agent).context("the demo")?;
    let linux = linux(agent, log).context("Linux")?;
    let sample =
        |device_model, value| Sample { device_model, run: 1, name: "pv-tcp".into(), value, unit: "KiB/s".into() };
    Ok(vec![sample(DeviceModel::Stubdom, demo), sample(DeviceModel::Qemu, linux)])
}

fn demo(agent: Agent) -> Result<f64> {
    agent.check(&format!("mkdir -p {FOLDER}; truncate -s 16M {FOLDER}/demo.disk"))?;
    let guest = Guest::create_from_text(agent, "demo", 1, &demo_config(&format!("{FOLDER}/demo.disk"), 1))?;
    guest.unpause()?;
    guest.serial().wait_for("disk: good", LIMIT)?;
    let fetch = format!("busybox wget -q -O /dev/null 'http://{OWN_ADDRESS}:{DEMO_HTTP}/zeros?");
    let said = agent.check(&format!("{fetch}64' && date +%s%N && {fetch}{KIB}' && date +%s%N"))?;
    agent.check("xl destroy demo")?;
    rate(&said)
}

fn linux(agent: Agent, log: &Path) -> Result<f64> {
    agent.check(&format!(
        "set -e; mkdir -p {FOLDER}/mnt; mount -o loop,ro,offset=1048576 /dev/testbed/guest {FOLDER}/mnt
        cp -L {FOLDER}/mnt/boot/vmlinuz {FOLDER}/mnt/boot/initrd {FOLDER}; umount {FOLDER}/mnt
        setsid socat -u TCP-LISTEN:8003,reuseaddr,fork OPEN:/dev/null,wronly >/dev/null 2>&1 &"
    ))?;
    let text = format!(
        "name = 'linux'\ntype = 'pv'\nmemory = 192\nkernel = '{FOLDER}/vmlinuz'\nramdisk = '{FOLDER}/initrd'
extra = 'root=/dev/xvda1 ro init=/bin/bash console=hvc0 quiet'
disk = ['format=raw,vdev=xvda,access=ro,target=/dev/testbed/guest']\nvif = ['bridge=xenbr0,mac=00:16:3e:01:02:0a']\n"
    );
    let guest = Guest::create_from_text(agent, "linux", 1, &text)?;
    guest.unpause()?;
    guest.serial().wait_for("# ", LIMIT)?;
    guest.serial().send(
        b"mount -t proc proc /proc; modprobe xen-netfront; sleep 2; ip link set eth0 up; ip addr add 10.0.9.10/24 dev eth0; \
          sleep 2; busybox ping -c 1 10.0.9.1 >/dev/null; echo up-$((6 * 7))\r",
    )?;
    guest.serial().wait_for("up-42", LIMIT)?;
    let send = format!(
        "date +%s%N; head -c {} /dev/zero >/dev/tcp/10.0.9.1/8003; date +%s%N; echo end-$((6 * 7))\r",
        KIB * 1024
    );
    guest.serial().send(send.as_bytes())?;
    let said = guest.serial().wait_for("end-42", LIMIT);
    std::fs::write(log, guest.serial().text())?;
    agent.check("xl destroy linux; fuser -ks 8003/tcp; true")?;
    let said = said?;
    rate(said.split("up-42").nth(1).context("no figures")?)
}

/// KiB in a second, from the words that are a time in nanoseconds since 1970: before and after.
fn rate(said: &str) -> Result<f64> {
    let mut times = said.split_whitespace().filter_map(|word| word.parse::<u64>().ok()).filter(|time| *time > 1 << 60);
    let (before, after) = (times.next().context("no time")?, times.next().context("one time only")?);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let took = after.saturating_sub(before).max(1) as f64;
    Ok(f64::from(KIB) * 1e9 / took)
}
