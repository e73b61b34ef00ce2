//! Events in queues of the domain's memory.

use super::*;
use crate::event::Kick;
use xen_abi::event::{
    EVTCHNOP_CLOSE, EVTCHNOP_EXPAND_ARRAY, EVTCHNOP_INIT_CONTROL, EVTCHNOP_RESET, EVTCHNOP_SET_PRIORITY,
    EVTCHNOP_UNMASK, ExpandArray, FifoControlBlock, InitControl, Reset, SetPriority,
};

const CONTROL: u64 = SCRATCH + 0x4000;
const ARRAY: u64 = SCRATCH + 0x5000;
/// Bits of a word.
const PENDING: u32 = 1 << 31;
const MASKED: u32 = 1 << 30;
const LINKED: u32 = 1 << 29;

fn event_op<T: IntoBytes + Immutable>(domain: &mut Domain, operation: u32, argument: &T) -> i64 {
    let place = domain.put(SCRATCH, argument);
    domain.call(Hypercall::EventChannelOp, [operation.into(), place, 0, 0])
}

fn control(domain: &mut Domain, vcpu: u32, address: u64, offset: u32) -> i64 {
    let control_gfn = domain.entry(address).2.frame().0;
    event_op(domain, EVTCHNOP_INIT_CONTROL, &InitControl { control_gfn, offset, vcpu, ..InitControl::default() })
}

fn expand(domain: &mut Domain, address: u64) -> i64 {
    let array_gfn = domain.entry(address).2.frame().0;
    event_op(domain, EVTCHNOP_EXPAND_ARRAY, &ExpandArray { array_gfn })
}

/// An interrupt of its own to vCPU 0, which it opens.
fn port(domain: &mut Domain) -> u32 {
    assert_eq!(event_op(domain, EVTCHNOP_BIND_IPI, &BindIpi::default()), 0);
    domain.get::<BindIpi>(SCRATCH).port.0
}

fn send(domain: &mut Domain, port: u32) -> Option<Kick> {
    domain.system.events.send(&mut domain.system.memory, DomId(0), Port(port)).unwrap()
}

fn word(domain: &mut Domain, port: u32) -> u32 {
    domain.get(ARRAY + u64::from(port) * 4)
}

fn set_word(domain: &mut Domain, port: u32, word: u32) {
    domain.put(ARRAY + u64::from(port) * 4, &word);
}

fn block(domain: &mut Domain) -> FifoControlBlock {
    domain.get(CONTROL + 8)
}

/// A domain of this ABI.
fn fifo() -> Domain {
    let mut domain = domain();
    assert_eq!(control(&mut domain, 0, CONTROL, 8), 0);
    assert_eq!(expand(&mut domain, ARRAY), 0);
    domain
}

#[test]
fn ports_are_put_in_the_queue_of_their_priority() {
    let mut domain = fifo();
    let [a, b, c] = [(); 3].map(|()| port(&mut domain));
    assert_eq!(event_op(&mut domain, EVTCHNOP_SET_PRIORITY, &SetPriority { port: Port(c), priority: 3 }), 0);
    assert_eq!(send(&mut domain, a).map(|kick| kick.upcall), Some(true));
    assert_eq!(send(&mut domain, a), None, "it is pending");
    assert_eq!(send(&mut domain, b).map(|kick| kick.upcall), Some(false), "the queue is known");
    assert_eq!(send(&mut domain, c).map(|kick| kick.upcall), Some(false), "and so is that there are events");
    let found = block(&mut domain);
    assert_eq!((found.ready, found.head[7], found.head[3]), (1 << 7 | 1 << 3, a, c));
    assert_eq!(
        [a, b, c].map(|port| word(&mut domain, port)),
        [PENDING | LINKED | b, PENDING | LINKED, PENDING | LINKED]
    );
    assert!(domain.system.events.upcall_pending(&domain.system.memory, DomId(0), 0));
    // The domain takes the first one off; the next one goes behind the second.
    set_word(&mut domain, a, 0);
    domain.put(CONTROL + 8 + 8 + 4 * 7, &b);
    assert_eq!(send(&mut domain, a).map(|kick| kick.upcall), Some(false));
    assert_eq!(word(&mut domain, b), PENDING | LINKED | a);
    // Then all of them, and it is told anew.
    [a, b, c].into_iter().for_each(|port| set_word(&mut domain, port, 0));
    domain.put(CONTROL + 8, &0_u32);
    assert_eq!(send(&mut domain, b).map(|kick| kick.upcall), Some(false), "it has not said yet that it saw the others");
    assert_eq!(block(&mut domain).head[7], b);
}

#[test]
fn a_masked_port_is_in_no_queue_until_it_is_unmasked() {
    let mut domain = fifo();
    let port = port(&mut domain);
    set_word(&mut domain, port, MASKED);
    assert_eq!(send(&mut domain, port).map(|kick| kick.upcall), Some(false), "whoever polls for it");
    assert_eq!((word(&mut domain, port), block(&mut domain).ready), (MASKED | PENDING, 0));
    assert!(domain.system.events.is_pending(&domain.system.memory, DomId(0), Port(port)));
    assert_eq!(event_op(&mut domain, EVTCHNOP_UNMASK, &PortOnly { port: Port(port) }), 0);
    assert_eq!((word(&mut domain, port), block(&mut domain).ready), (PENDING | LINKED, 1 << 7));
    assert_eq!(event_op(&mut domain, EVTCHNOP_CLOSE, &PortOnly { port: Port(port) }), 0);
    assert_eq!(word(&mut domain, port), LINKED, "the domain passes over it");
}

