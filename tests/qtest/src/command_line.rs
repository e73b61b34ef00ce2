//! QEMU's command line for the machine `pc`.
//!
//! An option begins with one dash or two; most take the next argument as their value. The order counts for what comes
//! in lists only; what refers to something by its `id` may come before it.
//!
//! Source: QEMU `qemu-options.hx`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use devmodel::machine::{BootOrder, VgaModel};

use crate::cards;
use crate::devices::{self, Device};
use crate::drives::Drives;
use crate::numbers;
use crate::options::Options;
use crate::plan::{Address, Endpoint, Log, Network, Plan, Socket};
use crate::user_net::UserPlan;

/// What the arguments ask for.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Say which version this is.
    Version,
    /// Serve a machine.
    Machine(Box<Plan>),
}

/// Bytes of memory, if nobody says how many.
const RAM_DEFAULT: u64 = 128 << 20;
/// The boot order, if nobody says another.
const BOOT_DEFAULT: &str = "cad";
/// Bytes of video memory, if nobody says how many.
pub(crate) const VIDEO_DEFAULT: u32 = 16 << 20;
/// The same of a Cirrus card.
const CIRRUS_DEFAULT: u32 = 4 << 20;

/// Options with a value that make no difference here.
const IGNORED: &[&str] =
    &["audio", "audiodev", "display", "name", "cpu", "rtc", "sandbox", "k", "L", "pidfile", "tb-size"];
/// Options without one that make no difference here.
const IGNORED_FLAGS: &[&str] = &["no-user-config", "no-hpet", "nographic", "enable-fips"];
/// Options that may only say `none`.
const ONLY_NONE: &[&str] = &["monitor", "parallel", "vnc", "mouse"];
/// Options of the machine that make no difference here.
const MACHINE_IGNORED: &[&str] =
    &["vmport", "hpet", "kernel-irqchip", "smm", "dump-guest-core", "mem-merge", "suppress-vmdesc", "smbus"];

/// What was said so far, where something else is needed to make sense of it.
#[derive(Debug, Default)]
struct Draft {
    plan: Plan,
    no_defaults: bool,
    /// What was said of accelerators, and whether the first one of those that there are has a CPU.
    accelerators: Vec<String>,
    accelerator: Option<bool>,
    chardevs: BTreeMap<String, Endpoint>,
    netdevs: BTreeMap<String, Network>,
    drives: Drives,
    devices: Vec<Options>,
    /// `-global`: the option, driver, property, value.
    globals: Vec<(String, [String; 3])>,
    /// `-serial`: the option, and where the port goes.
    serial: Vec<(String, String)>,
    monitors: Vec<Options>,
    debug_port: Option<String>,
    vga: Option<String>,
    usb: bool,
}

/// Reads the arguments, without the program's name.
pub(crate) fn parse(arguments: &[String]) -> Result<Wish> {
    let mut draft =
        Draft { plan: Plan { ram_bytes: RAM_DEFAULT, cpus: 1, acpi: true, ..Plan::default() }, ..Draft::default() };
    draft.plan.boot_order = BootOrder::parse(BOOT_DEFAULT).unwrap_or_default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(option) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
            draft.drives.ide(Some(0), argument)?;
            continue;
        };
        if matches!(option, "version" | "-version") {
            return Ok(Wish::Version);
        }
        if draft.flag(option) {
            continue;
        }
        if !TAKES_VALUE.contains(&option) && !IGNORED.contains(&option) && !ONLY_NONE.contains(&option) {
            bail!("\"{argument}\" is not supported");
        }
        let value = rest.next().with_context(|| format!("\"{argument}\" needs a value"))?;
        draft.option(option, value)?;
    }
    draft.finish().map(|plan| Wish::Machine(Box::new(plan)))
}

