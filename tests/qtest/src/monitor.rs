//! QMP, as far as test clients need it: the greeting, negotiation, the state of the machine, its end.
//!
//! Commands are JSON objects one after the other, with or without line feeds between them, with strings in double or
//! single quotes. A command that is not here is refused with the class `CommandNotFound`; what would change the machine
//! is refused by name.
//!
//! Source: QEMU `docs/interop/qmp-spec.rst`, `qapi/`.
//! Not modelled: `exec-oob`, timestamps that mean anything: they are the machine's clock.

use serde_json::{Value, json};

use crate::command_line;
use crate::devices;
use crate::options::Options;
use crate::pc::Pc;
use crate::plan::{Address, VERSION};
use crate::trays::Wish;

/// Bytes of one command.
const COMMAND_MAX: usize = 1 << 20;

/// What a command asks of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    Nothing,
    /// End.
    Quit,
    /// Let the clock stand.
    Stop,
    /// Let it go on.
    Continue,
    /// Reset the machine.
    Reset,
    /// The power button was pressed.
    PowerDown,
    /// This device is gone.
    Unplugged(String),
    /// Let the machine go on in the program that listens there.
    Migrate(Address),
}

/// The state of the machine, as commands show it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    /// `running`, `paused` and so on.
    pub(crate) status: &'static str,
    /// CPUs.
    pub(crate) cpus: u32,
    /// `completed` and so on, once it was sent to another program.
    pub(crate) migration: Option<&'static str>,
}

/// A session.
#[derive(Debug, Default)]
pub(crate) struct Monitor {
    splitter: Splitter,
    negotiated: bool,
}

