//! A domain, from nothing to where it runs.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use domain_builder::{Image, Module, Pages, Refusal, Surroundings};
use minios::addr::Gfn;
use minios::foreign::{Access, ForeignMapping};
use minios::hypercall::{XenError, domctl, event, memory, mmu};
use stubdom::xl::DomainConfig;
use xen_abi::mmu::{FLAT_KERNEL_CS, FLAT_KERNEL_SS};
use xen_abi::vcpu::{VGCF_IN_KERNEL, VGCF_ONLINE};
use xen_abi::{DomId, PAGE_SIZE, Port};

use crate::files::Files;

/// Pages that are asked for, and looked at, at once.
const BATCH: usize = 256;

/// A domain that is complete, and paused.
pub(crate) struct Built {
    pub(crate) id: DomId,
    /// Frames of its rings, and its ports to them: of xenstore, and of the console.
    pub(crate) store: (Gfn, Port),
    pub(crate) console: (Gfn, Port),
}

/// Makes a domain, or nothing.
pub(crate) fn build(config: &DomainConfig, files: &Files) -> Result<Built, String> {
    let id = domctl::create_domain(handle(config), 1).map_err(|error| format!("it cannot be made: {error}"))?;
    let built = fill(id, config, files);
    if built.is_err() {
        // What there is of it, is of no use.
        let _: Result<(), XenError> = domctl::destroy(id);
    }
    built
}

/// What a toolstack would know it by: its name, as far as that has room.
fn handle(config: &DomainConfig) -> [u8; 16] {
    let mut handle = [0; 16];
    handle.iter_mut().zip(config.name.bytes()).for_each(|(to, from)| *to = from);
    handle
}

fn fill(id: DomId, config: &DomainConfig, files: &Files) -> Result<Built, String> {
    let failed = |what: &'static str| move |error: XenError| format!("{what}: {error}");
    let count = config.memory.checked_mul(256).ok_or("memory: more than any machine has")?;
    domctl::max_mem(id, count).map_err(failed("memory"))?;
    let mut pages = OtherPages { id, frames: memory_of(id, count)?, window: None };
    let ports = (event::alloc_unbound_of(id), event::alloc_unbound_of(id));
    let (store, console) =
        (ports.0.map_err(failed("xenstore's port"))?, ports.1.map_err(failed("the console's port"))?);
    let shared_info = domctl::info(id).map_err(failed("the shared page"))?.shared_info_frame;
    let ramdisk = config.ramdisk.as_ref().map(|path| files.get(path)).transpose()?;
    let modules: Vec<Module<'_>> = ramdisk.iter().map(|bytes| Module { bytes, command_line: "" }).collect();
    let image = Image {
        kernel: files.get(&config.kernel)?,
        command_line: &config.command_line,
        modules: &modules,
        pages: count,
    };
    let around = Surroundings { shared_info, flags: 0, ports: Some((store, console)) };
    let start = domain_builder::build(&image, &around, &mut pages).map_err(|refusal| refusal.0)?;
    // A page table that somebody can write to is none.
    drop(pages);
    if let Some(page) = start.hypercall_page {
        domctl::hypercall_init(id, Gfn::new(page)).map_err(failed("the hypercall page"))?;
    }
    mmu::pin_top_of(id, Gfn::new(start.top)).map_err(failed("its page tables"))?;
    let mut context = domctl::empty_context();
    context.flags = VGCF_IN_KERNEL | VGCF_ONLINE;
    (context.user_regs.cs, context.user_regs.ss) = (FLAT_KERNEL_CS, FLAT_KERNEL_SS);
    context.user_regs.rip = start.entry;
    context.user_regs.rsi = start.start_info;
    context.user_regs.rsp = start.stack;
    context.ctrlreg[3] = start.top << PAGE_SIZE.trailing_zeros();
    domctl::set_vcpu_context(id, 0, &context).map_err(failed("its processor"))?;
    let Some((store_frame, console_frame)) = start.rings else { return Err("it has no rings".into()) };
    Ok(Built { id, store: (Gfn::new(store_frame), store), console: (Gfn::new(console_frame), console) })
}

/// Machine frames for all pages of a domain.
fn memory_of(id: DomId, count: u64) -> Result<Vec<Gfn>, String> {
    let mut frames = Vec::new();
    let numbers: Vec<u64> = (0..count).collect();
    for batch in numbers.chunks(BATCH) {
        let mut batch = batch.to_vec();
        let done = memory::populate_paravirtual(id, &mut batch).map_err(|error| format!("memory: {error}"))?;
        if done < batch.len() {
            return Err(format!("memory: the machine has {} MiB left of {}", (frames.len() + done) >> 8, count >> 8));
        }
        frames.extend(batch.into_iter().map(Gfn::new));
    }
    Ok(frames)
}

/// The pages of a domain, through a window that moves.
struct OtherPages {
    id: DomId,
    frames: Vec<Gfn>,
    /// Its first page, and what is seen through it.
    window: Option<(usize, ForeignMapping)>,
}

impl OtherPages {
    /// A window that shows a page, and the page's number in it.
    fn window(&mut self, page: u64) -> Result<(&ForeignMapping, usize), String> {
        let page = usize::try_from(page).map_err(|_| "there is no such page")?;
        let first = page - page % BATCH;
        if self.window.as_ref().is_none_or(|(shown, _)| *shown != first) {
            self.window = None;
            let end = self.frames.len().min(first + BATCH);
            let frames = self.frames.get(first..end).ok_or("the domain has not enough memory")?;
            let mapping = ForeignMapping::map(self.id, frames, Access::ReadWrite);
            self.window = Some((first, mapping.map_err(|error| format!("{error}"))?));
        }
        let (_, mapping) = self.window.as_ref().ok_or("there is no window")?;
        Ok((mapping, page - first))
    }
}

impl Pages for OtherPages {
    fn frame(&self, page: u64) -> Option<u64> {
        self.frames.get(usize::try_from(page).ok()?).map(|frame| frame.number())
    }

    fn write(&mut self, page: u64, offset: usize, bytes: &[u8]) -> Result<(), Refusal> {
        let (mapping, page) = self.window(page).map_err(Refusal)?;
        let place = page * PAGE_SIZE + offset;
        mapping.write(place, bytes).map_err(|_| Refusal("the domain has not enough memory".into()))
    }
}
