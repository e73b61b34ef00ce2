//! `cargo xtask build`: the images that users install and the test guests, linked, checked and packed.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use sha2::{Digest, Sha256};

use crate::elf::{self, Kind};
use crate::keymaps;
use crate::packages;
use crate::paths;
use crate::progress::Step;

/// Rust's target with the standard library that every installation has. Its code is freestanding with these flags and the
/// link arguments of the packages' own build scripts. The last flag keeps copies of integers out of the SSE registers:
/// Xen hands those to a domain with a trap, at their first use after each switch.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";
const FLAGS: &str = "['-Crelocation-model=static','-Cno-redzone=yes','-Cllvm-args=-force-attribute=noimplicitfloat']";

/// Expansion ROMs of Debian's packages: those of our network cards, of `ipxe-qemu`, and the one that starts a kernel, of
/// `qemu-system-data`.
const ROMS: [&str; 3] =
    ["/usr/lib/ipxe/qemu/pxe-e1000.rom", "/usr/lib/ipxe/qemu/pxe-rtl8139.rom", "/usr/share/qemu/linuxboot_dma.bin"];

/// Keyboard layouts, of `qemu-system-data`.
const KEYMAPS: &str = "/usr/share/qemu/keymaps";

/// The most that the packed device model may have.
const LARGEST_IMAGE: usize = 512 * 1024;

/// The files in `target/images`.
pub(crate) struct Images {
    /// The kernel of the stub domain: `stubdomain_kernel=`.
    pub(crate) ioemu: PathBuf,
    /// What `stubdomain_ramdisk=` is given: an archive of expansion ROMs that only some machines have.
    pub(crate) ramdisk: PathBuf,
    /// The test guest, an ELF file that suites make disks of.
    pub(crate) guest: PathBuf,
    /// The paravirtualised unikernel to start from.
    pub(crate) demo: PathBuf,
    /// Checks of miniOS, a kernel for a PV domain of its own.
    pub(crate) selftest: PathBuf,
    /// The control domain of the hypervisor core.
    pub(crate) control: PathBuf,
    /// The hypervisor core, for a multiboot loader.
    pub(crate) hypervisor: PathBuf,
}

/// What the hypervisor core is built with: it runs at addresses that code for the lowest or the highest 2 GiB cannot name.
const CORE_FLAGS: &str = "['-Crelocation-model=pic','-Cno-redzone=yes','-Cllvm-args=-force-attribute=noimplicitfloat']";

/// Where the images are once they are built.
pub(crate) fn images() -> Images {
    let folder = paths::images();
    Images {
        ioemu: folder.join("ioemu-stubdom.gz"),
        ramdisk: folder.join("ioemu-stubdom.ramdisk"),
        demo: folder.join("demo.gz"),
        guest: folder.join("guest.elf"),
        selftest: folder.join("selftest.gz"),
        control: folder.join("control.gz"),
        hypervisor: folder.join("hypervisor.bin"),
    }
}

/// Builds everything.
pub(crate) fn all() -> Result<Images> {
    packages::ensure_installed(packages::BUILD)?;
    fs::create_dir_all(paths::images())?;
    let images = images();
    let step = Step::begin("Building the test guests");
    let linked = link("guests", "guest")?;
    verify(&linked, Kind::BareMachine)?;
    write(&images.guest, &fs::read(&linked)?)?;
    step.end(images.guest.display());

    checks(&images)?;

    demo(&images)?;
    let step = Step::begin("Building the stub domain's image");
    let linked = link("stubdom", "ioemu")?;
    verify(&linked, Kind::ParavirtualKernel)?;
    let packed = pack(&linked)?;
    ensure!(
        packed.len() <= LARGEST_IMAGE,
        "the packed image has {} KiB, and may have {}",
        packed.len() / 1024,
        LARGEST_IMAGE / 1024
    );
    write(&images.ioemu, &packed)?;
    // With its symbols, for the addresses that a panic prints.
    write(&paths::images().join("ioemu-stubdom.elf"), &fs::read(&linked)?)?;
    write(&images.ramdisk, &ramdisk()?)?;
    step.end(format_args!("{} KiB, {}", packed.len().div_ceil(1024), images.ioemu.display()));
    Ok(images)
}

/// Builds the hypervisor core, its control domain, and what is tested on them.
pub(crate) fn core() -> Result<Images> {
    packages::ensure_installed(packages::BUILD)?;
    fs::create_dir_all(paths::images())?;
    let images = images();
    checks(&images)?;
    demo(&images)?;
    let step = Step::begin("Building the control domain");
    let linked = link("stubdom", "control")?;
    verify(&linked, Kind::ParavirtualKernel)?;
    let packed = pack(&linked)?;
    write(&images.control, &packed)?;
    step.end(format_args!("{} KiB, {}", packed.len().div_ceil(1024), images.control.display()));
    let step = Step::begin("Building the hypervisor core");
    let linked = link_with("hypervisor", "hypervisor", CORE_FLAGS)?;
    verify(&linked, Kind::BareMachine)?;
    let flat = linked.with_extension("bin");
    let output = Command::new("objcopy").args(["-O", "binary"]).args([&linked, &flat]).output();
    let output = output.context("cannot start objcopy")?;
    ensure!(output.status.success(), "objcopy failed: {}", String::from_utf8_lossy(&output.stderr));
    write(&images.hypervisor, &fs::read(&flat)?)?;
    write(&paths::images().join("hypervisor.elf"), &fs::read(&linked)?)?;
    step.end(images.hypervisor.display());
    Ok(images)
}

