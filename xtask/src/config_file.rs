//! A user's own xl.cfg: its disk images are made disks of the testbed, and the lines for our stub domain are added.
//!
//! Source: xl.cfg(5) and xl-disk-configuration(5). A disk is `target, format, vdev, access` by position, or `key=value` where
//! `target=` takes the rest; older files write `phy:` or `file:` before the target and have no format.
//!
//! Not understood: disk strings that are not written on the lines of one `disk = [...]`, network block devices.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tests::domain::{DeviceModel, STUBDOM_LINES, vnc_lines};
use tests::testbed::{Disk, Format, Writes};

/// What is run.
pub(crate) struct ConfigFile {
    /// The guest's name.
    pub(crate) name: String,
    /// The text for the xl of dom0.
    pub(crate) text: String,
    /// The disks that dom0 needs for it.
    pub(crate) disks: Vec<Disk>,
}

/// Reads a configuration; relative paths start at the current folder, as with xl, or at the file's own.
pub(crate) fn read(path: &Path, device_model: DeviceModel, display: u16) -> Result<ConfigFile> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let find = |target: &str| -> Result<PathBuf> {
        let places = [PathBuf::from(target), folder.join(target)];
        match places.into_iter().find(|place| place.exists()) {
            Some(place) => Ok(place),
            None => bail!("{}: there is no disk image {target}", path.display()),
        }
    };
    prepare(&text, device_model, display, find).with_context(|| format!("cannot use {}", path.display()))
}

fn prepare(
    text: &str,
    device_model: DeviceModel,
    display: u16,
    find: impl Fn(&str) -> Result<PathBuf>,
) -> Result<ConfigFile> {
    let name = value(text, "name").map(unquoted).context("no line name = \"...\"")?;
    ensure!(
        name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.+".contains(letter)),
        "{name:?} is no name for a guest"
    );
    let guest_type = value(text, "type").or(value(text, "builder")).map(unquoted);
    ensure!(matches!(guest_type.as_deref(), Some("hvm")), "a device model is for guests with type = \"hvm\"");
    let mut disks = Vec::new();
    let mut lines = Vec::new();
    for (index, literal) in strings(value(text, "disk").unwrap_or_default()).iter().enumerate() {
        let disk = XlDisk::parse(literal)?;
        if disk.target.is_empty() {
            lines.push(format!("'{literal}'"));
            continue;
        }
        let name = format!("disk{index}");
        lines.push(format!("'{}'", disk.with_target(&format!("/dev/testbed/{name}"))));
        let writes = if disk.is_read_only { Writes::Refused } else { Writes::Kept };
        disks.push(Disk { name, file: find(&disk.target)?, format: disk.format, writes });
    }
    let mut result = text.to_owned();
    let mut add = |key: &str, value: &str| result.push_str(&format!("\n{key} = {value}"));
    add("disk", &format!("[{}]", lines.join(", ")));
    for (key, value) in vnc_lines(display) {
        add(key, &value);
    }
    for (key, default) in [("serial", "\"pty\""), ("vga", "\"stdvga\"")] {
        if value(text, key).is_none() {
            add(key, default);
        }
    }
    match device_model {
        DeviceModel::Stubdom => {
            for (key, default) in STUBDOM_LINES {
                // Paths of the user's own machine mean nothing in the testbed.
                if key.ends_with("kernel") || key.ends_with("ramdisk") || value(text, key).is_none() {
                    add(key, default);
                }
            }
        }
        DeviceModel::Qemu => add("device_model_stubdomain_override", "0"),
    }
    result.push('\n');
    Ok(ConfigFile { name, text: result, disks })
}

/// One disk, as far as it matters where its content is.
#[derive(Debug, PartialEq, Eq)]
struct XlDisk {
    target: String,
    format: Format,
    device: String,
    is_read_only: bool,
    is_cdrom: bool,
}

