//! Event channels of all domains: the two-level ABI here, and the FIFO ABI, which a domain may ask for instead, in `fifo`.
//!
//! A domain signals a port; the port at the other end becomes pending. Its bit is set in the shared information of the
//! domain it belongs to; unless it is masked there, the bit of its word is set in the `evtchn_pending_sel` of the vCPU
//! that the port is bound to, and then `evtchn_upcall_pending`. Each step is taken only where the one before changed
//! something, so that a signal that was not looked at yet costs nobody an interrupt.
//!
//! A port that becomes pending is a [`Kick`], also if it is masked: SCHEDOP_poll waits for masked ports. What is to be
//! done about it is the scheduler's.
//!
//! `DOMID_SELF` means nothing here: callers put the number of the calling domain in its place. They also decide who may
//! open channels for others and look at them.
//!
//! Source: `public/event_channel.h`, `public/xen.h`; behaviour as of Xen 4.17's `common/event_channel.c` and
//! `event_2l.c`. Not there: physical interrupts, channels whose one end is Xen.
//! Invariant: the other end of an interdomain channel is an interdomain channel that leads back.
//! Invariant: a virtual interrupt has a port exactly while a channel of that number and vCPU is bound.

mod fifo;

use crate::{Errno, Memory, Mfn};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem::offset_of;
use fifo::{Fifo, Queue};
use xen_abi::event::{
    EVTCHN_2L_NR_CHANNELS, EVTCHN_FIFO_PRIORITY_DEFAULT, EVTCHN_FIFO_PRIORITY_MIN, EVTCHNSTAT_CLOSED,
    EVTCHNSTAT_INTERDOMAIN, EVTCHNSTAT_IPI, EVTCHNSTAT_UNBOUND, EVTCHNSTAT_VIRQ, NR_VIRQS, Status, VIRQ_DEBUG,
    VIRQ_TIMER, VIRQ_XENOPROF, VIRQ_XENPMU,
};
use xen_abi::shared_info::{SharedInfo, VcpuInfo};
use xen_abi::{DomId, Port};

/// `XEN_LEGACY_MAX_VCPUS`: vCPUs that shared information has room for.
pub const MAX_VCPUS: u32 = 32;

/// The priority of a port whose domain does not say.
const DEFAULT_PRIORITY: u8 = 7;
const _: () = assert!(DEFAULT_PRIORITY as u32 == EVTCHN_FIFO_PRIORITY_DEFAULT);
/// Channels that a table grows by.
const BUCKET: usize = 64;
/// How often clearing a bit is tried while the domain changes other bits of the word.
const ATTEMPTS: usize = 64;

/// Bytes of a word.
const WORD_LEN: usize = size_of::<u64>();
/// Word of `evtchn_pending`.
const PENDING: usize = offset_of!(SharedInfo, evtchn_pending) / WORD_LEN;
/// Word of `evtchn_mask`.
const MASK: usize = offset_of!(SharedInfo, evtchn_mask) / WORD_LEN;
/// `evtchn_upcall_pending` is the lowest byte of the first word of `vcpu_info`; its mask and padding are the others.
const UPCALL_PENDING: u64 = 0xff;

/// A port became pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Kick {
    /// Whose port it is. Whichever of its vCPUs polls for the port has to go on.
    pub domain: DomId,
    /// The vCPU that the port is bound to.
    pub vcpu: u32,
    /// The port.
    pub port: Port,
    /// The vCPU's `evtchn_upcall_pending` was set just now: it has to go on if it is blocked, and to be interrupted if
    /// it runs. Otherwise the port is masked, or the vCPU has not looked at its other ports yet.
    pub upcall: bool,
}

/// All event channels of all domains.
#[derive(Debug, Default)]
pub struct Events {
    tables: BTreeMap<DomId, Table>,
}

impl Events {
    /// No domains.
    #[must_use]
    pub const fn new() -> Self {
        Self { tables: BTreeMap::new() }
    }

    /// A domain comes, with this page of shared information and so many vCPUs, of which there can be [`MAX_VCPUS`].
    ///
    /// Does nothing if it is there.
    pub fn add_domain(&mut self, domain: DomId, shared_info: Mfn, vcpus: u32) {
        self.tables.entry(domain).or_insert_with(|| Table::new(shared_info, vcpus));
    }

