//! Which QEMU runs the testbed, and whether it may use the machine's own virtualization.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tests::testbed::Emulator;

use crate::progress::Step;
use crate::{debian, packages, paths};

/// The release whose emulation of nested paging lets HVM guests run; later ones give a guest CR0 when it reads CR2.
const VERSION: &str = "7.2";

/// Finds the QEMU to use: with nested virtualization any will do, otherwise it has to be [`VERSION`].
pub(crate) fn find() -> Result<Emulator> {
    packages::ensure_installed(packages::TESTBED)?;
    let installed = PathBuf::from("/usr/bin/qemu-system-x86_64");
    if nested_virtualization(&installed) {
        return Ok(Emulator { program: installed, arguments: Vec::new(), kvm: true });
    }
    if is_right_version(&installed) {
        return Ok(Emulator { program: installed, arguments: Vec::new(), kvm: false });
    }
    unpacked()
}

/// Any QEMU, for a machine whose guests have none of their own: the one that is installed, as whoever starts it.
pub(crate) fn any() -> Result<Emulator> {
    let program = PathBuf::from("/usr/bin/qemu-system-x86_64");
    if !program.exists() {
        packages::ensure_installed(packages::TESTBED)?;
    }
    let kvm = starts_with_kvm(&program).unwrap_or(false);
    Ok(Emulator { program, arguments: Vec::new(), kvm })
}

/// Whether guests of this machine can have guests: the module says so and QEMU can use it.
fn nested_virtualization(qemu: &Path) -> bool {
    let allowed = ["kvm_amd", "kvm_intel"].iter().any(|module| {
        fs::read_to_string(format!("/sys/module/{module}/parameters/nested"))
            .is_ok_and(|text| matches!(text.trim(), "1" | "Y"))
    });
    allowed && starts_with_kvm(qemu).unwrap_or(false)
}

/// Whether QEMU can make a virtual machine with /dev/kvm: it makes one, and is told to quit before that runs.
fn starts_with_kvm(qemu: &Path) -> std::io::Result<bool> {
    let mut child = Command::new(qemu)
        .args(["-accel", "kvm", "-cpu", "host", "-machine", "q35", "-S", "-display", "none", "-monitor", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut monitor) = child.stdin.take() {
        // Without KVM it has ended before it reads this.
        let _ = monitor.write_all(b"quit\n");
    }
    Ok(child.wait()?.success())
}

fn is_right_version(qemu: &Path) -> bool {
    let output = Command::new(qemu).arg("--version").output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(&format!("version {VERSION}")))
}

/// Unpacks Debian 12's QEMU below `target/`; the libraries it links come from the installed one's dependencies.
fn unpacked() -> Result<Emulator> {
    let folder = paths::target().join("qemu").join(VERSION);
    let program = folder.join("usr/bin/qemu-system-x86_64");
    if !is_right_version(&program) {
        let step = Step::begin(format!("Fetching QEMU {VERSION} of Debian 12"));
        fetch(&folder)?;
        ensure!(is_right_version(&program), "{} does not run here", program.display());
        step.done();
    }
    let arguments = [
        "-L".to_owned(),
        folder.join("usr/share/qemu").display().to_string(),
        "-L".to_owned(),
        "/usr/share/seabios".to_owned(),
    ];
    Ok(Emulator { program, arguments: arguments.to_vec(), kvm: false })
}

/// Downloads with package lists of its own, so that the machine's are left alone.
fn fetch(folder: &Path) -> Result<()> {
    let apt = folder.join("apt");
    for part in ["lists/partial", "archives/partial"] {
        fs::create_dir_all(apt.join(part))?;
    }
    let list = apt.join("sources.list");
    let keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
    fs::write(&list, format!("deb [signed-by={keys}] {} bookworm main\n", debian::mirror()))?;
    fs::write(apt.join("status"), "")?;
    let options = [
        format!("Dir::Etc::SourceList={}", list.display()),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        format!("Dir::State::Lists={}", apt.join("lists").display()),
        format!("Dir::State::Status={}", apt.join("status").display()),
        format!("Dir::Cache={}", apt.display()),
        "APT::Sandbox::User=root".to_owned(),
    ];
    let run = |program: &mut Command| -> Result<()> {
        let output = program.current_dir(&apt).output().context("cannot start apt or dpkg")?;
        ensure!(output.status.success(), "fetching QEMU failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    let options: Vec<_> = options.iter().flat_map(|option| ["-o", option]).collect();
    run(Command::new("apt-get").args(&options).arg("update"))?;
    run(Command::new("apt-get").args(&options).args([
        "download",
        "qemu-system-x86",
        "qemu-system-common",
        "qemu-system-data",
    ]))?;
    for entry in fs::read_dir(&apt)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").args([&file, folder]))?;
        }
    }
    Ok(())
}
