use super::*;
use crate::memory::TestMemory;
use std::vec::Vec;

const A: DomId = DomId(1);
const B: DomId = DomId(2);
const C: DomId = DomId(3);

/// Frame of a domain's shared information.
fn frame(domain: DomId) -> Mfn {
    Mfn(u64::from(domain.0))
}

/// Three domains with two vCPUs each, whose ports are unmasked.
fn world() -> (Events, TestMemory) {
    let mut events = Events::new();
    for domain in [A, B, C] {
        events.add_domain(domain, frame(domain), 2);
    }
    (events, TestMemory::new(4))
}

/// A channel from A to B: the ports at either end. B has looked at its first signal.
fn pair(events: &mut Events, memory: &mut TestMemory) -> (Port, Port) {
    let ours = events.alloc_unbound(A, B).unwrap();
    let (theirs, kick) = events.bind_interdomain(memory, B, A, ours).unwrap();
    assert_eq!(kick, Some(Kick { domain: B, vcpu: 0, port: theirs, upcall: true }));
    look(memory, B);
    (ours, theirs)
}

/// What a guest does in an upcall: flag, selector, ports, of all vCPUs. Gives the ports.
fn look(memory: &mut TestMemory, domain: DomId) -> Vec<u32> {
    let frame = frame(domain);
    for vcpu in 0..2 {
        // `evtchn_upcall_pending` is a byte, and `evtchn_pending_sel` the next word: public/xen.h.
        memory.write(frame, vcpu * 64, &[0]);
        memory.store(frame, vcpu * 8 + 1, 0);
    }
    let mut ports = Vec::new();
    for word in 0..64 {
        let pending = memory.load(frame, 256 + word) & !memory.load(frame, 320 + word);
        memory.store(frame, 256 + word, memory.load(frame, 256 + word) & !pending);
        ports.extend((0..64).filter(|bit| pending & 1 << bit != 0).map(|bit| u32::try_from(word).unwrap() * 64 + bit));
    }
    ports
}

fn set_mask(memory: &mut TestMemory, domain: DomId, port: Port, masked: bool) {
    let (index, bit) = (320 + port.0 as usize / 64, 1 << (port.0 % 64));
    let word = memory.load(frame(domain), index);
    memory.store(frame(domain), index, if masked { word | bit } else { word & !bit });
}

#[test]
fn only_the_named_domain_binds_an_unbound_port_and_only_once() {
    let (mut events, mut memory) = world();
    let port = events.alloc_unbound(A, B).unwrap();
    assert_eq!(port, Port(1));
    assert_eq!(events.bind_interdomain(&mut memory, C, A, port), Err(Errno::EINVAL));
    assert_eq!(events.bind_interdomain(&mut memory, A, A, port), Err(Errno::EINVAL));
    assert_eq!(events.bind_interdomain(&mut memory, B, A, Port(2)), Err(Errno::EINVAL));
    assert_eq!(events.bind_interdomain(&mut memory, B, A, Port(u32::MAX)), Err(Errno::EINVAL));
    assert_eq!(events.bind_interdomain(&mut memory, B, DomId(9), port), Err(Errno::ESRCH));
    assert!(events.bind_interdomain(&mut memory, B, A, port).is_ok());
    assert_eq!(events.bind_interdomain(&mut memory, B, A, port), Err(Errno::EINVAL));
}

#[test]
fn domains_and_ports_that_are_not_there_are_told_apart() {
    let (mut events, mut memory) = world();
    let nobody = DomId(9);
    assert_eq!(events.alloc_unbound(nobody, A), Err(Errno::ESRCH));
    assert_eq!(events.send(&mut memory, nobody, Port(1)), Err(Errno::ESRCH));
    let _port = events.alloc_unbound(A, B).unwrap();
    for port in [0, 2, 63, 64, 4095, 4096, u32::MAX].map(Port) {
        assert_eq!(events.send(&mut memory, A, port), Err(Errno::EINVAL));
        assert_eq!(events.close(&mut memory, A, port), Err(Errno::EINVAL));
        assert_eq!(events.bind_vcpu(A, port, 0), Err(Errno::EINVAL));
        assert!(!events.is_pending(&memory, A, port));
    }
    // A closed port of the table has a status; there is none beyond it.
    assert_eq!(events.status(A, Port(63)).unwrap().status, EVTCHNSTAT_CLOSED);
    assert_eq!(events.status(A, Port(64)).map(|status| status.status), Err(Errno::EINVAL));
}