    /// A domain goes, and its page of shared information with it.
    ///
    /// Whoever had a channel to it may still signal it, to no effect; the number of the domain may bind it again.
    pub fn remove_domain(&mut self, domain: DomId) {
        let Some(table) = self.tables.remove(&domain) else { return };
        for channel in table.channels {
            if let State::Interdomain { remote, port } = channel.state {
                self.unbind(remote, port, domain);
            }
        }
    }

    /// Opens a channel that `remote`, and nobody else, may bind. There need not be such a domain yet.
    pub fn alloc_unbound(&mut self, domain: DomId, remote: DomId) -> Result<Port, Errno> {
        self.table_mut(domain)?.open(State::Unbound { remote }, 0)
    }

    /// Binds a channel that `remote` has opened for the domain.
    ///
    /// The new port is pending at once: what was sent before went nowhere.
    pub fn bind_interdomain(
        &mut self,
        memory: &mut impl Memory,
        domain: DomId,
        remote: DomId,
        remote_port: Port,
    ) -> Result<(Port, Option<Kick>), Errno> {
        if self.table(remote)?.channel(remote_port)?.state != (State::Unbound { remote: domain }) {
            return Err(Errno::EINVAL);
        }
        let table = self.table_mut(domain)?;
        let port = table.open(State::Interdomain { remote, port: remote_port }, 0)?;
        let kick = table.signal(memory, domain, port);
        if let Some(other) = self.channel_mut(remote, remote_port) {
            other.state = State::Interdomain { remote: domain, port };
        }
        Ok((port, kick))
    }

    /// Binds a virtual interrupt. Those that are not of a vCPU are bound to vCPU 0 first.
    pub fn bind_virq(&mut self, domain: DomId, virq: u32, vcpu: u32) -> Result<Port, Errno> {
        if virq >= NR_VIRQS || (!is_per_vcpu(virq) && vcpu != 0) {
            return Err(Errno::EINVAL);
        }
        let table = self.table_mut(domain)?;
        match table.virq_port(virq, vcpu) {
            None => return Err(Errno::ENOENT),
            Some(Port(0)) => {}
            Some(_) => return Err(Errno::EEXIST),
        }
        let port = table.open(State::Virq(virq), vcpu)?;
        if let Some(slot) = table.virq_port(virq, vcpu) {
            *slot = port;
        }
        Ok(port)
    }

    /// Opens a channel by which the domain signals a vCPU of its own.
    pub fn bind_ipi(&mut self, domain: DomId, vcpu: u32) -> Result<Port, Errno> {
        let table = self.table_mut(domain)?;
        table.check_vcpu(vcpu)?;
        table.open(State::Ipi, vcpu)
    }

    /// Closes a channel. It is pending no more; the other end waits for the domain to bind it again, and is not told.
    pub fn close(&mut self, memory: &mut impl Memory, domain: DomId, port: Port) -> Result<(), Errno> {
        let table = self.table_mut(domain)?;
        let Channel { state, vcpu, .. } = table.channel(port)?;
        match state {
            State::Closed => return Err(Errno::EINVAL),
            State::Virq(virq) => {
                if let Some(slot) = table.virq_port(virq, vcpu) {
                    *slot = Port(0);
                }
            }
            State::Unbound { .. } | State::Interdomain { .. } | State::Ipi => {}
        }
        table.clear_pending(memory, port);
        if let Some(channel) = table.channel_mut(port) {
            *channel = Channel { queue: channel.queue, ..Channel::default() };
        }
        if let State::Interdomain { remote, port } = state {
            self.unbind(remote, port, domain);
        }
        Ok(())
    }

    /// Signals the other end, if there is one.
    pub fn send(&mut self, memory: &mut impl Memory, domain: DomId, port: Port) -> Result<Option<Kick>, Errno> {
        let table = self.table_mut(domain)?;
        match table.channel(port)?.state {
            State::Interdomain { remote, port } => Ok(self.table_mut(remote)?.signal(memory, remote, port)),
            State::Ipi => Ok(table.signal(memory, domain, port)),
            State::Unbound { .. } => Ok(None),
            State::Closed | State::Virq(_) => Err(Errno::EINVAL),
        }
    }

    /// What a port is. Those that are closed are told from those that the table has no room for.
    pub fn status(&self, domain: DomId, port: Port) -> Result<Status, Errno> {
        let Channel { state, vcpu, .. } = self.table(domain)?.channel(port)?;
        let status = Status { dom: domain, port, vcpu, ..Status::default() };
        Ok(match state {
            State::Closed => Status { status: EVTCHNSTAT_CLOSED, ..status },
            State::Unbound { remote } => Status { status: EVTCHNSTAT_UNBOUND, detail: u32::from(remote.0), ..status },
            State::Interdomain { remote, port } => {
                Status { status: EVTCHNSTAT_INTERDOMAIN, detail: u32::from(remote.0), remote_port: port, ..status }
            }
            State::Virq(virq) => Status { status: EVTCHNSTAT_VIRQ, detail: virq, ..status },
            State::Ipi => Status { status: EVTCHNSTAT_IPI, ..status },
        })
    }

