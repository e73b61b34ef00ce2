//! The first domain, out of an ELF file.

use crate::entry::Level;
use crate::event::MAX_VCPUS;
use crate::memory::{Memory, Mfn};
use crate::system::System;
use crate::vcpu::{Registers, Vcpu, VcpuId, sane_flags};
use alloc::vec::Vec;
use domain_builder::{Image, Pages, Refusal, Surroundings};
use xen_abi::mmu::{FLAT_KERNEL_CS, FLAT_KERNEL_SS};
use xen_abi::shared_info::SharedInfo;
use xen_abi::start_info::{SIF_INITDOMAIN, SIF_PRIVILEGED};
use xen_abi::{DomId, Hypercall, PAGE_SIZE};

/// Its number.
const FIRST: DomId = DomId(0);

fn refuse<T>(why: &str) -> Result<T, Refusal> {
    Err(Refusal(why.into()))
}

/// The domain's pages, the first one first.
struct Own<'a, M> {
    memory: &'a mut M,
    frames: Vec<Mfn>,
}

impl<M> Own<'_, M> {
    fn get(&self, page: u64) -> Option<Mfn> {
        self.frames.get(usize::try_from(page).ok()?).copied()
    }
}

impl<M: Memory> Pages for Own<'_, M> {
    fn frame(&self, page: u64) -> Option<u64> {
        self.get(page).map(|frame| frame.0)
    }

    fn write(&mut self, page: u64, offset: usize, bytes: &[u8]) -> Result<(), Refusal> {
        let Some(frame) = self.get(page) else { return refuse("the domain has not enough memory") };
        self.memory.write(frame, offset, bytes);
        Ok(())
    }
}

impl<M: Memory> System<M> {
    /// Makes the first domain, which is the control domain.
    /// It has so many processors, of which the first one runs: 1 to [`MAX_VCPUS`].
    pub fn build_first(&mut self, image: &Image<'_>, vcpus: u32, now: u64) -> Result<VcpuId, Refusal> {
        let Ok(shared_info) = self.create(FIRST, [0; 16], vcpus.clamp(1, MAX_VCPUS), now) else {
            return refuse("the machine has no page left");
        };
        let mut frames = Vec::new();
        for number in 0..image.pages {
            let Some(frame) = self.frames.allocate(&mut self.memory, FIRST) else {
                return refuse("the machine has not so much memory");
            };
            self.set_physical(frame, number);
            frames.push(frame);
        }
        let around = Surroundings { shared_info: shared_info.0, flags: SIF_PRIVILEGED | SIF_INITDOMAIN, ports: None };
        let start = domain_builder::build(image, &around, &mut Own { memory: &mut self.memory, frames })?;
        if let Some(frame) = start.hypercall_page {
            self.memory.write(Mfn(frame), 0, &hypercall_page());
        }
        let top = Mfn(start.top);
        if self.frames.pin(&mut self.memory, FIRST, top, Level::L4).is_err()
            || self.frames.load_top(&mut self.memory, FIRST, top).is_err()
        {
            return refuse("its page tables are none");
        }
        let registers = Registers {
            rip: start.entry,
            rsi: start.start_info,
            rsp: start.stack,
            cs: FLAT_KERNEL_CS.into(),
            ss: FLAT_KERNEL_SS.into(),
            rflags: sane_flags(0),
            ..Registers::default()
        };
        let Some(domain) = self.domains.get_mut(&FIRST) else { return refuse("it is gone") };
        domain.is_privileged = true;
        (domain.pages, domain.pages_max) = (image.pages, image.pages);
        if let Some(vcpu) = domain.vcpus.first_mut() {
            *vcpu = Vcpu::new(registers, top, now);
        }
        let id = VcpuId { domain: FIRST, number: 0 };
        self.unpause(FIRST, now);
        Ok(id)
    }

    /// When the system started.
    pub(crate) fn tell_wall_clock(&mut self, shared_info: Mfn) {
        const OFFSET: usize = core::mem::offset_of!(SharedInfo, wc_version);
        let seconds = (self.wall_clock / 1_000_000_000).to_le_bytes();
        let [a, b, c, d, e, f, g, h] = seconds;
        let nanoseconds = u32::try_from(self.wall_clock % 1_000_000_000).unwrap_or(0).to_le_bytes();
        let words = [2_u32.to_le_bytes(), [a, b, c, d], nanoseconds, [e, f, g, h]];
        self.memory.write(shared_info, OFFSET, words.as_flattened());
    }
}

/// The page that makes hypercalls: 32 bytes for each, as `hypercall_page_initialise` of Xen has them.
pub(crate) fn hypercall_page() -> [u8; PAGE_SIZE] {
    // int3, where nothing is.
    let mut page = [0xcc; PAGE_SIZE];
    for (number, slot) in (0_u32..).zip(page.chunks_exact_mut(32)) {
        let [a, b, c, d] = number.to_le_bytes();
        let code: &[u8] = if number == Hypercall::Iret as u32 {
            // push rcx; push r11; push rax; mov eax, number; syscall
            &[0x51, 0x41, 0x53, 0x50, 0xb8, a, b, c, d, 0x0f, 0x05]
        } else {
            // push rcx; push r11; mov eax, number; syscall; pop r11; pop rcx; ret
            &[0x51, 0x41, 0x53, 0xb8, a, b, c, d, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3]
        };
        slot.iter_mut().zip(code).for_each(|(to, from)| *to = *from);
    }
    page
}
