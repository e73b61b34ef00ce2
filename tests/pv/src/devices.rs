//! Cases of the frontends against backends in dom0: Linux blkback, and QEMU's qdisk, console, framebuffer and keyboard.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;

use minios::boot;
use minios::clock;
use minios::exec::{self, Spawner};
use minios::front::block::{Block, Operation, Options, Request, SubmitError, TransferError};
use minios::front::console::Console;
use minios::front::framebuffer::Framebuffer;
use minios::front::keyboard::{Event, Keyboard};
use minios::front::{PATIENCE, XenDomain};
use minios::xenbus;
use minios::xenstore::{Xenstore, XenstoreError};

use crate::report::{Outcome, Report, equal};

const MEBIBYTE: usize = 1 << 20;

/// Runs all cases for the devices that there are.
pub(crate) async fn all(report: &mut Report, store: &Xenstore, spawner: &Spawner) {
    let begin = clock::now();
    let names = |names: Result<Vec<String>, XenstoreError>| names.map_err(|error| error.to_string());
    let (disks, consoles) = (xenbus::devices(store, "vbd").await, xenbus::devices(store, "console").await);
    let (disks, consoles) = match (names(disks), names(consoles)) {
        (Ok(disks), Ok(consoles)) => (disks, consoles),
        (Err(error), _) | (_, Err(error)) => return report.case("devices: listed", Err(error)),
    };
    let platform = Rc::new(XenDomain);
    // All handshakes go on at the same time.
    let options = Options { buffer_len: 2 * MEBIBYTE, ..Options::default() };
    let open = |path: &String| Block::new(platform.clone(), store, path, options);
    let disks: Vec<_> = disks.iter().map(open).collect();
    for disk in disks.iter().flatten() {
        spawner.spawn(disk.clone().run());
    }
    let open = |path: &String| Console::new(platform.clone(), store, path, PATIENCE);
    let consoles: Vec<_> = consoles.iter().map(open).collect();
    for console in &consoles {
        spawner.spawn(console.clone().run());
    }
    let screen = Framebuffer::new(platform.clone(), store, "device/vfb/0", (640, 480), 1024 * 768, PATIENCE);
    let keyboard = Keyboard::new(platform.clone(), store, "device/vkbd/0", true, PATIENCE);
    if let (Ok(screen), Ok(keyboard)) = (&screen, &keyboard) {
        spawner.spawn(screen.clone().run());
        spawner.spawn(keyboard.clone().run());
    }

    for disk in disks {
        match disk {
            Ok(disk) => connected_disk(report, &disk).await,
            Err(shortage) => report.case("disk: memory", Err(shortage.to_string())),
        }
    }
    for console in &consoles {
        let connected = console.session().ready().await.map_err(|status| format!("{status:?}"));
        report.case(&format!("{}: connected", console.path()), connected);
        if boot::option("echo").is_some_and(|number| console.path().ends_with(&format!("/{number}"))) {
            report.case(&format!("{}: echo", console.path()), echo(console).await);
        }
    }
    match (screen, keyboard) {
        (Ok(screen), Ok(keyboard)) => {
            report
                .case("framebuffer: connected", screen.session().ready().await.map_err(|status| format!("{status:?}")));
            report
                .case("keyboard: connected", keyboard.session().ready().await.map_err(|status| format!("{status:?}")));
            log::info!("pointer: {:?}", keyboard.pointer());
            log::info!("all connected and tried {} us after the first", clock::now().since(begin) / 1000);
            person(report, &screen, &keyboard).await;
        }
        (screen, keyboard) => {
            let shortage = screen.err().or(keyboard.err()).map(|shortage| shortage.to_string());
            report.case("framebuffer and keyboard: memory", Err(shortage.unwrap_or_default()));
        }
    }
}

type Disk = Block<XenDomain>;