    /// Lets a port tell another vCPU from now on. What belongs to a vCPU stays there.
    pub fn bind_vcpu(&mut self, domain: DomId, port: Port, vcpu: u32) -> Result<(), Errno> {
        let table = self.table_mut(domain)?;
        table.check_vcpu(vcpu)?;
        let channel = table.channel_mut(port).ok_or(Errno::EINVAL)?;
        match channel.state {
            State::Virq(virq) if is_per_vcpu(virq) => return Err(Errno::EINVAL),
            State::Closed | State::Ipi => return Err(Errno::EINVAL),
            State::Unbound { .. } | State::Interdomain { .. } | State::Virq(_) => channel.vcpu = vcpu,
        }
        Ok(())
    }

    /// Unmasks a port; if it is pending, its vCPU is told now. Nothing happens to a closed one.
    pub fn unmask(&mut self, memory: &mut impl Memory, domain: DomId, port: Port) -> Result<Option<Kick>, Errno> {
        let table = self.table_mut(domain)?;
        let Channel { state, vcpu, .. } = table.channel(port)?;
        if state != State::Closed
            && let Some(fifo) = &table.fifo
        {
            let kick = if fifo.unmask(memory, port) { table.signal(memory, domain, port) } else { None };
            return Ok(kick.filter(|kick| kick.upcall));
        }
        let (State::Unbound { .. } | State::Interdomain { .. } | State::Virq(_) | State::Ipi, Some((word, bit))) =
            (state, place(port))
        else {
            return Ok(None);
        };
        let was_masked = clear_bit(memory, table.shared_info, MASK.saturating_add(word), bit);
        let told = was_masked && table.is_pending(memory, port) && table.select(memory, vcpu, word);
        Ok(told.then_some(Kick { domain, vcpu, port, upcall: true }))
    }

    /// Closes all channels of a domain.
    pub fn reset(&mut self, memory: &mut impl Memory, domain: DomId) -> Result<(), Errno> {
        let ports = self.table(domain)?.channels.len();
        for (port, _) in (1..).zip(1..ports) {
            // What is not open cannot be closed, which is as well.
            let _: Result<(), Errno> = self.close(memory, domain, Port(port));
        }
        Ok(())
    }

    /// A vCPU has its control block of the FIFO ABI here. With the first one, that is the domain's ABI; what is pending stays so.
    /// `take` is asked for the frame, as one that is written to.
    pub fn init_control<M: Memory>(
        &mut self,
        memory: &mut M,
        domain: DomId,
        vcpu: u32,
        (frame, offset): (Mfn, u32),
        take: impl FnOnce(&mut M) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let table = self.table_mut(domain)?;
        table.check_vcpu(vcpu)?;
        let offset = Fifo::control_offset(offset)?;
        if table.fifo.as_ref().is_some_and(|fifo| fifo.has_control(vcpu)) {
            return Err(Errno::EINVAL);
        }
        take(memory)?;
        if table.fifo.is_none() {
            for number in 0..table.channels.len() {
                let port = Port(u32::try_from(number).unwrap_or(0));
                let is_pending = table.is_pending(memory, port);
                if let Some(channel) = table.channel_mut(port) {
                    (channel.is_waiting, channel.priority) = (is_pending, DEFAULT_PRIORITY);
                }
            }
        }
        let count = table.virqs.len();
        table.fifo.get_or_insert_with(|| Fifo::new(count)).set_control(vcpu, frame, offset);
        Ok(())
    }

    /// The array of a domain's ports has one more page: ports that became pending before they had a word are so now.
    pub fn expand_array<M: Memory>(
        &mut self,
        memory: &mut M,
        domain: DomId,
        frame: Mfn,
        take: impl FnOnce(&mut M) -> Result<(), Errno>,
    ) -> Result<Vec<Kick>, Errno> {
        let table = self.table_mut(domain)?;
        let fifo = table.fifo.as_mut().ok_or(Errno::EOPNOTSUPP)?;
        if !fifo.has_room() {
            return Err(Errno::ENOSPC);
        }
        take(memory)?;
        let ports = fifo.expand(frame);
        let mut kicks = Vec::new();
        for port in ports.map(Port) {
            let Some(channel) = table.channel_mut(port) else { break };
            if core::mem::take(&mut channel.is_waiting) {
                kicks.extend(table.signal(memory, domain, port));
            }
        }
        Ok(kicks)
    }