impl XlDisk {
    fn parse(text: &str) -> Result<Self> {
        let mut disk = Self {
            target: String::new(),
            format: Format::Raw,
            device: String::new(),
            is_read_only: false,
            is_cdrom: false,
        };
        let mut position = 0;
        let mut rest = text.trim();
        while !rest.is_empty() {
            if let Some(target) = rest.strip_prefix("target=") {
                disk.set_target(target.trim())?;
                break;
            }
            let (word, next) = rest.split_once(',').unwrap_or((rest, ""));
            rest = next.trim_start();
            let word = word.trim();
            match word.split_once('=') {
                Some(("format", value)) => disk.set_format(value)?,
                Some(("vdev", value)) => disk.set_device(value),
                Some(("access", value)) => disk.set_access(value)?,
                Some(("devtype", value)) => disk.is_cdrom = value == "cdrom",
                Some(_) => {}
                None if word == "cdrom" => disk.is_cdrom = true,
                None => {
                    match position {
                        0 => disk.set_target(word)?,
                        // Older files have no format.
                        1 if !matches!(word, "" | "raw" | "qcow2") => {
                            position = 2;
                            disk.set_device(word);
                        }
                        1 => disk.set_format(word)?,
                        2 => disk.set_device(word),
                        3 if !word.is_empty() => disk.set_access(word)?,
                        _ => {}
                    }
                    position += 1;
                }
            }
        }
        ensure!(!disk.device.is_empty(), "the disk {text:?} has no vdev");
        disk.is_read_only |= disk.is_cdrom;
        Ok(disk)
    }

    fn set_target(&mut self, target: &str) -> Result<()> {
        let target = ["phy:", "file:", "raw:", "aio:"]
            .iter()
            .fold(target, |rest, prefix| rest.strip_prefix(prefix).unwrap_or(rest));
        ensure!(!target.contains(":") || target.starts_with('/'), "the disk {target} is not a file");
        target.clone_into(&mut self.target);
        Ok(())
    }

    fn set_format(&mut self, format: &str) -> Result<()> {
        self.format = match format {
            "" | "raw" => Format::Raw,
            "qcow2" => Format::Qcow2,
            _ => bail!("disk images are raw or qcow2, not {format}"),
        };
        Ok(())
    }

    fn set_device(&mut self, device: &str) {
        let (device, kind) = device.split_once(':').unwrap_or((device, ""));
        device.clone_into(&mut self.device);
        self.is_cdrom |= kind == "cdrom";
    }

    fn set_access(&mut self, access: &str) -> Result<()> {
        self.is_read_only = match access {
            "r" | "ro" => true,
            "w" | "rw" => false,
            _ => bail!("access to a disk is ro or rw, not {access}"),
        };
        Ok(())
    }

    /// The specification for dom0, where the content is always raw.
    fn with_target(&self, target: &str) -> String {
        let kind = if self.is_cdrom { "devtype=cdrom," } else { "" };
        let access = if self.is_read_only { "ro" } else { "rw" };
        format!("format=raw,vdev={},access={access},{kind}target={target}", self.device)
    }
}

/// The text that is assigned to a name: to the end of the line, or to the bracket that ends a list. The last one counts.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut found = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let offset = start;
        start += line.len();
        let Some((name, assigned)) = line.split_once('=') else { continue };
        if name.trim() != key {
            continue;
        }
        let whole = &text[offset + name.len() + 1..];
        let is_list = assigned.trim_start().starts_with('[');
        let end = if is_list { list_end(whole) } else { assigned.find('#').unwrap_or(assigned.len()) };
        found = Some(whole[..end].trim());
    }
    found
}

/// Where the list at the beginning of a text ends: brackets in strings are no end of it.
fn list_end(text: &str) -> usize {
    let mut quote = None;
    for (index, letter) in text.char_indices() {
        match (quote, letter) {
            (None, ']') => return index + 1,
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            _ => {}
        }
    }
    text.len()
}

/// The string literals in a list.
fn strings(list: &str) -> Vec<String> {
    let mut strings = Vec::new();
    let mut current: Option<(char, String)> = None;
    for letter in list.chars() {
        current = match (current, letter) {
            (None, '\'' | '"') => Some((letter, String::new())),
            (None, _) => None,
            (Some((quote, string)), _) if quote == letter => {
                strings.push(string);
                None
            }
            (Some((quote, mut string)), _) => {
                string.push(letter);
                Some((quote, string))
            }
        };
    }
    strings
}

fn unquoted(text: &str) -> String {
    text.trim_matches(['"', '\'']).to_owned()
}

#[cfg(test)]
#[path = "config_file_tests.rs"]
mod config_file_tests;
