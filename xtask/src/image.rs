//! `cargo xtask image`: the disk images that the testbed runs, kept until a package or a recipe changes.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use tests::testbed::{BLOCK_QUICK, DOM0_INIT, Dom0, INITRD_INIT};

use crate::build;
use crate::debian::{self, Recipe};
use crate::initrd;
use crate::paths;
use crate::progress::Step;

/// A release of Xen with the release of Debian that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Xen {
    /// Debian 12.
    V4_17,
    /// Debian 13.
    V4_20,
}

impl Xen {
    pub(crate) const ALL: [Self; 2] = [Self::V4_17, Self::V4_20];

    fn suite(self) -> &'static str {
        match self {
            Self::V4_17 => "bookworm",
            Self::V4_20 => "trixie",
        }
    }
}

impl fmt::Display for Xen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4_17 => "4.17",
            Self::V4_20 => "4.20",
        })
    }
}

impl FromStr for Xen {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|xen| xen.to_string() == text) {
            Some(xen) => Ok(xen),
            None => bail!("there are testbeds of Xen 4.17 and 4.20"),
        }
    }
}

/// The drivers that dom0 needs to reach its root disk.
const DRIVERS: &[&str] = &["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"];

/// Makes dom0's image unless it is there, and returns what to boot.
pub(crate) fn dom0(xen: Xen) -> Result<Dom0> {
    let packages = "linux-image-amd64 xenstore-utils qemu-system-xen seabios busybox-static kmod udev \
                    iproute2 bridge-utils procps psmisc socat dmsetup ovmf";
    let mut packages: Vec<_> = packages.split_whitespace().map(str::to_owned).collect();
    packages.extend([format!("xen-hypervisor-{xen}-amd64"), format!("xen-utils-{xen}")]);
    let recipe = Recipe { suite: xen.suite(), packages, left_out: debian::LEFT_OUT };
    let name = format!("dom0-xen-{xen}");
    let folder = debian::cached(&name, &recipe.key(DRIVERS)?, |folder| build_dom0(xen, &recipe, folder))?;

    // The programs of this project ride on the initial ramdisk: they change more often than Debian's packages.
    let mut boot = fs::read(folder.join("drivers"))?;
    boot.extend(initrd::programs(&[
        ("init", INITRD_INIT.as_bytes()),
        ("overlay/usr/sbin/dom0-init", DOM0_INIT.as_bytes()),
        ("overlay/etc/xen/scripts/block-quick", BLOCK_QUICK.as_bytes()),
        ("overlay/usr/sbin/agent", &fs::read(build::agent()?)?),
    ])?);
    let initrd = folder.join("initrd");
    if fs::read(&initrd).ok().as_ref() != Some(&boot) {
        let temporary = folder.join(format!("initrd.{}", std::process::id()));
        fs::write(&temporary, &boot)?;
        fs::rename(&temporary, &initrd)?;
    }
    Ok(Dom0 { xen: folder.join("xen"), kernel: folder.join("vmlinuz"), initrd, disk: folder.join("disk") })
}

fn build_dom0(xen: Xen, recipe: &Recipe, folder: &Path) -> Result<()> {
    let log = paths::logs("image").join(format!("dom0-xen-{xen}.log"));
    fs::create_dir_all(paths::logs("image"))?;
    let step = Step::logged(format!("Making the dom0 image for Xen {xen} of Debian packages"), &log);
    let root = folder.join("root");
    recipe.build(&root, &log)?;
    let boot = root.join("boot");
    let compressed = fs::File::open(boot.join(format!("xen-{xen}-amd64.gz"))).context("no Xen among the packages")?;
    std::io::copy(&mut GzDecoder::new(compressed), &mut fs::File::create(folder.join("xen"))?)?;
    fs::copy(initrd::kernel(&root)?, folder.join("vmlinuz"))?;
    fs::write(folder.join("drivers"), initrd::drivers(&root, DRIVERS)?)?;
    debian::make_disk(&root, &folder.join("disk"), "dom0", 512)?;
    fs::remove_dir_all(&root)?;
    step.done();
    Ok(())
}
