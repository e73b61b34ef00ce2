//! What the device model cannot serve: protocol.md, section 1. One line says why, and the guest never runs.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::domain::{Config, DeviceModel, FOLDER, IOEMU};
use crate::suite::{Case, Context};

pub(super) const CASES: &[Case] = &[
    Case::new("an-unknown-argument-is-refused", 240, unknown_argument),
    Case::new("a-qxl-card-is-refused", 240, qxl),
    Case::new("an-unknown-network-card-is-refused", 240, network_card),
    Case::new("an-unknown-word-of-the-command-line-is-refused", 240, command_line),
    Case::new("a-backend-that-never-connects-is-refused", 240, silent_backend),
    Case::new("a-backend-that-closes-is-refused", 240, closing_backend),
    Case::new("a-malformed-device-number-is-refused", 240, malformed_number),
    Case::new("a-missing-argument-number-is-refused", 240, missing_argument),
    Case::new("too-little-memory-is-refused", 240, little_memory),
    Case::new("a-domain-without-target-is-refused", 240, no_target),
    Case::new("a-domain-without-privilege-is-refused", 240, no_privilege),
];

/// How long it may take from `xl create` to the end of the stub domain: twice what a backend may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Installs a hotplug script for a disk: `script=` of its specification. Gives its path.
pub(super) fn hotplug_script(context: &Context, name: &str, body: &str) -> Result<String> {
    let path = format!("/etc/xen/scripts/test-{name}");
    context.agent.put(&path, format!("#!/bin/sh\n{body}\n").as_bytes())?;
    context.agent.check(&format!("chmod 755 {path}"))?;
    Ok(path)
}

/// A guest with one disk whose hotplug script does this before, or instead of, what the usual script does.
fn with_script(context: &Context, body: &str) -> Result<Config> {
    let script = hotplug_script(context, "refused", body)?;
    let mut config = context.test_guest("refused", DeviceModel::Stubdom, "run=idle")?;
    for disk in &mut config.disks {
        *disk = disk.replace("target=", &format!("script={script},target="));
    }
    Ok(config)
}

