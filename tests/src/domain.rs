//! HVM guests in a testbed: what goes into xl.cfg, their serial console, their screen, their end.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::testbed::{Agent, Stream};
use crate::vnc::{Screen, Viewer};

/// Where the images lie in dom0.
pub const IOEMU: &str = "/usr/lib/stubdom/ioemu-stubdom.gz";
/// See [`IOEMU`].
pub const RAMDISK: &str = "/usr/lib/stubdom/ioemu-stubdom.ramdisk";
/// See [`IOEMU`]: a CD with GRUB and memtest86+.
pub const CD: &str = "/usr/lib/stubdom/cd.iso";
/// A disk of dom0 with a FAT file system from which UEFI firmware starts Linux.
pub const EFI: &str = "/dev/testbed/efi";
/// A disk of dom0 that is an archive of the Debian installer's netboot image: `linux` and `initrd.gz`.
pub const INSTALLER: &str = "/dev/testbed/installer";
/// See [`IOEMU`]: the checks of miniOS, a kernel for a PV domain.
pub const SELFTEST: &str = "/usr/lib/stubdom/selftest.gz";
/// See [`IOEMU`]: the paravirtualised unikernel.
pub const DEMO: &str = "/usr/lib/stubdom/demo.gz";
/// Where configurations and disks of guests lie in dom0.
pub const FOLDER: &str = "/var/guests";

/// The lines of xl.cfg that make our image the device model of a guest.
pub const STUBDOM_LINES: &[(&str, &str)] = &[
    ("device_model_version", "\"qemu-xen\""),
    ("device_model_stubdomain_override", "1"),
    ("stubdomain_kernel", "\"/usr/lib/stubdom/ioemu-stubdom.gz\""),
    ("stubdomain_ramdisk", "\"/usr/lib/stubdom/ioemu-stubdom.ramdisk\""),
    ("stubdomain_memory", "16"),
];

/// Succeeds in dom0 where its QEMU is newer than 9.0. It serves a framebuffer only when it is asked to, and shows it only
/// when it is told so again ([`Viewer::choose_first_console`]); Xen 4.17 comes with one that always does.
pub const HAS_NEWER_QEMU: &str = "[ ! -d /usr/lib/xen-4.17 ]";
/// What asks it to: a line of xl.cfg.
pub const SERVE_FRAMEBUFFER: &str = "device_model_args_pv=[\"-vga\",\"xenfb\"]";

/// The stub domain's own VNC server, where a guest has one: its address on dom0's bridge, and its ports for viewers and for
/// browsers.
pub const OWN_ADDRESS: &str = "10.0.9.77";
/// See [`OWN_ADDRESS`].
pub const OWN_ADDRESS_V6: &str = "fd00::77";
/// See [`OWN_ADDRESS`].
pub const OWN_VNC: u16 = 5901;
/// See [`OWN_ADDRESS`].
pub const OWN_WEBSOCKET: u16 = 5701;
/// What viewers of it have to know.
pub const OWN_PASSWORD: &str = "stubdom";

/// The port of the demo's page, at [`OWN_ADDRESS`].
pub const DEMO_HTTP: u16 = 80;

/// The demo, as users have it, at an address that is known, with this disk, and on this VNC display of dom0.
pub fn demo_config(disk: &str, display: u16) -> String {
    let text = include_str!("../../stubdom/demo.cfg");
    format!(
        "{text}\nkernel = \"{DEMO}\"\ndisk = [ \"format=raw,vdev=xvda,access=rw,target={disk}\" ]
extra = \"ip={OWN_ADDRESS}/24 http={DEMO_HTTP} vnc=:1,websocket=on vncpasswd={OWN_PASSWORD}\"
vfb = [ \"vnc=1,vnclisten=127.0.0.1,vncunused=0,vncdisplay={display}\" ]\n"
    )
}

/// What emulates the PC around a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceModel {
    /// Our stub domain.
    Stubdom,
    /// The QEMU of dom0, to compare with.
    Qemu,
}

/// How long dom0 may take to say whether a guest is there.
const STATE_LIMIT: Duration = Duration::from_secs(60);

/// A guest, as far as tests differ in it.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name.
    pub name: String,
    /// What emulates its PC.
    pub device_model: DeviceModel,
    /// MiB of memory.
    pub memory: u32,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Disk specifications in xl's words.
    pub disks: Vec<String>,
    /// Number of its VNC display in dom0: two guests at a time need two.
    pub display: u16,
    /// Further lines of xl.cfg; a line here wins over one from the other fields.
    pub lines: Vec<String>,
    /// The disks are set up by `tests/testbed/block-quick`, and not by Xen's own script, which takes its time.
    pub quick_disks: bool,
}