    /// A port is of this priority when it becomes pending the next time, under the FIFO ABI.
    pub fn set_priority(&mut self, domain: DomId, port: Port, priority: u32) -> Result<(), Errno> {
        let table = self.table_mut(domain)?;
        let is_fifo = table.fifo.is_some();
        let channel = table.channel_mut(port).ok_or(Errno::EINVAL)?;
        if !is_fifo {
            return Err(Errno::ENOSYS);
        }
        let priority = u8::try_from(priority).ok().filter(|priority| u32::from(*priority) <= EVTCHN_FIFO_PRIORITY_MIN);
        channel.priority = priority.ok_or(Errno::EINVAL)?;
        Ok(())
    }

    /// A domain is back at the two-level ABI. Gives the frames that the other one had.
    pub fn end_fifo(&mut self, domain: DomId) -> Vec<Mfn> {
        let fifo = self.tables.get_mut(&domain).and_then(|table| table.fifo.take());
        fifo.map(Fifo::into_frames).unwrap_or_default()
    }

    /// The frames that a domain has for the FIFO ABI.
    #[cfg(test)]
    pub(crate) fn fifo_frames(&self, domain: DomId) -> Vec<Mfn> {
        self.tables.get(&domain).and_then(|table| table.fifo.clone()).map(Fifo::into_frames).unwrap_or_default()
    }

    /// Raises a virtual interrupt where it is bound. `vcpu` matters for those of a vCPU only.
    pub fn raise_virq(&mut self, memory: &mut impl Memory, domain: DomId, virq: u32, vcpu: u32) -> Option<Kick> {
        let table = self.tables.get_mut(&domain)?;
        let port = *table.virq_port(virq, vcpu)?;
        table.signal(memory, domain, port)
    }

    /// Whether a port is pending, masked or not.
    #[must_use]
    pub fn is_pending(&self, memory: &impl Memory, domain: DomId, port: Port) -> bool {
        let Ok(table) = self.table(domain) else { return false };
        table.channel(port).is_ok_and(|channel| channel.state != State::Closed) && table.is_pending(memory, port)
    }

    /// Whether `evtchn_upcall_pending` of a vCPU is set. Whether it is masked is another question.
    #[must_use]
    pub fn upcall_pending(&self, memory: &impl Memory, domain: DomId, vcpu: u32) -> bool {
        self.table(domain).is_ok_and(|table| {
            table.info(vcpu).is_some_and(|(frame, word)| memory.load(frame, word) & UPCALL_PENDING != 0)
        })
    }

    /// Where the information about a vCPU is: the frame, and the offset in bytes.
    #[must_use]
    pub fn vcpu_info(&self, domain: DomId, vcpu: u32) -> Option<(Mfn, usize)> {
        let (frame, word) = self.table(domain).ok()?.info(vcpu)?;
        Some((frame, word.saturating_mul(WORD_LEN)))
    }

    /// The information about a vCPU is at another place from now on, within a page that the domain does not use as a table.
    /// That can be said once.
    pub fn move_vcpu_info<M: Memory>(
        &mut self,
        memory: &mut M,
        domain: DomId,
        vcpu: u32,
        (frame, offset): (Mfn, usize),
        take: impl FnOnce(&mut M) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let table = self.table_mut(domain)?;
        let shared_info = table.shared_info;
        let place = table.infos.get_mut(vcpu as usize).ok_or(Errno::ENOENT)?;
        let words = size_of::<VcpuInfo>() / WORD_LEN;
        let first = offset / WORD_LEN;
        let fits = first.checked_add(words).is_some_and(|end| end <= crate::memory::WORDS);
        if place.0 != shared_info || !offset.is_multiple_of(WORD_LEN) || !fits {
            return Err(Errno::EINVAL);
        }
        take(memory)?;
        for word in 0..words {
            let value = memory.load(place.0, place.1.saturating_add(word));
            memory.store(frame, first.saturating_add(word), value);
        }
        *place = (frame, first);
        // Whatever became pending on the way is looked for.
        memory.store(frame, first.saturating_add(SELECTOR), u64::MAX);
        memory.fetch_or(frame, first, 1);
        Ok(())
    }

