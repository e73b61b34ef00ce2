//! One guest with everything that an ordinary xl.cfg asks for, with Linux' drivers on one side and dom0 on the other.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::debian::entry_with;
use crate::domain::{FOLDER, Guest};
use crate::suite::{Case, Context};

pub(super) const CASES: &[Case] = &[Case::new("everything-at-once", 900, everything)];

const UP: Duration = Duration::from_secs(400);
const LIMIT: Duration = Duration::from_secs(120);

/// The picture of the text console: 80 × 25 characters of 9 × 16 dots.
const SCREEN: (u16, u16) = (720, 400);

/// What a card is asked to do in the guest: `$1` is its interface, `$2` the guest's address and `$3` dom0's.
const TRY_CARD: &str = "\
try_card() { \
ip link set $1 up; ip addr add $2/24 dev $1; sleep 3; \
busybox ping -c 3 -s 1400 $3 | grep received; \
busybox ping -c 1 -s 9000 $3 | grep received; \
cat </dev/tcp/$3/8001 >/tmp/down; echo $1 down $(for n in 1 2; do sha256sum </tmp/down; done) size $(wc -c </tmp/down); \
head -c 1500000 /usr/bin/perl >/tmp/up; echo $1 sent $(sha256sum </tmp/up); \
cat /tmp/up >/dev/tcp/$3/8002; sleep 1; \
echo $1 $(cat /sys/class/net/$1/address) errors $(cat /sys/class/net/$1/statistics/[rt]x_errors | tr '\\n' ' '); \
}";

/// Gives the stub domain another second network, as toolstacks do for domains that run. libxl does so for guests alone.
const ATTACH: &str = "set -e; s=$(xl domid debian-dm)
back=/local/domain/0/backend/vif/$s/1; front=/local/domain/$s/device/vif/1; mac=00:16:3e:01:02:04
xenstore-write $back/script /etc/xen/scripts/vif-bridge $back/frontend $front $back/frontend-id $s $back/online 1 $back/handle 1 $back/mac $mac $back/state 1 \
    $front/backend $back $front/backend-id 0 $front/handle 1 $front/mac $mac $front/state 1
xenstore-chmod -r $back n0 r$s; xenstore-chmod -r $front n$s r0
for try in $(seq 100); do [ -e /sys/class/net/vif$s.1 ] && break; sleep 0.2; done
ip link set vif$s.1 up master xenbr0 || { xenstore-ls -f $back; xenstore-ls -f $front; dmesg | tail -n 5; exit 1; } >&2
xenstore-write $back/hotplug-status connected";