/// Changes the store when the disk of the stub domain is set up, which is before the stub domain runs.
fn with_store_changed(context: &Context, change: &str) -> Result<Config> {
    with_script(
        context,
        &format!(
            "own=$(xenstore-read \"$XENBUS_PATH/frontend-id\")
            if [ \"$1\" = add ] && guest=$(xenstore-read /local/domain/$own/target 2>/dev/null); then
            vm=$(xenstore-read /local/domain/$guest/vm)\n{change}\nfi
            exec /etc/xen/scripts/block \"$@\""
        ),
    )
}

/// Creates the guest, and expects that its stub domain says these words on one line, and crashes.
fn refuse(context: &Context, config: &Config, words: &[&str]) -> Result<()> {
    let name = &config.name;
    let file = format!("{FOLDER}/{name}.cfg");
    context.agent.put(&file, config.text().as_bytes())?;
    // xl waits for `running` longer than anybody wants to; it is ended when everything has been seen.
    let seen = context.agent.check(&format!(
        "setsid xl create {file} >/tmp/create.log 2>&1 </dev/null & creator=$!
        crashed() {{ xl list {name}-dm 2>/dev/null | awk 'NR == 2 {{ print $5 }}' | grep -q c; }}
        for i in $(seq 1 {}); do crashed && break; sleep 0.5; done
        crashed && echo crashed
        stub=$(xl domid {name}-dm); guest=$(xl domid {name})
        way=/local/domain/$stub/device-model/$guest
        echo \"state $(xenstore-read $way/state 2>/dev/null)\"
        echo \"error $(xenstore-read $way/error 2>/dev/null)\"
        xl list
        kill $creator; wait $creator 2>/dev/null
        xl destroy {name}; cat /tmp/create.log",
        LIMIT.as_secs() * 2
    ))?;
    let log = context.stubdom_log(name)?;
    let both = format!("the stub domain says:\n{log}and dom0:\n{seen}");
    ensure!(seen.lines().any(|line| line == "crashed"), "no crash; {both}");
    let value = |key: &str| seen.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("").trim();
    ensure!(value("state ").is_empty(), "the key `state` was written; {both}");
    let reason = value("error ");
    ensure!(!reason.is_empty(), "no key `error`; {both}");
    said_once(&log, words, Some(reason)).context(both)?;
    Ok(())
}

/// Exactly one line has all these words, and it is the reason in the store as well.
fn said_once(log: &str, words: &[&str], reason: Option<&str>) -> Result<()> {
    let lines: Vec<_> = log.lines().filter(|line| words.iter().all(|word| line.contains(word))).collect();
    ensure!(lines.len() == 1, "{} lines have the words {words:?}", lines.len());
    if let Some(reason) = reason {
        ensure!(lines[0].ends_with(reason), "the key `error` says something else than {:?}", lines[0]);
    }
    ensure!(!log.contains("PANIC"), "a panic is not a refusal");
    Ok(())
}

fn unknown_argument(context: &Context) -> Result<()> {
    let config = context
        .test_guest("refused", DeviceModel::Stubdom, "run=idle")?
        .line("device_model_args_hvm = [\"-frobnicate\"]");
    refuse(context, &config, &["error", "device-model argument \"-frobnicate\" is unknown"])
}

fn qxl(context: &Context) -> Result<()> {
    let mut config = context.test_guest("refused", DeviceModel::Stubdom, "run=idle")?.line("vga = \"qxl\"");
    // libxl gives such a card 128 MiB.
    (config.memory, config.lines) = (192, [config.lines, vec!["videoram = 128".to_owned()]].concat());
    refuse(context, &config, &["error", "qxl-vga", "vga=\"stdvga\""])
}

fn network_card(context: &Context) -> Result<()> {
    let config =
        context.test_guest("refused", DeviceModel::Stubdom, "run=idle")?.line("vif = [\"bridge=xenbr0,model=pcnet\"]");
    refuse(context, &config, &["error", "pcnet", "model=e1000"])
}

fn command_line(context: &Context) -> Result<()> {
    let config =
        context.test_guest("refused", DeviceModel::Stubdom, "run=idle")?.line("stubdomain_cmdline = \"frobnicate=1\"");
    refuse(context, &config, &["error", "command-line option \"frobnicate=1\" is unknown"])
}

/// The script says that all is well, but gives the backend no disk.
fn silent_backend(context: &Context) -> Result<()> {
    let body = "[ \"$1\" = add ] && xenstore-write \"$XENBUS_PATH/hotplug-status\" connected; exit 0";
    refuse(context, &with_script(context, body)?, &["error", "device/vbd/768", "in time"])
}

fn closing_backend(context: &Context) -> Result<()> {
    let config = with_store_changed(
        context,
        "xenstore-write \"$XENBUS_PATH/hotplug-status\" connected \"$XENBUS_PATH/state\" 6; exit 0",
    )?;
    refuse(context, &config, &["error", "device/vbd/768", "Clos"])
}

fn malformed_number(context: &Context) -> Result<()> {
    let change = "xenstore-write /local/domain/$own/device/vbd/768/virtual-device banana";
    refuse(context, &with_store_changed(context, change)?, &["error", "device/vbd/768/virtual-device", "malformed"])
}

fn missing_argument(context: &Context) -> Result<()> {
    let change = "xenstore-rm $vm/image/dm-argv/003";
    refuse(context, &with_store_changed(context, change)?, &["error", "dm-argv", "003"])
}

/// As little as Xen's domain builder can start with: 4 MiB. Without a graphics card libxl adds no video memory to that.
/// The largest picture does not fit beside the image.
fn little_memory(context: &Context) -> Result<()> {
    let mut config = context.test_guest("refused", DeviceModel::Stubdom, "run=idle")?;
    for line in ["vga = \"none\"", "videoram = 0", "stubdomain_memory = 4"] {
        config = config.line(line);
    }
    refuse(context, &config, &["error", "too little memory", "stubdomain_memory"])
}

/// The image as a PV domain of its own. Nobody made a place in the store for its reason, so the log has to do.
fn no_target(context: &Context) -> Result<()> {
    let log = alone(context, "lonely", "true")?;
    said_once(&log, &["error", "target"], None).context(log)?;
    Ok(())
}

/// The same with everything in the store that a stub domain has, for a guest that Xen does not let it serve.
fn no_privilege(context: &Context) -> Result<()> {
    let config = context.test_guest("other", DeviceModel::Qemu, "run=idle")?;
    let _guest = context.start_paused(&config)?;
    let log = alone(
        context,
        "pretender",
        "set -e; guest=$(xl domid other); vm=$(xenstore-read /local/domain/$guest/vm)
        xenstore-write /local/domain/$own/target $guest
        n=1; for word in -xen-domid $guest -machine xenfv -nodefaults -no-shutdown -m 32; do
        xenstore-write -- $vm/image/dm-argv/$(printf %03d $n) $word; n=$((n + 1)); done
        xenstore-chmod -r $vm n0 r$own; xenstore-chmod /local/domain/$guest/vm n0 r$own
        xenstore-write /local/domain/$own/device-model/$guest ''
        xenstore-chmod /local/domain/$own/device-model/$guest n$own r$guest",
    )?;
    said_once(&log, &["error", "Xen refuses"], None).context(log)?;
    Ok(())
}

/// Starts the image as a PV domain after these preparations, which know it as `$own`, and waits for its crash. Gives its log.
fn alone(context: &Context, name: &str, preparations: &str) -> Result<String> {
    let text =
        format!("name = \"{name}\"\ntype = \"pv\"\nkernel = \"{IOEMU}\"\nmemory = 32\non_crash = \"preserve\"\n");
    let file = format!("{FOLDER}/{name}.cfg");
    context.agent.put(&file, text.as_bytes())?;
    context.agent.check(&format!("xl create -p {file}"))?;
    context.agent.check(&format!("own=$(xl domid {name})\n{preparations}"))?;
    let state = context.agent.check(&format!(
        "xl unpause {name}
        state() {{ xl list {name} 2>/dev/null | awk 'NR == 2 {{ print $5 }}'; }}
        for i in $(seq 1 60); do case $(state) in *c*) break;; esac; sleep 0.5; done; state"
    ))?;
    let log = context.agent.check(&format!("cat /var/log/xen/console/guest-{name}.log"))?;
    ensure!(state.contains('c'), "the state of {name} is {}, and it says:\n{log}", state.trim());
    Ok(log)
}
