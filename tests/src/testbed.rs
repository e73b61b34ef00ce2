//! A machine with a real Xen in it: QEMU runs Xen, Xen runs a Debian dom0, and an agent in dom0 does what it is told.
//!
//! The agent answers on a TCP port of dom0 that QEMU's user networking makes reachable on 127.0.0.1 of this machine, one
//! request per connection, so requests run side by side: `tests/agent` says what goes over the wire.
//! [`Testbed::forward`] makes anything that socat in dom0 can open reachable here: a TCP port, a pseudo-terminal, a program.
//!
//! Invariant: when a [`Testbed`] is dropped its QEMU is gone. It also goes when the thread that booted it ends.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;

/// The first process of dom0.
pub const DOM0_INIT: &str = include_str!("../testbed/dom0-init");
/// What sets up the disks of most test guests.
pub const BLOCK_QUICK: &str = include_str!("../testbed/block-quick");
/// The first process of the initial ramdisks of dom0 and of the default guest.
pub const INITRD_INIT: &str = include_str!("../testbed/initrd-init");

/// The port of dom0 that the agent listens on.
const AGENT_PORT: u16 = 7000;
/// Booting takes 10 to 35 seconds under emulation on an idle machine; a busy one is allowed ten times as much.
const BOOT_LIMIT: Duration = Duration::from_secs(300);
/// How long dom0 may take to write everything to its disks and go.
const POWER_OFF_LIMIT: Duration = Duration::from_secs(20);

/// The files that dom0 is booted from.
#[derive(Clone, Debug)]
pub struct Dom0 {
    /// Xen itself, a 32-bit multiboot file.
    pub xen: PathBuf,
    /// The kernel of dom0.
    pub kernel: PathBuf,
    /// The initial ramdisk of dom0.
    pub initrd: PathBuf,
    /// The root disk of dom0; what a boot writes to it is forgotten.
    pub disk: PathBuf,
}

/// The emulator that Xen runs on.
#[derive(Clone, Debug)]
pub struct Emulator {
    /// `qemu-system-x86_64`.
    pub program: PathBuf,
    /// Arguments that say where it finds its firmware.
    pub arguments: Vec<String>,
    /// Whether nested virtualization of this machine is used.
    pub kvm: bool,
}

/// How time passes in the testbed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// As on this machine.
    #[default]
    Wall,
    /// Two nanoseconds for each instruction on a single CPU, idle time skipped: measurements repeat within about one percent.
    Instructions,
}

/// A disk of dom0 besides its root disk.
#[derive(Clone, Debug)]
pub struct Disk {
    /// At most 20 characters; the disk is `/dev/testbed/NAME` in dom0.
    pub name: String,
    /// An image or a block device of this machine.
    pub file: PathBuf,
    /// How the image is written; dom0 sees the content.
    pub format: Format,
    /// What happens to writes.
    pub writes: Writes,
}

/// How a disk image is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As the disk itself.
    #[default]
    Raw,
    /// In QEMU's own format.
    Qcow2,
}

/// What happens to writes to a [`Disk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// They are kept in the file.
    Kept,
    /// They are seen until the testbed ends, and the file stays as it is.
    Forgotten,
    /// There are none.
    Refused,
}

/// Everything that a boot depends on.
#[derive(Clone, Debug)]
pub struct Options {
    /// What runs Xen.
    pub emulator: Emulator,
    /// What is booted.
    pub dom0: Dom0,
    /// Further disks.
    pub disks: Vec<Disk>,
    /// How time passes.
    pub clock: Clock,
    /// CPUs of the whole testbed; a single one where instructions are counted. Emulated, each takes one of this machine's
    /// for itself: with fewer there they wait for each other's locks, and all goes several times slower.
    pub cpus: usize,
    /// Memory of the whole testbed in MiB; dom0 has 1024 of them.
    pub memory: u32,
    /// The folder of `testbed.log`, the output of Xen and dom0, and of `qemu.log`, what QEMU has to say.
    pub logs: PathBuf,
}

/// What a program in dom0 did.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit status as a shell gives it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Whether the program said that all went well.
    pub fn success(&self) -> bool {
        self.status == 0
    }
}

/// A running testbed.
#[derive(Debug)]
pub struct Testbed {
    qemu: Child,
    agent: Agent,
    log: PathBuf,
    /// Held so that several people can share a small machine; see [`Testbed::boot`].
    _turn: Option<File>,
}

