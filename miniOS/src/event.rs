//! Event channels: the only way in which anything outside wakes this domain.
//!
//! The two-level ABI: a bit for each of 4096 ports in shared information says that it is pending, one that it is
//! masked, and a word says which words of pending bits to look at. Upcalls are masked for good; [`wait`] sleeps until
//! there would be one, [`take_pending`] says what it is about. A program does nothing but call the two in turns.
//!
//! Ports that nobody has bound are masked. Two ports are seen to here: the timer's, and console 0's.
//!
//! Invariant: an event that comes at any instant before [`wait`] sleeps keeps it from sleeping.

use crate::addr::Mfn;
use crate::clock::{self, Instant};
use crate::hypercall::{XenError, event as ops, vcpu};
use crate::shared::SharedBytes;
use crate::shared_mem::Notify;
use crate::{arch, console};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use spin::Once;
use xen_abi::event::{EVTCHN_2L_NR_CHANNELS, VIRQ_TIMER};
use xen_abi::shared_info::{ArchSharedInfo, ArchVcpuInfo, SharedInfo, VcpuInfo, VcpuTimeInfo};
use xen_abi::{DomId, Port};

const UPCALL_PENDING: usize = offset_of!(SharedInfo, vcpu_info) + offset_of!(VcpuInfo, evtchn_upcall_pending);
const UPCALL_MASK: usize = offset_of!(SharedInfo, vcpu_info) + offset_of!(VcpuInfo, evtchn_upcall_mask);
const SELECTOR: usize = offset_of!(SharedInfo, vcpu_info) + offset_of!(VcpuInfo, evtchn_pending_sel);
const FAULT_ADDRESS: usize =
    offset_of!(SharedInfo, vcpu_info) + offset_of!(VcpuInfo, arch) + offset_of!(ArchVcpuInfo, cr2);
const TIME: usize = offset_of!(SharedInfo, vcpu_info) + offset_of!(VcpuInfo, time);
const PENDING: usize = offset_of!(SharedInfo, evtchn_pending);
const MASK: usize = offset_of!(SharedInfo, evtchn_mask);

/// Words of a set of ports.
const WORDS: usize = 64;
/// Bytes of a word.
const WORD_LEN: usize = 8;

/// No timer is set.
const NEVER: u64 = u64::MAX;

static INFO: Once<SharedBytes> = Once::new();
/// How often this domain went on in another one.
static EPOCH: AtomicU32 = AtomicU32::new(0);
/// Port of VIRQ_TIMER, 0 while there is none.
static TIMER_PORT: AtomicU32 = AtomicU32::new(0);
/// System time at which the timer will fire.
static TIMER: AtomicU64 = AtomicU64::new(NEVER);

/// Takes up shared information. Nothing is bound yet, so everything is masked.
pub(crate) fn begin(info: SharedBytes) {
    info.store_u8(UPCALL_MASK, 1, Ordering::SeqCst);
    for word in 0..WORDS {
        info.store_u64(MASK + word * WORD_LEN, u64::MAX, Ordering::SeqCst);
    }
    INFO.call_once(|| info);
}

/// This domain goes on in another one, where nothing is bound yet: every channel that we know of belongs to the past.
pub(crate) fn resumed() {
    EPOCH.fetch_add(1, Ordering::Relaxed);
    TIMER.store(NEVER, Ordering::Relaxed);
    TIMER_PORT.store(0, Ordering::Relaxed);
    let Some(info) = INFO.get() else { return };
    info.store_u8(UPCALL_MASK, 1, Ordering::SeqCst);
    for word in 0..WORDS {
        info.store_u64(MASK + word * WORD_LEN, u64::MAX, Ordering::SeqCst);
        info.store_u64(PENDING + word * WORD_LEN, 0, Ordering::SeqCst);
    }
    info.store_u64(SELECTOR, 0, Ordering::SeqCst);
    info.store_u8(UPCALL_PENDING, 0, Ordering::SeqCst);
}

/// Tells the toolstack where to find the table of frames, and how many there are.
pub(crate) fn publish_frame_table(list_of_lists: Mfn, frames: u64) {
    let Some(info) = INFO.get() else { return };
    let arch = offset_of!(SharedInfo, arch);
    info.store_u64(arch + offset_of!(ArchSharedInfo, max_pfn), frames, Ordering::Release);
    let place = arch + offset_of!(ArchSharedInfo, pfn_to_mfn_frame_list_list);
    info.store_u64(place, list_of_lists.number(), Ordering::Release);
}

/// Binds the timer, without which [`wait`] knows no deadline.
pub(crate) fn begin_timer() -> Result<(), XenError> {
    let port = ops::bind_virq(VIRQ_TIMER)?;
    TIMER_PORT.store(port.0, Ordering::Relaxed);
    unmask(port);
    Ok(())
}

/// A set of ports.
#[derive(Clone, Debug)]
pub struct PortSet {
    words: [u64; WORDS],
    /// A bit for each word that is not zero.
    used: u64,
}

impl Default for PortSet {
    fn default() -> Self {
        Self::new()
    }
}

