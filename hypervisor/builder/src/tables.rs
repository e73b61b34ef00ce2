//! Page tables: a table for all addresses from the base to the end, one level after the other, the top one first.
//!
//! They map themselves, as everything, but not writable: so they can be checked, and kept what they are.

use crate::layout::{Layout, SHIFTS};
use crate::{PAGE, Pages, Refusal, Space};
use alloc::vec::Vec;
use xen_abi::PAGE_SHIFT;
use zerocopy::IntoBytes as _;

/// Bits of entries: present, writable, for ring 3, accessed, dirty.
const DATA: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 5 | 1 << 6;
const READ_ONLY: u64 = 1 | 1 << 2 | 1 << 5;
/// Entries of a table.
const ENTRIES: u64 = 512;
/// Bits of an address that have a meaning.
const ADDRESS_BITS: u32 = 48;

pub(crate) fn make<P: Pages>(layout: &Layout, space: &mut Space<'_, P>) -> Result<(), Refusal> {
    let tables = layout.tables..layout.tables.wrapping_add(layout.table_count().wrapping_mul(PAGE));
    let mut place = layout.tables;
    let mut levels = SHIFTS.into_iter().zip(layout.table_counts).peekable();
    while let Some((shift, count)) = levels.next() {
        let below = levels.peek().map_or(PAGE_SHIFT, |(shift, _)| *shift);
        let next_level = place.wrapping_add(count.wrapping_mul(PAGE));
        let first = layout.base >> shift;
        for number in (first..).take(usize::try_from(count).unwrap_or(0)) {
            let mut entries = Vec::new();
            for index in 0..ENTRIES {
                // The number of what the entry is for, among all of its kind.
                let child = number.wrapping_mul(ENTRIES).wrapping_add(index);
                let is_mapped = child >= layout.base >> below && child <= layout.end.wrapping_sub(1) >> below;
                let address = match below {
                    PAGE_SHIFT => child << PAGE_SHIFT,
                    _ => child.wrapping_sub(layout.base >> below).wrapping_mul(PAGE).wrapping_add(next_level),
                };
                let bits = if below == PAGE_SHIFT && tables.contains(&address) { READ_ONLY } else { DATA };
                entries.push(if is_mapped { space.frame(address)? << PAGE_SHIFT | bits } else { 0 });
            }
            space.put(place, entries.as_bytes())?;
            place = place.wrapping_add(PAGE);
        }
    }
    Ok(())
}

const _: () = assert!(SHIFTS[0] == ADDRESS_BITS);
