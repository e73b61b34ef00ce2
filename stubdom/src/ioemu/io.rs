//! From an ioreq to the machine and back.
//!
//! A request was copied out of the shared page before it gets here. A string instruction comes as one request with a
//! count; its memory operand is then a guest physical address, and the elements go up or down from there.

use devmodel::access::{IoPort, Width};
use devmodel::host::{GuestAddr, Host};
use devmodel::machine::Machine;
use minios::ioreq::{Direction, Ioreq, Kind};

/// Bytes of a string instruction that are moved at a time.
const CHUNK: u32 = 4096;

/// Performs a port, memory or configuration request. Returns what goes back to the vCPU in the request's data field.
pub(super) fn perform<H: Host>(machine: &mut Machine, host: &mut H, request: &Ioreq) -> u64 {
    let Some(width) = Width::from_bytes(request.size) else {
        return u64::MAX;
    };
    match request.kind {
        Kind::Pio => port(machine, host, request, width),
        Kind::Copy => memory(machine, host, request, width),
        Kind::PciConfig => config(machine, host, request, width),
        Kind::TimeOffset | Kind::Invalidate | Kind::Other(_) => request.data,
    }
}

/// The address of element `index` of a string that starts at `base`.
fn element(request: &Ioreq, width: Width, base: u64, index: u32) -> GuestAddr {
    let distance = u64::from(index).wrapping_mul(width.bytes() as u64);
    GuestAddr(if request.backwards { base.wrapping_sub(distance) } else { base.wrapping_add(distance) })
}

fn port<H: Host>(machine: &mut Machine, host: &mut H, request: &Ioreq, width: Width) -> u64 {
    let port = IoPort((request.addr & 0xffff) as u16);
    if !request.data_is_ptr {
        return match request.direction {
            Direction::Read => u64::from(machine.port_read(host, port, width)),
            Direction::Write => {
                machine.port_write(host, port, width, (request.data & 0xffff_ffff) as u32);
                request.data
            }
        };
    }
    // A failing copy loses the data, as a bus without memory behind it would.
    if !request.backwards {
        let memory = GuestAddr(request.data);
        let _ = match request.direction {
            Direction::Read => machine.port_read_string(host, port, width, request.count, memory),
            Direction::Write => machine.port_write_string(host, port, width, request.count, memory),
        };
        return request.data;
    }
    for index in 0..request.count {
        let memory = element(request, width, request.data, index);
        let mut bytes = [0; 4];
        let bytes = &mut bytes[..width.bytes().min(4)];
        match request.direction {
            Direction::Read => {
                let value = machine.port_read(host, port, width).to_le_bytes();
                bytes.copy_from_slice(&value[..bytes.len()]);
                let _ = host.write(memory, bytes);
            }
            Direction::Write => {
                let _ = host.read(memory, bytes);
                let mut value = [0; 4];
                value[..bytes.len()].copy_from_slice(bytes);
                machine.port_write(host, port, width, u32::from_le_bytes(value));
            }
        }
    }
    request.data
}

fn memory<H: Host>(machine: &mut Machine, host: &mut H, request: &Ioreq, width: Width) -> u64 {
    let bytes = width.bytes();
    if !request.data_is_ptr {
        let mut value = request.data.to_le_bytes();
        for index in 0..request.count {
            let addr = element(request, width, request.addr, index);
            match request.direction {
                Direction::Read => {
                    value = [0; 8];
                    machine.mmio_read(host, addr, width, &mut value[..bytes]);
                }
                Direction::Write => machine.mmio_write(host, addr, width, &value[..bytes]),
            }
        }
        return u64::from_le_bytes(value);
    }
    let mut chunk = [0; CHUNK as usize];
    // Going down, elements go one at a time.
    let at_once = if request.backwards { 1 } else { CHUNK / request.size };
    let mut index = 0;
    while index < request.count {
        let elements = at_once.min(request.count - index);
        let device = element(request, width, request.addr, index);
        let ram = element(request, width, request.data, index);
        let data = &mut chunk[..elements as usize * bytes];
        match request.direction {
            Direction::Read => {
                machine.mmio_read(host, device, width, data);
                let _ = host.write(ram, data);
            }
            Direction::Write => {
                data.fill(0xff);
                let _ = host.read(ram, data);
                machine.mmio_write(host, device, width, data);
            }
        }
        index += elements;
    }
    request.data
}

/// `addr` holds the function in its upper half and the register in its lower (Xen, `xen/arch/x86/hvm/ioreq.c`).
fn config<H: Host>(machine: &mut Machine, host: &mut H, request: &Ioreq, width: Width) -> u64 {
    let [.., function, bus, _, _] = request.addr.to_le_bytes();
    let offset = (request.addr & 0xffff) as u16;
    let (slot, function) = (function >> 3, function & 7);
    match request.direction {
        Direction::Read => u64::from(machine.config_read(host, bus, slot, function, offset, width)),
        Direction::Write => {
            machine.config_write(host, bus, slot, function, offset, width, (request.data & 0xffff_ffff) as u32);
            request.data
        }
    }
}
