//! Machines that go on in another program.

use std::fs;

use serde_json::json;

use super::client::{Client, Folder};

/// A machine with a disk, and one more that waits to go on in its place. `faults` is a script for the first one's disk.
fn pair(faults: Option<&str>) -> (Client, Client, String) {
    let folder = Folder::new();
    let (file, socket, script) = (folder.file("disk.img"), folder.file("migrate.sock"), folder.file("script"));
    fs::write(&file, [0; 64 * 512]).unwrap();
    fs::write(&script, faults.unwrap_or_default()).unwrap();
    let more = "if=ide,format=raw,rerror=stop,werror=stop";
    let first = format!("file=blkdebug:{}:{},{more}", script.display(), file.display());
    let second = format!("file={},{more}", file.display());
    let uri = format!("unix:{}", socket.display());
    let source = Client::start(folder, &["-m", "32", "-drive", &first]);
    let target = Client::start(Folder::new(), &["-m", "32", "-drive", &second, "-incoming", &uri]);
    (source, target, uri)
}

fn migrate(source: &mut Client, uri: &str) {
    let answer = source.qmp(&json!({"execute": "migrate", "arguments": {"uri": uri}}).to_string());
    assert_eq!(answer, json!({"return": {}}));
    assert_eq!(source.qmp("{'execute': 'query-migrate'}")["return"]["status"], "completed");
    assert_eq!(source.qmp("{'execute': 'query-status'}")["return"]["status"], "postmigrate");
}

fn status(client: &mut Client) -> String {
    client.qmp("{'execute': 'query-status'}")["return"]["status"].as_str().unwrap().to_owned()
}

/// What QEMU's `/ahci/migrate/sanity` and `simple` do.
#[test]
fn a_machine_goes_on_where_it_was() {
    let (mut source, mut target, uri) = pair(None);
    assert_eq!(status(&mut target), "inmigrate");
    source.ok("writeq 0x1ff0000 0x123456789abcdef0");
    source.set_config(2, 0, 0x10, 0xe000_0000);
    source.set_config(2, 0, 0x04, 2);
    source.ok("writeb 0xe0012345 0x41");
    source.set_config(1, 1, 0x20, 0xc001);
    source.ok("outb 0x1f3 0x55");
    source.ok("clock_step 5000000");
    source.ok("outb 0x70 0x5f");
    migrate(&mut source, &uri);
    target.event("RESUME");
    assert_eq!(status(&mut target), "running");
    assert_eq!(target.number("readq 0x1ff0000"), 0x1234_5678_9abc_def0);
    assert_eq!(target.number("readb 0xe0012345"), 0x41);
    assert_eq!(target.config(1, 1, 0x20), 0xc001);
    assert_eq!(target.number("inb 0x1f3"), 0x55);
    assert_eq!(target.ok("clock_step 1").parse(), Ok(5_000_001));
}

/// What QEMU's `/ahci/migrate/dma/halted` does, by PIO.
#[test]
fn what_has_failed_is_tried_again_elsewhere() {
    let rule = "event = \"write_aio\"\nerrno = \"5\"\nstate = \"1\"\nimmediately = \"off\"\nonce = \"on\"\n";
    let (mut source, mut target, uri) = pair(Some(&format!("[inject-error]\n{rule}")));
    for (port, value) in [(0x1f2, 1), (0x1f3, 9), (0x1f4, 0), (0x1f5, 0), (0x1f6, 0xe0), (0x1f7, 0x30)] {
        source.ok(&format!("outb {port:#x} {value:#x}"));
    }
    for _ in 0..256 {
        source.ok("outw 0x1f0 0xbeef");
    }
    source.event("STOP");
    assert_eq!(status(&mut source), "io-error");
    migrate(&mut source, &uri);
    assert_eq!(status(&mut target), "paused");
    assert_eq!(target.number("inb 0x1f7") & 0x80, 0x80, "it is at work");
    target.qmp("{'execute': 'cont'}");
    assert_eq!(target.number("inb 0x1f7"), 0x50, "it is done");
    let file = fs::read(source.folder().file("disk.img")).unwrap();
    assert!(file[9 * 512..10 * 512] == *[0xef, 0xbe].repeat(256) && file[10 * 512..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_machine_that_cannot_go_on_elsewhere_goes_on_here() {
    let (mut source, _, _) = pair(None);
    let answer = source.qmp("{'execute': 'migrate', 'arguments': {'uri': 'unix:/nowhere/at/all'}}");
    assert_eq!(answer, json!({"return": {}}));
    assert_eq!(source.qmp("{'execute': 'query-migrate'}")["return"]["status"], "failed");
    assert_eq!(status(&mut source), "running");
    let answer = source.qmp("{'execute': 'migrate', 'arguments': {'uri': 'rdma:x:1'}}");
    assert_eq!(answer["error"]["class"], "GenericError");

    let (mut source, _, _) = pair(None);
    let folder = Folder::new();
    let uri = format!("unix:{}", folder.file("socket").display());
    let mut other = Client::start(folder, &["-m", "16", "-nodefaults", "-incoming", &uri]);
    source.qmp(&json!({"execute": "migrate", "arguments": {"uri": uri}}).to_string());
    assert_eq!(source.qmp("{'execute': 'query-migrate'}")["return"]["status"], "failed", "it is another machine");
    assert_eq!(other.wait().code(), Some(1));
}
