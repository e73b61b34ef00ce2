//! Root folders made of Debian packages, and what their content depends on.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::{packages, paths};

/// A Debian root folder.
pub(crate) struct Recipe {
    /// The name of the release.
    pub(crate) suite: &'static str,
    /// What is installed, with what it depends on.
    pub(crate) packages: Vec<String>,
    /// Paths that are left out when packages are unpacked.
    pub(crate) left_out: &'static [&'static str],
}

/// Documentation and translations that nobody reads in a test machine, and drivers of devices that it does not have.
pub(crate) const LEFT_OUT: &[&str] = &[
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    "*/lib/modules/*/kernel/drivers/gpu/drm/amd/*",
    "*/lib/modules/*/kernel/drivers/gpu/drm/i915/*",
    "*/lib/modules/*/kernel/drivers/gpu/drm/nouveau/*",
    "*/lib/modules/*/kernel/drivers/gpu/drm/radeon/*",
    "*/lib/modules/*/kernel/drivers/gpu/drm/xe/*",
    "*/lib/modules/*/kernel/drivers/iio/*",
    "*/lib/modules/*/kernel/drivers/infiniband/*",
    "*/lib/modules/*/kernel/drivers/media/*",
    "*/lib/modules/*/kernel/drivers/net/wireless/*",
    "*/lib/modules/*/kernel/drivers/staging/*",
    "*/lib/modules/*/kernel/sound/*",
];

/// How long the digest of a release is used before the mirror is asked again.
const RELEASE_AGE: Duration = Duration::from_secs(24 * 60 * 60);

impl Recipe {
    /// A name for the content: it changes with the recipe and with the versions of the release's packages.
    pub(crate) fn key(&self, more: &[&str]) -> Result<String> {
        let mut hash = Sha256::new();
        let own = [self.suite.to_owned(), self.packages.join(" "), self.left_out.join(" "), release(self.suite)?];
        for part in own.iter().map(String::as_str).chain(more.iter().copied()) {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        Ok(hex(&hash.finalize())[..16].to_owned())
    }

    /// Installs the packages below `root`, as on a fresh disk.
    pub(crate) fn build(&self, root: &Path, log: &Path) -> Result<()> {
        if !packages::is_root() {
            bail!("Disk images are made as root. Run this once, then try again:\n  sudo cargo xtask image");
        }
        packages::ensure_installed(packages::IMAGE)?;
        let cache = paths::target().join("cache/packages").join(self.suite);
        fs::create_dir_all(&cache)?;
        let mut command = Command::new("mmdebstrap");
        command.args(["--variant=minbase", "--mode=root", "--format=directory"]);
        command.arg("--aptopt=APT::Install-Recommends \"false\"");
        for path in self.left_out {
            command.arg(format!("--dpkgopt=path-exclude={path}"));
        }
        // Packages that were downloaded once are taken from the cache.
        let cache = cache.display();
        command.arg("--setup-hook=mkdir -p \"$1/var/cache/apt/archives\"");
        command.arg(format!("--setup-hook=sync-in '{cache}' /var/cache/apt/archives"));
        command.arg(format!("--customize-hook=sync-out /var/cache/apt/archives '{cache}'"));
        command.arg("--skip=download/empty,essential/unlink");
        command.arg(format!("--include={}", self.packages.join(",")));
        command.arg(self.suite).arg(root).arg(mirror());
        // The initial ramdisk is ours.
        command.env("INITRD", "No");
        let output = File::create(log)?;
        let status = command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).status();
        let status = status.context("cannot start mmdebstrap")?;
        ensure!(status.success(), "mmdebstrap failed; see {}", log.display());
        fs::remove_dir_all(root.join("var/cache/apt"))?;
        fs::remove_dir_all(root.join("var/lib/apt/lists"))?;
        Ok(())
    }
}

