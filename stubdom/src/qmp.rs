//! The control channel's protocol: QMP, the QEMU Machine Protocol, as far as libxl needs it to unpause a guest, to give it
//! CPUs, to wake it up and to exchange its discs.
//!
//! Bytes go in, answers come out; the connection is somebody else's. One [`Qmp`] serves one session.
//!
//! Source: protocol.md §7, which follows libxl_qmp.c. libxl waits for the greeting, sends one command at a time, and
//! compares the answer's `id` with the command's.
//! Not modelled: capabilities and their negotiation (commands are answered with or without), `exec-oob`, events. Every
//! command that needs more than an answer is refused by name.
//!
//! Invariant: a session holds at most one line of `LINE_MAX` bytes, and nothing here recurses, whatever is received.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use log::{debug, info};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// Bytes of a command, without CR LF.
const LINE_MAX: usize = 4096;
/// Characters of a command's name that an answer and the log repeat.
const NAME_SHOWN: usize = 64;

/// What a CPU is called where libxl asks, and where it then adds one.
const CPU_DRIVER: &str = "qemu64-x86_64-cpu";

/// The QEMU whose machine is modelled.
macro_rules! version {
    () => {
        r#"{"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}"#
    };
}

/// The guest that commands are about.
pub trait Guest {
    /// The CPUs that its machine has, one bit each.
    fn cpus(&self) -> u128;
    /// How many there can be.
    fn cpus_max(&self) -> u32;
    /// Adds CPU `index`. `false`: it is there already.
    fn plug_cpu(&mut self, index: u32) -> bool;
    /// Wakes it from sleep state S3. `false`: it does not sleep.
    fn wake_up(&mut self) -> bool;
    /// The discs that the toolstack has put behind CD drives, by the numbers of their virtual block devices; also those that
    /// are none.
    fn discs(&self) -> Vec<u32>;
    /// Takes the disc out of the drive.
    fn eject(&mut self, disc: u32, force: bool) -> Result<(), DiscError>;
    /// Puts the disc into the drive that the toolstack has put behind it.
    fn insert(&mut self, disc: u32) -> Result<(), DiscError>;
}

/// Why a disc cannot be exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscError {
    /// There is no such CD drive.
    NoDrive,
    /// The guest has locked the tray. It was asked to open it.
    Locked,
    /// Nothing is behind the drive.
    NoDisc,
}

/// A session: what was received of a command that is not complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Qmp {
    line: Vec<u8>,
    /// Whether the line is too long, was refused, and is being dropped.
    skipping: bool,
}

/// What is wrong with a command. The names are QMP's error classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    GenericError,
    CommandNotFound,
}

impl Qmp {
    /// A session in which nothing was received yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { line: Vec::new(), skipping: false }
    }

    /// What has to be sent first in a session. The version is that of the QEMU whose machine is modelled.
    #[must_use]
    pub const fn greeting() -> &'static [u8] {
        concat!(r#"{"QMP": {"version": "#, version!(), r#", "capabilities": []}}"#, "\r\n").as_bytes()
    }

    /// Takes received bytes, and calls `answer` with each message that has to be sent for them, in order.
    pub fn receive(&mut self, bytes: &[u8], guest: &mut impl Guest, answer: &mut impl FnMut(&[u8])) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(end) = part.strip_suffix(b"\n") else {
                self.append(part, answer);
                continue;
            };
            self.append(end, answer);
            if !self.skipping
                && let Some(message) = respond(&self.line, guest)
            {
                answer(message.as_bytes());
            }
            self.line.clear();
            self.skipping = false;
        }
    }

    /// Adds a part of a line to what is there of it.
    fn append(&mut self, part: &[u8], answer: &mut impl FnMut(&[u8])) {
        if self.skipping {
            return;
        }
        // A carriage return at the end belongs to the end of the line, which may come with the next bytes.
        let end = usize::from(part.last().or(self.line.last()) == Some(&b'\r'));
        if self.line.len().saturating_add(part.len()).saturating_sub(end) > LINE_MAX {
            self.line = Vec::new();
            self.skipping = true;
            let problem = format!("a command is longer than {LINE_MAX} bytes");
            answer(error(Class::GenericError, &problem, None).as_bytes());
        } else {
            self.line.extend_from_slice(part);
        }
    }
}

