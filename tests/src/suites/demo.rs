//! The paravirtualised unikernel: what it shows and serves, and that it survives what can be done to a domain.

use std::io::{Read as _, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::clients::GvncClient;
use crate::domain::{DEMO_HTTP, FOLDER, Guest, OWN_ADDRESS, OWN_PASSWORD, demo_config};
use crate::suite::{Case, Context};
use crate::vnc::Screen;

pub(super) const CASES: &[Case] = &[
    Case::new("the-demo-shows-and-serves-its-dashboard", 300, dashboard),
    Case::new("the-demo-survives-pause-save-restore-and-reboot", 400, survives),
    Case::new("the-demo-leaves-foreign-disks-alone", 300, foreign),
];

/// The VNC display in dom0.
const DISPLAY: u16 = 1;
const LIMIT: Duration = Duration::from_secs(60);

/// A demo with this disk, once its shell is there and its disk was checked.
fn start(context: &Context, disk: &str) -> Result<Guest> {
    let guest = context.start_text("demo", DISPLAY, &demo_config(disk, DISPLAY))?;
    guest.serial().wait_for("This is miniOS", LIMIT)?;
    guest.serial().wait_for("disk: ", LIMIT)?;
    Ok(guest)
}

/// A blank disk in dom0.
fn blank(context: &Context) -> Result<String> {
    let disk = format!("{FOLDER}/demo.disk");
    context.agent.check(&format!("mkdir -p {FOLDER}; rm -f {disk}; truncate -s 64M {disk}"))?;
    Ok(disk)
}

/// Types a line, and gives everything that is printed until the next prompt. Lines of the log may come at any time.
fn ask(guest: &Guest, line: &str) -> Result<String> {
    let known = guest.serial().text().len();
    guest.serial().send(format!("{line}\r").as_bytes())?;
    let end = Instant::now() + LIMIT;
    let mut said = String::new();
    let is_answered = |said: &str| said.split_once(line).is_some_and(|(_, answer)| answer.contains("\n> "));
    while !is_answered(&said) {
        let (more, goes_on) = guest.serial().wait_past(known + said.len(), Duration::from_secs(5));
        said += &String::from_utf8_lossy(&more);
        ensure!(goes_on && Instant::now() < end, "no answer to {line:?}: {said:?}");
    }
    Ok(said)
}

/// What is answered to a request, head and body.
fn request(context: &Context, text: &str) -> Result<String> {
    let mut stream = context.agent.open(&format!("TCP:{OWN_ADDRESS}:{DEMO_HTTP}"))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(text.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8(answer)?)
}

fn get(context: &Context, path: &str) -> Result<String> {
    request(context, &format!("GET {path} HTTP/1.1\r\nHost: demo\r\n\r\n"))
}

fn status(context: &Context) -> Result<Value> {
    let answer = get(context, "/status.json")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no body")?;
    ensure!(head.starts_with("HTTP/1.1 200 ") && head.contains("application/json"), "{head}");
    serde_json::from_str(body).with_context(|| format!("no JSON: {body}"))
}

fn number(status: &Value, pointer: &str) -> Result<u64> {
    status.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("no {pointer} in {status}"))
}

fn text<'a>(status: &'a Value, pointer: &str) -> Result<&'a str> {
    status.pointer(pointer).and_then(Value::as_str).with_context(|| format!("no {pointer} in {status}"))
}