/// Runs the cases for disks alone.
pub(crate) async fn disks(report: &mut Report, store: &Xenstore, spawner: &Spawner) {
    let paths = match xenbus::devices(store, "vbd").await {
        Ok(paths) => paths,
        Err(error) => return report.case("disks: listed", Err(error.to_string())),
    };
    let options = Options { buffer_len: 2 * MEBIBYTE, ..Options::default() };
    for path in paths {
        match Block::new(Rc::new(XenDomain), store, &path, options) {
            Ok(disk) => {
                spawner.spawn(disk.clone().run());
                connected_disk(report, &disk).await;
            }
            Err(shortage) => report.case("disk: memory", Err(shortage.to_string())),
        }
    }
}

async fn connected_disk(report: &mut Report, disk: &Disk) {
    let connected = disk.session().ready().await.map_err(|status| format!("{status:?}"));
    let failed = connected.is_err();
    report.case(&format!("{}: connected", disk.path()), connected);
    log::info!("{}: {:?}", disk.path(), disk.info());
    if !failed {
        disk_cases(report, disk).await;
    }
}

/// Performs transfers side by side, and says what each came to.
async fn perform(disk: &Disk, requests: &[Request]) -> Result<Vec<Result<(), TransferError>>, String> {
    let results = RefCell::new(vec![None; requests.len()]);
    let mut signal = exec::signal(disk.port().ok_or("no port")?);
    for (token, request) in (0..).zip(requests) {
        disk.submit(Request { token, ..*request }).map_err(|error| format!("{request:?}: {error}"))?;
    }
    loop {
        disk.poll(|token, result| {
            for (number, place) in (0..).zip(results.borrow_mut().iter_mut()) {
                if number == token {
                    *place = Some(result);
                }
            }
        });
        if results.borrow().iter().all(Option::is_some) {
            return Ok(results.into_inner().into_iter().flatten().collect());
        }
        signal.wait().await;
    }
}

async fn succeed(disk: &Disk, requests: &[Request]) -> Outcome {
    let results = perform(disk, requests).await?;
    if results.iter().all(Result::is_ok) { Ok(()) } else { Err(format!("{results:?}")) }
}

fn request(operation: Operation, lba: u64, sectors: u64, offset: usize) -> Request {
    Request { operation, lba, sectors, offset, token: 0 }
}

/// Bytes that differ from sector to sector and from round to round.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

async fn disk_cases(report: &mut Report, disk: &Disk) {
    let name = disk.path().to_string();
    let mut case = |what: &str, outcome| report.case(&format!("{name}: {what}"), outcome);
    if disk.info().read_only {
        let refused = disk.submit(request(Operation::Write, 0, 1, 0));
        case("read-only", equal(&refused, &Err(SubmitError::ReadOnly)));
        case("read", succeed(disk, &[request(Operation::Read, 0, 8, 0)]).await);
        return;
    }
    case("one sector", write_and_read(disk, 3, 1, 512).await);
    case("odd place and length", write_and_read(disk, 11, 77, 1536).await);
    case("one mebibyte in one transfer", write_and_read(disk, 2048, 2048, 4096 * 3).await);
    case("last sectors", write_and_read(disk, disk.info().sectors - 8, 8, 0).await);
    case("eight transfers side by side", side_by_side(disk).await);
    case("flush", succeed(disk, &[request(Operation::Flush, 0, 0, 0)]).await);
    if disk.info().features.discard.is_some() {
        case("discard", succeed(disk, &[request(Operation::Discard { secure: false }, 8192, 2048, 0)]).await);
    }
    case("speed", speed(disk).await);
}

async fn write_and_read(disk: &Disk, lba: u64, sectors: u64, offset: usize) -> Outcome {
    let len = usize::try_from(sectors).map_err(|error| error.to_string())? * 512;
    let written = pattern(len, lba + sectors);
    disk.buffer_write(offset, &written);
    succeed(disk, &[request(Operation::Write, lba, sectors, offset)]).await?;
    disk.buffer_write(offset, &vec![0xee; len]);
    succeed(disk, &[request(Operation::Read, lba, sectors, offset)]).await?;
    let mut read = vec![0; len];
    disk.buffer_read(offset, &mut read);
    let differing = read.iter().zip(&written).position(|(read, written)| read != written);
    differing.map_or(Ok(()), |at| Err(format!("differs at byte {at}")))
}

