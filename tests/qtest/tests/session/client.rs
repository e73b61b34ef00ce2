//! A client as libqtest is one: it listens at two sockets, starts the program, and plays the CPU.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_devmodel-system-x86_64");

/// A folder that goes when the test ends.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("qtest-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The lines of a connection, one after the other.
struct Lines {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Lines {
    fn accept(listener: &UnixListener) -> Self {
        listener.set_nonblocking(true).unwrap();
        let end = Instant::now() + PATIENCE;
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) => assert!(Instant::now() < end, "the program does not connect: {error}"),
            }
            thread::sleep(Duration::from_millis(5));
        };
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { reader: BufReader::new(stream.try_clone().unwrap()), writer: stream }
    }

    fn write(&mut self, line: &str) {
        self.writer.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn read(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("an answer in time");
        line.trim_end().to_owned()
    }
}

/// A client and its machine.
pub(crate) struct Client {
    child: Child,
    qtest: Lines,
    qmp: Lines,
    /// Changes of interrupt lines that were reported, such as `raise 14`.
    pub(crate) interrupts: Vec<String>,
    folder: Folder,
}

impl Client {
    /// Starts a machine with these arguments between those that libqtest always gives.
    pub(crate) fn start(folder: Folder, arguments: &[&str]) -> Self {
        let (qtest_path, qmp_path) = (folder.file("qtest.sock"), folder.file("qmp.sock"));
        let listeners = [&qtest_path, &qmp_path].map(|path| UnixListener::bind(path).unwrap());
        let child = Command::new(PROGRAM)
            .args(["-qtest", &format!("unix:{}", qtest_path.display()), "-qtest-log", "/dev/null"])
            .args(["-chardev", &format!("socket,path={},id=char0", qmp_path.display())])
            .args(["-mon", "chardev=char0,mode=control", "-display", "none", "-audio", "none"])
            .args(arguments)
            .args(["-accel", "qtest"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let [qtest, qmp] = listeners.each_ref().map(Lines::accept);
        let mut client = Self { child, qtest, qmp, interrupts: Vec::new(), folder };
        assert!(client.qmp_read()["QMP"]["version"]["qemu"]["major"].is_u64());
        assert_eq!(client.qmp("{\"execute\": \"qmp_capabilities\"}"), serde_json::json!({"return": {}}));
        client
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// A command and the rest of its answer, which has to be good.
    pub(crate) fn ok(&mut self, command: &str) -> String {
        let answer = self.command(command);
        let rest = answer.strip_prefix("OK").unwrap_or_else(|| panic!("{command}: {answer}"));
        rest.trim_start().to_owned()
    }

    /// A command and its answer. Interrupts on the way are noted.
    pub(crate) fn command(&mut self, command: &str) -> String {
        self.qtest.write(command);
        loop {
            let line = self.qtest.read();
            match line.strip_prefix("IRQ ") {
                Some(change) => self.interrupts.push(change.to_owned()),
                None => return line,
            }
        }
    }

    /// The number that a command gives.
    pub(crate) fn number(&mut self, command: &str) -> u64 {
        let text = self.ok(command);
        u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap()
    }

    /// Reads a double word of configuration space.
    pub(crate) fn config(&mut self, slot: u32, function: u32, offset: u32) -> u64 {
        self.select(slot, function, offset);
        self.number("inl 0xcfc")
    }

    /// Writes a double word of configuration space.
    pub(crate) fn set_config(&mut self, slot: u32, function: u32, offset: u32, value: u32) {
        self.select(slot, function, offset);
        self.ok(&format!("outl 0xcfc {value:#x}"));
    }

    fn select(&mut self, slot: u32, function: u32, offset: u32) {
        let address = 0x8000_0000 | slot << 11 | function << 8 | offset;
        self.ok(&format!("outl 0xcf8 {address:#x}"));
    }

    /// Bytes of memory.
    pub(crate) fn memory(&mut self, addr: u64, len: usize) -> Vec<u8> {
        let text = self.ok(&format!("read {addr:#x} {len}"));
        let digits = text.strip_prefix("0x").unwrap();
        (0..len).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect()
    }

    /// A command of QMP and its answer; events are passed over.
    pub(crate) fn qmp(&mut self, command: &str) -> Value {
        self.qmp_send(command);
        loop {
            let message = self.qmp_read();
            if message.get("event").is_none() {
                return message;
            }
        }
    }

    /// Sends a command of QMP.
    pub(crate) fn qmp_send(&mut self, command: &str) {
        self.qmp.write(command);
    }

    /// Waits for this event.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        loop {
            let message = self.qmp_read();
            if message["event"] == name {
                return message;
            }
        }
    }

    /// The next message of QMP.
    pub(crate) fn qmp_read(&mut self) -> Value {
        serde_json::from_str(&self.qmp.read()).unwrap()
    }

    /// Sends SIGTERM, as libqtest does.
    pub(crate) fn terminate(&mut self) {
        let status = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// How the program ends.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits for the end of a program, but not for ever.
fn wait(child: &mut Child) -> ExitStatus {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < end, "the program goes on");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a file holds something.
pub(crate) fn wait_for(path: &Path, content: &[u8]) {
    let end = Instant::now() + PATIENCE;
    while fs::read(path).is_ok_and(|have| have != content) {
        assert!(Instant::now() < end, "{} holds {:?}", path.display(), fs::read(path));
        thread::sleep(Duration::from_millis(5));
    }
}
