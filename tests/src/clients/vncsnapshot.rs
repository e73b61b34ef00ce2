//! vncsnapshot, of Debian's package of this name.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::password_file;

/// Whether it can take a picture. It makes a JPEG file of it, which is only looked at for its size.
pub fn vncsnapshot(port: u16, password: &str, folder: &Path) -> Result<()> {
    let picture = folder.join("vncsnapshot.jpg");
    let output = Command::new("vncsnapshot")
        .arg("-passwd")
        .arg(password_file(password, folder)?)
        .arg(format!("127.0.0.1::{port}"))
        .arg(&picture)
        .output()
        .context("cannot start vncsnapshot")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "vncsnapshot: {said}");
    ensure!(said.contains("1024x768"), "vncsnapshot has a picture of another size: {said}");
    ensure!(std::fs::metadata(&picture)?.len() > 20_000, "there is nothing in {}", picture.display());
    Ok(())
}
