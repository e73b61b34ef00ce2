//! The DMA interface: software writes the address of a descriptor in memory, and the device does what that says.
//!
//! Two big-endian halves of the address are written to ports 0x514 and 0x518; the second one starts the work, which is
//! over when the write is. The descriptor has 16 bytes, big-endian: control, length, address. Control becomes zero when
//! all went well and bit 0 otherwise.
//!
//! Source: QEMU `docs/specs/fw_cfg.rst`, "Guest-side DMA Interface".
//! Invariant: the work is bounded by the length of the item and 1 MiB of zeros, whatever the descriptor says.

use super::FwCfg;
use crate::access::Width;
use crate::host::{GuestAddr, GuestMemory, Unmapped};

/// First port.
pub const FIRST_PORT: u16 = 0x514;
/// Ports.
pub const PORTS: u16 = 8;

/// What a read of the ports gives, so that software can tell that they are there.
const SIGNATURE: [u8; 8] = *b"QEMU CFG";
/// Offset of the half that starts the work.
const LOW_HALF: u16 = 4;
/// Bytes of a descriptor.
const DESCRIPTOR_LEN: usize = 16;

/// Control: something of it could not be done.
const ERROR: u32 = 1 << 0;
/// Control: copy from the item to memory.
const READ: u32 = 1 << 1;
/// Control: move on in the item.
const SKIP: u32 = 1 << 2;
/// Control: the upper half is the number of an item, which is selected first.
const SELECT: u32 = 1 << 3;
/// Control: copy from memory to the item.
const WRITE: u32 = 1 << 4;

/// Zeros that are written beyond the end of an item at most; more than any header that software reads without a look at
/// the item's length.
const MAX_PADDING: usize = 1 << 20;
/// Zeros that are written at a time.
const ZEROS: [u8; 4096] = [0; 4096];

