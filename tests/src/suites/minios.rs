//! The checks of miniOS, in PV domains of their own.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::domain::{FOLDER, HAS_NEWER_QEMU, SELFTEST, SERVE_FRAMEBUFFER};
use crate::suite::{Case, Context};
use crate::testbed::Stream;
use crate::vnc::Viewer;

pub(super) const CASES: &[Case] = &[
    Case::new("minios-runs-in-4-mib", 200, |context| checks(context, 4)),
    Case::new("minios-runs-in-16-mib", 200, |context| checks(context, 16)),
    Case::new("minios-runs-in-64-mib", 200, |context| checks(context, 64)),
    Case::new("minios-runs-in-512-mib", 200, |context| checks(context, 512)),
    Case::new("minios-says-why-it-dies-and-crashes-the-domain", 300, deaths),
    Case::new("minios-uses-the-devices-that-dom0-serves", 300, devices),
    Case::new("minios-serves-disks-to-linux-and-to-itself", 300, serves),
    Case::new("minios-serves-a-network-to-linux", 300, joins),
];

/// How long dom0 may take to say how a domain is.
const STATE_LIMIT: Duration = Duration::from_secs(40);

/// A PV domain that is kept when it crashes, and goes when it powers off.
struct Domain<'a> {
    context: &'a Context,
    name: &'a str,
}

impl<'a> Domain<'a> {
    fn create(context: &'a Context, name: &'a str, memory: u32, words: &str, lines: &str) -> Result<Self> {
        let text = format!(
            "name = \"{name}\"\ntype = \"pv\"\nkernel = \"{SELFTEST}\"\nmemory = {memory}\nextra = \"{words}\"
on_crash = \"preserve\"\non_poweroff = \"destroy\"\n{lines}\n"
        );
        let file = format!("{FOLDER}/{name}.cfg");
        context.agent.put(&file, text.as_bytes())?;
        context.agent.check(&format!("xl create {file}"))?;
        Ok(Self { context, name })
    }

    /// What it has printed on console 0.
    fn log(&self) -> Result<String> {
        self.context.agent.check(&format!("cat /var/log/xen/console/guest-{}.log 2>/dev/null; true", self.name))
    }

    /// Waits for a text on console 0.
    fn wait_for(&self, text: &str, seconds: u64) -> Result<String> {
        let end = Instant::now() + Duration::from_secs(seconds);
        loop {
            let log = self.log()?;
            if log.contains(text) {
                return Ok(log);
            }
            ensure!(Instant::now() < end, "{} did not print {text:?} within {seconds} s:\n{log}", self.name);
            thread::sleep(Duration::from_millis(500));
        }
    }

    /// Waits until `xl list` shows a state, or none when the domain has to be gone.
    fn wait_for_state(&self, wanted: Option<char>) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            // An xl that never answers is asked once more, as for guests.
            let script = format!("timeout 20 xl list {} 2>/dev/null", self.name);
            let ask = || self.context.agent.exec_within(&script, Some(STATE_LIMIT));
            let output = ask().or_else(|_| ask())?.stdout;
            let state = output.lines().nth(1).and_then(|line| line.split_whitespace().nth(4));
            match (wanted, state) {
                (None, None) => return Ok(()),
                (Some(letter), Some(state)) if state.contains(letter) => return Ok(()),
                (Some(_), None) => bail!("{} is gone, and should have been kept", self.name),
                _ => ensure!(Instant::now() < end, "the state of {} is {state:?}", self.name),
            }
            thread::sleep(Duration::from_millis(300));
        }
    }

    /// Judges all checks, once the domain has ended by itself.
    fn judge(&self, seconds: u64) -> Result<()> {
        let log = self.wait_for("DONE ", seconds)?;
        let failed: Vec<_> = log.lines().filter(|line| line.contains("FAIL ")).collect();
        ensure!(failed.is_empty(), "{}", failed.join("; "));
        let (_, figures) = log.split_once("DONE ").context("it was there before")?;
        let mut figures = figures.split_whitespace();
        let passed: u32 = figures.next().context("no count")?.parse()?;
        ensure!(passed >= 20 && figures.next() == Some("0"), "the checks were:\n{log}");
        self.wait_for_state(None)
    }
}

fn checks(context: &Context, memory: u32) -> Result<()> {
    Domain::create(context, "selftest", memory, "", "")?.judge(120)?;
    Ok(())
}