/// What went wrong: QMP's class, and a description.
type Problem = (&'static str, String);

/// Every command there is.
const COMMANDS: &[&str] = &[
    "qmp_capabilities",
    "quit",
    "stop",
    "cont",
    "system_reset",
    "system_powerdown",
    "query-status",
    "query-version",
    "query-name",
    "query-uuid",
    "query-kvm",
    "query-machines",
    "query-commands",
    "query-cpus-fast",
    "query-events",
    "query-block",
    "query-chardev",
    "query-migrate",
    "migrate",
    "qom-list-types",
    "qom-list",
    "qom-get",
    "device_add",
    "device_del",
    "query-target",
    "eject",
    "blockdev-open-tray",
    "blockdev-close-tray",
    "blockdev-remove-medium",
    "blockdev-insert-medium",
    "blockdev-change-medium",
    "blockdev-add",
    "blockdev-del",
    "human-monitor-command",
];

/// The greeting of a session.
pub(crate) fn greeting() -> String {
    line(&json!({"QMP": {"version": version(), "capabilities": []}}))
}

/// An event, at `now` nanoseconds.
pub(crate) fn event(name: &str, data: Option<Value>, now: u64) -> String {
    let timestamp = json!({"seconds": now / 1_000_000_000, "microseconds": now / 1_000 % 1_000_000});
    let mut event = json!({"event": name, "timestamp": timestamp});
    if let Some(data) = data {
        event["data"] = data;
    }
    line(&event)
}

impl Monitor {
    /// Whether events go to this session.
    pub(crate) fn hears_events(&self) -> bool {
        self.negotiated
    }

    /// Takes received bytes, and gives back the commands in them.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.splitter.receive(bytes)
    }

    /// Performs a command: the answer, and what it asks of the program.
    pub(crate) fn perform(&mut self, command: &[u8], state: State, pc: Option<&mut Pc>) -> (String, Effect) {
        let parsed: Option<Value> = serde_json::from_slice(command).ok().filter(Value::is_object);
        let id = parsed.as_ref().and_then(|command| command.get("id")).cloned();
        let result = match &parsed {
            None => Err(("GenericError", "JSON parse error".to_owned())),
            Some(command) => self.execute(command, state, pc),
        };
        let (mut answer, effect) = match result {
            Ok((value, effect)) => (json!({ "return": value }), effect),
            Err((class, desc)) => (json!({"error": {"class": class, "desc": desc}}), Effect::Nothing),
        };
        if let Some(id) = id {
            answer["id"] = id;
        }
        (line(&answer), effect)
    }

    fn execute(&mut self, command: &Value, state: State, pc: Option<&mut Pc>) -> Result<(Value, Effect), Problem> {
        let members = command.as_object().into_iter().flat_map(|members| members.keys());
        let odd = members.into_iter().find(|key| !matches!(key.as_str(), "execute" | "arguments" | "id"));
        if let Some(odd) = odd {
            return Err(("GenericError", format!("QMP input member '{odd}' is unexpected")));
        }
        if command.get("arguments").is_some_and(|arguments| !arguments.is_object()) {
            return Err(("GenericError", "QMP input member 'arguments' must be an object".to_owned()));
        }
        let name = command.get("execute").and_then(Value::as_str);
        let name = name.ok_or(("GenericError", "QMP input lacks member 'execute'".to_owned()))?;
        let known = COMMANDS.contains(&name);
        if !known {
            return Err(("CommandNotFound", format!("The command {name} has not been found")));
        }
        if !self.negotiated && name != "qmp_capabilities" {
            let why = "Expecting capabilities negotiation with 'qmp_capabilities'";
            return Err(("CommandNotFound", why.to_owned()));
        }
        let argument = |key: &str| command.pointer(&format!("/arguments/{key}")).and_then(Value::as_str);
        let value = match name {
            "qmp_capabilities" if self.negotiated => {
                return Err((
                    "CommandNotFound",
                    "Capabilities negotiation is already complete, command ignored".to_owned(),
                ));
            }
            "qmp_capabilities" => {
                self.negotiated = true;
                json!({})
            }
            "quit" => return Ok((json!({}), Effect::Quit)),
            "stop" => return Ok((json!({}), Effect::Stop)),
            "cont" => return Ok((json!({}), Effect::Continue)),
            "system_reset" => return Ok((json!({}), Effect::Reset)),
            "system_powerdown" => return Ok((json!({}), Effect::PowerDown)),
            "query-status" => {
                json!({"running": state.status == "running", "singlestep": false, "status": state.status})
            }
            "query-version" => version(),
            "query-kvm" => json!({"enabled": false, "present": false}),
            "query-target" => json!({"arch": "x86_64"}),
            "query-machines" => json!([machine("pc", true), machine("q35", false), machine("none", false)]),
            "query-commands" => COMMANDS.iter().map(|name| json!({ "name": name })).collect(),
            "query-events" => [
                "RESET",
                "SHUTDOWN",
                "STOP",
                "RESUME",
                "POWERDOWN",
                "DEVICE_DELETED",
                "BLOCK_IO_ERROR",
                "DEVICE_TRAY_MOVED",
            ]
            .iter()
            .map(|name| json!({ "name": name }))
            .collect(),
            "query-cpus-fast" => {
                (0..state.cpus).map(|cpu| json!({"cpu-index": cpu, "thread-id": 0, "target": "x86_64"})).collect()
            }
            "query-name" | "query-uuid" => json!({}),
            "query-migrate" => state.migration.map_or(json!({}), |status| json!({ "status": status })),
            "migrate" => {
                let uri = argument("uri").unwrap_or_default();
                let address = command_line::address(uri).filter(|_| pc.is_some());
                let address = address.ok_or(("GenericError", format!("unknown migration protocol: {uri}")))?;
                return Ok((json!({}), Effect::Migrate(address)));
            }
            "query-block" | "query-chardev" | "qom-list" => json!([]),
            "qom-list-types" if argument("implements") == Some("accel") => {
                json!([{"name": "tcg-accel", "parent": "accel"}, {"name": "qtest-accel", "parent": "accel"}])
            }
            "qom-list-types" => devices::names().map(|name| json!({"name": name, "parent": "device"})).collect(),
            "qom-get" => {
                let (path, property) = (argument("path").unwrap_or_default(), argument("property").unwrap_or_default());
                match (path, property) {
                    ("/machine", "type") => json!("pc-i440fx-machine"),
                    ("/", "type") => json!("container"),
                    ("/machine" | "/", _) => return Err(("GenericError", format!("Property '{property}' not found"))),
                    _ => return Err(("DeviceNotFound", format!("Device '{path}' not found"))),
                }
            }
            "human-monitor-command" => {
                let line = argument("command-line").unwrap_or_default();
                let words: Vec<_> = line.split(|letter: char| letter == '"' || letter.is_whitespace()).collect();
                let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
                let done = match words.as_slice() {
                    ["qemu-io", node, rest @ ..] => pc.and_then(|pc| pc.disk_words(node, rest)),
                    _ => None,
                };
                if done.is_none() {
                    let why = format!(
                        "\"{line}\" is not supported: only qemu-io DRIVE \"break EVENT TAG\" and \"resume TAG\" are"
                    );
                    return Err(("GenericError", why));
                }
                json!("")
            }
            "eject"
            | "blockdev-open-tray"
            | "blockdev-close-tray"
            | "blockdev-remove-medium"
            | "blockdev-insert-medium"
            | "blockdev-change-medium" => {
                let drive = argument("id").or_else(|| argument("device")).unwrap_or_default();
                let force = command.pointer("/arguments/force").and_then(Value::as_bool).unwrap_or(false);
                let wish = match name {
                    "eject" => Wish::Eject(force),
                    "blockdev-open-tray" => Wish::Open(force),
                    "blockdev-close-tray" => Wish::Close,
                    "blockdev-remove-medium" => Wish::Remove,
                    "blockdev-insert-medium" => Wish::Insert(argument("node-name").unwrap_or_default()),
                    _ => Wish::Change(argument("filename").unwrap_or_default(), force),
                };
                match pc.and_then(|pc| pc.change_disc(drive, wish)) {
                    Some(result) => result.map_err(|error| ("GenericError", format!("{error:#}")))?,
                    None => return Err(("DeviceNotFound", format!("there is no CD drive '{drive}'"))),
                }
                json!({})
            }
            "blockdev-add" => {
                let options = Options::from_json("blockdev-add", command.get("arguments").unwrap_or(&Value::Null));
                let pc = pc.ok_or(("GenericError", "there is no machine".to_owned()))?;
                pc.media().blockdev(options).map_err(|error| ("GenericError", format!("{error:#}")))?;
                json!({})
            }
            "blockdev-del" => {
                let node = argument("node-name").unwrap_or_default();
                if !pc.is_some_and(|pc| pc.media().forget(node)) {
                    return Err(("GenericError", format!("Failed to find a free node with node-name='{node}'")));
                }
                json!({})
            }
            "device_add" => {
                let options = Options::from_json("device_add", command.get("arguments").unwrap_or(&Value::Null));
                let pc = pc.ok_or(("GenericError", "there is no machine".to_owned()))?;
                pc.plug(options).map_err(|error| ("GenericError", format!("{error:#}")))?;
                json!({})
            }
            "device_del" => {
                let id = argument("id").unwrap_or_default();
                if !pc.is_some_and(|pc| pc.unplug(id)) {
                    return Err(("DeviceNotFound", format!("Device '{id}' not found")));
                }
                return Ok((json!({}), Effect::Unplugged(id.to_owned())));
            }
            _ => return Err(("CommandNotFound", format!("The command {name} has not been found"))),
        };
        Ok((value, Effect::Nothing))
    }
}

