//! What a case gets, and what it says.

use crate::ide::IdeError;
use crate::line;
use core::fmt::{self, Write};
use guests::command_line::CommandLine;

/// Why a check failed.
#[derive(Debug)]
pub(crate) struct Failure(heapless::String<96>);

impl Failure {
    /// From formatted text; what does not fit is cut off.
    pub(crate) fn new(why: fmt::Arguments<'_>) -> Self {
        let mut line = CutOff(heapless::String::new());
        // Writing to it cannot fail.
        let _ = line.write_fmt(why);
        Self(line.0)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl From<IdeError> for Failure {
    fn from(error: IdeError) -> Self {
        Self::new(format_args!("{error}"))
    }
}

struct CutOff(heapless::String<96>);

impl Write for CutOff {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|character| self.0.push(character)).or(Ok(()))
    }
}

/// Leaves a check with a failure.
#[macro_export]
macro_rules! bail {
    ($($argument:tt)*) => { return Err($crate::report::Failure::new(format_args!($($argument)*))) };
}

/// Leaves a check with a failure unless a condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($argument:tt)*) => {
        if !$condition {
            $crate::bail!($($argument)*);
        }
    };
}

/// How a check ends.
pub(crate) type Outcome = Result<(), Failure>;

/// The guest's words to the suite, and the suite's to the guest.
#[derive(Debug)]
pub(crate) struct Report {
    /// The command line.
    pub options: CommandLine<'static>,
}

impl Report {
    /// With this command line.
    pub(crate) const fn new(options: CommandLine<'static>) -> Self {
        Self { options }
    }

    /// `PASS name` or `FAIL name: why`.
    pub(crate) fn check(&mut self, name: &str, outcome: Outcome) {
        match outcome {
            Ok(()) => line!("PASS {name}"),
            Err(why) => self.fail(name, format_args!("{why}")),
        }
    }

    /// `FAIL name: why`.
    pub(crate) fn fail(&mut self, name: &str, why: fmt::Arguments<'_>) {
        line!("FAIL {name}: {why}");
    }

    /// `VALUE name number unit`.
    pub(crate) fn value(&mut self, name: &str, number: u64, unit: &str) {
        line!("VALUE {name} {number} {unit}");
    }

    /// `READY name`: the suite may look or act now.
    pub(crate) fn ready(&mut self, name: &str) {
        line!("READY {name}");
    }
}