/// Makes an ext4 image of a folder, with `free` MiB to spare. It needs no root and no loop device.
pub(crate) fn make_disk(folder: &Path, image: &Path, label: &str, free: u64) -> Result<()> {
    let output = Command::new("du").args(["--summarize", "--block-size=1M"]).arg(folder).output()?;
    let used: u64 = String::from_utf8(output.stdout)?.split_whitespace().next().unwrap_or_default().parse()?;
    // The file system's own tables take some percent; 100 MiB more covers the journal.
    let size = used + used / 8 + 100 + free;
    let _ = fs::remove_file(image);
    let output = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-L", label, "-E", "lazy_itable_init=1,lazy_journal_init=1", "-d"])
        .args([folder, image])
        .arg(format!("{size}M"))
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .context("cannot start mke2fs")?;
    ensure!(output.status.success(), "mke2fs failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The digest of the release file of a suite, which changes when any package of it does.
fn release(suite: &str) -> Result<String> {
    let folder = paths::target().join("cache/release");
    fs::create_dir_all(&folder)?;
    let file = folder.join(suite);
    let is_fresh = fs::metadata(&file)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|time| time.elapsed().is_ok_and(|age| age < RELEASE_AGE));
    if !is_fresh {
        download(&format!("{}/dists/{suite}/InRelease", mirror()), &file)?;
    }
    let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(hex(&Sha256::digest(&content)))
}

/// Fetches a file with apt's own means. Without a network, an older copy serves.
fn download(url: &str, to: &Path) -> Result<()> {
    let temporary = to.with_extension("new");
    let output = Command::new("/usr/lib/apt/apt-helper")
        .arg("download-file")
        .args([url.as_ref(), temporary.as_os_str()])
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(fs::rename(&temporary, to)?),
        _ if to.exists() => {
            eprintln!("Cannot fetch {url}: going on with the copy in {}", to.display());
            Ok(())
        }
        Ok(output) => bail!("cannot fetch {url}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => Err(error).context("cannot start apt-helper; this needs a Debian machine"),
    }
}

/// The Debian mirror that this machine uses.
pub(crate) fn mirror() -> String {
    let sources = fs::read_to_string("/etc/apt/sources.list.d/debian.sources").unwrap_or_default();
    let list = fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
    parse_mirror(&sources, &list).unwrap_or_else(|| "http://deb.debian.org/debian".to_owned())
}

/// The first address in a deb822 file or a one-line list that is an archive of Debian itself.
fn parse_mirror(sources: &str, list: &str) -> Option<String> {
    let deb822 = sources.lines().filter_map(|line| line.strip_prefix("URIs:"));
    let one_line = list.lines().filter_map(|line| line.trim().strip_prefix("deb "));
    deb822
        .chain(one_line)
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_end_matches('/'))
        .find(|word| word.starts_with("http") && word.ends_with("/debian"))
        .map(str::to_owned)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A folder below `target/testbed` whose content `make` creates when it is not there yet. Older contents of the same name go.
pub(crate) fn cached(name: &str, key: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let all = paths::target().join("testbed");
    fs::create_dir_all(&all)?;
    let folder = all.join(format!("{name}-{key}"));
    let turn = File::create(all.join(format!("{name}.lock")))?;
    turn.lock()?;
    if folder.exists() {
        return Ok(folder);
    }
    let building = all.join(format!("{name}.building"));
    if building.exists() {
        fs::remove_dir_all(&building)?;
    }
    fs::create_dir(&building)?;
    make(&building)?;
    for entry in fs::read_dir(&all)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && entry.file_name().to_string_lossy().starts_with(&format!("{name}-")) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    fs::rename(&building, &folder)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_first_archive_of_debian_itself() {
        let sources =
            "Types: deb\nURIs: http://deb.debian.org/debian-security\n\nURIs: http://mirror.example/debian/\n";
        assert_eq!(parse_mirror(sources, "").as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(
            parse_mirror("", "deb http://a.example/debian bookworm main").as_deref(),
            Some("http://a.example/debian")
        );
        assert_eq!(parse_mirror("", ""), None);
    }
}
