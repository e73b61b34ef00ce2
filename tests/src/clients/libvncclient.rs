//! libvncclient, of Debian's `libvncserver-dev`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use super::{Person, compile, screen_of};
use crate::vnc::Screen;

/// A viewer on it.
#[derive(Debug)]
pub struct LibVncClient {
    program: PathBuf,
    port: u16,
    password: String,
}

/// One that stays until it is asked for its picture.
#[derive(Debug)]
pub struct Follower(Child);

impl LibVncClient {
    /// Builds it.
    pub fn build(port: u16, password: &str, folder: &Path) -> Result<Self> {
        let program = compile("vncclient", &["-lvncclient"], folder)?;
        Ok(Self { program, port, password: password.to_owned() })
    }

    fn command(&self, password: &str, encoding: &str, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args([&self.port.to_string(), password, encoding]).args(words);
        command
    }

    /// Takes a picture with this encoding. `None`: it is not let in.
    pub fn picture_by(&self, encoding: &str, password: &str) -> Result<Option<Screen>> {
        picture_of(&self.command(password, encoding, &[]).output()?)
    }

    /// Connects, and follows the screen with this encoding.
    pub fn follow(&self, encoding: &str) -> Result<Follower> {
        let mut command = self.command(&self.password, encoding, &["wait"]);
        Ok(Follower(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?))
    }
}

impl Follower {
    /// The picture that it has by now. Its standard input ends with the wait for it.
    pub fn picture(self) -> Result<Screen> {
        picture_of(&self.0.wait_with_output()?)?.context("libvncclient is not let in")
    }
}

fn picture_of(output: &Output) -> Result<Option<Screen>> {
    match output.status.code() {
        Some(0) => {}
        Some(2) => return Ok(None),
        code => bail!("libvncclient ended with {code:?}"),
    }
    screen_of(&output.stdout).map(Some)
}

impl Person for LibVncClient {
    fn picture(&mut self) -> Result<Screen> {
        self.picture_by("tight", &self.password)?.context("libvncclient is not let in")
    }

    fn type_line(&mut self, text: &str) -> Result<()> {
        let output = self.command(&self.password, "raw", &["type", text]).output()?;
        picture_of(&output)?.context("libvncclient is not let in").map(drop)
    }

    fn point(&mut self, places: &[(u16, u16)]) -> Result<()> {
        let words: Vec<String> =
            places.iter().flat_map(|(x, y)| ["point".into(), x.to_string(), y.to_string()]).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).chain(["click"]).collect();
        picture_of(&self.command(&self.password, "raw", &words).output()?)?
            .context("libvncclient is not let in")
            .map(drop)
    }
}