#[test]
fn a_signal_is_told_once_until_it_is_looked_at() {
    let (mut events, mut memory) = world();
    let (ours, theirs) = pair(&mut events, &mut memory);
    let kick = Kick { domain: B, vcpu: 0, port: theirs, upcall: true };
    assert_eq!(events.send(&mut memory, A, ours), Ok(Some(kick)));
    assert_eq!(events.send(&mut memory, A, ours), Ok(None));
    assert!(events.is_pending(&memory, B, theirs));
    assert!(events.upcall_pending(&memory, B, 0));
    assert!(!events.upcall_pending(&memory, B, 1));
    assert_eq!(look(&mut memory, B), [theirs.0]);
    assert_eq!(events.send(&mut memory, A, ours), Ok(Some(kick)));
    assert_eq!(events.send(&mut memory, B, theirs), Ok(Some(Kick { domain: A, vcpu: 0, port: ours, upcall: true })));
}

#[test]
fn a_second_port_needs_no_second_upcall() {
    let (mut events, mut memory) = world();
    let (first, _) = pair(&mut events, &mut memory);
    let (second, theirs) = pair(&mut events, &mut memory);
    let _ = events.send(&mut memory, A, first).unwrap();
    let kick = events.send(&mut memory, A, second).unwrap();
    assert_eq!(kick, Some(Kick { domain: B, vcpu: 0, port: theirs, upcall: false }));
}

#[test]
fn the_upcall_mask_beside_the_flag_is_left_alone() {
    let (mut events, mut memory) = world();
    let (ours, _) = pair(&mut events, &mut memory);
    memory.write(frame(B), 1, &[1]);
    let kick = events.send(&mut memory, A, ours).unwrap();
    assert!(kick.is_some_and(|kick| kick.upcall));
    assert_eq!(memory.load(frame(B), 0), 0x0101);
}

#[test]
fn a_masked_port_wakes_pollers_only_and_unmasking_it_makes_up_for_it() {
    let (mut events, mut memory) = world();
    let (ours, theirs) = pair(&mut events, &mut memory);
    set_mask(&mut memory, B, theirs, true);
    let kick = Kick { domain: B, vcpu: 0, port: theirs, upcall: false };
    assert_eq!(events.send(&mut memory, A, ours), Ok(Some(kick)));
    assert!(events.is_pending(&memory, B, theirs));
    assert!(!events.upcall_pending(&memory, B, 0));
    assert_eq!(events.unmask(&mut memory, B, theirs), Ok(Some(Kick { upcall: true, ..kick })));
    assert!(events.upcall_pending(&memory, B, 0));
    assert_eq!(events.unmask(&mut memory, B, theirs), Ok(None));
    assert_eq!(look(&mut memory, B), [theirs.0]);
}

#[test]
fn unmasking_tells_nothing_where_nothing_is_pending() {
    let (mut events, mut memory) = world();
    let (ours, theirs) = pair(&mut events, &mut memory);
    set_mask(&mut memory, B, theirs, true);
    assert_eq!(events.unmask(&mut memory, B, theirs), Ok(None));
    assert_eq!(memory.load(frame(B), 320), 0);
    // Nor where nothing was masked, though the domain is about to look.
    let _ = events.send(&mut memory, A, ours).unwrap();
    memory.store(frame(B), 1, 0);
    assert_eq!(events.unmask(&mut memory, B, theirs), Ok(None));
    assert_eq!(memory.load(frame(B), 1), 0);
    // Xen takes closed ports that the table has room for.
    assert_eq!(events.unmask(&mut memory, B, Port(5)), Ok(None));
    assert_eq!(events.unmask(&mut memory, B, Port(64)), Err(Errno::EINVAL));
}

#[test]
fn signals_to_nobody_are_dropped() {
    let (mut events, mut memory) = world();
    let port = events.alloc_unbound(A, B).unwrap();
    assert_eq!(events.send(&mut memory, A, port), Ok(None));
}

