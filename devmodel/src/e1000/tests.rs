//! The controller through its registers; numbers are those of the manual.

use super::*;
use crate::fake_host::{FakeHost, FakeNic};
use crate::host::{GuestAddr, GuestMemory, ReceivedChecksum};
use std::vec;

pub(super) const NIC: NicId = NicId(0);
pub(super) const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
/// Where the receive ring is.
pub(super) const RX_RING: u64 = 0x1000;
/// Where the transmit ring is.
pub(super) const TX_RING: u64 = 0x2000;
/// Descriptors in each.
pub(super) const COUNT: u32 = 16;
/// Where the buffers of the receive ring are, 16 KiB each.
pub(super) const RX_BUFFERS: u64 = 0x1_0000;
/// Where data to be sent is.
pub(super) const TX_DATA: u64 = 0x8_0000;

pub(super) const ICR: u32 = 0xc0;
pub(super) const IMS: u32 = 0xd0;
pub(super) const RCTL: u32 = 0x100;
pub(super) const TCTL: u32 = 0x400;
pub(super) const RDH: u32 = 0x2810;
pub(super) const RDT: u32 = 0x2818;
pub(super) const TDH: u32 = 0x3810;
pub(super) const TDT: u32 = 0x3818;

/// A controller, and the world around it.
pub(super) struct Pc {
    pub(super) card: E1000,
    pub(super) host: FakeHost,
}

impl Pc {
    /// After power on, with bus mastering.
    pub(super) fn new() -> Self {
        let mut host = FakeHost::new(0x10_0000);
        host.nics.insert(0, FakeNic::default());
        let mut pc = Self { card: E1000::new(NIC, MAC, Vec::new()), host };
        pc.master(true);
        pc
    }

    /// With both rings, receiving broadcasts and frames for us, every interrupt on.
    pub(super) fn running() -> Self {
        let mut pc = Self::new();
        for index in 0..COUNT {
            let at = RX_RING + u64::from(index) * 16;
            pc.host.write(GuestAddr(at), &(RX_BUFFERS + u64::from(index) * 0x4000).to_le_bytes()).unwrap();
        }
        for (first, ring) in [(0x2800, RX_RING), (0x3800, TX_RING)] {
            pc.write(first, u32::try_from(ring).unwrap());
            pc.write(first + 4, 0);
            pc.write(first + 8, COUNT * 16);
        }
        pc.write(RDT, COUNT - 1);
        pc.write(IMS, 0x1_ffff);
        pc.write(RCTL, 0x0400_8002);
        pc.write(TCTL, 0x0003_f0fa);
        assert_eq!(pc.read(ICR), 0);
        pc
    }

    pub(super) fn master(&mut self, on: bool) {
        self.card.config_mut().write(4, Width::Word, if on { 7 } else { 3 });
        self.card.config_written(&mut self.host);
    }

    pub(super) fn read(&mut self, offset: u32) -> u32 {
        u32::try_from(self.card.read(&mut self.host, 0, offset, Width::Dword)).unwrap()
    }

    pub(super) fn write(&mut self, offset: u32, value: u32) {
        self.card.write(&mut self.host, 0, offset, Width::Dword, value.into());
    }

    pub(super) fn nic(&mut self) -> &mut FakeNic {
        self.host.nics.get_mut(&0).unwrap()
    }

    /// A frame arrives.
    pub(super) fn arrives(&mut self, frame: Vec<u8>, checksum: ReceivedChecksum) {
        self.nic().received.push_back((frame, checksum));
        self.ready();
    }

    pub(super) fn ready(&mut self) {
        self.card.nic_ready(&mut self.host, NIC);
    }

    /// Lets time pass, and does what is due meanwhile.
    pub(super) fn pass(&mut self, nanoseconds: u64) {
        self.host.time = self.host.time.after(nanoseconds);
        if self.card.deadline().is_some_and(|at| at <= self.host.time) {
            self.card.expire(&mut self.host);
        }
    }

    pub(super) fn memory(&mut self, addr: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        GuestMemory::read(&mut self.host, GuestAddr(addr), &mut data).unwrap();
        data
    }

    fn phy_read(&mut self, register: u32) -> u32 {
        self.write(0x20, 2 << 26 | 1 << 21 | register << 16);
        let mdic = self.read(0x20);
        assert_eq!(mdic >> 28, 1, "ready, no error");
        mdic & 0xffff
    }

    fn phy_write(&mut self, register: u32, value: u32) {
        self.write(0x20, 1 << 26 | 1 << 21 | register << 16 | value);
    }

