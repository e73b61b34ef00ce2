//! vncdotool, a Python program, from PyPI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{MOMENT, Person, Running};
use crate::vnc::Screen;

/// The release that is used.
const RELEASE: &str = "vncdotool==1.4.2";

/// How long it may take until it is connected, and until it sees what others see already.
const LIMIT: Duration = Duration::from_secs(60);

/// vncdotool for a server.
#[derive(Debug)]
pub struct Vncdotool {
    program: PathBuf,
    server: String,
    password: String,
    picture: PathBuf,
}

/// One that stays until the screen is as in a picture.
#[derive(Debug)]
pub struct Watcher {
    program: Running,
    picture: PathBuf,
}

impl Vncdotool {
    /// Installs it in a folder of its own, if it is not there.
    pub fn install(tools: &Path, port: u16, password: &str, folder: &Path) -> Result<Self> {
        // Testbeds run side by side.
        static INSTALLING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
        let home = tools.join(RELEASE.replace("==", "-"));
        let program = home.join("bin/vncdo");
        if !program.exists() {
            let run = |command: &mut Command| {
                let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
                ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
                anyhow::Ok(())
            };
            run(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
            run(Command::new(home.join("bin/pip")).args(["install", "--quiet", RELEASE]))?;
        }
        Ok(Self {
            program,
            server: format!("127.0.0.1::{port}"),
            password: password.to_owned(),
            picture: folder.join("vncdotool.png"),
        })
    }

    fn perform(&self, password: &str, words: &[String]) -> Result<bool> {
        let mut command = Command::new(&self.program);
        let output = command.args(["-t", "60", "-s", &self.server, "-p", password]).args(words).output()?;
        Ok(output.status.success())
    }

    /// Whether it is let in with a password.
    pub fn is_let_in(&self, password: &str) -> Result<bool> {
        self.perform(password, &["pause".to_owned(), "0.1".to_owned()])
    }

    /// Connects, and waits until the screen is as in a picture, a PNG file. Gives what it sees now, too.
    pub fn watch(&self, expected: &Path) -> Result<(Screen, Watcher)> {
        let [before, after] = ["before", "after"].map(|name| self.picture.with_extension(format!("{name}.png")));
        let mut command = Command::new(&self.program);
        command.args(["-s", &self.server, "-p", &self.password, "capture"]).arg(&before);
        command.arg("expect").arg(expected).args(["0", "capture"]).arg(&after);
        let mut program = Running(command.stderr(Stdio::null()).spawn()?);
        let end = Instant::now() + LIMIT;
        loop {
            // The file is there before all of the picture is in it.
            if let Some(screen) = fs::read(&before).ok().and_then(|bytes| Screen::from_png(&bytes).ok()) {
                return Ok((screen, Watcher { program, picture: after }));
            }
            ensure!(program.0.try_wait()?.is_none(), "vncdotool has ended");
            ensure!(Instant::now() < end, "vncdotool takes no picture");
            thread::sleep(MOMENT);
        }
    }

    fn succeed(&self, words: &[String]) -> Result<()> {
        ensure!(self.perform(&self.password, words)?, "vncdotool fails to {words:?}");
        Ok(())
    }
}

impl Watcher {
    /// Waits until it has seen what it waits for. Gives what it sees then.
    pub fn picture(mut self) -> Result<Screen> {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.program.0.try_wait()? {
                ensure!(status.success(), "vncdotool ended with {status}");
                return Screen::from_png(&fs::read(&self.picture)?);
            }
            ensure!(Instant::now() < end, "vncdotool does not see what it waits for");
            thread::sleep(MOMENT);
        }
    }
}

impl Person for Vncdotool {
    fn picture(&mut self) -> Result<Screen> {
        self.succeed(&["capture".to_owned(), self.picture.display().to_string()])?;
        Screen::from_png(&fs::read(&self.picture)?)
    }

    fn type_line(&mut self, text: &str) -> Result<()> {
        self.succeed(&["type", text, "key", "enter"].map(str::to_owned))
    }

    fn point(&mut self, places: &[(u16, u16)]) -> Result<()> {
        let go = |(x, y): &(u16, u16)| ["move".to_owned(), x.to_string(), y.to_string(), "pause".into(), "0.3".into()];
        let words: Vec<String> = places.iter().flat_map(go).chain(["click".to_owned(), "1".to_owned()]).collect();
        self.succeed(&words)
    }
}