#[test]
fn closing_one_end_forgets_its_signal_and_leaves_the_other_to_be_bound_again() {
    let (mut events, mut memory) = world();
    let (ours, theirs) = pair(&mut events, &mut memory);
    let _ = events.send(&mut memory, A, ours).unwrap();
    events.close(&mut memory, B, theirs).unwrap();
    assert!(!events.is_pending(&memory, B, theirs));
    assert_eq!(memory.load(frame(B), 256), 0);
    let status = events.status(A, ours).unwrap();
    assert_eq!((status.status, status.detail), (EVTCHNSTAT_UNBOUND, 2));
    assert_eq!(events.send(&mut memory, A, ours), Ok(None));
    assert_eq!(events.bind_interdomain(&mut memory, C, A, ours), Err(Errno::EINVAL));
    let (again, _) = events.bind_interdomain(&mut memory, B, A, ours).unwrap();
    assert_eq!(again, theirs);
}

#[test]
fn a_domain_can_signal_itself_over_two_ports() {
    let (mut events, mut memory) = world();
    let first = events.alloc_unbound(A, A).unwrap();
    let (second, _) = events.bind_interdomain(&mut memory, A, A, first).unwrap();
    assert_ne!(first, second);
    look(&mut memory, A);
    let kick = events.send(&mut memory, A, second).unwrap();
    assert_eq!(kick.map(|kick| kick.port), Some(first));
    events.close(&mut memory, A, second).unwrap();
    assert_eq!(events.status(A, first).unwrap().status, EVTCHNSTAT_UNBOUND);
}

#[test]
fn virtual_interrupts_are_bound_once_where_they_belong() {
    let (mut events, mut memory) = world();
    assert_eq!(events.bind_virq(A, NR_VIRQS, 0), Err(Errno::EINVAL));
    assert_eq!(events.bind_virq(A, VIRQ_TIMER, 2), Err(Errno::ENOENT));
    // VIRQ_CONSOLE is the domain's: it begins on vCPU 0, and can go to another.
    assert_eq!(events.bind_virq(A, 2, 1), Err(Errno::EINVAL));
    let timers = [0, 1].map(|vcpu| events.bind_virq(A, VIRQ_TIMER, vcpu).unwrap());
    let console = events.bind_virq(A, 2, 0).unwrap();
    assert_eq!(events.bind_virq(A, VIRQ_TIMER, 1), Err(Errno::EEXIST));
    assert_eq!(events.bind_virq(A, 2, 0), Err(Errno::EEXIST));
    assert_eq!(events.bind_vcpu(A, timers[0], 1), Err(Errno::EINVAL));
    assert_eq!(events.bind_vcpu(A, console, 2), Err(Errno::ENOENT));
    assert_eq!(events.bind_vcpu(A, console, 1), Ok(()));
    let kick = Kick { domain: A, vcpu: 1, port: timers[1], upcall: true };
    assert_eq!(events.raise_virq(&mut memory, A, VIRQ_TIMER, 1), Some(kick));
    let kick = Kick { domain: A, vcpu: 1, port: console, upcall: false };
    assert_eq!(events.raise_virq(&mut memory, A, 2, 0), Some(kick));
    assert_eq!(events.send(&mut memory, A, console), Err(Errno::EINVAL));
    events.close(&mut memory, A, console).unwrap();
    assert_eq!(events.raise_virq(&mut memory, A, 2, 0), None);
    assert_eq!(events.bind_virq(A, 2, 0), Ok(console));
    for (virq, vcpu) in [(VIRQ_DEBUG, 0), (NR_VIRQS, 0), (u32::MAX, u32::MAX), (VIRQ_TIMER, 2)] {
        assert_eq!(events.raise_virq(&mut memory, A, virq, vcpu), None);
    }
}

#[test]
fn ipis_go_to_their_vcpu_and_stay_there() {
    let (mut events, mut memory) = world();
    assert_eq!(events.bind_ipi(A, 2), Err(Errno::ENOENT));
    let port = events.bind_ipi(A, 1).unwrap();
    assert_eq!(events.bind_vcpu(A, port, 0), Err(Errno::EINVAL));
    let kick = Kick { domain: A, vcpu: 1, port, upcall: true };
    assert_eq!(events.send(&mut memory, A, port), Ok(Some(kick)));
    assert_eq!(events.status(A, port).map(|status| (status.status, status.vcpu)), Ok((EVTCHNSTAT_IPI, 1)));
}

