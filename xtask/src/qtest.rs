//! `cargo xtask qtest`: the PC behind QEMU's qtest protocol, for test clients that play its CPU or give it one.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::{build, packages, paths};

/// The package, and its program: clients take the architecture from the end of its name.
const PACKAGE: &str = "qtest";
const PROGRAM: &str = "devmodel-system-x86_64";

/// What the program is given.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// QEMU's arguments, for instance: -qtest unix:/tmp/qtest -machine pc -device e1000
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Builds the program and runs it; without arguments, says where it is.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    packages::ensure_installed(packages::FIRMWARE)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(paths::target, Into::into);
    let status = Command::new(build::cargo())
        .current_dir(paths::project())
        .args(["build", "--quiet", "--release", "--package", PACKAGE, "--target-dir"])
        .arg(&target)
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "building {PROGRAM} failed");
    let program = target.join("release").join(PROGRAM);
    if arguments.arguments.is_empty() {
        println!("{}", program.display());
        eprintln!("Give this path to test clients in QTEST_QEMU_BINARY.");
        return Ok(ExitCode::SUCCESS);
    }
    let status = Command::new(&program).args(&arguments.arguments).status().context("cannot start the program")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
