//! Linux kernels as firmware starts them, and the ELF file that is in one, which a paravirtualised domain begins with.
//!
//! Source: Linux `Documentation/arch/x86/boot.rst`.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};

/// Offsets of the header: its mark, sectors of code for real mode less one, where the payload is behind that, and how long.
const MARK: usize = 0x202;
const SETUP_SECTORS: usize = 0x1f1;
const PAYLOAD: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// The ELF file in a kernel.
pub(crate) fn elf(kernel: &[u8]) -> Result<Vec<u8>> {
    ensure!(kernel.get(MARK..MARK + 4) == Some(b"HdrS"), "this is no Linux kernel");
    let number = |at: usize| {
        let bytes = kernel.get(at..at + 4).context("the kernel is cut off")?;
        anyhow::Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    let start = (usize::from(kernel[SETUP_SECTORS]) + 1) * 512 + number(PAYLOAD)?;
    let payload = kernel.get(start..start + number(PAYLOAD_LENGTH)?).context("the kernel is cut off")?;
    let program = match payload {
        [0xfd, b'7', b'z', ..] => "xz",
        [0x1f, 0x8b, ..] => "gzip",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        _ => bail!("the kernel is packed in an unknown way: {:x?}", payload.get(..4)),
    };
    let mut command = Command::new(program);
    command.args(["--decompress", "--stdout"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    let mut input = child.stdin.take().context("no standard input")?;
    // What follows the end of the packed data it does not like, after it has written everything.
    let output = thread::scope(|scope| {
        scope.spawn(move || input.write_all(payload));
        child.wait_with_output()
    })?;
    ensure!(output.stdout.starts_with(b"\x7fELF"), "there is no ELF file in the kernel");
    Ok(output.stdout)
}
