//! The stub domain's own VNC server, on the network of the guest's card.

use std::io::{Read as _, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::debian::{compare, draw, entry, reference};
use super::everything::{tablet, tablet_by};
use super::input::check_scan_codes;
use crate::clients::{GvncClient, LibVncClient, NoVnc, Person, TigerVnc, Vncdotool, gvnccapture, vncsnapshot};
use crate::domain::{DeviceModel, Guest, OWN_ADDRESS, OWN_ADDRESS_V6, OWN_PASSWORD, OWN_VNC, OWN_WEBSOCKET};
use crate::suite::{Case, Context};
use crate::vnc::Viewer;

pub(super) const CASES: &[Case] = &[
    Case::new("the-stub-domain-shows-its-screen-itself", 600, shows),
    Case::new("others-viewers-look-type-and-point", 600, others_viewers),
    Case::new("keys-and-movements-of-viewers-arrive", 240, hands),
    Case::new("viewers-of-the-largest-screen-take-little-memory", 300, memory),
];

/// Viewers that are let in.
const VIEWERS: usize = 8;
/// How long the guest may take for what it is asked.
const LIMIT: Duration = Duration::from_secs(60);
/// How long it takes after a wrong password until somebody is let in again, and more.
const BACK_OFF: Duration = Duration::from_secs(2);

/// No framebuffer of the toolstack, and no network card of the stub domain's own: the guest's picture comes by the guest's
/// network, under another address.
fn shows(context: &Context) -> Result<()> {
    let config = entry(context, "graphics")?
        .line("usb=1")
        .line("usbdevice='tablet'")
        .own_screen("bridge=xenbr0,model=e1000,mac=00:16:3e:01:02:05");
    let guest = context.start(&config)?;
    // It is there from the firmware's text mode on, and follows the modes that come after that.
    let mut viewer = guest.viewer()?;
    viewer.picture()?;
    draw(context, &guest, &mut viewer)?;
    drop(viewer);
    passwords(&guest)?;
    encodings(context, &guest)?;
    other_ways(context)?;
    crowd(&guest)?;
    guest.serial().send(b"modprobe -a uhci_hcd usbhid hid_generic\r")?;
    tablet(&guest, (1024, 768))
}

fn passwords(guest: &Guest) -> Result<()> {
    ensure!(guest.viewer_with(Some("falsch")).is_err(), "a wrong password is let in");
    ensure!(guest.viewer().is_err(), "there is no back-off");
    thread::sleep(BACK_OFF);
    Ok(())
}

/// By every encoding.
fn encodings(context: &Context, guest: &Guest) -> Result<()> {
    let port = context.agent.forward(&guest.vnc_address(), 0)?;
    let client = LibVncClient::build(port, OWN_PASSWORD, &context.logs)?;
    let reference = reference()?;
    for encoding in ["raw", "hextile", "zlib", "zrle", "tight", "copyrect raw"] {
        let picture = client.picture_by(encoding, OWN_PASSWORD)?.context("libvncclient is not let in")?;
        let compared = compare(&picture, &reference);
        compared.with_context(|| format!("libvncclient with encoding {encoding}"))?;
    }
    vncsnapshot(port, OWN_PASSWORD, &context.logs)
}

/// Viewers that nobody here wrote: those that stay follow the modes from the firmware's to the picture, all see it as it is,
/// and a person at each can type and point.
fn others_viewers(context: &Context) -> Result<()> {
    let config = entry(context, "graphics")?.line("usb=1").line("usbdevice='tablet'");
    let guest = context.start_paused(&config.own_screen("bridge=xenbr0,model=e1000,mac=00:16:3e:01:02:05"))?;
    let port = context.agent.forward(&guest.vnc_address(), 0)?;
    let websocket = context.agent.forward(&format!("TCP:{OWN_ADDRESS}:{OWN_WEBSOCKET}"), 0)?;
    let mut tiger = TigerVnc::open(port, OWN_PASSWORD, &context.logs)?.context("TigerVNC is not let in")?;
    let mut browser = NoVnc::open(websocket, OWN_PASSWORD)?.context("noVNC is not let in")?;
    let mut client = LibVncClient::build(port, OWN_PASSWORD, &context.logs)?;
    let mut listener = GvncClient::open(port, OWN_PASSWORD, &context.logs)?.context("libgvnc is not let in")?;
    // There is no tablet yet.
    listener.wait_for("pointer relative")?;
    let mut tool = Vncdotool::install(&context.tools, port, OWN_PASSWORD, &context.logs)?;
    let reference = reference()?;
    let follower = client.follow("zrle")?;
    let expected = context.logs.join("reference.png");
    reference.save(&expected)?;
    let (first, watcher) = tool.watch(&expected)?;
    for screen in [first, tiger.picture()?, browser.picture()?, listener.picture()?] {
        ensure!(screen.height < reference.height, "the screen has its last mode already");
    }

    guest.unpause()?;
    draw(context, &guest, &mut guest.viewer()?)?;
    guest.serial().send(b"modprobe -a uhci_hcd usbhid hid_generic; stty -F /dev/tty1 -echo\r")?;
    compare(&follower.picture()?, &reference).context("libvncclient")?;
    compare(&watcher.picture()?, &reference).context("vncdotool")?;
    listener.wait_for("size 1024 768")?;
    listener.wait_for("pointer absolute")?;
    const CAPS_LOCK: u32 = 0xffe5;
    for lamps in ["leds 4", "leds 0"] {
        listener.tell(&format!("press {CAPS_LOCK}"))?;
        listener.wait_for(lamps)?;
        // Not before: Linux hears nothing of its keyboard while it waits for that to take a command.
        listener.tell(&format!("release {CAPS_LOCK}"))?;
        thread::sleep(Duration::from_secs(1));
    }
    // Fences come with continuous updates. The guest chooses the size, whoever asks for another one.
    let said = tiger.said()?;
    ensure!(said.contains("Enabling continuous updates"), "TigerVNC asks for each update:\n{said}");
    ensure!(said.contains("SetDesktopSize failed: 1"), "TigerVNC was not told that it cannot choose a size:\n{said}");
    let persons: [(&str, &mut dyn Person); 5] = [
        ("TigerVNC", &mut tiger),
        ("noVNC", &mut browser),
        ("libvncclient", &mut client),
        ("libgvnc", &mut listener),
        ("vncdotool", &mut tool),
    ];
    for (name, person) in persons {
        operate(context, &guest, name, person).with_context(|| name.to_owned())?;
    }
    let picture = gvnccapture(port, OWN_PASSWORD, &context.logs)?.context("gvnccapture is not let in")?;
    compare(&picture, &reference).context("gvnccapture")?;

    const WRONG: &str = "falsch";
    let is_kept_out = |name: &str, is_let_in: bool| {
        ensure!(!is_let_in, "{name} is let in with a wrong password");
        // Who is let in is the end of the wait.
        thread::sleep(BACK_OFF);
        guest.viewer().map(drop)
    };
    is_kept_out("TigerVNC", TigerVnc::open(port, WRONG, &context.logs)?.is_some())?;
    is_kept_out("noVNC", NoVnc::open(websocket, WRONG)?.is_some())?;
    is_kept_out("libvncclient", client.picture_by("raw", WRONG)?.is_some())?;
    is_kept_out("libgvnc", GvncClient::open(port, WRONG, &context.logs)?.is_some())?;
    is_kept_out("vncdotool", tool.is_let_in(WRONG)?)?;
    is_kept_out("gvnccapture", gvnccapture(port, WRONG, &context.logs)?.is_some())
}

/// Looks, types a line that the guest hears, and moves the tablet from corner to corner.
fn operate(context: &Context, guest: &Guest, name: &str, person: &mut dyn Person) -> Result<()> {
    let reference = reference()?;
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let picture = person.picture()?;
        let Err(error) = compare(&picture, &reference) else { break };
        if Instant::now() > end {
            picture.save(&context.logs.join(format!("{name}.png")))?;
            return Err(error);
        }
        thread::sleep(Duration::from_millis(500));
    }
    let known = guest.serial().text().len();
    guest.serial().send(b"echo listens-$((6 * 7)); read -r line </dev/tty1; echo heard-$line\r")?;
    guest.serial().wait_for_past(known, "listens-42", LIMIT)?;
    let line = format!("{} 4711", name.to_lowercase());
    person.type_line(&line)?;
    guest.serial().wait_for_past(known, &format!("heard-{line}"), LIMIT)?;
    tablet_by(guest, (1024, 768), |places| person.point(places))
}

