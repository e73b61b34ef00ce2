//! GTK-VNC's gvnccapture, of Debian's `gvncviewer`.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::vnc::Screen;

/// How long it takes until it asks for the password.
const ASKING: Duration = Duration::from_secs(2);

/// Takes a picture. `None`: it is not let in.
pub fn gvnccapture(port: u16, password: &str, folder: &Path) -> Result<Option<Screen>> {
    let picture = folder.join("gvnccapture.png");
    let display = port.checked_sub(5900).context("gvnccapture knows displays only")?;
    // It wants to be typed to.
    let line = format!("gvnccapture 127.0.0.1:{display} '{}'", picture.display());
    let mut child = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start script")?;
    let mut keys = child.stdin.take().context("no standard input")?;
    thread::sleep(ASKING);
    keys.write_all(format!("{password}\n").as_bytes())?;
    let status = child.wait()?;
    if !status.success() {
        return Ok(None);
    }
    Screen::from_png(&fs::read(&picture)?).map(Some)
}