    /// Clocks `count` bits into the EEPROM, highest first.
    fn shift_out(&mut self, bits: u32, count: u32) {
        for bit in (0..count).rev() {
            let data = (bits >> bit & 1) << 2;
            for clock in [0, 1, 0] {
                self.write(0x10, 0x42 | data | clock);
            }
        }
    }

    fn shift_in(&mut self, count: u32) -> u32 {
        (0..count).fold(0, |word, _| {
            self.write(0x10, 0x43);
            let bit = self.read(0x10) >> 3 & 1;
            self.write(0x10, 0x42);
            word << 1 | bit
        })
    }
}

#[test]
fn the_function_is_an_82540em() {
    let card = E1000::new(NIC, MAC, vec![0x55; 3000]);
    let config = |offset| card.config().read(offset, Width::Dword);
    assert_eq!([config(0x00), config(0x08), config(0x2c)], [0x100e_8086, 0x0200_0003, 0x1100_1af4]);
    assert_eq!(card.config().interrupt_pin(), Some(0));
    assert!(card.config().is_ports(1) && !card.config().is_ports(0));
    assert_eq!(card.rom().len(), 3000);
    let mut card = card;
    for (offset, size) in [(0x10, 0xfffe_0000), (0x14, 0xffff_ffc1), (0x30, 0xffff_f001)] {
        card.config_mut().write(offset, Width::Dword, 0xffff_ffff);
        assert_eq!(card.config().read(offset, Width::Dword), size);
    }
    let mut card = E1000::new(NIC, MAC, Vec::new());
    card.config_mut().write(0x30, Width::Dword, 0xffff_ffff);
    assert_eq!(card.config().read(0x30, Width::Dword), 0, "no ROM, no region");
}

#[test]
fn registers_after_power_on() {
    let mut pc = Pc::new();
    assert_eq!(pc.read(0x00), 0x201);
    assert_eq!(pc.read(0x08), 0x283, "full duplex, link up, 1000 Mb/s");
    assert_eq!((pc.read(0x5400), pc.read(0x5404)), (0x1200_5452, 0x8000_5634));
    assert_eq!([0x100, 0x400, 0xc0, 0xd0, 0x2808, 0x3808].map(|at| pc.read(at)), [0; 6]);
    assert_eq!(pc.read(0x38), 0x8100);
    assert!(!pc.card.interrupt());
    assert_eq!(pc.card.deadline(), None);
}

#[test]
fn what_is_no_register_reads_as_zero_and_keeps_nothing() {
    let mut pc = Pc::new();
    for offset in [0x3c, 0x1_0000, 0x1_fffc, 0x5500, 0x5a00, 0x280c, 0x381c] {
        pc.write(offset, 0xffff_ffff);
        assert_eq!(pc.read(offset), 0, "register {offset:#x}");
    }
    assert_eq!(pc.card.read(&mut pc.host, 5, 0, Width::Dword), 0);
}

/// Linux `e1000_reg_test`: every bit of the mask can be set and cleared.
#[test]
fn the_register_test_of_linux_passes() {
    let mut pc = Pc::new();
    let registers = [
        (0x28, 0xffff_ffff),
        (0x2c, 0xffff),
        (0x30, 0xffff),
        (0x38, 0xffff),
        (0x2820, 0xffff),
        (0x2804, 0xffff_ffff),
        (0x2808, 0xf_ff80),
        (0x2810, 0xffff),
        (0x2818, 0xffff),
        (0x2168, 0xfff8),
        (0x170, 0xffff),
        (0x410, 0x3fff_ffff),
        (0x3804, 0xffff_ffff),
        (0x3808, 0xf_ff80),
        (0x100, 0x06df_b3fe),
        (0x2800, 0xffff_fff0),
        (0x178, 0xc000_ffff),
        (0x3800, 0xffff_fff0),
        (0x3820, 0xffff),
        (0x5400, 0xffff_ffff),
        (0x547c, 0x8003_ffff),
        (0x5200, 0xffff_ffff),
        (0x53fc, 0xffff_ffff),
        (0x57fc, 0xffff_ffff),
    ];
    for (register, mask) in registers {
        let before = pc.read(register);
        for pattern in [0x5a5a_5a5a, 0xa5a5_a5a5, 0, 0xffff_ffff] {
            pc.write(register, pattern);
            assert_eq!(pc.read(register) & mask, pattern & mask, "register {register:#x}");
        }
        pc.write(register, before);
    }
}

