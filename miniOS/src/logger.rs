//! The sink of the `log` crate: console 0, each line with the seconds since the start.
//!
//! `loglevel=` on the command line is `off`, `error`, `warn`, `info` (the default), `debug` or `trace`.

use crate::{clock, console};
use core::fmt::{self, Write};
use log::{Level, LevelFilter, Log, Metadata, Record};

struct Logger;

static LOGGER: Logger = Logger;

/// Starts to log, at the level that the command line names.
pub(crate) fn begin(level: Option<&str>) {
    let known = level.map(str::parse::<LevelFilter>);
    log::set_max_level(match known {
        Some(Ok(level)) => level,
        Some(Err(_)) | None => LevelFilter::Info,
    });
    // It is set once; a second call would change nothing.
    let _: Result<(), log::SetLoggerError> = log::set_logger(&LOGGER);
    if let Some(Err(_)) = known {
        log::warn!("loglevel={} is not off, error, warn, info, debug or trace; using info", level.unwrap_or(""));
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut line = Line { text: heapless::String::new() };
        let _: fmt::Result = format(&mut line, clock::now().0, record.level(), record.args());
        line.flush();
    }

    fn flush(&self) {}
}

fn format(out: &mut impl Write, nanoseconds: u64, level: Level, message: &fmt::Arguments<'_>) -> fmt::Result {
    let (seconds, microseconds) = (nanoseconds / 1_000_000_000, nanoseconds / 1000 % 1_000_000);
    let label = match level {
        Level::Error => "error: ",
        Level::Warn => "warning: ",
        Level::Info => "",
        Level::Debug => "debug: ",
        Level::Trace => "trace: ",
    };
    writeln!(out, "[{seconds:3}.{microseconds:06}] {label}{message}")
}

/// Gathers a line, so that the console is asked once.
struct Line {
    text: heapless::String<256>,
}

impl Line {
    fn flush(&mut self) {
        console::write(&self.text);
        self.text.clear();
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.text.push_str(text).is_err() {
            self.flush();
            if self.text.push_str(text).is_err() {
                console::write(text);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    #[test]
    fn lines_begin_with_seconds_and_microseconds() {
        let mut out = String::new();
        format(&mut out, 12_034_567_890, Level::Warn, &format_args!("careful")).expect("a string takes everything");
        assert_eq!(out, "[ 12.034567] warning: careful\n");
    }
}
