//! Networks: a card as a boot device, and the stub domain's own interface beside it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::domain::{DeviceModel, FOLDER};
use crate::suite::{Case, Context};
use crate::vnc::Viewer;

pub(super) const CASES: &[Case] = &[Case::new("ipxe-fetches-a-kernel-by-http", 900, ipxe)];

const UP: Duration = Duration::from_secs(400);
const LIMIT: Duration = Duration::from_secs(120);

/// What iPXE fetches first.
const SCRIPT: &str = "\
#!ipxe
kernel http://10.0.9.1/vmlinuz root=/dev/xvda1,/dev/sda1 console=ttyS0,115200 quiet by=ipxe
initrd http://10.0.9.1/initrd
boot
";

/// The card's ROM asks for an address, and fetches Debian's kernel: each of the two cards on one of the two releases.
fn ipxe(context: &Context) -> Result<()> {
    let model = if context.xen == "4.17" { "e1000" } else { "rtl8139" };
    let config = context
        .debian("debian", DeviceModel::Stubdom)?
        .line(format!("vif=['bridge=xenbr0,model={model},mac=00:16:3e:01:02:05','bridge=xenbr0,type=vif']"))
        .line("stubdomain_cmdline='ip=dhcp vif=1 vnc=:3 vncpasswd=geheim'")
        .line("boot='n'");
    context.agent.put(&format!("{FOLDER}/www/boot.ipxe"), SCRIPT.as_bytes())?;
    let lease = "start 10.0.9.20\nend 10.0.9.29\ninterface xenbr0\nsiaddr 10.0.9.1\nopt subnet 255.255.255.0\n\
                 boot_file http://10.0.9.1/boot.ipxe\nlease_file /tmp/leases\npidfile /tmp/udhcpd.pid\n";
    context.agent.check(&format!(
        "set -e; mkdir -p {FOLDER}/mnt; mount -o ro,loop,offset=1048576 /dev/testbed/guest {FOLDER}/mnt
        cp {FOLDER}/mnt/boot/vmlinuz {FOLDER}/mnt/boot/initrd {FOLDER}/www; umount {FOLDER}/mnt
        printf '{lease}' >{FOLDER}/udhcpd.conf; touch /tmp/leases
        setsid busybox udhcpd -f {FOLDER}/udhcpd.conf >/dev/null 2>&1 &
        setsid busybox httpd -f -p 10.0.9.1:80 -h {FOLDER}/www >/dev/null 2>&1 &"
    ))?;
    let guest = context.start(&config)?;
    guest.serial().wait_for("stubdom guest ready", UP)?;
    guest.serial().wait_for("root@guest", LIMIT)?;
    guest.serial().send(b"cat /proc/cmdline; echo end-$((6 * 7))\r")?;
    let said = guest.serial().wait_for("end-42", LIMIT)?;
    own_address(context)?;
    context.agent.check("fuser -ks 80/tcp 67/udp")?;
    ensure!(said.contains("by=ipxe"), "it was another loader:\n{said}");
    Ok(())
}

/// The stub domain has an address by the same server, on an interface that no card uses, and shows the screen there.
fn own_address(context: &Context) -> Result<()> {
    let log = context.agent.check("grep 'network: this is' /var/log/xen/qemu-dm-debian.log")?;
    let address = log.trim().rsplit(' ').next().and_then(|address| address.split('/').next()).context("no address")?;
    ensure!(address.starts_with("10.0.9.2"), "the stub domain has the address {address}");
    let stream = context.agent.open(&format!("TCP:{address}:5903"))?;
    stream.set_read_timeout(Some(LIMIT))?;
    Viewer::open_with(stream, Some("geheim"))?.picture()?;
    Ok(())
}
