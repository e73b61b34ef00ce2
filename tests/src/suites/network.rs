//! Emulated network cards, with Linux' drivers on one side and dom0's bridge on the other.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::debian::entry;
use crate::domain::{DeviceModel, FOLDER};
use crate::suite::{Case, Context, Outcome};

pub(super) const CASES: &[Case] = &[
    Case::new("two-network-cards-of-different-models", 900, two_cards),
    Case::new("ipxe-fetches-a-kernel-by-http", 900, ipxe),
];

const UP: Duration = Duration::from_secs(400);
const LIMIT: Duration = Duration::from_secs(120);

/// What a card is asked to do in the guest: `$1` is its interface, `$2` the guest's address and `$3` dom0's.
const TRY_CARD: &str = "\
try_card() { \
ip link set $1 up; ip addr add $2/24 dev $1; sleep 3; \
busybox ping -c 3 -s 1400 $3 | grep received; \
busybox ping -c 1 -s 9000 $3 | grep received; \
echo $1 down $(cat </dev/tcp/$3/8001 | sha256sum); \
head -c 3000000 /usr/bin/perl >/tmp/up; echo $1 sent $(sha256sum </tmp/up); \
cat /tmp/up >/dev/tcp/$3/8002; sleep 1; \
echo $1 $(cat /sys/class/net/$1/address) errors $(cat /sys/class/net/$1/statistics/[rt]x_errors | tr '\\n' ' '); \
}";

/// Frames of all sizes go both ways through both cards of one guest: by ping with fragments, and by TCP with checksums
/// and segments that each driver leaves to its card.
fn two_cards(context: &Context) -> Result<Outcome> {
    let config = entry(context, "emulated")?.line(
        "vif=['bridge=xenbr0,model=e1000,mac=00:16:3e:01:02:03','bridge=xenbr0,model=rtl8139,mac=00:16:3e:01:02:04']",
    );
    let down = context.agent.check(&format!(
        "set -e; ip addr add 10.0.8.1/24 dev xenbr0 2>/dev/null || :
        head -c 4000000 /dev/urandom >{FOLDER}/down
        setsid socat -U TCP-LISTEN:8001,reuseaddr,fork OPEN:{FOLDER}/down,rdonly >/dev/null 2>&1 &
        setsid socat -u TCP-LISTEN:8002,reuseaddr,fork OPEN:{FOLDER}/up,creat,append >/dev/null 2>&1 &
        sha256sum <{FOLDER}/down"
    ))?;
    let guest = context.start(&config)?;
    guest.serial().wait_for("stubdom guest ready", UP)?;
    guest.serial().wait_for("root@guest", LIMIT)?;
    guest.serial().send(
        b"for key in ignore=1 announce=2; do echo ${key#*=} >/proc/sys/net/ipv4/conf/all/arp_${key%=*}; done; \
          modprobe e1000; modprobe 8139cp; sleep 1\r",
    )?;
    guest.serial().send(format!("{TRY_CARD}\r").as_bytes())?;
    guest.serial().send(b"try_card eth0 10.0.9.2 10.0.9.1; try_card eth1 10.0.8.2 10.0.8.1; echo end-$((6 * 7))\r")?;
    let said = guest.serial().wait_for("end-42", Duration::from_secs(400))?;
    let up = context.agent.check(&format!(
        "fuser -ks 8001/tcp 8002/tcp; stat -c %s {FOLDER}/up
        head -c 3000000 {FOLDER}/up | sha256sum; tail -c 3000000 {FOLDER}/up | sha256sum"
    ))?;
    let up: Vec<_> = up.lines().map(str::trim).collect();
    let sum = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    for (card, address) in [("eth0", "00:16:3e:01:02:03"), ("eth1", "00:16:3e:01:02:04")] {
        for words in [format!("{card} down {} ", sum(&down)), format!("{card} {address} errors 0 0")] {
            ensure!(said.contains(&words), "no {words:?} in:\n{said}");
        }
    }
    ensure!(up.first() == Some(&"6000000"), "not all was sent: {up:?}\n{said}");
    for up in up[1..].iter().map(|line| sum(line)) {
        ensure!(said.contains(&format!("sent {up}")), "{up} came to dom0, but:\n{said}");
    }
    ensure!(said.matches("3 packets received").count() == 2, "pings got lost:\n{said}");
    ensure!(said.matches("1 packets received").count() == 2, "a ping in fragments got lost:\n{said}");
    guest.serial().send(b"poweroff\r")?;
    guest.wait_for_end(Duration::from_secs(120))?;
    Ok(Outcome::Passed)
}

/// What iPXE fetches first.
const SCRIPT: &str = "\
#!ipxe
kernel http://10.0.9.1/vmlinuz root=/dev/xvda1,/dev/sda1 console=ttyS0,115200 quiet by=ipxe
initrd http://10.0.9.1/initrd
boot
";

/// The card's ROM asks for an address, and fetches Debian's kernel: each of the two cards on one of the two releases.
fn ipxe(context: &Context) -> Result<Outcome> {
    let model = if context.xen == "4.17" { "e1000" } else { "rtl8139" };
    let config = context
        .debian("debian", DeviceModel::Stubdom)?
        .line(format!("vif=['bridge=xenbr0,model={model},mac=00:16:3e:01:02:05']"))
        .line("boot='n'");
    context.agent.put(&format!("{FOLDER}/www/boot.ipxe"), SCRIPT.as_bytes())?;
    let lease = "start 10.0.9.20\nend 10.0.9.30\ninterface xenbr0\nsiaddr 10.0.9.1\nopt subnet 255.255.255.0\n\
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
    context.agent.check("fuser -ks 80/tcp 67/udp")?;
    ensure!(said.contains("by=ipxe"), "it was another loader:\n{said}");
    guest.serial().send(b"poweroff\r")?;
    guest.wait_for_end(Duration::from_secs(120))?;
    Ok(Outcome::Passed)
}
