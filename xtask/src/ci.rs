//! `cargo xtask ci`: everything that has to hold before a change goes in.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::progress::Step;
use crate::{build, packages, paths, test, tidy};

/// A check that cargo makes: what it is, the arguments, what is added to the environment.
type Check = (&'static str, &'static [&'static str], &'static [(&'static str, &'static str)]);

const CLIPPY_HOST: &[&str] = &[
    "clippy",
    "--quiet",
    "--workspace",
    "--exclude=stubdom",
    "--exclude=pv-tests",
    "--exclude=guests",
    "--exclude=hypervisor",
    "--lib",
    "--bins",
    "--tests",
    "--",
    "-Dwarnings",
];

/// Clippy on a freestanding package: what can be tested on this machine, and its programs as they are built.
const fn clippy_image(package: &'static str) -> [&'static str; 9] {
    ["clippy", "--quiet", "--package", package, "--target", build::TARGET, "--all-targets", "--", "-Dwarnings"]
}

const CHECKS: &[Check] = &[
    ("Checking the format", &["fmt", "--all", "--check"], &[]),
    ("Running clippy", CLIPPY_HOST, &[]),
    // One at a time: together with programs of this machine their dependencies would get those programs' features.
    ("Running clippy on the device model's image", &clippy_image("stubdom"), &[]),
    ("Running clippy on the checks of miniOS", &clippy_image("pv-tests"), &[]),
    ("Running clippy on the test guests", &clippy_image("guests"), &[]),
    ("Running clippy on the hypervisor core", &clippy_image("hypervisor"), &[]),
    (
        "Making the documentation",
        &["doc", "--quiet", "--workspace", "--lib", "--no-deps", "--document-private-items"],
        &[("RUSTDOCFLAGS", "-Dwarnings")],
    ),
];

pub(crate) fn run() -> Result<ExitCode> {
    packages::ensure_installed(packages::BUILD)?;
    let mut is_good = true;
    for (what, arguments, environment) in CHECKS {
        let step = Step::begin(*what);
        let status = Command::new(build::cargo())
            .current_dir(paths::project())
            .args(*arguments)
            .envs(environment.iter().copied())
            .status()
            .context("cannot start cargo")?;
        // All checks are made, so that one run shows everything.
        if status.success() {
            step.done();
        } else {
            is_good = false;
        }
    }
    is_good &= tidy::run()? == ExitCode::SUCCESS;
    is_good &= test::run(&test::Arguments::default())? == ExitCode::SUCCESS;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
