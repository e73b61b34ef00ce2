//! Configuration files of `xl`, as far as a paravirtualised domain of our examples needs them.
//!
//! | module | what lives there |
//! |---|---|
//! | [`syntax`] | assignments: names, texts, numbers and lists |
//! | this one | what the names mean |
//!
//! Source: xl.cfg(5).
//! Invariant: what is not understood is refused by name.

pub mod syntax;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use syntax::Value;

/// A domain that somebody wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainConfig {
    /// `name`.
    pub name: String,
    /// `kernel`: a file.
    pub kernel: String,
    /// `ramdisk`: a file.
    pub ramdisk: Option<String>,
    /// `cmdline`, or `root` and `extra`.
    pub command_line: String,
    /// `memory` in MiB.
    pub memory: u64,
    /// `disk`.
    pub disks: Vec<Disk>,
    /// `vif`.
    pub vifs: Vec<Vif>,
    /// `on_poweroff`, `on_reboot` and `on_crash`: whether the domain starts again.
    pub restarts: Restarts,
}

/// When a domain starts again after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restarts {
    /// After it has switched itself off.
    pub on_poweroff: bool,
    /// After it has asked for it.
    pub on_reboot: bool,
    /// After it has crashed.
    pub on_crash: bool,
}

impl Default for Restarts {
    fn default() -> Self {
        Self { on_poweroff: false, on_reboot: true, on_crash: false }
    }
}

/// A disk: xl-disk-configuration(5), in its form with names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// `target`: a file.
    pub target: String,
    /// `vdev`: `xvda` and so on.
    pub device: String,
    /// `access` is not `rw`.
    pub read_only: bool,
}

/// A network interface: xl-network-configuration(5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vif {
    /// `mac`, if it is said.
    pub mac: Option<[u8; 6]>,
}

/// Reads a file. The error says what is wrong.
pub fn read(text: &str) -> Result<DomainConfig, String> {
    let mut config = DomainConfig { memory: 128, ..DomainConfig::default() };
    let (mut root, mut extra, mut whole) = (None, None, None);
    for (name, value) in syntax::read(text)? {
        let name = name.as_str();
        match name {
            "name" => config.name = single(name, &value)?,
            "kernel" => config.kernel = single(name, &value)?,
            "ramdisk" => config.ramdisk = Some(single(name, &value)?),
            "root" => root = Some(single(name, &value)?),
            "extra" => extra = Some(single(name, &value)?),
            "cmdline" => whole = Some(single(name, &value)?),
            "memory" => config.memory = number(name, &value)?,
            "maxmem" if number(name, &value)? == config.memory => {}
            "vcpus" if number(name, &value)? == 1 => {}
            "type" if single(name, &value)? == "pv" => {}
            "builder" if single(name, &value)? == "generic" => {}
            "uuid" => drop(single(name, &value)?),
            "disk" => config.disks = list(name, &value)?.iter().map(|text| disk(text)).collect::<Result<_, _>>()?,
            "vif" => config.vifs = list(name, &value)?.iter().map(|text| vif(text)).collect::<Result<_, _>>()?,
            // Nobody here shows it. A domain that can do without does so.
            "vfb" => drop(list(name, &value)?),
            "on_poweroff" => config.restarts.on_poweroff = restarts(name, &value)?,
            "on_reboot" => config.restarts.on_reboot = restarts(name, &value)?,
            "on_crash" => config.restarts.on_crash = restarts(name, &value)?,
            _ => return Err(format!("{name} = {value} is not supported")),
        }
    }
    for (name, is_there) in [("name", !config.name.is_empty()), ("kernel", !config.kernel.is_empty())] {
        if !is_there {
            return Err(format!("{name} is missing"));
        }
    }
    // As libxl puts them together.
    config.command_line = match (whole, root, extra) {
        (Some(whole), ..) => whole,
        (None, Some(root), Some(extra)) => format!("root={root} {extra}"),
        (None, Some(root), None) => format!("root={root}"),
        (None, None, extra) => extra.unwrap_or_default(),
    };
    Ok(config)
}

fn single(name: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::List(_) => Err(format!("{name} is a text, not a list")),
    }
}

fn number(name: &str, value: &Value) -> Result<u64, String> {
    match value {
        Value::Number(number) => Ok(*number),
        Value::Text(text) => text.parse().map_err(|_| format!("{name} is a number, not {value}")),
        Value::List(_) => Err(format!("{name} is a number, not {value}")),
    }
}

fn list(name: &str, value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::List(texts) => Ok(texts.clone()),
        _ => Err(format!("{name} is a list, not {value}")),
    }
}

fn restarts(name: &str, value: &Value) -> Result<bool, String> {
    match single(name, value)?.as_str() {
        "destroy" => Ok(false),
        "restart" => Ok(true),
        action => Err(format!("{name} = \"{action}\" is not supported")),
    }
}

/// Parts of a specification, `key=value` and words alone.
fn parts(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let words = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    words.map(|part| part.split_once('=').map_or((part, None), |(key, value)| (key.trim(), Some(value.trim()))))
}