fn version() -> Value {
    let [major, minor, micro] = VERSION.map(|part| part.parse::<u32>().unwrap_or(0));
    json!({"qemu": {"major": major, "minor": minor, "micro": micro}, "package": "devmodel"})
}

/// The path of a device that a person has named.
pub(crate) fn path(id: &str) -> String {
    format!("/machine/peripheral/{id}")
}

fn machine(name: &str, is_default: bool) -> Value {
    json!({"name": name, "is-default": is_default, "cpu-max": 255, "hotpluggable-cpus": false, "numa-mem-supported": false,
        "deprecated": false})
}

fn line(value: &Value) -> String {
    format!("{value}\r\n")
}

/// Finds the ends of objects in a stream, and makes single quotes double ones. What cannot become an object ends where that is
/// seen, and what follows is passed over up to the end of the line, or to what could begin another one.
#[derive(Debug, Default)]
struct Splitter {
    command: Vec<u8>,
    /// What closes the objects and lists that are open.
    closers: Vec<u8>,
    passes_over: bool,
    /// The quote that a string began with.
    quote: Option<u8>,
    /// The byte before was a backslash in a string.
    escaped: bool,
}

impl Splitter {
    fn receive(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut commands = Vec::new();
        for byte in bytes.iter().copied() {
            self.passes_over &= byte >= b' ' && !matches!(byte, b'{' | b'[' | 0xff);
            if self.passes_over || self.command.is_empty() && (byte.is_ascii_whitespace() || byte == 0xff) {
                continue;
            }
            let is_good = self.take(byte);
            let is_whole = self.quote.is_none()
                && self.closers.is_empty()
                && (matches!(byte, b'}' | b']') || byte.is_ascii_whitespace());
            if is_whole || !is_good || self.command.len() > COMMAND_MAX {
                commands.push(std::mem::take(self).command);
                self.passes_over = !is_whole && byte >= b' ';
            }
        }
        commands
    }