impl Config {
    /// A guest with 256 MiB, one CPU and no disk.
    pub fn new(name: impl Into<String>, device_model: DeviceModel) -> Self {
        Self {
            name: name.into(),
            device_model,
            memory: 256,
            vcpus: 1,
            disks: Vec::new(),
            display: 1,
            lines: Vec::new(),
            quick_disks: false,
        }
    }

    /// Adds a raw disk that can be written to: a file or block device of dom0.
    #[must_use]
    pub fn disk(mut self, target: &str, device: &str) -> Self {
        self.disks.push(format!("format=raw,vdev={device},access=rw,target={target}"));
        self
    }

    /// Adds a line of xl.cfg.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Has the stub domain show the screen itself, on the network of this card, and nobody else.
    #[must_use]
    pub fn own_screen(self, vif: &str) -> Self {
        self.line(format!("vif=['{vif}']"))
            .line("vnc=0")
            // What a newer QEMU of dom0 needs for a framebuffer makes it fail where there is none.
            .line("device_model_args_pv=[]")
            .line(format!("stubdomain_cmdline='ip={OWN_ADDRESS}/24 ip={OWN_ADDRESS_V6}/64 vnc=:1,websocket=on vncpasswd={OWN_PASSWORD}'"))
    }

    /// A disk specification that says which script sets it up, where a script can: QEMU opens disks itself, and so does
    /// libxl to exchange a disc.
    fn with_script(&self, disk: &str) -> String {
        let is_quick = self.quick_disks && self.device_model == DeviceModel::Stubdom;
        if !is_quick || ["script=", "devtype=cdrom"].iter().any(|part| disk.contains(part)) {
            return disk.to_owned();
        }
        disk.replace("target=", "script=block-quick,target=")
    }

