//! Initial ramdisks: busybox, the drivers of the root disk in the order of their dependencies, and a script.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;

/// The kernel in a Debian root folder.
pub(crate) fn kernel(root: &Path) -> Result<PathBuf> {
    let boot = root.join("boot");
    for entry in fs::read_dir(&boot)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("vmlinuz-") {
            return Ok(entry.path());
        }
    }
    bail!("no kernel in {}", boot.display())
}

/// The part of an initial ramdisk that comes from Debian's packages: busybox, and the named drivers with what they need.
/// A driver that the kernel has built in is left out.
pub(crate) fn drivers(root: &Path, drivers: &[&str]) -> Result<Vec<u8>> {
    let modules = modules_folder(root)?;
    let dependencies = parse_dependencies(&fs::read_to_string(modules.join("modules.dep"))?)?;
    let built_in = fs::read_to_string(modules.join("modules.builtin"))?;
    let mut order = Vec::new();
    for driver in drivers {
        match dependencies.keys().find(|path| module_name(path) == *driver) {
            Some(path) => add_with_dependencies(&dependencies, path, &mut order),
            None if built_in.lines().any(|path| module_name(path) == *driver) => {}
            None => bail!("the kernel in {} has no driver {driver}", root.display()),
        }
    }
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "modules", "proc", "root", "sys"] {
        archive.folder(folder)?;
    }
    archive.file("bin/busybox", 0o755, &fs::read(root.join("bin/busybox"))?)?;
    for (index, path) in order.iter().enumerate() {
        let content = decompressed(&modules.join(path))?;
        archive.file(&format!("modules/{index:02}-{}.ko", module_name(path)), 0o644, &content)?;
    }
    archive.compressed()
}

/// The other part: programs, by path. The parts are joined by writing one behind the other.
pub(crate) fn programs(files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for (path, content) in files {
        for (end, _) in path.match_indices('/') {
            archive.folder(&path[..end])?;
        }
        archive.file(path, 0o755, content)?;
    }
    archive.compressed()
}

/// The folder with the modules of the one kernel that is installed.
fn modules_folder(root: &Path) -> Result<PathBuf> {
    let folder = root.join("usr/lib/modules");
    let mut kernels: Vec<_> = fs::read_dir(&folder)?.collect::<Result<_, _>>()?;
    ensure!(kernels.len() == 1, "{} kernels in {}", kernels.len(), folder.display());
    Ok(kernels.remove(0).path())
}

type Dependencies = BTreeMap<String, Vec<String>>;

/// `modules.dep` has a line `PATH: PATH...` for each module with everything that it needs, directly or not.
fn parse_dependencies(text: &str) -> Result<Dependencies> {
    text.lines()
        .map(|line| {
            let (module, needs) = line.split_once(':').with_context(|| format!("not a line of modules.dep: {line}"))?;
            Ok((module.to_owned(), needs.split_whitespace().map(str::to_owned).collect()))
        })
        .collect()
}

/// The lists are complete and name the most basic module last.
fn add_with_dependencies(dependencies: &Dependencies, module: &str, order: &mut Vec<String>) {
    let needs = dependencies.get(module).into_iter().flatten().rev().map(String::as_str);
    for path in needs.chain([module]) {
        if !order.iter().any(|known| known == path) {
            order.push(path.to_owned());
        }
    }
}

/// The name that modprobe knows: file names have either dashes or underscores.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

fn decompressed(module: &Path) -> Result<Vec<u8>> {
    if module.extension().is_some_and(|extension| extension == "xz") {
        let output =
            Command::new("xz").args(["--decompress", "--stdout"]).arg(module).output().context("cannot start xz")?;
        ensure!(output.status.success(), "cannot decompress {}", module.display());
        return Ok(output.stdout);
    }
    fs::read(module).with_context(|| format!("cannot read {}", module.display()))
}

/// A cpio archive as the kernel unpacks it.
///
/// Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst, format "newc": a header of 13 fields of 8
/// hexadecimal digits, the name with its zero byte, the content; name and content are padded to a multiple of 4.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    const FOLDER: u32 = 0o040_000;
    const FILE: u32 = 0o100_000;

    fn folder(&mut self, name: &str) -> Result<()> {
        self.entry(name, Self::FOLDER | 0o755, &[])
    }

    fn file(&mut self, name: &str, permissions: u32, content: &[u8]) -> Result<()> {
        self.entry(name, Self::FILE | permissions, content)
    }

    fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, &[])?;
        Ok(self.bytes)
    }

    /// The end is padded, so that another archive can follow.
    fn compressed(self) -> Result<Vec<u8>> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&self.finish()?)?;
        let mut bytes = gzip.finish()?;
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        Ok(bytes)
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.entries += 1;
        let size = u32::try_from(content.len())?;
        let name_size = u32::try_from(name.len() + 1)?;
        // Inode, mode, user, group, links, time, size, device and special device (major and minor), name size, checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_an_archive_begin_at_multiples_of_four() {
        let mut archive = Archive::default();
        archive.file("init", 0o755, b"12345").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(&bytes[14..22], b"000081ed");
        assert_eq!(&bytes[110..115], b"init\0");
        assert_eq!(&bytes[116..124], b"12345\0\0\0");
        assert_eq!(&bytes[124..130], b"070701");
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn a_module_comes_after_what_it_needs_and_only_once() {
        let dependencies =
            parse_dependencies("a/x-y.ko.xz: b/z.ko c/base.ko\nb/z.ko: c/base.ko\nc/base.ko:\n").unwrap();
        let mut order = Vec::new();
        add_with_dependencies(&dependencies, "b/z.ko", &mut order);
        add_with_dependencies(&dependencies, "a/x-y.ko.xz", &mut order);
        assert_eq!(order, ["c/base.ko", "b/z.ko", "a/x-y.ko.xz"]);
        assert_eq!(module_name(&order[2]), "x_y");
    }
}