impl Testbed {
    /// Boots Xen and dom0, and returns when the agent answers.
    ///
    /// When the environment variable `TESTBED_LOCK` names a file, the testbed waits until no other one holds its lock.
    pub fn boot(options: &Options) -> Result<Self> {
        fs::create_dir_all(&options.logs).with_context(|| format!("cannot create {}", options.logs.display()))?;
        let turn = std::env::var_os("TESTBED_LOCK").map(take_turn).transpose()?;
        let log = options.logs.join("testbed.log");
        let port = free_port()?;
        let mut qemu = command(options, port)?.spawn().context("cannot start QEMU")?;
        let (ready, is_ready) = mpsc::channel();
        let output = qemu.stdout.take().context("QEMU has no standard output")?;
        let mut file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        thread::spawn(move || copy_console(output, &mut file, &ready));
        let testbed = Self { qemu, agent: Agent { port }, log, _turn: turn };
        match is_ready.recv_timeout(BOOT_LIMIT) {
            Ok(()) => {}
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("dom0 was not up after {} s; see {}", BOOT_LIMIT.as_secs(), testbed.log.display())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                bail!("the testbed ended before dom0 was up; see {} and qemu.log beside it", testbed.log.display())
            }
        }
        let hello = testbed.exec("echo hello")?;
        ensure!(hello.stdout == "hello\n", "the agent in dom0 does not answer as it should: {hello:?}");
        Ok(testbed)
    }

    /// The agent: a handle that other threads can have.
    pub fn agent(&self) -> Agent {
        self.agent
    }

    /// The output of Xen and dom0.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Runs a shell script in dom0 and waits for its end.
    pub fn exec(&self, script: &str) -> Result<Output> {
        self.agent.exec(script)
    }

    /// Runs a shell script in dom0; its output can be read while it runs.
    pub fn stream(&self, script: &str) -> Result<Stream> {
        self.agent.stream(script)
    }

    /// Writes a file in dom0, with the folders that lead to it. Zeros become holes.
    pub fn put(&self, path: &str, content: &[u8]) -> Result<()> {
        self.agent.put(path, content)
    }

    /// Reads a file of dom0.
    pub fn get(&self, path: &str) -> Result<Vec<u8>> {
        self.agent.get(path)
    }

    /// Makes a socat address of dom0 reachable on a port of this machine, which is returned.
    pub fn forward(&self, address: &str, port: u16) -> Result<u16> {
        self.agent.forward(address, port)
    }

    /// Whether QEMU still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.qemu.try_wait(), Ok(None))
    }

    /// Writes everything to the disks, powers off and waits for the end.
    pub fn shutdown(mut self) -> Result<()> {
        // The connection may well break before an answer comes: the power goes off.
        let _ = self.exec("sync; echo o >/proc/sysrq-trigger");
        let start = Instant::now();
        while self.is_running() {
            ensure!(start.elapsed() < POWER_OFF_LIMIT, "dom0 did not power off; see {}", self.log.display());
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        // Both fail when QEMU has ended by itself, which is what is wanted.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// The agent of a testbed. Its requests fail when the testbed is gone.
#[derive(Clone, Copy, Debug)]
pub struct Agent {
    port: u16,
}

impl Agent {
    /// Runs a shell script in dom0 and waits for its end.
    pub fn exec(self, script: &str) -> Result<Output> {
        self.exec_within(script, None)
    }

    /// The same, and an error when dom0 says nothing for so long.
    pub fn exec_within(self, script: &str, limit: Option<Duration>) -> Result<Output> {
        let connection = self.request("exec", None, script.as_bytes())?;
        connection.set_read_timeout(limit)?;
        let mut reader = BufReader::new(connection);
        let [status, out, err] = numbers(&mut reader).context("dom0 did not answer to exec")?;
        let stdout = text(&mut reader, out)?;
        let stderr = text(&mut reader, err)?;
        Ok(Output { status: i32::try_from(status)?, stdout, stderr })
    }

    /// Runs a shell script in dom0 that has to succeed, and returns its standard output.
    pub fn check(self, script: &str) -> Result<String> {
        let output = self.exec(script)?;
        ensure!(
            output.success(),
            "in dom0 `{}` ended with status {}: {}{}",
            script.trim(),
            output.status,
            output.stdout,
            output.stderr
        );
        Ok(output.stdout)
    }

    /// Runs a shell script in dom0; its output can be read while it runs.
    pub fn stream(self, script: &str) -> Result<Stream> {
        Ok(Stream { connection: self.request("stream", None, script.as_bytes())? })
    }

    /// Joins a socat address of dom0 to the returned stream, in both directions.
    pub fn open(self, address: &str) -> Result<Stream> {
        ensure!(!address.contains('\n'), "a socat address is one line: {address}");
        let mut connection = self.connect()?;
        writeln!(connection, "forward {address}")?;
        Ok(Stream { connection })
    }

    /// Writes a file in dom0, with the folders that lead to it. Zeros become holes.
    pub fn put(self, path: &str, content: &[u8]) -> Result<()> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(content)?;
        let mut reader = BufReader::new(self.request("put", Some(path), &gzip.finish()?)?);
        let [status] = numbers(&mut reader).context("dom0 did not answer to put")?;
        ensure!(status == 0, "dom0 cannot write {path}");
        Ok(())
    }

    /// Reads a file of dom0.
    pub fn get(self, path: &str) -> Result<Vec<u8>> {
        let mut connection = self.connect()?;
        writeln!(connection, "get {path}")?;
        let mut reader = BufReader::new(connection);
        let [status, length] = numbers(&mut reader).context("dom0 did not answer to get")?;
        ensure!(status == 0, "dom0 cannot read {path}");
        bytes(&mut reader, length)
    }

    /// Makes a socat address of dom0 reachable on a port of this machine, which is returned; 0 lets the system choose.
    /// Each connection opens the address anew.
    pub fn forward(self, address: &str, port: u16) -> Result<u16> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("cannot listen on port {port}"))?;
        let port = listener.local_addr()?.port();
        let address = address.to_owned();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = self.open(&address) else { continue };
                join(client, server.connection);
            }
        });
        Ok(port)
    }

    /// Copies the logs of the toolstack, of guests' consoles and of Xen into a folder of this machine.
    pub fn save_logs(self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let list = self.check("cd /var/log/xen && find . -type f -name '*.log' -size +0")?;
        for name in list.lines() {
            let file = name.rsplit('/').next().unwrap_or(name);
            fs::write(folder.join(file), self.get(&format!("/var/log/xen/{name}"))?)?;
        }
        fs::write(folder.join("xl-dmesg.log"), self.exec("xl dmesg")?.stdout)?;
        Ok(())
    }

    fn request(self, verb: &str, path: Option<&str>, body: &[u8]) -> Result<TcpStream> {
        let mut connection = self.connect()?;
        let length = body.len();
        match path {
            Some(path) => writeln!(connection, "{verb} {length} {path}")?,
            None => writeln!(connection, "{verb} {length}")?,
        }
        connection.write_all(body)?;
        Ok(connection)
    }

    fn connect(self) -> Result<TcpStream> {
        let connection = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).context("the testbed is gone")?;
        connection.set_nodelay(true)?;
        Ok(connection)
    }
}