/// The answer to a line. Blank lines have none.
fn respond(line: &[u8], guest: &mut impl Guest) -> Option<String> {
    if line.trim_ascii().is_empty() {
        return None;
    }
    let Ok(command) = serde_json::from_slice::<Members<'_>>(line) else {
        return Some(error(Class::GenericError, "not a JSON object", None));
    };
    let id = command.get("id").copied();
    let name = command.get("execute").and_then(|name| serde_json::from_str::<String>(name.get()).ok());
    let Some(name) = name else {
        return Some(error(Class::GenericError, "a command needs a name, by \"execute\"", id));
    };
    let arguments = command.get("arguments").and_then(|arguments| serde_json::from_str(arguments.get()).ok());
    let result = match name.as_str() {
        // `cont` asks for a device model that serves its guest. Ours does so whenever it runs.
        "qmp_capabilities" | "cont" => Ok("{}".into()),
        "query-cpus-fast" => Ok(cpus(guest)),
        "query-hotpluggable-cpus" => Ok(hotpluggable_cpus(guest)),
        "device_add" => add_cpu(guest, &arguments.unwrap_or_default()),
        "query-version" => Ok(version!().into()),
        "query-fdsets" => Ok(discs(guest)),
        "remove-fd" => remove_fd(guest, &arguments.unwrap_or_default()),
        "eject" => eject(guest, &arguments.unwrap_or_default()),
        "blockdev-change-medium" => insert(guest, &arguments.unwrap_or_default()),
        "system_wakeup" if guest.wake_up() => Ok("{}".into()),
        "system_wakeup" => Err("the guest does not sleep".into()),
        _ => {
            let shown: String = name.chars().take(NAME_SHOWN).collect();
            info!("control channel: command {shown:?} is not supported");
            return Some(error(Class::CommandNotFound, &format!("the command {shown} is not supported"), id));
        }
    };
    debug!("control channel: {name}");
    Some(match result {
        Ok(value) => message("return", &value, id),
        Err(problem) => error(Class::GenericError, &problem, id),
    })
}