/// Every way to die: the word on the command line, and what has to be on console 0.
const DEATHS: &[(&str, &str)] = &[
    ("panic", "as asked: die=panic"),
    ("null", "FAULT 14 (page fault)"),
    ("guard", "FAULT 14 (page fault)"),
    ("opcode", "FAULT 6 (invalid opcode)"),
    ("memory", "memory allocation of 1099511627776 bytes failed"),
];

/// Without stack there are no last words: Xen cannot push a frame for the fault, and crashes the domain itself.
const SPEECHLESS: &str = "overflow";

/// All at once: each is over as soon as it has begun.
fn deaths(context: &Context) -> Result<()> {
    let mut domains = Vec::new();
    for (way, message) in DEATHS {
        domains.push((Domain::create(context, way, 8, &format!("die={way}"), "")?, message));
    }
    for (domain, message) in domains {
        let log = domain.wait_for("called before", 60)?;
        ensure!(log.contains("DYING") && log.contains(message), "{} says:\n{log}", domain.name);
        domain.wait_for_state(Some('c'))?;
    }
    let domain = Domain::create(context, SPEECHLESS, 8, &format!("die={SPEECHLESS}"), "")?;
    domain.wait_for("DYING", 60)?;
    domain.wait_for_state(Some('c'))?;
    let said = context.agent.check("xl dmesg")?;
    ensure!(said.contains("domain_crash"), "Xen has not crashed the domain, and says:\n{said}");
    Ok(())
}

/// Blkback and QEMU's qdisk, framebuffer and keyboard, and a directory of the store that takes several messages.
fn devices(context: &Context) -> Result<()> {
    context.agent.check(&format!(
        "set -e; mkdir -p {FOLDER}; truncate -s 64M {FOLDER}/a.img {FOLDER}/b.img
        set --; for n in $(seq -f %04g 0 599); do set -- \"$@\" /many/entry-$n ''; done
        xenstore-write \"$@\"; xenstore-chmod /many r0"
    ))?;
    let newer_qemu = context.agent.exec(HAS_NEWER_QEMU)?.success();
    let lines = format!(
        "disk = ['format=raw,vdev=xvda,access=rw,target={FOLDER}/a.img', \
         'format=raw,vdev=xvdb,access=rw,backendtype=qdisk,target={FOLDER}/b.img']
vfb = ['vnc=1,vnclisten=127.0.0.1,vncunused=0,vncdisplay=5']
{}",
        if newer_qemu { SERVE_FRAMEBUFFER } else { "" }
    );
    let domain = Domain::create(context, "devices", 32, "devices many=/many", &lines)?;
    domain.wait_for("all connected", 120)?;
    let stream = context.agent.open("TCP:127.0.0.1:5905")?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut viewer: Viewer<Stream> = Viewer::open(stream)?;
    if newer_qemu {
        viewer.choose_first_console()?;
    }
    let screen = viewer.picture()?;
    ensure!((screen.width, screen.height) == (640, 480), "{} × {} pixels", screen.width, screen.height);
    for (at, pixel) in (0_u32..).zip(&screen.pixels) {
        let (x, y) = (at % 640, at / 640);
        ensure!(*pixel == (x & 0xff) << 16 | (y & 0xff) << 8, "pixel {x}, {y} is {pixel:06x}");
    }
    viewer.point(64, 64, 0)?;
    viewer.point(65, 64, 0)?;
    viewer.type_text("a")?;
    domain.judge(120)?;
    context.agent.check("xenstore-rm /many")?;
    Ok(())
}

