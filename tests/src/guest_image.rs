//! Disk images of the test guests in `tests/guests`: building the program, putting a command line into it, the disks
//! beside it, and reading what the guest says.
//!
//! The program is one flat image that starts with its boot sector; it is built once, and the command line in its second
//! sector says what it does.

use anyhow::{Context, Result, bail, ensure};
use guests::layout::{
    BOOT_COUNT_LBA, COMMAND_LINE_BYTES, COMMAND_LINE_OFFSET, IMAGE_BASE, SCRATCH_LBA, SCRATCH_SECTORS, SMALLEST_DISK,
};
use guests::pattern;
use object::{Object, ObjectSegment};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::process::Command;

/// The target that the program is built for.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What the code generator has to be told: addresses are final, and interrupts may use the stack.
const FLAGS: &str = "target.x86_64-unknown-linux-gnu.rustflags=['-Crelocation-model=static','-Cno-redzone=yes']";

/// The test guests' program, without a command line.
#[derive(Clone, Debug)]
pub struct GuestProgram {
    image: Vec<u8>,
}

impl GuestProgram {
    /// Builds the program with cargo; output goes below `target`.
    ///
    /// # Errors
    /// Cargo cannot be started or fails, or what it built is no guest.
    pub fn build(workspace: &Path, target: &Path) -> Result<Self> {
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .current_dir(workspace)
            .args(["build", "--quiet", "--release", "--package", "guests", "--bin", "guest"])
            .args(["--target", TARGET, "--config", FLAGS, "--target-dir"])
            .arg(target)
            .status()
            .context("starting cargo")?;
        ensure!(status.success(), "cargo could not build the test guests: {status}");
        let path = target.join(TARGET).join("release/guest");
        let elf = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        Self::from_elf(&elf).with_context(|| format!("in {}", path.display()))
    }

    /// Takes the program out of the file that the linker wrote.
    ///
    /// # Errors
    /// The file is no ELF file, or not one that [`IMAGE_BASE`] starts.
    pub fn from_elf(elf: &[u8]) -> Result<Self> {
        let file = object::File::parse(elf)?;
        let mut image = None;
        for segment in file.segments() {
            let data = segment.data()?;
            if !data.is_empty() {
                ensure!(segment.address() == IMAGE_BASE, "a segment with data at {:#x}", segment.address());
                ensure!(image.replace(data.to_vec()).is_none(), "two segments with data");
            }
        }
        let image = image.context("no segment with data")?;
        ensure!(image.get(510..512) == Some(&[0x55, 0xaa]), "no boot sector");
        ensure!(image.len() as u64 <= BOOT_COUNT_LBA * 512, "the program reaches into the sectors for data");
        Ok(Self { image })
    }

    /// Writes a bootable disk of `bytes` bytes, at least [`SMALLEST_DISK`], with this command line.
    ///
    /// # Errors
    /// The command line does not fit, the disk is too small, or the file cannot be written.
    pub fn write_disk(&self, path: &Path, command_line: &str, bytes: u64) -> Result<()> {
        ensure!(bytes >= SMALLEST_DISK && bytes.is_multiple_of(512), "a disk of {bytes} bytes");
        let image = self.with_command_line(command_line)?;
        let write = || {
            let mut file = File::create(path)?;
            file.write_all(&image)?;
            file.set_len(bytes)
        };
        write().with_context(|| format!("writing {}", path.display()))
    }

    fn with_command_line(&self, command_line: &str) -> Result<Vec<u8>> {
        // A zero byte ends it.
        ensure!(command_line.len() < COMMAND_LINE_BYTES, "a command line of {} bytes", command_line.len());
        let mut image = self.image.clone();
        let room = image.get_mut(COMMAND_LINE_OFFSET..COMMAND_LINE_OFFSET + COMMAND_LINE_BYTES);
        let room = room.context("an image of one sector")?;
        room.fill(0);
        room[..command_line.len()].copy_from_slice(command_line.as_bytes());
        Ok(image)
    }
}

