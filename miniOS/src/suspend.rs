//! Being saved and restored: `xl save`, `xl restore`, and `xl migrate`, which is both.
//!
//! The toolstack reads the memory of a domain that stands still, and puts it into another one. There the machine frames are
//! others, and so is everything that Xen and other domains had given us. What it expects of a PV domain:
//!
//! - From the beginning, shared information says where the table of frames is ([`prepare`]): it rewrites that.
//! - Page tables refer to this domain's own frames only: shared information and the grant table are unmapped meanwhile.
//! - The start information has the store's and the console's frames as numbers of ours. It writes the new frames there, and
//!   the new ports and the frame of shared information.
//!
//! Afterwards everything is bound anew: the timer, the console, the store with its watches. Frontends find out by the
//! [store](crate::xenstore::Xenstore::moved) and connect to the backends that the other domain has; what they were doing is
//! handled as when a backend goes away. Where the toolstack lets the same domain go on (`xl save -c`), nothing has changed.
//!
//! Source: Xen's tools/libs/guest/xg_sr_save_x86_pv.c and xg_sr_restore_x86_pv.c; public/xen.h, `struct arch_shared_info`.
//! Not modelled: mappings of other domains' memory, which cannot be saved: an image that has some is not to be suspended.

use core::mem::offset_of;
use core::sync::atomic::Ordering;

use spin::Once;
use xen_abi::start_info::StartInfo;
use xen_abi::{PAGE_SHIFT, PAGE_SIZE, Port};

use crate::addr::{Mfn, VirtAddr, to_usize};
use crate::event::EventChannel;
use crate::frame::{self, OutOfMemory, SharedPages};
use crate::hypercall::{XenError, sched, vcpu};
use crate::shared::SharedBytes;
use crate::xenstore::Xenstore;
use crate::{boot, clock, console, event, grant};

/// Entries in a page of the lists.
const ENTRIES: usize = PAGE_SIZE / size_of::<u64>();

/// The list of lists of the pages that the table of frames is in, in the first page, and the lists in the others.
static LISTS: Once<SharedPages> = Once::new();

/// Makes it possible to save this domain, which takes two pages of memory, and one more for each GiB.
///
/// # Errors
/// There is no memory.
pub fn prepare() -> Result<(), OutOfMemory> {
    if boot::start_info().is_none() || LISTS.get().is_some() {
        return Ok(());
    }
    let lists = SharedPages::alloc(1 + frame::total_pages().div_ceil(ENTRIES * ENTRIES))?;
    publish(LISTS.call_once(|| lists));
    Ok(())
}

/// Writes the lists, and tells the toolstack.
fn publish(lists: &SharedPages) {
    let Some(info) = boot::start_info() else { return };
    for list in 1..lists.pages() {
        lists.store_u64((list - 1) * size_of::<u64>(), lists.mfn(list).number(), Ordering::Relaxed);
    }
    let table = VirtAddr::new(to_usize(info.mfn_list));
    for page in 0..frame::total_pages().div_ceil(ENTRIES) {
        let frame = frame::mfn_of(frame::pfn_at(table.page(page)));
        lists.store_u64(PAGE_SIZE + page * size_of::<u64>(), frame.number(), Ordering::Relaxed);
    }
    event::publish_frame_table(lists.mfn(0), frame::total_pages() as u64);
}

/// Stands still until the domain has been saved. `true`: this is the restored one.
///
/// To be called when the store has [nothing to do](Xenstore::is_idle), by the one who has just seen that.
///
/// # Errors
/// Xen refuses to give up or to give back what cannot be saved. In the second case nothing works any more.
pub fn suspend(store: &Xenstore) -> Result<bool, XenError> {
    let page = boot::start_page().ok_or(XenError::ENOSYS)?;
    let before = clock::now();
    grant::suspend()?;
    if let Err(error) = boot::unmap_shared_info() {
        grant::resume()?;
        return Err(error);
    }
    let field = |offset| page.load_u64(offset, Ordering::Relaxed);
    let set_field = |offset, value| page.store_u64(offset, value, Ordering::Relaxed);
    let frames = [offset_of!(StartInfo, store_mfn), offset_of!(StartInfo, console_mfn)];
    let known = frames.map(field);
    for (offset, mfn) in frames.into_iter().zip(known) {
        set_field(offset, boot::pfn_of(Mfn::new(mfn)).map_or(0, |pfn| pfn.number()));
    }
    let is_restored = sched::suspend(frame::mfn_of(frame::pfn_at(page.address())));
    boot::map_shared_info(Mfn::new(field(offset_of!(StartInfo, shared_info)) >> PAGE_SHIFT))?;
    if is_restored {
        event::resumed();
        clock::resumed(before);
        vcpu::stop_periodic_timer()?;
        event::begin_timer()?;
    } else {
        for (offset, mfn) in frames.into_iter().zip(known) {
            set_field(offset, mfn);
        }
    }
    grant::resume()?;
    if is_restored {
        console::resumed(port(&page, offset_of!(StartInfo, console_evtchn)));
        if let Some(lists) = LISTS.get() {
            publish(lists);
        }
        store.resumed(EventChannel::own(port(&page, offset_of!(StartInfo, store_evtchn))));
    }
    Ok(is_restored)
}

fn port(page: &SharedBytes, offset: usize) -> Port {
    Port(page.load_u32(offset, Ordering::Relaxed))
}
