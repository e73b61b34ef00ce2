//! Viewers that somebody else wrote.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::vnc::Screen;

/// A viewer on libvncclient, of Debian's `libvncserver-dev`.
#[derive(Debug)]
pub struct LibVncClient {
    program: PathBuf,
}

impl LibVncClient {
    /// Builds it.
    pub fn build(folder: &Path) -> Result<Self> {
        let program = folder.join("vncclient");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/testbed/vncclient.c");
        let output = Command::new("cc").args(["-o"]).arg(&program).args([source, "-lvncclient"]).output();
        let output = output.context("cannot start cc")?;
        ensure!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self { program })
    }

    /// Takes a picture with this encoding. `None`: it is not let in.
    pub fn picture(&self, port: u16, password: &str, encoding: &str) -> Result<Option<Screen>> {
        let output = Command::new(&self.program).args([&port.to_string(), password, encoding]).output()?;
        match output.status.code() {
            Some(0) => {}
            Some(2) => return Ok(None),
            code => bail!("libvncclient ended with {code:?}, encoding {encoding}"),
        }
        let end = output.stdout.iter().position(|byte| *byte == b'\n').context("libvncclient said nothing")?;
        let (size, pixels) = output.stdout.split_at(end);
        let size = String::from_utf8_lossy(size);
        let (width, height) = size.split_once(' ').context("no size")?;
        let (pixels, _) = pixels[1..].as_chunks::<3>();
        let pixels = pixels.iter().map(|[red, green, blue]| u32::from_be_bytes([0, *red, *green, *blue])).collect();
        Ok(Some(Screen { width: width.parse()?, height: height.parse()?, pixels }))
    }
}

/// Whether vncsnapshot, of Debian's package of this name, can take a picture. It makes a JPEG file of it, which is only looked
/// at for its size.
pub fn vncsnapshot(port: u16, password: &str, folder: &Path) -> Result<()> {
    let (secret, picture) = (folder.join("password"), folder.join("vncsnapshot.jpg"));
    std::fs::write(&secret, obscured(password))?;
    let output = Command::new("vncsnapshot")
        .arg("-passwd")
        .args([&secret])
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

/// A password as files of VNC programs have it: encrypted with a key that everybody knows.
fn obscured(password: &str) -> [u8; 8] {
    use des::cipher::{BlockCipherEncrypt as _, KeyInit as _};
    const KEY: [u8; 8] = [23, 82, 107, 6, 35, 78, 88, 7];
    let mut block = [0; 8];
    for (byte, letter) in block.iter_mut().zip(password.bytes()) {
        *byte = letter;
    }
    let mut block = block.into();
    des::Des::new(&KEY.map(u8::reverse_bits).into()).encrypt_block(&mut block);
    block.into()
}