/// Options with a value that [`Draft::option`] knows.
const TAKES_VALUE: &[&str] = &[
    "qtest",
    "qtest-log",
    "chardev",
    "mon",
    "qmp",
    "accel",
    "machine",
    "M",
    "m",
    "smp",
    "vga",
    "drive",
    "blockdev",
    "hda",
    "hdb",
    "hdc",
    "hdd",
    "cdrom",
    "device",
    "netdev",
    "net",
    "nic",
    "serial",
    "boot",
    "bios",
    "debugcon",
    "uuid",
    "global",
    "incoming",
];

impl Draft {
    /// An option without a value.
    fn flag(&mut self, option: &str) -> bool {
        match option {
            "nodefaults" => self.no_defaults = true,
            "S" => self.plan.stopped = true,
            "snapshot" => self.drives.snapshot = true,
            "no-shutdown" => self.plan.no_shutdown = true,
            "no-reboot" => self.plan.no_reboot = true,
            "no-fd-bootchk" => self.plan.no_floppy_check = true,
            "no-acpi" => self.plan.acpi = false,
            "usb" => self.usb = true,
            _ => return IGNORED_FLAGS.contains(&option),
        }
        true
    }

    /// An option with a value.
    fn option(&mut self, option: &str, value: &str) -> Result<()> {
        let text = format!("-{option} {value}");
        match option {
            "qtest" => self.plan.qtest = endpoint(&text, value)?,
            "qtest-log" => {
                self.plan.qtest_log = match value {
                    "none" | "/dev/null" => Log::None,
                    "/dev/fd/2" | "/dev/stderr" => Log::Stderr,
                    path => Log::File(PathBuf::from(path)),
                }
            }
            "chardev" => self.chardev(value)?,
            "mon" => self.monitors.push(Options::parse("-mon", value, Some("chardev"))),
            "qmp" => self.plan.monitors.push(endpoint(&text, value)?),
            "accel" => {
                let mut options = Options::parse("-accel", value, Some("accel"));
                self.accelerator(&text, options.take("accel").as_deref());
                options.ignore(&["thread", "tb-size", "one-insn-per-tb"]);
                options.finish()?;
            }
            "machine" | "M" => self.machine(&text, value)?,
            "m" => {
                let mut options = Options::parse("-m", value, Some("size"));
                let size = options.take("size").and_then(|size| numbers::parse_size(&size, 1 << 20));
                self.plan.ram_bytes =
                    size.filter(|size| *size > 0).with_context(|| format!("\"{text}\": no such size"))?;
                options.ignore(&["slots", "maxmem"]);
                options.finish()?;
            }
            "smp" => {
                let mut options = Options::parse("-smp", value, Some("cpus"));
                let cpus = options.take_number("cpus")?.unwrap_or(1);
                self.plan.cpus = u32::try_from(cpus)
                    .ok()
                    .filter(|cpus| (1..=255).contains(cpus))
                    .with_context(|| format!("\"{text}\": there can be 1 to 255 CPUs"))?;
                options.ignore(&["sockets", "dies", "clusters", "cores", "threads", "maxcpus"]);
                options.finish()?;
            }
            "vga" => self.vga = Some(value.to_owned()),
            "drive" => self.drives.drive(value)?,
            "blockdev" => self.drives.media.blockdev(Options::parse("-blockdev", value, Some("driver")))?,
            "hda" => self.drives.ide(Some(0), value)?,
            "hdb" => self.drives.ide(Some(1), value)?,
            "hdc" => self.drives.ide(Some(2), value)?,
            "hdd" => self.drives.ide(Some(3), value)?,
            "cdrom" => self.drives.cdrom(value)?,
            "device" => self.devices.push(Options::parse("-device", value, Some("driver"))),
            "netdev" => {
                let mut options = Options::parse("-netdev", value, Some("type"));
                let id = options.take("id").with_context(|| format!("\"{text}\" needs an id"))?;
                self.netdevs.insert(id, network(options)?);
            }
            "net" | "nic" if value == "none" => {}
            "net" | "nic" => bail!("\"{text}\" is not supported: use -netdev and -device"),
            "serial" => self.serial.push((text, value.to_owned())),
            "boot" => self.boot(&text, value)?,
            "global" => {
                let [driver, property, value] = global(value).with_context(|| format!("\"{text}\": no such form"))?;
                self.globals.push((text, [driver, property, value]));
            }
            "incoming" => {
                self.plan.incoming = Some(address(value).with_context(|| format!("\"{text}\": no such address"))?)
            }
            "bios" => self.plan.firmware = Some(PathBuf::from(value)),
            "debugcon" => self.debug_port = Some(value.to_owned()),
            "uuid" => self.plan.uuid = uuid(value).with_context(|| format!("\"{text}\": no such UUID"))?,
            _ if IGNORED.contains(&option) => {}
            _ if value == "none" => {}
            _ => bail!("\"{text}\" is not supported: only none is"),
        }
        Ok(())
    }

