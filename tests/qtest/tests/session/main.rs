//! The program as a client of the qtest protocol sees it: started, spoken to over sockets, ended.

mod boot;
mod client;
mod discs;
mod migration;
mod usb;

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;
use std::time::Duration;

use client::{Client, Folder, PROGRAM, wait_for};
use serde_json::json;

/// A disk whose sector `n` is filled with `n + 1`.
fn disk(folder: &Folder) -> String {
    let path = folder.file("disk.img");
    let content: Vec<u8> = (0..64_u8).flat_map(|sector| [sector + 1; 512]).collect();
    fs::write(&path, content).unwrap();
    path.display().to_string()
}

#[test]
fn the_functions_of_a_pc_are_on_the_bus() {
    let mut client = Client::start(Folder::new(), &["-machine", "pc"]);
    assert_eq!(client.config(0, 0, 0), 0x1237_8086, "the host bridge of the i440FX");
    assert_eq!(client.config(1, 0, 0), 0x7000_8086, "the ISA bridge of the PIIX3");
    assert_eq!(client.config(1, 1, 0), 0x7010_8086, "its IDE controller");
    assert_eq!(client.config(1, 3, 0), 0x7113_8086, "power management of the PIIX4");
    assert_eq!(client.config(2, 0, 0), 0x1111_1234, "the graphics card");
    assert_eq!(client.config(31, 0, 0), 0xffff_ffff, "nothing");
}

#[test]
fn firmware_finds_its_memory_and_its_boot_order() {
    let mut client = Client::start(Folder::new(), &["-m", "64M", "-boot", "order=dc", "-nodefaults"]);
    let mut cmos = |index: u8| {
        client.ok(&format!("outb 0x70 {index:#x}"));
        client.number("inb 0x71")
    };
    // Memory above 16 MiB in 64 KiB, and the first two boot devices: CD, then disk.
    assert_eq!(cmos(0x34) | cmos(0x35) << 8, (64 - 16) * 16);
    assert_eq!(cmos(0x3d), 0x23);
    client.ok("outw 0x510 0");
    let signature = [(); 4].map(|()| client.number("inb 0x511"));
    assert_eq!(signature, [b'Q', b'E', b'M', b'U'].map(u64::from));
    client.ok("outw 0x510 3");
    let bytes = (0..8).fold(0, |bytes, at| bytes | client.number("inb 0x511") << (8 * at));
    assert_eq!(bytes, 64 << 20);
}

#[test]
fn a_disk_identifies_itself_by_pio() {
    let folder = Folder::new();
    let disk = disk(&folder);
    let drive = format!("file={disk},if=none,id=d,format=raw");
    let arguments = ["-nodefaults", "-drive", &drive, "-device", "ide-hd,drive=d,serial=testdisk,bus=ide.0,unit=0"];
    let mut client = Client::start(folder, &arguments);
    client.ok("irq_intercept_in ioapic");
    client.ok("outb 0x3f6 0");
    client.ok("outb 0x1f6 0xa0");
    client.ok("outb 0x1f7 0xec");
    assert_eq!(client.number("inb 0x3f6"), 0x58, "DRDY, DSC and DRQ");
    assert_eq!(client.interrupts, ["raise 14"]);
    assert_eq!(client.number("inb 0x1f7"), 0x58);
    assert_eq!(client.interrupts, ["raise 14", "lower 14"], "reading the status takes the interrupt back");
    let words: Vec<u64> = (0..256).map(|_| client.number("inw 0x1f0")).collect();
    assert_eq!(words[60] | words[61] << 16, 64, "sectors of LBA28");
    let serial: Vec<u8> = words[10..20].iter().flat_map(|word| u16::try_from(*word).unwrap().to_be_bytes()).collect();
    assert_eq!(String::from_utf8(serial).unwrap().trim(), "testdisk");
    assert_eq!(client.number("inb 0x3f6"), 0x50, "no more data");
}

#[test]
fn a_disk_is_read_and_written_by_dma() {
    let folder = Folder::new();
    let disk = disk(&folder);
    let mut client = Client::start(folder, &["-hda", &disk]);
    client.ok("irq_intercept_in ioapic");
    client.set_config(1, 1, 0x20, 0xc001);
    client.set_config(1, 1, 0x04, 5);
    // Two descriptors, 512 and 1024 bytes.
    client.ok("writel 0x1000 0x20000");
    client.ok("writel 0x1004 512");
    client.ok("writel 0x1008 0x30000");
    client.ok("writel 0x100c 0x80000400");
    let transfer = |client: &mut Client, command: u8, start: u8, stop: u8| {
        client.ok("outb 0xc000 0");
        client.ok("outb 0xc002 6");
        client.ok("outl 0xc004 0x1000");
        for (port, value) in [(0x1f6, 0xe0), (0x1f2, 3), (0x1f3, 5), (0x1f4, 0), (0x1f5, 0), (0x1f7, command)] {
            client.ok(&format!("outb {port:#x} {value:#x}"));
        }
        client.ok(&format!("outb 0xc000 {start}"));
        assert_eq!(client.number("inb 0xc002") & 7, 4, "an interrupt, no error, not active");
        assert_eq!(client.number("inb 0x1f7"), 0x50);
        client.ok(&format!("outb 0xc000 {stop}"));
    };
    transfer(&mut client, 0xc8, 9, 8);
    assert_eq!(client.interrupts, ["raise 14", "lower 14"]);
    assert_eq!(client.memory(0x2_0000, 513), [&[6; 512][..], &[0]].concat());
    assert_eq!(client.memory(0x3_0000, 1024), [[7; 512], [8; 512]].concat());
    client.ok("memset 0x20000 512 0xee");
    transfer(&mut client, 0xca, 1, 0);
    let content = fs::read(&disk).unwrap();
    assert_eq!((content[5 * 512 - 1], content[5 * 512], content[6 * 512 - 1], content[6 * 512]), (5, 0xee, 0xee, 7));
}