fn dashboard(context: &Context) -> Result<()> {
    let guest = start(context, &blank(context)?)?;
    guest.serial().wait_for("disk: good, check 1", LIMIT)?;
    // The page, and what is on it.
    let page = get(context, "/")?;
    ensure!(page.starts_with("HTTP/1.1 200 ") && page.ends_with("</script>\n"), "{page}");
    let seen = status(context)?;
    ensure!(text(&seen, "/name")? == "demo" && text(&seen, "/disk/check")? == "good, check 1", "{seen}");
    ensure!(text(&seen, "/network/addresses")?.starts_with(OWN_ADDRESS), "{seen}");
    ensure!(number(&seen, "/disk/bytes")? == 64 << 20 && number(&seen, "/disk/written")? >= 1 << 20, "{seen}");
    ensure!(number(&seen, "/network/bytes_in")? > 0 && number(&seen, "/memory/total")? == 32 << 20, "{seen}");
    let zeros = get(context, "/zeros?300")?;
    ensure!(zeros.len() > 300 << 10 && zeros.ends_with(&"\0".repeat(300 << 10)), "{} bytes of zeros", zeros.len());
    let fetched = context
        .agent
        .check(&format!("timeout 60 busybox wget -q -O - 'http://{OWN_ADDRESS}:{DEMO_HTTP}/zeros?1000' | wc -c"))?;
    ensure!(fetched.trim() == "1024000", "{fetched} bytes by wget");
    for (request_text, answer) in [
        ("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 "),
        ("HEAD / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 "),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 4"),
        ("what?\r\n\r\n", "HTTP/1.1 400 "),
    ] {
        let said = request(context, request_text)?;
        ensure!(said.starts_with(answer), "{request_text:?} is answered by {said:?}");
    }

    // The same screen by its own server and by dom0's QEMU; keys and pointer come from both.
    let mut viewer = guest.viewer()?;
    let screen = viewer.picture()?.clone();
    screen.save(&context.logs.join("dashboard.png"))?;
    ensure!((screen.width, screen.height) == (800, 600), "{} × {} pixels", screen.width, screen.height);
    viewer.type_text("Hello")?;
    viewer.point(799, 599, 1)?;
    thread::sleep(Duration::from_secs(1));
    let seen = status(context)?;
    ensure!(text(&seen, "/typed")? == "Hello", "{seen}");
    let pointer = ["/pointer/x", "/pointer/y", "/pointer/buttons"].map(|place| number(&seen, place).unwrap_or(0));
    ensure!(pointer == [0x7fff, 0x7fff, 1], "{seen}");
    viewer.point(0, 0, 0)?;
    drop(viewer);
    let mut viewer = guest.viewer_of_dom0()?;
    let other = viewer.picture()?;
    // The name does not change meanwhile.
    let name =
        |screen: &Screen| screen.pixels.chunks(800).take(32).map(|line| line[..300].to_vec()).collect::<Vec<_>>();
    ensure!(name(&screen) == name(other) && !screen.is_blank(), "dom0's QEMU shows another picture");
    viewer.type_text("!")?;
    thread::sleep(Duration::from_secs(1));
    let seen = status(context)?;
    ensure!(text(&seen, "/typed")? == "Hello!" && number(&seen, "/pointer/x")? == 0, "{seen}");
    drop(viewer);
    // Who can draws the pointer: a dark edge around its middle.
    let port = context.agent.forward(&guest.vnc_address(), 0)?;
    let mut viewer = GvncClient::open(port, OWN_PASSWORD, &context.logs)?.context("libgvnc is not let in")?;
    viewer.wait_for("cursor 13 13 6 6 000000ff")?;
    drop(viewer);

    // The shell.
    for (line, answers) in [
        ("help", &["store ls PATH", "reboot"][..]),
        ("status", &["name    demo", "Xen     4."]),
        ("store ls", &["name = \"demo\"", "control = "]),
        ("store read name", &["demo\r\n"]),
        ("store read /local/domain/0/vm", &["E"]),
        ("disk info", &["sectors: 131072"]),
        ("disk bench", &["32 MiB read in", "MiB/s"]),
        ("disk check", &["good, check 2"]),
        ("net stat", &["addresses 10.0.9.77"]),
        ("nonsense", &["not known; try help"]),
    ] {
        let said = ask(&guest, line)?;
        for answer in answers {
            ensure!(said.contains(answer), "{line:?} is answered by {said:?}, without {answer:?}");
        }
    }
    context.agent.check("xl shutdown demo")?;
    guest.wait_for_end(LIMIT)?;
    Ok(())
}

fn survives(context: &Context) -> Result<()> {
    let mut guest = start(context, &blank(context)?)?;
    let check = |guest: &Guest, number: u32| {
        let said = ask(guest, "disk check")?;
        ensure!(said.contains(&format!("good, check {number}")), "{said}");
        anyhow::Ok(())
    };
    let before = number(&status(context)?, "/uptime")?;
    context.agent.check("xl pause demo; sleep 2; xl unpause demo")?;
    check(&guest, 2)?;

    // Saved and gone, then back: the same memory in another domain.
    let file = format!("{FOLDER}/demo.saved");
    context.agent.check(&format!("xl save demo {file}"))?;
    ensure!(guest.state()?.is_none(), "a saved domain is still there");
    context.agent.check(&format!("xl restore {file}"))?;
    guest.listen_again()?;
    check(&guest, 3)?;
    let seen = status(context)?;
    ensure!(number(&seen, "/uptime")? > before, "the time begins anew: {seen}");
    let events = seen.pointer("/events").map(Value::to_string).unwrap_or_default();
    ensure!(events.contains("restored") && events.contains("started"), "{events}");
    guest.viewer()?.picture()?;
    guest.viewer_of_dom0()?.picture()?;

    // Saved and let go on, and then saved once more.
    context.agent.check(&format!("xl save -c demo {file}"))?;
    check(&guest, 4)?;
    ensure!(status(context)?.to_string().contains("goes on"), "nobody has noticed");
    context.agent.check(&format!("xl save demo {file} && xl restore {file}"))?;
    guest.listen_again()?;
    check(&guest, 5)?;

    context.agent.check("xl reboot demo")?;
    // The console forgets what is printed while nobody listens.
    let end = Instant::now() + LIMIT;
    let is_new = |seen: Value| text(&seen, "/disk/check").is_ok_and(|check| check == "good, check 6");
    while !status(context).is_ok_and(is_new) {
        ensure!(Instant::now() < end, "it does not start again");
        thread::sleep(Duration::from_secs(1));
    }
    guest.listen_again()?;
    check(&guest, 7)?;
    let seen = status(context)?;
    ensure!(!seen.to_string().contains("restored"), "this is not a new one: {seen}");
    guest.serial().send(b"poweroff\r")?;
    guest.wait_for_end(LIMIT)?;
    Ok(())
}

/// Disks with something at their beginning, and at their end.
fn foreign(context: &Context) -> Result<()> {
    let disk = blank(context)?;
    for place in [3, 131_071] {
        context.agent.check(&format!(
            "truncate -s 0 {disk}; truncate -s 64M {disk}
            printf somebody | dd of={disk} bs=512 seek={place} conv=notrunc 2>/dev/null; sha256sum {disk} >/tmp/before"
        ))?;
        let guest = start(context, &disk)?;
        guest.serial().wait_for("disk: holds other data, left alone", LIMIT)?;
        let said = ask(&guest, "disk check")?;
        ensure!(said.contains("left alone"), "{said}");
        context.agent.check("xl shutdown demo")?;
        guest.wait_for_end(LIMIT)?;
        context.agent.check("sync; sha256sum -c /tmp/before")?;
    }
    Ok(())
}