/// Members of an object by name, with what they are as it was written.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// The CPUs that are there.
fn cpus(guest: &impl Guest) -> String {
    let present = (0..guest.cpus_max()).filter(|index| has_cpu(guest, *index));
    list(present.map(|index| format!(r#"{{"cpu-index": {index}, "target": "x86_64"}}"#)))
}

/// The CPUs that there can be.
fn hotpluggable_cpus(guest: &impl Guest) -> String {
    list((0..guest.cpus_max()).map(|index| {
        let props = format!(r#"{{"socket-id": {index}, "core-id": 0, "thread-id": 0}}"#);
        format!(r#"{{"type": "{CPU_DRIVER}", "vcpus-count": 1, "props": {props}}}"#)
    }))
}

fn list(elements: impl Iterator<Item = String>) -> String {
    format!("[{}]", elements.collect::<Vec<_>>().join(", "))
}

fn has_cpu(guest: &impl Guest, index: u32) -> bool {
    guest.cpus().checked_shr(index).is_some_and(|cpus| cpus & 1 != 0)
}

/// `device_add` of a CPU. Other devices cannot be added to a machine that runs.
fn add_cpu(guest: &mut impl Guest, arguments: &Members<'_>) -> Result<String, String> {
    let number = |name| argument::<u32>(arguments, name);
    let driver: String = argument(arguments, "driver").unwrap_or_default();
    if driver != CPU_DRIVER {
        let shown: String = driver.chars().take(NAME_SHOWN).collect();
        return Err(format!("a device of the kind {shown:?} cannot be added, only {CPU_DRIVER}"));
    }
    let places = (number("socket-id"), number("core-id"), number("thread-id"));
    let (Some(index), Some(0), Some(0)) = places else {
        return Err("a CPU has a socket-id, and core-id and thread-id are 0".into());
    };
    if index >= guest.cpus_max() {
        return Err(format!("there is no CPU {index}: the guest has {} at most", guest.cpus_max()));
    }
    if !guest.plug_cpu(index) {
        return Err(format!("CPU {index} is there already, or the guest has no ACPI to hear of it"));
    }
    info!("CPU {index} was added");
    Ok("{}".into())
}

/// An argument, if it is there and of this type.
fn argument<T: DeserializeOwned>(arguments: &Members<'_>, name: &str) -> Option<T> {
    serde_json::from_str(arguments.get(name)?.get()).ok()
}

/// The discs that are behind drives, as a stub domain tells libxl of them: one file each, in a set with the number of its
/// virtual block device (`query_fdsets_find_fdset` of libxl_disk.c).
fn discs(guest: &impl Guest) -> String {
    list(
        guest
            .discs()
            .into_iter()
            .map(|disc| format!(r#"{{"fdset-id": {disc}, "fds": [{{"fd": {disc}, "opaque": "stub-devid:{disc}"}}]}}"#)),
    )
}

/// libxl is going to take the disc away. There is nothing to let go of before it does.
fn remove_fd(guest: &impl Guest, arguments: &Members<'_>) -> Result<String, String> {
    let set = argument::<u32>(arguments, "fdset-id").ok_or("a set of files has a number, fdset-id")?;
    if guest.discs().contains(&set) { Ok("{}".into()) } else { Err(format!("there is no set of files {set}")) }
}

fn eject(guest: &mut impl Guest, arguments: &Members<'_>) -> Result<String, String> {
    let force = argument(arguments, "force").unwrap_or(false);
    let (name, disc) = drive(arguments)?;
    guest.eject(disc, force).map_err(|error| disc_error(&name, error))?;
    info!("drive {name}: the disc was taken out");
    Ok("{}".into())
}

fn insert(guest: &mut impl Guest, arguments: &Members<'_>) -> Result<String, String> {
    let (name, disc) = drive(arguments)?;
    let file: String = argument(arguments, "filename").unwrap_or_default();
    if file.strip_prefix("/dev/fdset/").and_then(|set| set.parse().ok()) != Some(disc) {
        return Err(format!("drive {name} takes the file /dev/fdset/{disc} alone"));
    }
    guest.insert(disc).map_err(|error| disc_error(&name, error))?;
    info!("drive {name}: another disc was put in");
    Ok("{}".into())
}

/// The drive that an `id` names, such as `ide-5632`, and its virtual block device.
fn drive(arguments: &Members<'_>) -> Result<(String, u32), String> {
    let name: String = argument(arguments, "id").or_else(|| argument(arguments, "device")).unwrap_or_default();
    let shown: String = name.chars().take(NAME_SHOWN).collect();
    let number = name.strip_prefix("ide-").and_then(|number| number.parse().ok());
    number.map(|number| (name, number)).ok_or(format!("there is no drive {shown:?}"))
}

fn disc_error(name: &str, error: DiscError) -> String {
    match error {
        DiscError::NoDrive => format!("there is no CD drive {name}"),
        DiscError::Locked => format!("the guest has locked drive {name}; it was asked to open it"),
        DiscError::NoDisc => format!("nothing is behind drive {name}"),
    }
}

fn error(class: Class, problem: &str, id: Option<&RawValue>) -> String {
    let text = serde_json::to_string(problem).unwrap_or_default();
    message("error", &format!(r#"{{"class": "{class:?}", "desc": {text}}}"#), id)
}

/// A message with the id of the command that it answers. libxl finds a message's end by CR LF alone.
fn message(key: &str, value: &str, id: Option<&RawValue>) -> String {
    match id {
        Some(id) => format!("{{\"{key}\": {value}, \"id\": {id}}}\r\n"),
        None => format!("{{\"{key}\": {value}}}\r\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned;
    use alloc::vec;
    use serde_json::Value;

    /// A guest with a CPU of the three that it can have.
    struct Sleeper {
        cpus: u128,
        sleeps: bool,
    }

    impl Guest for Sleeper {
        fn cpus(&self) -> u128 {
            self.cpus
        }

        fn cpus_max(&self) -> u32 {
            3
        }

        fn plug_cpu(&mut self, index: u32) -> bool {
            let is_new = self.cpus >> index & 1 == 0;
            self.cpus |= 1 << index;
            is_new
        }

        fn wake_up(&mut self) -> bool {
            core::mem::take(&mut self.sleeps)
        }

        fn discs(&self) -> Vec<u32> {
            vec![5632]
        }

        fn eject(&mut self, disc: u32, force: bool) -> Result<(), DiscError> {
            match disc {
                5632 => Ok(()),
                5696 if force => Ok(()),
                5696 => Err(DiscError::Locked),
                _ => Err(DiscError::NoDrive),
            }
        }

        fn insert(&mut self, disc: u32) -> Result<(), DiscError> {
            if disc == 5632 { Ok(()) } else { Err(DiscError::NoDisc) }
        }
    }

    /// What a session answers to bytes that come in pieces of `size`.
    fn converse_in_pieces(received: &[u8], size: usize) -> Vec<String> {
        let (mut session, mut answers) = (Qmp::new(), Vec::new());
        let mut guest = Sleeper { cpus: 1, sleeps: true };
        for piece in received.chunks(size) {
            session.receive(piece, &mut guest, &mut |answer| {
                answers.push(core::str::from_utf8(answer).unwrap().to_owned())
            });
        }
        answers
    }

    fn converse(received: &str) -> Vec<String> {
        converse_in_pieces(received.as_bytes(), 1024)
    }

    /// A message as libxl reads it: up to the first CR LF, which has to be its end.
    fn parse(message: &[u8]) -> Value {
        let end = message.windows(2).position(|pair| pair == b"\r\n").expect("CR LF");
        assert_eq!(end, message.len() - 2);
        serde_json::from_slice(&message[..end]).expect("JSON")
    }

    /// libxl grabs the three numbers from `QMP.version.qemu`.
    #[test]
    fn the_greeting_has_a_version() {
        let version = &parse(Qmp::greeting())["QMP"]["version"]["qemu"];
        assert_eq!((&version["major"], &version["minor"], &version["micro"]), (&7.into(), &2.into(), &0.into()));
    }

    /// The bytes are those of libxl: ids start at `"xlq\0"`.
    #[test]
    fn libxl_unpauses_a_guest() {
        let answers = converse(
            "{\"execute\":\"qmp_capabilities\",\"id\":2020372736}\r\n{\"execute\":\"cont\",\"id\":2020372737}\r\n",
        );
        assert_eq!(answers, ["{\"return\": {}, \"id\": 2020372736}\r\n", "{\"return\": {}, \"id\": 2020372737}\r\n"]);
    }

    #[test]
    fn the_pieces_in_which_bytes_arrive_do_not_matter() {
        let received = b"{\"execute\":\"qmp_capabilities\"}\r\n\r\n{\"execute\":\"stop\",\"id\":[1]}\n{}\r\n \r\n?\r\n";
        let whole = converse_in_pieces(received, 1024);
        assert_eq!(whole.len(), 4);
        for size in 1..40 {
            assert_eq!(converse_in_pieces(received, size), whole);
        }
    }

    #[test]
    fn other_commands_are_refused_by_name() {
        let command = r#"{"execute":"xen-save-devices-state","id":3,"arguments":{"live":true,"filename":"/x"}}"#;
        let answers = converse(&format!("{command}\r\n"));
        let expected = r#"{"error": {"class": "CommandNotFound", "desc": "the command xen-save-devices-state is not supported"}, "id": 3}"#;
        assert_eq!(answers, [format!("{expected}\r\n")]);
    }

    /// `xl cd-insert GUEST hdc FILE`, as libxl_disk.c of Xen 4.20 has it.
    #[test]
    fn libxl_exchanges_a_disc() {
        let answers = converse(
            "{\"execute\":\"query-version\"}\r\n{\"execute\":\"eject\",\"arguments\":{\"id\":\"ide-5632\"}}\r\n\
             {\"execute\":\"query-fdsets\"}\r\n{\"execute\":\"remove-fd\",\"arguments\":{\"fdset-id\":5632}}\r\n\
             {\"execute\":\"blockdev-change-medium\",\"arguments\":{\"format\":\"host_device\",\
             \"filename\":\"/dev/fdset/5632\",\"id\":\"ide-5632\"}}\r\n",
        );
        let [version, ejected, sets, removed, inserted] = answers.try_into().unwrap();
        assert_eq!(parse(version.as_bytes())["return"]["qemu"]["major"], 7);
        let set = &parse(sets.as_bytes())["return"][0];
        assert_eq!((&set["fdset-id"], &set["fds"][0]["opaque"]), (&5632.into(), &"stub-devid:5632".into()));
        assert!(set["fds"][0]["fd"].is_u64());
        for answer in [ejected, removed, inserted] {
            assert_eq!(answer, "{\"return\": {}}\r\n");
        }
    }

    #[test]
    fn discs_that_cannot_be_exchanged_are_refused_by_name() {
        for (command, problem) in [
            (r#""eject","arguments":{"id":"ide-5696"}"#, "locked drive ide-5696"),
            (r#""eject","arguments":{"id":"ide-832"}"#, "no CD drive ide-832"),
            (r#""eject","arguments":{"id":"floppy0"}"#, "no drive \\\"floppy0\\\""),
            (r#""eject""#, "no drive"),
            (r#""remove-fd","arguments":{"fdset-id":1}"#, "no set of files 1"),
            (r#""remove-fd""#, "has a number"),
            (r#""blockdev-change-medium","arguments":{"id":"ide-5632","filename":"/etc/passwd"}"#, "alone"),
            (
                r#""blockdev-change-medium","arguments":{"id":"ide-5696","filename":"/dev/fdset/5696"}"#,
                "nothing is behind",
            ),
        ] {
            let answers = converse(&format!("{{\"execute\":{command}}}\r\n"));
            assert!(answers[0].starts_with("{\"error\"") && answers[0].contains(problem), "{command}: {answers:?}");
        }
        let forced = converse("{\"execute\":\"eject\",\"arguments\":{\"device\":\"ide-5696\",\"force\":true}}\r\n");
        assert_eq!(forced, ["{\"return\": {}}\r\n"]);
    }

    /// `xl vcpu-set GUEST 2`, as libxl_domain.c has it.
    #[test]
    fn libxl_gives_a_guest_cpus() {
        let answers = converse(
            "{\"execute\":\"query-cpus-fast\",\"id\":1}\r\n{\"execute\":\"query-hotpluggable-cpus\",\"id\":2}\r\n\
             {\"execute\":\"device_add\",\"id\":3,\"arguments\":{\"thread-id\":0,\"core-id\":0,\"socket-id\":1,\
             \"driver\":\"qemu64-x86_64-cpu\",\"id\":\"cpu-1\"}}\r\n{\"execute\":\"query-cpus-fast\",\"id\":4}\r\n",
        );
        let value = |index: usize| parse(answers[index].as_bytes())["return"].clone();
        assert_eq!(value(0), serde_json::from_str::<Value>(r#"[{"cpu-index": 0, "target": "x86_64"}]"#).unwrap());
        assert_eq!(value(1)[0]["type"], "qemu64-x86_64-cpu");
        assert_eq!(value(1)[2]["props"]["socket-id"], 2);
        assert_eq!(answers[2], "{\"return\": {}, \"id\": 3}\r\n");
        assert_eq!(value(3)[1]["cpu-index"], 1);
    }

    #[test]
    fn a_cpu_that_cannot_be_added_is_refused() {
        let add = |driver: &str, socket: u32| {
            let arguments = format!(r#"{{"driver":"{driver}","socket-id":{socket},"core-id":0,"thread-id":0}}"#);
            converse(&format!("{{\"execute\":\"device_add\",\"arguments\":{arguments}}}\n")).remove(0)
        };
        assert!(add("virtio-net", 1).contains(r#"a device of the kind \"virtio-net\" cannot be added"#));
        assert!(add(CPU_DRIVER, 0).contains("CPU 0 is there already"));
        assert!(add(CPU_DRIVER, 3).contains("there is no CPU 3"));
        assert!(converse("{\"execute\":\"device_add\"}\n")[0].contains("GenericError"));
    }

    #[test]
    fn a_guest_that_sleeps_is_woken_up_once() {
        let answers = converse("{\"execute\":\"system_wakeup\",\"id\":1}\n{\"execute\":\"system_wakeup\",\"id\":2}\n");
        assert_eq!(answers[0], "{\"return\": {}, \"id\": 1}\r\n");
        assert!(answers[1].contains("the guest does not sleep"));
    }

    #[test]
    fn an_id_is_given_back_as_it_was() {
        for id in ["0", "-1.50e+400", "\"a\\u0041\\\"\"", "null", "{\"a\": [1,  2]}", "184467440737095516160", "[ ]"] {
            let answers = converse(&format!("{{\"id\":{id},\"execute\":\"cont\"}}\n"));
            assert_eq!(answers, [format!("{{\"return\": {{}}, \"id\": {id}}}\r\n")]);
        }
    }

    #[test]
    fn what_is_no_command_is_a_generic_error() {
        for line in [
            "?",
            "[]",
            "\"cont\"",
            "{",
            "{}",
            "{\"execute\":1}",
            "{\"execute\":\"cont\"} {}",
            "{\"exec-oob\":\"cont\"}",
        ] {
            let answers = converse(&format!("{line}\r\n"));
            assert_eq!(answers.len(), 1, "{line}");
            assert_eq!(parse(answers[0].as_bytes())["error"]["class"], "GenericError", "{line}");
        }
        assert_eq!(parse(converse("{\"id\":9}\n")[0].as_bytes())["id"], 9);
    }

    #[test]
    fn a_name_cannot_break_the_answer() {
        let answers = converse("{\"execute\":\"\\r\\n\\\"}\\u0000é\",\"id\":1}\r\n");
        assert_eq!(parse(answers[0].as_bytes())["error"]["desc"], "the command \r\n\"}\u{0}é is not supported");
        let answers = converse(&format!("{{\"execute\":\"{}\"}}\n", "\\u00e9".repeat(600)));
        assert!(answers[0].len() < 250, "the name is cut");
    }

    #[test]
    fn a_line_of_4096_bytes_is_read_and_a_longer_one_refused_once() {
        let command = "{\"execute\":\"cont\"}";
        let fits = format!("{command}{}", " ".repeat(LINE_MAX - command.len()));
        let long = format!("{fits} ");
        let received = format!("{fits}\r\n{long}\r\n{fits}\n{}\r\n{command}\r\n", long.repeat(5));
        for size in [1, 7, 1024, usize::MAX] {
            let answers = converse_in_pieces(received.as_bytes(), size);
            let succeeded: Vec<bool> = answers.iter().map(|answer| answer.starts_with("{\"return\"")).collect();
            assert_eq!(succeeded, [true, false, true, false, true], "in pieces of {size}");
            assert_eq!(parse(answers[1].as_bytes())["error"]["class"], "GenericError");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let depth = (LINE_MAX - 30) / 2;
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        let answers = converse(&format!("{{\"execute\":\"cont\",\"id\":{open}{close}}}\n"));
        assert_eq!(answers, [format!("{{\"return\": {{}}, \"id\": {open}{close}}}\r\n")]);
        assert_eq!(converse(&format!("{}\n", "[".repeat(LINE_MAX))).len(), 1);
        assert_eq!(converse(&format!("{}\n", "{\"a\":".repeat(LINE_MAX / 5))).len(), 1);
    }

    #[test]
    fn no_bytes_do_harm() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random >> 33).unwrap() % below
        };
        let seed = b"{\"execute\":\"cont\",\"id\":{\"a\":[1,\"\\u00e9\",null]},\"arguments\":{}}\r\n";
        let odd = b"{}[]\",:\\\r\n\xff\xc3\x00 1eE-u";
        let mut session = Qmp::new();
        let mut succeeded = 0;
        for round in 0..20_000 {
            let mut bytes = vec![];
            for _ in 0..=next(3) {
                bytes.extend_from_slice(seed);
            }
            for _ in 0..next(6) {
                let at = next(bytes.len());
                match next(4) {
                    0 => bytes[at] = odd[next(odd.len())],
                    1 => bytes.insert(at, odd[next(odd.len())]),
                    2 => drop(bytes.drain(..at)),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            if round % 100 == 0 {
                bytes = (0..next(9000)).map(|_| odd[next(odd.len())]).collect();
            }
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
            let mut answers = 0;
            session.receive(&bytes, &mut Sleeper { cpus: 1, sleeps: true }, &mut |answer| {
                let answer = parse(answer);
                answers += 1;
                succeeded += usize::from(answer.get("return").is_some());
                assert!(answer.get("return").is_some() || answer["error"]["class"].is_string());
            });
            assert!(answers <= lines + 1);
            assert!(session.line.len() <= LINE_MAX + 1 && session.line.capacity() <= 3 * LINE_MAX);
        }
        assert!(succeeded > 5_000, "only {succeeded} of it were commands");
    }
}