    fn boot(&mut self, text: &str, value: &str) -> Result<()> {
        let mut options = Options::parse("-boot", value, Some("order"));
        let order = |letters: String| BootOrder::parse(&letters).with_context(|| format!("\"{text}\": no such order"));
        if let Some(letters) = options.take("order") {
            self.plan.boot_order = order(letters)?;
        }
        if let Some(letters) = options.take("once") {
            self.plan.boot_once = Some(order(letters)?);
        }
        if let Some(timeout) = options.take("reboot-timeout") {
            let timeout = timeout.parse::<i32>().ok().filter(|timeout| (-1..=0xffff).contains(timeout));
            let timeout = timeout.with_context(|| format!("\"{text}\": reboot-timeout is -1 to 65535"))?;
            self.plan.firmware_files.push(("etc/boot-fail-wait", timeout.to_le_bytes().to_vec()));
        }
        if let Some(time) = options.take("splash-time") {
            let time = time.parse::<u16>().ok().with_context(|| format!("\"{text}\": splash-time is 0 to 65535"))?;
            self.plan.firmware_files.push(("etc/boot-menu-wait", time.to_le_bytes().to_vec()));
        }
        options.ignore(&["menu", "strict"]);
        options.finish()
    }

    /// Several may be listed, the best first: the first that there is counts.
    fn accelerator(&mut self, text: &str, names: Option<&str>) {
        for name in names.unwrap_or_default().split(':') {
            let has_cpu = match name {
                "tcg" => true,
                "qtest" => false,
                _ => continue,
            };
            if self.accelerator.is_none() {
                self.accelerator = Some(has_cpu);
            }
        }
        self.accelerators.push(text.to_owned());
    }

    fn machine(&mut self, text: &str, value: &str) -> Result<()> {
        let mut options = Options::parse("-machine", value, Some("type"));
        match options.take("type").as_deref() {
            None | Some("pc") => {}
            Some("none") => self.plan.no_machine = true,
            Some(version) if version.starts_with("pc-i440fx-") => {}
            Some(version) if version == "q35" || version.starts_with("pc-q35-") => self.drives.prefers_ahci = true,
            Some(_) => bail!("\"{text}\" is not supported: only the machines pc, pc-i440fx-*, q35 and none are"),
        }
        if let Some(accelerator) = options.take("accel") {
            self.accelerator(text, Some(&accelerator));
        }
        if options.take_bool("graphics")? == Some(false) {
            // As SeaBIOS takes it from QEMU's item for that.
            self.plan.firmware_files.push(("etc/sercon-port", 0x3f8_u16.to_le_bytes().to_vec()));
        }
        if let Some(acpi) = options.take_bool("acpi")? {
            self.plan.acpi = acpi;
        }
        self.usb |= options.take_bool("usb")?.unwrap_or(false);
        options.ignore(MACHINE_IGNORED);
        options.finish()
    }

