//! A guest that does anything anywhere, and one that does nothing.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::domain::DeviceModel;
use crate::guest_image;
use crate::suite::{Case, Context};

pub(super) const CASES: &[Case] = &[
    Case::new("a-hundred-thousand-random-accesses-do-no-harm", 600, fuzz),
    Case::new("an-idle-guest-costs-the-stub-domain-nothing", 200, idle),
];

/// The guest checks disk, serial port and screen after it. Then the stub domain has to be there, and to have said nothing.
fn fuzz(context: &Context) -> Result<()> {
    let words = "run=fuzz,identify,pio,dma accesses=100000 seed=2026 crossing=1";
    let output = context.run_test_guest(DeviceModel::Stubdom, words, Duration::from_secs(500))?;
    ensure!(guest_image::judge(&output)? > 0, "nothing was checked");
    let log = context.stubdom_log("probe")?;
    for word in ["PANIC", "FAULT", "error"] {
        ensure!(!log.contains(word), "the stub domain says:\n{log}");
    }
    Ok(())
}

/// How long the guest is watched.
const WATCHED: Duration = Duration::from_secs(5);

/// Nobody looks and nothing happens: no processor time, and not one wake-up by Xen's own count.
fn idle(context: &Context) -> Result<()> {
    let guest = context.start(&context.test_guest("idle", DeviceModel::Stubdom, "run=idle")?)?;
    guest.serial().wait_for("READY idle", Duration::from_secs(120))?;
    // What was on its way settles.
    thread::sleep(Duration::from_secs(3));
    let id: u16 = context.agent.check("xl domid idle-dm")?.trim().parse()?;
    let before = seconds(context)?;
    let trace = context.agent.check(&format!(
        "trace=$(command -v xentrace || ls /usr/lib/xen-*/bin/xentrace | head -n 1)
        [ -n \"$trace\" ] || exit 1
        rm -f /tmp/idle.trace
        \"$trace\" -D -S 256 -e {SCHEDULER_VERBOSE:#x} -T {} /tmp/idle.trace >&2",
        WATCHED.as_secs()
    ))?;
    drop(trace);
    let after = seconds(context)?;
    let records = context.agent.get("/tmp/idle.trace")?;
    std::fs::write(context.logs.join("idle.trace"), &records)?;
    let wakes = wakes(&records)?;
    let own = wakes.iter().filter(|domain| **domain == id).count();
    ensure!(wakes.contains(&0), "the trace shows no wake-up of dom0, so it proves nothing");
    ensure!(own == 0, "the stub domain was woken {own} times in {} s", WATCHED.as_secs());
    ensure!(before == after, "the processor time of the stub domain went from {before} s to {after} s");
    guest.destroy()?;
    Ok(())
}

/// The processor time of the stub domain, as `xl list` shows it: in tenths of a second.
fn seconds(context: &Context) -> Result<String> {
    let line = context.agent.check("xl list idle-dm | tail -n 1")?;
    line.split_whitespace().last().map(str::to_owned).context("no line of xl list")
}

/// public/trace.h: TRC_SCHED_VERBOSE, the events of the scheduler that are the same for every scheduler.
const SCHEDULER_VERBOSE: u32 = 0x0002_8000;
/// public/trace.h: TRC_SCHED_WAKE.
const WAKE: u32 = SCHEDULER_VERBOSE + 4;

/// The domains that were woken, in the order of the trace.
///
/// public/trace.h, struct t_rec: a word with the event in bits 27:0, the number of further words in 30:28, and in bit 31
/// whether a 64-bit time comes before these. The words of a wake-up are domain and vCPU.
fn wakes(records: &[u8]) -> Result<Vec<u16>> {
    let (words, rest) = records.as_chunks::<4>();
    ensure!(rest.is_empty(), "the trace ends within a word");
    let mut words = words.iter().map(|word| u32::from_le_bytes(*word));
    let mut woken = Vec::new();
    while let Some(head) = words.next() {
        if head >> 31 == 1 {
            words.nth(1).context("the trace ends within a time")?;
        }
        let further: Vec<_> = words.by_ref().take(usize::try_from(head >> 28 & 7)?).collect();
        if let (WAKE, [domain, _]) = (head & 0x0fff_ffff, further.as_slice()) {
            woken.push(u16::try_from(*domain)?);
        }
    }
    Ok(woken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wake_ups_are_found_among_other_records() {
        let words = [
            0x1001_f003_u32, // TRC_TRACE_CPU_CHANGE with one word and no time
            0,
            0xa002_8004, // a wake-up with a time
            0x1234,
            0,
            7,
            0,
            0xb002_f00f, // something else of the scheduler with a time
            0,
            0,
            1,
            2,
            3,
            0x2002_8004, // a wake-up without a time
            0,
            1,
        ];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(wakes(&bytes).unwrap(), [7, 0]);
        assert!(wakes(&bytes[..10]).is_err());
    }
}
