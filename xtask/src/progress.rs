//! Long steps, with the time that they take.
//!
//! On a terminal a line shows the running step and its seconds; elsewhere each step is a line when it begins and when it ends.

use std::fmt::Display;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// One long step. It reads as failed when it is dropped without [`Step::done`].
pub(crate) struct Step {
    what: String,
    start: Instant,
    bar: Option<ProgressBar>,
    finished: bool,
}

impl Step {
    /// Begins a step and names the file that its details are written to.
    pub(crate) fn logged(what: impl Into<String>, log: &Path) -> Self {
        Self::begin(format!("{} (log: {})", what.into(), log.display()))
    }

    /// Begins a step.
    pub(crate) fn begin(what: impl Into<String>) -> Self {
        let what = what.into();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner().with_message(what.clone());
            if let Ok(style) = ProgressStyle::with_template("{spinner} [{elapsed_precise}] {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if bar.is_none() {
            eprintln!("[     ...] {what}");
        }
        Self { what, start: Instant::now(), bar, finished: false }
    }

    /// Ends the step well.
    pub(crate) fn done(self) {
        self.end("done");
    }

    /// Ends the step well and says what came of it.
    pub(crate) fn end(mut self, outcome: impl Display) {
        self.finished = true;
        self.print(&outcome);
    }

    fn print(&self, outcome: &dyn Display) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("[{:7.1}s] {}: {outcome}", self.start.elapsed().as_secs_f64(), self.what);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.finished {
            self.print(&"failed");
        }
    }
}
