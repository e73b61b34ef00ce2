//! Virtual addresses of a domain, looked up in its page tables by the hypervisor.

use crate::entry::{Entry, Level};
use crate::errno::Errno;
use crate::frames::HYPERVISOR_ENTRIES;
use crate::memory::{Memory, Mfn};
use xen_abi::PAGE_SIZE;

/// An address space: the memory, and a top table in it.
#[derive(Debug)]
pub struct AddressSpace<'a, M> {
    /// The memory.
    pub memory: &'a mut M,
    /// The top table.
    pub top: Mfn,
}

impl<M: Memory> AddressSpace<'_, M> {
    /// The lowest table for an address, and the index in it.
    pub fn lowest(&self, address: u64) -> Result<(Mfn, usize), Errno> {
        self.walk(address).map(|(table, index, _)| (table, index))
    }

    /// The same, and whether all tables above let it be written. A domain gets nowhere by entries that ring 3 has no use of: a
    /// table that maps itself has those of the hypervisor among its own.
    fn walk(&self, address: u64) -> Result<(Mfn, usize, bool), Errno> {
        if !is_domains(address) {
            return Err(Errno::EFAULT);
        }
        let (mut table, mut is_writable) = (self.top, true);
        for level in [Level::L4, Level::L3, Level::L2] {
            let entry = Entry(self.memory.load(table, level.index(address)));
            if !entry.is_present() || !entry.is_users() {
                return Err(Errno::EFAULT);
            }
            table = entry.frame();
            is_writable &= entry.is_writable();
        }
        Ok((table, Level::L1.index(address), is_writable))
    }

    fn page(&self, address: u64, write: bool) -> Result<Mfn, Errno> {
        let (table, index, is_writable) = self.walk(address)?;
        let entry = Entry(self.memory.load(table, index));
        let is_good = entry.is_present() && entry.is_users() && (entry.is_writable() && is_writable || !write);
        is_good.then(|| entry.frame()).ok_or(Errno::EFAULT)
    }

    /// Copies bytes of the domain.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        let mut address = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let frame = self.page(address, false)?;
            let (offset, length) = part(address, rest.len());
            let (now, later) = rest.split_at_mut_checked(length).ok_or(Errno::EFAULT)?;
            self.memory.read(frame, offset, now);
            rest = later;
            address = advance(address, length)?;
        }
        Ok(())
    }

    /// Copies bytes to the domain.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        let mut address = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let frame = self.page(address, true)?;
            let (offset, length) = part(address, rest.len());
            let (now, later) = rest.split_at_checked(length).ok_or(Errno::EFAULT)?;
            self.memory.write(frame, offset, now);
            rest = later;
            address = advance(address, length)?;
        }
        Ok(())
    }

    /// Reads a value.
    pub fn get<T: zerocopy::FromBytes + zerocopy::IntoBytes>(&self, address: u64) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        self.read(address, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Writes a value.
    pub fn put<T: zerocopy::IntoBytes + zerocopy::Immutable>(&mut self, address: u64, value: &T) -> Result<(), Errno> {
        self.write(address, value.as_bytes())
    }
}

/// Whether an address is one: its upper bits are all the same.
#[must_use]
pub const fn is_canonical(address: u64) -> bool {
    matches!(address >> 47, 0 | 0x1_ffff)
}

/// Whether it is one that is not the hypervisor's.
#[must_use]
pub fn is_domains(address: u64) -> bool {
    is_canonical(address) && !HYPERVISOR_ENTRIES.contains(&Level::L4.index(address))
}

/// The offset in the page, and how many of the bytes are in it.
fn part(address: u64, length: usize) -> (usize, usize) {
    let offset = usize::try_from(address).unwrap_or(0) & (PAGE_SIZE - 1);
    (offset, length.min(PAGE_SIZE.saturating_sub(offset)))
}

fn advance(address: u64, length: usize) -> Result<u64, Errno> {
    u64::try_from(length).ok().and_then(|length| address.checked_add(length)).ok_or(Errno::EFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::TestMemory;

    #[test]
    fn every_table_on_the_way_has_a_say() {
        const BITS: u64 = Entry::PRESENT | Entry::WRITABLE | Entry::USER;
        let address = 0x80_4020_1008;
        for (level, lost, reads, writes) in [
            (0, 0, true, true),
            (0, Entry::WRITABLE, true, false),
            (1, Entry::WRITABLE, true, false),
            (3, Entry::WRITABLE, true, false),
            (0, Entry::USER, false, false),
            (2, Entry::USER, false, false),
            (3, Entry::USER, false, false),
            (1, Entry::PRESENT, false, false),
        ] {
            let mut memory = TestMemory::new(6);
            for table in 0..4_u64 {
                let bits = if table == level { BITS & !lost } else { BITS };
                memory.store(Mfn(table), 1, Entry::new(Mfn(table + 1), bits).0);
            }
            let mut space = AddressSpace { memory: &mut memory, top: Mfn(0) };
            assert_eq!(space.get::<u64>(address).is_ok(), reads, "{level} {lost}");
            assert_eq!(space.put(address, &7_u64).is_ok(), writes, "{level} {lost}");
        }
    }

    #[test]
    fn a_table_that_maps_itself_leads_to_no_hypervisor() {
        let mut memory = TestMemory::new(4);
        // What the top table has at 0 is itself; at 256 and at 261 it has the hypervisor's.
        memory.store(Mfn(0), 0, Entry::new(Mfn(0), Entry::PRESENT | Entry::USER).0);
        memory.store(Mfn(0), 261, Entry::new(Mfn(1), Entry::PRESENT | Entry::WRITABLE).0);
        let mut space = AddressSpace { memory: &mut memory, top: Mfn(0) };
        assert!(space.get::<u64>(0).is_ok(), "the top table");
        assert_eq!(space.put(0, &0_u64), Err(Errno::EFAULT));
        for address in [261 << 12, 261 << 21, 261 << 30] {
            assert_eq!(space.get::<u64>(address), Err(Errno::EFAULT), "{address:#x}");
        }
    }
}