#[test]
fn a_port_tells_the_vcpu_that_it_is_bound_to() {
    let (mut events, mut memory) = world();
    let (ours, theirs) = pair(&mut events, &mut memory);
    events.bind_vcpu(B, theirs, 1).unwrap();
    let kick = Kick { domain: B, vcpu: 1, port: theirs, upcall: true };
    assert_eq!(events.send(&mut memory, A, ours), Ok(Some(kick)));
    assert!(events.upcall_pending(&memory, B, 1));
    assert!(!events.upcall_pending(&memory, B, 0));
    // vCPU 1's selector is the second word of the second `vcpu_info`.
    assert_eq!(memory.load(frame(B), 9), 1);
}

#[test]
fn a_table_ends_at_port_4095() {
    let (mut events, mut memory) = world();
    for port in 1..4096 {
        assert_eq!(events.alloc_unbound(A, B), Ok(Port(port)));
    }
    assert_eq!(events.alloc_unbound(A, B), Err(Errno::ENOSPC));
    let (theirs, _) = events.bind_interdomain(&mut memory, B, A, Port(4095)).unwrap();
    let kick = events.send(&mut memory, B, theirs).unwrap();
    assert_eq!(kick.map(|kick| (kick.port, kick.upcall)), Some((Port(4095), true)));
    assert_eq!(memory.load(frame(A), 256 + 63), 1 << 63);
    assert_eq!(memory.load(frame(A), 1), 1 << 63);
    events.close(&mut memory, A, Port(17)).unwrap();
    assert_eq!(events.alloc_unbound(A, B), Ok(Port(17)));
}

#[test]
fn a_reset_closes_everything_of_a_domain() {
    let (mut events, mut memory) = world();
    let (ours, theirs) = pair(&mut events, &mut memory);
    let timer = events.bind_virq(B, VIRQ_TIMER, 0).unwrap();
    let _ = events.send(&mut memory, A, ours).unwrap();
    assert_eq!(events.reset(&mut memory, B), Ok(()));
    for port in [theirs, timer] {
        assert_eq!(events.status(B, port).map(|status| status.status), Ok(EVTCHNSTAT_CLOSED));
    }
    assert_eq!(memory.load(frame(B), 256), 0);
    assert_eq!(events.status(A, ours).map(|status| status.status), Ok(EVTCHNSTAT_UNBOUND));
    assert_eq!(events.bind_virq(B, VIRQ_TIMER, 0), Ok(Port(1)));
}

#[test]
fn channels_to_a_domain_that_is_gone_wait_for_it() {
    let (mut events, mut memory) = world();
    let (ours, _) = pair(&mut events, &mut memory);
    events.remove_domain(B);
    let status = events.status(A, ours).unwrap();
    assert_eq!((status.status, status.detail), (EVTCHNSTAT_UNBOUND, 2));
    assert_eq!(events.send(&mut memory, A, ours), Ok(None));
    assert_eq!(events.alloc_unbound(B, A), Err(Errno::ESRCH));
    events.add_domain(B, frame(B), 1);
    assert!(events.bind_interdomain(&mut memory, B, A, ours).is_ok());
}

#[test]
fn more_vcpus_than_shared_information_has_room_for_are_not_there() {
    let mut events = Events::new();
    events.add_domain(A, frame(A), u32::MAX);
    assert!(events.bind_ipi(A, 31).is_ok());
    assert_eq!(events.bind_ipi(A, 32), Err(Errno::ENOENT));
}

/// Memory whose words change each time that one is to be replaced.
struct Restless(TestMemory);

impl Memory for Restless {
    fn read(&self, frame: Mfn, offset: usize, bytes: &mut [u8]) {
        self.0.read(frame, offset, bytes);
    }
    fn write(&mut self, frame: Mfn, offset: usize, bytes: &[u8]) {
        self.0.write(frame, offset, bytes);
    }
    fn load(&self, frame: Mfn, index: usize) -> u64 {
        self.0.load(frame, index)
    }
    fn store(&mut self, frame: Mfn, index: usize, value: u64) {
        self.0.store(frame, index, value);
    }
    fn fetch_or(&mut self, frame: Mfn, index: usize, bits: u64) -> u64 {
        self.0.fetch_or(frame, index, bits)
    }
    fn compare_exchange(&mut self, frame: Mfn, index: usize, old: u64, new: u64) -> u64 {
        self.0.store(frame, index, old.wrapping_add(1 << 32));
        self.0.compare_exchange(frame, index, old, new)
    }
}