/// Two disks, a CD, a Cirrus card, two network cards of different models, a tablet and two devices behind a hub, and four
/// serial ports.
fn everything(context: &Context) -> Result<()> {
    // Linux gives names to disks in the order in which it is through with them.
    let mut config = entry_with(context, "emulated", "s#/dev/sda1 #/dev/sda1,/dev/sdb1 #")?
        .line("vga='cirrus'")
        .line("usb=1")
        .line("usbdevice=['tablet','mouse','keyboard']")
        .line("serial=['pty','pty','pty','pty']")
        .line(
            "vif=['bridge=xenbr0,model=e1000,mac=00:16:3e:01:02:03','bridge=xenbr0,model=rtl8139,mac=00:16:3e:01:02:04']",
        );
    let sums = context.agent.check(&format!(
        "for name in second.disk disc.iso; do head -c 3145728 /dev/urandom >{FOLDER}/$name; sha256sum <{FOLDER}/$name; done"
    ))?;
    config = config.disk(&format!("{FOLDER}/second.disk"), "hdb");
    config.quick_disks = false;
    config.disks.push(format!("format=raw,vdev=hdc,access=ro,devtype=cdrom,target={FOLDER}/disc.iso"));
    let down = context.agent.check(&format!(
        "set -e; ip addr add 10.0.8.1/24 dev xenbr0 2>/dev/null || :
        head -c 2000000 /dev/urandom >{FOLDER}/down
        setsid socat -U TCP-LISTEN:8001,reuseaddr,fork OPEN:{FOLDER}/down,rdonly >/dev/null 2>&1 &
        setsid socat -u TCP-LISTEN:8002,reuseaddr,fork OPEN:{FOLDER}/up,creat,append >/dev/null 2>&1 &
        sha256sum <{FOLDER}/down"
    ))?;
    let guest = context.start(&config)?;
    guest.serial().wait_for("stubdom guest ready", UP)?;
    guest.serial().wait_for("root@guest", LIMIT)?;
    guest.serial().send(
        b"modprobe -a sr_mod uhci_hcd usbhid hid_generic; sleep 5; \
          echo inputs-$(grep -c 'Xen USB' /proc/bus/input/devices); echo ports-$(grep -c 16550A /proc/tty/driver/serial); \
          second=sda; [ ! -e /dev/sda1 ] || second=sdb; \
          for disk in $second sr0; do dd if=/dev/$disk bs=128k 2>/dev/null | sha256sum; done; echo disks-$((6 * 7))\r",
    )?;
    let said = guest.serial().wait_for("disks-42", LIMIT)?;
    for words in sums.lines().chain(["ports-4", "inputs-3"]) {
        ensure!(said.contains(words), "no {words:?} in:\n{said}");
    }
    tablet(&guest, SCREEN)?;
    guest.serial().send(
        b"for key in ignore=1 announce=2; do echo ${key#*=} >/proc/sys/net/ipv4/conf/all/arp_${key%=*}; done; \
          modprobe e1000; modprobe 8139cp; sleep 1\r",
    )?;
    guest.serial().send(format!("{TRY_CARD}\r").as_bytes())?;
    guest.serial().send(b"try_card eth0 10.0.9.2 10.0.9.1; try_card eth1 10.0.8.2 10.0.8.1; echo end-$((6 * 7))\r")?;
    let said = guest.serial().wait_for("end-42", Duration::from_secs(400))?;
    let up = context.agent.check(&format!(
        "fuser -ks 8001/tcp 8002/tcp; stat -c %s {FOLDER}/up
        head -c 1500000 {FOLDER}/up | sha256sum; tail -c 1500000 {FOLDER}/up | sha256sum"
    ))?;
    let up: Vec<_> = up.lines().map(str::trim).collect();
    let sum = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    for (card, address) in [("eth0", "00:16:3e:01:02:03"), ("eth1", "00:16:3e:01:02:04")] {
        // What came is there, and is looked at twice: the emulator below Xen once in a while gets a sum wrong.
        let start = format!("{card} down ");
        let came = said.lines().find(|line| line.starts_with(&start)).unwrap_or_default();
        ensure!(came.contains(&sum(&down)), "no {:?} in {came:?}:\n{said}", sum(&down));
        let words = format!("{card} {address} errors 0 0");
        ensure!(said.contains(&words), "no {words:?} in:\n{said}");
    }
    ensure!(up.first() == Some(&"3000000"), "not all was sent: {up:?}\n{said}");
    for up in up[1..].iter().map(|line| sum(line)) {
        ensure!(said.contains(&format!("sent {up}")), "{up} came to dom0, but:\n{said}");
    }
    ensure!(said.matches("3 packets received").count() == 2, "pings got lost:\n{said}");
    ensure!(said.matches("1 packets received").count() == 2, "a ping in fragments got lost:\n{said}");
    // A network that is taken away is a cable that is pulled, out of this card alone.
    context.agent.check("xl network-detach debian-dm 1")?;
    guest.serial().send(b"until [ $(cat /sys/class/net/eth1/carrier) = 0 ]; do sleep 1; done\r")?;
    guest.serial().send(b"echo pulled-$((6 * 7)) other-$(cat /sys/class/net/eth0/carrier)\r")?;
    guest.serial().wait_for("pulled-42 other-1", LIMIT)?;
    // Another network with its number is another cable.
    context.agent.check(ATTACH)?;
    guest.serial().send(
        b"until busybox ping -c 1 -W 1 10.0.8.1 | grep -q ' 0% packet'; do sleep 1; done; echo again-$((6 * 7))\r",
    )?;
    guest.serial().wait_for("again-42", LIMIT)?;
    // A card that is ejected is gone, and the other one stays.
    let known = guest.serial().text().len();
    guest.serial().send(
        b"at=$(readlink -f /sys/class/net/eth0/device); at=${at##*/}; slot=$(grep -l ${at%.*} /sys/bus/pci/slots/*/address); \
          echo 0 >${slot%/*}/power; echo 1 >/sys/bus/pci/rescan; echo answers-$(busybox ping -c 1 -W 9 10.0.8.1 | grep -c ' 0% packet'); \
          [ -e /sys/bus/pci/devices/$at ] || echo $at-ejected-$((6 * 7))\r",
    )?;
    let said = guest.serial().wait_for_past(known, "-ejected-42", LIMIT)?;
    ensure!(said.contains("answers-1"), "the other card answers no more:\n{said}");
    guest.serial().send(b"poweroff\r")?;
    guest.wait_for_end(Duration::from_secs(120))?;
    Ok(())
}