    /// Pages of a domain that have information about a vCPU, beside the shared one: once for each.
    #[must_use]
    pub fn moved_infos(&self, domain: DomId) -> Vec<Mfn> {
        let Ok(table) = self.table(domain) else { return Vec::new() };
        table.infos.iter().map(|(frame, _)| *frame).filter(|frame| *frame != table.shared_info).collect()
    }

    fn table(&self, domain: DomId) -> Result<&Table, Errno> {
        self.tables.get(&domain).ok_or(Errno::ESRCH)
    }

    fn table_mut(&mut self, domain: DomId) -> Result<&mut Table, Errno> {
        self.tables.get_mut(&domain).ok_or(Errno::ESRCH)
    }

    fn channel_mut(&mut self, domain: DomId, port: Port) -> Option<&mut Channel> {
        self.tables.get_mut(&domain)?.channel_mut(port)
    }

    /// The other end of a channel is gone: it waits for `gone` to bind it again.
    fn unbind(&mut self, domain: DomId, port: Port, gone: DomId) {
        if let Some(channel) = self.channel_mut(domain, port) {
            channel.state = State::Unbound { remote: gone };
        }
    }
}

/// The channels of a domain.
#[derive(Debug)]
struct Table {
    shared_info: Mfn,
    /// Where each vCPU's `vcpu_info` is: the frame, and its first word there.
    infos: Vec<(Mfn, usize)>,
    /// Ports of virtual interrupts, per vCPU. 0: not bound. Those that are not of a vCPU are vCPU 0's.
    virqs: Vec<[Port; NR_VIRQS as usize]>,
    /// The FIFO ABI, if the domain has asked for it.
    fifo: Option<Fifo>,
    /// By port. The first is never used; there are at most `EVTCHN_2L_NR_CHANNELS`.
    channels: Vec<Channel>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Channel {
    state: State,
    /// Who is told.
    vcpu: u32,
    /// In which queue of that vCPU.
    priority: u8,
    /// The queue that it was put in last, which outlives the channel.
    queue: Queue,
    /// It became pending before it had a word.
    is_waiting: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    /// Nobody but `remote` may bind it.
    Unbound {
        remote: DomId,
    },
    Interdomain {
        remote: DomId,
        port: Port,
    },
    Virq(u32),
    Ipi,
}

impl Table {
    fn new(shared_info: Mfn, vcpus: u32) -> Self {
        let virqs = (0..vcpus.min(MAX_VCPUS)).map(|_| [Port(0); NR_VIRQS as usize]).collect();
        let infos = (0..vcpus.min(MAX_VCPUS)).map(|vcpu| (shared_info, vcpu_info(vcpu))).collect();
        Self { shared_info, infos, virqs, fifo: None, channels: Vec::new() }
    }

    fn check_vcpu(&self, vcpu: u32) -> Result<(), Errno> {
        if (vcpu as usize) < self.virqs.len() { Ok(()) } else { Err(Errno::ENOENT) }
    }

    /// Where the port of a virtual interrupt is noted, if there is such an interrupt and such a vCPU.
    fn virq_port(&mut self, virq: u32, vcpu: u32) -> Option<&mut Port> {
        let vcpu = if is_per_vcpu(virq) { vcpu } else { 0 };
        self.virqs.get_mut(vcpu as usize)?.get_mut(virq as usize)
    }

    fn channel(&self, port: Port) -> Result<Channel, Errno> {
        self.channels.get(port.0 as usize).copied().ok_or(Errno::EINVAL)
    }

    fn channel_mut(&mut self, port: Port) -> Option<&mut Channel> {
        self.channels.get_mut(port.0 as usize)
    }

    /// Opens a channel at the lowest port that is free.
    fn open(&mut self, state: State, vcpu: u32) -> Result<Port, Errno> {
        if !self.channels.iter().skip(1).any(|channel| channel.state == State::Closed) {
            self.grow()?;
        }
        let mut ports = (0..).map(Port).zip(&mut self.channels).skip(1);
        let (port, channel) = ports.find(|(_, channel)| channel.state == State::Closed).ok_or(Errno::ENOSPC)?;
        *channel = Channel { state, vcpu, priority: DEFAULT_PRIORITY, queue: channel.queue, is_waiting: false };
        Ok(port)
    }

    fn grow(&mut self) -> Result<(), Errno> {
        let channels = self.channels.len().saturating_add(BUCKET);
        if channels > EVTCHN_2L_NR_CHANNELS as usize {
            return Err(Errno::ENOSPC);
        }
        self.channels.try_reserve(BUCKET).map_err(|_| Errno::ENOMEM)?;
        self.channels.resize(channels, Channel::default());
        Ok(())
    }

