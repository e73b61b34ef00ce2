//! How cases say what they came to.

use alloc::format;
use alloc::string::String;
use core::fmt::Debug;

/// What a case came to; an error says what was seen.
pub(crate) type Outcome = Result<(), String>;

/// Counts cases and prints a line for each.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

impl Report {
    /// Prints one line.
    pub(crate) fn case(&mut self, name: &str, outcome: Outcome) {
        match outcome {
            Ok(()) => {
                self.passed += 1;
                log::info!("PASS {name}");
            }
            Err(seen) => {
                self.failed += 1;
                log::info!("FAIL {name}: {seen}");
            }
        }
    }
}

/// Whether something is what it should be.
pub(crate) fn equal<T: PartialEq + Debug>(seen: &T, expected: &T) -> Outcome {
    if seen == expected { Ok(()) } else { Err(format!("{seen:?} instead of {expected:?}")) }
}