    /// Takes a byte. `false`: no object has it there.
    fn take(&mut self, byte: u8) -> bool {
        let in_single = self.quote == Some(b'\'');
        match byte {
            _ if self.escaped => {
                self.escaped = false;
                if byte == b'\'' {
                    // JSON has no such escape.
                    self.command.pop();
                }
            }
            b'\\' => self.escaped = self.quote.is_some(),
            b'"' if in_single => self.command.push(b'\\'),
            b'"' | b'\'' if self.quote == Some(byte) => {
                self.quote = None;
                self.command.push(b'"');
                return true;
            }
            b'"' | b'\'' if self.quote.is_none() => {
                self.quote = Some(byte);
                self.command.push(b'"');
                return true;
            }
            b'{' if self.quote.is_none() => self.closers.push(b'}'),
            b'[' if self.quote.is_none() => self.closers.push(b']'),
            b'}' | b']' if self.quote.is_none() && self.closers.pop() != Some(byte) => {
                self.command.push(byte);
                return false;
            }
            _ => {}
        }
        self.command.push(byte);
        match self.quote {
            // No character of UTF-8 has these.
            Some(_) => byte >= b' ' && !matches!(byte, 0xc0 | 0xc1 | 0xf5..),
            None => byte.is_ascii_whitespace() || matches!(byte, b'!'..=b'~') && byte != b'%',
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    const STATE: State = State { status: "running", cpus: 1, migration: None };

    fn answers(monitor: &mut Monitor, text: &str) -> Vec<Value> {
        let commands = monitor.receive(text.as_bytes());
        let answers = commands.iter().map(|command| monitor.perform(command, STATE, None).0);
        answers.map(|answer| serde_json::from_str(&answer).unwrap()).collect()
    }

    #[test]
    fn commands_need_no_line_feeds_and_take_any_quotes() {
        let mut monitor = Monitor::default();
        let seen =
            answers(&mut monitor, "{'execute': 'qmp_capabilities', 'id': 'it\\'s \"1\"'}{\"execute\":\"query-status\"");
        assert_eq!(seen, [json!({"return": {}, "id": "it's \"1\""})]);
        let status = json!({"running": true, "singlestep": false, "status": "running"});
        assert_eq!(answers(&mut monitor, "}\n"), [json!({ "return": status })]);
    }

    #[test]
    fn nothing_is_answered_before_the_negotiation() {
        let mut monitor = Monitor::default();
        assert!(!monitor.hears_events());
        let seen = answers(&mut monitor, "{\"execute\": \"query-status\", \"id\": 1}");
        assert_eq!((&seen[0]["error"]["class"], &seen[0]["id"]), (&json!("CommandNotFound"), &json!(1)));
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        let mut monitor = Monitor::default();
        let text = "{'execute': 'qmp_capabilities'} {'execute': 'device_add', 'arguments': {'driver': 'e1000'}} \
                    {'execute': 'migrate-incoming'} nonsense {'a': {'b': [}]}}";
        let seen = answers(&mut monitor, text);
        let classes: Vec<_> = seen.iter().map(|answer| answer["error"]["class"].clone()).collect();
        let expected = [Value::Null, json!("GenericError"), json!("CommandNotFound"), json!("GenericError")];
        assert_eq!(classes[..4], expected);
        assert_eq!(seen[1]["error"]["desc"], "there is no machine");
    }

    /// What QEMU's `qmp/protocol` does.
    #[test]
    fn what_cannot_become_a_command_is_refused_at_once() {
        let mut monitor = Monitor { negotiated: true, ..Monitor::default() };
        for bytes in [
            &b"{]\n"[..],
            b"{\xff",
            b"{\x01",
            b"{'bad \xff",
            b"{'execute': 'nonexistent', 'id':'\n",
            b"%p",
            b"null\n",
            b"{}",
            b"{'execute': true}",
            b"{'execute': 'quit', 'arguments': []}",
            b"{'execute': 'quit', 'extra': true}",
        ] {
            for (bytes, class) in [(bytes, "GenericError"), (b"{'execute': 'no-such-cmd'}\n", "CommandNotFound")] {
                let commands = monitor.receive(bytes);
                let answers = commands.iter().map(|command| monitor.perform(command, STATE, None).0);
                let answers: Vec<Value> = answers.map(|answer| serde_json::from_str(&answer).unwrap()).collect();
                let classes: Vec<_> = answers.iter().map(|answer| &answer["error"]["class"]).collect();
                assert_eq!(classes, [class], "{}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn the_effects_are_those_of_the_commands() {
        let mut monitor = Monitor { negotiated: true, ..Monitor::default() };
        for (name, effect) in [("quit", Effect::Quit), ("stop", Effect::Stop), ("system_reset", Effect::Reset)] {
            let command = format!("{{\"execute\": \"{name}\"}}");
            assert_eq!(monitor.perform(command.as_bytes(), STATE, None).1, effect);
        }
    }
}