#[test]
fn narrow_reads_are_parts_and_narrow_writes_are_dropped() {
    let mut pc = Pc::new();
    assert_eq!(pc.card.read(&mut pc.host, 0, 0x5401, Width::Byte) & 0xff, 0x54);
    assert_eq!(pc.card.read(&mut pc.host, 0, 0x5402, Width::Word) & 0xffff, 0x1200);
    assert_eq!(pc.card.read(&mut pc.host, 0, 0x5400, Width::Qword), 0x8000_5634_1200_5452);
    pc.card.write(&mut pc.host, 0, 0x5400, Width::Byte, 0xff);
    pc.card.write(&mut pc.host, 0, 0x5402, Width::Dword, 0xffff_ffff);
    assert_eq!(pc.read(0x5400), 0x1200_5452);
    pc.card.write(&mut pc.host, 0, 0x5400, Width::Qword, 0x2222_2222_1111_1111);
    assert_eq!((pc.read(0x5400), pc.read(0x5404)), (0x1111_1111, 0x2222_2222));
}

/// SDM 13.2.2.1: IOADDR and IODATA.
#[test]
fn registers_are_behind_two_ports_too() {
    let mut pc = Pc::new();
    pc.card.write(&mut pc.host, 1, 0, Width::Dword, 0x5400);
    assert_eq!(pc.card.read(&mut pc.host, 1, 0, Width::Dword), 0x5400);
    assert_eq!(pc.card.read(&mut pc.host, 1, 4, Width::Dword), 0x1200_5452);
    pc.card.write(&mut pc.host, 1, 4, Width::Dword, 0x99);
    assert_eq!(pc.read(0x5400), 0x99);
    pc.card.write(&mut pc.host, 1, 0, Width::Dword, 0);
    pc.card.write(&mut pc.host, 1, 4, Width::Dword, 1 << 26);
    assert_eq!(pc.read(0x5400), 0x1200_5452, "Linux resets an 82540 through its ports");
    for address in [0x2_0000, 0xffff_ffff] {
        pc.card.write(&mut pc.host, 1, 0, Width::Dword, address);
        pc.card.write(&mut pc.host, 1, 4, Width::Dword, 1);
        assert_eq!(pc.card.read(&mut pc.host, 1, 4, Width::Dword), 0);
    }
    assert_eq!(pc.card.read(&mut pc.host, 1, 8, Width::Dword), 0);
}

/// SDM 5.6: the address is in the first words, and the sum of all is 0xBABA.
#[test]
fn the_eeprom_is_read_word_by_word() {
    let mut pc = Pc::new();
    let mut sum = 0_u16;
    for address in 0..64_u32 {
        pc.write(0x14, address << 8 | 1);
        let value = pc.read(0x14);
        assert_eq!(value & 0xff, 0x10, "done");
        let word = u16::try_from(value >> 16).unwrap();
        sum = sum.wrapping_add(word);
        let expected = [0x5452, 0x1200, 0x5634].get(usize::try_from(address).unwrap());
        assert!(expected.is_none_or(|expected| *expected == word));
    }
    assert_eq!(sum, 0xbaba);
    pc.write(0x14, 0xff01);
    assert_eq!(pc.read(0x14), 0xff10, "there is no such word");
    pc.write(0x14, 0x0100);
    assert_eq!(pc.read(0x14) & 0x10, 0, "not started, not done");
}

/// Linux `e1000_read_eeprom`: asks for the pins, then start, read, address, and sixteen bits.
#[test]
fn the_eeprom_is_read_by_its_pins() {
    let mut pc = Pc::new();
    assert_eq!(pc.read(0x10) & 0x380, 0x100, "present, 64 words, not given yet");
    pc.write(0x10, 0x40);
    assert_eq!(pc.read(0x10) & 0x80, 0x80, "given");
    for (address, expected) in [(0, 0x5452), (1, 0x1200), (2, 0x5634), (0x0e, 0x8086)] {
        pc.write(0x10, 0x40);
        pc.write(0x10, 0x42);
        pc.shift_out(0b110, 3);
        pc.shift_out(address, 6);
        assert_eq!(pc.read(0x10) & 8, 0, "a zero comes before the word");
        assert_eq!(pc.shift_in(16), expected);
    }
    assert_eq!(pc.shift_in(16), 0x3040, "the next word follows");
    pc.write(0x10, 0);
    assert_eq!(pc.read(0x10) & 0x88, 0x08);
}

