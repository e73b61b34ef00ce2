//! A paravirtualised domain out of an ELF file: what its kernel finds in memory when it begins.
//!
//! The hypervisor core makes its first domain by it, and that one, the control domain, all others.
//!
//! What a domain finds is what Xen's domain builder leaves (`tools/libs/guest/xg_dom_x86.c`), at addresses from `VIRT_BASE` of
//! its notes on, or 0: the image, its modules, the table of its frames, the start information, the pages of xenstore and of the
//! console if it has them, the page tables, a stack, and from there on memory up to the next 4 MiB. All other pages are in the
//! table of frames, and not mapped.
//!
//! | module | what lives there |
//! |---|---|
//! | `kernel` | the ELF file, and its notes |
//! | `layout` | where things are |
//! | `modules` | files that come with the kernel |
//! | `tables` | page tables |
//! | [`unpack`](mod@unpack) | files that are compressed |
//!
//! Source: `public/elfnote.h`, `public/xen.h` (`struct start_info`).
//! Not modelled: `INIT_P2M`.
//! Invariant: whatever the file is, there is a domain or a refusal.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unimplemented,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::wildcard_imports
    )
)]

extern crate alloc;

mod kernel;
mod layout;
mod modules;
mod tables;
pub mod unpack;

use alloc::string::String;
use alloc::vec::Vec;
use kernel::Kernel;
use layout::Layout;
use modules::Package;
use unpack::unpack;
use xen_abi::start_info::{MAX_GUEST_CMDLINE, SIF_MULTIBOOT_MOD, StartInfo};
use xen_abi::{PAGE_SHIFT, PAGE_SIZE, Port};
use zerocopy::{FromZeros as _, IntoBytes as _};

/// The size of a page.
const PAGE: u64 = PAGE_SIZE as u64;
/// Bytes of a kernel that was compressed.
const KERNEL_MAX: usize = 128 << 20;

/// A file that comes with a kernel.
#[derive(Clone, Copy, Debug)]
pub struct Module<'a> {
    /// What is in it.
    pub bytes: &'a [u8],
    /// Its name, and whatever else is said of it.
    pub command_line: &'a str,
}

/// What a domain is made of.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// The kernel: an ELF file with Xen's notes, or that compressed by gzip.
    pub kernel: &'a [u8],
    /// Its command line.
    pub command_line: &'a str,
    /// Files that come with it: one as it is, more of them as a list (`SIF_MULTIBOOT_MOD`).
    pub modules: &'a [Module<'a>],
    /// Pages of the domain.
    pub pages: u64,
}

/// What a domain is told of what is there already.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// The frame that it shares with the hypervisor.
    pub shared_info: u64,
    /// `SIF_*`.
    pub flags: u32,
    /// Its ports to xenstore and to the console, for each of which it gets a page; the first domain has neither.
    pub ports: Option<(Port, Port)>,
}

/// The pages of a domain, by their numbers.
pub trait Pages {
    /// The machine frame of a page. `None`: there is no such page.
    fn frame(&self, page: u64) -> Option<u64>;
    /// Copies bytes to a page. They end in it.
    fn write(&mut self, page: u64, offset: usize, bytes: &[u8]) -> Result<(), Refusal>;
}

/// What is to be known of a domain whose memory is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Where its kernel begins.
    pub entry: u64,
    /// The address of the start information, which it finds in rsi.
    pub start_info: u64,
    /// The address behind its stack.
    pub stack: u64,
    /// The frame of its top table, which is to be checked and kept one.
    pub top: u64,
    /// The frame that becomes its hypercall page.
    pub hypercall_page: Option<u64>,
    /// The frames that it shares with xenstore and the console.
    pub rings: Option<(u64, u64)>,
}

/// Why there is no domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Refusal {}

fn refuse<T>(why: &str) -> Result<T, Refusal> {
    Err(Refusal(why.into()))
}

