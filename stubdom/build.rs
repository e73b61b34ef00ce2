//! Link arguments of the freestanding image, and the firmware that is part of it.

use std::path::PathBuf;
use std::{env, fs};

/// The video BIOS, from Debian's package `seabios`.
const VGA_BIOS: &str = "/usr/share/seabios/vgabios-stdvga.bin";

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

    println!("cargo:rerun-if-changed={VGA_BIOS}");
    let target = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("vgabios-stdvga.bin");
    if let Err(error) = fs::copy(VGA_BIOS, &target) {
        panic!("{VGA_BIOS}: {error}; install Debian's package seabios (`cargo xtask build` does)");
    }
}
