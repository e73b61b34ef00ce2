//! All domains, and everything that they share.

use crate::domain::Domain;
use crate::errno::Errno;
use crate::event::Events;
use crate::frames::Frames;
use crate::grant::Grants;
use crate::memory::{Memory, Mfn, WORDS};
use crate::schedule::Queue;
use crate::time::Scale;
use crate::vcpu::{Vcpu, VcpuId};
use crate::walk::AddressSpace;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use xen_abi::DomId;
use xen_abi::shared_info::VcpuInfo;
use zerocopy::IntoBytes as _;

/// Characters of the console that wait for the machine to print them.
const CONSOLE: usize = 16384;

/// Characters that were typed and wait to be read.
const TYPED: usize = 1024;

/// The hypervisor, without its machine.
#[derive(Debug)]
pub struct System<M> {
    /// The machine's memory.
    pub memory: M,
    /// Whose frames are.
    pub frames: Frames,
    /// Who signals whom.
    pub events: Events,
    /// Who lets whom in.
    pub grants: Grants,
    /// The domains.
    pub domains: BTreeMap<DomId, Domain>,
    /// The one that was made last.
    pub(crate) last_domain: DomId,
    /// Who waits for the processor.
    pub queue: Queue,
    /// Frames of the table from machine frames to those of their domains, which domains can read.
    pub machine_to_physical: Vec<Mfn>,
    /// The time stamp counter's.
    pub scale: Scale,
    /// What it had at the start.
    pub first_tick: u64,
    /// Nanoseconds since 1970 at the start.
    pub wall_clock: u64,
    /// The processor has instructions for where FS and GS begin.
    pub has_base_instructions: bool,
    /// What the boot loader has told the hypervisor.
    pub command_line: String,
    /// Translations, the mode or bases of the one that runs have changed: the processor is to load them anew.
    pub reload: bool,
    /// Its table of segments as well.
    pub reload_segments: bool,
    /// A domain has ended, which the control domain is to be told.
    pub(crate) has_ended: bool,
    /// Its debug registers as well.
    pub reload_debug: bool,
    /// What was typed, which the control domain has not read yet.
    typed: VecDeque<u8>,
    /// It is to be told of that.
    pub(crate) has_typed: bool,
    /// What domains have printed.
    console: Vec<u8>,
}

impl<M: Memory> System<M> {
    /// A system without domains.
    #[must_use]
    pub fn new(memory: M, frames: Frames, machine_to_physical: Vec<Mfn>, (scale, first_tick): (Scale, u64)) -> Self {
        Self {
            memory,
            frames,
            events: Events::new(),
            grants: Grants::new(),
            domains: BTreeMap::new(),
            last_domain: DomId(0),
            queue: Queue::default(),
            machine_to_physical,
            scale,
            first_tick,
            wall_clock: 0,
            has_base_instructions: false,
            command_line: String::new(),
            reload: false,
            reload_segments: false,
            has_ended: false,
            typed: VecDeque::new(),
            has_typed: false,
            reload_debug: false,
            console: Vec::new(),
        }
    }

    /// System time at this count of the time stamp counter.
    #[must_use]
    pub fn time(&self, ticks: u64) -> u64 {
        self.scale.nanoseconds(ticks.saturating_sub(self.first_tick))
    }

    /// A vCPU.
    #[must_use]
    pub fn vcpu(&self, id: VcpuId) -> Option<&Vcpu> {
        self.domains.get(&id.domain)?.vcpus.get(usize::try_from(id.number).ok()?)
    }

    /// A vCPU, to be changed.
    pub fn vcpu_mut(&mut self, id: VcpuId) -> Option<&mut Vcpu> {
        self.domains.get_mut(&id.domain)?.vcpus.get_mut(usize::try_from(id.number).ok()?)
    }

    /// Whether the domain of a vCPU has asked for this part of the interface: `VMASST_TYPE_*`.
    #[must_use]
    pub fn has_assist(&self, id: VcpuId, kind: u32) -> bool {
        self.domains.get(&id.domain).is_some_and(|domain| domain.assists.checked_shr(kind).unwrap_or(0) & 1 != 0)
    }

    /// Says which frame of its domain a machine frame is.
    pub fn set_physical(&mut self, frame: Mfn, physical: u64) {
        let place = usize::try_from(frame.0).ok().map(|number| (number / WORDS, number % WORDS));
        if let Some((page, index)) = place
            && let Some(page) = self.machine_to_physical.get(page)
        {
            self.memory.store(*page, index, physical);
        }
    }

    /// Prints, as far as there is room.
    pub fn print(&mut self, bytes: &[u8]) {
        let room = CONSOLE.saturating_sub(self.console.len()).min(bytes.len());
        self.console.extend_from_slice(bytes.get(..room).unwrap_or_default());
    }

    /// Somebody has typed this. What nobody reads is lost.
    pub fn input(&mut self, byte: u8) {
        if self.typed.len() < TYPED {
            self.typed.push_back(byte);
        }
        self.has_typed = true;
    }

    /// What was typed, up to so many bytes.
    pub(crate) fn take_typed(&mut self, most: usize) -> Vec<u8> {
        self.typed.drain(..most.min(self.typed.len())).collect()
    }

    /// What is to be printed.
    pub fn take_console(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.console)
    }

    /// Tells a vCPU what time it is. It computes the rest.
    pub fn tell_time(&mut self, id: VcpuId, ticks: u64) {
        let Some((frame, offset)) = self.events.vcpu_info(id.domain, id.number) else { return };
        let offset = offset.saturating_add(core::mem::offset_of!(VcpuInfo, time));
        let info = self.scale.info(ticks, self.time(ticks));
        let mut version = [0; 4];
        self.memory.read(frame, offset, &mut version);
        let version = u32::from_le_bytes(version) | 1;
        // Odd while it is changed.
        self.memory.write(frame, offset, &version.to_le_bytes());
        self.memory.write(frame, offset.saturating_add(4), info.as_bytes().get(4..).unwrap_or_default());
        self.memory.write(frame, offset, &version.wrapping_add(1).to_le_bytes());
    }

    /// Tells a vCPU how long it was at what, if its kernel has said where. What is not mapped is not told.
    pub fn tell_runstate(&mut self, id: VcpuId, now: u64) {
        let Some(vcpu) = self.vcpu(id) else { return };
        let (info, top) = (vcpu.runstate(now), vcpu.top);
        if let Some(address) = vcpu.runstate_area {
            let _: Result<(), Errno> = AddressSpace { memory: &mut self.memory, top }.put(address, &info);
        }
    }

    /// Whether a vCPU has masked events.
    #[must_use]
    pub fn is_masked(&self, id: VcpuId) -> bool {
        self.mask_place(id).is_none_or(|(frame, offset)| {
            let mut byte = [0];
            self.memory.read(frame, offset, &mut byte);
            byte != [0]
        })
    }

    /// Masks its events, or lets them come.
    pub fn set_masked(&mut self, id: VcpuId, masked: bool) {
        if let Some((frame, offset)) = self.mask_place(id) {
            self.memory.write(frame, offset, &[masked.into()]);
        }
    }

    fn mask_place(&self, id: VcpuId) -> Option<(Mfn, usize)> {
        let (frame, offset) = self.events.vcpu_info(id.domain, id.number)?;
        Some((frame, offset.saturating_add(1)))
    }
}
