//! libFuzzer on one of [`qtest::fuzz::TARGETS`], which the environment variable `FUZZ_TARGET` names.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use qtest::fuzz::{TARGETS, Target, play};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    TARGETS.into_iter().find(|target| target.name == name).expect("FUZZ_TARGET names a target")
});

fuzz_target!(|bytes: &[u8]| play(&TARGET, bytes));
