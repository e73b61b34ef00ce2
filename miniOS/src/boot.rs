//! From Xen's first jump to the program's `main`, and the end.
//!
//! Order: hypercalls, the table of frames, shared information, callbacks and traps, console 0 and the log, the rest of
//! the memory and the heap, the clock's timer. Then everything else works.
//!
//! Source: the layout that Xen's domain builder gives a PV domain, `tools/libs/guest/xg_dom_x86.c`: image, modules, the
//! table of frames, start information, xenstore's and the console's page, page tables, a stack, and from there on free
//! memory up to the end of what is mapped.
// UNSAFETY: takes what the domain builder left in memory, and sets up what everything else stands on.
#![expect(unsafe_code)]

use crate::addr::{Mfn, Pfn, VirtAddr, to_usize};
use crate::arch::{self, paging};
use crate::frame;
use crate::hypercall::sched::{self, ShutdownReason};
use crate::hypercall::{XenError, vcpu, version};
use crate::shared::SharedBytes;
use crate::{clock, console, event, heap, logger};
use alloc::vec::Vec;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use spin::Once;
use xen_abi::start_info::{SIF_INITDOMAIN, SIF_MOD_START_PFN, SIF_MULTIBOOT_MOD, StartInfo};
use xen_abi::{PAGE_SHIFT, PAGE_SIZE, Port};
use zerocopy::{FromZeros as _, IntoBytes as _};

/// Where the parts of the image are; the linker script's symbols.
#[derive(Clone, Debug)]
pub struct ImageLayout {
    /// Address of the domain's first page.
    pub virt_base: usize,
    /// The image's code.
    pub text: Range<usize>,
    /// The page that Xen fills.
    pub hypercall_page: usize,
    /// The page below the stack.
    pub stack_guard: usize,
    /// Where the stack begins, growing down.
    pub stack_top: usize,
}

static LAYOUT: Once<ImageLayout> = Once::new();
/// What the start information said at the start; some of it is another one once the domain was saved and restored.
static START_INFO: Once<StartInfo> = Once::new();
/// Where it is.
static START_PAGE: AtomicUsize = AtomicUsize::new(0);
static VIRT_BASE: AtomicUsize = AtomicUsize::new(0);

/// A page that gives its address to Xen's shared information.
#[repr(C, align(4096))]
struct SharedInfoPage(core::cell::UnsafeCell<[u8; PAGE_SIZE]>);

// SAFETY: nobody looks at it but through `SharedBytes`.
unsafe impl Sync for SharedInfoPage {}

static SHARED_INFO: SharedInfoPage = SharedInfoPage(core::cell::UnsafeCell::new([0; PAGE_SIZE]));

/// Address of the domain's first page. 0 on the host.
pub(crate) fn virt_base() -> usize {
    VIRT_BASE.load(Ordering::Relaxed)
}

/// Where the parts of the image are. `None` on the host.
#[must_use]
pub fn layout() -> Option<&'static ImageLayout> {
    LAYOUT.get()
}

/// What the domain builder told. `None` on the host.
#[must_use]
pub fn start_info() -> Option<&'static StartInfo> {
    START_INFO.get()
}

/// Whether this is the control domain, the first one of the machine.
#[must_use]
pub fn is_control_domain() -> bool {
    start_info().is_some_and(|info| info.flags & SIF_INITDOMAIN != 0)
}

/// The page with the start information, which the toolstack reads and writes when it saves and restores the domain. `None` on
/// the host.
pub(crate) fn start_page() -> Option<SharedBytes> {
    let address = START_PAGE.load(Ordering::Relaxed);
    // SAFETY: the domain builder mapped the page for good, and nobody has a reference into it.
    (address != 0).then(|| unsafe { SharedBytes::from_raw(VirtAddr::new(address), PAGE_SIZE) })
}

/// The kernel's command line: `extra=` of xl.cfg. Bytes that are not UTF-8 end it.
#[must_use]
pub fn command_line() -> &'static str {
    let Some(info) = start_info() else { return "" };
    let text = info.cmd_line.split(|&byte| byte == 0).next().unwrap_or(&[]);
    match core::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => core::str::from_utf8(&text[..error.valid_up_to()]).unwrap_or(""),
    }
}

/// The value of `key=value` on the command line; the last one counts. A word without `=` has the value "".
#[must_use]
pub fn option(key: &str) -> Option<&'static str> {
    find_option(command_line(), key)
}

fn find_option<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let value = |word: &'a str| {
        let rest = word.strip_prefix(key)?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('=') }
    };
    line.split_ascii_whitespace().filter_map(value).next_back()
}

