//! The control channel's protocol: QMP, the QEMU Machine Protocol, as far as libxl needs it to unpause a guest.
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
use serde_json::Value;
use serde_json::value::RawValue;

/// Bytes of a command, without CR LF.
const LINE_MAX: usize = 4096;
/// Characters of a command's name that an answer and the log repeat.
const NAME_SHOWN: usize = 64;

/// Commands that succeed, and what they return.
///
/// `cont` asks for a device model that serves its guest. Ours does so whenever it runs, so there is nothing left to do.
const COMMANDS: &[(&str, &str)] = &[("qmp_capabilities", "{}"), ("cont", "{}")];

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
        concat!(
            r#"{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []}}"#,
            "\r\n"
        )
        .as_bytes()
    }

    /// Takes received bytes, and calls `answer` with each message that has to be sent for them, in order.
    pub fn receive(&mut self, bytes: &[u8], answer: &mut impl FnMut(&[u8])) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(end) = part.strip_suffix(b"\n") else {
                self.append(part, answer);
                continue;
            };
            self.append(end, answer);
            if !self.skipping
                && let Some(message) = respond(&self.line)
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
fn respond(line: &[u8]) -> Option<String> {
    if line.trim_ascii().is_empty() {
        return None;
    }
    let Ok(command) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(line) else {
        return Some(error(Class::GenericError, "not a JSON object", None));
    };
    let id = command.get("id").copied();
    let name = command.get("execute").and_then(|name| serde_json::from_str::<String>(name.get()).ok());
    let Some(name) = name else {
        return Some(error(Class::GenericError, "a command needs a name, by \"execute\"", id));
    };
    if let Some((_, value)) = COMMANDS.iter().find(|(known, _)| *known == name) {
        debug!("control channel: {name}");
        return Some(message("return", value, id));
    }
    let shown: String = name.chars().take(NAME_SHOWN).collect();
    info!("control channel: command {shown:?} is not supported");
    Some(error(Class::CommandNotFound, &format!("the command {shown} is not supported"), id))
}

fn error(class: Class, problem: &str, id: Option<&RawValue>) -> String {
    message("error", &format!(r#"{{"class": "{class:?}", "desc": {}}}"#, Value::from(problem)), id)
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

    /// What a session answers to bytes that come in pieces of `size`.
    fn converse_in_pieces(received: &[u8], size: usize) -> Vec<String> {
        let (mut session, mut answers) = (Qmp::new(), Vec::new());
        for piece in received.chunks(size) {
            session.receive(piece, &mut |answer| answers.push(core::str::from_utf8(answer).unwrap().to_owned()));
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
            session.receive(&bytes, &mut |answer| {
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