/// What `ide-test` does with a flush that takes its time, and with one that fails and is tried again.
#[test]
fn a_flush_waits_and_fails_as_the_client_wants() {
    const BUSY: u64 = 0xc0;
    const READY: u64 = 0x50;
    let folder = Folder::new();
    let (file, script) = (disk(&folder), folder.file("script"));
    let rule = "event = \"flush_to_disk\"\nerrno = \"5\"\nstate = \"1\"\nimmediately = \"off\"\nonce = \"on\"\n";
    let state = "event = \"flush_to_disk\"\nnew_state = \"2\"\n";
    fs::write(&script, format!("[inject-error]\n{rule}[set-state]\n{state}")).unwrap();
    let drive =
        format!("file=blkdebug:{}:{file},if=ide,cache=writeback,format=raw,rerror=stop,werror=stop", script.display());
    let mut client = Client::start(folder, &["-machine", "pc", "-drive", &drive]);
    let hmp = |words: &str| {
        format!(
            "{{'execute': 'human-monitor-command', 'arguments': {{'command-line': 'qemu-io ide0-hd0 \"{words}\"'}}}}"
        )
    };
    assert_eq!(client.qmp(&hmp("break flush_to_os A"))["return"], "");
    client.ok("outb 0x1f6 0");
    client.ok("outb 0x1f7 0xe7");
    assert_eq!(client.number("inb 0x1f7") & 0xe9, BUSY);
    assert_eq!(client.qmp(&hmp("resume A"))["return"], "");
    // Now it goes on, and fails.
    client.event("STOP");
    assert_eq!(client.qmp("{'execute': 'query-status'}")["return"]["status"], "io-error");
    assert_eq!(client.number("inb 0x1f7") & 0xe9, BUSY);
    client.qmp("{'execute': 'cont'}");
    assert_eq!(client.number("inb 0x1f7"), READY);
    let refused = client.qmp("{'execute': 'human-monitor-command', 'arguments': {'command-line': 'info pci'}}");
    assert_eq!(refused["error"]["class"], "GenericError");
}

/// What QEMU's `/ahci/reset/pending_callback` does: a command that is cut off while its disk is at work.
#[test]
fn a_reset_does_not_wait_for_a_slow_disk() {
    let folder = Folder::new();
    let file = disk(&folder);
    let drive = format!("file={file},if=ide,format=raw,throttling.bps-write=2048");
    let mut client = Client::start(folder, &["-nodefaults", "-drive", &drive]);
    let command = |client: &mut Client, lba: u8, command: u8| {
        for (port, value) in [(0x1f2, 1), (0x1f3, lba), (0x1f4, 0), (0x1f5, 0), (0x1f6, 0xe0), (0x1f7, command)] {
            client.ok(&format!("outb {port:#x} {value:#x}"));
        }
    };
    let write = |client: &mut Client, lba: u8, word: u16| {
        command(client, lba, 0x30);
        for _ in 0..256 {
            client.ok(&format!("outw 0x1f0 {word:#x}"));
        }
        client.number("inb 0x1f7") & 0x80 != 0
    };
    let read = |client: &mut Client, lba: u8| {
        command(client, lba, 0x20);
        while client.number("inb 0x1f7") & 0x80 != 0 {
            thread::sleep(Duration::from_millis(5));
        }
        let words: Vec<_> = (0..256).map(|_| client.number("inw 0x1f0")).collect();
        words[255]
    };
    assert!(!write(&mut client, 0, 0x1111), "the first is done at once");
    assert!(write(&mut client, 1, 0x2222), "the second is not");
    client.ok("outb 0x3f6 4");
    client.ok("outb 0x3f6 0");
    assert_eq!(client.number("inb 0x1f7") & 0x80, 0, "nobody waits for it any more");
    assert_eq!(read(&mut client, 0), 0x1111, "a command that needs the disk does");
    assert_eq!(read(&mut client, 1), 0x2222, "and the data is there");
}