impl FwCfg {
    /// Reads at [`FIRST_PORT`] + `offset`.
    #[must_use]
    pub fn read_dma(&self, offset: u16, width: Width) -> u64 {
        let bytes = SIGNATURE.iter().skip(usize::from(offset)).take(width.bytes());
        // The first byte is the most significant one of the register, and the first one that the processor gets.
        bytes.rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// Writes at [`FIRST_PORT`] + `offset`: halves of the descriptor's address, and nothing else.
    pub fn write_dma(&mut self, memory: &mut impl GuestMemory, offset: u16, width: Width, value: u64) {
        let [a, b, c, d, ..] = value.to_le_bytes();
        let half = u64::from(u32::from_be_bytes([a, b, c, d]));
        match (offset, width) {
            (0, Width::Dword) => self.descriptor = half << 32,
            (LOW_HALF, Width::Dword) => {
                let descriptor = GuestAddr(self.descriptor | half);
                self.descriptor = 0;
                self.perform(memory, descriptor);
            }
            _ => {}
        }
    }

    fn perform(&mut self, memory: &mut impl GuestMemory, descriptor: GuestAddr) {
        let mut bytes = [0; DESCRIPTOR_LEN];
        if memory.read(descriptor, &mut bytes).is_err() {
            // There is nowhere to say so.
            return;
        }
        let (halves, _) = bytes.as_chunks();
        let [control, length, high, low] = halves else { return };
        let [control, length, high, low] = [control, length, high, low].map(|half| u32::from_be_bytes(*half));
        if control & SELECT != 0 {
            let [_, _, upper, top] = control.to_le_bytes();
            self.select(u16::from_le_bytes([upper, top]));
        }
        let len = usize::try_from(length).unwrap_or(usize::MAX);
        let done = if control & READ != 0 {
            self.copy(memory, u64::from(high) << 32 | u64::from(low), len)
        } else if control & WRITE != 0 {
            // No item can be written.
            Err(Unmapped)
        } else {
            if control & SKIP != 0 {
                self.skip(len);
            }
            Ok(())
        };
        let result: u32 = if done.is_ok() { 0 } else { ERROR };
        // It was read from there: where it cannot be written, software has itself to blame.
        let _ = memory.write(descriptor, &result.to_be_bytes());
    }

    /// Copies what is left of the item, and zeros behind its end.
    fn copy(&mut self, memory: &mut impl GuestMemory, addr: u64, len: usize) -> Result<(), Unmapped> {
        let rest = self.rest();
        let count = rest.len().min(len);
        memory.write(GuestAddr(addr), rest.get(..count).unwrap_or_default())?;
        self.skip(count);
        let mut padding = len.saturating_sub(count);
        if padding > MAX_PADDING {
            return Err(Unmapped);
        }
        let mut addr = addr.checked_add(count as u64).ok_or(Unmapped)?;
        while padding > 0 {
            let zeros = ZEROS.get(..padding.min(ZEROS.len())).unwrap_or_default();
            memory.write(GuestAddr(addr), zeros)?;
            addr = addr.checked_add(zeros.len() as u64).ok_or(Unmapped)?;
            padding = padding.saturating_sub(zeros.len());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FwCfgConfig, ide_path};
    use super::*;
    use crate::fake_host::FakeHost;
    use std::vec::Vec;

    const DESCRIPTOR: u32 = 0x1000;
    const DATA: u32 = 0x2000;

    fn machine() -> (FwCfg, FakeHost) {
        let paths = [ide_path(0, 0)];
        let fw_cfg =
            FwCfg::new(&FwCfgConfig { memory: 1 << 30, cpus: 3, boot_paths: &paths, ..FwCfgConfig::default() });
        (fw_cfg, FakeHost::new(1 << 20))
    }

    /// As SeaBIOS `qemu_cfg_dma_transfer`. Gives the control word that is left.
    fn transfer(fw_cfg: &mut FwCfg, host: &mut FakeHost, control: u32, len: u32, addr: u64) -> u32 {
        let mut descriptor = Vec::new();
        descriptor.extend(control.to_be_bytes());
        descriptor.extend(len.to_be_bytes());
        descriptor.extend(addr.to_be_bytes());
        host.write(GuestAddr(DESCRIPTOR.into()), &descriptor).unwrap();
        fw_cfg.write_dma(host, 4, Width::Dword, DESCRIPTOR.swap_bytes().into());
        let mut left = [0; 4];
        host.read(GuestAddr(DESCRIPTOR.into()), &mut left).unwrap();
        u32::from_be_bytes(left)
    }

    fn bytes<const LEN: usize>(host: &mut FakeHost) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        host.read(GuestAddr(DATA.into()), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_ports_show_their_signature_to_every_width() {
        let (fw_cfg, _) = machine();
        assert_eq!(fw_cfg.read_dma(0, Width::Dword), u32::from_le_bytes(*b"QEMU").into());
        assert_eq!(fw_cfg.read_dma(4, Width::Dword), u32::from_le_bytes(*b" CFG").into());
        assert_eq!(fw_cfg.read_dma(6, Width::Byte), b'F'.into());
        assert_eq!(fw_cfg.read_dma(7, Width::Dword), b'G'.into());
    }

    #[test]
    fn an_item_is_selected_and_copied_in_one_go() {
        let (mut fw_cfg, mut host) = machine();
        assert_eq!(transfer(&mut fw_cfg, &mut host, SELECT | READ | 3 << 16, 8, DATA.into()), 0);
        assert_eq!(bytes::<8>(&mut host), (1_u64 << 30).to_le_bytes());
    }

    #[test]
    fn reads_go_on_where_the_last_one_ended_and_skips_move_on() {
        let (mut fw_cfg, mut host) = machine();
        assert_eq!(transfer(&mut fw_cfg, &mut host, SELECT, 0, 0), 0);
        assert_eq!(transfer(&mut fw_cfg, &mut host, READ, 1, DATA.into()), 0);
        assert_eq!(bytes::<1>(&mut host), *b"Q");
        assert_eq!(transfer(&mut fw_cfg, &mut host, SKIP, 1, 0), 0);
        assert_eq!(transfer(&mut fw_cfg, &mut host, READ, 2, DATA.into()), 0);
        assert_eq!(bytes::<2>(&mut host), *b"MU");
        assert_eq!(fw_cfg.read(1, Width::Byte), 0);
    }

    #[test]
    fn zeros_follow_an_item_but_not_without_end() {
        let (mut fw_cfg, mut host) = machine();
        host.write(GuestAddr(DATA.into()), &[0xff; 8]).unwrap();
        assert_eq!(transfer(&mut fw_cfg, &mut host, SELECT | READ | 5 << 16, 6, DATA.into()), 0);
        assert_eq!(bytes::<8>(&mut host), [3, 0, 0, 0, 0, 0, 0xff, 0xff]);
        assert_eq!(transfer(&mut fw_cfg, &mut host, SELECT | READ | 5 << 16, u32::MAX, DATA.into()), ERROR);
    }

    #[test]
    fn writes_to_items_and_to_nowhere_are_errors() {
        let (mut fw_cfg, mut host) = machine();
        let before = fw_cfg.items.clone();
        assert_eq!(transfer(&mut fw_cfg, &mut host, SELECT | WRITE | 5 << 16, 2, DATA.into()), ERROR);
        assert_eq!(transfer(&mut fw_cfg, &mut host, SELECT | READ | 5 << 16, 2, u64::MAX - 1), ERROR);
        assert_eq!(transfer(&mut fw_cfg, &mut host, SELECT | READ | 5 << 16, 64, u64::MAX), ERROR);
        assert_eq!(fw_cfg.items, before);
    }

    #[test]
    fn a_descriptor_that_is_not_there_does_nothing() {
        let (mut fw_cfg, mut host) = machine();
        fw_cfg.write_dma(&mut host, 0, Width::Dword, u32::MAX.into());
        fw_cfg.write_dma(&mut host, 4, Width::Dword, u32::MAX.into());
        // Its upper half is used once.
        assert_eq!(transfer(&mut fw_cfg, &mut host, SELECT | READ, 4, DATA.into()), 0);
        assert_eq!(bytes::<4>(&mut host), *b"QEMU");
    }

    #[test]
    fn other_widths_start_nothing() {
        let (mut fw_cfg, mut host) = machine();
        let before = fw_cfg.clone();
        for width in [Width::Byte, Width::Word] {
            fw_cfg.write_dma(&mut host, 0, width, 0x1234);
            fw_cfg.write_dma(&mut host, 4, width, 0x1234);
        }
        fw_cfg.write_dma(&mut host, 2, Width::Dword, 0x1234);
        assert_eq!(fw_cfg, before);
    }
}