    fn chardev(&mut self, value: &str) -> Result<()> {
        let mut options = Options::parse("-chardev", value, Some("backend"));
        let text = options.text().to_owned();
        let id = options.take("id").with_context(|| format!("\"{text}\" needs an id"))?;
        options.ignore(&["mux", "logfile", "logappend", "signal"]);
        let backend = options.take("backend");
        let end = match backend.as_deref() {
            Some("null") => Endpoint::Null,
            Some("stdio") => Endpoint::Stdio,
            Some("file") => {
                options.ignore(&["append"]);
                Endpoint::File(options.take("path").with_context(|| format!("\"{text}\" needs a path"))?.into())
            }
            Some("socket") => Endpoint::Socket(socket(&text, None, &mut options)?),
            other => bail!("\"{text}\": the backend {} is not supported", other.unwrap_or_default()),
        };
        options.finish()?;
        self.chardevs.insert(id, end);
        Ok(())
    }

    /// What a name such as `chardev:ID`, `file:PATH` or `unix:PATH` means.
    fn character(&self, text: &str, value: &str) -> Result<Endpoint> {
        match value.strip_prefix("chardev:") {
            Some(id) => self.by_id(text, id),
            None => endpoint(text, value),
        }
    }

    fn by_id(&self, text: &str, id: &str) -> Result<Endpoint> {
        self.chardevs.get(id).cloned().with_context(|| format!("\"{text}\": there is no -chardev with the id {id}"))
    }

    fn finish(mut self) -> Result<Plan> {
        match (self.accelerator, self.accelerators.last()) {
            (None, Some(text)) => bail!("\"{text}\" is not supported: only tcg and qtest are"),
            (None, None) if self.plan.qtest == Endpoint::Null && !self.plan.no_machine => {
                bail!("-qtest, -accel qtest or -accel tcg is needed")
            }
            (accelerator, _) => self.plan.has_cpu = accelerator == Some(true) && !self.plan.no_machine,
        }
        if self.plan.has_cpu && self.plan.cpus > 1 {
            bail!("\"-smp {}\" is not supported: with -accel tcg there is one CPU", self.plan.cpus);
        }
        if self.plan.has_cpu && self.plan.incoming.is_some() {
            bail!("-incoming is not supported with -accel tcg: the state of a CPU is not sent");
        }
        for mut options in std::mem::take(&mut self.monitors) {
            let text = options.text().to_owned();
            if options.take("mode").as_deref() != Some("control") {
                bail!("\"{text}\" is not supported: only mode=control is");
            }
            let id = options.take("chardev").with_context(|| format!("\"{text}\" needs a chardev"))?;
            options.ignore(&["pretty"]);
            options.finish()?;
            let end = self.by_id(&text, &id)?;
            self.plan.monitors.push(end);
        }
        self.plan.video_bytes = match self.vga.as_deref() {
            Some("std") => Some(VIDEO_DEFAULT),
            Some("cirrus") => {
                self.plan.video_model = VgaModel::Cirrus;
                Some(CIRRUS_DEFAULT)
            }
            None => (!self.no_defaults).then_some(VIDEO_DEFAULT),
            Some("none") => None,
            Some(other) => bail!("\"-vga {other}\" is not supported: only std, cirrus and none are"),
        };
        for (text, value) in &self.serial {
            let end = if value == "none" { Endpoint::Null } else { self.character(text, value)? };
            self.plan.serial.push(end);
        }
        if self.serial.is_empty() && !self.no_defaults {
            self.plan.serial.push(Endpoint::Null);
        }
        // Ports behind the last one that is used are not there at all.
        while self.serial.len() == self.plan.serial.len() && self.serial.last().is_some_and(|(_, end)| end == "none") {
            self.serial.pop();
            self.plan.serial.pop();
        }
        if let Some(value) = &self.debug_port {
            let end = self.character(&format!("-debugcon {value}"), value)?;
            self.plan.debug_port = Some(end);
        }
        if self.usb {
            self.devices.insert(0, Options::parse("-device", "piix3-usb-uhci,addr=01.2", Some("driver")));
        }
        if self.drives.prefers_ahci {
            self.devices.insert(0, Options::parse("-device", "ahci,id=ide,addr=1f.2", Some("driver")));
        }
        let mut devices = std::mem::take(&mut self.devices);
        // Buses are there before what is on them.
        devices.sort_by_key(|options| !options.get("driver").is_some_and(cards::is_ahci));
        for options in devices {
            self.device(options)?;
        }
        for (text, [driver, property, value]) in std::mem::take(&mut self.globals) {
            let is_known = matches!(driver.as_str(), "ide-hd" | "ide-cd")
                && self.drives.default(driver == "ide-cd", &property, &value);
            if !is_known {
                bail!("\"{text}\" is not supported");
            }
        }
        self.plan.firmware = self.plan.firmware.or(self.drives.flash.take());
        self.drives.place(&mut self.plan.drives, &mut self.plan.sata, !self.no_defaults)?;
        self.plan.media = self.drives.media;
        Ok(self.plan)
    }

