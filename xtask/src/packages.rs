//! Debian packages that a command needs on this machine.
//!
//! As root they are installed by name; without root the one command to run is printed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// A package and a file of it that shows whether it is there.
pub(crate) struct Package {
    name: &'static str,
    file: &'static str,
}

/// Builds the disk images.
pub(crate) const IMAGE: &[Package] = &[
    Package { name: "mmdebstrap", file: "/usr/bin/mmdebstrap" },
    Package { name: "e2fsprogs", file: "/usr/sbin/mke2fs" },
    Package { name: "xz-utils", file: "/usr/bin/xz" },
    Package { name: "ca-certificates", file: "/usr/sbin/update-ca-certificates" },
    Package { name: "debian-archive-keyring", file: "/usr/share/keyrings/debian-archive-trixie-stable.gpg" },
];

/// Boots the testbed.
pub(crate) const TESTBED: &[Package] = &[
    Package { name: "qemu-system-x86", file: "/usr/bin/qemu-system-x86_64" },
    Package { name: "seabios", file: "/usr/share/seabios/bios-256k.bin" },
    Package { name: "e2fsprogs", file: "/usr/sbin/mke2fs" },
    Package { name: "util-linux", file: "/usr/bin/setpriv" },
];

/// Builds the stub domain: its cards' firmware comes with it.
pub(crate) const BUILD: &[Package] = &[
    Package { name: "gcc", file: "/usr/bin/cc" },
    Package { name: "seabios", file: "/usr/share/seabios/vgabios-stdvga.bin" },
    Package { name: "ipxe-qemu", file: "/usr/lib/ipxe/qemu/pxe-e1000.rom" },
    Package { name: "qemu-system-data", file: "/usr/share/qemu/linuxboot_dma.bin" },
];

/// The firmware of the qtest machine, for its CPU.
pub(crate) const FIRMWARE: &[Package] = &[
    Package { name: "seabios", file: "/usr/share/seabios/bios-256k.bin" },
    Package { name: "ipxe-qemu", file: "/usr/lib/ipxe/qemu/pxe-e1000.rom" },
];

/// Xen's headers, with which the unit tests compare what we have of them.
pub(crate) const HEADERS: &[Package] = &[Package { name: "libxen-dev", file: "/usr/include/xen/xen.h" }];

/// Viewers that the tests look through.
pub(crate) const VIEWERS: &[Package] = &[
    Package { name: "libvncserver-dev", file: "/usr/include/rfb/rfbclient.h" },
    Package { name: "vncsnapshot", file: "/usr/bin/vncsnapshot" },
    Package { name: "gvncviewer", file: "/usr/bin/gvnccapture" },
    Package { name: "libgvnc-1.0-dev", file: "/usr/include/gvnc-1.0/gvnc.h" },
    Package { name: "tigervnc-viewer", file: "/usr/bin/xtigervncviewer" },
    Package { name: "xvfb", file: "/usr/bin/Xvfb" },
    Package { name: "xdotool", file: "/usr/bin/xdotool" },
    Package { name: "python3-venv", file: "/usr/share/doc/python3-venv" },
    Package { name: "chromium", file: "/usr/bin/chromium" },
    Package { name: "chromium-driver", file: "/usr/bin/chromedriver" },
    NOVNC,
];

const NOVNC: Package = Package { name: "novnc", file: "/usr/share/novnc/vnc.html" };

/// The page that shows a screen in a browser.
pub(crate) const BROWSER: &[Package] = &[NOVNC];

/// Builds libFuzzer.
pub(crate) const FUZZ: &[Package] = &[Package { name: "g++", file: "/usr/bin/c++" }];

/// Whether the user may do everything; files below /proc belong to the user who reads them.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Installs the packages that are not there.
pub(crate) fn ensure_installed(packages: &[Package]) -> Result<()> {
    let missing: Vec<_> =
        packages.iter().filter(|package| !Path::new(package.file).exists()).map(|package| package.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !is_root() {
        bail!(
            "Debian packages are missing. Run this, then try again:\n  sudo apt-get install --no-install-recommends {names}"
        );
    }
    eprintln!("Installing Debian packages: {names}");
    // The package lists of a fresh machine or container are empty or old.
    apt_get(&["update"])?;
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(missing);
    apt_get(&arguments)
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(["-q", "-o", "DPkg::Lock::Timeout=300"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .context("cannot start apt-get; this needs a Debian machine")?;
    ensure!(
        output.status.success(),
        "apt-get {} failed:\n{}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