/// Fills the pages of a domain, which are all zeros.
pub fn build(image: &Image<'_>, around: &Surroundings, pages: &mut impl Pages) -> Result<Start, Refusal> {
    let Some(file) = unpack(image.kernel, KERNEL_MAX) else { return refuse("the kernel cannot be unpacked") };
    let kernel = Kernel::read(&file)?;
    let package = Package::new(image.modules);
    let layout = layout::layout(&kernel, package.length, image.pages, around.ports.is_some())?;
    let mut space = Space { base: layout.base, pages };
    for (address, bytes) in kernel.segments()? {
        space.put(address, bytes)?;
    }
    for (offset, bytes) in package.parts() {
        space.put(layout.modules.wrapping_add(offset), bytes)?;
    }
    let mut address = layout.frames;
    for first in (0..image.pages).step_by(PAGE_SIZE / 8) {
        let numbers = first..image.pages.min(first.saturating_add(PAGE / 8));
        let Some(frames) = numbers.map(|page| space.pages.frame(page)).collect::<Option<Vec<u64>>>() else {
            return refuse("the domain has fewer pages than it is told");
        };
        space.put(address, frames.as_bytes())?;
        address = address.wrapping_add(PAGE);
    }
    let rings = match around.ports {
        Some(_) => Some((space.frame(layout.store)?, space.frame(layout.console)?)),
        None => None,
    };
    let info = start_info(image, around, &layout, rings, &package);
    space.put(layout.start_info, info.as_bytes())?;
    tables::make(&layout, &mut space)?;
    Ok(Start {
        entry: kernel.entry,
        start_info: layout.start_info,
        stack: layout.stack.wrapping_add(PAGE),
        top: space.frame(layout.tables)?,
        hypercall_page: kernel.hypercall_page.map(|address| space.frame(address)).transpose()?,
        rings,
    })
}

/// The domain's pages, one after the other from an address on.
struct Space<'a, P> {
    base: u64,
    pages: &'a mut P,
}

impl<P: Pages> Space<'_, P> {
    fn page(&self, address: u64) -> Option<u64> {
        Some(address.checked_sub(self.base)? / PAGE)
    }

    fn frame(&self, address: u64) -> Result<u64, Refusal> {
        let frame = self.page(address).and_then(|page| self.pages.frame(page));
        frame.map_or_else(|| refuse("the domain has not enough memory"), Ok)
    }

    fn put(&mut self, address: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let mut address = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(page) = self.page(address) else { return refuse("something of the kernel lies below its base") };
            let offset = usize::try_from(address % PAGE).unwrap_or(0);
            let (now, later) = rest.split_at(rest.len().min(PAGE_SIZE.saturating_sub(offset)));
            self.pages.write(page, offset, now)?;
            address = address.wrapping_add(u64::try_from(now.len()).unwrap_or(0));
            rest = later;
        }
        Ok(())
    }
}

fn start_info(
    image: &Image<'_>,
    around: &Surroundings,
    layout: &Layout,
    rings: Option<(u64, u64)>,
    package: &Package<'_>,
) -> StartInfo {
    let mut info = StartInfo::new_zeroed();
    info.magic.iter_mut().zip(b"xen-3.0-x86_64").for_each(|(to, from)| *to = *from);
    info.nr_pages = image.pages;
    info.shared_info = around.shared_info << PAGE_SHIFT;
    info.flags = around.flags;
    if let (Some((store, console)), Some((store_port, console_port))) = (rings, around.ports) {
        (info.store_mfn, info.store_evtchn) = (store, store_port);
        (info.console_mfn, info.console_evtchn) = (console, console_port);
    }
    info.pt_base = layout.tables;
    info.nr_pt_frames = layout.table_count();
    info.mfn_list = layout.frames;
    if package.length > 0 {
        (info.mod_start, info.mod_len) = (layout.modules, package.length);
    }
    if package.is_list() {
        info.flags |= SIF_MULTIBOOT_MOD;
    }
    // The last byte stays zero.
    let line = image.command_line.bytes().take(MAX_GUEST_CMDLINE - 1);
    info.cmd_line.iter_mut().zip(line).for_each(|(to, from)| *to = from);
    info
}

const _: () = assert!(size_of::<StartInfo>() <= PAGE_SIZE);

#[cfg(test)]
mod tests;