    fn device(&mut self, options: Options) -> Result<()> {
        let text = options.text().to_owned();
        match devices::parse(options)? {
            Device::Ide(ide) => self.drives.attach(ide)?,
            Device::Vga(..) if self.plan.video_bytes.is_some() => {
                bail!("\"{text}\": there is a graphics card already; see -vga none");
            }
            Device::Vga(model, bytes) => (self.plan.video_model, self.plan.video_bytes) = (model, Some(bytes)),
            Device::Usb(..) if self.plan.usb.len() >= devmodel::usb::DEVICES => {
                bail!("\"{text}\": there is room for nine USB devices")
            }
            Device::Usb(id, device) => self.plan.usb.push((id, device)),
            Device::UsbDisk(disk) => self.plan.usb_disks.push(disk),
            Device::Card(card, _) if cards::is_ahci(&card.driver) && self.drives.ahci.is_some() => {
                bail!("\"{text}\": there is an AHCI controller already");
            }
            Device::Serial(id) => {
                let end = self.by_id(&text, &id)?;
                self.plan.serial.push(end);
            }
            Device::Card(mut card, netdev) => {
                if cards::is_ahci(&card.driver) {
                    self.drives.ahci = Some(card.options.take("id").unwrap_or_default());
                }
                if let Some(id) = netdev {
                    let network = self.netdevs.remove(&id);
                    let network =
                        network.with_context(|| format!("\"{text}\": there is no free -netdev with the id {id}"))?;
                    card.network = Some(self.plan.networks.len());
                    self.plan.networks.push(network);
                }
                self.plan.cards.push(card);
            }
        }
        Ok(())
    }
}

/// What a name such as `file:PATH`, `unix:PATH,server=on` or `tcp:HOST:PORT` means.
fn endpoint(text: &str, value: &str) -> Result<Endpoint> {
    let (kind, place) = value.split_once(':').unwrap_or((value, ""));
    Ok(match kind {
        "null" => Endpoint::Null,
        "stdio" => Endpoint::Stdio,
        "file" => Endpoint::File(PathBuf::from(place)),
        "unix" | "tcp" => {
            let key = if kind == "unix" { "path" } else { "address" };
            let mut options = Options::parse(&format!("{text}:"), place, Some(key));
            let socket = socket(text, Some(key), &mut options)?;
            options.finish()?;
            Endpoint::Socket(socket)
        }
        _ => bail!("\"{text}\" is not supported"),
    })
}