/// By IPv6, and by WebSocket (RFC 6455, 1.3 and 5.2) with a browser's words.
fn other_ways(context: &Context) -> Result<()> {
    context.agent.check("ip addr add fd00::1/64 dev xenbr0 nodad 2>/dev/null || :")?;
    let stream = context.agent.open(&format!("TCP6:[{OWN_ADDRESS_V6}]:{OWN_VNC}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Viewer::open_with(stream, Some(OWN_PASSWORD)).context("by IPv6")?.picture()?;

    let mut stream = context.agent.open(&format!("TCP:{OWN_ADDRESS}:{OWN_WEBSOCKET}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(
        b"GET / HTTP/1.1\r\nHost: 10.0.9.77:5701\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Protocol: binary\r\n\r\n",
    )?;
    let mut said = Vec::new();
    while !said.ends_with(b"RFB 003.008\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).with_context(|| format!("after {:?}", String::from_utf8_lossy(&said)))?;
        said.extend(byte);
    }
    let text = String::from_utf8_lossy(&said);
    ensure!(text.starts_with("HTTP/1.1 101 "), "{text}");
    ensure!(text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "the answer to the key is another: {text}");
    ensure!(said.ends_with(b"\r\n\r\n\x82\x0cRFB 003.008\n"), "no message of twelve bytes: {text}");
    Ok(())
}

/// What a viewer on a German keyboard types, pressed and released, in scan code set 1: z, y, AltGr with Q, ö; then A with
/// Shift, which nobody holds any more when the viewer has gone; then a long h, and Escape, by another one.
const GERMAN: &[u8] = &[
    0x15, 0x95, 0x2c, 0xac, 0xe0, 0x38, 0x10, 0x90, 0xe0, 0xb8, 0x27, 0xa7, 0x2a, 0x1e, 0xaa, 0x9e, 0x23, 0x23, 0xa3,
    0x01, 0x81,
];

/// Where keys are is up to the guest's configuration, for viewers that say only what is on them. Without a tablet, the pointer
/// moves: viewers that can tell movements are told to.
fn hands(context: &Context) -> Result<()> {
    const SHIFT: u32 = 0xffe1;
    const ALT_GR: u32 = 0xfe03;
    const ESCAPE: u32 = 0xff1b;
    let config = context
        .test_guest("hands", DeviceModel::Stubdom, "run=keyboard,mouse")?
        .line("keymap='de'")
        .own_screen("bridge=xenbr0,model=e1000,mac=00:16:3e:01:02:05");
    let guest = context.start(&config)?;
    guest.serial().wait_for("READY keyboard", LIMIT)?;
    let mut viewer = guest.viewer()?;
    let keys = [('z', true), ('z', false), ('y', true), ('y', false)].map(|(key, down)| (key.into(), down));
    let at = [(ALT_GR, true), ('@'.into(), true), ('@'.into(), false), (ALT_GR, false)];
    let held = [('ö'.into(), true), ('ö'.into(), false), (SHIFT, true), ('A'.into(), true)];
    for (keysym, down) in keys.into_iter().chain(at).chain(held) {
        viewer.key(keysym, down)?;
    }
    guest.serial().wait_for("SCAN 1e", LIMIT)?;
    drop(viewer);
    guest.serial().wait_for("SCAN 9e", LIMIT)?;
    let mut viewer = guest.viewer()?;
    // That a key is still down counts half a second after it went down, and not before.
    const H_DOWN: [u8; 8] = [4, 1, 0, 0, 0, 0, 0, b'h'];
    viewer.stream().write_all(&H_DOWN.repeat(8))?;
    guest.serial().wait_for("SCAN 23", LIMIT)?;
    thread::sleep(Duration::from_secs(1));
    viewer.key('h'.into(), true)?;
    viewer.key('h'.into(), false)?;
    viewer.key(ESCAPE, true)?;
    viewer.key(ESCAPE, false)?;
    let output = guest.serial().wait_for("PASS keyboard", LIMIT)?;
    check_scan_codes(&output, GERMAN)?;

    guest.serial().wait_for("READY mouse", LIMIT)?;
    let port = context.agent.forward(&guest.vnc_address(), 0)?;
    let mut mover = GvncClient::open(port, OWN_PASSWORD, &context.logs)?.context("libgvnc is not let in")?;
    mover.wait_for("pointer relative")?;
    mover.tell("move 10 -5")?;
    guest.serial().wait_for("MOUSE 0 10 5 0", LIMIT)?;
    // Further than the screen is wide; PS/2 has nine bits. What the guest has not read yet adds up.
    for _ in 0..4 {
        mover.tell("move 200 100")?;
    }
    guest.serial().wait_until(0, "way of 810 pixels", LIMIT, |said| way(said) == 810)?;
    // Of other viewers it is worked out; the first place is where movements are counted from.
    viewer.point(100, 100, 0)?;
    viewer.point(107, 104, 0)?;
    guest.serial().wait_for("MOUSE 0 7 -4 0", LIMIT)?;
    [4, 0].into_iter().try_for_each(|buttons| viewer.point(107, 104, buttons))?;
    let output = guest.serial().wait_for("PASS mouse", LIMIT)?;
    ensure!(way(&output) == 817, "the guest's mouse has not moved by 817:\n{output}");
    guest.wait_for_end(LIMIT)
}

/// How far the guest's mouse has moved to the right. The last line may be half printed.
fn way(said: &str) -> i32 {
    let lines = said.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let packets = lines.filter_map(|line| line.trim().strip_prefix("MOUSE "));
    packets.filter_map(|packet| packet.split(' ').nth(1)?.parse::<i32>().ok()).sum()
}

/// What the server may take with some viewers, in KiB.
const MOST_MEMORY: usize = 4 << 10;

/// What the server and its viewers take of the stub domain's memory, as that says itself: the largest screen, and pictures that
/// nothing packs well.
fn memory(context: &Context) -> Result<()> {
    let config = context
        .test_guest("memory", DeviceModel::Stubdom, "run=noise width=1920 height=1200")?
        .own_screen("bridge=xenbr0,model=e1000,mac=00:16:3e:01:02:05");
    let guest = context.start(&config)?;
    guest.serial().wait_for("READY noise", LIMIT)?;
    let port = context.agent.forward(&guest.vnc_address(), 0)?;
    let client = LibVncClient::build(port, OWN_PASSWORD, &context.logs)?;
    let encodings = ["zrle", "tight", "zlib", "hextile"];
    let mut followers = Vec::new();
    for (encoding, number) in encodings.iter().zip(1..) {
        followers.push(client.follow(encoding)?);
        // The next one knocks when this one was let in: few may wait at the door.
        context.wait_for_stubdom_log(guest.name(), &[&format!("viewer {number} of {VIEWERS};")])?;
    }
    for letter in "abc".chars() {
        let known = guest.serial().text().len();
        guest.serial().send(&[u8::try_from(letter)?])?;
        guest.serial().wait_for_past(known, &letter.to_string(), LIMIT)?;
    }
    let screens: Vec<_> = thread::scope(|scope| {
        let looks: Vec<_> = followers.into_iter().map(|follower| scope.spawn(|| follower.picture())).collect();
        looks.into_iter().map(|look| look.join().unwrap_or_else(|_| bail!("a viewer has failed"))).collect()
    });
    let expected = guest.viewer()?.picture()?.clone();
    for (encoding, screen) in encodings.iter().zip(screens) {
        compare(&screen?, &expected).with_context(|| format!("libvncclient with encoding {encoding}"))?;
    }
    let log = context.wait_for_stubdom_log(guest.name(), &["VNC: viewers: 3;", "VNC: viewers: 0;"])?;
    let taken = server_memory(&log).with_context(|| format!("what the server takes is not in the log:\n{log}"))?;
    println!("        the VNC server with {} viewers takes {taken} KiB", encodings.len());
    ensure!(taken <= MOST_MEMORY, "the server takes {taken} KiB:\n{log}");
    guest.serial().send(b"q")?;
    guest.wait_for_end(LIMIT)
}

/// What the server takes without viewers, and what those add to that at most, in KiB.
fn server_memory(log: &str) -> Option<usize> {
    let alone: usize = log.split_once("), with ")?.1.split(' ').next()?.parse().ok()?;
    // What was in use then, and at most since the time before, whenever a viewer came or left.
    let mut times = log.lines().filter_map(|line| {
        let (_, words) = line.split_once("; memory")?;
        let mut numbers = words.split(' ').filter_map(|word| word.parse::<usize>().ok());
        Some((numbers.next()?, numbers.nth(1)?))
    });
    let (before, _) = times.next()?;
    let most = times.map(|(_, most)| most).max()?;
    (most + alone).checked_sub(before)
}

/// As many viewers as there can be see the same at the same time, though one of them never reads and one sends what is no
/// message; one more is not let in.
fn crowd(guest: &Guest) -> Result<()> {
    let mut stalled = guest.viewer()?;
    stalled.ask()?;
    let mut rude = guest.viewer()?;
    rude.stream().write_all(&[99; 100])?;
    let mut viewers = Vec::new();
    for number in 0..VIEWERS - 2 {
        viewers.push(guest.viewer().with_context(|| format!("viewer {number}"))?);
    }
    let reference = reference()?;
    thread::scope(|scope| {
        let looks: Vec<_> = viewers
            .iter_mut()
            .map(|viewer| scope.spawn(|| viewer.picture().and_then(|screen| compare(screen, &reference))))
            .collect();
        looks.into_iter().try_for_each(|look| look.join().unwrap_or_else(|_| Ok(())))
    })?;
    ensure!(rude.picture().is_err(), "who sends no messages keeps its connection");
    // That one has left its place.
    viewers.push(guest.viewer()?);
    ensure!(guest.viewer().is_err(), "there are more viewers than there can be");
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_log_says_what_a_server_takes() {
        let log = "[  0.1] VNC: port 5901 of 02:16:3e:01:02:05 (10.0.9.77), with 256 KiB of memory
[  1.0] VNC: 10.0.9.1 has connected, viewer 1 of 8; memory before: 1000 KiB of 31208 in use, 9000 at most
[  2.0] VNC: 10.0.9.1 has connected, viewer 2 of 8; memory before: 1500 KiB of 31208 in use, 1700 at most
[  3.0] VNC: 10.0.9.1 has left
[  3.0] VNC: viewers: 1; memory: 1400 KiB of 31208 in use, 2100 at most";
        assert_eq!(super::server_memory(log), Some(1356));
        assert_eq!(super::server_memory("VNC: port 5901 (10.0.9.77), with 256 KiB of memory"), None);
    }
}
