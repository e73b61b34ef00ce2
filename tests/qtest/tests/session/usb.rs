//! USB devices that are plugged in and taken out, and a disk among them, as a driver uses it.

use std::fs;

use serde_json::{Value, json};

use super::client::{Client, Folder};

/// Where the controller's registers are.
const PORTS: u32 = 0xc040;
/// Where the frame list, the queue head, descriptors and data are.
const LIST: u32 = 0x10_0000;
const QUEUE: u32 = 0x10_1000;
const DESCRIPTORS: u32 = 0x10_2000;
const DATA: u32 = 0x10_8000;

const SETUP: u32 = 0x2d;
const IN: u32 = 0x69;
const OUT: u32 = 0xe1;
const ACTIVE: u64 = 1 << 23;
const STALLED: u64 = 1 << 22;
const MILLISECOND: u64 = 1_000_000;

/// A machine whose USB controller runs, with one queue in every frame, and a medium called `drive0` in no drive: sector `n`
/// of its file is filled with `n + 1`.
fn machine() -> Client {
    let folder = Folder::new();
    let path = folder.file("stick.img");
    fs::write(&path, (0..32_u8).flat_map(|sector| [sector + 1; 512]).collect::<Vec<_>>()).unwrap();
    let drive = format!("if=none,id=drive0,format=raw,file={}", path.display());
    let mut client = Client::start(folder, &["-usb", "-nodefaults", "-drive", &drive]);
    client.set_config(1, 2, 0x20, PORTS);
    client.set_config(1, 2, 0x04, 5);
    client.ok(&format!("memset {LIST:#x} 0x1000 0"));
    for frame in 0..1024 {
        client.ok(&format!("writel {:#x} {:#x}", LIST + frame * 4, QUEUE | 2));
    }
    write_words(&mut client, QUEUE, &[1, 1]);
    client.ok(&format!("outl {:#x} {LIST:#x}", PORTS + 8));
    client.ok(&format!("outw {PORTS:#x} 0x81"));
    client
}

fn write_words(client: &mut Client, at: u32, words: &[u32]) {
    for (word, at) in words.iter().zip((at..).step_by(4)) {
        client.ok(&format!("writel {at:#x} {word:#x}"));
    }
}

/// Sends or asks for the data in memory, in packets. How many bytes went, unless the endpoint stalls.
fn transfer(client: &mut Client, pid: u32, address: u32, endpoint: u32, len: u32) -> Option<u32> {
    let packet = if endpoint == 0 { 8 } else { 64 };
    let count = len.div_ceil(packet).max(1);
    for number in 0..count {
        let at = DESCRIPTORS + number * 16;
        let bytes = packet.min(len - number * packet);
        let next = if number + 1 == count { 1 } else { (at + 16) | 4 };
        let token = pid | address << 8 | endpoint << 15 | (bytes.wrapping_sub(1) & 0x7ff) << 21;
        // Active, three errors, short packets are noticed.
        write_words(client, at, &[next, 1 << 29 | 3 << 27 | 1 << 23, token, DATA + number * packet]);
    }
    write_words(client, QUEUE + 4, &[DESCRIPTORS]);
    let mut done = 0;
    for number in 0..count {
        let at = DESCRIPTORS + number * 16 + 4;
        let mut status = client.number(&format!("readl {at:#x}"));
        for _ in 0..200 {
            if status & ACTIVE == 0 {
                break;
            }
            client.ok(&format!("clock_step {MILLISECOND}"));
            status = client.number(&format!("readl {at:#x}"));
        }
        assert_eq!(status & ACTIVE, 0, "packet {number} of {count} waits");
        if status & STALLED != 0 {
            return None;
        }
        let bytes = u32::try_from((status + 1) & 0x7ff).unwrap();
        done += bytes;
        if bytes < packet {
            break;
        }
    }
    write_words(client, QUEUE + 4, &[1]);
    Some(done)
}

fn put(client: &mut Client, bytes: &[u8]) {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    client.ok(&format!("write {DATA:#x} {} 0x{digits}", bytes.len()));
}

/// A control transfer without data.
fn request(client: &mut Client, address: u32, setup: [u8; 8]) -> Option<()> {
    put(client, &setup);
    transfer(client, SETUP, address, 0, 8)?;
    transfer(client, IN, address, 0, 0).map(drop)
}

/// Resets the first port, and takes the device in it into use at this address.
fn enumerate(client: &mut Client, address: u8) {
    for value in [0x0200, 0x0000, 0x000e] {
        client.ok(&format!("outw {:#x} {value:#x}", PORTS + 0x10));
    }
    request(client, 0, [0, 5, address, 0, 0, 0, 0, 0]).unwrap();
    request(client, address.into(), [0, 9, 1, 0, 0, 0, 0, 0]).unwrap();
}

