//! The program that clients of the qtest protocol start in place of `qemu-system-x86_64`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match qtest::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("devmodel-system-x86_64: {error:#}");
            ExitCode::FAILURE
        }
    }
}