fn disk(text: &str) -> Result<Disk, String> {
    let mut disk = Disk::default();
    for (key, value) in parts(text) {
        match (key, value) {
            ("target", Some(target)) => disk.target = target.into(),
            ("vdev", Some(device)) => disk.device = device.into(),
            ("access", Some("rw" | "w")) => disk.read_only = false,
            ("access", Some("ro" | "r")) => disk.read_only = true,
            ("format", Some("raw")) => {}
            _ => return Err(format!("disk = \"{text}\": \"{key}\" is not supported")),
        }
    }
    if disk.target.is_empty() || disk.device.is_empty() {
        return Err(format!("disk = \"{text}\": target= and vdev= are needed"));
    }
    Ok(disk)
}

fn vif(text: &str) -> Result<Vif, String> {
    let mut vif = Vif::default();
    for (key, value) in parts(text) {
        match (key, value) {
            ("mac", Some(mac)) => {
                vif.mac = Some(address(mac).ok_or_else(|| format!("vif = \"{text}\": {mac} is no address"))?);
            }
            // There is one network, whatever it is called.
            ("bridge", Some(_)) => {}
            _ => return Err(format!("vif = \"{text}\": \"{key}\" is not supported")),
        }
    }
    Ok(vif)
}

fn address(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    bytes?.try_into().ok()
}

/// The number of a disk in xenstore and in `vdev=`: xen-vbd-interface(7).
#[must_use]
pub fn device_number(device: &str) -> Option<u32> {
    let (kind, letters) = device.split_at_checked(if device.starts_with("xvd") { 3 } else { 2 })?;
    let (letter, partition) = letters.split_at_checked(1)?;
    let disk = u32::from(letter.bytes().next()?.checked_sub(b'a')?);
    let partition = if partition.is_empty() { 0 } else { partition.parse::<u32>().ok()? };
    let is_within = |disks, partitions| disk < disks && partition < partitions;
    match kind {
        "xvd" if is_within(16, 16) => Some(202 << 8 | disk << 4 | partition),
        "sd" if is_within(16, 16) => Some(8 << 8 | disk << 4 | partition),
        // Two to a channel, as of old.
        "hd" if is_within(4, 64) => Some(if disk < 2 { 3 << 8 } else { 22 << 8 } | (disk & 1) << 6 | partition),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demos_own_file_is_understood() {
        let config = read(include_str!("../../demo.cfg")).unwrap();
        assert_eq!((config.name.as_str(), config.memory), ("demo", 32));
        assert_eq!(config.kernel, "/usr/lib/stubdom/demo.gz");
        assert!(config.command_line.starts_with("ip=dhcp http=80"));
        assert_eq!(config.vifs, [Vif::default()]);
        let target = "/var/lib/xen/images/demo.img".into();
        assert_eq!(config.disks, [Disk { target, device: "xvda".into(), read_only: false }]);
        assert!(config.restarts.on_reboot && !config.restarts.on_crash);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (text, why) in [
            ("name='a'", "kernel is missing"),
            ("name='a'\nkernel='k'\ntype='hvm'", "type = \"hvm\""),
            ("vcpus=2", "vcpus = 2"),
            ("pci=['00:1']", "pci = [\"00:1\"]"),
            ("disk=['format=qcow2,vdev=xvda,target=x']", "\"format\""),
            ("disk=['format=raw,vdev=xvda']", "target= and vdev="),
            ("vif=['mac=00:16:3e']", "00:16:3e is no address"),
            ("vif=['script=x']", "\"script\""),
            ("on_reboot='preserve'", "preserve"),
            ("memory='much'", "memory is a number"),
            ("disk='x'", "disk is a list"),
            ("kernel=['x']", "kernel is a text"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn the_rest_has_its_meaning() {
        let text = "name='a'; kernel='/boot/k'; root='/dev/xvda'; extra='quiet'; memory=64
            vif=['mac=00:16:3e:01:02:fF'] # one
            disk=['target=d.img, vdev=xvdb3, access=ro'] on_reboot='destroy'";
        let config = read(text).unwrap();
        assert_eq!(config.command_line, "root=/dev/xvda quiet");
        assert_eq!(config.vifs, [Vif { mac: Some([0, 0x16, 0x3e, 1, 2, 0xff]) }]);
        assert!(config.disks[0].read_only && !config.restarts.on_reboot);
    }

    #[test]
    fn disks_have_numbers() {
        for (device, number) in [
            ("xvda", 51712),
            ("xvdb3", 51731),
            ("xvdp15", 51967),
            ("sda", 2048),
            ("hda", 768),
            ("hdb1", 833),
            ("hdc", 5632),
        ] {
            assert_eq!(device_number(device), Some(number), "{device}");
        }
        for device in ["xvdq", "xvda16", "hde", "xvd", "sd", "vda", "", "ä", "xvdä"] {
            assert_eq!(device_number(device), None, "{device}");
        }
    }
}
