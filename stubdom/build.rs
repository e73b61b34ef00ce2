//! Link arguments of the freestanding image, and the firmware that is part of it.

use std::path::PathBuf;
use std::{env, fs};

/// The BIOSes of the graphics cards, from Debian's package `seabios`.
const VGA_BIOS: [&str; 2] = ["vgabios-stdvga.bin", "vgabios-cirrus.bin"];

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let script = manifest.join("../miniOS/link.ld");
    println!("cargo:rerun-if-changed={}", script.display());
    let script = format!("-Wl,-T,{}", script.display());
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,-z,max-page-size=4096",
        "-Wl,-z,norelro",
        "-Wl,--gc-sections",
        &script,
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }

    let target = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for name in VGA_BIOS {
        let path = format!("/usr/share/seabios/{name}");
        println!("cargo:rerun-if-changed={path}");
        if let Err(error) = fs::copy(&path, target.join(name)) {
            panic!("{path}: {error}; install Debian's package seabios (`cargo xtask build` does)");
        }
    }
}
