//! Machines that are played on with bytes of anybody's choice.
//!
//! Each target is a small machine with one device that matters. The bytes are read as accesses to the registers of that
//! device, writes to memory, where its rings and tables lie, steps of the clock, frames, bytes and movements from
//! outside, resets, and moves of the machine's state into another machine. Whatever they say, nothing may panic, everything
//! has to come to its end, and what was moved has to be what it was.
//!
//! `tests/fuzz` plays with bytes that a fuzzer finds; the ones that were worth keeping are in `tests/corpus` and are
//! played in the normal tests.

use devmodel::access::Width;
use devmodel::host::InputEvent;

mod store;
mod viewers;

use crate::command_line::{self, Wish};
use crate::pc::Pc;
use crate::plan::Plan;

/// What is played on.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The device, or who else is there.
    pub name: &'static str,
    kind: Kind,
}

/// How it is played on.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A machine that has the device.
    Machine {
        /// QEMU's arguments of it.
        arguments: &'static str,
        /// Its ports at fixed places, as first and last. Those that it has by base addresses come on top.
        ports: &'static [(u16, u16)],
    },
    /// Something else.
    Other(fn(&[u8])),
}

const fn target(name: &'static str, arguments: &'static str, ports: &'static [(u16, u16)]) -> Target {
    Target { name, kind: Kind::Machine { arguments, ports } }
}

const fn other(name: &'static str, play: fn(&[u8])) -> Target {
    Target { name, kind: Kind::Other(play) }
}

const VGA_PORTS: &[(u16, u16)] = &[(0x3b0, 0x3df), (0x1ce, 0x1d1)];

/// Every target.
pub const TARGETS: [Target; 16] = [
    target(
        "ide",
        "-drive driver=null-co,if=ide,index=0,size=300K -drive driver=null-co,if=ide,index=1,size=300K \
         -drive driver=null-co,if=ide,index=2,media=cdrom,size=300K",
        &[(0x1f0, 0x1f7), (0x3f6, 0x3f6), (0x170, 0x177), (0x376, 0x376)],
    ),
    target(
        "ahci",
        "-drive driver=null-co,if=none,id=d,size=300K -drive driver=null-co,if=none,id=c,media=cdrom,size=300K \
         -device ahci,id=a -device ide-hd,drive=d,bus=a.0 -device ide-cd,drive=c,bus=a.1",
        &[],
    ),
    target("e1000", "-netdev hubport,id=n,hubid=0 -device e1000,netdev=n,romfile=", &[]),
    target("rtl8139", "-netdev hubport,id=n,hubid=0 -device rtl8139,netdev=n,romfile=", &[]),
    target("uhci", "-usb -device usb-tablet -device usb-kbd", &[]),
    target(
        "usb-storage",
        "-drive driver=null-co,if=none,id=d,size=300K -usb -device usb-storage,drive=d -device usb-mouse",
        &[],
    ),
    target("vga", "-device VGA,vgamem_mb=1", VGA_PORTS),
    target("cirrus", "-device cirrus-vga", VGA_PORTS),
    target("i8042", "", &[(0x60, 0x60), (0x64, 0x64), (0x92, 0x92)]),
    target("uart", "-serial null -serial null", &[(0x3f8, 0x3ff), (0x2f8, 0x2ff)]),
    target(
        "firmware",
        "-debugcon null -boot splash-time=1",
        &[(0x510, 0x51b), (0x70, 0x71), (0x402, 0x402), (0xe9, 0xe9)],
    ),
    target("acpi", "-smp 4", &[(0xb2, 0xb3), (0xae00, 0xae0f), (0xaf00, 0xaf1f), (0xb000, 0xb03f), (0xafe0, 0xafe3)]),
    target("pci", "-device VGA,vgamem_mb=1 -device e1000,romfile= -usb", &[(0xcf8, 0xcff)]),
    other("vnc", viewers::vnc),
    other("web", viewers::web),
    other("xenstore", store::xenstore),
];

