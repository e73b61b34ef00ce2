//! Segments: a domain's table of them, and where FS and GS begin.

use super::{Answer, Caller, element, low};
use crate::descriptor::ENTRIES_MAX;
use crate::errno::Errno;
use crate::memory::{Memory, Mfn};
use crate::system::System;
use alloc::vec::Vec;
use xen_abi::mmu::{SEGBASE_FS, SEGBASE_GS_KERNEL, SEGBASE_GS_USER, SEGBASE_GS_USER_SEL};

impl<M: Memory> System<M> {
    pub(super) fn set_gdt(&mut self, caller: Caller, [list, entries, ..]: [u64; 5]) -> Answer {
        if entries > ENTRIES_MAX {
            return Err(Errno::EINVAL);
        }
        let mut frames = Vec::new();
        for number in 0..entries.div_ceil(512) {
            frames.push(Mfn(self.space(caller.id).get(element(list, number, 8)?)?));
        }
        let domain = caller.id.domain;
        let Self { frames: all, memory, .. } = self;
        for (number, frame) in frames.iter().enumerate() {
            if let Err(error) = all.load_descriptors(memory, domain, *frame) {
                frames.iter().take(number).for_each(|frame| all.unload_descriptors(memory, *frame));
                return Err(error);
            }
        }
        let vcpu = self.vcpu_mut(caller.id).ok_or(Errno::ESRCH)?;
        let before = core::mem::replace(&mut vcpu.segments, frames);
        before.iter().for_each(|frame| self.frames.unload_descriptors(&mut self.memory, *frame));
        self.reload_segments = true;
        Ok(0)
    }

    pub(super) fn update_descriptor(&mut self, caller: Caller, [address, descriptor, ..]: [u64; 5]) -> Answer {
        let place = (Mfn::of(address), usize::try_from(address & 0xfff).unwrap_or(0) / 8);
        self.frames.update_descriptor(&mut self.memory, caller.id.domain, place, descriptor)?;
        self.reload_segments = true;
        Ok(0)
    }

    pub(super) fn set_segment_base(&mut self, caller: Caller, [which, base, ..]: [u64; 5]) -> Answer {
        // Only the lower half of it is a selector.
        let of_selector = self.segment_base(caller.id, u16::try_from(base & 0xffff).unwrap_or(0));
        let bases = &mut self.vcpu_mut(caller.id).ok_or(Errno::ESRCH)?.bases;
        let is_address = matches!(base >> 47, 0 | 0x1_ffff);
        match low(which) {
            SEGBASE_FS if is_address => bases.fs = base,
            SEGBASE_GS_USER if is_address => bases.gs_user = base,
            SEGBASE_GS_KERNEL if is_address => bases.gs_kernel = base,
            SEGBASE_GS_USER_SEL => bases.gs_user = of_selector,
            _ => return Err(Errno::EINVAL),
        }
        self.reload = true;
        Ok(0)
    }
}