#[test]
fn other_operations_of_the_eeprom_do_nothing() {
    let mut pc = Pc::new();
    for operation in [0b100, 0b101, 0b111] {
        pc.write(0x10, 0x40);
        pc.write(0x10, 0x42);
        pc.shift_out(operation, 3);
        pc.shift_out(0, 6);
        pc.shift_out(0x1234, 16);
        assert_eq!(pc.read(0x10) & 8, 8, "ready");
    }
    pc.write(0x14, 1);
    assert_eq!(pc.read(0x14) >> 16, 0x5452);
}

#[test]
fn the_phy_is_found_and_has_a_link() {
    let mut pc = Pc::new();
    assert_eq!((pc.phy_read(2), pc.phy_read(3)), (0x0141, 0x0c20));
    assert_eq!((pc.phy_read(0), pc.phy_read(1)), (0x1140, 0x796d));
    assert_eq!((pc.phy_read(10), pc.phy_read(17)), (0x3c00, 0xac00));
    pc.nic().unplugged = true;
    assert_eq!((pc.phy_read(1), pc.phy_read(5), pc.phy_read(17)), (0x7949, 0, 0x8000));
    assert_eq!(pc.read(0x08), 0x281);
}

#[test]
fn a_phy_that_is_not_there_and_an_operation_that_is_none_are_errors() {
    let mut pc = Pc::new();
    for value in [2 << 26 | 2 << 21 | 2 << 16, 1 << 21, 3 << 26 | 1 << 21, 0xffff_ffff] {
        pc.write(0x20, value);
        assert_eq!(pc.read(0x20) & 5 << 28, 5 << 28, "ready, error: {value:#x}");
    }
    pc.write(IMS, 1 << 9);
    pc.read(ICR);
    pc.write(0x20, 1 << 29 | 2 << 26 | 1 << 21);
    assert!(pc.card.interrupt());
    assert_eq!(pc.read(ICR), 1 << 9);
}

#[test]
fn negotiation_takes_its_time_and_ends_with_an_interrupt() {
    let mut pc = Pc::new();
    pc.write(IMS, 4);
    pc.phy_write(0, 0x1340);
    assert_eq!(pc.phy_read(0), 0x1140, "restart clears itself");
    assert_eq!((pc.read(0x08) & 2, pc.phy_read(1) & 0x24), (0, 0));
    pc.pass(50_000_000);
    assert_eq!((pc.read(0x08) & 2, pc.card.interrupt()), (0, false));
    pc.pass(50_000_000);
    assert_eq!((pc.read(0x08) & 2, pc.phy_read(1) & 0x24), (2, 0x24));
    assert!(pc.card.interrupt());
    assert_eq!(pc.read(ICR), 4);
    assert_eq!(pc.card.deadline(), None);
}

#[test]
fn a_reset_of_the_phy_by_pin_negotiates_anew() {
    let mut pc = Pc::new();
    pc.phy_write(4, 1);
    pc.write(0x00, 0x8000_0201);
    pc.write(0x00, 0x0000_0201);
    assert_eq!((pc.phy_read(4), pc.read(0x08) & 2), (0x0de1, 0));
    pc.nic().unplugged = true;
    pc.pass(100_000_000);
    assert_eq!((pc.read(0x08) & 2, pc.read(ICR)), (0, 0), "nobody is there");
    pc.nic().unplugged = false;
    pc.card.nic_ready(&mut pc.host, NIC);
    assert_eq!(pc.read(0x08) & 2, 2);
}

#[test]
fn a_link_that_comes_or_goes_interrupts_once() {
    let mut pc = Pc::new();
    pc.write(IMS, 4);
    for down in [true, false] {
        pc.nic().unplugged = down;
        pc.ready();
        pc.ready();
        assert!(pc.card.interrupt());
        assert_eq!((pc.read(ICR), pc.read(0x08) & 2), (4, if down { 0 } else { 2 }));
        pc.ready();
        assert_eq!(pc.read(ICR), 0);
    }
    pc.nic().unplugged = true;
    pc.card.nic_ready(&mut pc.host, NicId(1));
    assert_eq!(pc.read(ICR), 0, "another card's network");
}

#[test]
fn the_pin_is_causes_and_mask() {
    let mut pc = Pc::new();
    pc.write(0xc8, 0x84);
    assert!(!pc.card.interrupt());
    assert_eq!(pc.read(0xc8), 0x84, "ICS reads as ICR, without clearing");
    pc.write(IMS, 4);
    assert!(pc.card.interrupt());
    pc.write(0xd8, 4);
    assert!(!pc.card.interrupt());
    assert_eq!((pc.read(IMS), pc.read(0xd8)), (0, 0));
    pc.write(IMS, 0x84);
    pc.write(ICR, 4);
    assert!(pc.card.interrupt());
    assert_eq!(pc.read(ICR), 0x80);
    assert!(!pc.card.interrupt());
    assert_eq!(pc.read(ICR), 0);
}