    /// The text of xl.cfg.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let disks: Vec<_> = self.disks.iter().map(|disk| format!("'{}'", self.with_script(disk))).collect();
        let mut set = |key: &str, value: &str| {
            let _ = writeln!(text, "{key} = {value}");
        };
        set("name", &format!("\"{}\"", self.name));
        set("type", "\"hvm\"");
        set("memory", &self.memory.to_string());
        set("vcpus", &self.vcpus.to_string());
        set("disk", &format!("[{}]", disks.join(", ")));
        set("vga", "\"stdvga\"");
        set("videoram", "16");
        set("serial", "\"pty\"");
        set("usb", "0");
        set("on_crash", "\"destroy\"");
        for (key, value) in vnc_lines(self.display) {
            set(key, &value);
        }
        if self.device_model == DeviceModel::Stubdom {
            for (key, value) in STUBDOM_LINES {
                set(key, value);
            }
        }
        // The last assignment of a name is the one that xl takes.
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// Puts the screen on a VNC display of dom0 that is known beforehand.
pub fn vnc_lines(display: u16) -> [(&'static str, String); 4] {
    [
        ("vnc", "1".to_owned()),
        ("vnclisten", "\"127.0.0.1\"".to_owned()),
        ("vncunused", "0".to_owned()),
        ("vncdisplay", display.to_string()),
    ]
}

/// A guest that was created.
#[derive(Clone, Debug)]
pub struct Guest {
    agent: Agent,
    name: String,
    display: u16,
    shows_itself: bool,
    serial: Serial,
}

impl Guest {
    /// Creates the guest, listens to its serial port and only then lets it run: no byte is lost.
    pub fn create(agent: Agent, config: &Config) -> Result<Self> {
        let guest = Self::create_paused(agent, config)?;
        guest.unpause()?;
        Ok(guest)
    }

    /// Creates the guest and listens to its serial port. It waits for [`Guest::unpause`].
    pub fn create_paused(agent: Agent, config: &Config) -> Result<Self> {
        Self::create_from_text(agent, &config.name, config.display, &config.text())
    }

    /// The same with a whole xl.cfg, in which name and VNC display have to be those that are given here.
    pub fn create_from_text(agent: Agent, name: &str, display: u16, text: &str) -> Result<Self> {
        let file = format!("{FOLDER}/{name}.cfg");
        agent.put(&file, text.as_bytes())?;
        // Who writes an own xl.cfg may have asked already.
        let asks = text.lines().any(|line| line.starts_with("device_model_args_pv"));
        let line = if asks { "" } else { SERVE_FRAMEBUFFER };
        agent.check(&format!("line=; ! {HAS_NEWER_QEMU} || line='{line}'; xl create -p {file} $line"))?;
        // The main console of an HVM guest is its first serial port, wherever its device model runs.
        let serial = listen(agent, name)?;
        let shows_itself = text.contains(&format!("vncpasswd={OWN_PASSWORD}"));
        let guest = Self { agent, name: name.to_owned(), display, shows_itself, serial };
        guest.choose_screen()?;
        Ok(guest)
    }

    /// Has a newer QEMU show the screen of a stub domain, and give it keys. It binds its VNC server to the consoles that
    /// there are when it starts, and that of a vfb comes later. Without this it says "This VM has no graphic display device".
    fn choose_screen(&self) -> Result<()> {
        let screens = format!("/local/domain/0/backend/vfb/$(xl domid {}-dm)", self.name);
        let has_to = format!("{HAS_NEWER_QEMU} && xenstore-exists {screens} 2>/dev/null");
        if self.agent.exec(&has_to)?.success() {
            self.viewer()?.choose_first_console()?;
        }
        Ok(())
    }

    /// Listens to the console of a guest that was restored or has started again.
    pub fn listen_again(&mut self) -> Result<()> {
        self.serial = listen(self.agent, &self.name)?;
        Ok(())
    }

    /// A viewer of the same screen on the QEMU of dom0, where that shows it as well.
    pub fn viewer_of_dom0(&self) -> Result<Viewer<Stream>> {
        let stream = self.agent.open(&format!("TCP:127.0.0.1:{}", 5900 + self.display))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut viewer = Viewer::open(stream)?;
        if self.agent.exec(HAS_NEWER_QEMU)?.success() {
            viewer.choose_first_console()?;
        }
        Ok(viewer)
    }

    /// Lets the guest run.
    pub fn unpause(&self) -> Result<()> {
        self.agent.check(&format!("xl unpause {}", self.name)).map(drop)
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The serial port.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// The socat address of the screen in dom0.
    pub fn vnc_address(&self) -> String {
        match self.shows_itself {
            true => format!("TCP:{OWN_ADDRESS}:{OWN_VNC}"),
            false => format!("TCP:127.0.0.1:{}", 5900 + self.display),
        }
    }

    /// A viewer of the screen.
    pub fn viewer(&self) -> Result<Viewer<Stream>> {
        self.viewer_with(self.shows_itself.then_some(OWN_PASSWORD))
    }

    /// The same with another password.
    pub fn viewer_with(&self, password: Option<&str>) -> Result<Viewer<Stream>> {
        let stream = self.agent.open(&self.vnc_address())?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Viewer::open_with(stream, password)
    }

    /// Whether its stub domain shows the screen itself.
    pub fn shows_itself(&self) -> bool {
        self.shows_itself
    }

    /// What the screen shows now. QEMU's VNC server can lose its thread when the guest sets a mode at that very moment: it
    /// is asked once more.
    pub fn picture(&self) -> Result<Screen> {
        let look = || Ok(self.viewer()?.picture()?.clone());
        look().or_else(|_: anyhow::Error| look())
    }

    /// What `xl list` says: its state in letters, or nothing when the guest is gone.
    pub fn state(&self) -> Result<Option<String>> {
        // Now and then an xl waits for its own thread for ever, on a machine as slow as an emulated one, and so may the shell
        // that waits for it: it is asked again.
        let list = format!("timeout 20 xl list {}", self.name);
        let script = format!("{list}; status=$?; [ $status -ne 124 ] || {list}");
        let ask = || self.agent.exec_within(&script, Some(STATE_LIMIT));
        let output = ask().or_else(|_| ask())?;
        let line = output.stdout.lines().nth(1);
        Ok(line.and_then(|line| line.split_whitespace().nth(4)).map(str::to_owned))
    }

    /// Waits until the guest and its stub domain are gone.
    pub fn wait_for_end(&self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            if self.state()?.is_none() {
                return Ok(());
            }
            if start.elapsed() > limit {
                bail!("{} still runs after {} s", self.name, limit.as_secs());
            }
            thread::sleep(Duration::from_millis(300));
        }
    }

    /// Takes the guest away.
    pub fn destroy(&self) -> Result<()> {
        self.agent.check(&format!("xl destroy {}", self.name)).map(drop)
    }
}

/// The first console of a guest.
fn listen(agent: Agent, name: &str) -> Result<Serial> {
    Serial::listen(agent.open(&format!("EXEC:\"xl console {name}\",pty,raw,echo=0"))?)
}

/// Everything that a guest has printed on its serial port so far.
#[derive(Clone, Debug)]
pub struct Serial {
    stream: Arc<Stream>,
    heard: Arc<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    state: Mutex<HeardState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct HeardState {
    bytes: Vec<u8>,
    has_ended: bool,
}

/// A guest that floods its serial port is heard no further than this.
const MOST_BYTES: usize = 16 << 20;

impl Serial {
    fn listen(stream: Stream) -> Result<Self> {
        let mut from = stream.try_clone()?;
        let serial = Self { stream: Arc::new(stream), heard: Arc::default() };
        let heard = Arc::clone(&serial.heard);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let length = from.read(&mut buffer).unwrap_or(0);
                let Ok(mut state) = heard.state.lock() else { return };
                let room = MOST_BYTES.saturating_sub(state.bytes.len());
                state.bytes.extend_from_slice(&buffer[..length.min(room)]);
                state.has_ended = length == 0;
                heard.changed.notify_all();
                if length == 0 {
                    return;
                }
            }
        });
        Ok(serial)
    }