/// A socket, from options. A server waits for its peer unless it is told not to.
fn socket(text: &str, only: Option<&str>, options: &mut Options) -> Result<Socket> {
    options.ignore(&["reconnect", "reconnect-ms", "nodelay", "telnet", "ipv4", "ipv6", "abstract", "tight"]);
    let listen = options.take_bool("server")?.unwrap_or(false);
    let wait = options.take_bool("wait")?.unwrap_or(true);
    let path = options.take("path").filter(|_| only != Some("address"));
    let address = match (path, options.take("address"), options.take("host"), options.take("port")) {
        (Some(path), None, None, None) => Address::Unix(PathBuf::from(path)),
        (None, Some(address), None, None) => Address::Tcp(local(&address)),
        (None, None, host, Some(port)) => Address::Tcp(format!("{}:{port}", host.unwrap_or("localhost".to_owned()))),
        _ => bail!("\"{text}\" needs a path, or a host and a port"),
    };
    Ok(Socket { address, listen, wait })
}

/// `unix:PATH` or `tcp:HOST:PORT`.
pub(crate) fn address(uri: &str) -> Option<Address> {
    match uri.split_once(':')? {
        ("unix", path) => Some(Address::Unix(PathBuf::from(path))),
        ("tcp", address) => Some(Address::Tcp(local(address))),
        _ => None,
    }
}

/// An address without a host is one of this machine.
fn local(address: &str) -> String {
    if address.starts_with(':') { format!("localhost{address}") } else { address.to_owned() }
}

/// What `-netdev` means.
fn network(mut options: Options) -> Result<Network> {
    let text = options.text().to_owned();
    let network = match options.take("type").as_deref() {
        Some("user") => {
            let has_ipv4 = options.take_bool("ipv4")?.unwrap_or(true);
            let plan =
                UserPlan { folder: options.take("tftp").map(PathBuf::from), boot_file: options.take("bootfile") };
            options.ignore(&["net", "host", "restrict", "ipv6", "hostname", "dhcpstart", "dns"]);
            if has_ipv4 { Network::User(plan) } else { Network::Nobody }
        }
        Some("hubport") => {
            options.ignore(&["hubid"]);
            Network::Nobody
        }
        Some("socket") => {
            let (listen, connect) = (options.take("listen"), options.take("connect"));
            let (address, listen) = match (listen, connect) {
                (Some(address), None) => (address, true),
                (None, Some(address)) => (address, false),
                _ => bail!("\"{text}\" is not supported: either listen= or connect= is"),
            };
            Network::Stream(Socket { address: Address::Tcp(local(&address)), listen, wait: false })
        }
        Some("stream") => {
            let listen = options.take_bool("server")?.unwrap_or(false);
            options.ignore(&["reconnect", "reconnect-ms"]);
            let address = match (options.take("addr.type").as_deref(), options.take("addr.path")) {
                (Some("unix"), Some(path)) => Address::Unix(PathBuf::from(path)),
                (Some("inet"), None) => {
                    let (host, port) = (options.take("addr.host"), options.take("addr.port"));
                    Address::Tcp(format!("{}:{}", host.unwrap_or_default(), port.unwrap_or_default()))
                }
                _ => bail!("\"{text}\" is not supported: addr.type is unix or inet"),
            };
            Network::Stream(Socket { address, listen, wait: false })
        }
        other => bail!("\"{text}\": the network {} is not supported", other.unwrap_or_default()),
    };
    options.finish()?;
    Ok(network)
}

/// `DRIVER.PROPERTY=VALUE`, or the same as a list of properties.
fn global(value: &str) -> Option<[String; 3]> {
    if value.starts_with("driver=") {
        let mut options = Options::parse("-global", value, None);
        return Some([options.take("driver")?, options.take("property")?, options.take("value")?]);
    }
    let (name, value) = value.split_once('=')?;
    let (driver, property) = name.split_once('.')?;
    Some([driver, property, value].map(str::to_owned))
}

/// A UUID as people write it.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|letter| *letter != '-').collect();
    let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32)?;
    Some(number.to_be_bytes())
}

#[cfg(test)]
mod tests;
