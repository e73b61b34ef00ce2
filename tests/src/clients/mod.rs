//! Viewers that somebody else wrote, for this machine to look through at a screen in the testbed.

mod gtk_vnc;
mod libvncclient;
mod novnc;
mod tigervnc;
mod vncdotool;
mod vncsnapshot;

pub use gtk_vnc::{GvncClient, gvnccapture};
pub use libvncclient::LibVncClient;
pub use novnc::NoVnc;
pub use tigervnc::TigerVnc;
pub use vncdotool::Vncdotool;
pub use vncsnapshot::vncsnapshot;

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context as _, Result, ensure};

use crate::vnc::Screen;

/// Somebody at a viewer.
pub trait Person {
    /// What the viewer shows.
    fn picture(&mut self) -> Result<Screen>;

    /// Types letters and digits, and Enter.
    fn type_line(&mut self, text: &str) -> Result<()>;

    /// Moves the pointer from place to place, and clicks at the last.
    fn point(&mut self, places: &[(u16, u16)]) -> Result<()>;
}

/// Time at each place.
const MOMENT: std::time::Duration = std::time::Duration::from_millis(300);

/// A program that ends with this.
#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Builds a program of one file in `testbed/` with these arguments of the compiler.
fn compile(name: &str, libraries: &[&str], folder: &Path) -> Result<PathBuf> {
    let program = folder.join(name);
    let source = format!(concat!(env!("CARGO_MANIFEST_DIR"), "/testbed/{}.c"), name);
    let output = Command::new("cc").arg("-o").arg(&program).arg(&source).args(libraries).output();
    let output = output.context("cannot start cc")?;
    ensure!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(program)
}

/// A picture as the viewers of this project write it: width, a space, height, a line feed, then red, green and blue of each pixel.
fn screen_of(bytes: &[u8]) -> Result<Screen> {
    let end = bytes.iter().position(|byte| *byte == b'\n').context("the viewer wrote no picture")?;
    let (size, pixels) = bytes.split_at(end);
    let size = String::from_utf8_lossy(size);
    let (width, height) = size.split_once(' ').context("no size")?;
    let (pixels, _) = pixels[1..].as_chunks::<3>();
    let pixels = pixels.iter().map(|[red, green, blue]| u32::from_be_bytes([0, *red, *green, *blue])).collect();
    Ok(Screen { width: width.parse()?, height: height.parse()?, pixels })
}

/// A file with a password as VNC programs have it: encrypted with a key that everybody knows.
fn password_file(password: &str, folder: &Path) -> Result<PathBuf> {
    use des::cipher::{BlockCipherEncrypt as _, KeyInit as _};
    const KEY: [u8; 8] = [23, 82, 107, 6, 35, 78, 88, 7];
    let mut block = [0; 8];
    for (byte, letter) in block.iter_mut().zip(password.bytes()) {
        *byte = letter;
    }
    let mut block = block.into();
    des::Des::new(&KEY.map(u8::reverse_bits).into()).encrypt_block(&mut block);
    let file = folder.join(format!("password-{password}"));
    std::fs::write(&file, block)?;
    Ok(file)
}
