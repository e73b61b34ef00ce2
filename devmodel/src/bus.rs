//! Who answers at which port or address.
//!
//! Most ranges are fixed when the machine is made; the others move with the PCI base address registers. A fixed range
//! wins where a moved one is put on top of it, and among the moved ones the first in the order of the machine's list.
//! From both lists follows what the machine claims of the hypervisor: a set of ranges that never overlap, whatever the
//! guest writes into its base address registers. Only what is new or gone is reported, and a range goes as it came.
//!
//! Invariant: the fixed ranges are sorted and do not overlap; they stay claimed as they were claimed at first.

use crate::host::{GuestAddr, Range, SerialId};
use alloc::vec::Vec;

/// Who answers for a range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortOwner {
    /// Fixed ports of the Xen platform device.
    XenPlatformFixed,
    /// Ports at the base address of the Xen platform device.
    XenPlatform,
    /// Keyboard controller.
    I8042,
    /// CMOS memory.
    Cmos,
    /// System control port A.
    SystemControl,
    /// Advanced power management ports.
    ApmControl,
    /// Command block of an IDE channel.
    IdeCommand(u8),
    /// Control block of an IDE channel.
    IdeControl(u8),
    /// Bus-master registers of both IDE channels.
    IdeBusMaster,
    /// A serial port.
    Serial(SerialId),
    /// VGA and Bochs VBE registers.
    Vga,
    /// SeaBIOS debug port, or the one of Bochs.
    DebugPort,
    /// Firmware configuration.
    FwCfg,
    /// Firmware configuration by DMA.
    FwCfgDma,
    /// PCI configuration address, and the reset control register among its bytes.
    PciConfigAddress,
    /// PCI configuration data.
    PciConfigData,
    /// PCI hot plug registers.
    PciHotPlug,
    /// CPU hot plug registers.
    CpuHotPlug,
    /// General purpose events.
    GeneralPurposeEvents,
    /// Power management registers at PMBASE.
    PowerManagement,
    /// What a base address of a card describes.
    Card(CardRegion),
}

/// Who answers for a range of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryOwner {
    /// The VGA window at 0xa0000.
    VgaLegacy,
    /// The linear framebuffer. It is mapped into the guest and so not claimed.
    VgaFramebuffer,
    /// The aperture through which a Cirrus card's blitter is given bytes.
    VgaBlit,
    /// The memory-mapped registers of the graphics card.
    VgaRegisters,
    /// The video BIOS.
    VgaRom,
    /// The memory of the Xen platform device.
    XenPlatform,
    /// What a base address of a card describes.
    Card(CardRegion),
}

/// One base address of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CardRegion {
    /// Which card of the machine.
    pub card: u8,
    /// Which base address.
    pub region: u8,
}

/// A range of ports and its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
    /// Who answers.
    pub owner: PortOwner,
}

/// A range of memory and its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// First byte.
    pub first: u64,
    /// Last byte.
    pub last: u64,
    /// Who answers.
    pub owner: MemoryOwner,
}

/// First and last number of a range.
type Interval = (u64, u64);

/// The map of ports and of memory.
#[derive(Clone, Debug, Default)]
pub struct AddressMap {
    fixed_ports: Vec<PortRange>,
    moved_ports: Vec<PortRange>,
    fixed_memory: Vec<MemoryRange>,
    moved_memory: Vec<MemoryRange>,
    claimed_ports: Vec<Interval>,
    claimed_memory: Vec<Interval>,
}

impl AddressMap {
    /// A map of the ranges that never move. Nothing is claimed yet.
    #[must_use]
    pub fn new(mut ports: Vec<PortRange>, mut memory: Vec<MemoryRange>) -> Self {
        ports.sort_unstable_by_key(|range| range.first);
        memory.sort_unstable_by_key(|range| range.first);
        Self { fixed_ports: ports, fixed_memory: memory, ..Self::default() }
    }

    /// The range that `port` lies in.
    #[must_use]
    pub fn port(&self, port: u16) -> Option<PortRange> {
        let after = self.fixed_ports.partition_point(|range| range.first <= port);
        let fixed = after.checked_sub(1).and_then(|at| self.fixed_ports.get(at)).filter(|range| port <= range.last);
        let moved = || self.moved_ports.iter().find(|range| range.first <= port && port <= range.last);
        fixed.or_else(moved).copied()
    }

    /// The range that the byte at `addr` lies in.
    #[must_use]
    pub fn memory(&self, addr: u64) -> Option<MemoryRange> {
        let mut ranges = self.fixed_memory.iter().chain(&self.moved_memory);
        ranges.find(|range| range.first <= addr && addr <= range.last).copied()
    }

    /// Replaces the ranges that move, and reports what is claimed from now on (`true`) and what no longer (`false`).
    pub fn set_moved(&mut self, ports: Vec<PortRange>, memory: Vec<MemoryRange>, mut report: impl FnMut(Range, bool)) {
        self.moved_ports = ports;
        self.moved_memory = memory;
        let ports = self.fixed_ports.iter().chain(&self.moved_ports);
        let ports = union(ports.map(|range| (u64::from(range.first), u64::from(range.last))).collect());
        let memory = self.fixed_memory.iter().chain(&self.moved_memory);
        let memory = memory.filter(|range| range.owner != MemoryOwner::VgaFramebuffer);
        let memory = union(memory.map(|range| (range.first, range.last)).collect());
        claim(&mut self.claimed_ports, &ports, |interval, claimed| report(port_range(interval), claimed));
        claim(&mut self.claimed_memory, &memory, |interval, claimed| report(memory_range(interval), claimed));
    }