fn demo(images: &Images) -> Result<()> {
    let step = Step::begin("Building the demo");
    let linked = link("stubdom", "demo")?;
    verify(&linked, Kind::ParavirtualKernel)?;
    let packed = pack(&linked)?;
    write(&images.demo, &packed)?;
    step.end(format_args!("{} KiB, {}", packed.len().div_ceil(1024), images.demo.display()));
    Ok(())
}

fn checks(images: &Images) -> Result<()> {
    let step = Step::begin("Building the checks of miniOS");
    let linked = link("pv-tests", "selftest")?;
    verify(&linked, Kind::ParavirtualKernel)?;
    write(&images.selftest, &pack(&linked)?)?;
    step.end(images.selftest.display());
    Ok(())
}

/// The agent of the testbed's dom0: linked so that it runs there whatever this machine's libraries are. Gives its path.
pub(crate) fn agent() -> Result<PathBuf> {
    let step = Step::begin("Building the agent of dom0");
    let target = paths::target().join("agent");
    let output = Command::new(cargo())
        .current_dir(paths::project())
        .args(["build", "--quiet", "--release", "--package", "agent", "--target", TARGET])
        .arg("--config")
        .arg(format!("target.{TARGET}.rustflags=['-Ctarget-feature=+crt-static','-Cstrip=symbols']"))
        .arg("--target-dir")
        .arg(&target)
        .output()
        .context("cannot start cargo")?;
    ensure!(output.status.success(), "building the agent failed:\n{}", String::from_utf8_lossy(&output.stderr));
    step.done();
    Ok(target.join(TARGET).join("release/agent"))
}

/// Compiles and links one freestanding program, and returns its ELF file.
fn link(package: &str, program: &str) -> Result<PathBuf> {
    link_with(package, program, FLAGS)
}

fn link_with(package: &str, program: &str, flags: &str) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(paths::target, PathBuf::from);
    let output = Command::new(cargo())
        .current_dir(paths::project())
        .args(["build", "--quiet", "--release", "--package", package, "--bin", program, "--target", TARGET])
        .arg("--config")
        .arg(format!("target.{TARGET}.rustflags={flags}"))
        .arg("--target-dir")
        .arg(&target)
        .output()
        .context("cannot start cargo")?;
    let messages = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "building {program} failed:\n{messages}");
    eprint!("{messages}");
    Ok(target.join(TARGET).join("release").join(program))
}

/// The cargo that runs this.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn verify(file: &Path, kind: Kind) -> Result<()> {
    let problems = elf::check(&fs::read(file)?, kind)?;
    if !problems.is_empty() {
        let lines: Vec<_> = problems.iter().map(|problem| format!("  {problem}")).collect();
        bail!("{} cannot be used:\n{}", file.display(), lines.join("\n"));
    }
    Ok(())
}

/// Strips and compresses, if that was not done with this very file. Xen's domain builders unpack gzip themselves.
fn pack(linked: &Path) -> Result<Vec<u8>> {
    let stripped = linked.with_extension("stripped");
    let output = Command::new("strip").arg("-o").args([&stripped, linked]).output().context("cannot start strip")?;
    ensure!(output.status.success(), "strip failed: {}", String::from_utf8_lossy(&output.stderr));
    let content = fs::read(&stripped)?;
    let key = format!("{:?}", Sha256::digest(&content));
    let (known, known_key) = (linked.with_extension("gz"), linked.with_extension("gz.key"));
    if fs::read_to_string(&known_key).is_ok_and(|known| known == key) {
        return Ok(fs::read(&known)?);
    }
    let mut packed = Vec::new();
    zopfli::compress(zopfli::Options::default(), zopfli::Format::Gzip, content.as_slice(), &mut packed)?;
    fs::write(&known, &packed)?;
    fs::write(&known_key, key)?;
    Ok(packed)
}

/// Expansion ROMs and keyboard layouts, as a tar archive.
fn ramdisk() -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |name: &Path, content: &[u8]| -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len().try_into()?);
        header.set_mode(0o644);
        Ok(archive.append_data(&mut header, name, content)?)
    };
    for path in ROMS.map(Path::new) {
        let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        add(path.file_name().context("not a file")?.as_ref(), &content)?;
    }
    for (name, content) in keymaps::all(Path::new(KEYMAPS))? {
        add(&Path::new("keymaps").join(name), &content)?;
    }
    Ok(archive.into_inner()?)
}

/// A file that is the same already is left alone, and nobody ever sees half of one.
fn write(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    fs::write(&temporary, content)?;
    fs::rename(&temporary, path)?;
    Ok(())
}