/// A connection to a program or an address in dom0. Dropping it ends the program at its next output.
#[derive(Debug)]
pub struct Stream {
    connection: TcpStream,
}

impl Stream {
    /// Another handle to the same connection, for instance to read in one thread and write in another.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self { connection: self.connection.try_clone()? })
    }

    /// Limits how long a read waits.
    pub fn set_read_timeout(&self, limit: Option<Duration>) -> Result<()> {
        Ok(self.connection.set_read_timeout(limit)?)
    }

    /// Ends the connection in both directions; a read in another thread returns.
    pub fn close(&self) {
        // It fails when the other side was first, which is as good.
        let _ = self.connection.shutdown(Shutdown::Both);
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.connection.read(buffer)
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.connection.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.connection.flush()
    }
}

/// QEMU's command line. Each flag has a reason: Xen panics on the emulated MWAIT, its PV dom0 on SMAP, and it does not
/// know an exit for RDTSC that an emulated RDTSCP causes.
fn command(options: &Options, port: u16) -> Result<Command> {
    let Options { emulator, dom0, disks, clock, cpus, memory, .. } = options;
    // QEMU ends with the thread that started it, whatever ends that.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(&emulator.program).args(&emulator.arguments);
    command.args(["-machine", "q35", "-no-reboot", "-display", "none", "-monitor", "none", "-serial", "stdio"]);
    command.args(["-m", &memory.to_string()]);
    match (emulator.kvm, clock) {
        (true, Clock::Wall) => command.args(["-accel", "kvm", "-cpu", "host", "-smp", &cpus.to_string()]),
        (false, Clock::Wall) => command.args(["-accel", "tcg,thread=multi", "-smp", &cpus.to_string()]),
        (_, Clock::Instructions) => {
            command.args(["-accel", "tcg,thread=single", "-icount", "shift=1,sleep=off", "-smp", "1"])
        }
    };
    if !emulator.kvm || *clock == Clock::Instructions {
        command.args(["-cpu", "EPYC,+svm,+npt,-monitor,-smap,-rdtscp"]);
    }
    command.arg("-kernel").arg(&dom0.xen).arg("-initrd").arg(format!(
        "{} root=/dev/vda console=hvc0 init=/sbin/dom0-init quiet,{}",
        dom0.kernel.display(),
        dom0.initrd.display()
    ));
    command.args([
        "-append",
        "console=com1 com1=115200,8n1 dom0_mem=1024M,max:1024M loglvl=all guest_loglvl=all conring_size=1M sched=credit",
    ]);
    command
        .arg("-nic")
        .arg(format!("user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:{AGENT_PORT}"));
    // QEMU makes the devices of `if=virtio` after all others; dom0 knows its own disk by being the first.
    command.arg("-drive").arg(format!("file={},format=raw,if=none,id=dom0,snapshot=on", file_option(&dom0.disk)));
    command.arg("-device").arg("virtio-blk-pci,drive=dom0");
    for (index, disk) in disks.iter().enumerate() {
        let format = match disk.format {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
        };
        let writes = match disk.writes {
            Writes::Kept => "cache=writeback",
            Writes::Forgotten => "snapshot=on",
            Writes::Refused => "read-only=on",
        };
        command
            .arg("-drive")
            .arg(format!("file={},format={format},if=none,id=disk{index},{writes}", file_option(&disk.file)));
        command.arg("-device").arg(format!("virtio-blk-pci,drive=disk{index},serial={}", disk.name));
    }
    // An own process group keeps Ctrl-C at the terminal from killing QEMU before dom0 has written its disks.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    command.stderr(File::create(options.logs.join("qemu.log")).context("cannot create qemu.log")?);
    Ok(command)
}

