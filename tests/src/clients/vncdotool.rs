//! vncdotool, a Python program, from PyPI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use super::Person;
use crate::vnc::Screen;

/// The release that is used.
const RELEASE: &str = "vncdotool==1.4.2";

/// vncdotool for a server.
#[derive(Debug)]
pub struct Vncdotool {
    program: PathBuf,
    server: String,
    password: String,
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

    fn succeed(&self, words: &[String]) -> Result<()> {
        ensure!(self.perform(&self.password, words)?, "vncdotool fails to {words:?}");
        Ok(())
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
