//! What domains print: each line goes to the console of the machine, with the domain's number before it.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use log::warn;
use minios::addr::Gfn;
use minios::event::EventChannel;
use minios::exec;
use minios::foreign::{Access, ForeignMapping};
use minios::front::console::OUTPUT;
use minios::hypercall::console_io;
use minios::ring::ByteReceiver;
use xen_abi::{DomId, Port};

/// Characters of a line that are printed at once.
const LINE: usize = 1000;

/// Prints until the domain is gone.
pub(crate) async fn serve(domain: DomId, (frame, port): (Gfn, Port)) {
    let page = match ForeignMapping::map(domain, &[frame], Access::ReadWrite) {
        Ok(page) => page,
        Err(error) => return warn!("the console of {domain}: {error}"),
    };
    let channel = match EventChannel::bind(domain, port) {
        Ok(channel) => channel,
        Err(error) => return warn!("the console of {domain}: {error}"),
    };
    let Some(memory) = page.bytes() else { return };
    let mut receiver = ByteReceiver::new(OUTPUT, memory);
    let mut signal = exec::signal(channel.port());
    let mut line = Vec::new();
    loop {
        let mut bytes = vec![0; OUTPUT.size as usize];
        match receiver.receive(memory, &mut bytes) {
            Ok(0) => signal.wait().await,
            Ok(count) => {
                channel.notify();
                bytes.truncate(count);
                bytes.into_iter().for_each(|byte| add(domain, &mut line, byte));
            }
            Err(fault) => return warn!("the console of {domain}: {fault}"),
        }
    }
}

fn add(domain: DomId, line: &mut Vec<u8>, byte: u8) {
    match byte {
        b'\r' => {}
        b'\n' => print(domain, line),
        _ => line.push(byte),
    }
    if line.len() >= LINE {
        print(domain, line);
    }
}

fn print(domain: DomId, line: &mut Vec<u8>) {
    let mut whole = format!("({domain}) ").into_bytes();
    whole.append(line);
    whole.extend(b"\r\n");
    // There is nobody to tell if it is refused.
    let _: Result<(), minios::hypercall::XenError> = console_io::write(&whole);
}
