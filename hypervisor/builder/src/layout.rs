//! Where things are, by address.

use crate::kernel::Kernel;
use crate::{PAGE, Refusal, refuse};

/// Free memory that is mapped at least, and where the mapping ends.
const FREE_MIN: u64 = 512 << 10;
const MAPPED_TO: u64 = 4 << 20;

/// Where things are. Those that a domain does not have are where the next thing is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) base: u64,
    pub(crate) modules: u64,
    pub(crate) frames: u64,
    pub(crate) start_info: u64,
    pub(crate) store: u64,
    pub(crate) console: u64,
    pub(crate) tables: u64,
    /// Tables of each level, the top one's first.
    pub(crate) table_counts: [u64; 4],
    pub(crate) stack: u64,
    /// Where the mapping ends.
    pub(crate) end: u64,
}

/// Bits of an address below what a table of each level is about, the top one's first.
pub(crate) const SHIFTS: [u32; 4] = [48, 39, 30, 21];

impl Layout {
    /// All tables.
    pub(crate) fn table_count(&self) -> u64 {
        self.table_counts.iter().sum()
    }
}

/// For a kernel with so many bytes of modules, in so many pages.
pub(crate) fn layout(kernel: &Kernel<'_>, modules: u64, pages: u64, has_rings: bool) -> Result<Layout, Refusal> {
    let whole = |address: u64| address.div_ceil(PAGE).saturating_mul(PAGE);
    let ring = if has_rings { PAGE } else { 0 };
    let base = kernel.base;
    let modules_at = whole(kernel.end);
    let frames = whole(modules_at.saturating_add(modules));
    let start_info = whole(frames.saturating_add(pages.saturating_mul(8)));
    let store = start_info.saturating_add(PAGE);
    let console = store.saturating_add(ring);
    let tables = console.saturating_add(ring);
    let limit = base.saturating_add(pages.saturating_mul(PAGE));
    // More tables may make more tables necessary.
    let mut table_counts = [1; 4];
    loop {
        let count = table_counts.iter().sum::<u64>();
        let stack = tables.saturating_add(count.saturating_mul(PAGE));
        let end = stack.saturating_add(PAGE).saturating_add(FREE_MIN).div_ceil(MAPPED_TO).saturating_mul(MAPPED_TO);
        if end > limit || end < base {
            return refuse("the domain has not enough memory for its kernel");
        }
        // Tables that the addresses from the base to the end go through.
        let needed = SHIFTS.map(|shift| (end.saturating_sub(1) >> shift).wrapping_sub(base >> shift).wrapping_add(1));
        if needed == table_counts {
            let modules = modules_at;
            return Ok(Layout { base, modules, frames, start_info, store, console, tables, table_counts, stack, end });
        }
        table_counts = core::array::from_fn(|level| {
            let (needed, known) = (needed.get(level), table_counts.get(level));
            needed.copied().unwrap_or(0).max(known.copied().unwrap_or(0))
        });
    }
}