/// Writes a disk for the case `disks`: the pattern of `seed` in the scratch area and in the last sector.
///
/// # Errors
/// The disk is too small, or the file cannot be written.
pub fn write_pattern_disk(path: &Path, seed: u64, sectors: u64) -> Result<()> {
    ensure!(sectors * 512 >= SMALLEST_DISK, "a disk of {sectors} sectors");
    let write = || {
        let mut file = File::create(path)?;
        file.set_len(sectors * 512)?;
        for range in [SCRATCH_LBA..SCRATCH_LBA + SCRATCH_SECTORS, sectors - 1..sectors] {
            let mut data = Vec::new();
            file.seek(SeekFrom::Start(range.start * 512))?;
            for lba in range {
                let mut sector = [0; 512];
                pattern::sector(seed, lba, &mut sector);
                data.extend_from_slice(&sector);
            }
            file.write_all(&data)?;
        }
        Ok::<_, std::io::Error>(())
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Checks that sectors of an image hold the pattern of `seed`, as the case `persist` writes it.
///
/// # Errors
/// The image cannot be read, or a sector, which is named, differs.
pub fn check_pattern(path: &Path, seed: u64, sectors: Range<u64>) -> Result<()> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    file.seek(SeekFrom::Start(sectors.start * 512))?;
    for lba in sectors {
        let mut sector = [0; 512];
        file.read_exact(&mut sector)?;
        ensure!(pattern::sector_matches(seed, lba, &sector), "sector {lba} of {} differs", path.display());
    }
    Ok(())
}

/// One line that a guest printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestLine {
    /// A check passed.
    Pass(String),
    /// A check failed: its name, and why.
    Fail(String, String),
    /// A figure: its name, the number, its unit.
    Value(String, u64, String),
    /// The guest waits for the suite, within the case of this name.
    Ready(String),
    /// Every case has ended.
    Done,
    /// Anything else: what a case says by itself.
    Other(String),
}

impl GuestLine {
    /// Takes a line apart.
    #[must_use]
    pub fn parse(line: &str) -> Self {
        let line = line.trim();
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match *words.as_slice() {
            ["DONE"] => Self::Done,
            ["PASS", name] => Self::Pass(name.into()),
            ["READY", name] => Self::Ready(name.into()),
            ["FAIL", name, ..] => {
                let why = line.split_once(": ").map_or("", |(_, why)| why);
                Self::Fail(name.trim_end_matches(':').into(), why.into())
            }
            ["VALUE", name, number, unit] => match number.parse() {
                Ok(number) => Self::Value(name.into(), number, unit.into()),
                Err(_) => Self::Other(line.into()),
            },
            _ => Self::Other(line.into()),
        }
    }
}

/// Judges the whole output of a guest: it came to its end, and nothing failed. Gives the number of checks that passed.
///
/// # Errors
/// Every line that failed, or what is missing.
pub fn judge(output: &str) -> Result<usize> {
    let lines: Vec<GuestLine> = output.lines().map(GuestLine::parse).collect();
    let failures: Vec<String> = lines
        .iter()
        .filter_map(|line| match line {
            GuestLine::Fail(name, why) => Some(format!("{name}: {why}")),
            _ => None,
        })
        .collect();
    if !failures.is_empty() {
        bail!("the guest says: {}", failures.join("; "));
    }
    ensure!(lines.contains(&GuestLine::Done), "the guest did not come to its end");
    let passed = lines.iter().filter(|line| matches!(line, GuestLine::Pass(_))).count();
    ensure!(passed > 0, "the guest checked nothing");
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        assert_eq!(GuestLine::parse("PASS pio-chs\r"), GuestLine::Pass("pio-chs".into()));
        assert_eq!(GuestLine::parse("FAIL a: b: c"), GuestLine::Fail("a".into(), "b: c".into()));
        assert_eq!(GuestLine::parse("VALUE port-0x64 51 ns"), GuestLine::Value("port-0x64".into(), 51, "ns".into()));
        assert_eq!(GuestLine::parse("VALUE x many ns"), GuestLine::Other("VALUE x many ns".into()));
        assert_eq!(GuestLine::parse("SCAN 1e"), GuestLine::Other("SCAN 1e".into()));
    }

    #[test]
    fn a_guest_that_does_not_end_or_checks_nothing_has_failed() {
        assert_eq!(judge("BOOT\nPASS a\nDONE\n").ok(), Some(1));
        assert!(judge("BOOT\nPASS a\n").is_err());
        assert!(judge("BOOT\nDONE\n").is_err());
        assert!(judge("PASS a\nFAIL b: c\nDONE\n").is_err());
    }

    #[test]
    fn the_command_line_goes_into_the_second_sector() {
        let program = GuestProgram { image: vec![0xff; 2048] };
        let image = program.with_command_line("run=idle").expect("it fits");
        assert_eq!(&image[512..521], b"run=idle\0");
        assert_eq!((image[511], image[1023], image[1024]), (0xff, 0, 0xff));
        assert!(program.with_command_line(&"x".repeat(512)).is_err());
    }

    #[test]
    fn a_file_that_is_no_program_is_refused() {
        assert!(GuestProgram::from_elf(b"not an ELF file").is_err());
    }
}