#[test]
fn a_domain_that_never_stops_writing_stops_nobody() {
    let (mut events, memory) = world();
    let mut memory = Restless(memory);
    let port = events.bind_ipi(A, 0).unwrap();
    let _ = events.send(&mut memory, A, port).unwrap();
    set_mask(&mut memory.0, A, port, true);
    assert_eq!(events.unmask(&mut memory, A, port), Ok(None));
    assert_eq!(events.close(&mut memory, A, port), Ok(()));
    assert_eq!(events.send(&mut memory, A, port), Err(Errno::EINVAL));
}

/// The invariants of the module's head.
fn check(events: &Events) {
    for (&domain, table) in &events.tables {
        assert!(table.channels.len() <= 4096);
        assert_eq!(table.channels.first().copied().unwrap_or_default(), Channel::default());
        let mut virqs = 0;
        for (port, channel) in (0..).map(Port).zip(&table.channels) {
            match channel.state {
                State::Interdomain { remote, port: other } => {
                    let back = events.tables[&remote].channels[other.0 as usize].state;
                    assert_eq!(back, State::Interdomain { remote: domain, port });
                }
                State::Virq(virq) => {
                    let vcpu = if is_per_vcpu(virq) { channel.vcpu } else { 0 };
                    assert_eq!(table.virqs[vcpu as usize][virq as usize], port);
                    virqs += 1;
                }
                State::Closed | State::Unbound { .. } | State::Ipi => {}
            }
            assert!((channel.vcpu as usize) < table.virqs.len());
        }
        assert_eq!(table.virqs.iter().flatten().filter(|port| port.0 != 0).count(), virqs);
    }
}

#[test]
fn invariants_hold_over_random_operations() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: u32| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u32::try_from(state >> 33).unwrap() % below
    };
    let (mut events, mut memory) = world();
    let mut kicks = 0;
    for _ in 0..20_000 {
        let [domain, remote] = [0; 2].map(|_| DomId(u16::try_from(random(3)).unwrap() + 1));
        let (port, vcpu) = (Port(random(70)), random(3));
        let before = events.is_pending(&memory, domain, port);
        let kick = match random(14) {
            0 | 1 => events.alloc_unbound(domain, remote).map(|_| None),
            2..=4 => events.bind_interdomain(&mut memory, domain, remote, port).map(|(_, kick)| kick),
            5 => events.bind_virq(domain, random(26), vcpu).map(|_| None),
            6 => events.bind_ipi(domain, vcpu).map(|_| None),
            7 => {
                let closed = events.close(&mut memory, domain, port);
                assert!(!events.is_pending(&memory, domain, port));
                closed.map(|()| None)
            }
            8 | 9 => events.send(&mut memory, domain, port),
            10 => events.bind_vcpu(domain, port, vcpu).map(|()| None),
            11 => {
                set_mask(&mut memory, domain, port, true);
                let kick = events.unmask(&mut memory, domain, port);
                assert!(before || kick.is_err() || kick == Ok(None));
                kick
            }
            12 => Ok(events.raise_virq(&mut memory, domain, random(26), vcpu)),
            _ => {
                look(&mut memory, domain);
                match random(40) {
                    0 => events.reset(&mut memory, domain).map(|()| None),
                    1 => {
                        events.remove_domain(domain);
                        memory.0[usize::from(domain.0)].fill(0);
                        events.add_domain(domain, frame(domain), 1 + random(2));
                        Ok(None)
                    }
                    _ => Ok(None),
                }
            }
        };
        if let Ok(Some(kick)) = kick {
            kicks += 1;
            assert!(events.is_pending(&memory, kick.domain, kick.port));
            assert!(!kick.upcall || events.upcall_pending(&memory, kick.domain, kick.vcpu));
        }
        check(&events);
    }
    assert!(kicks > 500, "the test tries something");
}