impl PortSet {
    /// No ports.
    #[must_use]
    pub const fn new() -> Self {
        Self { words: [0; WORDS], used: 0 }
    }

    /// There is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Adds a port. There are 4096; others are not added.
    pub fn insert(&mut self, port: Port) {
        if let Some((word, bit)) = place(port) {
            self.words[word] |= bit;
            self.used |= 1 << word;
        }
    }

    /// Takes a port out, and says whether it was there.
    pub fn remove(&mut self, port: Port) -> bool {
        let Some((word, bit)) = place(port) else { return false };
        let there = self.words[word] & bit != 0;
        self.words[word] &= !bit;
        if self.words[word] == 0 {
            self.used &= !(1 << word);
        }
        there
    }

    /// Takes the lowest port out.
    pub fn pop(&mut self) -> Option<Port> {
        let word = self.used.trailing_zeros();
        let bits = self.words.get_mut(word as usize)?;
        let bit = bits.trailing_zeros();
        *bits &= *bits - 1;
        if *bits == 0 {
            self.used &= self.used - 1;
        }
        Some(Port(word * u64::BITS + bit))
    }

    fn insert_word(&mut self, word: usize, bits: u64) {
        if bits != 0 {
            self.words[word] |= bits;
            self.used |= 1 << word;
        }
    }
}

/// Word and bit of a port.
fn place(port: Port) -> Option<(usize, u64)> {
    (port.0 < EVTCHN_2L_NR_CHANNELS).then(|| ((port.0 / u64::BITS) as usize, 1 << (port.0 % u64::BITS)))
}

/// Moves every pending port that is not masked into `ports`, each signal once. Says whether the timer of [`wait`] has
/// fired: without it no deadline has passed, which saves a program the question what time it is.
pub fn take_pending(ports: &mut PortSet) -> bool {
    let Some(info) = INFO.get() else { return false };
    // First the flag, then the selector, then the ports: Xen sets them in the opposite order. The exchange is a fence.
    info.store_u8(UPCALL_PENDING, 0, Ordering::SeqCst);
    let mut selector = info.swap_u64(SELECTOR, 0, Ordering::SeqCst);
    while selector != 0 {
        let word = selector.trailing_zeros() as usize;
        selector &= selector - 1;
        let masked = info.load_u64(MASK + word * WORD_LEN, Ordering::Acquire);
        let pending = info.load_u64(PENDING + word * WORD_LEN, Ordering::Acquire) & !masked;
        info.change_u64(PENDING + word * WORD_LEN, 0, pending);
        ports.insert_word(word, pending);
    }
    let has_fired = ports.remove(Port(TIMER_PORT.load(Ordering::Relaxed)));
    if has_fired {
        TIMER.store(NEVER, Ordering::Relaxed);
    }
    if let Some(port) = console::port()
        && ports.remove(port)
    {
        console::signalled();
    }
    has_fired
}

/// Sleeps until a port that is not masked is pending, or until the deadline. It may return without either.
///
/// What is pending stays so until [`take_pending`] takes it; until then this returns at once.
pub fn wait(deadline: Option<Instant>) {
    let Some(info) = INFO.get() else { return };
    if info.load_u8(UPCALL_PENDING, Ordering::Acquire) != 0 {
        return;
    }
    if let Some(deadline) = deadline {
        // Nobody asks for the time here, because that is a trap wherever Xen emulates the time stamp counter: a timer for
        // an instant that has passed fires at once, and 0 would stop it. One that fires early wakes once for nothing;
        // that is cheaper than moving it each time. Xen takes instants up to 2^50 ns ahead; nobody waits for 13 days
        // without an event.
        let at = clock::system_time_at(deadline).max(1);
        if TIMER.load(Ordering::Relaxed) > at && at < 1 << 50 {
            match vcpu::set_timer(at) {
                Ok(()) => TIMER.store(at, Ordering::Relaxed),
                Err(error) => log::error!("no timer: {error}"),
            }
        }
    }
    arch::sleep(info.address().value());
}

/// Lets a port wake us no more; its signals are kept.
pub fn mask(port: Port) {
    if let (Some(info), Some((word, bit))) = (INFO.get(), place(port)) {
        info.change_u64(MASK + word * WORD_LEN, bit, 0);
    }
}

/// Lets a port wake us again, at once if it was signalled meanwhile.
pub fn unmask(port: Port) {
    let (Some(info), Some((word, bit))) = (INFO.get(), place(port)) else { return };
    info.change_u64(MASK + word * WORD_LEN, 0, bit);
    if info.load_u64(PENDING + word * WORD_LEN, Ordering::SeqCst) & bit != 0 {
        info.change_u64(SELECTOR, 1 << word, 0);
        info.store_u8(UPCALL_PENDING, 1, Ordering::SeqCst);
    }
}

/// Forgets a signal.
fn clear(port: Port) {
    if let (Some(info), Some((word, bit))) = (INFO.get(), place(port)) {
        info.change_u64(PENDING + word * WORD_LEN, 0, bit);
    }
}

