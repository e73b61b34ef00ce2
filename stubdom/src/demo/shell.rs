//! The shell on the console: `xl console`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use minios::boot;
use minios::clock;
use minios::console;
use minios::heap;
use minios::hypercall::version;
use minios::net::Traffic;
use minios::power::Request;
use minios::xenstore::{Xenstore, XenstoreError};

use crate::disk::{self, Disk};
use crate::status::Shared;

/// Characters of a line.
const LINE_MAX: usize = 200;

const HELP: &str = "\
help              this
status            name, version of Xen, time, memory
events            what has happened, the latest first
store ls PATH     the names below a node of xenstore, and their values
store read PATH   the value of a node
store write PATH VALUE
disk info         what the backend says of the disk
disk check        reads what the last check has written, and writes anew
disk bench        reads for a while
net stat          addresses, frames and bytes
log LEVEL         off, error, warn, info, debug or trace
poweroff, reboot  ends the domain
panic             ends it as a mistake in it would
";

/// Reads lines and does what they say, for ever.
pub(crate) async fn run(store: Xenstore, disk: Option<Disk>, status: Shared) {
    let mut shell = Shell { store, disk, status };
    let mut line = Line::default();
    console::write("\nThis is miniOS. Try help.\n> ");
    loop {
        let mut bytes = [0; 64];
        let count = console::read(&mut bytes).await;
        for byte in bytes.into_iter().take(count) {
            if let Some(line) = line.take(byte) {
                let answer = shell.obey(&line).await;
                console::write(&answer);
                console::write("> ");
            }
        }
    }
}

/// The line that is typed.
#[derive(Default)]
struct Line {
    text: String,
    last: u8,
}

impl Line {
    /// Takes a key, and shows it. `Some`: the line is complete.
    fn take(&mut self, byte: u8) -> Option<String> {
        const BACKSPACE: u8 = 8;
        const DELETE: u8 = 127;
        const CTRL_C: u8 = 3;
        const CTRL_U: u8 = 21;
        let last = core::mem::replace(&mut self.last, byte);
        match byte {
            // A terminal sends one of both, a program maybe both.
            b'\n' if last == b'\r' => {}
            b'\r' | b'\n' => {
                console::write("\n");
                return Some(core::mem::take(&mut self.text));
            }
            BACKSPACE | DELETE if self.text.pop().is_some() => console::write("\x08 \x08"),
            CTRL_C | CTRL_U => {
                self.text.clear();
                console::write("\n> ");
            }
            b' '..=b'~' if self.text.len() < LINE_MAX => {
                let key = char::from(byte);
                self.text.push(key);
                console::write(key.encode_utf8(&mut [0; 4]));
            }
            _ => {}
        }
        None
    }
}

struct Shell {
    store: Xenstore,
    disk: Option<Disk>,
    status: Shared,
}

impl Shell {
    /// Does what a line says, and gives the answer to it, a line or several.
    async fn obey(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            [] => String::new(),
            ["help"] => HELP.to_string(),
            ["status"] => self.status(),
            ["events"] => {
                let status = self.status.borrow();
                let lines = status.events.iter().map(|(at, text)| format!("{:6} s  {text}\n", at.0 / 1_000_000_000));
                lines.collect()
            }
            ["store", "ls"] => answer(self.list("").await),
            ["store", "ls", path] => answer(self.list(path.trim_end_matches('/')).await),
            ["store", "read", path] => answer(self.store.read(path).await.map(|value| format!("{value}\n"))),
            ["store", "write", path, value] => answer(self.store.write(path, value).await.map(|()| String::new())),
            ["disk", what @ ("info" | "check" | "bench")] => match self.disk.clone() {
                Some(disk) => self.disk(&disk, what).await,
                None => "there is no disk: disk=[ ] of xl.cfg gives one\n".to_string(),
            },
            ["net", "stat"] => {
                let network = &self.status.borrow().network;
                let Traffic { frames_in, bytes_in, frames_out, bytes_out } = network.traffic;
                format!(
                    "addresses {}\nin        {frames_in} frames, {bytes_in} bytes\nout       {frames_out} frames, {bytes_out} bytes\n",
                    if network.addresses.is_empty() { "none" } else { &network.addresses }
                )
            }
            ["log", level] => match level.parse() {
                Ok(level) => {
                    log::set_max_level(level);
                    String::new()
                }
                Err(_) => format!("{level} is not off, error, warn, info, debug or trace\n"),
            },
            ["poweroff"] => crate::end(self.disk.as_ref(), Request::PowerOff).await,
            ["reboot"] => crate::end(self.disk.as_ref(), Request::Reboot).await,
            ["panic"] => panic!("as asked"),
            _ => format!("{line:?} is not known; try help\n"),
        }
    }

    fn status(&self) -> String {
        let version =
            version::version().map_or_else(|error| format!("unknown: {error}"), |version| version.to_string());
        format!(
            "name    {}\nXen     {version}\nuptime  {} s\nmemory  {} of {} KiB free\n",
            self.status.borrow().name,
            clock::now().0 / 1_000_000_000,
            heap::free_bytes() >> 10,
            boot::memory_pages() << 2
        )
    }

    /// What is below a node. Paths without a slash at their beginning are below this domain's home.
    async fn list(&self, path: &str) -> Result<String, XenstoreError> {
        // The home itself has a name too, which needs this domain's number.
        let home = format!("/local/domain/{}", self.store.read("domid").await?);
        let path = if path.is_empty() { &home } else { path };
        let mut text = String::new();
        for name in self.store.directory(path).await? {
            let value = match self.store.read(&format!("{path}/{name}")).await {
                Ok(value) => format!("{value:?}"),
                Err(error) if error.is_forbidden() => "not ours to read".to_string(),
                Err(error) if error.is_absent() => continue,
                Err(error) => return Err(error),
            };
            text += &format!("{name} = {value}\n");
        }
        Ok(text)
    }

    async fn disk(&self, disk: &Disk, what: &str) -> String {
        match what {
            "check" => format!("{}\n", disk::check(disk, &self.status).await),
            "bench" => answer(disk::bench(disk, &self.status).await.map(|text| format!("{text}\n"))),
            _ => answer(disk.info().await.map(|info| format!("{}: {info:#?}\n", disk.block().path()))),
        }
    }
}

/// An answer, whether it is good or not.
fn answer(result: Result<String, impl core::fmt::Display>) -> String {
    result.unwrap_or_else(|error| format!("{error}\n"))
}
