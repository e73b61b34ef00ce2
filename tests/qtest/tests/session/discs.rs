//! CD drives in the hands of an operator and of the guest at once.

use std::fs;

use serde_json::{Value, json};

use super::client::{Client, Folder};

/// Bytes of a block.
const BLOCK: usize = 2048;
/// Sense keys, as the error register has them.
const NOT_READY: u64 = 2;
const ILLEGAL_REQUEST: u64 = 5;
const UNIT_ATTENTION: u64 = 6;

/// A machine with a CD drive called `cd0` as the master of the second channel, and a disc of so many blocks in it. Block `n`
/// is filled with `n + 1`.
fn machine(blocks: u8) -> (Client, String) {
    let folder = Folder::new();
    let disc = disc(&folder, "first.iso", blocks, 1);
    let node = format!("driver=file,node-name=first,filename={disc}");
    let arguments = ["-nodefaults", "-blockdev", &node, "-device", "ide-cd,id=cd0,drive=first,bus=ide.1"];
    (Client::start(folder, &arguments), disc)
}

fn disc(folder: &Folder, name: &str, blocks: u8, first: u8) -> String {
    let path = folder.file(name);
    fs::write(&path, (0..blocks).flat_map(|block| [first + block; BLOCK]).collect::<Vec<_>>()).unwrap();
    path.display().to_string()
}

/// Gives the drive a packet. Its sense key, 0 is none.
fn packet(client: &mut Client, bytes: &[u8]) -> u64 {
    let mut packet = [0; 12];
    packet[..bytes.len()].copy_from_slice(bytes);
    // The device, PIO, data in pieces of a block, PACKET.
    for (port, value) in [(0x176, 0xa0), (0x171, 0), (0x174, 0), (0x175, 0x08), (0x177, 0xa0)] {
        client.ok(&format!("outb {port:#x} {value:#x}"));
    }
    for [low, high] in packet.as_chunks::<2>().0 {
        client.ok(&format!("outw 0x170 {:#x}", u16::from_le_bytes([*low, *high])));
    }
    if client.number("inb 0x177") & 1 == 0 { 0 } else { client.number("inb 0x171") >> 4 }
}

fn test_unit_ready(client: &mut Client) -> u64 {
    packet(client, &[0x00])
}

/// START STOP UNIT: opens the tray, or closes it.
fn move_tray(client: &mut Client, open: bool) -> u64 {
    packet(client, &[0x1b, 0, 0, 0, if open { 2 } else { 3 }])
}

/// The first byte of a block.
fn read(client: &mut Client, block: u8) -> u64 {
    assert_eq!(packet(client, &[0x28, 0, 0, 0, 0, block, 0, 0, 1]), 0);
    let words: Vec<_> = (0..BLOCK / 2).map(|_| client.number("inw 0x170")).collect();
    words[0] & 0xff
}

/// A command about the drive: how it ends, and the moves of the tray before that.
fn operator(client: &mut Client, command: &str, more: &Value) -> (Value, Vec<bool>) {
    let mut arguments = json!({"id": "cd0"});
    arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.qmp_send(&json!({"execute": command, "arguments": arguments}).to_string());
    let mut moves = Vec::new();
    loop {
        let message = client.qmp_read();
        match message["event"].as_str() {
            None => return (message, moves),
            Some("DEVICE_TRAY_MOVED") => {
                assert_eq!(message["data"]["id"], "/machine/peripheral/cd0");
                moves.push(message["data"]["tray-open"].as_bool().unwrap());
            }
            Some(_) => {}
        }
    }
}

fn done(moves: &[bool]) -> (Value, Vec<bool>) {
    (json!({"return": {}}), moves.to_vec())
}

fn refusal(answer: &(Value, Vec<bool>)) -> &str {
    answer.0["error"]["desc"].as_str().unwrap()
}