/// What a machine is played on with at most.
const OPERATIONS_MAX: usize = 400;
/// Bytes of memory.
const MEMORY: u64 = 1 << 20;
/// Where base addresses are put.
const PORTS_FROM: u32 = 0xc000;
const MEMORY_FROM: u32 = 0xe000_0000;

/// Where registers are.
#[derive(Clone, Copy, Debug)]
enum Registers {
    Ports(u16, u32),
    Memory(u32, u32),
}

/// Plays on a target. Of a machine the state is moved into another machine when half of the bytes are read.
pub fn play(target: &Target, bytes: &[u8]) {
    let (arguments, ports) = match target.kind {
        Kind::Machine { arguments, ports } => (arguments, ports),
        Kind::Other(play) => return play(bytes),
    };
    let arguments = format!("-accel qtest -nodefaults -m 1M -bios /dev/null {arguments}");
    let arguments: Vec<_> = arguments.split_whitespace().map(str::to_owned).collect();
    let Ok(Wish::Machine(plan)) = command_line::parse(&arguments) else { panic!("{arguments:?}") };
    let Ok(pc) = Pc::new(&plan) else { panic!("{arguments:?}") };
    let mut player = Player { pc, plan, registers: Vec::new(), bytes: bytes.iter() };
    player.registers.extend(ports.iter().map(|(first, last)| Registers::Ports(*first, u32::from(last - first) + 1)));
    player.find_registers();
    let mut move_at = Some(bytes.len() / 2);
    for _ in 0..OPERATIONS_MAX {
        let left = player.bytes.as_slice().len();
        if move_at.take_if(|at| left <= *at).is_some() {
            player.move_machine();
        }
        if left == 0 {
            break;
        }
        player.step();
    }
}

/// A machine, and what is left of the bytes.
struct Player<'a> {
    pc: Pc,
    plan: Box<Plan>,
    registers: Vec<Registers>,
    bytes: std::slice::Iter<'a, u8>,
}

