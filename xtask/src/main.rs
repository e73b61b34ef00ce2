//! `cargo xtask`: builds, runs and tests everything. Each command sets up what it needs by itself.
#![forbid(unsafe_code)]

mod bench;
mod build;
mod bzimage;
mod ci;
mod config_file;
mod debian;
mod elf;
mod emulator;
mod fuzz;
mod guest;
mod hypervisor;
mod image;
mod initrd;
mod keymaps;
mod packages;
mod paths;
mod progress;
mod qtest;
mod run;
mod shell;
mod test;
mod tidy;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use image::Xen;

/// Builds, runs and tests the device model.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds the images into target/images.
    Build,
    /// Makes the disk images of the testbed and of the default guest.
    Image {
        /// The release of Xen, instead of all.
        #[arg(long)]
        xen: Option<Xen>,
    },
    /// Boots a guest on our device model on a real Xen, and shows where its screen and its serial port are.
    Run(run::Arguments),
    /// Runs the unit tests and the whole-system cases.
    Test(test::Arguments),
    /// Measures a guest on our device model and on dom0's QEMU, and compares.
    Bench(bench::Arguments),
    /// Checks the rules of the project that no compiler knows.
    Tidy,
    /// Runs every check: format, clippy, tidy, documentation, tests.
    Ci,
    /// Runs the checks of miniOS, or another kernel, on our own hypervisor core: no Xen, no dom0.
    Core(hypervisor::Arguments),
    /// Runs the Xen Test Framework's pv64 tests on our own hypervisor core.
    Xtf(hypervisor::xtf::Arguments),
    /// Serves the PC on this machine by QEMU's qtest protocol. Without arguments, says where the program is.
    Qtest(qtest::Arguments),
    /// Fuzzes the devices, and keeps what is worth playing in the normal tests.
    Fuzz(fuzz::Arguments),
    /// Boots the testbed, runs a command in dom0 and powers off. Without a command, lines of the standard input are run.
    Shell(shell::Arguments),
}

fn main() -> ExitCode {
    match perform(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<ExitCode> {
    match task {
        Task::Build => drop(build::all()?),
        Task::Image { xen } => {
            for xen in xen.map_or(Xen::ALL.to_vec(), |xen| vec![xen]) {
                println!("{}", image::dom0(xen)?.disk.display());
            }
            println!("{}", guest::media()?.disk.display());
        }
        Task::Run(arguments) => return run::run(&arguments),
        Task::Test(arguments) => return test::run(&arguments),
        Task::Bench(arguments) => return bench::run(&arguments),
        Task::Tidy => return tidy::run(),
        Task::Ci => return ci::run(),
        Task::Core(arguments) => return hypervisor::run(&arguments),
        Task::Xtf(arguments) => return hypervisor::xtf::run(&arguments),
        Task::Qtest(arguments) => return qtest::run(&arguments),
        Task::Fuzz(arguments) => return fuzz::run(&arguments),
        Task::Shell(arguments) => return shell::run(&arguments),
    }
    Ok(ExitCode::SUCCESS)
}