/// What QEMU's `/ahci/cdrom/eject` does.
#[test]
fn the_guest_and_the_operator_move_the_tray() {
    let (mut client, path) = machine(1);
    assert_eq!(move_tray(&mut client, true), 0);
    assert_eq!(client.event("DEVICE_TRAY_MOVED")["data"]["tray-open"], true);
    assert_eq!(move_tray(&mut client, false), 0);
    assert_eq!(client.event("DEVICE_TRAY_MOVED")["data"]["tray-open"], false);

    assert_eq!(operator(&mut client, "blockdev-open-tray", &json!({})), done(&[true]));
    assert_eq!(operator(&mut client, "blockdev-remove-medium", &json!({})), done(&[]));
    assert_eq!(move_tray(&mut client, false), 0, "without a disc in it");
    assert_eq!(client.event("DEVICE_TRAY_MOVED")["data"]["tray-open"], false);
    assert_eq!(test_unit_ready(&mut client), NOT_READY);
    assert_eq!(move_tray(&mut client, true), 0);
    assert_eq!(client.event("DEVICE_TRAY_MOVED")["data"]["tray-open"], true);

    let node = json!({"driver": "raw", "node-name": "node0", "file": {"driver": "file", "filename": path}});
    let added = client.qmp(&json!({"execute": "blockdev-add", "arguments": node}).to_string());
    assert_eq!(added, json!({"return": {}}));
    assert_eq!(operator(&mut client, "blockdev-insert-medium", &json!({"node-name": "node0"})), done(&[]));
    assert_eq!(operator(&mut client, "blockdev-close-tray", &json!({})), done(&[false]));
    let heard = [(); 3].map(|()| test_unit_ready(&mut client));
    assert_eq!(heard, [NOT_READY, UNIT_ATTENTION, 0], "who polls hears of a disc that went, and of one that came");
    assert_eq!(read(&mut client, 0), 1);
}

#[test]
fn a_disc_is_exchanged_for_another() {
    let (mut client, _) = machine(1);
    let second = disc(client.folder(), "second.iso", 3, 100);
    let lock = |client: &mut Client, locked| assert_eq!(packet(client, &[0x1e, 0, 0, 0, locked]), 0);
    lock(&mut client, 1);
    let change = json!({"filename": second});
    let refused = operator(&mut client, "blockdev-change-medium", &change);
    assert!(refusal(&refused).contains("locked"), "{refused:?}");
    assert_eq!(read(&mut client, 0), 1, "the guest has its disc");
    lock(&mut client, 0);
    assert_eq!(operator(&mut client, "blockdev-change-medium", &change), done(&[true, false]));
    let heard = [(); 3].map(|()| test_unit_ready(&mut client));
    assert_eq!(heard, [NOT_READY, UNIT_ATTENTION, 0]);
    assert_eq!(read(&mut client, 2), 102);
    assert_eq!(packet(&mut client, &[0x28, 0, 0, 0, 0, 3, 0, 0, 1]), ILLEGAL_REQUEST, "it has three blocks");
    client.qmp("{'execute': 'system_reset'}");
    assert_eq!(read(&mut client, 2), 102, "it is still there after a reset");

    lock(&mut client, 1);
    assert_eq!(operator(&mut client, "eject", &json!({"force": true})), done(&[true]));
    assert_eq!(test_unit_ready(&mut client), NOT_READY);
    // The first disc has not gone.
    assert_eq!(operator(&mut client, "blockdev-insert-medium", &json!({"node-name": "first"})), done(&[]));
    assert_eq!(operator(&mut client, "blockdev-close-tray", &json!({})), done(&[false]));
    let heard = [(); 3].map(|()| test_unit_ready(&mut client));
    assert_eq!(heard, [NOT_READY, UNIT_ATTENTION, 0]);
    assert_eq!(read(&mut client, 0), 1);
}

#[test]
fn what_cannot_be_done_with_a_disc_is_refused() {
    let (mut client, _) = machine(1);
    let refused = operator(&mut client, "blockdev-remove-medium", &json!({}));
    assert_eq!(refusal(&refused), "Tray of device 'cd0' is not open");
    let refused = operator(&mut client, "blockdev-change-medium", &json!({"filename": "/nowhere"}));
    assert_eq!(refusal(&refused), "cannot open /nowhere: No such file or directory (os error 2)");
    assert_eq!(operator(&mut client, "blockdev-open-tray", &json!({})), done(&[true]));
    let refused = operator(&mut client, "blockdev-insert-medium", &json!({"node-name": "first"}));
    assert_eq!(refusal(&refused), "There already is a medium in device 'cd0'");
    assert_eq!(operator(&mut client, "blockdev-remove-medium", &json!({})), done(&[]));
    let refused = operator(&mut client, "blockdev-insert-medium", &json!({"node-name": "second"}));
    assert_eq!(refusal(&refused), "Cannot find a free node 'second'");
    let refused = operator(&mut client, "eject", &json!({"id": "cd1"}));
    assert_eq!(refused.0["error"]["class"], "DeviceNotFound");
    let refused = client.qmp("{'execute': 'blockdev-add', 'arguments': {'node-name': 'n', 'driver': 'qcow2'}}");
    assert!(refused["error"]["desc"].as_str().unwrap().contains("the driver qcow2 is not supported"), "{refused}");
    let gone = client.qmp("{'execute': 'blockdev-del', 'arguments': {'node-name': 'first'}}");
    assert_eq!(gone, json!({"return": {}}));
}