/// SDM 13.4.18: the interval is in units of 256 ns.
#[test]
fn throttling_keeps_interrupts_apart() {
    let mut pc = Pc::new();
    pc.write(0xc4, 100);
    pc.write(IMS, 4);
    pc.pass(1000);
    pc.write(0xc8, 4);
    assert!(pc.card.interrupt(), "the first comes at once");
    pc.read(ICR);
    pc.write(0xc8, 4);
    assert!(!pc.card.interrupt());
    assert_eq!(pc.card.deadline(), Some(Instant(1000 + 25_600)));
    pc.pass(25_599);
    assert!(!pc.card.interrupt());
    pc.pass(1);
    assert!(pc.card.interrupt());
    assert_eq!(pc.card.deadline(), None);
    pc.read(ICR);
    pc.pass(25_600);
    pc.write(0xc8, 4);
    assert!(pc.card.interrupt(), "long enough ago");
    pc.read(ICR);
    pc.write(0xc8, 4);
    pc.read(ICR);
    assert_eq!(pc.card.deadline(), None, "read before it was seen");
}

#[test]
fn a_reset_clears_everything_but_the_phy_and_the_bus() {
    let mut pc = Pc::running();
    pc.phy_write(4, 1);
    for (offset, value) in [(0x5400, 1), (0x5200, 1), (0x5600, 1), (0xc4, 7), (0x5000, 0x300), (0x28, 5)] {
        pc.write(offset, value);
    }
    pc.write(0xc8, 4);
    assert!(pc.card.interrupt());
    pc.write(0x00, 0x0400_0201);
    assert!(!pc.card.interrupt());
    assert_eq!(pc.read(0x00), 0x201, "RST clears itself");
    for offset in [0x100, 0x400, 0x2800, 0x2808, 0x2818, 0x3800, 0x3808, 0x5200, 0x5600, 0xc4, 0xd0, 0xc0, 0x5000, 0x28]
    {
        assert_eq!(pc.read(offset), 0, "register {offset:#x}");
    }
    assert_eq!(pc.read(0x5400), 0x1200_5452);
    assert_eq!(pc.phy_read(4), 1);
    assert!(pc.card.config().masters_bus());
    Card::reset(&mut pc.card);
    assert_eq!(pc.phy_read(4), 0x0de1);
    assert!(!pc.card.config().masters_bus());
}

#[test]
fn it_vanishes_with_the_network_cards() {
    let mut pc = Pc::new();
    assert!(pc.card.unplug(Unplug::Nics));
    assert!(!pc.card.unplug(Unplug::IdeDisks) && !pc.card.unplug(Unplug::AuxiliaryIdeDisks));
}

#[test]
fn any_accesses_come_to_an_end() {
    let mut pc = Pc::running();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..60_000_u32 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let [a, b, c, selector, value @ ..] = state.to_le_bytes();
        let value = u32::from_le_bytes(value);
        let places = [0x0, 0x10, 0x14, 0x20, 0xc0, 0xc8, 0xd0, 0xd8, 0x100, 0x400, 0x2800, 0x3800, 0x4000, 0x5000];
        let offset = places[usize::from(selector) % places.len()] + u32::from(a & 0x1c);
        match selector >> 5 {
            0 => drop(pc.read(offset)),
            1..=3 => pc.write(offset, value >> (b & 0x1f)),
            4 => {
                // Descriptors of any kind, which lead anywhere in memory and outside of it.
                let at = (if c & 1 == 0 { TX_RING } else { RX_RING }) + u64::from(a) * 4;
                pc.host.write(GuestAddr(at), &(value >> (b & 0x1f)).to_le_bytes()).unwrap();
            }
            5 => pc.arrives(vec![a; usize::from(b) * 16], ReceivedChecksum::Blank),
            6 => {
                pc.nic().room = Some(usize::from(a));
                pc.nic().sent.clear();
                pc.nic().features.segment_v4 = b & 1 != 0;
                pc.ready();
            }
            _ => pc.pass(u64::from(a)),
        }
        if round % 500 == 0 {
            let card = Pc::running().card;
            pc.card = card;
            pc.nic().received.clear();
        }
    }
}