/// A comma ends an option of QEMU unless there are two.
fn file_option(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// Copies what Xen and dom0 print to the log, and says when dom0 is ready.
fn copy_console(output: impl Read, log: &mut File, ready: &mpsc::Sender<()>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        // An error ends the copy as the end of the output does: the log stays as it is.
        if !matches!(output.read_until(b'\n', &mut line), Ok(length) if length > 0) || log.write_all(&line).is_err() {
            return;
        }
        if line.starts_with(b"testbed: ") && line.trim_ascii().ends_with(b"] ready") {
            // Nobody waits any more when booting took too long.
            let _ = ready.send(());
        }
    }
}

fn take_turn(path: std::ffi::OsString) -> Result<File> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot open the lock {}", Path::new(&path).display()))?;
    file.lock().context("cannot take the lock")?;
    Ok(file)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?.local_addr()?.port())
}

/// Copies in both directions until one side ends.
fn join(client: TcpStream, server: TcpStream) {
    let (Ok(client2), Ok(server2)) = (client.try_clone(), server.try_clone()) else { return };
    for (mut from, mut to) in [(client, server), (server2, client2)] {
        thread::spawn(move || {
            // A broken connection ends as a closed one does.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}

/// Reads one line with a fixed count of numbers.
fn numbers<const COUNT: usize>(reader: &mut impl BufRead) -> Result<[u64; COUNT]> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut numbers = [0; COUNT];
    let mut words = line.split_whitespace();
    for number in &mut numbers {
        *number = words
            .next()
            .context("the connection ended")?
            .parse()
            .with_context(|| format!("not an answer: {line:?}"))?;
    }
    Ok(numbers)
}

fn bytes(reader: &mut impl Read, length: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(length).read_to_end(&mut bytes)?;
    ensure!(u64::try_from(bytes.len())? == length, "the connection to dom0 ended early");
    Ok(bytes)
}

fn text(reader: &mut impl Read, length: u64) -> Result<String> {
    Ok(String::from_utf8_lossy(&bytes(reader, length)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_as_many_numbers_as_asked_for() {
        assert_eq!(numbers::<3>(&mut &b"0 12 3\nrest"[..]).unwrap(), [0, 12, 3]);
        assert!(numbers::<2>(&mut &b"1\n"[..]).is_err());
        assert!(numbers::<1>(&mut &b""[..]).is_err());
    }

    #[test]
    fn a_short_body_is_an_error() {
        assert_eq!(bytes(&mut &b"abc"[..], 2).unwrap(), b"ab");
        assert!(bytes(&mut &b"abc"[..], 4).is_err());
    }

    #[test]
    fn dom0_is_ready_when_its_init_says_so() {
        let dir = std::env::temp_dir().join(format!("testbed-console-{}", std::process::id()));
        let (ready, is_ready) = mpsc::channel();
        let console = b"(XEN) booting\ntestbed: [1.00] starting xenstored\ntestbed: [2.50] ready\r\n";
        copy_console(&console[..], &mut File::create(&dir).unwrap(), &ready);
        assert_eq!(is_ready.try_recv(), Ok(()));
        assert_eq!(fs::read(&dir).unwrap(), console);
        fs::remove_file(dir).unwrap();
    }
}