    /// Everything so far, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.wait_past(usize::MAX, Duration::ZERO).0).into_owned()
    }

    /// Waits until there is more than `known` bytes, the guest is gone or the time is over.
    /// Gives everything from `known` on, and whether there may be more.
    pub fn wait_past(&self, known: usize, limit: Duration) -> (Vec<u8>, bool) {
        let end = Instant::now() + limit;
        let Ok(mut state) = self.heard.state.lock() else { return (Vec::new(), false) };
        if known == usize::MAX {
            return (state.bytes.clone(), !state.has_ended);
        }
        while state.bytes.len() <= known && !state.has_ended {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match self.heard.changed.wait_timeout(state, left) {
                Ok((next, _)) => state = next,
                Err(_) => return (Vec::new(), false),
            }
        }
        (state.bytes.get(known..).unwrap_or_default().to_vec(), !state.has_ended)
    }

    /// Waits until the guest has printed `text`, and gives everything so far.
    pub fn wait_for(&self, text: &str, limit: Duration) -> Result<String> {
        self.wait_for_past(0, text, limit)
    }

    /// The same for what is printed after the first `known` bytes.
    pub fn wait_for_past(&self, known: usize, text: &str, limit: Duration) -> Result<String> {
        self.wait_until(known, &format!("{text:?}"), limit, |heard| heard.contains(text))
    }

    /// Waits until what the guest has printed after the first `known` bytes holds `what`, and gives that.
    pub fn wait_until(
        &self,
        known: usize,
        what: &str,
        limit: Duration,
        holds: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let end = Instant::now() + limit;
        let mut heard = Vec::new();
        loop {
            let (more, goes_on) = self.wait_past(known + heard.len(), end.saturating_duration_since(Instant::now()));
            let is_over = more.is_empty();
            heard.extend(more);
            let so_far = String::from_utf8_lossy(&heard);
            if holds(&so_far) {
                return Ok(so_far.into_owned());
            }
            if !goes_on {
                bail!("the serial port was closed before {what}; it ended with:\n{}", tail(&so_far));
            }
            if is_over {
                bail!("no {what} on the serial port after {} s; it ended with:\n{}", limit.as_secs(), tail(&so_far));
            }
        }
    }

    /// Sends to the guest.
    pub fn send(&self, bytes: &[u8]) -> Result<()> {
        let mut stream = self.stream.try_clone()?;
        stream.write_all(bytes).context("the serial port is closed")
    }
}

/// The last lines of a text.
fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_lines_come_last_because_the_last_one_counts() {
        let config = Config::new("a", DeviceModel::Stubdom).disk("/dev/loop0", "hda").line("vcpus = 4");
        let text = config.text();
        assert!(text.contains("disk = ['format=raw,vdev=hda,access=rw,target=/dev/loop0']\n"));
        assert!(text.contains("device_model_stubdomain_override = 1\n"));
        assert!(text.ends_with("vcpus = 4\n"));
        assert!(!Config::new("a", DeviceModel::Qemu).text().contains("stubdom"));
    }

    #[test]
    fn the_stub_domain_is_told_where_its_files_lie() {
        assert!(STUBDOM_LINES.contains(&("stubdomain_kernel", &format!("\"{IOEMU}\""))));
        assert!(STUBDOM_LINES.contains(&("stubdomain_ramdisk", &format!("\"{RAMDISK}\""))));
    }
}