/// The file that came with the kernel, `ramdisk=` of xl.cfg. `None` on the host, and where there is none.
#[must_use]
pub fn module() -> Option<&'static [u8]> {
    let info = start_info()?;
    let (start, len) = (to_usize(info.mod_start), to_usize(info.mod_len));
    if start == 0 || len == 0 || info.flags & SIF_MOD_START_PFN != 0 {
        return None;
    }
    // SAFETY: the domain builder put it below the table of frames, mapped it and names it here; that part of memory is
    // given to nobody else, and nobody writes to it.
    Some(unsafe { core::slice::from_raw_parts(ptr::with_exposed_provenance(start), len) })
}

/// A file that came with the kernel.
#[derive(Clone, Copy, Debug)]
pub struct BootModule {
    /// What was said of it: its name, as a rule.
    pub words: &'static str,
    /// What is in it.
    pub bytes: &'static [u8],
}

/// All files that came with the kernel: those of a list (`struct xen_multiboot_mod_list`), or the only one.
#[must_use]
pub fn modules() -> Vec<BootModule> {
    let Some(whole) = module() else { return Vec::new() };
    if start_info().is_none_or(|info| info.flags & SIF_MULTIBOOT_MOD == 0) {
        return [BootModule { words: "", bytes: whole }].into();
    }
    let mut found = Vec::new();
    for entry in whole.as_chunks::<16>().0 {
        let [start, last, words, _]: [u32; 4] = zerocopy::transmute!(*entry);
        let [start, last, words] = [start, last, words].map(|number| number as usize);
        if start == 0 {
            break;
        }
        let bytes = last.checked_add(1).and_then(|end| whole.get(start..end));
        let words = whole.get(words..).and_then(|words| words.split(|byte| *byte == 0).next());
        let words = words.and_then(|words| core::str::from_utf8(words).ok());
        // A list that names what is not there ends here: the rest means nothing either.
        let (Some(bytes), Some(words)) = (bytes, words) else { break };
        found.push(BootModule { words, bytes });
    }
    found
}

/// Pages of memory that this domain has.
#[must_use]
pub fn memory_pages() -> usize {
    frame::total_pages()
}

/// Xenstore's page and our port to it. `None` on the host, and where the toolstack gave none.
///
/// The page is handed out as shared bytes for the one client that there is; a second caller gets `None`.
#[must_use]
pub fn take_store() -> Option<(SharedBytes, Port)> {
    static TAKEN: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(false);
    let info = start_info()?;
    if info.store_mfn == 0 || TAKEN.swap(true, Ordering::Relaxed) {
        return None;
    }
    Some((boot_page(Mfn::new(info.store_mfn))?, info.store_evtchn))
}

/// Our number of a machine frame, if it is ours.
pub(crate) fn pfn_of(mfn: Mfn) -> Option<Pfn> {
    (0..frame::total_pages() as u64).map(Pfn::new).find(|&pfn| frame::mfn_of(pfn) == mfn)
}

/// A page among those that the domain builder mapped, by its machine frame.
fn boot_page(mfn: Mfn) -> Option<SharedBytes> {
    let address = frame::address_of(pfn_of(mfn)?);
    // SAFETY: the domain builder mapped its own pages, for good, and Rust code knows them only from here, which is
    // asked once for each of them.
    paging::is_mapped(address).then(|| unsafe { SharedBytes::from_raw(address, PAGE_SIZE) })
}

/// Begins. Called by [`image!`](crate::image) alone.
///
/// # Safety
/// Called once, before anything else, on the boot stack of a PV domain, with the address of Xen's start information
/// and the addresses of the image's own symbols.
pub unsafe fn start(start_info: usize, layout: ImageLayout, main: fn()) -> ! {
    VIRT_BASE.store(layout.virt_base, Ordering::Relaxed);
    // SAFETY: Xen fills the page before it starts the domain.
    unsafe { arch::set_hypercall_page(layout.hypercall_page) };
    let layout = LAYOUT.call_once(|| layout);
    START_PAGE.store(start_info, Ordering::Relaxed);
    let info = START_INFO.call_once(|| {
        let mut info = StartInfo::new_zeroed();
        if let Some(page) = start_page() {
            page.read(0, info.as_mut_bytes());
        }
        info
    });
    frame::set_frame_table(VirtAddr::new(to_usize(info.mfn_list)), to_usize(info.nr_pages));
    paging::set_top_table(VirtAddr::new(to_usize(info.pt_base)));

    // Without shared information, console or memory there is nothing to report to: the domain just ends.
    let begun = begin(info, layout);
    if begun.is_err() {
        sched::shutdown(ShutdownReason::Crash);
    }
    main();
    shut_down(ShutdownReason::PowerOff)
}