    /// Everything that is claimed now.
    pub fn claimed(&self) -> impl Iterator<Item = Range> {
        let ports = self.claimed_ports.iter().copied().map(port_range);
        ports.chain(self.claimed_memory.iter().copied().map(memory_range))
    }
}

fn port_range((first, last): Interval) -> Range {
    let port = |number| u16::try_from(number).unwrap_or(u16::MAX);
    Range::Ports { first: port(first), last: port(last) }
}

fn memory_range((first, last): Interval) -> Range {
    Range::Memory { first: GuestAddr(first), last: GuestAddr(last) }
}

/// Makes what is claimed cover what is wanted, a result of [`union`], and reports the steps.
fn claim(claimed: &mut Vec<Interval>, wanted: &[Interval], mut report: impl FnMut(Interval, bool)) {
    claimed.retain(|interval| {
        let kept = difference(&[*interval], wanted).is_empty();
        if !kept {
            report(*interval, false);
        }
        kept
    });
    let new = difference(wanted, &union(claimed.clone()));
    for interval in &new {
        report(*interval, true);
    }
    claimed.extend(new);
}

/// The same numbers as sorted intervals that neither overlap nor touch.
fn union(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.sort_unstable();
    let mut merged: Vec<Interval> = Vec::with_capacity(intervals.len());
    for (first, last) in intervals {
        match merged.last_mut() {
            Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// What of `from` is not in `taken`; both are results of [`union`].
fn difference(from: &[Interval], taken: &[Interval]) -> Vec<Interval> {
    let mut left = Vec::new();
    for &(first, last) in from {
        let mut next = Some(first);
        for &(taken_first, taken_last) in taken.iter().filter(|taken| taken.0 <= last && first <= taken.1) {
            let Some(at) = next else { break };
            if at < taken_first {
                left.push((at, taken_first.saturating_sub(1)));
            }
            next = taken_last.checked_add(1);
        }
        if let Some(at) = next.filter(|at| *at <= last) {
            left.push((at, last));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn ports(first: u16, last: u16, owner: PortOwner) -> PortRange {
        PortRange { first, last, owner }
    }

    fn map() -> AddressMap {
        AddressMap::new(
            vec![ports(0x1f0, 0x1f7, PortOwner::IdeCommand(0)), ports(0x70, 0x71, PortOwner::Cmos)],
            vec![MemoryRange { first: 0xa_0000, last: 0xb_ffff, owner: MemoryOwner::VgaLegacy }],
        )
    }

    #[test]
    fn every_port_of_a_range_has_its_owner_and_no_other_port_has() {
        let map = map();
        let owner = |port| map.port(port).map(|range| range.owner);
        assert_eq!([0x6f, 0x72, 0x1ef, 0x1f8].map(owner), [None; 4]);
        assert_eq!([0x70, 0x71].map(owner), [Some(PortOwner::Cmos); 2]);
        assert_eq!([0x1f0, 0x1f7].map(owner), [Some(PortOwner::IdeCommand(0)); 2]);
        assert!(map.memory(0x9_ffff).is_none() && map.memory(0xc_0000).is_none());
        assert_eq!(map.memory(0xb_8000).map(|range| range.owner), Some(MemoryOwner::VgaLegacy));
    }

    #[test]
    fn only_changes_are_reported() {
        let mut map = map();
        let mut seen = vec![];
        map.set_moved(vec![], vec![], |range, claimed| seen.push((range, claimed)));
        assert_eq!(seen.len(), 3, "the first time, everything fixed");
        seen.clear();
        map.set_moved(vec![ports(0xc000, 0xc00f, PortOwner::IdeBusMaster)], vec![], |range, on| seen.push((range, on)));
        assert_eq!(seen, [(Range::Ports { first: 0xc000, last: 0xc00f }, true)]);
        seen.clear();
        map.set_moved(vec![ports(0xc008, 0xc017, PortOwner::IdeBusMaster)], vec![], |range, on| seen.push((range, on)));
        let expected = [
            (Range::Ports { first: 0xc000, last: 0xc00f }, false),
            (Range::Ports { first: 0xc008, last: 0xc017 }, true),
        ];
        assert_eq!(seen, expected);
        assert_eq!(map.claimed().count(), 4);
    }

    #[test]
    fn a_moved_range_on_top_of_a_fixed_one_neither_takes_nor_returns_it() {
        let mut map = map();
        map.set_moved(vec![], vec![], |_, _| {});
        let mut seen = vec![];
        map.set_moved(vec![ports(0x1e0, 0x1ff, PortOwner::IdeBusMaster)], vec![], |range, on| seen.push((range, on)));
        assert_eq!(map.port(0x1f0).map(|range| range.owner), Some(PortOwner::IdeCommand(0)));
        map.set_moved(vec![], vec![], |range, on| seen.push((range, on)));
        let (below, above) = (Range::Ports { first: 0x1e0, last: 0x1ef }, Range::Ports { first: 0x1f8, last: 0x1ff });
        assert_eq!(seen, [(below, true), (above, true), (below, false), (above, false)]);
    }

    #[test]
    fn the_linear_framebuffer_is_not_claimed() {
        let mut map = map();
        map.set_moved(vec![], vec![], |_, _| {});
        let owner = MemoryOwner::VgaFramebuffer;
        let framebuffer = MemoryRange { first: 0xf000_0000, last: 0xf0ff_ffff, owner };
        map.set_moved(vec![], vec![framebuffer], |range, _| panic!("{range:?} is reported"));
        assert_eq!(map.memory(0xf000_0000).map(|range| range.owner), Some(owner));
    }
}