/// A command of the disk at address 1: bCSWStatus, and the data.
fn command(client: &mut Client, command: &[u8], give: Option<&[u8]>, take: u32) -> (u8, Vec<u8>) {
    let expected = give.map_or(take, |data| u32::try_from(data.len()).unwrap());
    let mut wrapper = [&b"USBC\x01\x02\x03\x04"[..], &expected.to_le_bytes()].concat();
    wrapper.extend([if give.is_some() { 0 } else { 0x80 }, 0, u8::try_from(command.len()).unwrap()]);
    wrapper.extend(command);
    wrapper.resize(31, 0);
    put(client, &wrapper);
    assert_eq!(transfer(client, OUT, 1, 2, 31), Some(31));
    let mut data = Vec::new();
    if let Some(bytes) = give {
        put(client, bytes);
        assert_eq!(transfer(client, OUT, 1, 2, expected), Some(expected));
    } else if take > 0 {
        match transfer(client, IN, 1, 1, take) {
            Some(len) => data = client.memory(DATA.into(), len as usize),
            None => request(client, 1, [2, 1, 0, 0, 0x81, 0, 0, 0]).expect("the endpoint goes on"),
        }
    }
    assert_eq!(transfer(client, IN, 1, 1, 13), Some(13));
    let status = client.memory(DATA.into(), 13);
    assert_eq!(status[..8], *b"USBS\x01\x02\x03\x04");
    (status[12], data)
}

fn plug(client: &mut Client, more: &Value) -> Value {
    let mut arguments = json!({"driver": "usb-storage", "id": "stick", "drive": "drive0"});
    arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.qmp(&json!({"execute": "device_add", "arguments": arguments}).to_string())
}

/// Connected, and whether that has changed.
fn port(client: &mut Client) -> u64 {
    client.number(&format!("inw {:#x}", PORTS + 0x10)) & 3
}

/// What QEMU's `/uhci/pci/hotplug/usb-storage` does, and what a system does with what it finds.
#[test]
fn a_disk_is_plugged_in_used_and_taken_out() {
    let mut client = machine();
    assert_eq!(port(&mut client), 0);
    assert_eq!(plug(&mut client, &json!({})), json!({"return": {}}));
    assert_eq!(port(&mut client), 3);
    enumerate(&mut client, 1);
    let (status, data) = command(&mut client, &[0x12, 0, 0, 0, 36, 0], None, 36);
    assert_eq!((status, &data[8..32]), (0, &b"QEMU    QEMU HARDDISK   "[..]));
    let (status, data) = command(&mut client, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], None, 8);
    assert_eq!((status, data), (0, vec![0, 0, 0, 31, 0, 0, 2, 0]));
    let (status, data) = command(&mut client, &[0x28, 0, 0, 0, 0, 6, 0, 0, 10, 0], None, 5120);
    assert_eq!(status, 0);
    assert!(data == (7..17).flat_map(|sector| [sector; 512]).collect::<Vec<_>>());
    let written = [[0xaa; 512], [0xbb; 512]].concat();
    assert_eq!(command(&mut client, &[0x2a, 0, 0, 0, 0, 30, 0, 0, 2, 0], Some(&written), 0).0, 0);
    assert_eq!(command(&mut client, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], None, 0).0, 0);
    let file = fs::read(client.folder().file("stick.img")).unwrap();
    assert!(file[30 * 512..] == written && file[29 * 512..30 * 512] == [30; 512]);
    assert_eq!(command(&mut client, &[0x28, 0, 0, 0, 0, 32, 0, 0, 1, 0], None, 512).0, 1, "behind the end");
    let (_, sense) = command(&mut client, &[3, 0, 0, 0, 18, 0], None, 18);
    assert_eq!((sense[2], sense[12]), (5, 0x21));

    client.qmp_send("{'execute': 'device_del', 'arguments': {'id': 'stick'}}");
    let gone = client.event("DEVICE_DELETED");
    assert_eq!(gone["data"], json!({"device": "stick", "path": "/machine/peripheral/stick"}));
    assert_eq!(client.qmp_read(), json!({"return": {}}));
    assert_eq!(port(&mut client), 2, "nothing, since now");
    assert_eq!(plug(&mut client, &json!({"port": "1"})), json!({"return": {}}), "its medium is free again");
    enumerate(&mut client, 1);
    assert_eq!(command(&mut client, &[0x28, 0, 0, 0, 0, 31, 0, 0, 1, 0], None, 512), (0, vec![0xbb; 512]));
}

#[test]
fn what_cannot_be_plugged_in_is_refused() {
    let mut client = machine();
    let problem = |answer: Value| answer["error"]["desc"].as_str().unwrap().to_owned();
    assert_eq!(problem(plug(&mut client, &json!({"drive": "drive1"}))), "there is no free drive 'drive1'");
    assert_eq!(problem(plug(&mut client, &json!({"port": "3"}))), "no USB port is free");
    let refused = problem(plug(&mut client, &json!({"driver": "e1000"})));
    assert_eq!(refused, "Device 'e1000' cannot be plugged in: only USB devices can");
    assert!(problem(plug(&mut client, &json!({"removable": true}))).contains("a disk stays in its device"));
    assert_eq!(plug(&mut client, &json!({})), json!({"return": {}}));
    assert_eq!(problem(plug(&mut client, &json!({}))), "there is no free drive 'drive0'");
    let gone = client.qmp("{'execute': 'device_del', 'arguments': {'id': 'other'}}");
    assert_eq!(gone["error"]["class"], "DeviceNotFound");
}