/// Maps shared information, which is in this frame.
pub(crate) fn map_shared_info(frame: Mfn) -> Result<VirtAddr, XenError> {
    let page = VirtAddr::new(SHARED_INFO.0.get().expose_provenance());
    // SAFETY: nobody uses the page in the image but as shared information, whose bytes are copied and never referred to.
    unsafe { paging::replace_page(page, frame) }?;
    Ok(page)
}

/// Puts the image's own page in the place of shared information. It is as good for a moment: all zero, it says that no time has
/// passed and nothing has happened.
pub(crate) fn unmap_shared_info() -> Result<(), XenError> {
    let page = VirtAddr::new(SHARED_INFO.0.get().expose_provenance());
    map_shared_info(frame::mfn_of(frame::pfn_at(page))).map(|_| ())
}

fn begin(info: &'static StartInfo, layout: &'static ImageLayout) -> Result<(), XenError> {
    let page = map_shared_info(Mfn::new(info.shared_info >> PAGE_SHIFT))?;
    // SAFETY: it is mapped for good, and known to Rust code through this value alone.
    event::begin(unsafe { SharedBytes::from_raw(page, PAGE_SIZE) });
    clock::begin();
    vcpu::stop_periodic_timer()?;
    // SAFETY: `arch::sleep` made the callbacks for the one place at which events are unmasked.
    unsafe { vcpu::set_callbacks(arch::event_callback_address(), arch::failsafe_callback_address()) }?;
    // SAFETY: the table is made of entries for just that.
    unsafe { vcpu::set_trap_table(&arch::trap_table()) }?;

    if info.console_mfn != 0
        && let Some(page) = boot_page(Mfn::new(info.console_mfn))
    {
        console::begin(page, info.console_evtchn);
    }
    logger::begin(option("loglevel"));
    if !info.magic.starts_with(b"xen-3.") {
        log::error!("the start information says it is something else: {:?}", &info.magic);
        return Err(XenError::EINVAL);
    }
    let memory = add_memory(info, layout);
    match &memory {
        Ok(()) => {}
        Err(error) => log::error!("memory cannot be set up: {error}"),
    }
    memory?;
    event::begin_timer()?;
    match version::version() {
        Ok(version) => {
            log::info!("Xen {version}, {} MiB of memory, {} KiB free", memory_pages() >> 8, heap::free_bytes() >> 10)
        }
        Err(error) => log::warn!("Xen does not say its version: {error}"),
    }
    log::debug!("command line: {}", command_line());
    Ok(())
}

/// Maps what the domain builder left out and makes all memory that nobody uses the heap.
fn add_memory(info: &StartInfo, layout: &ImageLayout) -> Result<(), XenError> {
    let base = VirtAddr::new(layout.virt_base);
    let end = base.page(to_usize(info.nr_pages));
    // The page after the tables is the boot stack that the domain builder provides; we never used it, but it is no
    // loss, and its place says where free memory begins.
    let free = VirtAddr::new(to_usize(info.pt_base)).page(to_usize(info.nr_pt_frames) + 1);
    let mut first = free;
    while first < end && paging::is_mapped(first) {
        first = first.page(1);
    }
    // SAFETY: everything from `free` on is unused by the layout in the module head; `first` is where mapping ends.
    let free = unsafe { paging::extend(free, first, end) }?;
    // SAFETY: the page below the stack is for this: nobody uses it.
    unsafe { paging::unmap_page(VirtAddr::new(layout.stack_guard)) }?;
    // SAFETY: all of it is mapped now, nobody uses it, and it is given away once.
    unsafe { heap::begin(free, end) };
    Ok(())
}

/// Ends the domain, after the console has taken what was logged.
pub fn shut_down(reason: ShutdownReason) -> ! {
    console::drain();
    sched::shutdown(reason)
}

#[cfg(test)]
mod tests {
    use super::find_option;

    #[test]
    fn options_are_found_by_whole_words_and_the_last_one_counts() {
        let line = "loglevel=info panic  x=1=2 loglevel=debug";
        assert_eq!(find_option(line, "loglevel"), Some("debug"));
        assert_eq!(find_option(line, "panic"), Some(""));
        assert_eq!(find_option(line, "x"), Some("1=2"));
        assert_eq!(find_option(line, "log"), None);
    }
}