impl Player<'_> {
    fn byte(&mut self) -> u8 {
        self.bytes.next().copied().unwrap_or(0)
    }

    fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// Numbers that mean something: small ones, bits, addresses in memory, anything.
    fn value(&mut self) -> u32 {
        match self.byte() {
            kind @ 0..=0x7f => kind.into(),
            kind @ 0x80..=0x9f => 1 << (kind & 31),
            0xa0..=0xcf => u32::from(self.word()) << 4 & 0xf_fff0,
            _ => u32::from(self.word()) << 16 | u32::from(self.word()),
        }
    }

    fn width(&mut self) -> Width {
        match self.byte() % 4 {
            0 => Width::Byte,
            1 => Width::Word,
            _ => Width::Dword,
        }
    }

    /// Gives every base address of every function a place, and switches decoding and bus mastering on.
    fn find_registers(&mut self) {
        let (mut ports, mut memory) = (PORTS_FROM, MEMORY_FROM);
        for function in 0..32 * 8 {
            if self.config(function, 0, None) & 0xffff == 0xffff {
                continue;
            }
            for bar in (0x10..0x28).step_by(4) {
                self.config(function, bar, Some(u32::MAX));
                let mask = self.config(function, bar, None);
                let is_ports = mask & 1 != 0;
                let size = (mask & if is_ports { 0xfffc } else { !0xf }).wrapping_neg()
                    & if is_ports { 0xffff } else { u32::MAX };
                if mask == 0 || size == 0 {
                    continue;
                }
                let next = if is_ports { &mut ports } else { &mut memory };
                let at = next.next_multiple_of(size);
                *next = at + size;
                self.config(function, bar, Some(at));
                self.registers.push(match u16::try_from(at) {
                    Ok(at) if is_ports => Registers::Ports(at, size),
                    _ => Registers::Memory(at, size),
                });
            }
            self.config(function, 4, Some(7));
        }
    }

    /// Reads or writes a register of configuration space.
    fn config(&mut self, function: u32, offset: u32, value: Option<u32>) -> u32 {
        self.pc.port_write(0xcf8, Width::Dword, 1 << 31 | function << 8 | offset);
        match value {
            Some(value) => self.pc.port_write(0xcfc, Width::Dword, value),
            None => return self.pc.port_read(0xcfc, Width::Dword),
        }
        0
    }

    fn step(&mut self) {
        match self.byte() % 16 {
            0..=6 => self.access(true),
            7 | 8 => self.access(false),
            9..=11 => self.fill_memory(),
            12 => {
                let nanoseconds = 1 << (self.byte() % 36);
                let now = self.pc.world.now;
                self.pc.advance_to(now.after(nanoseconds));
            }
            13 => self.receive(),
            14 => self.input(),
            _ => {
                let (function, offset, value) = (self.byte(), self.byte() & 0xfc, self.value());
                match function {
                    0 => self.pc.reset(),
                    1 => self.pc.wake_up(),
                    2 => self.pc.plug_cpu(offset.into()),
                    3..=7 => self.move_machine(),
                    _ => drop(self.config(u32::from(function & 0x3f), offset.into(), Some(value))),
                }
            }
        }
    }

    fn move_machine(&mut self) {
        let [first, second] =
            [(); 2].map(|()| self.pc.move_machine(&self.plan).expect("a machine at rest can be saved"));
        // A frame that the network was given a part of is lost.
        let is_whole = self.plan.networks.is_empty();
        assert!(!is_whole || first == second, "something was lost or changed on the way");
    }

    fn access(&mut self, writes: bool) {
        let which = usize::from(self.byte());
        let (offset, width) = (u32::from(self.word()), self.width());
        let Some(registers) = self.registers.get(which % self.registers.len().max(1)).copied() else { return };
        let value = if writes { self.value() } else { 0 };
        match registers {
            Registers::Ports(first, size) => {
                let port = first.wrapping_add(u16::try_from(offset % size).unwrap_or(0));
                if writes {
                    self.pc.port_write(port, width, value);
                } else {
                    self.pc.port_read(port, width);
                }
            }
            Registers::Memory(first, size) => {
                // Registers are near the start; now and then, far away.
                let offset = if which & 0x80 == 0 { offset } else { offset << 12 };
                let at = u64::from(first) + u64::from(offset % size);
                if writes {
                    self.pc.write(at, &value.to_le_bytes()[..width.bytes()]);
                } else {
                    self.pc.read(at, &mut [0; 4][..width.bytes()]);
                }
            }
        }
    }

    /// A few words of memory, or many.
    fn fill_memory(&mut self) {
        let at = u64::from(self.word()) << 4;
        let words = usize::from(self.byte() % 16) + 1;
        for index in 0..words {
            let value = self.value();
            self.pc.write((at + (index as u64) * 4) % MEMORY, &value.to_le_bytes());
        }
    }

    fn receive(&mut self) {
        let (len, first) = (usize::from(self.word() % 2000), self.byte());
        let frame: Vec<u8> = (0..len).map(|_| self.bytes.next().copied().unwrap_or(first)).collect();
        let len = u32::try_from(frame.len()).unwrap_or(0);
        self.pc.network_receive(0, &[&len.to_be_bytes()[..], &frame].concat());
        self.pc.serial_receive(usize::from(first % 2), &frame[..frame.len().min(40)]);
    }

    fn input(&mut self) {
        let (kind, code, down) = (self.byte(), self.word(), self.byte() & 1 != 0);
        let [dx, dy] = [self.byte(), self.byte()].map(|byte| i32::from(byte) - 128);
        self.pc.input(match kind % 4 {
            0 => InputEvent::Key { code: code & 0x1ff, down },
            1 => InputEvent::Button { code: 0x110 + (code & 7), down },
            2 => InputEvent::Motion { dx: dx * 100, dy: dy * 100, wheel: dx % 3 },
            _ => InputEvent::Position { x: code, y: code.rotate_left(5), wheel: dy % 3 },
        });
    }
}