#[test]
fn bytes_go_out_of_a_serial_port_and_come_in() {
    let folder = Folder::new();
    let (path, file) = (folder.file("com1.sock"), folder.file("com2.txt"));
    let listener = UnixListener::bind(&path).unwrap();
    let chardev = format!("socket,id=s,path={}", path.display());
    let second = format!("file:{}", file.display());
    let arguments = ["-nodefaults", "-chardev", &chardev, "-serial", "chardev:s", "-serial", &second];
    let mut client = Client::start(folder, &arguments);
    let (mut peer, _) = listener.accept().unwrap();
    client.ok("irq_intercept_in ioapic");
    for letter in *b"ok" {
        client.ok(&format!("outb 0x2f8 {letter}"));
        client.ok(&format!("outb 0x3f8 {letter}"));
    }
    wait_for(&client.folder().file("com2.txt"), b"ok");
    let mut seen = [0; 2];
    std::io::Read::read_exact(&mut peer, &mut seen).unwrap();
    assert_eq!(seen, *b"ok");
    // An interrupt for received data, by OUT2.
    client.ok("outb 0x3fc 8");
    client.ok("outb 0x3f9 1");
    peer.write_all(b"a").unwrap();
    while client.number("inb 0x3fd") & 1 == 0 {}
    assert_eq!(client.number("inb 0x3f8"), u64::from(b'a'));
    assert_eq!(client.interrupts, ["raise 4", "lower 4"]);
}

#[test]
fn video_memory_is_there_by_its_aperture_and_by_the_window() {
    let mut client = Client::start(Folder::new(), &["-vga", "std"]);
    client.set_config(2, 0, 0x10, 0xe000_0000);
    client.set_config(2, 0, 0x04, 2);
    client.ok("write 0xe0000ffe 4 0x01020304");
    assert_eq!(client.memory(0xe000_0fff, 3), [2, 3, 4]);
    // Chain-4, so that the window is a view of the first 64 KiB.
    for (index, value) in [(2, 0x0f), (4, 0x0e)] {
        client.ok(&format!("outw 0x3c4 {:#x}", value << 8 | index));
    }
    client.ok("outw 0x3ce 0x0506");
    client.ok("outw 0x3ce 0x4005");
    client.ok("outw 0x3ce 0xff08");
    client.ok("writeb 0xa0010 0x5a");
    assert_eq!(client.number("readb 0xa0010"), 0x5a);
    assert_eq!(client.memory(0xe000_0010, 1), [0x5a]);
}

#[test]
fn the_clock_stands_until_it_is_stepped() {
    let mut client = Client::start(Folder::new(), &["-nodefaults"]);
    assert_eq!(client.ok("clock_step 1000000"), "1000000");
    assert_eq!(client.ok("clock_set 2000000"), "2000000");
    assert!(client.command("clock_step").starts_with("FAIL cannot advance clock"), "nothing waits for the clock");
    client.qmp("{'execute': 'stop'}");
    assert_eq!(client.command("clock_step 1"), "FAIL could not advance time");
    client.qmp("{'execute': 'cont'}");
    assert_eq!(client.ok("clock_step 1"), "2000001");
}

#[test]
fn the_operator_resets_the_machine_and_the_guest_does() {
    let mut client = Client::start(Folder::new(), &["-nodefaults"]);
    let reset = |client: &mut Client| {
        let event = client.qmp_read();
        assert_eq!(event["event"], "RESET");
        event["data"]["guest"].clone()
    };
    client.set_config(0, 0, 0x58, 0x1000);
    assert_eq!(client.config(0, 0, 0x58) & 0xff00, 0x1000);
    // The reset control register.
    client.ok("outb 0xcf9 2");
    client.ok("outb 0xcf9 6");
    assert_eq!(reset(&mut client), json!(true));
    assert_eq!(client.config(0, 0, 0x58) & 0xff00, 0);
    assert_eq!(client.qmp("{'execute': 'system_reset'}"), json!({"return": {}}));
    let status = client.qmp("{'execute': 'query-status'}");
    assert_eq!(status["return"]["status"], "running");
    let refused = client.qmp("{'execute': 'device_add', 'arguments': {'driver': 'e1000', 'id': 'n'}}");
    assert_eq!(refused["error"]["class"], "GenericError");
}

#[test]
fn the_program_ends_when_it_is_told_to() {
    let mut client = Client::start(Folder::new(), &["-nodefaults"]);
    client.terminate();
    assert_eq!(client.wait().code(), Some(0), "SIGTERM");
    let mut client = Client::start(Folder::new(), &["-nodefaults"]);
    assert_eq!(client.qmp("{'execute': 'quit'}"), json!({"return": {}}));
    assert_eq!(client.qmp_read()["event"], "SHUTDOWN");
    assert_eq!(client.wait().code(), Some(0), "quit");
}

#[test]
fn what_is_not_supported_ends_the_program_with_its_name() {
    let output = Command::new(PROGRAM).args(["-accel", "qtest", "-device", "nvme,serial=x"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(message.trim(), "devmodel-system-x86_64: \"-device nvme,serial=x\": the device nvme is not supported");
}