    /// Makes a port pending. `None` if it was, or if it is closed.
    fn signal(&mut self, memory: &mut impl Memory, domain: DomId, port: Port) -> Option<Kick> {
        let Channel { state, vcpu, .. } = self.channel(port).ok()?;
        if let Some(fifo) = &mut self.fifo {
            let channel = self.channels.get_mut(port.0 as usize).filter(|channel| channel.state != State::Closed)?;
            let raised = fifo.signal(memory, port, channel);
            let upcall = raised.is_first && self.call_up(memory, vcpu);
            return (raised.is_new || upcall).then_some(Kick { domain, vcpu, port, upcall });
        }
        let (word, bit) = place(port)?;
        if state == State::Closed || memory.fetch_or(self.shared_info, PENDING.saturating_add(word), bit) & bit != 0 {
            return None;
        }
        let is_masked = memory.load(self.shared_info, MASK.saturating_add(word)) & bit != 0;
        let upcall = !is_masked && self.select(memory, vcpu, word);
        Some(Kick { domain, vcpu, port, upcall })
    }

    fn info(&self, vcpu: u32) -> Option<(Mfn, usize)> {
        self.infos.get(vcpu as usize).copied()
    }

    /// Tells a vCPU to look at a word of `evtchn_pending`. Says whether it was about to look at none.
    fn select(&self, memory: &mut impl Memory, vcpu: u32, word: usize) -> bool {
        let Some((frame, info)) = self.info(vcpu) else { return false };
        let bit = 1_u64.rotate_left(u32::try_from(word % 64).unwrap_or(0));
        memory.fetch_or(frame, info.saturating_add(SELECTOR), bit) & bit == 0 && self.call_up(memory, vcpu)
    }

    /// Sets `evtchn_upcall_pending` of a vCPU. Says whether it was not.
    fn call_up(&self, memory: &mut impl Memory, vcpu: u32) -> bool {
        self.info(vcpu).is_some_and(|(frame, info)| memory.fetch_or(frame, info, 1) & UPCALL_PENDING == 0)
    }

    fn is_pending(&self, memory: &impl Memory, port: Port) -> bool {
        if let Some(fifo) = &self.fifo {
            return fifo.is_pending(memory, port);
        }
        place(port).is_some_and(|(word, bit)| memory.load(self.shared_info, PENDING.saturating_add(word)) & bit != 0)
    }

    /// A domain that writes to the word without end may find the port still pending when it opens it again.
    fn clear_pending(&self, memory: &mut impl Memory, port: Port) {
        if let Some(fifo) = &self.fifo {
            fifo.clear_pending(memory, port);
        } else if let Some((word, bit)) = place(port) {
            clear_bit(memory, self.shared_info, PENDING.saturating_add(word), bit);
        }
    }
}

/// Virtual interrupts that each vCPU has its own of; the others are the domain's.
const fn is_per_vcpu(virq: u32) -> bool {
    matches!(virq, VIRQ_TIMER | VIRQ_DEBUG | VIRQ_XENOPROF | VIRQ_XENPMU)
}

/// Word and bit of a port.
fn place(port: Port) -> Option<(usize, u64)> {
    (port.0 < EVTCHN_2L_NR_CHANNELS).then(|| ((port.0 / u64::BITS) as usize, 1 << (port.0 % u64::BITS)))
}

/// The word of `evtchn_pending_sel` in it.
const SELECTOR: usize = offset_of!(VcpuInfo, evtchn_pending_sel) / WORD_LEN;

/// First word of a vCPU's `vcpu_info` in the shared page. There is one for each of [`MAX_VCPUS`].
const fn vcpu_info(vcpu: u32) -> usize {
    (offset_of!(SharedInfo, vcpu_info) / WORD_LEN)
        .saturating_add((vcpu as usize).saturating_mul(size_of::<VcpuInfo>() / WORD_LEN))
}

/// Clears a bit, and says whether it was set. Gives up on a word that changes each time.
fn clear_bit(memory: &mut impl Memory, frame: Mfn, index: usize, bit: u64) -> bool {
    let mut word = memory.load(frame, index);
    for _ in 0..ATTEMPTS {
        if word & bit == 0 {
            return false;
        }
        match memory.compare_exchange(frame, index, word, word & !bit) {
            now if now == word => return true,
            now => word = now,
        }
    }
    false
}

#[cfg(test)]
mod tests;
