//! Instructions that were decoded, by their physical address.
//!
//! What lies across the end of a page is not kept. A page that has too many is begun anew, so that code that changes
//! itself takes no more memory than code that does not.

use super::bus::{BLOCK, Bus, Changed};
use super::step::{LEN_MAX, Step};

/// Bytes of a page.
const PAGE: u32 = 4096;
/// Instructions that are kept of a page.
const STEPS_MAX: usize = 8192;

/// The instructions of a page, once for code of 16 bits and once for code of 32 bits.
#[derive(Debug)]
struct Page {
    /// One more than the place of the instruction that begins at this byte; 0 is none.
    starts: [Vec<u16>; 2],
    steps: Vec<Step>,
}

/// All that was decoded.
#[derive(Debug)]
pub(super) struct Cache {
    pages: Vec<Option<Box<Page>>>,
    /// Which pages there are.
    used: Vec<u32>,
}

impl Default for Cache {
    fn default() -> Self {
        let mut pages = Vec::new();
        pages.resize_with(1 << 20, || None);
        Self { pages, used: Vec::new() }
    }
}

impl Cache {
    /// The instruction at a physical address.
    pub(super) fn step<B: Bus>(&mut self, bus: &mut B, addr: u32, is_32: bool) -> Step {
        let (page, offset) = (addr / PAGE, addr % PAGE);
        if let Some(page) = &self.pages[as_usize(page)] {
            let place = page.starts[usize::from(is_32)][as_usize(offset)];
            if let Some(step) = usize::from(place).checked_sub(1).and_then(|place| page.steps.get(place)) {
                return *step;
            }
        }
        self.decode(bus, addr, is_32)
    }

    fn decode<B: Bus>(&mut self, bus: &mut B, addr: u32, is_32: bool) -> Step {
        let mut code = [0; LEN_MAX];
        bus.fetch(addr, &mut code);
        let step = Step::decode(&code, is_32);
        let (number, offset) = (addr / PAGE, addr % PAGE);
        let fits = offset + u32::from(step.len) <= PAGE;
        if !fits || step.len == 0 || !bus.watch(addr, step.len.into()) {
            return step;
        }
        let slot = &mut self.pages[as_usize(number)];
        if slot.as_ref().is_none_or(|page| page.steps.len() >= STEPS_MAX) {
            if slot.is_none() {
                self.used.push(number);
            }
            let starts = [(); 2].map(|()| vec![0; as_usize(PAGE)]);
            *slot = Some(Box::new(Page { starts, steps: Vec::new() }));
        }
        if let Some(page) = slot {
            page.steps.push(step);
            let place = u16::try_from(page.steps.len()).unwrap_or(0);
            page.starts[usize::from(is_32)][as_usize(offset)] = place;
        }
        step
    }

    /// Forgets what is something else now.
    pub(super) fn forget(&mut self, changed: &Changed) {
        match changed {
            Changed::Nothing => {}
            Changed::Blocks(blocks) => {
                for block in blocks {
                    let Some(page) = &mut self.pages[as_usize(block / (PAGE / BLOCK))] else { continue };
                    let first = as_usize(block % (PAGE / BLOCK) * BLOCK);
                    // An instruction before the block may reach into it.
                    let from = first.saturating_sub(LEN_MAX - 1);
                    for starts in &mut page.starts {
                        starts[from..first + as_usize(BLOCK)].fill(0);
                    }
                }
            }
            Changed::Everything => {
                for page in self.used.drain(..) {
                    self.pages[as_usize(page)] = None;
                }
            }
        }
    }
}

fn as_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(0)
}
