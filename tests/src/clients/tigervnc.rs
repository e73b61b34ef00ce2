//! TigerVNC's viewer, of Debian's `tigervnc-viewer`, in a window of an X server without a screen.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{MOMENT, Person, Running, password_file};
use crate::vnc::Screen;

/// The X server's screen, which is larger than what is shown.
const SIZE: &str = "1280x1024x24";
const LIMIT: Duration = Duration::from_secs(60);

/// The viewer and its X server.
#[derive(Debug)]
pub struct TigerVnc {
    viewer: Running,
    _server: Running,
    display: String,
    /// The window.
    window: String,
    log: PathBuf,
    /// Where the X server keeps its screen.
    screen: PathBuf,
}

impl TigerVnc {
    /// Opens a window. `None`: it is not let in.
    pub fn open(port: u16, password: &str, folder: &Path) -> Result<Option<Self>> {
        // Two that look for a free number at the same time may take the same one.
        static STARTS: Mutex<()> = Mutex::new(());
        let turn = STARTS.lock().unwrap_or_else(PoisonError::into_inner);
        let mut server = Command::new("Xvfb")
            // It would begin anew, and let nobody in meanwhile, whenever its last program leaves.
            .arg("-noreset")
            .args(["-displayfd", "1", "-screen", "0", SIZE, "-nolisten", "tcp", "-fbdir"])
            .arg(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start Xvfb")?;
        let mut line = String::new();
        BufReader::new(server.stdout.take().context("no standard output")?).read_line(&mut line)?;
        let display = format!(":{}", line.trim());
        let server = Running(server);
        drop(turn);
        let log = folder.join("tigervnc.log");
        let viewer = Command::new("xtigervncviewer")
            .env("DISPLAY", &display)
            .args(["-SecurityTypes", "VncAuth", "-AlertOnFatalError=0", "-ReconnectOnError=0"])
            // It asks for another size.
            .arg("-DesktopSize=1000x700")
            .arg("-passwd")
            .arg(password_file(password, folder)?)
            .arg(format!("127.0.0.1::{port}"))
            .stderr(fs::File::create(&log)?)
            .spawn()
            .context("cannot start xtigervncviewer")?;
        let mut tiger = Self {
            viewer: Running(viewer),
            _server: server,
            display,
            window: String::new(),
            screen: folder.join("Xvfb_screen0"),
            log,
        };
        let start = Instant::now();
        loop {
            if let Some(window) = tiger.x(&["search", "--onlyvisible", "--name", "TigerVNC"])?.lines().next() {
                tiger.window = window.to_owned();
                return Ok(Some(tiger));
            }
            if tiger.viewer.0.try_wait()?.is_some() {
                let said = tiger.said()?;
                ensure!(said.contains("Authentication failure"), "TigerVNC has ended:\n{said}");
                return Ok(None);
            }
            ensure!(start.elapsed() < LIMIT, "TigerVNC opens no window; see {}", tiger.log.display());
            thread::sleep(MOMENT);
        }
    }

    /// What it has logged.
    pub fn said(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// What xdotool answers.
    fn x(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("xdotool");
        let output = command.env("DISPLAY", &self.display).args(words).output().context("cannot start xdotool")?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Corner and size of the window, which has the size of the remote screen.
    fn place(&self) -> Result<[usize; 4]> {
        let said = self.x(&["getwindowgeometry", "--shell", &self.window])?;
        let number = |name: &str| {
            let value = said.lines().find_map(|line| line.strip_prefix(name)).context("no geometry")?;
            value.parse().context("no geometry")
        };
        Ok([number("X=")?, number("Y=")?, number("WIDTH=")?, number("HEIGHT=")?])
    }
}

impl Person for TigerVnc {
    /// Source: X11/XWDFile.h: a header of numbers of 32 bits, the most significant byte first, then a colour table with
    /// entries of 12 bytes, then the lines.
    fn picture(&mut self) -> Result<Screen> {
        let [left, top, width, height] = self.place()?;
        let dump = fs::read(&self.screen)?;
        let field = |index: usize| {
            let bytes = dump.get(index * 4..index * 4 + 4).context("the X server's screen is too short")?;
            Ok::<usize, anyhow::Error>(u32::from_be_bytes(bytes.try_into()?) as usize)
        };
        let (header, line_length, colors) = (field(0)?, field(12)?, field(19)?);
        let lines = dump.get(header + colors * 12..).context("no lines")?;
        ensure!(field(11)? == 32, "the X server has not 32 bits for a pixel");
        let mut pixels = Vec::with_capacity(width * height);
        for line in lines.chunks_exact(line_length).skip(top).take(height) {
            let (line, _) = line.as_chunks::<4>();
            pixels.extend(line.iter().skip(left).take(width).map(|pixel| u32::from_le_bytes(*pixel) & 0x00ff_ffff));
        }
        Ok(Screen { width: u32::try_from(width)?, height: u32::try_from(height)?, pixels })
    }

    fn type_line(&mut self, text: &str) -> Result<()> {
        self.x(&["windowfocus", "--sync", &self.window, "type", "--delay", "100", text])?;
        self.x(&["key", "Return"]).map(drop)
    }

    /// Without a window manager it tells of movements when a button is pressed: it clicks at each place.
    fn point(&mut self, places: &[(u16, u16)]) -> Result<()> {
        for (x, y) in places {
            self.x(&["mousemove", "--window", &self.window, &x.to_string(), &y.to_string(), "click", "1"])?;
            thread::sleep(MOMENT);
        }
        Ok(())
    }
}