/// The end of an event channel. It is closed when dropped.
///
/// Where this domain has gone on in another one meanwhile, it leads nowhere: its number may be another channel's.
#[derive(Debug, PartialEq, Eq)]
pub struct EventChannel {
    port: Port,
    epoch: u32,
}

impl EventChannel {
    /// Opens a channel that `remote`, and nobody else, may bind.
    pub fn offer_to(remote: DomId) -> Result<Self, XenError> {
        ops::alloc_unbound(remote).map(Self::own)
    }

    /// Binds a channel that `remote` has opened for us.
    pub fn bind(remote: DomId, remote_port: Port) -> Result<Self, XenError> {
        ops::bind_interdomain(remote, remote_port).map(Self::own)
    }

    /// Binds a virtual interrupt.
    pub fn bind_virq(virq: u32) -> Result<Self, XenError> {
        ops::bind_virq(virq).map(Self::own)
    }

    /// Opens a channel from us to ourselves.
    pub fn to_self() -> Result<Self, XenError> {
        ops::bind_ipi().map(Self::own)
    }

    /// Takes charge of a channel that the toolstack opened for us, such as xenstore's.
    ///
    /// Whoever calls this must be the only one to do so for this port; otherwise it is closed under somebody's hands.
    #[must_use]
    pub fn own(port: Port) -> Self {
        unmask(port);
        Self { port, epoch: EPOCH.load(Ordering::Relaxed) }
    }

    fn is_of_the_past(&self) -> bool {
        self.epoch != EPOCH.load(Ordering::Relaxed)
    }

    /// Our end.
    #[must_use]
    pub const fn port(&self) -> Port {
        self.port
    }

    /// Signals the other end. If there is none, nothing happens.
    pub fn notify(&self) {
        if !self.is_of_the_past() {
            let _: Result<(), XenError> = ops::send(self.port);
        }
    }
}

impl Notify for EventChannel {
    fn port(&self) -> Port {
        self.port
    }

    fn notify(&self) {
        Self::notify(self);
    }
}

impl Drop for EventChannel {
    fn drop(&mut self) {
        if self.is_of_the_past() {
            return;
        }
        mask(self.port);
        if let Err(error) = ops::close(self.port) {
            log::debug!("event channel {}: cannot be closed: {error}", self.port);
        }
        clear(self.port);
    }
}

/// The address whose access faulted last.
pub(crate) fn fault_address() -> u64 {
    INFO.get().map_or(0, |info| info.load_u64(FAULT_ADDRESS, Ordering::Relaxed))
}

/// Xen's record of time, and the counter read while it was valid. `None` on the host.
pub(crate) fn time_record(tsc: impl Fn() -> u64) -> Option<(VcpuTimeInfo, u64)> {
    let info = INFO.get()?;
    loop {
        let version = info.load_u32(TIME + offset_of!(VcpuTimeInfo, version), Ordering::Acquire);
        let record = VcpuTimeInfo {
            version,
            tsc_timestamp: info.load_u64(TIME + offset_of!(VcpuTimeInfo, tsc_timestamp), Ordering::Acquire),
            system_time: info.load_u64(TIME + offset_of!(VcpuTimeInfo, system_time), Ordering::Acquire),
            tsc_to_system_mul: info.load_u32(TIME + offset_of!(VcpuTimeInfo, tsc_to_system_mul), Ordering::Acquire),
            tsc_shift: info.load_u8(TIME + offset_of!(VcpuTimeInfo, tsc_shift), Ordering::Acquire).cast_signed(),
            ..VcpuTimeInfo::default()
        };
        let tsc = tsc();
        // Odd: Xen is at it. Changed: Xen was.
        if version.is_multiple_of(2)
            && info.load_u32(TIME + offset_of!(VcpuTimeInfo, version), Ordering::Acquire) == version
        {
            return Some((record, tsc));
        }
    }
}

/// Seconds since 1970 and nanoseconds at Xen's boot. `None` on the host.
pub(crate) fn wall_clock_at_boot() -> Option<(u64, u32)> {
    let info = INFO.get()?;
    loop {
        let version = info.load_u32(offset_of!(SharedInfo, wc_version), Ordering::Acquire);
        let low = info.load_u32(offset_of!(SharedInfo, wc_sec), Ordering::Acquire);
        let high = info.load_u32(offset_of!(SharedInfo, wc_sec_hi), Ordering::Acquire);
        let nanoseconds = info.load_u32(offset_of!(SharedInfo, wc_nsec), Ordering::Acquire);
        if version.is_multiple_of(2) && info.load_u32(offset_of!(SharedInfo, wc_version), Ordering::Acquire) == version
        {
            return Some((u64::from(high) << 32 | u64::from(low), nanoseconds));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn a_set_gives_its_ports_back_lowest_first() {
        let mut set = PortSet::new();
        for port in [4095, 64, 0, 63, 64, 4096] {
            set.insert(Port(port));
        }
        assert!(set.remove(Port(63)));
        assert!(!set.remove(Port(63)));
        let ports: Vec<u32> = core::iter::from_fn(|| set.pop()).map(|port| port.0).collect();
        assert_eq!(ports, [0, 64, 4095]);
        assert!(set.is_empty());
    }
}