async fn side_by_side(disk: &Disk) -> Outcome {
    let part = 128 * 512;
    let sectors = 128;
    let data = pattern(8 * part, 77);
    disk.buffer_write(0, &data);
    let at = |operation, (index, offset)| request(operation, 4096 + index * sectors, sectors, offset);
    let places = || (0..8).zip((0..).step_by(part));
    let writes: Vec<_> = places().map(|place| at(Operation::Write, place)).collect();
    succeed(disk, &writes).await?;
    disk.buffer_write(0, &vec![0; 8 * part]);
    let mut reads: Vec<_> = places().map(|place| at(Operation::Read, place)).collect();
    reads.reverse();
    succeed(disk, &reads).await?;
    let mut read = vec![0; 8 * part];
    disk.buffer_read(0, &mut read);
    if read == data { Ok(()) } else { Err("other data".to_string()) }
}

/// Reads 16 MiB, and says how long it took.
async fn speed(disk: &Disk) -> Outcome {
    let begin = clock::now();
    for _ in 0..16 {
        succeed(disk, &[request(Operation::Read, 0, 2048, 0)]).await?;
    }
    let elapsed = clock::now().since(begin).max(1);
    log::info!("{}: {} MiB/s", disk.path(), 16_000_000_000 / elapsed);
    Ok(())
}

/// Says something, and waits for dom0 to answer a line.
async fn echo(console: &Console<XenDomain>) -> Outcome {
    let mut signal = exec::signal(console.port().ok_or("no port")?);
    let line = b"hello from the domain\n";
    let mut sent = 0;
    while sent < line.len() {
        sent += console.write(&line[sent..]);
        if sent < line.len() {
            signal.wait().await;
        }
    }
    let mut got = Vec::new();
    let until = clock::now().after(20_000_000_000);
    while !got.ends_with(b"ping\n") {
        let mut data = [0; 64];
        let len = console.read(&mut data);
        got.extend_from_slice(&data[..len]);
        if len == 0 && exec::before(until, signal.wait()).await.is_none() {
            return Err(format!("no answer, only {:?}", String::from_utf8_lossy(&got)));
        }
    }
    Ok(())
}

/// Draws, and waits until somebody has typed and moved the pointer.
async fn person(report: &mut Report, screen: &Framebuffer<XenDomain>, keyboard: &Keyboard<XenDomain>) {
    draw(screen);
    let (Some(screen_port), Some(keyboard_port)) = (screen.port(), keyboard.port()) else { return };
    let (mut looks, mut types) = (exec::signal(screen_port), exec::signal(keyboard_port));
    let until = clock::now().after(30_000_000_000);
    let (mut key, mut place, mut periods) = (None, None, Vec::new());
    while key.is_none() || place.is_none() {
        let either = exec::before(until, exec::first_of(looks.wait(), types.wait())).await;
        if screen.poll() {
            periods.extend(screen.refresh_period());
        }
        keyboard.poll(|event| match event {
            Event::Key { code, down } => key = Some((code, down)),
            Event::Position { x, y, .. } => place = Some((x, y)),
            Event::Motion { .. } => {}
        });
        if either.is_none() {
            break;
        }
    }
    log::info!("refresh periods {periods:?}, key {key:?}, pointer {place:?}");
    let seen = |is_seen: bool| if is_seen { Ok(()) } else { Err("nothing within 30 s".to_string()) };
    report.case("keyboard: a key", seen(key.is_some()));
    report.case("keyboard: the pointer", seen(place.is_some()));
    report.case("framebuffer: resize", if screen.resize(800, 600) { Ok(()) } else { Err("refused".to_string()) });
    draw(screen);
    exec::sleep(2_000_000_000).await;
    report.case("framebuffer: still connected", screen.session().is_connected().then_some(()).ok_or_else(String::new));
}

fn draw(screen: &Framebuffer<XenDomain>) {
    let (width, height) = screen.size();
    for y in 0..height {
        let line: Vec<u32> = (0..width).map(|x| (x & 0xff) << 16 | (y & 0xff) << 8).collect();
        screen.write(0, y, &line);
    }
    screen.update(0, 0, width, height);
    screen.flush();
}
