//! The machine with its CPU: SeaBIOS starts, and boots what is there.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, Folder};

/// How long a boot may take, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where the boot sector says that it ran.
const MARK: u64 = 0x7d10;

/// A boot sector that prints by INT 10h, sends `!` to COM1, leaves 0xdead at [`MARK`] and sleeps.
fn boot_sector() -> Vec<u8> {
    let code = [
        0x31, 0xc0, 0x8e, 0xd8, // DS = 0
        0xbe, 0x25, 0x7c, // the text
        0xac, 0x84, 0xc0, 0x74, 0x09, // its next letter, until a zero
        0xb4, 0x0e, 0xbb, 0x07, 0x00, 0xcd, 0x10, 0xeb, 0xf2, // is printed
        0xba, 0xf8, 0x03, 0xb0, b'!', 0xee, // OUT
        0xc7, 0x06, 0x10, 0x7d, 0xad, 0xde, // the mark
        0xfb, 0xf4, 0xeb, 0xfd, // STI, as SeaBIOS keeps the last letter until an interrupt; HLT
    ];
    let mut sector = code.to_vec();
    sector.extend(b"Hello from the boot sector\r\n\0");
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

/// Waits until the serial port's file has these words.
fn wait_for_words(folder: &Folder, words: &str) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let text = String::from_utf8_lossy(&fs::read(folder.file("serial")).unwrap_or_default()).into_owned();
        if text.contains(words) {
            return text;
        }
        assert!(Instant::now() < end, "{words:?} is not in {text:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until the boot sector has run. Each question is answered, whatever the guest does.
fn wait_for_mark(client: &mut Client) {
    let end = Instant::now() + PATIENCE;
    while client.number(&format!("readw {MARK:#x}")) != 0xdead {
        assert!(Instant::now() < end, "the boot sector does not run");
        thread::sleep(Duration::from_millis(50));
    }
}

fn start(folder: Folder, arguments: &[&str]) -> Client {
    let serial = format!("file,id=serial0,path={}", folder.file("serial").display());
    let mut all = vec!["-M", "pc,graphics=off", "-accel", "kvm", "-accel", "tcg", "-no-shutdown"];
    all.extend(["-chardev", &serial, "-serial", "chardev:serial0"]);
    all.extend(arguments);
    Client::start(folder, &all)
}

#[test]
fn seabios_boots_a_boot_sector_that_prints() {
    let folder = Folder::new();
    let disk = folder.file("disk.img");
    let mut content = boot_sector();
    content.resize(1 << 20, 0);
    fs::write(&disk, content).unwrap();
    let drive = format!("file={},format=raw,if=ide", disk.display());
    let mut client = start(folder, &["-drive", &drive]);
    // The client is answered while the guest runs.
    wait_for_mark(&mut client);
    let text = wait_for_words(client.folder(), "r\r\n");
    for words in ["SeaBIOS (version", "Booting from Hard Disk", "Hello from the boot secto", "!"] {
        assert!(text.contains(words), "{words:?} is not in {text:?}");
    }
    assert_eq!(client.qmp("{'execute': 'query-status'}")["return"]["status"], "running");
    assert_eq!(client.command("clock_step 1000"), "FAIL the clock is the CPU's");
    // It starts once more.
    client.ok(&format!("writew {MARK:#x} 0"));
    client.qmp("{'execute': 'system_reset'}");
    wait_for_mark(&mut client);
}

/// `-boot order=n`: iPXE asks the station on the user network for an address and for the file.
#[test]
fn a_file_is_booted_from_the_network() {
    let folder = Folder::new();
    fs::write(folder.file("boot.bin"), boot_sector()).unwrap();
    let netdev = format!("user,id=net0,tftp={},bootfile=boot.bin", folder.file("").display());
    let arguments = ["-nodefaults", "-boot", "order=n", "-netdev", &netdev, "-device", "e1000,netdev=net0"];
    let client = start(folder, &arguments);
    let text = wait_for_words(client.folder(), "Hello from the boot secto");
    assert!(text.contains("10.0.2.15/255.255.255.0"), "{text:?}");
}

/// A guest that does nothing but write to itself and to every port does not keep the client waiting.
#[test]
fn a_wild_guest_does_not_keep_the_client_from_its_answers() {
    let folder = Folder::new();
    let firmware = folder.file("wild.bin");
    // At the reset vector: a jump to 0xf000:0xff00, where DX counts up and AX goes to the port, for ever.
    let mut rom = vec![0xff; 0x1_0000];
    rom[0xff00..0xff04].copy_from_slice(&[0xee, 0x42, 0xeb, 0xfc]);
    rom[0xfff0..0xfff5].copy_from_slice(&[0xea, 0x00, 0xff, 0x00, 0xf0]);
    fs::write(&firmware, rom).unwrap();
    let mut client = start(folder, &["-bios", &firmware.display().to_string()]);
    for _ in 0..100 {
        client.ok("readb 0x400");
    }
    assert_eq!(client.qmp("{'execute': 'query-status'}")["return"]["status"], "running");
}