/// The pointer goes to the corners of the screen and into its middle, and a button is pressed there.
pub(super) fn tablet(guest: &Guest, size: (u16, u16)) -> Result<()> {
    tablet_by(guest, size, |places| {
        let mut viewer = guest.viewer()?;
        for (x, y) in places {
            viewer.point(*x, *y, 0)?;
            std::thread::sleep(Duration::from_millis(300));
        }
        let (x, y) = places.last().copied().unwrap_or_default();
        viewer.point(x, y, 1)?;
        viewer.point(x, y, 0)
    })
}

/// The same by a person who moves the pointer from place to place, and clicks at the last.
pub(super) fn tablet_by(
    guest: &Guest,
    size: (u16, u16),
    point: impl FnOnce(&[(u16, u16)]) -> Result<()>,
) -> Result<()> {
    let known = guest.serial().text().len();
    // A line for each event: seconds and microseconds, then type, code and value. They are read until a line is sent.
    guest.serial().send(
        b"until device=$(grep -A 5 'Xen USB Tablet' /proc/bus/input/devices | grep -o 'event[0-9]*'); do sleep 0.2; done; \
          echo tablet-is-$device; (cat /dev/input/$device & read -r line; kill $!) | od -An -v -tx2 -w24 | cut -d' ' -f 10-; echo seen-$((6 * 7))\r",
    )?;
    guest.serial().wait_for_past(known, "tablet-is-event", LIMIT)?;
    std::thread::sleep(Duration::from_secs(2));
    let (right, bottom) = (size.0 - 1, size.1 - 1);
    point(&[(right / 2, bottom / 2), (0, 0), (right, 0), (right, bottom), (0, bottom)])?;
    std::thread::sleep(Duration::from_secs(2));
    guest.serial().send(b"\r")?;
    let said = guest.serial().wait_for_past(known, "seen-42", LIMIT)?;
    let events = said.split("tablet-is-").last().context("events")?;
    // Type, code and the lower half of the value: absolute X and Y, the left button. QEMU divides by the picture's size, so
    // the last pixel is not quite the end.
    let parsed: Vec<_> = events
        .lines()
        .filter_map(|line| {
            let words: Vec<_> = line.split_whitespace().map_while(|word| u16::from_str_radix(word, 16).ok()).collect();
            words.first_chunk::<3>().copied()
        })
        .collect();
    for (what, range) in
        [([3, 0], 0x7f00..=0x7fff), ([3, 0], 0..=0), ([3, 1], 0x7f00..=0x7fff), ([3, 1], 0..=0), ([1, 0x110], 1..=1)]
    {
        let has = parsed.iter().any(|[kind, code, value]| [*kind, *code] == what && range.contains(value));
        ensure!(has, "nothing of type and code {what:?} in {range:?} among:\n{events}");
    }
    Ok(())
}
