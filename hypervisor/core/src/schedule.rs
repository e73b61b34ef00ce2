//! Who runs: one after the other, each for its slice.
//!
//! Not modelled: weights and caps, more than one processor.

use crate::domain::Domain;
use crate::memory::Memory;
use crate::system::System;
use crate::vcpu::{BLOCKED, OFFLINE, RUNNABLE, RUNNING, State, VcpuId};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use xen_abi::DomId;
use xen_abi::event::{VIRQ_CONSOLE, VIRQ_DOM_EXC, VIRQ_TIMER};

/// How long one runs while others wait, in nanoseconds.
const SLICE: u64 = 10_000_000;

/// Who waits for the processor, and who has it.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    waiting: VecDeque<VcpuId>,
    running: Option<VcpuId>,
    slice_ends: u64,
}

/// What the processor does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// It runs this one; `None`: it sleeps.
    pub vcpu: Option<VcpuId>,
    /// When it has to ask again, in system time; `None`: when something happens.
    pub until: Option<u64>,
}

impl<M: Memory> System<M> {
    /// Lets a vCPU wait for the processor.
    pub fn make_ready(&mut self, id: VcpuId, now: u64) {
        let Some(vcpu) = self.vcpu_mut(id) else { return };
        if vcpu.state == State::Offline {
            return;
        }
        let was_waiting = vcpu.state == State::Ready;
        vcpu.state = State::Ready;
        if !was_waiting {
            vcpu.note(RUNNABLE, now);
        }
        if self.queue.running != Some(id) && !self.queue.waiting.contains(&id) {
            self.queue.waiting.push_back(id);
        }
    }

    /// Wakes a vCPU that has something to see.
    pub fn kick(&mut self, id: VcpuId, now: u64) {
        let Some(vcpu) = self.vcpu(id) else { return };
        let wakes = match &vcpu.state {
            State::Blocked => true,
            State::Polling(ports, _) => {
                let mut ports = ports.iter();
                ports.any(|port| self.events.is_pending(&self.memory, id.domain, *port))
            }
            State::Ready | State::Offline => false,
        };
        if wakes {
            self.make_ready(id, now);
        }
    }

    /// The one that runs lets others run first.
    pub fn let_others_run(&mut self) {
        self.queue.slice_ends = 0;
    }

    /// The one that runs.
    #[must_use]
    pub const fn running(&self) -> Option<VcpuId> {
        self.queue.running
    }

    /// Sees to timers, and says what the processor does next.
    pub fn next(&mut self, now: u64) -> Next {
        if core::mem::take(&mut self.has_ended) {
            self.tell_control(VIRQ_DOM_EXC, now);
        }
        if core::mem::take(&mut self.has_typed) {
            self.tell_control(VIRQ_CONSOLE, now);
        }
        let mut until = self.expire(now);
        let running = self.queue.running.filter(|id| self.can_run(*id));
        let keeps = running.filter(|_| now < self.queue.slice_ends || self.queue.waiting.is_empty());
        if let (Some(id), None) = (running, keeps) {
            self.queue.waiting.push_back(id);
            self.note(id, RUNNABLE, now);
        }
        let next = keeps.or_else(|| self.take_waiting());
        if keeps.is_none() {
            if let (Some(before), None) = (self.queue.running, running) {
                self.note_asleep(before, now);
            }
            self.queue.slice_ends = now.saturating_add(SLICE);
            if let Some(id) = next {
                self.note(id, RUNNING, now);
            }
        }
        self.queue.running = next;
        if next.is_some() && !self.queue.waiting.is_empty() {
            until = Some(until.map_or(self.queue.slice_ends, |at| at.min(self.queue.slice_ends)));
        }
        Next { vcpu: next, until }
    }

    /// Whether a vCPU has something to do, and may do it.
    #[must_use]
    pub fn can_run(&self, id: VcpuId) -> bool {
        let is_running = self.domains.get(&id.domain).is_some_and(Domain::is_running);
        is_running && self.vcpu(id).is_some_and(|vcpu| vcpu.state == State::Ready)
    }

    /// Something has happened that is the control domain's business.
    fn tell_control(&mut self, virq: u32, now: u64) {
        const CONTROL: VcpuId = VcpuId { domain: DomId(0), number: 0 };
        if self.events.raise_virq(&mut self.memory, CONTROL.domain, virq, CONTROL.number).is_some() {
            self.kick(CONTROL, now);
        }
    }

    fn take_waiting(&mut self) -> Option<VcpuId> {
        while let Some(id) = self.queue.waiting.pop_front() {
            if self.can_run(id) {
                return Some(id);
            }
        }
        None
    }

    fn note(&mut self, id: VcpuId, state: u32, now: u64) {
        if let Some(vcpu) = self.vcpu_mut(id) {
            vcpu.note(state, now);
        }
    }

    fn note_asleep(&mut self, id: VcpuId, now: u64) {
        let is_offline = self.vcpu(id).is_none_or(|vcpu| vcpu.state == State::Offline);
        self.note(id, if is_offline { OFFLINE } else { BLOCKED }, now);
    }

    /// Raises the timers that are due, ends the polls whose time is over, and gives when the next of them is.
    fn expire(&mut self, now: u64) -> Option<u64> {
        let mut next: Option<u64> = None;
        let mut due = Vec::new();
        // Time goes on for those that are paused, but they are told later.
        for (domain, what) in self.domains.iter().filter(|(_, what)| what.is_running()) {
            for (number, vcpu) in (0..).zip(&what.vcpus) {
                let poll = match &vcpu.state {
                    State::Polling(_, until) => *until,
                    _ => None,
                };
                for (at, is_poll) in [(vcpu.timer, false), (poll, true)] {
                    match at {
                        Some(at) if at <= now => due.push((VcpuId { domain: *domain, number }, is_poll)),
                        Some(at) => next = Some(next.map_or(at, |next| next.min(at))),
                        None => {}
                    }
                }
            }
        }
        for (id, is_poll) in due {
            if is_poll {
                self.make_ready(id, now);
                continue;
            }
            if let Some(vcpu) = self.vcpu_mut(id) {
                vcpu.timer = None;
            }
            self.events.raise_virq(&mut self.memory, id.domain, VIRQ_TIMER, id.number);
            self.kick(id, now);
        }
        next
    }
}