#[test]
fn what_was_pending_before_stays_so() {
    let mut domain = domain();
    let port = port(&mut domain);
    assert!(send(&mut domain, port).is_some());
    assert_eq!(expand(&mut domain, ARRAY), Errno::EOPNOTSUPP.result());
    let priority = SetPriority { port: Port(port), priority: 3 };
    assert_eq!(event_op(&mut domain, EVTCHNOP_SET_PRIORITY, &priority), Errno::ENOSYS.result());
    assert_eq!(control(&mut domain, 0, CONTROL, 8), 0);
    assert_eq!(send(&mut domain, port), None, "there is no place for it");
    assert_eq!(expand(&mut domain, ARRAY), 0);
    assert_eq!((word(&mut domain, port), block(&mut domain).head[7]), (PENDING | LINKED, port));
}

#[test]
fn pages_that_are_none_are_refused_and_those_that_are_come_back() {
    let mut domain = domain();
    let free = domain.system.frames.free_count();
    let top = domain.system.vcpu(domain.id).unwrap().top.0;
    for (control_gfn, offset, vcpu, error) in [
        (u64::MAX - 1, 0, 0, Errno::EINVAL),
        (top, 0, 0, Errno::EINVAL),
        (4095, 0, 0, Errno::EINVAL),
        (0, 4, 0, Errno::EINVAL),
        (0, 4096 - 64, 0, Errno::EINVAL),
        (0, u32::MAX - 7, 0, Errno::EINVAL),
        (0, 0, 2, Errno::ENOENT),
    ] {
        let wanted = InitControl { control_gfn, offset, vcpu, ..InitControl::default() };
        assert_eq!(event_op(&mut domain, EVTCHNOP_INIT_CONTROL, &wanted), error.result(), "{control_gfn:#x} {offset}");
        assert_eq!(expand(&mut domain, ARRAY), Errno::EOPNOTSUPP.result(), "it is at the other ABI");
        recount::check(&domain);
    }
    assert_eq!(control(&mut domain, 0, CONTROL, 4096 - 72), 0);
    assert_eq!(domain.get::<InitControl>(SCRATCH).link_bits, 17);
    assert_eq!(control(&mut domain, 0, CONTROL, 8), Errno::EINVAL.result(), "once");
    assert_eq!(control(&mut domain, 1, CONTROL, 8), 0);
    for _ in 0..128 {
        assert_eq!(expand(&mut domain, ARRAY), 0);
    }
    assert_eq!(expand(&mut domain, ARRAY), Errno::ENOSPC.result());
    assert_eq!(event_op(&mut domain, EVTCHNOP_EXPAND_ARRAY, &ExpandArray { array_gfn: top }), Errno::ENOSPC.result());
    // They are no page tables meanwhile.
    let (table, index, entry) = domain.entry(ARRAY);
    assert_eq!(domain.update((table, index), 0), 0);
    assert_eq!(
        domain.system.frames.pin(&mut domain.system.memory, DomId(0), entry.frame(), Level::L1),
        Err(Errno::EINVAL)
    );
    assert_eq!(event_op(&mut domain, EVTCHNOP_RESET, &Reset { dom: DomId::SELF }), 0);
    assert_eq!(domain.system.frames.pin(&mut domain.system.memory, DomId(0), entry.frame(), Level::L1), Ok(()));
    assert_eq!(domain.system.frames.free_count(), free);
    recount::check(&domain);
    let port = port(&mut domain);
    assert!(send(&mut domain, port).is_some_and(|kick| kick.upcall), "it is at the two-level ABI again");
}

#[test]
fn a_hostile_domain_harms_nobody_but_itself() {
    let mut domain = fifo();
    assert_eq!(control(&mut domain, 1, CONTROL, 0x800), 0);
    let ports: Vec<_> = (0..40).map(|_| port(&mut domain)).collect();
    let mut seed = 7_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (seed >> 33) % below
    };
    for _ in 0..20_000 {
        let port = ports[random(40) as usize];
        match random(6) {
            0 => set_word(&mut domain, port, random(1 << 31) as u32 | (random(2) as u32) << 31),
            1 => drop(domain.put(CONTROL + 4 * random(1024), &(random(1 << 31) as u32))),
            2 => {
                let _ = domain.system.events.set_priority(DomId(0), Port(port), random(20) as u32);
            }
            3 => {
                let _ = domain.system.events.unmask(&mut domain.system.memory, DomId(0), Port(port));
            }
            4 => {
                domain.system.events.close(&mut domain.system.memory, DomId(0), Port(port)).unwrap();
                let again = domain.system.events.bind_ipi(DomId(0), random(2) as u32).unwrap();
                assert_eq!(again, Port(port));
            }
            _ => {
                let _ = send(&mut domain, port);
                let is_pending = domain.system.events.is_pending(&domain.system.memory, DomId(0), Port(port));
                assert!(is_pending, "it is pending, whatever the words say");
            }
        }
    }
    recount::check(&domain);
}
