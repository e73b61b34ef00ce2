//! Errors and delays that a client asks for: QEMU's `blkdebug:SCRIPT:FILE`, and its monitor's `qemu-io NODE "break …"`.
//!
//! A script has sections. `[inject-error]` fails a request at an event, `[set-state]` changes the state that rules can depend
//! on. A request passes its events in turn: `read_aio`, `write_aio`, or `flush_to_os` and `flush_to_disk`.
//!
//! Source: QEMU `docs/devel/blkdebug.txt`, `block/blkdebug.c`.
//! Not modelled: events of formats other than raw, `sector`, `immediately` and `iotype` of a rule.

use std::fs;

use anyhow::{Context, Result, bail};
use devmodel::host::DiskOp;

use crate::plan::FaultPlan;

/// What is going to happen to the requests of one disk.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    plan: FaultPlan,
    rules: Vec<Rule>,
    state: u32,
    /// Events at which the next request waits, and the name that it waits by.
    breaks: Vec<(String, String)>,
}

#[derive(Debug, Default)]
struct Rule {
    event: String,
    /// The state that it holds in. 0: in all.
    state: u32,
    /// `None`: it injects an error.
    new_state: Option<u32>,
    once: bool,
}

/// What happens to a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is performed.
    Goes,
    /// It waits until this name is resumed.
    Waits(String),
    /// It fails.
    Fails,
}

impl Faults {
    /// Reads the script, if there is one.
    pub(crate) fn new(plan: &FaultPlan) -> Result<Self> {
        let rules = match &plan.script {
            Some(path) => {
                let text = fs::read_to_string(path).with_context(|| format!("cannot open {}", path.display()))?;
                parse(&text).with_context(|| format!("in {}", path.display()))?
            }
            None => Vec::new(),
        };
        Ok(Self { plan: plan.clone(), rules, state: 1, breaks: Vec::new() })
    }

    /// Whether clients call the disk so.
    pub(crate) fn is_called(&self, node: &str) -> bool {
        self.plan.node == node
    }

    /// Its name.
    pub(crate) fn node(&self) -> &str {
        &self.plan.node
    }

    /// Bytes that are written in a second, if there is a limit.
    pub(crate) fn write_rate(&self) -> Option<u64> {
        self.plan.write_rate
    }

    /// Whether the machine stops when this fails.
    pub(crate) fn stops_at(&self, op: &DiskOp) -> bool {
        if matches!(op, DiskOp::Read { .. }) { self.plan.read_stops } else { self.plan.write_stops }
    }

    /// The next request at this event waits by this name.
    pub(crate) fn add_break(&mut self, event: &str, tag: &str) {
        self.breaks.push((event.to_owned(), tag.to_owned()));
    }

    /// What happens to a request that has passed so many of its events, and how many it has passed then.
    pub(crate) fn fate(&mut self, op: &DiskOp, passed: &mut usize) -> Fate {
        let events: &[&str] = match op {
            DiskOp::Read { .. } => &["read_aio"],
            DiskOp::Write { .. } => &["write_aio"],
            DiskOp::Flush => &["flush_to_os", "flush_to_disk"],
            DiskOp::Discard { .. } => &[],
        };
        let mut fails = false;
        for event in events.iter().skip(*passed) {
            *passed += 1;
            let state = self.state;
            for rule in
                self.rules.iter().filter(|rule| rule.event == *event && (rule.state == 0 || rule.state == state))
            {
                match rule.new_state {
                    Some(state) => self.state = state,
                    None => fails = true,
                }
            }
            self.rules.retain(|rule| !(rule.once && rule.event == *event && (rule.state == 0 || rule.state == state)));
            if let Some(index) = self.breaks.iter().position(|(at, _)| at == event) {
                return Fate::Waits(self.breaks.remove(index).1);
            }
        }
        if fails { Fate::Fails } else { Fate::Goes }
    }
}

fn parse(text: &str) -> Result<Vec<Rule>> {
    let mut rules: Vec<Rule> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line {
            "[inject-error]" => rules.push(Rule::default()),
            "[set-state]" => rules.push(Rule { new_state: Some(0), ..Rule::default() }),
            _ => {
                let (Some(rule), Some((key, value))) = (rules.last_mut(), line.split_once('=')) else {
                    bail!("{line:?} is neither a section nor a value in one");
                };
                let value = value.trim().trim_matches('"');
                let number = || value.parse::<u32>().with_context(|| format!("{line:?}: no number"));
                match key.trim() {
                    "event" => value.clone_into(&mut rule.event),
                    "state" => rule.state = number()?,
                    "new_state" => rule.new_state = Some(number()?),
                    "once" => rule.once = value == "on",
                    "errno" | "immediately" => {}
                    key => bail!("{key} is not supported"),
                }
            }
        }
    }
    Ok(rules)
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_script_fails_a_request_once() {
        let text = "[inject-error]\nevent = \"flush_to_disk\"\nerrno = \"5\"\nstate = \"1\"\nimmediately = \"off\"\n\
                    once = \"on\"\n[set-state]\nevent = \"flush_to_disk\"\nnew_state = \"2\"\n";
        let mut faults = Faults { rules: parse(text).unwrap(), state: 1, ..Faults::default() };
        assert_eq!(faults.fate(&DiskOp::Read { lba: 0, sectors: 1 }, &mut 0), Fate::Goes);
        assert_eq!(faults.fate(&DiskOp::Flush, &mut 0), Fate::Fails);
        assert_eq!(faults.state, 2);
        assert_eq!(faults.fate(&DiskOp::Flush, &mut 0), Fate::Goes);
        assert!(parse("event = \"read_aio\"\n").is_err());
        assert!(parse("[inject-error]\nsector = \"1\"\n").is_err());
    }

    #[test]
    fn a_request_waits_at_a_break_and_goes_on_behind_it() {
        let mut faults = Faults::default();
        faults.add_break("flush_to_os", "A");
        let mut passed = 0;
        assert_eq!(faults.fate(&DiskOp::Flush, &mut passed), Fate::Waits("A".into()));
        assert_eq!(passed, 1);
        assert_eq!(faults.fate(&DiskOp::Flush, &mut passed), Fate::Goes);
    }
}