/// A driver domain: its disk is used by another miniOS, and by dom0's Linux, and what one writes the other reads.
fn serves(context: &Context) -> Result<()> {
    let server = Domain::create(context, "server", 64, "serve=32", "driver_domain = 1")?;
    server.wait_for("SERVING", 60)?;
    let disk = |name: &str| format!("format=raw,backendtype=phy,vdev={name},access=rw,backend=server,target=memory");
    let client = Domain::create(context, "client", 16, "disks", &format!("disk = ['{}']", disk("xvda")))?;
    client.judge(120)?;
    let log = client.log()?;
    ensure!(log.contains("PASS device/vbd/51712: one mebibyte in one transfer"), "it had no disk:\n{log}");
    server.wait_for("removed", 30)?;

    context.agent.check("modprobe xen-blkfront")?;
    for round in 0..2 {
        context.agent.check(&format!("xl block-attach 0 '{}'", disk("xvdz")))?;
        context.agent.check(&format!(
            "set -e; for n in $(seq 100); do test -b /dev/xvdz && break; sleep 0.1; done
            test $(blockdev --getsize64 /dev/xvdz) = $((32 << 20))
            if [ {round} = 0 ]; then dd if=/dev/urandom of=/tmp/random bs=1M count=32 2>/dev/null
                dd if=/tmp/random of=/dev/xvdz bs=1M oflag=direct conv=fsync 2>/dev/null; fi
            dd if=/dev/xvdz bs=64k iflag=direct 2>/dev/null | cmp - /tmp/random"
        ))?;
        // Debian 13's dom0 has no tools for file systems.
        if round == 1 {
            context.agent.check(
                "set -e; command -v mkfs.ext4 >/dev/null || exit 0; mkfs.ext4 -q /dev/xvdz; mkdir -p /tmp/served; mount -o discard /dev/xvdz /tmp/served
                dd if=/tmp/random of=/tmp/served/b bs=1M count=8 2>/dev/null; cp /tmp/random /tmp/served/a || true
                rm -f /tmp/served/a; sync; fstrim /tmp/served; umount /tmp/served; fsck.ext4 -fn /dev/xvdz
                mount /dev/xvdz /tmp/served; dd if=/tmp/random bs=1M count=8 2>/dev/null | cmp - /tmp/served/b
                umount /tmp/served",
            )?;
        }
        context.agent.check("xl block-detach 0 xvdz")?;
    }
    let log = server.log()?;
    ensure!(!log.contains("PANIC") && !log.contains("WARN"), "the server says:\n{log}");
    context.agent.check("xl destroy server")?;
    Ok(())
}

/// Two interfaces of dom0's Linux, each in a network namespace of its own, on the network of a driver domain.
fn joins(context: &Context) -> Result<()> {
    let server = Domain::create(context, "server", 64, "serve=1", "driver_domain = 1")?;
    server.wait_for("SERVING", 60)?;
    context.agent.check("modprobe xen-netfront; ls /sys/class/net >/tmp/before")?;
    for number in 1..=2 {
        context.agent.check(&format!(
            "set -e; xl network-attach 0 mac=00:16:3e:00:00:0{number} backend=server
            for n in $(seq 100); do name=$(ls /sys/class/net | grep -vxFf /tmp/before | head -n 1) || true
                test -n \"$name\" && break; sleep 0.1; done
            ip netns add n{number}; ip link set \"$name\" netns n{number} name served
            ip -n n{number} address add 10.9.0.{number}/24 dev served; ip -n n{number} link set served up
            ip -n n{number} -6 address add fd09::{number}/64 dev served nodad"
        ))?;
    }
    context.agent.check("ip netns exec n1 busybox ping -c 3 -w 20 -s 1400 10.9.0.2")?;
    // Large sends of TCP, which Linux leaves to be cut, both ways and in both families.
    for (from, to, address) in [(1, 2, "TCP4:10.9.0.2"), (2, 1, "TCP4:10.9.0.1"), (1, 2, "TCP6:[fd09::2]")] {
        let listen = &address[..4];
        context.agent.check(&format!(
            "set -e; test -f /tmp/random || dd if=/dev/urandom of=/tmp/random bs=1M count=32 2>/dev/null
            rm -f /tmp/arrived; ip netns exec n{to} socat -u {listen}-LISTEN:7777 CREATE:/tmp/arrived & sleep 1
            ip netns exec n{from} socat -u -b 65536 FILE:/tmp/random {address}:7777; wait; cmp /tmp/random /tmp/arrived"
        ))?;
    }
    let log = server.log()?;
    ensure!(log.matches("connected to domain 0").count() == 2, "somebody else is their backend:\n{log}");
    ensure!(!log.contains("PANIC") && !log.contains("WARN"), "the server says:\n{log}");
    context.agent.check("set -e; xl network-detach 0 00:16:3e:00:00:01; xl network-detach 0 00:16:3e:00:00:02")?;
    server.wait_for("removed", 30)?;
    context.agent.check("xl destroy server; ip netns delete n1; ip netns delete n2")?;
    Ok(())
}
