//! GTK-VNC: its gvnccapture, of Debian's `gvncviewer`, and a viewer on its library, of `libgvnc-1.0-dev`, that also says what
//! the server tells it beside pixels.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::{MOMENT, Person, Running, compile, screen_of};
use crate::vnc::Screen;

/// How long it may take until it says what is waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// A viewer on libgvnc. `testbed/gvncclient.c` says what it says and does.
#[derive(Debug)]
pub struct GvncClient {
    _program: Running,
    orders: ChildStdin,
    said: Receiver<String>,
    /// What it has said so far, to be told in an error.
    heard: Vec<String>,
    /// Where it writes pictures.
    picture: PathBuf,
}

impl GvncClient {
    /// Builds and starts it. `None`: it is not let in.
    pub fn open(port: u16, password: &str, folder: &Path) -> Result<Option<Self>> {
        let flags = Command::new("pkg-config").args(["--cflags", "--libs", "gvnc-1.0"]).output();
        let flags = String::from_utf8(flags.context("cannot start pkg-config")?.stdout)?;
        let program = compile("gvncclient", &flags.split_whitespace().collect::<Vec<_>>(), folder)?;
        let mut command = Command::new(program);
        command.args([&port.to_string(), password]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = command.spawn()?;
        let orders = program.stdin.take().context("no standard input")?;
        let lines = BufReader::new(program.stdout.take().context("no standard output")?).lines();
        let (speaker, said) = channel();
        // It ends with the program, or when nobody listens.
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| speaker.send(line)));
        let picture = folder.join("gvncclient.picture");
        let mut client = Self { _program: Running(program), orders, said, heard: Vec::new(), picture };
        let is_let_in = client.wait_for_one_of(&["ready", "refused"])? == "ready";
        Ok(is_let_in.then_some(client))
    }

    /// Gives it an order.
    pub fn tell(&mut self, order: &str) -> Result<()> {
        Ok(writeln!(self.orders, "{order}")?)
    }

    /// Waits until it says this line; what it has said before does not count.
    pub fn wait_for(&mut self, line: &str) -> Result<()> {
        self.wait_for_one_of(&[line]).map(drop)
    }

    /// The same with more than one line. Gives the one that it says.
    fn wait_for_one_of(&mut self, lines: &[&str]) -> Result<String> {
        let end = Instant::now() + LIMIT;
        loop {
            let rest = end.saturating_duration_since(Instant::now());
            let said = self.said.recv_timeout(rest);
            let said = said.map_err(|_| anyhow!("libgvnc says none of {lines:?}, but {:?}", self.heard))?;
            ensure!(said != "end", "libgvnc's connection has ended; it said {:?}", self.heard);
            self.heard.push(said.clone());
            if lines.contains(&said.as_str()) {
                return Ok(said);
            }
        }
    }
}

impl Person for GvncClient {
    fn picture(&mut self) -> Result<Screen> {
        self.tell(&format!("picture {}", self.picture.display()))?;
        self.wait_for("written")?;
        screen_of(&fs::read(&self.picture)?)
    }

    fn type_line(&mut self, text: &str) -> Result<()> {
        const RETURN: u32 = 0xff0d;
        let keys = text.chars().map(u32::from).chain([RETURN]);
        keys.flat_map(|key| ["press", "release"].map(|word| format!("{word} {key}")))
            .try_for_each(|order| self.tell(&order))
    }

    fn point(&mut self, places: &[(u16, u16)]) -> Result<()> {
        for (x, y) in places {
            self.tell(&format!("point {x} {y}"))?;
            thread::sleep(MOMENT);
        }
        self.tell("click")
    }
}

/// Takes a picture. `None`: it is not let in.
pub fn gvnccapture(port: u16, password: &str, folder: &Path) -> Result<Option<Screen>> {
    let picture = folder.join("gvnccapture.png");
    let display = port.checked_sub(5900).context("gvnccapture knows displays only")?;
    // It wants to be typed to.
    let line = format!("gvnccapture 127.0.0.1:{display} '{}'", picture.display());
    let mut child = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start script")?;
    let mut keys = child.stdin.take().context("no standard input")?;
    let mut words = child.stdout.take().context("no standard output")?;
    let (mut said, mut byte) = (Vec::new(), [0]);
    while !said.ends_with(b"Password: ") && words.read(&mut byte)? > 0 {
        said.extend(byte);
    }
    // It asks before it is ready to be answered.
    thread::sleep(MOMENT);
    keys.write_all(format!("{password}\n").as_bytes())?;
    words.read_to_end(&mut said)?;
    let status = child.wait()?;
    if !status.success() {
        return Ok(None);
    }
    Screen::from_png(&fs::read(&picture)?).map(Some)
}
